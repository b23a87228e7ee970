//! One libFuzzer program for every parser that reads bytes of others: WARDGATE_FUZZ names the parser. `make fuzz` runs them one after the other.
#![no_main]

#[path = "../../../plugins/tests/it/ble.rs"]
#[allow(dead_code)]
mod ble;
#[path = "../../../plugins/tests/it/ble_layouts.rs"]
#[allow(dead_code)]
mod ble_layouts;
mod device;
mod gatt;
#[path = "../../../plugins/tests/it/generator.rs"]
#[allow(dead_code)]
mod generator;
#[path = "../../src/layout.rs"]
#[allow(dead_code)]
mod layout;
mod message;
mod package;
#[path = "../../../plugins/tests/it/random.rs"]
#[allow(dead_code)]
mod random;
mod site;
mod store;
mod trust;
#[path = "../../../wire/src/tests/random.rs"]
#[allow(dead_code)]
mod wire_random;

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wardgate::capability::ble::babble;

/// Reads one input; panics where a promise is broken.
type Check = fn(&[u8]);
/// What the tests feed the same parser.
type Seeds = fn() -> Vec<Vec<u8>>;

const TARGETS: [(&str, Check, Seeds); 24] = [
    ("wire-batch", message::batch, message::batch_seeds),
    ("wire-ledger", message::ledger, message::ledger_seeds),
    ("wire-part", message::part, message::part_seeds),
    ("wire-ack", message::ack, message::ack_seeds),
    ("store", store::segment, store::segment_seeds),
    ("heads", store::heads, store::heads_seeds),
    ("parked", store::parked, store::parked_seeds),
    ("window", store::window, store::window_seeds),
    ("cloud-log", store::cloud_log, store::cloud_log_seeds),
    ("config", site::config, site::config_seeds),
    ("manifest", site::manifest, site::manifest_seeds),
    ("package", package::package, package::package_seeds),
    ("fleet", trust::fleet, trust::fleet_seeds),
    ("audit", trust::audit, trust::audit_seeds),
    ("memory", trust::memory, trust::memory_seeds),
    ("signed", trust::signed, trust::signed_seeds),
    ("pattern", site::pattern, site::pattern_seeds),
    ("modbus-frame", device::modbus_frame, device::modbus_frame_seeds),
    ("serial-line", device::serial_line, device::serial_line_seeds),
    ("ivy450c", device::ivy450c, device::ivy450c_seeds),
    ("modbus-map", device::modbus_map, device::modbus_map_seeds),
    ("ble-values", gatt::values, gatt::values_seeds),
    ("ble-meter", gatt::meter, gatt::meter_seeds),
    ("ble-signals", babble::hear, babble::seeds),
];

/// The parser that is asked for. With WARDGATE_FUZZ_SEEDS the seeds of all are written below that folder, and nothing is fuzzed.
fn chosen() -> Check {
    if let Some(folder) = std::env::var_os("WARDGATE_FUZZ_SEEDS") {
        for (name, _, seeds) in TARGETS {
            let folder = Path::new(&folder).join(name);
            std::fs::create_dir_all(&folder).expect("a folder for seeds");
            for (n, seed) in seeds().into_iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{n:03}")), seed).expect("room for a seed");
            }
            println!("{name}");
        }
        return |_| ();
    }
    let name = std::env::var("WARDGATE_FUZZ").unwrap_or_default();
    let known = TARGETS.map(|t| t.0).join(" ");
    TARGETS.into_iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("WARDGATE_FUZZ is {name:?}; the parsers are {known}")).1
}

static CHECK: OnceLock<Check> = OnceLock::new();

fuzz_target!(|data: &[u8]| CHECK.get_or_init(chosen)(data));
