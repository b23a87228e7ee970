//! Brings records and their contexts together: they come over two characteristics, so that nothing tells which is first. Pure.

use std::collections::VecDeque;

use wardgate_sdk::DeviceTime;
use wardgate_sdk::gatt::Message;

use crate::decode::{Record, SEQUENCE};

const RECORDS_MAX: usize = 64; // held: some 64 KiB, and far more than a gateway reads of one characteristic before it looks at the other
const CONTEXTS_MAX: usize = 64; // that came before their record
const SAID_MAX: usize = 64; // records that went out without a context, and of which one may still come

#[derive(Debug)]
struct Held {
    record: Record,
    has_context: bool,
}

impl Held {
    fn waits(&self) -> bool {
        self.record.context_follows && !self.has_context
    }

    fn join(&mut self, context: Record) {
        self.record.message.readings.extend(context.message.readings);
        self.has_context = true;
    }
}

/// Records go out in the order in which they came, also behind one that waits: a fetch that is cut then goes on behind the last that was taken.
#[derive(Debug, Default)]
pub struct Pairs {
    held: VecDeque<Held>,
    contexts: VecDeque<Record>,
    said: VecDeque<(u16, DeviceTime)>,
}

impl Pairs {
    pub fn holds(&self, sequence: u16) -> bool {
        self.held.iter().any(|held| held.record.sequence == sequence)
    }

    pub fn is_full(&self) -> bool {
        self.held.len() >= RECORDS_MAX
    }

    /// Neither a record nor a context waits.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.contexts.is_empty()
    }

    /// The record that waits for its context, where `next` has nothing.
    pub fn waiting(&self) -> Option<u16> {
        self.held.front().map(|held| held.record.sequence)
    }

    pub fn record(&mut self, record: Record) {
        let mut held = Held { has_context: false, record };
        if let Some(at) = self.contexts.iter().position(|context| context.sequence == held.record.sequence)
            && let Some(context) = self.contexts.remove(at)
        {
            held.join(context);
        }
        self.held.push_back(held);
    }

    /// No more contexts can wait for their records.
    pub fn is_crowded(&self) -> bool {
        self.contexts.len() >= CONTEXTS_MAX
    }

    /// Answers what is to be told in an observation of its own. `known`: it was told with its record, or will be, when that comes again.
    pub fn context(&mut self, context: Record, known: bool) -> Option<Message> {
        if let Some(held) = self.held.iter_mut().find(|held| held.record.sequence == context.sequence) {
            if !held.has_context {
                held.join(context);
            }
            return None;
        }
        if let Some(at) = self.said.iter().position(|(sequence, _)| *sequence == context.sequence) {
            return self.said.remove(at).map(|(_, at)| alone(context, at));
        }
        if known {
            return None;
        }
        if self.is_crowded() {
            return Some(alone(context, DeviceTime::NotTold));
        }
        self.contexts.retain(|waits| waits.sequence != context.sequence);
        self.contexts.push_back(context);
        None
    }

    /// The next record that is to go out.
    pub fn next(&mut self) -> Option<Record> {
        self.held.front().filter(|held| !held.waits())?;
        let Held { record, has_context } = self.held.pop_front()?;
        if !has_context {
            self.said.push_back((record.sequence, record.message.at));
            self.said.drain(..self.said.len().saturating_sub(SAID_MAX));
        }
        Some(record)
    }

    /// Nothing waits any more. Answers what did.
    pub fn give_up(&mut self) -> Vec<u16> {
        let waiting = self.held.iter_mut().filter(|held| held.waits()).map(|held| &mut held.record);
        let give_up = |record: &mut Record| {
            record.context_follows = false;
            record.sequence
        };
        waiting.map(give_up).collect()
    }

    /// Contexts whose records do not come.
    pub fn left(&mut self) -> Vec<Message> {
        self.contexts.drain(..).map(|context| alone(context, DeviceTime::NotTold)).collect()
    }
}

fn alone(context: Record, at: DeviceTime) -> Message {
    let mut message = context.message;
    message.push(SEQUENCE, u32::from(context.sequence));
    message.at = at;
    message
}
