//! How much an instance may say over time: a bucket that fills at the rate of its manifest. Pure: the time is an argument. One call has a bound of its
//! own; without this one a plugin that says little enough in each of many calls would fill the card for all.

use super::rules::Breach;

/// What was not said in this time may be said at once: a device that sends its memory, or that was away, says much for a while.
const SAVED_S_MAX: u64 = 60;

pub(super) struct Allowance {
    kib_s: u64,
    left_bytes: u64,
    /// Up to when it was filled.
    filled_ns: u64,
}

impl Allowance {
    pub(super) fn new(kib_s: u64) -> Self {
        Self { kib_s, left_bytes: full(kib_s), filled_ns: 0 }
    }

    /// A call said so much. What is refused takes nothing, so that one that goes on more quietly goes on.
    pub(super) fn take(&mut self, now_ns: u64, bytes: usize) -> Result<(), Breach> {
        let since_ms = now_ns.saturating_sub(self.filled_ns) / 1_000_000;
        let more = since_ms.saturating_mul(self.kib_s << 10) / 1000;
        if more > 0 {
            (self.left_bytes, self.filled_ns) = (self.left_bytes.saturating_add(more).min(full(self.kib_s)), now_ns);
        }
        self.left_bytes = self.left_bytes.checked_sub(bytes as u64).ok_or(Breach::Flood { kib_s: self.kib_s, saved_s: SAVED_S_MAX })?;
        Ok(())
    }
}

fn full(kib_s: u64) -> u64 {
    (kib_s << 10) * SAVED_S_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_minute_is_saved_up_and_then_the_rate_holds() {
        let mut a = Allowance::new(1);
        assert!((0..60).all(|_| a.take(5 * S, 1024).is_ok()));
        assert!(a.take(5 * S, 1).is_err(), "the minute is spent");
        assert!(a.take(6 * S, 1025).is_err() && a.take(6 * S, 1024).is_ok(), "a refusal takes nothing");
        assert!((7..1000).all(|s| a.take(s * S, 1024).is_ok()), "the rate holds for ever");
        assert!((0..60).all(|_| a.take(5000 * S, 1024).is_ok()) && a.take(5000 * S, 1).is_err(), "no more than a minute is saved");
    }

    #[test]
    fn many_small_steps_fill_as_much_as_one() {
        let mut a = Allowance::new(1);
        a.take(0, 60 << 10).unwrap();
        let taken = (1..=10_000).filter(|ms| a.take(ms * 1_000_000 / 3, 1).is_ok()).count();
        assert!((3300..=3420).contains(&taken), "{taken} of 3,413 bytes in 3.3 s");
    }
}
