//! `wardgate plugin verify`: whether a package file is whole, and by whose key; with a folder of trusted keys, whether it may run here.

use std::path::PathBuf;

use clap::Args;

use crate::fault::Fault;
use crate::plugin::{self, Admission, Flaw, Package, PluginError};

#[derive(Debug, Args)]
#[command(after_help = "\
Without --trust it says whether the file is whole and by which key, and nothing of whether that key is to be trusted: it prints NOT TRUSTED HERE
and ends well. With --trust a signer whose key is not in the folder is an error.

Examples:
  wardgate plugin verify pump-1.0.0.wardgate
  wardgate plugin verify --trust /etc/wardgate/vendors pump-1.0.0.wardgate")]
pub struct Verify {
    /// Folder of the public keys of trusted vendors, as `[trust] vendors` in gateway.toml
    #[arg(long, value_name = "DIR")]
    trust: Option<PathBuf>,
    #[arg(value_name = "FILE")]
    package: PathBuf,
}

pub fn run(args: &Verify) -> Result<(), Fault> {
    let sealed = plugin::sealed(&args.package).map_err(super::refused)?;
    if sealed.signers().next().is_none() {
        return Err(super::refused(PluginError::Flawed { path: args.package.clone(), why: Flaw::Unsigned }));
    }
    let claim = sealed.claim.clone();
    // what it holds must be what the statement says; whether this gateway could run it is for `inspect`
    let held = Package::unpack(&args.package, &sealed, &[]).map(Some).or_else(super::newer_is_fine);
    // what it is called is no part of it: whose it is, whole, is told first
    let misnamed = held.err().map(|why| if matches!(why, PluginError::Misnamed { .. }) { Ok(why) } else { Err(super::refused(why)) });
    let misnamed = misnamed.transpose()?;
    println!("{} is whole: {}, release {}, of {}", args.package.display(), claim.full_name(), claim.release, claim.vendor);
    println!("    digest {}", sealed.digest());
    for key in sealed.signers() {
        println!("    signed by {}", key.id());
    }
    match &args.trust {
        None => {
            println!("NOT TRUSTED HERE: no folder of trusted vendors was named, so anybody may have made that key");
            println!("next: compare the key with {}; then wardgate plugin verify --trust DIR with {0}.pub in DIR", claim.vendor);
        }
        Some(folder) => {
            let site = Admission::Site { allow_unsigned: false, vendors: Some(folder.clone()) };
            let keys = site.signers(&args.package, &sealed).map_err(super::refused)?;
            let keys: Vec<_> = keys.iter().map(|key| key.id()).collect();
            println!("trusted: {} holds {} for {}", folder.display(), keys.join(" and "), claim.vendor);
        }
    }
    if let Some(why) = misnamed {
        println!("a gateway does not take it as it is called: {why}");
    }
    Ok(())
}
