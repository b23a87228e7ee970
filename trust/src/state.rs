//! fleet.json: what the gateway reads of the fleet's metadata. It sees nothing else of it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::desk::METADATA;
use crate::fault::Fault;
use crate::files;
use crate::revocations::{RevokedKey, RevokedRelease, Term};
use crate::role;

pub const FLEET: &str = "fleet.json";
const FORMAT: u32 = 1;
/// Where the digest stands while it is reckoned.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const NOT_AS_WRITTEN: &str = "it is not as an update wrote it: something of it was lost or changed";

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
    /// When a person said last that the clock had been wrong: the gateway forgets then what it took for past, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<String>,
    pub revoked_keys: Vec<RevokedKey>,
    pub revoked_releases: Vec<RevokedRelease>,
    pub vendors: Vec<Vendor>,
    /// What the vendors' lists name: the gateway takes nothing else. None: an older program wrote this.
    #[serde(default)]
    pub packages: Option<Vec<Named>>,
    /// Until when vendors' keys are for something new, where they have an end.
    #[serde(default)]
    pub key_terms: Vec<Term>,
    /// Of this file with zeros in its place: a bit that a card lost is told from what an update wrote. Who wrote it, it does not say. Empty: an older
    /// program did.
    #[serde(default)]
    pub digest: String,
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
    /// When its list of packages ends, which may be signed by another desk than the rest. None: an older program wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_ends: Option<String>,
}

/// What lies in a gateway's folder.
#[derive(Debug, PartialEq)]
pub enum Found {
    Nothing,
    Whole(Box<Fleet>),
    Damaged(String),
}

impl Fleet {
    pub const FORMAT: u32 = FORMAT;

    pub fn read(folder: &Path) -> Result<Option<Self>, Fault> {
        match Self::found(folder)? {
            Found::Nothing => Ok(None),
            Found::Whole(fleet) => Ok(Some(*fleet)),
            Found::Damaged(why) => Err(Fault::Stale { why: format!("{} is damaged: {why}", folder.join(FLEET).display()) }),
        }
    }

    /// That it cannot be read from a disk is a fault; that it is not what an update writes is not.
    pub fn found(folder: &Path) -> Result<Found, Fault> {
        let path = folder.join(FLEET);
        if !path.exists() {
            return Ok(Found::Nothing);
        }
        match files::document::<Self>(&path) {
            Ok(fleet) if !fleet.is_as_written(&files::read(&path, files::DOCUMENT_BYTES_MAX)?) => Ok(Found::Damaged(NOT_AS_WRITTEN.into())),
            Ok(fleet) => Ok(fleet.impossible(folder).map_or_else(|| Found::Whole(Box::new(fleet)), Found::Damaged)),
            Err(Fault::Broken { why, .. }) => Ok(Found::Damaged(why)),
            Err(why @ Fault::TooLarge { .. }) => Ok(Found::Damaged(why.to_string())),
            Err(fault) => Err(fault),
        }
    }

    /// It is written after what tough keeps and of that: where all of that is whole, no count in here is higher. A torn store proves nothing.
    fn impossible(&self, folder: &Path) -> Option<String> {
        let kept = |role: &str| -> Option<u64> {
            let value: serde_json::Value = files::document(&folder.join(METADATA).join(format!("{role}.json"))).ok()?;
            value["signed"]["version"].as_u64()
        };
        let (root, timestamp, snapshot) = (kept("root")?, kept("timestamp")?, kept("snapshot")?);
        let same = root == self.root_version; // a newer root may begin the other counts anew
        let counts = [
            ("root", self.root_version, root),
            ("timestamp", if same { self.timestamp_version } else { 0 }, timestamp),
            ("snapshot", if same { self.snapshot_version } else { 0 }, snapshot),
        ];
        let (what, says, kept) = counts.into_iter().find(|(_, says, kept)| says > kept)?;
        Some(format!("it says that {what} {says} was seen, and what was seen is {kept}"))
    }

    fn is_as_written(&self, bytes: &[u8]) -> bool {
        let of = |digest: &str| String::from_utf8_lossy(bytes).replace(digest, NO_DIGEST);
        self.digest.is_empty() || role::hex(&role::digest(of(&self.digest).as_bytes())) == self.digest
    }

    pub fn write(&self, folder: &Path) -> Result<(), Fault> {
        let text = String::from_utf8(files::pretty(&Self { digest: NO_DIGEST.into(), ..self.clone() })).expect("JSON is text");
        let digest = role::hex(&role::digest(text.as_bytes()));
        files::write(&folder.join(FLEET), text.replacen(NO_DIGEST, &digest, 1).as_bytes(), files::PUBLIC_MODE)
    }
}
