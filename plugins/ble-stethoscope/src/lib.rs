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
    const CHANNELS: &'static [Column] = &[sound::column(8_000)];
    const LISTENS: &'static [u128] = &[AUDIO];
    const READS: &'static [u128] = &[CODEC];
    const STREAMS: &'static [u128] = &[AUDIO];

    fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem> {
        let names = ["pcm-16k", "pcm-8k", "mu-law-16k", "mu-law-8k"];
        let number = match Settings::new(&start.settings).one_of("codec", names[1], &names)? {
            "pcm-16k" => 0,
            "mu-law-16k" => 10,
            "mu-law-8k" => 11,
            _ => 1,
        };
        let mut sound = Sound::default();
        sound.codec(Codec::of(number), out);
        Ok(Self { sound })
    }

    fn heard(&mut self, peer: &mut Peer, _now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        if from == CODEC {
            let number = gatt::Fields::new(bytes).u8()?;
            if !self.sound.codec(Codec::of(number), out) {
                peer.report(Health::Degraded, &format!("the stethoscope's codec {number} is not known here"), out);
            }
            return Ok(());
        }
        self.sound.packet(bytes, out)
    }

    fn lost(&mut self, _out: &mut Outbox) {
        self.sound.lost();
    }
}

plugin!(Peripheral<Stethoscope>: ble);
