//! The corridor's keeper of trust: whether gateway.toml is the site's, which package may run on it now, what the fleet takes back; and it writes
//! all of that into the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::{error, warn};

mod judge;
mod recall;

use super::clock::{self, moment};
use super::workshop::Walls;
use crate::audit::{Audit, Entry, Moment, What};
use crate::config::{CONFIG_BYTES_MAX, Config, Instance, plain_file};
use crate::fault::{Fault, Guilty};
use crate::keys::PublicKey;
use crate::plugin::{
    Change, DeviceKey, Freshness, GrantLine, InOthersHands, Known, Memory, RECALL, Ran, Remembered, Seen, Vendors, config_signature,
    gateways_user, grants_hash, in_others_hands, list_ended, named_from,
};
use crate::status::Status;
pub use judge::{Judge, Occasion, Refusal, Sight};
pub(super) use recall::{GONE, RELOADED};
pub use recall::{kept, recollect};

pub(super) use crate::audit::GATEWAY;

pub(super) struct Warden {
    audit: Audit,
    memory: Memory,
    status: Status,
    state: PathBuf,
    /// As it was looked at last.
    pub seen: Seen,
    /// Instances that run although they are revoked, and why: what was told already.
    told: BTreeMap<String, String>,
    /// Content of gateway.toml on disk that was told of.
    noticed: Option<String>,
    /// What of trust somebody else may write: what was told already.
    hands: Vec<InOthersHands>,
    /// Files among the vendors' keys that are none: what was told already.
    unread: Vec<String>,
    /// What was seen here is not known for sure, and why: nothing of it is written before a person has looked at it.
    blind: Option<String>,
}

impl Warden {
    pub fn open(state: &Path, key: &DeviceKey, status: Status) -> Self {
        let (memory, audit) = kept(state, key);
        Self {
            audit,
            memory,
            status,
            state: state.to_owned(),
            seen: Seen::default(),
            told: BTreeMap::new(),
            noticed: None,
            hands: Vec::new(),
            unread: Vec::new(),
            blind: None,
        }
    }

    // ---------- the audit log

    /// The card may take seconds. What is not written is told.
    pub async fn write(&self, entry: Entry) {
        let _ = self.written(entry).await; // a ward goes on without its log
    }

    /// For what a person wants: it is not done where nobody could prove it.
    pub async fn before(&self, entry: Entry) -> Result<(), Fault> {
        self.written(entry).await.map_err(|why| {
            let what = format!("nothing was changed, because the audit log cannot be written: {why}");
            Fault::new(Guilty::Store, what, "make room in the state folder, or look at the card under it; then say it again")
        })
    }

    async fn written(&self, entry: Entry) -> Result<(), String> {
        let (audit, what, at) = (self.audit.clone(), entry.what, now());
        let done = tokio::task::spawn_blocking(move || audit.append(entry, at)).await;
        let done = done.unwrap_or_else(|e| Err(std::io::Error::other(e))).map(drop).map_err(|why| why.to_string());
        self.tell_of_audit(what, &done);
        done
    }

    fn tell_of_audit(&self, what: What, done: &Result<(), String>) {
        let newest = self.audit.newest();
        self.status.with(|s| {
            s.audit.key = self.audit.key();
            match done {
                Ok(()) => s.audit.last_error.clear(),
                Err(why) => {
                    s.audit.last_error = format!("{} is not in the audit log: {why}", what.name());
                    error!("{}", s.audit.last_error);
                }
            }
            if let Some(head) = newest {
                (s.audit.records, s.audit.newest) = (head.n, head.hash);
                s.audit.broken = head.broken.map(crate::audit::Break::in_words).unwrap_or_default();
            }
        });
    }

    /// At a start, before anything is written: what is not as this device left it is told at once, and not only when somebody verifies the log.
    pub async fn look_at_log(&self) {
        let audit = self.audit.clone();
        let Ok(Some(why)) = tokio::task::spawn_blocking(move || audit.flaw()).await else { return };
        error!(
            "the audit log is not as this gateway left it: {why}; what to do: keep a copy of the state folder, then `wardgate audit verify`"
        );
        self.status.with(|s| s.audit.broken = why);
    }

    // ---------- what is known

    /// The card may take seconds here too.
    async fn remember<T: Send + 'static>(&self, change: impl FnOnce(&mut Remembered) -> T + Send + 'static) -> Result<T, String> {
        if let Some(why) = &self.blind {
            return Err(why.clone());
        }
        let memory = self.memory.clone();
        let done = tokio::task::spawn_blocking(move || memory.change(change).map_err(|e| e.to_string())).await;
        done.unwrap_or_else(|e| Err(e.to_string()))
    }

    /// Where it is damaged, as the audit log proves it; that is told once, and when it is whole again.
    async fn remembered(&mut self) -> Remembered {
        let (memory, audit) = (self.memory.clone(), self.audit.clone());
        let read = tokio::task::spawn_blocking(move || recollect(&memory, &audit)).await;
        let (remembered, blind) = read.unwrap_or_else(|e| (Remembered::default(), Some(e.to_string())));
        if blind != self.blind {
            let entry = match &blind {
                Some(why) => {
                    error!("nothing new starts, and what ran before goes on: {why}; {RECALL}");
                    Entry::new(What::TrustStale, GATEWAY, [("what", &"trust.memory"), ("why", why)])
                }
                None => Entry::new(What::TrustFresh, GATEWAY, [("what", &"trust.memory")]),
            };
            self.blind = blind;
            self.write(entry).await;
        }
        remembered
    }

    /// Looks at the fleet's metadata anew. What changed is told; answers whether anything did.
    pub async fn look(&mut self, config: &Config) -> bool {
        self.look_at_hands(config).await;
        self.look_at_keys(config).await;
        let remembered = self.remembered().await;
        let wall_s = moment().wall.map(|ns| ns / 1_000_000_000);
        // where the memory is damaged, at least what this life has seen holds
        let last = remembered.fleet.clone().or_else(|| self.seen.fleet.clone().filter(|_| self.blind.is_some()));
        let (folder, newest_s) = (config.trust.folder.clone(), remembered.newest_s);
        let was = last.clone();
        let look = move || folder.map_or_else(Seen::default, |folder| Seen::look(&folder, was.as_ref(), wall_s, newest_s));
        let Ok(seen) = tokio::task::spawn_blocking(look).await else { return false };
        // a clock beyond the metadata's end may be right, and then they are stale anyhow; if it is wrong it must not stay so
        let most = seen.fleet.as_ref().map_or(i64::MAX, crate::plugin::Fleet::expires_s);
        let synchronised = wall_s.filter(|s| *s <= most).filter(|_| clock::quality() == wardgate_wire::ClockQuality::Synchronised);
        let (good, kept) = (seen.fleet.as_ref().map(crate::plugin::Fleet::without_lists), remembered.fleet.clone());
        if let Some(fleet) = seen.fleet.as_ref().filter(|_| seen.fleet != last) {
            self.write_changes(&fleet.changes_since(last.as_ref())).await; // before it is remembered: a cut in between writes it twice, and never not
        }
        if self.blind.is_none() && (good != kept || synchronised.is_some_and(|s| s > remembered.newest_s + NEWEST_STEP_S)) {
            let kept = self.remember(move |m| m.learn(good, synchronised.unwrap_or(0)));
            if let Err(why) = kept.await {
                warn!("what is known of the fleet cannot be kept: {why}");
            }
        }
        self.show_seen(&seen, wall_s.is_some());
        if seen == self.seen {
            return false;
        }
        let (was, is) = (self.seen.freshness.clone(), seen.freshness.clone());
        self.tell_stale_vendors(&seen).await;
        self.seen = seen;
        match (&was, &is) {
            (Freshness::Stale(old), Freshness::Stale(new)) if reason(old) == reason(new) => {}
            (_, Freshness::Stale(why)) => {
                warn!("trust is stale, so nothing new is taken; what runs goes on: {why}");
                self.write(Entry::new(What::TrustStale, GATEWAY, [("why", why)])).await;
            }
            (Freshness::Stale(_), _) => {
                let version = self.seen.fleet.as_ref().map_or(0, |f| f.timestamp_version);
                self.write(Entry::new(What::TrustFresh, GATEWAY, [("timestamp_version", &version)])).await;
            }
            _ => {}
        }
        true
    }

    /// A vendor's list may end before the rest of the metadata.
    async fn tell_stale_vendors(&self, seen: &Seen) {
        let before = self.seen.stale_vendors();
        for (vendor, ended) in seen.stale_vendors().iter().filter(|of| !before.contains(of)) {
            let why = list_ended(vendor, ended);
            warn!("trust is stale for {vendor}, so nothing new of it is taken; what runs goes on: {why}");
            self.write(Entry::new(What::TrustStale, GATEWAY, [("vendor", vendor), ("why", &why)])).await;
        }
        let named = |vendor: &str| seen.fleet.iter().flat_map(|f| f.vendors.iter().flatten()).any(|of| of.vendor == vendor);
        for (vendor, _) in before.iter().filter(|(vendor, _)| seen.list_over(vendor).is_none() && named(vendor)) {
            self.write(Entry::new(What::TrustFresh, GATEWAY, [("vendor", vendor)])).await;
        }
    }

    /// Whom the fleet trusts now, and what it takes back, whether anything of that runs here or not.
    async fn write_changes(&self, changes: &[Change]) {
        for change in changes.iter().take(CHANGES_MAX) {
            self.write(match change {
                Change::Key { vendor, key, comes } => {
                    let done = if *comes { "is the vendor's from now on" } else { "is the vendor's no more" };
                    Entry::new(What::Update, GATEWAY, [("what", &"fleet"), ("vendor", vendor), ("key", key), ("done", &done)])
                }
                Change::KeyRevoked { vendor, key, why } => {
                    Entry::new(What::Revoke, GATEWAY, [("what", &"fleet"), ("vendor", vendor), ("key", key), ("why", &revoked(why))])
                }
                Change::ReleaseRevoked { vendor, name, release, why } => {
                    let about: [(&str, &dyn std::fmt::Display); 5] =
                        [("what", &"fleet"), ("vendor", vendor), ("name", name), ("release", release), ("why", &revoked(why))];
                    Entry::new(What::Revoke, GATEWAY, about)
                }
                Change::ClockWasWrong { when } => {
                    let done = "a clock was ahead, a person said: what it took for past is forgotten";
                    Entry::new(What::Update, GATEWAY, [("what", &"clock"), ("done", &done), ("said", when)])
                }
            })
            .await;
        }
        if changes.len() > CHANGES_MAX {
            let further = changes.len() - CHANGES_MAX;
            let why = "fleet.json has them all";
            self.write(Entry::new(What::Update, GATEWAY, [("what", &"fleet"), ("further", &further), ("why", &why)])).await;
        }
    }

    /// What says whom this site trusts, and others may write it. At a start, and while it runs, that is told, and what ran last runs: a ward is not
    /// darkened for it. Whatever is new is withheld, and what a person wants is refused ([`Self::in_good_hands`]).
    async fn look_at_hands(&mut self, config: &Config) {
        let (trust, state) = (config.trust.clone(), self.state.clone());
        let look = move || in_others_hands(&trust, &state, rustix::process::geteuid().as_raw());
        let Ok(hands) = tokio::task::spawn_blocking(look).await else { return };
        if hands == self.hands {
            return;
        }
        let lines: Vec<String> = hands.iter().map(|one| format!("{one}; what to do: {}", one.remedy())).collect();
        for (one, line) in hands.iter().zip(&lines).filter(|(one, _)| !self.hands.contains(one)) {
            error!("{line}");
            self.write(Entry::new(What::Refuse, GATEWAY, [("what", &"trust"), ("why", &one)])).await;
        }
        self.status.with(|s| s.trust.others_hands = lines);
        self.hands = hands;
    }

    /// One that cannot be read keeps out what it would let in, and no other package.
    async fn look_at_keys(&mut self, config: &Config) {
        let Some(folder) = config.trust.keys() else { return };
        let look = move || Vendors::unread(&folder).iter().map(|why| (why.to_string(), why.remedy())).collect::<Vec<_>>();
        let Ok(unread) = tokio::task::spawn_blocking(look).await else { return };
        let whys: Vec<String> = unread.iter().map(|(why, _)| why.clone()).collect();
        if whys == self.unread {
            return;
        }
        for (why, _) in unread.iter().filter(|(why, _)| !self.unread.contains(why)) {
            warn!("among the vendors' keys: {why}");
            self.write(Entry::new(What::Refuse, GATEWAY, [("what", &"key"), ("why", &why)])).await;
        }
        let lines = unread.iter().map(|(why, remedy)| format!("{why}; what to do: {remedy}")).collect();
        self.status.with(|s| s.trust.keys_unread = lines);
        self.unread = whys;
    }

    /// For a reload: nothing is changed on the word of what others may write.
    pub fn in_good_hands(&self) -> Result<(), Fault> {
        self.hands.first().map_or(Ok(()), |one| Err(Fault::new(Guilty::Configuration, one, one.remedy())))
    }

    fn show_seen(&self, seen: &Seen, clock_set: bool) {
        self.status.with(|s| {
            s.trust.state = match seen.freshness {
                Freshness::NoFleet => "no-fleet",
                Freshness::Fresh => "fresh",
                Freshness::Stale(_) => "trust-stale",
            }
            .into();
            s.trust.why = seen.why_stale().unwrap_or_default().to_owned();
            if let Some(why) = &self.blind {
                (s.trust.state, s.trust.why) = ("blind".into(), why.clone());
            }
            s.trust.stale_vendors = seen.stale_vendors().iter().cloned().collect();
            s.trust.clock_set = clock_set;
            if let Some(fleet) = &seen.fleet {
                s.trust.fleet =
                    format!("root {}, snapshot {}, timestamp {}", fleet.root_version, fleet.snapshot_version, fleet.timestamp_version);
                s.trust.expires.clone_from(&fleet.expires);
            }
        });
    }

    pub async fn judge(&mut self, config: &Config, occasion: Occasion) -> Result<Judge, Fault> {
        self.look_at_hands(config).await;
        let memory = self.remembered().await;
        let known = Known {
            fleet: self.seen.clone(),
            memory,
            site_key: site_key(config)?,
            state: self.state.clone(),
            gateway: config.gateway.id.clone(),
        };
        Ok(Judge::new(config, occasion, known, self.blind.clone(), self.hands.first().cloned()))
    }

    // ---------- the configuration

    /// Whether the file says what the site says. A change of the site's key is signed by the one before it.
    pub async fn vouched(&mut self, config: &Config) -> Result<(), Fault> {
        let remembered = self.remembered().await;
        let (before, config) = (remembered.site_key.as_deref().and_then(PublicKey::of_id), config.clone());
        let look = move || vouched(&config, before).and_then(|()| site_key(&config));
        let key = tokio::task::spawn_blocking(look).await.unwrap_or_else(|e| Err(Fault::new(Guilty::Internal, e, "please report this")))?;
        let id = key.map(|key| key.id());
        if id != remembered.site_key
            && let Err(why) = self.remember(move |m| m.site_key = id).await
        {
            warn!("the site's key cannot be remembered: {why}");
        }
        Ok(())
    }

    /// What is about to run is remembered, and what is new in it is written down. `by`: who wanted it.
    pub async fn take(&mut self, config: &Config, sights: &BTreeMap<String, Sight>, occasion: Occasion, by: &str) {
        let known = self.remembered().await;
        let mut entries = Vec::new();
        for (instance, sight) in sights {
            entries.extend(self.compare(instance, sight, &known, occasion, by));
            entries.extend(in_its_place(instance, sight, known.ran.get(instance), by));
            let hash = grants_hash(&sight.grants);
            let signed = sight.signed.as_ref().map(|by| format!("{} release {}", by.vendor, by.release)).unwrap_or_default();
            self.status.instance(instance, |i| (i.grants_hash, i.signed_by) = (hash, signed));
        }
        let named = |(name, of): (&String, &Instance)| (name.clone(), named_from(config.file(), &of.package));
        let files: BTreeMap<_, _> = config.instances.iter().map(named).collect();
        for instance in known.ran.keys().filter(|instance| !files.contains_key(*instance)) {
            entries.push(Entry::new(What::ConfigChange, by, [("instance", &instance), ("how", &GONE)]));
        }
        let (all, configured) = (sights.clone(), files.keys().cloned().collect::<BTreeSet<_>>());
        // before it is remembered: a power cut in between writes it twice, and never not
        for entry in entries {
            self.write(entry).await;
        }
        let kept = self.remember(move |m| {
            let sights = &all;
            m.keep_only(&configured);
            for (instance, sight) in sights {
                m.ran.insert(instance.clone(), Ran { file: files.get(instance).cloned(), ..sight.ran() });
                if let Some(by) = &sight.signed {
                    m.saw(&by.vendor, &sight.name, by.release, Some(&by.digest));
                }
                m.runs(instance, sight.approved(m.approved(instance, &sight.package())));
            }
        });
        if let Err(why) = kept.await {
            error!("what runs cannot be remembered: {why}");
        }
        for (instance, sight) in sights {
            if let Some(why) = &sight.revoked {
                self.tell_revoked(instance, why, "it goes on, as on_revoked = \"alert\" says").await;
            }
        }
    }

    fn compare(&self, instance: &str, sight: &Sight, known: &Remembered, occasion: Occasion, by: &str) -> Vec<Entry> {
        let hash = grants_hash(&sight.grants);
        let granted = sight.grants.iter().map(GrantLine::to_string).collect::<Vec<_>>().join("; ");
        let (before, ran) = (known.approved(instance, &sight.package()), known.ran.get(instance));
        let before = before.filter(|approval| approval.has_run());
        // one that was configured no more begins anew in the log too: that it was gone stands there
        let (another, back) = (ran.is_some_and(|ran| ran.package != sight.package()), ran.is_none());
        let mut entries = Vec::new();
        if before.is_none() || another || back {
            let about: [(&str, &dyn std::fmt::Display); 5] = [
                ("instance", &instance),
                ("package", &sight.package()),
                ("release", &sight.release()),
                ("grants_hash", &hash),
                ("grants", &granted),
            ];
            let how = match before {
                None => "first seen, as gateway.toml says",
                Some(_) if back => "configured again, as gateway.toml says; a release of it ran as this instance before",
                Some(_) => "in another package's place, as gateway.toml says; it was approved for this instance before",
            };
            entries.push(with_digest(Entry::new(What::GrantApprove, by, about).and("how", how), sight));
        }
        let Some(before) = before else { return entries };
        let from = ran.filter(|_| !another).map_or(before.release, |ran| ran.release);
        if !another && from != sight.release() {
            let about: [(&str, &dyn std::fmt::Display); 4] =
                [("instance", &instance), ("package", &before.package), ("from", &from), ("to", &sight.release())];
            let what = if sight.release() < from { What::BreakGlass } else { What::Update };
            entries.push(with_digest(Entry::new(what, by, about), sight));
        }
        if before.grants_hash != hash {
            let about: [(&str, &dyn std::fmt::Display); 4] =
                [("instance", &instance), ("from", &before.grants_hash), ("to", &hash), ("grants", &granted)];
            let mut entry = Entry::new(What::GrantChange, by, about);
            if occasion == Occasion::Start {
                warn!(instance, "its grants are not those that it ran with last: gateway.toml was changed while no gateway ran");
                entry = entry.and("how", "found at the start: changed while no gateway ran");
                self.status.instance(instance, |i| i.grants_changed = true);
            } else {
                self.status.instance(instance, |i| i.grants_changed = false);
            }
            entries.push(entry);
        }
        entries
    }

    /// Instances that do not run, and why; people see them beside the others.
    pub async fn withhold(&mut self, withheld: &BTreeMap<String, Fault>) {
        for (instance, fault) in withheld {
            error!(instance, "withheld: {fault}");
            self.status.instance(instance, |i| {
                i.state = "withheld".into();
                i.detail = fault.what.clone();
                (i.link_up, i.revoked) = (false, String::new());
            });
            self.write(Entry::new(What::Refuse, GATEWAY, [("instance", instance), ("why", &fault.what)])).await;
        }
    }

    pub async fn tell_revoked(&mut self, instance: &str, why: &str, done: &str) {
        self.status.instance(instance, |i| i.revoked = why.to_owned());
        let words = format!("{why}; {done}");
        if self.told.get(instance) == Some(&words) {
            return;
        }
        warn!(instance, "{words}");
        self.told.insert(instance.to_owned(), words);
        self.write(Entry::new(What::Revoke, GATEWAY, [("instance", &instance), ("why", &why), ("done", &done)])).await;
    }

    /// It was stopped as revoked, and is so no more.
    pub async fn tell_allowed(&mut self, instance: &str) {
        warn!(instance, "its release and key are allowed again, and it starts");
        self.forget_told(instance);
        let entry =
            Entry::new(What::Revoke, GATEWAY, [("instance", &instance), ("why", &"it is revoked no more"), ("done", &"it starts again")]);
        self.write(entry).await;
    }

    /// What the fleet says now of a package that runs.
    pub fn revoked(&self, sight: &Sight) -> Option<String> {
        let by = sight.signed.as_ref()?;
        let known = Known {
            fleet: self.seen.clone(),
            memory: Remembered::default(),
            site_key: None,
            state: PathBuf::new(),
            gateway: String::new(),
        };
        known.revoked(&sight.name, by).map(|why| why.to_string())
    }

    /// Who is configured no more is not shown any more, also where it did not run.
    pub fn only(&self, config: &Config) {
        self.status.with(|s| s.instances.retain(|name, _| config.instances.contains_key(name)));
    }

    pub fn forget_told(&mut self, instance: &str) {
        self.told.remove(instance);
        self.status.instance(instance, |i| i.revoked.clear());
    }

    /// Whether the file on disk is the one that runs; a change that nobody reloaded is told once.
    pub async fn look_at_file(&mut self, config: &Config) {
        // somebody else wrote it: whatever stands there now keeps nobody waiting
        let file = config.file().to_owned();
        let read = tokio::task::spawn_blocking(move || plain_file(&file, CONFIG_BYTES_MAX)).await;
        let on_disk = match read.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok((bytes, _)) => hash(&bytes),
            Err(why) => format!("unreadable: {why}"),
        };
        let changed = on_disk != hash(config.text().as_bytes());
        self.status.with(|s| s.config_changed = changed);
        if !changed {
            self.noticed = None;
        } else if self.noticed.as_ref() != Some(&on_disk) {
            warn!(file = %config.file().display(), "the configuration on disk is not the one that runs: reload it, or find out who changed it");
            let file = config.file().display();
            self.write(
                Entry::new(What::ConfigChange, GATEWAY, [("file", &file), ("found", &on_disk)]).and("how", "changed on disk, not reloaded"),
            )
            .await;
            self.noticed = Some(on_disk);
        }
    }

    /// The first record of a life, and what is out of the ordinary in it.
    pub async fn begin(&self, config: &Config, life: u64, walls: &Walls) {
        let version = env!("CARGO_PKG_VERSION");
        let id = config.gateway.id.clone();
        let renew = move |m: &mut Remembered| (std::mem::replace(&mut m.version, version.into()), std::mem::replace(&mut m.gateway, id));
        let (was, called) = self.remember(renew).await.unwrap_or_default();
        let life = format!("{life:016x}");
        let entry =
            Entry::new(What::Start, GATEWAY, [("version", &version), ("life", &life), ("configuration", &hash(config.text().as_bytes()))]);
        let entry = entry.and("compiler_walls", walls.around.in_words());
        let entry = if walls.lacks.is_empty() { entry } else { entry.and("compiler_lacks", walls.lacks.join(", ")) };
        self.write(self.by_site(entry, config)).await;
        if !called.is_empty() && called != config.gateway.id {
            // what the site signed for another gateway holds there, and its name is part of what was signed
            warn!(
                "this gateway was called {called} until now, and gateway.toml calls it {}: is that file another gateway's?",
                config.gateway.id
            );
            let about: [(&str, &dyn std::fmt::Display); 3] = [("what", &"gateway.id"), ("from", &called), ("to", &config.gateway.id)];
            self.write(Entry::new(What::ConfigChange, GATEWAY, about)).await;
        }
        if walls.set_aside {
            let about: [(&str, &dyn std::fmt::Display); 2] = [("what", &"compile_without_walls"), ("lacks", &walls.lacks.join(", "))];
            self.write(Entry::new(What::BreakGlass, GATEWAY, about).and("how", "as gateway.toml says")).await;
        }
        if !was.is_empty() && was != version {
            self.write(Entry::new(What::Update, GATEWAY, [("what", &"wardgate"), ("from", &was), ("to", &version)])).await;
        }
        if config.gateway.developer_mode {
            self.write(Entry::new(What::DeveloperMode, GATEWAY, [("allow_unsigned", &config.plugins.allow_unsigned)])).await;
        }
    }

    /// With the site's key, so that it is known also when the memory is damaged.
    pub fn by_site(&self, entry: Entry, config: &Config) -> Entry {
        match site_key(config) {
            Ok(Some(key)) => entry.and("site_key", key.id()),
            _ => entry,
        }
    }

    pub async fn end(&self) {
        self.write(Entry::new(What::Stop, GATEWAY, [])).await;
    }
}

fn with_digest(entry: Entry, sight: &Sight) -> Entry {
    match sight.digest() {
        Some(digest) => entry.and("digest", digest),
        None => entry,
    }
}

/// Another package of the release that ran last: only a person's override lets that in.
fn in_its_place(instance: &str, sight: &Sight, ran: Option<&Ran>, by: &str) -> Option<Entry> {
    let now = sight.ran();
    let was = ran.filter(|was| (&was.package, was.release) == (&now.package, now.release))?.digest.as_ref()?;
    let release = now.release;
    let about: [(&str, &dyn std::fmt::Display); 5] =
        [("instance", &instance), ("package", &now.package), ("from", &release), ("to", &release), ("instead_of", was)];
    let entry = Entry::new(What::BreakGlass, by, about).and("how", "another package of the same release, by the site's override");
    (now.digest.as_ref() != Some(was)).then(|| with_digest(entry, sight))
}

fn revoked(why: &Option<String>) -> String {
    why.clone().unwrap_or_else(|| "it is revoked no more".into())
}

/// Changes of one newer state of the metadata that are written down one by one: each is a write to flash.
const CHANGES_MAX: usize = 256;
/// A kept moment is renewed at most so often: each is a write to flash.
const NEWEST_STEP_S: i64 = 86_400;

/// Without the time of the day in it.
fn reason(why: &str) -> &str {
    why.split(", and here it is").next().unwrap_or(why)
}

pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn now() -> Moment {
    let now = moment();
    Moment { boot: now.boot, monotonic_ns: now.monotonic_ns, wall_ns: now.wall }
}

/// For verbs that write into the log beside the gateway.
pub fn audit_moment() -> Moment {
    now()
}

fn site_key(config: &Config) -> Result<Option<PublicKey>, Fault> {
    let key = config.trust.site_key.as_deref().map(PublicKey::read).transpose();
    key.map_err(|e| {
        let wrong = config.wrong(&["trust", "site_key"], &e, e.remedy());
        Fault::new(Guilty::Configuration, &wrong, &wrong.remedy)
    })
}

/// `before`: the site's key that held until now, which takes precedence.
pub fn vouched(config: &Config, before: Option<PublicKey>) -> Result<(), Fault> {
    match before.or(site_key(config)?) {
        Some(key) => config_signature(config.file(), config.text(), &key).map_err(|e| Fault::new(Guilty::Configuration, &e, e.remedy())),
        None => Ok(config.in_safe_hands(gateways_user(config.file(), &config.gateway.state))?),
    }
}
