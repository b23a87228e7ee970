//! What went with a store that was lost (rule 10): a view on the ledger and never a fact of it, as later data may still replace it. Pure.
//!
//! An epoch that is not closed is given up when the gateway says that it holds nothing so old any more (the bit `clean`, ancestors included), or
//! when its branch ended without a successor: a life without predecessor has opened since, or another has spoken for longer than `silent_ns`.

use std::collections::{BTreeMap, BTreeSet};

use wardgate_wire::{Epoch as EpochNumber, GapReason, Life, Moment, Run, Stream};

use super::epoch::Epoch;
use super::{Gateway, LifeState, Lost};
use crate::ranges::Ranges;

/// What is known of one run: forgotten when its life is settled and another goes on.
#[derive(Debug)]
pub struct Known {
    /// Positions that came or are explained.
    positions: Ranges,
    first: u64,
    /// One more than the highest position heard of, and the moment of its value.
    next: u64,
    last: Moment,
}

impl LifeState {
    pub(super) fn knows(&mut self, stream: &Stream, run: Run, (first, next): (u64, u64), last: Moment) {
        let known = self.reaches(stream, run, first, (next, last));
        known.positions.insert(first, next);
        self.begin.get_or_insert(last);
    }

    /// A closing says how far a run went, whether or not it came.
    pub(super) fn reaches(&mut self, stream: &Stream, run: Run, first: u64, (next, last): (u64, Moment)) -> &mut Known {
        let begin = || Known { positions: Ranges::default(), first, next, last };
        let known = self.known.entry((stream.clone(), run)).or_insert_with(begin);
        known.first = known.first.min(first);
        if next > known.next {
            (known.next, known.last) = (next, last);
        }
        known
    }

    /// Once nothing is open and another life goes on, holes cannot be asked for any more.
    pub(super) fn forget(&mut self) {
        if !self.named_by.is_empty() && self.open().is_empty() {
            self.known = BTreeMap::new();
            self.forgotten = true;
        }
    }

    /// Epochs of which something may still come.
    fn open(&self) -> Vec<EpochNumber> {
        let holes = self.top.map_or_else(Vec::new, |top| self.closed.holes(0, u64::from(top) + 1));
        let epochs = holes.into_iter().flat_map(|(a, z)| a..z).filter_map(|e| EpochNumber::try_from(e).ok());
        epochs.filter(|e| !self.epochs.get(e).is_some_and(Epoch::is_settled)).collect()
    }
}

impl Gateway {
    pub fn heard(&mut self, life: Life, received_ns: i64) {
        let state = self.lives.entry(life).or_default();
        let (first, newest) = state.heard_ns.unwrap_or((received_ns, received_ns));
        state.heard_ns = Some((first, newest.max(received_ns)));
        if state.predecessor == Some(None) {
            state.began_anew_ns.get_or_insert(received_ns);
        }
    }

    /// Stretches that are given up, by life, stream and run.
    pub fn store_lost(&self, silent_ns: i64) -> Vec<Lost> {
        let covered = self.covered();
        let mut lost = Vec::new();
        for (&life, state) in &self.lives {
            let gone = |epoch: &EpochNumber| self.is_gone(life, *epoch, covered.get(&life).copied(), silent_ns);
            let Some(upto) = state.open().into_iter().filter(gone).max() else { continue };
            let ended = state.top == Some(upto);
            let after = self.after(life);
            for ((stream, run), known) in &state.known {
                let limit = if ended { known.next } else { state.closed_below(stream, *run, upto) };
                let first = if state.forgotten { known.first } else { 0 };
                let of = |first, indices, from| Lost {
                    life,
                    stream: stream.clone(),
                    run: *run,
                    first,
                    indices,
                    values: None,
                    from,
                    to: if indices == 0 { after.unwrap_or(known.last) } else { known.last },
                    reason: GapReason::StoreLost,
                    before: None,
                    shed: Vec::new(),
                };
                lost.extend(known.positions.holes(first, limit).into_iter().map(|(a, z)| of(a, z - a, None)));
                if ended {
                    lost.push(of(known.next, 0, Some(known.last))); // nobody knows how much followed
                }
            }
        }
        lost
    }

    /// Up to which epoch each life holds nothing any more.
    fn covered(&self) -> BTreeMap<Life, EpochNumber> {
        let mut covered: BTreeMap<Life, EpochNumber> = BTreeMap::new();
        for (&life, state) in &self.lives {
            let Some(clean) = state.clean else { continue };
            let mut at = Some((life, clean.checked_sub(1)));
            let mut seen = BTreeSet::new();
            while let Some((life, upto)) = at.filter(|(life, _)| seen.insert(*life)) {
                if let Some(upto) = upto {
                    covered.entry(life).and_modify(|e| *e = upto.max(*e)).or_insert(upto);
                }
                let before = self.lives.get(&life).and_then(|s| s.predecessor).flatten();
                at = before.map(|p| (p, self.lives.get(&p).and_then(|s| s.named_by.get(&life)).copied()));
            }
        }
        covered
    }

    fn is_gone(&self, life: Life, epoch: EpochNumber, covered: Option<EpochNumber>, silent_ns: i64) -> bool {
        let Some(state) = self.lives.get(&life) else { return false };
        // a successor names all that is known of an epoch, unless its life went on above that
        let own_past = !state.epochs.get(&epoch).is_some_and(Epoch::went_on);
        let onward = state.named_by.iter().filter(|(_, e)| **e > epoch || **e == epoch && own_past).map(|(n, _)| *n).collect();
        covered.is_some_and(|upto| epoch <= upto) && own_past || self.is_dead(life, onward, silent_ns)
    }

    /// Whether this life, and every branch that goes on with it, has an end: others speak where it does not.
    fn is_dead(&self, life: Life, onward: Vec<Life>, silent_ns: i64) -> bool {
        let branch = self.descendants(life, onward);
        let ended = |&one: &Life| {
            let heard = |l: &Life| self.lives.get(l).and_then(|s| s.heard_ns).map_or(i64::MIN, |(_, newest)| newest);
            let mine = if one == life { branch.clone() } else { self.descendants(one, self.named_by(one)) };
            self.lives.iter().filter(|(other, _)| !mine.contains(other)).any(|(other, state)| {
                heard(other) > heard(&one).saturating_add(silent_ns) || state.began_anew_ns.is_some_and(|at| at > heard(&one))
            })
        };
        branch.iter().rev().all(ended)
    }

    fn named_by(&self, life: Life) -> Vec<Life> {
        self.lives.get(&life).map_or_else(Vec::new, |s| s.named_by.keys().copied().collect())
    }

    fn descendants(&self, life: Life, mut next: Vec<Life>) -> BTreeSet<Life> {
        let mut all = BTreeSet::from([life]);
        while let Some(one) = next.pop() {
            if all.insert(one) {
                next.extend(self.named_by(one));
            }
        }
        all
    }

    /// When the gateway spoke again after this life was last heard of.
    fn after(&self, life: Life) -> Option<Moment> {
        let (_, newest) = self.lives.get(&life)?.heard_ns?;
        let later = self.lives.values().filter_map(|s| Some((s.heard_ns?.0, s.begin?)));
        later.filter(|(first, _)| *first > newest).min_by_key(|(first, _)| *first).map(|(_, begin)| begin)
    }
}

impl LifeState {
    /// How far the closings of epochs up to this one say that a run went.
    fn closed_below(&self, stream: &Stream, run: Run, upto: EpochNumber) -> u64 {
        self.epochs.range(..=upto).flat_map(|(_, e)| e.next_of(stream, run)).max().unwrap_or(0)
    }
}
