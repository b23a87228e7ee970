//! Acceleration as the OpenSeizureDetector data source sends it (000085E9-0001), in the format that its characteristic 0005 tells; and as
//! Polar's measurement service does. Pure.

use wardgate_sdk::gatt::{Damage, Read, polar};

pub const ACCELERATION: u128 = 0x0000_85e9_0001_1000_8000_0080_5f9b_34fb;
pub const FORMAT: u128 = 0x0000_85e9_0005_1000_8000_0080_5f9b_34fb;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Magnitude in 8 bits, 64 to one g.
    Coarse,
    /// Magnitude in 16 bits, thousandths of a g.
    Magnitude,
    /// x, y, z in 16 bits each, thousandths of a g: what the reference device sends.
    #[default]
    Axes,
}

impl Format {
    /// The numbers of the format characteristic.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Coarse),
            1 => Some(Self::Magnitude),
            3 => Some(Self::Axes),
            _ => None,
        }
    }
}

/// One wave, or three of the same length.
pub fn acceleration(bytes: &[u8], format: Format) -> Read<Vec<Vec<i32>>> {
    let waves = match format {
        Format::Coarse => vec![bytes.iter().map(|b| i32::from(*b)).collect::<Vec<_>>()],
        Format::Magnitude => vec![words(bytes)?],
        Format::Axes => axes(bytes)?,
    };
    some(waves)
}

const FORM_16_BITS: u8 = 1;

/// Three axes in thousandths of a g, with the time of the last sample. `None`: the message is about something else, an ECG say.
pub fn polar_acceleration(bytes: &[u8]) -> Read<Option<(u64, Vec<Vec<i32>>)>> {
    let frame = polar::frame(bytes)?;
    let waves = match (frame.kind, frame.form, frame.packed) {
        (polar::ACCELERATION, FORM_16_BITS, false) => axes(frame.samples)?,
        (polar::ACCELERATION, FORM_16_BITS, true) => polar::unpack(frame.samples, 3)?,
        (polar::ACCELERATION, ..) => return Err(Damage("its samples have a form that is not known")),
        _ => return Ok(None),
    };
    some(waves).map(|waves| Some((frame.at_ns, waves)))
}

fn axes(bytes: &[u8]) -> Read<Vec<Vec<i32>>> {
    let words = words(bytes)?;
    let (triples, []) = words.as_chunks::<3>() else { return Err(Damage("a sample lacks an axis")) };
    Ok((0..3).map(|axis| triples.iter().map(|t| t[axis]).collect()).collect())
}

fn some(waves: Vec<Vec<i32>>) -> Read<Vec<Vec<i32>>> {
    if waves.iter().any(Vec::is_empty) { Err(Damage("it holds no sample")) } else { Ok(waves) }
}

fn words(bytes: &[u8]) -> Read<Vec<i32>> {
    let (words, []) = bytes.as_chunks::<2>() else { return Err(Damage("a sample is cut in two")) };
    Ok(words.iter().map(|w| i16::from_le_bytes(*w).into()).collect())
}
