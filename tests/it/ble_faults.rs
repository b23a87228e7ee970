//! The Bluetooth room on a simulated BlueZ (`wardgate-lab bluez`), which can do what a real one does once a year: everything that goes wrong, one
//! after the other, while everybody else speaks on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use wardgate_lab::accountant::{self, Content};
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::sim::ble::{self, Value};
use wardgate_lab::stage::{Stage, bluetooth, unsigned};

use crate::ward::{Folder, wait};

const RECORDS: usize = 60;
/// Kind, name, plugin, and the channel whose values are one of a kind.
const DEVICES: [(&str, &str, &str, &str); 8] = [
    ("belt", "belt-1", "ble-heart-rate", "energy-expended"),
    ("belt", "belt-2", "ble-heart-rate", "energy-expended"),
    ("belt", "belt-3", "ble-heart-rate", "energy-expended"),
    ("belt", "flapper", "ble-heart-rate", "energy-expended"),
    ("belt", "mute", "ble-heart-rate", "energy-expended"),
    ("twins", "twins", "ble-heart-rate", "energy-expended"),
    ("oximeter", "oximeter", "ble-oximeter", "pulse-amplitude-index"),
    ("meter=60", "meter", "ble-glucose", "sequence"),
];

struct Ward {
    stage: Stage,
    bluez: Process,
    sent: PathBuf,
}

impl Ward {
    fn new(folder: &Folder) -> Self {
        let mut stage = Stage::new(&folder.0).unwrap();
        stage.start_broker().unwrap();
        stage.start_receiver().unwrap();
        let address = |n: usize| format!("F0:00:00:00:0E:{n:02X}");
        let mut command = Command::new(binary("wardgate-lab").unwrap());
        command.arg("bluez").arg("--folder").arg(&folder.0);
        let whole = stage.configuration();
        let mut text = whole.split("[bus.plant]").next().unwrap().to_owned();
        for (n, (kind, name, plugin, _)) in DEVICES.iter().enumerate() {
            command.arg("--device").arg(format!("{kind}:{name}:{}", address(n)));
            text += &bluetooth(name, &unsigned(plugin), plugin, &address(n), "bed-1");
        }
        fs::write(folder.0.join("gateway.toml"), text).unwrap();
        let mut bluez = Process::start("bluez", &mut command, &folder.0.join("log/bluez.log")).unwrap();
        bluez.wait_for(READY_S_MAX, |line| line.contains("simulated").then_some(())).unwrap();
        Self { stage, bluez, sent: folder.0.join("sent") }
    }

    fn start_gateway(&mut self) {
        let mut command = Command::new(binary("wardgate").unwrap());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", ble::address(&self.stage.folder.join("bluez.sock")));
        let mut gateway = self.stage.spawn_gateway(&mut command).unwrap();
        gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).unwrap();
        self.stage.gateway = Some(gateway);
    }

    fn order(&mut self, line: &str) {
        self.bluez.tell(line).unwrap();
        self.bluez.wait_for(READY_S_MAX, |said| said.contains("\"done\"").then_some(())).unwrap();
    }

    /// The values of its mark: what went out, what came.
    fn values(&self, name: &str) -> (Vec<Content>, Vec<Content>) {
        let mark = DEVICES.iter().find(|d| d.1 == name).unwrap().3;
        let went = ble::read(&self.sent, name).into_iter().filter_map(|said| match said.says.get(mark)? {
            Value::Number(mantissa, exponent) => Some(Content::Number(*mantissa, *exponent)),
            Value::Code(code) => Some(Content::Code(*code)),
        });
        let mut tracks = accountant::read_received(&self.stage.output(), name);
        (went.collect(), tracks.remove(mark).unwrap_or_default().into_iter().map(|(_, content)| content).collect())
    }

    /// Each of these has said something new, and it has come.
    fn heard_again(&self, names: &[&str]) {
        for name in names {
            let before = self.values(name).1.len();
            wait(&format!("{name} to be heard"), || self.values(name).1.len() >= before + 3);
        }
    }
}

const BELTS: [&str; 3] = ["belt-1", "belt-2", "belt-3"];
const ALL_THAT_SPEAK: [&str; 6] = ["belt-1", "belt-2", "belt-3", "flapper", "twins", "oximeter"];

//= PROMISES.md#P193
#[test]
fn whatever_goes_wrong_with_one_the_others_are_heard_and_nothing_is_lost() {
    let folder = Folder::new("ble-faults");
    let mut ward = Ward::new(&folder);
    ward.order("busy 3");
    ward.order("mute mute");
    ward.order("cut meter 25");
    ward.start_gateway();
    ward.order("on");
    ward.heard_again(&ALL_THAT_SPEAK);
    // it vanished when its memory was half told
    wait("the meter to be cut", || ward.values("meter").0.len() == 25);
    ward.heard_again(&BELTS);
    ward.order("return meter");
    wait("the rest of its memory", || ward.values("meter").1.len() >= RECORDS);

    ward.order("flap flapper 3");
    ward.heard_again(&BELTS);
    ward.order("adapter gone");
    ward.order("adapter back");
    ward.heard_again(&ALL_THAT_SPEAK);
    ward.order("bluetoothd down");
    ward.order("bluetoothd up");
    ward.order("busy 2");
    ward.heard_again(&ALL_THAT_SPEAK);
    ward.order("unmute mute");
    ward.heard_again(&["mute"]);

    ward.order("off");
    for (_, name, ..) in DEVICES {
        wait("what is on its way", || {
            let (went, came) = ward.values(name);
            came.len() >= went.len()
        });
        let (went, came) = ward.values(name);
        assert_eq!(came, went, "{name}: what came, what went out");
        println!("{name}: {} of {}", came.len(), went.len());
    }
    assert!(ward.stage.gateway.as_mut().unwrap().stop().unwrap().success());
}
