//! Whether a package that is whole and signed may run here and now: what the fleet's metadata revokes, what this gateway saw before, what the
//! site approved. Time and the state folder are arguments; what is decided is told, and done, elsewhere.

mod accept;
mod fleet;
mod hands;
mod memory;
mod reach;
mod site;

use std::path::PathBuf;

use super::package::Signed;
pub use accept::{Accepted, examine, is_one_file, named_from};
pub use fleet::{Change, Fleet, Freshness, KeyTerm, Seen};
pub use hands::{InOthersHands, gateways_user, in_others_hands};
pub use memory::{AHEAD_MAX, Ahead, Approval, Log, Memory, Ran, Remembered};
pub use reach::{GrantLine, Reach, grants_hash, grants_lines};
pub use site::{EVERYWHERE, Exception, SiteError, allows, config_signature, is_allowed, sign_config, sign_override, signs};

/// Why a package that its vendor did sign does not run here now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Withheld {
    #[error("{what} was revoked{}: {reason}", since.as_ref().map(|s| format!(" on {s}")).unwrap_or_default())]
    Revoked { what: String, reason: String, since: Option<String> },
    #[error(
        "{vendor}'s {name} release {release} is older than release {seen}, which was seen here: whoever puts it in takes back what was mended since"
    )]
    Older { vendor: String, name: String, release: u64, seen: u64 },
    #[error(
        "{vendor}'s {name} release {release} was seen here as another package, and one release is one package: this one has the digest \
         {digest}, and that one had {seen}"
    )]
    Other { vendor: String, name: String, release: u64, digest: String, seen: String },
    #[error(
        "the fleet's lists {}, and this file has {sha256}",
        named.as_ref().map_or_else(|| format!("name no {file}"), |named| format!("name {file} with the SHA-256 {named}"))
    )]
    Unlisted { file: String, sha256: String, named: Option<String> },
    #[error("{vendor}'s {name} release {release} is new here, and the term of the key {key}, which signed it, ended on {until}")]
    KeyEnded { vendor: String, name: String, release: u64, key: String, until: String },
    #[error("{vendor}'s {name} release {release} is new here, and nothing new is taken while the fleet's metadata is not fresh: {why}")]
    Stale { vendor: String, name: String, release: u64, why: String },
    #[error("release {release} asks for more than was approved for this instance (release {approved}): {more}")]
    Beyond { release: u64, approved: u64, more: String },
    #[error(
        "{vendor}'s {name} release {release} is not known to have run here, and nothing new starts on the word of what others may write: {hands}"
    )]
    Hands { vendor: String, name: String, release: u64, hands: InOthersHands },
    #[error("{path}: {why}", path = path.display())]
    Memory { path: PathBuf, why: String },
    #[error(
        "{vendor}'s {name} release {release} is not known to have run here, and nothing new starts while that is not known for sure: {why}"
    )]
    Blind { vendor: String, name: String, release: u64, why: String },
}

/// What to do where the memory of what was trusted is damaged, gone, or not known to be the newest.
pub const RECALL: &str = "find out who changed it, took it away or brought another gateway's; if this gateway's newest trust.memory is at hand, put it back \
                          into the state folder; if not, `wardgate grant recall` makes it anew of what the audit log proves";

pub fn list_ended(vendor: &str, ended: &str) -> String {
    format!("the list of {vendor} ended on {ended}")
}

impl Withheld {
    pub fn remedy(&self, instance: &str) -> String {
        match self {
            Self::Revoked { .. } => {
                "ask the vendor for this package by another key (`wardgate plugin sign`), where it is a key that was revoked, or for another release; \
                 and take that with `wardgate plugin accept`"
                    .into()
            }
            Self::Older { vendor, name, release, .. } => {
                format!(
                    "name the newer one; or, if it must be, with the site's key: wardgate plugin allow-older --key site.key {vendor} {name} {release}"
                )
            }
            Self::Other { vendor, name, release, digest, .. } => {
                format!(
                    "ask {vendor} to count `release` up and sign it anew; or, if it must be this one, with the site's key: \
                     wardgate plugin allow-other --key site.key {vendor} {name} {release} {digest}"
                )
            }
            Self::KeyEnded { vendor, .. } => {
                format!("ask {vendor} to sign it by its present key too (`wardgate plugin sign`): that makes no other package of it. What ran goes on. Where the time that is known here is a wrong clock's: `wardgate trust update --from FOLDER-OR-ADDRESS --clock-was-wrong`")
            }
            Self::Unlisted { .. } => {
                "at the fleet's desk: `wardgate trust publish FILE`, then `wardgate trust update` here; or take the file that the desk published"
                    .into()
            }
            Self::Stale { .. } => "bring fresh metadata: `wardgate trust update --from FOLDER-OR-ADDRESS`; what ran before goes on meanwhile".into(),
            Self::Beyond { .. } => {
                format!("look at it with `wardgate grant diff`; if it may, `wardgate grant approve FILE --instance {instance}`")
            }
            Self::Hands { hands, .. } => hands.remedy(),
            Self::Memory { .. } | Self::Blind { .. } => RECALL.into(),
        }
    }
}

/// All that is known when packages are judged.
#[derive(Clone, Debug)]
pub struct Known {
    pub fleet: Seen,
    pub memory: Remembered,
    /// Public key of the site, for overrides.
    pub site_key: Option<super::PublicKey>,
    /// Where overrides lie.
    pub state: PathBuf,
    /// This gateway's name, which they must have.
    pub gateway: String,
}

/// What is decided of one package for one instance.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Runs,
    /// It runs, with something that people must be told.
    RunsRevoked(Withheld),
    No(Withheld),
}

impl Known {
    /// What the fleet says of a package, whatever this gateway saw. One good key of several is enough.
    pub fn revoked(&self, name: &str, by: &Signed) -> Option<Withheld> {
        let fleet = self.fleet.fleet.as_ref()?;
        let good = |key: &&super::PublicKey| {
            !fleet.was_of(&by.vendor, key) && fleet.names_now(&by.vendor, key).unwrap_or_else(|| by.keys().any(|k| k == *key))
        };
        let key = match by.signers.iter().find(good) {
            Some(good) => good,
            None => by.keys().chain(&by.signers).find(|key| fleet.was_of(&by.vendor, key)).unwrap_or(&by.key),
        };
        let (what, revocation) = fleet.revoked(&by.vendor, key, name, by.release)?;
        Some(Withheld::Revoked { what, reason: revocation.reason, since: revocation.since })
    }

    /// Older than one that was seen, and no person who may has said that it may be.
    pub fn older(&self, name: &str, by: &Signed) -> Option<Withheld> {
        let seen = self.memory.newest_release(&by.vendor, name)?;
        if by.release >= seen || self.allowed(&Exception::older(&by.vendor, name, by.release)) {
            return None;
        }
        Some(Withheld::Older { vendor: by.vendor.clone(), name: name.to_owned(), release: by.release, seen })
    }

    /// Of a release that was seen with another digest, and no person who may has said that it may take that one's place. `beside`: the digest of one
    /// of this release that lies here, where the memory knows none.
    pub fn other(&self, name: &str, by: &Signed, beside: Option<&str>) -> Option<Withheld> {
        let seen = self.memory.digest(&by.vendor, name, by.release).or(beside)?;
        if by.digest == seen || self.allowed(&Exception::other(&by.vendor, name, by.release, &by.digest)) {
            return None;
        }
        let (vendor, name) = (by.vendor.clone(), name.to_owned());
        Some(Withheld::Other { vendor, name, release: by.release, digest: by.digest.clone(), seen: seen.to_owned() })
    }

    fn allowed(&self, exception: &Exception) -> bool {
        self.site_key.is_some_and(|key| is_allowed(&self.state, &key, exception, &self.gateway))
    }

    /// What keeps out a package that did not run here last.
    pub fn news(&self, name: &str, by: &Signed, beside: Option<&str>) -> Option<Withheld> {
        let other = || self.other(name, by, beside);
        self.older(name, by)
            .or_else(other)
            .or_else(|| self.ended(name, by))
            .or_else(|| self.stale(name, by))
            .or_else(|| self.unlisted(name, by))
    }

    /// New here, by a key whose term is over.
    fn ended(&self, name: &str, by: &Signed) -> Option<Withheld> {
        let until = self.fleet.key_ended(&by.vendor, &by.key).filter(|_| !self.memory.knows(&by.vendor, name, by.release))?.to_owned();
        let (vendor, name) = (by.vendor.clone(), name.to_owned());
        Some(Withheld::KeyEnded { vendor, name, release: by.release, key: by.key.id(), until })
    }

    /// New here, the site has a fleet, and no list of it names this package.
    fn unlisted(&self, name: &str, by: &Signed) -> Option<Withheld> {
        let memory = &self.memory;
        let digest = memory.digest(&by.vendor, name, by.release);
        if memory.knows(&by.vendor, name, by.release) && digest.is_none_or(|seen| seen == by.digest) {
            return None;
        }
        let named = self.fleet.fleet.as_ref()?.lists(&by.listed, &by.sha256, &by.digest).err()?.map(str::to_owned);
        Some(Withheld::Unlisted { file: by.listed.clone(), sha256: by.sha256.clone(), named })
    }

    /// Nobody knows whether it ran here before.
    pub fn blind(&self, name: &str, by: &Signed, why: &str) -> Withheld {
        Withheld::Blind { vendor: by.vendor.clone(), name: name.to_owned(), release: by.release, why: why.to_owned() }
    }

    /// It did not run here before, and others may have written whose packages may.
    pub fn in_others_hands(&self, name: &str, by: &Signed, hands: &InOthersHands) -> Withheld {
        Withheld::Hands { vendor: by.vendor.clone(), name: name.to_owned(), release: by.release, hands: hands.clone() }
    }

    /// New here while nobody can say whether it is still good.
    pub fn stale(&self, name: &str, by: &Signed) -> Option<Withheld> {
        let why = match &self.fleet.freshness {
            Freshness::Stale(why) => why.clone(),
            _ => list_ended(&by.vendor, self.fleet.list_over(&by.vendor)?),
        };
        if self.memory.knows(&by.vendor, name, by.release) {
            return None;
        }
        Some(Withheld::Stale { vendor: by.vendor.clone(), name: name.to_owned(), release: by.release, why })
    }
}
