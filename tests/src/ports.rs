//! Ports for servers that others must find while they are not there yet, or gone for a while.

use std::io;
use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the kernel gives by itself to listeners and to the near end of connections (from 32768 on): a port that one of these got
/// while its server was away could not be taken again.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Tests that run beside each other in several processes begin far apart.
const APART: u32 = 1009;

/// One that nobody listens on, given once.
pub fn own() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(APART);
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..COUNT {
        let port = (FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT) as u16;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(why) => last = why,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_free_given_once_and_none_of_the_kernels_own() {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("of Linux");
        let kernels: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).expect("a number");
        let ports: std::collections::BTreeSet<u16> = (0..50).map(|_| own().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        for port in ports {
            assert!(port < kernels, "{port} of those from {kernels} on");
            TcpListener::bind(("127.0.0.1", port)).unwrap();
        }
    }
}
