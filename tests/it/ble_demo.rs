//! `--ble PLUGIN=ADDRESS` of the demo ward: a Bluetooth device that the ward did not bring along, found through whatever BlueZ this machine has.

use std::process::Command;

use serde_json::Value as Json;
use wardgate_lab::process::binary;

use crate::ble_ward::Ward;
use crate::ward::Folder;

const BELT: &str = "F0:00:00:00:41:01";

fn demo(ble: &str, bus: &str) -> (bool, String, String) {
    shown(&["--for", "8s", "--ble", ble], bus)
}

fn shown(words: &[&str], bus: &str) -> (bool, String, String) {
    let mut lab = Command::new(binary("wardgate-lab").unwrap());
    let ended = lab.args(["demo", "--json"]).args(words).env("DBUS_SYSTEM_BUS_ADDRESS", bus).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.success(), text(&ended.stdout), text(&ended.stderr))
}

//= PROMISES.md#P204
#[test]
fn the_demo_shows_a_device_that_this_machines_bluez_has() {
    let folder = Folder::new("ble-demo");
    let mut ward = Ward::new(&folder, &[format!("belt:belt:{BELT}")]); // another process, and another bus, than the demo's own
    ward.order("on");
    let (well, out, err) = demo(&format!("ble-heart-rate={}", BELT.to_lowercase()), &ward.bus());
    let report: Json = serde_json::from_str(out.lines().last().unwrap_or_default()).unwrap_or_else(|why| panic!("{why}: {out}\n{err}"));
    assert!(well, "{report:#}\n{err}");
    let shown = &report["plugin"];
    assert!(shown["instance"] == "real-heart-rate" && shown["received"].as_u64() > Some(4), "{report:#}\n{err}");
    assert!(shown["last"]["heart-rate"]["number"][0].as_i64() >= Some(60), "{shown}");
    assert!(!err.contains("Bluetooth is simulated"), "{err}");
    for (wrong, says) in [("ble-heart-rate=belt", "is no address"), ("ivy450c=F0:00:00:00:41:01", "write one of plugins/ble-*")] {
        let (well, _, err) = demo(wrong, &ward.bus());
        assert!(!well && err.contains(says), "{err}");
    }
}

//= PROMISES.md#P220
#[test]
fn the_demo_tells_of_a_bluez_that_this_machine_has_and_that_its_own_is_simulated() {
    let folder = Folder::new("ble-demo-there");
    let ward = Ward::new(&folder, &[format!("belt:belt:{BELT}")]);
    for (bus, there) in [(ward.bus(), true), (format!("unix:path={}", folder.0.join("no-bus").display()), false)] {
        let (_, _, err) = shown(&["--for", "1s"], &bus);
        assert!(
            err.contains("Bluetooth is simulated")
                && err.contains("A real device instead: --ble PLUGIN=ADDRESS")
                && err.contains("this machine has a BlueZ with an adapter, which is left alone: --ble") == there,
            "{err}"
        );
    }
}
