//! ROOM 4, batches -> disk: an append-only log of groups in segment files, drawn in FORMAT.md. The bytes stay opaque.
//!
//! What must never be: `commit` answers `Ok` before the group is flushed; a batch is in the index before that; a segment is deleted
//! while a batch in it waits, or before the newest heads and states are flushed in a later one; a found segment is appended to;
//! anything found is believed before it is flushed; anything is written by a life that has nothing to write.

mod commit;
mod contents;
mod error;
mod folder;
mod format;
mod index;
mod open;
mod plan;
mod ranges;
mod recent;
mod room;
mod shelf;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use wardgate_wire::{BatchKey, Class, Digest, Epoch, Life, Sequence};

pub use commit::Store;
pub use error::{FullBy, StoreError};
pub use room::Room;
pub use shelf::Shelf;

/// How large the store and its files may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A segment ends with the group that reaches this.
    pub segment_bytes: u64,
    /// Bound of the whole folder, `RESERVE_SEGMENTS` of it kept back.
    pub bytes_max: u64,
}

impl Limits {
    /// Below this a segment is mostly its own header and footer.
    pub const SEGMENT_BYTES_MIN: u64 = 4096;
    /// Two for alerts and the ledger when all else is refused, the first of them also for the group that is in hand then; two that only
    /// a group may use which frees more than it takes.
    pub const RESERVE_SEGMENTS: u64 = 4;
    /// The reserve, and as much again: less than three segments free are too few to take waveforms again.
    pub const SEGMENTS_MIN: u64 = 8;
}

/// One thing that a group makes durable. An open list: kinds that this version does not know are kept, copied and handed back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Batch {
        key: BatchKey,
        digest: Digest,
        bytes: Vec<u8>,
    },
    /// The newest of each instance is kept, wherever it was written.
    State {
        instance: String,
        bytes: Vec<u8>,
    },
    /// In full, or as the difference to the heads before them. The newest full ones and all differences after them are kept.
    Heads {
        full: bool,
        bytes: Vec<u8>,
    },
    /// Kept until a version comes that knows the kind.
    Other {
        kind: u64,
        bytes: Vec<u8>,
    },
}

/// What one commit makes durable in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub records: Vec<Record>,
}

/// What a start found on the card.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest full heads and the differences after them, in order; empty when there are none.
    pub heads: Vec<(bool, Vec<u8>)>,
    /// The newest of each instance.
    pub states: BTreeMap<String, Vec<u8>>,
    /// What could not be read; empty after a clean stop.
    pub torn: Vec<Torn>,
    /// How many records of each kind that this version does not know: `Store::others` reads them.
    pub others: BTreeMap<u64, u64>,
}

/// A stretch of a file that is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    pub file: PathBuf,
    /// Where belief ends.
    pub offset: u64,
    /// How many bytes from there on are not believed.
    pub bytes: u64,
    /// How many groups before it are believed.
    pub groups_kept: u64,
    pub damage: Damage,
}

/// What the unreadable bytes were, as far as the rest of the card tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A group that never was whole: the power went before its commit returned. Nothing that was called durable is lost.
    Tail,
    /// Only the footer: every group is there.
    Footer,
    /// Whole groups lie behind, or the next segment goes on from a later group: something durable has rotted. The file is never
    /// deleted, only renamed to `*.damaged` when nothing readable in it is wanted any more.
    Middle,
    /// The newest state of this instance; the newest readable one is taken.
    State(String),
    /// The newest heads; those before them are taken.
    Heads,
    /// A `*.damaged` file of an earlier start, for a person to look at and delete.
    Aside,
}

/// Batches of one chain that wait for their acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub life: Life,
    /// Lives in the order in which they wrote on this card; says nothing off it.
    pub life_order: u64,
    pub epoch: Epoch,
    pub class: Class,
    /// Ascending, not touching.
    pub sequences: Vec<RangeInclusive<Sequence>>,
}

/// For the status page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub commits: u64,
    /// Handed to the disk, failed attempts included.
    pub bytes_written: u64,
    pub bytes_on_disk: u64,
    /// Given by the disk and kept for alerts, the ledger and copies, beside `bytes_on_disk`.
    pub reserve_bytes: u64,
    pub failed_commits: u64,
    /// Files that could not be deleted or flushed although nothing in them is wanted; tried again at the next commit.
    pub failed_deletions: u64,
}
