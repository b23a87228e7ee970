//! The embedded MQTT 5 broker of the demo ward and of the tests: TLS, QoS 0 and 1, and the faults that no real broker offers on demand.
//!
//! Why this and not a broker crate: it stands on rumqttc's own codec and on tokio-rustls, both already in the tree, so it adds no crate (the
//! smallest broker crate, `mqtt5`, adds 108); it stops from code in a millisecond; and it can drop a PUBACK, lose what it acknowledged, freeze and
//! cut, which is what the uplink has to survive. Because the codec is the client's own, a mistake in it would show on neither side: the same tests
//! run against mosquitto, which shares nothing with us.
//!
//! What it is not: no QoS 2 (it grants 1), no will, no retained messages, no sessions beyond a connection, no shared subscriptions. A subscriber
//! whose queue is full loses messages, as with mosquitto, and they are counted.

mod certificates;
mod connection;
mod counted;
mod faults;
mod routes;
mod stats;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::{select, time};
use tokio_rustls::TlsAcceptor;

pub use certificates::{Ca, Identity};
pub use faults::Faults;
pub use routes::matches;
pub use stats::{ClientStats, Stats};

use connection::Connection;
use counted::Counted;
use routes::Routes;
use stats::Ledger;

/// A ward and its receivers, many times over; beyond it connections are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// A client that does not finish a TLS handshake is not one.
const HANDSHAKE_S: u64 = 20;
/// For the DISCONNECT of each connection at the end.
const STOP_WAIT_MS: u64 = 1000;

#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0: any free one.
    pub address: SocketAddr,
    pub identity: Identity,
    /// User names with their passwords; empty: everybody may connect.
    pub users: Vec<(String, String)>,
    /// PUBLISHes that a client may have unacknowledged.
    pub receive_max: u16,
    /// Topics for which a client may say a number instead; mosquitto's own default.
    pub topic_alias_max: u16,
    /// Longest packet that is accepted; `None`: as long as MQTT allows.
    pub packet_bytes_max: Option<u32>,
    /// Put in place of the client's keep-alive.
    pub server_keep_alive_s: Option<u16>,
    /// Messages that wait for one subscriber; more are lost. mosquitto's own default.
    pub queue_messages: usize,
    /// How many events are kept for `seen`; the oldest go first.
    pub journal_entries: usize,
}

impl Options {
    pub fn new(identity: Identity) -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            identity,
            users: Vec::new(),
            receive_max: 100,
            topic_alias_max: 10,
            packet_bytes_max: None,
            server_keep_alive_s: None,
            queue_messages: 1000,
            journal_entries: 0,
        }
    }
}

/// What happened, as the broker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Connect,
    Subscribe(String),
    SubAck,
    Publish {
        topic: String,
        payload: Bytes,
    },
    PubAck,
    /// The client's own DISCONNECT.
    Disconnect,
    Gone,
}

#[derive(Clone)]
pub struct Broker {
    pub port: u16,
    pub ca_pem: String,
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    acceptor: TlsAcceptor,
    listener: Mutex<Option<TcpListener>>,
    routes: Mutex<Routes>,
    ledger: Ledger,
    faults: Faults,
}

impl Broker {
    /// Binds; nothing is accepted before `run`. Needs a tokio runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.address).await?;
        let port = listener.local_addr()?.port();
        let acceptor = TlsAcceptor::from(Arc::new(tls(&options.identity)?));
        let ca_pem = options.identity.ca_pem.clone();
        let shared = Shared {
            acceptor,
            listener: Mutex::new(Some(listener)),
            routes: Mutex::new(Routes::default()),
            ledger: Ledger::new(options.journal_entries),
            faults: Faults::default(),
            options,
        };
        Ok(Self { port, ca_pem, shared: Arc::new(shared) })
    }

    pub fn stats(&self) -> Stats {
        self.shared.ledger.stats()
    }

    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// What was seen, oldest first, with the client's name.
    pub fn seen(&self) -> Vec<(String, Seen)> {
        self.shared.ledger.seen()
    }

    /// Until `stop`; then every client is told that the server shuts down. A second call returns at once.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let Some(listener) = self.shared.listener.lock().expect("no holder panics").take() else { return };
        let (closing, _) = watch::channel(false);
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            select! {
                () = stop.as_mut() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((tcp, _)) if connections.len() < CONNECTIONS_MAX => {
                        connections.spawn(serve(self.shared.clone(), tcp, closing.subscribe()));
                    }
                    Ok(_) => {}
                    // out of file descriptors: those that end give some back
                    Err(_) => time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
        closing.send_replace(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = time::timeout(Duration::from_millis(STOP_WAIT_MS), all).await;
    }
}

async fn serve(shared: Arc<Shared>, tcp: TcpStream, closing: watch::Receiver<bool>) {
    let _ = tcp.set_nodelay(true);
    let (tcp, counts) = Counted::new(tcp);
    let handshake = time::timeout(Duration::from_secs(HANDSHAKE_S), shared.acceptor.accept(tcp));
    if let Ok(Ok(tls)) = handshake.await {
        let resumed = tls.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        Connection::run(&shared, tls, counts, resumed, closing).await;
    }
}

fn tls(identity: &Identity) -> io::Result<ServerConfig> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes()).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(io::Error::other)
}
