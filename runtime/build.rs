//! Lists the files that `wardgate plugin new` carries (templates, SDK, testkit, contract and the workspace around them), and the crates that this
//! gateway was made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Folders and files below the checkout.
const CARRIED: [&str; 9] = [
    "plugins/template",
    "plugins/sdk",
    "plugins/testkit",
    "plugins/Cargo.toml",
    "plugins/Cargo.lock",
    "plugins/.cargo/config.toml",
    "plugins/rustfmt.toml",
    "wit",
    "rust-toolchain.toml",
];

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("..");
    let mut files = Vec::new();
    for name in CARRIED {
        println!("cargo::rerun-if-changed=../{name}");
        walk(&root.join(name), &mut files);
    }
    files.sort();
    let mut text = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).expect("found below it").display().to_string();
        let file = fs::canonicalize(&file).expect("it was just found");
        writeln!(text, "({name:?}, include_str!({:?})),", file.display().to_string()).expect("a String takes everything");
    }
    let out = env::var("OUT_DIR").expect("cargo tells it");
    fs::write(Path::new(&out).join("carried.rs"), text + "]").expect("cargo's own folder can be written");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let lock = fs::read_to_string(root.join("Cargo.lock")).expect("the lock file lies beside the workspace");
    fs::write(Path::new(&out).join("crates.rs"), crates(&lock)).expect("cargo's own folder can be written");
}

/// Name and version of each crate that the lock file lets this package need: what other systems and its build need too is among them.
fn crates(lock: &str) -> String {
    let mut needs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for block in lock.split("[[package]]").skip(1) {
        let field = |key: &str| block.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        let (Some(name), Some(version)) = (field("name"), field("version")) else { continue };
        let listed = block.split_once("dependencies = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
        needs.insert((name, version), listed.split('"').skip(1).step_by(2).collect());
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<(&str, &str)> = needs.keys().filter(|(name, _)| *name == "wardgate").copied().collect();
    while let Some(one) = open.pop() {
        if !found.insert(one) {
            continue;
        }
        for need in &needs[&one] {
            // "name", and "name version" where there are several of that name
            let (name, version) = need.split_once(' ').map_or((*need, None), |(name, rest)| (name, rest.split(' ').next()));
            open.extend(needs.keys().filter(|(n, v)| *n == name && version.is_none_or(|version| version == *v)).copied());
        }
    }
    format!("&{:?}", found.into_iter().collect::<Vec<_>>())
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        return files.push(path.to_owned());
    }
    for entry in fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())) {
        let entry = entry.expect("a readable folder").path();
        if entry.file_name().is_none_or(|name| !["target", "frozen"].iter().any(|not| name == *not)) {
            walk(&entry, files);
        }
    }
}
