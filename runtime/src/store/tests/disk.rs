//! A disk that somebody else fills: the reserve takes what counts most, nothing taken is lost, and it is whole again once there is room.

use super::*;
use crate::store::{FullBy, Room, StoreError};

const SEGMENT: u64 = 8192;
const LIMITS: Limits = Limits { segment_bytes: SEGMENT, bytes_max: 16 * SEGMENT };
const FULL: u64 = u64::MAX;

fn one(class: Class, n: u32, full: bool) -> Group {
    group([batch(key(5, 0, class, n), &payload(n, 1000)), heads(full, b"")])
}

fn commit(store: &mut Store, class: Class, n: u32) -> Result<(), StoreError> {
    let full = store.wants_full_heads();
    store.commit(&one(class, n, full))
}

/// What the disk has given files of this kind.
fn given(t: &Temp, kind: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = fs::read_dir(t.store()).expect("listed").map(|e| e.expect("listed").path());
    files.filter(|f| f.extension().is_some_and(|e| e == kind)).map(|f| fs::metadata(f).expect("there").blocks() * 512).sum()
}

#[test]
fn the_reserve_is_bytes_that_the_disk_has_given() {
    let t = Temp::new();
    let (mut store, ..) = t.open_with(LIMITS);
    assert_eq!(store.room(), Room::Ample);
    assert_eq!(given(&t, "reserve"), Limits::RESERVE_SEGMENTS * SEGMENT);
    assert_eq!(store.figures().reserve_bytes, Limits::RESERVE_SEGMENTS * SEGMENT);
    assert_eq!(store.figures().bytes_on_disk, 0);
}

//= PROMISES.md#P96
#[test]
fn on_a_full_disk_the_group_in_hand_then_alerts_then_what_frees_is_written() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open_with(LIMITS);
    store.room();
    for n in 0..20 {
        commit(&mut store, Class::Numeric, n).expect("there is room");
    }
    assert_eq!(store.room(), Room::Ample);
    store.folder.faults.taken.store(FULL, Relaxed);
    commit(&mut store, Class::Numeric, 20).expect("the group in hand goes to the reserve");
    assert_eq!(store.room(), Room::Reserve);
    assert!(store.no_room(Room::Reserve).contains("the file system has no room left; free space on it"));
    let mut alerts = 0;
    let error = loop {
        match commit(&mut store, Class::Alert, alerts) {
            Ok(()) => alerts += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { by: FullBy::Disk, .. }), "{error}");
    assert!(!store.has_news(), "nothing was written, any group may follow");
    assert!(u64::from(alerts) * 1000 > SEGMENT, "two segments of alerts: {alerts}");
    assert_eq!(store.room(), Room::Spent);
    assert_eq!(keys(&shelf).len() as u32, 21 + alerts, "nothing taken is lost");
    assert_eq!(given(&t, "reserve"), 2 * SEGMENT, "two are for copying");
    // what was acknowledged can be deleted, and the disk has room for the reserve again
    let before = t.files().len();
    assert!(!store.could_free());
    shelf.acknowledge(&up_to(key(5, 0, Class::Numeric, 12), digest_of(&payload(12, 1000))));
    assert!(store.could_free() && store.has_news());
    store.commit(&group([heads(true, b"")])).expect("it frees more than it takes");
    assert!(t.files().len() < before);
    drop((store, shelf));
    let (mut store, shelf, found) = t.open_with(LIMITS);
    assert_eq!(found.torn, []);
    assert_eq!(keys(&shelf).len() as u32, 8 + alerts);
    assert_eq!(store.room(), Room::Ample);
    assert_eq!(given(&t, "reserve"), Limits::RESERVE_SEGMENTS * SEGMENT, "it is whole again");
}

#[test]
fn room_that_comes_back_is_the_reserves_first() {
    let t = Temp::new();
    let (mut store, ..) = t.open_with(LIMITS);
    store.room();
    commit(&mut store, Class::Numeric, 0).expect("there is room");
    store.folder.faults.taken.store(FULL, Relaxed);
    for n in 1..5 {
        commit(&mut store, Class::Numeric, n).expect("the rest of a block, then the reserve");
    }
    assert_eq!(store.room(), Room::Reserve);
    assert!(commit(&mut store, Class::Waveform, 2).is_ok(), "in the segment that the disk has given already");
    store.folder.faults.taken.store(0, Relaxed);
    assert_eq!(store.room(), Room::Ample);
    assert_eq!(given(&t, "reserve"), Limits::RESERVE_SEGMENTS * SEGMENT);
}

#[test]
fn a_disk_that_fills_between_the_look_and_the_write_costs_nothing() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open_with(LIMITS);
    store.room();
    commit(&mut store, Class::Numeric, 0).expect("there is room");
    for left in [0, 500, 1000] {
        store.folder.faults.left_per_mille.store(left, Relaxed);
        store.folder.faults.writes.store(1, Relaxed);
        let n = keys(&shelf).len() as u32;
        commit(&mut store, Class::Numeric, n).expect("the same group, into the reserve");
        store.room();
    }
    drop((store, shelf));
    let (_, shelf, _) = t.open_with(LIMITS);
    assert_eq!(read_all(&shelf).len(), 4);
}

#[test]
fn at_the_bound_the_reserve_shrinks_by_what_is_written() {
    let t = Temp::new();
    let (mut store, ..) = t.open_with(LIMITS);
    let mut n = 0;
    while store.room() < Room::Spent {
        let class = if store.room() < Room::Reserve { Class::Numeric } else { Class::Alert };
        commit(&mut store, class, n).expect("there is room for it");
        let all = given(&t, "reserve") + given(&t, "segment");
        assert!(all <= LIMITS.bytes_max, "{all} of {} bytes", LIMITS.bytes_max);
        n += 1;
    }
    assert!(store.no_room(Room::Spent).contains("bytes_max = 131072"), "{}", store.no_room(Room::Spent));
}

#[test]
fn a_life_killed_while_the_disk_is_full_is_succeeded_on_the_rest_of_the_reserve() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open_with(LIMITS);
    store.room();
    commit(&mut store, Class::Numeric, 0).expect("there is room");
    store.folder.faults.taken.store(FULL, Relaxed);
    for n in 1..5 {
        commit(&mut store, Class::Numeric, n).expect("the rest of a block, then the reserve");
    }
    drop((store, shelf)); // killed: the segment is longer on the disk than it is
    assert!(given(&t, "segment") > SEGMENT);
    let (mut store, shelf, _) = t.open_with(LIMITS);
    store.folder.faults.taken.store(FULL, Relaxed);
    assert_eq!(store.room(), Room::Reserve);
    assert_eq!(given(&t, "segment"), SEGMENT, "given back");
    commit(&mut store, Class::Ledger, 0).expect("the next life's opening");
    assert_eq!(keys(&shelf).len(), 6);
}
