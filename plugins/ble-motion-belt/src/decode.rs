//! Acceleration as the OpenSeizureDetector data source sends it (000085E9-0001), in the format that its characteristic 0005 tells. Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read};

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

pub fn format(bytes: &[u8]) -> Read<Format> {
    match Fields::new(bytes).u8()? {
        0 => Ok(Format::Coarse),
        1 => Ok(Format::Magnitude),
        3 => Ok(Format::Axes),
        _ => Err(Damage("a format that is not known")),
    }
}

/// One wave, or three of the same length.
pub fn acceleration(bytes: &[u8], format: Format) -> Read<Vec<Vec<i32>>> {
    let waves = match format {
        Format::Coarse => vec![bytes.iter().map(|b| i32::from(*b)).collect::<Vec<_>>()],
        Format::Magnitude => vec![words(bytes)?],
        Format::Axes => {
            let words = words(bytes)?;
            let (triples, []) = words.as_chunks::<3>() else { return Err(Damage("a sample lacks an axis")) };
            (0..3).map(|axis| triples.iter().map(|t| t[axis]).collect()).collect()
        }
    };
    if waves.iter().any(Vec::is_empty) { Err(Damage("it holds no sample")) } else { Ok(waves) }
}

fn words(bytes: &[u8]) -> Read<Vec<i32>> {
    let (words, []) = bytes.as_chunks::<2>() else { return Err(Damage("a sample is cut in two")) };
    Ok(words.iter().map(|w| i16::from_le_bytes(*w).into()).collect())
}
