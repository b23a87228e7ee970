//! Who has which peripheral where there are several that are alike, many that are nobody's, and some that say that they are another.

use wardgate::capability::ble::PersonError;
use wardgate_lab::sim::ble::{Device, Kind};

use super::*;

const FIRST_BEACON: &str = "beacon:beacon-1:F0:00:00:00:07:01";
const SECOND_BEACON: &str = "beacon:beacon-2:F0:00:00:00:07:02";

fn beacons(which: impl FnOnce(&mut BleGrant)) -> BleGrant {
    let mut grant = BleGrant { broadcast: true, ..BleGrant::default() };
    which(&mut grant);
    grant
}

fn any_beacon() -> BleGrant {
    beacons(|grant| grant.pool = Some(BlePool { manufacturer: Some(0xffff), ..BlePool::default() }))
}

impl Air {
    pub(super) async fn person(&self) -> Person {
        self.person_under(Pairing::None).await
    }
}

impl One {
    /// Subscribes; what is said before the answer counts.
    async fn subscribes_beside(&self, uuid: u16, heard: &mut Vec<String>) {
        let tag = self.start(What::Subscribe(self.handle_of(uuid)));
        loop {
            match self.event().await {
                Event::BleReply(other, outcome) => return assert_eq!((other, outcome), (tag, Ok(vec![]))),
                Event::BleIndicated(_, bytes) => heard.push(bytes.iter().map(|b| format!("{b:02x}")).collect()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next so many numbers that were broadcast.
    async fn hears_broadcast(&self, n: usize) -> Vec<u32> {
        let mut heard = Vec::new();
        while heard.len() < n {
            if let Event::BleAdvertised { manufacturer, .. } = self.event().await {
                heard.push(u32::from_le_bytes(manufacturer[0].bytes[..4].try_into().unwrap()));
            }
        }
        heard
    }
}

/// Of two that are alike, one instance hears one, also where the other comes nearer; and when its own is gone, it is told before it hears the next.
#[tokio::test]
async fn who_hears_broadcasts_of_a_pool_keeps_the_device_that_it_has() {
    let mut air = Air::with("beacons", &[FIRST_BEACON, SECOND_BEACON]);
    let one = air.join("bed-1", &any_beacon());
    air.order("on");
    let first = one.hears_broadcast(1).await[0] / 1000;
    let (mine, other) = if first == 1 { ("beacon-1", "beacon-2") } else { ("beacon-2", "beacon-1") };
    air.order(&format!("rssi {other} -20"));
    assert!(one.hears_broadcast(6).await.iter().all(|n| n / 1000 == first), "it says what {mine} says");
    air.order(&format!("forget {mine}"));
    loop {
        match one.event().await {
            DOWN => break,
            Event::BleAdvertised { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(one.event().await, UP);
    let next = one.hears_broadcast(1).await[0];
    assert_ne!(next / 1000, first);
}

/// Repeats are asked for as soon as somebody needs them, though the radio is looking for another without them.
#[tokio::test]
async fn who_comes_while_another_is_looked_for_hears_each_broadcast() {
    let mut air = Air::with("repeats", &[BELT, FIRST_BEACON]);
    air.order("vanish belt-1");
    let _missing = air.join("bed-1", &grant(BELT_ADDRESS));
    air.complains("bed-1", "is not near").await;
    air.order("on");
    let one = air.join("bed-2", &beacons(|grant| grant.address = Some("F0:00:00:00:07:01".into())));
    let heard = one.hears_broadcast(5).await;
    assert!(heard.windows(2).all(|two| two[1] == two[0] + 1), "{heard:?}");
}

/// A peripheral that a site has given to one instance is none of another's pool, also before that one has it.
#[tokio::test]
async fn a_pool_leaves_those_alone_that_are_named() {
    let mut air = Air::with("named", &[BELT, "belt:belt-2:F0:00:00:00:01:02"]);
    let pool = BlePool { service: Some("180d".into()), ..BlePool::default() };
    let (_named, _owner) = air.seat("bed-1", &grant("F0:00:00:00:01:02"));
    air.order("rssi belt-2 -20");
    let mut one = air.join("bed-2", &BleGrant { address: None, pool: Some(pool), ..grant("") });
    one.is_up().await;
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
}

/// Thousands of made-up addresses: a peripheral that is bound is found among them, whether it comes after them or was let go before it was bound.
//= PROMISES.md#P197
#[tokio::test]
async fn a_bound_peripheral_is_found_in_a_crowd_of_strangers() {
    let mut air = Air::with("crowd", &[BELT, "belt:belt-2:F0:00:00:00:01:02"]);
    air.order("vanish belt-1");
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    air.complains("bed-1", "is not near").await;
    air.order("crowd 5000"); // belt-2 is there, and nobody's
    within(async {
        while air.status.read().radio.strangers_dropped < 4000 {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    })
    .await;
    air.order("return belt-1");
    one.is_up().await;
    let mut late = air.join("bed-2", &grant("F0:00:00:00:01:02"));
    late.is_up().await;
    late.subscribes(RATE).await;
    air.order("on");
    late.hears(RATE, 2).await;
}

/// BlueZ subscribes again by itself, and a thermometer that is back speaks before its plugin could ask: it has its confirmation, so it is heard.
//= PROMISES.md#P218
#[tokio::test]
async fn what_a_device_of_a_pool_indicates_right_after_its_return_is_heard() {
    const TEMPERATURE: u16 = 0x2a1c;
    let mut air = Air::with("indicates", &["thermometer:thermometer-1:F0:00:00:00:03:01"]);
    let pool = BlePool { service: Some("1809".into()), ..BlePool::default() };
    let mut one = air.join("bed-1", &BleGrant { address: None, pool: Some(pool), services: vec!["1809".into()], ..grant("") });
    one.is_up().await;
    one.subscribes(TEMPERATURE).await;
    air.order("on");
    let mut heard = one.hears(TEMPERATURE, 2).await;
    air.order("vanish thermometer-1");
    loop {
        match one.event().await {
            DOWN => break,
            Event::BleIndicated(_, bytes) => heard.push(bytes.iter().map(|b| format!("{b:02x}")).collect()),
            other => panic!("{other:?}"),
        }
    }
    air.order("opaque thermometer-1"); // its services are known late
    air.order("return thermometer-1");
    within(async {
        while air.sent("thermometer-1", TEMPERATURE).len() < heard.len() + 3 {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    })
    .await;
    air.order("clear thermometer-1");
    one.is_up().await;
    one.subscribes_beside(TEMPERATURE, &mut heard).await;
    heard.extend(one.hears(TEMPERATURE, 2).await);
    assert_eq!(heard, air.sent("thermometer-1", TEMPERATURE)[..heard.len()], "each once, and in order");
}

/// Whoever advertises the address of another as its name is not that one.
#[tokio::test]
async fn a_name_that_is_an_address_is_nobodys_address() {
    let impostor = Device { name: METER_ADDRESS.into(), address: BELT_ADDRESS.into(), kind: Kind::Belt, clock_steps: None };
    let air = Air::around("impostor", vec![impostor, device(METER).unwrap()]);
    air.order("vanish meter-1");
    let person = air.person().await;
    assert_eq!(person.scan(1).await.unwrap().len(), 1);
    assert!(matches!(person.forget(METER_ADDRESS).await, Err(PersonError::Unknown { .. })), "only the impostor is near");
    air.order("return meter-1");
    assert_eq!(person.scan(1).await.unwrap().len(), 2);
    air.order("bond meter-1");
    assert_eq!(person.forget(METER_ADDRESS).await.unwrap().name, "meter-1");
}

/// An adapter that BlueZ is just starting answers Busy some six times; a person is not told to come back later.
#[tokio::test]
async fn a_person_waits_for_an_adapter_that_is_just_starting() {
    let air = Air { tasks: JoinSet::new(), ..Air::with("starting", &[BELT]) };
    air.order("busy 6");
    assert_eq!(air.person().await.scan(1).await.unwrap()[0].name, "belt-1");
}
