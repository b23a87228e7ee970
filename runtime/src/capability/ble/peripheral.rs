//! The owner of one instance's peripheral: finds it, connects it, and connects it again whenever it comes back.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::bluez::{Bluez, BluezError};
use super::grant::{Grant, as_wit};
use super::handle::{Ask, Known};
use super::radio::{Found, Radio, Unbonded};
use super::seat::Seat;
use super::session::{Characteristic, Ended, Session};
use super::tree::Device;
use crate::capability::{Clock, inbox};
use crate::contract::Event;
use crate::contract::ble::{self, Failure, Properties};
use crate::contract::types::LinkState;
use crate::status::Status;

/// Between two tries to connect: the first, and the longest.
const AGAIN_MS_MIN: u64 = 500; // a person who comes back with a strap does not notice it
const AGAIN_MS_MAX: u64 = 10_000; // one that refuses each time costs the radio little
/// Between a connection and all its services known.
const RESOLVE_S_MAX: u64 = 30; // forty round trips at a long connection interval are 8 s
/// How often BlueZ is asked meanwhile what it may not have signalled.
const LEARN_S: u64 = 1;
/// What has no MTU told of it has the protocol's least.
const MTU_MIN: u16 = 23;
/// Before the radio has asked anybody why there is no link: nothing is wrong that a person could be told of.
const UNASKED: &str = "";
const UNWANTED: &str = "it is not wanted any more"; // the end of its instance, not of its link
/// Characteristics of one peripheral that a plugin is told of.
const CHARACTERISTICS_MAX: usize = 256; // the richest device read about has 50

pub struct Peripheral {
    pub(super) grant: Grant,
    pub(super) name: String,
    pub(super) radio: Radio,
    pub(super) seat: Arc<Seat>,
    known: Known,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) inbox: inbox::Sender,
    up: Option<bool>,
    /// What was told last of why it is not there.
    why: String,
    connected: u64,
    /// How often in a row its link was made anew because it said nothing.
    pub(super) mute_links: u32,
    pub(super) clock: Clock,
    pub(super) status: Status,
}

impl Peripheral {
    pub fn new(
        grant: Grant,
        radio: &Radio,
        known: Known,
        asks: mpsc::Receiver<Ask>,
        inbox: inbox::Sender,
        clock: Clock,
        status: Status,
    ) -> Self {
        let name = grant.link();
        status.link(&name, |l| (l.kind, l.target) = ("ble".into(), grant.target()));
        let seat = radio.sit(grant.clone(), inbox.clone());
        Self {
            grant,
            name,
            radio: radio.clone(),
            seat,
            known,
            asks,
            inbox,
            up: None,
            why: String::new(),
            connected: 0,
            mute_links: 0,
            clock,
            status,
        }
    }

    /// Ends when every [`super::Handle`] of it is gone, also of an instance that only listens.
    pub async fn run(mut self) {
        if self.grant.broadcast {
            self.hear_broadcasts().await
        } else {
            self.attend().await
        }
        self.tell(LinkState::Down, UNWANTED);
        self.radio.leave(&self.seat);
    }

    /// The link is up while there is a radio that hears.
    async fn hear_broadcasts(&mut self) {
        self.radio.want(&self.seat, true);
        let mut heard: Option<String> = None;
        loop {
            match self.radio.find(&self.seat) {
                Found::Away(why) => self.tell(LinkState::Down, why.as_deref().unwrap_or(UNASKED)),
                Found::Missing => self.tell(LinkState::Up, ""),
                Found::Here(_, path, device) => {
                    let bonded = if self.grant.bonded { self.radio.is_bonded(&device) } else { Ok(()) };
                    self.seat.trust(bonded.is_ok());
                    match bonded {
                        Err(why) => self.tell(LinkState::Down, &why.to_string()),
                        Ok(()) => {
                            // the plugin says anew who it is, before anything of it counts
                            if heard.replace(path.clone()).is_some_and(|before| before != path) {
                                self.tell(LinkState::Down, "from here on it is another peripheral");
                            }
                            self.tell(LinkState::Up, "");
                        }
                    }
                }
            }
            let seat = self.seat.clone();
            if self.meanwhile(seat.news.notified()).await.is_none() {
                return;
            }
        }
    }

    async fn attend(&mut self) {
        let mut again_ms = AGAIN_MS_MIN;
        loop {
            let Some((bluez, path, device)) = self.find().await else { return };
            let heard_ns = self.seat.heard_ns();
            let made = self.connect(&bluez, &path, &device);
            let Some(made) = self.meanwhile(made).await else {
                let _ = bluez.disconnect(&path).await; // it was on its way
                return;
            };
            let (why, useless) = match made {
                Ok(()) => {
                    let (mtu, found) = self.discover(&path);
                    self.connected += 1;
                    self.status.link(&self.name, |l| l.reconnects = self.connected - 1);
                    let begun = Instant::now();
                    let ended = self.talk(&bluez, &path, mtu, found).await;
                    if begun.elapsed() > Duration::from_millis(AGAIN_MS_MAX) {
                        again_ms = AGAIN_MS_MIN;
                    }
                    let spoke = self.seat.heard_ns() != heard_ns;
                    match ended {
                        Some(Ended { why, useless }) => (self.of_whom(&device, why), useless && !spoke),
                        None => {
                            let _ = bluez.disconnect(&path).await; // another may have it now
                            return;
                        }
                    }
                }
                Err(why) => {
                    if let Unmade::Bluez(raw) = &why {
                        tracing::debug!(link = self.name, %raw, "connecting");
                    }
                    self.status.link(&self.name, |l| l.timeouts += u64::from(matches!(why, Unmade::Bluez(BluezError::Silent { .. }))));
                    let useless = why.is_the_peripherals();
                    match why {
                        Unmade::Unbonded(why) => (why.to_string(), useless), // it names whom
                        why => (self.of_whom(&device, why.to_string()), useless),
                    }
                }
            };
            if useless {
                self.seat.lets_rest(&path, Instant::now());
            } else {
                self.seat.recovers(&path);
            }
            self.tell(LinkState::Down, &why);
            self.seat.claim(self.seat.device().filter(|_| self.grant.is_one()).as_deref()); // of a pool, the next may be another
            let seat = self.seat.clone();
            if self.meanwhile(pause(&seat, again_ms)).await.is_none() {
                return;
            }
            again_ms = (2 * again_ms).min(AGAIN_MS_MAX);
        }
    }

    /// Of one of a pool, who it is: `target` names none.
    fn of_whom(&self, device: &Device, why: String) -> String {
        if self.grant.is_one() { why } else { format!("{}: {why}", device.address) }
    }

    fn removed(&self, address: &str) -> String {
        let remedy = if self.grant.bonded { format!(": `wardgate ble pair {address}` makes another") } else { String::new() };
        format!("the bond of {address} was removed from BlueZ, by `wardgate ble forget` or another program{remedy}")
    }

    /// Waits until the radio knows it; None: nobody needs it any more.
    async fn find(&mut self) -> Option<(Bluez, String, Device)> {
        loop {
            let removed = self.seat.bond_gone().map(|address| self.removed(&address));
            let (why, wants) = match self.radio.find(&self.seat) {
                Found::Here(bluez, path, device) => {
                    self.radio.want(&self.seat, false);
                    self.seat.forget_bond_gone();
                    if let Some(why) = removed.filter(|_| !device.bonded) {
                        self.tell(LinkState::Down, &why);
                    }
                    return Some((bluez, path, device));
                }
                Found::Away(why) => (why.unwrap_or(UNASKED.to_owned()), false),
                Found::Missing => (removed.unwrap_or_else(|| format!("{} is not near, or switched off", self.grant.target())), true),
            };
            self.radio.want(&self.seat, wants);
            self.tell(LinkState::Down, &why);
            let seat = self.seat.clone();
            self.meanwhile(seat.news.notified()).await?;
        }
    }

    /// Borrows nothing of the peripheral, so that requests can be answered meanwhile.
    fn connect(&self, bluez: &Bluez, path: &str, device: &Device) -> impl Future<Output = Result<(), Unmade>> + use<> {
        let (bluez, path, device) = (bluez.clone(), path.to_owned(), device.clone());
        let (seat, radio, bonded) = (self.seat.clone(), self.radio.clone(), self.grant.bonded);
        async move {
            if bonded {
                radio.is_bonded(&device)?;
            }
            if !device.connected
                && let Err(why) = bluez.connect(&path).await
            {
                if matches!(why, BluezError::Silent { .. }) {
                    let _ = bluez.disconnect(&path).await; // or BlueZ goes on trying, and the next try is refused
                }
                return Err(why.into());
            }
            let until = Instant::now() + Duration::from_secs(RESOLVE_S_MAX);
            loop {
                if !radio.device(&path).is_some_and(|device| device.connected && device.resolved) {
                    radio.learn(&bluez, &path).await?;
                }
                match radio.device(&path) {
                    Some(device) if device.connected && device.resolved => return Ok(()),
                    Some(device) if device.connected => {}
                    Some(_) | None => return Err(Unmade::Lost),
                }
                let news = timeout_at(until.min(Instant::now() + Duration::from_secs(LEARN_S)), seat.news.notified()).await;
                if news.is_err() && Instant::now() >= until {
                    let _ = bluez.disconnect(&path).await;
                    return Err(Unmade::Unresolved);
                }
            }
        }
    }

    /// What of the peripheral its plugin may know, by handle.
    fn discover(&self, path: &str) -> (u16, BTreeMap<u16, Characteristic>) {
        let all = self.radio.look(|tree| tree.characteristics(path));
        let mut mtu = MTU_MIN;
        let mut found = BTreeMap::new();
        for (path, service, characteristic) in all {
            mtu = mtu.max(characteristic.mtu);
            if !self.grant.shows(service, characteristic.uuid) || found.len() >= CHARACTERISTICS_MAX {
                continue;
            }
            let mut handle = handle_of(&path).unwrap_or_default();
            while found.contains_key(&handle) {
                handle = handle.wrapping_add(1); // BlueZ names each by its own; whatever it does, no two are one
            }
            found.insert(handle, Characteristic { path, service, uuid: characteristic.uuid, flags: characteristic });
        }
        (mtu, found)
    }

    /// Until the link is gone, and why; None when nobody needs it any more.
    async fn talk(&mut self, bluez: &Bluez, path: &str, mtu: u16, found: BTreeMap<u16, Characteristic>) -> Option<Ended> {
        self.tell(LinkState::Up, "");
        let told = found.iter().map(|(handle, c)| ble::Characteristic {
            handle: *handle,
            service: as_wit(c.service),
            uuid: as_wit(c.uuid),
            properties: properties(&c.flags),
        });
        let who = self.radio.device(path).and_then(|device| self.seat.who(&device));
        let now = (self.clock)();
        self.known.set(found.iter().map(|(handle, c)| (*handle, c.uuid)).collect(), now);
        self.inbox.discovered(now, Event::BleDiscovered { mtu, found: told.collect(), who });
        self.seat.open(now);
        let mut session = Session::new(bluez.clone(), path.to_owned(), found);
        let ended = session.run(self).await;
        let now = (self.clock)();
        self.known.forget();
        self.seat.close(now);
        session.end(now);
        ended
    }

    /// Does `work` while every request learns at once that there is no link; None when nobody needs it any more.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                ask = self.asks.recv() => {
                    let ask = ask?;
                    ask.answer.give((self.clock)(), Event::BleReply(ask.tag, Err(Failure::LinkDown)));
                }
            }
        }
    }

    fn tell(&mut self, state: LinkState, why: &str) {
        let up = state == LinkState::Up;
        if self.up.replace(up) != Some(up) || (!up && self.why != why) {
            why.clone_into(&mut self.why);
            match state {
                LinkState::Up => tracing::info!(link = self.name, peripheral = self.grant.target(), "Bluetooth link is up"),
                LinkState::Down if why == UNASKED => {}
                LinkState::Down if why == UNWANTED => tracing::info!(link = self.name, "Bluetooth link ends: its instance does"),
                LinkState::Down => tracing::warn!(link = self.name, why, "no Bluetooth link; it is made again as soon as it can be"),
            }
        }
        let now = (self.clock)();
        self.status.link(&self.name, |l| {
            l.up = up;
            if !up && why != UNASKED {
                l.failed(why.to_owned(), now.monotonic_ns);
            }
            if let Some(rssi) = self.seat.device().and_then(|path| self.radio.device(&path)).and_then(|d| d.rssi) {
                (l.rssi_dbm, l.rssi_ns) = (Some(rssi), now.monotonic_ns);
            }
        });
        self.status.instance(self.inbox.instance(), |i| {
            i.bluetooth = true;
            i.link(up, now.monotonic_ns);
        });
        self.inbox.link(now, Event::BleLink(state));
    }
}

/// Until it is tried again, or its bond comes: then a person stands beside it, and looks.
async fn pause(seat: &Seat, ms: u64) {
    tokio::select! {
        () = sleep(Duration::from_millis(ms)) => {}
        () = seat.bonding.notified() => {}
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Unmade {
    #[error("{}", .0.unconnected())]
    Bluez(#[from] BluezError),
    #[error(transparent)]
    Unbonded(#[from] Unbonded),
    #[error("it was lost again at once")]
    Lost,
    #[error("its services were not known within {RESOLVE_S_MAX} s: switch it off and on, and where that does not help, take it away")]
    Unresolved,
}

impl Unmade {
    /// Another peripheral may do better: it is not BlueZ that is away or busy.
    fn is_the_peripherals(&self) -> bool {
        match self {
            Self::Bluez(BluezError::Bus(_) | BluezError::Absent | BluezError::NoAdapter(_)) => false,
            Self::Bluez(why) => !why.is_busy(),
            Self::Unbonded(_) | Self::Lost | Self::Unresolved => true,
        }
    }
}

/// BlueZ names each characteristic by its handle: `.../service0010/char0011`.
fn handle_of(path: &str) -> Option<u16> {
    u16::from_str_radix(path.rsplit('/').next()?.strip_prefix("char")?, 16).ok()
}

fn properties(of: &super::tree::Characteristic) -> Properties {
    let all = [
        ("read", Properties::READ),
        ("write", Properties::WRITE),
        ("write-without-response", Properties::WRITE_WITHOUT_RESPONSE),
        ("notify", Properties::NOTIFY),
        ("indicate", Properties::INDICATE),
    ];
    all.into_iter().filter(|(flag, _)| of.has(flag)).fold(Properties::empty(), |all, (_, one)| all | one)
}
