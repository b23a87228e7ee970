//! From a plugin's folder to its package file, not signed yet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::flaw::Flaw;
use super::sbom::{self, Metadata};
use super::sealed::{ENDING, File, GOLDEN_FOLDER, README_FILE, SBOM_FILE, Sealed};
use super::statement::Claim;
use super::{COMPONENT_FILE, MANIFEST_FILE, bounded};
use crate::config::{Lock, TEXT_BYTES_MAX};
use crate::plugin::componentise::{TARGET, cargo_program};
use crate::plugin::{BuildError, Built, PluginError, build};

const LOCK_FILE: &str = "Cargo.lock";

/// A package file that was just written.
#[derive(Debug)]
pub struct Packed {
    pub path: PathBuf,
    pub sealed: Sealed,
    pub bytes: usize,
    pub built: Built,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    File(#[from] PluginError),
    #[error("{} does not say {what}. Add a line: {line}", path.display())]
    Unsaid { path: PathBuf, what: &'static str, line: &'static str },
    #[error("{} is not there: a package says in it what the device is, how it is wired and what is not read", path.display())]
    NoReadme { path: PathBuf },
    #[error("cargo does not tell what {} is made of; it says why above. Is {LOCK_FILE} up to date?", folder.display())]
    Metadata { folder: PathBuf },
    #[error("{}: {why}", path.display())]
    Lock { path: PathBuf, why: String },
    #[error("{}: {why}", path.display())]
    Flaw { path: PathBuf, why: Flaw },
}

/// `out`: the folder for the file, instead of the one where what was built lies.
pub fn pack(folder: &Path, out: Option<&Path>) -> Result<Packed, PackError> {
    let path = folder.join(MANIFEST_FILE);
    // before minutes of building
    if let Ok(manifest) = super::manifest(folder) {
        let unsaid = |what, line| Err(PackError::Unsaid { path: path.clone(), what, line });
        if manifest.vendor.is_none() {
            return unsaid("who its vendor is", "vendor = \"my-company\"");
        }
        if manifest.release == 0 {
            return unsaid("which release it is", "release = 1 # counts up with every package that you give away");
        }
        let readme = folder.join(README_FILE);
        if !readme.is_file() {
            return Err(PackError::NoReadme { path: readme });
        }
    }
    let built = build(folder)?;
    let claim = Claim::of(&built.manifest, &built.surface).expect("looked at above");
    let beside = built.folder.parent().unwrap_or(folder);
    let out = out.unwrap_or(beside).join(format!("{}.{ENDING}", claim.full_name()));
    let flawed = |why| PackError::Flaw { path: out.clone(), why };
    let mut files = vec![File::new(SBOM_FILE, bill(folder)?)];
    // what was built and checked, not what lies in the source now
    for name in [COMPONENT_FILE, MANIFEST_FILE] {
        files.push(File::new(name, read(&built.folder.join(name))?));
    }
    files.push(File::new(README_FILE, read(&folder.join(README_FILE))?));
    for inner in built.manifest.settings.values().filter_map(|setting| setting.shipped.as_deref()) {
        files.extend(inside(&built.folder, inner, |_| true)?);
    }
    if folder.join(GOLDEN_FOLDER).is_dir() {
        files.extend(inside(folder, GOLDEN_FOLDER, |name| name.extension().is_some_and(|ending| ending == "json"))?);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path); // two settings may name one folder
    let sealed = Sealed::new(files, claim).map_err(flawed)?;
    let bytes = sealed.write();
    super::replace(&out, &bytes).map_err(|why| PluginError::File { path: out.clone(), what: "cannot be written", why })?;
    Ok(Packed { path: out, bytes: bytes.len(), sealed, built })
}

fn read(path: &Path) -> Result<Vec<u8>, PackError> {
    Ok(bounded(path, super::COMPONENT_BYTES_MAX, "that is more than a package holds")?)
}

fn inside(folder: &Path, inner: &str, wanted: impl Fn(&Path) -> bool) -> Result<Vec<File>, PackError> {
    let at = folder.join(inner);
    let failed = |why: io::Error| PluginError::File { path: at.clone(), what: "cannot be read", why };
    let mut files = Vec::new();
    for entry in fs::read_dir(&at).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if wanted(&path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push(File::new(format!("{inner}/{name}"), bounded(&path, 16 * TEXT_BYTES_MAX, "that is no text that people write")?));
        }
    }
    Ok(files)
}

fn bill(folder: &Path) -> Result<Vec<u8>, PackError> {
    let unknown = || PackError::Metadata { folder: folder.to_owned() };
    let mut cargo = Command::new(cargo_program());
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET]);
    let done = cargo.current_dir(folder).stderr(Stdio::inherit()).output().map_err(|_| unknown())?;
    if !done.status.success() {
        return Err(unknown());
    }
    let metadata: Metadata = serde_json::from_slice(&done.stdout).map_err(|_| unknown())?;
    let path = metadata.workspace_root.join(LOCK_FILE);
    let lock = |why: String| PackError::Lock { path: path.clone(), why };
    let text = fs::read_to_string(&path).map_err(|e| lock(e.to_string()))?;
    let locked = Lock::parse(&text).map_err(lock)?;
    let cargo_toml = fs::canonicalize(folder.join("Cargo.toml")).map_err(|_| unknown())?;
    sbom::bill(&metadata, &cargo_toml, &locked).ok_or_else(unknown)
}
