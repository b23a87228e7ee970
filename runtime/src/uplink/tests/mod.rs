//! Tests of the pure leaves, and of what errors say. The connection itself is proved against real brokers in tests/it/uplink.

mod context;
mod errors;
mod lanes;
mod settings;
mod window;

use wardgate_wire::{BatchKey, Class};

fn key(life: u64, epoch: u32, class: Class, sequence: u32) -> BatchKey {
    BatchKey { life, epoch, class, sequence }
}
