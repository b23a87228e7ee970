//! From messages with the strap's own time to one wave with indices: what is missing shows as a jump. Pure.

use wardgate_sdk::{Channel, DeviceTime, Missing, Outbox, Quality, Waveform};

use crate::decode::{INVALID, Samples};

/// A strap's clock and its sampler are one. Less than this is a rounding of its time stamps; a lost message has more samples.
const JITTER_SAMPLES: u64 = 4;

/// Which sample a message's time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    First,
    Last,
}

#[derive(Debug)]
pub struct Wave {
    channel: Channel,
    stamp: Stamp,
    next: u64,
    /// Time and length of the message before.
    before: Option<(u64, u64)>,
}

impl Wave {
    pub fn new(channel: Channel, stamp: Stamp) -> Self {
        Self { channel, stamp, next: 0, before: None }
    }

    /// Described anew: indices start at 0 again.
    pub fn restart(&mut self) {
        *self = Self::new(self.channel, self.stamp);
    }

    /// `period_ns` as numerator and denominator.
    pub fn say(&mut self, samples: Samples, period_ns: (u64, u64), invalid: bool, out: &mut Outbox) {
        let count = samples.counts.len() as u64;
        if let Some((at, length)) = self.before {
            let expected = if self.stamp == Stamp::Last { count } else { length };
            match samples.at_ns.checked_sub(at) {
                Some(passed) => {
                    let missing =
                        (passed.saturating_mul(period_ns.1).saturating_add(period_ns.0 / 2) / period_ns.0).saturating_sub(expected);
                    if missing >= JITTER_SAMPLES {
                        out.missed(self.channel, Some(missing), Missing::NotSent);
                        self.next = self.next.saturating_add(missing);
                    }
                }
                // its clock was set, or it was switched off and on
                None => out.missed(self.channel, None, Missing::Unknown),
            }
        }
        self.before = Some((samples.at_ns, count));
        let mut block = Waveform { at: DeviceTime::Counter(samples.at_ns), ..Waveform::of(self.channel, self.next, samples.counts) };
        if invalid && block.counts.contains(&INVALID) {
            let all = block.counts.iter().all(|c| *c == INVALID);
            block.quality |= if all { Quality::UNAVAILABLE } else { Quality::QUESTIONABLE };
        }
        self.next = self.next.saturating_add(count);
        out.emit_waveform(&[block]);
    }
}
