//! Whether a package may run for one instance: pure, once all that is known has been gathered.

use crate::config::{Config, Instance, OnRevoked};
use crate::plugin::{Admission, Known, Package, Reach, Signed, Verdict, Withheld, grants_lines};

/// When packages are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Occasion {
    /// Nothing runs yet: what may not is left out, and the others start.
    Start,
    /// Something runs: what may not come in leaves all as it is.
    Reload,
}

/// What is known when the packages of one configuration are judged.
pub(in crate::gateway) struct Judge {
    pub admission: Admission,
    pub occasion: Occasion,
    pub(super) known: Known,
    pub(super) policy: OnRevoked,
    /// The memory cannot be read: nothing in it is held against anybody.
    pub(super) blind: bool,
}

/// A package as it is about to run.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Sight {
    pub signed: Option<Signed>,
    pub name: String,
    pub reach: Reach,
    pub grants: Vec<String>,
    /// It runs although it was revoked.
    pub revoked: Option<String>,
}

impl Sight {
    pub fn of(config: &Config, instance: &Instance, package: &Package) -> Self {
        Self {
            signed: package.signed.clone(),
            name: package.manifest.name.clone(),
            reach: Reach::of(&package.manifest, &package.surface),
            grants: grants_lines(instance, &package.manifest, &config.buses),
            revoked: None,
        }
    }

    pub(super) fn package(&self) -> String {
        format!("{}/{}", self.signed.as_ref().map_or("nobody", |by| by.vendor.as_str()), self.name)
    }

    pub(super) fn release(&self) -> u64 {
        self.signed.as_ref().map_or(0, |by| by.release)
    }
}

impl Judge {
    pub fn with_fleet(&self) -> bool {
        matches!(self.admission, Admission::Fleet { .. })
    }

    /// `runs`: this very release of it runs as this instance already.
    pub fn verdict(&self, instance: &str, sight: &Sight, runs: bool) -> Verdict {
        let Some(by) = &sight.signed else { return Verdict::Runs };
        if let Some(why) = self.known.revoked(&sight.name, by) {
            // the site's rule is for what ran here already: nothing that is revoked comes in anew
            let approved = self.known.memory.approvals.get(instance);
            let ran = runs || self.blind || approved.is_some_and(|a| a.package == sight.package() && a.release == sight.release());
            return if self.policy == OnRevoked::Alert && ran { Verdict::RunsRevoked(why) } else { Verdict::No(why) };
        }
        if runs || self.blind {
            return Verdict::Runs;
        }
        let no = self.known.older(&sight.name, by).or_else(|| self.known.stale(&sight.name, by)).or_else(|| self.beyond(instance, sight));
        no.map_or(Verdict::Runs, Verdict::No)
    }

    fn beyond(&self, instance: &str, sight: &Sight) -> Option<Withheld> {
        let approved = self.known.memory.approvals.get(instance).filter(|a| a.package == sight.package())?;
        let more = sight.reach.beyond(&approved.reach);
        let why = Withheld::Beyond { release: sight.release(), approved: approved.release, more: more.join(", ") };
        (!more.is_empty()).then_some(why)
    }
}
