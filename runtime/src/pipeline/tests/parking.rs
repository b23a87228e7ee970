//! Parking: not one value reaches a bed before its device has said who it is, and none is lost that a person claims.

use std::sync::Arc;

use wardgate_wire::{Content, Entry, GapReason, Parked};

use super::{Bench, Group, SECOND, alert, at, block, describe, describe_as, emit, setup};
use crate::config::{Link, Terms};
use crate::contract::{Said, types};
use crate::pipeline::parking::parked_of;
use crate::pipeline::{Binding, Pipeline};

const MONITOR: &str = "bed-1-monitor";

fn name() -> Arc<str> {
    MONITOR.into()
}

fn bound_to(serial: Option<&str>, bed: &str) -> Binding {
    Binding { bed: Some(bed.into()), serial: serial.map(str::to_owned) }
}

fn identify(serial: &str) -> Said {
    Said::Identify(vec![types::Fact { name: "serial".into(), value: serial.into() }])
}

fn channels() -> Vec<Said> {
    vec![describe(1, "hr", types::Kind::Numeric), describe(2, "ecg", types::Kind::Waveform)]
}

/// One instance whose binding names A, opened.
fn ward() -> Bench {
    let mut b = Bench::new();
    let now = b.tick();
    b.pipeline.bound(&name(), bound_to(Some("A"), "bed-1"), now, None);
    b.open(MONITOR, channels());
    b.relink();
    b
}

impl Bench {
    fn bind(&mut self, serial: Option<&str>, bed: &str) {
        let now = self.tick();
        self.pipeline.bound(&name(), bound_to(serial, bed), now, None);
    }

    fn relink(&mut self) {
        let now = self.tick();
        self.pipeline.relinked(&name(), Link::Serial, now);
    }

    fn values(&mut self) -> Vec<(i64, bool)> {
        let group = self.seal();
        let mut all = Vec::new();
        for (_, _, batch) in &group.batches {
            let Content::Numerics(instances) = &batch.content else { continue };
            for i in instances {
                let readings = i.observations.iter().flat_map(|o| &o.readings);
                all.extend(readings.map(|r| match r.value {
                    wardgate_wire::Value::Number(d) => (d.mantissa, i.late),
                    _ => panic!("{r:?}"),
                }));
            }
        }
        all
    }
}

fn bindings(group: &Group) -> Vec<(Option<String>, Option<String>)> {
    let of = |e: &&Entry| if let Entry::Binding { serial, bed, .. } = e { Some((serial.clone(), bed.clone())) } else { None };
    group.entries().iter().filter_map(of).collect()
}

fn some(serial: &str, bed: Option<&str>) -> (Option<String>, Option<String>) {
    (Some(serial.into()), bed.map(str::to_owned))
}

#[test]
fn until_the_device_says_who_it_is_nothing_leaves_and_then_all_of_it_in_order() {
    let mut b = ward();
    b.say(MONITOR, vec![emit(&[(1, 10)]), block(2, 0, &[1, 2])]).unwrap();
    assert!(b.values().is_empty(), "it has not said who it is");
    b.say(MONITOR, vec![emit(&[(1, 11)]), identify("A"), emit(&[(1, 12)])]).unwrap();
    b.say(MONITOR, vec![block(2, 2, &[3])]).unwrap();
    assert_eq!(b.values(), [(10, false), (11, false), (12, false)]);
    let group = b.groups.last().unwrap();
    assert_eq!(bindings(group), [some("A", Some("bed-1"))]);
    let tracks: Vec<_> = group
        .batches
        .iter()
        .filter_map(|(_, _, x)| if let Content::Waveforms(t) = &x.content { Some(t) } else { None })
        .flatten()
        .collect();
    assert_eq!(tracks.iter().map(|t| (t.run, t.first, t.counts.clone())).collect::<Vec<_>>(), [(1, 0, vec![1, 2, 3])]);
    assert!(!group.entries().iter().any(|e| matches!(e, Entry::Gap { .. } | Entry::Run { reason: Some(_), .. })));
}

#[test]
fn a_device_swapped_for_another_sends_nothing_to_the_old_bed() {
    let mut b = ward();
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 1)])]).unwrap();
    assert_eq!(b.values(), [(1, false)]);
    b.relink();
    b.say(MONITOR, vec![emit(&[(1, 2)])]).unwrap();
    b.say(MONITOR, vec![identify("B"), emit(&[(1, 3)]), Said::Raise(alert(9))]).unwrap();
    assert!(b.values().is_empty());
    let group = b.groups.last().unwrap();
    assert_eq!(bindings(group), [(None, None), some("B", None)]);
    assert!(
        group.batches.iter().any(|(_, _, x)| matches!(&x.content, Content::Alerts(a) if a[0].alerts.len() == 1)),
        "an alarm waits for nobody"
    );
    // the right one is back: it goes on, and B's values stay where they are
    b.relink();
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 4)])]).unwrap();
    assert_eq!(b.values(), [(4, false)]);
    assert_eq!(b.pipeline.claim_news(MONITOR).unwrap().values, 2);
    // a person says that B stood there
    b.bind(Some("B"), "bed-2");
    assert_eq!(b.values(), [(2, true), (3, true)]);
    assert!(bindings(b.groups.last().unwrap()).contains(&(None, None)) || bindings(b.groups.last().unwrap()).contains(&some("A", None)));
    b.say(MONITOR, vec![emit(&[(1, 5)])]).unwrap();
    assert!(b.values().is_empty(), "now A is the wrong one");
}

#[test]
fn another_serial_without_a_word_of_the_link_parks_at_once() {
    let mut b = ward();
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 1)]), block(2, 0, &[1])]).unwrap();
    b.say(MONITOR, vec![identify("B"), emit(&[(1, 2)]), block(2, 1, &[2, 3])]).unwrap();
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 3)]), block(2, 3, &[4])]).unwrap();
    assert_eq!(b.values(), [(1, false), (3, false)]);
    b.bind(Some("B"), "bed-1");
    assert_eq!(b.values(), [(2, true)]);
    let samples: Vec<_> = (b.groups.iter().flat_map(|g| &g.batches))
        .filter_map(|(_, _, x)| if let Content::Waveforms(t) = &x.content { Some(t) } else { None })
        .flatten()
        .map(|t| (t.run, t.counts.clone(), t.late))
        .collect();
    assert_eq!(samples, [(1, vec![1], false), (2, vec![4], false), (3, vec![2, 3], true)]);
    assert!(!b.groups.iter().flat_map(|g| g.entries()).any(|e| matches!(e, Entry::Gap { .. })), "positions have no hole");
}

#[test]
fn what_is_parked_outlives_a_power_cut_and_goes_out_once() {
    let mut b = ward();
    b.say(MONITOR, vec![identify("B"), emit(&[(1, 1)]), block(2, 0, &[5, 6])]).unwrap();
    let kept: Vec<_> = b.seal().sealed.states.clone();
    assert_eq!(kept.iter().map(|(name, _)| parked_of(name)).collect::<Vec<_>>(), [Some(MONITOR)]);
    b.say(MONITOR, vec![emit(&[(1, 2)])]).unwrap(); // never on flash
    let (found, now) = (b.found(), b.tick());
    b.pipeline = Pipeline::new(setup(2, 16 << 10), found, now);
    assert_eq!(b.pipeline.restore_parked(&name(), kept.into_iter().map(|(_, bytes)| bytes).collect(), now), 0);
    b.bind(Some("A"), "bed-1");
    b.open(MONITOR, channels());
    assert!(b.values().is_empty());
    b.bind(Some("B"), "bed-1");
    assert_eq!(b.values(), [(1, true)]);
    let gone: Vec<_> = b.groups.last().unwrap().sealed.states.clone();
    let left: Vec<_> = gone.iter().flat_map(|(_, bytes)| wardgate_wire::read_parked(bytes).unwrap()).collect();
    let valued = |word: &Parked| matches!(word, Parked::Observation { .. } | Parked::Block { .. });
    assert!(!gone.is_empty() && !left.iter().any(valued), "they leave the card in the group of the values: {left:?}");
    b.bind(Some("A"), "bed-1");
    b.bind(Some("B"), "bed-1");
    assert!(b.values().is_empty(), "once");
}

/// Personal values were granted while they were parked. The site took that back: they are dropped and counted, as if they were said now.
//= PROMISES.md#P196
#[test]
fn personal_values_that_were_parked_do_not_leave_after_their_grant_is_withdrawn() {
    let described = || {
        vec![
            describe_as(1, "name", types::Kind::Numeric, true),
            describe(2, "hr", types::Kind::Numeric),
            describe_as(3, "voice", types::Kind::Waveform, true),
        ]
    };
    let spoken =
        || vec![emit(&[(1, 10), (2, 20)]), block(3, 0, &[1, 2, 3]), Said::Missed(3, Some(2), types::Missing::Overrun), emit(&[(2, 21)])];
    for granted in [true, false] {
        let mut b = Bench::new();
        let now = b.tick();
        b.pipeline.posted(&name(), Terms { personal: true, ..Terms::default() });
        b.pipeline.bound(&name(), bound_to(Some("A"), "bed-1"), now, None);
        b.open(MONITOR, described());
        b.relink();
        b.say(MONITOR, vec![identify("B")]).unwrap();
        b.say(MONITOR, spoken()).unwrap();
        b.lost(MONITOR);
        b.say(MONITOR, vec![block(3, 5, &[4])]).unwrap();
        assert_eq!((b.seal().readings().len(), b.pipeline.withheld(MONITOR)), (0, 0));
        // the site reloads
        b.pipeline.posted(&name(), Terms { personal: granted, ..Terms::default() });
        b.bind(Some("B"), "bed-1");
        let numbers: Vec<i64> = b.values().into_iter().map(|(n, _)| n).collect();
        let group = b.groups.last().unwrap();
        let samples = group.batches.iter().map(|(_, _, x)| if let Content::Waveforms(t) = &x.content { t.len() } else { 0 }).sum::<usize>();
        let told: Vec<_> = (group.entries().iter())
            .filter_map(|e| match e {
                Entry::Run { stream, .. } => Some(stream.source),
                Entry::Description { description, .. } if description.personal => Some(wardgate_wire::Source::Channel(99)),
                _ => None,
            })
            .filter(|source| !matches!(source, wardgate_wire::Source::Channel(2)))
            .collect();
        if granted {
            assert_eq!((numbers, b.pipeline.withheld(MONITOR)), (vec![10, 20, 21], 0));
            assert!(samples > 0 && !told.is_empty());
        } else {
            assert_eq!((numbers, b.pipeline.withheld(MONITOR)), (vec![20, 21], 5), "one number and four samples stay here");
            assert_eq!((samples, told.len()), (0, 0), "not even that there was something: {:?}", group.entries());
        }
    }
    // and what expires of it makes no gap, because it would not have come
    for granted in [true, false] {
        let mut b = Bench::new();
        let now = b.tick();
        b.pipeline.posted(&name(), Terms { personal: true, ..Terms::default() });
        b.pipeline.bound(&name(), bound_to(Some("A"), "bed-1"), now, None);
        b.open(MONITOR, vec![describe_as(1, "name", types::Kind::Numeric, true)]);
        b.say(MONITOR, vec![identify("B"), emit(&[(1, 1)])]).unwrap();
        b.pipeline.posted(&name(), Terms { personal: granted, ..Terms::default() });
        b.ns += 61 * SECOND;
        b.pipeline.expire_parked(at(b.ns), 60 * SECOND);
        b.seal();
        assert_eq!(b.pipeline.open_gaps().len(), usize::from(granted), "{:?}", b.pipeline.open_gaps());
        assert_eq!(b.pipeline.claim_news(MONITOR).unwrap().expired, 1);
    }
}

#[test]
fn what_nobody_claims_in_time_is_a_gap_with_its_reason() {
    let mut b = ward();
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 1)])]).unwrap();
    b.relink();
    b.say(MONITOR, vec![emit(&[(1, 2)])]).unwrap();
    b.seal();
    b.pipeline.expire_parked(at(b.ns), 60 * SECOND);
    assert_eq!(b.pipeline.claim_news(MONITOR).unwrap().values, 1, "not yet");
    b.ns += 61 * SECOND;
    b.pipeline.expire_parked(at(b.ns), 60 * SECOND);
    let told = b.pipeline.claim_news(MONITOR).unwrap();
    assert_eq!((told.values, told.expired), (0, 1));
    b.say(MONITOR, vec![identify("A"), emit(&[(1, 3)])]).unwrap();
    assert_eq!(b.values(), [(3, false)]);
    let entries = b.groups.last().unwrap().entries();
    assert!(entries.iter().any(|e| matches!(e, Entry::Run { reason: Some(GapReason::UnboundExpired), .. })), "{entries:?}");
}

#[test]
fn faults_while_parked_are_told_with_what_is_parked() {
    let mut b = ward();
    b.say(MONITOR, vec![identify("B"), emit(&[(1, 1)])]).unwrap();
    b.fault(MONITOR);
    b.open(MONITOR, channels());
    b.say(MONITOR, vec![identify("B"), emit(&[(1, 2)])]).unwrap();
    assert!(b.values().is_empty());
    b.bind(Some("B"), "bed-1");
    assert_eq!(b.values(), [(1, true), (2, true)]);
    let reasons: Vec<_> = (b.groups.last().unwrap().entries().iter())
        .filter_map(|e| if let Entry::Run { run, reason, stream, .. } = e { Some((stream.source, *run, *reason)) } else { None })
        .collect();
    let hr = wardgate_wire::Source::Channel(1);
    assert_eq!(reasons, [(hr, 1, None), (hr, 2, Some(GapReason::PluginFault))]);
}

#[test]
fn a_flood_into_parking_is_bounded_and_told() {
    let mut b = ward();
    let counts = [1_000_000, -1_000_000].repeat(4096);
    for n in 0..300 {
        b.say(MONITOR, vec![block(2, n * 8192, &counts)]).unwrap();
    }
    let told = b.pipeline.claim_news(MONITOR).unwrap();
    assert!(told.values < 300 * 8192 && told.values + told.expired == 300 * 8192, "{told:?}");
    let kept: usize = b.seal().sealed.states.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(kept < super::super::PARKED_BYTES_MAX + (64 << 10), "{kept}");
}
