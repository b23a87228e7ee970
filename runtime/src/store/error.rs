//! Why the store could not do what was asked, whose doing it is, and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wardgate_wire::BatchKey;

use super::Limits;

/// What said that there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullBy {
    /// The bound in gateway.toml.
    Bound { bytes_used: u64, bytes_max: u64 },
    /// The file system: something else took the space.
    Disk,
}

impl fmt::Display for FullBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound { bytes_used, bytes_max } => write!(
                f,
                "{bytes_used} bytes of [store] bytes_max = {bytes_max} are used, {} segments of it are kept back; restore the link so that \
                 the receiver acknowledges, or raise bytes_max in gateway.toml",
                Limits::RESERVE_SEGMENTS
            ),
            Self::Disk => f.write_str("the file system has no room left; free space on it, or lower [store] bytes_max, and on a small disk segment_bytes, in gateway.toml"),
        }
    }
}

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("store {folder} is full, {bytes} bytes more do not fit: {by}")]
    Full { folder: PathBuf, bytes: u64, by: FullBy },
    #[error(
        "cannot {doing} {file}: {source}. Check that the disk is healthy, mounted writable and that the gateway's user owns the folder"
    )]
    Io { doing: &'static str, file: PathBuf, source: std::io::Error },
    #[error("store {folder} is in use by another process: stop the other gateway, or give this one another [gateway] state folder")]
    InUse { folder: PathBuf },
    #[error("{file} has store format {format}, this version reads format 0: install the version that wrote it, or move the folder away")]
    Format { file: PathBuf, format: u8 },
    #[error("{file} belongs to store {theirs:016x}, the rest of the folder to {ours:016x}: move that file out of the folder")]
    Foreign { file: PathBuf, ours: u64, theirs: u64 },
    #[error(
        "[store] segment_bytes = {segment_bytes}, bytes_max = {bytes_max} in gateway.toml: a segment takes at least {} bytes, the store {} segments",
        Limits::SEGMENT_BYTES_MIN,
        Limits::SEGMENTS_MIN
    )]
    Limits { segment_bytes: u64, bytes_max: u64 },
    #[error("{file} has changed on the disk at byte {offset}, where batch {key} lay: the batch is lost here; replace the card")]
    Rotten { file: PathBuf, offset: u64, key: BatchKey },
    #[error("group {group} did not reach the disk and has to be committed again, with the same records, before any other")]
    Unfinished { group: u64 },
    #[error("record kind {kind} is the store's own: Record::Other carries kinds from {} on", super::format::KIND_FREE)]
    Kind { kind: u64 },
}

impl StoreError {
    /// For `map_err`.
    pub(super) fn io(doing: &'static str, file: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io { doing, file, source }
    }
}
