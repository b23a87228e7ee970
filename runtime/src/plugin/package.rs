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
