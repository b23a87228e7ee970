//! The receiver's truth: an append-only log of whole batches as they came, flushed before anything is acknowledged from it.
//!
//! `<dir>/00000001.raw` and so on. A start flushes what it finds and writes on in a new segment; after a failed write or flush the segment is
//! cut back to what was flushed, and the same records go into a new one. What is no whole record is never deleted: a torn tail is moved into
//! `<dir>/aside/`, damage further up is stepped over where it stands.

pub mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use record::Record;
use record::{Found, HEAD, RECORD_HEAD_BYTES};

/// A segment is read whole at start and when it is decoded; also what a copy or an archive moves at a time.
pub const SEGMENT_BYTES: u64 = 64 << 20;

#[derive(Debug, Error)]
pub enum LogError {
    #[error("cannot {doing} {path}: {why}; give the receiver's user the right to it, and free space on its disk")]
    Io { doing: &'static str, path: PathBuf, why: io::Error },
    #[error("{0} is in use by another wardgate-cloud: end that one, or give this one a folder of its own with --out")]
    InUse(PathBuf),
    #[error(
        "no whole record at {position} of the raw log in {dir}: the medium has changed it since it was written; run a check of the disk"
    )]
    Gone { dir: PathBuf, position: Position },
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> LogError + 'a {
    move |why| LogError::Io { doing, path: path.to_owned(), why }
}

/// Where a record stands. Later records have greater positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub segment: u32,
    pub offset: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08}.raw+{}", self.segment, self.offset)
    }
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub position: Position,
    pub bytes: u64,
    /// Where a torn tail was moved to; damage further up stays where it is.
    pub aside: Option<PathBuf>,
}

struct Active {
    number: u32,
    path: PathBuf,
    file: File,
    /// What is flushed.
    length: u64,
}

pub struct Log {
    dir: PathBuf,
    segment_bytes: u64,
    next: u32,
    active: Option<Active>,
    /// Held for as long as this receiver lives: two writers would make two truths.
    _lock: File,
}

impl Log {
    /// Takes the folder, cuts a torn tail, and flushes what it finds: only after that may anything be acknowledged from it.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<(Self, Vec<Damage>), LogError> {
        make_dir(dir)?;
        let lock_path = dir.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(io("open", &lock_path))?;
        lock.try_lock().map_err(|_| LogError::InUse(dir.to_owned()))?;
        let found = segments(dir)?;
        let mut damage = Vec::new();
        for (number, path) in &found {
            check(dir, *number, path, Some(*number) == found.last().map(|(n, _)| *n), &mut damage)?;
        }
        sync_dir(dir)?;
        let next = found.last().map_or(1, |(n, _)| n + 1);
        Ok((Self { dir: dir.to_owned(), segment_bytes, next, active: None, _lock: lock }, damage))
    }

    /// Returns when all of them are flushed. After an error nothing of them counts: call again with the same records.
    pub fn append(&mut self, records: &[Record<'_>]) -> Result<Vec<Position>, LogError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        if self.active.as_ref().is_some_and(|a| a.length >= self.segment_bytes) {
            self.active = None; // flushed with its last record
        }
        let fresh = self.active.is_none();
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        let (number, start) = (active.number, active.length);
        let mut bytes = Vec::with_capacity(records.iter().map(|r| RECORD_HEAD_BYTES + r.batch.len()).sum());
        let mut positions = Vec::with_capacity(records.len());
        for record in records {
            positions.push(Position { segment: number, offset: start + bytes.len() as u64 });
            record::write(&mut bytes, record);
        }
        let written = active.file.write_all(&bytes).and_then(|()| active.file.sync_data());
        if let Err(why) = written.map_err(io("write", &active.path)).and_then(|()| if fresh { sync_dir(&self.dir) } else { Ok(()) }) {
            give_up(active, fresh);
            return Err(why);
        }
        active.length += bytes.len() as u64;
        self.active = Some(active);
        Ok(positions)
    }

    fn begin(&mut self) -> Result<Active, LogError> {
        let number = self.next;
        let path = self.dir.join(format!("{number:08}.raw"));
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path).map_err(io("make", &path))?;
        self.next += 1;
        if let Err(why) = file.write_all(HEAD) {
            let _ = fs::remove_file(&path); // holds nothing, and the error tells
            return Err(io("write", &path)(why));
        }
        Ok(Active { number, path, file, length: HEAD.len() as u64 })
    }

    /// All records in order. The callback's error ends it.
    pub fn replay<E: From<LogError>>(&self, each: impl FnMut(Position, Record<'_>) -> Result<(), E>) -> Result<(), E> {
        replay(&self.dir, each)
    }

    pub fn read(&self, position: Position) -> Result<Vec<u8>, LogError> {
        read(&self.dir, position)
    }
}

/// The batch at a place that a replay gave.
pub fn read(dir: &Path, position: Position) -> Result<Vec<u8>, LogError> {
    let path = dir.join(format!("{:08}.raw", position.segment));
    let gone = || LogError::Gone { dir: dir.to_owned(), position };
    let mut file = File::open(&path).map_err(io("open", &path))?;
    file.seek(SeekFrom::Start(position.offset)).map_err(io("read", &path))?;
    let mut bytes = vec![0; RECORD_HEAD_BYTES];
    file.read_exact(&mut bytes).map_err(io("read", &path))?;
    let size = record::size(&bytes).ok_or_else(gone)?;
    bytes.resize(RECORD_HEAD_BYTES + size, 0);
    file.read_exact(&mut bytes[RECORD_HEAD_BYTES..]).map_err(io("read", &path))?;
    let (found, _) = record::read(&bytes).ok_or_else(gone)?;
    Ok(found.batch.to_vec())
}

/// A failed flush leaves pages that the kernel calls clean and the medium never saw: they must not be found as if they were held.
fn give_up(active: Active, fresh: bool) {
    let gone =
        if fresh { fs::remove_file(&active.path) } else { active.file.set_len(active.length).and_then(|()| active.file.sync_data()) };
    if let Err(why) = gone {
        tracing::error!(segment = %active.path.display(), %why, "could not cut back a segment after a failed write; its last records may be there twice");
    }
}

/// All records of a folder of segments in order; needs no lock, changes nothing.
pub fn replay<E: From<LogError>>(dir: &Path, mut each: impl FnMut(Position, Record<'_>) -> Result<(), E>) -> Result<(), E> {
    for (segment, path) in segments(dir)? {
        let bytes = fs::read(&path).map_err(io("read", &path))?;
        for (offset, found) in record::scan(&bytes) {
            if let Found::Record(record) = found {
                each(Position { segment, offset }, record)?;
            }
        }
    }
    Ok(())
}

/// By number.
pub fn segments(dir: &Path) -> Result<Vec<(u32, PathBuf)>, LogError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("list", dir))? {
        let path = entry.map_err(io("list", dir))?.path();
        let number = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".raw")?.parse().ok());
        found.extend(number.map(|n| (n, path)));
    }
    found.sort();
    Ok(found)
}

fn check(dir: &Path, number: u32, path: &Path, last: bool, damage: &mut Vec<Damage>) -> Result<(), LogError> {
    let bytes = fs::read(path).map_err(io("read", path))?;
    let file = OpenOptions::new().write(true).open(path).map_err(io("open", path))?;
    for (offset, found) in record::scan(&bytes) {
        let Found::Damaged(damaged) = found else { continue };
        let position = Position { segment: number, offset };
        let tail = offset + damaged.len() as u64 == bytes.len() as u64;
        let aside = if last && tail { Some(cut(dir, &file, position, damaged)?) } else { None };
        damage.push(Damage { position, bytes: damaged.len() as u64, aside });
    }
    file.sync_data().map_err(io("flush", path))
}

/// The tail is on the medium in its new place before it leaves the old one.
fn cut(dir: &Path, file: &File, position: Position, torn: &[u8]) -> Result<PathBuf, LogError> {
    let aside = dir.join("aside");
    fs::create_dir_all(&aside).map_err(io("make", &aside))?;
    let path = aside.join(format!("{:08}-{}.torn", position.segment, position.offset));
    let mut kept = File::create(&path).map_err(io("make", &path))?;
    kept.write_all(torn).and_then(|()| kept.sync_all()).map_err(io("write", &path))?;
    sync_dir(&aside)?;
    file.set_len(position.offset).map_err(io("cut", &path))?;
    Ok(path)
}

/// With those above it that are missing. A folder whose own name is not on the medium takes everything in it along.
fn make_dir(dir: &Path) -> Result<(), LogError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(above)?;
    fs::create_dir_all(dir).map_err(io("make", dir))?;
    sync_dir(above)
}

/// A new file's name is on the medium only after its folder was flushed.
pub fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(io("flush", dir))
}

#[cfg(test)]
mod tests;
