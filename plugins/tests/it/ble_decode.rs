//! Every combination of flags of every characteristic, against an independent writer; truncations, mutations, several in one.

use wardgate_sdk::gatt::Profile;
use wardgate_sdk::*;

use crate::ble::{Value128, lines, said};
use crate::ble_layouts::{LAYOUTS, mcrf4xx};
use crate::random::{Random, mutate};

type Run = fn(&[(&str, &str)], &[Value128]) -> Vec<Said>;

fn run<P: Profile>(settings: &[(&str, &str)], values: &[Value128]) -> Vec<Said> {
    said::<P>(settings, values)
}

fn plugin(characteristic: &str) -> Run {
    match characteristic {
        "2a37" => run::<ble_heart_rate::HeartRate>,
        "2a1c" | "2a1e" => run::<ble_thermometer::Thermometer>,
        "2a35" | "2a36" => run::<ble_blood_pressure::BloodPressure>,
        "2a5e" | "2a5f" => run::<ble_oximeter::Oximeter>,
        "2a9d" => run::<ble_weight::Weight>,
        "2a53" => run::<ble_activity::Activity>,
        "2a18" | "2a34" => run::<ble_glucose::Glucose>,
        _ => run::<ble_cgm::Cgm>,
    }
}

fn read(characteristic: &str, value: Value128) -> Vec<String> {
    read_all(characteristic, &[value])
}

/// What they say, in any order, but for what stands before.
fn read_all(characteristic: &str, values: &[Value128]) -> Vec<String> {
    let before = before(characteristic);
    let said = |values: &[Value128]| lines(&plugin(characteristic)(&[], values));
    let mut read = said(&[&before[..], values].concat()).split_off(said(&before).len());
    read.sort();
    read
}

/// A monitor of glucose says first that its values carry no checksums: else those without one are questionable.
fn before(characteristic: &str) -> Vec<Value128> {
    let feature = (ble_cgm::decode::FEATURE, vec![0, 0, 0, 0x59, 0xff, 0xff]);
    if characteristic == "2aa7" { vec![feature] } else { vec![] }
}

//= PROMISES.md#P102
#[test]
fn every_combination_of_flags_is_read_to_the_digit() {
    let mut random = Random(11);
    for (name, flags, make) in LAYOUTS {
        for flags in 0..1u32 << flags {
            for _ in 0..40 {
                let made = make(&mut random, flags as u8);
                let mut expected = made.expected;
                expected.sort();
                assert_eq!(read(name, (made.uuid, made.bytes.clone())), expected, "{name} {:02x?}", made.bytes);
            }
        }
    }
}

//= PROMISES.md#P103
#[test]
fn every_truncation_is_an_error_and_says_no_reading() {
    let mut random = Random(12);
    for (name, flags, make) in LAYOUTS {
        for flags in 0..1u32 << flags {
            let made = make(&mut random, flags as u8);
            for length in 0..made.bytes.len() {
                // whole RR intervals that are left are a shorter list: nothing tells that there were more
                if name == "2a37" && length > made.bytes.len() - 2 * made.expected.iter().filter(|l| l.starts_with("rr-")).count() {
                    let left = read(name, (made.uuid, made.bytes[..length].to_vec()));
                    assert!(left.iter().all(|line| made.expected.contains(line) || line.contains("missed")), "{left:?}");
                    continue;
                }
                let read = read(name, (made.uuid, made.bytes[..length].to_vec()));
                // a context holds no glucose that could be missing
                assert!(
                    read.is_empty() == (name == "2a34") && read.iter().all(|line| line.ends_with("missed Some(1) Corrupted")),
                    "{name} {length}: {read:?}"
                );
            }
        }
    }
}

//= PROMISES.md#P103
#[test]
fn every_truncation_of_an_answer_and_of_what_is_read_says_nothing() {
    use ble_cgm::decode::{FEATURE, RUN_TIME, SESSION_START, STATUS};
    let answer = |bytes: &[u8]| lines(&said::<ble_glucose::Glucose>(&[], &[(ble_glucose::decode::CONTROL_POINT, bytes.to_vec())]));
    for whole in [[5, 0, 2, 1], [6, 0, 1, 1]] {
        assert!(!answer(&whole).is_empty());
        (0..whole.len()).for_each(|length| assert_eq!(answer(&whole[..length]), [""; 0], "{length}"));
    }
    let sealed = |bytes: &[u8]| [bytes, &mcrf4xx(bytes).to_le_bytes()].concat();
    let feature = (FEATURE, sealed(&[0, 0x10, 0, 0x59]));
    let read = |value: Value128| lines(&said::<ble_cgm::Cgm>(&[], &[feature.clone(), value])).split_off(3);
    for (uuid, bytes) in [
        (FEATURE, &[0, 0xf0, 1, 0x59][..]),
        (STATUS, &[5, 0, 1, 2, 3]),
        (SESSION_START, &[0xe2, 7, 4, 24, 13, 8, 24, 8, 4]),
        (RUN_TIME, &[64, 1]),
    ] {
        let whole = sealed(bytes);
        assert!(!read((uuid, whole.clone())).is_empty());
        (0..whole.len()).for_each(|length| assert_eq!(read((uuid, whole[..length].to_vec())), [""; 0], "{length}"));
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(read((uuid, longer)), [""; 0], "nothing may follow");
    }
}

#[test]
fn what_a_later_version_appends_is_left_alone() {
    let mut random = Random(13);
    for (name, flags, make) in LAYOUTS {
        let made = make(&mut random, ((1u32 << flags) - 1) as u8);
        let longer = [made.bytes.clone(), vec![1, 2, 3]].concat();
        match name {
            "2a37" => continue, // what follows is intervals
            // its size says where it ends: anything else is damage
            "2aa7" => {
                assert_eq!(read(name, (made.uuid, longer)), ["glucose missed Some(1) Corrupted"]);
                continue;
            }
            _ => {}
        }
        assert_eq!(read(name, (made.uuid, longer)), read(name, (made.uuid, made.bytes)), "{name}");
    }
}

/// Damaged values: no panic, and never more said than bytes came.
#[test]
fn mutations_are_survived() {
    let mut random = Random(14);
    for (name, flags, make) in LAYOUTS {
        for _ in 0..400 {
            let flags = (random.next() % (1 << flags)) as u8;
            let made = make(&mut random, flags);
            let mutant = mutate(&made.bytes, &mut random);
            let read = read_all(name, &[(made.uuid, mutant.clone()), (made.uuid, made.bytes.clone())]);
            assert!(read.len() <= 40, "{name} {mutant:02x?}");
            let mut good = made.expected.clone();
            good.retain(|line| !read.contains(line));
            // a meter's second record of one number may be the first anew; everything else is read whatever came before
            assert!(good.is_empty() || name == "2a18", "{name}: {good:?} after {mutant:02x?}");
        }
    }
}

#[test]
fn a_checksum_finds_every_flipped_bit() {
    let mut random = Random(15);
    let make = LAYOUTS.iter().find(|(name, ..)| *name == "2aa7").expect("it is there").2;
    let uuid = make(&mut random, 0).uuid;
    let mut feature = vec![0x00, 0xf0, 0x01, 0x59];
    feature.extend(mcrf4xx(&feature).to_le_bytes());
    let feature = (uuid + (1 << 96), feature);
    for flags in 0..=255u8 {
        let mut record = make(&mut random, flags).bytes;
        if record.len() == usize::from(record[0]) && ble_cgm::decode::decode(uuid, &record, Some(true)).is_err() {
            record[0] += 2; // it was made without
            record.extend(mcrf4xx(&record).to_le_bytes());
        }
        assert!(ble_cgm::decode::decode(uuid, &record, Some(true)).is_ok(), "{record:02x?}");
        for bit in 0..record.len() * 8 {
            let mut wrong = record.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let read = lines(&plugin("2aa7")(&[], &[feature.clone(), (uuid, wrong)]));
            assert!(!read.iter().any(|line| line.starts_with("glucose") && !line.contains("missed")), "bit {bit}: {read:?}");
        }
    }
}

//= PROMISES.md#P229
#[test]
fn a_value_without_a_checksum_is_questionable_until_the_device_says_that_it_sends_none() {
    use ble_cgm::decode::{FEATURE, MEASUREMENT};
    let mut sealed = vec![0, 0xf0, 0x01, 0x59];
    sealed.extend(mcrf4xx(&sealed).to_le_bytes());
    let plain = [6, 0, 0x6c, 0, 5, 0].to_vec();
    let glucose = |features: &[Vec<u8>], value: &[u8]| -> Vec<String> {
        let features = features.iter().map(|bytes| (FEATURE, bytes.clone()));
        let values: Vec<_> = features.chain([(MEASUREMENT, value.to_vec())]).collect();
        lines(&plugin("2aa7")(&[], &values)).into_iter().filter(|line| line.starts_with("glucose")).collect()
    };
    let doubted = ["glucose 108e0 mg/dL [questionable] at counter 300000000000"];
    let good = ["glucose 108e0 mg/dL at counter 300000000000"];
    assert_eq!(glucose(&[], &plain), doubted, "nothing is known of the device");
    assert_eq!(glucose(&[vec![0, 0, 0, 0x59, 0xff, 0xff]], &plain), good, "it sends none");
    assert_eq!(glucose(&[sealed.clone()], &plain), ["glucose missed Some(1) Corrupted"], "it sends them");
    let mut with = vec![8, 0, 0x6c, 0, 5, 0];
    with.extend(mcrf4xx(&with).to_le_bytes());
    assert_eq!(
        (glucose(&[], &with), glucose(&[sealed.clone()], &with)),
        (vec![good[0].into()], vec![good[0].into()]),
        "a right one is good"
    );
    // one bit of the features is wrong: what they said is not believed, and no measurement is missing
    for bit in 0..sealed.len() * 8 {
        let mut wrong = sealed.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(glucose(&[wrong], &plain), doubted, "bit {bit}");
    }
}

#[test]
fn units_are_described_anew_only_when_they_change() {
    let celsius = [0u8, 0x6d, 1, 0, 0xff].to_vec();
    let fahrenheit = [1u8, 0xda, 3, 0, 0xff].to_vec();
    let uuid = ble_thermometer::decode::MEASUREMENT;
    let values: Vec<_> = [&celsius, &celsius, &fahrenheit, &fahrenheit, &celsius].map(|bytes| (uuid, bytes.clone())).into();
    let said = said::<ble_thermometer::Thermometer>(&[], &values);
    let described = said.iter().filter(|s| matches!(s, Said::Describe(0, _))).count();
    assert_eq!(described, 3, "at first, to Fahrenheit, and back");
    assert_eq!(
        lines(&said),
        [
            "temperature 365e-1 Cel",
            "temperature 365e-1 Cel",
            "temperature 986e-1 [degF]",
            "temperature 986e-1 [degF]",
            "temperature 365e-1 Cel"
        ]
    );
}
