//! A gateway's lower half on its own: a real store with batches, and the uplink.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use wardgate::config;
use wardgate::status::{Status, UplinkStatus};
use wardgate::store::{Group, Limits, Record, Shelf, Store};
use wardgate::uplink::{Setup, Uplink};
use wardgate_lab::broker::{Broker, Identity, Options};
use wardgate_wire::{Batch, BatchKey, Class, Content, Digest, Entry, Epoch, GatewayId, Header, Key, Life, encode};

pub const LIFE: Life = 0x00c0_ffee_0000_0001;
/// Whoever waits longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn gateway() -> GatewayId {
    GatewayId::new("ward-3").unwrap()
}

pub fn key() -> Key {
    Key::new(b"a secret of this test").unwrap()
}

/// Waits until something is so; names it when it never is.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain until {what}");
}

#[allow(clippy::disallowed_methods)] // a test is its own corridor
pub fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!("wardgate-uplink-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running embedded broker; stops when it is dropped.
pub struct Running {
    pub broker: Broker,
    pub options: Options,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(mut options: Options) -> Self {
        // a port that was just given up may still be in its last moments
        let mut started = Broker::start(options.clone()).await;
        for _ in 0..200 {
            if started.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            started = Broker::start(options.clone()).await;
        }
        let broker = started.unwrap();
        options.address.set_port(broker.port);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = broker.clone();
        let task = spawn(async move { running.run(async { drop(stopped.await) }).await });
        Self { broker, options, stop: Some(stop), task }
    }

    /// Ends it; its options, with the port, start another in its place.
    pub async fn stop(mut self) -> Options {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
        self.options.clone()
    }
}

pub async fn broker() -> Running {
    Running::start(options()).await
}

pub fn options() -> Options {
    let mut options = Options::new(Identity::new(&["localhost", "127.0.0.1"]));
    options.journal_entries = 100_000;
    options
}

/// Waits are short where a test waits for them to pass, and the bounds are those of a real gateway.
pub fn config(port: u16) -> config::Uplink {
    config::Uplink {
        host: "localhost".into(),
        port,
        ca_file: "ca.pem".into(),
        username: None,
        password_file: None,
        mac_key_file: "mac.key".into(),
        topic: "wardgate/1".into(),
        batch_bytes: 16 << 10,
        message_bytes: 16 << 10,
        window_messages: 16,
        window_bytes: 64 << 10,
        keep_alive_s: 5,
        progress_s: 2,
        resend_s: 1,
        backoff_min_ms: 10,
        backoff_max_ms: 200,
    }
}

pub struct Rig {
    pub shelf: Shelf,
    pub status: Status,
    pub link: watch::Receiver<bool>,
    pub present: watch::Sender<(Life, Epoch)>,
    pub keys: Vec<BatchKey>,
    store: Store,
    chain: BTreeMap<(Life, Epoch, Class), (u32, Digest)>,
    digests: BTreeMap<BatchKey, Digest>,
    news: watch::Sender<u64>,
    link_sender: watch::Sender<bool>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    _folder: Folder,
}

impl Rig {
    pub fn new() -> Self {
        let folder = Folder::new();
        let limits = Limits { segment_bytes: 1 << 20, bytes_max: 256 << 20 };
        let (store, shelf, _) = Store::open(&folder.0.join("store"), limits, 1).unwrap();
        let (link_sender, link) = watch::channel(false);
        Self {
            shelf,
            status: Status::default(),
            link,
            present: watch::channel((LIFE, 0)).0,
            keys: Vec::new(),
            store,
            chain: BTreeMap::new(),
            digests: BTreeMap::new(),
            news: watch::channel(0).0,
            link_sender,
            running: None,
            _folder: folder,
        }
    }

    /// One group of batches, on flash; `bytes` counts for classes whose content this test can make of any size.
    pub fn commit(&mut self, epoch: Epoch, class: Class, batches: u32, bytes: usize) {
        let mut group = Group::default();
        for _ in 0..batches {
            let (sequence, previous) = self.chain.get(&(LIFE, epoch, class)).copied().unwrap_or((0, Digest::default()));
            let key = BatchKey { life: LIFE, epoch, class, sequence };
            let header = Header { gateway: gateway(), key, previous };
            let encoded = encode(&Batch { header, content: content(class, key, bytes) }, &self::key()).unwrap();
            self.chain.insert((LIFE, epoch, class), (sequence + 1, encoded.digest));
            self.digests.insert(key, encoded.digest);
            self.keys.push(key);
            group.records.push(Record::Batch { key, digest: encoded.digest, bytes: encoded.bytes });
        }
        group.records.push(Record::Heads { full: true, bytes: b"heads".to_vec() });
        self.store.commit(&group).unwrap();
        self.news.send_modify(|n| *n += 1);
    }

    pub fn digest(&self, key: &BatchKey) -> Digest {
        self.digests[key]
    }

    pub fn start(&mut self, config: &config::Uplink, ca_pem: &str) {
        self.start_with(config, ca_pem, None);
    }

    pub fn start_with(&mut self, config: &config::Uplink, ca_pem: &str, password: Option<&str>) {
        let uplink = Uplink::new(Setup {
            config,
            ca_pem: ca_pem.as_bytes(),
            password: password.map(str::as_bytes),
            gateway: gateway(),
            key: key(),
            shelf: self.shelf.clone(),
            news: self.news.subscribe(),
            present: self.present.subscribe(),
            link: self.link_sender.clone(),
            seed: 1,
            status: self.status.clone(),
        });
        let uplink = uplink.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = spawn(async move { uplink.run(async { drop(stopped.await) }).await });
        self.running = Some((stop, task));
    }

    pub async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        drop(stop);
        tokio::time::timeout(PATIENCE, task).await.expect("the uplink stops").unwrap();
    }

    pub fn waiting(&self) -> u64 {
        self.shelf.waiting().0
    }

    pub fn uplink(&self) -> UplinkStatus {
        self.status.read().uplink
    }

    pub async fn until_delivered(&self) {
        until("everything is acknowledged", || self.waiting() == 0).await;
        let status = self.status.clone();
        let all = self.keys.len() as u64;
        until("all acknowledgements are counted", || status.read().uplink.batches_acknowledged == all).await;
    }

    pub async fn until_error(&self, part: &str) {
        let status = self.status.clone();
        until(&format!("status says {part:?}"), || status.read().uplink.last_error.contains(part)).await;
    }
}

fn content(class: Class, key: BatchKey, bytes: usize) -> Content {
    match class {
        Class::Alert => Content::Alerts(Vec::new()),
        Class::Ledger => Content::Ledger(vec![Entry::Other { kind: 1000, bytes: noise(key.sequence, bytes) }]),
        Class::Numeric => Content::Numerics(Vec::new()),
        Class::Preview | Class::Waveform => Content::Waveforms(Vec::new()),
        Class::Archive => Content::Archive(noise(key.sequence, bytes)),
    }
}

/// What no compression makes smaller.
fn noise(seed: u32, bytes: usize) -> Vec<u8> {
    let mut x = u64::from(seed) + 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}
