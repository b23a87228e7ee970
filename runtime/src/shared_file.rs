//! Files that are made in a folder which may be another user's: what a verb leaves in the gateway's state folder as root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};

/// What is made belongs to whom the folder belongs to. That user may put a link in its place, to a file that is not its own: it is never followed,
/// and a file with another name elsewhere is refused. `options` must not truncate: that comes before it is looked at.
pub fn shared_file(path: &Path, options: &mut OpenOptions, mode: u32) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.mode(mode).custom_flags(flags.bits() as i32).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.nlink() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file, or has another name elsewhere"));
    }
    let owner = fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
    if owner.uid() != about.uid() {
        fchown(&file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
    }
    Ok(file)
}

/// As above, empty, in the place of whatever has this name.
pub fn fresh_file(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => shared_file(path, OpenOptions::new().write(true).create_new(true), mode),
    }
}

/// In one piece or not at all, and on the disk when this returns.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let scratch = path.with_extension("new");
    let mut file = fresh_file(&scratch, mode)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&scratch, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder's owner is not to get at a file of root's by a link.
    //= PROMISES.md#P240
    #[test]
    fn what_is_made_in_anothers_folder_goes_through_no_link() {
        let folder = std::env::temp_dir().join(format!("wardgate-shared-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("state")).unwrap();
        let victim = folder.join("victim");
        fs::write(&victim, "secret").unwrap();
        let (soft, hard, gone) = (folder.join("state/soft"), folder.join("state/hard"), folder.join("state/gone"));
        std::os::unix::fs::symlink(&victim, &soft).unwrap();
        std::os::unix::fs::symlink(folder.join("nowhere"), &gone).unwrap();
        fs::hard_link(&victim, &hard).unwrap();
        for link in [&soft, &hard, &gone] {
            assert!(shared_file(link, OpenOptions::new().write(true).create(true), 0o600).is_err(), "{}", link.display());
        }
        assert!(!folder.join("nowhere").exists());
        for link in [&soft, &hard, &gone] {
            let made = fresh_file(link, 0o600).unwrap().metadata().unwrap();
            assert_eq!((made.len(), made.nlink(), made.mode() & 0o777), (0, 1, 0o600));
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
        if rustix::process::geteuid().is_root() {
            rustix::fs::chown(folder.join("state"), Some(Uid::from_raw(12_345)), Some(Gid::from_raw(12_345))).unwrap();
            let own = folder.join("state/own");
            let made = shared_file(&own, OpenOptions::new().append(true).create(true), 0o640).unwrap().metadata().unwrap();
            assert_eq!((made.uid(), made.gid()), (12_345, 12_345));
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
