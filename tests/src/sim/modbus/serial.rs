//! The same device on a serial line, RTU or ASCII, alone or several on one bus: it answers whole requests, and misbehaves on demand.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::chiller::Chiller;
pub use super::framing::Framing;
use super::{Control, Dice, Fault, Log, Options, SLOW_MS, Sent, State, Stop, boottime_ns, stopped};
use crate::pty::Pty;

const LOOK_MS: u64 = 1; // faster than any device

/// All units of one bus, plugged in at one end of a pty.
pub struct SerialServer {
    line: Pty,
    framing: Framing,
    /// The adapter gives back what the gateway sends.
    echo: bool,
    state: Arc<State>,
    /// Answers that come before the next one.
    late: Vec<u8>,
}

impl SerialServer {
    pub fn new(link: &Path, framing: Framing, echo: bool, options: Options) -> io::Result<Self> {
        let state = State {
            chiller: Mutex::new(Chiller::new(boottime_ns())),
            log: Mutex::new(Log::open(options.log.as_deref())?),
            dice: Mutex::new(Dice::new(options.faults.unwrap_or(0))),
            befallen: AtomicUsize::new(0),
            options,
            control: Control::default(),
            sent: Arc::<Sent>::default(),
        };
        Ok(Self { line: Pty::plug_in(link)?, framing, echo, state: Arc::new(state), late: Vec::new() })
    }

    pub fn control(&self) -> Control {
        self.state.control.clone()
    }

    /// Answers until it is stopped; then it is unplugged.
    pub async fn run(mut self, mut stop: Stop) -> io::Result<()> {
        let mut held = Vec::new();
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(LOOK_MS)) => (),
            }
            let came = self.line.take();
            if self.echo {
                self.line.send(&came);
            }
            held.extend(came);
            if let Some(request) = self.framing.unwrap(&held) {
                held.clear();
                self.answer(request.unit, &request.pdu).await?;
            }
        }
    }

    async fn answer(&mut self, unit: u8, pdu: &[u8]) -> io::Result<()> {
        let fault = self.state.fault(unit, pdu);
        if !self.state.options.units.contains(&unit) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(self.state.options.delay_ms)).await;
        let right = self.state.chiller.lock().unwrap().answer(unit, pdu, boottime_ns());
        let frame = |unit: u8, pdu: &[u8]| self.framing.wrap(0, unit, pdu);
        let mut bytes = std::mem::take(&mut self.late);
        match fault {
            None => {
                bytes.extend(frame(unit, &right));
                self.state.count(unit, pdu, &right)?;
            }
            Some(Fault::Early) => {
                bytes.extend([frame(unit, &right), frame(unit, &right)].concat());
                self.state.count(unit, pdu, &right)?;
            }
            Some(Fault::Silence | Fault::Cut) => (),
            Some(Fault::Late) => self.late = frame(unit, &right),
            Some(Fault::Exception(code)) => bytes.extend(frame(unit, &[pdu[0] | 0x80, code])),
            Some(Fault::Short) => {
                let mut short = right[..right.len() - 2].to_vec();
                short[1] -= 2;
                bytes.extend(frame(unit, &short));
            }
            Some(Fault::WrongCount | Fault::Endless) => {
                let mut count = right.clone();
                count[1] = count[1].wrapping_add(2);
                bytes.extend(frame(unit, &count));
            }
            Some(Fault::WrongFunction) => {
                let mut function = right.clone();
                function[0] ^= 7;
                bytes.extend(frame(unit, &function));
            }
            Some(Fault::WrongUnit) => bytes.extend(frame(unit ^ 3, &right)),
            Some(Fault::WrongTransaction | Fault::WrongChecksum) => {
                let mut damaged = frame(unit, &right);
                let at = damaged.len() - 4;
                damaged[at] ^= 1; // in RTU the low byte of a register, in ASCII a digit of the checksum
                bytes.extend(damaged);
            }
            Some(Fault::ShortChecksum) => bytes.extend(self.framing.short_by(0, unit, &right, 4)),
            Some(Fault::Noise) => {
                bytes.extend([0, 0xFF]);
                bytes.extend(frame(unit, &right));
            }
            Some(Fault::Joined) => {
                bytes.extend(frame(unit ^ 3, &[3, 2, 0x55, 0x55]));
                bytes.extend(frame(unit, &right));
            }
            Some(Fault::Half) => {
                let half = frame(unit, &right);
                bytes.extend(&half[..half.len() / 2]);
            }
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_millis(SLOW_MS)).await;
                bytes.extend(frame(unit, &right));
                self.state.count(unit, pdu, &right)?;
            }
        }
        self.line.send(&bytes);
        Ok(())
    }
}
