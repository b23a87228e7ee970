//! One question and its answer: our request as the protocol's, and the protocol's response as ours, once its shape is what was asked for.

use std::io;

use tokio_modbus as tm;
use tokio_modbus::prelude::{ReadCode, ReadDeviceIdentificationResponse};

use crate::contract::modbus::{Failure, Object, Raw, Request, Response};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Exception(u8),
    Malformed(String),
    Timeout,
    LinkDown(String),
}

/// What one transaction brought.
#[derive(Debug, PartialEq)]
pub(super) enum Brought {
    Whole(Response),
    /// Part of a device identification; the rest begins at this object.
    Part(Vec<Object>, u8),
}

impl Fault {
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Exception(code) => Failure::Exception(*code),
            Self::Malformed(_) => Failure::Malformed,
            Self::Timeout => Failure::Timeout,
            Self::LinkDown(_) => Failure::LinkDown,
        }
    }
}

/// The grant has checked that the protocol can say it.
pub(super) fn question(request: &Request) -> tm::Request<'static> {
    use tm::Request as Q;
    match request {
        Request::ReadCoils(s) => Q::ReadCoils(s.address, s.count),
        Request::ReadDiscreteInputs(s) => Q::ReadDiscreteInputs(s.address, s.count),
        Request::ReadHoldingRegisters(s) => Q::ReadHoldingRegisters(s.address, s.count),
        Request::ReadInputRegisters(s) => Q::ReadInputRegisters(s.address, s.count),
        Request::WriteSingleCoil(c) => Q::WriteSingleCoil(c.address, c.on),
        Request::WriteSingleRegister(r) => Q::WriteSingleRegister(r.address, r.value),
        Request::WriteMultipleCoils(c) => Q::WriteMultipleCoils(c.address, c.on.clone().into()),
        Request::WriteMultipleRegisters(r) => Q::WriteMultipleRegisters(r.address, r.values.clone().into()),
        Request::MaskWriteRegister(m) => Q::MaskWriteRegister(m.address, m.and, m.or),
        Request::ReadDeviceIdentification(q) => identification(q.depth, q.object),
        Request::Other(raw) => Q::Custom(raw.function, raw.data.clone().into()),
    }
}

pub(super) fn identification(depth: u8, object: u8) -> tm::Request<'static> {
    match ReadCode::try_from_value(depth) {
        Some(code) => tm::Request::ReadDeviceIdentification(code, object),
        None => tm::Request::Custom(0x2B, vec![0x0E, depth, object].into()), // not reached: the grant refuses it
    }
}

/// The answer to `request`, or what is wrong with it.
pub(super) fn answer(request: &Request, came: tm::Result<tm::Response>) -> Result<Brought, Fault> {
    match came {
        Ok(Ok(response)) => shaped(request, response),
        Ok(Err(exception)) => Err(Fault::Exception(exception.into())),
        // Functions that the library knows and we send as raw bytes: it compares names where the numbers agree.
        Err(tm::Error::Protocol(tm::ProtocolError::FunctionCodeMismatch { request: asked, result }))
            if asked.value() == function(&result) =>
        {
            match result {
                Ok(response) => shaped(request, response),
                Err(e) => Err(Fault::Exception(e.exception.into())),
            }
        }
        Err(tm::Error::Protocol(e)) => Err(Fault::Malformed(e.to_string())),
        Err(tm::Error::Transport(e)) => Err(match e.kind() {
            // The library reports a reply that it cannot read, or that ends too soon inside its own length, as one of these.
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => Fault::Malformed(e.to_string()),
            _ => Fault::LinkDown(e.to_string()),
        }),
    }
}

fn function(result: &Result<tm::Response, tm::ExceptionResponse>) -> u8 {
    match result {
        Ok(response) => response.function_code().value(),
        Err(e) => e.function.value(),
    }
}

fn shaped(request: &Request, response: tm::Response) -> Result<Brought, Fault> {
    use tm::Response as A;
    let raw = |function, data| Ok(Brought::Whole(Response::Other(Raw { function, data })));
    match (request, response) {
        (Request::ReadCoils(s), A::ReadCoils(b)) => bits(s.count, b),
        (Request::ReadDiscreteInputs(s), A::ReadDiscreteInputs(b)) => bits(s.count, b),
        (Request::ReadHoldingRegisters(s), A::ReadHoldingRegisters(r)) => registers(s.count, r),
        (Request::ReadInputRegisters(s), A::ReadInputRegisters(r)) => registers(s.count, r),
        (Request::WriteSingleCoil(c), A::WriteSingleCoil(a, on)) => echo((c.address, c.on), (a, on)),
        (Request::WriteSingleRegister(r), A::WriteSingleRegister(a, v)) => echo((r.address, r.value), (a, v)),
        (Request::WriteMultipleCoils(c), A::WriteMultipleCoils(a, n)) => echo((c.address, c.on.len()), (a, n.into())),
        (Request::WriteMultipleRegisters(r), A::WriteMultipleRegisters(a, n)) => echo((r.address, r.values.len()), (a, n.into())),
        (Request::MaskWriteRegister(m), A::MaskWriteRegister(a, and, or)) => echo((m.address, m.and, m.or), (a, and, or)),
        (Request::ReadDeviceIdentification(q), A::ReadDeviceIdentification(i)) => objects(q.depth, i),
        (Request::Other(asked), A::Custom(_, data)) => raw(asked.function, data.to_vec()),
        (Request::Other(asked), A::ReadWriteMultipleRegisters(r)) => {
            let mut data = vec![(r.len() * 2) as u8]; // it was read from one byte
            data.extend(r.iter().flat_map(|r| r.to_be_bytes()));
            raw(asked.function, data)
        }
        (Request::Other(asked), A::ReportServerId(id, runs, more)) => {
            let mut data = vec![(more.len() + 2) as u8, id, if runs { 0xFF } else { 0 }];
            data.extend(more);
            raw(asked.function, data)
        }
        (_, other) => Err(Fault::Malformed(format!("function {} answers another request", other.function_code().value()))),
    }
}

fn bits(asked: u16, mut came: Vec<bool>) -> Result<Brought, Fault> {
    // The library unpacks whole bytes; the bits that fill up the last one say nothing.
    if came.len() != usize::from(asked).div_ceil(8) * 8 {
        return Err(Fault::Malformed(format!("{} bytes for {asked} bits", came.len() / 8)));
    }
    came.truncate(asked.into());
    Ok(Brought::Whole(Response::Bits(came)))
}

fn registers(asked: u16, came: Vec<u16>) -> Result<Brought, Fault> {
    if came.len() != usize::from(asked) {
        return Err(Fault::Malformed(format!("{} registers where {asked} were asked for", came.len())));
    }
    Ok(Brought::Whole(Response::Registers(came)))
}

fn echo<T: PartialEq + std::fmt::Debug>(asked: T, came: T) -> Result<Brought, Fault> {
    if asked != came {
        return Err(Fault::Malformed(format!("the device says that it wrote {came:?} instead of {asked:?}")));
    }
    Ok(Brought::Whole(Response::Written))
}

fn objects(depth: u8, came: ReadDeviceIdentificationResponse) -> Result<Brought, Fault> {
    if came.read_code.value() != depth {
        return Err(Fault::Malformed(format!("identification of depth {} where {depth} was asked for", came.read_code.value())));
    }
    let objects: Vec<_> = came.device_id_objects.into_iter().map(|o| Object { id: o.id, value: o.value.to_vec() }).collect();
    if !came.more_follows {
        return Ok(Brought::Whole(Response::Identification(objects)));
    }
    // A device that names an object again would keep us asking for ever.
    if objects.iter().any(|o| o.id >= came.next_object_id) || objects.is_empty() {
        return Err(Fault::Malformed(format!("more objects follow, from {} on, which came already", came.next_object_id)));
    }
    Ok(Brought::Part(objects, came.next_object_id))
}

#[cfg(test)]
mod tests;
