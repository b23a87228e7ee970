//! A glucose meter with a memory, a link that breaks, a gateway that crashes, a battery that is changed: each stored record comes once, and
//! is deleted only when it is on flash.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ble_glucose::Glucose;
use ble_glucose::decode::{self, CONTEXT, CONTROL_POINT, MEASUREMENT};
use ble_glucose::numbers::{Numbers, Told};
use ble_glucose::places::{Place, Places, Runs};
use wardgate_sdk::gatt::{Peripheral, sig};
use wardgate_sdk::*;

use crate::ble::characteristics;
use crate::random::Random;

const SERIAL: u128 = sig(0x2a25);
const FOUND: [u128; 4] = [MEASUREMENT, CONTEXT, CONTROL_POINT, SERIAL];
const GLUCOSE: Channel = 0;
const MEAL: Channel = 9; // all that the context here has
const LATE: Tag = 3; // the plugin's timer for contexts that come late
const CALM_STEPS: usize = 1000; // without faults, everything is fetched long before

#[derive(Clone, Copy)]
struct Kind {
    counts: bool,
    /// Knows "from here on" and "up to here".
    filters: bool,
}

/// How the gateway reads the two sockets of records and contexts; answers are read behind the records before them.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// So many values of each come in one turn, the records of it first.
    Records(usize),
    /// So many, the contexts first.
    Contexts(usize),
    /// Either, each time.
    Any,
    /// Answers before the records that were sent before them.
    Answers,
}

const ORDERS: [Order; 9] = [
    Order::Records(1),
    Order::Records(3),
    Order::Records(6),
    Order::Records(12),
    Order::Contexts(1),
    Order::Contexts(3),
    Order::Contexts(6),
    Order::Contexts(12),
    Order::Any,
];

struct Meter {
    kind: Kind,
    order: Order,
    /// By sequence number; which record it is, and whether a context follows.
    memory: BTreeMap<u16, (u32, bool)>,
    /// Records and answers; contexts; answers where they have a socket of their own.
    sends: [VecDeque<(u128, Vec<u8>)>; 3],
    /// So many of each are left of this turn.
    turn: [usize; 2],
    /// It announces contexts and sends none.
    mute: bool,
    /// So many reports are not completed.
    busy: usize,
    reports: usize,
}

impl Meter {
    fn new(kind: Kind, order: Order) -> Self {
        Self { kind, order, memory: BTreeMap::new(), sends: Default::default(), turn: [0, 0], mute: false, busy: 0, reports: 0 }
    }

    fn send(&mut self, from: u128, bytes: Vec<u8>) {
        let socket = match from {
            CONTEXT => 1,
            CONTROL_POINT if matches!(self.order, Order::Answers) => 2,
            _ => 0,
        };
        self.sends[socket].push_back((from, bytes));
    }

    fn forget_sent(&mut self) {
        (self.sends, self.turn) = Default::default();
    }

    /// The next value, as the gateway reads them.
    fn next(&mut self, random: &mut Random) -> Option<(u128, Vec<u8>)> {
        let (size, first) = match self.order {
            Order::Answers if !self.sends[2].is_empty() => return self.sends[2].pop_front(),
            Order::Answers => (1, 0),
            Order::Records(size) => (size, 0),
            Order::Contexts(size) => (size, 1),
            Order::Any => (1, random.below(2)),
        };
        let ready = |meter: &Self, socket: usize| meter.turn[socket] > 0 && !meter.sends[socket].is_empty();
        if !ready(self, 0) && !ready(self, 1) {
            self.turn = [size, size];
        }
        let socket = [first, 1 - first].into_iter().find(|socket| ready(self, *socket))?;
        self.turn[socket] -= 1;
        self.sends[socket].pop_front()
    }

    fn written(&mut self, bytes: &[u8]) -> Vec<u32> {
        let (from, to) = match bytes[1..] {
            [1] | [0] => (0, u16::MAX),
            [3, 1, low, high] if self.kind.filters => (u16::from_le_bytes([low, high]), u16::MAX),
            [2, 1, low, high] if self.kind.filters => (0, u16::from_le_bytes([low, high])),
            _ => {
                self.send(CONTROL_POINT, vec![6, 0, bytes[0], 4]);
                return Vec::new();
            }
        };
        let chosen: Vec<(u16, u32, bool)> = self.memory.range(from..=to).map(|(n, (id, context))| (*n, *id, *context)).collect();
        let mut gone = Vec::new();
        let answer = match bytes[0] {
            4 if !self.kind.counts => vec![6, 0, 4, 2],
            4 => [vec![5, 0], (chosen.len() as u16).to_le_bytes().to_vec()].concat(),
            1 if self.busy > 0 => {
                self.busy -= 1;
                vec![6, 0, 1, 8]
            }
            1 if chosen.is_empty() => vec![6, 0, 1, 6],
            1 => {
                for (n, id, context) in chosen {
                    self.send(MEASUREMENT, measurement(n, id, context));
                    if context && !self.mute {
                        self.send(CONTEXT, context_of(n));
                    }
                }
                self.reports += 1;
                vec![6, 0, 1, 1]
            }
            2 => {
                gone = chosen.iter().map(|(_, id, _)| *id).collect();
                self.memory.retain(|n, _| !(from..=to).contains(n));
                vec![6, 0, 2, 1]
            }
            3 => {
                self.forget_sent();
                vec![6, 0, 3, 1]
            }
            other => panic!("no procedure {other}"),
        };
        self.send(CONTROL_POINT, answer);
        gone
    }
}

fn measurement(n: u16, id: u32, context: bool) -> Vec<u8> {
    let flags = if context { 0x12 } else { 0x02 };
    let head = [vec![flags], n.to_le_bytes().to_vec()].concat();
    let time = vec![0xe3, 7, 2, 27, (id / 3600) as u8, (id / 60 % 60) as u8, (id % 60) as u8];
    [head, time, vec![0x1e, 0xc0, 0x11]].concat()
}

fn context_of(n: u16) -> Vec<u8> {
    [vec![2], n.to_le_bytes().to_vec(), vec![1]].concat()
}

/// What of the plugin's calls is on flash: a call counts whole, and only behind all before it.
#[derive(Default)]
struct Flash {
    calls: Vec<Vec<Said>>,
    flushed: usize,
}

impl Flash {
    fn state(&self) -> Option<Vec<u8>> {
        self.calls.iter().flatten().rev().find_map(|s| if let Said::Keep(state) = s { Some(state.clone()) } else { None })
    }

    /// Each record by when it was measured: how often it was said, and how often its context was, with it or in an observation of its own.
    fn records(&self) -> BTreeMap<u32, [usize; 2]> {
        const MIDNIGHT_S: i64 = 1_551_225_600; // of 2019-02-27
        let mut records: BTreeMap<u32, [usize; 2]> = BTreeMap::new();
        for said in self.calls[..self.flushed].iter().flatten() {
            let Said::Emit(observations) = said else { continue };
            for o in observations {
                let has = |channel| usize::from(o.readings.iter().any(|r| r.channel == channel));
                if let DeviceTime::Local(ns) = o.at {
                    let [said, contexts] = records.entry((ns / 1_000_000_000 - MIDNIGHT_S) as u32).or_default();
                    (*said, *contexts) = (*said + has(GLUCOSE), *contexts + has(MEAL));
                } else {
                    assert_eq!(has(MEAL), 0, "a context says of which record it is: {o:?}");
                }
            }
        }
        records
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// To who it is.
    Who,
    Done,
    NotGranted,
    NotPermitted,
}

/// What happens to one value on its way.
#[derive(Clone, Copy, Debug)]
struct Fault {
    from: u128,
    /// So many of its characteristic come before.
    after: usize,
    /// Otherwise it is cut.
    dropped: bool,
}

struct World {
    random: Random,
    meter: Meter,
    flash: Flash,
    plugin: Peripheral<Glucose>,
    now_ms: u64,
    up: bool,
    /// Answers on their way back, and timers by their tag.
    replies: VecDeque<(Tag, Answer)>,
    timers: BTreeMap<Tag, u64>,
    durable: VecDeque<(Tag, usize)>,
    /// How the site bound it; of a meter without a name all that it has but its serial number is found.
    binding: &'static str,
    found: &'static [u128],
    deletes: bool,
    /// The site grants "report everything" and nothing else.
    narrow: bool,
    /// Nor may contexts be listened to.
    deaf: bool,
    /// Nor may anything be asked for.
    refuses: Option<Answer>,
    /// When a report was asked for.
    asked_ms: Vec<u64>,
    deleted: BTreeSet<u32>,
    /// One after the other.
    faults: Vec<Fault>,
    /// Records and contexts that were dropped, and what was damaged.
    lost: [usize; 2],
    damaged: usize,
    timeouts: usize,
    restarts: usize,
    cuts: usize,
}

impl World {
    fn new(seed: u64, kind: Kind, order: Order, deletes: bool) -> Self {
        let binding = "pool";
        let plugin = open(None, deletes, binding);
        let meter = Meter::new(kind, order);
        Self {
            random: Random(seed),
            meter,
            flash: Flash::default(),
            plugin,
            now_ms: 0,
            up: false,
            replies: VecDeque::new(),
            timers: BTreeMap::new(),
            durable: VecDeque::new(),
            binding,
            found: &FOUND,
            deletes,
            narrow: false,
            deaf: false,
            refuses: None,
            asked_ms: Vec::new(),
            deleted: BTreeSet::new(),
            faults: Vec::new(),
            lost: [0, 0],
            damaged: 0,
            timeouts: 0,
            restarts: 0,
            cuts: 0,
        }
    }

    fn call(&mut self, event: impl FnOnce(&mut Peripheral<Glucose>, Moment, &mut Outbox) -> Done) {
        let mut out = Outbox::default();
        event(&mut self.plugin, crate::ble::at(self.now_ms), &mut out).expect("no problem");
        let said = out.take();
        self.flash.calls.push(said.clone());
        for one in said {
            match one {
                Said::BleRead(tag, _) => self.replies.push_back((tag, Answer::Who)),
                Said::BleSubscribe(tag, handle) if self.deaf && FOUND[usize::from(handle) - 1] == CONTEXT => {
                    self.replies.push_back((tag, Answer::NotGranted));
                }
                Said::BleSubscribe(tag, _) => self.replies.push_back((tag, Answer::Done)),
                Said::BleWrite(tag, _, bytes, _) if self.narrow && bytes != [1, 1] => self.replies.push_back((tag, Answer::NotGranted)),
                Said::BleWrite(tag, ..) if let Some(answer) = self.refuses => self.replies.push_back((tag, answer)),
                Said::BleWrite(tag, _, bytes, _) => {
                    self.asked_ms.extend((bytes[0] == 1).then_some(self.now_ms));
                    self.replies.push_back((tag, Answer::Done));
                    let gone = self.meter.written(&bytes);
                    let safe = if gone.is_empty() { BTreeMap::new() } else { self.flash.records() };
                    for n in &gone {
                        assert!(self.deletes && self.meter.kind.counts, "nobody allowed to delete, or nobody knows what is there");
                        assert!(safe.get(n).is_some_and(|[said, _]| *said > 0), "record {n} was deleted before it was on flash");
                    }
                    self.deleted.extend(gone);
                }
                Said::SetTimer(tag, after_ms) => drop(self.timers.insert(tag, self.now_ms + after_ms)),
                Said::CancelTimer(tag) => drop(self.timers.remove(&tag)),
                Said::WhenDurable(tag) => self.durable.push_back((tag, self.flash.calls.len())),
                _ => {}
            }
        }
    }

    fn notify(&mut self, from: u128, bytes: &[u8]) {
        let handle = FOUND.iter().position(|u| *u == from).expect("found") as u16 + 1;
        self.call(|p, now, out| p.notified(now, handle, bytes, out));
    }

    fn connect(&mut self) {
        self.up = true;
        let found = self.found;
        self.call(|p, now, out| Ble::link_changed(p, now, LinkState::Up, out));
        self.call(|p, now, out| p.discovered(now, 247, characteristics(found), out));
    }

    fn cut(&mut self) {
        self.cuts += 1;
        self.up = false;
        self.replies.clear();
        self.meter.forget_sent();
        self.call(|p, now, out| Ble::link_changed(p, now, LinkState::Down, out));
    }

    /// What is not on flash is gone, and the plugin opens with what it kept.
    fn crash(&mut self) {
        self.restarts += 1;
        self.flash.calls.truncate(self.flash.flushed);
        self.up = false;
        self.replies.clear();
        self.meter.forget_sent();
        self.timers.clear();
        self.durable.clear();
        self.plugin = open(self.flash.state(), self.deletes, self.binding);
    }

    /// One event, whichever is due. `faults`: who it is may not be answered; a context may be dropped before the plugin sees it, and it or
    /// an answer of the control point may be damaged. `overflow`: a record may be dropped or damaged as well.
    fn step(&mut self, faults: bool, overflow: bool) {
        self.now_ms += 20;
        if !self.up {
            return self.connect();
        }
        if self.random.below(3) == 0 {
            self.flash.flushed = self.flash.calls.len();
        }
        if let Some((tag, calls)) = self.durable.front().copied()
            && calls <= self.flash.flushed
        {
            self.durable.pop_front();
            return self.call(|p, now, out| p.durable(now, tag, out));
        }
        if let Some((tag, answer)) = self.replies.pop_front() {
            let silent = answer == Answer::Who && faults && self.random.below(3) == 0;
            self.timeouts += usize::from(silent);
            let outcome = match answer {
                _ if silent => Err(ble::Failure::Timeout),
                Answer::NotGranted => Err(ble::Failure::NotGranted),
                Answer::NotPermitted => Err(ble::Failure::NotPermitted),
                Answer::Who | Answer::Done => Ok(b"M-1".to_vec()),
            };
            return self.call(|p, now, out| Ble::reply(p, now, tag, outcome, out));
        }
        if let Some((from, mut bytes)) = self.meter.next(&mut self.random) {
            if let Some(fault) = self.faults.first_mut().filter(|fault| fault.from == from) {
                let Some(after) = fault.after.checked_sub(1) else {
                    if !self.faults.remove(0).dropped {
                        self.notify(from, &bytes[..2]);
                    }
                    return;
                };
                fault.after = after;
            }
            let suffers = if from == MEASUREMENT { overflow } else { faults };
            match self.random.below(80) {
                0 if suffers && from != CONTROL_POINT => {
                    self.lost[usize::from(from == CONTEXT)] += 1;
                    return;
                }
                1 if suffers => {
                    self.damaged += 1;
                    bytes.truncate(2);
                }
                _ => {}
            }
            return self.notify(from, &bytes);
        }
        if let Some((tag, due)) = self.timers.iter().map(|(tag, due)| (*tag, *due)).min_by_key(|(_, due)| *due) {
            self.timers.remove(&tag);
            self.now_ms = self.now_ms.max(due);
            self.call(|p, now, out| p.timer(now, tag, out));
        }
    }

    /// So much time goes by: answers come at once, and timers when they are due.
    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        loop {
            if !self.replies.is_empty() || self.meter.sends.iter().any(|sends| !sends.is_empty()) {
                self.step(false, false);
                continue;
            }
            let next = self.timers.iter().map(|(tag, due)| (*tag, *due)).min_by_key(|(_, due)| *due);
            let Some((tag, due)) = next.filter(|(_, due)| *due <= until) else { break };
            self.timers.remove(&tag);
            self.now_ms = self.now_ms.max(due);
            self.call(|p, now, out| p.timer(now, tag, out));
        }
        self.now_ms = self.now_ms.max(until);
    }

    fn told_so_far(&mut self) -> BTreeMap<u32, [usize; 2]> {
        self.flash.flushed = self.flash.calls.len();
        self.flash.records()
    }
}

fn open(saved: Option<Vec<u8>>, deletes: bool, binding: &str) -> Peripheral<Glucose> {
    let settings = if deletes { vec![fact("delete", "yes")] } else { vec![] };
    let start = Opening { settings, about: vec![fact("binding", binding)], seed: 7, saved };
    Peripheral::open(crate::ble::at(0), start, &mut Outbox::default()).expect("it opens")
}

//= PROMISES.md#P101
#[test]
fn each_stored_record_comes_once_over_cuts_and_crashes_and_is_deleted_only_when_on_flash() {
    let (mut records, mut contexts, mut cuts, mut restarts, mut batteries, mut timeouts) = (0, 0, 0, 0, 0, 0);
    let (mut lost, mut damaged) = ([0, 0], 0);
    for seed in 1..=180u64 {
        let order = ORDERS[seed as usize % ORDERS.len()];
        let kind = Kind { counts: !seed.is_multiple_of(3), filters: !seed.is_multiple_of(5) };
        let deletes = seed.is_multiple_of(2);
        // without a count nothing tells that a record was lost on the way
        let mut world = World::new(seed, kind, order, deletes);
        world.narrow = seed.is_multiple_of(7);
        let overflow = kind.counts && kind.filters && !world.narrow && seed.is_multiple_of(4);
        // of each record whether it has a context; some go with the meter's memory before they are fetched
        let mut made: BTreeMap<u32, bool> = BTreeMap::new();
        let mut gone_before: BTreeSet<u32> = BTreeSet::new();
        let (mut sequence, mut pops) = (world.random.below(40) as u16, 0);
        for step in 0..2000 {
            if made.len() < 60 && (step < 40 || world.random.below(40) == 0) {
                sequence += if world.random.below(4) == 0 { 1 + world.random.below(5) as u16 } else { 1 };
                let (id, context) = (made.len() as u32, world.random.below(3) == 0);
                made.insert(id, context);
                world.meter.memory.insert(sequence, (id, context));
            }
            match world.random.below(500) {
                0..=4 if world.up => world.cut(),
                5 => world.crash(),
                // the battery is changed: the memory is empty, and the numbers begin anew
                6 if seed > 60 => {
                    world.cut();
                    gone_before.extend(world.meter.memory.values().map(|(id, _)| *id));
                    world.meter.memory.clear();
                    sequence = world.random.below(3) as u16;
                    batteries += 1;
                }
                // a person deletes the newest record in the meter, a few times: fewer than are marked
                7 if seed > 60 && pops < 5 => {
                    pops += 1;
                    gone_before.extend(world.meter.memory.pop_last().map(|(_, (id, _))| id));
                }
                _ => world.step(true, overflow),
            }
        }
        world.cut(); // on the last link who it is may not have been heard
        (0..CALM_STEPS).for_each(|_| world.step(false, false));
        world.flash.flushed = world.flash.calls.len();
        let came = world.flash.records();
        for (id, context) in &made {
            let times = came.get(id).copied().unwrap_or_default();
            let never = times == [0, 0] && gone_before.contains(id);
            assert!(
                never || times == [1, usize::from(*context)],
                "seed {seed}, {order:?}, record {id}: it and its context once: {times:?}"
            );
        }
        assert!(came.keys().all(|id| made.contains_key(id)), "seed {seed}: nothing else");
        let cleared = deletes && kind.counts && kind.filters && !world.narrow;
        assert!(if cleared { world.meter.memory.is_empty() } else { world.deleted.is_empty() }, "seed {seed}: {:?}", world.meter.memory);
        (records, cuts, restarts) = (records + made.len(), cuts + world.cuts, restarts + world.restarts);
        contexts += made.values().filter(|context| **context).count();
        (timeouts, damaged) = (timeouts + world.timeouts, damaged + world.damaged);
        lost = [lost[0] + world.lost[0], lost[1] + world.lost[1]];
    }
    println!("{records} records and {contexts} contexts in {} orders: each once", ORDERS.len());
    println!("{cuts} cuts, {restarts} crashes, {batteries} new batteries, {timeouts} silences, {lost:?} lost, {damaged} damaged");
}

fn stores(records: u16, kind: Kind, order: Order, faults: Vec<Fault>) -> World {
    let mut world = World::new(9, kind, order, false);
    world.meter.memory = (500..500 + records).map(|n| (n, (u32::from(n), true))).collect();
    world.faults = faults;
    world
}

/// What came when all is calm: each record, and how often its context.
fn told(mut world: World) -> BTreeMap<u32, [usize; 2]> {
    (0..CALM_STEPS).for_each(|_| world.step(false, false));
    world.flash.flushed = world.flash.calls.len();
    let missed = world.flash.calls.iter().flatten().filter(|said| matches!(said, Said::Missed(..))).count();
    assert_eq!((missed, world.faults.len()), (0, 0), "no value is missing, and every fault was made");
    world.flash.records()
}

//= PROMISES.md#P353
#[test]
fn what_is_damaged_or_lost_beside_a_record_is_asked_for_again_and_is_no_glucose_that_is_missing() {
    let damaged = |from, after| Fault { from, after, dropped: false };
    let dropped = |from, after| Fault { from, after, dropped: true };
    let mut cases = Vec::new();
    cases.extend(
        (0..10).flat_map(|n| [vec![damaged(CONTEXT, n)], vec![dropped(CONTEXT, n)], vec![damaged(CONTEXT, n), damaged(CONTEXT, 0)]]),
    );
    // the answers to a report and to a count; and when the count would have told that a record was lost
    cases.extend([0, 1].map(|n| vec![damaged(CONTROL_POINT, n)]));
    cases.extend((0..10).map(|n| vec![dropped(MEASUREMENT, n), damaged(CONTROL_POINT, 1)]));
    let count = cases.len();
    for (faults, order) in cases.into_iter().flat_map(|faults| ORDERS.map(|order| (faults.clone(), order))) {
        let came = told(stores(10, Kind { counts: true, filters: true }, order, faults.clone()));
        assert!(came.len() == 10 && came.values().all(|times| *times == [1, 1]), "{order:?}, {faults:?}: {came:?}");
    }
    println!("{count} kinds of damage in {} orders: 10 records and 10 contexts, each once", ORDERS.len());
}

//= PROMISES.md#P354
#[test]
fn more_records_than_can_wait_for_their_contexts_come_once_also_when_no_context_comes() {
    const RECORDS: u16 = 150; // more than twice as many as can wait
    for counts in [true, false] {
        let kind = Kind { counts, filters: true };
        let came = told(stores(RECORDS, kind, Order::Records(RECORDS.into()), vec![]));
        assert!(
            came.len() == usize::from(RECORDS) && came.values().all(|times| *times == [1, 1]),
            "all records before all contexts: {came:?}"
        );
        let mut world = stores(RECORDS, kind, Order::Records(1), vec![]);
        world.meter.mute = true;
        let came = told(world);
        assert!(came.len() == usize::from(RECORDS) && came.values().all(|times| *times == [1, 0]), "no context: {came:?}");
        let mut world = stores(10, kind, Order::Records(1), vec![]);
        (world.meter.mute, world.deaf) = (true, true);
        (0..60).for_each(|_| world.step(false, false));
        let waited = world.flash.calls.iter().flatten().any(|said| matches!(said, Said::SetTimer(LATE, _)));
        assert!(!waited, "what cannot be heard is not waited for");
        assert_eq!(told(world).len(), 10);
        let mut world = stores(10, kind, Order::Records(1), vec![]);
        world.meter.mute = true;
        for _ in 0..3 * 10 + 1 {
            while !world.timers.contains_key(&LATE) && world.flash.records().len() < 10 {
                world.step(false, false);
                world.flash.flushed = world.flash.calls.len();
            }
            world.cut(); // before it could be asked for again: three links for each
        }
        world.flash.flushed = world.flash.calls.len();
        let came = world.flash.records();
        assert!(came.len() == 10 && came.values().all(|times| *times == [1, 0]), "links that break each time: {came:?}");
    }
}

//= PROMISES.md#P355
#[test]
fn what_a_meter_tells_as_it_measures_waits_two_seconds_at_most_and_a_context_that_comes_later_is_told() {
    const WAITS_MS: u64 = 2000;
    for order in ORDERS {
        let mut world = World::new(9, Kind { counts: true, filters: true }, order, false);
        world.found = &FOUND[..2]; // it has no control point: nothing comes again
        (0..20).for_each(|_| world.step(false, false));
        for n in 0..9u16 {
            world.meter.send(MEASUREMENT, measurement(n, n.into(), true));
            world.meter.send(CONTEXT, context_of(n));
        }
        let came = told(world);
        assert!(came.len() == 9 && came.values().all(|times| *times == [1, 1]), "{order:?}: {came:?}");
    }
    let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Any, false);
    world.found = &FOUND[..2];
    (0..20).for_each(|_| world.step(false, false));
    world.notify(MEASUREMENT, &measurement(7, 70, true));
    world.flash.flushed = world.flash.calls.len();
    assert!(world.flash.records().is_empty(), "it waits");
    assert_eq!(world.timers.values().collect::<Vec<_>>(), [&(world.now_ms + WAITS_MS)]);
    world.step(false, false);
    world.flash.flushed = world.flash.calls.len();
    assert_eq!(world.flash.records(), BTreeMap::from([(70, [1, 0])]));
    world.notify(CONTEXT, &context_of(7));
    world.flash.flushed = world.flash.calls.len();
    assert_eq!(world.flash.records(), BTreeMap::from([(70, [1, 1])]), "by the record's time");
    // of a record that does not come nothing but its number is known
    world.notify(CONTEXT, &context_of(8));
    let before = world.flash.calls.len();
    world.step(false, false);
    let [Said::Emit(observations)] = &world.flash.calls[before..].concat()[..] else { panic!("the context of record 8") };
    assert_eq!(observations[0], Observation::of(vec![reading(MEAL, Value::Code(1)), reading(1, 8u32)]));
}

/// Meters of which nothing can be asked for: without a control point, or with one that the site or the meter keeps closed.
fn unasked() -> [World; 3] {
    [None, Some(Answer::NotGranted), Some(Answer::NotPermitted)].map(|refuses| {
        let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Any, false);
        world.refuses = refuses;
        world.found = if refuses.is_some() { &FOUND } else { &[MEASUREMENT, CONTEXT] };
        world.connect();
        world.pass(100);
        world
    })
}

//= PROMISES.md#P355
#[test]
fn what_waits_and_cannot_be_asked_for_is_told_when_the_link_is_lost_and_comes_no_second_time() {
    for mut world in unasked() {
        // the context of the first is lost, and four records with theirs wait behind it
        (1..=5u16).for_each(|n| world.notify(MEASUREMENT, &measurement(n, n.into(), true)));
        (2..=5u16).for_each(|n| world.notify(CONTEXT, &context_of(n)));
        world.pass(600);
        assert!(world.told_so_far().is_empty(), "they wait");
        world.cut();
        let came = world.told_so_far();
        assert_eq!(came, (1..=5).map(|n| (n, [1, usize::from(n > 1)])).collect());
        // a meter that hangs up about a second after it measured
        for n in 6..=15u16 {
            world.connect();
            world.pass(100);
            world.notify(MEASUREMENT, &measurement(n, n.into(), true));
            world.pass(1000);
            world.cut();
        }
        // the site grants it, and the gateway starts anew
        assert_eq!(world.told_so_far().len(), 15);
        world.crash();
        world.refuses = None;
        world.meter.memory = (1..=15u16).map(|n| (n, (n.into(), true))).collect();
        world.connect();
        world.pass(60_000);
        let came = world.told_so_far();
        assert!(came.len() == 15 && came.values().all(|[said, _]| *said == 1), "each once: {came:?}");
    }
    for mut world in unasked() {
        // nor is a context whose record did not come kept back
        let before = world.flash.calls.len();
        world.notify(CONTEXT, &context_of(99));
        world.cut();
        let alone = Observation::of(vec![reading(MEAL, Value::Code(1)), reading(1, 99u32)]);
        assert!(world.flash.calls[before..].iter().flatten().any(|said| matches!(said, Said::Emit(o) if o[..] == [alone.clone()])));
    }
}

#[test]
fn what_is_told_at_a_lost_link_has_its_own_unit_and_so_has_what_comes_next() {
    for mut world in unasked() {
        let mut molar = measurement(1, 1, true);
        molar[0] |= 4;
        world.notify(MEASUREMENT, &molar);
        world.cut();
        world.connect();
        world.pass(100);
        world.notify(MEASUREMENT, &measurement(2, 2, false));
        let units = world.flash.calls.iter().flatten().filter_map(|said| match said {
            Said::Describe(GLUCOSE, meaning) => Some(meaning.unit.clone()),
            Said::Emit(_) => Some("value".to_owned()),
            _ => None,
        });
        assert_eq!(units.collect::<Vec<_>>(), ["mol/L", "value", "kg/L", "value"]);
    }
}

//= PROMISES.md#P355
#[test]
fn what_comes_behind_does_not_make_a_record_wait_for_longer() {
    const EVERY_MS: u64 = 1900;
    for announced in [true, false] {
        for mut world in unasked() {
            for n in 0..20u16 {
                // the first announces a context that does not come, and those behind it may
                world.notify(MEASUREMENT, &measurement(n, n.into(), announced || n == 0));
                world.pass(EVERY_MS);
                let came = world.told_so_far();
                assert!((0..n).all(|n| came.contains_key(&u32::from(n))), "record {n} came: of those before it {came:?} only");
            }
        }
    }
    // where it can be asked for it is, and given up after the third time
    let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Records(1), false);
    world.meter.mute = true;
    world.connect();
    world.pass(1000);
    for n in 0..6u16 {
        world.meter.memory.insert(n, (n.into(), n == 0));
        world.notify(MEASUREMENT, &measurement(n, n.into(), n == 0));
        world.pass(EVERY_MS);
    }
    assert!(world.told_so_far().len() >= 5, "{:?}", world.flash.records());
}

//= PROMISES.md#P355
#[test]
fn a_damaged_record_is_missed_where_it_cannot_be_asked_for() {
    let missed = |world: &mut World| {
        world.notify(MEASUREMENT, &measurement(1, 1, false)[..5]);
        let missed = |said: &&Said| matches!(said, Said::Missed(GLUCOSE, Some(1), Missing::Corrupted));
        world.flash.calls.iter().flatten().filter(missed).count()
    };
    assert_eq!(unasked().map(|mut world| missed(&mut world)), [1, 1, 1]);
    let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Any, false);
    world.connect();
    world.pass(100);
    assert_eq!(missed(&mut world), 0, "it comes again");
}

/// Each time that it is asked is a while after it was busy, and what waits meanwhile is not given up within a few seconds.
#[test]
fn a_busy_meter_is_left_alone_also_when_a_context_does_not_come() {
    const PAUSE_MS: u64 = 10_000;
    for (busy, times) in [(1, [1, 1]), (2, [1, 0]), (9, [1, 0])] {
        let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Records(1), false);
        world.connect();
        world.pass(1000);
        world.asked_ms.clear();
        world.meter.busy = busy;
        world.meter.memory.insert(7, (7, true));
        let began_ms = world.now_ms;
        world.notify(MEASUREMENT, &measurement(7, 7, true)); // its context is lost
        world.pass(35_000);
        assert_eq!(world.told_so_far(), BTreeMap::from([(7, times)]), "{busy}");
        let asked: Vec<_> = world.asked_ms.iter().take(busy + 1).map(|ms| ms - began_ms).collect();
        assert!(asked[0] == 2000 && asked.windows(2).all(|two| two[1] - two[0] >= PAUSE_MS), "{busy}: {asked:?}");
    }
}

#[test]
fn nothing_is_asked_for_before_everything_is_listened_to() {
    let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Any, false);
    world.connect();
    while world.replies.front().is_some_and(|(_, answer)| *answer == Answer::Who) {
        world.step(false, false);
    }
    // it is listened to records already, and what comes behind waits for a person who pairs, say
    world.meter.memory.insert(500, (500, true));
    world.notify(MEASUREMENT, &measurement(500, 500, true));
    for _ in 0..5 {
        world.now_ms += 2000;
        world.call(|p, now, out| p.timer(now, LATE, out));
    }
    let asked = world.flash.calls.iter().flatten().filter(|said| matches!(said, Said::BleWrite(..))).count();
    assert_eq!(asked, 0);
    assert_eq!(told(world), BTreeMap::from([(500, [1, 1])]));
}

/// While the meter counts, a record comes live and waits for its context: it is not deleted with the others.
#[test]
fn a_record_that_waits_for_its_context_is_not_deleted_with_those_that_were_taken() {
    let mut world = World::new(9, Kind { counts: true, filters: true }, Order::Records(1), true);
    world.meter.memory = (500..505u16).map(|n| (n, (u32::from(n), false))).collect();
    let counted = |world: &World| world.meter.sends[0].front().is_some_and(|(from, bytes)| *from == CONTROL_POINT && bytes[0] == 5);
    // before the report it is counted too
    while !counted(&world) || world.meter.reports == 0 {
        world.step(false, false);
    }
    world.meter.memory.insert(505, (505, true));
    world.notify(MEASUREMENT, &measurement(505, 505, true));
    let came = told(world);
    assert!(came.len() == 6 && came[&505] == [1, 1], "{came:?}");
}

//= PROMISES.md#P101
#[test]
fn an_answer_that_is_read_before_the_records_ends_no_report_before_they_came() {
    for (counts, narrow) in [(false, false), (true, true), (true, false)] {
        let mut world = World::new(9, Kind { counts, filters: true }, Order::Answers, false);
        world.narrow = narrow;
        world.meter.memory = (0..20u16).map(|n| (n, (n.into(), true))).collect();
        for _ in 0..3 {
            (0..200).for_each(|_| world.step(false, false));
            world.cut();
        }
        let came = told(world);
        assert!(came.len() == 20 && came.values().all(|times| *times == [1, 1]), "counts {counts}, narrow {narrow}: {came:?}");
    }
}

//= PROMISES.md#P101
/// No count tells then that some of the new ones were taken for old ones, or are below what was asked for.
#[test]
fn all_records_of_numbers_that_began_anew_are_fetched_also_of_a_meter_that_is_not_counted() {
    for (counts, narrow) in [(false, false), (true, true), (true, false)] {
        for order in ORDERS {
            let kind = Kind { counts, filters: true };
            let mut world = World::new(9, kind, order, false);
            world.narrow = narrow;
            world.meter.memory = (0..20u16).map(|n| (n, (n.into(), n.is_multiple_of(2)))).collect();
            (0..200).for_each(|_| world.step(false, false));
            world.cut();
            // of the eight that were taken last there are three numbers, and they are others
            world.meter.memory = (0..15u16).map(|n| (n, (100 + u32::from(n), n.is_multiple_of(2)))).collect();
            let came = told(world);
            assert_eq!(came.len(), 35, "{order:?}, counts {counts}, narrow {narrow}: {came:?}");
            assert!(came.iter().all(|(id, times)| *times == [1, usize::from(id.is_multiple_of(2))]), "{order:?}: {came:?}");
        }
    }
}

//= PROMISES.md#P230
#[test]
fn a_meter_that_does_not_say_who_it_is_is_never_cleared_and_has_a_place_only_where_one_is_bound() {
    for (binding, times) in [("address", 1), ("pool", 3)] {
        let mut world = World::new(3, Kind { counts: true, filters: true }, Order::Records(1), true);
        (world.binding, world.found) = (binding, &FOUND[..3]);
        world.meter.memory = (500..505u16).map(|n| (n, (u32::from(n), false))).collect();
        for crashes in [true, false, true] {
            if crashes {
                world.flash.flushed = world.flash.calls.len();
                world.crash();
            } else {
                world.cut();
            }
            (0..200).for_each(|_| world.step(false, false));
        }
        world.flash.flushed = world.flash.calls.len();
        let came = world.flash.records();
        assert!(came.len() == 5 && came.values().all(|[said, _]| *said == times), "{binding}: {came:?}");
        assert_eq!(world.meter.memory.len(), 5, "{binding}: nothing is deleted");
    }
}

/// Kept by a version without marks: what was taken then does not come again, nothing that was not proven is deleted, and what comes is marked.
#[test]
fn what_an_earlier_version_kept_is_read_and_nothing_is_deleted_on_trust() {
    let earlier = [&[1, 3][..], b"M-1", &503u32.to_le_bytes(), &[0]].concat();
    let mut world = World::new(3, Kind { counts: true, filters: true }, Order::Records(1), true);
    world.plugin = open(Some(earlier), true, "pool");
    world.meter.memory = (500..505u16).map(|n| (n, (u32::from(n), false))).collect();
    (0..200).for_each(|_| world.step(false, false));
    world.flash.flushed = world.flash.calls.len();
    assert_eq!(world.flash.records().into_keys().collect::<Vec<_>>(), [503, 504]);
    assert!(world.deleted.is_empty(), "{:?}", world.deleted);
}

//= PROMISES.md#P101
/// 20 records are known, none of the last eight is there any more, and 20 more came on a link that was lost before they were counted.
#[test]
fn what_was_taken_while_it_was_not_known_how_a_meter_numbers_comes_no_second_time() {
    let record = |n: u16, minute: u8| {
        let time = [0xea, 0x07, 11, 30, 12, minute, 0];
        decode::measurement(&[&[0b10][..], &n.to_le_bytes(), &time, &[90, 0xb0, 0x11]].concat()).expect("a record")
    };
    let mut lost = Place::default();
    (0..20).for_each(|n| lost.take(n, record(n, 1).mark, false));
    lost.settle();
    let mut numbers = Numbers::default();
    assert_eq!((numbers.begin(&lost), numbers.first(&lost)), (true, 12));
    for n in 20..40 {
        assert_eq!(numbers.told(&record(n, 1), &mut lost), Told::New);
        numbers.take(&record(n, 1), &mut lost);
        assert_eq!(numbers.told(&record(n, 1), &mut lost), Told::Before, "it comes twice on one link");
    }
    // one of the last eight was there after all: all of that is to be kept as the meter's own
    let (mut place, mut numbers) = (lost.clone(), Numbers::default());
    assert_eq!(numbers.told(&record(12, 1), &mut place), Told::Trusted);
    assert_eq!((numbers.are_same(), numbers.first(&place)), (true, 40));
    assert!([3, 20, 39].into_iter().all(|n| numbers.told(&record(n, 1), &mut place) == Told::Before));
    // they began anew: those with numbers below are new, and what was taken on the link before is not
    let (mut place, mut numbers) = (lost.clone(), Numbers::default());
    assert_eq!(numbers.told(&record(20, 1), &mut place), Told::Unclear, "too long ago to be known again");
    assert_eq!(numbers.told(&record(39, 1), &mut place), Told::Before);
    assert_eq!(numbers.told(&record(20, 1), &mut place), Told::Before, "as 39 was");
    assert_eq!((numbers.none_came_again(), numbers.first(&place), numbers.none_came_again()), (true, 0, false));
    assert!(matches!(numbers.told(&record(3, 2), &mut place), Told::Anew(_)));
    assert_eq!((20..40).find(|n| numbers.told(&record(*n, 1), &mut place) != Told::Before), None);
    assert_eq!(numbers.told(&record(4, 2), &mut place), Told::New);
    // and those that are there say by themselves that they are others
    let (mut place, mut numbers) = (lost.clone(), Numbers::default());
    assert!(matches!(numbers.told(&record(15, 2), &mut place), Told::Anew(_)));
    assert_eq!((numbers.told(&record(3, 2), &mut place), numbers.told(&record(20, 2), &mut place)), (Told::New, Told::New));
    // a meter that was emptied may begin with any number
    let (mut place, mut numbers) = (lost, Numbers::default());
    numbers.all_told(&Runs::default(), &mut place);
    assert_eq!((place.is_new(), numbers.are_same()), (true, true));
}

#[test]
fn a_report_that_was_cut_goes_on_behind_what_came() {
    let mut places = Places::default();
    let place = places.of("M-1");
    [7, 8, 9].into_iter().for_each(|n| place.take(n, 70, false));
    assert_eq!((place.settled(), place.next(), place.count(), place.has(9), place.has(10)), (0, 10, 3, true, false));
    let mut again = Places::from_bytes(&places.to_bytes()).expect("what it wrote");
    assert_eq!(again, places);
    let place = again.of("M-1");
    place.take(11, 80, true);
    assert_eq!((place.mark(9), place.mark(10), place.mark(11), place.first_marked()), (Some(70), None, Some(80), Some(7)));
    assert_eq!((place.next(), place.count(), place.has(10)), (12, 4, false));
    place.settle();
    assert_eq!((place.settled(), place.next(), place.count()), (12, 12, 0));
    assert!(place.has(3), "it is not there, or it would have come");
    place.take(u16::MAX, 90, false);
    place.settle();
    assert_eq!((place.settled(), place.next()), (65_536, 65_536));
}

#[test]
fn the_places_of_several_meters_are_kept_and_damaged_states_are_refused() {
    let mut places = Places::default();
    for n in 0..12u16 {
        let name = format!("meter-{n}-{}", "é".repeat(40));
        places.of(&name).take(n, 1, false);
        (0..200).for_each(|k| places.of(&name).take(3 * k + n, u32::from(k), true));
    }
    let bytes = places.to_bytes();
    assert!(bytes.len() <= 8192, "state_bytes of the manifest: {}", bytes.len());
    assert_eq!(Places::from_bytes(&bytes), Ok(places.clone()));
    assert_eq!(places.of("meter-1-"), Places::default().of("meter-1-"), "the one not seen for longest is forgotten");
    let mut random = Random(5);
    for length in 0..bytes.len() {
        let _ = Places::from_bytes(&bytes[..length]);
        let _ = Places::from_bytes(&crate::random::mutate(&bytes[..length.max(1)], &mut random));
    }
}
