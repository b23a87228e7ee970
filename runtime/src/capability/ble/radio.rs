//! The one connection to BlueZ that all instances share: what BlueZ has is kept up to date here, the adapter is kept powered, and peripherals that
//! are missing are looked for, by turns of looking and resting.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use zbus::MessageStream;
use zbus::message::{Message, Type};

use super::bluez::{ADAPTER, BLUEZ, Bluez, BluezError, CHARACTERISTIC, DEVICE, Dictionary, Interfaces, next};
use super::grant::Grant;
use super::seat::Seat;
use super::settings::Settings;
use super::tree::{Adapter, Device, Tree, Worth};
use crate::capability::{Clock, inbox};
use crate::config;
use crate::status::Status;
pub(super) use bonding::Unbonded;

/// Between two tries to reach the bus, BlueZ or its adapter.
const RETRY_MS: u64 = 1_000; // bluetoothd needs seconds to start; each try is one message
/// An adapter that BlueZ is just starting answers Busy some six times.
const POWER_RETRY_MS: u64 = 300;
/// So many such tries say nothing; behind them it is told that the adapter is off.
const POWER_TRIES_SILENT: u32 = 20; // six seconds; one that BlueZ is just starting takes two
/// What comes between BlueZ's list and its last signal before it is read again.
const READ_AGAIN_MAX: u32 = 5; // more changes in a row than one reading takes are a storm that ends
/// Of devices that were let go for want of room, one may be wanted by now: so long after the first of them BlueZ's list is read again.
const CROWD_S: u64 = 10; // as often as it is looked for a missing one
/// What changes of a device with its bond; `wardgate ble pair` trusts it last, when it has written down how it was bonded.
const BONDING: [&str; 3] = ["Paired", "Bonded", "Trusted"];
const OFF: &str = "the adapter is gone, or switched off and not on again yet";
/// A crowd is told once in so long.
const CROWD_TOLD_S: u64 = 600; // a flood must not fill the disk with its log

/// Shared by all instances with a peripheral. Cheap to clone.
#[derive(Clone)]
pub struct Radio(Arc<Shared>);

struct Shared {
    settings: Settings,
    clock: Clock,
    status: Status,
    state: Mutex<State>,
    /// Something to do for whoever keeps the adapter.
    bell: Notify,
}

#[derive(Default)]
struct State {
    bluez: Option<Bluez>,
    /// Who is org.bluez.
    owner: Option<String>,
    tree: Tree,
    /// Path of the adapter, while it is powered.
    adapter: Option<String>,
    /// Why there is none; None: nobody was asked yet.
    away: Option<String>,
    seats: Vec<Arc<Seat>>,
    /// Of BlueZ, since the start.
    signals: u64,
    /// Whether peripherals may make bonds.
    door: bonding::Door,
    /// Since when the tree lacks devices for which there was no room.
    crowded: Option<Instant>,
    crowd_told: Option<Instant>,
}

/// How an instance's peripheral stands.
pub(super) enum Found {
    /// There is no radio, and why; None: nobody was asked yet.
    Away(Option<String>),
    Missing,
    Here(Bluez, String, Device),
}

#[derive(Clone, Copy, PartialEq)]
enum Looking {
    Not,
    /// And whether repeats are told.
    Until(Instant, bool),
    RestingUntil(Instant),
}

impl Radio {
    pub fn new(settings: &config::Ble, clock: Clock, status: Status) -> Self {
        Self(Arc::new(Shared { settings: Settings::read(settings), clock, status, state: Mutex::default(), bell: Notify::new() }))
    }

    /// A place for one instance's peripheral. It is given back when the seat is [left](Radio::leave).
    pub(super) fn sit(&self, grant: Grant, inbox: inbox::Sender) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(grant, inbox));
        self.lock().seats.push(seat.clone());
        seat
    }

    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        self.lock().seats.retain(|other| !Arc::ptr_eq(other, seat));
        self.0.bell.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder panics")
    }

    /// The peripheral of this seat; from here on it is nobody else's.
    pub(super) fn find(&self, seat: &Seat) -> Found {
        let state = self.lock();
        let (Some(bluez), Some(adapter)) = (&state.bluez, &state.adapter) else { return Found::Away(state.away.clone()) };
        let taken: Vec<_> = state.seats.iter().filter(|other| !std::ptr::eq(other.as_ref(), seat)).filter_map(|s| s.device()).collect();
        let named = |d: &Device| !seat.grant.is_one() && state.seats.iter().any(|other| other.grant.is_one() && other.grant.fits(d));
        let free = |path: &str, d: &Device| !taken.iter().any(|t| t == path) && !named(d);
        let fitting = state.tree.devices().filter(|(path, d)| d.adapter == *adapter && seat.grant.fits(d) && free(path, d));
        // of several in a pool the nearest; one that is not heard now is no use there, and who could not be used lately lets the others go first
        let now = Instant::now();
        // what only broadcasts has no link whose loss would tell of another device: it keeps the one it has until BlueZ forgets that
        let held = seat.device().filter(|_| seat.grant.broadcast);
        let is_held = |path: &str| held.as_deref() == Some(path);
        let best = fitting
            .filter(|(path, d)| is_held(path) || seat.grant.is_one() || d.rssi.is_some() || d.connected)
            .max_by_key(|(path, d)| (is_held(path), Reverse(seat.rests_until(path, now)), d.paired, d.rssi));
        match best {
            Some((path, device)) => {
                seat.claim(Some(path));
                Found::Here(bluez.clone(), path.to_owned(), device.clone())
            }
            None => {
                if seat.grant.broadcast {
                    seat.claim(None); // whoever comes next is noticed
                }
                Found::Missing
            }
        }
    }

    /// It is wanted that missing peripherals are looked for.
    pub(super) fn want(&self, seat: &Seat, wants: bool) {
        if seat.want(wants) {
            self.0.bell.notify_one();
        }
    }

    /// None: there is no adapter, or the device is not known any more.
    pub(super) fn device(&self, path: &str) -> Option<Device> {
        let state = self.lock();
        state.adapter.as_ref()?;
        state.tree.device(path).cloned()
    }

    /// Asks BlueZ what a device is. It does not signal everything: where a connection's own socket is quicker than the kernel's word of it, 5.66 says
    /// nothing of `Connected` (and `Device .. is already connected` in its log).
    pub(super) async fn learn(&self, bluez: &Bluez, path: &str) -> Result<(), BluezError> {
        for _ in 0..READ_AGAIN_MAX {
            let before = self.device(path).map(|device| device.heard);
            let properties = bluez.device(path).await?;
            let mut state = self.lock();
            if state.tree.device(path).map(|device| device.heard) == before {
                state.tree.changed(path, DEVICE, properties, &[]);
                break;
            } // what was signalled meanwhile may be newer
        }
        Ok(())
    }

    pub(super) fn look<T>(&self, at: impl FnOnce(&Tree) -> T) -> T {
        at(&self.lock().tree)
    }

    /// Until it is dropped.
    pub async fn run(self) {
        loop {
            let why = match Bluez::open(self.0.settings.bus.as_deref()).await {
                Ok((bluez, mut stream)) => tokio::select! {
                    () = self.listen(&mut stream) => BluezError::Bus("the connection has ended".into()),
                    why = self.keep(&bluez) => why,
                },
                Err(why) => why,
            };
            self.gone(&why);
            sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }

    /// Always read at once, so that no call waits behind what nobody takes.
    async fn listen(&self, stream: &mut MessageStream) {
        while let Some(message) = next(stream).await {
            if message.message_type() == Type::Signal {
                self.heard(&message);
            }
        }
    }

    fn gone(&self, why: &BluezError) {
        let mut state = self.lock();
        let text = why.to_string();
        if state.away.as_ref() != Some(&text) || state.adapter.is_some() {
            tracing::warn!(%why, remedy = why.remedy(), "no Bluetooth");
        }
        state.away = Some(text);
        (state.owner, state.adapter) = (None, None);
        if matches!(why, BluezError::Bus(_)) {
            state.bluez = None;
        }
        state.tree.clear();
        state.wake(None);
    }

    fn stays_off(&self) {
        let mut state = self.lock();
        tracing::warn!("no Bluetooth: {OFF}");
        state.away = Some(OFF.to_owned());
        state.wake(None);
    }

    // ---------- what BlueZ signals

    fn heard(&self, message: &Message) {
        let header = message.header();
        let sender = header.sender().map(|s| s.to_string()).unwrap_or_default();
        let path = header.path().map(|p| p.to_string()).unwrap_or_default();
        let member = header.member().map(|m| m.to_string()).unwrap_or_default();
        let body = message.body();
        let mut state = self.lock();
        if sender == "org.freedesktop.DBus" && member == "NameOwnerChanged" {
            let Ok((name, _, new)) = body.deserialize::<(String, String, String)>() else { return };
            if name == BLUEZ && state.owner.as_ref().is_none_or(|owner| *owner != new) {
                (state.owner, state.adapter) = (None, None);
                state.away = Some(BluezError::Absent.to_string());
                state.tree.clear();
                state.wake(None);
                self.0.bell.notify_one();
            }
            return;
        }
        if state.owner.as_ref() != Some(&sender) {
            return; // not from BlueZ, whoever let it through
        }
        state.signals += 1;
        match member.as_str() {
            "InterfacesAdded" => {
                let Ok((path, interfaces)) = body.deserialize::<(zbus::OwnedObjectPath, Interfaces)>() else { return };
                let device = interfaces.contains_key(DEVICE);
                for (interface, properties) in interfaces {
                    state.tree.added(&path, &interface, properties);
                    self.after(&mut state, &path, &interface, true);
                }
                if device {
                    self.make_room(&mut state);
                }
            }
            "InterfacesRemoved" => {
                let Ok((path, interfaces)) = body.deserialize::<(zbus::OwnedObjectPath, Vec<String>)>() else { return };
                let before = state.tree.device(&path).cloned();
                state.tree.removed(&path, &interfaces);
                state.bond_changed(&path, before.as_ref());
                interfaces.iter().for_each(|interface| self.after(&mut state, &path, interface, false));
            }
            "PropertiesChanged" => {
                let Ok((interface, properties, invalid)) = body.deserialize::<(String, Dictionary, Vec<String>)>() else { return };
                if interface == CHARACTERISTIC {
                    if let Some(bytes) = properties.get("Value").and_then(|v| Vec::<u8>::try_from(v.clone()).ok()) {
                        self.said(&state, &path, &bytes);
                    }
                    return;
                }
                let data = properties.contains_key("ManufacturerData") || properties.contains_key("ServiceData");
                let before = state.tree.device(&path).filter(|_| BONDING.iter().any(|name| properties.contains_key(*name))).cloned();
                state.tree.changed(&path, &interface, properties, &invalid);
                state.bond_changed(&path, before.as_ref());
                self.after(&mut state, &path, &interface, data);
            }
            _ => {}
        }
    }

    /// What came as a signal goes to whoever has the device. Where that instance is not subscribed to it, one that had the device before is: the
    /// peripheral takes it as heard, so it is a marked hole. While nobody has the device, it waits for who had it last.
    fn said(&self, state: &State, path: &str, bytes: &[u8]) {
        let now = (self.0.clock)();
        match state.seats.iter().find(|seat| seat.has(path)) {
            Some(seat) if seat.value(now, path, bytes, &self.0.status) => {}
            Some(seat) if state.seats.iter().any(|other| other.left(path)) => seat.missed(now),
            Some(_) => {}
            None => state.seats.iter().for_each(|seat| _ = seat.value(now, path, bytes, &self.0.status)),
        }
    }

    /// Whom a change concerns. `data`: what a device broadcasts came with it.
    fn after(&self, state: &mut State, path: &str, interface: &str, data: bool) {
        if interface == ADAPTER {
            let wanted = self.0.settings.adapter.as_deref();
            let now = state.adapter_now(wanted).filter(|(_, adapter)| adapter.powered).map(|(path, _)| path.to_owned());
            if now != state.adapter && state.adapter.take().is_some() {
                state.away = Some(OFF.to_owned());
            }
            if !state.tree.has_adapter(path) {
                // its devices went with it: their bonds are on the disk
                state.seats.iter().filter(|seat| seat.had(path)).for_each(|seat| seat.forget_bond_gone());
            }
            state.wake(None);
            return self.0.bell.notify_one();
        }
        if interface == DEVICE {
            if let Some(device) = state.tree.device(path).filter(|_| data) {
                let now = (self.0.clock)();
                state.seats.iter().for_each(|seat| seat.advertised(now, path, device, &self.0.status));
            }
            state.wake(Some(path));
        }
    }

    /// Whatever strangers say, whoever is bound, bonded or connected has its place.
    fn make_room(&self, state: &mut State) {
        let State { tree, seats, .. } = &mut *state;
        if !tree.is_crowded() {
            return;
        }
        let held: BTreeSet<String> = seats.iter().filter_map(|seat| seat.device()).collect();
        let gone = tree.make_room(|path, device| {
            let named = || seats.iter().any(|seat| seat.grant.is_one() && seat.grant.fits(device));
            if device.paired || device.connected || held.contains(path) || named() {
                Worth::Ours
            } else if seats.iter().any(|seat| seat.grant.fits(device)) {
                Worth::Alike
            } else {
                Worth::Stranger
            }
        });
        if gone == 0 {
            return;
        }
        let now = Instant::now();
        state.crowded.get_or_insert(now);
        if state.crowd_told.is_none_or(|told| now - told >= Duration::from_secs(CROWD_TOLD_S)) {
            state.crowd_told = Some(now);
            tracing::warn!("more Bluetooth devices are near than there is room for: those that nobody here named or bonded are let go");
        }
        self.0.status.with(|s| s.radio.strangers_dropped += gone);
    }

    // ---------- the adapter

    async fn keep(&self, bluez: &Bluez) -> BluezError {
        if let Err(why) = bluez.listen().await {
            return why;
        }
        let (mut looking, mut tries) = (Looking::Not, 0);
        loop {
            let pause = match self.ready(bluez, &mut looking).await {
                Ok(Some(adapter)) => {
                    tries = 0;
                    let shut = self.shut(bluez, &adapter).await;
                    let looked = self.look_for(bluez, &adapter, &mut looking).await;
                    shut.into_iter().chain(looked).min()
                }
                Ok(None) => {
                    tries += 1;
                    if tries == POWER_TRIES_SILENT {
                        self.stays_off();
                    }
                    Some(Duration::from_millis(POWER_RETRY_MS))
                }
                Err(why @ BluezError::Bus(_)) => return why,
                Err(why) => {
                    self.gone(&why);
                    Some(Duration::from_millis(RETRY_MS))
                }
            };
            tokio::select! {
                () = self.0.bell.notified() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    /// The powered adapter; None: it is not powered yet.
    async fn ready(&self, bluez: &Bluez, looking: &mut Looking) -> Result<Option<String>, BluezError> {
        if self.lock().owner.is_none() {
            *looking = Looking::Not;
            let owner = bluez.owner().await?;
            self.lock().owner = Some(owner);
            self.read(bluez).await?;
        } else if self.lock().may_lack() {
            match self.read(bluez).await {
                Err(why @ BluezError::Bus(_)) => return Err(why),
                Err(why) => tracing::debug!(%why, "reading again what BlueZ has"), // what is known holds
                Ok(()) => self.lock().wake(None),
            }
        }
        let wanted = self.0.settings.adapter.as_deref();
        let found = self.lock().adapter_now(wanted).map(|(path, adapter)| (path.to_owned(), adapter.powered));
        match found {
            None => Err(BluezError::NoAdapter(self.0.settings.adapter.clone())),
            Some((path, true)) => {
                match self.shut_first(bluez, &path).await {
                    Err(why @ BluezError::Bus(_)) => return Err(why),
                    Err(why) if why.is("Busy") => return Ok(None),
                    Err(why) => tracing::warn!(%why, "peripherals may make bonds by themselves: the adapter stays pairable"),
                    Ok(()) => {}
                }
                let mut state = self.lock();
                state.bluez = Some(bluez.clone());
                if state.adapter.replace(path.clone()).is_none() {
                    *looking = Looking::Not;
                    state.door = bonding::Door::default();
                    tracing::info!(adapter = path, "Bluetooth is there");
                    state.wake(None);
                }
                Ok(Some(path))
            }
            Some((path, false)) => match bluez.power(&path).await {
                Ok(()) => Ok(None),
                Err(why) if why.is("Busy") || why.is("InProgress") => Ok(None),
                Err(why) => Err(why),
            },
        }
    }

    /// All that BlueZ has.
    async fn read(&self, bluez: &Bluez) -> Result<(), BluezError> {
        for _ in 0..READ_AGAIN_MAX {
            let before = self.lock().signals;
            let objects = bluez.objects().await?;
            let mut state = self.lock();
            state.tree.clear();
            state.tree.fill(objects);
            state.crowded = None;
            self.make_room(&mut state);
            if state.signals == before {
                break;
            }
        }
        Ok(())
    }

    /// By turns. How long nothing is to be done; None: until somebody rings.
    async fn look_for(&self, bluez: &Bluez, adapter: &str, looking: &mut Looking) -> Option<Duration> {
        let (wanted, broadcast) = {
            let state = self.lock();
            (state.seats.iter().any(|s| s.wants()), state.seats.iter().any(|s| s.grant.broadcast))
        };
        let Settings { scan, rest, .. } = self.0.settings;
        let rests = !broadcast && !rest.is_zero(); // what is broadcast while the radio rests is not heard
        let now = Instant::now();
        let (next, done) = match *looking {
            Looking::Not if wanted => (Looking::Until(now + scan, broadcast), bluez.discover(adapter, broadcast).await),
            Looking::Until(..) if !wanted => (Looking::Not, bluez.rest(adapter).await),
            // who only hears broadcasts came or went meanwhile: without repeats it would hear each device once
            Looking::Until(_, repeats) if repeats != broadcast => {
                (Looking::Until(now + scan, broadcast), bluez.discover(adapter, broadcast).await)
            }
            Looking::Until(end, _) if now >= end && rests => (Looking::RestingUntil(now + rest), bluez.rest(adapter).await),
            Looking::Until(end, repeats) if now >= end => (Looking::Until(now + scan, repeats), Ok(())),
            Looking::RestingUntil(_) if !wanted => (Looking::Not, Ok(())),
            Looking::RestingUntil(end) if now >= end || broadcast => {
                (Looking::Until(now + scan, broadcast), bluez.discover(adapter, broadcast).await)
            }
            same => (same, Ok(())),
        };
        *looking = next;
        if let Err(why) = done {
            tracing::debug!(%why, "looking for peripherals");
            if matches!(next, Looking::Until(..)) {
                *looking = Looking::Not;
                return Some(Duration::from_millis(RETRY_MS));
            }
        }
        match *looking {
            Looking::Not => None,
            Looking::Until(end, _) | Looking::RestingUntil(end) => Some(end.saturating_duration_since(Instant::now())),
        }
    }
}

impl State {
    /// A device that is missing may be one of those that were let go.
    fn may_lack(&self) -> bool {
        self.crowded.is_some_and(|since| since.elapsed() >= Duration::from_secs(CROWD_S)) && self.seats.iter().any(|seat| seat.wants())
    }

    /// The one that is in use, as long as it is there and on: another that comes takes no links from it. Else the one that is wanted, or the first.
    fn adapter_now(&self, wanted: Option<&str>) -> Option<(&str, &Adapter)> {
        let used = self.adapter.as_deref().filter(|_| wanted.is_none());
        let used = self.tree.adapters().find(|(path, adapter)| Some(*path) == used && adapter.powered);
        used.or_else(|| self.tree.adapter(wanted))
    }

    /// What is known of a device's bond may be another than before.
    fn bond_changed(&self, path: &str, before: Option<&Device>) {
        let Some(before) = before else { return };
        let now = self.tree.device(path);
        if now.is_none() && !self.tree.has_adapter(&before.adapter) {
            return; // it went with its adapter: the bond is on the disk
        }
        if before.bonded && !now.is_some_and(|device| device.bonded) {
            self.seats.iter().for_each(|seat| seat.unbonded(path, &before.address));
        } else if let Some(device) = now {
            self.seats.iter().for_each(|seat| seat.rebonded(path, device));
        }
    }

    /// None: it concerns everybody.
    fn wake(&self, path: Option<&str>) {
        self.seats.iter().for_each(|seat| seat.wake(path));
    }
}

#[cfg(any(test, fuzzing))]
pub mod babble;
mod bonding;
#[cfg(test)]
mod tests;
