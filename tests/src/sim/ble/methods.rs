//! What org.bluez is asked to do, and what it says when something goes wrong: names and words are those of BlueZ 5.66 (its src/error.c, device.c,
//! adapter.c, gatt-client.c).

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::Serialize;
use zbus::message::{Header, Message};
use zbus::{Fd, OwnedObjectPath, OwnedVariant};

use super::bus::World;
use super::devices::{Ear, MTU};
use super::profiles::said_by_reading;
use super::tree::{ADAPTER, ADAPTER1, AGENT_MANAGER1, CHARACTERISTIC1, DEVICE1, DONGLE, Dongle, OBJECT_MANAGER, PROPERTIES};

/// The name of a BlueZ error, and its words.
pub(super) type Refusal = (&'static str, &'static str);
const FAILED: &str = "org.bluez.Error.Failed";
const UNREACHABLE: Refusal = (FAILED, "le-connection-abort-by-local");
pub(super) const NO_OBJECT: Refusal = ("org.freedesktop.DBus.Error.UnknownObject", "there is no such object");
const NO_METHOD: Refusal = ("org.freedesktop.DBus.Error.UnknownMethod", "there is no such method");
const NOT_CONNECTED: Refusal = ("org.bluez.Error.NotConnected", "Not Connected");
const NOT_SUPPORTED: Refusal = ("org.bluez.Error.NotSupported", "Operation is not supported");
const BUSY: Refusal = ("org.bluez.Error.Busy", "");

/// What a method answers: nothing yet, or ever, where the peripheral is mute.
pub(super) enum Answer {
    Done,
    Never,
    Bytes(Vec<u8>),
    Socket(OwnedFd),
}

impl World {
    pub(super) fn call(&mut self, client: u32, asked: &Message) {
        let header = asked.header();
        let text = |field: Option<String>| field.unwrap_or_default();
        let path = text(header.path().map(|p| p.to_string()));
        let (interface, member) = (text(header.interface().map(|i| i.to_string())), text(header.member().map(|m| m.to_string())));
        let outcome = match (interface.as_str(), member.as_str()) {
            (OBJECT_MANAGER, "GetManagedObjects") => return self.answer(client, &header, &self.objects()),
            (PROPERTIES, _) => return self.properties(client, asked, &path, &member),
            (AGENT_MANAGER1, _) => self.agent(client, asked, &member),
            (ADAPTER1, member) if self.adapter.is_none() && path == DONGLE && self.dongle != Dongle::Away => {
                self.dongle_looks |= member == "StartDiscovery"; // and hears nobody anew
                Ok(Answer::Done)
            }
            (ADAPTER1, _) if self.adapter.is_some() => self.of_adapter(client, asked, &member),
            (DEVICE1, "Pair") => self.pair(client, asked, &path),
            (DEVICE1, _) => self.of_device(&path, &member),
            (CHARACTERISTIC1, _) => self.of_characteristic(client, asked, &path, &member),
            _ => Err(NO_OBJECT),
        };
        match outcome {
            Ok(Answer::Done) => self.answer(client, &header, &()),
            Ok(Answer::Bytes(bytes)) => self.answer(client, &header, &bytes),
            Ok(Answer::Socket(theirs)) => self.answer(client, &header, &(Fd::from(theirs), MTU)),
            Ok(Answer::Never) => {}
            Err((name, why)) => self.refuse(client, &header, name, why),
        }
    }

    pub(super) fn answer(&self, client: u32, to: &Header<'_>, body: &(impl Serialize + zbus::Type)) {
        if let Some(owner) = &self.owner {
            self.send(client, Message::method_return(to).sender(owner.as_str()).build(body));
        }
    }

    fn properties(&mut self, client: u32, asked: &Message, path: &str, member: &str) {
        let header = asked.header();
        let body = asked.body();
        if member == "Set" {
            let set: Result<(String, String, OwnedVariant), _> = body.deserialize();
            let outcome = set.map_err(|_| NO_METHOD).and_then(|(interface, name, value)| self.set(path, &interface, &name, &value));
            return match outcome {
                Ok(()) => self.answer(client, &header, &()),
                Err((name, why)) => self.refuse(client, &header, name, why),
            };
        }
        let (interface, name) = match member {
            "Get" => body.deserialize::<(String, String)>().unwrap_or_default(),
            _ => (body.deserialize::<String>().unwrap_or_default(), String::new()),
        };
        let mut objects = self.objects();
        let found = OwnedObjectPath::try_from(path).ok().and_then(|path| objects.remove(&path)).and_then(|mut all| all.remove(&interface));
        match (found, member) {
            (Some(all), "GetAll") => self.answer(client, &header, &all),
            (Some(mut all), _) => match all.remove(&name) {
                Some(value) => self.answer(client, &header, &value),
                None => self.refuse(client, &header, "org.freedesktop.DBus.Error.InvalidArgs", "No such property"),
            },
            (None, _) => self.refuse(client, &header, NO_OBJECT.0, NO_OBJECT.1),
        }
    }

    fn set(&mut self, path: &str, interface: &str, name: &str, value: &OwnedVariant) -> Result<(), Refusal> {
        if (interface, name) == (ADAPTER1, "PairableTimeout") {
            return u32::try_from(value.clone()).map(drop).map_err(|_| NO_METHOD);
        }
        let yes = bool::try_from(value.clone()).map_err(|_| NO_METHOD)?;
        match (interface, name) {
            (ADAPTER1, "Powered") => {
                if self.busy > 0 {
                    self.busy -= 1;
                    return Err(BUSY);
                }
                self.adapter.as_mut().ok_or(NO_OBJECT)?.powered = yes;
                self.changed(path, interface, vec![("Powered", yes.into())]);
            }
            (ADAPTER1, "Pairable") => {
                self.adapter.as_mut().ok_or(NO_OBJECT)?.closed = !yes;
                self.changed(path, interface, vec![("Pairable", yes.into())]);
            }
            (DEVICE1, "Trusted") => {
                let at = self.at(path).ok_or(NO_OBJECT)?;
                self.peripherals[at].trusted = yes;
                self.changed(path, interface, vec![("Trusted", yes.into())]);
            }
            _ => {}
        }
        Ok(())
    }

    fn agent(&mut self, client: u32, asked: &Message, member: &str) -> Result<Answer, Refusal> {
        match member {
            "RegisterAgent" => {
                let (path, _capability): (OwnedObjectPath, String) = asked.body().deserialize().map_err(|_| NO_METHOD)?;
                self.agent = Some((client, path.to_string()));
            }
            "UnregisterAgent" => self.agent = None,
            _ => {}
        }
        Ok(Answer::Done)
    }

    fn of_adapter(&mut self, client: u32, asked: &Message, member: &str) -> Result<Answer, Refusal> {
        let adapter = self.adapter.as_mut().ok_or(NO_OBJECT)?;
        match member {
            "StartDiscovery" if !adapter.powered => Err(("org.bluez.Error.NotReady", "Resource Not Ready")),
            "StartDiscovery" if adapter.looking.contains(&client) => Err(("org.bluez.Error.InProgress", "Operation already in progress")),
            "StartDiscovery" => {
                adapter.looking.insert(client);
                self.peripherals.iter_mut().for_each(|p| p.told = false);
                self.changed(ADAPTER, ADAPTER1, vec![("Discovering", true.into())]);
                Ok(Answer::Done)
            }
            "StopDiscovery" if !adapter.looking.contains(&client) => Err((FAILED, "No discovery started")),
            "StopDiscovery" => {
                self.looks_no_more(client);
                Ok(Answer::Done)
            }
            "RemoveDevice" => {
                let path: OwnedObjectPath = asked.body().deserialize().map_err(|_| NO_METHOD)?;
                let at = self.at(&path).ok_or(("org.bluez.Error.DoesNotExist", "Does Not Exist"))?;
                self.disconnect(at);
                let objects = self.peripherals[at].objects();
                let peripheral = &mut self.peripherals[at];
                peripheral.forgotten();
                (peripheral.known, peripheral.paired, peripheral.bonded, peripheral.trusted) = (false, false, false, false);
                self.removed(objects);
                Ok(Answer::Done)
            }
            "SetDiscoveryFilter" => {
                let filter: super::tree::Dictionary = asked.body().deserialize().map_err(|_| NO_METHOD)?;
                match filter.get("DuplicateData").is_some_and(|v| bool::try_from(v.clone()).is_ok_and(|yes| yes)) {
                    true => adapter.repeats.insert(client),
                    false => adapter.repeats.remove(&client),
                };
                Ok(Answer::Done)
            }
            _ => Err(NO_METHOD),
        }
    }

    /// Which peripheral this path, or one below it, is of.
    pub(super) fn at(&self, path: &str) -> Option<usize> {
        let of = |p: &super::devices::Peripheral| path == p.path() || path.starts_with(&(p.path() + "/"));
        self.peripherals.iter().position(|p| p.known && of(p))
    }

    fn of_device(&mut self, path: &str, member: &str) -> Result<Answer, Refusal> {
        let at = self.at(path).ok_or(NO_OBJECT)?;
        let peripheral = &mut self.peripherals[at];
        match member {
            "Connect" if peripheral.mute => Ok(Answer::Never),
            "Connect" if !peripheral.in_reach => Err(UNREACHABLE),
            "Connect" => {
                self.connect(at);
                Ok(Answer::Done)
            }
            "Disconnect" if !peripheral.connected => Err(NOT_CONNECTED),
            "Disconnect" => {
                self.disconnect(at);
                Ok(Answer::Done)
            }
            "CancelPairing" => Ok(Answer::Done),
            _ => Err(NO_METHOD),
        }
    }

    pub(super) fn connect(&mut self, at: usize) {
        if self.peripherals[at].connected {
            return;
        }
        let path = self.peripherals[at].path();
        self.peripherals[at].connected = true;
        self.peripherals[at].links += 1;
        if !self.peripherals[at].unsignalled {
            self.changed(&path, DEVICE1, vec![("Connected", true.into())]);
        }
        if !self.peripherals[at].opaque {
            self.resolve(at);
        }
    }

    /// Its services are known.
    pub(super) fn resolve(&mut self, at: usize) {
        let path = self.peripherals[at].path();
        self.peripherals[at].resolved = true;
        let objects = self.peripherals[at].objects();
        self.added(objects.into_iter().skip(1).collect());
        self.changed(&path, DEVICE1, vec![("ServicesResolved", true.into())]);
    }

    pub(super) fn disconnect(&mut self, at: usize) {
        if !self.peripherals[at].connected {
            return;
        }
        let (path, objects) = (self.peripherals[at].path(), self.peripherals[at].objects());
        self.peripherals[at].drop_link();
        self.changed(&path, DEVICE1, vec![("ServicesResolved", false.into())]);
        self.removed(objects.into_iter().skip(1).collect());
        self.changed(&path, DEVICE1, vec![("Connected", false.into())]);
    }

    fn of_characteristic(&mut self, client: u32, asked: &Message, path: &str, member: &str) -> Result<Answer, Refusal> {
        let at = self.at(path).ok_or(NO_OBJECT)?;
        let peripheral = &mut self.peripherals[at];
        let index = (0..peripheral.characteristics.len()).find(|c| peripheral.characteristic_path(*c) == path).ok_or(NO_OBJECT)?;
        if !peripheral.connected {
            return Err((FAILED, "Not connected"));
        }
        let mute = peripheral.mute || !peripheral.in_reach;
        let characteristic = &mut peripheral.characteristics[index];
        let flags = characteristic.flags;
        match member {
            _ if mute => Ok(Answer::Never),
            "ReadValue" if !flags.contains(&"read") => Err(("org.bluez.Error.NotPermitted", "Read not permitted")),
            // it is encrypted for that, by just works: nobody is asked, and where the adapter is pairable a bond is left behind
            "ReadValue" if peripheral.guarded && !peripheral.paired => {
                let (value, told) = (characteristic.value.clone(), said_by_reading(characteristic.uuid));
                peripheral.note(index, &value, told);
                let device = peripheral.path();
                self.bonded(&device);
                Ok(Answer::Bytes(value))
            }
            "ReadValue" => {
                let (value, told) = (characteristic.value.clone(), said_by_reading(characteristic.uuid));
                peripheral.note(index, &value, told);
                Ok(Answer::Bytes(value))
            }
            "WriteValue" if !flags.contains(&"write") => Err(("org.bluez.Error.NotPermitted", "Write not permitted")),
            "WriteValue" => {
                let (order, _): (Vec<u8>, super::tree::Dictionary) = asked.body().deserialize().map_err(|_| NO_METHOD)?;
                self.written(at, &order);
                Ok(Answer::Done)
            }
            "AcquireNotify" if !flags.contains(&"notify") => Err(NOT_SUPPORTED),
            "AcquireNotify" | "StartNotify" if peripheral.holds > 0 => {
                peripheral.holds -= u32::from(member == "AcquireNotify");
                Err(("org.bluez.Error.NotPermitted", "Notify acquired"))
            }
            "AcquireNotify" if characteristic.heard() => Err(("org.bluez.Error.NotPermitted", "Notify acquired")),
            "AcquireNotify" => {
                let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None);
                let (ours, theirs) = pair.map_err(|_| (FAILED, "no socket"))?;
                characteristic.ear = Some(Ear::Socket(ours));
                Ok(Answer::Socket(theirs))
            }
            "StartNotify" if characteristic.heard() => Err(("org.bluez.Error.InProgress", "In Progress")),
            "StartNotify" if !(flags.contains(&"notify") || flags.contains(&"indicate")) => Err(NOT_SUPPORTED),
            "StartNotify" => {
                characteristic.ear = Some(Ear::Signal(client));
                self.changed(path, CHARACTERISTIC1, vec![("Notifying", true.into())]);
                Ok(Answer::Done)
            }
            "StopNotify" => {
                characteristic.ear = None;
                self.changed(path, CHARACTERISTIC1, vec![("Notifying", false.into())]);
                Ok(Answer::Done)
            }
            _ => Err(NO_METHOD),
        }
    }

    fn written(&mut self, at: usize, order: &[u8]) {
        let peripheral = &mut self.peripherals[at];
        let Some((records, contexts)) = peripheral.device.kind.memory() else { return };
        if order.first() == Some(&3) {
            peripheral.queue.clear(); // abort
        }
        for (uuid, bytes, says) in peripheral.meter.asked(records, contexts, order) {
            if let Some(index) = peripheral.characteristics.iter().position(|c| c.uuid == uuid) {
                peripheral.queue.push_back((index, bytes, says));
            }
        }
    }
}
