//! Small machines: with a Pi's address space the gateway falls back to the compact profile by itself, says so, and loses nothing.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::{READY_S_MAX, binary};
use wardgate_lab::stage::Stage;

use crate::ward::Folder;

/// A guarded pool takes 260 GiB; what the compact one and everything else take fits in this.
pub const ADDRESS_KIB: u64 = 16 << 20;

//= PROMISES.md#P36
#[test]
fn with_little_address_space_the_ward_runs_in_the_compact_profile_and_loses_nothing() {
    let folder = Folder::new("small");
    let mut stage = Stage::new(&folder.0).unwrap();
    stage.start_broker().unwrap();
    stage.start_ward(&[]).unwrap();
    stage.start_receiver().unwrap();
    std::fs::write(folder.0.join("gateway.toml"), stage.configuration()).unwrap();
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -v {ADDRESS_KIB} && exec \"$0\" \"$@\"")).arg(binary("wardgate").unwrap());
    let mut gateway = stage.spawn_gateway(&mut limited).unwrap();
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).unwrap();
    stage.gateway = Some(gateway);
    stage.ward.as_mut().unwrap().tell("on").unwrap();
    sleep(Duration::from_secs(3));

    assert_eq!(stage.gateway_status().unwrap().memory_profile, "compact");
    let shown = Command::new(binary("wardgate").unwrap()).arg("status").arg("--state").arg(folder.0.join("state")).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("compact memory profile"), "{shown:?}");
    let log = std::fs::read_to_string(folder.0.join("log/gateway.log")).unwrap();
    assert!(log.contains("using the compact profile"), "{log}");

    stage.switch_off().unwrap();
    drain_stage(&mut stage).unwrap();
    stage.gateway.as_mut().unwrap().stop().unwrap();
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.sent > 0 && account.missing == 0, "{device}: {account:?}");
    }
}
