//! A receiver as small as can be: joins parts, drops repeats, acknowledges in the cumulative form, or keeps silent when told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;
use wardgate_wire::{
    AckEntry, Acknowledgement, BatchKey, Class, Digest, Epoch, Joiner, Life, Message, decode, encode_ack, peek, read_message,
};

use super::rig::{gateway, key, spawn};

pub const ACK_TOPIC: &str = "wardgate/1/ward-3/ack";
pub const UP_FILTER: &str = "wardgate/1/+/up/+";

/// Options for a plain client, as anybody would set them.
pub fn client_options(name: &str, port: u16, ca_pem: &str) -> MqttOptions {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut options = MqttOptions::new(name, "localhost", port);
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(tls))));
    options.set_keep_alive(Duration::from_secs(5));
    options.set_max_packet_size(Some(1 << 20));
    options
}

#[derive(Default)]
struct Held {
    batches: BTreeMap<BatchKey, Digest>,
    /// First arrivals, in order.
    order: Vec<BatchKey>,
    joiner: Joiner,
}

pub struct Receiver {
    held: Arc<Mutex<Held>>,
    answers: Arc<AtomicBool>,
    subscribed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Connects, and connects again, for as long as it lives.
    pub fn start(options: MqttOptions, answers: bool) -> Self {
        let (held, answers, subscribed) = (Arc::default(), Arc::new(AtomicBool::new(answers)), Arc::default());
        let task = spawn(serve(options, Arc::clone(&held), Arc::clone(&answers), Arc::clone(&subscribed)));
        Self { held, answers, subscribed, task }
    }

    pub fn answer(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }

    /// Until the SUBACK of its latest connection.
    pub fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Relaxed)
    }

    pub fn count(&self) -> usize {
        self.held.lock().unwrap().batches.len()
    }

    pub fn order(&self) -> Vec<BatchKey> {
        self.held.lock().unwrap().order.clone()
    }

    pub fn has(&self, key: &BatchKey, digest: Digest) -> bool {
        self.held.lock().unwrap().batches.get(key) == Some(&digest)
    }
}

async fn serve(options: MqttOptions, held: Arc<Mutex<Held>>, answers: Arc<AtomicBool>, subscribed: Arc<AtomicBool>) {
    loop {
        let (client, mut events) = AsyncClient::new(options.clone(), 1000);
        client.try_subscribe(UP_FILTER, QoS::AtLeastOnce).unwrap();
        while let Some(event) = heard(&mut events).await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => subscribed.store(true, Ordering::Relaxed),
                Event::Incoming(Packet::Publish(publish)) => {
                    let chain = take(&held, &publish.payload);
                    if let Some(chain) = chain.filter(|_| answers.load(Ordering::Relaxed)) {
                        let ack = acknowledgement(&held, chain);
                        // QoS 0: a lost one is made up for by the next, and the faults are meant for the gateway
                        let _ = client.try_publish(ACK_TOPIC, QoS::AtMostOnce, false, ack);
                    }
                }
                _ => {}
            }
        }
        subscribed.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn heard(events: &mut EventLoop) -> Option<Event> {
    events.poll().await.ok()
}

/// The chain that a whole batch belongs to.
fn take(held: &Mutex<Held>, payload: &[u8]) -> Option<(Life, Epoch, Class)> {
    let mut held = held.lock().unwrap();
    let batch = match read_message(payload, &key()).expect("a message of the gateway") {
        Message::Batch { .. } => payload.to_vec(),
        Message::Part(part) => held.joiner.add(part).expect("parts that fit")?,
    };
    let (header, digest) = peek(&batch, &key()).expect("a batch of the gateway");
    decode(&batch, &key()).expect("a batch that can be read");
    if let Some(had) = held.batches.insert(header.key, digest) {
        assert_eq!(had, digest, "{} with another content", header.key);
    } else {
        held.order.push(header.key);
    }
    Some((header.key.life, header.key.epoch, header.key.class))
}

fn acknowledgement(held: &Mutex<Held>, (life, epoch, class): (Life, Epoch, Class)) -> Vec<u8> {
    let held = held.lock().unwrap();
    let chain: BTreeMap<u32, Digest> =
        held.batches.iter().filter(|(k, _)| (k.life, k.epoch, k.class) == (life, epoch, class)).map(|(k, d)| (k.sequence, *d)).collect();
    let (high, digest) = chain.last_key_value().map(|(sequence, digest)| (*sequence, *digest)).unwrap();
    let missing = (0..=high).filter(|sequence| !chain.contains_key(sequence)).map(|sequence| (sequence, sequence)).collect();
    let entries = vec![AckEntry::UpTo { life, epoch, class, high, digest, missing }];
    encode_ack(&Acknowledgement { gateway: gateway(), entries }, &key())
}
