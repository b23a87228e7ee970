//! A digital stethoscope: glue between the link and `decode`, which is pure.

pub mod decode;
mod sound;

use wardgate_sdk::gatt::{Column, Peer, Peripheral, Profile, Read};
use wardgate_sdk::*;

use decode::{AUDIO, CODEC, Codec};
use sound::Sound;

pub struct Stethoscope {
    sound: Sound,
}

impl Profile for Stethoscope {
    const CHANNELS: &'static [Column] = &[sound::column(sound::RATE_HZ)];
    const LISTENS: &'static [u128] = &[AUDIO];
    const READS: &'static [u128] = &[CODEC];
    const STREAMS: &'static [u128] = &[AUDIO];

    fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let names = ["pcm-16k", "pcm-8k", "mu-law-16k", "mu-law-8k"];
        let (mu_law, rate_hz) = match Settings::new(&start.settings).one_of("codec", names[1], &names)? {
            "pcm-16k" => (false, 16_000),
            "mu-law-16k" => (true, 16_000),
            "mu-law-8k" => (true, 8_000),
            _ => (false, 8_000),
        };
        Ok(Self { sound: Sound::new(Codec { mu_law, rate_hz }, out) })
    }

    fn heard(&mut self, peer: &mut Peer, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        if from == CODEC {
            return self.sound.codec(peer, bytes, out);
        }
        self.sound.packet(peer, now, bytes, out)
    }

    fn ready(&mut self, peer: &mut Peer, _now: Moment, out: &mut Outbox) {
        self.sound.ready(peer, out);
    }

    fn lost(&mut self, _out: &mut Outbox) {
        self.sound.lost();
    }
}

plugin!(Peripheral<Stethoscope>: ble);
