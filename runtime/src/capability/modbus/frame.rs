//! A PDU in its frame, for each of the three protocols: wrapped for the way out, and found in what came. Pure: no clock, no socket.
//!
//! The library's own RTU decoder skips bytes until something fits: damage then looks like silence, and a late frame like an answer. Here
//! every byte is accounted for; the library reads what is inside.

use super::ascii;
use super::settings::Protocol;

const HEADER_BYTES: usize = 7;
/// What a TCP header may announce: the unit id and a PDU of 2 to 253 bytes.
const ANNOUNCED: std::ops::RangeInclusive<usize> = 3..=254;
const RTU_BYTES_MAX: usize = 256;
const RTU_BYTES_MIN: usize = 4;

/// What stands at the head of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// No whole frame yet.
    More,
    Frame {
        server: u8,
        pdu: Vec<u8>,
        id: Option<u16>,
        /// Bytes from the front that are done with.
        taken: usize,
        /// Bytes before the frame that were none of it.
        noise: usize,
        /// Its checksum is wrong in the way that the grant allows.
        questionable: bool,
    },
    Wrong(String),
}

/// What is known of the frame that is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) server: u8,
    pub(super) quirk: bool,
    /// Nothing has come for a while: where only silence ends a frame, it has ended.
    pub(super) silent: bool,
}

impl Protocol {
    pub(super) fn wrap(self, id: u16, server: u8, pdu: &[u8]) -> Vec<u8> {
        match self {
            Self::Tcp => {
                let length = (pdu.len() as u16 + 1).to_be_bytes();
                [&id.to_be_bytes()[..], &[0, 0], &length, &[server], pdu].concat()
            }
            Self::Rtu => {
                let mut frame = [&[server], pdu].concat();
                let sum = crc(&frame);
                frame.extend(sum.to_le_bytes());
                frame
            }
            Self::Ascii => ascii::wrap(server, pdu),
        }
    }

    pub(super) fn look(self, held: &[u8], awaited: Awaited) -> Look {
        match self {
            Self::Tcp => tcp(held),
            Self::Rtu => rtu(held, awaited),
            Self::Ascii => ascii::look(held, awaited.quirk),
        }
    }

    /// Bytes of a frame around a PDU of this length.
    pub(super) fn frame_bytes(self, pdu: usize) -> usize {
        match self {
            Self::Tcp => HEADER_BYTES + pdu,
            Self::Rtu => 3 + pdu,
            Self::Ascii => 2 * (pdu + 2) + 3,
        }
    }
}

fn tcp(held: &[u8]) -> Look {
    let Some((&[i, d, p, q, high, low, server], rest)) = held.split_first_chunk::<HEADER_BYTES>() else { return Look::More };
    let announced = usize::from(u16::from_be_bytes([high, low]));
    if (p, q) != (0, 0) || !ANNOUNCED.contains(&announced) {
        return Look::Wrong(format!("a header that announces protocol {p:02X}{q:02X} and {announced} bytes"));
    }
    match rest.get(..announced - 1) {
        None => Look::More,
        Some(pdu) => Look::Frame {
            server,
            pdu: pdu.to_vec(),
            id: Some(u16::from_be_bytes([i, d])),
            taken: HEADER_BYTES - 1 + announced,
            noise: 0,
            questionable: false,
        },
    }
}

/// A frame says nowhere how long it is: the function does, and where that is unknown, silence.
fn rtu(held: &[u8], awaited: Awaited) -> Look {
    // Drivers that switch on make a 00 or an FF out of nothing.
    let noise = held.iter().take_while(|b| **b != awaited.server && matches!(**b, 0 | 0xFF)).count();
    let frame = &held[noise..];
    let length = match reply_bytes(frame) {
        Length::Known(n) => n,
        Length::Unknown if awaited.silent => frame.len(),
        Length::More | Length::Unknown if frame.len() < RTU_BYTES_MAX => return Look::More,
        Length::More | Length::Unknown => return Look::Wrong(format!("{} bytes without an end", frame.len())),
    };
    if !(RTU_BYTES_MIN..=RTU_BYTES_MAX).contains(&length) {
        return Look::Wrong(format!("a frame of {length} bytes"));
    }
    let Some(frame) = frame.get(..length) else { return Look::More };
    let (body, sum) = frame.split_at(length - 2);
    if crc(body).to_le_bytes() != sum {
        return Look::Wrong("the checksum is wrong".into());
    }
    Look::Frame { server: body[0], pdu: body[1..].to_vec(), id: None, taken: noise + length, noise, questionable: false }
}

enum Length {
    More,
    Known(usize),
    Unknown,
}

/// How long the reply is that begins so, server and checksum included.
fn reply_bytes(frame: &[u8]) -> Length {
    let Some(function) = frame.get(1) else { return Length::More };
    let counted = |count: Option<&u8>| count.map_or(Length::More, |n| Length::Known(5 + usize::from(*n)));
    match function {
        1..=4 | 12 | 17 | 20 | 21 | 23 => counted(frame.get(2)),
        5 | 6 | 8 | 11 | 15 | 16 => Length::Known(8),
        7 => Length::Known(5),
        22 => Length::Known(10),
        0x2B => match frame.get(2) {
            None => Length::More,
            Some(0x0E) => identification(frame),
            Some(_) => Length::Unknown,
        },
        0x80.. => Length::Known(5),
        _ => Length::Unknown,
    }
}

fn identification(frame: &[u8]) -> Length {
    let Some(objects) = frame.get(7) else { return Length::More };
    let mut at = 8;
    for _ in 0..*objects {
        let Some(length) = frame.get(at + 1) else { return Length::More };
        at += 2 + usize::from(*length);
    }
    Length::Known(at + 2)
}

/// CRC-16 of Modbus: polynomial A001 reflected, begun with FFFF.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |sum, b| (0..8).fold(sum ^ u16::from(*b), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xA001 } else { sum >> 1 }))
}

#[cfg(test)]
mod tests;
