//! A pseudo-terminal as a pluggable serial cable: a stable name for the gateway, and the device's end here.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

const LOOK_MS: u64 = 5; // a gateway that reads at all has read within one or two

/// Our end, which never waits; the other one, and its path.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd, String)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)?;
    let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((master, slave, name))
}

/// Dropping it pulls the plug: the gateway's end hangs up and the name is gone.
pub struct Pty {
    master: OwnedFd,
    /// Held open, so that the terminal stays raw and takes bytes while no gateway has it open.
    slave: OwnedFd,
    link: PathBuf,
}

impl Pty {
    /// `link` becomes a symbolic link to the terminal, as udev makes one in /dev/serial/by-id.
    pub fn plug_in(link: &Path) -> io::Result<Self> {
        let (master, slave, name) = pair()?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        let _ = fs::remove_file(link);
        std::os::unix::fs::symlink(&name, link)?;
        Ok(Self { master, slave, link: link.to_owned() })
    }

    /// Sends at once what fits; what does not is gone, as on a line whose far end has stopped reading. Says how much fitted.
    pub fn send(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match rustix::io::write(&self.master, &bytes[sent..]) {
                Ok(n) => sent += n,
                Err(_) => break,
            }
        }
        sent
    }

    /// Waits until the gateway's end has read all that was sent, which on a real line has happened anyway; or for as long as `most`.
    pub async fn read_out(&self, most: Duration) {
        let all_read = async {
            while !matches!(rustix::io::ioctl_fionread(&self.slave), Ok(0) | Err(_)) {
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
        };
        let _ = tokio::time::timeout(most, all_read).await;
    }

    /// What the gateway has written and nobody took yet.
    pub fn take(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = rustix::io::read(&self.master, &mut piece) {
            all.extend_from_slice(&piece[..n]);
        }
        all
    }

    /// As the gateway has set it.
    pub fn settings(&self) -> io::Result<Termios> {
        Ok(tcgetattr(&self.slave)?)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}
