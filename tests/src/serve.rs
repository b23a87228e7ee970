//! The embedded broker as a process of its own: its port on standard output, then what each client sent and got, once a second.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::broker::{Broker, Identity, Options};

/// How often the counters are told.
const TELL_MS: u64 = 1000;

pub fn main(folder: &Path, port: u16) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(serve(folder, port))
}

async fn serve(folder: &Path, port: u16) -> Result<(), String> {
    let password = fs::read_to_string(folder.join("password")).map_err(|e| format!("{}: {e}", folder.join("password").display()))?;
    let mut options = Options::new(identity(folder)?);
    options.address.set_port(port);
    options.users = ["gateway", "receiver"].map(|user| (user.to_owned(), password.clone())).to_vec();
    let broker = Broker::start(options).await.map_err(|e| format!("port {port}: {e}"))?;
    println!("{}", serde_json::json!({ "ready": broker.port }));
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
    let stop = async move {
        terminate.recv().await;
    };
    let tell = async {
        loop {
            tokio::time::sleep(Duration::from_millis(TELL_MS)).await;
            println!("{}", serde_json::json!({ "clients": broker.stats().clients }));
        }
    };
    tokio::select! {
        () = broker.run(stop) => Ok(()),
        () = tell => Ok(()),
    }
}

/// Made once, and kept: a broker that comes back is the same one.
pub(crate) fn identity(folder: &Path) -> Result<Identity, String> {
    let at = |name: &str| folder.join(name);
    let read = |name: &str| fs::read_to_string(at(name)).ok();
    if let (Some(ca_pem), Some(certificate_pem), Some(key_pem)) = (read("ca.pem"), read("broker.pem"), read("broker.key")) {
        return Ok(Identity { ca_pem, certificate_pem, key_pem });
    }
    let made = Identity::new(&["localhost", "127.0.0.1"]);
    for (name, text) in [("ca.pem", &made.ca_pem), ("broker.pem", &made.certificate_pem), ("broker.key", &made.key_pem)] {
        fs::write(at(name), text).map_err(|e| format!("{}: {e}", at(name).display()))?;
    }
    Ok(made)
}
