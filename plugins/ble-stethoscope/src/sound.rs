//! From packets to one wave with indices: what is missing shows as a jump.

use wardgate_sdk::gatt::{Column, Damage, Read};
use wardgate_sdk::{Decimal, Missing, Outbox, Waveform};

use crate::decode::{Codec, Step, packet, step};

pub const fn column(rate_hz: u32) -> Column {
    Column::wave("sound", &["{count}"], Decimal::new(1, 0), (1, rate_hz), 16)
}

#[derive(Debug)]
pub struct Sound {
    codec: Option<Codec>,
    rate_hz: u32,
    next: u64,
    /// Counter, fragment and length of the packet before.
    before: Option<(u16, u8, usize)>,
    /// Fragments of one number were seen.
    blocks: bool,
    /// So many in a row came late.
    late: u32,
}

const LATE_MAX: u32 = 2; // in a row: more is a device that started anew

impl Default for Sound {
    fn default() -> Self {
        Self { codec: None, rate_hz: 8_000, next: 0, before: None, blocks: false, late: 0 }
    }
}

impl Sound {
    /// `false`: one that cannot be read.
    pub fn codec(&mut self, codec: Option<Codec>, out: &mut Outbox) -> bool {
        self.codec = codec;
        if let Some(rate_hz) = codec.map(|c| c.rate_hz).filter(|rate| *rate != self.rate_hz) {
            self.rate_hz = rate_hz;
            self.next = 0;
            self.before = None;
            out.describe(0, &column(rate_hz).describe(0));
        }
        codec.is_some()
    }

    /// The device may begin to count anew.
    pub fn lost(&mut self) {
        self.before = None;
    }

    pub fn packet(&mut self, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let packet = packet(bytes, self.codec.ok_or(Damage("its codec is not known"))?)?;
        let length = packet.samples.len();
        if let Some((counter, fragment, length_before)) = self.before {
            self.blocks |= counter == packet.counter && fragment != packet.fragment;
            match step((counter, fragment), (packet.counter, packet.fragment), self.blocks) {
                Step::Next => {}
                Step::Repeated => return Ok(()),
                Step::Late if self.late < LATE_MAX => {
                    self.late += 1; // it was told missing
                    return Ok(());
                }
                Step::Late | Step::Back => out.missed(0, None, Missing::Unknown),
                Step::Jump(packets) => {
                    // packets of one length on both sides of the gap: so were those in it
                    let samples = packets.filter(|_| length_before == length).map(|packets| u64::from(packets) * length as u64);
                    out.missed(0, samples, Missing::NotSent);
                    self.next += samples.unwrap_or(0);
                }
            }
        }
        self.late = 0;
        self.before = Some((packet.counter, packet.fragment, length));
        out.emit_waveform(&[Waveform::of(0, self.next, packet.samples)]);
        self.next += length as u64;
        Ok(())
    }
}
