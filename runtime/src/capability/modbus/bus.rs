//! The owner of one Modbus bus: one request at a time, members in turn, a pause after each, and a link that comes back by itself.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Ask;
use super::desk::Desk;
use super::exchange::Fault;
use super::line::Line;
use super::members::Members;
use crate::capability::Clock;
use crate::config;
use crate::contract::modbus::{Request, Response};
use crate::contract::types::LinkState;
use crate::status::Status;

/// Connections are never made more often than this.
const RECONNECT_MS_MIN: u64 = 100; // a server that hangs up at once must not be called in a loop
const BACKOFF_MS_MIN: u64 = 250; // a device that only closed its socket is there again at once
const BACKOFF_MS_MAX: u64 = 10_000; // a device that was switched on again is heard within this

const TIMEOUT_MS_MIN: u64 = 10; // a local network and a device's own loop take some milliseconds
const TIMEOUT_MS_MAX: u64 = 60_000; // for so long one dead server keeps the others waiting
const PAUSE_MS_MAX: u64 = 10_000; // slower than any device must be spoken to

/// What is wrong with a bus, by its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[bus.{bus}] {key}: {why}")]
pub struct BusError {
    pub bus: String,
    pub key: &'static str,
    pub why: String,
}

/// Serves its members in turn.
///
/// The link is `up` from the first connection on and `down` when one could not be made, or ended before it brought an answer; while
/// down it is tried again by itself, ever more slowly. A connection that is given up after a timeout or a malformed reply, or that an idle peer closed,
/// is made anew with the next request: one silent server behind a converter does not make the link flap for the others.
pub struct Bus {
    name: String,
    asks: mpsc::Receiver<Ask>,
    desk: Desk,
    line: Line,
    timeout: Duration,
    pause: Duration,
    /// None: not yet tried.
    up: Option<bool>,
    connect_at: Instant,
    backoff_ms: u64,
    connections: u64,
    members: Members,
    clock: Clock,
    status: Status,
}

impl Bus {
    /// `members`: every instance that the bus is granted to; all are told when the link goes up or down.
    pub fn new(
        name: &str,
        settings: &config::Bus,
        asks: mpsc::Receiver<Ask>,
        members: Members,
        clock: Clock,
        status: Status,
    ) -> Result<Self, BusError> {
        Self::check(name, settings)?;
        let (timeout, pause) = (Duration::from_millis(settings.timeout_ms), Duration::from_millis(settings.pause_ms));
        status.link(name, |l| (l.kind, l.target) = ("modbus-tcp".into(), settings.tcp.clone()));
        Ok(Self {
            name: name.to_owned(),
            asks,
            desk: Desk::default(),
            line: Line::new(settings.tcp.clone(), timeout, pause),
            timeout,
            pause,
            up: None,
            connect_at: Instant::now(),
            backoff_ms: BACKOFF_MS_MIN,
            connections: 0,
            members,
            clock,
            status,
        })
    }

    /// Whether `[bus.NAME]` makes sense.
    pub fn check(name: &str, settings: &config::Bus) -> Result<(), BusError> {
        let fail = |key, why| Err(BusError { bus: name.to_owned(), key, why });
        let named = settings.tcp.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0));
        if !named {
            return fail("tcp", format!("{:?} is not host:port, like \"10.0.3.7:502\"", settings.tcp));
        }
        if !(TIMEOUT_MS_MIN..=TIMEOUT_MS_MAX).contains(&settings.timeout_ms) {
            return fail("timeout_ms", format!("{} is not within {TIMEOUT_MS_MIN} to {TIMEOUT_MS_MAX}", settings.timeout_ms));
        }
        if settings.pause_ms > PAUSE_MS_MAX {
            return fail("pause_ms", format!("{} is more than {PAUSE_MS_MAX}", settings.pause_ms));
        }
        Ok(())
    }

    /// Ends when every [`super::Handle`] of it is gone.
    pub async fn run(mut self) {
        while self.step().await {}
    }

    /// False: nobody is left who could ask.
    async fn step(&mut self) -> bool {
        self.line.freshen();
        if self.line.is_open() {
            if let Some((server, request)) = self.desk.next() {
                self.serve(server, &request).await;
                return !self.asks.is_closed() || !self.asks.is_empty();
            }
            return tokio::select! {
                ask = self.asks.recv() => self.take(ask),
                () = self.line.disturbed() => true,
            };
        }
        let wanted = self.up != Some(true) || !self.desk.is_empty();
        let patience = self.desk.oldest().map_or(self.connect_at, |since| (since + self.timeout).min(self.connect_at));
        tokio::select! {
            ask = self.asks.recv() => self.take(ask),
            () = sleep_until(if self.up == Some(false) { patience } else { self.connect_at }), if wanted => {
                if Instant::now() >= self.connect_at {
                    self.connect().await;
                } else {
                    self.desk.give_up(Instant::now() - self.timeout, (self.clock)());
                }
                true
            }
        }
    }

    fn take(&mut self, ask: Option<Ask>) -> bool {
        let Some(ask) = ask else { return false };
        self.desk.take(ask, Instant::now(), (self.clock)());
        true
    }

    async fn serve(&mut self, server: u8, request: &Request) {
        let outcome = attend(&mut self.asks, &mut self.desk, self.clock, self.line.ask(server, request)).await;
        let now = (self.clock)();
        self.count(server, &outcome);
        let answered = self.line.has_answered();
        if answered {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        match &outcome {
            Ok(_) | Err(Fault::Exception(_)) => (),
            Err(Fault::LinkDown(why)) if !answered => self.went_down(why),
            Err(_) => self.line.close(),
        }
        self.desk.finish(now, outcome.map_err(|fault| fault.failure()));
        if !self.pause.is_zero() {
            attend(&mut self.asks, &mut self.desk, self.clock, sleep(self.pause)).await;
        }
    }

    async fn connect(&mut self) {
        let done = attend(&mut self.asks, &mut self.desk, self.clock, self.line.connect()).await;
        self.connect_at = Instant::now() + Duration::from_millis(RECONNECT_MS_MIN);
        match done {
            Ok(()) => {
                self.connections += 1;
                self.status.link(&self.name, |l| l.reconnects = self.connections - 1);
                self.tell(LinkState::Up, "");
            }
            Err(e) => self.went_down(&e.to_string()),
        }
    }

    fn went_down(&mut self, why: &str) {
        self.line.close();
        self.connect_at = Instant::now() + Duration::from_millis(self.backoff_ms);
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MS_MAX);
        self.tell(LinkState::Down, why);
        self.desk.give_up(Instant::now(), (self.clock)());
    }

    fn tell(&mut self, state: LinkState, why: &str) {
        let up = state == LinkState::Up;
        if self.up.replace(up) == Some(up) {
            return;
        }
        match state {
            LinkState::Up => tracing::info!(bus = self.name, "modbus link is up"),
            LinkState::Down => tracing::warn!(bus = self.name, why, "modbus link is down; it is tried again until it is back"),
        }
        self.status.link(&self.name, |l| {
            l.up = up;
            if !up {
                l.last_error = why.to_owned();
            }
        });
        let now = (self.clock)();
        self.members.tell(state, now, &self.status);
    }

    fn count(&self, server: u8, outcome: &Result<Response, Fault>) {
        let (bytes_in, bytes_out) = self.line.traffic();
        self.status.link(&self.name, |l| {
            l.requests += 1;
            l.bytes_in += bytes_in;
            l.bytes_out += bytes_out;
            match outcome {
                Ok(_) => l.answered += 1,
                Err(Fault::Exception(_)) => l.exceptions += 1,
                Err(Fault::Timeout) => {
                    l.timeouts += 1;
                    l.last_error = format!("server {server} did not answer within {} ms", self.timeout.as_millis());
                }
                Err(Fault::Malformed(why)) => {
                    l.malformed += 1;
                    l.last_error = format!("server {server}: {why}");
                }
                Err(Fault::LinkDown(why)) => l.last_error = format!("server {server}: {why}"),
            }
        });
        if let Err(fault @ (Fault::Malformed(_) | Fault::LinkDown(_))) = outcome {
            tracing::debug!(bus = self.name, server, ?fault, "no answer");
        }
    }
}

/// Does `work` while whatever is asked meanwhile is taken in: a cancellation counts at once, and no instance waits to be heard.
async fn attend<T>(asks: &mut mpsc::Receiver<Ask>, desk: &mut Desk, clock: Clock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let mut open = true;
    loop {
        tokio::select! {
            biased; // what is done is done, even if the same moment brings its cancellation
            done = &mut work => return done,
            ask = asks.recv(), if open => match ask {
                Some(ask) => desk.take(ask, Instant::now(), clock()),
                None => open = false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_bus_is_named_by_its_key() {
        let check = |tcp: &str, timeout_ms, pause_ms| {
            Bus::check("plant", &config::Bus { tcp: tcp.into(), timeout_ms, pause_ms }).err().map(|e| e.key)
        };
        for good in ["10.0.3.7:502", "chiller.ward:1502", "[fe80::1]:502"] {
            assert_eq!(check(good, 1000, 0), None, "{good}");
        }
        for wrong in ["", "10.0.3.7", ":502", "host:", "host:0", "host:65536", "host:x"] {
            assert_eq!(check(wrong, 1000, 0), Some("tcp"), "{wrong}");
        }
        assert_eq!(
            (check("h:1", 9, 0), check("h:1", 60_001, 0), check("h:1", 10, 10_001)),
            (Some("timeout_ms"), Some("timeout_ms"), Some("pause_ms"))
        );
    }
}
