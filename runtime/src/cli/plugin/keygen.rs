//! `wardgate plugin keygen`: a vendor's pair of keys.

use std::path::PathBuf;

use clap::Args;

use crate::config::is_name;
use crate::fault::{Fault, Guilty};
use crate::gateway::random;
use crate::plugin::{SecretKey, export_key, make_keys};

#[derive(Debug, Args)]
#[command(after_help = "\
VENDOR is a name of 1 to 40 of a-z, 0-9 and -, the one that manifest.toml says. VENDOR.key signs: keep it where no build machine and no
repository sees it, with a copy in a safe; whoever has it signs in your name. VENDOR.pub goes to the hospitals, who compare it with you by
telephone or on paper. Both are the PEM files that openssl reads and writes. Where the secret lies in a token (a smart card, an HSM), make the pair
with the token's own tools, an Ed25519 one, and write VENDOR.pub of it here; wherever a key file is named, its address may stand.

Examples:
  wardgate plugin keygen acme
  wardgate plugin keygen acme --key 'pkcs11:token=acme;object=release?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so&pin-source=file:/run/pin'")]
pub struct Keygen {
    /// As `vendor` in its plugins' manifests says it
    #[arg(value_name = "VENDOR")]
    vendor: String,
    /// The folder for both files
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// No new pair: the public half of the key that a token holds under this address (PKCS#11)
    #[arg(long, value_name = "pkcs11:...")]
    key: Option<PathBuf>,
}

pub fn run(args: &Keygen) -> Result<(), Fault> {
    if !is_name(&args.vendor) {
        let what = format!("\"{}\" is no name for a vendor", args.vendor);
        return Err(Fault::new(Guilty::Plugin, what, "1 to 40 of a-z, 0-9 and -, beginning with a letter: acme-medical"));
    }
    if let Some(key) = &args.key {
        let public = SecretKey::read(key).map_err(|e| super::wrong_key(&e))?.public();
        let path = export_key(&args.out, &args.vendor, &public).map_err(|e| super::wrong_key(&e))?;
        println!("{}: for the hospitals; they compare this with you before they trust it:", path.display());
        println!("    {}", public.id());
        println!("next: wardgate plugin sign --key '{}' NAME-VERSION.wardgate", key.display());
        return Ok(());
    }
    let made = make_keys(&args.out, &args.vendor, &random()?).map_err(|e| super::wrong_key(&e))?;
    let (secret, public, key) = made;
    println!("{}: signs packages in the name of {}; keep it secret, it is not encrypted", secret.display(), args.vendor);
    println!("{}: for the hospitals; they compare this with you before they trust it:", public.display());
    println!("    {}", key.id());
    println!("next: wardgate plugin sign --key {} NAME-VERSION.wardgate", secret.display());
    Ok(())
}
