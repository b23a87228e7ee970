//! `wardgate plugin sign`: a vendor's signature onto a package file.

use std::path::PathBuf;

use clap::Args;

use crate::fault::Fault;
use crate::plugin::{self, SecretKey};

#[derive(Debug, Args)]
#[command(
    after_help = "The file keeps its name and gets the signature inside; what is signed names the digest of everything in it. Signing with \
                        the same key again changes nothing; a second key may sign too, while sites change over from one to the other. Whichever keys signed it, it stays \
                        the same package of the same release: where the key of one ended or was revoked, sign it by the present one.\n\nExample:\n  \
                        wardgate plugin sign --key acme.key target/packages/pump-1.0.0.wardgate"
)]
pub struct Sign {
    /// The vendor's secret key, from `wardgate plugin keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// By this key alone: signatures that are on it already are taken off
    #[arg(long)]
    alone: bool,
    /// The package, from `wardgate plugin pack`
    #[arg(value_name = "FILE")]
    package: PathBuf,
}

pub fn run(args: &Sign) -> Result<(), Fault> {
    let key = SecretKey::read(&args.key).map_err(|e| super::wrong_key(&e))?;
    let mut sealed = plugin::sealed(&args.package).map_err(super::refused)?;
    plugin::Package::unpack(&args.package, &sealed, &[]).map(Some).or_else(super::newer_is_fine).map_err(super::refused)?;
    let flawed = |why| super::refused(plugin::PluginError::Flawed { path: args.package.clone(), why });
    if args.alone {
        sealed.unsign();
    }
    sealed.sign(&key).map_err(flawed)?;
    plugin::write_sealed(&args.package, &sealed).map_err(super::refused)?;
    let claim = &sealed.claim;
    println!("{}: {}, release {}, signed in the name of {}", args.package.display(), claim.full_name(), claim.release, claim.vendor);
    println!("    by {}", key.public().id());
    for other in sealed.signers().filter(|other| **other != key.public()) {
        println!("    and before by {}; a site takes it by whichever of them it trusts for {}", other.id(), claim.vendor);
    }
    println!("next: give it to the hospital, which once puts {}.pub into its folder of trusted vendors", claim.vendor);
    println!("    wardgate plugin inspect {}", args.package.display());
    Ok(())
}
