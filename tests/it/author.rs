//! The author's first hour: a plugin from nothing, in any folder; what the tools say of it; and the guide, command by command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

const LINKS: [&str; 4] = ["serial", "modbus", "ble", "filter"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn binaries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned() // target/debug/deps/it-...
}

/// A folder outside the checkout, the same in each run, so that the shared target does not grow; gone at the end.
pub struct Outside(pub PathBuf);

impl Outside {
    pub fn new(name: &str) -> Self {
        let checkout = root().display().to_string().replace('/', "-");
        let folder = std::env::temp_dir().join(format!("wardgate-author{checkout}-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn bash(&self, script: &str) -> Output {
        let path = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap());
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", script]).current_dir(&self.0).env("PATH", path).env_remove("BLESS");
        bash.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO"); // as at a terminal: the plugin's own toolchain file counts
        // what is the same for all plugins is compiled once
        bash.env("CARGO_TARGET_DIR", root().join("plugins/target")).output().unwrap()
    }

    /// Standard output of a script that ends well.
    pub fn well(&self, script: &str) -> String {
        let ended = self.bash(script);
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "{script}\n{out}\n{err}");
        out.into_owned()
    }

    /// As `well`, with the checkout moved away: nothing is in its folder but the binaries and what is compiled once for all plugins, which
    /// lie elsewhere. Where no mount namespace is to be had the checkout stays.
    fn well_without_checkout(&self, script: &str) -> String {
        let allowed = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|o| o.status.success());
        if !allowed {
            println!("SKIPPED: no mount namespace here (it needs root), so the checkout stays; no file of the plugin names it");
            return self.well(script);
        }
        let away = format!(
            "mkdir -p bin target; mount --bind {} bin; mount --bind {root}/plugins/target target; mount -t tmpfs none {root}\n\
             if [ -e {root}/wit ]; then exit 1; fi\n\
             export PATH=$PWD/bin:$PATH CARGO_TARGET_DIR=$PWD/target\n{{ {script}; }} </dev/null",
            binaries().display(),
            root = root().display()
        );
        self.well(&format!("unshare -m bash -euo pipefail <<'AWAY'\n{away}\nAWAY"))
    }

    /// Standard error of a script that ends badly.
    fn badly(&self, script: &str) -> String {
        let ended = self.bash(script);
        assert!(!ended.status.success(), "{script} ended well: {}", String::from_utf8_lossy(&ended.stdout));
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lines(out: &str) -> Vec<Json> {
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    all.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

//= PROMISES.md#P20
#[test]
fn a_new_plugin_of_each_kind_builds_and_passes_its_tests_outside_the_checkout() {
    let outside = Outside::new("new");
    for link in LINKS {
        outside.well(&format!("wardgate plugin new my-{link} --link {link}"));
        for file in files(&outside.0.join(format!("my-{link}"))) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains(&root().display().to_string()), "{} names the checkout", file.display());
        }
        // the lock file is already what cargo makes of it, and cargo finds nothing to warn of
        outside.well(&format!("cd my-{link}; cargo metadata --offline --locked --format-version 1 >metadata.json; rm metadata.json"));
        let said = outside.well_without_checkout(&format!("wardgate plugin test my-{link} 2>test.log; ! grep warning test.log"));
        assert!(said.contains("1 golden cases say the same in the sandbox"), "{said}");
    }
    let said = outside.badly("wardgate plugin new my-serial --link serial");
    assert!(said.contains("is there already"), "{said}");
    for name in ["Pump", "2pump", "pump_1", "a--/b_", "test"] {
        let said = outside.badly(&format!("wardgate plugin new {name} --link serial"));
        assert!(said.contains("what to do:"), "{said}");
    }
}

#[test]
fn without_cargo_or_its_target_the_build_says_what_to_do() {
    let outside = Outside::new("tools");
    outside.well("wardgate plugin new pump --link serial");
    let wardgate = binaries().join("wardgate");
    let empty = outside.badly(&format!("PATH=/nowhere {} plugin build pump", wardgate.display()));
    assert!(empty.contains("https://rustup.rs"), "{empty}");
    // a compiler that has no such target answers with a folder that is not there
    let rustc = "mkdir bin; printf '#!/bin/sh\\necho /nowhere\\n' > bin/rustc; chmod +x bin/rustc";
    let said = outside.badly(&format!("{rustc}; PATH=$PWD/bin:$PATH wardgate plugin build pump"));
    assert!(said.contains("rustup target add wasm32-unknown-unknown"), "{said}");
}

//= PROMISES.md#P21
#[test]
fn given_bytes_become_readings_exactly_as_the_device_coded_them() {
    let outside = Outside::new("decode");
    let template = |link: &str| root().join("plugins/template").join(link).display().to_string();
    let decode = |link: &str, args: &str| lines(&outside.well(&format!("wardgate plugin decode {} {args}", template(link))));
    let number =
        |mantissa, exponent| json!({"channel": "temperature", "mantissa": mantissa, "exponent": exponent, "unit": "Cel", "quality": []});
    let absent = |why| json!({"channel": "temperature", "absent": why, "unit": "Cel", "quality": []});
    let said = decode("serial", "--hex '54 3d 33 36 2e' --hex 35300a543d2d2d2d0a");
    assert_eq!(said, [number(3650, -2), absent("sensor-off")]);
    let said = decode("modbus", "--reply 00E8 --reply 7FFF --reply timeout --reply ffff");
    let silent = json!({"channel": "temperature", "missed": 1, "because": "device-off"});
    assert_eq!(said, [number(232, -1), absent("sensor-off"), silent, number(-1, -1)]);
    let said = decode("ble", "--characteristic 2A1C --hex 006d0100ff");
    assert_eq!(said, [number(365, -1)]);
    let refused = outside.badly(&format!("wardgate plugin decode {} --reply 0001", template("serial")));
    assert!(refused.contains("--reply is for modbus, and this plugin hears serial"), "{refused}");
    let refused = outside.badly(&format!("wardgate plugin decode {} --hex 0g", template("serial")));
    assert!(refused.contains("two digits a byte"), "{refused}");
    let ended = outside.bash(&format!("wardgate plugin decode {} --hex 0g", template("serial")));
    assert_eq!(ended.status.code(), Some(2), "wrong words of a command, not of a configuration");
}

//= PROMISES.md#P22
#[test]
fn a_golden_case_that_differs_shows_its_guilty_byte_and_a_trap_its_words_and_functions() {
    let outside = Outside::new("differs");
    outside.well("wardgate plugin new pump --link serial");
    let case = outside.0.join("pump/golden/lines.json");
    let text = fs::read_to_string(&case).unwrap();
    // the digit of the second piece: 36.5 becomes 36.7
    assert!(text.contains("\"350a\""), "{text}");
    fs::write(&case, text.replace("\"350a\"", "\"370a\"")).unwrap();
    let ended = outside.bash("wardgate plugin test pump");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(!ended.status.success());
    assert!(said.contains("lines.json in the sandbox DIFFERS\n  step 2: "), "{said}");
    assert!(
        said.contains("\"mantissa\":365}") && said.contains("\"mantissa\":367}") || said.contains("365") && said.contains("367"),
        "{said}"
    );
    let shown: Vec<_> = said.lines().skip_while(|line| !line.contains("000000")).take(2).collect();
    assert!(shown[0].contains("37 0a") && shown[1].ends_with("^^ byte 5"), "{said}");
    assert_eq!(shown[0].find("37 0a"), shown[1].find("^^"), "{said}");
    assert!(said.contains("came in pieces, from step 1 on"), "{said}");
    // the first piece, which says nothing by itself: 36.5 becomes 37.5
    fs::write(&case, text.replace("\"543d33362e\"", "\"543d33372e\"")).unwrap();
    let said = String::from_utf8(outside.bash("wardgate plugin test pump").stdout).unwrap();
    assert!(said.contains("DIFFERS\n  step 2: ") && said.contains("^^ byte 3\n"), "{said}");

    // two bytes of one notification, its mantissa's and its exponent's: 36.5 becomes 3.66, and the exponent is compared first
    outside.well("wardgate plugin new patch --link ble");
    let case = outside.0.join("patch/golden/notifies.json");
    let text = fs::read_to_string(&case).unwrap();
    assert!(text.contains("\"006d0100ff\""), "{text}");
    fs::write(&case, text.replace("\"006d0100ff\"", "\"006e0100fe\"")).unwrap();
    let said = String::from_utf8(outside.bash("wardgate plugin test patch").stdout).unwrap();
    assert!(said.contains("DIFFERS\n  step 3: ") && said.contains("^^ byte 4\n"), "{said}");

    let decode = outside.0.join("pump/src/decode.rs");
    let source = fs::read_to_string(&decode).unwrap();
    fs::write(&decode, source.replace("\"---\" =>", "\"!\" => panic!(\"no probe of kind {text}\"),\n        \"---\" =>")).unwrap();
    let said = outside.badly("wardgate plugin decode pump --hex 543d210a");
    assert!(said.contains("no probe of kind T=!") && said.contains("src/decode.rs"), "{said}");
    assert!(said.contains("panicked") && said.contains("pump::"), "{said}");
}

/// The guide's commands and files, in order.
pub enum Act {
    Run(String),
    Write(String, String),
}

/// A block marked `sh` is run; one behind a paragraph that ends with "`path`:" is the file of that name.
pub fn acts(guide: &str) -> Vec<Act> {
    let (mut acts, mut lines, mut before) = (Vec::new(), guide.lines(), "");
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let block: String = lines.by_ref().take_while(|l| *l != "```").map(|l| format!("{l}\n")).collect();
        match before.strip_suffix("`:").and_then(|text| text.rsplit('`').next()) {
            _ if kind == "sh" => acts.push(Act::Run(block)),
            Some(path) => acts.push(Act::Write(path.to_owned(), block)),
            None => {}
        }
        before = "";
    }
    acts
}

//= PROMISES.md#P23
#[test]
fn the_guide_leads_from_nothing_to_a_reading_in_the_ward() {
    let guide = fs::read_to_string(root().join("plugins/README.md")).unwrap();
    let acts = acts(&guide);
    assert!(acts.len() >= 6, "the guide has commands and files");
    let outside = Outside::new("guide");
    let mut said = String::new();
    for act in acts {
        match act {
            Act::Write(path, text) => fs::write(outside.0.join(path), text).unwrap(),
            Act::Run(script) => said += &outside.well(&script),
        }
    }
    let promised = guide.split("```json\n").nth(1).unwrap().lines().next().unwrap();
    assert!(said.contains(promised), "the guide promises {promised}:\n{said}");
    let report = said.lines().find(|line| line.contains("\"unexplained_gaps\"")).unwrap();
    let report: Json = serde_json::from_str(report).unwrap();
    assert_eq!(report["plugin"]["last"], json!({"temperature": {"number": [214, -1]}}), "{report}");
    assert!(report["plugin"]["received"].as_u64().unwrap() > 0 && report["well"] == true, "{report}");
    assert!(said.contains("trusted: vendors holds ed25519:") && said.contains(" for acme"), "{said}");
}
