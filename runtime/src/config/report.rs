//! What of an instance's output may leave, and how: its terms. `[instance.NAME.report.CHANNEL]` says what of a channel is sent, where that is not everything.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Given;

const SECONDS_MAX: u64 = 86_400; // a channel that says nothing for longer cannot be told from one that is dead
const HEARTBEAT_S: u64 = 300; // five minutes: a chart of a day has its points, and a hundredth of what one reading a second takes
const EVERY_MAX: u64 = 10_000; // a sample in 20 s of an ECG
const DIGITS_MAX: usize = 18; // as many as 64 bits surely hold

/// Under which all that one instance says is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Its personal channels may leave.
    pub personal: bool,
    /// What its device sends, byte for byte, may leave.
    pub keep_raw: bool,
    /// A filter: what it says was reckoned, and no device said it.
    pub derived: bool,
    /// By channel: what of it is sent, where that is not everything.
    pub reports: BTreeMap<String, Report>,
}

impl Terms {
    /// What a channel says is counted and goes no further.
    pub fn withholds(&self, personal: bool) -> bool {
        personal && !self.personal
    }
}

/// Instead of everything that the channel says.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Written")]
pub enum Report {
    /// A value that is no further than the dead band from the last one that was sent is not sent, until the heartbeat is due.
    OnChange { dead_band: DeadBand, heartbeat_s: u64 },
    /// Least, most, mean and number of the values in each so many seconds, as channels of their own that are marked derived.
    Window { seconds: u64 },
    /// Everything, and besides each so many-th sample of a waveform ahead of it, as a channel of its own that is marked derived.
    Preview { every: u64 },
}

impl Report {
    /// Whether it is for such channels; of others everything is sent.
    pub fn suits(&self, numeric: bool, waveform: bool) -> bool {
        match self {
            Self::OnChange { .. } => !waveform,
            Self::Window { .. } => numeric,
            Self::Preview { .. } => waveform,
        }
    }
}

/// As a site writes it: one of the three.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    dead_band: Option<DeadBand>,
    #[serde(default, deserialize_with = "seconds")]
    heartbeat_s: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    window_s: Option<u64>,
    #[serde(default, deserialize_with = "every")]
    preview_every: Option<u64>,
}

impl TryFrom<Written> for Report {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written { dead_band, heartbeat_s, window_s: None, preview_every: None } => {
                Ok(Self::OnChange { dead_band: dead_band.unwrap_or_default(), heartbeat_s: heartbeat_s.unwrap_or(HEARTBEAT_S) })
            }
            Written { dead_band: None, heartbeat_s: None, window_s: Some(seconds), preview_every: None } => Ok(Self::Window { seconds }),
            Written { dead_band: None, heartbeat_s: None, window_s: None, preview_every: Some(every) } => Ok(Self::Preview { every }),
            _ => Err(
                "a channel is sent on change (dead_band, heartbeat_s), in windows (window_s) or with a preview (preview_every): one of the three",
            ),
        }
    }
}

/// In the channel's unit: mantissa * 10^exponent. 0: every other value is a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadBand {
    pub mantissa: u64,
    pub exponent: i8,
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within(from, 1, SECONDS_MAX).map(Some)
}

fn every<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    within(from, 2, EVERY_MAX).map(Some)
}

fn within<'de, D: Deserializer<'de>>(from: D, least: u64, most: u64) -> Result<u64, D::Error> {
    let n = i64::deserialize(from)?;
    let within = u64::try_from(n).ok().filter(|n| (least..=most).contains(n));
    within.ok_or_else(|| D::Error::custom(format!("{n} is not within {least} to {most}")))
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
    fn a_channel_has_one_rule() {
        let read = |text: &str| toml::from_str::<Report>(text).map_err(|e| e.message().to_owned());
        let default = Report::OnChange { dead_band: DeadBand::default(), heartbeat_s: 300 };
        assert_eq!(read(""), Ok(default));
        assert_eq!(read("window_s = 60"), Ok(Report::Window { seconds: 60 }));
        assert_eq!(read("preview_every = 10"), Ok(Report::Preview { every: 10 }));
        for (text, says) in [
            ("window_s = 60\ndead_band = \"1\"", "one of the three"),
            ("window_s = 60\npreview_every = 2", "one of the three"),
            ("window_s = 0", "0 is not within 1 to 86400"),
            ("preview_every = 1", "1 is not within 2 to 10000"),
            ("windows = 1", "unknown field"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(says), "{text}: {why}");
        }
    }

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
