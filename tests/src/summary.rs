//! The demo's live view: one line a device, one for the link.

use std::fmt::Write as _;

use wardgate::status::Snapshot;

use crate::stage::WEARABLES;

/// For the running view: what one JSON message a value takes with the demo's names ({"ts":1795212345678,"values":{"resp":120}}). The result counts
/// them one by one.
const JSON_BYTES_A_VALUE: u64 = 42;

/// What is shown of one second.
pub struct Second<'a> {
    pub before: &'a Snapshot,
    pub now: &'a Snapshot,
    pub link_bytes: u64,
}

pub fn table(second: &Second) -> String {
    let (before, now) = (second.before, second.now);
    let mut out = String::new();
    let s = (now.monotonic_ns.saturating_sub(before.monotonic_ns) as f64 / 1e9).max(0.001);
    let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / s;
    let _ = writeln!(out, "{:<15} {:>10} {:>10} {:>8} {:>7}  state", "device", "readings/s", "samples/s", "newest", "alerts");
    let mut values = 0;
    for (name, i) in &now.instances {
        let old = before.instances.get(name).cloned().unwrap_or_default();
        let age = match i.newest_monotonic_ns {
            0 => "-".to_owned(),
            at => format!("{:.1} s", now.monotonic_ns.saturating_sub(at) as f64 / 1e9),
        };
        let (readings, samples) = (rate(i.readings, old.readings), rate(i.samples, old.samples));
        values += i.readings.saturating_sub(old.readings) + i.samples.saturating_sub(old.samples);
        let simulated = if WEARABLES.iter().any(|w| w.name == name) { ", simulated Bluetooth" } else { "" };
        let _ = writeln!(out, "{name:<15} {readings:>10.1} {samples:>10.0} {age:>8} {:>7}  {}{simulated}", i.alerts, i.state);
    }
    let json = (values * JSON_BYTES_A_VALUE) as f64 / s;
    let link = second.link_bytes as f64 / s;
    let up = if now.uplink.connected { "connected" } else { "NOT CONNECTED" };
    let _ = writeln!(
        out,
        "{up}, {} batches waiting; {link:.0} bytes/s on the link, the same data as JSON: about {json:.0} bytes/s",
        now.store.batches_waiting
    );
    out
}
