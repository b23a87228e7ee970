//! condition-watch over its lives: restarts, power cuts, other sources, changed settings, alerts.

use condition_watch::ConditionWatch;
use wardgate_sdk::*;

use crate::condition_watch::{Figures, at, kept, number, open, told};

const HOUR_S: u64 = 3600;

struct Life {
    plugin: ConditionWatch,
    out: Outbox,
    state: Option<Vec<u8>>,
    figures: Vec<Figures>,
    alerts: Vec<(u32, AlertState, String)>,
    described: Vec<String>,
    health: Vec<Health>,
}

impl Life {
    fn begin(now: Moment, settings: &[(&str, &str)], state: Option<Vec<u8>>) -> Self {
        let mut out = Outbox::default();
        let plugin = open(now, settings, state.clone(), &mut out).unwrap_or_else(|why| panic!("{}", why.detail));
        let mut life = Self { plugin, out, state, figures: vec![], alerts: vec![], described: vec![], health: vec![] };
        life.took(Ok(()));
        life
    }

    /// As the gateway begins: the source describes itself, and what came before is not known.
    fn bound(now: Moment, settings: &[(&str, &str)], state: Option<Vec<u8>>) -> Self {
        let mut life = Self::begin(now, settings, state);
        life.bind(now, 0, Description::numeric("t", "Cel"));
        life.bind(now, 1, Description::enumeration("run"));
        life
    }

    fn bind(&mut self, now: Moment, input: Channel, meaning: Description) {
        let done = self.plugin.bound(now, input, meaning, &mut self.out);
        self.took(done);
        let done = self.plugin.missed(now, input, None, Missing::Unknown, &mut self.out);
        self.took(done);
    }

    fn took(&mut self, done: Done) {
        done.expect("taken");
        let said = self.out.take();
        self.state = kept(&said).or(self.state.take());
        self.figures.extend(told(&said));
        for one in said {
            match one {
                Said::Raise(alert) => {
                    assert_eq!((alert.priority, alert.concern), (Priority::Low, Concern::Technical));
                    self.alerts.push((alert.id, alert.state, alert.text));
                }
                Said::Describe(_, meaning) => self.described.push(meaning.name),
                Said::Report(health, _) => self.health.push(health),
                _ => {}
            }
        }
    }

    fn see(&mut self, now: Moment, readings: Vec<Reading>) {
        let done = self.plugin.observed(now, Observation::of(readings), &mut self.out);
        self.took(done);
    }

    /// A reading each ten seconds, tenths of a degree; `to` itself is not read.
    fn hear(&mut self, boot: u64, from: u64, to: u64, tenths: impl Fn(u64) -> i64) {
        (from..to).step_by(10).for_each(|s| self.see(at(boot, s), vec![number(tenths(s), -1)]));
    }

    fn tick(&mut self, now: Moment) {
        let done = self.plugin.timer(now, 1, &mut self.out);
        self.took(done);
    }

    fn figure(&self, n: usize, channel: Channel) -> Option<(i64, i8)> {
        self.figures[n].get(&channel).copied().flatten().map(|d| (d.mantissa, d.exponent))
    }

    fn states(&self) -> Vec<(u32, AlertState)> {
        self.alerts.iter().map(|(id, state, _)| (*id, *state)).collect()
    }
}

/// Killed without a word in the middle of a window: what it had told stays told, once; what it had seen since is a hole, and nothing twice.
//= PROMISES.md#P98
#[test]
fn a_power_cut_costs_the_open_window_and_nothing_that_was_told() {
    let mut life = Life::bound(at(1, 0), &[], None);
    life.hear(1, 0, HOUR_S + 1800, |_| 50);
    assert_eq!(life.figures.len(), 1);
    assert_eq!((life.figure(0, 2), life.figure(0, 3)), (Some((5000, -3)), Some((1000, -1))));
    // the same boot: the filter alone was killed; the half hour that was seen since the latest window's end counts as unseen
    let mut life = Life::bound(at(1, HOUR_S + 1800), &[], life.state);
    assert!(life.figures.is_empty(), "nothing is told twice");
    life.hear(1, HOUR_S + 1800, 2 * HOUR_S, |_| 70);
    life.tick(at(1, 2 * HOUR_S + 1));
    assert_eq!((life.figure(0, 2), life.figure(0, 3)), (Some((7000, -3)), Some((500, -1))), "half of the window, and that alone");
    // another boot: the window and the day end as they stand
    let mut life = Life::bound(at(2, 100), &[], life.state);
    assert_eq!(life.figures.len(), 2, "the window that was open, of which a second was kept, and the day");
    assert_eq!(life.figure(0, 3), Some((0, -1)));
    assert_eq!(
        (life.figure(1, 34), life.figure(1, 35)),
        (Some((5667, -3)), Some((62, -1))),
        "an hour of 5.0, half an hour and a second of 7.0; of a day"
    );
    life.hear(2, 100, HOUR_S, |_| 50);
    life.tick(at(2, HOUR_S + 1));
    assert_eq!(life.figure(2, 3), Some((972, -1)), "3500 of 3600 s, rounded down");
}

#[test]
fn a_restart_that_was_asked_for_costs_only_the_time_in_between() {
    let mut life = Life::bound(at(1, 0), &[("high", "8")], None);
    life.hear(1, 0, 1000, |_| 90);
    let done = life.plugin.close(at(1, 1000), &mut life.out);
    life.took(done);
    let mut life = Life::bound(at(1, 1100), &[("high", "8")], life.state);
    life.hear(1, 1100, 1200, |_| 90);
    life.hear(1, 1200, HOUR_S, |_| 50);
    life.tick(at(1, HOUR_S + 1));
    assert_eq!((life.figure(0, 3), life.figure(0, 13)), (Some((972, -1)), Some((1, 0))), "one excursion: it was out before and after");
    assert_eq!((life.figure(0, 14), life.figure(0, 15)), (Some((11_000, -1)), Some((11_000, -1))), "1000 and 100 seconds of it were seen");
}

#[test]
fn windows_that_passed_while_it_was_away_are_not_made_up() {
    let mut life = Life::bound(at(1, 0), &[], None);
    life.hear(1, 0, 1800, |_| 50);
    let done = life.plugin.close(at(1, 1800), &mut life.out);
    life.took(done);
    let life = Life::begin(at(1, 50 * HOUR_S), &[], life.state);
    assert_eq!(life.figures.len(), 2, "the window that was open, and its day: {:?}", life.figures);
    assert_eq!((life.figure(0, 3), life.figure(1, 35)), (Some((500, -1)), Some((20, -1))));
    assert!(life.described.contains(&"day-mean".into()), "before its source is heard again");
}

#[test]
fn a_silent_source_is_a_window_without_coverage_not_a_good_one() {
    let mut life = Life::bound(at(1, 0), &[("high", "8"), ("starts_max", "0")], None);
    life.see(at(1, 0), vec![number(50, -1), reading(1, Value::Code(1))]);
    life.tick(at(1, HOUR_S + 1));
    life.tick(at(1, 2 * HOUR_S + 1));
    assert_eq!((life.figure(0, 3), life.figure(0, 7)), (Some((16, -1)), Some((16, -1))), "a reading stands for a minute: 60 of 3600 s");
    assert_eq!(life.figure(1, 3), Some((0, -1)));
    for channel in [0, 1, 2, 5, 6, 13, 14, 15, 16, 18] {
        assert_eq!((life.figures[1].contains_key(&channel), life.figure(1, channel)), (true, None), "channel {channel} is absent");
    }
    assert_eq!(life.health.last(), Some(&Health::Degraded));
}

#[test]
fn another_unit_begins_anew_and_the_same_source_goes_on() {
    let mut life = Life::bound(at(1, 0), &[("high", "8"), ("alert_after_s", "60")], None);
    life.hear(1, 0, 600, |_| 90);
    let before = life.described.len();
    life.bind(at(1, 600), 0, Description::numeric("t", "Cel"));
    assert_eq!((life.figures.len(), life.described.len()), (0, before), "it described itself again, as it was");
    life.hear(1, 600, 1200, |_| 90);
    life.bind(at(1, 1200), 0, Description::numeric("t", "[degF]"));
    assert_eq!(life.figures.len(), 2, "what was counted is told in its own unit, before the new one is");
    assert_eq!(life.figure(0, 14), Some((11_900, -1)), "but for the ten seconds before it was told that something is missing");
    assert_eq!(life.states(), [(2, AlertState::Active), (2, AlertState::Inactive)]);
    assert!(life.described.len() > before);
    life.hear(1, 1200, HOUR_S, |_| 50);
    life.tick(at(1, HOUR_S + 1));
    assert_eq!((life.figure(2, 1), life.figure(2, 3)), (Some((50, -1)), Some((666, -1))));
}

#[test]
fn what_is_personal_is_not_watched() {
    let mut life = Life::begin(at(1, 0), &[], None);
    life.bind(at(1, 0), 0, Description::numeric("t", "Cel").personal());
    life.hear(1, 0, HOUR_S, |_| 50);
    life.tick(at(1, HOUR_S + 1));
    assert_eq!((life.figure(0, 0), life.figure(0, 3)), (None, Some((0, -1))));
    assert_eq!(life.health.last(), Some(&Health::Degraded));
}

#[test]
fn no_limit_no_alert() {
    let mut random = crate::random::Random(3);
    let mut life = Life::bound(at(1, 0), &[], None);
    for s in (0..30 * HOUR_S).step_by(20) {
        let value = random.below(2000) as i64 - 1000;
        life.see(at(1, s), vec![number(value, 1), reading(1, Value::Code(random.below(2) as u32))]);
    }
    assert_eq!((life.figures.len(), life.alerts.len()), (30, 0), "29 windows and a day");
    assert!(life.figures.iter().all(|f| !f.contains_key(&10) && !f.contains_key(&13)), "no limit, no figure of it");
}

#[test]
fn an_excursion_is_an_alert_when_it_lasts_and_ends_when_it_is_well_back() {
    let settings = [("low", "-20"), ("high", "8.0"), ("hysteresis", "0.5"), ("alert_after_s", "60")];
    let mut life = Life::bound(at(1, 0), &settings, None);
    life.hear(1, 0, 50, |_| 81);
    life.hear(1, 50, 60, |_| 76); // not yet back
    assert!(life.alerts.is_empty(), "50 s");
    life.hear(1, 60, 70, |_| 81);
    assert_eq!(life.alerts, [(2, AlertState::Active, "t above 8.0 Cel for 60 s".to_owned())]);
    life.hear(1, 70, 200, |_| 76);
    assert_eq!(life.alerts.len(), 1, "within the hysteresis it is not back");
    // killed while it is active: the end is told by the next life, also where only that life sees it
    let mut life = Life::bound(at(1, 300), &settings, life.state);
    assert!(life.alerts.is_empty());
    life.hear(1, 300, 310, |_| 75);
    assert_eq!(life.states(), [(2, AlertState::Inactive)]);
    life.hear(1, 310, 380, |_| -201);
    assert_eq!(life.states()[1..], [(1, AlertState::Active)]);
    // the limit is taken out of the settings: an alert that nobody could end otherwise
    let life = Life::bound(at(1, 400), &[("high", "8.0")], life.state);
    assert_eq!(life.states(), [(1, AlertState::Inactive)]);
}

#[test]
fn short_cycling_and_long_running_are_alerts_and_what_was_not_seen_is_no_start() {
    let settings = [("window_s", "600"), ("starts_max", "3"), ("duty_max", "80")];
    let mut life = Life::bound(at(1, 0), &settings, None);
    let runs = |life: &mut Life, s: u64, runs: bool| life.see(at(1, s), vec![reading(1, Value::Code(runs.into()))]);
    (0..600).step_by(10).for_each(|s| runs(&mut life, s, s / 60 % 2 == 0)); // 5 runs, the first began before
    life.tick(at(1, 601));
    assert_eq!((life.figure(0, 5), life.figure(0, 6)), (Some((500, -1)), Some((4, 0))));
    assert_eq!(life.states(), [(5, AlertState::Active)]);
    (610..1200).step_by(10).for_each(|s| runs(&mut life, s, true));
    life.tick(at(1, 1201));
    assert_eq!(life.states()[1..], [(4, AlertState::Active), (5, AlertState::Inactive)]);
    // stopped, a loss, running: when it started nobody saw
    runs(&mut life, 1210, false);
    let done = life.plugin.missed(at(1, 1215), 1, None, Missing::DeviceOff, &mut life.out);
    life.took(done);
    runs(&mut life, 1220, true);
    life.tick(at(1, 1801));
    assert_eq!(life.figure(2, 6), Some((0, 0)));
    assert_eq!(life.alerts.len(), 3, "too little was seen to say that it is good again");
}

/// How fast it cools while the compressor runs, how fast it warms while it rests: a weak compressor, a worn seal.
#[test]
fn rates_are_of_times_in_which_it_ran_or_rested_all_the_while() {
    let mut life = Life::bound(at(1, 0), &[], None);
    let both = |s: u64, tenths: i64, runs: u32| (at(1, s), vec![number(tenths, -1), reading(1, Value::Code(runs))]);
    let only_runs = |s: u64, runs: u32| (at(1, s), vec![reading(1, Value::Code(runs))]);
    for (now, readings) in [
        both(0, 100, 1),
        both(30, 90, 1), // -1.0 in 30 s while it runs
        both(60, 80, 0), // -1.0 in 30 s
        both(90, 81, 0), // +0.1 in 30 s while it rests
        only_runs(100, 1),
        both(120, 70, 1), // it rested, then ran: neither
        only_runs(130, 0),
        only_runs(140, 1),
        both(150, 10, 1),  // it rested in between: neither
        both(300, 200, 1), // two minutes and a half: nothing stood so long
    ] {
        life.see(now, readings);
    }
    life.tick(at(1, HOUR_S + 1));
    assert_eq!((life.figure(0, 8), life.figure(0, 9)), (Some((-120_000, -3)), Some((12_000, -3))), "-2.0 in 60 s, +0.1 in 30 s, per hour");
}

#[test]
fn a_drift_beyond_its_limit_is_an_alert() {
    let mut life = Life::bound(at(1, 0), &[("drift_max", "0.5"), ("drift_windows", "24")], None);
    // 0.1 K in 4 hours is 0.6 K a day; every fifth hour a door for a quarter of it
    let value = |s: u64| 50 + (s / (4 * HOUR_S)) as i64 + if (s / HOUR_S).is_multiple_of(5) && s % HOUR_S < 900 { 90 } else { 0 };
    life.hear(1, 0, 12 * HOUR_S + 10, value);
    assert!(life.figures.iter().all(|f| !f.contains_key(&16) || f[&16].is_none()) && life.alerts.is_empty(), "half a day is too little");
    life.hear(1, 12 * HOUR_S + 10, 40 * HOUR_S, value);
    assert_eq!(life.alerts, [(3, AlertState::Active, "t drifts by more than 0.5 K/d".to_owned())]);
    let slope = life.figures.iter().rev().find_map(|f| f.get(&16).copied().flatten()).expect("a drift");
    assert!((500..700).contains(&slope.mantissa) && slope.exponent == -3, "{slope:?}");
}

#[test]
fn a_setting_that_cannot_be_used_is_named_with_what_is_allowed() {
    for (settings, says) in [
        (vec![("window_s", "3601")], "of which a day is a whole number"),
        (vec![("window_s", "4")], "\"window_s\" is \"4\""),
        (vec![("window_s", "300"), ("hold_s", "301")], "from 1 to 300"),
        (vec![("high", "8.0005")], "at most 3 digits"),
        (vec![("high", "warm")], "\"high\" is \"warm\""),
        (vec![("low", "8"), ("high", "8.0")], "less than high, which is 8.0"),
        (vec![("hysteresis", "-1")], "not negative"),
        (vec![("drift_max", "-0.5")], "not negative"),
        (vec![("running_codes", "on")], "codes that mean running"),
        (vec![("running_codes", "")], "codes that mean running"),
        (vec![("running_bit", "64")], "0 to 63"),
        (vec![("duty_max", "100")], "from 1 to 99"),
        (vec![("hihg", "8")], "\"hihg\" is not known"),
    ] {
        let refused = open(at(1, 0), &settings, None, &mut Outbox::default()).err().unwrap_or_else(|| panic!("{settings:?} is taken"));
        assert!(refused.fatal && refused.cause == Cause::Setting && refused.detail.contains(says), "{settings:?}: {}", refused.detail);
    }
}

#[test]
fn other_settings_end_what_was_raised_also_where_nothing_else_goes_on() {
    for changed in [("high", "7"), ("window_s", "1800")] {
        let settings = [("high", "8"), changed];
        let mut life = Life::bound(at(1, 0), &[("high", "8")], None);
        life.hear(1, 0, 1000, |_| 90);
        assert_eq!(life.states(), [(2, AlertState::Active)]);
        let settings = if changed.0 == "high" { &settings[1..] } else { &settings[..] };
        let life = Life::bound(at(1, 1000), settings, life.state);
        assert_eq!(life.states(), [(2, AlertState::Inactive)], "{changed:?}");
    }
}
