//! Every verb that asks whether a package may run asks the same judge, and what a person is not allowed is told as such.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use wardgate::plugin::{Member, Sealed};
use wardgate_lab::process::{Process, binary};

use super::{chiller, contents, digest, in_folder, wider};
use crate::gatekeeper::{Desk, FAR, PAST, fleet, same, stolen};
use crate::tamper::key;
use crate::trust::site::{LONG_AFTER, Site};
use crate::ward::{Folder, wait_to_see};

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

//= PROMISES.md#P274
#[test]
fn what_may_not_run_is_told_by_grant_diff_and_is_not_approved() {
    let folder = Folder::new("gates-approve");
    let desk = Desk::new(&folder);
    let package = |name: &str, version: &str, release, change: fn(String) -> String| in_folder(&desk.at, name, version, release, change);
    let (one, two, three) = (package("one", "0.1.1", 1, wider), package("two", "0.1.2", 2, same), package("three", "0.1.3", 3, wider));
    let other = package("other", "0.1.2", 2, wider);
    let fresh = |version| desk.fleet(&fleet(version, FAR, json!([]), json!([])));
    fresh(1);
    desk.site(&chiller(&two));
    desk.well(&["plugin", "accept", &text(&two)]);
    desk.well(&["grant", "approve", &text(&two), "--instance", "chiller"]);
    let badly = |package: &Path, words: &str, remedy: &str| {
        let diff = desk.well(&["grant", "diff", &text(package)]);
        let first = diff.lines().nth(1).expect("a second line");
        assert!(first.contains("would NOT run as chiller, whatever is approved") && first.contains(words), "{words}: {diff}");
        assert!(diff.contains(remedy), "{remedy}: {diff}");
        let memory = fs::read(desk.at.join("state/trust.memory")).expect("it remembers");
        for only in [&[][..], &["--instance", "chiller"]] {
            let told = desk.badly(&[&["grant", "approve", &text(package)], only].concat(), 4);
            assert!(told.contains(words) && told.contains(remedy), "{words}: {told}");
        }
        assert_eq!(fs::read(desk.at.join("state/trust.memory")).expect("there"), memory, "nothing is approved");
        let last = desk.well(&["audit", "show", "--json", "--last", "1"]);
        assert!(last.contains("\"what\":\"refuse\"") && last.contains("\"what\":\"approve\"") && last.contains(words), "{last}");
    };
    badly(&one, "release 1 is older than release 2", "plugin allow-older");
    badly(&other, "release 2 was seen here as another package", "plugin allow-other");
    desk.fleet(&fleet(2, PAST, json!([]), json!([])));
    badly(&three, "release 3 is new here, and nothing new is taken", "bring fresh metadata");
    desk.fleet(&fleet(3, FAR, json!([]), json!([{"vendor": "wardgate", "name": "modbus-map", "release": 3, "reason": "it leaks"}])));
    badly(&three, "release 3 was revoked: it leaks", "ask the vendor for this package");
    desk.fleet(&fleet(4, FAR, stolen(1), json!([])));
    badly(&three, "a laptop was stolen", "ask the vendor for this package");
    // who made it is nobody whom the site knows
    fresh(5);
    desk.trust("wardgate", 2);
    for verb in ["diff", "approve"] {
        assert!(desk.badly(&["grant", verb, &text(&three)], 4).contains("signed in the name of wardgate"));
    }
    desk.trust("wardgate", 1);
    let diff = desk.well(&["grant", "diff", &text(&three)]);
    assert!(!diff.contains("would NOT run") && diff.contains("it starts after `wardgate grant approve"), "{diff}");
    desk.well(&["grant", "approve", &text(&three)]);
    desk.well(&["audit", "verify"]);
}

//= PROMISES.md#P275
#[test]
fn an_override_that_was_not_given_is_told_as_a_refusal_of_whom_and_why_and_none_as_given() {
    let folder = Folder::new("gates-override");
    let desk = Desk::new(&folder);
    for name in ["site", "other"] {
        let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", name]).current_dir(&desk.at).output();
        assert!(made.expect("it runs").status.success());
    }
    desk.site("site_key = \"site.pub\"\n");
    desk.sign("site.key");
    let digest = "0".repeat(64);
    let older = |key: &'static str, vendor: &'static str| ["plugin", "allow-older", "--key", key, vendor, "modbus-map", "1"];
    let records = || {
        let told = desk.well(&["audit", "show", "--json"]);
        let read: Vec<serde_json::Value> = told.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        read
    };
    let refused = |words: &[&str], why: &str| {
        assert!(desk.badly(words, 4).contains(why), "{words:?}");
        let last = records().pop().expect("a record");
        assert!(
            last["what"] == "refuse" && last["about"]["what"] == words[1] && last["by"].as_str().is_some_and(|by| by.starts_with("uid "))
        );
        assert!(last["about"]["why"].as_str().is_some_and(|told| told.contains(why)), "{last}");
        last
    };
    let by = refused(&older("other.key", "wardgate"), "not the key that this gateway knows");
    assert_eq!((by["about"]["vendor"].as_str(), by["about"]["release"].as_str()), (Some("wardgate"), Some("1")));
    assert!(by["about"]["key"].as_str().is_some_and(|key| key.starts_with("ed25519:")), "whose key it was: {by}");
    refused(&older("site.pub", "wardgate"), "site.pub");
    refused(&older("site.key", "Wardgate Inc"), "is no name of a vendor");
    refused(&["plugin", "allow-other", "--key", "site.key", "wardgate", "modbus-map", "1", "x"], "is no digest");
    assert!(records().iter().all(|record| record["what"] != "break-glass"), "none was given");
    assert!(!contents(&desk.at.join("state")).iter().any(|(path, _)| path.to_string_lossy().contains("overrides")));
    // where it cannot be put it was not given
    fs::write(desk.at.join("state/overrides"), "").expect("written");
    refused(&older("site.key", "wardgate"), "wardgate.modbus-map.1.json");
    assert!(records().iter().all(|record| record["what"] != "break-glass"), "none was given");
    fs::remove_file(desk.at.join("state/overrides")).expect("there");
    desk.well(&older("site.key", "wardgate"));
    let lie: Vec<_> = contents(&desk.at.join("state/overrides")).into_iter().map(|(path, _)| path).collect();
    assert_eq!(lie, [desk.at.join("state/overrides/wardgate.modbus-map.1.json")], "and nothing beside it");
    desk.well(&["plugin", "allow-other", "--key", "site.key", "wardgate", "modbus-map", "1", &digest]);
    let told = records();
    assert_eq!(told.iter().rev().take_while(|record| record["what"] == "break-glass").count(), 2, "{told:#?}");
}

/// The same package, signed by these keys and no others.
pub(super) fn signed_by(package: &Path, folder: &Path, keys: &[u8]) -> PathBuf {
    let mut sealed = wardgate::plugin::sealed(package).expect("a package");
    sealed.unsign();
    keys.iter().for_each(|n| sealed.sign(&key(*n)).expect("room"));
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(package.file_name().expect("a name"));
    fs::write(&path, sealed.write()).expect("written");
    path
}

/// The same release by its manifest, with something else in it.
fn another_content(package: &Path, folder: &Path, n: u8) -> PathBuf {
    let first = wardgate::plugin::sealed(package).expect("a package");
    let files =
        first.files().iter().map(|file| if file.path == "README.md" { Member::new("README.md", b"other".into()) } else { file.clone() });
    let mut sealed = Sealed::new(files.collect(), first.claim.clone()).expect("a package");
    sealed.sign(&key(n)).expect("room");
    fs::create_dir_all(folder).expect("a folder");
    let path = folder.join(package.file_name().expect("a name"));
    fs::write(&path, sealed.write()).expect("written");
    path
}

//= PROMISES.md#P276
#[test]
fn a_package_that_its_vendor_signed_by_another_key_is_the_same_package_at_the_desk_and_at_each_gate() {
    let site = Site::new("gates-signed-again");
    let desk = super::beside_its_fleet(&site);
    let first = site.path("packages/acme/t-1.0.0.wardgate");
    let (both, alone) = (signed_by(&first, &site.path("both"), &[1, 5]), signed_by(&first, &site.path("alone"), &[5]));
    let other = another_content(&first, &site.path("other"), 5);
    assert_eq!((digest(&both), digest(&alone)), (digest(&first), digest(&first)));
    assert_ne!(digest(&other), digest(&first));
    let publish = |package: &Path| ["trust", "publish", &text(package), "--fleet", "fleet"].map(str::to_owned);
    let install = |package: &str| ["plugin", "install", package, "--config", "gateway.toml"].map(str::to_owned);
    fs::write(site.path("new.pub"), key(5).public().pem()).expect("written");
    site.well(&["trust", "add-vendor", "acme", "--key", "new.pub", "--fleet", "fleet"]);
    site.update().expect("the next state");
    // what the desk publishes is the package: each of its files comes in, whichever of them lies at the desk; and no good signature goes
    let why = site.well_of(&publish(&first));
    assert!(why.contains("published: acme/t-1.0.0.wardgate, release 1"), "{why}");
    let why = site.badly_of(4, &publish(&alone));
    assert!(why.contains("is published with a signature by ed25519:") && why.contains("wardgate plugin sign"), "{why}");
    for published in [&first, &both] {
        assert!(site.well_of(&publish(published)).contains("published: acme/t-1.0.0.wardgate, release 1"));
        site.update().expect("the next state");
        let listed = &site.fleet()["packages"][0];
        assert_eq!((listed["name"].as_str(), listed["statement"].as_str()), (Some("acme/t-1.0.0.wardgate"), Some(digest(&first).as_str())));
        for file in [&both, &alone, &first] {
            site.well_of(&install(&text(file)));
            assert_eq!(fs::read(site.path("packages/t-1.0.0.wardgate")).expect("there"), fs::read(&both).expect("there"), "{file:?}");
            desk.well(&["plugin", "accept", &text(file)]);
        }
        let why = site.badly_of(4, &publish(&other));
        assert!(
            why.contains("is published already with the digest") && why.contains(&digest(&other)) && why.contains(&digest(&first)),
            "{why}"
        );
        let why = site.badly_of(4, &install(&text(&other)));
        assert!(why.contains("the fleet's lists name acme/t-1.0.0.wardgate with the SHA-256 "), "{why}");
        let why = desk.badly(&["plugin", "accept", &text(&other)], 4);
        assert!(why.contains("release 1 was seen here as another package"), "{why}");
        site.well_of(&["plugin", "install", "acme/t-1.0.0", "--from", "fleet/repository", "--config", "gateway.toml"].map(str::to_owned));
        assert_eq!(fs::read(site.path("packages/t-1.0.0.wardgate")).expect("there"), fs::read(&both).expect("there"));
    }
    let listed = || site.fleet()["packages"][0]["sha256"].clone();
    let before = listed();
    assert!(site.well_of(&publish(&alone)).contains("stays as it was published: that file has a signature by ed25519:"));
    site.update().expect("the next state");
    assert_eq!(listed(), before);
    // its old key is revoked: what the remedy says is what helps
    site.well(&["trust", "revoke", "--vendor", "acme", "--key", "acme.pub", "--reason", "a laptop was stolen", "--fleet", "fleet"]);
    site.update().expect("the next state");
    let why = desk.badly(&["plugin", "accept", &text(&first)], 4);
    assert!(why.contains("a laptop was stolen") && why.contains("ask the vendor for this package by another key"), "{why}");
    for file in [&both, &alone] {
        site.well_of(&install(&text(file)));
    }
    // at a gateway that never saw it, by the lists alone
    fs::remove_dir_all(site.path("state")).expect("there");
    fs::remove_dir_all(site.path("packages")).expect("there");
    desk.well(&["plugin", "accept", &text(&alone)]);
    // a third signature has no room, and the words say what to do
    let sign = |words: &[&str]| {
        let done =
            Command::new(binary("wardgate").expect("built")).args(["plugin", "sign"]).args(words).current_dir(site.path("")).output();
        let done = done.expect("it runs");
        (done.status.success(), crate::gatekeeper::said(&done))
    };
    let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", "third"]).current_dir(site.path("")).output();
    assert!(made.expect("it runs").status.success());
    let (done, said) = sign(&["--key", "third.key", &text(&both)]);
    assert!(!done && said.contains("has 2 signatures already") && said.contains("wardgate plugin sign --alone --key"), "{said}");
    let (done, said) = sign(&["--alone", "--key", "third.key", &text(&both)]);
    assert!(done && digest(&both) == digest(&alone), "{said}");
    assert_eq!(wardgate::plugin::sealed(&both).expect("a package").signers().count(), 1);
}

//= PROMISES.md#P312
#[test]
fn an_install_that_the_fleets_metadata_refuses_is_in_the_audit_log() {
    let site = Site::new("gates-install-refused");
    let desk = super::beside_its_fleet(&site);
    let first = site.path("packages/acme/t-1.0.0.wardgate");
    let (unlisted, strange) = (another_content(&first, &site.path("unlisted"), 1), signed_by(&first, &site.path("strange"), &[7]));
    let damaged = site.path("damaged.wardgate");
    let bytes = fs::read(&first).expect("there");
    fs::write(&damaged, &bytes[..bytes.len() / 2]).expect("written");
    let last = || -> serde_json::Value {
        serde_json::from_str(desk.well(&["audit", "show", "--json", "--last", "1"]).trim_end()).expect("a record")
    };
    let install = |package: &Path| ["plugin", "install", &text(package), "--config", "gateway.toml"].map(str::to_owned);
    let refused = |package: &Path, words: &str, known: bool| {
        let told = site.badly_of(4, &install(package));
        assert!(told.contains(words), "{words}: {told}");
        let (record, about) = (last(), |name: &str| last()["about"][name].as_str().map(str::to_owned));
        assert_eq!((record["what"].as_str(), about("what").as_deref()), (Some("refuse"), Some("install")), "{record}");
        assert!(about("why").is_some_and(|why| why.contains(words)) && about("file") == Some(text(package)), "{record}");
        let expected = known.then(|| ("acme/t-1.0.0".to_owned(), digest(package)));
        assert_eq!(about("package").zip(about("digest")), expected, "{record}");
        told
    };
    refused(&unlisted, "the fleet's lists name acme/t-1.0.0.wardgate with the SHA-256 ", true);
    refused(&strange, "which the fleet does not trust for acme", true);
    refused(&damaged, "it ends too early", false);
    site.well(&["trust", "revoke", "--vendor", "acme", "--key", "acme.pub", "--reason", "a laptop was stolen", "--fleet", "fleet"]);
    site.update().expect("the next state");
    let told = refused(&first, "a laptop was stolen", true);
    // by its name, before there is a file
    site.badly_of(4, &["plugin", "install", "acme/t-9.0.0", "--from", "fleet/repository", "--config", "gateway.toml"].map(str::to_owned));
    assert!(
        last()["about"]["file"] == "acme/t-9.0.0" && last()["about"]["why"].as_str().is_some_and(|w| w.contains("name no acme/t-9.0.0"))
    );
    // what the metadata cannot say any more
    let late = site.install_at(&text(&first), LONG_AFTER).expect_err("it is stale");
    assert!(late.contains("the fleet's metadata is stale"), "{late}");
    assert!(
        last()["what"] == "refuse" && last()["about"]["why"].as_str().is_some_and(|why| why.contains("metadata is stale")),
        "{}",
        last()
    );
    desk.well(&["audit", "verify"]);
    // where nothing can be written down the words are the same
    fs::rename(site.path("state"), site.path("away")).expect("moved");
    fs::write(site.path("state"), "").expect("written");
    assert_eq!(site.badly_of(4, &install(&first)), told);
}

/// A gateway of this desk, until it is dropped.
pub(super) struct Started(Process);

impl Started {
    pub fn at(desk: &Desk) -> Self {
        let mut command = Command::new(binary("wardgate").expect("built"));
        command.args(["--log", "text", "run", "--config", "gateway.toml"]).current_dir(&desk.at);
        Self(Process::start("wardgate", &mut command, &desk.at.join("gateway.log")).expect("it starts"))
    }

    pub fn status(desk: &Desk) -> serde_json::Value {
        let mut command = Command::new(binary("wardgate").expect("built"));
        let done = command.args(["status", "--json", "--config", "gateway.toml"]).current_dir(&desk.at).output().expect("it runs");
        serde_json::from_slice(&done.stdout).unwrap_or_default()
    }

    pub fn stop(mut self) {
        assert!(self.0.stop().expect("it ends").success());
    }
}

/// How the chiller came out of a start: why it is withheld; nothing, where it was opened.
pub(super) fn started(desk: &Desk) -> Option<String> {
    let gateway = Started::at(desk);
    let chiller = |status: &serde_json::Value| status["instances"]["chiller"].clone();
    let decided = |status: &serde_json::Value| chiller(status)["state"] == "withheld" || chiller(status)["opens"].as_u64() > Some(0);
    let status = wait_to_see("the chiller", || Started::status(desk), decided);
    gateway.stop();
    let chiller = chiller(&status);
    (chiller["state"] == "withheld").then(|| chiller["detail"].as_str().unwrap_or_default().to_owned())
}

/// What is brought to a gateway, in which state that is, and what each gate says of it.
struct Row {
    name: &'static str,
    /// Answers which package it is about.
    made: fn(&Desk) -> PathBuf,
    /// Nothing: it runs.
    words: &'static str,
    remedy: &'static str,
    /// It comes into the folder of packages all the same.
    accepted: bool,
}

fn one(desk: &Desk) -> PathBuf {
    in_folder(&desk.at, "one", "0.1.1", 1, same)
}

fn said_by_the_fleet(desk: &Desk, change: impl FnOnce(&mut serde_json::Value)) {
    let mut says = fleet(9, FAR, json!([]), json!([]));
    change(&mut says);
    desk.fleet(&says);
}

fn table() -> Vec<Row> {
    let row = |name, made, words, remedy| Row { name, made, words, remedy, accepted: words.is_empty() };
    vec![
        row("fine", one, "", ""),
        row(
            "listed",
            |desk| {
                let package = one(desk);
                let listed = json!([{"name": "wardgate/modbus-map-0.1.1.wardgate", "sha256": "0", "statement": digest(&package)}]);
                said_by_the_fleet(desk, |says| says["packages"] = listed);
                package
            },
            "",
            "",
        ),
        row(
            "unlisted",
            |desk| {
                said_by_the_fleet(desk, |says| says["packages"] = json!([]));
                one(desk)
            },
            "the fleet's lists name no wardgate/modbus-map-0.1.1.wardgate, and this file has ",
            "wardgate trust publish FILE",
        ),
        row(
            "a revoked key",
            |desk| {
                said_by_the_fleet(desk, |says| says["revoked_keys"] = stolen(1));
                one(desk)
            },
            "was revoked on 2026-11-01T00:00:00Z: a laptop was stolen",
            "ask the vendor for this package by another key",
        ),
        row(
            "a revoked release",
            |desk| {
                let revoked = json!([{"vendor": "wardgate", "name": "modbus-map", "release": 1, "reason": "it leaks"}]);
                said_by_the_fleet(desk, |says| says["revoked_releases"] = revoked);
                one(desk)
            },
            "wardgate's modbus-map release 1 was revoked: it leaks",
            "or for another release",
        ),
        row(
            "an ended key",
            |desk| {
                let term = json!([{"vendor": "wardgate", "key": key(1).public().id(), "until": PAST}]);
                said_by_the_fleet(desk, |says| says["key_terms"] = term);
                one(desk)
            },
            "wardgate's modbus-map release 1 is new here, and the term of the key ed25519:",
            "ask wardgate to sign it by its present key too",
        ),
        row(
            "stale metadata",
            |desk| {
                said_by_the_fleet(desk, |says| says["expires"] = PAST.into());
                one(desk)
            },
            "release 1 is new here, and nothing new is taken while the fleet's metadata is not fresh: it expired on 2026-01-03T00:00:00Z",
            "bring fresh metadata",
        ),
        row(
            "an older one",
            |desk| {
                let two = in_folder(&desk.at, "two", "0.1.2", 2, same);
                desk.well(&["plugin", "accept", &text(&two)]);
                one(desk)
            },
            "wardgate's modbus-map release 1 is older than release 2, which was seen here",
            "allow-older --key site.key wardgate modbus-map 1",
        ),
        row(
            "another of its release",
            |desk| {
                desk.well(&["plugin", "accept", &text(&one(desk))]);
                in_folder(&desk.at, "other", "0.1.1", 1, wider)
            },
            "wardgate's modbus-map release 1 was seen here as another package",
            "allow-other --key site.key wardgate modbus-map 1",
        ),
        row(
            "an unknown signer",
            |desk| {
                desk.trust("wardgate", 2);
                one(desk)
            },
            "is signed in the name of wardgate, by the key ed25519:",
            "compare that key with the vendor, by telephone or on paper",
        ),
        Row {
            name: "more than was approved",
            made: |desk| {
                let first = one(desk);
                desk.site(&chiller(&first));
                desk.well(&["grant", "approve", &text(&first), "--instance", "chiller"]);
                in_folder(&desk.at, "wide", "0.1.4", 4, wider)
            },
            words: "release 4 asks for more than was approved for this instance (release 1): channels numeric 300 instead of 256",
            remedy: "wardgate grant approve FILE --instance chiller",
            accepted: true,
        },
    ]
}

//= PROMISES.md#P279
#[test]
fn each_gate_judges_each_package_alike_and_says_so_in_the_same_words() {
    for (n, row) in table().into_iter().enumerate() {
        let Row { name, made, words, remedy, accepted } = row;
        let folder = Folder::new(&format!("gates-row-{n}"));
        let desk = Desk::new(&folder);
        desk.fleet(&fleet(1, FAR, json!([]), json!([])));
        let package = made(&desk);
        desk.site(&chiller(&package));
        let (file, runs) = (text(&package), words.is_empty());
        let inspected = desk.well(&["plugin", "inspect", &file]);
        assert!(runs == inspected.contains("would run on this gateway") && inspected.contains(words), "{name}: {inspected}");
        assert!(runs || inspected.contains("would NOT run") && inspected.contains(remedy), "{name}: {inspected}");
        let checked = if runs { desk.well(&["check"]) } else { desk.badly(&["check"], 4) };
        assert!(checked.contains(words) && checked.contains(remedy), "{name}: {checked}");
        // the start, before the package lies in the folder: there it is known
        match started(&desk) {
            None => assert!(runs, "{name}: it runs"),
            Some(why) => assert!(!runs && why.contains(words), "{name}: {why}"),
        }
        let taken = if accepted { desk.well(&["plugin", "accept", &file]) } else { desk.badly(&["plugin", "accept", &file], 4) };
        assert!(accepted || taken.contains(words) && taken.contains(remedy), "{name}: {taken}");
    }
}

//= PROMISES.md#P313
#[test]
fn what_is_revoked_and_runs_on_is_told_as_revoked_and_is_not_approved() {
    let folder = Folder::new("gates-alert");
    let desk = Desk::new(&folder);
    desk.fleet(&fleet(1, FAR, json!([]), json!([])));
    let package = one(&desk);
    desk.site(&format!("on_revoked = \"alert\"\n{}", chiller(&package)));
    assert_eq!(started(&desk), None);
    desk.fleet(&fleet(2, FAR, stolen(1), json!([])));
    assert_eq!(started(&desk), None, "it runs on");
    let (words, runs) = ("a laptop was stolen", "REVOKED, and runs on as chiller only because [trust] on_revoked says so");
    for verb in [["plugin", "inspect"], ["grant", "diff"]] {
        let told = desk.well(&[&verb[..], &[&text(&package)]].concat());
        assert!(told.contains(words) && told.contains(runs) && told.contains("ask the vendor for this package"), "{verb:?}: {told}");
    }
    for only in [&[][..], &["--instance", "chiller"]] {
        let told = desk.badly(&[&["grant", "approve", &text(&package)], only].concat(), 4);
        assert!(told.contains(words) && told.contains("ask the vendor for this package"), "{told}");
    }
    let last = desk.well(&["audit", "show", "--json", "--last", "1"]);
    assert!(last.contains("\"what\":\"refuse\"") && last.contains("\"what\":\"approve\"") && last.contains(words), "{last}");
}

//= PROMISES.md#P277
#[test]
fn what_belongs_to_the_gateways_own_user_is_in_good_hands_whoever_asks_and_nobody_elses_is() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can give files away, so NO FILE BELONGED TO ANOTHER USER");
        return;
    }
    let folder = Folder::new("gates-owner");
    let desk = Desk::new(&folder);
    let package = in_folder(&desk.at, "one", "0.1.1", 1, same);
    desk.fleet(&fleet(1, FAR, json!([]), json!([])));
    fs::create_dir_all(desk.at.join("state")).expect("a folder");
    desk.site(&chiller(&package));
    let give = |inside: &str, to: u32| std::os::unix::fs::chown(desk.at.join(inside), Some(to), Some(to)).expect("root may");
    // as the image has it: the gateway's own user keeps its state and the fleet's metadata
    ["state", "trust", "trust/vendors", "trust/vendors/wardgate.pub", "trust/fleet.json"].iter().for_each(|path| give(path, 12_345));
    assert!(!desk.well(&["check"]).contains("whoever can write it"));
    assert!(desk.well(&["plugin", "inspect", &text(&package)]).contains("would run on this gateway"));
    desk.well(&["plugin", "accept", &text(&package)]);
    desk.well(&["grant", "approve", &text(&package), "--instance", "chiller"]);
    // a third user's is not, nor what the group may write, the state itself too
    let badly = |path: &str, words: &str| {
        for verb in [&["plugin", "accept"][..], &["grant", "approve"]] {
            let why = desk.badly(&[verb, &[&text(&package)]].concat(), 3);
            assert!(why.contains(&format!("{path} {words}")), "{why}");
        }
    };
    give("trust/fleet.json", 12_346);
    badly("trust/fleet.json", "belongs to user 12346");
    give("trust/fleet.json", 12_345);
    give("trust", 12_346);
    badly("trust", "belongs to user 12346");
    give("trust", 0);
    super::mode(&desk.at.join("state"), 0o775);
    badly("state", "can be written by others (mode 775)");
    super::mode(&desk.at.join("state"), 0o755);
    desk.well(&["plugin", "accept", &text(&package)]);
    // nor does root trust whom a gateway.toml names that another user wrote: it would name a state folder of that user's own
    give("gateway.toml", 12_345);
    for verb in [&["plugin", "accept"][..], &["grant", "approve"]] {
        let why = desk.badly(&[verb, &[&text(&package)]].concat(), 3);
        assert!(why.contains("belongs to user 12345"), "{why}");
    }
}

//= PROMISES.md#P278
#[test]
fn a_damaged_head_of_the_audit_log_is_told_at_the_start_and_names_no_good_record_as_bad() {
    let folder = Folder::new("gates-head");
    let desk = Desk::new(&folder);
    let package = one(&desk);
    desk.site(&chiller(&package));
    desk.well(&["plugin", "accept", &text(&package)]);
    assert_eq!(started(&desk), None);
    let head = desk.at.join("state/audit.head");
    let good = fs::read(&head).expect("there");
    let last = desk.well(&["audit", "show", "--json"]).lines().count();
    fs::write(&head, &good[..good.len() / 2]).expect("written");
    let whole = format!("the chain is whole and signed up to record {last}, and whether others stood behind that is not known");
    let why = desk.badly(&["audit", "verify"], 5);
    assert!(why.contains("audit.head is damaged") && why.contains(&whole) && why.contains("wardgate grant recall"), "{why}");
    // before a record of the new life is written
    let gateway = Started::at(&desk);
    let status = wait_to_see("the chiller", || Started::status(&desk), |status| status["instances"]["chiller"]["opens"].as_u64() > Some(0));
    let broken = status["audit"]["broken"].as_str().unwrap_or_default();
    assert!(broken.contains("the log's head, or what stood behind record"), "{broken}");
    let log = fs::read_to_string(desk.at.join("gateway.log")).expect("a log");
    assert!(log.contains("the audit log is not as this gateway left it: audit.head is damaged, or not signed by this device"), "{log}");
    gateway.stop();
    let why = desk.badly(&["audit", "verify"], 5);
    assert!(
        why.contains(&whole) && why.contains("marks what no signature vouches for") && !why.contains("is missing or not as it was"),
        "{why}"
    );
    assert!(desk.badly(&["audit", "show"], 5).contains("audit.head is damaged, or not signed by this device"));
    // and a person who looked at it goes on
    desk.well(&["grant", "recall"]);
    assert_eq!(started(&desk), None);
}

//= PROMISES.md#P284
#[test]
fn a_memory_that_is_made_anew_names_the_package_that_must_be_brought_for_what_was_approved() {
    let folder = Folder::new("gates-recall");
    let desk = Desk::new(&folder);
    let package = one(&desk);
    desk.site(&chiller(&package));
    assert_eq!(started(&desk), None);
    let damage = || fs::write(desk.at.join("state/trust.memory"), "{}\n\n").expect("written");
    damage();
    let why = desk.badly(&["plugin", "accept", &text(&package)], 5);
    assert!(
        why.contains("newest trust.memory is at hand, put it back into the state folder") && why.contains("wardgate grant recall"),
        "{why}"
    );
    // the package lies where gateway.toml names it
    assert!(!desk.well(&["grant", "recall"]).contains("is not known"));
    damage();
    let away = desk.at.join("away.wardgate");
    fs::rename(&package, &away).expect("moved");
    let said = desk.well(&["grant", "recall"]);
    let what =
        format!("what was approved for chiller is not known, because its package does not open: package {} is not there", text(&package));
    assert!(said.contains(&what) && said.contains(&format!("what to do: put {} there, as it ran last", text(&package))), "{said}");
    fs::rename(&away, &package).expect("moved");
    desk.well(&["grant", "approve", &text(&package), "--instance", "chiller"]);
}

/// Whom to trust and whom not is the fleet's word: a gateway tells when it changed, whether anything of it runs there or not.
//= PROMISES.md#P330
#[test]
fn whom_a_fleet_newly_trusts_and_what_it_takes_back_is_in_the_audit_log() {
    let folder = Folder::new("gates-fleet-told");
    let desk = Desk::new(&folder);
    let id = |n: u8| key(n).public().id();
    let says = |version, vendors: serde_json::Value, revoked: serde_json::Value, releases: serde_json::Value| {
        let mut says = fleet(version, FAR, revoked, releases);
        says["vendors"] = vendors;
        desk.fleet(&says);
        assert_eq!(started(&desk), None, "what runs goes on");
    };
    let (own, acme) = (json!({"vendor": "wardgate", "keys": [id(1)]}), json!({"vendor": "acme", "keys": [id(5)]}));
    let leaks = json!([{"vendor": "acme", "name": "pump", "release": 3, "reason": "it leaks"}]);
    desk.site(&chiller(&one(&desk)));
    says(1, json!([own]), json!([]), json!([]));
    says(2, json!([own, acme]), stolen(9), leaks.clone());
    says(3, json!([own, acme]), stolen(9), leaks);
    says(4, json!([own]), json!([]), json!([]));
    let told: Vec<String> = desk
        .well(&["audit", "show", "--json"])
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|record| record["about"]["what"] == "fleet")
        .map(|record| {
            let about = record["about"].as_object().expect("an object").iter().filter(|(name, _)| *name != "what");
            format!(
                "{} {}",
                record["what"].as_str().expect("a word"),
                about.map(|(_, text)| text.as_str().expect("a text")).collect::<Vec<_>>().join(" ")
            )
        })
        .collect();
    // by the names of what each says: done, key, vendor; key, vendor, why; name, release, vendor, why
    let (key_1, key_5, key_9) = (id(1), id(5), id(9));
    assert_eq!(
        told,
        [
            format!("update is the vendor's from now on {key_1} wardgate"),
            format!("revoke {key_9} wardgate a laptop was stolen"),
            "revoke pump 3 acme it leaks".to_owned(),
            format!("update is the vendor's from now on {key_5} acme"),
            format!("revoke {key_9} wardgate it is revoked no more"),
            "revoke pump 3 acme it is revoked no more".to_owned(),
            format!("update is the vendor's no more {key_5} acme"),
        ]
    );
    desk.well(&["audit", "verify"]);
}

/// Its file was lost, and meanwhile a newer one was taken that nobody started.
//= PROMISES.md#P331
#[test]
fn what_ran_last_is_taken_again_although_a_newer_one_was_taken_since() {
    let folder = Folder::new("gates-ran");
    let desk = Desk::new(&folder);
    let made = |name: &str, version: &str, release| in_folder(&desk.at, name, version, release, same);
    let (zero, one, two) = (made("zero", "0.1.1", 1), made("one", "0.1.2", 2), made("two", "0.1.3", 3));
    let other = in_folder(&desk.at, "other", "0.1.2", 2, wider);
    desk.site(&chiller(&one));
    assert_eq!(started(&desk), None);
    desk.well(&["plugin", "accept", &text(&two)]);
    desk.well(&["plugin", "accept", &text(&one)]);
    assert!(desk.badly(&["plugin", "accept", &text(&zero)], 4).contains("release 1 is older than release 3, which was seen here"));
    assert!(desk.badly(&["plugin", "accept", &text(&other)], 4).contains("release 2 is older than release 3"), "not that package");
    assert_eq!(started(&desk), None, "and it starts");
    assert!(!desk.well(&["audit", "show", "--json"]).contains("break-glass"), "no rule was set aside");
    // once the newer one has run it is an older one
    desk.site(&chiller(&two));
    assert_eq!(started(&desk), None);
    assert!(desk.badly(&["plugin", "accept", &text(&one)], 4).contains("release 2 is older than release 3"));
    // an instance that is gone opens no way back for what it ran
    desk.well(&["plugin", "accept", &text(&made("three", "0.1.4", 4))]);
    desk.well(&["plugin", "accept", &text(&two)]);
    desk.site("");
    let gateway = Started::at(&desk);
    wait_to_see("the gateway", || Started::status(&desk), |status| status["gateway"].is_string());
    gateway.stop();
    assert!(desk.badly(&["plugin", "accept", &text(&two)], 4).contains("release 3 is older than release 4"));
}
