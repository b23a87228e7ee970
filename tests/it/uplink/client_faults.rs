//! rumqttc's known faults, shown in the bare client as anybody would use it, and then not reaching us under the same treatment.
//!
//! If one of the bare halves fails one day, the library has been mended, and the seam may become simpler.

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, StateError};
use rumqttc::{Outgoing, v5::MqttOptions};
use wardgate_lab::broker::Seen;
use wardgate_wire::Class::{Archive, Numeric};

use super::receiver::{Receiver, client_options};
use super::rig::{Rig, Running, config, options, until};

const BARE: &str = "bare";

/// The client pings every second, so that its own time-outs pass quickly.
async fn broker() -> Running {
    let mut options = options();
    options.server_keep_alive_s = Some(1);
    Running::start(options).await
}

fn bare(running: &Running) -> MqttOptions {
    let mut options = client_options(BARE, running.broker.port, &running.broker.ca_pem);
    options.set_outgoing_inflight_upper_limit(5);
    options.set_clean_start(true);
    options
}

async fn connected(events: &mut EventLoop) {
    while !matches!(events.poll().await, Ok(Event::Incoming(Packet::ConnAck(_)))) {}
}

/// Payloads that the broker saw from the bare client.
fn published(running: &Running) -> Vec<Vec<u8>> {
    let seen = running.broker.seen().into_iter().filter(|(client, _)| client == BARE);
    seen.filter_map(|(_, seen)| if let Seen::Publish { payload, .. } = seen { Some(payload.to_vec()) } else { None }).collect()
}

async fn publish(client: &AsyncClient, payload: &str) {
    client.publish("any/topic", QoS::AtLeastOnce, false, payload.to_owned()).await.unwrap();
}

/// The identifier of a SUBSCRIBE stands between two publishes; the connection is lost in a collision; the client never publishes again.
#[tokio::test(flavor = "multi_thread")]
async fn the_collision_livelock_exists_and_does_not_reach_us() {
    let running = broker().await;
    let (client, mut events) = AsyncClient::new(bare(&running), 20);
    connected(&mut events).await;
    running.broker.faults().freeze(true);
    for n in 0..4 {
        publish(&client, &n.to_string()).await;
    }
    client.subscribe("some/ack", QoS::AtLeastOnce).await.unwrap();
    publish(&client, "collides").await;
    while !matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::AwaitAck(1)))) {}
    cut_and_thaw(&running, BARE).await;
    let mut timeouts = 0;
    for n in 0..12 {
        publish(&client, &format!("later {n}")).await;
    }
    while timeouts < 3 {
        if let Err(ConnectionError::MqttState(StateError::CollisionTimeout)) = events.poll().await {
            timeouts += 1;
        }
    }
    assert_eq!(published(&running), Vec::<Vec<u8>>::new(), "connected three times, and stuck each time");

    under_the_same_treatment(&running).await;
}

/// A new session means for the library that nothing was ever promised: what was in flight and what was queued is gone without a word.
#[tokio::test(flavor = "multi_thread")]
async fn the_silent_discard_exists_and_does_not_reach_us() {
    let running = broker().await;
    let (client, mut events) = AsyncClient::new(bare(&running), 20);
    connected(&mut events).await;
    running.broker.faults().freeze(true);
    for n in 0..8 {
        publish(&client, &n.to_string()).await;
    }
    let mut written = 0;
    while written < 5 {
        written += u32::from(matches!(events.poll().await, Ok(Event::Outgoing(Outgoing::Publish(_)))));
    }
    cut_and_thaw(&running, BARE).await;
    connected(&mut events).await;
    publish(&client, "marker").await;
    while published(&running).is_empty() {
        events.poll().await.unwrap();
    }
    assert_eq!(published(&running), [b"marker".to_vec()], "five in flight and three queued were discarded");

    under_the_same_treatment(&running).await;
}

/// A broker that wants no keep-alive at all makes the library ping without pause, and end the connection over its own impatience.
#[tokio::test(flavor = "multi_thread")]
async fn the_ping_storm_exists_and_does_not_reach_us() {
    let mut options = options();
    options.server_keep_alive_s = Some(0);
    let running = Running::start(options).await;
    let (_client, mut events) = AsyncClient::new(bare(&running), 20);
    connected(&mut events).await;
    let mut ended = Ok(());
    for _ in 0..1000 {
        ended = ended.and(events.poll().await.map(drop));
    }
    assert!(matches!(ended, Err(ConnectionError::MqttState(StateError::AwaitPingResp))), "{ended:?}");

    // without a receiver, which would need the same care
    let mut rig = Rig::new();
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    for round in 1..=10 {
        rig.commit(0, Numeric, 1, 0);
        until("it is published", || rig.uplink().batches_published >= round).await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await; // time enough for a storm
    }
    assert_eq!((rig.uplink().connects, rig.uplink().connected), (1, true));
    rig.stop().await;
}

async fn cut_and_thaw(running: &Running, client: &str) {
    let gone = || running.broker.seen().into_iter().filter(|(name, seen)| name == client && *seen == Seen::Gone).count();
    let before = gone();
    running.broker.faults().cut(client);
    until("the broker let go", || gone() > before).await;
    running.broker.faults().freeze(false);
}

/// Frozen with a full window of the same size, cut, thawed: several times.
async fn under_the_same_treatment(running: &Running) {
    let receiver = Receiver::start(client_options("receiver", running.broker.port, &running.broker.ca_pem), true);
    let mut rig = Rig::new();
    let mut config = config(running.broker.port);
    config.window_messages = 5;
    rig.start(&config, &running.broker.ca_pem);
    for round in 1..=4 {
        until("connected", || rig.uplink().connected).await;
        let before = rig.uplink().payload_bytes;
        running.broker.faults().freeze(true);
        rig.commit(0, Numeric, 10, 0);
        rig.commit(0, Archive, 10, 500);
        until("something is in flight", || rig.uplink().payload_bytes > before || !rig.uplink().connected).await;
        running.broker.faults().cut("wardgate-ward-3");
        until("the cut was noticed", || !rig.uplink().connected || rig.uplink().connects > round).await;
        running.broker.faults().freeze(false);
    }
    rig.until_delivered().await;
    assert_eq!(receiver.count(), rig.keys.len());
    rig.stop().await;
}
