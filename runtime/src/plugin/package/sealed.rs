//! A package as one file, NAME-VERSION.wardgate: an OCI image layout in the canonical tar, with the vendor's signed statement inside. Pure.
//! docs/package.md draws it.

use super::flaw::Flaw;
use super::statement::{self, Claim, Signature};
use super::tar::{self, Entry};
use super::{COMPONENT_BYTES_MAX, COMPONENT_FILE, MANIFEST_BYTES_MAX, MANIFEST_FILE, oci};
use crate::config::is_name;
use crate::keys::{PublicKey, SecretKey};

pub const SBOM_FILE: &str = "sbom.cdx.json";
pub const README_FILE: &str = "README.md";
pub const STATEMENT_FILE: &str = "statement.dsse.json";
pub const GOLDEN_FOLDER: &str = "golden";
/// Of a package file's name.
pub const ENDING: &str = "wardgate";

/// A component of 4 MiB, and as much again of everything else twice over; a Pi reads it in a second.
pub const FILE_BYTES_MAX: usize = 16 << 20;
const MEMBERS_MAX: usize = 256; // 64 texts for a setting, some dozens of golden cases
const SBOM_BYTES_MAX: usize = 1 << 20; // 36 crates take 12 kB
const README_BYTES_MAX: usize = 256 << 10; // some pages
const OTHER_BYTES_MAX: usize = 1 << 20; // the longest golden case here has 30 kB
const STATEMENT_BYTES_MAX: usize = 128 << 10; // 130 bytes a member, in base64
const FILE_NAME_BYTES_MAX: usize = 80; // of a golden case or a text

/// A member, by the path that it has in the plugin's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub digest: String,
}

impl File {
    pub fn new(path: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { path: path.into(), digest: oci::hex(&bytes), bytes }
    }
}

/// The media type of the member at this path, and its most bytes; `None`: nothing in a package is called so.
pub fn media_type(path: &str) -> Option<(&'static str, usize)> {
    let known = match path {
        COMPONENT_FILE => ("application/wasm", COMPONENT_BYTES_MAX as usize),
        MANIFEST_FILE => ("application/toml", MANIFEST_BYTES_MAX as usize),
        SBOM_FILE => ("application/vnd.cyclonedx+json", SBOM_BYTES_MAX),
        README_FILE => ("text/markdown", README_BYTES_MAX),
        STATEMENT_FILE => ("application/vnd.dsse.envelope.v1+json", STATEMENT_BYTES_MAX),
        inside => {
            let (folder, name) = inside.split_once('/')?;
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_name(folder) || !plain || name.is_empty() || name.starts_with('.') || name.len() > FILE_NAME_BYTES_MAX {
                return None;
            }
            (if folder == GOLDEN_FOLDER { "application/json" } else { "text/plain" }, OTHER_BYTES_MAX)
        }
    };
    Some(known)
}

/// Where a member stands among the others.
fn rank(path: &str) -> (usize, &str) {
    let first = [COMPONENT_FILE, MANIFEST_FILE, SBOM_FILE, README_FILE];
    (first.iter().position(|name| *name == path).unwrap_or(first.len()), path)
}

/// A package that is whole: each byte of its file follows from what stands here.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    pub claim: Claim,
    files: Vec<File>,
    signatures: Vec<Signature>,
}

impl Sealed {
    /// Not signed yet.
    pub fn new(mut files: Vec<File>, claim: Claim) -> Result<Self, Flaw> {
        files.sort_by(|a, b| rank(&a.path).cmp(&rank(&b.path)));
        for file in &files {
            let name = || file.path.clone();
            match media_type(&file.path) {
                None => return Err(Flaw::Extra { name: name() }),
                Some((_, most)) if file.bytes.len() > most => {
                    return Err(Flaw::MemberTooLarge { name: name(), bytes: file.bytes.len(), most });
                }
                Some(_) => {}
            }
        }
        let sealed = Self { claim, files, signatures: Vec::new() };
        let bytes = sealed.write().len();
        if bytes > FILE_BYTES_MAX {
            return Err(Flaw::TooLarge { bytes, most: FILE_BYTES_MAX });
        }
        complete(&sealed.files).map(|()| sealed)
    }

    /// Adds a signature; one by the same key takes the place of the one before.
    pub fn sign(&mut self, key: &SecretKey) -> Result<(), Flaw> {
        self.signatures.retain(|s| s.key != key.public());
        if self.signatures.len() == statement::SIGNATURES_MAX {
            return Err(Flaw::Signatures { most: statement::SIGNATURES_MAX });
        }
        let signature = statement::sign(&self.files, &self.claim, key).map_err(|e| Flaw::Signing { why: e.to_string() })?;
        self.signatures.push(signature);
        self.signatures.sort_by_key(|s| s.key);
        Ok(())
    }

    /// No good signature on `other`, which is the same package, goes for this one: it is taken over, in the place of one that is not good where there is
    /// no room else; and where all are good and too many, `other` stays as it is. `theirs`, `ours`: the keys that count.
    pub fn join(&mut self, other: &Self, theirs: &[PublicKey], ours: &[PublicKey]) {
        let lacks = |s: &&Signature| theirs.contains(&s.key) && !self.signatures.iter().any(|own| own.key == s.key);
        let lacking: Vec<_> = other.signatures.iter().filter(lacks).cloned().collect();
        let good = self.signatures.iter().filter(|s| ours.contains(&s.key)).count();
        if good + lacking.len() > statement::SIGNATURES_MAX {
            self.signatures.clone_from(&other.signatures);
            return;
        }
        self.signatures.sort_by_key(|s| !ours.contains(&s.key)); // the good ones first
        self.signatures.truncate(statement::SIGNATURES_MAX - lacking.len());
        self.signatures.extend(lacking);
        self.signatures.sort_by_key(|s| s.key);
    }

    /// Takes all signatures off: what was signed stays the same.
    pub fn unsign(&mut self) {
        self.signatures.clear();
    }

    /// Whose signatures are on it, all of them right; none: nobody has signed it.
    pub fn signers(&self) -> impl Iterator<Item = &PublicKey> {
        self.signatures.iter().map(|s| &s.key)
    }

    /// Of all that its vendor signed, in hexadecimal: SHA-256 of the statement, which names the digest of each file. A second signature on the same
    /// package leaves it as it is.
    pub fn digest(&self) -> String {
        statement::digest(&self.files, &self.claim)
    }

    pub fn files(&self) -> &[File] {
        &self.files
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub fn write(&self) -> Vec<u8> {
        let members = self.members();
        tar::write(&members.iter().map(|(name, bytes)| Entry { name, bytes }).collect::<Vec<_>>())
    }

    fn members(&self) -> Vec<(String, Vec<u8>)> {
        let envelope = File::new(STATEMENT_FILE, statement::write(&self.files, &self.claim, &self.signatures));
        oci::write(self.files.iter().chain([&envelope]), &self.claim)
    }

    /// Only what [`Sealed::write`] writes is read: whatever else these bytes are, they are refused with the name of what is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, Flaw> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Flaw::TooLarge { bytes: bytes.len(), most: FILE_BYTES_MAX });
        }
        let entries = tar::read(bytes, MEMBERS_MAX)?;
        let mut files = oci::read(&entries)?;
        let envelope =
            files.pop().filter(|last| last.path == STATEMENT_FILE).ok_or_else(|| Flaw::Missing { name: STATEMENT_FILE.into() })?;
        complete(&files)?;
        let (claim, signatures) = statement::read(&envelope.bytes, &files)?;
        let sealed = Self { claim, files, signatures };
        // whatever was not looked at above was either written like this or is refused
        let members = sealed.members();
        let differs = members.iter().zip(&entries).find(|((name, held), entry)| name != entry.name || *held != entry.bytes);
        match differs {
            None if members.len() == entries.len() => Ok(sealed),
            None => Err(Flaw::NotCanonical { name: "its list of members".into() }),
            Some((_, entry)) => Err(Flaw::NotCanonical { name: entry.name.into() }),
        }
    }
}

/// Each file once, in its place, and none is missing that every package has.
fn complete(files: &[File]) -> Result<(), Flaw> {
    for pair in files.windows(2) {
        let name = pair[1].path.clone();
        match rank(&pair[0].path).cmp(&rank(&pair[1].path)) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return Err(Flaw::Doubled { name }),
            std::cmp::Ordering::Greater => return Err(Flaw::Reordered { name: pair[0].path.clone(), expected: name }),
        }
    }
    if files.last().is_some_and(|file| file.path == STATEMENT_FILE) {
        return Err(Flaw::Doubled { name: STATEMENT_FILE.into() });
    }
    let missing = [COMPONENT_FILE, MANIFEST_FILE, SBOM_FILE, README_FILE].into_iter().find(|name| files.iter().all(|f| f.path != *name));
    missing.map_or(Ok(()), |name| Err(Flaw::Missing { name: name.into() }))
}
