//! Reads the tree and fails on a forbidden door, a file that does not say what it is for, a noun that lacks a place, a promise without a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Nouns whose rooms are still to come, with the places they lack. Delete a line here when the place is built.
const PENDING: &[(&str, &str)] = &[];

/// Room, and what of the crate it may name. `gateway.rs` may name every room.
const DOORS: &[(&str, &[&str])] = &[
    ("contract.rs", &["contract"]),
    ("config.rs", &["fault", "shared_file", "config"]),
    ("fault.rs", &[]),
    ("status.rs", &[]),
    ("backoff.rs", &[]),
    ("contained.rs", &[]),
    ("whose.rs", &["config"]),
    ("shared_file.rs", &[]),
    ("keys.rs", &["keys"]),
    ("when.rs", &[]),
    ("audit.rs", &["audit", "fault", "keys", "shared_file", "when"]),
    ("capability", &["contract", "config", "fault", "status", "shared_file", "capability"]),
    (
        "plugin",
        &["backoff", "contained", "contract", "config", "fault", "status", "keys", "shared_file", "whose", "when", "capability", "plugin"],
    ),
    ("pipeline", &["contract", "config", "fault", "status", "whose", "pipeline"]),
    ("store", &["config", "fault", "status", "store"]),
    ("uplink", &["backoff", "contained", "config", "fault", "status", "store", "uplink"]),
    ("console.rs", &["config", "fault", "status", "gateway"]),
    (
        "cli",
        &[
            "audit",
            "contract",
            "config",
            "fault",
            "status",
            "gateway",
            "console",
            "capability",
            "plugin",
            "pipeline",
            "store",
            "uplink",
            "keys",
            "when",
            "cli",
        ],
    ),
    ("metrics.rs", &["status"]),
];

/// A verb may name one of these; `check` says what a plugin (one) may reach through capabilities (two), which no room may know of the other.
const ROOMS: &[&str] = &["capability", "plugin", "pipeline", "store", "uplink"];
const VERBS_WITH_TWO_ROOMS: &[&str] = &["check.rs"];

/// What a room must not know: clocks, files, networks, threads.
const UNKNOWN: &[(&str, &[&str])] = &[
    ("pipeline", &["std::fs", "std::net", "std::thread", "std::time::Instant", "SystemTime", "tokio", "rustix"]),
    ("store", &["std::net", "std::thread", "SystemTime", "Instant::now", "tokio"]),
    ("uplink", &["std::fs", "SystemTime"]),
    ("fault.rs", &["tokio", "std::fs"]),
    ("status.rs", &["tokio", "std::fs"]),
];

/// Births outside the corridor, each with its reason.
const BORN_ELSEWHERE: &[(&str, &str)] = &[
    ("plugin/ticker.rs", "std::thread::Builder"), // ends calls that last too long, so it cannot be a task that such a call could delay
    ("console.rs", "channel("),                   // one answer to one asker, who waits for it
];

/// Foreign types that stay behind one wall: crate, and where in runtime/src its name may stand.
const WALLS: &[(&str, &[&str])] = &[
    ("wasmtime", &["contract.rs", "contract", "plugin"]),
    ("wit_component", &["plugin"]),
    ("ring::signature", &["keys.rs"]),
    ("rumqttc", &["uplink"]),
    ("rustls", &["uplink"]),
    ("toml", &["config.rs", "config"]),
    ("tokio_modbus", &["capability"]),
    ("tokio_serial", &["capability"]),
    ("zbus", &["capability/ble"]),
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

/// The part of the code that a reader would call code: without comments, and without a module of tests at the end of a file.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
    text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// What `super::super::name` reaches when it climbs out of the room: the name at the crate's root.
fn climbed<'a>(code: &'a str, inside: &Path) -> BTreeSet<&'a str> {
    let folders = inside.components().count();
    let depth = if inside.ends_with("mod.rs") { folders - 1 } else { folders };
    named(code, &"super::".repeat(depth))
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
            let text = code(file);
            for name in named(&text, "crate::").into_iter().chain(climbed(&text, file.strip_prefix(&src).expect("found below it"))) {
                if !may.contains(&name) {
                    wrong.push(format!("{} names crate::{name}; {room} may name {may:?}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden doors:\n{}", wrong.join("\n"));
}

#[test]
fn a_verb_names_one_room() {
    let cli = root().join("runtime/src/cli");
    let mut wrong = Vec::new();
    for file in files(&cli, "rs").iter().filter(|f| !is_test(f)) {
        let text = code(file);
        let rooms: Vec<_> = named(&text, "crate::").into_iter().filter(|name| ROOMS.contains(name)).collect();
        if rooms.len() > 1 && !VERBS_WITH_TWO_ROOMS.iter().any(|v| file.ends_with(v)) {
            wrong.push(format!("{} names {rooms:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "a verb may name one room:\n{}", wrong.join("\n"));
}

#[test]
fn no_room_knows_what_it_must_not() {
    let src = root().join("runtime/src");
    let mut wrong = Vec::new();
    for (room, unknown) in UNKNOWN {
        for file in room_files(&src, room).iter().filter(|f| !is_test(f)) {
            let text = code(file);
            wrong.extend(unknown.iter().filter(|word| text.contains(**word)).map(|word| format!("{} names {word}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "rooms that know too much:\n{}", wrong.join("\n"));
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
    let births = ["tokio::spawn(", "task::spawn(", "spawn_local(", "thread::spawn(", "std::thread::Builder", "channel("];
    for file in files(&src, "rs").iter().filter(|f| !f.starts_with(src.join("gateway")) && !f.ends_with("gateway.rs") && !is_test(f)) {
        let inside = file.strip_prefix(&src).expect("found below it");
        let text = code(file).replace("self.channel(", "").replace("fn channel(", "");
        for call in births {
            if text.contains(call) && !BORN_ELSEWHERE.iter().any(|(f, what)| inside.ends_with(f) && call == *what) {
                wrong.push(format!("{} calls {call}..)", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "tasks and channels are born in gateway.rs:\n{}", wrong.join("\n"));
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut silent = Vec::new();
    for folder in ["wire", "runtime", "cloud", "trust", "tests", "plugins"] {
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

/// Names of the packages that `package` needs, itself included, development apart: from cargo itself, so that nothing hides in between.
fn needs(package: &str) -> BTreeSet<String> {
    let cargo = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--package", package])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&cargo.stdout).into_owned();
    assert!(cargo.status.success() && text.contains(package), "{text}{}", String::from_utf8_lossy(&cargo.stderr));
    text.lines().filter_map(|l| l.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_far_ends_do_not_know_each_other() {
    for (package, never) in [
        ("wardgate-cloud", &["wasmtime", "wardgate", "wardgate-tests"][..]),
        ("wardgate", &["wardgate-cloud", "wardgate-tests"]),
        // registries and the fleet's metadata are wardgate-trust's: none of their code is in the gateway, which is the one that runs day and night
        ("wardgate", &["wardgate-trust", "tough", "oci-client", "reqwest", "hyper", "aws-lc-sys", "aws-lc-rs"]),
        ("wardgate-wire", &["wardgate", "wardgate-cloud", "wardgate-tests", "tokio"]),
    ] {
        let needs = needs(package);
        let wrong: Vec<_> = never.iter().filter(|n| needs.contains(**n)).collect();
        assert!(wrong.is_empty(), "{package} needs {wrong:?}");
    }
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
    for folder in ["wire", "runtime", "cloud", "trust", "tests", "plugins"] {
        for file in files(&root().join(folder), "rs") {
            let text = fs::read_to_string(&file).expect("a source file");
            for line in text.lines() {
                if let Some(name) = line.trim().strip_prefix("//= PROMISES.md#") {
                    kept.insert(name.trim().to_owned());
                }
            }
        }
    }
    let functions: String = ["wire", "runtime", "cloud", "trust", "tests", "plugins"]
        .iter()
        .flat_map(|folder| files(&root().join(folder), "rs"))
        .map(|file| fs::read_to_string(file).expect("a source file"))
        .collect();
    for line in promises.lines().filter(|l| l.starts_with("| P")) {
        let held_by = line.split('|').nth(3).unwrap_or_default();
        for name in held_by.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("make ")) {
            let last = name.rsplit("::").next().unwrap_or_default();
            assert!(functions.contains(&format!("fn {last}(")), "no test is called {name}, which PROMISES.md names: {line}");
        }
        assert!(!line.trim_end().ends_with("| |"), "a promise without a figure: {line}");
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

#[test]
fn what_is_for_tests_alone_is_in_no_release_build_of_the_program_that_updates_gateways() {
    let mut hidden = Vec::new();
    for file in files(&root().join("trust/src"), "rs") {
        let text = fs::read_to_string(&file).expect("a source file");
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let is_hidden = |line: &str| line.starts_with("#[arg(") && line.contains("hide = true");
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| is_hidden(line)) {
            hidden.push((format!("{}: {}", file.display(), lines[at + 1]), at > 0 && lines[at - 1] == "#[cfg(debug_assertions)]"));
        }
    }
    assert!(hidden.len() == 1 && hidden.iter().all(|(_, debug_only)| *debug_only), "a hidden option that release builds have: {hidden:?}");
}

/// `make test` never builds the fuzzers, which have a lock file of their own: one that lacks a dependency of the gateway stops them at the first word.
//= PROMISES.md#P261
#[test]
fn the_fuzzers_lock_file_knows_what_the_gateway_depends_on() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("readable");
    let lock = read("tests/fuzz/Cargo.lock");
    for (krate, manifest) in
        [("wardgate", "runtime/Cargo.toml"), ("wardgate-wire", "wire/Cargo.toml"), ("wardgate-cloud", "cloud/Cargo.toml")]
    {
        let named = format!("name = \"{krate}\"\n");
        let locked =
            lock.split("[[package]]\n").find(|package| package.starts_with(&named)).unwrap_or_else(|| panic!("{krate} is not locked"));
        let manifest = read(manifest);
        let depends = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default().split("\n[").next().unwrap_or_default();
        for line in depends.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
            let name = line.split(['.', '=', ' ']).next().expect("a name");
            let known = locked.lines().any(|locked| locked.trim_start().trim_start_matches('"').split(['"', ' ']).next() == Some(name));
            assert!(
                known,
                "{krate} depends on {name}, and tests/fuzz/Cargo.lock does not say so: cargo metadata --manifest-path tests/fuzz/Cargo.toml"
            );
        }
    }
}
