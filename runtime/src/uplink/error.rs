//! What can go wrong on the way to the broker: who is guilty and what helps. No text changes with time, so that a report is made once for each change.

use std::io;
use std::path::{Path, PathBuf};

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::CertificateError;

#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    #[error("uplink.{setting} = {value}: {why}")]
    Setting { setting: &'static str, value: String, why: &'static str },
    #[error("{} holds no usable certificate ({why})", file.display())]
    NoCa { file: PathBuf, why: String },

    #[error("no address found for the broker {broker} ({why}): check uplink.host and the name server")]
    Name { broker: String, why: String },
    #[error("the broker {broker} cannot be reached ({why}): check uplink.host, uplink.port and the network in between")]
    Unreachable { broker: String, why: String },
    #[error(
        "the broker {broker} did not complete a connection within {seconds} s: check uplink.host, uplink.port and the network in between"
    )]
    ConnectTimeout { broker: String, seconds: u64 },

    #[error(
        "the certificate of the broker {broker} is for {names}, not for {host}: set uplink.host to a name in it, or have it made for {host}"
    )]
    WrongName { broker: String, host: String, names: String },
    #[error("the certificate of the broker {broker} comes from a CA that {} does not hold: put the CA that signed it there", ca_file.display())]
    UnknownCa { broker: String, ca_file: PathBuf },
    #[error("the certificate of the broker {broker} has expired: renew it; if it has not, the gateway's clock is ahead")]
    Expired { broker: String },
    #[error("the certificate of the broker {broker} is not valid yet: the gateway's clock is most likely not set; check its time source")]
    NotValidYet { broker: String },
    #[error("the certificate of the broker {broker} is refused ({why}): have a new one made")]
    Certificate { broker: String, why: String },
    #[error("no TLS connection with the broker {broker} ({why}): check that uplink.port is its TLS listener")]
    Tls { broker: String, why: String },

    #[error("the broker {broker} refuses this user name or password ({code}): check uplink.username and uplink.password_file")]
    Login { broker: String, code: String },
    #[error("the broker {broker} refuses the connection ({code})")]
    Refused { broker: String, code: String },
    #[error("the broker {broker} does not let this gateway subscribe to {topic} ({code}): allow it to read that topic")]
    Subscribe { broker: String, topic: String, code: String },
    #[error(
        "the broker {broker} does not let this gateway publish to {topic} ({code}): allow it to write below that topic, or raise its quota"
    )]
    Publish { broker: String, topic: String, code: String },
    #[error("the broker {broker} {what}: the uplink cannot work with it until that is changed")]
    Unfit { broker: String, what: String },
    #[error("another client took the connection to {broker} over under the name {client}: do two gateways have the same gateway.id?")]
    TakenOver { broker: String, client: String },

    #[error("the broker {broker} answered nothing for {seconds} s while it owed an answer: the connection is given up and made anew")]
    Stalled { broker: String, seconds: u64 },
    #[error("the broker {broker} acknowledges out of order or not at all: the connection is given up and made anew")]
    OutOfStep { broker: String },
    #[error("the connection to the broker {broker} ended ({why})")]
    Lost { broker: String, why: String },
    #[error("the MQTT client failed on what the broker {broker} sent: the connection is given up and made anew")]
    Client { broker: String },

    #[error(
        "the broker {broker} takes batches, but nobody is subscribed to {topic}: is the receiver running, and does it read this broker?"
    )]
    NobodyListens { broker: String, topic: String },
    #[error(
        "the receiver has acknowledged nothing for {seconds} s, though the broker {broker} takes batches: is `wardgate-cloud receive` running \
         on {topic}, and are mac_key_file and the gateway's id the same at both ends?"
    )]
    Unheard { broker: String, topic: String, seconds: u64 },
    #[error("batch {batch} cannot be sent and stays in the store: {why}")]
    Batch { batch: String, why: String },
}

impl UplinkError {
    /// The key of `[uplink]` that is to blame, where one is.
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Setting { setting, .. } => Some(setting),
            Self::NoCa { .. } => Some("ca_file"),
            _ => None,
        }
    }
}

/// What an error is about.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// host:port
    pub broker: String,
    pub host: String,
    pub client: String,
    pub ca_file: PathBuf,
}

/// An error of the client, in the uplink's words.
pub(super) fn explain(error: ConnectionError, peer: &Peer, connect_s: u64) -> UplinkError {
    let broker = peer.broker.clone();
    match error {
        ConnectionError::Timeout(_) => UplinkError::ConnectTimeout { broker, seconds: connect_s },
        ConnectionError::Tls(TlsError::Io(e)) | ConnectionError::Io(e) => io_error(&e, peer),
        ConnectionError::Tls(TlsError::TLS(e)) => tls_error(&e, peer),
        ConnectionError::Tls(e) => UplinkError::Tls { broker, why: e.to_string() },
        ConnectionError::ConnectionRefused(code) | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => {
            refused(code, broker)
        }
        ConnectionError::MqttState(e) => state_error(e, peer),
        ConnectionError::NotConnAck(_) => UplinkError::Refused { broker, code: "something other than CONNACK as the first answer".into() },
        ConnectionError::RequestsDone => UplinkError::Lost { broker, why: "the client ended".into() },
    }
}

fn refused(code: ConnectReturnCode, broker: String) -> UplinkError {
    use ConnectReturnCode as C;
    let named = format!("{code:?}");
    match code {
        C::BadUserNamePassword | C::NotAuthorized | C::BadAuthenticationMethod => UplinkError::Login { broker, code: named },
        _ => UplinkError::Refused { broker, code: named },
    }
}

fn state_error(error: StateError, peer: &Peer) -> UplinkError {
    let broker = peer.broker.clone();
    match error {
        StateError::Io(e) => io_error(&e, peer),
        StateError::Deserialization(rumqttc::v5::mqttbytes::Error::Io(e)) => io_error(&e, peer),
        StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, .. } => {
            UplinkError::TakenOver { broker, client: peer.client.clone() }
        }
        StateError::ServerDisconnect { reason_code, reason_string } => {
            let why = reason_string.map(|text| format!(", {text:?}")).unwrap_or_default();
            UplinkError::Lost { broker, why: format!("{reason_code:?}{why}") }
        }
        StateError::AwaitPingResp => UplinkError::Lost { broker, why: "no answer to a ping within the keep-alive time".into() },
        StateError::Unsolicited(_) | StateError::CollisionTimeout => UplinkError::OutOfStep { broker },
        StateError::ConnectionAborted => UplinkError::Lost { broker, why: "closed by the other side".into() },
        e => UplinkError::Lost { broker, why: e.to_string() },
    }
}

/// The standard library gives the resolver's errors neither a kind nor a number.
const RESOLVER_SAYS: &str = "failed to lookup address";

fn io_error(error: &io::Error, peer: &Peer) -> UplinkError {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_error(tls, peer);
    }
    let (broker, why) = (peer.broker.clone(), error.kind().to_string());
    if error.to_string().starts_with(RESOLVER_SAYS) {
        return UplinkError::Name { broker, why: error.to_string() };
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut => {
            UplinkError::Unreachable { broker, why }
        }
        _ => UplinkError::Lost { broker, why },
    }
}

fn tls_error(error: &rustls::Error, peer: &Peer) -> UplinkError {
    let broker = peer.broker.clone();
    match error {
        rustls::Error::InvalidCertificate(why) => certificate_error(why, peer),
        rustls::Error::InvalidMessage(_) => UplinkError::Tls { broker, why: "it does not speak TLS".into() },
        other => UplinkError::Tls { broker, why: other.to_string() },
    }
}

fn certificate_error(error: &CertificateError, peer: &Peer) -> UplinkError {
    let (broker, host) = (peer.broker.clone(), peer.host.clone());
    match error {
        CertificateError::NotValidForNameContext { presented, .. } => {
            UplinkError::WrongName { broker, host, names: if presented.is_empty() { "no name".into() } else { presented.join(", ") } }
        }
        CertificateError::NotValidForName => UplinkError::WrongName { broker, host, names: "another name".into() },
        // a CA of the same name and another key is another CA
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            UplinkError::UnknownCa { broker, ca_file: peer.ca_file.clone() }
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => UplinkError::Expired { broker },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => UplinkError::NotValidYet { broker },
        other => UplinkError::Certificate { broker, why: other.to_string() },
    }
}

pub(super) fn no_ca(file: &Path, why: impl ToString) -> UplinkError {
    UplinkError::NoCa { file: file.to_owned(), why: why.to_string() }
}
