//! `wardgate instance`: what a person does with one instance of the running gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::console::{self, ORDER_S_MAX, Question};
use crate::fault::Fault;

#[derive(Args)]
pub struct Instance {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Open it anew from the state that it kept; the only way out of quarantine beside a changed configuration
    Restart {
        /// As `wardgate status` and gateway.toml call it
        instance: String,
        #[command(flatten)]
        at: Where,
    },
}

/// Which running gateway is meant.
#[derive(Args)]
pub struct Where {
    /// The gateway's configuration: says where its state folder lies
    #[arg(long, short, default_value = "/etc/wardgate/gateway.toml")]
    config: PathBuf,
    /// The state folder itself, instead of a configuration
    #[arg(long)]
    state: Option<PathBuf>,
}

impl Where {
    pub fn state(&self) -> Result<PathBuf, Fault> {
        match &self.state {
            Some(state) => Ok(state.clone()),
            None => Ok(Config::load(&self.config)?.gateway.state),
        }
    }
}

pub fn run(args: &Instance) -> Result<(), Fault> {
    let Verb::Restart { instance, at } = &args.verb;
    let question = Question::Restart { instance: instance.clone() };
    console::ask_within::<()>(&at.state()?, &question, ORDER_S_MAX)?;
    println!("{instance} is open again");
    Ok(())
}
