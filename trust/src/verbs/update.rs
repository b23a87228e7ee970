//! `wardgate trust update`: the fleet's newest metadata onto this gateway. What is taken back takes effect whatever the clock says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use crate::client::{self, Loaded};
use crate::clock::{Clock, Judged, Known, judge};
use crate::desk::{METADATA, REPOSITORY, TARGETS};
use crate::fault::Fault;
use crate::files;
use crate::keys::Public;
use crate::role;
use crate::source::Source;
use crate::state::{FLEET, Fleet, Found, Vendor};

pub const ANCHOR: &str = "root.json";
const VENDORS: &str = "vendors";

#[derive(Debug, Args)]
#[command(after_help = "\
The first time, --root names the root that the fleet's desk gave away; from then on the folder follows every new root by itself. Nothing older than
what was seen is taken. Metadata that has ended is taken too, since it may take back a key, but then nothing new is installed (exit code 4).

Examples:
  wardgate trust update --from /media/stick --to /etc/wardgate/trust --root 1.root.json
  wardgate trust update --from https://fleet.example/ward --ca hospital.pem --to /etc/wardgate/trust
  mosquitto_sub -C 1 -t fleet/trust > fleet.bundle && wardgate trust update --from fleet.bundle --to /etc/wardgate/trust")]
pub struct Update {
    /// A folder, a file fleet.bundle, or an address
    #[arg(long, value_name = "FROM")]
    from: String,
    /// The gateway's trust folder, as `[trust] folder` in gateway.toml
    #[arg(long, value_name = "DIR", default_value = "/etc/wardgate/trust")]
    to: PathBuf,
    /// The root at which trust begins; the first time only
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// What this machine's clock said at an update before was wrong, and is forgotten: no time counts as past but what the metadata proves, and its
    /// clock now
    #[arg(long)]
    clock_was_wrong: bool,
    #[command(flatten)]
    mirror: super::Mirror,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Update) -> Result<(), Fault> {
    let clock = args.clock.moment()?;
    let to = &args.to;
    let source = Source::of(&args.from, args.mirror.ca.as_deref())?;
    files::folder(to, 0o755)?;
    let _lock = files::lock(to)?;
    let root = trusted_root(to, args.root.as_deref())?;
    let datastore = to.join(METADATA);
    files::folder(&datastore, 0o755)?;
    let before = match Fleet::found(to)? {
        Found::Nothing => None,
        Found::Whole(fleet) => Some(*fleet),
        // what tough keeps still holds off whatever is older
        Found::Damaged(why) => {
            println!("{} is damaged and is written anew: {why}", to.join(FLEET).display());
            None
        }
    };
    let loaded = super::within(args.mirror.patience, &source.name(), client::load(&root, source.clone(), Some(&datastore)))?;
    if let Some(before) = &before {
        loaded.not_older(before)?;
    }
    let floor = before.as_ref().filter(|_| !args.clock_was_wrong).and_then(|fleet| fleet.floor.as_ref()?.parse().ok());
    let (fleet, judged) = fleet(&loaded, floor, clock);
    let forgotten = if args.clock_was_wrong { Some(clock.to_string()) } else { before.and_then(|fleet| fleet.forgotten) };
    let fleet = Fleet { forgotten, ..fleet };
    keep(to, &loaded, &root)?;
    // what is taken back comes first, what is newly trusted last
    fleet.write(to)?;
    materialise(&to.join(VENDORS), &fleet.vendors)?;
    tell(&fleet, &judged, to);
    if judged.stale { Err(Fault::Stale { why: stale(&fleet, &judged, clock) }) } else { Ok(()) }
}

/// The newest root that was verified here; else the one that a person named.
pub fn trusted_root(folder: &Path, named: Option<&Path>) -> Result<Vec<u8>, Fault> {
    let anchor = folder.join(ANCHOR);
    if let Some(path) = named {
        let bytes = files::read(path, files::DOCUMENT_BYTES_MAX)?;
        match files::read(&anchor, files::DOCUMENT_BYTES_MAX) {
            Ok(held) if held == bytes => {}
            Ok(_) => return Err(Fault::OtherRoot { path: path.to_owned() }),
            Err(_) => {
                println!("trust begins here at {}, sha256 {}", path.display(), role::hex(&role::digest(&bytes)));
                files::write(&anchor, &bytes, files::PUBLIC_MODE)?;
            }
        }
    }
    // tough writes the newest in two steps: after a power cut between them the first one leads there again
    let newest = files::read(&folder.join(METADATA).join(ANCHOR), files::DOCUMENT_BYTES_MAX);
    let whole = newest.ok().filter(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).is_ok());
    match whole {
        Some(bytes) if anchor.exists() => Ok(bytes),
        _ => files::read(&anchor, files::DOCUMENT_BYTES_MAX).map_err(|_| Fault::NoRoot { folder: folder.to_owned() }),
    }
}

fn fleet(loaded: &Loaded, floor: Option<Timestamp>, clock: Timestamp) -> (Fleet, Judged) {
    let known = Known { clock, issued: loaded.issued(), floor, expires: loaded.expires() };
    let judged = judge(known);
    let (root_version, timestamp_version, snapshot_version) = loaded.versions();
    let whole = |moment: Timestamp| Timestamp::from_second(moment.as_second()).unwrap_or(moment).to_string();
    let fleet = Fleet {
        format: Fleet::FORMAT,
        root_version,
        timestamp_version,
        snapshot_version,
        expires: whole(known.expires),
        checked: (judged.clock == Clock::Agrees).then(|| whole(clock)),
        issued: known.issued.map(whole),
        floor: judged.floor.map(whole),
        forgotten: None, // whoever asks for this knows
        revoked_keys: loaded.revocations.keys.clone(),
        revoked_releases: loaded.revocations.releases.clone(),
        vendors: loaded.vendors(),
        packages: Some(loaded.named()),
        key_terms: loaded.revocations.terms.clone(),
        digest: String::new(), // its writer reckons it
    };
    (fleet, judged)
}

/// The very bytes that were verified, so that an install can verify them again, without a network, and another gateway can have them; older
/// roots stay.
fn keep(to: &Path, loaded: &Loaded, root: &[u8]) -> Result<(), Fault> {
    let repository = to.join(REPOSITORY);
    let version = serde_json::from_slice::<serde_json::Value>(root).ok().and_then(|root| root["signed"]["version"].as_u64());
    let begun = repository.join(METADATA).join(format!("{}.root.json", version.unwrap_or_default()));
    if !begun.exists() {
        files::folder(&repository.join(METADATA), 0o755)?;
        files::write(&begun, root, files::PUBLIC_MODE)?;
    }
    for (name, bytes) in &loaded.seen {
        let path = repository.join(name);
        files::folder(path.parent().expect("below the repository"), 0o755)?;
        files::write(&path, bytes, files::PUBLIC_MODE)?;
    }
    for folder in [METADATA, TARGETS] {
        for name in files::names(&repository.join(folder))? {
            if !name.ends_with(".root.json") && !loaded.seen.contains_key(&format!("{folder}/{name}")) {
                files::remove(&repository.join(folder).join(name))?;
            }
        }
    }
    // tough leaves each version of a vendor's list there and never looks at it again
    for name in files::names(&to.join(METADATA))?.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
        files::remove(&to.join(METADATA).join(name))?;
    }
    Ok(())
}

/// The vendors' keys as files, and no others.
fn materialise(folder: &Path, vendors: &[Vendor]) -> Result<(), Fault> {
    files::folder(folder, 0o755)?;
    let keys = vendors.iter().flat_map(|vendor| vendor.keys.iter().filter_map(|id| Some((&vendor.vendor, Public::of_id(id)?))));
    let wanted: Vec<_> = keys.map(|(vendor, key)| (format!("{vendor}.{}.pub", key.short()), key.pem())).collect();
    let names: BTreeSet<_> = wanted.iter().map(|(name, _)| name).collect();
    for name in files::names(folder)?.iter().filter(|name| !names.contains(name)) {
        files::remove(&folder.join(name))?;
    }
    for (name, pem) in &wanted {
        files::write(&folder.join(name), pem.as_bytes(), files::PUBLIC_MODE)?;
    }
    Ok(())
}

fn tell(fleet: &Fleet, judged: &Judged, to: &Path) {
    println!("{}: root {}, timestamp {}, snapshot {}", to.display(), fleet.root_version, fleet.timestamp_version, fleet.snapshot_version);
    super::status::tell_trust(fleet);
    if judged.clock == Clock::Behind {
        let before = match (&fleet.floor, &fleet.issued) {
            (Some(floor), issued) if Some(floor) != issued.as_ref() => {
                format!("{floor}, which it said itself at an update before (if that was wrong: --clock-was-wrong)")
            }
            _ => "what was signed".to_owned(),
        };
        println!("this machine's clock is before {before}, so it is not believed; whether newer metadata is kept from it cannot be told");
    }
}

pub fn stale(fleet: &Fleet, judged: &Judged, clock: Timestamp) -> String {
    let end = fleet.expires.parse().map_or_else(|_| fleet.expires.clone(), super::short);
    match judged.clock {
        Clock::Behind => {
            format!(
                "it ended on {end}, and a later time was known here already; if a wrong clock said that: wardgate trust update --from FOLDER-OR-ADDRESS --clock-was-wrong"
            )
        }
        _ => format!("it ended on {end}, and this machine's clock says {}", super::short(clock)),
    }
}
