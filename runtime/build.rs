//! Lists the files that `wardgate plugin new` carries: templates, SDK, testkit, contract and the workspace around them.

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
