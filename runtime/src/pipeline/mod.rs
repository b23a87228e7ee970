//! Room 3, readings -> batches: gives every value its position, closes batches and epochs, and says what the store must remember.
//! Pure: time, keys and lives are arguments; what went in decides what comes out, to the byte.

mod book;
mod clocks;
mod convert;
mod derived;
mod heads;
mod heads_bytes;
mod heads_stream;
mod open;
mod parking;
mod release;
mod report;
mod said;
mod seal;
mod shut;
#[cfg(test)]
mod tests;
mod told;
mod unpark;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;
use wardgate_wire::{
    Alert, BatchKey, ClockQuality, DeviceTime, Digest, Entry, GapReason, GatewayId, Key, Life, Moment, Parked, Piece, Predecessor, Raw,
    Source, WireError,
};

use crate::config::{Report, Terms};
use crate::contract::{Frame, Said, types};
use crate::status::Gap;

use book::{Book, Numbering, Voice};
use clocks::{Clocks, Told};
use open::Open;
use parking::Parking;
use said::{Channel, Meaning, Step};
use shut::Behind;

pub use derived::window_of;
pub use heads::Heads;
pub use parking::{Binding, Claim, PARKED_BYTES_MAX, parked_of};
pub use said::SaidWrong;
pub use shut::Takes;

/// More than this in memory is sealed at once: a ward says some 20 KiB a second, so this is a flood or a stalled card.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// A plugin that describes itself over and over makes runs over and over. From here on the epoch is changed without being asked, so that its
/// closing stays far under the 65,536 rows that the wire allows, also with what a full memory can add.
const RUNS_IN_EPOCH_MAX: usize = 4096;
/// In the place of an alert's own words.
const WITHHELD: &str = "personal, and not granted";

/// What stays the same for a whole life.
pub struct Setup {
    pub gateway: GatewayId,
    /// Drawn at this start.
    pub life: Life,
    pub key: Key,
    /// A batch closes at this size.
    pub batch_bytes: usize,
    /// Name and version of this program, for the opening.
    pub software: String,
    /// Why there was a life before this one: gateway-restart or power-cut.
    pub opening: GapReason,
    /// By instance.
    pub terms: BTreeMap<String, Terms>,
}

/// How soon a group is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    No,
    /// Within the usual second.
    Due,
    /// An alert waits, or a device that wants to know that its data are safe; or memory fills.
    Now,
}

/// What one group makes durable in one piece. A commit that fails is tried again with this very value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// In the order in which they were closed.
    pub batches: Vec<(BatchKey, Digest, Vec<u8>)>,
    /// The newest state that each instance kept since the group before.
    pub states: Vec<(String, Vec<u8>)>,
    /// Whether they are full, and their bytes.
    pub heads: (bool, Vec<u8>),
    /// To be told when the group is on flash, in this order.
    pub durable: Vec<(Arc<str>, types::Tag)>,
    /// What its ledger tells of losses, for people.
    pub gaps: Vec<Gap>,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PipelineError {
    /// Nothing of the call was taken; the instance is not heard again until it opens anew.
    #[error("plugin of \"{instance}\" {wrong}; the call counts as trapped, restart the instance and report this to the plugin's vendor")]
    Plugin { instance: Arc<str>, wrong: SaidWrong },
    /// What comes after a fault and before the next `open`; it lies in the gap of the fault.
    #[error("\"{instance}\" spoke while it was not open; what it said lies in the gap until it opens again")]
    NotOpen { instance: Arc<str> },
    /// Nothing is half done: the same things wait as before.
    #[error("batch {batch} cannot be written: {error}; this is a fault of the gateway, please report it")]
    Encode { batch: BatchKey, error: WireError },
}

#[derive(Debug, Default)]
struct Instance {
    state: State,
    channels: BTreeMap<u16, Channel>,
    /// What each channel was last described as in this life, for people: a fault does not forget it.
    names: BTreeMap<u16, Arc<Meaning>>,
    numbering: BTreeMap<Source, Numbering>,
    /// Values of personal channels that are not granted.
    withheld: u64,
    /// Readings that were no change.
    unchanged: u64,
    /// Values for which the disk had no room.
    not_taken: u64,
    behind: Behind,
    /// The call that is being heard raises an alarm.
    alarms: bool,
    /// That nothing more of it is parked is said.
    parking_shut: bool,
    /// The newest state that was taken of whoever speaks for it now.
    kept: Option<Vec<u8>>,
    parking: Parking,
    clocks: Clocks,
    /// Open windows, by the channel that they are of.
    windows: BTreeMap<u16, derived::Open>,
    /// Of which channels the store has it otherwise.
    windows_changed: BTreeSet<u16>,
    /// By the channel that they are of.
    previews: BTreeMap<u16, Channel>,
    /// Its binding as the ledger tells it.
    told: Binding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    New,
    Open,
    Faulted,
    Closed,
}

/// An epoch change that waits for the next seal.
#[derive(Clone, Copy, Debug)]
struct Change {
    clean: bool,
}

pub struct Pipeline {
    setup: Setup,
    book: Book,
    /// The heads of the newest group: what a difference is to.
    sealed: Heads,
    instances: BTreeMap<Arc<str>, Instance>,
    states: BTreeMap<Arc<str>, Vec<u8>>,
    durable: Vec<(Arc<str>, types::Tag)>,
    change: Option<Change>,
    urgency: Urgency,
    takes: Takes,
}

impl Pipeline {
    /// `found`: the newest heads on the card, flushed.
    pub fn new(setup: Setup, found: Option<Heads>, now: types::Moment) -> Self {
        let now = convert::moment(now);
        let mut open = Open::new(setup.batch_bytes);
        let heads = match &found {
            Some(found) => Heads::succeed(found, setup.life, now),
            None => Heads::new(setup.life, now),
        };
        let predecessor = found.as_ref().map(|f| Predecessor { life: f.life, closing: f.closing(false) });
        let opening = Entry::Opening { predecessor, reason: setup.opening, software: setup.software.clone() };
        let gaps = found.map_or_else(Vec::new, |mut found| found.tell_open_gaps(found.moment));
        open.opening(std::iter::once(opening).chain(gaps).collect());
        let (sealed, restart) = (heads.clone(), setup.opening);
        Self {
            setup,
            book: Book { heads, open, restart, holds: false, runs_in_epoch: 0 },
            sealed,
            instances: BTreeMap::new(),
            states: BTreeMap::new(),
            durable: Vec::new(),
            change: None,
            urgency: Urgency::No,
            takes: Takes::Everything,
        }
    }

    /// The instance begins (again): its channels mean nothing until it describes them. `why`: what was lost since it was last open,
    /// where nothing else has told; of an instance that was closed, it says it better than the closing could.
    pub fn opened(&mut self, instance: &Arc<str>, moment: types::Moment, why: Option<GapReason>) {
        let was = self.instances.entry(instance.clone()).or_default().state;
        if let Some(reason) = why.filter(|_| was != State::New) {
            self.cut(instance, moment, reason, was == State::Closed);
        }
        let of = self.instances.entry(instance.clone()).or_default();
        (of.state, of.channels) = (State::Open, BTreeMap::new());
        if why == Some(GapReason::DiskFull) {
            of.behind = Behind::No; // it was opened from what is stored
        }
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment: convert::moment(moment), late: false };
        voice.anew(Source::Alerts);
        of.parking.whose.opened();
        self.begin_session(instance, convert::moment(moment));
    }

    /// What one finished call said: all of it is taken, or nothing and the instance counts as faulted.
    pub fn spoken(&mut self, instance: &Arc<str>, moment: types::Moment, said: Vec<Said>) -> Result<(), PipelineError> {
        let Some(of) = self.instances.get(instance).filter(|i| i.state == State::Open) else {
            return Err(PipelineError::NotOpen { instance: instance.clone() });
        };
        match said::judge(said, &of.channels, self.setup.terms.get(&**instance).unwrap_or(&Terms::default())) {
            Ok(steps) => {
                self.weigh(instance, &steps);
                steps.into_iter().for_each(|step| self.hear(instance, moment, step));
                self.keep_bounds();
                Ok(())
            }
            Err(wrong) => {
                self.fault(instance, moment, GapReason::PluginFault);
                Err(PipelineError::Plugin { instance: instance.clone(), wrong })
            }
        }
    }

    /// What went over a device's line, byte for byte: into the archive where the site grants that and it is known whose it is. How many bytes
    /// of the device were dropped.
    pub fn raw(&mut self, instance: &Arc<str>, frame: Frame) -> u64 {
        let Frame { moment, sent, bytes } = frame;
        let granted = self.setup.terms.get(&**instance).is_some_and(|terms| terms.keep_raw);
        let known = self.instances.get(instance).is_some_and(|of| of.parking.holds());
        if !granted || !known || self.takes > Takes::Everything {
            return if sent { 0 } else { bytes.len() as u64 };
        }
        self.book.raw(Raw { instance: instance.to_string(), moment: convert::moment(moment), sent, bytes });
        self.raise(Urgency::Due);
        self.keep_bounds();
        0
    }

    /// Its inbox overflowed: something was lost before what comes next.
    pub fn lost(&mut self, instance: &Arc<str>, moment: types::Moment, why: GapReason) {
        self.cut(instance, moment, why, false);
    }

    /// A call trapped: what it had in hand is lost, and nothing is heard until it opens again.
    pub fn fault(&mut self, instance: &Arc<str>, moment: types::Moment, why: GapReason) {
        self.end(instance, moment, why, State::Faulted);
    }

    /// It was closed in order, and why; who opens it again may know better (`opened`).
    pub fn closed(&mut self, instance: &Arc<str>, moment: types::Moment, why: GapReason) {
        self.end(instance, moment, why, State::Closed);
    }

    /// Whoever speaks for this instance from now on is another than before: what was to be told to its predecessor is told to nobody.
    pub fn posted(&mut self, instance: &Arc<str>, terms: Terms) {
        self.setup.terms.insert(instance.to_string(), terms);
        self.durable.retain(|(to, _)| to != instance);
        self.instances.entry(instance.clone()).or_default().kept = None;
    }

    /// How the wall clock stood at a moment. Alone it is no reason for a life to leave a trace.
    pub fn clock(&mut self, at: types::Moment, wall_ns: i64, uncertainty_ns: u64, quality: ClockQuality) {
        self.note(Entry::Clock { at: convert::moment(at), wall_ns, uncertainty_ns, quality });
    }

    pub fn wants_commit(&self) -> Urgency {
        self.urgency
    }

    /// Asks for the next epoch, which begins inside the next seal: all that is said until then still belongs to the present one.
    /// False when the present one holds nothing but its opening and is not succeeded. `clean`: nothing older than it is held, of any life.
    pub fn begin_epoch(&mut self, clean: bool) -> bool {
        if !self.book.holds {
            return false;
        }
        let clean = clean || self.change.is_some_and(|c| c.clean); // what is gone stays gone
        self.change = Some(Change { clean });
        self.raise(Urgency::Due);
        true
    }

    /// The end of a life that ends in order: after the instances' `closed`, before the last seal. That seal is wanted only if
    /// `wants_commit` says so.
    pub fn stop(&mut self, clean: bool) {
        if self.sealed.written() || self.urgency > Urgency::No {
            self.book.heads.stopped = true;
            self.raise(Urgency::Due);
            self.begin_epoch(clean);
        }
    }

    /// About how many bytes wait in memory for the next seal.
    pub fn waiting_bytes(&self) -> usize {
        self.book.open.bytes()
    }

    /// Values of personal channels that were dropped because the site does not grant them, since the start.
    pub fn withheld(&self, instance: &str) -> u64 {
        self.instances.get(instance).map_or(0, |i| i.withheld)
    }

    /// Readings that were not sent because they were no change, since the start.
    pub fn unchanged(&self, instance: &str) -> u64 {
        self.instances.get(instance).map_or(0, |i| i.unchanged)
    }

    /// The newest state that was taken of an instance since it was posted: what it goes on from when a call is refused.
    pub fn kept(&self, instance: &str) -> Option<Vec<u8>> {
        self.instances.get(instance)?.kept.clone()
    }

    pub fn life(&self) -> Life {
        self.book.heads.life
    }

    /// The epoch of the newest group, or the first one.
    pub fn epoch(&self) -> u32 {
        self.book.heads.epoch
    }

    fn keep_bounds(&mut self) {
        if self.book.open.bytes() >= WAITING_BYTES_MAX {
            self.raise(Urgency::Now);
        }
        if self.change.is_none() && self.book.runs_in_epoch >= RUNS_IN_EPOCH_MAX {
            self.begin_epoch(false);
        }
    }

    fn raise(&mut self, to: Urgency) {
        self.urgency = self.urgency.max(to);
    }

    /// What goes with values and waits for them at the start of a life.
    fn note(&mut self, entry: Entry) {
        if self.sealed.written() || self.urgency > Urgency::No {
            self.book.entry(entry);
            self.raise(Urgency::Due);
        } else {
            self.book.open.entry(entry);
        }
    }

    fn end(&mut self, instance: &Arc<str>, moment: types::Moment, why: GapReason, state: State) {
        self.cut(instance, moment, why, false);
        let of = self.instances.entry(instance.clone()).or_default();
        (of.state, of.channels) = (state, BTreeMap::new());
    }

    /// All streams of an instance: those that ever spoke, those it described, and its alerts.
    fn cut(&mut self, instance: &Arc<str>, moment: types::Moment, reason: GapReason, instead: bool) {
        self.tell_windows(instance); // what was lost is lost between two windows, and not inside one
        let of = self.instances.entry(instance.clone()).or_default();
        of.channels.values_mut().for_each(|channel| channel.sent = None); // after a loss the next value is news, whatever it is
        let now = convert::moment(moment);
        let held = !of.parking.holds();
        if held {
            of.parking.park(Parked::Cut { moment: now, reason }, &of.channels, now.monotonic_ns);
            self.raise(Urgency::Due);
        }
        let of = self.instances.entry(instance.clone()).or_default();
        let channels = of.channels.iter().filter(|(_, c)| !c.withheld);
        let mut sources: BTreeSet<Source> = channels.flat_map(|(&n, c)| sources(n, c)).collect();
        sources.extend(self.book.heads.streams.get(instance).into_iter().flat_map(|streams| streams.keys()));
        sources.extend(of.numbering.iter().filter(|(_, n)| n.spoke()).map(|(&source, _)| source));
        sources.insert(Source::Alerts);
        if held {
            sources.retain(|source| *source == Source::Alerts); // what its channels say is parked, and so is what they lose
        }
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment: now, late: false };
        let mut news = false;
        for source in sources {
            news |= self.book.cut(&mut voice, source, reason, instead);
        }
        if news {
            self.raise(Urgency::Due);
        }
    }

    fn look_at_device_clock(&mut self, instance: &Arc<str>, device: DeviceTime, moment: Moment) {
        let of = self.instances.get_mut(instance).expect("it speaks");
        if let Some(Told { at, device, uncertainty_ns, change }) = of.clocks.hear(device, moment) {
            self.book.entry(Entry::DeviceClock { instance: instance.to_string(), at, device, uncertainty_ns, change });
        }
    }

    fn take(&mut self, instance: &Arc<str>, at: types::Moment, step: Step) {
        let moment = convert::moment(at);
        if let Step::Describe { channel, .. } | Step::Missed { channel, .. } = &step {
            self.tell_window(instance, *channel);
        }
        if let Some(at) = device_time(&step) {
            self.look_at_device_clock(instance, at, moment);
        }
        let of = self.instances.get_mut(instance).expect("judged by its channels");
        if let Step::Describe { channel, means } = &step {
            of.described(*channel, means);
        }
        let book = &mut self.book;
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
        let urgency = match step {
            Step::Describe { channel, means } => {
                let all = sources(channel, &means);
                let before = of.channels.insert(channel, means);
                let withheld = of.channels[&channel].withheld;
                if withheld {
                    Urgency::No
                } else {
                    let jump = before.and_then(|c| c.jump);
                    all.into_iter().map(|source| describe(book, &mut voice, source, jump)).max().expect("a channel is a stream")
                }
            }
            Step::Identify(facts) => {
                book.entry(Entry::Identity { instance: instance.to_string(), at: moment, facts });
                Urgency::Due
            }
            Step::Observation { at, mut readings } => {
                let said = readings.len();
                readings.retain(|(channel, ..)| !of.channels[channel].withheld);
                of.withheld += (said - readings.len()) as u64;
                let before = readings.len();
                let mut windowed = Vec::new();
                readings.retain(|(number, value, quality)| {
                    let Channel { report, sent, .. } = of.channels.get_mut(number).expect("judged");
                    match report {
                        Some(Report::OnChange { dead_band, heartbeat_s }) => {
                            report::sends(*dead_band, *heartbeat_s, sent, value, *quality, moment.monotonic_ns)
                        }
                        Some(Report::Window { seconds }) => {
                            windowed.push((*number, *seconds, value.clone(), *quality));
                            false
                        }
                        _ => true,
                    }
                });
                of.unchanged += (before - readings.len() - windowed.len()) as u64;
                if !readings.is_empty() {
                    book.observation(&mut voice, at, readings, |n| of.channels.get(&n).map(|c| &*c.meaning));
                    self.raise(Urgency::Due);
                }
                for (channel, seconds, value, quality) in windowed {
                    self.windowed(instance, channel, seconds, &value, quality, moment);
                }
                return;
            }
            Step::Block { channel: number, first, at, counts, quality } => {
                let channel = of.channels.get_mut(&number).expect("judged");
                if channel.withheld {
                    channel.expected = first + counts.len() as u64;
                    of.withheld += counts.len() as u64;
                    return;
                }
                let piece = Piece { count: counts.len() as u32, moment, at, quality };
                if let Some(Report::Preview { every }) = channel.report {
                    self.previewed(instance, number, every, first, &piece, &counts);
                }
                let of = self.instances.get_mut(instance).expect("just seen");
                let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
                self.book.block(&mut voice, number, of.channels.get_mut(&number).expect("judged"), first, piece, counts);
                Urgency::Due
            }
            Step::Missed { channel: number, count, reason } => {
                let channel = of.channels.get_mut(&number).expect("judged");
                missed(book, &mut voice, number, channel, count, reason)
            }
            Step::Raise(alert) => {
                let withheld = alert.channel.and_then(|c| of.channels.get(&c)).is_some_and(|c| c.withheld);
                of.withheld += u64::from(withheld);
                book.alert(&mut voice, if withheld { without_its_matter(alert) } else { alert });
                Urgency::Now
            }
            Step::Keep(state) => {
                of.kept = Some(state.clone());
                self.states.insert(instance.clone(), state);
                Urgency::Due
            }
            Step::WhenDurable(tag) => {
                self.durable.push((instance.clone(), tag));
                Urgency::Now
            }
        };
        self.raise(urgency);
    }
}

/// What the device's own clock said with it.
fn device_time(step: &Step) -> Option<DeviceTime> {
    match step {
        Step::Observation { at, .. } | Step::Block { at, .. } => Some(*at),
        Step::Raise(alert) => Some(alert.at),
        _ => None,
    }
}

/// That an alarm was raised, and how urgent it is, and nothing of what is personal and not granted.
fn without_its_matter(alert: Alert) -> Alert {
    Alert { channel: None, code: None, low: None, high: None, text: WITHHELD.into(), ..alert }
}

/// The streams in which what a channel says travels.
fn sources(number: u16, channel: &Channel) -> Vec<Source> {
    match channel.report {
        Some(Report::Window { .. }) => derived::of_window(number).collect(),
        Some(Report::Preview { .. }) => vec![derived::of_preview(number), Source::Channel(number)],
        _ => vec![Source::Channel(number)],
    }
}

/// The next value begins a run. Nobody needs the description before that; but a loss that was told and has not shown in a jump shows there.
fn describe(book: &mut Book, voice: &mut Voice, source: Source, jump: Option<GapReason>) -> Urgency {
    voice.anew(source);
    match jump {
        Some(reason) if book.cut(voice, source, reason, false) => Urgency::Due,
        _ => Urgency::No,
    }
}

fn missed(book: &mut Book, voice: &mut Voice, number: u16, channel: &mut Channel, count: Option<u64>, reason: GapReason) -> Urgency {
    let waveform = channel.meaning.description.kind == wardgate_wire::Kind::Waveform;
    channel.sent = None;
    match count {
        _ if channel.withheld => return Urgency::No,
        Some(_) if waveform => channel.jump = Some(reason), // its positions show with the next block
        _ if waveform || matches!(channel.report, Some(Report::Window { .. })) => {
            if sources(number, channel).into_iter().map(|source| book.cut(voice, source, reason, false)).filter(|news| *news).count() > 0 {
                return Urgency::Due;
            }
        }
        _ => {
            book.missed_readings(voice, number, &channel.meaning, count, reason);
            return Urgency::Due;
        }
    }
    Urgency::No
}
