//! One test a rule.

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire::{Alert, Class, ClockQuality, Content, Entry, GapReason, LastKnown, Run, Source, Stream};

use super::*;
use crate::config::{DeadBand, Report};
use crate::contract::types::{Kind, Missing};
use crate::pipeline::{Binding, SaidWrong, Urgency};

/// (stream's source, run, before, reason) of each run entry.
fn runs(group: &Group) -> Vec<(Source, Run, Option<LastKnown>, Option<GapReason>)> {
    let of = |e: &&Entry| match e {
        Entry::Run { stream, run, before, reason, .. } => Some((stream.source, *run, *before, *reason)),
        _ => None,
    };
    group.entries().iter().filter_map(of).collect()
}

/// (run, first, indices, values, reason) of each gap.
fn gaps(group: &Group) -> Vec<(Run, u64, u64, Option<u64>, GapReason)> {
    let of = |e: &&Entry| match e {
        Entry::Gap { run, first, indices, values, reason, .. } => Some((*run, *first, *indices, *values, *reason)),
        _ => None,
    };
    group.entries().iter().filter_map(of).collect()
}

fn numeric() -> Vec<Said> {
    vec![describe(0, "hr", Kind::Numeric)]
}

fn wave() -> Vec<Said> {
    vec![describe(0, "ecg", Kind::Waveform)]
}

fn tracks(group: &Group) -> Vec<(Run, u64, Vec<i32>, usize)> {
    let of = |b: &Batch| match &b.content {
        Content::Waveforms(tracks) => tracks.iter().map(|t| (t.run, t.first, t.counts.clone(), t.pieces.len())).collect(),
        _ => vec![],
    };
    group.batches.iter().flat_map(|(_, _, b)| of(b)).collect()
}

#[test]
fn a_life_with_nothing_to_write_wants_nothing() {
    let mut b = Bench::new();
    assert_eq!(b.pipeline.wants_commit(), Urgency::No);
    b.pipeline.clock(at(b.ns), 1, 2, ClockQuality::Synchronised);
    b.pipeline.bound(&"bed-1".into(), Binding { bed: Some("bed".into()), serial: None }, at(b.ns), None);
    b.open("bed-1", numeric());
    b.fault("bed-1");
    b.pipeline.closed(&Arc::from("bed-1"), at(b.ns), GapReason::GatewayRestart);
    assert!(!b.pipeline.begin_epoch(true));
    b.pipeline.stop(true);
    assert_eq!(b.pipeline.wants_commit(), Urgency::No, "neither clock, bed, description, faults nor the stop are news without a value");
    b.open("bed-1", numeric());
    b.say("bed-1", vec![emit(&[(0, 1)])]).expect("in order");
    assert_eq!(b.pipeline.wants_commit(), Urgency::Due);
    let group = b.seal();
    let entries = group.entries();
    assert!(matches!(entries[0], Entry::Opening { predecessor: None, .. }));
    assert!(matches!(entries[1], Entry::Clock { .. }) && matches!(entries[2], Entry::Binding { .. }));
    assert!(matches!(entries[3], Entry::Description { .. }) && matches!(entries[4], Entry::Run { .. }));
    assert!(group.sealed.heads.0, "the first heads of a life are full");
    assert_eq!(b.pipeline.wants_commit(), Urgency::No);
}

#[test]
fn alerts_and_when_durable_are_urgent_and_states_travel_with_what_was_said() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![Said::Keep(vec![1]), Said::WhenDurable(7)]).expect("in order");
    assert_eq!(b.pipeline.wants_commit(), Urgency::Now);
    b.say("a", vec![emit(&[(0, 5)]), Said::Keep(vec![2]), Said::WhenDurable(6)]).expect("in order");
    let group = b.seal();
    assert_eq!(group.sealed.states, [("a".to_owned(), vec![2])]);
    assert_eq!(group.sealed.durable, [(Arc::from("a"), 7), (Arc::from("a"), 6)]);
    assert_eq!(group.readings().len(), 1);
    b.say("a", vec![emit(&[(0, 6)]), Said::Raise(alert(3))]).expect("in order");
    assert_eq!(b.pipeline.wants_commit(), Urgency::Now);
    let group = b.seal();
    assert_eq!(
        group.keys(),
        [(0, Class::Alert, 0), (0, Class::Numeric, 1), (0, Class::Ledger, 1)],
        "an alert takes along all that is open"
    );
    assert!(group.sealed.states.is_empty() && group.sealed.durable.is_empty());
    assert_eq!(runs(group), [(Source::Alerts, 1, None, None)]);
}

#[test]
fn describing_again_loses_nothing_and_says_no_reason() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)]), emit(&[(0, 2)])]).expect("in order");
    let last = LastKnown { life: 1, run: 1, next: 2, moment: wire_at(b.ns) };
    b.say("a", vec![describe(0, "hr", Kind::Numeric)]).expect("in order");
    b.say("a", vec![describe(0, "pulse", Kind::Numeric), emit(&[(0, 3)])]).expect("in order");
    b.say("a", vec![describe(0, "hr", Kind::Numeric), emit(&[(0, 4)])]).expect("in order");
    let group = b.seal();
    let found = runs(group);
    assert_eq!(found[..2], [(Source::Channel(0), 1, None, None), (Source::Channel(0), 2, Some(last), None)]);
    assert_eq!((found[2].1, found[2].3), (3, None));
    let names = group.entries().iter().filter(|e| matches!(e, Entry::Description { .. })).count();
    assert_eq!(names, 2, "a description goes once a life");
    let positions: Vec<_> = group.readings().iter().map(|r| (r.run, r.index)).collect();
    assert_eq!(positions, [(1, 0), (1, 1), (2, 0), (3, 0)]);
}

#[test]
fn lost_and_fault_begin_runs_with_their_reasons() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)]), Said::Raise(alert(1))]).expect("in order");
    b.lost("a");
    b.say("a", vec![emit(&[(0, 2)])]).expect("in order");
    b.fault("a");
    assert!(matches!(b.say("a", vec![emit(&[(0, 9)])]), Err(PipelineError::NotOpen { .. })));
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 3)]), Said::Raise(alert(2))]).expect("in order");
    let found: Vec<_> = runs(b.seal()).into_iter().map(|(s, run, before, why)| (s, run, before.map(|l| (l.run, l.next)), why)).collect();
    let hr = Source::Channel(0);
    assert_eq!(
        found,
        [
            (hr, 1, None, None),
            (Source::Alerts, 1, None, None),
            (hr, 2, Some((1, 1)), Some(GapReason::GatewayOverrun)),
            (hr, 3, Some((2, 1)), Some(GapReason::PluginFault)),
            (Source::Alerts, 2, Some((1, 1)), Some(GapReason::GatewayOverrun)),
        ]
    );
}

#[test]
fn an_open_gap_is_a_commit_and_survives_a_crash() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)])]).expect("in order");
    let spoke = wire_at(b.ns);
    b.seal();
    b.fault("a");
    assert_eq!(b.pipeline.wants_commit(), Urgency::Due, "an open gap is news even without a batch");
    assert!(b.seal().batches.is_empty());
    let sealed = wire_at(b.ns);
    b.crash(2);
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 2)])]).expect("in order");
    let group = b.seal();
    let stream = Stream { instance: "a".into(), source: Source::Channel(0) };
    let reason = GapReason::PluginFault;
    let gap = Entry::Gap { life: 1, stream, run: 1, first: 1, indices: 0, values: None, from: spoke, to: sealed, reason };
    assert_eq!(*group.entries()[1], gap, "the gap that was open follows the opening");
    let before = LastKnown { life: 1, run: 1, next: 1, moment: spoke };
    assert_eq!(runs(group), [(Source::Channel(0), 1, Some(before), Some(GapReason::GatewayRestart))]);
}

#[test]
fn an_open_gap_is_told_at_each_closing_and_carries_on() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.open("b", numeric());
    b.say("a", vec![emit(&[(0, 1)])]).expect("in order");
    let spoke = wire_at(b.ns);
    b.seal();
    b.fault("a");
    let mut ends = vec![spoke];
    for n in 0..2 {
        b.say("b", vec![emit(&[(0, n)])]).expect("in order");
        assert!(b.pipeline.begin_epoch(false));
        let told = gaps(b.seal());
        assert_eq!(told, [(1, 1, 0, None, GapReason::PluginFault)]);
        ends.push(wire_at(b.ns));
    }
    let stretches = b.groups.iter().flat_map(Group::entries).filter_map(|e| match e {
        Entry::Gap { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    assert_eq!(stretches.collect::<Vec<_>>(), [(ends[0], ends[1]), (ends[1], ends[2])]);
    assert!(!b.pipeline.begin_epoch(false), "a device that stays away keeps no epoch from being empty");
}

#[test]
fn missed_readings_take_one_index_that_a_gap_covers() {
    let mut b = Bench::new();
    b.open("a", numeric());
    let missed = |n| Said::Missed(0, n, Missing::Corrupted);
    b.say("a", vec![missed(None), emit(&[(0, 1)]), missed(Some(4)), missed(Some(0)), emit(&[(0, 2)])]).expect("in order");
    let group = b.seal();
    assert_eq!(gaps(group), [(1, 0, 1, None, GapReason::LineFault), (1, 2, 1, Some(4), GapReason::LineFault)]);
    let positions: Vec<_> = group.readings().iter().map(|r| (r.run, r.index)).collect();
    assert_eq!(positions, [(1, 1), (1, 3)]);
}

#[test]
fn waveforms_keep_the_plugins_indices() {
    let mut b = Bench::new();
    b.open("a", wave());
    b.say("a", vec![block(0, 0, &[1, 2]), block(0, 2, &[3])]).expect("in order");
    b.say("a", vec![Said::Missed(0, Some(2), Missing::Corrupted), block(0, 5, &[6]), block(0, 10, &[11])]).expect("in order");
    let group = b.seal();
    assert_eq!(gaps(group), [(1, 3, 2, Some(2), GapReason::LineFault), (1, 6, 4, Some(4), GapReason::Unknown)]);
    assert_eq!(tracks(group), [(1, 0, vec![1, 2, 3], 2), (1, 5, vec![6], 1), (1, 10, vec![11], 1)]);
    // unknown count: a run of its own, which starts where its first sample is
    b.say("a", vec![Said::Missed(0, None, Missing::DeviceOff), block(0, 20, &[21]), block(0, 21, &[22])]).expect("in order");
    let group = b.seal();
    assert_eq!((tracks(group), gaps(group)), (vec![(2, 0, vec![21, 22], 2)], vec![]));
    assert_eq!(runs(group)[0].3, Some(GapReason::DeviceOff));
    // a loss that was told before a new description shows in the run, and one after it in positions
    b.say("a", vec![Said::Missed(0, Some(3), Missing::NotSent), describe(0, "ecg", Kind::Waveform), block(0, 2, &[30])]).expect("in order");
    let group = b.seal();
    assert_eq!(runs(group)[0].3, Some(GapReason::DeviceSkipped));
    assert_eq!((tracks(group), gaps(group)), (vec![(3, 2, vec![30], 1)], vec![(3, 0, 2, Some(2), GapReason::DeviceSkipped)]));
}

#[test]
fn a_call_counts_as_a_whole_or_not_at_all() {
    type Fits = fn(&SaidWrong) -> bool;
    let wrong: Vec<(Said, Fits)> = vec![
        (emit(&[(9, 1)]), |w| matches!(w, SaidWrong::Undescribed { channel: 9 })),
        (Said::Missed(9, None, Missing::Unknown), |w| matches!(w, SaidWrong::Undescribed { channel: 9 })),
        (emit(&[(1, 1)]), |w| matches!(w, SaidWrong::Kind { channel: 1, .. })),
        (block(0, 0, &[1]), |w| matches!(w, SaidWrong::Kind { channel: 0, .. })),
        (block(1, 1, &[1]), |w| matches!(w, SaidWrong::Backward { first: 1, expected: 2, .. })),
        (block(1, u64::MAX, &[1]), |w| matches!(w, SaidWrong::Beyond { .. })),
        (Said::Keep(vec![0; 300 << 10]), |_| false), // large, but its bound is the plugin room's
        (block(1, 2, &vec![0; 200 << 10]), |w| matches!(w, SaidWrong::TooLarge { .. })),
        (Said::Identify(vec![types::Fact { name: String::new(), value: String::new() }; 40_000]), |w| {
            matches!(w, SaidWrong::TooLarge { .. })
        }),
        (Said::Emit(vec![types::Observation { at: types::DeviceTime::NotTold, readings: text_readings() }]), |w| {
            matches!(w, SaidWrong::Kind { .. })
        }),
    ];
    for (said, expected) in wrong {
        let mut b = Bench::new();
        b.open("a", vec![describe(0, "hr", Kind::Numeric), describe(1, "ecg", Kind::Waveform)]);
        b.say("a", vec![emit(&[(0, 1)]), block(1, 0, &[1, 2]), Said::Keep(vec![7])]).expect("in order");
        b.seal();
        let call = vec![emit(&[(0, 2)]), block(1, 2, &[]), Said::Raise(alert(1)), Said::Keep(vec![1]), said];
        match b.say("a", call) {
            Err(PipelineError::Plugin { wrong, .. }) => assert!(expected(&wrong), "{wrong}"),
            other => {
                assert!(matches!(b.groups.len(), 1) && other.is_ok(), "{other:?}");
                continue;
            }
        }
        assert_eq!(b.pipeline.kept("a"), Some(vec![7]), "what it goes on from");
        assert_eq!(b.pipeline.wants_commit(), Urgency::Due, "the open gap of the fault, not the alert");
        let group = b.seal();
        assert!(group.batches.is_empty() && group.sealed.states.is_empty());
        assert!(matches!(b.say("a", vec![]), Err(PipelineError::NotOpen { .. })));
        b.open("a", numeric());
        b.say("a", vec![emit(&[(0, 3)])]).expect("in order");
        assert_eq!(runs(b.seal())[0].3, Some(GapReason::PluginFault));
    }
}

fn text_readings() -> Vec<types::Reading> {
    vec![types::Reading { channel: 0, value: types::Value::Text("high".into()), quality: types::Quality::empty() }]
}

#[test]
fn descriptions_that_nobody_could_read_are_refused() {
    let mut b = Bench::new();
    b.open("a", vec![]);
    let Said::Describe(_, mut odd) = describe(0, "ecg", Kind::Waveform) else { unreachable!() };
    odd.shape = None;
    let error = b.say("a", vec![Said::Describe(0, odd)]).expect_err("no shape");
    assert!(error.to_string().contains("\"ecg\" as waveform without a shape"), "{error}");
}

#[test]
fn personal_channels_stay_here_unless_granted() {
    for (instance, granted) in [("a", false), ("granted", true)] {
        let mut b = Bench::new();
        let said = vec![
            describe_as(0, "name", Kind::Numeric, true),
            describe(1, "hr", Kind::Numeric),
            describe_as(2, "ecg", Kind::Waveform, true),
        ];
        b.open(instance, said);
        b.say(instance, vec![emit(&[(0, 1)]), block(2, 0, &[1, 2]), Said::Missed(0, None, Missing::Unknown)]).expect("in order");
        assert_eq!(b.pipeline.wants_commit(), if granted { Urgency::Due } else { Urgency::No });
        b.say(instance, vec![emit(&[(0, 2), (1, 3)])]).expect("in order");
        assert_eq!(b.pipeline.withheld(instance), if granted { 0 } else { 4 });
        let group = b.seal();
        assert_eq!(group.readings().len(), if granted { 3 } else { 1 });
        let described = group.entries().iter().filter(|e| matches!(e, Entry::Description { .. })).count();
        assert_eq!((described, runs(group).len()), if granted { (3, 3) } else { (1, 1) });
    }
}

/// Limits, code and words of an alert say what the channel would have said.
#[test]
fn an_alert_about_a_personal_channel_says_that_it_was_raised_and_no_more() {
    for (instance, granted) in [("a", false), ("granted", true)] {
        let mut b = Bench::new();
        b.open(instance, vec![describe_as(0, "sleep", Kind::Numeric, true), describe(1, "hr", Kind::Numeric)]);
        let limit = Some(types::Decimal { mantissa: 90, exponent: 0 });
        let code = Some(types::Coding { scheme: "mdc".into(), value: "1".into() });
        let of = |channel| types::Alert { channel, low: limit, high: limit, code: code.clone(), ..alert(7) };
        b.say(instance, vec![Said::Raise(of(Some(0))), Said::Raise(of(Some(1))), Said::Raise(of(None))]).expect("in order");
        assert_eq!(b.pipeline.withheld(instance), u64::from(!granted));
        let group = b.seal();
        let said = group.alerts();
        let whole = |a: &&Alert| a.low.is_some() && a.high.is_some() && a.code.is_some() && a.text == "HR HIGH";
        assert_eq!(said.iter().map(whole).collect::<Vec<_>>(), [granted, true, true], "{said:#?}");
        assert_eq!((said[0].id, said[0].priority, said[0].channel), (7, said[1].priority, granted.then_some(0)));
        assert_eq!(said[0].text == "HR HIGH" || said[0].low.is_some() || said[0].code.is_some(), granted);
    }
}

#[test]
fn an_epoch_changes_inside_one_group() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)])]).expect("in order");
    let first = wire_at(b.ns);
    b.seal();
    b.say("a", vec![emit(&[(0, 2)]), Said::Missed(0, None, Missing::DeviceOff)]).expect("in order");
    let last = wire_at(b.ns);
    assert!(b.pipeline.begin_epoch(true));
    b.say("a", vec![Said::Identify(vec![])]).expect("in order");
    let group = b.seal();
    let keys = [(0, Class::Numeric, 1), (0, Class::Ledger, 1), (1, Class::Ledger, 0)];
    assert_eq!(group.keys(), keys, "the ledger of the old epoch last, then the new one's batch 0");
    assert!(group.sealed.heads.0, "the first heads of an epoch are full");
    let [Entry::Closing(closing)] = ledger(&group.batches[2].2) else { panic!("a closing and nothing else") };
    assert!(closing.clean);
    let ends: Vec<_> = closing.classes.iter().map(|c| (c.class, c.count, c.last)).collect();
    assert_eq!(ends, [(Class::Ledger, 2, group.batches[1].1), (Class::Numeric, 2, group.batches[0].1)]);
    let run = &closing.runs[0];
    assert_eq!((closing.runs.len(), run.run, run.first, run.next, run.count), (1, 1, 0, 3, 2));
    assert_eq!((run.first_moment, run.last_moment), (first, last));
    assert!(!b.pipeline.begin_epoch(true), "nothing but its opening");
    b.say("a", vec![emit(&[(0, 3)])]).expect("in order");
    let group = b.seal();
    assert_eq!(group.keys(), [(1, Class::Numeric, 0)], "the run goes on, without a new entry");
    assert_eq!((group.readings()[0].run, group.readings()[0].index), (1, 3));
}

#[test]
fn a_successor_says_how_the_life_before_ended() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)])]).expect("in order");
    b.seal();
    b.say("a", vec![emit(&[(0, 2)])]).expect("in order");
    let digest = b.seal().batches[0].1;
    b.say("a", vec![emit(&[(0, 3)])]).expect("in order"); // never sealed
    b.crash(2);
    b.crash(3); // life 2 leaves no trace
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 4)])]).expect("in order");
    let group = b.seal();
    let Entry::Opening { predecessor: Some(p), reason: GapReason::GatewayRestart, .. } = group.entries()[0] else { panic!("an opening") };
    assert_eq!((p.life, p.closing.epoch, p.closing.clean), (1, 0, false));
    assert_eq!(p.closing.classes.iter().map(|c| (c.class, c.count)).collect::<Vec<_>>(), [(Class::Ledger, 1), (Class::Numeric, 2)]);
    assert_eq!((p.closing.classes[1].last, p.closing.runs[0].next), (digest, 2));
    let (_, run, before, reason) = runs(group)[0];
    assert_eq!((run, before.map(|l| (l.life, l.next)), reason), (1, Some((1, 2)), Some(GapReason::GatewayRestart)));
}

#[test]
fn a_clean_stop_opens_one_more_epoch() {
    let mut b = Bench::new();
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 1)])]).expect("in order");
    b.pipeline.closed(&Arc::from("a"), at(b.ns + 1), GapReason::GatewayRestart);
    b.pipeline.stop(false);
    let group = b.seal();
    assert_eq!(group.keys(), [(0, Class::Numeric, 0), (0, Class::Ledger, 0), (1, Class::Ledger, 0)]);
    assert_eq!(gaps(group), [(1, 1, 0, None, GapReason::GatewayRestart)]);
    let found = b.found().expect("heads");
    assert!(found.stopped() && found.epoch() == 1 && found.life() == 1 && found.moment() == wire_at(b.ns));
    b.crash(2);
    b.open("a", numeric());
    b.say("a", vec![emit(&[(0, 2)])]).expect("in order");
    assert!(gaps(b.seal()).is_empty(), "told at the stop");
    assert!(!b.found().expect("heads").stopped());
}

#[test]
fn batches_close_at_their_size() {
    let mut b = Bench::with(2 << 10);
    b.open("a", vec![describe(0, "hr", Kind::Numeric), describe(1, "note", Kind::Text), describe(2, "ecg", Kind::Waveform)]);
    let noise = |n: u64| (0..200).map(|k| ((n * 7919 + k * 104_729) % 4096) as i32).collect::<Vec<_>>();
    for n in 0..300 {
        b.say("a", vec![emit(&[(0, n)]), block(2, n as u64 * 200, &noise(n as u64))]).expect("in order");
    }
    let text: String = (0..5000).map(|n| char::from(b'a' + (n * n % 26) as u8)).collect();
    let reading = types::Reading { channel: 1, value: types::Value::Text(text), quality: types::Quality::empty() };
    b.say("a", vec![Said::Emit(vec![types::Observation { at: types::DeviceTime::NotTold, readings: vec![reading] }])]).expect("in order");
    let group = b.seal();
    let numeric = group.batches.iter().filter(|(k, ..)| k.class == Class::Numeric);
    assert!(numeric.count() > 3);
    let oversize = group.batches.iter().filter(|(_, _, batch)| match &batch.content {
        Content::Numerics(i) => i.iter().flat_map(|i| &i.observations).any(|o| o.readings[0].channel == 1),
        _ => false,
    });
    let oversize: Vec<_> = oversize.map(|(key, ..)| *key).collect();
    assert_eq!(oversize.len(), 1);
    for (key, _, bytes) in &group.sealed.batches {
        assert!(bytes.len() <= 2 << 10 || *key == oversize[0], "{key} has {} bytes", bytes.len());
    }
    assert_eq!(group.readings().len(), 301);
    assert_eq!(tracks(group).iter().map(|t| t.2.len()).sum::<usize>(), 300 * 200);
}

#[test]
fn a_plugin_that_describes_without_end_changes_the_epoch() {
    let mut b = Bench::new();
    b.open("a", vec![]);
    for n in 0..5000 {
        b.say("a", vec![describe(0, "hr", Kind::Numeric), emit(&[(0, n)])]).expect("in order");
    }
    assert_eq!(b.seal().batches.last().expect("batches").0.epoch, 1, "closings stay within what the wire takes");
}

#[test]
fn a_seal_that_fails_leaves_everything_where_it_was() {
    let mut b = Bench::new();
    let long = "x".repeat(wardgate_wire::INSTANCE_BYTES_MAX + 1); // configuration refuses such a name; here it makes the wire refuse
    b.open("a", numeric());
    b.open(&long, numeric());
    b.say("a", vec![emit(&[(0, 1)]), Said::Keep(vec![1]), Said::WhenDurable(1)]).expect("in order");
    b.say(&long, vec![emit(&[(0, 1)])]).expect("in order");
    assert!(b.pipeline.begin_epoch(true));
    let before = format!("{:?} {:?}", b.pipeline.book, b.pipeline.sealed);
    for _ in 0..2 {
        let error = b.pipeline.seal(false, at(b.ns)).expect_err("refused");
        assert!(matches!(error, PipelineError::Encode { .. }), "{error}");
        assert_eq!(before, format!("{:?} {:?}", b.pipeline.book, b.pipeline.sealed));
        assert_eq!((b.pipeline.wants_commit(), b.pipeline.states.len(), b.pipeline.durable.len()), (Urgency::Now, 1, 1));
        assert!(b.pipeline.change.is_some());
    }
}

#[test]
fn the_same_calls_make_the_same_bytes() {
    let make = || {
        let mut b = Bench::new();
        b.open("b", numeric());
        b.open("a", wave());
        b.say("a", vec![block(0, 0, &[1, 2, 3])]).expect("in order");
        b.say("b", vec![emit(&[(0, 1)]), Said::Raise(alert(1))]).expect("in order");
        b.seal().sealed.clone()
    };
    assert_eq!(make(), make());
}

/// A batch that the wire refuses would stop the whole gateway: the largest things that are taken must pass, and larger ones be a fault.
#[test]
fn nothing_that_a_plugin_says_makes_a_batch_that_the_wire_refuses() {
    const LIMIT: usize = crate::pipeline::said::INDIVISIBLE_BYTES_MAX;
    let fact = types::Fact { name: String::new(), value: String::new() };
    let described = |n: usize| {
        let Said::Describe(channel, mut d) = describe(2, "x", Kind::Numeric) else { unreachable!() };
        d.facts = vec![fact.clone(); n];
        vec![Said::Describe(channel, d), emit(&[(2, 1)])]
    };
    let noise = |n: usize| (0..n as u64).map(|k| (k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as i32).collect::<Vec<_>>();
    let raise = |n: usize| vec![Said::Raise(types::Alert { text: "!".repeat(n), ..alert(1) })];
    let readings = |n: usize| vec![emit(&(0..n).map(|k| ((k % 2) as u16 * 3, k as i64 * 977)).collect::<Vec<_>>())];
    let largest: [&dyn Fn(usize) -> Vec<Said>; 6] = [
        &|n| readings(n / 16),
        &|n| vec![Said::Identify(vec![fact.clone(); n / 8])],
        &|n| described(n / 8 - 8),
        &|n| vec![block(1, 0, &noise(n / 2 - 20))],
        &|n| raise(n - 64),
        &|n| vec![block(1, u64::MAX - (n - LIMIT + 1) as u64, &[1])],
    ];
    for (which, make) in largest.iter().enumerate() {
        for batch_bytes in [1, 16 << 10, 1 << 30] {
            let mut b = Bench::with(batch_bytes);
            b.open("a", vec![describe(0, "hr", Kind::Numeric), describe(1, "ecg", Kind::Waveform), describe(3, "rr", Kind::Numeric)]);
            b.say("a", make(LIMIT)).unwrap_or_else(|e| panic!("{which}: {e}"));
            b.pipeline.begin_epoch(false);
            b.seal();
        }
        let mut b = Bench::new();
        b.open("a", vec![describe(0, "hr", Kind::Numeric), describe(1, "ecg", Kind::Waveform), describe(3, "rr", Kind::Numeric)]);
        assert!(which == 5 || b.say("a", make(LIMIT + 32)).is_err(), "{which}");
    }
    // many small things: a full memory is sealed at once, in batches that all pass
    let mut b = Bench::with(1 << 30);
    b.open("a", vec![describe(0, "hr", Kind::Numeric)]);
    while b.pipeline.wants_commit() < Urgency::Now {
        b.say("a", vec![emit(&[(0, 1)]), Said::Identify(vec![]), Said::Missed(0, None, Missing::Unknown)]).expect("in order");
    }
    assert!(b.pipeline.waiting_bytes() >= 1 << 20);
    b.seal();
}

#[test]
fn a_channel_on_change_sends_changes_and_says_so_in_its_description() {
    let mut b = Bench::new();
    let rule = Report::OnChange { dead_band: DeadBand { mantissa: 3, exponent: -1 }, heartbeat_s: 60 };
    let reports = BTreeMap::from([("load".into(), rule.clone()), ("wave".into(), rule)]);
    b.pipeline.posted(&"ups".into(), Terms { reports, ..Terms::default() });
    b.open("ups", vec![describe(1, "load", Kind::Numeric), describe(2, "charge", Kind::Numeric), describe(3, "wave", Kind::Waveform)]);
    for (at, n) in (0..).zip([100, 101, 103, 104, 104]) {
        b.say("ups", vec![emit(&[(1, n), (2, n)]), block(3, at, &[1])]).unwrap();
    }
    let group = b.seal();
    let of = |channel: u16| -> Vec<(u64, i64)> {
        let readings = group.readings().into_iter().filter(|r| r.channel == channel);
        readings.map(|r| if let wardgate_wire::Value::Number(d) = r.value { (r.index, d.mantissa) } else { panic!() }).collect()
    };
    assert_eq!(of(1), [(0, 100), (1, 104)], "positions have no hole: what is no change was never taken");
    assert_eq!(of(2).len(), 5, "of all others everything: {:?}", of(2));
    let told: Vec<_> = (group.entries().iter())
        .filter_map(|e| {
            if let Entry::Description { description, .. } = e { Some((description.name.clone(), description.facts.clone())) } else { None }
        })
        .filter(|(_, facts)| !facts.is_empty())
        .collect();
    let [(name, facts)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (name.as_str(), facts[0].name.as_str(), facts[0].value.as_str()),
        ("load", "report", "on-change; dead-band 0.3; heartbeat 60 s")
    );
    assert_eq!(b.pipeline.unchanged("ups"), 3);
    b.lost("ups");
    b.say("ups", vec![emit(&[(1, 104)])]).unwrap();
    assert_eq!(b.seal().readings().len(), 1, "after a loss the next value is news");
}

//= PROMISES.md#P127
#[test]
fn a_devices_clock_is_told_when_it_is_heard_first_when_it_is_set_and_anew_for_another_device() {
    let mut b = Bench::new();
    b.open("a", vec![describe(0, "hr", Kind::Numeric)]);
    let stamped = |at: types::DeviceTime| {
        let reading = types::Reading { channel: 0, value: super::number(1), quality: types::Quality::empty() };
        vec![Said::Emit(vec![types::Observation { at, readings: vec![reading] }])]
    };
    let utc = |b: &Bench, ahead: i64| types::DeviceTime::Utc(b.ns as i64 + ahead);
    let hour = 3600 * SECOND as i64;
    let says = |b: &mut Bench, ahead: i64| {
        b.ns += SECOND;
        let at = utc(b, ahead);
        b.say("a", stamped(at)).unwrap();
    };
    [0, 0, 0, 0, 0, hour, hour].into_iter().for_each(|ahead| says(&mut b, ahead));
    b.say("a", vec![emit(&[(0, 1)])]).unwrap(); // tells none
    let now = b.tick();
    b.pipeline.relinked(&"a".into(), crate::config::Link::Serial, now);
    b.pipeline.relinked(&"a".into(), crate::config::Link::Serial, now);
    (0..5).for_each(|_| says(&mut b, 0));
    let told: Vec<_> = (b.seal().entries().into_iter())
        .filter_map(|e| if let Entry::DeviceClock { change, uncertainty_ns, .. } = e { Some((*change, *uncertainty_ns)) } else { None })
        .collect();
    use wardgate_wire::ClockChange::{First, Step};
    assert_eq!(told, [(First, 2 * SECOND), (Step, 2 * SECOND), (First, 2 * SECOND)]);
}
