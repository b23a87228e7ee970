//! Taps: what filters see of other instances. A source's supervisor says here what it hands to the pipeline; a copy of what is bound goes into the
//! inboxes of those who listen. Nobody waits for a filter: one that is too slow loses, and is told so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::capability::inbox;
use crate::config::{ChannelKind, Link, Tap};
use crate::contract::types::{Alert, Channel, Description, Kind, Missing, Moment, Observation, Reading, Waveform};
use crate::contract::{Event, Said};
use crate::whose::{SERIAL, Whose};

/// All instances of a gateway share one.
#[derive(Clone, Default)]
pub struct Taps(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    sources: BTreeMap<String, Source>,
    listeners: BTreeMap<String, Listener>,
}

#[derive(Default)]
struct Source {
    /// As the running plugin described them; nothing while none is open.
    channels: BTreeMap<Channel, Description>,
    /// The device that its binding names.
    serial: Option<String>,
    whose: Whose,
}

struct Listener {
    inbox: inbox::Sender,
    inputs: Vec<Option<Tap>>,
    /// Personal channels may be heard.
    personal: bool,
    /// Its plugin is open.
    open: bool,
    /// By input: the source's channel that it hears now.
    bound: Vec<Option<Channel>>,
}

impl Source {
    /// A device that may be another than the binding names is heard by nobody: its values are parked, and whose they are is not known.
    fn is_known(&self) -> bool {
        self.whose.is(self.serial.as_deref())
    }
}

impl Taps {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().expect("no holder panics")
    }

    /// From here on this instance listens; what it can hear it is told when its plugin opens.
    pub fn listen(&self, instance: &str, inputs: Vec<Option<Tap>>, personal: bool, inbox: inbox::Sender) {
        let bound = vec![None; inputs.len()];
        self.lock().listeners.insert(instance.to_owned(), Listener { inbox, inputs, personal, open: false, bound });
    }

    /// It listens no more, and nobody hears it any more.
    pub fn leave(&self, instance: &str) {
        let mut board = self.lock();
        board.listeners.remove(instance);
        board.sources.remove(instance);
    }

    /// The device that a source's binding names.
    pub fn bind(&self, source: &str, serial: Option<&str>, now: Moment) {
        self.lock().change(source, now, |s| s.serial = serial.map(str::to_owned));
    }

    /// As a source, the plugin begins anew; as a listener, it is told all that it can hear, and that it does not know what it missed.
    pub fn opened(&self, instance: &str, now: Moment) {
        let mut board = self.lock();
        board.ended(instance, now);
        board.source(instance).whose.opened();
        board.tell(instance, now, Missing::Unknown);
    }

    /// A listener was too slow: what waited for it is gone, and it is told where it stands now.
    pub fn overran(&self, listener: &str, now: Moment) {
        self.lock().tell(listener, now, Missing::Overrun);
    }

    /// The run is over: nothing more is heard of it, and it hears nothing more.
    pub fn ended(&self, instance: &str, now: Moment) {
        let mut board = self.lock();
        board.ended(instance, now);
        if let Some(listener) = board.listeners.get_mut(instance) {
            (listener.open, listener.bound) = (false, vec![None; listener.inputs.len()]);
        }
    }

    /// A link of a source came up: it may be another device.
    pub fn relinked(&self, source: &str, link: Link, now: Moment) {
        self.lock().change(source, now, |s| {
            s.whose.relinked(link);
        });
    }

    /// A source's device shows the address that is its own.
    pub fn met(&self, source: &str, who: &str, now: Moment) {
        self.lock().change(source, now, |s| s.whose.met = Some(who.to_owned()));
    }

    /// A source said nothing for longer than is usual: it may be another device.
    pub fn quiet(&self, source: &str, now: Moment) {
        self.lock().change(source, now, |s| s.whose.quiet());
    }

    /// Something of a source was lost before what comes next.
    pub fn lost(&self, source: &str, now: Moment) {
        self.lock().each(source, |listener, input, _| listener.inbox.tapped(now, Event::FilterMissed(input, None, Missing::Overrun)));
    }

    /// What one finished call of a source said, in order.
    pub fn said(&self, source: &str, now: Moment, said: &[Said]) {
        let mut board = self.lock();
        for one in said {
            match one {
                Said::Describe(channel, meaning) => board.described(source, now, *channel, meaning),
                Said::Identify(facts) => {
                    if let Some(serial) = facts.iter().find(|f| f.name == SERIAL && !f.value.is_empty()) {
                        board.change(source, now, |s| s.whose.claim = Some(serial.value.clone()));
                    }
                }
                Said::Emit(observations) => {
                    board.each_listener(source, |l, name| observations.iter().for_each(|o| l.observed(name, now, o)))
                }
                Said::EmitWaveform(blocks) => blocks.iter().for_each(|b| board.sampled(source, now, b)),
                Said::Missed(channel, count, because) => board.each(source, |listener, input, of| {
                    if of == *channel {
                        listener.inbox.tapped(now, Event::FilterMissed(input, *count, *because));
                    }
                }),
                Said::Raise(alert) => board.each(source, |listener, input, of| {
                    if alert.channel == Some(of) {
                        listener.inbox.tapped(now, Event::FilterRaised(input, Alert { channel: Some(input), ..alert.clone() }));
                    }
                }),
                _ => {}
            }
        }
    }

    /// How many inputs of a listener hear something now, and how many are bound to a channel.
    pub fn heard(&self, listener: &str) -> (u64, u64) {
        let count = |l: &Listener| (l.bound.iter().flatten().count() as u64, l.inputs.iter().flatten().count() as u64);
        self.lock().listeners.get(listener).map_or((0, 0), count)
    }
}

impl Board {
    fn source(&mut self, name: &str) -> &mut Source {
        self.sources.entry(name.to_owned()).or_default()
    }

    /// Those who hear anything of a source now.
    fn each_listener(&mut self, source: &str, mut tell: impl FnMut(&mut Listener, &str)) {
        self.listeners
            .values_mut()
            .filter(|l| l.open && l.inputs.iter().flatten().any(|t| t.from.instance == source))
            .for_each(|l| tell(l, source));
    }

    /// Each input that hears a channel of this source, with that channel.
    fn each(&mut self, source: &str, mut tell: impl FnMut(&Listener, Channel, Channel)) {
        self.each_listener(source, |listener, source| {
            for (input, channel) in listener.hears(source) {
                tell(listener, input, channel);
            }
        });
    }

    /// Changes what is known of a source's device: who hears it is told, where that changes whether it is known whose it is.
    fn change(&mut self, source: &str, now: Moment, change: impl FnOnce(&mut Source)) {
        let of = self.source(source);
        let before = of.is_known();
        change(of);
        match (before, of.is_known()) {
            (true, false) => self.unbind(source, now),
            (false, true) => {
                let channels = of.channels.clone();
                self.each_listener(source, |listener, source| {
                    for (channel, meaning) in &channels {
                        listener.bind(source, now, *channel, meaning, Some(Missing::Unknown));
                    }
                });
            }
            _ => {}
        }
    }

    fn described(&mut self, source: &str, now: Moment, channel: Channel, meaning: &Description) {
        let of = self.source(source);
        of.channels.insert(channel, meaning.clone());
        if of.is_known() {
            self.each_listener(source, |listener, source| listener.bind(source, now, channel, meaning, None));
        }
    }

    fn sampled(&mut self, source: &str, now: Moment, block: &Waveform) {
        self.each(source, |listener, input, of| {
            if block.channel == of {
                listener.inbox.tapped(now, Event::FilterSampled(Waveform { channel: input, ..block.clone() }));
            }
        });
    }

    fn ended(&mut self, source: &str, now: Moment) {
        self.unbind(source, now);
        self.source(source).channels.clear();
    }

    fn unbind(&mut self, source: &str, now: Moment) {
        self.each_listener(source, |listener, source| {
            for (input, _) in listener.hears(source) {
                listener.bound[usize::from(input)] = None;
                listener.inbox.tapped(now, Event::FilterUnbound(input));
            }
        });
    }

    /// All that a listener can hear, from nothing.
    fn tell(&mut self, name: &str, now: Moment, because: Missing) {
        let Some(listener) = self.listeners.get_mut(name) else { return };
        (listener.open, listener.bound) = (true, vec![None; listener.inputs.len()]);
        for (source, of) in self.sources.iter().filter(|(_, of)| of.is_known()) {
            for (channel, meaning) in &of.channels {
                listener.bind(source, now, *channel, meaning, Some(because));
            }
        }
    }
}

impl Listener {
    /// Input and channel of all that it hears of this source now.
    fn hears(&self, source: &str) -> Vec<(Channel, Channel)> {
        let taps = self.inputs.iter().zip(&self.bound).zip(0..);
        let of = |((tap, bound), input): ((&Option<Tap>, &Option<Channel>), Channel)| {
            tap.as_ref().filter(|tap| tap.from.instance == source).and(*bound).map(|channel| (input, channel))
        };
        taps.filter_map(of).collect()
    }

    /// A source described this channel: every input that names it hears it from now on, and one that heard it under another name does not.
    fn bind(&mut self, source: &str, now: Moment, channel: Channel, meaning: &Description, missed: Option<Missing>) {
        for input in 0..self.inputs.len() {
            let Some(tap) = self.inputs[input].as_ref().filter(|tap| tap.from.instance == source) else { continue };
            let number = input as Channel; // a manifest has few
            let fits = tap.from.channel == meaning.name;
            if fits && self.may_hear(tap, meaning) {
                // a source that was heard before goes on under a new description; one that is new to it has said things that it did not hear
                let missed = missed.or(self.bound[input].is_none().then_some(Missing::Unknown));
                self.bound[input] = Some(channel);
                self.inbox.tapped(now, Event::FilterBound(number, meaning.clone()));
                if let Some(because) = missed {
                    self.inbox.tapped(now, Event::FilterMissed(number, None, because));
                }
            } else if self.bound[input] == Some(channel) {
                self.bound[input] = None;
                self.inbox.tapped(now, Event::FilterUnbound(number));
            }
        }
    }

    fn may_hear(&self, tap: &Tap, meaning: &Description) -> bool {
        let who = self.inbox.instance();
        if tap.kind.of_contract() != meaning.kind {
            tracing::warn!(instance = %who, "input {} takes {:?}, and {} is {:?}: it is not bound", tap.input, tap.kind, tap.from, meaning.kind);
            return false;
        }
        if meaning.personal && !self.personal {
            let remedy = format!("to allow it, write below [instance.{who}.grants] in gateway.toml: personal = true");
            tracing::warn!(instance = %who, "input {} is not bound: {} is personal, and this instance is not granted that; {remedy}", tap.input, tap.from);
            return false;
        }
        true
    }

    fn observed(&self, source: &str, now: Moment, seen: &Observation) {
        let heard = self.hears(source);
        let readings: Vec<Reading> = (seen.readings.iter())
            .flat_map(|r| heard.iter().filter(|(_, of)| *of == r.channel).map(|(input, _)| Reading { channel: *input, ..r.clone() }))
            .collect();
        if !readings.is_empty() {
            self.inbox.tapped(now, Event::FilterObserved(Observation { at: seen.at, readings }));
        }
    }
}

impl ChannelKind {
    /// As plugins write it.
    pub fn of_contract(self) -> Kind {
        match self {
            Self::Numeric => Kind::Numeric,
            Self::Enumeration => Kind::Enumeration,
            Self::Bits => Kind::Bits,
            Self::Text => Kind::Text,
            Self::Octets => Kind::Octets,
            Self::Waveform => Kind::Waveform,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tapped;
    use crate::contract::types::{DeviceTime, Quality, Value};

    fn now(ns: u64) -> Moment {
        Moment { boot: 1, monotonic_ns: ns, wall: None }
    }

    fn described(channel: Channel, name: &str, kind: Kind, personal: bool) -> Said {
        Said::Describe(
            channel,
            Description { name: name.into(), kind, code: None, unit: String::new(), shape: None, personal, facts: vec![] },
        )
    }

    fn emit(channels: &[Channel]) -> Said {
        let reading = |channel: &Channel| Reading { channel: *channel, value: Value::Code(1), quality: Quality::empty() };
        Said::Emit(vec![Observation { at: DeviceTime::NotTold, readings: channels.iter().map(reading).collect() }])
    }

    /// A listener with these inputs, each "SOURCE/CHANNEL", whose plugin is open.
    fn listening(taps: &Taps, inputs: &[&str], personal: bool) -> inbox::Inbox {
        let (events, inbox) = inbox::inbox("filter".into(), 0);
        let tap = |text: &&str| {
            let (instance, channel) = text.split_once('/').expect("two parts");
            let from = Tapped { instance: instance.into(), channel: channel.into() };
            Some(Tap { input: "x".into(), kind: ChannelKind::Numeric, from })
        };
        taps.listen("filter", inputs.iter().map(tap).collect(), personal, events);
        taps.opened("filter", now(0));
        inbox
    }

    /// What waits, in short: what, and of which input.
    fn heard(inbox: &inbox::Inbox) -> Vec<String> {
        let word = |(_, event)| match event {
            Event::FilterBound(input, meaning) => format!("bound {input} {}", meaning.name),
            Event::FilterUnbound(input) => format!("unbound {input}"),
            Event::FilterMissed(input, _, because) => format!("missed {input} {because:?}"),
            Event::FilterObserved(seen) => format!("seen {:?}", seen.readings.iter().map(|r| r.channel).collect::<Vec<_>>()),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| inbox.try_recv()).map(word).collect()
    }

    #[test]
    fn it_hears_the_inputs_that_are_bound_whenever_either_side_began() {
        let taps = Taps::default();
        taps.opened("a", now(1));
        taps.said("a", now(1), &[described(3, "t", Kind::Numeric, false), described(4, "u", Kind::Numeric, false)]);
        let inbox = listening(&taps, &["a/t", "b/t", "a/t"], false);
        assert_eq!(heard(&inbox), ["bound 0 t", "missed 0 Missing::Unknown", "bound 2 t", "missed 2 Missing::Unknown"]);
        taps.said("a", now(2), &[emit(&[3, 4]), emit(&[4])]);
        assert_eq!(heard(&inbox), ["seen [0, 2]"], "readings of no other channel, and one for each input");
        taps.opened("b", now(3));
        taps.said("b", now(3), &[described(0, "t", Kind::Numeric, false), emit(&[0])]);
        assert_eq!(heard(&inbox), ["bound 1 t", "missed 1 Missing::Unknown", "seen [1]"]);
        taps.said("a", now(4), &[described(3, "t", Kind::Numeric, false), emit(&[3]), described(3, "other", Kind::Numeric, false)]);
        assert_eq!(heard(&inbox), ["bound 0 t", "bound 2 t", "seen [0, 2]", "unbound 0", "unbound 2"], "anew, and under another name");
        taps.ended("b", now(5));
        taps.said("b", now(6), &[emit(&[0])]);
        assert_eq!(heard(&inbox), ["unbound 1"]);
        assert_eq!(taps.heard("filter"), (0, 3));
        taps.ended("filter", now(7));
        taps.opened("b", now(8));
        taps.said("b", now(8), &[described(0, "t", Kind::Numeric, false)]);
        assert!(heard(&inbox).is_empty(), "whose plugin is not open hears nothing");
    }

    #[test]
    fn another_kind_and_what_is_personal_are_not_heard() {
        let taps = Taps::default();
        let inbox = listening(&taps, &["a/t", "a/p"], false);
        taps.opened("a", now(1));
        let said = [described(0, "t", Kind::Enumeration, false), described(1, "p", Kind::Numeric, true), emit(&[0, 1])];
        taps.said("a", now(1), &said);
        assert!(heard(&inbox).is_empty());
        let granted = listening(&taps, &["a/t", "a/p"], true);
        taps.said("a", now(2), &[emit(&[0, 1])]);
        assert_eq!(heard(&granted), ["bound 1 p", "missed 1 Missing::Unknown", "seen [1]"]);
    }

    #[test]
    fn a_device_that_may_be_another_is_not_heard_until_it_says_who_it_is() {
        let taps = Taps::default();
        let inbox = listening(&taps, &["a/t"], false);
        taps.bind("a", Some("A1"), now(0));
        taps.opened("a", now(1));
        taps.relinked("a", Link::Serial, now(1));
        let is = |serial: &str| Said::Identify(vec![crate::contract::types::Fact { name: SERIAL.into(), value: serial.into() }]);
        taps.said("a", now(1), &[described(0, "t", Kind::Numeric, false), emit(&[0]), is("A1"), emit(&[0])]);
        assert_eq!(heard(&inbox), ["bound 0 t", "missed 0 Missing::Unknown", "seen [0]"]);
        taps.relinked("a", Link::Serial, now(2));
        taps.said("a", now(2), &[emit(&[0]), is("B2"), emit(&[0])]);
        assert_eq!(heard(&inbox), ["unbound 0"]);
        taps.said("a", now(2), &[is("A1"), emit(&[0])]);
        assert_eq!(heard(&inbox), ["bound 0 t", "missed 0 Missing::Unknown", "seen [0]"]);
        taps.quiet("a", now(2));
        taps.said("a", now(2), &[emit(&[0])]);
        assert_eq!(heard(&inbox), ["unbound 0"]);
        taps.bind("a", None, now(3)); // any device, a person says
        taps.said("a", now(3), &[emit(&[0])]);
        assert_eq!(heard(&inbox), ["bound 0 t", "missed 0 Missing::Unknown", "seen [0]"]);
    }
}
