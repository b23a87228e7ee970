//! A storm: random instances, calls, faults, losses, epochs, crashes and stops, audited by the accountant after each world.

use std::collections::BTreeMap;

use wardgate_wire::Source;

use super::account::{Act, audit};
use super::*;
use crate::contract::types::{Kind, Missing};
use crate::pipeline::{Takes, Urgency};

/// xorshift64*
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

const NAMES: [&str; 3] = ["bed-1", "bed-2", "granted"];
const NUMERICS: [u16; 3] = [0, 1, 4];
const WAVES: [u16; 2] = [2, 3];
const PERSONAL: u16 = 4;

/// What drives the gateway: it knows what its plugins would, and writes down what it did.
struct Driver {
    r: Random,
    b: Bench,
    acts: Vec<Act>,
    /// How many acts are in sealed groups.
    sealed: usize,
    n: i64,
    life: Life,
    open: BTreeMap<&'static str, bool>,
    /// Next index of each described wave.
    waves: BTreeMap<(&'static str, u16), u64>,
    meanings: u64,
    /// Since the last seal.
    states: BTreeMap<String, Vec<u8>>,
    tags: Vec<(Arc<str>, u32)>,
    alerted: bool,
    takes: Takes,
}

impl Driver {
    fn new(seed: u64) -> Self {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let batch_bytes = [300, 1000, 16 << 10][r.below(3) as usize];
        let acts = vec![Act::Start { life: 1 }];
        let b = Bench::with(batch_bytes);
        let (open, waves, states) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            r,
            b,
            acts,
            sealed: 0,
            n: 0,
            life: 1,
            open,
            waves,
            meanings: 2,
            states,
            tags: vec![],
            alerted: false,
            takes: Takes::Everything,
        }
    }

    fn n(&mut self) -> i64 {
        self.n += 1;
        self.n
    }

    fn description(&mut self, name: &'static str, channel: u16) -> Said {
        if self.r.one_in(8) {
            self.meanings += 1;
        }
        let meaning = format!("m{}", self.r.below(self.meanings));
        let kind = if WAVES.contains(&channel) { Kind::Waveform } else { Kind::Numeric };
        let said = describe_as(channel, &meaning, kind, channel == PERSONAL);
        let Said::Describe(_, d) = &said else { unreachable!() };
        let digest = wardgate_wire::description_digest(&super::super::convert::description(d.clone(), false));
        let withheld = channel == PERSONAL && name != "granted";
        let moment = wire_at(self.b.ns + 1_000_000);
        self.acts.push(Act::Describe { instance: name, channel, digest, withheld, moment });
        self.waves.insert((name, channel), 0);
        said
    }

    fn open(&mut self, name: &'static str) {
        let now = self.b.tick();
        self.b.pipeline.opened(&Arc::from(name), now, None);
        self.acts.push(Act::Open { instance: name });
        self.open.insert(name, true);
        self.waves.retain(|(of, _), _| *of != name);
        let said = NUMERICS.iter().chain(&WAVES).map(|&channel| self.description(name, channel)).collect();
        self.b.say(name, said).expect("in order");
    }

    /// One thing that a plugin may say, and what it means to the accountant.
    fn thing(&mut self, name: &'static str) -> Said {
        let moment = wire_at(self.b.ns + 1_000_000); // of the call that is being made
        let because = [Missing::DeviceOff, Missing::NotSent, Missing::Corrupted, Missing::Overrun][self.r.below(4) as usize];
        let reason = super::super::convert::missing(because);
        match self.r.below(20) {
            0..7 => {
                let channels: Vec<u16> = NUMERICS.iter().copied().filter(|_| !self.r.one_in(3)).collect();
                let readings: Vec<_> = channels.into_iter().map(|channel| (channel, self.n())).collect();
                for &(channel, n) in &readings {
                    self.acts.push(Act::Value { instance: name, source: Source::Channel(channel), n, moment });
                }
                emit(&readings)
            }
            7..13 => {
                let channel = WAVES[self.r.below(2) as usize];
                let jump = if self.r.one_in(5) { self.r.below(9) } else { 0 };
                let counts: Vec<i32> = (0..self.r.below(12)).map(|_| self.n() as i32).collect();
                let next = self.waves.get_mut(&(name, channel)).expect("described");
                let first = *next + jump;
                if !counts.is_empty() {
                    self.acts.push(Act::Block { instance: name, channel, first, counts: counts.clone(), moment });
                    *next = first + counts.len() as u64;
                }
                block(channel, first, &counts)
            }
            13 => {
                let channel = NUMERICS[self.r.below(3) as usize];
                let values = Some(self.r.below(5) + 1).filter(|n| *n < 5);
                self.acts.push(Act::Missed { instance: name, channel, values, reason, moment });
                Said::Missed(channel, values, because)
            }
            14 => {
                let (channel, known) = (WAVES[self.r.below(2) as usize], self.r.one_in(2));
                self.acts.push(if known {
                    Act::NextJump { instance: name, channel, reason }
                } else {
                    Act::Cut { instance: name, source: Some(Source::Channel(channel)), reason, moment }
                });
                Said::Missed(channel, known.then_some(3), because)
            }
            15 => {
                let n = self.n();
                self.acts.push(Act::Value { instance: name, source: Source::Alerts, n, moment });
                self.alerted = true;
                Said::Raise(alert(n as u32))
            }
            16 => {
                let channel = [0, 1, 2, 3, 4][self.r.below(5) as usize];
                self.description(name, channel)
            }
            17 | 18 if self.takes > Takes::Everything => Said::SetTimer(1, 2), // `shut` tests what is kept on a full disk
            17 => {
                let state = self.n().to_le_bytes().to_vec();
                self.states.insert(name.to_owned(), state.clone());
                Said::Keep(state)
            }
            18 => {
                let tag = self.n() as u32;
                self.tags.push((Arc::from(name), tag));
                self.alerted = true;
                Said::WhenDurable(tag)
            }
            _ => Said::SetTimer(1, 2),
        }
    }

    fn call(&mut self, name: &'static str) {
        let said = (0..self.r.below(5)).map(|_| self.thing(name)).collect();
        self.b.say(name, said).expect("in order");
    }

    /// In order but for its last thing: none of it may count.
    fn wrong_call(&mut self, name: &'static str) {
        let kept = (self.acts.clone(), self.waves.clone(), self.states.clone(), self.tags.clone(), self.alerted);
        let mut said: Vec<_> = (0..self.r.below(4)).map(|_| self.thing(name)).collect();
        (self.acts, self.waves, self.states, self.tags, self.alerted) = kept;
        let overlap = self.b.pipeline.instances[name].channels[&2].expected.checked_sub(1);
        let overlap = overlap.map_or(block(99, 0, &[1]), |first| block(2, first, &[1]));
        // a call may have described channel 2 anew: then the overlap would be a jump
        said.retain(|s| !matches!(s, Said::Describe(2, _)));
        said.push([emit(&[(77, 1)]), emit(&[(2, 1)]), block(0, 1, &[1]), overlap][self.r.below(4) as usize].clone());
        let error = self.b.say(name, said).expect_err("wrong");
        assert!(matches!(error, PipelineError::Plugin { .. }));
        self.cut(name, GapReason::PluginFault);
        self.open.insert(name, false);
    }

    fn cut(&mut self, name: &'static str, reason: GapReason) {
        self.acts.push(Act::Cut { instance: name, source: None, reason, moment: wire_at(self.b.ns) });
    }

    fn seal(&mut self) {
        let wanted = self.b.pipeline.wants_commit();
        assert!(!self.alerted || wanted == Urgency::Now);
        let epoch = self.b.pipeline.epoch();
        let clean = self.b.pipeline.change.map(|c| c.clean);
        let full = self.r.one_in(6);
        let group = self.b.seal_as(full);
        assert!(wanted > Urgency::No || group.batches.iter().all(|(k, ..)| k.class == Class::Ledger && k.sequence == 0));
        assert_eq!(group.sealed.states, std::mem::take(&mut self.states).into_iter().collect::<Vec<_>>());
        assert_eq!(group.sealed.durable, std::mem::take(&mut self.tags));
        assert_eq!(self.b.found().as_ref(), Some(&self.b.pipeline.sealed), "what was written gives what is meant");
        assert_eq!(self.b.pipeline.epoch(), epoch + u32::from(clean.is_some()));
        self.acts.push(Act::Seal { group: self.b.groups.len() - 1, now: wire_at(self.b.ns), closes: clean });
        (self.sealed, self.alerted) = (self.acts.len(), false);
    }

    fn next_life(&mut self) {
        self.acts.truncate(self.sealed);
        self.states.clear();
        self.tags.clear();
        self.life += 1;
        self.alerted = false;
        self.b.crash(self.life);
        self.takes = Takes::Everything;
        self.acts.push(Act::Start { life: self.life });
        self.sealed = self.acts.len();
        self.open.clear();
    }

    fn step(&mut self) {
        let name = NAMES[self.r.below(3) as usize];
        if !self.open.get(name).copied().unwrap_or(false) {
            if self.r.one_in(3) {
                self.open(name);
            }
            return;
        }
        match self.r.below(60) {
            0 => {
                self.b.fault(name);
                self.cut(name, GapReason::PluginFault);
                self.open.insert(name, false);
            }
            1 => {
                self.b.lost(name);
                self.cut(name, GapReason::GatewayOverrun);
            }
            2 => self.wrong_call(name),
            3 => {
                let clean = self.r.one_in(2);
                self.b.pipeline.begin_epoch(clean);
            }
            4 => self.open(name),
            5..17 => {
                if self.b.pipeline.wants_commit() > Urgency::No || self.r.one_in(10) {
                    self.seal();
                }
            }
            17 if self.r.one_in(3) => self.next_life(),
            18 if self.r.one_in(3) => self.stop(),
            19 if self.r.one_in(2) => self.disk_fills(),
            _ => self.call(name),
        }
    }

    /// Or has room again.
    fn disk_fills(&mut self) {
        self.takes = [Takes::Everything, Takes::Everything, Takes::NoWaveforms, Takes::AlertsOnly][self.r.below(4) as usize];
        let now = self.b.tick();
        self.b.pipeline.take_only(self.takes, now);
        assert!(self.b.pipeline.behind().is_empty(), "nobody kept anything meanwhile");
        let (waveforms, numbers) = (self.takes >= Takes::NoWaveforms, self.takes >= Takes::AlertsOnly);
        self.acts.push(Act::Shut { waveforms, numbers, moment: wire_at(self.b.ns) });
    }

    fn stop(&mut self) {
        for name in NAMES {
            if self.open.get(name) == Some(&true) {
                let now = self.b.tick();
                self.b.pipeline.closed(&Arc::from(name), now, GapReason::GatewayRestart);
                self.cut(name, GapReason::GatewayRestart);
            }
        }
        let wrote = self.b.pipeline.sealed.written();
        self.b.pipeline.stop(false);
        if self.b.pipeline.wants_commit() > Urgency::No {
            self.seal();
            assert!(self.b.found().expect("heads").stopped());
        } else {
            assert!(!wrote);
        }
        self.next_life();
    }
}

//= PROMISES.md#P12
#[test]
fn every_value_has_one_place_whatever_happens() {
    let mut totals = BTreeMap::<&str, usize>::new();
    for seed in 1..=40 {
        let mut d = Driver::new(seed);
        (0..1200).for_each(|_| d.step());
        d.seal();
        d.acts.truncate(d.sealed);
        let told = audit(&d.b.groups, &d.acts).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        told.into_iter().for_each(|(what, n)| *totals.entry(what).or_default() += n);
    }
    println!("{totals:?}");
    for what in ["values", "runs", "gaps", "stretches", "lives", "epochs", "batches", "cut by restart", "untaken"] {
        assert!(totals.get(what).copied().unwrap_or(0) > 100, "the storm must reach {what}: {totals:?}");
    }
}
