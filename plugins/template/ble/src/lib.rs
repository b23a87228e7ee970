//! Glue between a Bluetooth LE peripheral and `decode`. `Peripheral` finds the characteristics, says who the device is (Device
//! Information), tells its battery, subscribes, and hands each value on.

pub mod decode;
#[cfg(test)]
mod tests;

use wardgate_sdk::gatt::{Column, Message, Peripheral, Profile, Read};
use wardgate_sdk::*;

pub struct Device;

impl Profile for Device {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes)
    }
}

plugin!(Peripheral<Device>: ble);
