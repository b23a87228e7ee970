//! The golden cases of every plugin, played inside the sandbox: they must say to the letter what they say natively.
//! The runner is the one of `wardgate plugin test`; the native one (`plugins/testkit`) is written apart, so that both prove each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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

/// The table in `plugins/README.md`: a row for each plugin, and the size that is built.
#[test]
fn the_table_of_plugins_leaves_none_out_and_tells_their_size() {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let table = fs::read_to_string(plugins.join("README.md")).unwrap();
    let mut wrong = Vec::new();
    for plugin in fs::read_dir(&plugins).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("manifest.toml").exists()) {
        let name = plugin.file_name().unwrap().to_str().unwrap().to_owned();
        let built = wardgate::plugin::build(&plugin).unwrap_or_else(|why| panic!("{why}"));
        let kib = fs::metadata(built.folder.join("plugin.wasm")).unwrap().len().div_ceil(1024);
        let row = table.lines().find(|line| line.contains(&format!("| [{name}]({name}/README.md) |")));
        let told = row.and_then(|row| row.split('|').rev().nth(2)?.trim().parse::<u64>().ok());
        // another compiler makes a few KiB more or less
        if told.is_none_or(|told| told.abs_diff(kib) > told / 10 + 1) {
            wrong.push(format!("{name} has {kib} KiB; its row is {row:?}"));
        }
    }
    assert!(wrong.is_empty(), "plugins/README.md:\n{}", wrong.join("\n"));
}
