//! What lies near a path that points to nothing.

use std::path::{Path, PathBuf};

use super::nearest::nearest;

/// The path that is there and differs from this one by a slip in one of its parts.
pub fn nearest_path(path: &Path) -> Option<PathBuf> {
    let here = |p: &Path| p.as_os_str().is_empty(); // above a path that begins nowhere
    let there = path.ancestors().skip(1).find(|p| here(p) || p.is_dir())?;
    let mut missing = path.strip_prefix(there).ok()?.components();
    let slip = missing.next()?.as_os_str().to_str()?;
    let names = names(if here(there) { Path::new(".") } else { there });
    let meant = nearest(slip, names.iter().map(String::as_str))?;
    let found = if missing.as_path().as_os_str().is_empty() { there.join(meant) } else { there.join(meant).join(missing.as_path()) };
    found.exists().then_some(found)
}

/// In order, so that the same folder gives the same advice.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}
