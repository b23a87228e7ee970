//! What is on its way: bounded by messages and bytes until the receiver's own acknowledgement, and counted until the broker's.
//!
//! The two are different things. The broker's PUBACK frees a packet identifier and says that the connection moves; it never frees a batch. The
//! receiver's acknowledgement frees the batch. A batch that the broker has taken and the receiver has not acknowledged in time goes again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wardgate_wire::BatchKey;

use super::lanes::Rank;

/// Batches repeated without a word of the receiver in between. Enough to mend a loss at once, little enough that a receiver that is away for the
/// night does not cost a thin link a whole window every few seconds: beyond it, one batch at a time asks whether somebody is back.
pub(super) const REPEATS_UNHEARD_MAX: u32 = 4;

/// Messages kept free for a live alert, where the window is larger than that.
const ALERT_MESSAGES: usize = 1;

/// Times are since an origin that the session chose.
#[derive(Debug)]
pub(super) struct Window {
    messages_max: usize,
    bytes_max: usize,
    resend: Duration,
    entries: BTreeMap<BatchKey, Entry>,
    /// Handed to the client, not yet written; in order.
    handed: VecDeque<Message>,
    /// Written, not yet taken by the broker; by packet identifier.
    flying: BTreeMap<u16, Message>,
    /// When the broker last took something, or the first of what is in flight was handed over.
    moved: Duration,
    repeats_unheard: u32,
    last_repeat: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    key: BatchKey,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// Of all its messages.
    bytes: usize,
    /// Messages that the broker has not taken yet; while there are some, it is the connection that is waited for, not the receiver.
    untaken: usize,
    /// When the broker took the last of them.
    taken: Duration,
}

impl Window {
    pub fn new(messages_max: usize, bytes_max: usize, resend: Duration) -> Self {
        Self {
            messages_max,
            bytes_max,
            resend,
            entries: BTreeMap::new(),
            handed: VecDeque::new(),
            flying: BTreeMap::new(),
            moved: Duration::ZERO,
            repeats_unheard: 0,
            last_repeat: Duration::ZERO,
        }
    }

    /// The broker allows fewer messages in flight than the configuration.
    pub fn narrow(&mut self, messages_max: usize) {
        self.messages_max = self.messages_max.min(messages_max);
    }

    pub fn contains(&self, key: &BatchKey) -> bool {
        self.entries.contains_key(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = BatchKey> + '_ {
        self.entries.keys().copied()
    }

    /// Whether one more message with this many bytes may go. One larger than the window may when the window is empty, or it never would.
    pub fn room(&self, rank: Rank, bytes: usize) -> bool {
        let complete = self.entries.values().filter(|entry| entry.untaken == 0);
        let (waiting, waiting_bytes) = complete.fold((0, 0), |(n, sum), entry| (n + 1, sum + entry.bytes));
        let air_bytes: usize = self.handed.iter().chain(self.flying.values()).map(|message| message.bytes).sum();
        let messages = waiting + self.in_flight();
        if rank.is_alert() {
            return messages < self.messages_max;
        }
        messages == 0 || (messages < self.messages_for_all() && waiting_bytes + air_bytes + bytes <= self.bytes_max)
    }

    /// Whether one more message may be handed to the client: one unwritten at a time, so that the order of urgency is asked again before each.
    pub fn slot(&self, rank: Rank) -> bool {
        let bound = if rank.is_alert() { self.messages_max } else { self.messages_for_all() };
        self.handed.is_empty() && self.in_flight() < bound
    }

    fn messages_for_all(&self) -> usize {
        self.messages_max.saturating_sub(ALERT_MESSAGES).max(1)
    }

    /// Handed over and not taken by the broker: never more than the window's messages.
    pub fn in_flight(&self) -> usize {
        self.handed.len() + self.flying.len()
    }

    /// A batch begins, for the first time or again. True: again.
    pub fn begin(&mut self, key: BatchKey, bytes: usize, messages: usize, now: Duration) -> bool {
        let again = self.entries.insert(key, Entry { bytes, untaken: messages, taken: now }).is_some();
        if again {
            self.repeats_unheard = self.repeats_unheard.saturating_add(1);
            self.last_repeat = now;
        }
        again
    }

    /// One message of it is given to the client.
    pub fn hand(&mut self, key: BatchKey, bytes: usize, now: Duration) {
        if self.in_flight() == 0 {
            self.moved = now;
        }
        self.handed.push_back(Message { key, bytes });
    }

    /// The client has written the oldest handed message, under this packet identifier. False: it was not ours, or the identifier is in use.
    #[must_use]
    pub fn written(&mut self, pkid: u16) -> bool {
        self.handed.pop_front().is_some_and(|message| self.flying.insert(pkid, message).is_none())
    }

    /// The broker took a message. The batch, when it is still waited for, and whether that was its last message.
    pub fn taken(&mut self, pkid: u16, now: Duration) -> Option<(BatchKey, bool)> {
        let key = self.flying.remove(&pkid)?.key;
        self.moved = now;
        let entry = self.entries.get_mut(&key)?;
        entry.untaken = entry.untaken.saturating_sub(1);
        entry.taken = now;
        Some((key, entry.untaken == 0))
    }

    /// Keeps what is still held. Gives what went.
    pub fn retain(&mut self, holds: impl Fn(&BatchKey) -> bool) -> Vec<BatchKey> {
        let gone: Vec<BatchKey> = self.entries.keys().filter(|key| !holds(key)).copied().collect();
        self.entries.retain(|key, _| holds(key));
        gone
    }

    /// The receiver has acknowledged something new: it is there.
    pub fn heard(&mut self) {
        self.repeats_unheard = 0;
    }

    /// What the broker took long ago and the receiver has not acknowledged, as far as it may go again now.
    pub fn due(&self, now: Duration) -> impl Iterator<Item = BatchKey> + '_ {
        let silent = self.repeats_unheard >= REPEATS_UNHEARD_MAX && now < self.last_repeat + self.resend;
        let late = move |entry: &Entry| entry.untaken == 0 && now >= entry.taken + self.resend;
        self.entries.iter().filter(move |(_, entry)| !silent && late(entry)).map(|(key, _)| *key)
    }

    /// When `due` next has something to say, as far as is known now.
    pub fn next_due(&self) -> Option<Duration> {
        let first = self.entries.values().filter(|entry| entry.untaken == 0).map(|entry| entry.taken + self.resend).min()?;
        Some(if self.repeats_unheard >= REPEATS_UNHEARD_MAX { first.max(self.last_repeat + self.resend) } else { first })
    }

    /// Since when the broker owes an answer.
    pub fn waiting_since(&self) -> Option<Duration> {
        (self.in_flight() > 0).then_some(self.moved)
    }
}
