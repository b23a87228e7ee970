//! A link that is up: requests one after the other, notifications at once, whatever a request is waiting for.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::bluez::{Bluez, BluezError};
use super::grant::Id;
use super::handle::{Ask, What};
use super::peripheral::Peripheral;
use super::sockets::Sockets;
use super::tree;
use crate::contract::Event;
use crate::contract::ble::Failure;
use crate::contract::types::Moment;

/// How often, and after what pause, it is tried to subscribe to what BlueZ holds still: ten seconds, after which the link is made anew.
const LISTEN_TRIES_MAX: u32 = 25;
const LISTEN_AGAIN_MS: u64 = 400; // a socket of a lost link is let go within a second
const HELD: &str = "BlueZ holds what it says for another program, or for a link that is no more; if that stays so, restart bluetoothd";
/// Where a socket has ended and the link seems to be there: how long, and how often meanwhile, BlueZ is asked about the link.
const WORD_MS_MAX: u64 = 1_000; // it closes its sockets first, and hears of the link from the kernel a moment later
const WORD_LOOK_MS: u64 = 100; // a handful of questions
/// A peripheral that left so many requests in a row without an answer is connected anew.
const SILENT_MAX: u32 = 3;
/// So many times as long as its plugin says is usual one may be silent before its link is made anew.
const MUTE_FACTOR: u64 = 3; // whoever is just put on takes a while, and a link that is lost at a bad moment is too much for BlueZ
/// How often the time is doubled after which the link of one that says nothing is made anew.
const MUTE_DOUBLINGS_MAX: u32 = 6; // of thirty seconds half an hour: a strap that nobody wears costs the radio little
/// A link that is lost within this, and on which nothing was said, was of no use.
const BRIEF_S: u64 = 5; // a plugin has subscribed by then, and whoever measures speaks each second

/// One that the plugin was told of.
pub(super) struct Characteristic {
    pub path: String,
    pub service: Id,
    pub uuid: Id,
    pub flags: tree::Characteristic,
}

pub(super) struct Session {
    bluez: Bluez,
    path: String,
    found: BTreeMap<u16, Characteristic>,
    /// What notifies through a socket of its own.
    sockets: Sockets,
    /// What does through signals, and is subscribed.
    signals: Vec<u16>,
    waiting: VecDeque<Ask>,
    under_way: Option<UnderWay>,
    silent: u32,
    /// Since when the link stands.
    since: Instant,
}

struct UnderWay {
    ask: Ask,
    work: Pin<Box<dyn Future<Output = Done> + Send>>,
}

/// How a request ended.
enum Done {
    Value(Result<Vec<u8>, BluezError>),
    Listening(Result<Heard, BluezError>),
    Deaf(Result<(), BluezError>),
}

enum Heard {
    Socket(std::os::unix::net::UnixDatagram),
    Signals,
}

enum Step {
    News,
    Finished(Done),
    Asked(Option<Ask>),
}

/// Why a link has ended.
pub(super) struct Ended {
    pub why: String,
    /// Its peripheral was of no use while it was there, unless it said something.
    pub useless: bool,
}

impl Session {
    pub(super) fn new(bluez: Bluez, path: String, found: BTreeMap<u16, Characteristic>) -> Self {
        Self {
            bluez,
            path,
            found,
            sockets: Sockets::default(),
            signals: Vec::new(),
            waiting: VecDeque::new(),
            under_way: None,
            silent: 0,
            since: Instant::now(),
        }
    }

    /// Until the link is gone, and why; None when nobody needs it any more.
    pub(super) async fn run(&mut self, of: &mut Peripheral) -> Option<Ended> {
        let ended = self.serve(of).await;
        let _ = self.hear(of); // what came before the link was lost is heard, also when the word of its loss was quicker
        ended
    }

    async fn serve(&mut self, of: &mut Peripheral) -> Option<Ended> {
        loop {
            if let Some(why) = self.hear(of) {
                let (bluez, path) = (self.bluez.clone(), self.path.clone());
                return Some(closed(of, &bluez, &path, self.since, &why).await); // made anew, so that the plugin learns of it and subscribes again
            }
            if let Err(ended) = radio_says(of, &self.path, self.since) {
                return Some(ended);
            }
            if let Some(why) = self.says_nothing(of) {
                let _ = self.bluez.disconnect(&self.path).await;
                return Some(Ended { why, useless: true });
            }
            self.begin(of);
            match self.step(of).await {
                Step::News => {}
                Step::Finished(done) => {
                    if matches!(&done, Done::Listening(Err(why)) if why.is_held()) {
                        let _ = self.bluez.disconnect(&self.path).await;
                        return Some(Ended { why: HELD.into(), useless: true }); // its plugin learns that the link went, and asks again on the next
                    }
                    self.finished(of, done);
                    if self.silent >= SILENT_MAX {
                        let _ = self.bluez.disconnect(&self.path).await;
                        return Some(Ended { why: format!("it left {SILENT_MAX} requests in a row without an answer"), useless: true });
                    }
                }
                Step::Asked(Some(ask)) => self.asked(of, ask),
                Step::Asked(None) => return None,
            }
        }
    }

    /// When the link of one that was subscribed to and says nothing is made anew, and after how long. None: it need not speak.
    fn silent_at_ns(&self, of: &Peripheral) -> Option<(u64, u64)> {
        let subscribed = !self.sockets.is_empty() || !self.signals.is_empty();
        let (since, usual_s) = of.status.instance(of.inbox.instance(), |i| (i.could_speak_since(), i.silent_after_s));
        let since = since.max(of.seat.heard_ns()); // what its plugin has not read yet was said all the same
        let quiet_s = usual_s.saturating_mul(MUTE_FACTOR << of.mute_links.min(MUTE_DOUBLINGS_MAX));
        (subscribed && usual_s > 0).then_some((since.saturating_add(quiet_s.saturating_mul(1_000_000_000)), quiet_s))
    }

    /// BlueZ may have lost its subscriptions without a word: a new link brings them back.
    fn says_nothing(&self, of: &mut Peripheral) -> Option<String> {
        // not by what was read of it, like its battery: that it answers says nothing of what it was subscribed to
        if of.seat.heard_ns() > of.status.instance(of.inbox.instance(), |i| i.link_since_ns) {
            of.mute_links = 0;
        }
        let (at_ns, quiet_s) = self.silent_at_ns(of)?;
        if (of.clock)().monotonic_ns < at_ns {
            return None;
        }
        of.mute_links += 1;
        Some(format!("it was subscribed to and said nothing for {quiet_s} s: its link is made anew"))
    }

    async fn step(&mut self, of: &mut Peripheral) -> Step {
        let silent_in = self.silent_at_ns(of).map(|(at_ns, _)| Duration::from_nanos(at_ns.saturating_sub((of.clock)().monotonic_ns)));
        let (sockets, under_way) = (&self.sockets, &mut self.under_way);
        let finished = async {
            match under_way {
                Some(one) => one.work.as_mut().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased; // what has come is read first: it cannot wait
            () = sockets.ready() => Step::News,
            () = of.seat.news.notified() => Step::News,
            () = sleep(silent_in.unwrap_or_default()), if silent_in.is_some() => Step::News,
            done = finished => Step::Finished(done),
            ask = of.asks.recv() => Step::Asked(ask),
        }
    }

    // ---------- what it says

    /// All that it has said by now, in the order in which it was said: what stands on a socket was written there at once, and what was signalled is
    /// told later than what was said before it. So of what was signalled by now the sockets are read first. Some: BlueZ has closed a socket.
    fn hear(&self, of: &Peripheral) -> Option<io::Error> {
        let (signalled, lost) = of.seat.said();
        let waited = self.sockets.take();
        for (handle, bytes) in waited.values {
            let now = (of.clock)();
            of.seat.count(now, bytes.len(), &of.status);
            of.seat.give(now, Event::BleNotified(handle, bytes), &of.status);
        }
        signalled.into_iter().for_each(|(moment, event)| of.seat.give(moment, event, &of.status));
        if lost {
            of.inbox.lost((of.clock)());
        }
        waited.ended
    }

    // ---------- what it is asked

    /// An open tag used again cancels the older request, as the contract says; one that is under way is beyond that, and answered to nobody.
    fn asked(&mut self, of: &Peripheral, ask: Ask) {
        let now = (of.clock)();
        while let Some(at) = self.waiting.iter().position(|w| w.tag == ask.tag) {
            let older = self.waiting.remove(at).expect("just found");
            older.answer.give(now, Event::BleReply(older.tag, Err(Failure::Cancelled)));
        }
        self.waiting.push_back(ask);
    }

    fn begin(&mut self, of: &Peripheral) {
        while self.under_way.is_none() {
            let Some(ask) = self.waiting.pop_front() else { return };
            if ask.answer.is_stale() {
                continue; // whoever asked was opened anew
            }
            let handle = ask.what.handle();
            let Some(characteristic) = self.found.get(&handle) else {
                ask.answer.give((of.clock)(), Event::BleReply(ask.tag, Err(Failure::NotFound)));
                continue;
            };
            let listening = self.signals.contains(&handle) || self.sockets.has(handle);
            let work = self.work(&ask.what, characteristic, listening);
            if let (What::Subscribe(_), false) = (&ask.what, listening) {
                // before it is subscribed: what comes at once is heard
                of.seat.route(&characteristic.path, Some((handle, !characteristic.flags.has("notify"))));
            }
            of.status.link(&of.name, |l| l.requests += 1);
            self.under_way = Some(UnderWay { ask, work });
        }
    }

    fn work(&self, what: &What, characteristic: &Characteristic, listening: bool) -> Pin<Box<dyn Future<Output = Done> + Send>> {
        let (bluez, path, what) = (self.bluez.clone(), characteristic.path.clone(), what.clone());
        let notifies = characteristic.flags.has("notify");
        let signals = self.signals.contains(&what.handle());
        Box::pin(async move {
            match what {
                What::Read(_) => Done::Value(bluez.read_value(&path).await),
                What::Write { bytes, with_response, .. } => {
                    Done::Value(bluez.write_value(&path, &bytes, with_response).await.map(|()| Vec::new()))
                }
                What::Subscribe(_) if listening => Done::Value(Ok(Vec::new())),
                What::Subscribe(_) => Done::Listening(listen(&bluez, &path, notifies).await),
                What::Unsubscribe(_) if signals => Done::Deaf(bluez.stop_notify(&path).await),
                What::Unsubscribe(_) => Done::Deaf(Ok(())), // its socket is closed
            }
        })
    }

    fn finished(&mut self, of: &Peripheral, done: Done) {
        let Some(UnderWay { ask, .. }) = self.under_way.take() else { return };
        let handle = ask.what.handle();
        let written = if let What::Write { bytes, .. } = &ask.what { bytes.len() as u64 } else { 0 };
        let outcome = match done {
            Done::Value(outcome) => outcome,
            Done::Listening(Ok(heard)) => self.listening(of, handle, heard),
            Done::Listening(Err(why)) => {
                self.route(of, handle, None);
                Err(why)
            }
            Done::Deaf(outcome) => {
                self.route(of, handle, None);
                self.sockets.close(handle);
                self.signals.retain(|other| *other != handle);
                outcome.map(|()| Vec::new())
            }
        };
        let outcome = outcome.map_err(|why| {
            tracing::debug!(link = of.name, handle, %why, "a request failed");
            why.failure()
        });
        self.silent = if outcome == Err(Failure::Timeout) { self.silent + 1 } else { 0 };
        of.status.link(&of.name, |l| match &outcome {
            Ok(bytes) => {
                l.answered += 1;
                l.bytes_in += bytes.len() as u64;
                l.bytes_out += written;
            }
            Err(Failure::Timeout) => l.timeouts += 1,
            Err(_) => l.exceptions += 1,
        });
        ask.answer.give((of.clock)(), Event::BleReply(ask.tag, outcome));
    }

    fn listening(&mut self, of: &Peripheral, handle: u16, heard: Heard) -> Result<Vec<u8>, BluezError> {
        match heard {
            Heard::Signals => self.signals.push(handle),
            Heard::Socket(socket) => {
                self.route(of, handle, None); // BlueZ sends no signals beside it
                let strange = |e: io::Error| BluezError::Strange { asked: "AcquireNotify", why: e.to_string() };
                self.sockets.add(handle, socket).map_err(strange)?;
            }
        }
        Ok(Vec::new())
    }

    fn route(&self, of: &Peripheral, handle: u16, to: Option<(u16, bool)>) {
        if let Some(characteristic) = self.found.get(&handle) {
            of.seat.route(&characteristic.path, to);
        }
    }

    /// The link is gone: so learns whoever asked.
    pub(super) fn end(&mut self, now: Moment) {
        for ask in self.under_way.take().map(|u| u.ask).into_iter().chain(self.waiting.drain(..)) {
            ask.answer.give(now, Event::BleReply(ask.tag, Err(Failure::LinkDown)));
        }
    }
}

/// BlueZ may hold what was subscribed to on the link before for a moment: then it refuses.
async fn listen(bluez: &Bluez, path: &str, notifies: bool) -> Result<Heard, BluezError> {
    for _ in 1..LISTEN_TRIES_MAX {
        match listen_once(bluez, path, notifies).await {
            Err(why) if why.is_held() => sleep(Duration::from_millis(LISTEN_AGAIN_MS)).await,
            done => return done,
        }
    }
    listen_once(bluez, path, notifies).await
}

/// A socket where there can be one: BlueZ gives none for what is only indicated, or what another program has already.
async fn listen_once(bluez: &Bluez, path: &str, notifies: bool) -> Result<Heard, BluezError> {
    if notifies {
        match bluez.acquire_notify(path).await {
            Ok((socket, _)) => return Ok(Heard::Socket(socket)),
            Err(why) if why.is("NotSupported") || why.is_held() => {}
            Err(why) => return Err(why),
        }
    }
    bluez.start_notify(path).await.map(|()| Heard::Signals)
}

/// `since`: when the link was made.
fn radio_says(of: &Peripheral, path: &str, since: Instant) -> Result<(), Ended> {
    match of.radio.device(path) {
        None => {
            let why = "BlueZ has it no more: it was removed there, the adapter is gone, or BlueZ was started anew".into();
            Err(Ended { why, useless: false })
        }
        Some(device) if !device.connected => {
            Err(Ended { why: "the link is lost".into(), useless: since.elapsed() < Duration::from_secs(BRIEF_S) })
        }
        Some(_) => Ok(()),
    }
}

/// BlueZ has closed a socket: the link is lost, of which it may say so a moment later; or its services are read anew, and nothing would come any more.
/// Then the link is ended too: its peripheral is as good as before, and whoever has it next makes another.
async fn closed(of: &Peripheral, bluez: &Bluez, path: &str, since: Instant, why: &io::Error) -> Ended {
    let until = Instant::now() + Duration::from_millis(WORD_MS_MAX);
    loop {
        let _ = of.radio.learn(bluez, path).await; // of one that BlueZ has no more, the signal says so
        if let Err(lost) = radio_says(of, path, since) {
            return lost;
        }
        if Instant::now() >= until {
            let _ = bluez.disconnect(path).await;
            return Ended { why: format!("BlueZ ended a subscription: {why}"), useless: false };
        }
        sleep(Duration::from_millis(WORD_LOOK_MS)).await;
    }
}
