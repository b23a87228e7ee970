//! Brings each stored record of a meter once, over lost links and restarts: report, count, settle, and (when the site wants it) delete.
//!
//! A record and the place reached go out in one call, so that both are on flash or neither. A record whose context follows waits
//! for it, and what comes behind waits with it; when the link is lost in between, all of that comes again. A context that does not come is
//! asked for again by its record. Where nothing can be asked for, nothing comes again: what waits is told without its context, after a moment
//! or when the link is lost.
//!
//! A meter's numbers are not taken on trust (`numbers`). Nothing is deleted but what was reported on this very link, and then only when the
//! meter counts no more in its whole memory.

use wardgate_sdk::gatt::{Peer, refusal};
use wardgate_sdk::*;

use crate::decode::{Answer, CHANNELS, CONTEXT, CONTROL_POINT, GLUCOSE, MEASUREMENT, Record};
use crate::numbers::{Numbers, Told};
use crate::pairs::Pairs;
use crate::places::{Book, Place, Places, Runs};

const PATIENCE: Tag = 1;
const PATIENCE_MS: u64 = 30_000; // what the Glucose Profile gives a procedure before the collector may think it lost
const AGAIN: Tag = 2;
const RETRY_MS: u64 = 10_000; // a meter that was busy or silent
const LATE: Tag = 3;
const LATE_MS: u64 = 2000; // that a context may come behind its record, over another characteristic: a few connection events
const WRITE: Tag = 1;
const ON_FLASH: Tag = 1;
const ROUNDS_MAX: u32 = 3; // of asking for what was counted, or announced, and did not come

// the control point's procedures, operators and results
const REPORT: u8 = 1;
const DELETE: u8 = 2;
const ABORT: u8 = 3;
const COUNT: u8 = 4;
const ALL: u8 = 1;
const UP_TO: u8 = 2;
const FROM: u8 = 3;
const BY_SEQUENCE: u8 = 1;
const SUCCESS: u8 = 1;
const OPERATOR_NOT_SUPPORTED: u8 = 4;
const NO_RECORDS: u8 = 6;
const OPERAND_NOT_SUPPORTED: u8 = 9;

const NO_COUNT: &str = "it does not count its records";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    #[default]
    Nothing,
    /// Later on one link it is only counted what is new.
    Looking,
    /// Before what is to be deleted is reported: what a person deletes meanwhile must not make up for what was lost on the way.
    Sizing,
    Reporting,
    /// The report is over; contexts, or the records of contexts, may still come.
    Waiting,
    Counting,
    Deleting(u16),
}

/// The moment that whoever waits for a context is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Late {
    #[default]
    No,
    /// It runs since the first began to wait.
    Runs,
    /// It is over, within the pause that a busy meter is given: it is looked at behind that.
    PutOff,
}

#[derive(Default)]
pub struct Fetch {
    book: Book,
    delete: bool,
    again_ms: u64,
    doing: Doing,
    numbers: Numbers,
    rounds: u32,
    /// Everything is listened to, and it may be asked.
    started: bool,
    /// What told last has a control point; asking there is refused on this link, for good.
    stores: bool,
    refused: bool,
    /// Who the link is to, when it is lost and nobody can be asked any more.
    who: Option<String>,
    /// The unit that the channels are described with.
    unit: usize,
    /// Counted before it was reported.
    size: u32,
    /// Reported since it was last asked.
    seen: Runs,
    /// Its numbers began anew, and what was taken for an old record before that was known did not come again yet.
    mistaken: bool,
    /// All that the meter has was taken, since the link came up.
    whole: bool,
    /// That records are missing was said since the link came up.
    missed: bool,
    /// The meter knows no "from here on": everything is asked for, and what was taken before is passed over.
    all_only: bool,
    /// Why nothing is deleted on this link, though the site wants it.
    keeps: Option<String>,
    pairs: Pairs,
    late: Late,
    /// It was busy or silent, and is left alone until `AGAIN`.
    paused: bool,
    /// The report that was asked for has brought no record yet.
    empty: bool,
    /// A report brought more than can wait: from this record on it comes again.
    passed_over: Option<u16>,
    /// The record whose context is waited for, and how often it was asked for, also on links that were lost meanwhile.
    awaited: (u16, u32),
    /// Up to here the meter's memory was cleared, or refused to be, since the link came up.
    cleared: Option<u16>,
}

impl Fetch {
    pub fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let settings = Settings::new(&start.settings);
        let places = start.saved.as_deref().map_or(Ok(Places::default()), Places::from_bytes).unwrap_or_else(|why| {
            out.log(Level::Error, &format!("the kept state cannot be read ({}): stored records will come once more", why.0));
            Places::default()
        });
        Ok(Self {
            book: Book::new(places, start.about.iter().any(|fact| fact.name == "binding" && fact.value == "address")),
            delete: settings.yes_or_no("delete", false)?,
            again_ms: settings.number("every_s", 300, 10..=86_400)? * 1000,
            ..Self::default()
        })
    }

    fn place(&mut self, peer: &Peer) -> &mut Place {
        self.book.of(peer.who())
    }

    fn keep(&self, who: Option<&str>, out: &mut Outbox) {
        if let Some(bytes) = self.book.to_bytes(who) {
            out.keep(&bytes);
        }
    }

    /// Otherwise what is not told now never is.
    pub fn can_ask(&self, peer: &Peer) -> bool {
        peer.handle(CONTROL_POINT).is_some() && !self.refused
    }

    /// What a lost link leaves of whoever tells.
    fn note(&mut self, peer: &Peer) {
        self.stores = peer.handle(CONTROL_POINT).is_some();
        if self.who.as_deref() != peer.who() {
            self.who = peer.who().map(str::to_owned);
        }
    }

    pub fn start(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if peer.handle(MEASUREMENT).is_none() || peer.handle(CONTROL_POINT).is_none() {
            return; // a meter that only tells what it measures now, or it is not granted
        }
        if peer.is_unread() {
            // as somebody else it would tell everything once more
            let detail = "who the meter is could not be read: its stored records wait for the next link";
            out.log(Level::Warn, detail);
            return peer.report(Health::Degraded, detail, out);
        }
        if peer.who().is_none() {
            self.keep_them("it does not say who it is");
            if !self.book.knows_again(None) {
                let detail = "the meter does not say who it is, and may be another each time: what it stores comes again on each link";
                out.log(Level::Warn, detail);
            }
        }
        if !self.numbers.begin(self.book.of(peer.who())) {
            self.keep_them("what was taken of it was not marked yet");
        }
        (self.started, self.refused) = (true, false);
        self.ask(peer, out);
    }

    fn keep_them(&mut self, why: &str) {
        self.keeps.get_or_insert_with(|| format!("the meter's memory is not cleared: {why}"));
    }

    fn clears(&self) -> bool {
        self.delete && self.keeps.is_none()
    }

    fn ask(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if self.whole && !self.all_only {
            self.doing = Doing::Looking;
            let from = self.place(peer).settled();
            return self.request(peer, COUNT, from, out);
        }
        self.begin(peer, out);
    }

    fn begin(&mut self, peer: &mut Peer, out: &mut Outbox) {
        (self.rounds, self.size, self.seen) = (1, 0, Runs::default());
        if self.clears() {
            self.doing = Doing::Sizing;
            return self.request(peer, COUNT, 0, out);
        }
        self.begin_report(peer, out);
    }

    /// Nobody knows how much there is.
    fn unsized_report(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.keep_them(NO_COUNT);
        self.begin_report(peer, out);
    }

    fn begin_report(&mut self, peer: &mut Peer, out: &mut Outbox) {
        let from = self.numbers.first(self.book.of(peer.who()));
        self.report(peer, from, out);
    }

    fn report(&mut self, peer: &mut Peer, from: u32, out: &mut Outbox) {
        self.doing = Doing::Reporting;
        (self.passed_over, self.empty) = (None, true);
        let from = if self.all_only { 0 } else { from };
        self.mistaken &= from > 0;
        self.request(peer, REPORT, from, out);
    }

    /// A record may have come into the meter, and another been lost on the way: only a count tells.
    fn count(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.doing = Doing::Counting;
        let from = if self.counts_all() { 0 } else { self.place(peer).settled() };
        self.request(peer, COUNT, from, out);
    }

    /// What was taken before stands for itself only where the numbers are the same, and nothing is to be deleted.
    fn counts_all(&self) -> bool {
        self.clears() || self.all_only || !self.numbers.are_same()
    }

    fn request(&mut self, peer: &mut Peer, procedure: u8, from: u32, out: &mut Outbox) {
        match u16::try_from(from) {
            Ok(0) => self.write(peer, &[procedure, ALL], out),
            Ok(from) => self.write(peer, &by_sequence(procedure, FROM, from), out),
            Err(_) => {
                self.stop(out);
                peer.report(Health::Degraded, "the meter has used up its sequence numbers: it must be cleared by its maker's means", out);
            }
        }
    }

    fn write(&mut self, peer: &Peer, bytes: &[u8], out: &mut Outbox) {
        if let Some(handle) = peer.handle(CONTROL_POINT) {
            out.ble_write(WRITE, handle, bytes, true);
            out.set_timer(PATIENCE, PATIENCE_MS);
        }
    }

    pub fn written(&mut self, peer: &mut Peer, tag: Tag, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) {
        let Err(why) = outcome else { return };
        if tag != WRITE || self.doing == Doing::Nothing {
            return;
        }
        if matches!(self.doing, Doing::Deleting(_)) {
            return self.not_cleared(peer, &refusal(&why), out);
        }
        if why == ble::Failure::NotGranted && self.does_without(peer, out) {
            return;
        }
        self.refused = matches!(why, ble::Failure::NotGranted | ble::Failure::NotPermitted);
        self.stop(out);
        let detail = format!("stored records cannot be asked for: {}", refusal(&why));
        out.log(Level::Warn, &detail);
        peer.report(Health::Degraded, &detail, out);
        if !self.refused {
            out.set_timer(AGAIN, RETRY_MS);
            self.paused = true;
        }
    }

    /// A site may grant "report everything" and nothing else, which is enough: as with a meter that knows no more than that.
    fn does_without(&mut self, peer: &mut Peer, out: &mut Outbox) -> bool {
        match self.doing {
            Doing::Looking => self.begin(peer, out),
            Doing::Sizing => self.unsized_report(peer, out),
            Doing::Counting if self.counts_all() => self.uncounted(peer, out),
            Doing::Counting => {
                self.all_only = true;
                self.count(peer, out);
            }
            Doing::Reporting if !self.all_only => {
                self.all_only = true;
                self.begin(peer, out);
            }
            Doing::Reporting | Doing::Waiting | Doing::Deleting(_) | Doing::Nothing => return false,
        }
        true
    }

    pub fn measured(&mut self, peer: &mut Peer, mut record: Record, out: &mut Outbox) {
        self.note(peer);
        match self.doing {
            Doing::Reporting => out.set_timer(PATIENCE, PATIENCE_MS),
            Doing::Waiting if self.empty => self.wait_anew(out),
            _ => {}
        }
        if !self.overtaken() {
            self.empty = false;
        }
        if self.pairs.holds(record.sequence) {
            return; // it came again for the sake of its context
        }
        if peer.handle(CONTROL_POINT).is_some() && !self.is_new(peer, &record, out) {
            return;
        }
        let reported = matches!(self.doing, Doing::Reporting | Doing::Waiting);
        if reported && (self.pairs.is_full() || self.passed_over.is_some()) {
            self.passed_over.get_or_insert(record.sequence);
            return;
        }
        record.context_follows &= peer.hears(CONTEXT) && !(self.awaited.0 == record.sequence && self.awaited.1 > ROUNDS_MAX);
        if self.pairs.is_full() {
            self.give_up(out);
        }
        self.pairs.record(record);
        self.say_pairs(peer, out);
    }

    /// Otherwise it was taken before, and the meter tells it again.
    fn is_new(&mut self, peer: &mut Peer, record: &Record, out: &mut Outbox) -> bool {
        if peer.is_unread() {
            return false; // nobody asked; it will come when it is known of whom
        }
        let were_same = self.numbers.are_same();
        match self.numbers.told(record, self.book.of(peer.who())) {
            Told::New => return true,
            Told::Anew(why) => {
                if were_same {
                    self.keep_them("it tells records of one number in two ways");
                }
                out.log(Level::Warn, &format!("the meter's numbers began anew ({why}): all that it has is fetched"));
                self.mistaken = true;
                self.seen = self.numbers.fresh().clone(); // what was passed over is to come again
                return true;
            }
            Told::Unclear => return false, // nor is it counted as seen
            Told::Trusted => self.keep(peer.who(), out),
            Told::Before => {}
        }
        self.seen.take(record.sequence);
        false
    }

    pub fn context(&mut self, peer: &mut Peer, context: Record, out: &mut Outbox) {
        self.note(peer);
        // where too many came before their records, those will wait, and be asked for again
        let comes_again = self.can_ask(peer) && self.pairs.is_crowded();
        let known = comes_again || self.stores && self.place(peer).has(context.sequence);
        if let Some(alone) = self.pairs.context(context, known) {
            peer.say(CHANNELS, vec![alone], out);
        }
        if !peer.hears(MEASUREMENT) {
            peer.say(CHANNELS, self.pairs.left(), out);
        }
        self.say_pairs(peer, out);
    }

    /// What need not wait goes out.
    fn say_pairs(&mut self, peer: &mut Peer, out: &mut Outbox) {
        let said = self.say_ready(peer.who(), out);
        match self.doing {
            Doing::Waiting => {
                if said {
                    self.late = Late::No; // contexts of the report are still coming
                }
                self.reported(peer, out);
            }
            Doing::Nothing => self.wait(out),
            _ => {} // it is looked at when that is over
        }
    }

    /// `true`: there was some.
    fn say_ready(&mut self, who: Option<&str>, out: &mut Outbox) -> bool {
        let mut said = false;
        while let Some(record) = self.pairs.next() {
            self.say(who, record, out);
            said = true;
        }
        if said && self.stores {
            self.keep(who, out);
        }
        said
    }

    /// Not pushed out by what comes behind whoever waits already.
    fn wait(&mut self, out: &mut Outbox) {
        if self.pairs.is_empty() {
            self.late = Late::No;
        } else if self.late == Late::No {
            self.wait_anew(out);
        }
    }

    fn wait_anew(&mut self, out: &mut Outbox) {
        self.late = Late::Runs;
        out.set_timer(LATE, LATE_MS);
    }

    /// The meter has told all that was asked for.
    fn reported(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if !self.pairs.is_empty() || self.empty {
            let begins = self.doing != Doing::Waiting;
            if begins {
                self.doing = Doing::Waiting;
                out.cancel_timer(PATIENCE);
            }
            if begins || self.empty || self.late == Late::No {
                self.wait_anew(out);
            }
            return;
        }
        if self.doing == Doing::Waiting {
            self.late = Late::No;
            out.cancel_timer(LATE);
        }
        self.go_on(peer, out);
    }

    /// The answer was read before the records: how many are still to come nobody knows.
    fn overtaken(&self) -> bool {
        self.doing == Doing::Waiting && self.empty
    }

    fn go_on(&mut self, peer: &mut Peer, out: &mut Outbox) {
        match self.passed_over {
            Some(from) => self.report(peer, from.into(), out),
            None => self.count(peer, out),
        }
    }

    /// Whoever waits has waited long enough.
    fn late(&mut self, peer: &mut Peer, out: &mut Outbox) {
        let can_ask = self.can_ask(peer);
        if !can_ask {
            peer.say(CHANNELS, self.pairs.left(), out);
        }
        let Some(waiting) = self.pairs.waiting() else {
            if self.doing == Doing::Waiting {
                self.go_on(peer, out); // the records of these contexts did not come
            }
            return;
        };
        if can_ask && !self.started {
            return self.wait(out);
        }
        if can_ask && self.paused {
            self.late = Late::PutOff;
            return;
        }
        if can_ask && self.asked_for(waiting) <= ROUNDS_MAX {
            out.log(Level::Warn, &format!("the context of record {waiting} did not come: it is asked for again"));
            return match self.doing {
                Doing::Waiting => self.report(peer, waiting.into(), out),
                _ => self.begin(peer, out),
            };
        }
        self.give_up(out);
        self.say_pairs(peer, out);
    }

    /// How often with this time.
    fn asked_for(&mut self, waiting: u16) -> u32 {
        let before = if self.awaited.0 == waiting { self.awaited.1.max(1) } else { 1 };
        self.awaited = (waiting, before + 1);
        self.awaited.1
    }

    fn give_up(&mut self, out: &mut Outbox) {
        let without: Vec<_> = self.pairs.give_up().iter().map(u16::to_string).collect();
        out.log(Level::Warn, &format!("contexts that were announced did not come: of record {}", without.join(", ")));
    }

    fn say(&mut self, who: Option<&str>, record: Record, out: &mut Outbox) {
        if let Some(unit) = record.message.unit.filter(|unit| *unit != self.unit) {
            // not by the peer, which is gone when the link is
            self.unit = unit;
            for (channel, column) in (0..).zip(CHANNELS).filter(|(_, column)| column.has_units()) {
                out.describe(channel, &column.describe(unit));
            }
        }
        if self.stores {
            self.seen.take(record.sequence);
            self.numbers.take(&record, self.book.of(who));
        }
        out.emit(&[record.message.observation()]);
    }

    pub fn answered(&mut self, peer: &mut Peer, answer: Answer, out: &mut Outbox) {
        peer.say(CHANNELS, vec![answer.message()], out);
        let not_known = |result| matches!(result, OPERATOR_NOT_SUPPORTED | OPERAND_NOT_SUPPORTED);
        match (self.doing, answer) {
            (Doing::Looking, Answer::Count(0) | Answer::Result { procedure: COUNT, result: NO_RECORDS }) => self.rest(peer, out),
            (Doing::Looking, Answer::Count(_) | Answer::Result { procedure: COUNT, .. }) => self.begin(peer, out),
            (Doing::Sizing, Answer::Count(count)) => {
                self.size = count.into();
                self.begin_report(peer, out);
            }
            (Doing::Sizing, Answer::Result { procedure: COUNT, result: NO_RECORDS }) => self.begin_report(peer, out),
            (Doing::Sizing, Answer::Result { procedure: COUNT, .. }) => self.unsized_report(peer, out),
            (Doing::Counting, Answer::Count(count)) => self.counted(peer, count.into(), out),
            (Doing::Counting, Answer::Result { procedure: COUNT, result: NO_RECORDS }) => self.counted(peer, 0, out),
            (Doing::Counting, Answer::Result { procedure: COUNT, result }) if not_known(result) && !self.counts_all() => {
                self.all_only = true;
                self.count(peer, out);
            }
            (Doing::Counting, Answer::Result { procedure: COUNT, .. }) => self.uncounted(peer, out),
            (Doing::Reporting, Answer::Result { procedure: REPORT, result }) => match result {
                SUCCESS => self.reported(peer, out),
                NO_RECORDS => self.count(peer, out),
                result if not_known(result) && !self.all_only => {
                    self.all_only = true;
                    self.begin(peer, out);
                }
                _ => self.pause(peer, &format!("the meter could not report its records (result {result})"), out),
            },
            (Doing::Deleting(_), Answer::Result { procedure: DELETE, result }) => match result {
                SUCCESS | NO_RECORDS => self.rest(peer, out),
                _ => self.not_cleared(peer, &format!("it refused (result {result})"), out),
            },
            _ => {}
        }
    }

    /// What it answered is damaged.
    pub fn not_understood(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if !matches!(self.doing, Doing::Nothing | Doing::Waiting) {
            self.pause(peer, "what the meter answered was damaged: it is asked again", out);
        }
    }

    fn counted(&mut self, peer: &mut Peer, count: u32, out: &mut Outbox) {
        let known = if self.counts_all() { self.seen.count() } else { self.place(peer).count() };
        let size = std::mem::replace(&mut self.size, count); // for the next round
        let missing = if self.clears() { count.max(size) } else { count }.saturating_sub(known);
        if missing == 0 {
            return self.complete(peer, out);
        }
        if self.numbers.none_came_again() {
            return self.report(peer, 0, out);
        }
        self.rounds += 1;
        if self.rounds <= ROUNDS_MAX {
            let from = if self.counts_all() { 0 } else { self.place(peer).settled() };
            return self.report(peer, from, out);
        }
        // nothing is deleted and nothing settled: the next round begins where the first is missing
        let detail = format!("{missing} stored records were counted and did not come");
        if !std::mem::replace(&mut self.missed, true) {
            out.missed(GLUCOSE, Some(missing.into()), Missing::NotSent);
        }
        self.later(peer, self.again_ms, &detail, out);
    }

    /// What it reports is then all there is; that a record was lost on the way nobody knows.
    fn uncounted(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.keep_them(NO_COUNT);
        if self.numbers.none_came_again() || self.mistaken {
            return self.report(peer, 0, out);
        }
        self.complete(peer, out);
    }

    /// Everything that the meter has is said. Whether it is on flash is told by `durable`.
    fn complete(&mut self, peer: &mut Peer, out: &mut Outbox) {
        let place = self.book.of(peer.who());
        let before = place.clone();
        self.numbers.all_told(&self.seen, place);
        if *place != before {
            self.keep(peer.who(), out);
        }
        self.whole = true;
        peer.say(CHANNELS, self.pairs.left(), out);
        // what was not reported on this link is never deleted: nothing tells that it was taken
        match self.seen.last().filter(|last| self.clears() && self.cleared != Some(*last)) {
            Some(last) => {
                self.doing = Doing::Deleting(last);
                out.cancel_timer(PATIENCE);
                out.when_durable(ON_FLASH);
            }
            None => self.rest(peer, out),
        }
    }

    pub fn durable(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if let Doing::Deleting(last) = self.doing {
            self.cleared = Some(last);
            self.write(peer, &by_sequence(DELETE, UP_TO, last), out);
        }
    }

    fn not_cleared(&mut self, peer: &mut Peer, why: &str, out: &mut Outbox) {
        self.keep_them(why);
        out.log(Level::Warn, self.keeps.as_deref().unwrap_or_default());
        self.rest(peer, out);
    }

    fn stop(&mut self, out: &mut Outbox) {
        self.doing = Doing::Nothing;
        out.cancel_timer(PATIENCE);
        self.wait(out);
    }

    fn rest(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.stop(out);
        self.paused = false;
        out.set_timer(AGAIN, self.again_ms);
        match &self.keeps {
            Some(why) if self.delete => peer.report(Health::Degraded, why, out),
            _ => peer.report(Health::Healthy, "", out),
        }
    }

    fn later(&mut self, peer: &mut Peer, after_ms: u64, why: &str, out: &mut Outbox) {
        self.stop(out);
        out.set_timer(AGAIN, after_ms);
        out.log(Level::Warn, why);
        peer.report(Health::Degraded, why, out);
    }

    /// A meter that was busy or silent is left alone for a moment.
    fn pause(&mut self, peer: &mut Peer, why: &str, out: &mut Outbox) {
        self.later(peer, RETRY_MS, why, out);
        self.paused = true;
    }

    pub fn timer(&mut self, peer: &mut Peer, tag: Tag, out: &mut Outbox) {
        match tag {
            LATE => self.late = Late::No,
            AGAIN => self.paused = false,
            _ => {}
        }
        match tag {
            // it may not even refuse to count
            PATIENCE if self.doing == Doing::Counting => self.uncounted(peer, out),
            PATIENCE if self.doing == Doing::Looking => self.begin(peer, out),
            PATIENCE if self.doing == Doing::Sizing => self.unsized_report(peer, out),
            PATIENCE if !matches!(self.doing, Doing::Nothing | Doing::Waiting) => {
                self.write(peer, &[ABORT, 0], out);
                self.pause(peer, "the meter fell silent over its stored records", out);
            }
            AGAIN if self.doing == Doing::Nothing => {
                if self.late == Late::PutOff {
                    self.late = Late::No;
                    self.late(peer, out);
                }
                if self.doing == Doing::Nothing {
                    self.ask(peer, out);
                }
            }
            LATE if matches!(self.doing, Doing::Nothing | Doing::Waiting) => self.late(peer, out),
            _ => {}
        }
    }

    pub fn lost(&mut self, out: &mut Outbox) {
        out.cancel_timer(PATIENCE);
        out.cancel_timer(AGAIN);
        if !self.pairs.is_empty() {
            out.cancel_timer(LATE);
        }
        if self.refused || !self.stores {
            self.tell_held(out);
        } else if let Some(waiting) = self.pairs.waiting() {
            self.asked_for(waiting); // else one whose context never comes could keep back, on a link that breaks often, all that is behind it
        }
        // the next may be another, and a record that is held and can be asked for comes again, with its context
        self.book.lost();
        let (book, delete, again_ms) = (std::mem::take(&mut self.book), self.delete, self.again_ms);
        *self = Self { book, delete, again_ms, unit: self.unit, awaited: self.awaited, ..Self::default() };
    }

    /// Nobody can ask for it on the next link.
    fn tell_held(&mut self, out: &mut Outbox) {
        for context in self.pairs.left() {
            out.emit(&[context.observation()]);
        }
        if self.pairs.waiting().is_some() {
            self.give_up(out);
            let who = self.who.take();
            self.say_ready(who.as_deref(), out);
        }
    }
}

fn by_sequence(procedure: u8, operator: u8, sequence: u16) -> [u8; 5] {
    let [low, high] = sequence.to_le_bytes();
    [procedure, operator, BY_SEQUENCE, low, high]
}
