//! Where a line ends and how a byte looks on it: a tty of this machine, or the port of a terminal server.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Framing, Parity};

/// The far side of a line. It is what `port` in gateway.toml names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `/dev/serial/by-id/...`
    Tty(PathBuf),
    /// `tcp://host:port`: bare bytes. Speed and framing are set at the terminal server.
    Raw(String),
    /// `rfc2217://host:port`: the terminal server is told speed and framing, and tells of line faults.
    Rfc2217(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    None,
    /// XON/XOFF: DC1 and DC3 are no data then.
    Software,
    /// RTS/CTS
    Hardware,
}

/// All that a line needs to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub place: Place,
    pub baud: u32,
    pub framing: Framing,
    pub flow: Flow,
}

impl Place {
    pub fn parse(port: &Path) -> Result<Self, String> {
        let text = port.to_string_lossy();
        match text.split_once("://") {
            None if port.is_absolute() => Ok(Self::Tty(port.into())),
            Some(("tcp", at)) if is_host_and_port(at) => Ok(Self::Raw(at.into())),
            Some(("rfc2217", at)) if is_host_and_port(at) => Ok(Self::Rfc2217(at.into())),
            _ => Err(format!(
                "{text} is no port. Write a stable name, like \"/dev/serial/by-id/...\", or a terminal server, like \"tcp://host:port\" or \"rfc2217://host:port\""
            )),
        }
    }
}

pub(in crate::capability) fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tty(path) => write!(f, "{}", path.display()),
            Self::Raw(at) => write!(f, "tcp://{at}"),
            Self::Rfc2217(at) => write!(f, "rfc2217://{at}"),
        }
    }
}

impl Flow {
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "xon-xoff" => Ok(Self::Software),
            "rts-cts" => Ok(Self::Hardware),
            _ => Err(format!("{text:?} is no flow control: write \"none\", \"xon-xoff\" or \"rts-cts\"")),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Software => "xon-xoff",
            Self::Hardware => "rts-cts",
        })
    }
}

impl Settings {
    pub(super) fn has_parity(&self) -> bool {
        self.framing.parity != Parity::None
    }

    /// What so many bytes take on the line.
    pub(in crate::capability) fn line_us(&self, bytes: usize) -> u64 {
        (bytes as u64 * u64::from(self.framing.bits()) * 1_000_000).div_ceil(self.baud.into())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.place, self.baud, self.framing)?;
        if self.flow == Flow::None { Ok(()) } else { write!(f, " {}", self.flow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_apart_by_their_names() {
        let parse = |text: &str| Place::parse(Path::new(text));
        for (text, place) in [
            ("/dev/serial/by-id/usb-1", Place::Tty("/dev/serial/by-id/usb-1".into())),
            ("tcp://10.0.0.9:4001", Place::Raw("10.0.0.9:4001".into())),
            ("rfc2217://ts.ward:2001", Place::Rfc2217("ts.ward:2001".into())),
        ] {
            assert_eq!(parse(text), Ok(place.clone()));
            assert_eq!(place.to_string(), text);
        }
        for wrong in ["ttyUSB0", "", "tcp://host", "tcp://:1", "tcp://host:0", "telnet://h:23", "/dev/x://y"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_take_their_time() {
        let at = |baud, framing: &str| Settings {
            place: Place::Raw("h:1".into()),
            baud,
            framing: Framing::parse(framing).unwrap(),
            flow: Flow::None,
        };
        assert_eq!(at(9600, "8N1").line_us(96), 100_000);
        assert_eq!(at(19200, "8E1").line_us(8), 4_584, "11 bits a byte");
    }
}
