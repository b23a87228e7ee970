//! Tests of the shapes.

use tokio_modbus::ExceptionCode;

use super::*;
use crate::contract::modbus::{Coil, Coils, IdentificationQuery, Mask, Register, Registers, Span};

fn came(request: &Request, response: tm::Response) -> Result<Response, Fault> {
    match answer(request, Ok(Ok(response)))? {
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
    let answered = |response| answer(&query, Ok(Ok(response)));
    assert_eq!(answered(identity(ReadCode::Basic, false, 0, &[0, 1])), Ok(Brought::Whole(Response::Identification(objects(&[0, 1])))));
    assert_eq!(answered(identity(ReadCode::Basic, true, 2, &[0, 1])), Ok(Brought::Part(objects(&[0, 1]), 2)));
    assert!(is_malformed(answered(identity(ReadCode::Basic, true, 1, &[0, 1]))), "object 1 again");
    assert!(is_malformed(answered(identity(ReadCode::Basic, true, 2, &[]))), "nothing came, and more follows");
    assert!(is_malformed(answered(identity(ReadCode::Regular, false, 0, &[0]))), "another depth");
}

#[test]
fn other_functions_come_back_as_the_bytes_they_were() {
    let other = |function| Request::Other(Raw { function, data: vec![1] });
    let raw = |function, data: &[u8]| Ok(Response::Other(Raw { function, data: data.to_vec() }));
    assert_eq!(came(&other(100), tm::Response::Custom(100, vec![1, 2].into())), raw(100, &[1, 2]));
    // Those that the library reads itself, and then says that they are not what was asked for.
    let mismatch = |function, result| {
        let error = tm::ProtocolError::FunctionCodeMismatch { request: tm::FunctionCode::Custom(function), result };
        match answer(&other(function), Err(error.into()))? {
            Brought::Whole(response) => Ok(response),
            Brought::Part(..) => panic!("in parts"),
        }
    };
    assert_eq!(mismatch(23, Ok(tm::Response::ReadWriteMultipleRegisters(vec![0x0102, 3]))), raw(23, &[4, 1, 2, 0, 3]));
    assert_eq!(mismatch(17, Ok(tm::Response::ReportServerId(9, true, vec![7]))), raw(17, &[3, 9, 0xFF, 7]));
    let exception = tm::ExceptionResponse { function: tm::FunctionCode::new(23), exception: ExceptionCode::new(2) };
    assert_eq!(mismatch(23, Err(exception)), Err(Fault::Exception(2)));
    assert!(is_malformed(mismatch(24, Ok(tm::Response::ReportServerId(9, true, vec![])))));
}

#[test]
fn errors_become_what_they_are() {
    let request = Request::ReadCoils(SPAN);
    let failed = |kind: io::ErrorKind| answer(&request, Err(io::Error::from(kind).into())).unwrap_err().failure();
    assert_eq!(failed(io::ErrorKind::InvalidData), Failure::Malformed);
    assert_eq!(failed(io::ErrorKind::UnexpectedEof), Failure::Malformed);
    assert_eq!(failed(io::ErrorKind::ConnectionAborted), Failure::LinkDown);
    assert_eq!(failed(io::ErrorKind::ConnectionReset), Failure::LinkDown);
    for code in [1, 2, 3, 4, 5, 6, 8, 10, 11, 99] {
        assert_eq!(answer(&request, Ok(Err(ExceptionCode::new(code)))), Err(Fault::Exception(code)));
    }
    let header = tm::ProtocolError::HeaderMismatch { message: "other".into(), result: Ok(tm::Response::ReadCoils(vec![true; 8])) };
    assert!(is_malformed(answer(&request, Err(header.into()))));
}
