//! The maps that a package ships, through the whole system: an independent Modbus server (pymodbus) is the devices, the receiver's lines
//! are the proof. Settings come in all their forms: shipped with the package, from a file of the site, numbers.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value as Json, json};
use wardgate_lab::accountant::{ALERTS, lines_below};
use wardgate_lab::process::root;
use wardgate_lab::stage::Stage;

use crate::links::oracle::Pymodbus;
use crate::ward::Folder;

const PACKAGE: &str = "plugins/target/packages/modbus-map-0.1.0";

/// The registers in `oracle/modbus_server.py`, by hand: -25 / 10,000 inches of water, 25,601 / 512 percent, and so on.
fn expected(instance: &str) -> Vec<(&'static str, Json)> {
    let number = |mantissa: i64, exponent: i8, unit: &str| json!({ "mantissa": mantissa, "exponent": exponent, "unit": unit });
    let absent = |why: &str| json!({ "absent": why });
    let (code, bits) = (|n: u64| json!({ "code": n }), |n: u64| json!({ "bits": n }));
    match instance {
        "room-4" => vec![
            ("room-pressure", number(-25, -4, "[in_i'H2O]")),
            ("supply-flow", number(850, 0, "[cft_i]/min")),
            ("air-changes", number(121, -1, "/h")),
            ("humidity", number(45, 0, "%")),
            ("temperature", number(715, -1, "[degF]")),
            ("exhaust-flow", number(950, 0, "[cft_i]/min")),
            ("room-door", code(2)),
            ("anteroom-pressure", number(-500, -5, "[in_i'H2O]")),
            ("anteroom-door", absent("not-configured")),
            ("supply-temperature", number(605, -1, "[degF]")),
            ("room-occupancy", code(1)),
            ("anteroom-occupancy", absent("not-configured")),
        ],
        "ups" => vec![
            ("status", bits(1 << 21 | 1 << 2)),
            ("on-line", code(0)),
            ("on-battery", code(1)),
            ("status-change-cause", code(2)),
            ("signals", bits(0)),
            ("battery-errors", bits(1 << 2)),
            ("runtime", number(65_538, 0, "s")),
            ("charge", number(50_002, -3, "%")),
            ("battery-voltage", number(5469, -2, "V")),
            ("battery-temperature", number(-1000, -3, "Cel")),
            ("load", number(25_000, -3, "%")),
            ("load-apparent", number(30_000, -3, "%")),
            ("output-current", number(350, -2, "A")),
            ("output-voltage", number(23_000, -2, "V")),
            ("output-frequency", number(50_000, -3, "Hz")),
            ("input-status", bits(0)),
            ("input-voltage", absent("not-measured")),
            ("efficiency", absent("not-measured")),
        ],
        _ => vec![("status", code(2))],
    }
}

fn alerts(instance: &str) -> Vec<&'static str> {
    match instance {
        "room-4" => vec![],
        "ups" => vec!["the UPS runs on battery", "the UPS is overloaded", "the battery of the UPS needs replacement"],
        _ => vec!["room 1: negative pressure too low"],
    }
}

fn instances(port: u16) -> String {
    let package = root().join(PACKAGE);
    let package = package.display();
    let grant = |server: u8, function: u8, addresses: &str| {
        format!("modbus = {{ bus = \"technik\", servers = [{server}], allow = [{{ function = {function}, addresses = {addresses} }}] }}")
    };
    format!(
        "\n[bus.technik]\ntcp = \"127.0.0.1:{port}\"\n\
         [instance.room-4]\npackage = \"{package}\"\ngrants.{}\nsettings = {{ map = {{ shipped = \"tsi-rpc30\" }}, server = 2 }}\n\
         [instance.ups]\npackage = \"{package}\"\ngrants.{}\n\
         settings = {{ map = {{ shipped = \"apc-smart-ups\" }}, server = 3, gap = 15 }}\n\
         [instance.room-5]\npackage = \"{package}\"\ngrants.{}\nsettings = {{ map = {{ file = \"maps/room-5.map\" }}, server = 4 }}\n",
        grant(2, 4, "[\"0..4\", \"6..9\", \"11\", \"13..14\"]"),
        grant(3, 3, "[\"0..19\", \"128..154\"]"),
        grant(4, 3, "[\"79\"]"),
    )
}

/// What the lines of one instance say, by channel: everything but who, when and where.
fn said(stage: &Stage, instance: &str) -> BTreeMap<String, Vec<Json>> {
    let mut channels = BTreeMap::new();
    for line in lines_below(&stage.output().join(instance)).iter().filter(|l| l.get("text").is_none()) {
        let what = ["mantissa", "exponent", "absent", "code", "bits"].iter().filter_map(|k| Some(((*k).to_owned(), line.get(k)?.clone())));
        let mut what: serde_json::Map<_, _> = what.collect();
        if what.contains_key("mantissa") {
            what.insert("unit".into(), line["unit"].clone());
        }
        let channel = line["channel"].as_str().unwrap_or_default().to_owned();
        channels.entry(channel).or_insert_with(Vec::new).push(Json::Object(what));
    }
    channels.retain(|channel, _| channel != ALERTS);
    channels
}

//= PROMISES.md#P50
#[test]
fn every_shipped_map_reads_its_device_to_the_last_digit() {
    let devices = Pymodbus::start(None);
    let folder = Folder::new("maps");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    fs::create_dir_all(folder.0.join("maps")).expect("a folder");
    fs::copy(root().join("plugins/modbus-map/maps/tsi-rpm20.map"), folder.0.join("maps/room-5.map")).expect("a map of the site");
    stage.more = instances(devices.at().port());
    stage.start_all(&[]).expect("everything starts");
    let all = ["room-4", "ups", "room-5"];
    let whole = |stage: &Stage| {
        all.iter().all(|instance| {
            let said = said(stage, instance);
            expected(instance).iter().all(|(channel, _)| said.get(*channel).is_some_and(|lines| !lines.is_empty()))
        })
    };
    for _ in 0..600 {
        if whole(&stage) {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    for instance in all {
        let said = said(&stage, instance);
        let expected = expected(instance);
        for (channel, value) in &expected {
            let lines = said.get(*channel).unwrap_or_else(|| panic!("{instance}/{channel} never came: {said:#?}"));
            assert!(lines.iter().all(|line| line == value), "{instance}/{channel}: {value} was expected: {lines:?}");
        }
        assert_eq!(said.len(), expected.len(), "{instance} has channels that nobody knows: {:?}", said.keys());
        let raised = lines_below(&stage.output().join(instance).join(ALERTS));
        let active: Vec<_> =
            raised.iter().map(|a| (a["text"].as_str().unwrap_or_default(), a["state"].as_str().unwrap_or_default())).collect();
        assert_eq!(active, alerts(instance).into_iter().map(|text| (text, "active")).collect::<Vec<_>>(), "{instance}");
        let status = stage.gateway_status().expect("the gateway runs").instances[instance].clone();
        assert_eq!((status.faults, status.state.as_str()), (0, "healthy"), "{instance}: {status:#?}");
    }
}
