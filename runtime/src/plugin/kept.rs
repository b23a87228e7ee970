//! The state that a plugin keeps, with the version that kept it: what `open` gets after a restart.

/// The bytes for the store are: the length of `by` in one byte, `by`, the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Version of the plugin that kept it.
    pub by: String,
    pub state: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kept state in the store cannot be read")]
pub struct KeptBroken;

impl Kept {
    pub fn to_bytes(&self) -> Vec<u8> {
        let by = &self.by.as_bytes()[..self.by.len().min(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(1 + by.len() + self.state.len());
        bytes.push(by.len() as u8);
        bytes.extend_from_slice(by);
        bytes.extend_from_slice(&self.state);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeptBroken> {
        let (length, rest) = bytes.split_first().ok_or(KeptBroken)?;
        let (by, state) = rest.split_at_checked(usize::from(*length)).ok_or(KeptBroken)?;
        let by = std::str::from_utf8(by).map_err(|_| KeptBroken)?;
        Ok(Self { by: by.to_owned(), state: state.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_a_cut_head_is_refused() {
        let kept = Kept { by: "1.2.3".into(), state: vec![0, 1, 255] };
        let bytes = kept.to_bytes();
        assert_eq!(Kept::from_bytes(&bytes), Ok(kept));
        for n in 0..6 {
            assert_eq!(Kept::from_bytes(&bytes[..n]), Err(KeptBroken), "{n} bytes");
        }
        assert_eq!(Kept::from_bytes(&[2, 0xff, 0xff]), Err(KeptBroken));
        let long = Kept { by: "x".repeat(300), state: vec![9] };
        assert_eq!(Kept::from_bytes(&long.to_bytes()).unwrap().state, [9]);
    }
}
