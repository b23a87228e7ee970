//! `wardgate trust init`: the keys of a fleet, and its first metadata.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use tough::schema::{RoleType, Root};

use crate::desk::{Days, Desk, KEYS, METADATA, REPOSITORY};
use crate::fault::Fault;
use crate::files;
use crate::keys::{Secret, key_id};
use crate::role::{self, Ring, SPEC, Signers};

const ROOT_KEYS_MAX: u64 = 9; // more people than ever meet for it

#[derive(Debug, Args)]
#[command(after_help = "\
Makes DIR/keys (keep it away from gateways) and DIR/repository (nothing in it is secret; it travels by stick, HTTP or as one file). Root keys are
needed only to replace keys: move each to a medium of its own, locked away in another place. Targets signs what may be installed; snapshot and
timestamp sign that it is new, and must be used again before their days are over.

Example:
  wardgate trust init fleet")]
pub struct Init {
    /// The fleet's folder, which is made
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How many root keys to make
    #[arg(long, value_name = "N", default_value_t = 3)]
    root_keys: u64,
    /// How many root keys must sign together
    #[arg(long, value_name = "N", default_value_t = 2)]
    threshold: u64,
    /// For how many days a root speaks
    #[arg(long, value_name = "N", default_value_t = 365)]
    root_days: u32,
    /// For how many days the lists of vendors and packages speak
    #[arg(long, value_name = "N", default_value_t = 180)]
    targets_days: u32,
    /// For how many days a snapshot speaks
    #[arg(long, value_name = "N", default_value_t = 60)]
    snapshot_days: u32,
    /// For how many days a timestamp speaks: how long a gateway may be without news and still install
    #[arg(long, value_name = "N", default_value_t = 60)]
    timestamp_days: u32,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Init) -> Result<(), Fault> {
    if args.threshold == 0 || args.threshold > args.root_keys || args.root_keys > ROOT_KEYS_MAX {
        return Err(Fault::usage(
            format!("{} of {} root keys cannot be", args.threshold, args.root_keys),
            format!(
                "name at most {ROOT_KEYS_MAX} root keys, and a threshold from 1 to as many; 2 of 3 survive a key that is lost and one that is stolen"
            ),
        ));
    }
    let now = args.clock.moment()?;
    let days = Days { root: args.root_days, targets: args.targets_days, snapshot: args.snapshot_days, timestamp: args.timestamp_days };
    let keys = args.folder.join(KEYS);
    if keys.exists() {
        return Err(Fault::Exists { path: keys });
    }
    files::folder(&args.folder, 0o755)?;
    files::folder(&keys, files::SECRET_FOLDER_MODE)?;
    let mut ring = Ring::new();
    let root = first_root(&keys, args, &mut ring, role::in_days(now, days.root))?;
    let signed = role::sign(root.clone(), &[Signers::of("root", &root.roles[&RoleType::Root])], &ring)?;
    let mut desk = Desk::begin(&args.folder, days, ring, signed)?;
    desk.publish(now)?;
    tell(args, now, days)
}

fn first_root(keys: &Path, args: &Init, ring: &mut Ring, expires: Timestamp) -> Result<Root, Fault> {
    let mut root = Root {
        spec_version: SPEC.into(),
        consistent_snapshot: true,
        version: role::first(),
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    let mut make = |name: String| -> Result<_, Fault> {
        let secret = Secret::make(&keys.join(format!("{name}.key")))?;
        let key = secret.tuf();
        root.keys.insert(key_id(&key), key.clone());
        ring.insert(secret.id(), secret);
        Ok(key)
    };
    let roots = (1..=args.root_keys).map(|n| make(format!("root-{n}"))).collect::<Result<Vec<_>, _>>()?;
    let mut roles = vec![(RoleType::Root, roots, NonZeroU64::new(args.threshold).unwrap_or(NonZeroU64::MIN))];
    for (role, name) in [(RoleType::Targets, "targets"), (RoleType::Snapshot, "snapshot"), (RoleType::Timestamp, "timestamp")] {
        roles.push((role, vec![make(name.to_owned())?], NonZeroU64::MIN));
    }
    root.roles = roles.into_iter().map(|(role, keys, threshold)| (role, role::role_keys(&keys, threshold))).collect();
    Ok(root)
}

fn tell(args: &Init, now: Timestamp, days: Days) -> Result<(), Fault> {
    let folder = args.folder.display();
    let root = args.folder.join(REPOSITORY).join(METADATA).join("1.root.json");
    let fingerprint = role::hex(&role::digest(&files::read(&root, files::DOCUMENT_BYTES_MAX)?));
    println!("{folder}: a fleet with {} root keys, of which {} must sign together", args.root_keys, args.threshold);
    println!("    {folder}/keys         secret: move each root-N.key to a medium of its own; they are needed only to replace keys");
    println!("    {folder}/repository   what travels: by stick, over HTTP, or as the one file fleet.bundle");
    println!("    {} is where each gateway's trust begins; its fingerprint:", root.display());
    println!("    sha256 {fingerprint}");
    println!(
        "gateways install until {} at most without news: sign anew before, with `wardgate trust publish --fleet {folder}`",
        super::short(role::in_days(now, days.timestamp.min(days.snapshot)))
    );
    println!("next: wardgate trust add-vendor NAME --key NAME.pub --fleet {folder}");
    println!("on a gateway: wardgate trust update --from {folder}/repository --to /etc/wardgate/trust --root {}", root.display());
    Ok(())
}
