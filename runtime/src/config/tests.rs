//! Tests of gateway.toml: every setting is shown, every mistake is named with its line, and every remedy works when it is followed.

use super::*;

const FILE: &str = "gateway.toml";

/// The lines that show a default, made real.
fn with_defaults_written() -> String {
    let shown = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let key = rest.split_once(" = ")?.0;
        let real = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            && !line.contains("none by default")
            && !rest.starts_with("password_file");
        real.then(|| rest.to_owned())
    };
    EXAMPLE.lines().map(|l| shown(l).unwrap_or_else(|| l.to_owned()) + "\n").collect()
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::read(Path::new(FILE), text.to_owned())
}

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_example_shows_every_setting_and_its_true_default() {
    let without_source = |text: &str| Config { source: Source::default(), ..parse(Path::new(FILE), text).expect("it can be read") };
    good(EXAMPLE);
    let (short, long) = (without_source(EXAMPLE), without_source(&with_defaults_written()));
    // `settings` of the monitor is shown as {} and the rest must agree to the letter
    assert_eq!(format!("{short:#?}"), format!("{long:#?}"));
    let names = format!("{short:#?}");
    let names = names.lines().filter_map(|l| l.trim().split_once(": ")).map(|(name, _)| name.trim_matches('"'));
    let no_key = ["buses", "instances", "source", "at"];
    for name in names.filter(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !no_key.contains(n)) {
        assert!(EXAMPLE.contains(name), "runtime/gateway.toml does not show \"{name}\"");
    }
}

/// Follows a remedy as a person would: in the line that was named, and nothing else.
fn follow(text: &str, line: usize, remedy: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let quoted = |s: &str| s.split('"').nth(1).map(str::to_owned);
    let first = remedy.split(", or ").next().unwrap_or_default();
    if let Some(rest) = first.strip_prefix("write it like: ").or_else(|| first.strip_prefix("write ").filter(|r| !r.starts_with('"'))) {
        lines[line - 1] = rest.trim_end_matches(" or more").trim_end_matches(" or less").to_owned();
    } else if let Some(word) = first.strip_prefix("write ").and_then(quoted) {
        let old = lines[line - 1].clone();
        let key = old.trim_start_matches('[').split(['=', '.', ']', ' ']).next().unwrap_or_default();
        lines[line - 1] = old.replacen(key, &word, 1);
    } else if let Some(add) = first.strip_prefix("add [") {
        lines.push(format!("[{add}"));
    } else if let Some(add) = first.strip_prefix("add ") {
        lines.insert(line, add.to_owned());
    } else if let Some(table) = first.strip_prefix("move it below ") {
        let moved = lines.remove(line - 1);
        let at = lines.iter().position(|l| l.starts_with(table)).expect("the table is there");
        lines.insert(at + 1, moved);
    } else if first.starts_with("take it out") {
        lines.remove(line - 1);
    } else {
        panic!("nobody knows how to follow this: {remedy}");
    }
    lines.join("\n") + "\n"
}

/// What was written, what somebody wrote instead, what is said, what is advised: and the advice works.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("host = ", "hots = ", "nothing here is called \"hots\"", "write \"host\""),
    ("baud = 9600", "bawd = 9600", "nothing here is called \"bawd\"", "write \"baud\""),
    ("[bus.plant]", "[bos.plant]", "nothing here is called \"bos\"", "write \"bus\""),
    (
        "id = \"ward-3-east\"",
        "id = \"ward-3-east\"\nusername = \"x\"",
        "nothing here is called \"username\"",
        "move it below [uplink], or take it out",
    ),
    (
        "timeout_ms = 1000",
        "colour = 1000",
        "nothing here is called \"colour\"",
        "take it out; what can be set here: tcp, serial, protocol, baud, framing, echo, gap_us, timeout_ms, pause_ms, answer_ms",
    ),
    ("id = \"ward-3-east\"", "", "\"id\" is missing", "add id = \"ward-3-east\""),
    ("host = \"broker.hospital.example\"", "", "\"host\" is missing", "add host = \"broker.hospital.example\""),
    ("ca_file = \"/etc/wardgate/ca.pem\"", "", "\"ca_file\" is missing", "add ca_file = \"/etc/wardgate/ca.pem\""),
    ("servers = [1]", "", "\"servers\" is missing", "add servers = [1]"),
    ("id = \"ward-3-east\"", "id = 3", "invalid type: integer `3`, expected a string", "write it like: id = \"ward-3-east\""),
    ("progress_s = 20", "progress_s = \"soon\"", "invalid type: string \"soon\", expected u64", "write it like: progress_s = 20"),
    ("port = 8883", "port = 88830", "invalid value: integer `88830`, expected u16", "write it like: port = 8883"),
    ("id = \"ward-3-east\"", "id = \"Ward 3\"", "gateway.id: takes 1 to 32 of the characters a-z, 0-9 and -", "write id = \"ward-3\""),
    ("keep_alive_s = 30", "keep_alive_s = 1", "uplink.keep_alive_s: 1 lies outside 5 to 3600", "write keep_alive_s = 5 or more"),
    ("commit_ms = 1000", "commit_ms = 90000", "store.commit_ms: 90000 lies outside 100 to 60000", "write commit_ms = 60000 or less"),
    (
        "host = \"broker.hospital.example\"",
        "host = \"mqtts://broker:8883\"",
        "uplink.host: takes a name or an IPv4 address and nothing around it; the port has a line of its own",
        "write host = \"broker\"",
    ),
    (
        "topic = \"wardgate/1\"",
        "topic = \"a/#/b\"",
        "uplink.topic: takes plain levels of 64 bytes at most: no + and #, no empty level, no $ in front",
        "write topic = \"wardgate/1\"",
    ),
    (
        "topic = \"wardgate/1\"",
        "topic = \"a\\u0000b\"",
        "uplink.topic: takes plain levels of 64 bytes at most: no + and #, no empty level, no $ in front",
        "write topic = \"wardgate/1\"",
    ),
    (
        "[metrics]",
        "[metrics]\nlisten = \"0.0.0.0:9464\"",
        "metrics.listen: is no loopback address: whoever reaches it may read (beyond_loopback = true allows that)",
        "write listen = \"127.0.0.1:9464\"",
    ),
    (
        "mac_key_file = ",
        "password_file = \"x\"\nmac_key_file = ",
        "uplink.password_file: a password needs a username",
        "add username = \"ward-3-east\"",
    ),
    (
        "bytes_max = 1073741824",
        "bytes_max = 1000",
        "store.bytes_max: 1000 lies outside 33554432 to 70368744177664",
        "write bytes_max = 33554432 or more",
    ),
    (
        "tcp = \"192.0.2.20:502\"",
        "tcp = \"192.0.2.20\"",
        "bus.plant.tcp: \"192.0.2.20\" is not host:port",
        "write tcp = \"192.0.2.20:502\"",
    ),
    (
        "bus = \"plant\"",
        "bus = \"plan\"",
        "instance.ct-chiller.grants.modbus.bus: there is no bus \"plan\"",
        "write bus = \"plant\", or add [bus.plan]\n    tcp = \"192.0.2.21:502\"",
    ),
    (
        "bus = \"plant\"",
        "bus = \"cellar\"",
        "instance.ct-chiller.grants.modbus.bus: there is no bus \"cellar\"",
        "add [bus.cellar]\n    tcp = \"192.0.2.21:502\"",
    ),
];

//= PROMISES.md#P51
#[test]
fn every_mistake_is_named_with_its_line_and_its_remedy_works() {
    let whole = with_defaults_written();
    for (right, wrong, says, advises) in MISTAKES {
        assert!(whole.contains(right), "{right}");
        let text = whole.replacen(right, wrong, 1);
        let e = read(&text).expect_err(wrong);
        assert_eq!(e.what, *says, "{wrong}");
        let line = e.line.unwrap_or_else(|| panic!("{wrong}: no line"));
        assert!(e.to_string().starts_with(&format!("gateway.toml, line {line}: ")), "{e}");
        let at = text.lines().nth(line - 1).unwrap_or_default();
        let last = wrong.lines().last().unwrap_or_default();
        let first = wrong.lines().next().unwrap_or_default();
        let named = if last.is_empty() { at.starts_with('[') } else { at.contains(last.trim_end()) || at.contains(first) };
        assert!(named, "{wrong}: line {line} is {at}");
        assert_eq!(e.remedy, *advises, "{wrong}");
        let mended = follow(&text, line, &e.remedy);
        read(&mended).unwrap_or_else(|e| panic!("{wrong}: the remedy was followed, and still: {e}"));
    }
}

#[test]
fn a_link_and_a_grant_that_are_missing_are_named_too() {
    let text = EXAMPLE.replacen("ct-chiller.grants.modbus]", "ct-chiller.grants.modbuss]", 1);
    assert_eq!(read(&text).expect_err("a slip").remedy, "write \"modbus\"");
    let none = EXAMPLE.split("[instance.bed-1-monitor.grants]").next().unwrap_or_default();
    let e = read(none).expect_err("no grants");
    assert_eq!((e.what.as_str(), e.remedy.as_str()), ("\"grants\" is missing", "add grants = {}"));
    read(&follow(none, e.line.expect("a line"), &e.remedy)).unwrap_or_else(|e| panic!("{e}"));
    let name = EXAMPLE.replace("bed-1-monitor", "\"bed 1\"");
    let e = read(&name).expect_err("a blank in a name");
    assert_eq!(e.remedy, "write [instance.bed-1]");
}

#[test]
fn a_file_that_is_not_there_names_its_neighbour() {
    let folder = std::env::temp_dir().join(format!("wardgate-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("gateway.toml"), "").expect("written");
    let e = Config::load(&folder.join("gatway.toml")).expect_err("not there");
    assert_eq!(e.remedy, format!("name {}", folder.join("gateway.toml").display()));
    std::fs::write(folder.join("ca.pem"), "x").expect("written");
    std::fs::write(folder.join("mac.key"), "0123456789abcdef").expect("written");
    let text = EXAMPLE.replace("/etc/wardgate/ca.pem", "ca.pm").replace("/etc/wardgate/mac.key", "mac.key");
    let config = Config::read(&folder.join("gateway.toml"), text).expect("good");
    let fault = Secrets::read(&config).err().expect("no certificate").to_string();
    assert!(
        fault.contains("gateway.toml, line 14: uplink.ca_file")
            && fault.contains(&format!("write ca_file = \"{}", folder.join("ca.pem").display())),
        "{fault}"
    );
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn the_slowest_link_is_the_window_within_the_shortest_patience() {
    let need = |lines: &str| good(&EXAMPLE.replacen("[uplink]", &format!("[uplink]\n{lines}"), 1)).uplink.least_kbit_s();
    assert_eq!(need(""), 27); // 65536 * 8 / 20 s = 26.2 kbit/s
    assert_eq!(need("window_bytes = 4096\nmessage_bytes = 2048"), 2); // 1.6
    assert_eq!(need("window_bytes = 4096\nmessage_bytes = 65536"), 27); // one message goes whatever the window is
    assert_eq!(need("progress_s = 60\nkeep_alive_s = 30"), 18); // 17.5: the ping waits behind the window
}

// ---------- settings of plugins

const MANIFEST: &str = "name = \"map\"\nversion = \"1.0.0\"\nlinks = []\n[channels]\n\
    [settings.map]\ndescription = \"The map\"\nrequired = true\nshipped = \"maps\"\n\
    [settings.server]\ndescription = \"Unit\"\ntype = \"integer\"\nmin = 0\nmax = 247\ndefault = 1\n\
    [settings.strict]\ndescription = \"Strict\"\ntype = \"boolean\"\n\
    [settings.unit]\ndescription = \"Unit\"\ndefault = \"\"\n";

fn shipped() -> Shipped {
    let maps = ["smc-hrs", "tsi-rpc30"].map(|name| (name.to_owned(), format!("# {name}")));
    BTreeMap::from([("maps".to_owned(), BTreeMap::from(maps))])
}

/// An instance "a" with these lines below its settings, in a folder with `maps/good.map`, `maps/large.map`, `maps/latin.map`.
fn settings(folder: &Path, lines: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let head = EXAMPLE.split("[instance.").next().unwrap_or_default();
    let text = format!("{head}[instance.a]\npackage = \"map-1.0.0\"\ngrants = {{}}\n[instance.a.settings]\n{lines}\n");
    let config = Config::read(&folder.join(FILE), text)?;
    config.settings("a", &Manifest::parse(MANIFEST).expect("good"), &shipped())
}

/// Lines of settings that are wrong, what is said, what is advised, which line becomes which when the advice is followed.
const WRONG_SETTINGS: &[(&str, &str, &str)] = &[
    ("map = \"x\"\nserver = \"2\"", "plugin map-1.0.0 takes a whole number from 0 to 247 here, not text in quotes", "write server = 2"),
    ("map = \"x\"\nserver = 248", "plugin map-1.0.0 takes a whole number from 0 to 247 here, not the number 248", "write server = 247"),
    ("map = \"x\"\nserver = true", "plugin map-1.0.0 takes a whole number from 0 to 247 here, not true", "write server = 1"),
    ("map = \"x\"\nserver = { file = \"x\" }", "plugin map-1.0.0 takes a whole number from 0 to 247 here, not a file", "write server = 1"),
    ("map = \"x\"\nstrict = \"yes\"", "plugin map-1.0.0 takes true or false here, not text in quotes", "write strict = true"),
    ("map = \"x\"\nunit = 5", "plugin map-1.0.0 takes text or { file = \"...\" } here, not the number 5", "write unit = \"5\""),
    (
        "map = \"x\"\nunit = { shipped = \"x\" }",
        "the package carries no texts for this setting",
        "give the text itself, or { file = \"...\" }",
    ),
    ("map = 7", "plugin map-1.0.0 takes text, { file = \"...\" } or { shipped = \"...\" } here, not the number 7", "write map = \"7\""),
    ("map = \"x\"\nsevrer = 2", "plugin map-1.0.0 has no such setting", "write \"server\""),
    ("map = \"x\"\ncolour = 2", "plugin map-1.0.0 has no such setting", "take it out; the plugin knows: map, server, strict, unit"),
    ("map = { shipped = \"smc-hr\" }", "the package carries no \"smc-hr\" in maps/", "write { shipped = \"smc-hrs\" }"),
    ("map = { shipped = \"dixell\" }", "the package carries no \"dixell\" in maps/", "it carries: smc-hrs, tsi-rpc30"),
    ("map = { shipped = \"../x\" }", "the package carries no \"../x\" in maps/", "it carries: smc-hrs, tsi-rpc30"),
    ("server = 2", "plugin map-1.0.0 needs \"map\": The map", "below [instance.a.settings] add map = { shipped = \"smc-hrs\" }"),
    ("map = { file = \"maps/large.map\" }", "maps/large.map is larger than 65536 bytes", "is it the right file?"),
    ("map = { file = \"maps/latin.map\" }", "maps/latin.map is not text: byte 2 is not UTF-8", "save it as UTF-8"),
    ("map = { file = \"maps/none.txt\" }", "maps/none.txt cannot be read", "put the file there"),
    ("map = { file = \"maps/goood.map\" }", "maps/goood.map cannot be read", "maps/good.map\" }"),
    ("map = { fil = \"x\" }", "nothing here is called \"fil\"", "write \"file\""),
    ("map = { file = \"x\", shipped = \"y\" }", "a setting is one thing: take out \"file\" or \"shipped\"", "correct that line"),
    ("map = 1.5", "invalid type: floating point `1.5`, expected text, a whole number, true or false", ""),
];

#[test]
fn a_setting_on_the_command_line_is_held_against_the_manifest_too() {
    let manifest = Manifest::parse(MANIFEST).expect("good");
    let said = |words: &str| setting_in_words(words, &manifest, &shipped());
    for (words, text) in [
        ("map=x holding 0 u16 = 7", "x holding 0 u16 = 7"),
        ("map={ shipped = \"tsi-rpc30\" }", "# tsi-rpc30"),
        ("server=7", "7"),
        ("strict=true", "true"),
        ("unit=5", "5"),
        ("unit=", ""),
    ] {
        assert_eq!(said(words).unwrap_or_else(|e| panic!("{words}: {e:?}")).1, text, "{words}");
    }
    for (words, says, advises) in [
        ("server", "\"server\" is no setting", "write NAME=VALUE"),
        ("sevrer=2", "sevrer: plugin map-1.0.0 has no such setting", "write \"server\""),
        ("server=248", "server: plugin map-1.0.0 takes a whole number from 0 to 247 here, not 248", "write server=1"),
        ("strict=yes", "strict: plugin map-1.0.0 takes true or false here, not yes", "write strict=true"),
        ("map={ shipped = \"smc-hr\" }", "map: the package carries no \"smc-hr\" in maps/", "write { shipped = \"smc-hrs\" }"),
        ("map={ shipped = smc }", "map: ", "write map={ shipped = \"smc-hrs\" }"),
        ("map={ file = \"none.map\" }", "map: none.map cannot be read", "put the file there"),
    ] {
        let (what, remedy) = said(words).expect_err(words);
        assert!(what.starts_with(says) && remedy.contains(advises), "{words}: {what}: {remedy}");
    }
}

/// The word that is wrong: the one that the error quotes, or the key.
fn word_in<'a>(what: &'a str, line: &'a str) -> &'a str {
    what.split('"').nth(1).filter(|word| line.contains(word)).unwrap_or_else(|| line.split(' ').next().unwrap_or_default())
}

//= PROMISES.md#P52
#[test]
fn settings_are_held_against_the_manifest_and_reach_the_plugin_as_texts() {
    let folder = std::env::temp_dir().join(format!("wardgate-settings-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("maps")).expect("a folder");
    for (name, bytes) in [("good.map", b"x holding 0 u16\n".to_vec()), ("large.map", vec![b'#'; 65537]), ("latin.map", b"# \xE4".to_vec())]
    {
        std::fs::write(folder.join("maps").join(name), bytes).expect("written");
    }
    let given = settings(&folder, "map = { file = \"maps/good.map\" }\nserver = 7\nstrict = true\nunit = \"Cel\"")
        .unwrap_or_else(|e| panic!("{e}"));
    let expected = [("map", "x holding 0 u16\n"), ("server", "7"), ("strict", "true"), ("unit", "Cel")];
    assert_eq!(given, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    let given = settings(&folder, "map = { shipped = \"tsi-rpc30\" }").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(given["map"], "# tsi-rpc30");

    let long = settings(&folder, &format!("map = \"{}\"", "#".repeat(65537))).expect_err("too long");
    assert!(long.what.ends_with("65537 bytes are more than 65536") && long.line.is_some(), "{}", long.line.unwrap_or_default());

    for (lines, says, advises) in WRONG_SETTINGS {
        let e = settings(&folder, lines).expect_err(lines);
        assert!(e.what.contains(says), "{lines}: {}", e.what);
        assert!(e.remedy.contains(advises), "{lines}: {}", e.remedy);
        let table = EXAMPLE.split("[instance.").next().unwrap_or_default().lines().count() + 4;
        let line = if e.what.contains("needs") { table } else { table + lines.lines().count() };
        assert_eq!(e.line, Some(line), "{lines}: {e}");
        let (before, last) = lines.rsplit_once('\n').unwrap_or(("", lines));
        let key = last.split(' ').next().unwrap_or_default();
        let mended = match e.remedy.strip_prefix("write ").or(e.remedy.split_once(" add ").map(|(_, add)| add)) {
            Some(value) if value.starts_with('{') => format!("{before}\n{key} = {value}"),
            Some(word) if word.starts_with('"') => {
                format!("{before}\n{}", last.replacen(word_in(&e.what, last), word.trim_matches('"'), 1))
            }
            Some(line) if e.what.contains("needs") => format!("{lines}\n{line}"),
            Some(line) => format!("{before}\n{}", line.trim_start_matches("it like: ")),
            None => continue, // for a person to decide
        };
        if mended.contains("\"x\" }") {
            continue; // the word is right now, and no such file is there
        }
        settings(&folder, &mended).unwrap_or_else(|e| panic!("{lines}: {mended}: {e}"));
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
