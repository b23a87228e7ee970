//! Frames that say their own length: perhaps sync bytes, a length field, perhaps a check at the end.

use super::{Format, Verdict};

/// Where the length stands and what it counts: a whole frame has `value + adds` bytes.
#[derive(Clone, Copy, Debug)]
pub struct LengthField {
    pub at: usize,
    /// 1, 2 or 4 bytes.
    pub width: usize,
    pub little_endian: bool,
    /// Bytes that the field does not count: header, field and check. Negative when it counts more than the frame.
    pub adds: isize,
}

#[derive(Clone, Debug)]
pub struct LengthPrefixed {
    sync: &'static [u8],
    field: LengthField,
    longest: usize,
    check: fn(&[u8]) -> bool,
}

impl LengthPrefixed {
    /// `check` judges a whole frame (checksum, type); `|_| true` when there is nothing to check, and then only sync bytes protect
    /// from noise that looks like a length.
    pub fn new(sync: &'static [u8], field: LengthField, longest: usize, check: fn(&[u8]) -> bool) -> Self {
        assert!(matches!(field.width, 1 | 2 | 4), "a length field has 1, 2 or 4 bytes");
        assert!(field.at + field.width <= longest, "the length stands inside the longest frame");
        Self { sync, field, longest, check }
    }

    fn whole(&self, window: &[u8]) -> Option<usize> {
        let bytes = &window[self.field.at..self.field.at + self.field.width];
        let join = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
        let value = if self.field.little_endian { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) };
        let least = (self.field.at + self.field.width).max(self.sync.len());
        value.checked_add_signed(self.field.adds).filter(|whole| (least..=self.longest).contains(whole))
    }
}

impl Format for LengthPrefixed {
    fn longest(&self) -> usize {
        self.longest
    }

    fn judge(&self, window: &[u8]) -> Verdict {
        let seen = window.len().min(self.sync.len());
        if window[..seen] != self.sync[..seen] {
            return Verdict::Noise(1);
        }
        if window.len() < self.sync.len().max(self.field.at + self.field.width) {
            return Verdict::More;
        }
        match self.whole(window) {
            None => Verdict::Torn(1),
            Some(whole) if window.len() < whole => Verdict::More,
            Some(whole) if (self.check)(&window[..whole]) => Verdict::Frame { whole },
            Some(_) => Verdict::Torn(1), // perhaps a real frame begins inside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frames, torture};
    use super::*;

    fn format() -> LengthPrefixed {
        let field = LengthField { at: 2, width: 2, little_endian: true, adds: 5 };
        LengthPrefixed::new(&[0xAA, 0x55], field, 32, |frame| frame.iter().fold(0u8, |x, b| x ^ b) == 0)
    }

    fn frame(content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xAA, 0x55];
        bytes.extend((content.len() as u16).to_le_bytes());
        bytes.extend(content);
        bytes.push(bytes.iter().fold(0, |x, b| x ^ b));
        bytes
    }

    #[test]
    fn a_frame_behind_a_false_beginning_is_found() {
        let mut stream = vec![1, 2, 0xAA];
        stream.extend([0xAA, 0x55, 20, 0]); // a header without its frame: the real one begins inside what it claims
        stream.extend(frame(b"hello"));
        stream.extend([0xAA, 0x55, 0xFF, 0xFF]); // longer than any
        stream.extend(frame(b""));
        stream.extend(frame(b"end of the stream, to fill 20"));
        stream.extend(frame(b"x"));
        let (found, _) = frames(format(), &stream, |_| 1000);
        assert_eq!(found, [frame(b"hello"), frame(b""), frame(b"x")], "29 bytes of content make 34, longer than any");
        torture(&format(), &stream);
    }
}
