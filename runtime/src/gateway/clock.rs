//! The corridor's clocks and randomness: read here, and handed to the rooms as arguments.

use std::path::Path;
use std::sync::OnceLock;

use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use wardgate_wire as wire;

use crate::contract::types;
use crate::fault::{Fault, Guilty};

/// A clock before this was never set: this version did not exist (2026-01-01).
const CLOCK_SET_AFTER_NS: i64 = 1_767_225_600_000_000_000;
/// A free-running clock may be off by the quartz's drift since it was set; we do not know when, so we claim no more than a minute.
const FREE_RUNNING_UNCERTAINTY_NS: u64 = 60_000_000_000;
/// What chrony or timesyncd hold on a busy hospital network.
const SYNCHRONISED_UNCERTAINTY_NS: u64 = 50_000_000;

pub(super) fn boot() -> u64 {
    static BOOT: OnceLock<u64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let hex: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&hex, 16).unwrap_or_default()
    })
}

/// CLOCK_BOOTTIME: goes on while the machine sleeps.
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Nanoseconds since the Unix epoch; `None` while the clock was never set (a Pi has no battery for it and wakes in 1970).
fn wall_ns() -> Option<i64> {
    let now = clock_gettime(ClockId::Realtime);
    Some(pretended(now.tv_sec * 1_000_000_000 + now.tv_nsec)).filter(|ns| *ns > CLOCK_SET_AFTER_NS)
}

/// Tests set a wrong clock for one process: a machine's own cannot be set beside other tests. No release build has this.
#[cfg(debug_assertions)]
fn pretended(now_ns: i64) -> i64 {
    static AHEAD_NS: OnceLock<i64> = OnceLock::new();
    let ahead = AHEAD_NS.get_or_init(|| {
        let wanted = std::env::var("WARDGATE_TEST_CLOCK").ok().and_then(|text| crate::when::read(&text));
        wanted.map_or(0, |wanted_s| wanted_s * 1_000_000_000 - now_ns)
    });
    now_ns + ahead
}

#[cfg(not(debug_assertions))]
fn pretended(now_ns: i64) -> i64 {
    now_ns
}

/// The clock that rooms are given.
pub fn moment() -> types::Moment {
    types::Moment { boot: boot(), monotonic_ns: boottime_ns(), wall: wall_ns() }
}

pub fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(n) if n == N => Ok(bytes),
        other => Err(Fault::new(Guilty::Internal, format!("the kernel gives no random numbers: {other:?}"), "")),
    }
}

/// chrony and timesyncd leave these behind once they hold the clock.
pub(super) fn quality() -> wire::ClockQuality {
    let synchronised = ["/run/systemd/timesync/synchronized", "/run/chrony/synchronized"];
    match wall_ns() {
        None => wire::ClockQuality::Unset,
        Some(_) if synchronised.iter().any(|p| Path::new(p).exists()) => wire::ClockQuality::Synchronised,
        Some(_) => wire::ClockQuality::FreeRunning,
    }
}

/// How far the wall clock may be off.
pub(super) fn uncertainty_ns(quality: wire::ClockQuality) -> u64 {
    if quality == wire::ClockQuality::Synchronised { SYNCHRONISED_UNCERTAINTY_NS } else { FREE_RUNNING_UNCERTAINTY_NS }
}
