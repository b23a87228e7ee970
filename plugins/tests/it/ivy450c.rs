//! The bedside monitor on generated streams: other gains, leads, sites and alarms, damage, noise, silence, restarts.

use std::collections::BTreeMap;

use ivy450c::Ivy450c;
use wardgate_sdk::serial::LineFault;
use wardgate_sdk::*;

use crate::generator::Second;
use crate::random::{Random, mutate};

pub fn at(ms: u64) -> Moment {
    Moment { boot: 1, monotonic_ns: ms * 1_000_000, wall: None }
}

pub fn open(settings: &[(&str, &str)], saved: Option<Vec<u8>>) -> (Ivy450c, Vec<Said>) {
    let settings = settings.iter().map(|(name, value)| fact(name, *value)).collect();
    let mut out = Outbox::default();
    let plugin = Ivy450c::open(at(0), Opening { settings, about: vec![], seed: 7, saved }, &mut out).expect("it opens");
    (plugin, out.take())
}

/// What is said after opening, when the stream comes in pieces of the given lengths.
pub fn said(stream: &[u8], mut cut: impl FnMut() -> usize) -> Vec<Said> {
    let (mut plugin, _) = open(&[], None);
    let (mut out, mut rest) = (Outbox::default(), stream);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(cut().clamp(1, rest.len()));
        plugin.received(at(0), now, &mut out).expect("no problem");
        rest = later;
    }
    out.take()
}

fn feed(plugin: &mut Ivy450c, ms: u64, bytes: &[u8]) -> Vec<Said> {
    let mut out = Outbox::default();
    plugin.received(at(ms), bytes, &mut out).expect("no problem");
    out.take()
}

/// Values of all observations, "" for absent, as text; one list for each `emit`.
pub fn values(said: &[Said]) -> Vec<Vec<String>> {
    let text = |value: &Value| match value {
        Value::Number(d) if d.exponent == 0 => d.mantissa.to_string(),
        Value::Number(d) => {
            let digits = d.mantissa.to_string();
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(d.exponent.unsigned_abs()));
            format!("{whole}.{fraction}")
        }
        Value::Absent(_) => String::new(),
        other => panic!("{other:?}"),
    };
    let one = |observations: &Vec<Observation>| {
        let mut readings: Vec<&Reading> = observations.iter().flat_map(|o| &o.readings).collect();
        readings.sort_by_key(|r| r.channel);
        assert_eq!(readings.iter().map(|r| r.channel).collect::<Vec<_>>(), (5..22).collect::<Vec<_>>());
        readings.into_iter().map(|r| text(&r.value)).collect()
    };
    said.iter().filter_map(|s| if let Said::Emit(observations) = s { Some(one(observations)) } else { None }).collect()
}

/// All bytes of the five waves, one list for each `emit-waveform`; and the index of each block's first sample.
pub fn waves(said: &[Said]) -> Vec<(Vec<u8>, Vec<u64>)> {
    let one = |blocks: &Vec<Waveform>| {
        assert_eq!(blocks.iter().map(|b| (b.channel, b.counts.len())).collect::<Vec<_>>(), [(0, 200), (1, 50), (2, 50), (3, 50), (4, 50)]);
        let bytes = blocks.iter().flat_map(|b| b.counts.iter().map(|c| u8::try_from(*c).expect("a byte"))).collect();
        (bytes, blocks.iter().map(|b| b.first).collect())
    };
    said.iter().filter_map(|s| if let Said::EmitWaveform(blocks) = s { Some(one(blocks)) } else { None }).collect()
}

fn alerts(said: &[Said]) -> Vec<(u32, AlertState, String)> {
    said.iter().filter_map(|s| if let Said::Raise(a) = s { Some((a.id, a.state, a.text.clone())) } else { None }).collect()
}

fn missed(said: &[Said]) -> Vec<(Channel, Option<u64>, Missing)> {
    said.iter().filter_map(|s| if let Said::Missed(channel, count, why) = s { Some((*channel, *count, *why)) } else { None }).collect()
}

fn last_kept(said: &[Said]) -> Option<Vec<u8>> {
    said.iter().rev().find_map(|s| if let Said::Keep(state) = s { Some(state.clone()) } else { None })
}

#[test]
fn every_value_and_sample_of_a_generated_stream_comes_out_once() {
    let mut random = Random(0x1234_5678_9ABC);
    let seconds: Vec<Second> = (0..300).map(|_| Second::any(&mut random)).collect();
    let stream: Vec<u8> = seconds.iter().flat_map(Second::bytes).collect();
    let said = said(&stream, || 97);
    assert_eq!(values(&said), seconds.iter().map(Second::values).collect::<Vec<_>>());
    let waves = waves(&said);
    assert_eq!(waves.iter().map(|w| &w.0).collect::<Vec<_>>(), seconds.iter().map(|s| &s.waves).collect::<Vec<_>>());
    assert_eq!(missed(&said), []);
    assert!(!said.iter().any(|s| matches!(s, Said::Log(..))));
}

#[test]
fn any_cut_of_the_stream_says_the_same() {
    let mut random = Random(99);
    let mut stream: Vec<u8> = Second::usual(0).bytes()[300..].to_vec();
    for n in 0..30 {
        let message = if n % 3 == 0 { Second::usual(n).bytes() } else { Second::any(&mut random).bytes() };
        stream.extend(if n % 4 == 1 { mutate(&message, &mut random) } else { message });
        stream.extend((0..random.below(3)).map(|_| 0x55));
    }
    let whole = said(&stream, || usize::MAX);
    assert!(values(&whole).len() >= 20);
    assert!(said(&stream, || 1) == whole);
    for round in 0..20 {
        assert!(said(&stream, || random.below(50) + 1) == whole, "round {round}");
    }
}

#[test]
fn indices_go_on_and_a_new_lead_begins_anew() {
    let mut other = Second::usual(1);
    other.hr.1 = "ECG-III-MON".into();
    other.p1.1 = "ART".into();
    let stream = [Second::usual(0).bytes(), Second::usual(1).bytes(), other.bytes(), other.bytes()].concat();
    let said = said(&stream, || usize::MAX);
    let firsts: Vec<_> = waves(&said).into_iter().map(|w| w.1).collect();
    assert_eq!(firsts[0], [0, 0, 0, 0, 0]);
    assert_eq!(firsts[1], [200, 50, 50, 50, 50]);
    assert_eq!(firsts[2], [0, 100, 100, 0, 100], "ECG and P1 mean something else now");
    assert_eq!(firsts[3], [200, 150, 150, 50, 150]);
    let described: Vec<_> =
        said.iter().filter_map(|s| if let Said::Describe(channel, meaning) = s { Some((*channel, meaning)) } else { None }).collect();
    assert_eq!(described.iter().map(|d| d.0).collect::<Vec<_>>(), [0, 0, 3, 14, 15, 16], "lead II is known from the first message on");
    assert_eq!(described[0].1.code, Some(mdc(131_330)));
    assert_eq!(described[1].1.code, Some(mdc(131_389)));
    let has = |meaning: &Description, name: &str, value: &str| meaning.facts.contains(&fact(name, value));
    assert!(has(described[1].1, "lead", "III") && has(described[1].1, "filter", "MON") && has(described[2].1, "label", "ART"));
    assert_eq!(alerts(&said).len(), 2, "a label is no alert");
}

/// An independent model: what stands in the two text places of each line, and when it changed.
#[test]
fn alerts_follow_the_texts_and_nothing_else() {
    let mut random = Random(4242);
    let (mut plugin, mut kept) = (open(&[], None).0, None);
    let mut active: BTreeMap<u32, String> = BTreeMap::new();
    for n in 0..400u64 {
        let second = Second::any(&mut random);
        let said = feed(&mut plugin, n * 1000, &second.bytes());
        for (id, state, text) in alerts(&said) {
            match state {
                AlertState::Active => drop(active.insert(id, text)),
                AlertState::Inactive => assert!(active.remove(&id).is_some(), "{id} {text} was never active"),
                other => panic!("{other:?} was never said"),
            }
        }
        let site = |label: &str| if label.contains(' ') { label.to_owned() } else { String::new() };
        let (hr, rr, co2, spo2, nibp) = (&second.hr, &second.rr, &second.etco2, &second.spo2, &second.nibp);
        let (p1, p2, t1, t2) = (&second.p1, &second.p2, &second.t1, &second.t2);
        let mut shown = vec![rr.1.clone(), nibp.1.clone(), site(&p1.1), site(&p2.1)];
        shown.extend([&hr.2, &rr.2, &co2.2, &spo2.2, &nibp.2, &p1.2, &p2.2, &t1.2, &t2.2].map(Clone::clone));
        shown.retain(|text| !text.is_empty());
        shown.sort();
        let mut now: Vec<String> = active.values().cloned().collect();
        now.sort();
        assert_eq!(now, shown, "second {n}");
        assert_eq!(last_kept(&said).is_some(), !alerts(&said).is_empty(), "kept when and only when alerts changed");
        kept = last_kept(&said).or(kept);
        if n % 50 == 49 {
            plugin = open(&[], kept.clone()).0; // a crash
        }
    }
}

#[test]
fn after_a_restart_an_alert_is_neither_raised_again_nor_lost() {
    let mut alarm = Second::usual(0);
    alarm.hr.2 = "ASYSTOLE".into();
    let (mut plugin, _) = open(&[], None);
    let first = feed(&mut plugin, 0, &alarm.bytes());
    assert_eq!(alerts(&first).len(), 3);
    let kept = last_kept(&first);
    let (mut plugin, opened) = open(&[], kept);
    assert_eq!(alerts(&opened), []);
    assert_eq!(alerts(&feed(&mut plugin, 0, &alarm.bytes())), []);
    let gone = alerts(&feed(&mut plugin, 1000, &Second::usual(1).bytes()));
    assert_eq!(gone, [(1, AlertState::Inactive, "ASYSTOLE".into())]);
    for broken in [vec![], vec![9], vec![1, 0, 0], vec![1, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0], vec![1, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, b'x']] {
        let (_, said) = open(&[], Some(broken));
        assert!(said.iter().any(|s| matches!(s, Said::Log(Level::Error, _))), "an unreadable state is said");
    }
}

#[test]
fn a_countdown_stays_one_alert() {
    let (mut plugin, _) = open(&[], None);
    let mut ids = vec![];
    for n in 0..5u64 {
        let mut second = Second::usual(0);
        second.nibp.1 = format!("NEXT IN {} MIN", 12 - n);
        let said = feed(&mut plugin, n * 1000, &second.bytes());
        ids.extend(alerts(&said).into_iter().filter(|a| a.2.starts_with("NEXT")).map(|a| (a.0, a.1)));
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|a| *a == (ids[0].0, AlertState::Active)));
}

#[test]
fn a_damaged_message_is_dropped_whole_and_said_to_be_missing() {
    let good = |n| Second::usual(n).bytes();
    let text = |from: &str, to: &str| {
        let message = good(1);
        let at = message.windows(from.len()).position(|w| w == from.as_bytes()).expect("it is there");
        [&message[..at], to.as_bytes(), &message[at + from.len()..]].concat()
    };
    let cases: Vec<(&str, Vec<u8>, Option<u64>)> = vec![
        ("a digit that is none", text("=1;80", "=1;8p"), Some(1)),
        ("a number too long", text("=1;80", "=1;8880"), Some(1)),
        ("a saturation that cannot be", text(";100;", ";101;"), Some(1)),
        ("a byte that is no text", text("ECG", "E\x01G"), Some(1)),
        ("a lost field", text("NIBP=4;121;", "NIBP=4;"), Some(1)),
        ("another name", text("T2=", "T3="), Some(1)),
        ("a line twice", text("T2=", "T1="), Some(1)),
        ("a lost end of line", text("T2=1;;;\r", "T2=1;;;"), Some(1)),
        ("a byte of a wave lost", [&good(1)[..50], &good(1)[51..]].concat(), Some(1)),
        ("a byte of a wave too many", [&good(1)[..50], b"x", &good(1)[50..]].concat(), Some(1)),
        ("cut off", good(1)[..333].to_vec(), Some(1)),
        ("cut off in its text", good(1)[..500].to_vec(), Some(1)),
        ("its end lost", good(1)[..good(1).len() - 1].to_vec(), Some(1)),
        ("an end in its text", text("SPO2", "\u{1}").iter().map(|b| if *b == 1 { 0xFE } else { *b }).collect(), Some(1)),
        ("its header lost", good(1)[1..].to_vec(), None),
    ];
    for (what, damaged, count) in cases {
        let (mut plugin, _) = open(&[], None);
        feed(&mut plugin, 1000, &good(0));
        let bad = feed(&mut plugin, 2000, &damaged);
        assert_eq!((values(&bad).len(), waves(&bad).len(), alerts(&bad).len()), (0, 0, 0), "{what}");
        let next = feed(&mut plugin, 3000, &good(2));
        assert_eq!(values(&next), [Second::usual(2).values()], "{what}");
        assert_eq!(waves(&next)[0].0, Second::usual(2).waves, "{what}");
        let (first, told) = (&waves(&next)[0].1, missed(&next));
        match count {
            Some(1) => assert_eq!(*first, [400, 100, 100, 100, 100], "{what}"),
            _ => assert_eq!(*first, [200, 50, 50, 50, 50], "{what}: no count, so the host begins a run"),
        }
        let samples = |channel: Channel| if channel == 0 { 200 } else { 50 };
        let expected =
            (0..22).map(|channel| (channel, count.map(|n| if channel < 5 { n * samples(channel) } else { n }), Missing::Corrupted));
        assert_eq!(told, expected.collect::<Vec<_>>(), "{what}");
        let missed_comes_first =
            next.iter().position(|s| matches!(s, Said::Missed(..))) < next.iter().position(|s| matches!(s, Said::Emit(_)));
        assert!(missed_comes_first, "{what}");
        assert_eq!(missed(&feed(&mut plugin, 4000, &good(3))), [], "{what}: said once");
    }
}

#[test]
fn a_count_needs_the_clock_to_agree() {
    let (mut plugin, _) = open(&[], None);
    feed(&mut plugin, 1000, &Second::usual(0).bytes());
    feed(&mut plugin, 2000, &Second::usual(1).bytes()[..100]);
    // one broken message seen, but time for three: two vanished without a trace
    let next = feed(&mut plugin, 5000, &Second::usual(4).bytes());
    assert!(missed(&next).iter().all(|m| m.1.is_none() && m.2 == Missing::Corrupted));
    let (mut plugin, _) = open(&[], None);
    feed(&mut plugin, 1000, &Second::usual(0).bytes());
    assert_eq!(missed(&feed(&mut plugin, 3400, &Second::usual(1).bytes())), [], "late is not missing");
    assert!(missed(&feed(&mut plugin, 63_400, &Second::usual(2).bytes())).iter().all(|m| (m.1, m.2) == (None, Missing::DeviceOff)));
}

#[test]
fn noise_between_messages_loses_nothing() {
    let (mut plugin, _) = open(&[], None);
    feed(&mut plugin, 1000, &Second::usual(0).bytes());
    feed(&mut plugin, 1500, b"\xFF\xFFANSAR-A \x00\x00garbage");
    let said = feed(&mut plugin, 2000, &Second::usual(1).bytes());
    assert_eq!((missed(&said), values(&said).len()), (vec![], 1));
}

#[test]
fn line_noise_never_becomes_a_value() {
    let mut random = Random(31_337);
    let message = Second::usual(0).bytes();
    let mut heard = 0;
    for _ in 0..3000 {
        // noise that cannot be mistaken for text: bytes with the high bit set, or missing bytes, in the text part
        let mut mutant = message.clone();
        for _ in 0..=random.below(3) {
            let at = 409 + random.below(mutant.len() - 410);
            if random.below(2) == 0 {
                mutant[at] = 0x80 | random.next() as u8 & 0x7D
            } else {
                mutant.remove(at);
            }
        }
        let out = said(&mutant, || usize::MAX);
        let spoken = values(&out);
        heard += spoken.len();
        for spoken in spoken {
            let usual = Second::usual(0).values();
            let digits_lost = spoken.iter().zip(&usual).all(|(s, u)| s == u || (s.len() < u.len() && is_part(s, u)));
            assert!(digits_lost, "{spoken:?}: without a checksum lost digits cannot be told, but nothing new may appear");
        }
    }
    assert!(heard < 1500, "most of it is found");
}

fn is_part(short: &str, long: &str) -> bool {
    let mut rest = long.chars();
    short.chars().all(|c| rest.any(|r| r == c))
}

#[test]
fn no_truncation_and_no_mutation_panics_or_grows() {
    let mut random = Random(5);
    let message = Second::any(&mut random).bytes();
    for n in 0..message.len() {
        assert_eq!(values(&said(&message[..n], || 64)).len(), 0, "cut at {n}");
    }
    let (good, spoken) = (Second::usual(0).bytes(), Second::usual(0).values());
    for _ in 0..50_000 {
        let stream = [&mutate(&message, &mut random)[..], &mutate(&message, &mut random), &good].concat();
        let heard = values(&said(&stream, || 64));
        assert!((1..=3).contains(&heard.len()), "the good message at the end is always heard");
        assert_eq!(heard.last(), Some(&spoken));
    }
    let (mut plugin, _) = open(&[], None);
    for _ in 0..200 {
        let noise: Vec<u8> = (0..random.below(3000)).map(|_| random.next() as u8).collect();
        feed(&mut plugin, 0, &noise);
        feed(&mut plugin, 0, b"\xFFANSAR-B ");
    }
    assert_eq!(values(&feed(&mut plugin, 0, &Second::usual(0).bytes())).len(), 1);
}

#[test]
fn faults_silence_and_a_lost_port_are_said() {
    let report = |said: &[Said]| said.iter().rev().find_map(|s| if let Said::Report(h, d) = s { Some((*h, d.clone())) } else { None });
    let (mut plugin, opened) = open(&[], None);
    assert_eq!(report(&opened).map(|r| r.0), Some(Health::Starting));
    let mut out = Outbox::default();
    assert_eq!(report(&feed(&mut plugin, 0, &Second::usual(0).bytes())).map(|r| r.0), Some(Health::Healthy));
    plugin.timer(at(5000), 1, &mut out).expect("ok");
    assert!(report(&out.take()).is_some_and(|r| r.0 == Health::Degraded && r.1.contains("no message")));
    feed(&mut plugin, 9000, b"garbage");
    plugin.timer(at(10_000), 1, &mut out).expect("ok");
    assert!(report(&out.take()).is_some_and(|r| r.1.contains("9600 8N1")));
    let back = feed(&mut plugin, 20_000, &Second::usual(1).bytes());
    assert_eq!(report(&back), Some((Health::Healthy, String::new())));
    assert_eq!(missed(&back)[0], (0, None, Missing::DeviceOff));
    // a parity error inside a message
    feed(&mut plugin, 20_500, &Second::usual(2).bytes()[..300]);
    plugin.faulted(at(20_600), LineFault::Parity, &mut out).expect("ok");
    feed(&mut plugin, 21_000, &Second::usual(2).bytes()[300..]);
    let next = feed(&mut plugin, 22_000, &Second::usual(3).bytes());
    assert_eq!((missed(&next)[0], waves(&next)[0].1[0]), ((0, Some(200), Missing::Corrupted), 600));
    // bytes lost before they reached us
    plugin.faulted(at(22_100), LineFault::Overrun, &mut out).expect("ok");
    assert_eq!(missed(&feed(&mut plugin, 23_000, &Second::usual(4).bytes()))[21], (21, None, Missing::Overrun));
    // the port goes in mid-message and comes back
    feed(&mut plugin, 23_500, &Second::usual(5).bytes()[..200]);
    out.take();
    Serial::link_changed(&mut plugin, at(23_600), LinkState::Down, &mut out).expect("ok");
    assert_eq!(report(&out.take()).map(|r| r.0), Some(Health::Degraded));
    Serial::link_changed(&mut plugin, at(30_000), LinkState::Up, &mut out).expect("ok");
    let back = feed(&mut plugin, 31_000, &[&Second::usual(6).bytes()[400..], &Second::usual(7).bytes()].concat());
    assert_eq!((values(&back).len(), missed(&back)[0]), (1, (0, None, Missing::DeviceOff)));
    // what is known to be missing at the end is said at the end
    feed(&mut plugin, 32_000, &Second::usual(8).bytes()[..500]);
    feed(&mut plugin, 32_500, &Second::usual(9).bytes()[..500]);
    plugin.close(at(33_000), &mut out).expect("ok");
    assert!(missed(&out.take()).iter().all(|m| m.2 == Missing::Corrupted));
}

#[test]
fn settings_choose_lines_and_units() {
    let (mut plugin, opened) = open(&[("lines", "HR SPO2"), ("co2_unit", "kPa")], None);
    assert_eq!(opened.iter().filter(|s| matches!(s, Said::Describe(..))).count(), 5 + 3);
    let message = Second::usual(0).bytes();
    let text = String::from_utf8_lossy(&message[409..message.len() - 1]).into_owned();
    let short: String = text.split_inclusive('\r').filter(|l| l.starts_with("HR") || l.starts_with("SPO2")).collect();
    let said = feed(&mut plugin, 0, &[&message[..409], short.as_bytes(), &[0xFE]].concat());
    assert!(matches!(&said[..], [_, Said::Emit(o), ..] if o.len() == 2 && o[1].readings.len() == 2), "{said:?}");
    for (name, value, says) in [
        ("lines", "HR HR", "setting \"lines\" names \"HR\"; allowed: some of HR RR ETCO2"),
        ("lines", "", "setting \"lines\" names \"\""),
        ("temperature_unit", "C", "setting \"temperature_unit\" is \"C\"; allowed: one of \"\", \"Cel\", \"[degF]\""),
        ("line", "HR", "setting \"line\" is not known; this plugin reads lines, co2_unit, temperature_unit"),
    ] {
        let start = Opening { settings: vec![fact(name, value)], about: vec![], seed: 0, saved: None };
        let problem = Ivy450c::open(at(0), start, &mut Outbox::default()).err().expect("refused");
        assert!(problem.fatal && problem.cause == Cause::Setting && problem.detail.starts_with(says), "{}", problem.detail);
    }
}
