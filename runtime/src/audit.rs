//! The audit log of a gateway: who installed, granted, revoked, refused or bound what. Lines of JSON in the state folder, each with the hash of the
//! one before it; some are signed by the device, and the newest is named in a signed file beside them. `verify` reads all of it. Nothing is written
//! behind records that are not as the device left them without a record that says so, which no later record takes back.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::{PublicKey, SecretKey, base64};
use crate::shared_file::{replace_file, shared_file};
use crate::when;

mod verify;

pub use verify::{Broken, Whole, proven, readable, verify_beside, verify_file, verify_folder, verify_text};

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
/// Refusals of one user by one verb for one kind of reason within [`REFUSED_WITHIN_S`]: who tries all day long does not drive out what came before, and
/// hides no refusal of another kind. A day of one kind has some 300 kB, and no person is refused so often.
const REFUSED_MAX: usize = 32;
const REFUSED_WITHIN_S: u64 = 3600; // who is refused by mistake asks somebody within the hour
const MODE: u32 = 0o640;
const OLD_NUMBER_DIGITS: usize = 12; // of a record, in the name of a file: they sort by it
const OLD_NUMBER_MAX: u64 = 999_999_999_999;
/// The hash of nothing, before the first record.
const NOTHING: &str = "";

/// Who speaks where no person does.
pub const GATEWAY: &str = "gateway";

/// So begins what a record tells of a break where it is the head that was lost; logs of older gateways have it too.
const HEAD_IS: &str = "audit.head is ";

const LOG: &str = "audit.log";
const HEAD: &str = "audit.head";
const LOCK: &str = "audit.lock";
/// How long a reader waits for whoever writes: a card takes a second for a record, and one that takes longer hangs.
const STILL_LOOKS: u32 = 500;
const STILL_LOOK: std::time::Duration = std::time::Duration::from_millis(10);

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
    /// The log itself was not as this device had left it.
    Broken,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Break>,
    pub sig: String,
}

/// The first time that the device found its log changed: told in each signature from then on, so that no rotation takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// The first record that was not there, or not as it was written.
    pub first: u64,
    /// The record that tells of it.
    pub told: u64,
}

impl Break {
    /// Where the record that tells of it is not looked at. That one itself is as it was written.
    pub fn in_words(self) -> String {
        let Self { first, told } = self;
        if first == told {
            return format!(
                "the log's head, or what stood behind record {}, was not as this device left it, as record {told} tells",
                first.saturating_sub(1)
            );
        }
        format!("record {first} is missing or was changed, as record {told} tells")
    }
}

/// Which record is the newest, and which one is about to be written behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    pub n: u64,
    pub hash: String,
    /// Hash of the record that was about to be written: after a power cut it may be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The oldest record that is kept.
    pub from: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<Break>,
    /// How often the memory beside the log was written: an older one in its place is known by that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub memory: u64,
    pub key: String,
    pub sig: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Which record was the newest when something beside the log was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub n: u64,
    pub hash: String,
}

/// What the memory beside the log knows of it: how often it was written, and the newest record then.
type Beside = dyn Fn() -> Option<(u64, Anchor)> + Send + Sync;

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

/// Of a reason, without what it is about: files, numbers, names in quotation marks.
fn kind_of(why: Option<&String>) -> String {
    let about = |word: &&str| word.contains(|c: char| c.is_ascii_digit() || "/._\"'`".contains(c));
    why.map_or("", String::as_str).split_whitespace().filter(|word| !about(word)).collect::<Vec<_>>().join(" ")
}

fn boot_of(now: Moment) -> String {
    format!("{:016x}", now.boot)
}

fn up_of(now: Moment) -> u64 {
    now.monotonic_ns / 1_000_000_000
}

fn hash(line: &[u8]) -> String {
    Sha256::digest(line).iter().map(|b| format!("{b:02x}")).collect()
}

fn sealed_message(record: &Record) -> Vec<u8> {
    let mut record = record.clone();
    record.seal.iter_mut().for_each(|seal| seal.sig.clear());
    [b"wardgate audit record 1\n".as_slice(), &line(&record)].concat()
}

fn head_message(head: &Head) -> Vec<u8> {
    let unsigned = Head { sig: String::new(), ..head.clone() };
    [b"wardgate audit head 1\n".as_slice(), &serde_json::to_vec(&unsigned).expect("plain texts and numbers")].concat()
}

fn line(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("plain texts and numbers")
}

/// The log of one state folder. Several processes may append: the gateway, and a verb beside it.
#[derive(Clone)]
pub struct Audit {
    folder: PathBuf,
    signer: Arc<SecretKey>,
    beside: Option<Arc<Beside>>,
}

/// Whoever writes does so under the lock: while this is held nobody does, and what was half done is done. It is held for reading files alone, because
/// the gateway waits for it. None: nobody ever wrote there, or somebody writes for so long that it is read as it is.
fn still(folder: &Path) -> Option<File> {
    let lock = File::open(folder.join(LOCK)).ok()?;
    for _ in 0..STILL_LOOKS {
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Some(lock),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(STILL_LOOK),
            Err(_) => return None,
        }
    }
    None
}

/// What stands at the end of the log, as far as the device can vouch for it: what comes next is chained to this.
struct End {
    n: u64,
    hash: String,
    /// Of the file that is written.
    bytes: u64,
    last: Option<Record>,
    /// The oldest record that is kept.
    from: u64,
    broken: Option<Break>,
    memory: u64,
    /// What is not as the device left it, and was not told yet: the first such record, and what is wrong.
    flaw: Option<(u64, String)>,
    /// There is a log, and no head that fits its end: how often the memory beside it was written is not known either.
    lost: bool,
}

/// What the files hold, whoever wrote it.
struct Tail {
    bytes: u64,
    line: Option<Vec<u8>>,
    /// The oldest record's number.
    from: Option<u64>,
}

impl Audit {
    /// `signer`: the device's own key.
    pub fn new(state: &Path, signer: SecretKey) -> Self {
        Self { folder: state.to_owned(), signer: Arc::new(signer), beside: None }
    }

    /// The memory knows which record was the newest when it was written: a log that was put back together with its head ends before that.
    pub fn beside(self, memory: impl Fn() -> Option<(u64, Anchor)> + Send + Sync + 'static) -> Self {
        Self { beside: Some(Arc::new(memory)), ..self }
    }

    /// That the memory was written so often, before anything else is.
    pub fn note_memory(&self, count: u64) -> io::Result<()> {
        let lock = shared_file(&self.folder.join(LOCK), OpenOptions::new().write(true).create(true), MODE)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        // without a head there is no record yet, or the next one tells that it is gone
        let Some(mut head) = self.head() else { return Ok(()) };
        head.memory = head.memory.max(count);
        self.sign_head(head)
    }

    pub fn key(&self) -> String {
        self.signer.public().id()
    }

    /// On flash when this returns; the record's number.
    pub fn append(&self, mut entry: Entry, now: Moment) -> io::Result<u64> {
        let lock = shared_file(&self.folder.join(LOCK), OpenOptions::new().write(true).create(true), MODE)?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut end = self.end(true)?;
        let mut known = None;
        if let Some((count, newest)) = self.beside.as_ref().and_then(|memory| memory()) {
            let known = &*known.insert(newest);
            // by a new head an older memory would be as good as the newest: it stays one short until a person has made it anew
            end.memory = end.memory.max(count.saturating_add(u64::from(end.lost)));
            if known.n > end.n {
                // the numbers go on behind those that are gone: what was written once is written by nobody again
                let why = format!(
                    "the log and its head end with record {}, and the memory beside them knows record {}: both were put back",
                    end.n, known.n
                );
                end.flaw.get_or_insert((end.n.saturating_add(1), why));
                (end.n, end.hash) = (known.n, known.hash.clone());
            }
        }
        if let (true, Some((_, why)), Some(known)) = (end.lost, &end.flaw, &known)
            && self.hash_of(known.n)?.is_some_and(|found| found != known.hash)
        {
            end.flaw = Some((known.n, format!("record {} is not the one that the memory beside the log knows, and {why}", known.n)));
        }
        if let Some((first, why)) = end.flaw.take() {
            let told = end.n.checked_add(1).ok_or_else(used_up)?;
            end.broken.get_or_insert(Break { first, told });
            end = self.put(Entry::new(What::Broken, GATEWAY, [("first", &first), ("why", &why)]), now, end)?;
        }
        // who fails again and again for the same reason says it once, so that no loop drives out what came before; another who fails is news
        let again = |last: &Record| last.what == entry.what && last.by == cut(&entry.by) && last.about == entry.about;
        if entry.what == What::Refuse && end.last.as_ref().is_some_and(again) {
            return Ok(end.n);
        }
        if entry.what == What::Refuse && entry.by != GATEWAY {
            match self.refused(&entry, now)? {
                n if n >= REFUSED_MAX => return Ok(end.n),
                n if n + 1 == REFUSED_MAX => {
                    let words = format!("of such refusals of this user by this verb no more than {REFUSED_MAX} an hour are written down");
                    entry = entry.and("further", words);
                }
                _ => {}
            }
        }
        Ok(self.put(entry, now, end)?.n)
    }

    /// Of the line of one record, where it is kept and can be read.
    fn hash_of(&self, n: u64) -> io::Result<Option<String>> {
        for path in files(&self.folder)? {
            let text = fs::read(path)?;
            let is = |line: &&[u8]| serde_json::from_slice::<Record>(line).is_ok_and(|record| record.n == n);
            if let Some(found) = text.split(|b| *b == b'\n').find(is) {
                return Ok(Some(hash(found)));
            }
        }
        Ok(None)
    }

    /// How often this user was refused by this verb of late, as far as the present file tells: a file more is no gain to whoever fills them.
    fn refused(&self, entry: &Entry, now: Moment) -> io::Result<usize> {
        let text = match fs::read(self.folder.join(LOG)) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(why) => return Err(why),
        };
        let (by, boot, up_s, kind) = (cut(&entry.by), boot_of(now), up_of(now), kind_of(entry.about.get("why")));
        let of_late = |record: &Record| {
            let same = record.what == What::Refuse && record.by == by && record.about.get("what") == entry.about.get("what");
            same && kind_of(record.about.get("why")) == kind && record.boot == boot && up_s < record.up_s.saturating_add(REFUSED_WITHIN_S)
        };
        let records = text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Record>(line).ok());
        Ok(records.filter(of_late).count())
    }

    /// Before the record the head says what it will be, and behind it that it is there: a log that is longer or shorter was changed by others.
    fn put(&self, entry: Entry, now: Moment, mut end: End) -> io::Result<End> {
        let fresh = end.bytes == 0 || end.bytes > FILE_BYTES_MAX;
        let leaving = if end.bytes > FILE_BYTES_MAX { self.rotate()? } else { Vec::new() };
        if !leaving.is_empty() {
            end.from = oldest(&self.folder, leaving.len())?.unwrap_or(end.from);
        }
        if fresh {
            end.bytes = 0;
        }
        let record = self.record(entry, now, &end)?;
        let mut bytes = line(&record);
        let next = hash(&bytes);
        bytes.push(b'\n');
        self.write_head(&end, Some(&next))?;
        for path in leaving {
            fs::remove_file(path)?;
        }
        let mut file = shared_file(&self.folder.join(LOG), OpenOptions::new().create(true).append(true), MODE)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        let end = End { n: record.n, hash: next, bytes: end.bytes + bytes.len() as u64, last: Some(record), ..end };
        self.write_head(&end, None)?;
        Ok(end)
    }

    fn record(&self, entry: Entry, now: Moment, end: &End) -> io::Result<Record> {
        let n = end.n.checked_add(1).ok_or_else(used_up)?;
        let mut record = Record {
            n,
            boot: boot_of(now),
            up_s: up_of(now),
            wall: now.wall_ns.map(|ns| when::text(ns.div_euclid(1_000_000_000))),
            what: entry.what,
            by: cut(&entry.by),
            about: entry.about,
            before: end.hash.clone(),
            seal: None,
        };
        let sealed = matches!(entry.what, What::Start | What::Stop | What::Broken) || n.is_multiple_of(SEALED_EVERY);
        if sealed || end.bytes == 0 {
            record.seal = Some(Seal { key: self.key(), from: end.from, broken: end.broken, sig: String::new() });
            let sig = base64::encode(&self.signer.sign(&sealed_message(&record)).map_err(io::Error::other)?);
            record.seal.iter_mut().for_each(|seal| seal.sig.clone_from(&sig));
        }
        Ok(record)
    }

    /// Why nobody knows which record was the newest, where there is a log: its head is gone, another's, or does not fit it. Nothing is written.
    pub fn doubt(&self) -> Option<String> {
        self.looked_at(|end| end.lost)
    }

    /// What of the log is not as this device left it and no record tells of yet. Nothing is written.
    pub fn flaw(&self) -> Option<String> {
        self.looked_at(|_| true)
    }

    fn looked_at(&self, counts: impl Fn(&End) -> bool) -> Option<String> {
        let look = || self.end(false).ok().filter(&counts)?.flaw.map(|(_, why)| why);
        look()?;
        let _still = still(&self.folder);
        look()
    }

    /// Whether the gateway never began a life here: no log is there, or one that is whole from its first record on and tells of none.
    pub fn before_the_first_start(&self) -> bool {
        if !self.folder.exists() {
            return true;
        }
        match verify_folder(&self.folder, &self.signer.public()) {
            Ok(whole) => {
                whole.records.first().is_none_or(|first| first.n == 1) && whole.records.iter().all(|record| record.what != What::Start)
            }
            Err(why) => matches!(why, Broken::Empty { .. }),
        }
    }

    /// The files against what the device signed last of them. `mend`: what was half written is cut away.
    fn end(&self, mend: bool) -> io::Result<End> {
        let Tail { bytes, line, from } = self.tail(mend)?;
        let is_there = line.is_some();
        let last: Option<Record> = line.as_deref().and_then(|line| serde_json::from_slice(line).ok());
        let (hashed, at) = (line.as_deref().map(hash), last.as_ref().map(|last| last.n));
        let unknown = self.folder.join(HEAD).exists();
        let Some(head) = self.head() else {
            let mut end = End {
                n: 0,
                hash: NOTHING.into(),
                bytes,
                last,
                from: from.unwrap_or(1),
                broken: None,
                memory: 0,
                flaw: None,
                lost: is_there,
            };
            if let Some(hashed) = hashed {
                (end.n, end.hash) = (at.filter(|n| *n < u64::MAX).unwrap_or(0), hashed);
            }
            if end.n > 0 || unknown || line.is_some() {
                let how = if unknown { "damaged, or not signed by this device" } else { "gone" };
                let why = format!("{HEAD_IS}{how}, so which record was the newest is not known");
                end.flaw = Some((end.n.saturating_add(1), why));
            }
            return Ok(end);
        };
        let mut end = End {
            n: head.n,
            hash: head.hash,
            bytes,
            last,
            from: head.from,
            broken: head.broken,
            memory: head.memory,
            flaw: None,
            lost: false,
        };
        match &hashed {
            Some(found) if *found == end.hash => {}
            None if end.hash == NOTHING => {}
            Some(found) if head.next.as_ref() == Some(found) => {
                (end.n, end.hash) = (end.n.checked_add(1).ok_or_else(used_up)?, found.clone())
            }
            _ => {
                let newest = end.n;
                let (first, why) = match at {
                    Some(n) if n > newest => {
                        (newest.saturating_add(1), format!("records up to {n} stand behind {newest}, the newest of this device"))
                    }
                    Some(n) if n == newest => (n, format!("record {n} is not the one that this device wrote")),
                    Some(n) => (n.saturating_add(1), format!("the log ends with record {n}, and this device wrote {newest}")),
                    None => (
                        from.unwrap_or(end.from).min(newest),
                        format!("no record is at the end of the log, and this device wrote {newest}"),
                    ),
                };
                (end.flaw, end.lost) = (Some((first, why)), is_there);
            }
        }
        if let Some(from) = from.filter(|from| *from > end.from && end.flaw.is_none()) {
            end.flaw = Some((end.from, format!("the log begins with record {from}, and was kept from {} on", end.from)));
        }
        if end.flaw.is_some() {
            end.from = from.unwrap_or(end.n.saturating_add(1));
        }
        Ok(end)
    }

    /// A line that a power cut left half written was never told to anybody: it is cut away.
    fn tail(&self, mend: bool) -> io::Result<Tail> {
        let files = files(&self.folder)?;
        let from = files.first().map(|oldest| first_number(oldest)).transpose()?.flatten();
        let (mut bytes, mut line) = (0, None);
        for path in files.iter().rev() {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(size.saturating_sub(2 * LINE_BYTES_MAX)))?;
            let mut tail = Vec::new();
            file.take(2 * LINE_BYTES_MAX).read_to_end(&mut tail)?;
            let whole = tail.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            if path.ends_with(LOG) {
                bytes = size - (tail.len() - whole) as u64;
                if bytes < size && mend {
                    let file = OpenOptions::new().write(true).open(path)?;
                    file.set_len(bytes)?;
                    file.sync_all()?;
                }
            }
            // a file that was begun and got nothing yet: the newest record stands in the one before it
            line = tail[..whole].split(|b| *b == b'\n').rev().nth(1).map(<[u8]>::to_vec);
            if line.is_some() {
                break;
            }
        }
        Ok(Tail { bytes, line, from })
    }

    /// As this device signed it.
    fn head(&self) -> Option<Head> {
        let mut bytes = Vec::new();
        File::open(self.folder.join(HEAD)).ok()?.take(LINE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Head::read(&bytes, &self.signer.public())
    }

    fn write_head(&self, end: &End, next: Option<&str>) -> io::Result<()> {
        let next = next.map(str::to_owned);
        let (hash, key) = (end.hash.clone(), self.key());
        self.sign_head(Head { n: end.n, hash, next, from: end.from, broken: end.broken, memory: end.memory, key, sig: String::new() })
    }

    fn sign_head(&self, mut head: Head) -> io::Result<()> {
        head.sig = base64::encode(&self.signer.sign(&head_message(&head)).map_err(io::Error::other)?);
        replace_file(&self.folder.join(HEAD), &serde_json::to_vec(&head)?, MODE)
    }

    /// The chain goes on in a new file. Those that are too many now, the oldest first.
    fn rotate(&self) -> io::Result<Vec<PathBuf>> {
        let path = self.folder.join(LOG);
        let old = files(&self.folder)?;
        let newest = old.iter().rev().find_map(|path| old_number(path));
        // behind all others, and never over one of them, whatever somebody wrote into it
        let first = first_number(&path)?.filter(|n| *n < OLD_NUMBER_MAX).unwrap_or(0).max(newest.map_or(0, |n| n + 1));
        fs::rename(&path, self.folder.join(format!("audit.{first:012}.log")))?;
        let mut old = files(&self.folder)?;
        old.truncate(old.len().saturating_sub(OLD_FILES_MAX));
        Ok(old)
    }

    /// The newest record's number and hash, for whoever notes them elsewhere.
    pub fn newest(&self) -> Option<Head> {
        self.head()
    }

    /// Records that this device vouches for, the oldest first, also where others are damaged.
    pub fn proven(&self) -> Vec<Record> {
        proven(&self.folder, &self.signer.public())
    }
}

impl Head {
    /// Of a file's content, if this key signed it.
    pub fn read(bytes: &[u8], key: &PublicKey) -> Option<Self> {
        let head: Self = serde_json::from_slice(bytes).ok()?;
        let sig = base64::decode(&head.sig)?;
        key.signed(&head_message(&head), &sig).then_some(head)
    }
}

fn used_up() -> io::Error {
    io::Error::other("no number is left for another record")
}

/// All files of a log, the oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut old = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if old_number(&path).is_some() {
            old.push(path);
        }
    }
    old.sort();
    old.extend(Some(folder.join(LOG)).filter(|log| log.exists()));
    Ok(old)
}

/// The number in the name of a file that is written no more.
fn old_number(path: &Path) -> Option<u64> {
    let number = path.file_name()?.to_str()?.strip_prefix("audit.")?.strip_suffix(".log")?;
    if number.len() == OLD_NUMBER_DIGITS && number.bytes().all(|b| b.is_ascii_digit()) { number.parse().ok() } else { None }
}

/// The oldest record once so many files have gone.
fn oldest(folder: &Path, gone: usize) -> io::Result<Option<u64>> {
    files(folder)?.get(gone).map(|path| first_number(path)).transpose().map(Option::flatten)
}

fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    File::open(path)?.take(LINE_BYTES_MAX).read_to_end(&mut text)?;
    let first = text.split(|b| *b == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice::<Record>(first).ok().map(|record| record.n))
}

#[cfg(test)]
mod tests;
