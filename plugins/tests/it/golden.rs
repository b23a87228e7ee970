//! The golden cases of every plugin, natively. The gateway runs the same files in the sandbox.

use std::path::PathBuf;

use wardgate_testkit::{check_folder, modbus, serial};

fn folder(plugin: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", plugin, "golden"].iter().collect()
}

#[test]
fn ivy450c() {
    assert!(check_folder::<ivy450c::Ivy450c>(&folder("ivy450c"), serial) >= 4);
}

#[test]
fn modbus_map() {
    assert!(check_folder::<modbus_map::ModbusMap>(&folder("modbus-map"), modbus) >= 3);
}
