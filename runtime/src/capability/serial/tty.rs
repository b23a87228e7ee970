//! Opens one tty as the grant says: alone, raw, at the granted speed, with wrong bytes marked, and with nothing old in it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{InputModes, OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use tokio_serial::{DataBits, FlowControl, SerialPortBuilderExt, SerialStream, StopBits};

use super::{Flow, Parity, Settings};

/// Why a port is not open, and what to do.
#[derive(Debug, thiserror::Error)]
pub(in crate::capability) enum OpenError {
    #[error("there is no {0}: the device is not plugged in, or gateway.toml names another port")]
    Absent(String),
    #[error("{0} may not be opened by this user: make the gateway's user a member of the group that owns it (dialout)")]
    Forbidden(String),
    #[error("{0} is held by another program: end that one (`fuser {0}` names it)")]
    Taken(String),
    #[error("{0} is not a serial port")]
    NotSerial(String),
    #[error("{port} does not run at {baud} baud (it says {real}): change baud in the grant, or the adapter")]
    Speed { port: String, baud: u32, real: u32 },
    #[error("{port}: {why}")]
    Other { port: String, why: String },
}

/// An open port. `control` is the same tty: settings that the serial library does not know are made through it.
pub(super) struct Tty {
    pub(super) stream: SerialStream,
    pub(super) control: OwnedFd,
}

pub(super) fn open(settings: &Settings) -> Result<Tty, OpenError> {
    let named = settings.place.to_string();
    let other = |why: String| OpenError::Other { port: named.clone(), why };
    // Both descriptors must be of the same tty, even if a link is turned to another one meanwhile.
    let real = fs::canonicalize(&named).map_err(|e| of_io(&named, &e))?;
    let control = rustix::fs::open(&real, OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| of_io(&named, &e.into()))?;
    if !rustix::termios::isatty(&control) {
        return Err(OpenError::NotSerial(named));
    }
    let framing = settings.framing;
    let stream = tokio_serial::new(real.to_string_lossy(), settings.baud)
        .data_bits(match framing.data {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        })
        .parity(match framing.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if framing.stop == 2 { StopBits::Two } else { StopBits::One })
        .flow_control(match settings.flow {
            Flow::None => FlowControl::None,
            Flow::Software => FlowControl::Software,
            Flow::Hardware => FlowControl::Hardware,
        })
        .open_native_async()
        .map_err(|e| match e.kind() {
            tokio_serial::ErrorKind::NoDevice => OpenError::Taken(named.clone()), // it was there a moment ago
            _ => other(e.to_string()),
        })?;
    mark_faults(&control, settings.has_parity()).map_err(|e| other(e.to_string()))?;
    let speed = tcgetattr(&control).map_err(|e| other(e.to_string()))?.output_speed();
    if speed != settings.baud {
        return Err(OpenError::Speed { port: named, baud: settings.baud, real: speed });
    }
    // What came before belongs to nobody: half a message at another speed, from before the gateway stood.
    tcflush(&control, QueueSelector::IFlush).map_err(|e| other(e.to_string()))?;
    Ok(Tty { stream, control })
}

fn mark_faults(tty: &OwnedFd, parity: bool) -> io::Result<()> {
    let mut settings = tcgetattr(tty)?;
    settings.input_modes |= InputModes::PARMRK;
    settings.input_modes.set(InputModes::INPCK, parity);
    settings.input_modes -= InputModes::IGNPAR | InputModes::IGNBRK | InputModes::BRKINT | InputModes::ISTRIP;
    Ok(tcsetattr(tty, OptionalActions::Now, &settings)?)
}

fn of_io(port: &str, e: &io::Error) -> OpenError {
    let port = port.to_owned();
    match e.kind() {
        io::ErrorKind::NotFound => OpenError::Absent(port),
        io::ErrorKind::PermissionDenied => OpenError::Forbidden(port),
        io::ErrorKind::ResourceBusy => OpenError::Taken(port),
        io::ErrorKind::IsADirectory => OpenError::NotSerial(port),
        _ => OpenError::Other { port, why: e.to_string() },
    }
}
