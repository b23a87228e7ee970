//! Parking: what an instance says while nobody knows whose device it is. A binding that names a serial holds only from the moment at which the
//! device says that it is that one, anew after every `open` and link-up; until then, and when it is another, its values wait here.

use std::collections::BTreeMap;

use wardgate_wire::bytes::Writer;
use wardgate_wire::{GapReason, Moment, Parked, read_parked};

use super::said::Channel;
use crate::whose::Whose;

/// What is written again with each group while it fills: small enough to spare the flash, large enough that there are few.
const CHUNK_BYTES: usize = 16 << 10;
/// Of one instance: three quarters of an hour of a full bed, or days of numbers. It lies in memory as well as on the card.
pub const PARKED_BYTES_MAX: usize = 4 << 20;
/// The store keeps the newest of each name; no instance's name has such characters.
const PREFIX: &str = "!parked/";

/// Whose output it is: the bed, and the device that must stand there; without a serial any device may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    pub bed: Option<String>,
    pub serial: Option<String>,
}

/// How an instance stands with its binding, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub bound: Binding,
    /// Who the device says it is.
    pub claim: Option<String>,
    pub holds: bool,
    /// Values that wait for a person.
    pub values: u64,
    /// Values that nobody confirmed in time, or for which there was no room.
    pub expired: u64,
}

#[derive(Debug, Default)]
pub(super) struct Parking {
    pub bound: Binding,
    pub whose: Whose,
    /// When the present session began: the newest `open` or link-up.
    pub session: Moment,
    /// Something of the present session is parked.
    begun: bool,
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    values: u64,
    expired: u64,
    /// From this chunk on the store has it otherwise.
    dirty_from: Option<usize>,
    /// Chunks that the store holds.
    stored: usize,
    /// There was no room; said once.
    full: bool,
    /// Something of it is otherwise than people were told.
    news: bool,
    /// When the oldest was parked, or found at the start, nanoseconds.
    pub oldest_ns: Option<u64>,
}

/// Under which name the store keeps a chunk.
fn key(instance: &str, n: usize) -> String {
    format!("{PREFIX}{instance}/{n:05}")
}

/// The instance whose chunk the store keeps under this name; its chunks come in order.
pub fn parked_of(key: &str) -> Option<&str> {
    Some(key.strip_prefix(PREFIX)?.rsplit_once('/')?.0)
}

fn values(word: &Parked) -> u64 {
    match word {
        Parked::Observation { readings, .. } => readings.len() as u64,
        Parked::Block { counts, .. } => counts.len() as u64,
        _ => 0,
    }
}

impl Parking {
    /// What is said goes to the bed.
    pub fn holds(&self) -> bool {
        self.whose.is(self.bound.serial.as_deref())
    }

    pub fn bind(&mut self, binding: Binding) {
        (self.bound, self.news) = (binding, true);
    }

    /// None: as it was told before.
    pub fn news(&mut self) -> Option<Claim> {
        let Self { bound, values, expired, .. } = &*self;
        let told =
            Claim { bound: bound.clone(), claim: self.who().map(str::to_owned), holds: self.holds(), values: *values, expired: *expired };
        std::mem::take(&mut self.news).then_some(told)
    }

    /// It may be another device from here on.
    pub fn begin_session(&mut self, moment: Moment) {
        (self.whose.claim, self.session, self.begun, self.news) = (None, moment, false, true);
    }

    /// Who stands there, as far as that is known.
    pub fn who(&self) -> Option<&str> {
        self.whose.who(self.bound.serial.as_deref())
    }

    /// It is known now, or known otherwise, who the present session's device is: what is parked of it says so too.
    pub fn shows(&mut self) {
        self.news = true;
        if let Some(serial) = self.who().filter(|_| self.begun).map(str::to_owned) {
            self.push(&Parked::Claim { serial });
        }
    }

    /// `channels` as they stood before it.
    pub fn park(&mut self, word: Parked, channels: &BTreeMap<u16, Channel>, now_ns: u64) {
        self.oldest_ns.get_or_insert(now_ns);
        self.news = true;
        if !self.begun {
            self.begun = true;
            self.push(&Parked::Session { moment: self.session });
            for (&channel, means) in channels.iter().filter(|(_, c)| !c.withheld) {
                let description = means.meaning.description.clone();
                self.push(&Parked::Describe { channel, expected: means.expected, description });
            }
            if let Some(serial) = self.who().map(str::to_owned) {
                self.push(&Parked::Claim { serial });
            }
        }
        if self.bytes >= PARKED_BYTES_MAX {
            if !std::mem::replace(&mut self.full, true) {
                self.push(&Parked::Cut { moment: self.session, reason: GapReason::UnboundExpired });
            }
            self.expired += values(&word);
            return;
        }
        self.values += values(&word);
        self.push(&word);
    }

    fn push(&mut self, word: &Parked) {
        if self.chunks.last().is_none_or(|c| c.len() >= CHUNK_BYTES) {
            self.chunks.push(Vec::new());
        }
        let at = self.chunks.len() - 1;
        let chunk = &mut self.chunks[at];
        let mut w = Writer { out: std::mem::take(chunk) };
        let before = w.out.len();
        word.write(&mut w);
        self.bytes += w.out.len() - before;
        *chunk = w.out;
        self.dirty_from = Some(self.dirty_from.map_or(at, |from| from.min(at)));
    }

    /// What the store held at the start. What cannot be read is not believed, nor is what stands behind it: how many bytes that is.
    pub fn restore(&mut self, chunks: Vec<Vec<u8>>, now_ns: u64) -> usize {
        let readable = chunks.iter().take_while(|chunk| read_parked(chunk).is_ok()).count();
        (self.stored, self.news) = (chunks.len(), true);
        let (mut chunks, mut lost) = (chunks, Vec::new());
        if readable < chunks.len() {
            lost = chunks.split_off(readable);
            self.dirty_from = Some(readable);
        }
        self.bytes = chunks.iter().map(Vec::len).sum();
        self.values = chunks.iter().flat_map(|c| read_parked(c).unwrap_or_default()).map(|word| values(&word)).sum();
        self.oldest_ns = (!chunks.is_empty()).then_some(now_ns);
        self.chunks = chunks;
        lost.iter().map(Vec::len).sum()
    }

    /// Takes out the sessions of which `wanted` says so, by who their device said it was and whether it is the present one.
    pub fn take(&mut self, wanted: impl Fn(Option<&str>, bool) -> bool) -> Vec<Parked> {
        let all = self.chunks.drain(..).flat_map(|chunk| read_parked(&chunk).unwrap_or_default());
        let mut sessions: Vec<Vec<Parked>> = Vec::new();
        for word in all {
            match (&word, sessions.last_mut()) {
                (Parked::Session { .. }, _) | (_, None) => sessions.push(vec![word]),
                (_, Some(session)) => session.push(word),
            }
        }
        let (mut taken, last) = (Vec::new(), sessions.len().wrapping_sub(1));
        (self.bytes, self.values, self.full, self.dirty_from, self.news) = (0, 0, false, Some(0), true);
        for (n, session) in sessions.into_iter().enumerate() {
            let claim =
                session.iter().rev().find_map(|word| if let Parked::Claim { serial } = word { Some(serial.as_str()) } else { None });
            let present = self.begun && n == last;
            if wanted(claim, present) {
                self.begun &= !present;
                taken.extend(session);
            } else {
                session.iter().for_each(|word| {
                    self.values += values(word);
                    self.push(word);
                });
            }
        }
        if self.chunks.is_empty() {
            self.oldest_ns = None;
        }
        taken
    }

    /// Nobody confirmed it in time.
    pub fn expire(&mut self) -> Vec<Parked> {
        self.expired += self.values;
        self.take(|_, _| true)
    }

    /// What the next group holds of it: an empty chunk takes the place of one that is gone.
    pub fn changes(&mut self, instance: &str) -> Vec<(String, Vec<u8>)> {
        let Some(from) = self.dirty_from.take() else { return Vec::new() };
        let there = self.chunks.iter().enumerate().skip(from).map(|(n, chunk)| (key(instance, n), chunk.clone()));
        let gone = (self.chunks.len()..self.stored).map(|n| (key(instance, n), Vec::new()));
        let changes = there.chain(gone).collect();
        self.stored = self.chunks.len();
        changes
    }
}
