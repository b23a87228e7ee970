//! What this program must know of a package file: the members of its tar, and what its statement says. Whether it may be believed is for
//! `wardgate plugin verify`, which knows the whole of its form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::role::{digest, hex};

pub const FILE_BYTES_MAX: u64 = 16 << 20; // docs/package.md
pub const MEMBERS_MAX: usize = 256;
pub const ENDING: &str = ".wardgate";
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
const STATEMENT_TYPE: &str = "application/vnd.dsse.envelope.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const BLOBS: &str = "blobs/sha256/";
const BLOCK: usize = 512;

/// In the order of the file.
pub type Members = Vec<(String, Vec<u8>)>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

/// What the vendor says that it is.
#[derive(Debug, Deserialize)]
pub struct Claim {
    pub vendor: String,
    pub name: String,
    pub version: String,
    pub release: u64,
    /// The keys that signed it, it says.
    #[serde(skip)]
    pub signers: Vec<String>,
    /// SHA-256 of the statement, which names the digest of everything inside: with another signature it is the same package, in another file.
    #[serde(skip)]
    pub statement: String,
}

impl Claim {
    /// As the repository and the gateway name it: acme/pump-1.0.0.wardgate
    pub fn target(&self) -> String {
        format!("{}/{}-{}{ENDING}", self.vendor, self.name, self.version)
    }
}

pub struct Package {
    pub members: Members,
    pub manifest: Manifest,
    pub manifest_bytes: Vec<u8>,
}

impl Package {
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let members = members(bytes)?;
        let index = members.iter().find(|(name, _)| name == "index.json").ok_or("it has no index.json")?;
        let index: serde_json::Value = serde_json::from_slice(&index.1).map_err(|e| format!("index.json: {e}"))?;
        let named = index["manifests"][0]["digest"].as_str().unwrap_or_default();
        let manifest_bytes = blob(&members, named).ok_or("the image's manifest is missing")?.to_vec();
        let manifest = serde_json::from_slice(&manifest_bytes).map_err(|e| format!("the image's manifest: {e}"))?;
        Ok(Self { members, manifest, manifest_bytes })
    }

    pub fn claim(&self) -> Result<Claim, String> {
        let layer = self.manifest.layers.iter().find(|layer| layer.media_type == STATEMENT_TYPE).ok_or("nobody signed it")?;
        let envelope = blob(&self.members, &layer.digest).ok_or("its statement is missing")?;
        let envelope: serde_json::Value = serde_json::from_slice(envelope).map_err(|e| format!("its statement: {e}"))?;
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap_or_default()).map_err(|e| format!("its statement: {e}"))?;
        let statement: serde_json::Value = serde_json::from_slice(&payload).map_err(|e| format!("its statement: {e}"))?;
        let mut claim: Claim = serde_json::from_value(statement["predicate"].clone()).map_err(|e| format!("its statement: {e}"))?;
        claim.statement = hex(&digest(&payload));
        claim.signers =
            envelope["signatures"].as_array().into_iter().flatten().filter_map(|s| Some(s["keyid"].as_str()?.to_owned())).collect();
        if claim.signers.is_empty() { Err("nobody signed it".into()) } else { Ok(claim) }
    }

    pub fn blob(&self, digest: &str) -> Option<&[u8]> {
        blob(&self.members, digest)
    }
}

fn blob<'a>(members: &'a Members, digest: &str) -> Option<&'a [u8]> {
    let place = format!("{BLOBS}{}", digest.strip_prefix("sha256:")?);
    members.iter().find(|(name, _)| *name == place).map(|(_, bytes)| bytes.as_slice())
}

fn members(bytes: &[u8]) -> Result<Members, String> {
    let (mut members, mut at) = (Members::new(), 0);
    while let Some(block) = bytes.get(at..at + BLOCK).filter(|block| block[0] != 0) {
        let text =
            |from: usize, to: usize| std::str::from_utf8(&block[from..to]).map(|t| t.trim_end_matches(['\0', ' '])).unwrap_or_default();
        let size = usize::from_str_radix(text(124, 136), 8).map_err(|_| "it is no tar of a package")?;
        let held = bytes.get(at + BLOCK..).and_then(|rest| rest.get(..size)).ok_or("it ends too early")?;
        if members.len() == MEMBERS_MAX {
            return Err(format!("it has more than {MEMBERS_MAX} members"));
        }
        members.push((text(0, 100).to_owned(), held.to_vec()));
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    if members.is_empty() { Err("it is no tar of a package".into()) } else { Ok(members) }
}

/// The file that the gateway's own writer makes of these blobs; `wardgate plugin verify` takes no other.
pub fn write(manifest_bytes: &[u8], manifest: &Manifest, blobs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let manifest_digest = hex(&digest(manifest_bytes));
    let version = manifest.annotations.get("org.opencontainers.image.version").map_or("", String::as_str);
    let quoted = |text: &str| serde_json::to_string(text).expect("a text");
    let index = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{INDEX_TYPE}\",\"manifests\":[{{\"mediaType\":\"{MANIFEST_TYPE}\",\"digest\":\"sha256:{manifest_digest}\",\
         \"size\":{},\"annotations\":{{\"org.opencontainers.image.ref.name\":{}}}}}]}}",
        manifest_bytes.len(),
        quoted(version)
    );
    let mut out = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| {
        out.extend_from_slice(&header(name, bytes.len()));
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    };
    add("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}");
    add("index.json", index.as_bytes());
    add(&format!("{BLOBS}{manifest_digest}"), manifest_bytes);
    for (digest, bytes) in blobs {
        add(&format!("{BLOBS}{}", digest.trim_start_matches("sha256:")), bytes);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// POSIX ustar, as docs/package.md has it.
fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let size = format!("{size:011o}");
    let fields: [(usize, &[u8]); 10] = [
        (0, name.as_bytes()),
        (100, b"0000644"),
        (108, b"0000000"),
        (116, b"0000000"),
        (124, size.as_bytes()),
        (136, b"00000000000"),
        (148, b"        0"), // the sum counts itself as spaces; behind it the kind: a plain file
        (257, b"ustar\x0000"),
        (329, b"0000000"),
        (337, b"0000000"),
    ];
    for (at, text) in fields {
        block[at..at + text.len()].copy_from_slice(text);
    }
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
