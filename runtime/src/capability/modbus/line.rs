//! The connection to one bus: made on demand, given up after anything that leaves doubt about whose answer comes next.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_modbus::client::{Client, Context as Master, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};

use super::exchange::{self, Brought, Fault};
use crate::contract::modbus::{Request, Response};

const CONNECT_MS_MAX: u64 = 3_000; // a SYN lost once is sent again after 1 s, twice after 3 s: then the device is away
const IDENTIFICATION_PARTS_MAX: usize = 32; // 256 objects of some 30 bytes; each part is a transaction that others wait for
const HEADER_BYTES: usize = 7;
const ADU_BYTES_MAX: usize = 254; // what a header may announce: unit id and a PDU of 253

pub(super) struct Line {
    target: String,
    timeout: Duration,
    pause: Duration,
    open: Option<Open>,
}

struct Open {
    master: Master,
    socket: Arc<Socket>,
    answered: bool,
}

struct Socket {
    stream: TcpStream,
    /// Bytes came that nobody asked for, or the end.
    stray: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Line {
    pub(super) fn new(target: String, timeout: Duration, pause: Duration) -> Self {
        Self { target, timeout, pause, open: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) async fn connect(&mut self) -> io::Result<()> {
        self.open = None;
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let stream = timeout(limit, TcpStream::connect(&self.target)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?; // a request is one small segment and waits for its answer
        let socket = Arc::new(Socket { stream, stray: false.into(), bytes_in: 0.into(), bytes_out: 0.into() });
        let master = tcp::attach(Wire { socket: socket.clone(), seen: 0, header: [0; HEADER_BYTES] });
        self.open = Some(Open { master, socket, answered: false });
        Ok(())
    }

    /// Before the next request: a peer that closed an idle connection, or that sent what nobody asked for, gets a new one.
    pub(super) fn freshen(&mut self) {
        if self.open.as_ref().is_some_and(|o| !o.socket.is_quiet()) {
            self.open = None;
        }
    }

    /// Ends when the connection is no longer quiet, though nothing was asked.
    pub(super) fn disturbed(&self) -> impl Future<Output = ()> + Send + use<> {
        let socket = self.open.as_ref().map(|o| o.socket.clone());
        async move {
            let Some(socket) = socket else { return std::future::pending().await };
            while socket.is_quiet() {
                if socket.stream.readable().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Bytes read and written on this connection since last asked.
    pub(super) fn traffic(&self) -> (u64, u64) {
        let Some(open) = &self.open else { return (0, 0) };
        (open.socket.bytes_in.swap(0, Ordering::Relaxed), open.socket.bytes_out.swap(0, Ordering::Relaxed))
    }

    /// One request, to its answer. Anything but an answer or an exception leaves the connection in doubt, and it must be [dropped](Self::close).
    pub(super) async fn ask(&mut self, server: u8, request: &Request) -> Result<Response, Fault> {
        let first = self.transact(server, exchange::question(request), request).await?;
        let (mut objects, mut next) = match first {
            Brought::Whole(response) => return Ok(response),
            Brought::Part(objects, next) => (objects, next),
        };
        let Request::ReadDeviceIdentification(query) = request else { unreachable!("nothing else comes in parts") };
        for _ in 1..IDENTIFICATION_PARTS_MAX {
            sleep(self.pause).await;
            match self.transact(server, exchange::identification(query.depth, next), request).await? {
                Brought::Part(more, then) => {
                    objects.extend(more);
                    next = then;
                }
                Brought::Whole(Response::Identification(last)) => {
                    objects.extend(last);
                    return Ok(Response::Identification(objects));
                }
                Brought::Whole(_) => unreachable!("the shape was checked"),
            }
        }
        Err(Fault::Malformed(format!("an identification in more than {IDENTIFICATION_PARTS_MAX} parts")))
    }

    async fn transact(&mut self, server: u8, question: tokio_modbus::Request<'static>, asked: &Request) -> Result<Brought, Fault> {
        let Some(open) = &mut self.open else { return Err(Fault::LinkDown("not connected".into())) };
        open.master.set_slave(Slave(server));
        let came = timeout(self.timeout, open.master.call(question)).await.map_err(|_| Fault::Timeout)?;
        let brought = exchange::answer(asked, came);
        open.answered |= matches!(brought, Ok(_) | Err(Fault::Exception(_)));
        brought
    }

    /// Whether this connection ever brought an answer.
    pub(super) fn has_answered(&self) -> bool {
        self.open.as_ref().is_some_and(|o| o.answered)
    }

    /// Why after every timeout and every malformed reply: an answer may still be under way. The transaction id of the next request
    /// would tell it from the right one, if devices could be trusted with it; but converters to a serial bus put the id of the newest request
    /// on whatever comes from the serial side, and cheap devices always send the same. On a new connection nothing old can arrive.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl Socket {
    /// Open, with nothing to read.
    fn is_quiet(&self) -> bool {
        let nothing = matches!(self.stream.try_read(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        if !nothing {
            self.stray.store(true, Ordering::Relaxed); // looking took the byte: the next look must know
        }
        !self.stray.load(Ordering::Relaxed)
    }
}

/// The stream as the library reads it. The library waits for whatever length a header announces and says nothing useful when the peer
/// closes; here both become what they are.
#[derive(Debug)]
struct Wire {
    socket: Arc<Socket>,
    /// Bytes since the request went out.
    seen: usize,
    header: [u8; HEADER_BYTES],
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stream.fmt(f)
    }
}

impl Wire {
    fn look(&mut self, came: &[u8]) -> io::Result<()> {
        for (at, byte) in (self.seen..HEADER_BYTES).zip(came) {
            self.header[at] = *byte;
        }
        self.seen += came.len();
        self.socket.bytes_in.fetch_add(came.len() as u64, Ordering::Relaxed);
        if self.seen < HEADER_BYTES {
            return Ok(());
        }
        let announced = usize::from(u16::from_be_bytes([self.header[4], self.header[5]]));
        if !(3..=ADU_BYTES_MAX).contains(&announced) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a reply of {announced} bytes")));
        }
        if self.seen > announced + HEADER_BYTES - 1 {
            self.socket.stray.store(true, Ordering::Relaxed); // the reply itself may be good; what follows is not ours
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.stream.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match self.socket.stream.try_read(room) {
                Ok(0) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the device closed the connection"))),
                Ok(n) => {
                    self.look(&room[..n])?;
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.seen = 0;
        loop {
            ready!(self.socket.stream.poll_write_ready(cx))?;
            match self.socket.stream.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => (),
                Ok(n) => {
                    self.socket.bytes_out.fetch_add(n as u64, Ordering::Relaxed);
                    return Poll::Ready(Ok(n));
                }
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
