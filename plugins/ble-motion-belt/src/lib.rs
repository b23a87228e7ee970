//! A belt that measures acceleration: glue between the link and `belt`; `decode` is pure.

mod belt;
pub mod decode;

use wardgate_sdk::gatt::{Column, Peer, Peripheral, Profile, Read, polar};
use wardgate_sdk::*;

use belt::Belt;

pub struct MotionBelt(Belt);

impl Profile for MotionBelt {
    const CHANNELS: &'static [Column] = belt::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::ACCELERATION, polar::DATA, polar::CONTROL];
    const READS: &'static [u128] = &[decode::FORMAT];
    const STREAMS: &'static [u128] = &[decode::ACCELERATION, polar::DATA];

    fn open(start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self(Belt::opened(start)))
    }

    /// What the control point says holds no samples.
    fn asks_again(&self, _peer: &Peer, from: u128) -> bool {
        from == polar::CONTROL
    }

    fn main(&self) -> std::ops::Range<Channel> {
        self.0.main()
    }

    fn heard(&mut self, peer: &mut Peer, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        self.0.heard(peer, now, from, bytes, out)
    }

    fn ready(&mut self, peer: &mut Peer, _now: Moment, out: &mut Outbox) {
        self.0.ready(peer, out);
    }

    fn lost(&mut self, out: &mut Outbox) {
        self.0.lost(out);
    }

    fn reply(&mut self, peer: &mut Peer, _now: Moment, _tag: Tag, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) {
        self.0.stream.written(peer, outcome, out);
    }
}

plugin!(Peripheral<MotionBelt>: ble);
