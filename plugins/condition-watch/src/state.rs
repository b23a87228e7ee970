//! What outlives a restart, as bytes: small, with its version, and read with suspicion. Whole numbers in groups of seven bits, least first.

use wardgate_sdk::Decimal;

use crate::drift::{History, Past};
use crate::grid::{GRID_MAX, Sample};
use crate::rules::{DAY_S, DRIFT_WINDOWS_MAX, NS_PER_S};
use crate::tally::{Beyond, Change, Tally};

const VERSION: u128 = 1;
pub const TEXT_BYTES_MAX: usize = 255; // of a channel's name and of its unit
const COUNTED_NS_MAX: u64 = 2 * DAY_S * NS_PER_S; // a change may begin on the day before

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Windows of another length or grid are not to be compared with ours.
    pub grid_mark: u64,
    pub rules_mark: u64,
    pub boot: u64,
    /// Up to where everything is counted.
    pub at_ns: u64,
    pub source: Option<Source>,
    pub window: Tally,
    pub day: Tally,
    /// Of the low and of the high limit.
    pub excursions: [Excursion; 2],
    /// One bit for each alert that is active.
    pub active: u8,
    pub history: History,
}

/// The channel that is watched, as it was described.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    pub name: String,
    pub unit: String,
}

/// The one that is going on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Excursion {
    pub present: bool,
    pub seen_ns: u64,
}

impl State {
    pub fn write(&self) -> Vec<u8> {
        let mut to = Writer(Vec::new());
        [VERSION, self.grid_mark.into(), self.rules_mark.into(), self.boot.into(), self.at_ns.into()].iter().for_each(|n| to.put(*n));
        to.put(self.source.is_some().into());
        if let Some(source) = &self.source {
            to.text(&source.name);
            to.text(&source.unit);
        }
        to.tally(&self.window);
        to.tally(&self.day);
        for excursion in self.excursions {
            to.put(excursion.present.into());
            to.put(excursion.seen_ns.into());
        }
        to.put(self.active.into());
        to.put(self.history.0.len() as u128);
        let mut before = Past { boot: 0, index: 0, mean: 0 };
        for past in &self.history.0 {
            // neighbours are alike: three bytes and a few for most
            to.signed(i128::from(past.boot) - i128::from(before.boot));
            to.signed(i128::from(past.index) - i128::from(before.index));
            to.signed(i128::from(past.mean) - i128::from(before.mean));
            before = *past;
        }
        to.0
    }

    /// `None`: not written by this version, or damaged. Every number is held to what it can be, so that no sum overflows later.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.take()? != VERSION {
            return None;
        }
        let (grid_mark, rules_mark, boot, at_ns) = (from.u64()?, from.u64()?, from.u64()?, from.u64()?);
        let source = match from.flag()? {
            true => Some(Source { name: from.text()?, unit: from.text()? }),
            false => None,
        };
        let (window, day) = (from.tally()?, from.tally()?);
        let mut excursion = || Some(Excursion { present: from.flag()?, seen_ns: from.u64()? });
        let excursions = [excursion()?, excursion()?];
        let active = from.take()?.try_into().ok()?;
        let length = usize::try_from(from.take()?).ok().filter(|n| *n <= DRIFT_WINDOWS_MAX)?;
        let mut history = History::default();
        let mut before = Past { boot: 0, index: 0, mean: 0 };
        for _ in 0..length {
            before = Past {
                boot: u64::try_from(i128::from(before.boot).checked_add(from.signed()?)?).ok()?,
                index: u64::try_from(i128::from(before.index).checked_add(from.signed()?)?).ok()?,
                mean: on_grid(i128::from(before.mean).checked_add(from.signed()?)?)?,
            };
            history.0.push_back(before);
        }
        let state = Self { grid_mark, rules_mark, boot, at_ns, source, window, day, excursions, active, history };
        from.0.is_empty().then_some(state)
    }
}

fn on_grid(n: i128) -> Option<i64> {
    i64::try_from(n).ok().filter(|n| (-GRID_MAX..=GRID_MAX).contains(n))
}

struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, mut n: u128) {
        while n > 0x7F {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    /// The sign is the lowest bit.
    fn signed(&mut self, n: i128) {
        self.put(n.unsigned_abs() << 1 | u128::from(n < 0));
    }

    fn text(&mut self, text: &str) {
        self.put(text.len() as u128);
        self.0.extend(text.bytes());
    }

    fn sample(&mut self, sample: Option<Sample>) {
        self.put(sample.is_some().into());
        if let Some(Sample { grid, told }) = sample {
            [grid, told.mantissa, told.exponent.into()].iter().for_each(|n| self.signed((*n).into()));
        }
    }

    fn tally(&mut self, t: &Tally) {
        self.sample(t.least);
        self.sample(t.most);
        [t.weighted, t.change_running.grid, t.change_stopped.grid].iter().for_each(|n| self.signed(*n));
        [t.seen_ns, t.running_ns, t.stopped_ns, t.change_running.ns, t.change_stopped.ns].iter().for_each(|n| self.put((*n).into()));
        [t.starts, t.unusable].iter().for_each(|n| self.put((*n).into()));
        for beyond in t.beyond {
            [beyond.count.into(), beyond.total_ns, beyond.longest_ns].iter().for_each(|n| self.put((*n).into()));
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self) -> Option<u128> {
        let mut n = 0u128;
        for shift in (0..126).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            n |= u128::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(n);
            }
        }
        None // longer than any number of ours
    }

    fn signed(&mut self) -> Option<i128> {
        let n = self.take()?;
        let size = i128::try_from(n >> 1).ok()?;
        Some(if n & 1 == 1 { -size } else { size })
    }

    fn u64(&mut self) -> Option<u64> {
        self.take()?.try_into().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.take()?).ok().filter(|n| *n <= TEXT_BYTES_MAX)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn sample(&mut self) -> Option<Option<Sample>> {
        if !self.flag()? {
            return Some(None);
        }
        let grid = on_grid(self.signed()?)?;
        Some(Some(Sample { grid, told: Decimal::new(self.signed()?.try_into().ok()?, self.signed()?.try_into().ok()?) }))
    }

    fn tally(&mut self) -> Option<Tally> {
        let (least, most) = (self.sample()?, self.sample()?);
        let weighted = self.signed()?;
        let (running, stopped) = (self.signed()?, self.signed()?);
        let mut counted = || self.u64().filter(|ns| *ns <= COUNTED_NS_MAX);
        let (seen_ns, running_ns, stopped_ns) = (counted()?, counted()?, counted()?);
        let (running_for, stopped_for) = (counted()?, counted()?);
        let mut count = || u32::try_from(self.take()?).ok();
        let (starts, unusable) = (count()?, count()?);
        let mut beyond = || {
            let count = u32::try_from(self.take()?).ok()?;
            Some(Beyond { count, total_ns: self.u64().filter(|ns| *ns <= COUNTED_NS_MAX)?, longest_ns: self.u64()? })
        };
        let beyond = [beyond()?, beyond()?];
        // no mean lies off the grid, and no difference is more than twice as wide
        let most_weighted = i128::from(GRID_MAX) * i128::from(seen_ns);
        let fits = weighted.abs() <= most_weighted
            && [running, stopped].iter().all(|n| n.abs() <= 2 * i128::from(GRID_MAX) * i128::from(COUNTED_NS_MAX));
        fits.then_some(Tally {
            least,
            most,
            weighted,
            seen_ns,
            running_ns,
            stopped_ns,
            starts,
            change_running: Change { grid: running, ns: running_for },
            change_stopped: Change { grid: stopped, ns: stopped_for },
            unusable,
            beyond,
        })
    }
}
