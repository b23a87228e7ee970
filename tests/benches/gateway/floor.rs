//! What the gateway's work would cost without sandbox, positions and books: the yardstick's poll, each second in one record that is flushed
//! before it is published over TLS. No bound stands on it: it tells how much of a ratio is the price of flash and TLS, which the yardstick has not.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_modbus::prelude::*;

use crate::{REGISTERS, UNITS};

/// As the embedded broker of this folder wants it.
fn client(folder: &Path, broker: u16) -> MqttOptions {
    let pem = std::fs::read(folder.join("ca.pem")).expect("the broker wrote it");
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.expect("a certificate")).expect("of a CA");
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut options = MqttOptions::new("floor", "localhost", broker);
    options.set_credentials("gateway", std::fs::read_to_string(folder.join("password")).expect("the stage wrote it"));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))));
    options
}

#[tokio::main(flavor = "current_thread")]
pub async fn poll(device: SocketAddr, broker: u16, folder: &Path) {
    let (client, mut events) = AsyncClient::new(client(folder, broker), 100);
    tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let file = Arc::new(File::create(folder.join("floor.log")).expect("a file beside the store"));
    let mut at = 0;
    let mut bus = tcp::connect(device).await.expect("the device listens");
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        let mut record = Vec::new();
        for unit in 1..=UNITS {
            bus.set_slave(Slave(unit));
            let registers = bus.read_holding_registers(0, REGISTERS).await.expect("connected").expect("no exception");
            record.extend(registers.iter().flat_map(|r| r.to_be_bytes()));
        }
        let (to, bytes) = (file.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || to.write_all_at(&bytes, at).and_then(|()| to.sync_data()));
        written.await.expect("no panic").expect("the disk takes it");
        at += record.len() as u64;
        client.publish("floor", QoS::AtLeastOnce, false, record).await.expect("the broker takes it");
    }
}
