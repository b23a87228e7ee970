//! `wardgate plugin test`: a plugin's native tests, then its golden cases in the sandbox.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use clap::Args;

use super::{ready, terminal};
use crate::fault::{Fault, Guilty};
use crate::plugin::{self, GOLDEN_FOLDER, Prepared, trial};

#[derive(Debug, Args)]
#[command(
    after_help = "Native tests are cargo's (`cargo test`); with the SDK's testkit they play the golden cases too. Then the same cases are \
                        played in the sandbox, as the gateway would run the plugin. A difference is shown with the bytes that came in and the \
                        guilty byte marked."
)]
pub struct Test {
    /// The plugin's folder; or a package file, of which the golden cases inside are played
    #[arg(value_name = "DIR|PACKAGE", default_value = ".")]
    folder: PathBuf,
}

type Played = Result<Result<usize, Box<trial::Difference>>, String>;

pub fn run(args: &Test) -> Result<(), Fault> {
    let plugin = ready(&args.folder)?; // first, because it says what is missing: no plugin, no cargo, no target
    if args.folder.is_file() {
        let cases = packed_cases(&plugin, &args.folder)?;
        return tell(&cases, None);
    }
    let cases = trial::cases(&args.folder);
    let source = args.folder.join("Cargo.toml").is_file();
    if !source && cases.is_empty() {
        let what = format!("{} is a plugin that was built: its tests and golden cases lie where its source is", args.folder.display());
        return Err(Fault::new(
            Guilty::Plugin,
            what,
            "name the folder of its source, or a package file (`wardgate plugin pack` makes one)",
        ));
    }
    let native = if source { Some(cargo_test(&args.folder)?) } else { None };
    let name = |file: &Path| file.file_name().unwrap_or_default().display().to_string();
    tell(&cases.iter().map(|file| (name(file), trial::case(&plugin, file))).collect::<Vec<_>>(), native)
}

fn packed_cases(plugin: &Arc<Prepared>, file: &Path) -> Result<Vec<(String, Played)>, Fault> {
    let sealed = plugin::sealed(file).map_err(super::refused)?;
    let text = |path: &str| sealed.file(path).and_then(|file| String::from_utf8(file.bytes.clone()).ok());
    let golden = sealed.files().iter().filter_map(|file| Some((&file.path, file.path.strip_prefix(GOLDEN_FOLDER)?.strip_prefix('/')?)));
    Ok(golden.map(|(path, name)| (name.to_owned(), trial::packed_case(plugin, &text(path).unwrap_or_default(), &text))).collect())
}

/// `native`: whether the native tests passed; a package file has none.
fn tell(cases: &[(String, Played)], native: Option<bool>) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    let mut wrong = 0;
    for (name, played) in cases {
        match played {
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
    let passed = if native.is_some() { "native tests passed; " } else { "" };
    match (native, wrong, cases.len()) {
        (None | Some(true), 0, 0) => writeln!(out, "{passed}golden/ holds no case, so nothing was played in the sandbox").map_err(terminal),
        (None, 0, n) => writeln!(out, "{n} golden cases of the package say the same here").map_err(terminal),
        (Some(true), 0, n) => writeln!(out, "{passed}{n} golden cases say the same in the sandbox").map_err(terminal),
        (Some(false), 0, _) => failed("the native tests failed; cargo says where, above".into(), "correct it, then test again"),
        (None, wrong, n) => failed(format!("{wrong} of {n} golden cases differ"), "report this to the plugin's vendor"),
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
