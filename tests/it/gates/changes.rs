//! What may not change behind a person's back: which release a file holds that an instance names, what was approved for it, and that one good key
//! of two is enough.

use std::fs;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::judges::{Started, signed_by, started, text};
use super::{chiller, digest, in_folder, wider};
use crate::gatekeeper::{Desk, FAR, PAST, another, fleet, same, stolen};
use crate::tamper::key;
use crate::ward::{Folder, wait_to_see};
use wardgate_lab::process::binary;

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
    assert!(why.contains("is where \"chiller\" finds wardgate/modbus-map release 1: with this release 2 in its place"), "{why}");
    assert!(why.contains("count the version up with the release"), "{why}");
    assert_eq!(fs::read(&there).expect("there"), fs::read(&one).expect("there"));
    let last = desk.well(&["audit", "show", "--json", "--last", "1"]);
    assert!(last.contains("\"what\":\"refuse\"") && last.contains("nobody had named it"), "{last}");
    desk.well(&["plugin", "accept", &text(&one)]); // itself is no other one
    fs::write(&there, b"half of it").expect("written");
    desk.badly(&["plugin", "accept", &text(&two)], 4);
    desk.well(&["plugin", "accept", &text(&one)]); // and mends what is damaged
    assert_eq!(fs::read(&there).expect("there"), fs::read(&one).expect("there"));
    // nor by another maker's of that name, although it is known here, nor where the file is lost
    desk.trust("acme", 2);
    fs::create_dir_all(desk.at.join("theirs")).expect("a folder");
    let made_by_acme = |m: String| m.replacen("vendor = \"wardgate\"", "vendor = \"acme\"", 1);
    let theirs = another(&desk.at.join("theirs"), "0.1.1", 1, &key(2), made_by_acme);
    let why = desk.badly(&["plugin", "accept", &text(&theirs)], 4);
    assert!(why.contains("is wardgate/modbus-map release 1, and this is a package of acme") && why.contains("another folder"), "{why}");
    desk.site(&(chiller(&there) + &chiller(&theirs)[chiller(&theirs).find("[instance").expect("one")..].replace("chiller", "other")));
    assert_eq!(started(&desk), None);
    for lose in [&|| fs::write(&there, b"half of it"), &|| fs::remove_file(&there)] as [&dyn Fn() -> std::io::Result<()>; 2] {
        lose().expect("there");
        for package in [&two, &theirs] {
            let why = desk.badly(&["plugin", "accept", &text(package)], 4);
            assert!(why.contains("is where \"chiller\" finds wardgate/modbus-map release 1"), "{why}");
        }
        desk.well(&["plugin", "accept", &text(&one)]);
    }
    // whatever the folder is called that gateway.toml is found in
    std::os::unix::fs::symlink(&desk.at, desk.at.join("linked")).expect("a link");
    fs::remove_file(&there).expect("there");
    let other_way = Command::new(binary("wardgate").expect("built"))
        .args(["plugin", "accept", &text(&two), "--config", "linked/gateway.toml"])
        .current_dir(&desk.at)
        .output();
    assert_eq!(other_way.expect("it runs").status.code(), Some(4));
    desk.well(&["plugin", "accept", &text(&one)]);
    // whoever names the next one before it is there said so
    desk.site(&chiller(&desk.at.join("packages/modbus-map-0.1.2.wardgate")));
    desk.well(&["plugin", "accept", &text(&new)]);
}

/// The site's key lets another package of a release into the place of what runs; what ran last may come back without it.
//= PROMISES.md#P331
#[test]
fn what_an_override_put_into_the_place_of_what_ran_goes_out_again_without_one() {
    let folder = Folder::new("gates-back");
    let desk = Desk::new(&folder);
    let (one, wide) = (in_folder(&desk.at, "one", "0.1.1", 1, same), in_folder(&desk.at, "wide", "0.1.1", 1, wider));
    let there = desk.at.join("packages/modbus-map-0.1.1.wardgate");
    site_of(&desk, &there);
    desk.well(&["plugin", "accept", &text(&one)]);
    assert_eq!(started(&desk), None);
    desk.well(&["plugin", "allow-other", "--key", "site.key", "wardgate", "modbus-map", "1", &digest(&wide)]);
    let said = desk.well(&["plugin", "accept", &text(&wide)]);
    assert!(said.contains("in the place of wardgate/modbus-map release 1: chiller runs it from its next start on"), "{said}");
    assert!(started(&desk).is_some_and(|why| why.contains("asks for more than was approved")));
    desk.well(&["plugin", "accept", &text(&one)]);
    assert_eq!(started(&desk), None);
    let told = desk.well(&["audit", "show", "--json"]);
    assert_eq!(told.matches("\"another package of the same release, by the site's override\"").count(), 1, "{told}");
    // an approval of that other package holds, whatever starts in between, and is of that one
    desk.well(&["grant", "approve", &text(&wide)]);
    assert_eq!(started(&desk), None);
    desk.well(&["plugin", "accept", &text(&wide)]);
    assert_eq!(started(&desk), None);
}

/// A site with a key, and a chiller that runs this file.
fn site_of(desk: &Desk, package: &std::path::Path) {
    if !desk.at.join("site.key").exists() {
        let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", "site"]).current_dir(&desk.at).output();
        assert!(made.expect("it runs").status.success());
    }
    desk.site(&format!("site_key = \"site.pub\"\n{}", chiller(package)));
    desk.sign("site.key");
}

/// What a person looked at counts until that very release ran, whatever else a person looks at and whatever starts.
//= PROMISES.md#P342
#[test]
fn one_approval_takes_no_other_back_and_no_start_does() {
    let folder = Folder::new("gates-ahead");
    let desk = Desk::new(&folder);
    let made = |name: &str, version: &str, release, change: fn(String) -> String| in_folder(&desk.at, name, version, release, change);
    let (one, two) = (made("one", "0.1.1", 1, wider), made("two", "0.1.2", 2, same));
    let (three, four) = (made("three", "0.1.3", 3, wider), made("four", "0.1.4", 4, wider));
    let runs = |package: &std::path::Path| {
        site_of(&desk, package);
        started(&desk)
    };
    assert_eq!((runs(&one), runs(&two)), (None, None));
    assert!(runs(&three).is_some_and(|why| why.contains("asks for more")));
    for older in ["1", "2"] {
        desk.well(&["plugin", "allow-older", "--key", "site.key", "wardgate", "modbus-map", older]);
    }
    for package in [&three, &four, &one] {
        desk.well(&["grant", "approve", &text(package)]);
    }
    assert_eq!((runs(&two), runs(&three)), (None, None));
    assert_eq!(runs(&two), None);
    for package in [&one, &four] {
        let diff = desk.well(&["grant", "diff", &text(package)]);
        assert!(diff.contains("reaches nothing new") || diff.contains("a person approved that"), "{diff}");
        assert_eq!(runs(package), None);
    }
}

/// Who is taken out and put in again has no more than before.
//= PROMISES.md#P305
#[test]
fn an_instance_that_comes_back_is_held_to_what_was_approved_of_each_of_its_packages() {
    let folder = Folder::new("gates-comes-back");
    let desk = Desk::new(&folder);
    let one = in_folder(&desk.at, "one", "0.1.1", 1, same);
    let two = in_folder(&desk.at, "two", "0.1.2", 2, wider);
    let other = in_folder(&desk.at, "other", "0.1.1", 1, |m| m.replacen("name = \"modbus-map\"", "name = \"other-map\"", 1));
    let runs = |package: &std::path::Path| {
        desk.site(&chiller(package));
        started(&desk)
    };
    assert_eq!((runs(&one), runs(&other)), (None, None));
    without_instances(&desk);
    assert!(runs(&two).is_some_and(|why| why.contains("asks for more than was approved")));
    let diff = desk.well(&["grant", "diff", &text(&two)]);
    assert!(diff.contains("reaches more: it starts after `wardgate grant approve"), "{diff}");
    let said = desk.well(&["grant", "approve", &text(&two)]);
    assert!(said.contains("approved for chiller"), "the remedy is what helps: {said}");
    assert_eq!(runs(&two), None);
}

/// That it was gone stands in the log, and so does that it is back: whoever damages the memory does not darken it.
//= PROMISES.md#P351
#[test]
fn an_instance_that_came_back_is_known_by_the_log_to_have_run_last() {
    let folder = Folder::new("gates-came-back");
    let desk = Desk::new(&folder);
    let (one, two) = (in_folder(&desk.at, "one", "0.1.1", 1, same), in_folder(&desk.at, "two", "0.1.2", 2, same));
    desk.site(&chiller(&one));
    assert_eq!(started(&desk), None);
    without_instances(&desk);
    desk.site(&chiller(&one));
    assert_eq!(started(&desk), None);
    desk.well(&["plugin", "accept", &text(&two)]);
    fs::write(desk.at.join("state/trust.memory"), "x").expect("written");
    assert_eq!(started(&desk), None);
    desk.well(&["grant", "recall"]);
    assert_eq!(started(&desk), None);
    without_instances(&desk);
    desk.site(&chiller(&two));
    assert_eq!(started(&desk), None);
    let told = desk.well(&["audit", "show"]);
    assert_eq!(told.matches("from: 1; instance: chiller").count(), 1, "{told}");
    let of = |words: &str| told.lines().filter(|line| line.contains(words) && line.contains("instance: chiller")).count();
    assert_eq!((of("how: configured no more"), of("how: configured again")), (2, 2), "{told}");
}

/// A file with a stranger's signature, or one more than there is room for, takes the place of none with good ones.
//= PROMISES.md#P343
#[test]
fn no_good_signature_goes_for_a_strangers_or_for_want_of_room() {
    let folder = Folder::new("gates-signatures");
    let desk = Desk::new(&folder);
    desk.trust("wardgate.second", 2);
    desk.trust("wardgate.third", 3);
    let one = in_folder(&desk.at, "one", "0.1.1", 1, same);
    let signed = |name: &str, keys: &[u8]| signed_by(&one, &desk.at.join(name), keys);
    let there = desk.at.join("packages/modbus-map-0.1.1.wardgate");
    let signers = || {
        let sealed = wardgate::plugin::sealed(&there).expect("a package");
        (1..=7).filter(|n| sealed.signers().any(|key| *key == crate::tamper::key(*n).public())).collect::<Vec<u8>>()
    };
    for (name, keys, then) in
        [("a", &[1, 7][..], &[1, 7][..]), ("b", &[2], &[1, 2]), ("c", &[1, 7], &[1, 2]), ("d", &[3], &[1, 2]), ("e", &[1, 3], &[1, 2])]
    {
        desk.well(&["plugin", "accept", &text(&signed(name, keys))]);
        assert_eq!(signers(), then, "{name}");
    }
    // what is said and written down is what lies there
    let said = desk.well(&["plugin", "accept", &text(&signed("d", &[3]))]);
    let third = key(3).public().id();
    assert!(said.contains(&format!("it stays as it was: there is no room for the signature by {third}")), "{said}");
    assert!(!desk.well(&["audit", "show", "--json", "--last", "1"]).contains(&third));
}

fn without_instances(desk: &Desk) {
    desk.site("");
    let gateway = Started::at(desk);
    wait_to_see("a gateway without instances", || Started::status(desk), |s| s["instances"].as_object().is_some_and(|all| all.is_empty()));
    gateway.stop();
}

/// What ran as an instance that went is no way back, for whoever damages the memory either.
//= PROMISES.md#P331
#[test]
fn a_damaged_memory_opens_no_way_back_for_an_instance_that_is_gone() {
    let folder = Folder::new("gates-gone");
    let desk = Desk::new(&folder);
    let (one, two) = (in_folder(&desk.at, "one", "0.1.1", 1, same), in_folder(&desk.at, "two", "0.1.2", 2, same));
    desk.site(&chiller(&one));
    assert_eq!(started(&desk), None);
    desk.well(&["plugin", "accept", &text(&two)]);
    without_instances(&desk);
    desk.site(&chiller(&one));
    assert!(started(&desk).is_some_and(|why| why.contains("is older than release 2")));
    fs::write(desk.at.join("state/trust.memory"), "x").expect("written");
    assert!(started(&desk).is_some(), "it did not run here last");
    desk.well(&["grant", "recall"]);
    assert!(started(&desk).is_some_and(|why| why.contains("is older than release 2")));
    let told = desk.well(&["audit", "show"]);
    assert_eq!(told.matches("how: configured no more; instance: chiller").count(), 1, "{told}");
}

/// What was approved is read from what ran, and not from what somebody laid in its place.
//= PROMISES.md#P284
#[test]
fn a_recall_takes_the_reach_of_no_other_package_of_that_release() {
    let folder = Folder::new("gates-recall-other");
    let desk = Desk::new(&folder);
    let (one, wide) = (in_folder(&desk.at, "one", "0.1.1", 1, same), in_folder(&desk.at, "wide", "0.1.1", 1, wider));
    let three = in_folder(&desk.at, "three", "0.1.3", 3, wider);
    let there = desk.at.join("packages/modbus-map-0.1.1.wardgate");
    desk.well(&["plugin", "accept", &text(&one)]);
    desk.site(&chiller(&there));
    assert_eq!(started(&desk), None);
    fs::write(desk.at.join("state/trust.memory"), "x").expect("written");
    fs::copy(&wide, &there).expect("written");
    let said = desk.well(&["grant", "recall"]);
    assert!(
        said.contains(
            "what was approved for chiller is not known, because what ran last is wardgate/modbus-map release 1 with the digest "
        ),
        "{said}"
    );
    fs::copy(&one, &there).expect("written");
    let diff = desk.well(&["grant", "diff", &text(&three)]);
    assert!(diff.contains("reaches more") && !diff.contains("reaches nothing new"), "{diff}");
    // once it runs again, the next one is held against what it reaches
    assert_eq!(started(&desk), None);
    let diff = desk.well(&["grant", "diff", &text(&three)]);
    assert!(diff.contains("+ numeric 300 instead of 256") || diff.contains("instead of 256"), "{diff}");
    assert!(!diff.contains("instead of 0") && !diff.contains("imports"), "only what is more: {diff}");
}

/// A site without a fleet: whoever is trusted no more is left out, and nobody else.
//= PROMISES.md#P317
#[test]
fn a_vendor_whose_key_a_site_takes_away_is_left_out_at_a_start_and_takes_nobody_down() {
    let folder = Folder::new("gates-key-away");
    let desk = Desk::new(&folder);
    let one = in_folder(&desk.at, "one", "0.1.1", 1, same);
    desk.trust("acme", 2);
    fs::create_dir_all(desk.at.join("theirs")).expect("a folder");
    let made_by_acme = |m: String| m.replacen("vendor = \"wardgate\"", "vendor = \"acme\"", 1);
    let theirs = another(&desk.at.join("theirs"), "0.1.1", 1, &key(2), made_by_acme);
    let both = chiller(&one) + &chiller(&theirs)[chiller(&theirs).find("[instance").expect("one")..].replace("chiller", "other");
    desk.site(&both);
    assert_eq!(started(&desk), None);
    fs::remove_file(desk.at.join("trust/vendors/acme.pub")).expect("there");
    let gateway = Started::at(&desk);
    let state = |s: &Json, name: &str| s["instances"][name]["state"].as_str().unwrap_or_default().to_owned();
    let seen = |s: &Json| state(s, "other") == "withheld" && s["instances"]["chiller"]["opens"].as_u64() > Some(0);
    let status = wait_to_see("a vendor left out", || Started::status(&desk), seen);
    assert!(status["instances"]["other"]["detail"].as_str().is_some_and(|why| why.contains("acme")), "{status}");
    gateway.stop();
    // and where all of them go with their folder, nobody is trusted
    fs::remove_dir_all(desk.at.join("trust/vendors")).expect("there");
    let why = started(&desk);
    assert!(why.as_ref().is_some_and(|why| why.contains("trusts nobody")), "{why:?}");
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
