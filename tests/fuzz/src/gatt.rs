//! What Bluetooth LE devices say: the plugins that we ship, run natively.

use ble_glucose::Glucose;
use ble_glucose::decode::{CONTEXT, CONTROL_POINT, MEASUREMENT};
use ble_glucose::places::Places;
use wardgate_sdk::gatt::{Peripheral, polar, sig};
use wardgate_sdk::{Ble, LinkState, Opening, Outbox, Plugin, Said, fact};

use crate::ble::{Value128, at, characteristics, lines, said};
use crate::ble_layouts::LAYOUTS;
use crate::random::Random;

type Run = fn(&[(&str, &str)], &[Value128]) -> Vec<Said>;

const AUDIO: u128 = ble_stethoscope::decode::AUDIO;
const CODEC: u128 = ble_stethoscope::decode::CODEC;

/// A plugin, its settings, and what it listens to.
const PLUGINS: [(Run, &[(&str, &str)], &[u128]); 12] = [
    (said::<ble_heart_rate::HeartRate>, &[], &[sig(0x2a37), sig(0x2a38), sig(0x2a19), sig(0x2a25), sig(0x2bff)]),
    (said::<ble_thermometer::Thermometer>, &[], &[sig(0x2a1c), sig(0x2a1e), sig(0x2a1d)]),
    (said::<ble_oximeter::Oximeter>, &[], &[sig(0x2a5f), sig(0x2a5e)]),
    (said::<ble_blood_pressure::BloodPressure>, &[], &[sig(0x2a35), sig(0x2a36)]),
    (said::<ble_weight::Weight>, &[], &[sig(0x2a9d)]),
    (said::<Glucose>, &[], &[MEASUREMENT, CONTEXT, CONTROL_POINT]),
    (said::<ble_cgm::Cgm>, &[], &[sig(0x2aa7), sig(0x2aa8), sig(0x2aa9), sig(0x2aaa), sig(0x2aab)]),
    (said::<ble_activity::Activity>, &[], &[sig(0x2a53), sig(0x2a5d)]),
    (said::<ble_chest_ecg::ChestEcg>, &[], &[polar::DATA, sig(0x2bdd), polar::CONTROL, sig(0x2be3)]),
    (
        said::<ble_motion_belt::MotionBelt>,
        &[],
        &[ble_motion_belt::decode::ACCELERATION, ble_motion_belt::decode::FORMAT, polar::DATA, polar::CONTROL],
    ),
    (said::<ble_stethoscope::Stethoscope>, &[], &[AUDIO, CODEC]),
    (said::<ble_stethoscope::Stethoscope>, &[("codec", "mu-law-8k")], &[AUDIO, CODEC]),
];
const SAID_BYTES_MAX: usize = 64; // of lines for one byte of input: what a device says is not blown up beyond its own names and units

/// A plugin; then values: which characteristic, how long, the bytes.
pub fn values(data: &[u8]) {
    let Some((&which, mut rest)) = data.split_first() else { return };
    let (run, settings, listens) = PLUGINS[usize::from(which) % PLUGINS.len()];
    let mut values = Vec::new();
    while let Some((&[from, length], more)) = rest.split_first_chunk() {
        let (value, more) = more.split_at(usize::from(length).min(more.len()));
        values.push((listens[usize::from(from) % listens.len()], value.to_vec()));
        rest = more;
    }
    let said: usize = lines(&run(settings, &values)).iter().map(String::len).sum();
    assert!(said <= SAID_BYTES_MAX * (data.len() + 16), "{said} bytes of lines for {}", data.len());
}

pub fn values_seeds() -> Vec<Vec<u8>> {
    let mut random = Random(21);
    let mut seeds = Vec::new();
    for (name, flags, make) in LAYOUTS {
        let uuid = sig(u16::from_str_radix(name, 16).expect("a number"));
        let which = PLUGINS.iter().position(|(.., listens)| listens.contains(&uuid)).expect("some plugin hears it");
        let from = PLUGINS[which].2.iter().position(|u| *u == uuid).expect("it does");
        for flags in [0, (1u32 << flags) - 1, 0x15 & ((1 << flags) - 1)] {
            let bytes = make(&mut random, flags as u8).bytes;
            seeds.push([vec![which as u8, from as u8, bytes.len() as u8], bytes].concat());
        }
    }
    seeds.push([vec![8, 0, 16, 0, 0, 0x94, 0x35, 0x77, 0, 0, 0, 0, 0, 2, 0x80, 0xff, 2, 0x80, 0], vec![1, 6, 0, 4, 0, 0, 1, 0]].concat());
    seeds.push(vec![9, 2, 21, 2, 0x38, 0x9c, 0x1c, 0, 0, 0, 0, 0, 0x81, 0xf7, 0xff, 0xff, 0xff, 0xe7, 3, 4, 2, 0xf1, 0x72, 0x80]);
    seeds.push(vec![9, 0, 6, 1, 0, 2, 0, 3, 0, 1, 1, 0, 0, 2, 9, 9]);
    seeds.push(vec![10, 1, 1, 11, 0, 5, 1, 0, 0, 0x7f, 0x80, 0, 4, 9, 0, 0, 1]);
    seeds
}

/// A meter's memory being fetched, with anything happening: a state, then events.
pub fn meter(data: &[u8]) {
    const FOUND: [u128; 4] = [MEASUREMENT, CONTEXT, CONTROL_POINT, sig(0x2a25)];
    let Some((&[how, length], rest)) = data.split_first_chunk() else { return };
    let (saved, mut events) = rest.split_at(usize::from(length).min(rest.len()));
    let _ = Places::from_bytes(saved);
    let settings = if how & 1 == 1 { vec![fact("delete", "yes")] } else { vec![] };
    let mut out = Outbox::default();
    let start = Opening { settings, about: vec![], seed: 7, saved: (how & 2 == 2).then(|| saved.to_vec()) };
    let mut plugin = Peripheral::<Glucose>::open(at(0), start, &mut out).expect("it opens");
    let mut tags = vec![1];
    for ms in (10..).step_by(10) {
        for said in out.take() {
            match said {
                Said::BleRead(tag, _) | Said::BleSubscribe(tag, _) | Said::BleWrite(tag, ..) => tags.push(tag),
                Said::Keep(state) => assert!(state.len() <= 8192 && Places::from_bytes(&state).is_ok(), "it reads what it kept"),
                _ => {}
            }
        }
        let Some((&[what, length], more)) = events.split_first_chunk() else { break };
        let (bytes, more) = more.split_at(usize::from(length & 31).min(more.len()));
        events = more;
        let tag = if what & 8 == 8 { tags.pop().unwrap_or(1) } else { u32::from(length) };
        match what % 8 {
            0 => Ble::link_changed(&mut plugin, at(ms), [LinkState::Up, LinkState::Down][usize::from(length & 1)], &mut out),
            1 => plugin.discovered(at(ms), 247, characteristics(&FOUND[..usize::from(length % 5)]), &mut out),
            2 => Ble::reply(&mut plugin, at(ms), tag, Ok(bytes.to_vec()), &mut out),
            3 => Ble::reply(&mut plugin, at(ms), tag, Err(wardgate_sdk::ble::Failure::Att(length)), &mut out),
            4 => plugin.timer(at(ms), u32::from(length % 4), &mut out),
            5 => plugin.durable(at(ms), 1, &mut out),
            _ => plugin.notified(at(ms), u16::from(what >> 4), bytes, &mut out),
        }
        .expect("no problem");
    }
}

pub fn meter_seeds() -> Vec<Vec<u8>> {
    let ready: &[u8] = &[1, 4, 10, 0, 10, 0, 10, 0, 10, 0];
    let record: &[u8] = &[0x16, 13, 2, 1, 0, 0xe3, 7, 2, 27, 11, 10, 30, 0x1e, 0xc0, 0x11];
    let answers = |answer: &[u8]| [&[0x36, answer.len() as u8], answer].concat();
    let fetch = [ready, &answers(&[5, 0, 1, 0]), record, &answers(&[6, 0, 1, 1]), &answers(&[5, 0, 1, 0]), &[5, 0, 10, 0, 4, 2]].concat();
    let state = Places::default().to_bytes();
    vec![[vec![0, 0], fetch.clone()].concat(), [vec![3, state.len() as u8], state, fetch.clone(), vec![0, 1], fetch].concat()]
}
