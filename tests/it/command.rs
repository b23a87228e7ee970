//! Commands: answered once, also across a crash of the plugin and of the gateway; and errors that name what exists.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::demo::drain_stage;
use wardgate_lab::process::binary;
use wardgate_lab::stage::Stage;

use crate::faults::wait_status;
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, UNRULY, Unruly, assert_counts_on};

/// Gives it and does not wait.
fn give(stage: &Stage, name: &str) -> Child {
    let mut command = Command::new(binary("wardgate").expect("built"));
    command.args(["command", UNRULY, name, "--wait-s", "100", "--config"]).arg(stage.folder.join("gateway.toml"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn answer(asker: Child) -> String {
    let output = asker.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_readings(stage: &Stage, n: u64) {
    wait_status(stage, "the deed", |s| s.instances[UNRULY].readings >= n);
}

//= PROMISES.md#P65
#[test]
fn a_command_is_done_once_and_answered_across_a_crash_of_the_plugin_and_of_the_gateway() {
    let folder = Folder::new("command");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    let open = |stage: &Stage| wait_status(stage, "an open line", |s| s.links.values().all(|l| l.up) && s.instances[UNRULY].readings > 0);
    open(&stage);

    let output = wardgate(&stage, &["command", UNRULY, "add"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "1");

    // the plugin fails while it has the command in hand
    let before = stage.gateway_status().expect("it runs").instances[UNRULY].readings;
    let asker = give(&stage, "later");
    wait_readings(&stage, before + 1);
    unruly.order("fatal");
    assert_eq!(answer(asker), "2");

    // the gateway is killed while it has the command in hand; what was done is on flash by then
    let status = wait_status(&stage, "the next run", |s| s.instances[UNRULY].state == "healthy");
    let (before, commits) = (status.instances[UNRULY].readings, status.store.commits);
    let asker = give(&stage, "later");
    wait_readings(&stage, before + 1);
    wait_status(&stage, "the commit", |s| s.store.commits >= commits + 3);
    stage.gateway.take().expect("running").kill();
    stage.start_gateway().expect("it comes back");
    assert_eq!(answer(asker), "3");

    open(&stage);
    unruly.order("count");
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let counts = Unruly::counts(&stage);
    assert_eq!(counts.len(), 4, "each was done once: {counts:?}");
    assert_counts_on(&counts);
}

#[test]
fn what_cannot_be_commanded_is_refused_and_what_can_is_named() {
    let folder = Folder::new("refused");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let _unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    fs::write(folder.0.join("long"), vec![b'x'; 40 << 10]).expect("written");
    let long = folder.0.join("long").display().to_string();
    for (words, code, says) in [
        (&["command", "bed-9", "add"][..], 3, "there are bed-1-monitor, bed-2-monitor, ct-chiller, unruly"),
        (&["command", UNRULY, "ad"][..], 3, "add: Counts on by one"),
        (&["command", "bed-1-monitor", "add"][..], 3, "it takes no commands"),
        (&["command", UNRULY, "refuse"][..], 4, "the device said no"),
        (&["command", UNRULY, "never", "--wait-s", "1"][..], 4, "no answer within 1.0 s"),
        (&["command", UNRULY, "fatal", "--wait-s", "60"][..], 4, "failed 3 times"),
        (&["command", UNRULY, "add", "--argument-file", &long][..], 3, "at most 32768"),
        (&["instance", "restart", "bed-9"][..], 3, "there are bed-1-monitor"),
    ] {
        let output = wardgate(&stage, words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(says) && said(&output).contains("what to do:"), "{words:?}: {}", said(&output));
    }
}
