//! What may not change behind a person's back: which release a file holds that an instance names, what was approved for it, and that one good key
//! of two is enough.

use std::fs;

use serde_json::{Value as Json, json};

use super::judges::{Started, signed_by, started, text};
use super::{chiller, in_folder, wider};
use crate::gatekeeper::{Desk, FAR, PAST, fleet, same, stolen};
use crate::tamper::key;
use crate::ward::{Folder, wait_to_see};

/// A stolen laptop costs one of the vendor's two keys: what is signed by the other one too is not stopped at a bed.
//= PROMISES.md#P343
#[test]
fn what_two_keys_signed_runs_on_when_one_of_them_is_revoked_and_stops_when_both_are() {
    let folder = Folder::new("gates-two-keys");
    let desk = Desk::new(&folder);
    desk.trust("wardgate.second", 2);
    let package = signed_by(&in_folder(&desk.at, "one", "0.1.1", 1, same), &desk.at.join("both"), &[1, 2]);
    let both = || json!([stolen(1)[0], stolen(2)[0]]);
    let revoked = |version: u64, keys: Json| desk.fleet(&fleet(version, FAR, keys, json!([])));
    revoked(1, json!([]));
    desk.site(&format!("on_revoked = \"stop-now\"\n{}", chiller(&package)));
    let gateway = Started::at(&desk);
    let seen = |version: u64, so: &dyn Fn(&Json) -> bool| {
        let fleet = format!("timestamp {version}");
        let is = |s: &Json| s["trust"]["fleet"].as_str().is_some_and(|f| f.ends_with(&fleet)) && so(&s["instances"]["chiller"]);
        wait_to_see(&fleet, || Started::status(&desk), is)
    };
    let runs =
        |i: &Json| i["opens"].as_u64() == Some(1) && i["state"] != "withheld" && i["revoked"].as_str().unwrap_or_default().is_empty();
    seen(1, &runs);
    for (version, n) in [(2, 1), (3, 2)] {
        revoked(version, stolen(n));
        seen(version, &|_| true);
        seen(version, &runs); // a look at the fleet takes back at once what it takes back
    }
    revoked(4, both());
    seen(4, &|i| i["state"] == "withheld");
    revoked(5, stolen(1));
    seen(5, &|i| i["state"] != "withheld" && i["opens"].as_u64() > Some(0));
    gateway.stop();
    let told = desk.well(&["audit", "show", "--json"]);
    assert_eq!(told.matches("it is stopped, as on_revoked").count(), 1, "{told}");
}

/// An instance runs another release from its next start on only where somebody said so in gateway.toml.
//= PROMISES.md#P344
#[test]
fn no_file_that_an_instance_names_is_replaced_by_another_release() {
    let folder = Folder::new("gates-in-place");
    let desk = Desk::new(&folder);
    let made = |name: &str, version: &str, release| in_folder(&desk.at, name, version, release, same);
    let (one, two, new) = (made("one", "0.1.1", 1), made("two", "0.1.1", 2), made("new", "0.1.2", 2));
    desk.well(&["plugin", "accept", &text(&one)]);
    let there = desk.at.join("packages/modbus-map-0.1.1.wardgate");
    desk.site(&chiller(&there));
    assert_eq!(started(&desk), None);
    let why = desk.badly(&["plugin", "accept", &text(&two)], 4);
    assert!(why.contains("is release 1, which gateway.toml names for \"chiller\", and this is release 2"), "{why}");
    assert!(why.contains("count the version up with the release"), "{why}");
    assert_eq!(fs::read(&there).expect("there"), fs::read(&one).expect("there"));
    let last = desk.well(&["audit", "show", "--json", "--last", "1"]);
    assert!(last.contains("\"what\":\"refuse\"") && last.contains("nobody had named it"), "{last}");
    desk.well(&["plugin", "accept", &text(&one)]); // itself is no other one
    fs::write(&there, b"half of it").expect("written");
    let why = desk.badly(&["plugin", "accept", &text(&two)], 4);
    assert!(why.contains("is damaged, which gateway.toml names for \"chiller\""), "{why}");
    desk.well(&["plugin", "accept", &text(&one)]); // and mends what is damaged
    assert_eq!(fs::read(&there).expect("there"), fs::read(&one).expect("there"));
    desk.well(&["plugin", "accept", &text(&new)]);
}

//= PROMISES.md#P342
#[test]
fn another_package_in_its_place_or_approved_for_it_undoes_no_approval() {
    let folder = Folder::new("gates-swap");
    let desk = Desk::new(&folder);
    let one = in_folder(&desk.at, "one", "0.1.1", 1, same);
    let two = in_folder(&desk.at, "two", "0.1.2", 2, wider);
    let other = in_folder(&desk.at, "other", "0.1.1", 1, |m| m.replacen("name = \"modbus-map\"", "name = \"other-map\"", 1));
    let beyond = |why: Option<String>| assert!(why.as_ref().is_some_and(|why| why.contains("asks for more than was approved")), "{why:?}");
    let runs = |package: &std::path::Path| {
        desk.site(&chiller(package));
        started(&desk)
    };
    assert_eq!(runs(&one), None);
    beyond(runs(&two));
    assert_eq!(runs(&other), None);
    beyond(runs(&two));
    let said = desk.well(&["grant", "approve", &text(&other), "--instance", "chiller"]);
    assert!(said.contains("approved for chiller: what wardgate/other-map release 1 asks for"), "{said}");
    beyond(runs(&two));
    assert_eq!(runs(&one), None);
    let said = desk.well(&["grant", "approve", &text(&other), "--instance", "chiller"]);
    assert!(said.contains("chiller runs wardgate/modbus-map until gateway.toml names this one"), "{said}");
    beyond(runs(&two));
    let told = desk.well(&["audit", "show", "--json"]);
    assert_eq!(told.matches("first seen, as gateway.toml says").count(), 2, "each package once: {told}");
    desk.well(&["grant", "approve", &text(&two)]);
    assert_eq!(runs(&two), None);
}

/// A vendor's list may end before the rest of the metadata: what is new of that vendor waits for a newer one, at each gate.
//= PROMISES.md#P360
#[test]
fn of_a_vendor_whose_list_has_ended_nothing_new_comes_in_and_what_ran_goes_on() {
    let folder = Folder::new("gates-list-over");
    let desk = Desk::new(&folder);
    let (one, two) = (in_folder(&desk.at, "one", "0.1.1", 1, same), in_folder(&desk.at, "two", "0.1.2", 2, same));
    let ends = |version: u64, ends: &str| {
        let mut says = fleet(version, FAR, json!([]), json!([]));
        says["vendors"] = json!([{ "vendor": "wardgate", "keys": [key(1).public().id()], "list_ends": ends }]);
        desk.fleet(&says);
    };
    ends(1, FAR);
    desk.site(&chiller(&one));
    assert_eq!(started(&desk), None);
    ends(2, PAST);
    assert_eq!(started(&desk), None, "it ran here");
    let words = "release 2 is new here, and nothing new is taken while the fleet's metadata is not fresh: the list of wardgate ended on";
    assert!(desk.badly(&["plugin", "accept", &text(&two)], 4).contains(words));
    assert!(desk.well(&["grant", "diff", &text(&two)]).contains(words));
    desk.site(&chiller(&two));
    assert!(started(&desk).is_some_and(|why| why.contains(words)));
    ends(3, FAR);
    assert_eq!(started(&desk), None);
}
