//! What a gateway keeps of trust, against crashes, damage and hurry: its memory and its log, what comes in, whose configuration a verb takes, and who
//! comes back when a revocation is taken back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};
use wardgate_lab::process::binary;
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};

use crate::faults::wait_status;
use crate::gatekeeper::{Desk, FAR, another, audit, fleet, put_fleet, said, same, stolen, ward};
use crate::supervision::wardgate;
use crate::tamper::key;
use crate::ward::Folder;

fn whats(desk: &Desk) -> Vec<String> {
    let told = desk.well(&["audit", "show", "--json"]);
    let what = |line: &str| serde_json::from_str::<Json>(line).expect("JSON")["what"].as_str().expect("a text").to_owned();
    told.lines().map(what).collect()
}

// ---------- what comes in

//= PROMISES.md#P171
#[test]
fn a_package_is_written_down_then_put_then_remembered_and_a_crash_in_between_is_done_again() {
    let folder = Folder::new("accept-crash");
    let desk = Desk::new(&folder);
    let stick = desk.at.join("stick");
    fs::create_dir_all(&stick).expect("a folder");
    let file = |version: &str, release| another(&stick, version, release, &key(1), same).display().to_string();
    let (one, two) = (file("0.1.1", 1), file("0.1.2", 2));
    let packages = desk.at.join("packages");
    // what cannot be written down is not done
    fs::create_dir_all(desk.at.join("state/audit.log")).expect("a folder in its place");
    let said = desk.badly(&["plugin", "accept", &two], 5);
    // nor is known without a log that can be read whether anything ever ran here
    assert!(said.contains("trust.memory is gone, and audit.log does not show that nothing ever ran here"), "{said}");
    assert!(!packages.exists() && !desk.at.join("state/trust.memory").exists());
    fs::remove_dir(desk.at.join("state/audit.log")).expect("empty");
    // written down, and then not put there: it is told, and nothing is remembered, so that the one before it is not shut out
    fs::write(&packages, "a file in its place").expect("written");
    desk.badly(&["plugin", "accept", &two], 4);
    assert_eq!(whats(&desk), ["install", "refuse"]);
    fs::remove_file(&packages).expect("there");
    desk.well(&["plugin", "accept", &one]);
    // put there, and then not remembered
    fs::rename(desk.at.join("state/trust.lock"), desk.at.join("lock")).expect("there");
    fs::create_dir(desk.at.join("state/trust.lock")).expect("a folder in its place");
    desk.badly(&["plugin", "accept", &two], 4);
    assert!(packages.join("modbus-map-0.1.2.wardgate").is_file());
    fs::remove_dir(desk.at.join("state/trust.lock")).expect("empty");
    desk.well(&["plugin", "accept", &two]);
    assert!(desk.badly(&["plugin", "accept", &one], 4).contains("release 1 is older than release 2"));
    assert_eq!(whats(&desk), ["install", "refuse", "install", "install", "refuse", "install", "refuse"]);
    assert!(desk.well(&["audit", "verify"]).contains("is whole"));
}

#[test]
fn no_package_takes_the_place_of_another_vendors() {
    let folder = Folder::new("accept-over");
    let desk = Desk::new(&folder);
    desk.trust("other", 2);
    let theirs = |text: String| text.replacen("vendor = \"wardgate\"", "vendor = \"other\"", 1);
    for name in ["first", "second"] {
        fs::create_dir_all(desk.at.join(name)).expect("a folder");
    }
    let ours = another(&desk.at.join("first"), "0.1.1", 1, &key(1), same).display().to_string();
    let others = another(&desk.at.join("second"), "0.1.1", 1, &key(2), theirs).display().to_string();
    desk.well(&["plugin", "accept", &ours]);
    let before = fs::read(desk.at.join("packages/modbus-map-0.1.1.wardgate")).expect("there");
    assert!(desk.badly(&["plugin", "accept", &others], 4).contains("put this one into another folder"));
    assert_eq!(fs::read(desk.at.join("packages/modbus-map-0.1.1.wardgate")).expect("there"), before);
    desk.well(&["plugin", "accept", &ours]);
}

//= PROMISES.md#P172
#[test]
fn a_verb_that_changes_what_may_run_takes_no_configuration_that_the_gateway_would_not_take() {
    let folder = Folder::new("verbs-vouched");
    let desk = Desk::new(&folder);
    let stick = desk.at.join("stick");
    fs::create_dir_all(&stick).expect("a folder");
    let one = another(&stick, "0.1.1", 1, &key(1), same).display().to_string();
    let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", "site"]).current_dir(&desk.at).output();
    assert!(made.expect("it runs").status.success());
    let verbs: [&[&str]; 4] = [
        &["plugin", "accept", &one],
        &["plugin", "allow-older", "--key", "site.key", "wardgate", "modbus-map", "1"],
        &["grant", "approve", &one],
        &["grant", "recall"],
    ];
    let refused = |words: &str| {
        for verb in verbs {
            assert!(desk.badly(verb, 3).contains(words), "{verb:?}");
        }
    };
    fs::set_permissions(desk.at.join("gateway.toml"), fs::Permissions::from_mode(0o666)).expect("changed");
    refused("can be written by others (mode 666)");
    fs::set_permissions(desk.at.join("gateway.toml"), fs::Permissions::from_mode(0o644)).expect("changed");
    desk.site("site_key = \"site.pub\"\n");
    refused("gateway.toml is not signed");
    desk.sign("site.key");
    desk.well(verbs[0]);
    desk.site("site_key = \"site.pub\"\n# one line more\n");
    refused("is not as the site signed it");
    assert!(!desk.at.join("state/overrides").exists());
    assert_eq!(whats(&desk).iter().filter(|what| *what == "refuse").count(), 3 * verbs.len());
}

//= PROMISES.md#P314
#[test]
fn a_crate_is_found_however_a_notice_writes_it_and_what_is_not_there_names_what_is_near() {
    let folder = Folder::new("sbom-spelled");
    let desk = Desk::new(&folder);
    let find = |words: &str| desk.well(&["sbom", "find", words]);
    let found = find("serde_json");
    let line = found.lines().next().expect("a line").to_owned();
    let version = line.strip_prefix("wardgate 0.1.0: serde_json ").expect("by its own name");
    for words in ["Serde-JSON", "serde-json", format!("serde_json@{version}").as_str(), format!("SERDE-json@{version}").as_str()] {
        let told = find(words);
        assert!(told.starts_with(&line) && told.contains("1 found"), "{words}: {told}");
    }
    for (words, near) in [("serde_json@0.0.1", format!("serde_json@{version}")), ("serd_jsn", "serde_json".into())] {
        let told = find(words);
        assert!(told.contains("0 found") && told.contains(&format!("did you mean {near}?")), "{words}: {told}");
    }
    assert!(!find("a-crate-that-nobody-wrote-yet").contains("did you mean"));
    // in a package's bill too
    let package = another(&desk.at, "0.1.1", 1, &key(1), same).display().to_string();
    desk.well(&["plugin", "accept", &package]);
    assert!(find("WIT_bindgen").contains("modbus-map-0.1.1.wardgate: wit-bindgen 0."), "{}", find("WIT_bindgen"));
}

//= PROMISES.md#P175
#[test]
fn a_search_for_a_crate_names_what_it_could_not_look_into_and_does_not_pass_for_whole() {
    let folder = Folder::new("sbom-unread");
    let desk = Desk::new(&folder);
    let find = ["sbom", "find", "serde_json"];
    desk.well(&find);
    fs::write(desk.at.join("packages"), "a file in its place").expect("written");
    let said = desk.badly(&find, 5);
    assert!(
        said.contains("packages: NOT KNOWN: the folder of packages cannot be read") && said.contains("not all could be looked into"),
        "{said}"
    );
    assert!(said.contains("wardgate 0.1.0: serde_json"), "what can be told is told: {said}");
    fs::remove_file(desk.at.join("packages")).expect("there");
    fs::create_dir(desk.at.join("packages")).expect("a folder");
    fs::write(desk.at.join("packages/x-1.0.0.wardgate"), "no package").expect("written");
    assert!(desk.badly(&find, 5).contains("x-1.0.0.wardgate: NOT KNOWN"));
    fs::remove_file(desk.at.join("packages/x-1.0.0.wardgate")).expect("there");
    desk.well(&find);
}

// ---------- what runs

fn stop(stage: &mut Stage) {
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
}

fn all_is_read(stage: &Stage, what: &str) {
    let before = stage.gateway_status().expect("it runs");
    let reads = |s: &wardgate::status::Snapshot, name: &str| s.instances[name].readings > before.instances[name].readings;
    wait_status(stage, what, |s| MONITORS.iter().all(|(m, _)| reads(s, m)));
}

fn configured(stage: &mut Stage, package: &Path) {
    stage.instead[0].1 = package.display().to_string();
}

//= PROMISES.md#P173
#[test]
fn a_damaged_memory_stops_nothing_that_ran_starts_nothing_else_and_is_made_anew_by_a_person() {
    let folder = Folder::new("blind");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (one, two) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.2", 2, &key(1), same));
    let mut stage = ward(&folder, &one, "");
    fs::write(folder.0.join("site.pub"), key(7).public().pem()).expect("written");
    stage.more.clear();
    stage.site = Some(key(7));
    let signed = |plugin: &str| folder.0.join(format!("packages/{plugin}-0.1.0.wardgate")).display().to_string();
    stage.instead[0].0 = signed("modbus-map");
    // the monitors' plugins are of nobody, and judged by nobody
    stage.instead.push((signed("ivy450c"), wardgate_lab::stage::unsigned("ivy450c")));
    stage.instead.push(("developer_mode = false".into(), "developer_mode = true".into()));
    stage.instead.push(("allow_unsigned = false".into(), "allow_unsigned = true".into()));
    put_fleet(&folder.0.join("trust"), &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.trust.state == "fresh");
    let memory = folder.0.join("state/trust.memory");
    let reload = |stage: &Stage, code| {
        stage.write_configuration().expect("signed");
        let done = wardgate(stage, &["reload"]);
        assert_eq!(done.status.code(), Some(code), "{}", said(&done));
        said(&done)
    };

    // while it runs: what runs goes on, and a reload may do everything but bring in what is new
    let good = fs::read(&memory).expect("it remembers");
    fs::write(&memory, "{}\n\n").expect("written");
    let status = wait_status(&stage, "that it is blind", |s| s.trust.state == "blind");
    assert!(status.trust.why.contains("is not as this gateway wrote it") && status.instances[CHILLER].state != "withheld", "{status:#?}");
    let shown = said(&wardgate(&stage, &["status"]));
    assert!(shown.contains("BLIND, nothing new is taken") && shown.contains("wardgate grant recall"), "{shown}");
    assert!(reload(&stage, 0).contains("nothing changed"));
    configured(&mut stage, &two);
    let refused = reload(&stage, 4);
    assert!(
        refused.contains("wardgate's modbus-map release 2 is not known to have run here") && refused.contains("grant recall"),
        "{refused}"
    );
    assert!(said(&wardgate(&stage, &["plugin", "accept", &two.display().to_string()])).contains("is not as this gateway wrote it"));
    // whole again, as somebody brought it back
    fs::write(&memory, good).expect("written");
    wait_status(&stage, "that it is not", |s| s.trust.state == "fresh");

    // at a start: what the audit log proves to have run last starts, and nothing else; also when the memory is gone
    for damage in [Some("{}\n\n"), None] {
        configured(&mut stage, &two);
        stop(&mut stage);
        match damage {
            Some(bytes) => fs::write(&memory, bytes).expect("written"),
            None => fs::remove_file(&memory).expect("there"),
        }
        stage.start_gateway().expect("the others start");
        let status = stage.gateway_status().expect("it runs");
        assert!(status.instances[CHILLER].state == "withheld" && status.trust.state == "blind", "{damage:?} {status:#?}");
        assert!(status.instances[CHILLER].detail.contains("is not known to have run here"), "{status:#?}");
        all_is_read(&stage, "the monitors");
        stop(&mut stage);
        configured(&mut stage, &one);
        stage.start_gateway().expect("all start");
        wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.trust.state == "blind");
        // the site's key is not forgotten: a configuration without its line must be signed by it all the same
        stop(&mut stage);
        let file = folder.0.join("gateway.toml");
        fs::write(&file, stage.configuration().replace("site_key", "# site_key")).expect("written");
        let out = Command::new(binary("wardgate").expect("built"))
            .args(["--log", "text", "run", "--config"])
            .arg(&file)
            .output()
            .expect("it runs");
        assert!(out.status.code() == Some(3) && said(&out).contains("is not as the site signed it"), "{damage:?} {}", said(&out));
        stage.start_gateway().expect("all start");
        assert_eq!(fs::read(&memory).ok().as_deref(), damage.map(str::as_bytes), "nobody makes it anew but a person");
    }

    // a person makes it anew
    let done = said(&wardgate(&stage, &["grant", "recall"]));
    assert!(done.contains("ct-chiller: wardgate/modbus-map release 1") && done.contains("the site's key: ed25519:"), "{done}");
    wait_status(&stage, "that it is not blind", |s| s.trust.state == "fresh");
    configured(&mut stage, &two);
    assert!(reload(&stage, 0).contains("restarted ct-chiller"));
    configured(&mut stage, &one);
    assert!(reload(&stage, 4).contains("release 1 is older than release 2"));
    let told = audit(&stage, &["show"]);
    for words in ["trust-stale", "trust.memory", "break-glass", "made anew of what the audit log proves", "is gone"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(audit(&stage, &["verify"]).contains("is whole"));
}

//= PROMISES.md#P174
#[test]
fn a_pipe_or_an_endless_file_in_the_place_of_the_configuration_delays_nobody() {
    let folder = Folder::new("config-pipe");
    fs::create_dir_all(&folder.0).expect("a folder");
    let one = another(&folder.0, "0.1.1", 1, &key(1), same);
    let mut stage = ward(&folder, &one, "");
    put_fleet(&folder.0.join("trust"), &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0);
    let (file, fleet_file) = (folder.0.join("gateway.toml"), folder.0.join("trust/fleet.json"));
    let (good, metadata) = (fs::read(&file).expect("there"), fs::read(&fleet_file).expect("there"));
    let pipe = |path: &Path| rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    let device = |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link");
    for (what, put) in [("a pipe", &pipe as &dyn Fn(&Path)), ("an endless file", &device)] {
        for path in [&file, &fleet_file] {
            fs::remove_file(path).expect("there");
            put(path);
        }
        wait_status(&stage, what, |s| s.config_changed && s.trust.state == "trust-stale");
        assert!(stage.gateway_status().expect("it runs").trust.why.contains("it is no plain file"), "{what}");
        stage.gateway.as_ref().expect("started").signal(rustix::process::Signal::HUP); // a reload reads it too
        all_is_read(&stage, what);
        for (path, bytes) in [(&file, &good), (&fleet_file, &metadata)] {
            fs::remove_file(path).expect("there");
            fs::write(path, bytes).expect("written");
        }
        wait_status(&stage, "all as it was", |s| !s.config_changed && s.trust.state == "fresh");
    }
    assert!(audit(&stage, &["show"]).contains("it is no plain file"));
}

//= PROMISES.md#P176
#[test]
fn what_was_stopped_at_once_comes_back_at_once_when_it_is_allowed_again_and_nothing_else_changes() {
    let folder = Folder::new("allowed-again");
    fs::create_dir_all(&folder.0).expect("a folder");
    let one = another(&folder.0, "0.1.1", 1, &key(1), same);
    let mut stage = ward(&folder, &one, "on_revoked = \"stop-now\"\n");
    let trust = folder.0.join("trust");
    put_fleet(&trust, &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    // its grants are shown once it is on duty
    let runs = |s: &wardgate::status::Snapshot| s.instances[CHILLER].readings > 0 && !s.instances[CHILLER].grants_hash.is_empty();
    let hash = wait_status(&stage, "the chiller", runs).instances[CHILLER].grants_hash.clone();
    let withheld = |s: &wardgate::status::Snapshot| s.instances[CHILLER].state == "withheld";
    put_fleet(&trust, &fleet(2, FAR, stolen(1), json!([])));
    wait_status(&stage, "the end of the chiller", withheld);
    // somebody writes into gateway.toml meanwhile: that is for a reload, and not for this
    let file = folder.0.join("gateway.toml");
    let good = fs::read_to_string(&file).expect("there");
    fs::write(&file, good.replace("addresses = [\"0..11\"]", "addresses = [\"0..99\"]")).expect("written");
    wait_status(&stage, "the change", |s| s.config_changed);
    put_fleet(&trust, &fleet(3, FAR, json!([]), json!([])));
    let running = |s: &wardgate::status::Snapshot| s.instances[CHILLER].state != "withheld" && s.instances[CHILLER].revoked.is_empty();
    let status = wait_status(&stage, "the chiller again", |s| running(s) && runs(s));
    assert!(status.config_changed && status.instances[CHILLER].grants_hash == hash, "{hash} {status:#?}");
    let before = status.instances[CHILLER].readings;
    let status = wait_status(&stage, "its readings", |s| s.instances[CHILLER].readings > before);
    assert!(MONITORS.iter().all(|(m, _)| status.instances[*m].opens == 1), "{status:#?}");
    fs::write(&file, good).expect("written");

    // one that was left out at a start comes back too; by another rule it waits for a person
    put_fleet(&trust, &fleet(4, FAR, json!([]), json!([{"vendor": "wardgate", "name": "modbus-map", "release": 1, "reason": "it leaks"}])));
    wait_status(&stage, "the end of the chiller", withheld);
    stop(&mut stage);
    stage.start_gateway().expect("the others start");
    wait_status(&stage, "it is left out", withheld);
    put_fleet(&trust, &fleet(5, FAR, json!([]), json!([])));
    wait_status(&stage, "the chiller again", running);
    let told = audit(&stage, &["show"]);
    assert!(
        told.matches("it starts again").count() == 2 && told.matches("what: fleet").count() == 4,
        "each revocation and its end: {told}"
    );
}

// ---------- what is read

/// Every byte changed in some ways, every end, and some bytes put in: whatever is done to what this gateway reads of trust.
fn mutated(good: &[u8], mut read: impl FnMut(&[u8])) {
    for at in 0..good.len() {
        for change in [1_u8, 0x20, 0x80, good[at]] {
            let mut bad = good.to_vec();
            bad[at] ^= change;
            read(&bad);
        }
        read(&good[..at]);
        for put in [&b"\""[..], b"{", b"9999999999999999999999", b"\n", &good[at / 2..at]] {
            read(&[&good[..at], put, &good[at..]].concat());
        }
    }
}

//= PROMISES.md#P179
#[test]
fn whatever_is_done_to_what_is_read_of_trust_is_refused_or_says_the_same() {
    use wardgate::audit::{Audit, Entry, Head, Moment, What, verify_text};
    use wardgate::plugin::{DeviceKey, Exception, Fleet, Memory, allows, sign_config, sign_override, signs};

    let folder = Folder::new("mutated");
    fs::create_dir_all(&folder.0).expect("a folder");
    let device = DeviceKey::open(&folder.0, [1; 32]).expect("a key");
    let public = device.signer().public();
    // the fleet's metadata: not signed here, so it may say something else; it is read, or refused
    let text = fleet(3, FAR, stolen(1), json!([{"vendor": "acme", "name": "pump", "release": 7, "reason": "it leaks"}])).to_string();
    let mut other = 0;
    mutated(text.as_bytes(), |bytes| {
        if let Ok(read) = Fleet::parse("fleet.json".into(), bytes) {
            other += 1;
            assert_eq!(Fleet::parse("fleet.json".into(), &read.write()).as_ref(), Ok(&read));
            read.freshness(Some(i64::MAX), i64::MIN);
            read.revoked("acme", &key(1).public(), "pump", 7);
        }
    });
    assert!(other > 100, "{other} were read");
    // what this device or the site wrote under a key: nothing else passes for it
    let audit = Audit::new(&folder.0, device.signer());
    for (what, instance) in [(What::Start, "a"), (What::Bind, "b"), (What::GrantApprove, "c"), (What::Stop, "d")] {
        audit.append(Entry::new(what, "uid 0", [("instance", &instance)]), Moment::default()).expect("written");
    }
    let log = fs::read(folder.0.join("audit.log")).expect("a log");
    let good = verify_text(Path::new("audit.log"), &log, &public).expect("whole").records;
    mutated(&log, |bytes| {
        if let Ok(whole) = verify_text(Path::new("audit.log"), bytes, &public) {
            assert!(whole.records.iter().filter(|r| r.n <= whole.covered).all(|r| good.contains(r)));
        }
    });
    let bytes = fs::read(folder.0.join("audit.head")).expect("a head");
    let head = Head::read(&bytes, &public);
    mutated(&bytes, |bytes| assert!(Head::read(bytes, &public).is_none_or(|read| Some(read) == head)));
    let memory = Memory::of(&folder.0, device.clone());
    memory.change(|m| m.saw("acme", "pump", 7, None)).expect("kept");
    let bytes = fs::read(memory.path()).expect("there");
    let kept = memory.parse(&bytes).expect("ours");
    mutated(&bytes, |bytes| assert!(memory.parse(bytes).is_none_or(|read| read == kept)));
    let body = bytes.split(|b| *b == b'\n').next().expect("a line");
    mutated(body, |body| drop(memory.parse(&memory.sealed(body)))); // as a gateway of another version might have written it
    let file = folder.0.join("gateway.toml");
    fs::write(&file, "x = 1\n").expect("written");
    let signature = fs::read(sign_config(&file, &key(7)).expect("signed")).expect("there");
    let site = key(7).public();
    mutated(&signature, |bytes| assert!(!signs(bytes, b"x = 2\n", &site)));
    mutated(b"x = 1\n", |text| assert!(!signs(&signature, text, &site) || text == b"x = 1\n"));
    let older = |release| Exception::older("acme", "pump", release);
    let allowed = fs::read(sign_override(&folder.0, &key(7), &older(6), "ward-3").expect("a name").put().expect("written")).expect("there");
    mutated(&allowed, |bytes| {
        assert!(!allows(bytes, &site, &older(5), "ward-3") && !allows(bytes, &key(8).public(), &older(6), "ward-3"));
        assert!(!allows(bytes, &site, &older(6), "ward-4"));
    });
}
