//! What this gateway remembers of what it trusted; and where that file is damaged or gone, what its audit log proves of it. Pure, once both are read.

use crate::audit::{Audit, Record, What};
use crate::plugin::{Approval, Memory, Ran, Remembered};

/// Why what was seen is not known for sure, where it is not. A gateway that has begun a life wrote its memory before that.
pub fn recollect(memory: &Memory, audit: &Audit) -> (Remembered, Option<String>) {
    let why = match memory.read() {
        Ok(remembered) if memory.is_there() => return (remembered, None),
        Ok(_) => format!("{} is gone", memory.path().display()),
        Err(why) => why.to_string(),
    };
    let records = audit.proven();
    if !memory.is_there() && !records.iter().any(|record| record.what == What::Start) {
        return (Remembered::default(), None); // the first start of all
    }
    (recalled(&records), Some(why))
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
            all.ran.insert(instance.clone(), Ran { package: package.clone(), release, digest: digest.clone() });
        };
        match record.what {
            What::Start => {
                all.version = text("version");
                all.site_key = Some(text("site_key")).filter(|key| !key.is_empty());
            }
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
                all.approvals.insert(
                    instance.clone(),
                    Approval { package: package.clone(), release, grants_hash: text("grants_hash"), ..Approval::default() },
                );
            }
            What::Update | What::BreakGlass if !instance.is_empty() => {
                let release = number("to").unwrap_or_default();
                ran(release, &mut all);
                let approval = all.approvals.entry(instance.clone()).or_default();
                (approval.package, approval.release) = (package.clone(), release);
            }
            What::GrantChange => {
                if let Some(approval) = all.approvals.get_mut(&instance) {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::audit::{Entry, Moment};
    use crate::plugin::DeviceKey;

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
        let (known, why) = recollect(&memory, &audit);
        assert!(why.is_some_and(|why| why.contains("is gone")));
        assert_eq!((known.site_key.as_deref(), known.newest_release("acme", "pump")), (Some("ed25519:x"), Some(4)));
        let approved = |known: &Remembered, instance: &str| known.approvals.get(instance).map(|a| (a.package.clone(), a.release));
        assert_eq!(approved(&known, "bed-1"), Some(("acme/pump".into(), 3)));
        assert_eq!((approved(&known, "bed-2"), known.knows("acme", "pump", 9)), (Some(("acme/pump".into(), 9)), false));
        assert_eq!((known.digest("acme", "pump", 4), known.digest("acme", "pump", 3)), (Some("d"), Some("c")));
        let expected = Ran { package: "acme/pump".into(), release: 3, digest: Some("c".into()) };
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
        assert_eq!((less.site_key.as_deref(), less.approvals.len()), (Some("ed25519:x"), 0));
        memory.replace(&known).unwrap();
        assert_eq!(recollect(&memory, &audit), (known, None));
        assert_eq!(fs::read(state.join("trust.damaged")).unwrap(), b"{}\n\n", "and the damaged one is kept");
    }
}
