//! What `[bus.NAME]` says, read and checked: how the bus is reached, how frames look on it, and its times.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::capability::serial::{self, BAUD_MAX, BAUD_MIN, Flow, Framing, Place, is_host_and_port};
use crate::config;

pub(super) const TIMEOUT_MS_MIN: u64 = 10; // a local network and a device's own loop take some milliseconds
const TIMEOUT_MS_MAX: u64 = 60_000; // for so long one dead server keeps the others waiting
/// Silence that ends a frame whose function does not say how long it is, and whatever else is on the line.
pub(super) const SILENCE: Duration = Duration::from_millis(50); // USB adapters hand bytes on every 16 ms, terminal servers every 20
/// After a broadcast, before the next request: the specification of the serial line asks for 100 to 200 ms.
pub(super) const TURNAROUND: Duration = Duration::from_millis(200);
const PAUSE_MS_MAX: u64 = 10_000; // slower than any device must be spoken to
const GAP_US_MAX: u64 = 1_000_000; // a second of silence between two frames: no device needs it
/// Above this speed the protocol fixes the silence between frames, because 3.5 characters are too short for interrupts.
const GAP_FIXED_ABOVE_BAUD: u32 = 19_200;
const GAP_FIXED_US: u64 = 1_750;

/// What is wrong with a bus, by its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[bus.{bus}] {key}: {why}")]
pub struct BusError {
    pub bus: String,
    pub key: &'static str,
    pub why: String,
}

/// How frames look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Rtu,
    Ascii,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) wire: serial::Settings,
    pub(super) protocol: Protocol,
    pub(super) timeout: Duration,
    pub(super) pause: Duration,
    pub(super) gap: Duration,
    /// Until a server begins to answer, as the site says: what is reckoned with.
    pub(super) answer: Duration,
    pub(super) echo: bool,
}

impl Settings {
    pub(super) fn read(name: &str, from: &config::Bus) -> Result<Self, BusError> {
        let fail = |key, why| BusError { bus: name.to_owned(), key, why };
        let place = match (&from.tcp, &from.serial) {
            (Some(at), None) if is_host_and_port(at) => Place::Raw(at.clone()),
            (Some(at), None) => return Err(fail("tcp", format!("{at:?} is not host:port, like \"10.0.3.7:502\""))),
            (None, Some(port)) => Place::parse(port).map_err(|why| fail("serial", why))?,
            _ => return Err(fail("tcp", "write either tcp = \"host:port\" or serial = \"/dev/serial/by-id/...\"".into())),
        };
        let protocol = match (from.protocol.as_deref(), from.tcp.is_some()) {
            (None | Some("tcp"), true) => Protocol::Tcp,
            (Some("rtu"), _) | (None, false) => Protocol::Rtu,
            (Some("ascii"), _) => Protocol::Ascii,
            (Some("tcp"), false) => {
                return Err(fail("protocol", "\"tcp\" does not go over a serial line: write \"rtu\" or \"ascii\"".into()));
            }
            (Some(other), _) => return Err(fail("protocol", format!("{other:?} is none of \"tcp\", \"rtu\" and \"ascii\""))),
        };
        if !(BAUD_MIN..=BAUD_MAX).contains(&from.baud) {
            return Err(fail("baud", format!("{} is not within {BAUD_MIN} to {BAUD_MAX}", from.baud)));
        }
        let framing = Framing::parse(&from.framing)
            .ok_or_else(|| fail("framing", format!("{:?} is no framing: write one like \"8E1\" or \"8N2\"", from.framing)))?;
        if protocol == Protocol::Rtu && framing.data != 8 {
            return Err(fail(
                "framing",
                format!("{framing} has no room for RTU, which needs 8 data bits; did you mean protocol = \"ascii\"?"),
            ));
        }
        if !(TIMEOUT_MS_MIN..=TIMEOUT_MS_MAX).contains(&from.timeout_ms) {
            return Err(fail("timeout_ms", format!("{} is not within {TIMEOUT_MS_MIN} to {TIMEOUT_MS_MAX}", from.timeout_ms)));
        }
        if from.pause_ms > PAUSE_MS_MAX {
            return Err(fail("pause_ms", format!("{} is more than {PAUSE_MS_MAX}", from.pause_ms)));
        }
        if from.answer_ms > TIMEOUT_MS_MAX {
            return Err(fail("answer_ms", format!("{} is more than {TIMEOUT_MS_MAX}", from.answer_ms)));
        }
        if from.gap_us > GAP_US_MAX {
            return Err(fail("gap_us", format!("{} is more than {GAP_US_MAX}", from.gap_us)));
        }
        let wire = serial::Settings { place, baud: from.baud, framing, flow: Flow::None };
        let gap_us = match (protocol, from.gap_us) {
            (Protocol::Rtu, 0) if from.baud > GAP_FIXED_ABOVE_BAUD => GAP_FIXED_US,
            (Protocol::Rtu, 0) => wire.line_us(7).div_ceil(2), // 3.5 characters
            (_, us) => us,                                     // the others say themselves where a frame ends
        };
        Ok(Self {
            wire,
            protocol,
            timeout: Duration::from_millis(from.timeout_ms),
            pause: Duration::from_millis(from.pause_ms),
            gap: Duration::from_micros(gap_us),
            answer: Duration::from_millis(from.answer_ms.min(from.timeout_ms)), // one that comes later is none
            echo: from.echo,
        })
    }

    /// Without a byte for so long nothing is under way any more; over TCP a new connection is made instead.
    pub(super) fn drain(&self) -> Duration {
        if self.protocol == Protocol::Tcp { Duration::ZERO } else { self.gap.max(SILENCE) }
    }

    /// The end of a connection is the end of the link. Behind a socket the next request may well make another.
    pub(super) fn is_tty(&self) -> bool {
        matches!(self.wire.place, Place::Tty(_))
    }

    pub(super) fn kind(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "modbus-tcp",
            Protocol::Rtu => "modbus-rtu",
            Protocol::Ascii => "modbus-ascii",
        }
    }
}

/// Where it leads, for people.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.wire.place, self.protocol) {
            (Place::Raw(at), Protocol::Tcp) => f.write_str(at),
            (Place::Raw(_), _) => write!(f, "{}", self.wire.place), // speed and framing are the terminal server's
            _ => write!(f, "{}", self.wire),
        }
    }
}

/// The bus in a few words: what kind it is and where it leads.
pub fn target(bus: &config::Bus) -> String {
    match (&bus.tcp, &bus.serial) {
        (Some(at), _) => at.clone(),
        (None, port) => port.as_deref().unwrap_or(Path::new("nowhere")).display().to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::capability::modbus) fn bus(tcp: Option<&str>, serial: Option<&str>) -> config::Bus {
        config::Bus {
            tcp: tcp.map(Into::into),
            serial: serial.map(Into::into),
            protocol: None,
            baud: 9600,
            framing: "8E1".into(),
            echo: false,
            gap_us: 0,
            timeout_ms: 1000,
            pause_ms: 0,
            answer_ms: 20,
        }
    }

    fn wrong(bus: &config::Bus) -> Option<&'static str> {
        Settings::read("plant", bus).err().map(|e| e.key)
    }

    #[test]
    fn what_is_wrong_with_a_bus_is_named_by_its_key() {
        for good in ["10.0.3.7:502", "chiller.ward:1502", "[fe80::1]:502"] {
            assert_eq!(wrong(&bus(Some(good), None)), None, "{good}");
        }
        for bad in ["", "10.0.3.7", ":502", "host:", "host:0", "host:65536", "host:x"] {
            assert_eq!(wrong(&bus(Some(bad), None)), Some("tcp"), "{bad}");
        }
        assert_eq!(wrong(&bus(None, None)), Some("tcp"));
        assert_eq!(wrong(&bus(Some("h:1"), Some("/dev/x"))), Some("tcp"));
        assert_eq!(wrong(&bus(None, Some("ttyUSB0"))), Some("serial"));
        let tcp = || bus(Some("h:1"), None);
        let tty = || bus(None, Some("/dev/serial/by-id/x"));
        for (bus, key) in [
            (config::Bus { timeout_ms: 9, ..tcp() }, "timeout_ms"),
            (config::Bus { timeout_ms: 60_001, ..tcp() }, "timeout_ms"),
            (config::Bus { pause_ms: 10_001, ..tcp() }, "pause_ms"),
            (config::Bus { answer_ms: 60_001, ..tcp() }, "answer_ms"),
            (config::Bus { gap_us: 1_000_001, ..tty() }, "gap_us"),
            (config::Bus { baud: 49, ..tty() }, "baud"),
            (config::Bus { framing: "9N1".into(), ..tty() }, "framing"),
            (config::Bus { framing: "7E1".into(), ..tty() }, "framing"),
            (config::Bus { protocol: Some("tcp".into()), ..tty() }, "protocol"),
            (config::Bus { protocol: Some("udp".into()), ..tcp() }, "protocol"),
        ] {
            assert_eq!(wrong(&bus), Some(key), "{bus:?}");
        }
        assert_eq!(wrong(&config::Bus { framing: "7E1".into(), protocol: Some("ascii".into()), ..tty() }), None);
    }

    #[test]
    fn the_silence_between_frames_is_the_protocols_own() {
        let gap = |baud, gap_us| {
            let from = config::Bus { baud, gap_us, ..bus(None, Some("/dev/x")) };
            Settings::read("plant", &from).unwrap().gap.as_micros()
        };
        assert_eq!((gap(9600, 0), gap(19_200, 0), gap(115_200, 0), gap(9600, 7)), (4011, 2006, 1750, 7));
    }
}
