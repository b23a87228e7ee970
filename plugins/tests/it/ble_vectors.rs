//! The published vectors for Bluetooth, where they are there, and the same readings from values of our own.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use wardgate_sdk::gatt::sig;

use crate::ble::{lines, said};

fn vectors() -> Option<serde_json::Value> {
    let found = |up: &Path| -> Option<PathBuf> { Some(up.join("shared/data/vectors.json")).filter(|p| p.exists()) };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(found);
    if path.is_none() {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(std::io::stderr(), "SKIPPED: shared/data/vectors.json is not there; values of our own prove the same path");
    }
    path.map(|p| serde_json::from_str(&std::fs::read_to_string(p).expect("readable")).expect("JSON"))
}

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.chars().filter(|c| !c.is_whitespace()).collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn read(characteristic: u16, hex: &str) -> Vec<String> {
    let values = [(sig(characteristic), bytes(hex))];
    if matches!(characteristic, 0x2aa7 | 0x2aa9..=0x2aab) {
        let feature = (sig(0x2aa8), bytes("00 00 00 59 ff ff")); // without checksums: nothing is questionable then
        let said = said::<ble_cgm::Cgm>(&[], &[&[feature][..], &values].concat());
        return lines(&said).split_off(3);
    }
    lines(&match characteristic {
        0x2a37 => said::<ble_heart_rate::HeartRate>(&[], &values),
        0x2a35 | 0x2a36 => said::<ble_blood_pressure::BloodPressure>(&[], &values),
        0x2a1c | 0x2a1e => said::<ble_thermometer::Thermometer>(&[], &values),
        0x2a18 | 0x2a34 | 0x2a52 => said::<ble_glucose::Glucose>(&[], &values),
        0x2aa8 => said::<ble_cgm::Cgm>(&[], &values),
        0x2a5e | 0x2a5f => said::<ble_oximeter::Oximeter>(&[], &values),
        0x2a9d => said::<ble_weight::Weight>(&[], &values),
        0x2a53 => said::<ble_activity::Activity>(&[], &values),
        other => panic!("no plugin reads {other:04x}"),
    })
}

/// What was published (in words, as the collection has it), and what must be read.
const PUBLISHED: &[(&str, &[&str])] = &[
    ("hr=66, contact, RR=929/1024 s", &["heart-rate 66e0 /min", "contact code 3", "rr-interval 9072265625e-10 s"]),
    (
        "138/88 MAP120 mmHg; ts 0000-04-17 20:41:59; PR60; user1; status 0x27",
        &[
            "systolic 138e0 mm[Hg] [questionable]",
            "diastolic 88e0 mm[Hg] [questionable]",
            "mean 120e0 mm[Hg] [questionable]",
            "pulse-rate 60e0 /min [questionable]",
            "user code 1",
            "measurement-status bits 0x27",
            "device-time 0000-04-17T20:41:59",
        ],
    ),
    (
        "18.9/11/15.9 kPa PR60 status 0x12",
        &[
            "systolic 189e-1 kPa [questionable]",
            "diastolic 11e0 kPa [questionable]",
            "mean 159e-1 kPa [questionable]",
            "pulse-rate 60e0 /min [questionable]",
            "measurement-status bits 0x12",
        ],
    ),
    (
        "37.60 C, 2012-12-05 11:50:27, type 4 finger",
        &["temperature 3760e-2 Cel at local 1354708227", "body-site code 4 at local 1354708227"],
    ),
    (
        "seq1 2019-02-27 11:10:30 offset -5min 30 kg/L type2 loc1 status 0x0105 ctx follows",
        &[
            "glucose 30e0 kg/L [questionable] at local 1551265530",
            "sample-type code 2 at local 1551265530",
            "sample-site code 1 at local 1551265530",
            "sequence 1e0 1 at local 1551265530",
            "sensor-status bits 0x105 at local 1551265530",
            "time-offset -5e0 min at local 1551265530",
        ],
    ),
    (
        "12.34 mg/dL t=5min trend .2 quality 99.7 E2E-CRC 0x3F8E",
        &[
            "glucose 1234e-2 mg/dL [questionable in_alarm] at counter 300000000000",
            "trend 2e-1 mg/dL/min [questionable in_alarm] at counter 300000000000",
            "quality 997e-1 % at counter 300000000000",
            "sensor-status bits 0xff1402 at counter 300000000000",
            "time-offset 5e0 min at counter 300000000000",
        ],
    ),
    ("CRC error", &[]), // it is no measurement that could be missing
    (
        "2018-04-24 13:08:24 tz 8 dst 4 CRC 0xC2E0",
        &[
            "session-start 2018-04-24T13:08:24 at local 1524575304",
            "time-zone 120e0 min at local 1524575304",
            "daylight-saving code 4 at local 1524575304",
        ],
    ),
    ("response success to opcode 1", &["procedure code 1", "procedure-result code 1"]),
    ("number of records 258", &["stored-records 258e0 1"]),
];

/// Our own, for the same fields and those of the services that nobody published a value of.
const OWN: &[(u16, &str, &[&str])] = &[
    (
        0x2a37,
        "17 2c 01 00 04 66 02",
        &["heart-rate 300e0 /min", "contact code 3", "rr-interval 10000000000e-10 s", "rr-interval 5996093750e-10 s"],
    ),
    (
        0x2a35,
        "1e 7f00 5100 6000 e807 02 1d 17 3b 3b 4800 02 0400",
        &[
            "systolic 127e0 mm[Hg] at local 1709251199",
            "diastolic 81e0 mm[Hg] at local 1709251199",
            "mean 96e0 mm[Hg] at local 1709251199",
            "pulse-rate 72e0 /min at local 1709251199",
            "user code 2 at local 1709251199",
            "measurement-status bits 0x4 at local 1709251199",
        ],
    ),
    (0x2a1c, "05 d9 03 00 ff 05", &["temperature 985e-1 [degF]", "body-site code 5"]),
    (0x2aa7, "06 00 64 00 06 00", &["glucose 100e0 mg/dL at counter 360000000000", "time-offset 6e0 min at counter 360000000000"]),
    (0x2aab, "40 01 57 a7", &["session-length 320e0 h"]),
    (0x2aab, "40 01 57 a6", &[]),
    (0x2a52, "06 00 02 06", &["procedure code 2", "procedure-result code 6"]),
    (
        0x2a5f,
        "0d d2f3 4800 61 00 49 00 20 00 00 04 00",
        &[
            "spo2 978e-1 % [questionable ongoing]",
            "pulse-rate 72e0 /min [questionable ongoing]",
            "spo2-fast 97e0 % [questionable ongoing]",
            "pulse-rate-fast 73e0 /min [questionable ongoing]",
            "measurement-status bits 0x20",
            "sensor-status bits 0x400",
        ],
    ),
    (0x2a9d, "08 99 3a e8 00 0e 07", &["weight 75005e-3 kg", "bmi 232e-1 kg/m2", "height 1806e-3 m"]),
    (0x2a53, "04 80 02 a0", &["speed 250000000e-8 m/s", "cadence 160e0 /min", "gait code 1"]),
];

//= PROMISES.md#P100
#[test]
fn every_published_vector_is_read_as_it_was_published() {
    for (characteristic, hex, expected) in OWN {
        assert_eq!(read(*characteristic, hex), *expected, "{characteristic:04x} {hex}");
    }
    let Some(vectors) = vectors() else { return };
    let mut checked = 0;
    for vector in vectors.as_array().expect("a list") {
        let field = |name: &str| vector[name].as_str().unwrap_or_default();
        let Some(protocol) = field("protocol").strip_prefix("gatt.") else { continue };
        let characteristic = u16::from_str_radix(&protocol[..4], 16).expect("a number");
        let published = PUBLISHED.iter().find(|(words, _)| *words == field("expect"));
        let (words, expected) = published.unwrap_or_else(|| panic!("nobody said what {} must be read as", field("expect")));
        assert_eq!(read(characteristic, field("hex")), *expected, "{protocol}: {words}");
        checked += 1;
    }
    assert_eq!(checked, PUBLISHED.len(), "each published value once");
}
