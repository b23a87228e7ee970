//! How much the store may still be asked to take, and the reserve that stands behind it: files whose bytes the disk has given already.

use super::folder::disk_bytes;
use super::{FullBy, Limits, Store, StoreError};

/// Of the reserve, for groups that free more than they take: without them a full store could never write the group that lets it delete.
pub(super) const COPY_SEGMENTS: u64 = 2;
/// An ordinary group may still open one of the reserve while it is whole: the group that is in hand when the disk turns out to be full.
pub(super) const IN_HAND_SEGMENTS: u64 = 1;

/// What the store can take, from all to nothing. The corridor stops taking before the store has to refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    #[default]
    Ample,
    /// What takes most has to stop: waveforms.
    Low,
    /// Only the reserve is left: alerts and the ledger.
    Reserve,
    /// The reserve is spent but for what lets the store delete.
    Spent,
}

/// What there is, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// For ordinary groups, by the bound and by the disk.
    pub ordinary: u64,
    /// For alerts and the ledger, the reserve included.
    pub urgent: u64,
    /// All of the reserve is there.
    pub reserve_whole: bool,
}

impl Room {
    /// Leaving takes more than entering: each time costs every stream a gap.
    pub(super) fn judge(self, left: Left, segment_bytes: u64) -> Self {
        let below = |room: Self, enter: u64, leave: u64| if self >= room { leave } else { enter };
        let waveforms = below(Self::Low, 2 * segment_bytes, 3 * segment_bytes);
        let ordinary = below(Self::Reserve, segment_bytes, 2 * segment_bytes);
        let urgent = below(Self::Spent, segment_bytes / 4, segment_bytes / 2);
        match left {
            Left { ordinary: free, reserve_whole, .. } if reserve_whole && free >= waveforms => Self::Ample,
            Left { ordinary: free, reserve_whole, .. } if reserve_whole && free >= ordinary => Self::Low,
            Left { urgent: free, .. } if free >= urgent => Self::Reserve,
            _ => Self::Spent,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Low => "low",
            Self::Reserve => "reserve",
            Self::Spent => "spent",
        }
    }
}

impl Store {
    /// Looks at the disk, fills up the reserve where there is room for it again, and says what may be taken from now on.
    pub fn room(&mut self) -> Room {
        self.refill();
        let free = self.folder.free_bytes();
        let segment = self.limits.segment_bytes;
        let (used, max) = (self.used_bytes(), self.limits.bytes_max);
        let spares = self.spares.len() as u64;
        let in_use = self.shared.index().current.as_ref().map_or(0, |c| c.allocated.saturating_sub(c.length));
        let reserve = if self.no_reserve { 0 } else { in_use + spares.saturating_sub(COPY_SEGMENTS) * segment };
        let left = Left {
            ordinary: self.room_bytes().min(free),
            urgent: max.saturating_sub(COPY_SEGMENTS * segment + used).saturating_add(in_use).min(free.saturating_add(reserve)),
            reserve_whole: self.no_reserve || spares == Limits::RESERVE_SEGMENTS,
        };
        self.room = self.room.judge(left, segment);
        self.room
    }

    /// What that means, why, and what would help; empty while there is room.
    pub fn no_room(&self, room: Room) -> String {
        let what = match room {
            Room::Ample => return String::new(),
            Room::Low => "is nearly full: waveforms are not taken (gap \"disk-full\"), all else is",
            Room::Reserve => "is full: only alerts and the ledger are taken, all else is a gap \"disk-full\"",
            Room::Spent => "is full and its reserve is spent: nothing is taken (gap \"disk-full\")",
        };
        let (bytes_used, bytes_max, free) = (self.used_bytes(), self.limits.bytes_max, self.folder.free_bytes());
        let by_bound = free >= self.limits.segment_bytes && self.room_bytes() <= free;
        let by = if by_bound { FullBy::Bound { bytes_used, bytes_max } } else { FullBy::Disk };
        let folder = self.folder.path.display();
        format!("store {folder} {what}, until there is room: {by}")
    }

    /// Whether a group that brings nothing would let something be deleted: it may use the last of the reserve.
    pub fn could_free(&self) -> bool {
        super::plan::frees_any(&self.shared, self.next_segment)
    }

    /// Segments and what is set aside, with what the disk has given to the one in use beyond its end.
    pub(super) fn used_bytes(&self) -> u64 {
        let index = self.shared.index();
        let beyond = index.current.as_ref().map_or(0, |c| c.allocated.saturating_sub(disk_bytes(c.length)));
        index.disk_bytes() + beyond
    }

    /// As much of the reserve as the bound leaves room for, before the disk is anybody else's.
    fn refill(&mut self) {
        if let Some(found) = self.found_newest.take() {
            self.folder.give_back_behind(found); // a life that was killed may have left it longer on the disk than it is
        }
        self.trim_spares(0);
        let segment = self.limits.segment_bytes;
        for n in 0..Limits::RESERVE_SEGMENTS {
            let used = self.used_bytes() + (self.spares.len() as u64 + 1) * segment;
            if self.no_reserve || self.spares.contains(&n) || used > self.limits.bytes_max {
                continue;
            }
            match self.folder.make_spare(n, segment) {
                Ok(()) => self.spares.push(n),
                Err(StoreError::Full { .. }) => break,
                Err(e) => {
                    tracing::warn!("{e}. Without it alerts and the ledger stop with everything else when the disk is full");
                    self.no_reserve = true;
                }
            }
        }
    }

    /// The bound holds for the reserve too: at the bound it shrinks by what is written.
    pub(super) fn trim_spares(&mut self, growth: u64) {
        while self.used_bytes() + growth + self.spares.len() as u64 * self.limits.segment_bytes > self.limits.bytes_max {
            let Some(spare) = self.spares.pop() else { return };
            self.folder.drop_spare(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 100;

    fn judge(room: Room, ordinary: u64, urgent: u64, reserve_whole: bool) -> Room {
        room.judge(Left { ordinary, urgent, reserve_whole }, SEGMENT)
    }

    #[test]
    fn what_takes_most_stops_first_and_nothing_flaps() {
        assert_eq!(judge(Room::Ample, 200, 999, true), Room::Ample);
        assert_eq!(judge(Room::Ample, 199, 999, true), Room::Low);
        assert_eq!(judge(Room::Low, 299, 999, true), Room::Low);
        assert_eq!(judge(Room::Low, 300, 999, true), Room::Ample);
        assert_eq!(judge(Room::Low, 99, 999, true), Room::Reserve);
        assert_eq!(judge(Room::Reserve, 199, 999, true), Room::Reserve);
        assert_eq!(judge(Room::Reserve, 200, 999, true), Room::Low);
        assert_eq!(judge(Room::Ample, 999, 999, false), Room::Reserve, "the reserve comes first");
        assert_eq!(judge(Room::Reserve, 0, 24, false), Room::Spent);
        assert_eq!(judge(Room::Spent, 0, 49, false), Room::Spent);
        assert_eq!(judge(Room::Spent, 0, 50, false), Room::Reserve);
        assert_eq!(judge(Room::Spent, 300, 999, true), Room::Ample, "all at once");
    }
}
