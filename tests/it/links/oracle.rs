//! The bus against pymodbus, and our simulators against mbpoll: neither shares anything with us.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::sync::watch;
use tokio::task::JoinSet;
use wardgate::contract::modbus::{Coil, Coils, Failure, IdentificationQuery, Mask, Raw, Register, Registers, Request, Response, Span};
use wardgate_lab::sim::modbus::serial::{Framing, SerialServer};
use wardgate_lab::sim::modbus::{Options, Server};

use super::buses::{grant, serial};
use super::modbus::{Instance, Rig, holding};
use super::{Scratch, Socat, within};

/// Ends with this value: it serves until its standard input closes.
pub struct Pymodbus {
    child: Child,
    says: String,
}

impl Pymodbus {
    /// Over TCP, or with "rtu" or "ascii" and a port.
    pub fn start(serial: Option<(&str, &Path)>) -> Self {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("WARDGATE_PYTHON").map_or_else(|| here.join(".venv/bin/python"), PathBuf::from);
        let mut command = Command::new(&python);
        command.arg(here.join("oracle/modbus_server.py"));
        if let Some((framing, port)) = serial {
            command.arg(framing).arg(port);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap_or_else(|e| {
            panic!("{}: {e}. `make test` makes this environment; WARDGATE_PYTHON names another with pymodbus 3.16.1", python.display())
        });
        let mut says = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut says).unwrap();
        assert!(!says.is_empty(), "pymodbus did not start");
        Self { child, says }
    }

    pub fn at(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.says.trim().parse().expect("the server prints its port")).into()
    }
}

impl Drop for Pymodbus {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn every_kind_of_request_is_understood_by_an_independent_server() {
    let server = Pymodbus::start(None);
    let rig = Rig::new(server.at(), &["ct"]);
    rig.only().is_up().await;
    is_understood(rig.only()).await;
}

#[tokio::test]
async fn every_kind_of_request_is_understood_over_rtu_and_ascii_too() {
    for framing in ["rtu", "ascii"] {
        let scratch = Scratch::new(&format!("oracle-{framing}"));
        let _socat = Socat::between(&scratch.file("ours"), &scratch.file("theirs")).await;
        let _server = Pymodbus::start(Some((framing, &scratch.file("theirs"))));
        let bus = wardgate::config::Bus { timeout_ms: 2_000, ..serial(&scratch.file("ours"), framing) };
        let rig = Rig::on(&bus, &["ct"], &grant());
        rig.only().is_up().await;
        is_understood(rig.only()).await;
    }
}

async fn is_understood(ct: &Instance) {
    let span = |address, count| Span { address, count };
    let registers = |r: Vec<u16>| Ok(Response::Registers(r));
    let third: Vec<bool> = (0..10).map(|k| k % 3 == 0).collect();
    assert_eq!(ct.ask(1, Request::ReadCoils(span(16, 10))).await, Ok(Response::Bits(third)));
    assert_eq!(ct.ask(1, Request::ReadCoils(span(17, 2))).await, Ok(Response::Bits(vec![false, false])));
    let second: Vec<bool> = (0..9).map(|k| k % 2 == 0).collect();
    assert_eq!(ct.ask(1, Request::ReadDiscreteInputs(span(0, 9))).await, Ok(Response::Bits(second)));
    assert_eq!(ct.ask(1, holding(100, 20)).await, registers((1100..1120).collect()));
    let squares = (200..325u32).map(|a| (a * a % 65536) as u16).collect();
    assert_eq!(ct.ask(1, Request::ReadInputRegisters(span(200, 125))).await, registers(squares));

    assert_eq!(ct.ask(1, holding(99, 1)).await, Err(Failure::Exception(2)));
    assert_eq!(ct.ask(1, Request::WriteSingleRegister(Register { address: 120, value: 1 })).await, Err(Failure::Exception(2)));

    assert_eq!(ct.ask(1, Request::WriteSingleCoil(Coil { address: 17, on: true })).await, Ok(Response::Written));
    assert_eq!(ct.ask(1, Request::WriteMultipleCoils(Coils { address: 19, on: vec![false, true, true] })).await, Ok(Response::Written));
    let now = vec![true, true, false, false, true, true];
    assert_eq!(ct.ask(1, Request::ReadCoils(span(16, 6))).await, Ok(Response::Bits(now)));
    assert_eq!(ct.ask(1, Request::WriteSingleRegister(Register { address: 100, value: 0x12F2 })).await, Ok(Response::Written));
    assert_eq!(
        ct.ask(1, Request::WriteMultipleRegisters(Registers { address: 101, values: vec![7, 0xFFFF] })).await,
        Ok(Response::Written)
    );
    assert_eq!(ct.ask(1, Request::MaskWriteRegister(Mask { address: 100, and: 0x00F2, or: 0x0025 })).await, Ok(Response::Written));
    // (0x12F2 & 0x00F2) | (0x0025 & !0x00F2), as the protocol's own formula has it
    assert_eq!(ct.ask(1, holding(100, 3)).await, registers(vec![0x00F7, 7, 0xFFFF]));

    // Function 23 as raw bytes: write 9 to register 110, read 110 and 111 in the same transaction.
    let data = vec![0, 110, 0, 2, 0, 110, 0, 1, 2, 0, 9];
    let answer = Response::Other(Raw { function: 23, data: vec![4, 0, 9, 4, 87] });
    assert_eq!(ct.ask(1, Request::Other(Raw { function: 23, data })).await, Ok(answer));
    let outside = vec![0, 99, 0, 2, 0, 110, 0, 1, 2, 0, 9];
    assert_eq!(ct.ask(1, Request::Other(Raw { function: 23, data: outside })).await, Err(Failure::Exception(2)));
}

/// The texts do not fit one reply: the gateway asks on until the device says that nothing follows.
#[tokio::test]
async fn a_device_identification_in_several_replies_is_one_answer() {
    let server = Pymodbus::start(None);
    let rig = Rig::new(server.at(), &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
    let ask = |depth, object| ct.ask(1, Request::ReadDeviceIdentification(IdentificationQuery { depth, object }));
    let objects = |outcome: Result<Response, Failure>| match outcome {
        Ok(Response::Identification(objects)) => {
            objects.into_iter().map(|o| (o.id, String::from_utf8(o.value).unwrap())).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let regular = objects(ask(2, 0).await);
    assert_eq!(regular.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(regular[0].1, format!("Wardgate Proof {}", "v".repeat(80)));
    assert_eq!((regular[2].1.as_str(), regular[6].1.as_str()), ("1.2.3", "ward"));
    assert!(regular.iter().map(|(_, text)| text.len()).sum::<usize>() > 253, "one reply could have held them");
    assert!(rig.status.read().links["plant"].requests == 1);
    assert_eq!(objects(ask(4, 4).await), [(4, "Oracle".to_owned())]);
}

/// An independent client reads our simulators: what the other tests rest on speaks the protocol as others do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_client_reads_our_simulators() {
    let scratch = Scratch::new("mbpoll");
    let options = Options::new("127.0.0.1:0".parse().unwrap());
    let tcp = Server::new(options.clone()).await.unwrap();
    let port = tcp.address().port().to_string();
    let line = SerialServer::new(&scratch.file("port"), Framing::Rtu, false, options).unwrap();
    let (_stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let again = stopped.clone();
    tasks.spawn(async { tcp.run(stopped).await.unwrap() });
    tasks.spawn(async { line.run(again).await.unwrap() });
    let link = scratch.file("port");
    let ways = [vec!["-m", "tcp", "-p", &port, "127.0.0.1"], vec!["-m", "rtu", "-b", "9600", "-P", "none", link.to_str().unwrap()]];
    // what is asked, with what value where one is written, and what it says of the answer
    let words: [(&str, &[&str], &str); 8] = [
        ("-t 4 -r 11 -c 1", &[], "[11]: \t200"),
        ("-t 4 -r 0 -c 9", &[], "[8]: \t0"),
        ("-t 4 -r 11", &["210"], "Written 1 references."),
        ("-t 4 -r 11 -c 1", &[], "[11]: \t210"),
        ("-t 4 -r 11", &["9999"], "Illegal data value"),
        ("-t 4 -r 3", &["1"], "Illegal data address"),
        ("-t 4 -r 9000 -c 2", &[], "Illegal data address"),
        ("-t 0 -r 0 -c 3", &[], "Illegal function"),
    ];
    for way in ways {
        for (asked, written, says) in words {
            let mut mbpoll = tokio::process::Command::new("mbpoll");
            mbpoll.args(["-a", "1", "-0", "-1", "-q"]).args(asked.split(' ')).args(&way).args(written);
            let said = within(mbpoll.output()).await.expect("mbpoll runs: `make test-setup` installs it");
            let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
            assert!(text.contains(says) && said.status.success() != says.starts_with("Illegal"), "{way:?} {asked} {written:?}: {text}");
        }
        // as it was, for the other way
        let mut mbpoll = tokio::process::Command::new("mbpoll");
        mbpoll.args(["-a", "1", "-0", "-1", "-q", "-t", "4", "-r", "11"]).args(&way).arg("200");
        assert!(within(mbpoll.status()).await.unwrap().success());
    }
}
