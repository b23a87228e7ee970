//! Devices' own clocks through the whole gateway: one that tells none, one in UTC, one in local time without a zone, one that only counts; each steps at a
//! moment drawn from a seed. What the device said is kept as it said it, and the ledger tells how its clock stood, and when it was set or began anew.

use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant::lines_below;
use wardgate_lab::demo::{boottime_ns, drain_stage};
use wardgate_lab::sim::clock::{Clock, Kind};
use wardgate_lab::stage::Stage;

use crate::bindings::records;
use crate::faults::wait_status;
use crate::ward::{Folder, UNRULY, Unruly};

const FIRST_S: u64 = 6; // nothing is told of a clock before some seconds
const LAST_S: u64 = 26; // a clock that was set back is believed when it has stayed so for ten seconds
const SEED: u64 = 20_261_129;

//= PROMISES.md#P137
#[test]
fn clocks_of_every_kind_are_told_and_so_is_each_step() {
    let folder = Folder::new("clocks");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let line = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the line", |s| s.instances.get(UNRULY).is_some_and(|i| i.link_up));
    println!("clock steps from seed {SEED}");
    let clocks = [Kind::Utc, Kind::Local, Kind::Counter].map(|kind| Clock::new(kind, SEED, boottime_ns(), FIRST_S));
    let begun = boottime_ns();
    let mut counted = Vec::new();
    while boottime_ns() < begun + LAST_S * 1_000_000_000 {
        for clock in &clocks {
            let stamp = clock.says(boottime_ns());
            line.order(&format!("at {} {stamp}", clock.name()));
            if clock.kind == Kind::Counter {
                counted.push(stamp);
            }
        }
        line.order("count"); // tells no time
    }
    sleep(Duration::from_millis(1500));
    stage.switch_off().expect("the ward is switched off");
    drain_stage(&mut stage).expect("it drains");

    let told: Vec<_> = records(&stage).into_iter().filter(|r| r["record"] == "device-clock" && r["instance"] == UNRULY).collect();
    for clock in &clocks {
        let of: Vec<_> = told.iter().filter(|r| r["device_time"].get(clock.name()).is_some()).collect();
        let changes: Vec<_> = of.iter().filter_map(|r| r["change"].as_str()).filter(|change| *change != "refined").collect();
        let stepped = if clock.kind == Kind::Counter { "wrap" } else { "step" };
        assert_eq!(changes, ["first", stepped], "{}: {told:#?}", clock.name());
        println!("{}: {} records, {changes:?} by {} s", clock.name(), of.len(), clock.step_ns.1 / 1_000_000_000);
    }
    let lines = lines_below(&stage.output().join(UNRULY).join("count"));
    let kept: Vec<i128> = lines.iter().filter_map(|l| l["device_time"]["counter"].as_u64()).map(i128::from).collect();
    assert_eq!(kept, counted, "as the device said it");
    assert!(lines.iter().any(|l| l["device_time"].is_null() && l["time"].is_string()), "none is told, and the gateway's own time stands");
}
