//! The files of lines, and the journal by which no line is ever there twice or missing, however the receiver ends.
//!
//! Lines are appended as they come. Before a file is first touched after a checkpoint, its length goes into the journal; a checkpoint flushes every
//! file that was touched and then says how far in the raw log the files stand for. A start cuts every file named there back to the length that stands
//! there and goes on from that place in the log. Files that were not touched since the checkpoint need no word: old ones may be moved away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use wardgate_wire::GatewayId;

use crate::derive::lines::Lines;
use crate::derive::paths;
use crate::log::{Position, sync_dir};

/// The folder of the raw log inside the output folder; no gateway can have this name.
pub const RAW: &str = "raw";
const JOURNAL: &str = "derived.json";

#[derive(Debug, Error)]
pub enum OutputError {
    #[error("cannot {doing} {path}: {why}; give the receiver's user the right to it, and free space on its disk")]
    Io { doing: &'static str, path: PathBuf, why: io::Error },
    #[error(
        "{path} is not a journal of wardgate-cloud ({why}): move {out} aside and rebuild the lines with `wardgate-cloud decode {out}/raw NEW`"
    )]
    Journal { path: PathBuf, out: PathBuf, why: serde_json::Error },
    #[error(
        "{out} holds lines ({found}) but no journal that says from which part of the raw log: rebuild them with `wardgate-cloud decode {out}/raw NEW`, and move {found} away"
    )]
    NoJournal { out: PathBuf, found: PathBuf },
    #[error(
        "the raw log in {raw} ends before {position}, up to which lines were written: put the missing segments back, or rebuild the lines with `wardgate-cloud decode {raw} NEW` and begin a new folder"
    )]
    LogEndsBefore { raw: PathBuf, position: Position },
    #[error("{0} holds something already: name a new or empty folder")]
    NotEmpty(PathBuf),
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> OutputError + 'a {
    move |why| OutputError::Io { doing, path: path.to_owned(), why }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Journal {
    /// Of the last record whose lines are flushed: segment and offset.
    segment: u32,
    offset: u64,
    /// Length at that record of each file touched since.
    lengths: BTreeMap<String, u64>,
}

pub struct Output {
    dir: PathBuf,
    journal: Journal,
    /// Length now of each file touched since the checkpoint.
    touched: BTreeMap<String, u64>,
    new_folders: BTreeSet<PathBuf>,
}

impl Output {
    /// Cuts back what the journal does not vouch for, and says up to which record lines are there.
    pub fn open(dir: &Path) -> Result<(Self, Position), OutputError> {
        let path = dir.join(RAW).join(JOURNAL);
        let journal: Journal = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|why| OutputError::Journal { path, out: dir.to_owned(), why })?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                if let Some(found) = holds_lines(dir)? {
                    return Err(OutputError::NoJournal { out: dir.to_owned(), found });
                }
                Journal::default()
            }
            Err(why) => return Err(io("read", &path)(why)),
        };
        for (name, length) in &journal.lengths {
            cut_back(&dir.join(name), *length)?;
        }
        let at = Position { segment: journal.segment, offset: journal.offset };
        let mut output = Self { dir: dir.to_owned(), journal, touched: BTreeMap::new(), new_folders: BTreeSet::new() };
        output.checkpoint(at)?;
        Ok((output, at))
    }

    /// A folder for `decode`: no journal, as it is made in one go.
    pub fn create(dir: &Path) -> Result<Self, OutputError> {
        fs::create_dir_all(dir).map_err(io("make", dir))?;
        if fs::read_dir(dir).map_err(io("list", dir))?.next().is_some() {
            return Err(OutputError::NotEmpty(dir.to_owned()));
        }
        let (journal, touched) = (Journal::default(), BTreeMap::new());
        Ok(Self { dir: dir.to_owned(), journal, touched, new_folders: BTreeSet::new() })
    }

    /// After an error nothing of them counts: call again with the same lines.
    pub fn append(&mut self, lines: &Lines) -> Result<(), OutputError> {
        let mut news = false;
        for name in lines.keys() {
            let length = fs::metadata(self.dir.join(name)).map_or(0, |m| m.len());
            if self.touched.get(name).is_none_or(|known| length < *known) {
                self.journal.lengths.insert(name.clone(), length); // new here, or a person has moved it away and it begins anew
                self.touched.insert(name.clone(), length);
                news = true;
            }
        }
        if news {
            self.write_journal()?;
        }
        self.append_unguarded(lines)
    }

    fn append_unguarded(&mut self, lines: &Lines) -> Result<(), OutputError> {
        let mut lengths = Vec::with_capacity(lines.len());
        for (name, bytes) in lines {
            let (path, length) = (self.dir.join(name), self.touched.get(name).copied().unwrap_or(0));
            if let Some(folder) = path.parent().filter(|f| !f.is_dir()) {
                fs::create_dir_all(folder).map_err(io("make", folder))?;
                self.new_folders.extend(folder.ancestors().take_while(|f| f.starts_with(&self.dir)).map(Path::to_owned));
            }
            let fresh = length == 0;
            let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(io("open", &path))?;
            file.set_len(length).and_then(|()| file.write_all(bytes)).map_err(io("write", &path))?; // cuts what a failed try left
            if fresh {
                self.new_folders.extend(path.parent().map(Path::to_owned));
            }
            lengths.push((name.clone(), length + bytes.len() as u64));
        }
        self.touched.extend(lengths);
        Ok(())
    }

    /// For `decode`: nothing else writes here, and a run that was cut short is begun anew.
    pub fn append_in_one_go(&mut self, lines: &Lines) -> Result<(), OutputError> {
        self.append_unguarded(lines)
    }

    /// Replaces the view of what went with lost stores; none removes it.
    pub fn show_lost(&self, gateway: &GatewayId, lines: Option<&[u8]>) -> Result<(), OutputError> {
        let path = self.dir.join(gateway.as_str()).join(paths::STORE_LOST);
        let done = match lines {
            Some(lines) => fs::create_dir_all(self.dir.join(gateway.as_str())).and_then(|()| replace(&path, lines, true)),
            None => fs::remove_file(&path),
        };
        match done {
            Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io("write", &path)(why)),
            _ => Ok(()),
        }
    }

    /// Flushes, then vouches for everything up to the record at `at`.
    pub fn checkpoint(&mut self, at: Position) -> Result<(), OutputError> {
        for name in self.touched.keys() {
            let path = self.dir.join(name);
            match File::open(&path).and_then(|f| f.sync_data()) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io("flush", &path)(why)),
                _ => {} // flushed, or moved away by a person
            }
        }
        for folder in &self.new_folders {
            File::open(folder).and_then(|d| d.sync_all()).map_err(io("flush", folder))?;
        }
        self.journal = Journal { segment: at.segment, offset: at.offset, lengths: BTreeMap::new() };
        self.write_journal()?;
        self.touched.clear();
        self.new_folders.clear();
        Ok(())
    }

    fn write_journal(&self) -> Result<(), OutputError> {
        let path = self.dir.join(RAW).join(JOURNAL);
        let bytes = serde_json::to_vec(&self.journal).expect("text keys and numbers");
        replace(&path, &bytes, true).map_err(io("write", &path))
    }
}

/// The old content or the new, never a part; with `flush`, also after a power cut.
pub fn replace(path: &Path, bytes: &[u8], flush: bool) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    if flush {
        file.sync_data()?;
    }
    fs::rename(&fresh, path)?;
    if flush && let Some(folder) = path.parent() {
        sync_dir(folder).map_err(io::Error::other)?;
    }
    Ok(())
}

fn cut_back(path: &Path, length: u64) -> Result<(), OutputError> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()), // never begun, or moved away since
        Err(why) => return Err(io("open", path)(why)),
    };
    if length == 0 {
        return fs::remove_file(path).map_err(io("remove", path));
    }
    let found = file.metadata().map_err(io("read", path))?.len();
    if found > length {
        file.set_len(length).and_then(|()| file.sync_data()).map_err(io("cut", path))?;
    }
    Ok(())
}

fn holds_lines(dir: &Path) -> Result<Option<PathBuf>, OutputError> {
    for entry in fs::read_dir(dir).map_err(io("list", dir))? {
        let path = entry.map_err(io("list", dir))?.path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != RAW) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn lines(of: &[(&str, &str)]) -> Lines {
        of.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn text(dir: &Path, name: &str) -> Option<String> {
        fs::read_to_string(dir.join(name)).ok()
    }

    fn at(offset: u64) -> Position {
        Position { segment: 1, offset }
    }

    #[test]
    fn a_start_goes_back_to_the_last_checkpoint() {
        let dir = Folder::new("output");
        fs::create_dir(dir.join(RAW)).unwrap();
        let (mut out, begin) = Output::open(&dir).unwrap();
        assert_eq!(begin, Position::default());
        out.append(&lines(&[("w/a/x.jsonl", "1\n"), ("w/gaps.jsonl", "g\n")])).unwrap();
        out.checkpoint(at(20)).unwrap();
        out.append(&lines(&[("w/a/x.jsonl", "2\n")])).unwrap();
        out.append(&lines(&[("w/a/x.jsonl", "3\n"), ("w/b/new.jsonl", "n\n")])).unwrap();
        drop(out);
        fs::write(dir.join("w/a/old.jsonl"), "not touched\n").unwrap();
        let (mut out, begin) = Output::open(&dir).unwrap();
        assert_eq!(begin, at(20));
        assert_eq!(text(&dir, "w/a/x.jsonl").as_deref(), Some("1\n"));
        assert_eq!(text(&dir, "w/b/new.jsonl"), None);
        assert_eq!(text(&dir, "w/gaps.jsonl").as_deref(), Some("g\n"));
        assert_eq!(text(&dir, "w/a/old.jsonl").as_deref(), Some("not touched\n"));
        out.append(&lines(&[("w/a/x.jsonl", "2\n")])).unwrap();
        out.checkpoint(at(40)).unwrap();
        drop(out);
        assert_eq!(Output::open(&dir).unwrap().1, at(40));
        assert_eq!(text(&dir, "w/a/x.jsonl").as_deref(), Some("1\n2\n"));
    }

    #[test]
    fn a_failed_append_leaves_nothing_behind_once_it_is_tried_again() {
        let dir = Folder::new("output-retry");
        fs::create_dir(dir.join(RAW)).unwrap();
        let (mut out, _) = Output::open(&dir).unwrap();
        fs::create_dir_all(dir.join("w/z.jsonl")).unwrap(); // a folder where a file should be
        let both = lines(&[("w/a.jsonl", "1\n"), ("w/z.jsonl", "2\n")]);
        assert!(out.append(&both).is_err());
        assert_eq!(text(&dir, "w/a.jsonl").as_deref(), Some("1\n"), "written before the other failed");
        fs::remove_dir(dir.join("w/z.jsonl")).unwrap();
        out.append(&both).unwrap();
        assert_eq!(text(&dir, "w/a.jsonl").as_deref(), Some("1\n"));
        assert_eq!(text(&dir, "w/z.jsonl").as_deref(), Some("2\n"));
    }

    #[test]
    fn lines_without_a_journal_and_a_broken_journal_are_refused_with_the_remedy() {
        let dir = Folder::new("output-refused");
        fs::create_dir_all(dir.join("w")).unwrap();
        fs::create_dir(dir.join(RAW)).unwrap();
        let refused = Output::open(&dir).err().expect("refused").to_string();
        assert!(refused.contains("wardgate-cloud decode"), "{refused}");
        fs::write(dir.join("raw/derived.json"), "{").unwrap();
        assert!(matches!(Output::open(&dir), Err(OutputError::Journal { .. })));
    }
}
