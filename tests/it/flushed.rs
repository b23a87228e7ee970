//! Kill -9 proves no flush, because the page cache survives it. So the system calls themselves are the witness: nothing is published,
//! said to be durable or acknowledged before the bytes that it rests on were written and their flush returned.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wardgate_lab::demo::drain_stage;
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::stage::Stage;

use crate::ward::{Folder, Unruly};

/// One thing that a trace shows, in order.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    /// Bytes to a file that must be flushed.
    Wrote,
    /// A flush returned.
    Flushed,
    /// These batches are about to be written.
    Committing(Vec<String>),
    /// The store says that they are on flash.
    Committed,
    Publishing(String),
    Durable,
    Acknowledging,
}

/// Strace's lines, merged into whole calls, in the order in which they returned.
fn read(trace: &str, kept: &str) -> Vec<Seen> {
    let mut begun = std::collections::BTreeMap::new();
    let mut seen = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        let whole = if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, start.to_owned());
            continue;
        } else if rest.starts_with("<...") {
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            begun.remove(thread).unwrap_or_default() + end
        } else {
            rest.to_owned()
        };
        seen.extend(read_call(&whole, kept));
    }
    seen
}

fn read_call(call: &str, kept: &str) -> Option<Seen> {
    let to_kept = call.split(',').next().is_some_and(|fd| fd.contains(kept));
    if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && call.ends_with("= 0") {
        return to_kept.then_some(Seen::Flushed);
    }
    if !call.starts_with("write") && !call.starts_with("pwrite") {
        return None;
    }
    if to_kept {
        return Some(Seen::Wrote);
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

/// The first thing that was said too early.
fn said_too_early(seen: &[Seen]) -> Result<usize, String> {
    let (mut dirty, mut flushed_since) = (false, false);
    let (mut written, mut safe) = (Vec::new(), BTreeSet::new());
    let mut checked = 0;
    for (at, one) in seen.iter().enumerate() {
        match one {
            Seen::Wrote => (dirty, flushed_since) = (true, false),
            Seen::Flushed => (dirty, flushed_since) = (false, true),
            Seen::Committing(batches) => written.clone_from(batches),
            Seen::Committed => {
                if dirty || !flushed_since {
                    return Err(format!("event {at}: {written:?} are called committed before their flush"));
                }
                safe.extend(written.drain(..));
                checked += 1;
            }
            Seen::Publishing(batch) => {
                if !safe.contains(batch) {
                    return Err(format!("event {at}: {batch} is published before its flush"));
                }
                checked += 1;
            }
            Seen::Durable | Seen::Acknowledging => {
                if dirty || !flushed_since {
                    return Err(format!("event {at}: {one:?} with bytes that are not flushed"));
                }
                checked += 1;
            }
        }
    }
    Ok(checked)
}

fn strace(trace: &Path, program: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "4000", "-e", "trace=write,pwrite64,writev,pwritev,fdatasync,fsync", "-e", "signal=none", "-o"]);
    command.arg(trace).arg(binary(program).expect("built")).env("RUST_LOG", "wardgate=debug,wardgate_cloud=debug");
    command
}

/// What a running strace runs: it passes no signal on.
pub fn traced(strace: &Process) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.id())).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}

fn stop_traced(process: &mut Process) {
    kill_process(traced(process).expect("it runs the program"), Signal::TERM).expect("it runs");
    process.wait_end(30).expect("a clean stop");
}

//= PROMISES.md#P4
#[test]
fn nothing_is_said_before_the_flush_returned() {
    let folder = Folder::new("flushed");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    let (sent, taken) = (folder.0.join("gateway.strace"), folder.0.join("receiver.strace"));
    stage.start_receiver_by(&mut strace(&taken, "wardgate-cloud")).expect("the receiver");
    let unruly = Unruly::on(&mut stage);
    std::fs::write(folder.0.join("gateway.toml"), stage.configuration()).expect("written");
    let mut gateway = stage.spawn_gateway(&mut strace(&sent, "wardgate")).expect("strace runs");
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("the gateway");
    stage.gateway = Some(gateway);
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    for _ in 0..5 {
        unruly.order("durable");
        sleep(Duration::from_millis(700));
    }
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    stop_traced(stage.gateway.as_mut().expect("running"));
    stop_traced(stage.receiver.as_mut().expect("running"));

    for (trace, kept, wanted) in
        [(&sent, "/state/store/", ["Publishing", "Durable", "Committed"]), (&taken, "/out/raw/", ["Acknowledging"; 3])]
    {
        let seen = read(&std::fs::read_to_string(trace).expect("a trace"), kept);
        for name in wanted {
            assert!(seen.iter().any(|s| format!("{s:?}").starts_with(name)), "{name} was never seen in {}", trace.display());
        }
        let checked = said_too_early(&seen).unwrap_or_else(|why| panic!("{}: {why}", trace.display()));
        println!("{checked} statements, each after its flush");
        // the same trace without its flushes must not pass: otherwise this test could not fail
        let without: Vec<_> = seen.into_iter().filter(|s| *s != Seen::Flushed).collect();
        assert!(said_too_early(&without).is_err(), "a gateway that never flushes would pass");
    }
}
