//! In whose hands lies what says whom a site trusts: the trust folder, the vendors' keys, fleet.json, the site's key, the state folder. Whoever may
//! write one of them decides what runs here. Root may, and the user as whom the gateway runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fleet::Fleet;
use crate::config::Trust;
use crate::keys::KEYS_MAX;
use crate::shared_file::Loose;

/// A file or a folder that somebody else than root, or the gateway's own user, may write.
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

/// The user as whom a gateway runs, for its verbs: whoever asks, or where root asks, to whom the state folder belongs, so that root judges as the
/// gateway does. That counts only on the word of a gateway.toml that is root's: whoever else wrote it would name a folder of their own.
pub fn gateways_user(config: &Path, state: &Path) -> u32 {
    let me = rustix::process::geteuid().as_raw();
    let roots = || fs::metadata(config).is_ok_and(|about| Loose::of(&about, &[0]).is_none());
    match fs::metadata(state) {
        Ok(about) if me == 0 && roots() => about.uid(),
        _ => me, // who is about to make it, where there is none yet
    }
}

/// All of them that others than root and `me` may write, the folders first. What is not there is nobody's.
pub fn in_others_hands(trust: &Trust, state: &Path, me: u32) -> Vec<InOthersHands> {
    let keys = trust.keys();
    let state = keys.is_some().then(|| state.to_owned()); // who trusts nobody has nothing to lose there
    let folders = trust.folder.iter().chain(&keys).chain(&state).cloned();
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

    //= PROMISES.md#P277
    #[test]
    fn each_that_another_may_write_is_named() {
        let folder = crate::plugin::cache::test_folder("hands");
        let (vendors, state, me) = (folder.join("vendors"), folder.join("state"), rustix::process::geteuid().as_raw());
        fs::create_dir_all(&vendors).unwrap();
        let trust = Trust { folder: Some(folder.clone()), site_key: Some(folder.join("site.pub")), ..Trust::default() };
        let config = folder.join("gateway.toml");
        fs::write(&config, "").unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
        let whose = || gateways_user(&config, &state);
        let in_others_hands = |trust: &Trust, state: &Path| in_others_hands(trust, state, whose());
        assert_eq!((in_others_hands(&trust, &state), whose()), (Vec::new(), me), "nothing of it is there yet");
        fs::create_dir_all(&state).unwrap();
        let all =
            [folder.clone(), vendors.clone(), state.clone(), folder.join("fleet.json"), folder.join("site.pub"), vendors.join("acme.pub")];
        for path in &all {
            assert_eq!(in_others_hands(&trust, &state), [], "{}", path.display());
            if !path.exists() {
                fs::write(path, "x").unwrap();
            }
            let mode = fs::metadata(path).unwrap().permissions().mode();
            fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o020)).unwrap();
            let found = in_others_hands(&trust, &state);
            assert_eq!(found.iter().map(|one| &one.path).collect::<Vec<_>>(), [path]);
            assert_eq!(found[0].remedy(), format!("look at what is in it, then chmod go-w {}", path.display()));
            fs::set_permissions(path, fs::Permissions::from_mode(mode & !0o022)).unwrap();
        }
        if me == 0 {
            let give = |path: &Path, to: u32| rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(to)), None).unwrap();
            give(&all[5], 12_345);
            let found = in_others_hands(&trust, &state);
            assert!(found.len() == 1 && found[0].to_string().contains("acme.pub belongs to user 12345"), "{found:?}");
            // all of it is of the gateway's own user: root asks, and it is in good hands; nobody else's is
            all.iter().for_each(|path| give(path, 12_345));
            assert_eq!((in_others_hands(&trust, &state), whose()), (Vec::new(), 12_345));
            // nobody names himself by a gateway.toml of his own, or by one that he may write
            give(&config, 12_345);
            assert_eq!((in_others_hands(&trust, &state).len(), whose()), (all.len(), 0));
            give(&config, 0);
            fs::set_permissions(&config, fs::Permissions::from_mode(0o664)).unwrap();
            assert_eq!((in_others_hands(&trust, &state).len(), whose()), (all.len(), 0));
            fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
            give(&all[5], 12_346);
            let found = in_others_hands(&trust, &state);
            assert!(found.len() == 1 && found[0].to_string().contains("acme.pub belongs to user 12346"), "{found:?}");
        }
    }
}
