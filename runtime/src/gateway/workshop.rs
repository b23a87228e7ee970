//! Makes instances ready: reads, checks and compiles what a configuration asks for, before anything that runs is touched. What comes out of here
//! can be started without a way to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Duration, timeout};
use tracing::{info, warn};

use super::wants::Wants;
use super::warden::{Judge, Occasion, Sight};
use crate::capability::{ble, modbus, serial};
use crate::config::{self, Bus, Config, ConfigError, Instance, Link, Tap, Terms, Transaction};
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, Compiler, DeviceKey, Host, INSTANCES_MAX, Mismatch, Package, PluginError, Prepared, Verdict, trial};

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
        self.hash == hash && self.plugin.manifest == *manifest && granted(&self.instance) == granted(instance)
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

/// A package, the settings that its plugin gets, what it hears, and how it stands with those who are trusted.
struct Checked {
    package: Package,
    settings: BTreeMap<String, String>,
    taps: Vec<Option<Tap>>,
    sight: Sight,
}

/// What keeps one instance from running, and nobody else.
struct LeftOut {
    fault: Fault,
    /// It is that its key or its release was revoked.
    revoked: Option<Sight>,
}

/// What a configuration comes to.
pub(super) struct Decided {
    pub posts: Posts,
    /// Configured, and kept from running by those who are trusted.
    pub withheld: BTreeMap<String, Fault>,
    /// Of those, what was revoked: it may be allowed again.
    pub revoked: BTreeMap<String, Sight>,
}

pub(super) struct Workshop {
    host: Arc<Host>,
    compiler: Compiler,
}

impl Workshop {
    pub fn open(config: &Config, key: DeviceKey) -> Result<Self, Fault> {
        let state = &config.gateway.state;
        let host = Arc::new(Host::probe().map_err(refused)?);
        let program = std::env::current_exe().map_err(|e| Fault::new(Guilty::Internal, e, ""))?;
        let compiler = Compiler::open(state, key, program, vec![Compiler::VERB.into()], plugin::CompileLimits::default());
        Ok(Self { host, compiler: compiler.map_err(refused)?.at(config.plugins.compiler.clone()) })
    }

    pub fn profile(&self) -> plugin::Profile {
        self.host.profile
    }

    /// Everything is checked before a second is spent on compiling. What runs already and needs no other plugin keeps the one it has.
    pub async fn posts(&self, config: &Config, running: &Posts, judge: &Judge) -> Result<Decided, Fault> {
        let most = INSTANCES_MAX as usize;
        if config.instances.len() > most {
            let what = format!("gateway.toml configures {} instances; one gateway runs at most {most}", config.instances.len());
            return Err(Fault::new(Guilty::Configuration, what, "give some of them to another gateway"));
        }
        let (mut checked, mut withheld, mut revoked) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (name, instance) in &config.instances {
            match self.check(config, name, instance, running.get(name), judge)? {
                Ok(one) => checked.push((name, instance, one)),
                Err(left_out) => {
                    revoked.extend(left_out.revoked.map(|sight| (name.clone(), sight)));
                    withheld.insert(name.clone(), left_out.fault);
                }
            }
        }
        let mut posts = Posts::new();
        for (name, instance, Checked { package, settings, taps, sight }) in checked {
            let before = running.get(name).filter(|post| post.same_plugin(instance, &package.manifest, package.hash));
            let plugin = match before {
                Some(post) => post.plugin.clone(),
                None => self.prepare(config, name, instance, &package).await?,
            };
            let grants = &instance.grants;
            let serial = grants.serial.as_ref().map(|g| serial::Grant::new(name, g)).transpose().map_err(wrong_grant)?;
            let modbus = bus_grant(config, name, instance)?.map(|grant| {
                let bus = config.buses[grant.bus()].clone();
                (grant, bus)
            });
            let ble = grants.ble.as_ref().map(|g| ble::Grant::new(name, g)).transpose().map_err(wrong_grant)?;
            let ble = ble.map(|grant| (grant, config.ble.clone()));
            posts.insert(
                name.clone(),
                Post { instance: instance.clone(), plugin, settings, taps, hash: package.hash, serial, modbus, ble, sight },
            );
        }
        let mut asks = BTreeMap::new();
        for (name, post) in &posts {
            let grant = post.modbus.as_ref().map(|(grant, _)| grant);
            let watched = timeout(Duration::from_millis(WATCHED_MS_MAX), trial::transactions(&post.plugin, &post.settings, grant)).await;
            asks.insert(name.as_str(), wants(&post.instance, &post.plugin.manifest, watched.unwrap_or_default().seen));
        }
        for bus in config.buses.keys() {
            for less in admitted(config, bus, &asks)?.understated {
                warn!("{less}");
            }
        }
        Ok(Decided { posts, withheld, revoked })
    }

    /// The inner error: trust keeps it from running, and only it.
    fn check(
        &self,
        config: &Config,
        name: &str,
        instance: &Instance,
        running: Option<&Post>,
        judge: &Judge,
    ) -> Result<Result<Checked, LeftOut>, Fault> {
        let refused = |e| wrong_package(config, name, &e);
        let package = match Package::admit(&instance.package, &judge.admission) {
            // a vendor that lost its place while no gateway ran takes nobody else down with it
            Err(e @ PluginError::Untrusted { .. }) if judge.occasion == Occasion::Start && judge.with_fleet() => {
                return Ok(Err(LeftOut { fault: refused(e), revoked: None }));
            }
            other => other.map_err(refused)?,
        };
        let mut sight = Sight::of(config, instance, &package);
        let runs = running.is_some_and(|post| post.hash == package.hash && post.sight.signed == sight.signed);
        match judge.verdict(name, &sight, runs) {
            Verdict::Runs => {}
            Verdict::RunsRevoked(why) => sight.revoked = Some(why.to_string()),
            Verdict::No(why) => {
                let revoked = matches!(why, plugin::Withheld::Revoked { .. });
                let fault = refused(PluginError::Withheld { plugin: package.manifest.full_name(), why: Box::new(why) });
                // what is revoked leaves; what is merely not good enough does not come in, and what runs stays
                let left_out = revoked || judge.occasion == Occasion::Start;
                return if left_out { Ok(Err(LeftOut { fault, revoked: revoked.then_some(sight) })) } else { Err(fault) };
            }
        }
        package.granted(&granted(instance)).map_err(refused)?;
        let settings = config.settings(name, &package.manifest, &package.shipped)?;
        let taps = config.taps(name, &package.manifest)?;
        let grants = &instance.grants;
        grants.serial.as_ref().map(|g| serial::Grant::new(name, g)).transpose().map_err(wrong_grant)?;
        bus_grant(config, name, instance)?;
        grants.ble.as_ref().map(|g| ble::Grant::new(name, g)).transpose().map_err(wrong_grant)?;
        Ok(Ok(Checked { package, settings, taps, sight }))
    }

    async fn prepare(&self, config: &Config, name: &str, instance: &Instance, package: &Package) -> Result<Arc<Prepared>, Fault> {
        let refused = |e| wrong_package(config, name, &e);
        let (plugin, origin) = plugin::prepare(&self.host, &self.compiler, package, &granted(instance)).await.map_err(refused)?;
        let signed = package.signed.as_ref();
        let (vendor, key) = (signed.map(|by| by.vendor.as_str()), signed.map(|by| by.key.id()));
        info!(instance = name, plugin = %package.manifest.full_name(), ?origin, vendor, key, "plugin is ready");
        Ok(plugin)
    }
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

/// What the site allows an instance on its bus, where its bus can do that.
pub fn bus_grant(config: &Config, name: &str, instance: &Instance) -> Result<Option<modbus::Grant>, Fault> {
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

/// The links that the site gives an instance anything of.
pub fn granted(instance: &Instance) -> BTreeSet<Link> {
    let grants = &instance.grants;
    let links = [(Link::Modbus, grants.modbus.is_some()), (Link::Serial, grants.serial.is_some()), (Link::Ble, grants.ble.is_some())];
    links.into_iter().filter(|(_, granted)| *granted).map(|(link, _)| link).collect()
}

fn refused(e: PluginError) -> Fault {
    Fault::new(e.guilty(), &e, e.remedy(""))
}

fn wrong_grant(e: impl std::fmt::Display) -> Fault {
    Fault::new(Guilty::Configuration, e, "correct the grant in gateway.toml; `wardgate check` says what it allows")
}
