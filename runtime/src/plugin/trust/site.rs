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
const DIGEST_DIGITS: usize = 64; // SHA-256 in hexadecimal
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
    #[error("\"{0}\" is no digest: 64 digits of 0-9 and a-f")]
    Digest(String),
}

impl SiteError {
    pub fn remedy(&self) -> String {
        match self {
            Self::File { .. } => "correct the path".into(),
            Self::Key(why) => why.remedy(),
            Self::Unsigned { file, .. } | Self::Changed { file, .. } => {
                format!("look at what is in it; then, where the site's key is: wardgate grant sign --key site.key {}", file.display())
            }
            Self::Digest(_) => "write it as `wardgate plugin verify` shows it".into(),
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

/// What the site's key may let in all the same: a release although a newer one was seen, or a package in the place of another of its release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exception {
    pub vendor: String,
    pub name: String,
    pub release: u64,
    /// Of the package that takes another's place; none: the release may be older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Instead of a gateway's name: every gateway of the site. No gateway is called so.
pub const EVERYWHERE: &str = "*";

#[derive(Serialize, Deserialize)]
struct Override {
    #[serde(flatten)]
    what: Exception,
    /// Where it holds. None of 0.1.0 says so, and such a one holds nowhere: it could be carried to any.
    gateway: String,
    key: String,
    sig: String,
}

impl Exception {
    pub fn older(vendor: &str, name: &str, release: u64) -> Self {
        Self { vendor: vendor.to_owned(), name: name.to_owned(), release, digest: None }
    }

    pub fn other(vendor: &str, name: &str, release: u64, digest: &str) -> Self {
        Self { digest: Some(digest.to_owned()), ..Self::older(vendor, name, release) }
    }

    fn message(&self, gateway: &str) -> Vec<u8> {
        let Self { vendor, name, release, digest } = self;
        match digest {
            None => format!("wardgate allow older 2\n{gateway}\n{vendor}\n{name}\n{release}\n"),
            Some(digest) => format!("wardgate allow other 2\n{gateway}\n{vendor}\n{name}\n{release}\n{digest}\n"),
        }
        .into_bytes()
    }

    /// Whether a package may be called so.
    fn named_well(&self) -> Result<(), SiteError> {
        if let Some(odd) = [&self.vendor, &self.name].into_iter().find(|text| !is_name(text)) {
            return Err(SiteError::Name(odd.clone()));
        }
        let digest = self.digest.as_deref().unwrap_or_default();
        let hex = digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if self.digest.is_some() && !(hex && digest.len() == DIGEST_DIGITS) {
            return Err(SiteError::Digest(digest.to_owned()));
        }
        Ok(())
    }

    fn path(&self, state: &Path) -> Result<PathBuf, SiteError> {
        self.named_well()?;
        let digest = self.digest.as_deref().unwrap_or_default();
        let which = if digest.is_empty() { String::new() } else { format!(".{digest}") };
        Ok(state.join(OVERRIDES).join(format!("{}.{}.{}{which}.json", self.vendor, self.name, self.release)))
    }
}

/// An override that is signed, and lies where it does not count yet: on flash, beside where it will.
pub struct LaidOverride {
    path: PathBuf,
    aside: PathBuf,
}

/// All that can go wrong with an override goes wrong here, a disk without room too. `gateway`: where it holds, or [`EVERYWHERE`].
pub fn sign_override(state: &Path, key: &SecretKey, what: &Exception, gateway: &str) -> Result<LaidOverride, SiteError> {
    let path = what.path(state)?;
    let sig = base64::encode(&key.sign(&what.message(gateway))?);
    let said = Override { what: what.clone(), gateway: gateway.to_owned(), key: key.public().id(), sig };
    let laid = LaidOverride { aside: scratch(&path), path };
    let failed = |why| SiteError::File { path: laid.path.clone(), why };
    fs::create_dir_all(laid.path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    write(&laid.aside, &serde_json::to_vec(&said).expect("plain texts")).map_err(failed)?;
    Ok(laid)
}

impl LaidOverride {
    /// Where the gateway looks for it; answers where that is.
    pub fn put(self) -> Result<PathBuf, SiteError> {
        let path = self.path.clone();
        rename(&self.aside, &path).map_err(|why| SiteError::File { path: path.clone(), why })?;
        Ok(path)
    }
}

impl Drop for LaidOverride {
    /// One that was not put counts nowhere, and does not stay.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.aside);
    }
}

/// Whether the site's key allows exactly this, on this gateway.
pub fn is_allowed(state: &Path, key: &PublicKey, what: &Exception, gateway: &str) -> bool {
    let read = what.path(state).ok().and_then(|path| plain_file(&path, SIGNATURE_BYTES_MAX).ok());
    read.is_some_and(|(bytes, _)| allows(&bytes, key, what, gateway))
}

/// Whether this is an override's content, for exactly this, on this gateway, by this key.
pub fn allows(said: &[u8], key: &PublicKey, what: &Exception, gateway: &str) -> bool {
    let Ok(said) = serde_json::from_slice::<Override>(said) else { return false };
    let here = said.gateway == gateway || said.gateway == EVERYWHERE;
    here && base64::decode(&said.sig).is_some_and(|sig| key.signed(&what.message(&said.gateway), &sig))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = scratch(path);
    write(&aside, bytes)?;
    rename(&aside, path)
}

fn scratch(path: &Path) -> PathBuf {
    path.with_extension(format!("new-{}", std::process::id()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn rename(aside: &Path, path: &Path) -> io::Result<()> {
    fs::rename(aside, path)?;
    File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_override(state: &Path, key: &SecretKey, what: &Exception, gateway: &str) -> Result<PathBuf, SiteError> {
        sign_override(state, key, what, gateway)?.put()
    }

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
        let allowed = |what: &Exception| is_allowed(&state, &site.public(), what, "ward-3");
        let may = |vendor: &str, name: &str, release| allowed(&Exception::older(vendor, name, release));
        assert!(!may("acme", "pump", 3));
        let path = write_override(&state, &site, &Exception::older("acme", "pump", 3), "ward-3").unwrap();
        assert!(may("acme", "pump", 3));
        assert!(!may("acme", "pump", 2) && !may("acme", "other", 3) && !may("other", "pump", 3) && !may("../acme", "pump", 3));
        assert!(
            !is_allowed(&state, &SecretKey::of_seed(&[2; 32]).public(), &Exception::older("acme", "pump", 3), "ward-3"),
            "by another key"
        );
        // under another name it is still for what was signed
        fs::copy(&path, state.join("overrides/acme.pump.2.json")).unwrap();
        assert!(!may("acme", "pump", 2));
        let said = fs::read_to_string(&path).unwrap();
        fs::write(state.join("overrides/acme.pump.2.json"), said.replace("\"release\":3", "\"release\":2")).unwrap();
        assert!(!may("acme", "pump", 2));
        assert!(matches!(write_override(&state, &site, &Exception::older("Acme Inc", "pump", 3), "ward-3"), Err(SiteError::Name(_))));
        // one package in the place of another of its release, and no other one
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let other = |release, digest: &str| Exception::other("acme", "pump", release, digest);
        write_override(&state, &site, &other(3, &a), "ward-3").unwrap();
        assert!(allowed(&other(3, &a)) && !allowed(&other(3, &b)) && !allowed(&other(4, &a)));
        write_override(&state, &site, &other(4, &a), "ward-3").unwrap();
        assert!(!may("acme", "pump", 4), "it does not make it a release that may be older");
        assert!(matches!(write_override(&state, &site, &other(3, "../x"), "ward-3"), Err(SiteError::Digest(_))));
    }

    #[test]
    fn an_override_holds_on_the_gateway_that_it_names_or_on_all() {
        let state = crate::plugin::cache::test_folder("override-where");
        let (site, what) = (SecretKey::of_seed(&[1; 32]), Exception::older("acme", "pump", 3));
        let allowed = |gateway: &str| is_allowed(&state, &site.public(), &what, gateway);
        let path = write_override(&state, &site, &what, "ward-3").unwrap();
        assert!(allowed("ward-3") && !allowed("ward-4") && !allowed("*x"));
        // another name written into it is another text than was signed
        let said = fs::read_to_string(&path).unwrap();
        for name in ["ward-4", EVERYWHERE] {
            fs::write(&path, said.replace("ward-3", name)).unwrap();
            assert!(!allowed("ward-3") && !allowed("ward-4"), "{name}");
        }
        write_override(&state, &site, &what, EVERYWHERE).unwrap();
        assert!(allowed("ward-3") && allowed("ward-4"));
        // as 0.1.0 wrote it, for no gateway by name
        let sig = base64::encode(&site.sign(b"wardgate allow older 1\nacme\npump\n3\n").unwrap());
        for gateway in ["", ",\"gateway\":\"ward-3\""] {
            let key = site.public().id();
            let old = format!(r#"{{"vendor":"acme","name":"pump","release":3,"key":"{key}","sig":"{sig}"{gateway}}}"#);
            fs::write(&path, old).unwrap();
            assert!(!allowed("ward-3"));
        }
    }
}
