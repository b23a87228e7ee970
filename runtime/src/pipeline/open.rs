//! Open batches: what was said since the last seal, in the portions in which it will travel.

use wardgate_wire::bytes::Writer;
use wardgate_wire::{
    Alert, Class, Coding, Content, Description, Entry, Fact, InstanceAlerts, InstanceNumerics, NumberedAlert, NumberedObservation, Piece,
    Raw, Value, WaveformTrack,
};

// What things take before compression, a little generous: a batch stays within its bound, and the codec only makes it smaller.
const FRAME_BYTES: usize = 96; // header, digest of the batch before, MAC
const INSTANCE_BYTES: usize = 8; // besides the name
const TRACK_BYTES: usize = 24; // besides the instance's name
const PIECE_BYTES: usize = 20; // count, moment, device time, quality
const SAMPLE_BYTES: usize = 2; // a count as a difference; device converters have 8 to 24 bits
const OBSERVATION_BYTES: usize = 18; // moment and device time
const READING_BYTES: usize = 16; // position, value, quality
const ALERT_BYTES: usize = 64; // besides its text
const ENTRY_BYTES: usize = 64; // digest, two moments, position; besides names
const FACT_BYTES: usize = 8; // besides its texts; no fact is free, so that their number is bounded with their bytes
const DESCRIPTION_BYTES: usize = 32; // besides its texts
const RAW_BYTES: usize = 24; // its moment, its way and two lengths
const RANGE_BYTES: usize = 32; // one run in a closing

/// Whatever is configured: the wire bounds the rows of a batch, and no row is counted with less than 8 bytes here.
const PORTION_BYTES_MAX: usize = 256 << 10;

/// Portions of one class; the last one still takes.
#[derive(Clone, Debug)]
struct Portions<T> {
    all: Vec<Vec<T>>,
    bytes: usize,
}

impl<T> Default for Portions<T> {
    fn default() -> Self {
        Self { all: Vec::new(), bytes: 0 }
    }
}

impl<T> Portions<T> {
    /// The portion that takes `bytes` more: the present one, or a new one if that would be too much for it.
    fn with_room(&mut self, bytes: usize, bytes_max: usize) -> &mut Vec<T> {
        if self.all.is_empty() || self.bytes + bytes > bytes_max {
            self.all.push(Vec::new());
            self.bytes = FRAME_BYTES;
        }
        self.bytes += bytes;
        self.all.last_mut().expect("just seen or made")
    }
}

#[derive(Clone, Debug)]
pub(super) struct Open {
    bytes_max: usize,
    bytes: usize,
    alerts: Portions<InstanceAlerts>,
    ledger: Portions<Entry>,
    numerics: Portions<InstanceNumerics>,
    previews: Portions<WaveformTrack>,
    waveforms: Portions<WaveformTrack>,
    archive: Portions<Raw>,
}

impl Open {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max: bytes_max.min(PORTION_BYTES_MAX),
            bytes: 0,
            alerts: Portions::default(),
            ledger: Portions::default(),
            numerics: Portions::default(),
            previews: Portions::default(),
            waveforms: Portions::default(),
            archive: Portions::default(),
        }
    }

    /// About how much waits in memory for the next seal.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }

    pub fn alert(&mut self, instance: &str, alert: NumberedAlert) {
        let bytes = alert_bytes(&alert.alert) + instance.len() + INSTANCE_BYTES;
        self.bytes += bytes;
        let portion = self.alerts.with_room(bytes, self.bytes_max);
        match portion.iter_mut().find(|i| i.instance == instance) {
            Some(of) => of.alerts.push(alert),
            None => portion.push(InstanceAlerts { instance: instance.to_owned(), late: false, alerts: vec![alert] }),
        }
    }

    pub fn entry(&mut self, entry: Entry) {
        let bytes = entry_bytes(&entry);
        self.bytes += bytes;
        self.ledger.with_room(bytes, self.bytes_max).push(entry);
    }

    /// The opening, and the gaps that must stand in one batch with it however many they are.
    pub fn opening(&mut self, entries: Vec<Entry>) {
        self.bytes += entries.iter().map(entry_bytes).sum::<usize>();
        self.ledger.bytes = FRAME_BYTES + self.bytes;
        self.ledger.all.push(entries);
    }

    pub fn observation(&mut self, instance: &str, late: bool, observation: NumberedObservation) {
        let readings: usize = observation.readings.iter().map(|r| reading_bytes(&r.value)).sum();
        let bytes = OBSERVATION_BYTES + readings;
        self.bytes += bytes;
        let there = self.numerics.all.last().is_some_and(|portion| portion.iter().any(|i| i.instance == instance && i.late == late));
        let name = if there { 0 } else { instance.len() + INSTANCE_BYTES };
        let portion = self.numerics.with_room(bytes + name, self.bytes_max);
        match portion.iter_mut().find(|i| i.instance == instance && i.late == late) {
            Some(of) => of.observations.push(observation),
            None => portion.push(InstanceNumerics { instance: instance.to_owned(), late, observations: vec![observation] }),
        }
    }

    /// `block` holds one piece; it goes on the track of its stream run if nothing lies between.
    pub fn block(&mut self, block: WaveformTrack, preview: bool) {
        let bytes = samples_bytes(block.counts.len()) + TRACK_BYTES + block.instance.len();
        self.bytes += bytes;
        let portions = if preview { &mut self.previews } else { &mut self.waveforms };
        let portion = portions.with_room(bytes, self.bytes_max);
        let goes_on = |t: &&mut WaveformTrack| {
            t.channel == block.channel
                && t.run == block.run
                && t.first + t.counts.len() as u64 == block.first
                && t.instance == block.instance
                && t.late == block.late
        };
        match portion.iter_mut().rev().find(goes_on) {
            Some(track) => {
                track.pieces.extend(block.pieces);
                track.counts.extend(block.counts);
            }
            None => portion.push(block),
        }
    }

    pub fn raw(&mut self, raw: Raw) {
        let bytes = RAW_BYTES + raw.instance.len() + raw.bytes.len();
        self.bytes += bytes;
        self.archive.with_room(bytes, self.bytes_max).push(raw);
    }

    /// Data, by urgency: copies, so that a failed seal leaves everything where it was.
    pub fn data(&self) -> impl Iterator<Item = (Class, Content)> {
        (self.alerts.all.iter().map(|p| (Class::Alert, Content::Alerts(p.clone()))))
            .chain(self.numerics.all.iter().map(|p| (Class::Numeric, Content::Numerics(p.clone()))))
            .chain(self.previews.all.iter().map(|p| (Class::Preview, Content::Waveforms(p.clone()))))
            .chain(self.waveforms.all.iter().map(|p| (Class::Waveform, Content::Waveforms(p.clone()))))
            .chain(self.archive.all.iter().map(|p| (Class::Archive, Content::Archive(archive(p)))))
    }

    /// The ledger, which closes last because it speaks of the others, with `more` at its end.
    pub fn ledger(&self, more: Vec<Entry>) -> impl Iterator<Item = (Class, Content)> {
        let mut ledger = self.ledger.clone();
        for entry in more {
            ledger.with_room(entry_bytes(&entry), self.bytes_max).push(entry);
        }
        ledger.all.into_iter().map(|p| (Class::Ledger, Content::Ledger(p)))
    }
}

fn archive(frames: &[Raw]) -> Vec<u8> {
    let mut w = Writer::new();
    frames.iter().for_each(|raw| raw.write(&mut w));
    w.out
}

/// One block as a track of its own.
pub(super) fn track(instance: &str, channel: u16, run: u32, first: u64, piece: Piece, counts: Vec<i32>) -> WaveformTrack {
    WaveformTrack { instance: instance.to_owned(), channel, run, first, late: false, pieces: vec![piece], counts }
}

pub(super) fn reading_bytes(value: &Value) -> usize {
    READING_BYTES
        + match value {
            Value::Text(text) => text.len(),
            Value::Octets(octets) => octets.len(),
            _ => 0,
        }
}

pub(super) fn samples_bytes(samples: usize) -> usize {
    PIECE_BYTES + samples * SAMPLE_BYTES
}

pub(super) fn alert_bytes(alert: &Alert) -> usize {
    ALERT_BYTES + alert.text.len() + alert.code.as_ref().map_or(0, coding_bytes)
}

pub(super) fn facts_bytes(facts: &[Fact]) -> usize {
    facts.iter().map(|f| FACT_BYTES + f.name.len() + f.value.len()).sum()
}

pub(super) fn description_bytes(d: &Description) -> usize {
    DESCRIPTION_BYTES + d.name.len() + d.unit.len() + d.code.as_ref().map_or(0, coding_bytes) + facts_bytes(&d.facts)
}

fn coding_bytes(code: &Coding) -> usize {
    code.scheme.len() + code.value.len()
}

fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES
        + match entry {
            Entry::Opening { predecessor, software, .. } => {
                software.len() + predecessor.as_ref().map_or(0, |p| p.closing.runs.len() * RANGE_BYTES)
            }
            Entry::Closing(closing) => closing.runs.len() * RANGE_BYTES,
            Entry::Run { stream, .. } | Entry::Gap { stream, .. } => stream.instance.len(),
            Entry::Binding { instance, serial, bed, .. } => {
                instance.len() + serial.as_ref().map_or(0, String::len) + bed.as_ref().map_or(0, String::len)
            }
            Entry::DeviceClock { instance, .. } => instance.len(),
            Entry::Identity { instance, facts, .. } => instance.len() + facts_bytes(facts),
            Entry::Description { description, .. } => description_bytes(description),
            Entry::Shed { .. } | Entry::Clock { .. } => 0,
            Entry::Other { bytes, .. } => bytes.len(),
        }
}
