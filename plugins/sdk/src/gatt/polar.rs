//! The measurement service of Polar's straps and bands (FB005C80-...): its frames, and the request that starts a stream.
//! Facts restated from the maker's description of August 2024; the bytes of the requests are remembered, not read.

use super::{Damage, Fields, Peer, Read, refusal};
use crate::{Health, Moment, Opening, Outbox, Quality, Tag, ble};

pub const CONTROL: u128 = 0xfb00_5c81_02e7_f387_1cad_8acd_2d8d_f0c8;
pub const DATA: u128 = 0xfb00_5c82_02e7_f387_1cad_8acd_2d8d_f0c8;

pub const ECG: u8 = 0;
pub const ACCELERATION: u8 = 2;

const KIND_MASK: u8 = 0x3f;
const PACKED: u8 = 0x80;
const START: u8 = 2;
const ANSWER: u8 = 0xf0;
const DONE: u8 = 0;
const ALREADY: u8 = 6; // it streams to us, or to another phone, already
const ELSEWHERE: &str =
    "the device streams already, by settings that somebody else chose: its samples are questionable until it is switched off and on";
const UNANSWERED: &str =
    "the device has not answered the request to start: its samples are questionable until it does, for it may stream by other settings";
const CANNOT: &str = "the device cannot be asked to start";
const WRITE: Tag = 1;

/// What came in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    /// Nanoseconds by the device's clock, of the last sample.
    pub at_ns: u64,
    pub form: u8,
    pub packed: bool,
    pub samples: &'a [u8],
}

pub fn frame(bytes: &[u8]) -> Read<Frame<'_>> {
    let mut fields = Fields::new(bytes);
    let (kind, at_ns, form) = (fields.u8()? & KIND_MASK, fields.u64()?, fields.u8()?);
    Ok(Frame { kind, at_ns, form: form & !PACKED, packed: form & PACKED != 0, samples: fields.left() })
}

/// A sample of each wave as it is, then blocks: the width of a difference in bits, how many samples, the differences, lowest bit first.
pub fn unpack(bytes: &[u8], waves: usize) -> Read<Vec<Vec<i32>>> {
    let mut fields = Fields::new(bytes);
    let mut all = Vec::with_capacity(waves);
    for _ in 0..waves {
        all.push(vec![i32::from(fields.i16()?)]);
    }
    while !fields.left().is_empty() {
        let (width, count) = (u32::from(fields.u8()?), usize::from(fields.u8()?));
        if !(1..=32).contains(&width) {
            return Err(Damage("a difference has no width that can be"));
        }
        let bits = fields.take((width as usize * count * waves).div_ceil(8))?;
        for n in 0..count * waves {
            let wave = &mut all[n % waves];
            let before = wave.last().copied().unwrap_or(0);
            wave.push(before.wrapping_add(difference(bits, n * width as usize, width)));
        }
    }
    Ok(all)
}

fn difference(bits: &[u8], at: usize, width: u32) -> i32 {
    let bit = |n: usize| u32::from(bits[n / 8] >> (n % 8) & 1);
    let raw = (0..width as usize).fold(0u32, |raw, n| raw | bit(at + n) << n);
    (raw << (32 - width)) as i32 >> (32 - width)
}

/// Whose stream it is that comes on this link: only of one that was asked for here it is known what its samples are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Whose {
    /// It was not asked for on this link.
    #[default]
    Unasked,
    /// It was asked for, and the device has not answered yet.
    Asked,
    /// What it answered, or that it could not be asked, was told: what comes may be what somebody else started.
    Doubtful,
    Ours,
}

#[derive(Debug, Default)]
pub struct Stream {
    whose: Whose,
    /// What is kept of the link that stands: a device that this gateway asked answers "already" to a plugin that was opened anew.
    started: Option<Vec<u8>>,
}

impl Stream {
    pub fn opened(start: &Opening) -> Self {
        Self { whose: Whose::Unasked, started: start.saved.clone().filter(|kept| !kept.is_empty()) }
    }

    /// Asks for it: `request` begins with 02 and the kind.
    pub fn start(&mut self, peer: &mut Peer, request: &[u8], out: &mut Outbox) {
        if let Some(handle) = peer.handle(CONTROL) {
            out.ble_write(WRITE, handle, request, true);
            self.whose = Whose::Asked;
        } else if peer.handle(DATA).is_some() {
            let why = "it has no control point, or `wardgate check` does not list it as allowed";
            peer.report(Health::Degraded, &format!("{CANNOT}: {why}"), out);
        }
    }

    pub fn written(&mut self, peer: &mut Peer, outcome: Result<Vec<u8>, ble::Failure>, out: &mut Outbox) {
        if let Err(why) = outcome
            && self.whose == Whose::Asked
        {
            self.whose = Whose::Doubtful;
            peer.report(Health::Degraded, &format!("{CANNOT}: {}", refusal(&why)), out);
        }
    }

    /// The control point's answer: F0, the request, the kind, a status. Of a stream that somebody else started nobody told us the rate. To
    /// stop it is not ours.
    pub fn answered(&mut self, now: Moment, bytes: &[u8], kind: u8, peer: &mut Peer, out: &mut Outbox) -> Read<()> {
        let mut fields = Fields::new(bytes);
        if fields.u8()? != ANSWER {
            return Ok(()); // it says something by itself, and that holds no samples
        }
        let [request, about, status] = [fields.u8()?, fields.u8()?, fields.u8()?];
        if (request, about) != (START, kind) || self.whose == Whose::Unasked {
            return Ok(());
        }
        let this = [&now.boot.to_le_bytes()[..], peer.who().unwrap_or_default().as_bytes()].concat();
        let detail = match status {
            DONE => {
                out.keep(&this);
                self.started = Some(this);
                String::new()
            }
            ALREADY if self.started.as_ref() == Some(&this) => String::new(),
            ALREADY => ELSEWHERE.to_owned(),
            status => format!("the device does not start (status {status})"),
        };
        self.whose = if detail.is_empty() { Whose::Ours } else { Whose::Doubtful };
        peer.report(if detail.is_empty() { Health::Healthy } else { Health::Degraded }, &detail, out);
        Ok(())
    }

    /// What is to be thought of samples that come now.
    pub fn quality(&self, peer: &mut Peer, out: &mut Outbox) -> Quality {
        if self.whose == Whose::Asked {
            peer.report(Health::Degraded, UNANSWERED, out);
        }
        if self.whose == Whose::Ours { Quality::empty() } else { Quality::QUESTIONABLE }
    }

    pub fn lost(&mut self, out: &mut Outbox) {
        self.whose = Whose::Unasked;
        if self.started.take().is_some() {
            out.keep(&[]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_any_width_are_unpacked() {
        // three waves begin at -9, -1, 999; two samples of 4 bits, then one of 12
        let packed = [0xf7, 0xff, 0xff, 0xff, 0xe7, 0x03, 4, 2, 0xf1, 0x72, 0x80, 12, 1, 0x00, 0x08, 0x80, 0xff, 0x07];
        let waves = unpack(&packed, 3);
        assert_eq!(waves, Ok(vec![vec![-9, -8, -1, -2049], vec![-1, -2, -2, -2050], vec![999, 1001, 993, 3040]]));
        for length in 7..packed.len() {
            assert!(unpack(&packed[..length], 3).is_err() || length == 11, "{length}");
        }
        assert!(unpack(&[0; 7], 3).is_err() && unpack(&[0, 0, 33, 1, 0, 0, 0, 0, 0], 1).is_err());
    }
}
