//! Whether a package may run for one instance: pure, once all that is known has been gathered. The gateway asks it at its start and at a reload, and
//! `check` and `inspect` ask the same.

use crate::config::{Config, Instance, OnRevoked};
use crate::plugin::{
    Admission, Ahead, Approval, GrantLine, InOthersHands, Known, Package, Ran, Reach, Signed, Verdict, Withheld, grants_hash, grants_lines,
};

/// When packages are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Nothing runs yet: what may not is left out, and the others start.
    Start,
    /// Something runs: what may not come in leaves all as it is.
    Reload,
}

/// What is known when the packages of one configuration are judged.
pub struct Judge {
    pub admission: Admission,
    pub occasion: Occasion,
    known: Known,
    policy: OnRevoked,
    /// The memory is damaged, and why: what is known of it is what the audit log proves, and nothing else may start.
    blind: Option<String>,
    /// Others may write what says whom this site trusts: nothing starts on its word but what ran here last.
    hands: Option<InOthersHands>,
}

/// Why a package does not run as one instance.
#[derive(Debug)]
pub struct Refusal {
    pub why: Withheld,
    pub sight: Sight,
}

/// A package as it is about to run.
#[derive(Clone, Debug)]
pub struct Sight {
    pub signed: Option<Signed>,
    pub name: String,
    pub reach: Reach,
    pub grants: Vec<GrantLine>,
    /// It runs although it was revoked.
    pub revoked: Option<String>,
}

impl Sight {
    /// `instance`: by whom it is to run; none: by nobody yet.
    fn of(config: &Config, instance: Option<&Instance>, package: &Package) -> Self {
        Self {
            signed: package.signed.clone(),
            name: package.manifest.name.clone(),
            reach: Reach::of(&package.manifest, &package.surface),
            grants: instance.map_or_else(Vec::new, |instance| grants_lines(instance, &package.manifest, &config.buses)),
            revoked: None,
        }
    }

    /// vendor/name
    pub fn package(&self) -> String {
        format!("{}/{}", self.signed.as_ref().map_or("nobody", |by| by.vendor.as_str()), self.name)
    }

    pub(super) fn ran(&self) -> Ran {
        Ran { package: self.package(), release: self.release(), digest: self.digest().map(str::to_owned), file: None }
    }

    /// What is approved once this runs, where that was approved before: the next one is held against what runs now, and what the one before it reached
    /// besides is approved no more. What a person approved of other releases holds on until they run.
    pub(super) fn approved(&self, before: Option<&Approval>) -> Approval {
        let release = self.release();
        let is_this = |ahead: &Ahead| ahead.is_of(release, self.digest());
        let looked_at = |before: &&Approval| !before.ahead.iter().any(is_this);
        let same =
            before.filter(|before| before.has_run() && before.release == release && before.reach != Reach::default()).filter(looked_at);
        let reach = same.map_or_else(|| self.reach.clone(), |before| before.reach.clone().filled_in(&self.reach));
        let ahead = before.iter().flat_map(|before| &before.ahead).filter(|ahead| !is_this(ahead)).cloned().collect();
        Approval { package: self.package(), release, reach, grants_hash: grants_hash(&self.grants), ahead }
    }

    pub(super) fn release(&self) -> u64 {
        self.signed.as_ref().map_or(0, |by| by.release)
    }

    /// One more signature makes no other package of it.
    pub fn is_the_same_as(&self, other: &Self) -> bool {
        match (&self.signed, &other.signed) {
            (Some(by), Some(its)) => by.is_the_same_as(its) && self.name == other.name,
            (None, None) => true,
            _ => false,
        }
    }

    pub(super) fn digest(&self) -> Option<&str> {
        self.signed.as_ref().map(|by| by.digest.as_str())
    }
}

impl Judge {
    pub fn new(config: &Config, occasion: Occasion, known: Known, blind: Option<String>, hands: Option<InOthersHands>) -> Self {
        let admission = Admission::with(config, &known.fleet).remembering(&known.memory);
        Self { admission, occasion, known, policy: config.trust.on_revoked, blind, hands }
    }

    /// What a package comes to as the instance `name`. `runs`: whether this very package runs as that instance already.
    pub fn sight(&self, config: &Config, name: &str, package: &Package, runs: impl Fn(&Sight) -> bool) -> Result<Sight, Box<Refusal>> {
        let mut sight = Sight::of(config, config.instances.get(name), package);
        match self.verdict(name, &sight, runs(&sight)) {
            Verdict::Runs => Ok(sight),
            Verdict::RunsRevoked(why) => {
                sight.revoked = Some(why.to_string());
                Ok(sight)
            }
            Verdict::No(why) => Err(Box::new(Refusal { why, sight })),
        }
    }

    /// Instances that ran a package of this vendor and name, or were approved for one.
    pub fn instances_of(&self, config: &Config, package: &str) -> Vec<String> {
        let memory = &self.known.memory;
        let of =
            |name: &&String| memory.ran.get(*name).is_some_and(|ran| ran.package == package) || memory.approved(name, package).is_some();
        config.instances.keys().filter(of).cloned().collect()
    }

    pub fn with_fleet(&self) -> bool {
        self.admission.with_fleet()
    }

    /// What may run is known from now on: another package of the same release is none of this configuration.
    pub fn note(&mut self, sight: &Sight) {
        if let Some(by) = sight.signed.as_ref().filter(|by| self.known.memory.digest(&by.vendor, &sight.name, by.release).is_none()) {
            self.known.memory.fill_in(&by.vendor, &sight.name, by.release, &by.digest);
        }
    }

    /// `runs`: this very package runs as this instance already, so that it reaches nothing new.
    fn verdict(&self, instance: &str, sight: &Sight, runs: bool) -> Verdict {
        let Some(by) = &sight.signed else { return Verdict::Runs };
        // what ran here last as this instance is nothing new, though a newer one waits in the folder of packages
        let ran = runs || self.known.memory.ran_last(instance, &sight.ran());
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
        if let Some(hands) = &self.hands {
            return if ran { Verdict::Runs } else { Verdict::No(self.known.in_others_hands(&sight.name, by, hands)) };
        }
        let news = || self.known.news(&sight.name, by, None);
        // what a person approved since is of what comes after it
        let exactly = self.known.memory.ran_last_exactly(instance, &sight.ran());
        let no = (!ran).then(news).flatten().or_else(|| if exactly { None } else { self.beyond(instance, sight) });
        no.map_or(Verdict::Runs, Verdict::No)
    }

    fn beyond(&self, instance: &str, sight: &Sight) -> Option<Withheld> {
        let approved = self.known.memory.approved(instance, &sight.package())?;
        if approved.is_ahead(sight.release(), sight.digest(), &sight.reach) {
            return None;
        }
        let (release, reach) = approved.held_against();
        let more = sight.reach.beyond(reach);
        let why = Withheld::Beyond { release: sight.release(), approved: release, more: more.join(", ") };
        (!more.is_empty()).then_some(why)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::keys::SecretKey;
    use crate::plugin::{Fleet, Freshness, Remembered, Seen};

    fn sight(release: u64) -> Sight {
        another(release, "a")
    }

    fn another(release: u64, digest: &str) -> Sight {
        let key = SecretKey::of_seed(&[1; 32]).public();
        let signed = Some(Signed {
            vendor: "acme".into(),
            release,
            key,
            others: Vec::new(),
            signers: vec![key],
            digest: digest.into(),
            listed: String::new(),
            sha256: String::new(),
        });
        Sight { signed, name: "pump".into(), reach: Reach::default(), grants: Vec::new(), revoked: None }
    }

    /// As it stands where release 4 ran as bed-1, release 5 was taken since, and release 4 is revoked if `revoked`.
    fn judge(policy: OnRevoked, revoked: bool, blind: bool) -> Judge {
        let mut memory = Remembered::default();
        assert!(memory.saw("acme", "pump", 4, Some("a")) && memory.saw("acme", "pump", 5, Some("a")));
        memory.ran.insert("bed-1".into(), Ran { package: "acme/pump".into(), release: 4, digest: Some("a".into()), file: None });
        // a person's approval opens no way back
        memory.approve("bed-1", "acme/pump", Ahead { release: 3, digest: Some("a".into()), reach: Reach::default() });
        let json = r#"{"format":1,"root_version":1,"timestamp_version":1,"snapshot_version":1,"expires":"2999-01-01T00:00:00Z",
                       "revoked_releases":[{"vendor":"acme","name":"pump","release":4}]}"#;
        let fleet = revoked.then(|| Fleet::parse(PathBuf::new(), json.as_bytes()).expect("metadata"));
        let fleet = Seen { fleet, freshness: Freshness::Fresh, ..Seen::default() };
        let known = Known { fleet, memory, site_key: None, state: PathBuf::from("/nowhere"), gateway: "ward".into() };
        let blind = blind.then(|| "it is damaged".into());
        Judge { admission: Admission::Desk, occasion: Occasion::Start, known, policy, blind, hands: None }
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

    /// What runs is what the next one is held against, and what was approved ahead of its time is not forgotten until then.
    //= PROMISES.md#P342
    #[test]
    fn what_the_one_before_it_reached_besides_is_approved_no_more_and_no_other_package_undoes_an_approval() {
        let of = |lines: &[&str]| Reach { of: lines.iter().map(|line| (*line).to_owned()).collect(), ..Reach::default() };
        let (narrow, wide) = (of(&["hears a"]), of(&["hears a", "takes the command stop"]));
        let runs = |release, reach: &Reach| Sight { reach: reach.clone(), ..sight(release) };
        let mut memory = Remembered::default();
        let take = |memory: &mut Remembered, sight: &Sight| {
            let approval = sight.approved(memory.approved("bed-1", &sight.package()));
            memory.runs("bed-1", approval);
            memory.ran.insert("bed-1".into(), sight.ran());
        };
        let ahead = |release, reach: &Reach| Ahead { release, digest: Some("a".into()), reach: reach.clone() };
        let verdict = |memory: &Remembered, sight: &Sight| {
            let known = Known { memory: memory.clone(), ..judge(OnRevoked::Alert, false, false).known };
            Judge { known, ..judge(OnRevoked::Alert, false, false) }.verdict("bed-1", sight, false)
        };
        let beyond = |memory: &Remembered, sight: &Sight| {
            let known = Known { memory: memory.clone(), ..judge(OnRevoked::Alert, false, false).known };
            Judge { known, ..judge(OnRevoked::Alert, false, false) }.beyond("bed-1", sight).map(|why| why.to_string())
        };
        take(&mut memory, &runs(1, &wide));
        assert_eq!(beyond(&memory, &runs(2, &narrow)), None);
        take(&mut memory, &runs(2, &narrow));
        let more = Some("release 3 asks for more than was approved for this instance (release 2): takes the command stop".to_owned());
        assert_eq!(beyond(&memory, &runs(3, &wide)), more, "release 1 had it, and release 2 gave it up");
        // others are approved for it, more than are kept, and one of them runs in its place for a while
        for n in 0..20 {
            memory.approve("bed-1", &format!("acme/other-{n}"), ahead(1, &wide));
        }
        assert_eq!(beyond(&memory, &runs(3, &wide)), more);
        take(&mut memory, &Sight { name: "scale".into(), ..runs(9, &wide) });
        assert_eq!(beyond(&memory, &runs(3, &wide)), more);
        take(&mut memory, &runs(2, &narrow));
        // a person approves one ahead of its time that reaches less and more, and release 2, which runs, starts once more
        memory.approve("bed-1", "acme/pump", ahead(3, &of(&["takes the command stop"])));
        assert_eq!(verdict(&memory, &runs(2, &narrow)), Verdict::Runs);
        take(&mut memory, &runs(2, &narrow));
        let asks = runs(3, &of(&["takes the command stop"]));
        assert_eq!((beyond(&memory, &asks), beyond(&memory, &runs(4, &asks.reach)).is_some()), (None, true), "that release, and no other");
        // one that is approved besides, or an older one, takes nothing from it, nor does what runs meanwhile; another package of that release it is not
        memory.approve("bed-1", "acme/pump", ahead(4, &wide));
        memory.approve("bed-1", "acme/pump", ahead(1, &wide));
        take(&mut memory, &runs(2, &narrow));
        assert_eq!([1, 3, 4].map(|release| beyond(&memory, &runs(release, &asks.reach))), [None, None, None]);
        let same_release = Sight { reach: wide.clone(), ..another(3, "b") };
        assert!(beyond(&memory, &same_release).is_some());
        take(&mut memory, &asks);
        assert_eq!(memory.approved("bed-1", "acme/pump").unwrap().ahead.iter().map(|a| a.release).collect::<Vec<_>>(), [4, 1]);
        assert!(memory.approved("bed-1", "acme/scale").is_some_and(|a| a.release == 9 && a.has_run()));
    }

    /// A release that is signed by the old key and the new one runs on when one of them is revoked.
    //= PROMISES.md#P343
    #[test]
    fn one_good_key_of_two_is_enough_and_of_none_the_first_is_named() {
        let key = |n: u8| SecretKey::of_seed(&[n; 32]).public();
        let with = |revoked: &[u8], named: &[u8]| {
            let keys: Vec<_> = named.iter().map(|n| format!("\"{}\"", key(*n).id())).collect();
            let revoked = revoked.iter().map(|n| format!(r#"{{"vendor":"acme","key":"{}","reason":"stolen"}}"#, key(*n).id()));
            let json = format!(
                r#"{{"format":1,"root_version":1,"timestamp_version":1,"snapshot_version":1,"expires":"2999-01-01T00:00:00Z","revoked_keys":[{}]{}}}"#,
                revoked.collect::<Vec<_>>().join(","),
                if named.is_empty() { String::new() } else { format!(r#","vendors":[{{"vendor":"acme","keys":[{}]}}]"#, keys.join(",")) }
            );
            let fleet = Some(Fleet::parse(PathBuf::new(), json.as_bytes()).expect("metadata"));
            let fleet = Seen { fleet, freshness: Freshness::Fresh, ..Seen::default() };
            let known = Known { fleet, ..judge(OnRevoked::StopNow, false, false).known };
            let mut sight = sight(4);
            let signed = sight.signed.as_mut().unwrap();
            (signed.others, signed.signers) = (if named.is_empty() { vec![key(2)] } else { Vec::new() }, vec![key(1), key(2)]);
            known.revoked("pump", sight.signed.as_ref().unwrap()).map(|why| why.to_string())
        };
        for one in [&[][..], &[1], &[2]] {
            assert_eq!(with(one, &[]), None, "{one:?}");
        }
        assert!(with(&[1, 2], &[]).is_some_and(|why| why.contains(&key(1).id())));
        // a key that the fleet named after it came in vouches too, and one that it names no more does not
        assert_eq!(with(&[1], &[2]), None);
        assert!(with(&[1], &[3]).is_some_and(|why| why.contains("stolen")));
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

    #[test]
    fn another_package_of_a_release_that_was_seen_is_none_of_it_wherever_it_comes() {
        for (instance, release, blind) in [("bed-1", 4, false), ("bed-1", 5, false), ("bed-2", 5, false), ("bed-1", 4, true)] {
            let verdict = judge(OnRevoked::Alert, false, blind).verdict(instance, &another(release, "b"), false);
            assert!(!matches!(verdict, Verdict::Runs), "{instance} {release}");
        }
        let verdict = judge(OnRevoked::Alert, false, false).verdict("bed-2", &another(5, "b"), false);
        assert!(matches!(&verdict, Verdict::No(Withheld::Other { digest, seen, .. }) if (digest.as_str(), seen.as_str()) == ("b", "a")));
        // and where none was seen before, the first of a configuration is the one
        let mut judge = judge(OnRevoked::Alert, false, false);
        assert_eq!(judge.verdict("bed-2", &another(6, "b"), false), Verdict::Runs);
        judge.note(&another(6, "b"));
        assert_eq!(judge.verdict("bed-3", &another(6, "b"), false), Verdict::Runs);
        assert!(matches!(judge.verdict("bed-3", &another(6, "c"), false), Verdict::No(Withheld::Other { .. })));
        assert_eq!(judge.verdict("bed-3", &sight(5), false), Verdict::Runs, "that makes no other release an older one");
    }
}
