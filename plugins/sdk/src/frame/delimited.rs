//! Frames that end with a delimiter: lines of text, mostly.

use super::{Format, Verdict};

#[derive(Clone, Debug)]
pub struct Delimited {
    delimiter: &'static [u8],
    longest: usize,
}

impl Delimited {
    /// Frames end with `delimiter`, which is part of the frame. What follows an overlong frame begins after its delimiter.
    /// A plugin that starts to listen in mid-stream cannot tell whether the first frame is whole: drop it, or check it.
    pub fn new(delimiter: &'static [u8], longest: usize) -> Self {
        assert!(!delimiter.is_empty() && delimiter.len() <= longest, "a frame holds at least its delimiter");
        Self { delimiter, longest }
    }

    /// The frame without its delimiter.
    pub fn content<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.strip_suffix(self.delimiter).unwrap_or(frame)
    }
}

impl Format for Delimited {
    fn longest(&self) -> usize {
        self.longest
    }

    fn judge(&self, window: &[u8]) -> Verdict {
        match window.windows(self.delimiter.len()).position(|w| w == self.delimiter) {
            Some(at) => Verdict::Frame { whole: at + self.delimiter.len() },
            // the head goes; what could still begin a delimiter stays
            None if window.len() >= self.longest => Verdict::Torn(self.longest + 1 - self.delimiter.len()),
            None => Verdict::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{frames, torture};
    use super::*;

    #[test]
    fn lines_come_out_however_they_are_cut() {
        let format = Delimited::new(b"\r\n", 8);
        let (found, skipped) = frames(format.clone(), b"abc\r\n\r\nlonger than eight\r\nxy\r\nrest", |_| 100);
        assert_eq!(found, [&b"abc\r\n"[..], b"\r\n", b"ght\r\n", b"xy\r\n"]);
        assert_eq!(skipped, 14, "an overlong frame is cut at its bound; its tail is a frame for the plugin to judge");
        assert_eq!(format.content(b"abc\r\n"), b"abc");
        torture(&format, b"abc\r\n\r\nlonger than eight\r\nxy\r\nrest");
    }
}
