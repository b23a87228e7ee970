//! How an instance asks: refusals are answered here, before they cost the bus anything; the rest goes to the bus with its room for
//! the answer already reserved.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Grant, Refusal};
use crate::capability::inbox::{self, Answer};
use crate::capability::once::Once;
use crate::capability::quota::Quota;
use crate::capability::{Clock, Flooded, REFUSED_WAITING_MAX};
use crate::contract::Event;
use crate::contract::modbus::{Failure, Request};
use crate::contract::types::Tag;
use crate::status::Status;

/// Cancellations of one instance that the bus has not seen yet.
pub(super) const CANCELS_WAITING_MAX: usize = 16; // the bus takes them within microseconds; one that does not fit is as if it came too late

/// One thing an instance wants of its bus.
pub struct Ask {
    pub(super) instance: Arc<str>,
    pub(super) tag: Tag,
    pub(super) what: What,
}

pub(super) enum What {
    Submit { server: u8, request: Request, quirk: bool, keep_raw: bool, answer: Answer },
    Cancel { _room: OwnedSemaphorePermit },
}

/// One instance's way to its bus. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    grant: Grant,
    asks: mpsc::Sender<Ask>,
    inbox: inbox::Sender,
    open: Quota,
    refused: Quota,
    cancels: Quota,
    logged: Once,
    clock: Clock,
    status: Status,
}

impl Handle {
    /// `asks` leads to the bus that the grant names, with [`Grant::room`] places for this instance.
    pub fn new(grant: Grant, asks: mpsc::Sender<Ask>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        Self(Arc::new(Inner {
            open: Quota::new(grant.requests_max()),
            refused: Quota::new(REFUSED_WAITING_MAX),
            cancels: Quota::new(CANCELS_WAITING_MAX),
            logged: Once::default(),
            grant,
            asks,
            inbox,
            clock,
            status,
        }))
    }

    /// Exactly one `reply` follows, unless the instance is opened anew before. A request counts as open until its reply was taken
    /// from the inbox: that bounds what waits there.
    pub fn submit(&self, tag: Tag, server: u8, request: Request) -> Result<(), Flooded> {
        let this = &*self.0;
        if let Err(refusal) = this.grant.permits(server, &request) {
            this.log(&refusal);
            return this.refuse(tag, Failure::NotGranted);
        }
        let Some(answer) = this.inbox.answer(&this.open) else {
            return this.refuse(tag, Failure::OverRate);
        };
        let (quirk, keep_raw) = (this.grant.quirk(), this.grant.keeps_raw());
        let what = What::Submit { server, request, quirk, keep_raw, answer };
        let ask = Ask { instance: this.inbox.instance().clone(), tag, what };
        match this.asks.try_send(ask) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => this.refuse(tag, Failure::OverRate),
            Err(TrySendError::Closed(_)) => this.refuse(tag, Failure::LinkDown), // the gateway is going down
        }
    }

    /// A request that was answered meanwhile keeps its answer.
    pub fn cancel(&self, tag: Tag) {
        let this = &*self.0;
        if let Some(room) = this.cancels.take(this.inbox.run()) {
            let ask = Ask { instance: this.inbox.instance().clone(), tag, what: What::Cancel { _room: room } };
            let _ = this.asks.try_send(ask); // no room: it comes too late, and the reply comes as it would have
        }
    }
}

impl Inner {
    fn refuse(&self, tag: Tag, why: Failure) -> Result<(), Flooded> {
        self.status.instance(self.inbox.instance(), |i| i.refusals += 1);
        self.status.link(self.grant.bus(), |l| l.refused += 1);
        let answer = self.inbox.answer(&self.refused).ok_or(Flooded)?;
        answer.give((self.clock)(), Event::ModbusReply(tag, Err(why)));
        Ok(())
    }

    fn log(&self, refusal: &Refusal) {
        let text = refusal.to_string();
        if self.logged.is_new(&text) {
            // one sentence, its end ready to be pasted into gateway.toml
            tracing::warn!("\"{}\" on bus \"{}\" {text}", self.inbox.instance(), self.grant.bus());
        }
    }
}
