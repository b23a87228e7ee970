//! `wardgate plugin push`: a package into a registry, blob by blob as it lies in the file, so that whoever pulls gets the same bytes.

use std::path::PathBuf;

use clap::Args;
use oci_client::RegistryOperation;

use crate::fault::Fault;
use crate::package::{FILE_BYTES_MAX, MANIFEST_TYPE, Package};
use crate::registry::{Reach, Registry};
use crate::{files, gateway, role};

#[derive(Debug, Args)]
#[command(after_help = "\
Any OCI registry will do; the package is a CNCF Wasm artifact there. A registry need not be trusted: what counts is the vendor's signature inside.

Example:
  wardgate plugin push pump-1.0.0.wardgate oci://registry.example/acme/pump:1.0.0 --user acme --password-file secret")]
pub struct Push {
    /// The package, signed by its vendor
    #[arg(value_name = "FILE.wardgate")]
    package: PathBuf,
    /// Where to put it
    #[arg(value_name = "oci://HOST/NAME:TAG")]
    to: String,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &Push) -> Result<(), Fault> {
    let registry = args.reach.registry(&args.to)?;
    let bytes = files::read(&args.package, FILE_BYTES_MAX)?;
    let package = Package::read(&bytes).map_err(|why| Fault::Package { what: args.package.display().to_string(), why })?;
    gateway::run("verify", &[&args.package], true)?;
    super::within(args.reach.patience, &args.to, push(&registry, &package))?;
    println!("{} holds {}", args.to, args.package.display());
    println!("    its manifest: sha256:{}", role::hex(&role::digest(&package.manifest_bytes)));
    println!("next: wardgate plugin pull {}", args.to);
    Ok(())
}

async fn push(registry: &Registry, package: &Package) -> Result<(), Fault> {
    registry.enter(RegistryOperation::Push).await?;
    let said = |e| registry.said(&e);
    for named in std::iter::once(&package.manifest.config).chain(&package.manifest.layers) {
        let bytes = package.blob(&named.digest).expect("the gateway found it whole").to_vec();
        registry.client.push_blob(&registry.image, bytes, &named.digest).await.map_err(said)?;
    }
    let kind = MANIFEST_TYPE.parse().expect("a constant");
    registry.client.push_manifest_raw(&registry.image, package.manifest_bytes.clone(), kind).await.map_err(said)?;
    Ok(())
}
