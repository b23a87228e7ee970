//! The compiler as a gateway's image starts it: by systemd, from the units in `images/common`, for each connection, under a user of its own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::process::Command;

use wardgate::plugin::{CompileLimits, Host, Origin, Profile, prepare};
use wardgate_lab::process::{Process, binary, root};

use super::{both_links, compiler, folder, hostile_package};

/// Long, so that a busy machine fails nothing.
const PATIENCE_S: u64 = 180;

//= PROMISES.md#P307
#[tokio::test]
async fn what_systemd_starts_for_the_socket_compiles_behind_all_its_walls() {
    let folder = folder("units");
    let mut boot = Command::new(root().join("tests/units/boot"));
    boot.arg(&folder).arg(binary("wardgate").expect("built"));
    let mut systemd = Process::start("systemd", &mut boot, &folder.join("log")).expect("it starts");
    let socket = folder.join("run/compile.sock");
    let mut ended = None;
    for _ in 0..PATIENCE_S {
        ended = systemd.wait_end(1).ok();
        if ended.is_some() || fs::metadata(&socket).is_ok_and(|file| file.file_type().is_socket() && file.gid() != 0) {
            break;
        }
    }
    if let Some(status) = ended {
        assert_eq!(status.code(), Some(77), "{}", systemd.log_end());
        let why = systemd.log_end();
        let _ = writeln!(std::io::stderr(), "SKIPPED: NO SYSTEMD STARTED THE UNITS OF images/common (it needs root and overlays): {why}");
        return;
    }
    let file = fs::metadata(&socket).expect("its socket");
    assert!(file.uid() == 0 && file.gid() != 0 && file.mode() & 0o777 == 0o660, "for root and the gateway's group: {:o}", file.mode());

    let compiler = compiler(&folder, CompileLimits::default()).at(Some(socket));
    let around = compiler.around(Profile::Guarded).await;
    assert!(around.missing(true).is_empty(), "an image for wards compiles nothing without {:?}", around.lacks);
    let host = std::sync::Arc::new(Host::probe().expect("an engine"));
    let (_, origin) = prepare(&host, &compiler, &hostile_package(), &both_links()).await.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(origin, Origin::Compiled);
}
