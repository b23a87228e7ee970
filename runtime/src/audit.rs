//! The audit log of a gateway: who installed, granted, revoked, refused or bound what. Lines of JSON in the state folder, each with the hash of the
//! one before it; some are signed by the device, and the newest is named in a signed file beside them. `verify` reads all of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, Uid, fchown, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::{SecretKey, base64};
use crate::when;

mod verify;

pub use verify::{Broken, Whole, verify_file, verify_folder};

/// A record has some 300 bytes: some thousand of them, weeks of a busy ward.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// With the present one, nine: 9 MiB of a card, and some years.
const OLD_FILES_MAX: usize = 8;
/// How many records may hang on the signature of the newest alone.
const SEALED_EVERY: u64 = 64;
/// Of one text in a record: a name, a path, a reason.
const TEXT_BYTES_MAX: usize = 1024;
/// No line of ours is longer: a dozen texts, each escaped.
const LINE_BYTES_MAX: u64 = 64 << 10;
const MODE: u32 = 0o640;
/// The hash of nothing, before the first record.
const NOTHING: &str = "";

const LOG: &str = "audit.log";
const HEAD: &str = "audit.head";
const LOCK: &str = "audit.lock";

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    Start,
    Stop,
    /// A package was put into the gateway's folder.
    Install,
    /// An instance runs another release than before, or the gateway another version.
    Update,
    Refuse,
    Revoke,
    TrustStale,
    TrustFresh,
    GrantApprove,
    GrantChange,
    /// The configuration on disk is not the one that runs.
    ConfigChange,
    Bind,
    DeveloperMode,
    /// A rule was set aside by a person who may: an older release, for one.
    BreakGlass,
}

impl What {
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// When, as the gateway knows it: its own clock, and wall time where that was ever set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    pub boot: u64,
    pub monotonic_ns: u64,
    pub wall_ns: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub n: u64,
    pub boot: String,
    pub up_s: u64,
    pub wall: Option<String>,
    pub what: What,
    pub by: String,
    pub about: BTreeMap<String, String>,
    /// SHA-256 of the line before, in hexadecimal.
    pub before: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// The device's signature on a record, and so on all before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    pub key: String,
    /// The oldest record that was kept then.
    pub from: u64,
    pub sig: String,
}

/// Which record is the newest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub n: u64,
    pub hash: String,
    pub key: String,
    pub sig: String,
}

/// What a record says, before it has a place.
pub struct Entry {
    pub what: What,
    pub by: String,
    pub about: BTreeMap<String, String>,
}

impl Entry {
    pub fn new<const N: usize>(what: What, by: impl Into<String>, about: [(&str, &dyn std::fmt::Display); N]) -> Self {
        let about = about.iter().map(|(name, text)| ((*name).to_owned(), cut(&text.to_string()))).collect();
        Self { what, by: by.into(), about }
    }

    pub fn and(mut self, name: &str, text: impl std::fmt::Display) -> Self {
        self.about.insert(name.to_owned(), cut(&text.to_string()));
        self
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn hash(line: &[u8]) -> String {
    Sha256::digest(line).iter().map(|b| format!("{b:02x}")).collect()
}

fn sealed_message(record: &Record) -> Vec<u8> {
    let mut record = record.clone();
    record.seal.iter_mut().for_each(|seal| seal.sig.clear());
    [b"wardgate audit record 1\n".as_slice(), &line(&record)].concat()
}

fn head_message(n: u64, hash: &str) -> Vec<u8> {
    format!("wardgate audit head 1\n{n}\n{hash}\n").into_bytes()
}

fn line(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("plain texts and numbers")
}

/// The log of one state folder. Several processes may append: the gateway, and a verb beside it.
#[derive(Clone)]
pub struct Audit {
    folder: PathBuf,
    signer: std::sync::Arc<SecretKey>,
}

/// What stands at the end of the log.
struct End {
    n: u64,
    hash: String,
    bytes: u64,
    last: Option<Record>,
}

impl Audit {
    /// `signer`: the device's own key.
    pub fn new(state: &Path, signer: SecretKey) -> Self {
        Self { folder: state.to_owned(), signer: std::sync::Arc::new(signer) }
    }

    pub fn key(&self) -> String {
        self.signer.public().id()
    }

    /// On flash when this returns; the record's number.
    pub fn append(&self, entry: Entry, now: Moment) -> io::Result<u64> {
        let lock = self.make(&self.folder.join(LOCK), OpenOptions::new().write(true).create(true).truncate(false))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut end = self.end()?;
        // who fails again and again for the same reason says it once, so that no loop drives out what came before
        if entry.what == What::Refuse && end.last.as_ref().is_some_and(|last| last.what == entry.what && last.about == entry.about) {
            return Ok(end.n);
        }
        if end.bytes > FILE_BYTES_MAX {
            self.rotate()?;
            end.bytes = 0;
        }
        let record = self.record(entry, now, &end)?;
        let mut bytes = line(&record);
        let head_hash = hash(&bytes);
        bytes.push(b'\n');
        let path = self.folder.join(LOG);
        let mut file = self.make(&path, OpenOptions::new().create(true).append(true))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        if end.bytes == 0 {
            File::open(&self.folder)?.sync_all()?;
        }
        self.write_head(record.n, &head_hash)?;
        Ok(record.n)
    }

    fn record(&self, entry: Entry, now: Moment, end: &End) -> io::Result<Record> {
        let n = end.n + 1;
        let mut record = Record {
            n,
            boot: format!("{:016x}", now.boot),
            up_s: now.monotonic_ns / 1_000_000_000,
            wall: now.wall_ns.map(|ns| when::text(ns.div_euclid(1_000_000_000))),
            what: entry.what,
            by: cut(&entry.by),
            about: entry.about,
            before: end.hash.clone(),
            seal: None,
        };
        if matches!(entry.what, What::Start | What::Stop) || n.is_multiple_of(SEALED_EVERY) || end.bytes == 0 {
            let from = files(&self.folder)?.first().map_or(Ok(n), |oldest| first_number(oldest).map(|first| first.unwrap_or(n)))?;
            record.seal = Some(Seal { key: self.key(), from, sig: String::new() });
            let sig = base64::encode(&self.signer.sign(&sealed_message(&record)));
            record.seal.iter_mut().for_each(|seal| seal.sig.clone_from(&sig));
        }
        Ok(record)
    }

    /// A file that a verb makes as root belongs to the gateway like the folder around it.
    fn make(&self, path: &Path, options: &mut OpenOptions) -> io::Result<File> {
        let fresh = !path.exists();
        let file = options.mode(MODE).open(path)?;
        if fresh {
            let owner = fs::metadata(&self.folder)?;
            if owner.uid() != file.metadata()?.uid() {
                fchown(&file, Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())))?;
            }
        }
        Ok(file)
    }

    /// A line that a power cut left half written was never told to anybody: it is cut away.
    fn end(&self) -> io::Result<End> {
        let path = self.folder.join(LOG);
        let head = self.head();
        let (mut n, mut hashed) = head.as_ref().map_or((0, NOTHING.to_owned()), |head| (head.n, head.hash.clone()));
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(&path) else {
            return Ok(End { n, hash: hashed, bytes: 0, last: None });
        };
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(2 * LINE_BYTES_MAX)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let bytes = size - (tail.len() - whole) as u64;
        if bytes < size {
            file.set_len(bytes)?;
            file.sync_all()?;
        }
        let last_line = tail[..whole].split(|b| *b == b'\n').rev().nth(1).unwrap_or_default();
        let last: Option<Record> = serde_json::from_slice(last_line).ok();
        if !last_line.is_empty() {
            hashed = hash(last_line);
            n = last.as_ref().map_or(n, |last| last.n);
        }
        Ok(End { n, hash: hashed, bytes, last })
    }

    fn head(&self) -> Option<Head> {
        serde_json::from_slice(&fs::read(self.folder.join(HEAD)).ok()?).ok()
    }

    fn write_head(&self, n: u64, hash: &str) -> io::Result<()> {
        let sig = base64::encode(&self.signer.sign(&head_message(n, hash)));
        let head = Head { n, hash: hash.to_owned(), key: self.key(), sig };
        let scratch = self.folder.join(format!("{HEAD}.new"));
        let mut file = self.make(&scratch, OpenOptions::new().write(true).create(true).truncate(true))?;
        file.write_all(&serde_json::to_vec(&head)?)?;
        file.sync_data()?;
        fs::rename(&scratch, self.folder.join(HEAD))
    }

    /// The chain goes on in a new file; the oldest file goes when there are too many.
    fn rotate(&self) -> io::Result<()> {
        let path = self.folder.join(LOG);
        let first = first_number(&path)?.unwrap_or(0);
        fs::rename(&path, self.folder.join(format!("audit.{first:012}.log")))?;
        let old = files(&self.folder)?;
        for path in &old[..old.len().saturating_sub(OLD_FILES_MAX)] {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    /// The newest record's number and hash, for whoever notes them elsewhere.
    pub fn newest(&self) -> Option<(u64, String)> {
        self.head().map(|head| (head.n, head.hash))
    }
}

/// All files of a log, the oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut old = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let number = name.strip_prefix("audit.").and_then(|n| n.strip_suffix(".log"));
        if number.is_some_and(|n| n.len() == 12 && n.bytes().all(|b| b.is_ascii_digit())) {
            old.push(path);
        }
    }
    old.sort();
    old.extend(Some(folder.join(LOG)).filter(|log| log.exists()));
    Ok(old)
}

fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    File::open(path)?.take(LINE_BYTES_MAX).read_to_end(&mut text)?;
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice::<Record>(first).ok().map(|record| record.n))
}

#[cfg(test)]
mod tests;
