//! Ports over ptys: settings, what lies in them at the start, vanishing and coming back, overruns, and what may be written.

use std::path::Path;

use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wardgate::capability::inbox::{Inbox, inbox};
use wardgate::capability::serial::{Grant, Handle, Port, WRITES_OPEN_MAX};
use wardgate::config::SerialGrant;
use wardgate::contract::Event;
use wardgate::contract::serial::{Failure, LineFault};
use wardgate::contract::types::LinkState;
use wardgate::status::Status;
use wardgate_lab::pty::Pty;
use wardgate_lab::sim::serial::{Monitor, Options, Said, ivy450c};

use super::{Scratch, clock, within};

pub(super) const UP: Event = Event::SerialLink(LinkState::Up);
pub(super) const DOWN: Event = Event::SerialLink(LinkState::Down);
const OVERRUN: Event = Event::SerialFaulted(LineFault::Overrun);

/// A port with its instance, as the corridor would set it up.
pub(super) struct Rig {
    pub(super) handle: Handle,
    inbox: Inbox,
    status: Status,
    tasks: JoinSet<()>,
}

pub(super) fn grant(port: &Path, writes: &[&str]) -> SerialGrant {
    SerialGrant {
        port: port.into(),
        baud: 9600,
        framing: "8N1".into(),
        flow: "none".into(),
        writes: writes.iter().map(|w| (*w).into()).collect(),
        at: Default::default(),
    }
}

impl Rig {
    pub(super) fn new(grant: &SerialGrant) -> Self {
        let (status, grant) = (Status::default(), Grant::new("bed-1", grant).unwrap());
        let (writes, written) = mpsc::channel(WRITES_OPEN_MAX);
        let (tx, inbox) = inbox("bed-1".into(), grant.inbox_bytes());
        let mut tasks = JoinSet::new();
        tasks.spawn(Port::new(grant.clone(), written, tx.clone(), clock, status.clone()).run());
        Self { handle: Handle::new(grant, writes, tx, clock, status.clone()), inbox, status, tasks }
    }

    pub(super) async fn event(&self) -> Event {
        within(self.inbox.recv()).await.1
    }

    /// This many bytes, in however many pieces.
    pub(super) async fn bytes(&self, n: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < n {
            match self.event().await {
                Event::SerialReceived(bytes) => all.extend(bytes),
                other => panic!("{other:?} after {} bytes", all.len()),
            }
        }
        all
    }

    /// Bytes that have come to the inbox, taken or not.
    async fn has_read(&self, n: u64) {
        within(async {
            while self.status.read().links.values().next().unwrap().bytes_in < n {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    pub(super) fn error(&self) -> String {
        self.status.read().links.values().next().unwrap().last_error.clone()
    }
}

/// The device sends more than the terminal holds, no faster than the port reads.
async fn send_all(pty: &Pty, bytes: &[u8]) {
    for piece in bytes.chunks(1000) {
        assert_eq!(pty.send(piece), piece.len());
        pty.read_out(std::time::Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn the_port_is_raw_and_as_the_grant_says() {
    let scratch = Scratch::new("settings");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&SerialGrant { baud: 19200, framing: "8N2".into(), ..grant(&scratch.file("port"), &[]) });
    assert_eq!(rig.event().await, UP);
    let s = pty.settings().unwrap();
    assert_eq!((s.output_speed(), s.input_speed()), (19200, 19200));
    assert!(s.control_modes.contains(ControlModes::CS8 | ControlModes::CSTOPB | ControlModes::CLOCAL | ControlModes::CREAD));
    assert!(!s.control_modes.intersects(ControlModes::PARENB | ControlModes::CRTSCTS));
    assert!(!s.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN));
    assert!(!s.input_modes.intersects(InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::ISTRIP));
    assert!(!s.input_modes.intersects(InputModes::IXON | InputModes::IXOFF | InputModes::BRKINT | InputModes::IGNPAR));
    assert!(s.input_modes.contains(InputModes::PARMRK), "wrong bytes are marked");
    assert!(!s.output_modes.contains(OutputModes::OPOST));
}

#[tokio::test]
async fn every_byte_value_comes_through_as_it_is() {
    let scratch = Scratch::new("values");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(rig.event().await, UP);
    let all: Vec<u8> = (0..=255).chain([0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0, 0]).chain((0..=255).rev()).collect();
    send_all(&pty, &all).await;
    assert_eq!(rig.bytes(all.len()).await, all);
}

#[tokio::test]
async fn what_came_before_the_port_was_opened_is_nobodys() {
    let scratch = Scratch::new("flush");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    assert_eq!(pty.send(b"half a message from yesterday"), 29);
    let rig = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(rig.event().await, UP);
    pty.send(b"today");
    assert_eq!(rig.bytes(5).await, b"today");
}

#[tokio::test]
async fn a_port_has_one_owner_and_the_other_is_told_why() {
    let scratch = Scratch::new("exclusive");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let mut first = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(first.event().await, UP);
    let second = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(second.event().await, DOWN);
    assert!(second.error().contains("held by another program"), "{}", second.error());
    pty.send(b"mine");
    assert_eq!(first.bytes(4).await, b"mine");
    first.tasks.shutdown().await;
    assert_eq!(second.event().await, UP);
}

#[tokio::test]
async fn a_port_that_is_no_port_is_named_with_its_remedy() {
    let scratch = Scratch::new("wrong");
    std::fs::write(scratch.file("file"), "no tty").unwrap();
    for (name, says) in [("absent", "the device is not plugged in"), ("file", "is not a serial port"), (".", "is not a serial port")] {
        let rig = Rig::new(&grant(&scratch.file(name), &[]));
        assert_eq!(rig.event().await, DOWN);
        assert!(rig.error().contains(says), "{}", rig.error());
    }
}

#[tokio::test]
async fn a_port_that_vanishes_is_told_and_comes_back_empty() {
    let scratch = Scratch::new("vanish");
    let mut pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &["\"?\\r\""]));
    assert_eq!(rig.event().await, UP);
    for n in 0..2 {
        pty.send(b"before");
        assert_eq!(rig.bytes(6).await, b"before");
        drop(pty);
        assert_eq!(rig.event().await, DOWN);
        rig.handle.write(n, b"?\r".to_vec()).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(n, Err(Failure::LinkDown)));
        pty = Pty::plug_in(&scratch.file("port")).unwrap();
        pty.send(b"noise of the plug");
        assert_eq!(rig.event().await, UP);
    }
    pty.send(b"after");
    assert_eq!(rig.bytes(5).await, b"after");
    assert_eq!(rig.status.read().links.values().next().unwrap().reconnects, 2);
}

/// Ten seconds at 9600 baud wait for an instance that is busy; the byte after them makes one hole, told once and in its place.
#[tokio::test]
async fn the_inbox_holds_ten_seconds_and_says_where_bytes_are_missing() {
    let scratch = Scratch::new("overrun");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &[]));
    assert_eq!(rig.event().await, UP);
    let ten_seconds: Vec<u8> = (0..9600u32).map(|n| (n * 7 % 251) as u8).collect();
    send_all(&pty, &ten_seconds).await;
    rig.has_read(9600).await;
    assert_eq!(rig.status.read().instances["bed-1"].overruns, 0);
    pty.send(b"x");
    rig.has_read(9601).await;
    pty.send(b"yz");
    rig.has_read(9603).await;
    assert_eq!(rig.status.read().instances["bed-1"].overruns, 1);
    assert_eq!(rig.bytes(9600).await, ten_seconds);
    assert_eq!(rig.event().await, OVERRUN);
    pty.send(b"again");
    assert_eq!(rig.bytes(5).await, b"again");
    assert!(rig.inbox.is_empty());
}

#[tokio::test]
async fn only_whole_granted_frames_reach_the_device() {
    let scratch = Scratch::new("writes");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &["\"!INF|4961\\r\"", "02 30-39 03"]));
    assert_eq!(rig.event().await, UP);
    let poll = b"!INF|4961\r".to_vec();
    let refused = [
        b"!INF_START|38F3\r".to_vec(),
        [&poll[..], &poll].concat(),
        [&poll[..], b"\n"].concat(),
        poll[..5].to_vec(),
        b"\x02A\x03".to_vec(),
        Vec::new(),
    ];
    for frame in &refused {
        rig.handle.write(9, frame.clone()).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(9, Err(Failure::NotGranted)), "{frame:?}");
    }
    for (tag, frame) in [(1, poll.clone()), (2, b"\x025\x03".to_vec()), (3, poll.clone())] {
        rig.handle.write(tag, frame).unwrap();
    }
    for tag in 1..=3 {
        assert_eq!(rig.event().await, Event::SerialWritten(tag, Ok(())));
    }
    assert_eq!(pty.take(), [&poll[..], b"\x025\x03", &poll].concat());
    assert_eq!(rig.status.read().instances["bed-1"].refusals, refused.len() as u64);
    // A port that takes nothing back: what is over the bound is refused, not piled up.
    let open: Vec<_> = (0..WRITES_OPEN_MAX as u32 + 3).map(|tag| rig.handle.write(100 + tag, poll.clone())).collect();
    assert!(open.iter().all(Result::is_ok));
    let mut over = 0;
    for _ in &open {
        over += usize::from(matches!(rig.event().await, Event::SerialWritten(_, Err(Failure::OverRate))));
    }
    assert_eq!(over, 3);
}

/// The made-up monitor through a real port: byte for byte, paced, and its send log says the same.
#[tokio::test]
async fn the_monitor_arrives_whole_and_its_log_tells_what_it_sent() {
    let scratch = Scratch::new("monitor");
    let (link, log) = (scratch.file("port"), scratch.file("sent.jsonl"));
    let monitor = Monitor::new(Options { log: Some(log.clone()), ..Options::new(&link, 5) }).unwrap();
    let sent = monitor.sent();
    let rig = Rig::new(&grant(&link, &[]));
    assert_eq!(rig.event().await, UP);
    let (stop, stopped) = watch::channel(false);
    let mut device = JoinSet::new();
    device.spawn(async move { monitor.run(stopped).await.unwrap() });
    let mut expected: Vec<u8> = (0..2).flat_map(|n| ivy450c::message(5, n).bytes).collect();
    expected.extend(&ivy450c::message(5, 2).bytes[..100]);
    let mut got = Vec::new();
    let mut pieces = 0;
    while got.len() < expected.len() {
        match rig.event().await {
            Event::SerialReceived(bytes) => got.extend(bytes),
            other => panic!("{other:?}"),
        }
        pieces += 1;
    }
    stop.send(true).unwrap();
    within(device.join_next()).await.unwrap().unwrap();
    assert_eq!(got[..expected.len()], expected);
    assert!(pieces > 50, "bytes come as the line brings them, not in {pieces} bursts");
    let said: Vec<Said> = std::fs::read_to_string(&log).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(said.len(), 2, "the message that the end cut is not in the log");
    for (n, said) in said.iter().enumerate() {
        let meant = ivy450c::message(5, n as u64).said;
        assert_eq!(*said, Said { monotonic_ns: said.monotonic_ns, ..meant });
        assert!(said.monotonic_ns > 0);
    }
    assert_eq!((sent.values(), sent.messages()), (2 * 417, 2));
}

/// A plugin trapped and opens anew: what the device said meanwhile is heard by the new run, after the link's state; what the old run had
/// asked is not.
//= PROMISES.md#P85
#[tokio::test]
async fn bytes_that_come_while_an_instance_restarts_are_kept() {
    let scratch = Scratch::new("restart");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &["\"poll\""]));
    assert_eq!(rig.event().await, UP);
    rig.handle.write(1, b"poll".to_vec()).unwrap();
    pty.send(b"said while nobody listened");
    rig.has_read(26).await;
    within(async {
        while pty.take().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    let before = clock();
    let begins = rig.inbox.reopen(before);
    let (moment, event) = within(rig.inbox.recv()).await;
    assert_eq!((moment, event), (begins, UP), "for the new run time begins with what waits for it");
    let (moment, event) = within(rig.inbox.recv()).await;
    assert_eq!(event, Event::SerialReceived(b"said while nobody listened".to_vec()));
    assert!(moment.monotonic_ns >= begins.monotonic_ns && moment.monotonic_ns < before.monotonic_ns, "when it was said");
    assert!(rig.inbox.is_empty(), "the answer to the run before is nobody's");
    // Ten seconds of the line are kept, and no more: the hole is told.
    let ten_seconds = vec![7; 9600];
    send_all(&pty, &ten_seconds).await;
    rig.has_read(26 + 9600).await;
    pty.send(b"x");
    rig.has_read(26 + 9601).await;
    rig.inbox.reopen(clock());
    assert_eq!(rig.event().await, UP);
    assert_eq!(rig.bytes(9600).await, ten_seconds);
    assert_eq!(rig.event().await, OVERRUN);
}
