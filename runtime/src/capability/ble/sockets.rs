//! The sockets over which BlueZ notifies, one for each characteristic. The kernel keeps no order between them, but the time at which BlueZ wrote each
//! packet: by that, what waits on several of them is read in the order in which it was written, which is the order in which it was said.
//!
//! What is promised: of all that waits on the sockets of one peripheral, up to [`PACKETS_AT_ONCE_MAX`] packets, the older comes first; what comes over
//! one socket keeps its own order in any case. Between sockets, what BlueZ wrote before the socket reached us counts as written when it is read,
//! and a wall clock that is set back between two packets that both wait may exchange those.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::iter;
use std::os::fd::{AsFd, AsRawFd as _};
use std::task::{Context, Poll};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The longest value that the protocol has.
const VALUE_BYTES_MAX: usize = 512;
/// What is read before others have their turn.
const PACKETS_AT_ONCE_MAX: usize = 4096; // Linux keeps 278 of a socket that nobody reads; the richest device read about has a dozen sockets

/// From here on the kernel notes when each packet is written.
pub(super) fn timed(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::ReceiveTimestampns, &true)?)
}

/// By the handles of their characteristics.
#[derive(Default)]
pub(super) struct Sockets(Vec<(u16, UnixDatagram)>);

/// What waited, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waited {
    pub values: Vec<(u16, Vec<u8>)>,
    /// Behind them a socket has ended, and why.
    pub ended: Option<io::Error>,
}

#[derive(Clone, Debug, PartialEq)]
struct Packet {
    written: TimeSpec,
    handle: u16,
    bytes: Vec<u8>,
}

impl Sockets {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, handle: u16) -> bool {
        self.0.iter().any(|(other, _)| *other == handle)
    }

    /// One that is [`timed`].
    pub fn add(&mut self, handle: u16, socket: std::os::unix::net::UnixDatagram) -> io::Result<()> {
        self.0.push((handle, UnixDatagram::from_std(socket)?));
        Ok(())
    }

    pub fn close(&mut self, handle: u16) {
        self.0.retain(|(other, _)| *other != handle);
    }

    /// Until something waits, or one of them has ended.
    pub async fn ready(&self) {
        poll_fn(|cx| if self.0.iter().any(|(_, socket)| wakes(socket, cx)) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// What waits now. They are looked at until each is found empty in one round: what is written later is written after all of this.
    pub fn take(&self) -> Waited {
        let mut queues: Vec<VecDeque<Packet>> = vec![VecDeque::new(); self.0.len()];
        let (mut taken, mut ended) = (0, None);
        loop {
            let before = taken;
            for (queue, (handle, socket)) in queues.iter_mut().zip(&self.0) {
                while taken < PACKETS_AT_ONCE_MAX {
                    match receive(socket, MsgFlags::empty()) {
                        Ok(Some((written, bytes))) => queue.push_back(Packet { written, handle: *handle, bytes }),
                        Ok(None) => {
                            ended = Some(io::ErrorKind::UnexpectedEof.into());
                            break;
                        }
                        Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                        Err(why) => {
                            ended = Some(why);
                            break;
                        }
                    }
                    taken += 1;
                }
            }
            if taken == before || taken >= PACKETS_AT_ONCE_MAX {
                break;
            }
        }
        Waited { values: in_order(queues), ended }
    }
}

/// Something waits at it already; or it wakes us as soon as something does.
fn wakes(socket: &UnixDatagram, cx: &mut Context<'_>) -> bool {
    while socket.poll_recv_ready(cx).is_ready() {
        // a look alone: what was read past tokio it takes for waiting still
        match socket.try_io(Interest::READABLE, || receive(socket, MsgFlags::MSG_PEEK)) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            _ => return true,
        }
    }
    false
}

/// One packet, and when it was written; None: there will be no more. A value may have no bytes: it has its time all the same, as no end has.
fn receive(socket: &UnixDatagram, flags: MsgFlags) -> io::Result<Option<(TimeSpec, Vec<u8>)>> {
    let mut packet = [0; VALUE_BYTES_MAX];
    let mut times = nix::cmsg_space!(TimeSpec);
    let mut into = [IoSliceMut::new(&mut packet)];
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut times), flags | MsgFlags::MSG_DONTWAIT)?;
    let written = message.cmsgs()?.find_map(|told| match told {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let bytes = message.bytes;
    Ok(written.map(|at| (at, packet[..bytes].to_vec())))
}

/// The oldest first; none of one queue passes another of it.
fn in_order(mut queues: Vec<VecDeque<Packet>>) -> Vec<(u16, Vec<u8>)> {
    let next = || {
        let oldest = queues.iter_mut().filter(|queue| !queue.is_empty()).min_by_key(|queue| queue[0].written)?;
        oldest.pop_front().map(|packet| (packet.handle, packet.bytes))
    };
    iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, send, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, std::os::unix::net::UnixDatagram) {
        let (theirs, ours) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_NONBLOCK).unwrap();
        timed(&ours).unwrap();
        (theirs, ours.into())
    }

    fn write(to: &OwnedFd, bytes: &[u8]) {
        assert_eq!(send(to.as_raw_fd(), bytes, MsgFlags::empty()), Ok(bytes.len()));
    }

    /// Each of two sockets is written to by turns, also with no bytes, and then they end.
    //= PROMISES.md#P345
    //= PROMISES.md#P346
    #[tokio::test]
    async fn what_waits_on_several_sockets_is_read_as_it_was_written_and_no_bytes_are_no_end() {
        let (mut sockets, mut theirs) = (Sockets::default(), Vec::new());
        for handle in [7, 3] {
            let (their, our) = pair();
            sockets.add(handle, our).unwrap();
            theirs.push(their);
        }
        let mut written = Vec::new();
        for n in 0..40u8 {
            for (their, handle) in theirs.iter().zip([7, 3]).skip(usize::from(n % 3 == 0)) {
                let bytes = vec![n; usize::from(n % 5)];
                write(their, &bytes);
                written.push((handle, bytes));
            }
        }
        sockets.ready().await;
        let waited = sockets.take();
        assert!(waited.values == written && waited.ended.is_none(), "{waited:?}");
        write(&theirs[1], &[1]);
        write(&theirs[0], &[]);
        drop(theirs);
        sockets.ready().await;
        let waited = sockets.take();
        assert_eq!(waited.values, [(3, vec![1]), (7, vec![])]);
        assert_eq!(waited.ended.unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    /// However often it is woken for what was read already.
    #[tokio::test]
    async fn who_waits_is_woken_by_each_packet() {
        let (their, our) = pair();
        let mut sockets = Sockets::default();
        sockets.add(1, our).unwrap();
        let writes = async {
            for n in 0..100u8 {
                write(&their, &[n]);
                tokio::task::yield_now().await;
            }
        };
        let reads = async {
            let mut heard = Vec::new();
            while heard.len() < 100 {
                sockets.ready().await;
                heard.extend(sockets.take().values.into_iter().map(|(_, bytes)| bytes[0]));
            }
            heard
        };
        let ((), heard) = tokio::join!(writes, reads);
        assert_eq!(heard, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn none_of_one_socket_passes_another_of_it_though_the_clock_is_set_back() {
        let packets = |handle, at: &[i64]| {
            at.iter().map(|s| Packet { written: TimeSpec::new(*s, 0), handle, bytes: vec![*s as u8] }).collect::<VecDeque<_>>()
        };
        let told = in_order(vec![packets(1, &[3, 9, 2, 6]), packets(2, &[4, 5]), VecDeque::new()]);
        assert_eq!(told, [(1, 3), (2, 4), (2, 5), (1, 9), (1, 2), (1, 6)].map(|(handle, s)| (handle, vec![s])));
    }
}
