//! Timers that fall due close to one another go off together: the machine wakes once for all instances that poll at the same pace, and not for
//! each of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::capability::Clock;

/// What a timer may come too late by, as a part of its length: a device that is asked every second is asked within 16 ms ...
pub const SLACK_PART: u64 = 64;
/// ... and never by more than this, however long it is: a person sees no difference, and no second is skipped.
pub const SLACK_MS_MAX: u64 = 20;

/// All instances of a gateway share one.
#[derive(Clone, Default)]
pub struct Together(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    places: u64,
    /// By place: when its first timer falls due.
    due_ns: BTreeMap<u64, (u64, Arc<Notify>)>,
}

/// One instance's place among those that wait.
pub(super) struct Place {
    together: Together,
    number: u64,
    called: Arc<Notify>,
}

/// While it lives the place is called with the others.
struct Waits<'a>(&'a Place);

/// How much later than asked a timer of this length may go off.
pub(super) fn slack_ns(after_ms: u64) -> u64 {
    (after_ms.saturating_mul(1_000_000) / SLACK_PART).min(SLACK_MS_MAX * 1_000_000)
}

impl Together {
    pub(super) fn place(&self) -> Place {
        let mut waiting = self.lock();
        waiting.places += 1;
        Place { together: self.clone(), number: waiting.places, called: Arc::default() }
    }

    /// Calls all whose time has come.
    fn call(&self, now_ns: u64) {
        self.lock().due_ns.values().filter(|(due_ns, _)| *due_ns <= now_ns).for_each(|(_, called)| called.notify_one());
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().expect("no holder panics")
    }
}

impl Place {
    /// Ends when `due_ns` is past and somebody's timer goes off, at the latest at `latest_ns`. It may end early; whoever waits looks at the clock.
    pub(super) async fn wait(&self, clock: Clock, due_ns: u64, latest_ns: u64) {
        if latest_ns == u64::MAX {
            return std::future::pending().await;
        }
        self.together.lock().due_ns.insert(self.number, (due_ns, self.called.clone()));
        let _waits = Waits(self);
        let left = Duration::from_nanos(latest_ns.saturating_sub(clock().monotonic_ns));
        tokio::select! {
            () = self.called.notified() => {}
            () = sleep(left) => self.together.call(clock().monotonic_ns),
        }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.together.lock().due_ns.remove(&self.0.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::types::Moment;

    const MS: u64 = 1_000_000;

    fn clock() -> Moment {
        Moment { boot: 1, monotonic_ns: 100 * MS, wall: None }
    }

    #[test]
    fn a_timer_is_late_by_a_part_of_its_length_and_never_by_much() {
        assert_eq!(slack_ns(10), 10 * MS / 64);
        assert_eq!(slack_ns(640), 10 * MS);
        assert_eq!(slack_ns(1000), 15_625_000);
        assert_eq!(slack_ns(60_000), SLACK_MS_MAX * MS);
        assert_eq!(slack_ns(u64::MAX), SLACK_MS_MAX * MS);
    }

    //= PROMISES.md#P35
    #[tokio::test]
    async fn the_first_that_goes_off_calls_those_that_are_due_and_no_other() {
        let together = Together::default();
        let (first, due, later) = (together.place(), together.place(), together.place());
        // the clock stands at 100 ms: what is due by then goes with the first, though it could wait for an hour
        let both = async { tokio::join!(first.wait(clock, 95 * MS, 100 * MS), due.wait(clock, 100 * MS, 3_600_000 * MS)) };
        tokio::select! {
            biased;
            () = later.wait(clock, 101 * MS, 3_600_000 * MS) => panic!("not yet due"),
            done = tokio::time::timeout(Duration::from_secs(60), both) => assert!(done.is_ok(), "nobody called the second"),
        }
        assert!(together.lock().due_ns.is_empty(), "who waits no more is called no more");
    }
}
