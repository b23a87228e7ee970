//! `wardgate check`: reads the configuration as `run` would, opens each plugin once in its sandbox with its settings, and says in plain words
//! what each instance may reach.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::site::Site;
use crate::capability::modbus;
use crate::config::{Config, ConfigError, Given, Grants, IMAGE_PROFILE, Instance, Manifest, Report, Tap, Uplink, nearest, nearest_path};
use crate::contract::types::{Description, Kind};
use crate::fault::{Fault, Guilty};
use crate::gateway::{Admitted, Allowed, Judge, Wants};
use crate::plugin::trial::{self, Unopened};
use crate::plugin::{
    Held, Host, Package, PluginError, Prepared, PublicKey, RECALL, Vendors, Withheld, at_once, gateways_user, held, in_others_hands,
    list_ended,
};

#[derive(Args)]
#[command(after_help = "\
Each plugin is judged as the gateway would at its start, by the fleet's metadata and by what ran here before; then it is compiled and opened once in its
sandbox with its settings, so that a wrong word in a map is found here. No device is touched, no broker is asked, nothing is written.")]
pub struct Check {
    /// The gateway's configuration; runtime/gateway.toml lists every setting
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// What the image says of itself
    #[arg(long, default_value = IMAGE_PROFILE, hide = true)]
    image_profile: PathBuf,
}

pub fn run(args: &Check) -> Result<(), Fault> {
    let config = Config::load(&args.config)?;
    config.held_to(&args.image_profile)?;
    let (site, doubt) = Site::as_it_is(config.clone())?;
    println!("gateway \"{}\", state in {}", config.gateway.id, config.gateway.state.display());
    println!("sends to {}:{} over TLS, trusting {}", config.uplink.host, config.uplink.port, config.uplink.ca_file.display());
    println!("{}", thinnest_link(&config.uplink));
    if config.gateway.developer_mode {
        println!("WARNING: developer mode: not for a ward");
    }
    let before = site.remembered().site_key.as_deref().and_then(PublicKey::of_id);
    let unvouched = crate::gateway::vouched(&config, before).err();
    if let Some(fault) = &unvouched {
        println!("ERROR, `run` refuses it: {fault}");
    }
    if config.plugins.allow_unsigned {
        println!("WARNING: unsigned plugins are allowed: whoever can write to a package's folder decides what runs in its sandbox");
    }
    let named: BTreeSet<_> = config.instances.values().filter_map(|i| i.grants.modbus.as_ref()).map(|grant| &grant.bus).collect();
    for bus in config.buses.keys().filter(|bus| !named.contains(bus)) {
        println!("WARNING: {}", config.wrong(&["bus", bus], format!("no grant names the bus \"{bus}\": it is never used"), ""));
    }
    let mut wrong = unvouched.or(crate::gateway::secrets(&config).err());
    let user = gateways_user(config.file(), &config.gateway.state);
    for one in in_others_hands(&config.trust, &config.gateway.state, user) {
        println!("ERROR: {one}; what to do: {}", one.remedy());
        wrong.get_or_insert(Fault::new(Guilty::Configuration, &one, one.remedy()));
    }
    for why in config.trust.keys().iter().flat_map(|folder| Vendors::unread(folder)) {
        println!("WARNING: among the vendors' keys: {why}; what to do: {}", why.remedy());
    }
    fleet_in_words(&site, doubt.as_deref());
    let mut sandbox = Sandbox::new(site.judge());
    let (mut asks, mut channels, mut taps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, instance) in &config.instances {
        println!();
        match instance_in_words(&config, name, instance, &mut sandbox) {
            Ok(seen) => {
                asks.insert(name.as_str(), seen.wants);
                channels.insert(name.as_str(), seen.channels);
                taps.insert(name.as_str(), seen.taps);
            }
            Err(fault) => refuse(fault, &mut wrong),
        }
    }
    for unheard in unheard(&config, &channels, &taps) {
        println!("\nWARNING: {unheard}");
    }
    for name in config.buses.keys() {
        if let Err(fault) = bus_in_words(&config, name, &asks) {
            println!();
            refuse(fault, &mut wrong);
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// Here it stands among what it is about; the first one leaves with its remedy when all is told.
fn refuse(fault: Fault, first: &mut Option<Fault>) {
    match first {
        None => println!("  REFUSED: {}", fault.what),
        Some(_) => println!("  REFUSED: {fault}"),
    }
    first.get_or_insert(fault);
}

/// What the fleet's metadata and this gateway's memory come to.
fn fleet_in_words(site: &Site, doubt: Option<&str>) {
    let seen = &site.known.fleet;
    match (&seen.fleet, seen.why_stale()) {
        (_, Some(why)) => println!("WARNING: trust is stale, so nothing new is taken: {why}"),
        (Some(fleet), None) => println!("the fleet's metadata are fresh until {}", fleet.expires),
        (None, None) => {}
    }
    for (vendor, ended) in seen.stale_vendors() {
        println!("WARNING: trust is stale for {vendor}, so nothing new of it is taken: {}", list_ended(vendor, ended));
    }
    if let Some(why) = &site.blind {
        println!("WARNING: blind, so nothing starts but what ran here last: {why}; {RECALL}");
    }
    if let Some(why) = doubt {
        println!("WARNING: {why}");
    }
}

/// A combination of window and patience that a link cannot serve breaks every connection, and nothing else would say why.
fn thinnest_link(uplink: &Uplink) -> String {
    let least = uplink.least_kbit_s();
    let fits = format!("needs a link of at least {least} kbit/s: window_bytes = {} must get through before ", uplink.window_bytes);
    let patience = format!("progress_s = {} and keep_alive_s = {} are over", uplink.progress_s, uplink.keep_alive_s);
    format!("{fits}{patience}; on a thinner one lower window_bytes and message_bytes")
}

/// Whether the bus can do what its instances declare.
fn bus_in_words(config: &Config, name: &str, asks: &BTreeMap<&str, Wants>) -> Result<(), Fault> {
    let Admitted { cycle, silent, understated } = crate::gateway::admitted(config, name, asks)?;
    println!("\nbus \"{name}\", {}: {cycle}", modbus::target(&config.buses[name]));
    for less in understated {
        println!("  WARNING: {less}");
    }
    if let Some(doubt) = config.buses[name].serial.as_deref().and_then(doubt) {
        println!("  WARNING: {}", config.wrong(&["bus", name, "serial"], doubt, ""));
    }
    if !silent.is_empty() {
        println!(
            "  not reckoned with, because they ask nothing by themselves and their grants declare no transactions: {}",
            silent.join(", ")
        );
    }
    Ok(())
}

/// Why this may be no port: it may come later, all the same.
fn doubt(port: &Path) -> Option<String> {
    if !port.is_absolute() {
        return None; // a terminal server is no path
    }
    match port.metadata() {
        Ok(about) if about.file_type().is_char_device() => None,
        Ok(_) => Some(format!("{} is no character device, so nothing can be heard on it", port.display())),
        Err(_) => {
            let near = nearest_path(port).map(|near| format!("; {} is there", near.display())).unwrap_or_default();
            Some(format!("{} is not there now{near}", port.display()))
        }
    }
}

/// What is seen of a plugin that is opened once in its sandbox.
struct Seen {
    /// What it asks of its bus again and again.
    wants: Wants,
    channels: Vec<(String, Kind)>,
    /// What it hears of others.
    taps: Vec<Tap>,
}

/// Inputs of filters that name a channel which its instance does not describe when it opens, or one of another kind.
fn unheard(config: &Config, channels: &BTreeMap<&str, Vec<(String, Kind)>>, taps: &BTreeMap<&str, Vec<Tap>>) -> Vec<ConfigError> {
    let mut unheard = Vec::new();
    for (name, tap) in taps.iter().flat_map(|(name, taps)| taps.iter().map(move |tap| (*name, tap))) {
        let (input, from) = (&tap.input, &tap.from);
        let Some(known) = channels.get(from.instance.as_str()) else { continue };
        if let Some((_, kind)) = known.iter().find(|(channel, _)| *channel == from.channel) {
            let takes = tap.kind.of_contract();
            if *kind != takes {
                let what = format!(
                    "{from} is {}, and the input \"{input}\" takes {}, so \"{name}\" hears nothing of it",
                    kind_in_words(*kind),
                    kind_in_words(takes)
                );
                unheard.push(config.wrong(&["instance", name, "inputs", input], what, ""));
            }
            continue;
        }
        let near = nearest(&from.channel, known.iter().map(|(channel, _)| channel.as_str()))
            .map(|near| format!("; it describes \"{near}\""))
            .unwrap_or_default();
        let what = format!(
            "\"{}\" describes no channel \"{}\" when it opens, so \"{name}\" hears nothing of it until it does{near}",
            from.instance, from.channel
        );
        unheard.push(config.wrong(&["instance", name, "inputs", input], what, ""));
    }
    unheard
}

fn instance_in_words(config: &Config, name: &str, instance: &Instance, sandbox: &mut Sandbox) -> Result<Seen, Fault> {
    let place = match &instance.bed {
        Some(bed) => format!("at bed \"{bed}\""),
        None if instance.inputs.is_empty() => "at no bed".to_owned(),
        None => "where they stand whom it hears".to_owned(),
    };
    println!("{name}, {place}, package {}", instance.package.display());
    let refused = |e| crate::gateway::wrong_package(config, name, &e);
    let package = Package::admit(&instance.package, &sandbox.judge.admission).map_err(refused)?;
    println!("  runs {}: {}", package.manifest.full_name(), super::plugin::vendor_says(&package.manifest.summary));
    match &package.signed {
        Some(by) => println!("  signed by {}, release {}, with the key {}", by.vendor, by.release, by.key.id()),
        None => println!("  signed by NOBODY: a folder"),
    }
    match sandbox.judge.sight(config, name, &package, |_| false) {
        Ok(sight) => {
            sandbox.judge.note(&sight);
            if let Some(why) = &sight.revoked {
                println!("  REVOKED: {why}; it runs, as on_revoked = \"{}\" says", config.trust.on_revoked.name());
            }
        }
        Err(refusal) => {
            let why = refusal.why;
            if matches!(why, Withheld::Revoked { .. }) {
                println!("  REVOKED: {why}; on_revoked = \"{}\" says what becomes of it", config.trust.on_revoked.name());
            }
            return Err(refused(PluginError::Withheld { plugin: package.manifest.full_name(), why: Box::new(why) }));
        }
    }
    package.granted(&instance.grants.links()).map_err(refused)?;
    let settings = config.settings(name, &package.manifest, &package.shipped)?;
    let taps: Vec<Tap> = config.taps(name, &package.manifest)?.into_iter().flatten().collect();
    for tap in &taps {
        println!("  hears {} ({}); what it makes of that is marked derived", tap.from, tap.input);
    }
    let grants = &instance.grants;
    let Allowed { serial, modbus: bus_grant, ble } = crate::gateway::allowed(config, name, instance, &package.manifest)?;
    if let (Some(allowed), Some(grant)) = (serial, &grants.serial) {
        println!("  {}", allowed.explain());
        if let Some(doubt) = doubt(&grant.port) {
            println!("  WARNING: {}: {doubt}", grant.at);
        }
    }
    if let Some(grant) = &bus_grant {
        println!("  {} (bus \"{}\" is {})", grant.explain(), grant.bus(), modbus::target(&config.buses[grant.bus()]));
    }
    if let Some(grant) = ble {
        println!("  {}", grant.explain());
        for unseen in grant.unseen() {
            println!(
                "  WARNING: {}",
                config.wrong(&["instance", name, "grants", "ble"], unseen, "add it to characteristics, or take that line out")
            );
        }
    }
    held_in_words(config, name, grants, &package.manifest);
    if grants.serial.is_none() && grants.modbus.is_none() && grants.ble.is_none() {
        println!("  touches no device");
    }
    if !grants.personal {
        println!("  personal channels are dropped and counted");
    }
    if grants.keep_raw {
        if grants.serial.is_some() {
            println!("  what comes on its serial line leaves byte for byte, WHOEVER IT IS ABOUT");
        }
        if grants.modbus.is_some() {
            println!("  what goes over its Modbus bus for it leaves byte for byte, WHOEVER IT IS ABOUT");
        }
    }
    match (&instance.bed, &instance.device_serial) {
        (_, Some(serial)) => println!("  counts only from the device {serial}: until it says that it is this one, its values are parked"),
        (_, None) if instance.is_of_a_pool() => {} // said above
        (Some(_), None) => println!("  its bed is bound without a device serial: a device swapped for another of its kind is not noticed"),
        (None, None) => {}
    }
    let plugin = sandbox.ready(&package).map_err(refused)?;
    let opened = trial::opens(&plugin, &settings).map_err(|e| unopened(config, name, instance, &e))?;
    reports_in_words(config, name, instance, &opened.channels);
    if instance.device_serial.is_some() && !opened.identifies {
        let what = format!(
            "{} did not say who its device is when it was opened. It may do so once the device speaks; one that never does has every value of \
             \"{name}\" parked, and lost after store.park_s = {} s: see its README",
            package.manifest.full_name(),
            config.store.park_s
        );
        println!("  WARNING: {}", config.wrong(&["instance", name, "device_serial"], what, ""));
    }
    let silent_after_s = instance.silent_after_s.unwrap_or(package.manifest.silent_after_s);
    if instance.device_serial.is_some() && silent_after_s == 0 && (grants.serial.is_some() || grants.modbus.is_some()) {
        let what = format!(
            "a device that is swapped where the link stays up (on a bus, behind an adapter or a terminal server) is noticed by a silence only, and \
             \"{name}\" has no silent_after_s"
        );
        println!("  WARNING: {}", config.wrong(&["instance", name, "device_serial"], what, "set silent_after_s to some of its periods"));
    }
    let polls = at_once(trial::transactions(&plugin, &settings, bus_grant.as_ref()));
    for refusal in &polls.refused {
        println!("  WARNING: with these settings it {refusal}");
    }
    let channels = opened.channels.into_iter().map(|meaning| (meaning.name, meaning.kind)).collect();
    Ok(Seen { wants: crate::gateway::wants(instance, &package.manifest, polls.seen), channels, taps })
}

/// Where a grant and what its package asks for differ, a line each way.
fn held_in_words(config: &Config, name: &str, grants: &Grants, manifest: &Manifest) {
    let Held { less, more } = held(grants, manifest);
    let plugin = manifest.full_name();
    let warn = |what: String| println!("  WARNING: {}", config.wrong(&["instance", name, "grants"], what, ""));
    if !less.is_empty() {
        warn(format!("granted less than {plugin} asks for: not {}", less.join("; not ")));
    }
    if !more.is_empty() {
        warn(format!(
            "granted more than {plugin} asks for: {}. The smaller of both counts: what goes beyond is not allowed",
            more.join(", ")
        ));
    }
}

/// One line for each channel with a rule, which is true, and the line of gateway.toml where the rule does nothing.
fn reports_in_words(config: &Config, name: &str, instance: &Instance, described: &[Description]) {
    for (channel, rule) in &instance.report {
        let (words, idle) = match described.iter().find(|meaning| meaning.name == *channel) {
            Some(meaning) if rule.suits(meaning.kind == Kind::Numeric, meaning.kind == Kind::Waveform) => {
                (in_words(channel, rule, meaning.kind), None)
            }
            Some(meaning) => {
                let kind = kind_in_words(meaning.kind);
                (format!("everything is sent as it comes, it is {kind}"), Some(format!("no such rule is for a channel that is {kind}")))
            }
            None => {
                let near = nearest(channel, described.iter().map(|m| m.name.as_str())).map(|near| format!("; it describes \"{near}\""));
                let idle = format!("\"{name}\" describes no channel \"{channel}\" when it opens{}", near.unwrap_or_default());
                ("nothing of it is known, so nothing is sent or thrown away".to_owned(), Some(idle))
            }
        };
        println!("  {channel}: {words}");
        if let Some(idle) = idle {
            println!("  WARNING: {}", config.wrong(&["instance", name, "report", channel], idle, ""));
        }
    }
    println!("  {}everything is sent as it comes", if instance.report.is_empty() { "" } else { "of all other channels " });
}

fn kind_in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Numeric => "numeric",
        Kind::Enumeration => "an enumeration",
        Kind::Bits => "bits",
        Kind::Text => "text",
        Kind::Octets => "octets",
        Kind::Waveform => "a waveform",
    }
}

/// What of a channel is sent, and what is not.
fn in_words(channel: &str, rule: &Report, kind: Kind) -> String {
    match rule {
        Report::OnChange { heartbeat_s, .. } if kind != Kind::Numeric => {
            format!("sent when it changes, and every {heartbeat_s} s; the rest is THROWN AWAY")
        }
        Report::OnChange { dead_band, heartbeat_s } => format!(
            "sent when it differs by more than {dead_band} from what was sent last, and every {heartbeat_s} s; the rest is THROWN AWAY"
        ),
        Report::Window { seconds } => format!(
            "sent as least, most, mean and number of its values in each {seconds} s, marked derived; the values themselves are THROWN AWAY"
        ),
        Report::Preview { every } => {
            format!("sent as it comes; besides, each {every}th sample goes ahead as {channel}.preview, marked derived")
        }
    }
}

/// Plugins compiled for a trial, once for all instances of a package. Nothing is cached: a check writes nothing, and needs no state folder.
struct Sandbox {
    judge: Judge,
    host: Option<Arc<Host>>,
    ready: BTreeMap<PathBuf, Arc<Prepared>>,
}

impl Sandbox {
    fn new(judge: Judge) -> Self {
        Self { judge, host: None, ready: BTreeMap::new() }
    }

    fn ready(&mut self, package: &Package) -> Result<Arc<Prepared>, PluginError> {
        if let Some(plugin) = self.ready.get(&package.path) {
            return Ok(plugin.clone());
        }
        let host = match &self.host {
            Some(host) => host.clone(),
            None => self.host.insert(Arc::new(Host::probe()?)).clone(),
        };
        let plugin = trial::ready_in(host, package)?;
        self.ready.insert(package.path.clone(), plugin.clone());
        Ok(plugin)
    }
}

/// With the line of the setting that the plugin names, or of the instance's settings.
fn unopened(config: &Config, name: &str, instance: &Instance, e: &Unopened) -> Fault {
    let (guilty, words) = match e {
        Unopened::Refuses { says, .. } => (Guilty::Configuration, says.as_str()),
        Unopened::Fails { .. } => (Guilty::Plugin, ""),
    };
    let named = instance.settings.iter().find(|(key, _)| words.contains(&format!("\"{key}\"")));
    let remedy = match named {
        Some((_, Given::File(path))) => format!("correct {}", path.display()),
        Some((key, _)) => format!("correct the setting {key}; the plugin's README says what it takes"),
        None if guilty == Guilty::Plugin => "report this to the plugin's vendor, with the settings".into(),
        None => "correct the settings of this instance; the plugin's README says what they take".into(),
    };
    let path = ["instance", name, "settings"].into_iter().chain(named.map(|(key, _)| key.as_str()));
    let wrong = config.wrong(&path.collect::<Vec<_>>(), e, remedy);
    Fault::new(guilty, &wrong, &wrong.remedy)
}
