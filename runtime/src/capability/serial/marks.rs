//! Bytes as the kernel marks them (PARMRK): FF 00 x is a byte that came wrong, FF FF is one FF. A wrong byte is never handed on as a
//! right one: a fault stands in its place, so that a device without checksums is not believed.

use crate::contract::serial::LineFault;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::capability) enum Came {
    Bytes(Vec<u8>),
    Fault(LineFault),
    /// The far side of a terminal server's connection waits for these words.
    Reply(Vec<u8>),
}

/// Keeps what is unfinished between two reads.
#[derive(Debug)]
pub(super) struct Marks {
    seen: Seen,
    parity: bool,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Nothing,
    Ff,
    FfNul,
}

impl Marks {
    /// `parity`: the line carries parity bits, so a wrong byte is more likely that than a wrong stop bit; the kernel does not say.
    pub(super) fn new(parity: bool) -> Self {
        Self { seen: Seen::Nothing, parity }
    }

    pub(super) fn read(&mut self, raw: &[u8]) -> Vec<Came> {
        let mut all = Vec::new();
        let mut bytes = Vec::with_capacity(raw.len());
        for b in raw {
            self.seen = match (self.seen, *b) {
                (Seen::Nothing, 0xFF) => Seen::Ff,
                (Seen::Ff, 0) => Seen::FfNul,
                (Seen::Nothing | Seen::Ff, b) => {
                    bytes.push(b); // FF FF is FF; FF and anything else is never sent by the kernel
                    Seen::Nothing
                }
                (Seen::FfNul, b) => {
                    if !bytes.is_empty() {
                        all.push(Came::Bytes(std::mem::take(&mut bytes)));
                    }
                    all.push(Came::Fault(match b {
                        0 => LineFault::BreakSeen,
                        _ if self.parity => LineFault::Parity,
                        _ => LineFault::Framing,
                    }));
                    Seen::Nothing
                }
            };
        }
        if !bytes.is_empty() {
            all.push(Came::Bytes(bytes));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(raw: &[u8], cut: usize) -> Vec<Came> {
        let mut marks = Marks::new(false);
        let mut all = marks.read(&raw[..cut]);
        for came in marks.read(&raw[cut..]) {
            match (all.last_mut(), came) {
                (Some(Came::Bytes(last)), Came::Bytes(more)) => last.extend(more),
                (_, came) => all.push(came),
            }
        }
        all
    }

    #[test]
    fn marks_are_read_wherever_a_read_cuts_them() {
        let raw = [1, 0xFF, 0xFF, 0, 0xFF, 0, 0x41, 2, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        for cut in 0..=raw.len() {
            assert_eq!(
                whole(&raw, cut),
                [
                    Came::Bytes(vec![1, 0xFF, 0]),
                    Came::Fault(LineFault::Framing),
                    Came::Bytes(vec![2]),
                    Came::Fault(LineFault::BreakSeen),
                    Came::Bytes(vec![0xFF, 0xFF]),
                ],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn with_parity_on_the_line_a_wrong_byte_is_a_parity_fault() {
        assert_eq!(Marks::new(true).read(&[0xFF, 0, 0x41]), [Came::Fault(LineFault::Parity)]);
    }

    #[test]
    fn all_bytes_doubled_as_the_kernel_does_come_back() {
        let plain: Vec<u8> = (0..=255).chain([0xFF, 0xFF, 0, 0xFF]).collect();
        let raw: Vec<u8> = plain.iter().flat_map(|b| std::iter::repeat_n(*b, if *b == 0xFF { 2 } else { 1 })).collect();
        assert_eq!(Marks::new(false).read(&raw), [Came::Bytes(plain)]);
    }
}
