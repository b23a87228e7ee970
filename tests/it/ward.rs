//! The whole system: the demo's books, and the same books after kills of every process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::accountant::{self, ALERTS, Content, Gap};
use wardgate_lab::demo::{books, books_with, boottime_ns, drain_stage};
use wardgate_lab::process::binary;
use wardgate_lab::pty::Pty;
use wardgate_lab::sim::modbus::FAULTS;
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};
use wardgate_lab::ward;

use crate::sandbox::hostile_folder;

/// A folder of this test, removed when it passes; kept for a look when it does not.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wardgate-it-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// Every gap in which something can be lost. A round of polls for which a starved simulator left no time was never asked, and a chiller that was
/// switched off before the gateway answers nothing any more: that is told as well, and nothing of it was ever sent.
pub fn lost(output: &Path) -> Vec<Gap> {
    let unsaid =
        |gap: &Gap| gap.reason == "device-skipped" || (gap.instance == CHILLER && gap.reason == "device-off" && gap.values.is_none());
    accountant::read_gaps(output).into_iter().filter(|gap| !unsaid(gap)).collect()
}

/// Looks until it is so; names it when it never is.
pub fn wait(what: &str, so: impl Fn() -> bool) {
    const LOOK_MS: u64 = 50;
    const PATIENCE_S: u64 = 180; // long, so that a busy machine fails nothing
    for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
        if so() {
            return;
        }
        sleep(Duration::from_millis(LOOK_MS));
    }
    panic!("waited in vain for {what}");
}

/// Looks until it is so, and answers what was seen; where it never is, it shows what was seen at last.
pub fn wait_to_see<T: std::fmt::Debug>(what: &str, mut look: impl FnMut() -> T, so: impl Fn(&T) -> bool) -> T {
    const LOOK_MS: u64 = 50;
    const PATIENCE_S: u64 = 180; // as above
    let mut seen = look();
    for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
        if so(&seen) {
            return seen;
        }
        sleep(Duration::from_millis(LOOK_MS));
        seen = look();
    }
    panic!("waited in vain for {what}; seen at last: {seen:#?}");
}

//= PROMISES.md#P1
#[test]
fn the_demo_loses_nothing() {
    let output =
        Command::new(binary("wardgate-lab").expect("built")).args(["demo", "--for", "10s", "--json"]).output().expect("the demo runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let report: Json = serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("the last line is JSON ({e}): {last}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert!(output.status.success(), "{report:#}\n{}", String::from_utf8_lossy(&output.stderr));
    let devices = report["devices"].as_array().expect("devices");
    assert!(devices.len() >= 3, "{report:#}");
    for device in devices {
        assert!(device["sent"].as_u64() > Some(0) && device["sent"] == device["received"] && device["missing"] == 0, "{device}");
    }
    // of each it was said what runs there, who signed that, and what it may reach
    let said = String::from_utf8_lossy(&output.stderr);
    for device in devices {
        let name = device["name"].as_str().expect("a name");
        let mut lines = said.lines().skip_while(|line| !line.starts_with(&format!("{name}, ")));
        lines.next().unwrap_or_else(|| panic!("{name} is not introduced:\n{said}"));
        let lines: Vec<_> = lines.take_while(|line| line.starts_with("  ")).collect();
        let reach = |line: &&&str| line.contains("it may ") || line.contains("it hears ") || line.contains("touches ");
        assert!(lines[0].starts_with("  runs ") && lines[1].starts_with("  signed by "), "{name}: {lines:#?}");
        assert_eq!(lines.iter().filter(reach).count(), 1, "{name}: {lines:#?}");
    }
    assert_eq!(report["unexplained_gaps"], 0);
    assert!(report["first_reading_ms"].is_u64(), "{report:#}");
    println!("{last}");
}

/// The ids of processes that name this folder.
fn processes_of(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let names =
        |e: &std::fs::DirEntry| String::from_utf8_lossy(&std::fs::read(e.path().join("cmdline")).unwrap_or_default()).contains(folder);
    entries.filter(names).map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_demo_that_is_killed_leaves_nobody_behind() {
    let mut demo = Command::new(binary("wardgate-lab").expect("built"));
    let demo = demo.args(["demo", "--json"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut demo = demo.spawn().expect("the demo starts");
    let folder = std::env::temp_dir().join(format!("wardgate-demo-{}", demo.id()));
    let named = folder.display().to_string();
    wait("its four processes", || processes_of(&named).len() >= 4);
    demo.kill().expect("it runs");
    demo.wait().expect("it ends");
    wait("the end of its processes", || processes_of(&named).is_empty());
    std::fs::remove_dir_all(folder).expect("what it wrote");
}

/// One more instance on the stage: the hostile guest, which does what the bytes on its line say.
pub struct Unruly {
    pub line: Pty,
}

pub const UNRULY: &str = "unruly";

impl Unruly {
    pub fn on(stage: &mut Stage) -> Self {
        let line = stage.folder.join("dev").join(UNRULY);
        stage.more = format!(
            "\n[instance.{UNRULY}]\npackage = \"{}\"\n[instance.{UNRULY}.grants.serial]\nport = \"{}\"\n\
             [instance.{UNRULY}.grants.modbus]\nbus = \"plant\"\nservers = [7]\nallow = []\n",
            hostile_folder().display(),
            line.display()
        );
        Self { line: Pty::plug_in(&line).expect("a pty") }
    }

    /// An order is one piece on the line: nothing follows it at once.
    pub fn order(&self, what: &str) {
        self.line.send(format!("{what}\n").as_bytes());
        sleep(Duration::from_millis(60));
    }

    /// What it counted, in order. 100 and above are its other words.
    pub fn counts(stage: &Stage) -> Vec<i64> {
        let tracks = accountant::read_received(&stage.output(), UNRULY);
        let numbers =
            tracks.get("count").into_iter().flatten().filter_map(|(_, c)| if let Content::Number(n, 0) = c { Some(*n) } else { None });
        numbers.filter(|n| *n < 100).collect()
    }
}

/// 1, 2, 3 and so on: nothing twice, nothing left out.
pub fn assert_counts_on(counts: &[i64]) {
    let expected: Vec<i64> = (1..=counts.len() as i64).collect();
    assert_eq!(counts, expected, "what was kept and what was said do not agree");
}

//= PROMISES.md#P3
#[test]
fn a_plugin_that_traps_harms_no_other_and_goes_on_from_what_it_kept() {
    let folder = Folder::new("trap");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_millis(1500));
    (0..10).for_each(|_| unruly.order("count"));
    unruly.order("keep then panic");
    sleep(Duration::from_millis(2500)); // it rests before it starts again
    (0..10).for_each(|_| unruly.order("count"));
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let gaps = lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
    assert!(gaps.iter().all(|g| g.instance == UNRULY), "{gaps:#?}");
    assert!(gaps.iter().any(|g| g.channel == "count" && g.reason == "plugin-fault"), "{gaps:#?}");
    let counts = Unruly::counts(&stage);
    assert_eq!(counts.len(), 20, "{counts:?}");
    assert_counts_on(&counts);
    let status = stage.gateway_status().expect("it runs").instances;
    assert_eq!(status[UNRULY].restarts, 1);
    let log = std::fs::read_to_string(folder.0.join("log/gateway.log")).expect("a log");
    assert!(log.contains("has no end") && log.contains("decode_frame_without_end"), "the panic's text and place are in the log");
}

//= PROMISES.md#P6
#[test]
fn a_clean_stop_keeps_all_that_was_heard_and_the_next_gap_is_exact() {
    let folder = Folder::new("clean");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&[]).expect("everything starts");
    let mut stops = Vec::new();
    for round in 0..3_u64 {
        sleep(Duration::from_millis(2100 + 310 * round));
        stops.push(boottime_ns());
        let status = stage.gateway.take().expect("running").stop().expect("SIGTERM ends it");
        assert!(status.success(), "{status}");
        sleep(Duration::from_millis(300));
        stage.start_gateway().expect("it starts again");
    }
    sleep(Duration::from_millis(2500));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    for (device, account) in books(&stage) {
        assert!(account.adds_up(), "{device}: {account:#?}");
    }
    const HEARD_NS: u64 = 100_000_000; // from the end of a message on the line to the plugin
    let output = stage.output();
    for (device, _) in MONITORS {
        let (sent, got) = (ward::read_sent(&stage.folder, device), accountant::read_received(&output, device));
        for stop in &stops {
            let last = sent["ecg"].iter().rev().find(|(at, _)| at + HEARD_NS < *stop).expect("it spoke before");
            assert!(got["ecg"].iter().any(|(_, c)| *c == last.1), "{device}: what was heard before the stop at {stop} is missing");
            // the closing tells of the stretch up to the stop, and the next life of the whole
            let moment = |want: u64| got["ecg"].iter().any(|(at, _)| *at == want);
            let whole = |g: &Gap| g.instance == device && g.channel == "ecg" && g.from_monotonic_ns < *stop && *stop < g.to_monotonic_ns;
            let exact = |g: &Gap| g.reason == "gateway-restart" && moment(g.from_monotonic_ns) && moment(g.to_monotonic_ns);
            let gaps = accountant::read_gaps(&output);
            assert!(gaps.iter().any(|g| whole(g) && exact(g)), "{device}: no gap runs from the last value to the next: {gaps:#?}");
        }
    }
}

//= PROMISES.md#P1
#[test]
fn over_mosquitto_the_ward_loses_nothing_also_when_it_is_killed() {
    let folder = Folder::new("mosquitto");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_mosquitto().expect("mosquitto");
    stage.start_around_broker(&[]).expect("everything else starts");
    let arrived = |stage: &Stage| accountant::read_received(&stage.output(), MONITORS[0].0).get("ecg").map_or(0, Vec::len);
    wait("three seconds of a monitor in the cloud", || arrived(&stage) >= 3);
    stage.broker.take().expect("running").kill();
    let before = arrived(&stage);
    let heard = || stage.gateway_status().map_or(0, |s| s.instances[MONITORS[0].0].samples);
    let then = heard();
    wait("two more seconds, which nobody forwards", || heard() > then + 400);
    stage.start_mosquitto().expect("mosquitto comes back on its port");
    wait("what came meanwhile", || arrived(&stage) >= before + 3);
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0 && account.sent > 0, "{device}: {account:#?}");
        println!("{device}: {} of {}", account.received, account.sent);
    }
    assert_eq!(lost(&stage.output()).len(), 0);
}

/// Down from, ready again at; CLOCK_BOOTTIME ns.
pub type Downtime = (u64, u64);

//= PROMISES.md#P2
#[test]
fn kills_of_every_process_lose_nothing_unexplained() {
    let folder = Folder::new("kills");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    let mut down: Vec<Downtime> = Vec::new();
    sleep(Duration::from_millis(3300));
    for round in 0..5_u64 {
        let from = boottime_ns();
        stage.gateway.take().expect("running").kill();
        sleep(Duration::from_millis(200 * round));
        stage.start_gateway().expect("the gateway comes back");
        down.push((from, boottime_ns()));
        (0..10).for_each(|_| unruly.order("count"));
        sleep(Duration::from_millis(1300 + 170 * round));
        if round < 3 {
            stage.receiver.take().expect("running").kill();
            sleep(Duration::from_millis(400 * round));
            stage.start_receiver().expect("the receiver comes back");
        }
        if round >= 3 {
            stage.broker.take().expect("running").kill();
            sleep(Duration::from_millis(700));
            stage.start_broker().expect("the broker comes back on its port");
        }
        sleep(Duration::from_millis(1100 + 230 * round));
    }
    sleep(Duration::from_secs(2));
    let off = boottime_ns();
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let status = stage.gateway.as_mut().expect("running").stop().expect("a clean stop");
    assert!(status.success(), "{status}");

    let gaps = lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
        println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
    let gaps: Vec<_> = gaps.into_iter().filter(|g| g.to_monotonic_ns < off).collect(); // after that they are off, and then the gateway stops
    check_gaps(&gaps, &down);
    let counts = Unruly::counts(&stage);
    assert!(counts.len() >= 40, "{counts:?}");
    assert_counts_on(&counts);
    let status = stage.receiver_status();
    assert_eq!(status["gateways"]["demo-ward"]["conflicts"], 0, "{status:#}");
}

/// How often a device says something on this channel.
fn frame_s(channel: &str) -> f64 {
    if channel == "setpoint" { 10.0 } else { 1.0 } // as plugins/modbus-map/maps/smc-hrs.map asks for it
}

/// Every gap is one of the restarts, and what is lost in it spans no more than the downtime, the second that may wait for its commit, and two
/// frames: the one that the kill cut and the one that the start found begun. A gap runs from the moment of the last value to that of the next,
/// which are one frame apart where nothing is lost. Alerts come when they come, and the unruly guest when it is told to.
pub fn check_gaps(gaps: &[Gap], down: &[Downtime]) {
    const COMMIT_S: f64 = 1.0;
    let mut most = f64::MIN;
    for gap in gaps {
        assert_eq!(gap.reason, "gateway-restart", "{gap:?}");
        if gap.seconds() == 0.0 || gap.instance == UNRULY || gap.channel == ALERTS {
            continue;
        }
        let crossed: Vec<_> = down.iter().filter(|(from, to)| gap.from_monotonic_ns < *to && *from < gap.to_monotonic_ns).collect();
        assert!(!crossed.is_empty(), "a gap without a restart: {gap:?} {down:?}");
        // a life that was killed before its first commit makes one gap of two restarts
        let allowed: f64 = crossed.iter().map(|(from, to)| (to - from) as f64 / 1e9 + COMMIT_S + 2.0 * frame_s(&gap.channel)).sum();
        let lost = gap.seconds() - frame_s(&gap.channel);
        assert!(lost <= allowed, "{gap:?}: {lost:.2} s are lost, allowed are {allowed:.2} s");
        most = most.max(lost - allowed);
    }
    println!("{} gaps, the longest {:.2} s below its bound", gaps.len(), -most);
}

//= PROMISES.md#P89
#[test]
fn with_faults_on_every_line_each_value_comes_or_lies_in_a_gap() {
    let demo = ["demo", "--for", "20s", "--json", "--faults", "7"];
    let output = Command::new(binary("wardgate-lab").expect("built")).args(demo).output().expect("the demo runs");
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}\n{text}\n{errors}"));
    assert!(output.status.success(), "{report:#}\n{errors}");
    let of = |key: &str| report["devices"].as_array().expect("devices").iter().map(|d| d[key].as_u64().expect("a count")).sum::<u64>();
    assert_eq!(of("sent"), of("received") + of("missing"), "{report:#}");
    assert!(of("missing") > 0 && of("received") > 0, "a run in which nothing happens proves nothing: {report:#}");
    assert_eq!((report["unexplained_gaps"].as_u64(), report["faults"].as_u64()), (Some(0), Some(7)), "{report:#}");
    let clock = serde_json::json!([{ "device": "bed-2-thermometer", "by_s": 3600, "recorded": true }]);
    assert_eq!(report["clock_steps"], clock, "a device's clock is set among the faults, and the ledger tells of it");
    println!("{}", text.lines().last().unwrap_or_default());
}

/// Every kind of fault that the lab has, at random, on the line of one device: that one's values come or lie in gaps, and the others know nothing of it.
//= PROMISES.md#P135
#[test]
fn with_every_fault_at_once_on_one_device_the_others_have_no_gap() {
    std::thread::scope(|all| {
        for (device, seed) in [(MONITORS[0].0, "13"), (CHILLER, "12")] {
            all.spawn(move || faults_on(device, seed));
        }
    });
}

/// What the monitor's send log calls its faults; that it hung shows in its numbers, that it was slow nowhere.
const DAMAGES: [&str; 4] = ["noise", "cut", "stray", "unplugged"];

fn faults_on(device: &str, seed: &str) {
    const FAULTY_S: u64 = 25; // some eight faults on a monitor's line, some forty on a bus
    let folder = Folder::new(&format!("faults-on-{device}"));
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.instead.push(("all every 1s".into(), "all every 100ms".into())); // the chiller's map: so that each kind of fault has its turn
    stage.start_all(&["--faults", seed, "--faults-on", device]).expect("everything starts");
    sleep(Duration::from_secs(FAULTY_S));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = lost(&stage.output());
    let status = stage.gateway_status().expect("it runs");
    let bus = &status.links["plant"];
    let happened = gaps.iter().filter(|g| g.instance == device).count() as u64 + bus.exceptions + bus.malformed + bus.timeouts + bus.strays;
    assert!(happened > 2, "a run in which nothing happens proves nothing");
    let log = std::fs::read_to_string(stage.folder.join("sent").join(format!("{device}.jsonl"))).expect("a log");
    if device == CHILLER {
        let left_out: Vec<_> = FAULTS.iter().filter(|kind| !log.contains(&format!("{{\"fault\":\"{kind:?}\"}}"))).collect();
        assert!(left_out.is_empty(), "faults that the device did not have: {left_out:?}");
    } else {
        let said = ward::monitor_said(&stage.folder, device);
        let left_out: Vec<_> = DAMAGES.iter().filter(|kind| !said.iter().any(|s| s.damage.as_deref() == Some(kind))).collect();
        assert!(left_out.is_empty(), "faults that the monitor did not have: {left_out:?}");
        assert!(said.windows(2).any(|two| two[1].n > two[0].n + 2), "it never hung");
    }
    assert!(gaps.iter().all(|g| g.instance == device), "another device has a gap: {gaps:#?}");
    for (name, account) in books_with(&stage, true) {
        assert!(account.adds_up() && account.sent > 0 && account.unexplained == 0, "{name}: {account:#?}");
        assert!(name == device || account.missing == 0, "{name} lost by the faults of {device}: {account:#?}");
        println!("faults on {device}: {name}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
    println!("faults on {device}: {happened} that show in a gap or a counter");
    assert!(status.instances.iter().all(|(name, i)| name == device || i.restarts + i.faults + i.overruns == 0), "{status:#?}");
}
