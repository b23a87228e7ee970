//! In whose hands lies what says whom a site trusts: the trust folder, the vendors' keys, fleet.json, the site's key. Whoever may write one of them
//! decides what runs here.

use std::fs;
use std::path::{Path, PathBuf};

use super::fleet::Fleet;
use crate::config::Trust;
use crate::keys::KEYS_MAX;
use crate::shared_file::Loose;

/// A file or a folder that somebody else than root, or the user who relies on it, may write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {how}: whoever can write it decides whom this site trusts", path.display())]
pub struct InOthersHands {
    pub path: PathBuf,
    how: Loose,
}

impl InOthersHands {
    pub fn remedy(&self) -> String {
        format!("look at what is in it, then {}", self.how.remedy(&self.path))
    }
}

/// All of them, the folders first. `me`: the user who relies on them. What is not there is nobody's.
pub fn in_others_hands(trust: &Trust, me: u32) -> Vec<InOthersHands> {
    let keys = trust.keys();
    let folders = trust.folder.iter().chain(&keys).cloned();
    let files = trust.folder.as_deref().map(Fleet::path).into_iter().chain(trust.site_key.clone());
    let inside =
        keys.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().take(KEYS_MAX).flatten().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = folders.chain(files).collect();
    let mut inside: Vec<PathBuf> = inside.collect();
    inside.sort();
    paths.extend(inside);
    paths.into_iter().filter_map(|path| how(&path, me).map(|how| InOthersHands { path, how })).collect()
}

fn how(path: &Path, me: u32) -> Option<Loose> {
    Loose::of(&fs::metadata(path).ok()?, &[0, me])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_that_another_may_write_is_named() {
        let folder = crate::plugin::cache::test_folder("hands");
        let (vendors, me) = (folder.join("vendors"), rustix::process::geteuid().as_raw());
        fs::create_dir_all(&vendors).unwrap();
        let trust = Trust { folder: Some(folder.clone()), site_key: Some(folder.join("site.pub")), ..Trust::default() };
        let all = [folder.clone(), vendors.clone(), folder.join("fleet.json"), folder.join("site.pub"), vendors.join("acme.pub")];
        for path in &all {
            assert_eq!(in_others_hands(&trust, me), [], "{}", path.display());
            if !path.exists() {
                fs::write(path, "x").unwrap();
            }
            let mode = fs::metadata(path).unwrap().permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o020)).unwrap();
            let found = in_others_hands(&trust, me);
            assert_eq!(found.iter().map(|one| &one.path).collect::<Vec<_>>(), [path]);
            assert_eq!(found[0].remedy(), format!("look at what is in it, then chmod go-w {}", path.display()));
            fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o022)).unwrap();
        }
        if me == 0 {
            rustix::fs::chown(&all[4], Some(rustix::fs::Uid::from_raw(12_345)), None).unwrap();
            let found = in_others_hands(&trust, 0);
            assert!(found.len() == 1 && found[0].to_string().contains("acme.pub belongs to user 12345"), "{found:?}");
            assert_eq!(in_others_hands(&trust, 12_345), [], "it is whoever relies on it");
        }
    }
}
