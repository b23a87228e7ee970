//! Waves over a radio that loses messages: each sample keeps its index, and what is missing is told.

use wardgate_sdk::gatt::{Profile, polar};
use wardgate_sdk::*;

use crate::ble::{Value128, said};
use crate::random::{Random, mutate};

const MESSAGES: usize = 400;

/// Samples are numbered; `message` makes one of `count` from the `n`th on. Answers how many samples were sent and how many came.
fn lossy<P: Profile>(seed: u64, count: usize, message: impl Fn(usize, usize) -> Value128) -> (usize, usize) {
    let mut random = Random(seed);
    let mut sent = Vec::new();
    for n in 0..MESSAGES {
        // the last comes, so that the end of every gap is seen
        if n == 0 || n == MESSAGES - 1 || random.below(6) > 0 {
            sent.push(message(n, n * count));
        }
    }
    let said = said::<P>(&[], &sent);
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
    (MESSAGES * count, came)
}

fn frame(kind: u8, form: u8, at_ns: u64, samples: Vec<u8>) -> Value128 {
    (polar::DATA, [vec![kind], at_ns.to_le_bytes().to_vec(), vec![form], samples].concat())
}

fn i16s(from: usize, count: usize, repeat: usize) -> Vec<u8> {
    (from..from + count).flat_map(|n| ((n % 30_000) as i16).to_le_bytes().repeat(repeat)).collect()
}

//= PROMISES.md#P105
#[test]
fn each_sample_keeps_its_index_over_lost_messages() {
    let (mut sent, mut came) = (0, 0);
    let mut add = |both: (usize, usize)| (sent, came) = (sent + both.0, came + both.1);
    for seed in 1..=8 {
        // the clock of the last sample, a little off, as a real one is
        let wobble = |n: usize| (n as u64 * 7919) % 900_000;
        add(lossy::<ble_chest_ecg::ChestEcg>(seed, 73, |n, from| {
            let samples = (from..from + 73).flat_map(|n| ((n % 30_000) as i32).to_le_bytes()[..3].to_vec()).collect();
            frame(0, 0, 600_000_000_000_000_000 + (from as u64 + 72) * 1_000_000_000 / 130 + wobble(n), samples)
        }));
        add(lossy::<ble_chest_ecg::ChestEcg>(seed, 16, |_, from| {
            (ble_chest_ecg::decode::OPEN_ECG, [(from as u32 * 8).to_le_bytes().to_vec(), i16s(from, 16, 1)].concat())
        }));
        add(lossy::<ble_motion_belt::MotionBelt>(seed, 36, |n, from| {
            frame(2, 1, (from as u64 + 35) * 40_000_000 + wobble(n), i16s(from, 36, 3))
        }));
        add(lossy::<ble_stethoscope::Stethoscope>(seed, 80, |n, from| {
            (ble_stethoscope::decode::AUDIO, [(n as u16).wrapping_sub(100).to_le_bytes().to_vec(), vec![0], i16s(from, 80, 1)].concat())
        }));
    }
    println!("{came} of {sent} samples came, each at its index; the rest was told missing");
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
