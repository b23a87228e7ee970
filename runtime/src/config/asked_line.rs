//! What a package asks of one link, as a line that a person can paste into gateway.toml. Pure.

use super::Link;

/// What is asked of one link, on one line, as it was read: whatever else its maker wrote there is no part of an advice of ours.
pub fn asked_line(link: Link, grant: &str) -> Option<String> {
    let read: toml::Table = grant.parse().ok()?;
    Some(format!("{link} = {}", inline(read.get(link.name())?)?))
}

/// As one writes it behind a key. None: it holds what no grant has.
fn inline(value: &toml::Value) -> Option<String> {
    use toml::Value as V;
    let text = |text: &str| (!text.contains(|c: char| c == '"' || c == '\\' || c.is_control())).then(|| format!("\"{text}\""));
    let is_bare = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    Some(match value {
        V::String(it) => text(it)?,
        V::Integer(it) => it.to_string(),
        V::Boolean(it) => it.to_string(),
        V::Array(all) => format!("[{}]", all.iter().map(inline).collect::<Option<Vec<_>>>()?.join(", ")),
        V::Table(all) => {
            let pair = |(key, value): (&String, &V)| {
                let key = if is_bare(key) { key.clone() } else { text(key)? };
                Some(format!("{key} = {}", inline(value)?))
            };
            // whom it is about, and then what
            let mut all: Vec<_> = all.iter().collect();
            all.sort_by_key(|(_, value)| matches!(value, V::Array(_) | V::Table(_)));
            format!("{{ {} }}", all.into_iter().map(pair).collect::<Option<Vec<_>>>()?.join(", "))
        }
        V::Float(_) | V::Datetime(_) => return None,
    })
}
