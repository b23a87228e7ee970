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
    wrong.map_or(Ok(()), Err)
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
