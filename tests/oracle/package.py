"""A package file read by others: Python's tarfile, and securesystemslib for the envelope. Written from docs/package.md.

package.py PUBLIC-KEY.pem FILE prints what it found as JSON, or fails.
"""

import hashlib
import json
import sys
import tarfile

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

BLOBS = "blobs/sha256/"


def same(found, expected, what):
    if found != expected:
        sys.exit(f"{what}: {found!r}, not {expected!r}")


pem, package = sys.argv[1:]
with tarfile.open(package, "r:", format=tarfile.USTAR_FORMAT) as tar:
    members = tar.getmembers()
    files = {m.name: tar.extractfile(m).read() for m in members}
same(len(files), len(members), "names")
for m in members:
    same((m.type, m.mode, m.uid, m.gid, m.mtime, m.uname, m.gname), (tarfile.REGTYPE, 0o644, 0, 0, 0, "", ""), m.name)
    if m.name.startswith(BLOBS):
        same(hashlib.sha256(files[m.name]).hexdigest(), m.name[len(BLOBS):], m.name)


def blob(descriptor):
    algorithm, digest = descriptor["digest"].split(":")
    same(algorithm, "sha256", "algorithm")
    body = files[BLOBS + digest]
    same(len(body), descriptor["size"], digest)
    return body


same(json.loads(files["oci-layout"]), {"imageLayoutVersion": "1.0.0"}, "oci-layout")
index = json.loads(files["index.json"])
same(index["mediaType"], "application/vnd.oci.image.index.v1+json", "index")
[image] = index["manifests"]
same(image["mediaType"], "application/vnd.oci.image.manifest.v1+json", "image")
manifest = json.loads(blob(image))
same(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json", "config")
config = json.loads(blob(manifest["config"]))
same(config["architecture"], "wasm", "architecture")
same(config["layerDigests"], [layer["digest"] for layer in manifest["layers"]], "layerDigests")
layers = {layer["annotations"]["org.opencontainers.image.title"]: layer for layer in manifest["layers"]}
same(manifest["layers"][0]["mediaType"], "application/wasm", "the first layer")
order = ["oci-layout", "index.json"] + [BLOBS + d["digest"][7:] for d in [image, manifest["config"], *manifest["layers"]]]
same([m.name for m in members], list(dict.fromkeys(order)), "order")

envelope = Envelope.from_dict(json.loads(blob(layers.pop("statement.dsse.json"))))
same(envelope.payload_type, "application/vnd.in-toto+json", "payload type")
with open(pem, "rb") as file:
    public = load_pem_public_key(file.read())
keys = [SSlibKey.from_crypto(public, keyid=keyid) for keyid in envelope.signatures]
envelope.verify(keys, threshold=1)
statement = json.loads(envelope.payload)
same(statement["_type"], "https://in-toto.io/Statement/v1", "statement")
same(statement["predicateType"], "urn:wardgate:package:v1", "predicate")
subjects = {s["name"]: "sha256:" + s["digest"]["sha256"] for s in statement["subject"]}
same(subjects, {title: layer["digest"] for title, layer in layers.items()}, "subjects")
print(json.dumps({"predicate": statement["predicate"], "subjects": subjects, "keys": sorted(envelope.signatures)}))
