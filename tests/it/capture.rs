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

//= PROMISES.md#P5
#[test]
fn the_real_capture_arrives_whole() {
    let Some(capture) = capture() else {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: shared/data/serial/Ivy450C.1.data is not beside the project; the generated stream goes the same way in `ward`"
        );
        return;
    };
    let expected = read_in_python(&capture);
    let messages = expected["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 27);

    let folder = Folder::new("capture");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_all(&["--capture", capture.to_str().expect("a plain path")]).expect("everything starts");
    sleep(Duration::from_secs(30)); // the torn second before the first message, 27 messages, and a little
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    let instance = MONITORS[0].0;
    let received = accountant::read_received(&stage.output(), instance);
    for (channel, _) in messages[0]["waves"].as_object().expect("waves") {
        let sent: Vec<i64> =
            messages.iter().flat_map(|m| m["waves"][channel].as_array().expect("samples")).filter_map(Json::as_i64).collect();
        let got: Vec<i64> =
            received[channel].iter().flat_map(|(_, c)| if let Content::Samples(s) = c { s.clone() } else { Vec::new() }).collect();
        assert_eq!(sent, got, "{channel}");
    }
    for (channel, _) in messages[0]["numerics"].as_object().expect("numerics") {
        let sent: Vec<Content> =
            messages.iter().map(|m| m["numerics"][channel].as_i64().map_or(Content::Absent, |v| Content::Number(v, 0))).collect();
        let got: Vec<Content> = received[channel].iter().map(|(_, c)| c.clone()).collect();
        assert_eq!(sent, got, "{channel}");
    }
    let said = |a: &Json| (a["text"].as_str().unwrap_or_default().to_owned(), a["state"].as_str().unwrap_or_default().to_owned());
    let sent: Vec<_> = expected["alerts"].as_array().expect("alerts").iter().map(said).collect();
    let got: Vec<_> = accountant::lines_below(&stage.output().join(instance).join(ALERTS)).iter().map(said).collect();
    assert_eq!(sent, got, "alerts");
    assert!(accountant::read_gaps(&stage.output()).is_empty(), "nothing was lost");
    // the other devices of the ward were generated: the same way, held by the send logs
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0, "{device}: {account:#?}");
    }
}
