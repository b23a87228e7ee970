//! The folder of public keys that a site trusts, each for one vendor.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::is_name;
use crate::keys::{KEYS_MAX, KeyError, PUBLIC_ENDING, PublicKey, closed};

/// The public keys that a site trusts, each for one vendor: a folder of files VENDOR.pub or VENDOR.SOMETHING.pub.
#[derive(Clone, Debug)]
pub struct Vendors {
    pub folder: PathBuf,
    keys: Vec<(String, PublicKey)>,
}

impl Vendors {
    pub fn read(folder: &Path) -> Result<Self, KeyError> {
        let failed = |why| KeyError::File { path: folder.to_owned(), what: "the folder of trusted vendors cannot be read", why };
        closed(folder, fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o777)?;
        let mut keys = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let vendor = name.strip_suffix(&format!(".{PUBLIC_ENDING}")).and_then(|stem| stem.split('.').next());
            let vendor = vendor.filter(|vendor| is_name(vendor)).ok_or_else(|| KeyError::Named { path: path.clone() })?;
            keys.push((vendor.to_owned(), PublicKey::read(&path)?));
            if keys.len() > KEYS_MAX {
                return Err(KeyError::TooMany { path: folder.to_owned() });
            }
        }
        keys.sort();
        Ok(Self { folder: folder.to_owned(), keys })
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
        fs::write(folder.join("README"), "x").unwrap();
        assert!(matches!(Vendors::read(&folder), Err(KeyError::Named { .. })));
        fs::remove_file(folder.join("README")).unwrap();
        fs::write(folder.join("bad.pub"), "x").unwrap();
        assert!(matches!(Vendors::read(&folder), Err(KeyError::Broken { .. })));
        fs::remove_file(folder.join("bad.pub")).unwrap();
        fs::set_permissions(folder.join("other.pub"), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Vendors::read(&folder), Err(KeyError::Open { mode: 0o666, .. })));
        fs::set_permissions(folder.join("other.pub"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Vendors::read(&folder), Err(KeyError::Open { .. })));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
}
