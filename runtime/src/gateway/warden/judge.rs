//! Whether a package may run for one instance: pure, once all that is known has been gathered.

use crate::config::{Config, Instance, OnRevoked};
use crate::plugin::{Admission, Known, Package, Ran, Reach, Signed, Verdict, Withheld, grants_lines};

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
    /// The memory is damaged, and why: what is known of it is what the audit log proves, and nothing else may start.
    pub(super) blind: Option<String>,
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

    pub(super) fn ran(&self) -> Ran {
        Ran { package: self.package(), release: self.release() }
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
        // what ran here last as this instance is nothing new, though a newer one waits in the folder of packages
        let ran = runs || self.known.memory.ran.get(instance) == Some(&sight.ran());
        if let Some(why) = self.known.revoked(&sight.name, by) {
            // the site's rule is for what ran here already: nothing that is revoked comes in anew
            return if self.policy == OnRevoked::Alert && ran { Verdict::RunsRevoked(why) } else { Verdict::No(why) };
        }
        if runs {
            return Verdict::Runs;
        }
        if let Some(why) = &self.blind {
            return if ran { Verdict::Runs } else { Verdict::No(self.known.blind(&sight.name, by, why)) };
        }
        let news = || self.known.older(&sight.name, by).or_else(|| self.known.stale(&sight.name, by));
        let no = (!ran).then(news).flatten().or_else(|| self.beyond(instance, sight));
        no.map_or(Verdict::Runs, Verdict::No)
    }

    fn beyond(&self, instance: &str, sight: &Sight) -> Option<Withheld> {
        let approved = self.known.memory.approvals.get(instance).filter(|a| a.package == sight.package())?;
        let more = sight.reach.beyond(&approved.reach);
        let why = Withheld::Beyond { release: sight.release(), approved: approved.release, more: more.join(", ") };
        (!more.is_empty()).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::keys::SecretKey;
    use crate::plugin::{Approval, Fleet, Freshness, Remembered, Seen};

    fn sight(release: u64) -> Sight {
        let key = SecretKey::of_seed(&[1; 32]).public();
        let signed = Some(Signed { vendor: "acme".into(), release, key });
        Sight { signed, name: "pump".into(), reach: Reach::default(), grants: Vec::new(), revoked: None }
    }

    /// As it stands where release 4 ran as bed-1, release 5 was taken since, and release 4 is revoked if `revoked`.
    fn judge(policy: OnRevoked, revoked: bool, blind: bool) -> Judge {
        let mut memory = Remembered::default();
        assert!(memory.saw("acme", "pump", 4) && memory.saw("acme", "pump", 5));
        memory.ran.insert("bed-1".into(), Ran { package: "acme/pump".into(), release: 4 });
        // a person's approval opens no way back
        memory.approvals.insert("bed-1".into(), Approval { package: "acme/pump".into(), release: 3, ..Approval::default() });
        let json = r#"{"format":1,"root_version":1,"timestamp_version":1,"snapshot_version":1,"expires":"2999-01-01T00:00:00Z",
                       "revoked_releases":[{"vendor":"acme","name":"pump","release":4}]}"#;
        let fleet = revoked.then(|| Fleet::parse(PathBuf::new(), json.as_bytes()).expect("metadata"));
        let fleet = Seen { fleet, freshness: Freshness::Fresh };
        let known = Known { fleet, memory, site_key: None, state: PathBuf::from("/nowhere") };
        Judge { admission: Admission::Desk, occasion: Occasion::Start, known, policy, blind: blind.then(|| "it is damaged".into()) }
    }

    #[test]
    fn what_is_revoked_goes_on_where_it_ran_and_the_site_says_so_and_starts_nowhere_anew() {
        let verdict = |policy, instance: &str, runs| judge(policy, true, false).verdict(instance, &sight(4), runs);
        for (instance, runs) in [("bed-1", false), ("bed-1", true), ("bed-2", true)] {
            assert!(matches!(verdict(OnRevoked::Alert, instance, runs), Verdict::RunsRevoked(_)), "{instance} {runs}");
        }
        assert!(matches!(verdict(OnRevoked::Alert, "bed-2", false), Verdict::No(Withheld::Revoked { .. })), "it never ran as bed-2");
        for policy in [OnRevoked::StopNow, OnRevoked::StopAtMaintenance] {
            assert!(matches!(verdict(policy, "bed-1", true), Verdict::No(Withheld::Revoked { .. })), "{policy:?}");
        }
    }

    #[test]
    fn what_ran_last_starts_again_although_a_newer_one_was_taken_since_and_nothing_else_does() {
        let verdict = |instance: &str, release| judge(OnRevoked::Alert, false, false).verdict(instance, &sight(release), false);
        assert_eq!((verdict("bed-1", 4), verdict("bed-1", 5), verdict("bed-2", 5)), (Verdict::Runs, Verdict::Runs, Verdict::Runs));
        for (instance, release) in [("bed-1", 3), ("bed-2", 4)] {
            assert!(matches!(verdict(instance, release), Verdict::No(Withheld::Older { .. })), "{instance} {release}");
        }
    }

    #[test]
    fn a_damaged_memory_stops_nothing_that_ran_and_starts_nothing_else() {
        let verdict = |instance: &str, release, runs| judge(OnRevoked::Alert, false, true).verdict(instance, &sight(release), runs);
        assert_eq!((verdict("bed-1", 4, false), verdict("bed-9", 7, true)), (Verdict::Runs, Verdict::Runs));
        for (instance, release) in [("bed-1", 3), ("bed-1", 5), ("bed-2", 4)] {
            assert!(matches!(verdict(instance, release, false), Verdict::No(Withheld::Blind { .. })), "{instance} {release}");
        }
        let revoked = judge(OnRevoked::StopNow, true, true).verdict("bed-1", &sight(4), true);
        assert!(matches!(revoked, Verdict::No(Withheld::Revoked { .. })), "a revocation counts all the same");
    }
}
