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
//= PROMISES.md#P290
#[test]
fn the_demo_shows_what_this_machines_bluez_hears_and_that_its_own_devices_are_simulated() {
    let folder = Folder::new("ble-demo-there");
    let mut ward = Ward::new(&folder, &[format!("belt:\u{1b}[2Jbelt:{BELT}"), "beacon:tag:C0:00:00:00:41:02".into()]);
    ward.order("adapter on");
    let bus = ward.bus();
    let (_, out, err) = shown(&["--for", "1s"], &bus);
    assert!(err.contains("Bluetooth is simulated") && err.contains("A real device instead: --ble PLUGIN=ADDRESS"), "{err}");
    let (_, heard) = err.split_once("this machine's BlueZ").unwrap_or_else(|| panic!("{err}"));
    assert!(err.contains("BlueZ (hci0) heard 2 real Bluetooth devices in 4 s"), "{err}");
    assert!(err.contains("-50 dBm, a random address that stays: Heart Rate"), "{err}");
    assert!(err.contains(&format!("ble-heart-rate reads it; in this demo: --ble ble-heart-rate={BELT}")), "{err}");
    assert!(err.contains(&format!("ble = {{ address = \"{BELT}\", services = [\"180d\"")), "{err}");
    assert!(!err.contains('\u{1b}') && err.contains("\\u{1b}[2Jbelt"), "no name paints this screen: {err}");
    // its own ward is not passed off as anybody's, and of who is near nothing is kept
    assert!(!heard.contains("F0:00:00:00:0D") && !err.contains("C0:00:00:00:41:02") && !out.contains(BELT), "{err}\n{out}");
    assert_eq!(ward.said("tag").len(), 0, "nobody spoke yet, and nobody was connected");
}

//= PROMISES.md#P290
#[test]
fn the_demo_says_in_a_line_why_no_real_device_is_shown_and_goes_on() {
    let folder = Folder::new("ble-demo-none");
    let mut ward = Ward::new(&folder, &[format!("belt:belt:{BELT}")]);
    let bus = ward.bus();
    let mut says = |order: &str, bus: &str, why: &str| {
        if !order.is_empty() {
            ward.order(order);
        }
        let (well, out, err) = shown(&["--for", "1s"], bus);
        let line = err.lines().find(|line| line.contains(why)).unwrap_or_else(|| panic!("{why}: {err}"));
        assert!(line.contains("no real Bluetooth device is shown") && !err.contains(BELT), "{err}");
        assert!(well && out.contains("\"unexplained_gaps\":0"), "{out}\n{err}");
    };
    says("", &bus, "the adapter hci0 is switched off; `bluetoothctl power on`");
    says("adapter gone", &bus, "has no adapter");
    says("bluetoothd down", &bus, "runs no BlueZ");
    says("", &format!("unix:path={}", folder.0.join("no-bus").display()), "D-Bus of this machine cannot be reached");
    let dead = std::os::unix::net::UnixListener::bind(folder.0.join("dead")).unwrap(); // it takes whoever comes, and says nothing
    says("", &format!("unix:path={}", folder.0.join("dead").display()), "cannot be reached: no answer within 5 s");
    drop(dead);
}
