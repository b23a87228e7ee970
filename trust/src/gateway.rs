//! The program `wardgate`, which lies beside this one: it knows packages, and is asked about them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fault::Fault;

const NAME: &str = "wardgate";

fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join(NAME)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(NAME))
}

/// The folder of the fleet's metadata that its configuration names; none: that site has no fleet.
pub fn trust_folder(config: &Path) -> Result<Option<PathBuf>, Fault> {
    let program = program();
    let asked = Command::new(&program).args(["plugin", "trust-folder", "--config"]).arg(config).stderr(Stdio::inherit()).output();
    let asked = asked.map_err(|e| Fault::NoGateway { why: format!("{}: {e}", program.display()) })?;
    if !asked.status.success() {
        let code = asked.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        return Err(Fault::Gateway { verb: "plugin install".into(), code });
    }
    let said = asked.stdout.strip_suffix(b"\n").unwrap_or_default();
    Ok(Some(PathBuf::from(OsStr::from_bytes(said))).filter(|path| !path.as_os_str().is_empty()))
}

/// Into its audit log. Where that cannot be written the refusal is the same, and so are its words.
pub fn install_refused(config: &Path, package: &Path, fault: &Fault) {
    let mut command = Command::new(program());
    command.args(["plugin", "install-refused", "--config"]).arg(config).arg(format!("--why={fault}")).arg("--").arg(package);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// What it prints goes to the terminal; its refusal is ours.
pub fn run(verb: &str, words: &[&Path], quiet: bool) -> Result<(), Fault> {
    let program = program();
    let mut command = Command::new(&program);
    command.arg("plugin").arg(verb).args(words);
    if quiet {
        command.stdout(std::process::Stdio::null());
    }
    let status = command.status().map_err(|e| Fault::NoGateway { why: format!("{}: {e}", program.display()) })?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Fault::Gateway { verb: format!("plugin {verb}"), code })
}
