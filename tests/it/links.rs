//! Links: grants, buses and ports against real sockets and ptys, an independent Modbus server, and devices that misbehave.

mod ble;
mod buses;
mod captures;
mod faults;
mod frames;
pub mod framings;
mod generator;
mod modbus;
pub mod oracle;
pub mod proxy;
mod serial;
mod servers;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wardgate::contract::types::Moment;
use wardgate_lab::sim::boottime_ns;

const HANG_S: u64 = 180; // no measure of anything: only so that a broken build fails instead of hanging, on a busy machine too

fn clock() -> Moment {
    Moment { boot: 1, monotonic_ns: boottime_ns(), wall: None }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(HANG_S), what).await.expect("nothing came")
}

/// A pty at either end of a cable, made by socat. Unplugged with this value.
struct Socat(tokio::process::Child);

impl Socat {
    async fn between(one: &Path, other: &Path) -> Self {
        let end = |link: &Path| format!("pty,raw,echo=0,link={}", link.display());
        let mut command = tokio::process::Command::new("socat");
        let child = command.args([end(one), end(other)]).kill_on_drop(true).spawn().expect("socat runs: `make test-setup` installs it");
        within(async {
            while !(one.exists() && other.exists()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        Self(child)
    }

    async fn unplug(mut self) {
        self.0.kill().await.unwrap();
    }
}

/// A folder of this test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("wardgate-links-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
