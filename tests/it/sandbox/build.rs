//! `wardgate plugin build`: what goes wrong is named with its file and its remedy.

use std::fs;
use std::path::{Path, PathBuf};

use wardgate::plugin::{BuildError, Mismatch, build};

use super::folder;

const MANIFEST: &str = "name = \"small\"\nversion = \"0.1.0\"\nlinks = []\n[channels]\n";

/// A crate without dependencies, alone in its workspace.
fn small(name: &str, more: &str, source: &str) -> PathBuf {
    let at = folder(name);
    fs::create_dir(at.join("src")).unwrap();
    let cargo = format!("[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n{more}");
    fs::write(at.join("Cargo.toml"), cargo).unwrap();
    fs::write(at.join("manifest.toml"), MANIFEST).unwrap();
    fs::write(at.join("src/lib.rs"), source).unwrap();
    at
}

fn why(folder: &Path) -> BuildError {
    build(folder).map(drop).expect_err("it was built")
}

const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

#[test]
fn what_is_not_the_folder_of_a_plugin_is_refused() {
    let empty = folder("build-empty");
    assert!(matches!(why(&empty), BuildError::NotAPlugin { what: "Cargo.toml", .. }));
    let no_manifest = small("build-no-manifest", CDYLIB, "");
    fs::remove_file(no_manifest.join("manifest.toml")).unwrap();
    let why = why(&no_manifest).to_string();
    assert!(why.contains("build-no-manifest") && why.contains("holds no manifest.toml") && why.contains("plugins/README.md"), "{why}");
}

#[test]
fn a_manifest_with_a_mistake_is_named_with_its_line() {
    let at = small("build-typo", CDYLIB, "");
    fs::write(at.join("manifest.toml"), MANIFEST.replace("links", "linx")).unwrap();
    let why = why(&at).to_string();
    assert!(why.contains("manifest.toml: line 3: nothing here is called \"linx\"") && why.contains("write \"links\""), "{why}");
}

#[test]
fn a_crate_that_makes_no_module_is_told_how() {
    let why = why(&small("build-rlib", "", "")).to_string();
    assert!(why.contains("Cargo.toml builds no WebAssembly module") && why.contains("cdylib"), "{why}");
}

#[test]
fn source_that_does_not_compile_is_cargos_to_explain() {
    assert!(matches!(why(&small("build-broken", CDYLIB, "fn broken( {")), BuildError::Cargo { .. }));
}

#[test]
fn two_versions_are_one_too_many() {
    let at = small("build-versions", CDYLIB, "");
    fs::write(at.join("manifest.toml"), MANIFEST.replace("0.1.0", "0.2.0")).unwrap();
    let why = why(&at).to_string();
    assert!(why.contains("manifest.toml says version 0.2.0, Cargo.toml beside it says 0.1.0"), "{why}");
}

#[test]
fn a_module_that_is_no_plugin_says_what_it_lacks() {
    let nothing = small("build-nothing", CDYLIB, "");
    assert!(matches!(why(&nothing), BuildError::Mismatch { why: Mismatch::NoLifecycle, .. }));
    let system = "#[link(wasm_import_module = \"env\")]\nunsafe extern \"C\" { fn system(); }\n#[unsafe(no_mangle)]\npub extern \"C\" fn go() { unsafe { system() } }";
    let why = why(&small("build-system", CDYLIB, system)).to_string();
    assert!(why.contains("small.wasm: imports env::system") && why.contains("cargo tree"), "{why}");
}
