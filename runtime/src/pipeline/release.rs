//! Whose values are they: takes each thing that is said to its bed or into parking, and out of parking when it is known.

use std::sync::Arc;

use wardgate_wire as wire;
use wardgate_wire::{Entry, GapReason, Moment, Parked};

use super::book::Voice;
use super::parking::{Binding, Claim};
use super::said::Step;
use super::{Pipeline, Urgency, convert, sources};
use crate::config::Link;
use crate::contract::types;
use crate::whose::SERIAL;

impl Pipeline {
    /// Whose output an instance's is, from now on: as the configuration or a person says. What is parked of that very device goes out late.
    /// `kept`: what the store is to keep of it, and under which name.
    pub fn bound(&mut self, instance: &Arc<str>, binding: Binding, now: types::Moment, kept: Option<(String, Vec<u8>)>) {
        if let Some((name, bytes)) = kept {
            self.states.insert(name.into(), bytes);
            self.raise(Urgency::Due);
        }
        self.tell_windows(instance);
        let of = self.instances.entry(instance.clone()).or_default();
        of.parking.bind(binding);
        let parking = &mut of.parking;
        let holds = parking.holds(); // also of one that was known by its address, or by its serial, while it was parked
        let words = match parking.bound.serial.clone() {
            Some(serial) => parking.take(|claim, present| claim == Some(serial.as_str()) || (present && holds)),
            None => parking.take(|_, present| present), // whatever stands there stands at that bed
        };
        let from = words.iter().find_map(|word| if let Parked::Session { moment } = word { Some(*moment) } else { None });
        self.tell_binding(instance, from.unwrap_or(convert::moment(now)));
        self.release(instance, words, true);
    }

    /// What it says may be another device's from now on: its link came up.
    pub fn relinked(&mut self, instance: &Arc<str>, link: Link, now: types::Moment) {
        let of = self.instances.entry(instance.clone()).or_default();
        if of.parking.whose.relinked(link) {
            self.begin_session(instance, convert::moment(now));
        }
    }

    /// What it says may be another device's from now on: it said nothing for longer than is usual.
    pub fn quiet(&mut self, instance: &Arc<str>, now: types::Moment) {
        let of = self.instances.entry(instance.clone()).or_default();
        of.parking.whose.quiet();
        if of.parking.bound.serial.is_some() {
            self.begin_session(instance, convert::moment(now));
        }
    }

    /// What the store held of an instance's parked output when this life began; how many bytes of it cannot be read.
    pub fn restore_parked(&mut self, instance: &Arc<str>, chunks: Vec<Vec<u8>>, now: types::Moment) -> usize {
        self.instances.entry(instance.clone()).or_default().parking.restore(chunks, now.monotonic_ns)
    }

    /// What nobody claimed for so long is given up, and is a gap.
    pub fn expire_parked(&mut self, now: types::Moment, keep_ns: u64) {
        let due = |ns: u64| now.monotonic_ns.saturating_sub(ns) >= keep_ns;
        let expired: Vec<Arc<str>> =
            self.instances.iter().filter(|(_, of)| of.parking.oldest_ns.is_some_and(due)).map(|(name, _)| name.clone()).collect();
        for instance in expired {
            let words = self.instances.get_mut(&instance).expect("just seen").parking.expire();
            let spoke = self.sources_with_values(&instance, &words);
            let of = self.instances.get_mut(&instance).expect("just seen");
            let mut voice = Voice { instance: &instance, numbering: &mut of.numbering, moment: convert::moment(now), late: true };
            for source in spoke {
                self.book.cut(&mut voice, source, GapReason::UnboundExpired, false);
            }
            self.raise(Urgency::Due);
        }
    }

    /// How an instance stands with its binding, where that is news.
    pub fn claim_news(&mut self, instance: &str) -> Option<Claim> {
        self.instances.get_mut(instance)?.parking.news()
    }

    pub(super) fn begin_session(&mut self, instance: &Arc<str>, now: Moment) {
        self.tell_windows(instance); // no window goes on over what another device said
        let of = self.instances.entry(instance.clone()).or_default();
        of.clocks.forget();
        of.parking.begin_session(now);
        self.tell_binding(instance, now);
    }

    /// One thing that was said and judged: to its bed, or into parking. An alarm goes out at once in any case, without a bed where that is not
    /// known; what the plugin keeps and asks is about the plugin.
    pub(super) fn hear(&mut self, instance: &Arc<str>, now: types::Moment, step: Step) {
        let serial = match &step {
            Step::Identify(facts) => facts.iter().find(|f| f.name == SERIAL && !f.value.is_empty()).map(|f| f.value.clone()),
            _ => None,
        };
        let holds = self.instances.get(instance).is_some_and(|of| of.parking.holds());
        match self.admit(instance, now, step) {
            None => {}
            Some(step @ (Step::Identify(_) | Step::Raise(_) | Step::Keep(_) | Step::WhenDurable(_))) => self.take(instance, now, step),
            Some(step) if holds => self.take(instance, now, step),
            Some(step) => self.park(instance, convert::moment(now), step),
        }
        if let Some(serial) = serial {
            self.identified(instance, convert::moment(now), &serial, false);
        }
    }

    /// One of a pool of peripherals: who it is by its address.
    pub fn met(&mut self, instance: &Arc<str>, who: &str, now: types::Moment) {
        self.instances.entry(instance.clone()).or_default();
        self.identified(instance, convert::moment(now), who, true);
    }

    /// The device says who it is, or was `met` by its address. What it said before that, since it was last there, was its own.
    fn identified(&mut self, instance: &Arc<str>, now: Moment, serial: &str, met: bool) {
        let whose = &self.instances[instance].parking.whose;
        let known = if met { &whose.met } else { &whose.claim };
        if known.as_deref() == Some(serial) {
            return;
        }
        let another = known.is_some();
        self.tell_windows(instance);
        let of = self.instances.get_mut(instance).expect("it speaks");
        let parking = &mut of.parking;
        if another {
            of.clocks.forget();
            parking.begin_session(now); // another device without a word of the link
        }
        let from = parking.session;
        let (held, before) = (parking.holds(), parking.who().map(str::to_owned));
        let known = if met { &mut parking.whose.met } else { &mut parking.whose.claim };
        *known = Some(serial.to_owned());
        let mine = if !held && parking.holds() {
            parking.take(|claim, present| present && (claim.is_none() || claim == before.as_deref()))
        } else {
            vec![]
        };
        parking.shows();
        if parking.bound.serial.is_some() {
            let mut voice = Voice { instance, numbering: &mut of.numbering, moment: now, late: false };
            voice.all_anew(); // no run goes on over what another device said
        }
        self.tell_binding(instance, from);
        self.release(instance, mine, false);
    }

    fn tell_binding(&mut self, instance: &Arc<str>, from: Moment) {
        let of = self.instances.get_mut(instance).expect("it is known");
        let Binding { bed, serial } = &of.parking.bound;
        let now = if of.parking.holds() {
            Binding { bed: bed.clone(), serial: serial.clone() }
        } else {
            Binding { bed: None, serial: of.parking.who().map(str::to_owned) }
        };
        if of.told != now {
            of.told = now.clone();
            self.note(Entry::Binding { instance: instance.to_string(), serial: now.serial, bed: now.bed, from });
        }
    }

    fn park(&mut self, instance: &Arc<str>, moment: Moment, step: Step) {
        let of = self.instances.get_mut(instance).expect("judged by its channels");
        let word = match step {
            Step::Describe { channel, means } => {
                let description = means.meaning.description.clone();
                let word = (!means.withheld).then_some(Parked::Describe { channel, expected: 0, description });
                if let Some(word) = word {
                    of.parking.park(word, &of.channels, moment.monotonic_ns);
                }
                of.described(channel, &means);
                let all = sources(channel, &means);
                of.channels.insert(channel, means);
                let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
                all.into_iter().for_each(|source| voice.anew(source));
                None
            }
            Step::Observation { at, mut readings } => {
                let said = readings.len();
                readings.retain(|(channel, ..)| !of.channels[channel].withheld);
                of.withheld += (said - readings.len()) as u64;
                (!readings.is_empty()).then_some(Parked::Observation { moment, at, readings })
            }
            Step::Block { channel, first, at, counts, quality } => {
                let next = first + counts.len() as u64;
                let withheld = of.channels[&channel].withheld;
                of.withheld += if withheld { counts.len() as u64 } else { 0 };
                let piece = wire::Piece { count: counts.len() as u32, moment, at, quality };
                if !withheld {
                    of.parking.park(Parked::Block { channel, first, piece, counts }, &of.channels, moment.monotonic_ns);
                }
                of.channels.get_mut(&channel).expect("judged").expected = next;
                None
            }
            Step::Missed { channel, count, reason } => {
                (!of.channels[&channel].withheld).then_some(Parked::Missed { moment, channel, count, reason })
            }
            Step::Identify(_) | Step::Raise(_) | Step::Keep(_) | Step::WhenDurable(_) => None, // never parked
        };
        if let Some(word) = word {
            of.parking.park(word, &of.channels, moment.monotonic_ns);
        }
        self.raise(Urgency::Due);
    }
}
