//! The only reader of TOML: gateway.toml and plugin manifests. runtime/gateway.toml holds every setting with its default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fault::{Fault, Guilty};

mod manifest;
pub use manifest::{Ask, ChannelBounds, Command, Link, Manifest, ManifestError, PluginLimits, Setting, SettingError};

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
    #[serde(default, rename = "bus")]
    pub buses: BTreeMap<String, Bus>,
    #[serde(default, rename = "instance")]
    pub instances: BTreeMap<String, Instance>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// 1 to 32 of a-z 0-9 -; part of every topic and of every batch's identity.
    pub id: String,
    /// Folder of the store, the compile cache, the device key and the status socket.
    pub state: PathBuf,
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
}

impl Default for Store {
    fn default() -> Self {
        Self { bytes_max: d::bytes_max(), segment_bytes: d::segment_bytes(), commit_ms: d::commit_ms() }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Until packages are signed, nothing loads without this.
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// One Modbus TCP server or gateway; requests to it are made one after the other.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Bus {
    /// host:port
    pub tcp: String,
    #[serde(default = "d::timeout_ms")]
    pub timeout_ms: u64,
    /// Rest between two transactions.
    #[serde(default = "d::pause_ms")]
    pub pause_ms: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Folder of a built package.
    pub package: PathBuf,
    /// Opaque bed token, never a patient's name.
    #[serde(default)]
    pub bed: Option<String>,
    /// Handed to the plugin as it stands; its README lists what it knows.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Without a value for longer than this, while its line is up, it is shown as silent; 0: never. Instead of what the manifest says.
    #[serde(default)]
    pub silent_after_s: Option<u64>,
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
    /// Channels that the plugin describes as personal.
    #[serde(default)]
    pub personal: bool,
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
    /// Whole frames that may be written. Empty: listens only.
    #[serde(default)]
    pub writes: Vec<String>,
}

/// Defaults, each with its reason.
mod d {
    pub fn port() -> u16 {
        8883 // MQTT over TLS, as registered
    }
    pub fn topic() -> String {
        "wardgate/1".into() // 1: the first form of the tree below it
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
    pub fn timeout_ms() -> u64 {
        1000
    }
    pub fn pause_ms() -> u64 {
        0
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
}

/// What is wrong with a TOML file, and where.
#[derive(Debug)]
pub struct ConfigError {
    pub file: PathBuf,
    pub line: Option<usize>,
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Fault {
    fn from(e: ConfigError) -> Self {
        Self::new(Guilty::Configuration, e, "correct that line; runtime/gateway.toml lists every setting with its default")
    }
}

/// Reads any TOML file of ours; unknown keys are errors with their line.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<T, ConfigError> {
    let wrong = |line, what| ConfigError { file: file.to_owned(), line, what };
    let text = std::fs::read_to_string(file).map_err(|e| wrong(None, format!("cannot be read: {e}")))?;
    parse(&text).map_err(|(line, what)| wrong(line, what))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, (Option<usize>, String)> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        (line, e.message().to_owned())
    })
}

impl Config {
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = read(file)?;
        config.resolve(file.parent().unwrap_or(Path::new("")));
        match config.first_mistake() {
            None => Ok(config),
            Some((key, what)) => Err(ConfigError { file: file.to_owned(), line: line_of(file, &key), what: format!("{key}: {what}") }),
        }
    }

    fn resolve(&mut self, folder: &Path) {
        let under = |p: &mut PathBuf| *p = folder.join(&*p); // an absolute path replaces the folder
        under(&mut self.gateway.state);
        under(&mut self.uplink.ca_file);
        under(&mut self.uplink.mac_key_file);
        self.uplink.password_file.iter_mut().for_each(under);
        for instance in self.instances.values_mut() {
            under(&mut instance.package);
            instance.grants.serial.iter_mut().for_each(|s| under(&mut s.port));
        }
    }

    /// The key and what is wrong with its value.
    fn first_mistake(&self) -> Option<(String, String)> {
        let wrong = |key: String, what: &str| Some((key, what.to_owned()));
        if wardgate_wire::GatewayId::new(&self.gateway.id).is_none() {
            return wrong("id".into(), "takes 1 to 32 of the characters a-z, 0-9 and -");
        }
        let (up, store) = (&self.uplink, &self.store);
        let ranges = [
            ("batch_bytes", up.batch_bytes as u64, 256, 1 << 20),
            ("message_bytes", up.message_bytes as u64, 256, 1 << 20),
            ("window_messages", up.window_messages.into(), 1, 1000),
            ("window_bytes", up.window_bytes as u64, 1024, 1 << 24),
            ("keep_alive_s", up.keep_alive_s.into(), 5, 3600),
            ("progress_s", up.progress_s, 2, 600),
            ("resend_s", up.resend_s, 1, 3600),
            ("backoff_min_ms", up.backoff_min_ms, 10, 3_600_000),
            ("backoff_max_ms", up.backoff_max_ms, up.backoff_min_ms, 3_600_000),
            ("segment_bytes", store.segment_bytes, 4 << 10, 1 << 30),
            ("bytes_max", store.bytes_max, 4 * store.segment_bytes, 1 << 46),
            ("commit_ms", store.commit_ms, 100, 60_000),
        ];
        if let Some((key, value, low, high)) = ranges.into_iter().find(|(_, v, low, high)| !(low..=high).contains(&v)) {
            return Some((key.to_owned(), format!("{value} lies outside {low} to {high}")));
        }
        for (name, bus) in &self.buses {
            if !bus.tcp.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
                return Some((format!("bus.{name}"), format!("tcp = \"{}\" is not host:port", bus.tcp)));
            }
        }
        self.instances
            .iter()
            .find_map(|(name, instance)| self.instance_mistake(name, instance).map(|what| (format!("instance.{name}"), what)))
    }

    fn instance_mistake(&self, name: &str, instance: &Instance) -> Option<String> {
        const NAME_BYTES_MAX: usize = 64; // a file name at the receiver, a label in metrics
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Some(format!("a name takes 1 to {NAME_BYTES_MAX} letters, digits, - and _"));
        }
        let grant = instance.grants.modbus.as_ref()?;
        if !self.buses.contains_key(&grant.bus) {
            return Some(format!("grants.modbus names the bus \"{}\"; add [bus.{}] with tcp = \"host:port\"", grant.bus, grant.bus));
        }
        None
    }

    pub fn gateway_id(&self) -> wardgate_wire::GatewayId {
        wardgate_wire::GatewayId::new(&self.gateway.id).expect("checked when it was loaded")
    }
}

/// The first line that names the last part of `key`: good enough to lead the eye.
fn line_of(file: &Path, key: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().position(|l| l.trim_start().trim_start_matches('[').starts_with(key)).map(|n| n + 1)
}

/// What lies in files beside the configuration.
pub struct Secrets {
    pub ca_pem: Vec<u8>,
    pub password: Option<Vec<u8>>,
    pub mac_key: wardgate_wire::Key,
}

impl Secrets {
    pub fn read(uplink: &Uplink) -> Result<Self, Fault> {
        let file = |key: &str, path: &Path| {
            std::fs::read(path).map_err(|e| {
                let what = format!("uplink.{key} = \"{}\" cannot be read: {e}", path.display());
                Fault::new(Guilty::Configuration, what, "put the file there, or correct the path in gateway.toml")
            })
        };
        // an editor or `echo` adds a line end, which is no part of a secret; the receiver reads it the same way
        let mac = file("mac_key_file", &uplink.mac_key_file)?;
        let mac_key = wardgate_wire::Key::new(mac.trim_ascii_end()).ok_or_else(|| {
            let what = format!("{} holds {} bytes", uplink.mac_key_file.display(), mac.trim_ascii_end().len());
            let least = wardgate_wire::KEY_BYTES_MIN;
            Fault::new(
                Guilty::Configuration,
                what,
                format!("it needs {least} or more, the same bytes as at the receiver: head -c 32 /dev/urandom"),
            )
        })?;
        let password = uplink.password_file.as_deref().map(|p| file("password_file", p)).transpose()?;
        Ok(Self { ca_pem: file("ca_file", &uplink.ca_file)?, password: password.map(|p| p.trim_ascii_end().to_vec()), mac_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../gateway.toml");

    /// The lines that show a default, made real.
    fn with_defaults_written() -> String {
        let shown = |line: &str| {
            let rest = line.strip_prefix("# ")?;
            let key = rest.split_once(" = ")?.0;
            let real = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                && !line.contains("none by default")
                && !rest.starts_with("password_file");
            real.then(|| rest.to_owned())
        };
        EXAMPLE.lines().map(|l| shown(l).unwrap_or_else(|| l.to_owned()) + "\n").collect()
    }

    fn good(text: &str) -> Config {
        let config: Config = parse(text).unwrap_or_else(|(line, what)| panic!("line {line:?}: {what}"));
        assert_eq!(config.first_mistake(), None);
        config
    }

    #[test]
    fn the_example_shows_every_setting_and_its_true_default() {
        let (short, long) = (good(EXAMPLE), good(&with_defaults_written()));
        // `settings` of the monitor is shown as {} and the rest must agree to the letter
        assert_eq!(format!("{short:#?}"), format!("{long:#?}"));
        let names = format!("{short:#?}");
        let names = names.lines().filter_map(|l| l.trim().split_once(": ")).map(|(name, _)| name.trim_matches('"'));
        for name in names.filter(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !["buses", "instances"].contains(n)) {
            assert!(EXAMPLE.contains(name), "runtime/gateway.toml does not show \"{name}\"");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, says) in [
            ("# port = 8883", "prot = 8883", "unknown field `prot`"),
            ("baud = 9600", "baud = 9600\nbits = 8", "unknown field"),
            ("id = \"ward-3-east\"", "id = 3", "invalid type"),
            ("[bus.plant]", "[bos.plant]", "unknown field `bos`"),
        ] {
            let text = with_defaults_written().replacen("port = 8883", "# port = 8883", 1).replacen(from, to, 1);
            let (line, what) = parse::<Config>(&text).expect_err(to);
            assert!(what.contains(says), "{to}: {what}");
            let first = to.lines().last().unwrap_or_default();
            let at = text.lines().position(|l| l.contains(first)).expect("it stands there") + 1;
            assert_eq!(line, Some(at), "{to}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (from, to, key) in [
            ("id = \"ward-3-east\"", "id = \"Ward 3\"", "id"),
            ("keep_alive_s = 30", "keep_alive_s = 1", "keep_alive_s"),
            ("bytes_max = 1073741824", "bytes_max = 1000", "bytes_max"),
            ("tcp = \"192.0.2.20:502\"", "tcp = \"192.0.2.20\"", "bus.plant"),
            ("bus = \"plant\"", "bus = \"cellar\"", "instance.ct-chiller"),
        ] {
            let config: Config = parse(&with_defaults_written().replacen(from, to, 1)).expect("it can be read");
            assert_eq!(config.first_mistake().expect(to).0, key);
        }
    }
}
