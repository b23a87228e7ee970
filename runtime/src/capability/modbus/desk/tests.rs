//! Tests of the turns.

use std::time::Duration;

use super::*;
use crate::capability::inbox::{Inbox, Sender, inbox};
use crate::capability::quota::Quota;
use crate::contract::modbus::Span;

fn now() -> Moment {
    Moment { boot: 1, monotonic_ns: 1, wall: None }
}

struct Member {
    tx: Sender,
    rx: Inbox,
    open: Quota,
}

impl Member {
    fn new(name: &str) -> Self {
        let (tx, rx) = inbox(name.into(), 0);
        Self { tx, rx, open: Quota::new(1000) }
    }

    fn submit(&self, desk: &mut Desk, tag: Tag, since: Instant) {
        let answer = self.tx.answer(&self.open).unwrap();
        let request = Request::ReadCoils(Span { address: tag as u16, count: 1 });
        let what = What::Submit { server: self.tx.instance().len() as u8, request, quirk: false, keep_raw: false, answer };
        desk.take(Ask { instance: self.tx.instance().clone(), tag, what }, since, now());
    }

    fn cancel(&self, desk: &mut Desk, tag: Tag, since: Instant) {
        let room = self.open.take(0).unwrap();
        desk.take(Ask { instance: self.tx.instance().clone(), tag, what: What::Cancel { _room: room } }, since, now());
    }

    fn replies(&self) -> Vec<(Tag, Result<Response, Failure>)> {
        let reply = |(_, event)| match event {
            Event::ModbusReply(tag, outcome) => (tag, outcome),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.rx.try_recv()).map(reply).collect()
    }
}

/// Serves the next one; says whose turn it was (by the length of its name) and for which tag.
fn serve(desk: &mut Desk) -> Option<(u8, u16)> {
    let job = desk.next(|_| false)?;
    desk.finish(now(), Ok(Response::Written), false);
    let Request::ReadCoils(span) = job.request else { panic!() };
    Some((job.server, span.address))
}

#[test]
fn instances_take_turns_however_many_each_has_waiting() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let (greedy, modest, late) = (Member::new("g"), Member::new("mm"), Member::new("lll"));
    (0..6).for_each(|tag| greedy.submit(&mut desk, tag, t));
    modest.submit(&mut desk, 10, t);
    modest.submit(&mut desk, 11, t);
    assert_eq!([serve(&mut desk), serve(&mut desk)], [Some((1, 0)), Some((2, 10))]);
    late.submit(&mut desk, 20, t);
    let rest: Vec<_> = std::iter::from_fn(|| serve(&mut desk)).collect();
    assert_eq!(rest, [(3, 20), (1, 1), (2, 11), (1, 2), (1, 3), (1, 4), (1, 5)]);
    assert!(desk.is_empty());
    assert_eq!(modest.replies().len(), 2);
}

#[test]
fn a_cancelled_request_is_answered_so_once_wherever_it_stands() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let m = Member::new("m");
    m.submit(&mut desk, 1, t);
    m.submit(&mut desk, 2, t);
    m.submit(&mut desk, 3, t);
    assert!(desk.next(|_| false).is_some());
    m.cancel(&mut desk, 1, t); // under way: the device will answer, and nobody hears it
    m.cancel(&mut desk, 2, t);
    m.cancel(&mut desk, 2, t);
    m.cancel(&mut desk, 99, t);
    desk.finish(now(), Ok(Response::Written), false);
    assert_eq!(serve(&mut desk), Some((1, 3)));
    m.cancel(&mut desk, 3, t); // too late
    assert_eq!(m.replies(), [(1, Err(Failure::Cancelled)), (2, Err(Failure::Cancelled)), (3, Ok(Response::Written))]);
}

#[test]
fn an_open_tag_used_again_cancels_the_older_request() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let (m, other) = (Member::new("m"), Member::new("oo"));
    m.submit(&mut desk, 1, t);
    other.submit(&mut desk, 1, t); // another instance's tag is another tag
    m.submit(&mut desk, 1, t);
    assert_eq!([serve(&mut desk), serve(&mut desk), serve(&mut desk)], [Some((1, 1)), Some((2, 1)), None]);
    assert_eq!(m.replies(), [(1, Err(Failure::Cancelled)), (1, Ok(Response::Written))]);
    assert_eq!(other.replies(), [(1, Ok(Response::Written))]);
}

#[test]
fn without_a_link_those_who_waited_long_enough_learn_it_and_the_others_wait_on() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let s = Duration::from_secs(1);
    let m = Member::new("m");
    m.submit(&mut desk, 1, t);
    m.submit(&mut desk, 2, t + s);
    assert_eq!(desk.oldest(), Some(t));
    desk.give_up(t, now());
    assert_eq!(m.replies(), [(1, Err(Failure::LinkDown))]);
    assert_eq!(desk.oldest(), Some(t + s));
}

#[test]
fn nobody_is_asked_for_an_instance_that_was_opened_anew() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let m = Member::new("m");
    m.submit(&mut desk, 1, t);
    m.submit(&mut desk, 2, t);
    assert!(desk.next(|_| false).is_some());
    m.rx.reopen(now());
    m.submit(&mut desk, 3, t);
    desk.finish(now(), Ok(Response::Written), false); // the answer to tag 1 of the run before
    assert_eq!(serve(&mut desk), Some((1, 3)));
    assert_eq!(m.replies(), [(3, Ok(Response::Written))]);
}

#[test]
fn a_request_to_a_server_that_is_held_back_keeps_its_place_and_the_others_go_on() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let (one, two) = (Member::new("m"), Member::new("oo"));
    one.submit(&mut desk, 1, t);
    one.submit(&mut desk, 2, t);
    two.submit(&mut desk, 3, t);
    assert_eq!(desk.next(|server| server == 1).map(|job| job.server), Some(2));
    desk.finish(now(), Ok(Response::Written), false);
    assert_eq!(desk.next(|server| server == 1), None);
    assert_eq!([serve(&mut desk), serve(&mut desk)], [Some((1, 1)), Some((1, 2))]);
}

#[test]
fn a_questionable_answer_is_told_as_such() {
    let (mut desk, t) = (Desk::default(), Instant::now());
    let m = Member::new("m");
    m.submit(&mut desk, 1, t);
    assert!(desk.next(|_| false).is_some());
    desk.finish(now(), Ok(Response::Written), true);
    assert_eq!(m.rx.try_recv().map(|(_, event)| event), Some(Event::ModbusQuestionable(1, Response::Written)));
}
