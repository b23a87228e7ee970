//! Short ways to make the contract's records, so that a plugin reads like its device's manual.

use crate::{
    Absence, Cause, Channel, Coding, Decimal, Description, DeviceTime, Fact, Kind, Observation, Problem, Quality, Reading, Value, Waveform,
    WaveformShape,
};

pub fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

/// A code of IEEE 11073-10101, partition and term in one number.
pub fn mdc(code: u32) -> Coding {
    Coding { scheme: "mdc".into(), value: code.to_string() }
}

/// A reading of ordinary quality.
pub fn reading(channel: Channel, value: impl Into<Value>) -> Reading {
    Reading { channel, value: value.into(), quality: Quality::empty() }
}

impl From<Decimal> for Value {
    fn from(number: Decimal) -> Self {
        Self::Number(number)
    }
}

impl From<Absence> for Value {
    fn from(why: Absence) -> Self {
        Self::Absent(why)
    }
}

/// A whole number.
impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(Decimal { mantissa: number.into(), exponent: 0 })
    }
}

impl Observation {
    /// Readings that belong together, from a device that tells no time.
    pub fn of(readings: Vec<Reading>) -> Self {
        Self { at: DeviceTime::NotTold, readings }
    }
}

impl Waveform {
    pub fn of(channel: Channel, first: u64, counts: Vec<i32>) -> Self {
        Self { channel, first, at: DeviceTime::NotTold, counts, quality: Quality::empty() }
    }
}

impl Description {
    fn new(name: &str, kind: Kind, unit: &str) -> Self {
        Self { name: name.into(), kind, code: None, unit: unit.into(), shape: None, personal: false, facts: Vec::new() }
    }

    /// `unit` in UCUM; empty when the device does not tell.
    pub fn numeric(name: &str, unit: &str) -> Self {
        Self::new(name, Kind::Numeric, unit)
    }

    pub fn enumeration(name: &str) -> Self {
        Self::new(name, Kind::Enumeration, "")
    }

    pub fn bits(name: &str) -> Self {
        Self::new(name, Kind::Bits, "")
    }

    pub fn text(name: &str) -> Self {
        Self::new(name, Kind::Text, "")
    }

    pub fn octets(name: &str) -> Self {
        Self::new(name, Kind::Octets, "")
    }

    /// value = count * scale + offset, in `unit`; one sample every `period` = (numerator, denominator) seconds.
    pub fn waveform(name: &str, unit: &str, scale: Decimal, offset: Decimal, period: (u32, u32), bits: u8) -> Self {
        let shape = WaveformShape { scale, offset, period_numerator: period.0, period_denominator: period.1, bits };
        Self { shape: Some(shape), ..Self::new(name, Kind::Waveform, unit) }
    }

    #[must_use]
    pub fn code(self, code: Coding) -> Self {
        Self { code: Some(code), ..self }
    }

    #[must_use]
    pub fn fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.push(fact(name, value));
        self
    }

    /// Names a patient or says who they are: dropped unless the site grants it.
    #[must_use]
    pub fn personal(self) -> Self {
        Self { personal: true, ..self }
    }
}

impl Problem {
    fn of(cause: Cause, detail: impl Into<String>, fatal: bool) -> Self {
        Self { cause, detail: detail.into(), fatal }
    }

    /// A setting that cannot be used: the plugin cannot run until a person changes it.
    pub fn setting(detail: impl Into<String>) -> Self {
        Self::of(Cause::Setting, detail, true)
    }

    /// The device answered, and not as it should.
    pub fn device(detail: impl Into<String>) -> Self {
        Self::of(Cause::DeviceAnswer, detail, false)
    }

    pub fn silent(detail: impl Into<String>) -> Self {
        Self::of(Cause::DeviceSilent, detail, false)
    }

    /// A fault of the plugin's own that it can go on from.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::of(Cause::Internal, detail, false)
    }
}
