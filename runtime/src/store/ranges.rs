//! A set of sequence numbers as ranges: small where numbers are neighbours, which they are unless the link reordered them.

use std::ops::RangeInclusive;

use wardgate_wire::Sequence;

/// First and last, ascending, never overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(Sequence, Sequence)>);

impl Ranges {
    pub fn one(first: Sequence, last: Sequence) -> Self {
        Self(if first <= last { vec![(first, last)] } else { Vec::new() })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn parts(&self) -> &[(Sequence, Sequence)] {
        &self.0
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|&(a, z)| u64::from(z - a) + 1).sum()
    }

    pub fn contains(&self, n: Sequence) -> bool {
        let after = self.0.partition_point(|&(a, _)| a <= n);
        after > 0 && self.0[after - 1].1 >= n
    }

    pub fn insert(&mut self, first: Sequence, last: Sequence) {
        let from = self.0.partition_point(|&(_, z)| z < first && first - z > 1);
        let to = self.0.partition_point(|&(a, _)| a <= last.saturating_add(1));
        let (mut a, mut z) = (first, last);
        if from < to {
            a = a.min(self.0[from].0);
            z = z.max(self.0[to - 1].1);
        }
        self.0.splice(from..to, [(a, z)]);
    }

    pub fn insert_all(&mut self, other: &Self) {
        other.0.iter().for_each(|&(a, z)| self.insert(a, z));
    }

    pub fn remove(&mut self, first: Sequence, last: Sequence) {
        let from = self.0.partition_point(|&(_, z)| z < first);
        let to = self.0.partition_point(|&(a, _)| a <= last);
        if from >= to {
            return;
        }
        let (a, z) = (self.0[from].0, self.0[to - 1].1);
        let left = (a < first).then(|| (a, first - 1));
        let right = (z > last).then(|| (last + 1, z));
        self.0.splice(from..to, left.into_iter().chain(right));
    }

    pub fn remove_all(&mut self, other: &Self) {
        other.0.iter().for_each(|&(a, z)| self.remove(a, z));
    }

    pub fn common(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut i, mut k) = (0, 0);
        while let (Some(&(a, z)), Some(&(b, y))) = (self.0.get(i), other.0.get(k)) {
            if a.max(b) <= z.min(y) {
                common.push((a.max(b), z.min(y)));
            }
            if z < y { i += 1 } else { k += 1 }
        }
        Self(common)
    }

    pub fn to_inclusive(&self) -> Vec<RangeInclusive<Sequence>> {
        self.0.iter().map(|&(a, z)| a..=z).collect()
    }

    /// What it takes in memory beyond itself.
    #[cfg(test)]
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(Sequence, Sequence)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Dice;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut dice = Dice(7);
        for _ in 0..300 {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            let (mut other, mut other_set) = (Ranges::default(), BTreeSet::new());
            for _ in 0..20 {
                let a = dice.below(40) as u32;
                let z = a + dice.below(6) as u32;
                match dice.below(4) {
                    0 => (ranges.remove(a, z), set.retain(|n| !(a..=z).contains(n))).1,
                    1 => (other.insert(a, z), other_set.extend(a..=z)).1,
                    _ => (ranges.insert(a, z), set.extend(a..=z)).1,
                }
                assert!(ranges.0.windows(2).all(|w| w[0].1 + 1 < w[1].0), "{ranges:?}");
                assert_eq!(ranges.to_inclusive().into_iter().flatten().collect::<BTreeSet<_>>(), set);
                assert_eq!(ranges.count(), set.len() as u64);
                assert_eq!(ranges.contains(a), set.contains(&a));
                let common: BTreeSet<u32> = set.intersection(&other_set).copied().collect();
                assert_eq!(ranges.common(&other).to_inclusive().into_iter().flatten().collect::<BTreeSet<_>>(), common);
            }
        }
    }

    #[test]
    fn holds_at_the_largest_number() {
        let mut ranges = Ranges::one(u32::MAX - 1, u32::MAX);
        ranges.insert(0, 0);
        ranges.remove(u32::MAX, u32::MAX);
        assert_eq!(ranges.parts(), [(0, 0), (u32::MAX - 1, u32::MAX - 1)]);
        ranges.insert(0, u32::MAX);
        assert_eq!(ranges.count(), 1 << 32);
        ranges.remove(0, u32::MAX);
        assert!(ranges.is_empty());
    }
}
