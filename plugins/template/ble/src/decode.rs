//! What a notification means. Pure: no outbox, no clock.

use wardgate_sdk::{Absence, Decimal, Value};

const FAHRENHEIT: u8 = 1; // bit 0 of the flags
const NOT_A_NUMBER: i32 = 0x007f_ffff; // IEEE 11073-20601: the device measures, and has no value

/// Flags, then a number of 32 bits: exponent in the top 8, mantissa in the low 24. `None`: too short, or in Fahrenheit.
pub fn measurement(bytes: &[u8]) -> Option<Value> {
    let (flags, rest) = bytes.split_first()?;
    let number = i32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
    if flags & FAHRENHEIT != 0 {
        return None;
    }
    if number & 0x00ff_ffff == NOT_A_NUMBER {
        return Some(Absence::NotMeasured.into());
    }
    let exponent = i8::try_from(number >> 24).ok()?;
    Some(Decimal { mantissa: (number << 8 >> 8).into(), exponent }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_keeps_its_precision() {
        assert_eq!(measurement(&[0, 0x6d, 0x01, 0, 0xff]), Some(Value::Number(Decimal { mantissa: 365, exponent: -1 })));
        assert_eq!(measurement(&[0, 0xff, 0xff, 0xff, 0xff]), Some(Value::Number(Decimal { mantissa: -1, exponent: -1 })));
        assert_eq!(measurement(&[0, 0xff, 0xff, 0x7f, 0]), Some(Value::Absent(Absence::NotMeasured)));
        assert_eq!((measurement(&[1, 0x6d, 0x01, 0, 0xff]), measurement(&[0, 1, 2])), (None, None));
    }
}
