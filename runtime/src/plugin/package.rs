//! A package: one signed file NAME-VERSION.wardgate, or at a developer's desk a folder NAME-VERSION with plugin.wasm and manifest.toml.
//! Everything about it that can be checked without compiling is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{PluginError, Surface, surface};
use crate::config::{Link, Manifest, Shipped, TEXT_BYTES_MAX, is_name, nearest_path};
use crate::contract::Granted;
use crate::keys::PublicKey;

mod flaw;
mod oci;
pub mod pack;
mod sbom;
mod sealed;
mod statement;
mod tar;
mod trust;
mod vendor;

pub use flaw::Flaw;
pub use sbom::{Summary as BillSummary, crates as bill_crates};
use sealed::FILE_BYTES_MAX;
pub use sealed::{ENDING, File as Member, GOLDEN_FOLDER, README_FILE, SBOM_FILE, Sealed};
pub use statement::Claim;
pub use trust::{Admission, Distrust, Signed};
pub use vendor::Vendors;

pub const COMPONENT_FILE: &str = "plugin.wasm";
pub const MANIFEST_FILE: &str = "manifest.toml";

pub const COMPONENT_BYTES_MAX: u64 = 4 << 20; // a Rust or C adapter has 40 kB, a JavaScript one 1.6 MB; more does not compile on a Pi
pub const MANIFEST_BYTES_MAX: u64 = 64 << 10; // a page of text is 4 kB
/// Texts that a package may carry for one setting.
pub const SHIPPED_MAX: usize = 64; // a map for each device of a hospital's plant; 4 MB at most, as the component

/// A package that has been read and whose component matches its manifest.
#[derive(Clone, Debug)]
pub struct Package {
    /// The file, or the folder.
    pub path: PathBuf,
    /// Who signed it; none: a folder, which nobody signs.
    pub signed: Option<Signed>,
    pub manifest: Manifest,
    pub surface: Surface,
    pub component: Vec<u8>,
    /// Texts for its settings, which a site may name.
    pub shipped: Shipped,
    /// SHA-256 of the component.
    pub hash: [u8; 32],
}

impl Package {
    /// On a site that trusts no vendor yet.
    pub fn open(folder: &Path, allow_unsigned: bool) -> Result<Self, PluginError> {
        Self::admit(folder, &Admission::Site { allow_unsigned, vendors: None })
    }

    pub fn admit(path: &Path, admission: &Admission) -> Result<Self, PluginError> {
        if path.extension().is_some_and(|ending| ending == ENDING) {
            let sealed = sealed(path)?;
            let signers = admission.signers(path, &sealed)?;
            return Self::unpack(path, &sealed, &signers);
        }
        if !path.exists() {
            return Err(PluginError::NotThere { path: path.to_owned(), near: sealed_beside(path).or_else(|| nearest_path(path)) });
        }
        if !path.is_dir() {
            return Err(PluginError::Unnamed { path: path.to_owned() });
        }
        if !admission.takes_folders() {
            return Err(PluginError::Unsigned { folder: path.to_owned() });
        }
        Self::open_folder(path)
    }

    fn open_folder(folder: &Path) -> Result<Self, PluginError> {
        let manifest = manifest(folder)?;
        if folder.file_name().is_none_or(|name| name != manifest.full_name().as_str()) {
            return Err(PluginError::Misnamed { folder: folder.to_owned(), holds: manifest.full_name() });
        }
        let path = folder.join(COMPONENT_FILE);
        let component =
            bounded(&path, COMPONENT_BYTES_MAX, "an adapter in Rust or C is far smaller, and this would not compile on a small gateway")?;
        let shipped = shipped(folder, &manifest)?;
        let surface = Surface::read(&component).map_err(|why| PluginError::Refused { plugin: manifest.full_name(), why })?;
        Self::matching(folder, None, manifest, surface, component, shipped)
    }

    /// What a whole file holds, once the statement about it agrees with it. `signers`: those that are trusted.
    pub fn unpack(path: &Path, sealed: &Sealed, signers: &[PublicKey]) -> Result<Self, PluginError> {
        let flawed = |why| PluginError::Flawed { path: path.to_owned(), why };
        let (manifest, surface) = contents(sealed).map_err(flawed)?;
        if path.file_stem().is_none_or(|name| name != sealed.claim.full_name().as_str()) {
            return Err(PluginError::Misnamed { folder: path.to_owned(), holds: format!("{}.{ENDING}", sealed.claim.full_name()) });
        }
        if version(&sealed.claim.minimum_gateway) > version(env!("CARGO_PKG_VERSION")) {
            let missing = surface.links().err().map(|why| why.to_string());
            return Err(PluginError::NeedsGateway { plugin: manifest.full_name(), needs: sealed.claim.minimum_gateway.clone(), missing });
        }
        let shipped = shipped_inside(sealed, &manifest).map_err(flawed)?;
        let component = sealed.file(COMPONENT_FILE).expect("every package has one").bytes.clone();
        let signed = Signed::of(sealed, signers);
        Self::matching(path, signed, manifest, surface, component, shipped)
    }

    fn matching(
        path: &Path,
        signed: Option<Signed>,
        manifest: Manifest,
        surface: Surface,
        component: Vec<u8>,
        shipped: Shipped,
    ) -> Result<Self, PluginError> {
        surface.matches(&manifest).map_err(|why| PluginError::Refused { plugin: manifest.full_name(), why })?;
        let hash = Sha256::digest(&component).into();
        Ok(Self { path: path.to_owned(), signed, manifest, surface, component, shipped, hash })
    }

    /// What it may import on a site that grants these links.
    pub fn granted(&self, site: &BTreeSet<Link>) -> Result<Granted, PluginError> {
        surface::granted(&self.manifest, site).map_err(|why| PluginError::Refused { plugin: self.manifest.full_name(), why })
    }
}

/// The file of that name, where only its ending was forgotten.
fn sealed_beside(path: &Path) -> Option<PathBuf> {
    let file = path.with_file_name(format!("{}.{ENDING}", path.file_name()?.to_str()?));
    file.is_file().then_some(file)
}

/// A package file that is whole, whoever signed it.
pub fn sealed(path: &Path) -> Result<Sealed, PluginError> {
    if path.is_dir() {
        return Err(PluginError::NoFile { path: path.to_owned() });
    }
    if !path.is_file() {
        return Err(PluginError::NotThere { path: path.to_owned(), near: nearest_path(path) });
    }
    let bytes = bounded(path, FILE_BYTES_MAX as u64, "its vendor must make it smaller")?;
    Sealed::read(&bytes).map_err(|why| PluginError::Flawed { path: path.to_owned(), why })
}

/// Its manifest, once the statement agrees with it and with the component.
pub fn manifest_inside(path: &Path, sealed: &Sealed) -> Result<Manifest, PluginError> {
    contents(sealed).map(|(manifest, _)| manifest).map_err(|why| PluginError::Flawed { path: path.to_owned(), why })
}

pub fn write_sealed(path: &Path, sealed: &Sealed) -> Result<(), PluginError> {
    replace(path, &sealed.write()).map_err(|why| PluginError::File { path: path.to_owned(), what: "cannot be written", why })
}

/// In one piece: whoever reads at this moment sees the old file or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let scratch = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&scratch, bytes).and_then(|()| std::fs::rename(&scratch, path))
}

/// What manifest and component say, which is what the statement says of them.
fn contents(sealed: &Sealed) -> Result<(Manifest, Surface), Flaw> {
    let bytes = |name| &sealed.file(name).expect("every package has one").bytes;
    let text = std::str::from_utf8(bytes(MANIFEST_FILE));
    let text = text.map_err(|e| Flaw::Document { name: MANIFEST_FILE.into(), why: e.to_string() })?;
    let manifest = Manifest::parse(text).map_err(Flaw::Manifest)?;
    let surface = Surface::read(bytes(COMPONENT_FILE)).map_err(Flaw::Component)?;
    let nobody = || Flaw::Claim { field: "vendor", said: sealed.claim.vendor.clone(), held: String::new() };
    sealed.claim.agrees(&Claim::of(&manifest, &surface).ok_or_else(nobody)?)?;
    Ok((manifest, surface))
}

/// As [`shipped`], from the file; what no setting names has no place in a package.
fn shipped_inside(sealed: &Sealed, manifest: &Manifest) -> Result<Shipped, Flaw> {
    let mut shipped: Shipped = manifest.settings.values().filter_map(|s| s.shipped.clone()).map(|inner| (inner, BTreeMap::new())).collect();
    for file in sealed.files() {
        let Some((folder, name)) = file.path.split_once('/').filter(|(folder, _)| *folder != GOLDEN_FOLDER) else { continue };
        let odd = || Flaw::Extra { name: file.path.clone() };
        let texts = shipped.get_mut(folder).ok_or_else(odd)?;
        let name = Path::new(name).file_stem().and_then(|stem| stem.to_str()).filter(|name| is_name(name)).ok_or_else(odd)?;
        if file.bytes.len() as u64 > TEXT_BYTES_MAX {
            return Err(Flaw::MemberTooLarge { name: file.path.clone(), bytes: file.bytes.len(), most: TEXT_BYTES_MAX as usize });
        }
        let text = String::from_utf8(file.bytes.clone()).map_err(|e| Flaw::Document { name: file.path.clone(), why: e.to_string() })?;
        if texts.insert(name.to_owned(), text).is_some() || texts.len() > SHIPPED_MAX {
            return Err(odd());
        }
    }
    Ok(shipped)
}

/// For comparing: 0.10.0 is newer than 0.9.0.
fn version(text: &str) -> Vec<u64> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// What the folders hold that the manifest's settings name: plain files, called by their name without its ending.
pub(super) fn shipped(folder: &Path, manifest: &Manifest) -> Result<Shipped, PluginError> {
    let inner = manifest.settings.values().filter_map(|setting| setting.shipped.as_ref());
    inner.map(|inner| Ok((inner.clone(), texts(&folder.join(inner))?))).collect()
}

fn texts(folder: &Path) -> Result<BTreeMap<String, String>, PluginError> {
    let unreadable = |why| PluginError::File { path: folder.to_owned(), what: "cannot be read", why };
    let wrong = |why| PluginError::Shipped { path: folder.to_owned(), why };
    let mut texts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        // no link: it would carry what lies elsewhere on this machine
        if !is_name(name) || !entry.file_type().map_err(unreadable)?.is_file() {
            return Err(wrong(format!("holds {:?}: only plain files with names of a-z, 0-9 and - are carried", entry.file_name())));
        }
        let text = String::from_utf8(bounded(&path, TEXT_BYTES_MAX, "a setting is a text that people write")?);
        let text = text.map_err(|_| wrong(format!("holds {:?}, which is not UTF-8 text", entry.file_name())))?;
        if texts.insert(name.to_owned(), text).is_some() {
            return Err(wrong(format!("holds {name} twice, with different endings")));
        }
        if texts.len() > SHIPPED_MAX {
            return Err(wrong(format!("holds more than {SHIPPED_MAX} files")));
        }
    }
    Ok(texts)
}

/// The manifest in a folder, whatever the folder is called.
pub fn manifest(folder: &Path) -> Result<Manifest, PluginError> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = bounded(&path, MANIFEST_BYTES_MAX, "a manifest is a page of text")?;
    let text = String::from_utf8(bytes).map_err(|e| PluginError::File {
        path: path.clone(),
        what: "is not text",
        why: std::io::Error::new(std::io::ErrorKind::InvalidData, e.utf8_error()),
    })?;
    Manifest::parse(&text).map_err(|why| PluginError::Manifest { path, why })
}

pub(super) fn bounded(path: &Path, bytes_max: u64, why: &'static str) -> Result<Vec<u8>, PluginError> {
    let failed = |why| PluginError::File { path: path.to_owned(), what: "cannot be read", why };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(PluginError::TooLarge { path: path.to_owned(), bytes_max, why });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_is_plain_bounded_text_with_plain_names() {
        let folder = std::env::temp_dir().join(format!("wardgate-shipped-{}", std::process::id()));
        let maps = folder.join("maps");
        let anew = || {
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir_all(&maps).expect("a folder");
            std::fs::write(maps.join("smc-hrs.map"), "x holding 0 u16").expect("written");
        };
        let says = || texts(&maps).expect_err("refused").to_string();
        anew();
        assert_eq!(texts(&maps).expect("good"), BTreeMap::from([("smc-hrs".to_owned(), "x holding 0 u16".to_owned())]));
        std::fs::write(maps.join("smc-hrs.txt"), "").expect("written");
        assert!(says().contains("smc-hrs twice"), "{}", says());
        for name in ["README.md", ".hidden", "a b.map"] {
            anew();
            std::fs::write(maps.join(name), "").expect("written");
            assert!(says().contains(&format!("{name:?}: only plain files")), "{}", says());
        }
        anew();
        std::os::unix::fs::symlink("/etc/hostname", maps.join("host.map")).expect("a link");
        assert!(says().contains("\"host.map\": only plain files"), "{}", says());
        anew();
        std::fs::write(maps.join("latin.map"), b"\xE4").expect("written");
        assert!(says().contains("not UTF-8"), "{}", says());
        anew();
        std::fs::write(maps.join("large.map"), vec![b'#'; TEXT_BYTES_MAX as usize + 1]).expect("written");
        assert!(says().contains("larger than 65536 bytes"), "{}", says());
        anew();
        (0..SHIPPED_MAX).for_each(|n| std::fs::write(maps.join(format!("m{n}.map")), "").expect("written"));
        assert!(says().contains("more than 64 files"), "{}", says());
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(says().contains("cannot be read"), "{}", says());
    }
}
