//! Golden cases, run natively: the contract's values as JSON (`plugins/golden.md`), and the runner.

mod from_json;
mod golden;
mod to_json;

pub use from_json::{Event, event};
pub use golden::{Driver, ble, check_folder, filter, modbus, serial};
pub use to_json::said;
