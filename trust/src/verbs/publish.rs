//! `wardgate trust publish`: packages into the repository; and signing anew, before what was signed comes to its end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use tough::TargetName;
use tough::schema::{PathSet, RoleType, Target};

use crate::desk::{Desk, RELEASE, STATEMENT};
use crate::fault::Fault;
use crate::{files, gateway, package};

#[derive(Debug, Args)]
#[command(after_help = "\
Each package is looked at by `wardgate plugin verify` first, against the keys that the fleet trusts for its vendor. A package that was published
already and that its vendor signed by one more key is the same package, and takes the place of the file before it; the file with fewer signatures
changes nothing. Without a package the same state is signed anew, which gives it another term: let a timer do it once a week.

Examples:
  wardgate trust publish pump-1.0.0.wardgate --fleet fleet
  wardgate trust publish --fleet fleet")]
pub struct Publish {
    /// Packages, each signed by its vendor
    #[arg(value_name = "FILE.wardgate")]
    packages: Vec<PathBuf>,
    /// From now on the lists of vendors and packages speak for so many days
    #[arg(long, value_name = "N")]
    targets_days: Option<u32>,
    /// From now on a snapshot speaks for so many days
    #[arg(long, value_name = "N")]
    snapshot_days: Option<u32>,
    /// From now on a timestamp speaks for so many days
    #[arg(long, value_name = "N")]
    timestamp_days: Option<u32>,
    #[command(flatten)]
    at: super::At,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Publish) -> Result<(), Fault> {
    let now = args.clock.moment()?;
    let mut desk = args.at.desk()?;
    for path in &args.packages {
        println!("{}", add(&mut desk, path, now)?);
    }
    let days = &mut desk.days;
    days.targets = args.targets_days.unwrap_or(days.targets);
    days.snapshot = args.snapshot_days.unwrap_or(days.snapshot);
    days.timestamp = args.timestamp_days.unwrap_or(days.timestamp);
    desk.publish(now)?;
    desk.keep_days()?;
    let ends = desk.days.targets.min(desk.days.snapshot).min(desk.days.timestamp);
    let until = crate::role::in_days(now, ends).min(desk.root.signed.expires);
    println!("signed anew: gateways install until {} without news", super::short(until));
    if desk.root.signed.roles[&RoleType::Root].keyids.is_empty() || desk.root.signed.expires <= crate::role::in_days(now, ends) {
        println!("the root itself ends on {}: wardgate trust rotate --role root", super::short(desk.root.signed.expires));
    }
    println!("next: carry {} to the gateways", desk.repository().display());
    Ok(())
}

/// Answers what to say of it.
fn add(desk: &mut Desk, path: &Path, now: jiff::Timestamp) -> Result<String, Fault> {
    let bytes = files::read(path, package::FILE_BYTES_MAX)?;
    let refused = |why: String| Fault::Package { what: path.display().to_string(), why };
    let withheld = |why: String, remedy: String| Fault::Withheld { what: path.display().to_string(), why, remedy };
    let claim = package::Package::read(&bytes).and_then(|package| package.claim()).map_err(refused)?;
    let keys = desk.vendor_keys(&claim.vendor)?;
    let trusted: Vec<_> = keys.iter().map(crate::keys::Public::id).collect();
    desk.revocations.signed(&claim, &trusted, now, "this once more").map_err(|(why, remedy)| withheld(why, remedy))?;
    verified(path, &claim.vendor, &keys)?;
    let name = claim.target();
    let target_name = TargetName::new(name.clone()).map_err(|e| refused(e.to_string()))?;
    let patterns = match &desk.delegation(&claim.vendor)?.paths {
        PathSet::Paths(paths) => paths.iter().map(|path| path.value().to_owned()).collect::<Vec<_>>(),
        PathSet::PathHashPrefixes(_) => Vec::new(),
    };
    if !desk.delegations().target_is_delegated(&target_name) {
        let remedy = format!(
            "see whether it is the vendor's; if it may: `wardgate trust add-vendor {} --key {0}.pub --paths '{0}/*'`",
            claim.vendor
        );
        return Err(withheld(format!("{} may name {}, and this is {name}", claim.vendor, patterns.join(", ")), remedy));
    }
    // what was signed makes it that package; one more signature makes another file of it, and no other package
    let digest = crate::role::digest(&bytes);
    let other = |target_name: &TargetName, held: &Target| {
        *held.hashes.sha256 != *digest && desk.statement_of(target_name, held).is_none_or(|held| held != claim.statement)
    };
    if let Some(held) = desk.vendors[&claim.vendor].targets.get(&target_name).filter(|held| other(&target_name, held)) {
        let why = format!(
            "{name} is published already with the digest {}, and this one has {}, so it is another package of that name",
            desk.statement_of(&target_name, held).unwrap_or_else(|| "that nobody knows".into()),
            claim.statement
        );
        return Err(withheld(why, format!("ask {} for a new version, and to count `release` up", claim.vendor)));
    }
    let held =
        desk.vendors[&claim.vendor].targets.get(&target_name).and_then(|held| desk.signers_of(&target_name, held)).unwrap_or_default();
    let good = |key: &&String| trusted.contains(key);
    if let Some(lacks) = held.iter().filter(good).find(|key| !claim.signers.contains(key)) {
        if claim.signers.iter().filter(good).all(|key| held.contains(key)) {
            return Ok(format!("{name} stays as it was published: that file has a signature by {lacks} too, and is the same package"));
        }
        let why = format!(
            "{name} is published with a signature by {lacks}, which this file lacks: where its other keys are revoked, it would run nowhere"
        );
        let remedy =
            "sign the published file once more (`wardgate plugin sign`) and publish that; or, where the old key is to go, revoke it first";
        return Err(withheld(why, remedy.into()));
    }
    if let Some((held, target)) = desk.of_release(&claim.vendor, &claim.name, claim.release).find(|(name, held)| other(name, held)) {
        let why = format!(
            "release {} of {}'s {} is published already as {}, with the digest {}, and this one has {}",
            claim.release,
            claim.vendor,
            claim.name,
            held.raw(),
            desk.statement_of(held, target).unwrap_or_else(|| "that nobody knows".into()),
            claim.statement
        );
        return Err(withheld(why, format!("ask {} to count `release` up", claim.vendor)));
    }
    let custom = HashMap::from([(RELEASE.to_owned(), claim.release.into()), (STATEMENT.to_owned(), claim.statement.into())]);
    let target = desk.target(&name, bytes, custom);
    desk.vendors.get_mut(&claim.vendor).expect("it has a delegation").targets.insert(target_name, target);
    Ok(format!("published: {name}, release {}", claim.release))
}

/// By the gateway's own reader, with the fleet's keys in a folder of their own.
fn verified(path: &Path, vendor: &str, keys: &[crate::keys::Public]) -> Result<(), Fault> {
    let folder = files::fresh(&std::env::temp_dir(), "wardgate-trust")?;
    let checked = (keys.iter())
        .try_for_each(|key| files::write(&folder.join(format!("{vendor}.{}.pub", key.short())), key.pem().as_bytes(), files::PUBLIC_MODE))
        .and_then(|()| gateway::run("verify", &[Path::new("--trust"), &folder, path], true));
    let _ = std::fs::remove_dir_all(&folder); // only public keys
    checked
}
