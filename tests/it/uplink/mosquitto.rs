//! The same against mosquitto, whose code shares nothing with ours: killed, frozen, and with limits and refusals of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wardgate_lab::broker::{Ca, Identity};
use wardgate_wire::Class::{Alert, Archive, Ledger, Numeric};

use super::receiver::{Receiver, client_options};
use super::rig::{Folder, Rig, config, until};

/// A mosquitto of our own, on a port of its own, with user `demo` and password `secret`. Killed when it is dropped.
struct Mosquitto {
    port: u16,
    identity: Identity,
    child: Child,
    folder: Folder,
}

impl Mosquitto {
    async fn start(extra: &str) -> Self {
        let folder = Folder::new();
        let identity = Identity::new(&["localhost", "127.0.0.1"]);
        let write = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
        write("server.pem", &identity.certificate_pem);
        write("server.key", &identity.key_pem);
        write("pw", "");
        std::fs::set_permissions(folder.0.join("pw"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let passwords = Command::new("mosquitto_passwd").args(["-b", "pw", "demo", "secret"]).current_dir(&folder.0).output();
        assert!(passwords.expect("mosquitto is installed (apt-get install mosquitto; `make test` does it)").status.success());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let tls = "certfile server.pem\nkeyfile server.key\nallow_anonymous false\npassword_file pw\npersistence false\nlog_dest stderr\n";
        write("conf", &format!("{user}listener {port} 127.0.0.1\n{tls}{extra}"));
        let child = spawn(&folder);
        let mut started = Self { port, identity, child, folder };
        started.accepts().await;
        started
    }

    async fn accepts(&mut self) {
        until("mosquitto accepts", || {
            assert!(self.child.try_wait().unwrap().is_none(), "mosquitto ended: is its port taken?");
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })
        .await;
    }

    /// kill -9, and another in its place.
    async fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(&self.folder);
        self.accepts().await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn receiver(&self) -> Receiver {
        let mut options = client_options("receiver", self.port, &self.identity.ca_pem);
        options.set_credentials("demo", "secret");
        Receiver::start(options, true)
    }

    fn start_uplink(&self, rig: &mut Rig, password: &str) {
        let mut config = config(self.port);
        config.username = Some("demo".into());
        rig.start_with(&config, &self.identity.ca_pem, Some(password));
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Folder) -> Child {
    let mut command = Command::new("mosquitto");
    command.args(["-c", "conf"]).current_dir(&folder.0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("mosquitto is installed (apt-get install mosquitto; `make test` does it)")
}

fn assert_all_there(rig: &Rig, receiver: &Receiver) {
    assert_eq!(receiver.count(), rig.keys.len());
    assert!(rig.keys.iter().all(|key| receiver.has(key, rig.digest(key))));
}

//= PROMISES.md#P11
#[tokio::test(flavor = "multi_thread")]
async fn killed_and_frozen_it_loses_nothing() {
    let mut mosquitto = Mosquitto::start("max_inflight_messages 40\nmax_packet_size 262144\n").await;
    let mut rig = Rig::new();
    let receiver = mosquitto.receiver();
    mosquitto.start_uplink(&mut rig, "secret");
    for round in 0..6 {
        (0..5).for_each(|_| rig.commit(0, Archive, 60, 2000));
        rig.commit(0, Ledger, 2, 300);
        rig.commit(0, Alert, 2, 0);
        let before = receiver.count();
        until("something of this round arrived", || receiver.count() > before + 20).await;
        if round == 3 {
            mosquitto.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_secs(8)).await;
            rig.commit(0, Numeric, 30, 0);
            mosquitto.signal(Signal::CONT);
        } else {
            mosquitto.kill_and_restart().await;
        }
    }
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    assert!(rig.uplink().connects >= 6 && rig.uplink().batches_repeated > 0, "{:?}", rig.uplink());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_small_limits_are_kept() {
    let mosquitto = Mosquitto::start("max_inflight_messages 3\nmax_packet_size 1500\n").await;
    let mut rig = Rig::new();
    rig.commit(0, Archive, 4, 50_000);
    rig.commit(0, Numeric, 50, 0);
    rig.commit(0, Alert, 5, 0);
    let receiver = mosquitto.receiver();
    mosquitto.start_uplink(&mut rig, "secret");
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    let order = receiver.order();
    assert!(order.iter().filter(|key| key.class == Archive).all(|key| order.iter().position(|k| k == key) >= Some(55)), "{order:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_refusals_are_named() {
    let mosquitto = Mosquitto::start("").await;
    let mut rig = Rig::new();
    rig.commit(0, Archive, 3, 100);
    mosquitto.start_uplink(&mut rig, "wrong");
    rig.until_error("refuses this user name or password (NotAuthorized)").await;
    rig.stop().await;
    let mut config = config(mosquitto.port);
    config.username = Some("demo".into());
    rig.start_with(&config, &Ca::new().issue(&["localhost"]).ca_pem, Some("secret"));
    rig.until_error("comes from a CA that ca.pem does not hold").await;
    rig.stop().await;
    mosquitto.start_uplink(&mut rig, "secret");
    rig.until_error("nobody is subscribed").await;
    let receiver = mosquitto.receiver();
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    rig.stop().await;
}
