//! The gateway's side: metadata is loaded through tough, held against what was seen here before, and judged; what is true then is written down.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use tough::error::Error as Tough;
use tough::schema::{DelegatedRole, Delegations, PathSet, RoleType, Target};
use tough::{ExpirationEnforcement, Repository, RepositoryLoader, TargetName, TransportError, TransportErrorKind};

use crate::fault::{Fault, Refusal};
use crate::keys::Public;
use crate::revocations::Revocations;
use crate::role::{self, REVOCATIONS};
use crate::source::{self, BASE, Carrier, Source};
use crate::state::{Fleet, Named, Vendor};

const NAME_BYTES_MAX: usize = 40; // as the gateway's names

/// Metadata whose signatures, versions, sizes and digests are right. Whether it is fresh is another question.
pub struct Loaded {
    repository: Repository,
    pub revocations: Revocations,
    /// All that was read, by path in the repository.
    pub seen: BTreeMap<String, Vec<u8>>,
}

/// `root`: one that is trusted. `datastore`: where tough keeps what it saw, so that nothing older is taken later.
pub async fn load(root: &[u8], source: Source, datastore: Option<&Path>) -> Result<Loaded, Fault> {
    let carrier = Carrier::new(source.clone());
    let seen = carrier.seen.clone();
    let address = |path: &str| format!("{BASE}{path}/").parse().expect("a constant");
    // ends of validity are judged by us: tough would ask this machine's clock, which may never have been set, and remember a wrong one
    let mut loader = RepositoryLoader::new(&root, address("metadata"), address("targets"))
        .transport(carrier)
        .expiration_enforcement(ExpirationEnforcement::Unsafe);
    if let Some(datastore) = datastore {
        crate::files::remove(&datastore.join("latest_known_time.json"))?;
        loader = loader.datastore(datastore);
    }
    let repository = loader.load().await.map_err(|e| refused(e, &source))?;
    for vendor in delegations(&repository) {
        own(vendor)?;
    }
    let name = TargetName::new(REVOCATIONS).expect("a plain name");
    if !repository.targets().signed.targets.contains_key(&name) {
        return Err(Refusal::Incomplete { name: REVOCATIONS.into() }.into());
    }
    let list = fetch(&repository, &name, &source).await?;
    let revocations = Revocations::parse(&list).map_err(|why| Refusal::Unreadable { what: REVOCATIONS.into(), why })?;
    let seen = std::mem::take(&mut *seen.lock().expect("nobody panics while holding it"));
    Ok(Loaded { repository, revocations, seen })
}

fn delegations(repository: &Repository) -> impl Iterator<Item = &DelegatedRole> {
    repository.targets().signed.delegations.iter().flat_map(|d| &d.roles)
}

/// A vendor has its own name, its own paths below it, and a list of what it has.
fn own(role: &DelegatedRole) -> Result<(), Refusal> {
    let name = &role.name;
    if !is_name(name) {
        return Err(Refusal::Path { why: format!("{name:?} is no vendor's name") });
    }
    if role.targets.is_none() {
        return Err(Refusal::Incomplete { name: format!("the list of vendor {name}") });
    }
    if let Some(path) = paths(role).into_iter().find(|path| !path.starts_with(&format!("{name}/"))) {
        return Err(Refusal::Path { why: format!("{path} is not below {name}/") });
    }
    // tough lets a vendor list what is another's, as long as that other lists it too
    let alone = Delegations { roles: vec![role.clone()], ..Delegations::new() };
    let listed = role.targets.iter().flat_map(|list| list.signed.targets.keys());
    let ours = |target: &&TargetName| target.raw() == target.resolved() && alone.target_is_delegated(target);
    match listed.into_iter().find(|target| !ours(target)) {
        Some(target) => Err(Refusal::Path { why: format!("{name} lists {}", target.raw()) }),
        None => Ok(()),
    }
}

/// As the gateway has it: small letters, digits and hyphens.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && name.chars().all(fits)
        && !["targets", "root", "snapshot", "timestamp"].contains(&name)
}

fn paths(role: &DelegatedRole) -> Vec<String> {
    match &role.paths {
        PathSet::Paths(paths) => paths.iter().map(|path| path.value().to_owned()).collect(),
        PathSet::PathHashPrefixes(prefixes) => prefixes.iter().map(|prefix| format!("digest {}", prefix.value())).collect(),
    }
}

async fn fetch(repository: &Repository, name: &TargetName, source: &Source) -> Result<Vec<u8>, Fault> {
    let stream = repository.read_target(name).await.map_err(|e| refused(e, source))?;
    let stream = stream.ok_or_else(|| Refusal::Incomplete { name: name.raw().into() })?;
    let chunks: Vec<_> = stream.try_collect().await.map_err(|e| refused(e, source))?;
    Ok(chunks.concat())
}

impl Loaded {
    pub fn versions(&self) -> (u64, u64, u64) {
        let r = &self.repository;
        (r.root().signed.version.get(), r.timestamp().signed.version.get(), r.snapshot().signed.version.get())
    }

    pub fn expires(&self) -> Timestamp {
        let r = &self.repository;
        let ends = [r.root().signed.expires, r.timestamp().signed.expires, r.snapshot().signed.expires, r.targets().signed.expires];
        ends.into_iter().min().expect("four of them")
    }

    pub fn issued(&self) -> Option<Timestamp> {
        self.repository.timestamp().signed._extra.get(role::ISSUED)?.as_str()?.parse().ok()
    }

    /// Vendors with the keys that packages may be signed by: not the desk's own, and none that was revoked.
    pub fn vendors(&self) -> Vec<Vendor> {
        let desk = self.repository.root().signed.roles.get(&RoleType::Targets).map(|keys| keys.keyids.clone()).unwrap_or_default();
        let keys = self.repository.targets().signed.delegations.as_ref().map(|d| d.keys.clone()).unwrap_or_default();
        let vendor = |role: &DelegatedRole| Vendor {
            vendor: role.name.clone(),
            keys: (role.keyids.iter().filter(|id| !desk.contains(id)).filter_map(|id| keys.get(id)).filter_map(Public::of_tuf))
                .map(|key| key.id())
                .filter(|key| !self.revocations.revoked(&role.name, key))
                .collect(),
            paths: paths(role),
            list_ends: role.targets.as_ref().map(|list| list.signed.expires.to_string()),
        };
        delegations(&self.repository).map(vendor).collect()
    }

    /// A package of this vendor, as the vendor's own list has it, and when that list ends. No other role may speak for it.
    pub fn target(&self, vendor: &str, name: &str) -> Option<(&Target, Timestamp)> {
        let targets = self.repository.delegated_role(vendor)?.targets.as_ref()?;
        Some((targets.signed.targets.get(&TargetName::new(name).ok()?)?, targets.signed.expires))
    }

    /// All packages, sorted.
    pub fn packages(&self) -> Vec<String> {
        let lists = delegations(&self.repository).filter_map(|role| role.targets.as_ref());
        let mut names: Vec<_> = lists.flat_map(|list| list.signed.targets.keys()).map(|name| name.raw().to_owned()).collect();
        names.sort();
        names
    }

    /// The same, with what each of them is.
    pub fn named(&self) -> Vec<Named> {
        let lists = delegations(&self.repository).filter_map(|role| Some((&role.name, role.targets.as_ref()?)));
        // only what is below the vendor's own name: no other role may speak for it
        let own = lists.flat_map(|(vendor, list)| {
            list.signed.targets.iter().filter(move |(name, _)| name.raw().split_once('/').is_some_and(|(whose, _)| whose == vendor))
        });
        let mut named: Vec<_> = own
            .map(|(name, target)| Named {
                name: name.raw().to_owned(),
                sha256: crate::role::hex(&target.hashes.sha256),
                statement: crate::desk::statement(target).map(str::to_owned),
            })
            .collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        named
    }

    /// tough's own store can be torn by a power cut; what the gateway was told cannot. A new root may begin the other counts anew: that is
    /// how a fleet recovers when somebody had signed far too high a number.
    pub fn not_older(&self, before: &Fleet) -> Result<(), Refusal> {
        let (root, timestamp, snapshot) = self.versions();
        let same = root == before.root_version;
        let counts = [
            ("root", root, before.root_version),
            ("timestamp", timestamp, if same { before.timestamp_version } else { 0 }),
            ("snapshot", snapshot, if same { before.snapshot_version } else { 0 }),
        ];
        match counts.into_iter().find(|(_, new, old)| new < old) {
            Some((what, new, old)) => Err(Refusal::Rollback { what: what.into(), why: format!("version {new}, {old} was seen") }),
            None => Ok(()),
        }
    }
}

/// What tough says, by the attack that it would be.
fn refused(error: Tough, source: &Source) -> Fault {
    let why = error.to_string();
    match error {
        Tough::Transport { source: why, .. } => lost(&why, source),
        Tough::VerifyMetadata { role, .. } => Refusal::Unsigned { role: role.to_string(), why }.into(),
        Tough::VerifyTrustedMetadata { .. } => Refusal::Unsigned { role: "the trusted root".into(), why }.into(),
        Tough::OlderMetadata { role, current_version, new_version, .. } => {
            Refusal::Rollback { what: role.to_string(), why: format!("version {new_version}, {current_version} was seen") }.into()
        }
        Tough::OlderSnapshotInTimestamp { .. } => Refusal::Rollback { what: "snapshot".into(), why }.into(),
        Tough::SnapshotRoleRollback { .. } | Tough::SnapshotRoleMissing { .. } => {
            Refusal::Rollback { what: "a list of targets".into(), why }.into()
        }
        Tough::VersionMismatch { .. } | Tough::MetaMissing { .. } => Refusal::Mixed { why }.into(),
        Tough::ParseMetadata { role, .. } => Refusal::Unreadable { what: role.to_string(), why }.into(),
        Tough::ParseTrustedMetadata { .. } => Refusal::Unreadable { what: "the trusted root".into(), why }.into(),
        Tough::MaxUpdatesExceeded { .. } => Refusal::Endless { name: "the chain of roots".into(), why }.into(),
        Tough::InvalidPath { .. } => Refusal::Path { why }.into(),
        _ => Refusal::Other(why).into(),
    }
}

pub fn lost(error: &TransportError, source: &Source) -> Fault {
    let name = error.url().strip_prefix(BASE).unwrap_or(error.url()).to_owned();
    if error.kind() == TransportErrorKind::FileNotFound {
        return Refusal::Incomplete { name }.into();
    }
    let why = error.source().map(source::in_words).unwrap_or_default();
    match error.source().and_then(|e| e.downcast_ref()) {
        Some(Tough::MaxSizeExceeded { .. }) => Refusal::Endless { name, why }.into(),
        Some(Tough::HashMismatch { .. }) => Refusal::Digest { name, why: "another one".into() }.into(),
        _ if why.contains(source::TOO_LONG) => Refusal::Endless { name, why }.into(),
        _ if why.contains("certificate") => Fault::Certificate { from: source.name(), why },
        _ => Fault::Link { from: source.name(), why },
    }
}
