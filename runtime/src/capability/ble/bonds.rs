//! How each bond was made: BlueZ keeps the keys and does not say. `wardgate ble pair` writes it into one small file of the gateway's state folder,
//! and the gateway reads it there before it speaks to what must be bonded.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use serde::{Deserialize, Serialize};

use crate::config::{Pairing, plain_file};
use crate::shared_file::{replace_file, shared_file};

const FILE: &str = "bonds.json";
const LOCK: &str = "bonds.lock";
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
const BYTES_MAX: u64 = 1 << 18; // five thousand bonds; BlueZ itself has room for a few dozen on most chips

/// By the address of the adapter, as BlueZ keeps the keys: a bond of one adapter says nothing of another.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
struct Made(BTreeMap<String, Of>);

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Of {
    /// By the peripheral's identity address.
    Adapter(BTreeMap<String, Pairing>),
    /// As older gateways wrote it, below the peripheral's identity address: of whichever adapter has that bond.
    Any(Pairing),
}

impl Made {
    fn of(&self, adapter: &str, address: &str) -> Option<Pairing> {
        match self.0.get(adapter) {
            Some(Of::Adapter(all)) => all.get(address).copied(),
            _ => None,
        }
    }

    fn of_any(&self, address: &str) -> Option<Pairing> {
        match self.0.get(address) {
            Some(Of::Any(by)) => Some(*by),
            _ => None,
        }
    }

    fn insert(&mut self, adapter: &str, address: &str, by: Pairing) {
        let of = self.0.entry(adapter.to_owned()).or_insert_with(|| Of::Adapter(BTreeMap::new()));
        match of {
            Of::Adapter(all) => _ = all.insert(address.to_owned(), by),
            Of::Any(_) => *of = Of::Adapter([(address.to_owned(), by)].into()), // an adapter is no peripheral of its own
        }
    }

    /// True: there was one.
    fn remove(&mut self, adapter: &str, address: &str) -> bool {
        self.remove_any(address) | self.remove_here(adapter, address)
    }

    fn remove_here(&mut self, adapter: &str, address: &str) -> bool {
        match self.0.get_mut(adapter) {
            Some(Of::Adapter(all)) => all.remove(address).is_some(),
            _ => false,
        }
    }

    fn remove_any(&mut self, address: &str) -> bool {
        self.of_any(address).is_some() && self.0.remove(address).is_some()
    }
}

/// In this folder; none: nowhere, and no bond is known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bonds(Option<PathBuf>);

impl Bonds {
    pub fn of(state: Option<&Path>) -> Self {
        Self(state.map(Path::to_owned))
    }

    /// How the bond was made that this adapter has with a peripheral. None: not by `wardgate ble pair` with it. What an older file says of no
    /// adapter is of the one that has that bond `alone`: where several have it, nobody knows of which.
    pub fn how(&self, adapter: &str, address: &str, alone: bool) -> io::Result<Option<Pairing>> {
        let (adapter, address) = (&adapter.to_ascii_uppercase(), &address.to_ascii_uppercase());
        let made = self.read()?;
        let older = || made.of_any(address).filter(|_| alone && !adapter.is_empty());
        Ok(made.of(adapter, address).or_else(older))
    }

    /// As above, for the gateway and for whoever pairs: from here on what an older file says is this adapter's.
    pub fn settled(&self, adapter: &str, address: &str, alone: bool) -> io::Result<Option<Pairing>> {
        let by = self.how(adapter, address, alone)?;
        if alone && let Err(why) = self.settle(adapter, address) {
            tracing::debug!(%why, address, "completing bonds.json"); // what stands there holds all the same
        }
        Ok(by)
    }

    /// What an older file says of no adapter is of this one, which alone has that bond.
    pub fn settle(&self, adapter: &str, address: &str) -> io::Result<()> {
        let (adapter, address) = (&adapter.to_ascii_uppercase(), &address.to_ascii_uppercase());
        if adapter.is_empty() || self.read()?.of_any(address).is_none() {
            return Ok(()); // nothing is locked or written for that
        }
        let settle = |made: &mut Made| {
            let Some(by) = made.of_any(address) else { return false };
            made.remove_any(address);
            if made.of(adapter, address).is_none() {
                made.insert(adapter, address, by);
            }
            true
        };
        self.change(settle).map(drop)
    }

    /// Of this adapter alone, before it is paired anew: what an older file says may be of another.
    pub fn forget_here(&self, adapter: &str, address: &str) -> io::Result<()> {
        self.change(|made| made.remove_here(&adapter.to_ascii_uppercase(), &address.to_ascii_uppercase())).map(drop)
    }

    /// True: it was there. What an older file says of no adapter goes too: a bond too few is made again, one too many is believed.
    pub fn forget(&self, adapter: &str, address: &str) -> io::Result<bool> {
        self.change(|made| made.remove(&adapter.to_ascii_uppercase(), &address.to_ascii_uppercase()))
    }

    /// What an older file says of no adapter is worth nothing behind that: nobody knows any more of which bond it was.
    pub fn made(&self, adapter: &str, address: &str, by: Pairing) -> io::Result<()> {
        let (adapter, address) = (&adapter.to_ascii_uppercase(), &address.to_ascii_uppercase());
        let insert = |made: &mut Made| {
            let new = made.of(adapter, address) != Some(by);
            made.insert(adapter, address, by);
            made.remove_any(address) | new
        };
        self.change(insert).map(drop)
    }

    fn read(&self) -> io::Result<Made> {
        let Some(folder) = &self.0 else { return Ok(Made::default()) };
        match plain_file(&folder.join(FILE), BYTES_MAX) {
            Ok((bytes, _)) => Ok(serde_json::from_slice(&bytes)?),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Made::default()),
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

    const FIRST: &str = "02:00:00:00:00:01";
    const SECOND: &str = "02:00:00:00:00:02";
    const METER: &str = "F0:00:00:00:00:0A";
    const BELT: &str = "F0:00:00:00:00:02";

    fn folder(name: &str) -> (PathBuf, Bonds) {
        let folder = std::env::temp_dir().join(format!("wardgate-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let bonds = Bonds::of(Some(&folder));
        (folder, bonds)
    }

    #[test]
    fn how_a_bond_was_made_is_kept_until_it_is_forgotten_and_what_is_damaged_is_no_bond() {
        let (folder, bonds) = folder("bonds");
        assert_eq!(bonds.how(FIRST, METER, true).unwrap(), None, "there is no file yet");
        bonds.made(FIRST, &METER.to_ascii_lowercase(), Pairing::Compare).unwrap();
        bonds.made(FIRST, BELT, Pairing::JustWorks).unwrap();
        let again = Bonds::of(Some(&folder));
        assert_eq!(again.how(FIRST, METER, true).unwrap(), Some(Pairing::Compare));
        assert!(again.forget(FIRST, METER).unwrap() && !again.forget(FIRST, METER).unwrap());
        assert_eq!((again.how(FIRST, METER, true).unwrap(), again.how(FIRST, BELT, true).unwrap()), (None, Some(Pairing::JustWorks)));
        fs::write(folder.join(FILE), b"{\"F0:00:00:00:00:02\":\"pass").unwrap();
        assert!(bonds.how(FIRST, BELT, true).is_err() && bonds.made(FIRST, BELT, Pairing::Passkey).is_err());
    }

    //= PROMISES.md#P291
    #[test]
    fn a_bond_is_of_the_adapter_that_made_it() {
        let (_, bonds) = folder("bonds-two");
        bonds.made(FIRST, METER, Pairing::Passkey).unwrap();
        assert_eq!((bonds.how(FIRST, METER, true).unwrap(), bonds.how(SECOND, METER, true).unwrap()), (Some(Pairing::Passkey), None));
        bonds.made(SECOND, METER, Pairing::JustWorks).unwrap();
        assert_eq!(bonds.how(FIRST, METER, true).unwrap(), Some(Pairing::Passkey));
        assert!(bonds.forget(FIRST, METER).unwrap());
        assert_eq!((bonds.how(FIRST, METER, true).unwrap(), bonds.how(SECOND, METER, true).unwrap()), (None, Some(Pairing::JustWorks)));
    }

    //= PROMISES.md#P291
    //= PROMISES.md#P323
    #[test]
    fn what_an_older_file_says_of_no_adapter_is_of_the_one_that_alone_has_the_bond() {
        let (folder, bonds) = folder("bonds-older");
        fs::create_dir_all(&folder).unwrap();
        let older = format!("{{\"{BELT}\":\"just-works\",\"{METER}\":\"passkey\"}}");
        fs::write(folder.join(FILE), &older).unwrap();
        let now = || fs::read_to_string(folder.join(FILE)).unwrap();
        assert_eq!(bonds.settled("", METER, true).unwrap(), None, "an adapter without an address has no bonds");
        // whoever has it beside another has it from nobody knows whom; whoever only looks writes nothing
        assert_eq!((bonds.settled(FIRST, METER, false).unwrap(), bonds.settled(SECOND, METER, false).unwrap()), (None, None));
        assert_eq!(bonds.how(FIRST, METER, true).unwrap(), Some(Pairing::Passkey));
        assert_eq!(now(), older);
        assert_eq!(bonds.settled(SECOND, METER, true).unwrap(), Some(Pairing::Passkey));
        assert_eq!(now(), format!("{{\"{SECOND}\":{{\"{METER}\":\"passkey\"}},\"{BELT}\":\"just-works\"}}"));
        assert_eq!((bonds.how(FIRST, METER, true).unwrap(), bonds.how(SECOND, METER, true).unwrap()), (None, Some(Pairing::Passkey)));
        // a pairing that begins takes the line of another adapter's bond away no more; one that succeeded does
        bonds.forget_here(FIRST, BELT).unwrap();
        assert_eq!(bonds.how(SECOND, BELT, true).unwrap(), Some(Pairing::JustWorks));
        bonds.made(FIRST, BELT, Pairing::Compare).unwrap();
        assert_eq!((bonds.how(FIRST, BELT, true).unwrap(), bonds.how(SECOND, BELT, true).unwrap()), (Some(Pairing::Compare), None));
        // nobody is vouched for by what stood there before
        assert!(bonds.forget(FIRST, BELT).unwrap());
        assert_eq!((bonds.how(FIRST, BELT, true).unwrap(), bonds.how(SECOND, BELT, true).unwrap()), (None, None));
    }
}
