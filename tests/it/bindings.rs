//! Who the data is about: a device swapped for another of its kind while the ward runs sends not one value to the old bed, and a person decides.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::accountant::lines_below;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::pty::Pty;
use wardgate_lab::stage::Stage;

use crate::faults::wait_status;
use crate::reload::reload;
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, UNRULY, Unruly, wait_to_see};

/// Lines of the instance's counts at the receiver: the value, and whether it came late.
fn received(stage: &Stage) -> Vec<(i64, bool)> {
    let counts = lines_below(&stage.output().join(UNRULY)).into_iter().filter_map(|json| {
        let n = json["mantissa"].as_i64().filter(|n| (1..100).contains(n))?;
        Some((n, json["late"].as_bool().unwrap_or(false)))
    });
    let mut all: Vec<_> = counts.collect();
    all.sort_unstable();
    all
}

pub fn records(stage: &Stage) -> Vec<Json> {
    let text = fs::read_to_string(stage.output().join("records.jsonl")).unwrap_or_default();
    text.lines().map(|l| serde_json::from_str(l).expect("a line of JSON")).collect()
}

fn counts(line: &Unruly, n: usize) {
    (0..n).for_each(|_| line.order("count"));
    sleep(Duration::from_millis(300));
}

//= PROMISES.md#P88
#[test]
fn a_monitor_swapped_for_another_sends_not_one_value_to_the_old_bed() {
    let folder = Folder::new("bindings");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let mut line = Unruly::on(&mut stage);
    let package = format!("[instance.{UNRULY}]\n");
    stage.more = stage.more.replace(&package, &format!("{package}bed = \"bed-9\"\ndevice_serial = \"A1\"\n"));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    counts(&line, 2); // 1, 2: nobody knows yet, and then it is the right one
    line.order("identify A1");
    counts(&line, 2); // 3, 4
    wait_status(&stage, "its binding", |s| s.instances[UNRULY].readings >= 4 && !s.instances[UNRULY].unbound);

    // the swap: another of the same model on the same line
    drop(line);
    wait_status(&stage, "the pulled plug", |s| !s.instances[UNRULY].link_up);
    line = Unruly { line: Pty::plug_in(&stage.folder.join("dev").join(UNRULY)).expect("a pty") };
    wait_status(&stage, "the other device", |s| s.instances[UNRULY].link_up);
    counts(&line, 2); // 5, 6
    line.order("identify B2");
    counts(&line, 2); // 7, 8
    line.order("alarm");
    wait_status(&stage, "parked values", |s| s.instances[UNRULY].parked >= 4 && s.instances[UNRULY].alerts == 1);
    let list = said(&wardgate(&stage, &["bind", "list"]));
    assert!(list.contains("PARKED") && list.contains(&format!("wardgate bind confirm {UNRULY}")), "{list}");
    let status = said(&wardgate(&stage, &["status"]));
    assert!(status.contains("UNBOUND") && status.contains("says it is B2, and A1 is bound"), "{status}");
    sleep(Duration::from_millis(1500));
    assert_eq!(received(&stage), [(1, false), (2, false), (3, false), (4, false)], "not one value of the other device");

    // what is parked is on flash
    stage.gateway.as_mut().expect("it runs").kill();
    stage.start_gateway().expect("it starts again");
    wait_status(&stage, "what was parked before", |s| s.instances.get(UNRULY).is_some_and(|i| i.parked >= 4 && i.link_up));
    assert_eq!(wardgate(&stage, &["bind", "confirm", UNRULY]).status.code(), Some(3), "since the start it has not said who it is");
    line.order("identify B2");
    wait_status(&stage, "its claim", |s| s.instances[UNRULY].device_serial.as_deref() == Some("B2"));
    let done = said(&wardgate(&stage, &["bind", "confirm", UNRULY]));
    assert!(done.contains("the device B2 stands at bed bed-9") && done.contains("marked late"), "{done}");
    let log = fs::read_to_string(stage.folder.join("log/gateway.log")).expect("its log");
    let user = format!("user={}", rustix::process::getuid().as_raw());
    assert!(
        log.lines().any(|l| l.contains("a person says") && l.contains("B2 stands at bed bed-9") && l.contains(&user)),
        "who said so is in the log"
    );
    wait_status(&stage, "the confirmation", |s| !s.instances[UNRULY].unbound && s.instances[UNRULY].parked == 0);
    counts(&line, 1); // 9
    let again = wardgate(&stage, &["bind", "confirm", UNRULY]);
    assert!(again.status.code() == Some(3) && said(&again).contains("nothing to confirm"), "{}", said(&again));

    // what a person said outlives a restart, until that line of gateway.toml changes
    stage.gateway.as_mut().expect("it runs").stop().expect("it ends");
    stage.start_gateway().expect("it starts again");
    wait_status(&stage, "the line again", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    let bound = |s: &wardgate::status::Snapshot| s.instances[UNRULY].bound_serial.clone();
    assert_eq!(stage.gateway_status().as_ref().and_then(bound).as_deref(), Some("B2"));
    stage.more = stage.more.replace("\"A1\"", "\"C3\"");
    let text = stage.configuration();
    let done = reload(&stage, &text, 0);
    assert!(done.contains(&format!("at another bed {UNRULY}")), "{done}");
    assert_eq!(stage.gateway_status().as_ref().and_then(bound).as_deref(), Some("C3"));
    let done = said(&wardgate(&stage, &["bind", "set", UNRULY, "--any-device", "--bed", "bed-10"]));
    assert!(done.contains("any device stands at bed bed-10"), "{done}");

    // a gap ends with the value after it
    wait_status(&stage, "the others after the restart", |s| s.instances.iter().all(|(name, i)| name == UNRULY || i.readings > 0));
    stage.switch_off().expect("the ward is switched off");
    drain_stage(&mut stage).expect("it drains");
    let all = received(&stage);
    let late: Vec<i64> = all.iter().filter(|(_, late)| *late).map(|(n, _)| *n).collect();
    assert_eq!(
        all.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
        (1..=10).collect::<Vec<_>>(),
        "each of them once, and the last word of its `close`: {all:?}"
    );
    assert!(late.iter().all(|n| (5..=8).contains(n)) && late.len() == 4, "{all:?}");
    let told: Vec<(Option<String>, Option<String>)> = (records(&stage).iter())
        .filter(|r| r["record"] == "binding" && r["instance"] == UNRULY)
        .map(|r| (r["serial"].as_str().map(str::to_owned), r["bed"].as_str().map(str::to_owned)))
        .collect();
    let one = |serial: &str, bed: Option<&str>| (Some(serial.to_owned()), bed.map(str::to_owned));
    for expected in [one("A1", Some("bed-9")), one("B2", None), one("B2", Some("bed-9")), (None, Some("bed-10".into()))] {
        assert!(told.contains(&expected), "{expected:?} is not among {told:?}");
    }
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.unexplained == 0, "{device}: {account:?}");
    }
}

/// Behind an adapter that holds the link up nothing tells of a pulled plug, but nobody speaks while it is pulled.
//= PROMISES.md#P212
#[test]
fn a_monitor_swapped_without_a_word_of_its_link_is_parked_after_the_silence_until_it_says_who_it_is() {
    let folder = Folder::new("bindings-silent");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    let package = format!("[instance.{UNRULY}]\n");
    stage.more = stage.more.replace(&package, &format!("{package}bed = \"bed-9\"\ndevice_serial = \"A1\"\nsilent_after_s = 5\n"));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    line.order("identify A1");
    wait_status(&stage, "its claim", |s| !s.instances[UNRULY].unbound);
    counts(&line, 1); // 1
    wait_to_see("the first", || received(&stage), |all| *all == [(1, false)]);
    // on a busy machine there was a silence before its first word, too, and what its link said then is nobody's
    let before = stage.gateway_status().expect("it runs").instances[UNRULY].parked;
    let silence = || {
        wait_status(&stage, "a silence", |s| s.instances[UNRULY].state == "silent");
    };

    silence();
    counts(&line, 2); // 2, 3: whoever that is; before them its plugin is told of its link, which it answers with a value each time
    let status = wait_status(&stage, "parked values", |s| s.instances[UNRULY].parked == before + 4);
    let i = &status.instances[UNRULY];
    assert!(i.unbound && i.link_up && i.device_serial.is_none(), "{i:#?}");
    line.order("identify B2");
    wait_status(&stage, "its claim", |s| s.instances[UNRULY].device_serial.as_deref() == Some("B2"));
    sleep(Duration::from_millis(1500));
    assert_eq!(received(&stage), [(1, false)], "not one value of the other device");

    // the right one comes back, by a line that says nothing either
    silence();
    line.order("identify A1");
    wait_status(&stage, "its claim", |s| !s.instances[UNRULY].unbound);
    counts(&line, 1); // 4
    wait_to_see("its own value alone", || received(&stage), |all| *all == [(1, false), (4, false)]);
    assert!(stage.gateway_status().expect("it runs").instances[UNRULY].parked >= before + 4, "what the other said waits");
}

/// A plugin that identifies whenever its link comes up: after a silence too, so that its device's values wait for nobody.
//= PROMISES.md#P212
#[test]
fn after_a_silence_a_plugin_hears_of_its_link_anew_and_says_again_who_its_device_is() {
    let folder = Folder::new("bindings-relinked");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    let package = format!("[instance.{UNRULY}]\n");
    stage.more = stage.more.replace(&package, &format!("{package}bed = \"bed-9\"\ndevice_serial = \"A1\"\nsilent_after_s = 5\n"));
    stage.more += &format!("[instance.{UNRULY}.settings]\nat-link = \"identify A1\"\n");
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "its claim", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up && !i.unbound));
    counts(&line, 1); // 1
    wait_to_see("the first", || received(&stage), |all| *all == [(1, false)]);
    for n in [2, 3] {
        wait_status(&stage, "a silence", |s| s.instances[UNRULY].state == "silent");
        counts(&line, 1); // what breaks the silence is its own too
        let seen = || (received(&stage), stage.gateway_status().expect("it runs").instances[UNRULY].clone());
        wait_to_see("what broke the silence", seen, |(all, _)| all.len() == n);
    }
    assert!(received(&stage).iter().all(|(_, late)| !late), "{:?}", received(&stage));
}

/// Beds and serials are tokens that people write on labels, in gateway.toml and by hand alike.
//= PROMISES.md#P213
#[test]
fn a_bed_or_a_serial_that_is_no_token_is_refused_wherever_it_is_written() {
    let folder = Folder::new("bindings-tokens");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let _line = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    let before = stage.gateway_status().expect("it runs").instances[UNRULY].clone();
    let long = "4".repeat(5000);
    for (option, text, says) in [
        ("--bed", "", "the bed is empty"),
        ("--serial", "", "the serial is empty"),
        ("--serial", &long, "the serial has 5000 bytes, 64 are the most"),
        ("--serial", "A1\u{1b}[2J", "the serial holds the character U+001B"),
        ("--bed", " bed-1", "begins or ends with a space"),
    ] {
        let done = wardgate(&stage, &["bind", "set", UNRULY, option, text]);
        assert!(done.status.code() == Some(3) && said(&done).contains(says), "{says} is not in {}", said(&done));
    }
    assert_eq!(wardgate(&stage, &["bind", "set", UNRULY]).status.code(), Some(2), "it says nothing");
    let after = stage.gateway_status().expect("it runs").instances[UNRULY].clone();
    assert_eq!((before.bed, before.bound_serial), (after.bed, after.bound_serial));
    let text = stage.configuration();
    for (key, value, says) in [("bed", "", "is empty"), ("device_serial", "", "is empty"), ("device_serial", &long, "has 5000 bytes")] {
        let package = format!("[instance.{UNRULY}]\n");
        fs::write(stage.folder.join("gateway.toml"), text.replace(&package, &format!("{package}{key} = \"{value}\"\n"))).expect("written");
        let check = wardgate(&stage, &["check"]);
        let path = format!("instance.{UNRULY}.{key}");
        assert!(check.status.code() == Some(3) && said(&check).contains(says) && said(&check).contains(&path), "{}", said(&check));
    }
}

/// What a device sent, byte for byte, leaves only where the site grants it, and only while it is known whose device it is.
//= PROMISES.md#P128
#[test]
fn raw_bytes_leave_only_where_they_are_granted_and_of_a_device_that_is_known() {
    let folder = Folder::new("raw");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    let package = format!("[instance.{UNRULY}]\n");
    stage.more = stage.more.replace(&package, &format!("{package}device_serial = \"A1\"\n"));
    stage.more += &format!("[instance.{UNRULY}.grants]\nkeep_raw = true\n");
    stage.start_all(&[]).expect("everything starts");
    let check = said(&wardgate(&stage, &["check"]));
    assert!(check.contains("leaves byte for byte, WHOEVER IT IS ABOUT"), "{check}");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    line.order("count");
    sleep(Duration::from_millis(300)); // one chunk belongs to one call, and `identify` to the next
    line.order("identify A1");
    wait_status(&stage, "its binding", |s| s.instances.get(UNRULY).is_some_and(|i| !i.unbound));
    line.order("alarm");
    line.order("keep then panic"); // most wanted of all
    wait_status(&stage, "the next run", |s| s.instances[UNRULY].opens == 2);
    stage.switch_off().expect("the ward is switched off");
    drain_stage(&mut stage).expect("it drains");
    let mut lines = lines_below(&stage.output().join(UNRULY).join("raw"));
    lines.sort_by_key(|l| l["monotonic_ns"].as_u64());
    let hex: String = lines.iter().map(|l| l["raw"].as_str().expect("hex")).collect();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|n| u8::from_str_radix(&hex[n..n + 2], 16).expect("hex")).collect();
    assert_eq!(String::from_utf8(bytes).expect("text"), "alarm\nkeep then panic\n");
    assert!(!stage.output().join("bed-1-monitor/raw").exists(), "nobody granted that");
    let status = stage.gateway_status().expect("it runs").instances;
    assert!(status["bed-1-monitor"].raw_withheld > 0);
    assert_eq!(status[UNRULY].raw_withheld as usize, "count\nidentify A1\n".len());
}
