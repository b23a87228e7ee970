//! Compiled code on disk, authenticated: an entry that this gateway did not write itself, for this component and this engine, is never run.

use std::fs::{self, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hmac::Mac;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::{DeviceKey, Host, Package, PluginError};

const MAGIC: &[u8; 8] = b"wgcode01";
const MAC_BYTES: usize = 32;
const PURPOSE: &str = "wardgate compiled code";
const ENTRIES_MAX: usize = 128; // twice what can run at once: the running set and the one before an update
pub(super) const CODE_BYTES_MAX: u64 = 64 << 20; // code is 3 to 5 times its component, with pages between

/// Where a component's code came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another instance runs it already.
    Shared,
    Cache,
    Compiled,
    /// There was an entry, and it was not ours or not whole.
    Recompiled(&'static str),
}

pub(super) struct Cache {
    folder: PathBuf,
    key: DeviceKey,
}

/// Names one component, compiled by one engine in one profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CacheKey([u8; 32]);

impl CacheKey {
    pub(super) fn of(host: &Host, package: &Package) -> Self {
        let mut hash = HashSha(Sha256::new());
        hash.write(&package.hash);
        hash.write(host.profile.name().as_bytes());
        // Holds wasmtime's version, the target and every setting that is baked into code.
        host.engine.precompile_compatibility_hash().hash(&mut hash);
        Self(hash.0.finalize().into())
    }

    fn file(self) -> String {
        let mut name: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        name.push_str(".cwasm");
        name
    }
}

/// `Hash` feeds it all the bytes; its own 64-bit answer is not used.
struct HashSha(Sha256);

impl Hasher for HashSha {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

/// What an attempt to load found.
pub(super) enum Found {
    Code(Component),
    Nothing,
    Unusable(&'static str),
    /// Genuine, and the engine does not take it: why.
    Refused(String),
}

impl Cache {
    pub(super) fn open(state: &Path, key: DeviceKey) -> Result<Self, PluginError> {
        let folder = state.join("compiled");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let what = "cannot make the folder of compiled plugins";
        made.map_err(|why| PluginError::State { path: folder.clone(), what, why })?;
        Ok(Self { folder, key })
    }

    /// Each its own: two packages of one component may be compiled at once.
    pub(super) fn scratch(&self, key: CacheKey) -> PathBuf {
        static MADE: AtomicU64 = AtomicU64::new(0);
        self.folder.join(format!("{}.new-{}-{}", key.file(), std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)))
    }

    /// For what is asked besides.
    pub(super) fn scratch_named(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{what}.new-{}", std::process::id()))
    }

    /// Anything that is wrong with an entry means compiling again, never an error: the component is the truth.
    pub(super) fn load(&self, host: &Host, key: CacheKey) -> Found {
        let path = self.folder.join(key.file());
        let entry = match super::package::bounded(&path, CODE_BYTES_MAX, "code is far smaller") {
            Ok(entry) => entry,
            Err(PluginError::File { why, .. }) if why.kind() == std::io::ErrorKind::NotFound => return Found::Nothing,
            Err(_) => return Found::Unusable("it cannot be read"),
        };
        let Some(code) = self.authentic(key, &entry) else {
            return Found::Unusable("it was changed, or another gateway wrote it");
        };
        // SAFETY: `deserialize` runs whatever machine code it is given. These bytes carry a code under this device's own key, which only
        // this gateway can have written, for exactly this component, engine and profile, after its own compiler had made them.
        #[allow(unsafe_code)]
        let component = unsafe { Component::deserialize(&host.engine, code) };
        component.map_or_else(|why| Found::Refused(format!("{why:#}")), Found::Code)
    }

    fn authentic<'a>(&self, key: CacheKey, entry: &'a [u8]) -> Option<&'a [u8]> {
        let rest = entry.strip_prefix(MAGIC)?;
        let (mac, code) = rest.split_at_checked(MAC_BYTES)?;
        self.mac(key, code).verify_slice(mac).ok()?;
        Some(code)
    }

    fn mac(&self, key: CacheKey, code: &[u8]) -> hmac::Hmac<Sha256> {
        let mut mac = self.key.mac(PURPOSE);
        mac.update(&key.0);
        mac.update(code);
        mac
    }

    /// In one piece or not at all, also when the power goes.
    pub(super) fn store(&self, key: CacheKey, code: &[u8]) -> Result<(), PluginError> {
        let (path, scratch) = (self.folder.join(key.file()), self.scratch(key));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&scratch)?;
            file.write_all(MAGIC)?;
            file.write_all(&self.mac(key, code).finalize().into_bytes())?;
            file.write_all(code)?;
            file.sync_all()?;
            fs::rename(&scratch, &path)?;
            fs::File::open(&self.folder)?.sync_all()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&scratch); // the first error is the one to tell
        }
        written.map_err(|why| PluginError::State { path: path.clone(), what: "cannot keep compiled code", why })?;
        self.forget_oldest(&path);
        Ok(())
    }

    /// Versions that nobody runs any more would fill the card in the end. Failing to remove one costs nothing now.
    fn forget_oldest(&self, fresh: &Path) {
        let Ok(listed) = fs::read_dir(&self.folder) else { return };
        let aged = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
        let mut entries: Vec<(SystemTime, PathBuf)> = listed.flatten().filter_map(aged).collect();
        entries.sort();
        let surplus = entries.len().saturating_sub(ENTRIES_MAX);
        // A file system's clock is coarse: the fresh one may look as old as the oldest.
        for (_, path) in entries.into_iter().filter(|(_, path)| path != fresh).take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

/// A fresh folder for a test of this room.
#[cfg(test)]
pub(super) fn test_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/plugin").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CacheKey = CacheKey([7; 32]);

    /// Two releases that differ in their manifest alone are compiled at once where nothing is kept yet.
    //= PROMISES.md#P340
    #[test]
    fn an_entry_is_taken_only_as_it_was_written() {
        let state = test_folder("cache");
        let cache = Cache::open(&state, DeviceKey::open(&state, [1; 32]).unwrap()).unwrap();
        assert_ne!(cache.scratch(KEY), cache.scratch(KEY), "each compilation has a file of its own");
        cache.store(KEY, b"code").unwrap();
        let entry = fs::read(cache.folder.join(KEY.file())).unwrap();
        assert_eq!(cache.authentic(KEY, &entry), Some(&b"code"[..]));
        for at in 0..entry.len() {
            assert_eq!(cache.authentic(KEY, &entry[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut flipped = entry.clone();
                flipped[at] ^= 1 << bit;
                assert_eq!(cache.authentic(KEY, &flipped), None, "byte {at} bit {bit}");
            }
        }
        assert_eq!(cache.authentic(CacheKey([8; 32]), &entry), None, "renamed to another component");
        let elsewhere = test_folder("cache-other");
        let other = Cache::open(&elsewhere, DeviceKey::open(&elsewhere, [2; 32]).unwrap()).unwrap();
        assert_eq!(other.authentic(KEY, &entry), None, "written by another gateway");
    }

    #[test]
    fn old_entries_go() {
        let state = test_folder("cache-full");
        let cache = Cache::open(&state, DeviceKey::open(&state, [1; 32]).unwrap()).unwrap();
        for n in 0..ENTRIES_MAX + 3 {
            fs::write(cache.folder.join(n.to_string()), b"old").unwrap();
        }
        cache.store(KEY, b"new").unwrap();
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), ENTRIES_MAX);
        assert!(cache.folder.join(KEY.file()).exists());
    }
}
