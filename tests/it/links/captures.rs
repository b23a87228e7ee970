//! A capture of real Modbus TCP traffic, replayed: our requests must be the captured ones byte for byte, and the captured replies must
//! be understood as what they are.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wardgate::config::{ModbusGrant, ModbusRule};
use wardgate::contract::modbus::{Coil, Coils, Failure, IdentificationQuery, Mask, Raw, Register, Registers, Request, Response, Span};
use wardgate_lab::sim::modbus::framing::Framing;

use super::buses::grant;
use super::modbus::{Rig, tcp};

/// The ADUs of a pcap file without options, each with the port that it was sent to.
fn adus(pcap: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let word = |b: &[u8], at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    let (mut rest, mut all) = (&pcap[24..], Vec::new());
    while rest.len() > 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let ip = &rest[16 + 14..16 + length];
        let tcp = &ip[usize::from(ip[0] & 15) * 4..usize::from(word(ip, 2))];
        let data = &tcp[usize::from(tcp[12] >> 4) * 4..];
        if !data.is_empty() {
            all.push((word(tcp, 2), data.to_vec()));
        }
        rest = &rest[16 + length..];
    }
    all
}

fn request(pdu: &[u8]) -> Request {
    let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
    let words = |at: usize| pdu[at..].chunks_exact(2).map(|w| u16::from_be_bytes([w[0], w[1]])).collect();
    let span = || Span { address: word(1), count: word(3) };
    match pdu[0] {
        1 => Request::ReadCoils(span()),
        2 => Request::ReadDiscreteInputs(span()),
        3 => Request::ReadHoldingRegisters(span()),
        4 => Request::ReadInputRegisters(span()),
        5 => Request::WriteSingleCoil(Coil { address: word(1), on: pdu[3] == 0xFF }),
        6 => Request::WriteSingleRegister(Register { address: word(1), value: word(3) }),
        15 => {
            let on = (0..usize::from(word(3))).map(|k| pdu[6 + k / 8] >> (k % 8) & 1 == 1).collect();
            Request::WriteMultipleCoils(Coils { address: word(1), on })
        }
        16 => Request::WriteMultipleRegisters(Registers { address: word(1), values: words(6) }),
        22 => Request::MaskWriteRegister(Mask { address: word(1), and: word(3), or: word(5) }),
        0x2B => Request::ReadDeviceIdentification(IdentificationQuery { depth: pdu[2], object: pdu[3] }),
        function => Request::Other(Raw { function, data: pdu[1..].to_vec() }),
    }
}

/// Whether the outcome says what the bytes of the reply say.
fn agrees(reply: &[u8], outcome: &Result<Response, Failure>) -> bool {
    match (reply[0], outcome) {
        (0x80.., Err(Failure::Exception(code))) => *code == reply[1],
        (1 | 2, Ok(Response::Bits(bits))) => {
            !bits.is_empty() && bits.iter().enumerate().all(|(k, on)| *on == (reply[2 + k / 8] >> (k % 8) & 1 == 1))
        }
        (3 | 4, Ok(Response::Registers(r))) => r.iter().flat_map(|r| r.to_be_bytes()).eq(reply[2..].iter().copied()),
        (5 | 6 | 15 | 16 | 22, Ok(Response::Written)) => true,
        (0x2B, Ok(Response::Identification(objects))) => {
            let mut again = vec![objects.len() as u8];
            objects.iter().for_each(|o| again.extend([&[o.id, o.value.len() as u8][..], &o.value].concat()));
            again == reply[6..]
        }
        (function, Ok(Response::Other(raw))) => raw.function == function && raw.data == reply[1..],
        _ => false,
    }
}

/// Each request with its reply, in order.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(pcap: &[u8]) -> Pairs {
    let adus = adus(pcap);
    assert!(adus.chunks_exact(2).all(|p| p[0].0 == 502 && p[1].0 != 502), "requests and replies by turns");
    adus.chunks_exact(2).map(|p| (p[0].1.clone(), p[1].1.clone())).collect()
}

/// A server that holds what it is asked against the captured request and answers with the captured reply.
async fn replay(pairs: Pairs) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at: SocketAddr = listener.local_addr().unwrap();
    let mut script: VecDeque<_> = pairs.clone().into();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some((asked, mut reply)) = script.pop_front() {
            let mut came = vec![0; asked.len()];
            stream.read_exact(&mut came).await.unwrap();
            assert_eq!(came[2..], asked[2..], "all but the transaction's number");
            reply[..2].copy_from_slice(&came[..2]);
            stream.write_all(&reply).await.unwrap();
        }
    });
    let mut grant = grant();
    grant.allow.extend([7, 8, 20, 21, 24].map(|function| ModbusRule { function, addresses: vec![] }));
    let rig = Rig::on(&tcp(at), &["ct"], &ModbusGrant { requests_max: 1, ..grant });
    let ct = rig.only();
    ct.is_up().await;
    for (asked, reply) in &pairs {
        let outcome = ct.ask(asked[6], request(&asked[7..])).await;
        assert!(agrees(&reply[7..], &outcome), "{asked:?} {reply:?} {outcome:?}");
    }
    server.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn captured_traffic_is_asked_and_understood_byte_for_byte() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/modbus/icsnpp_modbus_example.pcap");
    let Ok(pcap) = std::fs::read(&path) else {
        // past the harness, which shows no print of a test that passes
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: shared/data/modbus/icsnpp_modbus_example.pcap is not beside the project; traffic of our own making goes the same way"
        );
        return;
    };
    let pairs = pairs(&pcap);
    assert_eq!(pairs.len(), 24);
    replay(pairs).await;
}

/// One of each kind, as the protocol's description has them: request and reply.
const MADE: [(&[u8], &[u8]); 15] = [
    (&[1, 0, 16, 0, 10], &[1, 2, 0b0100_1001, 0b10]),
    (&[2, 0, 0, 0, 9], &[2, 2, 0x55, 1]),
    (&[3, 0, 100, 0, 2], &[3, 4, 0, 1, 0xFF, 0xFE]),
    (&[4, 0, 7, 0, 1], &[4, 2, 0x80, 0]),
    (&[5, 0, 17, 0xFF, 0], &[5, 0, 17, 0xFF, 0]),
    (&[6, 0, 100, 0x12, 0xF2], &[6, 0, 100, 0x12, 0xF2]),
    (&[7], &[7, 0x6D]),
    (&[8, 0, 0, 0xA5, 0x37], &[8, 0, 0, 0xA5, 0x37]),
    (&[15, 0, 19, 0, 3, 1, 6], &[15, 0, 19, 0, 3]),
    (&[16, 0, 101, 0, 2, 4, 0, 7, 0xFF, 0xFF], &[16, 0, 101, 0, 2]),
    (&[22, 0, 100, 0, 0xF2, 0, 0x25], &[22, 0, 100, 0, 0xF2, 0, 0x25]),
    (&[23, 0, 110, 0, 2, 0, 110, 0, 1, 2, 0, 9], &[23, 4, 0, 9, 4, 87]),
    (&[24, 0, 5], &[24, 0, 6, 0, 2, 1, 2, 3, 4]),
    (&[0x2B, 14, 1, 0], &[0x2B, 14, 1, 1, 0, 0, 1, 0, 2, b'W', b'P']),
    (&[3, 0xFF, 0, 0, 1], &[0x83, 2]),
];

/// One packet as a pcap file has it: Ethernet, IPv4, TCP, no options.
fn packet(to: u16, from: u16, data: &[u8]) -> Vec<u8> {
    let length = 14 + 20 + 20 + data.len() as u32;
    let mut all = [[0; 8].as_slice(), &length.to_le_bytes(), &length.to_le_bytes(), &[0; 14]].concat();
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(40 + data.len() as u16).to_be_bytes());
    let mut tcp = [0; 20];
    tcp[..2].copy_from_slice(&from.to_be_bytes());
    tcp[2..4].copy_from_slice(&to.to_be_bytes());
    tcp[12] = 5 << 4;
    all.extend([&ip[..], &tcp, data].concat());
    all
}

/// The same way, from a pcap file of our own making, so that it is proven where the captured one may not be.
#[tokio::test]
async fn traffic_of_our_own_making_is_asked_and_understood_byte_for_byte() {
    const CLIENT: u16 = 40_000;
    let mut pcap = vec![0; 24];
    for (n, (asked, reply)) in MADE.iter().enumerate() {
        pcap.extend(packet(502, CLIENT, &[])); // an acknowledgement carries nothing
        pcap.extend(packet(502, CLIENT, &Framing::Tcp.wrap(n as u16, 1, asked)));
        pcap.extend(packet(CLIENT, 502, &Framing::Tcp.wrap(n as u16, 1, reply)));
    }
    let pairs = pairs(&pcap);
    assert_eq!(pairs.len(), MADE.len());
    replay(pairs).await;
}
