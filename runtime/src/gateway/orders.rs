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

use super::lean;
use super::roster::Roster;
use super::told;
use super::warden::{GATEWAY, Judge, Occasion, RELOADED, Sight, Warden, hash};
use super::workshop::{Checked, Coming, Decided, LeftOut, Post, Posts, Workshop};
use crate::audit::{Entry, What};
use crate::config::{Config, OnRevoked};
use crate::console::{self, Asker, Order, Reloaded, To, Window};
use crate::contract::one_line;
use crate::fault::{Fault, Guilty};
use crate::plugin::{Command, Fleet, InOthersHands, Memory, in_others_hands};
use crate::status::{InstanceStatus, Status};

/// People and scripts that ask at once; the next one waits to be let in.
const ASKERS_MAX: usize = 32;
/// Askers, and signals, that wait for the reload after the one at work.
const RELOADS_WAITING_MAX: usize = ASKERS_MAX;

/// How often the fleet's metadata and gateway.toml are looked at: quick for a person who waits for a revocation, and two calls to the kernel.
const LOOK_MS: u64 = 2000;
/// Without any change on disk metadata expires, and a clock is set.
const LOOK_ANEW_S: u64 = 60;
const DESCRIPTION_BYTES_MAX: usize = 300; // of a command, in a line for a person

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
    pub status: Status,
    /// What runs was read from here.
    pub file: PathBuf,
    pub config: Config,
    pub life: wire::Life,
    /// Commands given in this life.
    pub commands: u64,
    /// Instances that do not run because of a revocation.
    pub revoked: BTreeMap<String, Sight>,
    pub door: Door,
}

/// Who comes in by itself while the others run, once its plugin is compiled.
pub(super) struct Door {
    coming: JoinSet<Vec<Coming>>,
    /// Their names, and who asked for them.
    names: BTreeMap<String, Vec<Asker<()>>>,
    /// When the configuration that names them was read.
    since: Occasion,
}

impl Door {
    pub fn open(since: Occasion, workshop: &Arc<Workshop>, config: &Config, late: Vec<Vec<(String, Checked)>>, status: &Status) -> Self {
        let mut door = Self { coming: JoinSet::new(), names: BTreeMap::new(), since };
        let config = Arc::new(config.clone());
        for batch in late {
            for (name, _) in &batch {
                door.names.insert(name.clone(), Vec::new());
                status.instance(name, compiling);
            }
            let (workshop, config) = (workshop.clone(), config.clone());
            door.coming.spawn(async move { workshop.compile(&config, batch).await });
        }
        door
    }

    fn answer(&mut self, name: &str, done: &Result<(), Fault>) {
        for asker in self.names.remove(name).unwrap_or_default() {
            let _ = asker.send(done.clone()); // who asked may have gone; the log has it
        }
    }

    /// One that does not run; an asker waits for what becomes of it.
    fn again(&mut self, workshop: &Arc<Workshop>, config: &Config, name: &str, judge: Judge, asker: Option<Asker<()>>) {
        self.names.insert(name.to_owned(), asker.into_iter().collect());
        let (workshop, config, name) = (workshop.clone(), config.clone(), name.to_owned());
        self.coming.spawn(async move { workshop.again(&config, &name, &judge).await });
    }
}

fn compiling(i: &mut InstanceStatus) {
    (i.state, i.detail) = ("compiling".into(), "its plugin is being compiled; the others run meanwhile".into());
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
                Some(coming) = self.door.coming.join_next(), if reload.is_none() => self.come_in(coming).await,
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
        let judged = self.reread().await;
        let (workshop, running) = (self.workshop.clone(), self.roster.posts());
        let alone = self.config.instances.keys().filter(|name| !running.contains_key(*name)).cloned().collect();
        let ready = tokio::spawn(async move {
            let (config, mut judge) = judged?;
            let decided = workshop.posts(&config, &running, &alone, &mut judge).await?;
            Ok((config, decided))
        });
        Reload { ready, askers, by }
    }

    /// The file as it is now, and what is known for judging it.
    async fn reread(&mut self) -> Result<(Config, Judge), Fault> {
        let (file, old) = (self.file.clone(), self.config.clone());
        let read = tokio::task::spawn_blocking(move || reread(&file, &old)).await;
        let config = read.unwrap_or_else(|e| Err(Fault::new(Guilty::Internal, e, "please report this")))?;
        self.warden.vouched(&config).await?;
        self.warden.look(&config).await;
        self.warden.in_good_hands()?;
        let judge = self.warden.judge(&config, Occasion::Reload).await?;
        Ok((config, judge))
    }

    /// Where the site's rule stopped what was revoked at once, it lets it in again as soon as it is allowed again; under the other rules that is for
    /// the next reload or restart. What runs is not touched, and gateway.toml is not read: a reload is a person's.
    async fn allowed_again(&mut self) {
        let absent = |name: &String| self.roster.post(name).is_none() && !self.door.names.contains_key(name);
        let allowed = self.revoked.iter().filter(|(name, sight)| absent(name) && self.warden.revoked(sight).is_none());
        let gone: Vec<String> = allowed.map(|(name, _)| name.clone()).collect();
        if self.config.trust.on_revoked != OnRevoked::StopNow {
            return;
        }
        for name in gone {
            let Ok(judge) = self.warden.judge(&self.config, Occasion::Start).await else { return };
            self.door.again(&self.workshop, &self.config, &name, judge, None);
        }
    }

    /// A person wants one that is configured and does not run.
    async fn try_again(&mut self, name: String, asker: Asker<()>) {
        if let Some(askers) = self.door.names.get_mut(&name) {
            askers.truncate(ASKERS_MAX - 1);
            return askers.push(asker); // it is on its way already
        }
        match self.warden.judge(&self.config, Occasion::Start).await {
            Ok(judge) => {
                info!(instance = %name, "a person wants it tried again");
                self.status.instance(&name, compiling);
                self.door.again(&self.workshop, &self.config, &name, judge, Some(asker));
            }
            Err(fault) => drop(asker.send(Err(fault))),
        }
    }

    /// Those whose plugin is compiled, beside all who run; or why not.
    async fn come_in(&mut self, coming: Result<Vec<Coming>, JoinError>) {
        let coming = match coming {
            Ok(coming) => coming,
            Err(e) => {
                self.door.names.retain(|_, _| !self.door.coming.is_empty()); // whose it was is not known
                return error!("the compiling of a plugin ended by itself: {e}; please report this");
            }
        };
        let (mut posts, mut left_out) = (Posts::new(), BTreeMap::new());
        for (name, done) in coming {
            match done.and_then(|post| self.still_allowed(post)) {
                Ok(post) => drop(posts.insert(name, post)),
                Err(why) => drop(left_out.insert(name, why)),
            }
        }
        let names: Vec<String> = posts.keys().cloned().collect();
        match self.take_in(posts.clone()).await {
            Ok(()) => {}
            Err(_) if posts.len() > 1 => {
                for (name, post) in posts {
                    if let Err(fault) = self.take_in(Posts::from([(name.clone(), post)])).await {
                        left_out.insert(name, fault.into());
                    }
                }
            }
            Err(fault) => left_out.extend(names.first().map(|name| (name.clone(), fault.into()))),
        }
        for name in names.into_iter().filter(|name| !left_out.contains_key(name)).collect::<Vec<_>>() {
            self.door.answer(&name, &Ok(()));
        }
        for (name, LeftOut { fault, revoked }) in left_out {
            self.revoked.extend(revoked.map(|sight| (name.clone(), *sight)));
            // what keeps it out is told once
            if !self.status.instance(&name, |i| i.state == "withheld" && i.detail == fault.what) {
                self.warden.withhold(&BTreeMap::from([(name.clone(), fault.clone())])).await;
            }
            self.door.answer(&name, &Err(fault));
        }
    }

    /// It may have been revoked while it was compiled.
    fn still_allowed(&self, post: Post) -> Result<Post, LeftOut> {
        match self.warden.revoked(&post.sight).filter(|_| post.sight.revoked.is_none()) {
            None => Ok(post),
            Some(why) => {
                let fault =
                    Fault::new(Guilty::Plugin, why, "ask the vendor for a package by another key or of another release, and reload");
                Err(LeftOut { fault, revoked: Some(Box::new(post.sight)) })
            }
        }
    }

    /// Beside all who run, or none of these.
    async fn take_in(&mut self, those: Posts) -> Result<(), Fault> {
        if those.is_empty() {
            return Ok(());
        }
        let sights: BTreeMap<String, Sight> = those.iter().map(|(name, post)| (name.clone(), post.sight.clone())).collect();
        let mut posts = self.roster.posts();
        posts.extend(those);
        self.workshop.buses(&self.config, &posts).await?;
        self.roster.change_to(posts).await?;
        for name in sights.keys() {
            if self.revoked.remove(name).is_some() {
                self.warden.tell_allowed(name).await;
            }
        }
        self.warden.take(&self.config, &sights, self.door.since, GATEWAY).await;
        Ok(())
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
        self.allowed_again().await;
        lean::give_back(); // what reads a configuration runs once a minute
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

    /// It stands in the audit log before it takes effect: who stood where is what the log is asked for first.
    async fn rebind(&mut self, instance: &str, to: To, by: Option<u32>) -> Result<String, Fault> {
        let (binding, bound) = self.roster.rebinding(instance, to)?;
        let who = by.map_or_else(|| "somebody".to_owned(), |uid| format!("uid {uid}"));
        self.warden.before(Entry::new(What::Bind, who, [("instance", &instance), ("bound", &bound.as_str())])).await?;
        self.roster.rebind(instance, binding).await;
        info!(user = by, "a person says: {bound}");
        Ok(bound)
    }

    fn is_absent(&self, instance: &str) -> bool {
        self.config.instances.contains_key(instance) && self.roster.post(instance).is_none()
    }

    async fn take(&mut self, order: Order, reloads: &mut Vec<(Asker<Reloaded>, Option<u32>)>) {
        match order {
            Order::Reload { by, asker } => {
                reloads.truncate(RELOADS_WAITING_MAX - 1); // one reload is for all of them; those beyond ask again
                reloads.push((asker, by));
            }
            Order::Restart { instance, asker } if self.is_absent(&instance) => self.try_again(instance, asker).await,
            Order::Restart { instance, asker } => self.roster.restart(&instance, asker),
            Order::Bind { instance, to, by, asker } => {
                let done = self.rebind(&instance, to, by).await;
                if let Err(fault) = &done {
                    info!(user = by, instance, "a binding was refused: {}", fault.what);
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
                let commands: Vec<_> = manifest
                    .commands
                    .iter()
                    .map(|(name, c)| format!("\n    {name}: {}", one_line(&c.description, DESCRIPTION_BYTES_MAX)))
                    .collect();
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
        let (config, Decided { posts, withheld, revoked, late }) = match ready {
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
        self.door = Door::open(Occasion::Reload, &self.workshop, &self.config, late, &self.status); // whoever comes in by now is among these
        let mut done = self.roster.change_to(posts).await?;
        done.file = self.file.display().to_string();
        if changed {
            let configuration = hash(self.config.text().as_bytes());
            let entry = Entry::new(What::ConfigChange, by, [("configuration", &configuration), ("done", &done)]);
            self.warden.write(self.warden.by_site(entry.and("how", RELOADED), &self.config)).await;
        }
        self.warden.only(&self.config);
        self.warden.take(&self.config, &sights, Occasion::Reload, by).await;
        self.warden.withhold(&withheld).await;
        self.warden.look_at_file(&self.config).await;
        done.withheld = withheld.into_keys().collect();
        done.compiling = self.door.names.keys().cloned().collect();
        Ok(done)
    }
}

/// What of the files that others write was looked at last: name, moment of the change, length.
#[derive(Default, PartialEq)]
struct OnDisk {
    files: Vec<Option<(SystemTime, u64, u64)>>,
    /// Which of them, and of the vendors' keys, another user may write.
    hands: Vec<InOthersHands>,
    /// Looks without a change until everything is looked at again.
    anew: u64,
}

impl OnDisk {
    fn of(config: &Config, anew: u64) -> Self {
        let fleet = config.trust.folder.as_deref().map(Fleet::path);
        let (memory, keys) = (Memory::path_in(&config.gateway.state), config.trust.keys());
        let about = |path: &Path| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len(), about.ino()))
        };
        let files = [config.file(), &memory].into_iter().chain(fleet.as_deref()).chain(keys.as_deref()).map(about).collect();
        let hands = in_others_hands(&config.trust, &config.gateway.state, rustix::process::geteuid().as_raw());
        Self { files, hands, anew: if anew == 0 { u64::MAX } else { anew } }
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
