//! Which batch goes next: the live lane by urgency, the backlog newest epoch first, and how the two share the link.
//!
//! Live is the present epoch of the present life. It goes first, by class: alert, ledger, numeric, preview, waveform, archive. Backlog is all the
//! rest: alerts of all epochs, then the ledger of all epochs, then newest epoch first; within an epoch by class, within a class oldest batch first.
//! Of `LIVE_IN_A_ROW_MAX` + 1 messages one is the backlog's while both wait, so that a link too thin for the live waveforms still brings home the
//! alerts and the ledger of an outage; a live alert never gives its turn away.
//!
//! The cost: one sort of the ranges held (a few for each epoch), when the shelf has changed: at most once for each commit and each acknowledgement
//! that freed something, never for each message. A pick walks from where the last one stopped and passes over what the window holds: the steps
//! of all picks between two sorts are the batches handed out plus the window.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use wardgate_wire::{BatchKey, Class, Epoch, Life, Sequence};

use crate::store::Held;

/// Live messages in a row before the backlog has a turn: a ninth of a thin link, little enough that live stays live.
pub(super) const LIVE_IN_A_ROW_MAX: u32 = 8;

/// Order of urgency between batches; the smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Live(Class),
    BacklogAlert,
    BacklogLedger,
    Backlog,
}

impl Rank {
    pub fn of(key: &BatchKey, present: (Life, Epoch)) -> Self {
        match key.class {
            class if (key.life, key.epoch) == present => Self::Live(class),
            Class::Alert => Self::BacklogAlert,
            Class::Ledger => Self::BacklogLedger,
            _ => Self::Backlog,
        }
    }

    pub fn is_live(self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Goes ahead of windows and turns: what a device says now must not wait until a receiver has spoken about waveforms.
    pub fn is_alert(self) -> bool {
        self == Self::Live(Class::Alert)
    }
}

/// Whose turn it is, when live and backlog both wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    live_in_a_row: u32,
}

impl Turns {
    /// The one of the waiting that goes next.
    pub fn pick<T>(self, waiting: impl IntoIterator<Item = (Rank, T)>) -> Option<(Rank, T)> {
        let (mut live, mut backlog) = (None, None);
        for candidate in waiting {
            let best: &mut Option<(Rank, T)> = if candidate.0.is_live() { &mut live } else { &mut backlog };
            if best.as_ref().is_none_or(|b| candidate.0 < b.0) {
                *best = Some(candidate);
            }
        }
        match (live, backlog) {
            (Some(l), Some(b)) if self.live_in_a_row >= LIVE_IN_A_ROW_MAX && !l.0.is_alert() => Some(b),
            (Some(l), _) => Some(l),
            (None, b) => b,
        }
    }

    pub fn sent(&mut self, rank: Rank) {
        self.live_in_a_row = if rank.is_live() { self.live_in_a_row.saturating_add(1) } else { 0 };
    }
}

/// What is held, in the order in which it is to go. Made anew when the shelf changes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// One for each class.
    live: Vec<Ahead>,
    /// Stacks: the next to go stands at the end.
    backlog: Vec<Ahead>,
    alerts: Vec<Ahead>,
    ledger: Vec<Ahead>,
    /// Everything held, for `holds`.
    all: Vec<(Life, Epoch, Class, RangeInclusive<Sequence>)>,
}

/// A stretch of batches of one class and epoch that have not been handed out since the lanes were made.
#[derive(Debug)]
struct Ahead {
    life: Life,
    epoch: Epoch,
    class: Class,
    left: VecDeque<RangeInclusive<Sequence>>,
}

impl Ahead {
    fn first(&self) -> Option<BatchKey> {
        let sequence = *self.left.front()?.start();
        Some(BatchKey { life: self.life, epoch: self.epoch, class: self.class, sequence })
    }

    fn step(&mut self) {
        if let Some(range) = self.left.pop_front()
            && range.start() < range.end()
        {
            self.left.push_front(range.start() + 1..=*range.end());
        }
    }
}

impl Lanes {
    pub fn new(mut held: Vec<Held>, present: (Life, Epoch)) -> Self {
        let newest_first = |h: &Held| std::cmp::Reverse((h.life_order, h.epoch));
        held.sort_by_key(|h| (newest_first(h), h.class));
        let mut lanes = Self::default();
        for h in held {
            let mut ranges: Vec<_> = h.sequences.into_iter().filter(|r| !r.is_empty()).collect();
            ranges.sort_unstable_by_key(|r| *r.start());
            lanes.all.extend(ranges.iter().map(|r| (h.life, h.epoch, h.class, r.clone())));
            let stack = match h.class {
                _ if (h.life, h.epoch) == present => &mut lanes.live,
                Class::Alert => &mut lanes.alerts,
                Class::Ledger => &mut lanes.ledger,
                _ => &mut lanes.backlog,
            };
            stack.push(Ahead { life: h.life, epoch: h.epoch, class: h.class, left: ranges.into() });
        }
        lanes.all.sort_unstable_by_key(|(life, epoch, class, range)| (*life, *epoch, *class, *range.start()));
        for stack in [&mut lanes.backlog, &mut lanes.alerts, &mut lanes.ledger] {
            stack.reverse(); // the next to go stands at the end, where it is cheap to take away
        }
        lanes
    }

    pub fn holds(&self, key: &BatchKey) -> bool {
        let after = self.all.partition_point(|(l, e, c, r)| (*l, *e, *c, *r.start()) <= (key.life, key.epoch, key.class, key.sequence));
        after.checked_sub(1).is_some_and(|at| {
            let (life, epoch, class, range) = &self.all[at];
            (*life, *epoch, *class) == (key.life, key.epoch, key.class) && range.contains(&key.sequence)
        })
    }

    /// The next of each rank that nobody has in hand: at most one for each class of the live lane, and one of each kind of backlog.
    /// What is passed over is not looked at again before the lanes are made anew.
    pub fn next(&mut self, in_hand: impl Fn(&BatchKey) -> bool) -> Vec<(Rank, BatchKey)> {
        let mut next = Vec::new();
        for ahead in &mut self.live {
            if let Some(key) = skip(ahead, &in_hand) {
                next.push((Rank::Live(key.class), key));
            }
        }
        for (stack, rank) in
            [(&mut self.alerts, Rank::BacklogAlert), (&mut self.ledger, Rank::BacklogLedger), (&mut self.backlog, Rank::Backlog)]
        {
            while let Some(ahead) = stack.last_mut() {
                if let Some(key) = skip(ahead, &in_hand) {
                    next.push((rank, key));
                    break;
                }
                stack.pop();
            }
        }
        next
    }
}

fn skip(ahead: &mut Ahead, in_hand: impl Fn(&BatchKey) -> bool) -> Option<BatchKey> {
    while let Some(key) = ahead.first() {
        if !in_hand(&key) {
            return Some(key);
        }
        ahead.step();
    }
    None
}
