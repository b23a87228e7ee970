//! What the device says, from its bytes. Pure: no outbox, no clock.

use wardgate_sdk::{Absence, Decimal, Value};

/// One line: `T=36.5` is a temperature, `T=---` says that no probe is plugged in. `None`: damaged.
pub fn line(line: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    match text.strip_prefix("T=")? {
        "---" => Some(Absence::SensorOff.into()),
        number => Decimal::parse(number).map(Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_to_the_digit_or_not_at_all() {
        assert_eq!(line(b"T=36.50\r\n"), Some(Value::Number(Decimal { mantissa: 3650, exponent: -2 })));
        assert_eq!(line(b"T=---\n"), Some(Value::Absent(Absence::SensorOff)));
        for damaged in [&b"T=3x.5\n"[..], b"=36.5\n", b"\n", b"T=\xff\n"] {
            assert_eq!(line(damaged), None);
        }
    }
}
