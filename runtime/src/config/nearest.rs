//! Which known word somebody meant: edit distance, with neighbours swapped counted as one slip. Pure.

/// Longer words are no slip of the pen, and the table below grows with their product.
const WORD_CHARS_MAX: usize = 64;

/// The known word that is closest to this one, if it is close enough to be a slip: two letters in five, at least one.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.chars().count();
    if letters < 2 {
        return None; // one letter is a slip for every other
    }
    let slips_max = |known: &str| (letters.max(known.chars().count()) * 2 / 5).max(1);
    let close = known.into_iter().filter_map(|k| Some((distance(word, k).filter(|d| *d <= slips_max(k))?, k)));
    close.min_by_key(|(distance, _)| *distance).map(|(_, k)| k)
}

/// Letters to add, take out, change or swap with their neighbour. `None`: one of them is too long to be compared.
fn distance(a: &str, b: &str) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > WORD_CHARS_MAX {
        return None;
    }
    // rows of the table of all prefixes: two back, one back, this one
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["host", "port", "ca_file", "keep_alive_s", "mac_key_file", "window_bytes", "window_messages"];
        for (word, meant) in [
            ("prot", Some("port")),
            ("pot", Some("port")),
            ("ports", Some("port")),
            ("cafile", Some("ca_file")),
            ("keepalive", Some("keep_alive_s")),
            ("window_byte", Some("window_bytes")),
            ("", None),
            ("colour", None),
            ("xyz", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest("linx", ["name", "links", "limits"]), Some("links"));
        assert_eq!(nearest("host", ["port", "post"]), Some("post"));
        assert_eq!(nearest("a", []), None);
        assert_eq!(nearest(&"x".repeat(1000), ["x"]), None);
    }

    #[test]
    fn distances_are_counted_in_slips() {
        for (a, b, slips) in [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("kitten", "sitting", 3), ("ä", "a", 1), ("abcd", "abcd", 0)] {
            assert_eq!((distance(a, b), distance(b, a)), (Some(slips), Some(slips)), "{a} {b}");
        }
    }
}
