//! The timers of one instance: pure, in nanoseconds of the moment that the corridor's clock reads.

use std::collections::BTreeMap;

use super::rules::{Breach, TIMERS_MAX};
use super::together::slack_ns;
use crate::contract::types::Tag;

const DELAY_MS_MIN: u64 = 10; // what asks for less gets this: a device is not polled faster, and a loop of timers cannot eat the processor

#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    /// When each falls due, and how much later it may go off.
    due_ns: BTreeMap<Tag, (u64, u64)>,
}

impl Timers {
    /// An open timer of the same tag is replaced.
    pub(super) fn set(&mut self, tag: Tag, now_ns: u64, after_ms: u64) -> Result<(), Breach> {
        let after_ms = after_ms.max(DELAY_MS_MIN);
        let due_ns = now_ns.saturating_add(after_ms.saturating_mul(1_000_000));
        self.due_ns.insert(tag, (due_ns, slack_ns(after_ms)));
        if self.due_ns.len() > TIMERS_MAX { Err(Breach::Timers) } else { Ok(()) }
    }

    pub(super) fn cancel(&mut self, tag: Tag) {
        self.due_ns.remove(&tag);
    }

    pub(super) fn clear(&mut self) {
        self.due_ns.clear();
    }

    /// The one that falls due first, and when.
    pub(super) fn next(&self) -> Option<(u64, Tag)> {
        self.due_ns.iter().map(|(tag, (due, _))| (*due, *tag)).min()
    }

    /// When one of them must go off.
    pub(super) fn latest_ns(&self) -> u64 {
        self.due_ns.values().map(|(due, slack)| due.saturating_add(*slack)).min().unwrap_or(u64::MAX)
    }

    /// Takes the first that is due.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Option<(u64, Tag)> {
        let (due, tag) = self.next().filter(|(due, _)| *due <= now_ns)?;
        self.due_ns.remove(&tag);
        Some((due, tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_earliest_comes_first_and_once() {
        let mut t = Timers::default();
        t.set(1, 0, 30).unwrap();
        t.set(2, 0, 20).unwrap();
        t.set(3, 0, 1).unwrap(); // at least 10 ms
        assert_eq!(t.take_due(9 * MS), None);
        assert_eq!(t.take_due(50 * MS), Some((10 * MS, 3)));
        assert_eq!(t.take_due(50 * MS), Some((20 * MS, 2)));
        t.set(1, 50 * MS, 30).unwrap(); // anew: the old one is gone
        assert_eq!(t.take_due(79 * MS), None);
        assert_eq!(t.take_due(80 * MS), Some((80 * MS, 1)));
        assert_eq!(t.take_due(u64::MAX), None);
    }

    #[test]
    fn the_one_that_may_wait_least_says_when_one_goes_off() {
        let mut t = Timers::default();
        assert_eq!(t.latest_ns(), u64::MAX);
        t.set(1, 0, 640).unwrap(); // may be 10 ms late
        assert_eq!(t.latest_ns(), 650 * MS);
        t.set(2, 0, 641).unwrap();
        t.set(3, 600 * MS, 42).unwrap(); // due last, and must go off first
        assert_eq!(t.next(), Some((640 * MS, 1)));
        assert_eq!(t.latest_ns(), 642 * MS + 42 * MS / 64);
    }

    #[test]
    fn a_cancelled_timer_stays_away_and_too_many_are_a_breach() {
        let mut t = Timers::default();
        t.set(1, 0, u64::MAX).unwrap();
        assert_eq!((t.next(), t.latest_ns()), (Some((u64::MAX, 1)), u64::MAX));
        t.cancel(1);
        assert_eq!(t.next(), None);
        let max = u32::try_from(TIMERS_MAX).unwrap();
        assert!((0..max).all(|tag| t.set(tag, 0, 10).is_ok()));
        assert_eq!(t.set(0, 0, 10), Ok(()), "replacing one is no more than before");
        assert_eq!(t.set(max, 0, 10), Err(Breach::Timers));
    }
}
