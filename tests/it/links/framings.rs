//! Every framing of the shelf's devices, and what a line does wrong, behind terminal servers of others: ser2net, and pyserial's RFC 2217, which says what it
//! was told and tells of parity, framing and breaks. Ports by their stable name.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value as Json, json};
use wardgate::config::SerialGrant;
use wardgate::contract::Event;
use wardgate::contract::serial::LineFault;
use wardgate_lab::pty::Pty;

use super::serial::{DOWN, Rig, UP, grant};
use super::servers::{Ser2net, device, hears, is_up};
use super::{Scratch, Socat};

/// A terminal server written by others, with the device behind it. Ends with this value.
pub struct Rfc2217 {
    child: Child,
    orders: ChildStdin,
    said: Receiver<Json>,
    pub port: u16,
}

pub const PARITY: u8 = 4;
pub const FRAMING: u8 = 8;
pub const BREAK: u8 = 16;

impl Rfc2217 {
    pub fn start() -> Self {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("WARDGATE_PYTHON").map_or_else(|| here.join(".venv/bin/python"), PathBuf::from);
        let mut command = Command::new(&python);
        command.arg(here.join("oracle/rfc2217_server.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{}: {e}. `make test` makes this environment", python.display()));
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("it prints its port").expect("text").trim().parse().expect("a port");
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                _ = tell.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        Self { orders: child.stdin.take().expect("piped"), child, said, port }
    }

    fn order(&mut self, words: &str) {
        writeln!(self.orders, "{words}").expect("it listens");
    }

    /// The device sends.
    pub fn say(&mut self, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        self.order(&format!("say {hex}"));
    }

    /// The UART behind it has seen these.
    pub fn fault(&mut self, state: u8) {
        self.order(&format!("fault {state}"));
    }

    pub fn hang_up(&mut self) {
        self.order("hang up");
    }

    /// The next thing that it says of this kind.
    fn heard(&self, key: &str) -> Json {
        loop {
            let mut said = self.said.recv_timeout(Duration::from_secs(30)).expect("it says something");
            if let Some(found) = said.get_mut(key) {
                return found.take();
            }
        }
    }
}

impl Drop for Rfc2217 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As devices of the shelf speak: monitors, ventilators, pumps, balances, analysers.
const SHELF: [(u32, &str, &str); 9] = [
    (300, "7E2", "none"),
    (1200, "7E1", "xon-xoff"),
    (2400, "7O1", "none"),
    (9600, "7O2", "none"),
    (9600, "8N1", "xon-xoff"),
    (19_200, "8E1", "none"),
    (38_400, "8O1", "rts-cts"),
    (57_600, "8N2", "none"),
    (115_200, "8N1", "rts-cts"),
];

fn of_shelf(port: &Path, (baud, framing, flow): (u32, &str, &str)) -> SerialGrant {
    SerialGrant { baud, framing: framing.into(), flow: flow.into(), ..grant(port, &["\"poll\""]) }
}

/// Bytes that such a line can carry: no flow control characters where they are no data.
fn carried(framing: &str, flow: &str) -> Vec<u8> {
    let most = if framing.starts_with('7') { 127 } else { 255 };
    (0..=most).filter(|b| flow != "xon-xoff" || ![0x11, 0x13].contains(b)).collect()
}

//= PROMISES.md#P133
#[tokio::test]
async fn a_terminal_server_of_others_is_told_every_framing_and_flow_control_of_the_shelf() {
    for line in SHELF {
        let (baud, framing, flow) = line;
        let mut server = Rfc2217::start();
        let rig = Rig::new(&of_shelf(Path::new(&format!("rfc2217://127.0.0.1:{}", server.port)), line));
        is_up(&rig).await;
        let letters: Vec<char> = framing.chars().collect();
        let digit = |n: usize| letters[n].to_digit(10).expect("a digit");
        let expected = json!([baud, digit(0), letters[1].to_string(), digit(2), flow]);
        while server.heard("set") != expected {} // it is told one after the other
        rig.handle.write(1, b"poll".to_vec()).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(1, Ok(())), "{line:?}");
        assert_eq!(server.heard("heard"), "706f6c6c", "{line:?}");
        let bytes = carried(framing, flow);
        server.say(&bytes);
        assert_eq!(rig.bytes(bytes.len()).await, bytes, "{line:?}");
    }
}

/// ser2net (Debian), a port each; a pty shows what it set there but for parity and data bits, which it has none of.
//= PROMISES.md#P133
#[tokio::test]
async fn behind_ser2net_every_framing_of_the_shelf_carries_its_bytes_at_its_speed() {
    for line in SHELF {
        let (baud, framing, flow) = line;
        let scratch = Scratch::new(&format!("framing-{baud}-{framing}-{flow}"));
        let cable = Socat::between(&scratch.file("device"), &scratch.file("server")).await;
        let server = Ser2net::before(&scratch.file("server"), &scratch.file("ser2net.yaml")).await;
        let rig = Rig::new(&of_shelf(Path::new(&format!("rfc2217://127.0.0.1:{}", server.rfc2217)), line));
        is_up(&rig).await;
        let mut device = device(&scratch.file("device"));
        rig.handle.write(1, b"poll".to_vec()).unwrap();
        assert_eq!(rig.event().await, Event::SerialWritten(1, Ok(())), "{line:?}");
        assert_eq!(hears(&mut device, 4).await, b"poll", "{line:?}");
        let bytes = carried(framing, flow);
        device.write_all(&bytes).unwrap();
        assert_eq!(rig.bytes(bytes.len()).await, bytes, "{line:?}");
        let there = rustix::termios::tcgetattr(std::fs::File::open(scratch.file("server")).unwrap()).unwrap();
        assert_eq!(there.output_speed(), baud, "{line:?}");
        cable.unplug().await;
    }
}

/// On this machine's own ports a speed and stop bits show in the terminal's settings; parity is asked for and a pty has none.
//= PROMISES.md#P133
#[tokio::test]
async fn a_port_of_this_machine_takes_every_speed_of_the_shelf() {
    for line in SHELF {
        let scratch = Scratch::new(&format!("own-{}-{}", line.0, line.1));
        let pty = Pty::plug_in(&scratch.file("port")).unwrap();
        let rig = Rig::new(&of_shelf(&scratch.file("port"), line));
        assert_eq!(rig.event().await, UP, "{}", rig.error());
        let there = pty.settings().unwrap();
        assert_eq!(there.output_speed(), line.0, "{line:?}");
        let modes = there.control_modes;
        assert_eq!(modes.contains(rustix::termios::ControlModes::CSTOPB), line.1.ends_with('2'), "{line:?}");
        assert_eq!(modes.contains(rustix::termios::ControlModes::CRTSCTS), line.2 == "rts-cts", "{line:?}");
        assert_eq!(there.input_modes.contains(rustix::termios::InputModes::IXON), line.2 == "xon-xoff", "{line:?}");
    }
}

/// A stable name is a link that udev makes; when the adapter is put back it leads to another terminal.
//= PROMISES.md#P133
#[tokio::test]
async fn a_port_by_its_stable_name_is_found_again_as_another_terminal() {
    let scratch = Scratch::new("by-id");
    let name = scratch.file("usb-FTDI_FT232R_A1-if00-port0");
    let first = Pty::plug_in(&name).unwrap();
    let rig = Rig::new(&grant(&name, &[]));
    assert_eq!(rig.event().await, UP);
    let before = std::fs::read_link(&name).unwrap();
    first.send(b"before");
    assert_eq!(rig.bytes(6).await, b"before");
    let taken = Pty::plug_in(&scratch.file("another")).unwrap(); // so that the number cannot be the same
    drop(first);
    assert_eq!(rig.event().await, DOWN);
    let between = Pty::plug_in(&scratch.file("a-third")).unwrap(); // takes the number that became free
    let second = Pty::plug_in(&name).unwrap();
    assert_ne!(std::fs::read_link(&name).unwrap(), before);
    assert_eq!(rig.event().await, UP);
    second.send(b"after");
    assert_eq!(rig.bytes(5).await, b"after");
    drop((taken, between));
}

/// In their places among the bytes, and only those that were asked for.
//= PROMISES.md#P130
#[tokio::test]
async fn what_a_uart_has_seen_is_told_in_its_place() {
    let mut server = Rfc2217::start();
    let rig = Rig::new(&of_shelf(Path::new(&format!("rfc2217://127.0.0.1:{}", server.port)), (9600, "8O1", "none")));
    is_up(&rig).await;
    server.heard("set");
    tokio::time::sleep(Duration::from_millis(200)).await; // the mask goes out with the last of the settings
    for (state, told) in [(PARITY, LineFault::Parity), (FRAMING, LineFault::Framing), (BREAK, LineFault::BreakSeen)] {
        server.say(b"ab");
        server.fault(0x60); // the transmitter is empty: no fault, and not asked for
        server.fault(state);
        server.say(b"cd");
        assert_eq!(rig.bytes(2).await, b"ab");
        assert_eq!(rig.event().await, Event::SerialFaulted(told));
        assert_eq!(rig.bytes(2).await, b"cd");
    }
    server.hang_up();
    assert_eq!(rig.event().await, DOWN);
    assert_eq!(rig.event().await, UP);
}
