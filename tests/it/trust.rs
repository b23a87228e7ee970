//! The fleet's trust: a desk makes metadata, gateways take it over, and whatever an attacker does with it on the way is refused.

mod attacks;
mod carried;
mod forge;
mod independent;
mod registry;
pub mod site;
mod tokens;
mod wrong_clock;

use std::fs;

use site::{NOW, Site};

use crate::tamper::{key, tiny_into};

//= PROMISES.md#P140
#[test]
fn from_the_fleets_desk_to_a_gateway_each_step_says_what_comes_next_and_each_slip_what_to_do() {
    let site = Site::bare("trust-verbs");
    let said = site.well(&["trust", "init", "fleet"]);
    for line in
        ["3 root keys, of which 2 must sign together", "next: wardgate trust add-vendor", "sha256 ", "on a gateway: wardgate trust update"]
    {
        assert!(said.contains(line), "{line} is missing:\n{said}");
    }
    assert!(site.badly(3, &["trust", "init", "fleet"]).contains("is there already"));
    assert!(site.badly(3, &["trust", "init", "x", "--root-keys", "1"]).contains("2 of 1 root keys cannot be"));
    assert!(site.badly(3, &["trust", "add-vendor", "acme", "--key", "acme.pub"]).contains("wardgate trust init DIR"));
    let fleet = ["--fleet", "fleet"];
    let add = |words: &[&'static str]| [&["trust", "add-vendor"], words, &fleet[..]].concat();
    assert!(site.badly(5, &add(&["acme", "--key", "none.pub"])).contains("none.pub"));
    assert!(site.badly(3, &add(&["acme", "--key", "acme.key"])).contains("let nobody send you a secret key"));
    assert!(site.badly(3, &add(&["../acme", "--key", "acme.pub"])).contains("is no vendor's name"));
    assert!(site.badly(3, &add(&["acme", "--key", "acme.pub", "--paths", "other/*"])).contains("is not below acme/"));
    assert!(site.well(&add(&["acme", "--key", "acme.pub"])).contains("acme is trusted for acme/* by ed25519:"));
    assert!(site.badly(3, &add(&["other", "--key", "acme.pub"])).contains("that key is acme's already"));

    let package = tiny_into(&site.path("stick"), "acme", "1.0.0", 1, 1).display().to_string();
    let foreign = tiny_into(&site.path("foreign"), "acme", "1.0.0", 1, 2).display().to_string();
    let nobodys = tiny_into(&site.path("nobodys"), "nobody", "1.0.0", 1, 1).display().to_string();
    let publish = |what: &str| ["trust", "publish", what, "--fleet", "fleet"].map(str::to_owned);
    let words = |list: &[String]| list.iter().map(|w| w.to_owned()).collect::<Vec<_>>();
    let why = site.badly_of(4, &words(&publish(&foreign)));
    assert!(why.contains("which the fleet does not trust for acme") && !why.contains("wardgate-trust-"), "{why}");
    assert!(site.badly_of(3, &words(&publish(&nobodys))).contains("knows no vendor \"nobody\"; it has acme"));
    assert!(site.badly_of(4, &words(&publish("acme.pub"))).contains("no tar of a package"));
    assert!(site.well_of(&words(&publish(&package))).contains("published: acme/t-1.0.0.wardgate, release 1"));

    let update = ["trust", "update", "--from", "fleet/repository", "--to", "gw"];
    assert!(site.badly(3, &update).contains("--root 1.root.json"));
    let root = ["--root", "fleet/repository/metadata/1.root.json"];
    let said = site.well(&[&update[..], &root].concat());
    assert!(said.contains("trust begins here") && said.contains("acme for acme/*: ed25519:"), "{said}");
    assert!(site.badly(3, &["trust", "update", "--from", "nowhere", "--to", "gw"]).contains("holds no fleet's metadata"));
    assert_eq!(fs::read_dir(site.path("gw/vendors")).expect("made").count(), 1);
    let said = site.well(&["trust", "status", "gw"]);
    assert!(said.contains("new packages are installed until") && !said.contains("trust-stale"), "{said}");
    let said = site.well(&["trust", "status", "fleet"]);
    assert!(said.contains("root: 2 keys of 3 must sign") && said.contains("acme/t-1.0.0.wardgate"), "{said}");
    let words = ["plugin", "install", foreign.as_str(), "--trust", "gw"];
    assert!(site.badly(4, &words).contains("which the fleet does not trust for acme"));
}

//= PROMISES.md#P141
#[test]
fn keys_are_replaced_and_gateways_that_slept_through_it_follow() {
    let site = Site::new("trust-rotate");
    site.update().expect("the first state");
    let old = site.fleet();
    // root keys lie elsewhere: nothing is rotated without enough of them
    let away = site.path("away");
    fs::create_dir(&away).expect("a folder");
    for n in [2, 3] {
        fs::rename(site.path(&format!("fleet/keys/root-{n}.key")), away.join(format!("root-{n}.key"))).expect("moved");
    }
    let alone = site.badly(3, &["trust", "rotate", "--role", "root", "--replace", "3", "--fleet", "fleet"]);
    assert!(alone.contains("must be signed by 2 of its keys, and 1 of them are here"), "{alone}");
    for words in [
        &["--role", "root", "--replace", "3"][..],
        &["--role", "targets"],
        &["--role", "snapshot"],
        &["--role", "timestamp"],
        &["--role", "root"],
    ] {
        site.well(&[&["trust", "rotate"], words, &["--fleet", "fleet", "--keys", "away"]].concat());
    }
    let said = site.update().expect("it follows five roots at once");
    assert!(said.contains("root 6, timestamp 9"), "{said}");
    let new = site.fleet();
    assert_eq!((old["root_version"].as_u64(), new["root_version"].as_u64()), (Some(1), Some(6)));
    assert_eq!(new["vendors"], old["vendors"], "the desk's new key is nobody's who makes packages");
    // signing anew, year after year, leaves all roots and of each list the newest versions
    for _ in 0..12 {
        site.well(&["trust", "publish", "--fleet", "fleet"]);
    }
    site.update().expect("the newest");
    let count = |folder: &str| fs::read_dir(site.path(folder)).expect("a folder").count();
    assert_eq!(count("fleet/repository/metadata"), 6 + 4 * 10 + 1, "6 roots, 10 versions of 4 lists, a timestamp");
    assert_eq!(count("gw/metadata"), 5, "4 roles, and the time that tough knows");
    // and a new gateway, from the first root
    site.well(&[
        "trust",
        "update",
        "--from",
        "fleet/repository/fleet.bundle",
        "--to",
        "new",
        "--root",
        "fleet/repository/metadata/1.root.json",
    ]);
}

//= PROMISES.md#P142
//= PROMISES.md#P283
//= PROMISES.md#P308
//= PROMISES.md#P309
//= PROMISES.md#P311
#[test]
fn what_is_taken_back_reaches_a_gateway_as_one_file_and_stays_so() {
    let site = Site::new("trust-revoke");
    site.update().expect("the first state");
    let id = key(1).public().id();
    fn revoke<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["trust", "revoke", "--fleet", "fleet", "--vendor", "acme"], words].concat()
    }
    assert!(site.badly(2, &revoke(&["--reason", "x"])).contains("--key"));
    assert!(site.badly(3, &revoke(&["--key", "ed25519:xx", "--reason", "x"])).contains("is no key"));
    let strange = key(9).public().id();
    assert!(site.badly(3, &revoke(&["--key", &strange, "--reason", "x"])).contains(&format!("name one of its keys: {id}")));
    // a slip of the pen revokes nothing, for ever
    let tt = ["--name", "tt", "--release", "1", "--reason", "wrong unit"];
    let why = site.badly(3, &revoke(&tt));
    assert!(why.contains("acme has no package \"tt\" at this desk; it has t") && why.contains("did you mean --name t?"), "{why}");
    let why = site.badly(3, &revoke(&["--name", "thermometer", "--release", "1", "--reason", "x"]));
    assert!(!why.contains("did you mean") && why.contains("--even-if-unknown"), "{why}");
    let why = site.badly(3, &revoke(&["--name", "t-1.0.0", "--release", "1", "--reason", "x"]));
    assert!(why.contains("did you mean --name t?"), "{why}");
    // nor does one in the release's number
    let eleven = ["--name", "t", "--release", "11", "--reason", "wrong unit"];
    let why = site.badly(3, &revoke(&eleven));
    assert!(why.contains("acme's t has no release 11 at this desk; it has 1") && why.contains("--even-if-unknown"), "{why}");
    site.well(&revoke(&["--name", "t", "--release", "1", "--reason", "wrong unit"]));
    let why = site.badly(3, &revoke(&eleven));
    assert!(why.contains("it has 1\n"), "what was revoked is known: {why}");
    let said = site.well(&revoke(&[&tt[..], &["--even-if-unknown"]].concat()));
    assert!(said.contains("no package of it was published here"), "{said}");
    assert!(
        site.badly(3, &revoke(&["--name", "t", "--release", "1", "--reason", "x"])).contains("was revoked already"),
        "known, also by that"
    );
    site.well(&revoke(&["--key", &id, "--reason", "stolen laptop"]));
    assert!(site.badly(3, &revoke(&["--key", &id, "--reason", "x"])).contains("was revoked already"));
    site.update_from("fleet/repository/fleet.bundle", NOW).expect("a bundle is enough");
    let fleet = site.fleet();
    assert_eq!(fleet["revoked_keys"][0]["key"], id.as_str());
    assert_eq!(
        (fleet["revoked_keys"][0]["vendor"].as_str(), fleet["revoked_keys"][0]["reason"].as_str()),
        (Some("acme"), Some("stolen laptop"))
    );
    assert_eq!((fleet["revoked_releases"][0]["name"].as_str(), fleet["revoked_releases"][0]["release"].as_u64()), (Some("t"), Some(1)));
    let names: Vec<_> = fs::read_dir(site.path("gw/vendors")).expect("made").map(|e| e.expect("one").file_name()).collect();
    assert!(names.len() == 1 && names[0].to_string_lossy().starts_with("other."), "{names:?}");
    let add = ["trust", "add-vendor", "acme", "--key", "acme.pub", "--fleet", "fleet"];
    assert!(site.badly(3, &add).contains("what was revoked stays so"));
    // nor is it anybody else's from now on
    let add = ["trust", "add-vendor", "other", "--key", "acme.pub", "--fleet", "fleet"];
    let why = site.badly(3, &add);
    assert!(why.contains(&format!("{id} of acme was revoked on 2026-12-01T12:00:00Z: stolen laptop")), "{why}");
    assert!(site.install("packages/acme/t-1.0.0.wardgate").expect_err("revoked").contains("acme's t release 1 was revoked: wrong unit"));
    tiny_into(&site.path("new"), "acme", "2.0.0", 2, 1);
    let why = site.install("new/t-2.0.0.wardgate").expect_err("revoked");
    assert!(why.contains(&format!("acme's key {id} was revoked on 2026-12-01T12:00:00Z: stolen laptop")), "{why}");
    // the desk says the same of what it is to publish, and names no folder of its own that is gone already
    fs::write(site.path("next.pub"), key(5).public().pem()).expect("written");
    site.well(&["trust", "add-vendor", "acme", "--key", "next.pub", "--until", "2026-12-02", "--fleet", "fleet"]);
    let mut late = wardgate::plugin::sealed(&site.path("new/t-2.0.0.wardgate")).expect("a package");
    late.unsign();
    late.sign(&key(5)).expect("room");
    fs::write(site.path("late.wardgate"), late.write()).expect("written");
    for (package, words) in [
        ("packages/acme/t-1.0.0.wardgate", "acme's t release 1 was revoked: wrong unit".to_owned()),
        ("new/t-2.0.0.wardgate", format!("acme's key {id} was revoked on 2026-12-01T12:00:00Z: stolen laptop")),
        ("late.wardgate", format!("the term of the key {}, which signed it, ended on 2026-12-03T00:00:00Z", key(5).public().id())),
    ] {
        let done = site.run(&["trust", "publish", package, "--fleet", "fleet"], Some("2026-12-03T00:00:00Z"));
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(4) && why.contains(&words) && !why.contains("wardgate-trust-"), "{package}: {why}");
    }
    // and a gateway's own copy may be carried on to the next, as it came
    site.well(&["trust", "update", "--from", "gw/repository", "--to", "next", "--root", "fleet/repository/metadata/1.root.json"]);
    assert_eq!(fs::read(site.path("next/fleet.json")).expect("written"), fs::read(site.path("gw/fleet.json")).expect("written"));
}

#[test]
fn a_release_that_is_taken_back_takes_no_package_with_it_whose_name_begins_like_its_own() {
    let site = Site::bare("trust-alike");
    site.well(&["trust", "init", "fleet"]);
    site.well(&["trust", "add-vendor", "acme", "--key", "acme.pub", "--fleet", "fleet"]);
    for (name, version) in [("t", "1.0.0"), ("t", "1.1.0"), ("t-pro", "1.0.0"), ("t-1", "1.0.0")] {
        let release = if version == "1.1.0" { 2 } else { 1 };
        let package = crate::tamper::tiny_named(&site.path("stick"), name, "acme", version, release, 1).display().to_string();
        site.well(&["trust", "publish", &package, "--fleet", "fleet"]);
    }
    site.well(&["trust", "revoke", "--fleet", "fleet", "--vendor", "acme", "--name", "t", "--release", "1", "--reason", "it leaks"]);
    let said = site.well(&["trust", "status", "fleet"]);
    for stays in ["acme/t-1.1.0.wardgate", "acme/t-pro-1.0.0.wardgate", "acme/t-1-1.0.0.wardgate"] {
        assert!(said.contains(stays), "{stays}: {said}");
    }
    assert!(!said.contains("acme/t-1.0.0.wardgate"), "{said}");
}

//= PROMISES.md#P252
#[test]
fn the_desk_publishes_a_release_once_and_no_other_package_of_it() {
    let site = Site::new("trust-twice");
    let package = |version: &str, release| tiny_into(&site.path("stick"), "acme", version, release, 1).display().to_string();
    let publish = |what: &str| ["trust", "publish", what, "--fleet", "fleet"].map(str::to_owned);
    let why = site.badly_of(4, &publish(&package("1.0.1", 1)));
    assert!(why.contains("release 1 of acme's t is published already as acme/t-1.0.0.wardgate, with the digest "), "{why}");
    assert!(why.contains("ask acme to count `release` up"), "{why}");
    site.well_of(&publish("packages/acme/t-1.0.0.wardgate")); // the same once more is no other one
    site.well_of(&publish(&package("1.0.1", 2)));
    // another package's name that begins alike, and another vendor's, count their own
    let alike = crate::tamper::tiny_named(&site.path("stick"), "t-1", "acme", "1.0.0", 1, 1).display().to_string();
    site.well_of(&publish(&alike));
}

//= PROMISES.md#P143
#[test]
fn a_power_cut_while_it_is_written_costs_no_trust_and_nothing_older_comes_back() {
    let site = Site::new("trust-torn");
    site.update().expect("the first state");
    let first = site.copy("fleet/repository", "first");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    site.update().expect("the second");
    // tough's store is written in several steps: each of its files may be torn or gone, or all of them
    let names = ["root.json", "timestamp.json", "snapshot.json", "targets.json"];
    let cases = names.iter().flat_map(|name| [None, Some(""), Some("{\"signed\":")].map(|torn| (vec![*name], torn)));
    for (torn_names, torn) in cases.chain([(names.to_vec(), None), (names.to_vec(), Some(""))]) {
        for name in &torn_names {
            let path = site.path("gw/metadata").join(name);
            match torn {
                None => fs::remove_file(&path).expect("there"),
                Some(bytes) => fs::write(&path, bytes).expect("written"),
            }
        }
        let why = site.update_from(&first, NOW).expect_err("an older state was taken");
        assert!(why.contains("a rollback"), "{torn_names:?} {torn:?}: {why}");
        site.update().unwrap_or_else(|why| panic!("{torn_names:?} {torn:?}: {why}"));
    }
}

//= PROMISES.md#P310
#[test]
fn a_damaged_fleet_json_is_written_anew_by_an_update_and_lets_nothing_older_in() {
    let site = Site::new("trust-damaged");
    site.update().expect("the first state");
    let first = site.copy("fleet/repository", "first");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    site.update().expect("the second");
    let whole = fs::read_to_string(site.path("gw/fleet.json")).expect("written");
    let changed = |from: &str, to: &str| {
        assert!(whole.contains(from), "{from}: {whole}");
        whole.replacen(from, to, 1)
    };
    let timestamp = site.fleet()["timestamp_version"].as_u64().expect("a number");
    let version = format!("\"timestamp_version\": {timestamp}");
    let damages = [
        ("empty", String::new()),
        ("torn", whole[..whole.len() / 2].to_owned()),
        ("a letter", changed("\"revoked_keys\"", "\"revoked_kexs\"")),
        ("no text", changed("{", "\u{0}")),
        ("a timestamp's version", changed(&version, &format!("{version}9"))),
        ("a snapshot's version", changed("\"snapshot_version\": ", "\"snapshot_version\": 7")),
        ("a root's version", changed("\"root_version\": ", "\"root_version\": 7")),
        ("a letter of a vendor", changed("\"vendor\": \"acme\"", "\"vendor\": \"acmf\"")),
        ("a moment", changed("\"expires\": \"2", "\"expires\": \"3")),
    ];
    for (n, (name, damaged)) in (1..).zip(&damages) {
        let put = || fs::write(site.path("gw/fleet.json"), damaged).expect("written");
        put();
        let why = site.install("packages/acme/t-1.0.0.wardgate").expect_err("it is damaged");
        assert!(why.contains("fleet.json is damaged") && why.contains("`wardgate trust update --from"), "{name}: {why}");
        let why = site.update_from(&first, NOW).expect_err("an older state was taken");
        assert!(why.contains("a rollback"), "{name}: {why}");
        assert_eq!(
            &fs::read_to_string(site.path("gw/fleet.json")).expect("there"),
            damaged,
            "{name}: nothing is changed by what is refused"
        );
        let release = n.to_string();
        let revoke = ["trust", "revoke", "--fleet", "fleet", "--vendor", "acme", "--name", "pump", "--release", &release];
        site.well(&[&revoke[..], &["--even-if-unknown", "--reason", "x"]].concat());
        let said = site.update().unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(said.contains("fleet.json is damaged and is written anew: "), "{name}: {said}");
        let revoked = site.fleet()["revoked_releases"].as_array().map(Vec::len);
        assert_eq!(revoked, Some(n), "{name}: what was taken back meanwhile is here");
        assert!(!site.update().expect("whole again").contains("damaged"), "{name}");
    }
    // where what tough keeps is torn, a whole fleet.json is believed
    fs::write(site.path("gw/metadata/timestamp.json"), "").expect("written");
    assert!(site.update_from(&first, NOW).expect_err("an older state was taken").contains("a rollback"));
    site.update().expect("whole again");
}

//= PROMISES.md#P154
#[test]
fn a_power_cut_at_the_desk_makes_no_key_of_the_desk_a_vendors() {
    let site = Site::new("trust-desk-torn");
    site.update().expect("the first state");
    let vendors = site.fleet()["vendors"].clone();
    let rotate = ["trust", "rotate", "--role", "targets", "--fleet", "fleet"];
    let before = site.copy("fleet/repository/metadata", "before");
    site.well(&rotate);
    let metadata = site.path("fleet/repository/metadata");
    // all is written but the timestamp: the new root is there, the lists are of the old one
    fs::copy(site.path(&before).join("timestamp.json"), metadata.join("timestamp.json")).expect("copied");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    site.update().expect("whole again");
    assert_eq!((&site.fleet()["vendors"], site.fleet()["root_version"].as_u64()), (&vendors, Some(2)));
    // nothing is written but the new key
    let before = site.copy("fleet/repository/metadata", "before-2");
    site.well(&rotate);
    fs::copy(site.path(&before).join("timestamp.json"), metadata.join("timestamp.json")).expect("copied");
    fs::remove_file(metadata.join("3.root.json")).expect("there");
    site.well(&rotate);
    site.update().expect("whole again");
    assert_eq!((&site.fleet()["vendors"], site.fleet()["root_version"].as_u64()), (&vendors, Some(3)));
}
