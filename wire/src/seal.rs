//! Digests and message authentication.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};

use crate::bytes::Writer;
use crate::{Description, Digest, WireError, records};

/// Shorter keys make a MAC that is easier to guess than its own 16 bytes.
pub const KEY_BYTES_MIN: usize = 16;

/// Half of HMAC-SHA256: a forger has one guess in 2^128, and a thin link carries 16 bytes less.
pub(crate) const MAC_BYTES: usize = 16;

/// The secret that one gateway and its receiver share.
#[derive(Clone)]
pub struct Key(Vec<u8>);

impl Key {
    /// `None` when shorter than `KEY_BYTES_MIN`.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= KEY_BYTES_MIN).then(|| Self(bytes.to_vec()))
    }
}

/// Says nothing of the secret, so that a log may print whatever holds it.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// Which kind of message a MAC speaks for: it goes into the MAC, so that no MAC of one kind is ever one of another.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    Batch,
    Part,
    Ack,
}

impl Domain {
    pub(crate) fn magic(self) -> &'static [u8; 2] {
        match self {
            Self::Batch => b"WG",
            Self::Part => b"WP",
            Self::Ack => b"WA",
        }
    }

    fn label(self) -> &'static [u8] {
        match self {
            Self::Batch => b"wardgate batch\0",
            Self::Part => b"wardgate part\0",
            Self::Ack => b"wardgate ack\0",
        }
    }

    fn mac(self, key: &Key, covered: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&key.0).expect("HMAC takes a key of any length");
        mac.update(self.label());
        mac.update(covered);
        mac
    }

    /// Appends the MAC of everything written so far.
    pub(crate) fn seal(self, key: &Key, mut message: Vec<u8>) -> Vec<u8> {
        let mac = self.mac(key, &message).finalize().into_bytes();
        message.extend_from_slice(&mac[..MAC_BYTES]);
        message
    }

    /// What the MAC covers, split from the MAC, which is not looked at.
    pub(crate) fn covered(self, message: &[u8]) -> Result<(&[u8], &[u8; MAC_BYTES]), WireError> {
        if !message.starts_with(self.magic()) {
            return Err(WireError::NotOurs);
        }
        message.split_last_chunk().filter(|(covered, _)| covered.len() > 2).ok_or(WireError::Truncated("a message"))
    }

    /// What the MAC covers, after the MAC was found right, in constant time.
    pub(crate) fn open<'a>(self, key: &Key, message: &'a [u8]) -> Result<&'a [u8], WireError> {
        let (covered, mac) = self.covered(message)?;
        self.mac(key, covered).verify_truncated_left(mac).map_err(|_| WireError::Forged)?;
        Ok(covered)
    }
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let hash = Sha256::digest(bytes);
    Digest(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
}

/// The name by which a run refers to its description: the digest of its encoding.
pub fn description_digest(description: &Description) -> Digest {
    let mut w = Writer::new();
    records::write_description(&mut w, description);
    digest(&w.out)
}
