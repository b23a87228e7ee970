//! What the site allows one instance on its Modbus bus: servers, function codes, address ranges. Nothing is implied by anything else.

use std::fmt;
use std::ops::RangeInclusive;

use super::handle::CANCELS_WAITING_MAX;
use super::settings::{Protocol, Settings};
use crate::capability::{GrantError, Part, not_asked};
use crate::config::{self, ModbusGrant};
use crate::contract::modbus::Request;

/// Open requests that a grant may give one instance.
pub const REQUESTS_MAX: u16 = 64; // a queue longer than a device can serve in its poll interval only makes answers old
/// Places in the channel to a bus that no single instance needs more of.
pub const ROOM_MAX: usize = REQUESTS_MAX as usize + CANCELS_WAITING_MAX;
/// Limits of the protocol itself (Modbus Application Protocol 1.1b3, section 6).
const READ_BITS_MAX: usize = 2000;
const READ_REGISTERS_MAX: usize = 125;
const WRITE_BITS_MAX: usize = 1968;
const WRITE_REGISTERS_MAX: usize = 123;
const OTHER_BYTES_MAX: usize = 252; // a PDU is 253 bytes

const READ_IDENTIFICATION: u8 = 0x2B;
pub(super) const BROADCAST: u8 = 0;
/// Functions that have a request kind of their own: `other` must not reach them, or it would reach around their address ranges.
const TYPED: [u8; 10] = [1, 2, 3, 4, 5, 6, 15, 16, 22, READ_IDENTIFICATION];

/// `[instance.NAME.grants.modbus]`, read and checked.
#[derive(Clone, Debug)]
pub struct Grant {
    instance: String,
    /// File and line.
    at: String,
    bus: String,
    servers: Vec<u8>,
    rules: Vec<Rule>,
    requests_max: u16,
    quirk: bool,
    keep_raw: bool,
    /// What changes a device, of which the plugin's own package asks for no more, where it says that: the smaller of both counts.
    asked: Option<Vec<Rule>>,
}

#[derive(Clone, Debug)]
struct Rule {
    function: u8,
    /// Apart from each other and in order; ranges that touch are one.
    addresses: Vec<RangeInclusive<u16>>,
}

/// Why a request was not made, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "asked for modbus server {server}, which {at} does not grant. To allow it, under [instance.{instance}.grants.modbus] write: {line}"
    )]
    Server { at: String, instance: String, server: u8, line: String },
    #[error("asked to {wish}, which {at} does not grant. To allow it, under [instance.{instance}.grants.modbus] add to allow: {line}")]
    Function { at: String, instance: String, wish: String, line: String },
    #[error("asked to {wish}, which {}", not_asked(at, *allows, "modbus", &format!("{line} to what it allows")))]
    NotAsked { at: String, allows: bool, wish: String, line: String },
    #[error("asked to {wish}: {why}; no grant can allow it")]
    Impossible { wish: String, why: String },
}

/// What a request touches.
pub(super) struct Reach {
    pub(super) function: u8,
    pub(super) first: u16,
    /// 0: the function has no addresses.
    pub(super) count: usize,
    most: usize,
}

impl Grant {
    pub fn new(instance: &str, from: &ModbusGrant) -> Result<Self, GrantError> {
        let fail = GrantError::within("modbus", instance, &from.at);
        if from.servers.is_empty() {
            return Err(fail("servers", "names no server. Write the unit ids that this instance may ask, like servers = [1]".into()));
        }
        if !(1..=REQUESTS_MAX).contains(&from.requests_max) {
            return Err(fail("requests_max", format!("{} is not within 1 to {REQUESTS_MAX}", from.requests_max)));
        }
        let mut rules: Vec<Rule> = Vec::new();
        for (n, rule) in from.allow.iter().enumerate() {
            let key = format!("allow[{n}]");
            let read = Rule::read(rule.function, &rule.addresses).map_err(|why| fail(&key, why))?;
            match rules.iter_mut().find(|r| r.function == read.function) {
                Some(known) => known.add(read.addresses),
                None => rules.push(read),
            }
        }
        Ok(Self {
            instance: instance.to_owned(),
            at: from.at.to_string(),
            bus: from.bus.clone(),
            servers: from.servers.clone(),
            rules,
            requests_max: from.requests_max,
            quirk: from.checksum_quirk,
            keep_raw: false,
            asked: None,
        })
    }

    /// Of a plugin whose package asks to change no more of a device. What it reads, and of which server, depends on its settings, so that is the
    /// site's alone.
    pub fn asked(self, most: Option<&ModbusGrant>) -> Result<Self, GrantError> {
        let most = most.map(|most| Self::new(&self.instance, most)).transpose()?;
        let asked = most.map(|most| most.rules.into_iter().filter(|rule| writes_to_device(rule.function)).collect());
        Ok(Self { asked, ..self })
    }

    /// What changes a device that the other may and this one may not, of whichever server.
    pub fn lacks(&self, other: &Self) -> Vec<Part> {
        let missing = |rule: &Rule| {
            let mine = self.rules.iter().find(|mine| mine.function == rule.function);
            let beyond = |range: &&RangeInclusive<u16>| {
                !mine.is_some_and(|mine| mine.addresses.iter().any(|r| r.contains(range.start()) && r.contains(range.end())))
            };
            let addresses: Vec<_> = rule.addresses.iter().filter(beyond).cloned().collect();
            let lacks = mine.is_none() || !addresses.is_empty();
            lacks.then(|| Part {
                words: format!("to {}{}", verb(rule.function), spans(&Rule { addresses, ..rule.clone() })),
                keys: Vec::new(),
            })
        };
        other.rules.iter().filter(|rule| writes_to_device(rule.function)).filter_map(missing).collect()
    }

    pub fn bus(&self) -> &str {
        &self.bus
    }

    pub fn requests_max(&self) -> usize {
        self.requests_max.into()
    }

    /// Replies with the documented wrong checksum are taken.
    pub(super) fn quirk(&self) -> bool {
        self.quirk
    }

    /// What goes over the bus for this instance may leave, byte for byte.
    pub fn keeping_raw(self, keep_raw: bool) -> Self {
        Self { keep_raw, ..self }
    }

    pub(super) fn keeps_raw(&self) -> bool {
        self.keep_raw
    }

    /// What it grants and its bus cannot do: the key, what is wrong, and the remedy. A bus that is wrong itself is told elsewhere.
    pub fn misfit(&self, bus: &config::Bus) -> Option<(&'static str, String, String)> {
        let protocol = Settings::read(&self.bus, bus).ok()?.protocol;
        if self.quirk && protocol != Protocol::Ascii {
            let what = format!("the wrong checksum that it takes is one of Modbus ASCII, and bus \"{}\" speaks another protocol", self.bus);
            return Some(("checksum_quirk", what, "take it out, or write protocol = \"ascii\" where the bus is".into()));
        }
        let reads = self.rules.iter().find(|rule| !writes_to_device(rule.function));
        if let Some(rule) = reads.filter(|_| protocol != Protocol::Tcp && self.servers.contains(&BROADCAST)) {
            let what = format!(
                "server 0 of a serial line is all servers at once, and none of them answers: function {} reads nothing from it",
                rule.function
            );
            return Some(("servers", what, "take 0 out of servers, and name the servers that are to be read".into()));
        }
        None
    }

    /// Places that this instance needs in the channel to its bus: at most [`ROOM_MAX`].
    pub fn room(&self) -> usize {
        self.requests_max() + CANCELS_WAITING_MAX
    }

    /// Of a package's own bound: what a request would change, beyond this grant and of whichever server; in words.
    pub fn changes_beyond(&self, request: &Request) -> Option<String> {
        let reach = Reach::of(request);
        (writes_to_device(reach.function) && !reach.is_within(&self.rules)).then(|| reach.to_string())
    }

    pub fn permits(&self, server: u8, request: &Request) -> Result<(), Refusal> {
        let reach = Reach::of(request);
        reach.possible().map_err(|why| Refusal::Impossible { wish: reach.to_string(), why })?;
        if let Request::Other(raw) = request
            && (TYPED.contains(&raw.function) || raw.function == 0 || raw.function >= 0x80)
        {
            let why = match raw.function {
                0 | 0x80.. => "function codes are 1 to 127",
                _ => "this function has a request of its own, whose addresses the grant can see",
            };
            return Err(Refusal::Impossible { wish: reach.to_string(), why: why.into() });
        }
        if !self.servers.contains(&server) {
            let mut all = self.servers.clone();
            all.push(server);
            all.sort_unstable();
            let (at, instance) = (self.at.clone(), self.instance.clone());
            return Err(Refusal::Server { at, instance, server, line: format!("servers = {all:?}") });
        }
        let (at, wish) = (self.at.clone(), format!("{reach} of server {server}"));
        let asked = self.asked.as_ref().is_none_or(|asked| !writes_to_device(reach.function) || reach.is_within(asked));
        match (reach.is_within(&self.rules), asked) {
            (true, true) => Ok(()),
            (false, true) => Err(Refusal::Function { at, instance: self.instance.clone(), wish, line: reach.line() }),
            (allows, false) => Err(Refusal::NotAsked { at, allows, wish, line: reach.line() }),
        }
    }

    /// Of a package's own bound: what is read, and of whom, is the site's.
    pub fn changes_in_words(&self) -> String {
        let writes =
            self.rules.iter().filter(|rule| writes_to_device(rule.function)).map(|rule| format!("{}{}", verb(rule.function), spans(rule)));
        format!("it reads what the site grants; {}", changes(writes.collect()))
    }

    /// Of one rule what both sides allow.
    fn smaller(&self, rule: &Rule) -> Option<Rule> {
        let Some(asked) = self.asked.as_ref().filter(|_| writes_to_device(rule.function)) else { return Some(rule.clone()) };
        let theirs = asked.iter().find(|other| other.function == rule.function)?;
        let both = |one: &RangeInclusive<u16>, other: &RangeInclusive<u16>| *one.start().max(other.start())..=*one.end().min(other.end());
        let pairs = rule.addresses.iter().flat_map(|one| theirs.addresses.iter().map(move |other| both(one, other)));
        let addresses: Vec<_> = pairs.filter(|range| !range.is_empty()).collect();
        (rule.addresses.is_empty() || !addresses.is_empty()).then(|| Rule { addresses, ..rule.clone() })
    }

    /// One sentence for `wardgate check`, of what both sides allow.
    pub fn explain(&self) -> String {
        let servers = match &self.servers[..] {
            [one] => format!("server {one}"),
            many => format!("servers {}", list(many.iter().map(u8::to_string).collect())),
        };
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for rule in self.rules.iter().filter_map(|rule| self.smaller(rule)) {
            let text = format!("{}{}", verb(rule.function), spans(&rule));
            if writes_to_device(rule.function) { writes.push(text) } else { reads.push(text) }
        }
        let may = if reads.is_empty() { "read nothing".to_owned() } else { list(reads) };
        let write = changes(writes);
        let quirk = if self.quirk { "; replies with the documented wrong ASCII checksum are taken and marked questionable" } else { "" };
        format!("on Modbus bus \"{}\", {servers}, it may {may}; {write}; at most {} requests at once{quirk}", self.bus, self.requests_max)
    }
}

impl Rule {
    fn read(function: u8, addresses: &[String]) -> Result<Self, String> {
        if !(1..0x80).contains(&function) {
            return Err(format!("function {function} is no Modbus function: they are 1 to 127"));
        }
        let addressed = TYPED.contains(&function) && function != READ_IDENTIFICATION;
        match (addressed, addresses.is_empty()) {
            (true, true) => Err(format!("function {function} touches addresses: say which, like addresses = [\"0..12\"]")),
            (false, false) => Err(format!(
                "function {function} has no addresses that the gateway can check: leave addresses out, and know that it may touch all"
            )),
            _ => {
                let mut rule = Self { function, addresses: Vec::new() };
                rule.add(addresses.iter().map(|a| range(a)).collect::<Result<_, _>>()?);
                Ok(rule)
            }
        }
    }

    fn add(&mut self, more: Vec<RangeInclusive<u16>>) {
        let mut all = std::mem::take(&mut self.addresses);
        all.extend(more);
        all.sort_unstable_by_key(|r| *r.start());
        for next in all {
            match self.addresses.last_mut() {
                Some(last) if u32::from(*next.start()) <= u32::from(*last.end()) + 1 => {
                    *last = *last.start()..=*last.end().max(next.end());
                }
                _ => self.addresses.push(next),
            }
        }
    }

    fn holds(&self, first: u16, count: usize) -> bool {
        let last = usize::from(first) + count - 1;
        self.addresses.iter().any(|r| r.contains(&first) && last <= usize::from(*r.end()))
    }
}

/// "0..12", both ends included, or "7".
fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("{text:?} is no address range: write \"0..12\" (both ends included) or \"7\", each 0 to 65535");
    let number = |part: &str| -> Result<u16, String> {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| digits).ok_or_else(wrong)
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{text:?} ends before it begins: write \"{last}..{first}\""));
    }
    Ok(first..=last)
}

impl Reach {
    fn is_within(&self, rules: &[Rule]) -> bool {
        let rule = rules.iter().find(|rule| rule.function == self.function);
        rule.is_some_and(|rule| self.count == 0 || rule.holds(self.first, self.count))
    }

    pub(super) fn of(request: &Request) -> Self {
        use Request as R;
        let (function, first, count, most) = match request {
            R::ReadCoils(s) => (1, s.address, s.count.into(), READ_BITS_MAX),
            R::ReadDiscreteInputs(s) => (2, s.address, s.count.into(), READ_BITS_MAX),
            R::ReadHoldingRegisters(s) => (3, s.address, s.count.into(), READ_REGISTERS_MAX),
            R::ReadInputRegisters(s) => (4, s.address, s.count.into(), READ_REGISTERS_MAX),
            R::WriteSingleCoil(c) => (5, c.address, 1, 1),
            R::WriteSingleRegister(r) => (6, r.address, 1, 1),
            R::WriteMultipleCoils(c) => (15, c.address, c.on.len(), WRITE_BITS_MAX),
            R::WriteMultipleRegisters(r) => (16, r.address, r.values.len(), WRITE_REGISTERS_MAX),
            R::MaskWriteRegister(m) => (22, m.address, 1, 1),
            R::ReadDeviceIdentification(q) => (READ_IDENTIFICATION, 0, 0, usize::from((1..=4).contains(&q.depth))),
            R::Other(raw) => (raw.function, 0, 0, usize::from(raw.data.len() <= OTHER_BYTES_MAX)),
        };
        Self { function, first, count, most }
    }

    fn addressed(&self) -> bool {
        TYPED.contains(&self.function) && self.function != READ_IDENTIFICATION
    }

    fn possible(&self) -> Result<(), String> {
        if !self.addressed() {
            return if self.most == 1 { Ok(()) } else { Err("the protocol has no such request".into()) };
        }
        if self.count == 0 || self.count > self.most {
            return Err(format!("one request takes 1 to {}", self.most));
        }
        if usize::from(self.first) + self.count > 1 << 16 {
            return Err("addresses end at 65535".into());
        }
        Ok(())
    }

    fn line(&self) -> String {
        if !self.addressed() {
            return format!("{{ function = {} }}", self.function);
        }
        let last = usize::from(self.first) + self.count - 1;
        format!("{{ function = {}, addresses = [\"{}\"] }}", self.function, span(self.first, last))
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&verb(self.function))?;
        if self.addressed() {
            let last = (usize::from(self.first) + self.count).saturating_sub(1);
            write!(f, " {}", span(self.first, last.max(self.first.into())))?;
            if self.count == 0 {
                f.write_str(" (none)")?;
            }
        }
        Ok(())
    }
}

fn writes_to_device(function: u8) -> bool {
    !matches!(function, 1..=4 | READ_IDENTIFICATION)
}

fn verb(function: u8) -> String {
    match function {
        1 => "read coils".into(),
        2 => "read discrete inputs".into(),
        3 => "read holding registers".into(),
        4 => "read input registers".into(),
        5 => "switch the single coil".into(),
        6 => "write the single register".into(),
        15 => "switch coils".into(),
        16 => "write registers".into(),
        22 => "change bits of the register".into(),
        READ_IDENTIFICATION => "read the device identification".into(),
        other => format!("use function {other} with any content"),
    }
}

fn changes(writes: Vec<String>) -> String {
    if writes.is_empty() { "it changes nothing on the device".to_owned() } else { format!("IT MAY CHANGE THE DEVICE: {}", list(writes)) }
}

fn spans(rule: &Rule) -> String {
    if rule.addresses.is_empty() {
        return String::new();
    }
    format!(" {}", list(rule.addresses.iter().map(|r| span(*r.start(), (*r.end()).into())).collect()))
}

fn span(first: u16, last: usize) -> String {
    if usize::from(first) == last { first.to_string() } else { format!("{first}..{last}") }
}

fn list(mut items: Vec<String>) -> String {
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

#[cfg(test)]
mod tests;
