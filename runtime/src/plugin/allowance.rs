//! How much an instance may say over time: a bucket that fills at the rate of its manifest. Pure: the time is an argument. One call has a bound of its
//! own; without this one a plugin that says little enough in each of many calls would fill the card for all.

use super::rules::Breach;

/// What was not said in this time may be said at once: a device that sends its memory, or that was away, says much for a while.
const SAVED_S_MAX: u64 = 60;

/// Alerts are never left out when the disk is full and each hurries a commit, so they have a rate of their own: far more than a bed of devices can
/// change its mind.
const ALERTS_S: u64 = 10;

pub(super) struct Allowance {
    kib_s: u64,
    bytes: Bucket,
    alerts: Bucket,
}

impl Allowance {
    pub(super) fn new(kib_s: u64) -> Self {
        Self { kib_s, bytes: Bucket::full(kib_s << 10), alerts: Bucket::full(ALERTS_S) }
    }

    /// A call said so much. What is refused takes nothing, so that one that goes on more quietly goes on.
    pub(super) fn take(&mut self, now_ns: u64, bytes: usize, alerts: usize) -> Result<(), Breach> {
        self.bytes.fill(now_ns);
        self.alerts.fill(now_ns);
        let bytes = self.bytes.left.checked_sub(bytes as u64).ok_or(Breach::Flood { kib_s: self.kib_s, saved_s: SAVED_S_MAX })?;
        let alerts = self.alerts.left.checked_sub(alerts as u64).ok_or(Breach::Alerts { a_s: ALERTS_S, saved_s: SAVED_S_MAX })?;
        (self.bytes.left, self.alerts.left) = (bytes, alerts);
        Ok(())
    }
}

struct Bucket {
    rate_s: u64,
    left: u64,
    /// Up to when it was filled.
    filled_ns: u64,
}

impl Bucket {
    fn full(rate_s: u64) -> Self {
        Self { rate_s, left: rate_s * SAVED_S_MAX, filled_ns: 0 }
    }

    fn fill(&mut self, now_ns: u64) {
        let since_ms = now_ns.saturating_sub(self.filled_ns) / 1_000_000;
        let more = since_ms.saturating_mul(self.rate_s) / 1000;
        if more > 0 {
            (self.left, self.filled_ns) = (self.left.saturating_add(more).min(self.rate_s * SAVED_S_MAX), now_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_minute_is_saved_up_and_then_the_rate_holds() {
        let mut a = Allowance::new(1);
        assert!((0..60).all(|_| a.take(5 * S, 1024, 0).is_ok()));
        assert!(a.take(5 * S, 1, 0).is_err(), "the minute is spent");
        assert!(a.take(6 * S, 1025, 0).is_err() && a.take(6 * S, 1024, 0).is_ok(), "a refusal takes nothing");
        assert!((7..1000).all(|s| a.take(s * S, 1024, 0).is_ok()), "the rate holds for ever");
        assert!((0..60).all(|_| a.take(5000 * S, 1024, 0).is_ok()) && a.take(5000 * S, 1, 0).is_err(), "no more than a minute is saved");
    }

    #[test]
    fn alerts_have_a_rate_of_their_own() {
        let mut a = Allowance::new(64);
        assert!((0..600).all(|_| a.take(5 * S, 1, 1).is_ok()), "a minute of them at once");
        assert!(matches!(a.take(5 * S, 1, 1), Err(Breach::Alerts { .. })) && a.take(5 * S, 1, 0).is_ok(), "the rest goes on");
        assert!((6..100).all(|s| (0..10).all(|_| a.take(s * S, 1, 1).is_ok()) && a.take(s * S, 1, 1).is_err()));
    }

    #[test]
    fn many_small_steps_fill_as_much_as_one() {
        let mut a = Allowance::new(1);
        a.take(0, 60 << 10, 0).unwrap();
        let taken = (1..=10_000).filter(|ms| a.take(ms * 1_000_000 / 3, 1, 0).is_ok()).count();
        assert!((3300..=3420).contains(&taken), "{taken} of 3,413 bytes in 3.3 s");
    }
}
