//! What did not come between two good messages, and how sure that is. Pure.

use wardgate_sdk::{Missing, Moment};

use crate::decode::SHORTEST;

const PERIOD_NS: u64 = 1_000_000_000; // one message a second: 200 samples at 200 Hz
const SILENCE_NS: u64 = 2_500_000_000; // more than a late message, less than two that are missing for sure

/// Since the last good message.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    last: Option<Moment>,
    /// Messages that began and were not good.
    broken: u64,
    noise: usize,
    /// The line itself said why.
    told: Option<Missing>,
}

impl Loss {
    pub fn broken(&mut self) {
        self.broken += 1;
    }

    pub fn noise(&mut self, bytes: usize) {
        self.noise = self.noise.saturating_add(bytes);
    }

    pub fn told(&mut self, why: Missing) {
        self.told.get_or_insert(why);
    }

    /// Bytes came that were no good message.
    pub fn anything_came(&self) -> bool {
        self.broken > 0 || self.noise > 0
    }

    pub fn good(&mut self, now: Moment) {
        *self = Self { last: Some(now), ..Self::default() };
    }

    /// What bytes and line say is missing, if anything. Before the first good message nothing is: the plugin came in mid-stream.
    /// The device does not number its messages, so a count needs two witnesses: the messages seen to break and the time that passed.
    pub fn seen(&self, now: Moment) -> Option<(Option<u64>, Missing)> {
        let last = self.last?;
        match self.told {
            Some(why) => Some((None, why)),
            None if self.broken > 0 || self.noise >= SHORTEST => {
                let passed = (elapsed_ns(last, now) + PERIOD_NS / 2) / PERIOD_NS;
                Some(((self.broken > 0 && passed == self.broken + 1).then_some(self.broken), Missing::Corrupted))
            }
            None => None,
        }
    }

    /// As `seen`; a long silence counts too.
    pub fn before(&self, now: Moment) -> Option<(Option<u64>, Missing)> {
        let silent = self.last.is_some_and(|last| elapsed_ns(last, now) > SILENCE_NS);
        self.seen(now).or(silent.then_some((None, Missing::DeviceOff)))
    }
}

fn elapsed_ns(from: Moment, to: Moment) -> u64 {
    if from.boot == to.boot { to.monotonic_ns.saturating_sub(from.monotonic_ns) } else { 0 }
}
