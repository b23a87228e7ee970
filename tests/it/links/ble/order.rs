//! What a peripheral says from several characteristics reaches its plugin in the order in which it was said, and also what has no bytes.

use super::*;

const CONTEXT: u16 = 0x2a34;
const RECORDS: u16 = 12;
const DIARY: &str = "diary=12:diary-1:F0:00:00:00:05:01";
const DIARY_ADDRESS: &str = "F0:00:00:00:05:01";
/// More than its whole memory, each record with its context, and the answer.
const ALL_AT_ONCE: &str = "together diary-1 100";

/// The characteristics from which so many values come next.
async fn next(one: &One, n: usize) -> Vec<u16> {
    let mut from = Vec::new();
    while from.len() < n {
        if let Event::BleNotified(handle, _) | Event::BleIndicated(handle, _) = one.event().await {
            from.extend(one.found.iter().find(|c| c.handle == handle).map(short));
        }
    }
    from
}

/// A record, its context, the next record: each comes over a socket of its own, and the answer that ends the report over none.
fn as_said() -> Vec<u16> {
    (0..RECORDS).flat_map(|_| [RECORD, CONTEXT]).chain([CONTROL_POINT]).collect()
}

//= PROMISES.md#P345
#[tokio::test]
async fn what_comes_from_several_characteristics_at_once_is_told_in_the_order_in_which_it_was_said() {
    let mut air = Air::with("order", &[DIARY]);
    let mut one = air.join("bed-1", &grant(DIARY_ADDRESS));
    one.is_up().await;
    for uuid in [CONTEXT, RECORD, CONTROL_POINT] {
        one.subscribes(uuid).await;
    }
    air.order(ALL_AT_ONCE);
    one.start(What::Write { handle: one.handle_of(CONTROL_POINT), bytes: vec![1, 1], with_response: true });
    assert_eq!(next(&one, as_said().len()).await, as_said());
}

/// The word of a lost link may come before what was said on it is read.
//= PROMISES.md#P345
#[tokio::test]
async fn what_was_said_last_before_the_link_was_lost_is_told_in_its_order_too() {
    let mut air = Air::with("order-last", &[DIARY]);
    let mut one = air.join("bed-1", &grant(DIARY_ADDRESS));
    one.is_up().await;
    for uuid in [CONTEXT, RECORD] {
        one.subscribes(uuid).await;
    }
    air.order(ALL_AT_ONCE);
    assert_eq!(one.writes(CONTROL_POINT, &[1, 1]).await, Ok(vec![]));
    let mut from = Vec::new();
    while air.sent("diary-1", CONTEXT).len() < RECORDS.into() {
        std::thread::sleep(Duration::from_millis(LOOK_MS)); // nothing is read meanwhile
        tokio::task::yield_now().await;
    }
    air.order("forget diary-1");
    loop {
        match one.event().await {
            DOWN => break,
            Event::BleNotified(handle, _) => from.extend(one.found.iter().find(|c| c.handle == handle).map(short)),
            _ => {}
        }
    }
    assert_eq!(from, as_said()[..from.len()]);
    assert_eq!(from.len(), 2 * usize::from(RECORDS), "each of them");
}

/// ATT allows it, and a socket that has ended reads alike.
//= PROMISES.md#P346
#[tokio::test]
async fn a_value_of_no_bytes_is_a_value_and_no_end() {
    let mut air = Air::with("blank", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("blank belt-1");
    air.order("blank belt-1");
    air.order("on");
    let heard = one.hears(RATE, 5).await;
    assert_eq!(heard, air.sent("belt-1", RATE)[..5]);
    assert!(heard[..2].iter().all(String::is_empty) && !heard[2].is_empty(), "{heard:?}");
    assert_eq!(air.link("bed-1").reconnects, 0);
}
