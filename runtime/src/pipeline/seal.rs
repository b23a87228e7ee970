//! Sealing: closes every open batch, and the epoch if that was asked for, inside one group.

use std::sync::Arc;

use wardgate_wire::{Batch, BatchKey, Class, Content, Digest, Entry, Header, encode};

use crate::contract::types;
use crate::status::Gap;

use super::heads::{ClassHead, Heads};
use super::{Pipeline, PipelineError, Sealed, Setup, Urgency, convert};

/// The group being made. The pipeline itself is touched only when it is whole.
struct Draft<'a> {
    setup: &'a Setup,
    heads: Heads,
    batches: Vec<(BatchKey, Digest, Vec<u8>)>,
}

impl Draft<'_> {
    /// Closes one batch: its number and the digest before it come from the heads, and go back there.
    fn close(&mut self, class: Class, content: Content) -> Result<(), PipelineError> {
        let head = self.heads.classes.get(&class).copied().unwrap_or(ClassHead { next: 0, last: Digest::default() });
        let key = BatchKey { life: self.heads.life, epoch: self.heads.epoch, class, sequence: head.next };
        let batch = Batch { header: Header { gateway: self.setup.gateway.clone(), key, previous: head.last }, content };
        let encoded = encode(&batch, &self.setup.key).map_err(|error| PipelineError::Encode { batch: key, error })?;
        self.heads.classes.insert(class, ClassHead { next: head.next + 1, last: encoded.digest });
        self.batches.push((key, encoded.digest, encoded.bytes));
        Ok(())
    }
}

impl Pipeline {
    /// Makes everything said so far into one group. Called although nothing is wanted (the store has something of its own to write),
    /// it still gives heads, and the opening if that is not written yet. The heads are full where a difference would have nothing
    /// to stand on: in the first group of a life and of an epoch, and when `full_heads` asks for it.
    pub fn seal(&mut self, full_heads: bool, now: types::Moment) -> Result<Sealed, PipelineError> {
        let now = convert::moment(now);
        let first = !self.sealed.written();
        if self.change.is_some() {
            self.tell_untaken(now);
        }
        let mut draft = Draft { setup: &self.setup, heads: self.book.heads.clone(), batches: Vec::new() };
        for (class, content) in self.book.open.data() {
            draft.close(class, content)?;
        }
        let stretches = if self.change.is_some() { draft.heads.tell_open_gaps(now) } else { Vec::new() };
        let mut gaps = Vec::new();
        for (class, content) in self.book.open.ledger(stretches) {
            gaps.extend(self.told(&content));
            draft.close(class, content)?;
        }
        if let Some(change) = self.change {
            let closing = Entry::Closing(draft.heads.closing(change.clean));
            draft.heads.begin_next_epoch();
            draft.close(Class::Ledger, Content::Ledger(vec![closing]))?;
        }
        draft.heads.moment = now;
        draft.heads.number += 1;
        let full = full_heads || first || self.change.is_some();
        let heads = if full { draft.heads.full() } else { draft.heads.difference(&self.sealed) };
        let Draft { heads: sealed, batches, .. } = draft;
        Ok(self.finish(sealed, batches, (full, heads), gaps))
    }

    /// From here on nothing can fail.
    fn finish(&mut self, sealed: Heads, batches: Vec<(BatchKey, Digest, Vec<u8>)>, heads: (bool, Vec<u8>), gaps: Vec<Gap>) -> Sealed {
        self.book.open.clear();
        self.book.heads = sealed.clone();
        if self.change.take().is_some() {
            (self.book.holds, self.book.runs_in_epoch) = (false, 0);
        }
        self.sealed = sealed;
        self.urgency = Urgency::No;
        let states = std::mem::take(&mut self.states);
        let mut states: Vec<_> = states.into_iter().map(|(name, state): (Arc<str>, _)| (name.to_string(), state)).collect();
        states.extend(self.instances.iter_mut().flat_map(|(instance, of)| of.parking.changes(instance)));
        states.extend(self.instances.iter_mut().flat_map(|(instance, of)| of.window_changes(instance)));
        Sealed { batches, states, heads, durable: std::mem::take(&mut self.durable), gaps }
    }
}
