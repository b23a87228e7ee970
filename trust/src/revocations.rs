//! What the fleet takes back: keys of vendors and single releases, and until when a key is for something new; a document that the targets role signs.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::package::Claim;

/// As long as no key has an end.
const FORMAT: u32 = 1;
/// With ends: a reader of the first format would not see them.
const FORMAT_WITH_TERMS: u32 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revocations {
    pub format: u32,
    pub keys: Vec<RevokedKey>,
    pub releases: Vec<RevokedRelease>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<Term>,
}

/// Until when what a key signed comes in anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    pub vendor: String,
    pub key: String,
    /// RFC 3339
    pub until: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedKey {
    pub vendor: String,
    /// ed25519: and base64
    pub key: String,
    pub reason: String,
    /// RFC 3339
    pub since: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevokedRelease {
    pub vendor: String,
    pub name: String,
    pub release: u64,
    pub reason: String,
}

/// Why, and what to do.
pub type Withheld = (String, String);

impl Default for Revocations {
    fn default() -> Self {
        Self { format: FORMAT, keys: Vec::new(), releases: Vec::new(), terms: Vec::new() }
    }
}

impl Revocations {
    /// A later format may take back what this reader would not see: it is refused whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if [FORMAT, FORMAT_WITH_TERMS].contains(&read.format) {
            Ok(read)
        } else {
            Err(format!("its format is {}; this program reads up to {FORMAT_WITH_TERMS}: install a newer one", read.format))
        }
    }

    /// The end of a key's term, in the place of one that it had.
    pub fn end(&mut self, vendor: &str, key: &str, until: Timestamp) {
        self.terms.retain(|term| !(term.vendor == vendor && term.key == key));
        self.terms.push(Term { vendor: vendor.into(), key: key.into(), until: until.to_string() });
        self.format = FORMAT_WITH_TERMS;
    }

    /// The moment at which a key's term ended, where it has. An end that cannot be read has passed.
    pub fn ended(&self, vendor: &str, key: &str, now: Timestamp) -> Option<&str> {
        let term = self.terms.iter().find(|term| term.vendor == vendor && term.key == key)?;
        (!term.until.parse::<Timestamp>().is_ok_and(|until| now < until)).then_some(term.until.as_str())
    }

    pub fn revoked(&self, vendor: &str, key: &str) -> bool {
        self.keys.iter().any(|k| k.vendor == vendor && k.key == key)
    }

    /// Whosever it was: what a thief holds is nobody's any more.
    pub fn revoked_for_anybody(&self, key: &str) -> Option<&RevokedKey> {
        self.keys.iter().find(|k| k.key == key)
    }

    /// That nothing of it is taken back, and that it is by a key of its vendor's which may still bring something new; whether the signature is right is
    /// for the gateway. `trusted`: the vendor's keys. `then`: what to do once a strange key is found to be the vendor's.
    pub fn signed(&self, claim: &Claim, trusted: &[String], now: Timestamp, then: &str) -> Result<(), Withheld> {
        let Claim { vendor, name, release, signers, .. } = claim;
        if let Some(revoked) = self.releases.iter().find(|r| (&r.vendor, &r.name, r.release) == (vendor, name, *release)) {
            let why = format!("{vendor}'s {name} release {release} was revoked: {}, and what was revoked stays so", revoked.reason);
            return Err((why, format!("ask {vendor} for another release")));
        }
        let mut of_theirs = signers.iter().filter(|key| trusted.contains(key)).peekable();
        if let Some(first) = of_theirs.peek().copied() {
            return match of_theirs.map(|key| self.ended(vendor, key, now)).min().flatten() {
                None => Ok(()),
                Some(until) => Err((
                    format!(
                        "{vendor}'s {name} release {release}: the term of the key {first}, which signed it, ended on {until}, and nothing new comes in after that"
                    ),
                    format!("ask {vendor} to sign it by its present key (`wardgate plugin sign`): that makes no other package of it"),
                )),
            };
        }
        match self.keys.iter().find(|k| k.vendor == *vendor && signers.contains(&k.key)) {
            Some(revoked) => Err((
                format!("{vendor}'s key {} was revoked on {}: {}", revoked.key, revoked.since, revoked.reason),
                format!("ask {vendor} for this package by another key (`wardgate plugin sign`), or for another release"),
            )),
            None => Err((
                format!("it is signed by {}, which the fleet does not trust for {vendor}", signers.join(", ")),
                format!(
                    "compare that key with {vendor}, by telephone or on paper; if it is theirs, at the fleet's desk: `wardgate trust add-vendor \
                     {vendor} --key {vendor}.pub`, then {then}"
                ),
            )),
        }
    }
}
