//! Text from a plugin or a device, made fit to show to a person: no control characters, no escape sequences, no end without bound.

use std::fmt::Write;

/// `text` with everything that a terminal or a log reader could take for an instruction written out, and cut at `bytes_max`.
pub fn printable(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for (at, c) in text.char_indices() {
        let before = out.len();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if hidden(c) => write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes everything"),
            c => out.push(c),
        }
        if out.len() > bytes_max {
            out.truncate(before);
            write!(out, " [{} bytes more]", text.len() - at).expect("a String takes everything");
            break;
        }
    }
    out
}

/// As above, on one line, with each run of what looks like nothing as one space: nobody paints a line of their own into a screen of ours.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let words: Vec<&str> = text.split(blank).filter(|word| !word.is_empty()).collect();
    printable(&words.join(" "), bytes_max)
}

/// White space, and letters that are drawn as if they were: fillers of Hangul, and the empty pattern of Braille.
fn blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}')
}

/// Control characters, and those that change the order or the presence of what is read.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{one_line, printable};

    #[test]
    fn an_escape_sequence_is_written_out() {
        assert_eq!(printable("\u{1b}[2Jgone\r\n\u{9b}31m", 100), "\\u{1b}[2Jgone\\r\\n\\u{9b}31m");
        assert_eq!(printable("a\u{202e}b", 100), "a\\u{202e}b");
        assert_eq!(printable("Grüße µV", 100), "Grüße µV");
    }

    #[test]
    fn of_white_space_one_space_is_left() {
        assert_eq!(one_line(" \n\t a \u{a0}\u{2003}\u{2800}\u{3164}\u{2028} b\r\n", 100), "a b");
        assert_eq!(one_line("\u{1b}[2J  x\u{200b}", 100), "\\u{1b}[2J x\\u{200b}");
        assert_eq!(one_line(&"x ".repeat(99), 9), "x x x x x [188 bytes more]");
        assert_eq!(one_line("\n \n", 100), "");
    }

    #[test]
    fn a_long_text_is_cut_on_a_character_and_says_so() {
        assert_eq!(printable("äöü", 4), "äö [2 bytes more]");
        assert_eq!(printable("\n\n", 3), "\\n [1 bytes more]");
        for max in 0..12 {
            assert!(printable("\u{1b}äö\u{1b}x", max).len() <= max + " [99 bytes more]".len());
        }
    }
}
