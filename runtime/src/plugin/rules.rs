//! What a plugin may say: pure, looked at right after each call and before anything of it takes effect. A call that breaks a rule
//! counts as a trap.

use std::collections::BTreeMap;

use crate::config::{ChannelBounds, Manifest};
use crate::contract::types::{Channel, Description, Kind, Observation, Value, Waveform};
use crate::contract::{CHANNELS_MAX, Held, Said, printable};

const CHANNEL_NAME_BYTES_MAX: usize = 64; // it becomes a file's name in the cloud and a line on a screen
const THING_BYTES_MAX: usize = 64 << 10; // one observation, block, alert ...: a quarter of what the pipeline takes as indivisible
const REPORT_BYTES_MAX: usize = 1024; // a line in the status, not a dump

pub const TIMERS_MAX: usize = 64; // a poller has one for each group of registers, and one for silence
pub const DURABLE_WAITING_MAX: usize = 64; // a device has a few stored records on the way, not hundreds

/// Which rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Breach {
    #[error("spoke on channel {0} without describing it since it was opened; describe each channel before its first use")]
    Undescribed(Channel),
    #[error("described channel {channel}; a plugin numbers its channels from 0 to {}", CHANNELS_MAX - 1)]
    Number { channel: Channel },
    #[error("said {said} on channel {channel}, which it described as {described}; describe the channel anew, or emit what it says")]
    Kind { channel: Channel, described: &'static str, said: &'static str },
    #[error("described more than {max} channels of kind {kind}, which is what its manifest asks for (manifest: channels.{kind})")]
    Channels { kind: &'static str, max: u64 },
    #[error(
        "described channel {channel} as \"{name}\"; a name is 1 to {CHANNEL_NAME_BYTES_MAX} bytes without control characters and \"/\", and no other channel has it"
    )]
    Name { channel: Channel, name: String },
    #[error("said {what} with control characters in it, \"{text}\"; a text that people read has none")]
    Text { what: &'static str, text: String },
    #[error("described channel {channel} {what}")]
    Shape { channel: Channel, what: &'static str },
    #[error("emitted samples from {first} on channel {channel}, where {next} or more must follow; indices go up until the next describe")]
    Backward { channel: Channel, first: u64, next: u64 },
    #[error("said {what} of {bytes} bytes, {max} are the most; say it in smaller pieces")]
    Large { what: &'static str, bytes: usize, max: usize },
    #[error("kept a state of {bytes} bytes, {max} are allowed (manifest: limits.state_bytes)")]
    State { bytes: usize, max: u64 },
    #[error("has more than {TIMERS_MAX} timers open")]
    Timers,
    #[error("waits for more than {DURABLE_WAITING_MAX} answers to when-durable")]
    Durable,
    #[error(
        "raises more than {a_s} alerts a second beyond what it saved up in {saved_s} s; raise an alert when it begins, changes or ends"
    )]
    Alerts { a_s: u64, saved_s: u64 },
    #[error(
        "says more than {kib_s} KiB a second, its log lines included, beyond what it saved up in {saved_s} s (manifest: limits.said_kib_s); \
         say less, or less often"
    )]
    Flood { kib_s: u64, saved_s: u64 },
}

#[derive(Clone, Debug)]
struct Described {
    kind: Kind,
    name: String,
    /// Waveforms: the index that comes next if nothing is lost.
    next: u64,
}

/// The channels of one open instance, and the bounds of its manifest.
#[derive(Clone, Debug)]
pub struct Rules {
    bounds: ChannelBounds,
    state_bytes_max: u64,
    channels: BTreeMap<Channel, Described>,
}

impl Rules {
    pub fn new(manifest: &Manifest) -> Self {
        Self { bounds: manifest.channels, state_bytes_max: manifest.limits.state_bytes, channels: BTreeMap::new() }
    }

    /// After a breach the instance is spent, and these rules with it.
    pub fn check(&mut self, said: &[Said]) -> Result<(), Breach> {
        said.iter().try_for_each(|one| self.one(one))
    }

    fn one(&mut self, said: &Said) -> Result<(), Breach> {
        match said {
            Said::Describe(channel, meaning) => self.describe(*channel, meaning),
            Said::Emit(observations) => observations.iter().try_for_each(|o| self.observation(o)),
            Said::EmitWaveform(blocks) => blocks.iter().try_for_each(|b| self.block(b)),
            Said::Missed(channel, ..) => self.described(*channel).map(drop),
            // An alarm is worth more than its label: a channel that nobody described does not hold it up.
            Said::Raise(alert) => small("an alert", alert.held_bytes()),
            Said::Identify(facts) => {
                small("facts about the device", facts.held_bytes())?;
                legible("facts about the device", facts.iter().flat_map(|f| [&f.name, &f.value]))
            }
            Said::Report(_, detail) => bounded("a health report", detail.len(), REPORT_BYTES_MAX),
            Said::Keep(state) if state.len() as u64 > self.state_bytes_max => {
                Err(Breach::State { bytes: state.len(), max: self.state_bytes_max })
            }
            Said::Keep(_) | Said::WhenDurable(_) | Said::SetTimer(..) | Said::CancelTimer(_) | Said::Answer(..) => Ok(()),
            // What goes to a device is its link's to judge: it answers each refusal.
            Said::ModbusSubmit(..) | Said::ModbusCancel(_) | Said::SerialWrite(..) => Ok(()),
            Said::BleRead(..) | Said::BleWrite(..) | Said::BleSubscribe(..) | Said::BleUnsubscribe(..) => Ok(()),
        }
    }

    fn described(&mut self, channel: Channel) -> Result<&mut Described, Breach> {
        self.channels.get_mut(&channel).ok_or(Breach::Undescribed(channel))
    }

    fn describe(&mut self, channel: Channel, meaning: &Description) -> Result<(), Breach> {
        small("a description", meaning.held_bytes())?;
        legible("a description", meaning.facts.iter().flat_map(|f| [&f.name, &f.value]).chain([&meaning.unit]))?;
        if channel >= CHANNELS_MAX {
            return Err(Breach::Number { channel });
        }
        let name = &meaning.name;
        let taken = || self.channels.iter().any(|(other, d)| *other != channel && d.name == *name);
        let plain = printable(name, CHANNEL_NAME_BYTES_MAX) == *name && !name.contains('/') && !matches!(name.as_str(), "" | "." | "..");
        if !plain || taken() {
            return Err(Breach::Name { channel, name: printable(name, CHANNEL_NAME_BYTES_MAX) });
        }
        match (meaning.kind, &meaning.shape) {
            (Kind::Waveform, None) => return Err(Breach::Shape { channel, what: "as waveform without its shape" }),
            (Kind::Waveform, Some(s)) if s.period_numerator == 0 || s.period_denominator == 0 => {
                return Err(Breach::Shape { channel, what: "as waveform with a period of 0" });
            }
            (Kind::Waveform, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(Breach::Shape { channel, what: "with the shape of a waveform, which it is not" }),
        }
        self.channels.insert(channel, Described { kind: meaning.kind, name: name.clone(), next: 0 });
        let (kind, max) = (kind_name(meaning.kind), self.bound(meaning.kind));
        let described = self.channels.values().filter(|d| d.kind == meaning.kind).count() as u64;
        if described > max { Err(Breach::Channels { kind, max }) } else { Ok(()) }
    }

    fn bound(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Numeric => self.bounds.numeric,
            Kind::Enumeration => self.bounds.enumeration,
            Kind::Bits => self.bounds.bits,
            Kind::Text => self.bounds.text,
            Kind::Octets => self.bounds.octets,
            Kind::Waveform => self.bounds.waveform,
        }
    }

    fn observation(&mut self, observation: &Observation) -> Result<(), Breach> {
        small("an observation", observation.held_bytes())?;
        observation.readings.iter().try_for_each(|reading| {
            let described = self.described(reading.channel)?.kind;
            let fits = match &reading.value {
                Value::Absent(_) => described != Kind::Waveform,
                Value::Number(_) => described == Kind::Numeric,
                Value::Code(_) => described == Kind::Enumeration,
                Value::Bits(_) => described == Kind::Bits,
                Value::Text(_) => described == Kind::Text,
                Value::Octets(_) => described == Kind::Octets,
            };
            let breach = || Breach::Kind { channel: reading.channel, described: kind_name(described), said: value_name(&reading.value) };
            if fits { Ok(()) } else { Err(breach()) }
        })
    }

    fn block(&mut self, block: &Waveform) -> Result<(), Breach> {
        small("a block of samples", block.held_bytes())?;
        let (channel, first) = (block.channel, block.first);
        let described = self.described(channel)?;
        if described.kind != Kind::Waveform {
            return Err(Breach::Kind { channel, described: kind_name(described.kind), said: "samples" });
        }
        let after = first.checked_add(block.counts.len() as u64).filter(|_| first >= described.next);
        described.next = after.ok_or(Breach::Backward { channel, first, next: described.next })?;
        Ok(())
    }
}

/// Whoever decides on what a device says reads it on a terminal.
fn legible<'a>(what: &'static str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), Breach> {
    match texts.into_iter().find(|text| text.chars().any(char::is_control)) {
        Some(text) => Err(Breach::Text { what, text: printable(text, CHANNEL_NAME_BYTES_MAX) }),
        None => Ok(()),
    }
}

fn small(what: &'static str, bytes: usize) -> Result<(), Breach> {
    bounded(what, bytes, THING_BYTES_MAX)
}

fn bounded(what: &'static str, bytes: usize, max: usize) -> Result<(), Breach> {
    if bytes > max { Err(Breach::Large { what, bytes, max }) } else { Ok(()) }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Numeric => "numeric",
        Kind::Enumeration => "enumeration",
        Kind::Bits => "bits",
        Kind::Text => "text",
        Kind::Octets => "octets",
        Kind::Waveform => "waveform",
    }
}

fn value_name(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "a number",
        Value::Absent(_) => "an absent reading",
        Value::Code(_) => "a code",
        Value::Bits(_) => "bits",
        Value::Text(_) => "text",
        Value::Octets(_) => "octets",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::types::{Absence, Decimal, DeviceTime, Missing, Quality, Reading, WaveformShape};

    fn rules() -> Rules {
        let manifest = "name = \"x\"\nversion = \"1.0.0\"\nlinks = []\n[channels]\nnumeric = 2\nwaveform = 1\n[limits]\nstate_bytes = 8\n";
        Rules::new(&Manifest::parse(manifest).unwrap())
    }

    fn meaning(name: &str, kind: Kind) -> Description {
        let one = Decimal { mantissa: 1, exponent: 0 };
        let shape = WaveformShape { scale: one, offset: one, period_numerator: 1, period_denominator: 200, bits: 12 };
        let shape = (kind == Kind::Waveform).then_some(shape);
        Description { name: name.into(), kind, code: None, unit: String::new(), shape, personal: false, facts: vec![] }
    }

    fn describe(channel: Channel, name: &str, kind: Kind) -> Said {
        Said::Describe(channel, meaning(name, kind))
    }

    fn fact(name: &str, value: &str) -> crate::contract::types::Fact {
        crate::contract::types::Fact { name: name.into(), value: value.into() }
    }

    fn emit(channel: Channel, value: Value) -> Said {
        Said::Emit(vec![Observation { at: DeviceTime::NotTold, readings: vec![Reading { channel, value, quality: Quality::empty() }] }])
    }

    fn block(channel: Channel, first: u64, count: usize) -> Said {
        Said::EmitWaveform(vec![Waveform { channel, first, at: DeviceTime::NotTold, counts: vec![0; count], quality: Quality::empty() }])
    }

    fn number() -> Value {
        Value::Number(Decimal { mantissa: 1, exponent: 0 })
    }

    #[test]
    fn what_is_in_order_passes() {
        let said = [
            describe(0, "hr", Kind::Numeric),
            describe(1, "ecg", Kind::Waveform),
            emit(0, number()),
            emit(0, Value::Absent(Absence::SensorOff)),
            block(1, 0, 10),
            block(1, 10, 10),
            Said::Missed(1, Some(5), Missing::Overrun),
            block(1, 25, 1),
            describe(1, "ecg", Kind::Waveform), // indices start anew
            block(1, 0, 1),
            Said::Keep(vec![0; 8]),
        ];
        let mut together = rules();
        assert_eq!(together.check(&said), Ok(()));
        let mut apart = rules();
        assert!(said.iter().all(|one| apart.check(std::slice::from_ref(one)).is_ok()), "over calls the channels stay");
    }

    #[test]
    fn each_breach_is_named() {
        let hr = || describe(0, "hr", Kind::Numeric);
        let ecg = || describe(1, "ecg", Kind::Waveform);
        let shapeless = Said::Describe(1, Description { shape: None, ..meaning("ecg", Kind::Waveform) });
        let shaped = Said::Describe(1, Description { shape: meaning("", Kind::Waveform).shape, ..meaning("hr", Kind::Numeric) });
        let cases: Vec<(Vec<Said>, &str)> = vec![
            (vec![emit(7, number())], "channel 7 without describing"),
            (vec![Said::Missed(7, None, Missing::Unknown)], "channel 7 without describing"),
            (vec![hr(), emit(0, Value::Text("x".into()))], "said text on channel 0, which it described as numeric"),
            (vec![ecg(), emit(1, Value::Absent(Absence::Unknown))], "said an absent reading on channel 1"),
            (vec![hr(), block(0, 0, 1)], "said samples on channel 0"),
            (vec![hr(), describe(1, "b", Kind::Numeric), describe(2, "c", Kind::Numeric)], "more than 2 channels of kind numeric"),
            (vec![describe(4096, "hr", Kind::Numeric)], "from 0 to 4095"),
            (vec![describe(0, "x", Kind::Text)], "more than 0 channels of kind text"),
            (vec![hr(), describe(1, "hr", Kind::Numeric)], "no other channel has it"),
            (vec![describe(0, "../etc", Kind::Numeric)], "\"../etc\""),
            (vec![describe(0, "a\nb", Kind::Numeric)], "a\\nb"),
            (vec![Said::Identify(vec![fact("serial", "A\u{1b}[2J")])], "control characters in it, \"A\\u{1b}[2J\""),
            (vec![Said::Identify(vec![fact("a\nb", "")])], "said facts about the device with control characters"),
            (
                vec![Said::Describe(0, Description { facts: vec![fact("site", "\u{7}")], ..meaning("hr", Kind::Numeric) })],
                "said a description with",
            ),
            (vec![Said::Describe(0, Description { unit: "\u{9b}31m".into(), ..meaning("hr", Kind::Numeric) })], "said a description with"),
            (vec![describe(0, "", Kind::Numeric)], "1 to 64 bytes"),
            (vec![describe(0, &"n".repeat(65), Kind::Numeric)], "1 to 64 bytes"),
            (vec![shapeless], "without its shape"),
            (vec![shaped], "which it is not"),
            (vec![ecg(), block(1, 0, 10), block(1, 9, 1)], "where 10 or more must follow"),
            (vec![ecg(), block(1, u64::MAX, 1)], "where 0 or more"),
            (vec![ecg(), block(1, 0, 16 << 10 | 1)], "said a block of samples of 65540 bytes"),
            (vec![Said::Keep(vec![0; 9])], "kept a state of 9 bytes, 8 are allowed"),
            (vec![Said::Report(crate::contract::types::Health::Failed, "x".repeat(1025))], "a health report of 1025 bytes"),
        ];
        for (said, says) in cases {
            let breach = rules().check(&said).expect_err(says).to_string();
            assert!(breach.contains(says), "{breach} / {says}");
        }
    }

    #[test]
    fn a_channel_may_change_its_kind_within_the_bounds() {
        let mut r = rules();
        assert_eq!(r.check(&[describe(0, "a", Kind::Waveform), describe(0, "a", Kind::Numeric), describe(1, "b", Kind::Waveform)]), Ok(()));
    }
}
