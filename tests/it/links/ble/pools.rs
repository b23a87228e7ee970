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
