//! `wardgate trust add-vendor`: a delegation for a vendor, or one more key for one that is there.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use tough::schema::{DelegatedRole, PathPattern, PathSet, RoleType, Targets};

use crate::client;
use crate::fault::Fault;
use crate::keys::{Public, key_id};
use crate::role::{self, SPEC};

#[derive(Debug, Args)]
#[command(after_help = "\
The vendor's packages must be signed by one of its keys, and lie below its name. A second key is added beside the first, for the time in which a
vendor changes over; take the old one back with `revoke`, or let it end with --until (said again, it names another day). Compare a key with the vendor by telephone or on paper first: this is where trust begins.

Example:
  wardgate trust add-vendor acme --key acme.pub --fleet fleet")]
pub struct AddVendor {
    /// As the vendor's packages name it
    #[arg(value_name = "NAME")]
    vendor: String,
    /// The vendor's public key
    #[arg(long, value_name = "FILE.pub")]
    key: PathBuf,
    /// The last day of this key, as 2027-12-31: what it signed and is new somewhere comes in no more after it; what runs goes on
    #[arg(long, value_name = "DAY")]
    until: Option<jiff::civil::Date>,
    /// What the vendor may name; may be given again [default: NAME/*]
    #[arg(long, value_name = "PATTERN")]
    paths: Vec<String>,
    #[command(flatten)]
    at: super::At,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &AddVendor) -> Result<(), Fault> {
    let vendor = &args.vendor;
    let usage = |what: String, remedy: &str| Err(Fault::usage(what, remedy));
    if !client::is_name(vendor) {
        return usage(format!("{vendor:?} is no vendor's name"), "write small letters, digits and hyphens, as its packages do");
    }
    if let Some(path) = args.paths.iter().find(|path| !path.starts_with(&format!("{vendor}/"))) {
        return usage(format!("{path:?} is not below {vendor}/"), "a vendor speaks for what lies below its own name and nothing else");
    }
    let now = args.clock.moment()?;
    let until = args.until.map(|day| day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC)).map(|at| at.timestamp())).transpose();
    let until = until.map_err(|e| Fault::usage(e, "write it as 2027-12-31"))?;
    if until.is_some_and(|until| until <= now) {
        return usage("the last day of that key is over already".into(), "name a day to come, or leave the key away");
    }
    let key = Public::read(&args.key)?;
    let mut desk = args.at.desk()?;
    if let Some(revoked) = desk.revocations.revoked_for_anybody(&key.id()) {
        let what = format!("{} of {} was revoked on {}: {}", key.id(), revoked.vendor, revoked.since, revoked.reason);
        return usage(what, "ask the vendor for a new key; what was revoked stays so, whoever brings it");
    }
    let mut known = Vec::new();
    for other in desk.vendors.keys().cloned().collect::<Vec<_>>() {
        let keys = desk.vendor_keys(&other)?;
        if other != *vendor && keys.contains(&key) {
            return usage(format!("that key is {other}'s already"), "one key speaks for one vendor; ask for one of its own");
        }
        known.push(other);
    }
    let desks = desk.root.signed.roles[&RoleType::Targets].keyids.clone();
    let (id, tuf) = (key_id(&key.tuf()), key.tuf());
    if desks.contains(&id) {
        return usage("that key is this desk's own".into(), "name the vendor's key");
    }
    let delegations = desk.delegations();
    delegations.keys.insert(id.clone(), tuf);
    let patterns = if args.paths.is_empty() { vec![format!("{vendor}/*")] } else { args.paths.clone() };
    let paths = patterns.iter().map(|p| PathPattern::new(p.clone())).collect::<Result<Vec<_>, _>>();
    let paths = paths.map_err(|e| Fault::usage(e, "write it as acme/*"))?;
    match delegations.roles.iter_mut().find(|role| role.name == *vendor) {
        Some(role) => {
            if !role.keyids.contains(&id) {
                role.keyids.insert(0, id);
            }
            if !args.paths.is_empty() {
                role.paths = PathSet::Paths(paths);
            }
        }
        None => {
            let role = DelegatedRole {
                name: vendor.clone(),
                keyids: vec![id],
                threshold: role::first(),
                paths: PathSet::Paths(paths),
                terminating: true,
                targets: None,
            };
            delegations.roles.push(role);
            let mut list = Targets::new(SPEC.into(), role::first(), now);
            list.delegations = None;
            desk.vendors.insert(vendor.clone(), list);
        }
    }
    if let Some(until) = until {
        desk.revocations.end(vendor, &key.id(), until);
    }
    desk.publish(now)?;
    println!("{vendor} is trusted for {} by {}", patterns.join(", "), key.id());
    println!(
        "next: carry {} to the gateways; publish a package: wardgate trust publish FILE.wardgate --fleet {}",
        desk.repository().display(),
        desk.folder().display()
    );
    Ok(())
}
