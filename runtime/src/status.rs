//! Counters that every room adds to and the console shows. Plain numbers; nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// What one instance did since the gateway started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub plugin: String,
    pub bed: Option<String>,
    /// starting, healthy, degraded, failed, restarting, stopped
    pub state: String,
    pub detail: String,
    pub link_up: bool,
    /// How often the plugin was opened; 0 = not yet.
    pub opens: u64,
    pub calls: u64,
    pub readings: u64,
    pub samples: u64,
    pub alerts: u64,
    pub faults: u64,
    pub restarts: u64,
    pub refusals: u64,
    pub overruns: u64,
    /// CLOCK_BOOTTIME nanoseconds of the newest value; 0 = none yet.
    pub newest_monotonic_ns: u64,
}

/// What one device line did since the gateway started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LinkStatus {
    pub kind: String,
    pub target: String,
    pub up: bool,
    pub requests: u64,
    pub answered: u64,
    pub exceptions: u64,
    pub timeouts: u64,
    pub malformed: u64,
    pub refused: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub reconnects: u64,
    pub last_error: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    pub commits: u64,
    pub batches_waiting: u64,
    pub bytes_waiting: u64,
    pub bytes_on_disk: u64,
    pub bytes_written: u64,
    pub failed_flushes: u64,
    pub last_error: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UplinkStatus {
    pub connected: bool,
    pub broker: String,
    pub connects: u64,
    pub batches_published: u64,
    pub batches_acknowledged: u64,
    pub batches_repeated: u64,
    pub payload_bytes: u64,
    /// Forged, foreign or not readable: they changed nothing.
    pub acknowledgements_refused: u64,
    /// Genuine, and about nothing that was still held: answers to repeats, or replays.
    pub acknowledgements_without_news: u64,
    pub last_error: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub gateway: String,
    pub version: String,
    /// Hexadecimal.
    pub life: String,
    pub epoch: u32,
    pub monotonic_ns: u64,
    pub started_monotonic_ns: u64,
    pub allow_unsigned: bool,
    /// How plugins' memory is laid out here, guarded or compact; empty without plugins.
    #[serde(default)]
    pub memory_profile: String,
    pub instances: BTreeMap<String, InstanceStatus>,
    pub links: BTreeMap<String, LinkStatus>,
    pub store: StoreStatus,
    pub uplink: UplinkStatus,
}

/// Shared by all rooms; the lock is held for a few additions only, never across a wait.
#[derive(Clone, Default)]
pub struct Status(Arc<Mutex<Snapshot>>);

impl Status {
    pub fn read(&self) -> Snapshot {
        self.0.lock().expect("no holder panics").clone()
    }
    pub fn with<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        change(&mut self.0.lock().expect("no holder panics"))
    }
    pub fn instance<T>(&self, name: &str, change: impl FnOnce(&mut InstanceStatus) -> T) -> T {
        self.with(|s| match s.instances.get_mut(name) {
            Some(i) => change(i),
            None => change(s.instances.entry(name.to_owned()).or_default()),
        })
    }
    pub fn link<T>(&self, name: &str, change: impl FnOnce(&mut LinkStatus) -> T) -> T {
        self.with(|s| match s.links.get_mut(name) {
            Some(l) => change(l),
            None => change(s.links.entry(name.to_owned()).or_default()),
        })
    }
    pub fn store<T>(&self, change: impl FnOnce(&mut StoreStatus) -> T) -> T {
        self.with(|s| change(&mut s.store))
    }
    pub fn uplink<T>(&self, change: impl FnOnce(&mut UplinkStatus) -> T) -> T {
        self.with(|s| change(&mut s.uplink))
    }
}
