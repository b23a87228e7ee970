//! Frames between a start and an end byte (STX and ETX, mostly), with a checksum behind the end.

use super::{Format, Verdict};

/// What stands behind the end byte. All cover the bytes after the start byte, the end byte included, as most devices do.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    None,
    /// One byte: the sum modulo 256.
    Sum8,
    /// Two hexadecimal digits of the sum modulo 256.
    Sum8Hex,
    /// One byte: all exclusive-ored.
    Xor,
    /// `bytes` behind the end byte; `holds(covered, behind)` judges them.
    With {
        bytes: usize,
        holds: fn(&[u8], &[u8]) -> bool,
    },
}

impl Check {
    fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Sum8 | Self::Xor => 1,
            Self::Sum8Hex => 2,
            Self::With { bytes, .. } => bytes,
        }
    }

    fn holds(self, covered: &[u8], behind: &[u8]) -> bool {
        let sum = || covered.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
        match self {
            Self::None => true,
            Self::Sum8 => behind == [sum()],
            Self::Sum8Hex => behind.eq_ignore_ascii_case(format!("{:02X}", sum()).as_bytes()),
            Self::Xor => behind == [covered.iter().fold(0, |x, b| x ^ b)],
            Self::With { holds, .. } => holds(covered, behind),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Enclosed {
    start: u8,
    end: u8,
    check: Check,
    longest: usize,
}

impl Enclosed {
    /// The content holds neither the start nor the end byte: a start byte inside begins anew.
    pub fn new(start: u8, end: u8, check: Check, longest: usize) -> Self {
        assert!(start != end, "start and end differ");
        assert!(longest >= 2 + check.bytes(), "a frame holds its start, its end and its check");
        Self { start, end, check, longest }
    }

    /// Between the start and the end byte.
    pub fn content<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(1..frame.len().saturating_sub(1 + self.check.bytes())).unwrap_or_default()
    }
}

impl Format for Enclosed {
    fn longest(&self) -> usize {
        self.longest
    }

    fn judge(&self, window: &[u8]) -> Verdict {
        if window[0] != self.start {
            return Verdict::Noise(window.iter().position(|b| *b == self.start).unwrap_or(window.len()));
        }
        let Some(end) = window[1..].iter().position(|b| *b == self.end || *b == self.start).map(|at| at + 1) else {
            return Verdict::More;
        };
        if window[end] == self.start {
            return Verdict::Torn(end);
        }
        let whole = end + 1 + self.check.bytes();
        match () {
            () if whole > self.longest => Verdict::Torn(1),
            () if window.len() < whole => Verdict::More,
            () if self.check.holds(&window[1..=end], &window[end + 1..whole]) => Verdict::Frame { whole },
            () => Verdict::Torn(1), // perhaps a real frame begins inside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frames, torture};
    use super::*;

    const STX: u8 = 2;
    const ETX: u8 = 3;

    #[test]
    fn every_kind_of_check_finds_its_frames_and_no_others() {
        let own = Check::With {
            bytes: 2,
            holds: |covered, behind| {
                covered.iter().fold(0u16, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into())).to_be_bytes() == *behind
            },
        };
        let cases: [(Check, &[u8]); 5] =
            [(Check::None, b""), (Check::Sum8, b"\xC9"), (Check::Sum8Hex, b"c9"), (Check::Xor, b"\x03"), (own, b"\x87\xA3")];
        for (check, behind) in cases {
            let format = Enclosed::new(STX, ETX, check, 12);
            let good = [&[STX], &b"1122"[..], &[ETX], behind].concat();
            let stream = [b"noise", &good[..], &[STX, b'9'], &good[..], b"tail", &[STX; 40], &good[..]].concat();
            let (found, _) = frames(format.clone(), &stream, |_| 1000);
            assert_eq!(format.content(&good), b"1122");
            torture(&format, &stream);
            assert_eq!(found, [&good[..], &good, &good], "{check:?}");
            if behind.is_empty() {
                continue; // nothing tells a changed byte
            }
            let mut bad = good.clone();
            bad[2] ^= 1;
            assert_eq!(frames(format.clone(), &bad, |_| 3).0, [[0u8; 0]; 0], "{check:?}");
        }
    }
}
