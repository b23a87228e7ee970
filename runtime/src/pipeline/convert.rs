//! From the contract's records to the wire's model: the same values, without loss.

use wardgate_wire as wire;

use crate::contract::types;

pub(super) fn moment(m: types::Moment) -> wire::Moment {
    wire::Moment { boot: m.boot, monotonic_ns: m.monotonic_ns }
}

pub(super) fn device_time(at: types::DeviceTime) -> wire::DeviceTime {
    match at {
        types::DeviceTime::NotTold => wire::DeviceTime::NotTold,
        types::DeviceTime::Utc(ns) => wire::DeviceTime::Utc(ns),
        types::DeviceTime::Local(ns) => wire::DeviceTime::Local(ns),
        types::DeviceTime::Counter(ns) => wire::DeviceTime::Counter(ns),
    }
}

fn decimal(d: types::Decimal) -> wire::Decimal {
    wire::Decimal { mantissa: d.mantissa, exponent: d.exponent }
}

pub(super) fn value(value: types::Value) -> wire::Value {
    match value {
        types::Value::Number(d) => wire::Value::Number(decimal(d)),
        types::Value::Absent(a) => wire::Value::Absent(absence(a)),
        types::Value::Code(c) => wire::Value::Code(c),
        types::Value::Bits(b) => wire::Value::Bits(b),
        types::Value::Text(t) => wire::Value::Text(t),
        types::Value::Octets(o) => wire::Value::Octets(o),
    }
}

fn absence(a: types::Absence) -> wire::Absence {
    match a {
        types::Absence::NotMeasured => wire::Absence::NotMeasured,
        types::Absence::NotAtThisResolution => wire::Absence::NotAtThisResolution,
        types::Absence::OverRange => wire::Absence::OverRange,
        types::Absence::UnderRange => wire::Absence::UnderRange,
        types::Absence::SensorOff => wire::Absence::SensorOff,
        types::Absence::SensorFault => wire::Absence::SensorFault,
        types::Absence::DeviceError => wire::Absence::DeviceError,
        types::Absence::Stale => wire::Absence::Stale,
        types::Absence::ClockFault => wire::Absence::ClockFault,
        types::Absence::NotConfigured => wire::Absence::NotConfigured,
        types::Absence::Unknown => wire::Absence::Unknown,
    }
}

/// First flag of the contract = bit 0, as the wire has it.
pub(super) fn quality(q: types::Quality) -> u16 {
    q.as_array()[0] as u16
}

fn coding(c: types::Coding) -> wire::Coding {
    wire::Coding { scheme: c.scheme, value: c.value }
}

pub(super) fn alert(a: types::Alert) -> wire::Alert {
    wire::Alert {
        id: a.id,
        at: device_time(a.at),
        channel: a.channel,
        priority: match a.priority {
            types::Priority::High => wire::Priority::High,
            types::Priority::Medium => wire::Priority::Medium,
            types::Priority::Low => wire::Priority::Low,
            types::Priority::Information => wire::Priority::Information,
        },
        concern: match a.concern {
            types::Concern::Physiological => wire::Concern::Physiological,
            types::Concern::Technical => wire::Concern::Technical,
        },
        state: match a.state {
            types::AlertState::Active => wire::AlertState::Active,
            types::AlertState::Latched => wire::AlertState::Latched,
            types::AlertState::Acknowledged => wire::AlertState::Acknowledged,
            types::AlertState::AudioPaused => wire::AlertState::AudioPaused,
            types::AlertState::Inactive => wire::AlertState::Inactive,
        },
        code: a.code.map(coding),
        low: a.low.map(decimal),
        high: a.high.map(decimal),
        text: a.text,
    }
}

pub(super) fn facts(facts: Vec<types::Fact>) -> Vec<wire::Fact> {
    facts.into_iter().map(|f| wire::Fact { name: f.name, value: f.value }).collect()
}

/// `derived`: what an adapter says, its device said; what a filter says, it reckoned.
pub(super) fn description(d: types::Description, derived: bool) -> wire::Description {
    wire::Description {
        name: d.name,
        kind: match d.kind {
            types::Kind::Numeric => wire::Kind::Numeric,
            types::Kind::Enumeration => wire::Kind::Enumeration,
            types::Kind::Bits => wire::Kind::Bits,
            types::Kind::Text => wire::Kind::Text,
            types::Kind::Octets => wire::Kind::Octets,
            types::Kind::Waveform => wire::Kind::Waveform,
        },
        code: d.code.map(coding),
        unit: d.unit,
        shape: d.shape.map(|s| wire::WaveformShape {
            scale: decimal(s.scale),
            offset: decimal(s.offset),
            period_numerator: s.period_numerator,
            period_denominator: s.period_denominator,
            bits: s.bits,
        }),
        personal: d.personal,
        derived,
        facts: facts(d.facts),
    }
}

pub(super) fn missing(because: types::Missing) -> wire::GapReason {
    match because {
        types::Missing::DeviceOff => wire::GapReason::DeviceOff,
        types::Missing::NotSent => wire::GapReason::DeviceSkipped,
        types::Missing::Corrupted => wire::GapReason::LineFault,
        types::Missing::Overrun => wire::GapReason::GatewayOverrun, // the port's own buffer: still on this side of the line
        types::Missing::Unknown => wire::GapReason::Unknown,
    }
}
