//! What can be wrong with a package file, each with a name of its own.

use crate::config::ManifestError;
use crate::contract::printable;
use crate::keys::PublicKey;
use crate::plugin::Mismatch;

const NAME_BYTES_MAX: usize = 120; // of a name in a broken file, shown to a person

fn shown(name: &str) -> String {
    format!("\"{}\"", printable(name, NAME_BYTES_MAX))
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Flaw {
    #[error("is cut off after {bytes} bytes{}", inside.as_ref().map(|name| format!(", inside its member {}", shown(name))).unwrap_or_default())]
    Truncated { bytes: usize, inside: Option<String> },
    #[error("goes on for {bytes} bytes behind its end")]
    Trailing { bytes: usize },
    #[error("has {bytes} bytes; a package has {most} at most")]
    TooLarge { bytes: usize, most: usize },
    #[error("cannot be signed: {why}")]
    Signing { why: String },
    #[error("holds more than {most} members")]
    TooMany { most: usize },
    #[error("has {most} signatures already, and there is no room for another")]
    Signatures { most: usize },
    #[error(
        "at byte {at} of the package: the tar header of its member {} is not the one that a package has: it was changed, or another tool wrote it",
        shown(name)
    )]
    Header { name: String, at: usize },
    #[error("at byte {at} of the package: its member {} is a link, a folder or a device; a package holds plain files only", shown(name))]
    NoFile { name: String, at: usize },
    #[error("at byte {at} of the package: there are bytes between the end of its member {} and the next one", shown(name))]
    Padding { name: String, at: usize },
    #[error("holds {}, which is no part of a package", shown(name))]
    Extra { name: String },
    #[error("lacks {}", shown(name))]
    Missing { name: String },
    #[error("holds {} twice", shown(name))]
    Doubled { name: String },
    #[error("has {} where {} belongs: its members are not in their order", shown(name), shown(expected))]
    Reordered { name: String, expected: String },
    #[error("{} is not what its digest says: it was changed", shown(name))]
    Digest { name: String },
    #[error("{} has {bytes} bytes; {most} are the most", shown(name))]
    MemberTooLarge { name: String, bytes: usize, most: usize },
    #[error("{} cannot be read: {}", shown(name), printable(why, NAME_BYTES_MAX))]
    Document { name: String, why: String },
    #[error("{} has the media type {}; this gateway takes {}", shown(name), shown(found), shown(expected))]
    MediaType { name: String, found: String, expected: String },
    #[error("{} does not stand there as a package writes it, though it says the same", shown(name))]
    NotCanonical { name: String },
    #[error("its vendor's statement is about another {}: what is in this package was not signed together", shown(name))]
    Subject { name: String },
    #[error("its vendor's statement says {field} = {}, and what is in the package says {}", shown(said), shown(held))]
    Claim { field: &'static str, said: String, held: String },
    #[error("is not signed")]
    Unsigned,
    #[error("the signature by key {} is not of this package: it was changed, or another one was signed", .0.id())]
    Signature(PublicKey),
    #[error("manifest.toml: {0}")]
    Manifest(ManifestError),
    #[error("{0}")]
    Component(Mismatch),
}

impl Flaw {
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unsigned => "its vendor signs it: wardgate plugin sign --key VENDOR.key FILE",
            Self::Signatures { .. } => {
                "sign it by this key alone, which takes the other signatures off and makes no other package of it: wardgate plugin sign --alone --key VENDOR.key FILE"
            }
            Self::Manifest(_) | Self::Component(_) => "its vendor must build and pack it anew: wardgate plugin pack DIR",
            Self::TooLarge { .. } | Self::MemberTooLarge { .. } | Self::TooMany { .. } => "its vendor must make it smaller",
            _ => "get the file from its vendor again; if it is the same there, its vendor must pack it anew: wardgate plugin pack DIR",
        }
    }
}
