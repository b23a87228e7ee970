//! What people ask of the running gateway: lets askers in, and does what they order, one order at a time. A reload compiles beside that.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Duration, MissedTickBehavior};
use tracing::{error, info};
use wardgate_wire as wire;

use super::roster::Roster;
use super::told;
use super::warden::{GATEWAY, Judge, Occasion, RELOADED, Sight, Warden, hash};
use super::workshop::{Decided, Posts, Workshop};
use crate::audit::{Entry, What};
use crate::config::{Config, OnRevoked};
use crate::console::{self, Asker, Order, Reloaded, Window};
use crate::fault::{Fault, Guilty};
use crate::plugin::{Command, Fleet, Memory};

/// People and scripts that ask at once; the next one waits to be let in.
const ASKERS_MAX: usize = 32;
/// Askers, and signals, that wait for the reload after the one at work.
const RELOADS_WAITING_MAX: usize = ASKERS_MAX;

/// How often the fleet's metadata and gateway.toml are looked at: quick for a person who waits for a revocation, and two calls to the kernel.
const LOOK_MS: u64 = 2000;
/// Without any change on disk metadata expires, and a clock is set.
const LOOK_ANEW_S: u64 = 60;

/// Lets askers in, each with a task of its own: one that waits long for its answer keeps nobody from asking how the gateway is.
pub(super) async fn let_in(listener: UnixListener, window: Window) {
    let places = Arc::new(Semaphore::new(ASKERS_MAX));
    let mut askers = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("never closed");
        let Ok((peer, _)) = listener.accept().await else { continue };
        while askers.try_join_next().is_some() {}
        let window = window.clone();
        askers.spawn(async move {
            console::attend(peer, &window).await;
            drop(place);
        });
    }
}

type Ready = Result<Result<(Config, Decided), Fault>, JoinError>;

/// A configuration that is being checked and compiled, and who waits for it.
struct Reload {
    ready: JoinHandle<Result<(Config, Decided), Fault>>,
    askers: Vec<Asker<Reloaded>>,
    by: String,
    /// Only these come in; everything else is as it was.
    only: Option<BTreeSet<String>>,
}

pub(super) struct Orders {
    pub roster: Roster,
    pub workshop: Arc<Workshop>,
    pub warden: Warden,
    /// What runs was read from here.
    pub file: PathBuf,
    pub config: Config,
    pub life: wire::Life,
    /// Commands given in this life.
    pub commands: u64,
    /// Instances that do not run because of a revocation.
    pub revoked: BTreeMap<String, Sight>,
}

impl Orders {
    /// Until it is time to stop; then every instance says its last words.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, stopping: watch::Receiver<bool>) {
        let mut reload: Option<Reload> = None;
        let mut look = tokio::time::interval(Duration::from_millis(LOOK_MS));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut on_disk = OnDisk::default();
        let mut next: Vec<(Asker<Reloaded>, Option<u32>)> = Vec::new(); // who asked for a reload while one was at work, which may have read the file before it was changed
        loop {
            tokio::select! {
                biased;
                () = told(stopping.clone()) => break,
                Some(order) = orders.recv() => self.take(order, &mut next).await,
                ready = ready(&mut reload), if reload.is_some() => {
                    let (by, only) = reload.as_mut().map(|r| (r.by.clone(), r.only.take())).unwrap_or_default();
                    if let Some(only) = only {
                        reload = None;
                        if let Err(fault) = self.give_back(ready, &only).await {
                            error!("it is allowed again, and does not start: {fault}");
                        }
                        continue;
                    }
                    let done = self.change_to(ready, &by).await;
                    match &done {
                        Ok(done) => info!("{done}"),
                        Err(fault) => error!("reload: {fault}"),
                    }
                    on_disk = OnDisk::default();
                    for asker in reload.take().into_iter().flat_map(|r| r.askers) {
                        let _ = asker.send(done.clone()); // who asked may have gone; the log has it
                    }
                }
                _ = look.tick(), if reload.is_none() => reload = self.look(&mut on_disk).await,
            }
            if reload.is_none() && !next.is_empty() {
                reload = Some(self.reload(std::mem::take(&mut next)).await);
            }
        }
        if let Some(Reload { ready, .. }) = reload {
            ready.abort();
        }
        self.roster.end_all().await;
        self.warden.end().await;
    }

    async fn reload(&mut self, askers: Vec<(Asker<Reloaded>, Option<u32>)>) -> Reload {
        info!(file = %self.file.display(), "reload");
        let by = askers.first().and_then(|(_, by)| *by).map_or_else(|| "SIGHUP".to_owned(), |uid| format!("uid {uid}"));
        let askers = askers.into_iter().map(|(asker, _)| asker).collect();
        let judged = self.reread().await;
        let (workshop, running) = (self.workshop.clone(), self.roster.posts());
        let ready = tokio::spawn(async move {
            let (config, judge) = judged?;
            let decided = workshop.posts(&config, &running, &judge).await?;
            Ok((config, decided))
        });
        Reload { ready, askers, by, only: None }
    }

    /// The file as it is now, and what is known for judging it.
    async fn reread(&mut self) -> Result<(Config, Judge), Fault> {
        let (file, old) = (self.file.clone(), self.config.clone());
        let read = tokio::task::spawn_blocking(move || reread(&file, &old)).await;
        let config = read.unwrap_or_else(|e| Err(Fault::new(Guilty::Internal, e, "please report this")))?;
        self.warden.vouched(&config).await?;
        self.warden.look(&config).await;
        let judge = self.warden.judge(&config, Occasion::Reload).await?;
        Ok((config, judge))
    }

    /// Where the site's rule stopped what was revoked at once, it lets it in again as soon as it is allowed again; under the other rules that is for
    /// the next reload or restart. What runs is not touched, and gateway.toml is not read: a reload is a person's.
    async fn allowed_again(&mut self) -> Option<Reload> {
        let allowed = self.revoked.iter().filter(|(name, sight)| self.roster.post(name).is_none() && self.warden.revoked(sight).is_none());
        let gone: BTreeSet<String> = allowed.map(|(name, _)| name.clone()).collect();
        if gone.is_empty() || self.config.trust.on_revoked != OnRevoked::StopNow {
            return None;
        }
        let judge = self.warden.judge(&self.config, Occasion::Start).await.ok()?;
        let (workshop, running, config) = (self.workshop.clone(), self.roster.posts(), self.config.clone());
        let ready = tokio::spawn(async move {
            let decided = workshop.posts(&config, &running, &judge).await?;
            Ok((config, decided))
        });
        Some(Reload { ready, askers: Vec::new(), by: GATEWAY.into(), only: Some(gone) })
    }

    async fn give_back(&mut self, ready: Ready, gone: &BTreeSet<String>) -> Result<(), Fault> {
        let ready = ready.map_err(|e| Fault::new(Guilty::Internal, format!("the check ended: {e}"), "please report this"))?;
        let (_, decided) = ready?;
        let back: Posts = decided.posts.into_iter().filter(|(name, _)| gone.contains(name)).collect();
        if back.is_empty() {
            return Ok(()); // something else keeps it from running now
        }
        let sights: BTreeMap<String, Sight> = back.iter().map(|(name, post)| (name.clone(), post.sight.clone())).collect();
        let mut posts = self.roster.posts();
        posts.extend(back);
        self.roster.change_to(posts).await?;
        for name in sights.keys() {
            self.revoked.remove(name);
            self.warden.tell_allowed(name).await;
        }
        self.warden.take(&sights, Occasion::Reload, GATEWAY).await;
        Ok(())
    }

    /// What may have changed while nobody gave an order.
    async fn look(&mut self, on_disk: &mut OnDisk) -> Option<Reload> {
        let now = OnDisk::of(&self.config, on_disk.anew);
        if now == *on_disk {
            on_disk.anew = on_disk.anew.saturating_sub(1);
            return None;
        }
        *on_disk = OnDisk { anew: LOOK_ANEW_S * 1000 / LOOK_MS, ..now };
        self.warden.look_at_file(&self.config).await;
        self.warden.look(&self.config).await;
        self.take_back().await;
        self.allowed_again().await
    }

    /// What the fleet revokes of what runs, by the rule of the site.
    async fn take_back(&mut self) {
        let policy = self.config.trust.on_revoked;
        let mut posts = self.roster.posts();
        let mut withheld = BTreeMap::new();
        for (name, post) in self.roster.posts() {
            let Some(why) = self.warden.revoked(&post.sight) else {
                self.warden.forget_told(&name);
                continue;
            };
            let done = match policy {
                OnRevoked::StopNow => {
                    posts.remove(&name);
                    self.revoked.insert(name.clone(), post.sight.clone());
                    let remedy = "ask the vendor for a package by another key or of another release, and reload; it comes back by itself when it is allowed again";
                    withheld.insert(name.clone(), Fault::new(Guilty::Plugin, &why, remedy));
                    "it is stopped, as on_revoked = \"stop-now\" says"
                }
                OnRevoked::StopAtMaintenance => "it goes on to the next reload or restart, as on_revoked = \"stop-at-maintenance\" says",
                OnRevoked::Alert => "it goes on, as on_revoked = \"alert\" says",
            };
            self.warden.tell_revoked(&name, &why, done).await;
        }
        if withheld.is_empty() {
            return;
        }
        if let Err(fault) = self.roster.change_to(posts).await {
            error!("revoked, and it did not stop: {fault}");
        }
        self.warden.withhold(&withheld).await;
    }

    async fn take(&mut self, order: Order, reloads: &mut Vec<(Asker<Reloaded>, Option<u32>)>) {
        match order {
            Order::Reload { by, asker } => {
                reloads.truncate(RELOADS_WAITING_MAX - 1); // one reload is for all of them; those beyond ask again
                reloads.push((asker, by));
            }
            Order::Restart { instance, asker } => self.roster.restart(&instance, asker),
            Order::Bind { instance, to, by, asker } => {
                let done = self.roster.rebind(&instance, to).await;
                match &done {
                    Ok(bound) => {
                        info!(user = by, "a person says: {bound}");
                        let who = by.map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"));
                        self.warden.write(Entry::new(What::Bind, who, [("instance", &instance), ("bound", bound)])).await;
                    }
                    Err(fault) => info!(user = by, instance, "a binding was refused: {}", fault.what),
                }
                let _ = asker.send(done); // who asked may have gone; the log has it
            }
            Order::CommandId(asker) => {
                self.commands += 1;
                let _ = asker.send(Ok(format!("{:016x}-{}", self.life, self.commands)));
            }
            Order::Command { instance, name, id, argument, asker } => {
                self.command(&instance, Command { id, name, argument, answer: asker })
            }
        }
    }

    fn command(&self, instance: &str, command: Command) {
        let known = self.roster.post(instance).map(|post| &post.plugin.manifest);
        let refused = match known.filter(|manifest| !manifest.commands.contains_key(&command.name)) {
            Some(manifest) => {
                let commands: Vec<_> = manifest.commands.iter().map(|(name, c)| format!("\n    {name}: {}", c.description)).collect();
                let what = format!("plugin {} of instance \"{instance}\" knows no command \"{}\"", manifest.full_name(), command.name);
                let remedy = if commands.is_empty() { "it takes no commands".into() } else { format!("it knows{}", commands.concat()) };
                Err((Fault::new(Guilty::Configuration, what, remedy), command.answer))
            }
            None => Ok(command),
        };
        match refused {
            Ok(command) => self.roster.command(instance, command),
            Err((fault, asker)) => drop(asker.send(Err(fault))),
        }
    }

    /// All of it is ready: what runs is changed, and from here on this is the configuration.
    async fn change_to(&mut self, ready: Ready, by: &str) -> Result<Reloaded, Fault> {
        let ready = ready.map_err(|e| Fault::new(Guilty::Internal, format!("the check ended: {e}"), "please report this"))?;
        let (config, Decided { posts, withheld, revoked }) = match ready {
            Ok(ready) => ready,
            Err(fault) => {
                self.warden.write(Entry::new(What::Refuse, GATEWAY, [("what", &"reload"), ("why", &fault.what)]).and("asked", by)).await;
                return Err(fault);
            }
        };
        let changed = config.text() != self.config.text();
        let sights: BTreeMap<String, Sight> = posts.iter().map(|(name, post)| (name.clone(), post.sight.clone())).collect();
        self.config = config;
        self.revoked = revoked;
        let mut done = self.roster.change_to(posts).await?;
        done.file = self.file.display().to_string();
        if changed {
            let configuration = hash(self.config.text().as_bytes());
            let entry = Entry::new(What::ConfigChange, by, [("configuration", &configuration), ("done", &done)]);
            self.warden.write(self.warden.by_site(entry.and("how", RELOADED), &self.config)).await;
        }
        self.warden.only(&self.config);
        self.warden.take(&sights, Occasion::Reload, by).await;
        self.warden.withhold(&withheld).await;
        self.warden.look_at_file(&self.config).await;
        done.withheld = withheld.keys().cloned().collect();
        Ok(done)
    }
}

/// What of the files that others write was looked at last: name, moment of the change, length.
#[derive(Default, PartialEq)]
struct OnDisk {
    files: Vec<Option<(SystemTime, u64, u64)>>,
    /// Looks without a change until everything is looked at again.
    anew: u64,
}

impl OnDisk {
    fn of(config: &Config, anew: u64) -> Self {
        let fleet = config.trust.folder.as_deref().map(Fleet::path);
        let memory = Memory::path_in(&config.gateway.state);
        let about = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        };
        let files = [config.file(), &memory].into_iter().chain(fleet.as_deref()).map(about).collect();
        Self { files, anew: if anew == 0 { u64::MAX } else { anew } }
    }
}

async fn ready(reload: &mut Option<Reload>) -> Ready {
    match reload {
        Some(reload) => (&mut reload.ready).await,
        None => std::future::pending().await,
    }
}

/// The file as it is now, if a running gateway can be changed to it.
fn reread(file: &Path, old: &Config) -> Result<Config, Fault> {
    let new = Config::load(file)?;
    super::secrets(&new)?;
    let Config { gateway, uplink, store, plugins, metrics, .. } = &new;
    let fixed = [
        ("gateway", *gateway == old.gateway),
        ("uplink", *uplink == old.uplink),
        ("store", *store == old.store),
        ("plugins", *plugins == old.plugins),
        ("metrics", *metrics == old.metrics),
    ];
    let changed: Vec<_> = fixed.iter().filter(|(_, same)| !same).map(|(name, _)| format!("[{name}]")).collect();
    if changed.is_empty() {
        return Ok(new);
    }
    let what = format!("{} of {} changed, which takes a restart; nothing was changed", changed.join(" and "), file.display());
    Err(Fault::new(Guilty::Configuration, what, "stop the gateway and start it again, or undo that change and reload"))
}
