//! Ed25519 keys in PEM, as `wardgate plugin keygen` and openssl write them, and as TUF names them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::sign::Sign;

use crate::fault::Fault;
use crate::files;
use crate::token::{self, Ask};

pub type KeyId = Decoded<Hex>;

const KEY_FILE_BYTES_MAX: u64 = 4096; // a PEM of either kind has about 120
const SEED_BYTES: usize = 32;
const PUBLIC_BYTES: usize = 32;
/// RFC 8410: what stands before the 32 bytes of a secret key (PKCS#8) and of a public one (SubjectPublicKeyInfo).
const SECRET_HEAD: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PUBLIC_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const PREFIX: &str = "ed25519:";

/// A pair whose secret half is here, or in a token that is asked to sign.
#[derive(Debug)]
pub struct Secret(Held);

#[derive(Debug)]
enum Held {
    Here(Ed25519KeyPair),
    Token { uri: String, public: Public },
}

impl Secret {
    /// A new one, into a file that only its owner may read.
    pub fn make(path: &Path) -> Result<Self, Fault> {
        let mut seed = [0; SEED_BYTES];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| Fault::broken("/dev/urandom", "the kernel gives no random bytes"))?;
        let secret = Self::of_seed(&seed);
        files::write_new(path, pem("PRIVATE KEY", &[&SECRET_HEAD, &seed[..]].concat()).as_bytes(), files::SECRET_MODE)?;
        Ok(secret)
    }

    pub fn of_seed(seed: &[u8; SEED_BYTES]) -> Self {
        Self(Held::Here(Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes")))
    }

    /// One that a token holds, which must be there.
    pub fn of_token(uri: &str) -> Result<Self, Fault> {
        let key = token::ask(uri, Ask::Public, &[])?;
        let public = key.try_into().map(Public).map_err(|_| Fault::broken(uri, "it gave no Ed25519 key"))?;
        Ok(Self(Held::Token { uri: uri.into(), public }))
    }

    /// A file in the place of a key that a token holds: its address, and its public half, so that it is known while the token is locked away.
    pub fn keep_address(&self, path: &Path) -> Result<(), Fault> {
        match &self.0 {
            Held::Token { uri, public } => files::write_new(path, format!("{uri}\n{}", public.pem()).as_bytes(), files::SECRET_MODE),
            Held::Here(_) => Ok(()),
        }
    }

    pub fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = files::read(path, KEY_FILE_BYTES_MAX)?;
        let mode = path.metadata().map_err(Fault::file(path))?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(Fault::Exposed { path: path.to_owned(), mode });
        }
        if let Some(uri) =
            std::str::from_utf8(&bytes).ok().and_then(|text| text.lines().next()).filter(|line| line.starts_with(token::SCHEME))
        {
            let public = public(&bytes).ok_or_else(|| Fault::broken(path, "it names a key in a token, without its public half"))?;
            return Ok(Self(Held::Token { uri: uri.into(), public }));
        }
        let der = unpem("PRIVATE KEY", &bytes).and_then(|der| der.strip_prefix(&SECRET_HEAD[..]).map(<[u8]>::to_vec));
        let seed = der.and_then(|seed| <[u8; SEED_BYTES]>::try_from(seed).ok());
        seed.map(|seed| Self::of_seed(&seed)).ok_or_else(|| Fault::broken(path, "it is no secret Ed25519 key in PEM (PKCS#8)"))
    }

    pub fn tuf(&self) -> Key {
        match &self.0 {
            Held::Here(pair) => pair.tuf_key(),
            Held::Token { public, .. } => public.tuf(),
        }
    }

    pub fn id(&self) -> KeyId {
        key_id(&self.tuf())
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault> {
        let (uri, public) = match &self.0 {
            Held::Here(pair) => return Ok(pair.sign(message).as_ref().to_vec()),
            Held::Token { uri, public } => (uri, public),
        };
        let signature = token::ask(uri, Ask::Sign, message)?;
        let good = UnparsedPublicKey::new(&ED25519, public.0).verify(message, &signature);
        good.map_err(|_| Fault::broken(uri, "its signature is not by the key that the fleet knows"))?;
        Ok(signature)
    }
}

pub fn key_id(key: &Key) -> KeyId {
    key.key_id().expect("a key has a canonical form")
}

/// The other half, as packages and people name it: ed25519: and its base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Public([u8; PUBLIC_BYTES]);

impl Public {
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let bytes = files::read(path, KEY_FILE_BYTES_MAX)?;
        if unpem("PRIVATE KEY", &bytes).is_some() {
            return Err(Fault::usage(
                format!("{} is a secret key; only its other half is needed here", path.display()),
                "name the vendor's .pub file, and let nobody send you a secret key",
            ));
        }
        public(&bytes).ok_or_else(|| Fault::broken(path, "it is no public Ed25519 key in PEM"))
    }

    pub fn of_id(id: &str) -> Option<Self> {
        STANDARD.decode(id.strip_prefix(PREFIX)?).ok()?.try_into().ok().map(Self)
    }

    /// As a person names one: ed25519:..., or a file.
    pub fn of_words(words: &str) -> Result<Self, Fault> {
        if words.starts_with(PREFIX) {
            Self::of_id(words).ok_or_else(|| {
                Fault::usage(
                    format!("{words:?} is no key"),
                    "write ed25519: and 44 letters, as `wardgate plugin verify` prints it, or name a .pub file",
                )
            })
        } else {
            Self::read(Path::new(words))
        }
    }

    pub fn of_tuf(key: &Key) -> Option<Self> {
        match key {
            Key::Ed25519 { keyval, .. } => keyval.public.as_ref().try_into().ok().map(Self),
            _ => None,
        }
    }

    pub fn tuf(&self) -> Key {
        let hex: String = self.0.iter().map(|b| format!("{b:02x}")).collect();
        hex.parse().expect("64 hex digits are an Ed25519 key")
    }

    pub fn id(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC_HEAD[..], &self.0].concat())
    }

    /// For a file's name: 8 hex digits.
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|b| format!("{b:02x}")).collect()
    }
}

fn public(pem: &[u8]) -> Option<Public> {
    unpem("PUBLIC KEY", pem)?.strip_prefix(&PUBLIC_HEAD[..])?.try_into().ok().map(Public)
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)) // either kind fits one line of 64
}

fn unpem(label: &str, text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (held, _) = rest.split_once(&format!("-----END {label}-----"))?;
    STANDARD.decode(held.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::KeyPair;

    use super::*;

    #[test]
    fn a_key_is_the_same_in_pem_in_tuf_and_in_words() {
        let secret = Secret::of_seed(&[7; 32]);
        let public = Public::of_tuf(&secret.tuf()).unwrap();
        assert_eq!(Public::of_id(&public.id()), Some(public));
        let Held::Here(pair) = &secret.0 else { panic!("it is here") };
        assert_eq!(public.0[..], *pair.public_key().as_ref());
        assert_eq!((public.tuf(), key_id(&public.tuf())), (secret.tuf(), secret.id()));
        assert_eq!(unpem("PUBLIC KEY", public.pem().as_bytes()).unwrap()[12..], public.0);
        assert!(unpem("PRIVATE KEY", public.pem().as_bytes()).is_none());
    }
}
