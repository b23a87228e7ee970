//! fleet.json: what the gateway reads of the fleet's metadata. It sees nothing else of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::files;
use crate::revocations::{RevokedKey, RevokedRelease, Term};

pub const FLEET: &str = "fleet.json";
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub format: u32,
    pub root_version: u64,
    pub timestamp_version: u64,
    pub snapshot_version: u64,
    /// The earliest end of root, timestamp, snapshot and targets; RFC 3339, as all moments here.
    pub expires: String,
    /// When this was checked; nothing when the clock could not be believed.
    pub checked: Option<String>,
    /// When the timestamp was signed.
    pub issued: Option<String>,
    /// The newest time that is known to be past.
    pub floor: Option<String>,
    pub revoked_keys: Vec<RevokedKey>,
    pub revoked_releases: Vec<RevokedRelease>,
    pub vendors: Vec<Vendor>,
    /// What the vendors' lists name: the gateway takes nothing else. None: an older program wrote this.
    #[serde(default)]
    pub packages: Option<Vec<Named>>,
    /// Until when vendors' keys are for something new, where they have an end.
    #[serde(default)]
    pub key_terms: Vec<Term>,
}

/// A package that a vendor's list names: this file, or another of the very same statement, which one more of the vendor's keys has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// acme/pump-1.0.0.wardgate
    pub name: String,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// Of the statement in it. None: an older desk published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vendor {
    pub vendor: String,
    pub keys: Vec<String>,
    pub paths: Vec<String>,
}

impl Fleet {
    pub const FORMAT: u32 = FORMAT;

    pub fn read(folder: &Path) -> Result<Option<Self>, Fault> {
        let path = folder.join(FLEET);
        if path.exists() { files::document(&path).map(Some) } else { Ok(None) }
    }

    pub fn write(&self, folder: &Path) -> Result<(), Fault> {
        files::write(&folder.join(FLEET), &files::pretty(self), files::PUBLIC_MODE)
    }
}
