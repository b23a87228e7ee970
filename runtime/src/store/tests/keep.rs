//! What is let go and what stays: acknowledgements, deletion, copies, the bound.

use std::collections::BTreeSet;

use super::*;
use crate::store::{FullBy, StoreError};

const N: Class = Class::Numeric;

//= PROMISES.md#P9
#[test]
fn delivering_everything_keeps_the_newest_heads_and_states() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    store.commit(&group([state("written-once", b"w"), state("bed-1", b"old"), heads(true, b"H0")])).expect("committed");
    fill(&mut store, 5, 0..20, 1000);
    store.commit(&group([state("bed-1", b"new"), heads(store.wants_full_heads(), b"x")])).expect("committed");
    assert!(t.files().len() >= 5);
    shelf.acknowledge(&up_to(key(5, 0, N, 19), digest_of(&payload(19, 1000))));
    assert_eq!(shelf.waiting(), (0, 0));
    // until the group with full heads is flushed every file stays
    assert!(t.files().len() >= 5);
    while !store.wants_full_heads() {
        store.commit(&group([state("pad", &[0; 900]), heads(false, b"d")])).expect("committed");
    }
    store.commit(&group([heads(true, b"H1")])).expect("committed");
    store.commit(&group([heads(false, b"d1")])).expect("committed");
    assert_eq!(t.files().len(), 1, "all but the segment in use");
    drop((store, shelf));

    let (mut store, shelf, found) = t.open();
    assert_eq!(found.heads, [(true, b"H1".to_vec()), (false, b"d1".to_vec())]);
    assert_eq!(found.states["written-once"], b"w");
    assert_eq!(found.states["bed-1"], b"new");
    assert!(found.torn.is_empty() && keys(&shelf).is_empty());
    // and over many lives that write only heads, each found segment goes and nothing is forgotten
    for n in 0..5_u8 {
        store.commit(&group([heads(true, &[n])])).expect("committed");
        assert_eq!(t.files().len(), 1);
        drop(store);
        let (next, _, found) = t.open();
        assert_eq!((found.heads, found.states.len()), (vec![(true, vec![n])], 3));
        assert_eq!(found.states["written-once"], b"w");
        store = next;
    }
}

#[test]
fn nothing_goes_before_newer_full_heads_are_flushed() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 5, 0..4, 1000);
    shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 });
    assert!(store.wants_full_heads());
    store.commit(&group([heads(false, b"only a difference")])).expect("committed");
    assert_eq!(t.files().len(), 2, "the newest full heads lie in the first");
    store.folder.faults.flushes.store(1, Relaxed);
    store.commit(&group([heads(true, b"H")])).expect_err("not flushed");
    assert!(fs::exists(&t.files()[0]).expect("looked") && t.files()[0].ends_with("0000000001.segment"));
    store.commit(&group([heads(true, b"H")])).expect("committed");
    store.commit(&group([heads(false, b"d")])).expect("committed");
    assert!(!t.files()[0].ends_with("0000000001.segment"));
    drop((store, shelf));
    assert_eq!(t.open().2.heads, [(true, b"H".to_vec()), (false, b"d".to_vec())]);
}

#[test]
fn acknowledgements_take_away_only_what_they_speak_of() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 5, 0..10, 500);
    store.commit(&group([batch(key(5, 1, N, 0), b"e1"), batch(key(5, 0, Class::Alert, 0), b"a"), heads(true, b"")])).expect("committed");
    store.commit(&group([batch(key(2, 7, N, 0), b"another life"), heads(true, b"")])).expect("committed");
    let ack =
        |high: u32, digest, missing: &[(u32, u32)]| AckEntry::UpTo { life: 5, epoch: 0, class: N, high, digest, missing: missing.to_vec() };
    let d = |n: u32| digest_of(&payload(n, 500));
    assert!(shelf.holds_older_than(5, 0), "life 2 is not ours");

    assert_eq!(shelf.acknowledge(&ack(3, d(4), &[])), 0, "the digest is not that of 3");
    assert_eq!(shelf.refused(), 1);
    assert_eq!(shelf.acknowledge(&ack(6, d(6), &[(1, 2), (4, 4), (9, 3)])), 4);
    assert_eq!(shelf.held()[1].sequences, [1..=2, 4..=4, 7..=9]);
    assert_eq!(shelf.acknowledge(&ack(6, d(6), &[(1, 2), (4, 4)])), 0, "a repeat");
    assert_eq!(shelf.acknowledge(&ack(2, d(2), &[])), 2, "an older one, later");
    assert_eq!(shelf.acknowledge(&ack(u32::MAX, Digest([9; 16]), &[(0, 8)])), 1, "a high that is not held here");
    assert_eq!(shelf.acknowledge(&AckEntry::Closed { life: 77, epoch: 0 }), 0);
    assert_eq!(shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 9 }), 0);
    assert_eq!(shelf.acknowledge(&AckEntry::Other { kind: 9 }), 0);
    assert_eq!(
        shelf.held().iter().map(|h| (h.life, h.epoch, h.class)).collect::<Vec<_>>(),
        [(5, 0, Class::Alert), (5, 0, N), (5, 1, N), (2, 7, N)]
    );
    assert_eq!(shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 }), 4);
    assert_eq!(keys(&shelf), [key(5, 1, N, 0), key(2, 7, N, 0)]);
    assert!(store.has_news());

    // lost with the process, unless a commit came between
    drop((store, shelf));
    let (mut store, shelf, _) = t.open();
    assert_eq!(keys(&shelf).len(), 13);
    shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 });
    shelf.acknowledge(&AckEntry::Closed { life: 2, epoch: 7 });
    store.folder.faults.flushes.store(1, Relaxed);
    store.commit(&group([heads(true, b"")])).expect_err("refused");
    store.commit(&group([heads(true, b"")])).expect("committed");
    assert!(!store.has_news());
    assert!(shelf.holds_older_than(5, 2) && !shelf.holds_older_than(5, 1));
    drop((store, shelf));
    assert_eq!(keys(&t.open().1), [key(5, 1, N, 0)]);
}

#[test]
fn acknowledgements_outlive_the_segment_that_recorded_them() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 5, 0..4, 1000); // a segment that one missing batch will hold
    assert!(store.wants_full_heads());
    shelf.acknowledge(&AckEntry::UpTo {
        life: 5,
        epoch: 0,
        class: N,
        high: 3,
        digest: digest_of(&payload(3, 1000)),
        missing: vec![(2, 2)],
    });
    for round in 0..4_u32 {
        for n in 0..5 {
            let full = store.wants_full_heads();
            store.commit(&group([batch(key(5, round + 1, N, n), &payload(n, 1000)), heads(full, b"")])).expect("committed");
        }
        shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: round + 1 });
    }
    assert!(t.files().len() <= 3, "the segments between are gone: {:?}", t.files());
    assert!(t.files()[0].ends_with("0000000001.segment") && !t.files()[1].ends_with("0000000002.segment"));
    drop((store, shelf));
    let held = keys(&t.open().1);
    assert_eq!(held.iter().filter(|k| k.epoch == 0).collect::<Vec<_>>(), [&key(5, 0, N, 2)]);
}

#[test]
fn unknown_records_are_kept_copied_and_handed_back() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    let other = |n: u8| Record::Other { kind: 40 + u64::from(n), bytes: vec![n; 50] };
    store.commit(&group([other(1), other(2), heads(true, b"H")])).expect("committed");
    fill(&mut store, 5, 0..12, 1000);
    shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 });
    fill(&mut store, 5, 12..18, 1000);
    assert!(!t.files()[0].ends_with("0000000001.segment"), "its segment is gone");
    let expected = [(41, vec![1; 50]), (42, vec![2; 50])];
    assert_eq!(store.others().expect("readable"), expected);
    drop((store, shelf));
    let (store, _, found) = t.open();
    assert_eq!(found.others, [(41, 1), (42, 1)].into());
    assert_eq!(store.others().expect("readable"), expected);
}

#[test]
fn copies_are_bounded_and_still_free_the_segment_in_the_end() {
    let t = Temp::new();
    let limits = Limits { segment_bytes: 1 << 20, bytes_max: 64 << 20 };
    let (mut store, _, _) = t.open_with(limits);
    let names: BTreeSet<String> = (0..12).map(|n| format!("bed-{n}")).collect();
    let all = names.iter().map(|n| state(n, &[7; 100_000]));
    store.commit(&group(all.chain([heads(true, b"")]))).expect("committed");
    assert!(store.wants_full_heads());
    store.commit(&group([heads(true, b"")])).expect("committed");
    assert_eq!(t.files().len(), 2);
    let second = fs::metadata(&t.files()[1]).expect("there").len();
    assert!((200_000..400_000).contains(&second), "{second}");
    let mut commits = 1;
    while t.files().len() > 1 && commits < 20 {
        store.commit(&group([heads(store.wants_full_heads(), b"")])).expect("committed");
        commits += 1;
    }
    assert!(t.files()[0].ends_with("0000000002.segment") || t.files().len() == 1, "{:?}", t.files());
    drop(store);
    let (_, _, found) = t.open_with(limits);
    assert_eq!(found.states.keys().cloned().collect::<BTreeSet<_>>(), names);
    assert!(found.states.values().all(|s| *s == [7; 100_000]));
}

#[test]
fn a_full_store_refuses_names_the_remedy_and_goes_on_once_acknowledged() {
    let t = Temp::new();
    let limits = Limits { segment_bytes: 8192, bytes_max: 80 << 10 };
    let (mut store, shelf, _) = t.open_with(limits);
    let used = || t.files().iter().map(|f| fs::metadata(f).expect("there").len().next_multiple_of(4096)).sum::<u64>();
    let commit = |store: &mut Store, class, n: u32| {
        let full = store.wants_full_heads();
        let done = store.commit(&group([batch(key(5, 0, class, n), &payload(n, 1000)), heads(full, b"")]));
        assert!(used() <= limits.bytes_max, "{} over the bound", used());
        assert_eq!(used(), store.figures().bytes_on_disk);
        done
    };
    let mut n = 0;
    let error = loop {
        match commit(&mut store, N, n) {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(error, StoreError::Full { by: FullBy::Bound { .. }, .. }), "{error}");
    assert!(error.to_string().contains(t.store().to_str().expect("text")) && error.to_string().contains("bytes_max"), "{error}");
    assert_eq!(store.room_bytes() / 4096, 0);
    assert!(!store.has_news(), "nothing was written, any group may follow");
    assert!(commit(&mut store, Class::Waveform, 0).is_err());
    let mut alerts = 0;
    while commit(&mut store, Class::Alert, alerts).is_ok() {
        alerts += 1;
    }
    assert!(alerts >= 4, "the reserve takes alerts: {alerts}");
    assert_eq!(keys(&shelf).len() as u32, n + alerts, "nothing taken is lost");
    // one segment acknowledged: the group that frees it fits, whatever it is
    shelf.acknowledge(&up_to(key(5, 0, N, 20), digest_of(&payload(20, 1000))));
    commit(&mut store, N, n).expect("there is room again");
    drop((store, shelf));
    let (mut store, shelf, _) = t.open_with(limits);
    assert_eq!(keys(&shelf).len() as u32, n + alerts - 20);
    shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 });
    commit(&mut store, N, n + 1).expect("empty");
    assert_eq!(t.files().len(), 1);
}

#[test]
fn lives_are_told_apart_and_ordered_as_they_wrote() {
    let t = Temp::new();
    for life in [900, 20, 500] {
        let (mut store, ..) = t.open();
        store.commit(&group([batch(key(life, 0, Class::Ledger, 0), b"opening"), heads(true, b"")])).expect("committed");
    }
    let (_, shelf, _) = t.open();
    assert_eq!(shelf.held().iter().map(|h| h.life).collect::<Vec<_>>(), [900, 20, 500]);
    assert!(shelf.held().is_sorted_by(|a, b| a.life_order < b.life_order));
    assert_eq!(t.files().len(), 3, "no life writes to another's file");
}

#[test]
fn reads_go_on_while_commits_flush() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    let reader = std::thread::spawn(move || {
        let (mut read, mut high) = (0_u64, None);
        while high != Some(399) {
            let all = keys(&shelf);
            for k in all.iter().rev().take(5).chain(all.iter().take(5)) {
                let Some((digest, bytes)) = shelf.read(k).expect("whole") else { continue };
                assert_eq!((digest, &bytes), (digest_of(&bytes), &payload(k.sequence, 300)));
                read += 1;
            }
            high = all.last().map(|k| k.sequence).max(high);
            if let Some(k) = all.len().checked_sub(20).map(|at| all[at]) {
                shelf.acknowledge(&up_to(k, digest_of(&payload(k.sequence, 300))));
            }
        }
        (read, shelf)
    });
    fill(&mut store, 5, 0..400, 300);
    let (read, shelf) = reader.join().expect("the reader found every batch whole");
    assert!(read > 0);
    fill(&mut store, 5, 400..401, 300);
    assert!(t.files().len() < 12, "acknowledged segments went meanwhile: {}", t.files().len());
    assert!(keys(&shelf).contains(&key(5, 0, N, 400)));
}
