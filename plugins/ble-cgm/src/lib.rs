//! Continuous glucose monitoring service (181F): glue between the link and `decode`, which is pure.

pub mod decode;

use wardgate_sdk::gatt::{Column, Message, Peer, Peripheral, Profile, Read};
use wardgate_sdk::*;

/// Whether this device's values carry checksums: then one without is damaged. `None`: it was not heard yet.
pub struct Cgm {
    checksums: Option<bool>,
}

impl Profile for Cgm {
    const CHANNELS: &'static [Column] = decode::CHANNELS;
    const LISTENS: &'static [u128] = &[decode::MEASUREMENT];
    const READS: &'static [u128] = &[decode::FEATURE, decode::SESSION_START, decode::RUN_TIME, decode::STATUS];
    const STREAMS: &'static [u128] = &[decode::MEASUREMENT];

    fn open(_start: &Opening, _out: &mut Outbox) -> Result<Self, Problem> {
        Ok(Self { checksums: None })
    }

    fn ready(&mut self, peer: &mut Peer, _now: Moment, out: &mut Outbox) {
        if self.checksums.is_none() && peer.handle(decode::MEASUREMENT).is_some() {
            let detail = "whether its values carry checksums (2aa8) could not be read: those without one are questionable";
            out.log(Level::Warn, detail);
            peer.report(Health::Degraded, detail, out);
        }
    }

    fn lost(&mut self, _out: &mut Outbox) {
        self.checksums = None; // the next one may be another
    }

    fn decode(&self, from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
        decode::decode(from, bytes, self.checksums)
    }

    fn heard(&mut self, peer: &mut Peer, _now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let messages = self.decode(from, bytes)?;
        if from == decode::FEATURE {
            self.checksums = Some(decode::feature(bytes)?.1);
        }
        peer.say(Self::CHANNELS, messages, out);
        Ok(())
    }
}

plugin!(Peripheral<Cgm>: ble);
