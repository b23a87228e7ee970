//! The stage of the demo ward and of the whole-system tests: folder, keys and configuration, and the four kinds of process on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use wardgate::console;
use wardgate::plugin::{Claim, Member, SEED_BYTES, Sealed, SecretKey};

use crate::process::{Process, READY_S_MAX, binary, root};
use crate::{mosquitto, ports, serve, sim};

pub const GATEWAY: &str = "demo-ward";
/// Instance, bed: bedside monitors on a serial line each.
pub const MONITORS: [(&str, &str); 2] = [("bed-1-monitor", "bed-1"), ("bed-2-monitor", "bed-2")];
/// Behind Modbus TCP.
pub const CHILLER: &str = "ct-chiller";
pub const CHILLER_UNIT: u8 = 1;

/// Packages of the ward, as `tests/build` packs them.
pub const PACKED: [&str; 6] =
    ["ivy450c-0.1.0", "modbus-map-0.1.0", "ble-heart-rate-0.1.0", "ble-oximeter-0.1.0", "ble-thermometer-0.1.0", "ble-glucose-0.1.0"];
/// Who ships them to the ward, and who packed them here.
const VENDOR: &str = "demo-vendor";
const PACKED_BY: &str = "vendor = \"wardgate\"";

/// A Bluetooth device of the demo: instance, bed, address, plugin, and what `wardgate-lab bluez` simulates for it.
pub struct Wearable {
    pub name: &'static str,
    bed: &'static str,
    pub address: &'static str,
    plugin: &'static str,
    pub kind: &'static str,
}

pub const WEARABLES: [Wearable; 4] = [
    Wearable { name: "bed-1-belt", bed: "bed-1", address: "F0:00:00:00:0D:01", plugin: "ble-heart-rate", kind: "belt" },
    Wearable { name: "bed-2-oximeter", bed: "bed-2", address: "F0:00:00:00:0D:02", plugin: "ble-oximeter", kind: "oximeter" },
    Wearable { name: "bed-2-thermometer", bed: "bed-2", address: "F0:00:00:00:0D:04", plugin: "ble-thermometer", kind: "thermometer" },
    Wearable { name: "ward-meter", bed: "bed-2", address: "F0:00:00:00:0D:03", plugin: "ble-glucose", kind: "meter=60" },
];

pub struct Stage {
    pub folder: PathBuf,
    pub broker: Option<Process>,
    pub ward: Option<Process>,
    pub receiver: Option<Process>,
    pub gateway: Option<Process>,
    pub broker_port: u16,
    pub modbus_port: u16,
    /// Bluetooth devices too, on a simulated BlueZ.
    pub wearables: bool,
    /// Appended to gateway.toml.
    pub more: String,
    /// What of gateway.toml is written otherwise: text, and what stands there instead.
    pub instead: Vec<(String, String)>,
    /// The site's key: the ward runs signed packages only, and gateway.toml is signed too. None: a developer's desk.
    pub site: Option<SecretKey>,
    /// A plugin's folder is among them, which nobody signed.
    unsigned_guest: bool,
    /// What of `more` is the real Bluetooth device.
    worn: String,
}

impl Stage {
    /// Keys and folders; nothing runs yet.
    pub fn new(folder: &Path) -> Result<Self, String> {
        for sub in ["", "dev", "sent", "state", "out", "log"] {
            fs::create_dir_all(folder.join(sub)).map_err(|e| format!("{}: {e}", folder.join(sub).display()))?;
        }
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).map_err(|e| format!("no random numbers: {e}"))?;
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        write(&folder.join("mac.key"), &hex)?;
        write(&folder.join("password"), &hex[..16])?;
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            broker: None,
            ward: None,
            receiver: None,
            gateway: None,
            broker_port: 0,
            modbus_port: 0,
            wearables: false,
            more: String::new(),
            instead: Vec::new(),
            site: None,
            unsigned_guest: false,
            worn: String::new(),
        })
    }

    /// As on a ward: a throw-away fleet trusts a throw-away vendor, who signed the packages; and a throw-away site signed the configuration.
    pub fn sign(&mut self) -> Result<(), String> {
        let (vendor, site) = (fresh_key()?, fresh_key()?);
        let packages = self.folder.join("packages");
        fs::create_dir_all(&packages).map_err(|e| format!("packages: {e}"))?;
        let public = format!("{VENDOR}.pub");
        write(&self.folder.join(&public), &vendor.public().pem())?;
        self.fleet(&["init", "fleet"])?;
        self.fleet(&["add-vendor", VENDOR, "--key", &public, "--fleet", "fleet"])?;
        for name in PACKED {
            let file = format!("{name}.wardgate");
            let packed = root().join("plugins/target/packages").join(&file);
            let mut sealed = theirs(&wardgate::plugin::sealed(&packed).map_err(|e| format!("{e}: run tests/build"))?)?;
            sealed.sign(&vendor).map_err(|e| format!("{file} {e}"))?;
            wardgate::plugin::write_sealed(&packages.join(&file), &sealed).map_err(|e| e.to_string())?;
            self.fleet(&["publish", &format!("packages/{file}"), "--fleet", "fleet"])?;
        }
        let root = "fleet/repository/metadata/1.root.json";
        self.fleet(&["update", "--from", "fleet/repository", "--to", "trust", "--root", root])?;
        write(&self.folder.join("site.pub"), &site.public().pem())?;
        self.site = Some(site);
        Ok(())
    }

    /// What the fleet's desk does, by the program that is shipped.
    fn fleet(&self, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new(binary("wardgate-trust")?);
        let done = command.arg("trust").args(words).current_dir(&self.folder).output().map_err(|e| format!("wardgate-trust: {e}"))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(format!("wardgate-trust trust {}: {said}", words.join(" "))) }
    }

    /// Builds the plugin in `folder` and gives it an instance on a serial line of its own; answers the instance's name.
    pub fn invite(&mut self, folder: &Path) -> Result<String, String> {
        let built = wardgate::plugin::build(folder).map_err(|e| e.to_string())?;
        let name = built.manifest.name;
        if MONITORS.iter().any(|(known, _)| *known == name) || name == CHILLER {
            return Err(format!("the demo ward has a device called {name} already: give the plugin another name in its manifest"));
        }
        self.unsigned_guest = true;
        let package = built.folder.canonicalize().map_err(|e| format!("{}: {e}", built.folder.display()))?;
        self.more += &format!(
            "\n[instance.{name}]\npackage = {:?}\n[instance.{name}.grants.serial]\nport = \"{}/dev/{name}\"\nbaud = 9600\n",
            package.display().to_string(),
            self.folder.display()
        );
        Ok(name)
    }

    /// An instance on a real Bluetooth device, through this machine's BlueZ; answers its name.
    pub fn wear(&mut self, plugin: &str, address: &str) -> Result<String, String> {
        if !plugin.starts_with("ble-") || !root().join("plugins").join(plugin).exists() {
            return Err(format!("{plugin} is no Bluetooth plugin: write one of plugins/ble-*"));
        }
        let name = format!("real-{}", plugin.trim_start_matches("ble-"));
        self.unsigned_guest = true; // only what the demo shows by itself is packed and signed
        self.worn = bluetooth(&name, &unsigned(plugin), plugin, address, "bed-1");
        self.more += &self.worn;
        Ok(name)
    }

    /// The real Bluetooth device is taken off the ward: nobody here can switch it off, and it would go on for ever.
    pub fn take_off(&mut self) -> Result<(), String> {
        let worn = std::mem::take(&mut self.worn);
        if worn.is_empty() {
            return Ok(());
        }
        self.more = self.more.replace(&worn, "");
        self.write_configuration()?;
        let reloaded = console::ask_within(&self.folder.join("state"), &console::Question::Reload, READY_S_MAX);
        reloaded.map(|_: console::Reloaded| ()).map_err(|e| e.to_string())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(name)
    }

    /// Everything, and the devices switched on.
    pub fn start_all(&mut self, ward_options: &[&str]) -> Result<(), String> {
        self.start_broker()?;
        self.start_around_broker(ward_options)
    }

    /// All but the broker, which runs, and the devices switched on.
    pub fn start_around_broker(&mut self, ward_options: &[&str]) -> Result<(), String> {
        self.start_ward(ward_options)?;
        self.start_receiver()?;
        self.start_gateway()?;
        self.ward.as_mut().expect("started above").tell("on")
    }

    /// The embedded broker; a restart keeps the port and the certificate.
    pub fn start_broker(&mut self) -> Result<(), String> {
        if self.broker_port == 0 {
            self.broker_port = ports::own().map_err(|e| format!("no port is free: {e}"))?;
        }
        let mut command = Command::new(binary("wardgate-lab")?);
        command.arg("broker").arg("--folder").arg(&self.folder).arg("--port").arg(self.broker_port.to_string());
        let mut process = Process::start("broker", &mut command, &self.log("broker.log"))?;
        process.wait_for(READY_S_MAX, |l| port_of(l, "ready"))?;
        self.broker = Some(process);
        Ok(())
    }

    /// Mosquitto instead; a restart keeps the port, and what it held for others is gone.
    pub fn start_mosquitto(&mut self) -> Result<(), String> {
        if self.broker_port == 0 {
            let password = fs::read_to_string(self.folder.join("password")).map_err(|e| format!("password: {e}"))?;
            let users = [("gateway", password.as_str()), ("receiver", &password)];
            self.broker_port = mosquitto::prepare(&self.folder, &serve::identity(&self.folder)?, &users, "")?;
        }
        self.broker = Some(mosquitto::start(&self.folder, self.broker_port)?);
        Ok(())
    }

    /// The simulated devices, plugged in but switched off.
    pub fn start_ward(&mut self, options: &[&str]) -> Result<(), String> {
        let mut command = Command::new(binary("wardgate-lab")?);
        command.arg("ward").arg("--folder").arg(&self.folder).args(options);
        if self.wearables {
            command.arg("--wearables");
        }
        let mut process = Process::start("ward", &mut command, &self.log("ward.log"))?;
        self.modbus_port = process.wait_for(READY_S_MAX, |l| port_of(l, "modbus"))?;
        self.ward = Some(process);
        Ok(())
    }

    pub fn start_receiver(&mut self) -> Result<(), String> {
        self.start_receiver_by(&mut Command::new(binary("wardgate-cloud")?))
    }

    /// `command` is the binary, or a program that runs it.
    pub fn start_receiver_by(&mut self, command: &mut Command) -> Result<(), String> {
        let at = |name: &str| self.folder.join(name);
        command.args([
            "--log",
            "text",
            "receive",
            "--host",
            "localhost",
            "--port",
            &self.broker_port.to_string(),
            "--username",
            "receiver",
        ]);
        command.arg("--ca").arg(at("ca.pem")).arg("--password-file").arg(at("password"));
        command.arg("--key").arg(format!("{GATEWAY}={}", at("mac.key").display()));
        command.arg("--out").arg(at("out")).arg("--status-file").arg(at("receiver.json"));
        self.receiver = Some(Process::start("receiver", command, &self.log("receiver.log"))?);
        Ok(())
    }

    /// Writes gateway.toml and starts the gateway; returns when it says that it is ready.
    pub fn start_gateway(&mut self) -> Result<(), String> {
        self.write_configuration()?;
        let mut process = self.spawn_gateway(&mut Command::new(binary("wardgate")?))?;
        process.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(()))?;
        self.gateway = Some(process);
        Ok(())
    }

    /// gateway.toml as it stands, signed where the ward is.
    pub fn write_configuration(&self) -> Result<(), String> {
        let file = self.folder.join("gateway.toml");
        write(&file, &self.configuration())?;
        match &self.site {
            Some(key) => wardgate::plugin::sign_config(&file, key).map(drop).map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }

    /// `command` is the binary, or a program that runs it.
    pub fn spawn_gateway(&self, command: &mut Command) -> Result<Process, String> {
        command.args(["--log", "text", "run"]).arg("--config").arg(self.folder.join("gateway.toml"));
        if self.wearables {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", sim::ble::address(&bluez(&self.folder)));
        }
        Process::start("gateway", command, &self.log("gateway.log"))
    }

    /// The devices finish what they say, and are silent.
    pub fn switch_off(&mut self) -> Result<(), String> {
        let ward = self.ward.as_mut().ok_or("the devices were never started")?;
        ward.tell("off")?;
        ward.wait_for(READY_S_MAX, |l| l.contains("\"off\"").then_some(()))
    }

    pub fn output(&self) -> PathBuf {
        self.folder.join("out").join(GATEWAY)
    }

    pub fn receiver_status(&self) -> Json {
        let text = fs::read_to_string(self.folder.join("receiver.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What the running gateway says of itself; nothing while it is down.
    pub fn gateway_status(&self) -> Option<wardgate::status::Snapshot> {
        wardgate::console::ask(&self.folder.join("state"), &wardgate::console::Question::Status).ok()
    }

    /// Where a plugin's package lies: signed on a ward, a folder on a developer's desk.
    fn package(&self, plugin: &str) -> String {
        match &self.site {
            Some(_) => self.folder.join("packages").join(format!("{plugin}-0.1.0.wardgate")).display().to_string(),
            None => unsigned(plugin),
        }
    }

    pub fn configuration(&self) -> String {
        let folder = self.folder.display();
        let unsigned = self.site.is_none() || self.unsigned_guest;
        let mut text = format!(
            "[gateway]\nid = \"{GATEWAY}\"\nstate = \"{folder}/state\"\ndeveloper_mode = {unsigned}\n\n\
             [uplink]\nhost = \"localhost\"\nport = {}\nca_file = \"{folder}/ca.pem\"\nusername = \"gateway\"\n\
             password_file = \"{folder}/password\"\nmac_key_file = \"{folder}/mac.key\"\nresend_s = 3\nbackoff_min_ms = 100\nbackoff_max_ms = 1000\n\n\
             [plugins]\nallow_unsigned = {unsigned}\n\n[bus.plant]\ntcp = \"127.0.0.1:{}\"\n",
            self.broker_port, self.modbus_port
        );
        for (name, bed) in MONITORS {
            text += &format!(
                "\n[instance.{name}]\npackage = \"{}\"\nbed = \"{bed}\"\n\
                 [instance.{name}.grants.serial]\nport = \"{folder}/dev/{name}\"\nbaud = 9600\n",
                self.package("ivy450c")
            );
        }
        text += &format!(
            "\n[instance.{CHILLER}]\npackage = \"{}\"\n{}\n[instance.{CHILLER}.grants.modbus]\nbus = \"plant\"\n\
             servers = [{CHILLER_UNIT}]\nallow = [{{ function = 3, addresses = [\"0..11\"] }}]\n",
            self.package("modbus-map"),
            chiller_settings()
        );
        if self.site.is_some() {
            text += &format!("\n[trust]\nfolder = \"{folder}/trust\"\nsite_key = \"{folder}/site.pub\"\n");
        }
        if self.wearables {
            WEARABLES.iter().for_each(|w| text += &bluetooth(w.name, &self.package(w.plugin), w.plugin, w.address, w.bed));
        }
        text += &self.more;
        self.instead.iter().fold(text, |text, (old, new)| text.replace(old, new))
    }
}

/// Where the simulated BlueZ of a stage listens.
pub fn bluez(folder: &Path) -> PathBuf {
    folder.join("bluez.sock")
}

/// A plugin's package as a folder, for a developer's desk.
pub fn unsigned(plugin: &str) -> String {
    root().join("plugins/target/packages").join(format!("{plugin}-0.1.0")).display().to_string()
}

/// An instance on a Bluetooth device, with the grant that its plugin's manifest asks for.
pub fn bluetooth(name: &str, package: &str, plugin: &str, address: &str, bed: &str) -> String {
    let manifest = root().join("plugins").join(plugin).join("manifest.toml");
    let text = fs::read_to_string(&manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let asked = text.split("'''").nth(1).unwrap_or_else(|| panic!("{} asks for nothing", manifest.display()));
    format!(
        "\n[instance.{name}]\npackage = \"{package}\"\nbed = \"{bed}\"\ngrants = {{ {} }}\n",
        asked.replace("address = \"..\"", &format!("address = \"{address}\""))
    )
}

/// The chiller's map, as its plugin ships it.
fn chiller_settings() -> String {
    let map = root().join("plugins/modbus-map/maps/smc-hrs.map");
    let text = fs::read_to_string(&map).unwrap_or_else(|e| panic!("{}: {e}", map.display()));
    format!("[instance.{CHILLER}.settings]\nmap = '''\n{text}'''\n")
}

/// The same package in the throw-away vendor's name.
fn theirs(packed: &Sealed) -> Result<Sealed, String> {
    let mut files = packed.files().to_vec();
    for file in files.iter_mut().filter(|file| file.path == "manifest.toml") {
        let text = String::from_utf8_lossy(&file.bytes).replacen(PACKED_BY, &format!("vendor = \"{VENDOR}\""), 1);
        *file = Member::new("manifest.toml", text.into_bytes());
    }
    Sealed::new(files, Claim { vendor: VENDOR.into(), ..packed.claim.clone() }).map_err(|e| format!("{} {e}", packed.claim.full_name()))
}

fn fresh_key() -> Result<SecretKey, String> {
    let mut seed = [0; SEED_BYTES];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).map_err(|e| format!("no random numbers: {e}"))?;
    Ok(SecretKey::of_seed(&seed))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// `{"ready": 12345}` and the like.
fn port_of(line: &str, key: &str) -> Option<u16> {
    let json: Json = serde_json::from_str(line).ok()?;
    u16::try_from(json.get(key)?.as_u64()?).ok()
}
