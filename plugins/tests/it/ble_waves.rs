//! Waves over a radio that loses messages: each sample keeps its index, and what is missing is told.

use std::collections::BTreeSet;

use wardgate_sdk::gatt::{Profile, Stamp, Waves, polar};
use wardgate_sdk::*;

use crate::ble::{Value128, lines, said, said_every};
use crate::random::{Random, mutate};

const MESSAGES: usize = 400;

/// What a radio does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Radio {
    Loses,
    /// It loses some, brings others twice, and some behind the next one.
    Disturbs,
}

/// Samples are numbered; `message` makes one of `count` from the `n`th on. Answers how many samples were sent and how many came.
fn lossy<P: Profile>(radio: Radio, seed: u64, count: usize, message: impl Fn(usize, usize) -> Value128) -> (usize, usize) {
    let mut random = Random(seed);
    let mut sent = Vec::new();
    let (mut n, mut heard) = (0, BTreeSet::new());
    while n < MESSAGES {
        // the last comes, so that the end of every gap is seen
        let inner = n > 0 && n < MESSAGES - 2;
        match random.below(6) {
            0 if inner => {}
            1 if inner && radio == Radio::Disturbs => sent.extend([n, n]),
            2 if inner && radio == Radio::Disturbs => {
                sent.extend([n + 1, n]); // one overtook the other
                n += 1;
            }
            3 if inner && radio == Radio::Disturbs => sent.extend([n, n - 1]), // a repeated one comes late
            _ => sent.push(n),
        }
        n += 1;
    }
    // what comes behind a later one is told missing, and then dropped
    let mut last = 0;
    for n in &sent {
        if *n >= last {
            heard.insert(*n);
            last = *n;
        }
    }
    let came_ms = |at: usize| 1500 * (sent[at] as u64 + 1);
    let sent: Vec<_> = sent.iter().map(|n| message(*n, n * count)).collect();
    let said = said_every::<P>(&[], &sent, came_ms);
    let first = said.iter().find_map(|s| if let Said::EmitWaveform(blocks) = s { Some(blocks[0].channel) } else { None });
    let speaks = first.expect("something came");
    let (mut came, mut missed) = (0, 0);
    for one in &said {
        match one {
            Said::EmitWaveform(blocks) => {
                for (k, count) in blocks[0].counts.iter().enumerate() {
                    // the sender's number is cut to the width of its samples
                    let index = blocks[0].first as i64 + k as i64;
                    assert_eq!(i64::from(*count), index % 30_000, "sample {index} of channel {}", blocks[0].channel);
                    came += 1;
                }
                assert!(blocks.iter().all(|b| b.first == blocks[0].first && b.counts.len() == blocks[0].counts.len()));
            }
            Said::Missed(channel, Some(n), Missing::NotSent) if *channel == speaks => missed += n,
            _ => {}
        }
    }
    assert_eq!(came as u64 + missed, (MESSAGES * count) as u64, "what came and what was told missing is what was sent");
    assert_eq!(came, heard.len() * count, "each that came in its turn, once");
    (MESSAGES * count, came)
}

fn frame(kind: u8, form: u8, at_ns: u64, samples: Vec<u8>) -> Value128 {
    (polar::DATA, [vec![kind], at_ns.to_le_bytes().to_vec(), vec![form], samples].concat())
}

fn i16s(from: usize, count: usize, repeat: usize) -> Vec<u8> {
    (from..from + count).flat_map(|n| ((n % 30_000) as i16).to_le_bytes().repeat(repeat)).collect()
}

/// Four senders, eight times each: how many samples they sent, and how many came.
fn senders(radio: Radio) -> (usize, usize) {
    let (mut sent, mut came) = (0, 0);
    let mut add = |both: (usize, usize)| (sent, came) = (sent + both.0, came + both.1);
    for seed in 1..=8 {
        // the clock of the last sample, a little off, as a real one is
        let wobble = |n: usize| (n as u64 * 7919) % 900_000;
        add(lossy::<ble_chest_ecg::ChestEcg>(radio, seed, 73, |n, from| {
            let samples = (from..from + 73).flat_map(|n| ((n % 30_000) as i32).to_le_bytes()[..3].to_vec()).collect();
            frame(0, 0, 600_000_000_000_000_000 + (from as u64 + 72) * 1_000_000_000 / 130 + wobble(n), samples)
        }));
        add(lossy::<ble_chest_ecg::ChestEcg>(radio, seed, 16, |_, from| {
            (ble_chest_ecg::decode::OPEN_ECG, [(from as u32 * 8).to_le_bytes().to_vec(), i16s(from, 16, 1)].concat())
        }));
        add(lossy::<ble_motion_belt::MotionBelt>(radio, seed, 36, |n, from| {
            frame(2, 1, (from as u64 + 35) * 40_000_000 + wobble(n), i16s(from, 36, 3))
        }));
        add(lossy::<ble_stethoscope::Stethoscope>(radio, seed, 80, |n, from| {
            (ble_stethoscope::decode::AUDIO, [(n as u16).wrapping_sub(100).to_le_bytes().to_vec(), vec![0], i16s(from, 80, 1)].concat())
        }));
    }
    (sent, came)
}

//= PROMISES.md#P105
#[test]
fn each_sample_keeps_its_index_over_lost_messages() {
    let (sent, came) = senders(Radio::Loses);
    println!("{came} of {sent} samples came, each at its index; the rest was told missing");
}

//= PROMISES.md#P226
#[test]
fn what_comes_twice_or_behind_a_later_one_is_said_once_and_shifts_nothing() {
    let (sent, came) = senders(Radio::Disturbs);
    println!("{came} of {sent} samples came in their turn, each once and at its index; the rest was told missing");
}

fn open_ecg(at_ms: u32) -> Value128 {
    (ble_chest_ecg::decode::OPEN_ECG, [at_ms.to_le_bytes().to_vec(), i16s(0, 16, 1)].concat())
}

/// What is said of the channel's indices, and of what is missing.
fn indices(said: &[Said]) -> Vec<String> {
    let short = |line: String| line.split(':').next().unwrap_or_default().to_owned();
    lines(said).into_iter().map(short).collect()
}

//= PROMISES.md#P227
#[test]
fn a_clock_that_was_set_is_not_booked_as_lost_samples() {
    // one message each 128 ms, until the clock jumps to f0000000 ms; then set back by a second, which is less than a message may be late
    let stamps = [0, 128, 0xf000_0000, 0xf000_0080, 0xf000_0100 - 1000, 0xf000_0180 - 1000, 0xf000_0200 - 1000, 0xf000_0280 - 1000];
    let values: Vec<_> = stamps.map(open_ecg).into();
    let said = said_every::<ble_chest_ecg::ChestEcg>(&[], &values, |n| 128 * (n as u64 + 1));
    let expected = [
        "ecg-counts 0",
        "ecg-counts 16",
        "ecg-counts missed None Unknown",
        "ecg-counts 32",
        "ecg-counts 48",
        "ecg-counts missed None Unknown",
        "ecg-counts 64",
        "ecg-counts 80",
    ];
    assert_eq!(indices(&said), expected);
    // a link that was down for an hour: so much time passed here too
    let values = [open_ecg(0), open_ecg(3_600_000)];
    let said = said_every::<ble_chest_ecg::ChestEcg>(&[], &values, |n| 1000 + 3_600_000 * n as u64);
    assert_eq!(indices(&said), ["ecg-counts 0", "ecg-counts missed Some(449984) NotSent", "ecg-counts 450000"]);
}

//= PROMISES.md#P357
#[test]
fn a_stethoscopes_counter_that_jumps_further_than_time_passed_is_not_booked_as_lost_samples() {
    let packet =
        |number: u16| -> Value128 { (ble_stethoscope::decode::AUDIO, [number.to_le_bytes().to_vec(), vec![0], i16s(0, 10, 1)].concat()) };
    let heard = |numbers: &[u16], apart_ms: u64| {
        let values: Vec<_> = numbers.iter().map(|number| packet(*number)).collect();
        indices(&said_every::<ble_stethoscope::Stethoscope>(&[], &values, |n| 1000 + apart_ms * n as u64))
    };
    // 8,000 samples fit into a second, and 40,125 more into what there is to spare
    assert_eq!(heard(&[100, 4913], 1000), ["sound 0", "sound missed Some(48120) NotSent", "sound 48130"]);
    assert_eq!(heard(&[100, 4914], 1000), ["sound 0", "sound missed None Unknown", "sound 10"]);
    assert_eq!(heard(&[100, 20_000, 20_001], 1000), ["sound 0", "sound missed None Unknown", "sound 10", "sound 20"]);
    assert_eq!(heard(&[100, 20_000], 20_000), ["sound 0", "sound missed Some(198990) NotSent", "sound 199000"]);
}

//= PROMISES.md#P228
#[test]
fn fragments_that_come_late_are_dropped_and_a_block_that_begins_in_its_middle_is_a_gap() {
    let packet = |(number, fragment): (u16, u8)| -> Value128 {
        (ble_stethoscope::decode::AUDIO, [number.to_le_bytes().to_vec(), vec![fragment], i16s(0, 10, 1)].concat())
    };
    let heard = |packets: &[(u16, u8)]| {
        let values: Vec<_> = packets.iter().map(|p| packet(*p)).collect();
        indices(&said::<ble_stethoscope::Stethoscope>(&[], &values))
    };
    assert_eq!(heard(&[(5, 0), (5, 2), (5, 1), (6, 0)]), ["sound 0", "sound missed Some(10) NotSent", "sound 20", "sound 30"]);
    assert_eq!(heard(&[(5, 1), (6, 1)]), ["sound 0", "sound missed None NotSent", "sound 10"]);
    assert_eq!(
        heard(&[(5, 0), (5, 1), (6, 0), (6, 0), (6, 1), (5, 1), (7, 0)]),
        ["sound 0", "sound 10", "sound 20", "sound 30", "sound 40"]
    );
    // a number for each packet, and fragments counted beside it
    assert_eq!(heard(&[(5, 0), (6, 1), (7, 0), (9, 0)]), ["sound 0", "sound 10", "sound 20", "sound missed Some(10) NotSent", "sound 40"]);
    // three in a row are a device that started anew
    assert_eq!(heard(&[(5, 0), (1, 0), (2, 0), (3, 0), (4, 0)]), ["sound 0", "sound missed None Unknown", "sound 10", "sound 20"]);
}

/// Nothing tells that a message was cut between two samples: then those that are left are said, and the clock tells what is missing.
//= PROMISES.md#P103
#[test]
fn a_wave_that_is_cut_says_no_sample_that_was_not_sent() {
    type Run = fn(&[(&str, &str)], &[Value128]) -> Vec<Said>;
    type Wave<'a> = (Run, &'a [(&'a str, &'a str)], Value128);
    let packed = vec![0xf7, 0xff, 0xff, 0xff, 0xe7, 3, 4, 2, 0xf1, 0x72, 0x80, 12, 1, 0, 8, 0x80, 0xff, 7];
    let audio = (ble_stethoscope::decode::AUDIO, [vec![1, 0, 0], i16s(1, 20, 1)].concat());
    let waves: [Wave<'_>; 7] = [
        (said::<ble_chest_ecg::ChestEcg>, &[], frame(0, 0, 7, (0..60).collect())),
        (said::<ble_chest_ecg::ChestEcg>, &[], open_ecg(7)),
        (said::<ble_motion_belt::MotionBelt>, &[], frame(2, 1, 7, i16s(1, 12, 3))),
        (said::<ble_motion_belt::MotionBelt>, &[], frame(2, 0x81, 7, packed)),
        (said::<ble_motion_belt::MotionBelt>, &[], (ble_motion_belt::decode::ACCELERATION, i16s(1, 12, 3))),
        (said::<ble_stethoscope::Stethoscope>, &[], audio.clone()),
        (said::<ble_stethoscope::Stethoscope>, &[("codec", "mu-law-8k")], audio),
    ];
    let samples = |said: &[Said]| -> Vec<Vec<i32>> {
        let blocks = said.iter().filter_map(|s| if let Said::EmitWaveform(blocks) = s { Some(blocks.clone()) } else { None });
        blocks.flatten().map(|block| block.counts).collect()
    };
    for (run, settings, (uuid, bytes)) in waves {
        let whole = samples(&run(settings, &[(uuid, bytes.clone())]));
        assert!(!whole.is_empty());
        for length in 0..bytes.len() {
            let said = run(settings, &[(uuid, bytes[..length].to_vec())]);
            let left = samples(&said);
            let prefix = left.len() == whole.len() && left.iter().zip(&whole).all(|(left, whole)| whole.starts_with(left));
            let missing = said.iter().any(|s| matches!(s, Said::Missed(_, None, Missing::Corrupted)));
            assert!(if left.is_empty() { missing } else { prefix && left[0].len() < whole[0].len() }, "{length}: {left:?}");
        }
    }
}

#[test]
fn damaged_messages_are_survived_and_indices_never_go_back() {
    let mut random = Random(31);
    for round in 0..300 {
        let mut values: Vec<Value128> = Vec::new();
        for n in 0..20usize {
            let value = match round % 3 {
                0 => frame(0, [0, 0x80][n % 2], n as u64 * 561_538_461, i16s(n * 6, 6, 1)),
                1 => frame(2, [1, 0x81][n % 2], n as u64 * 40_000_000, i16s(n * 6, 6, 3)),
                _ => (ble_stethoscope::decode::AUDIO, [vec![n as u8, 0, 0], i16s(n, 9, 1)].concat()),
            };
            values.push(if random.below(2) == 0 { (value.0, mutate(&value.1, &mut random)) } else { value });
        }
        let said = match round % 3 {
            0 => said::<ble_chest_ecg::ChestEcg>(&[], &values),
            1 => said::<ble_motion_belt::MotionBelt>(&[], &values),
            _ => said::<ble_stethoscope::Stethoscope>(&[("codec", "mu-law-16k")], &values),
        };
        let mut next = [0u64; 5];
        for one in &said {
            let Said::EmitWaveform(blocks) = one else { continue };
            for b in blocks {
                assert!(b.first >= next[usize::from(b.channel)], "as the gateway's rules want it");
                next[usize::from(b.channel)] = b.first + b.counts.len() as u64;
            }
        }
    }
}

#[test]
fn another_devices_clock_says_nothing_about_what_is_missing_of_the_one_before() {
    let mut out = Outbox::default();
    let mut waves = Waves::new(0, Stamp::First);
    let messages = [(Some("A"), 1000), (Some("A"), 1128), (None, 1256), (Some("B"), 1384), (Some("B"), 1512)];
    for (n, (who, at_ms)) in messages.into_iter().enumerate() {
        waves.of(who, &mut out);
        let now = crate::ble::at(128 * n as u64);
        waves.say(now, at_ms * 1_000_000, vec![vec![0; 16]], (8_000_000, 1), Quality::empty(), &mut out);
    }
    let told = out.take().into_iter().filter(|said| !matches!(said, Said::EmitWaveform(_))).collect::<Vec<_>>();
    assert_eq!(told, [Said::Missed(0, None, Missing::DeviceOff)]);
}
