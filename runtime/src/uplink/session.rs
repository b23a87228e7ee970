//! One connection, from the first SYN to its end: subscribe, then publish what the lanes pick, as the window has room, until something ends it.
//!
//! The future that moves the connection is never dropped while the connection is wanted: everything else (news of the store, a batch read, time)
//! happens beside it. So a write that blocks holds up nothing but itself, and when the broker owes an answer for too long, dropping that future
//! is how the connection is given up.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};
use wardgate_wire::{BatchKey, Epoch, Life, split};

use super::beside::Beside;
use super::context::Context;
use super::error::UplinkError;
use super::lanes::{Lanes, Rank, Turns};
use super::pipe::{self, Allowed, Ear, Hand, Heard};
use super::settings::MESSAGE_BYTES_MIN;
use super::window::Window;

/// For what is in flight at a stop, and the DISCONNECT after it: a round trip of the slowest link, and no more than a person waits for a service.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// Batches in memory that have not begun, at a rank or above: one that is waited for, and one behind it so that a fast link need not wait for a card.
const READ_AHEAD_BATCHES: usize = 2;
/// A receiver that acknowledges nothing for so many times `resend_s` is told of: one that restarts or lost a message answers a repeat, so this is
/// most likely a wrong key or the wrong topic, and nothing else would ever say it.
const UNHEARD_RESENDS: u32 = 4;
/// With nothing else to wait for, look again: no wait is without an end.
const IDLE_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Session<'a> {
    context: &'a mut Context,
    news: &'a mut watch::Receiver<u64>,
    present: &'a mut watch::Receiver<(Life, Epoch)>,
    link: &'a watch::Sender<bool>,
    window: Window,
    lanes: Lanes,
    turns: Turns,
    /// Batches in memory, on their way to the client: of each rank a few that have not begun, one that has, one repeated.
    sending: Vec<Sending>,
    reading: Beside<Read>,
    /// The shelf, or what is present, has changed since the lanes were made.
    stale: bool,
    origin: Instant,
    state: State,
    /// The receiver freed something through this connection.
    was_heard: bool,
    /// When the broker took the first batch since the receiver's last word, or since its silence was told.
    unheard_since: Option<Duration>,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connecting,
    Subscribing { allowed: Allowed, since: Duration },
    Open { allowed: Allowed, since: Duration },
    Leaving { until: Duration, said_goodbye: bool },
}

#[derive(Debug)]
struct Sending {
    key: BatchKey,
    rank: Rank,
    topic: String,
    /// What is left of it, the next one last.
    messages: Vec<Vec<u8>>,
    total: usize,
    bytes: usize,
    repeat: bool,
    begun: bool,
}

struct Read {
    key: BatchKey,
    repeat: bool,
    /// `None`: not held any more. An error is text already: the store names what is wrong.
    batch: Result<Option<Vec<u8>>, String>,
}

/// What to do next.
enum Step {
    Message(usize),
    Read { key: BatchKey, repeat: bool },
}

/// How a connection ended.
pub(super) struct End {
    /// `None`: asked to stop.
    pub error: Option<UplinkError>,
    /// It did some good, or held for long: the next attempt need not wait for long.
    pub worthwhile: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        context: &'a mut Context,
        news: &'a mut watch::Receiver<u64>,
        present: &'a mut watch::Receiver<(Life, Epoch)>,
        link: &'a watch::Sender<bool>,
    ) -> Self {
        context.skipped.clear();
        let s = &context.settings;
        Self {
            window: Window::new(s.window_messages.into(), s.window_bytes, s.resend),
            context,
            news,
            present,
            link,
            lanes: Lanes::default(),
            turns: Turns::default(),
            sending: Vec::new(),
            reading: Beside::default(),
            stale: true,
            origin: Instant::now(),
            state: State::Connecting,
            was_heard: false,
            unheard_since: None,
            stopping: false,
        }
    }

    pub async fn run(mut self, stop: Pin<&mut impl Future<Output = ()>>) -> End {
        let (mut hand, ear) = pipe::open(&self.context.settings);
        let error = self.pump(&mut hand, ear, stop).await.err().filter(|_| !self.stopping);
        let stable = matches!(self.state, State::Open { since, .. } if self.now() >= since + self.context.settings.backoff.max);
        self.context.unconfirmed.extend(self.window.keys());
        End { error, worthwhile: self.was_heard || stable }
    }

    /// `Ok`: asked to stop.
    async fn pump(&mut self, hand: &mut Hand, mut ear: Ear, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), UplinkError> {
        loop {
            let mut hearing = pin!(ear.hear());
            let heard = loop {
                self.fill(hand)?;
                let wake = self.origin + self.wake_at();
                select! {
                    heard = &mut hearing => break heard?,
                    read = self.reading.done() => if let Some(read) = read { self.take(read) },
                    freed = self.context.acknowledging.done() => self.acknowledged(&freed.unwrap_or_default()),
                    () = changed(self.news) => self.stale = true,
                    () = changed(self.present) => self.stale = true,
                    () = sleep_until(wake) => if self.overdue()? { return Ok(()) },
                    () = &mut stop, if !self.stopping => {
                        self.stopping = true;
                        if !matches!(self.state, State::Open { .. }) {
                            return Ok(());
                        }
                        self.state = State::Leaving { until: self.now() + STOP_WAIT, said_goodbye: false };
                    }
                }
            };
            if let Heard::Goodbye = heard {
                return Ok(());
            }
            self.on(heard, hand)?;
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Since when the broker owes something, and until when it may.
    fn patience(&self) -> Option<Duration> {
        let since = match self.state {
            State::Subscribing { since, .. } => Some(since),
            _ => self.window.waiting_since(),
        };
        since.map(|since| since + self.context.settings.progress)
    }

    fn wake_at(&self) -> Duration {
        let now = self.now();
        let leaving = if let State::Leaving { until, .. } = self.state { Some(until) } else { None };
        // what is due already waits for room, not for time
        let due = self.window.next_due().filter(|due| *due > now);
        [self.patience(), leaving, due, self.unheard_until()].into_iter().flatten().min().unwrap_or(now + IDLE_WAIT)
    }

    /// When a receiver that says nothing is told of.
    fn unheard_until(&self) -> Option<Duration> {
        self.unheard_since.map(|since| since + UNHEARD_RESENDS * self.context.settings.resend)
    }

    fn tell_unheard(&mut self) {
        self.unheard_since = None;
        let s = &self.context.settings;
        let (broker, seconds) = (s.peer.broker.clone(), u64::from(UNHEARD_RESENDS) * s.resend.as_secs());
        let topic = self.context.topics.all_up();
        self.context.report(&UplinkError::Unheard { broker, topic, seconds });
    }

    /// True: the time for leaving is over.
    fn overdue(&mut self) -> Result<bool, UplinkError> {
        let now = self.now();
        if matches!(self.state, State::Leaving { until, .. } if now >= until) {
            return Ok(true);
        }
        if self.unheard_until().is_some_and(|until| now >= until) {
            self.tell_unheard();
        }
        if self.patience().is_some_and(|until| now >= until) {
            let s = &self.context.settings;
            return Err(UplinkError::Stalled { broker: s.peer.broker.clone(), seconds: s.progress.as_secs() });
        }
        Ok(false)
    }

    fn on(&mut self, heard: Heard, hand: &mut Hand) -> Result<(), UplinkError> {
        let broker = self.context.settings.peer.broker.clone();
        match heard {
            Heard::Up(allowed) => return self.up(allowed, hand),
            Heard::Subscribed => self.subscribed(),
            Heard::NotSubscribed(code) => return Err(UplinkError::Subscribe { broker, topic: self.context.topics.ack(), code }),
            Heard::Written(pkid) if !self.window.written(pkid) => return Err(UplinkError::OutOfStep { broker }),
            Heard::Taken(pkid) => self.taken(pkid),
            Heard::TakenForNobody(pkid) => {
                self.taken(pkid);
                self.unheard_since = None; // the broker knows it better
                let topic = self.context.topics.all_up();
                self.context.report(&UplinkError::NobodyListens { broker, topic });
            }
            Heard::NotTaken(code) => return Err(UplinkError::Publish { broker, topic: self.context.topics.all_up(), code }),
            Heard::Message { topic, payload } => {
                self.context.hear_ack(&topic, &payload);
            }
            Heard::Written(_) | Heard::Goodbye | Heard::Other => {}
        }
        Ok(())
    }

    fn up(&mut self, allowed: Allowed, hand: &mut Hand) -> Result<(), UplinkError> {
        let (broker, topics) = (self.context.settings.peer.broker.clone(), &self.context.topics);
        let payload_bytes = allowed.payload_bytes(&topics.longest_up());
        if payload_bytes < MESSAGE_BYTES_MIN {
            let what = format!("takes payloads of {payload_bytes} bytes, and a part of a batch takes {MESSAGE_BYTES_MIN}");
            return Err(UplinkError::Unfit { broker, what });
        }
        self.window.narrow(allowed.messages.into());
        hand.allow_aliases(allowed.aliases);
        self.state = State::Subscribing { allowed, since: self.now() };
        // alone: a packet identifier that a subscription holds is never one that a publish waits for
        if hand.subscribe(topics.ack()) { Ok(()) } else { Err(UplinkError::Client { broker }) }
    }

    fn subscribed(&mut self) {
        let State::Subscribing { allowed, .. } = self.state else { return };
        self.state = State::Open { allowed, since: self.now() };
        self.context.status.uplink(|s| {
            s.connected = true;
            s.connects += 1;
        });
        self.link.send_replace(true);
        let broker = &self.context.settings.peer.broker;
        info!(broker, receive_maximum = allowed.messages, "uplink connected");
    }

    fn taken(&mut self, pkid: u16) {
        if let Some((key, true)) = self.window.taken(pkid, self.now()) {
            debug!(batch = %key, "taken by the broker");
            self.unheard_since.get_or_insert(self.origin.elapsed());
        }
    }

    /// How many batches each acknowledgement freed.
    fn acknowledged(&mut self, freed: &[usize]) {
        self.context.acknowledged(freed);
        if freed.iter().any(|freed| *freed > 0) {
            self.was_heard = true;
            self.unheard_since = None;
            self.window.heard();
            self.stale = true;
        }
    }

    /// Hands over and reads ahead as much as is allowed now.
    fn fill(&mut self, hand: &mut Hand) -> Result<(), UplinkError> {
        match &mut self.state {
            State::Open { .. } => {}
            State::Leaving { said_goodbye, .. } if !*said_goodbye && self.window.in_flight() == 0 => {
                *said_goodbye = hand.goodbye();
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.refresh();
        while let Some((rank, step)) = self.choose() {
            match step {
                Step::Message(at) => self.hand_over(at, rank, hand)?,
                Step::Read { key, repeat } => self.read(key, repeat),
            }
        }
        Ok(())
    }

    fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let present = *self.present.borrow_and_update();
        self.news.borrow_and_update();
        let lanes = Lanes::new(self.context.shelf.held(), present);
        for key in self.window.retain(|key| lanes.holds(key)) {
            debug!(target: "wardgate::uplink::acknowledged", batch = %key, "acknowledged by the receiver");
        }
        self.sending.retain(|s| lanes.holds(&s.key));
        self.sending.iter_mut().for_each(|s| s.rank = Rank::of(&s.key, present));
        self.lanes = lanes;
    }

    fn choose(&mut self) -> Option<(Rank, Step)> {
        let (now, present) = (self.now(), *self.present.borrow());
        let Self { window, lanes, sending, reading, context, .. } = self;
        let mut waiting = Vec::new();
        for (at, s) in sending.iter().enumerate() {
            let bytes = s.messages.last().map_or(0, Vec::len);
            if window.slot(s.rank) && (s.repeat || window.room(s.rank, bytes)) {
                waiting.push((s.rank, Step::Message(at)));
            }
        }
        if !reading.is_busy() {
            let in_hand = |key: &BatchKey| sending.iter().any(|s| s.key == *key);
            let repeats = |rank: Rank| sending.iter().any(|s| s.repeat && s.rank == rank);
            for key in window.due(now).filter(|key| !in_hand(key) && !context.skipped.contains(key)) {
                let rank = Rank::of(&key, present);
                if !repeats(rank) {
                    waiting.push((rank, Step::Read { key, repeat: true }));
                }
            }
            // what is less urgent is read only when all that is known to be more urgent is in hand, or the order would hang on the card's speed
            let ahead = |rank: Rank| sending.iter().filter(|s| !s.begun && !s.repeat && s.rank <= rank).count();
            for (rank, key) in lanes.next(|key| window.contains(key) || in_hand(key) || context.skipped.contains(key)) {
                if ahead(rank) < READ_AHEAD_BATCHES && window.room(rank, 1) {
                    waiting.push((rank, Step::Read { key, repeat: false }));
                }
            }
        }
        self.turns.pick(waiting)
    }

    fn read(&mut self, key: BatchKey, repeat: bool) {
        if let Some((_, bytes)) = self.context.shelf.at_hand(&key) {
            return self.reading.done_already(Read { key, repeat, batch: Ok(Some(bytes)) });
        }
        let shelf = self.context.shelf.clone();
        self.reading.start(move || {
            let batch = shelf.read(&key).map(|found| found.map(|(_, bytes)| bytes)).map_err(|error| error.to_string());
            Read { key, repeat, batch }
        });
    }

    /// A batch came from the store.
    fn take(&mut self, read: Read) {
        let State::Open { allowed, .. } = self.state else { return };
        let topic = self.context.topics.up(read.key.class);
        let message_bytes = self.context.settings.message_bytes.min(allowed.payload_bytes(&topic));
        let bytes = match read.batch {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.leave_out(read.key, None), // gone while it was looked for
            Err(why) => return self.leave_out(read.key, Some(why)),
        };
        match split(&bytes, message_bytes, &self.context.key) {
            Ok(mut messages) => {
                messages.reverse();
                let (total, bytes) = (messages.len(), messages.iter().map(Vec::len).sum());
                let rank = Rank::of(&read.key, *self.present.borrow());
                self.sending.push(Sending { key: read.key, rank, topic, messages, total, bytes, repeat: read.repeat, begun: false });
            }
            Err(why) => self.leave_out(read.key, Some(why.to_string())),
        }
    }

    fn leave_out(&mut self, key: BatchKey, why: Option<String>) {
        self.context.leave_out(key, why);
        self.stale = true; // what the store has given up, the window need not wait for
    }

    fn hand_over(&mut self, at: usize, rank: Rank, hand: &mut Hand) -> Result<(), UplinkError> {
        let now = self.now();
        let s = &mut self.sending[at];
        if !s.begun {
            s.begun = true;
            let again = self.window.begin(s.key, s.bytes, s.total, now) || self.context.unconfirmed.remove(&s.key);
            self.context.status.uplink(|u| u.batches_repeated += u64::from(again));
            debug!(target: "wardgate::uplink::publishing", batch = %s.key, bytes = s.bytes, messages = s.total, again, "publishing");
        }
        let message = s.messages.pop().unwrap_or_default();
        let (bytes, last) = (message.len(), s.messages.is_empty());
        if !hand.publish(&s.topic, message) {
            return Err(UplinkError::Client { broker: self.context.settings.peer.broker.clone() });
        }
        self.window.hand(s.key, bytes, now);
        self.turns.sent(rank);
        if last {
            self.sending.swap_remove(at);
        }
        self.context.status.uplink(|u| {
            u.payload_bytes += bytes as u64;
            u.batches_published += u64::from(last);
        });
        Ok(())
    }
}

/// Ends at the next change; never, when nobody can change it any more.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}
