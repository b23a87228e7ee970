//! The settings: what is looked at, how, and which limits the site gave.

use std::fmt::Display;

use wardgate_sdk::*;

use crate::grid::{PLACES_MAX, Sample};

pub const NS_PER_S: u64 = 1_000_000_000;
pub const DAY_S: u64 = 86_400;
const WINDOW_S_MIN: u64 = 5; // to try it out; each window's end is a write to flash
const WINDOW_S_MAX: u64 = 21_600; // what a power cut may cost
const HOLD_S: u64 = 60;
pub const DRIFT_WINDOWS_MAX: usize = 336; // two weeks of hours: 56,280 pairs, and some 1.4 KiB of state
const DRIFT_WINDOWS_MIN: usize = 12;
const CODES_MAX: usize = 32;

#[derive(Clone, Debug)]
pub struct Rules {
    pub window_ns: u64,
    /// Windows in a day.
    pub a_day: u64,
    /// For how long a reading stands when no other comes.
    pub hold_ns: u64,
    pub places: u8,
    pub drift_windows: usize,
    pub coverage_min: u64,
    pub low: Option<Limit>,
    pub high: Option<Limit>,
    pub alert_after_ns: u64,
    /// Per day, up or down, above 0.
    pub drift_max: Option<Sample>,
    /// Percent.
    pub duty_max: Option<u64>,
    pub starts_max: Option<u32>,
    pub running: Running,
    /// Of all settings: an open day that was counted by others does not go on.
    pub mark: u64,
}

/// Which limit: places in `limits`, and in all that is kept for each.
pub const LOW: usize = 0;
pub const HIGH: usize = 1;

/// A value beyond `at` is out; it is in again when it is back at `back`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub at: Sample,
    pub back: i64,
}

/// How each kind of input tells that the machine runs.
#[derive(Clone, Debug)]
pub struct Running {
    codes: Vec<u32>,
    bit: u32,
    when: bool,
    above: Sample,
}

impl Rules {
    pub const NAMES: [&str; 15] = [
        "window_s",
        "hold_s",
        "places",
        "drift_windows",
        "coverage_min",
        "low",
        "high",
        "hysteresis",
        "alert_after_s",
        "drift_max",
        "duty_max",
        "starts_max",
        "running_codes",
        "running_bit",
        "running_above",
    ];

    pub fn read(facts: &[Fact]) -> Result<Self, Problem> {
        let settings = Settings::new(facts);
        settings.only(&Self::NAMES)?;
        let window_s = settings.number("window_s", 3600, WINDOW_S_MIN..=WINDOW_S_MAX)?;
        if !DAY_S.is_multiple_of(window_s) {
            return Err(wrong(
                "window_s",
                window_s,
                "seconds of which a day is a whole number, such as 600, 900, 1800, 3600, 7200 or 21600",
            ));
        }
        let places = settings.number("places", 3, 0..=PLACES_MAX)?;
        let number = |name| on_grid(&settings, name, places);
        let (low, high) = (number("low")?, number("high")?);
        if let (Some(low), Some(high)) = (low, high)
            && low.grid >= high.grid
        {
            return Err(wrong("low", shown(low.told), &format!("less than high, which is {}", shown(high.told))));
        }
        let hysteresis = not_negative("hysteresis", number("hysteresis")?)?.map_or(0, |h| h.grid);
        Ok(Self {
            window_ns: window_s * NS_PER_S,
            a_day: DAY_S / window_s,
            // no longer than a window: a leap of the time then closes two windows at most, whatever stood before it
            hold_ns: settings.number("hold_s", HOLD_S.min(window_s), 1..=window_s)? * NS_PER_S,
            places,
            drift_windows: settings.number("drift_windows", 168, DRIFT_WINDOWS_MIN..=DRIFT_WINDOWS_MAX)?,
            coverage_min: settings.number("coverage_min", 50, 1..=100)?,
            low: low.map(|at| Limit { at, back: at.grid + hysteresis }),
            high: high.map(|at| Limit { at, back: at.grid - hysteresis }),
            alert_after_ns: settings.number("alert_after_s", 600, 10..=DAY_S)? * NS_PER_S,
            drift_max: not_negative("drift_max", number("drift_max")?)?,
            duty_max: optional(&settings, "duty_max", 1, 99)?,
            starts_max: optional(&settings, "starts_max", 0, 1000)?,
            running: Running::read(&settings, number("running_above")?)?,
            mark: mark(facts.iter().flat_map(|f| [f.name.as_str(), f.value.as_str()])),
        })
    }
}

impl Rules {
    pub fn limits(&self) -> [Option<Limit>; 2] {
        [self.low, self.high]
    }

    /// Windows of another length, and numbers on another grid, are not to be compared.
    pub fn grid_mark(&self) -> u64 {
        self.window_ns + u64::from(self.places)
    }
}

impl Limit {
    /// Whether a value is out, where it was out (or not) before.
    pub fn is_out(&self, side: usize, grid: i64, before: bool) -> bool {
        let edge = if before { self.back } else { self.at.grid };
        if side == LOW { grid < edge } else { grid > edge }
    }
}

impl Running {
    fn read(settings: &Settings, above: Option<Sample>) -> Result<Self, Problem> {
        let text = settings.text("running_codes", "1");
        let codes: Option<Vec<u32>> = text.split_whitespace().map(|code| code.parse().ok()).collect();
        let Some(codes) = codes.filter(|codes| (1..=CODES_MAX).contains(&codes.len())) else {
            return Err(wrong(
                "running_codes",
                text,
                &format!("1 to {CODES_MAX} codes that mean running, with blanks between, such as \"1 3\""),
            ));
        };
        let text = settings.text("running_bit", "0");
        let (when, bit) = text.strip_prefix('!').map_or((true, text), |bit| (false, bit));
        let Some(bit) = bit.parse().ok().filter(|bit| *bit < u64::BITS) else {
            return Err(wrong("running_bit", text, "the number of a bit, 0 to 63; \"!3\": it runs while bit 3 is not set"));
        };
        Ok(Self { codes, bit, when, above: above.unwrap_or(Sample { grid: 0, told: Decimal::new(0, 0) }) })
    }

    /// `None`: it does not tell.
    pub fn tells(&self, value: &Value, places: u8) -> Option<bool> {
        match value {
            Value::Code(code) => Some(self.codes.contains(code)),
            Value::Bits(bits) => Some((bits >> self.bit & 1 == 1) == self.when),
            Value::Number(number) => Some(Sample::of(*number, places)?.grid > self.above.grid),
            _ => None,
        }
    }
}

fn on_grid(settings: &Settings, name: &str, places: u8) -> Result<Option<Sample>, Problem> {
    let Some(text) = settings.find(name) else { return Ok(None) };
    let sample = Decimal::parse(text.trim()).and_then(|number| Sample::exactly(number, places));
    let allowed = || format!("a number such as -18.5, with at most {places} digits behind the point (setting \"places\")");
    sample.map(Some).ok_or_else(|| wrong(name, text, &allowed()))
}

fn not_negative(name: &str, number: Option<Sample>) -> Result<Option<Sample>, Problem> {
    match number {
        Some(n) if n.grid < 0 => Err(wrong(name, shown(n.told), "a number that is not negative")),
        other => Ok(other),
    }
}

fn optional<T: std::str::FromStr + PartialOrd + Display + Copy>(
    settings: &Settings,
    name: &str,
    min: T,
    max: T,
) -> Result<Option<T>, Problem> {
    settings.find(name).map(|_| settings.number(name, min, min..=max)).transpose()
}

const SHOWN_CHARS_MAX: usize = 40; // as the SDK shows a wrong value

fn wrong(name: &str, value: impl Display, allowed: &str) -> Problem {
    let value: String = value.to_string().chars().take(SHOWN_CHARS_MAX).collect();
    Problem::setting(format!("setting \"{name}\" is \"{value}\"; allowed: {allowed}"))
}

/// As it was written: -185 * 10^-1 is "-18.5".
pub fn shown(number: Decimal) -> String {
    let (digits, places) = (number.mantissa.unsigned_abs().to_string(), usize::from(number.exponent.min(0).unsigned_abs()));
    let digits = format!("{digits:0>width$}", width = places + 1) + &"0".repeat(usize::from(number.exponent.max(0).unsigned_abs()));
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let (sign, point) = (if number.mantissa < 0 { "-" } else { "" }, if places > 0 { "." } else { "" });
    format!("{sign}{whole}{point}{fraction}")
}

/// FNV-1a, 64 bits: tells one set of texts from another; no one attacks it.
pub fn mark<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0xFF])); // which no text holds
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
