//! Files: read with a bound, written in one piece and flushed, locked against a second writer.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::Fault;

/// Metadata and states: thousands of revocations fit.
pub const DOCUMENT_BYTES_MAX: u64 = 1 << 20;
pub const PUBLIC_MODE: u32 = 0o644;
pub const SECRET_MODE: u32 = 0o600;
pub const SECRET_FOLDER_MODE: u32 = 0o700;

pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(Fault::file(path))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(Fault::file(path))?;
    if bytes.len() as u64 > most { Err(Fault::TooLarge { path: path.to_owned(), most }) } else { Ok(bytes) }
}

/// Of somebody else's medium: a pipe or a device there would be waited for without end.
pub fn read_plain(path: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(Fault::broken(path, "it is no plain file")),
        _ => read(path, most),
    }
}

pub fn document<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    serde_json::from_slice(&read(path, DOCUMENT_BYTES_MAX)?).map_err(|e| Fault::broken(path, e))
}

/// For people too: sorted keys, a line each.
pub fn pretty(value: &impl Serialize) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("plain texts and numbers");
    let mut bytes = serde_json::to_vec_pretty(&value).expect("a value");
    bytes.push(b'\n');
    bytes
}

pub fn folder(path: &Path, mode: u32) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(Fault::file(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Fault::file(path))
}

/// Folders of processes that were killed, by the number that this one has too.
const LEFT_OVER_MAX: u32 = 64;

/// A folder that was not there before and is its owner's alone: nobody can have put anything into it, or change it.
pub fn fresh(inside: &Path, name: &str) -> Result<PathBuf, Fault> {
    let mut n = 0;
    loop {
        let path = inside.join(format!("{name}-{}-{n}", std::process::id()));
        match fs::DirBuilder::new().mode(SECRET_FOLDER_MODE).create(&path) {
            Ok(()) => return Ok(path),
            Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists && n < LEFT_OVER_MAX => n += 1,
            Err(why) => return Err(Fault::file(&path)(why)),
        }
    }
}

/// The whole file or the old one, whenever the power goes.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let beside = parent.join(format!(".{name}.new"));
    let _ = fs::remove_file(&beside); // left over by a power cut; its mode would stay
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside).map_err(Fault::file(&beside))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Fault::file(&beside))?;
    fs::rename(&beside, path).map_err(Fault::file(path))?;
    flush_folder(parent)
}

pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    if path.exists() { Err(Fault::Exists { path: path.to_owned() }) } else { write(path, bytes, mode) }
}

pub fn remove(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => Err(Fault::File { path: path.to_owned(), why }),
        _ => Ok(()),
    }
}

fn flush_folder(path: &Path) -> Result<(), Fault> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Fault::file(path))
}

/// Names of the files in a folder, sorted; none where there is no folder.
pub fn names(folder: &Path) -> Result<Vec<String>, Fault> {
    let entries = match fs::read_dir(folder) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Fault::file(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(Fault::file(folder))?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// Held until it is dropped: one writer of a folder at a time.
pub fn lock(folder: &Path) -> Result<File, Fault> {
    let path: PathBuf = folder.join("lock");
    let file = File::options().create(true).write(true).truncate(false).mode(PUBLIC_MODE).open(&path).map_err(Fault::file(&path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| Fault::File { path, why: e.into() })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_a_killed_process_of_this_number_left_over_is_in_nobodys_way() {
        let inside = std::env::temp_dir().join(format!("wardgate-fresh-{}", std::process::id()));
        let _ = fs::remove_dir_all(&inside);
        fs::create_dir(&inside).expect("created");
        let (one, two) = (fresh(&inside, "x").expect("one"), fresh(&inside, "x").expect("another"));
        assert!(one != two && one.is_dir() && two.is_dir(), "{one:?}, {two:?}");
        assert!(fresh(&inside.join("nowhere"), "x").is_err());
        fs::remove_dir_all(&inside).expect("removed");
    }
}
