//! The far end as a process: the real binary behind a real broker (mosquitto), killed at any moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::sleep;
use wardgate_cloud::log::{LogError, replay};
use wardgate_lab::broker::Identity;
use wardgate_lab::mosquitto;
use wardgate_lab::process::{self, Process};
use wardgate_wire::{BatchKey, peek_unauthenticated, split};

use crate::flushed::{calls, stop_traced};
use crate::ward::Folder;

#[path = "../../cloud/src/testing/gateway.rs"]
mod gateway;
#[path = "../../cloud/src/testing/scene.rs"]
mod scene;

use gateway::{Gateway, key_bytes};

/// Waits are long, so that a busy machine fails nothing; a test that passes does not use them up.
const PATIENCE_MS: u64 = 20_000;
const STEP_MS: u64 = 20;
/// What the broker tells its clients to have in flight.
const WINDOW: u16 = 40;

fn binary() -> PathBuf {
    process::binary("wardgate-cloud").expect("built")
}

struct Ward {
    dir: Folder,
    port: u16,
    mosquitto: Process,
}

impl Ward {
    fn new(name: &str) -> Self {
        let dir = Folder::new(&format!("cloud-{name}"));
        fs::create_dir_all(&dir.0).expect("the temporary folder can be written");
        let limit = format!("max_inflight_messages {WINDOW}\n");
        let port = mosquitto::prepare(&dir.0, &Identity::new(&["localhost"]), &[("demo", "secret")], &limit).expect("mosquitto");
        let mosquitto = mosquitto::start(&dir.0, port).expect("mosquitto");
        fs::write(dir.0.join("password"), "secret\n").expect("written");
        Self { dir, port, mosquitto }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.0.join(name)
    }

    fn out(&self) -> PathBuf {
        self.path("out")
    }

    fn arguments(&self, gateways: &[&Gateway]) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let mut all: Vec<String> = ["--log", "text", "receive", "--host", "localhost", "--username", "demo"].map(str::to_owned).into();
        all.extend(["--port".into(), self.port.to_string(), "--ca".into(), text(self.path("ca.pem"))]);
        all.extend(["--password-file".into(), text(self.path("password")), "--out".into(), text(self.out())]);
        all.extend(["--status-file".into(), text(self.path("status.json"))]);
        for g in gateways {
            all.extend(["--key".into(), format!("{}={}", g.id, text(self.path(&format!("{}.key", g.id))))]);
        }
        all
    }

    fn receiver(&self, gateways: &[&Gateway]) -> Process {
        let _ = fs::remove_file(self.path("status.json"));
        self.run(Command::new(binary()).args(self.arguments(gateways)), "receiver.log")
    }

    fn run(&self, command: &mut Command, log: &str) -> Process {
        Process::start("receiver", command, &self.path(log)).expect("it starts")
    }

    fn status(&self) -> Json {
        fs::read(self.path("status.json")).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
    }

    async fn until(&self, what: &str, mut done: impl FnMut(&Json) -> bool) -> Json {
        for _ in 0..PATIENCE_MS / STEP_MS {
            let status = self.status();
            if done(&status) {
                return status;
            }
            sleep(Duration::from_millis(STEP_MS)).await;
        }
        let mut log = String::new();
        let _ = fs::File::open(self.path("receiver.log")).and_then(|mut f| f.read_to_string(&mut log));
        panic!("{what} did not come: {}\n{log}", self.status());
    }

    fn held(&self) -> BTreeSet<BatchKey> {
        let mut keys = BTreeSet::new();
        let read = replay::<LogError>(&self.out().join("raw"), |_, record| {
            keys.extend(peek_unauthenticated(record.batch).ok().map(|(header, _)| header.key));
            Ok(())
        });
        read.expect("the log can be read");
        keys
    }
}

/// The gateways' side of the link: publishes, and hands over what is said to them. Loses whatever it likes.
struct Uplink {
    client: AsyncClient,
    answers: mpsc::Receiver<(String, Vec<u8>)>,
}

impl Uplink {
    #[allow(clippy::disallowed_methods, reason = "a test has no corridor")]
    fn new(ward: &Ward) -> Self {
        let tls = wardgate_cloud::receive::tls(&fs::read(ward.path("ca.pem")).expect("there"), "ca.pem").expect("a certificate");
        let mut options = MqttOptions::new("gateways", "localhost", ward.port);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&tls))));
        options.set_credentials("demo", "secret");
        options.set_outgoing_inflight_upper_limit(WINDOW * 2);
        options.set_max_packet_size(Some(1 << 20));
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, usize::from(WINDOW));
        let (sender, answers) = mpsc::channel(4096);
        let subscriber = client.clone();
        tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = subscriber.try_subscribe("wardgate/1/+/ack", QoS::AtLeastOnce);
                    }
                    Ok(Event::Incoming(Packet::Publish(p))) => {
                        let _ = sender.try_send((String::from_utf8_lossy(&p.topic).into_owned(), p.payload.to_vec()));
                    }
                    Ok(_) => {}
                    Err(_) => sleep(Duration::from_millis(STEP_MS)).await, // the broker is away
                }
                if sender.is_closed() {
                    return;
                }
            }
        });
        Self { client, answers }
    }

    fn publish(&self, topic: &str, payload: Vec<u8>) {
        let _ = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload); // no room: lost, and sent again
    }

    fn send_whole(&self, g: &Gateway, most: usize) {
        for ((_, key), (_, bytes)) in g.held.iter().take(most) {
            self.publish(&format!("wardgate/1/{}/up/{}", g.id, key.class), bytes.clone());
        }
    }

    /// Some of what the gateway holds, some of it in parts.
    fn send(&self, g: &mut Gateway, most: usize) {
        let all: Vec<_> = g.held.iter().map(|((_, key), (_, bytes))| (*key, bytes.clone())).collect();
        for (key, bytes) in all.into_iter().take(most) {
            let size = if g.random.one_in(5) { 300 } else { 1 << 20 };
            for message in split(&bytes, size, &g.key).expect("splits") {
                self.publish(&format!("wardgate/1/{}/up/{}", g.id, key.class), message);
            }
        }
    }

    /// Takes what has come, and says which batches the gateway forgets for it.
    fn hear(&mut self, g: &mut Gateway) -> Vec<BatchKey> {
        let before: BTreeSet<BatchKey> = g.held.keys().map(|(_, key)| *key).collect();
        while let Ok((topic, answer)) = self.answers.try_recv() {
            if topic == format!("wardgate/1/{}/ack", g.id) {
                g.acknowledge(&answer);
            }
        }
        let after: BTreeSet<BatchKey> = g.held.keys().map(|(_, key)| *key).collect();
        before.difference(&after).copied().collect()
    }
}

fn step(g: &mut Gateway, round: u64) {
    g.now_ns += 150_000_000;
    for _ in 0..4 + g.random.below(20) {
        let stream = [0, 1, 1, 1, 2][g.random.below(5) as usize];
        let full = stream < 2 && g.random.one_in(12);
        g.emit(stream, !full);
    }
    match round % 16 {
        7 => g.trap(1),
        15 => {
            let reboot = g.random.one_in(2);
            g.crash(reboot);
            g.clock();
        }
        _ => {}
    }
    g.commit(round % 5 == 4);
}

fn ward_with(name: &str, gateways: &[&str]) -> (Ward, Vec<Gateway>) {
    let ward = Ward::new(name);
    let mut all: Vec<_> = gateways.iter().zip(5..).map(|(id, seed)| Gateway::new(id, seed)).collect();
    for (g, seed) in all.iter_mut().zip(5..) {
        fs::write(ward.path(&format!("{}.key", g.id)), key_bytes(g.id.as_str(), seed)).expect("written");
        g.clock();
    }
    (ward, all)
}

//= PROMISES.md#P14
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_no_acknowledged_batch_is_missing_and_no_line_is_lost_or_doubled() {
    let (mut ward, mut gateways) = ward_with("kill", &["ward-1"]);
    let g = &mut gateways[0];
    let mut receiver = ward.receiver(&[g]);
    let mut uplink = Uplink::new(&ward);
    ward.until("a connection", |s| s["connected"] == true).await;
    let (mut acknowledged, mut kills, mut answered_between) = (BTreeSet::new(), 0, BTreeMap::<u32, usize>::new());
    for round in 0..96 {
        step(g, round);
        uplink.send(g, 30);
        sleep(Duration::from_millis(5 + g.random.below(30))).await;
        let forgotten = uplink.hear(g);
        *answered_between.entry(kills).or_default() += forgotten.len();
        acknowledged.extend(forgotten);
        if round % 12 == 11 {
            uplink.send(g, 60);
            sleep(Duration::from_millis(g.random.below(12))).await; // in the middle of whatever it does with them
            receiver.kill();
            kills += 1;
            acknowledged.extend(uplink.hear(g));
            let held = ward.held();
            assert!(acknowledged.is_subset(&held), "acknowledged and not held: {:?}", acknowledged.difference(&held).next());
            if kills == 4 {
                ward.mosquitto.kill();
                ward.mosquitto = mosquitto::start(&ward.dir.0, ward.port).expect("mosquitto");
            }
            receiver = ward.receiver(&[g]);
            ward.until("a connection", |s| s["connected"] == true).await;
        }
    }
    for rotate in [true, false] {
        g.clock();
        (0..3).for_each(|s| g.emit(s, true));
        g.commit(rotate);
    }
    for _ in 0..PATIENCE_MS / 50 {
        uplink.send(g, 30);
        sleep(Duration::from_millis(50)).await;
        acknowledged.extend(uplink.hear(g));
        if g.held.is_empty() {
            break;
        }
    }
    assert!(g.held.is_empty(), "does not drain: {:?} of {}", g.held.keys().next(), g.held.len());
    let status = ward.until("an end of waiting", |s| !s["first_reading"].is_null() && s["gateways"]["ward-1"]["waiting"] == 0).await;
    let seen = &status["gateways"]["ward-1"];
    assert_eq!(
        (&seen["conflicts"], &seen["contradictions"], &seen["forks"], &status["unexplained"]),
        (&0.into(), &0.into(), &0.into(), &0.into())
    );
    assert!(status["first_reading"]["monotonic_ns"].is_u64(), "{status}");
    assert!(receiver.stop().expect("it ends").success(), "SIGTERM ends it in order");
    assert!(acknowledged.is_subset(&ward.held()));

    let account = scene::check(&ward.out(), g);
    println!("{kills} kills, answered between {answered_between:?}, {account:?}");
    assert_eq!(account.missing, 0, "{account:?}");
    assert!(account.delivered > 800 && account.in_gaps > 20 && kills == 8, "a run in which nothing happens proves nothing: {account:?}");
    assert!(answered_between.values().filter(|n| **n > 0).count() > 4, "killed while it worked: {answered_between:?}");

    let again = ward.path("again");
    let decoded = Command::new(binary()).arg("decode").arg(ward.out()).arg(&again).output().expect("runs");
    assert!(decoded.status.success(), "{}", String::from_utf8_lossy(&decoded.stderr));
    assert!(scene::files(&ward.out()) == scene::files(&again), "rebuilt from the raw log, the lines are others");
    let refused = Command::new(binary()).arg("decode").arg(ward.out()).arg(&again).output().expect("runs");
    assert_eq!(refused.status.code(), Some(1));
    let shown = Command::new(binary()).arg("show").arg(ward.out().join("ward-1/gaps.jsonl")).output().expect("runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("GAP disk-full"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_and_forgers_are_refused_counted_and_never_stored() {
    let (ward, mut gateways) = ward_with("refused", &["ward-1", "ward-2", "ward-33"]);
    fs::write(ward.path("ward-2.key"), "another secret than the gateway's").expect("written");
    let receiver = ward.receiver(&[&gateways[0], &gateways[1]]); // nobody gave it a key for ward-33
    let mut uplink = Uplink::new(&ward);
    ward.until("a connection", |s| s["connected"] == true).await;
    for g in &mut gateways {
        g.emit(0, true);
        g.commit(false);
        uplink.send(g, 10);
    }
    uplink.publish("wardgate/1/ward-1/up/numeric", b"noise".to_vec());
    let status = ward
        .until("refusals", |s| {
            let refused = &s["refused"];
            refused["ward-2"]["forged"] == 2 && refused["ward-33"]["unknown"] == 2 && refused["ward-1"]["malformed"] == 1
        })
        .await;
    assert_eq!(status["gateways"]["ward-2"]["batches"], 0);
    ward.until("the batches of the one it knows", |s| s["gateways"]["ward-1"]["batches"] == 2).await;
    sleep(Duration::from_millis(200)).await;
    for (n, g) in gateways.iter_mut().enumerate() {
        while let Ok((topic, _)) = uplink.answers.try_recv() {
            assert_eq!(topic, "wardgate/1/ward-1/ack", "only who is known is answered");
        }
        assert_eq!(ward.held().iter().filter(|key| g.held.keys().any(|(_, k)| k == *key)).count(), if n == 0 { 2 } else { 0 });
    }
    drop(receiver);
}

fn refused(ward: &Ward, change: impl FnOnce(&mut Vec<String>), gateways: &[&Gateway]) -> (Option<i32>, String) {
    let mut arguments = ward.arguments(gateways);
    change(&mut arguments);
    let Output { status, stderr, .. } = Command::new(binary()).args(arguments).output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[tokio::test]
async fn wrong_settings_name_the_guilty_and_the_remedy() {
    let (ward, gateways) = ward_with("settings", &["ward-1"]);
    let g = [&gateways[0]];
    let set = |name: &'static str, value: String| {
        move |all: &mut Vec<String>| {
            let at = all.iter().position(|a| a == name).expect("there");
            all[at + 1] = value;
        }
    };
    let short = ward.path("short.key");
    fs::write(&short, "short").expect("written");
    let (code, told) = refused(&ward, set("--key", format!("ward-1={}", short.display())), &g);
    assert!(code == Some(2) && told.contains("short.key") && told.contains("/dev/urandom"), "{told}");
    let (code, told) = refused(&ward, set("--ca", ward.path("password").display().to_string()), &g);
    assert!(code == Some(2) && told.contains("no certificate"), "{told}");
    let (code, told) = refused(&ward, set("--ca", "/none".into()), &g);
    assert!(code == Some(2) && told.contains("/none"), "{told}");
    let (code, told) = refused(&ward, |_| {}, &[]);
    assert!(code == Some(2) && told.contains("--key GATEWAY=FILE"), "{told}");

    let running = ward.receiver(&g);
    ward.until("a connection", |s| s["connected"] == true).await;
    let (code, told) = refused(&ward, |_| {}, &g);
    assert!(code == Some(1) && told.contains("in use"), "{told}");
    drop(running);

    fs::write(ward.path("other.pem"), Identity::new(&["localhost"]).ca_pem).expect("written");
    for (change, word) in [
        (set("--host", "127.0.0.1".into()), "does not name"),
        (set("--username", "nobody".into()), "--password-file"),
        (set("--ca", ward.path("other.pem").display().to_string()), "not the authority"),
        (set("--port", "1".into()), "no broker listens"),
    ] {
        let mut arguments = ward.arguments(&g);
        change(&mut arguments);
        let path = ward.path("wrong.log");
        let _ = fs::remove_file(&path);
        let _wrong = ward.run(Command::new(binary()).args(arguments), "wrong.log");
        let mut told = String::new();
        for _ in 0..PATIENCE_MS / STEP_MS {
            told = fs::read_to_string(&path).unwrap_or_default();
            if told.contains(word) {
                break;
            }
            sleep(Duration::from_millis(STEP_MS)).await;
        }
        assert!(told.contains(word), "{told}");
    }
}

/// Kill -9 proves no flush, as the page cache survives it. So the order of system calls is looked at: a record is written, the log is flushed, and
/// only then something longer than MQTT's own acknowledgements leaves for the broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_before_the_log_is_flushed() {
    let (ward, mut gateways) = ward_with("strace", &["ward-1"]);
    let g = &mut gateways[0];
    let trace = ward.path("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-yy", "-e", "trace=write,writev,sendto,fdatasync", "-e", "signal=none", "-o"]).arg(&trace).arg(binary());
    let mut strace = ward.run(command.args(ward.arguments(&[g])), "receiver.log"); // apt-get install strace; `make test` does it
    let mut uplink = Uplink::new(&ward);
    ward.until("a connection", |s| s["connected"] == true).await;
    let mut answered = 0;
    for round in 0..ROUNDS {
        g.emit(round % 3, true);
        g.commit(round % 10 == 9);
        // one message at a time: an answer may well leave while the next record is being written
        for step in 0..PATIENCE_MS / STEP_MS {
            if step % RESEND_STEPS == 0 {
                uplink.send_whole(g, 1);
            }
            sleep(Duration::from_millis(STEP_MS)).await;
            let forgotten = uplink.hear(g).len();
            answered += forgotten;
            if g.held.is_empty() {
                break;
            }
            if forgotten > 0 {
                uplink.send_whole(g, 1);
            }
        }
        assert!(g.held.is_empty(), "does not drain");
    }
    stop_traced(&mut strace);

    let (mut open, mut flushes, mut answers) = (0, 0, 0);
    for call in calls(&fs::read_to_string(&trace).expect("strace wrote it")) {
        let (raw, socket) = (call.contains(".raw>"), call.contains("<TCP"));
        if raw && call.starts_with("write") {
            open += 1;
        } else if raw && call.starts_with("fdatasync(") && call.ends_with("= 0") {
            open = 0;
            flushes += 1;
        } else if socket && sent(&call) > PUBACK_BYTES_MAX && flushes > 0 {
            answers += 1;
            assert_eq!(open, 0, "an answer left before the log was flushed: {call}");
        }
    }
    println!("{answered} batches answered, {flushes} flushes, {answers} answers");
    // one answer a round at least
    assert!(answered >= ROUNDS && flushes >= ROUNDS && answers >= ROUNDS, "{answered} batches, {flushes} flushes, {answers} answers");
}

/// In a TLS record: 4 to 6 bytes in 22; two may share a write.
const PUBACK_BYTES_MAX: u64 = 60;
/// Of these each ends with everything answered.
const ROUNDS: usize = 40;
/// Only what a broker has lost is sent again.
const RESEND_STEPS: u64 = 100;

/// What a system call said that it wrote.
fn sent(line: &str) -> u64 {
    line.rsplit("= ").next().and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}
