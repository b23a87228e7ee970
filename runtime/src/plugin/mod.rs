//! Room 2, bytes to readings: packages, what they may reach, the engine they run in, and the supervisor of each instance.

use std::path::PathBuf;

mod allowance;
mod bound;
mod cache;
mod channels;
mod commands;
mod compile;
mod componentise;
mod device_key;
mod effects;
mod engine;
mod held;
mod instance;
mod kept;
mod package;
mod patience;
mod posting;
mod rules;
mod supervisor;
mod surface;
mod taps;
mod ticker;
mod tickets;
mod timers;
mod together;
pub mod trial;
mod trust;

use crate::fault::{Guilty, remedy_for};
pub use crate::keys::{KeyError, PublicKey, SEED_BYTES, SecretKey, export as export_key, make as make_keys};
pub use bound::Bound;
pub use cache::Origin;
pub use channels::{Asked, FromPipeline, Left, Links, Spoken, ToPipeline, Wiring};
pub use commands::{Command, Commands};
pub use compile::{Around, CompileLimits, Compiler, child_main};
pub use componentise::{BuildError, Built, build, componentise};
pub use device_key::DeviceKey;
pub use engine::{Host, INSTANCES_MAX, Profile};
pub use held::{Held, held};
pub use instance::{Fault, Instance, Prepared, Spent, at_once, prepare, prepare_kept};
pub use kept::{Kept, KeptBroken};
pub use package::pack::{PackError, Packed, pack};
pub use package::{
    Admission, BillSummary, Claim, Distrust, ENDING as PACKAGE_ENDING, Flaw, GOLDEN_FOLDER, MANIFEST_FILE, Member, Package, README_FILE,
    SBOM_FILE, Sealed, Signed, Vendors, bill_crates, manifest_inside, sealed, write_sealed,
};
pub use patience::{QUARANTINE_FAULTS, QUARANTINE_WITHIN_S, RAN_WELL_S, RESTART_DELAY_MS_MAX, RESTART_DELAY_MS_MIN};
pub use posting::Posting;
pub use rules::{Breach, Rules};
pub use supervisor::{PIPELINE_ROOM, Supervisor};
pub use surface::{Mismatch, Surface};
pub use taps::Taps;
pub use together::{SLACK_MS_MAX, SLACK_PART, Together};
pub use trust::{
    AHEAD_MAX, Accepted, Ahead, Approval, Change, EVERYWHERE, Exception, Fleet, Freshness, GrantLine, InOthersHands, KeyTerm, Known, Log,
    Memory, RECALL, Ran, Reach, Remembered, Seen, SiteError, Verdict, Withheld, allows, config_signature, examine, gateways_user,
    grants_hash, grants_lines, in_others_hands, is_one_file, list_ended, named_from, sign_config, sign_override, signs,
};

/// What keeps a plugin from running: who, what, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    #[error("cannot reserve memory for plugins in the {} profile: {why}. Raise the address-space limit of this service (LimitAS)", profile.name())]
    Engine { profile: Profile, why: String },
    #[error("{}: {what}: {why}", path.display())]
    File { path: PathBuf, what: &'static str, why: std::io::Error },
    #[error(
        "package {} is not signed. To load it all the same, at a developer's desk, set `developer_mode = true` under [gateway] and \
         `allow_unsigned = true` under [plugins] in gateway.toml; then whoever can write to that folder decides what runs here", folder.display()
    )]
    Unsigned { folder: PathBuf },
    #[error("package {} is not there", path.display())]
    NotThere { path: PathBuf, near: Option<PathBuf> },
    #[error("package {} {why}", path.display())]
    Flawed { path: PathBuf, why: Flaw },
    #[error("package {} is signed in the name of {vendor}, by the key {}; {why}", path.display(), key.id())]
    Untrusted { path: PathBuf, vendor: String, key: PublicKey, why: Box<Distrust> },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "plugin {plugin} needs a gateway of version {needs} or newer, this one is {}{}", env!("CARGO_PKG_VERSION"),
        missing.as_ref().map(|missing| format!(": it {missing}")).unwrap_or_default()
    )]
    NeedsGateway { plugin: String, needs: String, missing: Option<String> },
    #[error("{} {why}", path.display())]
    Shipped { path: PathBuf, why: String },
    #[error("{} is larger than {bytes_max} bytes ({why})", path.display())]
    TooLarge { path: PathBuf, bytes_max: u64, why: &'static str },
    #[error("{}: {why}", path.display())]
    Manifest { path: PathBuf, why: crate::config::ManifestError },
    #[error("{} is a folder, and no package file", path.display())]
    NoFile { path: PathBuf },
    #[error("{} is a file, and no package file is called so", path.display())]
    Unnamed { path: PathBuf },
    #[error(
        "{} is where \"{instance}\" finds {there}: with this release {release} in its place \"{instance}\" would run that at its next start, and \
         nobody had named it",
        path.display()
    )]
    InPlace { path: PathBuf, instance: String, there: String, release: u64 },
    /// An instance that names this file would change its maker without a word in gateway.toml.
    #[error("{} is {theirs}, and this is a package of {vendor} with the same name and version", path.display())]
    OfAnother { path: PathBuf, theirs: String, vendor: String },
    #[error("{} holds {holds} by its manifest: name it {holds}", folder.display())]
    Misnamed { folder: PathBuf, holds: String },
    #[error("plugin {plugin} {why}")]
    Refused { plugin: String, why: Mismatch },
    #[error("plugin {plugin} does not compile: {why}")]
    Invalid { plugin: String, why: String },
    #[error(
        "compiling plugin {plugin} took more than it may ({limit}). Build it smaller: --release, no interpreter inside, fewer dependencies"
    )]
    CompileLimit { plugin: String, limit: String },
    #[error(
        "plugin {plugin} is not compiled: a compiler without {lacks} would work on what others made, and an image for wards does not let it"
    )]
    Unwalled { plugin: String, lacks: String },
    #[error("cannot start the compiler {}: {why}", program.display())]
    Compiler { program: PathBuf, why: std::io::Error },
    #[error("the compiler of plugins behind {} does not answer: {why}", socket.display())]
    CompilerSocket { socket: PathBuf, why: std::io::Error },
    #[error("{}: {what}: {why}", path.display())]
    State { path: PathBuf, what: &'static str, why: std::io::Error },
    #[error("{} can be read by others: whoever has it can make this gateway run code of theirs", path.display())]
    KeyExposed { path: PathBuf },
    #[error("{} is not a device key", path.display())]
    KeyBroken { path: PathBuf },
    #[error("{why}")]
    KeyToken { why: String, remedy: String },
    #[error("plugin {plugin} does not fit this gateway: {why}")]
    Unlinkable { plugin: String, why: String },
    #[error("plugin {plugin} is withheld: {why}")]
    Withheld { plugin: String, why: Box<Withheld> },
}

impl PluginError {
    /// For whoever wrote the instance's part of gateway.toml.
    pub fn remedy(&self, instance: &str) -> String {
        match self {
            // a path in gateway.toml begins where that file lies, and one that was typed begins here
            Self::NotThere { near: Some(near), .. } => {
                format!("write package = \"{}\"", std::path::absolute(near).as_ref().unwrap_or(near).display())
            }
            Self::NotThere { near: None, .. } => {
                "put the vendor's file there; writers make one with `wardgate plugin pack` and `sign`".into()
            }
            Self::Unsigned { .. } => {
                "name its signed file NAME-VERSION.wardgate; or, at a developer's desk, below [gateway] add developer_mode = true, and below \
                 [plugins] add allow_unsigned = true"
                    .into()
            }
            Self::Flawed { why, .. } => why.remedy().into(),
            Self::Key(why) => why.remedy(),
            Self::Untrusted { vendor, why, .. } => why.remedy(vendor),
            Self::Withheld { why, .. } => why.remedy(instance),
            Self::NoFile { .. } => "make one with `wardgate plugin pack DIR`".into(),
            Self::Unnamed { .. } => "call it NAME-VERSION.wardgate, as its vendor did".into(),
            Self::InPlace { path, .. } => format!(
                "ask its vendor to count the version up with the release; or put this one into another folder and name it there; or take {} away from \
                 gateway.toml first",
                path.display()
            ),
            Self::OfAnother { path, .. } => format!(
                "put this one into another folder, with the same name, and name it there in gateway.toml; or, where no instance names {0}, move {0} away \
                 first",
                path.display()
            ),
            Self::Misnamed { holds, .. } => format!("rename it to {holds}, or make the package anew"),
            Self::NeedsGateway { .. } => "update this gateway, or ask the vendor for a package that runs on it".into(),
            Self::Refused { why: Mismatch::NotGranted { grant, .. }, .. } => format!("below [instance.{instance}.grants], which takes the place of a line grants = {{}}, and with this site's own where dots stand, add {grant}"),
            Self::State { why, .. } => remedy_for(why, "the state folder must be writable, and its disk must have room for some MB"),
            Self::File { why, .. } => remedy_for(why, "correct the package, or its line in gateway.toml"),
            Self::KeyToken { remedy, .. } => remedy.clone(),
            Self::KeyExposed { .. } | Self::KeyBroken { .. } => "remove it with the folder `compiled` beside it; both are made anew".into(),
            Self::Unwalled { .. } => {
                "give it a kernel with seccomp and landlock, and name the socket of the compiler that another user runs (images/common) as compiler \
                 below [plugins]; or, if it must be without, below [plugins] add compile_without_walls = true, and start the gateway again"
                    .into()
            }
            Self::Engine { .. } | Self::Compiler { .. } => "look at the limits of this service (LimitAS, LimitNPROC)".into(),
            Self::CompilerSocket { .. } => "look at `systemctl status wardgate-compile.socket` and `journalctl -u 'wardgate-compile@*'`".into(),
            _ => "correct the package, or its line in gateway.toml".into(),
        }
    }

    pub fn guilty(&self) -> Guilty {
        match self {
            Self::State { .. } | Self::KeyExposed { .. } | Self::KeyBroken { .. } | Self::KeyToken { .. } => Guilty::Store,
            Self::Engine { .. } | Self::Compiler { .. } | Self::CompilerSocket { .. } => Guilty::Internal,
            _ => Guilty::Plugin,
        }
    }
}
