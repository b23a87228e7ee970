//! How an instance's wishes go on to a link, and how it learns of those that do not: the same for every link.

use std::fmt::Display;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::inbox::{self, Answer};
use super::once::Once;
use super::quota::Quota;
use super::{Clock, Flooded, REFUSED_WAITING_MAX};
use crate::contract::Event;
use crate::status::Status;

/// One for each instance and link.
pub(super) struct Gate {
    /// As status calls it.
    link: String,
    inbox: inbox::Sender,
    open: Quota,
    refused: Quota,
    logged: Once,
    clock: Clock,
    status: Status,
}

impl Gate {
    /// `most`: how many wishes may be open, until their answers were taken from the inbox.
    pub(super) fn new(link: String, most: usize, inbox: inbox::Sender, clock: Clock, status: Status) -> Self {
        let (open, refused) = (Quota::new(most), Quota::new(REFUSED_WAITING_MAX));
        Self { link, inbox, open, refused, logged: Once::default(), clock, status }
    }

    pub(super) fn inbox(&self) -> &inbox::Sender {
        &self.inbox
    }

    /// One that is granted: `made` of the room for its answer it goes to the owner of the link. Where it cannot go, it is answered so.
    pub(super) fn pass<T>(
        &self,
        owner: &mpsc::Sender<T>,
        made: impl FnOnce(Answer) -> T,
        over_rate: Event,
        link_down: Event,
    ) -> Result<(), Flooded> {
        let Some(answer) = self.inbox.answer(&self.open) else { return self.refuse(over_rate) };
        match owner.try_send(made(answer)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => self.refuse(over_rate),
            Err(TrySendError::Closed(_)) => self.answer(link_down), // the gateway is going down
        }
    }

    /// One that no grant permits. `on`: the link, in words.
    pub(super) fn forbid(&self, on: impl Display, why: &impl Display, answer: Event) -> Result<(), Flooded> {
        let text = why.to_string();
        if self.logged.is_new(&text) {
            // one sentence, its end ready to be pasted into gateway.toml
            tracing::warn!("\"{}\" on {on} {text}", self.inbox.instance());
        }
        self.refuse(answer)
    }

    fn refuse(&self, answer: Event) -> Result<(), Flooded> {
        self.status.instance(self.inbox.instance(), |i| i.refusals += 1);
        self.status.link(&self.link, |l| l.refused += 1);
        self.answer(answer)
    }

    /// Nobody forbids it, and it cannot be: so learns whoever asked.
    pub(super) fn answer(&self, answer: Event) -> Result<(), Flooded> {
        self.inbox.answer(&self.refused).ok_or(Flooded)?.give((self.clock)(), answer);
        Ok(())
    }
}
