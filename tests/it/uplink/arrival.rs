//! Everything arrives, and nothing leaves the store before the receiver said so.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wardgate_lab::broker::Seen;
use wardgate_wire::Class::{self, Alert, Archive, Ledger, Numeric, Waveform};

use super::receiver::{Receiver, client_options};
use super::rig::{Rig, Running, broker, config, options, until};

fn receiver(running: &Running, answers: bool) -> Receiver {
    Receiver::start(client_options("receiver", running.broker.port, &running.broker.ca_pem), answers)
}

fn a_ward(rig: &mut Rig) {
    for (epoch, batches) in [(0, 3), (1, 40), (2, 25)] {
        rig.commit(epoch, Ledger, 1, 200);
        rig.commit(epoch, Alert, 2, 0);
        rig.commit(epoch, Numeric, batches, 0);
        rig.commit(epoch, Waveform, batches, 0);
        rig.commit(epoch, Archive, batches, 3000);
    }
    rig.present.send_replace((super::rig::LIFE, 2));
}

fn assert_all_there(rig: &Rig, receiver: &Receiver) {
    assert_eq!(receiver.count(), rig.keys.len());
    assert!(rig.keys.iter().all(|key| receiver.has(key, rig.digest(key))));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_batch_arrives_and_only_the_receivers_word_frees_it() {
    let running = broker().await;
    let mut rig = Rig::new();
    a_ward(&mut rig);
    let (all, receiver) = (rig.waiting(), receiver(&running, false));
    until("the receiver listens", || receiver.is_subscribed()).await;
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    // a window full is taken by the broker, is repeated, and frees nothing
    let pubacks = || running.broker.seen().iter().filter(|(client, seen)| client == "wardgate-ward-3" && *seen == Seen::PubAck).count();
    until("the window went round twice", || pubacks() > 18 && rig.uplink().batches_repeated > 1).await;
    assert_eq!((rig.waiting(), rig.uplink().batches_acknowledged), (all, 0));
    assert!(receiver.count() <= 16, "the window bounds what is on its way to the receiver: {}", receiver.count());
    receiver.answer(true);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    let status = rig.uplink();
    assert!(status.connected && status.last_error.is_empty() && *rig.link.borrow(), "{status:?}");
    assert_eq!(status.connects, 1);
    // what comes later goes at once, without a new connection
    rig.commit(2, Alert, 1, 0);
    rig.until_delivered().await;
    rig.stop().await;
    assert!(!*rig.link.borrow() && !rig.uplink().connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_drops_pubacks_loses_nothing() {
    let running = broker().await;
    running.broker.faults().drop_puback_every.store(7, Ordering::Relaxed);
    let mut rig = Rig::new();
    a_ward(&mut rig);
    let receiver = receiver(&running, true);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_acknowledged_and_lost_comes_again() {
    let running = broker().await;
    running.broker.faults().lose_every.store(5, Ordering::Relaxed);
    let mut rig = Rig::new();
    a_ward(&mut rig);
    let receiver = receiver(&running, true);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    assert!(rig.uplink().batches_repeated > 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_are_resumed_cheaply() {
    let running = broker().await;
    let mut rig = Rig::new();
    let receiver = receiver(&running, true);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    for round in 0..6u64 {
        until("connected again", || rig.uplink().connects > round && rig.uplink().connected).await;
        rig.commit(0, Archive, 30, 2000);
        let before = receiver.count();
        until("some more arrived", || receiver.count() > before || rig.waiting() == 0).await;
        running.broker.faults().cut("wardgate-ward-3");
        until("the cut was noticed", || rig.uplink().connects > round + 1).await;
    }
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    let stats = running.broker.stats().client("wardgate-ward-3");
    assert!(stats.resumed + 1 >= stats.connects, "each but the first handshake was resumed: {stats:?}");
    assert!(stats.bytes_from > stats.payload_bytes && stats.bytes_to > 0, "{stats:?}");
    rig.stop().await;
}

//= PROMISES.md#P242
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_said_once_a_connection_and_its_number_after() {
    for (allowed, said) in [(10, 3), (1, 1), (0, 0)] {
        let mut options = options();
        options.topic_alias_max = allowed;
        let running = Running::start(options).await;
        let receiver = receiver(&running, true);
        let mut rig = Rig::new();
        rig.start(&config(running.broker.port), &running.broker.ca_pem);
        let bytes = |class: Class| format!("wardgate/1/ward-3/up/{class}").len() as u64;
        for round in 0..2 {
            until("connected again", || rig.uplink().connects > round && rig.uplink().connected).await;
            for _ in 0..3 {
                for class in [Alert, Numeric, Archive] {
                    rig.commit(0, class, 1, 10);
                    rig.until_delivered().await; // one after the other: each class is the next number
                }
            }
            if round == 0 {
                running.broker.faults().cut("wardgate-ward-3");
            }
        }
        assert_all_there(&rig, &receiver);
        let stats = running.broker.stats().client("wardgate-ward-3");
        // in each of two connections: a class whose topic has a number says its name once, another one each of three times
        let once = [Alert, Numeric, Archive].map(bytes).iter().enumerate().map(|(at, b)| if at < said { *b } else { 3 * *b }).sum::<u64>();
        let repeated = rig.uplink().batches_repeated;
        let spare = repeated * bytes(Archive); // one in flight at the cut goes again
        let expected = 2 * once;
        assert!((expected..=expected + spare).contains(&stats.topic_bytes), "{} of {expected}, {repeated} repeated", stats.topic_bytes);
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_given_up_even_when_the_write_blocks() {
    let running = broker().await;
    let mut rig = Rig::new();
    let receiver = receiver(&running, true);
    let mut config = config(running.broker.port);
    // more than all buffers in between can hold, so that the client's write really blocks
    (config.window_messages, config.window_bytes) = (1024, 16 << 20);
    rig.start(&config, &running.broker.ca_pem);
    until("connected", || rig.uplink().connected).await;
    running.broker.faults().freeze(true);
    (0..6).for_each(|_| rig.commit(0, Archive, 170, 16_000));
    rig.until_error("answered nothing for 2 s").await;
    assert!(!*rig.link.borrow());
    running.broker.faults().freeze(false);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_a_packet_goes_in_parts_and_an_alert_overtakes_them() {
    let mut options = options();
    (options.packet_bytes_max, options.receive_max) = (Some(2000), 4);
    let running = Running::start(options).await;
    let mut rig = Rig::new();
    rig.commit(0, Archive, 2, 240_000);
    let receiver = receiver(&running, true);
    until("the receiver listens", || receiver.is_subscribed()).await;
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    let published = || {
        let seen = running.broker.seen().into_iter().filter(|(client, _)| client == "wardgate-ward-3");
        let publishes =
            seen.filter_map(|(_, seen)| if let Seen::Publish { topic, payload } = seen { Some((topic, payload.len())) } else { None });
        publishes.collect::<Vec<_>>()
    };
    until("some parts were seen", || published().len() > 5).await;
    running.broker.faults().freeze(true);
    let before = published().len();
    rig.commit(0, Alert, 1, 0);
    until("the alert is in the store", || rig.waiting() == 3).await;
    running.broker.faults().freeze(false);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    let all = published();
    assert!(all.iter().all(|(_, bytes)| *bytes < 2000) && all.len() > 240, "{}", all.len());
    let alert = all.iter().position(|(topic, _)| topic.ends_with("/alert")).unwrap();
    // parts go on while the alert is read from the disk: how many of them that takes is the machine's business, all of them it is not
    assert!(alert + 100 < all.len(), "the alert went as number {alert} of {}, committed after {before}", all.len());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_packets_are_too_small_is_named_and_not_served() {
    let mut options = options();
    options.packet_bytes_max = Some(500);
    let running = Running::start(options).await;
    let mut rig = Rig::new();
    rig.commit(0, Archive, 1, 600);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    rig.until_error("takes payloads of").await;
    let mut better = running.stop().await;
    better.packet_bytes_max = None;
    let running = Running::start(better).await;
    let _receiver = receiver(&running, true);
    rig.until_delivered().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_said_and_nothing_is_lost_by_it() {
    let running = broker().await;
    let mut rig = Rig::new();
    a_ward(&mut rig);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    rig.until_error("nobody is subscribed to wardgate/1/ward-3/up/+").await;
    assert!(rig.uplink().connected);
    let receiver = receiver(&running, true);
    rig.until_delivered().await;
    assert_all_there(&rig, &receiver);
    assert_eq!(rig.uplink().last_error, "", "the receiver's word is the end of the complaint");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_after_what_was_in_flight() {
    let running = broker().await;
    let mut rig = Rig::new();
    rig.commit(0, Archive, 100, 8000);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    let mine = || running.broker.seen().into_iter().filter(|(client, _)| client == "wardgate-ward-3").map(|(_, seen)| seen);
    until("it publishes", || mine().any(|seen| matches!(seen, Seen::Publish { .. }))).await;
    rig.stop().await;
    until("the broker saw the end", || mine().any(|seen| seen == Seen::Gone)).await;
    let (mut published, mut taken) = (0, 0);
    mine().for_each(|seen| match seen {
        Seen::Publish { .. } => published += 1,
        Seen::PubAck => taken += 1,
        _ => {}
    });
    assert_eq!(published, taken);
    assert!(mine().any(|seen| seen == Seen::Disconnect));
    // a stop while there is nobody to talk to is a stop, too
    drop(running.stop().await);
    rig.start(&config(1), &super::rig::broker().await.broker.ca_pem);
    rig.until_error("cannot be reached").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_in_flight_and_not_for_ever() {
    let running = broker().await;
    running.broker.faults().drop_puback_every.store(1, Ordering::Relaxed);
    let mut rig = Rig::new();
    rig.commit(0, Archive, 1, 100);
    let mut config = config(running.broker.port);
    config.progress_s = 3600;
    rig.start(&config, &running.broker.ca_pem);
    until("it is published", || rig.uplink().batches_published == 1).await;
    rig.stop().await;
    let seen = || running.broker.seen().into_iter().map(|(_, seen)| seen).collect::<Vec<_>>();
    until("the broker saw the end", || seen().contains(&Seen::Gone)).await;
    assert!(!seen().contains(&Seen::Disconnect), "a goodbye would have said that all was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_accepts_and_drops_is_not_hammered() {
    let running = broker().await;
    running.broker.faults().drop_after_connack.store(true, Ordering::Relaxed);
    let mut rig = Rig::new();
    rig.commit(0, Archive, 1, 10);
    let mut config = config(running.broker.port);
    (config.backoff_min_ms, config.backoff_max_ms) = (1, 3_600_000);
    let started = tokio::time::Instant::now();
    rig.start(&config, &running.broker.ca_pem);
    until("it came often", || running.broker.stats().client("wardgate-ward-3").connects >= 11).await;
    // The waits are those of seed 1: they can be longer on a busy machine, never shorter. Started anew after each CONNACK they would be 20 ms.
    assert!(started.elapsed() > Duration::from_millis(500), "{:?}", started.elapsed());
    rig.stop().await;
}
