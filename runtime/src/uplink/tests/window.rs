//! What is on its way, and when it goes again.

use std::time::Duration;

use wardgate_wire::BatchKey;
use wardgate_wire::Class::{Alert, Numeric};

use super::key;
use crate::uplink::lanes::Rank;
use crate::uplink::window::{REPEATS_UNHEARD_MAX, Window};

const RESEND: Duration = Duration::from_secs(15);
const WAVE: Rank = Rank::Backlog;
const LIVE_ALERT: Rank = Rank::Live(Alert);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn batch(sequence: u32) -> BatchKey {
    key(1, 0, Numeric, sequence)
}

/// Begun, handed over, written and taken at one moment.
fn sent(window: &mut Window, key: BatchKey, pkid: u16, now: Duration) -> bool {
    let again = window.begin(key, 100, 1, now);
    window.hand(key, 100, now);
    assert!(window.written(pkid));
    assert_eq!(window.taken(pkid, now), Some((key, true)));
    again
}

fn due(window: &Window, now: Duration) -> Vec<u32> {
    window.due(now).map(|key| key.sequence).collect()
}

#[test]
fn messages_and_bytes_are_bounded_until_the_receiver_speaks() {
    let mut window = Window::new(4, 250, RESEND);
    assert!(window.room(WAVE, 1_000_000), "one that is larger than the window goes alone");
    sent(&mut window, batch(0), 1, at(0));
    sent(&mut window, batch(1), 2, at(0));
    assert!(window.room(WAVE, 50) && !window.room(WAVE, 51), "bytes");
    sent(&mut window, key(1, 0, Numeric, 2), 3, at(0));
    assert!(!window.room(WAVE, 0) && window.room(LIVE_ALERT, 10_000), "the last message is the alert's, whatever it weighs");
    sent(&mut window, key(1, 0, Alert, 0), 4, at(0));
    assert!(!window.room(LIVE_ALERT, 1), "and that is all");
    assert_eq!(window.in_flight(), 0, "the broker took everything, and it frees nothing");
    assert_eq!(window.retain(|key| key.sequence != 1 || key.class == Alert), [batch(1)]);
    assert!(window.room(LIVE_ALERT, 1));
}

#[test]
fn a_batch_in_parts_weighs_what_is_in_the_air_and_all_of_it_when_it_is_complete() {
    let mut window = Window::new(16, 250, RESEND);
    window.begin(batch(0), 900, 9, at(0));
    for part in 1..=8 {
        window.hand(batch(0), 100, at(0));
        assert!(window.room(WAVE, 150) && !window.room(WAVE, 151));
        assert!(window.written(part));
        assert_eq!(window.taken(part, at(0)), Some((batch(0), false)));
        assert!(window.room(WAVE, 10_000), "nothing is in the air");
    }
    window.hand(batch(0), 100, at(0));
    assert!(window.written(9));
    assert_eq!(window.taken(9, at(0)), Some((batch(0), true)));
    assert!(!window.room(WAVE, 0) && window.room(LIVE_ALERT, 100), "now the receiver owes an answer");
    assert_eq!(window.retain(|_| false), [batch(0)]);
    assert!(window.room(WAVE, 250));
}

#[test]
fn one_unwritten_message_at_a_time_and_never_more_in_flight_than_allowed() {
    let mut window = Window::new(16, 1 << 20, RESEND);
    window.narrow(3);
    window.begin(batch(0), 100, 10, at(0));
    for pkid in 1..=2 {
        assert!(window.slot(WAVE));
        window.hand(batch(0), 100, at(0));
        assert!(!window.slot(WAVE) && !window.slot(LIVE_ALERT), "not written yet");
        assert!(window.written(pkid));
    }
    assert!(!window.slot(WAVE) && window.slot(LIVE_ALERT));
    window.begin(key(1, 0, Alert, 0), 10, 1, at(0));
    window.hand(key(1, 0, Alert, 0), 100, at(0));
    assert!(window.written(3));
    assert!(!window.slot(LIVE_ALERT));
    assert_eq!(window.in_flight(), 3);
    assert_eq!(window.taken(1, at(1)), Some((batch(0), false)), "nine of its ten messages are still to come");
    assert!(!window.slot(WAVE) && window.slot(LIVE_ALERT));
}

#[test]
fn an_identifier_in_use_and_one_that_nobody_waits_for_are_noticed() {
    let mut window = Window::new(16, 1 << 20, RESEND);
    assert!(!window.written(1), "nothing was handed over");
    window.begin(batch(0), 1, 2, at(0));
    window.hand(batch(0), 100, at(0));
    assert!(window.written(1));
    window.hand(batch(0), 100, at(0));
    assert!(!window.written(1), "in use");
    assert_eq!(window.taken(9, at(0)), None);
}

#[test]
fn a_batch_goes_again_when_the_receiver_is_silent_and_not_before_the_broker_took_it() {
    let mut window = Window::new(16, 1 << 20, RESEND);
    window.begin(batch(0), 1, 1, at(0));
    window.hand(batch(0), 100, at(0));
    assert!(window.written(1));
    assert_eq!((due(&window, at(100)), window.next_due()), (vec![], None), "the connection is slow, not the receiver");
    window.taken(1, at(50));
    assert_eq!((due(&window, at(64)), window.next_due()), (vec![], Some(at(65))));
    assert_eq!(due(&window, at(65)), [0]);
    assert!(sent(&mut window, batch(0), 2, at(66)), "it is known as a repeat");
    assert_eq!((due(&window, at(80)), due(&window, at(81))), (vec![], vec![0]));
}

#[test]
fn a_receiver_that_stays_away_is_asked_with_one_batch_at_a_time() {
    let mut window = Window::new(100, 1 << 20, RESEND);
    for sequence in 0..20 {
        sent(&mut window, batch(sequence), sequence as u16 + 1, at(0));
    }
    let mut repeats = Vec::new();
    for second in 0..100 {
        while let Some(sequence) = due(&window, at(second)).first().copied() {
            assert!(sent(&mut window, batch(sequence), sequence as u16 + 1, at(second)));
            repeats.push(second);
        }
    }
    let burst = REPEATS_UNHEARD_MAX as usize;
    assert!(repeats[..burst].iter().all(|second| *second == 15));
    assert_eq!(repeats[burst..], [30, 45, 60, 75, 90]);
    assert_eq!(window.next_due(), Some(at(105)));
    window.heard();
    assert!(due(&window, at(100)).len() > 10, "it is back: all that is late may go");
}

#[test]
fn the_broker_owes_an_answer_from_the_first_message_or_the_last_answer_on() {
    let mut window = Window::new(16, 1 << 20, RESEND);
    assert_eq!(window.waiting_since(), None);
    window.begin(batch(0), 1, 3, at(5));
    for (pkid, now) in [(1, 5), (2, 9), (3, 9)] {
        window.hand(batch(0), 100, at(now));
        assert_eq!(window.waiting_since(), Some(at(5)));
        assert!(window.written(pkid));
    }
    window.taken(1, at(20));
    assert_eq!(window.waiting_since(), Some(at(20)));
    window.taken(2, at(21));
    window.taken(3, at(22));
    assert_eq!(window.waiting_since(), None, "nothing is owed");
    window.hand(batch(0), 100, at(90));
    assert_eq!(window.waiting_since(), Some(at(90)), "the silence before it does not count");
}

#[test]
fn what_the_receiver_has_frees_the_window_whatever_the_broker_says() {
    let mut window = Window::new(3, 250, RESEND);
    window.begin(batch(0), 200, 1, at(0));
    window.hand(batch(0), 100, at(0));
    assert!(window.written(1));
    assert_eq!(window.retain(|_| false), [batch(0)]);
    assert!(window.room(WAVE, 150) && !window.room(WAVE, 151), "what is in the air weighs until it is down");
    assert_eq!(window.taken(1, at(1)), None, "its PUBACK comes late and is about nothing");
    assert_eq!(window.in_flight(), 0);
}
