//! Peripherals over a simulated BlueZ: what reaches the plugin and what does not, what goes wrong with link, adapter and BlueZ, and what comes back.

mod bonds;
mod limits;
mod neighbours;
mod order;
mod pools;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wardgate::capability::ble::{ASKS_OPEN_MAX, Grant, Handle, INBOX_BYTES, Known, Peripheral, Person, Radio, What};
use wardgate::capability::inbox::{Inbox, inbox};
use wardgate::config::{self, BleGrant, BlePool, Pairing};
use wardgate::contract::Event;
use wardgate::contract::ble::{Characteristic, Failure, Properties};
use wardgate::contract::types::LinkState;
use wardgate::status::{LinkStatus, Status};
use wardgate_lab::sim::ble::{self, Bluez, Options, device, read};

use super::{Scratch, clock, within};

const UP: Event = Event::BleLink(LinkState::Up);
const DOWN: Event = Event::BleLink(LinkState::Down);
const RATE: u16 = 0x2a37;
const SERIAL_NUMBER: u16 = 0x2a25;
const RECORD: u16 = 0x2a18;
const CONTROL_POINT: u16 = 0x2a52;
/// A handle of what nobody was told of.
const ANY: u16 = 0x11;
/// Some of what is waited for takes the room half a minute by design.
const PATIENCE_S: u64 = 90;
const LOOK_MS: u64 = 5;

/// A simulated BlueZ, and a radio at it.
struct Air {
    bluez: Bluez,
    radio: Radio,
    status: Status,
    tasks: JoinSet<()>,
    scratch: Scratch,
    _stop: watch::Sender<bool>,
}

/// One instance with its peripheral, as the corridor would set it up.
struct One {
    handle: Handle,
    inbox: Inbox,
    found: Vec<Characteristic>,
    tag: AtomicU16,
}

fn grant(address: &str) -> BleGrant {
    BleGrant {
        address: Some(address.into()),
        services: ["180d", "1808", "1822", "180a", "180f"].map(str::to_owned).to_vec(),
        writes: BTreeMap::from([("2a52".into(), ["04 01", "01 01", "03 00"].map(str::to_owned).to_vec())]),
        ..BleGrant::default()
    }
}

fn settings(bluez: &Bluez, scratch: &Scratch, pairing: Pairing) -> config::Ble {
    config::Ble { bus: Some(bluez.address()), state: Some(scratch.file("state")), scan_s: 1, rest_s: 1, pairing, ..config::Ble::default() }
}

fn short(c: &Characteristic) -> u16 {
    (c.uuid.high >> 32) as u16
}

impl Air {
    fn with(name: &str, devices: &[&str]) -> Self {
        Self::around(name, devices.iter().map(|d| device(d).unwrap()).collect())
    }

    fn around(name: &str, devices: Vec<ble::Device>) -> Self {
        Self::under(name, devices, Pairing::None)
    }

    /// `pairing`: what the site asks of bonds.
    fn under(name: &str, devices: Vec<ble::Device>, pairing: Pairing) -> Self {
        let scratch = Scratch::new(&format!("ble-{name}"));
        let sent = scratch.file("sent");
        std::fs::create_dir_all(&sent).unwrap();
        let (stop, stopped) = watch::channel(false);
        let bluez = Bluez::start(Options { socket: scratch.file("bus"), sent: Some(sent), devices }, stopped).unwrap();
        let (status, mut tasks) = (Status::default(), JoinSet::new());
        let radio = Radio::new(&settings(&bluez, &scratch, pairing), clock, status.clone());
        tasks.spawn(radio.clone().run());
        Self { bluez, radio, status, tasks, scratch, _stop: stop }
    }

    fn join(&mut self, name: &str, grant: &BleGrant) -> One {
        let (one, owner) = self.seat(name, grant);
        self.tasks.spawn(owner.run());
        one
    }

    /// It sits at the radio, and nobody runs its owner.
    fn seat(&self, name: &str, grant: &BleGrant) -> (One, Peripheral) {
        let grant = Grant::new(name, grant).unwrap();
        let (asks, taken) = mpsc::channel(ASKS_OPEN_MAX);
        let (events, inbox) = inbox(name.into(), INBOX_BYTES);
        let known = Known::default();
        let owner = Peripheral::new(grant.clone(), &self.radio, known.clone(), taken, events.clone(), clock, self.status.clone());
        let handle = Handle::new(grant, known, asks, events, clock, self.status.clone());
        (One { handle, inbox, found: Vec::new(), tag: AtomicU16::new(0) }, owner)
    }

    async fn person_under(&self, pairing: Pairing) -> Person {
        Person::at(&settings(&self.bluez, &self.scratch, pairing)).await.unwrap()
    }

    /// Until the link's last error says so; what it said at last, where it never does.
    async fn complains(&self, name: &str, of: &str) {
        for _ in 0..PATIENCE_S * 1000 / LOOK_MS {
            if self.link(name).last_error.contains(of) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
        panic!("{name} never said {of:?}, but {:?}", self.link(name).last_error);
    }

    fn order(&self, line: &str) {
        self.bluez.order(line).unwrap();
    }

    fn link(&self, name: &str) -> LinkStatus {
        self.status.read().links[&format!("ble {name}")].clone()
    }

    /// What went out of a characteristic, in order.
    fn sent(&self, name: &str, uuid: u16) -> Vec<String> {
        let all = read(&self.scratch.file("sent"), name);
        all.into_iter().filter(|said| said.characteristic == format!("{uuid:04x}")).map(|said| said.hex).collect()
    }
}

impl One {
    async fn event(&self) -> Event {
        let (moment, event) = within(self.inbox.recv()).await;
        if matches!(event, Event::BleDiscovered { .. }) {
            self.handle.told(moment); // as the supervisor does
        }
        event
    }

    /// Passes over everything before the link is down.
    async fn goes_down(&mut self) {
        while self.event().await != DOWN {}
    }

    /// Passes over everything before; keeps what was found.
    async fn is_up(&mut self) {
        while self.event().await != UP {}
        match self.event().await {
            Event::BleDiscovered { found, mtu, .. } => {
                assert_eq!(mtu, 247);
                self.found = found;
            }
            other => panic!("{other:?}"),
        }
    }

    fn handle_of(&self, uuid: u16) -> u16 {
        self.found.iter().find(|c| short(c) == uuid).unwrap_or_else(|| panic!("{uuid:04x} was not found")).handle
    }

    fn start(&self, what: What) -> u32 {
        let tag = u32::from(self.tag.fetch_add(1, Ordering::Relaxed));
        self.handle.ask(tag, what).unwrap();
        tag
    }

    /// The answer; whatever is notified before is passed over.
    async fn ask(&self, what: What) -> Result<Vec<u8>, Failure> {
        let tag = self.start(what);
        loop {
            if let Event::BleReply(other, outcome) = self.event().await {
                assert_eq!(other, tag);
                return outcome;
            }
        }
    }

    async fn subscribes(&self, uuid: u16) {
        assert_eq!(self.ask(What::Subscribe(self.handle_of(uuid))).await, Ok(vec![]));
    }

    async fn writes(&self, uuid: u16, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
        self.ask(What::Write { handle: self.handle_of(uuid), bytes: bytes.to_vec(), with_response: true }).await
    }

    /// The next so many notifications of this characteristic, as hex.
    async fn hears(&self, uuid: u16, n: usize) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.len() < n {
            match self.event().await {
                Event::BleNotified(handle, bytes) | Event::BleIndicated(handle, bytes) if handle == self.handle_of(uuid) => {
                    heard.push(bytes.iter().map(|b| format!("{b:02x}")).collect());
                }
                _ => {}
            }
        }
        heard
    }
}

const BELT: &str = "belt:belt-1:F0:00:00:00:01:01";
const BELT_ADDRESS: &str = "F0:00:00:00:01:01";
const METER: &str = "meter=20:meter-1:F0:00:00:00:04:01";
const METER_ADDRESS: &str = "F0:00:00:00:04:01";

/// The way of every peripheral: found, connected, told what there is, read, subscribed, heard; each value once and in order.
//= PROMISES.md#P180
#[tokio::test]
async fn a_peripheral_is_found_and_each_of_its_values_comes_once() {
    let mut air = Air::with("way", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    let names: Vec<_> = one.found.iter().map(|c| (short(c), c.properties)).collect();
    assert!(names.contains(&(RATE, Properties::NOTIFY)) && names.contains(&(0x2a19, Properties::READ | Properties::NOTIFY)), "{names:?}");
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
    one.subscribes(RATE).await;
    air.order("on");
    let heard = one.hears(RATE, 4).await;
    assert_eq!(heard, air.sent("belt-1", RATE)[..4]);
    let link = air.link("bed-1");
    assert_eq!((link.up, link.kind.as_str(), link.rssi_dbm), (true, "ble", Some(-50)));
    assert!(link.notifications >= 4 && link.requests == 2 && link.answered == 2, "{link:?}");
}

/// What no grant shows is not there, what none permits is refused, counted, and never comes near the peripheral.
//= PROMISES.md#P181
#[tokio::test]
async fn what_no_grant_permits_never_comes_near_the_peripheral() {
    let mut air = Air::with("grant", &[METER]);
    let narrow =
        BleGrant { services: vec!["1808".into()], notifies: Some(vec!["2a52".into()]), reads: Some(vec![]), ..grant(METER_ADDRESS) };
    let mut one = air.join("bed-1", &narrow);
    one.is_up().await;
    let names: Vec<_> = one.found.iter().map(short).collect();
    assert_eq!(names, [RECORD, CONTROL_POINT], "who it is was not granted");
    let record = one.handle_of(RECORD);
    assert_eq!(one.ask(What::Subscribe(record)).await, Err(Failure::NotGranted));
    assert_eq!(one.ask(What::Read(record)).await, Err(Failure::NotGranted));
    assert_eq!(one.ask(What::Read(0x7777)).await, Err(Failure::NotFound));
    for bytes in [&[2, 1][..], &[1, 1, 0], &[1], &[], &[1, 1, 1, 1], &[0; 300]] {
        assert_eq!(one.writes(CONTROL_POINT, bytes).await, Err(Failure::NotGranted), "{bytes:?}");
    }
    assert_eq!(air.link("bed-1").requests, 0, "none of it was asked");
    assert_eq!(air.link("bed-1").refused, 8);
    one.subscribes(CONTROL_POINT).await;
    assert_eq!(one.writes(CONTROL_POINT, &[4, 1]).await, Ok(vec![]));
    assert_eq!(one.hears(CONTROL_POINT, 1).await, ["05001400"], "it counts 20 records, as an indication");
}

/// An indication is confirmed before we hear of it, so it is marked, and what it brings is made durable at once.
#[tokio::test]
async fn an_indication_is_told_from_a_notification() {
    let mut air = Air::with("indicated", &[METER]);
    let mut one = air.join("bed-1", &grant(METER_ADDRESS));
    one.is_up().await;
    one.subscribes(RECORD).await;
    one.subscribes(CONTROL_POINT).await;
    assert_eq!(one.writes(CONTROL_POINT, &[1, 1]).await, Ok(vec![]));
    let (mut records, end) = (
        0,
        loop {
            match one.event().await {
                Event::BleNotified(handle, _) if handle == one.handle_of(RECORD) => {}
                other => break other,
            }
        },
    );
    records += air.sent("meter-1", RECORD).len();
    assert_eq!(records, 20);
    assert_eq!(end, Event::BleIndicated(one.handle_of(CONTROL_POINT), vec![6, 0, 1, 1]));
}

#[tokio::test]
async fn a_lost_link_is_told_and_made_again_when_the_peripheral_is_back() {
    let mut air = Air::with("lost", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("on");
    one.hears(RATE, 1).await;
    air.order("vanish belt-1");
    one.goes_down().await;
    assert_eq!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await, Err(Failure::LinkDown));
    assert!(!air.link("bed-1").up && !air.link("bed-1").last_error.is_empty());
    assert!(air.status.read().instances["bed-1"].bluetooth, "whoever looks for it looks for no cable");
    air.order("return belt-1");
    one.is_up().await;
    one.subscribes(RATE).await;
    one.hears(RATE, 2).await;
    assert_eq!(air.link("bed-1").reconnects, 1);
}

#[tokio::test]
async fn a_peripheral_that_vanishes_in_a_transfer_loses_what_it_had_not_sent_and_nothing_else() {
    let mut air = Air::with("cut", &[METER]);
    let mut one = air.join("bed-1", &grant(METER_ADDRESS));
    one.is_up().await;
    one.subscribes(RECORD).await;
    one.subscribes(CONTROL_POINT).await;
    air.order("cut meter-1 7");
    assert_eq!(one.writes(CONTROL_POINT, &[1, 1]).await, Ok(vec![]));
    let mut heard = Vec::new();
    loop {
        match one.event().await {
            Event::BleNotified(_, bytes) => heard.push(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            DOWN => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((heard.len(), heard), (7, air.sent("meter-1", RECORD)));
    air.order("return meter-1");
    one.is_up().await;
}

//= PROMISES.md#P182
#[tokio::test]
async fn a_peripheral_that_never_answers_times_out_and_is_connected_anew() {
    let mut air = Air::with("mute", &[BELT, "oximeter:oximeter-1:F0:00:00:00:02:01"]);
    let (mut mute, mut other) = (air.join("bed-1", &grant(BELT_ADDRESS)), air.join("bed-2", &grant("F0:00:00:00:02:01")));
    mute.is_up().await;
    other.is_up().await;
    air.order("mute belt-1");
    let tag = mute.start(What::Read(mute.handle_of(SERIAL_NUMBER)));
    for _ in 0..20 {
        let answer = other.ask(What::Read(other.handle_of(SERIAL_NUMBER))).await;
        assert_eq!(answer, Ok(b"SN-oximeter-1".to_vec()), "nobody waits for another's peripheral");
    }
    assert_eq!(mute.event().await, Event::BleReply(tag, Err(Failure::Timeout)));
    assert_eq!(air.link("bed-1").timeouts, 1);
    for _ in 0..2 {
        assert_eq!(mute.ask(What::Read(mute.handle_of(SERIAL_NUMBER))).await, Err(Failure::Timeout));
    }
    mute.goes_down().await;
    air.order("unmute belt-1");
    mute.is_up().await;
    assert_eq!(mute.ask(What::Read(mute.handle_of(SERIAL_NUMBER))).await, Ok(b"SN-belt-1".to_vec()));
}

//= PROMISES.md#P184
#[tokio::test]
async fn an_adapter_that_is_unplugged_is_told_to_all_and_its_return_too() {
    let mut air = Air::with("adapter", &[BELT, METER]);
    let mut all = [air.join("bed-1", &grant(BELT_ADDRESS)), air.join("bed-2", &grant(METER_ADDRESS))];
    for one in &mut all {
        one.is_up().await;
    }
    air.order("adapter gone");
    for one in &mut all {
        one.goes_down().await;
    }
    assert!(air.status.read().links.values().all(|l| !l.up && !l.last_error.is_empty()));
    air.order("adapter back");
    for one in &mut all {
        one.is_up().await;
    }
}

/// What is pulled out takes with it that somebody was looked for; who hears broadcasts only lets the radio not rest, so that nothing begins by itself.
#[tokio::test]
async fn where_an_adapter_is_pulled_out_peripherals_are_looked_for_over_the_other_one() {
    let mut air = Air::with("two-adapters", &[BELT]);
    let mut hears = grant(METER_ADDRESS);
    hears.broadcast = true;
    let _meter = air.join("bed-1", &hears); // who is not here is looked for
    let looks = async |air: &Air, over: (bool, bool)| {
        while air.bluez.looks() != over {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    };
    within(looks(&air, (true, false))).await;
    air.order("dongle in");
    air.order("adapter gone");
    within(looks(&air, (false, true))).await;
}

#[tokio::test]
async fn a_bluetoothd_that_is_started_anew_is_noticed_and_its_adapter_powered_though_it_is_busy() {
    let mut air = Air::with("bluetoothd", &[BELT]);
    air.order("busy 6"); // so often a real one refuses right after its start
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    air.order("bluetoothd down");
    one.goes_down().await;
    air.order("busy 6");
    air.order("bluetoothd up");
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("on");
    one.hears(RATE, 2).await;
}

//= PROMISES.md#P183
#[tokio::test]
async fn eight_peripherals_at_once_and_one_that_flaps_costs_the_others_nothing() {
    let names: Vec<_> = (1..=8).map(|n| format!("belt:belt-{n}:F0:00:00:00:01:0{n}")).collect();
    let mut air = Air::with("eight", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut all: Vec<_> = (1..=8).map(|n| air.join(&format!("bed-{n}"), &grant(&format!("F0:00:00:00:01:0{n}")))).collect();
    for one in &mut all {
        one.is_up().await;
        one.subscribes(RATE).await;
    }
    air.order("flap belt-8 2");
    air.order("on");
    let mut flapper = all.pop().unwrap();
    for _ in 0..2 {
        flapper.goes_down().await;
        flapper.is_up().await;
    }
    assert_eq!((air.link("bed-8").reconnects, air.bluez.links("belt-8")), (2, Some(3)));
    for (n, one) in all.iter().enumerate() {
        let name = format!("belt-{}", n + 1);
        let sent = air.sent(&name, RATE);
        assert!(sent.len() >= 8, "they spoke while it was lost twice: {}", sent.len());
        assert_eq!(one.hears(RATE, sent.len()).await, sent, "{name}");
        assert_eq!((air.link(&format!("bed-{}", n + 1)).reconnects, air.bluez.links(&name)), (0, Some(1)));
    }
}

#[tokio::test]
async fn two_characteristics_with_one_uuid_are_two() {
    let mut air = Air::with("twins", &["twins:twins-1:F0:00:00:00:06:01"]);
    let mut one = air.join("bed-1", &grant("F0:00:00:00:06:01"));
    one.is_up().await;
    let handles: Vec<_> = one.found.iter().filter(|c| short(c) == RATE).map(|c| c.handle).collect();
    assert!(matches!(handles[..], [a, b] if a != b), "{handles:?}");
    assert_eq!(one.ask(What::Subscribe(handles[1])).await, Ok(vec![]));
    air.order("on");
    for _ in 0..3 {
        assert!(matches!(one.event().await, Event::BleNotified(handle, _) if handle == handles[1]), "the other one is not subscribed");
    }
}

/// A pool takes any that is alike, and no two instances the same one.
//= PROMISES.md#P185
#[tokio::test]
async fn a_pool_takes_what_is_alike_and_each_peripheral_once() {
    let mut air = Air::with("pool", &[BELT, "belt:belt-2:F0:00:00:00:01:02", METER]);
    let pool = BlePool { service: Some("180d".into()), name: Some("belt-*".into()), manufacturer: None };
    let pool = BleGrant { address: None, pool: Some(pool), ..grant("") };
    let mut all = [air.join("bed-1", &pool), air.join("bed-2", &pool)];
    let mut serials = Vec::new();
    for one in &mut all {
        one.is_up().await;
        serials.push(String::from_utf8(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await.unwrap()).unwrap());
    }
    serials.sort();
    assert_eq!(serials, ["SN-belt-1", "SN-belt-2"]);
}

//= PROMISES.md#P186
#[tokio::test]
async fn what_must_be_bonded_is_not_spoken_to_before() {
    let mut air = Air::with("bonded", &[BELT]);
    let one = air.join("bed-1", &BleGrant { bonded: true, ..grant(BELT_ADDRESS) });
    assert_eq!(one.event().await, DOWN);
    air.complains("bed-1", "wardgate ble pair F0:00:00:00:01:01").await;
    assert_eq!(one.ask(What::Read(ANY)).await, Err(Failure::LinkDown));
    assert_eq!((air.bluez.links("belt-1"), air.link("bed-1").requests), (Some(0), 0), "no link was made to it");
    assert_eq!(air.sent("belt-1", SERIAL_NUMBER), [""; 0]);
}

/// What stands on the air is seen there: the tests that say that nothing was asked of a peripheral can fail.
//= PROMISES.md#P186
#[tokio::test]
async fn a_link_and_a_read_are_seen_on_the_simulated_air() {
    let mut air = Air::with("seen", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    assert_eq!((air.bluez.links("belt-1"), air.sent("belt-1", SERIAL_NUMBER).len()), (Some(1), 0));
    assert!(one.ask(What::Read(one.handle_of(SERIAL_NUMBER))).await.is_ok());
    assert_eq!(air.sent("belt-1", SERIAL_NUMBER).len(), 1);
}

/// An instance that is opened anew hears again that the link is up and what there is, before what came meanwhile.
#[tokio::test]
async fn an_instance_that_is_opened_anew_is_told_again_what_there_is() {
    let mut air = Air::with("anew", &[BELT]);
    let mut one = air.join("bed-1", &grant(BELT_ADDRESS));
    one.is_up().await;
    one.subscribes(RATE).await;
    air.order("on");
    one.hears(RATE, 1).await;
    within(async {
        while air.link("bed-1").notifications < 3 {
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
        }
    })
    .await;
    one.inbox.reopen(clock());
    assert_eq!(one.event().await, UP);
    assert!(matches!(one.event().await, Event::BleDiscovered { .. }));
    assert!(matches!(one.event().await, Event::BleNotified(..)), "what came meanwhile is kept");
    one.subscribes(RATE).await;
    one.hears(RATE, 1).await;
}

/// A plugin that is too slow loses what does not fit, behind a mark, and goes on behind it.
//= PROMISES.md#P187
#[tokio::test]
async fn the_inbox_is_bounded_and_says_where_notifications_are_missing() {
    let (events, inbox) = inbox("bed-1".into(), 1000);
    for n in 0..200u8 {
        events.notified(clock(), Event::BleNotified(1, vec![n; 20]));
    }
    events.link(clock(), DOWN);
    let mut heard = Vec::new();
    while let Some((_, event)) = inbox.try_recv() {
        heard.push(event);
    }
    assert_eq!(heard.iter().filter(|e| **e == Event::BleOverran).count(), 1);
    assert_eq!(heard.last(), Some(&DOWN), "the link's state is told behind the mark");
    assert!(heard.len() < 30 && events.overruns() == 1 && events.bytes_lost() > 1000);
    events.notified(clock(), Event::BleNotified(1, vec![7]));
    assert_eq!(inbox.try_recv().unwrap().1, Event::BleNotified(1, vec![7]));
}

/// The line that each plugin of the house shows for a site is one that a site can write.
//= PROMISES.md#P188
#[test]
fn the_grant_that_each_plugin_asks_for_is_one_that_can_be_written() {
    let scratch = Scratch::new("ble-asks");
    let example = include_str!("../../../runtime/gateway.toml");
    let begin = example.split("[bus.plant]").next().unwrap();
    let mut asked = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins")).unwrap().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("manifest.toml")) else { continue };
        let manifest = config::Manifest::parse(&text).unwrap();
        let Some(ask) = manifest.asks.get(&config::Link::Ble) else { continue };
        let grant = ask.grant.replace("\"..\"", "\"C0:98:E5:00:00:01\"");
        let file = scratch.file("gateway.toml");
        std::fs::write(&file, format!("{begin}\n[instance.x]\npackage = \"x\"\n[instance.x.grants]\n{grant}\n")).unwrap();
        let config = config::Config::load(&file).unwrap_or_else(|e| panic!("{}: {e}", manifest.name));
        Grant::new("x", config.instances["x"].grants.ble.as_ref().unwrap()).unwrap_or_else(|e| panic!("{}: {e}", manifest.name));
        asked += 1;
    }
    assert!(asked >= 11, "{asked}");
}
