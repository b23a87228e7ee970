//! Ports behind terminal servers: ser2net (Debian) as bare TCP and as RFC 2217; and socat's pty as a cable that is pulled and put back.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::OFlags;
use wardgate::contract::Event;
use wardgate_lab::ports;

use super::serial::{DOWN, Rig, UP, grant};
use super::{Scratch, Socat, within};

/// A terminal server with one port, reached in both ways. Ends with this value.
pub(super) struct Ser2net {
    pub(super) raw: u16,
    pub(super) rfc2217: u16,
    _child: tokio::process::Child,
}

impl Ser2net {
    pub(super) async fn before(port: &Path, config: &Path) -> Self {
        let (raw, rfc2217) = (ports::own().unwrap(), ports::own().unwrap());
        let one = |name: &str, accepter: &str, at: u16| {
            let port = port.display();
            format!("connection: &{name}\n  accepter: {accepter}tcp,127.0.0.1,{at}\n  connector: serialdev,{port},9600n81,local\n")
        };
        let text = format!("%YAML 1.1\n---\n{}{}", one("raw", "", raw), one("rfc", "telnet(rfc2217),", rfc2217));
        std::fs::write(config, text).unwrap();
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = tokio::process::Command::new("ser2net");
        command.env("PATH", &path).args(["-n", "-d", "-c"]).arg(config).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().or_else(|_| {
            let mut command = tokio::process::Command::new("/usr/sbin/ser2net");
            command.args(["-n", "-d", "-c"]).arg(config).stderr(Stdio::null()).kill_on_drop(true).spawn()
        });
        Self { raw, rfc2217, _child: child.expect("ser2net runs: `make test-setup` installs it") }
    }
}

/// The device's end of socat's cable.
pub(super) fn device(port: &Path) -> std::fs::File {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32;
    std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(port).unwrap()
}

pub(super) async fn hears(device: &mut std::fs::File, n: usize) -> Vec<u8> {
    use std::io::Read;
    let mut all = Vec::new();
    within(async {
        while all.len() < n {
            let mut piece = [0; 256];
            match device.read(&mut piece) {
                Ok(k) => all.extend_from_slice(&piece[..k]),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await;
    all
}

pub(super) async fn is_up(rig: &Rig) {
    // while the terminal server starts, the port is away
    while rig.event().await != UP {}
}

#[tokio::test]
async fn a_port_behind_a_terminal_server_is_a_port_like_any_other() {
    let scratch = Scratch::new("ser2net");
    let cable = Socat::between(&scratch.file("device"), &scratch.file("server")).await;
    let server = Ser2net::before(&scratch.file("server"), &scratch.file("ser2net.yaml")).await;
    let all: Vec<u8> = (0..=255).chain([255, 255, 0, 255, 250, 240]).collect();
    for place in [format!("tcp://127.0.0.1:{}", server.raw), format!("rfc2217://127.0.0.1:{}", server.rfc2217)] {
        let mut device = device(&scratch.file("device"));
        let rig = Rig::new(&wardgate::config::SerialGrant {
            baud: 19200,
            framing: "7E1".into(),
            ..grant(Path::new(&place), &["\"poll\"", "FF FF 00"])
        });
        is_up(&rig).await;
        rig.handle.write(1, b"poll".to_vec()).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(1, Ok(())), "{place}");
        assert_eq!(hears(&mut device, 4).await, b"poll");
        rig.handle.write(2, vec![255, 255, 0]).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(2, Ok(())));
        assert_eq!(hears(&mut device, 3).await, [255, 255, 0], "{place}: a byte that telnet doubles comes out once");
        device.write_all(&all).unwrap();
        assert_eq!(rig.bytes(all.len()).await, all, "{place}");
        drop(rig);
        tokio::time::sleep(Duration::from_millis(300)).await; // ser2net closes its side of the port
    }
    cable.unplug().await;
}

#[tokio::test]
async fn a_terminal_server_that_speaks_no_rfc_2217_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[255, 254, 44]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let rig = Rig::new(&grant(Path::new(&format!("rfc2217://{at}")), &[]));
    assert_eq!(rig.event().await, DOWN);
    assert!(rig.error().contains("does not speak RFC 2217"), "{}", rig.error());
}

const CHILD: &str = "WARDGATE_TEST_NETWORK";

/// In a network of its own, which goes away and comes back.
#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_in_a_network_of_its_own() {
    use tokio::io::AsyncWriteExt as _;
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let network = |state: &str| assert!(std::process::Command::new("ip").args(["link", "set", "lo", state]).status().unwrap().success());
    network("up");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let rig = Rig::new(&grant(Path::new(&format!("tcp://{at}")), &[]));
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(rig.event().await, UP);
    server.write_all(b"before").await.unwrap();
    assert_eq!(rig.bytes(6).await, b"before");
    network("down");
    assert_eq!(rig.event().await, DOWN, "it only listens, and notices that nobody is there");
    network("up");
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(rig.event().await, UP);
    server.write_all(b"after").await.unwrap();
    assert_eq!(rig.bytes(5).await, b"after");
    println!("heard again");
}

#[test]
fn a_terminal_server_that_vanishes_without_a_word_is_noticed() {
    if !std::process::Command::new("unshare").args(["-n", "true"]).output().is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: no network namespace here (it needs root), so NO TERMINAL SERVER VANISHED");
        return;
    }
    let child = std::process::Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "links::servers::child_in_a_network_of_its_own", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("heard again"), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
}

#[tokio::test]
async fn a_cable_that_is_pulled_and_put_back_is_told_both_times() {
    let scratch = Scratch::new("cable");
    let cable = Socat::between(&scratch.file("device"), &scratch.file("port")).await;
    let rig = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(rig.event().await, UP);
    device(&scratch.file("device")).write_all(b"before").unwrap();
    assert_eq!(rig.bytes(6).await, b"before");
    cable.unplug().await;
    assert_eq!(rig.event().await, DOWN);
    let _ = std::fs::remove_file(scratch.file("port"));
    let _ = std::fs::remove_file(scratch.file("device"));
    let _cable = Socat::between(&scratch.file("device"), &scratch.file("port")).await;
    assert_eq!(rig.event().await, UP);
    device(&scratch.file("device")).write_all(b"after").unwrap();
    assert_eq!(rig.bytes(5).await, b"after");
}
