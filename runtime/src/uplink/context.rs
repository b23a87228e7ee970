//! What outlives a connection: who we are, where batches come from, and what has been said about errors.

use std::collections::{BTreeSet, VecDeque};

use tracing::{debug, warn};
use wardgate_wire::{AckEntry, BatchKey, GatewayId, Key, decode_ack};

use super::beside::Beside;
use super::error::UplinkError;
use super::settings::Settings;
use super::topics::Topics;
use crate::status::Status;
use crate::store::Shelf;

/// Batches that cannot be read or sent, remembered so that they are not tried at each turn: 2 MiB of keys, more than a card with so many faults is
/// worth. They stay in the store; the next connection tries them again.
const SKIPPED_MAX: usize = 65_536;

/// Acknowledgements that wait while the store looks at others. They are cumulative: a newer one makes up for what is thrown away here.
const ACKS_WAITING_MAX: usize = 64;

pub(super) struct Context {
    pub settings: Settings,
    pub topics: Topics,
    pub gateway: GatewayId,
    pub key: Key,
    pub shelf: Shelf,
    pub status: Status,
    pub skipped: BTreeSet<BatchKey>,
    /// Published on the connection before and not acknowledged: at most a window. A repeat is counted as one.
    pub unconfirmed: BTreeSet<BatchKey>,
    acks: VecDeque<Vec<AckEntry>>,
    /// How many batches each of the acknowledgements freed that the store looked at. The store reads the card to compare digests.
    pub acknowledging: Beside<Vec<usize>>,
    /// The last error, as it was said.
    said: String,
}

impl Context {
    pub fn new(settings: Settings, gateway: GatewayId, key: Key, shelf: Shelf, status: Status) -> Self {
        let topics = Topics::new(&settings.topic, &gateway);
        Self {
            settings,
            topics,
            gateway,
            key,
            shelf,
            status,
            skipped: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            acks: VecDeque::new(),
            acknowledging: Beside::default(),
            said: String::new(),
        }
    }

    /// Logged and shown when it is another than the last; what repeats itself is not repeated.
    pub fn report(&mut self, error: &UplinkError) {
        let text = error.to_string();
        if text == self.said {
            debug!("{text}");
            return;
        }
        warn!("{text}");
        self.status.uplink(|s| s.last_error.clone_from(&text));
        self.said = text;
    }

    /// The way has proved to work, to its far end.
    pub fn all_well(&mut self) {
        if !self.said.is_empty() {
            self.said.clear();
            self.status.uplink(|s| s.last_error.clear());
        }
    }

    /// Not tried again on this connection.
    pub fn leave_out(&mut self, key: BatchKey, why: Option<String>) {
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.insert(key);
        }
        if let Some(why) = why {
            self.report(&UplinkError::Batch { batch: key.to_string(), why });
        }
    }

    /// What is not the receiver's word for this gateway changes nothing.
    pub fn hear_ack(&mut self, topic: &[u8], payload: &[u8]) {
        if topic != self.topics.ack().as_bytes() {
            return self.refuse("it came on a topic that was not subscribed to");
        }
        match decode_ack(payload, &self.key) {
            Ok(ack) if ack.gateway == self.gateway => {
                if self.acks.len() >= ACKS_WAITING_MAX {
                    self.acks.pop_front();
                }
                self.acks.push_back(ack.entries);
                self.acknowledge();
            }
            Ok(ack) => self.refuse(&format!("it is for the gateway {}", ack.gateway)),
            Err(error) => self.refuse(&error.to_string()),
        }
    }

    fn acknowledge(&mut self) {
        if self.acknowledging.is_busy() || self.acks.is_empty() {
            return;
        }
        let (shelf, acks) = (self.shelf.clone(), std::mem::take(&mut self.acks));
        let at_hand = acks.iter().flatten().all(|entry| shelf.knows(entry));
        let look = move || acks.iter().map(|ack| ack.iter().map(|entry| shelf.acknowledge(entry)).sum()).collect();
        if at_hand { self.acknowledging.done_already(look()) } else { self.acknowledging.start(look) }
    }

    /// The store has looked at some: how many batches each freed.
    pub fn acknowledged(&mut self, freed: &[usize]) {
        let without_news = freed.iter().filter(|freed| **freed == 0).count() as u64;
        let batches = freed.iter().sum::<usize>() as u64;
        self.status.uplink(|s| {
            s.acknowledgements_without_news += without_news;
            s.batches_acknowledged += batches;
        });
        if batches > 0 {
            self.all_well();
        }
        self.acknowledge();
    }

    /// Logged at the 1st, 2nd, 4th, 8th ...: whoever forges acknowledgements must not fill the log.
    fn refuse(&mut self, why: &str) {
        let count = self.status.uplink(|s| {
            s.acknowledgements_refused += 1;
            s.acknowledgements_refused
        });
        if count.is_power_of_two() {
            warn!(count, "an acknowledgement is refused: {why}");
        }
    }
}
