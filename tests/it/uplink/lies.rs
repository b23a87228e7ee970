//! Acknowledgements that are not the receiver's word for this gateway change nothing.

use std::collections::BTreeSet;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event};
use wardgate_wire::Class::{Alert, Numeric};
use wardgate_wire::{AckEntry, Acknowledgement, Digest, GatewayId, Key, encode_ack};

use super::receiver::{ACK_TOPIC, client_options};
use super::rig::{LIFE, Rig, broker, config, gateway, key, spawn, until};

fn up_to(high: u32, digest: Digest) -> AckEntry {
    AckEntry::UpTo { life: LIFE, epoch: 0, class: Numeric, high, digest, missing: Vec::new() }
}

fn ack(gateway: GatewayId, key: &Key, entry: AckEntry) -> Vec<u8> {
    encode_ack(&Acknowledgement { gateway, entries: vec![entry] }, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_foreign_and_replayed_acknowledgements_change_nothing_and_are_counted() {
    let running = broker().await;
    let mut rig = Rig::new();
    rig.commit(0, Numeric, 8, 0);
    rig.commit(0, Alert, 1, 0);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    until("connected", || rig.uplink().connected).await;
    let (client, mut events) = AsyncClient::new(client_options("liar", running.broker.port, &running.broker.ca_pem), 100);
    let pubacks = spawn(async move {
        let mut taken = BTreeSet::new();
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::PubAck(puback)) = event {
                taken.insert(puback.pkid);
            }
        }
    });
    let digest = |sequence: usize| rig.digest(&rig.keys[sequence]);
    let genuine = ack(gateway(), &key(), up_to(7, digest(7)));
    let mut refused = vec![
        ack(gateway(), &Key::new(b"another secret, longer").unwrap(), up_to(7, digest(7))),
        ack(GatewayId::new("ward-4").unwrap(), &key(), up_to(7, digest(7))),
        Vec::new(),
        b"WA".to_vec(),
    ];
    for at in 0..genuine.len() {
        let mut flipped = genuine.clone();
        flipped[at] ^= 1 << (at % 8);
        refused.push(flipped);
        refused.push(genuine[..at].to_vec());
    }
    for lie in &refused {
        client.publish(ACK_TOPIC, QoS::AtLeastOnce, false, lie.clone()).await.unwrap();
    }
    let count = refused.len() as u64;
    until("all were refused", || rig.uplink().acknowledgements_refused == count).await;
    // genuine in every way but about another batch than the one that is here
    for entry in [up_to(7, Digest([9; 16])), AckEntry::Closed { life: LIFE + 1, epoch: 0 }, AckEntry::Other { kind: 77 }] {
        client.publish(ACK_TOPIC, QoS::AtLeastOnce, false, ack(gateway(), &key(), entry)).await.unwrap();
    }
    until("they were read", || rig.uplink().acknowledgements_without_news == 3).await;
    // for this gateway, on another gateway's topic: never seen
    client.publish("wardgate/1/ward-4/ack", QoS::AtLeastOnce, false, genuine.clone()).await.unwrap();
    assert_eq!((rig.waiting(), rig.uplink().batches_acknowledged), (9, 0));

    client.publish(ACK_TOPIC, QoS::AtLeastOnce, false, ack(gateway(), &key(), up_to(3, digest(3)))).await.unwrap();
    until("the genuine one counts", || rig.waiting() == 5).await;
    // and once more: a replay
    client.publish(ACK_TOPIC, QoS::AtLeastOnce, false, ack(gateway(), &key(), up_to(3, digest(3)))).await.unwrap();
    until("the replay was read", || rig.uplink().acknowledgements_without_news == 4).await;
    assert_eq!((rig.waiting(), rig.uplink().batches_acknowledged, rig.uplink().acknowledgements_refused), (5, 4, count));
    pubacks.abort();
    rig.stop().await;
}
