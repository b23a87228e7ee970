//! What a belt's messages make the plugin say: three axes, or their magnitude.

use std::ops::Range;

use wardgate_sdk::gatt::{Column, Read};
use wardgate_sdk::{Channel, Decimal, Outbox, Waveform};

use crate::decode::{self, FORMAT, Format};

const PERIOD: (u32, u32) = (1, 25); // the reference device measures 25 times a second
const MILLI_G: Decimal = Decimal::new(1, -3);
const SIXTY_FOURTH_G: Decimal = Decimal::new(15_625, -6);
const MAGNITUDE: Channel = 3;

pub const CHANNELS: &[Column] = &[
    Column::wave("acceleration-x", &["[g]"], MILLI_G, PERIOD, 16),
    Column::wave("acceleration-y", &["[g]"], MILLI_G, PERIOD, 16),
    Column::wave("acceleration-z", &["[g]"], MILLI_G, PERIOD, 16),
    magnitude_column(MILLI_G, 16),
];

const fn magnitude_column(scale: Decimal, bits: u8) -> Column {
    Column::wave("acceleration", &["[g]"], scale, PERIOD, bits)
}

#[derive(Default)]
pub struct Belt {
    format: Format,
    /// Next index of the axes, which go together, and of the magnitude.
    next: [u64; 2],
}

impl Belt {
    pub fn main(&self) -> Range<Channel> {
        if self.format == Format::Axes { 0..MAGNITUDE } else { MAGNITUDE..MAGNITUDE + 1 }
    }

    pub fn heard(&mut self, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        if from == FORMAT {
            self.formatted(decode::format(bytes)?, out);
            return Ok(());
        }
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
