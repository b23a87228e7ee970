//! Who is told when a bus's link goes up or down. Members come and go while the bus runs; none of them notices the others.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::capability::inbox;
use crate::contract::Event;
use crate::contract::types::{LinkState, Moment};
use crate::status::Status;

/// The inboxes of the instances that a bus is granted to. Cheap to clone.
#[derive(Clone, Default)]
pub struct Members(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// None: the link was not yet tried.
    told: Option<LinkState>,
    inboxes: Vec<inbox::Sender>,
}

impl Members {
    /// It hears how the link is, if that is known.
    pub fn join(&self, inbox: inbox::Sender, now: Moment, status: &Status) {
        let mut inner = self.lock();
        if let Some(state) = inner.told {
            tell(&inbox, state, now, status);
        }
        inner.inboxes.push(inbox);
    }

    pub fn leave(&self, instance: &str) {
        self.lock().inboxes.retain(|i| &**i.instance() != instance);
    }

    pub(super) fn has(&self, instance: &str) -> bool {
        self.lock().inboxes.iter().any(|i| &**i.instance() == instance)
    }

    pub fn is_empty(&self) -> bool {
        self.lock().inboxes.is_empty()
    }

    pub(super) fn tell(&self, state: LinkState, now: Moment, status: &Status) {
        let mut inner = self.lock();
        inner.told = Some(state);
        inner.inboxes.iter().for_each(|inbox| tell(inbox, state, now, status));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no holder panics")
    }
}

fn tell(inbox: &inbox::Sender, state: LinkState, now: Moment, status: &Status) {
    status.instance(inbox.instance(), |i| i.link(state == LinkState::Up, now.monotonic_ns));
    inbox.link(now, Event::ModbusLink(state));
}

impl FromIterator<inbox::Sender> for Members {
    fn from_iter<T: IntoIterator<Item = inbox::Sender>>(inboxes: T) -> Self {
        Self(Arc::new(Mutex::new(Inner { told: None, inboxes: inboxes.into_iter().collect() })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::inbox::inbox;

    #[test]
    fn who_joins_late_hears_how_the_link_is_and_who_left_hears_nothing() {
        let (members, status) = (Members::default(), Status::default());
        let now = Moment { boot: 1, monotonic_ns: 5, wall: None };
        let ((a_sender, a), (b_sender, b)) = (inbox("a".into(), 0), inbox("b".into(), 0));
        members.join(a_sender, now, &status);
        assert!(a.is_empty(), "not yet tried");
        members.tell(LinkState::Up, now, &status);
        members.join(b_sender, now, &status);
        for (inbox, name) in [(&a, "a"), (&b, "b")] {
            assert_eq!(inbox.try_recv().map(|(_, event)| event), Some(Event::ModbusLink(LinkState::Up)), "{name}");
            assert!(status.instance(name, |i| i.link_up));
        }
        members.leave("a");
        members.tell(LinkState::Down, now, &status);
        assert!(a.is_empty() && !b.is_empty() && !members.is_empty());
        members.leave("b");
        assert!(members.is_empty());
    }
}
