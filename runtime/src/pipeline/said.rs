//! What one call said, read and judged as a whole before anything of it counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use wardgate_wire as wire;

use crate::config::{Report, Terms};
use crate::contract::{Said, types};

use super::report::{self, Sent};
use super::{convert, open};

/// One thing that cannot be divided over batches. Small beside what the wire unpacks at most and the rows it takes, so that no call can make a batch that the
/// wire refuses: that would stop the whole gateway.
pub(super) const INDIVISIBLE_BYTES_MAX: usize = 256 << 10;

/// What a channel means since its latest `describe`.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub meaning: Arc<Meaning>,
    /// Personal, and not granted: what it says is counted and goes no further.
    pub withheld: bool,
    /// Waveforms: the plugin's index that comes next if nothing is lost.
    pub expected: u64,
    /// Waveforms: what the latest `missed` said about the next jump.
    pub jump: Option<wire::GapReason>,
    /// What of it is sent, where that is not everything; and what was sent last.
    pub report: Option<Report>,
    pub sent: Option<Sent>,
    /// It is the pipeline's own, made of another.
    pub preview: bool,
}

#[derive(Debug)]
pub(super) struct Meaning {
    pub digest: wire::Digest,
    pub description: wire::Description,
}

impl Channel {
    fn kind(&self) -> wire::Kind {
        self.meaning.description.kind
    }
}

/// One thing that was said, in the wire's model, known to be in order.
#[derive(Debug)]
pub(super) enum Step {
    Describe { channel: u16, means: Channel },
    Identify(Vec<wire::Fact>),
    Observation { at: wire::DeviceTime, readings: Vec<(u16, wire::Value, u16)> },
    Block { channel: u16, first: u64, at: wire::DeviceTime, counts: Vec<i32>, quality: u16 },
    Missed { channel: u16, count: Option<u64>, reason: wire::GapReason },
    Raise(wire::Alert),
    Keep(Vec<u8>),
    WhenDurable(types::Tag),
}

/// What a plugin said that it may not say. The whole call counts as a fault of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SaidWrong {
    #[error("spoke on channel {channel}, which it has not described since `open`; describe each channel before its first use")]
    Undescribed { channel: u16 },
    #[error("emitted a {said} on channel {channel} \"{name}\", which it described as {kind}; emit what was described, or describe again")]
    Kind { channel: u16, name: String, kind: &'static str, said: &'static str },
    #[error("described channel {channel} \"{name}\" as {kind} {problem}")]
    Shape { channel: u16, name: String, kind: &'static str, problem: &'static str },
    #[error(
        "emitted samples {first}.. on channel {channel} \"{name}\", where {expected} or more must follow; indices only go up until `describe`"
    )]
    Backward { channel: u16, name: String, first: u64, expected: u64 },
    #[error("said one thing of about {bytes} bytes ({what}), where {limit} is the most; say it in smaller pieces")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("emitted samples {first}.. on channel {channel} \"{name}\", beyond the largest index there is")]
    Beyond { channel: u16, name: String, first: u64 },
}

/// Reads a call against the channels as they stand; nothing is changed, so that a call counts as a whole or not at all.
pub(super) fn judge(said: Vec<Said>, channels: &BTreeMap<u16, Channel>, terms: &Terms) -> Result<Vec<Step>, SaidWrong> {
    let mut call = Call { channels, changed: BTreeMap::new(), terms, steps: Vec::with_capacity(said.len()) };
    for one in said {
        call.read(one)?;
    }
    Ok(call.steps)
}

struct Call<'a> {
    channels: &'a BTreeMap<u16, Channel>,
    /// As the channels stand at this point of the call.
    changed: BTreeMap<u16, Channel>,
    terms: &'a Terms,
    steps: Vec<Step>,
}

impl Call<'_> {
    fn channel(&self, channel: u16) -> Result<&Channel, SaidWrong> {
        self.changed.get(&channel).or_else(|| self.channels.get(&channel)).ok_or(SaidWrong::Undescribed { channel })
    }

    fn read(&mut self, said: Said) -> Result<(), SaidWrong> {
        match said {
            Said::Describe(channel, description) => self.describe(channel, convert::description(description, self.terms.derived))?,
            Said::Identify(facts) => {
                let facts = convert::facts(facts);
                bounded("facts about the device", open::facts_bytes(&facts))?;
                self.steps.push(Step::Identify(facts));
            }
            Said::Emit(observations) => observations.into_iter().try_for_each(|o| self.observation(o))?,
            Said::EmitWaveform(blocks) => blocks.into_iter().try_for_each(|b| self.block(b))?,
            Said::Missed(channel, count, because) => {
                self.channel(channel)?;
                if count != Some(0) {
                    self.steps.push(Step::Missed { channel, count, reason: convert::missing(because) });
                }
            }
            // an alert that names an undescribed channel goes out as it stands: an alarm is worth more than its label
            Said::Raise(alert) => {
                let alert = convert::alert(alert);
                bounded("an alert", open::alert_bytes(&alert))?;
                self.steps.push(Step::Raise(alert));
            }
            Said::Keep(state) => self.steps.push(Step::Keep(state)),
            Said::WhenDurable(tag) => self.steps.push(Step::WhenDurable(tag)),
            // timers, health, answers and what goes to the device are the plugin room's
            Said::SetTimer(..) | Said::CancelTimer(..) | Said::Report(..) | Said::Answer(..) => {}
            Said::ModbusSubmit(..) | Said::ModbusCancel(..) | Said::SerialWrite(..) => {}
            Said::BleRead(..) | Said::BleWrite(..) | Said::BleSubscribe(..) | Said::BleUnsubscribe(..) => {}
        }
        Ok(())
    }

    fn describe(&mut self, channel: u16, mut description: wire::Description) -> Result<(), SaidWrong> {
        let problem = match (description.kind, &description.shape) {
            (wire::Kind::Waveform, None) => Some("without a shape"),
            (wire::Kind::Waveform, Some(s)) if s.period_numerator == 0 || s.period_denominator == 0 => Some("with a period of 0"),
            (wire::Kind::Waveform, _) | (_, None) => None,
            (_, Some(_)) => Some("with the shape of a waveform"),
        };
        if let Some(problem) = problem {
            return Err(SaidWrong::Shape { channel, name: description.name, kind: description.kind.name(), problem });
        }
        bounded("a description", open::description_bytes(&description))?;
        let report = self
            .terms
            .reports
            .get(&description.name)
            .filter(|rule| rule.suits(description.kind == wire::Kind::Numeric, description.kind == wire::Kind::Waveform))
            .cloned();
        if let Some(Report::OnChange { dead_band, heartbeat_s }) = &report {
            description.facts.push(wire::Fact { name: report::FACT.into(), value: report::in_words(*dead_band, *heartbeat_s) });
        }
        let withheld = self.terms.withholds(description.personal);
        let meaning = Arc::new(Meaning { digest: wire::description_digest(&description), description });
        let means = Channel { meaning, withheld, expected: 0, jump: None, report, sent: None, preview: false };
        self.changed.insert(channel, means.clone());
        self.steps.push(Step::Describe { channel, means });
        Ok(())
    }

    fn observation(&mut self, said: types::Observation) -> Result<(), SaidWrong> {
        let mut readings = Vec::with_capacity(said.readings.len());
        for reading in said.readings {
            let channel = self.channel(reading.channel)?;
            let said = match (&reading.value, channel.kind()) {
                (_, wire::Kind::Waveform) => Some("reading"),
                (types::Value::Absent(_), _) => None,
                (types::Value::Number(_), kind) => (kind != wire::Kind::Numeric).then_some("number"),
                (types::Value::Code(_), kind) => (kind != wire::Kind::Enumeration).then_some("code"),
                (types::Value::Bits(_), kind) => (kind != wire::Kind::Bits).then_some("set of bits"),
                (types::Value::Text(_), kind) => (kind != wire::Kind::Text).then_some("text"),
                (types::Value::Octets(_), kind) => (kind != wire::Kind::Octets).then_some("list of octets"),
            };
            if let Some(said) = said {
                return Err(wrong_kind(reading.channel, channel, said));
            }
            readings.push((reading.channel, convert::value(reading.value), convert::quality(reading.quality)));
        }
        bounded("an observation", readings.iter().map(|(_, value, _)| open::reading_bytes(value)).sum())?;
        if !readings.is_empty() {
            self.steps.push(Step::Observation { at: convert::device_time(said.at), readings });
        }
        Ok(())
    }

    fn block(&mut self, said: types::Waveform) -> Result<(), SaidWrong> {
        let (number, first) = (said.channel, said.first);
        let channel = self.channel(number)?;
        if channel.kind() != wire::Kind::Waveform {
            return Err(wrong_kind(number, channel, "waveform"));
        }
        let name = || channel.meaning.description.name.clone();
        if first < channel.expected {
            return Err(SaidWrong::Backward { channel: number, name: name(), first, expected: channel.expected });
        }
        let expected = first.checked_add(said.counts.len() as u64);
        let expected = expected.ok_or_else(|| SaidWrong::Beyond { channel: number, name: name(), first })?;
        if said.counts.is_empty() {
            return Ok(()); // says nothing: a jump shows with the samples after it
        }
        bounded("a block of samples", open::samples_bytes(said.counts.len()))?;
        let moved = Channel { expected, ..channel.clone() };
        self.changed.insert(number, moved);
        self.steps.push(Step::Block {
            channel: number,
            first,
            at: convert::device_time(said.at),
            counts: said.counts,
            quality: convert::quality(said.quality),
        });
        Ok(())
    }
}

fn wrong_kind(number: u16, channel: &Channel, said: &'static str) -> SaidWrong {
    SaidWrong::Kind { channel: number, name: channel.meaning.description.name.clone(), kind: channel.kind().name(), said }
}

fn bounded(what: &'static str, bytes: usize) -> Result<(), SaidWrong> {
    let limit = INDIVISIBLE_BYTES_MAX;
    if bytes > limit { Err(SaidWrong::TooLarge { what, bytes, limit }) } else { Ok(()) }
}
