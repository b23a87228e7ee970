//! The whole metadata in one file: small enough for a retained message or an e-mail. Packages are not in it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::desk::{METADATA, TARGETS};
use crate::fault::Fault;
use crate::files;
use crate::role::REVOCATIONS;

pub const BUNDLE: &str = "fleet.bundle";
pub const BUNDLE_BYTES_MAX: u64 = 4 << 20; // some hundred vendors, and as many roots
const FORMAT: u32 = 1;

/// Files by their path in the repository, as texts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Bundle {
    format: u32,
    pub files: BTreeMap<String, String>,
}

impl Bundle {
    /// What a reader of this repository asks for: all roots, and of the rest what is newest.
    pub fn of(repository: &Path) -> Result<Self, Fault> {
        let mut files = BTreeMap::new();
        let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
        let metadata = repository.join(METADATA);
        for name in files::names(&metadata)?.into_iter().filter(|name| name.ends_with(".json") && !name.starts_with('.')) {
            let version = name.split_once('.').and_then(|(n, role)| Some((n.parse::<u64>().ok()?, role.to_owned())));
            match version {
                Some((n, role)) if role != "root.json" => {
                    let held = newest.entry(role).or_insert((n, name.clone()));
                    *held = std::mem::take(held).max((n, name));
                }
                _ => add(&mut files, repository, format!("{METADATA}/{name}"))?,
            }
        }
        for (_, name) in newest.into_values() {
            add(&mut files, repository, format!("{METADATA}/{name}"))?;
        }
        if let Some(digest) = revocations(&files) {
            add(&mut files, repository, format!("{TARGETS}/{digest}.{REVOCATIONS}"))?;
        }
        Ok(Self { format: FORMAT, files })
    }

    pub fn write(&self, repository: &Path) -> Result<(), Fault> {
        files::write(&repository.join(BUNDLE), &files::pretty(self), files::PUBLIC_MODE)
    }

    pub fn read(path: &Path) -> Result<Self, Fault> {
        let bundle: Self = serde_json::from_slice(&files::read(path, BUNDLE_BYTES_MAX)?).map_err(|e| Fault::broken(path, e))?;
        if bundle.format == FORMAT { Ok(bundle) } else { Err(Fault::broken(path, format!("its format is {}", bundle.format))) }
    }
}

fn add(files: &mut BTreeMap<String, String>, repository: &Path, name: String) -> Result<(), Fault> {
    let path = repository.join(&name);
    let text = String::from_utf8(files::read(&path, files::DOCUMENT_BYTES_MAX)?).map_err(|e| Fault::broken(&path, e))?;
    files.insert(name, text);
    Ok(())
}

/// The digest of the list of revocations that the newest targets name.
fn revocations(files: &BTreeMap<String, String>) -> Option<String> {
    let targets = files.iter().find(|(name, _)| name.ends_with(".targets.json"))?.1;
    let value: serde_json::Value = serde_json::from_str(targets).ok()?;
    value["signed"]["targets"][REVOCATIONS]["hashes"]["sha256"].as_str().map(str::to_owned)
}
