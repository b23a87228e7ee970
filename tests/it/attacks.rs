//! Hostile plugins in a ward: each misdeed is contained, named and counted, and the devices beside it lose nothing. docs/attacks.md is the table.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use wardgate::status::InstanceStatus;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::{READY_S_MAX, binary};
use wardgate_lab::stage::{MONITORS, Stage};

use crate::reload::reload;
use crate::sandbox::{hostile_folder, unfit};
use crate::supervision::{said, wardgate};
use crate::ward::{Folder, wait, wait_to_see};

/// What becomes of an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It faults again and again, and is not opened any more.
    Quarantined,
    /// What it tries is refused or bounded, and it goes on.
    GoesOn,
}
use Fate::{GoesOn, Quarantined};

/// Setting, order, what its status says in the end, and its fate.
const MISDEEDS: [(&str, &str, &str, Fate); 22] = [
    ("each-second", "loop", "ms of processor time in one call, 100 are allowed", Quarantined),
    ("at-open", "loop", "ms of processor time in one call, 100 are allowed", Quarantined),
    ("each-second", "memory", "limits.memory_mib", Quarantined),
    ("each-second", "stack", "stack", Quarantined),
    ("each-second", "keep then panic", "panicked", Quarantined),
    ("each-second", "many calls", "number of calls to the gateway", Quarantined),
    ("each-second", "many bytes at once", "bytes in one call", Quarantined),
    ("each-second", "huge text", "a health report of 524288 bytes, 1024 are the most", Quarantined),
    ("each-second", "emit flood", "says more than 64 KiB a second", Quarantined),
    ("each-second", "log flood", "says more than 64 KiB a second", Quarantined),
    ("each-second", "alert flood", "raises more than 10 alerts a second", Quarantined),
    ("each-second", "describe storm", "says more than 64 KiB a second", Quarantined),
    ("each-second", "timers", "has more than 64 timers open", Quarantined),
    ("each-second", "timer storm", "says more than 64 KiB a second", Quarantined),
    ("each-second", "burn", "", GoesOn),
    ("each-second", "describe too many", "described more than 1 channels of kind numeric", Quarantined),
    ("each-second", "name with escapes", "without control characters", Quarantined),
    ("each-second", "identify A1\\u001b[2J", "with control characters in it, \"A1\\u{1b}[2J\"", Quarantined),
    ("each-second", "large state", "kept a state of 65 bytes, 64 are allowed", Quarantined),
    ("each-second", "strange tags", "", GoesOn),
    ("each-second", "beyond the grant", "", GoesOn),
    ("each-second", "request flood", "more than 64 refusals wait to be taken", Quarantined),
];

fn name_of(n: usize) -> String {
    format!("hostile-{n}")
}

/// All of them at once beside the demo's devices, each on a port that is not there and with nothing granted on the plant's bus.
fn hostile_instances(stage: &Stage) -> String {
    let one = |(n, (setting, order, ..)): (usize, &(&str, &str, &str, Fate))| {
        let (name, package, folder) = (name_of(n), hostile_folder().display(), stage.folder.display());
        format!(
            "\n[instance.{name}]\npackage = \"{package}\"\nsettings = {{ {setting} = \"{order}\" }}\n\
             [instance.{name}.grants.serial]\nport = \"{folder}/dev/none-{n}\"\n\
             [instance.{name}.grants.modbus]\nbus = \"plant\"\nservers = [7]\nallow = []\n"
        )
    };
    MISDEEDS.iter().enumerate().map(one).collect()
}

fn instances(stage: &Stage) -> BTreeMap<String, InstanceStatus> {
    stage.gateway_status().map(|s| s.instances).unwrap_or_default()
}

//= PROMISES.md#P86
#[test]
fn every_misdeed_is_contained_named_and_counted_and_the_ward_loses_nothing() {
    let folder = Folder::new("attacks");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.more = hostile_instances(&stage);
    stage.start_all(&[]).expect("everything starts");
    let quarantined = || {
        let all = instances(&stage);
        let settled = |(n, (.., fate)): (usize, &(&str, &str, &str, Fate))| {
            *fate == GoesOn || all.get(&name_of(n)).is_some_and(|i| i.state == "quarantined")
        };
        MISDEEDS.iter().enumerate().all(settled)
    };
    wait("quarantine of all that fault", quarantined);
    sleep(Duration::from_secs(3)); // a while of the ward beside those that go on
    let all = instances(&stage);
    for (n, (setting, order, says, fate)) in MISDEEDS.iter().enumerate() {
        let i = &all[&name_of(n)];
        let who = format!("{setting} = \"{order}\": {i:#?}");
        assert_eq!(i.state == "quarantined", *fate == Quarantined, "{who}");
        assert!(i.detail.contains(says), "should say \"{says}\": {who}");
        assert_eq!(i.faults > 0, *fate == Quarantined, "{who}");
        if *fate == Quarantined {
            assert!(i.detail.contains(&format!("`wardgate instance restart {}`", name_of(n))), "{who}");
        }
        assert!(i.detail.len() < 1000 && !i.detail.contains('\u{1b}'), "{who}");
        if *order == "beyond the grant" {
            assert!(i.refusals >= 6, "{who}");
        }
    }
    stage.more.clear();
    let text = stage.configuration();
    let done = reload(&stage, &text, 0); // what goes on would never be silent
    assert!(done.contains("3 went on undisturbed"), "{done}");
    stage.switch_off().expect("the ward is switched off");
    drain_stage(&mut stage).expect("it drains");
    let log = std::fs::read_to_string(stage.folder.join("log/gateway.log")).expect("its log");
    assert!(!log.contains("\u{1b}[2J"), "an escape sequence of a plugin stands in the log");
    for (device, account) in books(&stage) {
        assert!(account.sent > 0 && account.sent == account.received, "{device}: {account:?}");
        assert_eq!((account.missing, account.unexplained), (0, 0), "{device}: {account:?}");
    }
    assert!(stage.gateway.as_mut().expect("runs").stop().expect("it ends").success());
}

/// Packages that do not compile, link, start or fit, one that compiles for as long as it may, and one that is only half there.
//= PROMISES.md#P210
#[test]
fn a_package_that_does_not_come_to_run_is_left_out_by_itself_and_the_ward_starts_and_loses_nothing() {
    let folder = Folder::new("unfit");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let mut unfit = unfit();
    let half = folder.0.join("hostile-0.1.0");
    std::fs::create_dir_all(&half).expect("a folder");
    std::fs::copy(hostile_folder().join("manifest.toml"), half.join("manifest.toml")).expect("built");
    let whole = std::fs::read(hostile_folder().join("plugin.wasm")).expect("built");
    std::fs::write(half.join("plugin.wasm"), &whole[..whole.len() / 2]).expect("written");
    unfit.push(("half", half.clone(), "hostile-0.1.0"));
    for (name, package, _) in &unfit {
        stage.more += &format!(
            "\n[instance.{name}]\npackage = \"{}\"\n[instance.{name}.grants.serial]\nport = \"{}/dev/none-{name}\"\n\
             [instance.{name}.grants.modbus]\nbus = \"plant\"\nservers = [7]\nallow = []\n",
            package.display(),
            folder.0.display()
        );
    }
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    stage.start_receiver().expect("the receiver");
    stage.write_configuration().expect("written");
    let check = wardgate(&stage, &["check"]);
    assert_eq!(check.status.code(), Some(4), "{}", said(&check));
    let gateway = stage.spawn_gateway(&mut std::process::Command::new(binary("wardgate").expect("built"))).expect("it starts");
    stage.gateway = Some(gateway);
    let open = |all: &BTreeMap<String, InstanceStatus>| MONITORS.iter().all(|(name, _)| all.get(*name).is_some_and(|i| i.opens > 0));
    let all = wait_to_see("monitors that are open", || instances(&stage), open);
    assert_eq!(all["deep"].state, "compiling", "nobody waits for it");
    stage.gateway.as_mut().expect("runs").wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).expect("it is ready");
    stage.ward.as_mut().expect("started").tell("on").expect("devices that listen");
    let settled =
        |all: &BTreeMap<String, InstanceStatus>| unfit.iter().all(|(name, ..)| all.get(*name).is_some_and(|i| i.state == "withheld"));
    let all = wait_to_see("all of them left out", || instances(&stage), settled);
    let log = std::fs::read_to_string(stage.folder.join("log/gateway.log")).expect("its log");
    for (name, _, says) in &unfit {
        let i = &all[*name];
        assert!(i.detail.contains(says) && i.opens == 0 && !i.detail.contains('\u{1b}'), "should say \"{says}\": {i:#?}");
        assert!(log.contains(&format!("`wardgate instance restart {name}`")), "{name}: the log names the remedy: {log}");
    }
    let told = wardgate(&stage, &["instance", "restart", "half"]);
    assert!(told.status.code() == Some(4) && said(&told).contains("hostile-0.1.0"), "{}", said(&told));
    let command = wardgate(&stage, &["command", "half", "add"]);
    assert!(command.status.code() == Some(4) && said(&command).contains("does not run, it is withheld"), "{}", said(&command));
    let text = stage.configuration();
    let done = reload(&stage, &text, 0);
    assert!(done.contains("withheld") && done.contains("went on undisturbed"), "what was left out keeps no reload from being done: {done}");
    // the card is mended
    std::fs::write(half.join("plugin.wasm"), &whole).expect("written");
    let done = wardgate(&stage, &["instance", "restart", "half"]);
    assert!(done.status.success(), "{}", said(&done));
    wait_to_see("the mended one", || instances(&stage), |all| all["half"].opens > 0);
    stage.switch_off().expect("the ward is switched off");
    stage.more.clear();
    let text = stage.configuration();
    reload(&stage, &text, 0);
    drain_stage(&mut stage).expect("it drains");
    for (device, account) in books(&stage) {
        assert!(account.sent > 0 && account.sent == account.received, "{device}: {account:?}");
        assert_eq!((account.missing, account.unexplained), (0, 0), "{device}: {account:?}");
    }
    assert!(stage.gateway.as_mut().expect("runs").stop().expect("it ends").success());
}
