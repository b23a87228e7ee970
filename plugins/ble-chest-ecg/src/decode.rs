//! What a chest strap's ECG messages mean: the Polar measurement data (FB005C82) and the open Movesense firmware (2BDD). Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read, sig};

/// Data and control point of the Polar measurement service, FB005C80-02E7-F387-1CAD-8ACD2D8DF0C8.
pub const POLAR_DATA: u128 = 0xfb00_5c82_02e7_f387_1cad_8acd_2d8d_f0c8;
pub const POLAR_CONTROL: u128 = 0xfb00_5c81_02e7_f387_1cad_8acd_2d8d_f0c8;
/// The open firmware uses assigned numbers for its own ends: its service is 1859, ECG and interval are these.
pub const OPEN_ECG: u128 = sig(0x2bdd);
pub const OPEN_INTERVAL: u128 = sig(0x2be3);

const TYPE_MASK: u8 = 0x3f;
const ECG: u8 = 0;
const COMPRESSED: u8 = 0x80;
pub const INVALID: i32 = i16::MIN as i32; // of the open firmware

/// Samples of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// In nanoseconds by the strap's own clock: of the last sample (Polar), of the first (open firmware).
    pub at_ns: u64,
    pub counts: Vec<i32>,
}

/// Microvolts, 24 bits each. `None`: the message is about something else, acceleration say.
pub fn polar(bytes: &[u8]) -> Read<Option<Samples>> {
    let mut fields = Fields::new(bytes);
    let kind = fields.u8()?;
    let at_ns = fields.u64()?;
    let frame = fields.u8()?;
    if kind & TYPE_MASK != ECG {
        return Ok(None);
    }
    if frame & COMPRESSED != 0 || frame != 0 {
        return Err(Damage("its samples are packed in a way that is not known"));
    }
    let mut counts = Vec::with_capacity(fields.left().len() / 3);
    while !fields.left().is_empty() {
        counts.push(fields.i24()?);
    }
    some(Samples { at_ns, counts }).map(Some)
}

/// Milliseconds, then 16 bits a sample.
pub fn open(bytes: &[u8]) -> Read<Samples> {
    let mut fields = Fields::new(bytes);
    let at_ms = fields.u32()?;
    let mut counts = Vec::with_capacity(fields.left().len() / 2);
    while !fields.left().is_empty() {
        counts.push(fields.i16()?.into());
    }
    some(Samples { at_ns: u64::from(at_ms) * 1_000_000, counts })
}

fn some(samples: Samples) -> Read<Samples> {
    if samples.counts.is_empty() { Err(Damage("it holds no sample")) } else { Ok(samples) }
}

/// Milliseconds from sample to sample.
pub fn interval(bytes: &[u8]) -> Read<u16> {
    match Fields::new(bytes).u16()? {
        0 => Err(Damage("an interval of 0")),
        ms => Ok(ms),
    }
}

/// What the control point answers to a request: F0, the request, the measurement, a status.
pub fn control(bytes: &[u8]) -> Read<(u8, u8, u8)> {
    let mut fields = Fields::new(bytes);
    if fields.u8()? != 0xf0 {
        return Err(Damage("it is no answer of the control point"));
    }
    Ok((fields.u8()?, fields.u8()?, fields.u8()?))
}
