//! Parts back to batches, at the receiver: pure, and bounded whatever arrives.

use std::collections::{BTreeMap, HashMap};

use crate::batch::read_envelope;
use crate::limits::BATCH_BYTES_MAX;
use crate::seal::{self, Domain};
use crate::{BatchKey, Digest, GatewayId, Part, WireError};

/// Batches that wait for parts: a gateway on a thin link has a handful of messages in flight, a receiver some dozens of such gateways.
pub const JOIN_BATCHES_MAX: usize = 256;
/// Bytes of parts that wait: four of the largest batches, thousands of usual ones.
pub const JOIN_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;
/// What a part weighs in memory beside its bytes, so that many small ones count too.
const PART_OVERHEAD_BYTES: usize = 64;

/// Parts of different batches, or of different splits of one, never join.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Whole {
    gateway: GatewayId,
    key: BatchKey,
    digest: Digest,
    total: u16,
}

#[derive(Default)]
struct Waiting {
    parts: BTreeMap<u16, Vec<u8>>,
    weight: usize,
    touched: u64,
}

/// Keeps parts until their batch is whole. What is over the limits goes, the batch that was longest without a new part first; nothing is lost
/// by that, as only a whole batch is acknowledged. One for each gateway keeps a busy gateway from throwing out another's.
#[derive(Default)]
pub struct Joiner {
    waiting: HashMap<Whole, Waiting>,
    bytes: usize,
    turn: u64,
    thrown_out: u64,
}

impl Joiner {
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of the batch that this part makes whole; its digest is checked here, its MAC is checked by whoever reads it.
    pub fn add(&mut self, part: Part) -> Result<Option<Vec<u8>>, WireError> {
        let Part { header, digest, index, total, bytes } = part;
        let whole = Whole { gateway: header.gateway.clone(), key: header.key, digest, total };
        if self.waiting.get(&whole).is_some_and(|w| w.parts.get(&index).is_some_and(|had| *had != bytes)) {
            self.forget(&whole); // cut at other places into as many parts: the newer cut counts
        }
        self.turn += 1;
        let waiting = self.waiting.entry(whole.clone()).or_default();
        waiting.touched = self.turn;
        if !waiting.parts.contains_key(&index) {
            let weight = bytes.len() + PART_OVERHEAD_BYTES;
            waiting.weight += weight;
            self.bytes += weight;
            waiting.parts.insert(index, bytes);
        }
        let count = waiting.parts.len();
        if waiting.weight - count * PART_OVERHEAD_BYTES > BATCH_BYTES_MAX {
            self.forget(&whole);
            return Err(WireError::Joined);
        }
        if count < usize::from(total) {
            self.make_room();
            return Ok(None);
        }
        let parts = self.forget(&whole).unwrap_or_default().parts;
        let joined = parts.into_values().collect::<Vec<_>>().concat();
        let covered = Domain::Batch.covered(&joined).map_err(|_| WireError::Joined)?.0;
        let same = seal::digest(covered) == digest && read_envelope(covered).is_ok_and(|(_, found, _)| found == header);
        if same { Ok(Some(joined)) } else { Err(WireError::Joined) }
    }

    /// Batches that wait, and the memory that they take.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// How often a batch was thrown out because the limits were reached.
    pub fn thrown_out(&self) -> u64 {
        self.thrown_out
    }

    fn forget(&mut self, whole: &Whole) -> Option<Waiting> {
        let gone = self.waiting.remove(whole)?;
        self.bytes -= gone.weight;
        Some(gone)
    }

    fn make_room(&mut self) {
        while self.waiting.len() > JOIN_BATCHES_MAX || self.bytes > JOIN_BYTES_MAX {
            let Some(oldest) = self.waiting.iter().min_by_key(|(_, w)| w.touched).map(|(whole, _)| whole.clone()) else { return };
            self.forget(&oldest);
            self.thrown_out += 1;
        }
    }
}
