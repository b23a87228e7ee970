//! A plugin that fails again and again is quarantined, harms no other, says why, and comes out by a person's hand; a device that says nothing
//! is named.

use std::fs;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant::{self, Content};
use wardgate_lab::demo::{books, boottime_ns, drain_stage};
use wardgate_lab::ports;
use wardgate_lab::process::binary;
use wardgate_lab::stage::Stage;

use crate::faults::wait_status;
use crate::reload::{at, newer};
use crate::sandbox::hostile_folder;
use crate::seeing::metrics;
use crate::ward::{Folder, UNRULY, Unruly, assert_counts_on, wait_to_see};

/// A verb of the gateway that asks the running one.
pub fn wardgate(stage: &Stage, words: &[&str]) -> Output {
    let mut command = Command::new(binary("wardgate").expect("built"));
    command.args(words).arg("--config").arg(stage.folder.join("gateway.toml")).output().expect("it runs")
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

//= PROMISES.md#P60
#[test]
fn a_plugin_that_fails_again_and_again_is_quarantined_harms_no_other_and_comes_out_by_hand() {
    let folder = Folder::new("quarantine");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_millis(1500));
    (0..5).for_each(|_| unruly.order("count"));
    for fault in 1..=5 {
        wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy");
        unruly.order("keep then panic");
        wait_status(&stage, "its fault", |s| s.instances[UNRULY].faults == fault);
    }
    let status = wait_status(&stage, "the quarantine", |s| s.instances[UNRULY].state == "quarantined");
    let detail = &status.instances[UNRULY].detail;
    // first what to do: what is shown of a long reason ends somewhere
    assert!(detail.starts_with("5 faults in 60 s; `wardgate instance restart unruly` when mended; last: panicked"), "{detail}");
    assert!(detail.contains(", in hostile::"), "its own functions come first: {detail}");
    let refused = wardgate(&stage, &["command", UNRULY, "add"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("quarantined"), "{}", said(&refused));
    sleep(Duration::from_millis(1500));
    assert_eq!(stage.gateway_status().expect("it runs").instances[UNRULY].opens, 5, "nobody opens it");

    let out = wardgate(&stage, &["instance", "restart", UNRULY]);
    assert!(out.status.success(), "{}", said(&out));
    (0..5).for_each(|_| unruly.order("count"));
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let gaps = crate::ward::lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
    assert!(gaps.iter().all(|g| g.instance == UNRULY), "{gaps:#?}");
    let quarantine = |g: &&accountant::Gap| g.channel == "count" && g.reason == "plugin-fault" && g.seconds() > 1.5;
    assert!(gaps.iter().any(|g| quarantine(&g)), "{gaps:#?}");
    let counts = Unruly::counts(&stage);
    assert_eq!(counts.len(), 10, "{counts:?}");
    assert_counts_on(&counts);
}

/// Bad lines by the hundred wait for an instance that is quarantined or rests. One restart is enough, and what is told was not said long ago.
//= PROMISES.md#P208
#[test]
fn one_restart_by_hand_is_enough_however_much_bad_came_before_and_a_value_has_the_time_at_which_it_came() {
    let folder = Folder::new("bad-lines");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy");
    unruly.order("count");
    let now = || stage.gateway_status().expect("it runs").instances[UNRULY].clone();

    // what comes while it rests is heard by the next run, as of when it came
    let said_ns = loop {
        wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy");
        unruly.order("fatal");
        wait_status(&stage, "its rest", |s| s.instances[UNRULY].state == "restarting");
        let before = boottime_ns();
        unruly.order("count");
        if now().state == "restarting" {
            break before;
        }
        assert!(now().state != "quarantined", "this machine is too slow to say a word in a rest");
    };
    let opened = wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy").instances[UNRULY].opened_ns;
    // more bad lines at once than it may fault: the first ends the run, the others go with it
    unruly.line.send(&b"fatal\n".repeat(200));
    wait_status(&stage, "its rest", |s| s.instances[UNRULY].state == "restarting");
    let well = wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy");
    assert!(well.instances[UNRULY].faults < 5, "{:#?}", well.instances[UNRULY]);

    wait_to_see(
        "the quarantine",
        || {
            unruly.order("fatal");
            now().state
        },
        |state| state == "quarantined",
    );
    unruly.line.send(&b"fatal\n".repeat(200));
    (0..5).for_each(|_| unruly.order("count"));
    let out = wardgate(&stage, &["instance", "restart", UNRULY]);
    assert!(out.status.success(), "{}", said(&out));
    (0..5).for_each(|_| unruly.order("count"));
    assert_eq!(now().state, "healthy");
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let tracks = accountant::read_received(&stage.output(), UNRULY);
    let moments: Vec<u64> =
        tracks["count"].iter().filter(|(_, c)| matches!(c, Content::Number(n, 0) if *n < 100)).map(|(at, _)| *at).collect();
    let counts = Unruly::counts(&stage);
    assert!(moments.iter().any(|at| (said_ns..opened).contains(at)), "{moments:?} holds nothing of {said_ns}..{opened}");
    assert_counts_on(&counts);
}

/// Its open gap is in the ledger also when it never comes back.
#[test]
fn the_gap_of_an_instance_that_does_not_come_back_is_told_when_the_gateway_stops() {
    let folder = Folder::new("open-gap");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_millis(1500));
    unruly.order("count");
    for fault in 1..=5 {
        wait_status(&stage, "an open instance", |s| s.instances[UNRULY].state == "healthy");
        unruly.order("fatal");
        wait_status(&stage, "its fault", |s| s.instances[UNRULY].faults == fault);
    }
    wait_status(&stage, "the quarantine", |s| s.instances[UNRULY].state == "quarantined");
    stage.switch_off().expect("devices that listen");
    assert!(stage.gateway.take().expect("running").stop().expect("SIGTERM ends it").success());
    stage.start_gateway().expect("it starts again");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().any(|g| g.instance == UNRULY && g.channel == "count" && g.reason == "plugin-fault"), "{gaps:#?}");
}

//= PROMISES.md#P61
#[test]
fn a_device_that_says_nothing_is_named_and_one_that_speaks_on_events_only_is_not() {
    let folder = Folder::new("silent");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    let package = newer(&stage, hostile_folder(), "0.2.0");
    let manifest = fs::read_to_string(package.join("manifest.toml")).expect("just written");
    fs::write(package.join("manifest.toml"), format!("silent_after_s = 2\n{manifest}")).expect("written");
    stage.more = stage.more.replace(&at(hostile_folder()), &at(&package));
    let port = ports::own().expect("a free port");
    stage.more += &format!("\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices, switched off");
    stage.start_gateway().expect("the gateway");
    let status = wait_status(&stage, "a silent device", |s| s.instances[UNRULY].state == "silent");
    let silent = &status.instances[UNRULY];
    let since = silent.silent_since_ns.expect("since when");
    assert!(status.monotonic_ns - since >= 2_000_000_000 && silent.detail.contains("silent after 2 s"), "{silent:#?}");
    let page = metrics(port);
    assert!(page.contains("wardgate_instance_state{instance=\"unruly\",state=\"silent\"} 1\n"), "a page says what status says: {page}");
    unruly.order("count");
    let spoke = wait_status(&stage, "its voice", |s| s.instances[UNRULY].readings > 0 && s.instances[UNRULY].state == "healthy");
    assert_eq!(spoke.instances[UNRULY].silent_since_ns, None);
    wait_status(&stage, "silence again", |s| s.instances[UNRULY].state == "silent");
    // the others say nowhere how often they speak; the monitors' plugin says itself what is amiss
    let others = stage.gateway_status().expect("it runs").instances;
    assert!(others.iter().all(|(name, i)| name == UNRULY || i.state != "silent"), "{others:#?}");

    let event_driven = stage.configuration().replace("[instance.unruly]\n", "[instance.unruly]\nsilent_after_s = 0\n");
    fs::write(stage.folder.join("gateway.toml"), event_driven).expect("written");
    let output = wardgate(&stage, &["reload"]);
    let told = said(&output);
    assert!(told.contains("silent after another time unruly; 3 went on undisturbed"), "nobody is restarted for it: {told}");
    let status = stage.gateway_status().expect("it runs");
    assert_eq!((status.instances[UNRULY].state.as_str(), status.instances[UNRULY].opens), ("healthy", 1));
}
