//! The front door: a file per verb.

pub mod bind;
pub mod ble;
pub mod check;
pub mod command;
pub mod gaps;
pub mod instance;
mod paint;
pub mod plugin;
pub mod reload;
pub mod run;
pub mod status;

use std::path::PathBuf;

use clap::Args;

use crate::config::Config;
use crate::fault::Fault;

/// Which running gateway is asked.
#[derive(Args)]
pub struct Whom {
    /// The gateway's configuration: says where its state folder lies
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The state folder itself, instead of a configuration
    #[arg(long)]
    state: Option<PathBuf>,
}

impl Whom {
    fn state(&self) -> Result<PathBuf, Fault> {
        match &self.state {
            Some(state) => Ok(state.clone()),
            None => Ok(Config::load(&self.config)?.gateway.state),
        }
    }
}
