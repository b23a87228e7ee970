//! `wardgate command`: gives one instance a command and prints its answer.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;

use super::instance::Where;
use crate::console::{self, ARGUMENT_BYTES_MAX, COMMAND_S_MAX, Question};
use crate::contract::printable;
use crate::fault::{Fault, Guilty};
use crate::gateway::boottime_ns;

/// The gateway tells the time-out itself; a little later it must have hung.
const SLACK_S: u64 = 5;
/// A gateway that was killed comes back within seconds.
const ASK_AGAIN_MS: u64 = 200;
/// More on a terminal is no answer for people.
const SHOWN_BYTES_MAX: usize = 64 << 10;

#[derive(Args)]
#[command(after_help = "\
The answer is printed as it came. It is told once what the plugin did is on flash. If the gateway or the plugin dies meanwhile, the command is
given again by the same id until the time is over: a plugin that acted on it answers, and does not act twice.
The commands of a plugin are in its manifest; a wrong name lists them.")]
pub struct Command {
    /// As `wardgate status` and gateway.toml call it
    instance: String,
    /// One of the commands that its plugin knows
    name: String,
    /// Its argument: the bytes of a file, 32 KiB at most
    #[arg(long)]
    argument_file: Option<PathBuf>,
    /// How long to wait for the answer, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=COMMAND_S_MAX))]
    wait_s: u64,
    /// Give the same command again, by the id that an earlier try printed
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    at: Where,
}

pub fn run(args: &Command) -> Result<(), Fault> {
    let state = args.at.state()?;
    let argument = args.argument_file.as_deref().map_or(Ok(Vec::new()), read)?;
    let id = match &args.id {
        Some(id) => id.clone(),
        None => console::ask(&state, &Question::CommandId)?,
    };
    let give = |wait_ms: u64| {
        let (instance, name) = (args.instance.clone(), args.name.clone());
        let question = Question::Command { instance, name, id: id.clone(), argument: argument.clone(), wait_ms };
        console::ask_within::<Vec<u8>>(&state, &question, wait_ms / 1000 + SLACK_S)
    };
    let until = boottime_ns() + args.wait_s * 1_000_000_000;
    loop {
        let left_ms = until.saturating_sub(boottime_ns()) / 1_000_000;
        match give(left_ms) {
            Ok(answer) => return show(&answer),
            // whoever was asked has gone, and nobody knows how far it came
            Err(fault) if fault.guilty == Guilty::Port && left_ms > ASK_AGAIN_MS => sleep(Duration::from_millis(ASK_AGAIN_MS)),
            Err(fault) if fault.guilty == Guilty::Configuration => return Err(fault),
            Err(mut fault) => {
                fault.remedy += &format!("; to give the same command again: --id {id}");
                return Err(fault);
            }
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    let wrong = |what: String| Fault::new(Guilty::Configuration, what, "name a file that holds the argument");
    let bytes = std::fs::read(file).map_err(|e| wrong(format!("{} cannot be read: {e}", file.display())))?;
    if bytes.len() as u64 > ARGUMENT_BYTES_MAX {
        return Err(wrong(format!("{} holds {} bytes; an argument has at most {ARGUMENT_BYTES_MAX}", file.display(), bytes.len())));
    }
    Ok(bytes)
}

/// To a program as it is; to a person without anything that could play tricks on the terminal.
fn show(answer: &[u8]) -> Result<(), Fault> {
    let mut out = std::io::stdout();
    let done = match std::str::from_utf8(answer) {
        _ if !out.is_terminal() => out.write_all(answer),
        Ok(text) => writeln!(out, "{}", printable(text, SHOWN_BYTES_MAX)),
        Err(_) => writeln!(out, "{} bytes: {}", answer.len(), answer.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    done.map_err(|e| Fault::new(Guilty::Port, format!("cannot write the answer: {e}"), ""))
}
