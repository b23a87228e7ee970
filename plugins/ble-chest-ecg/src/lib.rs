//! Chest straps with ECG: glue between the link and `strap`; `decode` is pure.

pub mod decode;
mod strap;

use wardgate_sdk::gatt::{Column, Peer, Peripheral, Profile, Read, polar};
use wardgate_sdk::*;

use strap::Strap;

/// Its clock tells what a lost link cost, so nothing else has to.
pub struct ChestEcg(Strap);

impl Profile for ChestEcg {
    const CHANNELS: &'static [Column] = strap::CHANNELS;
    const LISTENS: &'static [u128] = &[polar::DATA, decode::OPEN_ECG, polar::CONTROL];
    const READS: &'static [u128] = &[decode::OPEN_INTERVAL];

    fn open(start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self(Strap::opened(start)))
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

plugin!(Peripheral<ChestEcg>: ble);
