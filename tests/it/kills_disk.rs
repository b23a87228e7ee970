//! A disk that really is full: the state folder of the gateway, then the output folder of the receiver, on a small tmpfs that answers ENOSPC.
//! A clear error, nothing taken is lost, and all goes on once there is room. The tmpfs is mounted in a mount namespace of the test's own;
//! where that is not allowed the test says SKIPPED.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use wardgate_lab::accountant;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::stage::Stage;

use crate::ward::{Folder, wait};

pub const CHILD: &str = "WARDGATE_TEST_DISK";
/// The gateway's compiled plugins take some of it, and the reserve of its store.
const DISK: &str = "size=64m";
/// Longer than a commit is late, shorter than the inboxes of the lines hold out (10 s).
const FULL_S: u64 = 4;

/// A small disk on a folder of the stage.
pub fn small_disk(folder: &Path) {
    fs::create_dir_all(folder).expect("a mount point");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder).status().expect("mount runs");
    assert!(done.success(), "in a namespace of its own root may mount");
}

/// A real file system on a loop device instead: `ext4`, or `ext2`, which cannot allocate ahead. False where this machine has no loop devices.
pub fn small_file_system(folder: &Path, kind: &str) -> bool {
    fs::create_dir_all(folder).expect("a mount point");
    let image = folder.with_extension(kind);
    File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
    let run = |program: &str, words: &[&str], last: Option<&Path>| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let done =
            Command::new("env").arg(format!("PATH={path}")).arg(program).args(words).arg(&image).args(last).output().expect("env runs");
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (made, why) = run("mke2fs", &["-q", "-F", "-m", "0", "-t", kind], None); // nothing is set aside for root
    assert!(made, "{why}");
    let (mounted, why) = run("mount", &["-t", kind, "-o", "loop"], Some(folder));
    if !mounted {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(std::io::stderr(), "SKIPPED: no loop devices here, so NO {kind} WAS FILLED: {why}");
    }
    mounted
}

/// Takes what is left of the disk, to the last byte.
pub fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).expect("the disk is not full yet");
    for size in [1 << 16, 1] {
        let piece = vec![0; size];
        let why = (0..).find_map(|_| file.write_all(&piece).err()).expect("the disk ends");
        assert_eq!(why.kind(), ErrorKind::StorageFull, "{why}");
    }
    path
}

fn settle(mut stage: Stage, whole: bool) {
    sleep(Duration::from_secs(2));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");
    let gaps = accountant::read_gaps(&stage.output());
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && (!whole || account.missing == 0), "{device}: {account:#?}\n{gaps:#?}");
        println!("{device}: sent {} received {} missing {}", account.sent, account.received, account.missing);
    }
}

/// Not a test of its own: what runs in the namespace.
#[test]
#[ignore = "the child of the tests below"]
fn child_on_a_small_disk() {
    let Ok(which) = std::env::var(CHILD) else { return };
    let folder = Folder::new(&format!("disk-{which}"));
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let disk = folder.0.join(&which);
    small_disk(&disk);
    stage.start_all(&[]).expect("everything starts");
    sleep(Duration::from_secs(2));
    let filler = fill(&disk);
    let log = |name: &str| fs::read_to_string(folder.0.join("log").join(name)).unwrap_or_default();
    match which.as_str() {
        "state" => {
            let error = || stage.gateway_status().map(|s| s.store.last_error).unwrap_or_default();
            wait("the full disk in the gateway's status", || error().contains("the file system has no room left; free space on it"));
            assert!(error().contains("state/store"), "it names its folder: {}", error());
            assert!(log("gateway.log").contains("the file system has no room left"));
        }
        _ => {
            wait("the full disk in the receiver's log", || log("receiver.log").contains("No space left"));
            assert!(log("receiver.log").contains("/out/"), "it names its file: {}", log("receiver.log"));
        }
    }
    sleep(Duration::from_secs(FULL_S));
    fs::remove_file(filler).expect("room is made");
    match which.as_str() {
        "state" => wait("the end of the trouble", || stage.gateway_status().is_some_and(|s| s.store.last_error.is_empty())),
        _ => wait("the end of the trouble", || log("receiver.log").contains("takes data again")),
    }
    // the receiver's disk costs no value at all; the gateway's may cost what no inbox could hold, each in a gap
    settle(stage, which == "out");
    take_down(&disk);
}

/// The end of a child.
pub fn take_down(disk: &Path) {
    _ = Command::new("umount").arg("-l").arg(disk).status(); // or its folder could not be removed
    println!("went on after it");
}

/// Runs this ignored test in a mount namespace of its own; `which` is told to it.
pub fn on_a_small_disk(child: &str, which: &str) {
    let allowed = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|o| o.status.success());
    if !allowed {
        println!(
            "SKIPPED: no mount namespace here (it needs root), so NO REAL DISK WAS FILLED; the store's own bound is proven in `faults`"
        );
        return;
    }
    let me = std::env::current_exe().expect("a test binary");
    let child = Command::new("unshare")
        .args(["-m", "--propagation", "private"])
        .arg(me)
        .args(["--ignored", "--exact", child, "--nocapture"])
        .env(CHILD, which)
        .output()
        .expect("unshare runs");
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("went on after it"), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    println!("{said}");
}

//= PROMISES.md#P43
#[test]
fn a_gateway_whose_disk_is_full_loses_nothing_that_it_took() {
    on_a_small_disk("kills_disk::child_on_a_small_disk", "state");
}

//= PROMISES.md#P43
#[test]
fn a_receiver_whose_disk_is_full_acknowledges_nothing_and_loses_nothing() {
    on_a_small_disk("kills_disk::child_on_a_small_disk", "out");
}
