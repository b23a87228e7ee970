//! A package: until signing comes, a folder NAME-VERSION with plugin.wasm and manifest.toml. Everything about it that can be checked
//! without compiling is checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{PluginError, Surface, surface};
use crate::config::{Link, Manifest, Shipped, TEXT_BYTES_MAX, is_name, nearest_path};
use crate::contract::Granted;

pub const COMPONENT_FILE: &str = "plugin.wasm";
pub const MANIFEST_FILE: &str = "manifest.toml";

pub const COMPONENT_BYTES_MAX: u64 = 4 << 20; // a Rust or C adapter has 40 kB, a JavaScript one 1.6 MB; more does not compile on a Pi
pub const MANIFEST_BYTES_MAX: u64 = 64 << 10; // a page of text is 4 kB
/// Texts that a package may carry for one setting.
pub const SHIPPED_MAX: usize = 64; // a map for each device of a hospital's plant; 4 MB at most, as the component

/// A package that has been read and whose component matches its manifest.
#[derive(Clone, Debug)]
pub struct Package {
    pub folder: PathBuf,
    pub manifest: Manifest,
    pub surface: Surface,
    pub component: Vec<u8>,
    /// Texts for its settings, which a site may name.
    pub shipped: Shipped,
    /// SHA-256 of the component.
    pub hash: [u8; 32],
}

impl Package {
    pub fn open(folder: &Path, allow_unsigned: bool) -> Result<Self, PluginError> {
        if !allow_unsigned {
            return Err(PluginError::Unsigned { folder: folder.to_owned() });
        }
        if !folder.is_dir() {
            return Err(PluginError::NotThere { folder: folder.to_owned(), near: nearest_path(folder) });
        }
        let manifest = manifest(folder)?;
        if folder.file_name().is_none_or(|name| name != manifest.full_name().as_str()) {
            return Err(PluginError::Misnamed { folder: folder.to_owned(), holds: manifest.full_name() });
        }
        let path = folder.join(COMPONENT_FILE);
        let component =
            bounded(&path, COMPONENT_BYTES_MAX, "an adapter in Rust or C is far smaller, and this would not compile on a small gateway")?;
        let refused = |why| PluginError::Refused { plugin: manifest.full_name(), why };
        let surface = Surface::read(&component).map_err(refused)?;
        surface.matches(&manifest).map_err(refused)?;
        let hash = Sha256::digest(&component).into();
        let shipped = shipped(folder, &manifest)?;
        Ok(Self { folder: folder.to_owned(), surface, component, shipped, hash, manifest })
    }

    /// What it may import on a site that grants these links.
    pub fn granted(&self, site: &BTreeSet<Link>) -> Result<Granted, PluginError> {
        surface::granted(&self.manifest, site).map_err(|why| PluginError::Refused { plugin: self.manifest.full_name(), why })
    }
}

/// What the folders hold that the manifest's settings name: plain files, called by their name without its ending.
pub(super) fn shipped(folder: &Path, manifest: &Manifest) -> Result<Shipped, PluginError> {
    let mut all = Shipped::new();
    for inner in manifest.settings.values().filter_map(|setting| setting.shipped.as_ref()) {
        let path = folder.join(inner);
        let wrong = |why| PluginError::Shipped { path: path.clone(), why };
        let mut texts = BTreeMap::new();
        for file in std::fs::read_dir(&path).map_err(|why| PluginError::File { path: path.clone(), what: "cannot be read", why })? {
            let file = file.map_err(|why| PluginError::File { path: path.clone(), what: "cannot be read", why })?.path();
            let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            if !is_name(&name) || !file.is_file() {
                return Err(wrong(format!(
                    "holds {:?}, which is no file called by a name of a-z, 0-9 and -",
                    file.file_name().unwrap_or_default()
                )));
            }
            let text = String::from_utf8(bounded(&file, TEXT_BYTES_MAX, "a setting is a text that people write")?);
            let text = text.map_err(|_| wrong(format!("holds {name}, which is not UTF-8 text")))?;
            if texts.insert(name.clone(), text).is_some() {
                return Err(wrong(format!("holds {name} twice, with different endings")));
            }
            if texts.len() > SHIPPED_MAX {
                return Err(wrong(format!("holds more than {SHIPPED_MAX} files")));
            }
        }
        all.insert(inner.clone(), texts);
    }
    Ok(all)
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
