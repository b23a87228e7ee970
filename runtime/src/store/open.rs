//! The start: flush what is there, then read footers, and only where there is none every group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::commit::Store;
use super::contents::{Chain, Contents, Piece};
use super::folder::{Folder, Loaded, disk_bytes, load, read_piece, segment_path};
use super::format::{self, KIND_HEADS, KIND_STATE};
use super::index::{Index, Segment};
use super::ranges::Ranges;
use super::shelf::Shared;
use super::{Damage, Figures, Found, Limits, Room, Shelf, StoreError, Torn};

pub(super) fn open(path: &Path, limits: Limits, fresh_id: u64) -> Result<(Store, Shelf, Found), StoreError> {
    let Limits { segment_bytes, bytes_max } = limits;
    if segment_bytes < Limits::SEGMENT_BYTES_MIN || bytes_max / segment_bytes < Limits::SEGMENTS_MIN {
        return Err(StoreError::Limits { segment_bytes, bytes_max });
    }
    let folder = Folder::open(path)?;
    let listing = folder.list()?;
    folder.flush_found(&listing.segments)?;
    let mut start = Start {
        path,
        index: Index::default(),
        found: Found::default(),
        heads: Vec::new(),
        first_group: u64::MAX,
        acknowledged: BTreeMap::new(),
        store: None,
    };
    let (mut last_group, mut later_first) = (None, None);
    for &number in listing.segments.iter().rev() {
        let loaded = load(path, number)?;
        last_group = last_group.max(loaded.contents.last_group());
        let first = (loaded.contents.groups > 0).then_some(loaded.contents.first_group);
        start.take(number, loaded, later_first)?;
        later_first = first.map(|group| (number, group));
    }
    for (chain, ranges) in std::mem::take(&mut start.acknowledged) {
        start.index.take(&chain, &ranges, false);
    }
    start.found.heads = start.heads;
    for (file, bytes) in listing.aside {
        start.index.aside_bytes += disk_bytes(bytes);
        start.found.torn.push(Torn { file, offset: 0, bytes, groups_kept: 0, damage: Damage::Aside });
    }
    start.found.torn.reverse(); // oldest first
    let shared = Arc::new(Shared::new(path.to_owned(), start.index));
    let store = Store {
        folder,
        limits,
        id: start.store.unwrap_or(fresh_id),
        next_segment: listing.segments.last().map_or(1, |n| n + 1),
        next_group: last_group.map_or(0, |n| n + 1),
        shared: shared.clone(),
        unfinished: None,
        figures: Figures::default(),
        spares: listing.spares.iter().filter(|s| s.1 >= segment_bytes).map(|s| s.0).collect(),
        no_reserve: false,
        found_newest: listing.segments.last().copied(),
        room: Room::Ample,
    };
    Ok((store, Shelf(shared), start.found))
}

/// What is gathered while the segments are read, newest first.
struct Start<'a> {
    path: &'a Path,
    index: Index,
    found: Found,
    /// Full or not, in order. Complete once it begins with full ones.
    heads: Vec<(bool, Vec<u8>)>,
    /// The first of the groups taken so far: an older segment that has it too failed to keep it, and it was written again.
    first_group: u64,
    acknowledged: BTreeMap<Chain, Ranges>,
    store: Option<u64>,
}

impl Start<'_> {
    /// `later`: number and first group of the segment taken before this one.
    fn take(&mut self, number: u64, loaded: Loaded, later: Option<(u64, u64)>) -> Result<(), StoreError> {
        if let Some(theirs) = loaded.store {
            let ours = *self.store.get_or_insert(theirs);
            if ours != theirs {
                return Err(StoreError::Foreign { file: segment_path(self.path, number), ours, theirs });
            }
        }
        self.index.segments.insert(number, Segment { disk_bytes: disk_bytes(loaded.bytes), ..Segment::default() });
        self.index.add(number, &loaded.contents);
        self.heads(number, &loaded)?;
        self.states(number, &loaded)?;
        if loaded.contents.groups > 0 {
            self.first_group = self.first_group.min(loaded.contents.first_group);
        }
        self.torn(number, &loaded, later);
        for (chain, ranges) in &loaded.contents.acknowledged {
            self.acknowledged.entry(*chain).or_default().insert_all(ranges);
        }
        for (kind, _) in &loaded.contents.others {
            *self.found.others.entry(*kind).or_default() += 1;
        }
        Ok(())
    }

    /// A segment that goes on later than this one ended, though its number is the next, says that groups are missing here.
    fn torn(&mut self, number: u64, loaded: &Loaded, later: Option<(u64, u64)>) {
        let missing = match (loaded.contents.last_group(), later) {
            (Some(last), Some((next, first))) => next == number + 1 && first > last + 1,
            _ => false,
        };
        let torn = loaded.torn.clone().or_else(|| missing.then(|| self.damage(number, loaded, loaded.bytes, Damage::Middle)));
        if let Some(mut torn) = torn {
            if missing {
                torn.damage = Damage::Middle;
            }
            self.mark(number, torn);
        }
    }

    fn damage(&self, number: u64, loaded: &Loaded, offset: u64, damage: Damage) -> Torn {
        let file = segment_path(self.path, number);
        Torn { file, offset, bytes: loaded.bytes - offset, groups_kept: loaded.contents.groups, damage }
    }

    fn mark(&mut self, number: u64, torn: Torn) {
        let harmless = matches!(torn.damage, Damage::Tail | Damage::Footer);
        self.index.segments.entry(number).or_default().damaged |= !harmless;
        self.found.torn.push(torn);
    }

    fn read(&mut self, number: u64, loaded: &Loaded, piece: Piece, kind: u64, damage: Damage) -> Result<Option<Vec<u8>>, StoreError> {
        let payload = read_piece(&loaded.file, &segment_path(self.path, number), piece)?;
        let bare = payload.and_then(|p| format::bare(kind, &p));
        if bare.is_none() {
            let torn = Torn { bytes: u64::from(piece.length), ..self.damage(number, loaded, piece.offset, damage) };
            self.mark(number, torn);
        }
        Ok(bare)
    }

    /// One that has rotted ends the chain: those before it are older heads, those after it are differences to nothing.
    fn heads(&mut self, number: u64, loaded: &Loaded) -> Result<(), StoreError> {
        let Contents { heads, .. } = &loaded.contents;
        if self.index.full_heads.is_some() || heads.is_empty() {
            return Ok(());
        }
        let mut here = Vec::new();
        let later = self.first_group;
        for head in heads.iter().filter(|h| h.group < later) {
            match self.read(number, loaded, head.piece, KIND_HEADS, Damage::Heads)? {
                Some(bytes) => here.push((head.full, bytes)),
                None => {
                    self.heads.clear();
                    break;
                }
            }
        }
        if here.first().is_some_and(|&(full, _)| full) {
            self.index.full_heads = Some(number);
        }
        here.append(&mut self.heads);
        self.heads = here;
        Ok(())
    }

    fn states(&mut self, number: u64, loaded: &Loaded) -> Result<(), StoreError> {
        for (instance, &piece) in &loaded.contents.states {
            if self.found.states.contains_key(instance) {
                continue;
            }
            if let Some(bytes) = self.read(number, loaded, piece, KIND_STATE, Damage::State(instance.clone()))? {
                self.found.states.insert(instance.clone(), bytes);
                self.index.states.insert(instance.clone(), (number, piece));
            }
        }
        Ok(())
    }
}
