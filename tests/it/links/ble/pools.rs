//! A pool in which one cannot be used: it is named, and the next has its turn.

use super::*;

const NEAR: &str = "belt:belt-1:F0:00:00:00:01:01";
const NEAR_ADDRESS: &str = "F0:00:00:00:01:01";
const FAR: &str = "belt:belt-2:F0:00:00:00:01:02";
const FAR_ADDRESS: &str = "F0:00:00:00:01:02";

fn pool() -> BleGrant {
    BleGrant { address: None, pool: Some(BlePool { service: Some("180d".into()), ..BlePool::default() }), ..grant("") }
}

impl One {
    async fn is(&self, serial: &str) {
        assert_eq!(self.ask(What::Read(self.handle_of(SERIAL_NUMBER))).await, Ok(serial.as_bytes().to_vec()));
    }
}

//= PROMISES.md#P347
#[tokio::test]
async fn a_pool_takes_the_next_where_the_nearest_never_tells_its_services() {
    let mut air = Air::with("pool-opaque", &[NEAR, FAR]);
    air.order("opaque belt-1");
    air.order("rssi belt-1 -30");
    air.order("rssi belt-2 -70");
    let mut one = air.join("bed-1", &pool());
    air.complains("bed-1", &format!("{NEAR_ADDRESS}: its services were not known within 30 s: switch it off and on")).await;
    one.is_up().await;
    one.is("SN-belt-2").await;
    // and where it is the only one, it is tried all the same
    air.order("clear belt-1");
    air.order("forget belt-2");
    one.is_up().await;
    one.is("SN-belt-1").await;
}

//= PROMISES.md#P347
#[tokio::test]
async fn a_pool_takes_the_next_where_the_bond_of_the_nearest_does_not_count() {
    let devices = [NEAR, FAR].map(|text| device(text).unwrap());
    let mut air = Air::under("pool-bonds", devices.into(), Pairing::JustWorks);
    let never = std::sync::Arc::new(|_| unreachable!("it just works"));
    air.person_under(Pairing::JustWorks).await.pair(FAR_ADDRESS, None, never.clone()).await.unwrap();
    air.order("bond belt-1"); // by another program
    air.order("rssi belt-1 -30");
    air.order("rssi belt-2 -70");
    assert_eq!(air.person_under(Pairing::JustWorks).await.scan(1).await.unwrap().len(), 2, "both are near, and heard as that");
    let mut one = air.join("bed-1", &BleGrant { bonded: true, ..pool() });
    air.complains("bed-1", &format!("{NEAR_ADDRESS} is bonded with this machine, and not by `wardgate ble pair`")).await;
    one.is_up().await;
    one.is("SN-belt-2").await;
    // a person mends that: it is the nearest again
    let person = air.person_under(Pairing::JustWorks).await;
    person.forget(NEAR_ADDRESS).await.unwrap();
    person.pair(NEAR_ADDRESS, None, never).await.unwrap();
    air.order("rssi belt-1 -30");
    air.order("vanish belt-2");
    one.is_up().await;
    one.is("SN-belt-1").await;
}

/// One that is heard is of use, however short its link was, and whoever ended that: the pool stays with it, and no link is left to nobody.
//= PROMISES.md#P347
#[tokio::test]
async fn a_pool_stays_with_a_device_that_speaks_whatever_becomes_of_its_link() {
    let mut air = Air::with("pool-speaks", &[NEAR, FAR]);
    air.order("rssi belt-1 -30");
    air.order("rssi belt-2 -80");
    air.order("on");
    let mut one = air.join("bed-1", &pool());
    one.is_up().await;
    one.subscribes(RATE).await;
    one.hears(RATE, 2).await;
    air.order("deafen belt-1");
    one.goes_down().await;
    air.complains("bed-1", &format!("{NEAR_ADDRESS}: BlueZ ended a subscription")).await;
    one.is_up().await;
    one.is("SN-belt-1").await;
    assert_eq!(air.bluez.links("belt-1"), Some(2), "the link that BlueZ left it was ended, and another made");
    one.subscribes(RATE).await;
    one.hears(RATE, 2).await;
    air.order("vanish belt-1");
    one.goes_down().await;
    air.order("return belt-1");
    one.is_up().await;
    one.is("SN-belt-1").await;
    assert_eq!(air.bluez.links("belt-2"), Some(0));
}

/// However long it took to connect: only how long the link then stood counts.
//= PROMISES.md#P347
#[tokio::test]
async fn a_pool_takes_the_next_where_the_nearest_is_slow_to_connect_and_lost_at_once() {
    let mut air = Air::with("pool-brief", &[NEAR, FAR]);
    air.order("opaque belt-1");
    air.order("rssi belt-1 -30");
    air.order("rssi belt-2 -80");
    let mut one = air.join("bed-1", &pool());
    while air.bluez.links("belt-1") == Some(0) {
        tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
    }
    tokio::time::sleep(Duration::from_secs(11)).await; // longer than the longest pause between two tries
    air.order("clear belt-1");
    one.is_up().await;
    one.is("SN-belt-1").await;
    air.order("vanish belt-1");
    one.goes_down().await;
    air.order("return belt-1");
    one.is_up().await;
    one.is("SN-belt-2").await;
}

//= PROMISES.md#P347
#[tokio::test]
async fn a_pool_takes_the_next_where_the_nearest_says_nothing() {
    let mut air = Air::with("pool-silent", &[NEAR, FAR]);
    air.status.instance("bed-1", |i| i.silent_after_s = 4); // so that the link stands for a while
    air.order("rssi belt-1 -30");
    air.order("rssi belt-2 -80");
    let mut one = air.join("bed-1", &pool());
    one.is_up().await;
    one.is("SN-belt-1").await;
    one.subscribes(RATE).await;
    one.goes_down().await;
    air.complains("bed-1", &format!("{NEAR_ADDRESS}: it was subscribed to and said nothing for 12 s")).await;
    one.is_up().await;
    one.is("SN-belt-2").await;
}
