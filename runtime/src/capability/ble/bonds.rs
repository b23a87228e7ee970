//! How each bond was made: BlueZ keeps the keys and does not say. `wardgate ble pair` writes it into one small file of the gateway's state folder,
//! and the gateway reads it there before it speaks to what must be bonded.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::config::{Pairing, plain_file};
use crate::shared_file::{replace_file, shared_file};

const FILE: &str = "bonds.json";
const LOCK: &str = "bonds.lock";
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const BYTES_MAX: u64 = 1 << 18; // five thousand bonds; BlueZ itself has room for a few dozen on most chips

/// By identity address.
type Made = BTreeMap<String, Pairing>;

/// In this folder; none: nowhere, and no bond is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bonds(Option<PathBuf>);

impl Bonds {
    pub fn of(state: Option<&Path>) -> Self {
        Self(state.map(Path::to_owned))
    }

    /// None: not by `wardgate ble pair`.
    pub fn how(&self, address: &str) -> io::Result<Option<Pairing>> {
        Ok(self.read()?.remove(&address.to_ascii_uppercase()))
    }

    /// True: it was there.
    pub fn forget(&self, address: &str) -> io::Result<bool> {
        self.change(|made| made.remove(&address.to_ascii_uppercase()).is_some())
    }

    pub fn made(&self, address: &str, by: Pairing) -> io::Result<()> {
        self.change(|made| made.insert(address.to_ascii_uppercase(), by) != Some(by)).map(drop)
    }

    fn read(&self) -> io::Result<Made> {
        let Some(folder) = &self.0 else { return Ok(Made::new()) };
        match plain_file(&folder.join(FILE), BYTES_MAX) {
            Ok((bytes, _)) => Ok(serde_json::from_slice(&bytes)?),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Made::new()),
            Err(why) => Err(why),
        }
    }

    /// In one piece or not at all, and on the disk before it is told; two who pair at once wait for each other.
    fn change(&self, change: impl FnOnce(&mut Made) -> bool) -> io::Result<bool> {
        let Some(folder) = &self.0 else { return Ok(false) };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let lock = shared_file(&folder.join(LOCK), OpenOptions::new().write(true).create(true), MODE)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut made = self.read()?;
        if !change(&mut made) {
            return Ok(false);
        }
        replace_file(&folder.join(FILE), &serde_json::to_vec(&made)?, MODE)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn how_a_bond_was_made_is_kept_until_it_is_forgotten_and_what_is_damaged_is_no_bond() {
        let folder = std::env::temp_dir().join(format!("wardgate-bonds-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let bonds = Bonds::of(Some(&folder));
        assert_eq!(bonds.how("F0:00:00:00:00:0A").unwrap(), None, "there is no file yet");
        bonds.made("F0:00:00:00:00:0a", Pairing::Compare).unwrap();
        bonds.made("F0:00:00:00:00:02", Pairing::JustWorks).unwrap();
        let again = Bonds::of(Some(&folder));
        assert_eq!(again.how("F0:00:00:00:00:0A").unwrap(), Some(Pairing::Compare));
        assert!(again.forget("F0:00:00:00:00:0A").unwrap() && !again.forget("F0:00:00:00:00:0A").unwrap());
        assert_eq!((again.how("F0:00:00:00:00:0A").unwrap(), again.how("F0:00:00:00:00:02").unwrap()), (None, Some(Pairing::JustWorks)));
        fs::write(folder.join(FILE), b"{\"F0:00:00:00:00:02\":\"pass").unwrap();
        assert!(bonds.how("F0:00:00:00:00:02").is_err() && bonds.made("F0:00:00:00:00:02", Pairing::Passkey).is_err());
    }
}
