//! Reads the fields of a characteristic's value, one after the other, least significant byte first.

use super::DateTime;
use crate::{Value, medfloat};

/// Why bytes are no value of their characteristic. Nothing of them is used then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage(pub &'static str);

pub type Read<T> = Result<T, Damage>;

const CUT_SHORT: Damage = Damage("it ends within its fields");

/// What follows the last field that its flags announce is left alone: later versions of a service may append fields.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn left(&self) -> &'a [u8] {
        self.0
    }

    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, left) = self.0.split_first_chunk().ok_or(CUT_SHORT)?;
        self.0 = left;
        Ok(*taken)
    }

    pub fn u8(&mut self) -> Read<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn i8(&mut self) -> Read<i8> {
        self.array().map(i8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn i16(&mut self) -> Read<i16> {
        self.array().map(i16::from_le_bytes)
    }

    pub fn u24(&mut self) -> Read<u32> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    pub fn i24(&mut self) -> Read<i32> {
        self.array().map(|[a, b, c]| i32::from_le_bytes([0, a, b, c]) >> 8)
    }

    pub fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn sfloat(&mut self) -> Read<Value> {
        self.u16().map(medfloat::sfloat)
    }

    pub fn float(&mut self) -> Read<Value> {
        self.u32().map(medfloat::float)
    }

    pub fn date_time(&mut self) -> Read<DateTime> {
        let (year, [month, day, hour, minute, second]) = (self.u16()?, self.array()?);
        Ok(DateTime { year, month, day, hour, minute, second })
    }

    /// A field that is there when its flag is set.
    pub fn when<T>(&mut self, flag: bool, field: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        flag.then(|| field(self)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_little_endian_and_never_longer_than_the_bytes() {
        let mut fields = Fields::new(&[1, 2, 3, 0xff, 0xff, 0x7f, 0xfe, 0xff, 9]);
        assert_eq!((fields.u8(), fields.u16(), fields.i24(), fields.i16()), (Ok(1), Ok(0x302), Ok(0x7f_ffff), Ok(-2)));
        assert_eq!((fields.u16(), fields.when(false, Fields::u32), fields.left()), (Err(CUT_SHORT), Ok(None), &[9][..]));
        assert_eq!(Fields::new(&[0, 0, 0x80]).i24(), Ok(-0x80_0000));
        assert_eq!((fields.take(2), fields.take(1)), (Err(CUT_SHORT), Ok(&[9][..])));
    }
}
