//! Each attack that the TUF specification lists, by its name there (section 1.5.2), and some more; each is refused, and what was there stays in force.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::forge::{Forge, signed};
use super::site::{LATER, LONG_AFTER, NOW, Site};
use crate::tamper::{key, tiny_into};

/// A mirror of a folder that treats one file in its own way.
fn mirror(folder: PathBuf, special: &'static str, way: fn(&mut TcpStream) -> std::io::Result<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            thread::spawn(move || answer(stream, &folder, special, way));
        }
    });
    format!("http://{address}/ward")
}

fn answer(mut stream: TcpStream, folder: &std::path::Path, special: &str, way: fn(&mut TcpStream) -> std::io::Result<()>) {
    let mut line = String::new();
    let _ = BufReader::new(&stream).read_line(&mut line);
    let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("/ward/").to_owned();
    let _ = if !special.is_empty() && path.ends_with(special) {
        way(&mut stream)
    } else {
        match fs::read(folder.join(path)) {
            Ok(bytes) => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())
                .and_then(|()| stream.write_all(&bytes)),
            Err(_) => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        }
    };
}

fn as_it_is(_: &mut TcpStream) -> std::io::Result<()> {
    Ok(())
}

#[test]
fn arbitrary_installation() {
    let site = Site::new("tuf-arbitrary");
    site.update().expect("the first state");
    // a fleet of the attacker's own, in every part right
    site.well(&["trust", "init", "evil"]);
    site.well(&["trust", "add-vendor", "acme", "--key", "other.pub", "--fleet", "evil"]);
    site.refused("evil/repository", "timestamp is not signed by enough of the keys");
    // a list of targets that nobody signed
    let forge = Forge::new(&site, "forged");
    let top = newest_of(&site, "forged", "1.targets.json");
    forge.change(&top, &[(forge.keyid("targets", 0), key(9))], |signed| signed["x"] = json!(1));
    forge.cover(&[("targets.json", &top)]);
    site.refused("forged", "targets is not signed by enough");
    // and a package that no list names
    let strange = tiny_into(&site.path("strange"), "acme", "9.9.9", 9, 1).display().to_string();
    assert!(
        site.install(&strange)
            .expect_err("it was taken")
            .contains("the fleet's lists name no acme/t-9.9.9.wardgate; they name acme/t-1.0.0.wardgate")
    );
}

#[test]
fn endless_data() {
    let site = Site::new("tuf-endless");
    site.update().expect("the first state");
    fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(&[b' '; 65536])?;
        }
    }
    for file in ["2.root.json", "timestamp.json", "snapshot.json", "4.targets.json", "acme.json", "revocations.json"] {
        let at = mirror(site.path("fleet/repository"), file, endless);
        site.refused(&at, "is longer than it may be");
    }
    // on a stick too
    let stick = site.copy("fleet/repository", "stick");
    fs::write(site.path("stick/metadata/2.root.json"), vec![b' '; 2 << 20]).expect("written");
    site.refused(&stick, "metadata/2.root.json is longer than it may be");
    fs::remove_file(site.path("stick/metadata/2.root.json")).expect("there");
    fs::remove_file(site.path("stick/metadata/timestamp.json")).expect("there");
    let made = std::process::Command::new("mkfifo").arg(site.path("stick/metadata/timestamp.json")).status();
    assert!(made.expect("it runs").success());
    site.refused(&stick, "it is no plain file");
}

/// A list of a vendor's that ended while the rest is fresh: it names nothing new any more, here and for the gateway.
//= PROMISES.md#P360
#[test]
fn a_list_that_ended_before_the_rest() {
    let site = Site::new("tuf-list-ended");
    let forge = Forge::new(&site, "lapsed");
    let n = forge.read("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"].as_u64().expect("a version");
    let list = forge.read(&format!("{n}.snapshot.json"))["signed"]["meta"]["acme.json"]["version"].as_u64().expect("a version");
    let list = format!("{list}.acme.json");
    forge
        .change(&list, &[(forge.keyid("targets", 0), forge.stolen("targets"))], |signed| signed["expires"] = json!("2026-12-01T18:00:00Z"));
    forge.cover(&[("acme.json", &list)]);
    let said = site.update_from("lapsed", NOW).expect("all of it is signed, and fresh");
    assert!(said.contains("acme's list ends on 2026-12-01") && !said.contains("other's list ends"), "{said}");
    assert_eq!(site.fleet()["vendors"][0]["list_ends"], "2026-12-01T18:00:00Z");
    let why = site.install_at("packages/acme/t-1.0.0.wardgate", LATER).expect_err("it has ended");
    assert!(why.contains("the list of acme ended on 2026-12-01"), "{why}");
}

/// A package depends on nothing; what comes with it, beyond what was named, is refused.
#[test]
fn extraneous_dependencies() {
    let site = Site::new("tuf-extraneous");
    site.update().expect("the first state");
    let path = site.path("packages/acme/t-1.0.0.wardgate");
    let more = [fs::read(&path).expect("a package"), vec![0; 512]].concat();
    fs::write(&path, &more).expect("written");
    // what it names itself is what was published: so nothing may be in it besides
    let why = site.install("packages/acme/t-1.0.0.wardgate").expect_err("it was taken");
    assert!(why.contains("goes on for 512 bytes behind its end") && why.contains("wardgate plugin verify refused it"), "{why}");
}

/// Somebody had the keys of timestamp and snapshot for a day and counted far ahead: new keys begin the counts anew.
#[test]
fn fast_forward() {
    let site = Site::new("tuf-fast-forward");
    site.update().expect("the first state");
    let forge = Forge::new(&site, "ahead");
    let (by, n) = (|role: &str| [(forge.keyid(role, 0), forge.stolen(role))], 1_000_000);
    let snapshot = forge.read("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"].as_u64().expect("one");
    let ahead = forge.change(&format!("{snapshot}.snapshot.json"), &by("snapshot"), |signed| signed["version"] = json!(n));
    forge.write(&format!("{n}.snapshot.json"), &ahead);
    forge.cover(&[]);
    forge.change("timestamp.json", &by("timestamp"), |signed| {
        signed["version"] = json!(n);
        signed["meta"]["snapshot.json"] = json!({"version": n});
    });
    site.update_from("ahead", NOW).expect("it is signed");
    assert_eq!(site.fleet()["timestamp_version"], n);
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    site.refused("fleet/repository", "a rollback");
    site.well(&["trust", "rotate", "--role", "timestamp", "--fleet", "fleet"]);
    site.well(&["trust", "rotate", "--role", "snapshot", "--fleet", "fleet"]);
    site.update().expect("new keys begin anew");
    assert!(site.fleet()["timestamp_version"].as_u64().expect("a version") < 20);
    site.refused("ahead", "is not signed by enough");
}

/// The same old state, for ever: it is seen by its end, what it takes back is still taken back, and what runs goes on.
//= PROMISES.md#P145
#[test]
fn indefinite_freeze() {
    let site = Site::new("tuf-freeze");
    site.well(&["trust", "revoke", "--vendor", "other", "--name", "t", "--release", "1", "--reason", "wrong unit", "--fleet", "fleet"]);
    let why = site.update_from("fleet/repository", LONG_AFTER).expect_err("it has ended");
    assert!(why.contains("stale: it ended on 2027-01-30"), "{why}");
    assert_eq!(site.fleet()["revoked_releases"][0]["vendor"], "other");
    assert!(site.install_at("packages/acme/t-1.0.0.wardgate", LONG_AFTER).expect_err("stale").contains("nothing new is installed"));
    let said = site.run(&["trust", "status", "gw"], Some(LONG_AFTER));
    assert!(String::from_utf8_lossy(&said.stdout).contains("trust-stale: it ended on 2027-01-30"), "{said:?}");
    site.well(&["trust", "status", "gw", "--json"]);
}

#[test]
fn malicious_mirrors_preventing_updates() {
    let site = Site::new("tuf-mirror");
    site.update().expect("the first state");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    fn broken(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
    fn gone(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    }
    fn cut(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\nConnection: close\r\n\r\n{")
    }
    for file in ["timestamp.json", "snapshot.json", "5.targets.json", "acme.json", "revocations.json"] {
        site.refused(&mirror(site.path("fleet/repository"), file, broken), "it answers 500");
        site.refused(&mirror(site.path("fleet/repository"), file, gone), "is missing");
        site.refused(&mirror(site.path("fleet/repository"), file, cut), "does not answer as it should");
    }
    site.refused("http://127.0.0.1:9/ward", "does not answer as it should");
    // another mirror is all that it takes
    site.update_from(&mirror(site.path("fleet/repository"), "", as_it_is), LATER).expect("one that is honest");
}

#[test]
fn mix_and_match() {
    let site = Site::new("tuf-mix");
    let old = site.copy("fleet/repository", "old");
    site.well(&["trust", "publish", "--fleet", "fleet"]);
    site.update().expect("the newest");
    for like in ["1.targets.json", "1.acme.json", "1.snapshot.json"] {
        let mixed = site.copy("fleet/repository", "mixed");
        let (name, was) = (newest_of(&site, &mixed, like), newest_of(&site, &old, like));
        fs::copy(site.path(&format!("{old}/metadata/{was}")), site.path(&format!("{mixed}/metadata/{name}"))).expect("copied");
        site.refused(&mixed, &format!("metadata/{name} does not have the digest that was signed"));
    }
    // one that holds a key of snapshot but not that of targets: an old list under a new number
    let forge = Forge::new(&site, "forged");
    let snapshot = forge.read("timestamp.json")["signed"]["meta"]["snapshot.json"]["version"].as_u64().expect("one");
    let by = |role: &str| [(forge.keyid(role, 0), forge.stolen(role))];
    forge.change(&format!("{snapshot}.snapshot.json"), &by("snapshot"), |signed| signed["meta"]["acme.json"] = json!({"version": 99}));
    forge.cover(&[]);
    fs::copy(forge.folder.join("metadata/2.acme.json"), forge.folder.join("metadata/99.acme.json")).expect("copied");
    site.refused("forged", "parts of different states are mixed");
}

/// The newest file of that role in a repository.
fn newest_of(site: &Site, folder: &str, like: &str) -> String {
    let ending = like.split_once('.').expect("a version").1;
    let held = fs::read_dir(site.path(folder).join("metadata")).expect("a folder").map(|e| e.expect("one").file_name());
    let numbers = held.filter_map(|name| name.to_str()?.strip_suffix(&format!(".{ending}"))?.parse::<u64>().ok());
    format!("{}.{ending}", numbers.max().expect("one"))
}

#[test]
fn rollback() {
    let site = Site::new("tuf-rollback");
    let old = site.copy("fleet/repository", "old");
    site.well(&["trust", "revoke", "--vendor", "acme", "--name", "t", "--release", "1", "--reason", "wrong unit", "--fleet", "fleet"]);
    site.update().expect("the newest");
    site.refused(&old, "timestamp is older than what was seen here before");
    // with the key of the timestamp alone: a new one that names the old snapshot
    let forge = Forge::new(&site, "forged");
    let older = json!({"version": 4});
    let by = [(forge.keyid("timestamp", 0), forge.stolen("timestamp"))];
    forge.change("timestamp.json", &by, |signed| {
        signed["version"] = json!(99);
        signed["meta"]["snapshot.json"] = older.clone();
    });
    site.refused("forged", "snapshot is older than what was seen here before");
    assert_eq!(site.fleet()["revoked_releases"][0]["release"], 1);
}

#[test]
fn slow_retrieval() {
    let site = Site::new("tuf-slow");
    site.update().expect("the first state");
    fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all(b" ")?;
            stream.flush()?;
            thread::sleep(Duration::from_millis(100));
        }
    }
    let at = mirror(site.path("fleet/repository"), "timestamp.json", drip);
    let before = site.fleet();
    let why = site.badly(6, &["trust", "update", "--from", &at, "--to", "gw", "--patience", "2"]);
    assert!(why.contains("gave less than was asked within 2 s"), "{why}");
    assert_eq!(site.fleet(), before);
}

#[test]
fn vulnerability_to_key_compromises() {
    let site = Site::new("tuf-keys");
    site.update().expect("the first state");
    // one stolen root key of three makes no root
    let forge = Forge::new(&site, "one-root");
    let root = forge.read("1.root.json");
    let mut value = root["signed"].clone();
    value["version"] = json!(2);
    value["roles"]["targets"]["threshold"] = json!(1);
    forge.write("2.root.json", &signed(&value, &[(forge.keyid("root", 0), forge.stolen("root-1"))]));
    site.refused("one-root", "root is not signed by enough of the keys");
    // signing twice with it does not make two of it
    let twice = [(forge.keyid("root", 0), forge.stolen("root-1")), (forge.keyid("root", 1), forge.stolen("root-1"))];
    forge.write("2.root.json", &signed(&value, &twice));
    site.refused("one-root", "root is not signed by enough of the keys");
    // the keys that are at hand every day install nothing
    let forge = Forge::new(&site, "online");
    let (file, by) = (newest_of(&site, "online", "1.acme.json"), [(forge.keyid("timestamp", 0), forge.stolen("timestamp"))]);
    forge.change(&file, &by, |signed| {
        signed["targets"]["acme/evil-1.0.0.wardgate"] = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}})
    });
    forge.cover(&[("acme.json", &file)]);
    site.refused("online", "targets is not signed by enough of the keys");
    // and a key that was replaced signs nothing any more
    let old = forge.stolen("targets");
    site.well(&["trust", "rotate", "--role", "targets", "--fleet", "fleet"]);
    site.update().expect("the new key");
    let forge = Forge::new(&site, "replaced");
    let file = newest_of(&site, "replaced", "1.targets.json");
    forge.change(&file, &[(root["signed"]["roles"]["targets"]["keyids"][0].as_str().expect("one").into(), old)], |signed| {
        signed["x"] = json!(1)
    });
    forge.cover(&[("targets.json", &file)]);
    site.refused("replaced", "targets is not signed by enough of the keys");
}

#[test]
fn wrong_software_installation() {
    let site = Site::new("tuf-wrong");
    site.update().expect("the first state");
    // another package of the same vendor and name: other bytes, signed well
    let other = tiny_into(&site.path("twin"), "acme", "1.0.0", 2, 1).display().to_string();
    let why = site.install(&other).expect_err("it was taken");
    assert!(why.contains("the fleet's lists name acme/t-1.0.0.wardgate with the SHA-256 "), "{why}");
    // another vendor's, under this one's name on the mirror
    let acme = site.path("fleet/repository/targets/acme");
    let file = fs::read_dir(&acme).expect("a folder").next().expect("one").expect("one").path();
    fs::copy(site.path("packages/other/t-1.0.0.wardgate"), &file).expect("copied");
    let words = ["plugin", "install", "acme/t-1.0.0", "--from", "fleet/repository", "--trust", "gw", "--config", "gateway.toml"];
    let why = site.badly(4, &words);
    assert!(why.contains("the fleet's lists name acme/t-1.0.0.wardgate with the SHA-256 "), "{why}");
}

// ---------- beyond the specification's list

#[test]
fn a_threshold_that_is_not_met() {
    let site = Site::new("trust-threshold");
    let forge = Forge::new(&site, "one");
    let mut root = forge.read("1.root.json");
    root["signatures"].as_array_mut().expect("a list").truncate(1);
    forge.write("1.root.json", &root);
    let words = ["trust", "update", "--from", "one", "--to", "gw", "--root", "one/metadata/1.root.json"];
    assert!(site.badly(4, &words).contains("the trusted root is not signed by enough of the keys"));
}

#[test]
fn a_delegation_signed_by_another_vendor_whose_key_is_good() {
    let site = Site::new("trust-other-vendor");
    site.update().expect("the first state");
    let forge = Forge::new(&site, "forged");
    let targets = forge.read(&newest_of(&site, "forged", "1.targets.json"));
    let roles = targets["signed"]["delegations"]["roles"].as_array().expect("a list").clone();
    let keyid = |vendor: &str| roles.iter().find(|r| r["name"] == vendor).expect("a vendor")["keyids"][0].as_str().expect("one").to_owned();
    let file = newest_of(&site, "forged", "1.acme.json");
    let evil = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    for (vendor, n) in [("other", 2), ("acme", 2)] {
        forge.change(&file, &[(keyid(vendor), key(n))], |signed| signed["targets"]["acme/t-1.0.0.wardgate"] = evil.clone());
        forge.cover(&[("acme.json", &file)]);
        site.refused("forged", "targets is not signed by enough of the keys");
    }
    // acme itself may speak for acme
    forge.change(&file, &[(keyid("acme"), key(1))], |signed| signed["targets"]["acme/t-2.0.0.wardgate"] = evil.clone());
    forge.cover(&[("acme.json", &file)]);
    site.update_from("forged", NOW).expect("its own key");
}

#[test]
fn a_path_outside_its_delegation() {
    let site = Site::new("trust-path");
    site.update().expect("the first state");
    let forge = Forge::new(&site, "forged");
    let file = newest_of(&site, "forged", "1.acme.json");
    let by = [(forge.keyid("targets", 0), forge.stolen("targets"))];
    let evil = json!({"length": 1, "hashes": {"sha256": "00".repeat(32)}});
    for path in ["other/t-1.0.0.wardgate", "revocations.json", "acme/../other/t-1.0.0.wardgate", "t-1.0.0.wardgate"] {
        forge.change(&file, &by, |signed| signed["targets"] = json!({path: evil}));
        forge.cover(&[("acme.json", &file)]);
        site.refused("forged", "a vendor named a path that is not its own");
    }
    // nor may the list of vendors hand out what is not a vendor's
    for (role, paths) in [("acme", "*"), ("../acme", "acme/*"), ("targets", "targets/*")] {
        let forge = Forge::new(&site, "handed");
        let top = newest_of(&site, "handed", "1.targets.json");
        forge.change(&top, &by, |signed| {
            signed["delegations"]["roles"][0]["paths"] = json!([paths]);
            signed["delegations"]["roles"][0]["name"] = json!(role);
        });
        let list = newest_of(&site, "handed", "1.acme.json");
        fs::copy(site.path("handed/metadata").join(&list), site.path("handed/metadata").join("1.%2E%2E%2Facme.json")).expect("copied");
        forge.cover(&[("targets.json", &top), (&format!("{role}.json"), &list)]);
        let why = site.update_from("handed", NOW).expect_err("it was taken");
        assert!(why.contains("refused"), "{role} {paths}: {why}");
    }
}

#[test]
fn the_newest_state_without_its_list_of_what_was_revoked() {
    let site = Site::new("trust-no-list");
    site.update().expect("the first state");
    let by = |forge: &Forge| [(forge.keyid("targets", 0), forge.stolen("targets"))];
    let forge = Forge::new(&site, "forged");
    let top = newest_of(&site, "forged", "1.targets.json");
    forge.change(&top, &by(&forge), |signed| signed["targets"] = json!({}));
    forge.cover(&[("targets.json", &top)]);
    site.refused("forged", "revocations.json is missing");
}
