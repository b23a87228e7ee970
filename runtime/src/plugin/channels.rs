//! What goes between an instance's supervisor and its neighbours. The corridor makes the channels.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use wardgate_wire::GapReason;

use super::commands::{Command, Commands};
use super::taps::Taps;
use super::together::Together;
use crate::capability::inbox::Inbox;
use crate::capability::{Clock, ble, modbus, serial};
use crate::config::{Link, Terms};
use crate::contract::types::{Moment, Tag};
use crate::contract::{Frame, Said};
use crate::fault::Fault;
use crate::status::Status;

/// What one finished call said that concerns the pipeline, in order. Tags of `when-durable` are the supervisor's tickets.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    pub instance: Arc<str>,
    pub moment: Moment,
    pub said: Vec<Said>,
}

/// To the pipeline's one task, in order, from all instances and from the corridor about them.
#[derive(Clone, Debug)]
pub enum ToPipeline {
    /// The corridor: from here on another supervisor speaks for the instance, and is told what it asks by `back`.
    Posted {
        instance: Arc<str>,
        terms: Terms,
        back: mpsc::Sender<FromPipeline>,
    },
    /// The corridor: whose its output is from now on, and what the store keeps of that.
    Bound {
        instance: Arc<str>,
        moment: Moment,
        bed: Option<String>,
        /// The device that must say that it is this one; none: any.
        serial: Option<String>,
        kept: Option<(String, Vec<u8>)>,
    },
    /// A link of it came up: it may be another device.
    Relinked {
        instance: Arc<str>,
        link: Link,
        moment: Moment,
    },
    /// One of a pool of peripherals, and the address that is its own: it is that one until its link comes up again.
    Met {
        instance: Arc<str>,
        who: Arc<str>,
        moment: Moment,
    },
    /// It said nothing for longer than is usual: it may be another device.
    Quiet {
        instance: Arc<str>,
        moment: Moment,
    },
    /// What went over its line, byte for byte, whatever the plugin makes of it.
    Raw {
        instance: Arc<str>,
        frames: Vec<Frame>,
    },
    Opened {
        instance: Arc<str>,
        moment: Moment,
        why: Option<GapReason>,
    },
    Spoken(Spoken),
    /// Its inbox overran: something was lost before what comes next.
    Lost {
        instance: Arc<str>,
        moment: Moment,
        why: GapReason,
    },
    /// A call came to nothing. What was in hand is gone; the instance will open again.
    Fault {
        instance: Arc<str>,
        moment: Moment,
        why: GapReason,
    },
    Closed {
        instance: Arc<str>,
        moment: Moment,
        why: GapReason,
    },
}

/// Back from the pipeline's task. The supervisor takes these also while it waits for room, so sending them never locks up.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPipeline {
    /// Everything up to this ticket is on flash.
    Durable(Tag),
    /// A call was refused as a whole; the pipeline counts the instance as faulted. `kept`: the newest state of this posting that it took.
    Refused { why: String, kept: Option<Vec<u8>> },
    /// What it said while the disk was full is lost, and so is what it kept with that: it opens anew from `kept`, the newest state that counts.
    Behind { kept: Option<Vec<u8>> },
}

/// What people ask of an instance.
#[derive(Debug)]
pub enum Asked {
    Command(Command),
    /// Open it anew, also out of quarantine; whether it opened is told.
    Restart(oneshot::Sender<Result<(), Fault>>),
}

/// What an instance leaves to whoever is posted after it.
#[derive(Debug, Default)]
pub struct Left {
    /// The state that it kept, as the store has it or will have it.
    pub saved: Option<Vec<u8>>,
    /// What it did not answer.
    pub commands: Commands,
}

/// The links that an instance was granted.
#[derive(Clone, Default)]
pub struct Links {
    pub modbus: Option<modbus::Handle>,
    pub serial: Option<serial::Handle>,
    pub ble: Option<ble::Handle>,
}

/// Everything that connects a supervisor.
pub struct Wiring {
    pub inbox: Inbox,
    pub pipeline: mpsc::Sender<ToPipeline>,
    pub back: mpsc::Receiver<FromPipeline>,
    pub links: Links,
    pub taps: Taps,
    pub together: Together,
    pub clock: Clock,
    pub status: Status,
    pub asked: mpsc::Receiver<Asked>,
    /// Close and end, and this is why its streams end.
    pub stop: watch::Receiver<Option<GapReason>>,
}
