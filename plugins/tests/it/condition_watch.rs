//! condition-watch against reckonings that share no code with it, and against what no machine would say.

use std::collections::BTreeMap;

use condition_watch::ConditionWatch;
use condition_watch::drift::{History, Past};
use condition_watch::grid::{GRID_MAX, Sample};
use condition_watch::state::State;
use wardgate_sdk::*;

use crate::random::{Random, mutate};

pub const S: u64 = 1_000_000_000;
const WINDOW_S: u64 = 300;
const HOLD_S: u64 = 40;

pub fn at(boot: u64, s: u64) -> Moment {
    Moment { boot, monotonic_ns: s * S, wall: None }
}

pub fn open(now: Moment, settings: &[(&str, &str)], saved: Option<Vec<u8>>, out: &mut Outbox) -> Result<ConditionWatch, Problem> {
    let settings = settings.iter().map(|(name, value)| fact(name, *value)).collect();
    ConditionWatch::open(now, Opening { settings, about: Vec::new(), seed: 1, saved }, out)
}

pub fn number(mantissa: i64, exponent: i8) -> Reading {
    reading(0, Decimal::new(mantissa, exponent))
}

/// Figures by channel; what is absent is `None`.
pub type Figures = BTreeMap<Channel, Option<Decimal>>;

pub fn told(said: &[Said]) -> Vec<Figures> {
    let value = |r: &Reading| (r.channel, if let Value::Number(n) = r.value { Some(n) } else { None });
    let observations = said.iter().filter_map(|s| if let Said::Emit(all) = s { Some(all) } else { None }).flatten();
    observations.map(|o| o.readings.iter().map(value).collect()).collect()
}

pub fn kept(said: &[Said]) -> Option<Vec<u8>> {
    said.iter().rev().find_map(|s| if let Said::Keep(state) = s { Some(state.clone()) } else { None })
}

/// What was known in each second, as a list: the plainest way to reckon it.
#[derive(Default)]
struct Seconds {
    at: u64,
    value: Option<(i64, u64)>,
    runs: Option<(bool, u64)>,
    known: BTreeMap<u64, i64>,
    ran: BTreeMap<u64, bool>,
    read: Vec<(u64, i64)>,
    starts: Vec<u64>,
    unusable: Vec<u64>,
}

impl Seconds {
    /// A loss alone moves nothing: only what is heard does.
    fn pass(&mut self, to: u64) {
        for s in self.at..to {
            self.value.filter(|(_, since)| s < since + HOLD_S).map(|(v, _)| self.known.insert(s, v));
            self.runs.filter(|(_, since)| s < since + HOLD_S).map(|(r, _)| self.ran.insert(s, r));
        }
        self.at = to;
        self.value = self.value.filter(|(_, since)| to <= since + HOLD_S);
        self.runs = self.runs.filter(|(_, since)| to <= since + HOLD_S);
    }

    /// min, max, mean in thousandths, coverage in tenths of a percent, unusable, duty, starts, duty's coverage, and of the limit 23.0: total, longest.
    fn window(&self, from: u64, to: u64) -> Vec<Option<i64>> {
        let known: Vec<i64> = self.known.range(from..to).map(|(_, v)| *v).collect();
        let ran: Vec<bool> = self.ran.range(from..to).map(|(_, r)| *r).collect();
        // a reading just at the end belongs to the next window, in which it stands
        let values = || self.read.iter().filter(|(s, _)| (from..to).contains(s)).map(|(_, v)| *v).chain(known.iter().copied());
        let half_even = |number: i64, by: i64| {
            let (double, floor) = (2 * number.rem_euclid(by), number.div_euclid(by));
            floor + i64::from(double > by || (double == by && floor % 2 == 1))
        };
        let mean = |number: i64, n: usize| (n > 0).then(|| half_even(number, n as i64));
        let within = |list: &[u64]| list.iter().filter(|s| (from..to).contains(s)).count() as i64;
        let share = |n: usize| Some(n as i64 * 1000 / (to - from) as i64);
        let beyond = known.iter().filter(|v| **v > 230).count() as i64;
        vec![
            values().min(),
            values().max(),
            mean(known.iter().sum::<i64>() * 100, known.len()),
            share(known.len()),
            Some(within(&self.unusable)),
            mean(ran.iter().filter(|r| **r).count() as i64 * 1000, ran.len()),
            (!ran.is_empty()).then(|| within(&self.starts)),
            share(ran.len()),
            values().next().map(|_| beyond * 10),
        ]
    }
}

/// Any order of readings, absences, losses, sources that come and go, restarts: what is told of each window is what a list of seconds gives.
//= PROMISES.md#P98
#[test]
fn every_window_is_what_a_list_of_its_seconds_gives() {
    let settings = [("window_s", "300"), ("hold_s", "40"), ("high", "23"), ("drift_windows", "12"), ("alert_after_s", "100")];
    let (mut windows, mut days, mut restarts) = (0, 0, 0);
    for seed in 1..=40 {
        let mut random = Random(u64::wrapping_mul(seed, 0x9E37_79B9_7F4A_7C15));
        let (mut out, mut model) = (Outbox::default(), Seconds::default());
        let mut plugin = open(at(1, 0), &settings, None, &mut out).expect("it opens");
        let mut bound = false;
        let end = if seed % 8 == 0 { 90_000 } else { 6_000 };
        let (mut now, mut window, mut day) = (0, 0, 0);
        while now < end {
            let mut new = Vec::new();
            let pause = if random.below(20) == 0 { 200 } else { 25 };
            let next = now + random.below(pause) as u64;
            // the plugin's timer, a second behind each window's end
            let due = (now - now.min(1)) / WINDOW_S * WINDOW_S + WINDOW_S + 1;
            if due <= next {
                now = due;
                model.pass(now);
                plugin.timer(at(1, now), 1, &mut out).expect("taken");
            } else {
                now = next;
                match random.below(40) {
                    0 => {
                        model.value = None;
                        plugin.missed(at(1, now), 0, None, Missing::DeviceOff, &mut out).expect("taken");
                    }
                    1 => {
                        model.runs = None;
                        plugin.missed(at(1, now), 1, Some(3), Missing::Overrun, &mut out).expect("taken");
                    }
                    2 => {
                        (model.value, bound) = (None, false);
                        plugin.unbound(at(1, now), 0, &mut out).expect("taken");
                    }
                    3 => {
                        model.pass(now); // what it says when it closes counts
                        plugin.close(at(1, now), &mut out).expect("taken");
                        new = out.take();
                        (model.value, model.runs, bound) = (None, None, false);
                        plugin = open(at(1, now), &settings, kept(&new), &mut out).expect("it opens again");
                        restarts += 1;
                    }
                    _ if !bound => {
                        (model.value, model.runs) = (None, None);
                        for (input, meaning) in [(0, Description::numeric("t", "Cel")), (1, Description::enumeration("run"))] {
                            plugin.bound(at(1, now), input, meaning, &mut out).expect("taken");
                            plugin.missed(at(1, now), input, None, Missing::Unknown, &mut out).expect("taken");
                        }
                        bound = true;
                    }
                    n => {
                        model.pass(now);
                        let mut readings = Vec::new();
                        if n % 3 != 0 {
                            let value = 150 + random.below(100) as i64;
                            let (reading, usable) = match random.below(12) {
                                0 => (reading(0, Absence::SensorFault), false),
                                1 => (Reading { quality: Quality::QUESTIONABLE, ..number(value, -1) }, false),
                                2 => (number(value * 100, -3), true), // the same, finer
                                3 => (Reading { quality: Quality::VALIDATED | Quality::IN_ALARM, ..number(value, -1) }, true),
                                _ => (number(value, -1), true),
                            };
                            readings.push(reading);
                            model.value = usable.then_some((value, now));
                            if usable { model.read.push((now, value)) } else { model.unusable.push(now) }
                        }
                        if n % 3 != 1 {
                            let runs = random.below(3) == 0;
                            readings.insert(random.below(readings.len() + 1), reading(1, Value::Code(runs.into())));
                            if runs && model.runs.is_some_and(|(ran, _)| !ran) {
                                model.starts.push(now);
                            }
                            model.runs = Some((runs, now));
                        }
                        plugin.observed(at(1, now), Observation::of(readings), &mut out).expect("taken");
                    }
                }
            }
            new.extend(out.take());
            for figures in told(&new) {
                let of_day = figures.contains_key(&32);
                let (first, from, span) = if of_day { (32, &mut day, 86_400) } else { (0, &mut window, WINDOW_S) };
                let expected = model.window(*from, *from + span);
                let got = |c: Channel| figures.get(&(c + first)).copied().flatten();
                let tenths = |d: Decimal| if d.exponent == -3 { d.mantissa / 100 } else { d.mantissa };
                let total = got(14).map(|d| d.mantissa);
                let of = [got(0).map(tenths), got(1).map(tenths), got(2).map(|d| d.mantissa), got(3).map(|d| d.mantissa)];
                let running = [5, 6, 7].map(|c| figures.get(&(c + first)).map(|_| got(c).map(|d| d.mantissa)));
                let at = format!("seed {seed}, {span} s from {from}");
                assert_eq!(of, expected[..4], "{at}: min, max, mean, coverage");
                assert_eq!(got(4).map(|d| d.mantissa), expected[4], "{at}: unusable");
                for (got, expected) in running.iter().zip(&expected[5..8]) {
                    assert!(got.is_none_or(|got| got == *expected), "{at}: {running:?} {:?}", &expected);
                }
                assert_eq!(total, expected[8], "{at}: time above the limit");
                *from += span;
                if of_day { days += 1 } else { windows += 1 }
            }
        }
    }
    println!("{windows} windows, {days} days, {restarts} restarts");
    assert!(windows > 2000 && days >= 4 && restarts > 200);
}

/// Sorts every slope as a fraction; neither rounds nor selects.
fn reference_slope(history: &History, a_day: i128) -> Option<(i128, i128)> {
    let all: Vec<&Past> = history.0.iter().collect();
    let mut slopes: Vec<(i128, i128)> = Vec::new();
    for a in &all {
        for b in all.iter().filter(|b| b.boot == a.boot && b.index > a.index) {
            slopes.push((i128::from(b.mean - a.mean) * a_day, i128::from(b.index - a.index)));
        }
    }
    slopes.sort_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)));
    let (low, high) = (slopes.get(slopes.len().checked_sub(1)? / 2)?, slopes.get(slopes.len() / 2)?);
    Some((low.0 * high.1 + high.0 * low.1, 2 * low.1 * high.1))
}

#[test]
fn drift_is_the_median_of_all_slopes_and_windows_that_stand_out_do_not_move_it() {
    let mut random = Random(7);
    for _ in 0..300 {
        let mut history = History::default();
        let (mut boot, mut index) = (1, random.below(1000) as u64);
        for _ in 0..random.below(80) {
            index += 1 + random.below(3) as u64 / 2;
            if random.below(40) == 0 {
                (boot, index) = (boot + 1, 0);
            }
            let mean = random.below(2000) as i64 - 1000;
            history.push(Past { boot, index, mean: if random.below(9) == 0 { mean * 1_000_000_000_000 } else { mean } }, 48);
        }
        assert!(history.0.len() <= 48);
        if let Some(slope) = history.slope(48, 24) {
            let (number, by) = reference_slope(&history, 24).expect("pairs");
            assert!((i128::from(slope) * by - number).abs() <= by, "{slope} is within one step of {number}/{by}: {history:?}");
        }
    }
    // 3 mK an hour, noise of the time of day, and a quarter of the windows with an open door
    let mut history = History::default();
    for index in 0..168u64 {
        let door = if random.below(4) == 0 { 5000 + random.below(3000) as i64 } else { 0 };
        history.push(Past { boot: 1, index, mean: -18_000 + 3 * index as i64 + (index % 24) as i64 * 10 + door }, 168);
    }
    let slope = history.slope(168, 24).expect("a week");
    println!("72 mK a day, with doors: {slope} mK a day");
    assert!((52..=92).contains(&slope), "{slope}");
    let straight = (0..168u64).map(|index| Past { boot: 1, index, mean: GRID_MAX - 2 * GRID_MAX * (index as i64 % 2) });
    let mut extreme = History::default();
    straight.for_each(|past| extreme.push(past, 168));
    assert!(extreme.slope(168, 288).is_some(), "the widest values and the shortest windows");
}

#[test]
fn drift_is_told_only_when_half_of_what_is_looked_at_is_there_in_one_boot() {
    let mut history = History::default();
    for index in 0..6 {
        history.push(Past { boot: 1, index, mean: index as i64 }, 12);
        assert_eq!(history.slope(12, 24), None);
    }
    for index in 0..6 {
        history.push(Past { boot: 2, index: index + 100, mean: 0 }, 12);
        assert_eq!(history.slope(12, 24), None, "between two boots nobody knows the time");
    }
    history.push(Past { boot: 2, index: 106, mean: 0 }, 12);
    assert_eq!(history.slope(12, 24), Some(0));
    history.push(Past { boot: 2, index: 200, mean: 9 }, 12);
    assert_eq!(history.0.iter().filter(|past| past.boot == 2).count(), 1, "holes do not make it reach back farther");
}

#[test]
fn numbers_lie_on_the_grid_exactly_or_half_to_even() {
    let grid = |mantissa, exponent, places| Sample::of(Decimal::new(mantissa, exponent), places).map(|s| (s.grid, s.told.exponent));
    assert_eq!(grid(-185, -1, 3), Some((-18_500, -1)), "told as it came");
    assert_eq!(grid(5, 2, 3), Some((500_000, 2)));
    assert_eq!((grid(12_345, -4, 3), grid(12_355, -4, 3), grid(-12_345, -4, 3)), (Some((1234, -3)), Some((1236, -3)), Some((-1234, -3))));
    assert_eq!((grid(i64::MAX, -128, 3), grid(i64::MIN, -23, 3), grid(0, 127, 6)), (Some((0, -3)), Some((0, -3)), Some((0, 127))));
    assert_eq!((grid(i64::MAX, 0, 0), grid(1, 127, 0), grid(1, 13, 3), grid(i64::MIN, 127, 6)), (None, None, None, None));
    assert_eq!((grid(GRID_MAX / 10, 1, 0), grid(GRID_MAX + 1, 0, 0)), (Some((GRID_MAX, 1)), None));
}

/// One life after another with any decimals, times and states.
#[test]
fn nothing_that_is_said_or_kept_brings_it_down() {
    let mut random = Random(11);
    let (mut corpus, mut accepted, mut states) = (Vec::new(), 0, 0);
    for round in 0..4000u64 {
        let mut out = Outbox::default();
        let places = ["0", "3", "6"][random.below(3)];
        let settings = [
            ("window_s", "300"),
            ("places", places),
            ("drift_windows", "12"),
            ("low", "-5"),
            ("high", "7"),
            ("drift_max", "1"),
            ("starts_max", "0"),
        ];
        let saved = corpus.get(random.below(corpus.len().max(1))).map(|state: &Vec<u8>| match random.below(3) {
            0 => state.clone(),
            1 => state[..random.below(state.len())].to_vec(),
            _ => mutate(state, &mut random),
        });
        if let Some(saved) = &saved {
            states += 1;
            accepted += usize::from(State::read(saved).is_some());
        }
        let mut now = Moment { boot: round / 3, monotonic_ns: random.next() >> random.below(64), wall: None };
        let mut plugin = open(now, &settings, saved, &mut out).expect("a state is never a reason not to open");
        for _ in 0..60 {
            now.monotonic_ns = now.monotonic_ns.saturating_add(random.next() >> (random.below(40) + 24));
            let any = |random: &mut Random| (random.next() as i64) >> random.below(64);
            let done = match random.below(10) {
                0 => plugin.bound(now, random.below(5) as Channel, Description::numeric("t", ["Cel", "V", ""][random.below(3)]), &mut out),
                1 => plugin.unbound(now, random.below(5) as Channel, &mut out),
                2 => plugin.missed(now, random.below(5) as Channel, None, Missing::Unknown, &mut out),
                3 => plugin.timer(now, random.below(3) as Tag, &mut out),
                _ => {
                    let value = match random.below(6) {
                        0 => Value::Absent(Absence::Stale),
                        1 => Value::Bits(random.next()),
                        2 => Value::Text("x".into()),
                        3 => Value::Code(random.next() as u32 & 1),
                        4 => Value::Number(Decimal::new(any(&mut random), 0)),
                        _ => Value::Number(Decimal::new(any(&mut random), random.next() as i8)),
                    };
                    plugin.observed(now, Observation::of(vec![reading(random.below(4) as Channel, value)]), &mut out)
                }
            };
            done.expect("taken");
            if random.below(50) == 0 {
                now.boot += 1;
            }
        }
        plugin.close(now, &mut out).expect("closed");
        let said = out.take();
        let state = kept(&said).expect("it keeps when it closes");
        assert!(said.iter().all(|s| !matches!(s, Said::Keep(state) if state.len() > 16_384)), "what the manifest grants");
        assert_eq!(State::read(&state).map(|s| s.write()), Some(state.clone()), "what it keeps it reads");
        assert_eq!(State::read(&[&state[..], &[0]].concat()), None, "nor anything behind it");
        if corpus.len() < 200 { corpus.push(state) } else { corpus[random.below(200)] = state }
    }
    println!("{accepted} of {states} states taken");
    assert!(accepted > 500 && accepted < states);
}
