//! Keys of vendors, sites and this device: Ed25519, in the PEM files that openssl writes too.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

pub mod base64;
pub mod token;

use token::Token;

pub const SEED_BYTES: usize = 32;
pub const PUBLIC_ENDING: &str = "pub";
pub const SECRET_ENDING: &str = "key";
/// In a folder of trusted ones: some vendors, with some keys each.
pub const KEYS_MAX: usize = 256;
const PEM_BYTES_MAX: u64 = 1 << 10; // ours have 113 and 119

/// What stands before the 32 bytes of a public key in its DER form (RFC 8410), and before those of a secret one.
const PUBLIC_DER: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
const SECRET_DER: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {what}: {why}", path.display())]
    File { path: PathBuf, what: &'static str, why: io::Error },
    #[error("{} is there already: a key is never written over", path.display())]
    Exists { path: PathBuf },
    #[error("{} can be read by others (mode {mode:03o}): whoever has it can sign in its vendor's name", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} can be written by others (mode {mode:03o}): whoever can do that decides whom this site trusts", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} is the public half of a key: it signs nothing", path.display())]
    Public { path: PathBuf },
    #[error("{} is no Ed25519 {kind} key in PEM", path.display())]
    Broken { path: PathBuf, kind: &'static str },
    #[error("{}: a vendor's key is called VENDOR.pub or VENDOR.SOMETHING.pub, with a vendor of a-z, 0-9 and -", path.display())]
    Named { path: PathBuf },
    #[error("{} holds more than {KEYS_MAX} keys", path.display())]
    TooMany { path: PathBuf },
    #[error("{uri}: {what}")]
    Token { uri: String, what: String, remedy: String },
}

impl KeyError {
    pub fn remedy(&self) -> String {
        match self {
            Self::Exists { .. } => "take another folder with --out, or go on with the key that is there".into(),
            Self::Exposed { path, .. } => format!("chmod 600 {}; if others used this machine, make a new key", path.display()),
            Self::Open { path, .. } => format!("chmod go-w {}, after a look at what is in it", path.display()),
            Self::Public { path } => format!("name its other half: --key {}", path.with_extension(SECRET_ENDING).display()),
            Self::Broken { kind: "secret", .. } => "make one with `wardgate plugin keygen VENDOR`".into(),
            Self::Broken { .. } => "put the .pub file there that `wardgate plugin keygen` made".into(),
            Self::Named { .. } => "rename it, or move it elsewhere: this folder holds public keys only".into(),
            Self::TooMany { .. } => "take out keys of vendors whose plugins do not run here".into(),
            Self::Token { remedy, .. } => remedy.clone(),
            Self::File { .. } => "correct the path; `wardgate plugin keygen VENDOR` makes a pair of keys".into(),
        }
    }
}

/// Whoever has its other half can sign.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PublicKey([u8; 32]);

const ID_BEGINS: &str = "ed25519:";

impl PublicKey {
    /// The whole key as a text: its last 44 letters stand in the .pub file too.
    pub fn id(&self) -> String {
        format!("{ID_BEGINS}{}", base64::encode(&self.0))
    }

    pub fn of_id(id: &str) -> Option<Self> {
        base64::decode(id.strip_prefix(ID_BEGINS)?)?.try_into().ok().map(Self)
    }

    pub fn pem(&self) -> String {
        pem("PUBLIC", &[PUBLIC_DER, &self.0].concat())
    }

    pub fn of_pem(text: &str) -> Option<Self> {
        der(text, "PUBLIC")?.strip_prefix(PUBLIC_DER)?.try_into().ok().map(Self)
    }

    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let (text, mode) = read(path)?;
        closed(path, mode)?;
        Self::of_pem(&text).ok_or_else(|| KeyError::Broken { path: path.to_owned(), kind: "public" })
    }

    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// Here, or in a token that signs by it and never gives it away.
pub struct SecretKey(Held);

enum Held {
    Here(Ed25519KeyPair),
    Token { token: Token, public: PublicKey },
}

impl SecretKey {
    /// `fresh`: random bytes.
    pub fn of_seed(fresh: &[u8; SEED_BYTES]) -> Self {
        Self(Held::Here(Ed25519KeyPair::from_seed_unchecked(fresh).expect("32 bytes are a seed")))
    }

    /// Of a file; or of a token, where its address is named instead.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        if let Some(token) = path.to_str().and_then(Token::named) {
            let public = token.public()?;
            return Ok(Self(Held::Token { token, public }));
        }
        let (text, mode) = read(path)?;
        if PublicKey::of_pem(&text).is_some() {
            return Err(KeyError::Public { path: path.to_owned() });
        }
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let pair = der(&text, "PRIVATE").and_then(|der| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok());
        pair.map(|pair| Self(Held::Here(pair))).ok_or_else(|| KeyError::Broken { path: path.to_owned(), kind: "secret" })
    }

    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Held::Here(pair) => PublicKey(pair.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes")),
            Held::Token { public, .. } => *public,
        }
    }

    /// A token may have been unplugged, or its owner may not agree.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Held::Here(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Held::Token { token, public } => token.sign(message, public),
        }
    }
}

/// Writes VENDOR.pub of a key that a token holds.
pub fn export(folder: &Path, vendor: &str, key: &PublicKey) -> Result<PathBuf, KeyError> {
    let path = folder.join(format!("{vendor}.{PUBLIC_ENDING}"));
    write(&path, 0o644, &key.pem())?;
    Ok(path)
}

/// Writes VENDOR.key, for its owner's eyes only, and VENDOR.pub for everybody. `fresh`: random bytes.
pub fn make(folder: &Path, vendor: &str, fresh: &[u8; SEED_BYTES]) -> Result<(PathBuf, PathBuf, PublicKey), KeyError> {
    let public = SecretKey::of_seed(fresh).public();
    let named = |ending| folder.join(format!("{vendor}.{ending}"));
    let (secret_file, public_file) = (named(SECRET_ENDING), named(PUBLIC_ENDING));
    if public_file.exists() {
        return Err(KeyError::Exists { path: public_file });
    }
    write(&secret_file, 0o600, &pem("PRIVATE", &[SECRET_DER, fresh].concat()))?;
    write(&public_file, 0o644, &public.pem())?;
    Ok((secret_file, public_file, public))
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), KeyError> {
    let failed = |why: io::Error| match why.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
        _ => KeyError::File { path: path.to_owned(), what: "cannot be written", why },
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

/// The text of a small file, and its mode.
fn read(path: &Path) -> Result<(String, u32), KeyError> {
    let failed = |why| KeyError::File { path: path.to_owned(), what: "cannot be read", why };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    let mut text = String::new();
    file.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok((text, mode))
}

pub fn closed(path: &Path, mode: u32) -> Result<(), KeyError> {
    if mode & 0o022 == 0 { Ok(()) } else { Err(KeyError::Open { path: path.to_owned(), mode }) }
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind} KEY-----\n{}\n-----END {kind} KEY-----\n", base64::encode(der))
}

fn der(text: &str, kind: &str) -> Option<Vec<u8>> {
    let inside = text.trim().strip_prefix(&format!("-----BEGIN {kind} KEY-----"))?.strip_suffix(&format!("-----END {kind} KEY-----"))?;
    base64::decode(&inside.split_ascii_whitespace().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("wardgate-keys-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// RFC 8032, section 7.1, test 1; and the public key as RFC 8410 and openssl write it.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32,
        0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];

    #[test]
    fn a_pair_of_keys_is_made_once_with_tight_modes_and_signs() {
        let folder = test_folder("vendor");
        let (secret, public, key) = make(&folder, "acme", &SEED).unwrap();
        assert_eq!(key.id(), "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&secret), 0o600);
        assert!(fs::read_to_string(&public).unwrap().contains("MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"));
        assert!(matches!(make(&folder, "acme", &[1; 32]), Err(KeyError::Exists { .. })));
        let read = SecretKey::read(&secret).unwrap();
        let signature = read.sign(b"").unwrap();
        assert_eq!(signature[..4], [0xe5, 0x56, 0x43, 0x00]); // as in the RFC
        assert!(key.signed(b"", &signature) && !key.signed(b"x", &signature));
        assert_eq!(PublicKey::of_id(&key.id()), Some(key));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SecretKey::read(&secret), Err(KeyError::Exposed { mode: 0o640, .. })));
        assert!(matches!(SecretKey::read(&public), Err(KeyError::Public { .. })));
        fs::set_permissions(&public, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&public, "x").unwrap();
        assert!(matches!(SecretKey::read(&public), Err(KeyError::Broken { kind: "secret", .. })));
    }
}
