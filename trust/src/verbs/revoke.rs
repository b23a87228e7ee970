//! `wardgate trust revoke`: a vendor's key, or one release of one package, is taken back.

use clap::Args;

use crate::desk::{Desk, name_of};
use crate::fault::Fault;
use crate::keys::{Public, key_id};
use crate::revocations::{RevokedKey, RevokedRelease};

const REASON_BYTES_MAX: usize = 200; // a line on a screen

#[derive(Debug, Args)]
#[command(after_help = "\
What a gateway then does with what runs is its own setting; it installs nothing of it any more, whatever its clock says. What was revoked stays so: a
name or a release that this desk does not know is asked for once more.

Examples:
  wardgate trust revoke --vendor acme --key ed25519:11qYAYKx... --reason \"stolen laptop\" --fleet fleet
  wardgate trust revoke --vendor acme --name pump --release 7 --reason \"wrong unit\" --fleet fleet")]
pub struct Revoke {
    /// Whose it is
    #[arg(long, value_name = "NAME")]
    vendor: String,
    /// The key, as `wardgate plugin verify` prints it, or its .pub file
    #[arg(long, value_name = "KEY", conflicts_with = "name", required_unless_present = "name")]
    key: Option<String>,
    /// The package, by its name without the version
    #[arg(long, value_name = "PACKAGE", requires = "release")]
    name: Option<String>,
    /// Its release
    #[arg(long, value_name = "N", requires = "name")]
    release: Option<u64>,
    /// Although no such release was published here: for a package that went another way
    #[arg(long, requires = "name")]
    even_if_unknown: bool,
    /// Why, for whoever reads it on a gateway
    #[arg(long, value_name = "WORDS")]
    reason: String,
    #[command(flatten)]
    at: super::At,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Revoke) -> Result<(), Fault> {
    if args.reason.len() > REASON_BYTES_MAX || args.reason.chars().any(char::is_control) {
        return Err(Fault::usage("the reason is no single line", format!("say it in at most {REASON_BYTES_MAX} bytes")));
    }
    let now = args.clock.moment()?;
    let mut desk = args.at.desk()?;
    desk.delegation(&args.vendor)?;
    let what = match (&args.key, &args.name, args.release) {
        (Some(key), ..) => key_of(&mut desk, args, &Public::of_words(key)?, now)?,
        (None, Some(name), Some(release)) => release_of(&mut desk, args, name, release)?,
        _ => return Err(Fault::usage("neither a key nor a release is named", "name one: --key KEY, or --name PACKAGE --release N")),
    };
    desk.publish(now)?;
    println!("revoked: {what} ({})", args.reason);
    println!("next: carry {} to the gateways; the one file fleet.bundle in it is enough", desk.repository().display());
    Ok(())
}

fn key_of(desk: &mut Desk, args: &Revoke, key: &Public, now: jiff::Timestamp) -> Result<String, Fault> {
    let (vendor, id) = (&args.vendor, key.id());
    let held = desk.vendor_keys(vendor)?;
    if desk.revocations.revoked(vendor, &id) {
        return Err(Fault::usage(format!("{id} of {vendor} was revoked already"), "nothing is left to do"));
    }
    if !held.contains(key) {
        let known = held.iter().map(Public::id).collect::<Vec<_>>().join(", ");
        return Err(Fault::usage(format!("{id} is no key of {vendor}"), format!("name one of its keys: {known}")));
    }
    let tuf = key_id(&key.tuf());
    desk.delegation(vendor)?.keyids.retain(|id| *id != tuf);
    desk.delegations().keys.remove(&tuf);
    let since = crate::role::in_days(now, 0).to_string();
    desk.revocations.keys.push(RevokedKey { vendor: vendor.clone(), key: id.clone(), reason: args.reason.clone(), since });
    let left = held.len() - 1;
    let left = if left == 0 {
        "it has none left, so nothing of it can be installed".into()
    } else {
        format!("{} left", super::count(left, "key"))
    };
    Ok(format!("key {id} of {vendor}; {left}"))
}

/// What was revoked stays so, and a name or a number with a slip of the pen in it takes back nothing.
fn known(desk: &Desk, vendor: &str, name: &str, release: u64) -> Result<(), Fault> {
    let names = desk.packages(vendor);
    let none = |all: String| if all.is_empty() { "none".to_owned() } else { all };
    let again = "went another way than by this desk, say it again with --even-if-unknown";
    if names.contains(name) {
        let releases = desk.releases(vendor, name);
        if releases.contains(&release) {
            return Ok(());
        }
        let all = none(releases.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
        let what = format!("{vendor}'s {name} has no release {release} at this desk; it has {all}");
        return Err(Fault::usage(what, format!("name one of them. If release {release} is right and {again}")));
    }
    // as a file is called: with its version
    let whole = name_of(&format!("{vendor}/{name}"), vendor).and_then(|stem| names.get(stem));
    let near = names.iter().map(|known| (slips(name, known), known)).min().filter(|(n, known)| *n <= known.len().max(name.len()) / 2);
    let all = none(names.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
    let what = format!("{vendor} has no package \"{name}\" at this desk; it has {all}");
    let first = whole.or(near.map(|(_, near)| near)).map(|near| format!("did you mean --name {near}? ")).unwrap_or_default();
    Err(Fault::usage(what, format!("{first}If {name} is right and {again}")))
}

/// Letters to add, take out or change.
fn slips(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let least = (corner + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}

fn release_of(desk: &mut Desk, args: &Revoke, name: &str, release: u64) -> Result<String, Fault> {
    let vendor = &args.vendor;
    if desk.revocations.releases.iter().any(|r| r.vendor == *vendor && r.name == name && r.release == release) {
        return Err(Fault::usage(format!("release {release} of {vendor}'s {name} was revoked already"), "nothing is left to do"));
    }
    if !args.even_if_unknown {
        known(desk, vendor, name, release)?;
    }
    let gone: Vec<_> = desk.of_release(vendor, name, release).map(|(path, _)| path.clone()).collect();
    let list = desk.vendors.get_mut(vendor).expect("it has a delegation");
    list.targets.retain(|path, _| !gone.contains(path));
    desk.revocations.releases.push(RevokedRelease { vendor: vendor.clone(), name: name.into(), release, reason: args.reason.clone() });
    let note = if gone.is_empty() { "no package of it was published here" } else { "it is taken out of the repository's list" };
    Ok(format!("release {release} of {vendor}'s {name}; {note}"))
}
