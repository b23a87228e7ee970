//! One question and its answer: our request as a PDU, and the PDU that came as our response, once its shape is what was asked for.

use tokio_modbus as tm;
use tokio_modbus::prelude::ReadDeviceIdentificationResponse;

use crate::contract::modbus::{Failure, Object, Raw, Request, Response};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("exception {0}")]
    Exception(u8),
    #[error("{0}")]
    Malformed(String),
    #[error("no answer")]
    Timeout,
    #[error("{0}")]
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

/// The PDU of a request. The grant has checked that the protocol can say it.
pub(super) fn question(request: &Request) -> Vec<u8> {
    let words = |function: u8, words: &[u16]| [&[function][..], &words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>()].concat();
    match request {
        Request::ReadCoils(s) => words(1, &[s.address, s.count]),
        Request::ReadDiscreteInputs(s) => words(2, &[s.address, s.count]),
        Request::ReadHoldingRegisters(s) => words(3, &[s.address, s.count]),
        Request::ReadInputRegisters(s) => words(4, &[s.address, s.count]),
        Request::WriteSingleCoil(c) => words(5, &[c.address, if c.on { 0xFF00 } else { 0 }]),
        Request::WriteSingleRegister(r) => words(6, &[r.address, r.value]),
        Request::WriteMultipleCoils(c) => {
            let packed: Vec<u8> = c.on.chunks(8).map(|eight| eight.iter().rev().fold(0, |byte, on| byte << 1 | u8::from(*on))).collect();
            [words(15, &[c.address, c.on.len() as u16]), vec![packed.len() as u8], packed].concat()
        }
        Request::WriteMultipleRegisters(r) => {
            let head = words(16, &[r.address, r.values.len() as u16]);
            [head, vec![r.values.len() as u8 * 2], r.values.iter().flat_map(|v| v.to_be_bytes()).collect()].concat()
        }
        Request::MaskWriteRegister(m) => words(22, &[m.address, m.and, m.or]),
        Request::ReadDeviceIdentification(q) => identification(q.depth, q.object),
        Request::Other(raw) => [&[raw.function], &raw.data[..]].concat(),
    }
}

pub(super) fn identification(depth: u8, object: u8) -> Vec<u8> {
    vec![0x2B, 0x0E, depth, object]
}

/// The PDU of a reply as the answer to `request`, or what is wrong with it. Its function is the request's: the line has looked.
pub(super) fn answer(request: &Request, pdu: &[u8]) -> Result<Brought, Fault> {
    match (request, pdu) {
        (_, [function, code]) if *function >= 0x80 => Err(Fault::Exception(*code)),
        (_, [function, ..]) if *function >= 0x80 => Err(Fault::Malformed(format!("an exception of {} bytes", pdu.len()))),
        // The plugin asked in raw bytes and knows better than any library what they mean.
        (Request::Other(_), [function, data @ ..]) => Ok(Brought::Whole(Response::Other(Raw { function: *function, data: data.to_vec() }))),
        _ => match tm::Response::try_from(tm::bytes::Bytes::copy_from_slice(pdu)) {
            Ok(response) => shaped(request, response),
            Err(e) => Err(Fault::Malformed(e.to_string())),
        },
    }
}

fn shaped(request: &Request, response: tm::Response) -> Result<Brought, Fault> {
    use tm::Response as A;
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
