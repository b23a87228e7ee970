//! Windows: what a channel said within some seconds, as its least, its most, its mean and how many there were. Pure; decimals to the digit, and of the
//! mean two digits more than the values have. An open window is a record of each group, so that nothing that was called durable dies with it.

use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{Absence, Decimal, Moment, Value, WireError};

/// What is told of a window, in the order of its channels.
pub(super) const STATISTICS: [&str; 4] = ["min", "max", "mean", "count"];
/// Digits of a mean beyond those of its values: a mean of a hundred values is that much finer than they are.
const MEAN_DIGITS: i8 = 2;
const WHAT: &str = "an open window";
const FORMAT: u8 = 1;

/// An open window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Which one: windows begin at whole multiples of their length on the gateway's monotonic clock.
    number: u64,
    seconds: u64,
    /// Of the newest value.
    pub last: Moment,
    count: u64,
    numbers: Option<Numbers>,
    /// Of all values together: what was questionable once makes the window questionable.
    pub quality: u16,
    /// Why the newest one that was none was none.
    absent: Option<Absence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers {
    min: Decimal,
    max: Decimal,
    /// At the finest exponent so far; none: too large to be held.
    sum: Option<(i128, i8)>,
}

fn number_of(seconds: u64, at: Moment) -> u64 {
    at.monotonic_ns / (seconds * 1_000_000_000)
}

/// `d` at a finer exponent.
fn scaled(mantissa: i128, from: i8, to: i8) -> Option<i128> {
    let places = u32::try_from(i32::from(from) - i32::from(to)).ok()?;
    mantissa.checked_mul(10_i128.checked_pow(places)?)
}

/// Where the exponents lie too far apart to compare, the sign and then the exponent say it.
fn less(a: Decimal, b: Decimal) -> bool {
    let least = a.exponent.min(b.exponent);
    let scaled = |d: Decimal| scaled(d.mantissa.into(), d.exponent, least);
    match (scaled(a), scaled(b)) {
        (Some(a), Some(b)) => a < b,
        (None, _) => a.mantissa < 0, // too large beside the other
        (_, None) => b.mantissa > 0,
    }
}

impl Numbers {
    fn with(self, d: Decimal) -> Self {
        let sum = self.sum.and_then(|(sum, exponent)| {
            let finest = exponent.min(d.exponent);
            let sum = scaled(sum, exponent, finest)?.checked_add(scaled(d.mantissa.into(), d.exponent, finest)?)?;
            Some((sum, finest))
        });
        Self { min: if less(d, self.min) { d } else { self.min }, max: if less(self.max, d) { d } else { self.max }, sum }
    }

    fn mean(&self, count: u64) -> Option<Decimal> {
        let (sum, exponent) = self.sum?;
        let exponent = exponent.checked_sub(MEAN_DIGITS)?;
        let (sum, count) = (scaled(sum, MEAN_DIGITS, 0)?, i128::from(count));
        let half = if sum < 0 { -count } else { count };
        // halves go away from zero
        let mantissa = sum.checked_mul(2)?.checked_add(half)? / (2 * count);
        Some(Decimal { mantissa: i64::try_from(mantissa).ok()?, exponent })
    }
}

impl Window {
    pub fn new(seconds: u64, at: Moment) -> Self {
        Self { number: number_of(seconds, at), seconds, last: at, count: 0, numbers: None, quality: 0, absent: None }
    }

    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// How many values it holds.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A value of this moment belongs to another window.
    pub fn is_over(&self, at: Moment) -> bool {
        at.boot != self.last.boot || number_of(self.seconds, at) != self.number
    }

    pub fn take(&mut self, value: &Value, quality: u16, at: Moment) {
        (self.last, self.quality) = (at, self.quality | quality);
        match value {
            Value::Number(d) => {
                let first = Numbers { min: *d, max: *d, sum: Some((d.mantissa.into(), d.exponent)) };
                self.numbers = Some(self.numbers.map_or(first, |n| n.with(*d)));
                self.count += 1;
            }
            Value::Absent(why) => self.absent = Some(*why),
            _ => {} // of a numeric channel there is nothing else
        }
    }

    /// In the order of [`STATISTICS`].
    pub fn told(&self) -> [Value; 4] {
        let count = Value::Number(Decimal { mantissa: self.count.cast_signed(), exponent: 0 });
        match &self.numbers {
            Some(n) => {
                let mean = n.mean(self.count).map_or(Value::Absent(Absence::OverRange), Value::Number);
                [Value::Number(n.min), Value::Number(n.max), mean, count]
            }
            None => {
                let absent = || Value::Absent(self.absent.unwrap_or(Absence::NotMeasured));
                [absent(), absent(), absent(), count]
            }
        }
    }

    pub fn write(&self, w: &mut Writer) {
        w.u8(FORMAT);
        w.varint(self.number);
        w.varint(self.seconds);
        w.fixed64(self.last.boot);
        w.varint(self.last.monotonic_ns);
        w.varint(self.count);
        w.varint(self.quality.into());
        w.option(self.absent, |w, why| w.u8(why as u8));
        let decimal = |w: &mut Writer, d: Decimal| {
            w.zigzag(d.mantissa);
            w.zigzag(d.exponent.into());
        };
        w.option(self.numbers, |w, n| {
            decimal(w, n.min);
            decimal(w, n.max);
            w.option(n.sum, |w, (sum, exponent)| {
                w.raw(&sum.to_le_bytes());
                w.zigzag(exponent.into());
            });
        });
    }

    pub fn read(r: &mut Reader) -> Result<Self, WireError> {
        if r.u8()? != FORMAT {
            return Err(WireError::Range(WHAT));
        }
        let (number, seconds) = (r.varint()?, r.varint()?);
        let last = Moment { boot: r.fixed64()?, monotonic_ns: r.varint()? };
        let (count, quality) = (r.varint()?, r.number()?);
        let absent = r.option(|r| Absence::ALL.get(usize::from(r.u8()?)).copied().ok_or(WireError::Range(WHAT)))?;
        let exponent = |r: &mut Reader| i8::try_from(r.zigzag()?).map_err(|_| WireError::Range(WHAT));
        let decimal = |r: &mut Reader| Ok(Decimal { mantissa: r.zigzag()?, exponent: exponent(r)? });
        let numbers = r.option(|r| {
            let (min, max) = (decimal(r)?, decimal(r)?);
            Ok(Numbers { min, max, sum: r.option(|r| Ok((i128::from_le_bytes(r.array()?), exponent(r)?)))? })
        })?;
        let sound = seconds > 0 && numbers.is_some() == (count > 0) && count <= i64::MAX as u64;
        if sound { Ok(Self { number, seconds, last, count, numbers, quality, absent }) } else { Err(WireError::Range(WHAT)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Moment {
        Moment { boot: 7, monotonic_ns: s * 1_000_000_000 }
    }

    fn number(mantissa: i64, exponent: i8) -> Value {
        Value::Number(Decimal { mantissa, exponent })
    }

    fn of(values: &[Value]) -> Window {
        let mut window = Window::new(60, at(60));
        values.iter().for_each(|v| window.take(v, 0, at(61)));
        window
    }

    #[test]
    fn values_are_held_to_the_digit_and_the_mean_has_two_more() {
        for (values, told) in [
            (vec![number(201, -1), number(20, 0), number(2023, -2)], [number(20, 0), number(2023, -2), number(201100, -4), number(3, 0)]),
            (vec![number(1, 0), number(2, 0), number(2, 0)], [number(1, 0), number(2, 0), number(167, -2), number(3, 0)]),
            (vec![number(-1, 0), number(-2, 0), number(-2, 0)], [number(-2, 0), number(-1, 0), number(-167, -2), number(3, 0)]),
            (vec![number(1, 0), number(10, -1)], [number(1, 0), number(1, 0), number(1000, -3), number(2, 0)]),
            (vec![number(7, 3)], [number(7, 3), number(7, 3), number(700, 1), number(1, 0)]),
        ] {
            assert_eq!(of(&values).told(), told, "{values:?}");
        }
    }

    #[test]
    fn what_is_absent_is_not_counted_and_what_is_questionable_marks_the_window() {
        let off = Value::Absent(Absence::SensorOff);
        assert_eq!(of(std::slice::from_ref(&off)).told(), [off.clone(), off.clone(), off.clone(), number(0, 0)]);
        let mut window = of(&[off, number(5, 0)]);
        assert_eq!(window.told()[3], number(1, 0));
        window.take(&number(6, 0), 2, at(62));
        window.take(&number(6, 0), 4, at(62));
        assert_eq!(window.quality, 6);
    }

    #[test]
    fn what_no_64_bits_hold_is_absent_and_nothing_panics() {
        let extremes = [(i64::MAX, 127), (i64::MIN, -128), (i64::MIN, 127), (1, -128), (0, 127), (i64::MAX, 0)];
        for a in extremes {
            for b in extremes {
                let told = of(&[number(a.0, a.1), number(b.0, b.1)]).told();
                assert_eq!(told[3], number(2, 0), "{a:?} {b:?}");
            }
        }
        assert_eq!(
            of(&[number(1, 127), number(1, -128)]).told()[..3],
            [number(1, -128), number(1, 127), Value::Absent(Absence::OverRange)]
        );
        assert_eq!(of(&[number(-1, 127), number(1, -128)]).told()[..2], [number(-1, 127), number(1, -128)]);
    }

    #[test]
    fn windows_begin_at_whole_multiples_and_end_with_the_boot() {
        let window = Window::new(60, at(119));
        assert!(!window.is_over(at(60)) && !window.is_over(at(119)) && window.is_over(at(120)) && window.is_over(at(59)));
        assert!(window.is_over(Moment { boot: 8, ..at(119) }));
    }

    #[test]
    fn every_state_comes_back_and_every_truncation_is_refused() {
        let mut questionable = of(&[number(1, 3), number(-5, -2)]);
        questionable.quality = 3;
        for window in [questionable, of(&[]), of(&[Value::Absent(Absence::OverRange)]), of(&[number(1, 127), number(1, -128)])] {
            let mut w = Writer::new();
            window.write(&mut w);
            let mut r = Reader::new(&w.out, WHAT);
            assert_eq!(Window::read(&mut r), Ok(window));
            r.end().expect("nothing is left");
            for n in 0..w.out.len() {
                assert!(Window::read(&mut Reader::new(&w.out[..n], WHAT)).is_err(), "{n}");
            }
        }
    }
}
