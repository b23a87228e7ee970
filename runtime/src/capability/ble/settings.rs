//! What `[ble]` says, as the room uses it: which adapter, the duty of looking for peripherals, who may pair.

use std::time::Duration;

use super::bonds::Bonds;
use crate::config::{self, Pairing};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub adapter: Option<String>,
    pub scan: Duration,
    pub rest: Duration,
    pub bus: Option<String>,
    pub pairing: Pairing,
    pub bonds: Bonds,
}

impl Settings {
    pub(super) fn read(from: &config::Ble) -> Self {
        let (scan, rest) = (Duration::from_secs(from.scan_s), Duration::from_secs(from.rest_s));
        let (pairing, bonds) = (from.pairing, Bonds::of(from.state.as_deref()));
        Self { adapter: from.adapter.clone(), scan, rest, bus: from.bus.clone(), pairing, bonds }
    }
}
