//! What goes first, and that nothing goes before there is somebody to hear the answer.

use std::time::Duration;

use wardgate_lab::broker::Seen;
use wardgate_wire::Class::{self, Alert, Archive, Ledger, Numeric, Preview, Waveform};
use wardgate_wire::{Epoch, Message, Sequence, read_message};

use super::rig::{LIFE, Rig, Running, broker, config, key, until};

fn published(running: &Running) -> Vec<(Epoch, Class, Sequence)> {
    let seen = running.broker.seen().into_iter();
    seen.filter_map(|(_, seen)| {
        let Seen::Publish { topic, payload } = seen else { return None };
        let Ok(Message::Batch { header, .. }) = read_message(&payload, &key()) else { panic!("a whole batch") };
        assert_eq!(topic, format!("wardgate/1/ward-3/up/{}", header.key.class));
        Some((header.key.epoch, header.key.class, header.key.sequence))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_and_lanes_go_in_their_order() {
    let running = broker().await;
    let mut rig = Rig::new();
    rig.commit(0, Waveform, 2, 0);
    rig.commit(0, Alert, 1, 0);
    rig.commit(0, Ledger, 2, 10);
    rig.commit(1, Numeric, 2, 0);
    rig.commit(1, Alert, 2, 0);
    rig.commit(1, Ledger, 1, 10);
    rig.commit(2, Archive, 1, 10);
    rig.commit(2, Waveform, 1, 0);
    rig.commit(2, Preview, 1, 0);
    rig.commit(2, Numeric, 2, 0);
    rig.commit(2, Ledger, 1, 10);
    rig.commit(2, Alert, 1, 0);
    rig.present.send_replace((LIFE, 2));
    let mut config = config(running.broker.port);
    (config.window_messages, config.resend_s) = (64, 3600);
    rig.start(&config, &running.broker.ca_pem);
    until("all were published", || published(&running).len() == rig.keys.len()).await;
    let expected = [
        (2, Alert, 0),
        (2, Ledger, 0),
        (2, Numeric, 0),
        (2, Numeric, 1),
        (2, Preview, 0),
        (2, Waveform, 0),
        (2, Archive, 0),
        (1, Alert, 0),
        (1, Alert, 1),
        (0, Alert, 0),
        (1, Ledger, 0),
        (0, Ledger, 0),
        (0, Ledger, 1),
        (1, Numeric, 0),
        (1, Numeric, 1),
        (0, Waveform, 0),
        (0, Waveform, 1),
    ];
    assert_eq!(published(&running), expected);
    // what is committed later, and what becomes backlog later, find their places
    rig.commit(2, Waveform, 1, 0);
    until("one more was published", || published(&running).len() == expected.len() + 1).await;
    assert_eq!(published(&running).last(), Some(&(2, Waveform, 1)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_before_the_suback() {
    let running = broker().await;
    running.broker.faults().hold_suback(true);
    let mut rig = Rig::new();
    rig.commit(0, Alert, 3, 0);
    rig.start(&config(running.broker.port), &running.broker.ca_pem);
    let seen = || running.broker.seen().into_iter().map(|(_, seen)| seen).collect::<Vec<_>>();
    until("the subscription came", || seen().contains(&Seen::Subscribe("wardgate/1/ward-3/ack".into()))).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // time enough to do it wrong
    assert!(!*rig.link.borrow() && !rig.uplink().connected);
    running.broker.faults().hold_suback(false);
    until("it published", || seen().iter().any(|seen| matches!(seen, Seen::Publish { .. }))).await;
    let seen = seen();
    let first = |wanted: fn(&Seen) -> bool| seen.iter().position(wanted).unwrap();
    assert!(first(|s| *s == Seen::SubAck) < first(|s| matches!(s, Seen::Publish { .. })), "{seen:?}");
    rig.stop().await;
}
