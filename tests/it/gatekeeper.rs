//! Trust that is taken back, and what comes in: revocations, older releases, stale metadata, grants that change, and what the audit log tells.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use wardgate::config::Manifest;
use wardgate::plugin::{Claim, Member, Sealed, SecretKey, Surface};
use wardgate_lab::ports;
use wardgate_lab::process::{READY_S_MAX, binary, root};
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};

use crate::faults::wait_status;
use crate::tamper::{key, signed_into};
use crate::ward::Folder;

/// A folder with a gateway's configuration in it, as a hospital has it.
pub struct Desk {
    pub at: PathBuf,
}

impl Desk {
    pub fn new(folder: &Folder) -> Self {
        let at = folder.0.clone();
        fs::create_dir_all(at.join("trust/vendors")).expect("a folder");
        fs::write(at.join("ca.pem"), wardgate_lab::broker::Ca::new().issue(&["broker"]).ca_pem).expect("written");
        fs::write(at.join("mac.key"), "0123456789abcdef0123456789abcdef").expect("written");
        let desk = Self { at };
        desk.trust("wardgate", 1);
        desk.site("");
        desk
    }

    /// `more`: below [trust].
    pub fn site(&self, more: &str) {
        let not_root = !rustix::process::geteuid().is_root();
        let text = format!(
            "[gateway]\nid = \"ward\"\nstate = \"state\"\ndeveloper_mode = {not_root}\n[uplink]\nhost = \"broker\"\nca_file = \"ca.pem\"\nmac_key_file = \"mac.key\"\n\
             [plugins]\nfolder = \"packages\"\n[trust]\nfolder = \"trust\"\n{more}"
        );
        fs::write(self.at.join("gateway.toml"), text).expect("written");
    }

    pub fn trust(&self, vendor: &str, n: u8) {
        fs::write(self.at.join(format!("trust/vendors/{vendor}.pub")), key(n).public().pem()).expect("written");
    }

    pub fn fleet(&self, fleet: &Json) {
        put_fleet(&self.at.join("trust"), fleet);
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary("wardgate").expect("built"));
        command.args(words).args(["--config", "gateway.toml"]).current_dir(&self.at).output().expect("it runs")
    }

    pub fn well(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert!(done.status.success(), "{words:?}: {}", said(&done));
        said(&done)
    }

    pub fn sign(&self, key: &str) {
        let signed = Command::new(binary("wardgate").expect("built"))
            .args(["grant", "sign", "--key", key, "gateway.toml"])
            .current_dir(&self.at)
            .output();
        assert!(signed.expect("it runs").status.success());
    }

    pub fn badly(&self, words: &[&str], code: i32) -> String {
        let done = self.run(words);
        assert_eq!(done.status.code(), Some(code), "{words:?}: {}", said(&done));
        assert!(said(&done).contains("what to do:"), "{}", said(&done));
        said(&done)
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// As `wardgate-trust` writes it, but for what an older one did not say.
/// As it says, whatever it said when an update reckoned its digest.
pub fn put_fleet(folder: &Path, fleet: &Json) {
    let mut fleet = fleet.clone();
    fleet.as_object_mut().expect("an object").remove("digest");
    fs::write(folder.join("fleet.new"), fleet.to_string()).expect("written");
    fs::rename(folder.join("fleet.new"), folder.join("fleet.json")).expect("renamed");
}

pub fn fleet(version: u64, expires: &str, revoked_keys: Json, revoked_releases: Json) -> Json {
    json!({"format": 1, "root_version": 1, "timestamp_version": version, "snapshot_version": version, "expires": expires,
           "checked": "2026-01-02T00:00:00Z", "revoked_keys": revoked_keys, "revoked_releases": revoked_releases})
}

pub const FAR: &str = "2999-01-01T00:00:00Z";
pub const PAST: &str = "2026-01-03T00:00:00Z";

pub fn stolen(n: u8) -> Json {
    json!([{"vendor": "wardgate", "key": key(n).public().id(), "reason": "a laptop was stolen", "since": "2026-11-01T00:00:00Z"}])
}

/// modbus-map as its vendor might ship it another time: release, and what else is written otherwise in its manifest.
pub fn another(folder: &Path, version: &str, release: u64, by: &SecretKey, change: impl Fn(String) -> String) -> PathBuf {
    shipped(folder, "modbus-map", version, release, by, change)
}

/// Any plugin of the checkout, as a vendor might ship it.
pub fn shipped(folder: &Path, plugin: &str, version: &str, release: u64, by: &SecretKey, change: impl Fn(String) -> String) -> PathBuf {
    let first = wardgate::plugin::sealed(&signed_into(&folder.join("made"), plugin)).expect("a package");
    let mut files = first.files().to_vec();
    let manifest = files.iter_mut().find(|f| f.path == "manifest.toml").expect("it has one");
    let text = String::from_utf8(manifest.bytes.clone()).expect("text");
    let text = text.replacen("version = \"0.1.0\"", &format!("version = \"{version}\""), 1);
    let text = change(text.replacen("release = 1", &format!("release = {release}"), 1));
    *manifest = Member::new("manifest.toml", text.clone().into_bytes());
    let surface = Surface::read(&first.file("plugin.wasm").expect("it has one").bytes).expect("a component");
    let claim = Claim::of(&Manifest::parse(&text).expect("a manifest"), &surface).expect("a claim");
    let mut sealed = Sealed::new(files, claim).expect("a package");
    sealed.sign(by).expect("room");
    let path = folder.join(format!("{}.wardgate", sealed.claim.full_name()));
    wardgate::plugin::write_sealed(&path, &sealed).expect("written");
    path
}

pub fn same(text: String) -> String {
    text
}

// ---------- what comes in

//= PROMISES.md#P160
#[test]
fn what_comes_in_is_trusted_not_revoked_not_older_and_not_while_trust_is_stale() {
    let folder = Folder::new("accept");
    let desk = Desk::new(&folder);
    let stick = desk.at.join("stick");
    fs::create_dir_all(&stick).expect("a folder");
    let file = |version: &str, release, n: u8| another(&stick, version, release, &key(n), same).display().to_string();
    let (one, two, three) = (file("0.1.1", 1, 1), file("0.1.2", 2, 1), file("0.1.3", 3, 1));
    let fresh = |version| fleet(version, FAR, json!([]), json!([]));

    let found = desk.well(&["sbom", "find", "wasmtime"]);
    assert!(found.contains("wardgate 0.1.0: wasmtime 48.") && found.contains("1 found"), "{found}");
    assert!(desk.badly(&["plugin", "accept", &file("0.1.9", 9, 2)], 4).contains("this site trusts wardgate"), "a strange key");
    let said = desk.well(&["plugin", "accept", &two]);
    assert!(said.contains("wardgate grant diff") && desk.at.join("packages/modbus-map-0.1.2.wardgate").is_file(), "{said}");
    assert_eq!(fs::read(desk.at.join("packages/modbus-map-0.1.2.wardgate")).expect("there"), fs::read(&two).expect("there"));
    // older, by the number that is signed and not by the version's name
    let old = desk.badly(&["plugin", "accept", &file("0.9.9", 1, 1)], 4);
    assert!(
        old.contains("release 1 is older than release 2") && old.contains("plugin allow-older --key site.key wardgate modbus-map 1"),
        "{old}"
    );
    // the fleet's metadata expired: nothing new, and what is known may come again
    desk.fleet(&fleet(2, PAST, json!([]), json!([])));
    let stale = desk.badly(&["plugin", "accept", &three], 4);
    assert!(
        stale.contains("release 3 is new here")
            && stale.contains("expired on 2026-01-03")
            && stale.contains("wardgate trust update --from"),
        "{stale}"
    );
    desk.well(&["plugin", "accept", &two]);
    // revoked: the release, then the key
    desk.fleet(&fleet(4, FAR, json!([]), json!([{"vendor": "wardgate", "name": "modbus-map", "release": 3, "reason": "it leaks"}])));
    let revoked = desk.badly(&["plugin", "accept", &three], 4);
    assert!(revoked.contains("wardgate's modbus-map release 3 was revoked: it leaks"), "{revoked}");
    desk.fleet(&fleet(5, FAR, stolen(1), json!([])));
    let revoked = desk.badly(&["plugin", "accept", &three], 4);
    assert!(revoked.contains("was revoked on 2026-11-01T00:00:00Z: a laptop was stolen"), "{revoked}");
    fs::remove_file(desk.at.join("trust/vendors/wardgate.pub")).expect("there");
    assert!(desk.badly(&["plugin", "accept", &three], 4).contains("was revoked"), "also when its key has gone from the folder");
    desk.trust("wardgate", 1);
    desk.fleet(&fresh(6));
    desk.well(&["plugin", "accept", &three]);

    // only the site's key brings an older one back, and exactly that one
    for name in ["site", "other"] {
        let made = Command::new(binary("wardgate").expect("built")).args(["plugin", "keygen", name]).current_dir(&desk.at).output();
        assert!(made.expect("it runs").status.success());
    }
    let older = |release: &'static str, key: &'static str| ["plugin", "allow-older", "--key", key, "wardgate", "modbus-map", release];
    assert!(desk.badly(&older("1", "site.key"), 4).contains("not the key that this gateway knows"));
    desk.site("site_key = \"site.pub\"\n");
    assert!(desk.badly(&older("1", "site.key"), 3).contains("gateway.toml is not signed"));
    desk.sign("site.key");
    assert!(desk.badly(&older("1", "other.key"), 4).contains("not the key that this gateway knows"));
    desk.well(&older("1", "site.key"));
    desk.badly(&["plugin", "accept", &two], 4);
    desk.well(&["plugin", "accept", &one]);

    // the log tells all of it, in order
    let told: Vec<Json> = desk.well(&["audit", "show", "--json"]).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let whats: Vec<_> = told.iter().map(|r| r["what"].as_str().expect("a text")).collect();
    let expected = [
        "refuse",
        "install",
        "refuse",
        "refuse",
        "install",
        "refuse",
        "refuse",
        "install",
        "refuse", // by a key that this gateway knows as nobody's
        "refuse",
        "refuse", // by one that is not the site's
        "break-glass",
        "refuse",
        "break-glass",
        "install",
    ];
    assert_eq!(whats, expected, "{told:#?}");
    assert!(desk.well(&["audit", "verify"]).contains("is whole: records 1 to 15"));

    // and nobody takes a record out of it, or a release out of the memory
    let log = desk.at.join("state/audit.log");
    let good = fs::read_to_string(&log).expect("a log");
    fs::write(&log, good.lines().filter(|l| !l.contains("\"n\":5,")).map(|l| format!("{l}\n")).collect::<String>()).expect("written");
    assert!(desk.badly(&["audit", "verify"], 5).contains("record 5 is missing: record 6 stands in its place"));
    fs::write(&log, good.replacen("it leaks", "no leak!", 1)).expect("written");
    assert!(desk.badly(&["audit", "verify"], 5).contains("was changed after it was written"));
    fs::write(&log, &good).expect("written");
    let memory = desk.at.join("state/trust.memory");
    let kept = fs::read_to_string(&memory).expect("it remembers");
    fs::write(&memory, kept.replacen("wardgate/modbus-map", "wardgate/modbus-mop", 1)).expect("written");
    assert!(desk.badly(&["plugin", "accept", &two], 5).contains("is not as this gateway wrote it"));
}

// ---------- what runs

/// The demo's stage, with the chiller's plugin from a signed file.
pub fn ward(folder: &Folder, package: &Path, more: &str) -> Stage {
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let trust = folder.0.join("trust");
    fs::create_dir_all(trust.join("vendors")).expect("a folder");
    fs::write(trust.join("vendors/wardgate.pub"), key(1).public().pem()).expect("written");
    let unsigned = root().join("plugins/target/packages/modbus-map-0.1.0");
    stage.instead = vec![(unsigned.display().to_string(), package.display().to_string())];
    stage.more = format!("\n[trust]\nfolder = {:?}\n{more}", trust.display().to_string());
    stage
}

fn reload(stage: &Stage, code: i32) -> String {
    crate::reload::reload(stage, &stage.configuration(), code)
}

fn rule(stage: &mut Stage, from: &str, to: &str) {
    stage.more = stage.more.replace(&format!("on_revoked = \"{from}\""), &format!("on_revoked = \"{to}\""));
}

//= PROMISES.md#P161
#[test]
fn a_revoked_key_takes_effect_by_the_sites_rule_and_nobody_else_stops() {
    let folder = Folder::new("revoked");
    fs::create_dir_all(&folder.0).expect("a folder");
    let package = another(&folder.0, "0.1.1", 1, &key(1), same);
    let mut stage = ward(&folder, &package, "on_revoked = \"alert\"\n");
    let trust = folder.0.join("trust");
    put_fleet(&trust, &fleet(1, FAR, json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    let status = wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0 && s.instances[MONITORS[0].0].readings > 0);
    assert_eq!(status.instances[CHILLER].signed_by, "wardgate release 1");
    assert_eq!((status.trust.state.as_str(), status.instances[CHILLER].grants_hash.len()), ("fresh", 64));
    let goes_on = |stage: &Stage, what: &str| {
        let before = stage.gateway_status().expect("it runs");
        wait_status(stage, what, |s| {
            MONITORS.iter().all(|(m, _)| s.instances[*m].readings > before.instances[*m].readings && s.instances[*m].opens == 1)
        });
    };

    // told, and it goes on
    put_fleet(&trust, &fleet(2, FAR, stolen(1), json!([])));
    let status = wait_status(&stage, "the revocation", |s| !s.instances[CHILLER].revoked.is_empty());
    assert!(status.instances[CHILLER].revoked.contains("a laptop was stolen"), "{status:#?}");
    let before = status.instances[CHILLER].readings;
    wait_status(&stage, "its readings", |s| s.instances[CHILLER].readings > before);
    // taken back, and the rule changed: nothing happens before it is revoked
    put_fleet(&trust, &fleet(3, FAR, json!([]), json!([])));
    wait_status(&stage, "an end of it", |s| s.instances[CHILLER].revoked.is_empty());
    rule(&mut stage, "alert", "stop-at-maintenance");
    assert!(reload(&stage, 0).contains("nothing changed (3 instances)"));
    put_fleet(&trust, &fleet(4, FAR, stolen(1), json!([])));
    let status = wait_status(&stage, "the revocation", |s| !s.instances[CHILLER].revoked.is_empty());
    let before = status.instances[CHILLER].readings;
    wait_status(&stage, "its readings", |s| s.instances[CHILLER].readings > before);
    let done = reload(&stage, 0);
    assert!(done.contains("withheld ct-chiller") && done.contains("2 went on undisturbed"), "{done}");
    assert_eq!(stage.gateway_status().expect("it runs").instances[CHILLER].state, "withheld");
    let checked = crate::supervision::wardgate(&stage, &["check"]);
    assert!(said(&checked).contains("REVOKED: wardgate's key ed25519:"), "{}", said(&checked));
    goes_on(&stage, "the monitors");
    put_fleet(&trust, &fleet(5, FAR, json!([]), json!([])));
    assert!(reload(&stage, 0).contains("added ct-chiller"));
    // at once
    rule(&mut stage, "stop-at-maintenance", "stop-now");
    reload(&stage, 0);
    wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0);
    put_fleet(&trust, &fleet(6, FAR, stolen(1), json!([])));
    let status = wait_status(&stage, "the end of the chiller", |s| s.instances[CHILLER].state == "withheld");
    assert!(status.instances[CHILLER].detail.contains("was revoked on 2026-11-01"), "{status:#?}");
    goes_on(&stage, "the monitors");
    // somebody brings back the metadata from before the revocation: it holds on
    put_fleet(&trust, &fleet(5, FAR, json!([]), json!([])));
    let status = wait_status(&stage, "stale trust", |s| s.trust.state == "trust-stale");
    assert!(status.trust.why.contains("went back from version 6 to 5"), "{}", status.trust.why);
    assert_eq!(status.instances[CHILLER].state, "withheld");
    // and so it does through a restart, and the others start
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
    stage.start_gateway().expect("it starts without the chiller");
    let status =
        wait_status(&stage, "the monitors", |s| s.instances[MONITORS[0].0].readings > 0 && s.instances[MONITORS[1].0].readings > 0);
    assert_eq!(status.instances[CHILLER].state, "withheld");
    let told = audit(&stage, &["show", "--json"]);
    for words in [
        "as on_revoked = \\\"alert\\\" says",
        "it is stopped",
        "went back from version 6 to 5",
        "\"what\":\"stop\"",
        "\"what\":\"developer-mode\"",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(audit(&stage, &["verify"]).contains("is whole"));
}

pub fn audit(stage: &Stage, words: &[&str]) -> String {
    let mut command = Command::new(binary("wardgate").expect("built"));
    let done = command.arg("audit").args(words).arg("--config").arg(stage.folder.join("gateway.toml")).output().expect("it runs");
    assert!(done.status.success(), "{}", said(&done));
    said(&done)
}

//= PROMISES.md#P162
#[test]
fn a_package_that_asks_for_more_starts_after_a_fresh_approval_and_an_older_one_not_at_all() {
    let folder = Folder::new("approval");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (one, three) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.3", 3, &key(1), same));
    let more = another(&folder.0, "0.1.4", 4, &key(1), |m| {
        m.replace("memory_mib = 4", "memory_mib = 8").replace("numeric = 256", "numeric = 300")
    });
    let mut stage = ward(&folder, &one, "");
    stage.start_all(&[]).expect("everything starts");
    let name = |stage: &mut Stage, path: &Path| stage.instead[0].1 = path.display().to_string();
    let wardgate = |stage: &Stage, words: &[&str]| {
        let out = crate::supervision::wardgate(stage, words);
        assert!(out.status.success(), "{}", said(&out));
        said(&out)
    };
    name(&mut stage, &three);
    assert!(reload(&stage, 0).contains("restarted ct-chiller; 2 went on undisturbed"));
    name(&mut stage, &more);
    let refused = reload(&stage, 4);
    assert!(refused.contains("release 4 asks for more than was approved for this instance (release 3): channels numeric 300 instead of 256, limits memory_mib 8 instead of 4"), "{refused}");
    assert!(refused.contains("wardgate grant approve"), "{refused}");
    let diff = wardgate(&stage, &["grant", "diff", &more.display().to_string()]);
    assert!(diff.contains("+ channels numeric 300 instead of 256") && diff.contains("it starts after"), "{diff}");
    assert_eq!(stage.gateway_status().expect("it runs").instances[CHILLER].signed_by, "wardgate release 3", "it goes on as it was");
    wardgate(&stage, &["grant", "approve", &more.display().to_string()]);
    assert!(reload(&stage, 0).contains("restarted ct-chiller"));
    name(&mut stage, &three);
    let refused = reload(&stage, 4);
    assert!(refused.contains("release 3 is older than release 4"), "{refused}");
    // at a start it is left out, and says why; the others start
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
    stage.start_gateway().expect("the others start");
    let status = stage.gateway_status().expect("it runs");
    assert_eq!(status.instances[CHILLER].state, "withheld");
    assert!(status.instances[CHILLER].detail.contains("older than release 4"), "{status:#?}");
    assert!(audit(&stage, &["show"]).contains("more: channels numeric 300 instead of 256"));
}

//= PROMISES.md#P163
#[test]
fn a_configuration_that_somebody_changed_is_noticed_and_with_a_sites_key_it_counts_only_as_signed() {
    let folder = Folder::new("config-changed");
    fs::create_dir_all(&folder.0).expect("a folder");
    let one = another(&folder.0, "0.1.1", 1, &key(1), same);
    let mut stage = ward(&folder, &one, "");
    stage.start_all(&[]).expect("everything starts");
    let hash = stage.gateway_status().expect("it runs").instances[CHILLER].grants_hash.clone();
    // behind the gateway's back, and it runs on
    let wider = |stage: &mut Stage| stage.instead.push(("addresses = [\"0..11\"]".into(), "addresses = [\"0..99\"]".into()));
    wider(&mut stage);
    fs::write(folder.0.join("gateway.toml"), stage.configuration()).expect("written");
    wait_status(&stage, "the change", |s| s.config_changed && s.instances[CHILLER].grants_hash == hash);
    let shown = crate::supervision::wardgate(&stage, &["status"]);
    assert!(said(&shown).contains("CONFIGURATION CHANGED ON DISK") && said(&shown).contains("DEVELOPER MODE"), "{}", said(&shown));
    assert!(stage.gateway.as_mut().expect("started").stop().expect("it ends").success());
    stage.start_gateway().expect("it starts");
    let status = stage.gateway_status().expect("it runs");
    assert!(status.instances[CHILLER].grants_changed && status.instances[CHILLER].grants_hash != hash, "{status:#?}");
    let told = audit(&stage, &["show"]);
    assert!(
        told.contains("changed on disk, not reloaded") && told.contains("changed while no gateway ran") && told.contains(&hash),
        "{told}"
    );
    stage.gateway.as_mut().expect("started").stop().expect("it ends");

    // with the site's key
    fs::write(folder.0.join("site.pub"), key(7).public().pem()).expect("written");
    stage.more += &format!("site_key = {:?}\n", folder.0.join("site.pub").display().to_string());
    let file = folder.0.join("gateway.toml");
    let run = |text: &str| {
        fs::write(&file, text).expect("written");
        let out = Command::new(binary("wardgate").expect("built"))
            .args(["--log", "text", "run", "--config"])
            .arg(&file)
            .output()
            .expect("it runs");
        (out.status.code(), said(&out))
    };
    let (code, text) = run(&stage.configuration());
    assert!(code == Some(3) && text.contains("is not signed") && text.contains("wardgate grant sign --key site.key"), "{text}");
    fs::write(&file, stage.configuration()).expect("written");
    wardgate::plugin::sign_config(&file, &key(7)).expect("signed");
    stage.start_gateway().expect("signed, it starts");
    stage.gateway.as_mut().expect("started").stop().expect("it ends");
    let (code, text) = run(&stage.configuration().replace("0..99", "0..9"));
    assert!(code == Some(3) && text.contains("is not as the site signed it"), "{text}");
    let (code, text) = run(&stage.configuration().replace("site_key", "# site_key"));
    assert!(code == Some(3) && text.contains("is not as the site signed it"), "taking out the line takes nothing back: {text}");
}

/// By a clock a year ahead the metadata have expired: nothing new comes in, what runs goes on, and all is well once the clock is.
//= PROMISES.md#P169
#[test]
fn a_clock_a_year_ahead_stops_nothing_and_takes_nothing_and_is_forgotten() {
    let folder = Folder::new("clock-ahead");
    fs::create_dir_all(&folder.0).expect("a folder");
    let (one, two) = (another(&folder.0, "0.1.1", 1, &key(1), same), another(&folder.0, "0.1.2", 2, &key(1), same));
    let mut stage = ward(&folder, &one, "");
    put_fleet(&folder.0.join("trust"), &fleet(1, "2027-06-01T00:00:00Z", json!([]), json!([])));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "fresh metadata", |s| s.trust.state == "fresh" && s.trust.clock_set && s.instances[CHILLER].readings > 0);
    stage.gateway.as_mut().expect("started").stop().expect("it ends");
    let at = |stage: &mut Stage, clock: &str| {
        let mut command = Command::new(binary("wardgate").expect("built"));
        let mut process = stage.spawn_gateway(command.env("WARDGATE_TEST_CLOCK", clock)).expect("it starts");
        process.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("ready");
        stage.gateway = Some(process);
    };
    at(&mut stage, "2027-12-01T00:00:00Z");
    let status = wait_status(&stage, "stale trust", |s| s.trust.state == "trust-stale" && s.instances[CHILLER].readings > 0);
    assert!(status.trust.why.contains("it expired on 2027-06-01T00:00:00Z, and here it is 2027-12-01"), "{}", status.trust.why);
    let shown = crate::supervision::wardgate(&stage, &["status"]);
    assert!(said(&shown).contains("TRUST STALE, nothing new is taken"), "{}", said(&shown));
    stage.instead[0].1 = two.display().to_string();
    let refused = reload(&stage, 4);
    assert!(refused.contains("release 2 is new here, and nothing new is taken"), "{refused}");
    assert_eq!(stage.gateway_status().expect("it runs").instances[CHILLER].signed_by, "wardgate release 1", "it goes on");
    stage.gateway.as_mut().expect("started").stop().expect("it ends");
    // the clock is set, and a clock that was never set does as well
    at(&mut stage, "1970-01-01T00:00:09Z");
    let status = wait_status(&stage, "the chiller", |s| s.instances[CHILLER].readings > 0);
    assert!(status.trust.state == "fresh" && !status.trust.clock_set, "{status:#?}");
    assert_eq!(status.instances[CHILLER].signed_by, "wardgate release 2");
    let told = audit(&stage, &["show"]);
    assert!(told.contains("trust-stale") && told.contains("clock not set"), "{told}");
}

/// What nothing new of one vendor is taken for is told wherever trust is.
//= PROMISES.md#P316
#[test]
fn a_vendors_list_that_ended_is_told_as_stale_and_nobody_elses() {
    let folder = Folder::new("list-ended");
    fs::create_dir_all(&folder.0).expect("a folder");
    let one = another(&folder.0, "0.1.1", 1, &key(1), same);
    let mut stage = ward(&folder, &one, "");
    let metadata = |version, list_ends: &str| {
        let mut fleet = fleet(version, FAR, json!([]), json!([]));
        let named = |vendor: &str, n: u8, ends: &str| json!({"vendor": vendor, "keys": [key(n).public().id()], "list_ends": ends});
        fleet["vendors"] = json!([named("wardgate", 1, list_ends), named("acme", 2, FAR)]);
        fleet
    };
    put_fleet(&folder.0.join("trust"), &metadata(1, FAR));
    stage.start_all(&[]).expect("everything starts");
    wait_status(&stage, "the chiller", |s| s.trust.stale_vendors.is_empty() && s.instances[CHILLER].readings > 0);
    put_fleet(&folder.0.join("trust"), &metadata(2, PAST));
    let status = wait_status(&stage, "a stale list", |s| !s.trust.stale_vendors.is_empty());
    assert_eq!((status.trust.state.as_str(), status.trust.stale_vendors), ("fresh", [("wardgate".into(), PAST.into())].into()));
    let why = format!("the list of wardgate ended on {PAST}");
    let shown = said(&crate::supervision::wardgate(&stage, &["status"])).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("TRUST STALE for wardgate, nothing new of it is taken") && shown.contains(&why), "{shown}");
    let checked = crate::supervision::wardgate(&stage, &["check"]);
    assert!(said(&checked).contains(&format!("trust is stale for wardgate, so nothing new of it is taken: {why}")), "{}", said(&checked));
    put_fleet(&folder.0.join("trust"), &metadata(3, FAR));
    wait_status(&stage, "a fresh list", |s| s.trust.stale_vendors.is_empty());
    let told = audit(&stage, &["show"]);
    let of = |what: &str| told.lines().filter(|line| line.contains(what) && line.contains("vendor: wardgate")).count();
    assert_eq!((of("trust-stale"), of("trust-fresh")), (1, 1), "{told}");
}

//= PROMISES.md#P164
#[test]
fn developer_mode_is_asked_for_shown_everywhere_and_refused_on_a_ward() {
    let folder = Folder::new("developer");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    let file = folder.0.join("gateway.toml");
    let profile = folder.0.join("profile");
    fs::write(&profile, "production\n").expect("written");
    let run = |text: &str, profile: Option<&Path>| {
        fs::write(&file, text).expect("written");
        let mut command = Command::new(binary("wardgate").expect("built"));
        command.args(["--log", "text", "run", "--config"]).arg(&file);
        if let Some(profile) = profile {
            command.arg("--image-profile").arg(profile);
        }
        let out = command.output().expect("it runs");
        (out.status.code(), said(&out))
    };
    let good = stage.configuration();
    let (code, text) = run(&good.replace("developer_mode = true\n", ""), None);
    assert!(code == Some(3) && text.contains("needs developer_mode = true") && text.contains("allow_unsigned"), "{text}");
    let (code, text) = run(&good, Some(&profile));
    assert!(code == Some(3) && text.contains("this is an image for wards"), "{text}");
    // whoever else may write the file decides what plugins may reach
    fs::write(&file, &good).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("changed");
    let (code, text) = run(&good, None);
    assert!(code == Some(3) && text.contains("can be written by others (mode 666)"), "{text}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
    let port = ports::own().expect("a free port");
    stage.more = format!("\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    stage.start_gateway().expect("it starts");
    let status = stage.gateway_status().expect("it runs");
    assert!(status.developer_mode && status.allow_unsigned && status.audit.records >= 2, "{status:#?}");
    let page = crate::seeing::metrics(port);
    assert!(page.contains("wardgate_developer_mode 1\n") && page.contains("wardgate_unsigned_plugins_allowed 1\n"), "{page}");
    assert!(audit(&stage, &["show"]).contains("developer-mode"));
}
