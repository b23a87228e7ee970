//! The writer's side: one group, one write, one flush, and only then the index and the deletions.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::contents::{Chain, Contents};
use super::folder::{Folder, disk_bytes, read_piece, segment_path};
use super::format::{self, HEADER_BYTES};
use super::index::Current;
use super::plan::{self, Plan};
use super::ranges::Ranges;
use super::room::{COPY_SEGMENTS, IN_HAND_SEGMENTS};
use super::shelf::Shared;
use super::{Figures, Found, FullBy, Group, Limits, Record, Room, Shelf, StoreError, open};

/// The one writer of a store folder.
pub struct Store {
    pub(super) folder: Folder,
    pub(super) limits: Limits,
    pub(super) id: u64,
    pub(super) next_segment: u64,
    pub(super) next_group: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) unfinished: Option<Due>,
    pub(super) figures: Figures,
    /// Files of the reserve that are there.
    pub(super) spares: Vec<u64>,
    /// This file system gives no bytes ahead.
    pub(super) no_reserve: bool,
    /// Found at the start, and not looked at since.
    pub(super) found_newest: Option<u64>,
    pub(super) room: Room,
}

/// Where a group goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To the segment in use, or a new file.
    Ordinary,
    /// To a new segment out of the reserve.
    Spare,
}

/// A group with its final bytes: what is tried again is this, whatever has changed since.
pub(super) struct Due {
    /// As the caller's records were encoded: a second attempt must bring the same.
    said: Vec<u8>,
    bytes: Vec<u8>,
    acknowledged: BTreeMap<Chain, Ranges>,
    frees: Vec<u64>,
    frees_bytes: u64,
    /// Lines that it adds to the footer, at most.
    entries: u64,
    /// Alerts and the ledger may use one segment of the reserve.
    urgent: bool,
}

impl Store {
    /// Flushes and reads what is there; makes no file but the folder. `fresh_id`: random bits that name the store if the folder holds
    /// none yet.
    pub fn open(folder: &Path, limits: Limits, fresh_id: u64) -> Result<(Self, Shelf, Found), StoreError> {
        open::open(folder, limits, fresh_id)
    }

    /// `Ok` means on flash. After an error, call again with the same records: the group keeps its number and its bytes and goes to a new
    /// segment; another group is refused until then. Where the bound alone refused its first attempt, nothing was written: then any
    /// group may follow, and `has_news` says nothing of this one.
    /// A group without records is written only if there are acknowledgements to record.
    pub fn commit(&mut self, group: &Group) -> Result<(), StoreError> {
        let said = format::write_records(&group.records)?;
        let (due, place) = match self.unfinished.take() {
            Some(due) if due.said == said => match self.admit(&due, true) {
                Ok(place) => (due, place),
                Err(full) => {
                    self.unfinished = Some(due);
                    return Err(full);
                }
            },
            Some(due) => {
                self.unfinished = Some(due);
                return Err(StoreError::Unfinished { group: self.next_group });
            }
            None if said.is_empty() && self.shared.index().unrecorded.is_empty() => return Ok(()),
            None => {
                let due = self.prepare(group, said)?;
                let place = self.admit(&due, false)?;
                (due, place)
            }
        };
        let mut written = self.write(&due, place);
        if place == Place::Ordinary && matches!(written, Err(StoreError::Full { .. })) && !self.spares.is_empty() {
            written = self.write(&due, Place::Spare); // somebody else was faster
        }
        self.figures.failed_commits += u64::from(written.is_err());
        if let Err(error) = written {
            self.unfinished = Some(due);
            return Err(error);
        }
        self.shared.index().settle(&due.acknowledged);
        self.shared.recent().take(group);
        self.next_group += 1;
        self.figures.commits += 1;
        self.delete(&due.frees);
        Ok(())
    }

    /// Whether the next group must carry full heads: it begins a segment, or the segment in use has none yet.
    pub fn wants_full_heads(&self) -> bool {
        self.shared.index().current.as_ref().is_none_or(|c| !c.contents.has_full_heads())
    }

    /// Acknowledgements not yet recorded, or a group to try again.
    pub fn has_news(&self) -> bool {
        self.unfinished.is_some() || !self.shared.index().unrecorded.is_empty()
    }

    /// How many bytes an ordinary group may still bring; 0 while only the reserve is left.
    pub fn room_bytes(&self) -> u64 {
        (self.limits.bytes_max - Limits::RESERVE_SEGMENTS * self.limits.segment_bytes).saturating_sub(self.used_bytes())
    }

    pub fn figures(&self) -> Figures {
        let reserve_bytes = self.spares.len() as u64 * self.limits.segment_bytes;
        Figures { bytes_on_disk: self.shared.index().disk_bytes(), reserve_bytes, ..self.figures }
    }

    /// Records of kinds that this version does not know, oldest segment first. One that was copied forward may be found twice after a
    /// power cut: what writes such kinds gives them an identity of their own.
    pub fn others(&self) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut others = Vec::new();
        let numbers: Vec<u64> = self.shared.index().segments.iter().filter(|(_, s)| s.others > 0).map(|(n, _)| *n).collect();
        for number in numbers {
            let path = segment_path(&self.folder.path, number);
            let current =
                self.shared.index().current.as_ref().filter(|c| c.number == number).map(|c| (c.file.clone(), c.contents.others.clone()));
            let read = |file: &File, list: &[(u64, super::contents::Piece)], others: &mut Vec<_>| {
                for (kind, piece) in list {
                    others.extend(read_piece(file, &path, *piece)?.map(|payload| (*kind, payload)));
                }
                Ok::<_, StoreError>(())
            };
            match current {
                Some((file, list)) => read(&file, &list, &mut others)?,
                None => {
                    if let Some(opened) = self.shared.opened(number)? {
                        read(&opened.file, &opened.contents.others, &mut others)?;
                    }
                }
            }
        }
        Ok(others)
    }

    fn prepare(&self, group: &Group, said: Vec<u8>) -> Result<Due, StoreError> {
        let (mut acknowledged, in_use) = {
            let index = self.shared.index();
            (index.unrecorded.clone(), index.current.as_ref().map(|c| c.number))
        };
        let Plan { frees, frees_bytes, copies, carried } = plan::plan(&self.shared, group, in_use.unwrap_or(self.next_segment))?;
        for (chain, ranges) in &carried {
            acknowledged.entry(*chain).or_default().insert_all(ranges);
        }
        let ranges: usize = acknowledged.values().map(|r| r.parts().len() + 1).sum();
        let entries = (2 * group.records.len() + copies.len() + ranges) as u64; // a batch may begin a chain
        let copies = format::write_copies(&copies);
        let record = if acknowledged.is_empty() { Vec::new() } else { format::acknowledged_record(&acknowledged) };
        let bytes = format::group(self.next_group, &[&copies, &record, &said]); // what the caller said comes last: a group ends with heads
        let urgent = group.records.iter().all(|r| !matches!(r, Record::Batch { key, .. } if key.class > wardgate_wire::Class::Ledger));
        Ok(Due { said, bytes, acknowledged, frees, frees_bytes, entries, urgent })
    }

    /// Bound and disk, before a byte is written. A segment that could go already goes first. `again`: part of it may lie on the disk
    /// already, and no other group can come before it.
    fn admit(&mut self, due: &Due, again: bool) -> Result<Place, StoreError> {
        let mut place = self.place(due, again);
        if place.is_err() {
            let idle = plan::free_now(&self.shared);
            self.delete(&idle);
            place = self.place(due, again);
        }
        if let Ok(Place::Ordinary) = place {
            let growth = self.growth_bytes(due);
            self.trim_spares(growth);
        }
        place
    }

    fn place(&self, due: &Due, again: bool) -> Result<Place, StoreError> {
        let (segment, max, spares) = (self.limits.segment_bytes, self.limits.bytes_max, self.spares.len() as u64);
        let (bytes, bytes_used, free) = (self.growth_bytes(due), self.used_bytes(), self.folder.free_bytes());
        let kept_back = match due {
            _ if due.frees_bytes >= bytes => 0,
            Due { urgent: true, .. } => COPY_SEGMENTS,
            _ => Limits::RESERVE_SEGMENTS - IN_HAND_SEGMENTS,
        };
        let full = |by| Err(StoreError::Full { folder: self.folder.path.clone(), bytes, by });
        if bytes <= free {
            let within = bytes_used + bytes <= max - kept_back * segment;
            return if within { Ok(Place::Ordinary) } else { full(FullBy::Bound { bytes_used, bytes_max: max }) };
        }
        let fits = (HEADER_BYTES + due.bytes.len()) as u64 <= segment.saturating_add(free);
        let granted = spares > if again { 0 } else { kept_back };
        if fits && granted { Ok(Place::Spare) } else { full(FullBy::Disk) }
    }

    /// What the folder grows by when a group of this length is added, footer included where the group ends its segment.
    fn growth_bytes(&self, due: &Due) -> u64 {
        const FOOTER_BYTES_EACH: u64 = 96; // a chain takes 28, a batch 36, a state 31 and its instance's name
        let index = self.shared.index();
        let (before, given, contents) = index.current.as_ref().map_or((0, 0, 0), |c| (c.length, c.allocated, c.contents.entries()));
        let mut after = before.max(HEADER_BYTES as u64) + due.bytes.len() as u64;
        if after >= self.limits.segment_bytes {
            after += (contents + due.entries + 1) * FOOTER_BYTES_EACH;
        }
        disk_bytes(after).saturating_sub(disk_bytes(before).max(given))
    }

    fn write(&mut self, due: &Due, place: Place) -> Result<(), StoreError> {
        if place == Place::Spare {
            let ended = self.shared.index().current.take();
            ended.into_iter().for_each(|current| self.end_segment(&current));
        }
        let in_use = self.shared.index().current.as_ref().map(|c| (c.number, c.file.clone(), c.length, c.allocated));
        let (number, file, at, allocated) = match in_use {
            Some(in_use) => in_use,
            None => {
                let number = self.next_segment;
                self.next_segment += 1; // also when what follows fails: one life never uses a number twice
                match if place == Place::Spare { self.spares.pop() } else { None } {
                    Some(spare) => (number, Arc::new(self.folder.use_spare(spare, number)?), 0, self.limits.segment_bytes),
                    None => (number, Arc::new(self.folder.create(number)?), 0, 0),
                }
            }
        };
        let written = self.write_to(due, number, &file, at, allocated);
        if written.is_err() {
            self.abandon(number, &file, at);
        }
        written
    }

    fn write_to(&mut self, due: &Due, number: u64, file: &Arc<File>, at: u64, allocated: u64) -> Result<(), StoreError> {
        let mut bytes = if at == 0 { format::header(self.id, number) } else { Vec::new() };
        let start = bytes.len();
        bytes.extend_from_slice(&due.bytes);
        let mut group = Contents::default();
        format::read_group(&bytes, start, &mut group).expect("a group made here is whole");
        group.shift(at);
        let length = at + bytes.len() as u64;
        self.figures.bytes_written += bytes.len() as u64;
        self.folder.write(file, number, &bytes, at)?;
        self.folder.flush_segment(file, number)?;
        if at == 0 {
            self.folder.flush_folder()?;
        }
        tracing::debug!(segment = number, "flushed"); // before anybody can read it: tests follow it through the system calls
        let mut index = self.shared.index();
        index.add(number, &group);
        index.set_length(number, length);
        index.states.extend(group.states.iter().map(|(name, piece)| (name.clone(), (number, *piece))));
        if group.has_full_heads() {
            index.full_heads = Some(number);
        }
        let mut contents = index.current.take().map(|c| c.contents).unwrap_or_default();
        contents.append(group);
        let current = Current { number, file: file.clone(), length, allocated, contents };
        if length < self.limits.segment_bytes {
            index.current = Some(current);
            return Ok(());
        }
        drop(index);
        self.end_segment(&current);
        Ok(())
    }

    /// Written only after the last group is flushed: a footer that came to the disk before its group would speak of bytes that are not
    /// there. It needs no flush of its own, and may fail: a segment without a whole one is scanned.
    fn end_segment(&mut self, Current { number, file, length, allocated, contents }: &Current) {
        let footer = format::footer(self.id, *number, contents, *length);
        self.figures.bytes_written += footer.len() as u64;
        let written = self.folder.write(file, *number, &footer, *length).is_ok();
        let length = length + if written { footer.len() as u64 } else { 0 };
        let length = if written && *allocated == 0 { length } else { self.folder.cut(file, length) }; // with what was given beyond it
        self.shared.index().set_length(*number, length);
    }

    /// After a failed write or flush nothing more goes to this segment. What may stand of the group is cut off, as far as the disk lets
    /// us; where it does not, a reader stops there, or finds the same group twice.
    fn abandon(&mut self, number: u64, file: &File, good: u64) {
        if good > 0 {
            let length = self.folder.cut(file, good);
            let mut index = self.shared.index();
            index.current = None;
            index.set_length(number, length);
        } else if self.folder.delete(number).is_err() {
            let length = self.folder.cut(file, 0);
            self.shared.index().set_length(number, length); // an empty segment, deleted with the next ones
            self.figures.failed_deletions += 1;
        }
    }

    /// The group that makes these superfluous is flushed. What fails here is tried again by a later commit: the group itself stands.
    fn delete(&mut self, frees: &[u64]) {
        let mut deleted = Vec::new();
        for &number in frees {
            let Some(damaged) = self.shared.index().segments.get(&number).map(|s| s.damaged) else { continue };
            let done = if damaged { self.folder.set_aside(number) } else { self.folder.delete(number) };
            match done {
                Ok(()) => deleted.push(number),
                Err(_) => self.figures.failed_deletions += 1,
            }
        }
        for number in &deleted {
            self.shared.forget_opened(*number);
            self.shared.index().forget(*number);
        }
        if !deleted.is_empty() && self.folder.flush_folder().is_err() {
            self.figures.failed_deletions += 1; // a file that comes back costs a repeat
        }
    }
}
