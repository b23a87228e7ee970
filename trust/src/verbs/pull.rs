//! `wardgate plugin pull`: a package from a registry, into the very file that was pushed.

use std::path::PathBuf;

use clap::Args;
use oci_client::RegistryOperation;
use oci_client::manifest::OciDescriptor;

use crate::fault::Fault;
use crate::package::{self, CONFIG_TYPE, Descriptor, ENDING, FILE_BYTES_MAX, MANIFEST_TYPE, MEMBERS_MAX, Manifest, Package};
use crate::registry::{Reach, Registry};
use crate::{files, gateway};

#[derive(Debug, Args)]
#[command(after_help = "\
The file gets the name that its vendor gave it, NAME-VERSION.wardgate, and is looked at by `wardgate plugin verify` before it is put there.

Example:
  wardgate plugin pull oci://registry.example/acme/pump:1.0.0")]
pub struct Pull {
    /// Where it lies
    #[arg(value_name = "oci://HOST/NAME:TAG")]
    from: String,
    /// Where to put the file
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

pub fn run(args: &Pull) -> Result<(), Fault> {
    let registry = args.reach.registry(&args.from)?;
    let bytes = super::within(args.reach.patience, &args.from, pull(&registry))?;
    let refused = |why: String| Fault::Package { what: args.from.clone(), why };
    let claim = Package::read(&bytes).and_then(|package| package.claim()).map_err(refused)?;
    let (name, version) = (&claim.name, &claim.version);
    if !crate::client::is_name(name) || version.contains('/') {
        return Err(refused(format!("{name:?} {version:?} are no name and version")));
    }
    let path = args.into.join(format!("{name}-{version}{ENDING}"));
    if path.exists() && files::read(&path, FILE_BYTES_MAX)? != bytes {
        return Err(Fault::Exists { path });
    }
    // the gateway's reader wants the file under its own name
    let beside = files::fresh(&args.into, ".pulled")?;
    let pulled = beside.join(format!("{name}-{version}{ENDING}"));
    let done = files::write(&pulled, &bytes, files::PUBLIC_MODE)
        .and_then(|()| gateway::run("verify", &[&pulled], true))
        .and_then(|()| std::fs::rename(&pulled, &path).map_err(Fault::file(&path)));
    let _ = std::fs::remove_dir_all(&beside); // ours
    done?;
    println!("{} is there: {name} {version}, release {}, of {}", path.display(), claim.release, claim.vendor);
    println!("next: wardgate plugin verify --trust DIR {0}; or install it: wardgate plugin install {0}", path.display());
    Ok(())
}

async fn pull(registry: &Registry) -> Result<Vec<u8>, Fault> {
    registry.enter(RegistryOperation::Pull).await?;
    let refused = |why: String| Fault::Package { what: registry.name.clone(), why };
    let (bytes, _) =
        registry.client.pull_manifest_raw(&registry.image, &registry.auth, &[MANIFEST_TYPE]).await.map_err(|e| registry.said(&e))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| refused(format!("it is no package of ours: {e}")))?;
    if manifest.config.media_type != CONFIG_TYPE {
        return Err(refused(format!("it holds a {}, and no plugin", manifest.config.media_type)));
    }
    let mut left = FILE_BYTES_MAX.saturating_sub(bytes.len() as u64);
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    for named in std::iter::once(&manifest.config).chain(&manifest.layers) {
        if blobs.iter().any(|(digest, _)| *digest == named.digest) {
            continue; // two files of the same bytes are one blob
        }
        if named.size > left || blobs.len() == MEMBERS_MAX {
            return Err(refused(format!("it is larger than a package may be ({FILE_BYTES_MAX} bytes, {MEMBERS_MAX} members)")));
        }
        left -= named.size;
        blobs.push((named.digest.clone(), blob(registry, named).await?));
    }
    Ok(package::write(&bytes, &manifest, &blobs))
}

/// Not a byte more than was named.
async fn blob(registry: &Registry, named: &Descriptor) -> Result<Vec<u8>, Fault> {
    let descriptor = OciDescriptor { digest: named.digest.clone(), media_type: named.media_type.clone(), ..Default::default() };
    let room = usize::try_from(named.size).unwrap_or_default();
    let mut held = vec![0; room];
    let mut out = std::io::Cursor::new(held.as_mut_slice());
    let done = registry.client.pull_blob(&registry.image, &descriptor, &mut out).await;
    let came = out.position();
    match done {
        Ok(()) if came == named.size => Ok(held),
        Err(oci_client::errors::OciDistributionError::IoError(_)) | Ok(()) => Err(Fault::Package {
            what: registry.name.clone(),
            why: format!("{} has not the {} bytes that were named", named.digest, named.size),
        }),
        Err(why) => Err(registry.said(&why)),
    }
}
