//! A profile's channels as a table, and a decoded value.

use super::DateTime;
use crate::{Channel, Decimal, Description, DeviceTime, Kind, Observation, Quality, Reading, Value, WaveformShape, mdc, reading};

/// One channel. Its number is its place in the table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    kind: Kind,
    /// UCUM. More than one where each message says which it uses: all such columns of a profile change together.
    units: &'static [&'static str],
    mdc: Option<u32>,
    /// What a code, or a bit, means.
    means: &'static [(u32, &'static str)],
    shape: Option<WaveformShape>,
}

impl Column {
    const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, units: &[""], mdc: None, means: &[], shape: None }
    }

    pub const fn numeric(name: &'static str, units: &'static [&'static str]) -> Self {
        Self { units, ..Self::new(name, Kind::Numeric) }
    }

    pub const fn code(name: &'static str, means: &'static [(u32, &'static str)]) -> Self {
        Self { means, ..Self::new(name, Kind::Enumeration) }
    }

    pub const fn bits(name: &'static str, means: &'static [(u32, &'static str)]) -> Self {
        Self { means, ..Self::new(name, Kind::Bits) }
    }

    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Kind::Text)
    }

    /// value = count * scale, in `unit`; one sample every `period` = (numerator, denominator) seconds.
    pub const fn wave(name: &'static str, units: &'static [&'static str], scale: Decimal, period: (u32, u32), bits: u8) -> Self {
        let offset = Decimal::new(0, 0);
        let shape = WaveformShape { scale, offset, period_numerator: period.0, period_denominator: period.1, bits };
        Self { units, shape: Some(shape), ..Self::new(name, Kind::Waveform) }
    }

    #[must_use]
    pub const fn mdc(self, code: u32) -> Self {
        Self { mdc: Some(code), ..self }
    }

    /// A profile that never says which unit it uses has one.
    pub fn has_units(&self) -> bool {
        self.units.len() > 1
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn describe(&self, unit: usize) -> Description {
        let unit = self.units.get(unit).or(self.units.first()).unwrap_or(&"");
        let mut meaning =
            Description { kind: self.kind, code: self.mdc.map(mdc), shape: self.shape, ..Description::numeric(self.name, unit) };
        let word = if self.kind == Kind::Bits { "bit" } else { "value" };
        for (number, means) in self.means {
            meaning = meaning.fact(&format!("{word}.{number}"), *means);
        }
        meaning
    }
}

/// What one value of a characteristic says.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub at: DeviceTime,
    pub readings: Vec<Reading>,
    /// Which of the units it uses, where it says so.
    pub unit: Option<usize>,
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl Message {
    /// Nothing yet, from a device that tells no time.
    pub fn new() -> Self {
        Self::of(Vec::new())
    }

    pub fn of(readings: Vec<Reading>) -> Self {
        Self { at: DeviceTime::NotTold, readings, unit: None }
    }

    pub fn push(&mut self, channel: Channel, value: impl Into<Value>) {
        self.readings.push(reading(channel, value));
    }

    /// A field that only some messages have.
    pub fn push_some(&mut self, channel: Channel, value: Option<impl Into<Value>>) {
        self.readings.extend(value.map(|value| reading(channel, value)));
    }

    /// What the status of a measurement says about the readings so far.
    pub fn mark(&mut self, quality: Quality) {
        self.readings.iter_mut().for_each(|r| r.quality |= quality);
    }

    /// The device's time, where it told one; on the channel `words` what of it is no whole date.
    pub fn stamp(&mut self, time: Option<DateTime>, words: Channel) {
        let Some(time) = time else { return };
        self.at = time.at();
        self.readings.extend(time.unless_whole(words));
    }

    pub fn observation(self) -> Observation {
        Observation { at: self.at, readings: self.readings }
    }
}
