//! Who is served next: the requests that wait, one queue an instance, and the one under way. Knows neither sockets nor clocks.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::grant::BROADCAST;
use super::handle::{Ask, What};
use super::settings::Protocol;
use crate::capability::inbox::{Answer, Sender};
use crate::contract::modbus::{Failure, Request, Response};
use crate::contract::types::{Moment, Tag};
use crate::contract::{Event, Frame};

/// Instances take turns, one request each, however many each has waiting: a greedy one, or one whose server is dead, costs the others
/// one transaction (or one timeout) between two of their own and never more.
#[derive(Default)]
pub(super) struct Desk {
    queues: Vec<Queue>,
    /// Index behind the queue that was served last, perhaps of one still to come.
    turn: usize,
    under_way: Option<UnderWay>,
}

struct Queue {
    instance: Arc<str>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    tag: Tag,
    job: Job,
    answer: Answer,
}

/// One request, as it goes to the line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) server: u8,
    pub(super) request: Request,
    /// As the grant says: a wrong checksum of the documented kind is taken.
    pub(super) quirk: bool,
    /// As the site says: what goes over the bus for it is wanted, byte for byte.
    pub(super) keep_raw: bool,
    pub(super) since: Instant,
}

impl Job {
    /// To all servers of a serial line at once: none of them answers. Over TCP 0 is a server like another.
    pub(super) fn is_broadcast(&self, protocol: Protocol) -> bool {
        self.server == BROADCAST && protocol != Protocol::Tcp
    }
}

struct UnderWay {
    instance: Arc<str>,
    inbox: Sender,
    tag: Tag,
    /// None: cancelled meanwhile. The device answers all the same, and nobody gets it.
    answer: Option<Answer>,
}

impl Desk {
    pub(super) fn take(&mut self, ask: Ask, since: Instant, now: Moment) {
        let Ask { instance, tag, what } = ask;
        self.cancel(&instance, tag, now); // an open tag used again cancels the older request, as the contract says
        if let What::Submit { server, request, quirk, keep_raw, answer } = what {
            let one = Waiting { tag, job: Job { server, request, quirk, keep_raw, since }, answer };
            match self.queues.iter_mut().find(|q| q.instance == instance) {
                Some(queue) => {
                    queue.waiting.retain(|w| !w.answer.is_stale());
                    queue.waiting.push_back(one);
                }
                None => self.queues.push(Queue { instance, waiting: VecDeque::from([one]) }),
            }
        }
    }

    fn cancel(&mut self, instance: &Arc<str>, tag: Tag, now: Moment) {
        if let Some(one) = self.under_way.as_mut().filter(|u| u.instance == *instance && u.tag == tag)
            && let Some(answer) = one.answer.take()
        {
            answer.give(now, Event::ModbusReply(tag, Err(Failure::Cancelled)));
        }
        let Some(queue) = self.queues.iter_mut().find(|q| q.instance == *instance) else { return };
        while let Some(at) = queue.waiting.iter().position(|w| w.tag == tag) {
            let one = queue.waiting.remove(at).expect("just found");
            one.answer.give(now, Event::ModbusReply(tag, Err(Failure::Cancelled)));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.waiting.is_empty())
    }

    /// The request whose turn it is; from here on it is under way. One whose server is held back keeps its place, and those of its
    /// instance behind it.
    pub(super) fn next(&mut self, held_back: impl Fn(u8) -> bool) -> Option<Job> {
        let n = self.queues.len();
        for at in (0..n).map(|k| (self.turn + k) % n) {
            self.queues[at].waiting.retain(|w| !w.answer.is_stale()); // whoever asked was opened anew
            if let Some(one) = self.queues[at].waiting.pop_front_if(|w| !held_back(w.job.server)) {
                self.turn = at + 1;
                let (instance, inbox) = (self.queues[at].instance.clone(), one.answer.inbox().clone());
                self.under_way = Some(UnderWay { instance, inbox, tag: one.tag, answer: Some(one.answer) });
                return Some(one.job);
            }
        }
        None
    }

    /// What went over the line for the request under way, ahead of its answer. None: nobody keeps it.
    pub(super) fn keep(&self, now: Moment, frames: Vec<Frame>) -> Option<()> {
        self.under_way.as_ref().filter(|u| u.inbox.frames(now, frames)).map(|_| ())
    }

    /// Whose request is under way.
    pub(super) fn whose(&self) -> Option<&Arc<str>> {
        self.under_way.as_ref().map(|u| &u.instance)
    }

    /// The request under way has ended.
    pub(super) fn finish(&mut self, now: Moment, outcome: Result<Response, Failure>, questionable: bool) {
        if let Some(UnderWay { tag, answer: Some(answer), .. }) = self.under_way.take() {
            answer.give(
                now,
                match outcome {
                    Ok(response) if questionable => Event::ModbusQuestionable(tag, response),
                    outcome => Event::ModbusReply(tag, outcome),
                },
            );
        }
    }

    /// There is no link: those that have waited since `before` or longer learn it.
    pub(super) fn give_up(&mut self, before: Instant, now: Moment) {
        for queue in &mut self.queues {
            while let Some(one) = queue.waiting.pop_front_if(|w| w.job.since <= before) {
                one.answer.give(now, Event::ModbusReply(one.tag, Err(Failure::LinkDown)));
            }
        }
    }

    /// When the request that has waited longest began to.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.queues.iter().filter_map(|q| q.waiting.front()).map(|w| w.job.since).min()
    }
}

#[cfg(test)]
mod tests;
