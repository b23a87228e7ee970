//! Files that are made in a folder which may be another user's: what a verb leaves in the gateway's state folder as root. And whether another user may
//! write what this one relies on.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};

/// Who else may write a file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loose {
    Mode(u32),
    Owner(u32),
}

impl Loose {
    /// `trusted`: users who may write it.
    pub fn of(about: &fs::Metadata, trusted: &[u32]) -> Option<Self> {
        let mode = about.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Some(Self::Mode(mode));
        }
        (!trusted.contains(&about.uid())).then(|| Self::Owner(about.uid()))
    }

    /// What makes it nobody else's.
    pub fn remedy(self, path: &Path) -> String {
        match self {
            Self::Mode(_) => format!("chmod go-w {}", path.display()),
            Self::Owner(_) => format!("chown root {}", path.display()),
        }
    }
}

impl fmt::Display for Loose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "can be written by others (mode {mode:03o})"),
            Self::Owner(owner) => write!(f, "belongs to user {owner}"),
        }
    }
}

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

    #[test]
    fn who_else_may_write_is_named_with_what_ends_it() {
        let path = std::env::temp_dir().join(format!("wardgate-loose-{}", std::process::id()));
        fs::write(&path, "x").unwrap();
        let me = rustix::process::geteuid().as_raw();
        let loose = |mode: u32, trusted: &[u32]| {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            Loose::of(&fs::metadata(&path).unwrap(), trusted)
        };
        assert_eq!((loose(0o644, &[me]), loose(0o600, &[7, me])), (None, None));
        assert_eq!((loose(0o664, &[me]), loose(0o602, &[me])), (Some(Loose::Mode(0o664)), Some(Loose::Mode(0o602))));
        assert_eq!(loose(0o644, &[me + 1]), Some(Loose::Owner(me)));
        assert_eq!(Loose::Mode(0o666).remedy(Path::new("/x")), "chmod go-w /x");
        assert_eq!(Loose::Owner(7).remedy(Path::new("/x")), "chown root /x");
        assert_eq!(Loose::Owner(7).to_string(), "belongs to user 7");
        fs::remove_file(path).unwrap();
    }

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
