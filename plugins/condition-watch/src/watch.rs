//! Counts what it sees, window by window. Time is what the moments of a boot say; what was not seen is counted as nothing, good or bad.

use wardgate_sdk::*;

use crate::alerts::Watched;
use crate::channels::{self, Span, Standing};
use crate::drift::Past;
use crate::grid::{Sample, decimal, quotient};
use crate::rules::Rules;
use crate::state::{Excursion, Source, State, TEXT_BYTES_MAX};
use crate::tally::{Change, Tally};

const VALUE: Channel = 0; // as the manifest lists the inputs; those after it tell whether the machine runs
const WINDOW_END: Tag = 1;
const GRACE_MS: u64 = 1000; // what was read before a window's end is heard before it is closed
const NS_PER_MS: u64 = 1_000_000;
/// Such readings are no measurement of the machine at work.
const UNUSABLE: Quality = Quality::INVALID
    .union(Quality::QUESTIONABLE)
    .union(Quality::UNAVAILABLE)
    .union(Quality::CALIBRATING)
    .union(Quality::TEST)
    .union(Quality::DEMO);

/// How it stands with the input that is watched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Awaited,
    Bound,
    Refused,
    Gone,
}

pub struct Watch {
    rules: Rules,
    state: State,
    input: Input,
    /// Both stand at `state.at_ns`.
    value: Option<Held<Sample>>,
    running: Option<Held<bool>>,
    /// The input that tells whether the machine runs: the first that was bound.
    teller: Option<Channel>,
    /// Those that were bound beside it, and are not heard.
    spare: Vec<Channel>,
    /// Since its input was bound.
    has_seen: bool,
    told: Option<(Health, String)>,
    opened_ns: u64,
    /// Too little was seen of the latest window, though it was open for all of it.
    thin: bool,
    must_keep: bool,
}

/// A reading stands until the next, and no longer than `hold_s`.
#[derive(Clone, Copy)]
struct Held<T> {
    what: T,
    read_ns: u64,
    /// It has been the same since, without a hole.
    since_ns: u64,
}

impl<T> Held<T> {
    /// For how long it stood between two moments, and whether it still does at the second.
    fn stood(&self, from_ns: u64, to_ns: u64, hold_ns: u64) -> (u64, bool) {
        let until_ns = self.read_ns.saturating_add(hold_ns);
        (to_ns.min(until_ns).saturating_sub(from_ns), to_ns <= until_ns)
    }
}

impl Watch {
    pub fn open(now: Moment, start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let rules = Rules::read(&start.settings)?;
        let (grid_mark, rules_mark) = (rules.grid_mark(), rules.mark);
        let fresh = State { grid_mark, rules_mark, boot: now.boot, at_ns: now.monotonic_ns, ..State::default() };
        let from_past = |s: &State| s.boot != now.boot || s.at_ns <= now.monotonic_ns;
        let saved = start.saved.as_deref().map(|bytes| State::read(bytes).filter(from_past));
        if saved == Some(None) {
            out.log(Level::Warn, "the state that was kept is not of this version, or damaged: all statistics begin anew");
        }
        let mut watch = Self {
            state: match saved.flatten() {
                Some(state) if state.grid_mark == grid_mark => state,
                // of another grid: nothing goes on, but what it raised must end
                Some(State { rules_mark, source, active, .. }) => State { rules_mark, source, active, ..fresh },
                None => fresh,
            },
            rules,
            input: Input::Awaited,
            value: None,
            teller: None,
            spare: Vec::new(),
            running: None,
            has_seen: false,
            told: None,
            opened_ns: now.monotonic_ns,
            thin: false,
            must_keep: false,
        };
        watch.describe(out);
        watch.resume(out);
        watch.pass(now, out);
        watch.finish(out);
        watch.set_timer(now, out);
        Ok(watch)
    }

    /// What the settings were changed to does not go on in what others counted; the windows that are past stay what they were.
    fn resume(&mut self, out: &mut Outbox) {
        if self.state.rules_mark == self.rules.mark {
            return;
        }
        (self.state.window, self.state.day, self.state.excursions) = Default::default();
        self.state.rules_mark = self.rules.mark;
        // an alert names its limit: what still holds is raised anew with the new one
        Watched::ALL.into_iter().for_each(|watched| self.alert(watched, false, out));
        self.must_keep = true;
    }

    pub fn bound(&mut self, now: Moment, input: Channel, meaning: Description, out: &mut Outbox) {
        if input != VALUE {
            match self.teller {
                Some(teller) if teller != input => {
                    self.spare.retain(|spare| *spare != input);
                    self.spare.push(input);
                }
                _ => self.teller = Some(input),
            }
            return self.finish(out);
        }
        if meaning.personal || meaning.name.len().max(meaning.unit.len()) > TEXT_BYTES_MAX {
            (self.input, self.value) = (Input::Refused, None);
            return self.finish(out);
        }
        self.input = Input::Bound;
        let source = Source { name: meaning.name, unit: meaning.unit };
        if self.state.source.as_ref() != Some(&source) {
            self.begin_anew(now, source, out);
        }
        self.finish(out);
    }

    /// Another channel, or another unit: nothing that was counted goes on.
    fn begin_anew(&mut self, now: Moment, source: Source, out: &mut Outbox) {
        if self.state.source.is_some() {
            self.pass(now, out);
            self.cut(out);
            Watched::ALL.into_iter().for_each(|watched| self.alert(watched, false, out));
        }
        (self.value, self.has_seen) = (None, false);
        self.state = State {
            grid_mark: self.state.grid_mark,
            rules_mark: self.state.rules_mark,
            boot: now.boot,
            at_ns: now.monotonic_ns,
            source: Some(source),
            ..State::default()
        };
        self.describe(out);
        self.must_keep = true;
    }

    pub fn unbound(&mut self, input: Channel, out: &mut Outbox) {
        self.forget(input);
        if input == VALUE {
            self.input = Input::Gone;
        }
        self.teller = self.teller.filter(|teller| *teller != input);
        self.spare.retain(|spare| *spare != input);
        self.finish(out);
    }

    pub fn missed(&mut self, input: Channel, out: &mut Outbox) {
        self.forget(input);
        self.finish(out);
    }

    /// Since when it is missing nobody says: what was not counted yet does not count as seen. The time goes on with the next event, so that
    /// inputs that are lost together lose alike.
    fn forget(&mut self, input: Channel) {
        if input == VALUE {
            self.value = None;
        } else if self.teller == Some(input) {
            self.running = None;
        }
    }

    pub fn observed(&mut self, now: Moment, seen: &Observation, out: &mut Outbox) {
        self.pass(now, out);
        // the value first: it changed while the machine still ran as was told before
        let (value, teller) = ((self.input == Input::Bound).then_some(VALUE), self.teller);
        let of = |input: Option<Channel>| seen.readings.iter().filter(move |r| input == Some(r.channel));
        of(value).for_each(|reading| self.value(reading));
        of(teller).for_each(|reading| self.runs(reading));
        self.finish(out);
    }

    pub fn timer(&mut self, now: Moment, tag: Tag, out: &mut Outbox) {
        if tag == WINDOW_END {
            self.pass(now, out);
            self.finish(out);
            self.set_timer(now, out);
        }
    }

    pub fn close(&mut self, now: Moment, out: &mut Outbox) {
        self.pass(now, out);
        out.keep(&self.state.write());
    }

    fn value(&mut self, reading: &Reading) {
        let number = if let Value::Number(number) = reading.value { Some(number) } else { None };
        let usable = number.filter(|_| !reading.quality.intersects(UNUSABLE));
        let Some(sample) = usable.and_then(|number| Sample::of(number, self.rules.places)) else {
            self.state.window.unusable = self.state.window.unusable.saturating_add(1);
            self.value = None;
            return;
        };
        self.change(sample);
        self.state.window.value(sample);
        for (side, limit) in self.rules.limits().iter().enumerate() {
            let Some(limit) = limit else { continue };
            let excursion = &mut self.state.excursions[side];
            let is_out = limit.is_out(side, sample.grid, excursion.present);
            if is_out != excursion.present {
                *excursion = Excursion { present: is_out, seen_ns: 0 };
                let count = &mut self.state.window.beyond[side].count;
                *count = count.saturating_add(is_out.into());
            }
        }
        self.value = Some(Held { what: sample, read_ns: self.state.at_ns, since_ns: self.state.at_ns });
        self.has_seen = true;
    }

    /// From the reading before to this one, where the machine ran, or stood still, all the while.
    fn change(&mut self, sample: Sample) {
        let (Some(before), Some(running)) = (self.value, self.running) else { return };
        if running.since_ns <= before.read_ns {
            let grid = i128::from(sample.grid) - i128::from(before.what.grid);
            let window = &mut self.state.window;
            let change = if running.what { &mut window.change_running } else { &mut window.change_stopped };
            change.add(Change { grid, ns: self.state.at_ns - before.read_ns });
        }
    }

    fn runs(&mut self, reading: &Reading) {
        let tells = self.rules.running.tells(&reading.value, self.rules.places);
        let Some(runs) = tells.filter(|_| !reading.quality.intersects(UNUSABLE)) else {
            self.state.window.unusable = self.state.window.unusable.saturating_add(1);
            self.running = None;
            return;
        };
        let now = self.state.at_ns;
        // a start that lies in a hole was not seen
        let starts = runs && self.running.is_some_and(|before| !before.what);
        self.state.window.starts = self.state.window.starts.saturating_add(starts.into());
        let since_ns = self.running.filter(|before| before.what == runs).map_or(now, |before| before.since_ns);
        self.running = Some(Held { what: runs, read_ns: now, since_ns });
    }

    fn window_end(&self) -> u64 {
        (self.state.at_ns / self.rules.window_ns + 1).saturating_mul(self.rules.window_ns)
    }

    /// Up to a moment: counts what stood until then, and closes the windows that end on the way.
    fn pass(&mut self, now: Moment, out: &mut Outbox) {
        if now.boot != self.state.boot {
            self.cut(out);
            (self.value, self.running) = (None, None);
            (self.state.boot, self.state.at_ns) = (now.boot, now.monotonic_ns);
            self.must_keep = true;
        }
        let to = now.monotonic_ns;
        while self.state.at_ns < to && self.window_end() <= to {
            let index = self.state.at_ns / self.rules.window_ns;
            self.count(self.window_end());
            self.close_window(index, out);
            self.skip(to / self.rules.window_ns, out);
        }
        self.count(to);
    }

    /// Windows that passed wholly while nobody counted are not gone through one by one: nothing of them is told.
    fn skip(&mut self, to: u64, out: &mut Outbox) {
        let at = self.state.at_ns / self.rules.window_ns;
        if self.value.is_some() || self.running.is_some() || to <= at + 1 {
            return;
        }
        if at / self.rules.a_day != to / self.rules.a_day {
            self.close_day(out);
        }
        self.state.at_ns = to * self.rules.window_ns;
    }

    fn count(&mut self, to: u64) {
        let (from, hold, state) = (self.state.at_ns, self.rules.hold_ns, &mut self.state);
        let to = to.max(from);
        if let Some(held) = self.value {
            let (ns, stands) = held.stood(from, to, hold);
            if ns > 0 {
                state.window.value(held.what); // it stood at the window's beginning too
            }
            state.window.weighted += i128::from(held.what.grid) * i128::from(ns);
            state.window.seen_ns += ns;
            for (excursion, beyond) in state.excursions.iter_mut().zip(&mut state.window.beyond).filter(|(e, _)| e.present) {
                excursion.seen_ns = excursion.seen_ns.saturating_add(ns);
                beyond.total_ns += ns;
                beyond.longest_ns = beyond.longest_ns.max(excursion.seen_ns);
            }
            self.value = self.value.filter(|_| stands);
        }
        if let Some(held) = self.running {
            let (ns, stands) = held.stood(from, to, hold);
            *(if held.what { &mut state.window.running_ns } else { &mut state.window.stopped_ns }) += ns;
            self.running = self.running.filter(|_| stands);
        }
        state.at_ns = to;
    }

    /// What is open ends here and is told as it stands.
    fn cut(&mut self, out: &mut Outbox) {
        if self.state.window != Tally::default() {
            self.close_window(self.state.at_ns / self.rules.window_ns, out);
        }
        self.close_day(out);
        self.thin = false;
    }

    fn close_window(&mut self, index: u64, out: &mut Outbox) {
        let (rules, state) = (&self.rules, &mut self.state);
        let window = std::mem::take(&mut state.window);
        let thin = is_thin(window.seen_ns, rules);
        self.thin = thin && index.saturating_mul(rules.window_ns) >= self.opened_ns;
        let mean = quotient(window.weighted, window.seen_ns, rules.places);
        if let Some(mean) = mean.filter(|_| !thin) {
            state.history.push(Past { boot: state.boot, index, mean: mean.mantissa }, rules.drift_windows);
        }
        let drift = state.history.slope(rules.drift_windows, rules.a_day as u32);
        let present = |excursion: Excursion| self.value.map(|_| if excursion.present { excursion.seen_ns } else { 0 });
        let standing = Standing { drift: drift.map(|slope| decimal(slope, rules.places)), present_ns: state.excursions.map(present) };
        let runs = self.teller.is_some() || window.known_ns() > 0;
        let mut readings = channels::figures(rules, Span::Window, &window, runs);
        readings.extend(channels::standing(rules, &standing));
        out.emit(&[Observation::of(readings)]);
        state.day.add(&window);
        self.judge_window(&window, drift, out);
        self.must_keep = true;
        if (index + 1).is_multiple_of(self.rules.a_day) {
            self.close_day(out);
        }
    }

    /// A day of which nothing was counted is not told.
    fn close_day(&mut self, out: &mut Outbox) {
        let day = std::mem::take(&mut self.state.day);
        if day != Tally::default() {
            let runs = self.teller.is_some() || day.known_ns() > 0;
            out.emit(&[Observation::of(channels::figures(&self.rules, Span::Day, &day, runs))]);
        }
    }

    /// What is not known changes no alert.
    fn judge_window(&mut self, window: &Tally, drift: Option<i64>, out: &mut Outbox) {
        if let (Some(max), Some(drift)) = (self.rules.drift_max, drift) {
            self.alert(Watched::Drift, drift.abs() > max.grid, out);
        }
        let known = !is_thin(window.known_ns(), &self.rules);
        if let Some(max) = self.rules.duty_max.filter(|_| known) {
            self.alert(Watched::Duty, u128::from(window.running_ns) * 100 > u128::from(window.known_ns()) * u128::from(max), out);
        }
        // more starts than that are too many, however little was seen
        if let Some(max) = self.rules.starts_max.filter(|max| known || window.starts > *max) {
            self.alert(Watched::Starts, window.starts > max, out);
        }
    }

    fn judge_excursions(&mut self, out: &mut Outbox) {
        for (side, watched) in Watched::SIDES.into_iter().enumerate() {
            let excursion = self.state.excursions[side];
            if excursion.present && excursion.seen_ns >= self.rules.alert_after_ns {
                self.alert(watched, true, out);
            } else if !excursion.present && self.value.is_some() {
                self.alert(watched, false, out);
            }
        }
    }

    fn alert(&mut self, watched: Watched, active: bool, out: &mut Outbox) {
        let was = self.state.active & watched.bit() != 0;
        if was != active {
            self.state.active ^= watched.bit();
            out.raise(&watched.alert(active, &self.rules, self.state.source.as_ref().unwrap_or(&Source::default())));
            self.must_keep = true;
        }
    }

    /// At the end of each event.
    fn finish(&mut self, out: &mut Outbox) {
        self.judge_excursions(out);
        if std::mem::take(&mut self.must_keep) {
            out.keep(&self.state.write());
        }
        let (health, detail) = match self.input {
            Input::Refused => (Health::Degraded, "its input is personal, or its name or unit too long: only machines are watched".into()),
            Input::Gone => (Health::Degraded, "input \"value\" hears nothing".into()),
            _ if !self.spare.is_empty() => {
                (Health::Degraded, "two inputs tell whether it runs, and only the first that was bound is heard: bind one of them".into())
            }
            Input::Awaited => (Health::Starting, "waiting for its input".to_owned()),
            Input::Bound if !self.has_seen => (Health::Starting, "waiting for the first reading".into()),
            Input::Bound if self.thin => (Health::Degraded, format!("less than {} % of the last window was seen", self.rules.coverage_min)),
            Input::Bound => (Health::Healthy, String::new()),
        };
        if self.told.as_ref().is_none_or(|(h, d)| (*h, d) != (health, &detail)) {
            out.report(health, &detail);
            self.told = Some((health, detail));
        }
    }

    fn describe(&self, out: &mut Outbox) {
        let source = self.state.source.clone().unwrap_or_default();
        channels::describe(&self.rules, &source.name, &source.unit, out);
    }

    fn set_timer(&self, now: Moment, out: &mut Outbox) {
        out.set_timer(WINDOW_END, self.window_end().saturating_sub(now.monotonic_ns) / NS_PER_MS + GRACE_MS);
    }
}

fn is_thin(ns: u64, rules: &Rules) -> bool {
    u128::from(ns) * 100 < u128::from(rules.window_ns) * u128::from(rules.coverage_min)
}
