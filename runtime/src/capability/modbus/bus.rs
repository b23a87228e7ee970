//! The owner of one Modbus bus: one request at a time, members in turn, a pause after each, and a link that comes back by itself.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::Ask;
use super::aside::{Aside, DAMAGED_MAX, Lack, SILENT_MAX};
use super::desk::{Desk, Job};
use super::exchange::Fault;
use super::line::{Answered, BABBLES, Line, Rest};
use super::members::Members;
use super::settings::{BusError, Settings};
use crate::capability::Clock;
use crate::config;
use crate::contract::Frame;
use crate::contract::modbus::Failure;
use crate::contract::types::{LinkState, Moment};
use crate::status::Status;

/// Connections are never made more often than this.
const RECONNECT_MS_MIN: u64 = 100; // a server that hangs up at once must not be called in a loop
const BACKOFF_MS_MIN: u64 = 250; // a device that only closed its socket is there again at once
const BACKOFF_MS_MAX: u64 = 10_000; // a device that was switched on again is heard within this
const REOPEN_MS_MAX: u64 = 500; // to look for a tty costs two system calls

/// Serves its members in turn.
///
/// The link is `up` from the first connection on and `down` when one could not be made, or ended before it brought an answer; while
/// down it is tried again by itself, ever more slowly. A connection that is given up after a timeout or a malformed reply, or that an idle peer closed,
/// is made anew with the next request: one silent server behind a converter does not make the link flap for the others. A tty that hangs
/// up is down at once.
pub struct Bus {
    name: String,
    asks: mpsc::Receiver<Ask>,
    desk: Desk,
    line: Line,
    aside: Aside,
    /// The line was not to be silenced after the newest request that was not answered.
    noisy: bool,
    settings: Settings,
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
        let settings = Settings::read(name, settings)?;
        status.link(name, |l| (l.kind, l.target) = (settings.kind().into(), settings.to_string()));
        Ok(Self {
            name: name.to_owned(),
            asks,
            desk: Desk::default(),
            line: Line::new(settings.clone(), clock),
            aside: Aside::default(),
            noisy: false,
            settings,
            up: None,
            connect_at: Instant::now(),
            backoff_ms: BACKOFF_MS_MIN,
            connections: 0,
            members,
            clock,
            status,
        })
    }

    /// Ends when every [`super::Handle`] of it is gone.
    pub async fn run(mut self) {
        while self.step().await {}
    }

    /// False: nobody is left who could ask.
    async fn step(&mut self) -> bool {
        if self.line.is_open()
            && !self.desk.is_empty()
            && let Err(why) = self.line.freshen().await
        {
            self.ended(&why);
        }
        let now = Instant::now();
        if self.line.is_open() {
            if let Some(job) = self.desk.next(|server| self.aside.is_hushed(server, now)) {
                self.serve(job).await;
                return !self.asks.is_closed() || !self.asks.is_empty();
            }
            let hushed = self.aside.next(now);
            return tokio::select! {
                ask = self.asks.recv() => self.take(ask),
                why = self.line.idle() => { self.ended(&why); true }
                () = sleep_until(hushed.unwrap_or(now)), if hushed.is_some() => true,
            };
        }
        let wanted = self.up != Some(true) || !self.desk.is_empty();
        let patience = self.desk.oldest().map_or(self.connect_at, |since| (since + self.settings.timeout).min(self.connect_at));
        tokio::select! {
            ask = self.asks.recv() => self.take(ask),
            () = sleep_until(if self.up == Some(false) { patience } else { self.connect_at }), if wanted => {
                if Instant::now() >= self.connect_at {
                    self.connect().await;
                } else {
                    self.desk.give_up(Instant::now() - self.settings.timeout, (self.clock)());
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

    async fn serve(&mut self, job: Job) {
        let begun = Instant::now();
        let whose = self.desk.whose().expect("it is under way").clone();
        if !self.aside.may_ask(&whose, job.server, begun) {
            self.status.link(&self.name, |l| l.skipped += 1);
            return self.desk.finish((self.clock)(), Err(Failure::LinkDown), false);
        }
        let outcome = attend(&mut self.asks, &mut self.desk, self.clock, self.line.ask(&job)).await;
        let now = (self.clock)();
        self.count(&job, &outcome, now);
        self.judge(&whose, job.server, &outcome);
        let answered = self.line.has_answered();
        if answered {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        let doubtful = matches!(outcome, Err(Fault::Timeout | Fault::Malformed(_)));
        if let Err(Fault::LinkDown(why)) = &outcome {
            if answered && !self.settings.is_tty() { self.line.close() } else { self.went_down(why) }
        }
        let questionable = outcome.as_ref().is_ok_and(|a| a.questionable);
        self.desk.finish(now, outcome.map(|a| a.response).map_err(|fault| fault.failure()), questionable);
        if doubtful {
            match attend(&mut self.asks, &mut self.desk, self.clock, self.line.in_doubt()).await {
                Ok(Rest::Nothing) => {}
                Ok(rest) => {
                    self.aside.hush(job.server, Instant::now() + self.settings.timeout);
                    self.noisy = rest == Rest::Noise;
                    if self.noisy {
                        let now = (self.clock)().monotonic_ns;
                        self.status.link(&self.name, |l| l.failed(format!("server {}: {BABBLES}", job.server), now));
                    }
                }
                Err(why) => self.ended(&why), // it was unplugged meanwhile
            }
        }
        if !self.settings.pause.is_zero() {
            attend(&mut self.asks, &mut self.desk, self.clock, sleep(self.settings.pause)).await;
        }
        let waited = begun.saturating_duration_since(job.since).as_millis() as u64;
        self.status.link(&self.name, |l| {
            l.busy_us += begun.elapsed().as_micros() as u64;
            l.worst_wait_ms = l.worst_wait_ms.max(waited);
        });
    }

    /// Whether the server is to be asked on for this instance.
    fn judge(&mut self, whose: &Arc<str>, server: u8, outcome: &Result<Answered, Fault>) {
        let cost = self.settings.silent();
        let mut failed = |lack| {
            self.aside.keep(|instance| self.members.has(instance));
            self.aside.failed(whose, server, lack, Instant::now(), cost)
        };
        let changed = match outcome {
            Ok(_) | Err(Fault::Exception(_)) => self.aside.answered(whose, server),
            Err(Fault::Timeout) => failed(Lack::Silent),
            Err(Fault::Malformed(_)) => failed(Lack::Damaged),
            Err(Fault::LinkDown(_)) => false,
        };
        if !changed {
            return;
        }
        if let Err(fault) = outcome {
            tracing::warn!(
                bus = self.name,
                server,
                instance = %whose,
                probe_s = self.aside.between(whose, cost).as_secs(),
                %fault,
                "server is set aside: {SILENT_MAX} times in a row it was silent, or {DAMAGED_MAX} times damaged; it is probed at intervals"
            );
        } else {
            tracing::info!(bus = self.name, server, instance = %whose, "server answers again");
        }
        let mut aside_for = self.aside.list();
        self.status.link(&self.name, |l| {
            l.aside = aside_for.keys().copied().collect();
            aside_for.retain(|_, whom| !whom.is_empty());
            l.aside_for = aside_for;
        });
    }

    /// The connection is no more, though nothing was asked.
    fn ended(&mut self, why: &str) {
        if self.settings.is_tty() { self.went_down(why) } else { self.line.close() }
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
            Err(why) => self.went_down(&why),
        }
    }

    fn went_down(&mut self, why: &str) {
        self.line.close();
        self.connect_at = Instant::now() + Duration::from_millis(self.backoff_ms);
        let most = if self.settings.is_tty() { REOPEN_MS_MAX } else { BACKOFF_MS_MAX };
        self.backoff_ms = (self.backoff_ms * 2).min(most);
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
        let now = (self.clock)();
        self.status.link(&self.name, |l| {
            l.up = up;
            if !up {
                l.failed(why.to_owned(), now.monotonic_ns);
            }
        });
        self.members.tell(state, now, &self.status);
    }

    /// Frames go to whoever asked, or are dropped and counted; a run that has ended meanwhile makes no difference.
    fn keep(&self, frames: Vec<Frame>, mut withheld: u64, now: Moment) {
        let came = heard(&frames);
        if !frames.is_empty() && self.desk.keep(now, frames).is_none() {
            withheld += came;
        }
        if let Some(instance) = self.desk.whose().filter(|_| withheld > 0) {
            self.status.instance(instance, |i| i.raw_withheld += withheld);
        }
    }

    fn count(&mut self, job: &Job, outcome: &Result<Answered, Fault>, now: Moment) {
        let (server, tally) = (job.server, std::mem::take(&mut self.line.tally));
        self.keep(tally.frames, tally.bytes_withheld, now);
        self.status.link(&self.name, |l| {
            l.requests += 1;
            l.bytes_in += tally.bytes_in;
            l.bytes_out += tally.bytes_out;
            l.strays += tally.strays;
            match outcome {
                Ok(answer) => {
                    self.noisy = false;
                    l.answered += 1;
                    l.questionable += u64::from(answer.questionable);
                }
                Err(Fault::Exception(_)) => l.exceptions += 1,
                Err(Fault::Timeout) => {
                    l.timeouts += 1;
                    if !self.noisy {
                        let within_ms = self.settings.timeout.as_millis();
                        l.failed(format!("server {server} did not answer within {within_ms} ms"), now.monotonic_ns);
                    }
                }
                Err(Fault::Malformed(why)) => {
                    l.malformed += 1;
                    if !self.noisy {
                        l.failed(format!("server {server}: {why}"), now.monotonic_ns);
                    }
                }
                Err(Fault::LinkDown(why)) => l.failed(format!("server {server}: {why}"), now.monotonic_ns),
            }
        });
        if let Err(fault @ (Fault::Malformed(_) | Fault::LinkDown(_))) = outcome {
            tracing::debug!(bus = self.name, server, ?fault, "no answer");
        }
    }
}

/// What of these frames came from the device.
fn heard(frames: &[Frame]) -> u64 {
    frames.iter().filter(|f| !f.sent).map(|f| f.bytes.len() as u64).sum()
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
