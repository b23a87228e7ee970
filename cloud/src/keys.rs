//! Which gateways are known, and the secret shared with each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wardgate_wire::{GatewayId, KEY_BYTES_MIN, Key};

use crate::output::RAW;

#[derive(Debug, Error)]
pub enum KeyError {
    #[error("--key {0}: write it as GATEWAY=FILE, for instance ward-1=/etc/wardgate/ward-1.key")]
    Form(String),
    #[error("{0:?} is not a gateway's name: 1 to 32 of a-z 0-9 - and not \"{RAW}\"; it must be the `id` in that gateway's gateway.toml")]
    Name(String),
    #[error("gateway {0} has two keys: leave one of them out")]
    Twice(GatewayId),
    #[error("cannot read {path}: {why}; give the receiver's user the right to read it")]
    Io { path: PathBuf, why: io::Error },
    #[error("the key in {0} is shorter than {KEY_BYTES_MIN} bytes: make one with `head -c 32 /dev/urandom | base64 > {file}`, and give the gateway the same file", file = .0.display())]
    Short(PathBuf),
    #[error(
        "no gateway is known, so nothing could be received: name at least one with --key GATEWAY=FILE, or put GATEWAY.key into the folder of --keys"
    )]
    None,
}

pub type Keys = BTreeMap<GatewayId, Key>;

/// White space at the end of the file is no part of the key, so that an editor's last newline does no harm.
pub fn read(path: &Path) -> Result<Key, KeyError> {
    let bytes = fs::read(path).map_err(|why| KeyError::Io { path: path.to_owned(), why })?;
    Key::new(bytes.trim_ascii_end()).ok_or_else(|| KeyError::Short(path.to_owned()))
}

fn named(name: &str) -> Result<GatewayId, KeyError> {
    GatewayId::new(name).filter(|id| id.as_str() != RAW).ok_or_else(|| KeyError::Name(name.to_owned()))
}

/// `single`: GATEWAY=FILE each; `folder`: every GATEWAY.key in it.
pub fn gather(single: &[String], folder: Option<&Path>) -> Result<Keys, KeyError> {
    let mut files = Vec::new();
    for text in single {
        let (name, file) = text.split_once('=').ok_or_else(|| KeyError::Form(text.clone()))?;
        files.push((named(name)?, PathBuf::from(file)));
    }
    if let Some(folder) = folder {
        let failed = |why| KeyError::Io { path: folder.to_owned(), why };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some(name) = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".key")) {
                files.push((named(name)?, path));
            }
        }
    }
    let mut keys = Keys::new();
    for (id, path) in files {
        if keys.insert(id.clone(), read(&path)?).is_some() {
            return Err(KeyError::Twice(id));
        }
    }
    if keys.is_empty() { Err(KeyError::None) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn keys_come_from_files_and_every_mistake_has_its_remedy() {
        let dir = Folder::new("keys");
        let file = |name: &str, content: &str| {
            fs::write(dir.join(name), content).unwrap();
            dir.join(name)
        };
        let (a, short) = (file("ward-1.key", "a secret of some length\n"), file("short", "too short\n"));
        let one = |name: &str, path: &Path| vec![format!("{name}={}", path.display())];
        assert_eq!(gather(&one("ward-2", &a), None).unwrap().len(), 1);
        assert_eq!(gather(&one("ward-2", &a), Some(&dir)).unwrap().len(), 2);
        assert!(matches!(gather(&one("ward-1", &a), Some(&dir)), Err(KeyError::Twice(_))));
        assert!(matches!(gather(&one("Ward 1", &a), None), Err(KeyError::Name(_))));
        assert!(matches!(gather(&one("raw", &a), None), Err(KeyError::Name(_))));
        assert!(matches!(gather(&["ward-1".into()], None), Err(KeyError::Form(_))));
        assert!(matches!(gather(&[], None), Err(KeyError::None)));
        assert!(matches!(gather(&one("ward-2", &dir.join("none")), None), Err(KeyError::Io { .. })));
        let told = gather(&one("ward-2", &short), None).unwrap_err().to_string();
        assert!(told.contains("/dev/urandom") && told.contains("short"), "{told}");
    }
}
