//! docker-registry, which we did not write, as a registry of a test: TLS, a password, a port and a folder of its own, on loopback.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::broker::Identity;
use crate::ports;
use crate::process::{Process, READY_S_MAX};

pub const USER: &str = "ward";
pub const PASSWORD: &str = "throw-away";
/// That password by bcrypt, the only kind that it reads; of the least cost.
const PASSWORDS: &str = "ward:$2b$04$6q.yKdk4JvXvnyOEeP8Pi.bTYgiL/X0HntaOw2SaD4/uYF3REQusu\n";
const LOOK_MS: u64 = 10; // it accepts a few milliseconds after its start

/// Returns when it accepts connections: the process and its port.
pub fn start(folder: &Path, identity: &Identity) -> Result<(Process, u16), String> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).map_err(|e| format!("{}: {e}", folder.join(name).display()));
    write("registry.pem", &identity.certificate_pem)?;
    write("registry.key", &identity.key_pem)?;
    write("registry-ca.pem", &identity.ca_pem)?;
    write("htpasswd", PASSWORDS)?;
    let port = ports::own().map_err(|e| format!("no free port: {e}"))?;
    let at = folder.display();
    write(
        "registry.yml",
        &format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {at}/registry\nhttp:\n  addr: 127.0.0.1:{port}\n  tls:\n    \
             certificate: {at}/registry.pem\n    key: {at}/registry.key\nauth:\n  htpasswd:\n    realm: ward\n    path: {at}/htpasswd\n"
        ),
    )?;
    let mut command = Command::new("docker-registry");
    command.args(["serve", "registry.yml"]).current_dir(folder);
    let missing = "docker-registry is missing: apt-get install docker-registry (`make test` does it)";
    let mut process =
        Process::start("docker-registry", &mut command, &folder.join("registry.log")).map_err(|e| format!("{e}: {missing}"))?;
    for _ in 0..READY_S_MAX * 1000 / LOOK_MS {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((process, port));
        }
        if !process.running() {
            return Err(format!("docker-registry ended: {missing}; its log ends:\n{}", process.log_end()));
        }
        sleep(Duration::from_millis(LOOK_MS));
    }
    Err(format!("docker-registry does not accept within {READY_S_MAX} s; its log ends:\n{}", process.log_end()))
}
