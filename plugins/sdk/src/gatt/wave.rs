//! From messages with the device's own time to waves with indices: what is missing shows as a jump, what comes twice or late is said
//! once. Pure.

use crate::{Channel, DeviceTime, Missing, Moment, Outbox, Quality, Waveform};

const LATE_NS_MAX: u64 = 2_000_000_000; // a message that another overtook; a clock that was set goes back further, or goes on from there
const LATE_MAX: u32 = 2; // in a row: more is a clock that was set back
const DELAY_NS_MAX: u64 = 5_000_000_000; // that messages wait in radio and gateway, so that they seem to come closer together
const DRIFT: u64 = 64; // the device's clock may run so much faster, by a part: crystals are a thousand times better, resonators some 200

/// Which sample a message's time belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    First,
    Last,
}

/// The message before.
#[derive(Debug)]
struct Before {
    heard: Moment,
    at_ns: u64,
    length: u64,
    waves: usize,
}

/// Waves that are sampled together, on channels that follow one another.
#[derive(Debug)]
pub struct Waves {
    first: Channel,
    stamp: Stamp,
    next: u64,
    before: Option<Before>,
    /// So many in a row came late.
    late: u32,
    /// Whose clock it is.
    who: Option<String>,
}

/// Whether so much time can have passed between two messages, by what passed here, with `DELAY_NS_MAX` and a part in `DRIFT` to spare.
pub fn had_time(before: Moment, now: Moment, passed_ns: u64) -> bool {
    let heard_ns = now.monotonic_ns.saturating_sub(before.monotonic_ns);
    now.boot != before.boot || passed_ns <= heard_ns.saturating_add(heard_ns / DRIFT).saturating_add(DELAY_NS_MAX)
}

/// How a message stands to the one before.
enum Step {
    Next,
    /// So many samples did not come.
    Jump(u64),
    Late,
    /// Its clock was set, or was switched off and on: nothing tells what is missing.
    Clock,
}

impl Waves {
    pub fn new(first: Channel, stamp: Stamp) -> Self {
        Self { first, stamp, next: 0, before: None, late: 0, who: None }
    }

    /// Described anew: indices start at 0 again.
    pub fn restart(&mut self) {
        *self = Self { who: self.who.take(), ..Self::new(self.first, self.stamp) };
    }

    /// Who speaks now. The clock of another device says nothing about what is missing of the one before.
    pub fn of(&mut self, who: Option<&str>, out: &mut Outbox) {
        let Some(who) = who.filter(|who| self.who.as_deref() != Some(who)) else { return };
        if self.who.replace(who.into()).is_some()
            && let Some(before) = self.before.take()
        {
            self.missed(before.waves, None, Missing::DeviceOff, out);
        }
    }

    /// Blocks of one length, sampled until (or from) `at_ns` of the device's clock; `period_ns` as numerator and denominator.
    pub fn say(&mut self, now: Moment, at_ns: u64, waves: Vec<Vec<i32>>, period_ns: (u64, u64), quality: Quality, out: &mut Outbox) {
        let count = waves.first().map_or(0, Vec::len) as u64;
        if let Some(before) = &self.before {
            if (before.at_ns, before.length) == (at_ns, count) {
                return; // it came twice
            }
            match self.step(before, now, (at_ns, count), period_ns) {
                Step::Next => {}
                Step::Late => {
                    self.late += 1; // it was told missing
                    return;
                }
                Step::Jump(samples) => {
                    self.missed(waves.len(), Some(samples), Missing::NotSent, out);
                    self.next = self.next.saturating_add(samples);
                }
                Step::Clock => self.missed(waves.len(), None, Missing::Unknown, out),
            }
        }
        self.late = 0;
        self.before = Some(Before { heard: now, at_ns, length: count, waves: waves.len() });
        let block = |(channel, counts)| Waveform { at: DeviceTime::Counter(at_ns), quality, ..Waveform::of(channel, self.next, counts) };
        let blocks: Vec<_> = (self.first..).zip(waves).map(block).collect();
        self.next = self.next.saturating_add(count);
        out.emit_waveform(&blocks);
    }

    fn step(&self, before: &Before, now: Moment, (at_ns, count): (u64, u64), period_ns: (u64, u64)) -> Step {
        let Some(passed_ns) = at_ns.checked_sub(before.at_ns) else {
            return if before.at_ns - at_ns <= LATE_NS_MAX && self.late < LATE_MAX { Step::Late } else { Step::Clock };
        };
        if !had_time(before.heard, now, passed_ns) {
            return Step::Clock;
        }
        let expected = if self.stamp == Stamp::Last { count } else { before.length };
        let passed = passed_ns.saturating_mul(period_ns.1).saturating_add(period_ns.0 / 2) / period_ns.0;
        // time stamps are rounded; a lost message is about as long as those that come
        let doubt = (expected / 2).max(1);
        match passed.checked_sub(expected) {
            Some(missing) if missing >= doubt => Step::Jump(missing),
            None if expected - passed >= doubt => Step::Clock,
            _ => Step::Next,
        }
    }

    fn missed(&self, waves: usize, count: Option<u64>, why: Missing, out: &mut Outbox) {
        (self.first..).take(waves).for_each(|channel| out.missed(channel, count, why));
    }
}
