//! Cut and flipped at every byte: what opens is exactly the whole groups before, and never an error.

use super::*;
use crate::store::contents::Contents;
use crate::store::folder::load;
use crate::store::{Damage, StoreError, format};

/// Three groups in one segment; the file and where the last group begins.
fn three(t: &Temp) -> (PathBuf, Vec<u8>, usize) {
    let (mut store, ..) = t.open();
    let mut start = 0;
    for n in 0..3_u8 {
        start = t.files().first().map_or(0, |f| fs::metadata(f).expect("there").len() as usize);
        let g = group([batch(key(9, 0, Class::Numeric, u32::from(n)), &[n; 40]), state("bed-1", &[b's', n]), heads(n == 0, &[b'h', n])]);
        store.commit(&g).expect("committed");
    }
    let file = t.files().remove(0);
    let bytes = fs::read(&file).expect("readable");
    (file, bytes, start)
}

fn is_first(t: &Temp, groups: u8) -> (Store, Shelf, Found) {
    let (store, shelf, found) = t.open();
    let all: Vec<_> = (0..groups).map(|n| (key(9, 0, Class::Numeric, u32::from(n)), vec![n; 40])).collect();
    assert_eq!(read_all(&shelf), all);
    assert_eq!(found.heads, (0..groups).map(|n| (n == 0, vec![b'h', n])).collect::<Vec<_>>());
    assert_eq!(found.states.get("bed-1"), groups.checked_sub(1).map(|n| vec![b's', n]).as_ref());
    (store, shelf, found)
}

/// Goes on in a new segment and leaves the found one as it is; both are there at the next start.
fn goes_on(t: &Temp, groups: u8, mut opened: (Store, Shelf, Found), broken: &[u8]) {
    let file = t.files().remove(0);
    opened.0.commit(&group([batch(key(10, 0, Class::Alert, 0), b"later"), heads(true, b"H")])).expect("committed");
    assert_eq!(t.files().len(), 2);
    assert_eq!(fs::read(&file).expect("readable"), broken, "a found segment was written to");
    drop(opened);
    let (_, shelf, found) = t.open();
    assert_eq!(keys(&shelf).len(), usize::from(groups) + 1);
    assert_eq!(found.heads, [(true, b"H".to_vec())]);
    fs::remove_file(&t.files()[1]).expect("removed");
}

//= PROMISES.md#P8
#[test]
fn last_group_cut_at_every_byte_opens_to_whole_earlier_groups() {
    let t = Temp::new();
    let (file, whole, start) = three(&t);
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).expect("written");
        let groups = if cut >= start { 2 } else { continue };
        let opened = is_first(&t, groups);
        let damage: Vec<_> = opened.2.torn.iter().map(|x| (x.damage.clone(), x.offset, x.bytes, x.groups_kept)).collect();
        let tail = (Damage::Tail, start as u64, (cut - start) as u64, 2);
        assert_eq!(damage, if cut == start { vec![] } else { vec![tail] });
        if cut % 5 == 0 {
            goes_on(&t, groups, opened, &whole[..cut]);
        }
    }
    fs::write(&file, &whole).expect("written");
    assert!(is_first(&t, 3).2.torn.is_empty());
}

//= PROMISES.md#P8
#[test]
fn last_group_flipped_at_every_byte_opens_to_whole_earlier_groups() {
    let t = Temp::new();
    let (file, whole, start) = three(&t);
    for at in start..whole.len() {
        for bit in [1 << (at % 8), 0xff] {
            let mut broken = whole.clone();
            broken[at] ^= bit;
            fs::write(&file, &broken).expect("written");
            let opened = is_first(&t, 2);
            assert_eq!(opened.2.torn.len(), 1);
            assert_eq!((&opened.2.torn[0].damage, opened.2.torn[0].offset), (&Damage::Tail, start as u64));
            if at % 5 == 0 {
                goes_on(&t, 2, opened, &broken);
            }
        }
    }
}

#[test]
fn whole_groups_of_another_time_are_not_believed() {
    let t = Temp::new();
    let (file, whole, start) = three(&t);
    for stale in [&whole[format::HEADER_BYTES..start], &whole[start..]] {
        fs::write(&file, [&whole, stale].concat()).expect("written");
        let opened = is_first(&t, 3);
        assert_eq!((opened.2.torn[0].offset, opened.2.torn[0].groups_kept), (whole.len() as u64, 3));
    }
}

#[test]
fn any_byte_of_any_group_cut_or_flipped_opens_to_a_prefix() {
    let t = Temp::new();
    let (file, whole, start) = three(&t);
    let first = format::HEADER_BYTES;
    let ends: Vec<usize> = {
        let mut contents = Contents::default();
        let one = format::read_group(&whole, first, &mut contents).expect("whole");
        vec![first, first + one, start, whole.len()]
    };
    for at in 0..start {
        let mut broken = whole.clone();
        broken[at] ^= 0x10;
        fs::write(&file, &broken).expect("written");
        let groups = ends.iter().filter(|&&e| e <= at).count().saturating_sub(1) as u8;
        let opened = is_first(&t, groups);
        assert_eq!(opened.2.torn[0].damage, Damage::Middle, "flushed groups lie behind byte {at}");
        fs::write(&file, &whole[..at]).expect("written");
        drop(opened);
        let opened = is_first(&t, groups);
        assert!(opened.2.torn.iter().all(|x| x.damage == Damage::Tail));
    }
}

#[test]
fn footer_says_what_a_scan_finds_and_broken_at_every_byte_falls_back_to_it() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 3, 0..2, 740);
    store.commit(&group([state("bed-1", b"one"), Record::Other { kind: 77, bytes: vec![5; 9] }, heads(false, b"x")])).expect("committed");
    shelf.acknowledge(&up_to(key(3, 0, Class::Numeric, 0), digest_of(&payload(0, 740))));
    fill(&mut store, 3, 2..5, 740);
    assert!(store.wants_full_heads(), "the segment is full");
    let held = read_all(&shelf);
    assert_eq!(held.len(), 4);
    drop((store, shelf));

    let file = t.files().remove(0);
    let whole = fs::read(&file).expect("readable");
    let from_footer = load(&t.store(), 1).expect("loaded");
    let trailer: &[u8; format::TRAILER_BYTES] = whole.last_chunk().expect("long enough");
    let start = format::footer_offset(trailer, whole.len() as u64).expect("a footer") as usize;
    assert!(from_footer.torn.is_none());
    // the footer alone answers: with a group rotten, it still does
    let mut broken = whole.clone();
    broken[format::HEADER_BYTES + 25] ^= 1;
    fs::write(&file, &broken).expect("written");
    assert_eq!(load(&t.store(), 1).expect("loaded").contents, from_footer.contents);

    let check = |broken: &[u8], whole_groups_only: bool| {
        fs::write(&file, broken).expect("written");
        let scanned = load(&t.store(), 1).expect("loaded");
        assert_eq!(scanned.contents, from_footer.contents);
        assert_eq!(scanned.torn.is_none(), whole_groups_only);
        let (_, shelf, found) = t.open();
        assert_eq!(read_all(&shelf), held);
        assert_eq!(found.states["bed-1"], b"one");
        assert_eq!(found.others, [(77, 1)].into());
    };
    for at in start..whole.len() {
        check(&whole[..at], at == start);
        let mut broken = whole.clone();
        broken[at] ^= 1 << (at % 8);
        check(&broken, false);
    }
    let mut longer = whole.clone();
    longer.push(0);
    check(&longer, false);
}

#[test]
fn a_group_missing_between_two_segments_is_named() {
    let t = Temp::new();
    let (mut store, ..) = t.open();
    fill(&mut store, 3, 0..8, 1000);
    drop(store);
    let first = t.files().remove(0);
    let mut all = Contents::default();
    let bytes = fs::read(&first).expect("readable");
    let mut at = format::HEADER_BYTES;
    let mut last = at;
    while let Some(n) = format::read_group(&bytes, at, &mut all) {
        (last, at) = (at, at + n);
    }
    fs::write(&first, &bytes[..last]).expect("cut at a group's border");
    let (_, shelf, found) = t.open();
    assert_eq!(found.torn.iter().map(|x| (&x.damage, &x.file, x.offset)).collect::<Vec<_>>(), [(&Damage::Middle, &first, last as u64)]);
    assert_eq!(keys(&shelf).len(), 7);
}

#[test]
fn a_damaged_segment_is_set_aside_not_deleted() {
    let t = Temp::new();
    let (file, whole, _) = three(&t);
    let mut broken = whole.clone();
    broken[format::HEADER_BYTES + 150] ^= 1; // in the second group
    fs::write(&file, &broken).expect("written");
    let (mut store, shelf, found) = t.open();
    assert_eq!(found.torn[0].damage, Damage::Middle);
    shelf.acknowledge(&AckEntry::Closed { life: 9, epoch: 0 });
    store.commit(&group([heads(true, b"H")])).expect("committed");
    drop((store, shelf));
    assert_eq!(fs::read(file.with_extension("damaged")).expect("still there"), broken);
    assert!(!file.exists());
    let (store, _, found) = t.open();
    assert_eq!(found.torn.iter().map(|x| &x.damage).collect::<Vec<_>>(), [&Damage::Aside]);
    assert_eq!(found.states["bed-1"], [b's', 0]);
    assert_eq!(store.figures().bytes_on_disk, 8192, "what is set aside counts");
}

#[test]
fn rot_is_noticed_at_reading_one_batch() {
    let t = Temp::new();
    let (mut store, shelf, _) = t.open();
    fill(&mut store, 3, 0..9, 1000);
    let (file, bad) = (t.files().remove(0), key(3, 0, Class::Numeric, 1));
    let mut bytes = fs::read(&file).expect("readable");
    let needle = payload(1, 1000);
    let at = bytes.windows(1000).position(|w| w == needle).expect("there");
    bytes[at + 500] ^= 4;
    fs::write(&file, &bytes).expect("written");
    let error = shelf.read(&bad).expect_err("rotten");
    assert!(matches!(&error, StoreError::Rotten { key, .. } if *key == bad), "{error}");
    assert!(error.to_string().contains(file.to_str().expect("text")));
    assert!(shelf.read(&bad).expect("no longer held").is_none());
    assert_eq!(keys(&shelf).len(), 8);
    for k in keys(&shelf) {
        assert!(shelf.read(&k).expect("readable").is_some());
    }
    shelf.acknowledge(&AckEntry::Closed { life: 3, epoch: 0 });
    store.commit(&group([heads(true, b"H")])).expect("committed");
    assert!(file.with_extension("damaged").exists() && !file.exists());
}

#[test]
fn what_is_not_ours_or_too_new_is_refused() {
    let t = Temp::new();
    let (file, whole, _) = three(&t);
    assert!(fs::metadata(t.store()).is_ok());
    let (_store, ..) = t.open();
    let second = Store::open(&t.store(), SMALL, 1).err().expect("locked");
    assert!(matches!(second, StoreError::InUse { .. }), "{second}");
    drop(_store);

    fs::write(file.with_file_name("0000000002.segment"), format::header(1, 2)).expect("written");
    let foreign = Store::open(&t.store(), SMALL, 1).err().expect("foreign");
    assert!(matches!(foreign, StoreError::Foreign { .. }), "{foreign}");
    fs::remove_file(file.with_file_name("0000000002.segment")).expect("removed");

    let mut later = whole.clone();
    later[3] = 1;
    let check = format::digest(&[&later[..20]]).0;
    later[20..36].copy_from_slice(&check);
    fs::write(&file, &later).expect("written");
    let later = Store::open(&t.store(), SMALL, 1).err().expect("too new");
    assert!(matches!(later, StoreError::Format { format: 1, .. }), "{later}");

    let small = Store::open(&t.store(), Limits { segment_bytes: 4096, bytes_max: 8192 }, 1).err().expect("too small");
    assert!(matches!(small, StoreError::Limits { .. }), "{small}");
}

/// Its digest is no seal: whoever can write to the card can make one.
#[test]
fn a_footer_that_speaks_of_what_is_not_there_is_not_believed() {
    let t = Temp::new();
    let (_, whole, start) = three(&t);
    let mut contents = Contents::default();
    let length = format::read_group(&whole, start, &mut contents).expect("whole");
    let at = (start + length) as u64;
    let reads = |contents: &Contents| format::read_footer(&format::footer(1, 1, contents, at), 1, at).is_some();
    assert!(reads(&contents));
    for by in [length as u64, u64::MAX / 2] {
        let mut beyond = contents.clone();
        beyond.shift(by);
        assert!(!reads(&beyond), "{by} bytes behind the footer's beginning");
    }
    assert!(!reads(&Contents { first_group: u64::MAX, ..contents.clone() }), "groups without numbers");
    assert!(format::read_group(&format::group(u64::MAX, &[]), 0, &mut Contents::default()).is_none(), "a group without a next one");
}

#[test]
fn footers_and_groups_with_any_bytes_never_panic() {
    let t = Temp::new();
    let (_, whole, start) = three(&t);
    let mut contents = Contents::default();
    format::read_group(&whole, start, &mut contents).expect("whole");
    let footer = format::footer(1, 1, &contents, 4000);
    let mut w = wardgate_wire::bytes::Writer::new();
    contents.write(&mut w);
    let mut dice = Dice(11);
    for _ in 0..20_000 {
        let mut bytes = w.out.clone();
        let at = dice.below(bytes.len() as u64) as usize;
        bytes[at] = dice.next() as u8;
        bytes.truncate(bytes.len() - dice.below(3) as usize);
        _ = Contents::read(&mut wardgate_wire::bytes::Reader::new(&bytes, "mutated"));
    }
    for at in 0..footer.len() {
        assert!(format::read_footer(&footer[..at], 1, 4000).is_none());
        let mut bytes = footer.clone();
        bytes[at] ^= 1;
        assert!(format::read_footer(&bytes, 1, 4000).is_none());
    }
    assert!(format::read_footer(&footer, 1, 4000).is_some());
}
