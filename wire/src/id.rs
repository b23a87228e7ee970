//! Names that never change: gateway, life, epoch, class, sequence, stream.

use std::fmt;

/// 64 random bits drawn at every start of a gateway.
pub type Life = u64;
/// Counts from 0 in each life.
pub type Epoch = u32;
/// Counts from 0 in each epoch and class.
pub type Sequence = u32;
/// A stream from one `open` or `describe` to the next; counts from 1 in each life.
pub type Run = u32;

/// The gateway's configured name: 1 to 32 of `a-z 0-9 -`, so that it is a topic level, a file name and a label alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(String);

impl GatewayId {
    pub const BYTES_MAX: usize = 32; // a topic level that a person can read aloud

    /// `None` when `name` is empty, too long, or has another character.
    pub fn new(name: &str) -> Option<Self> {
        let fits =
            (1..=Self::BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        fits.then(|| Self(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Order of urgency. Each class has its own sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    Alert = 0,
    Ledger = 1,
    Numeric = 2,
    Preview = 3,
    Waveform = 4,
    Archive = 5,
}

impl Class {
    pub const ALL: [Self; 6] = [Self::Alert, Self::Ledger, Self::Numeric, Self::Preview, Self::Waveform, Self::Archive];

    pub fn code(self) -> u8 {
        self as u8
    }

    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Ledger => "ledger",
            Self::Numeric => "numeric",
            Self::Preview => "preview",
            Self::Waveform => "waveform",
            Self::Archive => "archive",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A batch's identity inside its gateway, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchKey {
    pub life: Life,
    pub epoch: Epoch,
    pub class: Class,
    pub sequence: Sequence,
}

/// `life.epoch.class.sequence`, the form used in logs, file names and output lines.
impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}.{}.{}", self.life, self.epoch, self.class, self.sequence)
    }
}

/// SHA-256 cut to 16 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 16]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What of an instance a stream carries: one of its channels, or the alerts of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    Alerts,
    Channel(u16),
}

/// One quantity of one instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stream {
    pub instance: String,
    pub source: Source,
}
