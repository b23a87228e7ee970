//! A side window: answers people's questions over a local socket in the state folder. One line of JSON asks, one line answers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream as Caller;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::fault::{Fault, Guilty};
use crate::status::Status;

/// A slow asker or reader may not keep the next waiting for longer.
const PATIENCE_MS_MAX: u64 = 1000;
/// A question is a name and a few words; a command's argument is the longest, and that fits many times.
const QUESTION_BYTES_MAX: u64 = 256 << 10;
/// The gateway answers from memory; longer means that it hangs.
const ANSWER_S_MAX: u64 = 3;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    Status,
    Gaps,
}

/// What comes back: the thing asked for, or why not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    Done(T),
    Refused { what: String, remedy: String },
}

pub fn socket_path(state: &Path) -> PathBuf {
    state.join("status.sock")
}

// ---------- the gateway's side

/// Whoever may read the state folder may ask. A socket left by a killed gateway is replaced: the state folder's lock is held by now.
pub fn listen(state: &Path) -> io::Result<UnixListener> {
    let path = socket_path(state);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(path)
}

pub async fn serve(listener: UnixListener, status: Status, now: fn() -> u64) {
    loop {
        let Ok((mut peer, _)) = listener.accept().await else { continue };
        // an asker that went away or stalls is its own loss
        let _ = tokio::time::timeout(Duration::from_millis(PATIENCE_MS_MAX), answer(&mut peer, &status, now)).await;
    }
}

async fn answer(peer: &mut UnixStream, status: &Status, now: fn() -> u64) -> io::Result<()> {
    let mut line = String::new();
    let (from, mut to) = peer.split();
    tokio::io::BufReader::new(from.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let mut answer = match serde_json::from_str(&line) {
        Ok(Question::Status) => {
            let mut snapshot = status.read();
            snapshot.monotonic_ns = now();
            serde_json::to_vec(&Answer::Done(snapshot))
        }
        Ok(Question::Gaps) => serde_json::to_vec(&Answer::Done(status.gaps(now()))),
        Err(e) => serde_json::to_vec(&Answer::<()>::Refused {
            what: format!("the question is not understood: {e}"),
            remedy: "is `wardgate` as new as the running gateway?".into(),
        }),
    }
    .expect("plain numbers and texts");
    answer.push(b'\n');
    to.write_all(&answer).await
}

// ---------- the asker's side

/// Asks the gateway that runs on this state folder.
pub fn ask<T: DeserializeOwned>(state: &Path, question: &Question) -> Result<T, Fault> {
    let path = socket_path(state);
    let line = converse(&path, question).map_err(|e| {
        let what = format!("no gateway answers at {}: {e}", path.display());
        Fault::new(Guilty::Port, what, "is `wardgate run` running with this configuration, and may you read its state folder?")
    })?;
    match serde_json::from_str(&line) {
        Ok(Answer::Done(thing)) => Ok(thing),
        Ok(Answer::Refused { what, remedy }) => Err(Fault::new(Guilty::Configuration, what, remedy)),
        Err(e) => {
            let what = format!("the gateway's answer is not understood: {e}");
            Err(Fault::new(Guilty::Internal, what, "is `wardgate` as new as the running gateway?"))
        }
    }
}

fn converse(path: &Path, question: &Question) -> io::Result<String> {
    let mut socket = Caller::connect(path)?;
    socket.set_read_timeout(Some(Duration::from_secs(ANSWER_S_MAX)))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer)
}
