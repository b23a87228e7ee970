//! The reader's side: what waits, its bytes, and what has been acknowledged. Reads go on while a commit flushes.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use wardgate_wire::{AckEntry, BatchKey, Digest, Epoch, Life, Sequence};

use super::contents::{Chain, Contents, Piece};
use super::folder::{self, load, segment_path};
use super::index::{self, Index, Place};
use super::ranges::Ranges;
use super::recent::Recent;
use super::{Held, StoreError, format};

/// Opened segments with their footers: the uplink reads one or two at a time, live and backlog.
const SEGMENTS_CACHED: usize = 4;

/// What the store and its shelves share.
pub(super) struct Shared {
    pub folder: PathBuf,
    index: Mutex<Index>,
    /// Last used at the end.
    cache: Mutex<Vec<(u64, Arc<Opened>)>>,
    recent: Mutex<Recent>,
}

pub(super) struct Opened {
    pub file: File,
    pub contents: Contents,
}

impl Shared {
    pub fn new(folder: PathBuf, index: Index) -> Self {
        Self { folder, index: Mutex::new(index), cache: Mutex::default(), recent: Mutex::default() }
    }

    /// Held for look-ups and additions only, never across a write or a flush.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no holder panics")
    }

    fn cache(&self) -> MutexGuard<'_, Vec<(u64, Arc<Opened>)>> {
        self.cache.lock().expect("no holder panics")
    }

    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().expect("no holder panics")
    }

    /// A segment that is not in use: its file and what lies where in it. `None`: the file is gone.
    pub fn opened(&self, number: u64) -> Result<Option<Arc<Opened>>, StoreError> {
        let mut cache = self.cache();
        if let Some(at) = cache.iter().position(|(n, _)| *n == number) {
            let hit = cache.remove(at);
            cache.push(hit.clone());
            return Ok(Some(hit.1));
        }
        drop(cache);
        let loaded = match load(&self.folder, number) {
            Ok(loaded) => loaded,
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let opened = Arc::new(Opened { file: loaded.file, contents: loaded.contents });
        let mut cache = self.cache();
        if cache.iter().all(|(n, _)| *n != number) {
            if cache.len() == SEGMENTS_CACHED {
                cache.remove(0);
            }
            cache.push((number, opened.clone()));
        }
        Ok(Some(opened))
    }

    pub fn forget_opened(&self, number: u64) {
        self.cache().retain(|(n, _)| *n != number);
    }

    /// Where a batch lies, while it waits.
    fn find(&self, key: &BatchKey) -> Result<Option<(u64, Source, Piece)>, StoreError> {
        let place = self.index().place(key);
        let number = match place {
            None => return Ok(None),
            Some(Place::Current(number, file, piece)) => return Ok(Some((number, Source::Current(file), piece))),
            Some(Place::Segment(number)) => number,
        };
        let found = self.opened(number)?.and_then(|o| o.contents.find(key).map(|piece| (number, Source::Opened(o), piece)));
        if found.is_none() && self.index().place(key).is_some() {
            return Err(self.spoiled(number, key, 0)); // it waits, and its segment no longer has it
        }
        Ok(found)
    }

    /// The record's payload, checked.
    fn payload(&self, key: &BatchKey) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((number, source, piece)) = self.find(key)? else { return Ok(None) };
        match folder::read_piece(source.file(), &segment_path(&self.folder, number), piece)? {
            Some(payload) => Ok(Some(payload)),
            None => Err(self.spoiled(number, key, piece.offset)),
        }
    }

    /// A batch that cannot be read any more is not held any more; its file is kept for a person to look at.
    fn spoiled(&self, number: u64, key: &BatchKey, offset: u64) -> StoreError {
        let mut index = self.index();
        index.take(&Chain::of(key), &Ranges::one(key.sequence, key.sequence), false);
        if let Some(segment) = index.segments.get_mut(&number) {
            segment.damaged = true;
        }
        StoreError::Rotten { file: segment_path(&self.folder, number), offset, key: *key }
    }
}

enum Source {
    Current(Arc<File>),
    Opened(Arc<Opened>),
}

impl Source {
    fn file(&self) -> &File {
        match self {
            Self::Current(file) => file,
            Self::Opened(opened) => &opened.file,
        }
    }
}

/// Shared with the uplink. Everything it shows is on flash.
#[derive(Clone)]
pub struct Shelf(pub(super) Arc<Shared>);

impl Shelf {
    /// How many batches wait, and about how many bytes they take.
    pub fn waiting(&self) -> (u64, u64) {
        self.0.index().waiting()
    }

    /// All that waits: oldest life first, then by epoch and class.
    pub fn held(&self) -> Vec<Held> {
        self.0.index().held()
    }

    /// As [`Shelf::read`] gives it, where the card need not be asked for it. `None`: `read` will say.
    pub fn at_hand(&self, key: &BatchKey) -> Option<(Digest, Vec<u8>)> {
        self.0.index().place(key)?;
        self.0.recent().find(key).map(|(digest, bytes)| (digest, bytes.to_vec()))
    }

    /// Whether [`Shelf::acknowledge`] need not ask the card.
    pub fn knows(&self, entry: &AckEntry) -> bool {
        match entry {
            AckEntry::UpTo { life, epoch, class, high, .. } => {
                let key = BatchKey { life: *life, epoch: *epoch, class: *class, sequence: *high };
                self.0.recent().find(&key).is_some()
            }
            AckEntry::Closed { .. } | AckEntry::Other { .. } => true,
        }
    }

    /// `None`: it was acknowledged, or never was here. An error names a batch that has rotted, which is not held from then on.
    pub fn read(&self, key: &BatchKey) -> Result<Option<(Digest, Vec<u8>)>, StoreError> {
        let Some(payload) = self.0.payload(key)? else { return Ok(None) };
        let digest = index::digest_of(&payload);
        Ok(digest.zip(format::bare(format::KIND_BATCH, &payload)))
    }

    /// Takes away what the receiver holds; how many batches that were. In memory at once, on flash with the next commit, and the files
    /// go then. Any order, any repeat, any life. An acknowledgement whose digest is not that of the batch held here is about another
    /// batch: it changes nothing and counts as refused.
    pub fn acknowledge(&self, entry: &AckEntry) -> usize {
        match entry {
            AckEntry::UpTo { life, epoch, class, high, digest, missing } => {
                let chain = Chain { life: *life, epoch: *epoch, class: *class };
                self.up_to(&chain, *high, digest, missing)
            }
            AckEntry::Closed { life, epoch } => {
                let mut index = self.0.index();
                let chains = index.chains_of(*life, *epoch);
                chains.iter().map(|chain| record(&mut index, chain, &Ranges::one(0, Sequence::MAX))).sum()
            }
            AckEntry::Other { .. } => 0,
        }
    }

    fn up_to(&self, chain: &Chain, high: Sequence, digest: &Digest, missing: &[(Sequence, Sequence)]) -> usize {
        let gone = index::acknowledged(high, missing);
        if !self.0.index().waits(chain, &gone) {
            return 0;
        }
        let key = BatchKey { life: chain.life, epoch: chain.epoch, class: chain.class, sequence: high };
        match self.digest(&key) {
            Ok(None) | Err(StoreError::Rotten { .. }) => {} // not held here: the receiver's word stands
            Ok(Some(held)) if held == Some(*digest) => {}
            Ok(Some(_)) | Err(_) => {
                self.0.index().refused += 1;
                return 0;
            }
        }
        record(&mut self.0.index(), chain, &gone)
    }

    /// Of a batch that waits. The inner `None`: what lies there is no batch.
    fn digest(&self, key: &BatchKey) -> Result<Option<Option<Digest>>, StoreError> {
        if self.0.index().place(key).is_some()
            && let Some((digest, _)) = self.0.recent().find(key)
        {
            return Ok(Some(Some(digest)));
        }
        Ok(self.0.payload(key)?.map(|payload| index::digest_of(&payload)))
    }

    /// Acknowledgements that were not about what is held here, or would have cut the index into too many ranges.
    pub fn refused(&self) -> u64 {
        self.0.index().refused
    }

    /// Whether any batch of another life, or of a lower epoch of this one, waits: the opposite of a closing's `clean`.
    pub fn holds_older_than(&self, life: Life, epoch: Epoch) -> bool {
        self.0.index().holds_older_than(life, epoch)
    }
}

fn record(index: &mut Index, chain: &Chain, gone: &Ranges) -> usize {
    let taken = index.take(chain, gone, true);
    if !taken.is_empty() {
        index.unrecorded.entry(*chain).or_default().insert_all(&taken);
    }
    taken.count() as usize
}
