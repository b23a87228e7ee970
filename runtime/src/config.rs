//! The only reader of TOML: gateway.toml and plugin manifests. runtime/gateway.toml holds every setting with its default.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use wardgate_wire::topics;

use crate::fault::{Fault, Guilty, remedy_for};

mod asked_line;
mod ble;
mod hint;
mod inputs;
mod line;
mod lock;
mod manifest;
mod nearest;
mod paths;
mod place;
mod plain_file;
mod report;
mod settings;
mod token;
mod trust;

use hint::{Hint, hint, shown};
use place::{line_at, line_of};

pub use asked_line::asked_line;
pub use ble::{Ble, BleGrant, BlePool, Pairing, is_address};
pub use inputs::{Tap, Tapped};
pub use lock::{Lock, Locked};
pub use manifest::{
    Ask, ChannelBounds, ChannelKind, Command, Input, Kind, Link, Manifest, ManifestError, PluginLimits, Setting, Transaction, is_name,
};
pub use nearest::nearest;
pub use paths::nearest_path;
pub use plain_file::plain_file;
pub use report::{DeadBand, Report, Terms};
pub use settings::{Given, Shipped, TEXT_BYTES_MAX, setting_in_words};
pub use token::{TOKEN_BYTES_MAX, token};
pub use trust::{IMAGE_PROFILE, OnRevoked, Trust, is_production};

/// Of gateway.toml: as many instances as one gateway runs have some hundred KiB.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Every setting with its default: what remedies are taken from.
const EXAMPLE: &str = include_str!("../gateway.toml");

/// gateway.toml. Relative paths in it are relative to the folder it lies in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub gateway: Gateway,
    pub uplink: Uplink,
    #[serde(default)]
    pub store: Store,
    #[serde(default)]
    pub plugins: Plugins,
    #[serde(default)]
    pub trust: Trust,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub ble: Ble,
    #[serde(default, rename = "bus")]
    pub buses: BTreeMap<String, Bus>,
    #[serde(default, rename = "instance")]
    pub instances: BTreeMap<String, Instance>,
    #[serde(skip)]
    source: Source,
}

/// The file that was read, to say where in it something stands.
#[derive(Clone, Debug, Default)]
struct Source {
    file: PathBuf,
    text: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// 1 to 32 of a-z 0-9 -; part of every topic and of every batch's identity.
    pub id: String,
    /// Folder of the store, the compile cache, the device key and the status socket.
    pub state: PathBuf,
    /// For those who write plugins: what only they need may be allowed. No image for wards takes it.
    #[serde(default)]
    pub developer_mode: bool,
    /// Where the device's own secret comes from instead of a file in `state`: a key in a token that never leaves it (RFC 7512).
    #[serde(default)]
    pub device_key: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    pub host: String,
    #[serde(default = "d::port")]
    pub port: u16,
    /// PEM; the broker's certificate must chain to one of these and name `host`.
    pub ca_file: PathBuf,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The secret that gateway and receiver share; 16 bytes or more.
    pub mac_key_file: PathBuf,
    /// Root of all topics; the receiver must be told the same.
    #[serde(default = "d::topic")]
    pub topic: String,
    /// A batch is closed at this size, bytes.
    #[serde(default = "d::batch_bytes")]
    pub batch_bytes: usize,
    /// A longer batch is sent in parts of this size, bytes.
    #[serde(default = "d::message_bytes")]
    pub message_bytes: usize,
    /// Batches on their way at most.
    #[serde(default = "d::window_messages")]
    pub window_messages: u16,
    /// Bytes on their way at most.
    #[serde(default = "d::window_bytes")]
    pub window_bytes: usize,
    #[serde(default = "d::keep_alive_s")]
    pub keep_alive_s: u16,
    /// Nothing heard of the broker for this long while something is in flight ends the connection.
    #[serde(default = "d::progress_s")]
    pub progress_s: u64,
    /// No acknowledgement of the receiver for this long: the batch is sent again.
    #[serde(default = "d::resend_s")]
    pub resend_s: u64,
    #[serde(default = "d::backoff_min_ms")]
    pub backoff_min_ms: u64,
    #[serde(default = "d::backoff_max_ms")]
    pub backoff_max_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// What the store may take of the disk.
    #[serde(default = "d::bytes_max")]
    pub bytes_max: u64,
    #[serde(default = "d::segment_bytes")]
    pub segment_bytes: u64,
    /// A value is on flash at most this long after it was taken.
    #[serde(default = "d::commit_ms")]
    pub commit_ms: u64,
    /// How long what a device said waits, where nobody knows whose device it is, until a person confirms its binding.
    #[serde(default = "d::park_s")]
    pub park_s: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { bytes_max: d::bytes_max(), segment_bytes: d::segment_bytes(), commit_ms: d::commit_ms(), park_s: d::park_s() }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Packages may be folders, which nobody signs: in developer mode only.
    #[serde(default)]
    pub allow_unsigned: bool,
    /// Where `wardgate plugin accept` puts what it took.
    #[serde(default = "d::packages")]
    pub folder: PathBuf,
    /// Socket of a compiler that another user runs; none: a child of the gateway.
    #[serde(default)]
    pub compiler: Option<PathBuf>,
    /// On an image for wards: also where the compiler lacks seccomp, landlock or a user of its own.
    #[serde(default)]
    pub compile_without_walls: bool,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { allow_unsigned: false, folder: d::packages(), compiler: None, compile_without_walls: false }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where Prometheus asks; none: nowhere.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Whether `listen` may be an address that others than this machine reach.
    #[serde(default)]
    pub beyond_loopback: bool,
}

/// One Modbus bus; requests on it are made one after the other. It is reached by `tcp` or by `serial`, never both.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Bus {
    /// host:port of a server, a gateway or a terminal server.
    #[serde(default)]
    pub tcp: Option<String>,
    /// A port by its stable name, or a terminal server, as in a serial grant.
    #[serde(default)]
    pub serial: Option<PathBuf>,
    /// "tcp", "rtu" or "ascii".
    #[serde(default)]
    pub protocol: Option<String>,
    #[serde(default = "d::baud")]
    pub baud: u32,
    #[serde(default = "d::bus_framing")]
    pub framing: String,
    /// The adapter hears what it sends.
    #[serde(default)]
    pub echo: bool,
    /// Silence between frames; 0 is what the protocol asks for at this speed.
    #[serde(default)]
    pub gap_us: u64,
    #[serde(default = "d::timeout_ms")]
    pub timeout_ms: u64,
    /// Rest between two transactions: the turn-around time of the slowest driver on the line.
    #[serde(default = "d::pause_ms")]
    pub pause_ms: u64,
    /// Until its slowest server begins to answer: what `check` reckons with.
    #[serde(default = "d::answer_ms")]
    pub answer_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// A vendor's signed file NAME-VERSION.wardgate, or the folder of a built package.
    pub package: PathBuf,
    /// Opaque bed token, never a patient's name.
    #[serde(default)]
    pub bed: Option<String>,
    /// The device that stands there must say that it has this serial; until it does, its values are parked. None: any device of its kind.
    #[serde(default)]
    pub device_serial: Option<String>,
    /// Held against the plugin's manifest, then handed to it as texts; its README lists what it knows.
    #[serde(default)]
    pub settings: BTreeMap<String, Given>,
    /// Without a value for longer than this, while its line is up, it is shown as silent; 0: never. Instead of what the manifest says.
    #[serde(default)]
    pub silent_after_s: Option<u64>,
    /// By the channel's name: what of it is sent. Of all others, everything is.
    #[serde(default)]
    pub report: BTreeMap<String, Report>,
    /// Of a filter: by the name of its input, the channel that it hears.
    #[serde(default)]
    pub inputs: BTreeMap<String, Tapped>,
    /// No default: `grants = {}` says that it touches no device.
    pub grants: Grants,
}

/// What the site allows one instance.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    #[serde(default)]
    pub modbus: Option<ModbusGrant>,
    #[serde(default)]
    pub serial: Option<SerialGrant>,
    #[serde(default)]
    pub ble: Option<BleGrant>,
    /// Channels that the plugin describes as personal.
    #[serde(default)]
    pub personal: bool,
    /// What its device sends, byte for byte, leaves too.
    #[serde(default)]
    pub keep_raw: bool,
}

impl Grants {
    /// Of a line as it stands below `[instance.NAME.grants]`.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    /// The links that they give anything of.
    pub fn links(&self) -> BTreeSet<Link> {
        let links = [(Link::Modbus, self.modbus.is_some()), (Link::Serial, self.serial.is_some()), (Link::Ble, self.ble.is_some())];
        links.into_iter().filter(|(_, granted)| *granted).map(|(link, _)| link).collect()
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModbusGrant {
    /// Name of a [bus.NAME].
    pub bus: String,
    /// Server (unit) ids.
    pub servers: Vec<u8>,
    pub allow: Vec<ModbusRule>,
    /// Open requests at most.
    #[serde(default = "d::requests_max")]
    pub requests_max: u16,
    /// What its plugin asks again and again with these settings, where neither its manifest nor a trial of it tells; `check` reckons with it.
    #[serde(default)]
    pub transactions: Vec<Transaction>,
    /// Takes Modbus ASCII replies whose checksum is wrong in the one documented way, and marks what comes of them as questionable.
    #[serde(default)]
    pub checksum_quirk: bool,
    /// Where it stands, for whoever is refused: file and line.
    #[serde(skip)]
    pub at: At,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ModbusRule {
    pub function: u8,
    /// "0..11" (both ends included) or "7"; none for functions without addresses.
    #[serde(default)]
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SerialGrant {
    /// By a stable name: /dev/serial/by-id/...
    pub port: PathBuf,
    #[serde(default = "d::baud")]
    pub baud: u32,
    /// Data bits, parity, stop bits: "8N1", "7E1", "8O1" ...
    #[serde(default = "d::framing")]
    pub framing: String,
    /// "none", "xon-xoff" or "rts-cts".
    #[serde(default = "d::flow")]
    pub flow: String,
    /// Whole frames that may be written. Empty: listens only.
    #[serde(default)]
    pub writes: Vec<String>,
    /// Where it stands, for whoever is refused: file and line.
    #[serde(skip)]
    pub at: At,
}

/// File and line where something stands, for people: what has moved and says the same is the same.
#[derive(Clone, Debug, Eq)]
pub struct At(pub String);

impl Default for At {
    fn default() -> Self {
        Self("gateway.toml".into()) // read from no file, in tests
    }
}

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Defaults, each with its reason.
mod d {
    use std::path::PathBuf;

    pub fn packages() -> PathBuf {
        "/var/lib/wardgate/packages".into() // on the data partition of the image
    }
    pub fn port() -> u16 {
        8883 // MQTT over TLS, as registered
    }
    pub fn topic() -> String {
        "wardgate/1".into() // 1: the first form of the tree below it, which wire/FORMAT.md draws
    }
    pub fn batch_bytes() -> usize {
        16 << 10 // a wide link; 2 KiB where it is thin
    }
    pub fn message_bytes() -> usize {
        16 << 10 // as the batch: no parts on a wide link
    }
    pub fn window_messages() -> u16 {
        16 // below the 20 that brokers grant by default
    }
    pub fn window_bytes() -> usize {
        64 << 10 // four full batches: enough for 0.5 MB/s at 100 ms, small enough that an alert waits little
    }
    pub fn keep_alive_s() -> u16 {
        30
    }
    pub fn progress_s() -> u64 {
        20 // longer than a satellite round trip with retransmission, shorter than TCP's own patience
    }
    pub fn resend_s() -> u64 {
        15
    }
    pub fn backoff_min_ms() -> u64 {
        500
    }
    pub fn backoff_max_ms() -> u64 {
        60_000 // a ward of gateways after a broker's restart spreads over a minute
    }
    pub fn bytes_max() -> u64 {
        1 << 30 // several days of eight full beds
    }
    pub fn segment_bytes() -> u64 {
        4 << 20 // the erase unit of common SD cards
    }
    pub fn commit_ms() -> u64 {
        1000 // one flush a second spares the flash
    }
    pub fn park_s() -> u64 {
        12 * 3600 // until the next shift at the latest
    }
    pub fn timeout_ms() -> u64 {
        1000
    }
    pub fn pause_ms() -> u64 {
        0
    }
    pub fn answer_ms() -> u64 {
        20 // slow controllers answer within their own scan, 10 to 20 ms
    }
    pub fn requests_max() -> u16 {
        16
    }
    pub fn baud() -> u32 {
        9600
    }
    pub fn framing() -> String {
        "8N1".into()
    }
    pub fn bus_framing() -> String {
        "8E1".into() // what the protocol asks of every server
    }
    pub fn flow() -> String {
        "none".into()
    }
}

/// What is wrong with gateway.toml, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", place(&self.file, self.line), self.what)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Fault {
    fn from(e: ConfigError) -> Self {
        Self::new(Guilty::Configuration, &e, &e.remedy)
    }
}

fn place(file: &Path, line: Option<usize>) -> String {
    line.map_or_else(|| file.display().to_string(), |line| format!("{}, line {line}", file.display()))
}

/// Unknown keys are errors with their line.
fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| line_at(text, s.start));
        let Hint { what, remedy } = hint(e.message(), text, line, EXAMPLE);
        ConfigError { file: file.to_owned(), line, what, remedy }
    })
}

/// A value that cannot be: the path of its key, what is wrong, what to do.
struct Mistake {
    path: Vec<String>,
    what: String,
    remedy: String,
}

impl Config {
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let read = plain_file(file, CONFIG_BYTES_MAX);
        let text = read.and_then(|(bytes, _)| String::from_utf8(bytes).map_err(std::io::Error::other)).map_err(|e| {
            let remedy = match nearest_path(file) {
                Some(near) => format!("name {}", near.display()),
                None => "name the file with --config; runtime/gateway.toml shows every setting".to_owned(),
            };
            ConfigError { file: file.to_owned(), line: None, what: format!("cannot be read: {e}"), remedy }
        })?;
        Self::read(file, text)
    }

    /// As [`Config::load`], of a text that is not on a disk: for whoever tries a hundred thousand of them.
    #[doc(hidden)]
    pub fn parsed(file: &Path, text: String) -> Result<Self, ConfigError> {
        Self::read(file, text)
    }

    fn read(file: &Path, text: String) -> Result<Self, ConfigError> {
        let mut config = parse(file, &text)?;
        config.source = Source { file: file.to_owned(), text };
        config.resolve(file.parent().unwrap_or(Path::new("")));
        match config.first_mistake() {
            None => Ok(config),
            Some(Mistake { path, what, remedy }) => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                Err(config.wrong(&path, format!("{}: {what}", path.join(".")), remedy))
            }
        }
    }

    fn resolve(&mut self, folder: &Path) {
        let under = |p: &mut PathBuf| *p = folder.join(&*p); // an absolute path replaces the folder
        under(&mut self.gateway.state);
        self.ble.state = Some(self.gateway.state.clone());
        under(&mut self.uplink.ca_file);
        under(&mut self.uplink.mac_key_file);
        self.uplink.password_file.iter_mut().for_each(under);
        under(&mut self.plugins.folder);
        self.plugins.compiler.iter_mut().for_each(under);
        let trust = &mut self.trust;
        [&mut trust.folder, &mut trust.vendors, &mut trust.site_key].into_iter().flatten().for_each(under);
        self.buses.values_mut().filter_map(|b| b.serial.as_mut()).filter(|p| !is_remote(p)).for_each(under);
        let source = &self.source;
        for (name, instance) in &mut self.instances {
            under(&mut instance.package);
            for given in instance.settings.values_mut() {
                if let Given::File(path) = given {
                    under(path);
                }
            }
            if let Some(serial) = &mut instance.grants.serial {
                if !is_remote(&serial.port) {
                    under(&mut serial.port);
                }
                serial.at = At(source.place(&["instance", name, "grants", "serial"]));
            }
            if let Some(modbus) = &mut instance.grants.modbus {
                modbus.at = At(source.place(&["instance", name, "grants", "modbus"]));
            }
            if let Some(ble) = &mut instance.grants.ble {
                ble.at = At(source.place(&["instance", name, "grants", "ble"]));
                ble.address.iter_mut().for_each(|address| address.make_ascii_uppercase()); // as BlueZ writes them
            }
        }
    }

    /// An error about what stands at this path.
    pub fn wrong(&self, path: &[&str], what: impl fmt::Display, remedy: impl fmt::Display) -> ConfigError {
        let Source { file, text } = &self.source;
        ConfigError { file: file.clone(), line: line_of(text, path), what: what.to_string(), remedy: remedy.to_string() }
    }

    fn first_mistake(&self) -> Option<Mistake> {
        let wrong = |path: &[&str], what: String, remedy: String| {
            Some(Mistake { path: path.iter().map(|key| (*key).to_owned()).collect(), what, remedy })
        };
        if wardgate_wire::GatewayId::new(&self.gateway.id).is_none() {
            let good = plain(&self.gateway.id.to_lowercase(), "-", GATEWAY_ID_BYTES_MAX);
            let remedy = format!("write id = \"{}\"", if good.is_empty() { "ward-1" } else { &good });
            return wrong(&["gateway", "id"], "takes 1 to 32 of the characters a-z, 0-9 and -".into(), remedy);
        }
        if let Some(listen) = self.metrics.listen.filter(|a| !a.ip().is_loopback() && !self.metrics.beyond_loopback) {
            let what = "is no loopback address: whoever reaches it may read (beyond_loopback = true allows that)";
            return wrong(&["metrics", "listen"], what.into(), format!("write listen = \"127.0.0.1:{}\"", listen.port()));
        }
        if self.plugins.allow_unsigned && !self.gateway.developer_mode {
            let what = "is for those who write plugins, and needs developer_mode = true below [gateway]".to_owned();
            let remedy =
                "write allow_unsigned = false, and name signed packages; at a developer's desk add developer_mode = true below [gateway]";
            return wrong(&["plugins", "allow_unsigned"], what, remedy.into());
        }
        if self.trust.folder.is_some() && self.trust.vendors.is_some() {
            let what = "the folder holds the vendors' keys already, in vendors/".to_owned();
            return wrong(&["trust", "vendors"], what, "take one of the two lines out".into());
        }
        let host = &self.uplink.host;
        if host.is_empty() || host.contains([':', '/', ' ']) {
            // mqtts://broker:8883/x is how others write it
            let bare = host.trim().rsplit("//").next().unwrap_or_default().split([':', '/', ' ']).next().unwrap_or_default();
            let remedy = format!("write host = \"{}\"", if bare.is_empty() { "broker.hospital.example" } else { bare });
            let what = "takes a name or an IPv4 address and nothing around it; the port has a line of its own";
            return wrong(&["uplink", "host"], what.into(), remedy);
        }
        if !topics::is_root(&self.uplink.topic) {
            let what = format!("takes plain levels of {} bytes at most: no + and #, no empty level, no $ in front", topics::ROOT_BYTES_MAX);
            return wrong(&["uplink", "topic"], what, format!("write topic = \"{}\"", d::topic()));
        }
        if self.uplink.password_file.is_some() && self.uplink.username.is_none() {
            let remedy = format!("add {}", shown("username", "uplink", EXAMPLE));
            return wrong(&["uplink", "password_file"], "a password needs a username".into(), remedy);
        }
        if let Some((table, key, value, low, high)) = self.ranges().into_iter().find(|(_, _, v, low, high)| !(low..=high).contains(&v)) {
            let bound = if value < low { format!("{key} = {low} or more") } else { format!("{key} = {high} or less") };
            return wrong(&[table, key], format!("{value} lies outside {low} to {high}"), format!("write {bound}"));
        }
        for (name, bus) in &self.buses {
            if bus.tcp.is_some() == bus.serial.is_some() {
                let what = "is reached by tcp or by serial, by one of the two".to_owned();
                return wrong(
                    &["bus", name],
                    what,
                    "write one line, tcp = \"192.0.2.20:502\" or serial = \"/dev/serial/by-id/...\"".to_owned(),
                );
            }
            let tcp = bus.tcp.as_deref().unwrap_or("host:1");
            if !tcp.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
                let host = tcp.split(':').next().filter(|host| !host.is_empty()).unwrap_or("192.0.2.20");
                return wrong(&["bus", name, "tcp"], format!("\"{tcp}\" is not host:port"), format!("write tcp = \"{host}:502\""));
            }
        }
        self.instances
            .iter()
            .find_map(|(name, instance)| self.instance_mistake(name, instance))
            .or_else(|| self.shared_port())
            .or_else(|| self.token_mistake())
            .or_else(|| self.shared_peripheral())
            .or_else(|| self.inputs_mistake())
    }

    /// Two instances on one serial line would each get some of its bytes, and two owners of one bus each other's answers. One line may have
    /// several names.
    fn shared_port(&self) -> Option<Mistake> {
        let buses = self.buses.iter().filter_map(|(name, bus)| match (&bus.serial, &bus.tcp) {
            (Some(port), _) => Some(("bus", name, port.as_path(), line::of_port(port), &["serial"][..])),
            (None, Some(at)) => Some(("bus", name, Path::new(at), line::of_address(at), &["tcp"][..])),
            (None, None) => None,
        });
        let instances = self.instances.iter().filter_map(|(name, i)| {
            let port = i.grants.serial.as_ref()?.port.as_path();
            Some(("instance", name, port, line::of_port(port), &["grants", "serial", "port"][..]))
        });
        let mut taken: BTreeMap<PathBuf, (&str, &str, &Path)> = BTreeMap::new();
        for (kind, name, port, line, key) in buses.chain(instances) {
            if let Some((whose, other, theirs)) = taken.insert(line, (kind, name, port)) {
                let path = [&[kind, name], key].concat().into_iter().map(str::to_owned).collect();
                let of = if theirs == port { "the port".into() } else { format!("the device {}, which is the port", theirs.display()) };
                let (what, remedy) = if (kind, whose) == ("bus", "bus") {
                    let what = format!("this is {of} of bus \"{other}\" already, and a bus has one owner");
                    (what, format!("take out one of \"{other}\" and \"{name}\": the grants of several instances may name one bus"))
                } else {
                    let what = format!("this is {of} of {whose} \"{other}\" already, and a serial line has one reader");
                    (what, format!("name another port, or take out one of \"{other}\" and \"{name}\""))
                };
                return Some(Mistake { path, what, remedy });
            }
        }
        None
    }

    /// The same as for a person who binds.
    fn token_mistake(&self) -> Option<Mistake> {
        let written = self.instances.iter().flat_map(|(name, i)| [(name, "bed", &i.bed), (name, "device_serial", &i.device_serial)]);
        let mut wrong = written.filter_map(|(name, key, text)| Some((name, key, token(text.as_deref()?).err()?)));
        wrong.next().map(|(name, key, why)| Mistake {
            path: ["instance", name, key].map(str::to_owned).to_vec(),
            what: why,
            remedy: format!("write 1 to {TOKEN_BYTES_MAX} bytes of letters, digits, punctuation and spaces, or take {key} out"),
        })
    }

    /// What a peripheral tells is told to one listener.
    fn shared_peripheral(&self) -> Option<Mistake> {
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, instance) in &self.instances {
            let Some(address) = instance.grants.ble.as_ref().and_then(|grant| grant.address.as_deref()) else { continue };
            if let Some(other) = taken.insert(address, name) {
                let path = ["instance", name, "grants", "ble", "address"].map(str::to_owned).to_vec();
                let what = format!("the peripheral {address} is that of instance \"{other}\" already");
                return Some(Mistake { path, what, remedy: format!("name another one, or take out one of \"{other}\" and \"{name}\"") });
            }
        }
        None
    }

    /// Table, key, value, least, most.
    fn ranges(&self) -> [(&'static str, &'static str, u64, u64, u64); 15] {
        let (up, store) = (&self.uplink, &self.store);
        [
            ("uplink", "batch_bytes", up.batch_bytes as u64, 256, 1 << 20),
            ("uplink", "message_bytes", up.message_bytes as u64, 1024, 1 << 20),
            ("uplink", "window_messages", up.window_messages.into(), 1, 1000),
            ("uplink", "window_bytes", up.window_bytes as u64, 1024, 1 << 24),
            ("uplink", "keep_alive_s", up.keep_alive_s.into(), 5, 3600),
            ("uplink", "progress_s", up.progress_s, 2, 600),
            ("uplink", "resend_s", up.resend_s, 1, 3600),
            ("uplink", "backoff_min_ms", up.backoff_min_ms, 10, 3_600_000),
            ("uplink", "backoff_max_ms", up.backoff_max_ms, up.backoff_min_ms, 3_600_000),
            ("store", "segment_bytes", store.segment_bytes, 4 << 10, 1 << 30),
            ("store", "bytes_max", store.bytes_max, 8 * store.segment_bytes, 1 << 46),
            ("store", "commit_ms", store.commit_ms, 100, 60_000),
            ("ble", "scan_s", self.ble.scan_s, 1, 3600),
            ("ble", "rest_s", self.ble.rest_s, 0, 3600),
            ("store", "park_s", store.park_s, 1, 30 * 86_400),
        ]
    }

    fn instance_mistake(&self, name: &str, instance: &Instance) -> Option<Mistake> {
        let wrong = |path: &[&str], what: String, remedy: String| {
            let path = ["instance", name].iter().chain(path).map(|key| (*key).to_owned()).collect();
            Some(Mistake { path, what, remedy })
        };
        let good = plain(name, "-_", INSTANCE_NAME_BYTES_MAX);
        if name.is_empty() || name != good {
            let good = if good.is_empty() { "bed-1-monitor" } else { &good };
            let what = format!("a name takes 1 to {INSTANCE_NAME_BYTES_MAX} letters, digits, - and _");
            return wrong(&[], what, format!("write [instance.{good}]"));
        }
        if let Some((path, what, remedy)) = instance.grants.ble.as_ref().and_then(BleGrant::mistake) {
            return wrong(path, what, remedy);
        }
        let bus = &instance.grants.modbus.as_ref()?.bus;
        if self.buses.contains_key(bus) {
            return None;
        }
        let mut addresses = (20..u8::MAX).map(|n| format!("192.0.2.{n}:502"));
        let is_free = |at: &String| self.buses.values().all(|b| b.tcp.as_ref() != Some(at));
        let add = format!("add [bus.{bus}]\n    tcp = \"{}\"", addresses.find(is_free).unwrap_or_default());
        let remedy = match nearest(bus, self.buses.keys().map(String::as_str)) {
            Some(meant) => format!("write bus = \"{meant}\", or {add}"),
            None => add,
        };
        wrong(&["grants", "modbus", "bus"], format!("there is no bus \"{bus}\""), remedy)
    }

    pub fn gateway_id(&self) -> wardgate_wire::GatewayId {
        wardgate_wire::GatewayId::new(&self.gateway.id).expect("checked when it was loaded")
    }
}

/// A terminal server's address and no path.
fn is_remote(port: &Path) -> bool {
    port.to_string_lossy().contains("://")
}

const GATEWAY_ID_BYTES_MAX: usize = 32;
const INSTANCE_NAME_BYTES_MAX: usize = 64; // a file name at the receiver, a label in metrics

/// The name without what it may not have.
fn plain(name: &str, also: &str, bytes_max: usize) -> String {
    let good = name.chars().map(|c| if c.is_ascii_alphanumeric() || also.contains(c) { c } else { '-' });
    good.take(bytes_max).collect::<String>()
}

impl Source {
    /// "gateway.toml, line 12"
    fn place(&self, path: &[&str]) -> String {
        place(&self.file, line_of(&self.text, path))
    }
}

impl Uplink {
    /// The slowest link that works. A full window, and a ping that waits behind it, must be through before silence ends the connection:
    /// `window_bytes * 8 / min(progress_s, keep_alive_s)`. TLS and TCP come on top.
    pub fn least_kbit_s(&self) -> u64 {
        let bits = 8 * self.window_bytes.max(self.message_bytes) as u64;
        bits.div_ceil(1000 * self.progress_s.min(self.keep_alive_s.into()))
    }
}

/// What lies in files beside the configuration.
pub struct Secrets {
    pub ca_pem: Vec<u8>,
    pub password: Option<Vec<u8>>,
    pub mac_key: wardgate_wire::Key,
}

impl Secrets {
    pub fn read(config: &Config) -> Result<Self, Fault> {
        let uplink = &config.uplink;
        let file = |key: &str, path: &Path| {
            std::fs::read(path).map_err(|e| {
                let remedy = match nearest_path(path) {
                    Some(near) if near != path => format!("write {key} = \"{}\"", near.display()),
                    _ => "put the file there, or correct the path".to_owned(),
                };
                let remedy = remedy_for(&e, remedy);
                config.wrong(&["uplink", key], format!("uplink.{key} = \"{}\" cannot be read: {e}", path.display()), remedy)
            })
        };
        // an editor or `echo` adds a line end, which is no part of a secret; the receiver reads it the same way
        let mac = file("mac_key_file", &uplink.mac_key_file)?;
        let mac_key = wardgate_wire::Key::new(mac.trim_ascii_end()).ok_or_else(|| {
            let what = format!("{} holds {} bytes", uplink.mac_key_file.display(), mac.trim_ascii_end().len());
            let least = wardgate_wire::KEY_BYTES_MIN;
            let remedy = format!("it needs {least} or more, the same bytes as at the receiver: head -c 32 /dev/urandom");
            config.wrong(&["uplink", "mac_key_file"], what, remedy)
        })?;
        let password = uplink.password_file.as_deref().map(|p| file("password_file", p)).transpose()?;
        Ok(Self { ca_pem: file("ca_file", &uplink.ca_file)?, password: password.map(|p| p.trim_ascii_end().to_vec()), mac_key })
    }
}

#[cfg(test)]
mod tests;
