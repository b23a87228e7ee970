//! Proofs of the store on real files, and what they share.

mod bound;
mod cut;
mod disk;
mod figures;
mod keep;
mod random;
mod retry;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use wardgate_wire::{AckEntry, BatchKey, Class, Digest};

use super::{Found, Group, Limits, Record, Shelf, Store};

/// xorshift64*: the same run every time.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// What the disk is to refuse: how many calls of each kind fail from now on.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Switches>);

#[derive(Default)]
pub(crate) struct Switches {
    pub writes: AtomicU32,
    pub flushes: AtomicU32,
    pub folder_flushes: AtomicU32,
    pub deletes: AtomicU32,
    /// Files and folders flushed so far.
    pub flushed: AtomicU32,
    /// Bytes that somebody else has taken of the disk.
    pub taken: AtomicU64,
    /// Thousandths of the bytes that a failing write leaves in the file.
    pub left_per_mille: AtomicU32,
}

impl std::ops::Deref for Faults {
    type Target = Switches;
    fn deref(&self) -> &Switches {
        &self.0
    }
}

fn fails(count: &AtomicU32, kind: io::ErrorKind) -> io::Result<()> {
    match count.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) {
        Ok(_) => Err(kind.into()),
        Err(_) => Ok(()),
    }
}

impl Faults {
    pub fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        fails(&self.writes, io::ErrorKind::StorageFull).inspect_err(|_| {
            let left = bytes.len() * self.left_per_mille.load(Relaxed) as usize / 1000;
            file.write_all_at(&bytes[..left], at).expect("the test's disk has room");
        })
    }
    pub fn free(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.taken.load(Relaxed))
    }
    pub fn flush(&self) -> io::Result<()> {
        self.flushed.fetch_add(1, Relaxed);
        fails(&self.flushes, io::ErrorKind::Other)
    }
    pub fn flush_folder(&self) -> io::Result<()> {
        self.flushed.fetch_add(1, Relaxed);
        fails(&self.folder_flushes, io::ErrorKind::Other)
    }
    pub fn delete(&self) -> io::Result<()> {
        fails(&self.deletes, io::ErrorKind::Other)
    }
}

/// A folder of its own, gone at the end.
pub(super) struct Temp(pub PathBuf);

impl Temp {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wardgate-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the temporary folder is writable");
        Self(path)
    }
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }
    pub fn open(&self) -> (Store, Shelf, Found) {
        self.open_with(SMALL)
    }
    pub fn open_with(&self, limits: Limits) -> (Store, Shelf, Found) {
        Store::open(&self.store(), limits, 0x5107_e1d0).expect("the store opens")
    }
    /// Names of the files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let Ok(list) = fs::read_dir(self.store()) else { return Vec::new() };
        let files = list.map(|e| e.expect("listed").path());
        let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_none_or(|e| e != "reserve")).collect();
        files.sort();
        files
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) const SMALL: Limits = Limits { segment_bytes: 4096, bytes_max: 64 << 20 };

pub(super) fn key(life: u64, epoch: u32, class: Class, sequence: u32) -> BatchKey {
    BatchKey { life, epoch, class, sequence }
}

pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*super::format::digest(&[b"of the wire, not of the store", bytes]).0.first_chunk().expect("16"))
}

pub(super) fn batch(key: BatchKey, bytes: &[u8]) -> Record {
    Record::Batch { key, digest: digest_of(bytes), bytes: bytes.to_vec() }
}

pub(super) fn state(instance: &str, bytes: &[u8]) -> Record {
    Record::State { instance: instance.to_owned(), bytes: bytes.to_vec() }
}

pub(super) fn heads(full: bool, bytes: &[u8]) -> Record {
    Record::Heads { full, bytes: bytes.to_vec() }
}

pub(super) fn group(records: impl IntoIterator<Item = Record>) -> Group {
    Group { records: records.into_iter().collect() }
}

/// Everything up to `high`.
pub(super) fn up_to(high: BatchKey, digest: Digest) -> AckEntry {
    let BatchKey { life, epoch, class, sequence } = high;
    AckEntry::UpTo { life, epoch, class, high: sequence, digest, missing: Vec::new() }
}

/// Commits groups of one batch and the heads that are wanted: sequence `n` holds `bytes` bytes.
pub(super) fn fill(store: &mut Store, life: u64, sequences: std::ops::Range<u32>, bytes: usize) {
    for n in sequences {
        let full = store.wants_full_heads();
        let g = group([batch(key(life, 0, Class::Numeric, n), &payload(n, bytes)), heads(full, &n.to_le_bytes())]);
        store.commit(&g).expect("committed");
    }
}

pub(super) fn payload(n: u32, bytes: usize) -> Vec<u8> {
    Dice(u64::from(n) + 1).bytes(bytes)
}

/// All that waits, read one by one.
pub(super) fn keys(shelf: &Shelf) -> Vec<BatchKey> {
    let held = shelf.held();
    held.iter().flat_map(|h| h.sequences.iter().cloned().flatten().map(|n| key(h.life, h.epoch, h.class, n))).collect()
}

pub(super) fn read_all(shelf: &Shelf) -> Vec<(BatchKey, Vec<u8>)> {
    let read = |k: BatchKey| {
        let (digest, bytes) = shelf.read(&k).expect("readable").expect("held");
        assert_eq!(digest, digest_of(&bytes));
        (k, bytes)
    };
    keys(shelf).into_iter().map(read).collect()
}
