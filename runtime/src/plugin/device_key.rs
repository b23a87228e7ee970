//! The secret that tells this gateway's compiled code, memory and audit log from anybody else's. It never leaves the machine: it lies in a file, or a
//! token makes it anew at each start of a key that never leaves that token.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::PluginError;
use crate::keys::SecretKey;
use crate::keys::token::Token;
use crate::shared_file::fresh_file;

pub const KEY_BYTES: usize = 32; // as many as the hash that uses it gives
const FILE: &str = "device.key";
/// What a token is asked to make the secret of: for ever the same.
const LABEL: &str = "wardgate device key 1";

#[derive(Clone)]
pub struct DeviceKey([u8; KEY_BYTES]);

impl DeviceKey {
    /// Reads `<state>/device.key`, or makes it of `fresh` (random bytes) at the first start.
    pub fn open(state: &Path, fresh: [u8; KEY_BYTES]) -> Result<Self, PluginError> {
        let path = state.join(FILE);
        let failed = |what| {
            let path = path.clone();
            move |why: std::io::Error| PluginError::State { path, what, why }
        };
        fs::create_dir_all(state).map_err(failed("cannot make the folder of the state"))?;
        if !path.exists() {
            make(&path, fresh).map_err(failed("cannot make the device key"))?;
        }
        Self::read(path)
    }

    /// As it is; where there is none yet, one of `fresh` that is kept nowhere.
    pub fn look(state: &Path, fresh: [u8; KEY_BYTES]) -> Result<Self, PluginError> {
        let path = state.join(FILE);
        if path.symlink_metadata().is_err_and(|why| why.kind() == ErrorKind::NotFound) {
            Ok(Self::unknown(fresh))
        } else {
            Self::read(path)
        }
    }

    /// One under which nothing was ever written.
    pub fn unknown(fresh: [u8; KEY_BYTES]) -> Self {
        Self(fresh)
    }

    fn read(path: PathBuf) -> Result<Self, PluginError> {
        let failed = |what| {
            let path = path.clone();
            move |why: std::io::Error| PluginError::State { path, what, why }
        };
        let file = fs::File::open(&path).map_err(failed("cannot read the device key"))?;
        let mode = file.metadata().map_err(failed("cannot read the device key"))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(PluginError::KeyExposed { path });
        }
        let mut bytes = Vec::with_capacity(KEY_BYTES + 1);
        file.take(KEY_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed("cannot read the device key"))?;
        bytes.try_into().map(Self).map_err(|_| PluginError::KeyBroken { path })
    }

    /// Of a secret key in a token, asked once: what is kept of it is in this process's memory only.
    pub fn of_token(uri: &str) -> Result<Self, PluginError> {
        let named = |why: String, remedy| PluginError::KeyToken { why, remedy };
        let Some(token) = Token::named(uri) else {
            return Err(named(format!("gateway.device_key = {uri:?} is no address of a key in a token"), "write it as pkcs11:...".into()));
        };
        token.derive(LABEL).map(Self).map_err(|e| named(format!("gateway.device_key: {e}"), e.remedy()))
    }

    /// The key by which this device signs, made of its secret: the same at every start.
    pub fn signer(&self) -> SecretKey {
        SecretKey::of_seed(&self.mac("wardgate device signature").finalize().into_bytes().into())
    }

    /// Begins a code over parts that the caller feeds; `purpose` keeps codes for one use from serving another.
    pub(super) fn mac(&self, purpose: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length of key will do");
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose.as_bytes());
        mac
    }
}

/// Whole or not at all: half a key after a power cut would keep the gateway from starting. Whoever comes first wins.
fn make(path: &Path, fresh: [u8; KEY_BYTES]) -> io::Result<()> {
    let scratch = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = fresh_file(&scratch, 0o600)?;
    file.write_all(&fresh)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&scratch, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&scratch)?;
    linked?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept_secret() {
        let state = super::super::cache::test_folder("key");
        let first = DeviceKey::open(&state, [1; 32]).unwrap();
        let again = DeviceKey::open(&state, [2; 32]).unwrap();
        assert_eq!((first.0, again.0), ([1; 32], [1; 32]));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing else is left behind");
        let path = state.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(DeviceKey::open(&state, [2; 32]), Err(PluginError::KeyExposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for n in (0..64).filter(|n| *n != KEY_BYTES) {
            fs::write(&path, vec![1; n]).unwrap();
            assert!(matches!(DeviceKey::open(&state, [2; 32]), Err(PluginError::KeyBroken { .. })), "{n} bytes");
        }
    }
}
