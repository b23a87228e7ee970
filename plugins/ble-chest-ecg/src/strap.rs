//! What a strap's messages make the plugin say: one wave for each of the two protocols.

use std::ops::Range;

use wardgate_sdk::gatt::{Column, Peer, Read};
use wardgate_sdk::*;

use crate::decode::{self, OPEN_ECG, OPEN_INTERVAL, POLAR_DATA};
use crate::start;
use crate::wave::{Stamp, Wave};

const ECG: Channel = 0;
const ECG_COUNTS: Channel = 1;
const POLAR_PERIOD_NS: (u64, u64) = (1_000_000_000, 130);
const INTERVAL_MS: u16 = 8; // until the open firmware tells another
const MDC_ECG_ELEC_POTL: u32 = 131_328; // a strap's lead has no name

pub const CHANNELS: &[Column] =
    &[Column::wave("ecg", &["uV"], Decimal::new(1, 0), (1, 130), 24).mdc(MDC_ECG_ELEC_POTL), counts_column(INTERVAL_MS)];

/// The open firmware does not tell what one count is worth.
const fn counts_column(interval_ms: u16) -> Column {
    Column::wave("ecg-counts", &["{count}"], Decimal::new(1, 0), (interval_ms as u32, 1000), 16).mdc(MDC_ECG_ELEC_POTL)
}

pub struct Strap {
    polar: Wave,
    open: Wave,
    interval_ms: u16,
    /// Which of the two this device speaks.
    speaks: Channel,
}

impl Default for Strap {
    fn default() -> Self {
        let (polar, open) = (Wave::new(ECG, Stamp::Last), Wave::new(ECG_COUNTS, Stamp::First));
        Self { polar, open, interval_ms: INTERVAL_MS, speaks: ECG }
    }
}

impl Strap {
    pub fn main(&self) -> Range<Channel> {
        self.speaks..self.speaks + 1
    }

    pub fn heard(&mut self, peer: &mut Peer, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        match from {
            POLAR_DATA => {
                self.speaks = ECG;
                decode::polar(bytes)?.into_iter().for_each(|samples| self.polar.say(samples, POLAR_PERIOD_NS, false, out));
            }
            OPEN_ECG => {
                self.speaks = ECG_COUNTS;
                self.open.say(decode::open(bytes)?, (u64::from(self.interval_ms) * 1_000_000, 1), true, out);
            }
            OPEN_INTERVAL => self.interval(decode::interval(bytes)?, out),
            _ => start::answered(decode::control(bytes)?, peer, out),
        }
        Ok(())
    }

    fn interval(&mut self, ms: u16, out: &mut Outbox) {
        if self.interval_ms != ms {
            self.interval_ms = ms;
            self.open.restart();
            out.describe(ECG_COUNTS, &counts_column(ms).describe(0));
        }
    }
}
