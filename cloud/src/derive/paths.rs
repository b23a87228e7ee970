//! Where a line goes: one file a stream and hour, named so that no name that a device or a vendor chose leads anywhere else. Pure.

/// Of a name in a path, escapes included: with a number and an ending it stays under the 255 bytes of any file system.
const NAME_BYTES_MAX: usize = 160;
/// The folder of an instance's alerts; a channel cannot have this name.
pub const ALERTS: &str = "alerts";
/// The folder of what its device sent, byte for byte; a channel cannot have this name either.
pub const RAW: &str = "raw";
pub const GAPS: &str = "gaps.jsonl";
pub const STORE_LOST: &str = "store-lost.jsonl";
pub const RECORDS: &str = "records.jsonl";

/// Letters, digits, `-` and `_` stay; every other byte becomes `%XX`. A long name ends in a fingerprint of the whole.
pub fn name(text: &str) -> String {
    let escaped: String = text.bytes().map(escape).collect();
    match escaped.len() {
        0 => "%".to_owned(),
        1..=NAME_BYTES_MAX => escaped,
        _ => format!("{}~{:016x}", &escaped[..NAME_BYTES_MAX - 17], fingerprint(text)),
    }
}

pub fn channel(text: &str) -> String {
    match text {
        ALERTS => "%61lerts".to_owned(),
        RAW => "%72aw".to_owned(),
        _ => name(text),
    }
}

fn escape(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// FNV-1a: tells apart names that agree in their first hundred letters; nothing depends on it being hard to forge.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// `gateway/instance/channel/2026-01-31T23.jsonl`
pub fn stream(gateway: &str, instance: &str, folder: &str, wall_ns: Option<i64>) -> String {
    let file = wall_ns.map_or_else(|| "unknown-time".to_owned(), crate::time::hour);
    format!("{gateway}/{}/{folder}/{file}.jsonl", name(instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        assert_eq!(name("bed-1_ECG"), "bed-1_ECG");
        assert_eq!(name("../../etc/passwd"), "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd");
        assert_eq!(name("gaps.jsonl"), "gaps%2Ejsonl");
        assert_eq!(name("a\0b µ"), "a%00b%20%C2%B5");
        assert_eq!(name(""), "%");
        assert_ne!(name("%2E"), name("."));
        assert!(channel("alerts") != ALERTS && channel("raw") != RAW);
        let (long, other) = ("µ".repeat(200), format!("{}x", "µ".repeat(199)));
        assert!(name(&long).len() <= NAME_BYTES_MAX && name(&long) != name(&other));
        assert_eq!(stream("ward-1", "bed-1", "hr", Some(0)), "ward-1/bed-1/hr/1970-01-01T00.jsonl");
        assert_eq!(stream("ward-1", "bed-1", "hr", None), "ward-1/bed-1/hr/unknown-time.jsonl");
    }
}
