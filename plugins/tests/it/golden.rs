//! The golden cases of every plugin, natively. The gateway runs the same files in the sandbox.

use std::path::PathBuf;

use wardgate_sdk::gatt::{Peripheral, Profile};
use wardgate_testkit::{ble, check_folder, filter, modbus, serial};

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

#[test]
fn condition_watch() {
    assert!(check_folder::<condition_watch::ConditionWatch>(&folder("condition-watch"), filter) >= 5);
}

fn peripheral<P: Profile>(plugin: &str) -> usize {
    check_folder::<Peripheral<P>>(&folder(plugin), ble)
}

#[test]
fn peripherals() {
    assert!(peripheral::<ble_heart_rate::HeartRate>("ble-heart-rate") >= 1);
    assert!(peripheral::<ble_thermometer::Thermometer>("ble-thermometer") >= 1);
    assert!(peripheral::<ble_oximeter::Oximeter>("ble-oximeter") >= 1);
    assert!(peripheral::<ble_blood_pressure::BloodPressure>("ble-blood-pressure") >= 1);
    assert!(peripheral::<ble_weight::Weight>("ble-weight") >= 1);
    assert!(peripheral::<ble_activity::Activity>("ble-activity") >= 1);
    assert!(peripheral::<ble_cgm::Cgm>("ble-cgm") >= 3);
    assert!(peripheral::<ble_chest_ecg::ChestEcg>("ble-chest-ecg") >= 2);
    assert!(peripheral::<ble_motion_belt::MotionBelt>("ble-motion-belt") >= 1);
    assert!(peripheral::<ble_stethoscope::Stethoscope>("ble-stethoscope") >= 1);
    assert!(peripheral::<ble_glucose::Glucose>("ble-glucose") >= 9);
}
