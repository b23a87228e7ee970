//! Report on change: which readings of a channel are sent, where its configuration says that not all are. Pure: time is an argument.

use wardgate_wire::{Decimal, Value};

use crate::config::DeadBand;

/// What was sent last of a channel.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    value: Value,
    quality: u16,
    at_ns: u64,
}

/// How the receiver is told, as a fact of the channel's description: what does not come was not lost.
pub(super) const FACT: &str = "report";

pub(super) fn in_words(dead_band: DeadBand, heartbeat_s: u64) -> String {
    format!("on-change; dead-band {dead_band}; heartbeat {heartbeat_s} s")
}

/// Whether this reading is sent; if so, it is what the next one is held against.
pub(super) fn sends(band: DeadBand, heartbeat_s: u64, last: &mut Option<Sent>, value: &Value, quality: u16, now_ns: u64) -> bool {
    let stays = last.as_ref().is_some_and(|last| {
        let due = now_ns.saturating_sub(last.at_ns) >= heartbeat_s * 1_000_000_000;
        !due && last.quality == quality && within(band, &last.value, value)
    });
    if !stays {
        *last = Some(Sent { value: value.clone(), quality, at_ns: now_ns });
    }
    !stays
}

fn within(band: DeadBand, last: &Value, new: &Value) -> bool {
    match (last, new) {
        (Value::Number(last), Value::Number(new)) => {
            let band = Decimal { mantissa: band.mantissa as i64, exponent: band.exponent }; // 18 digits at most
            no_further(*last, *new, band).unwrap_or(false)
        }
        _ => last == new,
    }
}

/// |a - b| <= band, to the digit; none where the exponents lie too far apart to say, and then it is sent.
fn no_further(a: Decimal, b: Decimal, band: Decimal) -> Option<bool> {
    let least = a.exponent.min(b.exponent).min(band.exponent);
    let scaled = |d: Decimal| {
        let places = u32::try_from(i32::from(d.exponent) - i32::from(least)).ok()?;
        i128::from(d.mantissa).checked_mul(10_i128.checked_pow(places)?)
    };
    Some(scaled(a)?.checked_sub(scaled(b)?)?.checked_abs()? <= scaled(band)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn number(mantissa: i64, exponent: i8) -> Value {
        Value::Number(Decimal { mantissa, exponent })
    }

    const HALF: DeadBand = DeadBand { mantissa: 5, exponent: -1 };

    #[test]
    fn small_steps_add_up_until_they_are_a_change() {
        let mut last = None;
        let values = [200, 203, 205, 206, 208, 201, 200];
        let sent: Vec<_> = values.into_iter().filter(|n| sends(HALF, 60, &mut last, &number(*n, -1), 0, S)).collect();
        assert_eq!(sent, [200, 206, 200], "held against what was sent last, not against the reading before");
    }

    #[test]
    fn quality_absence_and_the_heartbeat_are_sent_whatever_the_value() {
        let mut last = None;
        assert!(sends(HALF, 60, &mut last, &number(20, 0), 0, S));
        assert!(sends(HALF, 60, &mut last, &number(20, 0), 2, S), "questionable");
        assert!(sends(HALF, 60, &mut last, &Value::Absent(wardgate_wire::Absence::SensorOff), 2, S));
        assert!(!sends(HALF, 60, &mut last, &Value::Absent(wardgate_wire::Absence::SensorOff), 2, S));
        assert!(sends(HALF, 60, &mut last, &number(20, 0), 2, S), "it is back");
        assert!(!sends(HALF, 60, &mut last, &number(2000, -2), 2, 60 * S), "the same number with more digits");
        assert!(sends(HALF, 60, &mut last, &number(2000, -2), 2, 61 * S), "due");
        assert!(!sends(HALF, 60, &mut last, &number(2000, -2), 2, 62 * S));
    }

    #[test]
    fn exponents_too_far_apart_are_sent() {
        let mut last = None;
        assert!(sends(HALF, 60, &mut last, &number(1, 127), 0, S) && sends(HALF, 60, &mut last, &number(1, -128), 0, S));
        assert!(sends(HALF, 60, &mut last, &number(i64::MIN, 0), 0, S) && sends(HALF, 60, &mut last, &number(i64::MAX, 0), 0, S));
    }
}
