//! What this gateway remembers of what it trusted; and where that file is damaged or gone, what its audit log proves of it. Pure, once both are read.

use std::path::Path;

use crate::audit::{Anchor, Audit, Record, What};
use crate::plugin::{Approval, DeviceKey, Log, Memory, Ran, Remembered};

/// The memory and the audit log of one state folder. Each notes how far the other is, so that neither is put back alone without being noticed.
pub fn kept(state: &Path, key: &DeviceKey) -> (Memory, Audit) {
    let (memory, audit) = (Memory::of(state, key.clone()), Audit::new(state, key.signer()));
    let read = memory.clone();
    let beside = move || {
        let read = read.read().ok()?;
        let (n, hash) = read.audit.clone().unwrap_or_default();
        Some((read.count, Anchor { n, hash }))
    };
    (memory.beside(Noted(audit.clone())), audit.beside(beside))
}

struct Noted(Audit);

impl Log for Noted {
    fn newest(&self) -> Option<(u64, String, u64)> {
        self.0.newest().map(|head| (head.n, head.hash, head.memory))
    }

    fn note(&self, count: u64) -> std::io::Result<()> {
        self.0.note_memory(count)
    }

    fn doubt(&self) -> Option<String> {
        self.0.doubt()
    }
}

/// Why what was seen is not known for sure, where it is not. A gateway that has begun a life wrote its memory before that.
pub fn recollect(memory: &Memory, audit: &Audit) -> (Remembered, Option<String>) {
    let why = match memory.read_beside() {
        Ok((remembered, older)) if memory.is_there() => match older {
            None => return (remembered, None),
            Some(why) => why,
        },
        Ok(_) => format!("{} is gone, and audit.log does not show that nothing ever ran here", memory.path().display()),
        Err(why) => why.to_string(),
    };
    // a log that is damaged proves nothing, also not that there was no start
    if !memory.is_there() && audit.before_the_first_start() {
        return (Remembered::default(), None);
    }
    (recalled(&audit.proven()), Some(why))
}

/// Of the reach that was approved a log says nothing: it is empty here, and whatever asks for anything is asked for again once it is another release.
pub fn recalled(records: &[Record]) -> Remembered {
    let mut all = Remembered::default();
    for record in records {
        let text = |name: &str| record.about.get(name).cloned().unwrap_or_default();
        let number = |name: &str| text(name).parse::<u64>().ok();
        let (instance, package) = (text("instance"), text("package"));
        let digest = record.about.get("digest").cloned();
        let ran = |release: u64, all: &mut Remembered| {
            if let Some((vendor, name)) = package.split_once('/') {
                all.saw(vendor, name, release, digest.as_deref());
            }
            all.ran.insert(instance.clone(), Ran { package: package.clone(), release, digest: digest.clone(), file: None });
        };
        match record.what {
            What::Start => {
                all.version = text("version");
                all.site_key = Some(text("site_key")).filter(|key| !key.is_empty());
            }
            // whoever comes back begins anew
            What::ConfigChange if text("how") == GONE => drop(all.ran.remove(&instance)),
            What::ConfigChange if text("how") == RELOADED => all.site_key = Some(text("site_key")).filter(|key| !key.is_empty()),
            What::Install => {
                if let Some(release) = number("release") {
                    all.saw(&text("vendor"), &text("name"), release, digest.as_deref());
                }
            }
            What::GrantApprove => {
                let release = number("release").unwrap_or_default();
                if record.about.contains_key("how") {
                    ran(release, &mut all); // a person's approval comes before it runs
                }
                // of what a person approved ahead of its time the log does not say how far it reaches: that is to be approved anew
                if record.about.contains_key("how") {
                    let hash = text("grants_hash");
                    all.runs(&instance, Approval { package: package.clone(), release, grants_hash: hash, ..Approval::default() });
                }
            }
            What::Update | What::BreakGlass if !instance.is_empty() => {
                let release = number("to").unwrap_or_default();
                ran(release, &mut all);
                let before = all.approved(&instance, &package).cloned().unwrap_or_default();
                all.runs(&instance, Approval { package: package.clone(), release, ..before });
            }
            What::GrantChange => {
                if let Some(approval) = all.of_what_ran(&instance) {
                    approval.grants_hash = text("to");
                }
            }
            _ => {}
        }
    }
    all
}

/// How a configuration came into force while the gateway ran.
pub const RELOADED: &str = "reloaded";

/// What becomes of an instance that a configuration names no more.
pub const GONE: &str = "configured no more";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::audit::{Entry, Moment};

    #[test]
    fn what_is_damaged_or_gone_is_recalled_from_the_log_as_far_as_that_proves_it() {
        let state = std::env::temp_dir().join(format!("wardgate-recall-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state);
        let key = DeviceKey::open(&state, [1; 32]).unwrap();
        let (memory, audit) = (Memory::of(&state, key.clone()), Audit::new(&state, key.signer()));
        assert_eq!(recollect(&memory, &audit), (Remembered::default(), None), "the first start of all");
        let write = |entry| audit.append(entry, Moment::default()).unwrap();
        write(Entry::new(What::Install, "uid 0", [("vendor", &"acme"), ("name", &"pump"), ("release", &4), ("digest", &"d")]));
        assert_eq!(recollect(&memory, &audit).1, None, "a package may come before the first start");
        write(Entry::new(What::Start, "gateway", [("version", &"0.1.0"), ("site_key", &"ed25519:x")]));
        let approve = |instance: &str, release: u64| {
            Entry::new(
                What::GrantApprove,
                "x",
                [("instance", &instance), ("package", &"acme/pump"), ("release", &release), ("grants_hash", &"h")],
            )
        };
        write(approve("bed-1", 2).and("how", "first seen"));
        write(
            Entry::new(What::Update, "x", [("instance", &"bed-1"), ("package", &"acme/pump"), ("from", &2), ("to", &3)]).and("digest", "c"),
        );
        write(approve("bed-2", 9));
        write(approve("bed-3", 1).and("how", "first seen"));
        write(Entry::new(What::ConfigChange, "x", [("instance", &"bed-3"), ("how", &GONE)]));
        let (known, why) = recollect(&memory, &audit);
        assert!(why.is_some_and(|why| why.contains("is gone")));
        assert_eq!((known.site_key.as_deref(), known.newest_release("acme", "pump")), (Some("ed25519:x"), Some(4)));
        let approved = |known: &Remembered, instance: &str| known.approved(instance, "acme/pump").map(|a| (a.package.clone(), a.release));
        assert_eq!(approved(&known, "bed-1"), Some(("acme/pump".into(), 3)));
        assert_eq!((approved(&known, "bed-2"), known.knows("acme", "pump", 9)), (None, false), "a person approved it, and it never ran");
        assert_eq!((known.digest("acme", "pump", 4), known.digest("acme", "pump", 3)), (Some("d"), Some("c")));
        let expected = Ran { package: "acme/pump".into(), release: 3, digest: Some("c".into()), file: None };
        assert_eq!(known.ran.into_iter().collect::<Vec<_>>(), [("bed-1".to_owned(), expected)]);
        let (known, _) = recollect(&memory, &audit);
        fs::write(memory.path(), "{}\n\n").unwrap();
        let (again, why) = recollect(&memory, &audit);
        assert!(again == known && why.is_some_and(|why| why.contains("not as this gateway wrote it")));
        // and where the log is damaged too, as far as it is proven: up to the signed record before the damage
        let log = state.join("audit.log");
        let text = fs::read_to_string(&log).unwrap();
        fs::write(&log, text.replace("\"to\":\"3\"", "\"to\":\"5\"")).unwrap();
        let (less, _) = recollect(&memory, &audit);
        assert_eq!((less.site_key.as_deref(), less.approved_for("acme/pump".into()).count()), (Some("ed25519:x"), 0));
        memory.replace(&known).unwrap();
        assert_eq!(recollect(&memory, &audit), (known, None));
        assert_eq!(fs::read(state.join("trust.damaged")).unwrap(), b"{}\n\n", "and the damaged one is kept");
    }

    /// The files of a state folder, as somebody keeps a copy of them.
    fn copied(state: &Path, names: &[&str]) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        names.iter().map(|name| (state.join(name), fs::read(state.join(name)).unwrap())).collect()
    }

    fn put(files: &[(std::path::PathBuf, Vec<u8>)]) {
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }

    #[test]
    fn a_memory_or_a_log_that_is_put_back_alone_is_named_and_both_together_are_not() {
        let state = std::env::temp_dir().join(format!("wardgate-put-back-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state);
        let key = DeviceKey::open(&state, [1; 32]).unwrap();
        let (memory, audit) = kept(&state, &key);
        let write = |n: u64| audit.append(Entry::new(What::Bind, "x", [("n", &n)]), Moment::default()).unwrap();
        let saw = |release| memory.change(|m| m.saw("acme", "pump", release, None)).unwrap();
        saw(1); // before there is a log
        assert_eq!(write(1), 1);
        (2..5).for_each(|n| assert_eq!((saw(n), write(n)), (true, n)));
        let (the_memory, the_log) = (["trust.memory"], ["audit.log", "audit.head"]);
        let old = (copied(&state, &the_memory), copied(&state, &the_log));
        assert_eq!(recollect(&memory, &audit).1, None);
        // any time later: nothing else need have happened than that it was written once more
        saw(5);
        let new = (copied(&state, &the_memory), copied(&state, &the_log));
        put(&old.0);
        let (_, why) = recollect(&memory, &audit);
        assert!(
            why.as_ref().is_some_and(|why| why.contains("was put back, or")
                && why.contains("is number 4 of those")
                && why.contains("knows number 5")),
            "{why:?}"
        );
        put(&new.0);
        assert_eq!(recollect(&memory, &audit).1, None);
        // a person makes it anew: it is no older one then
        put(&old.0);
        let (known, _) = recollect(&memory, &audit);
        memory.replace(&known).unwrap();
        assert_eq!(recollect(&memory, &audit).1, None);
        // an older log with its head: the next record tells it, and no number is given twice
        (5..8).for_each(|n| assert_eq!(write(n), n));
        saw(6);
        put(&old.1);
        let told = write(8);
        assert_eq!(told, 9, "record 7 was the newest, 8 tells, 9 is what was to be written");
        let whole = crate::audit::verify_folder(&state, &key.signer().public()).unwrap_err().to_string();
        assert!(whole.contains("record 5 is missing or not as it was written: the device found that when it wrote record 8"), "{whole}");
        saw(7);
        assert_eq!((write(9), recollect(&memory, &audit).1), (10, None), "told once");
        // what a file system cannot tell: both as they were, together
        let all = ["trust.memory", "audit.log", "audit.head"];
        let old = copied(&state, &all);
        assert!(saw(8) && write(10) == 11);
        put(&old);
        assert_eq!((recollect(&memory, &audit).1, write(11)), (None, 11));
        fs::remove_dir_all(&state).unwrap();
    }

    //= PROMISES.md#P273
    #[test]
    fn a_memory_that_is_gone_beside_a_damaged_log_is_no_first_start() {
        let state = std::env::temp_dir().join(format!("wardgate-first-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state);
        let key = DeviceKey::open(&state, [1; 32]).unwrap();
        let (memory, audit) = kept(&state, &key);
        let first = |memory: &Memory, audit: &Audit| recollect(memory, audit).1.is_none();
        assert!(first(&memory, &audit));
        let write = |entry| audit.append(entry, Moment::default()).unwrap();
        write(Entry::new(What::Refuse, "uid 0", [("what", &"accept")]));
        assert!(first(&memory, &audit), "a verb may have been refused before");
        write(Entry::new(What::Start, "gateway", [("site_key", &"ed25519:x")]));
        assert!(!first(&memory, &audit));
        let log = state.join("audit.log");
        let good = fs::read(&log).unwrap();
        for (name, bad) in [("a flipped bit", [&[good[0] ^ 1][..], &good[1..]].concat()), ("an empty log", Vec::new())] {
            fs::write(&log, bad).unwrap();
            assert!(!first(&memory, &audit), "{name}");
        }
        fs::remove_file(&log).unwrap();
        assert!(!first(&memory, &audit), "its head tells that there was one");
        fs::write(&log, &good).unwrap();
        fs::remove_file(state.join("audit.head")).unwrap();
        assert!(!first(&memory, &audit));
        fs::remove_file(&log).unwrap();
        assert!(first(&memory, &audit), "nothing is there");
        fs::remove_dir_all(&state).unwrap();
    }

    /// The head is not signed by anybody else, but it may go, or an older one may come back.
    //= PROMISES.md#P272
    #[test]
    fn a_memory_that_is_put_back_is_noticed_also_where_the_logs_head_is_gone_anothers_or_older() {
        let state = std::env::temp_dir().join(format!("wardgate-head-{}", std::process::id()));
        for (name, head) in [("gone", None), ("another's", Some(&b"{}"[..])), ("put back", Some(&[][..]))] {
            let _ = fs::remove_dir_all(&state);
            let key = DeviceKey::open(&state, [1; 32]).unwrap();
            let (memory, audit) = kept(&state, &key);
            let write = |n: u64| audit.append(Entry::new(What::Bind, "x", [("n", &n)]), Moment::default()).unwrap();
            let saw = |release| memory.change(|m| m.saw("acme", "pump", release, None)).unwrap();
            assert!(saw(1) && write(1) == 1 && saw(2) && write(2) == 2);
            let old = copied(&state, &["trust.memory", "audit.head"]);
            assert!(write(3) == 3 && saw(3) && write(4) == 4);
            assert_eq!((recollect(&memory, &audit).1, audit.doubt()), (None, None));
            put(&old[..1]);
            match head {
                None => fs::remove_file(&old[1].0).unwrap(),
                Some([]) => put(&old[1..]),
                Some(other) => fs::write(&old[1].0, other).unwrap(),
            }
            let before = copied(&state, &["audit.log", "trust.memory"]);
            let (_, why) = recollect(&memory, &audit);
            assert!(why.as_ref().is_some_and(|why| why.contains("is the newest that was written here is not known: ")), "{name}: {why:?}");
            assert_eq!(copied(&state, &["audit.log", "trust.memory"]), before, "nothing is written");
            // and it stays so when the log goes on under a new head, until a person makes it anew
            write(5);
            write(6);
            let (known, why) = recollect(&memory, &audit);
            assert!(why.as_ref().is_some_and(|why| why.contains("was put back, or the audit log's head was lost")), "{name}: {why:?}");
            memory.replace(&known).unwrap();
            assert_eq!(recollect(&memory, &audit).1, None, "{name}");
            assert!(saw(7) && write(7) > 3);
            assert_eq!(recollect(&memory, &audit).1, None, "{name}");
        }
        fs::remove_dir_all(&state).unwrap();
    }
}
