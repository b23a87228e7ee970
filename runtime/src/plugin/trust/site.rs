//! What only the site's key can say: that gateway.toml is as the site wrote it, and that one older release may come back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::is_name;
use crate::keys::{PublicKey, SecretKey, base64};

const SIGNATURE_ENDING: &str = "sig";
const OVERRIDES: &str = "overrides";
const MODE: u32 = 0o644; // signed, and no secret

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
    #[error("{} is not signed: {} is not there", file.display(), signature.display())]
    Unsigned { file: PathBuf, signature: PathBuf },
    #[error("{} is not as the site signed it: {} is by another key, or for another text", file.display(), signature.display())]
    Changed { file: PathBuf, signature: PathBuf },
    #[error("\"{0}\" is no name of a vendor or a plugin: a-z, 0-9 and -")]
    Name(String),
}

impl SiteError {
    pub fn remedy(&self) -> String {
        match self {
            Self::File { .. } => "correct the path".into(),
            Self::Unsigned { file, .. } | Self::Changed { file, .. } => {
                format!("look at what is in it; then, where the site's key is: wardgate grant sign --key site.key {}", file.display())
            }
            Self::Name(_) => "write them as `wardgate plugin inspect` shows them".into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    key: String,
    sig: String,
}

fn config_message(text: &[u8]) -> Vec<u8> {
    [b"wardgate gateway.toml 1\n".as_slice(), text].concat()
}

fn signature_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{SIGNATURE_ENDING}"));
    name.into()
}

/// Whether `text`, which was read from `file`, is what this key signed beside it.
pub fn config_signature(file: &Path, text: &str, key: &PublicKey) -> Result<(), SiteError> {
    let (file, signature) = (file.to_owned(), signature_path(file));
    let Ok(bytes) = fs::read(&signature) else { return Err(SiteError::Unsigned { file, signature }) };
    let good = serde_json::from_slice::<Signature>(&bytes).ok().and_then(|s| base64::decode(&s.sig));
    if good.is_some_and(|sig| key.signed(&config_message(text.as_bytes()), &sig)) {
        return Ok(());
    }
    Err(SiteError::Changed { file, signature })
}

/// Writes the signature beside the file, and answers where.
pub fn sign_config(file: &Path, key: &SecretKey) -> Result<PathBuf, SiteError> {
    let failed = |path: &Path, why| SiteError::File { path: path.to_owned(), why };
    let text = fs::read(file).map_err(|why| failed(file, why))?;
    let path = signature_path(file);
    let signature = Signature { key: key.public().id(), sig: base64::encode(&key.sign(&config_message(&text))) };
    put(&path, &serde_json::to_vec(&signature).expect("plain texts")).map_err(|why| failed(&path, why))?;
    Ok(path)
}

/// One release that may run although a newer one was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    pub vendor: String,
    pub name: String,
    pub release: u64,
    pub key: String,
    pub sig: String,
}

impl Override {
    fn message(vendor: &str, name: &str, release: u64) -> Vec<u8> {
        format!("wardgate allow older 1\n{vendor}\n{name}\n{release}\n").into_bytes()
    }

    fn path(state: &Path, vendor: &str, name: &str, release: u64) -> PathBuf {
        state.join(OVERRIDES).join(format!("{vendor}.{name}.{release}.json"))
    }
}

/// Writes it where the gateway looks for it, and answers where.
pub fn write_override(state: &Path, key: &SecretKey, vendor: &str, name: &str, release: u64) -> Result<PathBuf, SiteError> {
    if let Some(odd) = [vendor, name].into_iter().find(|text| !is_name(text)) {
        return Err(SiteError::Name(odd.to_owned()));
    }
    let sig = base64::encode(&key.sign(&Override::message(vendor, name, release)));
    let said = Override { vendor: vendor.to_owned(), name: name.to_owned(), release, key: key.public().id(), sig };
    let path = Override::path(state, vendor, name, release);
    let failed = |why| SiteError::File { path: path.clone(), why };
    fs::create_dir_all(path.parent().unwrap_or(state)).map_err(failed)?;
    put(&path, &serde_json::to_vec(&said).expect("plain texts")).map_err(failed)?;
    Ok(path)
}

/// Whether the site's key allows exactly this release.
pub fn may_be_older(state: &Path, key: &PublicKey, vendor: &str, name: &str, release: u64) -> bool {
    if !is_name(vendor) || !is_name(name) {
        return false;
    }
    let said = fs::read(Override::path(state, vendor, name, release)).ok();
    let said = said.and_then(|bytes| serde_json::from_slice::<Override>(&bytes).ok());
    said.and_then(|said| base64::decode(&said.sig)).is_some_and(|sig| key.signed(&Override::message(vendor, name, release), &sig))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let scratch = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&scratch)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&scratch, path)?;
    File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_counts_as_it_was_signed_and_not_otherwise() {
        let folder = crate::plugin::cache::test_folder("site");
        let file = folder.join("gateway.toml");
        let (site, other) = (SecretKey::of_seed(&[1; 32]), SecretKey::of_seed(&[2; 32]));
        fs::write(&file, "x = 1\n").unwrap();
        assert!(matches!(config_signature(&file, "x = 1\n", &site.public()), Err(SiteError::Unsigned { .. })));
        assert_eq!(sign_config(&file, &site).unwrap(), folder.join("gateway.toml.sig"));
        config_signature(&file, "x = 1\n", &site.public()).unwrap();
        assert!(matches!(config_signature(&file, "x = 2\n", &site.public()), Err(SiteError::Changed { .. })));
        assert!(matches!(config_signature(&file, "x = 1\n", &other.public()), Err(SiteError::Changed { .. })));
        fs::write(folder.join("gateway.toml.sig"), "{}").unwrap();
        assert!(matches!(config_signature(&file, "x = 1\n", &site.public()), Err(SiteError::Changed { .. })));
    }

    #[test]
    fn an_override_opens_one_release_of_one_package_by_one_key() {
        let state = crate::plugin::cache::test_folder("override");
        let site = SecretKey::of_seed(&[1; 32]);
        let may = |vendor: &str, name: &str, release| may_be_older(&state, &site.public(), vendor, name, release);
        assert!(!may("acme", "pump", 3));
        let path = write_override(&state, &site, "acme", "pump", 3).unwrap();
        assert!(may("acme", "pump", 3));
        assert!(!may("acme", "pump", 2) && !may("acme", "other", 3) && !may("other", "pump", 3) && !may("../acme", "pump", 3));
        assert!(!may_be_older(&state, &SecretKey::of_seed(&[2; 32]).public(), "acme", "pump", 3), "by another key");
        // under another name it is still for what was signed
        fs::copy(&path, state.join("overrides/acme.pump.2.json")).unwrap();
        assert!(!may("acme", "pump", 2));
        let said = fs::read_to_string(&path).unwrap();
        fs::write(state.join("overrides/acme.pump.2.json"), said.replace("\"release\":3", "\"release\":2")).unwrap();
        assert!(!may("acme", "pump", 2));
        assert!(matches!(write_override(&state, &site, "Acme Inc", "pump", 3), Err(SiteError::Name(_))));
    }
}
