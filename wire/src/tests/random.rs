//! Batches that nobody chose: a small deterministic generator, also read by the workspace's tests.

use wardgate_wire::{
    Absence, Alert, AlertState, Batch, BatchKey, Class, ClassEnd, ClockChange, ClockQuality, Closing, Coding, Concern, Content, Decimal,
    Description, DeviceTime, Digest, Entry, Fact, GapReason, GatewayId, Header, InstanceAlerts, InstanceNumerics, Kind, LastKnown, Moment,
    NumberedAlert, NumberedObservation, NumberedReading, Piece, Predecessor, Priority, RunRange, Source, Stream, Value, WaveformShape,
    WaveformTrack, description_digest,
};

/// xorshift64*.
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
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Of any length in bits, and often at an end of the number line.
    pub fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => self.pick(&[0, 1, u64::MAX, u64::MAX - 1, i64::MAX as u64, i64::MIN as u64, 1 << 32, u64::from(u32::MAX)]),
            1..=4 => self.below(10),
            _ => {
                let bits = self.below(64);
                self.next() >> bits
            }
        }
    }

    fn number32(&mut self) -> u32 {
        if self.one_in(4) { self.pick(&[0, u32::MAX, 1 << 31]) } else { self.number() as u32 }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.one_in(3)).then(|| make(self))
    }

    /// None, few, and now and then many.
    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = if self.one_in(12) { 40 } else { self.below(5) };
        (0..n).map(|_| make(self)).collect()
    }

    pub fn bytes(&mut self, n: u64) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self) -> String {
        const WORDS: [&str; 8] = ["", "a", "bed-1-monitor", "ECG-II", "µV", "APNEA: 20 SEC", "\u{0}\n\"\\", "心電図"];
        (0..self.below(3)).map(|_| self.pick(&WORDS)).collect()
    }

    fn digest(&mut self) -> Digest {
        Digest(std::array::from_fn(|_| self.next() as u8))
    }

    fn moment(&mut self) -> Moment {
        Moment { boot: self.boot(), monotonic_ns: self.number() }
    }

    fn boot(&mut self) -> u64 {
        if self.one_in(6) { self.next() } else { self.pick(&[0, 0xb007_b007, u64::MAX]) }
    }

    fn device_time(&mut self) -> DeviceTime {
        let ns = self.number();
        match self.below(4) {
            0 => DeviceTime::NotTold,
            1 => DeviceTime::Utc(ns as i64),
            2 => DeviceTime::Local(ns as i64),
            _ => DeviceTime::Counter(ns),
        }
    }

    /// Times as they come in life, or none that fit together.
    fn times(&mut self, n: usize) -> Vec<(Moment, DeviceTime)> {
        if self.one_in(2) {
            return (0..n).map(|_| (self.moment(), self.device_time())).collect();
        }
        let (boot, mut now, told) = (self.boot(), self.next() >> 16, self.one_in(2));
        (0..n)
            .map(|_| {
                now += 1_000_000_000 + self.below(1_000_000);
                (Moment { boot, monotonic_ns: now }, if told { DeviceTime::Utc(now as i64) } else { DeviceTime::NotTold })
            })
            .collect()
    }

    fn decimal(&mut self) -> Decimal {
        Decimal { mantissa: self.number() as i64, exponent: self.pick(&[0, 0, -1, -2, 3, i8::MIN, i8::MAX]) }
    }

    fn value(&mut self) -> Value {
        match self.below(12) {
            0..=5 => Value::Number(self.decimal()),
            6 | 7 => Value::Absent(self.pick(Absence::ALL)),
            8 => Value::Code(self.number32()),
            9 => Value::Bits(self.number()),
            10 => Value::Text(self.text()),
            _ => {
                let n = self.below(20);
                Value::Octets(self.bytes(n))
            }
        }
    }

    fn quality(&mut self) -> u16 {
        self.pick(&[0, 0, 0, 1 << 6, u16::MAX])
    }

    fn observations(&mut self) -> Vec<NumberedObservation> {
        let n = if self.one_in(4) { self.below(60) } else { self.below(4) } as usize;
        let shapes: Vec<Vec<(u16, u32)>> = (0..3)
            .map(|_| {
                let (channel, run, wild) = (self.number() as u16, self.number32(), self.one_in(3));
                (0..self.below(14) as u16)
                    .map(|i| if wild { (self.number() as u16, self.number32()) } else { (channel.wrapping_add(i), run) })
                    .collect()
            })
            .collect();
        let (wild, base) = (self.one_in(3), self.number());
        let mut row = 0;
        self.times(n)
            .into_iter()
            .map(|(moment, at)| {
                let shape = &shapes[if wild { self.below(3) as usize } else { 0 }];
                row += 1;
                let readings = shape
                    .iter()
                    .map(|&(channel, run)| {
                        let index = if wild { self.number() } else { base.wrapping_add(row) };
                        let value = if wild { self.value() } else { Value::Number(Decimal { mantissa: 70 + row as i64, exponent: -1 }) };
                        NumberedReading { channel, run, index, value, quality: if wild { self.quality() } else { 0 } }
                    })
                    .collect();
                NumberedObservation { moment, at, readings }
            })
            .collect()
    }

    fn track(&mut self) -> WaveformTrack {
        let wild = self.one_in(3);
        let pieces: Vec<u32> = (0..self.below(5)).map(|_| self.below(60) as u32).collect();
        let times = self.times(pieces.len());
        let pieces: Vec<Piece> =
            pieces.into_iter().zip(times).map(|(count, (moment, at))| Piece { count, moment, at, quality: self.quality() }).collect();
        let n: u64 = pieces.iter().map(|p| u64::from(p.count)).sum();
        let mut level = self.below(200) as i32;
        let counts = (0..n)
            .map(|_| {
                level += self.below(7) as i32 - 3;
                if wild { self.pick(&[i32::MIN, i32::MAX, 0, -1, level, level]) } else { level }
            })
            .collect();
        let first = self.number().saturating_sub(n);
        WaveformTrack {
            instance: self.text(),
            channel: self.number() as u16,
            run: self.number32(),
            first,
            late: self.one_in(4),
            pieces,
            counts,
        }
    }

    fn coding(&mut self) -> Coding {
        Coding { scheme: self.text(), value: self.text() }
    }

    fn alerts(&mut self) -> Vec<NumberedAlert> {
        let n = self.below(4) as usize;
        self.times(n)
            .into_iter()
            .map(|(moment, at)| {
                let alert = Alert {
                    id: self.number32(),
                    at,
                    channel: self.maybe(|r| r.number() as u16),
                    priority: self.pick(Priority::ALL),
                    concern: self.pick(Concern::ALL),
                    state: self.pick(AlertState::ALL),
                    code: self.maybe(Self::coding),
                    low: self.maybe(Self::decimal),
                    high: self.maybe(Self::decimal),
                    text: self.text(),
                };
                NumberedAlert { run: self.number32(), index: self.number(), moment, alert }
            })
            .collect()
    }

    fn stream(&mut self) -> Stream {
        Stream { instance: self.text(), source: if self.one_in(3) { Source::Alerts } else { Source::Channel(self.number() as u16) } }
    }

    fn facts(&mut self) -> Vec<Fact> {
        self.list(|r| Fact { name: r.text(), value: r.text() })
    }

    fn closing(&mut self) -> Closing {
        Closing {
            epoch: self.number32(),
            clean: self.one_in(2),
            classes: self.list(|r| ClassEnd { class: r.pick(&Class::ALL), count: r.number32(), last: r.digest() }),
            runs: self.list(|r| {
                let (a, b) = (r.number(), r.number());
                let (stream, run, count) = (r.stream(), r.number32(), r.number());
                RunRange { stream, run, first: a.min(b), next: a.max(b), count, first_moment: r.moment(), last_moment: r.moment() }
            }),
        }
    }

    fn description(&mut self) -> Description {
        Description {
            name: self.text(),
            kind: self.pick(Kind::ALL),
            code: self.maybe(Self::coding),
            unit: self.text(),
            shape: self.maybe(|r| WaveformShape {
                scale: r.decimal(),
                offset: r.decimal(),
                period_numerator: r.number32(),
                period_denominator: r.number32(),
                bits: r.next() as u8,
            }),
            personal: self.one_in(2),
            derived: self.one_in(2),
            facts: self.facts(),
        }
    }

    fn entry(&mut self) -> Entry {
        match self.below(11) {
            0 => Entry::Opening {
                predecessor: self.maybe(|r| Predecessor { life: r.next(), closing: r.closing() }),
                reason: self.pick(GapReason::ALL),
                software: self.text(),
            },
            1 => Entry::Closing(self.closing()),
            2 => Entry::Run {
                stream: self.stream(),
                run: self.number32(),
                description: self.maybe(Self::digest),
                moment: self.moment(),
                before: self.maybe(|r| LastKnown { life: r.next(), run: r.number32(), next: r.number(), moment: r.moment() }),
                reason: self.maybe(|r| r.pick(GapReason::ALL)),
            },
            3 => {
                let first = self.number();
                Entry::Gap {
                    life: self.next(),
                    stream: self.stream(),
                    run: self.number32(),
                    first,
                    indices: self.number().min(u64::MAX - first),
                    values: self.maybe(Self::number),
                    from: self.moment(),
                    to: self.moment(),
                    reason: self.pick(GapReason::ALL),
                }
            }
            4 => Entry::Shed { life: self.next(), epoch: self.number32(), class: self.pick(&Class::ALL), below: self.number32() },
            5 => Entry::Clock {
                at: self.moment(),
                wall_ns: self.number() as i64,
                uncertainty_ns: self.number(),
                quality: self.pick(ClockQuality::ALL),
            },
            6 => Entry::Binding { instance: self.text(), serial: self.maybe(Self::text), bed: self.maybe(Self::text), from: self.moment() },
            7 => Entry::Identity { instance: self.text(), at: self.moment(), facts: self.facts() },
            8 => {
                let description = self.description();
                Entry::Description { digest: description_digest(&description), description }
            }
            9 => Entry::DeviceClock {
                instance: self.text(),
                at: self.moment(),
                device: match self.device_time() {
                    DeviceTime::NotTold => DeviceTime::Local(-1),
                    told => told,
                },
                uncertainty_ns: self.number(),
                change: self.pick(ClockChange::ALL),
            },
            _ => {
                let n = self.below(30);
                Entry::Other { kind: self.pick(&[0, 11, 77, 300, u64::MAX]), bytes: self.bytes(n) }
            }
        }
    }

    pub fn header(&mut self, class: Class) -> Header {
        let sequence = self.number32();
        Header {
            gateway: GatewayId::new(self.pick(&["g", "ward-3-north", "0123456789-0123456789-0123456789"])).unwrap(),
            key: BatchKey { life: self.next(), epoch: self.number32(), class, sequence },
            previous: if sequence == 0 { Digest::default() } else { self.digest() },
        }
    }

    pub fn batch(&mut self, class: Class) -> Batch {
        let content = match class {
            Class::Alert => Content::Alerts(self.list(|r| InstanceAlerts { instance: r.text(), late: r.one_in(4), alerts: r.alerts() })),
            Class::Ledger => Content::Ledger(self.list(Self::entry)),
            Class::Numeric => Content::Numerics(self.list(|r| {
                let (instance, late) = (r.text(), r.one_in(4));
                InstanceNumerics { instance, late, observations: r.observations() }
            })),
            Class::Preview | Class::Waveform => Content::Waveforms(self.list(Self::track)),
            Class::Archive => {
                let n = self.below(300);
                Content::Archive(if self.one_in(2) { vec![7; n as usize] } else { self.bytes(n) })
            }
        };
        Batch { header: self.header(class), content }
    }
}
