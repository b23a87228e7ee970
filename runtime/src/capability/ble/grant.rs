//! What the site allows one instance over Bluetooth: which peripheral, what of it the plugin sees, reads and subscribes to, and what it may write.

use std::collections::BTreeMap;
use std::fmt;

use super::handle::What;
use super::services::service_name;
use super::tree::Device;
use crate::capability::serial::{FRAME_BYTES_MAX, Pattern};
use crate::capability::{GrantError, Part, not_asked};
use crate::config::{BleGrant, BlePool};
use crate::contract::ble::Uuid;

/// What the inbox of a peripheral holds: ten seconds of the fastest that a UART chip brings for all peripherals together.
pub const INBOX_BYTES: usize = 1 << 20; // 921,600 baud; an ECG strap has 2 kB a second
const UUIDS_MAX: usize = 64; // each characteristic is held against each of them; the richest device read about has 30
const PATTERNS_MAX: usize = 64; // of one characteristic
/// A UUID of four digits stands in this one.
const BASE: Id = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// How a service is called in what one grant [lacks](Grant::lacks).
pub const THE_SERVICE: &str = "the service ";

/// And a connection, where it is only broadcasts that are heard.
pub const CONNECTED: &str = "to be connected with its peripheral";

/// A UUID as a number.
pub(super) type Id = u128;

/// Which peripheral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Address(String),
    Pool(Pool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    service: Option<Id>,
    name: Option<String>,
    manufacturer: Option<u16>,
}

/// `[instance.NAME.grants.ble]`, read and checked.
#[derive(Clone, Debug)]
pub struct Grant {
    instance: String,
    /// File and line.
    at: String,
    pub(super) which: Which,
    pub(super) bonded: bool,
    pub(super) broadcast: bool,
    services: Vec<Id>,
    /// None, here and below: all of those services.
    characteristics: Option<Vec<Id>>,
    reads: Option<Vec<Id>>,
    notifies: Option<Vec<Id>>,
    writes: BTreeMap<Id, Vec<Pattern>>,
    /// The most that the plugin's own package asks for, where it says that: the smaller of both counts.
    asked: Option<Box<Self>>,
}

/// Why something was not asked of the peripheral, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "asked to read {uuid}, which {at} does not allow. To allow it, under [instance.{instance}.grants.ble] add to reads: \"{uuid}\""
    )]
    Read { at: String, instance: String, uuid: String },
    #[error(
        "asked to be notified of {uuid}, which {at} does not allow. To allow it, under [instance.{instance}.grants.ble] add to notifies: \"{uuid}\""
    )]
    Notify { at: String, instance: String, uuid: String },
    #[error(
        "asked to write {value} to {uuid}, which no pattern in {at} matches as a whole. To allow it, under [instance.{instance}.grants.ble] add to writes: \"{uuid}\" = ['{value}']"
    )]
    Write { at: String, instance: String, uuid: String, value: String },
    #[error("asked to {wish}, which {}", not_asked(at, *allows, "ble", line))]
    NotAsked { at: String, allows: bool, wish: String, line: String },
    #[error("asked to write {bytes} bytes at once: a value has 1 to {FRAME_BYTES_MAX}; no grant can allow it")]
    Impossible { bytes: usize },
}

impl Grant {
    pub fn new(instance: &str, from: &BleGrant) -> Result<Self, GrantError> {
        let fail = GrantError::within("ble", instance, &from.at);
        let ids = |key: &str, texts: &[String]| {
            if texts.len() > UUIDS_MAX {
                return Err(fail(key, format!("{} UUIDs are more than {UUIDS_MAX}", texts.len())));
            }
            texts.iter().map(|text| uuid(text).ok_or_else(|| fail(key, not_a_uuid(text)))).collect::<Result<Vec<_>, _>>()
        };
        let optional = |key: &str, texts: &Option<Vec<String>>| texts.as_ref().map(|texts| ids(key, texts)).transpose();
        let which = match (&from.address, &from.pool) {
            (Some(address), _) => Which::Address(address.to_ascii_uppercase()),
            (None, Some(pool)) => Which::Pool(Pool::new(pool).map_err(|why| fail("pool.service", why))?),
            (None, None) => return Err(fail("address", "is missing".into())),
        };
        if from.services.is_empty() && !from.broadcast {
            return Err(fail(
                "services",
                "names no service: write those that the plugin's README lists, like [\"180d\", \"180a\", \"180f\"]".into(),
            ));
        }
        let mut writes = BTreeMap::new();
        for (text, patterns) in &from.writes {
            let key = format!("writes.{text}");
            let id = uuid(text).ok_or_else(|| fail("writes", not_a_uuid(text)))?;
            if patterns.len() > PATTERNS_MAX {
                return Err(fail(&key, format!("{} patterns are more than {PATTERNS_MAX}", patterns.len())));
            }
            let read = patterns.iter().map(|p| Pattern::parse(p).map_err(|e| fail(&key, e.to_string())));
            writes.insert(id, read.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(Self {
            instance: instance.to_owned(),
            at: from.at.to_string(),
            which,
            bonded: from.bonded,
            broadcast: from.broadcast,
            services: ids("services", &from.services)?,
            characteristics: Some(ids("characteristics", &from.characteristics)?).filter(|ids| !ids.is_empty()),
            reads: optional("reads", &from.reads)?,
            notifies: optional("notifies", &from.notifies)?,
            writes,
            asked: None,
        })
    }

    /// Of a plugin whose package asks for no more than this. One that only hears broadcasts has no peripheral connected for it.
    pub fn asked(self, most: Option<&BleGrant>) -> Result<Self, GrantError> {
        let asked = most.map(|most| Self::new(&self.instance, most)).transpose()?.map(Box::new);
        let broadcast = self.broadcast || asked.as_ref().is_some_and(|asked| asked.broadcast);
        Ok(Self { broadcast, asked, ..self })
    }

    /// As status and metrics call its link.
    pub fn link(&self) -> String {
        link_name(&self.instance)
    }

    /// For people: its address, or what it must be like.
    pub fn target(&self) -> String {
        self.which.to_string()
    }

    /// Whether this may be its peripheral.
    pub(super) fn fits(&self, device: &Device) -> bool {
        match &self.which {
            Which::Address(address) => device.address == *address,
            Which::Pool(pool) => pool.fits(device),
        }
    }

    /// Whether the plugin may know of it at all.
    pub(super) fn shows(&self, service: Id, characteristic: Id) -> bool {
        let mine = || self.characteristics.as_ref().is_none_or(|ids| ids.contains(&characteristic));
        self.services.contains(&service) && mine() && self.asked.as_ref().is_none_or(|asked| asked.shows(service, characteristic))
    }

    /// By the site's side, as which `allows` says, and by the package's.
    fn both(
        &self,
        allows: bool,
        asked: impl Fn(&Self) -> Result<(), Refusal>,
        (wish, line): (impl FnOnce() -> String, impl FnOnce() -> String),
        refusal: impl FnOnce() -> Refusal,
    ) -> Result<(), Refusal> {
        match (allows, self.asked.as_ref().is_none_or(|most| asked(most).is_ok())) {
            (true, true) => Ok(()),
            (false, true) => Err(refusal()),
            (allows, false) => Err(Refusal::NotAsked { at: self.at.clone(), allows, wish: wish(), line: line() }),
        }
    }

    /// What a plugin may ask of a characteristic that it sees.
    pub fn permits(&self, uuid: &Uuid, what: &What) -> Result<(), Refusal> {
        self.permits_id(of_wit(uuid), what)
    }

    pub(super) fn permits_id(&self, id: Id, what: &What) -> Result<(), Refusal> {
        match what {
            What::Read(_) => self.permits_read(id),
            What::Write { bytes, .. } => self.permits_write(id, bytes),
            What::Subscribe(_) => self.permits_notify(id),
            What::Unsubscribe(_) => Ok(()),
        }
    }

    pub(super) fn permits_read(&self, id: Id) -> Result<(), Refusal> {
        let allows = self.reads.as_ref().is_none_or(|reads| reads.contains(&id));
        let refusal = || Refusal::Read { at: self.at.clone(), instance: self.instance.clone(), uuid: short(id) };
        let wanted = (|| format!("read {}", short(id)), || format!("\"{}\" to the reads", short(id)));
        self.both(allows, |most| most.permits_read(id), wanted, refusal)
    }

    pub(super) fn permits_notify(&self, id: Id) -> Result<(), Refusal> {
        let allows = self.notifies.as_ref().is_none_or(|notifies| notifies.contains(&id));
        let refusal = || Refusal::Notify { at: self.at.clone(), instance: self.instance.clone(), uuid: short(id) };
        let wanted = (|| format!("be notified of {}", short(id)), || format!("\"{}\" to the notifies", short(id)));
        self.both(allows, |most| most.permits_notify(id), wanted, refusal)
    }

    /// One write is one value: it matches one pattern from its first byte to its last, or it is not written.
    pub(super) fn permits_write(&self, id: Id, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.is_empty() || bytes.len() > FRAME_BYTES_MAX {
            return Err(Refusal::Impossible { bytes: bytes.len() });
        }
        let value = || bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        let allows = self.writes.get(&id).is_some_and(|patterns| patterns.iter().any(|p| p.matches(bytes)));
        let refusal = || Refusal::Write { at: self.at.clone(), instance: self.instance.clone(), uuid: short(id), value: value() };
        let line = || format!("\"{}\" = ['{}'] to the writes", short(id), value());
        self.both(allows, |most| most.permits_write(id, bytes), (|| format!("write {} to {}", value(), short(id)), line), refusal)
    }

    /// Characteristics that are allowed something of a plugin which never sees them; in words, for `wardgate check`.
    pub fn unseen(&self) -> Vec<String> {
        let unseen = |id: &&Id| self.characteristics.as_ref().is_some_and(|ids| !ids.contains(id));
        let named = |key: &'static str, ids: Vec<&Id>| {
            let line = move |id: &Id| {
                format!(
                    "{key} names {0}, which is not among characteristics: its plugin never sees {0}, so that line allows nothing",
                    short(*id)
                )
            };
            ids.into_iter().filter(unseen).map(line).collect::<Vec<_>>()
        };
        let of = |ids: &Option<Vec<Id>>| ids.iter().flatten().copied().collect::<Vec<_>>();
        let (reads, notifies) = (of(&self.reads), of(&self.notifies));
        [
            named("writes", self.writes.keys().collect()),
            named("reads", reads.iter().collect()),
            named("notifies", notifies.iter().collect()),
        ]
        .concat()
    }

    /// What the other holds and this one does not. What only broadcasts is never connected, nor asked for anything.
    pub fn lacks(&self, other: &Self) -> Vec<Part> {
        match (self.broadcast, other.broadcast) {
            (_, true) => return Vec::new(),
            (true, false) => return vec![Part { words: CONNECTED.to_owned(), keys: Vec::new() }],
            (false, false) => {}
        }
        let lacking = other.services.iter().filter(|id| !self.services.contains(id)).map(|id| {
            let (short, mut words) = (short(*id), THE_SERVICE.to_owned());
            words += &short;
            if service_name(&short) != short {
                words += &format!(", {}", service_name(&short));
            }
            Part { words, keys: vec![short] }
        });
        let mut lacks: Vec<_> = lacking.collect();
        lacks.extend(lacks_of("see", self.characteristics.as_deref(), other.characteristics.as_deref()));
        lacks.extend(lacks_of("read", self.reads.as_deref(), other.reads.as_deref()));
        lacks.extend(lacks_of("be notified of", self.notifies.as_deref(), other.notifies.as_deref()));
        for (id, patterns) in &other.writes {
            let mine = self.writes.get(id).map_or(&[][..], Vec::as_slice);
            let id = short(*id);
            let missing = patterns.iter().filter(|asked| !mine.iter().any(|mine| mine.covers(asked)));
            lacks.extend(missing.map(|p| Part { words: format!("to write {p} to {id}"), keys: vec![format!("{id} {p}"), id.clone()] }));
        }
        lacks
    }

    /// By what a manifest may say what is done without a part of this.
    pub fn keys(&self) -> Vec<String> {
        let lists = [Some(&self.services), self.characteristics.as_ref(), self.reads.as_ref(), self.notifies.as_ref()];
        let ids = lists.into_iter().flatten().flatten().map(|id| short(*id));
        let of = |(id, patterns): (&Id, &Vec<Pattern>)| {
            let id = short(*id);
            patterns.iter().map(|p| format!("{id} {p}")).chain([id.clone()]).collect::<Vec<_>>()
        };
        ids.chain(self.writes.iter().flat_map(of)).collect()
    }

    /// What both sides allow, as a grant that has one side only.
    fn smaller(&self) -> Self {
        let Some(most) = &self.asked else { return self.clone() };
        let within = |mine: &Vec<Id>, theirs: &Vec<Id>| mine.iter().filter(|id| theirs.contains(id)).copied().collect::<Vec<_>>();
        let of_two = |mine: &Option<Vec<Id>>, theirs: &Option<Vec<Id>>| match (mine, theirs) {
            (Some(mine), Some(theirs)) => Some(within(mine, theirs)),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let patterns = |(id, mine): (&Id, &Vec<Pattern>)| {
            let theirs = most.writes.get(id).map_or(&[][..], Vec::as_slice);
            (*id, mine.iter().flat_map(|one| theirs.iter().filter_map(|other| one.and(other))).collect())
        };
        let characteristics = of_two(&self.characteristics, &most.characteristics);
        // what is not seen is not asked for anything
        let seen = |id: &Id| characteristics.as_ref().is_none_or(|ids| ids.contains(id));
        let of_seen = |ids: Option<Vec<Id>>| ids.map(|ids| ids.into_iter().filter(seen).collect());
        Self {
            services: within(&self.services, &most.services),
            reads: of_seen(of_two(&self.reads, &most.reads)),
            notifies: of_seen(of_two(&self.notifies, &most.notifies)),
            writes: self.writes.iter().filter(|(id, _)| seen(id)).map(patterns).collect(),
            characteristics,
            asked: None,
            ..self.clone()
        }
    }

    /// One sentence for `wardgate check`, of what both sides allow.
    pub fn explain(&self) -> String {
        if self.asked.is_some() {
            return self.smaller().explain();
        }
        let bonded = if self.bonded { ", while it is bonded with this gateway" } else { "" };
        let which = match &self.which {
            Which::Address(address) => format!("of the Bluetooth peripheral {address}{bonded}"),
            Which::Pool(pool) => {
                format!(
                    "of one Bluetooth peripheral {pool}{bonded}; it is known by the serial number that it tells, or else by its own address; which one counts a person says, until then its values are parked"
                )
            }
        };
        format!("{which}: {}", self.may_in_words())
    }

    /// The same without whom.
    pub fn may_in_words(&self) -> String {
        let list = |ids: &[Id]| ids.iter().map(|id| short(*id)).collect::<Vec<_>>().join(", ");
        if self.broadcast {
            return "it hears what that broadcasts; it is never connected, and nothing can be written to it".to_owned();
        }
        if self.services.is_empty() || self.characteristics.as_ref().is_some_and(Vec::is_empty) {
            return "it sees NOTHING of that: the site and the package have no service, or no characteristic, in common".to_owned();
        }
        let of = self.characteristics.as_ref().map(|ids| format!(", of them {} only", list(ids))).unwrap_or_default();
        let may = |what: &str, ids: &Option<Vec<Id>>| match ids.as_deref() {
            None => format!("{what} all of that"),
            Some([]) => format!("{what} nothing"),
            Some(ids) => format!("{what} {}", list(ids)),
        };
        let head = format!(
            "it sees the services {}{of}; it may {}, and {}",
            list(&self.services),
            may("read", &self.reads),
            may("be notified of", &self.notifies)
        );
        if self.writes.values().all(Vec::is_empty) {
            return format!("{head}; it may write nothing");
        }
        let writes = self.writes.iter().map(|(id, patterns)| {
            let patterns: Vec<_> = patterns.iter().map(Pattern::to_string).collect();
            format!("to {} {}", short(*id), patterns.join(", or "))
        });
        format!("{head}; IT MAY WRITE whole values to the peripheral: {}", writes.collect::<Vec<_>>().join("; "))
    }
}

impl Pool {
    fn new(from: &BlePool) -> Result<Self, String> {
        let service = from.service.as_ref().map(|text| uuid(text).ok_or_else(|| not_a_uuid(text))).transpose()?;
        Ok(Self { service, name: from.name.clone(), manufacturer: from.manufacturer })
    }

    fn fits(&self, device: &Device) -> bool {
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => device.name.starts_with(begin),
            None => device.name == *pattern,
        };
        self.service.is_none_or(|id| device.services.contains(&id) || device.service_data.iter().any(|(s, _)| *s == id))
            && self.name.as_ref().is_none_or(named)
            && self.manufacturer.is_none_or(|company| device.manufacturer.iter().any(|(c, _)| *c == company))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            self.service.map(|id| format!("advertises the service {}", short(id))),
            self.name.as_ref().map(|name| format!("is called {name}")),
            self.manufacturer.map(|company| format!("carries data of the maker {company}")),
        ];
        write!(f, "that {}", all.into_iter().flatten().collect::<Vec<_>>().join(" and "))
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => f.write_str(address),
            Self::Pool(pool) => write!(f, "any {pool}"),
        }
    }
}

/// Of two lists of characteristics, of which none stands for all.
fn lacks_of(may: &str, mine: Option<&[Id]>, theirs: Option<&[Id]>) -> Vec<Part> {
    match (mine, theirs) {
        (None, _) => Vec::new(),
        (Some([]), None) => vec![Part { words: format!("to {may} anything"), keys: Vec::new() }],
        (Some(mine), None) => {
            let mine = mine.iter().map(|id| short(*id)).collect::<Vec<_>>().join(", ");
            vec![Part { words: format!("to {may} more than {mine}"), keys: Vec::new() }]
        }
        (Some(mine), Some(theirs)) => {
            let missing = theirs.iter().filter(|id| !mine.contains(id)).map(|id| short(*id));
            missing.map(|id| Part { words: format!("to {may} {id}"), keys: vec![id] }).collect()
        }
    }
}

/// What one of a pool is like, in words; None: its service is no UUID, so nothing fits.
pub fn pool_words(pool: &BlePool) -> Option<String> {
    Pool::new(pool).ok().map(|pool| pool.to_string())
}

pub fn link_name(instance: &str) -> String {
    format!("ble {instance}")
}

/// Four or eight digits, or all 32 with dashes or without.
pub(super) fn uuid(text: &str) -> Option<Id> {
    let plain = text.replace('-', "");
    let number = u128::from_str_radix(&plain, 16).ok().filter(|_| plain.bytes().all(|b| b.is_ascii_hexdigit()))?;
    match plain.len() {
        4 | 8 => Some(number << 96 | BASE),
        32 => Some(number),
        _ => None,
    }
}

/// As short as it can be written.
pub(super) fn short(id: Id) -> String {
    if id & (Id::MAX >> 32) == BASE {
        return match id >> 96 {
            n @ 0..=0xffff => format!("{n:04x}"),
            n => format!("{n:08x}"),
        };
    }
    let t = format!("{id:032x}");
    [&t[..8], &t[8..12], &t[12..16], &t[16..20], &t[20..]].join("-")
}

pub(super) fn as_wit(id: Id) -> Uuid {
    Uuid { high: (id >> 64) as u64, low: id as u64 }
}

fn of_wit(uuid: &Uuid) -> Id {
    u128::from(uuid.high) << 64 | u128::from(uuid.low)
}

/// For people.
pub fn shown(uuid: &Uuid) -> String {
    short(of_wit(uuid))
}

fn not_a_uuid(text: &str) -> String {
    format!("\"{text}\" is no UUID: write 4 hexadecimal digits, like \"180d\", or all 32")
}

#[cfg(test)]
mod tests;
