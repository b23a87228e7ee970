//! What it says of each window and of each day: one channel for each figure.

use std::ops::Range;

use wardgate_sdk::*;

use crate::grid::quotient;
use crate::rules::{HIGH, LOW, NS_PER_S, Rules};
use crate::tally::{Change, Tally};

/// Numbers of a window's figures are their places below; a day's are this more.
const DAY: Channel = 32;
const RUNNING_FIGURES: Range<usize> = 5..10;
const LOW_FIGURES: Range<usize> = 10..13;
const HIGH_FIGURES: Range<usize> = 13..16;
pub const DUTY: Channel = 5;
pub const STARTS: Channel = 6;
pub const DRIFT: Channel = 16;
/// Of the low and of the high limit.
pub const PRESENT: [Channel; 2] = [17, 18];
const PRESENT_NAMES: [&str; 2] = ["low-present", "high-present"];
const NS_PER_H: i128 = 3600 * NS_PER_S as i128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Window,
    Day,
}

/// What is told with a window only.
pub struct Standing {
    pub drift: Option<Decimal>,
    /// For how long the present excursion below low and above high was seen. `None`: how the value stands is not known.
    pub present_ns: [Option<u64>; 2],
}

enum Unit {
    Input,
    /// Of differences of the input, per hour.
    PerHour,
    Own(&'static str),
}

type Figure = (&'static str, Unit, fn(&Tally, &Rules, u64) -> Option<Decimal>);

const FIGURES: [Figure; 16] = [
    ("min", Unit::Input, |t, _, _| t.least.map(|s| s.told)),
    ("max", Unit::Input, |t, _, _| t.most.map(|s| s.told)),
    ("mean", Unit::Input, |t, rules, _| quotient(t.weighted, t.seen_ns, rules.places)),
    ("coverage", Unit::Own("%"), |t, _, span_ns| share_down(t.seen_ns, span_ns)),
    ("unusable", Unit::Own("{readings}"), |t, _, _| count(t.unusable)),
    ("duty", Unit::Own("%"), |t, _, _| quotient(i128::from(t.running_ns) * 1000, t.known_ns(), 1)),
    ("starts", Unit::Own("{starts}"), |t, _, _| count(t.starts)),
    ("duty-coverage", Unit::Own("%"), |t, _, span_ns| share_down(t.known_ns(), span_ns)),
    ("rate-running", Unit::PerHour, |t, rules, _| rate(t.change_running, rules)),
    ("rate-stopped", Unit::PerHour, |t, rules, _| rate(t.change_stopped, rules)),
    ("low-count", Unit::Own("{excursions}"), |t, _, _| count(t.beyond[LOW].count)),
    ("low-total", Unit::Own("s"), |t, _, _| seconds(t.beyond[LOW].total_ns)),
    ("low-longest", Unit::Own("s"), |t, _, _| seconds(t.beyond[LOW].longest_ns)),
    ("high-count", Unit::Own("{excursions}"), |t, _, _| count(t.beyond[HIGH].count)),
    ("high-total", Unit::Own("s"), |t, _, _| seconds(t.beyond[HIGH].total_ns)),
    ("high-longest", Unit::Own("s"), |t, _, _| seconds(t.beyond[HIGH].longest_ns)),
];

/// `of`: the name of the channel that is watched.
pub fn describe(rules: &Rules, of: &str, unit: &str, out: &mut Outbox) {
    let per = |time| format!("{}/{time}", difference(unit));
    let mut say = |number, name: &str, unit: &str| out.describe(number, &Description::numeric(name, unit).fact("component", of));
    for (n, (name, counts_in, _)) in FIGURES.iter().enumerate().filter(|(n, _)| is_asked(*n, rules)) {
        let unit = match counts_in {
            Unit::Input => unit.to_owned(),
            Unit::PerHour => per("h"),
            Unit::Own(own) => (*own).to_owned(),
        };
        say(n as Channel, name, &unit);
        say(n as Channel + DAY, &format!("day-{name}"), &unit);
    }
    say(DRIFT, "drift", &per("d"));
    for side in (0..2).filter(|side| rules.limits()[*side].is_some()) {
        say(PRESENT[side], PRESENT_NAMES[side], "s");
    }
}

/// `runs`: whether anything tells that the machine runs.
pub fn figures(rules: &Rules, span: Span, tally: &Tally, runs: bool) -> Vec<Reading> {
    let (first, span_ns) = match span {
        Span::Window => (0, rules.window_ns),
        Span::Day => (DAY, rules.window_ns * rules.a_day),
    };
    let told = |n: usize, figure: &Figure| {
        let unseen = tally.least.is_none() && (LOW_FIGURES.contains(&n) || HIGH_FIGURES.contains(&n));
        let unknown = tally.known_ns() == 0 && n == usize::from(STARTS);
        let value = (figure.2)(tally, rules, span_ns).filter(|_| !unseen && !unknown);
        reading(n as Channel + first, or_absent(value))
    };
    let asked = |n: &usize| is_asked(*n, rules) && (runs || !RUNNING_FIGURES.contains(n));
    FIGURES.iter().enumerate().filter(|(n, _)| asked(n)).map(|(n, figure)| told(n, figure)).collect()
}

pub fn standing(rules: &Rules, now: &Standing) -> Vec<Reading> {
    let present = (0..2).filter(|side| rules.limits()[*side].is_some());
    let present = present.map(|side| reading(PRESENT[side], or_absent(now.present_ns[side].and_then(seconds))));
    std::iter::once(reading(DRIFT, or_absent(now.drift))).chain(present).collect()
}

/// Figures of a limit are there where the limit is given.
fn is_asked(figure: usize, rules: &Rules) -> bool {
    (rules.low.is_some() || !LOW_FIGURES.contains(&figure)) && (rules.high.is_some() || !HIGH_FIGURES.contains(&figure))
}

/// Nothing of it was seen, or too little.
fn or_absent(value: Option<Decimal>) -> Value {
    value.map_or(Absence::NotMeasured.into(), Value::Number)
}

fn count(n: u32) -> Option<Decimal> {
    Some(Decimal::new(n.into(), 0))
}

fn seconds(ns: u64) -> Option<Decimal> {
    quotient(i128::from(ns) * 10, NS_PER_S, 1)
}

/// In percent, rounded down: 100.0 is without a hole.
fn share_down(of_ns: u64, span_ns: u64) -> Option<Decimal> {
    Some(Decimal::new((i128::from(of_ns) * 1000 / i128::from(span_ns)) as i64, -1))
}

fn rate(change: Change, rules: &Rules) -> Option<Decimal> {
    quotient(change.grid.checked_mul(NS_PER_H)?, change.ns, rules.places)
}

/// UCUM multiplies and divides no degrees that have a zero of their own: a difference of degrees Celsius is in kelvin.
pub fn difference(unit: &str) -> &str {
    match unit {
        "Cel" => "K",
        "[degF]" => "[degR]",
        other => other,
    }
}
