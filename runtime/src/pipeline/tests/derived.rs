//! Windows and previews: what is told of a channel instead of its values, or ahead of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire::{Class, Content, Decimal, Description, Entry, GapReason, Run, Value, WaveformTrack};

use super::super::{Binding, Pipeline, Takes};
use super::{Bench, Group, SECOND, at, block, describe, describe_as, emit, setup};
use crate::config::{Report, Terms};
use crate::contract::Said;
use crate::contract::types::{Kind, Missing};

fn with_rule(channel: &str, rule: Report) -> Bench {
    let mut b = Bench::new();
    let reports = BTreeMap::from([(channel.to_owned(), rule)]);
    b.pipeline.posted(&"ups".into(), Terms { reports, ..Terms::default() });
    b
}

/// Run, and least, most, mean and number, of each window that was told.
fn windows(group: &Group) -> Vec<(Run, [i64; 4])> {
    let number = |value: &Value| if let Value::Number(Decimal { mantissa, .. }) = value { *mantissa } else { -1 };
    let readings = group.readings();
    readings.chunks(4).map(|four| (four[0].run, [0, 1, 2, 3].map(|n: usize| number(&four[n].value)))).collect()
}

fn described(group: &Group) -> Vec<&Description> {
    let all = group.entries().into_iter();
    all.filter_map(|e| if let Entry::Description { description, .. } = e { Some(description) } else { None }).collect()
}

fn reasons(group: &Group) -> Vec<GapReason> {
    let of = |e: &Entry| if let Entry::Run { reason, .. } = e { *reason } else { None };
    group.entries().into_iter().filter_map(of).collect()
}

//= PROMISES.md#P124
#[test]
fn a_window_tells_least_most_mean_and_number_and_says_that_it_is_derived() {
    let mut b = with_rule("load", Report::Window { seconds: 60 });
    b.open("ups", vec![describe(1, "load", Kind::Numeric), describe(2, "charge", Kind::Numeric)]);
    for n in [10, 30, 20] {
        b.say("ups", vec![emit(&[(1, n), (2, n)])]).unwrap();
    }
    assert_eq!(b.seal().readings().iter().filter(|r| r.channel == 2).count(), 3, "of all others everything");
    b.ns = 60 * SECOND;
    b.say("ups", vec![emit(&[(1, 99)])]).unwrap();
    let group = b.seal();
    assert_eq!(windows(group), [(1, [10, 30, 2000, 3])], "the mean has two digits more");
    let names: Vec<_> = described(group).iter().map(|d| (d.name.as_str(), d.derived, d.facts[0].value.as_str())).collect();
    let expected = ["load.min", "load.max", "load.mean", "load.count"].map(|name| (name, true, "load"));
    assert_eq!(names, expected);
    assert_eq!(b.pipeline.unchanged("ups"), 0);
    // nobody says anything any more
    b.pipeline.tell_windows_over(at(119 * SECOND));
    assert!(windows(b.seal()).is_empty());
    b.pipeline.tell_windows_over(at(120 * SECOND));
    assert_eq!(windows(b.seal()), [(1, [99, 99, 9900, 1])]);
}

/// What was called durable is told, whatever happens to the gateway; and what was lost is lost between two windows.
//= PROMISES.md#P125
#[test]
fn an_open_window_outlives_a_crash_and_ends_with_a_loss() {
    let mut b = with_rule("load", Report::Window { seconds: 60 });
    b.open("ups", vec![describe(1, "load", Kind::Numeric)]);
    b.say("ups", vec![emit(&[(1, 5), (1, 7)]), Said::WhenDurable(9)]).unwrap();
    let group = b.seal();
    assert_eq!((windows(group).len(), group.sealed.durable.len()), (0, 1));
    let [(name, state)] = &group.sealed.states[..] else { panic!("{:?}", group.sealed.states) };
    assert_eq!(super::super::window_of(name), Some(("ups", 1)));
    let (name, state) = (name.clone(), state.clone());

    b.crash(2);
    b.pipeline.restore_window(&"ups".into(), 1, &state, false).expect("whole");
    let reports = BTreeMap::from([("load".to_owned(), Report::Window { seconds: 60 })]);
    b.pipeline.posted(&"ups".into(), Terms { reports, ..Terms::default() });
    b.open("ups", vec![describe(1, "load", Kind::Numeric)]);
    b.say("ups", vec![emit(&[(1, 100)])]).unwrap();
    b.lost("ups");
    let group = b.seal();
    assert_eq!(windows(group), [(1, [5, 7, 600, 2]), (2, [100, 100, 10_000, 1])]);
    assert_eq!(reasons(group)[..4], [GapReason::GatewayRestart; 4], "{:?}", reasons(group));
    assert!(group.sealed.states.contains(&(name.clone(), Vec::new())), "it is told, so it is not kept");
    b.say("ups", vec![emit(&[(1, 1)]), Said::Missed(1, Some(2), Missing::DeviceOff), emit(&[(1, 2)])]).unwrap();
    b.fault("ups");
    let group = b.seal();
    assert_eq!(windows(group), [(3, [1, 1, 100, 1]), (4, [2, 2, 200, 1])]);
    let told: Vec<_> = reasons(group);
    assert!(told.contains(&GapReason::GatewayOverrun) && told.contains(&GapReason::DeviceOff), "{told:?}");

    for n in 0..state.len() {
        let mut fresh = Pipeline::new(setup(3, 1 << 14), None, at(SECOND));
        assert!(fresh.restore_window(&Arc::from("ups"), 1, &state[..n], false).is_err());
        assert!(
            fresh.seal(false, at(SECOND)).unwrap().states.contains(&(name.clone(), Vec::new())),
            "what cannot be read is not kept for ever"
        );
    }
}

/// What it was granted when the window was opened counts for nothing.
//= PROMISES.md#P196
#[test]
fn a_personal_window_of_the_life_before_is_not_told_without_its_grant() {
    for granted in [true, false] {
        let mut b = Bench::new();
        let reports = BTreeMap::from([("load".to_owned(), Report::Window { seconds: 60 })]);
        b.pipeline.posted(&"ups".into(), Terms { reports, personal: true, ..Terms::default() });
        b.open("ups", vec![describe_as(1, "load", Kind::Numeric, true)]);
        b.say("ups", vec![emit(&[(1, 5), (1, 7)])]).unwrap();
        let [(name, state)] = &b.seal().sealed.states[..] else { panic!("one window") };
        let (name, state) = (name.clone(), state.clone());
        b.crash(2);
        b.pipeline.restore_window(&"ups".into(), 1, &state, granted).expect("whole");
        assert_eq!(b.pipeline.withheld("ups"), if granted { 0 } else { 2 });
        b.open("ups", vec![describe(2, "charge", Kind::Numeric)]);
        b.say("ups", vec![emit(&[(2, 1)])]).unwrap();
        let group = b.seal();
        assert_eq!(group.readings().len(), if granted { 5 } else { 1 });
        assert!(group.sealed.states.contains(&(name, Vec::new())), "either way it is gone from the card");
    }
}

fn tracks(group: &Group, class: Class) -> Vec<&WaveformTrack> {
    let of_class = group.batches.iter().filter(|(key, ..)| key.class == class);
    of_class.flat_map(|(_, _, batch)| if let Content::Waveforms(tracks) = &batch.content { &tracks[..] } else { &[] }).collect()
}

//= PROMISES.md#P126
#[test]
fn a_preview_goes_ahead_and_the_whole_waveform_follows_untouched() {
    let mut b = with_rule("ecg", Report::Preview { every: 10 });
    b.open("ups", vec![describe(1, "ecg", Kind::Waveform)]);
    let all: Vec<i32> = (0..60).collect();
    for (first, counts) in (0..).step_by(12).zip(all.chunks(12)) {
        b.say("ups", vec![block(1, first, counts)]).unwrap();
    }
    b.say("ups", vec![Said::Missed(1, Some(25), Missing::Overrun), block(1, 85, &(85..100).collect::<Vec<_>>())]).unwrap();
    let group = b.seal();
    let counts = |class| tracks(group, class).iter().flat_map(|t| t.counts.clone()).collect::<Vec<_>>();
    assert_eq!(counts(Class::Waveform).len(), 75);
    assert_eq!(counts(Class::Preview), [0, 10, 20, 30, 40, 50, 90], "by the device's own index");
    let preview = tracks(group, Class::Preview);
    assert_eq!(preview.last().map(|t| t.first), Some(9), "its positions are a tenth of those of the whole");
    let order: Vec<Class> = group.keys().into_iter().map(|(_, class, _)| class).collect();
    assert!(order.iter().position(|c| *c == Class::Preview) < order.iter().position(|c| *c == Class::Waveform));
    let of = |d: &&Description| d.name == "ecg.preview";
    let description = *described(group).iter().find(|d| of(d)).expect("described");
    let whole = *described(group).iter().find(|d| d.name == "ecg").expect("described");
    let (shape, period) = (description.shape.unwrap(), whole.shape.unwrap().period_numerator);
    assert!(description.derived && !whole.derived && shape.period_numerator == 10 * period);
    let gaps: Vec<_> = group
        .entries()
        .into_iter()
        .filter_map(|e| if let Entry::Gap { indices, reason, .. } = e { Some((*indices, *reason)) } else { None })
        .collect();
    assert_eq!(gaps, [(3, GapReason::GatewayOverrun), (25, GapReason::GatewayOverrun)]);
}

#[test]
fn on_a_full_disk_a_window_ends_and_a_preview_waits_with_its_waveform() {
    let mut b = with_rule("load", Report::Window { seconds: 60 });
    let reports = BTreeMap::from([("load".to_owned(), Report::Window { seconds: 60 }), ("ecg".to_owned(), Report::Preview { every: 2 })]);
    b.pipeline.posted(&"ups".into(), Terms { reports, ..Terms::default() });
    b.open("ups", vec![describe(1, "load", Kind::Numeric), describe(2, "ecg", Kind::Waveform)]);
    b.say("ups", vec![emit(&[(1, 5)]), block(2, 0, &[0, 1, 2, 3])]).unwrap();
    b.seal();
    let now = b.tick();
    b.pipeline.take_only(Takes::AlertsOnly, now);
    b.say("ups", vec![emit(&[(1, 6), (1, 7)]), block(2, 4, &[4, 5])]).unwrap();
    let group = b.seal();
    assert_eq!(windows(group), [(1, [5, 5, 500, 1])]);
    assert!(tracks(group, Class::Preview).is_empty());
    let now = b.tick();
    b.pipeline.take_only(Takes::Everything, now);
    b.say("ups", vec![emit(&[(1, 8)]), block(2, 6, &[6, 7])]).unwrap();
    b.fault("ups");
    let group = b.seal();
    assert_eq!(windows(group), [(2, [8, 8, 800, 1])]);
    assert_eq!(tracks(group, Class::Preview)[0].counts, [6]);
    assert_eq!(reasons(group).iter().filter(|r| **r == GapReason::DiskFull).count(), 5, "four of the window, one of the preview");
    let gap =
        group.entries().into_iter().find_map(|e| if let Entry::Gap { indices, reason, .. } = e { Some((*indices, *reason)) } else { None });
    assert_eq!(gap, Some((2, GapReason::DiskFull)), "of the waveform itself, to the sample");
}

/// What was said before the device said who it is is summed up with what comes then; of a waveform of that time there is no preview.
#[test]
fn behind_a_parked_session_windows_and_previews_begin_without_a_loss() {
    let mut b = Bench::new();
    let reports = BTreeMap::from([("load".to_owned(), Report::Window { seconds: 60 }), ("ecg".to_owned(), Report::Preview { every: 2 })]);
    b.pipeline.posted(&"ups".into(), Terms { reports, ..Terms::default() });
    let now = b.tick();
    b.pipeline.bound(&"ups".into(), Binding { bed: Some("bed-1".into()), serial: Some("A1".into()) }, now, None);
    b.open("ups", vec![describe(1, "load", Kind::Numeric), describe(2, "ecg", Kind::Waveform)]);
    b.say("ups", vec![emit(&[(1, 5)]), block(2, 0, &[0, 1, 2, 3])]).unwrap();
    let serial = crate::contract::types::Fact { name: "serial".into(), value: "A1".into() };
    b.say("ups", vec![Said::Identify(vec![serial]), emit(&[(1, 6)]), block(2, 4, &[4, 5, 6, 7])]).unwrap();
    b.fault("ups");
    let group = b.seal();
    assert_eq!(windows(group), [(1, [5, 6, 550, 2])]);
    assert!(group.readings().iter().all(|r| r.channel >= 0x8008), "not one value by itself");
    assert_eq!(tracks(group, Class::Preview)[0].counts, [4, 6]);
    assert!(group.entries().iter().all(|e| !matches!(e, Entry::Gap { .. })), "nothing is lost");
}

fn identify(serial: &str) -> Said {
    Said::Identify(vec![crate::contract::types::Fact { name: "serial".into(), value: serial.into() }])
}

/// What waited in parking comes out summed up like everything else, in windows of its own; what is said after it begins another one.
//= PROMISES.md#P131
#[test]
fn what_was_parked_comes_out_in_windows_too() {
    let mut b = with_rule("load", Report::Window { seconds: 60 });
    let now = b.tick();
    b.pipeline.bound(&"ups".into(), Binding { bed: None, serial: Some("A".into()) }, now, None);
    b.open("ups", vec![describe(1, "load", Kind::Numeric), describe(2, "charge", Kind::Numeric)]);
    for n in [10, 30] {
        b.say("ups", vec![emit(&[(1, n), (2, n)])]).unwrap();
    }
    b.ns = 60 * SECOND;
    b.say("ups", vec![emit(&[(1, 7)])]).unwrap();
    b.say("ups", vec![Said::Missed(1, None, Missing::Corrupted)]).unwrap();
    b.say("ups", vec![emit(&[(1, 9)])]).unwrap();
    assert!(b.seal().readings().is_empty(), "nobody knows whose it is");
    // another device: a person says whose it was, and it is told late
    b.say("ups", vec![identify("B"), emit(&[(1, 11)])]).unwrap();
    let now = b.tick();
    b.pipeline.bound(&"ups".into(), Binding { bed: None, serial: Some("B".into()) }, now, None);
    let group = b.seal();
    let of_window = |group: &Group| -> Vec<(Run, [i64; 4])> {
        let number = |value: &Value| if let Value::Number(Decimal { mantissa, .. }) = value { *mantissa } else { -1 };
        let own: Vec<_> = group.readings().into_iter().filter(|r| r.channel > 2).collect();
        own.chunks(4).map(|four| (four[0].run, [0, 1, 2, 3].map(|n: usize| number(&four[n].value)))).collect()
    };
    let told = of_window(group);
    assert_eq!(told.iter().map(|(_, four)| *four).collect::<Vec<_>>(), [[10, 30, 2000, 2], [7, 7, 700, 1], [9, 11, 1000, 2]]);
    assert_eq!(
        group.readings().iter().filter(|r| r.channel <= 2).map(|r| r.channel).collect::<Vec<_>>(),
        [2, 2],
        "the others as they were said"
    );
    let late = |group: &Group| {
        let all = group.batches.iter().filter_map(|(.., x)| if let Content::Numerics(all) = &x.content { Some(all.clone()) } else { None });
        all.flatten().map(|i| i.late).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(late(group), [true].into());
    assert!(reasons(group).contains(&GapReason::LineFault), "the loss lies between two of them: {:?}", reasons(group));
    b.say("ups", vec![emit(&[(1, 13)])]).unwrap();
    b.pipeline.tell_windows_over(at(120 * SECOND));
    let group = b.seal();
    assert_eq!((of_window(group).last().map(|(_, four)| *four), late(group)), (Some([13, 13, 1300, 1]), [false].into()));
}

/// What a device said just before it said who it is belongs to the same window as what it says next; what nobody claims is a gap where it was missed.
//= PROMISES.md#P131
#[test]
fn a_window_goes_on_over_the_word_who_it_is_and_what_expires_is_a_gap_of_the_windows() {
    let mut b = with_rule("load", Report::Window { seconds: 60 });
    let now = b.tick();
    b.pipeline.bound(&"ups".into(), Binding { bed: None, serial: Some("A".into()) }, now, None);
    b.open("ups", vec![describe(1, "load", Kind::Numeric)]);
    let now = b.tick();
    b.pipeline.relinked(&"ups".into(), crate::config::Link::Modbus, now); // the first time it is the same device
    b.say("ups", vec![emit(&[(1, 10)]), identify("A"), emit(&[(1, 20)])]).unwrap();
    assert!(b.seal().readings().is_empty() && b.groups.last().unwrap().sealed.states.iter().any(|(name, _)| name == "!window/ups/1"));
    b.pipeline.tell_windows_over(at(60 * SECOND));
    assert_eq!(windows(b.seal()), [(1, [10, 20, 1500, 2])]);
    b.ns = 61 * SECOND;
    let now = b.tick();
    b.pipeline.relinked(&"ups".into(), crate::config::Link::Modbus, now);
    b.say("ups", vec![emit(&[(1, 5)])]).unwrap();
    b.ns = 99 * SECOND;
    b.pipeline.expire_parked(at(b.ns), SECOND);
    b.say("ups", vec![identify("A"), emit(&[(1, 6)])]).unwrap();
    b.pipeline.tell_windows_over(at(130 * SECOND));
    let group = b.seal();
    assert_eq!(windows(group).iter().map(|(_, four)| *four).collect::<Vec<_>>(), [[6, 6, 600, 1]]);
    assert_eq!(reasons(group), [GapReason::UnboundExpired; 4], "of least, most, mean and number");
}
