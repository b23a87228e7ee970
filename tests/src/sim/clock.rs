//! A device's own clock, as bad as they are: set forward, set back, or counting anew, at moments drawn from a seed. Pure; time is an argument.

use super::Dice;

const S: i128 = 1_000_000_000;
/// Where a counter of 32 bits of milliseconds begins anew.
const WRAP_MS: i128 = 1 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Set forward, as by a time server.
    Utc,
    /// Set back by an hour, as in autumn.
    Local,
    /// The same, set forward by an hour, as in spring.
    Summer,
    /// Begins anew where its 32 bits end.
    Counter,
}

/// What it says is its own time, `boottime_ns` + `ahead_ns`, until it steps.
#[derive(Debug)]
pub struct Clock {
    pub kind: Kind,
    ahead_ns: i128,
    /// When, and by how much.
    pub step_ns: (u64, i128),
}

impl Clock {
    /// One that goes right.
    pub fn steady(kind: Kind) -> Self {
        Self { step_ns: (u64::MAX, 0), ..Self::new(kind, 0, 0, 1) }
    }

    /// Steps once, so many to twice so many seconds after its beginning.
    pub fn new(kind: Kind, seed: u64, now_ns: u64, first_s: u64) -> Self {
        let mut dice = Dice::new(seed ^ kind as u64);
        let at_ns = now_ns + (first_s * 1000 + dice.below(first_s * 1000)) * 1_000_000;
        let (ahead_ns, by) = match kind {
            Kind::Utc => (1_795_000_000 * S, i128::from(60 + dice.below(7200)) * S),
            Kind::Local => (1_700_000_000 * S, -3600 * S),
            Kind::Summer => (1_700_000_000 * S, 3600 * S),
            Kind::Counter => (WRAP_MS * 1_000_000 - i128::from(at_ns), -WRAP_MS * 1_000_000), // its bits end at that moment
        };
        Self { kind, ahead_ns, step_ns: (at_ns, by) }
    }

    /// What it says at this moment.
    pub fn says(&self, now_ns: u64) -> i128 {
        i128::from(now_ns) + self.ahead(now_ns)
    }

    pub fn ahead(&self, now_ns: u64) -> i128 {
        let (at, by) = self.step_ns;
        self.ahead_ns + if now_ns >= at { by } else { 0 }
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Utc => "utc",
            Kind::Local | Kind::Summer => "local",
            Kind::Counter => "counter",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_steps_once_at_its_moment() {
        for (kind, seed) in [(Kind::Utc, 1), (Kind::Local, 2), (Kind::Summer, 4), (Kind::Counter, 3)] {
            let clock = Clock::new(kind, seed, 5_000_000_000, 2);
            let (at, by) = clock.step_ns;
            assert!((7_000_000_000..9_000_000_000).contains(&at));
            assert_eq!(clock.says(at) - clock.says(at - 1), by + 1, "{kind:?}");
            if kind == Kind::Counter {
                assert_eq!(clock.says(at), 0);
            }
        }
    }
}
