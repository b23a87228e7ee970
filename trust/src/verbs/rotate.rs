//! `wardgate trust rotate`: a new key in the place of one of the fleet's own, or a root that speaks longer.

use clap::{Args, ValueEnum};
use tough::schema::RoleType;

use crate::desk::KEYS;
use crate::fault::Fault;
use crate::keys::{KeyId, Secret};
use crate::role::{self, Signers};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The new root is signed by enough of the old root keys and by enough of the new ones, so each gateway follows by itself, from whatever root it has.
The new secret key lies in the fleet's keys folder under a name of its own; destroy the old one when this is published.

Examples:
  wardgate trust rotate --role timestamp --fleet fleet --keys /media/root-1 --keys /media/root-2
  wardgate trust rotate --role root --replace 3 --fleet fleet --keys ...     the third root key, as `status` counts them, was lost or stolen
  wardgate trust rotate --role root --fleet fleet --keys ...                 no new key: the root speaks for another term
  wardgate trust rotate --role targets --with 'pkcs11:token=fleet;object=targets?module-path=/usr/lib/opensc-pkcs11.so&pin-source=file:/run/pin'")]
pub struct Rotate {
    /// Whose key
    #[arg(long, value_enum)]
    role: Which,
    /// Which of the root keys, counted from 1
    #[arg(long, value_name = "N")]
    replace: Option<usize>,
    /// The new key is not made here: it is one that a token holds under this address
    #[arg(long, value_name = "pkcs11:...")]
    with: Option<String>,
    #[command(flatten)]
    at: super::At,
    #[command(flatten)]
    clock: super::Clock,
}

pub fn run(args: &Rotate) -> Result<(), Fault> {
    let now = args.clock.moment()?;
    let mut desk = args.at.desk()?;
    let old = desk.root.signed.clone();
    let role = match args.role {
        Which::Root => RoleType::Root,
        Which::Targets => RoleType::Targets,
        Which::Snapshot => RoleType::Snapshot,
        Which::Timestamp => RoleType::Timestamp,
    };
    let mut root = old.clone();
    root.version = role::next(old.version);
    root.expires = role::in_days(now, desk.days.root);
    let held = old.roles[&role].keyids.clone();
    let leaving = match (args.role, args.replace) {
        (Which::Root, None) => Vec::new(),
        (Which::Root, Some(n)) => vec![n.checked_sub(1).and_then(|n| held.get(n).cloned()).ok_or_else(|| {
            Fault::usage(format!("there is no root key {n}"), format!("count from 1 to {}, as `wardgate trust status` does", held.len()))
        })?],
        (_, None) => held.clone(),
        (_, Some(_)) => return Err(Fault::usage("--replace counts root keys", "leave it away: this role has one key")),
    };
    // enough of the old keys must be here before a new one is made
    let old_signers = Signers::of("root", &old.roles[&RoleType::Root]);
    old_signers.sign(&[], &desk.ring)?;
    if args.with.is_some() && leaving.is_empty() {
        return Err(Fault::usage("--with names a new key, and none is replaced", "say which root key it replaces: --replace N"));
    }
    let mut made = None;
    if !leaving.is_empty() {
        let name = match args.role {
            Which::Root => format!("root-{}-of-{}", args.replace.unwrap_or_default(), root.version),
            _ => format!("{role}-of-{}", root.version),
        };
        let path = desk.folder().join(KEYS).join(format!("{name}.key"));
        // one that was made, and then the power went
        let secret = match &args.with {
            _ if path.exists() => Secret::read(&path)?,
            None => Secret::make(&path)?,
            Some(uri) => {
                let secret = Secret::of_token(uri)?;
                secret.keep_address(&path)?;
                secret
            }
        };
        let id = secret.id();
        root.keys.insert(id.clone(), secret.tuf());
        let roles = root.roles.get_mut(&role).expect("the old root has it");
        roles.keyids = replaced(&roles.keyids, &leaving, &id);
        desk.ring.insert(id, secret);
        made = Some(path);
    }
    root.keys.retain(|id, _| root.roles.values().any(|role| role.keyids.contains(id)));
    let signed = role::sign(root.clone(), &[old_signers, Signers::of("root", &root.roles[&RoleType::Root])], &desk.ring)?;
    desk.root = signed.clone();
    desk.roots.push(signed);
    desk.publish(now)?;
    println!("root {} speaks until {}", root.version, super::short(root.expires));
    if let Some(path) = made {
        println!("    {role}: the new key is {}; the old one signs nothing that gateways take from now on", path.display());
    }
    println!("next: carry {} to the gateways", desk.repository().display());
    Ok(())
}

/// The new key in the place of the first that leaves.
fn replaced(held: &[KeyId], leaving: &[KeyId], new: &KeyId) -> Vec<KeyId> {
    let mut ids = Vec::new();
    for id in held {
        if !leaving.contains(id) {
            ids.push(id.clone());
        } else if !ids.contains(new) {
            ids.push(new.clone());
        }
    }
    ids
}
