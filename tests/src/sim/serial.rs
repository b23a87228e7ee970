//! Devices on a serial line: a bedside monitor that speaks without being asked, byte by byte at the line's own speed.

pub mod capture;
pub mod ivy450c;
pub mod repeat;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::capture::Capture;
use super::fault::{self, Frames, HANG_FRAMES, Kind, Odds, Step};
use super::{Dice, Log, Sent, Stop, boottime_ns, stopped};
use crate::pty::Pty;

/// Values of one message of the monitor, absent ones too: 200 ECG, four waves of 50, 17 numerics.
pub const IVY450C_VALUES: u64 = 200 + 4 * 50 + 17;
const MESSAGE_MS: u64 = 1_000;
const TICK_MS: u64 = 5; // a UART hands on a few bytes at a time
const READ_OUT_MS: u64 = 5_000; // long for a gateway that runs, on a machine that is starved too; nobody else needs the line
const BITS_A_BYTE: u64 = 10; // 8N1

/// One monitor on one line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gateway finds the port.
    pub link: PathBuf,
    /// Each bed has its own waves, numerics and troubles.
    pub bed: u64,
    /// The bed's second at which the generated stream begins: its alarms come and go at their own.
    pub from: u64,
    pub baud: u64,
    /// Plays this file instead, message by message at its real rate, and ends with it.
    pub capture: Option<PathBuf>,
    pub log: Option<PathBuf>,
    pub trouble: Trouble,
    /// Faults at random, from this seed.
    pub faults: Option<u64>,
}

/// What befalls a message, one in three, where faults come at random.
const FAULTS: [Kind; 6] = [Kind::BitErrors, Kind::Partial, Kind::Stray, Kind::Slow, Kind::Hang, Kind::Unplug];
const ONE_IN: u64 = 3;
const UNPLUGGED_MS: u64 = 700;

/// As the send log calls it; what only delays a message does it no harm.
fn damage(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::BitErrors => Some("noise"),
        Kind::Partial => Some("cut"),
        Kind::Stray => Some("stray"),
        Kind::Unplug => Some("unplugged"),
        _ => None,
    }
}

/// What goes wrong on the line. 0 is never; all counted from the first message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Every so many messages a few bits of it flip.
    pub noise_every: u64,
    /// Every so many messages one is cut short.
    pub cut_every: u64,
    /// Every so many messages a few bytes that belong to nothing come before it.
    pub stray_every: u64,
}

impl Options {
    pub fn new(link: impl Into<PathBuf>, bed: u64) -> Self {
        Self { link: link.into(), bed, from: 0, baud: 9600, capture: None, log: None, trouble: Trouble::default(), faults: None }
    }
}

/// One line of the send log: one message, as the device meant it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Said {
    /// From 0 in each run of the simulator.
    pub n: u64,
    /// CLOCK_BOOTTIME when its last byte was sent.
    pub monotonic_ns: u64,
    /// What was done to it on the line: "noise", "cut", "stray", "unplugged"; the values then stand here and may not arrive.
    pub damage: Option<String>,
    /// Where something was done to it: the bytes that went over the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<Vec<u8>>,
    /// "ecg", "resp", "pleth", "p1", "p2": one second of each, as sent.
    pub waves: BTreeMap<String, Vec<u8>>,
    /// By the name of their line, in its order; `None` is absent. "SPO2" has the saturation and then the pulse rate.
    pub numerics: BTreeMap<String, Vec<Option<String>>>,
    /// Texts that stand beside the values: leads, and messages such as "NO TRANSDUCER".
    pub labels: BTreeMap<String, String>,
    /// Alarms that stand in the last place of a line.
    pub alarms: BTreeMap<String, String>,
    /// How many values this message counts as.
    pub values: u64,
    /// Bytes that found no room because nobody read.
    pub unread: u64,
}

/// One message before it goes out.
pub struct Message {
    pub bytes: Vec<u8>,
    pub said: Said,
}

/// A monitor whose line is plugged in, not yet talking.
pub struct Monitor {
    options: Options,
    /// None: the plug is pulled.
    line: Option<Pty>,
    log: Log,
    capture: Option<Capture>,
    sent: Arc<Sent>,
}

impl Monitor {
    pub fn new(options: Options) -> io::Result<Self> {
        let capture = options.capture.as_deref().map(Capture::read).transpose()?;
        Ok(Self {
            line: Some(Pty::plug_in(&options.link)?),
            log: Log::open(options.log.as_deref())?,
            capture,
            options,
            sent: Arc::default(),
        })
    }

    pub fn sent(&self) -> Arc<Sent> {
        self.sent.clone()
    }

    /// Talks until it is stopped; a capture is played once and silence follows. A message that the end cuts is neither logged nor counted.
    pub async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        self.talk(&mut stop).await?;
        stopped(&mut stop).await;
        // The terminal would take back what lies in it; a wire does not.
        if let Some(line) = &self.line {
            line.read_out(Duration::from_millis(READ_OUT_MS)).await;
        }
        Ok(())
    }

    async fn talk(&mut self, stop: &mut Stop) -> io::Result<()> {
        let mut dice = Dice::new(self.options.bed ^ 0x7265_7474);
        let odds = Odds::evenly(self.options.bed ^ self.options.faults.unwrap_or(0).rotate_left(17), &FAULTS, ONE_IN);
        let begin = Instant::now();
        let mut n = 0;
        loop {
            let Some(mut message) = self.message(n) else { return Ok(()) };
            message.said.n = n;
            self.options.trouble.befall(&mut message, &mut dice);
            // the first one is spared: a stream that was never heard has nothing that a gap could stand in
            let (kind, mut how) = odds.draw(n);
            let kind = kind.filter(|_| n > 0 && self.options.faults.is_some());
            let at = begin + Duration::from_millis(MESSAGE_MS * n);
            n += 1;
            if kind == Some(Kind::Hang) {
                n += HANG_FRAMES - 1;
                continue;
            }
            let unread = tokio::select! {
                unread = self.send_through(&mut message, at, kind, &mut how) => unread?,
                () = stopped(stop) => return Ok(()),
            };
            message.said.monotonic_ns = boottime_ns();
            message.said.unread = unread;
            // Logged before it is counted: the count never runs ahead of its proof.
            self.log.line(&message.said)?;
            self.sent.add(message.said.values, message.bytes.len() as u64);
        }
    }

    fn message(&self, n: u64) -> Option<Message> {
        match &self.capture {
            Some(capture) => capture.message(n as usize),
            None => Some(ivy450c::message(self.options.bed, self.options.from + n)),
        }
    }

    /// Says how many bytes found no room.
    async fn send_through(&mut self, message: &mut Message, mut begin: Instant, fault: Option<Kind>, dice: &mut Dice) -> io::Result<u64> {
        let Some(kind) = fault else { return Ok(self.send(&message.bytes, begin).await) };
        let steps = fault::befall(kind, Frames::Silence(MESSAGE_MS), &message.bytes, dice);
        if let Some(damage) = damage(kind) {
            let sent = steps.iter().filter_map(|step| if let Step::Send(bytes) = step { Some(&bytes[..]) } else { None });
            message.said.line = Some(sent.collect::<Vec<_>>().concat());
            message.said.damage = Some(damage.into());
        }
        let mut unread = 0;
        for step in steps {
            match step {
                Step::Send(bytes) => unread += self.send(&bytes, begin).await,
                Step::WaitMs(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Step::Unplug => {
                    self.line = None; // the gateway's end hangs up
                    tokio::time::sleep(Duration::from_millis(UNPLUGGED_MS)).await;
                    self.line = Some(Pty::plug_in(&self.options.link)?);
                }
                Step::LaterMs(..) | Step::Keep(_) | Step::Swallow(_) => (), // of other lines
            }
            begin = Instant::now();
        }
        Ok(unread)
    }

    /// Byte after byte, as the line's speed lets them through. Says how many found no room.
    async fn send(&self, bytes: &[u8], begin: Instant) -> u64 {
        let Some(line) = &self.line else { return bytes.len() as u64 };
        let mut tick = interval_at(begin, Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut gone, mut unread) = (0, 0);
        while gone < bytes.len() {
            tick.tick().await;
            let us = begin.elapsed().as_micros() as u64;
            let due = (us * self.options.baud / (BITS_A_BYTE * 1_000_000)) as usize;
            let piece = &bytes[gone..due.clamp(gone, bytes.len())];
            unread += (piece.len() - line.send(piece)) as u64;
            gone += piece.len();
            line.take(); // this monitor listens to nobody
        }
        unread
    }
}

impl Trouble {
    fn befall(self, message: &mut Message, dice: &mut Dice) {
        let due = |every: u64| every != 0 && message.said.n % every == every - 1;
        let (noise, cut, stray) = (due(self.noise_every), due(self.cut_every), due(self.stray_every));
        let bytes = &mut message.bytes;
        let mut damage = Vec::new();
        for (due, word, change) in [
            (noise, "noise", fault::bit_errors as fn(&[u8], &mut Dice) -> Vec<u8>),
            (cut, "cut", fault::partial),
            (stray, "stray", fault::stray),
        ] {
            if due {
                *bytes = change(bytes, dice);
                damage.push(word);
            }
        }
        message.said.damage = (!damage.is_empty()).then(|| damage.join("+"));
        message.said.line = message.said.damage.is_some().then(|| message.bytes.clone());
    }
}

#[cfg(test)]
mod tests;
