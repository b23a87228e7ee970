//! Whom a site trusts, where its packages lie, what is done when trust is taken back, and what the image around this gateway forbids.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Config, ConfigError};
use crate::shared_file::Loose;

/// Part of the image's read-only root, so that nothing that runs there can change it.
pub const IMAGE_PROFILE: &str = "/usr/lib/wardgate/profile";
const PRODUCTION: &str = "production";
const VENDORS: &str = "vendors";

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Kept by `wardgate-trust`: the fleet's metadata in short (fleet.json), and the vendors' public keys (vendors/).
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Or, without a fleet: folder of the public keys of vendors whose packages may run; none: nobody's may.
    #[serde(default)]
    pub vendors: Option<PathBuf>,
    /// Public key of the site: with it gateway.toml counts only as it was signed.
    #[serde(default)]
    pub site_key: Option<PathBuf>,
    #[serde(default)]
    pub on_revoked: OnRevoked,
}

/// What becomes of an instance that runs when its vendor's key or its release is revoked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OnRevoked {
    StopNow,
    /// It goes on until the next reload or restart, which people plan.
    #[default]
    StopAtMaintenance,
    Alert,
}

impl OnRevoked {
    pub fn name(self) -> &'static str {
        match self {
            Self::StopNow => "stop-now",
            Self::StopAtMaintenance => "stop-at-maintenance",
            Self::Alert => "alert",
        }
    }
}

impl Trust {
    /// Where the vendors' keys lie.
    pub fn keys(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(VENDORS)).or_else(|| self.vendors.clone())
    }
}

/// Whether the image was built for wards: a file that cannot be read counts as one that says so.
pub fn is_production(profile: &Path) -> bool {
    match std::fs::read_to_string(profile) {
        Ok(text) => text.split_whitespace().next().is_none_or(|word| word == PRODUCTION),
        Err(why) => why.kind() != std::io::ErrorKind::NotFound,
    }
}

impl Config {
    /// What an image for wards does not allow, whoever wrote gateway.toml.
    pub fn held_to(&self, profile: &Path) -> Result<(), ConfigError> {
        if !self.gateway.developer_mode || !is_production(profile) {
            return Ok(());
        }
        let what = format!("gateway.developer_mode: this is an image for wards ({}), which has no developer mode", profile.display());
        let remedy = "take out developer_mode, and allow_unsigned with it; or write plugins on an image for developers";
        Err(self.wrong(&["gateway", "developer_mode"], what, remedy))
    }

    pub fn file(&self) -> &Path {
        &self.source.file
    }

    /// The text that was read, byte for byte.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// Whoever may write this file grants: root may, and in developer mode the user as whom the gateway runs (`me`).
    pub fn in_safe_hands(&self, me: u32) -> Result<(), ConfigError> {
        let file = &self.source.file;
        let wrong = |what: String, remedy: String| ConfigError { file: file.clone(), line: None, what, remedy };
        let about = std::fs::metadata(file).map_err(|e| wrong(format!("cannot be looked at: {e}"), "look at its folder".into()))?;
        let trusted: &[u32] = if self.gateway.developer_mode { &[0, me] } else { &[0] };
        let Some(loose) = Loose::of(&about, trusted) else { return Ok(()) };
        if let Loose::Mode(_) = loose {
            let what = format!("{loose}: whoever can do that decides what plugins may reach");
            return Err(wrong(what, format!("look at what is in it, then {}", loose.remedy(file))));
        }
        let what = format!("{loose}, and what plugins may reach is for root to say, or for whoever holds the site's key");
        let remedy = "chown root it, after a look at what is in it; or sign it: [trust] site_key and `wardgate grant sign`; \
                      or, at a developer's desk, developer_mode = true below [gateway]";
        Err(wrong(what, remedy.into()))
    }
}
