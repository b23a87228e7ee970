//! A person at a terminal: a program on a pty, what it shows there, and what is typed.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::process::dies_with_us;
use crate::pty::pair;

const LOOK_MS: u64 = 20;
const PATIENCE_S: u64 = 180; // long, so that a busy machine fails nothing

pub struct Terminal {
    master: OwnedFd,
    child: Child,
    seen: Vec<u8>,
}

impl Terminal {
    /// As a terminal is found: lines are edited there, and what is typed is shown.
    pub fn run(command: &Command) -> io::Result<Self> {
        let (master, slave, _) = pair()?;
        let end = || slave.try_clone().map(Stdio::from);
        let child = dies_with_us(command).stdin(end()?).stdout(end()?).stderr(end()?).spawn()?;
        Ok(Self { master, child, seen: Vec::new() })
    }

    fn look(&mut self) {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = rustix::io::read(&self.master, &mut piece) {
            self.seen.extend_from_slice(&piece[..n]);
        }
    }

    /// Everything that was shown so far.
    pub fn seen(&mut self) -> String {
        self.look();
        String::from_utf8_lossy(&self.seen).replace('\r', "")
    }

    /// Waits until this is shown.
    pub fn until(&mut self, text: &str) {
        for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
            let ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            if self.seen().contains(text) {
                return;
            }
            assert!(!ended, "it ended without showing {text:?}; it showed\n{}", self.seen());
            sleep(Duration::from_millis(LOOK_MS));
        }
        panic!("waited in vain for {text:?}; it showed\n{}", self.seen());
    }

    /// A line, and Enter.
    pub fn types(&self, line: &str) {
        let line = format!("{line}\n");
        assert_eq!(rustix::io::write(&self.master, line.as_bytes()), Ok(line.len()), "a terminal takes a line");
    }

    /// Its exit status, and everything that was shown.
    pub fn ends(mut self) -> (i32, String) {
        for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
            self.look();
            if let Ok(Some(status)) = self.child.try_wait() {
                return (status.code().unwrap_or(-1), self.seen());
            }
            sleep(Duration::from_millis(LOOK_MS));
        }
        panic!("it does not end; it showed\n{}", self.seen());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
