//! What the store knows in memory: ranges per segment and chain, never a batch; offsets only of the segment in use.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::sync::Arc;

use wardgate_wire::{BatchKey, Digest, Epoch, Life, Sequence};

use super::Held;
use super::contents::{Chain, Contents, Piece};
use super::folder::disk_bytes;
use super::ranges::Ranges;

/// An acknowledgement that would cut a segment's share of a chain into more ranges is not taken: the batches come again, and the
/// index keeps its bound however the link reorders.
pub(super) const RANGES_MAX: usize = 256;

/// One file, found or written by this life.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub disk_bytes: u64,
    /// Batches not acknowledged.
    pub waiting: u64,
    /// Records of unknown kinds.
    pub others: u64,
    /// Something durable in it has rotted: set aside, never deleted.
    pub damaged: bool,
    /// Of all its batches, acknowledged or not.
    pub chains: BTreeSet<Chain>,
}

/// A chain's batches in one segment.
struct Holding {
    segment: u64,
    first_group: u64,
    waiting: Ranges,
    /// Of all its batches, acknowledged or not: `bytes / batches` is what one takes.
    batches: u64,
    bytes: u64,
}

/// The segment that this life appends to.
pub(super) struct Current {
    pub number: u64,
    pub file: Arc<File>,
    pub length: u64,
    /// It was of the reserve: what the disk has given it; else 0.
    pub allocated: u64,
    pub contents: Contents,
}

/// Where a batch lies.
pub(super) enum Place {
    Current(u64, Arc<File>, Piece),
    Segment(u64),
}

#[derive(Default)]
pub(super) struct Index {
    pub segments: BTreeMap<u64, Segment>,
    /// By segment, ascending. Only what waits.
    chains: BTreeMap<Chain, Vec<Holding>>,
    /// Where the newest state of each instance lies.
    pub states: BTreeMap<String, (u64, Piece)>,
    /// The segment of the newest full heads.
    pub full_heads: Option<u64>,
    pub any_heads: bool,
    /// Acknowledged since the last commit.
    pub unrecorded: BTreeMap<Chain, Ranges>,
    pub current: Option<Current>,
    pub aside_bytes: u64,
    pub refused: u64,
}

impl Index {
    pub fn disk_bytes(&self) -> u64 {
        self.aside_bytes + self.segments.values().map(|s| s.disk_bytes).sum::<u64>()
    }

    /// What a group, or a whole found segment, brought. A batch that another segment holds too counts once.
    pub fn add(&mut self, segment: u64, contents: &Contents) {
        for (chain, shelved) in &contents.chains {
            let holdings = self.chains.entry(*chain).or_default();
            let mut new = Ranges::default();
            for &(sequence, _) in &shelved.batches {
                if !holdings.iter().any(|h| h.waiting.contains(sequence)) {
                    new.insert(sequence, sequence);
                }
            }
            let at = holdings.partition_point(|h| h.segment < segment);
            if holdings.get(at).is_none_or(|h| h.segment != segment) {
                let first_group = shelved.first_group;
                holdings.insert(at, Holding { segment, first_group, waiting: Ranges::default(), batches: 0, bytes: 0 });
            }
            let holding = &mut holdings[at];
            holding.batches += shelved.batches.len() as u64;
            holding.bytes += shelved.batches.iter().map(|(_, piece)| u64::from(piece.length)).sum::<u64>();
            self.segments.entry(segment).or_default().waiting += new.count();
            holding.waiting.insert_all(&new);
            if new.is_empty() {
                self.forget_empty(chain);
            }
        }
        let here = self.segments.entry(segment).or_default();
        here.others += contents.others.len() as u64;
        here.chains.extend(contents.chains.keys());
        self.any_heads |= !contents.heads.is_empty();
    }

    /// Takes these away; which of them were held. `bounded`: refuse what would cost too many ranges.
    pub fn take(&mut self, chain: &Chain, gone: &Ranges, bounded: bool) -> Ranges {
        let mut taken = Ranges::default();
        for holding in self.chains.get_mut(chain).into_iter().flatten() {
            let here = holding.waiting.common(gone);
            if here.is_empty() {
                continue;
            }
            let mut left = holding.waiting.clone();
            left.remove_all(&here);
            if bounded && left.parts().len() > RANGES_MAX && left.parts().len() > holding.waiting.parts().len() {
                self.refused += 1;
                continue;
            }
            holding.waiting = left;
            self.segments.get_mut(&holding.segment).expect("a holding's segment is known").waiting -= here.count();
            taken.insert_all(&here);
        }
        self.forget_empty(chain);
        taken
    }

    fn forget_empty(&mut self, chain: &Chain) {
        if let Some(holdings) = self.chains.get_mut(chain) {
            holdings.retain(|h| !h.waiting.is_empty());
            if holdings.is_empty() {
                self.chains.remove(chain);
            }
        }
    }

    pub fn chains_of(&self, life: Life, epoch: Epoch) -> Vec<Chain> {
        self.chains.keys().filter(|c| c.life == life && c.epoch == epoch).copied().collect()
    }

    pub fn waits(&self, chain: &Chain, gone: &Ranges) -> bool {
        self.chains.get(chain).is_some_and(|holdings| holdings.iter().any(|h| !h.waiting.common(gone).is_empty()))
    }

    pub fn place(&self, key: &BatchKey) -> Option<Place> {
        let holding = self.chains.get(&Chain::of(key))?.iter().find(|h| h.waiting.contains(key.sequence))?;
        match &self.current {
            Some(c) if c.number == holding.segment => Some(Place::Current(c.number, c.file.clone(), c.contents.find(key)?)),
            _ => Some(Place::Segment(holding.segment)),
        }
    }

    /// Batches, and their bytes: exact for whole chains, by the average where part of one is acknowledged.
    pub fn waiting(&self) -> (u64, u64) {
        self.chains.values().flatten().fold((0, 0), |(batches, bytes), h| {
            let n = h.waiting.count();
            (batches + n, bytes + (u128::from(h.bytes) * u128::from(n) / u128::from(h.batches.max(1))) as u64)
        })
    }

    pub fn held(&self) -> Vec<Held> {
        let mut order: BTreeMap<Life, u64> = BTreeMap::new();
        for (chain, holdings) in &self.chains {
            let first = holdings.iter().map(|h| h.first_group).min().unwrap_or(u64::MAX);
            order.entry(chain.life).and_modify(|o| *o = first.min(*o)).or_insert(first);
        }
        let mut held: Vec<Held> = self
            .chains
            .iter()
            .map(|(chain, holdings)| {
                let mut all = Ranges::default();
                holdings.iter().for_each(|h| all.insert_all(&h.waiting));
                let Chain { life, epoch, class } = *chain;
                Held { life, life_order: order[&life], epoch, class, sequences: all.to_inclusive() }
            })
            .collect();
        held.sort_by_key(|h| (h.life_order, h.life, h.epoch, h.class));
        held
    }

    pub fn holds_older_than(&self, life: Life, epoch: Epoch) -> bool {
        self.chains.keys().any(|c| c.life != life || c.epoch < epoch)
    }

    /// Forgets a deleted file.
    pub fn forget(&mut self, number: u64) {
        self.states.retain(|_, (at, _)| *at != number); // only one that could not be read is still named here
        if let Some(segment) = self.segments.remove(&number)
            && segment.damaged
        {
            self.aside_bytes += segment.disk_bytes;
        }
    }

    /// These acknowledgements are on flash.
    pub fn settle(&mut self, recorded: &BTreeMap<Chain, Ranges>) {
        for (chain, ranges) in recorded {
            if let Some(left) = self.unrecorded.get_mut(chain) {
                left.remove_all(ranges);
            }
        }
        self.unrecorded.retain(|_, ranges| !ranges.is_empty());
    }

    pub fn set_length(&mut self, number: u64, bytes: u64) {
        self.segments.entry(number).or_default().disk_bytes = disk_bytes(bytes);
    }

    /// Newest states of instances that lie in this segment, those left out that are about to be written anew.
    pub fn states_in(&self, segment: u64, anew: &BTreeSet<&str>) -> Vec<(String, Piece)> {
        let here = self.states.iter().filter(|(name, (at, _))| *at == segment && !anew.contains(name.as_str()));
        here.map(|(name, (_, piece))| (name.clone(), *piece)).collect()
    }

    /// About what the index takes, the offsets of the segment in use left out.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        const NODE_BYTES: usize = 16; // a B-tree's share of its nodes and empty slots
        let holdings: usize = self
            .chains
            .values()
            .map(|list| list.capacity() * size_of::<Holding>() + list.iter().map(|h| h.waiting.heap_bytes()).sum::<usize>())
            .sum();
        holdings
            + self.chains.len() * (size_of::<(Chain, Vec<Holding>)>() + NODE_BYTES)
            + self.segments.len() * (size_of::<(u64, Segment)>() + NODE_BYTES)
            + self.segments.values().map(|s| s.chains.len() * (size_of::<Chain>() + NODE_BYTES)).sum::<usize>()
            + self.states.keys().map(|k| k.capacity() + size_of::<(String, (u64, Piece))>() + NODE_BYTES).sum::<usize>()
            + self.unrecorded.values().map(|r| r.heap_bytes() + size_of::<(Chain, Ranges)>() + NODE_BYTES).sum::<usize>()
    }
}

/// The sequences that an acknowledgement speaks of.
pub(super) fn acknowledged(high: Sequence, missing: &[(Sequence, Sequence)]) -> Ranges {
    let mut gone = Ranges::one(0, high);
    missing.iter().filter(|(first, last)| first <= last).for_each(|&(first, last)| gone.remove(first, last));
    gone
}

/// The digest that stands before a batch's bytes.
pub(super) fn digest_of(payload: &[u8]) -> Option<Digest> {
    let mut r = wardgate_wire::bytes::Reader::new(payload, "a batch");
    super::format::read_batch_head(&mut r).ok().map(|(_, digest)| digest)
}
