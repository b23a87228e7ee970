//! The bus against pymodbus, which shares nothing with us.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use wardgate::contract::modbus::{Coil, Coils, Failure, IdentificationQuery, Mask, Raw, Register, Registers, Request, Response, Span};

use super::modbus::{Rig, holding};

/// Ends with this value: it serves until its standard input closes.
pub struct Pymodbus {
    child: Child,
    pub at: SocketAddr,
}

impl Pymodbus {
    pub fn start() -> Self {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var_os("WARDGATE_PYTHON").map_or_else(|| here.join(".venv/bin/python"), PathBuf::from);
        let mut child = Command::new(&python)
            .arg(here.join("oracle/modbus_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("{}: {e}. `make test` makes this environment; WARDGATE_PYTHON names another with pymodbus 3.16.1", python.display())
            });
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the server prints its port");
        Self { child, at: ([127, 0, 0, 1], port).into() }
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
    let server = Pymodbus::start();
    let rig = Rig::new(server.at, &["ct"]);
    let ct = rig.only();
    ct.is_up().await;
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
    let server = Pymodbus::start();
    let rig = Rig::new(server.at, &["ct"]);
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
