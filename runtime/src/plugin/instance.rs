//! A plugin made ready once and started as often as needed; and one running instance of it, whose every call is judged by the rules.

use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::Component;

use super::rules::{Breach, Rules};
use super::{Host, Package, PluginError};
use crate::config::{Link, Manifest};
use crate::contained::contained;
use crate::contract::lifecycle::Opening;
use crate::contract::types::Moment;
use crate::contract::{CallError, Event, Failed, Limits, Log, Outcome, Plugin, Running};

const CALLS_MAX: u32 = 4096; // to the gateway in one call: a chunk of 10 s of a busy serial line is some hundred messages
const SAID_BYTES_MAX: usize = 1 << 20; // in one call: 10 s of a full bed's waveforms are 40 kB

/// Why a call came to nothing, whoever noticed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Rule(#[from] Breach),
    #[error(transparent)]
    Flooded(#[from] crate::capability::Flooded),
    #[error("the gateway itself failed in this call, please report it: {0}")]
    Gateway(String),
}

/// A call that came to nothing. Its log lines count all the same.
#[derive(Debug)]
pub struct Spent {
    pub why: Fault,
    pub logs: Vec<Log>,
}

impl From<Failed> for Spent {
    fn from(failed: Failed) -> Self {
        Self { why: failed.why.into(), logs: failed.logs }
    }
}

/// A package's code, linked for what the site grants. Instances share it.
pub struct Prepared {
    host: Arc<Host>,
    plugin: Plugin,
    component: [u8; 32],
    site: BTreeSet<Link>,
    pub manifest: Manifest,
    limits: Limits,
}

impl Prepared {
    /// Starts it once, because only then are the types of its exports compared.
    pub async fn new(host: Arc<Host>, package: &Package, code: &Component, site: &BTreeSet<Link>) -> Result<Arc<Self>, PluginError> {
        let manifest = package.manifest.clone();
        let unlinkable = |why: String| PluginError::Unlinkable { plugin: manifest.full_name(), why };
        let plugin = Plugin::new(&host.engine, code, package.granted(site)?).map_err(|e| unlinkable(format!("{e:#}")))?;
        let limits = Limits {
            memory_bytes_max: usize::try_from(manifest.limits.memory_mib << 20).expect("at most 16 MiB"),
            cpu_ms_max: manifest.limits.call_ms,
            calls_max: CALLS_MAX,
            said_bytes_max: SAID_BYTES_MAX,
        };
        let prepared = Arc::new(Self { host, plugin, component: package.hash, site: site.clone(), limits, manifest: manifest.clone() });
        match prepared.start().await {
            Ok(_) => Ok(prepared),
            Err(spent) => Err(unlinkable(spent.why.to_string())),
        }
    }

    pub(super) fn is_of(&self, package: &Package, site: &BTreeSet<Link>) -> bool {
        (&self.component, &self.manifest, &self.site) == (&package.hash, &package.manifest, site)
    }

    pub async fn start(self: &Arc<Self>) -> Result<Instance, Spent> {
        let _ticking = self.host.ticker.during_call();
        let running = guarded(pin!(self.plugin.start(self.limits))).await?;
        Ok(Instance { running, rules: Rules::new(&self.manifest), prepared: self.clone() })
    }
}

/// Takes a component the whole way from its folder: read, checked, compiled or found, linked, started once.
pub async fn prepare(
    host: &Arc<Host>,
    compiler: &super::Compiler,
    package: &Package,
    site: &BTreeSet<Link>,
) -> Result<(Arc<Prepared>, super::Origin), PluginError> {
    package.granted(site)?; // before a second is spent on compiling
    if let Some(running) = host.alive(package, site) {
        return Ok((running, super::Origin::Shared));
    }
    let (code, origin) = compiler.code(host, package).await?;
    Ok((linked(host, package, &code, site).await?, origin))
}

/// As [`prepare`], from what runs or was compiled before; nothing: it takes the compiler.
pub async fn prepare_kept(
    host: &Arc<Host>,
    compiler: &super::Compiler,
    package: &Package,
    site: &BTreeSet<Link>,
) -> Result<Option<(Arc<Prepared>, super::Origin)>, PluginError> {
    package.granted(site)?;
    if let Some(running) = host.alive(package, site) {
        return Ok(Some((running, super::Origin::Shared)));
    }
    match compiler.kept(host, package) {
        Some(code) => Ok(Some((linked(host, package, &code, site).await?, super::Origin::Cache))),
        None => Ok(None),
    }
}

async fn linked(host: &Arc<Host>, package: &Package, code: &Component, site: &BTreeSet<Link>) -> Result<Arc<Prepared>, PluginError> {
    let prepared = Prepared::new(host.clone(), package, code, site).await?;
    host.remember(&prepared);
    Ok(prepared)
}

/// One running instance. After a call that came to nothing it is spent: drop it.
pub struct Instance {
    prepared: Arc<Prepared>,
    running: Running,
    rules: Rules,
}

impl Instance {
    pub async fn open(&mut self, now: Moment, start: &Opening) -> Result<Outcome, Spent> {
        let done = {
            let _ticking = self.prepared.host.ticker.during_call();
            guarded(pin!(self.running.open(now, start))).await
        };
        self.judge(done)
    }

    pub async fn call(&mut self, now: Moment, event: &Event) -> Result<Outcome, Spent> {
        let done = {
            let _ticking = self.prepared.host.ticker.during_call();
            guarded(pin!(self.running.call(now, event))).await
        };
        self.judge(done)
    }

    fn judge(&mut self, done: Result<Outcome, Spent>) -> Result<Outcome, Spent> {
        let outcome = done?;
        match self.rules.check(&outcome.said) {
            Ok(()) => Ok(outcome),
            Err(breach) => Err(Spent { why: breach.into(), logs: outcome.logs }),
        }
    }
}

/// A panic of our own in a call ends that call and no other.
async fn guarded<T>(call: Pin<&mut impl Future<Output = Result<T, Failed>>>) -> Result<T, Spent> {
    match contained(call).await {
        Some(done) => done.map_err(Spent::from),
        None => Err(Spent { why: Fault::Gateway("it panicked; see the log".into()), logs: Vec::new() }),
    }
}

/// For those who have nothing else to do: a guest call waits for nothing, it only pauses at each tick.
pub fn at_once<T>(call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    loop {
        if let Poll::Ready(done) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}
