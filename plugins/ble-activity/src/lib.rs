//! Running speed and cadence service (1814): glue between the link and `decode`, which is pure.

pub mod decode;

use wardgate_sdk::gatt::{Column, Message, Peripheral, Profile, Read};
use wardgate_sdk::*;

pub struct Activity;

impl Profile for Activity {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT];
    const READS: &'static [u128] = &[decode::LOCATION];
    const STREAMS: &'static [u128] = &[decode::MEASUREMENT];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }
}

plugin!(Peripheral<Activity>: ble);
