//! A key in a token (PKCS#11, RFC 7512): it never leaves it. The token's library is its maker's, so `wardgate-trust` loads it, in a process of its own
//! that lives for one question; what comes back is a line of JSON.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KeyError, PublicKey, base64};

pub const SCHEME: &str = "pkcs11:";
/// The program that loads the token's library.
pub const PROGRAM: &str = "wardgate-trust";
const VERB: &str = "token";
/// A token that wants to be touched is touched within that; a gateway that starts waits no longer.
const ANSWER_MS_MAX: u64 = 60_000;
const LOOK_MS: u64 = 5;
/// A signature has 64 bytes, and words of a fault a line.
const ANSWER_BYTES_MAX: u64 = 16 << 10;

/// One key, by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

#[derive(Serialize)]
struct Question<'a> {
    key: &'a str,
    #[serde(rename = "do")]
    verb: &'a str,
    bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Answer {
    Bytes(String),
    Fault { what: String, remedy: String },
}

impl Token {
    /// Where a file may be named too.
    pub fn named(text: &str) -> Option<Self> {
        text.starts_with(SCHEME).then(|| Self(text.to_owned()))
    }

    pub fn uri(&self) -> &str {
        &self.0
    }

    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let key = self.ask("public", &[])?;
        key.try_into().map(PublicKey).map_err(|_| self.failed("it gave something else than an Ed25519 key", ""))
    }

    /// What comes back is held against the public half: a token that signs something else is noticed here, and not at a hospital.
    pub fn sign(&self, message: &[u8], public: &PublicKey) -> Result<Vec<u8>, KeyError> {
        let signature = self.ask("sign", message)?;
        if public.signed(message, &signature) {
            Ok(signature)
        } else {
            Err(self.failed("its signature is not by the key that it names", ""))
        }
    }

    /// 32 bytes that only this token makes of this label: HMAC-SHA-256 under a secret key that cannot be taken out.
    pub fn derive(&self, label: &str) -> Result<[u8; 32], KeyError> {
        let made = self.ask("derive", label.as_bytes())?;
        made.try_into().map_err(|_| self.failed("it gave something else than 32 bytes", ""))
    }

    fn failed(&self, what: impl Into<String>, remedy: &str) -> KeyError {
        let remedy = if remedy.is_empty() {
            "look at the token with its maker's tools, and whether the address names the right key"
        } else {
            remedy
        };
        KeyError::Token { uri: self.0.clone(), what: what.into(), remedy: remedy.into() }
    }

    fn ask(&self, verb: &str, bytes: &[u8]) -> Result<Vec<u8>, KeyError> {
        let question = Question { key: &self.0, verb, bytes: base64::encode(bytes) };
        let mut line = serde_json::to_vec(&question).expect("plain texts");
        line.push(b'\n');
        let answer = self.asked(&line)?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Bytes(text)) => base64::decode(&text).ok_or_else(|| self.failed(format!("{PROGRAM} answers with no base64"), "")),
            Ok(Answer::Fault { what, remedy }) => Err(self.failed(what, &remedy)),
            Err(_) => Err(self.failed(format!("{PROGRAM} ended without an answer: the token's library may have brought it down"), "")),
        }
    }

    /// It reads the whole question before it loads anything, and its answer fits into the pipe: nobody waits for the other but here.
    fn asked(&self, line: &[u8]) -> Result<Vec<u8>, KeyError> {
        let install = "install wardgate-trust of the same version beside wardgate: it speaks with tokens";
        let mut command = Command::new(program());
        command.arg(VERB).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|e| self.failed(format!("{PROGRAM} does not start: {e}"), install))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let written = stdin.map(|mut stdin| stdin.write_all(line));
        let mut ended = false;
        for _ in 0..patience_ms() / LOOK_MS {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            if ended {
                break;
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        if !ended {
            let _ = child.kill();
            let _ = child.wait();
            let what = format!("the token did not answer within {} s", patience_ms() / 1000);
            return Err(self.failed(what, "see whether it is plugged in, and whether it waits to be touched"));
        }
        if let Some(Err(e)) = written {
            return Err(self.failed(format!("{PROGRAM} does not take the question: {e}"), install));
        }
        let mut answer = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer));
        read.map_err(|e| self.failed(format!("{PROGRAM} cannot be heard: {e}"), install))?;
        Ok(answer)
    }
}

/// Tests of a token that hangs have not a minute.
fn patience_ms() -> u64 {
    let test = std::env::var("WARDGATE_TEST_TOKEN_MS").ok().filter(|_| cfg!(debug_assertions)).and_then(|ms| ms.parse().ok());
    test.unwrap_or(ANSWER_MS_MAX)
}

/// Beside this program, else wherever it is.
pub fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join(PROGRAM)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}
