//! The fault proxy between a bus and a device: each fault that it tells is the outcome of that very request, no other request suffers, and the same seed
//! makes the same faults.

use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use wardgate::config;
use wardgate::contract::modbus::{Failure, Response};
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};
use wardgate_lab::sim::modbus::{Options, Server};

use super::Scratch;
use super::buses::{grant, serial};
use super::modbus::{Rig, holding, tcp};

const ASKED: usize = 40;
/// On a line a reply that comes later than twice this cannot be told from another's (docs/faults.md); the proxy's come after 1.5 s.
const TIMEOUT_MS: u64 = 1000;
/// A machine that builds something may be busy for a second now and then.
const BUSY_MAX: usize = 3;

/// `wardgate-lab proxy` with these words, and where the gateway finds its device.
pub fn proxy(words: &[&str], log: &Path) -> (Process, String) {
    let mut command = Command::new(binary("wardgate-lab").expect("built"));
    command.arg("proxy").args(words);
    let mut process = Process::start("proxy", &mut command, log).expect("it starts");
    let ready = |line: &str| serde_json::from_str::<Json>(line).ok()?["ready"].as_str().map(str::to_owned);
    let at = process.wait_for(READY_S_MAX, ready).expect("it is ready");
    (process, at)
}

/// What each request came to, and what the proxy said that it did.
type Story = (Vec<Result<Response, Failure>>, Vec<String>);

async fn story(bus: &config::Bus, mut process: Process) -> Story {
    let rig = Rig::on(bus, &["ct"], &grant());
    rig.only().is_up().await;
    let mut outcomes = Vec::new();
    for n in 0..ASKED {
        let (register, holds) = if n % 2 == 0 { (11, 200) } else { (9, 0) };
        let outcome = rig.only().ask(1, holding(register, 1)).await;
        assert!(outcome.is_err() || outcome == Ok(Response::Registers(vec![holds])), "request {n}: {outcome:?}");
        outcomes.push(outcome);
    }
    process.stop().expect("it ends");
    (outcomes, process.lines())
}

/// Each request that a fault befell came to what that fault makes; no other did.
fn is_told((outcomes, lines): &Story, what: &str) {
    let told: Vec<Json> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (mut befallen, mut harmed, mut busy) = (0, 0, 0);
    for (n, outcome) in outcomes.iter().enumerate() {
        let fault = told.iter().find(|line| line["frame"] == n);
        let Some(fault) = fault.and_then(|line| line["fault"].as_str()) else {
            assert!(outcome.is_ok() || *outcome == Err(Failure::Timeout), "{what}: nothing befell request {n}: {outcome:?}, {told:#?}");
            busy += usize::from(outcome.is_err());
            continue;
        };
        befallen += 1;
        harmed += usize::from(outcome.is_err());
        let right = match fault {
            "exception" => *outcome == Err(Failure::Exception(4)),
            "late" | "lost" => *outcome == Err(Failure::Timeout),
            "foreign" => *outcome == Err(Failure::Malformed),
            "unplug" => *outcome == Err(Failure::LinkDown),
            "slow" | "early" => outcome.is_ok(),
            _ => outcome.is_err(), // damage is a timeout where nothing of it looks like a frame
        };
        assert!(right || *outcome == Err(Failure::Timeout), "{what}: {fault} befell request {n}: {outcome:?}");
        busy += usize::from(!right);
    }
    assert!(busy <= BUSY_MAX, "{what}: {busy} requests without an answer in time for no reason");
    assert!(befallen >= 8 && harmed >= 5, "{what}: a run in which nothing happens proves nothing: {told:#?}");
    println!("{what}: {ASKED} requests, {befallen} befallen, {harmed} harmed");
}

async fn over_tcp(name: &str, seed: &str) -> Story {
    let scratch = Scratch::new(&format!("proxy-tcp-{name}"));
    let server = Server::new(Options::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
    let device = server.address().to_string();
    let (_stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(async { server.run(stopped).await.unwrap() });
    let faults = ["exception", "foreign", "early", "slow", "late", "lost", "partial", "unplug"].map(|name| format!("--fault={name}=4%"));
    let mut words = vec!["--gateway", "127.0.0.1:0", "--device", &device, "--seed", seed];
    words.extend(faults.iter().map(String::as_str));
    let (process, at) = proxy(&words, &scratch.file("log"));
    let bus = config::Bus { timeout_ms: TIMEOUT_MS, ..tcp(at.parse().unwrap()) };
    story(&bus, process).await
}

async fn over_rtu(name: &str, seed: &str) -> Story {
    let scratch = Scratch::new(&format!("proxy-rtu-{name}"));
    let (device, port) = (scratch.file("device"), scratch.file("port"));
    let server = SerialServer::new(&device, Framing::Rtu, false, Options::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    tasks.spawn(async { server.run(stopped).await.unwrap() });
    let faults =
        ["bit-errors", "partial", "exception", "foreign", "early", "slow", "late", "lost"].map(|name| format!("--fault={name}=4%"));
    let mut words = vec!["--gateway", port.to_str().unwrap(), "--device", device.to_str().unwrap(), "--frames", "modbus-rtu"];
    words.extend(["--baud", "115200", "--framing", "8E1", "--seed", seed]);
    words.extend(faults.iter().map(String::as_str));
    let (process, at) = proxy(&words, &scratch.file("log"));
    assert_eq!(Path::new(&at), port);
    let bus = config::Bus { timeout_ms: TIMEOUT_MS, ..serial(&port, "rtu") };
    story(&bus, process).await
}

//= PROMISES.md#P138
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_that_the_proxy_tells_is_the_outcome_of_that_request_and_the_same_seed_makes_the_same() {
    let (one, again, other, rtu, rtu_again) =
        tokio::join!(over_tcp("one", "7"), over_tcp("again", "7"), over_tcp("other", "8"), over_rtu("one", "7"), over_rtu("again", "7"),);
    is_told(&one, "tcp");
    is_told(&other, "tcp, another seed");
    is_told(&rtu, "rtu");
    is_told(&again, "tcp again");
    is_told(&rtu_again, "rtu again");
    assert_eq!(one.1, again.1, "the same seed");
    assert_eq!(rtu.1, rtu_again.1, "the same seed on a serial line");
    assert_ne!(one.1, other.1, "another seed");
}
