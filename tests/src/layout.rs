//! A tar writer and reader of the tests' own, which writes what it is told: an OCI image layout around whatever somebody forges.

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

/// Names and bytes of a tar's members.
pub type Members = Vec<(String, Vec<u8>)>;

/// A package's members, to be changed and put together again.
#[derive(Clone)]
pub struct Layout(pub Members);

/// Of a member of this kind: b'0' is a file.
pub fn header(name: &str, size: usize, kind: u8) -> [u8; 512] {
    let mut block = [0_u8; 512];
    for (at, text) in [
        (0, name),
        (100, "0000644\0"),
        (108, "0000000\0"),
        (116, "0000000\0"),
        (124, &format!("{size:011o}\0")),
        (136, "00000000000\0"),
        (148, "        "),
        (257, "ustar\x0000"),
        (329, "0000000\0"),
        (337, "0000000\0"),
    ] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[156] = kind;
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (format!("blobs/sha256/{}", digest(bytes)), bytes.to_vec())
}

impl Layout {
    pub fn of(bytes: &[u8]) -> Self {
        let (mut members, mut at) = (Vec::new(), 0);
        while bytes[at] != 0 {
            let text = |from: usize, n: usize| String::from_utf8_lossy(&bytes[at + from..at + from + n]).trim_end_matches('\0').to_owned();
            let size = usize::from_str_radix(&text(124, 11), 8).expect("a size");
            members.push((text(0, 100), bytes[at + 512..at + 512 + size].to_vec()));
            at += 512 + size.next_multiple_of(512);
        }
        Self(members)
    }

    pub fn tar(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in &self.0 {
            out.extend_from_slice(&header(name, bytes.len(), b'0'));
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    pub fn manifest(&self) -> Json {
        serde_json::from_slice(&self.0[2].1).expect("the image's manifest")
    }

    /// The same layout around another manifest: whole, but for what is in it.
    pub fn with(&self, manifest: &Json) -> Self {
        self.with_bytes(manifest.to_string().as_bytes())
    }

    pub fn with_bytes(&self, manifest: &[u8]) -> Self {
        let mut other = self.clone();
        other.0[2] = blob(manifest);
        let mut index: Json = serde_json::from_slice(&other.0[1].1).expect("the index");
        index["manifests"][0]["digest"] = json!(format!("sha256:{}", digest(&other.0[2].1)));
        index["manifests"][0]["size"] = json!(other.0[2].1.len());
        other.0[1].1 = index.to_string().into_bytes();
        other
    }

    /// Another file under a member's name, as somebody does it who knows the format and has no key.
    pub fn swapped(&self, title: &str, bytes: &[u8]) -> Self {
        let mut manifest = self.manifest();
        let layers = manifest["layers"].as_array_mut().expect("layers");
        let layer = layers.iter_mut().find(|l| l["annotations"]["org.opencontainers.image.title"] == title).expect("a layer");
        let old = layer["digest"].as_str().expect("a digest").replace("sha256:", "blobs/sha256/");
        layer["digest"] = json!(format!("sha256:{}", digest(bytes)));
        layer["size"] = json!(bytes.len());
        let mut other = self.clone();
        let at = other.0.iter().position(|(name, _)| *name == old).expect("its blob");
        other.0[at] = blob(bytes);
        other.with(&manifest)
    }
}
