//! Asks in turn, one request at a time, and says what the answers say. A failed request is never hidden: an exception makes its
//! readings absent, silence makes them missing: said at once, again while it lasts, and once more when the device is back.

use std::collections::{BTreeSet, VecDeque};

use wardgate_sdk::modbus::{Failure, Request as Ask, Response, Span};
use wardgate_sdk::*;

use crate::decode::Order;
use crate::map::{self, Defaults, Function, PERIOD_MS, Row, Use};
use crate::plan::{Limits, Plan, REGISTERS_MAX, Request, plan};

const REQUEST_TAGS: Tag = 0x1_0000; // timers have their group's number, below
const PERIODS_MAX: usize = 8; // each is a timer
const TIMER_MS_MIN: u64 = 10; // the gateway's shortest
const STUCK_NS: u64 = 60_000_000_000; // no bus takes a minute for one request, retries and queue included: give it up
const NS_PER_MS: u64 = 1_000_000;
/// What is still missing is said again after a minute, then two, four and so on: what happens meanwhile to the gateway must not explain the
/// hole, and a device that is away for a month must not fill the ledger.
const AGAIN_NS: u64 = 60_000_000_000;
const AGAIN_NS_MAX: u64 = 3_600_000_000_000;

struct Pending {
    request: usize,
    tag: Tag,
    tries: u8,
    since: Moment,
}

/// Readings that are missing, from the last that was said to the next.
struct Hole {
    why: Missing,
    /// Not told yet, or lengthened since.
    open: bool,
    told_ns: u64,
    /// Until it is told again.
    rest_ns: u64,
}

pub struct Poller {
    rows: Vec<Row>,
    plan: Plan,
    /// For each row that is an alert: its id and whether the device says it is active.
    active: BTreeSet<u32>,
    tries: u8,
    queue: VecDeque<usize>,
    pending: Option<Pending>,
    next_tag: Tag,
    /// When each group is due next, in monotonic nanoseconds.
    due_ns: Vec<u64>,
    down: bool,
    /// For each request: why its readings are missing since its last answer.
    missing: Vec<Option<Hole>>,
    /// For each request: rounds since its last answer in which it was not asked, because it waited still.
    skipped: Vec<u64>,
    /// For each request: whether it was ever answered, be it with an exception.
    heard: Vec<bool>,
    /// For each request: what is wrong with it now.
    wrong: Vec<Option<(Health, String)>>,
    told: Option<(Health, String)>,
}

impl Poller {
    pub fn open(now: Moment, start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let settings = Settings::new(&start.settings);
        settings.only(&["map", "server", "period_ms", "gap", "registers_max", "tries"])?;
        let defaults = Defaults {
            server: settings.number("server", 1, 0..=247)?,
            every_ms: settings.number("period_ms", 1000, PERIOD_MS)?,
            order: Order::default(),
        };
        let rows = map::read(settings.required("map", "the register map")?, defaults).map_err(|e| Problem::setting(e.to_string()))?;
        let limits = Limits {
            gap: settings.number("gap", 0, 0..=REGISTERS_MAX)?,
            registers: settings.number("registers_max", REGISTERS_MAX, 4..=REGISTERS_MAX)?,
        };
        let plan = plan(&rows, limits);
        if plan.periods_ms.len() > PERIODS_MAX {
            return Err(Problem::setting(format!("setting \"map\" has more than {PERIODS_MAX} different periods")));
        }
        one_id_each(&rows)?;
        let mut poller = Self {
            active: restore(&rows, start.saved.as_deref(), out),
            tries: settings.number("tries", 2, 1..=5)?,
            queue: VecDeque::new(),
            pending: None,
            next_tag: REQUEST_TAGS,
            due_ns: plan.periods_ms.iter().map(|ms| now.monotonic_ns + ms * NS_PER_MS).collect(),
            down: false,
            missing: plan.requests.iter().map(|_| None).collect(),
            skipped: vec![0; plan.requests.len()],
            heard: vec![false; plan.requests.len()],
            wrong: vec![None; plan.requests.len()],
            told: None,
            rows,
            plan,
        };
        for (channel, row) in (0..).zip(&poller.rows) {
            if let Use::Channel(meaning) = &row.used {
                out.describe(channel, meaning);
            }
        }
        out.report(Health::Starting, "waiting for the first answer");
        for (tag, ms) in (1..).zip(&poller.plan.periods_ms) {
            out.set_timer(tag, *ms);
        }
        (0..poller.plan.periods_ms.len()).for_each(|group| poller.enqueue(group));
        poller.ask_next(now, out);
        Ok(poller)
    }

    pub fn timer(&mut self, now: Moment, tag: Tag, out: &mut Outbox) {
        let Some(group) = (tag as usize).checked_sub(1).filter(|g| *g < self.due_ns.len()) else { return };
        let period_ns = self.plan.periods_ms[group] * NS_PER_MS;
        // from due moment to due moment, so that lateness does not add up; rounds that are past are not made up for, they are missed
        self.due_ns[group] = match self.due_ns[group] + period_ns {
            next if next > now.monotonic_ns => next,
            past => {
                self.skip(group, 1 + (now.monotonic_ns - past) / period_ns);
                now.monotonic_ns + period_ns
            }
        };
        out.set_timer(tag, ((self.due_ns[group] - now.monotonic_ns) / NS_PER_MS).max(TIMER_MS_MIN));
        if let Some(stuck) = self.pending.take_if(|p| now.monotonic_ns.saturating_sub(p.since.monotonic_ns) > STUCK_NS) {
            out.modbus_cancel(stuck.tag);
            self.lost(stuck.request, Missing::NotSent, (Health::Degraded, "the gateway did not answer a request for 60 s".into()));
        }
        self.enqueue(group);
        self.ask_next(now, out);
        self.tell_holes(now, out);
        self.report(out);
    }

    pub fn link(&mut self, now: Moment, state: LinkState, out: &mut Outbox) {
        let was_down = std::mem::replace(&mut self.down, state == LinkState::Down);
        if self.down {
            self.pending = None; // what still answers is late, and late answers are not mixed in
            self.queue.clear();
            for request in 0..self.plan.requests.len() {
                self.lost(request, Missing::DeviceOff, (Health::Degraded, "the link to the bus is down".into()));
            }
        } else if was_down {
            (0..self.plan.periods_ms.len()).for_each(|group| self.enqueue(group));
            self.ask_next(now, out);
        }
        self.tell_holes(now, out);
        self.report(out);
    }

    pub fn reply(&mut self, now: Moment, tag: Tag, outcome: Result<Response, Failure>, out: &mut Outbox) {
        let Some(pending) = self.pending.take_if(|p| p.tag == tag) else {
            return out.log(Level::Debug, &format!("a late answer to request {tag} is dropped"));
        };
        match outcome.and_then(|response| self.words(pending.request, response)) {
            Ok(words) => self.answered(pending.request, &words, out),
            Err(Failure::Exception(code)) => self.refused(pending.request, code, out),
            Err(Failure::Timeout | Failure::Malformed) if pending.tries < self.tries => {
                self.ask(now, pending.request, pending.tries + 1, out)
            }
            Err(why) => self.failed(pending.request, why),
        }
        self.ask_next(now, out);
        self.tell_holes(now, out);
        self.report(out);
    }

    pub fn close(&mut self, out: &mut Outbox) {
        (0..self.plan.requests.len()).for_each(|request| self.say_missing(request, out));
    }

    /// One that waits still is not asked twice: it misses this round. While the link is down each round lengthens the hole.
    fn enqueue(&mut self, group: usize) {
        if self.down {
            let of_group = self.missing.iter_mut().zip(&self.plan.requests).filter(|(_, request)| request.group == group);
            of_group.filter_map(|(hole, _)| hole.as_mut()).for_each(|hole| hole.open = true);
            return;
        }
        for (n, _) in self.plan.requests.iter().enumerate().filter(|(_, request)| request.group == group) {
            if self.queue.contains(&n) || self.pending.as_ref().is_some_and(|p| p.request == n) {
                self.skipped[n] += 1;
            } else {
                self.queue.push_back(n);
            }
        }
    }

    fn skip(&mut self, group: usize, rounds: u64) {
        if self.down {
            return;
        }
        for (skipped, _) in self.skipped.iter_mut().zip(&self.plan.requests).filter(|(_, request)| request.group == group) {
            *skipped += rounds;
        }
    }

    fn ask_next(&mut self, now: Moment, out: &mut Outbox) {
        if self.pending.is_none()
            && let Some(request) = self.queue.pop_front()
        {
            self.ask(now, request, 1, out);
        }
    }

    fn ask(&mut self, now: Moment, request: usize, tries: u8, out: &mut Outbox) {
        let tag = self.next_tag;
        self.next_tag = tag.checked_add(1).unwrap_or(REQUEST_TAGS);
        let (row, Request { first, count, .. }) = (self.row(request), &self.plan.requests[request]);
        let span = Span { address: *first, count: *count };
        let ask = match row.function {
            Function::Coil => Ask::ReadCoils(span),
            Function::Discrete => Ask::ReadDiscreteInputs(span),
            Function::Holding => Ask::ReadHoldingRegisters(span),
            Function::Input => Ask::ReadInputRegisters(span),
        };
        out.modbus_submit(tag, row.server, &ask);
        self.pending = Some(Pending { request, tag, tries, since: now });
    }

    fn row(&self, request: usize) -> &Row {
        &self.rows[self.plan.requests[request].rows[0]]
    }

    /// For people: what the request reads.
    fn place(&self, request: usize) -> String {
        let (row, r) = (self.row(request), &self.plan.requests[request]);
        let last = u32::from(r.first) + u32::from(r.count) - 1;
        format!("server {}, function {}, {}..{last}", row.server, row.function as u8, r.first)
    }

    /// The answer's registers, a coil as one of them.
    fn words(&self, request: usize, response: Response) -> Result<Vec<u16>, Failure> {
        let words = match response {
            Response::Registers(words) if !self.row(request).function.of_bits() => words,
            Response::Bits(bits) if self.row(request).function.of_bits() => bits.into_iter().map(u16::from).collect(),
            _ => return Err(Failure::Malformed),
        };
        if words.len() == usize::from(self.plan.requests[request].count) { Ok(words) } else { Err(Failure::Malformed) }
    }

    fn answered(&mut self, request: usize, words: &[u16], out: &mut Outbox) {
        self.say_missing(request, out);
        self.wrong[request] = None;
        self.heard[request] = true;
        let (mut readings, mut changed) = (Vec::new(), false);
        for n in self.plan.requests[request].rows.clone() {
            let row = &self.rows[n];
            let at = usize::from(row.address - self.plan.requests[request].first);
            let own = &words[at..at + usize::from(row.form.words)];
            match &row.used {
                Use::Channel(_) => readings.push(reading(n as Channel, row.form.value(own))),
                Use::Alert { active, .. } => {
                    let active = active.holds(row.form.raw(own));
                    let id = id(&row.name);
                    let differs = if active { self.active.insert(id) } else { self.active.remove(&id) };
                    if differs {
                        out.raise(&alert(row, active));
                        changed = true;
                    }
                }
            }
        }
        if !readings.is_empty() {
            out.emit(&[Observation::of(readings)]);
        }
        if changed {
            out.keep(&self.active.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<_>>());
        }
    }

    /// The device answered, and not with values.
    fn refused(&mut self, request: usize, code: u8, out: &mut Outbox) {
        self.say_missing(request, out);
        self.heard[request] = true;
        let rows = &self.plan.requests[request].rows;
        let channels = rows.iter().filter(|n| matches!(self.rows[**n].used, Use::Channel(_)));
        let readings: Vec<_> = channels.map(|n| reading(*n as Channel, Absence::DeviceError)).collect();
        if !readings.is_empty() {
            out.emit(&[Observation::of(readings)]);
        }
        let why = match code {
            1 => "it does not know this function",
            2 => "it has no such address, or not all of them in one request (see the setting `gap`)",
            3 => "it does not take this count (see the setting `registers_max`)",
            4 => "it failed",
            6 => "it is busy",
            10 | 11 => "a gateway on the way cannot reach it",
            _ => "see its manual",
        };
        self.wrong[request] = Some((Health::Degraded, format!("{}: exception {code}, {why}", self.place(request))));
    }

    fn failed(&mut self, request: usize, why: Failure) {
        let (health, missing, what) = match why {
            Failure::Timeout => (Health::Degraded, Missing::DeviceOff, "no answer"),
            // the link is up, or nothing would have been asked
            Failure::LinkDown => (Health::Degraded, Missing::DeviceOff, "it does not answer, and is asked now and then until it does"),
            Failure::Malformed => (Health::Degraded, Missing::Corrupted, "the answer does not fit the request"),
            Failure::NotGranted => (Health::Failed, Missing::NotSent, "the gateway refused it, and its log names the line to add"),
            Failure::OverRate => (Health::Degraded, Missing::NotSent, "more requests than the grant allows"),
            Failure::Cancelled | Failure::Exception(_) => (Health::Degraded, Missing::NotSent, "given up"),
        };
        let detail = format!("{}: {what}", self.place(request));
        self.lost(request, missing, (health, detail));
    }

    fn lost(&mut self, request: usize, why: Missing, wrong: (Health, String)) {
        let hole = self.missing[request].get_or_insert(Hole { why, open: true, told_ns: 0, rest_ns: 0 });
        hole.open = true;
        self.wrong[request] = Some(wrong);
    }

    /// What is missing: at once, and again while it lasts.
    fn tell_holes(&mut self, now: Moment, out: &mut Outbox) {
        for request in 0..self.missing.len() {
            let Some(hole) = &mut self.missing[request] else { continue };
            if hole.open && now.monotonic_ns >= hole.told_ns + hole.rest_ns {
                hole.open = false;
                hole.told_ns = now.monotonic_ns;
                hole.rest_ns = (hole.rest_ns * 2).clamp(AGAIN_NS, AGAIN_NS_MAX);
                let why = hole.why;
                self.skipped[request] = 0;
                self.missed(request, None, why, out);
            }
        }
    }

    /// Said when the device answers again: then the last gap has both its ends. How many readings there would have been while it did not answer
    /// nobody knows; rounds in which it was not asked are counted, where that is all.
    fn say_missing(&mut self, request: usize, out: &mut Outbox) {
        let (hole, skipped) = (self.missing[request].take(), std::mem::take(&mut self.skipped[request]));
        match hole {
            Some(hole) if hole.open => self.missed(request, None, hole.why, out),
            _ if skipped > 0 => self.missed(request, Some(skipped), Missing::NotSent, out),
            _ => {}
        }
    }

    fn missed(&self, request: usize, count: Option<u64>, why: Missing, out: &mut Outbox) {
        for n in &self.plan.requests[request].rows {
            if let Use::Channel(_) = self.rows[*n].used {
                out.missed(*n as Channel, count, why);
            }
        }
    }

    /// Healthy once every request has been answered and none is wrong.
    fn report(&mut self, out: &mut Outbox) {
        let worst = self.wrong.iter().flatten().max_by_key(|(health, _)| *health == Health::Failed);
        let waiting = || self.told.is_none() && self.heard.contains(&false);
        let state = match worst {
            Some(wrong) => wrong.clone(),
            None if waiting() => return,
            None => (Health::Healthy, String::new()),
        };
        if self.told.as_ref() != Some(&state) {
            out.report(state.0, &state.1);
            self.told = Some(state);
        }
    }
}

/// An alert's id comes from its name, so that it is the same after a restart and in another order of rows (FNV-1a).
fn id(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn alerts(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter().filter(|row| matches!(row.used, Use::Alert { .. }))
}

fn one_id_each(rows: &[Row]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match alerts(rows).find(|row| !seen.insert(id(&row.name))) {
        Some(row) => Err(Problem::setting(format!("setting \"map\": give the alert \"{}\" another name, this one clashes", row.name))),
        None => Ok(()),
    }
}

/// The alerts that were active when the state was kept and that the map still has.
fn restore(rows: &[Row], saved: Option<&[u8]>, out: &mut Outbox) -> BTreeSet<u32> {
    let saved: BTreeSet<u32> = saved.unwrap_or_default().as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect();
    let known: BTreeSet<u32> = alerts(rows).map(|row| id(&row.name)).collect();
    if saved.difference(&known).next().is_some() {
        out.log(Level::Warn, "an alert that was active is no longer in the map: it stays active at the receiver");
    }
    saved.intersection(&known).copied().collect()
}

fn alert(row: &Row, active: bool) -> Alert {
    let (text, priority, concern) = match &row.used {
        Use::Alert { text, priority, concern, .. } => (text.clone(), *priority, *concern),
        Use::Channel(_) => (row.name.clone(), Priority::Information, Concern::Technical),
    };
    let state = if active { AlertState::Active } else { AlertState::Inactive };
    Alert { id: id(&row.name), at: DeviceTime::NotTold, channel: None, priority, concern, state, code: None, low: None, high: None, text }
}
