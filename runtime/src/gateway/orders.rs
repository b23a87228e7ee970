//! What people ask of the running gateway: lets askers in, and does what they order, one order at a time. A reload compiles beside that.

use std::collections::BTreeMap;
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
use super::warden::{GATEWAY, Occasion, Sight, Warden, hash};
use super::workshop::{Decided, Workshop};
use crate::audit::{Entry, What};
use crate::config::{Config, OnRevoked};
use crate::console::{self, Asker, Order, Reloaded, Window};
use crate::fault::{Fault, Guilty};
use crate::plugin::{Command, Fleet};

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
                    let by = reload.as_ref().map(|r| r.by.clone()).unwrap_or_default();
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
                _ = look.tick(), if reload.is_none() => self.look(&mut on_disk).await,
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
        let new = reread(&self.file, &self.config).and_then(|config| self.warden.vouched(&config).map(|()| config));
        let judged = match new {
            Ok(config) => {
                self.warden.look(&config).await;
                self.warden.judge(&config, Occasion::Reload).map(|judge| (config, judge))
            }
            Err(fault) => Err(fault),
        };
        let (workshop, running) = (self.workshop.clone(), self.roster.posts());
        let ready = tokio::spawn(async move {
            let (config, judge) = judged?;
            let decided = workshop.posts(&config, &running, &judge).await?;
            Ok((config, decided))
        });
        Reload { ready, askers, by }
    }

    /// What may have changed while nobody gave an order.
    async fn look(&mut self, on_disk: &mut OnDisk) {
        let now = OnDisk::of(&self.config, on_disk.anew);
        if now == *on_disk {
            on_disk.anew = on_disk.anew.saturating_sub(1);
            return;
        }
        *on_disk = OnDisk { anew: LOOK_ANEW_S * 1000 / LOOK_MS, ..now };
        self.warden.look_at_file(&self.config).await;
        self.warden.look(&self.config).await;
        self.take_back().await;
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
                    let remedy = "ask the vendor for a package by another key or of another release, and reload";
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
        let (config, Decided { posts, withheld }) = match ready {
            Ok(ready) => ready,
            Err(fault) => {
                self.warden.write(Entry::new(What::Refuse, GATEWAY, [("what", &"reload"), ("why", &fault.what)]).and("asked", by)).await;
                return Err(fault);
            }
        };
        let changed = config.text() != self.config.text();
        let sights: BTreeMap<String, Sight> = posts.iter().map(|(name, post)| (name.clone(), post.sight.clone())).collect();
        self.config = config;
        let mut done = self.roster.change_to(posts).await?;
        done.file = self.file.display().to_string();
        if changed {
            let configuration = hash(self.config.text().as_bytes());
            let entry = Entry::new(What::ConfigChange, by, [("configuration", &configuration), ("done", &done)]);
            self.warden.write(entry.and("how", "reloaded")).await;
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
        let about = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        };
        let files = std::iter::once(config.file()).chain(fleet.as_deref()).map(about).collect();
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
