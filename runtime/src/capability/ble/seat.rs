//! One instance's place at the radio: which device it has, and where what that device says goes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::grant::{Grant, Which, as_wit};
use super::tree::Device;
use crate::capability::inbox;
use crate::contract::Event;
use crate::contract::ble::{ManufacturerData, ServiceData};
use crate::contract::types::Moment;
use crate::status::Status;

/// Subscriptions at devices that an instance had before.
const FORMER_MAX: usize = 1024; // a device has a handful, a ward some dozen devices
/// What a peripheral says before its plugin was told what there is.
const EARLY_MAX: usize = 256; // a meter that was subscribed to before its link was lost tells at once; discovery takes a second or two

pub(super) struct Seat {
    pub grant: Grant,
    pub inbox: inbox::Sender,
    pub news: Notify,
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
    early: Vec<(Moment, Event)>,
    /// There was more than that.
    early_lost: bool,
}

impl Seat {
    pub fn new(grant: Grant, inbox: inbox::Sender) -> Self {
        Self { grant, inbox, news: Notify::new(), heard_ns: AtomicU64::new(0), inner: Mutex::default() }
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
        let Inner { routes, former, early, early_lost, of, device, .. } = &mut *inner;
        *early_lost |= !early.is_empty(); // another said it
        early.clear();
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

    /// Something was said that nobody heard.
    pub fn missed(&self, now: Moment) {
        let mut inner = self.lock();
        if inner.open {
            self.inbox.lost(now);
        } else {
            inner.early_lost = true;
        }
    }

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
        for (moment, event) in std::mem::take(&mut inner.early) {
            self.inbox.notified(moment, event);
        }
        if std::mem::take(&mut inner.early_lost) {
            self.inbox.lost(now);
        }
    }

    /// The link is gone. Routes stay: BlueZ subscribes again by itself as soon as it is back.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.open = false;
        inner.early.clear();
        inner.early_lost = false;
    }

    /// A notification or an indication that came as a signal. False: it is not of this one.
    pub fn value(&self, now: Moment, path: &str, bytes: &[u8], status: &Status) -> bool {
        let mut inner = self.lock();
        let Some((handle, confirmed)) = inner.routes.get(path).copied() else { return false };
        self.count(now, bytes.len(), status);
        let event = if confirmed { Event::BleIndicated(handle, bytes.to_vec()) } else { Event::BleNotified(handle, bytes.to_vec()) };
        if inner.open {
            self.give(now, event, status);
        } else if inner.early.len() < EARLY_MAX {
            inner.early.push((now, event));
        } else {
            inner.early_lost = true;
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
