//! A gateway without devices, for tests: lives, epochs, runs, gaps, crashes, and its own book of what became of every value. It knows the wire
//! and nothing of the receiver. Also read by the workspace's tests.

use std::collections::BTreeMap;

use wardgate_wire::{
    AckEntry, Alert, AlertState, Batch, BatchKey, Class, ClassEnd, ClockQuality, Closing, Concern, Content, Decimal, Description,
    DeviceTime, Digest, Entry, GapReason, GatewayId, Header, InstanceAlerts, InstanceNumerics, Key, Kind, LastKnown, Life, Moment,
    NumberedAlert, NumberedObservation, NumberedReading, Piece, Predecessor, Priority, Run, RunRange, Sequence, Source, Stream, Value,
    WaveformShape, WaveformTrack, decode_ack, description_digest, encode,
};

/// xorshift64*.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub const INSTANCE: &str = "bed-1";
/// Streams by number: a numeric, a waveform, the alerts.
pub const CHANNELS: [&str; 3] = ["hr", "ecg", "alerts"];
const CLASSES: [Class; 3] = [Class::Numeric, Class::Waveform, Class::Alert];
/// What wall time is when the tests' own time is 0.
pub const WALL_NS: i64 = 1_790_000_000_000_000_000;

/// What has to become of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In no batch yet.
    InHand,
    Sent,
    /// Not taken: its position is in a gap.
    Gap,
    /// Gone with a crash before it was committed: it may show nowhere.
    Crashed,
}

#[derive(Clone, Copy, Debug)]
pub struct Noted {
    pub stream: usize,
    pub life: Life,
    pub run: Run,
    pub index: u64,
    pub wall_ns: i64,
    pub fate: Fate,
}

/// All that heads hold.
#[derive(Clone)]
struct Heads {
    life: Life,
    epoch: u32,
    ends: BTreeMap<Class, (Sequence, Digest)>,
    ranges: BTreeMap<(usize, Run), RunRange>,
    streams: [At; 3],
    open_gaps: BTreeMap<usize, (Run, u64, Moment)>,
}

#[derive(Clone, Copy, Default)]
struct At {
    run: Run,
    next: u64,
    last: Option<LastKnown>,
    /// The run has said that it begins.
    begun: bool,
}

pub struct Gateway {
    pub id: GatewayId,
    pub key: Key,
    pub random: Random,
    pub now_ns: i64,
    /// What is still wanted, oldest first.
    pub held: BTreeMap<(u64, BatchKey), (Digest, Vec<u8>)>,
    pub book: Vec<Noted>,
    pub lives: u64,
    life_order: BTreeMap<Life, u64>,
    heads: Heads,
    flushed: Option<Heads>,
    boot: u64,
    boot_ns: i64,
    ledger: Vec<Entry>,
    open: [Vec<(Run, u64, i64, Moment)>; 3],
    /// Places in the book, since the last commit.
    not_taken: Vec<usize>,
    said: bool,
    opened: bool,
}

/// What the gateway's key file would hold.
pub fn key_bytes(id: &str, seed: u64) -> [u8; 32] {
    [(id.len() as u64 + seed) as u8 | 0x80; 32]
}

fn description(stream: usize) -> Description {
    let shape = WaveformShape {
        scale: Decimal { mantissa: 5, exponent: -3 },
        offset: Decimal { mantissa: 0, exponent: 0 },
        period_numerator: 1,
        period_denominator: 250,
        bits: 16,
    };
    Description {
        name: CHANNELS[stream].into(),
        kind: if stream == 1 { Kind::Waveform } else { Kind::Numeric },
        code: None,
        unit: if stream == 1 { "mV".into() } else { "/min".into() },
        shape: (stream == 1).then_some(shape),
        personal: false,
        derived: false,
        facts: Vec::new(),
    }
}

fn stream_of(stream: usize) -> Stream {
    Stream { instance: INSTANCE.into(), source: if stream == 2 { Source::Alerts } else { Source::Channel(stream as u16) } }
}

impl Gateway {
    pub fn new(id: &str, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (life, boot) = (random.next(), random.next());
        let heads = Heads {
            life,
            epoch: 0,
            ends: BTreeMap::new(),
            ranges: BTreeMap::new(),
            streams: [At::default(); 3],
            open_gaps: BTreeMap::new(),
        };
        let mut gateway = Self {
            id: GatewayId::new(id).expect("a name"),
            key: Key::new(&key_bytes(id, seed)).expect("long enough"),
            random,
            now_ns: 1_000_000_000,
            held: BTreeMap::new(),
            book: Vec::new(),
            lives: 0,
            life_order: BTreeMap::new(),
            heads,
            flushed: None,
            boot,
            boot_ns: 0,
            ledger: Vec::new(),
            open: Default::default(),
            not_taken: Vec::new(),
            said: false,
            opened: false,
        };
        gateway.start();
        gateway
    }

    fn moment(&self) -> Moment {
        Moment { boot: self.boot, monotonic_ns: (self.now_ns - self.boot_ns) as u64 }
    }

    /// A start after whatever is flushed: a new life, which names the one before.
    fn start(&mut self) {
        let life = self.random.next();
        self.lives += 1;
        self.life_order.insert(life, self.lives);
        let found = self.flushed.clone();
        let predecessor = found.as_ref().map(|h| Predecessor { life: h.life, closing: closing(h, false) });
        self.ledger = vec![Entry::Opening { predecessor, reason: GapReason::PowerCut, software: "test".into() }];
        let mut streams = [At::default(); 3];
        if let Some(h) = &found {
            for (stream, (run, first, since)) in &h.open_gaps {
                self.ledger.push(gap(h.life, *stream, *run, *first, h.streams[*stream].next - first, *since, self.moment()));
            }
            for (new, old) in streams.iter_mut().zip(h.streams) {
                new.last = old.last;
            }
        }
        self.heads = Heads { life, epoch: 0, ends: BTreeMap::new(), ranges: BTreeMap::new(), streams, open_gaps: BTreeMap::new() };
        (self.open, self.said, self.opened) = (Default::default(), false, false);
        if self.random.below(5) > 0 {
            self.clock();
        }
        (0..3).for_each(|s| self.new_run(s, None));
    }

    pub fn clock(&mut self) {
        let at = self.moment();
        self.ledger.push(Entry::Clock { at, wall_ns: WALL_NS + self.now_ns, uncertainty_ns: 1000, quality: ClockQuality::Synchronised });
    }

    /// Everything that is not flushed is gone.
    pub fn crash(&mut self, reboot: bool) {
        for noted in self.book.iter_mut().filter(|n| n.fate == Fate::InHand) {
            noted.fate = Fate::Crashed;
        }
        self.not_taken.clear();
        self.now_ns += 1_000_000 * self.random.below(100_000) as i64;
        if reboot {
            (self.boot, self.boot_ns) = (self.random.next(), self.now_ns);
            self.now_ns += 1_000_000;
        }
        self.start();
    }

    fn new_run(&mut self, stream: usize, why: Option<GapReason>) {
        self.end_gap(stream);
        let at = &mut self.heads.streams[stream];
        (at.run, at.next, at.begun) = (at.run + 1, 0, false);
        if let Some(reason) = why {
            self.begin(stream, Some(reason));
        }
    }

    fn begin(&mut self, stream: usize, why: Option<GapReason>) {
        let (moment, at) = (self.moment(), self.heads.streams[stream]);
        if at.begun {
            return;
        }
        let description = description(stream);
        let digest = (stream < 2).then(|| description_digest(&description));
        let reason = why.or((at.run == 1 && at.last.is_some()).then_some(GapReason::GatewayRestart));
        if let Some(digest) = digest.filter(|_| at.run == 1) {
            self.ledger.push(Entry::Description { digest, description });
        }
        self.ledger.push(Entry::Run { stream: stream_of(stream), run: at.run, description: digest, moment, before: at.last, reason });
        self.heads.streams[stream].begun = true;
    }

    fn end_gap(&mut self, stream: usize) {
        if let Some((run, first, since)) = self.heads.open_gaps.remove(&stream) {
            let next = self.heads.streams[stream].next;
            self.ledger.push(gap(self.heads.life, stream, run, first, next - first, since, self.moment()));
        }
    }

    /// A value comes from a device; sometimes it cannot be taken.
    pub fn emit(&mut self, stream: usize, taken: bool) {
        let n = self.book.len() as i64;
        let moment = self.moment();
        self.begin(stream, None);
        if taken {
            self.end_gap(stream);
        }
        let (life, at) = (self.heads.life, &mut self.heads.streams[stream]);
        let (run, index) = (at.run, at.next);
        at.next += 1;
        if taken {
            at.last = Some(LastKnown { life, run, next: at.next, moment });
        }
        let fresh =
            RunRange { stream: stream_of(stream), run, first: index, next: index, count: 0, first_moment: moment, last_moment: moment };
        let range = self.heads.ranges.entry((stream, run)).or_insert(fresh);
        (range.next, range.last_moment) = (index + 1, moment);
        range.count += u64::from(taken);
        if taken {
            self.open[stream].push((run, index, n, moment));
        } else {
            self.heads.open_gaps.entry(stream).or_insert((run, index, moment));
        }
        if !taken {
            self.not_taken.push(self.book.len());
        }
        self.book.push(Noted { stream, life, run, index, wall_ns: WALL_NS + self.now_ns, fate: Fate::InHand });
        self.said = true;
        self.now_ns += 4_000_000;
    }

    /// A plugin fell over: a new run of its stream.
    pub fn trap(&mut self, stream: usize) {
        if self.heads.streams[stream].begun {
            self.new_run(stream, Some(GapReason::PluginFault));
            self.said = true;
        }
    }

    fn close(&mut self, class: Class, content: Content) {
        let (count, last) = self.heads.ends.get(&class).copied().unwrap_or_default();
        let key = BatchKey { life: self.heads.life, epoch: self.heads.epoch, class, sequence: count };
        let header = Header { gateway: self.id.clone(), key, previous: last };
        let encoded = encode(&Batch { header, content }, &self.key).expect("valid");
        self.heads.ends.insert(class, (count + 1, encoded.digest));
        self.held.insert((self.lives, key), (encoded.digest, encoded.bytes));
    }

    fn close_data(&mut self) {
        for (stream, class) in CLASSES.into_iter().enumerate() {
            let values = std::mem::take(&mut self.open[stream]);
            if !values.is_empty() {
                self.close(class, content(stream, &values));
            }
        }
    }

    /// One group: everything said so far is flushed with it; `rotate` begins the next epoch in it.
    pub fn commit(&mut self, rotate: bool) {
        if !self.said && !self.opened {
            return; // a life with nothing to write leaves no trace
        }
        let rotate = rotate && self.opened && self.heads.ends.values().map(|(n, _)| u64::from(*n)).sum::<u64>() > 1;
        if rotate {
            (0..3).for_each(|s| self.end_gap(s));
        }
        self.close_data();
        let ledger = std::mem::take(&mut self.ledger);
        if !ledger.is_empty() {
            self.close(Class::Ledger, Content::Ledger(ledger));
        }
        if rotate {
            let clean = self.held.keys().all(|(order, k)| *order == self.lives && k.epoch >= self.heads.epoch);
            let end = closing(&self.heads, clean);
            self.heads.epoch += 1;
            (self.heads.ends, self.heads.ranges) = (BTreeMap::new(), BTreeMap::new());
            self.close(Class::Ledger, Content::Ledger(vec![Entry::Closing(end)]));
        }
        (self.opened, self.said) = (true, false);
        self.flushed = Some(self.heads.clone());
        let gaps = std::mem::take(&mut self.not_taken);
        for n in self.book.iter_mut().filter(|n| n.fate == Fate::InHand) {
            n.fate = Fate::Sent;
        }
        for n in gaps {
            self.book[n].fate = Fate::Gap;
        }
    }

    /// What the receiver's answer frees. A forged one frees nothing.
    pub fn acknowledge(&mut self, bytes: &[u8]) -> usize {
        let Ok(ack) = decode_ack(bytes, &self.key) else { return 0 };
        assert_eq!(ack.gateway, self.id);
        let before = self.held.len();
        for entry in &ack.entries {
            if let AckEntry::UpTo { life, epoch, class, high, digest, .. } = entry {
                let key = BatchKey { life: *life, epoch: *epoch, class: *class, sequence: *high };
                let order = self.life_order.get(life).copied().unwrap_or(0);
                assert!(self.held.get(&(order, key)).is_none_or(|(held, _)| held == digest), "an answer about other bytes");
            }
            self.held.retain(|(_, key), _| !frees(entry, key));
        }
        before - self.held.len()
    }
}

fn frees(entry: &AckEntry, key: &BatchKey) -> bool {
    match entry {
        AckEntry::UpTo { life, epoch, class, high, missing, .. } => {
            (key.life, key.epoch, key.class) == (*life, *epoch, *class)
                && key.sequence <= *high
                && !missing.iter().any(|(a, z)| (*a..=*z).contains(&key.sequence))
        }
        AckEntry::Closed { life, epoch } => (key.life, key.epoch) == (*life, *epoch),
        AckEntry::Other { .. } => false,
    }
}

fn gap(life: Life, stream: usize, run: Run, first: u64, indices: u64, from: Moment, to: Moment) -> Entry {
    Entry::Gap { life, stream: stream_of(stream), run, first, indices, values: Some(indices), from, to, reason: GapReason::DiskFull }
}

fn closing(h: &Heads, clean: bool) -> Closing {
    let classes = h.ends.iter().map(|(class, (count, last))| ClassEnd { class: *class, count: *count, last: *last }).collect();
    Closing { epoch: h.epoch, clean, classes, runs: h.ranges.values().cloned().collect() }
}

fn content(stream: usize, values: &[(Run, u64, i64, Moment)]) -> Content {
    match stream {
        0 => {
            let observation = |&(run, index, n, moment): &(Run, u64, i64, Moment)| NumberedObservation {
                moment,
                at: DeviceTime::NotTold,
                readings: vec![NumberedReading {
                    channel: 0,
                    run,
                    index,
                    value: Value::Number(Decimal { mantissa: n, exponent: 0 }),
                    quality: 0,
                }],
            };
            let observations = values.iter().map(observation).collect();
            Content::Numerics(vec![InstanceNumerics { instance: INSTANCE.into(), late: false, observations }])
        }
        1 => {
            let mut tracks: Vec<WaveformTrack> = Vec::new();
            for &(run, index, n, moment) in values {
                let fits = tracks.last().is_some_and(|t| t.run == run && t.first + t.counts.len() as u64 == index);
                if !fits {
                    let (instance, pieces, counts) = (INSTANCE.into(), Vec::new(), Vec::new());
                    tracks.push(WaveformTrack { instance, channel: 1, run, first: index, late: false, pieces, counts });
                }
                let track = tracks.last_mut().expect("pushed when there was none");
                track.counts.push(n as i32);
                track.pieces.push(Piece { count: 1, moment, at: DeviceTime::NotTold, quality: 0 });
            }
            Content::Waveforms(tracks)
        }
        _ => {
            let alert = |n: i64| Alert {
                id: n as u32,
                at: DeviceTime::NotTold,
                channel: Some(0),
                priority: Priority::High,
                concern: Concern::Physiological,
                state: AlertState::Active,
                code: None,
                low: None,
                high: None,
                text: "APNEA".into(),
            };
            let alerts = values.iter().map(|&(run, index, n, moment)| NumberedAlert { run, index, moment, alert: alert(n) }).collect();
            Content::Alerts(vec![InstanceAlerts { instance: INSTANCE.into(), late: false, alerts }])
        }
    }
}
