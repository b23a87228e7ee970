//! How far an instance reaches: what its package asks for, and what the site grants it, each as lines that can be compared and hashed. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capability::ble::{self, pool_words};
use crate::config::{BleGrant, BlePool, Bus, Grants, Instance, Link, Manifest};
use crate::contract::printable;
use crate::plugin::Surface;
use crate::plugin::bound::Bound;

const LINE_BYTES_MAX: usize = 1200; // of what a person reads: a pattern of 256 bytes, written out

/// What a package asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reach {
    /// Imports, links, inputs and commands.
    pub of: BTreeSet<String>,
    /// Channels and limits.
    pub at_most: BTreeMap<String, u64>,
    /// By link, the line that bounds what a site grants of it; empty: it says no bound. What is not there an older gateway approved, which did not look.
    #[serde(default)]
    pub bounds: BTreeMap<String, String>,
}

impl Reach {
    pub fn of(manifest: &Manifest, surface: &Surface) -> Self {
        let imports = surface.imports.iter().map(|import| format!("imports {import}"));
        let links = manifest.links.iter().map(|link| reaches(*link));
        let bounds = manifest.links.iter().map(|link| (link.name().to_owned(), manifest.bound(*link).unwrap_or_default().to_owned()));
        let inputs = manifest.inputs.iter().map(|input| format!("hears {} ({:?})", input.name, input.kind));
        let commands = manifest.commands.keys().map(|command| format!("takes the command {command}"));
        let (c, l) = (&manifest.channels, &manifest.limits);
        let at_most = [
            ("channels numeric", c.numeric),
            ("channels enumeration", c.enumeration),
            ("channels bits", c.bits),
            ("channels text", c.text),
            ("channels octets", c.octets),
            ("channels waveform", c.waveform),
            ("limits memory_mib", l.memory_mib),
            ("limits call_ms", l.call_ms),
            ("limits state_bytes", l.state_bytes),
            ("limits said_kib_s", l.said_kib_s),
        ];
        Self {
            of: imports.chain(links).chain(inputs).chain(commands).map(|line| printable(&line, LINE_BYTES_MAX)).collect(),
            bounds: bounds.collect(),
            at_most: at_most.into_iter().map(|(name, most)| (name.to_owned(), most)).collect(),
        }
    }

    /// What this one asks for and `approved` does not hold; a line each.
    pub fn beyond(&self, approved: &Self) -> Vec<String> {
        let new = self.of.difference(&approved.of).cloned();
        let of_links = Link::ALL.into_iter().flat_map(|link| self.beyond_of(link, approved));
        let more = self.at_most.iter().filter_map(|(name, most)| {
            let was = approved.at_most.get(name).copied().unwrap_or(0);
            (*most > was).then(|| format!("{name} {most} instead of {was}"))
        });
        new.chain(of_links).chain(more).collect()
    }

    /// A line for each link.
    pub fn bounds_in_words(&self) -> Vec<String> {
        Link::ALL.into_iter().filter_map(|link| self.bound_in_words(link)).collect()
    }

    fn bound_in_words(&self, link: Link) -> Option<String> {
        let text = self.bounds.get(link.name())?;
        let most = Bound::read(link, text).map_or_else(|_| "all that the site grants".to_owned(), |most| most.in_words());
        Some(format!("over {link}: {most}"))
    }

    /// Of one link. Whoever approved it as a whole, as all did before gateways looked, approved every part of it.
    fn beyond_of(&self, link: Link, approved: &Self) -> Vec<String> {
        let whole = || self.bound_in_words(link).into_iter().collect();
        if !approved.of.contains(&reaches(link)) {
            return whole();
        }
        let (Some(asks), Some(had)) = (self.bounds.get(link.name()), approved.bounds.get(link.name()).filter(|had| !had.is_empty())) else {
            return Vec::new();
        };
        match (Bound::read(link, had), Bound::read(link, asks)) {
            _ if asks.is_empty() => whole(),
            (Ok(had), Ok(asks)) => {
                let parts: Vec<_> = had.lacks(&asks).into_iter().map(|part| part.words).collect();
                // of one that only broadcasts nothing was reached: all that is reached over the connection is new
                let all = if parts.iter().any(|words| words == ble::CONNECTED) { whole() } else { Vec::new() };
                parts.into_iter().map(|words| format!("over {link}: {}", printable(&words, LINE_BYTES_MAX))).chain(all).collect()
            }
            _ if asks == had => Vec::new(),
            _ => vec![format!("over {link}: what this gateway cannot read")],
        }
    }

    /// What an older gateway approved of the very release that `runs` is known now.
    pub fn filled_in(self, runs: &Self) -> Self {
        match self.bounds.is_empty() {
            true => Self { bounds: runs.bounds.clone(), ..self },
            false => self,
        }
    }
}

fn reaches(link: Link) -> String {
    format!("reaches {link} devices")
}

/// One line of what the site grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantLine {
    /// What is hashed: gateways remember those hashes, so it stays as it is.
    hashed: String,
    /// For people, where that says it in other words.
    shown: Option<String>,
}

impl From<String> for GrantLine {
    fn from(hashed: String) -> Self {
        Self { hashed, shown: None }
    }
}

impl fmt::Display for GrantLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown.as_ref().unwrap_or(&self.hashed))
    }
}

/// What the site grants an instance, of the links that its manifest asks for. Within a link the smaller of both counts, which is not reckoned here.
pub fn grants_lines(instance: &Instance, manifest: &Manifest, buses: &BTreeMap<String, Bus>) -> Vec<GrantLine> {
    // each by its name: a new kind of grant must not be left out
    let Grants { modbus, serial, ble, personal, keep_raw } = &instance.grants;
    let asks = |link: &str| manifest.links.iter().any(|asked| asked.name() == link);
    let mut lines: Vec<String> = Vec::new();
    if let Some(serial) = serial.as_ref().filter(|_| asks("serial")) {
        lines.push(format!("serial {} {} {} {}", serial.port.display(), serial.baud, serial.framing, serial.flow));
        lines.extend(serial.writes.iter().map(|frame| format!("serial writes {frame}")));
    }
    if let Some(modbus) = modbus.as_ref().filter(|_| asks("modbus")) {
        let bus = buses.get(&modbus.bus);
        let tcp = bus.and_then(|b| b.tcp.clone());
        let target = tcp.or_else(|| bus?.serial.as_ref().map(|port| port.display().to_string())).unwrap_or_default();
        lines.push(format!("modbus {} at {target}, servers {:?}", modbus.bus, modbus.servers));
        lines.extend(modbus.allow.iter().map(|rule| format!("modbus function {} addresses {}", rule.function, rule.addresses.join(" "))));
        lines.push(format!("modbus requests_max {}", modbus.requests_max));
        lines.extend(modbus.checksum_quirk.then(|| "modbus checksum_quirk".to_owned()));
    }
    lines.extend(personal.then(|| "personal".to_owned()));
    lines.extend(keep_raw.then(|| "keep_raw".to_owned()));
    lines.extend(instance.inputs.iter().map(|(input, from)| format!("hears {from} as {input}")));
    let ble = ble.iter().filter(|_| asks("ble")).flat_map(ble_lines);
    let mut lines: Vec<GrantLine> = lines.into_iter().map(GrantLine::from).chain(ble).collect();
    lines.sort();
    lines
}

fn ble_lines(grant: &BleGrant) -> Vec<GrantLine> {
    let BleGrant { address, pool, bonded, broadcast, services, characteristics, reads, notifies, writes, at: _ } = grant;
    let each = |what: &str, list: &[String]| list.iter().map(|one| format!("ble {what} {one}")).collect::<Vec<_>>();
    let or_all = |what: &str, list: &Option<Vec<String>>| {
        list.as_ref().map_or_else(|| vec![format!("ble {what} all that it sees")], |l| each(what, l))
    };
    let mut lines: Vec<_> = address.iter().map(|address| format!("ble peripheral {address}")).collect();
    lines.extend(bonded.then(|| "ble only bonded".to_owned()));
    lines.extend(broadcast.then(|| "ble only broadcasts".to_owned()));
    lines.extend(each("sees service", services));
    lines.extend(each("sees characteristic", characteristics));
    lines.extend(or_all("reads", reads));
    lines.extend(or_all("is notified of", notifies));
    lines.extend(writes.iter().flat_map(|(to, values)| values.iter().map(move |value| format!("ble writes {to} {value}"))));
    lines.into_iter().map(GrantLine::from).chain(pool.as_ref().map(pool_line)).collect()
}

fn pool_line(pool: &BlePool) -> GrantLine {
    let BlePool { service, name, manufacturer } = pool;
    let hashed = format!("ble any peripheral of service {service:?}, name {name:?}, manufacturer {manufacturer:?}");
    GrantLine { hashed, shown: pool_words(pool).map(|words| format!("ble any peripheral {words}")) }
}

/// SHA-256 of those lines, in hexadecimal.
pub fn grants_hash(lines: &[GrantLine]) -> String {
    let mut hash = Sha256::new();
    for GrantLine { hashed: line, .. } in lines {
        hash.update((line.len() as u64).to_be_bytes());
        hash.update(line.as_bytes());
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(links: &str, numeric: u64, more: &str) -> Reach {
        let text = format!("name = \"pump\"\nversion = \"1.0.0\"\nlinks = {links}\n[channels]\nnumeric = {numeric}\n{more}");
        let manifest = Manifest::parse(&text).unwrap();
        let imports = manifest.links.iter().map(|link| format!("wardgate:device/{link}@0.1.0")).collect();
        Reach::of(&manifest, &Surface { imports, exports: Vec::new() })
    }

    #[test]
    fn what_is_more_is_named_and_what_is_less_is_not() {
        let old = reach("[\"serial\"]", 4, "");
        assert_eq!(old.beyond(&old), Vec::<String>::new());
        assert_eq!(reach("[]", 2, "").beyond(&old), Vec::<String>::new());
        let new = reach("[\"serial\", \"modbus\"]", 5, "[limits]\nmemory_mib = 12\n[commands.stop]\ndescription = \"Stops it\"\n");
        assert_eq!(
            new.beyond(&old),
            [
                "imports wardgate:device/modbus@0.1.0",
                "reaches modbus devices",
                "takes the command stop",
                "over modbus: all that the site grants",
                "channels numeric 5 instead of 4",
                &format!("limits memory_mib 12 instead of {}", old.at_most["limits memory_mib"]),
            ]
        );
    }

    #[test]
    fn the_hash_of_lines_tells_where_one_ends() {
        let hash = |lines: &[&str]| grants_hash(&lines.iter().map(|l| GrantLine::from((*l).to_owned())).collect::<Vec<_>>());
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&[]).len(), 64);
    }

    /// The audit log and `wardgate grant list` say it as `wardgate check` does; a remembered hash of before is still that of the same grant.
    //= PROMISES.md#P267
    #[test]
    fn a_pool_is_shown_in_words_and_hashed_as_it_always_was() {
        let pool = |name: Option<&str>, manufacturer| {
            let pool = BlePool { service: Some("1822".into()), name: name.map(str::to_owned), manufacturer };
            pool_line(&pool)
        };
        let service = pool(None, None);
        assert_eq!(service.to_string(), "ble any peripheral that advertises the service 1822");
        let before = GrantLine::from("ble any peripheral of service Some(\"1822\"), name None, manufacturer None".to_owned());
        assert_eq!(grants_hash(&[service]), grants_hash(&[before]));
        assert_eq!(
            pool(Some("Oxi*"), Some(76)).to_string(),
            "ble any peripheral that advertises the service 1822 and is called Oxi* and carries data of the maker 76"
        );
    }

    /// Each part of a Bluetooth grant changes the hash, or it could be widened behind the gateway's back.
    //= PROMISES.md#P241
    #[test]
    fn every_part_of_a_bluetooth_grant_counts() {
        let manifest = Manifest::parse("name = \"meter\"\nversion = \"1.0.0\"\nlinks = [\"ble\"]\n[channels]\nnumeric = 1\n").unwrap();
        let some = |text: &str| Some(vec![text.to_owned()]);
        let grants = [
            BleGrant::default(),
            BleGrant { address: Some("F0:00:00:00:00:01".into()), ..BleGrant::default() },
            BleGrant { pool: Some(BlePool { service: Some("1808".into()), ..BlePool::default() }), ..BleGrant::default() },
            BleGrant { pool: Some(BlePool { name: Some("Meter*".into()), ..BlePool::default() }), ..BleGrant::default() },
            BleGrant { pool: Some(BlePool { manufacturer: Some(76), ..BlePool::default() }), ..BleGrant::default() },
            BleGrant { bonded: true, ..BleGrant::default() },
            BleGrant { broadcast: true, ..BleGrant::default() },
            BleGrant { services: vec!["1808".into()], ..BleGrant::default() },
            BleGrant { characteristics: vec!["2a18".into()], ..BleGrant::default() },
            BleGrant { reads: some("2a18"), ..BleGrant::default() },
            BleGrant { notifies: some("2a18"), ..BleGrant::default() },
            BleGrant { writes: [("2a52".to_owned(), vec!["01 01".to_owned()])].into(), ..BleGrant::default() },
            BleGrant { writes: [("2a52".to_owned(), vec!["02 ??".to_owned()])].into(), ..BleGrant::default() },
        ];
        let all: BTreeSet<_> = grants
            .map(|ble| {
                let mut instance: Instance = serde_json::from_value(serde_json::json!({ "package": "meter", "grants": {} })).unwrap();
                instance.grants.ble = Some(ble);
                grants_hash(&grants_lines(&instance, &manifest, &BTreeMap::new()))
            })
            .into();
        assert_eq!(all.len(), 13);
    }

    fn asking(link: &str, asks: &str) -> Reach {
        let text = format!("name = \"pump\"\nversion = \"1.0.0\"\nlinks = [\"{link}\"]\n[channels]\n{asks}");
        Reach::of(&Manifest::parse(&text).unwrap(), &Surface::default())
    }

    /// An update that asks for more of a link than before is looked at by a person, however it is written; and one that asks for less is not.
    //= PROMISES.md#P329
    #[test]
    fn what_a_package_newly_asks_of_a_link_is_new() {
        let line = |link: &str, grant: &str| asking(link, &format!("[asks.{link}]\nneeds = \"x\"\ngrant = '{link} = {{ {grant} }}'\n"));
        let ble = |grant: &str| line("ble", &format!("address = \"..\", {grant}"));
        let meter = ble("services = [\"1808\"], characteristics = [\"2a18\", \"2a52\"], reads = [], writes = { \"2a52\" = [\"04 01\"] }");
        for (more, words) in [
            ("services = [\"1808\", \"1810\"], characteristics = [\"2a18\"], reads = []", "the service 1810, Blood Pressure"),
            ("services = [\"1808\"], reads = []", "to see more than 2a18, 2a52"),
            ("services = [\"1808\"], characteristics = [\"2a18\"]", "to read anything"),
            (
                "services = [\"1808\"], characteristics = [\"2a18\"], reads = [], writes = { \"2a52\" = [\"04 ??\"] }",
                "to write 04 ?? to 2a52",
            ),
        ] {
            assert_eq!(ble(more).beyond(&meter), [format!("over ble: {words}")], "{more}");
        }
        for less in [
            "services = [\"00001808-0000-1000-8000-00805f9b34fb\"], characteristics = [\"2A18\"], reads = [], writes = { \"2A52\" = [\"04  01\"] }",
            "services = [\"1808\"], characteristics = [\"2a18\"], reads = [], notifies = []",
        ] {
            assert_eq!(ble(less).beyond(&meter), [""; 0], "{less}");
        }
        let hears = ble("broadcast = true");
        let whole = "over ble: it sees the services 1808, of them 2a18, 2a52 only; it may read nothing, and be notified of all of that; \
                     IT MAY WRITE whole values to the peripheral: to 2a52 04 01";
        assert_eq!(meter.beyond(&hears), ["over ble: to be connected with its peripheral", whole]);
        let other = line("serial", "port = \"/dev/x\"");
        assert_eq!(meter.beyond(&other), ["reaches ble devices", whole], "nothing of a link that it did not reach was approved");
        let all = asking("ble", "");
        assert_eq!((all.beyond(&meter), meter.beyond(&all)), (vec!["over ble: all that the site grants".to_owned()], vec![]));
        let serial = |writes: &str| line("serial", &format!("port = \"/dev/x\", writes = [{writes}]"));
        assert_eq!(serial("\"01\"").beyond(&serial("")), ["over serial: to write 01"]);
        assert_eq!(serial("\"01 02\"").beyond(&serial("\"01 ??\"")), [""; 0], "less");
        let modbus = |function: u8, to: u16| {
            line("modbus", &format!("bus = \"b\", servers = [1], allow = [{{ function = {function}, addresses = [\"9..{to}\"] }}]"))
        };
        assert_eq!(modbus(6, 9).beyond(&modbus(3, 9)), ["over modbus: to write the single register 9"]);
        assert_eq!(modbus(6, 99).beyond(&modbus(6, 9)), ["over modbus: to write the single register 9..99"]);
        assert_eq!(
            (modbus(6, 9).beyond(&modbus(6, 99)), modbus(4, 99).beyond(&modbus(3, 9))),
            (vec![], vec![]),
            "what is read is the site's"
        );
    }

    /// It knows links as a whole, until the very release that it approved runs here.
    //= PROMISES.md#P329
    #[test]
    fn what_an_older_gateway_approved_runs_on_and_what_comes_after_it_is_looked_at() {
        let serial = |writes: &str| {
            asking("serial", &format!("[asks.serial]\nneeds = \"x\"\ngrant = 'serial = {{ port = \"/dev/x\", writes = [{writes}] }}'\n"))
        };
        let (first, next) = (serial("\"01\""), serial("\"01\", \"02\""));
        let older = Reach { bounds: BTreeMap::new(), ..first.clone() };
        assert_eq!((first.beyond(&older), next.beyond(&older)), (vec![], vec![]));
        let known = older.filled_in(&first);
        assert_eq!((first.beyond(&known), next.beyond(&known)), (vec![], vec!["over serial: to write 02".to_owned()]));
        assert_eq!(known.clone().filled_in(&next), known);
    }

    /// Names are a package's own words.
    //= PROMISES.md#P255
    #[test]
    fn no_line_of_a_reach_paints() {
        let surface = Surface { imports: vec!["x\u{1b}[8m\n    reaches nothing new".to_owned()], exports: Vec::new() };
        let manifest = Manifest::parse("name = \"x\"\nversion = \"1.0.0\"\nlinks = []\n[channels]\n").unwrap();
        assert!(Reach::of(&manifest, &surface).of.iter().all(|line| !line.chars().any(char::is_control)));
    }
}
