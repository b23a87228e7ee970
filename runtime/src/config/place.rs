//! Where in a TOML text a key stands. Pure.

use toml::de::DeTable;

/// The line of the key at this path; of the last table on the way to it that is there, where the key itself is not written.
pub fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let root = DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut at = None;
    for key in path {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else { break };
        at = Some(name.span().start);
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    at.map(|at| line_at(text, at))
}

/// The line that this byte belongs to, from 1.
pub fn line_at(text: &str, byte: usize) -> usize {
    text.as_bytes()[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_key_or_of_the_table_around_it() {
        let text = "[a]\nx = 1\n\n[a.b.c]\n\"d e\" = { f = 2 }\nport = 1\n[g]\nport = 2\n";
        for (path, line) in [
            (&["a"][..], Some(1)),
            (&["a", "x"], Some(2)),
            (&["a", "b", "c", "d e", "f"], Some(5)),
            (&["a", "b", "c", "port"], Some(6)),
            (&["g", "port"], Some(8)),
            (&["g", "none"], Some(7)),
            (&["a", "x", "deeper"], Some(2)),
            (&["none"], None),
            (&[], None),
        ] {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
        assert_eq!(line_of("[broken", &["broken"]), None);
    }
}
