//! What the site allows one instance on its serial port: which port, how fast, and which whole frames it may write.

use std::fmt;
use std::path::{Path, PathBuf};

use super::pattern::{FRAME_BYTES_MAX, Pattern};
use super::{Flow, Place, Settings};
use crate::capability::{GrantError, Part, not_asked};
use crate::config::SerialGrant;

/// What the inbox of a port holds.
const RAW_BAUD: u32 = 115_200; // the fastest of the shelf's devices
pub const INBOX_S: u32 = 10; // SD cards stall for seconds while they flush, and a device never waits
pub(in crate::capability) const BAUD_MIN: u32 = 50; // below, no line works; and 0 hangs up
pub(in crate::capability) const BAUD_MAX: u32 = 4_000_000; // the fastest USB adapters; it bounds the inbox to 4 MB
const PATTERNS_MAX: usize = 64; // each write is held against each of them; a device knows some ten commands

/// `[instance.NAME.grants.serial]`, read and checked.
#[derive(Clone, Debug)]
pub struct Grant {
    instance: String,
    /// File and line.
    at: String,
    port: PathBuf,
    settings: Settings,
    writes: Vec<Pattern>,
    /// The most that the plugin's own package asks to write, where it says that: the smaller of both counts.
    asked: Option<Vec<Pattern>>,
}

/// How a byte looks on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// 5 to 8
    pub data: u8,
    pub parity: Parity,
    /// 1 or 2
    pub stop: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    None,
    Even,
    Odd,
}

/// Why a frame was not written, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "asked to write {frame}, which no pattern in {at} matches as a whole. To allow it, under [instance.{instance}.grants.serial] add to writes: '{frame}'"
    )]
    NoPattern { at: String, instance: String, frame: String },
    #[error("asked to write {frame}, which {}", not_asked(at, *allows, "serial", &format!("'{frame}' to the writes")))]
    NotAsked { at: String, allows: bool, frame: String },
    #[error("asked to write {bytes} bytes at once: a frame has 1 to {FRAME_BYTES_MAX}; no grant can allow it")]
    Impossible { bytes: usize },
}

impl Grant {
    pub fn new(instance: &str, from: &SerialGrant) -> Result<Self, GrantError> {
        let fail = GrantError::within("serial", instance, &from.at);
        let place = Place::parse(&from.port).map_err(|why| fail("port", why))?;
        let flow = Flow::parse(&from.flow).map_err(|why| fail("flow", why))?;
        if !(BAUD_MIN..=BAUD_MAX).contains(&from.baud) {
            return Err(fail("baud", format!("{} is not within {BAUD_MIN} to {BAUD_MAX}", from.baud)));
        }
        let framing = Framing::parse(&from.framing).ok_or_else(|| {
            let why = "is not a framing: write data bits (5 to 8), parity (N, E or O) and stop bits (1 or 2), like \"8N1\" or \"7E1\"";
            fail("framing", format!("{:?} {why}", from.framing))
        })?;
        if from.writes.len() > PATTERNS_MAX {
            return Err(fail("writes", format!("{} patterns are more than {PATTERNS_MAX}", from.writes.len())));
        }
        let read = |(n, text): (usize, &String)| Pattern::parse(text).map_err(|e| fail(&format!("writes[{n}]"), e.to_string()));
        let writes = from.writes.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let settings = Settings { place, baud: from.baud, framing, flow };
        Ok(Self { instance: instance.to_owned(), at: from.at.to_string(), port: from.port.clone(), settings, writes, asked: None })
    }

    /// Of a plugin whose package asks for no more than this. How the line is set is the site's alone.
    pub fn asked(self, most: Option<&SerialGrant>) -> Result<Self, GrantError> {
        let asked = most.map(|most| Self::new(&self.instance, most)).transpose()?.map(|most| most.writes);
        Ok(Self { asked, ..self })
    }

    pub fn port(&self) -> &Path {
        &self.port
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Bytes that the line brings in [`INBOX_S`] seconds. How fast the line behind a terminal server is it need not say here.
    pub fn inbox_bytes(&self) -> usize {
        let behind_a_server = matches!(self.settings.place, Place::Raw(_));
        let baud = if behind_a_server { self.settings.baud.max(RAW_BAUD) } else { self.settings.baud };
        (u64::from(baud) * u64::from(INBOX_S)).div_ceil(self.settings.framing.bits().into()) as usize
    }

    /// One write is one frame: it matches one pattern from its first byte to its last, or it is not written.
    pub fn permits(&self, frame: &[u8]) -> Result<(), Refusal> {
        if frame.is_empty() || frame.len() > FRAME_BYTES_MAX {
            return Err(Refusal::Impossible { bytes: frame.len() });
        }
        let allows = self.writes.iter().any(|p| p.matches(frame));
        let asked = self.asked.as_ref().is_none_or(|asked| asked.iter().any(|p| p.matches(frame)));
        let (at, text) = (self.at.clone(), || Pattern::of(frame));
        match (allows, asked) {
            (true, true) => Ok(()),
            (false, true) => Err(Refusal::NoPattern { at, instance: self.instance.clone(), frame: text() }),
            (allows, false) => Err(Refusal::NotAsked { at, allows, frame: text() }),
        }
    }

    /// What the other may write and this one may not.
    pub fn lacks(&self, other: &Self) -> Vec<Part> {
        let missing = other.writes.iter().filter(|asked| !self.writes.iter().any(|mine| mine.covers(asked)));
        missing.map(|asked| Part { words: format!("to write {asked}"), keys: vec![asked.to_string()] }).collect()
    }

    /// By what a manifest may say what is done without a part of this.
    pub fn keys(&self) -> Vec<String> {
        self.writes.iter().map(Pattern::to_string).chain(["baud", "framing"].map(str::to_owned)).collect()
    }

    /// How the other has its line, where this one has it otherwise: a device can be set so.
    pub fn set_otherwise(&self, other: &Self) -> Vec<Part> {
        let (mine, theirs) = (&self.settings, &other.settings);
        let baud = (mine.baud != theirs.baud).then(|| Part { words: format!("{} baud", theirs.baud), keys: vec!["baud".into()] });
        let framing =
            (mine.framing != theirs.framing).then(|| Part { words: format!("framing {}", theirs.framing), keys: vec!["framing".into()] });
        baud.into_iter().chain(framing).collect()
    }

    /// One sentence for `wardgate check`.
    pub fn explain(&self) -> String {
        let Settings { place, baud, framing, flow } = &self.settings;
        let flow = if *flow == Flow::None { String::new() } else { format!(" with {flow}") };
        format!("on serial port {place} at {baud} baud {framing}{flow}, {}", self.writes_in_words())
    }

    /// The same without the line.
    pub fn writes_in_words(&self) -> String {
        let head = "it may read all that comes";
        let both = |asked: &Vec<Pattern>| self.writes.iter().flat_map(|mine| asked.iter().filter_map(|other| mine.and(other))).collect();
        let writes: Vec<Pattern> = self.asked.as_ref().map_or_else(|| self.writes.clone(), both);
        if writes.is_empty() {
            return format!("{head}; it only listens: it may write nothing");
        }
        let frames: Vec<_> = writes.iter().map(Pattern::to_string).collect();
        format!("{head}; IT MAY WRITE whole frames to the device: {}", frames.join(", or "))
    }
}

impl Framing {
    pub fn parse(text: &str) -> Option<Self> {
        let [data @ b'5'..=b'8', parity, stop @ b'1'..=b'2'] = text.as_bytes() else { return None };
        let parity = match parity {
            b'N' => Parity::None,
            b'E' => Parity::Even,
            b'O' => Parity::Odd,
            _ => return None,
        };
        Some(Self { data: data - b'0', parity, stop: stop - b'0' })
    }

    /// On the line for one byte, start bit included.
    pub fn bits(self) -> u32 {
        u32::from(1 + self.data + u8::from(self.parity != Parity::None) + self.stop)
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{}{parity}{}", self.data, self.stop)
    }
}

#[cfg(test)]
mod tests;
