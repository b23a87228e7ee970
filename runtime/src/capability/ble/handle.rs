//! How an instance asks: what no grant permits never comes near the peripheral; the rest goes there with its room for the answer reserved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::Grant;
use super::grant::Id;
use crate::capability::gate::Gate;
use crate::capability::inbox::{self, Answer};
use crate::capability::{Clock, Flooded};
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
    pub fn handle(&self) -> u16 {
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
    gate: Gate,
}

impl Handle {
    /// `asks` leads to the owner of the peripheral, with [`ASKS_OPEN_MAX`] places.
    pub fn new(grant: Grant, known: Known, asks: mpsc::Sender<Ask>, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        let gate = Gate::new(grant.link(), ASKS_OPEN_MAX, inbox, clock, status);
        Self(Arc::new(Inner { grant, known, asks, gate }))
    }

    /// The plugin takes a `discovered` of this moment.
    pub fn told(&self, moment: Moment) {
        self.0.known.0.lock().expect("no holder panics").heard_ns = moment.monotonic_ns;
    }

    /// Exactly one `reply` follows, unless the instance is opened anew before.
    pub fn ask(&self, tag: Tag, what: What) -> Result<(), Flooded> {
        let Inner { grant, known, asks, gate } = &*self.0;
        let reply = |why| Event::BleReply(tag, Err(why));
        let id = match known.get(what.handle()) {
            Some(Some(id)) => id,
            Some(None) => return gate.answer(reply(Failure::NotFound)),
            None => return gate.answer(reply(Failure::LinkDown)),
        };
        if let Err(refusal) = grant.permits_id(id, &what) {
            return gate.forbid(format_args!("the peripheral {}", grant.target()), &refusal, reply(Failure::NotGranted));
        }
        gate.pass(asks, |answer| Ask { tag, what, answer }, reply(Failure::OverRate), reply(Failure::LinkDown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::inbox::{Inbox, inbox};
    use crate::config::BleGrant;

    const HANDLE: u16 = 17;
    const LINK_DOWN: Event = Event::BleReply(0, Err(Failure::LinkDown));

    fn at(ns: u64) -> Moment {
        Moment { boot: 1, monotonic_ns: ns, wall: None }
    }

    fn handle() -> (Handle, Known, mpsc::Receiver<Ask>, Inbox) {
        let grant = BleGrant { address: Some("C0:98:E5:00:00:01".into()), services: vec!["180d".into()], ..BleGrant::default() };
        let (asks, taken) = mpsc::channel(ASKS_OPEN_MAX);
        let (events, inbox) = inbox("bed-1".into(), 1000);
        let known = Known::default();
        let handle = Handle::new(Grant::new("bed-1", &grant).unwrap(), known.clone(), asks, events, || at(1), Status::default());
        (handle, known, taken, inbox)
    }

    fn asks(handle: &Handle) {
        handle.ask(0, What::Read(HANDLE)).unwrap();
    }

    /// What a plugin asks before it has taken the word of the link that is there now is meant for another, whose handles are perhaps the same.
    #[test]
    fn what_is_meant_for_the_link_before_never_reaches_the_one_after() {
        let (handle, known, mut taken, inbox) = handle();
        let one: BTreeMap<u16, Id> = [(HANDLE, 1)].into();
        asks(&handle);
        assert_eq!(inbox.try_recv().unwrap().1, LINK_DOWN, "there is no link");
        known.set(one.clone(), at(10));
        asks(&handle);
        assert_eq!(inbox.try_recv().unwrap().1, LINK_DOWN, "its plugin has not heard of it");
        handle.told(at(10));
        asks(&handle);
        assert!(taken.try_recv().is_ok() && inbox.is_empty());
        // the link goes and another comes before the plugin has taken a word of that
        known.forget();
        known.set(one, at(20));
        asks(&handle);
        assert_eq!(inbox.try_recv().unwrap().1, LINK_DOWN);
        assert!(taken.try_recv().is_err(), "it never came near the peripheral");
        handle.told(at(20));
        asks(&handle);
        assert!(taken.try_recv().is_ok());
    }
}
