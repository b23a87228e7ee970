//! Makes instances ready: reads, checks and compiles what a configuration asks for, before anything that runs is touched. What comes out of here
//! can be started without a way to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};
use tracing::{info, warn};

use super::wants::Wants;
use super::warden::{Judge, Occasion, Refusal, Sight};
use crate::capability::{ble, modbus, serial};
use crate::config::{self, Bus, Config, ConfigError, Instance, Tap, Terms, Transaction};
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, Around, Compiler, DeviceKey, Host, INSTANCES_MAX, Mismatch, Package, PluginError, Prepared, trial};

/// All that an instance is started from.
#[derive(Clone)]
pub(super) struct Post {
    pub instance: Instance,
    pub plugin: Arc<Prepared>,
    /// As its plugin gets them: what a file or its package holds stands here, and not only its name.
    pub settings: BTreeMap<String, String>,
    /// Of a filter: what it hears, by the numbers of its inputs.
    pub taps: Vec<Option<Tap>>,
    /// Of the component: a package built anew under the same name is another plugin.
    hash: [u8; 32],
    pub serial: Option<serial::Grant>,
    pub modbus: Option<(modbus::Grant, Bus)>,
    pub sight: Sight,
    /// With what all peripherals share.
    pub ble: Option<(ble::Grant, config::Ble)>,
}

/// By the instance's name.
pub(super) type Posts = BTreeMap<String, Post>;

impl Post {
    /// Nothing differs for which a running instance would have to be closed. Its bed is a record in the ledger, and silence is judged outside.
    pub fn runs_like(&self, other: &Self) -> bool {
        self.same_plugin(&other.instance, &other.plugin.manifest, other.hash)
            && self.settings == other.settings
            && self.instance.grants == other.instance.grants
            && self.instance.report == other.instance.report
            && self.taps == other.taps
            && self.ble.as_ref().map(|(_, radio)| radio) == other.ble.as_ref().map(|(_, radio)| radio)
            && self.modbus.as_ref().map(|(_, bus)| bus) == other.modbus.as_ref().map(|(_, bus)| bus)
    }

    /// What was made ready for the one does for the other.
    fn same_plugin(&self, instance: &Instance, manifest: &crate::config::Manifest, hash: [u8; 32]) -> bool {
        self.hash == hash && self.plugin.manifest == *manifest && self.instance.grants.links() == instance.grants.links()
    }

    pub fn is_filter(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Under which what it says is taken.
    pub fn terms(&self) -> Terms {
        let config::Grants { personal, keep_raw, .. } = self.instance.grants;
        Terms { personal, keep_raw, derived: self.is_filter(), reports: self.instance.report.clone() }
    }

    pub fn silent_after_s(&self) -> u64 {
        self.instance.silent_after_s.unwrap_or(self.plugin.manifest.silent_after_s)
    }
}

/// What a plugin will ask of its bus is seen in some milliseconds; one that needs longer keeps nobody waiting, and is not reckoned with.
const WATCHED_MS_MAX: u64 = 500;

/// Plugins that are compiled while others run already: a second one, so that one that takes long holds up nobody. Each may take half a small
/// gateway's memory, so no more.
const COMPILED_AT_ONCE_MAX: usize = 2;

/// A package, the settings that its plugin gets, what it hears, and how it stands with those who are trusted.
pub(super) struct Checked {
    package: Package,
    settings: BTreeMap<String, String>,
    taps: Vec<Option<Tap>>,
    sight: Sight,
}

/// What keeps one instance from running, and nobody else.
pub(super) struct LeftOut {
    pub fault: Fault,
    /// It is that its key or its release was revoked.
    pub revoked: Option<Box<Sight>>,
}

impl From<Fault> for LeftOut {
    fn from(fault: Fault) -> Self {
        Self { fault, revoked: None }
    }
}

/// One instance that comes in by itself, or stays out.
pub(super) type Coming = (String, Result<Post, LeftOut>);

/// What a configuration comes to.
pub(super) struct Decided {
    pub posts: Posts,
    /// Configured, and kept from running: by those who are trusted, or because its package does not do.
    pub withheld: BTreeMap<String, Fault>,
    /// Of those, what was revoked: it may be allowed again.
    pub revoked: BTreeMap<String, Sight>,
    /// Nobody has compiled these yet, and the others do not wait for them. Those of one plugin stand together.
    pub late: Vec<Vec<(String, Checked)>>,
}

/// What stands around the compiler, and what becomes of that.
pub(super) struct Walls {
    pub around: Around,
    /// Of what it should have.
    pub lacks: Vec<&'static str>,
    /// On an image for wards, where gateway.toml says that it may.
    pub set_aside: bool,
}

pub(super) struct Workshop {
    pub walls: Walls,
    host: Arc<Host>,
    compiler: Compiler,
    /// For what is compiled while others run.
    turns: Semaphore,
}

impl Workshop {
    pub async fn open(config: &Config, key: DeviceKey, production: bool) -> Result<Self, Fault> {
        let state = &config.gateway.state;
        let host = Arc::new(Host::probe().map_err(refused)?);
        let program = std::env::current_exe().map_err(|e| Fault::new(Guilty::Internal, e, ""))?;
        let compiler = Compiler::open(state, key, program, vec![Compiler::VERB.into()], plugin::CompileLimits::default());
        let compiler = compiler.map_err(refused)?.at(config.plugins.compiler.clone());
        let around = compiler.around(host.profile).await;
        let lacks = around.missing(production);
        let set_aside = production && !lacks.is_empty() && config.plugins.compile_without_walls;
        if !lacks.is_empty() {
            let then = if production && !set_aside { "; nothing is compiled anew" } else { "" };
            warn!("the compiler of plugins works without {}; around it stands {}{then}", lacks.join(", "), around.in_words());
        }
        let compiler = if production && !set_aside { compiler.refused_without(lacks.clone()) } else { compiler };
        let walls = Walls { around, lacks, set_aside };
        Ok(Self { walls, host, compiler, turns: Semaphore::new(COMPILED_AT_ONCE_MAX) })
    }

    pub fn profile(&self) -> plugin::Profile {
        self.host.profile
    }

    /// Everything is checked before a second is spent on compiling. What runs already and needs no other plugin keeps the one it has. Whoever is
    /// `alone`, configured before and not running, holds up nobody and is held against nobody; at a start everybody is.
    pub async fn posts(&self, config: &Config, running: &Posts, alone: &BTreeSet<String>, judge: &mut Judge) -> Result<Decided, Fault> {
        let most = INSTANCES_MAX as usize;
        if config.instances.len() > most {
            let what = format!("gateway.toml configures {} instances; one gateway runs at most {most}", config.instances.len());
            return Err(Fault::new(Guilty::Configuration, what, "give some of them to another gateway"));
        }
        let starts = judge.occasion == Occasion::Start;
        let alone = |name: &str| starts || alone.contains(name);
        let (mut checked, mut withheld, mut revoked) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (name, instance) in &config.instances {
            match self.check(config, name, instance, running.get(name), alone(name), judge)? {
                Ok(one) => {
                    judge.note(&one.sight);
                    checked.push((name, instance, one));
                }
                Err(left_out) => {
                    revoked.extend(left_out.revoked.map(|sight| (name.clone(), *sight)));
                    withheld.insert(name.clone(), left_out.fault);
                }
            }
        }
        let (mut posts, mut late) = (Posts::new(), Vec::<Vec<(String, Checked)>>::new());
        for (name, instance, one) in checked {
            let before = running.get(name).filter(|post| post.same_plugin(instance, &one.package.manifest, one.package.hash));
            let plugin = match before {
                Some(post) => Ok(Some(post.plugin.clone())),
                None => self.prepare(name, instance, &one.package, !alone(name)).await,
            };
            match plugin {
                Ok(Some(plugin)) => drop(posts.insert(name.clone(), post(config, name, one, plugin)?)),
                Ok(None) => match late.iter_mut().find(|batch| batch[0].1.same_plugin(&config.instances[&batch[0].0], &one, instance)) {
                    Some(batch) => batch.push((name.clone(), one)),
                    None => late.push(vec![(name.clone(), one)]),
                },
                Err(e) if alone(name) && e.guilty() == Guilty::Plugin => drop(withheld.insert(name.clone(), left_out(config, name, &e))),
                Err(e) => return Err(wrong_package(config, name, &e)),
            }
        }
        late.sort_by_key(|batch| batch[0].1.package.component.len()); // what takes long is large
        self.buses(config, &posts).await?;
        Ok(Decided { posts, withheld, revoked, late })
    }

    /// Whether each bus can do what these ask of it.
    pub async fn buses(&self, config: &Config, posts: &Posts) -> Result<(), Fault> {
        let mut asks = BTreeMap::new();
        for (name, post) in posts {
            let grant = post.modbus.as_ref().map(|(grant, _)| grant);
            let watched = timeout(Duration::from_millis(WATCHED_MS_MAX), trial::transactions(&post.plugin, &post.settings, grant)).await;
            asks.insert(name.as_str(), wants(&post.instance, &post.plugin.manifest, watched.unwrap_or_default().seen));
        }
        for bus in config.buses.keys() {
            for less in admitted(config, bus, &asks)?.understated {
                warn!("{less}");
            }
        }
        Ok(())
    }

    /// Compiles one plugin for all who wait for it, beside what runs.
    pub async fn compile(&self, config: &Config, batch: Vec<(String, Checked)>) -> Vec<Coming> {
        let _turn = self.turns.acquire().await.expect("never closed");
        let (first, one) = &batch[0];
        let made = self.prepare(first, &config.instances[first], &one.package, true).await;
        let each = |(name, one): (String, Checked)| {
            let done = match &made {
                Ok(plugin) => post(config, &name, one, plugin.clone().expect("it may be compiled")).map_err(LeftOut::from),
                Err(e) => Err(left_out(config, &name, e).into()),
            };
            (name, done)
        };
        batch.into_iter().map(each).collect()
    }

    /// One that does not run is tried again, by itself.
    pub async fn again(&self, config: &Config, name: &str, judge: &Judge) -> Vec<Coming> {
        match self.check(config, name, &config.instances[name], None, true, judge) {
            Ok(Ok(checked)) => self.compile(config, vec![(name.to_owned(), checked)]).await,
            Ok(Err(left_out)) => vec![(name.to_owned(), Err(left_out))],
            Err(fault) => vec![(name.to_owned(), Err(fault.into()))],
        }
    }

    /// The inner error: those who are trusted or its package keep it from running, and only it.
    fn check(
        &self,
        config: &Config,
        name: &str,
        instance: &Instance,
        running: Option<&Post>,
        alone: bool,
        judge: &Judge,
    ) -> Result<Result<Checked, LeftOut>, Fault> {
        let refused = |e| wrong_package(config, name, &e);
        let package = match Package::admit(&instance.package, &judge.admission) {
            // a vendor that lost its place while no gateway ran takes nobody else down with it
            Err(e @ PluginError::Untrusted { .. }) if judge.occasion == Occasion::Start => {
                return Ok(Err(refused(e).into()));
            }
            // nor does a package that is damaged; whom a site trusts is the word of gateway.toml
            Err(e)
                if alone && e.guilty() == Guilty::Plugin && !matches!(e, PluginError::Untrusted { .. } | PluginError::Unsigned { .. }) =>
            {
                return Ok(Err(left_out(config, name, &e).into()));
            }
            other => other.map_err(refused)?,
        };
        let runs = |sight: &Sight| running.is_some_and(|post| post.hash == package.hash && post.sight.is_the_same_as(sight));
        let sight = match judge.sight(config, name, &package, runs) {
            Ok(sight) => sight,
            Err(refusal) => {
                let Refusal { why, sight } = *refusal;
                let revoked = matches!(why, plugin::Withheld::Revoked { .. });
                let fault = refused(PluginError::Withheld { plugin: package.manifest.full_name(), why: Box::new(why) });
                // what is revoked leaves; what is merely not good enough does not come in, and what runs stays
                let left_out = revoked || judge.occasion == Occasion::Start;
                return if left_out { Ok(Err(LeftOut { fault, revoked: revoked.then(|| Box::new(sight)) })) } else { Err(fault) };
            }
        };
        package.granted(&instance.grants.links()).map_err(refused)?;
        let settings = config.settings(name, &package.manifest, &package.shipped)?;
        let taps = config.taps(name, &package.manifest)?;
        allowed(config, name, instance, &package.manifest)?;
        Ok(Ok(Checked { package, settings, taps, sight }))
    }

    /// Nothing: nobody has compiled it yet, and it may not be `compiled` now.
    async fn prepare(
        &self,
        name: &str,
        instance: &Instance,
        package: &Package,
        compiled: bool,
    ) -> Result<Option<Arc<Prepared>>, PluginError> {
        let site = instance.grants.links();
        let ready = match compiled {
            true => Some(plugin::prepare(&self.host, &self.compiler, package, &site).await?),
            false => plugin::prepare_kept(&self.host, &self.compiler, package, &site).await?,
        };
        let Some((plugin, origin)) = ready else { return Ok(None) };
        let signed = package.signed.as_ref();
        let (vendor, key) = (signed.map(|by| by.vendor.as_str()), signed.map(|by| by.key.id()));
        info!(instance = name, plugin = %package.manifest.full_name(), ?origin, vendor, key, "plugin is ready");
        Ok(Some(plugin))
    }
}

impl Checked {
    fn same_plugin(&self, instance: &Instance, other: &Self, its: &Instance) -> bool {
        self.package.hash == other.package.hash
            && self.package.manifest == other.package.manifest
            && instance.grants.links() == its.grants.links()
    }
}

/// The grants were looked at when it was checked.
fn post(config: &Config, name: &str, checked: Checked, plugin: Arc<Prepared>) -> Result<Post, Fault> {
    let instance = &config.instances[name];
    let Checked { package, settings, taps, sight } = checked;
    let Allowed { modbus, serial, ble } = allowed(config, name, instance, &package.manifest)?;
    let modbus = modbus.map(|grant| {
        let bus = config.buses[grant.bus()].clone();
        (grant, bus)
    });
    let ble = ble.map(|grant| (grant, config.ble.clone()));
    Ok(Post { instance: instance.clone(), plugin, settings, taps, hash: package.hash, serial, modbus, ble, sight })
}

/// As [`wrong_package`], for one that the others do not wait for.
fn left_out(config: &Config, name: &str, e: &PluginError) -> Fault {
    let fault = wrong_package(config, name, e);
    let remedy = format!("{}; then `wardgate instance restart {name}`", fault.remedy);
    Fault { remedy, ..fault }
}

/// What is known of what this instance asks of its bus.
pub fn wants(instance: &Instance, manifest: &config::Manifest, seen: Vec<Transaction>) -> Wants {
    let stated = instance.grants.modbus.as_ref().map_or(&[][..], |grant| &grant.transactions);
    let declared = if stated.is_empty() { &manifest.transactions } else { stated };
    Wants { declared: declared.to_vec(), seen }
}

/// A bus that can do what it is asked for.
pub struct Admitted<'a> {
    /// In the worst case.
    pub cycle: modbus::Cycle,
    /// They ask nothing by themselves: they are not reckoned with.
    pub silent: Vec<&'a str>,
    /// They declare less than they do.
    pub understated: Vec<ConfigError>,
}

/// `asks`: by the instance's name.
pub fn admitted<'a>(config: &'a Config, bus: &str, asks: &BTreeMap<&str, Wants>) -> Result<Admitted<'a>, Fault> {
    let (mut all, mut silent, mut understated) = (Vec::new(), Vec::new(), Vec::new());
    for (instance, granted) in &config.instances {
        let Some(grant) = granted.grants.modbus.as_ref().filter(|g| g.bus == *bus) else { continue };
        let wants = asks.get(instance.as_str()).cloned().unwrap_or_default();
        let transactions = wants.all();
        if transactions.is_empty() {
            silent.push(instance.as_str());
        }
        let at = ["instance", instance, "grants", "modbus", "transactions"];
        understated.extend(wants.understated().map(|less| config.wrong(&at, format!("{instance}: {less}"), "")));
        all.extend(transactions.iter().map(|t| modbus::Transaction {
            instance: instance.clone(),
            servers: t.server.map_or_else(|| grant.servers.clone(), |server| vec![server]),
            function: t.function as u8, // the manifest's reader bounds both
            count: t.count as u16,
            period_ms: t.period_ms,
        }));
    }
    let cycle = modbus::admit(bus, &config.buses[bus], &all).map_err(|refused| {
        let (key, remedy) = match &refused {
            modbus::Refused::Bus(e) => (e.key, "correct that line"),
            modbus::Refused::Overload(o) => (o.key, o.remedy.as_str()),
        };
        config.wrong(&["bus", bus, key], &refused, remedy)
    })?;
    Ok(Admitted { cycle, silent, understated })
}

/// What an instance may do on each link: what the site grants and its package asks for.
pub struct Allowed {
    pub modbus: Option<modbus::Grant>,
    pub serial: Option<serial::Grant>,
    pub ble: Option<ble::Grant>,
}

pub fn allowed(config: &Config, name: &str, instance: &Instance, manifest: &config::Manifest) -> Result<Allowed, Fault> {
    let (grants, most) = (&instance.grants, manifest.most());
    let serial = grants.serial.as_ref().map(|grant| serial::Grant::new(name, grant)?.asked(most.serial.as_ref()));
    let ble = grants.ble.as_ref().map(|grant| ble::Grant::new(name, grant)?.asked(most.ble.as_ref()));
    Ok(Allowed {
        modbus: bus_grant(config, name, instance)?.map(|grant| grant.asked(most.modbus.as_ref())).transpose().map_err(wrong_grant)?,
        serial: serial.transpose().map_err(wrong_grant)?,
        ble: ble.transpose().map_err(wrong_grant)?,
    })
}

/// What the site allows an instance on its bus, where its bus can do that.
fn bus_grant(config: &Config, name: &str, instance: &Instance) -> Result<Option<modbus::Grant>, Fault> {
    let Some(grant) = &instance.grants.modbus else { return Ok(None) };
    let read = modbus::Grant::new(name, grant).map_err(wrong_grant)?;
    match read.misfit(&config.buses[&grant.bus]) {
        Some((key, what, remedy)) => Err(config.wrong(&["instance", name, "grants", "modbus", key], what, remedy).into()),
        None => Ok(Some(read.keeping_raw(instance.grants.keep_raw))),
    }
}

/// What keeps an instance's plugin from running, with the line of gateway.toml that names its package or its grants.
pub fn wrong_package(config: &Config, instance: &str, e: &PluginError) -> Fault {
    if e.guilty() != Guilty::Plugin {
        return Fault::new(e.guilty(), e, e.remedy(instance));
    }
    let key = if matches!(e, PluginError::Refused { why: Mismatch::NotGranted { .. }, .. }) { "grants" } else { "package" };
    let wrong = config.wrong(&["instance", instance, key], e, e.remedy(instance));
    Fault::new(Guilty::Plugin, &wrong, &wrong.remedy)
}

fn refused(e: PluginError) -> Fault {
    Fault::new(e.guilty(), &e, e.remedy(""))
}

fn wrong_grant(e: impl std::fmt::Display) -> Fault {
    Fault::new(Guilty::Configuration, e, "correct the grant in gateway.toml; `wardgate check` says what it allows")
}
