//! One open line: what is read from it, decoded; what is written to it, encoded. A tty and a terminal server look alike from here on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_serial::SerialStream;

use super::marks::{Came, Marks};
use super::telnet::{Set, Telnet};
use super::tty::{self, OpenError, Tty};
use super::{Place, Settings};

const READ_BYTES_MAX: usize = 4096; // what the kernel holds for a tty
const THROWN_BYTES_MAX: usize = 64 << 10; // a far side that never stops is not emptied for ever
const CONNECT_MS_MAX: u64 = 3_000; // a SYN lost once is sent again after 1 s, twice after 3 s: then the far side is away
/// A terminal server that loses its power says nothing, and one that is only listened to is never written to. After so long without a byte it is
/// asked for a sign of life, so often; then the line is gone, within 20 s of the last sign.
const QUIET_S: u64 = 5;
const SIGNS_MISSED_MAX: u32 = 3;
/// What is written and never acknowledged ends the line as late as that.
const UNHEARD_S: u64 = QUIET_S * (SIGNS_MISSED_MAX as u64 + 1);
const AGREE_MS_MAX: u64 = 3_000; // a terminal server sets its port within milliseconds

/// Both halves, for a select over them.
pub(in crate::capability) struct Wire {
    pub(in crate::capability) reader: Reader,
    pub(in crate::capability) writer: WriteHalf<Stream>,
    telnet: bool,
    /// The same line. A tty: settings that the serial library does not know were made through it, and it must outlive them.
    control: Option<OwnedFd>,
}

pub(in crate::capability) struct Reader {
    half: ReadHalf<Stream>,
    code: Code,
    raw: Box<[u8; READ_BYTES_MAX]>,
}

enum Code {
    Plain,
    Marks(Marks),
    Telnet(Telnet),
}

pub(in crate::capability) enum Stream {
    Tty(SerialStream),
    Tcp(TcpStream),
}

impl Wire {
    pub(in crate::capability) async fn open(settings: &Settings) -> Result<Self, OpenError> {
        match &settings.place {
            Place::Tty(_) => {
                let Tty { stream, control } = tty::open(settings)?;
                Ok(Self::new(Stream::Tty(stream), Code::Marks(Marks::new(settings.has_parity())), Some(control)))
            }
            Place::Raw(at) => {
                let stream = connect(at).await?;
                let control = if let Stream::Tcp(tcp) = &stream { tcp.as_fd().try_clone_to_owned().ok() } else { None };
                Ok(Self::new(stream, Code::Plain, control))
            }
            Place::Rfc2217(at) => {
                let mut wire = Self::new(connect(at).await?, Code::Telnet(Telnet::new(settings)), None);
                let other = |why: String| OpenError::Other { port: settings.place.to_string(), why };
                let agreed = timeout(Duration::from_millis(AGREE_MS_MAX), wire.agree()).await;
                agreed.map_err(|_| other("the terminal server does not answer as RFC 2217 says".into()))?.map_err(other)?;
                Ok(wire)
            }
        }
    }

    fn new(stream: Stream, code: Code, control: Option<OwnedFd>) -> Self {
        // Not `readable` and `try_read`: tokio-serial never clears readiness there, and a quiet port would spin.
        let (half, writer) = tokio::io::split(stream);
        let telnet = matches!(code, Code::Telnet(_));
        Self { reader: Reader { half, code, raw: Box::new([0; READ_BYTES_MAX]) }, writer, telnet, control }
    }

    /// Takes what lies in the line, and says how many bytes that were; an error means that the line is gone. It asks the kernel, because the
    /// runtime may not know yet what has just come. `None`: only a read can tell.
    pub(in crate::capability) fn throw_away(&mut self) -> Option<io::Result<usize>> {
        let (Code::Plain, Some(line)) = (&self.reader.code, &self.control) else { return None };
        let (mut all, raw) = (0, &mut self.reader.raw[..]);
        while all < THROWN_BYTES_MAX {
            match rustix::io::read(line, &mut *raw) {
                Ok(0) => return Some(Err(hung_up())),
                Ok(n) => all += n,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Some(Err(e.into())),
            }
        }
        Some(Ok(all))
    }

    /// Until the terminal server has set its port; what comes before that is nobody's.
    async fn agree(&mut self) -> Result<(), String> {
        let Code::Telnet(telnet) = &self.reader.code else { return Ok(()) };
        let hello = telnet.hello();
        self.writer.write_all(&hello).await.map_err(|e| e.to_string())?;
        loop {
            for came in self.reader.read().await.map_err(|e| e.to_string())? {
                if let Came::Reply(reply) = came {
                    self.writer.write_all(&reply).await.map_err(|e| e.to_string())?;
                }
            }
            let Code::Telnet(telnet) = &self.reader.code else { return Ok(()) };
            match telnet.set() {
                Set::Not => (),
                Set::Done => return Ok(()),
                Set::Refused(why) => return Err(why.clone()),
            }
        }
    }

    /// As the bytes go to the writer.
    pub(in crate::capability) fn encode(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.telnet { Telnet::escape(&bytes) } else { bytes }
    }
}

async fn connect(at: &str) -> Result<Stream, OpenError> {
    let other = |why: String| OpenError::Other { port: at.to_owned(), why };
    let limit = Duration::from_millis(CONNECT_MS_MAX);
    let stream = timeout(limit, TcpStream::connect(at)).await.map_err(|_| other("no answer to the call".into()))?;
    let stream = stream.map_err(|e| other(e.to_string()))?;
    stream.set_nodelay(true).map_err(|e| other(e.to_string()))?; // a frame is one small segment and waits for its answer
    watch_over(&stream).map_err(|e| other(e.to_string()))?;
    Ok(Stream::Tcp(stream))
}

/// So that a far side that vanishes without a word is noticed.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let quiet = Duration::from_secs(QUIET_S);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(quiet).with_interval(quiet).with_retries(SIGNS_MISSED_MAX))?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(UNHEARD_S)))
}

impl Reader {
    /// Waits for something. Nothing is lost when the wait is given up; an error means that the line is gone.
    pub(in crate::capability) async fn read(&mut self) -> io::Result<Vec<Came>> {
        let n = self.half.read(&mut self.raw[..]).await?;
        if n == 0 {
            return Err(hung_up());
        }
        let raw = &self.raw[..n];
        Ok(match &mut self.code {
            Code::Plain => vec![Came::Bytes(raw.to_vec())],
            Code::Marks(marks) => marks.read(raw),
            Code::Telnet(telnet) => telnet.read(raw),
        })
    }
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the far side hung up")
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tty(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tty(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tty(s) => Pin::new(s).poll_flush(cx),
            Self::Tcp(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tty(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tcp(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
