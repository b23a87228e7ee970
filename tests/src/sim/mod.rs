//! Device simulators, one file a link. They share no code with the gateway or its plugins, so that agreement proves something.
//!
//! Simulators never wait for the gateway: bytes that nobody reads are sent and gone. Each counts as `sent` the values that its device
//! profile defines (absent values count, a frame cut by the end does not) and writes what it sent to its send log, one JSON line each.

pub mod ble;
pub mod clock;
pub mod fault;
pub mod modbus;
pub mod serial;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Set to true to end a simulator.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// What was sent so far; may be read while the simulator runs.
#[derive(Debug, Default)]
pub struct Sent {
    pub messages: AtomicU64,
    pub values: AtomicU64,
    pub bytes: AtomicU64,
}

impl Sent {
    fn add(&self, values: u64, bytes: u64) {
        self.messages.fetch_add(u64::from(values > 0), Ordering::Relaxed);
        self.values.fetch_add(values, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn values(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

/// The send log: flushed a line at a time, so that it tells the truth about a simulator that was killed.
pub(crate) struct Log(Option<BufWriter<File>>);

impl Log {
    /// Goes on behind what an earlier run wrote.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        Ok(Self(Some(BufWriter::new(fs::OpenOptions::new().create(true).append(true).open(path)?))))
    }

    pub(crate) fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let Some(file) = &mut self.0 else { return Ok(()) };
        serde_json::to_writer(&mut *file, line)?;
        file.write_all(b"\n")?;
        file.flush()
    }
}

/// CLOCK_BOOTTIME: the clock that the gateway's moments are on.
pub fn boottime_ns() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Ends when `stop` says so, or when nobody is left who could.
pub(crate) async fn stopped(stop: &mut Stop) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// xorshift64*: the same bed on every machine.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// From 0 to below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// From -1 to 1.
    pub(crate) fn swing(&mut self) -> f64 {
        self.below(20_001) as f64 / 10_000.0 - 1.0
    }
}
