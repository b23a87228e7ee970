//! Audio messages with a counter, in the shape that the Omi wearable's protocol has: PCM of 16 bits, or mu-law. Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read};

/// Service 19B10000-E8F2-537E-4F6C-D104768A1214.
pub const AUDIO: u128 = 0x19b1_0001_e8f2_537e_4f6c_d104_768a_1214;
pub const CODEC: u128 = 0x19b1_0002_e8f2_537e_4f6c_d104_768a_1214;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    pub mu_law: bool,
    pub rate_hz: u32,
}

impl Codec {
    /// The numbers of the codec characteristic. Opus (20) is compressed with loss: no samples come out of it here.
    pub fn of(number: u8) -> Option<Self> {
        let (mu_law, rate_hz) = match number {
            0 => (false, 16_000),
            1 => (false, 8_000),
            10 => (true, 16_000),
            11 => (true, 8_000),
            _ => return None,
        };
        Some(Self { mu_law, rate_hz })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub counter: u16,
    pub fragment: u8,
    pub samples: Vec<i32>,
}

pub fn packet(bytes: &[u8], codec: Codec) -> Read<Packet> {
    let mut fields = Fields::new(bytes);
    let (counter, fragment) = (fields.u16()?, fields.u8()?);
    let samples: Vec<i32> = if codec.mu_law {
        fields.left().iter().map(|code| linear(*code)).collect()
    } else {
        let (words, []) = fields.left().as_chunks::<2>() else { return Err(Damage("a sample is cut in two")) };
        words.iter().map(|w| i16::from_le_bytes(*w).into()).collect()
    };
    if samples.is_empty() { Err(Damage("it holds no sample")) } else { Ok(Packet { counter, fragment, samples }) }
}

/// ITU-T G.711: sign, three bits of segment, four of step, all inverted; as a number of 16 bits.
pub fn linear(code: u8) -> i32 {
    const BIAS: i32 = 0x84;
    let code = !code;
    let magnitude = ((i32::from(code & 0x0f) << 3) + BIAS) << (code >> 4 & 7);
    if code & 0x80 == 0 { magnitude - BIAS } else { BIAS - magnitude }
}

const LATE_PACKETS_MAX: u16 = 8; // that others overtook; a device that starts anew goes back further, or its link was lost

/// How a packet stands to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Next,
    Repeated,
    /// Others overtook it.
    Late,
    /// So many packets in between did not come; without a number where nothing tells how many fragments a block has.
    Jump(Option<u16>),
    /// The counter went back: the device started anew.
    Back,
}

/// Every packet has its number, and some devices count the fragments of one frame beside it; others give the fragments of one block the
/// same number, and begin them at 0 (`blocks`: two of one number were seen).
pub fn step(before: (u16, u8), now: (u16, u8), blocks: bool) -> Step {
    match (now.0.wrapping_sub(before.0), now.1.checked_sub(before.1)) {
        (0, Some(0)) => Step::Repeated,
        (0, None) => Step::Late,
        (0, Some(1)) | (1, _) if follows(before, now, blocks) => Step::Next,
        (0, Some(fragments)) => Step::Jump(Some(u16::from(fragments) - 1)),
        (1, _) => Step::Jump(None),
        (ahead, _) if ahead < 0x8000 => Step::Jump(Some(ahead - 1).filter(|_| !blocks)),
        (back, _) if back.wrapping_neg() <= LATE_PACKETS_MAX => Step::Late,
        _ => Step::Back,
    }
}

fn follows(before: (u16, u8), now: (u16, u8), blocks: bool) -> bool {
    let counted_on = before.1.checked_add(1) == Some(now.1);
    if now.0 == before.0 { counted_on } else { now.1 == 0 || counted_on && !blocks }
}

#[cfg(test)]
mod tests {
    use super::Step::*;
    use super::*;

    #[test]
    fn fragments_that_are_late_or_missing_are_told_apart() {
        for (before, now, blocks, expected) in [
            ((5, 0), (5, 1), true, Next),
            ((5, 0), (5, 2), true, Jump(Some(1))),
            ((5, 2), (5, 1), true, Late),
            ((5, 2), (5, 2), true, Repeated),
            ((5, 1), (6, 0), true, Next),
            ((5, 1), (6, 1), false, Jump(None)),
            ((5, 0), (6, 1), true, Jump(None)),
            ((5, 0), (6, 1), false, Next),
            ((5, 0), (7, 0), false, Jump(Some(1))),
            ((5, 1), (7, 0), true, Jump(None)),
            ((6, 0), (5, 0), false, Late),
            ((0, 0), (0xffff, 0), false, Late),
            ((0xffff, 0), (0, 0), false, Next),
            ((500, 0), (0, 0), false, Back),
            ((5, 255), (6, 0), true, Next),
        ] {
            assert_eq!(step(before, now, blocks), expected, "{before:?} {now:?} {blocks}");
        }
    }
}
