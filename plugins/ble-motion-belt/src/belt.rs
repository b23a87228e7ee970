//! What a belt's messages make the plugin say: three axes, or their magnitude.

use std::ops::Range;

use wardgate_sdk::gatt::{Column, Peer, Read, Stamp, Waves, polar};
use wardgate_sdk::{Channel, Decimal, Moment, Outbox, Quality, Waveform};

use crate::decode::{self, FORMAT, Format};

const RATE_HZ: u32 = 25; // of the reference device; a Polar device is asked for the same
const PERIOD: (u32, u32) = (1, RATE_HZ);
const PERIOD_NS: (u64, u64) = (1_000_000_000, RATE_HZ as u64);
const MILLI_G: Decimal = Decimal::new(1, -3);
const SIXTY_FOURTH_G: Decimal = Decimal::new(15_625, -6);
const MAGNITUDE: Channel = 3;

/// Start (02) the acceleration (02): sample rate (00), one value, 25 Hz; resolution (01), one value, 16 bits; range (02), one value, 8 g.
pub const START: [u8; 14] = [0x02, polar::ACCELERATION, 0x00, 0x01, RATE_HZ as u8, 0x00, 0x01, 0x01, 0x10, 0x00, 0x02, 0x01, 0x08, 0x00];

pub const CHANNELS: &[Column] = &[
    Column::wave("acceleration-x", &["[g]"], MILLI_G, PERIOD, 16),
    Column::wave("acceleration-y", &["[g]"], MILLI_G, PERIOD, 16),
    Column::wave("acceleration-z", &["[g]"], MILLI_G, PERIOD, 16),
    magnitude_column(MILLI_G, 16),
];

const fn magnitude_column(scale: Decimal, bits: u8) -> Column {
    Column::wave("acceleration", &["[g]"], scale, PERIOD, bits)
}

pub struct Belt {
    format: Format,
    /// Next index of the axes, which go together, and of the magnitude, where the messages have no time.
    next: [u64; 2],
    /// The axes of a Polar device, whose messages have.
    timed: Waves,
}

impl Default for Belt {
    fn default() -> Self {
        Self { format: Format::default(), next: [0, 0], timed: Waves::new(0, Stamp::Last) }
    }
}

impl Belt {
    pub fn main(&self) -> Range<Channel> {
        if self.format == Format::Axes { 0..MAGNITUDE } else { MAGNITUDE..MAGNITUDE + 1 }
    }

    pub fn heard(&mut self, peer: &mut Peer, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        match from {
            FORMAT => self.formatted(decode::format(bytes)?, out),
            polar::DATA => {
                if let Some((at_ns, waves)) = decode::polar_acceleration(bytes)? {
                    self.timed.of(peer.who(), out);
                    self.timed.say(now, at_ns, waves, PERIOD_NS, Quality::empty(), out);
                }
            }
            polar::CONTROL => polar::answered(bytes, polar::ACCELERATION, peer, out)?,
            _ => self.untimed(bytes, out)?,
        }
        Ok(())
    }

    fn untimed(&mut self, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let waves = decode::acceleration(bytes, self.format)?;
        let first = self.main().start;
        let next = &mut self.next[usize::from(first == MAGNITUDE)];
        let begin = *next;
        *next += waves.first().map_or(0, Vec::len) as u64;
        let blocks: Vec<_> = (first..).zip(waves).map(|(channel, counts)| Waveform::of(channel, begin, counts)).collect();
        out.emit_waveform(&blocks);
        Ok(())
    }

    /// The two kinds of magnitude have another scale.
    fn formatted(&mut self, format: Format, out: &mut Outbox) {
        if format != self.format && format != Format::Axes {
            let (scale, bits) = if format == Format::Coarse { (SIXTY_FOURTH_G, 8) } else { (MILLI_G, 16) };
            out.describe(MAGNITUDE, &magnitude_column(scale, bits).describe(0));
            self.next[1] = 0;
        }
        self.format = format;
    }
}
