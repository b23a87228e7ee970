//! Blood pressure service (1810): glue between the link and `decode`, which is pure.

pub mod decode;

use wardgate_sdk::gatt::{Column, Message, Peripheral, Profile, Read};
use wardgate_sdk::*;

pub struct BloodPressure;

impl Profile for BloodPressure {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT, decode::INTERMEDIATE];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn main(&self) -> std::ops::Range<Channel> {
        decode::SYSTOLIC..decode::MEAN + 1
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }
}

plugin!(Peripheral<BloodPressure>: ble);
