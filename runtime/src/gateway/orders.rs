//! What people ask of the running gateway: lets askers in, and does what they order, one order at a time. A reload compiles beside that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tracing::{error, info};
use wardgate_wire as wire;

use super::roster::Roster;
use super::told;
use super::workshop::{Posts, Workshop};
use crate::config::Config;
use crate::console::{self, Asker, Order, Reloaded, Window};
use crate::fault::{Fault, Guilty};
use crate::plugin::Command;

/// People and scripts that ask at once; the next one waits to be let in.
const ASKERS_MAX: usize = 32;
/// Askers, and signals, that wait for the reload after the one at work.
const RELOADS_WAITING_MAX: usize = ASKERS_MAX;

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

type Ready = Result<Result<(Config, Posts), Fault>, JoinError>;

/// A configuration that is being checked and compiled, and who waits for it.
struct Reload {
    ready: JoinHandle<Result<(Config, Posts), Fault>>,
    askers: Vec<Asker<Reloaded>>,
}

pub(super) struct Orders {
    pub roster: Roster,
    pub workshop: Arc<Workshop>,
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
        let mut next = Vec::new(); // who asked for a reload while one was at work, which may have read the file before it was changed
        loop {
            tokio::select! {
                biased;
                () = told(stopping.clone()) => break,
                Some(order) = orders.recv() => self.take(order, &mut next).await,
                ready = ready(&mut reload), if reload.is_some() => {
                    let done = self.change_to(ready).await;
                    match &done {
                        Ok(done) => info!("{done}"),
                        Err(fault) => error!("reload: {fault}"),
                    }
                    for asker in reload.take().into_iter().flat_map(|r| r.askers) {
                        let _ = asker.send(done.clone()); // who asked may have gone; the log has it
                    }
                }
            }
            if reload.is_none() && !next.is_empty() {
                reload = Some(self.reload(std::mem::take(&mut next)));
            }
        }
        if let Some(Reload { ready, .. }) = reload {
            ready.abort();
        }
        self.roster.end_all().await;
    }

    fn reload(&self, askers: Vec<Asker<Reloaded>>) -> Reload {
        info!(file = %self.file.display(), "reload");
        let (workshop, file, old, running) = (self.workshop.clone(), self.file.clone(), self.config.clone(), self.roster.posts());
        let ready = tokio::spawn(async move {
            let config = reread(&file, &old)?;
            let posts = workshop.posts(&config, &running).await?;
            Ok((config, posts))
        });
        Reload { ready, askers }
    }

    async fn take(&mut self, order: Order, reloads: &mut Vec<Asker<Reloaded>>) {
        match order {
            Order::Reload(asker) => {
                reloads.truncate(RELOADS_WAITING_MAX - 1); // one reload is for all of them; those beyond ask again
                reloads.push(asker);
            }
            Order::Restart { instance, asker } => self.roster.restart(&instance, asker),
            Order::Bind { instance, to, by, asker } => {
                let done = self.roster.rebind(&instance, to).await;
                match &done {
                    Ok(bound) => info!(user = by, "a person says: {bound}"),
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
    async fn change_to(&mut self, ready: Ready) -> Result<Reloaded, Fault> {
        let (config, posts) = ready.map_err(|e| Fault::new(Guilty::Internal, format!("the check ended: {e}"), "please report this"))??;
        self.config = config;
        let mut done = self.roster.change_to(posts).await?;
        done.file = self.file.display().to_string();
        Ok(done)
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
