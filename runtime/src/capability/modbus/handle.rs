//! How an instance asks: refusals are answered here, before they cost the bus anything; the rest goes to the bus with its room for
//! the answer already reserved.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Grant;
use crate::capability::gate::Gate;
use crate::capability::inbox::{self, Answer};
use crate::capability::quota::Quota;
use crate::capability::{Clock, Flooded};
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
    cancels: Quota,
    gate: Gate,
}

impl Handle {
    /// `asks` leads to the bus that the grant names, with [`Grant::room`] places for this instance.
    pub fn new(grant: Grant, asks: mpsc::Sender<Ask>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        let gate = Gate::new(grant.bus().to_owned(), grant.requests_max(), inbox, clock, status);
        Self(Arc::new(Inner { grant, asks, cancels: Quota::new(CANCELS_WAITING_MAX), gate }))
    }

    /// Exactly one `reply` follows, unless the instance is opened anew before. A request counts as open until its reply was taken
    /// from the inbox: that bounds what waits there.
    pub fn submit(&self, tag: Tag, server: u8, request: Request) -> Result<(), Flooded> {
        let Inner { grant, asks, gate, .. } = &*self.0;
        let reply = |why| Event::ModbusReply(tag, Err(why));
        if let Err(refusal) = grant.permits(server, &request) {
            return gate.forbid(format_args!("bus \"{}\"", grant.bus()), &refusal, reply(Failure::NotGranted));
        }
        let (quirk, keep_raw) = (grant.quirk(), grant.keeps_raw());
        let ask = |answer| {
            let what = What::Submit { server, request, quirk, keep_raw, answer };
            Ask { instance: gate.inbox().instance().clone(), tag, what }
        };
        gate.pass(asks, ask, reply(Failure::OverRate), reply(Failure::LinkDown))
    }

    /// A request that was answered meanwhile keeps its answer.
    pub fn cancel(&self, tag: Tag) {
        let Inner { asks, gate, cancels, .. } = &*self.0;
        if let Some(room) = cancels.take(gate.inbox().run()) {
            let ask = Ask { instance: gate.inbox().instance().clone(), tag, what: What::Cancel { _room: room } };
            let _ = asks.try_send(ask); // no room: it comes too late, and the reply comes as it would have
        }
    }
}
