//! The line to one bus: made on demand; one request at a time to its answer. Whatever leaves doubt about whose answer comes next is
//! waited out, or the connection is given up.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::desk::Job;
use super::exchange::{self, Brought, Fault};
use super::frame::{Awaited, Look};
use super::settings::{Protocol, SILENCE, Settings, TURNAROUND};
use crate::capability::Clock;
use crate::capability::serial::{Came, Wire};
use crate::contract::Frame;
use crate::contract::modbus::{Request, Response};

const IDENTIFICATION_PARTS_MAX: usize = 32; // 256 objects of some 30 bytes; each part is a transaction that others wait for
const HEARS_ITSELF: &str = "what was sent came back, byte for byte: the adapter hears itself; set echo = true on this bus";
const UNASKED: &str = "it sends what nobody asked for";
pub(super) const BABBLES: &str = "the line is never silent: a driver that is stuck, or a pair without bias, or another sender";

pub(super) struct Line {
    settings: Settings,
    open: Option<Open>,
    next_id: u16,
    pub(super) tally: Tally,
    clock: Clock,
}

/// Since it was last taken.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) strays: u64,
    /// As on the wire: what was asked, and what was the answer to it; only where that is wanted.
    pub(super) frames: Vec<Frame>,
    /// Of answers, where nobody wants them.
    pub(super) bytes_withheld: u64,
}

struct Open {
    wire: Wire,
    /// When the newest byte came or went.
    newest: Instant,
    answered: bool,
}

/// An answer, and whether it is to be marked.
#[derive(Debug, PartialEq)]
pub(super) struct Answered {
    pub(super) response: Response,
    pub(super) questionable: bool,
}

/// What may still come after a request that was not answered.
#[derive(Debug, PartialEq)]
pub(super) enum Rest {
    Nothing,
    /// The line is silent; the answer may be late.
    Late,
    /// As above, and it was not to be silenced.
    Noise,
}

/// What of the bytes after a request is not the answer to it.
#[derive(Default)]
struct Reply {
    held: Vec<u8>,
    /// Bytes of the request that the adapter is still to give back.
    echo: Vec<u8>,
    /// The request, where the site says that the adapter does not give it back.
    sent: Vec<u8>,
    strays: u64,
    /// Why the newest stray was none of ours.
    stray: String,
}

impl Line {
    pub(super) fn new(settings: Settings, clock: Clock) -> Self {
        Self { settings, open: None, next_id: 0, tally: Tally::default(), clock }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) async fn connect(&mut self) -> Result<(), String> {
        self.open = None;
        let wire = Wire::open(&self.settings.wire).await.map_err(|e| e.to_string())?;
        self.open = Some(Open { wire, newest: Instant::now(), answered: false });
        Ok(())
    }

    /// While nothing is asked: ends when the line is gone, and says why. What comes meanwhile is nobody's; where the protocol has
    /// numbers that a stray answer could wear, the connection is given up for it.
    pub(super) async fn idle(&mut self) -> String {
        let Some(open) = &mut self.open else { return std::future::pending().await };
        loop {
            match open.read().await {
                Ok(came) => {
                    self.tally.bytes_in += came.bytes.len() as u64;
                    self.tally.strays += 1;
                    if self.settings.protocol == Protocol::Tcp {
                        return UNASKED.into();
                    }
                }
                Err(why) => return why,
            }
        }
    }

    /// Before the next request: takes what lies in the line. An error is why there is no line any more.
    pub(super) async fn freshen(&mut self) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.wire.throw_away() {
            Some(Ok(0)) => return Ok(()),
            Some(Ok(bytes)) => {
                open.newest = Instant::now(); // the silence before the next request begins here
                self.tally.bytes_in += bytes as u64;
                self.tally.strays += 1;
                return if self.settings.protocol == Protocol::Tcp { Err(UNASKED.into()) } else { Ok(()) };
            }
            Some(Err(gone)) => return Err(gone.to_string()),
            None => {}
        }
        // not a timer of no time, which sleeps for a millisecond
        let mut idle = pin!(self.idle());
        for looks_again in [true, false] {
            if let Poll::Ready(why) = poll_fn(|cx| Poll::Ready(idle.as_mut().poll(cx))).await {
                return Err(why);
            }
            if looks_again {
                yield_now().await; // meanwhile the driver looks at all lines
            }
        }
        Ok(())
    }

    /// One request, to its answer. After anything but an answer or an exception the line is in doubt: [`Line::in_doubt`].
    pub(super) async fn ask(&mut self, job: &Job) -> Result<Answered, Fault> {
        let (first, mut questionable) = self.transact(job, exchange::question(&job.request)).await?;
        let (mut objects, mut next) = match first {
            Brought::Whole(response) => return Ok(Answered { response, questionable }),
            Brought::Part(objects, next) => (objects, next),
        };
        let Request::ReadDeviceIdentification(query) = &job.request else { unreachable!("nothing else comes in parts") };
        for _ in 1..IDENTIFICATION_PARTS_MAX {
            sleep(self.settings.pause).await;
            let (part, doubtful) = self.transact(job, exchange::identification(query.depth, next)).await?;
            questionable |= doubtful;
            match part {
                Brought::Part(more, then) => {
                    objects.extend(more);
                    next = then;
                }
                Brought::Whole(Response::Identification(last)) => {
                    objects.extend(last);
                    return Ok(Answered { response: Response::Identification(objects), questionable });
                }
                Brought::Whole(_) => unreachable!("the shape was checked"),
            }
        }
        Err(Fault::Malformed(format!("an identification in more than {IDENTIFICATION_PARTS_MAX} parts")))
    }

    async fn transact(&mut self, job: &Job, pdu: Vec<u8>) -> Result<(Brought, bool), Fault> {
        let Some(open) = &mut self.open else { return Err(Fault::LinkDown("not connected".into())) };
        let settings = &self.settings;
        let quiet_until = open.newest + settings.gap;
        if Instant::now() < quiet_until {
            sleep_until(quiet_until).await; // one that is over would still sleep to the next millisecond
        }
        self.next_id = self.next_id.wrapping_add(1);
        let frame = settings.protocol.wrap(self.next_id, job.server, &pdu);
        let until = Instant::now() + Duration::from_micros(settings.line_us(frame.len())) + settings.timeout;
        open.write(frame.clone(), until).await?;
        self.tally.bytes_out += frame.len() as u64;
        if job.keep_raw {
            self.tally.frames.push(Frame { moment: (self.clock)(), sent: true, bytes: frame.clone() });
        }
        if job.is_broadcast(settings.protocol) {
            // nobody answers; whoever was asked next might still be busy with it
            sleep(Duration::from_micros(settings.line_us(frame.len())) + TURNAROUND).await;
            if let Some(Err(gone)) = open.wire.throw_away() {
                return Err(Fault::LinkDown(gone.to_string())); // an adapter without a device; what it heard itself say is nobody's
            }
            return Ok((Brought::Whole(Response::Written), false));
        }
        let mut reply = match (settings.protocol, settings.echo) {
            (Protocol::Tcp, _) => Reply::default(),
            (_, true) => Reply { echo: frame, ..Reply::default() },
            (_, false) => Reply { sent: frame, ..Reply::default() },
        };
        let found = open.reply(settings, &mut reply, job, (self.next_id, pdu[0]), until, &mut self.tally.bytes_in).await;
        self.tally.strays += reply.strays + u64::from(!reply.held.is_empty());
        let Found { pdu, questionable, frame, .. } = found?;
        let brought = match exchange::answer(&job.request, &pdu) {
            // bits may have the very values that make the request a right answer: better none than an invented one
            Err(Fault::Malformed(_)) | Ok(Brought::Whole(Response::Bits(_))) if frame == reply.sent => {
                Err(Fault::Malformed(HEARS_ITSELF.into()))
            }
            brought => brought,
        };
        // Of what is damaged or another's nothing is kept: whose it is nobody can tell.
        if job.keep_raw {
            self.tally.frames.push(Frame { moment: (self.clock)(), sent: false, bytes: frame });
        } else {
            self.tally.bytes_withheld += frame.len() as u64;
        }
        open.answered |= matches!(brought, Ok(_) | Err(Fault::Exception(_)));
        // What stands behind the answer is not ours: on a connection with numbers it is given up, elsewhere it is drained.
        if !reply.held.is_empty() && settings.protocol == Protocol::Tcp {
            self.open = None;
        }
        Ok((brought?, questionable))
    }

    /// Whether this connection ever brought an answer.
    pub(super) fn has_answered(&self) -> bool {
        self.open.as_ref().is_some_and(|o| o.answered)
    }

    /// After a timeout or a malformed reply: an answer may still be under way.
    ///
    /// Over TCP the transaction id of the next request would tell it from the right one, if devices could be trusted with it; but
    /// converters to a serial bus put the id of the newest request on whatever comes from the serial side, and cheap devices always send
    /// the same. On a new connection nothing old can arrive. A line without connections is drained until it is silent, for one more timeout at
    /// most; the server that owes an answer is to be left alone for a while. An error is why there is no line any more.
    pub(super) async fn in_doubt(&mut self) -> Result<Rest, String> {
        if self.settings.protocol == Protocol::Tcp {
            self.open = None;
            return Ok(Rest::Nothing);
        }
        let Some(open) = &mut self.open else { return Ok(Rest::Nothing) };
        let (silence, until) = (self.settings.drain(), Instant::now() + self.settings.timeout);
        loop {
            let wait = until.min(Instant::now() + silence);
            match timeout_at(wait, open.read()).await {
                Ok(Ok(came)) => self.tally.bytes_in += came.bytes.len() as u64,
                Ok(Err(why)) => return Err(why),
                Err(_) if wait < until || silence >= self.settings.timeout => return Ok(Rest::Late),
                Err(_) => break,
            }
            if Instant::now() >= until {
                break; // a sender without a pause never lets the clock win
            }
        }
        self.tally.strays += 1;
        Ok(Rest::Noise)
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl Settings {
    /// What so many bytes take until they have left. Over TCP nobody waits for that.
    pub(super) fn line_us(&self, bytes: usize) -> u64 {
        if self.protocol == Protocol::Tcp { 0 } else { self.wire.line_us(bytes) }
    }
}

/// A whole frame, be it ours or not.
struct Found {
    server: u8,
    pdu: Vec<u8>,
    id: Option<u16>,
    questionable: bool,
    /// As on the wire.
    frame: Vec<u8>,
}

/// What one read brought.
struct Read {
    bytes: Vec<u8>,
    faulty: bool,
}

impl Open {
    async fn read(&mut self) -> Result<Read, String> {
        let all = self.wire.reader.read().await.map_err(|e| e.to_string())?;
        self.newest = Instant::now();
        let mut read = Read { bytes: Vec::new(), faulty: false };
        for came in all {
            match came {
                Came::Bytes(bytes) => read.bytes.extend(bytes),
                Came::Fault(_) => read.faulty = true,
                Came::Reply(words) => self.wire.writer.write_all(&words).await.map_err(|e| e.to_string())?,
            }
        }
        Ok(read)
    }

    async fn write(&mut self, frame: Vec<u8>, until: Instant) -> Result<(), Fault> {
        let frame = self.wire.encode(frame);
        let gone = timeout_at(until, self.wire.writer.write_all(&frame)).await;
        self.newest = Instant::now();
        match gone {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Fault::LinkDown(e.to_string())),
            Err(_) => Err(Fault::LinkDown("the line takes no bytes".into())),
        }
    }

    /// The frame that answers, however much else comes before it.
    async fn reply(
        &mut self,
        settings: &Settings,
        reply: &mut Reply,
        job: &Job,
        (id, function): (u16, u8),
        until: Instant,
        bytes_in: &mut u64,
    ) -> Result<Found, Fault> {
        let mut silent = false;
        loop {
            while let Some(found) = reply.look(settings.protocol, job, silent)? {
                let Found { server, pdu, .. } = &found;
                let ours = *server == job.server && pdu[0] & 0x7F == function && found.id.is_none_or(|i| i == id);
                if ours {
                    return Ok(found);
                }
                reply.stray = format!("a frame of server {server}, function {}, which answers another request", pdu[0] & 0x7F);
                reply.strays += 1;
                if settings.protocol == Protocol::Tcp {
                    return Err(Fault::Malformed(std::mem::take(&mut reply.stray))); // the connection is given up anyway
                }
            }
            let wait = if silent || reply.held.is_empty() { until } else { until.min(Instant::now() + SILENCE) };
            match timeout_at(wait, self.read()).await {
                Ok(Ok(read)) => {
                    *bytes_in += read.bytes.len() as u64;
                    if read.faulty {
                        return Err(Fault::Malformed("parity, framing or break on the line".into()));
                    }
                    reply.held.extend(read.bytes);
                    reply.strip_echo()?;
                    silent = false;
                }
                Ok(Err(why)) => return Err(Fault::LinkDown(why)),
                Err(_) if wait < until => silent = true,
                Err(_) => return Err(reply.nothing(settings.echo)),
            }
        }
    }
}

impl Reply {
    fn look(&mut self, protocol: Protocol, job: &Job, silent: bool) -> Result<Option<Found>, Fault> {
        if !self.echo.is_empty() || self.held.is_empty() {
            return Ok(None);
        }
        if !silent && self.held.len() < self.sent.len() && self.sent.starts_with(&self.held) {
            return Ok(None); // our own request may be coming back; of an answer that begins like it nothing else tells it
        }
        match protocol.look(&self.held, Awaited { server: job.server, quirk: job.quirk, silent }) {
            Look::More => Ok(None),
            Look::Wrong(_) if !self.sent.is_empty() && self.held.starts_with(&self.sent) => Err(Fault::Malformed(HEARS_ITSELF.into())),
            Look::Wrong(why) => Err(Fault::Malformed(why)),
            Look::Frame { server, pdu, id, taken, noise, questionable } => {
                let frame = self.held.drain(..taken).skip(noise).collect();
                self.strays += u64::from(noise > 0);
                Ok(Some(Found { server, pdu, id, questionable, frame }))
            }
        }
    }

    fn strip_echo(&mut self) -> Result<(), Fault> {
        let n = self.echo.len().min(self.held.len());
        if self.held[..n] != self.echo[..n] {
            let why = "what came back is not what was sent: another sender on the line, or an adapter without echo (then set echo = false)";
            return Err(Fault::Malformed(why.into()));
        }
        self.held.drain(..n);
        self.echo.drain(..n);
        Ok(())
    }

    /// Time is up. Silence is one thing, and something that is no answer another.
    fn nothing(&self, echo: bool) -> Fault {
        if !self.echo.is_empty() && echo {
            return Fault::Malformed("the adapter did not give back what was sent: set echo = false, or look at its wiring".into());
        }
        if !self.held.is_empty() {
            return Fault::Malformed(format!("{} bytes that are no whole frame", self.held.len()));
        }
        if self.strays > 0 { Fault::Malformed(self.stray.clone()) } else { Fault::Timeout }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::super::settings::tests::bus;
    use super::*;
    use crate::config;
    use crate::contract::modbus::Span;
    use crate::contract::types::Moment;

    const GAP_MS: u64 = 400;

    /// The silence before a request is counted from the last byte on the line, also from one that was thrown away: a request on its heels would be
    /// taken for a part of that frame.
    #[tokio::test]
    async fn a_request_keeps_its_distance_from_what_was_thrown_away_before_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let from = config::Bus { gap_us: GAP_MS * 1000, timeout_ms: 10, protocol: Some("rtu".into()), ..bus(Some(&at), None) };
        let mut line = Line::new(Settings::read("plant", &from).unwrap(), || Moment { boot: 1, monotonic_ns: 1, wall: None });
        line.connect().await.unwrap();
        let (mut device, _) = listener.accept().unwrap();
        sleep(Duration::from_millis(GAP_MS)).await; // the line has been silent for long enough
        let came = Instant::now();
        device.write_all(b"stray").unwrap();
        while line.tally.strays == 0 {
            line.freshen().await.unwrap();
        }
        let request = Request::ReadHoldingRegisters(Span { address: 0, count: 1 });
        let job = Job { server: 1, request, quirk: false, keep_raw: false, since: came };
        assert!(matches!(line.ask(&job).await, Err(Fault::Timeout)), "nobody answers");
        let asked_after = came.elapsed();
        let mut asked = [0; 8];
        device.read_exact(&mut asked).unwrap();
        assert_eq!(asked[..6], [1, 3, 0, 0, 0, 1]);
        assert!(asked_after >= Duration::from_millis(GAP_MS), "{asked_after:?} after it");
    }
}
