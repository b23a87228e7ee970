//! A side window: answers people's questions over a local socket in the state folder. One line of JSON asks, one line answers.

use std::fmt;
use std::fs::Permissions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream as Caller;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::fault::{Fault, Guilty, remedy_for};
use crate::status::Status;

/// A slow asker or reader may not keep its place from another for longer.
const PATIENCE_MS_MAX: u64 = 1000;
/// A question is a name and a few words; a command's argument is the longest, and that fits.
const QUESTION_BYTES_MAX: u64 = 256 << 10;
/// The bytes of an argument are numbers in the question, so four characters each.
pub const ARGUMENT_BYTES_MAX: u64 = 32 << 10;
/// The gateway answers from memory; longer means that it hangs.
const ANSWER_S_MAX: u64 = 3;
/// A reload may compile every plugin anew; a restart waits for one call.
pub const ORDER_S_MAX: u64 = 600;
/// A plugin that has not answered by then has to ask its device more than once.
pub const COMMAND_S_MAX: u64 = 600;

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    Status,
    Gaps,
    Reload,
    Restart {
        instance: String,
    },
    Bind {
        instance: String,
        to: To,
    },
    /// An id for a command: asked for first, so that the same command can be given again by it when the answer is lost.
    CommandId,
    Command {
        instance: String,
        name: String,
        id: String,
        argument: Vec<u8>,
        wait_ms: u64,
    },
}

/// Whose an instance's device is said to be. What is not named stays as it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum To {
    /// The device that is there now.
    Confirm,
    Set {
        bed: Option<String>,
        no_bed: bool,
        serial: Option<String>,
        any_device: bool,
    },
}

/// What comes back: the thing asked for, or why not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer<T> {
    Done(T),
    Refused {
        #[serde(default)]
        guilty: Guilty,
        what: String,
        remedy: String,
    },
}

/// What the corridor is to do, and where it answers.
pub enum Order {
    /// `by`: the user who asks, for the log.
    Reload {
        by: Option<u32>,
        asker: Asker<Reloaded>,
    },
    Restart {
        instance: String,
        asker: Asker<()>,
    },
    Bind {
        instance: String,
        to: To,
        by: Option<u32>,
        asker: Asker<String>,
    },
    CommandId(Asker<String>),
    Command {
        instance: String,
        name: String,
        id: String,
        argument: Vec<u8>,
        asker: Asker<Vec<u8>>,
    },
}

pub type Asker<T> = oneshot::Sender<Result<T, Fault>>;

/// What a reload did, by the names of the instances.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    pub file: String,
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// With another package, other settings or other grants.
    pub restarted: Vec<String>,
    /// Their bed changed, and nothing else.
    pub rebound: Vec<String>,
    /// What is said of them changed, which needs no restart.
    #[serde(default)]
    pub adjusted: Vec<String>,
    pub unchanged: Vec<String>,
    /// Configured, and kept from running.
    #[serde(default)]
    pub withheld: Vec<String>,
    /// They did not run before, and come in by themselves when their plugins are compiled.
    #[serde(default)]
    pub compiling: Vec<String>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reloaded {}:", self.file)?;
        let changes = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("restarted", &self.restarted),
            ("at another bed", &self.rebound),
            ("silent after another time", &self.adjusted),
            ("withheld", &self.withheld),
            ("still compiling", &self.compiling),
        ];
        for (what, names) in changes.iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, " {what} {};", names.join(", "))?;
        }
        match self.unchanged.len() {
            0 => write!(f, " nothing else runs"),
            n if changes.iter().all(|(_, names)| names.is_empty()) => write!(f, " nothing changed ({n} instances)"),
            n => write!(f, " {n} went on undisturbed"),
        }
    }
}

pub fn socket_path(state: &Path) -> PathBuf {
    state.join("status.sock")
}

// ---------- the gateway's side

/// The gateway's user and group may ask, and give orders. A socket left by a killed gateway is replaced: the state folder's lock is held by now.
pub fn listen(state: &Path) -> io::Result<UnixListener> {
    const MODE: u32 = 0o660;
    let path = socket_path(state);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// What an answer is taken from.
#[derive(Clone)]
pub struct Window {
    pub status: Status,
    pub now: fn() -> u64,
    pub orders: mpsc::Sender<Order>,
}

/// One asker. One that went away or stalls is its own loss.
pub async fn attend(mut peer: UnixStream, window: &Window) {
    let patience = Duration::from_millis(PATIENCE_MS_MAX);
    let Ok(Ok(line)) = timeout(patience, question(&mut peer)).await else { return };
    let mut answer = match serde_json::from_str(&line) {
        Ok(question) => window.answer(question, peer.peer_cred().ok().map(|who| who.uid())).await,
        Err(e) => {
            let what = format!("the question is not understood: {e}");
            line_of::<()>(Err(Fault::new(Guilty::Configuration, what, "is `wardgate` as new as the running gateway?")))
        }
    };
    answer.push(b'\n');
    let _ = timeout(patience, peer.write_all(&answer)).await;
}

async fn question(peer: &mut UnixStream) -> io::Result<String> {
    let mut line = String::new();
    tokio::io::BufReader::new(peer.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    Ok(line)
}

impl Window {
    async fn answer(&self, question: Question, by: Option<u32>) -> Vec<u8> {
        match question {
            Question::Status => line_of(Ok(self.status.at((self.now)()))),
            Question::Gaps => line_of(Ok(self.status.gaps((self.now)()))),
            Question::Reload => line_of(self.order(ORDER_S_MAX * 1000, |asker| Order::Reload { by, asker }).await),
            Question::Restart { instance } => line_of(self.order(ORDER_S_MAX * 1000, |asker| Order::Restart { instance, asker }).await),
            Question::Bind { instance, to } => {
                line_of(self.order(ORDER_S_MAX * 1000, |asker| Order::Bind { instance, to, by, asker }).await)
            }
            Question::CommandId => line_of(self.order(PATIENCE_MS_MAX, Order::CommandId).await),
            Question::Command { instance, name, id, argument, wait_ms } => {
                let wait_ms = wait_ms.min(COMMAND_S_MAX * 1000);
                line_of(self.order(wait_ms, |asker| Order::Command { instance, name, id, argument, asker }).await)
            }
        }
    }

    async fn order<T>(&self, wait_ms: u64, order: impl FnOnce(Asker<T>) -> Order) -> Result<T, Fault> {
        let (asker, answer) = oneshot::channel();
        let done = async {
            let _ = self.orders.send(order(asker)).await; // without anybody to take it there is no answer either
            answer.await
        };
        match timeout(Duration::from_millis(wait_ms), done).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Fault::new(Guilty::Port, "whoever was asked has ended before it answered", "look at `wardgate status`")),
            Err(_) => {
                let what = format!("no answer within {:.1} s; what was asked may still be done", wait_ms as f64 / 1000.0);
                Err(Fault::new(Guilty::Plugin, what, "look at `wardgate status`, and at the gateway's log"))
            }
        }
    }
}

fn line_of<T: Serialize>(done: Result<T, Fault>) -> Vec<u8> {
    let answer = match done {
        Ok(done) => Answer::Done(done),
        Err(Fault { guilty, what, remedy }) => Answer::Refused { guilty, what, remedy },
    };
    serde_json::to_vec(&answer).expect("plain numbers and texts")
}

// ---------- the asker's side

/// Asks the gateway that runs on this state folder.
pub fn ask<T: DeserializeOwned>(state: &Path, question: &Question) -> Result<T, Fault> {
    ask_within(state, question, ANSWER_S_MAX)
}

/// For what takes its time.
pub fn ask_within<T: DeserializeOwned>(state: &Path, question: &Question, seconds: u64) -> Result<T, Fault> {
    let path = socket_path(state);
    let line = converse(&path, question, seconds).map_err(|e| {
        let what = format!("no gateway answers at {}: {e}", path.display());
        Fault::new(Guilty::Port, what, remedy_for(&e, "is `wardgate run` running with this configuration?"))
    })?;
    match serde_json::from_str(&line) {
        Ok(Answer::Done(thing)) => Ok(thing),
        Ok(Answer::Refused { guilty, what, remedy }) => Err(Fault::new(guilty, what, remedy)),
        Err(e) => {
            let what = format!("the gateway's answer is not understood: {e}");
            Err(Fault::new(Guilty::Internal, what, "is `wardgate` as new as the running gateway?"))
        }
    }
}

fn converse(path: &Path, question: &Question, seconds: u64) -> io::Result<String> {
    let mut socket = Caller::connect(path)?;
    socket.set_read_timeout(Some(Duration::from_secs(seconds)))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without an answer"));
    }
    Ok(answer)
}
