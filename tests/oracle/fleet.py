"""A fleet's repository by python-tuf: read as a client of its own, or written for our client to read. Written from docs/trust.md.

fleet.py read REPOSITORY CLIENT-FOLDER prints what it found as JSON, or fails.
fleet.py write REPOSITORY VENDOR.pub makes one with two roots, and prints what it wrote.
"""

import hashlib
import json
import os
import sys
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import (DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

BASE = "file:///"


class Folder(FetcherInterface):
    """Files of a folder, as if a web server gave them."""

    def __init__(self, folder):
        self.folder = folder

    def _fetch(self, url):
        path = os.path.join(self.folder, url.removeprefix(BASE))
        if not os.path.isfile(path):
            raise DownloadHTTPError(path, 404)
        with open(path, "rb") as file:
            yield file.read()


def read(repository, client):
    os.makedirs(client)
    with open(os.path.join(repository, "metadata/1.root.json"), "rb") as file:
        root = file.read()
    updater = Updater(client, BASE + "metadata/", client, BASE + "targets/", fetcher=Folder(repository), bootstrap=root)
    updater.refresh()
    trusted = updater._trusted_set
    package = updater.get_targetinfo("acme/t-1.0.0.wardgate")
    path = updater.download_target(package)
    listed = updater.get_targetinfo("revocations.json")
    with open(updater.download_target(listed), encoding="utf-8") as file:
        revocations = json.load(file)
    with open(path, "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == package.hashes["sha256"]
    assert trusted.timestamp.unrecognized_fields["x-wardgate-issued"]
    roles = trusted.targets.delegations.roles.values()
    return {
        "root": trusted.root.version,
        "timestamp": trusted.timestamp.version,
        "delegations": {role.name: role.paths for role in roles},
        "package": {"length": package.length, "custom": package.unrecognized_fields},
        "revocations": revocations,
    }


def write(repository, pem):
    until = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)
    signers = {name: CryptoSigner.generate_ed25519() for name in ["root", "new", "targets", "snapshot", "timestamp"]}
    with open(pem, "rb") as file:
        vendor = SSlibKey.from_crypto(load_pem_public_key(file.read()))
    folder = os.path.join(repository, "metadata")
    os.makedirs(folder)

    def put(name, signed, *by):
        metadata = Metadata(signed)
        for signer in by:
            metadata.sign(signers[signer], append=True)
        data = metadata.to_bytes(JSONSerializer(compact=False))
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
        return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    root = Root(expires=until, consistent_snapshot=True)
    for role in ["root", "targets", "snapshot", "timestamp"]:
        root.add_key(signers[role].public_key, role)
    put("1.root.json", root, "root")
    root.revoke_key(signers["root"].public_key.keyid, "root")
    root.add_key(signers["new"].public_key, "root")
    root.version = 2
    put("2.root.json", root, "root", "new")

    reason = "by another hand"
    public = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    revoked = {"vendor": "gone", "key": public, "reason": reason, "since": "2026-11-01T00:00:00Z"}
    body = json.dumps({"format": 1, "keys": [revoked], "releases": []}).encode()
    digest = hashlib.sha256(body).hexdigest()
    os.makedirs(os.path.join(repository, "targets"))
    with open(os.path.join(repository, f"targets/{digest}.revocations.json"), "wb") as file:
        file.write(body)

    targets = Targets(expires=until)
    targets.targets["revocations.json"] = TargetFile.from_data("revocations.json", body)
    acme = DelegatedRole("acme", [vendor.keyid, signers["targets"].public_key.keyid], 1, True, paths=["acme/*"])
    keys = {vendor.keyid: vendor, signers["targets"].public_key.keyid: signers["targets"].public_key}
    targets.delegations = Delegations(keys, {"acme": acme})
    meta = {"targets.json": put("1.targets.json", targets, "targets"), "acme.json": put("1.acme.json", Targets(expires=until), "targets")}
    snapshot = put("1.snapshot.json", Snapshot(expires=until, meta=meta), "snapshot")
    put("timestamp.json", Timestamp(expires=until, snapshot_meta=snapshot), "timestamp")
    return {"reason": reason}


verb, first, second = sys.argv[1:]
print(json.dumps({"read": read, "write": write}[verb](first, second)))
