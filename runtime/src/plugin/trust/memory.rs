//! What this gateway remembers of what it trusted: the highest release of each package, what was approved for each instance, the fleet's
//! metadata that was good last. One file in the state folder, under the device's key, so that nobody takes a line out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::Mac;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::fleet::Fleet;
use super::reach::Reach;
use crate::config::plain_file;
use crate::plugin::DeviceKey;
use crate::shared_file::{replace_file, shared_file};

const FILE: &str = "trust.memory";
const LOCK: &str = "trust.lock";
const DAMAGED: &str = "damaged";
const PURPOSE: &str = "wardgate trust memory";
const BYTES_MAX: u64 = 4 << 20; // a fleet's metadata, and for each instance at most 8 kB of what its package asks for
const MODE: u32 = 0o600;
/// Releases of one package that are remembered one by one; of older ones only that they are older.
const RELEASES_MAX: usize = 32;
/// Instances that are configured no more, of which approvals are kept; and how much of the file these take.
const GONE_MAX: usize = 256; // some twenty are configured at a time
const GONE_BYTES_MAX: usize = 1 << 20;
/// Packages of which an instance's approval is kept whole, besides the one that counts now.
const EARLIER_WHOLE_MAX: usize = 8; // a device that is swapped for another make and back; each has up to 8 kB
/// Of those before them it is known that they ran, and not how far they reached: whatever they ask for is asked for again.
const EARLIER_MAX: usize = 64;
/// Releases of one package that a person approved for one instance, and that did not run since.
pub const AHEAD_MAX: usize = 8; // and then one of them is to run first: no approval goes without a word

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// By vendor/name.
    #[serde(default)]
    releases: BTreeMap<String, BTreeSet<u64>>,
    /// By vendor/name and release: which package that was. An older gateway wrote none: the first that comes fills it in.
    #[serde(default)]
    digests: BTreeMap<String, BTreeMap<u64, String>>,
    /// By instance.
    #[serde(default)]
    approvals: BTreeMap<String, Approval>,
    /// By instance: of other packages that ran in its place before, or were approved for it, the newest last. Whoever names one of them again finds
    /// its approval as it was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    earlier: BTreeMap<String, Vec<Approval>>,
    /// Instances that are configured no more and of which something above is kept, so that taking one out and in again approves nothing; the one
    /// that went last stands last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// By instance: what it ran last, which may be another release than the one that was approved for it.
    #[serde(default)]
    pub ran: BTreeMap<String, Ran>,
    /// The metadata that was good last.
    #[serde(default)]
    pub fleet: Option<Fleet>,
    /// A moment that has passed for sure, by a clock that others kept; seconds since 1970.
    #[serde(default)]
    pub newest_s: i64,
    /// The site's key by which gateway.toml was signed last.
    #[serde(default)]
    pub site_key: Option<String>,
    /// Of the gateway that ran last.
    #[serde(default)]
    pub version: String,
    /// Its name then.
    #[serde(default)]
    pub gateway: String,
    /// How often this was written: an older one in its place is known by that, because the audit log notes it.
    #[serde(default)]
    pub count: u64,
    /// The newest record of the audit log when this was written: number and hash. An older log in its place ends before it.
    #[serde(default)]
    pub audit: Option<(u64, String)>,
}

/// A release of a package, of whichever vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// vendor/name
    pub package: String,
    pub release: u64,
    /// Of what its vendor signed; none: an older gateway wrote this down, or nobody signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The file that it ran from, as gateway.toml named it: what lies there is not exchanged behind the site's back. None: an older gateway wrote this
    /// down, or it is known from the audit log only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// What one instance may reach by one package: what ran asked for, and what a person approved ahead of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// vendor/name
    pub package: String,
    pub release: u64,
    pub reach: Reach,
    /// Of the grants with which it ran; empty: it did not run yet.
    pub grants_hash: String,
    /// Releases that a person looked at, and that did not run since; the one of the newest look stands last.
    #[serde(default, rename = "looked_at", skip_serializing_if = "Vec::is_empty")]
    pub ahead: Vec<Ahead>,
}

/// Of this release and no other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    pub release: u64,
    /// Of what its vendor signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    pub reach: Reach,
}

impl Ahead {
    pub fn is_of(&self, release: u64, digest: Option<&str>) -> bool {
        self.release == release && self.digest.as_deref() == digest
    }
}

impl Approval {
    pub fn has_run(&self) -> bool {
        !self.grants_hash.is_empty()
    }

    /// What another release is held against: what ran; or, where nothing did, what a person approved for it.
    pub fn held_against(&self) -> (u64, &Reach) {
        match self.ahead.last() {
            Some(ahead) if !self.has_run() => (ahead.release, &ahead.reach),
            _ => (self.release, &self.reach),
        }
    }

    /// Whether a person approved of that very package that it reaches so far.
    pub fn is_ahead(&self, release: u64, digest: Option<&str>, reach: &Reach) -> bool {
        self.ahead.iter().any(|ahead| ahead.is_of(release, digest) && reach.beyond(&ahead.reach).is_empty())
    }

    /// One more release may be approved ahead, or this one once more; or one that is older than the newest that was seen gives way.
    pub fn has_room(&self, release: u64, digest: Option<&str>, newest: u64) -> bool {
        self.ahead.len() < AHEAD_MAX || self.ahead.iter().any(|ahead| ahead.is_of(release, digest) || ahead.release < newest)
    }

    fn look_ahead(&mut self, ahead: Ahead) {
        self.ahead.retain(|before| !before.is_of(ahead.release, ahead.digest.as_deref()));
        if self.ahead.len() >= AHEAD_MAX
            && let Some((oldest, _)) = self.ahead.iter().enumerate().min_by_key(|(_, ahead)| ahead.release)
        {
            self.ahead.remove(oldest);
        }
        self.ahead.push(ahead);
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: std::io::Error },
    #[error("{} is not as this gateway wrote it", path.display())]
    Damaged { path: PathBuf },
}

impl MemoryError {
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path, .. } | Self::Damaged { path } => path,
        }
    }
}

fn package(vendor: &str, name: &str) -> String {
    format!("{vendor}/{name}")
}

impl Remembered {
    pub fn newest_release(&self, vendor: &str, name: &str) -> Option<u64> {
        self.releases.get(&package(vendor, name))?.last().copied()
    }

    pub fn knows(&self, vendor: &str, name: &str, release: u64) -> bool {
        self.releases.get(&package(vendor, name)).is_some_and(|known| known.contains(&release))
    }

    /// Of the package that was seen as this release.
    pub fn digest(&self, vendor: &str, name: &str, release: u64) -> Option<&str> {
        self.digests.get(&package(vendor, name))?.get(&release).map(String::as_str)
    }

    /// Whether that is news. `digest`: of the package; the one that came last counts, once it was let in.
    pub fn saw(&mut self, vendor: &str, name: &str, release: u64, digest: Option<&str>) -> bool {
        let package = package(vendor, name);
        let known = self.releases.entry(package.clone()).or_default();
        let news = known.insert(release);
        while known.len() > RELEASES_MAX {
            known.pop_first();
        }
        let digests = self.digests.entry(package).or_default();
        digests.extend(digest.map(|digest| (release, digest.to_owned())));
        digests.retain(|release, _| known.contains(release));
        news
    }

    /// Which package a release is, without saying that the release was seen.
    pub fn fill_in(&mut self, vendor: &str, name: &str, release: u64, digest: &str) {
        self.digests.entry(package(vendor, name)).or_default().insert(release, digest.to_owned());
    }

    /// What was approved of this package for this instance, whatever runs as it now.
    pub fn approved(&self, instance: &str, package: &str) -> Option<&Approval> {
        let earlier = self.earlier.get(instance).into_iter().flatten();
        self.approvals.get(instance).into_iter().chain(earlier).find(|approval| approval.package == package)
    }

    /// Instances for which this package was approved.
    pub fn approved_for(&self, package: String) -> impl Iterator<Item = (&String, &Approval)> {
        let instances: BTreeSet<_> = self.approvals.keys().chain(self.earlier.keys()).collect();
        instances.into_iter().filter_map(move |instance| Some((instance, self.approved(instance, &package)?)))
    }

    /// Of the package that ran last as this instance.
    pub fn of_what_ran(&mut self, instance: &str) -> Option<&mut Approval> {
        self.approvals.get_mut(instance)
    }

    /// It runs; of another package that says nothing.
    pub fn runs(&mut self, instance: &str, approval: Approval) {
        let mut earlier = self.earlier.remove(instance).unwrap_or_default();
        earlier.retain(|one| one.package != approval.package);
        let package = approval.package.clone();
        earlier.extend(self.approvals.insert(instance.to_owned(), approval).filter(|before| before.package != package));
        self.keep_earlier(instance, earlier);
    }

    /// A person looked at this release before it ran; what ran stays what ran.
    pub fn approve(&mut self, instance: &str, package: &str, ahead: Ahead) {
        if let Some(approval) = self.approvals.get_mut(instance).filter(|approval| approval.package == package) {
            return approval.look_ahead(ahead);
        }
        let mut earlier = self.earlier.remove(instance).unwrap_or_default();
        let known = earlier.iter().position(|one| one.package == package).map(|at| earlier.remove(at));
        let mut approval = known.unwrap_or_else(|| Approval { package: package.to_owned(), ..Approval::default() });
        approval.look_ahead(ahead);
        earlier.push(approval);
        self.keep_earlier(instance, earlier);
    }

    /// What never ran goes first: by that nobody is held to anything.
    fn keep_earlier(&mut self, instance: &str, mut earlier: Vec<Approval>) {
        while earlier.len() > EARLIER_MAX {
            let first = earlier.iter().position(|one| !one.has_run()).unwrap_or(0);
            earlier.remove(first);
        }
        while let Some(never_ran) = earlier.iter().rev().skip(EARLIER_WHOLE_MAX).position(|one| !one.has_run()) {
            earlier.remove(earlier.len() - 1 - EARLIER_WHOLE_MAX - never_ran);
        }
        let known_by_name = earlier.len().saturating_sub(EARLIER_WHOLE_MAX);
        for approval in &mut earlier[..known_by_name] {
            approval.reach = Reach::default();
            approval.ahead.drain(..approval.ahead.len().saturating_sub(1)); // what a person looked at last holds on
        }
        if !earlier.is_empty() {
            self.earlier.insert(instance.to_owned(), earlier);
        }
    }

    /// Of the instances that went last what was approved is known on, and no more. What ran last is not: who comes back begins anew.
    pub fn keep_only(&mut self, configured: &BTreeSet<String>) {
        self.ran.retain(|instance, _| configured.contains(instance));
        let all: BTreeSet<_> = self.approvals.keys().chain(self.earlier.keys()).cloned().collect();
        let went: Vec<_> = all.into_iter().filter(|one| !configured.contains(one) && !self.gone.contains(one)).collect();
        self.gone.retain(|instance| !configured.contains(instance));
        self.gone.extend(went);
        let (mut kept, mut bytes) = (0, 0);
        for instance in self.gone.iter().rev().take(GONE_MAX) {
            bytes +=
                serde_json::to_vec(&(self.approvals.get(instance), self.earlier.get(instance))).map_or(GONE_BYTES_MAX, |json| json.len());
            if bytes > GONE_BYTES_MAX {
                break;
            }
            kept += 1;
        }
        for first in self.gone.drain(..self.gone.len() - kept) {
            self.approvals.remove(&first);
            self.earlier.remove(&first);
        }
    }

    /// `synchronised`: what a clock says that others keep; 0: there is none.
    pub fn learn(&mut self, fleet: Option<Fleet>, synchronised: i64) {
        if fleet.as_ref().is_some_and(|fleet| fleet.forgets(self.fleet.as_ref())) {
            self.newest_s = 0;
        }
        self.fleet = fleet;
        self.newest_s = self.newest_s.max(synchronised);
    }

    /// Whether this is what ran last as any instance.
    pub fn ran_last_somewhere(&self, it: &Ran) -> bool {
        self.ran.keys().any(|instance| self.ran_last(instance, it))
    }

    /// As above.
    pub fn ran_last_exactly_somewhere(&self, it: &Ran) -> bool {
        self.ran.keys().any(|instance| self.ran_last_exactly(instance, it))
    }

    /// The same, and it is known by its digest: an older gateway wrote none.
    pub fn ran_last_exactly(&self, instance: &str, it: &Ran) -> bool {
        let known =
            self.ran.get(instance).and_then(|ran| ran.digest.as_ref().or_else(|| self.digests.get(&ran.package)?.get(&ran.release)));
        known.is_some() && self.ran_last(instance, it)
    }

    /// Whether this is what ran last as that instance.
    pub fn ran_last(&self, instance: &str, it: &Ran) -> bool {
        let Some(ran) = self.ran.get(instance) else { return false };
        let known = ran.digest.as_ref().or_else(|| self.digests.get(&ran.package)?.get(&ran.release));
        (&ran.package, ran.release) == (&it.package, it.release) && known.is_none_or(|digest| it.digest.as_ref() == Some(digest))
    }
}

/// The file in one state folder.
#[derive(Clone)]
pub struct Memory {
    state: PathBuf,
    key: DeviceKey,
    log: Option<Arc<dyn Log>>,
}

/// The audit log beside the memory: each of them notes how far the other is.
pub trait Log: Send + Sync {
    /// Number and hash of the newest record, and how often the memory was written by what the log says.
    fn newest(&self) -> Option<(u64, String, u64)>;
    fn note(&self, count: u64) -> std::io::Result<()>;
    /// Why what it says of the newest record, and of the memory, is not to be relied on.
    fn doubt(&self) -> Option<String>;
}

impl Memory {
    pub fn of(state: &Path, key: DeviceKey) -> Self {
        Self { state: state.to_owned(), key, log: None }
    }

    pub fn beside(self, log: impl Log + 'static) -> Self {
        Self { log: Some(Arc::new(log)), ..self }
    }

    /// What is remembered; and why that is not the newest that was written, where it is not.
    pub fn read_beside(&self) -> Result<(Remembered, Option<String>), MemoryError> {
        // whoever writes notes it in the log behind that: so the log is asked first, and a memory that is written meanwhile is ahead of it, and no older one
        let noted = self.log.as_ref().and_then(|log| log.newest()).map(|(_, _, noted)| noted);
        let read = self.read()?;
        let older = if self.is_there() { self.put_back(&read, noted) } else { None };
        Ok((read, older))
    }

    fn put_back(&self, read: &Remembered, noted: Option<u64>) -> Option<String> {
        let (path, count, log) = (self.path(), read.count, self.log.as_ref()?);
        if let Some(why) = log.doubt() {
            return Some(format!("whether {} is the newest that was written here is not known: {why}", path.display()));
        }
        let noted = noted?;
        (count < noted).then(|| {
            format!(
                "{} was put back, or the audit log's head was lost: it is number {count} of those that were written here, and the log knows number {noted}",
                path.display()
            )
        })
    }

    pub fn path(&self) -> PathBuf {
        Self::path_in(&self.state)
    }

    /// Where it lies, for whoever watches it.
    pub fn path_in(state: &Path) -> PathBuf {
        state.join(FILE)
    }

    fn mac(&self, body: &[u8]) -> hmac::Hmac<sha2::Sha256> {
        let mut mac = self.key.mac(PURPOSE);
        mac.update(body);
        mac
    }

    pub fn read(&self) -> Result<Remembered, MemoryError> {
        let path = self.path();
        let bytes = match plain_file(&path, BYTES_MAX) {
            Ok((bytes, _)) => bytes,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Remembered::default()),
            Err(why) => return Err(MemoryError::File { path, why }),
        };
        self.parse(&bytes).ok_or(MemoryError::Damaged { path })
    }

    /// A line of JSON, and a line with its code.
    #[doc(hidden)]
    pub fn parse(&self, bytes: &[u8]) -> Option<Remembered> {
        let at = bytes.iter().position(|b| *b == b'\n')?;
        let (body, code) = (&bytes[..at], bytes[at + 1..].strip_suffix(b"\n")?);
        let code = crate::keys::base64::decode(std::str::from_utf8(code).ok()?)?;
        self.mac(body).verify_slice(&code).ok()?;
        serde_json::from_slice(body).ok()
    }

    /// Changes it in one piece, whoever else does so at this moment; what `change` returns comes back.
    pub fn change<T>(&self, change: impl FnOnce(&mut Remembered) -> T) -> Result<T, MemoryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |why| MemoryError::File { path, why }
        };
        let lock_path = self.state.join(LOCK);
        let lock = shared_file(&lock_path, OpenOptions::new().write(true).create(true), MODE).map_err(failed(&lock_path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| MemoryError::File { path: lock_path, why: e.into() })?;
        let before = self.read()?;
        let mut after = before.clone();
        let done = change(&mut after);
        if after != before {
            let path = self.path();
            self.write(&after).map_err(failed(&path))?;
        }
        Ok(done)
    }

    /// With its code behind it.
    #[doc(hidden)]
    pub fn sealed(&self, body: &[u8]) -> Vec<u8> {
        let code = crate::keys::base64::encode(&self.mac(body).finalize().into_bytes());
        [body, b"\n", code.as_bytes(), b"\n"].concat()
    }

    /// Whether there is anything, damaged or not.
    pub fn is_there(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// In the place of what is damaged, which is kept beside it for whoever wants to know what happened.
    pub fn replace(&self, what: &Remembered) -> Result<(), MemoryError> {
        let path = self.path();
        let failed = |why| MemoryError::File { path: path.clone(), why };
        let lock = shared_file(&self.state.join(LOCK), OpenOptions::new().write(true).create(true), MODE).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
        match fs::rename(&path, path.with_extension(DAMAGED)) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(failed(why)),
            _ => {}
        }
        self.write(what).map_err(failed)
    }

    /// It first, and then the log notes it: where the power goes in between, it is ahead, and that is no older one.
    fn write(&self, what: &Remembered) -> std::io::Result<()> {
        let mut what = what.clone();
        if let Some(log) = &self.log {
            let newest = log.newest();
            let noted = newest.as_ref().map_or(0, |(_, _, noted)| *noted);
            what.count = what.count.max(noted).saturating_add(1);
            what.audit = newest.map(|(n, hash, _)| (n, hash)).or(what.audit);
        }
        let bytes = self.sealed(&serde_json::to_vec(&what)?);
        if bytes.len() as u64 > BYTES_MAX {
            let why = format!(
                "it would have {} bytes, and no more than {BYTES_MAX} are read again, so what it holds stays: run fewer instances of packages that ask for much",
                bytes.len()
            );
            return Err(std::io::Error::other(why));
        }
        replace_file(&self.path(), &bytes, MODE)?;
        self.log.as_ref().map_or(Ok(()), |log| log.note(what.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_kept_and_each_bit_of_it_counts() {
        let state = crate::plugin::cache::test_folder("memory");
        let memory = Memory::of(&state, DeviceKey::open(&state, [1; 32]).unwrap());
        assert_eq!(memory.read().unwrap(), Remembered::default());
        assert!(memory.change(|m| m.saw("acme", "pump", 7, None)).unwrap());
        assert!(!memory.change(|m| m.saw("acme", "pump", 7, None)).unwrap());
        assert!(memory.change(|m| m.saw("acme", "pump", 5, None)).unwrap());
        let read = memory.read().unwrap();
        assert_eq!((read.newest_release("acme", "pump"), read.newest_release("acme", "other")), (Some(7), None));
        assert!(read.knows("acme", "pump", 5) && !read.knows("acme", "pump", 6));
        let good = fs::read(memory.path()).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(memory.parse(&bad).is_none(), "byte {at} bit {bit}");
            }
            assert!(memory.parse(&good[..at]).is_none(), "cut at {at}");
        }
        fs::write(memory.path(), b"{}\n\n").unwrap();
        assert!(matches!(memory.change(|m| m.saw("acme", "pump", 9, None)), Err(MemoryError::Damaged { .. })));
        fs::write(memory.path(), &good).unwrap();
        let other = Memory::of(&state, DeviceKey::open(&crate::plugin::cache::test_folder("memory-other"), [2; 32]).unwrap());
        assert!(matches!(other.read(), Err(MemoryError::Damaged { .. })), "another gateway's");
    }

    /// Taking an instance out and in again approves nothing; but names that come and go do not fill the file for good.
    //= PROMISES.md#P305
    #[test]
    fn of_the_instances_that_went_last_the_approvals_are_kept_and_of_no_more() {
        let mut m = Remembered::default();
        let names: Vec<String> = (0..GONE_MAX + 3).map(|n| format!("bed-{n}")).collect();
        for name in names.iter().rev() {
            m.runs(name, Approval { package: "acme/pump".into(), grants_hash: "h".into(), ..Approval::default() });
            m.keep_only(&[name.clone()].into());
        }
        let known = |m: &Remembered| names.iter().filter(|name| m.approved(name, "acme/pump").is_some()).cloned().collect::<Vec<_>>();
        assert_eq!(known(&m), names[..=GONE_MAX], "one is there, and of those that are gone the first two are forgotten");
        // one that comes back is no longer gone, and goes last when it goes again
        let back = &names[GONE_MAX];
        m.keep_only(&[back.clone(), names[0].clone()].into());
        assert!(!m.gone.contains(back));
        m.keep_only(&[].into());
        assert_eq!((m.gone.len(), known(&m).len()), (GONE_MAX, GONE_MAX));
        assert!(m.approved(back, "acme/pump").is_some() && m.approved(&names[GONE_MAX - 1], "acme/pump").is_none());
    }

    /// Nine makes in turn are no way around an approval; and what is kept has an end.
    //= PROMISES.md#P305
    #[test]
    fn of_many_packages_in_turn_the_old_ones_are_known_by_name_and_those_of_who_went_take_no_more_than_their_share() {
        let reach = Reach { of: ["x".repeat(8000)].into(), ..Reach::default() };
        let ran = |package: String| Approval { package, grants_hash: "h".into(), reach: reach.clone(), ..Approval::default() };
        let mut m = Remembered::default();
        (0..100).for_each(|n| m.runs("bed", ran(format!("acme/{n}"))));
        let known = |n: u32| m.approved("bed", &format!("acme/{n}")).map(|approval| approval.reach == reach);
        assert_eq!([99, 98, 91, 90, 35, 34].map(known), [Some(true), Some(true), Some(true), Some(false), Some(false), None]);
        // what a person approves of one of them holds, however long ago it ran; of what never ran nothing is held against anybody
        let look = |release| Ahead { release, digest: None, reach: reach.clone() };
        for n in [35, 90] {
            m.approve("bed", &format!("acme/{n}"), look(2));
        }
        for n in [35, 90] {
            assert!(m.approved("bed", &format!("acme/{n}")).is_some_and(|approval| approval.is_ahead(2, None, &reach)), "{n}");
        }
        (200..220).for_each(|n| m.approve("bed-1", &format!("acme/{n}"), look(1)));
        let approved = |n: u32| m.approved("bed-1", &format!("acme/{n}"));
        let never_ran: Vec<u32> = (200..220).filter(|n| approved(*n).is_some()).collect();
        assert_eq!(never_ran, (212..220).collect::<Vec<_>>());
        assert!(never_ran.iter().all(|n| approved(*n).unwrap().is_ahead(1, None, &reach)));
        (2..10).for_each(|release| m.approve("bed", "acme/99", look(release)));
        let newest = m.approved("bed", "acme/99").unwrap();
        assert_eq!((newest.has_room(10, None, 2), newest.has_room(2, None, 2), newest.has_room(10, None, 3)), (false, true, true));
        m.approve("bed", "acme/99", look(10));
        assert_eq!(m.approved("bed", "acme/99").unwrap().ahead.iter().map(|a| a.release).collect::<Vec<_>>(), (3..11).collect::<Vec<_>>());
        for bed in 0..200 {
            m.runs(&format!("bed-{bed}"), ran("acme/pump".into()));
        }
        m.keep_only(&[].into());
        let bytes = serde_json::to_vec(&m).unwrap().len();
        assert!(bytes < GONE_BYTES_MAX + 100_000 && bytes > GONE_BYTES_MAX / 2, "{bytes}");
    }

    /// A clock that others kept, and that was ahead, is forgotten here too when a person says so, once.
    //= PROMISES.md#P315
    #[test]
    fn a_clock_that_was_wrong_is_forgotten_once() {
        let mut m = Remembered::default();
        let fleet = |forgotten: Option<&str>| Some(Fleet { forgotten: forgotten.map(Into::into), ..Fleet::default() });
        m.learn(fleet(None), 900);
        m.learn(fleet(None), 100);
        assert_eq!(m.newest_s, 900);
        m.learn(fleet(Some("2026-12-01T00:00:00Z")), 100);
        assert_eq!(m.newest_s, 100);
        m.learn(fleet(Some("2026-12-01T00:00:00Z")), 50);
        m.learn(fleet(None), 0); // damaged, and written anew
        assert_eq!(m.newest_s, 100);
        m.learn(fleet(Some("2026-12-02T00:00:00Z")), 0);
        assert_eq!(m.newest_s, 0);
    }

    /// A log beside which somebody writes the memory whenever it is asked.
    #[derive(Clone)]
    struct Busy(Arc<std::sync::Mutex<u64>>, Memory);

    impl Log for Busy {
        fn newest(&self) -> Option<(u64, String, u64)> {
            let mut noted = self.0.lock().unwrap();
            *noted += 1;
            let written = Remembered { count: *noted, ..Remembered::default() };
            self.1.write(&written).unwrap();
            Some((1, "h".into(), *noted))
        }

        fn note(&self, _: u64) -> std::io::Result<()> {
            Ok(())
        }

        fn doubt(&self) -> Option<String> {
            None
        }
    }

    /// Or one package that asks for much would blind the gateway, for good.
    //= PROMISES.md#P339
    #[test]
    fn nothing_is_written_that_would_not_be_read_again() {
        let state = crate::plugin::cache::test_folder("memory-large");
        let memory = Memory::of(&state, DeviceKey::open(&state, [1; 32]).unwrap());
        memory.change(|m| m.saw("acme", "pump", 7, None)).unwrap();
        let before = memory.read().unwrap();
        let why = memory.change(|m| m.version = "x".repeat(BYTES_MAX as usize)).unwrap_err().to_string();
        assert!(why.contains("and no more than 4194304 are read again"), "{why}");
        assert_eq!(memory.read().unwrap(), before);
    }

    //= PROMISES.md#P280
    #[test]
    fn a_memory_that_is_written_while_somebody_reads_it_is_no_older_one() {
        let state = crate::plugin::cache::test_folder("memory-race");
        let alone = Memory::of(&state, DeviceKey::open(&state, [1; 32]).unwrap());
        alone.write(&Remembered::default()).unwrap();
        let busy = alone.clone().beside(Busy(Arc::default(), alone.clone()));
        for _ in 0..3 {
            assert_eq!(busy.read_beside().unwrap().1, None);
        }
        // and one that is put back is one
        struct Still;
        impl Log for Still {
            fn newest(&self) -> Option<(u64, String, u64)> {
                Some((1, "h".into(), 9))
            }
            fn note(&self, _: u64) -> std::io::Result<()> {
                Ok(())
            }
            fn doubt(&self) -> Option<String> {
                None
            }
        }
        assert!(alone.beside(Still).read_beside().unwrap().1.is_some_and(|why| why.contains("is number 3 of those")));
    }

    #[test]
    fn of_many_releases_the_newest_are_remembered() {
        let mut remembered = Remembered::default();
        (1..=100).for_each(|n| assert!(remembered.saw("acme", "pump", n, Some("d"))));
        assert_eq!(remembered.newest_release("acme", "pump"), Some(100));
        assert!(remembered.knows("acme", "pump", 69) && !remembered.knows("acme", "pump", 68));
        assert_eq!((remembered.digest("acme", "pump", 69), remembered.digest("acme", "pump", 68)), (Some("d"), None));
    }

    /// As this gateway's version 0.1.0 wrote it.
    #[test]
    fn what_an_older_gateway_remembered_is_read_and_the_first_package_of_a_release_fills_its_digest_in() {
        let old = r#"{"releases":{"acme/pump":[3,4]},"ran":{"bed-1":{"package":"acme/pump","release":4}}}"#;
        let mut read: Remembered = serde_json::from_str(old).unwrap();
        let ran = |digest: &str| Ran { package: "acme/pump".into(), release: 4, digest: Some(digest.into()), file: None };
        assert_eq!((read.newest_release("acme", "pump"), read.digest("acme", "pump", 4)), (Some(4), None));
        assert!(read.ran_last("bed-1", &ran("a")) && read.ran_last("bed-1", &ran("b")), "nobody knows which it was");
        assert!(!read.saw("acme", "pump", 4, Some("a")));
        assert_eq!(read.digest("acme", "pump", 4), Some("a"));
        assert!(read.ran_last("bed-1", &ran("a")) && !read.ran_last("bed-1", &ran("b")));
    }
}
