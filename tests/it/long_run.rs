//! Long times in short: twenty minutes of a bad line through the monitor's plugin, and an hour of restarts, in the plugin's own time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use wardgate::contract::lifecycle::Opening;
use wardgate::contract::types::Moment;
use wardgate::contract::{Event, Outcome, Said};
use wardgate::plugin::{Instance, Package, at_once, trial};
use wardgate_lab::sim::serial::{capture::Capture, ivy450c};

use crate::sandbox::{host, hostile};

const MESSAGES: u64 = 1200; // twenty minutes, one a second
const PIECE_BYTES: usize = 64; // as a UART hands them on
const BYTE_NS: u64 = 1_041_667; // at 9600 baud

/// xorshift64*
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % n) as usize
    }
}

fn moment(monotonic_ns: u64) -> Moment {
    Moment { boot: 1, monotonic_ns, wall: None }
}

fn opening() -> Opening {
    Opening { settings: vec![], about: vec![], seed: 1, saved: None }
}

/// What became of a message on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Intact,
    /// An independent reader of the same bytes finds no whole message in them.
    Malformed,
    /// It does: what a protocol without a checksum cannot tell.
    LooksWhole,
}

/// The message as the line has it: some behind garbage, some cut, some with bytes lost, and none with a pause between it and the next.
fn on_the_line(bytes: Vec<u8>, dice: &mut Dice) -> (Vec<u8>, Line) {
    let mut line = bytes.clone();
    let garbage: Vec<u8> = (0..1 + dice.below(40)).map(|_| dice.below(256) as u8).collect();
    match dice.below(8) {
        0 => line.truncate(1 + dice.below(bytes.len() as u64 - 1)),
        1 => {
            let (at, lost) = (dice.below(bytes.len() as u64 - 20), 1 + dice.below(16));
            line.drain(at..at + lost);
        }
        2 => return ([garbage, line].concat(), Line::Intact),
        _ => return (line, Line::Intact),
    }
    let looks = if Capture::find(&line).is_some() { Line::LooksWhole } else { Line::Malformed };
    (line, looks)
}

/// Samples of the ECG, in order: a second of it is never the same as another.
fn ecg(outcome: &Outcome, channel: &mut Option<u16>, seconds: &mut Vec<Vec<i32>>) {
    for said in &outcome.said {
        match said {
            Said::Describe(n, meaning) if meaning.name == "ecg" => *channel = Some(*n),
            Said::EmitWaveform(blocks) => {
                seconds.extend(blocks.iter().filter(|b| Some(b.channel) == *channel).map(|b| b.counts.clone()));
            }
            _ => {}
        }
    }
}

//= PROMISES.md#P93
#[test]
fn twenty_minutes_of_a_bad_line_give_every_intact_message_and_no_malformed_one() {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ivy450c");
    let built = wardgate::plugin::build(&plugin).unwrap_or_else(|why| panic!("{why}"));
    let package = Package::open(&built.folder, true).unwrap_or_else(|why| panic!("{why}"));
    let ready = trial::ready_in(host(), &package).unwrap_or_else(|why| panic!("{why}"));
    let mut instance: Instance = at_once(ready.start()).unwrap();
    let (mut channel, mut heard) = (None, Vec::new());
    ecg(&at_once(instance.open(moment(0), &opening())).unwrap(), &mut channel, &mut heard);

    let (mut dice, mut sent, mut counts) = (Dice(0x1234_5678_9abc), BTreeMap::new(), BTreeMap::new());
    let mut stream = Vec::new();
    for n in 0..MESSAGES {
        let message = ivy450c::message(3, n);
        let meant: Vec<i32> = message.said.waves["ecg"].iter().map(|s| i32::from(*s)).collect();
        let (bytes, fate) = on_the_line(message.bytes, &mut dice);
        sent.insert(meant, (n, fate));
        *counts.entry(fate).or_insert(0) += 1;
        stream.extend(bytes);
    }
    for (n, piece) in stream.chunks(PIECE_BYTES).enumerate() {
        let now = moment((n as u64 + 1) * PIECE_BYTES as u64 * BYTE_NS);
        ecg(&at_once(instance.call(now, &Event::SerialReceived(piece.to_vec()))).unwrap(), &mut channel, &mut heard);
    }
    let taken: BTreeSet<u64> = heard.iter().filter_map(|second| sent.get(second)).map(|(n, _)| *n).collect();
    let (mut missing, mut malformed) = (Vec::new(), Vec::new());
    for (n, fate) in sent.values() {
        match (fate, taken.contains(n)) {
            (Line::Intact, false) => missing.push(*n),
            (Line::Malformed, true) => malformed.push(*n),
            _ => {}
        }
    }
    let foreign = heard.iter().filter(|second| !sent.contains_key(*second)).count();
    println!(
        "{counts:?}: {} taken, {} of them changed by the line; intact and missing: {missing:?}; malformed and taken: {malformed:?}",
        heard.len(),
        foreign
    );
    assert!(counts[&Line::Malformed] > 100 && counts[&Line::Intact] > 800, "a run in which nothing happens proves nothing");
    assert_eq!((missing, malformed), (vec![], vec![]), "all intact ones, and with the next one it has found its place again");
    assert!(foreign <= counts.get(&Line::LooksWhole).copied().unwrap_or(0), "{foreign}");
}

/// Started by the test below with this word: alone in its process, so that the memory is its own.
#[test]
fn restarts_child() {
    if !std::env::args().any(|arg| arg == "an-hour-of-restarts") {
        return;
    }
    let plugin = hostile();
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4
    };
    for second in 0..=3600_u64 {
        let mut instance = at_once(plugin.start()).unwrap();
        at_once(instance.open(moment(second * 1_000_000_000), &opening())).unwrap();
        for _ in 0..4 {
            at_once(instance.call(moment(second), &Event::SerialReceived(b"count".to_vec()))).unwrap();
        }
        assert!(at_once(instance.call(moment(second), &Event::SerialReceived(b"keep then panic".to_vec()))).is_err());
        if second % 600 == 0 {
            println!("resident {second} {}", resident());
        }
    }
}

//= PROMISES.md#P94
#[test]
fn an_hour_of_restarts_leaves_memory_flat() {
    const SLOPE_KIB_MAX: u64 = 512; // from the tenth minute on; a leak of a store would be megabytes
    drop(Arc::clone(&hostile())); // compiled once, and found by the child
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program);
    let output = child.args(["--exact", "long_run::restarts_child", "--nocapture", "an-hour-of-restarts"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let resident: Vec<u64> = text.lines().filter_map(|l| l.strip_prefix("resident ")?.split(' ').nth(1)?.parse().ok()).collect();
    assert_eq!(resident.len(), 7, "{text}");
    let slope = (resident[6] as f64 - resident[1] as f64) * 60.0 / 50.0;
    println!("resident KiB each ten minutes of one restart a second: {resident:?}: {slope:+.0} KiB an hour");
    assert!(resident[6].saturating_sub(resident[1]) < SLOPE_KIB_MAX, "{resident:?}");
}
