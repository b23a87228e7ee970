//! Write a wardgate plugin: implement `Plugin` and the trait of your link, say `plugin!(Mine: serial);`, test it natively.
//!
//! ```text
//! use wardgate_sdk::*;
//! struct Monitor;
//! impl Plugin for Monitor { fn open(now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem> { Ok(Self) } }
//! impl Serial for Monitor { fn received(&mut self, now: Moment, bytes: &[u8], out: &mut Outbox) -> Done { Ok(()) } }
//! plugin!(Monitor: serial);
//! ```

mod bindings;
mod build;
mod decimal;
pub mod frame;
pub mod gatt;
mod glue;
pub mod medfloat;
mod outbox;
mod settings;
mod traits;

pub use bindings::{
    Level, Opening, ble, ble_events, filter_events, gateway, lifecycle, modbus, modbus_events, serial, serial_events,
    types::{self, *},
};
#[doc(hidden)]
pub use bindings::{ble_half, core_half, filter_half, modbus_half, serial_half};
pub use build::{fact, mdc, reading};
#[doc(hidden)]
pub use glue::Slot;
pub use outbox::Outbox;
#[cfg(not(target_arch = "wasm32"))]
pub use outbox::Said;
pub use settings::Settings;
pub use traits::{Ble, Done, Filter, Modbus, Plugin, Serial};
