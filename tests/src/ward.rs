//! The process of the simulated devices, and what they say that they sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::accountant::{Content, NOTE_LATE_NS, Tracks};
use crate::sim::serial::capture::Capture;
use crate::sim::serial::repeat::Repeater;
use crate::sim::{ble, modbus, serial};
use crate::stage::{CHILLER, MONITORS, WEARABLES, bluez};

/// On a bad line every so many messages one is cut short, in every so many a few bits flip, and every so many come behind bytes that belong to nothing.
const BAD_LINE: serial::Trouble = serial::Trouble { noise_every: 5, cut_every: 4, stray_every: 3 };

/// What is asked of the ward on its command line.
#[derive(Default, clap::Args)]
pub struct Options {
    /// Plays this capture on the first monitor's line instead of the generated stream
    #[arg(long)]
    pub capture: Option<PathBuf>,
    /// A bad line: messages are cut short or have wrong bits in them, and bytes that belong to nothing come between them
    #[arg(long)]
    pub trouble: bool,
    /// Faults on every line, at random from this seed
    #[arg(long)]
    pub faults: Option<u64>,
    /// Only on the line of this device
    #[arg(long, requires = "faults")]
    pub faults_on: Option<String>,
    /// The second of their lives at which the generated monitors begin
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Bluetooth devices too, on a simulated BlueZ
    #[arg(long)]
    pub wearables: bool,
    /// A device more: plays TEXT every second on the line of this instance
    #[arg(long, value_names = ["INSTANCE", "TEXT"], num_args = 2, allow_hyphen_values = true)]
    pub guest: Option<Vec<String>>,
}

impl Options {
    fn faults_of(&self, device: &str) -> Option<u64> {
        self.faults.filter(|_| self.faults_on.as_ref().is_none_or(|one| one == device))
    }
}

fn log(folder: &Path, device: &str) -> PathBuf {
    folder.join("sent").join(format!("{device}.jsonl"))
}

/// Lines are plugged in at once; the devices talk from `on` to `off` on standard input.
const PANICKED: i32 = 101; // as a program ends whose main thread panics

pub fn main(folder: &Path, options: &Options) -> Result<(), String> {
    // a device that a panic ended would just be silent, and nothing of it missing
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::exit(PANICKED);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    let guest = options.guest.as_deref().and_then(|words| Some((words.first()?, words.get(1)?)));
    let guest = guest.map(|(name, text)| Repeater::new(&folder.join("dev").join(name), text)).transpose()?;
    runtime.block_on(run(folder, options, guest)).map_err(|e| e.to_string())
}

async fn run(folder: &Path, asked: &Options, guest: Option<Repeater>) -> std::io::Result<()> {
    let mut monitors = Vec::new();
    for (n, (name, _)) in MONITORS.iter().enumerate() {
        let mut options = serial::Options::new(folder.join("dev").join(name), n as u64 + 1);
        options.log = Some(log(folder, name));
        options.from = asked.from;
        options.capture = asked.capture.clone().filter(|_| n == 0);
        if asked.trouble {
            options.trouble = BAD_LINE;
        }
        options.faults = asked.faults_of(name);
        monitors.push(serial::Monitor::new(options)?);
    }
    let mut options = modbus::Options::new(([127, 0, 0, 1], 0).into());
    options.log = Some(log(folder, CHILLER));
    options.faults = asked.faults_of(CHILLER);
    let chiller = modbus::Server::new(options).await?;
    let (stop, stopped) = watch::channel(false);
    let bluez = if asked.wearables { Some(wearables(folder, asked, stopped.clone())?) } else { None };
    println!("{}", serde_json::json!({ "modbus": chiller.address().port() }));

    let (on, off) = (word("on").await, word("off"));
    let mut devices = tokio::task::JoinSet::new();
    if on {
        for monitor in monitors.drain(..) {
            devices.spawn(monitor.run(stopped.clone()));
        }
        if let Some(guest) = guest {
            devices.spawn(guest.run(stopped.clone()));
        }
        devices.spawn(chiller.run(stopped));
        bluez.iter().for_each(|bluez| bluez.order("on").expect("an order"));
        off.await;
        bluez.iter().for_each(|bluez| bluez.order("off").expect("an order"));
    }
    let _ = stop.send(true);
    while let Some(ended) = devices.join_next().await {
        ended.expect("no simulator panics")?;
    }
    println!("{}", serde_json::json!({ "off": true }));
    word("end").await; // lines stay plugged in until the owner has gone
    Ok(())
}

/// With faults their clocks step; their links do not fail here.
fn wearables(folder: &Path, asked: &Options, stop: crate::sim::Stop) -> std::io::Result<ble::Bluez> {
    let simulated = |w: &crate::stage::Wearable| {
        let device = ble::device(&format!("{}:{}:{}", w.kind, w.name, w.address)).expect("it is simulated");
        ble::Device { clock_steps: asked.faults_of(w.name), ..device }
    };
    let options =
        ble::Options { socket: bluez(folder), sent: Some(folder.join("sent")), devices: WEARABLES.iter().map(simulated).collect() };
    ble::Bluez::start(options, stop)
}

/// Whether this word came; false at the end of input.
async fn word(wanted: &'static str) -> bool {
    let read = move || std::io::stdin().lock().lines().map_while(Result::ok).any(|line| line.trim() == wanted);
    tokio::task::spawn_blocking(read).await.unwrap_or(false)
}

/// Everything that a device of the ward said, by the channel names of its plugin. Messages that the line damaged count for nothing; stray
/// bytes before one do it no harm.
pub fn read_sent(folder: &Path, device: &str) -> Tracks {
    if device == CHILLER {
        return chiller_tracks(&chiller_said(folder));
    }
    if WEARABLES.iter().any(|w| w.name == device) {
        return wearable_tracks(&ble::read(&folder.join("sent"), device));
    }
    monitor_tracks(monitor_said(folder, device).iter().filter(|s| s.damage.as_deref().is_none_or(|d| d == "stray")))
}

/// The mark of a message that arrived with its flipped bits.
pub const WRONG_BITS: &str = "taken with wrong bits";

/// A message on its way, as the receiver has to know it.
pub enum Fate {
    /// As the line had it: these are its texts and values.
    Arrived(serial::Said),
    Lost(serial::Said),
}

/// What must have become of each message; of those whose bits flipped, and that still look whole, the receiver's output says whether the plugin took them.
pub fn fates(messages: Vec<serial::Said>, received: &Tracks) -> Vec<Fate> {
    let mut fates: Vec<_> = messages
        .into_iter()
        .map(|meant| match meant.damage.as_deref() {
            None | Some("stray") => Fate::Arrived(meant),
            Some(damage) => {
                let bytes = meant.line.as_deref().expect("the log has the bytes of a damaged message");
                let found = Capture::find(bytes).filter(|_| !damage.contains("cut"));
                let found = found.map(|said| serial::Said { monotonic_ns: meant.monotonic_ns, damage: Some(WRONG_BITS.into()), ..said });
                found.filter(|said| took(received, said)).map_or_else(|| Fate::Lost(meant), Fate::Arrived)
            }
        })
        .collect();
    // the end of a gap is known with the next good message
    while matches!(fates.last(), Some(Fate::Lost(_))) {
        fates.pop();
    }
    fates
}

/// Two seconds of ECG are never the same, and no flipped bit undoes another.
fn took(received: &Tracks, said: &serial::Said) -> bool {
    let ecg = Content::Samples(said.waves["ecg"].iter().map(|s| i64::from(*s)).collect());
    received.get("ecg").into_iter().flatten().any(|(_, got)| *got == ecg)
}

/// As [`read_sent`], where lines have faults: what they lost counts as sent, and what they changed counts as the line had it.
pub fn read_sent_over_faults(folder: &Path, device: &str, received: &Tracks) -> Tracks {
    if device == CHILLER {
        return chiller_tracks(&chiller_said(folder));
    }
    if WEARABLES.iter().any(|w| w.name == device) {
        return wearable_tracks(&ble::read(&folder.join("sent"), device)); // no bit of a radio message is wrong: a checksum guards it
    }
    let fates = fates(monitor_said(folder, device), received);
    monitor_tracks(fates.iter().map(|fate| match fate {
        Fate::Arrived(said) | Fate::Lost(said) => said,
    }))
}

/// On each link a glucose meter is asked for the last records once more, to see that it numbers as it did, and they are to come once. Of
/// several sendings of one record that counts which came, else the first.
pub fn tell_once(sent: &mut Tracks, received: &Tracks) {
    let Some(numbers) = sent.get("sequence") else { return };
    let came = |number: &Content| received.get("sequence")?.iter().find(|(_, content)| content == number).map(|(at, _)| *at);
    let (mut counts, mut again) = (BTreeMap::<&Content, u64>::new(), BTreeSet::new());
    for (at, number) in numbers {
        let before = counts.insert(number, *at);
        if let Some(before) = before {
            let this_came = came(number).is_some_and(|came| *at <= came + NOTE_LATE_NS);
            let (counted, not) = if this_came { (*at, before) } else { (before, *at) };
            counts.insert(number, counted);
            again.insert(not);
        }
    }
    sent.values_mut().for_each(|track| track.retain(|(at, _)| !again.contains(at)));
}

/// The send log of a monitor.
pub fn monitor_said(folder: &Path, device: &str) -> Vec<serial::Said> {
    lines(&log(folder, device))
}

/// By how many seconds the clock of a Bluetooth device was set, each time, by its send log.
pub fn clock_steps(folder: &Path, device: &str) -> Vec<i64> {
    const STEP_S_MIN: i64 = 60; // what is set by less is lost among the delays
    let ahead = |said: &ble::Said| said.clock_s.map(|s| s - (said.monotonic_ns / 1_000_000_000) as i64);
    let ahead: Vec<i64> = ble::read(&folder.join("sent"), device).iter().filter_map(ahead).collect();
    // its stamps and ours are cut to seconds: a step is right to one of them
    let nearest = |by: i64| (by as f64 / 60.0).round() as i64 * 60;
    ahead.windows(2).map(|w| w[1] - w[0]).filter(|by| by.abs() > STEP_S_MIN).map(nearest).collect()
}

/// The send log of the chiller.
pub fn chiller_said(folder: &Path) -> Vec<modbus::Said> {
    lines(&log(folder, CHILLER))
}

fn lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
}

/// The values of each line of the monitor's text, in order.
const NUMERICS: [(&str, &[&str]); 9] = [
    ("HR", &["hr"]),
    ("RR", &["rr"]),
    ("ETCO2", &["etco2"]),
    ("SPO2", &["spo2", "pr"]),
    ("NIBP", &["nibp-sys", "nibp-dia", "nibp-mean", "nibp-pr"]),
    ("P1", &["p1-sys", "p1-dia", "p1-mean"]),
    ("P2", &["p2-sys", "p2-dia", "p2-mean"]),
    ("T1", &["t1"]),
    ("T2", &["t2"]),
];

/// What these messages say, by the channel names of the monitor's plugin.
pub fn monitor_tracks<'a>(messages: impl IntoIterator<Item = &'a serial::Said>) -> Tracks {
    let mut tracks = Tracks::new();
    for said in messages {
        let at = said.monotonic_ns;
        let mut add = |channel: &str, content| tracks.entry(channel.to_owned()).or_default().push((at, content));
        for (name, samples) in &said.waves {
            add(name, Content::Samples(samples.iter().map(|s| i64::from(*s)).collect()));
        }
        for (line, channels) in NUMERICS {
            for (channel, value) in channels.iter().zip(said.numerics.get(line).into_iter().flatten()) {
                add(channel, value.as_deref().map_or(Content::Absent, number));
            }
        }
    }
    tracks
}

/// "36.5" is 365 * 10^-1: what a device wrote, to the digit.
fn number(text: &str) -> Content {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    match format!("{whole}{part}").parse() {
        Ok(mantissa) => Content::Number(mantissa, -i8::try_from(part.len()).unwrap_or(0)),
        Err(_) => Content::Text(text.to_owned()),
    }
}

fn wearable_tracks(messages: &[ble::Said]) -> Tracks {
    let mut tracks = Tracks::new();
    for said in messages {
        for (channel, value) in &said.says {
            let content = match value {
                ble::Value::Number(mantissa, exponent) => Content::Number(*mantissa, *exponent),
                ble::Value::Code(code) => Content::Code(*code),
            };
            tracks.entry(channel.clone()).or_default().push((said.monotonic_ns, content));
        }
    }
    tracks
}

/// How a point of the chiller's map (plugins/modbus-map/maps/smc-hrs.map) reads its register.
enum Reads {
    /// Signed, times ten to this.
    Number(i8),
    Bits,
    Bit(u8),
}

const POINTS: [(u16, &str, Reads); 13] = [
    (0, "temperature", Reads::Number(-1)),
    (1, "flow", Reads::Number(-1)),
    (2, "pressure", Reads::Number(-2)),
    (3, "conductivity", Reads::Number(-1)),
    (4, "status", Reads::Bits),
    (4, "run", Reads::Bit(0)),
    (4, "temperature-unit", Reads::Bit(10)),
    (4, "pressure-unit", Reads::Bit(4)),
    (5, "alarm-flags-1", Reads::Bits),
    (6, "alarm-flags-2", Reads::Bits),
    (7, "alarm-flags-3", Reads::Bits),
    (8, "alarm-flags-4", Reads::Bits),
    (11, "setpoint", Reads::Number(-1)),
];

fn chiller_tracks(answers: &[modbus::Said]) -> Tracks {
    let mut tracks = Tracks::new();
    for said in answers {
        let refused = said.address..said.address + said.refused.map_or(0, |(_, count)| count);
        for (_, channel, _) in POINTS.iter().filter(|(at, ..)| refused.contains(at)) {
            tracks.entry((*channel).to_owned()).or_default().push((said.monotonic_ns, Content::Absent));
        }
        for (address, register) in (said.address..).zip(&said.registers) {
            for (_, channel, reads) in POINTS.iter().filter(|(at, ..)| *at == address) {
                let content = match reads {
                    Reads::Number(exponent) => Content::Number(i64::from(register.cast_signed()), *exponent),
                    Reads::Bits => Content::Code(u64::from(*register)),
                    Reads::Bit(n) => Content::Code(u64::from(register >> n & 1)),
                };
                tracks.entry((*channel).to_owned()).or_default().push((said.monotonic_ns, content));
            }
        }
    }
    tracks
}
