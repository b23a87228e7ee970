//! Frames of Modbus ASCII: a colon, two hexadecimal digits a byte, a checksum of one byte, CR LF. Pure.

use super::frame::Look;

const FRAME_CHARS_MAX: usize = 513; // the protocol's own: colon, 2 * (1 + 253 + 1) digits, CR LF
/// The documented quirk: Thermo's TSX and TDE freezers print replies of four data bytes whose checksum is too small by this.
const QUIRK_SHORT_BY: u8 = 4;
const QUIRK_DATA_BYTES: usize = 4;

pub(super) fn wrap(server: u8, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = vec![server];
    bytes.extend_from_slice(pdu);
    bytes.push(checksum(&bytes));
    let digits: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
    format!(":{digits}\r\n").into_bytes()
}

/// The two's complement of the sum.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg()
}

/// The first frame in what has come, and how much of it that took.
pub(super) fn look(held: &[u8], quirk: bool) -> Look {
    let Some(end) = held.iter().position(|b| *b == b'\n') else {
        let long = held.len() > 2 * FRAME_CHARS_MAX; // noise before the colon included
        return if long { Look::Wrong(format!("{} characters without an end", held.len())) } else { Look::More };
    };
    let line = &held[..=end];
    // A colon always begins anew: what stood before it was noise, or a frame that broke off.
    let Some(begin) = line.iter().rposition(|b| *b == b':') else {
        return Look::Wrong("a line without a colon".into());
    };
    let Some(digits) = line[begin + 1..].strip_suffix(b"\r\n") else {
        return Look::Wrong("a line that does not end in CR LF".into());
    };
    let Some(mut bytes) = bytes(digits) else {
        return Look::Wrong("characters that are no hexadecimal digits".into());
    };
    if bytes.len() < 3 || line.len() - begin > FRAME_CHARS_MAX {
        return Look::Wrong(format!("a frame of {} bytes", bytes.len()));
    }
    let came = bytes.pop().expect("three or more");
    let right = checksum(&bytes);
    let pdu = bytes.split_off(1);
    let quirky = quirk && is_quirk(&pdu, came, right);
    if came != right && !quirky {
        return Look::Wrong(format!("checksum {came:02X} where {right:02X} is right"));
    }
    Look::Frame { server: bytes[0], pdu, id: None, taken: end + 1, noise: begin, questionable: quirky }
}

fn is_quirk(pdu: &[u8], came: u8, right: u8) -> bool {
    let four = matches!(pdu, [3, n, data @ ..] if usize::from(*n) == QUIRK_DATA_BYTES && data.len() == QUIRK_DATA_BYTES);
    four && came == right.wrapping_sub(QUIRK_SHORT_BY)
}

fn bytes(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(text: &str, quirk: bool) -> Result<(u8, Vec<u8>, bool), Look> {
        match look(text.as_bytes(), quirk) {
            Look::Frame { server, pdu, questionable, .. } => Ok((server, pdu, questionable)),
            other => Err(other),
        }
    }

    /// Frames as Thermo's manuals print them (source and check of each in the shared vectors: Isotemp right, TSX and TDE with the quirk).
    const RIGHT: [&str; 4] = [":010304FFFFFCE01E\r\n", ":010304FFFFFD44B9\r\n", ":010305300002C5\r\n", ":190305300002AD\r\n"];
    const QUIRKY: [&str; 4] = [":190304FFFFFCE002\r\n", ":190304FFFFFC7C66\r\n", ":190304FFFFFD449D\r\n", ":1903040001E240B9\r\n"];

    #[test]
    fn frames_as_the_manuals_print_them() {
        assert_eq!(frame(RIGHT[0], false), Ok((1, vec![3, 4, 0xFF, 0xFF, 0xFC, 0xE0], false)));
        assert_eq!(wrap(1, &[3, 5, 0x30, 0, 2]), RIGHT[2].as_bytes());
        assert_eq!(wrap(0x19, &[3, 5, 0x30, 0, 2]), RIGHT[3].as_bytes());
        for text in RIGHT {
            assert!(matches!(frame(text, true), Ok((_, _, false))), "{text}: right, so nothing is questionable");
        }
    }

    #[test]
    fn the_quirk_is_refused_unless_granted_and_then_marked() {
        for text in QUIRKY {
            assert!(matches!(frame(text, false), Err(Look::Wrong(_))), "{text}");
            assert!(matches!(frame(text, true), Ok((0x19, _, true))), "{text}");
        }
        // Nothing else passes for it: another difference, another length, another function.
        for text in [":190304FFFFFCE003\r\n", ":190304FFFFFCE001\r\n", ":190302FFFFE0\r\n", ":190404FFFFFCE001\r\n"] {
            assert!(matches!(frame(text, true), Err(Look::Wrong(_))), "{text}");
        }
    }

    #[test]
    fn a_colon_begins_anew_and_noise_before_it_is_counted() {
        let joined = format!(":0103\0{}rest", RIGHT[0]);
        let Look::Frame { taken, noise, .. } = look(joined.as_bytes(), false) else { panic!("no frame") };
        assert_eq!((noise, &joined[taken..]), (6, "rest"));
        for wrong in ["\r\n", "no colon\r\n", ":\r\n", ":01\r\n", ":0G03\r\n", ":010\r\n", ":010304FFFFFCE01E\n"] {
            assert!(matches!(frame(wrong, true), Err(Look::Wrong(_))), "{wrong:?}");
        }
        assert!(matches!(look(&vec![b'0'; 2 * FRAME_CHARS_MAX + 1], false), Look::Wrong(_)), "no end: no more is taken in");
    }

    #[test]
    fn every_truncation_waits_for_more() {
        for text in RIGHT.iter().chain(&QUIRKY) {
            for n in 0..text.len() {
                assert_eq!(look(&text.as_bytes()[..n], true), Look::More, "{text} cut to {n}");
            }
        }
    }

    /// A damaged frame is refused, or is one that its own checksum cannot tell from a right one: then it says so byte by byte.
    #[test]
    fn mutations_are_refused_or_carry_a_right_checksum() {
        let mut dice = 0x9E37_79B9_7F4A_7C15u64;
        let mut roll = |n: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) as usize % n
        };
        let mut accepted = 0;
        for _ in 0..100_000 {
            let mut text = RIGHT[roll(RIGHT.len())].as_bytes().to_vec();
            for _ in 0..1 + roll(3) {
                let at = roll(text.len());
                match roll(4) {
                    0 => text[at] ^= 1 << roll(8),
                    1 if text.len() > 1 => drop(text.remove(at)),
                    2 => text.insert(at, roll(256) as u8),
                    _ => text.truncate(at.max(1)),
                }
            }
            if let Look::Frame { server, pdu, questionable: false, taken, noise, .. } = look(&text, false) {
                let again = wrap(server, &pdu);
                assert!(text[noise..taken].eq_ignore_ascii_case(&again), "{:?}", String::from_utf8_lossy(&text));
                accepted += usize::from(!RIGHT.iter().any(|r| r.as_bytes() == again));
            }
        }
        assert!(accepted < 3000, "{accepted} of 100000 pass a checksum of 8 bits");
    }
}
