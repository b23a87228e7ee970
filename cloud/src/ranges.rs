//! Sets of numbers kept as ranges: what is held, lost or closed takes memory by its holes and not by its size.

use std::collections::BTreeMap;

/// Half-open ranges, apart from one another: first -> one more than the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `first..next` and says how many of it were there already.
    pub fn insert(&mut self, first: u64, next: u64) -> u64 {
        if first >= next {
            return 0;
        }
        let before = (next - first) - self.holes(first, next).iter().map(|(a, z)| z - a).sum::<u64>();
        let (mut from, mut to) = (first, next);
        if let Some((&a, &z)) = self.0.range(..=first).next_back()
            && z >= first
        {
            (from, to) = (a, to.max(z));
        }
        while let Some((&a, &z)) = self.0.range(from..=to).next() {
            self.0.remove(&a);
            to = to.max(z);
        }
        self.0.insert(from, to);
        before
    }

    pub fn remove(&mut self, first: u64, next: u64) {
        if first >= next {
            return;
        }
        if let Some((&a, &z)) = self.0.range(..first).next_back()
            && z > first
        {
            self.0.insert(a, first);
            if z > next {
                self.0.insert(next, z);
            }
        }
        while let Some((&a, &z)) = self.0.range(first..next).next() {
            self.0.remove(&a);
            if z > next {
                self.0.insert(next, z);
            }
        }
    }

    pub fn contains(&self, x: u64) -> bool {
        self.0.range(..=x).next_back().is_some_and(|(_, &z)| x < z)
    }

    /// What of `first..next` is not in the set.
    pub fn holes(&self, first: u64, next: u64) -> Vec<(u64, u64)> {
        let (mut holes, mut at) = (Vec::new(), first);
        let start = self.0.range(..=first).next_back().map_or(first, |(&a, _)| a);
        for (&a, &z) in self.0.range(start..).take_while(|(a, _)| **a < next) {
            if a > at {
                holes.push((at, a.min(next)));
            }
            at = at.max(z);
        }
        if at < next {
            holes.push((at, next));
        }
        holes
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(&a, &z)| (a, z))
    }

    /// How many numbers are in the set.
    pub fn total(&self) -> u64 {
        self.iter().map(|(a, z)| z - a).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a plain array of flags, with a deterministic xorshift.
    #[test]
    fn agrees_with_flags() {
        let mut x = 0x1234_5678_9abc_def1_u64;
        let mut next = move |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % n
        };
        for _ in 0..200 {
            let (mut set, mut flags) = (Ranges::default(), [false; 40]);
            for _ in 0..30 {
                let (a, n) = (next(36), next(5));
                let z = (a + n).min(40);
                let within = a as usize..z as usize;
                if next(3) == 0 {
                    set.remove(a, z);
                    flags[within].fill(false);
                } else {
                    let had = flags[within.clone()].iter().filter(|f| **f).count() as u64;
                    assert_eq!(set.insert(a, z), had);
                    flags[within].fill(true);
                }
                assert_eq!(set.total(), flags.iter().filter(|f| **f).count() as u64);
                let (a, z) = (next(40), next(41));
                let missing: Vec<u64> = (a..z).filter(|i| !flags[*i as usize]).collect();
                let holes: Vec<u64> = set.holes(a, z).into_iter().flat_map(|(a, z)| a..z).collect();
                assert_eq!(holes, missing);
                assert!((0..40).all(|i| set.contains(i) == flags[i as usize]));
                let apart: Vec<_> = set.iter().collect();
                assert!(apart.windows(2).all(|w| w[0].1 < w[1].0), "touching ranges are one: {apart:?}");
            }
        }
    }
}
