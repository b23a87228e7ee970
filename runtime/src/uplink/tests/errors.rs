//! What a broken connection is called. The texts stand in status pages: each names the broker and what helps.

use std::io;
use std::path::PathBuf;

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError};
use rustls::CertificateError;

use crate::uplink::error::{Peer, explain};

fn text(error: ConnectionError) -> String {
    let peer = Peer {
        broker: "broker.ward:8883".into(),
        host: "broker.ward".into(),
        client: "wardgate-ward-3".into(),
        ca_file: PathBuf::from("/etc/wardgate/ca.pem"),
    };
    let text = explain(error, &peer, 30).to_string();
    assert!(text.contains("broker.ward:8883"), "{text}");
    text
}

fn certificate(error: CertificateError) -> String {
    text(ConnectionError::Io(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error))))
}

#[test]
fn a_bad_certificate_is_named_with_its_remedy() {
    let expected = "broker.ward".try_into().unwrap();
    let presented = vec!["DnsName(\"other.ward\")".to_owned()];
    let wrong = certificate(CertificateError::NotValidForNameContext { expected, presented });
    assert!(wrong.contains("other.ward") && wrong.contains("not for broker.ward") && wrong.contains("set uplink.host"), "{wrong}");
    assert!(certificate(CertificateError::UnknownIssuer).contains("/etc/wardgate/ca.pem"));
    assert!(certificate(CertificateError::Expired).contains("expired"));
    assert!(certificate(CertificateError::NotValidYet).contains("clock"));
    assert!(certificate(CertificateError::Revoked).contains("refused"));
}

#[test]
fn refusals_and_losses_are_told_apart() {
    assert!(text(ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized)).contains("uplink.password_file"));
    assert!(text(ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy)).contains("ServerBusy"));
    let taken = StateError::ServerDisconnect { reason_code: DisconnectReasonCode::SessionTakenOver, reason_string: None };
    assert!(text(ConnectionError::MqttState(taken)).contains("same gateway.id"));
    assert!(text(ConnectionError::MqttState(StateError::ConnectionAborted)).contains("closed by the other side"));
    assert!(text(ConnectionError::MqttState(StateError::Unsolicited(3))).contains("out of order"));
    assert!(text(ConnectionError::Io(io::ErrorKind::ConnectionRefused.into())).contains("cannot be reached"));
    let resolver = io::Error::other("failed to lookup address information: Name or service not known");
    assert!(text(ConnectionError::Io(resolver)).contains("no address found"));
}
