//! What the fleet takes back: keys of vendors and single releases, as a document that the targets role signs.

use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revocations {
    pub format: u32,
    pub keys: Vec<RevokedKey>,
    pub releases: Vec<RevokedRelease>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedKey {
    pub vendor: String,
    /// ed25519: and base64
    pub key: String,
    pub reason: String,
    /// RFC 3339
    pub since: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedRelease {
    pub vendor: String,
    pub name: String,
    pub release: u64,
    pub reason: String,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { format: FORMAT, keys: Vec::new(), releases: Vec::new() }
    }
}

impl Revocations {
    /// A later format may take back what this reader would not see: it is refused whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if read.format == FORMAT {
            Ok(read)
        } else {
            Err(format!("its format is {}; this program reads {FORMAT}: install a newer one", read.format))
        }
    }

    pub fn revoked(&self, vendor: &str, key: &str) -> bool {
        self.keys.iter().any(|k| k.vendor == vendor && k.key == key)
    }
}
