//! Varints, zigzag and length-prefixed bytes: the one reader and writer for everything wardgate writes itself (also heads and the store).

use crate::WireError;

/// Appends to a buffer.
#[derive(Default)]
pub struct Writer {
    pub out: Vec<u8>,
}

impl Writer {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn u8(&mut self, v: u8) {
        self.out.push(v);
    }
    /// LEB128.
    pub fn varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.out.push((v as u8) | 0x80);
            v >>= 7;
        }
        self.out.push(v as u8);
    }
    pub fn zigzag(&mut self, v: i64) {
        self.varint(((v << 1) ^ (v >> 63)) as u64);
    }
    /// 8 bytes, little-endian: for random numbers, which a varint would lengthen.
    pub fn fixed64(&mut self, v: u64) {
        self.out.extend_from_slice(&v.to_le_bytes());
    }
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
    /// Length, then bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
    /// 0, or 1 and what `write` writes.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(v) = value {
            write(self, v);
        }
    }
}

/// Reads from a slice; every length is checked against what is left before anything is allocated.
#[derive(Clone)]
pub struct Reader<'a> {
    left: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// `what` names the thing being read in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { left: bytes, what }
    }
    pub fn left(&self) -> usize {
        self.left.len()
    }
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.left.split_at_checked(n).ok_or(WireError::Truncated(self.what))?;
        self.left = tail;
        Ok(head)
    }
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.left.split_first_chunk().ok_or(WireError::Truncated(self.what))?;
        self.left = tail;
        Ok(*head)
    }
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }
    pub fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || byte == 0 && shift > 0 {
                return Err(WireError::Range(self.what)); // over 64 bits, or longer than need be: one value, one form
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Range(self.what))
    }
    /// A varint that fits the wanted type.
    pub fn number<T: TryFrom<u64>>(&mut self) -> Result<T, WireError> {
        T::try_from(self.varint()?).map_err(|_| WireError::Range(self.what))
    }
    pub fn zigzag(&mut self) -> Result<i64, WireError> {
        let v = self.varint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }
    pub fn fixed64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// A count of things that take at least `bytes_each` bytes each in what is left: bounds every allocation.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, WireError> {
        let n: usize = self.number()?;
        if n.saturating_mul(bytes_each.max(1)) > self.left.len() {
            return Err(WireError::Truncated(self.what));
        }
        Ok(n)
    }
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let n = self.number()?;
        self.raw(n)
    }
    pub fn text(&mut self) -> Result<String, WireError> {
        let what = self.what;
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| WireError::Range(what))
    }
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, WireError>) -> Result<Option<T>, WireError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(WireError::Range(self.what)),
        }
    }
    /// Nothing may be left.
    pub fn end(self) -> Result<(), WireError> {
        if self.left.is_empty() { Ok(()) } else { Err(WireError::LeftOver(self.what)) }
    }
}
