//! Decimal numbers as the contract carries them: mantissa * 10^exponent, where the exponent is the precision. Never through binary
//! floating point, unless the device itself speaks it.

use crate::Decimal;

impl Decimal {
    pub const fn new(mantissa: i64, exponent: i8) -> Self {
        Self { mantissa, exponent }
    }

    /// `None` when the number does not fit: 64 bits of mantissa and 8 of exponent are the contract's.
    pub fn wide(mantissa: i128, exponent: i32) -> Option<Self> {
        Some(Self { mantissa: mantissa.try_into().ok()?, exponent: exponent.try_into().ok()? })
    }

    /// "-37.20" is -3720 * 10^-2: the zeros that were written are precision. "1e-3" is read too.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, power) = match text.split_once(['e', 'E']) {
            Some((digits, power)) => (digits, power.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let point_without_digits = digits.contains('.') && fraction.is_empty();
        if whole.is_empty() || point_without_digits {
            return None;
        }
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            let value = digit.is_ascii_digit().then(|| i128::from(digit - b'0'))?;
            mantissa = mantissa.checked_mul(10)?.checked_add(value)?;
        }
        let places = i32::try_from(fraction.len()).ok()?;
        Self::wide(if negative { -mantissa } else { mantissa }, power.checked_sub(places)?)
    }

    /// The shortest decimal that names this very float. `None`: not a number, infinite, or beyond the contract's range.
    pub fn from_f32(value: f32) -> Option<Self> {
        value.is_finite().then(|| Self::parse(&format!("{value:e}")))?.map(Self::unsigned_zero)
    }

    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self::parse(&format!("{value:e}")))?.map(Self::unsigned_zero)
    }

    fn unsigned_zero(self) -> Self {
        if self.mantissa == 0 { Self::new(0, 0) } else { self }
    }

    pub fn times(self, by: Self) -> Option<Self> {
        Self::wide(i128::from(self.mantissa) * i128::from(by.mantissa), i32::from(self.exponent) + i32::from(by.exponent))
    }

    /// Exact: the finer of the two exponents is the sum's.
    pub fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let at = |d: Self| {
            let lift = (i32::from(d.exponent) - i32::from(exponent)).try_into().ok()?;
            10i128.checked_pow(lift)?.checked_mul(i128::from(d.mantissa))
        };
        Self::wide(at(self)?.checked_add(at(other)?)?, exponent.into())
    }

    /// `number * numerator / denominator` with `places` digits after the point, rounded half to even.
    pub fn ratio(number: i128, numerator: i64, denominator: u32, places: u8) -> Option<Self> {
        let scaled = number.checked_mul(numerator.into())?.checked_mul(10i128.checked_pow(places.into())?)?;
        let denominator = i128::from(denominator);
        let (floor, rest) = (scaled.div_euclid(denominator), scaled.rem_euclid(denominator));
        let up = rest * 2 > denominator || (rest * 2 == denominator && floor % 2 != 0);
        Self::wide(floor + i128::from(up), -i32::from(places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(mantissa: i64, exponent: i8) -> Option<Decimal> {
        Some(Decimal { mantissa, exponent })
    }

    #[test]
    fn what_was_written_keeps_its_precision() {
        for (text, number) in [
            ("80", d(80, 0)),
            ("-37.20", d(-3720, -2)),
            ("0.1", d(1, -1)),
            ("1e-3", d(1, -3)),
            ("2.50E2", d(250, 0)),
            ("-0", d(0, 0)),
            ("9223372036854775807", d(i64::MAX, 0)),
            ("-9223372036854775808", d(i64::MIN, 0)),
        ] {
            assert_eq!(Decimal::parse(text), number, "{text}");
        }
        for text in ["", "-", ".", ".5", "5.", "1.2.3", "--1", "+1", " 1", "1 ", "9223372036854775808", "1e", "1e999", "0x10", "٣"] {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_float_becomes_the_shortest_decimal_that_names_it() {
        assert_eq!(Decimal::from_f32(0.1), d(1, -1));
        assert_eq!(Decimal::from_f32(-18.25), d(-1825, -2));
        assert_eq!(Decimal::from_f32(-0.0), d(0, 0));
        assert_eq!(Decimal::from_f32(1.0e10), d(1, 10));
        assert_eq!(Decimal::from_f64(0.1 + 0.2), d(30_000_000_000_000_004, -17));
        assert_eq!((Decimal::from_f32(f32::NAN), Decimal::from_f64(f64::INFINITY)), (None, None));
        assert_eq!(Decimal::from_f64(1.0e300), None, "an exponent beyond the contract's");
        let mut x = 0x2545_F491u32;
        for _ in 0..20_000 {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            let float = f32::from_bits(x);
            if let Some(Decimal { mantissa, exponent }) = Decimal::from_f32(float) {
                assert_eq!(format!("{mantissa}e{exponent}").parse::<f32>().map(f32::to_bits), Ok(float.to_bits()));
            }
        }
    }

    #[test]
    fn ratios_round_half_to_even_and_sums_are_exact() {
        assert_eq!(Decimal::ratio(0xC800, 1, 512, 3), d(100_000, -3));
        assert_eq!(Decimal::ratio(1, 1, 512, 3), d(2, -3));
        assert_eq!(Decimal::ratio(-1, 1, 512, 3), d(-2, -3));
        assert_eq!((Decimal::ratio(1, 1, 2, 0), Decimal::ratio(3, 1, 2, 0), Decimal::ratio(-1, 1, 2, 0)), (d(0, 0), d(2, 0), d(0, 0)));
        assert_eq!(Decimal::new(425, -1).plus(Decimal::new(-27_315, -2)), d(-23_065, -2));
        assert_eq!(Decimal::new(i64::MAX, 0).plus(Decimal::new(1, 0)), None);
        assert_eq!(Decimal::new(i64::MAX, 100).plus(Decimal::new(1, -100)), None);
        assert_eq!(Decimal::new(5, 100).times(Decimal::new(2, 100)), None);
    }
}
