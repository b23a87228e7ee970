//! A running gateway takes over a changed configuration: what did not change loses nothing, what changed goes on from what it kept, and what is
//! wrong changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant::{self, Gap};
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::root;
use wardgate_lab::stage::{MONITORS, Stage};

use crate::faults::wait_status;
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, UNRULY, Unruly, assert_counts_on};

/// Writes this as gateway.toml and reloads; what it said, after a check of how it ended.
pub fn reload(stage: &Stage, text: &str, code: i32) -> String {
    fs::write(stage.folder.join("gateway.toml"), text).expect("written");
    let output = wardgate(stage, &["reload"]);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    said(&output)
}

/// A package under another version; its code is the same.
pub fn newer(stage: &Stage, package: &Path, version: &str) -> PathBuf {
    let name = package.file_name().expect("a folder").to_string_lossy().replace("0.1.0", version);
    let copy = stage.folder.join(name);
    fs::create_dir_all(&copy).expect("a folder");
    fs::copy(package.join("plugin.wasm"), copy.join("plugin.wasm")).expect("built");
    let manifest = fs::read_to_string(package.join("manifest.toml")).expect("built");
    let (old, new) = ("version = \"0.1.0\"", format!("version = \"{version}\""));
    assert!(manifest.contains(old));
    fs::write(copy.join("manifest.toml"), manifest.replacen(old, &new, 1)).expect("written");
    copy
}

pub fn at(path: &Path) -> String {
    path.display().to_string()
}

//= PROMISES.md#P62
#[test]
fn adding_swapping_rebinding_and_removing_one_leaves_no_gap_on_the_rest() {
    let folder = Folder::new("reload");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_millis(1500));
    let without = stage.configuration();
    let life = stage.gateway_status().expect("it runs").life;

    // on the bus of the chiller, and on a line of its own
    let unruly = Unruly::on(&mut stage);
    let with = stage.configuration();
    let done = reload(&stage, &with, 0);
    assert!(done.contains("added unruly; 3 went on undisturbed"), "{done}");
    wait_status(&stage, "the new instance on both links", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up && i.readings > 0));
    (0..5).for_each(|_| unruly.order("count"));
    sleep(Duration::from_millis(300));

    let hostile = crate::sandbox::hostile_folder();
    let swapped = with.replace(&at(hostile), &at(&newer(&stage, hostile, "0.2.0")));
    let done = reload(&stage, &swapped, 0);
    assert!(done.contains("restarted unruly; 3 went on undisturbed"), "{done}");
    wait_status(&stage, "the new version", |s| s.instances[UNRULY].plugin == "hostile-0.2.0" && s.instances[UNRULY].link_up);
    (0..5).for_each(|_| unruly.order("count"));
    sleep(Duration::from_millis(300));

    let moved = swapped.replace("bed = \"bed-1\"", "bed = \"bed-7\"");
    let done = reload(&stage, &moved, 0);
    assert!(done.contains("at another bed bed-1-monitor; 3 went on undisturbed"), "{done}");
    assert!(reload(&stage, &moved, 0).contains("nothing changed (4 instances)"));
    sleep(Duration::from_millis(1200));

    let bus = without.replace("bed = \"bed-1\"", "bed = \"bed-7\"");
    let done = reload(&stage, &bus, 0);
    assert!(done.contains("removed unruly; 3 went on undisturbed"), "{done}");
    let status = stage.gateway_status().expect("it runs");
    assert!(!status.instances.contains_key(UNRULY) && status.links.len() == 3, "what is gone is not shown: {status:#?}");
    sleep(Duration::from_millis(500));
    reload(&stage, &moved, 0);
    wait_status(&stage, "its way back", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up && i.readings > 0));
    (0..5).for_each(|_| unruly.order("count"));
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    assert_eq!(stage.gateway_status().expect("it runs").life, life, "the same gateway all the time");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().all(|g| g.instance == UNRULY), "{gaps:#?}");
    let counts = Unruly::counts(&stage);
    assert!(counts.len() >= 15, "{counts:?}");
    assert_counts_on(&counts); // what it kept went from version to version, and lay in the store while it was away
    let track = &accountant::read_received(&stage.output(), UNRULY)["count"];
    let exact = |g: &&Gap| [g.from_monotonic_ns, g.to_monotonic_ns].iter().all(|ns| track.iter().any(|(at, _)| at == ns));
    let found = |reason: &str| gaps.iter().filter(|g| g.channel == "count" && g.reason == reason).filter(exact).count();
    assert_eq!((found("plugin-swap"), found("not-granted")), (1, 1), "from the last value to the next: {gaps:#?}");
    let records = fs::read_to_string(stage.output().join("records.jsonl")).expect("records");
    let bound = |bed: &str| records.lines().any(|l| l.contains("\"binding\"") && l.contains("bed-1-monitor") && l.contains(bed));
    assert!(bound("\"bed-1\"") && bound("\"bed-7\""), "{records}");
}

//= PROMISES.md#P63
#[test]
fn devices_that_are_swapped_while_they_speak_keep_exact_books() {
    let folder = Folder::new("swap");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&[]).expect("everything starts");
    let before = stage.configuration();
    let package = root().join("plugins/target/packages/ivy450c-0.1.0");
    let newer = newer(&stage, &package, "0.1.1");
    for round in 0..3_u64 {
        sleep(Duration::from_millis(1300 + 230 * round));
        let text = if round % 2 == 0 { before.replace(&at(&package), &at(&newer)) } else { before.clone() };
        // a bus that changes takes its members with it
        let text = text.replace("[bus.plant]\n", &format!("[bus.plant]\ntimeout_ms = {}\n", 900 + round));
        let done = reload(&stage, &text, 0);
        assert!(done.contains("restarted bed-1-monitor, bed-2-monitor, ct-chiller"), "{done}");
    }
    sleep(Duration::from_millis(2500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
        println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
    for (device, _) in MONITORS {
        let swaps = gaps.iter().filter(|g| g.instance == device && g.channel == "ecg" && g.reason == "plugin-swap").count();
        assert_eq!(swaps, 3, "{gaps:#?}");
    }
    assert!(gaps.iter().all(|g| g.reason == "plugin-swap" || g.reason == "line-fault"), "{gaps:#?}");
}

//= PROMISES.md#P64
#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let folder = Folder::new("wrong-reload");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_millis(1500));
    let good = stage.configuration();
    let truncated = stage.folder.join("ivy450c-0.1.0");
    fs::create_dir_all(&truncated).expect("a folder");
    let package = root().join("plugins/target/packages/ivy450c-0.1.0");
    fs::copy(package.join("manifest.toml"), truncated.join("manifest.toml")).expect("built");
    let code = fs::read(package.join("plugin.wasm")).expect("built");
    fs::write(truncated.join("plugin.wasm"), &code[..code.len() / 2]).expect("written");
    // each takes bed-2-monitor away too: nothing of a wrong configuration may take effect
    let without = good[..good.find("\n[instance.bed-2-monitor]").expect("it is there")].to_owned();
    let overload = format!("transactions = [{}]\n", "{ function = 3, count = 12, period_ms = 100 }, ".repeat(12)); // the chiller's grant stands last
    for (text, code, says) in [
        (without.replace("baud = 9600", "bawd = 9600"), 3, "bawd"),
        (without.replace("9600", "9"), 3, "baud"),
        (without.replace(&at(&package), &at(&truncated)), 4, "ivy450c"),
        (without.replace(&at(&package), "/nowhere/ivy450c-0.1.0"), 4, "/nowhere"),
        (without.replace("resend_s = 3", "resend_s = 4"), 3, "[uplink]"),
        (without.replace("demo-ward", "other-ward"), 3, "[gateway]"),
        (without.replace("[plugins]", "[store]\ncommit_ms = 500\n[plugins]"), 3, "[store]"),
        (good.clone() + &overload, 3, "[bus.plant] cannot serve"),
        ("[gateway\n".to_owned(), 3, "line 1"),
    ] {
        // asked by the state folder, so that it is the gateway that reads the file
        fs::write(stage.folder.join("gateway.toml"), &text).expect("written");
        let state = at(&stage.folder.join("state"));
        let output = std::process::Command::new(wardgate_lab::process::binary("wardgate").expect("built"));
        let output = { output }.args(["reload", "--state", &state]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{says}: {}", said(&output));
        assert!(said(&output).contains(says) && said(&output).contains("what to do:"), "{says}: {}", said(&output));
    }
    fs::write(stage.folder.join("gateway.toml"), &good).expect("written");
    stage.gateway.as_ref().expect("running").signal(rustix::process::Signal::HUP);
    let log = || fs::read_to_string(stage.folder.join("log/gateway.log")).unwrap_or_default();
    wait_status(&stage, "a reload by signal", |_| log().contains("nothing changed (3 instances)"));
    let status = stage.gateway_status().expect("it runs");
    assert!(status.instances.len() == 3 && status.instances.values().all(|i| i.opens == 1), "{status:#?}");
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
}

#[test]
fn a_gateway_without_instances_runs_and_takes_the_first_one() {
    let folder = Folder::new("empty");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    stage.start_receiver().expect("the receiver");
    let full = stage.configuration();
    let empty = &full[..full.find("\n[instance.").expect("it is there")];
    fs::write(stage.folder.join("gateway.toml"), empty).expect("written");
    let mut command = std::process::Command::new(wardgate_lab::process::binary("wardgate").expect("built"));
    let mut process = stage.spawn_gateway(&mut command).expect("it starts");
    process.wait_for(60, |l| l.starts_with("ready").then_some(())).expect("ready");
    stage.gateway = Some(process);
    let done = reload(&stage, &full, 0);
    assert!(done.contains("added bed-1-monitor, bed-2-monitor, ct-chiller; nothing else runs"), "{done}");
    let up = |s: &wardgate::status::Snapshot| s.links.len() == 3 && s.links.values().all(|l| l.up);
    wait_status(&stage, "all lines", up);
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    sleep(Duration::from_millis(2500));
    let done = reload(&stage, empty, 0);
    assert!(done.contains("removed"), "{done}");
    sleep(Duration::from_millis(1500));
    reload(&stage, &full, 0);
    sleep(Duration::from_millis(2500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
    }
    assert!(stage.gateway.take().expect("running").stop().expect("SIGTERM ends it").success());
}
