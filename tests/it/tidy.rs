//! Reads the tree and fails on a forbidden door, a file that does not say what it is for, a noun that lacks a place, a promise without a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Nouns whose rooms are still to come, with the places they lack. Delete a line here when the place is built.
const PENDING: &[(&str, &str)] = &[("ble", "runtime/src/capability/ble"), ("ble", "tests/src/sim/ble.rs")];

/// Room, and what of the crate it may name. `gateway.rs` may name every room.
const DOORS: &[(&str, &[&str])] = &[
    ("contract.rs", &["contract"]),
    ("config.rs", &["fault", "config"]),
    ("fault.rs", &[]),
    ("status.rs", &[]),
    ("backoff.rs", &[]),
    ("capability", &["contract", "config", "fault", "status", "capability"]),
    ("plugin", &["backoff", "contract", "config", "fault", "status", "capability", "plugin"]),
    ("pipeline", &["contract", "config", "fault", "status", "pipeline"]),
    ("store", &["config", "fault", "status", "store"]),
    ("uplink", &["backoff", "config", "fault", "status", "store", "uplink"]),
    ("console.rs", &["config", "fault", "status", "gateway"]),
];

/// Foreign types that stay behind one wall: crate, and where in runtime/src its name may stand.
const WALLS: &[(&str, &[&str])] = &[
    ("wasmtime", &["contract.rs", "contract", "plugin"]),
    ("wit_component", &["plugin"]),
    ("rumqttc", &["uplink"]),
    ("rustls", &["uplink"]),
    ("toml", &["config.rs", "config"]),
    ("tokio_modbus", &["capability"]),
    ("tokio_serial", &["capability"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let skipped = ["target", ".git", ".venv"].iter().any(|s| name == *s);
        if path.is_dir() && !skipped {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A room is a file, or a folder, or both.
fn room_files(src: &Path, room: &str) -> Vec<PathBuf> {
    let mut inside = files(&src.join(room.trim_end_matches(".rs")), "rs");
    inside.extend(Some(src.join(room)).filter(|file| file.is_file()));
    inside
}

/// The part of the code that a reader would call code: without comments, and without tests at the end of a file.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
    text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    inside.ends_with("tests.rs") || inside.components().any(|c| c.as_os_str() == "tests")
}

/// Every `crate::name` in the text.
fn named<'a>(code: &'a str, before: &str) -> BTreeSet<&'a str> {
    let word = |s: &'a str| s.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
    let mut found: BTreeSet<&str> = code.split(before).skip(1).map(word).filter(|w| !w.is_empty()).collect();
    // `use crate::{a, b::c}`
    for group in code.split(&format!("{before}{{")).skip(1) {
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    found.insert(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_room_names_a_room_it_must_not_know() {
    let src = root().join("runtime/src");
    let mut wrong = Vec::new();
    for (room, may) in DOORS {
        for file in room_files(&src, room).iter().filter(|f| !is_test(f)) {
            for name in named(&code(file), "crate::") {
                if !may.contains(&name) {
                    wrong.push(format!("{} names crate::{name}; {room} may name {may:?}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden doors:\n{}", wrong.join("\n"));
}

#[test]
fn foreign_types_stay_behind_their_wall() {
    let src = root().join("runtime/src");
    let mut wrong = Vec::new();
    for file in files(&src, "rs").into_iter().filter(|f| !is_test(f)) {
        let inside = file.strip_prefix(&src).expect("found below it");
        let text = code(&file);
        for (name, rooms) in WALLS {
            let at_home = rooms.iter().any(|r| inside.starts_with(r));
            if !at_home && (text.contains(&format!("{name}::")) || text.contains(&format!("use {name}"))) {
                wrong.push(format!("{} names {name}, which stays in {rooms:?}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "holes in walls:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_corridor_starts_tasks_and_makes_channels() {
    let src = root().join("runtime/src");
    let mut wrong = Vec::new();
    for file in files(&src, "rs").iter().filter(|f| !f.starts_with(src.join("gateway")) && !f.ends_with("gateway.rs") && !is_test(f)) {
        for call in ["tokio::spawn(", "mpsc::channel(", "watch::channel(", "broadcast::channel("] {
            if code(file).contains(call) {
                wrong.push(format!("{} calls {call}..)", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "tasks and channels are born in gateway.rs:\n{}", wrong.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    for folder in ["wire", "runtime", "cloud", "tests", "plugins"] {
        for file in files(&root().join(folder), "rs") {
            let text = fs::read_to_string(&file).expect("a source file");
            let first = text.lines().next().unwrap_or_default();
            if first.strip_prefix("//! ").is_none_or(|says| says.len() < 8) {
                silent.push(file.display().to_string());
            }
        }
    }
    assert!(silent.is_empty(), "the first line must say what the file is for (`//! ...`):\n{}", silent.join("\n"));
}

#[test]
fn the_far_ends_do_not_know_each_other() {
    let reads = |p: &str| fs::read_to_string(root().join(p)).expect("a manifest");
    let (cloud, wire, runtime) = (reads("cloud/Cargo.toml"), reads("wire/Cargo.toml"), reads("runtime/Cargo.toml"));
    assert!(!cloud.contains("wasmtime") && !cloud.contains("wardgate.workspace"), "cloud depends on wire, never on runtime");
    assert!(!runtime.contains("wardgate-cloud") && !runtime.contains("wardgate-tests"), "nothing shipped links the tests or the far end");
    assert!(!wire.contains("wardgate"[..].trim_end()) || wire.matches("wardgate").count() == 1, "wire names nobody");
}

#[test]
fn every_noun_has_its_places() {
    let mut missing = Vec::new();
    for noun in ["modbus", "serial", "ble"] {
        for place in [format!("wit/{noun}.wit"), format!("runtime/src/capability/{noun}"), format!("tests/src/sim/{noun}.rs")] {
            let there = root().join(&place).exists();
            let pending = PENDING.contains(&(noun, place.as_str()));
            match (there, pending) {
                (false, false) => missing.push(format!("{place} is not there")),
                (true, true) => missing.push(format!("{place} is there: take it off the pending list in this file")),
                _ => {}
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_promise_has_a_test() {
    let promises = fs::read_to_string(root().join("PROMISES.md")).expect("PROMISES.md");
    let mut kept = BTreeSet::new();
    for folder in ["wire", "runtime", "cloud", "tests", "plugins"] {
        for file in files(&root().join(folder), "rs") {
            let text = fs::read_to_string(&file).expect("a source file");
            for line in text.lines() {
                if let Some(name) = line.trim().strip_prefix("//= PROMISES.md#") {
                    kept.insert(name.trim().to_owned());
                }
            }
        }
    }
    let made: BTreeSet<String> = promises
        .lines()
        .filter_map(|l| l.strip_prefix("| P"))
        .filter_map(|l| l.split('|').next())
        .map(|n| format!("P{}", n.trim()))
        .collect();
    assert!(!made.is_empty(), "PROMISES.md makes no promise in its table (`| P1 | ...`)");
    let broken: Vec<_> = made.symmetric_difference(&kept).collect();
    assert!(
        broken.is_empty(),
        "promises without a test (`//= PROMISES.md#Pn` above it), or tests of a promise that is not made: {broken:?}"
    );
}
