//! `wardgate check`: reads the configuration as `run` would, and says in plain words what each instance may reach.

use std::path::PathBuf;

use clap::Args;

use crate::capability::{modbus, serial};
use crate::config::{Config, Instance, Secrets};
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
    if config.plugins.allow_unsigned {
        println!("WARNING: unsigned plugins are allowed: whoever can write to a package's folder decides what runs in its sandbox");
    }
    let mut wrong = Secrets::read(&config.uplink).err();
    for (name, instance) in &config.instances {
        println!();
        if let Err(fault) = instance_in_words(&config, name, instance) {
            println!("  REFUSED: {fault}");
            wrong = wrong.or(Some(fault));
        }
    }
    for name in config.buses.keys() {
        if let Err(fault) = bus_in_words(&config, name) {
            println!("\n  REFUSED: {fault}");
            wrong = wrong.or(Some(fault));
        }
    }
    wrong.map_or(Ok(()), Err)
}

/// Whether the bus can do what its instances declare.
fn bus_in_words(config: &Config, name: &str) -> Result<(), Fault> {
    let (mut all, mut silent) = (Vec::new(), Vec::new());
    for (instance, granted) in &config.instances {
        let Some(grant) = granted.grants.modbus.as_ref().filter(|g| g.bus == *name) else { continue };
        let package = Package::open(&granted.package, config.plugins.allow_unsigned).ok();
        let declared = if grant.transactions.is_empty() {
            package.map_or(Vec::new(), |p| p.manifest.transactions)
        } else {
            grant.transactions.clone()
        };
        if declared.is_empty() {
            silent.push(instance.as_str());
        }
        all.extend(declared.iter().map(|t| modbus::Transaction {
            instance: instance.clone(),
            function: t.function as u8, // the manifest's reader bounds both
            count: t.count as u16,
            period_ms: t.period_ms,
        }));
    }
    let cycle = modbus::admit(name, &config.buses[name], &all)
        .map_err(|e| Fault::new(Guilty::Configuration, e, "correct the bus or its instances in gateway.toml"))?;
    println!("\nbus \"{name}\", {}: {cycle}", modbus::target(&config.buses[name]));
    if !silent.is_empty() {
        println!("  not reckoned with, because neither manifest nor grant declares transactions: {}", silent.join(", "));
    }
    Ok(())
}

fn instance_in_words(config: &Config, name: &str, instance: &Instance) -> Result<(), Fault> {
    let place = instance.bed.as_ref().map_or("at no bed".to_owned(), |bed| format!("at bed \"{bed}\""));
    println!("{name}, {place}, package {}", instance.package.display());
    let refused = |e: &dyn std::fmt::Display| Fault::new(Guilty::Plugin, e, "correct the package or its line in gateway.toml");
    let package = Package::open(&instance.package, config.plugins.allow_unsigned).map_err(|e| refused(&e))?;
    println!("  runs {}: {}", package.manifest.full_name(), package.manifest.summary);
    package.granted(&crate::gateway::granted(instance)).map_err(|e| refused(&e))?;
    package.manifest.check_settings(&instance.settings).map_err(|e| crate::gateway::wrong_setting(name, &e))?;
    let grants = &instance.grants;
    let wrong = |e: &dyn std::fmt::Display| Fault::new(Guilty::Configuration, e, "correct the grant in gateway.toml");
    if let Some(grant) = &grants.serial {
        println!("  {}", serial::Grant::new(name, grant).map_err(|e| wrong(&e))?.explain());
    }
    if let Some(grant) = &grants.modbus {
        let bus = modbus::target(&config.buses[&grant.bus]);
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
