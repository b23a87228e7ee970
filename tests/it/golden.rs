//! The golden cases of every plugin, played inside the sandbox: they must say to the letter what they say natively.
//! The runner is the one of `wardgate plugin test`; the native one (`plugins/testkit`) is written apart, so that both prove each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wardgate::config::Link;
use wardgate::plugin::{Host, Package, Profile, trial};

/// Folders of plugins that have cases, and the one whose cases prove this runner.
pub fn plugins() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../plugins", "../plugins/template"].map(|folder| fs::read_dir(here.join(folder)).unwrap());
    let listed = folders.into_iter().flatten().map(|e| e.unwrap().path());
    let mut found: Vec<_> = listed.filter(|p| p.join("golden").is_dir()).collect();
    assert!(found.len() >= 17, "thirteen plugins and four templates have cases: {found:?}");
    found.push(here.join("guests/hostile"));
    found.sort();
    found
}

//= PROMISES.md#P36
#[test]
fn every_case_says_in_the_sandbox_what_it_says_natively() {
    let hosts = [Profile::Guarded, Profile::Compact].map(|profile| Arc::new(Host::with(profile).unwrap_or_else(|why| panic!("{why}"))));
    for plugin in plugins() {
        let cases = trial::cases(&plugin);
        assert!(!cases.is_empty(), "{} has no golden case", plugin.display());
        let built = wardgate::plugin::build(&plugin).unwrap_or_else(|why| panic!("{why}"));
        let package = Package::open(&built.folder, true).unwrap_or_else(|why| panic!("{why}"));
        for host in &hosts {
            let ready = trial::ready_in(host.clone(), &package).unwrap_or_else(|why| panic!("{why}"));
            for case in &cases {
                let played = trial::case(&ready, case).unwrap_or_else(|why| panic!("{}: {why}", case.display()));
                if let Err(difference) = played {
                    panic!("{}, {}: {difference}", case.display(), host.profile.name());
                }
            }
        }
    }
}

/// Every gateway would refuse it.
//= PROMISES.md#P338
#[test]
fn a_case_in_which_a_plugin_asks_for_what_its_manifest_does_not_name_differs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ble-glucose");
    let built = wardgate::plugin::build(&folder).unwrap_or_else(|why| panic!("{why}"));
    let mut package = Package::open(&built.folder, true).unwrap_or_else(|why| panic!("{why}"));
    let host = Arc::new(Host::probe().unwrap_or_else(|why| panic!("{why}")));
    let clears = folder.join("golden/cleared.json");
    let played = |package: &Package| trial::case(&trial::ready_in(host.clone(), package).unwrap(), &clears).unwrap();
    assert!(played(&package).is_ok());
    package.manifest.asks.get_mut(&Link::Ble).unwrap().at_most = None;
    let told = played(&package).expect_err("it clears the meter").to_string();
    assert!(told.contains("[asks.ble] in manifest.toml does not name") && told.contains("it asks to write 02 02 01"), "{told}");
}

//= PROMISES.md#P195
/// The table in `plugins/README.md`: a row for each plugin, with what is known of it and the size that is built.
#[test]
fn the_table_of_plugins_is_the_one_that_would_be_written_now() {
    let wrong = wardgate_lab::table::differences().unwrap();
    assert!(wrong.is_empty(), "plugins/README.md (`wardgate-lab table` writes its table anew):\n{}", wrong.join("\n"));
}
