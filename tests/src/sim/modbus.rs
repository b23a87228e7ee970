//! Devices on Modbus, over TCP here and on a serial line in `serial`: servers of our own that answer as a chiller does, and misbehave on demand.

pub mod chiller;
pub mod framing;
pub mod serial;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use self::chiller::Chiller;
use self::framing::Framing;
use super::{Dice, Log, Sent, Stop, boottime_ns, stopped};

const CONNECTIONS_MAX: usize = 16; // real devices have two to eight
/// A slow answer is in time all the same.
const SLOW_MS: u64 = 250;

#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0 takes a free one; [`Server::address`] says which.
    pub listen: SocketAddr,
    /// Unit ids that answer; to others there is silence.
    pub units: Vec<u8>,
    /// Registers that count as values when a read answers them: those that the map of the demo reads.
    pub points: BTreeSet<u16>,
    pub log: Option<PathBuf>,
    /// Between request and answer.
    pub delay_ms: u64,
    pub trouble: Trouble,
    /// Faults at random, one request in five, from this seed.
    pub faults: Option<u64>,
}

/// Of so many requests a fault befalls one, where they come at random.
const ONE_IN: u64 = 5;
/// What befalls it.
pub const FAULTS: [Fault; 13] = [
    Fault::Silence,
    Fault::Exception(4),
    Fault::Short,
    Fault::WrongCount,
    Fault::WrongFunction,
    Fault::WrongTransaction,
    Fault::WrongUnit,
    Fault::Endless,
    Fault::Half,
    Fault::Late,
    Fault::Early,
    Fault::Cut,
    Fault::Slow,
];

impl Options {
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, units: vec![1], points: chiller::POINTS.into(), log: None, delay_ms: 2, trouble: Trouble::default(), faults: None }
    }
}

/// Every so many requests of all clients; 0 is never. Where two fall together the first of these counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    pub silence_every: u64,
    pub exception_every: u64,
    pub malformed_every: u64,
    pub late_every: u64,
    pub cut_every: u64,
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No answer.
    Silence,
    Exception(u8),
    /// One register fewer than asked for.
    Short,
    /// The byte count and the length of the frame disagree.
    WrongCount,
    /// Another function's answer.
    WrongFunction,
    /// The transaction id of the request before.
    WrongTransaction,
    WrongUnit,
    /// A header that announces more than the protocol allows.
    Endless,
    /// Half an answer, and then nothing.
    Half,
    /// The answer comes on this connection after the next request, before its own, and with its transaction id: what converters to a serial bus do.
    Late,
    /// The connection is closed instead.
    Cut,
    /// One bit of it flipped on the way.
    WrongChecksum,
    /// The documented quirk of some freezers: an ASCII checksum that is 4 too small.
    ShortChecksum,
    /// A 00 and an FF before the answer, as drivers make them when they switch on.
    Noise,
    /// Its own answer and, in one piece, another to a request that was not made yet.
    Early,
    /// Another unit's answer before its own, in one piece.
    Joined,
    /// It takes its time, over TCP with a pause in the middle of its answer.
    Slow,
}

/// One line of the send log: one answered read.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Said {
    pub monotonic_ns: u64,
    pub unit: u8,
    pub function: u8,
    pub address: u16,
    pub registers: Vec<u16>,
    /// How many values this answer counts as.
    pub values: u64,
    /// It was refused with this code: what so many registers hold is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<(u8, u16)>,
}

/// The hand that troubles a running server.
#[derive(Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Default)]
struct Shared {
    next: Mutex<VecDeque<Option<Fault>>>,
    requests: AtomicU64,
    connections: AtomicU64,
    /// (unit, first address) of every request, in order.
    asked: Mutex<Vec<(u8, u16)>>,
}

impl Control {
    /// What befalls the requests to come, one after the other; `None` answers as it should.
    pub fn befall(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.0.next.lock().unwrap().extend(faults);
    }

    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    pub fn asked(&self) -> Vec<(u8, u16)> {
        self.0.asked.lock().unwrap().clone()
    }
}

/// A server that listens, not yet answering.
pub struct Server {
    options: Options,
    listener: TcpListener,
    state: Arc<State>,
}

struct State {
    options: Options,
    chiller: Mutex<Chiller>,
    log: Mutex<Log>,
    control: Control,
    sent: Arc<Sent>,
    dice: Mutex<Dice>,
    /// How many requests a fault befell at random.
    befallen: AtomicUsize,
}

impl Server {
    pub async fn new(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let state = State {
            chiller: Mutex::new(Chiller::new(boottime_ns())),
            log: Mutex::new(Log::open(options.log.as_deref())?),
            options: options.clone(),
            control: Control::default(),
            sent: Arc::default(),
            dice: Mutex::new(Dice::new(options.faults.unwrap_or(0))),
            befallen: AtomicUsize::new(0),
        };
        Ok(Self { options, listener, state: Arc::new(state) })
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.options.listen)
    }

    pub fn sent(&self) -> Arc<Sent> {
        self.state.sent.clone()
    }

    pub fn control(&self) -> Control {
        self.state.control.clone()
    }

    /// Answers until it is stopped. An answer that the end cuts is neither logged nor counted.
    pub async fn run(self, mut stop: Stop) -> io::Result<()> {
        let mut clients = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                Some(_) = clients.join_next() => (),
                came = self.listener.accept(), if clients.len() < CONNECTIONS_MAX => {
                    let (stream, _) = came?;
                    self.state.control.0.connections.fetch_add(1, Ordering::Relaxed);
                    let client = Client { stream, state: self.state.clone(), late: None, last_id: 0 };
                    clients.spawn(client.run());
                }
            }
        }
    }
}

struct Client {
    stream: TcpStream,
    state: Arc<State>,
    /// The unit id and PDU of an answer held back.
    late: Option<(u8, Vec<u8>)>,
    last_id: u16,
}

impl Client {
    /// Requests are answered in the order in which they came, however many are sent at once.
    async fn run(mut self) {
        while matches!(self.one().await, Ok(true)) {}
    }

    async fn one(&mut self) -> io::Result<bool> {
        let mut header = [0; 7];
        self.stream.read_exact(&mut header).await?;
        let id = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[2..4] != [0, 0] || !(2..=254).contains(&length) {
            return Ok(false);
        }
        let unit = header[6];
        let mut pdu = vec![0; length - 1];
        self.stream.read_exact(&mut pdu).await?;
        let fault = self.state.fault(unit, &pdu);
        if !self.state.options.units.contains(&unit) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(self.state.options.delay_ms)).await;
        if self.hung_up().await {
            return Ok(false);
        }
        if let Some((unit, late)) = self.late.take() {
            self.stream.write_all(&Framing::Tcp.wrap(id, unit, &late)).await?;
        }
        let going_on = self.answer(id, unit, &pdu, fault).await;
        self.last_id = id;
        going_on
    }

    /// Who asked gave up meanwhile, as a client does that waits too long for a starved simulator: an answer would be logged and reach nobody.
    async fn hung_up(&self) -> bool {
        let mut next = [0];
        tokio::select! {
            biased;
            there = self.stream.peek(&mut next) => !matches!(there, Ok(1..)),
            () = std::future::ready(()) => false,
        }
    }

    async fn answer(&mut self, id: u16, unit: u8, pdu: &[u8], fault: Option<Fault>) -> io::Result<bool> {
        let adu = |id: u16, unit: u8, pdu: &[u8]| Framing::Tcp.wrap(id, unit, pdu);
        let now = boottime_ns();
        let right = self.state.chiller.lock().unwrap().answer(unit, pdu, now);
        let wrong = match fault {
            None => {
                self.stream.write_all(&adu(id, unit, &right)).await?;
                self.state.count(unit, pdu, &right)?;
                return Ok(true);
            }
            Some(Fault::Early) => {
                self.state.count(unit, pdu, &right)?;
                [adu(id, unit, &right), adu(id.wrapping_add(1), unit, &right)].concat()
            }
            Some(Fault::Slow) => {
                let whole = adu(id, unit, &right);
                let (half, rest) = whole.split_at(whole.len() / 2);
                self.stream.write_all(half).await?;
                tokio::time::sleep(Duration::from_millis(SLOW_MS)).await;
                self.state.count(unit, pdu, &right)?;
                rest.to_vec()
            }
            Some(Fault::Silence) => return Ok(true),
            Some(Fault::Cut) => return Ok(false),
            Some(Fault::WrongChecksum | Fault::ShortChecksum | Fault::Noise | Fault::Joined) => return Ok(true), // of serial lines
            Some(Fault::Late) => {
                self.late = Some((unit, right));
                return Ok(true);
            }
            Some(Fault::Exception(code)) => {
                self.state.refuse(unit, pdu, code)?;
                adu(id, unit, &[pdu[0] | 0x80, code])
            }
            Some(Fault::Short) => {
                let mut short = right[..right.len() - 2].to_vec();
                short[1] -= 2;
                adu(id, unit, &short)
            }
            Some(Fault::WrongCount) => {
                let mut count = right;
                count[1] += 2;
                adu(id, unit, &count)
            }
            Some(Fault::WrongFunction) => {
                let mut function = right;
                function[0] ^= 7; // 3 becomes 4
                adu(id, unit, &function)
            }
            Some(Fault::WrongTransaction) => adu(self.last_id.wrapping_sub(1), unit, &right),
            Some(Fault::WrongUnit) => adu(id, unit ^ 1, &right),
            Some(Fault::Endless) => {
                let mut endless = adu(id, unit, &right);
                endless[4] = 0xFF;
                endless
            }
            Some(Fault::Half) => {
                let half = adu(id, unit, &right);
                half[..half.len() / 2].to_vec()
            }
        };
        self.stream.write_all(&wrong).await?;
        Ok(true)
    }
}

impl State {
    fn fault(&self, unit: u8, pdu: &[u8]) -> Option<Fault> {
        let n = self.control.0.requests.fetch_add(1, Ordering::Relaxed);
        let address = pdu.get(1..3).map_or(0, |a| u16::from_be_bytes([a[0], a[1]]));
        self.control.0.asked.lock().unwrap().push((unit, address));
        if let Some(fault) = self.control.0.next.lock().unwrap().pop_front() {
            return fault;
        }
        if self.options.faults.is_some() {
            let mut dice = self.dice.lock().unwrap();
            if dice.below(ONE_IN) > 0 {
                return None;
            }
            // each kind in its turn, from one that the seed chose: none is left out
            let befallen = (self.options.faults.unwrap_or(0) as usize).wrapping_add(self.befallen.fetch_add(1, Ordering::Relaxed));
            let fault = FAULTS[befallen % FAULTS.len()];
            let _ = self.log.lock().unwrap().line(&serde_json::json!({ "fault": format!("{fault:?}") })); // a full disk shows in the books
            return Some(fault);
        }
        let t = self.options.trouble;
        let due = |every: u64| every != 0 && n % every == every - 1;
        [
            (t.silence_every, Fault::Silence),
            (t.exception_every, Fault::Exception(4)),
            (t.malformed_every, Fault::Short),
            (t.late_every, Fault::Late),
            (t.cut_every, Fault::Cut),
        ]
        .into_iter()
        .find_map(|(every, fault)| due(every).then_some(fault))
    }

    fn refuse(&self, unit: u8, asked: &[u8], code: u8) -> io::Result<()> {
        let &[function, a, b, c, d, ..] = asked else { return Ok(()) };
        let (address, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let said =
            Said { monotonic_ns: boottime_ns(), unit, function, address, registers: vec![], values: 0, refused: Some((code, count)) };
        self.log.lock().unwrap().line(&said)
    }

    fn count(&self, unit: u8, asked: &[u8], answer: &[u8]) -> io::Result<()> {
        if answer[0] != 3 {
            return Ok(()); // an exception, or a write
        }
        let address = u16::from_be_bytes([asked[1], asked[2]]);
        let registers: Vec<u16> = answer[2..].chunks_exact(2).map(|r| u16::from_be_bytes([r[0], r[1]])).collect();
        let values = (0..registers.len() as u16).filter(|k| self.options.points.contains(&(address + k))).count() as u64;
        let said = Said { monotonic_ns: boottime_ns(), unit, function: answer[0], address, registers, values, refused: None };
        self.log.lock().unwrap().line(&said)?;
        self.sent.add(values, answer.len() as u64 + 7);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
