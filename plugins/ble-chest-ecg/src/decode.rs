//! What a chest strap's ECG messages mean: Polar's measurement data, and the open Movesense firmware (2BDD). Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read, polar, sig};

/// The open firmware uses assigned numbers for its own ends: its service is 1859, ECG and interval are these.
pub const OPEN_ECG: u128 = sig(0x2bdd);
pub const OPEN_INTERVAL: u128 = sig(0x2be3);
pub const INVALID: i32 = i16::MIN as i32; // of the open firmware

const FORM_24_BITS: u8 = 0;

/// Samples of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Samples {
    /// In nanoseconds by the strap's own clock: of the last sample (Polar), of the first (open firmware).
    pub at_ns: u64,
    pub counts: Vec<i32>,
}

/// Microvolts, 24 bits each. `None`: the message is about something else, acceleration say.
pub fn polar_ecg(bytes: &[u8]) -> Read<Option<Samples>> {
    let frame = polar::frame(bytes)?;
    if frame.kind != polar::ECG {
        return Ok(None);
    }
    if frame.packed || frame.form != FORM_24_BITS {
        return Err(Damage("its samples have a form that is not known"));
    }
    let mut fields = Fields::new(frame.samples);
    let mut counts = Vec::with_capacity(frame.samples.len() / 3);
    while !fields.left().is_empty() {
        counts.push(fields.i24()?);
    }
    some(Samples { at_ns: frame.at_ns, counts }).map(Some)
}

/// Milliseconds, then 16 bits a sample.
pub fn open_ecg(bytes: &[u8]) -> Read<Samples> {
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
