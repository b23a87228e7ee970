//! Tests of the room: each rule by itself, heads by themselves, and a storm of everything that an accountant audits.

mod account;
mod derived;
mod heads;
mod parking;
mod scenarios;
mod shut;
mod storm;

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire::{
    Alert, Batch, BatchKey, Class, Content, Digest, Entry, GapReason, GatewayId, Key, Life, Moment, NumberedReading, Source, decode,
};

use super::{Heads, Pipeline, PipelineError, Sealed, Setup};
use crate::config::Terms;
use crate::contract::{Said, types};

pub const BOOT: u64 = 0xb007_0001;
pub const SECOND: u64 = 1_000_000_000;

pub fn key() -> Key {
    Key::new(&[7; 32]).expect("long enough")
}

pub fn setup(life: Life, batch_bytes: usize) -> Setup {
    Setup {
        gateway: GatewayId::new("ward-3").expect("a name"),
        life,
        key: key(),
        batch_bytes,
        software: "wardgate test".into(),
        opening: GapReason::GatewayRestart,
        terms: BTreeMap::from([("granted".to_owned(), Terms { personal: true, ..Terms::default() })]),
    }
}

pub fn at(ns: u64) -> types::Moment {
    types::Moment { boot: BOOT, monotonic_ns: ns, wall: None }
}

pub fn wire_at(ns: u64) -> Moment {
    Moment { boot: BOOT, monotonic_ns: ns }
}

pub fn number(n: i64) -> types::Value {
    types::Value::Number(types::Decimal { mantissa: n, exponent: -1 })
}

pub fn emit(readings: &[(u16, i64)]) -> Said {
    let readings = readings.iter().map(|&(channel, n)| types::Reading { channel, value: number(n), quality: types::Quality::VALIDATED });
    Said::Emit(vec![types::Observation { at: types::DeviceTime::NotTold, readings: readings.collect() }])
}

pub fn block(channel: u16, first: u64, counts: &[i32]) -> Said {
    let (at, quality) = (types::DeviceTime::Counter(first), types::Quality::empty());
    Said::EmitWaveform(vec![types::Waveform { channel, first, at, counts: counts.to_vec(), quality }])
}

pub fn describe(channel: u16, name: &str, kind: types::Kind) -> Said {
    describe_as(channel, name, kind, false)
}

pub fn describe_as(channel: u16, name: &str, kind: types::Kind, personal: bool) -> Said {
    let one = types::Decimal { mantissa: 1, exponent: 0 };
    let shape = types::WaveformShape { scale: one, offset: one, period_numerator: 1, period_denominator: 250, bits: 12 };
    let shape = (kind == types::Kind::Waveform).then_some(shape);
    let description = types::Description { name: name.into(), kind, code: None, unit: "1".into(), shape, personal, facts: vec![] };
    Said::Describe(channel, description)
}

pub fn alert(id: u32) -> types::Alert {
    types::Alert {
        id,
        at: types::DeviceTime::NotTold,
        channel: None,
        priority: types::Priority::High,
        concern: types::Concern::Physiological,
        state: types::AlertState::Active,
        code: None,
        low: None,
        high: None,
        text: "HR HIGH".into(),
    }
}

/// A gateway in small: a pipeline, a clock, and the groups that were made.
pub struct Bench {
    pub pipeline: Pipeline,
    pub ns: u64,
    pub groups: Vec<Group>,
    pub batch_bytes: usize,
}

pub struct Group {
    pub sealed: Sealed,
    pub batches: Vec<(BatchKey, Digest, Batch)>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(16 << 10)
    }

    pub fn with(batch_bytes: usize) -> Self {
        let ns = 10 * SECOND;
        Self { pipeline: Pipeline::new(setup(1, batch_bytes), None, at(ns)), ns, groups: Vec::new(), batch_bytes }
    }

    /// One millisecond later.
    pub fn tick(&mut self) -> types::Moment {
        self.ns += 1_000_000;
        at(self.ns)
    }

    pub fn open(&mut self, instance: &str, said: Vec<Said>) {
        let now = self.tick();
        self.pipeline.opened(&Arc::from(instance), now, None);
        self.say(instance, said).expect("in order");
    }

    pub fn say(&mut self, instance: &str, said: Vec<Said>) -> Result<(), PipelineError> {
        let now = self.tick();
        self.pipeline.spoken(&Arc::from(instance), now, said)
    }

    pub fn fault(&mut self, instance: &str) {
        let now = self.tick();
        self.pipeline.fault(&Arc::from(instance), now, GapReason::PluginFault);
    }

    pub fn lost(&mut self, instance: &str) {
        let now = self.tick();
        self.pipeline.lost(&Arc::from(instance), now, GapReason::GatewayOverrun);
    }

    pub fn seal(&mut self) -> &Group {
        self.seal_as(false)
    }

    pub fn seal_as(&mut self, full: bool) -> &Group {
        let now = self.tick();
        let sealed = self.pipeline.seal(full, now).expect("seals");
        let batches = (sealed.batches.iter())
            .map(|(key, digest, bytes)| {
                let (batch, found) = decode(bytes, &self::key()).expect("decodes");
                assert_eq!((batch.header.key, found), (*key, *digest));
                (*key, *digest, batch)
            })
            .collect();
        self.groups.push(Group { sealed, batches });
        self.groups.last().expect("just pushed")
    }

    /// What a start finds: the newest full heads and the differences after them.
    pub fn found(&self) -> Option<Heads> {
        let records: Vec<_> = self.groups.iter().map(|g| g.sealed.heads.clone()).collect();
        let newest_full = records.iter().rposition(|(full, _)| *full)?;
        Heads::rebuild(&records[newest_full..]).expect("heads are whole")
    }

    /// Everything not sealed is gone; a new life finds the heads.
    pub fn crash(&mut self, life: Life) {
        let (found, now) = (self.found(), self.tick());
        self.pipeline = Pipeline::new(setup(life, self.batch_bytes), found, now);
    }
}

impl Group {
    /// Ledger entries, in order.
    pub fn entries(&self) -> Vec<&Entry> {
        let of = |(_, _, batch): &'_ (BatchKey, Digest, Batch)| matches!(batch.content, Content::Ledger(_));
        self.batches.iter().filter(|b| of(b)).flat_map(|(_, _, batch)| ledger(batch)).collect()
    }

    pub fn readings(&self) -> Vec<&NumberedReading> {
        let instances = self.batches.iter().filter_map(|(_, _, b)| match &b.content {
            Content::Numerics(instances) => Some(instances),
            _ => None,
        });
        instances.flatten().flat_map(|i| &i.observations).flat_map(|o| &o.readings).collect()
    }

    pub fn alerts(&self) -> Vec<&Alert> {
        let instances = self.batches.iter().filter_map(|(_, _, b)| match &b.content {
            Content::Alerts(instances) => Some(instances),
            _ => None,
        });
        instances.flatten().flat_map(|i| &i.alerts).map(|a| &a.alert).collect()
    }

    pub fn keys(&self) -> Vec<(u32, Class, u32)> {
        self.batches.iter().map(|(k, ..)| (k.epoch, k.class, k.sequence)).collect()
    }
}

pub fn ledger(batch: &Batch) -> &[Entry] {
    match &batch.content {
        Content::Ledger(entries) => entries,
        _ => &[],
    }
}
