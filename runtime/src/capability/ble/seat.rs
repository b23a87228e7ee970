//! One instance's place at the radio: which device it has, and where what that device says goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::grant::{Grant, Which, as_wit};
use super::tree::Device;
use crate::capability::inbox;
use crate::contract::Event;
use crate::contract::ble::{ManufacturerData, ServiceData};
use crate::contract::types::Moment;
use crate::status::Status;

/// Subscriptions at devices that an instance had before.
const FORMER_MAX: usize = 1024; // a device has a handful, a ward some dozen devices
/// What a peripheral says by signals before it is passed on: at once, or when its plugin was told what there is.
const SAID_MAX: usize = 256; // a meter that was subscribed to before its link was lost tells at once; discovery takes a second or two
/// How long others of a pool go before one that could not be used: the first time, and at most.
const REST_S_MIN: u64 = 60; // twice as long as one that never tells its services holds up the rest
const REST_S_MAX: u64 = 1920; // five doublings: one that is mended is taken again within half an hour, and at once where there is no other
/// Devices of a pool that could not be used.
const RESTING_MAX: usize = 256; // half of all that are known at once

pub(super) struct Seat {
    pub grant: Grant,
    pub inbox: inbox::Sender,
    pub news: Notify,
    /// Its device was bonded, or a bond of it counts from here on.
    pub bonding: Notify,
    heard_ns: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    wants: bool,
    /// Of one that only broadcasts: it is bonded as its grant asks.
    trusted: bool,
    /// Path of the device.
    device: Option<String>,
    /// Characteristics that are told of by signals: their handles, and whether they are confirmed before we hear of them.
    routes: BTreeMap<String, (u16, bool)>,
    /// Whose they are: the device that it has, or had last.
    of: Option<String>,
    /// Those of devices that it had before. BlueZ subscribes to them again by itself, whoever has the device then.
    former: BTreeMap<String, (u16, bool)>,
    /// The plugin knows the handles.
    open: bool,
    /// By signals, and not passed on yet.
    said: Vec<(Moment, Event)>,
    /// There was more than that.
    said_lost: bool,
    /// Devices that could not be used.
    resting: BTreeMap<String, Rest>,
    /// Address of its device, whose bond BlueZ has no more.
    bond_gone: Option<String>,
}

#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    s: u64,
}

impl Seat {
    pub fn new(grant: Grant, inbox: inbox::Sender) -> Self {
        Self { grant, inbox, news: Notify::new(), bonding: Notify::new(), heard_ns: AtomicU64::new(0), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    pub fn wants(&self) -> bool {
        self.lock().wants
    }

    /// True: that is new.
    pub fn want(&self, wants: bool) -> bool {
        std::mem::replace(&mut self.lock().wants, wants) != wants
    }

    pub fn trust(&self, yes: bool) {
        self.lock().trusted = yes;
    }

    pub fn device(&self) -> Option<String> {
        self.lock().device.clone()
    }

    /// What was subscribed to at a device is kept for when it comes back: BlueZ subscribes again by itself, and what it brings then was confirmed.
    pub fn claim(&self, device: Option<&str>) {
        let mut inner = self.lock();
        inner.device = device.map(str::to_owned);
        if inner.device.is_none() || inner.of == inner.device {
            return;
        }
        let Inner { routes, former, said, said_lost, of, device, .. } = &mut *inner;
        *said_lost |= !said.is_empty(); // another said it
        said.clear();
        former.append(routes);
        of.clone_from(device);
        let below = format!("{}/", of.as_deref().unwrap_or_default());
        *routes = former.extract_if(below.clone().., |path, _| path.starts_with(&below)).collect();
        while former.len() > FORMER_MAX {
            former.pop_first();
        }
    }

    /// It is subscribed to this at a device that it had before.
    pub fn left(&self, path: &str) -> bool {
        let inner = self.lock();
        inner.former.contains_key(path) || (inner.device.is_none() && inner.routes.contains_key(path))
    }

    /// It has the device that this path is below.
    pub fn has(&self, path: &str) -> bool {
        self.lock().device.as_deref().is_some_and(|device| path.strip_prefix(device).is_some_and(|below| below.starts_with('/')))
    }

    /// The device that it has, or had last, is below this path.
    pub fn had(&self, path: &str) -> bool {
        self.lock().of.as_deref().is_some_and(|of| of.strip_prefix(path).is_some_and(|below| below.starts_with('/')))
    }

    /// Something was said that nobody heard.
    pub fn missed(&self, now: Moment) {
        let mut inner = self.lock();
        if inner.open {
            self.inbox.lost(now);
        } else {
            inner.said_lost = true;
        }
    }

    // ---------- what could not be used

    /// Others of its pool go before this device, and each time for longer.
    pub fn lets_rest(&self, path: &str, now: Instant) {
        let mut inner = self.lock();
        let s = inner.resting.get(path).map_or(REST_S_MIN, |rest| (2 * rest.s).min(REST_S_MAX));
        inner.resting.insert(path.to_owned(), Rest { until: now + Duration::from_secs(s), s });
        if inner.resting.len() > RESTING_MAX {
            let first = inner.resting.iter().min_by_key(|(_, rest)| rest.until).map(|(path, _)| path.clone());
            first.iter().for_each(|path| _ = inner.resting.remove(path));
        }
    }

    pub fn rests_until(&self, path: &str, now: Instant) -> Option<Instant> {
        self.lock().resting.get(path).map(|rest| rest.until).filter(|until| *until > now)
    }

    /// It is of use.
    pub fn recovers(&self, path: &str) {
        self.lock().resting.remove(path);
    }

    /// What is known of the bond of a device has changed: whoever waits for it looks at once.
    pub fn rebonded(&self, path: &str, device: &Device) {
        let mut inner = self.lock();
        let rested = inner.resting.remove(path).is_some();
        if device.bonded && (rested || inner.device.as_deref() == Some(path)) {
            self.bonding.notify_one();
        }
    }

    /// BlueZ has the bond of a device no more.
    pub fn unbonded(&self, path: &str, address: &str) {
        let mut inner = self.lock();
        if inner.of.as_deref() == Some(path) {
            inner.bond_gone = Some(address.to_owned());
        }
    }

    /// The address of its device, where BlueZ had a bond of that and has it no more.
    pub fn bond_gone(&self) -> Option<String> {
        self.lock().bond_gone.clone()
    }

    pub fn forget_bond_gone(&self) {
        self.lock().bond_gone = None;
    }

    // ---------- what is said

    pub fn wake(&self, path: Option<&str>) {
        let device = self.device();
        if path.is_none_or(|path| device.is_none_or(|device| device == path)) {
            self.news.notify_one();
        }
    }

    pub fn route(&self, path: &str, to: Option<(u16, bool)>) {
        let mut inner = self.lock();
        match to {
            Some(to) => drop(inner.routes.insert(path.to_owned(), to)),
            None => drop(inner.routes.remove(path)),
        }
    }

    /// The plugin was told what there is; what came before goes first.
    pub fn open(&self, now: Moment) {
        let mut inner = self.lock();
        inner.open = true;
        self.pass_on(&mut inner, now);
    }

    fn pass_on(&self, inner: &mut Inner, now: Moment) {
        for (moment, event) in std::mem::take(&mut inner.said) {
            self.inbox.notified(moment, event);
        }
        if std::mem::take(&mut inner.said_lost) {
            self.inbox.lost(now);
        }
    }

    /// What it said by signals since it was asked last, and whether that is not all.
    pub fn said(&self) -> (Vec<(Moment, Event)>, bool) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.said), std::mem::take(&mut inner.said_lost))
    }

    /// The link is gone. Routes stay: BlueZ subscribes again by itself as soon as it is back.
    pub fn close(&self, now: Moment) {
        let mut inner = self.lock();
        if std::mem::take(&mut inner.open) {
            self.pass_on(&mut inner, now); // it was confirmed
        }
        inner.said.clear();
        inner.said_lost = false;
    }

    /// A notification or an indication that came as a signal. False: it is not of this one.
    pub fn value(&self, now: Moment, path: &str, bytes: &[u8], status: &Status) -> bool {
        let mut inner = self.lock();
        let Some((handle, confirmed)) = inner.routes.get(path).copied() else { return false };
        self.count(now, bytes.len(), status);
        let event = if confirmed { Event::BleIndicated(handle, bytes.to_vec()) } else { Event::BleNotified(handle, bytes.to_vec()) };
        if inner.said.len() < SAID_MAX {
            inner.said.push((now, event));
        } else {
            inner.said_lost = true;
        }
        if inner.open {
            self.news.notify_one();
        }
        true
    }

    /// Something that the peripheral said, on its way to the plugin.
    pub fn give(&self, now: Moment, event: Event, status: &Status) {
        self.inbox.notified(now, event);
        status.instance(self.inbox.instance(), |i| i.overruns = self.inbox.overruns());
    }

    /// When it said something last, whether its plugin has heard that yet or not; 0: never.
    pub fn heard_ns(&self) -> u64 {
        self.heard_ns.load(Ordering::Relaxed)
    }

    pub fn count(&self, now: Moment, bytes: usize, status: &Status) {
        self.heard_ns.store(now.monotonic_ns, Ordering::Relaxed);
        status.link(&self.grant.link(), |l| {
            l.notifications += 1;
            l.bytes_in += bytes as u64;
        });
    }

    /// Of one of a pool, who that is; who is named is known.
    pub fn who(&self, device: &Device) -> Option<Arc<str>> {
        device.identity().filter(|_| !self.grant.is_one()).map(Arc::from)
    }

    /// For an instance that only hears broadcasts.
    pub fn advertised(&self, now: Moment, path: &str, device: &Device, status: &Status) {
        if !self.grant.broadcast || !self.grant.fits(device) || !self.lock().trusted {
            return;
        }
        if self.device().as_deref() != Some(path) {
            return; // two devices would be taken for one; its owner claims one, and tells its plugin so first
        }
        let rssi = device.rssi.unwrap_or_default();
        let manufacturer: Vec<_> =
            device.manufacturer.iter().map(|(company, bytes)| ManufacturerData { company: *company, bytes: bytes.clone() }).collect();
        let services: Vec<_> =
            device.service_data.iter().map(|(id, bytes)| ServiceData { service: as_wit(*id), bytes: bytes.clone() }).collect();
        let bytes = manufacturer.iter().map(|m| m.bytes.len()).chain(services.iter().map(|s| s.bytes.len())).sum();
        self.count(now, bytes, status);
        status.link(&self.grant.link(), |l| (l.rssi_dbm, l.rssi_ns) = (device.rssi, now.monotonic_ns));
        let rssi = rssi.clamp(i8::MIN.into(), i8::MAX.into()) as i8;
        self.give(now, Event::BleAdvertised { rssi, manufacturer, services, who: self.who(device) }, status);
    }
}

impl Grant {
    /// Bound to one peripheral, and not to any of several.
    pub(super) fn is_one(&self) -> bool {
        matches!(self.which, Which::Address(_))
    }
}
