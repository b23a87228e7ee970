//! The owner of one serial port: reads at once, writes one whole frame after the other, and opens the port again when it comes back.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::marks::Came;
use super::wire::Wire;
use super::{Grant, Write};
use crate::capability::{Clock, inbox};
use crate::contract::Event;
use crate::contract::serial::Failure;
use crate::contract::types::LinkState;
use crate::status::Status;

/// Between two tries to open a port that is away.
const REOPEN_MS: u64 = 500; // a plug that is put back is noticed as fast as a person can look; two system calls a second cost nothing
const REPLIES_MAX: usize = 16; // words to a terminal server; one that asks faster than it listens is not answered
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

/// What is leaving: a frame of the instance, or the gateway's own words to a terminal server.
struct Leaving {
    write: Option<Write>,
    bytes: Vec<u8>,
    sent: usize,
    until: Instant,
}

enum Step {
    Read(Vec<Came>),
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
            l.target = grant.settings().to_string();
        });
        Self { grant, name, writes, waiting: VecDeque::new(), inbox, up: None, opened: 0, clock, status }
    }

    /// Ends when every [`super::Handle`] of it is gone, also of an instance that only listens.
    pub async fn run(mut self) {
        loop {
            let settings = self.grant.settings().clone();
            let Some(opened) = self.meanwhile(Wire::open(&settings)).await else { return };
            let why = match opened {
                Ok(wire) => {
                    self.opened += 1;
                    self.status.link(&self.name, |l| l.reconnects = self.opened - 1);
                    self.tell(LinkState::Up, "");
                    match self.attend(wire).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(e) => e.to_string(),
            };
            self.tell(LinkState::Down, &why);
            if self.meanwhile(sleep(Duration::from_millis(REOPEN_MS))).await.is_none() {
                return;
            }
        }
    }

    /// Until the port is gone, and why; None when nobody needs it any more.
    async fn attend(&mut self, mut wire: Wire) -> Option<String> {
        let mut leaving = None;
        let mut replies = VecDeque::new();
        let why = loop {
            if leaving.is_none() {
                leaving = self.next(&wire, &mut replies);
            }
            match step(&mut wire, &leaving, &mut self.writes).await {
                Step::Read(all) => self.came(all, &mut replies),
                Step::Wrote(n) => leaving = leaving.and_then(|l| self.wrote(l, n)),
                Step::Asked(write) => self.asked(write),
                Step::Vanished(why) => break Some(why),
                Step::Over => break None,
            }
        };
        let now = (self.clock)();
        for write in leaving.and_then(|l| l.write).into_iter().chain(self.waiting.drain(..)) {
            write.answer.give(now, Event::SerialWritten(write.tag, Err(Failure::LinkDown)));
        }
        why
    }

    fn next(&mut self, wire: &Wire, replies: &mut VecDeque<Vec<u8>>) -> Option<Leaving> {
        let (write, bytes) = match replies.pop_front() {
            Some(reply) => (None, reply),
            None => {
                let write = std::iter::from_fn(|| self.waiting.pop_front()).find(|w| !w.answer.is_stale())?; // stale: opened anew
                let bytes = wire.encode(write.frame.clone());
                (Some(write), bytes)
            }
        };
        let slack = Duration::from_millis(WRITE_SLACK_MS);
        let until = Instant::now() + Duration::from_micros(self.grant.settings().line_us(bytes.len())) + slack;
        Some(Leaving { write, bytes, sent: 0, until })
    }

    fn came(&self, all: Vec<Came>, replies: &mut VecDeque<Vec<u8>>) {
        let now = (self.clock)();
        for came in all {
            match came {
                Came::Bytes(bytes) => {
                    self.status.link(&self.name, |l| l.bytes_in += bytes.len() as u64);
                    self.inbox.bytes(now, &bytes);
                }
                Came::Fault(fault) => {
                    self.status.link(&self.name, |l| l.malformed += 1);
                    self.inbox.fault(now, fault);
                }
                Came::Reply(_) if replies.len() >= REPLIES_MAX => (),
                Came::Reply(reply) => replies.push_back(reply),
            }
        }
        self.status.instance(self.inbox.instance(), |i| i.overruns = self.inbox.overruns());
    }

    fn wrote(&self, mut leaving: Leaving, n: usize) -> Option<Leaving> {
        leaving.sent += n;
        self.status.link(&self.name, |l| l.bytes_out += n as u64);
        if leaving.sent < leaving.bytes.len() {
            return Some(leaving);
        }
        if let Some(write) = leaving.write {
            self.status.link(&self.name, |l| l.requests += 1);
            write.answer.give((self.clock)(), Event::SerialWritten(write.tag, Ok(())));
        }
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

    /// Does `work` while every write learns at once that there is no port; None when nobody needs it any more.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                write = self.writes.recv() => {
                    let write = write?;
                    write.answer.give((self.clock)(), Event::SerialWritten(write.tag, Err(Failure::LinkDown)));
                }
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
        let now = (self.clock)();
        self.status.link(&self.name, |l| {
            l.up = up;
            if !up {
                l.failed(why.to_owned(), now.monotonic_ns);
            }
        });
        self.status.instance(self.inbox.instance(), |i| i.link(up, now.monotonic_ns));
        self.inbox.link(now, Event::SerialLink(state));
    }
}

/// Waits for whatever is next. Nothing is lost in the branches that lose: each of these waits can be given up.
async fn step(wire: &mut Wire, leaving: &Option<Leaving>, writes: &mut mpsc::Receiver<Write>) -> Step {
    let (rest, until) = leaving.as_ref().map_or((&[][..], Instant::now()), |l| (&l.bytes[l.sent..], l.until));
    tokio::select! {
        biased; // what has come is read first: it cannot wait
        read = wire.reader.read() => match read {
            Ok(all) => Step::Read(all),
            Err(e) => Step::Vanished(e.to_string()),
        },
        wrote = wire.writer.write(rest), if !rest.is_empty() => match wrote {
            Ok(n) => Step::Wrote(n),
            Err(e) => Step::Vanished(e.to_string()),
        },
        () = sleep_until(until), if !rest.is_empty() => Step::Vanished("the port takes no bytes".into()),
        write = writes.recv() => write.map_or(Step::Over, Step::Asked),
    }
}
