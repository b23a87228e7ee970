//! Patterns of frames that may be written. A pattern is anchored at both ends and has one fixed length: whatever is joined, split or
//! padded has another length or other bytes, and matches nothing. There is no repetition, so there is nothing to reason about.
//!
//! A pattern is a row of items, blanks between them as one likes:
//! - two hexadecimal digits: that byte (`1B`);
//! - `??`: any byte;
//! - `30-39`: any byte from the first to the last, both included;
//! - text in double quotes: its bytes. Inside, `\r` `\n` `\t` `\0` `\\` `\"` and `\x1B`.
//!
//! In gateway.toml single quotes keep the backslashes: `writes = ['"!INF|4961\r"', '1B 24 33 46 0D']`.

use std::fmt;
use std::ops::RangeInclusive;

/// The longest frame that a pattern can describe.
pub const FRAME_BYTES_MAX: usize = 256; // the longest command of any device read about has 40

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    bytes: Vec<RangeInclusive<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error(
        "pattern {pattern}: {what} at character {at}. A pattern is made of hexadecimal bytes (1B), ?? for any byte, 30-39 for a range, and \"text\""
    )]
    Syntax { pattern: String, at: usize, what: &'static str },
    #[error("pattern {pattern:?} is empty: to write nothing, leave it out")]
    Empty { pattern: String },
    #[error("pattern {pattern} is longer than {FRAME_BYTES_MAX} bytes")]
    Long { pattern: String },
    #[error("pattern {pattern} lets any {} bytes through: name at least one byte", pattern.matches("??").count())]
    Anything { pattern: String },
}

impl Pattern {
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        let bytes = Reader { source, rest: source.char_indices().collect(), at: 0 }.items()?;
        let pattern = source.to_owned();
        match bytes.len() {
            0 => Err(PatternError::Empty { pattern }),
            n if n > FRAME_BYTES_MAX => Err(PatternError::Long { pattern }),
            _ if bytes.iter().all(|b| *b == (0..=255)) => Err(PatternError::Anything { pattern }),
            _ => Ok(Self { source: pattern, bytes }),
        }
    }

    /// The whole frame, from its first byte to its last.
    pub fn matches(&self, frame: &[u8]) -> bool {
        frame.len() == self.bytes.len() && self.bytes.iter().zip(frame).all(|(may, is)| may.contains(is))
    }

    /// Whatever the other matches, this one does.
    pub fn covers(&self, other: &Self) -> bool {
        let holds = |(may, is): (&RangeInclusive<u8>, &RangeInclusive<u8>)| may.contains(is.start()) && may.contains(is.end());
        self.bytes.len() == other.bytes.len() && self.bytes.iter().zip(&other.bytes).all(holds)
    }

    /// What both match; None: nothing.
    pub fn and(&self, other: &Self) -> Option<Self> {
        if self.covers(other) || other.covers(self) {
            return Some(if self.covers(other) { other.clone() } else { self.clone() });
        }
        let both = |(one, other): (&RangeInclusive<u8>, &RangeInclusive<u8>)| *one.start().max(other.start())..=*one.end().min(other.end());
        let bytes: Vec<_> = self.bytes.iter().zip(&other.bytes).map(both).collect();
        let is_one = self.bytes.len() == other.bytes.len() && bytes.iter().all(|range| !range.is_empty());
        let text = |range: &RangeInclusive<u8>| match (range.start(), range.end()) {
            (first, last) if first == last => format!("{first:02x}"),
            (0, 255) => "??".to_owned(),
            (first, last) => format!("{first:02x}-{last:02x}"),
        };
        is_one.then(|| Self { source: bytes.iter().map(text).collect::<Vec<_>>().join(" "), bytes })
    }

    /// The pattern that matches this frame and nothing else, as text where that is easier to read.
    pub fn of(frame: &[u8]) -> String {
        let readable = |b: &u8| matches!(b, b' '..=b'~' | b'\r' | b'\n') && *b != b'\'';
        if frame.is_empty() || !frame.iter().all(readable) {
            return frame.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(" ");
        }
        let mut text = String::from('"');
        for b in frame {
            match b {
                b'\r' => text.push_str("\\r"),
                b'\n' => text.push_str("\\n"),
                b'\\' | b'"' => text.extend(['\\', char::from(*b)]),
                _ => text.push(char::from(*b)),
            }
        }
        text.push('"');
        text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

struct Reader<'a> {
    source: &'a str,
    rest: Vec<(usize, char)>,
    at: usize,
}

impl Reader<'_> {
    fn items(mut self) -> Result<Vec<RangeInclusive<u8>>, PatternError> {
        let mut bytes = Vec::new();
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '"' => self.text(&mut bytes)?,
                '?' => {
                    self.at += 1;
                    self.expect('?', "a single ? (write ??)")?;
                    bytes.push(0..=255);
                }
                _ => {
                    let first = self.hex()?;
                    let mut last = first;
                    if self.peek() == Some('-') {
                        self.at += 1;
                        last = self.hex()?;
                    }
                    if last < first {
                        return Err(self.wrong("a range that ends before it begins"));
                    }
                    bytes.push(first..=last);
                }
            }
        }
        Ok(bytes)
    }

    fn text(&mut self, bytes: &mut Vec<RangeInclusive<u8>>) -> Result<(), PatternError> {
        self.at += 1;
        loop {
            let byte = match self.next() {
                None => return Err(self.wrong("text without its closing quote")),
                Some('"') => return Ok(()),
                Some('\\') => match self.next() {
                    Some('r') => b'\r',
                    Some('n') => b'\n',
                    Some('t') => b'\t',
                    Some('0') => 0,
                    Some(c @ ('\\' | '"')) => c as u8,
                    Some('x') => self.hex()?,
                    _ => return Err(self.wrong("an escape that is none of \\r \\n \\t \\0 \\\\ \\\" \\x1B")),
                },
                Some(c @ ' '..='~') => c as u8,
                Some(_) => return Err(self.wrong("a character that is not ASCII (write its bytes)")),
            };
            bytes.push(byte..=byte);
        }
    }

    fn hex(&mut self) -> Result<u8, PatternError> {
        let mut value = 0;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return Err(self.wrong("no two hexadecimal digits"));
            };
            value = value * 16 + digit as u8;
            self.at += 1;
        }
        Ok(value)
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).map(|(_, c)| *c)
    }

    fn next(&mut self) -> Option<char> {
        self.at += 1;
        self.rest.get(self.at - 1).map(|(_, c)| *c)
    }

    fn expect(&mut self, c: char, what: &'static str) -> Result<(), PatternError> {
        if self.next() == Some(c) { Ok(()) } else { Err(self.wrong(what)) }
    }

    fn wrong(&self, what: &'static str) -> PatternError {
        PatternError::Syntax { pattern: self.source.to_owned(), at: self.at.min(self.rest.len()) + 1, what }
    }
}

#[cfg(test)]
mod tests;
