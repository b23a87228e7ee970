//! Parts and acknowledgements: there and back, in any order, and every damage is an error.

use super::random::Random;
use super::{key, sample};
use crate::*;

fn parts_of(messages: &[Vec<u8>]) -> Vec<Part> {
    let part = |message: &Vec<u8>| match read_message(message, &key()) {
        Ok(Message::Part(part)) => part,
        other => panic!("not a part: {other:?}"),
    };
    messages.iter().map(part).collect()
}

fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    (1..list.len()).rev().for_each(|i| list.swap(i, random.below(i as u64 + 1) as usize));
}

fn large(random: &mut Random, bytes: u64) -> Encoded {
    let batch = Batch { header: random.header(Class::Archive), content: Content::Archive(random.bytes(bytes)) };
    encode(&batch, &key()).unwrap()
}

#[test]
fn parts_join_in_any_order_with_repeats_and_strangers_between() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let sizes = [random.below(6_000), random.below(6_000)];
        let batches = sizes.map(|n| large(&mut random, n));
        let limit = 200 + random.below(2_000) as usize;
        let mut messages: Vec<Vec<u8>> = batches.iter().flat_map(|b| split(&b.bytes, limit, &key()).unwrap()).collect();
        assert!(messages.iter().all(|m| m.len() <= limit));
        messages.extend(messages.clone());
        shuffle(&mut random, &mut messages);
        let (mut joiner, mut seen) = (Joiner::new(), Vec::new());
        for message in &messages {
            match read_message(message, &key()).unwrap() {
                Message::Batch { .. } => seen.push(message.clone()),
                Message::Part(part) => seen.extend(joiner.add(part).unwrap()),
            }
        }
        assert!(batches.iter().all(|b| seen.contains(&b.bytes)), "seed {seed}");
        assert!(seen.iter().all(|s| batches.iter().any(|b| b.bytes == *s)), "seed {seed}");
    }
}

#[test]
fn what_fits_is_sent_whole_and_what_never_fits_is_refused() {
    let batch = large(&mut Random::new(1), 3_000);
    assert_eq!(split(&batch.bytes, batch.bytes.len(), &key()), Ok(vec![batch.bytes.clone()]));
    assert_eq!(split(&batch.bytes, batch.bytes.len() - 1, &key()).unwrap().len(), 2);
    let refused = Err(WireError::TooManyParts { bytes: batch.bytes.len(), parts_max: PARTS_MAX });
    assert_eq!(split(&batch.bytes, 60, &key()), refused);
    let largest = large(&mut Random::new(1), UNPACKED_BYTES_MAX as u64);
    assert!(largest.bytes.len() <= BATCH_BYTES_MAX);
    let messages = split(&largest.bytes, 1024, &key()).unwrap();
    assert!(messages.len() <= PARTS_MAX && messages.iter().all(|m| m.len() <= 1024));
    assert!(matches!(split(&largest.bytes, 512, &key()), Err(WireError::TooManyParts { .. })));
    assert_eq!(split(&batch.bytes, 500, &Key::new(&[9; 16]).unwrap()), Err(WireError::Forged));
}

#[test]
fn splits_never_mix() {
    let mut random = Random::new(5);
    let batch = large(&mut random, 3_000);
    let (three, four) = (split(&batch.bytes, 1_200, &key()).unwrap(), split(&batch.bytes, 900, &key()).unwrap());
    assert_ne!(three.len(), four.len());
    let mut joiner = Joiner::new();
    for part in parts_of(&three[1..]).into_iter().chain(parts_of(&four[..1])) {
        assert_eq!(joiner.add(part), Ok(None));
    }
    assert_eq!(joiner.waiting().0, 2);

    // as many parts, cut elsewhere: the newer cut counts
    let mut joiner = Joiner::new();
    let mut uneven = parts_of(&three);
    let moved = uneven[1].bytes.remove(0);
    uneven[0].bytes.push(moved);
    assert_eq!(joiner.add(uneven[0].clone()), Ok(None));
    let mut whole = None;
    for part in parts_of(&three) {
        whole = whole.or(joiner.add(part).unwrap());
    }
    assert_eq!(whole.as_ref(), Some(&batch.bytes));

    // parts that do not make what they name
    let mut joiner = Joiner::new();
    let mut parts = parts_of(&three);
    parts[2].bytes[7] ^= 1;
    let last = parts.pop().unwrap();
    parts.into_iter().for_each(|part| assert_eq!(joiner.add(part), Ok(None)));
    assert_eq!(joiner.add(last), Err(WireError::Joined));
    assert_eq!(joiner.waiting(), (0, 0));

    // another header than the one inside
    let mut parts = parts_of(&three);
    parts.iter_mut().for_each(|part| part.header.key.epoch ^= 1);
    let last = parts.pop().unwrap();
    parts.into_iter().for_each(|part| assert_eq!(joiner.add(part), Ok(None)));
    assert_eq!(joiner.add(last), Err(WireError::Joined));
}

#[test]
fn the_joiner_keeps_its_bounds_and_throws_out_the_oldest() {
    let mut random = Random::new(6);
    let mut joiner = Joiner::new();
    let batches: Vec<_> = (0..JOIN_BATCHES_MAX + 10).map(|_| split(&large(&mut random, 900).bytes, 600, &key()).unwrap()).collect();
    for messages in &batches {
        assert_eq!(joiner.add(parts_of(&messages[..1]).remove(0)), Ok(None));
        assert!(joiner.waiting().0 <= JOIN_BATCHES_MAX);
    }
    assert_eq!(joiner.thrown_out(), 10);
    assert_eq!(joiner.add(parts_of(&batches[0][1..]).remove(0)), Ok(None), "the first was thrown out");
    assert!(joiner.add(parts_of(&batches[40][1..]).remove(0)).unwrap().is_some(), "a later one was kept");

    let mut joiner = Joiner::new();
    let header = random.header(Class::Archive);
    for n in 0..40_u8 {
        let part = Part { header: header.clone(), digest: Digest([n; 16]), index: 0, total: 2, bytes: vec![n; BATCH_BYTES_MAX / 2] };
        assert_eq!(joiner.add(part), Ok(None));
        assert!(joiner.waiting().1 <= JOIN_BYTES_MAX);
    }
    assert!(joiner.thrown_out() > 0);
    for index in 0..3 {
        let part = Part { header: header.clone(), digest: Digest([77; 16]), index, total: 9, bytes: vec![0; BATCH_BYTES_MAX / 2] };
        assert_eq!(joiner.add(part), if index < 2 { Ok(None) } else { Err(WireError::Joined) }, "more than any batch has");
    }
}

fn ack(random: &mut Random) -> Acknowledgement {
    let header = random.header(Class::Alert);
    let entries = (0..random.below(6))
        .map(|_| match random.below(3) {
            0 => AckEntry::Closed { life: random.next(), epoch: random.number() as u32 },
            1 => AckEntry::Other { kind: random.pick(&[0, 3, 900, u64::MAX]) },
            _ => {
                let (mut missing, mut next) = (Vec::new(), 0_u64);
                for _ in 0..random.below(8) {
                    let first = next + random.below(1 << 28);
                    let last = first + random.below(1 << 20);
                    missing.push((first as u32, last as u32));
                    next = last + 2;
                }
                let high = if random.one_in(2) { u32::MAX } else { missing.last().map_or(0, |m| m.1) };
                let class = random.pick(&Class::ALL);
                AckEntry::UpTo { life: random.next(), epoch: random.number() as u32, class, high, digest: Digest([5; 16]), missing }
            }
        })
        .collect();
    Acknowledgement { gateway: header.gateway, entries }
}

#[test]
fn acknowledgements_come_back_and_damage_is_an_error() {
    for seed in 0..3_000 {
        let mut random = Random::new(seed);
        let ack = ack(&mut random);
        let bytes = encode_ack(&ack, &key());
        assert_eq!(decode_ack(&bytes, &key()), Ok(ack), "seed {seed}");
        if seed < 40 {
            assert!((0..bytes.len()).all(|n| decode_ack(&bytes[..n], &key()).is_err()));
        }
        for _ in 0..20 {
            let mut bad = bytes.clone();
            let at = random.below(bad.len() as u64) as usize;
            bad[at] ^= 1 << random.below(8);
            assert!(decode_ack(&bad, &key()).is_err(), "seed {seed} byte {at}");
            let _ = crate::ack::read_ack(&bad[..bad.len() - 16]); // no panic
        }
    }
}

#[test]
fn missing_ranges_travel_in_one_form() {
    let gateway = GatewayId::new("g").unwrap();
    let up_to = |high, missing| AckEntry::UpTo { life: 1, epoch: 2, class: Class::Numeric, high, digest: Digest([3; 16]), missing };
    let send =
        |entry| decode_ack(&encode_ack(&Acknowledgement { gateway: gateway.clone(), entries: vec![entry] }, &key()), &key()).unwrap();
    let got = send(up_to(90, vec![(50, 60), (5, 2), (10, 12), (13, 20), (11, 15), (88, 200), (95, 99)]));
    assert_eq!(got.entries, [up_to(90, vec![(10, 20), (50, 60), (88, 90)])]);
    assert_eq!(send(up_to(u32::MAX, vec![(0, u32::MAX)])).entries, [up_to(u32::MAX, vec![(0, u32::MAX)])]);
    assert_eq!(send(AckEntry::Other { kind: 1 }).entries, []);
}

#[test]
fn missing_beyond_the_acknowledged_is_refused() {
    let up_to = |missing: &[u8]| {
        let entry = [&[1; 8][..], &[0, 2, 40], &[3; 16], missing].concat();
        crate::ack::read_ack(&[b"WA\0\x01g\x01".as_slice(), &[entry.len() as u8], &entry].concat())
    };
    assert!(up_to(&[1, 30, 10]).is_ok());
    assert_eq!(up_to(&[1, 30, 11]), Err(WireError::Range("a missing range")));
    assert_eq!(up_to(&[2, 30, 5, 4, 0]), Err(WireError::Range("a missing range")));
    assert!(up_to(&[1, 30, 10, 0]).is_err(), "left over");
}

#[test]
fn parts_that_nobody_cuts_are_refused() {
    let part = |index: u64, total: u64, bytes: &[u8]| {
        let mut w = crate::bytes::Writer::new();
        w.raw(b"WP\0");
        crate::batch::write_header(&mut w, &Random::new(1).header(Class::Numeric)).unwrap();
        w.raw(&[9; 16]);
        w.varint(index);
        w.varint(total);
        w.raw(bytes);
        crate::part::read_part(&w.out)
    };
    assert!(part(1, 2, b"x").is_ok());
    assert!(part(PARTS_MAX as u64 - 1, PARTS_MAX as u64, b"x").is_ok());
    for (index, total, bytes) in [(2, 2, "x"), (0, 1, "x"), (0, 0, "x"), (0, PARTS_MAX as u64 + 1, "x"), (0, 1 << 16, "x"), (0, 2, "")] {
        assert!(part(index, total, bytes.as_bytes()).is_err(), "{index} of {total}");
    }
}

#[test]
fn every_damaged_part_is_an_error_and_no_mac_speaks_for_another_kind() {
    let batch = encode(&sample(Class::Waveform), &key()).unwrap();
    let part = &split(&batch.bytes, 170, &key()).unwrap()[1];
    for at in 0..part.len() {
        assert!(read_message(&part[..at], &key()).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut bad = part.clone();
            bad[at] ^= 1 << bit;
            assert!(read_message(&bad, &key()).is_err(), "byte {at} bit {bit}");
            let _ = crate::part::read_part(&bad[..bad.len() - 16]); // no panic
        }
    }
    use crate::seal::Domain::{Ack, Batch, Part};
    for (made, read) in [(Batch, Part), (Batch, Ack), (Part, Batch), (Part, Ack), (Ack, Batch), (Ack, Part)] {
        let sealed = made.seal(&key(), [read.magic().as_slice(), b"something"].concat());
        assert_eq!(read.open(&key(), &sealed), Err(WireError::Forged));
    }
}
