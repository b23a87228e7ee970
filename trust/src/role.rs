//! Metadata as TUF has it: made, signed by enough keys, and written where a reader looks for it.

use std::collections::HashMap;
use std::num::NonZeroU64;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tough::schema::decoded::Decoded;
use tough::schema::key::Key;
use tough::schema::{Hashes, Metafile, Role, RoleKeys, Signature, Signed};

use crate::fault::Fault;
use crate::files;
use crate::keys::{KeyId, Secret};

pub const SPEC: &str = "1.0.0"; // the version of TUF's formats that tough and python-tuf both speak
pub const REVOCATIONS: &str = "revocations.json";
/// In the timestamp: when it was made. The true time is never before it, whatever a clock says.
pub const ISSUED: &str = "x-wardgate-issued";

/// Secret keys that are here, by their TUF names.
pub type Ring = HashMap<KeyId, Secret>;

pub fn first() -> NonZeroU64 {
    NonZeroU64::MIN
}

pub fn next(version: NonZeroU64) -> NonZeroU64 {
    version.checked_add(1).expect("no repository changes that often")
}

/// Whole seconds: all readers of TUF agree on them.
pub fn in_days(now: Timestamp, days: u32) -> Timestamp {
    let then = now + SignedDuration::from_hours(24 * i64::from(days));
    Timestamp::from_second(then.as_second()).expect("within a person's life")
}

/// Who may sign a role.
pub struct Signers<'a> {
    pub name: &'a str,
    pub keyids: &'a [KeyId],
    pub threshold: NonZeroU64,
}

impl<'a> Signers<'a> {
    pub fn of(name: &'a str, keys: &'a RoleKeys) -> Self {
        Self { name, keyids: &keys.keyids, threshold: keys.threshold }
    }

    /// Signatures of all of its keys that are here, which must be enough.
    pub fn sign(&self, message: &[u8], ring: &Ring) -> Result<Vec<Signature>, Fault> {
        let here = self.keyids.iter().filter_map(|id| ring.get(id).map(|secret| (id, secret)));
        let (mut signatures, mut missing) = (Vec::new(), None);
        for (id, secret) in here {
            match secret.sign(message) {
                Ok(sig) => signatures.push(Signature { keyid: id.clone(), sig: Decoded::from(sig) }),
                // a token that is locked away is as good as a key that is
                Err(why) => missing = Some(why),
            }
        }
        if (signatures.len() as u64) < self.threshold.get() {
            return Err(missing.unwrap_or(Fault::Keys { role: self.name.into(), needed: self.threshold.get(), found: signatures.len() }));
        }
        Ok(signatures)
    }
}

pub fn sign<T: Role>(signed: T, by: &[Signers], ring: &Ring) -> Result<Signed<T>, Fault> {
    let message = signed.canonical_form().map_err(|e| Fault::broken("metadata", e))?;
    let mut signatures: Vec<Signature> = Vec::new();
    for signers in by {
        for signature in signers.sign(&message, ring)? {
            if signatures.iter().all(|s| s.keyid != signature.keyid) {
                signatures.push(signature);
            }
        }
    }
    Ok(Signed { signed, signatures })
}

/// The bytes of a file of metadata, and what the role above it says of them.
pub fn file<T: Role + Serialize>(role: &Signed<T>) -> (Vec<u8>, Metafile) {
    let bytes = files::pretty(role);
    let meta =
        Metafile { length: Some(bytes.len() as u64), hashes: Some(hashes(&bytes)), version: role.signed.version(), _extra: HashMap::new() };
    (bytes, meta)
}

pub fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { sha256: Decoded::from(digest(bytes)), _extra: HashMap::new() }
}

pub fn digest(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// acme/pump-1.0.0.wardgate -> acme/DIGEST.pump-1.0.0.wardgate, as a consistent repository keeps it.
pub fn place(target: &str, digest: &[u8]) -> String {
    match target.rsplit_once('/') {
        Some((folder, name)) => format!("{folder}/{}.{name}", hex(digest)),
        None => format!("{}.{target}", hex(digest)),
    }
}

pub fn role_keys(keys: &[Key], threshold: NonZeroU64) -> RoleKeys {
    RoleKeys { keyids: keys.iter().map(crate::keys::key_id).collect(), threshold, _extra: HashMap::new() }
}
