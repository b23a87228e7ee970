//! Heads by themselves: there and back, damage, and what they cost.

use super::*;
use crate::contract::types::{Kind, Missing};
use wardgate_wire::WireError;

/// Groups of a small ward in which every kind of change happens.
fn eventful() -> Bench {
    let mut b = Bench::new();
    b.open("a", vec![describe(0, "hr", Kind::Numeric), describe(1, "ecg", Kind::Waveform)]);
    b.say("a", vec![emit(&[(0, 1)]), block(1, 0, &[1, 2])]).expect("in order");
    b.seal();
    b.say("a", vec![emit(&[(0, 2)]), block(1, 9, &[1, 2]), Said::Raise(alert(1))]).expect("in order");
    b.open("b", vec![describe(0, "hr", Kind::Numeric), describe(3, "spo2", Kind::Numeric)]);
    b.say("b", vec![Said::Missed(0, None, Missing::DeviceOff), emit(&[(3, 2)])]).expect("in order");
    b.seal();
    b.fault("a");
    b.seal();
    b.open("a", vec![describe(0, "pulse", Kind::Numeric)]);
    b.say("a", vec![emit(&[(0, 3)])]).expect("in order");
    b.seal();
    b.seal();
    b
}

fn records(b: &Bench) -> Vec<(bool, Vec<u8>)> {
    b.groups.iter().map(|g| g.sealed.heads.clone()).collect()
}

#[test]
fn full_and_differences_rebuild_the_same() {
    let mut b = eventful();
    let by_differences = b.found().expect("heads");
    assert_eq!(by_differences, b.pipeline.sealed);
    assert_eq!(records(&b).iter().map(|r| r.0).collect::<Vec<_>>(), [true, false, false, false, false]);
    b.seal_as(true);
    assert_eq!(b.found().expect("heads"), b.pipeline.sealed);
    b.crash(2); // streams of an earlier life, another boot
    let now = types::Moment { boot: 99, monotonic_ns: 5, wall: None };
    b.pipeline = Pipeline::new(setup(2, 1000), b.found(), now);
    b.pipeline.opened(&Arc::from("b"), now, None);
    b.pipeline.spoken(&Arc::from("b"), now, vec![Said::Raise(alert(2))]).expect("in order");
    let sealed = b.pipeline.seal(false, now).expect("seals");
    assert_eq!(Heads::rebuild(&[sealed.heads]).expect("whole"), Some(b.pipeline.sealed.clone()));
}

#[test]
fn a_group_written_twice_counts_once_and_a_missing_one_shows() {
    let b = eventful();
    let mut twice = records(&b);
    twice.insert(2, twice[1].clone());
    assert_eq!(Heads::rebuild(&twice).expect("whole"), b.found());
    let mut hole = records(&b);
    hole.remove(2);
    assert!(Heads::rebuild(&hole).is_err());
    assert!(Heads::rebuild(&records(&b)[1..]).is_err(), "a difference without full ones");
    assert_eq!(Heads::rebuild(&[]), Ok(None));
    let mut later = records(&b);
    later[0].1[0] = 1;
    assert_eq!(Heads::rebuild(&later), Err(WireError::Format(1)));
}

#[test]
fn damage_is_an_error_or_other_heads_and_never_a_panic() {
    let mut b = eventful();
    b.seal_as(true);
    let all = records(&b);
    for (n, (_, bytes)) in all.iter().enumerate() {
        let full = all[..=n].iter().rposition(|r| r.0).expect("a full one");
        let with = |bytes: Vec<u8>| {
            let mut some = all[full..=n].to_vec();
            some.last_mut().expect("this one").1 = bytes;
            Heads::rebuild(&some)
        };
        for cut in 0..bytes.len() {
            assert!(with(bytes[..cut].to_vec()).is_err(), "record {n} cut at {cut}");
        }
        assert!(with([bytes.as_slice(), &[0]].concat()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(Some(heads)) = with(flipped) {
                heads.closing(false); // what is taken can also be used
                assert_eq!(Heads::rebuild(&[(true, heads.full())]).expect("whole"), Some(heads));
            }
        }
        let mut random = super::storm::Random(n as u64 + 1);
        for _ in 0..2000 {
            let mut mutated = bytes.clone();
            for _ in 0..=random.below(4) {
                let place = random.below(mutated.len() as u64) as usize;
                mutated[place] = random.next() as u8;
            }
            let _ = with(mutated);
        }
    }
}

/// A demo ward: two monitors with 5 waves and 12 numerics each, and a chiller with 12 numerics.
#[test]
fn an_ordinary_second_costs_few_bytes() {
    let mut b = Bench::new();
    let monitor: Vec<_> =
        (0..12).map(|n| describe(n, "n", Kind::Numeric)).chain((12..17).map(|n| describe(n, "w", Kind::Waveform))).collect();
    let chiller: Vec<_> = (0..12).map(|n| describe(n, "n", Kind::Numeric)).collect();
    let all: Vec<_> = (0..12).map(|n| (n, 7)).collect();
    b.open("bed-1-monitor", monitor.clone());
    b.open("bed-2-monitor", monitor);
    b.open("ct-chiller", chiller);
    for second in 0..61 {
        for name in ["bed-1-monitor", "bed-2-monitor"] {
            let waves = (12..17).map(|n| block(n, second * 50, &[0; 50]));
            b.say(name, waves.chain([emit(&all)]).collect()).expect("in order");
        }
        b.say("ct-chiller", vec![emit(&all)]).expect("in order");
        b.ns += SECOND;
        b.seal();
    }
    let ordinary = &b.groups.last().expect("groups").sealed;
    let full = b.pipeline.sealed.full().len();
    let batches: usize = ordinary.batches.iter().map(|(_, _, bytes)| bytes.len()).sum();
    println!(
        "a second of 46 streams: heads {} bytes as a difference, {full} in full, beside {batches} bytes of batches",
        ordinary.heads.1.len()
    );
    assert!(!ordinary.heads.0 && ordinary.heads.1.len() <= 130, "{} bytes", ordinary.heads.1.len());
    assert!(full <= 1400, "{full} bytes");
}
