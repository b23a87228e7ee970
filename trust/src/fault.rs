//! What can go wrong: who is guilty, what to do about it, and the exit code, as the gateway's own.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
    #[error("{} is not what it should be: {why}", path.display())]
    Broken { path: PathBuf, why: String },
    #[error("{} holds more than {most} bytes", path.display())]
    TooLarge { path: PathBuf, most: u64 },
    #[error("{} is there already", path.display())]
    Exists { path: PathBuf },
    #[error("{} is no fleet: it has no desk.json", path.display())]
    NoFleet { path: PathBuf },
    #[error("anybody on this machine may read the secret key {}: its mode is {mode:o}", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the role {role} must be signed by {needed} of its keys, and {found} of them are here")]
    Keys { role: String, needed: u64, found: usize },
    #[error("{what}")]
    Usage { what: String, remedy: String },
    #[error("the fleet knows no vendor {vendor:?}; it has {known}")]
    NoVendor { vendor: String, known: String },
    #[error("{} has no trusted root yet, and a first one cannot be believed without looking at it", folder.display())]
    NoRoot { folder: PathBuf },
    #[error("the first root in {} is not the one that this folder trusts", path.display())]
    OtherRoot { path: PathBuf },
    #[error("the fleet's metadata is refused: {0}")]
    Refused(#[from] Refusal),
    #[error("nothing new is installed, the fleet's metadata is stale: {why}")]
    Stale { why: String },
    #[error("{what} is refused: {why}")]
    Package { what: String, why: String },
    /// As the gateway itself says it.
    #[error("{what} is withheld: {why}")]
    Withheld { what: String, why: String, remedy: String },
    #[error("{from} does not answer as it should: {why}")]
    Link { from: String, why: String },
    #[error("{from} gave less than was asked within {seconds} s")]
    Slow { from: String, seconds: u64 },
    #[error("{from} shows a certificate that is not trusted: {why}")]
    Certificate { from: String, why: String },
    #[error("{from} refuses this name and password")]
    Password { from: String },
    #[error("{from} has no {what}")]
    NotThere { from: String, what: String },
    #[error("{uri}: {what}")]
    Token { uri: String, what: String, remedy: String },
    #[error("wardgate is not there: {why}")]
    NoGateway { why: String },
    #[error("wardgate {verb} refused it")]
    Gateway { verb: String, code: u8 },
}

/// Why metadata is not taken: each names the attack that it would be, were it one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{role} is not signed by enough of the keys that it must be signed by ({why})")]
    Unsigned { role: String, why: String },
    #[error("{what} is older than what was seen here before ({why}): a rollback")]
    Rollback { what: String, why: String },
    #[error("parts of different states are mixed: {why}")]
    Mixed { why: String },
    #[error("{name} is longer than it may be: {why}")]
    Endless { name: String, why: String },
    #[error("{name} does not have the digest that was signed ({why})")]
    Digest { name: String, why: String },
    #[error("{name} is missing")]
    Incomplete { name: String },
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: String, why: String },
    #[error("a vendor named a path that is not its own: {why}")]
    Path { why: String },
    #[error("{0}")]
    Other(String),
}

impl Fault {
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |why| Self::File { path, why }
    }

    pub fn broken(path: impl Into<PathBuf>, why: impl ToString) -> Self {
        Self::Broken { path: path.into(), why: why.to_string() }
    }

    pub fn usage(what: impl ToString, remedy: impl ToString) -> Self {
        Self::Usage { what: what.to_string(), remedy: remedy.to_string() }
    }

    /// It is what was brought that is not taken, and not this machine or the way to it that failed.
    pub fn is_of_a_package(&self) -> bool {
        match self {
            Self::Package { .. } | Self::Withheld { .. } | Self::TooLarge { .. } | Self::Stale { .. } => true,
            Self::Gateway { verb, .. } => verb == "plugin verify",
            _ => false,
        }
    }

    pub fn remedy(&self) -> String {
        match self {
            Self::File { why, .. } => match why.kind() {
                io::ErrorKind::NotFound => "name one that is there".into(),
                io::ErrorKind::PermissionDenied => "run this as the user to whom it belongs".into(),
                io::ErrorKind::StorageFull => "make room on that disk, then run this again".into(),
                _ => "see whether the disk is well".into(),
            },
            Self::Broken { .. } => "bring it back from where it came, or from a copy".into(),
            Self::TooLarge { .. } => "see whether it is the file that was meant".into(),
            Self::Exists { .. } => "name another one; nothing of what is there is overwritten".into(),
            Self::NoFleet { .. } => "name the fleet's folder with --fleet DIR, or begin one with `wardgate trust init DIR`".into(),
            Self::Exposed { path, .. } => {
                format!("chmod 600 {}; if others have used this machine, replace the key: `wardgate trust rotate`", path.display())
            }
            Self::Keys { .. } => "bring the media with the missing keys, and name their folders with --keys DIR".into(),
            Self::Usage { remedy, .. } | Self::Withheld { remedy, .. } => remedy.clone(),
            Self::NoVendor { vendor, .. } => format!("`wardgate trust add-vendor {vendor} --key {vendor}.pub`"),
            Self::NoRoot { .. } => {
                "fetch 1.root.json from the fleet's desk, compare its fingerprint with the desk by telephone or on paper, and \
                 name it: --root 1.root.json"
                    .into()
            }
            Self::OtherRoot { .. } => "leave --root away; to follow another fleet, begin with an empty folder".into(),
            Self::Refused(why) => why.remedy().into(),
            Self::Stale { .. } => {
                "if this machine's clock is right, bring newer metadata: `wardgate trust update --from FOLDER-OR-ADDRESS`; if not, set the clock. \
                 What runs goes on running; a package that was here before comes in by `wardgate plugin accept`"
                    .into()
            }
            Self::Package { .. } => {
                "do not use it: it is no package of ours, or not as its vendor made it; ask whoever gave it to you".into()
            }
            Self::Link { .. } => "see whether the address is right and the machine can be reached".into(),
            Self::Slow { .. } => "try again, allow more with --patience SECONDS, or carry the files by hand: `--from DIR`".into(),
            Self::Certificate { .. } => {
                "name the certificate of whoever signed theirs: --ca FILE.pem; if it should be right already, do not go on".into()
            }
            Self::Password { .. } => "name the right ones: --user NAME and --password-file FILE, or WARDGATE_REGISTRY_PASSWORD".into(),
            Self::NotThere { .. } => "see what there is, and whether it is spelled so".into(),
            Self::Token { remedy, .. } => remedy.clone(),
            Self::NoGateway { .. } => "install wardgate beside wardgate-trust".into(),
            Self::Gateway { .. } => "it says above why".into(),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File { .. } => 5,
            Self::Refused(_) | Self::Stale { .. } | Self::Package { .. } | Self::Withheld { .. } => 4,
            Self::Link { .. } | Self::Slow { .. } | Self::NotThere { .. } => 6,
            Self::Certificate { .. } | Self::Password { .. } => 7,
            Self::Gateway { code, .. } => *code,
            _ => 3,
        }
    }
}

impl Refusal {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "what was seen before stays in force; bring the newest state of the fleet's repository",
            Self::Incomplete { .. } | Self::Mixed { .. } | Self::Digest { .. } => {
                "copy the whole repository again from the fleet's desk; what was there before stays in force"
            }
            _ => "what was there before stays in force; ask the fleet's desk, and do not go on with this copy",
        }
    }
}
