//! How long the gateway bears with a plugin that fails: when to open it again, and when to stop trying. Pure: the time is an argument, and so is
//! the seed of the jitter.

use std::collections::VecDeque;
use std::time::Duration;

use crate::backoff::{self, Bounds, Jitter};

pub const RESTART_DELAY_MS_MIN: u64 = 500; // slower than a device's own reset, faster than a nurse notices
pub const RESTART_DELAY_MS_MAX: u64 = 60_000; // a plugin that works for a while between its faults is worth a try a minute
/// A run that lasted this long proves that the restart before it was worth it: the next wait is a short one again.
pub const RAN_WELL_S: u64 = 60;
/// So many faults within so long, and it is quarantined: a plugin that cannot even run for seconds brings nothing but wear and log lines. One that
/// fails more rarely than this still brings most of its device's values, and is opened again and again.
pub const QUARANTINE_FAULTS: usize = 5;
pub const QUARANTINE_WITHIN_S: u64 = 60;

const S: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    OpenAfter(Duration),
    Quarantine,
}

pub(super) struct Patience {
    jitter: Jitter,
    /// Failures since a run that went well.
    attempt: u32,
    /// When the newest faults were; at most [`QUARANTINE_FAULTS`].
    faults_ns: VecDeque<u64>,
}

impl Patience {
    pub(super) fn new(seed: u64) -> Self {
        Self { jitter: Jitter::new(seed), attempt: 0, faults_ns: VecDeque::new() }
    }

    /// It failed at `now_ns`, after a run of `ran_ns` (0: it did not even open).
    pub(super) fn after_fault(&mut self, now_ns: u64, ran_ns: u64) -> Verdict {
        if ran_ns >= RAN_WELL_S * S {
            self.attempt = 0;
        }
        if self.faults_ns.len() == QUARANTINE_FAULTS {
            self.faults_ns.pop_front();
        }
        self.faults_ns.push_back(now_ns);
        let first = self.faults_ns.front().copied().unwrap_or(now_ns);
        if self.faults_ns.len() == QUARANTINE_FAULTS && now_ns.saturating_sub(first) <= QUARANTINE_WITHIN_S * S {
            return Verdict::Quarantine;
        }
        let bounds = Bounds { min: Duration::from_millis(RESTART_DELAY_MS_MIN), max: Duration::from_millis(RESTART_DELAY_MS_MAX) };
        let delay = backoff::delay(self.attempt, self.jitter.next(), bounds);
        self.attempt += 1;
        Verdict::OpenAfter(delay)
    }

    /// A person says that it is mended.
    pub(super) fn forgive(&mut self) {
        self.attempt = 0;
        self.faults_ns.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay_ms(verdict: Verdict) -> u64 {
        let Verdict::OpenAfter(delay) = verdict else { panic!("quarantined") };
        delay.as_millis() as u64
    }

    #[test]
    fn five_faults_in_a_minute_are_the_end_of_it_and_a_person_may_try_again() {
        let mut p = Patience::new(1);
        for n in 0..4 {
            delay_ms(p.after_fault(n * 15 * S, S));
        }
        assert_eq!(p.after_fault(60 * S, S), Verdict::Quarantine, "the fifth, a minute after the first");
        p.forgive();
        assert!(delay_ms(p.after_fault(61 * S, 0)) < 2 * RESTART_DELAY_MS_MIN, "and its past does not count");
    }

    #[test]
    fn what_fails_more_rarely_is_opened_again_for_ever() {
        let mut p = Patience::new(1);
        for n in 0..1000 {
            let delay = delay_ms(p.after_fault(n * 15_001_000_000, 14 * S));
            assert!((RESTART_DELAY_MS_MIN..=RESTART_DELAY_MS_MAX).contains(&delay));
        }
    }

    #[test]
    fn waits_grow_to_the_maximum_and_are_short_again_after_a_run_that_went_well() {
        let mut p = Patience::new(7);
        let waits: Vec<_> = (0..40).map(|n| delay_ms(p.after_fault(n * 30 * S, 29 * S))).collect();
        assert!(waits[0] < 2 * RESTART_DELAY_MS_MIN && waits[1] < 4 * RESTART_DELAY_MS_MIN, "{waits:?}");
        assert!(waits.iter().any(|w| *w > RESTART_DELAY_MS_MAX / 2), "{waits:?}");
        assert!(waits[10..].windows(2).any(|w| w[0] != w[1]), "jitter: {waits:?}");
        assert!(delay_ms(p.after_fault(5000 * S, RAN_WELL_S * S)) < 2 * RESTART_DELAY_MS_MIN);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_others() {
        let waits = |seed| {
            let mut p = Patience::new(seed);
            (0..20).map(|n| delay_ms(p.after_fault(n * 30 * S, 0))).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }
}
