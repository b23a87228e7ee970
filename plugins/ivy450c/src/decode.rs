//! One message of the monitor, from bytes. Pure.
//!
//! ```text
//! FF "ANSAR-B "  200 ECG  50 respiration  50 pleth  50 P1  50 P2   lines, each ended by CR   FE
//! line:  NAME=n;value 1;...;value n;label;alarm
//! ```
//! The waves are blocks, one after the other, not interleaved. In the capture (27 messages, 27 s) the mean step from the last byte of a
//! block to the first of the same block one message later is the mean step inside the block (ECG 8.0 to 5.6, respiration 5.6 to 5.9, P1
//! 1.5 to 2.3, pleth 0.8 to 1.9), while bytes a few places apart across block borders have nothing to do with each other; and the P1
//! block runs from 73 to 111 where the text says 111 over 73. The number behind `=` is no status: it is how many values follow
//! (1; NIBP 4; P1 and P2 3).
//! The protocol has no checksum: a byte that line noise turns into another valid one cannot be told. What can be told drops the message.

use std::fmt;

use wardgate_sdk::Decimal;
use wardgate_sdk::frame::{Format, Verdict};

pub const HEADER: &[u8; 9] = b"\xFFANSAR-B ";
pub const END: u8 = 0xFE;
/// ECG, respiration, pleth, P1, P2: samples of one second.
pub const WAVES: [usize; 5] = [200, 50, 50, 50, 50];
const TEXT_AT: usize = HEADER.len() + 400;
const TEXT_BYTES_MAX: usize = 1024; // the capture has 152; a label or alarm for every line would make 700
const FIELD_CHARS_MAX: usize = 40; // the monitor's screen shows no longer text
/// No whole message is shorter: that many bytes of noise may hide one.
pub const SHORTEST: usize = TEXT_AT + 1;

/// The framing: 400 bytes after the header may be anything, so the end is looked for behind them only.
#[derive(Clone, Copy, Debug)]
pub struct AnsarB;

impl Format for AnsarB {
    fn longest(&self) -> usize {
        TEXT_AT + TEXT_BYTES_MAX + 1
    }

    fn judge(&self, window: &[u8]) -> Verdict {
        let seen = window.len().min(HEADER.len());
        if window[..seen] != HEADER[..seen] {
            let next = window[1..].iter().position(|b| *b == HEADER[0]);
            return Verdict::Noise(next.map_or(window.len(), |at| at + 1));
        }
        // a new header begins a new message, wherever it stands: the one before has lost its end
        let again = window[1..].windows(HEADER.len()).position(|w| w == HEADER).map(|at| at + 1);
        let end = window.get(TEXT_AT..).and_then(|text| text.iter().position(|b| *b == END)).map(|at| TEXT_AT + at);
        match (again, end) {
            (Some(again), None) => Verdict::Torn(again),
            (Some(again), Some(end)) if again < end => Verdict::Torn(again),
            (_, Some(end)) => Verdict::Frame { whole: end + 1 },
            (None, None) => Verdict::More,
        }
    }
}

/// The lines of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Hr,
    Rr,
    Etco2,
    Spo2,
    Nibp,
    P1,
    P2,
    T1,
    T2,
}

impl Name {
    pub const ALL: [Self; 9] = [Self::Hr, Self::Rr, Self::Etco2, Self::Spo2, Self::Nibp, Self::P1, Self::P2, Self::T1, Self::T2];

    pub fn text(self) -> &'static str {
        ["HR", "RR", "ETCO2", "SPO2", "NIBP", "P1", "P2", "T1", "T2"][self as usize]
    }

    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.text() == text)
    }

    /// How many values the line says it has.
    fn values(self) -> usize {
        match self {
            Self::Nibp => 4,
            Self::P1 | Self::P2 => 3,
            _ => 1,
        }
    }
}

/// A line; the pulse rate that SPO2 carries in its label is its second value.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    pub name: Name,
    pub values: Vec<Option<Decimal>>,
    pub label: &'a str,
    pub alarm: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// In the order of `WAVES`.
    pub waves: [&'a [u8]; 5],
    /// In the order of the message.
    pub lines: Vec<Line<'a>>,
}

/// Why a message is dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum Damage {
    Short,
    Character(u8),
    CutLine,
    Grammar(String),
    Number { line: &'static str, field: String },
    Twice(&'static str),
    Missing(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "it ends before its text"),
            Self::Character(byte) => write!(f, "byte {byte:#04x} in its text"),
            Self::CutLine => write!(f, "its last line has no end"),
            Self::Grammar(line) => write!(f, "line {line:?} is not NAME=n;n values;label;alarm"),
            Self::Number { line, field } => write!(f, "{line} says {field:?}, which is no number that it can have"),
            Self::Twice(line) => write!(f, "line {line} comes twice"),
            Self::Missing(line) => {
                write!(f, "line {line} is missing (if this monitor never sends it, leave it out of the setting `lines`)")
            }
        }
    }
}

/// A frame of `AnsarB` with each of the lines `expected` in it.
pub fn decode<'a>(frame: &'a [u8], expected: &[Name]) -> Result<Message<'a>, Damage> {
    let body = frame.strip_prefix(HEADER.as_slice()).and_then(|rest| rest.strip_suffix(&[END])).ok_or(Damage::Short)?;
    let (mut rest, text) = body.split_at_checked(TEXT_AT - HEADER.len()).ok_or(Damage::Short)?;
    let waves = WAVES.map(|samples| {
        let (wave, later) = rest.split_at(samples);
        rest = later;
        wave
    });
    if let Some(byte) = text.iter().find(|b| !matches!(b, b' '..=b'~' | b'\r')) {
        return Err(Damage::Character(*byte));
    }
    let text = std::str::from_utf8(text).map_err(|_| Damage::Short)?; // printable ASCII: cannot fail
    let mut lines: Vec<Line<'a>> = Vec::new();
    if !text.is_empty() {
        for line in text.strip_suffix('\r').ok_or(Damage::CutLine)?.split('\r') {
            let Some(line) = decode_line(line)? else { continue };
            if lines.iter().any(|l| l.name == line.name) {
                return Err(Damage::Twice(line.name.text()));
            }
            lines.push(line);
        }
    }
    match expected.iter().find(|name| !lines.iter().any(|l| l.name == **name)) {
        Some(name) => Err(Damage::Missing(name.text())),
        None => Ok(Message { waves, lines: lines.into_iter().filter(|l| expected.contains(&l.name)).collect() }),
    }
}

/// `None`: a well-formed line of a name that this plugin does not know.
fn decode_line(line: &str) -> Result<Option<Line<'_>>, Damage> {
    let grammar = || Damage::Grammar(line.chars().take(FIELD_CHARS_MAX).collect());
    let (head, tail) = line.split_once(';').ok_or_else(grammar)?;
    let (name, count) = head.split_once('=').ok_or_else(grammar)?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let count: usize = Some(count).filter(|c| c.len() == 1).and_then(|c| c.parse().ok()).ok_or_else(grammar)?;
    let fields: Vec<&str> = tail.split(';').map(str::trim).collect();
    if !plain || fields.len() != count + 2 || fields.iter().any(|f| f.len() > FIELD_CHARS_MAX) {
        return Err(grammar());
    }
    let Some(name) = Name::find(name) else { return Ok(None) };
    if count != name.values() {
        return Err(grammar());
    }
    let (values, texts) = fields.split_at(count);
    let mut values = values.iter().map(|field| number(name, field)).collect::<Result<Vec<_>, _>>()?;
    let mut label = texts[0];
    if name == Name::Spo2 {
        let pulse = label.strip_prefix("PR=");
        values.push(pulse.map_or(Ok(None), |field| number(Name::Hr, field.trim()))?);
        label = if pulse.is_some() { "" } else { label };
    }
    Ok(Some(Line { name, values, label, alarm: texts[1] }))
}

const SATURATION_MAX: i64 = 100; // per cent

/// Empty is no value; else up to three digits, perhaps a sign, perhaps one or two digits behind a point. The bound on digits finds
/// some of the digits that noise puts in.
fn number(line: Name, field: &str) -> Result<Option<Decimal>, Damage> {
    if field.is_empty() {
        return Ok(None);
    }
    let wrong = || Damage::Number { line: line.text(), field: field.into() };
    let digits = field.strip_prefix('-').unwrap_or(field);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str, max: usize| (1..=max).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let value = Decimal::parse(field).filter(|_| plain(whole, 3) && plain(fraction, 2)).ok_or_else(wrong)?;
    let over = line == Name::Spo2 && value.mantissa > SATURATION_MAX * 10i64.pow(u32::from(value.exponent.unsigned_abs()));
    let below = value.mantissa < 0 && !matches!(line, Name::P1 | Name::P2 | Name::T1 | Name::T2);
    if over || below { Err(wrong()) } else { Ok(Some(value)) }
}
