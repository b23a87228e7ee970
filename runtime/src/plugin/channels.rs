//! What goes between an instance's supervisor and its neighbours. The corridor makes the channels.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use wardgate_wire::GapReason;

use crate::capability::inbox::Inbox;
use crate::capability::{Clock, modbus, serial};
use crate::contract::Said;
use crate::contract::types::{Moment, Tag};
use crate::status::Status;

/// What one finished call said that concerns the pipeline, in order. Tags of `when-durable` are the supervisor's tickets.
#[derive(Clone, Debug, PartialEq)]
pub struct Spoken {
    pub instance: Arc<str>,
    pub moment: Moment,
    pub said: Vec<Said>,
}

/// To the pipeline's one task, in order, from all instances.
#[derive(Clone, Debug, PartialEq)]
pub enum ToPipeline {
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
    },
}

/// Back from the pipeline's task. The supervisor takes these also while it waits for room, so sending them never locks up.
#[derive(Clone, Debug, PartialEq)]
pub enum FromPipeline {
    /// Everything up to this ticket is on flash.
    Durable(Tag),
    /// A call was refused as a whole; the pipeline counts the instance as faulted.
    Refused(String),
}

/// The links that an instance was granted.
#[derive(Clone, Default)]
pub struct Links {
    pub modbus: Option<modbus::Handle>,
    pub serial: Option<serial::Handle>,
}

/// Everything that connects a supervisor.
pub struct Wiring {
    pub inbox: Inbox,
    pub pipeline: mpsc::Sender<ToPipeline>,
    pub back: mpsc::Receiver<FromPipeline>,
    pub links: Links,
    pub clock: Clock,
    pub status: Status,
    /// True: close and end.
    pub stop: watch::Receiver<bool>,
}
