//! The objects of org.bluez: adapter, devices, services, characteristics, with their properties as BlueZ 5.66 names them.

use std::collections::{BTreeSet, HashMap};

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::bus::World;
use super::devices::{Peripheral, uuid};

pub(super) const ADAPTER: &str = "/org/bluez/hci0";
/// Another adapter, which hears the same.
pub(super) const DONGLE: &str = "/org/bluez/hci1";
pub(super) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
pub(super) const ADAPTER1: &str = "org.bluez.Adapter1";
pub(super) const DEVICE1: &str = "org.bluez.Device1";
pub(super) const SERVICE1: &str = "org.bluez.GattService1";
pub(super) const CHARACTERISTIC1: &str = "org.bluez.GattCharacteristic1";
pub(super) const AGENT_MANAGER1: &str = "org.bluez.AgentManager1";
/// Of the manufacturer data of a beacon: the company that stands for none. And of its service data, with its serial number.
const MAKER: u16 = 0xffff;
const WHO: u16 = 0x2a25;
/// Far from every address that a test gives: made up, and never heard of again.
const MADE_UP: u64 = 0xc0de_0000_0000;
/// Locally administered: no maker's. Of the adapter, and of the other.
const ADDRESS: &str = "02:00:00:00:00:01";
const DONGLES_ADDRESS: &str = "02:00:00:00:00:02";

pub(super) type Dictionary = HashMap<String, OwnedVariant>;
pub(super) type Interfaces = HashMap<String, Dictionary>;

#[derive(Default)]
pub(super) struct Adapter {
    pub powered: bool,
    /// Not pairable: a link that is encrypted for the first time leaves no bond.
    pub closed: bool,
    /// Who looks for peripherals: each client by itself.
    pub looking: BTreeSet<u32>,
    /// Who is told of repeats (DuplicateData).
    pub repeats: BTreeSet<u32>,
}

/// The other adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dongle {
    Away,
    In,
    /// And another program bonded all that it hears.
    Bonded,
}

pub(super) fn variant<'a>(value: impl Into<Variant<'a>>) -> OwnedVariant {
    OwnedVariant::try_from(value.into()).expect("no file is in it")
}

fn path(path: &str) -> Variant<'static> {
    Variant::from(OwnedObjectPath::try_from(path.to_owned()).expect("a path of ours").into_inner())
}

fn dictionary(entries: Vec<(&str, Variant<'_>)>) -> Dictionary {
    entries.into_iter().map(|(name, value)| (name.to_owned(), variant(value))).collect()
}

impl Adapter {
    pub fn discovers(&self) -> bool {
        self.powered && !self.looking.is_empty()
    }

    /// A client that looks wants to hear repeats.
    pub fn hears_repeats(&self) -> bool {
        self.looking.intersection(&self.repeats).next().is_some()
    }

    pub fn properties(&self) -> Dictionary {
        dictionary(vec![
            ("Address", ADDRESS.into()),
            ("AddressType", "public".into()),
            ("Name", "simulated".into()),
            ("Alias", "simulated".into()),
            ("Powered", self.powered.into()),
            ("Discovering", self.discovers().into()),
            ("Pairable", (!self.closed).into()),
            ("Roles", Variant::from(vec!["central"])),
        ])
    }
}

impl Peripheral {
    pub fn properties(&self) -> Dictionary {
        let mut properties = dictionary(vec![
            ("Address", self.device.address.clone().into()),
            ("AddressType", "random".into()),
            ("Name", self.device.name.clone().into()),
            ("Alias", self.device.name.clone().into()),
            ("Paired", self.paired.into()),
            ("Bonded", self.bonded.into()),
            ("Trusted", self.trusted.into()),
            ("Blocked", false.into()),
            ("Connected", self.connected.into()),
            ("ServicesResolved", self.resolved.into()),
            ("Adapter", path(ADAPTER)),
            ("UUIDs", Variant::from(self.services.iter().map(|s| uuid(s.uuid)).collect::<Vec<_>>())),
        ]);
        if self.in_reach {
            properties.insert("RSSI".into(), variant(self.rssi));
        }
        if !self.broadcast.is_empty() {
            properties.extend(dictionary(self.broadcasts()));
        }
        properties
    }

    /// What it broadcasts, as BlueZ tells it.
    pub fn broadcasts(&self) -> Vec<(&'static str, Variant<'static>)> {
        let serial = format!("SN-{}", self.device.name).into_bytes();
        vec![
            ("ManufacturerData", Variant::from(HashMap::from([(MAKER, Variant::from(self.broadcast.clone()))]))),
            ("ServiceData", Variant::from(HashMap::from([(uuid(WHO), Variant::from(serial))]))),
            ("RSSI", Variant::from(self.rssi)),
        ]
    }

    /// What is known of its services: nothing before they are resolved.
    fn attributes(&self) -> Vec<(String, Interfaces)> {
        if !self.resolved {
            return Vec::new();
        }
        let mut found = Vec::new();
        for (s, service) in self.services.iter().enumerate() {
            let entries = vec![("UUID", uuid(service.uuid).into()), ("Primary", true.into()), ("Device", path(&self.path()))];
            found.push((self.service_path(s), Interfaces::from([(SERVICE1.to_owned(), dictionary(entries))])));
        }
        for (c, characteristic) in self.characteristics.iter().enumerate() {
            let entries = vec![
                ("UUID", uuid(characteristic.uuid).into()),
                ("Service", path(&self.service_path(characteristic.service))),
                ("Flags", Variant::from(characteristic.flags.to_vec())),
                ("Notifying", characteristic.heard().into()),
                ("MTU", super::devices::MTU.into()),
            ];
            found.push((self.characteristic_path(c), Interfaces::from([(CHARACTERISTIC1.to_owned(), dictionary(entries))])));
        }
        found
    }

    pub fn objects(&self) -> Vec<(String, Interfaces)> {
        let device = (self.path(), Interfaces::from([(DEVICE1.to_owned(), self.properties())]));
        [device].into_iter().chain(self.attributes()).collect()
    }
}

impl Peripheral {
    /// As the other adapter has it: heard, and not connected.
    fn at_the_dongle(&self, bonded: bool) -> (String, Interfaces) {
        let mut properties = self.properties();
        properties.extend(["Trusted", "Connected", "ServicesResolved"].map(|name| (name.to_owned(), variant(false))));
        properties.extend(["Paired", "Bonded"].map(|name| (name.to_owned(), variant(bonded))));
        properties.insert("Adapter".into(), variant(path(DONGLE)));
        (self.path().replacen(ADAPTER, DONGLE, 1), Interfaces::from([(DEVICE1.to_owned(), properties)]))
    }
}

/// One of a crowd.
pub(super) fn stranger(n: u32) -> (String, Interfaces) {
    let octets = (MADE_UP + u64::from(n)).to_be_bytes();
    let address = octets[2..].iter().map(|o| format!("{o:02X}")).collect::<Vec<_>>().join(":");
    let at = format!("{ADAPTER}/dev_{}", address.replace(':', "_"));
    let entries = vec![
        ("Address", address.into()),
        ("Paired", false.into()),
        ("Connected", false.into()),
        ("Adapter", path(ADAPTER)),
        ("RSSI", Variant::from(-70i16)),
    ];
    (at, Interfaces::from([(DEVICE1.to_owned(), dictionary(entries))]))
}

impl World {
    pub fn objects(&self) -> HashMap<OwnedObjectPath, Interfaces> {
        let mut all = vec![("/org/bluez".to_owned(), Interfaces::from([(AGENT_MANAGER1.to_owned(), Dictionary::new())]))];
        if let Some(adapter) = &self.adapter {
            all.push((ADAPTER.to_owned(), Interfaces::from([(ADAPTER1.to_owned(), adapter.properties())])));
            all.extend(self.peripherals.iter().filter(|p| p.known).flat_map(Peripheral::objects));
            all.extend((0..self.crowd.0).map(stranger));
        }
        all.extend(self.over_the_dongle());
        all.into_iter().map(|(path, interfaces)| (OwnedObjectPath::try_from(path).expect("a path of ours"), interfaces)).collect()
    }

    /// The other adapter, and whom it hears.
    pub fn over_the_dongle(&self) -> Vec<(String, Interfaces)> {
        if self.dongle == Dongle::Away {
            return Vec::new();
        }
        let mut properties = Adapter { powered: true, closed: true, ..Adapter::default() }.properties();
        properties.insert("Address".into(), variant(DONGLES_ADDRESS));
        let bonded = self.dongle == Dongle::Bonded;
        let heard = self.peripherals.iter().filter(|p| p.known).map(|p| p.at_the_dongle(bonded));
        std::iter::once((DONGLE.to_owned(), Interfaces::from([(ADAPTER1.to_owned(), properties)]))).chain(heard).collect()
    }

    pub fn added(&self, objects: Vec<(String, Interfaces)>) {
        for (path, interfaces) in objects {
            let path = OwnedObjectPath::try_from(path).expect("a path of ours");
            self.signal("/", OBJECT_MANAGER, "InterfacesAdded", &(path, interfaces));
        }
    }

    pub fn removed(&self, objects: Vec<(String, Interfaces)>) {
        for (path, interfaces) in objects.into_iter().rev() {
            let path = OwnedObjectPath::try_from(path).expect("a path of ours");
            self.signal("/", OBJECT_MANAGER, "InterfacesRemoved", &(path, interfaces.into_keys().collect::<Vec<_>>()));
        }
    }

    pub fn changed(&self, path: &str, interface: &str, what: Vec<(&str, Variant<'_>)>) {
        self.signal(path, PROPERTIES, "PropertiesChanged", &(interface, dictionary(what), Vec::<String>::new()));
    }
}
