//! The owner of one serial port: reads at once, writes one whole frame after the other, and opens the port again when it comes back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_serial::SerialStream;

use super::marks::{Came, Marks};
use super::tty::{self, Tty};
use super::{Grant, Parity, Write};
use crate::capability::{Clock, inbox};
use crate::contract::Event;
use crate::contract::serial::Failure;
use crate::contract::types::LinkState;
use crate::status::Status;

/// Between two tries to open a port that is away.
const REOPEN_MS: u64 = 500; // a plug that is put back is noticed as fast as a person can look; two system calls a second cost nothing
const READ_BYTES_MAX: usize = 4096; // what the kernel holds for a tty
/// A frame that does not leave in the time that the line needs for it and this much more is stuck.
const WRITE_SLACK_MS: u64 = 2_000; // USB adapters stall for tenths of a second while their bus is busy

/// Opens its port again whenever it comes back.
pub struct Port {
    grant: Grant,
    name: String,
    writes: mpsc::Receiver<Write>,
    waiting: VecDeque<Write>,
    inbox: inbox::Sender,
    up: Option<bool>,
    opened: u64,
    clock: Clock,
    status: Status,
}

/// The frame that is leaving.
struct Leaving {
    write: Write,
    sent: usize,
    until: Instant,
}

enum Step {
    Read(usize),
    Wrote(usize),
    Asked(Write),
    Vanished(String),
    Over,
}

impl Port {
    pub fn new(grant: Grant, writes: mpsc::Receiver<Write>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        let name = grant.port().to_string_lossy().into_owned();
        status.link(&name, |l| {
            l.kind = "serial".into();
            l.target = format!("{name} {} {}", grant.baud(), grant.framing());
        });
        Self { grant, name, writes, waiting: VecDeque::new(), inbox, up: None, opened: 0, clock, status }
    }

    /// Ends when every [`super::Handle`] of it is gone, also of an instance that only listens.
    pub async fn run(mut self) {
        loop {
            let why = match tty::open(&self.grant) {
                Ok(tty) => {
                    self.opened += 1;
                    self.status.link(&self.name, |l| l.reconnects = self.opened - 1);
                    self.tell(LinkState::Up, "");
                    match self.attend(tty).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(e) => e.to_string(),
            };
            self.tell(LinkState::Down, &why);
            if !self.wait().await {
                return;
            }
        }
    }

    /// Until the port is gone, and why; None when nobody needs it any more.
    async fn attend(&mut self, tty: Tty) -> Option<String> {
        let Tty { stream, control: _control } = tty;
        // Not `readable` and `try_read`: tokio-serial never clears readiness there, and a quiet port would spin.
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut marks = Marks::new(self.grant.framing().parity != Parity::None);
        let mut raw = [0; READ_BYTES_MAX];
        let mut leaving = None;
        let why = loop {
            while leaving.is_none()
                && let Some(write) = self.waiting.pop_front()
            {
                leaving = Some(write).filter(|w| !w.answer.is_stale()).map(|w| self.leave(w)); // stale: whoever asked was opened anew
            }
            match step(&mut reader, &mut raw, &mut writer, &leaving, &mut self.writes).await {
                Step::Read(n) => self.came(&mut marks, &raw[..n]),
                Step::Wrote(n) => leaving = leaving.and_then(|l| self.wrote(l, n)),
                Step::Asked(write) => self.asked(write),
                Step::Vanished(why) => break Some(why),
                Step::Over => break None,
            }
        };
        let now = (self.clock)();
        for write in leaving.map(|l| l.write).into_iter().chain(self.waiting.drain(..)) {
            write.answer.give(now, Event::SerialWritten(write.tag, Err(Failure::LinkDown)));
        }
        why
    }

    fn leave(&self, write: Write) -> Leaving {
        let bits = write.frame.len() as u64 * u64::from(self.grant.framing().bits());
        let line = Duration::from_millis(bits * 1000 / u64::from(self.grant.baud()));
        Leaving { write, sent: 0, until: Instant::now() + line + Duration::from_millis(WRITE_SLACK_MS) }
    }

    fn came(&self, marks: &mut Marks, raw: &[u8]) {
        let now = (self.clock)();
        self.status.link(&self.name, |l| l.bytes_in += raw.len() as u64);
        for came in marks.read(raw) {
            match came {
                Came::Bytes(bytes) => self.inbox.bytes(now, &bytes),
                Came::Fault(fault) => {
                    self.status.link(&self.name, |l| l.malformed += 1);
                    self.inbox.fault(now, fault);
                }
            }
        }
        self.status.instance(self.inbox.instance(), |i| i.overruns = self.inbox.overruns());
    }

    fn wrote(&self, mut leaving: Leaving, n: usize) -> Option<Leaving> {
        leaving.sent += n;
        self.status.link(&self.name, |l| l.bytes_out += n as u64);
        if leaving.sent < leaving.write.frame.len() {
            return Some(leaving);
        }
        self.status.link(&self.name, |l| l.requests += 1);
        leaving.write.answer.give((self.clock)(), Event::SerialWritten(leaving.write.tag, Ok(())));
        None
    }

    /// An open tag used again cancels the older write, as the contract says; a frame that is leaving is beyond that: half of one would
    /// be worse than the whole.
    fn asked(&mut self, write: Write) {
        while let Some(at) = self.waiting.iter().position(|w| w.tag == write.tag) {
            let older = self.waiting.remove(at).expect("just found");
            older.answer.give((self.clock)(), Event::SerialWritten(older.tag, Err(Failure::Cancelled)));
        }
        self.waiting.push_back(write);
    }

    /// Until it is time to try again; false when nobody needs the port any more.
    async fn wait(&mut self) -> bool {
        let until = Instant::now() + Duration::from_millis(REOPEN_MS);
        loop {
            tokio::select! {
                () = sleep_until(until) => return true,
                write = self.writes.recv() => match write {
                    None => return false,
                    Some(write) => write.answer.give((self.clock)(), Event::SerialWritten(write.tag, Err(Failure::LinkDown))),
                },
            }
        }
    }

    fn tell(&mut self, state: LinkState, why: &str) {
        let up = state == LinkState::Up;
        if self.up.replace(up) != Some(up) {
            match state {
                LinkState::Up => tracing::info!(port = self.name, "serial port is open"),
                LinkState::Down => tracing::warn!(port = self.name, why, "serial port is away; it is tried again until it is back"),
            }
        }
        self.status.link(&self.name, |l| {
            l.up = up;
            if !up {
                l.last_error = why.to_owned();
            }
        });
        let now = (self.clock)();
        self.status.instance(self.inbox.instance(), |i| i.link(up, now.monotonic_ns));
        self.inbox.link(now, Event::SerialLink(state));
    }
}

/// Waits for whatever is next. Nothing is lost in the branches that lose: each of these waits can be given up.
async fn step(
    reader: &mut ReadHalf<SerialStream>,
    raw: &mut [u8],
    writer: &mut WriteHalf<SerialStream>,
    leaving: &Option<Leaving>,
    writes: &mut mpsc::Receiver<Write>,
) -> Step {
    let (rest, until) = leaving.as_ref().map_or((&[][..], Instant::now()), |l| (&l.write.frame[l.sent..], l.until));
    tokio::select! {
        biased; // what has come is read first: it cannot wait
        read = reader.read(raw) => match read {
            Ok(0) => Step::Vanished("the port hung up".into()),
            Ok(n) => Step::Read(n),
            Err(e) => Step::Vanished(e.to_string()),
        },
        wrote = writer.write(rest), if !rest.is_empty() => match wrote {
            Ok(n) => Step::Wrote(n),
            Err(e) => Step::Vanished(e.to_string()),
        },
        () = sleep_until(until), if !rest.is_empty() => Step::Vanished("the port takes no bytes".into()),
        write = writes.recv() => write.map_or(Step::Over, Step::Asked),
    }
}
