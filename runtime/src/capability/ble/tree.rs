//! What BlueZ has: its objects as the gateway needs them, kept up to date by its signals. Pure. What strangers advertise comes through here, so
//! everything is bounded.

use std::collections::{BTreeMap, HashMap};

use zbus::OwnedVariant;

use super::bluez::{ADAPTER, CHARACTERISTIC, DEVICE, Dictionary, Objects, SERVICE};
use super::grant::{Id, uuid};

/// Devices that are nobody's here.
pub(super) const STRANGERS_MAX: usize = 512; // a busy corridor has some hundred, which BlueZ forgets after 30 s; who makes up addresses has any number
/// So many more go at once where those are the ones that are in the way: a flood costs little.
const STRANGERS_GO: usize = STRANGERS_MAX / 4;
/// Services and characteristics of one device; what is beyond is not seen.
pub(super) const ATTRIBUTES_MAX: usize = 512; // the richest device read about has 60
pub(super) const NAME_BYTES_MAX: usize = 248; // the protocol's own bound
pub(super) const ENTRIES_MAX: usize = 32; // services or makers in one advertisement: extended ones have 1650 bytes
pub(super) const DATA_BYTES_MAX: usize = 1650; // of one of them

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Adapter {
    pub address: String,
    pub powered: bool,
    /// A link that is encrypted for the first time leaves a bond behind.
    pub pairable: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Device {
    /// Of a bonded one with private addresses: its identity address.
    pub address: String,
    /// Its address is assigned to its maker; otherwise it was made up.
    pub public: bool,
    pub adapter: String,
    pub name: String,
    pub paired: bool,
    /// Its keys are kept, also over a restart.
    pub bonded: bool,
    pub connected: bool,
    pub resolved: bool,
    /// Received in the present discovery, dBm.
    pub rssi: Option<i16>,
    pub services: Vec<Id>,
    pub manufacturer: Vec<(u16, Vec<u8>)>,
    pub service_data: Vec<(Id, Vec<u8>)>,
    /// Counts up: who was heard last has the most.
    pub heard: u64,
}

/// How long an address stays that of its device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressKind {
    /// Its maker assigned it.
    Public,
    /// Made up once, for good.
    Static,
    /// It changes every few minutes: nobody is bound by it.
    #[default]
    Changing,
}

/// What a device is worth here, the least first: where there is no room for all, the least goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    Stranger,
    /// It fits a pool, as anything does that says what the devices of that pool say.
    Alike,
    /// Named by a grant, bonded, connected, or an instance's own: it never goes.
    Ours,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Characteristic {
    pub uuid: Id,
    /// Path of its service.
    pub service: String,
    pub flags: Vec<String>,
    pub mtu: u16,
}

#[derive(Clone, Debug, PartialEq)]
enum Object {
    Adapter(Adapter),
    Device(Box<Device>),
    Service(Id),
    Characteristic(Characteristic),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    objects: BTreeMap<String, Object>,
    heard: u64,
}

impl Tree {
    pub fn clear(&mut self) {
        self.objects.clear();
    }

    /// All that BlueZ has; a device comes before what is below it.
    pub fn fill(&mut self, objects: Objects) {
        let mut all: Vec<_> = objects.into_iter().map(|(path, interfaces)| (path.to_string(), interfaces)).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (path, interfaces) in all {
            interfaces.into_iter().for_each(|(interface, properties)| self.added(&path, &interface, properties));
        }
    }

    /// A device always has a place; whoever adds devices [makes room](Self::make_room) afterwards.
    pub fn added(&mut self, path: &str, interface: &str, properties: Dictionary) {
        if [SERVICE, CHARACTERISTIC].contains(&interface) && !self.objects.contains_key(path) && !self.has_room_below(path) {
            return;
        }
        let object = match interface {
            ADAPTER => Object::Adapter(Adapter::default()),
            DEVICE => Object::Device(Box::default()),
            SERVICE => Object::Service(Id::default()),
            CHARACTERISTIC => Object::Characteristic(Characteristic::default()),
            _ => return,
        };
        self.objects.insert(path.to_owned(), object);
        self.changed(path, interface, properties, &[]);
    }

    pub fn removed(&mut self, path: &str, interfaces: &[String]) {
        if interfaces.iter().any(|i| [ADAPTER, DEVICE, SERVICE, CHARACTERISTIC].contains(&i.as_str())) {
            self.objects.remove(path);
        }
    }

    /// What is below a device that is not there is nobody's, and one device does not take the place of all.
    fn has_room_below(&self, path: &str) -> bool {
        let Some(device) = device_of(path).filter(|device| self.device(device).is_some()) else { return false };
        self.below(device).count() < ATTRIBUTES_MAX
    }

    fn below(&self, device: &str) -> impl Iterator<Item = (&String, &Object)> {
        let below = format!("{device}/");
        self.objects.range(below.clone()..).take_while(move |(path, _)| path.starts_with(&below))
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// There may be too many.
    pub fn is_crowded(&self) -> bool {
        self.devices().count() > STRANGERS_MAX
    }

    /// Lets those go who are worth least, and of them who was silent longest, while there are too many: how many went.
    pub fn make_room(&mut self, worth: impl Fn(&str, &Device) -> Worth) -> u64 {
        let mut others: Vec<_> = self.devices().map(|(path, d)| (worth(path, d), d.heard, path.to_owned())).collect();
        others.retain(|(worth, ..)| *worth < Worth::Ours);
        let over = others.len().saturating_sub(STRANGERS_MAX);
        if over == 0 {
            return 0;
        }
        others.sort_unstable();
        let strangers = others.partition_point(|(worth, ..)| *worth == Worth::Stranger);
        let going = over.max(strangers.min(over + STRANGERS_GO));
        for (_, _, path) in &others[..going] {
            let all: Vec<String> = self.below(path).map(|(path, _)| path.clone()).collect();
            all.iter().chain([path]).for_each(|path| drop(self.objects.remove(path)));
        }
        going as u64
    }

    pub fn changed(&mut self, path: &str, interface: &str, properties: Dictionary, invalid: &[String]) {
        self.heard += 1;
        match (self.objects.get_mut(path), interface) {
            (Some(Object::Adapter(adapter)), ADAPTER) => {
                if let Some(address) = text(&properties, "Address") {
                    adapter.address = address;
                }
                take(&properties, "Powered", &mut adapter.powered);
                take(&properties, "Pairable", &mut adapter.pairable);
            }
            (Some(Object::Device(device)), DEVICE) => {
                device.heard = self.heard;
                device.changed(&properties, invalid);
            }
            (Some(Object::Service(id)), SERVICE) => *id = text(&properties, "UUID").as_deref().and_then(uuid).unwrap_or(*id),
            (Some(Object::Characteristic(c)), CHARACTERISTIC) => c.changed(&properties),
            _ => {}
        }
    }

    /// Path and adapter, of that name or the first.
    pub fn adapter(&self, name: Option<&str>) -> Option<(&str, &Adapter)> {
        self.adapters().find(|(path, _)| name.is_none_or(|name| path.rsplit('/').next() == Some(name)))
    }

    pub fn adapters(&self) -> impl Iterator<Item = (&str, &Adapter)> {
        self.objects.iter().filter_map(|(path, object)| match object {
            Object::Adapter(a) => Some((path.as_str(), a)),
            _ => None,
        })
    }

    pub fn has_adapter(&self, path: &str) -> bool {
        matches!(self.objects.get(path), Some(Object::Adapter(_)))
    }

    /// Of the adapter at this path; empty: it has none.
    pub fn address_of(&self, adapter: &str) -> String {
        self.adapters().find(|(path, _)| *path == adapter).map(|(_, a)| a.address.clone()).unwrap_or_default()
    }

    /// The adapters that have a bond with this peripheral.
    pub fn bonded_by(&self, address: &str) -> Vec<&str> {
        self.devices().filter(|(_, d)| d.bonded && d.address.eq_ignore_ascii_case(address)).map(|(_, d)| d.adapter.as_str()).collect()
    }

    pub fn device(&self, path: &str) -> Option<&Device> {
        match self.objects.get(path) {
            Some(Object::Device(device)) => Some(device),
            _ => None,
        }
    }

    pub fn devices(&self) -> impl Iterator<Item = (&str, &Device)> {
        self.objects.iter().filter_map(|(path, object)| match object {
            Object::Device(device) => Some((path.as_str(), device.as_ref())),
            _ => None,
        })
    }

    /// What is known of a device's characteristics: path, service, itself.
    pub fn characteristics(&self, device: &str) -> Vec<(String, Id, Characteristic)> {
        let found = self.below(device).filter_map(|(path, object)| match object {
            Object::Characteristic(c) => match self.objects.get(&c.service) {
                Some(Object::Service(service)) => Some((path.clone(), *service, c.clone())),
                _ => None,
            },
            _ => None,
        });
        found.collect()
    }
}

impl Device {
    /// The address that is its own for good: assigned, or made up once. None: it shows one that changes, and nobody knows by it who that is.
    pub fn identity(&self) -> Option<&str> {
        (self.address_kind() != AddressKind::Changing).then_some(self.address.as_str())
    }

    pub fn address_kind(&self) -> AddressKind {
        const STATIC: u8 = 0b11; // the two highest bits of a random address that stays
        match self.address.get(..2).and_then(|octet| u8::from_str_radix(octet, 16).ok()) {
            Some(_) if self.public => AddressKind::Public,
            Some(first) if first >> 6 == STATIC => AddressKind::Static,
            _ => AddressKind::Changing,
        }
    }

    fn changed(&mut self, properties: &Dictionary, invalid: &[String]) {
        take(properties, "Paired", &mut self.paired);
        take(properties, "Bonded", &mut self.bonded);
        take(properties, "Connected", &mut self.connected);
        take(properties, "ServicesResolved", &mut self.resolved);
        if let Some(kind) = text(properties, "AddressType") {
            self.public = kind == "public";
        }
        for (name, into) in [("Address", &mut self.address), ("Name", &mut self.name)] {
            if let Some(text) = text(properties, name) {
                *into = text;
            }
        }
        if let Some(path) = properties.get("Adapter").and_then(|v| zbus::OwnedObjectPath::try_from(v.clone()).ok()) {
            self.adapter = path.to_string();
        }
        if let Some(rssi) = properties.get("RSSI").and_then(|v| i16::try_from(v.clone()).ok()) {
            self.rssi = Some(rssi);
        }
        if invalid.iter().any(|name| name == "RSSI") {
            self.rssi = None;
        }
        if let Some(all) = properties.get("UUIDs").and_then(|v| Vec::<String>::try_from(v.clone()).ok()) {
            self.services = all.iter().take(ENTRIES_MAX).filter_map(|text| uuid(text)).collect();
        }
        if let Some(all) = properties.get("ManufacturerData").and_then(|v| HashMap::<u16, OwnedVariant>::try_from(v.clone()).ok()) {
            self.manufacturer = bounded(all.into_iter().filter_map(|(company, bytes)| Some((company, octets(bytes)?))));
        }
        if let Some(all) = properties.get("ServiceData").and_then(|v| HashMap::<String, OwnedVariant>::try_from(v.clone()).ok()) {
            self.service_data = bounded(all.into_iter().filter_map(|(service, bytes)| Some((uuid(&service)?, octets(bytes)?))));
        }
    }
}

impl Characteristic {
    fn changed(&mut self, properties: &Dictionary) {
        if let Some(id) = text(properties, "UUID").as_deref().and_then(uuid) {
            self.uuid = id;
        }
        if let Some(path) = properties.get("Service").and_then(|v| zbus::OwnedObjectPath::try_from(v.clone()).ok()) {
            self.service = path.to_string();
        }
        if let Some(flags) = properties.get("Flags").and_then(|v| Vec::<String>::try_from(v.clone()).ok()) {
            self.flags = flags.into_iter().take(ENTRIES_MAX).collect();
        }
        if let Some(mtu) = properties.get("MTU").and_then(|v| u16::try_from(v.clone()).ok()) {
            self.mtu = mtu;
        }
    }

    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }
}

/// The path of the device that this is below: BlueZ names them `/org/bluez/hci0/dev_00_11_22_33_44_55/service000a/char000b`.
fn device_of(path: &str) -> Option<&str> {
    let at = path.find("/dev_")?;
    let end = path[at + 1..].find('/')?;
    Some(&path[..at + 1 + end])
}

fn take(properties: &Dictionary, name: &str, into: &mut bool) {
    if let Some(yes) = properties.get(name).and_then(|v| bool::try_from(v.clone()).ok()) {
        *into = yes;
    }
}

fn text(properties: &Dictionary, name: &str) -> Option<String> {
    let text = properties.get(name).and_then(|v| String::try_from(v.clone()).ok())?;
    Some(crate::contract::printable(&text, NAME_BYTES_MAX))
}

fn octets(value: OwnedVariant) -> Option<Vec<u8>> {
    Vec::<u8>::try_from(value).ok().filter(|bytes| bytes.len() <= DATA_BYTES_MAX)
}

fn bounded<K: Ord>(all: impl Iterator<Item = (K, Vec<u8>)>) -> Vec<(K, Vec<u8>)> {
    let mut all: Vec<_> = all.collect();
    all.sort();
    all.truncate(ENTRIES_MAX);
    all
}
