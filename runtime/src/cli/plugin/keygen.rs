//! `wardgate plugin keygen`: a vendor's pair of keys.

use std::path::PathBuf;

use clap::Args;

use crate::config::is_name;
use crate::fault::{Fault, Guilty};
use crate::gateway::random;
use crate::plugin::make_keys;

#[derive(Debug, Args)]
#[command(after_help = "\
VENDOR is a name of 1 to 40 of a-z, 0-9 and -, the one that manifest.toml says. VENDOR.key signs: keep it where no build machine and no
repository sees it, with a copy in a safe; whoever has it signs in your name. VENDOR.pub goes to the hospitals, who compare it with you by
telephone or on paper. Both are the PEM files that openssl reads and writes.")]
pub struct Keygen {
    /// As `vendor` in its plugins' manifests says it
    #[arg(value_name = "VENDOR")]
    vendor: String,
    /// The folder for both files
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

pub fn run(args: &Keygen) -> Result<(), Fault> {
    if !is_name(&args.vendor) {
        let what = format!("\"{}\" is no name for a vendor", args.vendor);
        return Err(Fault::new(Guilty::Plugin, what, "1 to 40 of a-z, 0-9 and -, beginning with a letter: acme-medical"));
    }
    let made = make_keys(&args.out, &args.vendor, &random()?).map_err(|e| super::wrong_key(&e))?;
    let (secret, public, key) = made;
    println!("{}: signs packages in the name of {}; keep it secret, it is not encrypted", secret.display(), args.vendor);
    println!("{}: for the hospitals; they compare this with you before they trust it:", public.display());
    println!("    {}", key.id());
    println!("next: wardgate plugin sign --key {} NAME-VERSION.wardgate", secret.display());
    Ok(())
}
