//! Cargo.lock: which crates, of which version, with which digest of what was downloaded.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Lock {
    #[serde(default, rename = "package")]
    pub packages: Vec<Locked>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// SHA-256 in hexadecimal, of crates from a registry.
    #[serde(default)]
    pub checksum: Option<String>,
}

impl Lock {
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    pub fn find(&self, name: &str, version: &str) -> Option<&Locked> {
        self.packages.iter().find(|p| p.name == name && p.version == version)
    }
}
