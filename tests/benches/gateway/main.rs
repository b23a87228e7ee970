//! What the gateway costs, each figure beside its bound: `make bench`. Ends with failure where a bound is missed.
//!
//! Processor time is counted by the kernel in nanoseconds, so that a busy machine disturbs it little; wall time (the start) it disturbs much.

#![allow(clippy::disallowed_methods, reason = "measuring is what it is for")]

mod bare;
mod beside;
mod calls;
mod dead;
mod device;
mod floor;
mod frames;
mod meter;
mod native;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use wardgate_lab::demo::boottime_ns;
use wardgate_lab::ports;
use wardgate_lab::process::{Process, READY_S_MAX, binary, root};
use wardgate_lab::pty::Pty;
use wardgate_lab::stage::{GATEWAY, Stage};

use meter::{Threads, memory_mib};

pub const UNITS: u8 = 8;
pub const REGISTERS: u16 = 20;
/// A steady state: connected, first group written, plugins warm, what only the start needed given back.
const WARM_S: u64 = 12;
const SECONDS: u64 = 60;
/// What can be measured alone.
const PARTS: &[&str] = &["calls", "frames", "polling", "floor", "beside", "dead", "memory", "link"];
const NATIVE_VERB: &str = "native-poller";
const FLOOR_VERB: &str = "floor";

type Done<T> = Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect(); // cargo adds it
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [NATIVE_VERB, device, broker] => {
            native::poll(device.parse().expect("an address"), broker.parse().expect("a port"));
            ExitCode::SUCCESS
        }
        [FLOOR_VERB, device, broker, folder] => {
            floor::poll(device.parse().expect("an address"), broker.parse().expect("a port"), Path::new(folder));
            ExitCode::SUCCESS
        }
        [] => report(SECONDS, PARTS),
        ["--for", time, ref parts @ ..] => match time.trim_end_matches('s').parse() {
            Ok(seconds) if seconds > 0 && parts.iter().all(|p| PARTS.contains(p)) => {
                report(seconds, if parts.is_empty() { PARTS } else { parts })
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "make bench ARGS=\"--for 10s\": how long each figure is measured; {SECONDS}s without it. Parts may follow: {}",
        PARTS.join(", ")
    );
    ExitCode::from(2)
}

/// One line of the table.
struct Figure {
    what: &'static str,
    measured: f64,
    at_most: f64,
    unit: &'static str,
    how: String,
}

fn report(seconds: u64, parts: &[&str]) -> ExitCode {
    let folder = std::env::temp_dir().join(format!("wardgate-bench-{}", std::process::id()));
    let figures = measure(&folder, seconds, parts);
    match figures {
        Ok(figures) => {
            let _ = std::fs::remove_dir_all(&folder); // a temporary folder: the system clears what we could not
            for f in &figures {
                let verdict = if f.measured <= f.at_most { "holds" } else { "MISSED" };
                println!("{:46} {:8.2} of {:6.2} {:7} {verdict:6}  {}", f.what, f.measured, f.at_most, f.unit, f.how);
            }
            ExitCode::from(u8::from(figures.iter().any(|f| f.measured > f.at_most)))
        }
        Err(why) => {
            eprintln!("bench: {why}\nlogs: {}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path, seconds: u64, parts: &[&str]) -> Done<Vec<Figure>> {
    let mut figures = Vec::new();
    if parts.contains(&"calls") {
        figures.extend(calls::figures()?);
    }
    if parts.contains(&"frames") {
        figures.extend(frames::figures()?);
    }
    if parts.contains(&"polling") {
        figures.extend(polling(&folder.join("polling"), seconds)?);
    }
    if parts.contains(&"floor") {
        figures.push(floor(&folder.join("floor"), seconds)?);
    }
    if parts.contains(&"beside") {
        figures.extend(beside::figures(&folder.join("beside"), seconds)?);
    }
    if parts.contains(&"dead") {
        figures.extend(dead::figures(&folder.join("dead"), seconds)?);
    }
    if parts.contains(&"memory") {
        figures.extend(idle(&folder.join("one"), 1, seconds)?.into_iter().take(1));
        figures.extend(idle(&folder.join("twenty"), 20, seconds)?);
    }
    if parts.contains(&"link") {
        figures.push(link(seconds)?);
    }
    Ok(figures)
}

/// Broker, receiver and gateway with these instances; the gateway is ready.
fn stage(folder: &Path, instances: &str) -> Done<Stage> {
    let mut stage = Stage::new(folder)?;
    stage.start_broker()?;
    stage.start_receiver()?;
    let whole = stage.configuration();
    let ground = whole.split("[bus.plant]").next().unwrap_or_default();
    std::fs::write(folder.join("gateway.toml"), format!("{ground}{instances}")).map_err(|e| e.to_string())?;
    start(&mut stage)?;
    Ok(stage)
}

fn start(stage: &mut Stage) -> Done<()> {
    let mut gateway = stage.spawn_gateway(&mut Command::new(binary("wardgate")?))?;
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(()))?;
    stage.gateway = Some(gateway);
    Ok(())
}

fn packages() -> PathBuf {
    root().join("plugins/target/packages")
}

/// An instance for each unit, all on one bus.
fn pollers(bus: &str, registers: u16) -> String {
    let mut text = format!("[bus.plant]\n{bus}\n");
    let rows: String = (0..registers).map(|r| format!("r{r} holding {r} u16\n")).collect();
    for unit in 1..=UNITS {
        text += &format!(
            "\n[instance.unit-{unit}]\npackage = \"{}/modbus-map-0.1.0\"\n[instance.unit-{unit}.settings]\nserver = {unit}\nmap = '''\n{rows}'''\n\
             [instance.unit-{unit}.grants.modbus]\nbus = \"plant\"\nservers = [{unit}]\nallow = [{{ function = 3, addresses = [\"0..{}\"] }}]\n",
            packages().display(),
            registers - 1
        );
    }
    text
}

fn over_tcp(device: SocketAddr) -> String {
    pollers(&format!("tcp = \"{device}\""), REGISTERS)
}

/// The gateway and the native poller side by side on the same devices, each to a broker of its own; then the start with everything cached.
fn polling(folder: &Path, seconds: u64) -> Done<Vec<Figure>> {
    let device = device::start();
    let mut stage = stage(folder, &over_tcp(device))?;
    let (mut native, _mosquitto) = native(folder, device)?;
    sleep(Duration::from_secs(WARM_S));
    let ours = stage.gateway.as_ref().expect("started").id();
    let taken = watch(&[ours, native.id()], seconds);
    if !native.running() {
        return Err(format!("the native poller ended: {}", native.log_end()));
    }
    let readings = stage.gateway_status().map_or(0, |s| s.instances.values().map(|i| i.readings).sum());
    let due = u64::from(UNITS) * u64::from(REGISTERS) * seconds;
    if readings < due {
        return Err(format!("the gateway read {readings} values where {due} were due"));
    }
    let (ours, theirs) = (us_a_reading(taken[0], seconds), us_a_reading(taken[1], seconds));
    let how = format!("{ours:.2} us of processor time a reading, native {theirs:.2} us");
    let mut figures =
        vec![Figure { what: "processor time a reading, against native", measured: ours / theirs, at_most: 1.6, unit: "x", how }];

    stage.gateway.as_mut().expect("started").stop()?;
    figures.push(first_reading(&mut stage)?);
    Ok(figures)
}

/// The yardstick on these devices, with a broker of its own.
fn native(folder: &Path, device: SocketAddr) -> Done<(Process, Process)> {
    let port = ports::own().map_err(|e| e.to_string())?;
    let mut mosquitto = Command::new("/usr/sbin/mosquitto");
    let mosquitto = Process::start("mosquitto", mosquitto.args(["-p", &port.to_string()]), &folder.join("log/mosquitto.log"))?;
    sleep(Duration::from_secs(1)); // it says nothing when it is ready
    let mut native = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    native.args([NATIVE_VERB, &device.to_string(), &port.to_string()]);
    Ok((Process::start("native poller", &mut native, &folder.join("log/native.log"))?, mosquitto))
}

fn us_a_reading((cpu_ns, _): (u64, u64), seconds: u64) -> f64 {
    cpu_ns as f64 / 1000.0 / (u64::from(UNITS) * u64::from(REGISTERS) * seconds) as f64
}

/// TLS and a flush a second beside the yardstick, and nothing else: what is left of the ratio is the gateway's own. No bound stands on it.
fn floor(folder: &Path, seconds: u64) -> Done<Figure> {
    let device = device::start();
    let mut stage = Stage::new(folder)?;
    stage.start_broker()?;
    let (native, _mosquitto) = native(folder, device)?;
    let mut floor = Command::new(std::env::current_exe().map_err(|e| e.to_string())?);
    floor.args([FLOOR_VERB, &device.to_string(), &stage.broker_port.to_string()]).arg(folder);
    let mut floor = Process::start("floor", &mut floor, &folder.join("log/floor.log"))?;
    sleep(Duration::from_secs(WARM_S));
    let taken = watch(&[floor.id(), native.id()], seconds);
    if !floor.running() {
        return Err(format!("the floor ended: {}", floor.log_end()));
    }
    let (ours, theirs) = (us_a_reading(taken[0], seconds), us_a_reading(taken[1], seconds));
    let how = format!("{ours:.2} us a reading with TLS and a flush and nothing else, native {theirs:.2} us; tells, and bounds nothing");
    Ok(Figure { what: "the same without sandbox and books", measured: ours / theirs, at_most: f64::INFINITY, unit: "x", how })
}

//= PROMISES.md#P32
fn first_reading(stage: &mut Stage) -> Done<Figure> {
    // the receiver says when it wrote its first reading: a fresh one counts from this start
    stage.receiver.as_mut().expect("started").stop()?;
    let _ = std::fs::remove_file(stage.folder.join("receiver.json")); // the old one would answer for the new
    stage.start_receiver()?;
    // what the last life left would be sent at once and pass for a fresh reading
    std::fs::remove_dir_all(stage.folder.join("state/store")).map_err(|e| e.to_string())?;
    sleep(Duration::from_secs(1)); // subscribed
    let begun_ns = boottime_ns();
    start(stage)?;
    let end = Instant::now() + Duration::from_secs(READY_S_MAX);
    while Instant::now() < end {
        if let Some(at) = stage.receiver_status()["first_reading"]["monotonic_ns"].as_u64() {
            let measured = at.saturating_sub(begun_ns) as f64 / 1e9;
            let how = "wall time, from exec to the receiver's output".into();
            return Ok(Figure { what: "start to the first reading in the cloud", measured, at_most: 0.3, unit: "s", how });
        }
        sleep(Duration::from_millis(20));
    }
    Err("no reading came after the second start".into())
}

//= PROMISES.md#P31
//= PROMISES.md#P33
/// Bedside monitors on silent lines.
fn idle(folder: &Path, count: usize, seconds: u64) -> Done<Vec<Figure>> {
    let (mut lines, mut text) = (Vec::new(), String::new());
    std::fs::create_dir_all(folder.join("dev")).map_err(|e| e.to_string())?;
    for n in 1..=count {
        let line = folder.join("dev").join(format!("bed-{n}"));
        lines.push(Pty::plug_in(&line).map_err(|e| e.to_string())?);
        text += &format!(
            "\n[instance.bed-{n}]\npackage = \"{}/ivy450c-0.1.0\"\n[instance.bed-{n}.grants.serial]\nport = \"{}\"\nbaud = 9600\n",
            packages().display(),
            line.display()
        );
    }
    let stage = stage(folder, &text)?;
    sleep(Duration::from_secs(WARM_S));
    let process = stage.gateway.as_ref().expect("started").id();
    let (sleeps, (rss, pss)) = std::thread::scope(|threads| {
        let watched = threads.spawn(|| watch(&[process], seconds)[0].1);
        let mut most = memory_mib(process);
        while !watched.is_finished() {
            sleep(Duration::from_secs(1));
            let now = memory_mib(process);
            most = (most.0.max(now.0), most.1.max(now.1));
        }
        (watched.join().expect("it only reads"), most)
    });
    let (what, at_most) = if count == 1 { ("memory, 1 instance", 10.0) } else { ("memory, 20 instances", 13.0) };
    let memory = Figure {
        what,
        measured: rss,
        at_most,
        unit: "MiB",
        how: format!("the most of {GATEWAY}'s resident set, looked at each second; proportional {pss:.1}"),
    };
    let how = "voluntary context switches of all threads".into();
    let measured = sleeps as f64 / seconds as f64;
    Ok(vec![memory, Figure { what: "wake-ups of 20 idle instances", measured, at_most: 20.0, unit: "a second", how }])
}

/// The demo ward's own count, handshakes and all.
//= PROMISES.md#P34
fn link(seconds: u64) -> Done<Figure> {
    let output = Command::new(binary("wardgate-lab")?).args(["demo", "--json", "--for", &format!("{seconds}s")]).output();
    let output = output.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).map_err(|e| format!("the demo's last line: {e}"))?;
    let (link, json) = (report["link_bytes"].as_u64().unwrap_or_default(), report["json_bytes"].as_u64().unwrap_or_default());
    let how = format!("{link} bytes both ways with TLS, {json} as JSON");
    let measured = link as f64 / json.max(1) as f64 * 20.0;
    Ok(Figure { what: "bytes on the link, in twentieths of JSON", measured, at_most: 1.0, unit: "/20", how })
}

/// What each process takes in this time: processor nanoseconds, sleeps.
fn watch(processes: &[u32], seconds: u64) -> Vec<(u64, u64)> {
    let look = |threads: &mut Vec<Threads>| threads.iter_mut().zip(processes).for_each(|(t, p)| t.look(*p));
    let mut now = vec![Threads::default(); processes.len()];
    look(&mut now);
    let before = now.clone();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_secs(1)));
        look(&mut now);
    }
    now.iter().zip(&before).map(|(n, b)| (n.cpu_ns() - b.cpu_ns(), n.sleeps() - b.sleeps())).collect()
}
