//! How an instance writes: a frame that no granted pattern matches never comes near the port.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Grant;
use crate::capability::gate::Gate;
use crate::capability::inbox::{self, Answer};
use crate::capability::{Clock, Flooded};
use crate::contract::Event;
use crate::contract::serial::Failure;
use crate::contract::types::Tag;
use crate::status::Status;

/// Writes of one instance whose `written` it has not taken yet; also the room that the channel to the port needs.
pub const WRITES_OPEN_MAX: usize = 16; // a serial device answers one command before it takes the next

/// One frame on its way to the port.
pub struct Write {
    pub(super) tag: Tag,
    pub(super) frame: Vec<u8>,
    pub(super) answer: Answer,
}

/// One instance's way to its port. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    grant: Grant,
    writes: mpsc::Sender<Write>,
    gate: Gate,
}

impl Handle {
    /// `writes` leads to the port that the grant names, with [`WRITES_OPEN_MAX`] places.
    pub fn new(grant: Grant, writes: mpsc::Sender<Write>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        let link = grant.port().to_string_lossy().into_owned();
        Self(Arc::new(Inner { grant, writes, gate: Gate::new(link, WRITES_OPEN_MAX, inbox, clock, status) }))
    }

    /// Exactly one `written` follows, unless the instance is opened anew before. `Ok` there means handed to the port in one piece.
    pub fn write(&self, tag: Tag, frame: Vec<u8>) -> Result<(), Flooded> {
        let Inner { grant, writes, gate } = &*self.0;
        let written = |why| Event::SerialWritten(tag, Err(why));
        if let Err(refusal) = grant.permits(&frame) {
            return gate.forbid(format_args!("port {}", grant.port().display()), &refusal, written(Failure::NotGranted));
        }
        gate.pass(writes, |answer| Write { tag, frame, answer }, written(Failure::OverRate), written(Failure::LinkDown))
    }
}
