//! One peripheral: from discovery to decoded values. First it is read who the device is, so that a binding by serial number can
//! hold; then what the profile wants to read; then it subscribes. One request at a time: peripherals allow no more.

use std::collections::VecDeque;
use std::ops::Range;

use super::{Column, Message, Read, information, name, refusal, sig, wide};
use crate::*;

const BATTERY_LEVEL: u128 = sig(0x2a19);
const REQUEST: Tag = 0xB1E_0000; // tags from here on are this file's
const FOUND_MAX: usize = 256; // of one peripheral: real ones have some thirty
const AGAIN: Tag = 2 * REQUEST;
const AGAIN_MS: u64 = 1000; // busy with its own start, say
const READ_TRIES_MAX: u32 = 2; // three time-outs in a row cost the link, and what does not answer a read may yet speak

/// What one kind of device is: its channels, what it listens to, and what the bytes mean.
pub trait Profile: Sized + 'static {
    /// The channels, by number.
    const CHANNELS: &'static [Column];
    /// Characteristics whose notifications or indications are heard. Without the first the device is not of this kind. Where a device has
    /// several of one name, only the first of them is.
    const LISTENS: &'static [u128];
    /// Characteristics that are read once after connecting; what they say comes to `heard` as well.
    const READS: &'static [u128] = &[];
    /// Those of `LISTENS` that speak all the time: after a lost link something is missing.
    const STREAMS: &'static [u128] = &[];

    fn open(start: &Opening, out: &mut Outbox) -> Result<Self, Problem>;

    /// The channels that a damaged value, or a silence, is missing from.
    fn main(&self) -> Range<Channel> {
        0..1
    }

    /// What was damaged comes again, because the profile counts and asks; it tells itself what does not.
    fn asks_again(&self, _peer: &Peer, _from: u128) -> bool {
        false
    }

    /// What one value means, in one message or several. Pure; `heard` says it. A profile of samples has its own `heard` instead.
    fn decode(&self, _from: u128, _bytes: &[u8]) -> Read<Vec<Message>> {
        Ok(Vec::new())
    }

    fn heard(&mut self, peer: &mut Peer, _now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> Read<()> {
        peer.say(Self::CHANNELS, self.decode(from, bytes)?, out);
        Ok(())
    }

    /// Everything is subscribed to.
    fn ready(&mut self, _peer: &mut Peer, _now: Moment, _out: &mut Outbox) {}
    fn lost(&mut self, _out: &mut Outbox) {}
    /// The answer to a request that the profile made itself.
    fn reply(&mut self, _peer: &mut Peer, _now: Moment, _tag: Tag, _outcome: Result<Vec<u8>, ble::Failure>, _out: &mut Outbox) {}
    fn timer(&mut self, _peer: &mut Peer, _now: Moment, _tag: Tag, _out: &mut Outbox) {}
    fn durable(&mut self, _peer: &mut Peer, _now: Moment, _tag: Tag, _out: &mut Outbox) {}
}

/// The device on the other end, as far as it is known.
#[derive(Debug, Default)]
pub struct Peer {
    found: Vec<(ble::Handle, u128, ble::Properties)>,
    /// Who it says it is, since the link came up.
    facts: Vec<Fact>,
    /// It would have said more of that, and could not be heard.
    unread: Vec<u128>,
    /// What could not be listened to.
    unheard: Vec<u128>,
    /// Which unit the channels are described with.
    unit: usize,
    health: Option<(Health, String)>,
}

impl Peer {
    pub fn handle(&self, uuid: u128) -> Option<ble::Handle> {
        self.found.iter().find(|(_, known, _)| *known == uuid).map(|(handle, ..)| *handle)
    }

    /// It is there, and was not refused when it was listened to.
    pub fn hears(&self, uuid: u128) -> bool {
        self.handle(uuid).is_some() && !self.unheard.contains(&uuid)
    }

    /// What Device Information says.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|f| f.name == name).map(|f| f.value.as_str())
    }

    /// By what it is known again: its serial number, else what the protocol gives each device. `None`: it tells neither.
    pub fn who(&self) -> Option<&str> {
        self.fact("serial").or_else(|| self.fact("system-id"))
    }

    /// It could tell who it is, and was asked in vain: `who` may be another on the next link.
    pub fn is_unread(&self) -> bool {
        let unread = |uuid| self.unread.contains(&uuid);
        unread(information::SERIAL) || self.fact("serial").is_none() && unread(information::SYSTEM_ID)
    }

    /// Says what messages mean, with their unit.
    pub fn say(&mut self, channels: &[Column], messages: Vec<Message>, out: &mut Outbox) {
        for message in messages {
            self.unit(channels, message.unit, out);
            if !message.readings.is_empty() {
                out.emit(&[message.observation()]);
            }
        }
    }

    /// The channels that have several units are described anew when the device changes to another.
    pub fn unit(&mut self, channels: &[Column], unit: Option<usize>, out: &mut Outbox) {
        let Some(unit) = unit.filter(|unit| *unit != self.unit) else { return };
        self.unit = unit;
        for (channel, column) in (0..).zip(channels).filter(|(_, column)| column.has_units()) {
            out.describe(channel, &column.describe(unit));
        }
    }

    /// Tells the health when it changes.
    pub fn report(&mut self, health: Health, detail: &str, out: &mut Outbox) {
        if self.health.as_ref().is_none_or(|(was, why)| *was != health || why != detail) {
            out.report(health, detail);
            self.health = Some((health, detail.into()));
        }
    }

    fn identified(&mut self, fact: Fact) -> bool {
        if self.facts.contains(&fact) {
            return false;
        }
        self.facts.retain(|known| known.name != fact.name);
        self.facts.push(fact);
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Request {
    /// The third: how often it was asked before.
    Read(ble::Handle, u128, u32),
    Subscribe(ble::Handle, u128),
}

/// The glue between a `Profile` and its link: `plugin!(Peripheral<HeartRate>: ble);`
pub struct Peripheral<P> {
    profile: P,
    peer: Peer,
    waiting: VecDeque<Request>,
    asked: Option<(Tag, Request)>,
    /// What was asked in vain waits a moment.
    waits: bool,
    /// Requests so far: an answer to an older one is not the answer to this one.
    count: Tag,
    /// A stream spoke, and the device said who it is, since the link came up.
    spoke: bool,
    /// It spoke on a link that was lost, and not since.
    away: bool,
    identified: bool,
}

impl<P: Profile> Plugin for Peripheral<P> {
    fn open(_now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        for (channel, column) in (0..).zip(P::CHANNELS) {
            out.describe(channel, &column.describe(0));
        }
        out.describe(Self::BATTERY, &Description::numeric("battery", "%"));
        let mut peer = Peer::default();
        let profile = P::open(&start, out)?;
        peer.report(Health::Starting, WAITING, out);
        Ok(Self {
            profile,
            peer,
            waiting: VecDeque::new(),
            asked: None,
            waits: false,
            count: 0,
            spoke: false,
            away: false,
            identified: false,
        })
    }

    fn timer(&mut self, now: Moment, tag: Tag, out: &mut Outbox) -> Done {
        match tag {
            AGAIN if std::mem::take(&mut self.waits) => self.next(now, out),
            AGAIN => {} // of a link that is gone
            _ => self.profile.timer(&mut self.peer, now, tag, out),
        }
        Ok(())
    }

    fn durable(&mut self, now: Moment, tag: Tag, out: &mut Outbox) -> Done {
        self.profile.durable(&mut self.peer, now, tag, out);
        Ok(())
    }
}

const WAITING: &str = "waiting for the device";

impl<P: Profile> Ble for Peripheral<P> {
    fn link_changed(&mut self, _now: Moment, state: LinkState, out: &mut Outbox) -> Done {
        if state == LinkState::Up {
            return Ok(()); // what is there comes with `discovered`
        }
        if std::mem::take(&mut self.spoke) {
            // at once, for it may never come back
            self.away = true;
            self.profile.main().for_each(|channel| out.missed(channel, None, Missing::DeviceOff));
        }
        self.identified = false;
        self.asked = None;
        self.waits = false;
        self.waiting.clear();
        self.peer.found.clear();
        self.peer.facts.clear();
        self.peer.unread.clear();
        self.peer.unheard.clear();
        self.profile.lost(out);
        self.peer.report(Health::Starting, WAITING, out);
        Ok(())
    }

    fn discovered(&mut self, now: Moment, _mtu: u16, found: Vec<ble::Characteristic>, out: &mut Outbox) -> Done {
        self.peer.found = found.iter().take(FOUND_MAX).map(|c| (c.handle, wide(c.uuid), c.properties)).collect();
        self.waiting.clear();
        self.asked = None;
        self.waits = false;
        let readable = |uuid: &u128| {
            self.peer.found.iter().find(|(_, known, has)| known == uuid && *has & ble::Properties::READ == ble::Properties::READ)
        };
        let wanted = information::all().chain([BATTERY_LEVEL]).chain(P::READS.iter().copied());
        let reads = wanted.filter_map(|uuid| readable(&uuid)).map(|(handle, uuid, _)| Request::Read(*handle, *uuid, 0));
        let speaks = ble::Properties::NOTIFY | ble::Properties::INDICATE;
        // of two of one name (left and right, say) the first is heard: their values would be taken for those of one
        let heard = P::LISTENS.iter().chain(&[BATTERY_LEVEL]).filter_map(|uuid| {
            let mut all = self.peer.found.iter().filter(|(_, known, has)| known == uuid && !(*has & speaks).is_empty());
            let first = all.next()?;
            match all.count() {
                0 => {}
                more => out.log(Level::Warn, &format!("the device has {} characteristics {}: the first is heard", more + 1, name(*uuid))),
            }
            Some(first)
        });
        let waiting = reads.chain(heard.map(|(handle, uuid, _)| Request::Subscribe(*handle, *uuid))).collect();
        self.waiting = waiting;
        self.next(now, out);
        Ok(())
    }

    fn reply(&mut self, now: Moment, tag: Tag, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) -> Done {
        if tag < REQUEST {
            self.profile.reply(&mut self.peer, now, tag, outcome, out);
            return Ok(());
        }
        let Some((_, request)) = self.asked.take_if(|(asked, _)| *asked == tag) else { return Ok(()) };
        match (request, outcome) {
            (Request::Read(handle, from, tries), Ok(bytes)) => {
                if !self.value(now, from, &bytes, out) && self.again(handle, from, tries, out) {
                    return Ok(());
                }
            }
            (Request::Subscribe(..), Ok(_)) => {}
            // what a device does not let us read it does not have to tell; what we came to hear is needed
            (Request::Read(handle, uuid, tries), Err(why)) => {
                out.log(Level::Debug, &format!("{} cannot be read: {}", name(uuid), refusal(&why)));
                if passes(&why) && information::all().chain(P::READS.iter().copied()).any(|wanted| wanted == uuid) {
                    if self.again(handle, uuid, tries, out) {
                        return Ok(());
                    }
                    self.peer.unread.push(uuid);
                }
            }
            (Request::Subscribe(_, uuid), Err(why)) => {
                let detail = format!("cannot listen to {}: {}", name(uuid), refusal(&why));
                out.log(Level::Warn, &detail);
                self.peer.unheard.push(uuid);
                if P::LISTENS.contains(&uuid) {
                    self.peer.report(Health::Degraded, &detail, out);
                }
            }
        }
        self.next(now, out);
        Ok(())
    }

    fn notified(&mut self, now: Moment, handle: ble::Handle, bytes: &[u8], out: &mut Outbox) -> Done {
        let from = self.peer.found.iter().find(|(known, ..)| *known == handle).map(|(_, uuid, _)| *uuid);
        if let Some(from) = from {
            self.value(now, from, bytes, out);
        }
        Ok(())
    }
}

impl<P: Profile> Peripheral<P> {
    const BATTERY: Channel = P::CHANNELS.len() as Channel;

    /// What was not read is asked for once more, before anything else. `false`: it was asked often enough.
    fn again(&mut self, handle: ble::Handle, uuid: u128, tries: u32, out: &mut Outbox) -> bool {
        let again = tries + 1 < READ_TRIES_MAX;
        self.waits = again;
        if again {
            self.waiting.push_front(Request::Read(handle, uuid, tries + 1));
            out.set_timer(AGAIN, AGAIN_MS);
        }
        again
    }

    fn next(&mut self, now: Moment, out: &mut Outbox) {
        if self.asked.is_some() || self.waits {
            return;
        }
        let Some(request) = self.waiting.pop_front() else { return self.all_asked(now, out) };
        // who it is goes out before the first value that is bound to it
        if matches!(request, Request::Subscribe(..)) && !self.identified && !self.peer.facts.is_empty() {
            self.identified = true;
            out.identify(&self.peer.facts);
        }
        self.count = (self.count + 1) % REQUEST;
        let tag = REQUEST + self.count;
        match request {
            Request::Read(handle, ..) => out.ble_read(tag, handle),
            Request::Subscribe(handle, _) => out.ble_subscribe(tag, handle),
        }
        self.asked = Some((tag, request));
    }

    fn all_asked(&mut self, now: Moment, out: &mut Outbox) {
        let known = P::LISTENS.iter().any(|uuid| self.peer.handle(*uuid).is_some());
        if !known && let Some(first) = P::LISTENS.first() {
            let detail = format!("the device has no characteristic {}, or `wardgate check` does not list it as allowed", name(*first));
            self.peer.report(Health::Degraded, &detail, out);
        } else if self.peer.health.as_ref().is_some_and(|(health, _)| *health == Health::Starting) {
            self.peer.report(Health::Healthy, "", out);
        }
        self.profile.ready(&mut self.peer, now, out);
    }

    /// `false`: it is damaged.
    fn value(&mut self, now: Moment, from: u128, bytes: &[u8], out: &mut Outbox) -> bool {
        if let Some(fact) = information::read(from, bytes) {
            // while reading they are gathered; one that comes later is told at once
            if self.peer.identified(fact) && self.asked.is_none() && self.waiting.is_empty() {
                out.identify(&self.peer.facts);
            }
        } else if from == BATTERY_LEVEL {
            match bytes.first() {
                Some(level) if *level > 100 => damaged(from, bytes, "it is above 100 %", out),
                Some(level) => out.emit(&[Observation::of(vec![reading(Self::BATTERY, Decimal::new((*level).into(), 0))])]),
                None => damaged(from, bytes, "it is empty", out),
            }
        } else if P::LISTENS.contains(&from) || P::READS.contains(&from) {
            let measured = P::LISTENS.contains(&from);
            if P::STREAMS.contains(&from) {
                self.spoke = true;
                if std::mem::take(&mut self.away) {
                    // what came of a wave tells itself where it begins; of readings the whole time is missing, and not its first moment only
                    let readings = |channel: &Channel| P::CHANNELS.get(usize::from(*channel)).is_some_and(|c| c.kind() != Kind::Waveform);
                    self.profile.main().filter(readings).for_each(|channel| out.missed(channel, None, Missing::DeviceOff));
                }
            }
            if let Err(why) = self.profile.heard(&mut self.peer, now, from, bytes, out) {
                damaged(from, bytes, why.0, out);
                // what is only read holds no measurement that could be missing
                let missing = measured && !self.profile.asks_again(&self.peer, from);
                for channel in self.profile.main().filter(|_| missing) {
                    // how many samples a wave's message held cannot be known any more
                    let wave = P::CHANNELS.get(usize::from(channel)).is_some_and(|column| column.kind() == Kind::Waveform);
                    out.missed(channel, (!wave).then_some(1), Missing::Corrupted);
                }
                return false;
            }
        }
        true
    }
}

/// The device may well answer the next time.
fn passes(why: &ble::Failure) -> bool {
    use ble::Failure as F;
    matches!(why, F::Timeout | F::LinkDown | F::OverRate | F::Busy | F::Cancelled)
}

fn damaged(from: u128, bytes: &[u8], why: &str, out: &mut Outbox) {
    out.log(Level::Warn, &format!("a value of {} ({} bytes) is dropped: {why}", name(from), bytes.len()));
}
