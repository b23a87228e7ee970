//! Glucose service (1808): glue between the link, `decode` (pure) and `fetch`, which brings each stored record once.

pub mod decode;
mod fetch;
pub mod numbers;
mod pairs;
pub mod places;

use wardgate_sdk::gatt::{Column, Message, Peer, Peripheral, Profile, Read};
use wardgate_sdk::*;

use fetch::Fetch;

pub struct Glucose {
    fetch: Fetch,
}

impl Profile for Glucose {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT, decode::CONTEXT, decode::CONTROL_POINT];

    fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        Fetch::open(start, out).map(|fetch| Self { fetch })
    }

    fn asks_again(&self, peer: &Peer, from: u128) -> bool {
        // the other two hold no glucose value that could be missing
        from != decode::MEASUREMENT || self.fetch.can_ask(peer)
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }

    fn heard(&mut self, peer: &mut Peer, _now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        match from {
            decode::MEASUREMENT => self.fetch.measured(peer, decode::measurement(bytes)?, out),
            decode::CONTEXT => self.fetch.context(peer, decode::context(bytes)?, out),
            _ => match decode::answer(bytes) {
                Ok(answer) => self.fetch.answered(peer, answer, out),
                Err(why) => {
                    self.fetch.not_understood(peer, out);
                    return Err(why);
                }
            },
        }
        Ok(())
    }

    fn ready(&mut self, peer: &mut Peer, _now: Moment, out: &mut Outbox) {
        self.fetch.start(peer, out);
    }

    fn lost(&mut self, out: &mut Outbox) {
        self.fetch.lost(out);
    }

    fn reply(&mut self, peer: &mut Peer, _now: Moment, tag: Tag, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) {
        self.fetch.written(peer, tag, outcome, out);
    }

    fn timer(&mut self, peer: &mut Peer, _now: Moment, tag: Tag, out: &mut Outbox) {
        self.fetch.timer(peer, tag, out);
    }

    fn durable(&mut self, peer: &mut Peer, _now: Moment, _tag: Tag, out: &mut Outbox) {
        self.fetch.durable(peer, out);
    }
}

plugin!(Peripheral<Glucose>: ble);
