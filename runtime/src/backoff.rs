//! How long to wait before the next try of what failed: full jitter, and an end to it only when a try proved its worth.

use std::time::Duration;

/// After this many failures the ceiling has reached any maximum that the configuration allows (1 ms * 2^32 is 49 days).
const ATTEMPTS_MAX: u32 = 32;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub min: Duration,
    pub max: Duration,
}

/// Evenly between `min` and a ceiling that doubles with each failed attempt (the first, 0, waits up to twice `min`) and never exceeds `max`.
///
/// Evenly over the whole stretch, and not around its end: a ward's gateways lose their broker in the same second and must not come back in one,
/// nor must all instances of one plugin. Never below `min`, so that a broker that accepts and drops is not hammered by the lucky draws.
pub fn delay(attempt: u32, random: u64, bounds: Bounds) -> Duration {
    let (min, max) = (nanos(bounds.min), nanos(bounds.max));
    let ceiling = min.saturating_mul(1 << (attempt.saturating_add(1)).min(ATTEMPTS_MAX)).min(max).max(min);
    let drawn = (u128::from(random) * u128::from(ceiling - min)) >> 64;
    Duration::from_nanos(min + drawn as u64)
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// The bits for the jitter, from a seed that the corridor drew (splitmix64). Not a secret: it spreads tries, it protects nothing.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: Duration::from_millis(500), max: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let most = |attempt| delay(attempt, u64::MAX, BOUNDS).as_millis();
        assert_eq!([most(0), most(1), most(2), most(5)], [999, 1999, 3999, 31_999]);
        assert_eq!([most(6), most(7), most(31), most(u32::MAX)], [59_999; 4]);
    }

    #[test]
    fn no_draw_leaves_the_bounds_and_all_of_them_is_used() {
        let mut jitter = Jitter::new(7);
        for attempt in [0, 3, 40] {
            let draws: Vec<_> = (0..2000).map(|_| delay(attempt, jitter.next(), BOUNDS)).collect();
            let ceiling = delay(attempt, u64::MAX, BOUNDS);
            assert!(draws.iter().all(|d| (BOUNDS.min..=BOUNDS.max).contains(d)));
            for quarter in 0..4u32 {
                let (from, to) =
                    (BOUNDS.min + (ceiling - BOUNDS.min) * quarter / 4, BOUNDS.min + (ceiling - BOUNDS.min) * (quarter + 1) / 4);
                let inside = draws.iter().filter(|d| **d >= from && **d < to).count();
                assert!((350..650).contains(&inside), "attempt {attempt}, quarter {quarter}: {inside} of 2000");
            }
        }
    }

    #[test]
    fn a_maximum_below_the_minimum_and_nothing_at_all_still_give_a_wait() {
        let odd = Bounds { min: Duration::from_secs(5), max: Duration::from_secs(1) };
        assert_eq!(delay(3, u64::MAX, odd), Duration::from_secs(5));
        let huge = Bounds { min: Duration::MAX, max: Duration::MAX };
        assert_eq!(delay(9, 1, huge), Duration::from_nanos(u64::MAX));
    }
}
