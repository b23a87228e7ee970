//! What the pipeline itself makes of a channel where its configuration says so: windows and previews, as channels of their own that are marked derived.

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire as wire;
use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{Description, Fact, Kind, Moment, PREVIEW_FACT, Parked, Piece, Source, Value, WireError, read_parked};

use super::book::Voice;
use super::said::{Channel, Meaning};
use super::window::{STATISTICS, Window};
use super::{Instance, Pipeline, Urgency, convert};
use crate::config::Report;
use crate::contract::{CHANNELS_MAX, types};

/// Plugins number their channels far below this; from here on they are the pipeline's, eight to each of a plugin's.
const OWN_CHANNELS_FROM: u16 = 0x8000;
const OWN_EACH: u16 = 8;
const _: () = assert!(CHANNELS_MAX * OWN_EACH <= OWN_CHANNELS_FROM && OWN_EACH > PREVIEW);
const PREVIEW: u16 = STATISTICS.len() as u16;
/// The store keeps the newest of each name; no instance's name has such characters.
const PREFIX: &str = "!window/";
const WHAT: &str = "an open window";

/// How the receiver knows which channel it was made of, and how.
const OF: &str = "derived-from";
const WINDOW: &str = "window";

/// A window of one channel that is not told yet.
#[derive(Debug)]
pub(super) struct Open {
    pub window: Window,
    /// Of the channel that it is of.
    description: Description,
}

/// Of a plugin's channel, the pipeline's own with this number among them.
fn own(channel: u16, which: u16) -> u16 {
    OWN_CHANNELS_FROM + channel * OWN_EACH + which
}

pub(super) fn of_window(channel: u16) -> impl Iterator<Item = Source> {
    (0..STATISTICS.len() as u16).map(move |which| Source::Channel(own(channel, which)))
}

pub(super) fn of_preview(channel: u16) -> Source {
    Source::Channel(own(channel, PREVIEW))
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

fn meaning(description: Description) -> Meaning {
    Meaning { digest: wire::description_digest(&description), description }
}

fn window_meaning(of: &Description, statistic: &str, seconds: u64) -> Meaning {
    let count = statistic == "count";
    let facts = vec![fact(OF, &*of.name), fact(WINDOW, format!("{statistic} of {seconds} s"))];
    let (name, unit) = (format!("{}.{statistic}", of.name), if count { "1".into() } else { of.unit.clone() });
    let code = of.code.clone().filter(|_| !count);
    meaning(Description { name, kind: Kind::Numeric, code, unit, shape: None, personal: of.personal, derived: true, facts })
}

fn preview_meaning(of: &Description, every: u64) -> Meaning {
    let mut shape = of.shape;
    if let Some(shape) = &mut shape {
        // a period of more than 32 bits of numerator is no waveform's
        shape.period_numerator = shape.period_numerator.saturating_mul(u32::try_from(every).unwrap_or(u32::MAX));
    }
    let facts = vec![fact(OF, &*of.name), fact(PREVIEW_FACT, format!("{every} samples"))];
    meaning(Description { name: format!("{}.preview", of.name), shape, derived: true, facts, ..of.clone() })
}

fn key(instance: &str, channel: u16) -> String {
    format!("{PREFIX}{instance}/{channel}")
}

/// The instance whose open window the store keeps under this name, and its channel.
pub fn window_of(key: &str) -> Option<(&str, u16)> {
    let (instance, channel) = key.strip_prefix(PREFIX)?.rsplit_once('/')?;
    Some((instance, channel.parse().ok().filter(|channel| *channel < CHANNELS_MAX)?))
}

/// Of what is made of a channel, by the pipeline's own channels.
fn meanings(number: u16, of: &Channel) -> Vec<(u16, Arc<Meaning>)> {
    match of.report {
        Some(Report::Window { seconds }) => window_meanings(number, &of.meaning.description, seconds),
        Some(Report::Preview { every }) => vec![(own(number, PREVIEW), Arc::new(preview_meaning(&of.meaning.description, every)))],
        _ => Vec::new(),
    }
}

fn window_meanings(number: u16, of: &Description, seconds: u64) -> Vec<(u16, Arc<Meaning>)> {
    let one = |(statistic, which): (&&str, u16)| (own(number, which), Arc::new(window_meaning(of, statistic, seconds)));
    STATISTICS.iter().zip(0..).map(one).collect()
}

/// A preview, as a channel that nothing has been said on.
fn preview(of: &Channel, every: u64) -> Channel {
    let meaning = Arc::new(preview_meaning(&of.meaning.description, every));
    Channel { meaning, withheld: of.withheld, expected: 0, jump: None, report: None, sent: None, preview: true }
}

impl Open {
    pub fn new(seconds: u64, moment: Moment, description: Description) -> Self {
        Self { window: Window::new(seconds, moment), description }
    }

    fn bytes(&self, channel: u16) -> Vec<u8> {
        let (mut w, mut described) = (Writer::new(), Writer::new());
        Parked::Describe { channel, expected: 0, description: self.description.clone() }.write(&mut described);
        w.bytes(&described.out);
        self.window.write(&mut w);
        w.out
    }

    fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes, WHAT);
        let Some(Parked::Describe { description, .. }) = read_parked(r.bytes()?)?.pop() else { return Err(WireError::Range(WHAT)) };
        let window = Window::read(&mut r)?;
        r.end()?;
        Ok(Self { window, description })
    }
}

impl Instance {
    /// A channel is described: whatever is made of it is described anew too.
    pub(super) fn described(&mut self, channel: u16, means: &Channel) {
        self.names.insert(channel, means.meaning.clone());
        self.names.extend(meanings(channel, means));
        match means.report {
            Some(Report::Preview { every }) => drop(self.previews.insert(channel, preview(means, every))),
            _ => drop(self.previews.remove(&channel)),
        }
    }

    /// What the next group holds of its windows: nothing stands for one that was told.
    pub(super) fn window_changes(&mut self, instance: &str) -> Vec<(String, Vec<u8>)> {
        let bytes = |channel| self.windows.get(&channel).map_or_else(Vec::new, |open| open.bytes(channel));
        std::mem::take(&mut self.windows_changed).into_iter().map(|channel| (key(instance, channel), bytes(channel))).collect()
    }
}

impl Pipeline {
    /// A value goes into its channel's window; one that it does not belong to any more is told before.
    pub(super) fn windowed(&mut self, instance: &Arc<str>, channel: u16, seconds: u64, value: &Value, quality: u16, moment: Moment) {
        let over = self.instances[instance].windows.get(&channel).is_some_and(|open| open.window.is_over(moment));
        if over {
            self.tell_window(instance, channel);
        }
        let of = self.instances.get_mut(instance).expect("it speaks");
        let description = || of.channels[&channel].meaning.description.clone();
        let open = of.windows.entry(channel).or_insert_with(|| Open::new(seconds, moment, description()));
        open.window.take(value, quality, moment);
        of.windows_changed.insert(channel);
        self.raise(Urgency::Due);
    }

    /// An open window ends: what it came to is said at the moment of its last value.
    pub(super) fn tell_window(&mut self, instance: &Arc<str>, channel: u16) {
        let of = self.instances.get_mut(instance).expect("it has spoken");
        let Some(open) = of.windows.remove(&channel) else { return };
        of.windows_changed.insert(channel);
        self.say_window(instance, channel, &open, false);
    }

    /// What a window came to, at the moment of its last value.
    pub(super) fn say_window(&mut self, instance: &Arc<str>, channel: u16, open: &Open, late: bool) {
        let Open { window, description } = open;
        let meanings: BTreeMap<u16, Arc<Meaning>> = window_meanings(channel, description, window.seconds()).into_iter().collect();
        let readings = meanings.keys().copied().zip(window.told()).map(|(own, value)| (own, value, window.quality)).collect();
        let of = self.instances.get_mut(instance).expect("it is known");
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment: window.last, late };
        self.book.observation(&mut voice, wire::DeviceTime::NotTold, readings, |own| meanings.get(&own).map(|m| &**m));
        of.names.extend(meanings);
        self.raise(Urgency::Due);
    }

    pub(super) fn tell_windows(&mut self, instance: &Arc<str>) {
        let open: Vec<u16> = self.instances.get(instance).into_iter().flat_map(|of| of.windows.keys().copied()).collect();
        open.into_iter().for_each(|channel| self.tell_window(instance, channel));
    }

    /// Windows that are over and to which no value has come since.
    pub fn tell_windows_over(&mut self, now: types::Moment) {
        let now = convert::moment(now);
        let over = |of: &Instance| of.windows.iter().filter(|(_, open)| open.window.is_over(now)).map(|(&channel, _)| channel).collect();
        let over: Vec<(Arc<str>, Vec<u16>)> = self.instances.iter().map(|(instance, of)| (instance.clone(), over(of))).collect();
        for (instance, channels) in over {
            channels.into_iter().for_each(|channel| self.tell_window(&instance, channel));
        }
    }

    /// A window that was open when an earlier life ended: what it came to is told, and what was said after it is not there. Before anything is opened.
    /// `personal`: whether its instance may say what is personal now, whatever it was granted then.
    pub fn restore_window(&mut self, instance: &Arc<str>, channel: u16, bytes: &[u8], personal: bool) -> Result<(), WireError> {
        let of = self.instances.entry(instance.clone()).or_default();
        of.windows_changed.insert(channel); // told, or not to be read: either way it is gone after the next group
        let open = Open::read(bytes)?;
        if open.description.personal && !personal {
            of.withheld += open.window.count();
            return Ok(());
        }
        let moment = open.window.last;
        of.windows.insert(channel, open);
        self.tell_window(instance, channel);
        let of = self.instances.get_mut(instance).expect("just made");
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
        for source in of_window(channel) {
            self.book.cut(&mut voice, source, self.setup.opening, false);
        }
        Ok(())
    }

    /// Each so many-th sample, by the plugin's own index: what is lost of the channel is lost of its preview, at the same places.
    pub(super) fn previewed(&mut self, instance: &Arc<str>, channel: u16, every: u64, first: u64, piece: &Piece, counts: &[i32]) {
        let thinned: Vec<i32> = (first..).zip(counts).filter(|(index, _)| index % every == 0).map(|(_, count)| *count).collect();
        if thinned.is_empty() {
            return;
        }
        let of = self.instances.get_mut(instance).expect("it speaks");
        let (jump, expected) = (of.channels[&channel].jump, of.channels[&channel].expected);
        let preview = of.previews.get_mut(&channel).expect("described");
        preview.jump = preview.jump.or(jump);
        if expected == first {
            preview.expected = first.div_ceil(every); // nothing is lost: what went before was parked, and is sent as it was
        }
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment: piece.moment, late: false };
        let piece = Piece { count: thinned.len() as u32, ..*piece };
        self.book.block(&mut voice, own(channel, PREVIEW), preview, first.div_ceil(every), piece, thinned);
    }
}
