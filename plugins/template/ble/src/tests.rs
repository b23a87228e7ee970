//! The golden cases, natively. BLESS=1 writes what they expect anew: read the difference.

use std::path::Path;

use wardgate_sdk::gatt::Peripheral;
use wardgate_testkit::{ble, check_folder};

#[test]
fn golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    assert!(check_folder::<Peripheral<super::Device>>(&folder, ble) > 0, "a plugin has a golden case");
}
