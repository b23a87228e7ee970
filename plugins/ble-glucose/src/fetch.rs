//! Brings each stored record of a meter once, over lost links and restarts: count, report, settle, and (when the site wants it) delete.
//!
//! A record and the place reached go out in one call, so that both are on flash or neither. A record whose context follows waits
//! for it; when the link is lost in between, both come again.

use wardgate_sdk::gatt::{Peer, refusal};
use wardgate_sdk::*;

use crate::decode::{Answer, CHANNELS, CONTEXT, CONTROL_POINT, GLUCOSE, MEASUREMENT, Record};
use crate::places::{Place, Places};

const PATIENCE: Tag = 1;
const PATIENCE_MS: u64 = 30_000; // what the Glucose Profile gives a procedure before the collector may think it lost
const AGAIN: Tag = 2;
const RETRY_MS: u64 = 10_000; // a meter that was busy or silent
const WRITE: Tag = 1;
const ON_FLASH: Tag = 1;
const ROUNDS_MAX: u32 = 3; // of asking for what was counted and did not come

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Nothing,
    Counting,
    /// Whether the meter can count: then it is counted once more behind the report.
    Reporting(bool),
    Deleting(u16),
}

pub struct Fetch {
    places: Places,
    delete: bool,
    again_ms: u64,
    doing: Doing,
    rounds: u32,
    /// That records are missing was said since the link came up.
    missed: bool,
    /// The meter knows no "from here on": everything is asked for, and what was taken before is passed over.
    all_only: bool,
    /// Waits for its context.
    held: Option<Record>,
    /// Said without its context.
    said: Option<u16>,
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
            places,
            delete: settings.yes_or_no("delete", false)?,
            again_ms: settings.number("every_s", 300, 10..=86_400)? * 1000,
            doing: Doing::Nothing,
            rounds: 0,
            missed: false,
            all_only: false,
            held: None,
            said: None,
            cleared: None,
        })
    }

    fn place(&mut self, peer: &Peer) -> &mut Place {
        let meter = peer.fact("serial").or_else(|| peer.fact("system-id")).unwrap_or_default();
        self.places.of(meter)
    }

    pub fn start(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.rounds = 0;
        self.ask(peer, out);
    }

    /// First it is counted, from the first that may be missing.
    fn ask(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if peer.handle(MEASUREMENT).is_none() || peer.handle(CONTROL_POINT).is_none() {
            return; // a meter that only tells what it measures now, or it is not granted
        }
        self.rounds += 1;
        if self.all_only {
            return self.report(peer, false, out);
        }
        self.doing = Doing::Counting;
        let from = self.place(peer).settled();
        self.request(peer, COUNT, from, out);
    }

    /// A report goes on behind what came. When then fewer came than were counted, the next begins where the first may be missing.
    fn report(&mut self, peer: &mut Peer, counts: bool, out: &mut Outbox) {
        let (first, place) = (self.rounds == 1, self.place(peer));
        let from = if first { place.next() } else { place.settled() };
        self.doing = Doing::Reporting(counts);
        self.request(peer, REPORT, if self.all_only { 0 } else { from }, out);
    }

    fn request(&mut self, peer: &mut Peer, procedure: u8, from: u32, out: &mut Outbox) {
        match u16::try_from(from) {
            Ok(0) => self.write(peer, &[procedure, ALL], out),
            Ok(from) => self.write(peer, &by_sequence(procedure, FROM, from), out),
            Err(_) => {
                self.doing = Doing::Nothing;
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
        let detail = match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Deleting(_) => format!("the meter's memory cannot be cleared: {}", refusal(&why)),
            _ => format!("stored records cannot be asked for: {}", refusal(&why)),
        };
        out.cancel_timer(PATIENCE);
        out.log(Level::Warn, &detail);
        peer.report(Health::Degraded, &detail, out);
        if !matches!(why, ble::Failure::NotGranted | ble::Failure::NotPermitted) {
            out.set_timer(AGAIN, RETRY_MS);
        }
    }

    pub fn measured(&mut self, peer: &mut Peer, record: Record, out: &mut Outbox) {
        self.release(peer, out);
        if matches!(self.doing, Doing::Reporting(_)) {
            out.set_timer(PATIENCE, PATIENCE_MS);
        }
        if peer.handle(CONTROL_POINT).is_some() && self.place(peer).has(record.sequence) {
            self.said = None;
            return; // it was taken before: the meter tells it again
        }
        if record.context_follows && peer.handle(CONTEXT).is_some() {
            self.held = Some(record);
        } else {
            self.say(peer, record, out);
        }
    }

    pub fn context(&mut self, peer: &mut Peer, context: Record, out: &mut Outbox) {
        if let Some(mut record) = self.held.take_if(|held| held.sequence == context.sequence) {
            record.message.readings.extend(context.message.readings);
            self.say(peer, record, out);
            self.said = None;
        } else if self.said == Some(context.sequence) || !self.comes_again(peer, context.sequence) {
            // of a record that did not announce it, or that nobody can ask for: it is told alone, with its number
            let mut message = context.message;
            message.push(crate::decode::SEQUENCE, u32::from(context.sequence));
            peer.say(CHANNELS, vec![message], out);
        }
    }

    /// It was told with its record, or will be: the record is still to be fetched.
    fn comes_again(&mut self, peer: &Peer, sequence: u16) -> bool {
        peer.handle(CONTROL_POINT).is_some() && (matches!(self.doing, Doing::Reporting(_)) || self.place(peer).has(sequence))
    }

    /// A context that was announced did not come: the record goes out without.
    fn release(&mut self, peer: &mut Peer, out: &mut Outbox) {
        if let Some(record) = self.held.take() {
            out.log(Level::Warn, &format!("record {} announced a context that did not come", record.sequence));
            self.say(peer, record, out);
        }
    }

    fn say(&mut self, peer: &mut Peer, record: Record, out: &mut Outbox) {
        self.said = Some(record.sequence);
        peer.unit(CHANNELS, record.message.unit, out);
        if peer.handle(CONTROL_POINT).is_none() {
            return out.emit(&[record.message.observation()]);
        }
        self.place(peer).take(record.sequence);
        out.emit_and_keep(&[record.message.observation()], &self.places.to_bytes());
    }

    pub fn answered(&mut self, peer: &mut Peer, answer: Answer, out: &mut Outbox) {
        self.release(peer, out);
        peer.say(CHANNELS, vec![answer.message()], out);
        match (self.doing, answer) {
            (Doing::Counting, Answer::Count(count)) => self.counted(peer, count.into(), out),
            (Doing::Counting, Answer::Result { procedure: COUNT, result: NO_RECORDS }) => self.complete(peer, out),
            // it cannot count: what it reports is then all there is
            (Doing::Counting, Answer::Result { procedure: COUNT, .. }) => self.report(peer, false, out),
            (Doing::Reporting(counts), Answer::Result { procedure: REPORT, result }) => match result {
                // a record may have come into the meter, and another been lost on the way: only a new count tells
                SUCCESS | NO_RECORDS if counts => self.ask(peer, out),
                SUCCESS | NO_RECORDS => self.complete(peer, out),
                OPERATOR_NOT_SUPPORTED | OPERAND_NOT_SUPPORTED if !self.all_only => {
                    self.all_only = true;
                    self.ask(peer, out);
                }
                _ => self.later(peer, RETRY_MS, &format!("the meter could not report its records (result {result})"), out),
            },
            (Doing::Deleting(_), Answer::Result { procedure: DELETE, result }) => {
                if !matches!(result, SUCCESS | NO_RECORDS) {
                    out.log(Level::Warn, &format!("the meter does not clear its memory (result {result})"));
                }
                self.rest(peer, out);
            }
            _ => {}
        }
    }

    fn counted(&mut self, peer: &mut Peer, count: u32, out: &mut Outbox) {
        let missing = count.saturating_sub(self.place(peer).count());
        if missing == 0 {
            return self.complete(peer, out);
        }
        if self.rounds <= ROUNDS_MAX {
            return self.report(peer, true, out);
        }
        // nothing is deleted and nothing settled: the next round begins where the first is missing
        let detail = format!("{missing} stored records were counted and did not come");
        if !std::mem::replace(&mut self.missed, true) {
            out.missed(GLUCOSE, Some(missing.into()), Missing::NotSent);
        }
        self.later(peer, self.again_ms, &detail, out);
    }

    /// Everything that the meter has is said. Whether it is on flash is told by `durable`.
    fn complete(&mut self, peer: &mut Peer, out: &mut Outbox) {
        let place = self.place(peer);
        let before = place.clone();
        place.settle();
        let (last, changed) = (place.last(), *place != before);
        if changed {
            out.keep(&self.places.to_bytes());
        }
        self.doing = Doing::Nothing;
        match last.filter(|_| self.delete && self.cleared != last) {
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

    fn rest(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.doing = Doing::Nothing;
        out.cancel_timer(PATIENCE);
        out.set_timer(AGAIN, self.again_ms);
        peer.report(Health::Healthy, "", out);
    }

    fn later(&mut self, peer: &mut Peer, after_ms: u64, why: &str, out: &mut Outbox) {
        self.doing = Doing::Nothing;
        out.cancel_timer(PATIENCE);
        out.set_timer(AGAIN, after_ms);
        out.log(Level::Warn, why);
        peer.report(Health::Degraded, why, out);
    }

    pub fn timer(&mut self, peer: &mut Peer, tag: Tag, out: &mut Outbox) {
        match tag {
            // it may not even refuse to count
            PATIENCE if self.doing == Doing::Counting => self.report(peer, false, out),
            PATIENCE if self.doing != Doing::Nothing => {
                self.write(peer, &[ABORT, 0], out);
                self.later(peer, RETRY_MS, "the meter fell silent over its stored records", out);
            }
            AGAIN if self.doing == Doing::Nothing => self.start(peer, out),
            _ => {}
        }
    }

    pub fn lost(&mut self, out: &mut Outbox) {
        out.cancel_timer(PATIENCE);
        out.cancel_timer(AGAIN);
        self.doing = Doing::Nothing;
        self.all_only = false;
        self.missed = false;
        self.held = None; // it comes again, with its context
        self.said = None;
        self.cleared = None;
    }
}

fn by_sequence(procedure: u8, operator: u8, sequence: u16) -> [u8; 5] {
    let [low, high] = sequence.to_le_bytes();
    [procedure, operator, BY_SEQUENCE, low, high]
}
