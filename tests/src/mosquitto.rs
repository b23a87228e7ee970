//! Mosquitto, whose code shares nothing with ours, as a broker of a test: TLS, passwords, a port and a folder of its own.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::broker::Identity;
use crate::ports;
use crate::process::{Process, READY_S_MAX};

const MISSING: &str = "mosquitto is missing: apt-get install mosquitto (`make test` does it)";
const PASSWORDS: &str = "mosquitto.passwords";
const CONFIGURATION: &str = "mosquitto.conf";
const LOOK_MS: u64 = 10; // it accepts a few milliseconds after its start

/// Writes what it needs into `folder`, `ca.pem` among it, and says the port that it will have. `users`: name and password. `extra`: lines of
/// its configuration.
pub fn prepare(folder: &Path, identity: &Identity, users: &[(&str, &str)], extra: &str) -> Result<u16, String> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| format!("{}: {e}", folder.join(name).display()));
    write("ca.pem", &identity.ca_pem)?;
    write("broker.pem", &identity.certificate_pem)?;
    write("broker.key", &identity.key_pem)?;
    write(PASSWORDS, "")?;
    fs::set_permissions(folder.join(PASSWORDS), fs::Permissions::from_mode(0o600)).map_err(|e| format!("{PASSWORDS}: {e}"))?;
    for (user, password) in users {
        let made = Command::new("mosquitto_passwd").args(["-b", PASSWORDS, user, password]).current_dir(folder).output();
        if !made.is_ok_and(|m| m.status.success()) {
            return Err(MISSING.to_owned());
        }
    }
    let port = ports::own().map_err(|e| format!("no free port: {e}"))?;
    let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
    let tls = format!("certfile broker.pem\nkeyfile broker.key\nallow_anonymous false\npassword_file {PASSWORDS}\n");
    write(CONFIGURATION, &format!("{user}listener {port} 127.0.0.1\n{tls}persistence false\nlog_dest stderr\n{extra}"))?;
    Ok(port)
}

/// Returns when it accepts connections. Another one may take the place of one that was killed.
pub fn start(folder: &Path, port: u16) -> Result<Process, String> {
    let beside = Path::new("/usr/sbin/mosquitto"); // not on everybody's PATH
    let mut command = Command::new(if beside.exists() { beside } else { Path::new("mosquitto") });
    command.args(["-c", CONFIGURATION]).current_dir(folder);
    let mut process = Process::start("mosquitto", &mut command, &folder.join("mosquitto.log")).map_err(|e| format!("{e}: {MISSING}"))?;
    for _ in 0..READY_S_MAX * 1000 / LOOK_MS {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(process);
        }
        if !process.running() {
            return Err(format!("mosquitto ended: is port {port} taken? its log ends:\n{}", process.log_end()));
        }
        sleep(Duration::from_millis(LOOK_MS));
    }
    Err(format!("mosquitto does not accept within {READY_S_MAX} s; its log ends:\n{}", process.log_end()))
}
