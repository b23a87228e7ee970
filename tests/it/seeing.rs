//! What people and machines are shown of a running ward: metrics, gaps, a watched status, logs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::OFlags;
use serde_json::Value as Json;
use wardgate_lab::demo::drain_stage;
use wardgate_lab::ports;
use wardgate_lab::process::{binary, root};
use wardgate_lab::pty::Pty;
use wardgate_lab::stage::{GATEWAY, MONITORS, Stage};

use crate::ward::{Folder, Unruly};

/// Looks again until it is so; long, as the machine may be busy.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if so() {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("{what} never came");
}

/// What comes back for these bytes; nothing for a connection that was closed without an answer.
fn send(port: u16, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let _ = socket.write_all(request); // it may have refused already
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// `wardgate check | head -1`: a reader that goes away early is no fault of anybody.
#[test]
fn a_verb_whose_reader_has_gone_ends_without_a_word() {
    for (program, words) in [("wardgate", ["plugin", "keygen", "acme"]), ("wardgate-trust", ["trust", "init", "fleet"])] {
        let folder = Folder::new(&format!("no-reader-{program}"));
        fs::create_dir_all(&folder.0).expect("a folder");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(binary(program).expect("built"));
        let done = command.args(words).current_dir(&folder.0).stdout(writer).output().expect("it runs");
        assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr)), (Some(141), "".into()), "{program}");
    }
}

pub fn metrics(port: u16) -> String {
    let answer = send(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
    body.to_owned()
}

/// As Prometheus' own Python parser reads the page.
fn parsed(page: &str) -> BTreeMap<String, Json> {
    let python = root().join("tests/.venv/bin/python");
    let mut child = Command::new(python)
        .arg(root().join("tests/oracle/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/setup has made the virtual environment");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "the parser refuses the page:\n{page}");
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// Name: type, labels, meaning; from docs/metrics.md.
fn documented() -> BTreeMap<String, [String; 3]> {
    let text = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `wardgate_"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("four columns: {row}") };
        (format!("wardgate_{}", name.trim_matches('`')), [kind, labels, meaning].map(str::to_owned))
    })
    .collect()
}

//= PROMISES.md#P70
#[test]
fn metrics_are_what_the_docs_list_and_bad_askers_harm_nothing() {
    let folder = Folder::new("metrics");
    let port = ports::own().expect("a free port");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.more = format!("\n[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    stage.wearables = true;
    stage.start_all(&[]).expect("everything starts");
    until("readings", || stage.gateway_status().is_some_and(|s| MONITORS.iter().all(|(name, _)| s.instances[*name].samples > 0)));
    until("Bluetooth", || stage.gateway_status().is_some_and(|s| s.links.values().any(|l| l.rssi_dbm.is_some())));

    until("requests to a peripheral", || {
        stage.gateway_status().is_some_and(|s| s.links.values().any(|l| l.kind == "ble" && l.requests > 0))
    });

    let page = metrics(port);
    let (families, docs) = (parsed(&page), documented());
    assert_eq!(families.keys().collect::<Vec<_>>(), docs.keys().collect::<Vec<_>>(), "docs/metrics.md and the page list different metrics");
    for (name, [kind, labels, meaning]) in &docs {
        assert_eq!(
            (&families[name]["type"], &families[name]["help"]),
            (&Json::from(kind.as_str()), &Json::from(meaning.as_str())),
            "{name}"
        );
        let samples = families[name]["samples"].as_array().expect("a list");
        assert!(!samples.is_empty(), "{name} has no sample");
        for sample in samples {
            let mut said: Vec<_> = sample[0].as_object().expect("labels").keys().map(String::as_str).collect();
            let mut listed: Vec<_> = labels.split(", ").filter(|l| !l.is_empty()).collect();
            said.sort_unstable();
            listed.sort_unstable();
            assert_eq!(said, listed, "{name}");
            // what is said to be of one kind of line is not counted of another
            let counts = |kind: &str| sample[0]["kind"].as_str().is_some_and(|k| k.starts_with(kind)) && sample[1].as_f64() > Some(0.0);
            for (kind, word) in [("ble", "Bluetooth"), ("modbus", "Modbus")] {
                let names_another = meaning.contains("(Modbus)") || meaning.contains("(Bluetooth)");
                assert!(!counts(kind) || !names_another || meaning.contains(word), "{name} counts {kind} too: {meaning}");
            }
        }
    }
    assert!(!page.contains("bed-1\"") && !page.contains("/dev/"), "no bed and no port in a label:\n{page}");

    let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(("127.0.0.1", port)).expect("it takes connections")).collect();
    metrics(port); // who comes last is heard
    for (request, code) in [
        (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], "405"),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", "404"),
        (b"nonsense\r\n\r\n", "400"),
        (b"\xff\xfe\x00\r\n\r\n", "400"),
    ] {
        assert!(send(port, request).starts_with(&format!("HTTP/1.1 {code} ")), "{code}");
    }
    send(port, &vec![b'x'; 1 << 20]);
    drop(TcpStream::connect(("127.0.0.1", port)).and_then(|mut s| s.write_all(b"GET /met")));
    drop(idle);
    let before = stage.gateway_status().expect("it runs").instances[MONITORS[0].0].samples;
    until("more samples", || stage.gateway_status().is_some_and(|s| s.instances[MONITORS[0].0].samples > before));
    let after = parsed(&metrics(port));
    let restarts = after["wardgate_instance_restarts_total"]["samples"].as_array().expect("a list");
    assert!(restarts.iter().all(|s| s[1] == 0.0), "{restarts:?}");
}

fn answer_lines(state: &Path, verb: &[&str]) -> String {
    let out = Command::new(binary("wardgate").expect("built")).args(verb).arg("--state").arg(state).output().expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

fn json_lines(text: &str) -> Vec<Json> {
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn cloud_gaps(out: &Path, more: &[&str]) -> String {
    let done = Command::new(binary("wardgate-cloud").expect("built")).arg("gaps").arg(out).args(more).output().expect("it runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}

//= PROMISES.md#P71
#[test]
fn the_gateway_and_the_cloud_tell_the_same_gaps() {
    let folder = Folder::new("gaps");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_all(&[]).expect("everything starts");
    until("the guest", || stage.gateway_status().is_some_and(|s| s.instances["unruly"].opens > 0));
    (0..3).for_each(|_| unruly.order("count"));
    unruly.order("keep then panic");
    let state = folder.0.join("state");
    let gaps = |more: &[&str]| json_lines(&answer_lines(&state, &[&["gaps", "--json"], more].concat()));
    until("an open gap", || {
        gaps(&["--instance", "unruly"]).iter().any(|g| g["open"] == true && g["reason"] == "plugin-fault" && g["to"].is_null())
    });
    until("another start", || {
        stage.gateway_status().is_some_and(|s| s.instances["unruly"].restarts == 1 && s.instances["unruly"].opens == 2)
    });
    (0..3).for_each(|_| unruly.order("count"));
    let closed = |g: &Json| g["channel"] == "count" && g["open"] == false;
    until("its end", || gaps(&["--instance", "unruly"]).iter().any(closed));
    stage.switch_off().expect("devices that listen");
    drain_stage(&mut stage).expect("it drains");

    // of the chiller, which answers nothing now, more may come at any moment
    let here: Vec<_> = gaps(&["--instance", "unruly"]).into_iter().filter(|g| g["open"] == false).collect();
    let mut there = json_lines(&cloud_gaps(&folder.0.join("out"), &["--json", "--gateway", GATEWAY]));
    there.retain(|g| g["instance"] == "unruly");
    assert!(!here.is_empty() && here.len() == there.len(), "here {here:#?}\nthere {there:#?}");
    for gap in &here {
        let same = |other: &&Json| {
            let names = [
                "instance",
                "channel",
                "number",
                "life",
                "run",
                "first",
                "indices",
                "values",
                "from_boot",
                "from_monotonic_ns",
                "to_boot",
                "to_monotonic_ns",
                "reason",
                "before",
            ];
            names.iter().all(|n| gap[*n] == other[*n])
        };
        assert_eq!(there.iter().filter(same).count(), 1, "{gap}\nthere {there:#?}");
    }
    let status = stage.gateway_status().expect("it runs");
    assert_eq!(status.instances["unruly"].gaps["plugin-fault"], here.len() as u64);
    let nobody = Command::new(binary("wardgate").expect("built")).args(["gaps", "--instance", "unrluy", "--state"]).arg(&state).output();
    let nobody = String::from_utf8(nobody.expect("it runs").stderr).expect("text");
    assert!(nobody.contains("there is no instance \"unrluy\"") && nobody.contains("write --instance unruly"), "{nobody}");
    let (table, page) = (answer_lines(&state, &["gaps"]), cloud_gaps(&folder.0.join("out"), &[]));
    for text in [&table, &page] {
        assert!(text.contains("plugin-fault") && text.contains("count"), "{text}");
    }
    assert!(table.lines().all(|l| l.chars().count() <= 100) && !table.contains('\x1b'), "{table}");
}

/// Of a watch that SIGTERM ends: its screen, its cursor and its keys are as they were.
fn a_terminal_is_given_back(folder: &Path) {
    let terminal = Pty::plug_in(&folder.join("terminal")).expect("a terminal");
    let found = format!("{:?}", terminal.settings().expect("a terminal"));
    // whoever leads a session and opens a terminal has it for its own, and ends with it
    let flags = OFlags::NOCTTY.bits() as i32;
    let end = || fs::File::options().read(true).write(true).custom_flags(flags).open(folder.join("terminal")).expect("its other end");
    let mut watch = Command::new(binary("wardgate").expect("built"))
        .args(["status", "--watch", "--state"])
        .arg(folder.join("state"))
        .stdin(end())
        .stdout(end())
        .spawn()
        .expect("it starts");
    let mut seen = Vec::new();
    until("a page", || {
        seen.extend(terminal.take());
        String::from_utf8_lossy(&seen).contains("monitor")
    });
    assert_ne!(format!("{:?}", terminal.settings().expect("a terminal")), found, "it reads keys one by one");
    rustix::process::kill_process(rustix::process::Pid::from_child(&watch), rustix::process::Signal::TERM).expect("it runs");
    assert!(watch.wait().expect("it ends").success());
    seen.extend(terminal.take());
    assert!(seen.ends_with(b"\x1b[?25h\x1b[?1049l"), "{}", String::from_utf8_lossy(&seen));
    assert_eq!(format!("{:?}", terminal.settings().expect("a terminal")), found);
}

//= PROMISES.md#P72
#[test]
fn logs_are_json_for_machines_and_a_watch_is_lines_on_a_pipe() {
    let folder = Folder::new("logs");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    fs::write(folder.0.join("gateway.toml"), stage.configuration()).expect("written");
    let log = folder.0.join("log/json.log");
    let mut gateway = Command::new(binary("wardgate").expect("built"))
        .arg("run")
        .arg("--config")
        .arg(folder.0.join("gateway.toml"))
        .env_remove("JOURNAL_STREAM")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a log"))
        .spawn()
        .expect("it starts");
    until("a gateway that answers", || stage.gateway_status().is_some_and(|s| s.instances.values().all(|i| i.opens > 0)));

    let mut watch = Command::new(binary("wardgate").expect("built"))
        .args(["status", "--watch", "--state"])
        .arg(folder.0.join("state"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines: Vec<_> = BufReader::new(watch.stdout.take().expect("piped")).lines().take(2).map_while(Result::ok).collect();
    let _ = watch.kill();
    let _ = watch.wait();
    until("an open monitor", || fs::read_to_string(&log).is_ok_and(|told| told.contains("\"opened\"")));
    a_terminal_is_given_back(&folder.0);
    let _ = gateway.kill();
    let _ = gateway.wait();
    assert!(
        lines.len() == 2 && lines.iter().all(|l| l.starts_with("up=") && l.contains("readings/s=") && !l.contains('\x1b')),
        "{lines:#?}"
    );

    let told = json_lines(&fs::read_to_string(&log).expect("a log"));
    for line in &told {
        let texts = ["time", "level", "target", "message"].map(|name| line[name].is_string());
        assert_eq!(texts, [true; 4], "{line}");
    }
    let said = |wanted: &dyn Fn(&Json) -> bool| told.iter().any(wanted);
    assert!(said(&|l| l["message"] == "a life begins" && l["level"] == "INFO" && l["life"].is_string()), "{told:#?}");
    assert!(
        said(&|l| l["message"] == "opened"
            && l["instance"] == MONITORS[0].0
            && l["plugin"].as_str().is_some_and(|p| p.contains("ivy450c"))),
        "{told:#?}"
    );
}
