//! Keys in tokens (PKCS#11, RFC 7512). A token's library is its maker's, and may do anything: it is loaded into a process that lives for one question,
//! `wardgate-trust token`, which reads a line of JSON and answers with one. The gateway asks the same way.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::files;

pub const SCHEME: &str = "pkcs11:";
const URI_BYTES_MAX: usize = 1024;
const QUESTION_BYTES_MAX: u64 = 16 << 20; // a gateway.toml that is signed, in base64
const PIN_BYTES_MAX: u64 = 256;
/// A signature has 64 bytes, and words of a fault a line.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// A token that wants to be touched is touched within that.
const ANSWER_MS_MAX: u64 = 60_000;
const LOOK_MS: u64 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// The public half of an Ed25519 key.
    Public,
    /// An Ed25519 signature.
    Sign,
    /// HMAC-SHA-256 under a secret key that cannot be taken out.
    Derive,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    key: String,
    #[serde(rename = "do")]
    ask: Ask,
    /// In base64.
    bytes: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Answer {
    Bytes(String),
    Fault { what: String, remedy: String },
}

// ---------- the one who asks

/// Asks a process of its own, which is ended when it takes too long.
pub fn ask(uri: &str, ask: Ask, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let failed = |what: String, remedy: &str| Fault::Token { uri: uri.into(), what, remedy: remedy.into() };
    let this = std::env::current_exe().map_err(Fault::file("/proc/self/exe"))?;
    let mut line = serde_json::to_vec(&Question { key: uri.into(), ask, bytes: STANDARD.encode(bytes) }).expect("plain texts");
    line.push(b'\n');
    let mut command = Command::new(&this);
    let mut child =
        command.arg("token").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(Fault::file(&this))?;
    // it reads the whole question before it loads anything, and its answer fits into the pipe
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let written = stdin.map_or(Ok(()), |mut stdin| stdin.write_all(&line));
    let mut ended = false;
    for _ in 0..ANSWER_MS_MAX / LOOK_MS {
        ended = matches!(child.try_wait(), Ok(Some(_)));
        if ended {
            break;
        }
        std::thread::sleep(Duration::from_millis(LOOK_MS));
    }
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        let what = format!("the token did not answer within {} s", ANSWER_MS_MAX / 1000);
        return Err(failed(what, "see whether it is plugged in, and whether it waits to be touched"));
    }
    written.map_err(Fault::file(&this))?;
    let mut answer = Vec::new();
    stdout.map_or(Ok(0), |stdout| stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).map_err(Fault::file(&this))?;
    let look = "look at the token with its maker's tools";
    match serde_json::from_slice(&answer) {
        Ok(Answer::Bytes(text)) => STANDARD.decode(text).map_err(|e| failed(e.to_string(), look)),
        Ok(Answer::Fault { what, remedy }) => Err(failed(what, &remedy)),
        Err(_) => Err(failed("its library brought down the process that loaded it".into(), look)),
    }
}

// ---------- the one who answers

/// One question on standard input, one answer on standard output, whatever becomes of it.
pub fn answer() {
    let mut text = Vec::new();
    let read = std::io::stdin().take(QUESTION_BYTES_MAX).read_to_end(&mut text).map_err(|e| e.to_string());
    let question = read.and_then(|_| serde_json::from_slice::<Question>(&text).map_err(|e| e.to_string()));
    let said = question.map_err(|why| wrong(format!("the question cannot be read: {why}"), "")).and_then(|question| {
        let bytes = STANDARD.decode(&question.bytes).map_err(|e| wrong(e.to_string(), ""))?;
        Address::read(&question.key)?.answer(question.ask, &bytes)
    });
    let answer = match said {
        Ok(bytes) => Answer::Bytes(STANDARD.encode(bytes)),
        Err(Wrong { what, remedy }) => Answer::Fault { what, remedy },
    };
    println!("{}", serde_json::to_string(&answer).expect("plain texts"));
}

/// What keeps a token from answering.
#[derive(Debug, PartialEq)]
struct Wrong {
    what: String,
    remedy: String,
}

fn wrong(what: impl Into<String>, remedy: impl Into<String>) -> Wrong {
    Wrong { what: what.into(), remedy: remedy.into() }
}

/// What a pkcs11: address says, as far as it is known here.
#[derive(Debug, Default, PartialEq)]
struct Address {
    token: Option<String>,
    serial: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: PathBuf,
    pin: Option<PathBuf>,
}

impl Address {
    fn read(uri: &str) -> Result<Self, Wrong> {
        let form = "write it as pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/.../LIBRARY.so&pin-source=file:/run/pin (RFC 7512)";
        let rest = uri.strip_prefix(SCHEME).filter(|_| uri.len() <= URI_BYTES_MAX);
        let rest = rest.ok_or_else(|| wrong("it is no address of a key in a token", form))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut address = Self::default();
        for part in path.split(';').chain(query.split('&')).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong(format!("{part:?} in it says nothing"), form))?;
            let bytes = unescaped(value).ok_or_else(|| wrong(format!("{value:?} in it is escaped wrongly"), form))?;
            let text = || String::from_utf8(bytes.clone()).map_err(|_| wrong(format!("{name} in it is no text"), form));
            match name {
                "token" => address.token = Some(text()?),
                "serial" => address.serial = Some(text()?),
                "manufacturer" => address.manufacturer = Some(text()?),
                "model" => address.model = Some(text()?),
                "object" => address.object = Some(text()?),
                "id" => address.id = Some(bytes),
                "type" => {} // which half is asked for says what is done with it
                "module-path" => address.module = text()?.into(),
                "pin-source" => {
                    let source = text()?;
                    address.pin =
                        Some(source.strip_prefix("file:").map(|file| file.strip_prefix("//").unwrap_or(file)).unwrap_or(&source).into());
                }
                "pin-value" => {
                    return Err(wrong(
                        "it holds a PIN, for everybody to read",
                        "put the PIN into a file with mode 600: pin-source=file:/run/pin",
                    ));
                }
                _ => return Err(wrong(format!("{name} in it is not known here"), form)),
            }
        }
        if address.object.is_none() && address.id.is_none() {
            return Err(wrong("it does not say which key", "add object=LABEL or id=%01"));
        }
        if address.module.as_os_str().is_empty() {
            return Err(wrong("it does not say by which library the token speaks", "add ?module-path=/usr/lib/.../LIBRARY.so"));
        }
        Ok(address)
    }

    fn answer(&self, ask: Ask, bytes: &[u8]) -> Result<Vec<u8>, Wrong> {
        let said = |e: cryptoki::error::Error| {
            wrong(format!("{}: {e}", self.module.display()), "see whether this is the token's library, and the token is there")
        };
        let library = Pkcs11::new(&self.module).map_err(said)?;
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(said)?;
        let session = self.session(&library)?;
        match ask {
            Ask::Public => {
                let key = self.object(&session, ObjectClass::PUBLIC_KEY, "a public key")?;
                point(&session, key).map_err(said)?.ok_or_else(|| wrong("that key is no Ed25519 key", "make one that is: edwards25519"))
            }
            Ask::Sign => {
                let key = self.object(&session, ObjectClass::PRIVATE_KEY, "a private key")?;
                session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), key, bytes).map_err(said)
            }
            Ask::Derive => {
                let key = self.object(&session, ObjectClass::SECRET_KEY, "a secret key")?;
                let asked = [AttributeType::Sensitive, AttributeType::Extractable];
                let kept = session.get_attributes(key, &asked).map_err(said)?;
                if !kept.contains(&Attribute::Sensitive(true)) || !kept.contains(&Attribute::Extractable(false)) {
                    return Err(wrong("that key can be taken out of the token", "make one that cannot: sensitive, and not extractable"));
                }
                session.sign(&Mechanism::Sha256Hmac, key, bytes).map_err(said)
            }
        }
    }

    /// On the one token that is meant.
    fn session(&self, library: &Pkcs11) -> Result<Session, Wrong> {
        let said = |e: cryptoki::error::Error| {
            wrong(
                format!("the token does not open: {e}"),
                "see whether the token is there, and whether the PIN is right; some lock after a few wrong ones",
            )
        };
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        for slot in library.get_slots_with_token().map_err(said)? {
            let info = library.get_token_info(slot).map_err(said)?;
            let is = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has.trim_end());
            if is(&self.token, info.label())
                && is(&self.serial, info.serial_number())
                && is(&self.manufacturer, info.manufacturer_id())
                && is(&self.model, info.model())
            {
                found.push(slot);
            }
            seen.push(info.label().trim_end().to_owned());
        }
        let [slot] = found[..] else {
            let what = format!("{} tokens here are meant by it; there are {:?}", found.len(), seen);
            return Err(wrong(what, "plug the token in, or name it by its label: token=LABEL"));
        };
        let session = library.open_ro_session(slot).map_err(said)?;
        if let Some(pin) = &self.pin {
            session.login(UserType::User, Some(&AuthPin::from(secret(pin)?))).map_err(said)?;
        }
        Ok(session)
    }

    fn object(&self, session: &Session, class: ObjectClass, what: &str) -> Result<ObjectHandle, Wrong> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(self.object.as_ref().map(|label| Attribute::Label(label.clone().into_bytes())));
        template.extend(self.id.as_ref().map(|id| Attribute::Id(id.clone())));
        let remedy = "name it by object=LABEL or id=%01, and its PIN by pin-source=file:...: private keys show to their owner only";
        let found = session.find_objects(&template).map_err(|e| wrong(e.to_string(), remedy))?;
        match found[..] {
            [one] => Ok(one),
            [] => Err(wrong(format!("the token shows no {} that it names", what.trim_start_matches("a ")), remedy)),
            _ => Err(wrong(format!("it names {} keys", found.len()), remedy)),
        }
    }
}

/// The 32 bytes of an Ed25519 key, which some tokens wrap in DER.
fn point(session: &Session, key: ObjectHandle) -> Result<Option<Vec<u8>>, cryptoki::error::Error> {
    let held = session.get_attributes(key, &[AttributeType::EcPoint])?;
    Ok(held.into_iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(bytes) => match &bytes[..] {
            [0x04, 0x20, key @ ..] if key.len() == 32 => Some(key.to_vec()),
            key if key.len() == 32 => Some(key.to_vec()),
            _ => None,
        },
        _ => None,
    }))
}

fn secret(path: &Path) -> Result<String, Wrong> {
    let readable = "it is a file with the PIN in its first line, with mode 600, of the user who runs this";
    let bytes = files::read_plain(path, PIN_BYTES_MAX).map_err(|e| wrong(format!("the PIN: {e}"), readable))?;
    let mode = path.metadata().map_or(0, |about| about.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Err(wrong(
            format!("anybody on this machine may read the PIN in {}: its mode is {mode:o}", path.display()),
            format!("chmod 600 {}", path.display()),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("the PIN is no text", readable))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_which_key_of_which_token_and_never_its_pin() {
        let read = Address::read(
            "pkcs11:token=The%20ward;serial=7;object=wardgate;id=%00%fF;type=private?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
        )
        .unwrap();
        let expected = Address {
            token: Some("The ward".into()),
            serial: Some("7".into()),
            object: Some("wardgate".into()),
            id: Some(vec![0, 0xff]),
            module: "/usr/lib/x.so".into(),
            pin: Some("/run/pin".into()),
            ..Address::default()
        };
        assert_eq!(read, expected);
        for (uri, words) in [
            ("pkcs11:token=a?module-path=/x", "which key"),
            ("pkcs11:object=a", "by which library"),
            ("pkcs11:object=a?module-path=/x&pin-value=1234", "holds a PIN"),
            ("pkcs11:object=a;slot-id=3?module-path=/x", "slot-id in it is not known here"),
            ("pkcs11:object=%4?module-path=/x", "escaped wrongly"),
            ("pkcs11:object=%+1?module-path=/x", "escaped wrongly"),
            ("pkcs11:object?module-path=/x", "says nothing"),
            ("/etc/key", "no address"),
        ] {
            let why = Address::read(uri).unwrap_err();
            assert!(why.what.contains(words) && !why.remedy.is_empty(), "{uri}: {why:?}");
        }
    }
}
