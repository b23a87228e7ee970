//! The stack of `ble` alone, without the gateway: BlueZ in the guest, driven by its own bluetoothctl, and Bumble's peripherals. Where this fails the
//! rig is to blame, and where only `ble` fails the gateway is.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::guest::{self, Guest, Peripherals};

use crate::ward::{Folder, wait_to_see};

const SECRET_BELT: &str = "F0:00:00:00:01:03";
const METER: &str = "F0:00:00:00:04:01";
const ADDRESSES: [(&str, &str); 8] = [
    ("belt-1", "F0:00:00:00:01:01"),
    ("belt-2", "F0:00:00:00:01:02"),
    ("secret-belt", SECRET_BELT),
    ("oximeter-1", "F0:00:00:00:02:01"),
    ("oximeter-2", "F0:00:00:00:02:02"),
    ("thermometer", "F0:00:00:00:03:01"),
    ("meter", METER),
    ("flapper", "F0:00:00:00:05:01"),
];
const RECORDS: usize = 40; // in the meter's memory, as tests/ble/peripherals.py has it
const BEFORE_THE_CUT: usize = 15;
/// Where Bumble puts the first characteristic of the first service of ours, and the meter's control point.
const MEASURED: &str = "service000e/char000f";
const CONTROL_POINT: &str = "service000e/char0014";

/// Who is paired, and what Bumble says when a person is to do something for it.
pub const PAIRED: [(&str, &str); 3] = [("meter", "passkey"), ("oximeter-1", "compare"), ("secret-belt", "")];

/// A session of bluetoothctl; what it says, and what crosses the bus, lies in files that this machine sees.
struct Session<'a> {
    guest: &'a mut Guest,
    said: PathBuf,
    signals: PathBuf,
}

impl<'a> Session<'a> {
    fn start(guest: &'a mut Guest, share: &Path) -> Self {
        guest
            .well(
                "mkfifo /tmp/told; (sleep 3600 >/tmp/told &); (bluetoothctl --agent KeyboardDisplay </tmp/told >/mnt/said 2>&1 &); sleep 0",
            )
            .unwrap();
        let changes = "type=signal,interface=org.freedesktop.DBus.Properties,path_namespace=/org/bluez/hci0";
        guest.well(&format!("(dbus-monitor --system {changes} >/mnt/signals 2>&1 &); sleep 0")).unwrap();
        Self { guest, said: share.join("said"), signals: share.join("signals") }
    }

    /// The adapter is switched on, and everybody was seen.
    fn see_all(&mut self) {
        // it registers one by itself once it has found bluetoothd; on a busy machine that comes late
        self.repeat("agent KeyboardDisplay", &["Agent registered", "Agent is already registered"]);
        self.tell("default-agent", "Default agent request successful");
        // right after its start bluetoothd is busy with its adapter
        self.repeat("power on", &["Changing power on succeeded"]);
        self.tell("scan le", "Discovery started");
        for (name, _) in ADDRESSES {
            self.until("everybody to be seen", |said| said.lines().any(|l| l.contains("NEW") && l.ends_with(&format!(" {name}"))));
        }
        self.tell("scan off", "Discovery stopped");
    }

    fn pair(&mut self, peripherals: &mut Peripherals, name: &str, event: &str) {
        let mark = peripherals.mark();
        let address = self.path(name).split("dev_").nth(1).unwrap().replace('_', ":");
        self.tell(&format!("pair {address}"), "Attempting to pair");
        if !event.is_empty() {
            let shown = peripherals.event(mark, name, event).unwrap();
            let (question, answer) = match event {
                "passkey" => ("Enter passkey", shown["passkey"].as_str().unwrap()),
                _ => ("Confirm passkey", "yes"),
            };
            self.until("the question", |said| said.contains(question));
            self.tell(answer, "Pairing successful");
        }
        peripherals.event(mark, name, "paired").unwrap();
        peripherals.event(mark, name, "encrypted").unwrap();
    }

    /// Without the colours and the prompts, which come again behind each line.
    fn said(&self) -> String {
        let text = fs::read_to_string(&self.said).unwrap_or_default().replace('\r', "\n");
        let mut plain = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find("\u{1b}[") {
            plain += &rest[..at];
            let behind = &rest[at + 2..];
            rest = behind.find(|c: char| c.is_ascii_alphabetic()).map_or("", |end| &behind[end + 1..]);
        }
        plain += rest;
        plain.retain(|c| c == '\n' || !c.is_control()); // readline brackets its colours
        // a prompt may stand before and behind what is said, in one line with it
        let lines = plain
            .lines()
            .map(|l| l.split("]#").map(str::trim).filter(|part| !part.starts_with('[') || part.contains(']')).collect::<String>());
        let lines = lines.filter(|l| !l.is_empty());
        lines.fold(String::new(), |text, line| text + &line + "\n")
    }

    /// Tells it something, and waits for an answer that was not there before.
    fn tell(&mut self, line: &str, answer: &str) {
        let before = self.said().matches(answer).count();
        self.guest.well(&format!("echo '{line}' >/tmp/told")).unwrap();
        self.until(&format!("{answer:?} after {line:?}"), |said| answer.is_empty() || said.matches(answer).count() > before);
    }

    /// Tells it something again and again, until one of the answers was given at any time.
    fn repeat(&mut self, line: &str, answers: &[&str]) {
        const TIMES: usize = 60; // a second each
        for _ in 0..TIMES {
            if answers.iter().any(|answer| self.said().contains(answer)) {
                return;
            }
            self.tell(line, "");
            sleep(Duration::from_secs(1));
        }
        panic!("{line:?} was not answered; bluetoothctl said\n{}", self.said());
    }

    fn until(&self, what: &str, so: impl Fn(&str) -> bool) {
        const LOOK_MS: u64 = 50;
        const PATIENCE_S: u64 = 180; // long, so that a busy machine fails nothing
        for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
            if so(&self.said()) {
                return;
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        const LINES: usize = 60; // enough to see what came last
        let said = self.said();
        let lines: Vec<_> = said.lines().collect();
        panic!("waited in vain for {what}; bluetoothctl said at last\n{}", lines[lines.len().saturating_sub(LINES)..].join("\n"));
    }

    /// The object of a device, which keeps the address under which it was first seen.
    fn path(&self, name: &str) -> String {
        let said = self.said();
        let line = said.lines().find(|l| l.contains("NEW") && l.contains(" Device ") && l.ends_with(&format!(" {name}")));
        let address = line.and_then(|l| l.split(" Device ").nth(1)?.split(' ').next().map(str::to_owned));
        format!("/org/bluez/hci0/dev_{}", address.unwrap_or_else(|| panic!("{name} was not seen:\n{said}")).replace(':', "_"))
    }

    /// A link is made; where BlueZ refuses, on a busy machine, it is asked again.
    fn connect(&mut self, peripherals: &mut Peripherals, name: &str, address: &str) {
        const TIMES: usize = 5;
        const ANSWERS: [&str; 2] = ["Connection successful", "Failed to connect"];
        let mark = peripherals.mark();
        let answered = |said: &str| ANSWERS.map(|answer| said.matches(answer).count());
        for _ in 0..TIMES {
            let [made, refused] = answered(&self.said());
            self.tell(&format!("connect {address}"), "");
            self.until(&format!("a link to {name}"), |said| answered(said) != [made, refused]);
            if answered(&self.said())[0] > made {
                peripherals.event(mark, name, "connected").unwrap();
                return;
            }
        }
        panic!("BlueZ made no link to {name} in {TIMES} tries; bluetoothctl said\n{}", self.said());
    }

    /// The peripheral goes out of reach and comes back, and BlueZ has seen that it went: before that it takes no order to connect.
    fn out_and_back(&mut self, peripherals: &mut Peripherals, name: &str, address: &str, lost_before: usize) {
        self.until(&format!("the end of the link to {name}"), |said| lost(said, address) > lost_before);
        peripherals.tell(&format!("return {name}")).unwrap();
        self.connect(peripherals, name, address);
    }

    fn listen(&mut self, name: &str, characteristic: &str) {
        let path = self.path(name);
        self.tell(&format!("gatt.select-attribute {path}/{characteristic}"), "");
        self.tell("gatt.notify on", "Notify started");
    }

    /// The values of what a device measures, in the order in which they crossed the bus: bluetoothctl itself shows those of one characteristic only.
    fn values(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(&self.signals).unwrap_or_default();
        let head = format!("path={}/{MEASURED};", self.path(name));
        let bytes = |signal: &str| {
            let (_, array) = signal.split_once("\"Value\"")?.1.split_once("array of bytes [")?;
            let (bytes, _) = array.split_once(']')?;
            Some(bytes.split_whitespace().collect::<String>())
        };
        text.split("\nsignal ")
            .filter(|signal| signal.lines().next().is_some_and(|first| first.contains(&head)))
            .filter_map(bytes)
            .collect()
    }
}

/// How often its link was lost.
fn lost(said: &str, address: &str) -> usize {
    said.matches(&format!("Device {address} Connected: no")).count()
}

fn sent(folder: &Path, name: &str) -> Vec<String> {
    guest::sent(folder, name).iter().map(|line| line["hex"].as_str().unwrap().to_owned()).collect()
}

//= PROMISES.md#P191
#[test]
fn the_stack_alone_carries_pairing_bonds_loss_and_eight_links() {
    if let Some(why) = guest::missing() {
        panic!("NO REAL BLUEZ WAS MET: {why}");
    }
    let folder = Folder::new("ble-stack");
    let (log, out, share) = (folder.0.join("log"), folder.0.join("sent"), folder.0.join("share"));
    [&log, &out, &share].iter().for_each(|f| fs::create_dir_all(f).unwrap());
    let mut peripherals = Peripherals::start(&out, &log.join("peripherals.log")).unwrap();
    let mut guest = Guest::start(&share, peripherals.port, &log).unwrap();
    println!("the guest was up after {:.1} s", guest.boot.as_secs_f64());
    let mut session = Session::start(&mut guest, &share);
    session.see_all();
    PAIRED.iter().for_each(|(name, event)| session.pair(&mut peripherals, name, event));
    for (name, address) in ADDRESSES.iter().filter(|(name, _)| !["meter", "oximeter-1", "secret-belt"].contains(name)) {
        session.connect(&mut peripherals, name, address);
    }
    println!("three are paired in three ways, eight are connected at once");

    ADDRESSES.iter().for_each(|(name, _)| session.listen(name, MEASURED));
    session.listen("meter", CONTROL_POINT);
    peripherals.tell(&format!("cut meter {BEFORE_THE_CUT}")).unwrap();
    let lost_before = lost(&session.said(), METER);
    let mark = peripherals.mark();
    session.tell("gatt.write \"0x01 0x01\"", "Attempting to write");
    peripherals.tell("speak").unwrap();
    peripherals.event(mark, "meter", "disconnected").unwrap();
    session.out_and_back(&mut peripherals, "meter", METER, lost_before);
    peripherals.event(mark, "meter", "encrypted").unwrap();
    // what it told before is not asked for again; BlueZ subscribes again by itself
    for uuid in ["2A18", "2A52"] {
        let again = |said: &Json| said["event"] == "subscribed" && said["name"] == "meter" && said["characteristic"] == uuid;
        peripherals.wait(mark, &format!("that BlueZ has subscribed to {uuid} again"), again).unwrap();
    }
    let path = session.path("meter");
    session.tell(&format!("gatt.select-attribute {path}/{CONTROL_POINT}"), "");
    let told = sent(&out, "meter").len();
    assert_eq!(told, BEFORE_THE_CUT);
    session.tell(&format!("gatt.write \"0x01 0x03 0x01 {told:#04x} 0x00\""), "Attempting to write");
    session.until("the rest of the memory", |_| session.values("meter").len() >= RECORDS);

    let lost_before = lost(&session.said(), SECRET_BELT);
    peripherals.tell("vanish secret-belt").unwrap();
    let mark = peripherals.mark();
    session.out_and_back(&mut peripherals, "secret-belt", SECRET_BELT, lost_before);
    peripherals.event(mark, "secret-belt", "encrypted").unwrap();
    assert!(
        peripherals.event(mark, "secret-belt", "connected").unwrap()["encrypted"] == Json::Bool(false),
        "the bond comes after the link"
    );
    let before = sent(&out, "secret-belt").len();
    wait_to_see("it speaks again", || sent(&out, "secret-belt").len(), |now| *now > before + 3);

    peripherals.tell("hush").unwrap();
    let (mut went, mut came) = (0, 0);
    for (name, _) in ADDRESSES {
        let out = sent(&out, name);
        let values = wait_to_see(&format!("what is on its way of {name}"), || session.values(name), |values| values.len() >= out.len());
        assert_eq!(values, out, "{name}: what came, what went out");
        (went, came) = (went + out.len(), came + values.len());
    }
    println!("stack: {} peripherals, {went} notifications sent, {came} received, lost {}, paired yes", ADDRESSES.len(), went - came);
}
