//! Pulse oximeter service (1822): glue between the link and `decode`, which is pure.

pub mod decode;

use wardgate_sdk::gatt::{Column, Message, Peripheral, Profile, Read};
use wardgate_sdk::*;

pub struct Oximeter;

impl Profile for Oximeter {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::CONTINUOUS, decode::SPOT];
    const STREAMS: &'static [u128] = &[decode::CONTINUOUS];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn main(&self) -> std::ops::Range<Channel> {
        decode::SPO2..decode::SPO2 + 2
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }
}

plugin!(Peripheral<Oximeter>: ble);
