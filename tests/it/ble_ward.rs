//! A ward whose Bluetooth devices are simulated (`wardgate-lab bluez`), with gateway, broker and receiver as they are: for tests of the whole way.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use wardgate_lab::accountant::{self, Content};
use wardgate_lab::process::{Process, READY_S_MAX, binary};
use wardgate_lab::sim::ble::{self, Said, Value};
use wardgate_lab::stage::Stage;
use wardgate_lab::terminal::Terminal;

use crate::ward::{Folder, wait_to_see};

pub struct Ward {
    pub stage: Stage,
    bluez: Process,
    sent: PathBuf,
}

/// An instance of gateway.toml.
pub fn instance(name: &str, package: &str, more: &str, grants: &str) -> String {
    format!("\n[instance.{name}]\npackage = \"{package}\"\n{more}\ngrants = {{ {grants} }}\n")
}

impl Ward {
    /// `devices` as `wardgate-lab bluez` takes them.
    pub fn new(folder: &Folder, devices: &[String]) -> Self {
        let mut stage = Stage::new(&folder.0).unwrap();
        stage.start_broker().unwrap();
        stage.start_receiver().unwrap();
        let mut command = Command::new(binary("wardgate-lab").unwrap());
        command.arg("bluez").arg("--folder").arg(&folder.0);
        devices.iter().for_each(|device| _ = command.args(["--device", device]));
        let mut bluez = Process::start("bluez", &mut command, &folder.0.join("log/bluez.log")).unwrap();
        bluez.wait_for(READY_S_MAX, |line| line.contains("simulated").then_some(())).unwrap();
        Self { stage, bluez, sent: folder.0.join("sent") }
    }

    /// gateway.toml: what every one has, and this.
    pub fn configure(&self, more: &str) {
        let whole = self.stage.configuration();
        let begin = whole.split("[bus.plant]").next().unwrap();
        fs::write(self.stage.folder.join("gateway.toml"), format!("{begin}{more}")).unwrap();
    }

    /// For DBUS_SYSTEM_BUS_ADDRESS.
    pub fn bus(&self) -> String {
        ble::address(&self.stage.folder.join("bluez.sock"))
    }

    /// The gateway's program, which finds the simulated bus.
    fn gateway(&self) -> Command {
        let mut command = Command::new(binary("wardgate").unwrap());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus());
        command
    }

    pub fn start_gateway(&mut self) {
        let mut gateway = self.stage.spawn_gateway(&mut self.gateway()).unwrap();
        gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).unwrap();
        self.stage.gateway = Some(gateway);
    }

    /// A verb of the gateway.
    pub fn wardgate(&self, words: &[&str]) -> Output {
        self.gateway().args(words).arg("--config").arg(self.stage.folder.join("gateway.toml")).output().unwrap()
    }

    /// A verb of the gateway, typed at a terminal.
    pub fn at_a_terminal(&self, words: &[&str]) -> Terminal {
        Terminal::run(self.gateway().args(words).arg("--config").arg(self.stage.folder.join("gateway.toml"))).unwrap()
    }

    pub fn order(&mut self, line: &str) {
        self.bluez.tell(line).unwrap();
        let done = |said: &str| (said.contains("\"done\"") || said.contains("\"refused\"")).then(|| said.to_owned());
        let said = self.bluez.wait_for(READY_S_MAX, done).unwrap();
        assert!(said.contains("\"done\""), "{said}");
    }

    /// What went out of a device.
    pub fn said(&self, device: &str) -> Vec<Said> {
        ble::read(&self.sent, device)
    }

    /// The values of one channel that went out, in order; each record of a meter once, though it is told again on each link.
    pub fn went(&self, device: &str, channel: &str) -> Vec<Content> {
        let went = self.said(device).into_iter().filter_map(|said| said.says.get(channel).map(content)).collect();
        if channel == "sequence" { once(went) } else { went }
    }

    /// The values of one channel that came, in order.
    pub fn came(&self, instance: &str, channel: &str) -> Vec<Content> {
        let mut tracks = accountant::read_received(&self.stage.output(), instance);
        tracks.remove(channel).unwrap_or_default().into_iter().map(|(_, content)| content).collect()
    }

    /// Waits until so much of one channel has come, and answers it.
    pub fn hears(&self, instance: &str, channel: &str, so: impl Fn(&Vec<Content>) -> bool) -> Vec<Content> {
        wait_to_see(&format!("{channel} of {instance}"), || self.came(instance, channel), so)
    }

    pub fn stop(mut self) {
        assert!(self.stage.gateway.as_mut().unwrap().stop().unwrap().success());
    }
}

fn content(value: &Value) -> Content {
    match value {
        Value::Number(mantissa, exponent) => Content::Number(*mantissa, *exponent),
        Value::Code(code) => Content::Code(*code),
    }
}

/// Each value where it came first.
pub fn once(values: Vec<Content>) -> Vec<Content> {
    let mut seen = BTreeSet::new();
    values.into_iter().filter(|value| seen.insert(value.clone())).collect()
}
