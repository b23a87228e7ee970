//! Any bytes as what BlueZ signals: for the test and the fuzzer, which hold that no device around, and no BlueZ, says more than there is room for.

use std::collections::HashMap;

use zbus::message::Message;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::super::bluez::{ADAPTER, CHARACTERISTIC, DEVICE, Dictionary, Interfaces, OBJECT_MANAGER, PROPERTIES, SERVICE};
use super::super::grant::{Grant, INBOX_BYTES};
use super::super::tree::{ATTRIBUTES_MAX, DATA_BYTES_MAX, ENTRIES_MAX, NAME_BYTES_MAX, STRANGERS_MAX};
use super::{Radio, Seat};
use crate::capability::inbox::{EVENTS_MAX, Inbox, inbox};
use crate::config::{self, BleGrant, BlePool};
use crate::contract::Event;
use crate::contract::types::Moment;
use crate::status::Status;

const OWNER: &str = ":1.1";
const HERE: &str = "/org/bluez/hci0";
/// The one device that is bound by its address, and the object under which BlueZ has it.
const OURS: (&str, &str) = ("F0:00:00:00:00:00", "/org/bluez/hci0/dev_F0_00_00_00_00_00");
const INTERFACES: [&str; 4] = [DEVICE, CHARACTERISTIC, SERVICE, ADAPTER];
const NAMES: [&str; 17] = [
    "Address",
    "Adapter",
    "Name",
    "Paired",
    "Connected",
    "ServicesResolved",
    "RSSI",
    "UUIDs",
    "ManufacturerData",
    "ServiceData",
    "UUID",
    "Service",
    "Flags",
    "MTU",
    "Powered",
    "Value",
    "Alias",
];
/// A length is told by one byte; so many times that is enough to go beyond every bound.
const LENGTHEN: usize = 16;
/// The words behind a text that was cut, which say how much of it is missing.
const CUT_BYTES_MAX: usize = 32;

fn clock() -> Moment {
    Moment { boot: 1, monotonic_ns: 1, wall: None }
}

/// Bytes, and zeros behind them.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn one(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.one()) % all.len()]
    }

    fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.one()) * LENGTHEN;
        let (these, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        these
    }

    /// As D-Bus takes them.
    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.some()).replace('\0', " ")
    }

    fn uuid(&mut self) -> String {
        format!("{:08x}-0000-1000-8000-00805f9b34fb", self.one())
    }

    /// A device, or something below it; a few of those that there may be.
    fn path(&mut self) -> String {
        let device = format!("{HERE}/dev_F0_00_00_00_00_{:02X}", self.one());
        match self.one() % 4 {
            0 | 1 => device,
            2 => format!("{device}/service{:04x}", u16::from(self.one() & 3)),
            _ => format!("{device}/service0000/char{:02x}{:02x}", self.one(), self.one()),
        }
    }

    fn map<K: Eq + std::hash::Hash>(&mut self, key: impl Fn(&mut Self) -> K) -> HashMap<K, Variant<'static>> {
        (0..self.one() % 64).map(|_| (key(self), Variant::from(self.some().to_vec()))).collect()
    }

    /// Of the kind that it should be, or any other.
    fn value(&mut self, name: &str) -> Option<OwnedVariant> {
        let right = match name {
            "Paired" | "Connected" | "ServicesResolved" | "Powered" => 0,
            "RSSI" => 1,
            "MTU" => 2,
            "UUIDs" | "Flags" => 5,
            "ManufacturerData" => 6,
            "ServiceData" => 7,
            "Value" => 4,
            "Adapter" | "Service" => 8,
            _ => 3,
        };
        let what = self.one();
        let value = match if what < 0xe0 { right } else { what % 9 } {
            0 => Variant::from(what & 1 == 1),
            1 => Variant::from(i16::from_le_bytes([self.one(), self.one()])),
            2 => Variant::from(u16::from_le_bytes([self.one(), self.one()])),
            3 if what & 1 == 1 => Variant::from(OURS.0),
            3 => Variant::from(self.text()),
            4 => Variant::from(self.some().to_vec()),
            5 if what & 1 == 1 => Variant::from((0..self.one() % 64).map(|_| self.uuid()).collect::<Vec<_>>()),
            5 => Variant::from((0..self.one() % 64).map(|_| self.text()).collect::<Vec<_>>()),
            6 => Variant::from(self.map(|bytes| u16::from_le_bytes([bytes.one(), bytes.one()]))),
            7 => Variant::from(self.map(Self::uuid)),
            _ if what & 1 == 1 => Variant::from(zbus::ObjectPath::try_from(HERE).ok()?),
            _ => Variant::from(zbus::ObjectPath::try_from(self.path()).ok()?),
        };
        OwnedVariant::try_from(value).ok()
    }

    fn dictionary(&mut self) -> Dictionary {
        let names: Vec<&str> = (0..self.one() % 20).map(|_| self.of(&NAMES)).collect();
        names.into_iter().filter_map(|name| Some((name.to_owned(), self.value(name)?))).collect()
    }

    fn message(&mut self) -> Option<Message> {
        let kind = self.one();
        let path = self.path();
        let interface = if kind < 0xc0 { DEVICE } else { self.of(&INTERFACES) };
        let at = OwnedObjectPath::try_from(path.clone()).ok()?;
        let signal =
            |path: &str, interface: &'static str, member: &'static str| Message::signal(path.to_owned(), interface, member).sender(OWNER);
        match kind % 8 {
            0..=3 => {
                let interfaces = Interfaces::from([(interface.to_owned(), self.dictionary())]);
                signal("/", OBJECT_MANAGER, "InterfacesAdded").build(&(at, interfaces)).ok()
            }
            4 => signal("/", OBJECT_MANAGER, "InterfacesRemoved").build(&(at, vec![interface])).ok(),
            5 if kind > 0xf0 => signal(&path, PROPERTIES, "PropertiesChanged").build(&self.text()).ok(), // of another shape
            _ => {
                let gone = if kind & 8 == 8 { vec!["RSSI"] } else { vec![] };
                signal(&path, PROPERTIES, "PropertiesChanged").build(&(interface, self.dictionary(), gone)).ok()
            }
        }
    }
}

fn grants() -> [BleGrant; 3] {
    let pool = |service: Option<&str>, manufacturer| Some(BlePool { service: service.map(str::to_owned), name: None, manufacturer });
    let services = vec!["180d".to_owned()];
    [
        BleGrant { address: Some(OURS.0.into()), services: services.clone(), ..BleGrant::default() },
        BleGrant { pool: pool(Some("180d"), None), services, ..BleGrant::default() },
        BleGrant { pool: pool(None, Some(76)), broadcast: true, ..BleGrant::default() },
    ]
}

/// A radio at which three instances sit, without a BlueZ.
fn radio() -> (Radio, Vec<(std::sync::Arc<Seat>, Inbox)>) {
    let radio = Radio::new(&config::Ble::default(), clock, Status::default());
    {
        let mut state = radio.lock();
        state.owner = Some(OWNER.into());
        state.adapter = Some(HERE.into());
    }
    let sit = |grant: BleGrant| {
        let (events, inbox) = inbox("bed-1".into(), INBOX_BYTES);
        (radio.sit(Grant::new("bed-1", &grant).expect("a grant"), events), inbox)
    };
    let seats = grants().map(sit).into();
    (radio, seats)
}

/// Hears them, and holds that what is kept and what is handed on is bounded.
pub fn hear(data: &[u8]) {
    let (radio, seats) = radio();
    let mut bytes = Bytes(data);
    while !bytes.0.is_empty() {
        if bytes.one() % 8 == 0 {
            let path = bytes.path();
            for (seat, _) in &seats {
                seat.claim(Some(&path));
                seat.route(&format!("{path}/service0000/char0000"), Some((1, path.ends_with('1'))));
                if bytes.one() % 2 == 0 { seat.open(clock()) } else { seat.close(clock()) }
            }
        }
        if let Some(message) = bytes.message() {
            radio.heard(&message);
        }
    }
    let state = radio.lock();
    let nobodys = state.tree.devices().filter(|(path, d)| {
        !d.paired && !d.connected && d.address != OURS.0 && seats.iter().all(|(s, _)| s.device().as_deref() != Some(*path))
    });
    assert!(nobodys.count() <= STRANGERS_MAX);
    for (path, device) in state.tree.devices() {
        let entries = [device.services.len(), device.manufacturer.len(), device.service_data.len()];
        assert!([&device.name, &device.address].iter().all(|text| text.len() <= NAME_BYTES_MAX + CUT_BYTES_MAX), "{device:?}");
        assert!(entries.iter().all(|n| *n <= ENTRIES_MAX), "{device:?}");
        let data = device.manufacturer.iter().map(|(_, bytes)| bytes).chain(device.service_data.iter().map(|(_, bytes)| bytes));
        assert!(data.into_iter().all(|bytes| bytes.len() <= DATA_BYTES_MAX));
        assert!(state.tree.characteristics(path).len() <= ATTRIBUTES_MAX);
    }
    for (_, inbox) in &seats {
        let mut events = 0;
        while let Some((_, event)) = inbox.try_recv() {
            events += 1;
            if let Event::BleAdvertised { manufacturer, services, .. } = event {
                assert!(manufacturer.len() <= ENTRIES_MAX && services.len() <= ENTRIES_MAX);
            }
        }
        assert!(events <= EVENTS_MAX + 4, "{events}"); // the marks of what was lost, and a link's state
    }
}

/// A device that comes with all it can say, changes, speaks and goes; strangers around it.
pub fn seeds() -> Vec<Vec<u8>> {
    let text = |of: &[u8]| [&[of.len().div_ceil(LENGTHEN) as u8], of].concat();
    let device = |n: u8, properties: &[u8], more: &[u8]| [&[1, 0, n, 0, properties.len() as u8], properties, more].concat();
    let name = text(b"a name of 16 byte");
    let whole = [&[0, 1, 0, 1, 0][..], &name, &[0, 1, 1, 3, 200, 255]].concat();
    let data = [&[0, 2, 76, 0][..], &text(&[7; 16]), &[77, 0], &text(&[8; 32]), &[0, 1, 0x0d], &text(&[9; 16])].concat();
    vec![
        device(0, &[0, 1, 2, 3, 6], &whole),
        [device(0, &[8, 9], &data), vec![0, 0, 1, 1, 1, 1, 6, 0, 0, 2, 8, 9], data.clone()].concat(),
        (0..=255).flat_map(|n| device(n, &[3], &[0])).collect(),
        // more than there is room for: services, a name, data of makers
        device(1, &[7], &[&[1, 63][..], &[5; 63]].concat()),
        device(1, &[2], &[&[0][..], &text(&[b'x'; 320])].concat()),
        device(1, &[8], &(0..63).fold(vec![0, 63], |all, n| [all, vec![n, 0], text(&[n; 16])].concat())),
        device(1, &[8], &[&[0, 1, 76, 0][..], &text(&[7; 1760])].concat()),
        vec![1, 0xc0, 0, 3, 0, 0, 1, 2, 10, 12, 0, 0, 0, 2, 1, b'n', 1, b'i'],
        vec![0, 0, 0, 0, 0, 0, 1, 0xc7, 0, 3, 0, 0, 1, 1, 15, 0, 1, 5],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many as take seconds; `make fuzz` has more.
    const INPUTS: usize = 300;

    /// Xorshift.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % n.max(1) as u64) as usize
        }
    }

    //= PROMISES.md#P203
    #[test]
    fn whatever_comes_from_the_bus_is_bounded_and_breaks_nothing() {
        let (seeds, mut random) = (seeds(), Random(0x5eed));
        seeds.iter().for_each(|seed| hear(seed));
        for _ in 0..INPUTS {
            let mut input: Vec<u8> = (0..1 + random.below(3)).flat_map(|_| seeds[random.below(seeds.len())].clone()).collect();
            for _ in 0..random.below(24) {
                let (at, byte) = (random.below(input.len()), random.below(256) as u8);
                match random.below(4) {
                    0 => input.insert(at, byte),
                    1 if input.len() > 1 => drop(input.remove(at)),
                    2 => input[at] ^= 1 << (byte & 7),
                    _ => input[at] = byte,
                }
            }
            hear(&input);
        }
    }
}
