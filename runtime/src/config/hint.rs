//! What the TOML reader says of a file, in words for the person who wrote it: what is wrong, and what to write instead. Pure.

use super::nearest::nearest;

/// What is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub what: String,
    pub remedy: String,
}

/// `line` is the line of `text` that the reader points at; `example` is a file of the same form that shows every key.
pub fn hint(message: &str, text: &str, line: Option<usize>, example: &str) -> Hint {
    let above: Vec<&str> = text.lines().take(line.unwrap_or(0)).collect();
    let table = above.iter().rev().find_map(|l| heading(l)).unwrap_or_default();
    let line = above.last().copied().unwrap_or_default();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let culprit = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    if message.starts_with("unknown field") {
        return Hint { what: format!("nothing here is called \"{culprit}\""), remedy: instead(culprit, &known, table, example) };
    }
    if message.starts_with("unknown variant") {
        let remedy = match nearest(culprit, known.iter().copied()) {
            Some(meant) => format!("write \"{meant}\""),
            None => format!("write one of {}", known.join(", ")),
        };
        return Hint { what: format!("\"{culprit}\" is not known here"), remedy };
    }
    if message.starts_with("missing field") {
        let add = format!("add {}", shown(culprit, table, example));
        let remedy = misspelt(table, text).map_or_else(|| add.clone(), |meant| format!("{meant}; or {add}"));
        return Hint { what: format!("\"{culprit}\" is missing"), remedy };
    }
    // a line that holds a table may hold the grants of somebody: an example in its place would take them away
    let inline = line.split_once('=').is_some_and(|(_, value)| value.trim_start().starts_with('{'));
    let key = key_of(line).filter(|key| !inline && line_showing(key, table, example).is_some());
    let remedy = match key {
        None if message.starts_with("invalid value: integer") => match (culprit, most(message)) {
            (value, Some(most)) => format!("write 0 to {most} in the place of {value}"),
            _ => "correct that line".to_owned(),
        },
        Some(key) if message.starts_with("invalid ") => format!("write it like: {}", shown(key, table, example)),
        _ if message.starts_with("duplicate key") => "it is set twice: take one of them out".to_owned(),
        _ => "correct that line".to_owned(),
    };
    Hint { what: message.to_owned(), remedy }
}

/// What a whole number of the expected kind may be.
fn most(message: &str) -> Option<u64> {
    let (_, kind) = message.rsplit_once("expected ")?;
    [("u8", u8::MAX.into()), ("u16", u16::MAX.into()), ("u32", u32::MAX.into())]
        .into_iter()
        .find(|(name, _)| *name == kind.trim())
        .map(|(_, most)| most)
}

/// Where a table of instances lacks what another one has: that one, or the head of this one, may be what was meant.
fn misspelt(table: &str, text: &str) -> Option<String> {
    const INSTANCE: &str = "instance";
    let name = |head: &'_ str| head.split('.').nth(1).map(str::to_owned);
    let mine = table.strip_prefix("instance.").and_then(|_| name(table))?;
    let heads = || text.lines().filter_map(heading);
    let other = |head: &&str| head.split('.').next() != Some(INSTANCE) && name(head).as_ref() == Some(&mine);
    if let Some(head) = heads().find(|head| other(head) && nearest(head.split('.').next().unwrap_or_default(), [INSTANCE]).is_some()) {
        let (first, rest) = head.split_once('.').unwrap_or((head, ""));
        return Some(format!("write [{INSTANCE}.{rest}] where [{first}.{rest}] stands"));
    }
    let others: Vec<String> =
        heads().filter(|head| head.starts_with("instance.")).filter_map(name).filter(|other| *other != mine).collect();
    nearest(&mine, others.iter().map(String::as_str)).map(|meant| format!("write [{}]", table.replacen(&mine, meant, 1)))
}

/// For a key that is not known where it stands, in a table of the person's own.
fn instead(key: &str, known: &[&str], mine: &str, example: &str) -> String {
    let near = nearest(key, known.iter().copied());
    if let Some(table) = table_of(key, example) {
        // the example's instance has another name than the one that is meant
        let table = match (table.strip_prefix("[instance.").and_then(|rest| rest.split_once('.')), mine.strip_prefix("instance.")) {
            (Some((_, rest)), Some(mine)) => format!("[instance.{}.{rest}", mine.split('.').next().unwrap_or_default()),
            _ => table,
        };
        let or = near.map_or("take it out".to_owned(), |meant| format!("write \"{meant}\""));
        return format!("move it below {table}, or {or}");
    }
    if let Some(meant) = near {
        return format!("write \"{meant}\"");
    }
    match known {
        [] => "take it out: nothing can be set here".to_owned(),
        known => format!("take it out; what can be set here: {}", known.join(", ")),
    }
}

/// A line of the example that sets this key of a table, and for a table its head with what it needs.
pub fn shown(key: &str, table: &str, example: &str) -> String {
    if let Some(line) = line_showing(key, table, example) {
        return line.to_owned();
    }
    if key == "grants" {
        return "grants = {}".to_owned(); // nothing, until somebody writes what
    }
    let mut table = example.lines().map(bare).skip_while(|l| heading(l).is_none_or(|head| head.split('.').next() != Some(key)));
    match table.next() {
        Some(head) => {
            let needed = table.take_while(|l| heading(l).is_none()).filter(|l| key_of(l).is_some());
            std::iter::once(head).chain(needed).collect::<Vec<_>>().join("\n    ")
        }
        None => format!("{key} = ..."),
    }
}

/// In a table of the same kind if the example has it there; what must be set before what has a default.
fn line_showing<'a>(key: &str, table: &str, example: &'a str) -> Option<&'a str> {
    let ends = |head: &str| (head.split('.').next().map(str::to_owned), head.rsplit('.').next().map(str::to_owned));
    let mut head = "";
    let mut found: Vec<(bool, bool, &str)> = Vec::new();
    for line in example.lines() {
        head = heading(line).unwrap_or(head);
        let default = line.strip_prefix("# ");
        if key_of(default.unwrap_or(line)) == Some(key) {
            found.push((ends(head) != ends(table), default.is_some(), bare(default.unwrap_or(line))));
        }
    }
    found.into_iter().min_by_key(|(elsewhere, default, _)| (*elsewhere, *default)).map(|(.., line)| line)
}

/// "[uplink]", if the example has the key there.
fn table_of(key: &str, example: &str) -> Option<String> {
    let mut table = None;
    for line in example.lines() {
        table = heading(line).or(table);
        if key_of(line.trim_start_matches("# ")) == Some(key) {
            return table.map(|head| format!("[{head}]"));
        }
    }
    None
}

fn heading(line: &str) -> Option<&str> {
    line.strip_prefix('[')?.split_once(']').map(|(head, _)| head)
}

fn key_of(line: &str) -> Option<&str> {
    let key = line.split_once('=')?.0.trim();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (!key.is_empty() && key.bytes().all(plain)).then_some(key)
}

/// Without the comment behind it.
fn bare(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "[gateway]\nid = \"ward-3\"   # 1 to 32\n\n[uplink]\nhost = \"b\"   # x\n# port = 8883\n# progress_s = 20   # long\n\
                           [instance.b]\ngrants = {}\n[instance.a.grants.serial]\nport = \"/dev/x\"\n";

    #[test]
    fn what_was_meant_is_named_where_a_head_is_misspelt() {
        let missing = |text: &str| hint("missing field `package`", text, Some(text.lines().count()), EXAMPLE).remedy;
        let text = "[instance.chiller]\npackage = \"x\"\n[instance.chiler.grants.modbus]\n";
        assert_eq!(missing(text), "write [instance.chiller.grants.modbus]; or add package = ...");
        let text = "[instances.chiller]\npackage = \"x\"\n[instance.chiller.grants.modbus]\n";
        assert_eq!(missing(text), "write [instance.chiller] where [instances.chiller] stands; or add package = ...");
        let unknown = "unknown field `port`, expected `part` or `state`";
        let remedy = hint(unknown, "[instance.pump.grants.modbus]\nport = 1\n", Some(2), &EXAMPLE.replace("# port = 8883\n", "")).remedy;
        assert_eq!(remedy, "move it below [instance.pump.grants.serial], or write \"part\"");
    }

    #[test]
    fn every_kind_of_mistake_has_its_remedy() {
        for (message, line, what, remedy) in [
            ("unknown field `prot`, expected one of `host`, `port`", "prot = 1", "nothing here is called \"prot\"", "write \"port\""),
            ("unknown field `bos`, expected `bus` or `instance`", "[bos.x]", "nothing here is called \"bos\"", "write \"bus\""),
            (
                "unknown field `port`, expected `id` or `state`",
                "port = 1",
                "nothing here is called \"port\"",
                "move it below [uplink], or take it out",
            ),
            (
                "unknown field `colour`, expected `id` or `state`",
                "colour = 1",
                "nothing here is called \"colour\"",
                "take it out; what can be set here: id, state",
            ),
            (
                "unknown field `colour`, there are no fields",
                "colour = 1",
                "nothing here is called \"colour\"",
                "take it out: nothing can be set here",
            ),
            ("unknown variant `modbuss`, expected one of `modbus`, `serial`", "", "\"modbuss\" is not known here", "write \"modbus\""),
            ("unknown variant `usb`, expected `modbus` or `ble`", "", "\"usb\" is not known here", "write one of modbus, ble"),
            ("missing field `id`", "[gateway]", "\"id\" is missing", "add id = \"ward-3\""),
            ("missing field `port`", "[instance.b.grants.serial]", "\"port\" is missing", "add port = \"/dev/x\""),
            ("invalid value: integer `88830`", "[uplink]\nport = 88830", "invalid value: integer `88830`", "write it like: port = 8883"),
            ("missing field `gateway`", "", "\"gateway\" is missing", "add [gateway]\n    id = \"ward-3\""),
            ("missing field `function`", "", "\"function\" is missing", "add function = ..."),
            (
                "invalid type: string \"soon\", expected u64",
                "progress_s = \"soon\"",
                "invalid type: string \"soon\", expected u64",
                "write it like: progress_s = 20",
            ),
            (
                "invalid value: integer `300`, expected u8",
                "grants = { serial = 1, servers = [1, 300] }",
                "invalid value: integer `300`, expected u8",
                "write 0 to 255 in the place of 300",
            ),
            (
                "invalid type: string \"x\", expected u8",
                "grants = { serial = 1, servers = [\"x\"] }",
                "invalid type: string \"x\", expected u8",
                "correct that line",
            ),
            ("duplicate key", "id = 1", "duplicate key", "it is set twice: take one of them out"),
            ("string values must be quoted", "id = x", "string values must be quoted", "correct that line"),
        ] {
            let text = format!("[x]\n{line}\n");
            assert_eq!(
                hint(message, &text, Some(1 + line.lines().count().max(1)), EXAMPLE),
                Hint { what: what.into(), remedy: remedy.into() },
                "{message}"
            );
        }
    }
}
