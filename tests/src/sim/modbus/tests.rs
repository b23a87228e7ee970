//! Tests of the chiller.

use super::chiller::Chiller;

#[test]
fn it_answers_what_it_has_and_refuses_the_rest_by_its_code() {
    let mut c = Chiller::new(0);
    let all = c.answer(1, &[3, 0, 0, 0, 12], 0);
    assert_eq!((all[0], all[1], all.len()), (3, 24, 26));
    assert_eq!(all[24..], [0, 200]);
    for (pdu, refused) in [
        (&[4, 0, 0, 0, 1][..], [0x84, 1]),
        (&[3, 0, 1, 0, 12], [0x83, 2]),
        (&[3, 0xFF, 0xFF, 0, 1], [0x83, 2]),
        (&[3, 0, 0, 0, 0], [0x83, 3]),
        (&[3, 0, 0], [0x83, 3]),
        (&[6, 0, 0, 0, 100], [0x86, 2]),
        (&[6, 0, 11, 3, 0], [0x86, 3]),
    ] {
        assert_eq!(c.answer(1, pdu, 0), refused, "{pdu:?}");
    }
    assert_eq!(c.answer(1, &[6, 0, 11, 0, 150], 0), [6, 0, 11, 0, 150]);
    assert_eq!(c.answer(1, &[3, 0, 11, 0, 1], 0), [3, 2, 0, 150]);
    assert_eq!(c.answer(2, &[3, 0, 11, 0, 1], 0), [3, 2, 0, 200], "each unit has its own");
    assert_eq!(c.answer(2, &[16, 0, 11, 0, 1, 2, 0, 180], 0), [16, 0, 11, 0, 1]);
}

#[test]
fn its_values_move_with_time_and_differ_between_units() {
    let mut c = Chiller::new(0);
    let mut at = |unit, s: u64| c.answer(unit, &[3, 0, 0, 0, 4], s * 1_000_000_000);
    let seen: std::collections::BTreeSet<_> = (0..60).map(|s| at(1, s)).collect();
    assert!(seen.len() > 30);
    assert_ne!(at(1, 0), at(2, 0));
    assert_eq!(at(1, 7), at(1, 7));
}
