//! The inside of an archive batch: what devices sent, byte for byte, where a site asks for it.

use crate::bytes::{Reader, Writer};
use crate::records::{read_moment, write_moment};
use crate::{Moment, WireError};

const WHAT: &str = "raw frames";

/// What came in one piece on a serial line, or one frame of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub instance: String,
    pub moment: Moment,
    /// By the gateway, to the device.
    pub sent: bool,
    pub bytes: Vec<u8>,
}

impl Raw {
    pub fn write(&self, w: &mut Writer) {
        w.text(&self.instance);
        write_moment(w, self.moment);
        w.u8(u8::from(self.sent));
        w.bytes(&self.bytes);
    }
}

/// Of a whole batch. Another inside than this gateway writes is an error, and stays in the receiver's log as it is.
pub fn read_raw(bytes: &[u8]) -> Result<Vec<Raw>, WireError> {
    let mut r = Reader::new(bytes, WHAT);
    let mut all = Vec::new();
    while r.left() > 0 {
        let (instance, moment) = (r.text()?, read_moment(&mut r)?);
        let sent = match r.u8()? {
            way @ 0..=1 => way == 1,
            _ => return Err(WireError::Range(WHAT)),
        };
        all.push(Raw { instance, moment, sent, bytes: r.bytes()?.to_vec() });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_every_truncation_is_whole_or_refused() {
        let frame = |n: u64, bytes: &[u8]| Raw {
            instance: "bed-1".into(),
            moment: Moment { boot: 7, monotonic_ns: n },
            sent: n == 2,
            bytes: bytes.to_vec(),
        };
        let all = [frame(1, b"\x01VT1=36.6\r"), frame(2, b""), frame(u64::MAX, &[0xff; 300])];
        let mut w = Writer::new();
        let mut ends = vec![0];
        for one in &all {
            one.write(&mut w);
            ends.push(w.out.len());
        }
        assert_eq!(read_raw(&w.out).as_deref(), Ok(&all[..]));
        for n in 0..w.out.len() {
            assert_eq!(read_raw(&w.out[..n]).is_ok(), ends.contains(&n), "{n}");
        }
    }
}
