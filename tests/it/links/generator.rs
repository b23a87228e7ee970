//! Grants attacked by a generator: frames mutated, joined, split, padded and encoded anew, requests around every bound. The far end of the line counts
//! what reached it, against oracles of its own that know nothing of patterns and ranges.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use wardgate::config::ModbusRule;
use wardgate::contract::Event;
use wardgate::contract::modbus::{Coil, Coils, Failure as Refused, IdentificationQuery, Mask, Raw, Register, Registers, Request, Span};
use wardgate::contract::serial::Failure;
use wardgate_lab::pty::Pty;

use super::Scratch;
use super::buses;
use super::modbus::{Rig as Bus, tcp};
use super::serial::{Rig, UP, grant};
use crate::refusals::random::{Random, mutate};

/// A poll of a pump, a speed within its range, and an address of any two bytes: of their like are the site's.
const WRITES: [&str; 3] = ["\"!INF|4961\\r\"", "02 30-39 30-39 03", "\"A\" ?? ?? \"Z\""];
const FRAMES: u64 = 30_000;
const REQUESTS: u64 = 10_000;

/// By hand, and not by patterns.
fn is_granted(frame: &[u8]) -> bool {
    match frame {
        b"!INF|4961\r" => true,
        [2, tens, ones, 3] => tens.is_ascii_digit() && ones.is_ascii_digit(),
        [b'A', _, _, b'Z'] => true,
        _ => false,
    }
}

fn granted_frame(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => b"!INF|4961\r".to_vec(),
        1 => vec![2, b'0' + random.below(10) as u8, b'0' + random.below(10) as u8, 3],
        _ => vec![b'A', random.next() as u8, random.next() as u8, b'Z'],
    }
}

/// The same words in another writing, as devices and terminal servers know them.
fn encoded_anew(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let hex = |b: &u8| format!("{b:02x}").into_bytes();
    match random.below(8) {
        0 => frame.iter().flat_map(hex).collect(),
        1 => frame.iter().map(|b| b | 0x80).collect(), // with a parity bit
        2 => frame.to_ascii_lowercase(),
        3 => frame.to_ascii_uppercase(),
        4 => frame.iter().flat_map(|b| [*b, 0]).collect(), // in 16 bits
        5 => frame.iter().flat_map(|b| if *b >= 0x80 { vec![0xC0 | b >> 6, 0x80 | b & 0x3F] } else { vec![*b] }).collect(),
        6 => frame.iter().flat_map(|b| if *b < b' ' { vec![b'^', b + b'@'] } else { vec![*b] }).collect(),
        _ => frame.iter().rev().copied().collect(),
    }
}

fn attack(random: &mut Random) -> Vec<u8> {
    let frame = granted_frame(random);
    let filling = [0, b' ', b'\r', b'\n', 0xFF, 0x11, 0x1B];
    let pad = |random: &mut Random| vec![filling[random.below(filling.len())]; 1 + random.below(3)];
    match random.below(7) {
        0 => frame,
        1 => mutate(&frame, random),
        2 => [frame, granted_frame(random)].concat(),
        3 => frame[..random.below(frame.len())].to_vec(),
        4 => frame[random.below(frame.len())..].to_vec(),
        5 => {
            if random.below(2) == 0 {
                [pad(random), frame].concat()
            } else {
                [frame, pad(random)].concat()
            }
        }
        _ => encoded_anew(&frame, random),
    }
}

//= PROMISES.md#P132
#[tokio::test]
async fn no_frame_outside_the_grant_reaches_the_far_end_whatever_is_made_of_granted_ones() {
    let scratch = Scratch::new("generator");
    let pty = Pty::plug_in(&scratch.file("port")).unwrap();
    let rig = Rig::new(&grant(&scratch.file("port"), &WRITES));
    assert_eq!(rig.event().await, UP);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut expected, mut came, mut refused) = (Vec::new(), Vec::new(), 0);
    for n in 0..FRAMES {
        let frame = attack(&mut random);
        rig.handle.write(n as u32, frame.clone()).unwrap();
        let outcome = if is_granted(&frame) { Ok(()) } else { Err(Failure::NotGranted) };
        assert_eq!(rig.event().await, Event::SerialWritten(n as u32, outcome), "{frame:02x?}");
        match outcome {
            Ok(()) => expected.extend(frame),
            Err(_) => refused += 1,
        }
        came.extend(pty.take());
    }
    assert_eq!(came, expected, "the far end had the granted frames and not a byte more");
    assert!(refused > FRAMES / 2 && expected.len() as u64 > FRAMES, "{refused} of {FRAMES} refused, {} bytes came", expected.len());
    println!("{FRAMES} frames: {refused} refused; {} bytes at the far end, each of a granted frame", came.len());
}

/// Function and addresses that the site grants.
const ALLOWED: [(u8, u32, u32); 4] = [(3, 0, 11), (3, 100, 100), (16, 40, 43), (1, 8, 15)];

fn rules() -> Vec<ModbusRule> {
    let rule = |function, addresses: &[&str]| ModbusRule { function, addresses: addresses.iter().map(|a| (*a).into()).collect() };
    vec![rule(3, &["0..11", "100"]), rule(16, &["40..43"]), rule(1, &["8..15"]), rule(65, &[])]
}

/// By the bytes on the wire: unit and PDU.
fn may_be_on_the_wire(adu: &[u8]) -> bool {
    let (unit, pdu) = (adu[6], &adu[7..]);
    if pdu[0] == 65 {
        return unit == 1;
    }
    let word = |at: usize| u32::from(u16::from_be_bytes([pdu[at], pdu[at + 1]]));
    let whole = if pdu[0] == 16 { pdu.len() == 6 + usize::from(pdu[5]) && u32::from(pdu[5]) == 2 * word(3) } else { pdu.len() == 5 };
    unit == 1 && whole && ALLOWED.iter().any(|(function, from, to)| *function == pdu[0] && word(1) >= *from && word(1) + word(3) - 1 <= *to)
}

fn request(random: &mut Random) -> (u8, Request) {
    let near = [0, 7, 8, 11, 12, 15, 16, 39, 40, 43, 44, 99, 100, 101, 65535];
    let address = near[random.below(near.len())];
    let count = [0, 1, 1, 1, 2, 4, 8, 12, 13, 125, 126, 2000, 65535][random.below(13)];
    let values = |n: u16| vec![7; usize::from(n.min(200))];
    let span = Span { address, count };
    let server = [1, 1, 1, 1, 0, 2, 247, 255][random.below(8)];
    let request = match random.below(13) {
        0..3 => Request::ReadHoldingRegisters(span),
        3 => Request::ReadCoils(span),
        4 => Request::ReadInputRegisters(span),
        5 => Request::ReadDiscreteInputs(span),
        6 => Request::WriteMultipleRegisters(Registers { address, values: values(count) }),
        7 => Request::WriteSingleRegister(Register { address, value: 1 }),
        8 => Request::WriteSingleCoil(Coil { address, on: true }),
        9 => Request::WriteMultipleCoils(Coils { address, on: vec![true; usize::from(count.min(200))] }),
        10 => Request::MaskWriteRegister(Mask { address, and: 0, or: 1 }),
        11 => Request::ReadDeviceIdentification(IdentificationQuery { depth: random.next() as u8 % 6, object: random.next() as u8 }),
        // the bytes of an honest request, under any function: around the addresses, if it were let through
        _ => Request::Other(Raw { function: random.next() as u8, data: [address.to_be_bytes(), count.to_be_bytes()].concat() }),
    };
    (server, request)
}

/// Answers each request with an exception, and says what it was.
fn far_end(listener: TcpListener) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut line, _) = listener.accept().expect("the bus calls");
        line.set_nodelay(true).expect("a socket");
        let mut head = [0; 6];
        while line.read_exact(&mut head).is_ok() {
            let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]]))];
            line.read_exact(&mut rest).expect("a whole request");
            let answer = [&head[..4], &[0, 3, rest[0], rest[1] | 0x80, 2]].concat();
            tell.send([&head[..], &rest].concat()).expect("it is listened to");
            line.write_all(&answer).expect("it takes the answer");
        }
    });
    told
}

//= PROMISES.md#P132
#[tokio::test]
async fn no_request_outside_the_grant_reaches_the_far_end_whatever_its_function_and_addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let told = far_end(listener);
    let config = wardgate::config::ModbusGrant { servers: vec![1], allow: rules(), ..buses::grant() };
    let mut settings = tcp(at);
    (settings.pause_ms, settings.timeout_ms) = (0, 5000);
    let rig = Bus::on(&settings, &["ct"], &config);
    let ct = rig.only();
    ct.is_up().await;
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    let (mut reached, mut refused) = (0, 0);
    for _ in 0..REQUESTS {
        let (server, request) = request(&mut random);
        match ct.ask(server, request.clone()).await {
            Err(Refused::NotGranted) => refused += 1,
            Err(Refused::Exception(2)) => {
                let adu = told.try_recv().expect("what is answered was asked");
                assert!(may_be_on_the_wire(&adu), "server {server}, {request:?}: {adu:02x?}");
                reached += 1;
            }
            other => panic!("{other:?} to {request:?}"),
        }
    }
    assert!(told.try_recv().is_err(), "nothing else was ever on the wire");
    assert!(reached > REQUESTS / 50 && refused > REQUESTS / 2, "{reached} reached the wire, {refused} were refused");
    println!("{REQUESTS} requests: {refused} refused, {reached} at the far end, each granted");
}
