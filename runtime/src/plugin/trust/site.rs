//! What only the site's key can say: that gateway.toml is as the site wrote it, and that one older release may come back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{is_name, plain_file};
use crate::keys::{KeyError, PublicKey, SecretKey, base64};

const SIGNATURE_ENDING: &str = "sig";
const OVERRIDES: &str = "overrides";
const MODE: u32 = 0o644; // signed, and no secret
const SIGNATURE_BYTES_MAX: u64 = 4 << 10; // ours have some 200

#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: io::Error },
    #[error("{} is not signed: {} is not there", file.display(), signature.display())]
    Unsigned { file: PathBuf, signature: PathBuf },
    #[error("{} is not as the site signed it: {} is by another key, or for another text", file.display(), signature.display())]
    Changed { file: PathBuf, signature: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("\"{0}\" is no name of a vendor or a plugin: a-z, 0-9 and -")]
    Name(String),
}

impl SiteError {
    pub fn remedy(&self) -> String {
        match self {
            Self::File { .. } => "correct the path".into(),
            Self::Key(why) => why.remedy(),
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
    let Ok((bytes, _)) = plain_file(&signature, SIGNATURE_BYTES_MAX) else { return Err(SiteError::Unsigned { file, signature }) };
    if signs(&bytes, text.as_bytes(), key) {
        return Ok(());
    }
    Err(SiteError::Changed { file, signature })
}

/// Whether this is a signature file's content, for this text, by this key.
pub fn signs(signature: &[u8], text: &[u8], key: &PublicKey) -> bool {
    let said = serde_json::from_slice::<Signature>(signature).ok().and_then(|s| base64::decode(&s.sig));
    said.is_some_and(|sig| key.signed(&config_message(text), &sig))
}

/// Writes the signature beside the file, and answers where.
pub fn sign_config(file: &Path, key: &SecretKey) -> Result<PathBuf, SiteError> {
    let failed = |path: &Path, why| SiteError::File { path: path.to_owned(), why };
    let text = fs::read(file).map_err(|why| failed(file, why))?;
    let path = signature_path(file);
    let signature = Signature { key: key.public().id(), sig: base64::encode(&key.sign(&config_message(&text))?) };
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
    let sig = base64::encode(&key.sign(&Override::message(vendor, name, release))?);
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
    plain_file(&Override::path(state, vendor, name, release), SIGNATURE_BYTES_MAX)
        .is_ok_and(|(bytes, _)| allows(&bytes, key, vendor, name, release))
}

/// Whether this is an override's content, for this release, by this key.
pub fn allows(said: &[u8], key: &PublicKey, vendor: &str, name: &str, release: u64) -> bool {
    let said = serde_json::from_slice::<Override>(said).ok().and_then(|said| base64::decode(&said.sig));
    said.is_some_and(|sig| key.signed(&Override::message(vendor, name, release), &sig))
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
