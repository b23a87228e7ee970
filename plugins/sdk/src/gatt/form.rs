//! How a device's samples are coded, where it tells that once on each link: what was not told, or is not known, is never guessed.

use std::ops::Range;

use super::{Peer, name};
use crate::{Channel, Health, Level, Missing, Outbox};

/// `T`: a format, a codec, an interval.
#[derive(Debug)]
pub struct Form<T> {
    /// In words: "the belt's format".
    what: &'static str,
    /// Who tells it.
    from: u128,
    /// Of a device that has no such characteristic.
    usual: T,
    /// On this link. `None` within: another than those that are known here.
    told: Option<Option<T>>,
    /// That its messages are dropped was said.
    drops: bool,
}

impl<T: Copy> Form<T> {
    pub fn new(what: &'static str, from: u128, usual: T) -> Self {
        Self { what, from, usual, told: None, drops: false }
    }

    /// The link is gone: the next device may be another.
    pub fn forget(&mut self) {
        (self.told, self.drops) = (None, false);
    }

    pub fn tell(&mut self, number: u32, form: Option<T>, peer: &mut Peer, out: &mut Outbox) {
        (self.told, self.drops) = (Some(form), false);
        if form.is_none() {
            peer.report(Health::Degraded, &format!("{} {number} is not known here: what it sends is dropped", self.what), out);
        }
    }

    /// Everything was read that can be.
    pub fn ready(&self, peer: &mut Peer, out: &mut Outbox) {
        if self.told.is_none() && peer.handle(self.from).is_some() {
            let detail = format!("{} ({}) could not be read: what it sends is dropped", self.what, name(self.from));
            out.log(Level::Warn, &detail);
            peer.report(Health::Degraded, &detail, out);
        }
    }

    /// The form of a message. `None`: it is not known, which is said once, on these channels.
    pub fn of(&mut self, peer: &Peer, channels: Range<Channel>, out: &mut Outbox) -> Option<T> {
        let form = self.told.unwrap_or_else(|| peer.handle(self.from).is_none().then_some(self.usual));
        if form.is_none() && !std::mem::replace(&mut self.drops, true) {
            channels.for_each(|channel| out.missed(channel, None, Missing::Unknown));
        }
        form
    }
}
