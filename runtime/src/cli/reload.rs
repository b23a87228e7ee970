//! `wardgate reload`: the running gateway reads its configuration anew and changes what changed.

use clap::Args;

use super::instance::Where;
use crate::console::{self, ORDER_S_MAX, Question, Reloaded};
use crate::fault::Fault;

#[derive(Args)]
#[command(after_help = "\
The gateway reads the file that it was started with. It checks all of it first, compiles what is new, and only then changes what runs:
instances whose package, settings or grants changed are closed and opened anew from the state that they kept; all others go on undisturbed.
A configuration that is wrong changes nothing. [gateway], [uplink], [store] and [plugins] take a restart. SIGHUP does the same.")]
pub struct Reload {
    #[command(flatten)]
    at: Where,
}

pub fn run(args: &Reload) -> Result<(), Fault> {
    let done: Reloaded = console::ask_within(&args.at.state()?, &Question::Reload, ORDER_S_MAX)?;
    println!("{done}");
    Ok(())
}
