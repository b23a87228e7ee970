//! The fault proxy: it stands between a device, or a simulator, and the gateway. What befalls the device's frames is drawn from a seed, by their number.

mod side;

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::side::{Framing, Place, Side};
use crate::pty::Pty;
use crate::sim::fault::{self, Frames, Kind, Odds, Step};
use crate::sim::modbus;

const LOOK_MS: u64 = 1; // faster than any device
const UNPLUGGED_MS: u64 = 700; // longer than it takes the gateway to see that its port is gone
const WAITING_MAX: usize = 1000; // frames that are to go out; a device that says more while its line is slow loses them, as its UART would
const SILENCE_MS: u64 = 50; // parts the messages of devices that say nothing of their framing
/// The faults of what the gateway sends are drawn apart from those of what comes.
const OTHER_WAY: u64 = 0x6563_686F;

#[derive(clap::Args)]
pub struct Options {
    /// Where the gateway shall find the device: HOST:PORT to listen on, or a path that becomes a serial port, for `port` in gateway.toml
    #[arg(long, value_name = "AT", value_parser = Place::named)]
    gateway: Place,
    /// The device or its simulator: HOST:PORT, or its serial port
    #[arg(long, value_name = "AT", value_parser = Place::named)]
    device: Place,
    /// NAME=RATE%: how many of the device's frames this fault befalls. May be given several times
    #[arg(long = "fault", value_name = "NAME=RATE%", value_parser = fault::named)]
    faults: Vec<(Kind, u64)>,
    /// The same seed makes the same faults; without it one is drawn, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// What a frame is: modbus-tcp, modbus-rtu, modbus-ascii, end=FE (the byte that ends it, hexadecimal) or silence=50 (milliseconds behind it).
    /// Without it modbus-tcp from TCP to TCP, else silence=50
    #[arg(long, value_parser = Frames::named)]
    frames: Option<Frames>,
    /// Of the device's serial port
    #[arg(long, default_value_t = 9600)]
    baud: u32,
    /// Of the device's serial port
    #[arg(long, default_value = "8N1", value_parser = Framing::named)]
    framing: Framing,
}

/// Until a signal ends it. Each fault is a line on standard output.
pub fn main(options: &Options, seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| e.to_string())?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        let mut proxy = Proxy::new(options, seed).await?;
        tokio::select! {
            ended = proxy.run() => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    })
}

impl Options {
    /// None where it is to be drawn.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    fn frames(&self) -> Frames {
        self.frames.unwrap_or(match (&self.gateway, &self.device) {
            (Place::Tcp(_), Place::Tcp(_)) => Frames::Modbus(modbus::framing::Framing::Tcp),
            _ => Frames::Silence(SILENCE_MS),
        })
    }
}

/// What came of one side and is not a whole frame yet.
struct Heard {
    bytes: Vec<u8>,
    last: Instant,
    /// How many frames there were.
    frames: u64,
}

impl Heard {
    fn new() -> Self {
        Self { bytes: Vec::new(), last: Instant::now(), frames: 0 }
    }

    fn more(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.last = Instant::now();
        }
    }

    /// The next frame with its number.
    fn next(&mut self, frames: Frames) -> Option<(u64, Vec<u8>)> {
        let frame = frames.take(&mut self.bytes, self.last.elapsed().as_millis() as u64)?;
        self.frames += 1;
        Some((self.frames - 1, frame))
    }
}

enum Act {
    Send(Vec<u8>),
    Unplug,
}

struct Proxy<'o> {
    options: &'o Options,
    frames: Frames,
    odds: Odds,
    echoes: Odds,
    listener: Option<TcpListener>,
    /// The gateway's side; none while nobody is connected, or the cable is out.
    gateway: Option<Side>,
    plug_in_at: Option<Instant>,
    device: Option<Side>,
    asked: Heard,
    said: Heard,
    waiting: Vec<(Instant, Act)>,
    /// What goes out before the next frame, in one piece with it.
    kept: Vec<u8>,
    /// So many frames of the device do not come.
    swallow: u64,
    /// Until then the line is busy with what was said before.
    free_at: Instant,
}

impl<'o> Proxy<'o> {
    async fn new(options: &'o Options, seed: u64) -> Result<Self, String> {
        let frames = options.frames();
        options.faults.iter().try_for_each(|(kind, _)| frames.fits(*kind))?;
        let (echoes, faults): (Vec<_>, Vec<_>) = options.faults.iter().copied().partition(|(kind, _)| *kind == Kind::Echo);
        let mut proxy = Self {
            options,
            frames,
            odds: Odds::new(seed, faults)?,
            echoes: Odds::new(seed ^ OTHER_WAY, echoes)?,
            listener: None,
            gateway: None,
            plug_in_at: None,
            device: None,
            asked: Heard::new(),
            said: Heard::new(),
            waiting: Vec::new(),
            kept: Vec::new(),
            swallow: 0,
            free_at: Instant::now(),
        };
        if let Place::Path(port) = &options.device {
            proxy.device = Some(Side::open(port, options.baud, options.framing)?);
        }
        let ready = match &options.gateway {
            Place::Tcp(at) => {
                let listener = TcpListener::bind(at).await.map_err(|e| format!("{at}: {e}"))?;
                let at = listener.local_addr().map_err(|e| e.to_string())?.to_string();
                proxy.listener = Some(listener);
                at
            }
            Place::Path(port) => {
                proxy.gateway = Some(plug_in(port)?);
                port.display().to_string()
            }
        };
        tell(&json!({ "ready": ready, "seed": seed }));
        Ok(proxy)
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut look = tokio::time::interval(Duration::from_millis(LOOK_MS));
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let accepted = async {
                match &self.listener {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                came = accepted => self.connected(came).await?,
                _ = look.tick() => self.look().await?,
            }
        }
    }

    /// A gateway that makes a new connection has given up the one before.
    async fn connected(&mut self, came: io::Result<(tokio::net::TcpStream, std::net::SocketAddr)>) -> Result<(), String> {
        let stream = came.map_err(|e| e.to_string())?.0;
        self.gateway = None;
        if let Place::Tcp(at) = &self.options.device {
            self.cut();
            match Side::connect(at).await {
                Ok(side) => self.device = Some(side),
                Err(why) => {
                    eprintln!("the device is not there: {why}");
                    return Ok(()); // the gateway's connection ends, as it would at the device
                }
            }
        }
        self.gateway = Some(Side::tcp(stream).map_err(|e| e.to_string())?);
        Ok(())
    }

    /// Nothing of one connection belongs to the next.
    fn cut(&mut self) {
        self.gateway = None;
        if matches!(self.device, Some(Side::Tcp(_))) {
            self.device = None;
        }
        (self.asked.bytes, self.said.bytes, self.kept) = (Vec::new(), Vec::new(), Vec::new());
        self.waiting.clear();
    }

    async fn look(&mut self) -> Result<(), String> {
        if self.plug_in_at.take_if(|at| *at <= Instant::now()).is_some()
            && let Place::Path(port) = &self.options.gateway
        {
            self.gateway = Some(plug_in(port)?);
        }
        match self.gateway.as_mut().map(Side::take) {
            Some(Ok(bytes)) => self.asked.more(&bytes),
            Some(Err(_)) => self.cut(), // it hung up
            None => {}
        }
        while let Some((n, frame)) = self.asked.next(self.frames) {
            self.ask(n, &frame).await?;
        }
        match self.device.as_mut().map(Side::take) {
            Some(Ok(bytes)) => self.said.more(&bytes),
            Some(Err(why)) => self.lost(&why)?,
            None => {}
        }
        while let Some((n, frame)) = self.said.next(self.frames) {
            self.say(n, frame);
        }
        self.send().await;
        Ok(())
    }

    /// The device's side has ended: a connection may be made again by the gateway, a port is gone.
    fn lost(&mut self, why: &io::Error) -> Result<(), String> {
        match &self.options.device {
            Place::Tcp(_) => {
                self.cut();
                Ok(())
            }
            Place::Path(port) => Err(format!("the device's port {} is gone: {why}", port.display())),
        }
    }

    /// A frame of the gateway.
    async fn ask(&mut self, n: u64, frame: &[u8]) -> Result<(), String> {
        if let (Some(kind), _) = self.echoes.draw(n) {
            tell(&json!({ "asked": n, "fault": kind.name(), "bytes": frame.len() }));
            self.waiting.push((Instant::now(), Act::Send(frame.to_vec())));
        }
        let sent = match &mut self.device {
            Some(side) => side.send(frame).await,
            None => Ok(()),
        };
        sent.or_else(|why| self.lost(&why))
    }

    /// A frame of the device.
    fn say(&mut self, n: u64, frame: Vec<u8>) {
        if self.swallow > 0 {
            self.swallow -= 1;
            return;
        }
        let (kind, mut dice) = self.odds.draw(n);
        let steps = match kind {
            Some(kind) => {
                tell(&json!({ "frame": n, "fault": kind.name(), "bytes": frame.len() }));
                fault::befall(kind, self.frames, &frame, &mut dice)
            }
            None => vec![Step::Send(frame)],
        };
        let now = Instant::now();
        let mut at = now.max(self.free_at);
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    let whole = [std::mem::take(&mut self.kept), bytes].concat();
                    self.wait(at, Act::Send(whole));
                }
                Step::WaitMs(ms) => at += Duration::from_millis(ms),
                Step::LaterMs(ms, bytes) => self.wait(now + Duration::from_millis(ms), Act::Send(bytes)),
                Step::Keep(bytes) => self.kept.extend(bytes),
                Step::Swallow(frames) => self.swallow = frames,
                Step::Unplug => self.wait(at, Act::Unplug),
            }
        }
        self.free_at = at;
    }

    fn wait(&mut self, at: Instant, act: Act) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push((at, act));
        }
    }

    /// What is due goes out, in order.
    async fn send(&mut self) {
        self.waiting.sort_by_key(|(at, _)| *at); // stable: what is due at one moment stays in order
        let due = self.waiting.partition_point(|(at, _)| *at <= Instant::now());
        for (_, act) in self.waiting.drain(..due).collect::<Vec<_>>() {
            match (act, &mut self.gateway) {
                (Act::Send(bytes), Some(side)) => {
                    if side.send(&bytes).await.is_err() {
                        return self.cut();
                    }
                }
                (Act::Unplug, Some(_)) => {
                    self.cut();
                    let cable = matches!(self.options.gateway, Place::Path(_));
                    self.plug_in_at = cable.then(|| Instant::now() + Duration::from_millis(UNPLUGGED_MS));
                }
                (_, None) => {} // nobody hears it
            }
        }
    }
}

fn plug_in(port: &Path) -> Result<Side, String> {
    if port.symlink_metadata().is_ok_and(|what| !what.is_symlink()) {
        return Err(format!("{} is there already, and is no link: give a path of its own to --gateway", port.display()));
    }
    Pty::plug_in(port).map(Side::Pty).map_err(|e| format!("{}: {e}", port.display()))
}

/// Whoever started it may have stopped listening.
fn tell(line: &serde_json::Value) {
    let _ = writeln!(io::stdout(), "{line}");
}
