//! The fleet's desk: a folder with the keys, and beside it the repository that travels. Loaded whole, changed in memory, written with the timestamp last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use jiff::Timestamp as Moment;
use serde::{Deserialize, Serialize};
use tough::TargetName;
use tough::schema::{DelegatedRole, Delegations, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp};

use crate::bundle::Bundle;
use crate::fault::Fault;
use crate::files;
use crate::keys::{KeyId, Public, Secret};
use crate::package;
use crate::revocations::Revocations;
use crate::role::{self, REVOCATIONS, Ring, SPEC, Signers};

pub const SETTINGS: &str = "desk.json";
pub const KEYS: &str = "keys";
pub const REPOSITORY: &str = "repository";
pub const METADATA: &str = "metadata";
pub const TARGETS: &str = "targets";
/// In a target of a package: which release it is.
pub const RELEASE: &str = "release";
/// And what it is, whoever signed it: SHA-256 of its statement.
pub const STATEMENT: &str = "statement";

const VERSIONS_KEPT: u64 = 10; // an update takes minutes, and a desk is not written ten times in one

/// For how many days each role speaks before it must be signed anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Days {
    pub root: u32,
    pub targets: u32,
    pub snapshot: u32,
    pub timestamp: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    format: u32,
    days: Days,
}

pub struct Desk {
    folder: PathBuf,
    pub days: Days,
    pub ring: Ring,
    pub root: Signed<Root>,
    pub targets: Targets,
    /// By vendor.
    pub vendors: BTreeMap<String, Targets>,
    pub revocations: Revocations,
    /// Keys that signed for targets under any root: never a vendor's.
    desks: BTreeSet<KeyId>,
    snapshot_version: u64,
    timestamp_version: u64,
    /// Targets that this run adds: name and bytes.
    pub new: Vec<(String, Vec<u8>)>,
    /// Roots that this run adds, oldest first.
    pub roots: Vec<Signed<Root>>,
}

impl Desk {
    pub fn begin(folder: &Path, days: Days, ring: Ring, root: Signed<Root>) -> Result<Self, Fault> {
        let targets = Targets::new(SPEC.into(), role::first(), root.signed.expires);
        files::write_new(&folder.join(SETTINGS), &files::pretty(&Settings { format: 1, days }), files::PUBLIC_MODE)?;
        Ok(Self {
            folder: folder.to_owned(),
            days,
            ring,
            roots: vec![root.clone()],
            desks: BTreeSet::new(),
            root,
            targets,
            vendors: BTreeMap::new(),
            revocations: Revocations::default(),
            snapshot_version: 0,
            timestamp_version: 0,
            new: Vec::new(),
        })
    }

    /// `keys`: further folders with keys, of media that are not always here, or keys in tokens.
    pub fn load(folder: &Path, keys: &[PathBuf]) -> Result<Self, Fault> {
        if !folder.join(SETTINGS).is_file() {
            return Err(Fault::NoFleet { path: folder.to_owned() });
        }
        let settings: Settings = files::document(&folder.join(SETTINGS))?;
        let metadata = folder.join(REPOSITORY).join(METADATA);
        let (root, desks) = roots(&metadata)?;
        let timestamp: Signed<Timestamp> = files::document(&metadata.join("timestamp.json"))?;
        let snapshot_version = timestamp.signed.meta.values().map(|meta| meta.version.get()).max().unwrap_or_default();
        let snapshot: Signed<Snapshot> = files::document(&metadata.join(format!("{snapshot_version}.snapshot.json")))?;
        let held = |name: &str| -> Result<Targets, Fault> {
            let meta = snapshot.signed.meta.get(&format!("{name}.json"));
            let meta = meta.ok_or_else(|| Fault::broken(&metadata, format!("the snapshot lacks {name}")))?;
            Ok(files::document::<Signed<Targets>>(&metadata.join(format!("{}.{name}.json", meta.version)))?.signed)
        };
        let targets = held("targets")?;
        let mut vendors = BTreeMap::new();
        for role in targets.delegations.iter().flat_map(|d| &d.roles) {
            vendors.insert(role.name.clone(), held(&role.name)?);
        }
        let mut ring = ring(&folder.join(KEYS))?;
        for place in keys {
            match place.to_str().filter(|text| text.starts_with(crate::token::SCHEME)) {
                Some(uri) => {
                    let secret = Secret::of_token(uri)?;
                    ring.insert(secret.id(), secret);
                }
                None => ring.extend(self::ring(place)?),
            }
        }
        let mut desk = Self {
            folder: folder.to_owned(),
            days: settings.days,
            ring,
            root,
            targets,
            vendors,
            revocations: Revocations::default(),
            desks,
            snapshot_version,
            timestamp_version: timestamp.signed.version.get(),
            new: Vec::new(),
            roots: Vec::new(),
        };
        let path = desk.held(REVOCATIONS).ok_or_else(|| Fault::broken(&metadata, "it lacks the list of what was revoked"))?;
        desk.revocations = Revocations::parse(&files::read(&path, files::DOCUMENT_BYTES_MAX)?).map_err(|why| Fault::broken(&path, why))?;
        Ok(desk)
    }

    /// Where the repository keeps a target of the top-level role.
    fn held(&self, name: &str) -> Option<PathBuf> {
        let target = self.targets.targets.get(&TargetName::new(name).ok()?)?;
        Some(self.repository().join(TARGETS).join(role::place(name, &target.hashes.sha256)))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn keep_days(&self) -> Result<(), Fault> {
        files::write(&self.folder.join(SETTINGS), &files::pretty(&Settings { format: 1, days: self.days }), files::PUBLIC_MODE)
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.join(REPOSITORY)
    }

    pub fn delegations(&mut self) -> &mut Delegations {
        self.targets.delegations.get_or_insert_with(Delegations::new)
    }

    pub fn delegation(&mut self, vendor: &str) -> Result<&mut DelegatedRole, Fault> {
        let known = self.vendors.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let found = self.delegations().roles.iter_mut().find(|role| role.name == vendor);
        found.ok_or_else(|| Fault::NoVendor { vendor: vendor.into(), known: if known.is_empty() { "none".into() } else { known } })
    }

    /// Of what was published under this name; an older desk did not write it down, and then the file says.
    pub fn statement_of(&self, name: &TargetName, target: &Target) -> Option<String> {
        statement(target).map(str::to_owned).or_else(|| Some(self.claim_of(name, target)?.statement))
    }

    /// The keys that signed the file that is published.
    pub fn signers_of(&self, name: &TargetName, target: &Target) -> Option<Vec<String>> {
        Some(self.claim_of(name, target)?.signers)
    }

    fn claim_of(&self, name: &TargetName, target: &Target) -> Option<package::Claim> {
        let path = self.repository().join(TARGETS).join(role::place(name.raw(), &target.hashes.sha256));
        let bytes = files::read(&path, package::FILE_BYTES_MAX).ok()?;
        package::Package::read(&bytes).and_then(|package| package.claim()).ok()
    }

    /// What is published of one release of a package: its names and targets.
    pub fn of_release<'a>(&'a self, vendor: &str, name: &str, release: u64) -> impl Iterator<Item = (&'a TargetName, &'a Target)> {
        let (of_vendor, name) = (vendor.to_owned(), name.to_owned());
        let of = move |path: &TargetName, target: &Target| {
            name_of(path.raw(), &of_vendor) == Some(name.as_str())
                && target.custom.get(RELEASE).and_then(serde_json::Value::as_u64) == Some(release)
        };
        self.vendors.get(vendor).into_iter().flat_map(|list| &list.targets).filter(move |(path, target)| of(path, target))
    }

    /// Packages of a vendor that this desk knows of: published, or a release of theirs revoked.
    pub fn packages(&self, vendor: &str) -> BTreeSet<String> {
        let listed =
            self.vendors.get(vendor).into_iter().flat_map(|list| list.targets.keys()).filter_map(|path| name_of(path.raw(), vendor));
        let revoked = self.revocations.releases.iter().filter(|release| release.vendor == vendor).map(|release| release.name.clone());
        listed.map(str::to_owned).chain(revoked).collect()
    }

    /// Releases of one package that this desk knows of: published, or revoked.
    pub fn releases(&self, vendor: &str, name: &str) -> BTreeSet<u64> {
        let listed = self.vendors.get(vendor).into_iter().flat_map(|list| &list.targets);
        let listed = listed.filter(|(path, _)| name_of(path.raw(), vendor) == Some(name));
        let listed = listed.filter_map(|(_, target)| target.custom.get(RELEASE)?.as_u64());
        let revoked = self.revocations.releases.iter().filter(|r| r.vendor == vendor && r.name == name).map(|r| r.release);
        listed.chain(revoked).collect()
    }

    /// The vendor's own keys: the desk's, which sign in the vendor's absence, are not among them.
    pub fn vendor_keys(&mut self, vendor: &str) -> Result<Vec<Public>, Fault> {
        let keyids = self.delegation(vendor)?.keyids.clone();
        let desks = self.desks.clone();
        let keys = &self.delegations().keys;
        Ok(keyids.iter().filter(|id| !desks.contains(id)).filter_map(|id| keys.get(id)).filter_map(Public::of_tuf).collect())
    }

    /// In each vendor's delegation the desk's present keys stand behind the vendor's own, and nothing else does.
    fn stand_in(&mut self) {
        let present = self.root.signed.roles[&RoleType::Targets].keyids.clone();
        self.desks.extend(present.iter().cloned());
        let (root, desks) = (self.root.signed.keys.clone(), self.desks.clone());
        let delegations = self.delegations();
        for role in &mut delegations.roles {
            role.keyids.retain(|id| !desks.contains(id));
            role.keyids.extend(present.iter().cloned());
        }
        let Delegations { keys, roles } = delegations;
        keys.extend(present.iter().filter_map(|id| root.get_key_value(id)).map(|(id, key)| (id.clone(), key.clone())));
        keys.retain(|id, _| roles.iter().any(|role| role.keyids.contains(id)));
    }

    pub fn target(&mut self, name: &str, bytes: Vec<u8>, custom: HashMap<String, serde_json::Value>) -> Target {
        let target = Target { length: bytes.len() as u64, hashes: role::hashes(&bytes), custom, _extra: HashMap::new() };
        self.new.push((name.into(), bytes));
        target
    }

    /// Signs what there is anew, each role one version on, and writes it so that a reader at any moment finds a whole state.
    pub fn publish(&mut self, now: Moment) -> Result<(), Fault> {
        self.stand_in();
        let revocations = files::pretty(&self.revocations);
        let target = self.target(REVOCATIONS, revocations, HashMap::new());
        self.targets.targets.insert(TargetName::new(REVOCATIONS).expect("a plain name"), target);
        let metadata = self.repository().join(METADATA);
        let again = self.timestamp_version > 0;
        let mut written: Vec<(String, Vec<u8>)> =
            self.roots.iter().map(|r| (format!("{}.root.json", r.signed.version), role::file(r).0)).collect();

        let mut snapshot = Snapshot::new(SPEC.into(), version(self.snapshot_version + 1), role::in_days(now, self.days.snapshot));
        self.targets.expires = role::in_days(now, self.days.targets);
        let top = &self.root.signed.roles;
        let mut sign = |name: &str, mut targets: Targets, by: Signers| -> Result<Targets, Fault> {
            if again {
                targets.version = role::next(targets.version);
            }
            let signed = role::sign(targets, &[by], &self.ring)?;
            let (bytes, meta) = role::file(&signed);
            written.push((format!("{}.{name}.json", meta.version), bytes));
            snapshot.meta.insert(format!("{name}.json"), meta);
            Ok(signed.signed)
        };
        for role in self.targets.delegations.iter().flat_map(|d| &d.roles) {
            let mut vendor = self.vendors[&role.name].clone();
            vendor.expires = role::in_days(now, self.days.targets);
            let by = Signers { name: &role.name, keyids: &role.keyids, threshold: role.threshold };
            self.vendors.insert(role.name.clone(), sign(&role.name, vendor, by)?);
        }
        self.targets = sign("targets", self.targets.clone(), Signers::of("targets", &top[&RoleType::Targets]))?;

        let signed = role::sign(snapshot, &[Signers::of("snapshot", &top[&RoleType::Snapshot])], &self.ring)?;
        let (bytes, meta) = role::file(&signed);
        written.push((format!("{}.snapshot.json", meta.version), bytes));
        let mut timestamp = Timestamp::new(SPEC.into(), version(self.timestamp_version + 1), role::in_days(now, self.days.timestamp));
        timestamp.meta.insert("snapshot.json".into(), meta);
        timestamp._extra.insert(role::ISSUED.into(), role::in_days(now, 0).to_string().into());
        let signed = role::sign(timestamp, &[Signers::of("timestamp", &top[&RoleType::Timestamp])], &self.ring)?;
        written.extend(self.roots.iter().map(|root| (format!("{}.root.json", root.signed.version), role::file(root).0)));
        written.push(("timestamp.json".into(), role::file(&signed).0));

        for (name, bytes) in std::mem::take(&mut self.new) {
            let path = self.repository().join(TARGETS).join(role::place(&name, &role::digest(&bytes)));
            files::folder(path.parent().expect("below targets"), 0o755)?;
            files::write(&path, &bytes, files::PUBLIC_MODE)?;
        }
        files::folder(&metadata, 0o755)?;
        for (name, bytes) in &written {
            files::write(&metadata.join(name), bytes, files::PUBLIC_MODE)?;
        }
        self.roots.clear();
        self.snapshot_version += 1;
        self.timestamp_version += 1;
        prune(&metadata)?;
        Bundle::of(&self.repository())?.write(&self.repository())
    }
}

/// acme/pump-pro-1.0.0.wardgate: pump-pro. The version begins behind the first hyphen that a part with a dot follows, and no name has a dot.
pub fn name_of<'a>(target: &'a str, vendor: &str) -> Option<&'a str> {
    let file = target.strip_prefix(vendor)?.strip_prefix('/')?;
    let is_version = |rest: &str| rest.split(['-', '+']).next().is_some_and(|core| core.contains('.'));
    file.match_indices('-').find(|(at, _)| is_version(&file[at + 1..])).map(|(at, _)| &file[..at])
}

/// As the desk wrote it beside a target.
pub fn statement(target: &Target) -> Option<&str> {
    target.custom.get(STATEMENT)?.as_str()
}

fn version(n: u64) -> std::num::NonZeroU64 {
    n.try_into().unwrap_or(role::first())
}

/// The newest root, and the keys that signed for targets under any.
fn roots(metadata: &Path) -> Result<(Signed<Root>, BTreeSet<KeyId>), Fault> {
    let mut numbers: Vec<u64> = files::names(metadata)?.iter().filter_map(|name| name.strip_suffix(".root.json")?.parse().ok()).collect();
    numbers.sort_unstable();
    let (mut newest, mut desks) = (None, BTreeSet::new());
    for n in numbers {
        let root: Signed<Root> = files::document(&metadata.join(format!("{n}.root.json")))?;
        desks.extend(root.signed.roles.get(&RoleType::Targets).into_iter().flat_map(|role| role.keyids.clone()));
        newest = Some(root);
    }
    newest.map(|root| (root, desks)).ok_or_else(|| Fault::broken(metadata, "it holds no root"))
}

/// Of each list the newest versions stay, for readers that began before this one was written; of roots all do.
fn prune(metadata: &Path) -> Result<(), Fault> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let versions: Vec<_> = (files::names(metadata)?.into_iter())
        .filter_map(|name| name.split_once('.').and_then(|(n, role)| Some((n.parse::<u64>().ok()?, role.to_owned()))))
        .filter(|(_, role)| role != "root.json")
        .collect();
    for (n, role) in &versions {
        let held = newest.entry(role.clone()).or_default();
        *held = (*held).max(*n);
    }
    for (n, role) in versions.iter().filter(|(n, role)| n + VERSIONS_KEPT <= newest[role]) {
        files::remove(&metadata.join(format!("{n}.{role}")))?;
    }
    Ok(())
}

/// All secret keys of a folder.
pub fn ring(folder: &Path) -> Result<Ring, Fault> {
    let mut ring = Ring::new();
    for name in files::names(folder)?.iter().filter(|name| name.ends_with(".key")) {
        let secret = Secret::read(&folder.join(name))?;
        ring.insert(secret.id(), secret);
    }
    Ok(ring)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packages_name_is_what_stands_before_its_version() {
        for (target, name) in [
            ("acme/pump-1.0.0.wardgate", Some("pump")),
            ("acme/pump-pro-1.0.0-rc.1.wardgate", Some("pump-pro")),
            ("acme/t-1-1.0.0+b-2.3.wardgate", Some("t-1")),
            ("other/pump-1.0.0.wardgate", None),
            ("acmes/pump-1.0.0.wardgate", None),
            ("revocations.json", None),
        ] {
            assert_eq!(name_of(target, "acme"), name, "{target}");
        }
    }
}
