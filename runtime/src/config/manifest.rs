//! A plugin's manifest: what it is, which links it asks for, how much it may use. The site's grant says what it gets of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Grants;
use super::hint::{Hint, hint};
use super::place::{line_at, line_of};
use super::settings::Given;

/// What a remedy is taken from; plugins/README.md explains each line.
const EXAMPLE: &str = "name = \"my-device\"\nversion = \"0.1.0\"\nvendor = \"my-company\"\nrelease = 1\ngateway = \"0.1.0\"\nlinks = [\"serial\"]\nsummary = \"A device of mine\"\ncontract = \"0.1.0\"\n\
                       [channels]\nnumeric = 8\nenumeration = 1\nbits = 1\ntext = 1\noctets = 1\nwaveform = 1\n\
                       [limits]\nmemory_mib = 4\ncall_ms = 100\nstate_bytes = 1024\nsaid_kib_s = 64\n\
                       [asks.serial]\nneeds = \"It listens.\"\ngrant = 'serial = { port = \"/dev/serial/by-id/...\" }'\n\
                       at_most = 'serial = { port = \"/dev/serial/by-id/...\" }'\n\
                       without = { \"2a52\" = \"It does not ask.\" }\n\
                       [settings.unit]\ndescription = \"What the number counts\"\ntype = \"text\"\nmin = 0\nmax = 247\ndefault = \"\"\nrequired = false\n\
                       shipped = \"maps\"\n\
                       [[inputs]]\nname = \"temperature\"\ndescription = \"What it watches\"\nkind = \"numeric\"\n";

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
    /// Who signs its packages, as a name; a site knows the vendor by its key. Needed for packing only.
    #[serde(default, deserialize_with = "vendor")]
    pub vendor: Option<String>,
    /// Counts up with every package that is given away. Needed for packing only; 0: not said.
    #[serde(default, deserialize_with = "within::<_, 1, 4_294_967_295>")]
    pub release: u64,
    /// The first version of the gateway that it runs on; none: every one that speaks its contract.
    #[serde(default, deserialize_with = "gateway")]
    pub gateway: Option<String>,
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
    /// Of a filter: the channels of other instances that it sees, in the order of their numbers. The site says which they are.
    #[serde(default)]
    pub inputs: Vec<Input>,
    /// What it asks of its Modbus bus again and again, where that does not depend on its settings.
    #[serde(default)]
    pub transactions: Vec<Transaction>,
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
pub struct Input {
    #[serde(deserialize_with = "name")]
    pub name: String,
    pub description: String,
    /// Of the channel that may be bound to it.
    pub kind: ChannelKind,
    /// False: the filter does without.
    #[serde(default = "yes")]
    pub required: bool,
}

/// Of a channel, as its plugin describes it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    Numeric,
    Enumeration,
    Bits,
    Text,
    Octets,
    Waveform,
}

/// A Modbus request that comes back in each period.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Transaction {
    #[serde(deserialize_with = "within::<_, 1, 127>")]
    pub function: u64,
    /// Registers or coils; 0 for functions without.
    #[serde(default, deserialize_with = "within::<_, 0, 2000>")]
    pub count: u64,
    #[serde(deserialize_with = "within::<_, 10, 86_400_000>")]
    pub period_ms: u64,
    /// Which server it goes to, where a trial has seen it.
    #[serde(skip)]
    pub server: Option<u8>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub needs: String,
    /// A line that would do, below `[instance.NAME.grants]`.
    pub grant: String,
    /// The same of the most that it can make use of, where some settings need more: it gets no more than that, whatever a site grants.
    #[serde(default)]
    pub at_most: Option<String>,
    /// What the plugin does without a part of that, for `wardgate check`: by a characteristic and the value that it would write there, or by either.
    /// Each is one printable line.
    #[serde(default)]
    pub without: BTreeMap<String, String>,
}

/// What is asked of one link, as text: the longest of ours has 290. Gateways keep it for each instance.
const ASK_BYTES_MAX: usize = 2048;
const COMMANDS_MAX: usize = 64; // a list that a person reads
const COMMAND_NAME_BYTES_MAX: usize = 64; // a word on a command line
const WITHOUT_BYTES_MAX: usize = 200; // half a line of a warning, which may have several; the longest of ours has 99

fn is_word(name: &str) -> bool {
    (1..=COMMAND_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Words of letters, digits and plain signs with a space between them: whatever else there is in Unicode, a line for a person's screen does without it.
fn is_one_line(says: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation() || matches!(c, '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{ff}');
    !says.is_empty() && says.len() <= WITHOUT_BYTES_MAX && says.split(' ').all(|word| !word.is_empty() && word.chars().all(plain))
}

impl Ask {
    /// By which part, what is wrong with its text, what to do.
    fn mistake(&self) -> Option<(&str, String, String)> {
        let (part, says) = self.without.iter().find(|(_, says)| !is_one_line(says))?;
        let what =
            format!("what is done without a part is one printable line of 1 to {WITHOUT_BYTES_MAX} bytes, and this has {}", says.len());
        Some((part, what, "say it in fewer words, with no line end, control character or two spaces in it".to_owned()))
    }

    /// What that line grants; None: it is no such line.
    pub fn grants(&self) -> Option<Grants> {
        Grants::read(&self.grant).ok()
    }

    /// The most that is asked for; None: that is not said.
    pub fn most(&self) -> Option<Grants> {
        self.at_most.as_ref().map_or_else(|| self.grants(), |most| Grants::read(most).ok())
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub description: String,
    /// The plugin gets text all the same; a site that writes another type is told before anything runs.
    #[serde(default, rename = "type")]
    pub kind: Kind,
    /// Of an integer.
    #[serde(default)]
    pub min: Option<i64>,
    #[serde(default)]
    pub max: Option<i64>,
    /// What the plugin does without it, in words of this setting.
    #[serde(default, deserialize_with = "default_text")]
    pub default: Option<String>,
    #[serde(default)]
    pub required: bool,
    /// A folder beside the manifest with texts for this setting, which the package carries: `{ shipped = "NAME" }` takes one.
    #[serde(default)]
    pub shipped: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Text,
    Integer,
    Boolean,
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
    /// What it says over time, log lines included, as the gateway holds it (a sample is 4 bytes, a reading some 50), 1 to 1024. A minute of it may be
    /// saved up.
    #[serde(deserialize_with = "within::<_, 1, 1024>")]
    pub said_kib_s: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory_mib: 8, call_ms: 100, state_bytes: 4096, said_kib_s: 64 } // a full bed's waveforms are 4 KiB a second
    }
}

/// Says the line, what is wrong in it, and what would be right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{what}. What to do: {remedy}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct ManifestError {
    line: Option<usize>,
    what: String,
    remedy: String,
}

impl Manifest {
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let read: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| line_at(text, s.start));
            let Hint { what, remedy } = hint(e.message(), text, line, EXAMPLE);
            ManifestError { line, what, remedy }
        })?;
        let wrong = |path: &[&str], what: String, remedy: String| Err(ManifestError { line: line_of(text, path), what, remedy });
        if let Some(link) = read.asks.keys().find(|link| !read.links.contains(link)) {
            let what = format!("[asks.{link}] explains a link that `links` does not ask for");
            return wrong(&["asks", link.name()], what, format!("add \"{link}\" to links, or take [asks.{link}] out"));
        }
        for (link, ask) in &read.asks {
            if let Some((part, what, remedy)) = ask.mistake() {
                return wrong(&["asks", link.name(), "without", part], format!("[asks.{link}.without]: {what}"), remedy);
            }
            for (key, text) in [("grant", Some(&ask.grant)), ("at_most", ask.at_most.as_ref())] {
                if let Some(bytes) = text.map(String::len).filter(|bytes| *bytes > ASK_BYTES_MAX) {
                    let what =
                        format!("[asks.{link}] {key} has {bytes} bytes, and {ASK_BYTES_MAX} are the most: each gateway remembers it");
                    return wrong(&["asks", link.name(), key], what, "ask for less, or by fewer and wider patterns".to_owned());
                }
            }
            if ask.at_most.is_some() && !ask.most().is_some_and(|most| most.links().contains(link)) {
                let what = format!("[asks.{link}] at_most grants nothing of {link}");
                return wrong(&["asks", link.name(), "at_most"], what, format!("write it like `grant`: {link} = {{ .. }}, in quotes"));
            }
        }
        if let Some(input) = read.inputs.iter().enumerate().find(|(n, i)| read.inputs[..*n].iter().any(|other| other.name == i.name)) {
            let what = format!("two inputs are called \"{}\"", input.1.name);
            return wrong(&["inputs"], what, "give each a name of its own".to_owned());
        }
        if read.commands.len() > COMMANDS_MAX {
            let what = format!("{} commands are more than {COMMANDS_MAX}", read.commands.len());
            return wrong(&["commands"], what, "let one command take an argument".to_owned());
        }
        if let Some(name) = read.commands.keys().find(|name| !is_word(name)) {
            let what = "a command's name is 1 to 64 letters, digits and signs of ASCII without a space".to_owned();
            return wrong(&["commands", name], what, "call it by one word, like zero-offset".to_owned());
        }
        for (name, setting) in &read.settings {
            if let Some((what, remedy)) = setting.mistake() {
                return wrong(&["settings", name], format!("[settings.{name}]: {what}"), remedy);
            }
        }
        Ok(read)
    }

    /// The line that bounds what a site grants of a link; none: it says no bound.
    pub fn bound(&self, link: Link) -> Option<&str> {
        self.asks.get(&link).map(|ask| ask.at_most.as_ref().unwrap_or(&ask.grant).as_str())
    }

    /// The most that it asks for of each link that it says that of.
    pub fn most(&self) -> Grants {
        let most = |link: Link| self.asks.get(&link).and_then(Ask::most).unwrap_or_default();
        Grants { modbus: most(Link::Modbus).modbus, serial: most(Link::Serial).serial, ble: most(Link::Ble).ble, ..Grants::default() }
    }

    /// As packages and their folders are called.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }
}

impl Setting {
    fn mistake(&self) -> Option<(String, String)> {
        let wrong = |what: &str, remedy: &str| Some((what.to_owned(), remedy.to_owned()));
        if self.kind != Kind::Integer && (self.min.is_some() || self.max.is_some()) {
            return wrong("min and max are for integers", "add type = \"integer\", or take them out");
        }
        if self.default.as_ref().is_some_and(|default| !self.fits(default)) {
            return wrong("its default is no value of its type", "correct the default, or type, min and max");
        }
        match &self.shipped {
            Some(_) if self.kind != Kind::Text => wrong("shipped is for text", "take shipped or type out"),
            Some(folder) if !is_name(folder) => wrong("shipped names a folder beside the manifest", NAME_RULE),
            _ => None,
        }
    }
}

/// Text, a number or a yes, as the plugin would get it.
fn default_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match Given::deserialize(from)? {
        Given::Text(text) => Ok(Some(text)),
        Given::Integer(n) => Ok(Some(n.to_string())),
        Given::Boolean(yes) => Ok(Some(yes.to_string())),
        Given::File(_) | Given::Shipped(_) => Err(D::Error::custom("a default is text, a whole number, true or false")),
    }
}

fn yes() -> bool {
    true
}

fn within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(from: D) -> Result<u64, D::Error> {
    let n = i64::deserialize(from)?;
    u64::try_from(n).ok().filter(|n| (MIN..=MAX).contains(n)).ok_or_else(|| D::Error::custom(format!("{n} is not within {MIN} to {MAX}")))
}

const NAME_BYTES_MAX: usize = 40; // it becomes a folder and a log field
const NAME_RULE: &str = "a name is 1 to 40 of a-z, 0-9 and -, and begins with a letter";

/// Of a plugin, and of what its package carries.
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    if is_name(&name) { Ok(name) } else { Err(D::Error::custom(NAME_RULE)) }
}

fn vendor<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    name(from).map(Some)
}

fn gateway<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    version(from).map(Some)
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
        assert_eq!(m.limits, PluginLimits { memory_mib: 8, call_ms: 100, state_bytes: 4096, said_kib_s: 64 });
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (from, to, line, says) in [
            ("waveform = 5", "waveforms = 5", "line 6", "\"waveforms\". What to do: write \"waveform\""),
            ("numeric = 8", "numbers = 8", "line 5", "What to do: take it out; what can be set here: numeric, enumeration"),
            ("numeric = 8", "numeric = 513", "line 5", "513 is not within 0 to 512"),
            ("numeric = 8", "numeric = -1", "line 5", "-1 is not within 0 to 512"),
            ("[\"serial\"]", "[\"usb\"]", "line 3", "\"usb\" is not known here. What to do: write one of modbus, serial, ble"),
            ("links = [\"serial\"]\n", "", "line 1", "\"links\" is missing. What to do: add links = [\"serial\"]"),
            ("[\"serial\"]", "[\"serail\"]", "line 3", "What to do: write \"serial\""),
            ("\"ivy450c\"", "\"../ivy\"", "line 1", "a name is 1 to 40"),
            ("0.1.0", "0.1", "line 2", "three numbers"),
            ("0.1.0", "0.1.00", "line 2", "three numbers"),
            ("[channels]", "[asks.serial]\nneeds = \"x\"\n[channels]", "line 4", "\"grant\" is missing. What to do: add grant = 'serial"),
            ("[channels]", "[settings.unit]\ndescription = \"x\"\nrequire = true\n[channels]", "line 6", "write \"required\""),
            ("[channels]", "[settings.unit]\ndescription = \"x\"\nmin = 1\n[channels]", "line 4", "add type = \"integer\""),
            (
                "[channels]",
                "[settings.unit]\ndescription = \"x\"\ntype = \"integer\"\nmax = 5\ndefault = 6\n[channels]",
                "line 4",
                "no value of its type",
            ),
            ("[channels]", "[settings.unit]\ndescription = \"x\"\nshipped = \"../x\"\n[channels]", "line 4", "a name is 1 to 40"),
            ("[channels]", "[limits]\nmemory_mib = 17\n[channels]", "line 5", "17 is not within 1 to 16"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let error = Manifest::parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(line) && error.contains(says), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_link_is_explained_only_where_it_is_asked_for() {
        let long = format!("{GOOD}[asks.serial]\nneeds = \"x\"\ngrant = \"{}\"\n", "y".repeat(ASK_BYTES_MAX + 1));
        assert!(Manifest::parse(&long).unwrap_err().to_string().contains("grant has 2049 bytes, and 2048 are the most"));
        for name in ["", "zero offset", "a\\nb", "\\u001b[8m", "ü"] {
            let told = Manifest::parse(&format!("{GOOD}[commands.\"{name}\"]\ndescription = \"x\"\n")).unwrap_err().to_string();
            assert!(told.contains("1 to 64 letters, digits and signs of ASCII"), "{told}");
        }
        let most = |of: &str| Manifest::parse(&format!("{GOOD}[asks.serial]\nneeds = \"x\"\ngrant = \"y\"\nat_most = '{of}'\n"));
        let right = most("serial = { port = \"/dev/x\", writes = [\"01\"] }").unwrap();
        assert_eq!(right.most().serial.unwrap().writes, ["01"]);
        for wrong in ["y", "", "ble = { address = \"..\", services = [\"1808\"] }"] {
            let told = most(wrong).unwrap_err().to_string();
            assert!(
                told.starts_with("line 10: [asks.serial] at_most grants nothing of serial. What to do: write it like `grant`"),
                "{told}"
            );
        }
        let asks = "[asks.modbus]\nneeds = \"x\"\ngrant = \"y\"\n";
        assert!(Manifest::parse(&format!("{GOOD}{asks}")).unwrap_err().to_string().contains("[asks.modbus]"));
        assert!(Manifest::parse(&format!("{GOOD}{}", asks.replace("modbus", "serial"))).is_ok());
    }

    /// What `wardgate check` prints of it is not for a package to paint with.
    //= PROMISES.md#P320
    #[test]
    fn what_is_done_without_a_part_is_one_printable_line() {
        let of = |says: &str| {
            let says = says.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect::<String>();
            Manifest::parse(&format!("{GOOD}[asks.serial]\nneeds = \"x\"\ngrant = \"y\"\n[asks.serial.without]\nbaud = \"{says}\"\n"))
        };
        assert_eq!(of("nothing comes, Grüße").unwrap().asks[&Link::Serial].without["baud"], "nothing comes, Grüße");
        assert!(of(&"x".repeat(WITHOUT_BYTES_MAX)).is_ok());
        for says in ["\u{1b}[2J", "a\nb", "a\u{202e}b", "a\u{200b}", " a", "a  b", "", &"x".repeat(WITHOUT_BYTES_MAX + 1)] {
            let told = of(says).unwrap_err().to_string();
            assert!(told.contains("one printable line of 1 to 200 bytes") && told.starts_with("line 11: [asks.serial.without]"), "{told}");
            assert!(!told.contains(['\u{1b}', '\n', '\u{202e}']), "{told:?}");
        }
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
