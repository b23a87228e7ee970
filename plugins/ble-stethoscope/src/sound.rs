//! From packets to one wave with indices: what is missing shows as a jump.

use wardgate_sdk::gatt::{Column, Fields, Form, Peer, Read, had_time};
use wardgate_sdk::{Decimal, Missing, Moment, Outbox, Waveform};

use crate::decode::{CODEC, Codec, Step, packet, step};

pub const fn column(rate_hz: u32) -> Column {
    Column::wave("sound", &["{count}"], Decimal::new(1, 0), (1, rate_hz), 16)
}

/// The packet before.
#[derive(Debug)]
struct Before {
    heard: Moment,
    counter: u16,
    fragment: u8,
    length: usize,
}

#[derive(Debug)]
pub struct Sound {
    codec: Form<Codec>,
    /// What is described.
    rate_hz: u32,
    next: u64,
    before: Option<Before>,
    /// Fragments of one number were seen.
    blocks: bool,
    /// So many in a row came late.
    late: u32,
}

pub const RATE_HZ: u32 = 8_000; // until it is described otherwise
const SECOND_NS: u64 = 1_000_000_000;
const LATE_MAX: u32 = 2; // in a row: more is a device that started anew

impl Sound {
    /// `usual`: of a device that does not tell it.
    pub fn new(usual: Codec, out: &mut Outbox) -> Self {
        let codec = Form::new("the stethoscope's codec", CODEC, usual);
        let mut sound = Self { codec, rate_hz: RATE_HZ, next: 0, before: None, blocks: false, late: 0 };
        sound.describe(usual.rate_hz, out);
        sound
    }

    pub fn codec(&mut self, peer: &mut Peer, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let number = Fields::new(bytes).u8()?;
        self.codec.tell(number.into(), Codec::of(number), peer, out);
        Ok(())
    }

    pub fn ready(&self, peer: &mut Peer, out: &mut Outbox) {
        self.codec.ready(peer, out);
    }

    /// The device may begin to count anew, and be another.
    pub fn lost(&mut self) {
        self.before = None;
        self.codec.forget();
    }

    fn describe(&mut self, rate_hz: u32, out: &mut Outbox) {
        if rate_hz != self.rate_hz {
            self.rate_hz = rate_hz;
            self.next = 0;
            self.before = None;
            out.describe(0, &column(rate_hz).describe(0));
        }
    }

    pub fn packet(&mut self, peer: &Peer, now: Moment, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let Some(codec) = self.codec.of(peer, 0..1, out) else {
            self.before = None; // how much is in what is dropped nobody knows
            return Ok(());
        };
        let packet = packet(bytes, codec)?;
        self.describe(codec.rate_hz, out);
        let length = packet.samples.len();
        if let Some(before) = &self.before {
            self.blocks |= before.counter == packet.counter && before.fragment != packet.fragment;
            match step((before.counter, before.fragment), (packet.counter, packet.fragment), self.blocks) {
                Step::Next => {}
                Step::Repeated => return Ok(()),
                Step::Late if self.late < LATE_MAX => {
                    self.late += 1; // it was told missing
                    return Ok(());
                }
                Step::Late | Step::Back => out.missed(0, None, Missing::Unknown),
                Step::Jump(packets) => {
                    // packets of one length on both sides of the gap: so were those in it
                    let samples = packets.filter(|_| before.length == length).map(|packets| u64::from(packets) * length as u64);
                    if had_time(before.heard, now, samples.unwrap_or(0) * SECOND_NS / u64::from(self.rate_hz)) {
                        out.missed(0, samples, Missing::NotSent);
                        self.next += samples.unwrap_or(0);
                    } else {
                        out.missed(0, None, Missing::Unknown); // further than time passed, with 5 s and a 64th to spare: it started anew
                    }
                }
            }
        }
        self.late = 0;
        self.before = Some(Before { heard: now, counter: packet.counter, fragment: packet.fragment, length });
        out.emit_waveform(&[Waveform::of(0, self.next, packet.samples)]);
        self.next += length as u64;
        Ok(())
    }
}
