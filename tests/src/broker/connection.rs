//! One client of the broker, from CONNECT to its end. Reading and writing never wait for one another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnAckProperties, Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Login, Packet, PingResp, PubAck,
    PubAckReason, Publish, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, UnsubAckReason, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::{select, time};
use tokio_rustls::server::TlsStream;

use super::counted::{Counted, Counts};
use super::routes::{Delivery, is_filter};
use super::{Seen, Shared};

/// From the end of the handshake to CONNECT.
const CONNECT_S: u64 = 10;
/// Answers that wait to be written; a client that does not read them is not read either.
const REPLIES_MAX: usize = 64;
/// One read from TLS.
const READ_BYTES: usize = 16 << 10;

type Tls = TlsStream<Counted>;

pub(super) struct Connection<'a> {
    shared: &'a Shared,
    client: String,
    number: u64,
    keep_alive: Duration,
    /// What the client has not acknowledged yet, by packet identifier; one permit for each that may still be sent.
    unacknowledged: Mutex<BTreeSet<u16>>,
    permits: Semaphore,
    /// Topics that it gave a number.
    aliases: Mutex<BTreeMap<u16, Bytes>>,
    packet_bytes_max: Option<u32>,
}

/// Why a connection ends: what the client is told, or nothing.
type End = Option<DisconnectReasonCode>;

impl<'a> Connection<'a> {
    pub async fn run(shared: &'a Shared, tls: Tls, counts: Arc<Counts>, resumed: bool, mut closing: watch::Receiver<bool>) {
        let (read, mut write) = tokio::io::split(tls);
        let mut source = Source { read, buffer: BytesMut::new(), packet_bytes_max: shared.options.packet_bytes_max };
        let first = time::timeout(Duration::from_secs(CONNECT_S), source.packet()).await;
        let Ok(Ok(Packet::Connect(connect, _, login))) = first else { return };
        let code = admit(shared, login.as_ref());
        let cuts = shared.faults.watch_cuts(); // from before the client can know that it is connected: a cut that comes then is meant for it
        if send(&mut write, Packet::ConnAck(connack(shared, code)), None).await.is_err() || code != ConnectReturnCode::Success {
            return;
        }
        if shared.faults.drop_after_connack.load(Ordering::Relaxed) {
            shared.ledger.count(&connect.client_id, |stats| stats.connects += 1);
            return;
        }
        let (queue, deliveries) = mpsc::channel(shared.options.queue_messages.max(1));
        let number = shared.routes.lock().expect("no holder panics").connect(&connect.client_id, queue);
        let me = Connection::new(shared, connect, number);
        shared.ledger.opened(&me.client, &counts, resumed);
        shared.ledger.note(&me.client, Seen::Connect);
        let (replies, replies_out) = mpsc::channel(REPLIES_MAX);
        let end = select! {
            biased; // a cut comes before everything that waited for a thaw
            () = me.cut(cuts) => None,
            end = me.listen(&mut source, replies) => end,
            end = me.speak(&mut write, replies_out, deliveries) => end,
            _ = closing.wait_for(|closing| *closing) => Some(DisconnectReasonCode::ServerShuttingDown),
        };
        if let Some(reason) = end {
            let _ = send(&mut write, Packet::Disconnect(Disconnect::new(reason)), None).await;
            let _ = write.shutdown().await;
        }
        shared.routes.lock().expect("no holder panics").disconnect(&me.client, number);
        shared.ledger.note(&me.client, Seen::Gone);
        shared.ledger.closed(&me.client, &counts);
    }

    fn new(shared: &'a Shared, connect: Connect, number: u64) -> Self {
        let asked = connect.properties.as_ref();
        Self {
            shared,
            client: connect.client_id,
            number,
            keep_alive: Duration::from_secs(shared.options.server_keep_alive_s.unwrap_or(connect.keep_alive).into()) * 3 / 2,
            unacknowledged: Mutex::default(),
            aliases: Mutex::default(),
            permits: Semaphore::new(asked.and_then(|p| p.receive_maximum).unwrap_or(u16::MAX).max(1).into()),
            packet_bytes_max: asked.and_then(|p| p.max_packet_size),
        }
    }

    async fn cut(&self, mut cuts: watch::Receiver<Option<String>>) {
        while cuts.changed().await.is_ok() {
            if cuts.borrow().as_deref() == Some(self.client.as_str()) {
                return;
            }
        }
        std::future::pending().await
    }

    async fn listen(&self, source: &mut Source, replies: mpsc::Sender<Packet>) -> End {
        loop {
            let packet = match self.keep_alive {
                Duration::ZERO => source.packet().await,
                limit => match time::timeout(limit, source.packet()).await {
                    Ok(packet) => packet,
                    Err(_) => return Some(DisconnectReasonCode::KeepAliveTimeout),
                },
            };
            self.shared.faults.thawed().await;
            let reply = match packet {
                Ok(Packet::Disconnect(_)) => {
                    self.shared.ledger.note(&self.client, Seen::Disconnect);
                    return None;
                }
                Ok(packet) => match self.answer(packet) {
                    Ok(reply) => reply,
                    Err(reason) => return Some(reason),
                },
                Err(Broken::Closed) => return None,
                Err(Broken::Codec(CodecError::PayloadSizeLimitExceeded { .. })) => return Some(DisconnectReasonCode::PacketTooLarge),
                Err(Broken::Codec(_)) => return Some(DisconnectReasonCode::MalformedPacket),
            };
            if let Some(reply) = reply
                && replies.send(reply).await.is_err()
            {
                return None;
            }
        }
    }

    fn answer(&self, packet: Packet) -> Result<Option<Packet>, DisconnectReasonCode> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(puback) => {
                if self.unacknowledged.lock().expect("no holder panics").remove(&puback.pkid) {
                    self.permits.add_permits(1);
                }
                Ok(None)
            }
            Packet::Subscribe(subscribe) => Ok(Some(self.subscribe(subscribe))),
            Packet::Unsubscribe(unsubscribe) => Ok(Some(self.unsubscribe(unsubscribe))),
            Packet::PingReq(_) => Ok(Some(Packet::PingResp(PingResp))),
            _ => Err(DisconnectReasonCode::ProtocolError),
        }
    }

    /// The name that a publish goes under, which it may have said before.
    fn topic_of(&self, publish: &Publish) -> Result<Bytes, DisconnectReasonCode> {
        let Some(alias) = publish.properties.as_ref().and_then(|p| p.topic_alias) else { return Ok(publish.topic.clone()) };
        if alias == 0 || alias > self.shared.options.topic_alias_max {
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        let mut aliases = self.aliases.lock().expect("no holder panics");
        if !publish.topic.is_empty() {
            aliases.insert(alias, publish.topic.clone());
        }
        aliases.get(&alias).cloned().ok_or(DisconnectReasonCode::ProtocolError)
    }

    fn publish(&self, mut publish: Publish) -> Result<Option<Packet>, DisconnectReasonCode> {
        let said = publish.topic.len() as u64;
        publish.topic = self.topic_of(&publish)?;
        let Ok(topic) = std::str::from_utf8(&publish.topic) else { return Err(DisconnectReasonCode::TopicNameInvalid) };
        if topic.is_empty() || topic.contains(['+', '#']) {
            return Err(DisconnectReasonCode::TopicNameInvalid);
        }
        if publish.qos == QoS::ExactlyOnce {
            return Err(DisconnectReasonCode::QoSNotSupported);
        }
        let (shared, bytes) = (self.shared, publish.payload.len() as u64);
        shared.ledger.note(&self.client, Seen::Publish { topic: topic.to_owned(), payload: publish.payload.clone() });
        let lost = publish.qos == QoS::AtLeastOnce && shared.faults.loses();
        let delivered = match lost {
            true => None,
            false => Some(shared.routes.lock().expect("no holder panics").deliver(&publish.topic, &publish.payload, publish.qos)),
        };
        shared.ledger.count(&self.client, |stats| {
            stats.published += 1;
            stats.payload_bytes += bytes;
            stats.topic_bytes += said;
            stats.delivered += delivered.map_or(0, |d| d.to);
            stats.lost_full += delivered.map_or(0, |d| d.lost);
        });
        if publish.qos == QoS::AtMostOnce || shared.faults.drops_puback() {
            return Ok(None);
        }
        let mut puback = PubAck::new(publish.pkid, None);
        if delivered.is_some_and(|d| d.to + d.lost == 0) {
            puback.reason = PubAckReason::NoMatchingSubscribers;
        }
        shared.ledger.note(&self.client, Seen::PubAck);
        Ok(Some(Packet::PubAck(puback)))
    }

    fn subscribe(&self, subscribe: Subscribe) -> Packet {
        let one = |filter: &rumqttc::v5::mqttbytes::v5::Filter| {
            self.shared.ledger.note(&self.client, Seen::Subscribe(filter.path.clone()));
            let qos = if filter.qos == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            if !is_filter(&filter.path) {
                return SubscribeReasonCode::TopicFilterInvalid;
            }
            match self.shared.routes.lock().expect("no holder panics").subscribe(&self.client, self.number, &filter.path, qos) {
                true => SubscribeReasonCode::Success(qos),
                false => SubscribeReasonCode::QuotaExceeded,
            }
        };
        let return_codes = subscribe.filters.iter().map(one).collect();
        Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None })
    }

    fn unsubscribe(&self, unsubscribe: Unsubscribe) -> Packet {
        let one =
            |filter: &String| match self.shared.routes.lock().expect("no holder panics").unsubscribe(&self.client, self.number, filter) {
                true => UnsubAckReason::Success,
                false => UnsubAckReason::NoSubscriptionExisted,
            };
        Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid, reasons: unsubscribe.filters.iter().map(one).collect(), properties: None })
    }

    async fn speak(
        &self,
        write: &mut WriteHalf<Tls>,
        mut replies: mpsc::Receiver<Packet>,
        mut deliveries: mpsc::Receiver<Delivery>,
    ) -> End {
        let mut last_pkid = 0;
        let mut held = Vec::new();
        loop {
            let next = async {
                let permit = self.permits.acquire().await;
                (permit, deliveries.recv().await)
            };
            let packet = select! {
                biased;
                () = self.shared.faults.suback_free(), if !held.is_empty() => held.remove(0),
                reply = replies.recv() => match reply {
                    Some(reply @ Packet::SubAck(_)) => {
                        held.push(reply);
                        continue;
                    }
                    Some(reply) => reply,
                    None => return None,
                },
                (permit, delivery) = next => match (permit, delivery) {
                    (Ok(permit), Some(delivery)) => {
                        let mut publish = Publish::new(String::new(), delivery.qos, delivery.payload, None);
                        publish.topic = delivery.topic;
                        if self.packet_bytes_max.is_some_and(|max| publish.size() + 2 > max as usize) {
                            continue; // the standard: as if it had been delivered
                        }
                        if delivery.qos == QoS::AtLeastOnce {
                            permit.forget();
                            last_pkid = self.free_pkid(last_pkid);
                            publish.pkid = last_pkid;
                        }
                        Packet::Publish(publish)
                    }
                    _ => return Some(DisconnectReasonCode::SessionTakenOver),
                },
            };
            if matches!(packet, Packet::SubAck(_)) {
                self.shared.ledger.note(&self.client, Seen::SubAck);
            }
            if send(write, packet, self.packet_bytes_max).await.is_err() {
                return None;
            }
        }
    }

    /// Permits bound what is unacknowledged to 65,535 at most, so one is always free.
    fn free_pkid(&self, last: u16) -> u16 {
        let mut unacknowledged = self.unacknowledged.lock().expect("no holder panics");
        let mut pkid = last;
        loop {
            pkid = pkid.checked_add(1).unwrap_or(1);
            if unacknowledged.insert(pkid) {
                return pkid;
            }
        }
    }
}

fn admit(shared: &Shared, login: Option<&Login>) -> ConnectReturnCode {
    let users = &shared.options.users;
    let known = login.is_some_and(|login| users.iter().any(|(user, password)| *user == login.username && *password == login.password));
    if users.is_empty() || known { ConnectReturnCode::Success } else { ConnectReturnCode::BadUserNamePassword }
}

fn connack(shared: &Shared, code: ConnectReturnCode) -> ConnAck {
    let success = code == ConnectReturnCode::Success;
    let properties = success.then(|| ConnAckProperties {
        session_expiry_interval: None,
        receive_max: Some(shared.options.receive_max),
        max_qos: Some(1),
        retain_available: Some(0),
        max_packet_size: shared.options.packet_bytes_max,
        assigned_client_identifier: None,
        topic_alias_max: Some(shared.options.topic_alias_max),
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: None,
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: shared.options.server_keep_alive_s,
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    });
    ConnAck { session_present: false, code, properties }
}

async fn send(write: &mut WriteHalf<Tls>, packet: Packet, packet_bytes_max: Option<u32>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    packet.write(&mut buffer, packet_bytes_max).map_err(io::Error::other)?;
    write.write_all(&buffer).await?;
    write.flush().await
}

enum Broken {
    Closed,
    Codec(CodecError),
}

struct Source {
    read: ReadHalf<Tls>,
    buffer: BytesMut,
    packet_bytes_max: Option<u32>,
}

impl Source {
    /// May be dropped and called again: what was read is kept.
    async fn packet(&mut self) -> Result<Packet, Broken> {
        loop {
            // the codec wants a reason in every DISCONNECT; the standard does not
            if self.buffer.starts_with(&[0xE0, 0x00]) {
                return Ok(Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection)));
            }
            match Packet::read(&mut self.buffer, self.packet_bytes_max) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(Broken::Codec(error)),
            }
            self.buffer.reserve(READ_BYTES);
            match self.read.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Broken::Closed),
                Ok(_) => {}
            }
        }
    }
}
