//! The stolen-laptop drill: a vendor's key is taken back by stick on a gateway that nobody reached for 40 days and whose clock never left 1970.

use std::fs;
use std::process::Command;

use serde_json::Value as Json;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::{READY_S_MAX, binary};
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};

use crate::faults::wait_status;
use crate::gatekeeper::shipped;
use crate::tamper::key;
use crate::trust::site::{NEVER_SET, Site};

/// Of the chiller's vendor, whose laptop is stolen, and of the monitors' vendor.
const THEFT: &str = "2027-01-10T12:00:00Z";

/// A ward that runs signed packages only, of two vendors that the fleet trusts; gateway.toml is signed by the site.
fn ward(site: &Site) -> Stage {
    site.well(&["trust", "init", "fleet"]);
    let stick = site.path("first");
    fs::create_dir_all(&stick).expect("a folder");
    for (vendor, n, plugin) in [("acme", 1, "modbus-map"), ("other", 2, "ivy450c")] {
        site.well(&["trust", "add-vendor", vendor, "--key", &format!("{vendor}.pub"), "--fleet", "fleet"]);
        let theirs = |text: String| text.replacen("vendor = \"wardgate\"", &format!("vendor = \"{vendor}\""), 1);
        let package = shipped(&stick, plugin, "0.1.0", 1, &key(n), theirs).display().to_string();
        site.well(&["trust", "publish", &package, "--fleet", "fleet"]);
    }
    site.update_from("fleet/repository", NEVER_SET).expect("trust begins");
    let mut stage = Stage::new(&site.path("ward")).expect("a stage");
    fs::write(stage.folder.join("site.pub"), key(7).public().pem()).expect("written");
    stage.site = Some(key(7));
    let (at, gw) = (stage.folder.display().to_string(), site.path("gw").display().to_string());
    stage.instead = vec![
        (format!("folder = \"{at}/trust\""), format!("folder = \"{gw}\"\non_revoked = \"stop-now\"")),
        ("allow_unsigned = false".into(), format!("folder = \"{at}/packages\"")),
    ];
    stage.write_configuration().expect("signed");
    fs::copy(stage.folder.join("gateway.toml"), site.path("gateway.toml")).expect("copied");
    fs::copy(stage.folder.join("gateway.toml.sig"), site.path("gateway.toml.sig")).expect("copied");
    for package in ["modbus-map-0.1.0", "ivy450c-0.1.0"] {
        site.install_at(&stick.join(format!("{package}.wardgate")).display().to_string(), NEVER_SET).expect("installed");
    }
    stage
}

fn start(stage: &mut Stage) {
    stage.write_configuration().expect("signed");
    let mut command = Command::new(binary("wardgate").expect("built"));
    let mut process = stage.spawn_gateway(command.env("WARDGATE_TEST_CLOCK", NEVER_SET)).expect("it starts");
    process.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("ready");
    stage.gateway = Some(process);
}

//= PROMISES.md#P168
#[test]
fn a_stolen_laptops_key_is_taken_back_on_a_gateway_that_was_offline_for_40_days_at_1970() {
    let site = Site::bare("drill");
    let mut stage = ward(&site);
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    stage.start_receiver().expect("the receiver");
    start(&mut stage);
    stage.ward.as_mut().expect("started").tell("on").expect("it listens");
    let status = wait_status(&stage, "readings of all", |s| s.instances.len() == 3 && s.instances.values().all(|i| i.readings > 0));
    assert!(!status.trust.clock_set && status.trust.state == "fresh" && !status.developer_mode, "{status:#?}");
    assert_eq!(
        (status.instances[CHILLER].signed_by.as_str(), status.instances[MONITORS[0].0].signed_by.as_str()),
        ("acme release 1", "other release 1")
    );

    // nobody reaches it; far away, 40 days later, a laptop is stolen and its key taken back
    stage.broker.as_mut().expect("started").kill();
    let revoke = ["trust", "revoke", "--vendor", "acme", "--key", "acme.pub", "--reason", "a laptop was stolen", "--fleet", "fleet"];
    let done = site.run(&revoke, Some(THEFT));
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let before = wait_status(&stage, "a gateway without its broker", |s| !s.uplink.connected);
    // a person brings it on a stick
    let stick = site.copy("fleet/repository", "stick");
    site.update_from(&stick, NEVER_SET).expect("newer, whatever the clock says");
    let status = wait_status(&stage, "the end of the chiller's plugin", |s| s.instances[CHILLER].state == "withheld");
    assert!(status.instances[CHILLER].detail.contains("a laptop was stolen"), "{status:#?}");
    let others = |s: &wardgate::status::Snapshot, opens: u64| {
        MONITORS.iter().all(|(m, _)| s.instances[*m].opens == opens && s.instances[*m].faults == 0)
    };
    let after = wait_status(&stage, "the monitors' readings", |s| {
        MONITORS.iter().all(|(m, _)| s.instances[*m].readings > before.instances[*m].readings + 5)
    });
    assert!(others(&after, 1), "they never stopped: {after:#?}");
    // whoever has the laptop brings a new package of that vendor
    let forged = site.path("thief");
    fs::create_dir_all(&forged).expect("a folder");
    let theirs = |text: String| text.replacen("vendor = \"wardgate\"", "vendor = \"acme\"", 1);
    let forged = shipped(&forged, "modbus-map", "0.2.0", 2, &key(1), theirs).display().to_string();
    let mut accept = Command::new(binary("wardgate").expect("built"));
    let done = accept.args(["plugin", "accept", &forged, "--config"]).arg(stage.folder.join("gateway.toml")).output().expect("it runs");
    assert_eq!(done.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&done.stderr).contains("a laptop was stolen"), "{}", String::from_utf8_lossy(&done.stderr));

    // the broker is back: of the others not a value is missing
    stage.start_broker().expect("the broker");
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    for (name, account) in books(&stage).iter().filter(|(name, _)| name != CHILLER) {
        assert!(account.sent > 0 && account.sent == account.received && account.missing == 0, "{name}: {:?}", account.complaints);
    }
    // a power cut changes nothing
    stage.gateway.as_mut().expect("started").kill();
    start(&mut stage);
    let status = wait_status(&stage, "the monitors, open again", |s| {
        MONITORS.iter().all(|(m, _)| s.instances.get(*m).is_some_and(|i| i.opens == 1))
    });
    assert!(status.instances[CHILLER].state == "withheld" && others(&status, 1), "{status:#?}");

    tells_the_story(&stage);
}

fn tells_the_story(stage: &Stage) {
    let audit = |words: &[&str]| {
        let mut command = Command::new(binary("wardgate").expect("built"));
        let done = command.arg("audit").args(words).arg("--config").arg(stage.folder.join("gateway.toml")).output().expect("it runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    assert!(audit(&["verify"]).contains("is whole"));
    let told: Vec<Json> = audit(&["show", "--json"]).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let mut at = 0;
    for (what, words) in [
        ("install", "modbus-map"),
        ("install", "ivy450c"),
        ("start", "life"),
        ("grant-approve", "ct-chiller"),
        ("revoke", "it is stopped, as on_revoked = \\\"stop-now\\\" says"),
        ("refuse", "a laptop was stolen"),
        ("refuse", "install"),
        ("start", "life"),
        ("refuse", "ct-chiller"),
    ] {
        let found = told[at..].iter().position(|r| r["what"] == what && r["about"].to_string().contains(words));
        at += 1 + found.unwrap_or_else(|| panic!("no {what} with {words} behind record {at}: {told:#?}"));
    }
    let gateways = told.iter().filter(|r| r["by"] == "gateway");
    assert!(gateways.clone().count() > 5 && gateways.into_iter().all(|r| r["wall"].is_null()), "its clock was never set, and it says so");
}
