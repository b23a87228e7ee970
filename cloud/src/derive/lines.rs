//! The JSON lines themselves: what a batch and a gap look like to people and to other programs. Pure; the field names are a promise.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use wardgate_wire::{Alert, Batch, Coding, Content, Decimal, Description, DeviceTime, GapReason, Moment, Raw, Source, Value, read_raw};

use super::meaning::Meanings;
use super::{names, paths};
use crate::ledger::Lost;
use crate::time::rfc3339;

/// What is to be appended, by path under the output folder.
pub type Lines = BTreeMap<String, Vec<u8>>;

/// Counted while lines are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Numeric readings, absent ones included.
    pub values: u64,
    pub samples: u64,
    pub alerts: u64,
    /// Lines of gaps.jsonl.
    pub gaps: u64,
    /// Of them, those that nothing explains.
    pub unexplained: u64,
    /// Bytes of lines: what the same data is as JSON.
    pub json_bytes: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.samples += other.samples;
        self.alerts += other.alerts;
        self.gaps += other.gaps;
        self.unexplained += other.unexplained;
        self.json_bytes += other.json_bytes;
    }
}

/// Everything that a line is made with.
pub struct Maker<'a> {
    pub gateway: &'a str,
    pub meanings: &'a Meanings,
    pub out: Lines,
    pub tally: Tally,
}

/// What every line of a value begins with.
#[derive(Serialize)]
struct Head<'a> {
    batch: &'a str,
    gateway: &'a str,
    instance: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
    run: u32,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    observation: Option<u64>,
    time: Option<String>,
    boot: String,
    monotonic_ns: u64,
    device_time: Option<Told>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
    /// Reckoned by a filter from what devices said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    derived: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    Utc(String),
    Local(String),
    Counter(u64),
}

#[derive(Serialize)]
struct Numeric<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    #[serde(flatten)]
    value: Shown<'a>,
    unit: &'a str,
    quality: Vec<&'static str>,
}

#[derive(Serialize)]
struct Waveform<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    first: u64,
    counts: &'a [i32],
    scale: Option<(i64, i8)>,
    offset: Option<(i64, i8)>,
    period: Option<(u32, u32)>,
    unit: &'a str,
    quality: Vec<&'static str>,
}

#[derive(Serialize)]
struct AlertLine<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    id: u32,
    state: &'static str,
    priority: &'static str,
    concern: &'static str,
    text: &'a str,
    code: Option<String>,
    low: Option<(i64, i8)>,
    high: Option<(i64, i8)>,
    alert_channel: Option<String>,
}

#[derive(Serialize)]
struct RawLine<'a> {
    batch: &'a str,
    gateway: &'a str,
    instance: &'a str,
    time: Option<String>,
    boot: String,
    monotonic_ns: u64,
    /// By the gateway, to the device.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sent: bool,
    raw: String,
}

#[derive(Serialize)]
struct GapLine<'a> {
    gateway: &'a str,
    instance: &'a str,
    channel: String,
    number: Option<u16>,
    life: String,
    run: u32,
    first: u64,
    indices: u64,
    values: Option<u64>,
    from_boot: Option<String>,
    from_monotonic_ns: Option<u64>,
    from: Option<String>,
    to_boot: String,
    to_monotonic_ns: u64,
    to: Option<String>,
    reason: &'static str,
    batch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
}

#[derive(Serialize)]
struct Before {
    life: String,
    run: u32,
    next: u64,
}

struct Shown<'a>(&'a Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        match self.0 {
            Value::Number(Decimal { mantissa, exponent }) => {
                map.serialize_entry("mantissa", mantissa)?;
                map.serialize_entry("exponent", exponent)?;
            }
            Value::Absent(why) => map.serialize_entry("absent", why.name())?,
            Value::Code(code) => map.serialize_entry("code", code)?,
            Value::Bits(bits) => map.serialize_entry("bits", bits)?,
            Value::Text(text) => map.serialize_entry("text", text)?,
            Value::Octets(octets) => map.serialize_entry("octets", &hex(octets))?,
        }
        map.end()
    }
}

impl<'a> Maker<'a> {
    pub fn new(gateway: &'a str, meanings: &'a Meanings) -> Self {
        Self { gateway, meanings, out: Lines::new(), tally: Tally::default() }
    }

    pub fn put(&mut self, path: String, line: &impl Serialize) {
        let file = self.out.entry(path).or_default();
        let before = file.len();
        serde_json::to_writer(&mut *file, line).expect("lines have text keys, and memory takes all");
        file.push(b'\n');
        self.tally.json_bytes += (file.len() - before) as u64;
    }

    /// Every line of a batch. Ledger batches are written record by record; their gaps come by `lost`.
    pub fn batch(&mut self, batch: &Batch) {
        let identity = batch.header.key.to_string();
        let life = batch.header.key.life;
        match &batch.content {
            Content::Numerics(instances) => self.numerics(&identity, life, instances),
            Content::Waveforms(tracks) => tracks.iter().for_each(|t| self.waveform(&identity, life, t)),
            Content::Alerts(instances) => {
                for i in instances {
                    i.alerts.iter().for_each(|a| self.alert(&identity, life, i, a));
                }
            }
            Content::Ledger(entries) => entries.iter().for_each(|e| super::records::record(self, &identity, life, e)),
            // another inside than a gateway writes stays in the raw log
            Content::Archive(bytes) => read_raw(bytes).unwrap_or_default().iter().for_each(|r| self.raw(&identity, r)),
        }
    }

    fn head<'h>(&self, batch: &'h str, instance: &'h str, channel: &'h str, run: u32, index: u64, moment: Moment) -> Head<'h>
    where
        'a: 'h,
    {
        Head {
            batch,
            gateway: self.gateway,
            instance,
            channel,
            number: None,
            run,
            index,
            observation: None,
            time: self.meanings.wall_ns(moment).map(rfc3339),
            boot: boot(moment),
            monotonic_ns: moment.monotonic_ns,
            device_time: None,
            late: false,
            derived: false,
        }
    }

    fn described(&self, life: u64, instance: &str, channel: u16, run: u32) -> Option<Arc<Description>> {
        let stream = wardgate_wire::Stream { instance: instance.to_owned(), source: Source::Channel(channel) };
        self.meanings.description(life, &stream, run).cloned()
    }

    fn numerics(&mut self, identity: &str, life: u64, instances: &[wardgate_wire::InstanceNumerics]) {
        let mut k = 0;
        for i in instances {
            // one look-up a channel, not one a reading
            let mut known: BTreeMap<(u16, u32), (String, String, bool)> = BTreeMap::new();
            for o in &i.observations {
                let wall = self.meanings.wall_ns(o.moment);
                for r in &o.readings {
                    let (channel, unit, derived) = known
                        .entry((r.channel, r.run))
                        .or_insert_with(|| {
                            let d = self.described(life, &i.instance, r.channel, r.run);
                            d.map_or_else(
                                || (number_name(r.channel), String::new(), false),
                                |d| (d.name.clone(), d.unit.clone(), d.derived),
                            )
                        })
                        .clone();
                    let path = paths::stream(self.gateway, &i.instance, &paths::channel(&channel), wall);
                    let mut head = self.head(identity, &i.instance, &channel, r.run, r.index, o.moment);
                    (head.number, head.observation, head.device_time) = (Some(r.channel), Some(k), told(o.at));
                    (head.late, head.derived) = (i.late, derived);
                    self.put(path, &Numeric { head, value: Shown(&r.value), unit: &unit, quality: names::quality(r.quality) });
                    self.tally.values += 1;
                }
                k += 1;
            }
        }
    }

    fn waveform(&mut self, identity: &str, life: u64, t: &wardgate_wire::WaveformTrack) {
        let description = self.described(life, &t.instance, t.channel, t.run);
        let (channel, unit) = description.as_ref().map_or((number_name(t.channel), ""), |d| (d.name.clone(), d.unit.as_str()));
        let shape = description.as_ref().and_then(|d| d.shape);
        let (mut left, mut first) = (t.counts.as_slice(), t.first);
        for piece in &t.pieces {
            let (counts, rest) = left.split_at(left.len().min(piece.count as usize));
            left = rest;
            let path = paths::stream(self.gateway, &t.instance, &paths::channel(&channel), self.meanings.wall_ns(piece.moment));
            let mut head = self.head(identity, &t.instance, &channel, t.run, first, piece.moment);
            (head.number, head.device_time, head.late) = (Some(t.channel), told(piece.at), t.late);
            head.derived = description.as_ref().is_some_and(|d| d.derived);
            let line = Waveform {
                head,
                first,
                counts,
                scale: shape.map(|s| pair(s.scale)),
                offset: shape.map(|s| pair(s.offset)),
                period: shape.map(|s| (s.period_numerator, s.period_denominator)),
                unit,
                quality: names::quality(piece.quality),
            };
            self.put(path, &line);
            first += counts.len() as u64;
            self.tally.samples += counts.len() as u64;
        }
    }

    fn raw(&mut self, batch: &str, raw: &Raw) {
        let wall = self.meanings.wall_ns(raw.moment);
        let line = RawLine {
            batch,
            gateway: self.gateway,
            instance: &raw.instance,
            time: wall.map(rfc3339),
            boot: boot(raw.moment),
            monotonic_ns: raw.moment.monotonic_ns,
            sent: raw.sent,
            raw: hex(&raw.bytes),
        };
        self.put(paths::stream(self.gateway, &raw.instance, paths::RAW, wall), &line);
    }

    fn alert(&mut self, identity: &str, life: u64, i: &wardgate_wire::InstanceAlerts, a: &wardgate_wire::NumberedAlert) {
        let Alert { id, at, channel, priority, concern, state, ref code, low, high, ref text } = a.alert;
        let path = paths::stream(self.gateway, &i.instance, paths::ALERTS, self.meanings.wall_ns(a.moment));
        let mut head = self.head(identity, &i.instance, paths::ALERTS, a.run, a.index, a.moment);
        (head.device_time, head.late) = (told(at), i.late);
        let named = |c| self.meanings.newest_description(life, &i.instance, c).map_or_else(|| number_name(c), |d| d.name.clone());
        let line = AlertLine {
            head,
            id,
            state: state.name(),
            priority: priority.name(),
            concern: concern.name(),
            text,
            code: code.as_ref().map(coding),
            low: low.map(pair),
            high: high.map(pair),
            alert_channel: channel.map(named),
        };
        self.put(path, &line);
        self.tally.alerts += 1;
    }

    /// A line of gaps.jsonl; `batch` is the one that made it certain.
    pub fn lost(&mut self, batch: &str, lost: &Lost) {
        let number = match lost.stream.source {
            Source::Alerts => None,
            Source::Channel(c) => Some(c),
        };
        let description = self.meanings.description(lost.life, &lost.stream, lost.run);
        let class = self.meanings.class(lost.life, &lost.stream, lost.run);
        let shed = lost.reason == GapReason::Unknown && class.is_some_and(|c| lost.shed.contains(&c));
        let reason = if shed { GapReason::ShedByPolicy } else { lost.reason };
        let channel = number.map_or_else(|| paths::ALERTS.to_owned(), |c| description.map_or_else(|| number_name(c), |d| d.name.clone()));
        let line = GapLine {
            gateway: self.gateway,
            instance: &lost.stream.instance,
            channel,
            number,
            life: life_name(lost.life),
            run: lost.run,
            first: lost.first,
            indices: lost.indices,
            values: lost.values,
            from_boot: lost.from.map(boot),
            from_monotonic_ns: lost.from.map(|m| m.monotonic_ns),
            from: lost.from.and_then(|m| self.meanings.wall_ns(m)).map(rfc3339),
            to_boot: boot(lost.to),
            to_monotonic_ns: lost.to.monotonic_ns,
            to: self.meanings.wall_ns(lost.to).map(rfc3339),
            reason: reason.name(),
            batch,
            before: lost.before.map(|b| Before { life: life_name(b.life), run: b.run, next: b.next }),
        };
        self.put(format!("{}/{}", self.gateway, paths::GAPS), &line);
        self.tally.gaps += 1;
        self.tally.unexplained += u64::from(reason == GapReason::Unknown);
    }
}

pub fn boot(moment: Moment) -> String {
    format!("{:016x}", moment.boot)
}

pub fn life_name(life: u64) -> String {
    format!("{life:016x}")
}

/// A channel whose description is not here: only gaps are written without it.
fn number_name(channel: u16) -> String {
    format!("#{channel}")
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

pub fn told(at: DeviceTime) -> Option<Told> {
    match at {
        DeviceTime::NotTold => None,
        DeviceTime::Utc(ns) => Some(Told::Utc(rfc3339(ns))),
        DeviceTime::Local(ns) => Some(Told::Local(rfc3339(ns).trim_end_matches('Z').to_owned())),
        DeviceTime::Counter(ns) => Some(Told::Counter(ns)),
    }
}

fn pair(d: Decimal) -> (i64, i8) {
    (d.mantissa, d.exponent)
}

pub fn coding(c: &Coding) -> String {
    format!("{}:{}", c.scheme, c.value)
}
