//! Kill -9 proves no flush, because the page cache survives it. So the system calls themselves are the witness: nothing is published,
//! said to be durable or acknowledged before the bytes that it rests on were written and their flush returned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wardgate_lab::demo::drain_stage;
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::stage::Stage;

use crate::ward::{Folder, Unruly};

/// One thing that a trace shows, in order. Files and folders by their paths.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// A file or folder that was not there: its name must be flushed with the folder around it.
    Made(String),
    /// Bytes to a file that must be flushed.
    Wrote(String),
    /// A flush returned.
    Flushed(String),
    /// These batches are about to be written.
    Committing(Vec<String>),
    /// The store says that they are on flash.
    Committed,
    Publishing(String),
    Durable,
    Acknowledging,
    /// About to speak to somebody at all.
    Connecting,
}

/// The files that hold what was taken, and the folder that holds them.
struct Kept {
    folder: PathBuf,
    suffix: &'static str,
}

impl Kept {
    fn is_file(&self, path: &str) -> bool {
        path.ends_with(self.suffix) && Path::new(path).parent() == Some(&self.folder)
    }

    fn is_ours(&self, path: &str) -> bool {
        self.is_file(path) || Path::new(path) == self.folder
    }

    /// What lies there before a start: in the page cache at least, and nobody knows whether on the medium.
    fn found(&self) -> BTreeSet<String> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|e| e.path().display().to_string());
        let mut found: BTreeSet<String> = files.filter(|path| self.is_file(path)).collect();
        if !found.is_empty() {
            found.insert(self.folder.display().to_string());
        }
        found
    }
}

/// Strace's lines, merged into whole calls, in the order in which they returned.
pub fn calls(trace: &str) -> Vec<String> {
    let mut begun = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start);
        } else if let Some((_, end)) = rest.strip_prefix("<...").and_then(|rest| rest.split_once("resumed>")) {
            calls.push(begun.remove(thread).unwrap_or_default().to_owned() + end);
        } else {
            calls.push(rest.to_owned());
        }
    }
    calls
}

fn read(trace: &str, kept: &Kept) -> Vec<Seen> {
    calls(trace).iter().filter_map(|call| read_call(call, kept)).collect()
}

fn read_call(call: &str, kept: &Kept) -> Option<Seen> {
    if call.starts_with("connect(") {
        return call.contains("AF_INET").then_some(Seen::Connecting);
    }
    let quoted = || call.split('"').nth(1).map(str::to_owned);
    if call.starts_with("mkdir") {
        return quoted().filter(|path| call.ends_with("= 0") && Path::new(path) == kept.folder).map(Seen::Made);
    }
    if call.starts_with("openat(") {
        return quoted().filter(|path| call.contains("O_CREAT") && !call.contains("= -1 ") && kept.is_file(path)).map(Seen::Made);
    }
    let path = call.split(',').next().and_then(|fd| Some(fd.split_once('<')?.1.split_once('>')?.0.to_owned()));
    if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && call.ends_with("= 0") {
        return path.map(Seen::Flushed);
    }
    if !call.starts_with("write") && !call.starts_with("pwrite") {
        return None;
    }
    if let Some(path) = path.filter(|path| kept.is_ours(path)) {
        return Some(Seen::Wrote(path));
    }
    let word = |after: &str| call.split_once(after).map(|(_, rest)| rest.split([' ', '\\', '"']).next().unwrap_or_default().to_owned());
    if call.contains(" committing batches=") {
        let list = call.split_once("batches=")?.1.trim_start_matches(['\\', '"']).split(['\\', '"']).next()?;
        return Some(Seen::Committing(list.split(' ').map(str::to_owned).collect()));
    }
    if call.contains(" flushed segment=") {
        return Some(Seen::Committed);
    }
    if call.contains(" publishing ") {
        return word("batch=").map(Seen::Publishing);
    }
    if call.contains(" durable ") {
        return Some(Seen::Durable);
    }
    call.contains(" acknowledging ").then_some(Seen::Acknowledging)
}

/// What is not on the medium yet, as far as the calls tell.
struct Medium {
    /// Written to, and not flushed since.
    dirty: BTreeSet<String>,
    /// Folders with a name in them that they were not flushed with.
    unnamed: BTreeSet<String>,
    /// Lay there at the start, and not flushed since.
    found: BTreeSet<String>,
}

impl Medium {
    fn flushed(&mut self, path: &str) {
        for set in [&mut self.dirty, &mut self.unnamed, &mut self.found] {
            set.remove(path);
        }
    }

    fn holds_all(&self) -> Result<(), String> {
        for (what, set) in [("bytes in", &self.dirty), ("names in", &self.unnamed), ("what the start found in", &self.found)] {
            if let Some(path) = set.first() {
                return Err(format!("{what} {path} are not flushed"));
            }
        }
        Ok(())
    }
}

/// How many statements rest on flushed bytes; or the first that was made too early. `found`: what lay there before the start.
fn said_too_early(seen: &[Seen], found: &BTreeSet<String>) -> Result<usize, String> {
    let mut medium = Medium { dirty: BTreeSet::new(), unnamed: BTreeSet::new(), found: found.clone() };
    let ours: BTreeSet<&String> =
        seen.iter().flat_map(|s| if let Seen::Committing(batches) = s { batches.as_slice() } else { &[] }).collect();
    let in_groups = !ours.is_empty();
    let (mut group, mut safe) = (None::<Vec<String>>, BTreeSet::new());
    let mut checked = 0;
    for (at, one) in seen.iter().enumerate() {
        let early = |why: String| format!("event {at}: {one:?}: {why}");
        match one {
            Seen::Made(path) => drop(Path::new(path).parent().map(|folder| medium.unnamed.insert(folder.display().to_string()))),
            // what a store writes between its groups is a footer, which may be lost
            Seen::Wrote(_) if in_groups && group.is_none() => {}
            Seen::Wrote(path) => drop(medium.dirty.insert(path.clone())),
            Seen::Flushed(path) => medium.flushed(path),
            Seen::Committing(batches) => group = Some(batches.clone()),
            Seen::Committed => {
                medium.holds_all().map_err(early)?;
                safe.extend(group.take().ok_or_else(|| early("no group was begun".into()))?);
                checked += 1;
            }
            Seen::Publishing(batch) if ours.contains(batch) => {
                if !safe.contains(batch) {
                    return Err(early("its group is not committed".into()));
                }
                checked += 1;
            }
            // what an earlier start took may be said again, or a repeat of it be answered, from the first connection on
            Seen::Connecting | Seen::Publishing(_) if medium.found.is_empty() => checked += 1,
            Seen::Connecting | Seen::Publishing(_) | Seen::Durable | Seen::Acknowledging => {
                medium.holds_all().map_err(early)?;
                checked += 1;
            }
        }
    }
    Ok(checked)
}

const TRACED: &str = "trace=write,pwrite64,writev,pwritev,fdatasync,fsync,openat,mkdir,connect";

fn strace(trace: &Path, program: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "4000", "-e", TRACED, "-e", "signal=none", "-o"]);
    command.arg(trace).arg(binary(program).expect("built")).env("RUST_LOG", "wardgate=debug,wardgate_cloud=debug");
    command
}

/// Kill -9 of what a strace runs; strace ends after it.
pub fn end_traced(process: &mut Process) {
    if let Some(child) = traced(process) {
        _ = kill_process(child, Signal::KILL);
        _ = process.wait_end(READY_S_MAX);
    }
    process.kill();
}

/// What a running strace runs: it passes no signal on.
pub fn traced(strace: &Process) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

pub fn stop_traced(process: &mut Process) {
    kill_process(traced(process).expect("it runs the program"), Signal::TERM).expect("it runs");
    process.wait_end(30).expect("a clean stop");
}

/// Gateway and receiver, each under strace; what lay in their folders before they started.
struct Traced {
    sent: PathBuf,
    taken: PathBuf,
    store: Kept,
    raw: Kept,
    found: [BTreeSet<String>; 2],
}

impl Traced {
    fn start(stage: &mut Stage, name: &str) -> Self {
        let at = |sub: &str| stage.folder.join(sub);
        let (sent, taken) = (at(&format!("gateway-{name}.strace")), at(&format!("receiver-{name}.strace")));
        let store = Kept { folder: at("state/store"), suffix: ".segment" };
        let raw = Kept { folder: at("out/raw"), suffix: ".raw" };
        let found = [store.found(), raw.found()];
        stage.start_receiver_by(&mut strace(&taken, "wardgate-cloud")).expect("the receiver");
        std::fs::write(stage.folder.join("gateway.toml"), stage.configuration()).expect("written");
        let mut gateway = stage.spawn_gateway(&mut strace(&sent, "wardgate")).expect("strace runs");
        gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("the gateway");
        stage.gateway = Some(gateway);
        Self { sent, taken, store, raw, found }
    }

    /// Every statement of both rests on what was flushed; and every kind of flush that `needed` names was needed for that.
    fn check(&self, needed: &[fn(&Self, &Seen) -> bool]) {
        let [of_store, of_raw] = &self.found;
        for (trace, kept, found, wanted) in [
            (&self.sent, &self.store, of_store, &["Publishing", "Durable", "Committed"][..]),
            (&self.taken, &self.raw, of_raw, &["Acknowledging"]),
        ] {
            let seen = read(&std::fs::read_to_string(trace).expect("a trace"), kept);
            for name in wanted {
                assert!(seen.iter().any(|s| format!("{s:?}").starts_with(name)), "{name} was never seen in {}", trace.display());
            }
            let checked = said_too_early(&seen, found).unwrap_or_else(|why| panic!("{}: {why}", trace.display()));
            println!("{checked} statements, each after its flush; {} files were there before", found.len().saturating_sub(1));
            // the same trace without its flushes must not pass: otherwise this test could not fail
            for (n, left_out) in needed.iter().enumerate() {
                let without: Vec<_> = seen.iter().filter(|s| !left_out(self, s)).cloned().collect();
                assert!(said_too_early(&without, found).is_err(), "{}: would pass without its flushes of kind {n}", trace.display());
            }
        }
    }
}

fn flush_of_a_file(traced: &Traced, seen: &Seen) -> bool {
    matches!(seen, Seen::Flushed(path) if traced.store.is_file(path) || traced.raw.is_file(path))
}

fn flush_of_the_folder(traced: &Traced, seen: &Seen) -> bool {
    matches!(seen, Seen::Flushed(path) if [&traced.store.folder, &traced.raw.folder].contains(&&PathBuf::from(path)))
}

fn flush_of_what_was_found(traced: &Traced, seen: &Seen) -> bool {
    matches!(seen, Seen::Flushed(path) if traced.found.iter().any(|found| found.contains(path)))
}

//= PROMISES.md#P4
#[test]
fn nothing_is_said_before_the_flush_returned() {
    let folder = Folder::new("flushed");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    let unruly = Unruly::on(&mut stage);
    stage.more += "\n[store]\nsegment_bytes = 16384\nbytes_max = 67108864\n"; // small segments: a new file now and then
    let first = Traced::start(&mut stage, "first");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    let speak = |times: u32| {
        for _ in 0..times {
            unruly.order("durable");
            sleep(Duration::from_millis(700));
        }
    };
    speak(4);
    end_traced(stage.receiver.as_mut().expect("running"));
    speak(2); // taken by the gateway, acknowledged by nobody
    end_traced(stage.gateway.as_mut().expect("running"));

    let second = Traced::start(&mut stage, "second");
    assert!(second.found.iter().all(|found| found.len() > 1), "both find what the killed ones left: {:?}", second.found);
    speak(2);
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    stop_traced(stage.gateway.as_mut().expect("running"));
    stop_traced(stage.receiver.as_mut().expect("running"));

    first.check(&[flush_of_a_file, flush_of_the_folder]);
    second.check(&[flush_of_a_file, flush_of_the_folder, flush_of_what_was_found]);
}
