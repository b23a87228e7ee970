//! Polling over time: cadence, one request at a time, late answers, alerts over restarts. The faults in detail are golden cases.

use modbus_map::ModbusMap;
use wardgate_sdk::modbus::{Failure, Request, Response};
use wardgate_sdk::*;

use crate::modbus_map::SMC;
use crate::random::Random;

fn at(ms: u64) -> Moment {
    Moment { boot: 1, monotonic_ns: ms * 1_000_000, wall: None }
}

fn open(settings: &[(&str, &str)], saved: Option<Vec<u8>>) -> (ModbusMap, Vec<Said>) {
    let settings = settings.iter().map(|(name, value)| fact(name, *value)).collect();
    let mut out = Outbox::default();
    let plugin = ModbusMap::open(at(0), Opening { settings, about: vec![], seed: 7, saved }, &mut out).expect("it opens");
    (plugin, out.take())
}

fn asked(said: &[Said]) -> Vec<(Tag, u16)> {
    let one = |s: &Said| match s {
        Said::ModbusSubmit(tag, _, Request::ReadHoldingRegisters(span)) => Some((*tag, span.count)),
        _ => None,
    };
    said.iter().filter_map(one).collect()
}

fn reply(plugin: &mut ModbusMap, ms: u64, tag: Tag, outcome: Result<Response, Failure>) -> Vec<Said> {
    let mut out = Outbox::default();
    plugin.reply(at(ms), tag, outcome, &mut out).expect("no problem");
    out.take()
}

fn timer(plugin: &mut ModbusMap, ms: u64, tag: Tag) -> Vec<Said> {
    let mut out = Outbox::default();
    plugin.timer(at(ms), tag, &mut out).expect("no problem");
    out.take()
}

#[test]
fn rounds_keep_their_cadence_and_late_ones_are_not_made_up() {
    let (mut plugin, said) = open(&[("map", "x holding 0 u16 every 1s")], None);
    assert!(said.contains(&Said::SetTimer(1, 1000)));
    let [(tag, 1)] = asked(&said)[..] else { panic!("one request") };
    reply(&mut plugin, 5, tag, Ok(Response::Registers(vec![1])));
    assert!(timer(&mut plugin, 1003, 1).contains(&Said::SetTimer(1, 997)), "lateness does not add up");
    let said = timer(&mut plugin, 2000, 1);
    assert!(said.contains(&Said::SetTimer(1, 1000)) && asked(&said).is_empty(), "the last round is not answered yet");
    assert!(timer(&mut plugin, 9500, 1).contains(&Said::SetTimer(1, 1000)));
    let said = timer(&mut plugin, 62_000, 1);
    assert!(said.iter().any(|s| matches!(s, Said::ModbusCancel(_))) && asked(&said).len() == 1, "a minute without any answer: give up");
    assert!(said.iter().any(|s| matches!(s, Said::Report(Health::Degraded, _))));
}

/// A bus that brings each answer after its next round has begun: never idle, and what it leaves out is told.
//= PROMISES.md#P239
#[test]
fn rounds_that_a_slow_bus_leaves_out_are_told_as_missed_and_it_is_healthy_all_the_same() {
    let (mut plugin, mut said) = open(&[("map", "x holding 0 u16 every 1s\ny holding 9 u16 every 1s")], None);
    let words = |said: &[Said]| {
        let told = said.iter().filter(|s| matches!(s, Said::Missed(..) | Said::Emit(_) | Said::Report(..)));
        told.map(|s| match s {
            Said::Missed(channel, count, why) => format!("missed {channel} {count:?} {why:?}"),
            Said::Report(health, _) => format!("{health:?}"),
            _ => "values".to_owned(),
        })
        .map(|word| word.replace("Missing::", "").replace("Health::", ""))
        .collect::<Vec<_>>()
    };
    let mut heard = Vec::new();
    for second in 1..=6 {
        let before = timer(&mut plugin, second * 1000, 1);
        assert_eq!(words(&before), Vec::<String>::new(), "said when it is answered: then it has both its ends");
        let tag = asked(&said)[0].0;
        said = reply(&mut plugin, second * 1000 + 600, tag, Ok(Response::Registers(vec![1])));
        heard.push(words(&said));
    }
    assert_eq!(heard[0], ["missed 0 Some(1) NotSent", "values"]);
    assert_eq!(heard[1], ["missed 1 Some(2) NotSent", "values", "Healthy"]);
    for (n, heard) in heard.iter().enumerate().skip(2) {
        assert_eq!(*heard, [format!("missed {} Some(1) NotSent", n % 2), "values".into()], "answer {n}");
    }
    // the plugin itself was kept from its timer: three rounds are past
    let said = timer(&mut plugin, 10_100, 1);
    assert!(words(&said).is_empty());
    let (mut plugin, said) = open(&[("map", "x holding 0 u16 every 1s")], None);
    reply(&mut plugin, 5, asked(&said)[0].0, Ok(Response::Registers(vec![1])));
    let said = timer(&mut plugin, 4100, 1);
    let said = reply(&mut plugin, 4200, asked(&said)[0].0, Ok(Response::Registers(vec![1])));
    assert_eq!(words(&said), ["missed 0 Some(3) NotSent", "values"]);
    // one reason for one gap: a device that does not answer is not also a bus that is slow
    let said = timer(&mut plugin, 5100, 1);
    timer(&mut plugin, 6100, 1);
    let said = reply(&mut plugin, 6200, asked(&said)[0].0, Err(Failure::LinkDown));
    assert_eq!(words(&said), ["missed 0 None DeviceOff", "Degraded"], "as soon as it is known");
    let said = timer(&mut plugin, 7100, 1);
    let said = reply(&mut plugin, 7200, asked(&said)[0].0, Ok(Response::Registers(vec![1])));
    assert_eq!(words(&said), ["values", "Healthy"], "nothing else was missed");
}

/// A device that is away for an hour: whatever happens to the gateway meanwhile, the ledger knows why its values are missing.
//= PROMISES.md#P84
#[test]
fn what_is_missing_is_told_at_once_and_ever_more_rarely_while_it_lasts_and_once_when_it_is_over() {
    let missed = |said: &[Said]| said.iter().filter(|s| matches!(s, Said::Missed(0, None, Missing::DeviceOff))).count();
    for down in [false, true] {
        let (mut plugin, said) = open(&[("map", "x holding 0 u16 every 1s")], None);
        reply(&mut plugin, 5, asked(&said)[0].0, Ok(Response::Registers(vec![1])));
        let mut told = Vec::new();
        if down {
            let mut out = Outbox::default();
            plugin.link_changed(at(900), LinkState::Down, &mut out).expect("no problem");
            told.extend(vec![0; missed(&out.take())]);
        }
        for second in 1..=3600 {
            let said = timer(&mut plugin, second * 1000, 1);
            told.extend(vec![second; missed(&said)]);
            for (tag, _) in asked(&said) {
                let said = reply(&mut plugin, second * 1000 + 300, tag, Err(Failure::LinkDown));
                told.extend(vec![second; missed(&said)]);
            }
        }
        let expected = if down { [0, 61, 181, 421, 901, 1861] } else { [1, 61, 181, 421, 901, 1861] };
        assert_eq!(told, expected, "down: {down}");
        let mut out = Outbox::default();
        plugin.link_changed(at(3_600_500), LinkState::Up, &mut out).expect("no problem");
        let tag = asked(&[out.take(), timer(&mut plugin, 3_601_000, 1)].concat())[0].0;
        assert_eq!(missed(&reply(&mut plugin, 3_601_100, tag, Ok(Response::Registers(vec![1])))), 1, "the rest of it");
        let said = timer(&mut plugin, 3_602_000, 1);
        assert_eq!(missed(&reply(&mut plugin, 3_602_100, asked(&said)[0].0, Ok(Response::Registers(vec![1])))), 0);
    }
}

#[test]
fn only_the_open_request_is_answered() {
    let (mut plugin, said) = open(&[("map", "x holding 0 u16\ny holding 9 u16")], None);
    let [(first, 1)] = asked(&said)[..] else { panic!("one at a time") };
    let said = reply(&mut plugin, 5, first + 7, Ok(Response::Registers(vec![1])));
    assert!(matches!(&said[..], [Said::Log(Level::Debug, _)]));
    let said = reply(&mut plugin, 6, first, Ok(Response::Registers(vec![1])));
    assert!(said.iter().any(|s| matches!(s, Said::Emit(_))));
    assert_eq!(asked(&said).len(), 1);
    assert!(matches!(&reply(&mut plugin, 7, first, Ok(Response::Registers(vec![2])))[..], [Said::Log(..)]), "twice is late too");
}

#[test]
fn an_alert_survives_a_restart_and_another_order_of_rows() {
    let map = "alert hot holding 4 bits[1]\nalert dry holding 4 bits[2] when 0\n";
    let (mut plugin, said) = open(&[("map", map)], None);
    let said = reply(&mut plugin, 5, asked(&said)[0].0, Ok(Response::Registers(vec![0b110])));
    let raised = |said: &[Said]| {
        said.iter().filter_map(|s| if let Said::Raise(a) = s { Some((a.text.clone(), a.state)) } else { None }).collect::<Vec<_>>()
    };
    assert_eq!(raised(&said), [("hot".to_owned(), AlertState::Active)]);
    let kept = said.iter().find_map(|s| if let Said::Keep(state) = s { Some(state.clone()) } else { None });
    let other = "x holding 3 u16\nalert dry holding 4 bits[2] when 0\nalert hot holding 4 bits[1]\n";
    let (mut plugin, said) = open(&[("map", other)], kept.clone());
    let said = reply(&mut plugin, 5, asked(&said)[0].0, Ok(Response::Registers(vec![0, 0])));
    assert_eq!(raised(&said), [("dry".to_owned(), AlertState::Active), ("hot".to_owned(), AlertState::Inactive)]);
    let (_, said) = open(&[("map", "x holding 3 u16")], kept);
    assert!(said.iter().any(|s| matches!(s, Said::Log(Level::Warn, _))), "an alert that left the map is said");
    assert!(raised(&said).is_empty(), "and not invented to be over");
}

/// Any answers in any order: no panic, never two requests at once, bounded asking.
#[test]
fn random_answers_never_confuse_it() {
    let mut random = Random(3);
    for round in 0..60 {
        let (mut plugin, said) = open(&[("map", SMC), ("gap", "4"), ("tries", "3")], None);
        let mut open: Vec<Tag> = asked(&said).iter().map(|a| a.0).collect();
        for ms in (0..200_000).step_by(250) {
            let tag = open.last().copied().filter(|_| random.below(8) > 0).unwrap_or(0x1_0000 + random.below(50) as u32);
            let outcome = match random.below(9) {
                0 => Err(Failure::Timeout),
                1 => Err(Failure::Exception(random.next() as u8)),
                2 => Err(Failure::Malformed),
                3 => Ok(Response::Registers((0..random.below(14)).map(|_| random.next() as u16).collect())),
                4 => Ok(Response::Bits(vec![true; random.below(14)])),
                5 => [
                    Err(Failure::NotGranted),
                    Err(Failure::OverRate),
                    Err(Failure::Cancelled),
                    Err(Failure::LinkDown),
                    Ok(Response::Written),
                ][random.below(5)]
                .clone(),
                _ => Ok(Response::Registers(vec![random.next() as u16; [9, 1, 12][random.below(3)]])),
            };
            let mut out = Outbox::default();
            match random.below(20) {
                0 => Modbus::link_changed(&mut plugin, at(ms), [LinkState::Up, LinkState::Down][random.below(2)], &mut out)
                    .expect("no problem"),
                1..4 => plugin.timer(at(ms), 1 + random.below(4) as u32, &mut out).expect("no problem"),
                _ => plugin.reply(at(ms), tag, outcome, &mut out).expect("no problem"),
            }
            let said = out.take();
            let new = asked(&said);
            assert!(new.len() <= 1, "round {round}: one request at a time");
            open.extend(new.iter().map(|a| a.0));
        }
        let mut out = Outbox::default();
        plugin.close(at(200_000), &mut out).expect("no problem");
    }
}
