//! Peripherals that are alike, and those that only broadcast: whose they are a person says, and until then nothing of them leaves. And what is lost
//! of one that says more than its plugin can take.

use wardgate::status::Snapshot;
use wardgate_lab::accountant::{self, Content};
use wardgate_lab::stage::unsigned;

use crate::ble_ward::{Ward, instance};
use crate::faults::wait_status;
use crate::sandbox::beacon_folder;
use crate::supervision::said;
use crate::ward::{Folder, wait_to_see};

const ENERGY: &str = "energy-expended";
const VALUE: &str = "value";

fn waits_for_a_person(s: &Snapshot, instance: &str, parked: u64) -> bool {
    s.instances.get(instance).is_some_and(|i| i.unbound && i.device_serial.is_some() && i.parked >= parked)
}

/// Which device an instance has, by the serial number that it shows.
fn device_of(ward: &Ward, instance: &str) -> String {
    let status = ward.stage.gateway_status().unwrap();
    status.instances[instance].device_serial.clone().unwrap().strip_prefix("SN-").unwrap().to_owned()
}

fn confirm(ward: &Ward, instance: &str, device: &str) {
    let done = said(&ward.wardgate(&["bind", "confirm", instance]));
    assert!(done.contains(&format!("the device SN-{device} stands at bed")) && done.contains("marked late"), "{done}");
}

/// All that went out of the device has come, once and in order, and nothing else.
fn all_of(ward: &Ward, instance: &str, device: &str, channel: &str) {
    let went = ward.went(device, channel);
    assert_eq!(ward.hears(instance, channel, |came| came.len() >= went.len()), went, "{instance}: what came, what went out of {device}");
}

//= PROMISES.md#P198
#[test]
fn what_one_of_a_pool_says_is_parked_until_a_person_confirms_its_bed_and_two_of_a_pool_are_kept_apart() {
    let folder = Folder::new("ble-pool");
    let devices = [1, 2, 3].map(|n| format!("belt:belt-{n}:F0:00:00:00:31:0{n}"));
    let mut ward = Ward::new(&folder, &devices);
    let grant = r#"ble = { pool = { service = "180d", name = "belt-*" }, services = ["180d", "180a", "180f"] }"#;
    let beds =
        ["bed-1", "bed-2"].map(|bed| instance(&format!("{bed}-belt"), &unsigned("ble-heart-rate"), &format!("bed = \"{bed}\""), grant));
    ward.configure(&beds.concat());
    ward.order("vanish belt-3");
    ward.start_gateway();
    ward.order("on");
    wait_status(&ward.stage, "two that nobody knows", |s| waits_for_a_person(s, "bed-1-belt", 9) && waits_for_a_person(s, "bed-2-belt", 9));
    let (one, other) = (device_of(&ward, "bed-1-belt"), device_of(&ward, "bed-2-belt"));
    let mut both = [one.as_str(), &other];
    both.sort_unstable();
    assert_eq!(both, ["belt-1", "belt-2"], "each has one of its own");
    let list = said(&ward.wardgate(&["bind", "list"]));
    for shown in ["PARKED", "SN-belt-1", "SN-belt-2", "wardgate bind confirm bed-1-belt", "wardgate bind confirm bed-2-belt"] {
        assert!(list.contains(shown), "{shown} is not in\n{list}");
    }
    let status = said(&ward.wardgate(&["status"]));
    assert!(status.contains("UNBOUND"), "{status}");
    // it is not said to be nobody's
    let near = said(&ward.wardgate(&["ble", "scan", "--for", "1"]));
    let belts = near.lines().filter(|l| l.contains("belt-1") || l.contains("belt-2")).collect::<Vec<_>>();
    assert!(belts.len() == 2 && belts.iter().all(|l| l.contains("pool of bed-1-belt, bed")), "{near}");
    let near = said(&ward.wardgate(&["ble", "scan", "--for", "1", "--json"]));
    assert!(near.contains(r#""pools":["bed-1-belt","bed-2-belt"]"#), "{near}");

    // a person confirms one of them, and the other waits on
    confirm(&ward, "bed-1-belt", &one);
    ward.hears("bed-1-belt", ENERGY, |came| came.len() >= 12);
    assert!(ward.came("bed-2-belt", ENERGY).is_empty() && !ward.stage.output().join("bed-2-belt").exists(), "not one value of the other");
    confirm(&ward, "bed-2-belt", &other);
    ward.hears("bed-2-belt", ENERGY, |came| came.len() >= 12);

    // the one is taken off, and a third of the pool is put on: it is not the one that was confirmed
    ward.order(&format!("forget {one}"));
    ward.order("return belt-3");
    let third =
        |s: &Snapshot| waits_for_a_person(s, "bed-1-belt", 6) && s.instances["bed-1-belt"].device_serial.as_deref() == Some("SN-belt-3");
    wait_status(&ward.stage, "the third", third);
    ward.order("off");
    all_of(&ward, "bed-1-belt", &one, ENERGY);
    all_of(&ward, "bed-2-belt", &other, ENERGY);
    confirm(&ward, "bed-1-belt", "belt-3");
    let both = [ward.went(&one, ENERGY), ward.went("belt-3", ENERGY)].concat();
    let came = ward.hears("bed-1-belt", ENERGY, |came| came.len() >= both.len());
    assert_eq!(came, both, "it goes out, late, when a person has said whose it is");
    ward.stop();
}

const FIRST: &str = "F0:00:00:00:35:01";
const SECOND: &str = "F0:00:00:00:35:02";
/// Its two highest bits say that it is changed again and again.
const HIDDEN: &str = "5A:00:00:00:35:03";

/// Its serial number is not granted, so each is known by its address alone.
//= PROMISES.md#P214
#[test]
fn one_of_a_pool_that_tells_no_serial_is_known_by_its_address_and_no_other_ever_reaches_its_bed() {
    let folder = Folder::new("ble-nameless");
    let devices = [("belt-1", FIRST), ("belt-2", SECOND), ("hidden", HIDDEN)].map(|(name, address)| format!("belt:{name}:{address}"));
    let mut ward = Ward::new(&folder, &devices);
    let grant = r#"ble = { pool = { service = "180d" }, services = ["180d"] }"#;
    ward.configure(&instance("bed-1-belt", &unsigned("ble-heart-rate"), "bed = \"bed-1\"", grant));
    ward.order("vanish belt-2");
    ward.order("vanish hidden");
    ward.start_gateway();
    ward.order("on");
    let shows = |address: &'static str| {
        move |s: &Snapshot| waits_for_a_person(s, "bed-1-belt", 6) && s.instances["bed-1-belt"].device_serial.as_deref() == Some(address)
    };
    wait_status(&ward.stage, "the first", shows(FIRST));
    let list = said(&ward.wardgate(&["bind", "list"]));
    assert!(list.contains(&format!("says it is {FIRST}")) && !list.contains("--any-device"), "{list}");
    let refused = ward.wardgate(&["bind", "set", "bed-1-belt", "--any-device"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("one of a pool") && words.contains("wardgate bind confirm bed-1-belt"), "{words}");
    let done = said(&ward.wardgate(&["bind", "confirm", "bed-1-belt"]));
    assert!(done.contains(&format!("the device {FIRST} stands at bed bed-1")), "{done}");
    ward.hears("bed-1-belt", ENERGY, |came| came.len() >= 12);

    // another of the pool, then one that hides who it is, in its place: not one value of theirs reaches the bed
    ward.order("forget belt-1");
    ward.order("return belt-2");
    wait_status(&ward.stage, "the second", shows(SECOND));
    ward.order("forget belt-2");
    ward.order("return hidden");
    let nobody = |s: &Snapshot| {
        let i = &s.instances["bed-1-belt"];
        i.unbound && i.device_serial.is_none() && ward.went("hidden", ENERGY).len() >= 6
    };
    wait_status(&ward.stage, "one that nobody can know", nobody);
    let list = said(&ward.wardgate(&["bind", "list"]));
    assert!(list.contains("wardgate ble pair ADDRESS") && !list.contains("--any-device"), "{list}");
    let refused = ward.wardgate(&["bind", "confirm", "bed-1-belt"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("an address that is its own"), "{words}");
    ward.order("forget hidden");

    // the first comes back and goes on
    let before = ward.came("bed-1-belt", ENERGY).len();
    ward.order("return belt-1");
    ward.hears("bed-1-belt", ENERGY, |came| came.len() >= before + 6);
    ward.order("off");
    all_of(&ward, "bed-1-belt", "belt-1", ENERGY);
    ward.stop();
}

fn beacon(name: &str, more: &str, which: &str) -> String {
    instance(name, &beacon_folder().display().to_string(), more, &format!("ble = {{ {which}, broadcast = true }}"))
}

//= PROMISES.md#P199
#[test]
fn devices_that_only_broadcast_are_heard_without_a_link_and_no_two_are_taken_for_one() {
    let folder = Folder::new("ble-beacons");
    let devices = [1, 2, 3].map(|n| format!("beacon:beacon-{n}:F0:00:00:00:32:0{n}"));
    let mut ward = Ward::new(&folder, &devices);
    let named = beacon("bed-1-beacon", "bed = \"bed-1\"", "address = \"F0:00:00:00:32:01\"");
    ward.configure(&(named + &beacon("of-a-pool", "bed = \"bed-2\"", "pool = { manufacturer = 65535, name = \"beacon-*\" }")));
    ward.order("vanish beacon-3");
    ward.start_gateway();
    // what a pool is like is known from what is broadcast
    wait_status(&ward.stage, "the one that is named", |s| s.links.get("ble bed-1-beacon").is_some_and(|l| l.rssi_dbm.is_some()));
    ward.order("on");
    wait_status(&ward.stage, "one that nobody knows", |s| waits_for_a_person(s, "of-a-pool", 3));
    assert_eq!(device_of(&ward, "of-a-pool"), "beacon-2", "the other one has its own instance");
    ward.hears("bed-1-beacon", VALUE, |came| came.len() >= 5);
    assert!(ward.came("of-a-pool", VALUE).is_empty(), "nobody has said whose it is");
    confirm(&ward, "of-a-pool", "beacon-2");
    ward.hears("of-a-pool", VALUE, |came| came.len() >= 5);

    // another of its kind is nearer: it keeps the one that it has
    ward.order("rssi beacon-3 -20");
    ward.order("return beacon-3");
    wait_to_see("the third to broadcast", || ward.went("beacon-3", VALUE), |went| went.len() >= 10);
    // until that is gone; then nobody knows whose the next one is
    ward.order("forget beacon-2");
    let third =
        |s: &Snapshot| waits_for_a_person(s, "of-a-pool", 3) && s.instances["of-a-pool"].device_serial.as_deref() == Some("SN-beacon-3");
    wait_status(&ward.stage, "the third", third);
    ward.order("off");
    all_of(&ward, "bed-1-beacon", "beacon-1", VALUE);
    // it was taken when its first word had been heard
    let went = ward.went("beacon-2", VALUE);
    let came = ward.hears("of-a-pool", VALUE, |came| came.last() == went.last());
    assert!(went.ends_with(&came), "{came:?} of {went:?}");
    let links = ward.stage.gateway_status().unwrap().links;
    assert!(links.values().all(|l| l.requests == 0 && l.notifications > 0), "nothing was asked of them: {links:?}");
    ward.stop();
}

//= PROMISES.md#P200
#[test]
fn what_does_not_fit_into_the_inbox_of_a_bluetooth_device_is_a_gap_in_the_ledger_with_its_reason() {
    const BURST: usize = 2000;
    let folder = Folder::new("ble-overrun");
    let mut ward = Ward::new(&folder, &["beacon:beacon:F0:00:00:00:33:01".to_owned()]);
    ward.configure(&beacon("slow", "settings = { burn = 1000000 }", "address = \"F0:00:00:00:33:01\""));
    ward.start_gateway();
    wait_status(&ward.stage, "the beacon", |s| s.links.get("ble slow").is_some_and(|l| l.rssi_dbm.is_some()));
    ward.order("on");
    ward.hears("slow", VALUE, |came| came.len() >= 3);
    ward.order(&format!("burst beacon {BURST}"));
    wait_status(&ward.stage, "an overrun", |s| s.instances["slow"].overruns > 0);
    let behind = ward.went("beacon", VALUE).pop().unwrap();
    ward.hears("slow", VALUE, |came| came.last() > Some(&behind));
    ward.order("off");
    ward.hears("slow", VALUE, |came| came.last() == ward.went("beacon", VALUE).last());
    let came = accountant::read_received(&ward.stage.output(), "slow").remove(VALUE).unwrap();
    let number = |content: &Content| if let Content::Number(n, 0) = content { *n } else { panic!("{content:?}") };
    let came: Vec<(u64, i64)> = came.iter().map(|(at, content)| (*at, number(content))).collect();
    let (mut missing, mut holes) = (0, Vec::new());
    for two in came.windows(2) {
        let [(before, m), (after, n)] = two else { unreachable!() };
        assert!(n > m, "twice, or out of order: {two:?}");
        if n - m > 1 {
            missing += n - m - 1;
            holes.push((*before, *after));
        }
    }
    assert!(missing > 0 && came.len() as i64 + missing == ward.went("beacon", VALUE).len() as i64, "{missing} of {}", came.len());
    // each hole lies in a gap of its own, with its reason
    let gaps: Vec<_> = accountant::read_gaps(&ward.stage.output()).into_iter().filter(|g| g.instance == "slow").collect();
    for (before, after) in &holes {
        let is_it = |g: &&accountant::Gap| g.from_monotonic_ns >= *before && g.to_monotonic_ns <= *after && g.reason == "gateway-overrun";
        assert_eq!(gaps.iter().filter(is_it).count(), 1, "{before} to {after}: {gaps:#?}");
    }
    println!("{missing} of {} values are missing, in {} gaps", came.len() as i64 + missing, holes.len());
    ward.stop();
}

//= PROMISES.md#P202
#[test]
fn what_an_indication_brought_is_written_at_once_and_not_with_the_next_commit() {
    const COMMIT_MS: u64 = 60_000; // the longest that there is
    const INDICATED: usize = 6;
    let folder = Folder::new("ble-indicated");
    let mut ward = Ward::new(&folder, &["thermometer:thermometer:F0:00:00:00:34:01".to_owned()]);
    let grant = r#"ble = { address = "F0:00:00:00:34:01", services = ["1809", "180a", "180f"] }"#;
    let thermometer = instance("thermometer", &unsigned("ble-thermometer"), "", grant);
    ward.configure(&format!("[store]\ncommit_ms = {COMMIT_MS}\n{thermometer}"));
    ward.start_gateway();
    let before = wait_status(&ward.stage, "the thermometer", |s| s.links.get("ble thermometer").is_some_and(|l| l.up));
    ward.order("on");
    ward.hears("thermometer", "temperature", |came| came.len() >= INDICATED);
    let after = ward.stage.gateway_status().unwrap();
    let by_the_clock = (after.monotonic_ns - before.monotonic_ns) / 1_000_000 / COMMIT_MS + 2;
    let commits = after.store.commits - before.store.commits;
    assert!(commits > by_the_clock, "{commits} commits; the clock alone would have brought {by_the_clock}");
    ward.order("off");
    all_of(&ward, "thermometer", "thermometer", "temperature");
    ward.stop();
}

/// A line with its address, beside the pool, would be a mistake in gateway.toml.
//= PROMISES.md#P265
#[test]
fn one_of_a_pool_that_is_paired_is_shown_with_its_pool_and_no_address_is_advised() {
    const BELT: &str = "F0:00:00:00:36:01";
    let folder = Folder::new("ble-pool-paired");
    let ward = Ward::new(&folder, &[format!("belt:belt-1:{BELT}")]);
    let grant = r#"ble = { pool = { service = "180d", name = "belt-*" }, services = ["180d"] }"#;
    let bed = instance("bed-2-belt", &unsigned("ble-heart-rate"), "bed = \"bed-2\"", grant);
    ward.configure(&format!("[ble]\npairing = \"just-works\"\n{bed}"));
    let paired = said(&ward.wardgate(&["ble", "pair", BELT]));
    assert!(paired.contains(&format!("paired with {BELT} (belt-1)")) && paired.contains("the pool of bed-2-belt"), "{paired}");
    assert!(!paired.contains("address ="), "{paired}");
    let list = said(&ward.wardgate(&["ble", "list"]));
    assert!(list.lines().any(|l| l.contains(BELT) && l.contains("pool of bed-2-belt")), "{list}");
}
