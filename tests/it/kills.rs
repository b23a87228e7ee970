//! Kill -9 at named points: before and after a write, a flush, a publish, an acknowledgement, a segment's end, the close; and at random.
//!
//! The program that is killed knows nothing of it. `strace` kills it on entering a system call, so that the call never happens: on entering
//! `pwrite64` nothing is written, on entering `fdatasync` all is written and nothing flushed, and on entering the write of a log line all
//! has happened that the program does before it says so. The page cache survives a kill; that flushes hold what they promise is `flushed`'s.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use wardgate_lab::demo::{books, boottime_ns, drain_stage};
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::sim::Dice;
use wardgate_lab::stage::Stage;

use crate::flushed::{end_traced, traced};
use crate::ward::{Downtime, Folder, Unruly, assert_counts_on, check_gaps};

/// Where a program ends.
#[derive(Clone, Copy)]
struct Point {
    name: &'static str,
    /// On entering the nth of these (of one thread, as strace counts).
    call: &'static str,
    /// Only calls that touch one of these: "log", or files of the state or output folder with a number in their name.
    only: &'static str,
    /// Which log lines are written at all.
    says: &'static str,
}

const fn point(name: &'static str, call: &'static str, only: &'static str, says: &'static str) -> Point {
    Point { name, call, only, says }
}

const GATEWAY: [Point; 8] = [
    point("before the write of a group", "pwrite64", "", "off"),
    point("after the write, before its flush", "fdatasync", "", "off"),
    point("after the flush, before anybody knows", "write", "log", "wardgate::store=debug"),
    point("when a group is sealed, states in it, before its write", "write", "log", "wardgate::gateway::scribe=debug"),
    point("before a publish", "write", "log", "wardgate::uplink::publishing=debug"),
    point("after an acknowledgement", "write", "log", "wardgate::uplink::acknowledged=debug"),
    point("at a send", "sendto,write", "socket", "off"),
    point("before a segment is deleted", "unlink,unlinkat", "state/store/0000%N.segment", "off"),
];
/// After SIGTERM, before anything is done about it.
const CLOSING: Point = point("before the close", "write", "log", "wardgate::closing=info");
/// After SIGTERM: the last group is flushed, the farewell said.
const CLOSED: Point = point("after the close, before the exit", "exit_group", "", "off");

const RECEIVER: [Point; 5] = [
    point("before the write of the raw log", "write", "out/raw/0000%N.raw", "off"),
    point("after the write, before its flush", "fdatasync", "", "off"),
    point("after the flush, before the acknowledgement", "write", "log", "wardgate_cloud::desk=debug"),
    point("at a send", "sendto,write", "socket", "off"),
    point("before its output is renamed into place", "rename,renameat,renameat2", "", "off"),
];

/// A point that is not reached by then is not reached at all; the kill comes then, somewhere.
const POINT_MS_MAX: u64 = 30_000; // a busy machine comes late to its second deleted segment
/// A kill at random falls within that, after ten words on the line.
const RANDOM_MS_MAX: u64 = 2000;
const LOOK_MS: u64 = 10; // the end of a process is seen so late at most

impl Point {
    fn strace(&self, nth: u32, folder: &Path, program: &str, log: &str) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={}", self.call), "-e", "signal=none"]);
        command.args(["-e", &format!("inject={}:signal=KILL:when={nth}", self.call)]);
        match self.only {
            "" => {}
            "log" => _ = command.arg("-P").arg(folder.join("log").join(log)),
            "socket" => {}
            numbered => (0..100).for_each(|n| {
                let name = numbered.replace("%N", &format!("{n:06}"));
                command.arg("-P").arg(folder.join(name.replace("raw/0000", "raw/00")));
            }),
        }
        command.arg(binary(program).expect("built")).env("RUST_LOG", self.says);
        command
    }
}

struct Run {
    stage: Stage,
    unruly: Unruly,
    down: Vec<Downtime>,
    /// The gateway is not ready again since then.
    since: Option<u64>,
    kills: usize,
    /// When a kill at random falls; its seed is printed.
    dice: Dice,
    /// Point, and whether the kill fell there.
    reached: Vec<(String, bool)>,
}

impl Run {
    fn new(folder: &Folder) -> Self {
        let mut stage = Stage::new(&folder.0).expect("a stage");
        let unruly = Unruly::on(&mut stage);
        stage.more += "\n[store]\nsegment_bytes = 16384\nbytes_max = 67108864\n"; // small segments: some are deleted in each life
        stage.start_all(&[]).expect("everything starts");
        let seed = boottime_ns();
        println!("seed {seed}");
        Self { stage, unruly, down: Vec::new(), since: None, kills: 0, dice: Dice::new(seed), reached: Vec::new() }
    }

    /// Kills the gateway that runs, starts one that ends at `point`, and waits for that. `meanwhile`: what is done once it runs.
    fn gateway(&mut self, point: Option<&Point>, nth: u32, meanwhile: impl FnOnce(&mut Stage)) {
        if let Some(mut running) = self.stage.gateway.take() {
            self.since.get_or_insert(boottime_ns());
            running.kill();
            self.kills += 1;
        }
        let mut command = match point {
            Some(point) => point.strace(nth, &self.stage.folder, "wardgate", "gateway.log"),
            None => Command::new(binary("wardgate").expect("built")),
        };
        let mut gateway = self.stage.spawn_gateway(&mut command).expect("it starts");
        if gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).is_ok() {
            self.down.extend(self.since.take().map(|since| (since, boottime_ns())));
            meanwhile(&mut self.stage);
        }
        if point.is_some_and(|p| p.name == CLOSED.name || p.name == CLOSING.name) {
            self.since.get_or_insert(boottime_ns()); // what comes from here on is a closing's to tell
            _ = kill_process(traced(&gateway).expect("it runs"), Signal::TERM);
        }
        let reached = match point {
            Some(_) => ends(&mut gateway, || self.unruly.order("count")),
            None => {
                (0..10).for_each(|_| self.unruly.order("count"));
                sleep(Duration::from_millis(self.dice.below(RANDOM_MS_MAX)));
                false
            }
        };
        if !reached {
            end_traced(&mut gateway);
        }
        self.since.get_or_insert(boottime_ns());
        self.kills += 1;
        self.reached.extend(point.map(|p| (format!("gateway {}", p.name), reached)));
    }

    /// In the life of a gateway that ends after SIGTERM: the receiver is killed somewhere, and then at `point`.
    fn receiver(&mut self, point: &Point, nth: u32) {
        self.stage.receiver.take().expect("running").kill();
        self.stage.start_receiver_by(&mut point.strace(nth, &self.stage.folder, "wardgate-cloud", "receiver.log")).expect("it starts");
        let mut reached = false;
        self.gateway(Some(&CLOSED), 1, |stage| {
            let mut receiver = stage.receiver.take().expect("started");
            reached = ends(&mut receiver, || sleep(Duration::from_millis(LOOK_MS)));
            if !reached {
                end_traced(&mut receiver);
            }
            stage.start_receiver().expect("the receiver comes back");
        });
        self.kills += 2;
        self.reached.push((format!("receiver {}", point.name), reached));
    }

    fn broker(&mut self) {
        self.stage.broker.take().expect("running").kill();
        sleep(Duration::from_millis(300));
        self.stage.start_broker().expect("the broker comes back on its port");
        self.kills += 1;
    }

    /// The books of all that was sent since the start. Gives which points were reached.
    fn account(mut self) -> Vec<(String, bool)> {
        if self.stage.gateway.is_none() {
            self.stage.start_gateway().expect("the gateway comes back");
        }
        self.down.extend(self.since.take().map(|since| (since, boottime_ns())));
        self.unruly.order("count"); // one at least that nothing kills
        sleep(Duration::from_secs(2));
        let off = boottime_ns();
        self.stage.switch_off().expect("devices that listen");
        drain_stage(&mut self.stage).expect("it drains");
        let status = self.stage.gateway.as_mut().expect("running").stop().expect("a clean stop");
        assert!(status.success(), "{status}");

        let gaps = crate::ward::lost(&self.stage.output());
        for (device, account) in books(&self.stage) {
            assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
            println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
        }
        check_gaps(&gaps.into_iter().filter(|g| g.to_monotonic_ns < off).collect::<Vec<_>>(), &self.down);
        let counts = Unruly::counts(&self.stage);
        assert!(!counts.is_empty());
        assert_counts_on(&counts);
        let status = self.stage.receiver_status();
        assert_eq!(status["gateways"]["demo-ward"]["conflicts"], 0, "{status:#}");

        println!("{} kills, nothing doubled, nothing unexplained", self.kills);
        self.reached
    }
}

fn assert_all_reached(mut points: Vec<(String, bool)>) {
    points.sort();
    for (point, reached) in &points {
        println!("{} {point}", if *reached { "reached" } else { "      -" });
    }
    for (point, _) in &points {
        assert!(points.iter().any(|(p, reached)| p == point && *reached), "{point}: no kill ever fell there");
    }
}

/// Whether it ends by itself, within the patience for a point.
fn ends(process: &mut Process, mut meanwhile: impl FnMut()) -> bool {
    let until = boottime_ns() + POINT_MS_MAX * 1_000_000;
    while boottime_ns() < until {
        if !process.running() {
            return true;
        }
        meanwhile();
        sleep(Duration::from_millis(LOOK_MS));
    }
    false
}

//= PROMISES.md#P41
#[test]
fn a_kill_at_each_named_point_loses_nothing_unexplained() {
    let folder = Folder::new("points");
    let mut run = Run::new(&folder);
    sleep(Duration::from_millis(2000));
    for point in &GATEWAY {
        run.gateway(Some(point), 2, |_| ());
    }
    run.gateway(Some(&CLOSING), 1, |_| ());
    run.receiver(&RECEIVER[2], 2);
    run.broker();
    assert_all_reached(run.account());
}

const TIMES: [u32; 3] = [1, 2, 2]; // which call of a point ends the program: the third of one thread often never comes

//= PROMISES.md#P41
#[test]
#[ignore = "a quarter of an hour: `make torture` runs it"]
fn torture_each_kill_of_the_matrix_has_books_of_its_own() {
    let mut reached = Vec::new();
    let mut ward = |name: &str, kill: &dyn Fn(&mut Run)| {
        println!("{name}");
        let folder = Folder::new("kill");
        let mut run = Run::new(&folder);
        sleep(Duration::from_millis(2000));
        kill(&mut run);
        reached.append(&mut run.account());
    };
    for nth in TIMES {
        for point in &GATEWAY {
            ward(point.name, &|run| run.gateway(Some(point), nth, |_| ()));
        }
        ward("at random", &|run| run.gateway(None, 1, |_| ()));
        ward(CLOSING.name, &|run| run.gateway(Some(&CLOSING), 1, |_| ()));
    }
    for nth in 1..=2 {
        for point in &RECEIVER {
            ward(point.name, &|run| run.receiver(point, nth));
        }
    }
    for _ in 0..5 {
        ward("the broker", &Run::broker);
    }
    assert_all_reached(reached);
}

//= PROMISES.md#P41
#[test]
#[ignore = "minutes: `make torture` runs it"]
fn torture_one_ward_through_the_whole_matrix_of_kills_loses_nothing_unexplained() {
    let folder = Folder::new("matrix");
    let mut run = Run::new(&folder);
    sleep(Duration::from_millis(2000));
    for nth in TIMES {
        for (n, point) in GATEWAY.iter().enumerate() {
            run.gateway(Some(point), nth, |_| ());
            if n == 2 {
                run.broker();
            }
        }
        run.gateway(None, 1, |_| ());
        run.gateway(Some(&CLOSING), 1, |_| ());
    }
    for (n, point) in RECEIVER.iter().enumerate() {
        run.receiver(point, 1 + n as u32 % 3);
        if n % 2 == 0 && n > 0 {
            run.broker();
        }
    }
    assert_all_reached(run.account());
}
