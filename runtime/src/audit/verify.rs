//! Reads an audit log from end to end and names the first record that is not as it was written.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HEAD, Head, NOTHING, Record, hash, head_message, line, sealed_message};
use crate::keys::{PublicKey, base64};

/// What a whole log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    pub records: Vec<Record>,
    pub seals: u64,
    /// The newest record that a signature of the device covers, by itself or through those behind it.
    pub covered: u64,
}

/// The first record that is wrong, and what is wrong with it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Broken {
    #[error("{}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("record {n} is damaged ({}, line {at}): {why}", path.display())]
    Damaged { n: u64, path: PathBuf, at: usize, why: String },
    #[error("record {n} was changed after it was written: record {} does not fit it", n + 1)]
    Changed { n: u64 },
    #[error("record {n} is missing: record {found} stands in its place")]
    Missing { n: u64, found: u64 },
    #[error("record {n} is signed wrongly, or by another key ({key})")]
    Seal { n: u64, key: String },
    #[error("record {n} is missing, and all behind it: the log was cut off, its newest record was {last}")]
    Cut { n: u64, last: u64 },
    #[error("the records before {n} are missing: the log was kept from record {from} on")]
    Beheaded { n: u64, from: u64 },
    #[error("record {n} was put in by somebody else: the device signed none behind {last}")]
    Foreign { n: u64, last: u64 },
    #[error("{} is missing or not signed by the device ({key}): which record is the newest is not known", path.display())]
    Head { path: PathBuf, key: String },
    #[error("there is no record in {}", path.display())]
    Empty { path: PathBuf },
}

impl Broken {
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "run it as root or as the gateway's user",
            Self::Empty { .. } => "name a gateway's log, audit.log in its state folder",
            _ => {
                "keep the whole state folder as it is, and find out who could write there: what the log says from this record on is not proven"
            }
        }
    }
}

/// The log in a state folder, up to its newest record.
pub fn verify_folder(folder: &Path, key: &PublicKey) -> Result<Whole, Broken> {
    let files = super::files(folder).map_err(|why| Broken::Unreadable { path: folder.to_owned(), why: why.to_string() })?;
    let path = folder.join(HEAD);
    let unknown = || Broken::Head { path: path.clone(), key: key.id() };
    let head = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Head>(&bytes).ok());
    if files.is_empty() && head.is_none() {
        return Err(Broken::Empty { path: folder.to_owned() });
    }
    let mut whole = chain(&files, key)?;
    beginning(&whole)?;
    let head = head.filter(|head| signed(key, &head_message(head.n, &head.hash), &head.sig)).ok_or_else(unknown)?;
    let last = whole.records.last().map_or(0, |record| record.n);
    if last < head.n {
        return Err(Broken::Cut { n: last + 1, last: head.n });
    }
    // between the record and the file that names it the power may have gone; a seal of its own tells it from a foreign one
    if last > head.n + 1 || (last == head.n + 1 && whole.covered < last && !follows(&whole.records, &head)) {
        return Err(Broken::Foreign { n: head.n + 1, last: head.n });
    }
    let named = whole.records.iter().find(|record| record.n == head.n);
    if named.is_some_and(|record| hash(&line(record)) != head.hash) {
        return Err(Broken::Changed { n: head.n });
    }
    whole.covered = whole.covered.max(head.n);
    Ok(whole)
}

fn follows(records: &[Record], head: &Head) -> bool {
    records.last().is_some_and(|record| record.before == head.hash)
}

/// One file by itself: what stands behind its last signed record is chained, and nothing more.
pub fn verify_file(file: &Path, key: &PublicKey) -> Result<Whole, Broken> {
    let whole = chain(&[file.to_owned()], key)?;
    if whole.records.is_empty() { Err(Broken::Empty { path: file.to_owned() }) } else { Ok(whole) }
}

fn signed(key: &PublicKey, message: &[u8], sig: &str) -> bool {
    base64::decode(sig).is_some_and(|sig| key.signed(message, &sig))
}

fn chain(files: &[PathBuf], key: &PublicKey) -> Result<Whole, Broken> {
    let mut whole = Whole::default();
    let mut before = NOTHING.to_owned();
    for path in files {
        let text = fs::read(path).map_err(|why| Broken::Unreadable { path: path.clone(), why: why.to_string() })?;
        let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        let torn = lines.pop().is_some_and(|rest| !rest.is_empty());
        let expected = |whole: &Whole| whole.records.last().map_or(1, |record| record.n + 1);
        for (at, bytes) in lines.iter().enumerate() {
            let damaged = |n, why: &str| Broken::Damaged { n, path: path.clone(), at: at + 1, why: why.to_owned() };
            let next = expected(&whole);
            let record: Record = serde_json::from_slice(bytes).map_err(|e| damaged(next, &e.to_string()))?;
            if line(&record) != *bytes {
                return Err(damaged(next, "it is not written as the gateway writes"));
            }
            follows_on(&whole, &record, &before)?;
            if let Some(seal) = &record.seal {
                if seal.key != key.id() || !signed(key, &sealed_message(&record), &seal.sig) {
                    return Err(Broken::Seal { n: record.n, key: seal.key.clone() });
                }
                (whole.seals, whole.covered) = (whole.seals + 1, record.n);
            }
            before = hash(bytes);
            whole.records.push(record);
        }
        if torn {
            let n = expected(&whole);
            return Err(Broken::Damaged { n, path: path.clone(), at: lines.len() + 1, why: "its line has no end".into() });
        }
    }
    Ok(whole)
}

/// The oldest record is the one that the newest signed record says was the oldest then, or a younger one was kept since.
fn beginning(whole: &Whole) -> Result<(), Broken> {
    let newest = whole.records.iter().rev().find_map(|record| record.seal.as_ref());
    if let (Some(first), Some(seal)) = (whole.records.first(), newest)
        && first.n > seal.from.max(1)
    {
        return Err(Broken::Beheaded { n: first.n, from: seal.from });
    }
    Ok(())
}

fn follows_on(whole: &Whole, record: &Record, before: &str) -> Result<(), Broken> {
    let n = record.n;
    match whole.records.last() {
        // a file begins with a signed record, which vouches for what it says of those before it
        None if record.seal.is_some() || n == 1 => Ok(()),
        None => Err(Broken::Beheaded { n, from: 1 }),
        Some(last) if n == last.n + 1 && record.before == *before => Ok(()),
        Some(last) if n == last.n + 1 => Err(Broken::Changed { n: last.n }),
        Some(last) => Err(Broken::Missing { n: last.n + 1, found: n }),
    }
}
