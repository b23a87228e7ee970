//! The two ends of the proxy: a TCP connection, a terminal that we make for the gateway, or the device's own serial port.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, tcgetattr, tcsetattr};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::pty::Pty;

const CONNECT_MS_MAX: u64 = 3_000; // a device on the ward's network answers within milliseconds
const WRITE_MS_MAX: u64 = 1_000; // whoever reads nothing for so long is gone
const LOOK_MS: u64 = 1;

/// HOST:PORT, or a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Tcp(String),
    Path(PathBuf),
}

impl Place {
    pub fn named(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !text.starts_with('/') => match port.parse::<u16>() {
                Ok(_) => Ok(Self::Tcp(text.into())),
                Err(_) => Err(format!("{port:?} is no port; write HOST:PORT, or the path of a serial port that begins with /")),
            },
            _ if text.starts_with('/') => Ok(Self::Path(text.into())),
            _ => Err(format!("{text:?}: write HOST:PORT, or the path of a serial port that begins with /")),
        }
    }
}

/// How a serial port of the device is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    data: u8,
    parity: char,
    stop: u8,
}

impl Framing {
    pub fn named(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no framing: 7 or 8 bits, parity N, E or O, 1 or 2 stop bits, like 8N1 or 7E1");
        let [data @ ('7' | '8'), parity @ ('N' | 'E' | 'O'), stop @ ('1' | '2')] = text.chars().collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        Ok(Self { data: data as u8 - b'0', parity, stop: stop as u8 - b'0' })
    }
}

pub(super) enum Side {
    Tcp(TcpStream),
    Pty(Pty),
    Tty(OwnedFd),
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "it hung up")
}

impl Side {
    pub(super) async fn connect(at: &str) -> Result<Self, String> {
        let connected = timeout(Duration::from_millis(CONNECT_MS_MAX), TcpStream::connect(at)).await;
        let stream = connected.map_err(|_| format!("{at} does not answer"))?.map_err(|e| format!("{at}: {e}"))?;
        Self::tcp(stream).map_err(|e| format!("{at}: {e}"))
    }

    pub(super) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?; // a frame is one small segment
        Ok(Self::Tcp(stream))
    }

    pub(super) fn open(port: &Path, baud: u32, framing: Framing) -> Result<Self, String> {
        let tty = set(port, baud, framing);
        tty.map(Self::Tty).map_err(|e| {
            format!("{}: {e}; give --baud and --framing as the device has them, and end what else holds the port", port.display())
        })
    }

    /// What came since the last look; an error when the far side has gone.
    pub(super) fn take(&mut self) -> io::Result<Vec<u8>> {
        let (mut all, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let came = match self {
                Self::Pty(pty) => return Ok(pty.take()),
                Self::Tcp(stream) => stream.try_read(&mut piece),
                Self::Tty(tty) => rustix::io::read(&*tty, &mut piece).map_err(io::Error::from),
            };
            match came {
                Ok(0) if all.is_empty() => return Err(gone()),
                Ok(0) => return Ok(all), // its end shows with the next look
                Ok(n) => all.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(all),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = async {
            match self {
                Self::Pty(pty) => _ = pty.send(bytes), // what nobody reads is gone, as on a wire
                Self::Tcp(stream) => stream.write_all(bytes).await?,
                Self::Tty(tty) => {
                    let mut rest = bytes;
                    while !rest.is_empty() {
                        match rustix::io::write(&*tty, rest) {
                            Ok(n) => rest = &rest[n..],
                            Err(Errno::AGAIN) => sleep(Duration::from_millis(LOOK_MS)).await,
                            Err(e) => return Err(e.into()),
                        }
                    }
                }
            }
            Ok::<_, io::Error>(())
        };
        timeout(Duration::from_millis(WRITE_MS_MAX), sent).await.unwrap_or_else(|_| Err(gone()))
    }
}

fn set(port: &Path, baud: u32, framing: Framing) -> io::Result<OwnedFd> {
    let tty = rustix::fs::open(port, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let mut settings = tcgetattr(&tty)?;
    settings.make_raw();
    let modes = &mut settings.control_modes;
    *modes -= ControlModes::CSIZE | ControlModes::PARENB | ControlModes::PARODD | ControlModes::CSTOPB;
    *modes |= ControlModes::CREAD | ControlModes::CLOCAL | if framing.data == 7 { ControlModes::CS7 } else { ControlModes::CS8 };
    modes.set(ControlModes::PARENB, framing.parity != 'N');
    modes.set(ControlModes::PARODD, framing.parity == 'O');
    modes.set(ControlModes::CSTOPB, framing.stop == 2);
    settings.set_speed(baud)?;
    tcsetattr(&tty, OptionalActions::Now, &settings)?;
    Ok(tty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_framings_are_told_apart() {
        assert_eq!(Place::named("10.0.0.7:502"), Ok(Place::Tcp("10.0.0.7:502".into())));
        assert_eq!(Place::named("/dev/serial/by-id/usb-1:2"), Ok(Place::Path("/dev/serial/by-id/usb-1:2".into())));
        assert!(["ttyUSB0", "host:", ":502", ""].into_iter().all(|wrong| Place::named(wrong).is_err_and(|e| e.contains("HOST:PORT"))));
        assert_eq!(Framing::named("7E1"), Ok(Framing { data: 7, parity: 'E', stop: 1 }));
        assert!(["8n1", "9N1", "8N", "8N11"].into_iter().all(|wrong| Framing::named(wrong).is_err()));
    }
}
