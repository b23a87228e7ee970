//! What of an instance's output may leave, and how: its terms. `[instance.NAME.report.CHANNEL]` says what of a channel is sent, where that is not everything.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Given;

const HEARTBEAT_S_MAX: u64 = 86_400; // a channel that says nothing for longer cannot be told from one that is dead
const DIGITS_MAX: usize = 18; // as many as 64 bits surely hold

/// Under which all that one instance says is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its personal channels may leave.
    pub personal: bool,
    /// A filter: what it says was reckoned, and no device said it.
    pub derived: bool,
    /// By channel: what of it is sent, where that is not everything.
    pub reports: BTreeMap<String, Report>,
}

/// On change: a value that is no further than the dead band from the last one that was sent is not sent, until the heartbeat is due.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Report {
    #[serde(default)]
    pub dead_band: DeadBand,
    #[serde(default = "heartbeat", deserialize_with = "seconds")]
    pub heartbeat_s: u64,
}

/// In the channel's unit: mantissa * 10^exponent. 0: every other value is a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadBand {
    pub mantissa: u64,
    pub exponent: i8,
}

fn heartbeat() -> u64 {
    300 // five minutes: a chart of a day has its points, and a hundredth of what one reading a second takes
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let n = i64::deserialize(from)?;
    let within = u64::try_from(n).ok().filter(|n| (1..=HEARTBEAT_S_MAX).contains(n));
    within.ok_or_else(|| D::Error::custom(format!("{n} is not within 1 to {HEARTBEAT_S_MAX}")))
}

impl DeadBand {
    fn read(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = format!("{whole}{part}");
        let plain = !whole.is_empty() && digits.len() <= DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit()) && !text.ends_with('.');
        let exponent = -i8::try_from(part.len()).ok()?;
        Some(Self { mantissa: digits.parse().ok()?, exponent }).filter(|_| plain)
    }
}

impl fmt::Display for DeadBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.exponent.unsigned_abs());
        let digits = format!("{:0>width$}", self.mantissa, width = places + 1);
        let (whole, part) = digits.split_at(digits.len() - places);
        f.write_str(whole)?;
        if part.is_empty() { Ok(()) } else { write!(f, ".{part}") }
    }
}

impl<'de> Deserialize<'de> for DeadBand {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Given::deserialize(from)? {
            Given::Text(text) => text,
            Given::Integer(n) => n.to_string(),
            _ => String::new(),
        };
        Self::read(&text).ok_or_else(|| D::Error::custom("a dead band is a number in quotes, like \"0.5\": none below 0, no exponent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_band_is_read_to_the_digit_and_shown_as_it_was() {
        for (text, mantissa, exponent) in [("0.5", 5, -1), ("10", 10, 0), ("0", 0, 0), ("0.050", 50, -3), ("12.25", 1225, -2)] {
            let band = DeadBand::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((band, band.to_string().as_str()), (DeadBand { mantissa, exponent }, text));
        }
        for text in ["", ".", ".5", "5.", "-1", "1e3", "0.5 C", "NaN", "1234567890123456789"] {
            assert_eq!(DeadBand::read(text), None, "{text}");
        }
    }
}
