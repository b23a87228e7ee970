//! A call into a plugin through the gateway's own door, with limits, rules and the pause for others, beside the same call on a bare engine.

use std::time::Instant;

use wardgate::contract::lifecycle::Opening;
use wardgate::contract::types::Moment;
use wardgate::contract::{Event, modbus};
use wardgate::plugin::{Package, at_once, build, trial};
use wardgate_lab::process::root;

use super::bare::{self, Guest};
use super::{Done, Figure};

/// Calls between two looks at the clock, and how often the two sides take turns. The fastest turn counts: the others were disturbed.
const CALLS: u32 = 2_000;
const TURNS: u32 = 100;

const NOW: Moment = Moment { boot: 1, monotonic_ns: 1_000_000_000, wall: None };
const BARE_NOW: bare::Moment = bare::Moment { boot: 1, monotonic_ns: 1_000_000_000, wall: None };

//= PROMISES.md#P30
pub fn figures() -> Done<Vec<Figure>> {
    let built = build(&root().join("tests/guests/yardstick")).map_err(|e| e.to_string())?;
    let package = Package::open(&built.folder, true).map_err(|e| e.to_string())?;
    let start = Opening { settings: Vec::new(), about: Vec::new(), seed: 1, saved: None };
    let mut ours = at_once(trial::ready(&package).map_err(|e| e.to_string())?.start()).map_err(|e| e.why.to_string())?;
    at_once(ours.open(NOW, &start)).map_err(|e| e.why.to_string())?;
    let mut bare = Guest::open(&package.component, BARE_NOW).map_err(|e| format!("{e:#}"))?;
    let mut call = |event: &Event| drop(at_once(ours.call(NOW, event)).expect("no fault"));

    let (chunk, registers) = ([7; 64], vec![1234; 20]);
    let timer = Event::Timer(1);
    let received = Event::SerialReceived(chunk.to_vec());
    let reply = Event::ModbusReply(1, Ok(modbus::Response::Registers(registers.clone())));
    let bare_reply = bare::Response::Registers(registers);
    Ok(vec![
        figure("call: a timer that keeps 8 bytes", || call(&timer), || bare.timer(BARE_NOW)),
        figure("call: 64 bytes in, 4 readings and 200 counts out", || call(&received), || bare.received(BARE_NOW, &chunk)),
        figure("call: a Modbus reply, 20 readings out", || call(&reply), || bare.reply(BARE_NOW, &bare_reply)),
    ])
}

fn figure(what: &'static str, mut ours: impl FnMut(), mut bare: impl FnMut()) -> Figure {
    let (mut fastest, mut yardstick) = (f64::MAX, f64::MAX);
    for _ in 0..TURNS {
        fastest = fastest.min(turn_us(&mut ours));
        yardstick = yardstick.min(turn_us(&mut bare));
    }
    let how = format!("{fastest:.2} us, on a bare engine {yardstick:.2} us");
    Figure { what, measured: fastest / yardstick, at_most: 2.0, unit: "x", how }
}

fn turn_us(call: &mut impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..CALLS).for_each(|_| call());
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS)
}
