//! `wardgate trust status`: who is trusted, by a desk or by a gateway, and until when.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use tough::schema::RoleType;

use crate::clock::{Known, judge};
use crate::desk::{Desk, SETTINGS};
use crate::fault::Fault;
use crate::state::Fleet;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  wardgate trust status /etc/wardgate/trust      on a gateway
  wardgate trust status fleet                    at the desk")]
pub struct Status {
    /// A gateway's trust folder, or a fleet's
    #[arg(value_name = "DIR", default_value = "/etc/wardgate/trust")]
    folder: PathBuf,
    /// One JSON object: fleet.json, and whether it is stale
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Status) -> Result<(), Fault> {
    let clock = args.clock.moment()?;
    if args.folder.join(SETTINGS).is_file() {
        return desk(&mut Desk::load(&args.folder, &[])?, clock);
    }
    let fleet = Fleet::read(&args.folder)?.ok_or_else(|| {
        Fault::usage(
            format!("{} is neither a fleet nor a gateway's trust folder", args.folder.display()),
            "name one of the two; a gateway's is made by `wardgate trust update`",
        )
    })?;
    let moment = |text: &Option<String>| text.as_ref().and_then(|t| t.parse::<Timestamp>().ok());
    let expires = fleet.expires.parse().map_err(|e| Fault::broken(args.folder.join(crate::state::FLEET), e))?;
    let judged = judge(Known { clock, issued: moment(&fleet.issued), floor: moment(&fleet.floor), expires });
    if args.json {
        let mut value = serde_json::to_value(&fleet).expect("plain texts and numbers");
        value["stale"] = judged.stale.into();
        println!("{value}");
        return Ok(());
    }
    println!("root {}, timestamp {}, snapshot {}", fleet.root_version, fleet.timestamp_version, fleet.snapshot_version);
    match moment(&fleet.checked) {
        Some(checked) => println!("checked on {}", super::short(checked)),
        None => println!("checked while this machine's clock could not be believed"),
    }
    tell_trust(&fleet);
    if judged.stale {
        println!("trust-stale: {}", super::update::stale(&fleet, &judged, clock));
        println!(
            "    nothing new is installed; what runs goes on running. Bring newer metadata: `wardgate trust update`; or set the clock"
        );
    }
    Ok(())
}

/// Vendors and what was taken back, and the end.
pub fn tell_trust(fleet: &Fleet) {
    for vendor in &fleet.vendors {
        let keys = if vendor.keys.is_empty() { "no key any more".to_owned() } else { vendor.keys.join(", ") };
        println!("    {} for {}: {keys}", vendor.vendor, vendor.paths.join(", "));
        let ends = |text: &String| text.parse::<Timestamp>().ok();
        let earlier = vendor.list_ends.as_ref().and_then(ends).filter(|list| ends(&fleet.expires).is_some_and(|all| *list < all));
        earlier.into_iter().for_each(|list| {
            println!("    {}'s list ends on {}: nothing new of it comes in after that", vendor.vendor, super::short(list))
        });
    }
    if fleet.vendors.is_empty() {
        println!("    no vendor is trusted");
    }
    for term in &fleet.key_terms {
        println!("    key {} of {} is for something new until {}", term.key, term.vendor, term.until);
    }
    for key in &fleet.revoked_keys {
        println!("    revoked: key {} of {} since {} ({})", key.key, key.vendor, key.since, key.reason);
    }
    for release in &fleet.revoked_releases {
        println!("    revoked: release {} of {}'s {} ({})", release.release, release.vendor, release.name, release.reason);
    }
    println!("new packages are installed until {}", fleet.expires.parse().map_or_else(|_| fleet.expires.clone(), super::short));
}

fn desk(desk: &mut Desk, clock: Timestamp) -> Result<(), Fault> {
    let root = desk.root.signed.clone();
    let ended = |moment: Timestamp| if moment < clock { " ENDED" } else { "" };
    println!("the desk of a fleet: root {}, until {}{}", root.version, super::short(root.expires), ended(root.expires));
    for (role, name) in
        [(RoleType::Root, "root"), (RoleType::Targets, "targets"), (RoleType::Snapshot, "snapshot"), (RoleType::Timestamp, "timestamp")]
    {
        let keys = &root.roles[&role];
        println!("    {name}: {} of {} must sign", super::count(keys.threshold.get() as usize, "key"), keys.keyids.len());
        for (n, id) in keys.keyids.iter().enumerate() {
            let here = if desk.ring.contains_key(id) { "its secret is here" } else { "its secret is elsewhere" };
            println!("        {} {}  {here}", n + 1, &crate::role::hex(id)[..16]);
        }
    }
    println!("lists of vendors and packages speak until {}{}", super::short(desk.targets.expires), ended(desk.targets.expires));
    let vendors: Vec<_> = desk.vendors.keys().cloned().collect();
    for vendor in vendors {
        let keys = desk.vendor_keys(&vendor)?.iter().map(crate::keys::Public::id).collect::<Vec<_>>();
        println!("    {vendor}: {}", if keys.is_empty() { "no key any more".into() } else { keys.join(", ") });
        let mut packages: Vec<_> = desk.vendors[&vendor].targets.keys().map(|name| name.raw()).collect();
        packages.sort_unstable();
        packages.iter().for_each(|name| println!("        {name}"));
    }
    for term in &desk.revocations.terms {
        println!("    key {} of {} is for something new until {}", term.key, term.vendor, term.until);
    }
    for key in &desk.revocations.keys {
        println!("    revoked: key {} of {} ({})", key.key, key.vendor, key.reason);
    }
    for release in &desk.revocations.releases {
        println!("    revoked: release {} of {}'s {} ({})", release.release, release.vendor, release.name, release.reason);
    }
    Ok(())
}
