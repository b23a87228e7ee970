//! From a stream of bytes to frames: finds the next frame after noise, never holds more than one, and counts what it skipped.
//! What comes out depends on the bytes alone, never on how they were cut into pieces.

mod delimited;
mod enclosed;
mod length;

pub use delimited::Delimited;
pub use enclosed::{Check, Enclosed};
pub use length::{LengthField, LengthPrefixed};

/// How frames of one kind look. Pure: it judges bytes and holds nothing.
pub trait Format {
    /// No frame is longer; the framer holds at most this many bytes.
    fn longest(&self) -> usize;
    /// Judges a window that is not empty and starts where the last verdict ended. A verdict must hold whatever follows: decide on
    /// the earliest bytes that allow it, and say `More` until then.
    fn judge(&self, window: &[u8]) -> Verdict;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So far a frame may be growing.
    More,
    /// The first `whole` bytes are a frame.
    Frame { whole: usize },
    /// The first bytes (one or more) do not begin a frame.
    Noise(usize),
    /// The first bytes (one or more) began a frame that broke: too long, a wrong checksum, a new beginning in its midst.
    Torn(usize),
}

/// What comes out of a framer, in the order of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Frame(&'a [u8]),
    /// Bytes between frames. One stretch of noise may come in several pieces; their sum does not depend on how bytes were cut.
    Noise(usize),
    /// A frame that began and broke.
    Torn(usize),
}

#[derive(Clone, Debug)]
pub struct Framer<F> {
    format: F,
    window: Vec<u8>,
    skipped: u64,
}

impl<F: Format> Framer<F> {
    pub fn new(format: F) -> Self {
        Self { format, window: Vec::new(), skipped: 0 }
    }

    /// Bytes thrown away so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    pub fn format(&self) -> &F {
        &self.format
    }

    /// Bytes held of a frame that is not whole yet.
    pub fn waiting(&self) -> usize {
        self.window.len()
    }

    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Found<'_>)) {
        let longest = self.format.longest().max(1);
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(longest.saturating_sub(self.window.len()).max(1)));
            self.window.extend_from_slice(now);
            bytes = later;
            let mut done = 0;
            while done < self.window.len() {
                let rest = &self.window[done..];
                let (taken, found) = match self.format.judge(rest) {
                    Verdict::More if rest.len() < longest => break,
                    Verdict::More => (1, Found::Torn(1)), // longer than any frame: look again one byte further
                    Verdict::Frame { whole } => {
                        let whole = whole.clamp(1, rest.len());
                        (whole, Found::Frame(&rest[..whole]))
                    }
                    Verdict::Noise(n) => (n.clamp(1, rest.len()), Found::Noise(n.clamp(1, rest.len()))),
                    Verdict::Torn(n) => (n.clamp(1, rest.len()), Found::Torn(n.clamp(1, rest.len()))),
                };
                if !matches!(found, Found::Frame(_)) {
                    self.skipped += taken as u64;
                }
                each(found);
                done += taken;
            }
            self.window.drain(..done);
        }
    }

    /// The line itself reported a fault, or went down: what is held cannot be trusted. Answers how many bytes that were.
    pub fn drop_waiting(&mut self) -> usize {
        let held = self.window.len();
        self.skipped += held as u64;
        self.window.clear();
        held
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The frames, how many bytes were noise and how many belonged to torn frames, when fed in pieces of the given lengths.
    pub fn frames<F: Format>(format: F, bytes: &[u8], cut: impl Fn(usize) -> usize) -> (Vec<Vec<u8>>, usize) {
        let longest = format.longest();
        let (mut framer, mut frames, mut skipped, mut at) = (Framer::new(format), Vec::new(), 0, 0);
        while at < bytes.len() {
            let next = (at + cut(at).max(1)).min(bytes.len());
            framer.feed(&bytes[at..next], |found| match found {
                Found::Frame(frame) => frames.push(frame.to_vec()),
                Found::Noise(n) | Found::Torn(n) => skipped += n,
            });
            assert!(framer.waiting() < longest.max(2), "a bounded buffer");
            at = next;
        }
        assert_eq!(framer.skipped(), skipped as u64);
        assert_eq!(frames.iter().map(Vec::len).sum::<usize>() + skipped + framer.waiting(), bytes.len(), "every byte is accounted for");
        (frames, skipped)
    }

    pub fn random(seed: &mut u32) -> u32 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 17;
        *seed ^= *seed << 5;
        *seed
    }

    /// Any cut says the same; every truncation and many mutations are survived.
    pub fn torture<F: Format + Clone>(format: &F, stream: &[u8]) {
        let whole = frames(format.clone(), stream, |_| stream.len());
        assert_eq!(whole, frames(format.clone(), stream, |_| 1));
        let seed = std::cell::Cell::new(0x9E37_79B9);
        let step = || {
            let mut s = seed.get();
            let r = random(&mut s);
            seed.set(s);
            r as usize
        };
        assert_eq!(whole, frames(format.clone(), stream, |_| step() % 7));
        for n in 0..stream.len() {
            frames(format.clone(), &stream[..n], |_| stream.len());
        }
        for _ in 0..500 {
            let mut mutant = stream.to_vec();
            for _ in 0..step() % 4 + 1 {
                let at = step() % mutant.len();
                match step() % 3 {
                    0 => mutant[at] = step() as u8,
                    1 => mutant.insert(at, step() as u8),
                    _ => {
                        mutant.remove(at);
                    }
                }
            }
            assert_eq!(frames(format.clone(), &mutant, |_| mutant.len()), frames(format.clone(), &mutant, |_| 1));
        }
    }
}
