//! The network side: MQTT 5 over TLS, in the one configuration of rumqttc that showed none of its faults.
//!
//! A client and an event loop live for one connection only, with a clean start; whatever is lost with them comes again, as gateways forget nothing
//! before our own acknowledgement. For the same reason rumqttc may acknowledge publishes by itself (MQTT's QoS 1): that only says that they
//! reached this process, and no gateway counts on it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, TlsError, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use wardgate_wire::{BATCH_BYTES_MAX, topics};

use crate::desk::{Item, Signals};
use crate::intake::Incoming;
use crate::time::Now;

/// From the first SYN to CONNACK.
const CONNECT_S: u64 = 30;
/// A dead peer is found after twice this.
const KEEP_ALIVE_S: u64 = 15;
/// Without any event for this long the connection is given up: a blocked write is not found by keep-alive.
const SILENCE_S: u64 = 3 * KEEP_ALIVE_S;
/// The largest batch, its topic, and what MQTT puts around them. The broker is told not to send more.
const PACKET_BYTES_MAX: u32 = BATCH_BYTES_MAX as u32 + 1024;
/// Publishes that the broker may have on their way to us unacknowledged; several gateways' windows.
const INCOMING_MAX: u16 = 256;
/// Acknowledgements on their way to the broker; small, and a dropped one costs a repeat.
const ANSWERS_IN_FLIGHT_MAX: u16 = 32;
/// What the client holds between us and the connection.
const HANDED_MAX: usize = 8;
/// Longest wait before the first try again; full jitter, doubling.
const BACKOFF_MIN_MS: u64 = 200;
/// A broker that was away is found again within this, and never by all at once.
const BACKOFF_MAX_MS: u64 = 30_000;
/// Messages between network and log: a few groups.
pub const QUEUE_MESSAGES_MAX: usize = 1024;
/// And their bytes, in KiB, at least one of the largest batches.
pub const QUEUE_KIB_MAX: usize = 32 << 10;
/// Acknowledgements between log and network, also while the broker is away.
pub const ANSWERS_MAX: usize = 1024;
/// Time for DISCONNECT to leave.
const GOODBYE_MS: u64 = 500;

#[derive(Debug, Error)]
pub enum ReceiveError {
    #[error("{path} holds no certificate in PEM form: give --ca the file of the authority that signed the broker's certificate")]
    Ca { path: String },
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// The broker and how to get in.
#[derive(Clone)]
pub struct Broker {
    pub host: String,
    pub port: u16,
    pub tls: Arc<ClientConfig>,
    pub login: Option<(String, String)>,
    pub client_id: String,
    /// `wardgate/1`
    pub topic: String,
}

/// `path` only names the file in errors.
pub fn tls(ca_pem: &[u8], path: &str) -> Result<Arc<ClientConfig>, ReceiveError> {
    let mut roots = RootCertStore::empty();
    let read: Vec<_> = CertificateDer::pem_slice_iter(ca_pem).filter_map(Result::ok).collect();
    let (added, _) = roots.add_parsable_certificates(read);
    if added == 0 {
        return Err(ReceiveError::Ca { path: path.to_owned() });
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Everything between the connection and the desk.
pub struct Lines {
    pub queue: mpsc::Sender<Item>,
    /// Its permits are KiB.
    pub room: Arc<Semaphore>,
    pub answers: mpsc::Receiver<(String, Vec<u8>)>,
    /// An acknowledgement for which the client had no room yet.
    pub in_hand: Option<(String, Vec<u8>)>,
    pub signals: Arc<Signals>,
    pub clock: fn() -> Now,
}

enum End {
    Stopped,
    Lost(String),
}

/// Until `stop`; connections come and go meanwhile. `seed` spreads the tries of several receivers.
pub async fn run(broker: &Broker, mut lines: Lines, seed: u64, mut stop: watch::Receiver<bool>) {
    let (mut random, mut tries) = (seed | 1, 0_u32);
    loop {
        let mut was_up = false;
        let end = connection(broker, &mut lines, &mut stop, &mut was_up).await;
        lines.signals.connected.store(false, Ordering::Relaxed);
        let End::Lost(why) = end else { return };
        tries = if was_up { 0 } else { tries.saturating_add(1) };
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let longest = BACKOFF_MIN_MS.saturating_mul(1 << tries.min(16)).min(BACKOFF_MAX_MS);
        let wait_ms = random % (longest + 1);
        tracing::warn!(broker = format!("{}:{}", broker.host, broker.port), again_in_ms = wait_ms, "no connection: {why}");
        tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            () = sleep(Duration::from_millis(wait_ms)) => {}
        }
    }
}

fn options(broker: &Broker) -> MqttOptions {
    let mut options = MqttOptions::new(broker.client_id.clone(), broker.host.clone(), broker.port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(broker.tls.clone())));
    options.set_clean_start(true);
    options.set_keep_alive(Duration::from_secs(KEEP_ALIVE_S));
    options.set_connection_timeout(CONNECT_S);
    options.set_outgoing_inflight_upper_limit(ANSWERS_IN_FLIGHT_MAX);
    options.set_max_packet_size(Some(PACKET_BYTES_MAX));
    options.set_receive_maximum(Some(INCOMING_MAX));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_S);
    options.set_network_options(network);
    if let Some((user, password)) = &broker.login {
        options.set_credentials(user.clone(), password.clone());
    }
    options
}

async fn connection(broker: &Broker, lines: &mut Lines, stop: &mut watch::Receiver<bool>, was_up: &mut bool) -> End {
    let (client, mut events) = AsyncClient::new(options(broker), HANDED_MAX);
    let mut full = false;
    loop {
        // the poll lives until it has something to say: dropped half-way through a write it would lose what it was writing
        let event = {
            let mut poll = pin!(timeout(Duration::from_secs(SILENCE_S), contained(events.poll())));
            loop {
                let free = *was_up && !full;
                tokio::select! {
                    event = &mut poll => break event,
                    _ = stop.wait_for(|s| *s) => {
                        let _ = client.try_disconnect();
                        let _ = timeout(Duration::from_millis(GOODBYE_MS), &mut poll).await;
                        return End::Stopped;
                    }
                    room = hand(lines, &client, &broker.topic), if free => full = !room,
                }
            }
        };
        let event = match event {
            Err(_) => return End::Lost(format!("nothing happened on it for {SILENCE_S} s")),
            Ok(None) => return End::Lost("the MQTT client failed; its message stands above".into()),
            Ok(Some(Err(why))) => return End::Lost(explain(&why, broker)),
            Ok(Some(Ok(event))) => event,
        };
        full = false; // something moved
        match heard(event, broker, &client, &mut events, was_up) {
            Ok(None) => {}
            Ok(Some(incoming)) => {
                if !pass_on(incoming, lines, stop).await {
                    return End::Stopped;
                }
            }
            Err(why) => return End::Lost(why),
        }
        lines.signals.connected.store(*was_up, Ordering::Relaxed);
    }
}

type Arrived = (String, Vec<u8>);

fn heard(event: Event, broker: &Broker, client: &AsyncClient, events: &mut EventLoop, up: &mut bool) -> Result<Option<Arrived>, String> {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => {
            greeted(&connack, events)?;
            client.try_subscribe(topics::every_up(&broker.topic), QoS::AtLeastOnce).map_err(|e| e.to_string())?;
        }
        Event::Incoming(Packet::SubAck(suback)) => match suback.return_codes.first() {
            Some(SubscribeReasonCode::Success(_)) => {
                *up = true;
                tracing::info!(broker = format!("{}:{}", broker.host, broker.port), "receiving");
            }
            code => {
                let (read, write) = (topics::every_up(&broker.topic), topics::ack(&broker.topic, '+'));
                return Err(format!("the broker refuses the subscription ({code:?}): allow this user to read {read} and to write {write}"));
            }
        },
        Event::Incoming(Packet::Publish(publish)) => {
            return Ok(Some((String::from_utf8_lossy(&publish.topic).into_owned(), publish.payload.to_vec())));
        }
        Event::Incoming(Packet::Disconnect(said)) => return Err(format!("the broker ended it: {:?}", said.reason_code)),
        Event::Outgoing(Outgoing::AwaitAck(_)) => return Err("packet identifiers came out of step".into()),
        _ => {}
    }
    Ok(None)
}

fn greeted(connack: &ConnAck, events: &mut EventLoop) -> Result<(), String> {
    let said = connack.properties.as_ref();
    if said.and_then(|p| p.server_keep_alive) == Some(0) {
        // "no keep-alive" to the broker is "ping without pause" to the client
        events.options.set_keep_alive(Duration::from_secs(KEEP_ALIVE_S));
    }
    if said.and_then(|p| p.max_qos) == Some(0) { Err("the broker offers QoS 0 only".into()) } else { Ok(()) }
}

/// Hands one acknowledgement to the client. False: it has no room, and the acknowledgement stays in hand.
async fn hand(lines: &mut Lines, client: &AsyncClient, topic: &str) -> bool {
    if lines.in_hand.is_none() {
        lines.in_hand = lines.answers.recv().await;
    }
    let Some((gateway, answer)) = &lines.in_hand else { return false };
    let taken = client.try_publish(topics::ack(topic, gateway), QoS::AtLeastOnce, false, answer.clone()).is_ok();
    if taken {
        lines.in_hand = None;
    }
    taken
}

/// Waits for room in the queue: that is how a slow disk slows the network, and not the memory. False: it is time to stop.
async fn pass_on((topic, payload): Arrived, lines: &mut Lines, stop: &mut watch::Receiver<bool>) -> bool {
    let kib = payload.len().div_ceil(1024).clamp(1, QUEUE_KIB_MAX) as u32;
    let received_ns = (lines.clock)().wall_ns;
    let put = async {
        let Ok(permit) = lines.room.clone().acquire_many_owned(kib).await else { return false };
        lines.queue.send(Item::Message(Incoming { topic, payload, received_ns }, permit)).await.is_ok()
    };
    tokio::select! {
        _ = stop.wait_for(|s| *s) => false,
        taken = put => taken,
    }
}

/// Tells the desk that time goes by; a full queue has news enough.
pub async fn ticks(queue: mpsc::Sender<Item>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            () = sleep(Duration::from_secs(1)) => {}
        }
        let _ = queue.try_send(Item::Tick);
    }
}

/// `None` when it panicked: a library that reads what others sent must not end the receiver with it. It is not used again after that.
async fn contained<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

fn explain(error: &ConnectionError, broker: &Broker) -> String {
    use rumqttc::v5::mqttbytes::v5::ConnectReturnCode as Code;
    let remedy = match error {
        ConnectionError::ConnectionRefused(Code::BadUserNamePassword | Code::NotAuthorized) => {
            "check --username and --password-file".to_owned()
        }
        ConnectionError::Timeout(_) => format!("no answer within {CONNECT_S} s; check --host, --port and the firewall between"),
        ConnectionError::Tls(TlsError::Io(why)) | ConnectionError::Io(why) => match of_io(why, broker) {
            Some(remedy) => remedy,
            None => return error.to_string(),
        },
        _ => return error.to_string(),
    };
    format!("{error} ({remedy})")
}

fn of_io(why: &std::io::Error, broker: &Broker) -> Option<String> {
    use rustls::CertificateError as Cert;
    if why.kind() == std::io::ErrorKind::ConnectionRefused {
        return Some("no broker listens there; check --host and --port, and that it runs".to_owned());
    }
    match why.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            Some(format!("the broker's certificate does not name {:?}: use a name that it has, or give it one with this name", broker.host))
        }
        // an authority of the same name and another key is another authority
        rustls::Error::InvalidCertificate(Cert::UnknownIssuer | Cert::BadSignature) => {
            Some("--ca is not the authority that signed the broker's certificate".to_owned())
        }
        rustls::Error::InvalidCertificate(
            Cert::Expired | Cert::ExpiredContext { .. } | Cert::NotValidYet | Cert::NotValidYetContext { .. },
        ) => Some("renew the broker's certificate, or set this machine's clock right".to_owned()),
        rustls::Error::InvalidMessage(_) => Some("it does not speak TLS; check --port".to_owned()),
        _ => None,
    }
}
