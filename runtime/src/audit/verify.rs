//! Reads an audit log from end to end and names the first record that is not as it was written.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Anchor, Break, HEAD, HEAD_IS, Head, NOTHING, Record, What, hash, line, sealed_message, still};
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
    #[error(
        "{} {}: {}, and whether others stood behind that is not known", path.display(),
        if *gone { "is gone".into() } else { format!("is damaged, or not signed by the device ({key})") },
        if *last == 0 { "no record stands beside it".into() } else { chained(*last, *signed) }
    )]
    Head { path: PathBuf, key: String, gone: bool, last: u64, signed: u64 },
    #[error(
        "record {n} is missing, and all behind it: the log and its head end with record {last}, and the memory beside them knows record {known}: both were put back"
    )]
    PutBack { n: u64, last: u64, known: u64 },
    #[error(
        "record {n} is not the one that the memory beside the log knows: that or one before it was changed, or it is another log of this device"
    )]
    Another { n: u64 },
    #[error("there is no record in {}", path.display())]
    Empty { path: PathBuf },
    #[error("{}{}", found(*first, *told, *headless), behind(behind_it))]
    Found { first: u64, told: u64, headless: Headless, behind_it: Box<Result<Whole, Broken>> },
}

/// Whether a break was the loss of the head alone: the record that tells of it says so, and follows on the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headless {
    /// What the device had signed until then, by its newest signature.
    Yes {
        signed: u64,
    },
    No,
    /// That record was kept no longer.
    Unknown,
}

/// What is chained follows on; only what is signed is of the device: without a head whoever can write there writes a chain as well as the device.
fn chained(last: u64, signed: u64) -> String {
    match last.saturating_sub(signed) {
        0 => format!("the chain is whole and signed up to record {last}"),
        1 => format!(
            "the chain is whole up to record {last} and signed up to {signed}: the one behind that may be of whoever can write there"
        ),
        n => format!(
            "the chain is whole up to record {last} and signed up to {signed}: the {n} behind that may be of whoever can write there"
        ),
    }
}

fn found(first: u64, told: u64, headless: Headless) -> String {
    if let Headless::Yes { signed } = headless {
        let chained = chained(first.saturating_sub(1), signed);
        return format!(
            "{HEAD} was damaged or gone when the device wrote record {told}: {chained}, and whether others stood behind that is not known"
        );
    }
    if headless == Headless::Unknown {
        return format!(
            "{HEAD}, or what stood behind record {}, was not as the device left it when it wrote record {told}",
            first.saturating_sub(1)
        );
    }
    format!("record {first} is missing or not as it was written: the device found that when it wrote record {told}")
}

fn behind(it: &Result<Whole, Broken>) -> String {
    match it {
        Ok(whole) => format!("; what it signed since then, up to record {}, is as it was written", whole.covered),
        Err(why) => format!("; and of the others: {why}"),
    }
}

impl Broken {
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "run it as root or as the gateway's user",
            Self::Empty { .. } => "name a gateway's log, audit.log in its state folder",
            Self::Head { .. } => {
                "keep a copy of the whole state folder, and find out who could write there. The gateway makes a new head with its next record (at a \
                 restart at the latest) and tells of it there; until somebody who looked at `wardgate audit show` said `wardgate grant recall`, \
                 nothing new starts"
            }
            Self::Found { headless: Headless::Yes { .. }, .. } => {
                "keep a copy of the whole state folder, and find out who could write there: `wardgate audit show` marks what no signature \
                 vouches for; every later signature of the device says that the head was gone"
            }
            Self::Found { .. } => {
                "keep the whole state folder as it is, and find out who could write there: what stood in those records is lost, and every \
                 later signature of the device says so"
            }
            _ => {
                "keep the whole state folder as it is, and find out who could write there: what the log says from this record on is not proven"
            }
        }
    }
}

/// A file's name and its text.
type Text = (PathBuf, Vec<u8>);

fn texts(files: &[PathBuf]) -> Result<Vec<Text>, Broken> {
    let read = |path: &PathBuf| fs::read(path).map_err(|why| Broken::Unreadable { path: path.clone(), why: why.to_string() });
    files.iter().map(|path| Ok((path.clone(), read(path)?))).collect()
}

/// The log in a state folder, up to its newest record.
pub fn verify_folder(folder: &Path, key: &PublicKey) -> Result<Whole, Broken> {
    verify_beside(folder, key, None)
}

/// The same, against what the memory beside it knows.
pub fn verify_beside(folder: &Path, key: &PublicKey, known: Option<&Anchor>) -> Result<Whole, Broken> {
    let path = folder.join(HEAD);
    let (files, bytes, texts) = {
        let _still = still(folder); // a head that is older than the newest record would call that a stranger's
        let files = super::files(folder).map_err(|why| Broken::Unreadable { path: folder.to_owned(), why: why.to_string() })?;
        let texts = texts(&files);
        (files, fs::read(&path).ok(), texts)
    };
    if files.is_empty() && bytes.is_none() {
        return Err(Broken::Empty { path: folder.to_owned() });
    }
    let gone = bytes.is_none();
    let head = bytes.and_then(|bytes| Head::read(&bytes, key));
    let mut chain = Chain::default();
    let done = texts.and_then(|texts| texts.iter().try_for_each(|(path, text)| chain.read(path, text, key))).and_then(|()| {
        chain.beginning(0)?;
        let last = chain.whole.records.last().map_or(0, |record| record.n);
        // the device's own code over the memory vouches for the record that it names, and for all that it follows on
        let vouched = match known {
            Some(known) if chain.holds(known)? => known.n,
            _ => 0,
        };
        let signed = chain.whole.covered.max(vouched);
        let headless = || match known {
            Some(known) if known.n > last => Broken::Cut { n: last + 1, last: known.n },
            _ => Broken::Head { path: path.clone(), key: key.id(), gone, last, signed },
        };
        chain.up_to(head.as_ref().ok_or_else(headless)?)?;
        match known {
            Some(known) if known.n > last => Err(Broken::PutBack { n: last + 1, last, known: known.n }),
            _ => Ok(()),
        }
    });
    chain.done(done, head.and_then(|head| head.broken))
}

/// One file by itself: what stands behind its last signed record is chained, and nothing more.
pub fn verify_file(file: &Path, key: &PublicKey) -> Result<Whole, Broken> {
    let texts = {
        let _still = file.parent().and_then(still);
        texts(&[file.to_owned()])?
    };
    verify_text(file, &texts[0].1, key)
}

/// As [`verify_file`], of what is not on a disk.
pub fn verify_text(file: &Path, text: &[u8], key: &PublicKey) -> Result<Whole, Broken> {
    let mut chain = Chain::default();
    let done = chain.read(file, text, key);
    match chain.done(done, None) {
        Ok(whole) if whole.records.is_empty() => Err(Broken::Empty { path: file.to_owned() }),
        other => other,
    }
}

/// What the device vouches for, also of a log that is damaged: up to the newest signature before the damage.
pub fn proven(folder: &Path, key: &PublicKey) -> Vec<Record> {
    let mut chain = Chain::default();
    let (read, head) = {
        let _still = still(folder);
        (super::files(folder).ok().and_then(|files| texts(&files).ok()).unwrap_or_default(), fs::read(folder.join(HEAD)).ok())
    };
    let done = read.iter().try_for_each(|(path, text)| chain.read(path, text, key));
    let head = head.and_then(|bytes| Head::read(&bytes, key));
    if let (Ok(()), Some(head)) = (done, head) {
        let _ = chain.up_to(&head); // how far that is, is all that counts here
    }
    let mut vouched = chain.vouched.into_iter();
    chain.whole.records.retain(|_| vouched.next().unwrap_or(false));
    chain.whole.records
}

/// All that can be read of a log that is not whole, up to the first record that does not fit, each with whether the device vouches for it.
pub fn readable(folder: &Path, key: &PublicKey) -> Vec<(Record, bool)> {
    let proven: Vec<u64> = proven(folder, key).iter().map(|record| record.n).collect();
    let mut chain = Chain::default();
    let read = super::files(folder).ok().and_then(|files| texts(&files).ok()).unwrap_or_default();
    let _ = read.iter().try_for_each(|(path, text)| chain.read(path, text, key)); // how far that is, is all that counts here
    let marked = |record: Record| {
        let is_proven = proven.contains(&record.n);
        (record, is_proven)
    };
    chain.whole.records.into_iter().map(marked).collect()
}

fn signed(key: &PublicKey, message: &[u8], sig: &str) -> bool {
    base64::decode(sig).is_some_and(|sig| key.signed(message, &sig))
}

/// What was read so far.
#[derive(Default)]
struct Chain {
    whole: Whole,
    /// Which of the records a signature covers, so far as they were looked at for that.
    vouched: Vec<bool>,
    before: Option<String>,
    /// The first break that the device itself tells of.
    found: Option<Break>,
    /// Records that tell of a lost head, and follow on the one before them; each with what was signed until then.
    headless: Vec<(u64, u64)>,
}

impl Chain {
    /// Whether the record that the memory knows is here: what is older than the oldest that is kept has gone by itself.
    fn holds(&self, known: &Anchor) -> Result<bool, Broken> {
        let record = self.whole.records.iter().find(|record| record.n == known.n);
        match record.map(|record| hash(&line(record))) {
            Some(found) if found != known.hash => Err(Broken::Another { n: known.n }),
            found => Ok(found.is_some()),
        }
    }

    fn next(&self) -> u64 {
        self.whole.records.last().map_or(1, |record| record.n.saturating_add(1))
    }

    fn read(&mut self, path: &Path, text: &[u8], key: &PublicKey) -> Result<(), Broken> {
        let mut lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        let torn = lines.pop().is_some_and(|rest| !rest.is_empty());
        for (at, bytes) in lines.iter().enumerate() {
            let damaged = |n, why: &str| Broken::Damaged { n, path: path.to_owned(), at: at + 1, why: why.to_owned() };
            let next = self.next();
            let record: Record = serde_json::from_slice(bytes).map_err(|e| damaged(next, &e.to_string()))?;
            if line(&record) != *bytes {
                return Err(damaged(next, "it is not written as the gateway writes"));
            }
            let sealed = record.seal.as_ref().is_some_and(|seal| seal.key == key.id() && signed(key, &sealed_message(&record), &seal.sig));
            // only the device can say that what stands before this record is not its own
            match self.follows_on(&record) {
                Ok(()) if sealed && record.what == What::Broken && record.about.get("why").is_some_and(|why| why.starts_with(HEAD_IS)) => {
                    self.headless.push((record.n, self.whole.covered));
                }
                Err(why) if !(sealed && record.what == What::Broken) => return Err(why),
                _ => {}
            }
            if let Some(seal) = &record.seal {
                if !sealed {
                    return Err(Broken::Seal { n: record.n, key: seal.key.clone() });
                }
                self.found = self.found.or(seal.broken);
                (self.whole.seals, self.whole.covered) = (self.whole.seals + 1, record.n);
                // it vouches for itself, and for what it follows on
                self.vouched.resize(self.whole.records.len(), record.what != What::Broken);
                self.vouched.push(true);
            }
            self.before = Some(hash(bytes));
            self.whole.records.push(record);
        }
        if torn {
            let n = self.next();
            return Err(Broken::Damaged { n, path: path.to_owned(), at: lines.len() + 1, why: "its line has no end".into() });
        }
        Ok(())
    }

    fn follows_on(&self, record: &Record) -> Result<(), Broken> {
        let n = record.n;
        match self.whole.records.last() {
            // a file begins with a signed record, which vouches for what it says of those before it
            None if record.seal.is_some() || (n == 1 && record.before == NOTHING) => Ok(()),
            None => Err(Broken::Beheaded { n, from: 1 }),
            Some(last) if last.n.checked_add(1) == Some(n) && self.before.as_ref() == Some(&record.before) => Ok(()),
            Some(last) if last.n.checked_add(1) == Some(n) => Err(Broken::Changed { n: last.n }),
            Some(_) => Err(Broken::Missing { n: self.next(), found: n }),
        }
    }

    /// The oldest record is the one that the newest signed record, or the head, says was the oldest then, or a younger one was kept since.
    fn beginning(&self, head: u64) -> Result<(), Broken> {
        let newest = self.whole.records.iter().rev().find_map(|record| record.seal.as_ref()).map_or(u64::MAX, |seal| seal.from.max(1));
        let from = if head == 0 { newest } else { head };
        match self.whole.records.first() {
            Some(first) if first.n > from => Err(Broken::Beheaded { n: first.n, from }),
            _ => Ok(()),
        }
    }

    /// Up to the record that the device signed as its newest, or the one that it was about to write.
    fn up_to(&mut self, head: &Head) -> Result<(), Broken> {
        self.beginning(head.from.max(1))?;
        let last = self.whole.records.last().map_or(0, |record| record.n);
        if last < head.n {
            return Err(Broken::Cut { n: last + 1, last: head.n });
        }
        let newest = self.before.clone().unwrap_or_else(|| NOTHING.into());
        if newest == head.hash || head.next.as_ref() == Some(&newest) {
            self.whole.covered = self.whole.covered.max(last);
            self.vouched.resize(self.whole.records.len(), true);
            return Ok(());
        }
        if last == head.n { Err(Broken::Changed { n: last }) } else { Err(Broken::Foreign { n: head.n.saturating_add(1), last: head.n }) }
    }

    fn done(self, done: Result<(), Broken>, head: Option<Break>) -> Result<Whole, Broken> {
        let kept = self.whole.records.first().map(|oldest| oldest.n);
        let rest = done.map(|()| self.whole);
        match self.found.or(head) {
            Some(Break { first, told }) => {
                let kept = kept.is_none_or(|oldest| oldest <= told);
                let at = self.headless.iter().find(|(n, _)| *n == told);
                let headless = match (first == told, kept) {
                    (true, _) if at.is_some() => Headless::Yes { signed: at.map_or(0, |(_, signed)| *signed) },
                    (true, false) => Headless::Unknown,
                    _ => Headless::No,
                };
                Err(Broken::Found { first, told, headless, behind_it: Box::new(rest) })
            }
            None => rest,
        }
    }
}
