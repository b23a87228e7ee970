//! How an instance writes: a frame that no granted pattern matches never comes near the port.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{Grant, Refusal};
use crate::capability::inbox::{self, Answer};
use crate::capability::once::Once;
use crate::capability::quota::Quota;
use crate::capability::{Clock, Flooded, REFUSED_WAITING_MAX};
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
    inbox: inbox::Sender,
    open: Quota,
    refused: Quota,
    logged: Once,
    clock: Clock,
    status: Status,
}

impl Handle {
    /// `writes` leads to the port that the grant names, with [`WRITES_OPEN_MAX`] places.
    pub fn new(grant: Grant, writes: mpsc::Sender<Write>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        Self(Arc::new(Inner {
            grant,
            writes,
            inbox,
            open: Quota::new(WRITES_OPEN_MAX),
            refused: Quota::new(REFUSED_WAITING_MAX),
            logged: Once::default(),
            clock,
            status,
        }))
    }

    /// Exactly one `written` follows, unless the instance is opened anew before. `Ok` there means handed to the port in one piece.
    pub fn write(&self, tag: Tag, frame: Vec<u8>) -> Result<(), Flooded> {
        let this = &*self.0;
        if let Err(refusal) = this.grant.permits(&frame) {
            this.log(&refusal);
            return this.refuse(tag, Failure::NotGranted);
        }
        let Some(answer) = this.inbox.answer(&this.open) else {
            return this.refuse(tag, Failure::OverRate);
        };
        match this.writes.try_send(Write { tag, frame, answer }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => this.refuse(tag, Failure::OverRate),
            Err(TrySendError::Closed(_)) => this.refuse(tag, Failure::LinkDown), // the gateway is going down
        }
    }
}

impl Inner {
    fn refuse(&self, tag: Tag, why: Failure) -> Result<(), Flooded> {
        self.status.instance(self.inbox.instance(), |i| i.refusals += 1);
        self.status.link(&self.grant.port().to_string_lossy(), |l| l.refused += 1);
        let answer = self.inbox.answer(&self.refused).ok_or(Flooded)?;
        answer.give((self.clock)(), Event::SerialWritten(tag, Err(why)));
        Ok(())
    }

    fn log(&self, refusal: &Refusal) {
        let text = refusal.to_string();
        if self.logged.is_new(&text) {
            // one sentence, its end ready to be pasted into gateway.toml
            tracing::warn!("\"{}\" on port {} {text}", self.inbox.instance(), self.grant.port().display());
        }
    }
}
