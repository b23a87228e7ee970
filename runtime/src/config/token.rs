//! What names a bed or a device: an opaque token, in gateway.toml as in the words of a person who binds.

/// A label on a bed or a device has a dozen characters; it stands in each record of a binding and in a column of a table.
pub const TOKEN_BYTES_MAX: usize = 64;

/// Why this names no bed and no device.
pub fn token(text: &str) -> Result<(), String> {
    let shown = |c: char| c == ' ' || c.is_alphanumeric() || c.is_ascii_punctuation();
    match text.len() {
        0 => Err("is empty".to_owned()),
        n if n > TOKEN_BYTES_MAX => Err(format!("has {n} bytes, {TOKEN_BYTES_MAX} are the most")),
        _ if text.trim() != text => Err("begins or ends with a space".to_owned()),
        _ => match text.chars().find(|c| !shown(*c)) {
            Some(c) => Err(format!("holds the character U+{:04X}, which is not shown as people write it", u32::from(c))),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_on_a_label_is_a_token_and_nothing_else() {
        for good in ["b", "bed-1", "450C 4711", "SN:00/17#3", "Zimmer-Süd", &"x".repeat(TOKEN_BYTES_MAX)] {
            assert_eq!(token(good), Ok(()), "{good}");
        }
        let (long, bad) = ("x".repeat(5000), ["a\u{1b}[2J", "a\nb", "a\u{202e}b", "a\u{200b}", "a\u{fffd}"]);
        assert_eq!(token(""), Err("is empty".to_owned()));
        assert_eq!(token(&long), Err("has 5000 bytes, 64 are the most".to_owned()));
        for bad in [" a", "a "].iter().chain(&bad) {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }
}
