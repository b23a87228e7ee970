//! What the registers mean. Pure: no outbox, no clock.

use wardgate_sdk::{Absence, Decimal, Value};

const NO_PROBE: u16 = 0x7fff; // what the device's manual says

/// Register 0: tenths of a degree, signed. `None`: fewer registers than were asked for.
pub fn registers(registers: &[u16]) -> Option<Value> {
    Some(match *registers.first()? {
        NO_PROBE => Absence::SensorOff.into(),
        tenths => Decimal { mantissa: tenths.cast_signed().into(), exponent: -1 }.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_have_a_sign() {
        assert_eq!(registers(&[0x00e8]), Some(Value::Number(Decimal { mantissa: 232, exponent: -1 })));
        assert_eq!(registers(&[0xffff]), Some(Value::Number(Decimal { mantissa: -1, exponent: -1 })));
        assert_eq!(registers(&[0x7fff]), Some(Value::Absent(Absence::SensorOff)));
        assert_eq!(registers(&[]), None);
    }
}
