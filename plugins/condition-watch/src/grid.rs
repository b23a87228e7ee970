//! Numbers on a grid of so many places behind the point: whole numbers, so that sums, means and slopes never meet a float.

use wardgate_sdk::Decimal;

/// Beyond this a value is no value of a machine. A day of it in nanoseconds stays far within 128 bits, and its slopes per day of the shortest
/// windows within 64.
pub const GRID_MAX: i64 = 100_000_000_000_000;
pub const PLACES_MAX: u8 = 6;
const DIGITS_MAX: u32 = 20; // a mantissa has at most 19: whatever is divided by more is nothing

/// One value: where it lies on the grid, and as it was told. What has more places than the grid is told as rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub grid: i64,
    pub told: Decimal,
}

impl Sample {
    /// Exact, or rounded half to even to the grid. `None`: beyond `GRID_MAX`.
    pub fn of(told: Decimal, places: u8) -> Option<Self> {
        let lift = i32::from(told.exponent) + i32::from(places);
        let (grid, exact) = match lift.unsigned_abs() {
            _ if told.mantissa == 0 => (0, true),
            up if lift >= 0 => (i128::from(told.mantissa).checked_mul(10i128.checked_pow(up)?)?, true),
            down if down > DIGITS_MAX => (0, false),
            down => {
                let (number, by) = (i128::from(told.mantissa), 10i128.pow(down));
                (half_even(number, by), number % by == 0)
            }
        };
        let grid = i64::try_from(grid).ok().filter(|g| (-GRID_MAX..=GRID_MAX).contains(g))?;
        Some(Self { grid, told: if exact { told } else { decimal(grid, places) } })
    }

    /// What a site writes as a limit must lie on the grid: it is held to the digit.
    pub fn exactly(told: Decimal, places: u8) -> Option<Self> {
        Self::of(told, places).filter(|s| s.told == told)
    }
}

pub fn decimal(grid: i64, places: u8) -> Decimal {
    Decimal::new(grid, -(places.min(PLACES_MAX) as i8))
}

/// `number / by`, rounded half to even. `by` is above 0.
pub fn half_even(number: i128, by: i128) -> i128 {
    let (floor, rest) = (number.div_euclid(by), number.rem_euclid(by));
    let up = rest > by - rest || (rest == by - rest && floor % 2 != 0);
    floor + i128::from(up)
}

/// A mean or a rate as it is told: `None` where nothing was seen or the result is beyond the contract's range.
pub fn quotient(number: i128, by: u64, places: u8) -> Option<Decimal> {
    let rounded = (by > 0).then(|| half_even(number, by.into()))?;
    Some(decimal(rounded.try_into().ok()?, places))
}
