//! Bad input: a clear error that names the guilty and the remedy, the right exit code, and nothing taken is lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::binary;
use wardgate_lab::stage::{MONITORS, Stage};

use crate::ward::Folder;

/// A stage with everything that a configuration names in place, and nothing running.
fn quiet(folder: &Folder) -> Stage {
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    stage
}

fn wardgate(verb: &str, config: &Path) -> Output {
    Command::new(binary("wardgate").expect("built")).args(["--log", "text", verb]).arg("--config").arg(config).output().expect("it runs")
}

/// What it said, after a check of how it ended.
fn refused(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains("what to do:"), "an error names its remedy: {text}");
    text
}

#[test]
fn a_wrong_setting_is_named_with_its_line() {
    let folder = Folder::new("settings");
    let stage = quiet(&folder);
    let config = folder.0.join("wrong.toml");
    let good = stage.configuration();
    let line = |text: &str, find: &str| text.lines().position(|l| l.contains(find)).expect("it is in the text") + 1;

    let unknown = good.replace("baud = 9600", "bawd = 9600");
    fs::write(&config, &unknown).expect("written");
    for verb in ["check", "run"] {
        let said = refused(&wardgate(verb, &config), 3);
        assert!(said.contains("bawd") && said.contains(&format!("line {}", line(&unknown, "bawd"))), "{said}");
    }
    fs::write(&config, good.replace("resend_s = 3", "resend_s = \"soon\"")).expect("written");
    assert!(refused(&wardgate("check", &config), 3).contains(&format!("line {}", line(&good, "resend_s"))));
    fs::write(&config, good.replace("bus = \"plant\"", "bus = \"cellar\"")).expect("written");
    assert!(refused(&wardgate("check", &config), 3).contains("[bus.cellar]"));
    fs::write(&config, "[gateway\n").expect("written");
    assert!(refused(&wardgate("check", &config), 3).contains("line 1"));
    assert!(refused(&wardgate("check", &folder.0.join("nowhere.toml")), 3).contains("nowhere.toml"));
    fs::write(&config, good.replace("mac.key", "no.key")).expect("written");
    assert!(refused(&wardgate("run", &config), 3).contains("no.key"));
    fs::write(folder.0.join("short.key"), "short").expect("written");
    fs::write(&config, good.replace("mac.key", "short.key")).expect("written");
    assert!(refused(&wardgate("run", &config), 3).contains("16"));
}

#[test]
fn an_unsigned_package_needs_the_explicit_setting() {
    let folder = Folder::new("unsigned");
    let stage = quiet(&folder);
    let config = folder.0.join("strict.toml");
    fs::write(&config, stage.configuration().replace("allow_unsigned = true", "")).expect("written");
    let said = refused(&wardgate("run", &config), 4);
    assert!(said.contains("allow_unsigned"), "{said}");
}

#[test]
fn a_truncated_component_is_left_out_and_named_and_harms_no_other_device() {
    let folder = Folder::new("truncated");
    let mut stage = quiet(&folder);
    let package = wardgate_lab::process::root().join("plugins/target/packages/ivy450c-0.1.0");
    let broken = folder.0.join("ivy450c-0.1.0");
    fs::create_dir_all(&broken).expect("a folder");
    fs::copy(package.join("manifest.toml"), broken.join("manifest.toml")).expect("built by tests/build");
    let whole = fs::read(package.join("plugin.wasm")).expect("built by tests/build");
    stage.instead = vec![(package.display().to_string(), broken.display().to_string())];
    stage.write_configuration().expect("written");
    stage.start_receiver().expect("the receiver");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    for keep in [0, 7, whole.len() / 2, whole.len() - 1] {
        fs::write(broken.join("plugin.wasm"), &whole[..keep]).expect("written");
        let said = refused(&wardgate("check", &folder.0.join("gateway.toml")), 4);
        assert!(said.contains("plugin.wasm") || said.contains("ivy450c"), "{said}");
        stage.start_gateway().expect("the chiller has another plugin");
        let status = wait_status(&stage, "the others", |s| s.instances[wardgate_lab::stage::CHILLER].readings > 0);
        for (name, _) in MONITORS {
            let i = &status.instances[name];
            assert!(i.state == "withheld" && (i.detail.contains("plugin.wasm") || i.detail.contains("ivy450c")), "{i:#?}");
        }
        assert!(stage.gateway.take().expect("running").stop().expect("it ends").success());
    }
}

#[test]
fn two_gateways_do_not_share_a_state_folder() {
    let folder = Folder::new("shared");
    let mut stage = quiet(&folder);
    stage.start_gateway().expect("the first");
    let said = refused(&wardgate("run", &folder.0.join("gateway.toml")), 6);
    assert!(said.contains("state"), "{said}");
    assert!(stage.gateway.as_mut().expect("started").running(), "the first one goes on");
}

/// Asks again until the gateway's status shows it; bounded, because a gateway that never does must not hang the tests.
pub fn wait_status(stage: &Stage, what: &str, shows: impl Fn(&wardgate::status::Snapshot) -> bool) -> wardgate::status::Snapshot {
    for _ in 0..600 {
        if let Some(status) = stage.gateway_status().filter(&shows) {
            return status;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{what} never showed: {:#?}", stage.gateway_status());
}

#[test]
fn a_missing_port_is_named_and_harms_no_other_device() {
    let folder = Folder::new("port");
    let mut stage = quiet(&folder);
    let missing = folder.0.join("dev/nowhere").display().to_string();
    let package = wardgate_lab::process::root().join("plugins/target/packages/ivy450c-0.1.0");
    stage.more = format!("\n[instance.bed-9]\npackage = \"{}\"\n[instance.bed-9.grants.serial]\nport = \"{missing}\"\n", package.display());
    stage.start_receiver().expect("the receiver");
    stage.start_gateway().expect("a missing port does not keep the gateway from its other devices");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    let status = wait_status(&stage, "the missing port", |s| s.links.get(&missing).is_some_and(|l| !l.up && !l.last_error.is_empty()));
    assert!(!status.instances["bed-9"].link_up);
    wait_status(&stage, "readings of the others", |s| MONITORS.iter().all(|(name, _)| s.instances[*name].readings > 0));
}

#[test]
fn a_full_disk_loses_nothing_that_was_taken() {
    let folder = Folder::new("full");
    let mut stage = quiet(&folder);
    stage.more = "\n[store]\nsegment_bytes = 4096\nbytes_max = 32768\n".into();
    stage.start_gateway().expect("the gateway");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    let status = wait_status(&stage, "the full store", |s| !s.store.last_error.is_empty());
    let said = &status.store.last_error;
    assert!(said.contains("state/store") && said.contains("32768"), "it names the folder and the bound: {said}");
    sleep(Duration::from_secs(8)); // instances wait behind the full channel, and their inboxes fill
    stage.start_receiver().expect("the receiver");
    wait_status(&stage, "the end of the trouble", |s| s.store.last_error.is_empty() && s.store.batches_waiting < 3);
    sleep(Duration::from_secs(3));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up(), "{device}: {account:#?}\n{gaps:#?}");
    }
}

/// What it says at the end is true: it names what was not stored, and that is what the ledger calls a gap.
#[test]
fn a_stop_without_a_disk_says_what_was_not_stored() {
    let folder = Folder::new("gone-stop");
    let mut stage = quiet(&folder);
    stage.more = "\n[store]\nsegment_bytes = 4096\nbytes_max = 3276800\n".into(); // soon a new segment is due
    stage.start_gateway().expect("the gateway");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    wait_status(&stage, "values that are stored", |s| s.store.commits > 2);
    let (store, away) = (folder.0.join("state/store"), folder.0.join("state/away"));
    fs::rename(&store, &away).expect("nothing can be made there any more");
    wait_status(&stage, "the full store", |s| s.store.last_error.contains("new values wait in memory"));
    let mut gateway = stage.gateway.take().expect("running");
    assert_eq!(gateway.stop().expect("it ends").code(), Some(5));
    let log = fs::read_to_string(folder.0.join("log/gateway.log")).expect("a log");
    let last = log.split("wardgate: ").last().unwrap_or_default();
    assert!(last.contains("could not be stored") && last.contains("is kept") && last.contains("will show as a gap"), "{log}");
    assert!(!log.contains("Nothing that was taken is lost"), "{log}");
    fs::rename(&away, &store).expect("as it was");
    stage.start_receiver().expect("the receiver");
    stage.start_gateway().expect("it goes on");
    sleep(Duration::from_secs(2));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing > 0 && account.received > 0, "{device}: {account:#?}\n{gaps:#?}");
    }
}

/// Its last group, which says that it was a stop and not a power cut, has its place in the reserve.
#[test]
fn a_stop_on_a_full_disk_is_in_order() {
    let folder = Folder::new("full-stop");
    let mut stage = quiet(&folder);
    stage.more = "\n[store]\nsegment_bytes = 16384\nbytes_max = 131072\n".into();
    stage.start_gateway().expect("the gateway");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    wait_status(&stage, "the full store", |s| s.store.last_error.contains("is full: only alerts"));
    assert!(stage.gateway.take().expect("running").stop().expect("it ends").success());
    stage.start_gateway().expect("it goes on");
    wait_status(&stage, "the full store", |s| s.store.last_error.contains("is full: only alerts"));
    stage.start_receiver().expect("the receiver");
    wait_status(&stage, "room", |s| s.store.room == "ample");
    sleep(Duration::from_secs(3));
    stage.switch_off().expect("devices that listen");
    assert!(stage.gateway.take().expect("running").stop().expect("it ends").success());
    stage.start_gateway().expect("its opening tells which gaps were still open");
    drain_stage(&mut stage).expect("it drains");
    let gaps = crate::ward::lost(&stage.output());
    assert!(gaps.iter().any(|g| g.reason == "disk-full"), "{gaps:#?}");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing > 0 && account.received > 0, "{device}: {account:#?}\n{gaps:#?}");
    }
}

#[test]
fn a_receiver_with_another_key_takes_nothing_and_the_gateway_keeps_it() {
    let folder = Folder::new("key");
    let mut stage = quiet(&folder);
    let key = folder.0.join("mac.key");
    let right = fs::read(&key).expect("a key");
    fs::write(&key, "another key of sixteen bytes or more").expect("written");
    stage.start_receiver().expect("the receiver");
    sleep(Duration::from_secs(1)); // it has read its key
    fs::write(&key, &right).expect("written");
    stage.start_gateway().expect("the gateway");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    wait_status(&stage, "batches that nobody acknowledges", |s| s.store.batches_waiting > 3);
    let log = fs::read_to_string(folder.0.join("log/receiver.log")).expect("a log");
    let named: Vec<_> = log.lines().filter(|l| l.contains("demo-ward") && l.contains("its MAC does not fit: give --key")).collect();
    assert_eq!(named.len(), 1, "the receiver names the gateway whose key does not fit, and not at each message: {log}");
    let said = wait_status(&stage, "that nobody acknowledges", |s| s.uplink.last_error.contains("acknowledged nothing")).uplink;
    for words in ["acknowledged nothing for 12 s", "wardgate/1/demo-ward/up/+", "mac_key_file"] {
        assert!(said.last_error.contains(words), "{}", said.last_error);
    }
    let told = || fs::read_to_string(folder.0.join("log/gateway.log")).expect("a log").matches("acknowledged nothing").count();
    assert!(said.connected && told() == 1, "{}", told());
    let refused = stage.receiver_status()["refused"]["demo-ward"]["forged"].as_u64();
    assert!(refused > Some(3), "{}", stage.receiver_status());
    assert!(accountant::lines_below(&stage.output()).is_empty(), "nothing of it is taken");
    stage.receiver.take().expect("running").kill();
    stage.start_receiver().expect("with the right key");
    wait_status(&stage, "the end of the trouble", |s| s.uplink.last_error.is_empty() && s.uplink.batches_acknowledged > 0);
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
}

//= PROMISES.md#P16
#[test]
fn a_store_that_is_gone_is_told_with_the_time_of_what_went_with_it() {
    let folder = Folder::new("store-gone");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&[]).expect("the ward");
    let lost = folder.0.join("out").join(wardgate_lab::stage::GATEWAY).join("store-lost.jsonl");
    sleep(Duration::from_secs(4));
    assert!(!lost.exists());
    stage.receiver.as_mut().expect("it runs").kill();
    sleep(Duration::from_secs(3)); // taken by the gateway, and by nobody else
    stage.gateway.as_mut().expect("it runs").kill();
    fs::remove_dir_all(folder.0.join("state/store")).expect("removed");
    stage.start_receiver().expect("the receiver");
    stage.start_gateway().expect("the gateway");
    let text = wait_for_file(&lost);
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("a line")).collect();
    for (instance, _) in MONITORS {
        let of: Vec<_> = lines.iter().filter(|l| l["instance"] == *instance).collect();
        assert!(!of.is_empty(), "{text}");
        for l in of {
            assert_eq!(l["reason"], "store-lost");
            let ns = |key: &str| l[key].as_u64().expect("a moment");
            assert!(ns("to_monotonic_ns") - ns("from_monotonic_ns") > 2_500_000_000, "what nobody but the lost store knew: {l}");
        }
    }
    let page = Command::new(binary("wardgate-cloud").expect("built")).arg("gaps").arg(folder.0.join("out")).output().expect("it runs");
    assert!(String::from_utf8_lossy(&page.stdout).contains("store-lost"), "{page:?}");
    let told = || stage.receiver_status()["gateways"][wardgate_lab::stage::GATEWAY]["store_lost"] == lines.len();
    assert!(
        (0..400).any(|_| told() || {
            sleep(Duration::from_millis(50));
            false
        }),
        "{}",
        stage.receiver_status()
    );
}

fn wait_for_file(path: &Path) -> String {
    for _ in 0..400 {
        if let Ok(text) = fs::read_to_string(path) {
            return text;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{} does not come", path.display());
}
