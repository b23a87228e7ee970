//! `wardgate plugin test`: a plugin's native tests, then its golden cases in the sandbox.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::{ready, terminal};
use crate::fault::{Fault, Guilty};
use crate::plugin::trial;

#[derive(Debug, Args)]
#[command(
    after_help = "Native tests are cargo's (`cargo test`); with the SDK's testkit they play the golden cases too. Then the same cases are \
                        played in the sandbox, as the gateway would run the plugin. A difference is shown with the bytes that came in and the \
                        guilty byte marked."
)]
pub struct Test {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

pub fn run(args: &Test) -> Result<(), Fault> {
    let plugin = ready(&args.folder)?; // first, because it says what is missing: no plugin, no cargo, no target
    let native = cargo_test(&args.folder)?;
    let cases = trial::cases(&args.folder);
    let mut out = io::stdout().lock();
    let mut wrong = 0;
    for file in &cases {
        let name = file.file_name().unwrap_or_default().display().to_string();
        match trial::case(&plugin, file) {
            Ok(Ok(steps)) => writeln!(out, "golden {name} in the sandbox: {steps} steps, ok"),
            Ok(Err(difference)) => {
                wrong += 1;
                write!(out, "golden {name} in the sandbox DIFFERS\n  {difference}")
            }
            Err(why) => {
                wrong += 1;
                writeln!(out, "golden {name} is no case: {why}")
            }
        }
        .map_err(terminal)?;
    }
    let failed = |what: String, remedy| Err(Fault::new(Guilty::Plugin, what, remedy));
    match (native, wrong, cases.len()) {
        (true, 0, 0) => writeln!(out, "native tests passed; golden/ holds no case, so nothing was played in the sandbox").map_err(terminal),
        (true, 0, n) => writeln!(out, "native tests passed; {n} golden cases say the same in the sandbox").map_err(terminal),
        (false, 0, _) => failed("the native tests failed; cargo says where, above".into(), "correct it, then test again"),
        (_, wrong, n) => failed(
            format!("{wrong} of {n} golden cases differ"),
            "correct the plugin; or, if what it says now is right, write the cases anew with `BLESS=1 cargo test golden`",
        ),
    }
}

fn cargo_test(folder: &Path) -> Result<bool, Fault> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let ended = Command::new(&program).args(["test", "--quiet"]).current_dir(folder).status();
    let ended = ended.map_err(|why| {
        Fault::new(Guilty::Plugin, format!("cannot run {}: {why}", program.display()), "install Rust from https://rustup.rs")
    })?;
    Ok(ended.success())
}
