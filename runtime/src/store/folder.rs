//! The folder and its files: the only place of this room that calls the file system.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};

use super::contents::{Contents, Piece};
use super::format::{self, Header, TRAILER_BYTES};
use super::{Damage, FullBy, StoreError, Torn};

const SUFFIX: &str = ".segment";
const SUFFIX_ASIDE: &str = ".damaged";
const SUFFIX_SPARE: &str = ".reserve";
/// Files take whole blocks; ext4's and f2fs' usual one.
const BLOCK_BYTES: u64 = 4096;

/// What `bytes` of a file take on the disk, about.
pub(super) fn disk_bytes(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}

pub(super) struct Folder {
    pub path: PathBuf,
    /// Held open to be flushed, and locked against a second gateway.
    dir: File,
    #[cfg(test)]
    pub faults: super::tests::Faults,
}

/// One segment as it lies in the folder.
pub(super) struct Loaded {
    pub file: File,
    pub contents: Contents,
    /// `None`: no readable header and no footer.
    pub store: Option<u64>,
    pub bytes: u64,
    pub torn: Option<Torn>,
}

/// What `Folder::list` sees.
#[derive(Default)]
pub(super) struct Listing {
    /// Numbers, ascending.
    pub segments: Vec<u64>,
    /// Damaged files of earlier starts, with their lengths.
    pub aside: Vec<(PathBuf, u64)>,
    /// Files of the reserve: number, and the bytes that the disk has given them.
    pub spares: Vec<(u64, u64)>,
}

impl Folder {
    /// Makes the folder when it is missing, for this user alone: it holds what devices said of people.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(StoreError::io("make the store folder", path))?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                open_dir(parent)?.sync_all().map_err(StoreError::io("flush the folder", parent))?;
            }
        }
        let dir = open_dir(path)?;
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse { folder: path.to_owned() }),
            Err(e) => return Err(StoreError::io("lock", path)(e.into())),
        }
        Ok(Self {
            path: path.to_owned(),
            dir,
            #[cfg(test)]
            faults: super::tests::Faults::default(),
        })
    }

    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for entry in fs::read_dir(&self.path).map_err(StoreError::io("list", &self.path))? {
            let entry = entry.map_err(StoreError::io("list", &self.path))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if let Some(number) = name.strip_suffix(SUFFIX).and_then(|n| n.parse().ok()).filter(|&n| segment_name(n) == name) {
                listing.segments.push(number);
            } else if name.ends_with(SUFFIX_ASIDE) {
                let bytes = entry.metadata().map_err(StoreError::io("look at", &entry.path()))?.len();
                listing.aside.push((entry.path(), bytes));
            } else if let Some(number) = name.strip_suffix(SUFFIX_SPARE).and_then(|n| n.parse().ok()) {
                listing.spares.push((number, entry.metadata().map_err(StoreError::io("look at", &entry.path()))?.blocks() * 512));
            }
        }
        listing.segments.sort_unstable();
        listing.aside.sort_unstable();
        Ok(listing)
    }

    /// Found is not flushed: a killed process leaves its last write in the page cache only.
    pub fn flush_found(&self, segments: &[u64]) -> Result<(), StoreError> {
        for &number in segments {
            let path = segment_path(&self.path, number);
            let file = File::open(&path).map_err(StoreError::io("open", &path))?;
            self.flush(&file, &path)?;
        }
        if segments.is_empty() { Ok(()) } else { self.flush_folder() }
    }

    pub fn create(&self, number: u64) -> Result<File, StoreError> {
        let path = segment_path(&self.path, number);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        file.map_err(|e| self.full_or(e, 0, "make", &path))
    }

    /// What anybody may still write on this file system. One that does not say has room until it refuses.
    pub fn free_bytes(&self) -> u64 {
        let free = rustix::fs::fstatvfs(&self.dir).map_or(u64::MAX, |s| s.f_bavail.saturating_mul(s.f_frsize));
        #[cfg(test)]
        let free = self.faults.free(free);
        free
    }

    /// A file of no length whose bytes the disk has given already: it will not refuse them when it is full. Nothing of it need survive a
    /// power cut, so nothing is flushed.
    pub fn make_spare(&self, spare: u64, bytes: u64) -> Result<(), StoreError> {
        let path = self.spare_path(spare);
        if self.free_bytes() < bytes {
            return Err(StoreError::Full { folder: self.path.clone(), bytes, by: FullBy::Disk });
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(|e| self.full_or(e, 0, "make", &path))?;
        rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, bytes).map_err(|e| {
            self.drop_spare(spare); // part of it may have been given
            self.full_or(e.into(), bytes, "allocate", &path)
        })
    }

    pub fn drop_spare(&self, spare: u64) {
        _ = fs::remove_file(self.spare_path(spare)); // found and counted at the next start, if at all
    }

    /// Makes it the segment of this number; its bytes go with it.
    pub fn use_spare(&self, spare: u64, number: u64) -> Result<File, StoreError> {
        let (from, to) = (self.spare_path(spare), segment_path(&self.path, number));
        let moved = fs::rename(&from, &to).and_then(|()| OpenOptions::new().read(true).write(true).open(&to));
        moved.map_err(|e| self.full_or(e, 0, "take from the reserve", &from))
    }

    /// What the disk has given a segment beyond its end is the disk's again.
    pub fn give_back_behind(&self, number: u64) {
        let file = OpenOptions::new().write(true).open(segment_path(&self.path, number));
        _ = file.and_then(|file| file.set_len(file.metadata()?.len()));
    }

    fn spare_path(&self, spare: u64) -> PathBuf {
        self.path.join(format!("{spare}{SUFFIX_SPARE}"))
    }

    /// One `pwrite64`, more only if the kernel takes less than all.
    pub fn write(&self, file: &File, number: u64, bytes: &[u8], at: u64) -> Result<(), StoreError> {
        let path = segment_path(&self.path, number);
        #[cfg(test)]
        self.faults.write(file, bytes, at).map_err(|e| self.full_or(e, bytes.len() as u64, "write", &path))?;
        file.write_all_at(bytes, at).map_err(|e| self.full_or(e, bytes.len() as u64, "write", &path))
    }

    pub fn flush_segment(&self, file: &File, number: u64) -> Result<(), StoreError> {
        self.flush(file, &segment_path(&self.path, number))
    }

    fn flush(&self, file: &File, path: &Path) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.flush().map_err(StoreError::io("flush", path))?;
        rustix::fs::fdatasync(file).map_err(|e| self.full_or(e.into(), 0, "flush", path))
    }

    /// What makes a file's being there, or not, durable.
    pub fn flush_folder(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.faults.flush_folder().map_err(StoreError::io("flush", &self.path))?;
        rustix::fs::fsync(&self.dir).map_err(|e| StoreError::io("flush", &self.path)(e.into()))
    }

    pub fn delete(&self, number: u64) -> Result<(), StoreError> {
        let path = segment_path(&self.path, number);
        #[cfg(test)]
        self.faults.delete().map_err(StoreError::io("delete", &path))?;
        fs::remove_file(&path).map_err(StoreError::io("delete", &path))
    }

    /// Takes away what stands behind the last good group, as far as the disk lets us; how long the file is then.
    pub fn cut(&self, file: &File, good: u64) -> u64 {
        #[cfg(test)]
        let cut = self.faults.delete().and_then(|()| file.set_len(good));
        #[cfg(not(test))]
        let cut = file.set_len(good);
        file.metadata().map_or(good, |m| if cut.is_ok() { good } else { m.len() })
    }

    pub fn set_aside(&self, number: u64) -> Result<(), StoreError> {
        let path = segment_path(&self.path, number);
        fs::rename(&path, path.with_extension(&SUFFIX_ASIDE[1..])).map_err(StoreError::io("rename", &path))
    }

    fn full_or(&self, source: std::io::Error, bytes: u64, doing: &'static str, path: &Path) -> StoreError {
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { folder: self.path.clone(), bytes, by: FullBy::Disk },
            _ => StoreError::io(doing, path)(source),
        }
    }
}

fn open_dir(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(|e| StoreError::io("open", path)(e.into()))
}

fn segment_name(number: u64) -> String {
    format!("{number:010}{SUFFIX}")
}

pub(super) fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(segment_name(number))
}

/// `None`: what is there is not what was written.
pub(super) fn read_piece(file: &File, path: &Path, piece: Piece) -> Result<Option<Vec<u8>>, StoreError> {
    let mut payload = vec![0; piece.length as usize];
    match file.read_exact_at(&mut payload, piece.offset) {
        Ok(()) => Ok(piece.is(&payload).then_some(payload)),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(StoreError::io("read", path)(e)),
    }
}

/// Reads the footer, or, where none is whole, every group up to the first bad one.
pub(super) fn load(folder: &Path, number: u64) -> Result<Loaded, StoreError> {
    let path = segment_path(folder, number);
    let mut file = File::open(&path).map_err(StoreError::io("open", &path))?;
    let bytes = file.metadata().map_err(StoreError::io("look at", &path))?.len();
    if let Some((store, contents)) = load_footer(&file, &path, number, bytes)? {
        return Ok(Loaded { file, contents, store: Some(store), bytes, torn: None });
    }
    let mut segment = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut segment)).map_err(StoreError::io("read", &path))?;
    let bytes = segment.len() as u64;
    let (store, mut contents, mut good) = match format::read_header(&segment) {
        Header::Later { format } => return Err(StoreError::Format { file: path, format }),
        Header::Ours { store, segment } if segment == number => (Some(store), Contents::default(), format::HEADER_BYTES),
        Header::Ours { .. } | Header::Bad => (None, Contents::default(), 0),
    };
    while let Some(length) = store.and_then(|_| format::read_group(&segment, good, &mut contents)) {
        good += length;
    }
    let torn = (good < segment.len()).then(|| Torn {
        file: path,
        offset: good as u64,
        bytes: bytes - good as u64,
        groups_kept: contents.groups,
        damage: match good {
            _ if format::group_behind(&segment, good + 1) || good == 0 && format::group_behind(&segment, 0) => Damage::Middle,
            _ if format::looks_like_footer(&segment[good..]) => Damage::Footer,
            _ => Damage::Tail,
        },
    });
    Ok(Loaded { file, contents, store, bytes, torn })
}

fn load_footer(file: &File, path: &Path, number: u64, bytes: u64) -> Result<Option<(u64, Contents)>, StoreError> {
    let Some(trailer_at) = bytes.checked_sub(TRAILER_BYTES as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at).map_err(StoreError::io("read", path))?;
    let Some(at) = format::footer_offset(&trailer, bytes) else { return Ok(None) };
    let mut footer = vec![0; (bytes - at) as usize];
    file.read_exact_at(&mut footer, at).map_err(StoreError::io("read", path))?;
    Ok(format::read_footer(&footer, number, at))
}
