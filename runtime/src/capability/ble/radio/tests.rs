//! The radio without a BlueZ: who has a place in a crowd.

use std::sync::Arc;

use zbus::message::Message;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::super::bluez::{CHARACTERISTIC, DEVICE, Dictionary, Interfaces, OBJECT_MANAGER, PROPERTIES, SERVICE};
use super::super::bonds::Bonds;
use super::super::tree::{ATTRIBUTES_MAX, STRANGERS_MAX};
use super::*;
use crate::capability::ble::Peripheral;
use crate::capability::inbox::{Inbox, inbox};
use crate::config::{BleGrant, BlePool, Pairing};
use crate::contract::Event;
use crate::contract::types::{LinkState, Moment};

const OWNER: &str = ":1.7";
const HEART_RATE: &str = "0000180d-0000-1000-8000-00805f9b34fb";

fn clock() -> Moment {
    Moment { boot: 1, monotonic_ns: 1, wall: None }
}

fn radio() -> Radio {
    let radio = Radio::new(&config::Ble::default(), clock, Status::default());
    radio.lock().owner = Some(OWNER.into());
    radio
}

fn sits(radio: &Radio, address: Option<&str>, pool: Option<BlePool>) -> Arc<Seat> {
    let grant = BleGrant { address: address.map(str::to_owned), pool, services: vec!["180d".into()], ..BleGrant::default() };
    radio.sit(Grant::new("bed-1", &grant).unwrap(), inbox("bed-1".into(), 1000).0)
}

fn path(address: &str) -> String {
    format!("/org/bluez/hci0/dev_{}", address.replace(':', "_"))
}

fn address(n: usize) -> String {
    format!("C0:00:00:00:{:02X}:{:02X}", n >> 8, n & 255)
}

fn properties<const N: usize>(all: [(&str, Variant<'_>); N]) -> Dictionary {
    all.into_iter().map(|(name, value)| (name.to_owned(), OwnedVariant::try_from(value).unwrap())).collect()
}

impl Radio {
    fn added(&self, path: &str, interface: &str, properties: Dictionary) {
        let body = (OwnedObjectPath::try_from(path.to_owned()).unwrap(), Interfaces::from([(interface.to_owned(), properties)]));
        self.heard(&Message::signal("/", OBJECT_MANAGER, "InterfacesAdded").sender(OWNER).build(&body).unwrap());
    }

    fn appears(&self, address: &str, services: &[&str]) {
        let rssi = ("RSSI", Variant::from(-50i16));
        self.added(
            &path(address),
            DEVICE,
            properties([("Address", address.to_owned().into()), ("UUIDs", Variant::from(services.to_vec())), rssi]),
        );
    }

    fn changes(&self, address: &str, name: &str, value: Variant<'_>) {
        let body = (DEVICE, properties([(name, value)]), Vec::<String>::new());
        self.heard(&Message::signal(path(address), PROPERTIES, "PropertiesChanged").sender(OWNER).build(&body).unwrap());
    }

    fn goes(&self, path: &str, interface: &str) {
        let body = (OwnedObjectPath::try_from(path.to_owned()).unwrap(), vec![interface.to_owned()]);
        self.heard(&Message::signal("/", OBJECT_MANAGER, "InterfacesRemoved").sender(OWNER).build(&body).unwrap());
    }

    fn knows(&self, address: &str) -> bool {
        self.lock().tree.device(&path(address)).is_some()
    }

    fn dropped(&self) -> u64 {
        self.0.status.read().radio.strangers_dropped
    }
}

/// Any number of made-up addresses, before and after: whoever is bound, bonded, connected or an instance's own keeps its place.
//= PROMISES.md#P197
#[test]
fn a_flood_of_strangers_takes_nobodys_place_and_is_counted() {
    const FLOOD: usize = 8 * STRANGERS_MAX;
    let ours: [String; 5] = std::array::from_fn(|n| format!("F0:00:00:00:00:{n:02X}"));
    let [named, late, bonded, connected, own] = ours.each_ref().map(String::as_str);
    let radio = radio();
    sits(&radio, Some(named), None);
    sits(&radio, Some(late), None);
    let of_pool = sits(&radio, None, Some(BlePool { service: Some("180d".into()), ..BlePool::default() }));
    for address in [named, bonded, connected] {
        radio.appears(address, &[]);
    }
    radio.changes(bonded, "Paired", true.into());
    radio.changes(connected, "Connected", true.into());
    radio.added(&(path(connected) + "/service0010"), SERVICE, properties([("UUID", HEART_RATE.into())]));
    radio.appears(own, &[HEART_RATE]);
    of_pool.claim(Some(&path(own)));
    for n in 0..FLOOD {
        radio.appears(&address(n), &[]);
        assert!(radio.lock().tree.devices().count() <= STRANGERS_MAX + 4, "{n}");
    }
    assert!(radio.knows(&address(FLOOD - 1)) && !radio.knows(&address(0)), "who was silent longest went");
    radio.appears(late, &[]);
    for n in FLOOD..2 * FLOOD {
        radio.appears(&address(n), &[]);
    }
    for address in [named, late, bonded, connected, own] {
        assert!(radio.knows(address), "{address}");
    }
    let there = radio.lock().tree.devices().count() as u64;
    assert_eq!(radio.dropped(), 2 * FLOOD as u64 + 5 - there, "each that went is counted");
    assert!(radio.lock().crowded.is_some(), "what BlueZ has is read again for whoever is missing");
}

/// Who says what the devices of a pool say goes behind everybody else, and still does not fill the tree.
//= PROMISES.md#P197
#[test]
fn what_fits_a_pool_stays_longer_than_strangers_and_is_bounded_too() {
    let radio = radio();
    sits(&radio, None, Some(BlePool { service: Some("180d".into()), ..BlePool::default() }));
    radio.appears("F0:00:00:00:00:01", &[HEART_RATE]);
    for n in 0..4 * STRANGERS_MAX {
        radio.appears(&address(n), &[]);
    }
    assert!(radio.knows("F0:00:00:00:00:01"), "none of them is like it");
    for n in 0..4 * STRANGERS_MAX {
        radio.appears(&address(n), &[HEART_RATE]);
    }
    assert!(radio.lock().tree.devices().count() <= STRANGERS_MAX);
}

/// BlueZ subscribes again by itself to what one instance asked of a device that another has now: what comes is confirmed, so it is a marked hole.
//= PROMISES.md#P218
#[test]
fn what_comes_of_a_subscription_that_nobody_here_has_any_more_is_a_marked_hole() {
    const FIRST: &str = "F0:00:00:00:00:01";
    const SECOND: &str = "F0:00:00:00:00:02";
    let radio = radio();
    let pool = || Some(BlePool { service: Some("180d".into()), ..BlePool::default() });
    let (events, inbox) = inbox("bed-2".into(), 1000);
    let grant = BleGrant { pool: pool(), services: vec!["180d".into()], ..BleGrant::default() };
    let (one, other) = (sits(&radio, None, pool()), radio.sit(Grant::new("bed-2", &grant).unwrap(), events));
    let said = |address: &str| {
        let body = (CHARACTERISTIC, properties([("Value", Variant::from(vec![7u8]))]), Vec::<String>::new());
        let at = path(address) + "/service0010/char0011";
        radio.heard(&Message::signal(at, PROPERTIES, "PropertiesChanged").sender(OWNER).build(&body).unwrap());
    };
    one.claim(Some(&path(FIRST)));
    one.route(&(path(FIRST) + "/service0010/char0011"), Some((0x11, true)));
    one.claim(None);
    one.claim(Some(&path(SECOND)));
    other.claim(Some(&path(FIRST)));
    said(FIRST);
    other.open(clock());
    assert_eq!(inbox.try_recv().map(|(_, event)| event), Some(Event::BleOverran), "before its plugin knew the device");
    said(FIRST);
    assert_eq!(inbox.try_recv().map(|(_, event)| event), Some(Event::BleOverran));
    // it is its own again: what comes is heard
    other.claim(None);
    one.claim(None);
    one.claim(Some(&path(FIRST)));
    said(FIRST);
    assert!(inbox.is_empty());
}

/// Where nobody may pair, a bond that nobody looked at when it was made is not used.
//= PROMISES.md#P321
#[test]
fn where_nobody_may_pair_a_bond_that_just_worked_does_not_count() {
    use Pairing::{Compare, JustWorks, None, Passkey};
    const PERIPHERAL: &str = "F0:00:00:00:00:01";
    const OWN: &str = "02:00:00:00:00:01";
    let state = std::env::temp_dir().join(format!("wardgate-radio-bonds-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&state);
    let bonds = Bonds::of(Some(&state));
    for (pairing, counted) in [
        (None, &[Compare, Passkey][..]),
        (JustWorks, &[JustWorks, Compare, Passkey][..]),
        (Compare, &[Compare, Passkey][..]),
        (Passkey, &[Passkey][..]),
    ] {
        let radio = Radio::new(&config::Ble { pairing, state: Some(state.clone()), ..config::Ble::default() }, clock, Status::default());
        radio.lock().owner = Some(OWNER.into());
        radio.added("/org/bluez/hci0", ADAPTER, properties([("Address", OWN.into())]));
        radio.appears(PERIPHERAL, &[]);
        radio.changes(PERIPHERAL, "Adapter", OwnedObjectPath::try_from("/org/bluez/hci0").unwrap().into());
        radio.changes(PERIPHERAL, "Bonded", true.into());
        let device = radio.lock().tree.device(&path(PERIPHERAL)).unwrap().clone();
        for by in [JustWorks, Compare, Passkey] {
            bonds.made(OWN, PERIPHERAL, by).unwrap();
            let is = radio.is_bonded(&device);
            assert_eq!(is.is_ok(), counted.contains(&by), "{by:?} where the site asks for {pairing:?}: {is:?}");
            let Err(why) = is else { continue };
            let says = match pairing {
                None => "is bonded by just-works, which counts only with [ble] pairing = \"just-works\". `wardgate ble forget".to_owned(),
                least => format!("is bonded by {}, and [ble] pairing = \"{}\" asks for more. ", by.name(), least.name()),
            };
            assert!(why.to_string().contains(&says), "{why}");
        }
    }
}

/// Which adapter's bond an older file means is known where one alone has that bond; the gateway writes it down then.
//= PROMISES.md#P323
#[test]
fn what_an_older_file_says_counts_for_the_one_adapter_that_has_the_bond() {
    const PERIPHERAL: &str = "F0:00:00:00:00:01";
    let state = std::env::temp_dir().join(format!("wardgate-radio-older-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&state);
    std::fs::create_dir_all(&state).unwrap();
    let file = state.join("bonds.json");
    std::fs::write(&file, format!("{{\"{PERIPHERAL}\":\"passkey\"}}")).unwrap();
    let radio = Radio::new(&config::Ble { state: Some(state.clone()), ..config::Ble::default() }, clock, Status::default());
    radio.lock().owner = Some(OWNER.into());
    let at = |adapter: &str| path(PERIPHERAL).replace("hci0", adapter);
    for (n, adapter) in ["hci0", "hci1"].into_iter().enumerate() {
        let path = format!("/org/bluez/{adapter}");
        radio.added(&path, ADAPTER, properties([("Address", format!("02:00:00:00:00:0{n}").into())]));
        let of = OwnedObjectPath::try_from(path).unwrap();
        radio.added(
            &at(adapter),
            DEVICE,
            properties([("Address", PERIPHERAL.to_owned().into()), ("Adapter", of.into()), ("Bonded", true.into())]),
        );
    }
    let device = |adapter: &str| radio.lock().tree.device(&at(adapter)).unwrap().clone();
    let (first, second) = (device("hci0"), device("hci1"));
    for one in [&first, &second] {
        assert!(matches!(radio.is_bonded(one), Err(Unbonded::Unknown { .. })), "nobody knows which of the two");
    }
    radio.lock().tree.removed(&at("hci0"), &[DEVICE.to_owned()]);
    assert!(radio.is_bonded(&second).is_ok());
    assert_eq!(std::fs::read_to_string(file).unwrap(), format!("{{\"02:00:00:00:00:01\":{{\"{PERIPHERAL}\":\"passkey\"}}}}"));
    assert!(matches!(radio.is_bonded(&first), Err(Unbonded::Unknown { .. })), "it is the other's for good");
    std::fs::remove_dir_all(&state).unwrap();
}

/// A start says nothing against BlueZ before the bus has answered: not in the status, and not in the log, which has it from there.
//= PROMISES.md#P322
#[tokio::test]
async fn a_start_says_nothing_against_bluez_before_it_was_asked() {
    let status = Status::default();
    let radio = Radio::new(&config::Ble::default(), clock, status.clone());
    let mut tasks = tokio::task::JoinSet::new();
    let mut inboxes = Vec::new();
    let mut asks = Vec::new();
    for (name, broadcast) in [("bed-1", false), ("bed-2", true)] {
        let from = BleGrant { address: Some("F0:00:00:00:00:01".into()), services: vec!["180d".into()], broadcast, ..BleGrant::default() };
        let (events, inbox) = inbox(name.into(), 1000);
        let (ask, asked) = tokio::sync::mpsc::channel(1);
        let known = super::super::handle::Known::default();
        let one = Peripheral::new(Grant::new(name, &from).unwrap(), &radio, known, asked, events, clock, status.clone());
        tasks.spawn(one.run());
        inboxes.push(inbox);
        asks.push(ask);
    }
    let errors = |status: &Status| status.read().links.values().map(|l| (l.up, l.last_error.clone())).collect::<Vec<_>>();
    let down = |inbox: &Inbox| inbox.try_recv().map(|(_, event)| event) == Some(Event::BleLink(LinkState::Down));
    let all_run = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await
        }
    }; // until each waits for news
    all_run().await;
    assert!(inboxes.iter().all(down), "their plugins know that there is no link yet");
    assert_eq!(errors(&status), [(false, String::new()), (false, String::new())]);
    radio.gone(&BluezError::Absent);
    all_run().await;
    let absent = (false, BluezError::Absent.to_string());
    assert_eq!(errors(&status), [absent.clone(), absent]);
    // an adapter that goes off is told as that, whatever was told before
    let adapter = "/org/bluez/hci0";
    radio.lock().owner = Some(OWNER.into());
    radio.added(adapter, ADAPTER, properties([("Powered", true.into())]));
    radio.lock().adapter = Some(adapter.into());
    let off = (ADAPTER, properties([("Powered", false.into())]), Vec::<String>::new());
    radio.heard(&Message::signal(adapter, PROPERTIES, "PropertiesChanged").sender(OWNER).build(&off).unwrap());
    all_run().await;
    let off = (false, OFF.to_owned());
    assert_eq!(errors(&status), [off.clone(), off]);
}

/// Whoever waits for a bond is rung when it comes, and when `wardgate ble pair` has written down how it was made.
//= PROMISES.md#P349
#[tokio::test]
async fn a_bond_that_comes_ends_the_wait_for_it_and_the_rest_that_it_had() {
    const PERIPHERAL: &str = "F0:00:00:00:00:01";
    let (radio, path, now) = (radio(), path(PERIPHERAL), Instant::now());
    let seats = [sits(&radio, Some(PERIPHERAL), None), sits(&radio, Some("F0:00:00:00:00:02"), None)];
    let rings = async |seat: &Arc<Seat>| tokio::time::timeout(Duration::ZERO, seat.bonding.notified()).await.is_ok();
    radio.appears(PERIPHERAL, &[]);
    seats[0].claim(Some(&path));
    seats[0].lets_rest(&path, now);
    radio.changes(PERIPHERAL, "RSSI", (-40i16).into());
    assert!(!rings(&seats[0]).await && seats[0].rests_until(&path, now).is_some());
    for what in ["Bonded", "Trusted"] {
        radio.changes(PERIPHERAL, what, true.into());
        assert!(rings(&seats[0]).await && !rings(&seats[1]).await, "{what}");
        assert_eq!(seats[0].rests_until(&path, now), None);
    }
    radio.changes(PERIPHERAL, "Bonded", false.into());
    assert!(!rings(&seats[0]).await);
    assert_eq!((seats[0].bond_gone().as_deref(), seats[1].bond_gone()), (Some(PERIPHERAL), None));
}

/// Also where another adapter stays, and whichever of the two BlueZ tells first.
//= PROMISES.md#P348
#[test]
fn an_adapter_that_is_pulled_out_removes_no_bond_though_another_stays() {
    const PERIPHERAL: &str = "F0:00:00:00:00:01";
    let device = path(PERIPHERAL);
    let gone_in = |order: &[(&str, &str)]| {
        let radio = radio();
        let seat = sits(&radio, Some(PERIPHERAL), None);
        for adapter in ["/org/bluez/hci0", "/org/bluez/hci1"] {
            radio.added(adapter, ADAPTER, properties([("Powered", true.into())]));
        }
        radio.appears(PERIPHERAL, &[]);
        radio.changes(PERIPHERAL, "Adapter", OwnedObjectPath::try_from("/org/bluez/hci0").unwrap().into());
        radio.changes(PERIPHERAL, "Bonded", true.into());
        seat.claim(Some(&device));
        order.iter().for_each(|(path, interface)| radio.goes(path, interface));
        seat.bond_gone()
    };
    let (of_device, of_adapter, of_other) = ((&*device, DEVICE), ("/org/bluez/hci0", ADAPTER), ("/org/bluez/hci1", ADAPTER));
    assert_eq!(gone_in(&[of_device, of_adapter]), None);
    assert_eq!(gone_in(&[of_adapter, of_device]), None);
    assert_eq!(gone_in(&[of_device]).as_deref(), Some(PERIPHERAL), "it was removed alone");
    assert_eq!(gone_in(&[of_device, of_other]).as_deref(), Some(PERIPHERAL), "of an adapter that stays");
}

/// A dongle that is up before the built-in one; or the other way round, where that is pulled out and put back.
//= PROMISES.md#P318
#[test]
fn another_adapter_that_comes_takes_no_links_from_the_one_in_use() {
    let radio = radio();
    let comes = |adapter: &str, powered: bool| radio.added(adapter, ADAPTER, properties([("Powered", powered.into())]));
    let used = || radio.lock().adapter.clone();
    comes("/org/bluez/hci1", true);
    radio.lock().adapter = Some("/org/bluez/hci1".into());
    for powered in [false, true] {
        comes("/org/bluez/hci0", powered);
        assert_eq!(used().as_deref(), Some("/org/bluez/hci1"), "{powered}");
        assert_eq!(radio.lock().adapter_now(None).map(|(path, _)| path.to_owned()).as_deref(), Some("/org/bluez/hci1"));
    }
    assert_eq!(radio.lock().adapter_now(Some("hci0")).map(|(path, _)| path.to_owned()).as_deref(), Some("/org/bluez/hci0"), "it is named");
    radio.goes("/org/bluez/hci1", ADAPTER);
    assert_eq!(used(), None, "what was used of it ends, and the other is begun with");
    assert_eq!(radio.lock().adapter_now(None).map(|(path, _)| path.to_owned()).as_deref(), Some("/org/bluez/hci0"));
}

/// Each time for longer, up to half an hour; and whoever makes up addresses fills no memory.
//= PROMISES.md#P347
#[test]
fn who_cannot_be_used_lets_others_go_first_for_ever_longer_until_it_is_of_use() {
    let (seat, begin) = (sits(&radio(), None, Some(BlePool { service: Some("180d".into()), ..BlePool::default() })), Instant::now());
    let rests = || {
        seat.lets_rest("one", begin);
        (seat.rests_until("one", begin).unwrap() - begin).as_secs()
    };
    assert_eq!(std::array::from_fn(|_| rests()), [60, 120, 240, 480, 960, 1920, 1920]);
    assert_eq!(seat.rests_until("one", begin + Duration::from_secs(1920)), None);
    seat.recovers("one");
    assert_eq!(seat.rests_until("one", begin), None);
    for n in 0..1000 {
        seat.lets_rest(&address(n), begin);
    }
    let resting = (0..1000).filter(|n| seat.rests_until(&address(*n), begin).is_some()).count();
    assert!((1..=256).contains(&resting), "{resting}");
}

/// One device with a table without end does not take the room of others.
#[test]
fn what_one_device_has_is_bounded_and_what_is_below_nobody_is_not_kept() {
    let radio = radio();
    radio.appears("F0:00:00:00:00:01", &[]);
    for n in 0..2 * ATTRIBUTES_MAX {
        radio.added(&format!("{}/service{n:04x}", path("F0:00:00:00:00:01")), SERVICE, properties([("UUID", HEART_RATE.into())]));
        radio.added(&format!("{}/service{n:04x}", path("F0:00:00:00:00:02")), SERVICE, properties([("UUID", HEART_RATE.into())]));
    }
    let state = radio.lock();
    assert_eq!(state.tree.len(), 1 + ATTRIBUTES_MAX);
}
