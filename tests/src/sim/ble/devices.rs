//! The peripherals: link, services, subscriptions, and what goes out to a listener.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::profiles::{Kind, Meter, Says, Service};
use crate::sim::clock::{self, Clock};
use crate::sim::{Log, boottime_ns};

/// A clock that is set is so within so many seconds, and twice as many, of its first value.
const CLOCK_STEPS_S: u64 = 4; // nothing is told of a clock before some stamps agree
pub(super) const MTU: u16 = 247; // what most phones and BlueZ agree on with a recent chip
const USUAL_DBM: i16 = -50;
/// Values of one device before they are those of another: eight minutes of the fastest.
const NUMBERS_EACH: u32 = 1000;

/// A peripheral that is to be simulated.
#[derive(Clone, Debug)]
pub struct Device {
    pub name: String,
    /// Six octets, as people write them.
    pub address: String,
    pub kind: Kind,
    /// Its clock is set by an hour, at a moment drawn from this seed.
    pub clock_steps: Option<u64>,
}

/// A line of the send log: what went out when somebody listened, or was read.
#[derive(Debug, Deserialize, Serialize)]
pub struct Said {
    pub monotonic_ns: u64,
    pub characteristic: String,
    pub hex: String,
    /// What its own clock shows, where it says that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_s: Option<i64>,
    /// Channel, then mantissa and exponent, or a code.
    pub says: Says,
}

/// How a client hears a characteristic.
pub(super) enum Ear {
    /// AcquireNotify.
    Socket(OwnedFd),
    /// StartNotify: `Value` changes.
    Signal(u32),
}

pub(super) struct Characteristic {
    pub service: usize,
    pub uuid: u16,
    pub flags: &'static [&'static str],
    pub value: Vec<u8>,
    pub ear: Option<Ear>,
}

impl Characteristic {
    pub fn heard(&self) -> bool {
        self.ear.is_some()
    }
}

pub(super) struct Peripheral {
    pub device: Device,
    pub services: Vec<Service>,
    pub characteristics: Vec<Characteristic>,
    pub known: bool,
    pub connected: bool,
    /// How often it was connected.
    pub links: u32,
    pub resolved: bool,
    pub paired: bool,
    pub bonded: bool,
    /// What it has to read is read over an encrypted link only.
    pub guarded: bool,
    pub trusted: bool,
    pub in_reach: bool,
    /// How strongly it is received.
    pub rssi: i16,
    /// What it broadcasts, and whether anybody was told of it.
    pub broadcast: Vec<u8>,
    pub told: bool,
    /// It takes every request and answers none.
    pub mute: bool,
    /// It is connected, and its services are never known.
    pub opaque: bool,
    /// That it is connected is signalled to nobody, as BlueZ 5.66 does where the socket is quicker than the kernel's word.
    pub unsignalled: bool,
    /// So many times more BlueZ holds what was subscribed to before.
    pub holds: u32,
    /// So many notifications of its memory go out in one connection event.
    pub together: u32,
    /// Ticks until the next value.
    pub wait_ms: u64,
    pub count: u32,
    /// The number of its first value.
    first: u32,
    clock: Clock,
    pub meter: Meter,
    /// Flaps: how often yet.
    pub flaps: u32,
    pub back_ms: Option<u64>,
    /// Values that wait to go out, of a meter: which characteristic, bytes, what they say.
    pub queue: VecDeque<(usize, Vec<u8>, Says)>,
    log: Log,
}

impl Peripheral {
    pub fn new(device: Device, sent: Option<&Path>) -> io::Result<Self> {
        let services = device.kind.services(&device.name);
        let mut characteristics = Vec::new();
        for (service, (_, found)) in services.iter().map(|s| (s.uuid, &s.characteristics)).enumerate() {
            characteristics.extend(found.iter().map(|(uuid, flags, value)| Characteristic {
                service,
                uuid: *uuid,
                flags,
                value: value.clone(),
                ear: None,
            }));
        }
        // each has numbers of its own, so that nobody's values are taken for another's
        let last = device.address.rsplit(':').next().and_then(|octet| u32::from_str_radix(octet, 16).ok());
        let count = last.unwrap_or(0) * NUMBERS_EACH;
        let log = Log::open(sent.map(|folder| folder.join(format!("{}.jsonl", device.name))).as_deref())?;
        Ok(Self {
            device,
            services,
            characteristics,
            known: false,
            connected: false,
            links: 0,
            resolved: false,
            paired: false,
            bonded: false,
            guarded: false,
            trusted: false,
            in_reach: true,
            rssi: USUAL_DBM,
            broadcast: Vec::new(),
            told: false,
            mute: false,
            opaque: false,
            unsignalled: false,
            holds: 0,
            together: 1,
            wait_ms: 0,
            count,
            first: count,
            clock: Clock::steady(clock::Kind::Local),
            meter: Meter::default(),
            flaps: 0,
            back_ms: None,
            queue: VecDeque::new(),
            log,
        })
    }

    pub fn path(&self) -> String {
        format!("{}/dev_{}", super::tree::ADAPTER, self.device.address.replace(':', "_"))
    }

    pub fn service_path(&self, service: usize) -> String {
        format!("{}/service{:04x}", self.path(), 0x10 + service * 0x20)
    }

    pub fn characteristic_path(&self, index: usize) -> String {
        format!("{}/char{:04x}", self.service_path(self.characteristics[index].service), 0x11 + index * 3)
    }

    /// What it says next, and from which characteristic. Its clock steps some seconds after its first value: nobody could tell an earlier step.
    pub fn value(&mut self) -> Option<(u16, Vec<u8>, Says)> {
        let now = boottime_ns();
        if let Some(seed) = self.device.clock_steps.filter(|_| self.count == self.first) {
            let kind = if seed % 2 == 0 { clock::Kind::Local } else { clock::Kind::Summer };
            self.clock = Clock::new(kind, seed, now, CLOCK_STEPS_S);
        }
        self.device.kind.value(self.count, self.clock_s(now))
    }

    fn clock_s(&self, now_ns: u64) -> i64 {
        (self.clock.says(now_ns) / 1_000_000_000) as i64
    }

    /// Notes what goes out.
    pub fn note(&mut self, index: usize, bytes: &[u8], says: Says) {
        let said = Said {
            monotonic_ns: boottime_ns(),
            clock_s: (self.device.kind == Kind::Thermometer && !says.is_empty()).then(|| self.clock_s(boottime_ns())),
            characteristic: format!("{:04x}", self.characteristics[index].uuid),
            hex: bytes.iter().map(|b| format!("{b:02x}")).collect(),
            says,
        };
        let _ = self.log.line(&said); // a full disk shows in the books
    }

    /// Notes what it broadcasts.
    pub fn note_broadcast(&mut self, bytes: &[u8], says: Says) {
        let hex = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let _ = self.log.line(&Said { monotonic_ns: boottime_ns(), characteristic: "broadcast".into(), hex, clock_s: None, says }); // as above
    }

    /// The link is gone, and with it who listened by a socket; who did by signals is subscribed again by BlueZ as soon as it is back.
    pub fn drop_link(&mut self) {
        self.connected = false;
        self.resolved = false;
        self.queue.clear();
        self.characteristics.iter_mut().for_each(|c| drop(c.ear.take_if(|ear| matches!(ear, Ear::Socket(_)))));
    }

    /// BlueZ knows it no more, or is no more itself.
    pub fn forgotten(&mut self) {
        self.drop_link();
        self.characteristics.iter_mut().for_each(|c| c.ear = None);
    }
}

/// As BlueZ writes them: all 128 bits.
pub(super) fn uuid(short: u16) -> String {
    format!("0000{short:04x}-0000-1000-8000-00805f9b34fb")
}

/// The send logs of the peripherals, by name.
pub fn read(folder: &Path, name: &str) -> Vec<Said> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// No value: a write, say, that is answered but tells nothing.
pub(super) fn nothing() -> Says {
    BTreeMap::new()
}
