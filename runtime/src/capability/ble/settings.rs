//! What `[ble]` says, as the room uses it: which adapter, the duty of looking for peripherals, who may pair.

use std::time::Duration;

use crate::config;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub adapter: Option<String>,
    pub scan: Duration,
    pub rest: Duration,
    pub bus: Option<String>,
}

impl Settings {
    pub(super) fn read(from: &config::Ble) -> Self {
        let (scan, rest) = (Duration::from_secs(from.scan_s), Duration::from_secs(from.rest_s));
        Self { adapter: from.adapter.clone(), scan, rest, bus: from.bus.clone() }
    }
}
