//! `wardgate check`: reads the configuration as `run` would, and says in plain words what each instance may reach.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use crate::capability::{modbus, serial};
use crate::config::{Config, Instance, Secrets, Uplink, nearest_path};
use crate::fault::{Fault, Guilty};
use crate::plugin::Package;

#[derive(Args)]
pub struct Check {
    /// The gateway's configuration; runtime/gateway.toml lists every setting
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
}

pub fn run(args: &Check) -> Result<(), Fault> {
    let config = Config::load(&args.config)?;
    println!("gateway \"{}\", state in {}", config.gateway.id, config.gateway.state.display());
    println!("sends to {}:{} over TLS, trusting {}", config.uplink.host, config.uplink.port, config.uplink.ca_file.display());
    println!("{}", thinnest_link(&config.uplink));
    if config.plugins.allow_unsigned {
        println!("WARNING: unsigned plugins are allowed: whoever can write to a package's folder decides what runs in its sandbox");
    }
    let named: BTreeSet<_> = config.instances.values().filter_map(|i| i.grants.modbus.as_ref()).map(|grant| &grant.bus).collect();
    for bus in config.buses.keys().filter(|bus| !named.contains(bus)) {
        println!("WARNING: {}", config.wrong(&["bus", bus], format!("no grant names the bus \"{bus}\": it is never used"), ""));
    }
    let mut wrong = Secrets::read(&config).err();
    for (name, instance) in &config.instances {
        println!();
        if let Err(fault) = instance_in_words(&config, name, instance) {
            println!("  REFUSED: {fault}");
            wrong = wrong.or(Some(fault));
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// A combination of window and patience that a link cannot serve breaks every connection, and nothing else would say why.
fn thinnest_link(uplink: &Uplink) -> String {
    let least = uplink.least_kbit_s();
    let fits = format!("needs a link of at least {least} kbit/s: window_bytes = {} must get through before ", uplink.window_bytes);
    let patience = format!("progress_s = {} and keep_alive_s = {} are over", uplink.progress_s, uplink.keep_alive_s);
    format!("{fits}{patience}; on a thinner one lower window_bytes and message_bytes")
}

fn instance_in_words(config: &Config, name: &str, instance: &Instance) -> Result<(), Fault> {
    let place = instance.bed.as_ref().map_or("at no bed".to_owned(), |bed| format!("at bed \"{bed}\""));
    println!("{name}, {place}, package {}", instance.package.display());
    let refused = |e| crate::gateway::wrong_package(config, name, &e);
    let package = Package::open(&instance.package, config.plugins.allow_unsigned).map_err(refused)?;
    println!("  runs {}: {}", package.manifest.full_name(), package.manifest.summary);
    package.granted(&crate::gateway::granted(instance)).map_err(refused)?;
    config.settings(name, &package.manifest, &package.shipped)?;
    let grants = &instance.grants;
    let wrong = |e: &dyn std::fmt::Display| Fault::new(Guilty::Configuration, e, "correct the grant in gateway.toml");
    if let Some(grant) = &grants.serial {
        println!("  {}", serial::Grant::new(name, grant).map_err(|e| wrong(&e))?.explain());
        if !grant.port.exists() {
            let near = nearest_path(&grant.port).map(|near| format!("; {} is there", near.display())).unwrap_or_default();
            println!("  WARNING: {}: {} is not there now{near}", grant.at, grant.port.display());
        }
    }
    if let Some(grant) = &grants.modbus {
        let bus = &config.buses[&grant.bus].tcp;
        println!("  {} (bus \"{}\" is {bus})", modbus::Grant::new(name, grant).map_err(|e| wrong(&e))?.explain(), grant.bus);
    }
    if grants.serial.is_none() && grants.modbus.is_none() {
        println!("  touches no device");
    }
    if !grants.personal {
        println!("  personal channels are dropped and counted");
    }
    if instance.bed.is_some() {
        println!("  its bed is bound without a device serial: a device swapped for another of its kind is not noticed");
    }
    Ok(())
}
