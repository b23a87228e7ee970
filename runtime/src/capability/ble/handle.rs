//! How an instance asks: what no grant permits never comes near the peripheral; the rest goes there with its room for the answer reserved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::grant::Id;
use super::{Grant, Refusal};
use crate::capability::inbox::{self, Answer};
use crate::capability::once::Once;
use crate::capability::quota::Quota;
use crate::capability::{Clock, Flooded, REFUSED_WAITING_MAX};
use crate::contract::Event;
use crate::contract::ble::Failure;
use crate::contract::types::{Moment, Tag};
use crate::status::Status;

/// Requests of one instance whose `reply` it has not taken yet; also the room that the channel to the peripheral needs.
pub const ASKS_OPEN_MAX: usize = 64; // a plugin reads and subscribes to all that it knows right after `discovered`, some 20 in all

/// One thing that an instance wants of its peripheral.
pub struct Ask {
    pub(super) tag: Tag,
    pub(super) what: What,
    pub(super) answer: Answer,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Read(u16),
    Write { handle: u16, bytes: Vec<u8>, with_response: bool },
    Subscribe(u16),
    Unsubscribe(u16),
}

impl What {
    pub(super) fn handle(&self) -> u16 {
        match self {
            Self::Read(handle) | Self::Subscribe(handle) | Self::Unsubscribe(handle) | Self::Write { handle, .. } => *handle,
        }
    }
}

/// The characteristics that the plugin was told of, by handle; empty while the link is down. The owner of the peripheral fills it.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    all: BTreeMap<u16, Id>,
    /// The moment of the `discovered` that says so.
    since_ns: u64,
    /// The moment of the newest `discovered` that the plugin has taken.
    heard_ns: u64,
}

impl Known {
    pub(super) fn set(&self, all: BTreeMap<u16, Id>, now: Moment) {
        let mut told = self.0.lock().expect("no holder panics");
        (told.all, told.since_ns) = (all, now.monotonic_ns);
    }

    pub(super) fn forget(&self) {
        self.0.lock().expect("no holder panics").all.clear();
    }

    /// None: no link of which the plugin has heard. What it says before that is meant for the peripheral of the link before.
    fn get(&self, handle: u16) -> Option<Option<Id>> {
        let told = self.0.lock().expect("no holder panics");
        (!told.all.is_empty() && told.since_ns <= told.heard_ns).then(|| told.all.get(&handle).copied())
    }
}

/// One instance's way to its peripheral. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    grant: Grant,
    known: Known,
    asks: mpsc::Sender<Ask>,
    inbox: inbox::Sender,
    open: Quota,
    refused: Quota,
    logged: Once,
    clock: Clock,
    status: Status,
}

impl Handle {
    /// `asks` leads to the owner of the peripheral, with [`ASKS_OPEN_MAX`] places.
    pub fn new(grant: Grant, known: Known, asks: mpsc::Sender<Ask>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        Self(Arc::new(Inner {
            grant,
            known,
            asks,
            inbox,
            open: Quota::new(ASKS_OPEN_MAX),
            refused: Quota::new(REFUSED_WAITING_MAX),
            logged: Once::default(),
            clock,
            status,
        }))
    }

    /// The plugin takes a `discovered` of this moment.
    pub fn told(&self, moment: Moment) {
        self.0.known.0.lock().expect("no holder panics").heard_ns = moment.monotonic_ns;
    }

    /// Exactly one `reply` follows, unless the instance is opened anew before.
    pub fn ask(&self, tag: Tag, what: What) -> Result<(), Flooded> {
        let this = &*self.0;
        let id = match this.known.get(what.handle()) {
            Some(Some(id)) => id,
            Some(None) => return this.refuse(tag, Failure::NotFound),
            None => return this.refuse(tag, Failure::LinkDown),
        };
        let permitted = match &what {
            What::Read(_) => this.grant.permits_read(id),
            What::Write { bytes, .. } => this.grant.permits_write(id, bytes),
            What::Subscribe(_) => this.grant.permits_notify(id),
            What::Unsubscribe(_) => Ok(()),
        };
        if let Err(refusal) = permitted {
            this.log(&refusal);
            this.count();
            return this.refuse(tag, Failure::NotGranted);
        }
        let Some(answer) = this.inbox.answer(&this.open) else {
            this.count();
            return this.refuse(tag, Failure::OverRate);
        };
        match this.asks.try_send(Ask { tag, what, answer }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                this.count();
                this.refuse(tag, Failure::OverRate)
            }
            Err(TrySendError::Closed(_)) => this.refuse(tag, Failure::LinkDown), // the gateway is going down
        }
    }
}

impl Inner {
    fn count(&self) {
        self.status.instance(self.inbox.instance(), |i| i.refusals += 1);
        self.status.link(&self.grant.link(), |l| l.refused += 1);
    }

    fn refuse(&self, tag: Tag, why: Failure) -> Result<(), Flooded> {
        let answer = self.inbox.answer(&self.refused).ok_or(Flooded)?;
        answer.give((self.clock)(), Event::BleReply(tag, Err(why)));
        Ok(())
    }

    fn log(&self, refusal: &Refusal) {
        let text = refusal.to_string();
        if self.logged.is_new(&text) {
            // one sentence, its end ready to be pasted into gateway.toml
            tracing::warn!("\"{}\" on the peripheral {} {text}", self.inbox.instance(), self.grant.target());
        }
    }
}
