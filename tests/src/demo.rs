//! The demo ward: every process on the stage, a live summary, a bounded drain, and the account at the end.

use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value as Json;
use tokio::signal::unix::{SignalKind, signal};
use wardgate::status::Snapshot;

use crate::accountant::{self, Account};
use crate::neighbours;
use crate::stage::{CHILLER, MONITORS, Stage, WEARABLES};
use crate::summary::{Second, table};
use crate::ward;

/// What is on its way when the ward is switched off has this long to arrive.
const DRAIN_S_MAX: u64 = 60;
/// Nothing new for this long, with nothing waiting at the gateway: all has arrived.
const QUIET_MS: u64 = 2500;
/// The receiver waits ten seconds for the clock of a gateway that never knew the time.
const CLOCK_WAIT_MS: u64 = 12_000;

pub struct Options {
    pub seconds: Option<u64>,
    pub json: bool,
    pub folder: PathBuf,
    pub keep: bool,
    /// A plugin's folder, and what its device says every second.
    pub guest: Option<(PathBuf, String)>,
    /// Faults on every line, at random from this seed.
    pub faults: Option<u64>,
    /// A plugin and the address of a real Bluetooth device; without it Bluetooth is simulated, also where this machine has a BlueZ.
    pub ble: Option<(String, String)>,
}

#[derive(Serialize)]
pub struct Device {
    pub name: String,
    pub sent: u64,
    pub received: u64,
    pub missing: u64,
}

#[derive(Serialize)]
pub struct Guest {
    pub instance: String,
    pub received: u64,
    /// The last value of each channel, as the plugin said it.
    pub last: std::collections::BTreeMap<String, accountant::Content>,
}

/// A device's clock that was set.
#[derive(Serialize)]
pub struct ClockStep {
    pub device: String,
    /// By its send log.
    pub by_s: i64,
    /// By what the receiver wrote of it; one that was set back is believed when it has stayed so for ten seconds.
    pub recorded: bool,
}

/// The last line of the demo.
#[derive(Serialize)]
pub struct Report {
    pub devices: Vec<Device>,
    pub unexplained_gaps: u64,
    pub link_bytes: u64,
    /// The same values as one JSON message each.
    pub json_bytes: u64,
    /// The same values as one JSON message for each moment of a device, with arrays for waveforms.
    pub packed_json_bytes: u64,
    /// `json_bytes` against the bytes on the link.
    pub compression_ratio: f64,
    pub restarts: u64,
    pub first_reading_ms: Option<u64>,
    pub well: bool,
    /// The seed of the injected faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<u64>,
    /// Among the faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clock_steps: Vec<ClockStep>,
    /// The device that `--plugin` or `--ble` added; nobody keeps books of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Guest>,
    #[serde(skip)]
    pub complaints: Vec<String>,
}

/// The gateway's name at the broker.
const GATEWAY_CLIENT: &str = "wardgate-demo-ward";

static STOP: AtomicBool = AtomicBool::new(false);

/// Ctrl-C, SIGTERM and a closed terminal end the demo as the end of its time does: no process of it stays behind.
pub fn stop_in_order() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            STOP.store(true, Ordering::Relaxed);
        });
    });
}

/// One of its own for each demo.
pub fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("wardgate-demo-{}", std::process::id()))
}

pub fn run(options: &Options) -> Result<Report, String> {
    let mut stage = Stage::new(&options.folder)?;
    stage.sign()?;
    let guest = options.guest.as_ref().map(|(folder, text)| stage.invite(folder).map(|name| (name, text.as_str()))).transpose()?;
    let real = options.ble.as_ref().map(|(plugin, address)| stage.wear(plugin, address)).transpose()?;
    stage.wearables = real.is_none();
    // it listens while the ward is made ready
    let neighbours = real.is_none().then(|| std::thread::spawn(neighbours::heard));
    stage.start_broker()?;
    let mut more: Vec<&str> = guest.iter().flat_map(|(name, text)| ["--guest", name, text]).collect();
    let seed = options.faults.map(|seed| seed.to_string());
    more.extend(seed.iter().flat_map(|seed| ["--faults", seed]));
    stage.start_ward(&more)?;
    stage.start_receiver()?;
    stage.write_configuration()?;
    introduce(&stage, options.json);
    if let Some(neighbours) = neighbours {
        eprintln!(
            "Bluetooth is simulated: the ward's own devices are on a BlueZ of wardgate-lab's own, on a D-Bus of its own. A real device instead: --ble PLUGIN=ADDRESS"
        );
        eprintln!("{}\n", neighbours.join().unwrap_or_else(|_| "what this machine's BlueZ hears is not known: looking failed".into()));
    }
    let begun_ns = boottime_ns();
    stage.start_gateway()?;
    stage.ward.as_mut().expect("started above").tell("on")?;
    let mut meter = Meter::default();
    watch(&mut stage, options, &mut meter)?;
    stage.take_off()?;
    stage.switch_off()?;
    drain(&mut stage, &mut meter)?;
    let restarts = stage.gateway_status().map_or(0, |s| s.instances.values().map(|i| i.restarts).sum());
    stage.gateway.as_mut().expect("started above").stop()?;
    let mut report = account(&stage, &meter, begun_ns, restarts, options.faults);
    report.plugin = guest.map(|(name, _)| name).or(real).map(|name| heard_of(&stage, name));
    if let Some(silent) = report.plugin.as_ref().filter(|guest| guest.received == 0) {
        report.complaints.push(format!("{}: not one value came; look at log/gateway.log (--keep keeps it)", silent.instance));
    }
    drop(stage); // ends whoever still writes there
    if !options.keep {
        let _ = std::fs::remove_dir_all(&options.folder); // a temporary folder: the system clears what we could not
    }
    Ok(report)
}

/// Who signed what, and what it may reach: as `wardgate check` says it.
fn introduce(stage: &Stage, to_stderr: bool) {
    let Ok(wardgate) = crate::process::binary("wardgate") else { return };
    let check = std::process::Command::new(wardgate).arg("check").arg("--config").arg(stage.folder.join("gateway.toml")).output();
    let said = check.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    let wanted = ["runs ", "signed by ", "on ", "of the Bluetooth ", "of one Bluetooth ", "may ", "touches ", "hears "];
    let mut text =
        String::from("Who may run here, by whose key, and what it may reach (fleet, vendor and site are throw-away keys of this demo):\n");
    for line in said.lines() {
        let inner = line.strip_prefix("  ").unwrap_or_default();
        if line.contains(", package ") {
            text += &format!("{}\n", line.split(", package ").next().unwrap_or(line));
        } else if wanted.iter().any(|w| inner.starts_with(w)) {
            text += &format!("{line}\n");
        }
    }
    let _ = if to_stderr { writeln!(std::io::stderr(), "{text}") } else { writeln!(std::io::stdout(), "{text}") };
}

/// Bytes on the gateway's connections to the broker, TLS and all, both ways: counted by the broker.
#[derive(Default)]
struct Meter {
    link_bytes: u64,
}

impl Meter {
    fn read(&mut self, stage: &mut Stage) -> u64 {
        for line in stage.broker.iter().flat_map(|b| b.lines()) {
            let Ok(json) = serde_json::from_str::<Json>(&line) else { continue };
            let gateway = &json["clients"][GATEWAY_CLIENT];
            if let (Some(from), Some(to)) = (gateway["bytes_from"].as_u64(), gateway["bytes_to"].as_u64()) {
                self.link_bytes = from + to;
            }
        }
        self.link_bytes
    }
}

fn watch(stage: &mut Stage, options: &Options, meter: &mut Meter) -> Result<(), String> {
    let end = options.seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let live = !options.json || std::io::stderr().is_terminal();
    let mut before = stage.gateway_status().unwrap_or_default();
    let (mut shown, mut bytes_before) = (0, meter.read(stage));
    loop {
        let left = end.map_or(Duration::from_secs(1), |e| e.saturating_duration_since(Instant::now()));
        if left.is_zero() || STOP.load(Ordering::Relaxed) {
            return Ok(());
        }
        sleep(left.min(Duration::from_secs(1)));
        for process in [&mut stage.broker, &mut stage.ward, &mut stage.receiver, &mut stage.gateway].into_iter().flatten() {
            if !process.running() {
                return Err(format!("{} ended by itself; its log ends:\n{}", process.name, process.log_end()));
            }
        }
        let bytes = meter.read(stage);
        if let Some(now) = stage.gateway_status() {
            if live {
                let text = table(&Second { before: &before, now: &now, link_bytes: bytes - bytes_before });
                shown = show(&text, shown, options.json);
            }
            before = now;
        }
        bytes_before = bytes;
    }
}

/// Over the table before it, where the terminal can.
fn show(text: &str, shown: usize, to_stderr: bool) -> usize {
    let terminal = if to_stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let up = if terminal && shown > 0 { format!("\x1b[{shown}A\x1b[J") } else { String::new() };
    let text = format!("{up}{text}{}", if terminal { "" } else { "\n" });
    let _ = if to_stderr { std::io::stderr().write_all(text.as_bytes()) } else { std::io::stdout().write_all(text.as_bytes()) };
    text.matches('\n').count()
}

/// Until the gateway holds nothing and the receiver's output stands still.
pub fn drain_stage(stage: &mut Stage) -> Result<(), String> {
    drain(stage, &mut Meter::default())
}

fn drain(stage: &mut Stage, meter: &mut Meter) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(DRAIN_S_MAX);
    let (mut last, mut still_since) = (0, Instant::now());
    while Instant::now() < end {
        sleep(Duration::from_millis(100));
        meter.read(stage);
        let waiting = stage.gateway_status().map_or(1, |s| s.store.batches_waiting);
        let size = size_of(&stage.output());
        if size != last || waiting > 0 {
            (last, still_since) = (size, Instant::now());
        } else if still_since.elapsed() > Duration::from_millis(if held_back(stage) { CLOCK_WAIT_MS } else { QUIET_MS }) {
            return Ok(());
        }
    }
    let why = stage.gateway_status().map_or_else(|| "the gateway does not answer".to_owned(), |s| undrained(&s));
    Err(format!("the ward does not drain within {DRAIN_S_MAX} s: {why}"))
}

/// What the receiver has and does not write yet, because no clock of its gateway is known.
fn held_back(stage: &Stage) -> bool {
    let status = stage.receiver_status();
    status["gateways"].as_object().is_some_and(|all| all.values().any(|gateway| gateway["waiting"].as_u64() > Some(0)))
}

fn undrained(gateway: &Snapshot) -> String {
    let (waiting, link) = (gateway.store.batches_waiting, &gateway.uplink);
    match (waiting, link.connected) {
        (0, _) => "the receiver goes on writing although the gateway holds nothing".into(),
        (_, true) => format!("{waiting} batches wait for the receiver's acknowledgement; look at receiver.log"),
        (_, false) => format!("{waiting} batches wait and {} is not reached: {}", link.broker, link.last_error),
    }
}

fn size_of(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| if e.path().is_dir() { size_of(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) }).sum()
}

/// Every device's books, by name.
pub fn books(stage: &Stage) -> Vec<(String, Account)> {
    books_with(stage, false)
}

/// `faults`: lines lost some of what was sent, or changed it.
pub fn books_with(stage: &Stage, faults: bool) -> Vec<(String, Account)> {
    let output = stage.output();
    let gaps = accountant::read_gaps(&output);
    let wearables = WEARABLES.iter().map(|w| w.name).filter(|_| stage.wearables);
    let names = MONITORS.iter().map(|(name, _)| *name).chain([CHILLER]).chain(wearables);
    names
        .map(|name| {
            let received = accountant::read_received(&output, name);
            let mut sent =
                if faults { ward::read_sent_over_faults(&stage.folder, name, &received) } else { ward::read_sent(&stage.folder, name) };
            ward::tell_once(&mut sent, &received);
            let mut account = accountant::compare(name, &sent, &received, &gaps);
            accountant::check_places(&mut account, name, &accountant::lines_below(&output.join(name)), &gaps);
            (name.to_owned(), account)
        })
        .collect()
}

fn json_bytes(channel: &str, track: &accountant::Track) -> u64 {
    track.iter().map(|(_, content)| accountant::json_bytes(channel, content)).sum()
}

fn heard_of(stage: &Stage, instance: String) -> Guest {
    let tracks = accountant::read_received(&stage.output(), &instance);
    let received = tracks.values().flatten().map(|(_, content)| content.values()).sum();
    let last = tracks.into_iter().filter_map(|(channel, mut track)| Some((channel, track.pop()?.1))).collect();
    Guest { instance, received, last }
}

/// Each step of a clock by the devices' own logs, and whether the ledger at the receiver has one of that device for it.
fn clock_steps(stage: &Stage) -> Vec<ClockStep> {
    let records = accountant::whole_lines_of(&stage.output().join("records.jsonl"));
    let mut steps = Vec::new();
    for name in WEARABLES.iter().map(|w| w.name) {
        let of = |r: &&Json| r["record"] == "device-clock" && r["instance"] == name && (r["change"] == "step" || r["change"] == "wrap");
        let told = records.iter().filter(of).count();
        let made = ward::clock_steps(&stage.folder, name).into_iter().enumerate();
        steps.extend(made.map(|(n, by_s)| ClockStep { device: name.into(), by_s, recorded: n < told }));
    }
    steps
}

fn account(stage: &Stage, meter: &Meter, begun_ns: u64, restarts: u64, faults: Option<u64>) -> Report {
    let books = books_with(stage, faults.is_some());
    let gaps = accountant::read_gaps(&stage.output());
    let unexplained_gaps =
        gaps.iter().filter(|g| g.reason == "unknown").count() as u64 + books.iter().map(|(_, a)| a.unexplained).sum::<u64>();
    let received: Vec<_> = books.iter().map(|(name, _)| accountant::read_received(&stage.output(), name)).collect();
    let json_bytes = received.iter().flatten().map(|(channel, track)| json_bytes(channel, track)).sum();
    let packed_json_bytes = received.iter().map(accountant::packed_json_bytes).sum();
    let first = stage.receiver_status()["first_reading"]["monotonic_ns"].as_u64();
    let well = unexplained_gaps == 0 && books.iter().all(|(_, a)| a.adds_up() && (a.missing == 0 || faults.is_some()) && a.sent > 0);
    Report {
        unexplained_gaps,
        link_bytes: meter.link_bytes,
        json_bytes,
        packed_json_bytes,
        compression_ratio: (json_bytes as f64 / meter.link_bytes.max(1) as f64 * 10.0).round() / 10.0,
        restarts,
        first_reading_ms: first.map(|ns| ns.saturating_sub(begun_ns) / 1_000_000),
        well,
        faults,
        clock_steps: clock_steps(stage),
        plugin: None,
        complaints: books.iter().flat_map(|(_, a)| a.complaints.clone()).collect(),
        devices: books.into_iter().map(|(name, a)| Device { name, sent: a.sent, received: a.received, missing: a.missing }).collect(),
    }
}

pub fn boottime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
