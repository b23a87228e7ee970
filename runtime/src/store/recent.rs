//! The newest batches' bytes, kept in memory after their flush: they are sent and acknowledged within seconds, and the card need not be asked.

use std::collections::VecDeque;

use wardgate_wire::{BatchKey, Digest};

use super::{Group, Record};

/// Some seconds of a full ward. What waits longer comes from the card.
const RECENT_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Recent {
    /// Oldest first.
    batches: VecDeque<(BatchKey, Digest, Vec<u8>)>,
    bytes: usize,
}

impl Recent {
    /// Of a group that is on flash.
    pub fn take(&mut self, group: &Group) {
        for record in &group.records {
            if let Record::Batch { key, digest, bytes } = record {
                self.bytes += bytes.len();
                self.batches.push_back((*key, *digest, bytes.clone()));
            }
        }
        while self.bytes > RECENT_BYTES_MAX {
            let Some((_, _, bytes)) = self.batches.pop_front() else { break };
            self.bytes -= bytes.len();
        }
    }

    pub fn find(&self, key: &BatchKey) -> Option<(Digest, &[u8])> {
        self.batches.iter().find(|(k, ..)| k == key).map(|(_, digest, bytes)| (*digest, &bytes[..]))
    }
}
