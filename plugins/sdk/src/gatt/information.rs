//! Device Information (180A): who the device says it is, as the facts that `identify` takes.

use super::sig;
use crate::{Fact, fact};

/// In the order in which they are read, with the names that docs lists.
const STRINGS: [(u128, &str); 6] = [
    (SERIAL, "serial"),
    (sig(0x2a29), "manufacturer"),
    (sig(0x2a24), "model"),
    (sig(0x2a26), "firmware"),
    (sig(0x2a27), "hardware"),
    (sig(0x2a28), "software"),
];
pub const SERIAL: u128 = sig(0x2a25);
pub const SYSTEM_ID: u128 = sig(0x2a23);
const UDI: u128 = sig(0x2bff);
const TEXT_BYTES_MAX: usize = 128; // a name that a person reads; an attribute could hold 512

pub fn all() -> impl Iterator<Item = u128> {
    STRINGS.iter().map(|(uuid, _)| *uuid).chain([SYSTEM_ID, UDI])
}

/// `None`: not one of them, or empty.
pub fn read(from: u128, bytes: &[u8]) -> Option<Fact> {
    let named = STRINGS.iter().find(|(uuid, _)| *uuid == from).map(|(_, name)| *name);
    let (name, value) = match (named, from) {
        (Some(name), _) => (name, text(bytes)),
        // eight octets, least significant first: written as an EUI-64 is
        (None, SYSTEM_ID) => ("system-id", bytes.iter().rev().map(|b| format!("{b:02x}")).collect()),
        // flags, then texts that each end with 0; the label comes first when its flag is set
        (None, UDI) if bytes.first().is_some_and(|flags| flags & 1 != 0) => ("udi", text(&bytes[1..])),
        _ => return None,
    };
    (!value.is_empty()).then(|| fact(name, value))
}

/// Up to the first 0, as some devices pad; what is no text is shown as such.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|b| *b == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    text.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_trimmed_and_numbers_are_written_as_people_read_them() {
        assert_eq!(read(sig(0x2a25), b" SN-17 \0\0rest"), Some(fact("serial", "SN-17")));
        assert_eq!(read(sig(0x2a29), b"\xff\x01Maker"), Some(fact("manufacturer", "\u{fffd}\u{fffd}Maker")));
        assert_eq!(read(sig(0x2a24), b"\0"), None);
        assert_eq!(read(SYSTEM_ID, &[1, 2, 3, 0xfe, 0xff, 4, 5, 6]), Some(fact("system-id", "060504fffe030201")));
        assert_eq!(read(UDI, b"\x03(01)123\0(01)\0"), Some(fact("udi", "(01)123")));
        assert_eq!((read(UDI, b"\x02(01)\0"), read(UDI, b""), read(sig(0x2a37), b"x")), (None, None, None));
    }
}
