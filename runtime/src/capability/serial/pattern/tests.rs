//! Tests of the patterns.

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

#[test]
fn items_mean_what_the_syntax_says() {
    for (text, matches, not) in [
        ("1B 24 33 46 0D", &b"\x1b\x24\x33\x46\x0d"[..], &b"\x1b\x24\x33\x46\x0a"[..]),
        ("1b2433", b"\x1b\x24\x33", b"\x1b\x24\x34"),
        ("02 ?? 03", b"\x02\xff\x03", b"\x02\x00\x04"),
        ("02 30-39 03", b"\x02\x35\x03", b"\x02\x3a\x03"),
        ("02 30-30 03", b"\x02\x30\x03", b"\x02\x2f\x03"),
        (r#""!INF|4961\r""#, b"!INF|4961\r", b"!INF|4962\r"),
        (r#"02"a b"03"#, b"\x02a b\x03", b"\x02ab\x03"),
        (r#""\r\n\t\0\\\"\x1B""#, b"\r\n\t\0\\\"\x1b", b"\r\n\t\0\\\"\x1c"),
    ] {
        assert!(pattern(text).matches(matches), "{text}");
        assert!(!pattern(text).matches(not), "{text}");
    }
}

/// The heart of the grant: a pump's status poll is allowed, its start command is not, however it is dressed up.
#[test]
fn frames_joined_split_or_padded_match_nothing() {
    let poll: &[u8] = b"!INF|4961\r";
    let start: &[u8] = b"!INF_START|38F3\r";
    let numbered: &[u8] = b"\x02N42\x03";
    let patterns = [pattern(r#""!INF|4961\r""#), pattern("02 \"N\" 30-39 30-39 03"), pattern("02 ?? ?? 03 04")];
    let any = |frame: &[u8]| patterns.iter().any(|p| p.matches(frame));
    assert!(any(poll) && any(numbered) && any(b"\x02\x03\x02\x03\x04"));
    let frames = [poll, start, numbered, b"\x02\x03\x02\x03\x04"];
    for a in frames {
        for b in frames {
            assert!(!any(&[a, b].concat()), "joined");
            assert!(!any(&[a, b"\n", b].concat()), "joined with something between");
        }
        for cut in 0..a.len() {
            assert!(!any(&a[..cut]), "split before {cut}");
            assert!(cut == 0 || !any(&a[cut..]), "split after {cut}");
        }
        for pad in 0..=255u8 {
            assert!(!any(&[a, &[pad]].concat()) && !any(&[&[pad], a].concat()), "padded with {pad}");
        }
    }
    assert!(!any(start));
}

/// One byte changed anywhere in a frame of literals makes it another frame.
#[test]
fn no_byte_of_a_literal_frame_may_differ() {
    let p = pattern(r#""!INF|4961\r""#);
    let frame = b"!INF|4961\r";
    for at in 0..frame.len() {
        for bit in 0..8 {
            let mut other = *frame;
            other[at] ^= 1 << bit;
            assert!(!p.matches(&other));
        }
    }
}

#[test]
fn the_pattern_of_a_frame_matches_that_frame_and_no_other() {
    let frames: [&[u8]; 7] = [b"!INF|4961\r", b"\x1b$3F\r", b"say \"hi\" \\ there\r\n", b"it's", b"\x00\xff", b"?? 30-39", b" "];
    for frame in frames {
        let p = pattern(&Pattern::of(frame));
        assert!(p.matches(frame), "{p}");
        assert!(p.bytes.iter().all(|b| b.start() == b.end()), "{p}");
        assert!(!p.to_string().contains('\''), "it is printed inside single quotes: {p}");
    }
}

#[test]
fn what_is_no_pattern_is_named_with_its_place() {
    for (text, at, says) in [
        ("1B 2", 5, "two hexadecimal digits"),
        ("1B xx", 4, "two hexadecimal digits"),
        ("1B ?", 5, "single ?"),
        ("\"abc", 5, "closing quote"),
        ("\"a\\q\"", 5, "escape"),
        ("\"a\\x1g\"", 6, "two hexadecimal digits"),
        ("\"ä\"", 3, "ASCII"),
        ("39-30", 6, "ends before"),
        ("(01)*", 1, "two hexadecimal digits"),
        ("01{3}", 3, "two hexadecimal digits"),
    ] {
        match Pattern::parse(text) {
            Err(PatternError::Syntax { at: found, what, .. }) => assert!(found == at && what.contains(says), "{text}: {what} at {found}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert!(matches!(Pattern::parse("  "), Err(PatternError::Empty { .. })));
    assert!(matches!(Pattern::parse("\"\""), Err(PatternError::Empty { .. })));
    assert!(matches!(Pattern::parse("?? ?? 00-FF"), Err(PatternError::Anything { .. })));
    assert!(matches!(Pattern::parse(&"00".repeat(FRAME_BYTES_MAX + 1)), Err(PatternError::Long { .. })));
    assert!(Pattern::parse(&"00".repeat(FRAME_BYTES_MAX)).is_ok());
}

#[test]
fn every_truncation_and_many_mutations_are_read_or_refused() {
    let text = r#"02 "N\x41\"" 30-39 ?? FF"#;
    for n in 0..text.len() {
        let _ = Pattern::parse(&text[..n]);
    }
    let mut x = 0x2545_F491_4F6C_DD1Du64;
    for _ in 0..20_000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..3 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = (x >> 8) as usize % bytes.len();
            bytes[at] = (x as u8) & 0x7F;
        }
        let mutated = String::from_utf8(bytes).unwrap();
        if let Ok(p) = Pattern::parse(&mutated) {
            assert!(!p.matches(&[]) && !p.matches(&vec![0; p.bytes.len() + 1]));
        }
    }
}
