//! Certificates and passwords that do not fit: named in status, tried again, and working once they are put right.

use wardgate_lab::broker::{Ca, Identity, Options};
use wardgate_wire::Class::Archive;

use super::receiver::{Receiver, client_options};
use super::rig::{Rig, Running, config, options, until};

fn with(identity: Identity) -> Options {
    Options { identity, ..options() }
}

/// Meets a broker with the wrong identity, sees the error, meets the right one on the same port, delivers.
async fn recovers_from(ca: &Ca, wrong: Identity, parts: &[&str]) {
    let running = Running::start(with(wrong)).await;
    let port = running.broker.port;
    let right = ca.issue(&["localhost"]);
    let mut rig = Rig::new();
    rig.commit(0, Archive, 5, 1000);
    rig.start(&config(port), &right.ca_pem);
    for part in parts {
        rig.until_error(part).await;
    }
    rig.until_error(&format!("localhost:{port}")).await;
    assert!(!rig.uplink().connected && rig.waiting() == 5);
    let options = Options { identity: right.clone(), ..running.stop().await };
    let running = Running::start(options).await;
    let receiver = Receiver::start(client_options("receiver", port, &right.ca_pem), true);
    rig.until_delivered().await;
    assert_eq!(receiver.count(), 5);
    assert_eq!(rig.uplink().last_error, "");
    rig.stop().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name() {
    let ca = Ca::new();
    let wrong = ca.issue(&["other.ward", "192.0.2.1"]);
    recovers_from(&ca, wrong, &["other.ward", "not for localhost", "set uplink.host"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_from_an_unknown_ca() {
    let named = ["comes from a CA that ca.pem does not hold"];
    recovers_from(&Ca::new(), Ca::named("another ward's").issue(&["localhost"]), &named).await;
    recovers_from(&Ca::new(), Ca::new().issue(&["localhost"]), &named).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_whose_time_is_over_or_has_not_come() {
    let ca = Ca::new();
    recovers_from(&ca, ca.issue_for(&["localhost"], 2020, 2021), &["has expired"]).await;
    recovers_from(&ca, ca.issue_for(&["localhost"], 2090, 2100), &["not valid yet", "clock"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_named_until_the_broker_knows_it() {
    let users = |password: &str| vec![("gateway".into(), password.into()), ("receiver".into(), "theirs".into())];
    let running = Running::start(Options { users: users("another"), ..options() }).await;
    let (port, ca_pem) = (running.broker.port, running.broker.ca_pem.clone());
    let mut rig = Rig::new();
    rig.commit(0, Archive, 3, 100);
    let mut config = config(port);
    config.username = Some("gateway".into());
    rig.start_with(&config, &ca_pem, Some("a good one\n"));
    rig.until_error("refuses this user name or password (BadUserNamePassword)").await;
    rig.until_error("uplink.password_file").await;
    let running = Running::start(Options { users: users("a good one"), ..running.stop().await }).await;
    let mut options = client_options("receiver", port, &ca_pem);
    options.set_credentials("receiver", "theirs");
    let receiver = Receiver::start(options, true);
    rig.until_delivered().await;
    assert_eq!(receiver.count(), 3);
    rig.stop().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_speak_tls_and_what_has_no_address_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = super::rig::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut tcp, b"SSH-2.0-this is no broker\r\n").await;
        }
    });
    let ca_pem = Ca::new().issue(&["localhost"]).ca_pem;
    let mut rig = Rig::new();
    rig.start(&config(port), &ca_pem);
    rig.until_error("does not speak TLS").await;
    rig.stop().await;
    plain.abort();
    let mut nowhere = config(port);
    nowhere.host = "no-such-broker.invalid".into();
    rig.start(&nowhere, &ca_pem);
    let status = rig.status.clone();
    // without a name server the resolver gives its own kind of answer, with the same name in it
    until("the name is named", || status.read().uplink.last_error.contains("no-such-broker.invalid")).await;
    rig.stop().await;
}
