//! The gateway's disk is really full, on a small tmpfs that something else has taken to its last byte: what is not taken lies in gaps
//! `disk-full`, alarms arrive all the same, nothing is called durable that was refused, and all goes on by itself once there is room.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant::{self, ALERTS, Gap};
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::{READY_S_MAX, binary};
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};
use wardgate_lab::ward::read_sent;

use crate::flushed::stop_traced;
use crate::kills_disk::{CHILD, fill, on_a_small_disk, small_disk, small_file_system, take_down};
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, UNRULY, Unruly, assert_counts_on, wait};

const FULL_S: u64 = 4;
/// What the hostile guest asks with `durable`, and says when it is.
const TAG: i64 = 5;
const ME: &str = "full_disk::child_on_a_full_disk";

fn alarms_received(stage: &Stage) -> u64 {
    accountant::read_received(&stage.output(), UNRULY).get(ALERTS).map_or(0, |track| track.len() as u64)
}

fn wait_room(stage: &Stage, room: &str) {
    wait(&format!("a store that says {room}"), || stage.gateway_status().is_some_and(|s| s.store.room == room));
}

/// What the ledger says that was not taken: values of a stream's gaps `disk-full`, where all are counted.
/// A monitor's message of a second. One that was half heard when its plugin was opened anew lies in the gap between two runs, which is one of time.
const MESSAGE_VALUES: u64 = 420;

fn told(gaps: &[Gap], of: impl Fn(&Gap) -> bool) -> Option<u64> {
    gaps.iter().filter(|g| g.reason == "disk-full" && g.indices > 0 && of(g)).map(|g| g.values).sum()
}

struct Scene {
    stage: Stage,
    unruly: Unruly,
    alarms: u64,
}

impl Scene {
    fn alarm(&mut self) {
        self.unruly.order("alarm");
        self.alarms += 1;
    }

    /// Orders that keep what they count, and that a device would take as an acknowledgement.
    fn refused(&self) {
        (0..3).for_each(|_| self.unruly.order("durable"));
    }

    fn log(&self) -> String {
        fs::read_to_string(self.stage.folder.join("log/gateway.log")).unwrap_or_default()
    }

    fn full(&mut self) {
        let before = alarms_received(&self.stage);
        self.refused();
        (0..5).for_each(|_| self.alarm());
        wait("alarms that come over a full disk", || alarms_received(&self.stage) == before + 5);
        sleep(Duration::from_secs(FULL_S));
        let status = self.stage.gateway_status().expect("it runs");
        assert!(status.store.last_error.contains("is full: only alerts") && status.store.last_error.contains("free space on it"));
        assert!(status.instances[MONITORS[0].0].not_taken > 1000 && status.instances[CHILLER].not_taken > 0, "{status:#?}");
        assert!(!self.log().contains("durable 5"), "what was refused was called durable");
        self.commanded();
    }

    /// Who stands where is not changed without its record in the audit log; some may still fit into its last block.
    fn bound(&self) {
        const BLOCK_RECORDS_MAX: usize = 40;
        let mut bed = self.stage.gateway_status().expect("it runs").instances[UNRULY].bed.clone();
        for n in 0..BLOCK_RECORDS_MAX {
            let output = wardgate(&self.stage, &["bind", "set", UNRULY, "--bed", &format!("bed-{n}")]);
            if output.status.success() {
                bed = Some(format!("bed-{n}"));
                continue;
            }
            let words = said(&output);
            assert!(output.status.code() == Some(5) && words.contains("nothing was changed"), "{words}");
            assert!(words.contains("the audit log cannot be written") && words.contains("what to do: make room"), "{words}");
            assert_eq!(self.stage.gateway_status().expect("it runs").instances[UNRULY].bed, bed);
            return;
        }
        panic!("the audit log is never full");
    }

    /// That a command was done could not be kept, and it would be done twice.
    fn commanded(&self) {
        let output = wardgate(&self.stage, &["command", UNRULY, "add"]);
        let words = said(&output);
        assert!(!output.status.success() && words.contains("what to do: make room"), "{words}");
        assert!(words.contains("is full") && words.contains("give the command again"), "{words}");
    }

    /// A file system that allocates nothing ahead: alarms stop with everything else, as the log said when there was room, and are counted.
    fn without_reserve(&mut self) {
        assert!(self.log().contains("Without it alerts and the ledger stop with everything else"), "{}", self.log());
        wait_room(&self.stage, "spent");
        self.refused();
        (0..5).for_each(|_| self.alarm());
        wait("alarms that are not taken", || self.stage.gateway_status().is_some_and(|s| s.instances[UNRULY].not_taken >= 5));
        sleep(Duration::from_secs(FULL_S));
        assert!(!self.log().contains("durable 5"), "what was refused was called durable");
        self.commanded();
    }

    /// With nobody who acknowledges, until even the reserve is spent; then acknowledgements give it back on the full disk.
    fn spent(&mut self) {
        self.stage.receiver = None;
        while self.stage.gateway_status().is_none_or(|s| s.store.room != "spent") {
            (0..10).for_each(|_| self.alarm());
        }
        assert!(self.stage.gateway_status().expect("it runs").store.last_error.contains("its reserve is spent: nothing is taken"));
        (0..5).for_each(|_| self.alarm());
        wait("alarms that are not taken", || self.stage.gateway_status().is_some_and(|s| s.instances[UNRULY].not_taken >= 5));
        self.stage.start_receiver().expect("the receiver");
        wait_room(&self.stage, "reserve");
        let before = alarms_received(&self.stage);
        (0..3).for_each(|_| self.alarm());
        wait("alarms again", || alarms_received(&self.stage) >= before + 3);
    }
}

/// Not a test of its own: what runs in the namespace.
#[test]
#[ignore = "the child of the tests below"]
fn child_on_a_full_disk() {
    let Ok(which) = std::env::var(CHILD) else { return };
    let folder = Folder::new(&format!("full-disk-{which}"));
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let disk = folder.0.join("state");
    match which.as_str() {
        "ext4" | "ext2" if !small_file_system(&disk, &which) => return println!("went on after it"),
        "ext4" | "ext2" => {}
        _ => small_disk(&disk),
    }
    let unruly = Unruly::on(&mut stage);
    stage.more += "\n[store]\nsegment_bytes = 32768\nbytes_max = 16777216\n"; // a small reserve, so that it can be spent
    stage.start_all(&[]).expect("everything starts");
    let mut scene = Scene { stage, unruly, alarms: 0 };
    sleep(Duration::from_secs(2));
    (0..TAG).for_each(|_| scene.unruly.order("count"));
    sleep(Duration::from_secs(2));
    assert_eq!(scene.stage.gateway_status().expect("it runs").store.room, "ample");

    if which == "ext2" {
        scene.alarm(); // what a stream that never spoke misses lies in a gap of time, and is not counted
        wait("an alarm", || alarms_received(&scene.stage) == 1);
    }
    let filler = fill(&disk);
    if which == "ext2" {
        scene.without_reserve();
    } else {
        wait_room(&scene.stage, "reserve");
        scene.full();
    }
    match which.as_str() {
        "killed" => {
            scene.stage.gateway.as_mut().expect("it runs").kill();
            scene.stage.start_gateway().expect("it starts on a full disk");
            wait_room(&scene.stage, "reserve");
            scene.full();
        }
        "spent" => scene.spent(),
        "ext4" | "ext2" => {} // it keeps blocks for root, and the audit log of a gateway that root runs takes them
        _ => scene.bound(),
    }
    fs::remove_file(filler).expect("room is made");
    wait_room(&scene.stage, "ample");
    wait("the plugin that was behind", || scene.log().contains("opens anew from the newest state that is stored"));
    sleep(Duration::from_secs(2));
    (0..3).for_each(|_| scene.unruly.order("durable"));
    wait("what is durable again", || scene.log().contains("durable 5"));
    sleep(Duration::from_secs(2));
    scene.stage.switch_off().expect("devices that listen");
    drain_stage(&mut scene.stage).expect("it drains");
    let status = scene.stage.gateway_status().expect("it runs");
    // what has ended is over; a stream that a new life has not heard yet is not
    assert!(status.store.last_error.is_empty() && (which == "killed" || status.instances[CHILLER].gaps_open == 0), "{status:#?}");
    assert!(scene.stage.gateway.take().expect("it runs").stop().expect("it ends").success());
    scene.stage.start_gateway().expect("its opening tells which gaps were still open");
    drain_stage(&mut scene.stage).expect("it drains");
    balance(&scene, &which);
    drop(scene);
    take_down(&disk);
}

fn balance(scene: &Scene, which: &str) {
    let stage = &scene.stage;
    let gaps = crate::ward::lost(&stage.output());
    let reasons: &[&str] = if which == "killed" { &["disk-full", "gateway-restart"] } else { &["disk-full"] };
    let why: Vec<_> = gaps.iter().filter(|g| reasons.contains(&g.reason.as_str())).cloned().collect();
    for (device, account) in books(stage) {
        assert!(account.adds_up() && account.missing > 0, "{device}: {account:#?}\n{gaps:#?}");
        println!("{which}: {device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
        let received = accountant::read_received(&stage.output(), &device);
        let again = accountant::compare(&device, &read_sent(&stage.folder, &device), &received, &why);
        assert_eq!(again.missing, account.missing, "{device}: each missing value lies in a gap of {reasons:?}");
        if which != "killed" {
            let told = told(&why, |g| g.instance == device && g.channel != ALERTS).expect("every gap is counted");
            let uncounted = account.missing.checked_sub(told).expect("nothing is counted that is not missing");
            assert!(uncounted < MESSAGE_VALUES, "{device}: {uncounted} values are missing and not counted: {why:#?}");
        }
    }
    let lost = told(&gaps, |g| g.instance == UNRULY && g.channel == ALERTS).expect("counted");
    assert_eq!(alarms_received(stage) + lost, scene.alarms);
    assert!(if matches!(which, "spent" | "ext2") { lost >= 5 } else { lost == 0 }, "{lost} alarms lost");
    println!("{which}: {} alarms, {lost} in a gap", scene.alarms);
    let mut counts = Unruly::counts(stage);
    let mut acknowledged = 0;
    counts.retain(|n| {
        acknowledged += u64::from(*n == TAG); // it says the tag of each `durable`, too
        *n != TAG || acknowledged == 1
    });
    assert_counts_on(&counts); // it went on from what was stored, as if it had never said the rest
    // three more when there was room again, and one with its last word
    assert!(counts.len() as i64 == TAG + 3 + 1 && acknowledged > 1, "{counts:?}, {acknowledged} times the tag");
}

//= PROMISES.md#P96
#[test]
fn on_a_full_disk_values_become_gaps_and_alarms_arrive() {
    on_a_small_disk(ME, "full");
}

//= PROMISES.md#P96
#[test]
fn a_gateway_killed_on_a_full_disk_starts_on_its_reserve() {
    on_a_small_disk(ME, "killed");
}

//= PROMISES.md#P96
#[test]
fn with_the_reserve_spent_alarms_are_a_gap_and_acknowledgements_make_room() {
    on_a_small_disk(ME, "spent");
}

//= PROMISES.md#P134
#[test]
fn on_a_full_ext4_it_is_the_same() {
    on_a_small_disk(ME, "ext4");
}

//= PROMISES.md#P134
#[test]
fn on_a_full_file_system_without_a_reserve_alarms_are_a_gap_and_it_was_said_before() {
    on_a_small_disk(ME, "ext2");
}

const STALL_S: u64 = 10;

/// The gateway under strace, which holds back each thread's fifth flush of the store. Of its first segment: the audit log has flushes of its own.
fn start_on_a_stalling_disk(stage: &mut Stage) {
    let trace = stage.folder.join("stall.strace");
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf", "-e", "trace=fdatasync", "-e", "signal=none", "-e"]);
    command.arg(format!("inject=fdatasync:delay_enter={}:when=5", STALL_S * 1_000_000));
    command.arg("-P").arg(stage.folder.join("state/store/0000000001.segment"));
    command.arg("-o").arg(trace).arg(binary("wardgate").expect("built"));
    fs::write(stage.folder.join("gateway.toml"), stage.configuration()).expect("written");
    let mut gateway = stage.spawn_gateway(&mut command).expect("strace runs");
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("the gateway");
    stage.gateway = Some(gateway);
}

/// What each device had said when the longest pause between two commits began, and when it ended.
fn longest_pause(stage: &Stage) -> Vec<(&'static str, u64, u64)> {
    let devices = [MONITORS[0].0, MONITORS[1].0, CHILLER];
    let look = || stage.gateway_status().map(|s| (s.store.commits, s.monotonic_ns, devices.map(|d| s.instances[d].readings)));
    let mut began = look().expect("it runs");
    for _ in 0..600 {
        sleep(Duration::from_millis(100));
        let Some(now) = look().filter(|now| now.0 != began.0) else { continue };
        if now.1 - began.1 > (STALL_S - 1) * 1_000_000_000 {
            return devices.iter().zip(began.2).zip(now.2).map(|((d, before), after)| (*d, before, after)).collect();
        }
        began = now;
    }
    panic!("no flush was held back");
}

//= PROMISES.md#P97
#[test]
fn a_disk_that_stalls_for_ten_seconds_costs_nothing() {
    let folder = Folder::new("stall");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    stage.start_receiver().expect("the receiver");
    start_on_a_stalling_disk(&mut stage);
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    for (device, before, after) in longest_pause(&stage) {
        println!("{device}: {before} readings before the stall, {after} at its end");
        assert!(after >= before + 5, "{device} was not heard while the disk stalled");
    }
    sleep(Duration::from_secs(2));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.is_empty(), "{gaps:#?}");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0 && account.sent > 0, "{device}: {account:#?}");
        println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
    let status = stage.gateway_status().expect("it runs");
    assert!(status.instances.values().all(|i| i.overruns == 0) && status.store.failed_flushes == 0);
    stop_traced(stage.gateway.as_mut().expect("running"));
}
