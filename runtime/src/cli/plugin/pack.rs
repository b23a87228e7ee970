//! `wardgate plugin pack`: a plugin's folder as one file, to be signed.

use std::path::PathBuf;

use clap::Args;

use crate::fault::{Fault, Guilty};
use crate::plugin::{self, BillSummary, SBOM_FILE};

#[derive(Debug, Args)]
#[command(after_help = "\
Builds the plugin as `build` does, and puts into one file beside that folder, target/packages/NAME-VERSION.wardgate: the component,
manifest.toml, README.md, the golden cases, the texts of its settings, and a bill of materials made from its Cargo.lock. manifest.toml must say
`vendor` and `release`. The same source gives the same bytes, in any folder. The file is an OCI image layout in a tar.")]
pub struct Pack {
    /// The plugin's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The folder for the file; without it target/packages, beside what was built
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn run(args: &Pack) -> Result<(), Fault> {
    let packed = plugin::pack(&args.folder, args.out.as_deref())
        .map_err(|e| Fault::new(Guilty::Plugin, e, "correct it in the plugin's folder, then pack again"))?;
    let (claim, files) = (&packed.sealed.claim, packed.sealed.files());
    println!(
        "{}, release {}, of {}: {:.1} kB, not signed yet",
        claim.full_name(),
        claim.release,
        claim.vendor,
        packed.bytes as f64 / 1000.0
    );
    for file in files {
        println!("    {:>8}  {}", file.bytes.len(), file.path);
    }
    if let Some(bill) = packed.sealed.file(SBOM_FILE).and_then(|file| BillSummary::of(&file.bytes)) {
        println!("    {} crates went into it", bill.crates);
    }
    println!("package: {}", packed.path.display());
    println!("next: sign it (`wardgate plugin keygen {}` makes a key, once):", claim.vendor);
    println!("    wardgate plugin sign --key {}.key {}", claim.vendor, packed.path.display());
    Ok(())
}
