//! What the filter computes. Pure: no outbox, no clock.

use wardgate_sdk::{Decimal, Value};

/// The new highest value, if it is one. Exact: decimals are compared, never floats. `None` also where a difference is beyond the range.
pub fn higher(highest: Option<Decimal>, value: &Value) -> Option<Decimal> {
    let Value::Number(new) = *value else { return None };
    let Some(old) = highest else { return Some(new) };
    let difference = new.plus(Decimal { mantissa: old.mantissa.checked_neg()?, exponent: old.exponent })?;
    (difference.mantissa > 0).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wardgate_sdk::Absence;

    #[test]
    fn only_more_is_more() {
        let d = |mantissa, exponent| Decimal { mantissa, exponent };
        assert_eq!(higher(None, &Value::Number(d(365, -1))), Some(d(365, -1)));
        assert_eq!(higher(Some(d(365, -1)), &Value::Number(d(3650, -2))), None);
        assert_eq!(higher(Some(d(365, -1)), &Value::Number(d(37, 0))), Some(d(37, 0)));
        assert_eq!(higher(Some(d(365, -1)), &Value::Absent(Absence::SensorOff)), None);
    }
}
