//! The corridor: the only file that names every room, makes channels, starts tasks and reads the clock.

#![allow(clippy::disallowed_methods)] // here, and only here

mod bindings;
mod clock;
mod fullness;
mod lean;
mod orders;
mod rhythm;
mod roster;
mod scribe;
mod wants;
mod warden;
mod workshop;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use wardgate_wire as wire;

use crate::audit::{Entry, What};
use crate::capability::ble;
use crate::config::{Config, Instance, Secrets};
use crate::console::{self, Order, Window};
use crate::fault::{Fault, Guilty};
use crate::metrics;
use crate::pipeline::{Heads, Pipeline, Setup};
use crate::plugin::{DeviceKey, INSTANCES_MAX, PIPELINE_ROOM};
use crate::status::Status;
use crate::store::{Found, Limits, Room, Shelf, Store};
use crate::uplink::{self, Uplink, UplinkError};

use clock::{boot, moment};
use orders::{Door, Orders};
use rhythm::Rhythm;
use roster::Roster;
use scribe::Scribe;
use warden::{GATEWAY, Warden};
use workshop::{Decided, Posts, Workshop};

pub use clock::{boottime_ns, random};
pub use wants::Wants;
pub use warden::{Judge, Occasion, Sight, audit_moment, kept, recollect, vouched};
pub use workshop::{Admitted, Allowed, admitted, allowed, wants, wrong_package};

/// Commits, reads for the uplink and names that are looked up: what may wait for the card or the network has a thread; all else shares one.
pub const BLOCKING_THREADS_MAX: usize = 8;
/// Calls that are finished and not yet taken down, beside the room that each instance holds while it waits.
const SPOKEN_WAITING_MAX: usize = 64;
/// Orders that wait for the one before them; those who gave them wait too.
const ORDERS_WAITING_MAX: usize = 16;
/// A bus that does not answer is given up after 3 s; what takes longer may not keep the rest waiting.
const READY_S_MAX: u64 = 5;
/// As long again and again while plugins are compiled: some seconds where nothing is kept yet. The others run meanwhile.
const READY_COMPILED_S_MAX: u64 = 30;
const DEVELOPER_MODE: &str = "DEVELOPER MODE (gateway.developer_mode): not for a ward";
const UNSIGNED: &str =
    "UNSIGNED PLUGINS ARE ALLOWED (plugins.allow_unsigned): whoever can write to a package's folder decides what runs in its sandbox";
/// Plugins and the uplink get this long for their last words, the last group too.
const STOP_S_MAX: u64 = 10;

// ---------- the way in and out

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration anew. `file` is where `config` was read from. `production`: on an image for wards.
pub async fn run(file: PathBuf, config: Config, production: bool) -> Result<(), Fault> {
    let listen = |kind| signal(kind).map_err(|e| Fault::new(Guilty::Internal, e, ""));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let links = links_of(&config);
    let running = Running::start(file, config, production).await?;
    let mut ready = std::pin::pin!(everything_tried(&running.status, &links));
    let mut told_ready = false;
    let mut scribe = running.scribe;
    let early = loop {
        tokio::select! {
            () = &mut ready, if !told_ready => {
                told_ready = true;
                // whoever waits for the gateway reads this line; a closed standard output is no reason to stop
                let _ = writeln!(std::io::stdout(), "ready");
            }
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            ended = &mut scribe => break Some(ended),
            // how it went is in the log; one that waits already reads the file as it is now, too
            _ = hangup.recv() => drop(running.orders.try_send(Order::Reload { by: None, asker: oneshot::channel().0 })),
        }
    };
    info!(target: "wardgate::closing", "stopping: last words of the instances, last group");
    let _ = running.stop_instances.send(true);
    let ended = match early {
        Some(ended) => ended,
        // commits give up by themselves; instances that hang are left behind
        None => {
            let within = 2 * STOP_S_MAX;
            let late = || Ok(Err(scribe::unwritten(format!("the last group was not written within {within} s"))));
            tokio::time::timeout(Duration::from_secs(within), scribe).await.unwrap_or_else(|_| late())
        }
    };
    let _ = running.stop_uplink.send(true);
    let mut tasks = running.tasks;
    let _ = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), async { while tasks.join_next().await.is_some() {} }).await;
    info!("stopped");
    ended.unwrap_or_else(|e| Err(Fault::new(Guilty::Internal, format!("the task that takes down ended: {e}"), "please report this")))
}

/// Instance, and the names of its links in status.
fn links_of(config: &Config) -> Vec<(String, Vec<String>)> {
    let links = |name: &str, i: &Instance| {
        let serial = i.grants.serial.as_ref().map(|g| g.port.display().to_string());
        let ble = i.grants.ble.as_ref().map(|_| ble::link_name(name));
        serial.into_iter().chain(i.grants.modbus.as_ref().map(|g| g.bus.clone())).chain(ble).collect()
    };
    config.instances.iter().map(|(name, instance)| (name.clone(), links(name, instance))).collect()
}

/// What links are called in metrics: a serial port and a peripheral after its instance, a bus by its own name.
fn link_names(config: &Config) -> metrics::LinkNames {
    let ports = config.instances.iter().filter_map(|(name, i)| Some((i.grants.serial.as_ref()?.port.display().to_string(), name.clone())));
    let peripherals = config.instances.iter().filter(|(_, i)| i.grants.ble.is_some()).map(|(name, _)| (ble::link_name(name), name.clone()));
    ports.chain(peripherals).chain(config.buses.keys().map(|bus| (bus.clone(), bus.clone()))).collect()
}

/// Ready means that every plugin was opened and every line was tried once: what a device says from now on is heard, or told.
async fn everything_tried(status: &Status, instances: &[(String, Vec<String>)]) {
    const LOOK_MS: u64 = 5; // a start takes some ten milliseconds, and then nobody looks any more
    let tried = || {
        let now = status.read();
        let line = |name: &String| now.links.get(name).is_some_and(|l| l.up || !l.last_error.is_empty());
        let open = |name: &String| now.instances.get(name).is_some_and(|i| i.opens + i.faults > 0);
        let withheld = |name: &String| now.instances.get(name).is_some_and(|i| i.state == "withheld");
        instances.iter().all(|(name, links)| withheld(name) || open(name) && links.iter().all(line))
    };
    let compiling = || status.with(|s| s.instances.values().any(|i| i.state == "compiling"));
    let (mut waited_ms, mut compiled_ms) = (0, 0);
    while waited_ms < READY_S_MAX * 1000 && compiled_ms < READY_COMPILED_S_MAX * 1000 {
        if tried() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        *(if compiling() { &mut compiled_ms } else { &mut waited_ms }) += LOOK_MS;
    }
    warn!(
        "not every plugin is open and every line tried within {} s, of which plugins were compiled for {}; `wardgate status` names them; going on without them",
        (waited_ms + compiled_ms) / 1000,
        compiled_ms / 1000
    );
}

/// Everything that runs.
struct Running {
    status: Status,
    scribe: tokio::task::JoinHandle<Result<(), Fault>>,
    tasks: JoinSet<()>,
    orders: mpsc::Sender<Order>,
    stop_instances: watch::Sender<bool>,
    stop_uplink: watch::Sender<bool>,
    _lock: File,
}

impl Running {
    async fn start(file: PathBuf, config: Config, production: bool) -> Result<Self, Fault> {
        let secrets = secrets(&config)?;
        let lock = lock(&config.gateway.state)?;
        if config.gateway.developer_mode {
            warn!("{DEVELOPER_MODE}");
        }
        if config.plugins.allow_unsigned {
            warn!("{UNSIGNED}");
        }
        let status = Status::default();
        let key = device_key(&config)?;
        let mut warden = Warden::open(&config.gateway.state, &key, status.clone());
        let (workshop, decided) = decided(&mut warden, key, &config, production).await?; // before a store is touched or a port opened
        let Decided { posts, withheld, revoked, late } = decided;
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
        describe(&status, &config, life);
        status.with(|s| {
            s.memory_profile = workshop.profile().name().into();
            (s.compiler_walls, s.compiler_lacks) = (workshop.walls.around.in_words(), workshop.walls.lacks.join(", "));
        });
        let mut pipeline = pipeline(&config, &secrets, life, heads);
        let mut kept = bindings::sorted(found.states);
        for (instance, chunks) in std::mem::take(&mut kept.parked) {
            let lost = pipeline.restore_parked(&instance.as_str().into(), chunks, moment());
            if lost > 0 {
                warn!(%instance, lost, "bytes of its parked output cannot be read");
            }
        }
        for ((instance, channel), bytes) in std::mem::take(&mut kept.windows) {
            let personal = config.instances.get(&instance).is_some_and(|i| i.grants.personal);
            if let Err(why) = pipeline.restore_window(&instance.as_str().into(), channel, &bytes, personal) {
                warn!(%instance, channel, %why, "what was open of its windows cannot be read");
            }
        }
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
        let (orders, ordered) = mpsc::channel(ORDERS_WAITING_MAX);
        let window = Window { status: status.clone(), now: boottime_ns, orders: orders.clone() };
        tasks.spawn(until(uplink_stopping.clone(), orders::let_in(listener, window)));

        if let Some(address) = config.metrics.listen {
            let listener = TcpListener::bind(address).await.map_err(|e| {
                let what = format!("metrics.listen = \"{address}\" cannot be had: {e}");
                Fault::new(Guilty::Port, what, "choose a port that nothing else holds, or take the line out of gateway.toml")
            })?;
            info!(%address, "metrics are at /metrics");
            tasks.spawn(until(uplink_stopping.clone(), metrics::serve(listener, status.clone(), link_names(&config), boottime_ns)));
        }

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
        tasks.spawn(until(uplink_stopping.clone(), lean::settle()));
        tasks.spawn(async move { uplink.run(told(uplink_stopping)).await });

        // instances come and go: there is room for as many as there can be
        let (spoken, words) = mpsc::channel(SPOKEN_WAITING_MAX + PIPELINE_ROOM * INSTANCES_MAX as usize);
        let scribe = Scribe {
            pipeline,
            store: Some(store),
            shelf,
            status: status.clone(),
            backs: BTreeMap::new(),
            news,
            present,
            online,
            commit: Duration::from_millis(config.store.commit_ms),
            park: Duration::from_secs(config.store.park_s),
            last_commit: Instant::now() - Duration::from_secs(1),
            rhythm: Rhythm::new(Instant::now()),
            epoch_since: Instant::now(),
            offline_since: Some(Instant::now()),
            clock: None,
            stopping: stopping.clone(),
            room: Room::Ample,
            looked: Instant::now(),
            no_room: String::new(),
        };
        let scribe = tokio::spawn(scribe.run(words));
        let mut roster = Roster::new(spoken, status.clone(), seed, kept); // the scribe ends when it and the last instance have gone
        warden.begin(&config, life, &workshop.walls).await;
        let sights: BTreeMap<String, Sight> = posts.iter().map(|(name, post)| (name.clone(), post.sight.clone())).collect();
        roster.change_to(posts).await?;
        warden.take(&config, &sights, Occasion::Start, GATEWAY).await;
        warden.withhold(&withheld).await;
        let workshop = Arc::new(workshop);
        let door = Door::open(Occasion::Start, &workshop, &config, late, &status);
        let desk = Orders { roster, workshop, warden, status: status.clone(), file, config, life, commands: 0, revoked, door };
        tasks.spawn(desk.run(ordered, stopping));
        Ok(Self { status, scribe, tasks, orders, stop_instances, stop_uplink, _lock: lock })
    }
}

/// The secret of this device: of a file, made at the first start, or of a token.
pub fn device_key(config: &Config) -> Result<DeviceKey, Fault> {
    let made = match &config.gateway.device_key {
        Some(uri) => DeviceKey::of_token(uri),
        None => DeviceKey::open(&config.gateway.state, random()?),
    };
    made.map_err(|e| Fault::new(e.guilty(), &e, e.remedy("")))
}

/// As above, for who must write nothing: where none was made yet it is one that nothing was ever written under, as a new one would be.
pub fn device_key_as_it_is(config: &Config) -> Result<DeviceKey, Fault> {
    let kept = match &config.gateway.device_key {
        Some(uri) => DeviceKey::of_token(uri),
        None => DeviceKey::look(&config.gateway.state, random()?),
    };
    kept.map_err(|e| Fault::new(e.guilty(), &e, e.remedy("")))
}

/// What may run of a configuration at the start; what keeps all of it from running is in the audit log.
async fn decided(warden: &mut Warden, key: DeviceKey, config: &Config, production: bool) -> Result<(Workshop, Decided), Fault> {
    warden.look_at_log().await;
    let tried = async {
        warden.vouched(config).await?;
        warden.look(config).await;
        let workshop = Workshop::open(config, key, production).await?;
        let mut judge = warden.judge(config, Occasion::Start).await?;
        let decided = workshop.posts(config, &Posts::new(), &BTreeSet::new(), &mut judge).await?;
        Ok((workshop, decided))
    }
    .await;
    if let Err(fault) = &tried {
        let fault: &Fault = fault;
        warden.write(Entry::new(What::Refuse, GATEWAY, [("what", &"start"), ("why", &fault.what)])).await;
    }
    tried
}

/// The files beside the configuration, read and held against what the uplink can use.
pub fn secrets(config: &Config) -> Result<Secrets, Fault> {
    let secrets = Secrets::read(config)?;
    uplink::check(&config.uplink, &secrets.ca_pem, secrets.password.as_deref(), &config.gateway_id()).map_err(|e| {
        let remedy = match &e {
            UplinkError::NoCa { .. } => "put the certificate of the CA that signed the broker's certificate there, in PEM form",
            _ => "correct that line, or the file that it names",
        };
        let wrong = config.wrong(&["uplink", e.setting().unwrap_or("host")], &e, remedy);
        Fault::new(Guilty::Uplink, &wrong, &wrong.remedy)
    })?;
    Ok(secrets)
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
        s.developer_mode = config.gateway.developer_mode;
        s.uplink.broker = format!("{}:{}", config.uplink.host, config.uplink.port);
    });
}

fn pipeline(config: &Config, secrets: &Secrets, life: u64, found: Option<Heads>) -> Pipeline {
    let opening = match &found {
        Some(heads) if !heads.stopped() && heads.moment().boot != boot() => wire::GapReason::PowerCut,
        _ => wire::GapReason::GatewayRestart,
    };
    info!(life = format!("{life:016x}"), after = found.as_ref().map(|h| format!("{:016x}", h.life())), ?opening, "a life begins");
    let setup = Setup {
        gateway: config.gateway_id(),
        life,
        key: secrets.mac_key.clone(),
        batch_bytes: config.uplink.batch_bytes,
        software: format!("wardgate {}", env!("CARGO_PKG_VERSION")),
        opening,
        terms: BTreeMap::new(), // as instances are posted
    };
    Pipeline::new(setup, found, moment())
}
