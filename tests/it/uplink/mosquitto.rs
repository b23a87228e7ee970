//! The same against mosquitto, whose code shares nothing with ours: killed, frozen, and with limits and refusals of its own.

use std::time::Duration;

use rustix::process::Signal;
use wardgate_lab::broker::{Ca, Identity};
use wardgate_lab::mosquitto;
use wardgate_lab::process::Process;
use wardgate_wire::Class::{Alert, Archive, Ledger, Numeric};

use super::receiver::{Receiver, client_options};
use super::rig::{Folder, Rig, config, until};

/// A mosquitto of our own with user `demo` and password `secret`.
struct Mosquitto {
    port: u16,
    identity: Identity,
    process: Process,
    folder: Folder,
}

impl Mosquitto {
    fn start(extra: &str) -> Self {
        let folder = Folder::new();
        let identity = Identity::new(&["localhost", "127.0.0.1"]);
        let port = mosquitto::prepare(&folder.0, &identity, &[("demo", "secret")], extra).unwrap();
        let process = mosquitto::start(&folder.0, port).unwrap();
        Self { port, identity, process, folder }
    }

    /// kill -9, and another in its place.
    fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = mosquitto::start(&self.folder.0, self.port).unwrap();
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

fn assert_all_there(rig: &Rig, receiver: &Receiver) {
    assert_eq!(receiver.count(), rig.keys.len());
    assert!(rig.keys.iter().all(|key| receiver.has(key, rig.digest(key))));
}

//= PROMISES.md#P11
#[tokio::test(flavor = "multi_thread")]
async fn killed_and_frozen_it_loses_nothing() {
    let mut mosquitto = Mosquitto::start("max_inflight_messages 40\nmax_packet_size 262144\n");
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
            mosquitto.process.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_secs(8)).await;
            rig.commit(0, Numeric, 30, 0);
            mosquitto.process.signal(Signal::CONT);
        } else {
            mosquitto.kill_and_restart();
        }
    }
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    assert!(rig.uplink().connects >= 6 && rig.uplink().batches_repeated > 0, "{:?}", rig.uplink());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_small_limits_are_kept() {
    let mosquitto = Mosquitto::start("max_inflight_messages 3\nmax_packet_size 1500\nmax_topic_alias 1\n");
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
    let mosquitto = Mosquitto::start("");
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
