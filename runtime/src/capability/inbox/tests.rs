//! Tests of the inbox.

use super::*;
use crate::contract::modbus::Failure;
use crate::contract::types::LinkState;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Moment {
    Moment { boot: 1, monotonic_ns: ms * MS, wall: None }
}

fn of(bytes_max: usize) -> (Sender, Inbox) {
    inbox("bed-1".into(), bytes_max)
}

fn all(inbox: &Inbox) -> Vec<(u64, Event)> {
    std::iter::from_fn(|| inbox.try_recv()).map(|(m, e)| (m.monotonic_ns / MS, e)).collect()
}

fn received(bytes: &[u8]) -> Event {
    Event::SerialReceived(bytes.to_vec())
}

const OVERRUN: Event = Event::SerialFaulted(LineFault::Overrun);
const UP: Event = Event::SerialLink(LinkState::Up);
const DOWN: Event = Event::SerialLink(LinkState::Down);

#[test]
fn pieces_join_while_they_wait_only_if_close_in_time_and_short() {
    let (tx, rx) = of(10_000);
    tx.bytes(at(0), b"ab");
    tx.bytes(at(5), b"cd");
    tx.bytes(at(6), b"ef"); // 6 ms after the first byte of the piece before
    tx.fault(at(7), LineFault::Parity);
    tx.bytes(at(7), b"gh");
    tx.bytes(at(8), &[1; PIECE_BYTES_MAX]);
    assert_eq!(
        all(&rx),
        [
            (5, received(b"abcd")),
            (6, received(b"ef")),
            (7, Event::SerialFaulted(LineFault::Parity)),
            (7, received(b"gh")),
            (8, received(&[1; PIECE_BYTES_MAX])),
        ]
    );
}

#[test]
fn an_overrun_drops_the_new_bytes_and_stands_once_where_they_are_missing() {
    let (tx, rx) = of(10);
    tx.bytes(at(0), b"12345");
    tx.bytes(at(10), b"67890");
    tx.bytes(at(20), b"x");
    tx.bytes(at(30), b"yz");
    assert_eq!((tx.overruns(), tx.bytes_lost()), (1, 3));
    assert_eq!(rx.try_recv().unwrap().1, received(b"12345"));
    tx.bytes(at(40), b"w"); // there is room again, but the hole is not yet told
    assert_eq!(all(&rx), [(10, received(b"67890")), (20, OVERRUN)]);
    tx.bytes(at(50), b"next");
    assert_eq!(all(&rx), [(50, received(b"next"))]);
    assert_eq!((tx.overruns(), tx.bytes_lost()), (1, 4));
}

#[test]
fn a_link_change_inside_the_hole_is_told_behind_it_in_its_place() {
    let (tx, rx) = of(4);
    tx.link(at(0), UP);
    tx.bytes(at(1), b"1234");
    tx.bytes(at(2), b"5");
    let open = Quota::new(2);
    tx.answer(&open).unwrap().give(at(3), Event::SerialWritten(1, Ok(())));
    tx.link(at(4), DOWN);
    tx.answer(&open).unwrap().give(at(5), Event::SerialWritten(2, Ok(())));
    tx.link(at(4), DOWN);
    let written = |tag| Event::SerialWritten(tag, Ok(()));
    assert_eq!(all(&rx), [(0, UP), (1, received(b"1234")), (2, OVERRUN), (3, written(1)), (4, DOWN), (5, written(2))]);
}

#[test]
fn answers_keep_their_permit_until_they_are_taken() {
    let (tx, rx) = of(0);
    let open = Quota::new(1);
    let reply = Event::ModbusReply(7, Err(Failure::Timeout));
    tx.answer(&open).unwrap().give(at(1), reply.clone());
    assert!(tx.answer(&open).is_none());
    assert_eq!(all(&rx), [(1, reply)]);
    assert!(tx.answer(&open).is_some());
}

#[test]
fn after_reopening_no_answer_of_the_old_run_arrives_the_link_is_told_anew_and_bytes_stay() {
    let (tx, rx) = of(8);
    let open = Quota::new(2);
    tx.link(at(0), UP);
    tx.bytes(at(1), b"old");
    tx.bytes(at(2), b"too many");
    let late = tx.answer(&open).unwrap();
    tx.answer(&open).unwrap().give(at(2), Event::SerialWritten(1, Ok(())));
    assert!(!late.is_stale());
    assert_eq!(rx.reopen(at(9)), at(1), "its time begins with what waits");
    assert!(late.is_stale());
    late.give(at(10), Event::SerialWritten(2, Ok(())));
    tx.bytes(at(11), b"new");
    let told = [(1, UP), (1, received(b"old")), (2, OVERRUN), (11, received(b"new"))];
    assert_eq!(all(&rx), told[..3], "what came behind the hole is lost as ever");
    tx.bytes(at(11), b"new");
    assert_eq!(all(&rx), told[3..]);
    assert!(tx.answer(&open).is_some());
}

#[test]
fn what_is_given_up_is_not_heard_and_leaves_room() {
    let (tx, rx) = of(8);
    let open = Quota::new(1);
    tx.link(at(0), UP);
    assert_eq!(rx.try_recv().unwrap().1, UP);
    tx.bytes(at(1), b"12345678");
    tx.fault(at(2), LineFault::Parity);
    tx.bytes(at(3), b"too many");
    tx.link(at(4), DOWN);
    tx.answer(&open).unwrap().give(at(5), Event::SerialWritten(1, Ok(())));
    rx.give_up_the_line();
    tx.bytes(at(6), b"abcdefgh");
    assert_eq!(all(&rx), [(4, DOWN), (5, Event::SerialWritten(1, Ok(()))), (6, received(b"abcdefgh"))]);
    tx.bytes(at(7), b"x");
    rx.give_up_the_line();
    assert_eq!(rx.reopen(at(9)), at(9), "nothing waits");
    assert_eq!(all(&rx), [(9, DOWN)]);
}

/// What two devices said on one link is told apart for a new run too: between their words it hears that the one went and the other came.
#[test]
fn after_reopening_a_change_of_the_link_stays_between_what_two_devices_said() {
    let (tx, rx) = of(1000);
    let (up, down) = (Event::BleLink(LinkState::Up), Event::BleLink(LinkState::Down));
    let found = |mtu| Event::BleDiscovered { mtu, found: vec![], who: None };
    let says = |byte| Event::BleNotified(1, vec![byte]);
    tx.link(at(0), down.clone());
    tx.link(at(0), up.clone());
    tx.discovered(at(1), found(1));
    tx.notified(at(2), says(1));
    tx.link(at(3), down.clone());
    tx.link(at(4), up.clone());
    tx.discovered(at(5), found(2));
    tx.notified(at(6), says(2));
    rx.reopen(at(9));
    let told: Vec<_> = all(&rx).into_iter().map(|(_, event)| event).collect();
    let newest = [up.clone(), found(2)];
    assert_eq!(told, [&newest[..], &[says(1), down, up, found(2), says(2)]].concat(), "the state as it is now, then what happened");
    rx.reopen(at(10));
    assert_eq!(all(&rx).into_iter().map(|(_, event)| event).collect::<Vec<_>>(), newest, "nothing waits, and the state is told anew");
}

#[test]
fn time_never_goes_back_for_the_plugin() {
    let (tx, rx) = of(8);
    tx.link(at(5), UP);
    tx.bytes(at(3), b"a");
    assert_eq!(all(&rx), [(5, UP), (5, received(b"a"))]);
}

#[test]
fn events_are_bounded_too_and_the_count_comes_back() {
    let (tx, rx) = of(usize::MAX);
    for n in 0..EVENTS_MAX as u64 + 10 {
        tx.link(at(n), if n % 2 == 0 { UP } else { DOWN });
    }
    assert_eq!(tx.tell(at(9999), Event::Close), Err(Full));
    let seen = all(&rx);
    assert_eq!(seen.len(), EVENTS_MAX + 2);
    assert_eq!(seen[EVENTS_MAX].1, OVERRUN);
    assert_eq!(seen[EVENTS_MAX + 1].1, DOWN, "the last state, not the first that was lost");
    assert_eq!(tx.tell(at(9999), Event::Close), Ok(()));
    assert_eq!(all(&rx), [(9999, Event::Close)]);
}

#[test]
fn the_same_fault_again_and_again_is_one() {
    let (tx, rx) = of(100);
    for n in 0..1000 {
        tx.fault(at(n), LineFault::Framing);
    }
    tx.bytes(at(1000), b"a");
    tx.fault(at(1001), LineFault::Framing);
    assert_eq!(all(&rx).len(), 3);
}

#[tokio::test]
async fn a_receiver_that_waits_is_woken() {
    let (tx, rx) = of(8);
    let (got, ()) = tokio::join!(rx.recv(), async {
        tokio::task::yield_now().await;
        tx.bytes(at(1), b"a");
    });
    assert_eq!(got.1, received(b"a"));
}

#[test]
fn a_filter_that_is_too_slow_loses_what_comes_then_and_hears_on_behind_the_mark() {
    let (tx, rx) = inbox("x".into(), 0);
    let block = |n: usize| {
        let at = crate::contract::types::DeviceTime::NotTold;
        let quality = crate::contract::types::Quality::empty();
        Event::FilterSampled(crate::contract::types::Waveform { channel: 0, first: n as u64, at, counts: vec![0; 1000], quality })
    };
    let fit = TAPPED_BYTES_MAX / tapped_bytes(&block(0));
    (0..fit + 10).for_each(|n| tx.tapped(at(n as u64), block(n)));
    (0..fit).for_each(|n| assert_eq!(rx.try_recv().expect("it fits").1, block(n)));
    assert_eq!((rx.try_recv().expect("the mark").1, tx.overruns()), (Event::FilterOverran, 1));
    assert!(rx.try_recv().is_none());
    tx.tapped(at(1), block(1));
    assert_eq!(rx.try_recv().expect("behind the mark").1, block(1));
    (0..fit).for_each(|n| tx.tapped(at(n as u64), block(n)));
    rx.reopen(at(0));
    (0..fit).for_each(|n| tx.tapped(at(n as u64), block(n)));
    assert_eq!(tx.overruns(), 1, "what waited for the run before takes no room");
}
