//! Tests of the shapes.

use tokio_modbus::prelude::ReadCode;

use super::*;
use crate::contract::modbus::{Coil, Coils, IdentificationQuery, Mask, Register, Registers, Span};

fn came(request: &Request, response: tm::Response) -> Result<Response, Fault> {
    match shaped(request, response)? {
        Brought::Whole(response) => Ok(response),
        Brought::Part(..) => panic!("in parts"),
    }
}

fn is_malformed<T>(of: Result<T, Fault>) -> bool {
    matches!(of, Err(Fault::Malformed(_)))
}

const SPAN: Span = Span { address: 4, count: 3 };

#[test]
fn bits_and_registers_must_be_as_many_as_asked_for() {
    let coils = Request::ReadCoils(SPAN);
    let byte = vec![true, false, true, true, true, true, true, true];
    assert_eq!(came(&coils, tm::Response::ReadCoils(byte.clone())), Ok(Response::Bits(vec![true, false, true])));
    assert!(is_malformed(came(&coils, tm::Response::ReadCoils(vec![]))));
    assert!(is_malformed(came(&coils, tm::Response::ReadCoils([byte.clone(), byte.clone()].concat()))));
    assert!(is_malformed(came(&coils, tm::Response::ReadDiscreteInputs(byte.clone()))));
    assert!(came(&Request::ReadDiscreteInputs(SPAN), tm::Response::ReadDiscreteInputs(byte)).is_ok());
    let holding = Request::ReadHoldingRegisters(SPAN);
    assert_eq!(came(&holding, tm::Response::ReadHoldingRegisters(vec![1, 2, 3])), Ok(Response::Registers(vec![1, 2, 3])));
    for wrong in [vec![], vec![1, 2], vec![1, 2, 3, 4]] {
        assert!(is_malformed(came(&holding, tm::Response::ReadHoldingRegisters(wrong.clone()))));
        assert!(is_malformed(came(&Request::ReadInputRegisters(SPAN), tm::Response::ReadInputRegisters(wrong))));
    }
}

#[test]
fn a_write_must_be_echoed_as_it_was_said() {
    use tm::Response as A;
    let cases = [
        (Request::WriteSingleCoil(Coil { address: 4, on: true }), A::WriteSingleCoil(4, true), A::WriteSingleCoil(4, false)),
        (Request::WriteSingleRegister(Register { address: 4, value: 9 }), A::WriteSingleRegister(4, 9), A::WriteSingleRegister(5, 9)),
        (Request::WriteMultipleCoils(Coils { address: 4, on: vec![true; 9] }), A::WriteMultipleCoils(4, 9), A::WriteMultipleCoils(4, 8)),
        (
            Request::WriteMultipleRegisters(Registers { address: 4, values: vec![1, 2] }),
            A::WriteMultipleRegisters(4, 2),
            A::WriteMultipleRegisters(4, 1),
        ),
        (Request::MaskWriteRegister(Mask { address: 4, and: 1, or: 2 }), A::MaskWriteRegister(4, 1, 2), A::MaskWriteRegister(4, 2, 1)),
    ];
    for (request, right, wrong) in cases {
        assert_eq!(came(&request, right), Ok(Response::Written));
        assert!(is_malformed(came(&request, wrong)), "{request:?}");
    }
}

fn identity(read_code: ReadCode, more_follows: bool, next_object_id: u8, ids: &[u8]) -> tm::Response {
    use tokio_modbus::prelude::{ConformityLevel, DeviceIdObject};
    tm::Response::ReadDeviceIdentification(ReadDeviceIdentificationResponse {
        read_code,
        conformity_level: ConformityLevel::try_from_value(1).unwrap(),
        more_follows,
        next_object_id,
        device_id_objects: ids.iter().map(|id| DeviceIdObject { id: *id, value: vec![*id; 2].into() }).collect(),
    })
}

#[test]
fn an_identification_that_goes_on_must_go_forward() {
    let query = Request::ReadDeviceIdentification(IdentificationQuery { depth: 1, object: 0 });
    let objects = |ids: &[u8]| ids.iter().map(|id| Object { id: *id, value: vec![*id; 2] }).collect::<Vec<_>>();
    let answered = |response| shaped(&query, response);
    assert_eq!(answered(identity(ReadCode::Basic, false, 0, &[0, 1])), Ok(Brought::Whole(Response::Identification(objects(&[0, 1])))));
    assert_eq!(answered(identity(ReadCode::Basic, true, 2, &[0, 1])), Ok(Brought::Part(objects(&[0, 1]), 2)));
    assert!(is_malformed(answered(identity(ReadCode::Basic, true, 1, &[0, 1]))), "object 1 again");
    assert!(is_malformed(answered(identity(ReadCode::Basic, true, 2, &[]))), "nothing came, and more follows");
    assert!(is_malformed(answered(identity(ReadCode::Regular, false, 0, &[0]))), "another depth");
}

#[test]
fn other_functions_come_back_as_the_bytes_they_were() {
    let raw = |function, data: &[u8]| Ok(Brought::Whole(Response::Other(Raw { function, data: data.to_vec() })));
    let pdu = |function, pdu: &[u8]| answer(&Request::Other(Raw { function, data: vec![1] }), pdu);
    assert_eq!(pdu(23, &[23, 4, 1, 2, 0, 3]), raw(23, &[4, 1, 2, 0, 3]));
    assert_eq!(pdu(17, &[17, 3, 9, 0xFF, 7]), raw(17, &[3, 9, 0xFF, 7]));
    assert_eq!(pdu(100, &[100, 5, 6]), raw(100, &[5, 6]));
}

#[test]
fn an_exception_is_one_and_damage_is_damage() {
    let request = Request::ReadCoils(SPAN);
    for code in [1, 2, 3, 4, 5, 6, 8, 10, 11, 99] {
        assert_eq!(answer(&request, &[0x81, code]), Err(Fault::Exception(code)));
    }
    for wrong in [&[0x81][..], &[0x81, 2, 0], &[1], &[1, 2, 7], &[1, 1, 7, 7]] {
        assert!(is_malformed(answer(&request, wrong)), "{wrong:?}");
    }
    assert_eq!(Fault::Timeout.failure(), Failure::Timeout);
    assert_eq!(Fault::LinkDown("gone".into()).failure(), Failure::LinkDown);
}

/// Each request byte by byte, as the protocol's specification draws it (Modbus Application Protocol 1.1b3, section 6).
#[test]
fn requests_are_the_bytes_of_the_specification() {
    let cases: [(Request, &[u8]); 11] = [
        (Request::ReadCoils(Span { address: 0x13, count: 0x13 }), &[1, 0, 0x13, 0, 0x13]),
        (Request::ReadDiscreteInputs(Span { address: 0xC4, count: 0x16 }), &[2, 0, 0xC4, 0, 0x16]),
        (Request::ReadHoldingRegisters(Span { address: 0x6B, count: 3 }), &[3, 0, 0x6B, 0, 3]),
        (Request::ReadInputRegisters(Span { address: 8, count: 1 }), &[4, 0, 8, 0, 1]),
        (Request::WriteSingleCoil(Coil { address: 0xAC, on: true }), &[5, 0, 0xAC, 0xFF, 0]),
        (Request::WriteSingleRegister(Register { address: 1, value: 3 }), &[6, 0, 1, 0, 3]),
        (
            Request::WriteMultipleCoils(Coils { address: 0x13, on: [1, 0, 1, 1, 0, 0, 1, 1, 1, 0].iter().map(|b| *b == 1).collect() }),
            &[15, 0, 0x13, 0, 10, 2, 0xCD, 1],
        ),
        (Request::WriteMultipleRegisters(Registers { address: 1, values: vec![10, 0x102] }), &[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]),
        (Request::MaskWriteRegister(Mask { address: 4, and: 0xF2, or: 0x25 }), &[22, 0, 4, 0, 0xF2, 0, 0x25]),
        (Request::ReadDeviceIdentification(IdentificationQuery { depth: 1, object: 0 }), &[0x2B, 0x0E, 1, 0]),
        (Request::Other(Raw { function: 24, data: vec![4, 0xDE] }), &[24, 4, 0xDE]),
    ];
    for (request, bytes) in cases {
        assert_eq!(question(&request), bytes, "{request:?}");
    }
}

/// Whatever a device says: an answer, or an error. Never a panic, and never an answer of another shape.
#[test]
fn a_hundred_thousand_mutations_are_answers_of_the_right_shape_or_errors() {
    let mut dice = 0x2545_F491_4F6C_DD1Du64;
    let mut roll = |n: usize| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) as usize % n
    };
    let corpus: [(Request, Vec<u8>); 5] = [
        (Request::ReadCoils(SPAN), vec![1, 1, 5]),
        (Request::ReadHoldingRegisters(SPAN), vec![3, 6, 0, 1, 0, 2, 0, 3]),
        (Request::WriteSingleRegister(Register { address: 4, value: 9 }), vec![6, 0, 4, 0, 9]),
        (
            Request::ReadDeviceIdentification(IdentificationQuery { depth: 1, object: 0 }),
            vec![0x2B, 0x0E, 1, 1, 0, 0, 2, 0, 1, 65, 1, 2, 66, 67],
        ),
        (Request::Other(Raw { function: 17, data: vec![] }), vec![17, 3, 9, 0xFF, 7]),
    ];
    for (request, whole) in &corpus {
        (0..whole.len()).for_each(|n| drop(answer(request, &whole[..n])));
    }
    for _ in 0..100_000 {
        let (request, whole) = &corpus[roll(corpus.len())];
        let mut pdu = whole.clone();
        for _ in 0..1 + roll(3) {
            let at = roll(pdu.len());
            match roll(3) {
                0 => pdu[at] = roll(256) as u8,
                1 => pdu.insert(at, roll(256) as u8),
                _ => pdu.truncate(at.max(1)),
            }
        }
        if let Ok(Brought::Whole(response)) = answer(request, &pdu) {
            let fits = match (request, &response) {
                (Request::ReadCoils(s), Response::Bits(b)) => b.len() == usize::from(s.count),
                (Request::ReadHoldingRegisters(s), Response::Registers(r)) => r.len() == usize::from(s.count),
                (Request::WriteSingleRegister(_), Response::Written) => pdu == *whole,
                (Request::ReadDeviceIdentification(_), Response::Identification(_)) | (Request::Other(_), Response::Other(_)) => true,
                _ => false,
            };
            assert!(fits, "{request:?} {pdu:?} {response:?}");
        }
    }
}
