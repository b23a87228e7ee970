//! The native tests of all plugins: one binary.

mod ble;
mod ble_decode;
mod ble_forms;
mod ble_layouts;
mod ble_meter;
mod ble_vectors;
mod ble_waves;
mod condition_watch;
mod condition_watch_lives;
mod generator;
mod golden;
mod ivy450c;
mod ivy450c_capture;
mod ivy450c_decode;
mod modbus_map;
mod modbus_map_poll;
mod random;
