//! The one door to rumqttc: opens a connection, hands it messages, and says what comes back in the uplink's own words.
//!
//! rumqttc is used as a dumb pipe, in the one configuration that showed none of its faults. A client and an event loop live for one connection
//! only: nothing that the library keeps across connections (packet identifiers, collisions, requests) survives one, and the store is the only
//! queue. Its slot table has twice the window, so that an identifier comes round only after the broker had twice the time that it should need.

use std::pin::pin;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Packet, PubAckReason, PublishProperties, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, Outgoing, TlsConfiguration, Transport};

use super::error::{UplinkError, explain};
use super::settings::Settings;
use crate::contained::contained;

/// From the first SYN to CONNACK. A first TLS handshake moves 2.2 KB in four turns: seconds on the thinnest link, more over a satellite.
const CONNECT_S: u64 = 30;
/// The broker is told never to send more. An acknowledgement of a day of epochs takes a few KiB.
pub const ACK_BYTES_MAX: u32 = 64 << 10;
/// What the session hands over at once: a subscription or a message, and a DISCONNECT behind it.
const HANDED_MAX: usize = 4;
/// Of a PUBLISH around topic and payload: type, length, topic length, packet identifier, properties with an alias for the topic.
const PUBLISH_FRAME_BYTES: usize = 1 + 4 + 2 + 2 + 1 + 3;

/// What the broker allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub messages: u16,
    pub packet_bytes: usize,
    /// Topics for which a number may stand once they were said.
    pub aliases: u16,
}

impl Allowed {
    /// The longest payload under this topic.
    pub fn payload_bytes(&self, topic: &str) -> usize {
        self.packet_bytes.saturating_sub(PUBLISH_FRAME_BYTES + topic.len())
    }
}

#[derive(Debug)]
pub(super) enum Heard {
    Up(Allowed),
    Subscribed,
    NotSubscribed(String),
    Written(u16),
    Taken(u16),
    /// Taken by the broker, and nobody there to give it to.
    TakenForNobody(u16),
    /// A publish was refused, and why.
    NotTaken(String),
    Message {
        topic: Vec<u8>,
        payload: Vec<u8>,
    },
    Goodbye,
    Other,
}

/// Gives messages to a connection. Never waits.
///
/// A topic goes out once and from then on as its number, where the broker allows: of a small ward's messages it would be a twentieth. Such
/// numbers are a connection's own, as this hand is, so none outlives what the broker knows.
pub(super) struct Hand {
    client: AsyncClient,
    aliases: u16,
    /// The first is number 1.
    said: Vec<String>,
}

/// Moves the connection and says what happened.
pub(super) struct Ear {
    events: EventLoop,
    keep_alive: Duration,
    settings: Settings,
}

/// Nothing is sent before the first `hear`.
pub(super) fn open(settings: &Settings) -> (Hand, Ear) {
    let peer = &settings.peer;
    let mut options = MqttOptions::new(peer.client.clone(), peer.host.clone(), settings.port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(settings.tls.clone())));
    options.set_clean_start(true);
    options.set_keep_alive(settings.keep_alive);
    options.set_connection_timeout(CONNECT_S);
    options.set_outgoing_inflight_upper_limit(settings.window_messages.saturating_mul(2));
    options.set_max_packet_size(Some(ACK_BYTES_MAX));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true); // messages are whole already; waiting for more only delays them
    network.set_connection_timeout(CONNECT_S);
    options.set_network_options(network);
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user.clone(), password.clone());
    }
    let (client, events) = AsyncClient::new(options, HANDED_MAX);
    (Hand { client, aliases: 0, said: Vec::new() }, Ear { events, keep_alive: settings.keep_alive, settings: settings.clone() })
}

impl Hand {
    /// The broker takes numbers for so many topics.
    pub fn allow_aliases(&mut self, aliases: u16) {
        self.aliases = aliases;
    }

    /// False: the connection takes nothing more.
    #[must_use]
    pub fn publish(&mut self, topic: &str, payload: Vec<u8>) -> bool {
        let (topic, topic_alias) = match self.said.iter().position(|said| said == topic) {
            Some(at) => ("", Some(at as u16 + 1)), // no more were said than a u16 counts
            None if self.said.len() < usize::from(self.aliases) => {
                self.said.push(topic.to_owned());
                (topic, Some(self.said.len() as u16))
            }
            None => (topic, None),
        };
        let properties = PublishProperties { topic_alias, ..PublishProperties::default() };
        self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties).is_ok()
    }

    #[must_use]
    pub fn subscribe(&self, topic: String) -> bool {
        self.client.try_subscribe(topic, QoS::AtLeastOnce).is_ok()
    }

    #[must_use]
    pub fn goodbye(&self) -> bool {
        self.client.try_disconnect().is_ok()
    }
}

impl Ear {
    /// The next event. Dropping this future before it is done abandons the connection: what it was writing may be lost half-way.
    pub async fn hear(&mut self) -> Result<Heard, UplinkError> {
        let broker = || self.settings.peer.broker.clone();
        // a library that reads what others sent must not end the uplink with it; it is not used again after that
        let polled = contained(pin!(self.events.poll())).await;
        let event = match polled {
            None => return Err(UplinkError::Client { broker: broker() }),
            Some(Err(error)) => return Err(explain(error, &self.settings.peer, CONNECT_S)),
            Some(Ok(event)) => event,
        };
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.up(&connack).map(Heard::Up),
            Event::Incoming(Packet::SubAck(suback)) => Ok(match suback.return_codes.first() {
                Some(SubscribeReasonCode::Success(_)) => Heard::Subscribed,
                code => Heard::NotSubscribed(code.map_or("no code".into(), |c| format!("{c:?}"))),
            }),
            Event::Incoming(Packet::PubAck(puback)) => Ok(match puback.reason {
                PubAckReason::Success => Heard::Taken(puback.pkid),
                PubAckReason::NoMatchingSubscribers => Heard::TakenForNobody(puback.pkid),
                reason => Heard::NotTaken(format!("{reason:?}")),
            }),
            Event::Incoming(Packet::Publish(publish)) => {
                Ok(Heard::Message { topic: publish.topic.to_vec(), payload: publish.payload.to_vec() })
            }
            Event::Outgoing(Outgoing::Publish(pkid)) => Ok(Heard::Written(pkid)),
            Event::Outgoing(Outgoing::AwaitAck(_)) => Err(UplinkError::OutOfStep { broker: broker() }),
            Event::Outgoing(Outgoing::Disconnect) => Ok(Heard::Goodbye),
            _ => Ok(Heard::Other),
        }
    }

    fn up(&mut self, connack: &ConnAck) -> Result<Allowed, UplinkError> {
        let (broker, said) = (self.settings.peer.broker.clone(), connack.properties.as_ref());
        let unfit = |what: String| Err(UplinkError::Unfit { broker: broker.clone(), what });
        if said.and_then(|p| p.server_keep_alive) == Some(0) {
            // "no keep-alive" to the broker is "ping without pause" to the client
            self.events.options.set_keep_alive(self.keep_alive);
        }
        if said.and_then(|p| p.max_qos) == Some(0) {
            return unfit("offers QoS 0 only".into());
        }
        let messages = said.and_then(|p| p.receive_max).unwrap_or(u16::MAX);
        if messages == 0 {
            return unfit("has a receive maximum of 0".into());
        }
        let packet_bytes = said.and_then(|p| p.max_packet_size).map_or(usize::MAX, |bytes| bytes as usize);
        let aliases = said.and_then(|p| p.topic_alias_max).unwrap_or(0);
        Ok(Allowed { messages, packet_bytes, aliases })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_a_message_is_not_longer_than_allowed_for() {
        let properties = PublishProperties { topic_alias: Some(1), ..PublishProperties::default() };
        let (topic, payload) = ("wardgate/1/ward-3/up/ledger", vec![0; 3 << 20]);
        let mut publish = rumqttc::v5::mqttbytes::v5::Publish::new(topic, QoS::AtLeastOnce, payload, Some(properties));
        publish.pkid = 1;
        let around = publish.size() - publish.payload.len() - publish.topic.len();
        assert_eq!(around, PUBLISH_FRAME_BYTES);
    }
}
