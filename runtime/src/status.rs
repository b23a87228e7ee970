//! Counters that every room adds to and the console shows. Plain numbers; nothing here decides anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// A signal strength that was measured longer ago is not shown.
const RSSI_S_MAX: u64 = 300; // who carries a device across a ward is elsewhere by then

mod gaps;
pub use gaps::{At, Before, GAPS_KEPT_MAX, Gap, Gaps, GapsAnswer};

/// What one instance did since the gateway started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub plugin: String,
    pub bed: Option<String>,
    /// starting, healthy, degraded, failed as the plugin reports it; silent, disconnected, restarting, quarantined, stopped, compiling, withheld
    /// as the gateway sees it.
    pub state: String,
    pub detail: String,
    pub link_up: bool,
    /// CLOCK_BOOTTIME nanoseconds; 0: no link of its own was told of, as of a filter.
    pub link_since_ns: u64,
    /// Its device is on a radio and not on a cable: a person looks at other things where it says nothing.
    #[serde(default)]
    pub bluetooth: bool,
    /// When the running plugin was opened.
    pub opened_ns: u64,
    /// Without a value for longer than this it counts as silent, and without its link as disconnected; 0: never.
    pub silent_after_s: u64,
    /// The time of its last word, while it is silent.
    #[serde(default)]
    pub silent_since_ns: Option<u64>,
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
    /// Of a filter: the channels that it hears now, of those that the site bound to it.
    #[serde(default)]
    pub inputs_heard: u64,
    #[serde(default)]
    pub inputs: u64,
    /// Values of personal channels that were dropped because the site does not grant them.
    #[serde(default)]
    pub withheld: u64,
    /// Bytes as devices sent them that were dropped because the site does not grant them, or nobody knows whose they are.
    #[serde(default)]
    pub raw_withheld: u64,
    /// Readings that were not sent because they were no change, as the configuration asks.
    #[serde(default)]
    pub unchanged: u64,
    /// Values, samples and alerts that were not taken because the disk was full.
    #[serde(default)]
    pub not_taken: u64,
    /// Nobody knows whose device it is, so its values are parked.
    #[serde(default)]
    pub unbound: bool,
    /// The device that its binding names; none: any.
    #[serde(default)]
    pub bound_serial: Option<String>,
    /// Its peripheral is one of a pool: until a person says which one, all that it says is parked.
    #[serde(default)]
    pub of_a_pool: bool,
    /// Who the device says it is, since the plugin was opened or the link came up.
    #[serde(default)]
    pub device_serial: Option<String>,
    /// Values that wait until a person confirms the binding.
    #[serde(default)]
    pub parked: u64,
    /// Parked values that nobody confirmed in time, or for which there was no room.
    #[serde(default)]
    pub parked_expired: u64,
    /// Told since the start, by reason.
    #[serde(default)]
    pub gaps: BTreeMap<String, u64>,
    #[serde(default)]
    pub gaps_open: u64,
    /// CLOCK_BOOTTIME nanoseconds of the newest value; 0 = none yet.
    pub newest_monotonic_ns: u64,
    /// Vendor and release; empty: nobody signed it.
    #[serde(default)]
    pub signed_by: String,
    /// SHA-256 of what the site grants it in effect.
    #[serde(default)]
    pub grants_hash: String,
    /// They were found changed at the start, and nobody has reloaded since.
    #[serde(default)]
    pub grants_changed: bool,
    /// Its key or release was revoked, and the site lets it go on: why.
    #[serde(default)]
    pub revoked: String,
}

impl InstanceStatus {
    /// One of its links went up or down.
    pub fn link(&mut self, up: bool, now_ns: u64) {
        if self.link_up != up || self.link_since_ns == 0 {
            (self.link_up, self.link_since_ns) = (up, now_ns);
        }
    }

    /// Its last value, or the moment since which it could have said one.
    pub fn could_speak_since(&self) -> u64 {
        self.newest_monotonic_ns.max(self.opened_ns).max(self.link_since_ns)
    }

    /// The same, where that is longer ago than is usual.
    pub fn quiet_since(&self, now_ns: u64) -> Option<u64> {
        let since = self.could_speak_since();
        let quiet_s = now_ns.saturating_sub(since) / 1_000_000_000;
        (self.silent_after_s > 0 && quiet_s >= self.silent_after_s).then_some(since)
    }

    /// Looked at when somebody asks, so that nothing wakes up for it. Silent is a device that could speak and does not: its link is up, its
    /// plugin is open and complains of nothing, and its last value, or the moment since which it could have said one, is too long ago. Disconnected
    /// is one whose link is down for as long: it is not well only because its plugin has nothing to complain of.
    fn judge(&mut self, now_ns: u64) {
        let content = ["healthy", "starting"].contains(&self.state.as_str());
        let away_s = now_ns.saturating_sub(self.link_since_ns) / 1_000_000_000;
        if content && self.link_since_ns > 0 && !self.link_up && self.silent_after_s > 0 && away_s >= self.silent_after_s {
            self.state = "disconnected".into();
            let look = match self.bluetooth {
                false => "look at the device, its cable and its address",
                true => "is it worn or near, switched on, and its battery charged?",
            };
            self.detail = format!("its line is down for {away_s} s; the table of lines says why: {look}");
        }
        if let Some(since) = self.quiet_since(now_ns).filter(|_| self.link_up && content) {
            let quiet_s = now_ns.saturating_sub(since) / 1_000_000_000;
            self.silent_since_ns = Some(since);
            self.state = "silent".into();
            let said = if self.newest_monotonic_ns == 0 { "no value yet" } else { "no value" };
            let usual = self.silent_after_s;
            let look = match self.bluetooth {
                false => "look at the device and its cable",
                true => "is it worn as it should be, and its battery charged?",
            };
            self.detail = format!("its line is up, and {said} for {quiet_s} s (silent after {usual} s): {look}");
        }
    }
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
    /// Frames and bytes that belong to no request: late, foreign, noise.
    pub strays: u64,
    /// Accepted although their checksum was wrong, as a grant allows.
    pub questionable: u64,
    /// Requests not made because their server is set aside.
    pub skipped: u64,
    /// Servers that are set aside now, and probed at intervals.
    pub aside: Vec<u8>,
    /// Of those, the ones that answer other instances: for whom they are set aside.
    #[serde(default)]
    pub aside_for: BTreeMap<u8, Vec<String>>,
    /// How long the bus was taken by transactions; against the gateway's run time this is its utilisation.
    pub busy_us: u64,
    /// The longest that a request waited for its turn.
    pub worst_wait_ms: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Notifications and indications that came (Bluetooth), advertisements of what only broadcasts.
    #[serde(default)]
    pub notifications: u64,
    /// How strongly the peripheral was last received, dBm.
    #[serde(default)]
    pub rssi_dbm: Option<i16>,
    /// When that was; while a link is up BlueZ tells no newer one.
    #[serde(default)]
    pub rssi_ns: u64,
    pub reconnects: u64,
    pub last_error: String,
    /// When that was; 0: never.
    #[serde(default)]
    pub last_error_ns: u64,
}

impl LinkStatus {
    pub fn failed(&mut self, why: String, now_ns: u64) {
        (self.last_error, self.last_error_ns) = (why, now_ns);
    }

    /// How strongly it was received long ago says nothing of now.
    fn judge(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.rssi_ns) > RSSI_S_MAX * 1_000_000_000 {
            self.rssi_dbm = None;
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    pub commits: u64,
    pub batches_waiting: u64,
    pub bytes_waiting: u64,
    pub bytes_on_disk: u64,
    pub bytes_written: u64,
    pub failed_flushes: u64,
    /// Kept for alerts and the ledger, beside `bytes_on_disk`.
    #[serde(default)]
    pub reserve_bytes: u64,
    /// ample: everything is taken; low: no waveforms; reserve: alerts only; spent: nothing. Empty before the start has looked.
    #[serde(default)]
    pub room: String,
    pub last_error: String,
}

impl StoreStatus {
    /// 0: everything is taken; 1: no waveforms; 2: alerts only; 3: nothing.
    pub fn shortage(&self) -> u64 {
        ["low", "reserve", "spent"].iter().position(|room| *room == self.room).map_or(0, |n| n as u64 + 1)
    }
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

/// What is known of the fleet's metadata.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TrustStatus {
    /// no-fleet, fresh, or trust-stale: then nothing new is taken; or blind: nothing new is taken, since what was seen here is not known.
    pub state: String,
    pub why: String,
    /// Vendors of whom nothing new is taken, because their lists of packages ended, and when they did.
    #[serde(default)]
    pub stale_vendors: BTreeMap<String, String>,
    /// Versions of the metadata.
    pub fleet: String,
    pub expires: String,
    /// Whether the wall clock was ever set.
    pub clock_set: bool,
    /// What says whom this site trusts, and somebody else may write it; a line each, with what to do.
    #[serde(default)]
    pub others_hands: Vec<String>,
    /// Files among the vendors' keys that are none; a line each, with what to do.
    #[serde(default)]
    pub keys_unread: Vec<String>,
}

/// Of the audit log: whoever notes this elsewhere can tell a log that was cut.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuditStatus {
    pub records: u64,
    /// Hash of the newest record.
    pub newest: String,
    /// The device's public key, which signs the log.
    pub key: String,
    pub last_error: String,
    /// The log was once not as the device had left it; that stays so.
    #[serde(default)]
    pub broken: String,
}

/// What the Bluetooth radio hears that is nobody's here.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RadioStatus {
    /// Devices that nobody named or bonded, let go because there was no room for all.
    pub strangers_dropped: u64,
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
    #[serde(default)]
    pub developer_mode: bool,
    /// What stands around the compiler of plugins: seccomp, landlock, a user of its own.
    #[serde(default)]
    pub compiler_walls: String,
    /// And what it should have and lacks.
    #[serde(default)]
    pub compiler_lacks: String,
    #[serde(default)]
    pub trust: TrustStatus,
    #[serde(default)]
    pub audit: AuditStatus,
    /// gateway.toml on disk is not the one that runs.
    #[serde(default)]
    pub config_changed: bool,
    /// How plugins' memory is laid out here, guarded or compact; empty without plugins.
    #[serde(default)]
    pub memory_profile: String,
    pub instances: BTreeMap<String, InstanceStatus>,
    pub links: BTreeMap<String, LinkStatus>,
    #[serde(default)]
    pub radio: RadioStatus,
    pub store: StoreStatus,
    pub uplink: UplinkStatus,
}

/// Shared by all rooms; a lock is held for a few additions only, never across a wait.
#[derive(Clone, Default)]
pub struct Status {
    counters: Arc<Mutex<Snapshot>>,
    gaps: Arc<Mutex<Gaps>>,
}

impl Status {
    pub fn read(&self) -> Snapshot {
        self.counters.lock().expect("no holder panics").clone()
    }
    /// As it stands at a moment.
    pub fn at(&self, now_ns: u64) -> Snapshot {
        let mut snapshot = self.read();
        snapshot.monotonic_ns = now_ns;
        snapshot.instances.values_mut().for_each(|i| i.judge(now_ns));
        snapshot.links.values_mut().for_each(|l| l.judge(now_ns));
        snapshot
    }
    pub fn with<T>(&self, change: impl FnOnce(&mut Snapshot) -> T) -> T {
        change(&mut self.counters.lock().expect("no holder panics"))
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
    /// What a group on flash tells of losses, and what is open after it.
    pub fn gaps_told(&self, told: Vec<Gap>, open: Vec<Gap>, clock: (String, Option<i64>)) {
        let mut gaps = self.gaps.lock().expect("no holder panics");
        self.with(|s| {
            for gap in told {
                let (instance, reason) = (gap.instance.clone(), gap.reason.clone());
                let new = gaps.tell(gap);
                if let Some(i) = s.instances.get_mut(&instance).filter(|_| new) {
                    *i.gaps.entry(reason).or_default() += 1;
                }
            }
            for (name, i) in &mut s.instances {
                i.gaps_open = open.iter().filter(|g| g.instance == *name).count() as u64;
            }
        });
        gaps.set_open(open);
        (gaps.boot, gaps.wall_ahead_ns) = clock;
    }
    pub fn gaps(&self, now_monotonic_ns: u64) -> GapsAnswer {
        let gaps = self.gaps.lock().expect("no holder panics");
        let (forgotten, all) = gaps.all();
        let (gateway, started_monotonic_ns) = self.with(|s| (s.gateway.clone(), s.started_monotonic_ns));
        let now = Some(At { boot: gaps.boot.clone(), monotonic_ns: now_monotonic_ns });
        GapsAnswer { gateway, now, started_monotonic_ns, wall_ahead_ns: gaps.wall_ahead_ns, forgotten, gaps: all }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn monitor() -> InstanceStatus {
        let mut i = InstanceStatus { state: "healthy".into(), silent_after_s: 10, opened_ns: 100 * S, ..InstanceStatus::default() };
        i.link(true, 200 * S);
        i
    }

    fn state(mut i: InstanceStatus, now_s: u64) -> (String, Option<u64>) {
        i.judge(now_s * S);
        (i.state, i.silent_since_ns.map(|ns| ns / S))
    }

    //= PROMISES.md#P221
    #[test]
    fn a_signal_strength_of_long_ago_is_not_shown() {
        let status = Status::default();
        status.link("ble bed-1", |l| (l.rssi_dbm, l.rssi_ns) = (Some(-50), 10 * S));
        let shown = |s| status.at(s * S).links["ble bed-1"].rssi_dbm;
        assert_eq!((shown(10 + RSSI_S_MAX), shown(11 + RSSI_S_MAX)), (Some(-50), None));
    }

    //= PROMISES.md#P266
    #[test]
    fn what_to_look_at_fits_the_kind_of_line() {
        let status = Status::default();
        let mut away = monitor();
        away.link(false, 201 * S);
        for (name, i) in [("up", monitor()), ("away", away)] {
            status.instance(&format!("ble-{name}"), |all| *all = InstanceStatus { bluetooth: true, ..i.clone() });
            status.instance(name, |all| *all = i);
        }
        let now = status.at(300 * S);
        let detail = |name: &str| now.instances[name].detail.as_str();
        for name in ["ble-up", "ble-away"] {
            assert!(
                detail(name).contains("battery") && detail(name).contains("worn") && !detail(name).contains("cable"),
                "{}",
                detail(name)
            );
        }
        for name in ["up", "away"] {
            assert!(detail(name).contains("cable") && !detail(name).contains("worn"), "{}", detail(name));
        }
    }

    #[test]
    fn silent_is_what_could_speak_and_does_not() {
        assert_eq!(state(monitor(), 209), ("healthy".into(), None), "its line came up just now");
        assert_eq!(state(monitor(), 210), ("silent".into(), Some(200)));
        let spoke = InstanceStatus { newest_monotonic_ns: 300 * S, ..monitor() };
        assert_eq!(state(spoke.clone(), 309), ("healthy".into(), None));
        assert_eq!(state(spoke.clone(), 310), ("silent".into(), Some(300)));
        let reopened = InstanceStatus { opened_ns: 305 * S, ..spoke.clone() };
        assert_eq!(state(reopened, 314), ("healthy".into(), None), "a new run has its own time");
    }

    #[test]
    fn what_speaks_on_events_only_what_has_no_line_and_what_says_why_are_not_silent() {
        let spoke = InstanceStatus { newest_monotonic_ns: 300 * S, ..monitor() };
        assert_eq!(state(InstanceStatus { silent_after_s: 0, ..spoke.clone() }, 9000), ("healthy".into(), None));
        for told in ["degraded", "failed", "restarting", "quarantined", "stopped"] {
            assert_eq!(state(InstanceStatus { state: told.into(), ..spoke.clone() }, 9000), (told.into(), None));
        }
        let mut away = spoke;
        away.link(false, 301 * S);
        assert_eq!(state(away.clone(), 310), ("healthy".into(), None));
        assert_eq!(state(away.clone(), 311), ("disconnected".into(), None));
        assert_eq!(
            state(InstanceStatus { silent_after_s: 0, ..away.clone() }, 9000),
            ("healthy".into(), None),
            "a meter is away most of the time"
        );
        let mut never = InstanceStatus { state: "healthy".into(), silent_after_s: 10, ..InstanceStatus::default() };
        assert_eq!(state(never.clone(), 9000), ("healthy".into(), None), "a filter has no line");
        never.link(false, 100 * S);
        never.link(false, 105 * S);
        assert_eq!(state(never, 110), ("disconnected".into(), None));
        away.link(true, 8995 * S);
        assert_eq!(state(away.clone(), 9000), ("healthy".into(), None), "back, and not yet heard");
        away.link(true, 8999 * S);
        assert_eq!(state(away, 9005), ("silent".into(), Some(8995)), "told again is not up again");
    }
}
