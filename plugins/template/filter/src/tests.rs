//! The golden cases, natively. BLESS=1 writes what they expect anew: read the difference.

use std::path::Path;

use wardgate_testkit::{check_folder, filter};

#[test]
fn golden() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    assert!(check_folder::<super::Device>(&folder, filter) > 0, "a plugin has a golden case");
}
