//! `wardgate plugin decode` on the Bluetooth plugins: a characteristic by its short and its full name, values as the device coded them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

/// The readings, and what was said beside them.
fn run(plugin: &str, args: &[&str]) -> (Vec<Json>, String) {
    let test = std::env::current_exe().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(plugin);
    let mut wardgate = Command::new(test.ancestors().nth(2).unwrap().join("wardgate"));
    let ended =
        wardgate.args(["plugin", "decode"]).arg(folder).args(args).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{plugin} {args:?}\n{err}");
    let readings = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"))).collect();
    (readings, err.into_owned())
}

fn decode(plugin: &str, args: &[&str]) -> Vec<Json> {
    run(plugin, args).0
}

fn number(channel: &str, mantissa: i64, exponent: i64, unit: &str, quality: &[&str]) -> Json {
    json!({"channel": channel, "mantissa": mantissa, "exponent": exponent, "unit": unit, "quality": quality})
}

//= PROMISES.md#P104
#[test]
fn bluetooth_values_are_shown_exactly_as_the_device_coded_them() {
    let rate = [
        number("heart-rate", 66, 0, "/min", &[]),
        json!({"channel": "contact", "code": 3, "unit": "", "quality": []}),
        number("rr-interval", 9_072_265_625, -10, "s", &[]),
    ];
    for name in ["2a37", "2A37", "00002a37", "00002A37-0000-1000-8000-00805F9B34FB", "00002a3700001000800000805f9b34fb"] {
        assert_eq!(decode("ble-heart-rate", &["--characteristic", name, "--hex", "16 42 a1 03"]), rate, "{name}");
    }
    assert_eq!(
        decode("ble-oximeter", &["--characteristic", "2a5f", "--hex", "08 d2 f3 ff 07 00 08 00"]),
        [
            number("spo2", 978, -1, "%", &["questionable"]), // the sensor is off
            json!({"channel": "pulse-rate", "absent": "sensor-off", "unit": "/min", "quality": ["questionable"]}),
            json!({"channel": "sensor-status", "bits": 2048, "unit": "", "quality": []}),
        ]
    );
    let kilopascal = decode("ble-blood-pressure", &["--characteristic", "2a35", "--hex", "11 bdf0 0b00 9ff0 0100"]);
    assert_eq!(kilopascal[0], number("systolic", 189, -1, "kPa", &["questionable"]));
    // two characteristics at once: a record waits for its context, and both are one observation
    let record = ["--characteristic", "2a18", "--hex", "120700e307021b0b0a1e1ec011", "--characteristic", "2a34", "--hex", "02070001"];
    let record = decode("ble-glucose", &record);
    assert_eq!(record[0]["at"], json!({"local": 1_551_265_830_000_000_000_i64}));
    assert_eq!(
        record.iter().map(|r| r["channel"].as_str().unwrap()).collect::<Vec<_>>(),
        ["glucose", "sample-type", "sample-site", "sequence", "meal"]
    );
    // a context that does not come keeps no record back, and belongs to its own number
    let other = ["--characteristic", "2a18", "--hex", "120700e307021b0b0a1e1ec011", "--characteristic", "2a34", "--hex", "02090001"];
    let channels: Vec<_> = decode("ble-glucose", &other).iter().map(|r| r["channel"].as_str().unwrap().to_owned()).collect();
    assert!(["glucose", "meal"].iter().all(|channel| channels.iter().any(|c| c == channel)), "{channels:?}");
    // nor does one that is asked for again, over a control point that is there and says nothing more, or whose answer is damaged
    for answer in ["06000101", "05000100", "060004"] {
        for context in [&[][..], &["--characteristic", "2a34", "--hex", "02"]] {
            let record = ["--characteristic", "2a18", "--hex", "120700e307021b0b0a1e1ec011"];
            let told = decode("ble-glucose", &[&record, context, &["--characteristic", "2a52", "--hex", answer]].concat());
            assert_eq!(told.iter().filter(|r| r["channel"] == "glucose").count(), 1, "{answer} {context:?}: {told:?}");
        }
    }
    // what is asked for is answered by what was given for it, once
    let read = decode("ble-heart-rate", &["--characteristic", "2a19", "--hex", "64", "--characteristic", "2a37", "--hex", "0042"]);
    assert_eq!(read.iter().filter(|r| r["channel"] == "battery").count(), 1, "{read:?}");
    // what is of another plugin, or only says who the device is, puts no bytes in doubt
    let remarks = |characteristic: &str| run("ble-heart-rate", &["--characteristic", characteristic, "--hex", "41"]).1;
    let unheard = remarks("2a99");
    assert!(unheard.contains("neither reads 2a99 nor listens to it; what it asks of a device is: The heart rate service"), "{unheard}");
    let serial = remarks("2a25");
    assert!(serial.contains("\"serial\",\"value\":\"A\""), "{serial}");
    assert!(![&unheard, &serial].iter().any(|said| said.contains("is the message whole")), "{unheard}{serial}");
    let sound = ["--setting", "codec=mu-law-8k", "--characteristic", "19B10001-E8F2-537E-4F6C-D104768A1214", "--hex", "0000 00 007f80ff"];
    assert_eq!(
        decode("ble-stethoscope", &sound),
        [json!({"channel": "sound", "first": 0, "counts": [-32124, 0, 32124, 0], "unit": "{count}", "quality": []})]
    );
    let damaged = decode("ble-cgm", &["--characteristic", "2aaa", "--hex", "e20704180d08180804e0c3"]);
    assert!(damaged.is_empty(), "a wrong checksum is damage, not a session, and no measurement: {damaged:?}");
    // the features lack their checksum, so nobody knows whether the measurement should have one
    let features = ["--characteristic", "2aa8", "--hex", "00 10 00 59 00 00", "--characteristic", "2aa7", "--hex", "06 00 6c 00 05 00"];
    assert_eq!(decode("ble-cgm", &features)[0]["quality"], json!(["questionable"]));
}
