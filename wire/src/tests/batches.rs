//! Batches: there and back, and every damage is an error.

use super::random::Random;
use super::{key, sample};
use crate::bytes::Writer;
use crate::seal::{Domain, MAC_BYTES};
use crate::*;

//= PROMISES.md#P7
#[test]
fn every_batch_comes_back_as_it_was() {
    for seed in 0..2_000 {
        let mut random = Random::new(seed);
        for class in Class::ALL {
            let batch = random.batch(class);
            let encoded = encode(&batch, &key()).unwrap_or_else(|e| panic!("seed {seed} {class}: {e}\n{batch:?}"));
            let (back, digest) = decode(&encoded.bytes, &key()).unwrap_or_else(|e| panic!("seed {seed} {class}: {e}\n{batch:?}"));
            assert_eq!(back, batch, "seed {seed} {class}");
            assert_eq!(digest, encoded.digest);
            assert_eq!(peek(&encoded.bytes, &key()), Ok((batch.header.clone(), digest)));
            assert_eq!(read_message(&encoded.bytes, &key()), Ok(Message::Batch { header: batch.header, digest }));
            assert_eq!(encode(&back, &key()).unwrap(), encoded, "one value, one form");
        }
    }
}

#[test]
fn the_same_batch_under_another_key_or_magic_is_refused() {
    let bytes = encode(&sample(Class::Numeric), &key()).unwrap().bytes;
    let other = Key::new(&[8; 16]).unwrap();
    assert_eq!(decode(&bytes, &other), Err(WireError::Forged));
    assert_eq!(peek(&bytes, &other), Err(WireError::Forged));
    for magic in [b"WP", b"WA", b"XX"] {
        let mut bytes = bytes.clone();
        bytes[..2].copy_from_slice(magic);
        assert_eq!(decode(&bytes, &key()), Err(WireError::NotOurs));
        assert!(read_message(&bytes, &key()).is_err());
        assert!(decode_ack(&bytes, &key()).is_err());
    }
}

//= PROMISES.md#P7
#[test]
fn every_truncation_is_an_error() {
    for class in Class::ALL {
        let bytes = encode(&sample(class), &key()).unwrap().bytes;
        for n in 0..bytes.len() {
            assert!(decode(&bytes[..n], &key()).is_err(), "{class} cut at {n}");
            assert!(peek(&bytes[..n], &key()).is_err(), "{class} cut at {n}");
            if class != Class::Archive {
                assert!(decode_unauthenticated(&bytes[..n]).is_err(), "{class} cut at {n}, MAC not checked");
            }
        }
    }
}

//= PROMISES.md#P7
#[test]
fn every_flipped_bit_is_an_error_and_never_a_panic() {
    for class in Class::ALL {
        let Encoded { bytes, digest: right } = encode(&sample(class), &key()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                assert!(decode(&bad, &key()).is_err(), "{class} byte {at} bit {bit}");
                assert!(peek(&bad, &key()).is_err(), "{class} byte {at} bit {bit}");
                assert!(read_message(&bad, &key()).is_err(), "{class} byte {at} bit {bit}");
                if let Ok((read, digest)) = decode_unauthenticated(&bad)
                    && at < bytes.len() - MAC_BYTES
                {
                    assert_ne!(digest, right, "{class} byte {at} bit {bit}: another batch under the same digest");
                    assert!(encode(&read, &key()).is_ok(), "{class} byte {at} bit {bit}: what is read can be written");
                }
            }
        }
    }
}

/// The packed body replaced by its unpacked form, so that damage meets the readers of columns instead of zstd.
fn stored(batch: &Batch) -> Vec<u8> {
    let bytes = encode(batch, &key()).unwrap().bytes;
    let covered = Domain::Batch.covered(&bytes).unwrap().0;
    let packed = crate::batch::read_envelope(covered).unwrap().2;
    let head = covered.len() - packed.left();
    let body = crate::pack::unpack(packed, "a body").unwrap();
    [&covered[..head], &[0], &body, &[0; MAC_BYTES]].concat()
}

#[test]
fn damage_behind_the_packing_never_panics_and_is_read_in_one_form_only() {
    let mut random = Random::new(7);
    let (mut refused, mut read) = (0, 0);
    for round in 0..400 {
        let batch = random.batch(Class::ALL[round % 6]);
        let bytes = stored(&batch);
        assert_eq!(decode_unauthenticated(&bytes).map(|(b, _)| b), Ok(batch));
        for _ in 0..60 {
            let mut bad = bytes.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(bad.len() as u64) as usize;
                match random.below(4) {
                    0 => bad[at] ^= 1 << random.below(8),
                    1 => bad[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                    2 => drop(bad.remove(at)),
                    _ => bad.insert(at, random.next() as u8),
                }
            }
            match decode_unauthenticated(&bad) {
                Err(_) => refused += 1,
                Ok((batch, _)) => {
                    read += 1;
                    let again = stored(&batch);
                    assert_eq!(again[..again.len() - MAC_BYTES], bad[..bad.len() - MAC_BYTES], "two forms of one value: {batch:?}");
                }
            }
        }
    }
    assert!(refused > 5_000 && read > 1_000, "{refused} refused, {read} read");
}

fn with_body(class: Class, body: &[u8]) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(b"WG\0");
    crate::batch::write_header(&mut w, &Random::new(1).header(class)).unwrap();
    w.raw(body);
    w.raw(&[0; MAC_BYTES]);
    w.out
}

#[test]
fn bombs_are_refused_before_they_unpack() {
    let bomb = zstd::bulk::compress(&vec![0; UNPACKED_BYTES_MAX + 1], 3).unwrap();
    let bytes = with_body(Class::Archive, &[&[1, 0], &bomb[4..]].concat());
    let over = WireError::TooLarge { what: "bytes unpacked", found: UNPACKED_BYTES_MAX + 1, limit: UNPACKED_BYTES_MAX };
    assert_eq!(decode_unauthenticated(&bytes), Err(over));
    let largest = zstd::bulk::compress(&vec![0; UNPACKED_BYTES_MAX], 3).unwrap();
    assert!(decode_unauthenticated(&with_body(Class::Archive, &[&[1, 0], &largest[4..]].concat())).is_ok());
    let two = [&[1, 0], &largest[4..], &largest].concat();
    assert_eq!(decode_unauthenticated(&with_body(Class::Archive, &two)), Err(WireError::Unpack { what: "archive" }));

    // one instance "a", and a number of observations that only constant columns could fill
    for (n, fits) in [(ROWS_MAX as u64 - 2, true), (ROWS_MAX as u64 - 1, false), (u64::MAX, false)] {
        let mut w = Writer::new();
        w.raw(&[0, 1, 1, b'a', 0]);
        w.varint(n);
        w.fixed64(5);
        w.raw(&[0, 0, 0, 0]); // boots, first moment, steps, kinds of device time
        w.raw(&[1, 0, 0]); // one empty shape, used by all
        w.raw(&[]);
        assert_eq!(decode_unauthenticated(&with_body(Class::Numeric, &w.out)).is_ok(), fits, "{n} rows");
    }
}

/// One instance "a" with `n` observations: their times, then everything else.
fn numeric(n: u64, times: &[&[u8]], rest: &[u8]) -> Result<Batch, WireError> {
    let mut w = Writer::new();
    w.raw(&[0, 1, 1, b'a', 0]);
    w.varint(n);
    times.iter().for_each(|bytes| w.raw(bytes));
    w.raw(rest);
    decode_unauthenticated(&with_body(Class::Numeric, &w.out)).map(|(batch, _)| batch)
}

const BOOT: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 0];
const NEXT_BOOT: &[u8] = &[6, 0, 0, 0, 0, 0, 0, 0];
/// Monotonic 0, no steps, device time not told.
const STILL: &[u8] = &[0, 0, 0];

#[test]
fn another_form_of_the_same_value_is_refused() {
    let range = |what| Err(WireError::Range(what));
    let one_empty_shape = &[1, 0, 0];
    assert!(numeric(1, &[BOOT, &[0], STILL], one_empty_shape).is_ok());
    assert_eq!(numeric(1, &[BOOT, &[1, 1], NEXT_BOOT, STILL], one_empty_shape), range("changes of boot"));
    assert!(numeric(2, &[BOOT, &[2, 0, 1], NEXT_BOOT, STILL], one_empty_shape).is_ok());
    assert_eq!(numeric(2, &[BOOT, &[2, 0, 1], BOOT, STILL], one_empty_shape), range("a boot"));
    assert_eq!(numeric(2, &[BOOT, &[2, 0, 2], NEXT_BOOT, STILL], one_empty_shape), range("changes of boot"));
    assert_eq!(numeric(1, &[BOOT, &[0, 0, 1, 2, 0]], one_empty_shape), range("moments"));

    // two readings of (0, 1): one shape, then tracks, values and qualities
    let readings = [0, 0, 0, 0, 0, 0, 0]; // first index, jump, kinds, exponents, mantissa, step, qualities
    let shape = [1, 0, 1];
    let shapes = |n: u8, shapes: &[&[u8]], uses: &[u8]| [&[n], &shapes.concat()[..], uses, &readings].concat();
    let two = |rest: &[u8]| numeric(2, &[BOOT, &[0], STILL], rest);
    assert!(two(&shapes(1, &[&shape], &[0])).is_ok());
    assert_eq!(two(&shapes(2, &[&shape, &shape], &[2, 0, 1])), range("shapes"), "one shape under two numbers");
    assert_eq!(two(&shapes(2, &[&shape, &[0]], &[0])), range("uses of shapes"), "a shape that none uses");
    assert_eq!(two(&shapes(2, &[&shape, &[0]], &[2, 1, 0])), range("uses of shapes"), "not in the order of first use");

    // two groups of one empty track each
    let group = |name, late| [1, name, late, 1, 0, 1, 0, 0, 0];
    let groups = |a: [u8; 9], b: [u8; 9]| decode_unauthenticated(&with_body(Class::Waveform, &[&[0, 2], &a[..], &b[..]].concat()));
    assert!(groups(group(b'a', 0), group(b'b', 0)).is_ok());
    assert!(groups(group(b'a', 0), group(b'a', 1)).is_ok());
    assert_eq!(groups(group(b'a', 0), group(b'a', 0)), Err(WireError::Range("a group of tracks")));
    let codec = [1, b'a', 0, 1, 0, 1, 0, 1, 2, 0];
    assert_eq!(decode_unauthenticated(&with_body(Class::Waveform, &[&[0, 1], &codec[..]].concat())), Err(WireError::Codec(2)));

    // zstd where stored is not longer, another frame behind it, a dictionary that nobody has
    let archive = |packed: &[&[u8]]| decode_unauthenticated(&with_body(Class::Archive, &packed.concat()));
    let frame = |bytes: &[u8]| zstd::bulk::compress(bytes, 19).unwrap();
    assert!(archive(&[&[1, 0], &frame(&[7; 40])[4..]]).is_ok());
    assert!(archive(&[&[1, 0], &frame(b"short")[4..]]).is_err());
    assert!(archive(&[&[1, 0], &frame(&[7; 40])[4..], &frame(&[])]).is_err());
    assert_eq!(archive(&[&[1, 9], &frame(&[7; 40])[4..]]), Err(WireError::Dictionary(9)));
    assert_eq!(archive(&[&[2], b"stored"]), Err(WireError::Range("the packing")));
}

#[test]
fn readings_out_of_no_bytes_are_bounded() {
    // n observations of one shape with k tracks, all columns constant
    let readings = |n: u64, k: u64| {
        let mut w = Writer::new();
        w.u8(1);
        w.varint(k);
        w.raw(&[0, 0, 1, 0, 0]); // channels, runs, uses
        w.raw(&[0, 0, 0, 0, 0, 0, 0, 0]); // first indices, jumps, kinds, exponents, mantissas, steps, quality
        numeric(n, &[BOOT, &[0], STILL], &w.out)
    };
    let limit = |found| Err(WireError::TooLarge { what: "rows", found, limit: ROWS_MAX });
    assert_eq!(readings(2, 30_000), limit(1 + 2 + 1 + 3 * 30_000));
    assert!(readings(2, 20_000).is_ok());
    assert_eq!(readings(60_000, 2), limit(1 + 60_000 + 1 + 2 + 2 * 2_767), "the first observation over the limit ends it");
}

#[test]
fn what_a_decoder_would_refuse_is_not_written() {
    let header = |class| Random::new(2).header(class);
    let write = |class, content| encode(&Batch { header: header(class), content }, &key());
    let moment = Moment::default();
    assert_eq!(write(Class::Alert, Content::Ledger(vec![])), Err(WireError::WrongClass("alert")));
    assert_eq!(write(Class::Waveform, Content::Numerics(vec![])), Err(WireError::WrongClass("waveform")));

    let mut first = header(Class::Archive);
    first.key.sequence = 0;
    first.previous = Digest([1; 16]);
    assert!(matches!(encode(&Batch { header: first, content: Content::Archive(vec![]) }, &key()), Err(WireError::Invalid(_))));

    let piece = Piece { count: 2, moment, at: DeviceTime::NotTold, quality: 0 };
    let track = WaveformTrack { instance: "i".into(), channel: 0, run: 1, first: 0, late: false, pieces: vec![piece], counts: vec![1] };
    assert!(matches!(write(Class::Waveform, Content::Waveforms(vec![track.clone()])), Err(WireError::Invalid(_))));
    let last = WaveformTrack { first: u64::MAX, counts: vec![1, 2], ..track.clone() };
    assert!(matches!(write(Class::Waveform, Content::Waveforms(vec![last])), Err(WireError::Invalid(_))));
    let long = WaveformTrack { instance: "i".repeat(INSTANCE_BYTES_MAX + 1), counts: vec![1, 2], ..track };
    assert!(matches!(write(Class::Waveform, Content::Waveforms(vec![long])), Err(WireError::TooLarge { .. })));

    let known = Entry::Other { kind: 4, bytes: vec![] };
    assert!(matches!(write(Class::Ledger, Content::Ledger(vec![known])), Err(WireError::Invalid(_))));
    let shed = Entry::Shed { life: 1, epoch: 0, class: Class::Archive, below: 0 };
    assert!(write(Class::Ledger, Content::Ledger(vec![shed.clone(); ROWS_MAX])).is_ok());
    assert!(matches!(write(Class::Ledger, Content::Ledger(vec![shed; ROWS_MAX + 1])), Err(WireError::TooLarge { .. })));
    assert!(matches!(write(Class::Archive, Content::Archive(vec![0; UNPACKED_BYTES_MAX + 1])), Err(WireError::TooLarge { .. })));

    let observation = |n| NumberedObservation {
        moment,
        at: DeviceTime::NotTold,
        readings: vec![NumberedReading { channel: 1, run: 1, index: 0, value: Value::Bits(0), quality: 0 }; n],
    };
    let numerics = |n| Content::Numerics(vec![InstanceNumerics { instance: "i".into(), late: false, observations: vec![observation(n)] }]);
    let most = (ROWS_MAX - 3) / 2; // an instance, an observation, a shape; then each reading counts in its shape and as itself
    let largest = write(Class::Numeric, numerics(most)).unwrap();
    assert!(decode(&largest.bytes, &key()).is_ok());
    assert!(matches!(write(Class::Numeric, numerics(most + 1)), Err(WireError::TooLarge { .. })));
}

#[test]
fn a_later_format_can_be_kept_but_not_read() {
    let mut covered = encode(&sample(Class::Ledger), &key()).unwrap().bytes;
    covered.truncate(covered.len() - MAC_BYTES);
    covered[2] = 9;
    let bytes = Domain::Batch.seal(&key(), covered);
    assert_eq!(peek(&bytes, &key()).map(|(header, _)| header), Ok(sample(Class::Ledger).header));
    assert_eq!(decode(&bytes, &key()), Err(WireError::Format(9)));
}

#[test]
fn the_key_stays_out_of_print() {
    assert_eq!(format!("{:?}", Key::new(b"0123456789abcdef").unwrap()), "Key(secret)");
    assert!(Key::new(&[0; KEY_BYTES_MIN - 1]).is_none());
}

#[test]
fn a_description_travels_under_its_own_digest_only() {
    let plain = Description {
        name: "HR".into(),
        kind: Kind::Numeric,
        code: None,
        unit: "/min".into(),
        shape: None,
        personal: false,
        derived: false,
        facts: vec![],
    };
    let derived = Description { derived: true, ..plain.clone() };
    assert_ne!(description_digest(&plain), description_digest(&derived));
    let write = |digest| {
        let content = Content::Ledger(vec![Entry::Description { digest, description: plain.clone() }]);
        encode(&Batch { header: Random::new(2).header(Class::Ledger), content }, &key())
    };
    assert!(write(description_digest(&plain)).is_ok());
    assert!(matches!(write(description_digest(&derived)), Err(WireError::Invalid(_))));
}

#[test]
fn codes_are_the_numbers_that_the_types_declare() {
    assert!(GapReason::ALL.iter().all(|r| GapReason::from_code(r.code()) == Some(*r) && GapReason::ALL[*r as usize] == *r));
    assert!(Absence::ALL.iter().all(|a| Absence::from_code(a.code()) == Some(*a)));
    assert_eq!((GapReason::ALL.len(), GapReason::from_code(14)), (14, None));
    assert_eq!((GapReason::Unknown.name(), GapReason::Unknown.code()), ("unknown", 13));
}
