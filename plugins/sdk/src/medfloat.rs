//! The two number formats of medical devices, IEEE 11073-20601 annex F.8: SFLOAT (16 bits) and FLOAT (32 bits), as the contract's
//! values. Needs nothing but the contract's types, so it can be lifted out whole.
//!
//! ```text
//!            exponent (signed)   mantissa (signed)      value = mantissa * 10^exponent
//!  SFLOAT    bits 15..12         bits 11..0             0xF014 = 20 * 10^-1: "2.0", and not "2" (0x0002) or "2.00" (0xE0C8)
//!  FLOAT     bits 31..24         bits 23..0             0xFE000EB0 = 3760 * 10^-2: "37.60"
//!
//!  with exponent 0 only:                    SFLOAT   FLOAT         becomes absent(...)
//!  NaN   no valid result                    0x07FF   0x007FFFFF    not-measured
//!  NRes  not at this resolution             0x0800   0x00800000    not-at-this-resolution
//!  +INF  above what can be told             0x07FE   0x007FFFFE    over-range
//!  -INF  below what can be told             0x0802   0x00800002    under-range
//!  reserved                                 0x0801   0x00800001    unknown
//! ```
//!
//! The exponent is the precision that the device claims: mantissa and exponent go out as they came, never through binary floating
//! point. With any other exponent the same mantissas are numbers: 0xF7FF is 204.7. Bytes are least significant first on the air;
//! `gatt::Fields` reads them. Source of the table of special values: HL7 PHD implementation guide, FLOATS.md (CC0).

use crate::{Absence, Decimal, Value};

const SFLOAT_MANTISSA_BITS: u32 = 12;
const FLOAT_MANTISSA_BITS: u32 = 24;

pub fn sfloat(bits: u16) -> Value {
    number((i32::from(bits as i16)) >> SFLOAT_MANTISSA_BITS, signed(bits.into(), SFLOAT_MANTISSA_BITS), SFLOAT_MANTISSA_BITS)
}

pub fn float(bits: u32) -> Value {
    number((bits as i32) >> FLOAT_MANTISSA_BITS, signed(bits, FLOAT_MANTISSA_BITS), FLOAT_MANTISSA_BITS)
}

/// The lowest `width` bits as two's complement.
fn signed(bits: u32, width: u32) -> i32 {
    let above = u32::BITS - width;
    (bits << above) as i32 >> above
}

/// The special mantissas are the two highest and the three lowest of the format.
fn number(exponent: i32, mantissa: i32, width: u32) -> Value {
    let highest = (1 << (width - 1)) - 1;
    let why = match mantissa {
        _ if exponent != 0 => None,
        m if m == highest => Some(Absence::NotMeasured),
        m if m == highest - 1 => Some(Absence::OverRange),
        m if m == -highest - 1 => Some(Absence::NotAtThisResolution),
        m if m == -highest => Some(Absence::Unknown),
        m if m == -highest + 1 => Some(Absence::UnderRange),
        _ => None,
    };
    // the exponent has 4 or 8 bits: it always fits
    why.map_or_else(|| Decimal::new(mantissa.into(), exponent as i8).into(), Value::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(mantissa: i64, exponent: i8) -> Value {
        Decimal { mantissa, exponent }.into()
    }

    /// The table of HL7/phd FLOATS.md.
    #[test]
    fn the_published_table_is_read_with_its_precision() {
        for (short, long, value) in [
            (0x0002, 0x0000_0002, n(2, 0)),
            (0xF014, 0xFF00_0014, n(20, -1)),
            (0xE0C8, 0xFE00_00C8, n(200, -2)),
            (0x1002, 0x0100_0002, n(2, 1)),
            (0x2002, 0x0200_0002, n(2, 2)),
            (0x00C8, 0x0000_00C8, n(200, 0)),
            (0x04D2, 0x0000_04D2, n(1234, 0)),
            (0x0B2E, 0x00FF_FB2E, n(-1234, 0)),
            (0x07FF, 0x007F_FFFF, Absence::NotMeasured.into()),
            (0x07FE, 0x007F_FFFE, Absence::OverRange.into()),
            (0x0802, 0x0080_0002, Absence::UnderRange.into()),
            (0x0800, 0x0080_0000, Absence::NotAtThisResolution.into()),
            (0x0801, 0x0080_0001, Absence::Unknown.into()),
        ] {
            assert_eq!((sfloat(short), float(long)), (value.clone(), value), "{short:04x} {long:08x}");
        }
    }

    #[test]
    fn every_sfloat_is_its_two_fields_and_special_only_with_exponent_0() {
        let mut special = 0;
        for bits in 0..=u16::MAX {
            let exponent = (bits >> 12) as i8 - if bits & 0x8000 == 0 { 0 } else { 16 };
            let mantissa = i64::from(bits & 0xFFF) - if bits & 0x800 == 0 { 0 } else { 4096 };
            match sfloat(bits) {
                Value::Number(d) => assert_eq!((d.mantissa, d.exponent), (mantissa, exponent), "{bits:04x}"),
                _ => special += 1,
            }
        }
        assert_eq!(special, 5);
    }

    #[test]
    fn the_ends_of_a_float() {
        assert_eq!(float(0x8000_0001), n(1, -128));
        assert_eq!(float(0x7F7F_FFFF), n(8_388_607, 127));
        assert_eq!(float(0xFF80_0000), n(-8_388_608, -1));
        assert_eq!((float(0x007F_FFFD), float(0x0080_0003)), (n(8_388_605, 0), n(-8_388_605, 0)));
    }
}
