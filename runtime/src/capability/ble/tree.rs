//! What BlueZ has: its objects as the gateway needs them, kept up to date by its signals. Pure. What strangers advertise comes through here, so
//! everything is bounded.

use std::collections::{BTreeMap, HashMap};

use zbus::OwnedVariant;

use super::bluez::{ADAPTER, CHARACTERISTIC, DEVICE, Dictionary, SERVICE};
use super::grant::{Id, uuid};

/// Devices, services and characteristics together; what is beyond is not seen.
const OBJECTS_MAX: usize = 4096; // eight peripherals have some 500; the rest are phones that walk by, which BlueZ forgets after 30 s
const NAME_BYTES_MAX: usize = 248; // the protocol's own bound
const ENTRIES_MAX: usize = 32; // services or makers in one advertisement: extended ones have 1650 bytes
const DATA_BYTES_MAX: usize = 1650; // of one of them

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Adapter {
    pub powered: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Device {
    /// Of a bonded one with private addresses: its identity address.
    pub address: String,
    pub adapter: String,
    pub name: String,
    pub paired: bool,
    pub connected: bool,
    pub resolved: bool,
    /// Received in the present discovery, dBm.
    pub rssi: Option<i16>,
    pub services: Vec<Id>,
    pub manufacturer: Vec<(u16, Vec<u8>)>,
    pub service_data: Vec<(Id, Vec<u8>)>,
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
}

impl Tree {
    pub fn clear(&mut self) {
        self.objects.clear();
    }

    pub fn added(&mut self, path: &str, interface: &str, properties: Dictionary) {
        if self.objects.len() >= OBJECTS_MAX && !self.objects.contains_key(path) {
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

    pub fn changed(&mut self, path: &str, interface: &str, properties: Dictionary, invalid: &[String]) {
        match (self.objects.get_mut(path), interface) {
            (Some(Object::Adapter(adapter)), ADAPTER) => take(&properties, "Powered", &mut adapter.powered),
            (Some(Object::Device(device)), DEVICE) => device.changed(&properties, invalid),
            (Some(Object::Service(id)), SERVICE) => *id = text(&properties, "UUID").as_deref().and_then(uuid).unwrap_or(*id),
            (Some(Object::Characteristic(c)), CHARACTERISTIC) => c.changed(&properties),
            _ => {}
        }
    }

    /// Path and adapter, of that name or the first.
    pub fn adapter(&self, name: Option<&str>) -> Option<(&str, &Adapter)> {
        self.objects.iter().find_map(|(path, object)| match object {
            Object::Adapter(a) if name.is_none_or(|name| path.rsplit('/').next() == Some(name)) => Some((path.as_str(), a)),
            _ => None,
        })
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
        let below = format!("{device}/");
        let found = self.objects.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below));
        let found = found.filter_map(|(path, object)| match object {
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
    fn changed(&mut self, properties: &Dictionary, invalid: &[String]) {
        take(properties, "Paired", &mut self.paired);
        take(properties, "Connected", &mut self.connected);
        take(properties, "ServicesResolved", &mut self.resolved);
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
