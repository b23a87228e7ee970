//! A plugin's manifest: what it is, which links it asks for, how much it may use. The site's grant says what it gets of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// manifest.toml, beside the component.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1 to 40 of a-z 0-9 -
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// 1.2.3
    #[serde(deserialize_with = "version")]
    pub version: String,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// The contract it was written for; its component says it too.
    #[serde(default)]
    pub contract: Option<String>,
    /// What it may import. Written down even when it is nothing: `links = [] # touches no device`.
    pub links: BTreeSet<Link>,
    pub channels: ChannelBounds,
    #[serde(default)]
    pub limits: PluginLimits,
    /// For people who write a grant: what each link is for.
    #[serde(default)]
    pub asks: BTreeMap<Link, Ask>,
    /// The settings that it knows, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, Setting>,
    /// The commands that it takes, by name.
    #[serde(default)]
    pub commands: BTreeMap<String, Command>,
    /// A device that speaks by itself says something at least this often; 0 (the default): it speaks when something happens.
    #[serde(default)]
    pub silent_after_s: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// What it does, and what its argument is.
    pub description: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub needs: String,
    /// A line that would do, below `[instance.NAME.grants]`.
    pub grant: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub description: String,
    #[serde(default)]
    pub default: Option<String>,
    #[serde(default)]
    pub required: bool,
}

/// A setting of an instance that its plugin would not understand, or would miss.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SettingError {
    #[error("plugin {plugin} knows no setting \"{name}\"; it knows {known}")]
    Unknown { plugin: String, name: String, known: String },
    #[error("plugin {plugin} needs the setting \"{name}\": {description}")]
    Missing { plugin: String, name: String, description: String },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    Modbus,
    Serial,
    Ble,
}

impl Link {
    pub const ALL: [Self; 3] = [Self::Modbus, Self::Serial, Self::Ble];

    pub fn name(self) -> &'static str {
        match self {
            Self::Modbus => "modbus",
            Self::Serial => "serial",
            Self::Ble => "ble",
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many channels of each kind it may describe. What is not named is none.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ChannelBounds {
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub numeric: u64,
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub enumeration: u64,
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub bits: u64,
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub text: u64,
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub octets: u64,
    #[serde(deserialize_with = "within::<_, 0, 512>")]
    pub waveform: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PluginLimits {
    /// Of one instance, 1 to 16.
    #[serde(deserialize_with = "within::<_, 1, 16>")]
    pub memory_mib: u64,
    /// Processor time of one call, 10 to 1000.
    #[serde(deserialize_with = "within::<_, 10, 1000>")]
    pub call_ms: u64,
    /// What `keep` may hold, up to 65536: each change is a write to flash.
    #[serde(deserialize_with = "within::<_, 0, 65536>")]
    pub state_bytes: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory_mib: 8, call_ms: 100, state_bytes: 4096 }
    }
}

/// Says line and column, and what would be right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(String);

impl Manifest {
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let read: Self = toml::from_str(text).map_err(|e| ManifestError(e.to_string().trim_end().to_owned()))?;
        match read.asks.keys().find(|link| !read.links.contains(link)) {
            Some(link) => Err(ManifestError(format!("[asks.{link}] explains a link that `links` does not ask for"))),
            None => Ok(read),
        }
    }

    /// What a site wrote for an instance against what its plugin knows. The plugin judges the values itself when it opens.
    pub fn check_settings(&self, given: &BTreeMap<String, String>) -> Result<(), SettingError> {
        let plugin = self.full_name();
        if let Some(name) = given.keys().find(|name| !self.settings.contains_key(*name)) {
            let known: Vec<_> = self.settings.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(SettingError::Unknown { plugin, name: name.clone(), known });
        }
        let mut needed = self.settings.iter().filter(|(_, setting)| setting.required && setting.default.is_none());
        match needed.find(|(name, _)| !given.contains_key(*name)) {
            Some((name, setting)) => Err(SettingError::Missing { plugin, name: name.clone(), description: setting.description.clone() }),
            None => Ok(()),
        }
    }

    /// As packages and their folders are called.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

fn within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(from: D) -> Result<u64, D::Error> {
    let n = i64::deserialize(from)?;
    u64::try_from(n).ok().filter(|n| (MIN..=MAX).contains(n)).ok_or_else(|| D::Error::custom(format!("{n} is not within {MIN} to {MAX}")))
}

const NAME_BYTES_MAX: usize = 40; // it becomes a folder and a log field

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let good = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !good {
        return Err(D::Error::custom(format!("a name is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -, and begins with a letter")));
    }
    Ok(name)
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let version = String::deserialize(from)?;
    let mut parts = 0;
    let good = version.split('.').all(|part| {
        parts += 1;
        part.parse::<u32>().is_ok_and(|n| n.to_string() == part)
    });
    if !good || parts != 3 {
        return Err(D::Error::custom("a version is three numbers, like 1.2.3"));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"ivy450c\"\nversion = \"0.1.0\"\nlinks = [\"serial\"]\n[channels]\nnumeric = 8\nwaveform = 5\n";

    #[test]
    fn a_short_manifest_has_the_defaults() {
        let m = Manifest::parse(GOOD).unwrap();
        assert_eq!(m.full_name(), "ivy450c-0.1.0");
        assert_eq!(m.links, BTreeSet::from([Link::Serial]));
        assert_eq!((m.channels.waveform, m.channels.bits), (5, 0));
        assert_eq!(m.limits, PluginLimits { memory_mib: 8, call_ms: 100, state_bytes: 4096 });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, says) in [
            ("waveform = 5", "waveforms = 5", "line 6", "unknown field `waveforms`"),
            ("numeric = 8", "numeric = 513", "line 5", "513 is not within 0 to 512"),
            ("numeric = 8", "numeric = -1", "line 5", "-1 is not within 0 to 512"),
            ("[\"serial\"]", "[\"usb\"]", "line 3", "unknown variant `usb`, expected one of `modbus`, `serial`, `ble`"),
            ("links = [\"serial\"]\n", "", "line 1", "missing field `links`"),
            ("\"ivy450c\"", "\"../ivy\"", "line 1", "a name is 1 to 40"),
            ("0.1.0", "0.1", "line 2", "three numbers"),
            ("0.1.0", "0.1.00", "line 2", "three numbers"),
            ("[channels]", "[asks.serial]\nneeds = \"x\"\n[channels]", "line 4", "missing field `grant`"),
            ("[channels]", "[settings.unit]\ndescription = \"x\"\nrequire = true\n[channels]", "line 6", "unknown field `require`"),
            ("[channels]", "[limits]\nmemory_mib = 17\n[channels]", "line 5", "17 is not within 1 to 16"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Manifest::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(says), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_link_is_explained_only_where_it_is_asked_for() {
        let asks = "[asks.modbus]\nneeds = \"x\"\ngrant = \"y\"\n";
        assert!(Manifest::parse(&format!("{GOOD}{asks}")).unwrap_err().to_string().contains("[asks.modbus]"));
        assert!(Manifest::parse(&format!("{GOOD}{}", asks.replace("modbus", "serial"))).is_ok());
    }

    #[test]
    fn settings_are_held_against_what_the_plugin_knows() {
        let known = "[settings.map]\ndescription = \"The map\"\nrequired = true\n[settings.gap]\ndescription = \"Gap\"\ndefault = \"0\"\n";
        let m = Manifest::parse(&format!("{GOOD}{known}")).unwrap();
        let given = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), String::new())).collect();
        assert_eq!(m.check_settings(&given(&["map"])), Ok(()));
        let typo = m.check_settings(&given(&["map", "gpa"])).unwrap_err().to_string();
        assert_eq!(typo, "plugin ivy450c-0.1.0 knows no setting \"gpa\"; it knows gap, map");
        let missing = m.check_settings(&given(&["gap"])).unwrap_err().to_string();
        assert_eq!(missing, "plugin ivy450c-0.1.0 needs the setting \"map\": The map");
    }

    #[test]
    fn every_truncation_is_read_or_refused() {
        let whole = GOOD.find("[channels]").unwrap() + "[channels]".len();
        for n in 0..GOOD.len() {
            assert_eq!(Manifest::parse(&GOOD[..n]).is_ok(), n >= whole && !GOOD[..n].ends_with([' ', '=']) && !cut_key(&GOOD[..n]), "{n}");
        }
    }

    /// The last line ends inside a key.
    fn cut_key(text: &str) -> bool {
        let last = text.lines().next_back().unwrap_or_default();
        !text.ends_with('\n') && !last.contains('=') && !last.starts_with('[')
    }
}
