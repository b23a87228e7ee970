//! Heart rate service (180D): glue between the link and `decode`, which is pure.

pub mod decode;

use wardgate_sdk::gatt::{Column, Message, Peripheral, Profile, Read};
use wardgate_sdk::*;

pub struct HeartRate;

impl Profile for HeartRate {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT];
    const READS: &'static [u128] = &[decode::LOCATION];
    const STREAMS: &'static [u128] = &[decode::MEASUREMENT];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn main(&self) -> std::ops::Range<Channel> {
        decode::HEART_RATE..decode::RR_INTERVAL + 1
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }
}

plugin!(Peripheral<HeartRate>: ble);
