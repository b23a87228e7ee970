//! The corridor: the only file that names every room, makes channels, starts tasks and reads the clock.

#![allow(clippy::disallowed_methods)] // here, and only here

mod clock;
mod scribe;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use wardgate_wire as wire;

use crate::capability::inbox::{Inbox, inbox};
use crate::capability::{modbus, serial};
use crate::config::{Config, Instance, Link, Secrets};
use crate::console;
use crate::fault::{Fault, Guilty};
use crate::pipeline::{Heads, Pipeline, Setup};
use crate::plugin::{self, Compiler, DeviceKey, FromPipeline, Host, Links, Package, Posting, Prepared, Supervisor, ToPipeline, Wiring};
use crate::status::Status;
use crate::store::{Found, Limits, Shelf, Store};
use crate::uplink::{self, Uplink};

use clock::{boot, boottime_ns, moment, random};
use scribe::Scribe;

/// Links and uplink wait for devices and networks; two threads keep one slow step from holding all others.
pub const WORKER_THREADS: usize = 2;
/// Guest calls and flushes: more at once than a Pi has cores gains nothing.
pub const BLOCKING_THREADS_MAX: usize = 8;
/// Calls that are finished and not yet taken down, beside the room that each instance holds while it waits.
const SPOKEN_WAITING_MAX: usize = 64;
/// Words back to one instance: what became durable. It takes them at any time, so a few are enough.
const BACK_WAITING_MAX: usize = 16;
/// A bus that does not answer is given up after 3 s; what takes longer may not keep the rest waiting.
const READY_S_MAX: u64 = 5;
/// Plugins and the uplink get this long for their last words, the last group too.
const STOP_S_MAX: u64 = 10;

// ---------- the way in and out

/// Runs until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| Fault::new(Guilty::Internal, e, ""))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Fault::new(Guilty::Internal, e, ""))?;
    let links = links_of(&config);
    let running = Running::start(config).await?;
    everything_tried(&running.status, &links).await;
    // whoever waits for the gateway reads this line; a closed standard output is no reason to stop
    let _ = writeln!(std::io::stdout(), "ready");
    let mut scribe = running.scribe;
    let early = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut scribe => Some(ended),
    };
    info!("stopping: last words of the instances, last group");
    let _ = running.stop_instances.send(true);
    let ended = match early {
        Some(ended) => ended,
        // commits give up by themselves; instances that hang are left behind
        None => tokio::time::timeout(Duration::from_secs(2 * STOP_S_MAX), scribe).await.unwrap_or(Ok(Ok(()))),
    };
    let _ = running.stop_uplink.send(true);
    let mut tasks = running.tasks;
    let _ = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), async { while tasks.join_next().await.is_some() {} }).await;
    info!("stopped");
    ended.unwrap_or_else(|e| Err(Fault::new(Guilty::Internal, format!("the task that takes down ended: {e}"), "please report this")))
}

/// Instance, and the names of its links in status.
fn links_of(config: &Config) -> Vec<(String, Vec<String>)> {
    let links = |i: &Instance| {
        let serial = i.grants.serial.as_ref().map(|g| g.port.display().to_string());
        serial.into_iter().chain(i.grants.modbus.as_ref().map(|g| g.bus.clone())).collect()
    };
    config.instances.iter().map(|(name, instance)| (name.clone(), links(instance))).collect()
}

/// Ready means that every plugin was opened and every line was tried once: what a device says from now on is heard, or told.
async fn everything_tried(status: &Status, instances: &[(String, Vec<String>)]) {
    const LOOK_MS: u64 = 5; // a start takes some ten milliseconds, and then nobody looks any more
    let tried = || {
        let now = status.read();
        let line = |name: &String| now.links.get(name).is_some_and(|l| l.up || !l.last_error.is_empty());
        let open = |name: &String| now.instances.get(name).is_some_and(|i| i.opens + i.faults > 0);
        instances.iter().all(|(name, links)| open(name) && links.iter().all(line))
    };
    for _ in 0..READY_S_MAX * 1000 / LOOK_MS {
        if tried() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    warn!("not every plugin is open and not every line was tried within {READY_S_MAX} s; going on without them");
}

/// Everything that runs.
struct Running {
    status: Status,
    scribe: tokio::task::JoinHandle<Result<(), Fault>>,
    tasks: JoinSet<()>,
    stop_instances: watch::Sender<bool>,
    stop_uplink: watch::Sender<bool>,
    _lock: File,
}

impl Running {
    async fn start(config: Config) -> Result<Self, Fault> {
        let secrets = Secrets::read(&config.uplink)?;
        let lock = lock(&config.gateway.state)?;
        let plugins = prepare(&config).await?;
        let (store, shelf, found) = open_store(&config)?;
        let heads = Heads::rebuild(&found.heads).map_err(|e| {
            let what = format!("the store in {} holds heads that cannot be read: {e}", config.gateway.state.display());
            Fault::new(
                Guilty::Store,
                what,
                "this version is older than the one that wrote them, or the card is damaged: keep the folder, and report this",
            )
        })?;
        let (life, seed) = (u64::from_le_bytes(random()?), u64::from_le_bytes(random()?));
        let status = Status::default();
        describe(&status, &config, life);
        status.with(|s| s.memory_profile = plugins.values().next().map_or("", |p| p.profile().name()).into());
        let pipeline = pipeline(&config, &secrets, life, heads);
        let (stop_instances, stopping) = watch::channel(false);
        let (stop_uplink, uplink_stopping) = watch::channel(false);
        let (news, committed) = watch::channel(0);
        let (present, now_at) = watch::channel((life, 0));
        let (link, online) = watch::channel(false);
        let mut tasks = JoinSet::new();

        let listener = console::listen(&config.gateway.state).map_err(|e| {
            let what = format!("the status socket {} cannot be made: {e}", console::socket_path(&config.gateway.state).display());
            Fault::new(Guilty::Port, what, "the state folder must be writable, and its path shorter than 90 characters")
        })?;
        tasks.spawn(until(uplink_stopping.clone(), console::serve(listener, status.clone(), boottime_ns)));

        let uplink = Uplink::new(uplink::Setup {
            config: &config.uplink,
            ca_pem: &secrets.ca_pem,
            password: secrets.password.as_deref(),
            gateway: config.gateway_id(),
            key: secrets.mac_key,
            shelf: shelf.clone(),
            news: committed,
            present: now_at,
            link,
            seed,
            status: status.clone(),
        })
        .map_err(|e| Fault::new(Guilty::Uplink, e, "look at [uplink] in gateway.toml and at the files that it names"))?;
        tasks.spawn(async move { uplink.run(told(uplink_stopping)).await });

        let room = SPOKEN_WAITING_MAX + plugin::PIPELINE_ROOM * config.instances.len();
        let (spoken, words) = mpsc::channel(room);
        let mut wires = Wires { config: &config, status: &status, tasks: &mut tasks, buses: BTreeMap::new(), backs: BTreeMap::new(), seed };
        wires.instances(plugins, found.states, &spoken, &stopping)?;
        let backs = wires.backs;
        drop(spoken); // the scribe ends when the last instance has gone

        let scribe = Scribe {
            pipeline,
            store: Some(store),
            shelf,
            status: status.clone(),
            backs,
            news,
            present,
            online,
            commit: Duration::from_millis(config.store.commit_ms),
            last_commit: Instant::now() - Duration::from_secs(1),
            epoch_since: Instant::now(),
            offline_since: Some(Instant::now()),
            clock: None,
            stopping,
        };
        Ok(Self { status, scribe: tokio::spawn(scribe.run(words)), tasks, stop_instances, stop_uplink, _lock: lock })
    }
}

/// Ends `work` when it is time to stop: for what keeps nothing.
async fn until(stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = told(stop) => {}
        () = work => {}
    }
}

/// Returns when it is time to stop, also when whoever would tell has gone.
async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One gateway for one state folder: two would write into each other's store.
fn lock(state: &Path) -> Result<File, Fault> {
    let failed = |e: &dyn std::fmt::Display| {
        let what = format!("the state folder {} cannot be used: {e}", state.display());
        Fault::new(Guilty::Store, what, "make it, and let the gateway's user write into it; or set gateway.state to another folder")
    };
    std::fs::create_dir_all(state).map_err(|e| failed(&e))?;
    let file = File::create(state.join("lock")).map_err(|e| failed(&e))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let what = format!("another gateway runs on the state folder {}", state.display());
        Fault::new(Guilty::Port, what, "stop it, or give this one a state folder of its own")
    })?;
    Ok(file)
}

fn open_store(config: &Config) -> Result<(Store, Shelf, Found), Fault> {
    let limits = Limits { segment_bytes: config.store.segment_bytes, bytes_max: config.store.bytes_max };
    let opened = Store::open(&config.gateway.state.join("store"), limits, u64::from_le_bytes(random()?));
    let (store, shelf, found) =
        opened.map_err(|e| Fault::new(Guilty::Store, e, "nothing was changed; look at the folder and at the card under it"))?;
    for torn in &found.torn {
        warn!(?torn, "not all of the store can be read");
    }
    Ok((store, shelf, found))
}

fn describe(status: &Status, config: &Config, life: u64) {
    status.with(|s| {
        s.gateway.clone_from(&config.gateway.id);
        s.version = env!("CARGO_PKG_VERSION").into();
        s.life = format!("{life:016x}");
        s.started_monotonic_ns = boottime_ns();
        s.allow_unsigned = config.plugins.allow_unsigned;
        s.uplink.broker = format!("{}:{}", config.uplink.host, config.uplink.port);
    });
}

fn pipeline(config: &Config, secrets: &Secrets, life: u64, found: Option<Heads>) -> Pipeline {
    let opening = match &found {
        Some(heads) if !heads.stopped() && heads.moment().boot != boot() => wire::GapReason::PowerCut,
        _ => wire::GapReason::GatewayRestart,
    };
    info!(life = format!("{life:016x}"), after = found.as_ref().map(|h| format!("{:016x}", h.life())), ?opening, "a life begins");
    let personal = config.instances.iter().filter(|(_, i)| i.grants.personal).map(|(name, _)| name.clone());
    let setup = Setup {
        gateway: config.gateway_id(),
        life,
        key: secrets.mac_key.clone(),
        batch_bytes: config.uplink.batch_bytes,
        software: format!("wardgate {}", env!("CARGO_PKG_VERSION")),
        opening,
        personal_granted: personal.collect(),
    };
    let now = moment();
    let mut pipeline = Pipeline::new(setup, found, now);
    for (name, instance) in &config.instances {
        if let Some(bed) = &instance.bed {
            pipeline.binding(name, None, Some(bed), now);
        }
    }
    pipeline
}

/// Reads, checks and compiles every package, before a store is touched or a port opened.
async fn prepare(config: &Config) -> Result<BTreeMap<String, Arc<Prepared>>, Fault> {
    if config.plugins.allow_unsigned {
        warn!(
            "UNSIGNED PLUGINS ARE ALLOWED (plugins.allow_unsigned): whoever can write to a package's folder decides what runs in its sandbox"
        );
    }
    let state = &config.gateway.state;
    let refused =
        |e: plugin::PluginError| Fault::new(Guilty::Plugin, e, "correct the package or its line in gateway.toml, then start again");
    let host = Arc::new(Host::probe().map_err(refused)?);
    let program = std::env::current_exe().map_err(|e| Fault::new(Guilty::Internal, e, ""))?;
    let key = DeviceKey::open(state, random()?).map_err(refused)?;
    let compiler = Compiler::open(state, key, program, vec![Compiler::VERB.into()], plugin::CompileLimits::default()).map_err(refused)?;
    let mut prepared = BTreeMap::new();
    for (name, instance) in &config.instances {
        let package = Package::open(&instance.package, config.plugins.allow_unsigned).map_err(refused)?;
        package.manifest.check_settings(&instance.settings).map_err(|e| wrong_setting(name, &e))?;
        let (plugin, origin) = plugin::prepare(&host, &compiler, &package, &granted(instance)).await.map_err(refused)?;
        info!(instance = %name, plugin = %package.manifest.full_name(), ?origin, "plugin is ready");
        prepared.insert(name.clone(), plugin);
    }
    Ok(prepared)
}

pub fn wrong_setting(instance: &str, e: &crate::config::SettingError) -> Fault {
    Fault::new(Guilty::Configuration, format!("instance.{instance}.settings: {e}"), "correct it in gateway.toml")
}

/// The links that the site gives an instance anything of.
pub fn granted(instance: &Instance) -> BTreeSet<Link> {
    let links = [(Link::Modbus, instance.grants.modbus.is_some()), (Link::Serial, instance.grants.serial.is_some())];
    links.into_iter().filter(|(_, granted)| *granted).map(|(link, _)| link).collect()
}

/// Connects instances with their links.
struct Wires<'a> {
    config: &'a Config,
    status: &'a Status,
    tasks: &'a mut JoinSet<()>,
    buses: BTreeMap<String, BusWires>,
    backs: BTreeMap<Arc<str>, mpsc::Sender<FromPipeline>>,
    seed: u64,
}

struct BusWires {
    asks: mpsc::Sender<modbus::Ask>,
    taken: mpsc::Receiver<modbus::Ask>,
    members: Vec<crate::capability::inbox::Sender>,
}

impl Wires<'_> {
    fn instances(
        &mut self,
        mut plugins: BTreeMap<String, Arc<Prepared>>,
        mut states: BTreeMap<String, Vec<u8>>,
        spoken: &mpsc::Sender<ToPipeline>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        self.buses()?;
        for (name, instance) in &self.config.instances {
            let name: Arc<str> = name.as_str().into();
            let (links, inbox) = self.links(&name, instance)?;
            let (back, from_pipeline) = mpsc::channel(BACK_WAITING_MAX);
            self.backs.insert(name.clone(), back);
            let posting = Posting {
                plugin: plugins.remove(&*name).expect("prepared from the same list"),
                settings: instance.settings.clone(),
                bed: instance.bed.clone(),
                seed: self.seed,
                saved: states.remove(&*name),
                instance: name,
            };
            let (pipeline, stop) = (spoken.clone(), stopping.clone());
            let wiring = Wiring { inbox, pipeline, back: from_pipeline, links, clock: moment, status: self.status.clone(), stop };
            self.tasks.spawn(Supervisor::new(posting, wiring).run());
        }
        for (name, BusWires { taken, members, .. }) in std::mem::take(&mut self.buses) {
            let bus = modbus::Bus::new(&name, &self.config.buses[&name], taken, members, moment, self.status.clone());
            self.tasks.spawn(bus.map_err(|e| Fault::new(Guilty::Configuration, e, "correct the bus in gateway.toml"))?.run());
        }
        Ok(())
    }

    /// A bus has room for all that its members may have open.
    fn buses(&mut self) -> Result<(), Fault> {
        for name in self.config.buses.keys() {
            let grants = self.config.instances.iter().filter_map(|(i, s)| Some((i, s.grants.modbus.as_ref().filter(|g| g.bus == *name)?)));
            let mut room = 0;
            for (instance, grant) in grants {
                room += modbus::Grant::new(instance, grant).map_err(wrong_grant)?.room();
            }
            if room > 0 {
                let (asks, taken) = mpsc::channel(room);
                self.buses.insert(name.clone(), BusWires { asks, taken, members: Vec::new() });
            }
        }
        Ok(())
    }

    fn links(&mut self, name: &Arc<str>, instance: &Instance) -> Result<(Links, Inbox), Fault> {
        let serial = instance.grants.serial.as_ref().map(|g| serial::Grant::new(name, g)).transpose().map_err(wrong_grant)?;
        let (events, inbox) = inbox(name.clone(), serial.as_ref().map_or(0, serial::Grant::inbox_bytes));
        let mut links = Links::default();
        if let Some(grant) = serial {
            let (writes, taken) = mpsc::channel(serial::WRITES_OPEN_MAX);
            links.serial = Some(serial::Handle::new(grant.clone(), writes, events.clone(), moment, self.status.clone()));
            self.tasks.spawn(serial::Port::new(grant, taken, events.clone(), moment, self.status.clone()).run());
        }
        if let Some(granted) = &instance.grants.modbus {
            let grant = modbus::Grant::new(name, granted).map_err(wrong_grant)?;
            let bus = self.buses.get_mut(&granted.bus).expect("made for this grant");
            bus.members.push(events.clone());
            links.modbus = Some(modbus::Handle::new(grant, bus.asks.clone(), events, moment, self.status.clone()));
        }
        Ok((links, inbox))
    }
}

fn wrong_grant(e: impl std::fmt::Display) -> Fault {
    Fault::new(Guilty::Configuration, e, "correct the grant in gateway.toml; `wardgate check` says what it allows")
}
