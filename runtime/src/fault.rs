//! Who is to blame, and what to do about it: the form in which every room's errors leave the process.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Decides the exit code, so that a unit file or a script can tell a wrong setting from a full disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guilty {
    /// A bug of ours.
    Internal,
    /// The words of a command that was given.
    Usage,
    #[default]
    Configuration,
    Plugin,
    Store,
    /// A device port, a socket or an address that something else holds or that is not there.
    Port,
    /// Credentials and certificates.
    Uplink,
}

impl Guilty {
    /// 2 is also what the reader of the command line itself ends with.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Plugin => 4,
            Self::Store => 5,
            Self::Port => 6,
            Self::Uplink => 7,
        }
    }
}

/// One sentence that names the guilty, one that names the remedy.
#[derive(Clone, Debug)]
pub struct Fault {
    pub guilty: Guilty,
    pub what: String,
    pub remedy: String,
}

impl Fault {
    pub fn new(guilty: Guilty, what: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        Self { guilty, what: what.to_string(), remedy: remedy.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.remedy.is_empty() {
            write!(f, "\n  what to do: {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

/// What to do about what the operating system refused: to whoever is somebody else than the gateway's user, nothing else helps.
pub fn remedy_for(why: &std::io::Error, otherwise: impl Into<String>) -> String {
    match why.kind() {
        std::io::ErrorKind::PermissionDenied => "run this as root, or as the user to whom that file or its folder belongs".into(),
        _ => otherwise.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    //= PROMISES.md#P333
    #[test]
    fn whoever_may_not_is_told_to_be_somebody_who_may() {
        let of = |kind: ErrorKind| remedy_for(&Error::from(kind), "make room");
        assert_eq!(of(ErrorKind::StorageFull), "make room");
        assert!(of(ErrorKind::PermissionDenied).starts_with("run this as root, or as the user"));
        let state =
            crate::plugin::PluginError::State { path: "/x".into(), what: "cannot read it", why: ErrorKind::PermissionDenied.into() };
        assert!(state.remedy("").starts_with("run this as root"));
    }
}
