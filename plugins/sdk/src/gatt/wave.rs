//! From messages with the device's own time to waves with indices: what is missing shows as a jump. Pure.

use crate::{Channel, DeviceTime, Missing, Outbox, Quality, Waveform};

/// Which sample a message's time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    First,
    Last,
}

/// Waves that are sampled together, on channels that follow one another.
#[derive(Debug)]
pub struct Waves {
    first: Channel,
    stamp: Stamp,
    next: u64,
    /// Time and length of the message before.
    before: Option<(u64, u64)>,
}

impl Waves {
    pub fn new(first: Channel, stamp: Stamp) -> Self {
        Self { first, stamp, next: 0, before: None }
    }

    /// Described anew: indices start at 0 again.
    pub fn restart(&mut self) {
        *self = Self::new(self.first, self.stamp);
    }

    /// Blocks of one length, sampled until (or from) `at_ns` of the device's clock; `period_ns` as numerator and denominator.
    pub fn say(&mut self, at_ns: u64, waves: Vec<Vec<i32>>, period_ns: (u64, u64), quality: Quality, out: &mut Outbox) {
        let count = waves.first().map_or(0, Vec::len) as u64;
        if let Some((at, length)) = self.before {
            let expected = if self.stamp == Stamp::Last { count } else { length };
            let passed = at_ns.checked_sub(at).map(|ns| (ns.saturating_mul(period_ns.1).saturating_add(period_ns.0 / 2)) / period_ns.0);
            // a clock that goes back was set, or was switched off and on
            let missing = passed.map(|samples| samples.saturating_sub(expected));
            // time stamps are rounded; a lost message is about as long as those that come
            if missing.is_none_or(|missing| missing >= (expected / 2).max(1)) {
                let why = if missing.is_some() { Missing::NotSent } else { Missing::Unknown };
                (self.first..).take(waves.len()).for_each(|channel| out.missed(channel, missing, why));
                self.next = self.next.saturating_add(missing.unwrap_or(0));
            }
        }
        self.before = Some((at_ns, count));
        let block = |(channel, counts)| Waveform { at: DeviceTime::Counter(at_ns), quality, ..Waveform::of(channel, self.next, counts) };
        let blocks: Vec<_> = (self.first..).zip(waves).map(block).collect();
        self.next = self.next.saturating_add(count);
        out.emit_waveform(&blocks);
    }
}
