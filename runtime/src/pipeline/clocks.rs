//! Device clocks: how what a device calls now maps to the gateway's monotonic clock, and when that changes. Pure; nothing that a device said is rewritten.
//!
//! Nothing is told of a clock before some stamps over some seconds agree: the first may be the past.
//! A stamp is older than its arrival by the time that the message took, so the least difference of many is the best. A device that hands over its memory
//! stamps the past: that shows as a lag that is never the same twice, where a clock that was set lags by the same from then on.

use std::collections::BTreeMap;

use wardgate_wire::{ClockChange, DeviceTime, Moment};

/// A live value is on its way for less than this; what differs more is a clock that was set, or the past.
const STEP_NS: i128 = 2_000_000_000;
/// Over so long the least delay is looked for before a mapping is told anew.
const LOOK_NS: u64 = 60_000_000_000;
/// What a mapping moves by less is not worth a record: a quartz drifts by some ms in a minute.
const REFINE_NS: i128 = 50_000_000;
/// A lag is believed when so many stamps over so long have it.
const STAMPS_MIN: u32 = 3;
const STEADY_NS: u64 = 10_000_000_000;
/// As above, of a clock of which nothing was told yet: records of a memory come faster than they were made.
const FIRST_STEADY_NS: u64 = 3_000_000_000;
/// Counters of so many bits, each with so many nanoseconds a count, begin anew at 0: microseconds, milliseconds, 1/1024 s, 1/128 s, 10 ms, seconds.
const WRAP_BITS: [u32; 3] = [16, 24, 32];
const WRAP_COUNT_NS: [i128; 6] = [1000, 1_000_000, 976_562, 7_812_500, 10_000_000, 1_000_000_000];

/// What becomes a record of the ledger: at this moment the device's clock stood so, within so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub at: Moment,
    pub device: DeviceTime,
    pub uncertainty_ns: u64,
    pub change: ClockChange,
}

/// The clocks of one device: one of each kind at most.
#[derive(Debug, Default)]
pub(super) struct Clocks(BTreeMap<u8, Clock>);

#[derive(Debug)]
struct Clock {
    boot: u64,
    /// Something was told of it.
    known: bool,
    /// Gateway less device, as told.
    told: i128,
    uncertainty: i128,
    /// Since the newest look: the least and the most, and when it began.
    least: i128,
    most: i128,
    since_ns: u64,
    /// The coarsest step that all its stamps are multiples of.
    resolution: i128,
    /// A lag that is not believed yet.
    lag: Option<Lag>,
}

#[derive(Debug)]
struct Lag {
    least: i128,
    since_ns: u64,
    stamps: u32,
}

fn parts(at: DeviceTime) -> Option<(u8, i128)> {
    match at {
        DeviceTime::NotTold => None,
        DeviceTime::Utc(ns) => Some((1, ns.into())),
        DeviceTime::Local(ns) => Some((2, ns.into())),
        DeviceTime::Counter(ns) => Some((3, ns.into())),
    }
}

/// A time of the same kind; none where it cannot be held.
fn shifted(at: DeviceTime, by: i128) -> Option<DeviceTime> {
    let ns = parts(at)?.1 + by;
    Some(match at {
        DeviceTime::NotTold => return None,
        DeviceTime::Utc(_) => DeviceTime::Utc(ns.try_into().ok()?),
        DeviceTime::Local(_) => DeviceTime::Local(ns.try_into().ok()?),
        DeviceTime::Counter(_) => DeviceTime::Counter(ns.try_into().ok()?),
    })
}

fn resolution(device_ns: i128) -> i128 {
    let steps = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 1000];
    steps.into_iter().find(|step| device_ns % step == 0).unwrap_or(1)
}

/// A counter that lags by all that it can count has begun anew.
fn is_wrap(by: i128) -> bool {
    let spans = WRAP_BITS.iter().flat_map(|bits| WRAP_COUNT_NS.iter().map(move |count| count << bits));
    spans.into_iter().any(|span| span > STEP_NS && (by - span).abs() <= STEP_NS)
}

impl Clocks {
    /// It may be another device from here on.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Something came, and the device says when that was.
    pub fn hear(&mut self, at: DeviceTime, moment: Moment) -> Option<Told> {
        let (kind, device_ns) = parts(at)?;
        let ahead = i128::from(moment.monotonic_ns) - device_ns;
        let told = match self.0.get_mut(&kind).filter(|clock| clock.boot == moment.boot) {
            Some(clock) => clock.hear(ahead, device_ns, moment.monotonic_ns, kind)?,
            None => {
                self.0.insert(kind, Clock::new(ahead, device_ns, moment));
                return None;
            }
        };
        let clock = &self.0[&kind];
        // of this very moment, by the mapping as it stands now
        let device = shifted(at, ahead - clock.told)?;
        Some(Told { at: moment, device, uncertainty_ns: clock.uncertainty.try_into().unwrap_or(u64::MAX), change: told })
    }
}

impl Clock {
    fn new(ahead: i128, device_ns: i128, moment: Moment) -> Self {
        Self {
            boot: moment.boot,
            known: false,
            told: ahead,
            uncertainty: STEP_NS,
            least: ahead,
            most: ahead,
            since_ns: moment.monotonic_ns,
            resolution: resolution(device_ns),
            lag: Some(Lag { least: ahead, since_ns: moment.monotonic_ns, stamps: 1 }),
        }
    }

    fn hear(&mut self, ahead: i128, device_ns: i128, now_ns: u64, kind: u8) -> Option<ClockChange> {
        self.resolution = self.resolution.min(resolution(device_ns));
        if !self.known {
            self.lags(ahead, now_ns, kind)?;
            self.known = true;
            return Some(ClockChange::First);
        }
        if ahead < self.told - STEP_NS {
            self.set(ahead, now_ns); // nothing is stamped before it happens: its clock went forward
            return Some(ClockChange::Step);
        }
        if ahead > self.told + STEP_NS {
            return self.lags(ahead, now_ns, kind);
        }
        self.lag = None;
        (self.least, self.most) = (self.least.min(ahead), self.most.max(ahead));
        if now_ns.saturating_sub(self.since_ns) < LOOK_NS {
            return None;
        }
        let (least, uncertainty) = (self.least, self.resolution + self.most - self.least);
        let news = (least - self.told).abs() > REFINE_NS || uncertainty < self.uncertainty / 2;
        (self.least, self.most, self.since_ns) = (ahead, ahead, now_ns);
        if news {
            (self.told, self.uncertainty) = (least, uncertainty);
        }
        news.then_some(ClockChange::Refined)
    }

    fn lags(&mut self, ahead: i128, now_ns: u64, kind: u8) -> Option<ClockChange> {
        match &mut self.lag {
            Some(lag) if (lag.least - ahead).abs() <= STEP_NS => {
                (lag.least, lag.stamps) = (lag.least.min(ahead), lag.stamps + 1);
                let steady_ns = if self.known { STEADY_NS } else { FIRST_STEADY_NS };
                if lag.stamps < STAMPS_MIN || now_ns.saturating_sub(lag.since_ns) < steady_ns {
                    return None;
                }
                let (least, by) = (lag.least, lag.least - self.told);
                self.set(least, now_ns);
                Some(if kind == 3 && is_wrap(by) { ClockChange::Wrap } else { ClockChange::Step })
            }
            _ => {
                self.lag = Some(Lag { least: ahead, since_ns: now_ns, stamps: 1 });
                None
            }
        }
    }

    fn set(&mut self, ahead: i128, now_ns: u64) {
        (self.told, self.uncertainty, self.lag) = (ahead, STEP_NS, None);
        (self.least, self.most, self.since_ns) = (ahead, ahead, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn at(ns: u64) -> Moment {
        Moment { boot: 7, monotonic_ns: ns }
    }

    /// A stamp each second for so many, by a clock of this kind; what was told, with its second.
    fn run(clocks: &mut Clocks, seconds: std::ops::Range<u64>, stamp: impl Fn(u64) -> DeviceTime) -> Vec<(u64, ClockChange, u64)> {
        // messages take 20 to 120 ms
        let heard = |s: u64| Some((s, clocks.hear(stamp(s), at(s * S + 20_000_000 + s * 37 % 100 * 1_000_000))?));
        seconds.filter_map(heard).map(|(s, told)| (s, told.change, told.uncertainty_ns)).collect()
    }

    #[test]
    fn a_steady_clock_is_told_once_and_then_as_well_as_it_is_known() {
        let mut clocks = Clocks::default();
        let told = run(&mut clocks, 10..400, |s| DeviceTime::Utc((s * S) as i64 + 1_795_000_000_123_000_000));
        let [(13..=14, ClockChange::First, 2_000_000_000), (73..=75, ClockChange::Refined, uncertainty)] = told[..] else {
            panic!("{told:?}")
        };
        assert!((90_000_000..110_000_000).contains(&uncertainty), "the spread of the delays and a millisecond: {uncertainty}");
        let told = clocks.hear(DeviceTime::Utc(0), at(0)); // 1970: the past, and not believed
        assert_eq!(told, None);
    }

    #[test]
    fn what_is_told_maps_a_stamp_to_within_its_uncertainty() {
        let mut clocks = Clocks::default();
        let ahead = 5_000_000_000_i128;
        for s in 0..200 {
            let (delay, device) = (1_000_000 + s * 7 % 90 * 1_000_000, DeviceTime::Counter(s * S));
            let Some(told) = clocks.hear(device, Moment { boot: 7, monotonic_ns: (i128::from(s * S + delay) + ahead) as u64 }) else {
                continue;
            };
            let DeviceTime::Counter(mapped) = told.device else { panic!("{told:?}") };
            let truth = i128::from(told.at.monotonic_ns) - ahead;
            assert!((truth - i128::from(mapped)).abs() <= i128::from(told.uncertainty_ns), "{told:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_shows_at_once_and_one_set_back_when_it_stays() {
        let mut clocks = Clocks::default();
        let hour = 3600 * S as i64;
        let local = |by: i64| move |s: u64| DeviceTime::Local((s * S) as i64 + by);
        run(&mut clocks, 0..30, local(0));
        assert_eq!(run(&mut clocks, 30..50, local(hour)), [(30, ClockChange::Step, 2_000_000_000)]);
        let told = run(&mut clocks, 50..100, local(0));
        assert!(matches!(told[..1], [(60..=61, ClockChange::Step, 2_000_000_000)]), "{told:?}");
    }

    #[test]
    fn stored_records_are_the_past_and_no_step() {
        let mut clocks = Clocks::default();
        run(&mut clocks, 0..30, |s| DeviceTime::Local((s * S) as i64));
        // its memory, a measurement every five minutes, some each second; then live again
        let memory = run(&mut clocks, 30..90, |s| DeviceTime::Local(((s * 300) * S) as i64 - 1_000_000 * S as i64));
        let live = run(&mut clocks, 90..95, |s| DeviceTime::Local((s * S) as i64));
        assert_eq!((memory.len(), live.iter().filter(|t| t.1 == ClockChange::Step).count()), (0, 0), "{memory:?} {live:?}");
    }

    /// A meter that hands over its memory first: nothing is told of its clock, until it speaks of now.
    #[test]
    fn the_past_that_is_heard_first_is_no_clock() {
        let mut clocks = Clocks::default();
        let memory = run(&mut clocks, 0..60, |s| DeviceTime::Local(((s * 300) * S) as i64 - 1_000_000 * S as i64));
        assert_eq!(memory, []);
        let live = run(&mut clocks, 60..100, |s| DeviceTime::Local((s * S) as i64));
        assert!(matches!(live[..], [(63..=64, ClockChange::First, 2_000_000_000)]), "{live:?}");
    }

    #[test]
    fn a_counter_that_begins_anew_is_a_wrap_and_one_that_was_reset_a_step() {
        let ms_32 = (1_u64 << 32) * 1_000_000;
        let mut clocks = Clocks::default();
        run(&mut clocks, 0..30, |s| DeviceTime::Counter(ms_32 - 30 * S + s * S));
        let told = run(&mut clocks, 30..50, |s| DeviceTime::Counter((s - 30) * S));
        assert_eq!(told, [(40, ClockChange::Wrap, 2_000_000_000)]);
        let mut clocks = Clocks::default();
        run(&mut clocks, 0..30, |s| DeviceTime::Counter(1_000_000 * S + s * S));
        assert_eq!(run(&mut clocks, 30..50, |s| DeviceTime::Counter(s * S)), [(40, ClockChange::Step, 2_000_000_000)]);
    }

    #[test]
    fn a_clock_that_drifts_is_told_again_and_again() {
        let mut clocks = Clocks::default();
        // a second in an hour too fast
        let told = run(&mut clocks, 0..3600, |s| DeviceTime::Utc((s * S + s * S / 3600) as i64));
        let refined = told.iter().filter(|t| t.1 == ClockChange::Refined).count();
        assert!((10..30).contains(&refined) && told.iter().all(|t| t.1 != ClockChange::Step), "{told:?}");
    }

    #[test]
    fn extremes_and_other_boots_do_no_harm() {
        let mut clocks = Clocks::default();
        let extremes = [i64::MIN, -1, 0, 1, i64::MAX];
        for a in extremes {
            for ns in [0, 1, u64::MAX] {
                clocks.hear(DeviceTime::Utc(a), at(ns));
                clocks.hear(DeviceTime::Local(a), at(ns));
                clocks.hear(DeviceTime::Counter(a as u64), at(ns));
            }
        }
        let first = |clocks: &mut Clocks, boot: u64| {
            let heard = |s: u64| clocks.hear(DeviceTime::Utc((5 + s * S) as i64), Moment { boot, monotonic_ns: s * S });
            (1..30).filter_map(heard).map(|told| told.change).collect::<Vec<_>>()
        };
        assert_eq!(first(&mut clocks, 8), [ClockChange::First], "another boot, another clock");
        clocks.forget();
        assert_eq!(first(&mut clocks, 8), [ClockChange::First]);
        assert_eq!(clocks.hear(DeviceTime::NotTold, at(5)), None);
    }
}
