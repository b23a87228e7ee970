//! A disk that fills: positions of what is not taken, one open gap, and states that must not run ahead.

use super::*;
use crate::contract::types::{Kind, Missing};
use crate::pipeline::{Takes, Urgency};

const BED: &str = "bed-1";

fn bench() -> Bench {
    let mut b = Bench::new();
    b.open(BED, vec![describe(0, "hr", Kind::Numeric), describe(2, "ecg", Kind::Waveform)]);
    b.say(BED, vec![emit(&[(0, 1)]), block(2, 0, &[1, 2, 3])]).expect("in order");
    b.seal();
    b
}

fn take_only(b: &mut Bench, takes: Takes) {
    let now = b.tick();
    b.pipeline.take_only(takes, now);
}

/// Channel or none for alerts, run, first, indices, values.
type Told = (Option<u16>, u32, u64, u64, Option<u64>);

fn gaps(group: &Group) -> Vec<Told> {
    let of = |entry: &&Entry| match entry {
        Entry::Gap { stream, run, first, indices, values, reason: GapReason::DiskFull, .. } => {
            let channel = if let Source::Channel(n) = stream.source { Some(n) } else { None };
            Some((channel, *run, *first, *indices, *values))
        }
        _ => None,
    };
    group.entries().iter().filter_map(of).collect()
}

fn runs(group: &Group) -> usize {
    group.entries().iter().filter(|e| matches!(e, Entry::Run { .. })).count()
}

//= PROMISES.md#P96
#[test]
fn what_is_not_taken_uses_up_positions_in_one_gap() {
    let mut b = bench();
    take_only(&mut b, Takes::NoWaveforms);
    b.say(BED, vec![emit(&[(0, 2)]), block(2, 3, &[4, 5])]).expect("in order");
    b.seal();
    assert_eq!(b.pipeline.open_gaps().len(), 1, "the heads say so at once");
    take_only(&mut b, Takes::AlertsOnly);
    for n in 0..10 {
        b.say(BED, vec![emit(&[(0, 3 + n)]), block(2, 7 + n as u64, &[6])]).expect("in order"); // the device skipped two
    }
    assert_eq!(b.pipeline.wants_commit(), Urgency::Due, "the first of the numbers is news");
    b.seal();
    b.say(BED, vec![emit(&[(0, 20)]), block(2, 17, &[6]), Said::Missed(0, Some(4), Missing::NotSent)]).expect("in order");
    assert_eq!(b.pipeline.wants_commit(), Urgency::No, "it goes on in the same gap");
    assert_eq!(b.pipeline.not_taken(BED), 2 + 10 + 12 + 1 + 1 + 4);
    take_only(&mut b, Takes::Everything);
    b.say(BED, vec![emit(&[(0, 21)]), block(2, 18, &[7])]).expect("in order");
    let group = b.seal();
    assert_eq!(gaps(group), [(Some(0), 1, 2, 12, Some(15)), (Some(2), 1, 3, 15, Some(15))]);
    assert_eq!(runs(group), 0, "both runs go on");
    let next = group.readings().iter().map(|r| (r.run, r.index)).collect::<Vec<_>>();
    assert_eq!(next, [(1, 14)]);
    assert!(b.pipeline.open_gaps().is_empty());
}

#[test]
fn a_closing_tells_what_was_not_taken_so_far() {
    let mut b = bench();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 2)]), block(2, 3, &[4, 5])]).expect("in order");
    assert!(b.pipeline.begin_epoch(false));
    assert_eq!(gaps(b.seal()), [(Some(0), 1, 1, 1, Some(1)), (Some(2), 1, 3, 2, Some(2))]);
    assert_eq!(b.pipeline.open_gaps().len(), 2, "they go on");
    assert!(!b.pipeline.begin_epoch(false), "an epoch that holds nothing else is not succeeded");
    b.say(BED, vec![emit(&[(0, 3)])]).expect("in order");
    take_only(&mut b, Takes::Everything);
    let group = b.seal();
    assert_eq!(gaps(group), [(Some(0), 1, 2, 1, Some(1))], "of the waveform nothing more was lost");
    assert!(b.pipeline.open_gaps().is_empty());
}

#[test]
fn faults_meanwhile_use_one_position_and_make_no_more_gaps() {
    let mut b = bench();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 2)]), block(2, 3, &[4, 5])]).expect("in order");
    for _ in 0..3 {
        b.fault(BED);
        b.open(BED, vec![describe(0, "hr", Kind::Numeric), describe(2, "ecg", Kind::Waveform)]);
        b.say(BED, vec![emit(&[(0, 2)]), block(2, 0, &[4, 5])]).expect("in order");
    }
    assert_eq!((gaps(b.seal()).len(), runs(b.groups.last().expect("sealed"))), (0, 0), "the ledger grows by nothing");
    take_only(&mut b, Takes::Everything);
    b.say(BED, vec![emit(&[(0, 3)]), block(2, 2, &[6])]).expect("in order");
    let group = b.seal();
    assert_eq!(gaps(group), [(Some(0), 1, 1, 5, None), (Some(2), 1, 3, 9, None)]);
    assert_eq!(runs(group), 2, "described anew");
}

#[test]
fn a_stream_that_never_spoke_and_one_that_was_cut_before_have_their_gaps_in_time() {
    let mut b = Bench::new();
    take_only(&mut b, Takes::AlertsOnly);
    b.open(BED, vec![describe(0, "hr", Kind::Numeric)]);
    b.say(BED, vec![emit(&[(0, 1)])]).expect("in order");
    b.seal();
    take_only(&mut b, Takes::Everything);
    b.say(BED, vec![emit(&[(0, 2)])]).expect("in order");
    let reasons = |group: &Group| -> Vec<_> {
        group.entries().iter().filter_map(|e| if let Entry::Run { reason, .. } = e { Some(*reason) } else { None }).collect()
    };
    assert_eq!(reasons(b.seal()), [Some(GapReason::DiskFull)]);
    b.lost(BED);
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 3)])]).expect("in order");
    take_only(&mut b, Takes::Everything);
    b.say(BED, vec![emit(&[(0, 4)])]).expect("in order");
    let group = b.seal();
    let stretches: Vec<_> =
        group.entries().iter().filter_map(|e| if let Entry::Gap { reason, indices: 0, .. } = e { Some(*reason) } else { None }).collect();
    assert_eq!((stretches, reasons(group)), (vec![GapReason::GatewayOverrun], vec![Some(GapReason::DiskFull)]));
}

#[test]
fn a_crash_on_a_full_disk_leaves_a_gap_with_its_reason() {
    let mut b = bench();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 2)])]).expect("in order");
    b.seal();
    b.crash(2);
    b.open(BED, vec![describe(0, "hr", Kind::Numeric)]);
    b.say(BED, vec![emit(&[(0, 3)])]).expect("in order");
    assert_eq!(gaps(b.seal()), [(Some(0), 1, 1, 0, None)], "as far as the heads knew");
}

//= PROMISES.md#P96
#[test]
fn with_nothing_taken_alerts_are_one_gap_too() {
    let mut b = bench();
    b.say(BED, vec![Said::Raise(alert(1))]).expect("in order");
    b.seal();
    take_only(&mut b, Takes::Nothing);
    for id in 2..5 {
        b.say(BED, vec![Said::Raise(alert(id)), Said::Identify(vec![])]).expect("in order");
    }
    assert!(b.seal().entries().is_empty());
    take_only(&mut b, Takes::AlertsOnly);
    assert_eq!(gaps(b.seal()), [(None, 1, 1, 3, Some(3))], "it ends with the shortage, not with the next alarm");
    b.say(BED, vec![Said::Raise(alert(5))]).expect("in order");
    assert!(b.seal().entries().is_empty(), "the run goes on");
}

fn keep(n: u8) -> Said {
    Said::Keep(vec![n])
}

//= PROMISES.md#P96
#[test]
fn no_state_and_no_acknowledgement_runs_ahead_of_what_is_stored() {
    let mut b = bench();
    b.say(BED, vec![emit(&[(0, 1)]), keep(1)]).expect("in order");
    b.seal();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![keep(2), Said::WhenDurable(7), emit(&[(0, 2)])]).expect("in order");
    b.say(BED, vec![keep(3), Said::WhenDurable(8)]).expect("in order");
    let sealed = &b.seal().sealed;
    assert!(sealed.states.is_empty() && sealed.durable.is_empty(), "{sealed:?}");
    assert!(b.pipeline.behind().is_empty(), "there is no room yet");
    take_only(&mut b, Takes::Everything);
    b.say(BED, vec![emit(&[(0, 4)]), keep(4), Said::WhenDurable(9)]).expect("in order");
    let named = b.pipeline.behind();
    assert_eq!(named, [(Arc::from(BED), Some(vec![1]))]);
    b.say(BED, vec![keep(5)]).expect("in order");
    assert!(b.pipeline.behind().is_empty(), "said once");
    assert!(b.seal().sealed.states.is_empty(), "until it opens from what is stored");
    let now = b.tick();
    b.pipeline.opened(&Arc::from(BED), now, Some(GapReason::DiskFull));
    b.say(BED, vec![describe(0, "hr", Kind::Numeric), emit(&[(0, 2)]), keep(2), Said::WhenDurable(7)]).expect("in order");
    let sealed = &b.seal().sealed;
    assert_eq!((sealed.states.len(), sealed.durable.len()), (1, 1));
}

#[test]
fn the_state_of_an_alarm_that_was_taken_counts_and_a_bed_that_kept_nothing_goes_on() {
    let mut b = bench();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 2)]), Said::Raise(alert(1)), keep(2), Said::WhenDurable(7)]).expect("in order");
    let sealed = &b.seal().sealed;
    assert_eq!((sealed.states.clone(), sealed.durable.len()), (vec![(BED.to_owned(), vec![2])], 0), "but nothing lost is called durable");
    take_only(&mut b, Takes::Everything);
    assert_eq!(b.pipeline.behind(), [(Arc::from(BED), Some(vec![2]))], "it waits for an answer that never comes");
    let mut b = bench();
    take_only(&mut b, Takes::AlertsOnly);
    b.say(BED, vec![emit(&[(0, 2)]), Said::Raise(alert(1)), keep(2)]).expect("in order");
    b.say(BED, vec![emit(&[(0, 2)])]).expect("in order");
    take_only(&mut b, Takes::Everything);
    assert!(b.pipeline.behind().is_empty());
    b.say(BED, vec![emit(&[(0, 3)]), keep(3)]).expect("in order");
    assert_eq!(b.seal().sealed.states, [(BED.to_owned(), vec![3])]);
}
