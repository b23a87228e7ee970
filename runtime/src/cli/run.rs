//! `wardgate run`: runs the gateway until it is told to stop.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, IMAGE_PROFILE, is_production};
use crate::fault::{Fault, Guilty};
use crate::gateway;

#[derive(Args)]
pub struct Run {
    /// The gateway's configuration; runtime/gateway.toml lists every setting
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// What the image says of itself
    #[arg(long, default_value = IMAGE_PROFILE, hide = true)]
    image_profile: PathBuf,
}

pub fn run(args: &Run) -> Result<(), Fault> {
    let config = Config::load(&args.config)?;
    config.held_to(&args.image_profile)?;
    let production = is_production(&args.image_profile);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(gateway::BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|e| Fault::new(Guilty::Internal, format!("no threads: {e}"), "look at the limits of this process (ulimit -u)"))?;
    runtime.block_on(gateway::run(args.config.clone(), config, production))
}
