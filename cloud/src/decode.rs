//! `decode`: all lines of a raw log (or of one file of it, or of one batch) into a new folder. The same lines that a receiver writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::derive::join;
use crate::derive::lines::Lines;
use crate::ledger::{STORE_LOST_AFTER_DAYS, days_ns};
use crate::log::record::{Found, HEAD, scan};
use crate::log::{self, LogError, Position, Record};
use crate::output::{Output, OutputError, RAW};
use crate::walk::{Walk, WalkError};

/// Lines in memory before they are written.
const WRITE_BYTES: usize = 4 << 20;

#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("cannot read {path}: {why}")]
    Io { path: PathBuf, why: io::Error },
    #[error("{0} holds no raw log: name DIR/raw of a receiver, one of its .raw files, or the file of one batch")]
    NotALog(PathBuf),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// Where batches are read from.
pub enum Input {
    /// Segments, in order.
    Folder(PathBuf),
    /// The bytes of one segment, or of one batch.
    Segment(Vec<u8>),
    Batch(Vec<u8>),
}

impl Input {
    pub fn open(path: &Path) -> Result<Self, DecodeError> {
        let failed = |why| DecodeError::Io { path: path.to_owned(), why };
        if fs::metadata(path).map_err(failed)?.is_dir() {
            for folder in [path.to_owned(), path.join(RAW)] {
                if folder.is_dir() && !log::segments(&folder)?.is_empty() {
                    return Ok(Self::Folder(folder));
                }
            }
            return Err(DecodeError::NotALog(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(failed)?;
        if bytes.starts_with(HEAD) {
            return Ok(Self::Segment(bytes));
        }
        if wardgate_wire::peek_unauthenticated(&bytes).is_ok() {
            Ok(Self::Batch(bytes))
        } else {
            Err(DecodeError::NotALog(path.to_owned()))
        }
    }

    /// Every record in order; `damaged` gets the sizes of what is none.
    pub fn each<E: From<LogError>>(
        &self,
        mut record: impl FnMut(Position, Record<'_>) -> Result<(), E>,
        mut damaged: impl FnMut(Position, usize),
    ) -> Result<(), E> {
        match self {
            Self::Batch(batch) => record(Position::default(), Record { received_ns: 0, batch }),
            Self::Segment(bytes) => each_of(bytes, 0, &mut record, &mut damaged),
            Self::Folder(dir) => {
                for (segment, path) in log::segments(dir)? {
                    let bytes = fs::read(&path).map_err(|why| LogError::Io { doing: "read", path, why })?;
                    each_of(&bytes, segment, &mut record, &mut damaged)?;
                }
                Ok(())
            }
        }
    }

    fn read(&self, position: Position) -> Result<Vec<u8>, LogError> {
        match self {
            Self::Batch(batch) => Ok(batch.clone()),
            Self::Folder(dir) => log::read(dir, position),
            Self::Segment(bytes) => {
                let found = bytes.get(position.offset as usize..).and_then(log::record::read);
                found.map(|(record, _)| record.batch.to_vec()).ok_or(LogError::Gone { dir: PathBuf::from("the file"), position })
            }
        }
    }
}

fn each_of<E>(
    bytes: &[u8],
    segment: u32,
    record: &mut impl FnMut(Position, Record<'_>) -> Result<(), E>,
    damaged: &mut impl FnMut(Position, usize),
) -> Result<(), E> {
    for (offset, found) in scan(bytes) {
        let position = Position { segment, offset };
        match found {
            Found::Record(found) => record(position, found)?,
            Found::Damaged(bytes) => damaged(position, bytes.len()),
        }
    }
    Ok(())
}

/// What was done, for a person.
pub struct Decoded {
    pub walk: Walk,
    pub damaged_bytes: u64,
}

pub fn decode(input: &Path, out: &Path) -> Result<Decoded, DecodeError> {
    let input = Input::open(input)?;
    let mut output = Output::create(out)?;
    let (mut walk, mut lines, mut damaged_bytes) = (Walk::default(), Lines::new(), 0);
    let read = |position| input.read(position);
    let each = |position, record: Record<'_>| {
        join(&mut lines, walk.replay(position, record, &read)?);
        if lines.values().map(Vec::len).sum::<usize>() > WRITE_BYTES {
            output.append_in_one_go(&std::mem::take(&mut lines))?;
        }
        Ok::<_, DecodeError>(())
    };
    input.each(each, |_, bytes| damaged_bytes += bytes as u64)?;
    join(&mut lines, walk.finish(&read)?);
    output.append_in_one_go(&lines)?;
    for id in walk.counts.keys() {
        output.show_lost(id, walk.store_lost(id, days_ns(STORE_LOST_AFTER_DAYS)).as_deref())?;
    }
    Ok(Decoded { walk, damaged_bytes })
}
