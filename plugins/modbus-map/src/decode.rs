//! From registers to a value. Pure, and decimal throughout: binary floating point appears only where the register holds it.

use wardgate_sdk::{Absence, Decimal, Value};

/// How the bits are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Unsigned,
    Signed,
    Float,
}

/// What the value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Number,
    Enumeration,
    Bits,
}

/// Devices disagree on the order of 16-bit words and of the two bytes in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub low_word_first: bool,
    pub low_byte_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Decimal(Decimal),
    /// number * numerator / denominator, with so many places.
    Ratio {
        numerator: i64,
        denominator: u32,
        places: u8,
    },
}

/// How one point is made of its registers (or of its one coil).
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    pub sort: Sort,
    pub encoding: Encoding,
    /// 16-bit registers: 1, 2 or 4. A coil or discrete input counts as one.
    pub words: u16,
    pub order: Order,
    /// Lowest and highest bit of a field, both included; else all bits.
    pub field: Option<(u8, u8)>,
    pub scale: Scale,
    pub offset: Option<Decimal>,
    /// Raw values (of the field) that mean "no value".
    pub absent: Vec<(u64, Absence)>,
    /// What a float that is not a number means.
    pub not_a_number: Absence,
}

/// All bits of a point, highest first.
pub fn join(words: &[u16], order: Order) -> u64 {
    let fix = |word: &u16| u64::from(if order.low_byte_first { word.swap_bytes() } else { *word });
    let push = |sum: u64, word: u64| (sum << 16) | word;
    match order.low_word_first {
        true => words.iter().rev().map(fix).fold(0, push),
        false => words.iter().map(fix).fold(0, push),
    }
}

impl Form {
    pub fn bits(&self) -> u32 {
        self.field.map_or(16 * u32::from(self.words), |(low, high)| u32::from(high - low) + 1)
    }

    /// The point's own bits, lowest at 0.
    pub fn raw(&self, words: &[u16]) -> u64 {
        let all = join(words, self.order);
        let low = self.field.map_or(0, |(low, _)| low);
        (all >> low) & (u64::MAX >> (64 - self.bits()))
    }

    pub fn value(&self, words: &[u16]) -> Value {
        let raw = self.raw(words);
        if let Some((_, why)) = self.absent.iter().find(|(code, _)| *code == raw) {
            return Value::Absent(*why);
        }
        match self.sort {
            Sort::Bits => Value::Bits(raw),
            Sort::Enumeration => u32::try_from(raw).map_or(Value::Absent(Absence::OverRange), Value::Code),
            Sort::Number if self.encoding == Encoding::Float => self.float(raw),
            Sort::Number => self.integer(raw).map_or(Value::Absent(Absence::OverRange), Value::Number),
        }
    }

    /// `None`: beyond the 64 bits of the contract's decimal.
    fn integer(&self, raw: u64) -> Option<Decimal> {
        let number = match self.encoding {
            Encoding::Signed => {
                let unused = 64 - self.bits();
                i128::from(((raw << unused) as i64) >> unused)
            }
            _ => i128::from(raw),
        };
        let scaled = match self.scale {
            Scale::Decimal(by) => Decimal::wide(number.checked_mul(by.mantissa.into())?, by.exponent.into())?,
            Scale::Ratio { numerator, denominator, places } => Decimal::ratio(number, numerator, denominator, places)?,
        };
        self.shift(scaled)
    }

    fn float(&self, raw: u64) -> Value {
        let (number, wide) = match self.words {
            2 => (Decimal::from_f32(f32::from_bits(raw as u32)), f64::from(f32::from_bits(raw as u32))),
            _ => (Decimal::from_f64(f64::from_bits(raw)), f64::from_bits(raw)),
        };
        let by = match self.scale {
            Scale::Decimal(by) => by,
            Scale::Ratio { .. } => Decimal::new(1, 0), // refused by the map's reader
        };
        let out = if wide > 0.0 { Absence::OverRange } else { Absence::UnderRange };
        match number.map(|n| n.times(by).and_then(|n| self.shift(n))) {
            Some(Some(number)) => Value::Number(number),
            None if wide.is_nan() => Value::Absent(self.not_a_number),
            None if wide.is_finite() && wide.abs() < 1.0 => Value::Absent(Absence::NotAtThisResolution),
            _ => Value::Absent(out),
        }
    }

    fn shift(&self, number: Decimal) -> Option<Decimal> {
        self.offset.map_or(Some(number), |offset| number.plus(offset))
    }
}

/// The rule for `/n`: the fewest places that still tell two neighbouring raw values apart, so that the raw value can be computed back.
/// `/512` steps by 0.00195 and gets 3 places.
pub fn places_for(numerator: i64, denominator: u32) -> u8 {
    let step = |places: u32| i128::from(numerator.unsigned_abs()) * 10i128.pow(places);
    (0..12).find(|places| step(*places) >= i128::from(denominator)).unwrap_or(12) as u8
}
