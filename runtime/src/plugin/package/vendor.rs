//! The folder of public keys that a site trusts, each for one vendor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::is_name;
use crate::keys::{KEYS_MAX, KeyError, PUBLIC_ENDING, PublicKey, closed};

/// The public keys that a site trusts, each for one vendor: a folder of files VENDOR.pub or VENDOR.SOMETHING.pub.
#[derive(Debug)]
pub struct Vendors {
    pub folder: PathBuf,
    keys: Vec<(String, PublicKey)>,
    /// Files that are no key that counts, whose they are by their name, and why: each keeps out what it would let in, and nothing else.
    unread: Vec<(Option<String>, KeyError)>,
}

impl Vendors {
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let failed = |why| KeyError::File { path: folder.to_owned(), what: "the folder of trusted vendors cannot be read", why };
        closed(folder, fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o777)?;
        let (mut keys, mut unread) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let vendor = name.strip_suffix(&format!(".{PUBLIC_ENDING}")).and_then(|stem| stem.split('.').next());
            match vendor.filter(|vendor| is_name(vendor)) {
                None => unread.push((None, KeyError::Named { path: path.clone() })),
                Some(vendor) => match PublicKey::read(&path) {
                    Ok(key) => keys.push((vendor.to_owned(), key)),
                    Err(why) => unread.push((Some(vendor.to_owned()), why)),
                },
            }
            if keys.len() + unread.len() > KEYS_MAX {
                return Err(KeyError::TooMany { path: folder.to_owned() });
            }
        }
        keys.sort();
        Ok(Self { folder: folder.to_owned(), keys, unread })
    }

    /// What in the folder, or the folder itself, cannot be read as keys. One that others may write is told as such already.
    pub fn unread(folder: &Path) -> Vec<KeyError> {
        let mut all = match Self::read(folder) {
            Ok(read) => read.unread.into_iter().map(|(_, why)| why).collect(),
            Err(KeyError::File { why, .. }) if why.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(why) => vec![why],
        };
        all.retain(|why| !matches!(why, KeyError::Open { .. }));
        all.sort_by_key(ToString::to_string);
        all
    }

    /// Why a key of this vendor's cannot be read, where one cannot.
    pub fn unread_of(self, vendor: &str) -> Option<KeyError> {
        self.unread.into_iter().find_map(|(of, why)| (of.as_deref() == Some(vendor)).then_some(why))
    }

    pub fn trusts(&self, vendor: &str, key: &PublicKey) -> bool {
        self.keys.iter().any(|(name, trusted)| name == vendor && trusted == key)
    }

    /// Whose key this is here, whatever it signed.
    pub fn owner(&self, key: &PublicKey) -> Option<&str> {
        self.keys.iter().find(|(_, trusted)| trusted == key).map(|(vendor, _)| vendor.as_str())
    }

    /// For a person: acme, philips
    pub fn names(&self) -> String {
        let mut names: Vec<_> = self.keys.iter().map(|(vendor, _)| vendor.as_str()).collect();
        names.dedup();
        if names.is_empty() { "nobody".into() } else { names.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    #[test]
    fn the_folder_of_the_trusted_names_each_vendors_keys_and_nothing_else() {
        let folder = crate::plugin::cache::test_folder("vendors");
        let key = |n: u8| SecretKey::of_seed(&[n; 32]).public();
        for (name, n) in [("acme.pub", 1), ("acme.2027.pub", 2), ("other.pub", 3)] {
            fs::write(folder.join(name), key(n).pem()).unwrap();
        }
        let vendors = Vendors::read(&folder).unwrap();
        assert!(vendors.trusts("acme", &key(1)) && vendors.trusts("acme", &key(2)) && !vendors.trusts("acme", &key(3)));
        assert_eq!((vendors.owner(&key(3)), vendors.owner(&key(4)), vendors.names()), (Some("other"), None, "acme, other".into()));
        // what is no key keeps out what it would let in, and nothing else
        let unread = || {
            let vendors = Vendors::read(&folder).unwrap();
            assert!(vendors.trusts("acme", &key(1)) && vendors.trusts("acme", &key(2)));
            Vendors::unread(&folder)
        };
        assert!(unread().is_empty());
        fs::write(folder.join("README"), "x").unwrap();
        assert!(matches!(unread()[..], [KeyError::Named { .. }]));
        fs::remove_file(folder.join("README")).unwrap();
        fs::write(folder.join("bad.pub"), "x").unwrap();
        assert!(matches!(unread()[..], [KeyError::Broken { .. }]));
        let of = |vendor: &str| Vendors::read(&folder).unwrap().unread_of(vendor);
        assert!(matches!((of("bad"), of("acme")), (Some(KeyError::Broken { .. }), None)));
        fs::remove_file(folder.join("bad.pub")).unwrap();
        fs::set_permissions(folder.join("other.pub"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(unread().is_empty(), "that is told where others' hands are");
        assert!(
            matches!(of("other"), Some(KeyError::Open { mode: 0o666, .. })) && !Vendors::read(&folder).unwrap().trusts("other", &key(3))
        );
        fs::set_permissions(folder.join("other.pub"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Vendors::read(&folder), Err(KeyError::Open { .. })));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
