//! Writes, flushes and deletions that fail: the same bytes in a new segment, and nothing believed too early.

use super::*;
use crate::store::{FullBy, StoreError};

fn numbered(n: u32, full: bool) -> Group {
    group([batch(key(5, 0, Class::Numeric, n), &payload(n, 100)), state("bed-1", &[n as u8]), heads(full, &[n as u8])])
}

fn check(t: &Temp, n: u32, heads: &[(bool, u8)]) {
    let (_, shelf, found) = t.open();
    let all: Vec<_> = (0..n).map(|n| (key(5, 0, Class::Numeric, n), payload(n, 100))).collect();
    assert_eq!(read_all(&shelf), all);
    assert_eq!(shelf.waiting().0, u64::from(n));
    assert_eq!(found.heads, heads.iter().map(|&(full, b)| (full, vec![b])).collect::<Vec<_>>());
    assert_eq!(found.states["bed-1"], [n as u8 - 1]);
}

#[test]
fn a_failed_flush_goes_to_a_new_segment_with_the_same_bytes() {
    for keeps_the_tail in [false, true] {
        let t = Temp::new();
        let (mut store, shelf, _) = t.open();
        store.commit(&numbered(0, true)).expect("committed");
        store.folder.faults.flushes.store(2, Relaxed);
        store.folder.faults.deletes.store(if keeps_the_tail { 9 } else { 0 }, Relaxed);
        for _ in 0..2 {
            assert!(matches!(store.commit(&numbered(1, false)), Err(StoreError::Io { .. })));
            assert!(store.has_news());
            assert_eq!(keys(&shelf).len(), 1, "not flushed is not held");
            assert!(shelf.read(&key(5, 0, Class::Numeric, 1)).expect("no error").is_none());
            let other = store.commit(&numbered(2, false));
            assert!(matches!(other, Err(StoreError::Unfinished { group: 1 })), "another group under the same number");
            assert!(store.wants_full_heads());
        }
        store.commit(&numbered(1, false)).expect("committed");
        assert!(store.wants_full_heads(), "the new segment has only a difference");
        assert_eq!(store.figures().failed_commits, 2);
        let files = t.files();
        assert_eq!(files.len(), if keeps_the_tail { 3 } else { 2 });
        if keeps_the_tail {
            let bytes: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).expect("readable")).collect();
            let group = &bytes[2][crate::store::format::HEADER_BYTES..];
            assert!(bytes[0].ends_with(group) && bytes[1].ends_with(group), "bytes changed between attempts");
        }
        drop((store, shelf));
        check(&t, 2, &[(true, 0), (false, 1)]);
        let (mut store, ..) = t.open();
        store.commit(&numbered(2, true)).expect("committed");
        drop(store);
        check(&t, 3, &[(true, 2)]);
    }
}

#[test]
fn a_failed_write_leaves_no_trace_wherever_it_stopped() {
    for left in [0, 1, 300, 999, 1000] {
        for begins in [true, false] {
            let t = Temp::new();
            let (mut store, _, _) = t.open();
            let n = u32::from(!begins);
            if !begins {
                store.commit(&numbered(0, true)).expect("committed");
            }
            store.folder.faults.left_per_mille.store(left, Relaxed);
            store.folder.faults.writes.store(1, Relaxed);
            let error = store.commit(&numbered(n, begins)).expect_err("no room");
            assert!(matches!(error, StoreError::Full { by: FullBy::Disk, .. }), "{error}");
            assert!(error.to_string().contains(t.store().to_str().expect("text")));
            store.commit(&numbered(n, begins)).expect("committed");
            drop(store);
            check(&t, n + 1, if begins { &[(true, 0)] } else { &[(true, 0), (false, 1)] });
        }
    }
}

#[test]
fn a_crash_after_a_failed_attempt_keeps_what_was_committed() {
    for left in [0, 500, 1000] {
        let t = Temp::new();
        let (mut store, shelf, _) = t.open();
        store.commit(&numbered(0, true)).expect("committed");
        store.folder.faults.left_per_mille.store(left, Relaxed);
        store.folder.faults.writes.store(1, Relaxed);
        store.folder.faults.deletes.store(9, Relaxed); // the process ends before it can cut the rest off
        store.commit(&numbered(1, false)).expect_err("refused");
        drop((store, shelf));
        // written whole and not flushed: whether it is there is the disk's choice; here it is
        check(&t, if left == 1000 { 2 } else { 1 }, if left == 1000 { &[(true, 0), (false, 1)] } else { &[(true, 0)] });
    }
}

#[test]
fn a_new_file_counts_only_after_the_folder_is_flushed() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    store.folder.faults.folder_flushes.store(1, Relaxed);
    store.commit(&numbered(0, true)).expect_err("the folder was not flushed");
    assert!(keys(&shelf).is_empty());
    store.commit(&numbered(0, true)).expect("committed");
    drop((store, shelf));
    check(&t, 1, &[(true, 0)]);
}

#[test]
fn found_is_flushed_before_it_is_believed() {
    let t = Temp::new();
    let (mut store, ..) = t.open();
    assert_eq!(store.folder.faults.flushed.load(Relaxed), 0);
    fill(&mut store, 5, 0..9, 1000);
    drop(store);
    let (store, ..) = t.open();
    assert_eq!(store.folder.faults.flushed.load(Relaxed) as usize, t.files().len() + 1, "every segment, then the folder");
}

#[test]
fn a_failed_deletion_is_tried_again_and_hurts_no_commit() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 5, 0..9, 1000);
    let before = t.files().len();
    shelf.acknowledge(&AckEntry::Closed { life: 5, epoch: 0 });
    store.folder.faults.deletes.store(1, Relaxed);
    fill(&mut store, 5, 9..10, 10);
    assert_eq!(t.files().len(), before - 1, "two were free, one could not be deleted");
    assert_eq!(store.figures().failed_deletions, 1);
    fill(&mut store, 5, 10..11, 10);
    assert_eq!(t.files().len(), before - 2);
    assert_eq!(keys(&shelf), [key(5, 0, Class::Numeric, 9), key(5, 0, Class::Numeric, 10)]);
}

#[test]
fn a_life_with_nothing_to_write_writes_nothing() {
    let t = Temp::new();
    let (mut store, shelf, found) = t.open();
    assert_eq!((found.heads.len(), shelf.waiting(), t.files().len()), (0, (0, 0), 0));
    store.commit(&Group::default()).expect("nothing to do");
    assert!(t.files().is_empty() && store.wants_full_heads() && !store.has_news());
    store.commit(&numbered(0, true)).expect("committed");
    drop((store, shelf));
    let before = fs::read(&t.files()[0]).expect("readable");
    for _ in 0..5 {
        let (mut store, ..) = t.open();
        store.commit(&Group::default()).expect("nothing to do");
        assert!(store.wants_full_heads());
    }
    assert_eq!(t.files().len(), 1);
    assert_eq!(fs::read(&t.files()[0]).expect("readable"), before);
}

#[test]
fn the_stores_own_kinds_are_refused_from_outside() {
    let t = Temp::new();
    let (mut store, ..) = t.open();
    let error = store.commit(&group([Record::Other { kind: 3, bytes: vec![] }])).expect_err("ours");
    assert!(matches!(error, StoreError::Kind { kind: 3 }), "{error}");
    assert!(t.files().is_empty() && !store.has_news());
}
