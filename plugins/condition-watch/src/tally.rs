//! What is counted in a window or a day. Tallies add up: a day is the sum of its windows, to the nanosecond.

use crate::grid::Sample;

/// Of one limit: excursions that began, how long values were beyond it, and the longest, counted from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beyond {
    pub count: u32,
    pub total_ns: u64,
    pub longest_ns: u64,
}

/// How much a value changed while it was known whether the machine ran, and in how long.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    pub grid: i128,
    pub ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub least: Option<Sample>,
    pub most: Option<Sample>,
    /// Sum of value times nanoseconds.
    pub weighted: i128,
    /// For how long a value was known.
    pub seen_ns: u64,
    pub running_ns: u64,
    pub stopped_ns: u64,
    pub starts: u32,
    pub change_running: Change,
    pub change_stopped: Change,
    /// Readings that were absent, of bad quality, or no value of a machine.
    pub unusable: u32,
    /// Low and high.
    pub beyond: [Beyond; 2],
}

impl Tally {
    pub fn value(&mut self, sample: Sample) {
        if self.least.is_none_or(|least| sample.grid < least.grid) {
            self.least = Some(sample);
        }
        if self.most.is_none_or(|most| sample.grid > most.grid) {
            self.most = Some(sample);
        }
    }

    /// For how long it was known whether the machine ran.
    pub fn known_ns(&self) -> u64 {
        self.running_ns + self.stopped_ns
    }

    pub fn add(&mut self, other: &Self) {
        [other.least, other.most].into_iter().flatten().for_each(|sample| self.value(sample));
        self.weighted += other.weighted;
        self.seen_ns += other.seen_ns;
        self.running_ns += other.running_ns;
        self.stopped_ns += other.stopped_ns;
        self.starts = self.starts.saturating_add(other.starts);
        self.change_running.add(other.change_running);
        self.change_stopped.add(other.change_stopped);
        self.unusable = self.unusable.saturating_add(other.unusable);
        self.beyond.iter_mut().zip(other.beyond).for_each(|(ours, theirs)| ours.add(theirs));
    }
}

impl Beyond {
    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.total_ns += other.total_ns;
        self.longest_ns = self.longest_ns.max(other.longest_ns);
    }
}

impl Change {
    pub fn add(&mut self, other: Self) {
        self.grid += other.grid;
        self.ns += other.ns;
    }
}
