//! What is given up, asked for again and made anew where BlueZ or a peripheral does not do what was asked.

use super::*;

/// BlueZ may end a subscription without a word of the link: its services are read anew, say. Nothing would come any more, so the link is made anew.
#[tokio::test]
async fn a_peripheral_whose_subscription_bluez_ends_is_subscribed_to_again() {
    let mut air = Air::with("deaf", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("on");
    one.hears(RATE, 2).await;
    air.order("deafen belt-1");
    one.goes_down().await;
    air.complains("bed-1", "BlueZ ended a subscription").await;
    one.is_up().await;
    one.subscribes(RATE).await;
    one.hears(RATE, 2).await;
    assert_eq!(air.link("bed-1").reconnects, 1);
}

/// BlueZ closes the sockets of a lost link before it says that the link is lost: nobody is sent to look at BlueZ.
//= PROMISES.md#P348
#[tokio::test]
async fn a_lost_link_is_told_as_that_though_its_sockets_end_first() {
    let mut air = Air::with("told-lost", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("vanish belt-1");
    air.complains("bed-1", "the link is lost").await;
}

//= PROMISES.md#P205
/// What was subscribed to on a lost link BlueZ holds for a moment, and refuses it meanwhile.
#[tokio::test]
async fn what_bluez_holds_still_is_asked_for_again() {
    let mut air = Air::with("held", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    air.order("hold belt-1 3");
    one.subscribes(RATE).await;
    air.order("on");
    assert_eq!(one.hears(RATE, 3).await, air.sent("belt-1", RATE)[..3]);
    assert_eq!(air.link("bed-1").requests, 1, "for its plugin it was one request");
}

//= PROMISES.md#P205
/// What it holds for longer is not taken for a refusal by the peripheral: the link is made anew, and asked for again there.
#[tokio::test]
async fn what_bluez_goes_on_holding_is_asked_for_on_the_next_link() {
    let mut air = Air::with("held-on", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    air.order("hold belt-1 1000");
    assert_eq!(one.ask(What::Subscribe(one.handle_of(RATE))).await, Err(Failure::LinkDown), "no refusal");
    air.complains("bed-1", "BlueZ holds what it says").await;
    air.order("hold belt-1 0");
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("on");
    assert_eq!(one.hears(RATE, 3).await, air.sent("belt-1", RATE)[..3]);
}

/// One that was subscribed to and says nothing for three times as long as its plugin says is usual may be subscribed to no more, without a word of it: its link
/// is made anew, and each time in a row after twice as long.
//= PROMISES.md#P219
#[tokio::test]
async fn the_link_of_a_subscribed_peripheral_that_says_nothing_is_made_anew_and_ever_more_rarely() {
    let mut air = Air::with("says-nothing", &[BELT]);
    air.status.instance("bed-1", |i| i.silent_after_s = 1);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
    for quiet_s in [3, 6] {
        one.subscribes(RATE).await;
        let begun = clock().monotonic_ns;
        one.goes_down().await;
        assert!(clock().monotonic_ns - begun > (quiet_s - 1) * 1_000_000_000, "not before");
        assert!(air.link("bed-1").last_error.contains(&format!("said nothing for {quiet_s} s")), "{}", air.link("bed-1").last_error);
        one.is_up().await;
    }
    one.subscribes(RATE).await;
    air.order("on");
    assert_eq!(one.hears(RATE, 3).await, air.sent("belt-1", RATE)[..3]);
}

/// What it says counts when it comes, however late its plugin reads it: a link that is cut while it speaks is a gap, and hard on BlueZ.
//= PROMISES.md#P336
#[tokio::test]
async fn the_link_of_one_that_speaks_is_kept_though_its_plugin_has_read_nothing_yet() {
    let mut air = Air::with("unread", &[BELT]);
    air.status.instance("bed-1", |i| i.silent_after_s = 1); // and no plugin is there, which would say a value
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    air.order("on");
    one.subscribes(RATE).await;
    tokio::time::sleep(Duration::from_secs(7)).await; // more than twice as long as one may be silent
    let link = air.link("bed-1");
    assert!(link.up && link.reconnects == 0 && link.notifications > 2, "{link:#?}");
}

/// A peripheral that takes the connection and says nothing: it is given up, told, and tried again; nobody else waits for it.
#[tokio::test]
async fn a_connection_that_is_never_made_is_given_up_and_tried_again() {
    let mut air = Air::with("unmade", &[BELT, "oximeter:oximeter-1:F0:00:00:00:02:01"]);
    air.order("mute belt-1");
    let (mut one, mut other) = (air.join("bed-1", &grant(BELT_ADDRESS)), air.join("bed-2", &grant("F0:00:00:00:02:01")));
    other.is_up().await;
    air.complains("bed-1", "it does not answer: it is not near").await;
    assert_eq!(air.link("bed-1").timeouts, 1);
    air.order("unmute belt-1");
    one.is_up().await;
}

/// BlueZ 5.66 signals nothing of some connections: it is asked.
//= PROMISES.md#P337
#[tokio::test]
async fn a_connection_that_bluez_signals_to_nobody_is_noticed() {
    let mut air = Air::with("unsignalled", &[BELT]);
    air.order("unsignal belt-1");
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    air.order("on");
    one.subscribes(RATE).await;
    assert_eq!(one.hears(RATE, 3).await, air.sent("belt-1", RATE)[..3]);
}

#[tokio::test]
async fn services_that_are_never_known_are_given_up_and_the_link_is_made_again() {
    let mut air = Air::with("opaque", &[BELT]);
    air.order("opaque belt-1");
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    air.complains("bed-1", "its services were not known within 30 s").await;
    air.order("clear belt-1");
    one.is_up().await;
}
