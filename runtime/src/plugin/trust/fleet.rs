//! fleet.json: what `wardgate-trust` proved of the fleet's metadata, in short. It lies in the site's trust folder and is replaced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::plain_file;
use crate::keys::PublicKey;
use crate::when;

const FILE: &str = "fleet.json";
const FORMAT: u64 = 1;
const BYTES_MAX: u64 = 4 << 20; // a revocation or a package has 200 bytes: some ten thousand of them
const REASON_BYTES_MAX: usize = 200; // shown to people, in a line

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub format: u64,
    pub root_version: u64,
    pub timestamp_version: u64,
    pub snapshot_version: u64,
    /// RFC 3339: when the first of the metadata expires.
    pub expires: String,
    /// When it was proven last, by the clock of whoever did.
    #[serde(default)]
    pub checked: Option<String>,
    /// A moment that has passed for sure, as the metadata's own signatures show.
    #[serde(default)]
    pub floor: Option<String>,
    /// When a person said last that the clock had been wrong, by the clock of then: what was taken for past before counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<String>,
    #[serde(default)]
    pub revoked_keys: Vec<RevokedKey>,
    #[serde(default)]
    pub revoked_releases: Vec<RevokedRelease>,
    /// Whose keys are whose: the folder of keys beside it holds these and no others. None: an older `wardgate-trust` wrote this, and did not say.
    #[serde(default)]
    pub vendors: Option<Vec<KeysOf>>,
    /// What the vendors' lists name; none: an older `wardgate-trust` wrote this, and did not say.
    #[serde(default)]
    pub packages: Option<Vec<Named>>,
    /// Until when keys are for something new, where they have an end.
    #[serde(default)]
    pub key_terms: Vec<KeyTerm>,
    /// Of the file with zeros in its place: a bit that a card lost is told from what an update wrote. Who wrote it, it does not say. None: an older
    /// `wardgate-trust` did, or it was looked at already.
    #[serde(default, skip_serializing)]
    pub digest: Option<String>,
}

/// A vendor's keys, as the fleet's metadata names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeysOf {
    pub vendor: String,
    pub keys: Vec<String>,
    /// RFC 3339: when its list of packages ends. None: an older `wardgate-trust` wrote this, and did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_ends: Option<String>,
}

/// Until when what a vendor's key signed comes in anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyTerm {
    pub vendor: String,
    pub key: String,
    /// RFC 3339.
    pub until: String,
}

/// A package that its vendor's list names: this file, or another of the same statement, which one more of its vendor's keys has signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// acme/pump-1.0.0.wardgate
    pub name: String,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// Of the statement in it; none: an older desk published it, and did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedKey {
    pub vendor: String,
    pub key: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub since: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedRelease {
    pub vendor: String,
    pub name: String,
    pub release: u64,
    #[serde(default)]
    pub reason: String,
}

/// Of whom a site trusts, what is otherwise in newer metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Key {
        vendor: String,
        key: String,
        comes: bool,
    },
    /// `why`: none: it is revoked no more.
    KeyRevoked {
        vendor: String,
        key: String,
        why: Option<String>,
    },
    ReleaseRevoked {
        vendor: String,
        name: String,
        release: u64,
        why: Option<String>,
    },
    /// A person said so.
    ClockWasWrong {
        when: String,
    },
}

/// Why something was revoked, as the fleet's operator wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Revocation {
    pub reason: String,
    pub since: Option<String>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FleetError {
    #[error("{} is not there", path.display())]
    Missing { path: PathBuf },
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{} can be written by others (mode {mode:03o})", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is of format {format}, and this gateway reads {FORMAT}", path.display())]
    Format { path: PathBuf, format: u64 },
    #[error("the fleet's {what} went back from version {seen} to {found}: somebody put older metadata there")]
    Back { what: &'static str, seen: u64, found: u64 },
}

/// Whether what is known of the fleet can still be relied on for something new.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Freshness {
    /// This site has no fleet's metadata: its keys are its own affair.
    #[default]
    NoFleet,
    Fresh,
    Stale(String),
}

/// What holds of the fleet now: as the folder says, or as it said last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub fleet: Option<Fleet>,
    pub freshness: Freshness,
    /// Keys whose term has ended by now.
    pub ended: Vec<KeyTerm>,
    /// Vendors whose list of packages has ended by now, and when.
    pub lists_over: Vec<(String, String)>,
}

impl Fleet {
    pub fn read(folder: &Path) -> Result<Self, FleetError> {
        let path = folder.join(FILE);
        let unreadable = |why: String| FleetError::Unreadable { path: path.clone(), why };
        let (bytes, about) = plain_file(&path, BYTES_MAX).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => FleetError::Missing { path: path.clone() },
            _ => unreadable(e.to_string()),
        })?;
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(FleetError::Open { path, mode });
        }
        Self::parse(path, &bytes)
    }

    /// Of bytes that came from `path`.
    pub fn parse(path: PathBuf, bytes: &[u8]) -> Result<Self, FleetError> {
        let unreadable = |why: String| FleetError::Unreadable { path: path.clone(), why };
        let mut fleet: Self = serde_json::from_slice(bytes).map_err(|e| unreadable(e.to_string()))?;
        if fleet.digest.take().is_some_and(|digest| !is_digest_of(&digest, bytes)) {
            return Err(unreadable("it is not as an update wrote it: something of it was lost or changed".into()));
        }
        if fleet.format != FORMAT {
            return Err(FleetError::Format { path, format: fleet.format });
        }
        if let Some(text) = fleet.moments().find(|text| when::read(text).is_none()) {
            return Err(unreadable(format!("{text:?} is no time like {}", when::text(0))));
        }
        if let Some(bad) = fleet.revoked_keys.iter().find(|k| PublicKey::of_id(&k.key).is_none()) {
            return Err(unreadable(format!("{:?} is no key", bad.key)));
        }
        Ok(fleet)
    }

    fn moments(&self) -> impl Iterator<Item = &String> {
        let of_vendors = self.vendors.iter().flatten().filter_map(|of| of.list_ends.as_ref());
        let of_keys = self.key_terms.iter().map(|term| &term.until);
        [&self.checked, &self.floor, &self.forgotten].into_iter().flatten().chain([&self.expires]).chain(of_keys).chain(of_vendors)
    }

    /// As `wardgate-trust` writes it.
    #[doc(hidden)]
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain texts and numbers")
    }

    /// Where metadata of this folder lies, for whoever watches it.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// A newer root may name new keys for the other roles, whose versions begin anew then (TUF 5.3.11).
    fn goes_back(&self, seen: &Self) -> Option<FleetError> {
        if self.root_version > seen.root_version {
            return None;
        }
        let versions = [
            ("root", self.root_version, seen.root_version),
            ("timestamp", self.timestamp_version, seen.timestamp_version),
            ("snapshot", self.snapshot_version, seen.snapshot_version),
        ];
        let (what, found, seen) = versions.into_iter().find(|(_, found, seen)| found < seen)?;
        Some(FleetError::Back { what, seen, found })
    }

    /// What is otherwise than it was; `last`: none: this is the first that was seen.
    pub fn changes_since(&self, last: Option<&Self>) -> Vec<Change> {
        let keys = |of: &Self| -> Option<BTreeSet<(String, String)>> {
            let all = of.vendors.as_ref()?.iter().flat_map(|of| of.keys.iter().map(|key| (of.vendor.clone(), key.clone())));
            Some(all.collect())
        };
        let revoked_keys = |of: &Self| -> BTreeMap<(String, String), String> {
            of.revoked_keys.iter().map(|of| ((of.vendor.clone(), of.key.clone()), reason(&of.reason))).collect()
        };
        let revoked = |of: &Self| -> BTreeMap<(String, String, u64), String> {
            of.revoked_releases.iter().map(|of| ((of.vendor.clone(), of.name.clone(), of.release), reason(&of.reason))).collect()
        };
        // what is taken back first: it is what a person looks for
        let mut changes = Vec::from_iter(
            self.forgotten.clone().filter(|_| last.is_some() && self.forgets(last)).map(|when| Change::ClockWasWrong { when }),
        );
        let (now, was) = (revoked_keys(self), last.map(revoked_keys).unwrap_or_default());
        changes.extend(otherwise(&now, &was).into_iter().map(|((vendor, key), why)| Change::KeyRevoked { vendor, key, why }));
        let (now, was) = (revoked(self), last.map(revoked).unwrap_or_default());
        let of = |((vendor, name, release), why)| Change::ReleaseRevoked { vendor, name, release, why };
        changes.extend(otherwise(&now, &was).into_iter().map(of));
        // metadata that do not say whose keys are whose say nothing of what came or went
        if let (Some(now), Some(was)) = (keys(self), last.map_or_else(|| Some(BTreeSet::new()), keys)) {
            let change = |(vendor, key): &(String, String), comes| Change::Key { vendor: vendor.clone(), key: key.clone(), comes };
            changes.extend(now.difference(&was).map(|of| change(of, true)));
            changes.extend(was.difference(&now).map(|of| change(of, false)));
        }
        changes
    }

    /// Whether what was taken for past until then counts no more.
    pub fn forgets(&self, last: Option<&Self>) -> bool {
        self.forgotten.is_some() && last.and_then(|last| last.forgotten.as_ref()) != self.forgotten.as_ref()
    }

    /// Seconds since 1970.
    pub fn expires_s(&self) -> i64 {
        when::read(&self.expires).unwrap_or_default()
    }

    /// What of a package is revoked: a key that signed it, or its release.
    pub fn revoked(&self, vendor: &str, key: &PublicKey, name: &str, release: u64) -> Option<(String, Revocation)> {
        let of = |r: &&RevokedRelease| r.vendor == vendor && r.name == name && r.release == release;
        if let Some(revoked) = self.revoked_releases.iter().find(of) {
            // first: another key's signature would not help
            return Some((format!("{vendor}'s {name} release {release}"), Revocation { reason: reason(&revoked.reason), since: None }));
        }
        let id = key.id();
        let revoked = self.revoked_keys.iter().find(|k| k.vendor == vendor && k.key == id)?;
        Some((format!("{vendor}'s key {id}"), Revocation { reason: reason(&revoked.reason), since: revoked.since.clone() }))
    }

    /// What is remembered of it: while nothing newer can be read nothing new comes in, and so its lists are of no use then.
    pub fn without_lists(&self) -> Self {
        Self { packages: None, ..self.clone() }
    }

    /// Whether its vendor's list names this file, or the statement in it; and if not, which file it names under that name.
    pub fn lists(&self, name: &str, sha256: &str, statement: &str) -> Result<(), Option<&str>> {
        let Some(packages) = &self.packages else { return Ok(()) };
        match packages.iter().find(|named| named.name == name) {
            Some(named) if named.sha256 == sha256 || named.statement.as_deref() == Some(statement) => Ok(()),
            other => Err(other.map(|named| named.sha256.as_str())),
        }
    }

    /// Whether it is a vendor's key by the metadata too: whoever can put a file into the folder of keys makes nobody a vendor.
    pub fn names(&self, vendor: &str, key: &PublicKey) -> bool {
        let id = key.id();
        let Some(vendors) = &self.vendors else { return true };
        vendors.iter().any(|of| of.vendor == vendor && of.keys.contains(&id))
    }

    /// As above; none: an older `wardgate-trust` did not say.
    pub fn names_now(&self, vendor: &str, key: &PublicKey) -> Option<bool> {
        self.vendors.as_ref().map(|_| self.names(vendor, key))
    }

    /// Keys that were a vendor's: a package by one of them is known, and revoked.
    pub fn was_of(&self, vendor: &str, key: &PublicKey) -> bool {
        let id = key.id();
        self.revoked_keys.iter().any(|k| k.vendor == vendor && k.key == id)
    }

    /// The latest of what is known: a clock behind the moment at which the metadata was proven is wrong, and that moment counts.
    fn now(&self, wall_s: Option<i64>, newest_s: i64) -> Option<i64> {
        let checked = self.floor.as_deref().or(self.checked.as_deref()).and_then(when::read);
        [wall_s, checked, Some(newest_s).filter(|s| *s > 0)].into_iter().flatten().max()
    }

    /// Where nobody knows what time it is, none has ended: the metadata is stale then, and nothing new comes in anyhow.
    fn ended(&self, now: Option<i64>) -> Vec<KeyTerm> {
        let over = |term: &&KeyTerm| now.is_some_and(|now| now >= when::read(&term.until).unwrap_or_default());
        self.key_terms.iter().filter(over).cloned().collect()
    }

    /// As above, of vendors' lists, which may end before the rest.
    fn lists_over(&self, now: Option<i64>) -> Vec<(String, String)> {
        let over = |of: &KeysOf| {
            let ends = of.list_ends.as_ref().filter(|ends| now.is_some_and(|now| now >= when::read(ends).unwrap_or_default()))?;
            Some((of.vendor.clone(), ends.clone()))
        };
        self.vendors.iter().flatten().filter_map(over).collect()
    }

    /// `wall_s`: the clock, where it was ever set.
    pub fn freshness(&self, wall_s: Option<i64>, newest_s: i64) -> Freshness {
        let expires = self.expires_s();
        let Some(now) = self.now(wall_s, newest_s) else {
            let why = "the clock was never set, and fleet.json does not say when it was proven, so nobody knows whether it has expired";
            return Freshness::Stale(why.into());
        };
        if now < expires {
            return Freshness::Fresh;
        }
        Freshness::Stale(format!("it expired on {}, and here it is {}", self.expires, when::text(now)))
    }
}

/// What is new, with its reason, and what is there no more.
fn otherwise<K: Ord + Clone>(now: &BTreeMap<K, String>, was: &BTreeMap<K, String>) -> Vec<(K, Option<String>)> {
    let new = now.iter().filter(|(of, _)| !was.contains_key(of)).map(|(of, why)| (of.clone(), Some(why.clone())));
    let gone = was.keys().filter(|of| !now.contains_key(of)).map(|of| (of.clone(), None));
    new.chain(gone).collect()
}

fn reason(text: &str) -> String {
    crate::contract::printable(if text.is_empty() { "no reason was given" } else { text }, REASON_BYTES_MAX)
}

fn is_digest_of(digest: &str, bytes: &[u8]) -> bool {
    let zeros = "0".repeat(digest.len());
    let text = String::from_utf8_lossy(bytes).replace(digest, &zeros);
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect::<String>() == digest
}

impl Seen {
    /// `last`: what was good last. `newest_s`: a time that has passed for sure; 0: none is known.
    pub fn look(folder: &Path, last: Option<&Fleet>, wall_s: Option<i64>, newest_s: i64) -> Self {
        match (Fleet::read(folder), last) {
            (Err(FleetError::Missing { .. }), None) => Self::default(),
            (Err(why), last) => Self::of(last.cloned(), Freshness::Stale(why.to_string()), wall_s, newest_s),
            (Ok(fleet), Some(last)) if let Some(why) = fleet.goes_back(last) => {
                Self::of(Some(last.clone()), Freshness::Stale(why.to_string()), wall_s, newest_s)
            }
            (Ok(fleet), _) => {
                let newest_s = if fleet.forgets(last) { 0 } else { newest_s };
                let freshness = fleet.freshness(wall_s, newest_s);
                Self::of(Some(fleet), freshness, wall_s, newest_s)
            }
        }
    }

    fn of(fleet: Option<Fleet>, freshness: Freshness, wall_s: Option<i64>, newest_s: i64) -> Self {
        let now = fleet.as_ref().and_then(|fleet| fleet.now(wall_s, newest_s));
        let ended = fleet.as_ref().map(|fleet| fleet.ended(now)).unwrap_or_default();
        let lists_over = fleet.as_ref().map(|fleet| fleet.lists_over(now)).unwrap_or_default();
        Self { fleet, freshness, ended, lists_over }
    }

    /// Vendors of whom nothing new is taken though of the others it is, and since when.
    pub fn stale_vendors(&self) -> &[(String, String)] {
        if self.why_stale().is_none() { &self.lists_over } else { &[] }
    }

    /// When the vendor's list of packages ended, where it has.
    pub fn list_over(&self, vendor: &str) -> Option<&str> {
        self.lists_over.iter().find(|(of, _)| of == vendor).map(|(_, ended)| ended.as_str())
    }

    /// When the term of a vendor's key ended, where it has.
    pub fn key_ended(&self, vendor: &str, key: &PublicKey) -> Option<&str> {
        let id = key.id();
        self.ended.iter().find(|term| term.vendor == vendor && term.key == id).map(|term| term.until.as_str())
    }

    pub fn why_stale(&self) -> Option<&str> {
        if let Freshness::Stale(why) = &self.freshness { Some(why) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::SecretKey;

    const DAY: i64 = 86_400;

    fn key(n: u8) -> PublicKey {
        SecretKey::of_seed(&[n; 32]).public()
    }

    fn fleet(version: u64) -> Fleet {
        let revoked = RevokedKey { vendor: "acme".into(), key: key(1).id(), reason: "a laptop was stolen".into(), since: None };
        let release = RevokedRelease { vendor: "acme".into(), name: "pump".into(), release: 3, reason: String::new() };
        Fleet {
            format: 1,
            root_version: version,
            timestamp_version: version,
            snapshot_version: version,
            expires: "2027-01-01T00:00:00Z".into(),
            checked: Some("2026-12-01T00:00:00Z".into()),
            floor: None,
            forgotten: None,
            revoked_keys: vec![revoked],
            revoked_releases: vec![release],
            vendors: None,
            packages: None,
            key_terms: Vec::new(),
            digest: None,
        }
    }

    fn put(folder: &Path, fleet: &Fleet) {
        fs::write(Fleet::path(folder), serde_json::to_vec(fleet).expect("plain")).expect("written");
    }

    #[test]
    fn a_key_of_a_vendor_and_a_release_are_revoked_and_nothing_else() {
        let fleet = fleet(1);
        let what =
            |vendor: &str, k: u8, name: &str, release| fleet.revoked(vendor, &key(k), name, release).map(|(what, why)| (what, why.reason));
        assert!(what("acme", 1, "other", 9).is_some_and(|(what, why)| what.contains("ed25519:") && why == "a laptop was stolen"));
        assert!(what("acme", 2, "pump", 3).is_some_and(|(what, why)| what == "acme's pump release 3" && why == "no reason was given"));
        for (vendor, k, name, release) in [("acme", 2, "pump", 4), ("acme", 2, "other", 3), ("other", 1, "pump", 3)] {
            assert_eq!(what(vendor, k, name, release), None);
        }
    }

    #[test]
    fn a_key_is_a_vendors_only_where_the_metadata_name_it_and_an_older_state_says_nothing() {
        let acme = KeysOf { vendor: "acme".into(), keys: vec![key(1).id()], list_ends: None };
        let with = Fleet { vendors: Some(vec![acme]), ..fleet(1) };
        assert!(with.names("acme", &key(1)) && fleet(1).names("acme", &key(2)));
        assert!(!with.names("acme", &key(2)) && !with.names("other", &key(1)));
        assert!(with.without_lists().names("acme", &key(1)) && !with.without_lists().names("acme", &key(2)), "also while it is stale");
    }

    #[test]
    fn a_keys_term_ends_by_the_latest_time_that_is_known_and_by_none_that_is_not() {
        let folder = crate::plugin::cache::test_folder("key-term");
        let term = KeyTerm { vendor: "acme".into(), key: key(1).id(), until: "2026-12-10T00:00:00Z".into() };
        let with = Fleet { key_terms: vec![term], ..fleet(1) };
        put(&folder, &with);
        let at = |text: &str| when::read(text);
        let ended = |wall, newest| Seen::look(&folder, None, wall, newest).key_ended("acme", &key(1)).map(str::to_owned);
        assert_eq!((ended(at("2026-12-09T23:59:59Z"), 0), ended(None, 0)), (None, None));
        let over = Some("2026-12-10T00:00:00Z".to_owned());
        assert_eq!((ended(at("2026-12-10T00:00:00Z"), 0), ended(None, at("2026-12-11T00:00:00Z").unwrap())), (over.clone(), over));
        let seen = Seen::look(&folder, None, at("2026-12-20T00:00:00Z"), 0);
        assert_eq!(
            (seen.key_ended("acme", &key(2)), seen.key_ended("other", &key(1)), seen.freshness.clone()),
            (None, None, Freshness::Fresh)
        );
        put(&folder, &Fleet { key_terms: vec![KeyTerm { until: "soon".into(), ..with.key_terms[0].clone() }], ..with.clone() });
        assert!(
            matches!(Seen::look(&folder, Some(&with), None, 0).freshness, Freshness::Stale(why) if why.contains("\"soon\" is no time"))
        );
    }

    #[test]
    fn a_package_is_listed_by_its_file_or_its_statement_and_an_older_list_says_nothing() {
        let named = Named { name: "acme/pump-1.0.0.wardgate".into(), sha256: "a".into(), statement: None };
        let listed = Fleet { packages: Some(vec![named.clone()]), ..fleet(1) };
        assert_eq!(fleet(1).lists("acme/pump-1.0.0.wardgate", "b", "s"), Ok(()));
        assert_eq!(listed.lists("acme/pump-1.0.0.wardgate", "a", "s"), Ok(()));
        assert_eq!(listed.lists("acme/pump-1.0.0.wardgate", "b", "s"), Err(Some("a")));
        assert_eq!(listed.lists("acme/pump-1.0.1.wardgate", "a", "s"), Err(None));
        assert_eq!(Fleet { packages: Some(Vec::new()), ..fleet(1) }.lists("acme/pump-1.0.0.wardgate", "a", "s"), Err(None));
        // where the desk says what was signed, one more signature makes another file and no other package
        let said = Fleet { packages: Some(vec![Named { statement: Some("s".into()), ..named }]), ..fleet(1) };
        assert_eq!((said.lists("acme/pump-1.0.0.wardgate", "b", "s"), said.lists("acme/pump-1.0.0.wardgate", "a", "t")), (Ok(()), Ok(())));
        assert_eq!(said.lists("acme/pump-1.0.0.wardgate", "b", "t"), Err(Some("a")));
        assert_eq!(said.lists("acme/pump-1.0.1.wardgate", "b", "s"), Err(None));
    }

    #[test]
    fn a_clock_of_1970_of_today_and_a_year_ahead_are_judged_by_what_is_known() {
        let at = |text: &str| when::read(text);
        let fleet = fleet(1);
        let stale = |fleet: &Fleet, wall, newest| matches!(fleet.freshness(wall, newest), Freshness::Stale(_));
        assert!(!stale(&fleet, at("2026-12-10T00:00:00Z"), 0));
        assert!(stale(&fleet, at("2027-01-01T00:00:00Z"), 0));
        assert!(stale(&fleet, at("2027-12-10T00:00:00Z"), 0), "a year ahead");
        // never set, or behind what was proven: not before the moment of the proof
        assert!(!stale(&fleet, None, 0));
        assert!(!stale(&fleet, at("2026-02-01T00:00:00Z"), 0));
        assert!(stale(&fleet, None, at("2027-01-02T00:00:00Z").unwrap()), "a clock that was right has been there");
        let unproven = Fleet { checked: None, ..fleet.clone() };
        assert!(stale(&unproven, None, 0) && !stale(&unproven, at("2026-12-10T00:00:00Z"), 0));
        let late = Fleet { checked: Some(when::text(at("2027-01-01T00:00:00Z").unwrap() + DAY)), ..fleet };
        assert!(stale(&late, None, 0));
    }

    #[test]
    fn metadata_that_is_gone_broken_open_or_older_is_stale_and_what_was_known_holds() {
        let folder = crate::plugin::cache::test_folder("fleet");
        let now = when::read("2026-12-10T00:00:00Z");
        assert_eq!(Seen::look(&folder, None, now, 0), Seen::default());
        put(&folder, &fleet(2));
        let good = Seen::look(&folder, None, now, 0);
        assert_eq!(good, Seen { fleet: Some(fleet(2)), freshness: Freshness::Fresh, ..Seen::default() });
        let last = good.fleet.as_ref();
        let stale = |words: &str| {
            let seen = Seen::look(&folder, last, now, 0);
            assert!(seen.why_stale().is_some_and(|why| why.contains(words)) && seen.fleet.as_ref() == last, "{words}: {seen:?}");
        };
        for back in
            [Fleet { root_version: 1, ..fleet(3) }, Fleet { timestamp_version: 1, ..fleet(2) }, Fleet { snapshot_version: 1, ..fleet(2) }]
        {
            put(&folder, &back);
            stale("went back from version 2 to 1");
        }
        put(&folder, &Fleet { timestamp_version: 1, snapshot_version: 1, ..fleet(3) });
        assert_eq!(Seen::look(&folder, last, now, 0).freshness, Freshness::Fresh, "a new root begins them anew");
        put(&folder, &Fleet { format: 2, ..fleet(3) });
        stale("of format 2");
        let acme = |list_ends: &str| KeysOf { vendor: "acme".into(), keys: Vec::new(), list_ends: Some(list_ends.into()) };
        for no_time in
            [Fleet { vendors: Some(vec![acme("2027-01-01")]), ..fleet(3) }, Fleet { forgotten: Some("\u{1b}[2J".into()), ..fleet(3) }]
        {
            put(&folder, &no_time);
            assert!(Fleet::read(&folder).unwrap_err().to_string().contains("is no time like"));
        }
        put(&folder, &Fleet { expires: "tomorrow".into(), ..fleet(3) });
        stale("\"tomorrow\" is no time");
        fs::write(Fleet::path(&folder), b"{").expect("written");
        stale("cannot be read");
        put(&folder, &fleet(3));
        fs::set_permissions(Fleet::path(&folder), fs::Permissions::from_mode(0o666)).expect("changed");
        stale("can be written by others");
        fs::remove_file(Fleet::path(&folder)).expect("there");
        stale("is not there");
        let mut open = fleet(3);
        open.revoked_keys[0].key = "ed25519:x".into();
        put(&folder, &open);
        stale("is no key");
    }

    /// As `wardgate-trust` writes it: a card that lost a bit says nothing that is believed.
    //= PROMISES.md#P332
    #[test]
    fn a_bit_that_was_lost_changes_nothing_that_is_known() {
        let mut whole = serde_json::to_value(fleet(2)).unwrap();
        whole["digest"] = "0".repeat(64).into();
        let text = serde_json::to_string_pretty(&whole).unwrap() + "\n";
        let digest: String = Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let good = text.replace(&"0".repeat(64), &digest).into_bytes();
        let read = |bytes: &[u8]| Fleet::parse(PathBuf::new(), bytes);
        assert_eq!(read(&good), Ok(fleet(2)));
        let mut told = 0;
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                match read(&bad) {
                    Ok(read) => assert_eq!(read, fleet(2), "byte {at} bit {bit}"),
                    Err(_) => told += 1,
                }
            }
        }
        // a letter of the digest's own name makes it a file of an older program, in which nothing else is otherwise
        assert!(good.len() * 8 - told <= "digest".len() * 8, "{told} of {}", good.len() * 8);
        let bad = String::from_utf8(good).unwrap().replace("\"timestamp_version\": 2", "\"timestamp_version\": 3");
        assert!(read(bad.as_bytes()).unwrap_err().to_string().contains("not as an update wrote it"));
    }

    //= PROMISES.md#P315
    #[test]
    fn a_time_that_a_wrong_clock_said_counts_no_more_when_a_person_says_so() {
        let folder = crate::plugin::cache::test_folder("fleet-forgets");
        let (ahead, now) = (when::read("2027-06-01T00:00:00Z").unwrap(), when::read("2026-12-02T00:00:00Z"));
        let said = Fleet { forgotten: Some("2026-12-02T00:00:00.5Z".into()), ..fleet(1) };
        put(&folder, &fleet(1));
        assert!(Seen::look(&folder, Some(&fleet(1)), now, ahead).why_stale().is_some());
        put(&folder, &said);
        let seen = Seen::look(&folder, Some(&fleet(1)), now, ahead);
        assert_eq!((seen.why_stale(), said.changes_since(Some(&fleet(1))).len()), (None, 1));
        // it was said once, before that time came to be known
        assert!(Seen::look(&folder, Some(&said), now, ahead).why_stale().is_some());
        assert_eq!(said.changes_since(Some(&said)), []);
    }

    #[test]
    fn what_newer_metadata_say_otherwise_is_named() {
        let named = |vendor: &str, keys: &[u8]| KeysOf {
            vendor: vendor.into(),
            keys: keys.iter().map(|n| key(*n).id()).collect(),
            list_ends: None,
        };
        let of = |vendors: Option<Vec<KeysOf>>| Fleet { vendors, ..fleet(1) };
        let comes = |vendor: &str, n: u8, comes| Change::Key { vendor: vendor.into(), key: key(n).id(), comes };
        let (none, first) = (of(None), of(Some(vec![named("acme", &[2, 3])])));
        assert_eq!(first.changes_since(Some(&first)), []);
        assert_eq!(first.changes_since(Some(&none)), [], "older metadata did not say whose keys are whose");
        assert_eq!(none.changes_since(Some(&first)), []);
        let next = of(Some(vec![named("acme", &[3]), named("other", &[4])]));
        assert_eq!(next.changes_since(Some(&first)), [comes("other", 4, true), comes("acme", 2, false)]);
        let calm = Fleet { revoked_keys: Vec::new(), revoked_releases: Vec::new(), ..first.clone() };
        let changes = |why: fn(&str) -> Option<String>| {
            let release =
                Change::ReleaseRevoked { vendor: "acme".into(), name: "pump".into(), release: 3, why: why("no reason was given") };
            [Change::KeyRevoked { vendor: "acme".into(), key: key(1).id(), why: why("a laptop was stolen") }, release]
        };
        assert_eq!(first.changes_since(Some(&calm)), changes(|why| Some(why.into())));
        assert_eq!(calm.changes_since(Some(&first)), changes(|_| None));
        assert_eq!(first.changes_since(None).len(), 4, "all that the first says");
    }
}
