//! What a belt's messages make the plugin say: three axes, or their magnitude.

use std::ops::Range;

use wardgate_sdk::gatt::{Column, Fields, Form, Peer, Read, Stamp, Waves, polar};
use wardgate_sdk::{Channel, Decimal, Moment, Opening, Outbox, Waveform};

use crate::decode::{self, FORMAT, Format};

const RATE_HZ: u32 = 25; // of the reference device; a Polar device is asked for the same
const PERIOD: (u32, u32) = (1, RATE_HZ);
const PERIOD_NS: (u64, u64) = (1_000_000_000, RATE_HZ as u64);
const MILLI_G: Decimal = Decimal::new(1, -3);
const SIXTY_FOURTH_G: Decimal = Decimal::new(15_625, -6);
const MAGNITUDE: Channel = 3;

/// Start (02) the acceleration (02): sample rate (00), one value, 25 Hz; resolution (01), one value, 16 bits; range (02), one value, 8 g.
const START: [u8; 14] = [0x02, polar::ACCELERATION, 0x00, 0x01, RATE_HZ as u8, 0x00, 0x01, 0x01, 0x10, 0x00, 0x02, 0x01, 0x08, 0x00];

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
    format: Form<Format>,
    /// Of the message before.
    last: Format,
    /// The kind of magnitude that is described.
    magnitude: Format,
    /// Next index of the axes, which go together, and of the magnitude, where the messages have no time.
    next: [u64; 2],
    /// The axes of a Polar device, whose messages have, and its stream.
    timed: Waves,
    pub stream: polar::Stream,
}

impl Default for Belt {
    fn default() -> Self {
        Self {
            format: Form::new("the belt's format", FORMAT, Format::default()),
            last: Format::default(),
            magnitude: Format::Magnitude,
            next: [0, 0],
            timed: Waves::new(0, Stamp::Last),
            stream: polar::Stream::default(),
        }
    }
}

impl Belt {
    pub fn main(&self) -> Range<Channel> {
        if self.last == Format::Axes { 0..MAGNITUDE } else { MAGNITUDE..MAGNITUDE + 1 }
    }

    pub fn heard(&mut self, peer: &mut Peer, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        match from {
            FORMAT => {
                let number = Fields::new(bytes).u8()?;
                self.format.tell(number.into(), Format::of(number), peer, out);
            }
            polar::DATA => {
                if let Some((at_ns, waves)) = decode::polar_acceleration(bytes)? {
                    self.timed.of(peer.who(), out);
                    let quality = self.stream.quality(peer, out);
                    self.timed.say(now, at_ns, waves, PERIOD_NS, quality, out);
                }
            }
            polar::CONTROL => self.stream.answered(now, bytes, polar::ACCELERATION, peer, out)?,
            _ => self.untimed(peer, bytes, out)?,
        }
        Ok(())
    }

    pub fn ready(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.format.ready(peer, out);
        self.stream.start(peer, &START, out);
    }

    pub fn opened(start: &Opening) -> Self {
        Self { stream: polar::Stream::opened(start), ..Self::default() }
    }

    pub fn lost(&mut self, out: &mut Outbox) {
        self.format.forget();
        self.stream.lost(out);
    }

    fn untimed(&mut self, peer: &Peer, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        let Some(format) = self.format.of(peer, self.main(), out) else { return Ok(()) };
        self.last = format;
        let waves = decode::acceleration(bytes, format)?;
        self.describe(format, out);
        let first = self.main().start;
        let next = &mut self.next[usize::from(first == MAGNITUDE)];
        let begin = *next;
        *next += waves.first().map_or(0, Vec::len) as u64;
        let blocks: Vec<_> = (first..).zip(waves).map(|(channel, counts)| Waveform::of(channel, begin, counts)).collect();
        out.emit_waveform(&blocks);
        Ok(())
    }

    /// The two kinds of magnitude have another scale.
    fn describe(&mut self, format: Format, out: &mut Outbox) {
        if format != self.magnitude && format != Format::Axes {
            let (scale, bits) = if format == Format::Coarse { (SIXTY_FOURTH_G, 8) } else { (MILLI_G, 16) };
            out.describe(MAGNITUDE, &magnitude_column(scale, bits).describe(0));
            self.next[1] = 0;
            self.magnitude = format;
        }
    }
}
