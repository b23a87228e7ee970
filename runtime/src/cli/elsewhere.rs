//! Verbs that another program does: `wardgate-trust`, with its own dependencies, which never enter the gateway.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;

use crate::fault::{Fault, Guilty};
use crate::keys::token::{PROGRAM, program};

/// Its words, as they are: also its `--help`.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "...")]
    words: Vec<OsString>,
}

/// This process becomes that program. `before`: the words by which it knows the verb.
pub fn run(before: &[&str], words: &Words) -> Result<(), Fault> {
    let program = program();
    let why = Command::new(&program).args(before).args(&words.words).exec(); // returns only when it failed
    let what = match why.kind() {
        io::ErrorKind::NotFound => {
            format!("wardgate {} is done by the program {PROGRAM}, which is neither beside wardgate nor in PATH", before.join(" "))
        }
        _ => format!("{} does not start: {why}", program.display()),
    };
    Err(Fault::new(Guilty::Configuration, what, format!("install {PROGRAM} of the same version beside wardgate")))
}
