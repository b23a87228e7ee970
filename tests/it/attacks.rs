//! Hostile plugins in a ward: each misdeed is contained, named and counted, and the devices beside it lose nothing. docs/attacks.md is the table.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use wardgate::status::InstanceStatus;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::stage::Stage;

use crate::reload::reload;
use crate::sandbox::hostile_folder;
use crate::ward::{Folder, wait};

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
const MISDEEDS: [(&str, &str, &str, Fate); 21] = [
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
