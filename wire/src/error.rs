//! Why bytes were refused, or why a value has no bytes.

use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    #[error("not a wardgate message: it starts with other bytes")]
    NotOurs,
    #[error("format {0} is not known here; this version reads format 0: update the receiver")]
    Format(u8),
    #[error("the MAC does not fit: another key, or changed on the way")]
    Forged,
    #[error("ends early, in {0}")]
    Truncated(&'static str),
    #[error("{0} is out of its range")]
    Range(&'static str),
    #[error("bytes left over after {0}")]
    LeftOver(&'static str),
    #[error("the content does not fit the class {0}")]
    WrongClass(&'static str),
    #[error("{what} does not unpack")]
    Unpack { what: &'static str },
    #[error("a batch of {bytes} bytes does not fit into {parts_max} parts")]
    TooManyParts { bytes: usize, parts_max: usize },
    /// A value that has no bytes, or bytes that no gateway writes.
    #[error("contradicts itself: {0}")]
    Invalid(&'static str),
    #[error("{what}: {found} is over the limit of {limit} a batch: put less into one batch")]
    TooLarge { what: &'static str, found: usize, limit: usize },
    #[error("packed with dictionary {0}, which is not known here: update the receiver")]
    Dictionary(u64),
    #[error("waveform codec {0} is not known here: update the receiver")]
    Codec(u64),
    #[error("the parts do not make the batch that they name: they are dropped, and the gateway sends it again")]
    Joined,
}
