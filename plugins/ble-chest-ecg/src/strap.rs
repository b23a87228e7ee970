//! What a strap's messages make the plugin say: one wave for each of the two protocols.

use std::ops::Range;

use wardgate_sdk::gatt::{Column, Form, Peer, Read, Stamp, Waves, polar};
use wardgate_sdk::*;

use crate::decode::{self, INVALID, OPEN_ECG, OPEN_INTERVAL};

const ECG: Channel = 0;
const ECG_COUNTS: Channel = 1;
const POLAR_PERIOD_NS: (u64, u64) = (1_000_000_000, 130);
const INTERVAL_MS: u16 = 8; // of an open firmware that does not tell it
const MDC_ECG_ELEC_POTL: u32 = 131_328; // a strap's lead has no name

/// Start (02) the ECG (00): sample rate (00), one value, 130 Hz; resolution (01), one value, 14 bits.
const START: [u8; 10] = [0x02, polar::ECG, 0x00, 0x01, 0x82, 0x00, 0x01, 0x01, 0x0e, 0x00];

pub const CHANNELS: &[Column] =
    &[Column::wave("ecg", &["uV"], Decimal::new(1, 0), (1, 130), 24).mdc(MDC_ECG_ELEC_POTL), counts_column(INTERVAL_MS)];

/// The open firmware does not tell what one count is worth.
const fn counts_column(interval_ms: u16) -> Column {
    Column::wave("ecg-counts", &["{count}"], Decimal::new(1, 0), (interval_ms as u32, 1000), 16).mdc(MDC_ECG_ELEC_POTL)
}

pub struct Strap {
    polar: Waves,
    open: Waves,
    interval_ms: Form<u16>,
    /// What is described.
    described_ms: u16,
    /// Of a Polar strap.
    pub stream: polar::Stream,
    /// Which of the two this device speaks.
    speaks: Channel,
}

impl Default for Strap {
    fn default() -> Self {
        let (polar, open) = (Waves::new(ECG, Stamp::Last), Waves::new(ECG_COUNTS, Stamp::First));
        let interval_ms = Form::new("the strap's interval", OPEN_INTERVAL, INTERVAL_MS);
        Self { polar, open, interval_ms, described_ms: INTERVAL_MS, stream: polar::Stream::default(), speaks: ECG }
    }
}

impl Strap {
    pub fn main(&self) -> Range<Channel> {
        self.speaks..self.speaks + 1
    }

    pub fn heard(&mut self, peer: &mut Peer, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        match from {
            polar::DATA => {
                self.speaks = ECG;
                if let Some(samples) = decode::polar_ecg(bytes)? {
                    self.polar.of(peer.who(), out);
                    let quality = self.stream.quality(peer, out);
                    self.polar.say(now, samples.at_ns, vec![samples.counts], POLAR_PERIOD_NS, quality, out);
                }
            }
            OPEN_ECG => {
                self.speaks = ECG_COUNTS;
                let Some(interval_ms) = self.interval_ms.of(peer, self.main(), out) else { return Ok(()) };
                let samples = decode::open_ecg(bytes)?;
                let quality = validity(&samples.counts);
                let period_ns = (u64::from(interval_ms) * 1_000_000, 1);
                self.describe(interval_ms, out);
                self.open.of(peer.who(), out);
                self.open.say(now, samples.at_ns, vec![samples.counts], period_ns, quality, out);
            }
            OPEN_INTERVAL => {
                let ms = decode::interval(bytes)?;
                self.interval_ms.tell(ms.into(), Some(ms), peer, out);
            }
            _ => self.stream.answered(now, bytes, polar::ECG, peer, out)?,
        }
        Ok(())
    }

    pub fn ready(&mut self, peer: &mut Peer, out: &mut Outbox) {
        self.interval_ms.ready(peer, out);
        self.stream.start(peer, &START, out);
    }

    pub fn opened(start: &Opening) -> Self {
        Self { stream: polar::Stream::opened(start), ..Self::default() }
    }

    pub fn lost(&mut self, out: &mut Outbox) {
        self.interval_ms.forget();
        self.stream.lost(out);
    }

    fn describe(&mut self, ms: u16, out: &mut Outbox) {
        if self.described_ms != ms {
            self.described_ms = ms;
            self.open.restart();
            out.describe(ECG_COUNTS, &counts_column(ms).describe(0));
        }
    }
}

fn validity(counts: &[i32]) -> Quality {
    match counts.iter().filter(|c| **c == INVALID).count() {
        0 => Quality::empty(),
        all if all == counts.len() => Quality::UNAVAILABLE,
        _ => Quality::QUESTIONABLE,
    }
}
