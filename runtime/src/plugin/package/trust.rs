//! Whose packages may run here: the keys in a folder of the site's, each for one vendor. With a fleet its metadata says more.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::flaw::Flaw;
use super::sealed::{ENDING, Sealed};
use super::vendor::Vendors;
use crate::config::Config;
use crate::contract::printable;
use crate::keys::{KeyError, PublicKey};
use crate::plugin::{Fleet, PluginError, Remembered, Seen};

const VENDOR_BYTES_MAX: usize = 40; // as a name has; shown to a person

/// By whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub vendor: String,
    pub release: u64,
    /// By which it came in.
    pub key: PublicKey,
    /// Its vendor's other keys that signed it and were as good then.
    pub others: Vec<PublicKey>,
    /// Whoever signed it: the fleet may name a key of these as its vendor's later.
    pub signers: Vec<PublicKey>,
    /// Of what was signed: two packages of one release differ in it.
    pub digest: String,
    /// As its vendor's list names it: acme/pump-1.0.0.wardgate
    pub listed: String,
    /// Of the file, in hexadecimal: with one more signature it is another one.
    pub sha256: String,
}

impl Signed {
    /// `keys`: those that count, the first by which it came in; none: nobody whom this site trusts signed it.
    pub fn of(sealed: &Sealed, keys: &[PublicKey]) -> Option<Self> {
        let (key, others) = keys.split_first()?;
        let claim = &sealed.claim;
        let sha256 = Sha256::digest(sealed.write()).iter().map(|b| format!("{b:02x}")).collect();
        let listed = format!("{}/{}.{ENDING}", claim.vendor, claim.full_name());
        let (vendor, release, digest) = (claim.vendor.clone(), claim.release, sealed.digest());
        let signers = sealed.signers().copied().collect();
        Some(Self { vendor, release, key: *key, others: others.to_vec(), signers, digest, listed, sha256 })
    }

    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        std::iter::once(&self.key).chain(&self.others)
    }

    /// The same release of it, whichever of its vendor's keys signed it.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        (&self.vendor, self.release, &self.digest) == (&other.vendor, other.release, &other.digest)
    }
}

/// Which packages may be opened here.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Any that is whole: at a desk it runs in the sandbox without a device, or is only looked at.
    Desk,
    /// What a vendor signed whose public key lies in the folder `vendors`; and folders, where a site allows it.
    Site { allow_unsigned: bool, vendors: Option<PathBuf> },
    /// The same; besides, what a key signed that the fleet revoked, so that what runs by it can be judged by the site's rule.
    Fleet { allow_unsigned: bool, vendors: PathBuf, seen: Arc<Seen> },
    /// As one of these; besides, where its vendor's keys cannot be read, what ran here last, by its digest.
    Remembering { keys: Box<Admission>, ran: Arc<BTreeSet<String>> },
}

impl Admission {
    pub fn of(config: &Config) -> Self {
        Self::Site { allow_unsigned: config.plugins.allow_unsigned, vendors: config.trust.keys() }
    }

    /// As [`Self::of`], with what is known of the fleet.
    pub fn with(config: &Config, seen: &Seen) -> Self {
        let allow_unsigned = config.plugins.allow_unsigned;
        match (config.trust.keys(), &seen.fleet) {
            (Some(vendors), Some(_)) => Self::Fleet { allow_unsigned, vendors, seen: Arc::new(seen.clone()) },
            _ => Self::of(config),
        }
    }

    /// What ran last is known by the memory, which nobody else writes: it needs no key that can be read to run again.
    pub fn remembering(self, memory: &Remembered) -> Self {
        let ran = memory.ran.values().filter_map(|ran| ran.digest.clone()).collect();
        Self::Remembering { keys: Box::new(self), ran: Arc::new(ran) }
    }

    fn fleet(&self) -> Option<&Fleet> {
        match self {
            Self::Fleet { seen, .. } => seen.fleet.as_ref(),
            Self::Remembering { keys, .. } => keys.fleet(),
            Self::Desk | Self::Site { .. } => None,
        }
    }

    pub fn with_fleet(&self) -> bool {
        self.fleet().is_some()
    }

    pub fn takes_folders(&self) -> bool {
        if let Self::Remembering { keys, .. } = self {
            return keys.takes_folders();
        }
        !matches!(self, Self::Site { allow_unsigned: false, .. } | Self::Fleet { allow_unsigned: false, .. })
    }

    /// The keys that are trusted in the package's vendor's name; where one is revoked all that count are. First the one by which it comes in: whose
    /// term is not over, where there is such a one. At a desk there may be none.
    pub fn signers(&self, path: &Path, sealed: &Sealed) -> Result<Vec<PublicKey>, PluginError> {
        let (vendors, fleet) = match self {
            Self::Desk => return Ok(sealed.signers().copied().collect()),
            Self::Remembering { keys, ran } => {
                return match keys.signers(path, sealed) {
                    Err(PluginError::Key(why)) if ran.contains(&sealed.digest()) => {
                        // a key that the fleet's metadata names, where there are any
                        let named = |key: &&PublicKey| self.fleet().is_none_or(|fleet| fleet.names(&sealed.claim.vendor, key));
                        sealed.signers().find(named).map(|key| vec![*key]).ok_or(PluginError::Key(why))
                    }
                    other => other,
                };
            }
            Self::Site { vendors, .. } => (vendors.as_deref(), None),
            Self::Fleet { vendors, seen, .. } => (Some(vendors.as_path()), seen.fleet.as_ref().map(|fleet| (fleet, seen))),
        };
        let first = sealed.signers().next().ok_or_else(|| PluginError::Flawed { path: path.to_owned(), why: Flaw::Unsigned })?;
        // not held against a manifest yet: whoever made the file wrote it
        let vendor = printable(&sealed.claim.vendor, VENDOR_BYTES_MAX);
        let said = |why| PluginError::Untrusted { path: path.to_owned(), vendor: vendor.clone(), key: *first, why: Box::new(why) };
        let folder = vendors.ok_or_else(|| said(Distrust::NoFolder))?;
        let vendors = match Vendors::read(folder) {
            // a site without a fleet, and without a folder of keys, trusts nobody; what ran here is no reason to
            Err(KeyError::File { why, .. }) if why.kind() == ErrorKind::NotFound && fleet.is_none() => {
                return Err(said(Distrust::Unknown { folder: folder.to_owned(), trusted: "nobody".into() }));
            }
            read => read?,
        };
        let owner = sealed.claim.vendor.as_str();
        // that a key of its vendor's cannot be read says more than that none fits
        let none = |vendors: Vendors| match vendors.signers(sealed) {
            Ok(keys) => Ok(keys),
            Err(why) => Err(vendors.unread_of(owner).map_or_else(|| said(why), PluginError::Key)),
        };
        let Some((fleet, seen)) = fleet else { return none(vendors) };
        let of_owner = |key: &PublicKey| vendors.trusts(owner, key) && !fleet.was_of(owner, key);
        let mut good: Vec<_> = sealed.signers().filter(|key| of_owner(key) && fleet.names(owner, key)).copied().collect();
        // one whose term is not over counts first: a package may be signed by the old key and the new one
        good.sort_by_key(|key| seen.key_ended(owner, key).is_some());
        let revoked = || sealed.signers().filter(|key| fleet.was_of(owner, key)).copied().collect::<Vec<_>>();
        match Some(good).filter(|good| !good.is_empty()).unwrap_or_else(revoked) {
            keys if !keys.is_empty() => Ok(keys),
            _ if sealed.signers().any(of_owner) => {
                Err(said(Distrust::NotOfFleet { folder: folder.to_owned(), owner: printable(owner, VENDOR_BYTES_MAX) }))
            }
            // what is put into the folder by hand is gone with the next update
            _ => none(vendors).map_err(|why| match why {
                PluginError::Untrusted { path, vendor, key, why } => {
                    let why = match *why {
                        Distrust::Unknown { trusted, .. } if fleet.vendors.is_some() => Box::new(Distrust::UnknownToFleet { trusted }),
                        why => Box::new(why),
                    };
                    PluginError::Untrusted { path, vendor, key, why }
                }
                other => other,
            }),
        }
    }
}

/// Why a package that is signed is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("this site names no vendors that it trusts")]
    NoFolder,
    #[error("this site trusts {trusted}, by the keys in {}", folder.display())]
    Unknown { folder: PathBuf, trusted: String },
    #[error("this site trusts {trusted}, as the fleet's metadata say")]
    UnknownToFleet { trusted: String },
    #[error("a key of {owner}'s lies in {}, but the fleet's metadata name no such key of {owner}: somebody else put it there", folder.display())]
    NotOfFleet { folder: PathBuf, owner: String },
    #[error("that key is trusted for packages of {owner} only, by {}", folder.display())]
    OfAnother { folder: PathBuf, owner: String },
}

impl Distrust {
    pub fn remedy(&self, vendor: &str) -> String {
        let compare = "compare that key with the vendor, by telephone or on paper; if it is theirs, put their";
        match self {
            Self::NoFolder => format!("{compare} {vendor}.pub into a folder, and below [trust] add vendors = \"/etc/wardgate/vendors\""),
            Self::Unknown { folder, .. } => format!("{compare} {vendor}.pub into {}", folder.display()),
            Self::UnknownToFleet { .. } => format!(
                "compare that key with the vendor, by telephone or on paper; if it is theirs, at the fleet's desk: `wardgate trust add-vendor {vendor} \
                 --key {vendor}.pub`, then `wardgate trust update` here, which keeps the folder of keys"
            ),
            Self::NotOfFleet { folder, owner } => format!(
                "find out who put it into {}; if it is {owner}'s: at the fleet's desk `wardgate trust add-vendor`, then `wardgate trust update` here",
                folder.display()
            ),
            Self::OfAnother { owner, .. } => format!("do not install it: ask {owner} whether they signed it"),
        }
    }
}

impl Vendors {
    /// The keys by which this package is trusted.
    pub fn signers(&self, sealed: &Sealed) -> Result<Vec<PublicKey>, Distrust> {
        let trusted: Vec<_> = sealed.signers().filter(|key| self.trusts(&sealed.claim.vendor, key)).copied().collect();
        if !trusted.is_empty() {
            return Ok(trusted);
        }
        let folder = self.folder.clone();
        match sealed.signers().find_map(|key| self.owner(key)) {
            Some(owner) => Err(Distrust::OfAnother { folder, owner: owner.to_owned() }),
            None => Err(Distrust::Unknown { folder, trusted: self.names() }),
        }
    }
}
