//! The real capture of a bedside monitor, played at its real rate through the whole system, against an independent reading in Python.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value as Json;
use wardgate_lab::accountant::{self, ALERTS, Content};
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::process::root;
use wardgate_lab::sim::serial::ivy450c;
use wardgate_lab::stage::{MONITORS, Stage};

use crate::ward::Folder;

/// Public data under a licence of its own lies beside the project, where it is there at all.
pub fn capture() -> Option<PathBuf> {
    let path = root().join("../shared/data/serial/Ivy450C.1.data");
    path.exists().then_some(path)
}

pub fn python() -> PathBuf {
    let named = std::env::var_os("WARDGATE_PYTHON").map(PathBuf::from);
    let path = named.unwrap_or_else(|| root().join("tests/.venv/bin/python"));
    assert!(path.exists(), "{} is not there: run `make test-setup`", path.display());
    path
}

fn read_in_python(capture: &Path) -> Json {
    let output = Command::new(python()).arg(root().join("tests/oracle/ivy450c.py")).arg(capture).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What a message says on one channel.
fn content(value: &Json) -> Content {
    match value {
        Json::Null => Content::Absent,
        Json::Array(parts) => Content::Number(parts[0].as_i64().expect("a mantissa"), parts[1].as_i64().expect("an exponent") as i8),
        whole => Content::Number(whole.as_i64().expect("a number"), 0),
    }
}

/// Text and state, in order.
type Alerts = Vec<(String, String)>;

/// Plays it on a monitor's line, and holds what the receiver wrote against the independent reading; the alerts of both.
fn arrives_whole(capture: &Path, messages: usize, name: &str) -> (Alerts, Alerts) {
    let expected = read_in_python(capture);
    let read = expected["messages"].as_array().expect("messages");
    assert_eq!(read.len(), messages);

    let folder = Folder::new(name);
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&["--capture", capture.to_str().expect("a plain path")]).expect("everything starts");
    sleep(Duration::from_secs(messages as u64 + 3)); // a torn second before the first message, and a little
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let instance = MONITORS[0].0;
    let received = accountant::read_received(&stage.output(), instance);
    for (channel, _) in read[0]["waves"].as_object().expect("waves") {
        let sent: Vec<i64> = read.iter().flat_map(|m| m["waves"][channel].as_array().expect("samples")).filter_map(Json::as_i64).collect();
        let got: Vec<i64> =
            received[channel].iter().flat_map(|(_, c)| if let Content::Samples(s) = c { s.clone() } else { Vec::new() }).collect();
        assert_eq!(sent, got, "{channel}");
    }
    for (channel, _) in read[0]["numerics"].as_object().expect("numerics") {
        let sent: Vec<Content> = read.iter().map(|m| content(&m["numerics"][channel])).collect();
        let got: Vec<Content> = received[channel].iter().map(|(_, c)| c.clone()).collect();
        assert_eq!(sent, got, "{channel}");
    }
    assert!(crate::ward::lost(&stage.output()).is_empty(), "nothing was lost");
    // the other devices of the ward were generated: the same way, held by the send logs
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
    let said = |a: &Json| (a["text"].as_str().unwrap_or_default().to_owned(), a["state"].as_str().unwrap_or_default().to_owned());
    let sent = expected["alerts"].as_array().expect("alerts").iter().map(said).collect();
    let got = accountant::lines_below(&stage.output().join(instance).join(ALERTS)).iter().map(said).collect();
    (sent, got)
}

//= PROMISES.md#P5
#[test]
fn the_real_capture_arrives_whole() {
    let Some(capture) = capture() else {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: shared/data/serial/Ivy450C.1.data is not beside the project; a capture of our own making goes the same way"
        );
        return;
    };
    let (sent, got) = arrives_whole(&capture, 27, "capture");
    assert_eq!(sent, got, "alerts");
}

/// The same way for a file of our own making, so that it is proven where the real one may not be.
//= PROMISES.md#P5
#[test]
fn a_capture_of_our_own_making_arrives_whole() {
    const BED: u64 = 1;
    const FROM: u64 = 91; // alarms come and go
    const MESSAGES: u64 = 14;
    let folder = Folder::new("made-capture");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("made.data");
    let mut stream = ivy450c::message(BED, FROM - 1).bytes.split_off(300); // it begins inside a message, as the real one does
    stream.extend((FROM..FROM + MESSAGES).flat_map(|n| ivy450c::message(BED, n).bytes));
    std::fs::write(&file, stream).expect("written");
    let (mut sent, mut got) = arrives_whole(&file, MESSAGES as usize, "made-capture-ward");
    assert!(sent.len() >= 3, "{sent:?}");
    sent.sort(); // several change in one second; the order is held by `bad_line`
    got.sort();
    assert_eq!(sent, got, "alerts");
}
