//! What a component reaches for and what it offers, read from its bytes before anything of it is compiled; and whether that is what
//! its manifest says and the site grants.

use std::collections::BTreeSet;
use std::fmt;

use wasmparser::{ComponentExternalKind, ComponentTypeRef, Parser, Payload};

use super::bound::Bound;
use crate::config::{Link, Manifest, asked_line};
use crate::contract::{Granted, PACKAGE, VERSION, printable};

const NAME_BYTES_MAX: usize = 200; // names are the plugin's: shown to people, so bounded

/// Interfaces that every plugin may import: they touch no device.
const ALWAYS: [&str; 2] = ["types", "gateway"];
const LIFECYCLE: &str = "lifecycle";
const FILTER_EVENTS: &str = "filter-events";

/// A component's own imports and exports, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surface {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Mismatch {
    #[error("is not a component: {0}. Build it with `wardgate plugin build`")]
    Unreadable(String),
    #[error("is a core module, not a component. Build it with `wardgate plugin build`")]
    CoreModule,
    #[error(
        "imports {0}, which this gateway has not: a plugin may import {PACKAGE} only. Build it for wasm32-unknown-unknown, without WASI"
    )]
    Foreign(String),
    #[error(
        "imports {0} of a version that this gateway does not speak (it speaks {PACKAGE}@{VERSION}). Build it with the SDK of this release"
    )]
    Version(String),
    #[error("imports {PACKAGE}/{0}, which its manifest does not ask for. To ask for it, add \"{0}\" to `links` in manifest.toml")]
    NotInManifest(Link),
    #[error("exports {PACKAGE}/{0}-events, but its manifest does not ask for {0}. To ask for it, add \"{0}\" to `links` in manifest.toml")]
    EventsNotInManifest(Link),
    #[error("asks for {0}, but does not export {PACKAGE}/{0}-events, so it would never hear of its device. Name {0} in its `plugin!` line")]
    NoEvents(Link),
    #[error("exports {PACKAGE}/{FILTER_EVENTS}, but its manifest names no input. Name what it hears as [[inputs]] in manifest.toml")]
    NoInputs,
    #[error("names inputs, but does not export {PACKAGE}/{FILTER_EVENTS}, so it would never hear them. Name filter in its `plugin!` line")]
    NoFilterEvents,
    #[error("does not export {PACKAGE}/{LIFECYCLE}@{VERSION}, so nothing could open it. Build it with the SDK")]
    NoLifecycle,
    #[error("asks for {link} by what is no grant: {why}. Correct [asks.{link}] in manifest.toml")]
    Asks { link: Link, why: String },
    #[error(
        "says what it does without \"{part}\" of {link}, which it does not ask for; it asks for {asked}. Correct [asks.{link}.without] in manifest.toml"
    )]
    Without { link: Link, part: String, asked: String },
    #[error(
        "asks for {link}, which the site does not grant. To allow it, write below [instance.NAME.grants], with this site's own where dots stand, in gateway.toml: {grant}"
    )]
    NotGranted { link: Link, grant: String },
    #[error("was written for {PACKAGE}@{0}, which this gateway does not speak (it speaks {VERSION})")]
    Contract(String),
}

impl Surface {
    /// Reads the outermost level only: what is nested inside is the component's own affair.
    pub fn read(component: &[u8]) -> Result<Self, Mismatch> {
        let mut found = Self::default();
        let (mut depth, mut whole) = (0_u32, false);
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.map_err(unreadable)?;
            match payload {
                Payload::Version { encoding: wasmparser::Encoding::Module, .. } if depth == 0 => return Err(Mismatch::CoreModule),
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => {
                    depth -= 1;
                    whole = depth == 0;
                }
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let import = import.map_err(unreadable)?;
                        let name = import.name.name.to_owned();
                        match import.ty {
                            ComponentTypeRef::Instance(_) => found.imports.push(name),
                            _ => return Err(Mismatch::Foreign(shown(&name))),
                        }
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let export = export.map_err(unreadable)?;
                        if export.kind == ComponentExternalKind::Instance {
                            found.exports.push(export.name.name.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        if whole { Ok(found) } else { Err(Mismatch::Unreadable("it ends too early".into())) }
    }

    /// The links whose imports it uses.
    pub fn links(&self) -> Result<BTreeSet<Link>, Mismatch> {
        let mut links = BTreeSet::new();
        for import in &self.imports {
            let interface = ours(import)?;
            match Link::ALL.into_iter().find(|link| link.name() == interface) {
                Some(link) => drop(links.insert(link)),
                None if ALWAYS.contains(&interface) => {}
                None => return Err(Mismatch::Foreign(shown(import))),
            }
        }
        Ok(links)
    }

    /// The manifest asks for all that is imported and exported, and the component listens to all that the manifest asks for.
    pub fn matches(&self, manifest: &Manifest) -> Result<(), Mismatch> {
        if let Some(contract) = manifest.contract.as_deref().filter(|version| !spoken(version)) {
            return Err(Mismatch::Contract(shown(contract)));
        }
        if let Some(link) = self.links()?.difference(&manifest.links).next() {
            return Err(Mismatch::NotInManifest(*link));
        }
        if !self.offers(LIFECYCLE) {
            return Err(Mismatch::NoLifecycle);
        }
        for link in Link::ALL {
            let events = format!("{link}-events");
            match (self.offers(&events), manifest.links.contains(&link)) {
                (true, false) => return Err(Mismatch::EventsNotInManifest(link)),
                (false, true) => return Err(Mismatch::NoEvents(link)),
                (true, true) | (false, false) => {}
            }
        }
        match (self.offers(FILTER_EVENTS), manifest.inputs.is_empty()) {
            (true, true) => return Err(Mismatch::NoInputs),
            (false, false) => return Err(Mismatch::NoFilterEvents),
            (true, false) | (false, true) => {}
        }
        asks(manifest)
    }

    fn offers(&self, interface: &str) -> bool {
        self.exports.iter().any(|export| ours(export) == Ok(interface))
    }

    /// In words for a person: what it reaches, what it listens to.
    pub fn in_words(&self) -> impl fmt::Display + '_ {
        InWords(self)
    }
}

/// What is asked of each link can be read, its `grant` is within its `at_most`, and what is done without a part is said of a part.
fn asks(manifest: &Manifest) -> Result<(), Mismatch> {
    for (link, ask) in &manifest.asks {
        let wrong = |why: String| Mismatch::Asks { link: *link, why: shown(&why) };
        let grant = Bound::read(*link, &ask.grant).map_err(wrong)?;
        let most = ask.at_most.as_ref().map(|most| Bound::read(*link, most)).transpose().map_err(wrong)?;
        if let Some(part) = most.as_ref().and_then(|most| most.lacks(&grant).into_iter().next()) {
            return Err(wrong(format!("at_most lacks {}, which grant has", part.words)));
        }
        let asked: BTreeSet<String> = grant.keys().into_iter().chain(most.iter().flat_map(Bound::keys)).collect();
        if let Some(part) = ask.without.keys().find(|part| !asked.contains(part.as_str())) {
            let asked =
                if asked.is_empty() { "no part by name".to_owned() } else { shown(&asked.into_iter().collect::<Vec<_>>().join(", ")) };
            return Err(Mismatch::Without { link: *link, part: shown(part), asked });
        }
    }
    Ok(())
}

/// The smaller wins: what the manifest asks for must be granted, what is granted beyond it is not linked.
pub fn granted(manifest: &Manifest, site: &BTreeSet<Link>) -> Result<Granted, Mismatch> {
    match manifest.links.difference(site).next() {
        Some(link) => {
            let grant = manifest
                .asks
                .get(link)
                .and_then(|ask| asked_line(*link, &ask.grant))
                .map(|line| printable(&line, usize::MAX))
                .unwrap_or_else(|| form(*link).to_owned());
            Err(Mismatch::NotGranted { link: *link, grant })
        }
        None => Ok(Granted {
            modbus: manifest.links.contains(&Link::Modbus),
            serial: manifest.links.contains(&Link::Serial),
            ble: manifest.links.contains(&Link::Ble),
        }),
    }
}

/// Where a package does not say what it asks for: how such a line looks.
fn form(link: Link) -> &'static str {
    match link {
        Link::Modbus => "modbus = { bus = \"..\", servers = [1], allow = [{ function = 3, addresses = [\"0..9\"] }] }",
        Link::Serial => "serial = { port = \"/dev/serial/by-id/..\", baud = 9600 }",
        Link::Ble => "ble = { address = \"..\", services = [\"180d\", \"180a\", \"180f\"] }",
    }
}

/// The interface of one of our names.
fn ours(name: &str) -> Result<&str, Mismatch> {
    let Some(rest) = name.strip_prefix(PACKAGE).and_then(|rest| rest.strip_prefix('/')) else {
        return Err(Mismatch::Foreign(shown(name)));
    };
    let (interface, version) = rest.split_once('@').ok_or_else(|| Mismatch::Version(shown(name)))?;
    if spoken(version) { Ok(interface) } else { Err(Mismatch::Version(shown(name))) }
}

/// While the contract is 0.x, its minor number is what must agree.
fn spoken(version: &str) -> bool {
    let split = |version: &str| version.rsplit_once('.').and_then(|(track, patch)| Some((track.to_owned(), patch.parse::<u32>().ok()?)));
    let ours = split(VERSION).expect("three numbers");
    split(version).is_some_and(|theirs| theirs.0 == ours.0 && theirs.1 <= ours.1)
}

fn unreadable(why: wasmparser::BinaryReaderError) -> Mismatch {
    Mismatch::Unreadable(printable(&why.to_string(), NAME_BYTES_MAX))
}

fn shown(name: &str) -> String {
    printable(name, NAME_BYTES_MAX)
}

struct InWords<'a>(&'a Surface);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reach: Vec<_> = self.0.imports.iter().filter_map(|name| ours(name).ok()).filter(|name| !ALWAYS.contains(name)).collect();
        match reach.as_slice() {
            [] => f.write_str("reaches no device")?,
            links => write!(f, "reaches {}", links.join(" and "))?,
        }
        let hears: Vec<_> = self.0.exports.iter().filter_map(|name| ours(name).ok()?.strip_suffix("-events")).collect();
        match hears.as_slice() {
            [] => f.write_str("; hears its timers only"),
            links => write!(f, "; hears {}", links.join(" and ")),
        }?;
        if self.0.offers(FILTER_EVENTS) { f.write_str(" (a filter: what it emits is marked derived)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(ask: &str) -> Result<(), Mismatch> {
        let named = |interfaces: &[&str]| interfaces.iter().map(|i| format!("{PACKAGE}/{i}@{VERSION}")).collect();
        let surface = Surface { imports: named(&["ble"]), exports: named(&["lifecycle", "ble-events"]) };
        let text = format!("name = \"meter\"\nversion = \"1.0.0\"\nlinks = [\"ble\"]\n[channels]\n[asks.ble]\nneeds = \"x\"\n{ask}");
        surface.matches(&Manifest::parse(&text).expect("a manifest"))
    }

    /// What is pasted from it is of that link alone, on one line, and nobody's words.
    //= PROMISES.md#P362
    #[test]
    fn the_line_to_add_is_one_line_of_one_link_whatever_stands_beside_it() {
        let line = |asks: &str| {
            let text = format!(
                "name = \"pump\"\nversion = \"1.0.0\"\nlinks = [\"ble\"]\n[channels]\nnumeric = 1\n[asks.ble]\nneeds = \"x\"\n{asks}"
            );
            match granted(&Manifest::parse(&text).unwrap(), &BTreeSet::new()) {
                Err(Mismatch::NotGranted { link: Link::Ble, grant }) => grant,
                other => panic!("{other:?}"),
            }
        };
        let asked = "grant = '''# the gateway advises:\nble = { services = [\"1808\"], address = \"..\", \
                     writes = { \"2a52\" = [\"04 01\"] } }\npersonal = true\nkeep_raw = true\n'''\n";
        assert_eq!(line(asked), "ble = { address = \"..\", services = [\"1808\"], writes = { \"2a52\" = [\"04 01\"] } }");
        let long = format!("grant = 'ble = {{ address = \"..\", services = [{}] }}'\n", ["\"1808\""; 60].join(", "));
        assert!(line(&long).len() > NAME_BYTES_MAX && line(&long).ends_with("] }"));
        for odd in ["ble = { address = \"\\u001b[8m\", services = [\"1808\"] }", "ble = 1979-05-27", "serial = { port = \"..\" }"] {
            assert_eq!(line(&format!("grant = '{odd}'\n")), form(Link::Ble), "{odd}");
        }
    }

    /// What bounds every grant must say something, and what is said of a part must be of one.
    //= PROMISES.md#P334
    #[test]
    fn what_a_manifest_asks_for_is_a_grant_and_what_it_does_without_is_a_part_of_it() {
        const GRANT: &str =
            "grant = 'ble = { address = \"..\", services = [\"1808\"], reads = [\"2A18\"], writes = { \"2a52\" = [\"04 01\"] } }'\n";
        for good in ["2a52 04 01", "2a52", "1808", "2a18"] {
            assert_eq!(asking(&format!("{GRANT}without = {{ \"{good}\" = \"it waits\" }}")), Ok(()), "{good}");
        }
        for bad in ["2a52 04 02", "180a", "2A18", ""] {
            let why = asking(&format!("{GRANT}without = {{ \"{bad}\" = \"it waits\" }}")).unwrap_err().to_string();
            assert!(
                why.contains(&format!("without \"{bad}\" of ble, which it does not ask for; it asks for 1808, 2a18, 2a52, 2a52 04 01")),
                "{why}"
            );
        }
        let most = "at_most = 'ble = { address = \"..\", services = [\"1808\"], reads = [\"2a18\"], writes = { \"2a52\" = [\"04 01\", \"02 01\"] } }'\n";
        assert_eq!(asking(&format!("{GRANT}{most}without = {{ \"2a52 02 01\" = \"it keeps all\" }}")), Ok(()));
        for bad in ["services = [\"xyz\"]", "services = []", "services = [\"1808\"], writes = { \"2a52\" = [\"zz\"] }"] {
            let why = asking(&format!("grant = 'ble = {{ address = \"..\", {bad} }}'")).unwrap_err().to_string();
            assert!(why.contains("asks for ble by what is no grant: ") && why.contains("Correct [asks.ble]"), "{why}");
        }
        for bad in
            ["''", "'whatever'", "'ble = 5'", "'ble = { address = \"..\", servces = [\"1808\"] }'", "'serial = { port = \"/dev/x\" }'"]
        {
            assert!(matches!(asking(&format!("grant = {bad}")), Err(Mismatch::Asks { link: Link::Ble, .. })), "{bad}");
        }
        let small = "at_most = 'ble = { address = \"..\", services = [\"1808\"], writes = { \"2a52\" = [\"02 01\"] } }'\n";
        let why = asking(&format!("{GRANT}{small}")).unwrap_err().to_string();
        assert!(why.contains("at_most lacks to write 04 01 to 2a52, which grant has"), "{why}");
    }
}
