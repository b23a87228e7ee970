//! The order in which batches go.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use wardgate_wire::Class::{self, Alert, Archive, Ledger, Numeric, Preview, Waveform};
use wardgate_wire::{BatchKey, Epoch, Life};

use super::key;
use crate::store::Held;
use crate::uplink::lanes::{LIVE_IN_A_ROW_MAX, Lanes, Rank, Turns};

fn held(life: Life, life_order: u64, epoch: Epoch, class: Class, sequences: &[RangeInclusive<u32>]) -> Held {
    Held { life, life_order, epoch, class, sequences: sequences.to_vec() }
}

/// Hands out everything that is held, one batch at a time, as a session would.
fn all(held: Vec<Held>, present: (Life, Epoch)) -> Vec<(Rank, BatchKey)> {
    let (mut lanes, mut turns, mut sent, mut order) = (Lanes::new(held, present), Turns::default(), BTreeSet::new(), Vec::new());
    while let Some((rank, key)) = turns.pick(lanes.next(|key| sent.contains(key))) {
        assert_eq!(rank, Rank::of(&key, present));
        assert!(sent.insert(key), "{key} twice");
        turns.sent(rank);
        order.push((rank, key));
    }
    order
}

#[test]
fn live_goes_by_class_then_backlog_alerts_ledger_newest_epoch() {
    const NOW: Life = 7;
    // life 9 came before life 7 on this card: its number says nothing
    let shelf = vec![
        held(9, 1, 5, Waveform, &[0..=1]),
        held(9, 1, 5, Ledger, &[0..=0]),
        held(9, 1, 6, Numeric, &[0..=1]),
        held(9, 1, 6, Alert, &[0..=0]),
        held(NOW, 2, 0, Alert, &[0..=1]),
        held(NOW, 2, 0, Waveform, &[0..=0]),
        held(NOW, 2, 0, Numeric, &[0..=0, 2..=2]),
        held(NOW, 2, 0, Ledger, &[0..=0]),
        held(NOW, 2, 1, Archive, &[0..=0]),
        held(NOW, 2, 1, Waveform, &[0..=0]),
        held(NOW, 2, 1, Preview, &[0..=0]),
        held(NOW, 2, 1, Numeric, &[3..=4]),
        held(NOW, 2, 1, Ledger, &[0..=0]),
        held(NOW, 2, 1, Alert, &[0..=0]),
    ];
    let expected = [
        // live
        key(NOW, 1, Alert, 0),
        key(NOW, 1, Ledger, 0),
        key(NOW, 1, Numeric, 3),
        key(NOW, 1, Numeric, 4),
        key(NOW, 1, Preview, 0),
        key(NOW, 1, Waveform, 0),
        key(NOW, 1, Archive, 0),
        // alerts of all epochs, the newest first, in each the oldest first
        key(NOW, 0, Alert, 0),
        key(NOW, 0, Alert, 1),
        key(9, 6, Alert, 0),
        // the ledger of all epochs
        key(NOW, 0, Ledger, 0),
        key(9, 5, Ledger, 0),
        // the rest
        key(NOW, 0, Numeric, 0),
        key(NOW, 0, Numeric, 2),
        key(NOW, 0, Waveform, 0),
        key(9, 6, Numeric, 0),
        key(9, 6, Numeric, 1),
        key(9, 5, Waveform, 0),
        key(9, 5, Waveform, 1),
    ];
    let order: Vec<_> = all(shelf, (NOW, 1)).into_iter().map(|(_, key)| key).collect();
    assert_eq!(order, expected);
}

#[test]
fn one_turn_in_nine_is_the_backlogs_while_both_wait() {
    let shelf = vec![held(1, 1, 0, Waveform, &[0..=9]), held(1, 1, 0, Alert, &[0..=0]), held(1, 1, 1, Waveform, &[0..=99])];
    let order = all(shelf, (1, 1));
    let backlog: Vec<_> = order.iter().enumerate().filter(|(_, (rank, _))| !rank.is_live()).map(|(at, (_, key))| (at, *key)).collect();
    let turn = LIVE_IN_A_ROW_MAX as usize + 1;
    assert_eq!(backlog[0], (turn - 1, key(1, 0, Alert, 0)), "its first turn is the alert's");
    assert!(backlog.iter().enumerate().all(|(n, (at, _))| *at == (n + 1) * turn - 1), "{backlog:?}");
    assert_eq!(order.len(), 111);
}

#[test]
fn a_live_alert_never_gives_its_turn_away() {
    let shelf = vec![held(1, 1, 0, Alert, &[0..=5]), held(1, 1, 1, Alert, &[0..=50])];
    let order = all(shelf, (1, 1));
    assert!(order[..51].iter().all(|(rank, _)| rank.is_live()));
}

#[test]
fn what_is_in_hand_is_passed_over_and_what_is_held_is_known() {
    let mut lanes = Lanes::new(vec![held(1, 1, 0, Numeric, &[4..=6, 9..=9]), held(1, 1, 0, Alert, &[2..=2])], (1, 0));
    let next = lanes.next(|k| k.sequence == 4 || k.sequence == 5);
    assert_eq!(next, [(Rank::Live(Alert), key(1, 0, Alert, 2)), (Rank::Live(Numeric), key(1, 0, Numeric, 6))]);
    assert_eq!(lanes.next(|_| true), []);
    for (sequence, expected) in [(3, false), (4, true), (6, true), (7, false), (9, true), (10, false)] {
        assert_eq!(lanes.holds(&key(1, 0, Numeric, sequence)), expected, "{sequence}");
    }
    assert!(!lanes.holds(&key(1, 0, Waveform, 4)) && !lanes.holds(&key(1, 1, Numeric, 4)) && !lanes.holds(&key(2, 0, Numeric, 4)));
}

#[test]
fn the_last_sequence_of_all_and_nothing_at_all_are_no_trouble() {
    let order = all(vec![held(1, 1, 0, Numeric, &[u32::MAX - 1..=u32::MAX])], (1, 0));
    assert_eq!(order.iter().map(|(_, key)| key.sequence).collect::<Vec<_>>(), [u32::MAX - 1, u32::MAX]);
    assert!(all(Vec::new(), (1, 0)).is_empty());
    assert!(!Lanes::default().holds(&key(1, 0, Numeric, 0)));
}
