//! The contract's types, generated once: one half-world per link. A plugin's world is the union of the halves it exports,
//! so a plugin that uses one link never imports another.

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)] // generated
pub mod core_half {
    wit_bindgen::generate!({
        inline: "package wardgate:sdk; world core-half { import wardgate:device/gateway@0.1.0; export wardgate:device/lifecycle@0.1.0; }",
        path: "../../wit",
        generate_all,
        additional_derives: [PartialEq],
        pub_export_macro: true,
        export_macro_name: "export_core",
        default_bindings_module: "wardgate_sdk::core_half",
    });
}

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)] // generated
pub mod modbus_half {
    wit_bindgen::generate!({
        inline: "package wardgate:sdk; world modbus-half { import wardgate:device/modbus@0.1.0; export wardgate:device/modbus-events@0.1.0; }",
        path: "../../wit",
        generate_all,
        additional_derives: [PartialEq],
        with: { "wardgate:device/types@0.1.0": crate::bindings::core_half::wardgate::device::types },
        pub_export_macro: true,
        export_macro_name: "export_modbus",
        default_bindings_module: "wardgate_sdk::modbus_half",
    });
}

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)] // generated
pub mod serial_half {
    wit_bindgen::generate!({
        inline: "package wardgate:sdk; world serial-half { import wardgate:device/serial@0.1.0; export wardgate:device/serial-events@0.1.0; }",
        path: "../../wit",
        generate_all,
        additional_derives: [PartialEq],
        with: { "wardgate:device/types@0.1.0": crate::bindings::core_half::wardgate::device::types },
        pub_export_macro: true,
        export_macro_name: "export_serial",
        default_bindings_module: "wardgate_sdk::serial_half",
    });
}

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)] // generated
pub mod ble_half {
    wit_bindgen::generate!({
        inline: "package wardgate:sdk; world ble-half { import wardgate:device/ble@0.1.0; export wardgate:device/ble-events@0.1.0; }",
        path: "../../wit",
        generate_all,
        additional_derives: [PartialEq],
        with: { "wardgate:device/types@0.1.0": crate::bindings::core_half::wardgate::device::types },
        pub_export_macro: true,
        export_macro_name: "export_ble",
        default_bindings_module: "wardgate_sdk::ble_half",
    });
}

#[doc(hidden)]
#[allow(missing_docs, unsafe_code, clippy::all)] // generated
pub mod filter_half {
    wit_bindgen::generate!({
        inline: "package wardgate:sdk; world filter-half { export wardgate:device/filter-events@0.1.0; }",
        path: "../../wit",
        generate_all,
        additional_derives: [PartialEq],
        with: { "wardgate:device/types@0.1.0": crate::bindings::core_half::wardgate::device::types },
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "wardgate_sdk::filter_half",
    });
}

pub use ble_half::{exports::wardgate::device::ble_events, wardgate::device::ble};
pub use core_half::exports::wardgate::device::lifecycle::{self, Opening};
pub use core_half::wardgate::device::{
    gateway::{self, Level},
    types,
};
pub use filter_half::exports::wardgate::device::filter_events;
pub use modbus_half::{exports::wardgate::device::modbus_events, wardgate::device::modbus};
pub use serial_half::{exports::wardgate::device::serial_events, wardgate::device::serial};
