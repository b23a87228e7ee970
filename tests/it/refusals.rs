//! Refusals: each names who asked, who does not grant it, and a line; and that very line, pasted into gateway.toml, allows it and no more.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use wardgate::capability::{modbus, serial};
use wardgate::config::{Config, Manifest};
use wardgate::contract::modbus::{Coils, Mask, Raw, Register, Request, Span};
use wardgate_lab::process::{binary, root};
use wardgate_lab::stage::Stage;

use crate::ward::{Folder, Unruly};

const INSTANCE: &str = "bed-9";
const ALLOW: &str = "{ function = 3, addresses = [\"0..11\"] }";
const WRITES: &str = r#"'"?ID\r"'"#;

/// gateway.toml with these grants for one instance.
fn site(servers: &str, allow: &str, writes: &str) -> String {
    format!(
        "[gateway]\nid = \"ward-3\"\nstate = \"state\"\n[uplink]\nhost = \"h\"\nca_file = \"ca\"\nmac_key_file = \"key\"\n\
         [bus.plant]\ntcp = \"127.0.0.1:502\"\n[instance.{INSTANCE}]\npackage = \"p\"\n\
         [instance.{INSTANCE}.grants.modbus]\nbus = \"plant\"\n{servers}\nallow = [{allow}]\n\
         [instance.{INSTANCE}.grants.serial]\nport = \"/dev/serial/by-id/x\"\nwrites = [{writes}]\n"
    )
}

struct Grants {
    modbus: modbus::Grant,
    serial: serial::Grant,
}

/// As the gateway reads it.
fn read(folder: &Path, text: &str) -> Grants {
    let file = folder.join("gateway.toml");
    fs::write(&file, text).expect("written");
    let config = Config::load(&file).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let grants = &config.instances[INSTANCE].grants;
    Grants {
        modbus: modbus::Grant::new(INSTANCE, grants.modbus.as_ref().expect("granted")).expect("a good grant"),
        serial: serial::Grant::new(INSTANCE, grants.serial.as_ref().expect("granted")).expect("a good grant"),
    }
}

/// What follows these words to the end of the message.
fn line<'a>(refusal: &'a str, after: &str) -> &'a str {
    refusal.split_once(after).unwrap_or_else(|| panic!("no remedy in: {refusal}")).1.trim_end()
}

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    fs::create_dir_all(&folder.0).expect("a folder");
    folder
}

/// Asks, is refused, pastes, asks again; then something next to it, which stays refused.
fn row(name: &str, server: u8, asked: &Request, names: &str, beside: (u8, Request)) {
    let folder = folder(name);
    let before = read(&folder.0, &site("servers = [1]", ALLOW, WRITES));
    let refusal = before.modbus.permits(server, asked).expect_err("it is not granted").to_string();
    for word in [names, "gateway.toml", &format!("[instance.{INSTANCE}.grants.modbus]")] {
        assert!(refusal.contains(word), "\"{word}\" is missing: {refusal}");
    }
    let pasted = if refusal.contains("add to allow: ") {
        site("servers = [1]", &format!("{ALLOW}, {}", line(&refusal, "add to allow: ")), WRITES)
    } else {
        site(line(&refusal, "write: "), ALLOW, WRITES)
    };
    let after = read(&folder.0, &pasted);
    after.modbus.permits(server, asked).unwrap_or_else(|e| panic!("pasted, and still refused: {e}\n{pasted}"));
    after.modbus.permits(1, &holding(0, 12)).expect("what was granted before still is");
    assert!(after.modbus.permits(beside.0, &beside.1).is_err(), "the remedy allows more than was asked: {pasted}");
}

fn holding(address: u16, count: u16) -> Request {
    Request::ReadHoldingRegisters(Span { address, count })
}

//= PROMISES.md#P42
#[test]
fn a_register_outside_the_grant() {
    row("register", 1, &holding(11, 2), "read holding registers 11..12 of server 1", (1, holding(13, 1)));
}

#[test]
fn a_single_register_outside_the_grant() {
    row("single", 1, &holding(65535, 1), "65535", (1, holding(65534, 1)));
}

#[test]
fn a_function_code_outside_the_grant() {
    let input = Request::ReadInputRegisters(Span { address: 3, count: 2 });
    row("function", 1, &input, "read input registers 3..4", (1, Request::ReadInputRegisters(Span { address: 3, count: 3 })));
}

#[test]
fn a_write_outside_the_grant() {
    let write = |address| Request::WriteSingleRegister(Register { address, value: 150 });
    row("write", 1, &write(11), "write the single register 11", (1, write(12)));
    let coils = Request::WriteMultipleCoils(Coils { address: 4, on: vec![true; 3] });
    row("coils", 1, &coils, "switch coils 4..6", (1, Request::WriteMultipleCoils(Coils { address: 4, on: vec![true; 4] })));
    let mask = Request::MaskWriteRegister(Mask { address: 7, and: 1, or: 2 });
    row("mask", 1, &mask, "change bits of the register 7", (1, write(7)));
}

#[test]
fn a_function_without_addresses_outside_the_grant() {
    let raw = |function| Request::Other(Raw { function, data: vec![1, 2] });
    row("raw", 1, &raw(0x41), "use function 65 with any content", (1, raw(0x42)));
}

#[test]
fn a_server_outside_the_grant() {
    row("server", 7, &holding(0, 12), "modbus server 7", (8, holding(0, 1)));
}

/// Refused, and by nothing that anybody can write.
#[test]
fn what_no_grant_can_allow_says_so() {
    let folder = folder("impossible");
    let grants = read(&folder.0, &site("servers = [1]", ALLOW, WRITES));
    for impossible in [holding(0, 0), holding(0, 126), holding(65535, 2), Request::Other(Raw { function: 3, data: vec![] })] {
        let refusal = grants.modbus.permits(1, &impossible).expect_err("it is impossible").to_string();
        assert!(refusal.contains("no grant can allow it"), "{refusal}");
    }
    let long = grants.serial.permits(&[b'x'; serial::FRAME_BYTES_MAX + 1]).expect_err("too long").to_string();
    assert!(long.contains("no grant can allow it") && grants.serial.permits(b"").is_err(), "{long}");
}

/// The frames that a site grants one by one never open a way for others made of them.
fn frame_row(name: &str, frame: &[u8]) {
    let folder = folder(name);
    let before = read(&folder.0, &site("servers = [1]", ALLOW, WRITES));
    before.serial.permits(b"?ID\r").expect("the granted frame");
    let refusal = before.serial.permits(frame).expect_err("it is not granted").to_string();
    for word in ["gateway.toml", "as a whole", &format!("[instance.{INSTANCE}.grants.serial]")] {
        assert!(refusal.contains(word), "\"{word}\" is missing: {refusal}");
    }
    let pasted = site("servers = [1]", ALLOW, &format!("{WRITES}, {}", line(&refusal, "add to writes: ")));
    let after = read(&folder.0, &pasted);
    after.serial.permits(frame).unwrap_or_else(|e| panic!("pasted, and still refused: {e}\n{pasted}"));
    after.serial.permits(b"?ID\r").expect("what was granted before still is");
    for other in [&[frame, b"?ID\r"].concat(), &[frame, &[0][..]].concat(), &frame[1..].to_vec()] {
        assert!(other == b"?ID\r" || after.serial.permits(other).is_err(), "the remedy allows more than was asked: {pasted}");
    }
}

//= PROMISES.md#P42
#[test]
fn a_frame_outside_the_grant() {
    frame_row("frame", b"!INF|4961\r");
    frame_row("frame-quotes", b"say \"a\\b'c\"\t\x1b\x00\xff\n");
}

#[test]
fn two_granted_frames_joined() {
    frame_row("joined", b"?ID\r?ID\r");
}

#[test]
fn a_granted_frame_split() {
    frame_row("split", b"?I");
    frame_row("rest", b"D\r");
}

#[test]
fn a_granted_frame_padded() {
    frame_row("padded", b"?ID\r\0");
    frame_row("padded-before", b" ?ID\r");
    frame_row("padded-text", b"?ID\r\n");
}

/// `wardgate check` on a site that grants nothing of what a manifest asks for: the manifest's own example allows it.
#[test]
fn a_link_that_the_manifest_asks_for_and_the_site_does_not_grant() {
    let folder = Folder::new("ungranted");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    let file = folder.0.join("gateway.toml");
    let packages = root().join("plugins/target/packages");
    for (plugin, more, dots) in [("ivy450c", "", ""), ("modbus-map", "settings = { map = \"x holding 0 u16\" }\n", "plant")] {
        let asks = |grants: &str| {
            stage.configuration() + &format!("\n[instance.bed-9]\npackage = \"{}/{plugin}-0.1.0\"\n{more}{grants}\n", packages.display())
        };
        let run = |text: &str| {
            fs::write(&file, text).expect("written");
            let mut gateway = stage.spawn_gateway(&mut Command::new(binary("wardgate").expect("built"))).expect("it starts");
            let ready = gateway.wait_for(60, |l| l.starts_with("ready").then_some(()));
            let refused = ready.err().map(|_| gateway.log_end());
            if refused.is_none() {
                gateway.stop().expect("it ends");
            }
            refused
        };
        let refusal = run(&asks("grants = {}")).expect("it is refused");
        let refusal = refusal.lines().rev().find(|l| l.contains("does not grant")).unwrap_or_else(|| panic!("{refusal}")).to_owned();
        assert!(refusal.contains(&format!("plugin {plugin}-0.1.0 asks for")) && refusal.contains("[instance.NAME.grants]"), "{refusal}");
        // where a person has to fill in a name, the example has dots
        let pasted = line(&refusal, "in gateway.toml: ").replace("bus = \"...\"", &format!("bus = \"{dots}\""));
        let refused = run(&asks(&format!("[instance.bed-9.grants]\n{pasted}")));
        assert_eq!(refused, None, "pasted, and still refused: {pasted}");
    }
}

/// Over the whole gateway, from the log to gateway.toml and back, one line after the other.
//= PROMISES.md#P42
#[test]
fn the_lines_of_the_log_open_what_they_say() {
    let folder = Folder::new("remedies");
    let mut stage = Stage::new(&folder.0).expect("a stage");
    let unruly = Unruly::on(&mut stage);
    stage.start_broker().expect("the broker");
    stage.start_ward(&[]).expect("the devices");
    let log = || fs::read_to_string(stage_log(&folder.0)).unwrap_or_default();
    let said = |from: usize, what: &str| {
        for _ in 0..600 {
            if let Some(found) = log()[from..].lines().find(|l| l.contains(what)) {
                return found.to_owned();
            }
            sleep(Duration::from_millis(50));
        }
        panic!("nothing says \"{what}\": {}", &log()[from..]);
    };
    // unit 7 is granted, and unit 1 is asked; then no function is
    for (order, after, before, make) in [
        ("ask", "write: ", "servers = [7]", None),
        ("ask", "add to allow: ", "allow = []", Some(("allow = [", "]"))),
        ("write", "add to writes: ", "[instance.unruly.grants.modbus]", Some(("writes = [", "]\n[instance.unruly.grants.modbus]"))),
    ] {
        let from = log().len();
        stage.start_gateway().expect("the gateway");
        unruly.order(order);
        let refusal = said(from, "To allow it");
        assert!(refusal.contains("unruly"), "{refusal}");
        let (open, close) = make.unwrap_or(("", ""));
        let pasted = format!("{open}{}{close}", line(&refusal, after));
        assert!(stage.more.contains(before), "{}", stage.more);
        stage.more = stage.more.replacen(before, &pasted, 1);
        stage.gateway.take().expect("running").stop().expect("it ends");
    }
    stage.start_gateway().expect("the gateway takes the pasted lines");
    unruly.order("ask");
    unruly.order("write");
    // it tells of its link, of its answer, and of its written frame
    for _ in 0..600 {
        let status = stage.gateway_status().unwrap_or_default();
        let now = status.instances.get("unruly").cloned().unwrap_or_default();
        assert_eq!(now.refusals, 0, "pasted, and still refused: {}", stage.more);
        if now.readings >= 3 {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("the device was never asked: {:#?}", stage.gateway_status());
}

#[path = "../../plugins/tests/it/random.rs"]
pub mod random;

/// What people write, cut anywhere and changed anywhere, is read or refused, and a refusal of the text names its line.
//= PROMISES.md#P40
#[test]
fn no_text_of_a_site_or_a_manifest_panics() {
    let folder = folder("texts");
    let file = folder.0.join("gateway.toml");
    let mut random = random::Random(7);
    let mut refused = 0;
    let mut site = |text: &[u8]| {
        fs::write(&file, text).expect("written");
        if let Err(e) = Config::load(&file) {
            assert!(e.line.is_some() || !e.what.is_empty(), "{e}");
            refused += 1;
        }
    };
    let whole = site_of_all();
    (0..whole.len()).for_each(|n| site(&whole.as_bytes()[..n]));
    (0..1000).for_each(|_| site(&random::mutate(whole.as_bytes(), &mut random)));
    assert!(refused > whole.len() / 2, "{refused}");
    let manifests = manifests();
    for manifest in &manifests {
        for n in (0..manifest.len()).filter(|n| manifest.is_char_boundary(*n)) {
            _ = Manifest::parse(&manifest[..n]);
        }
    }
}

/// Every manifest that there is.
fn manifests() -> Vec<String> {
    let folders = ["plugins", "tests/guests"].map(|folder| fs::read_dir(root().join(folder)).expect("a folder"));
    let all = folders.into_iter().flatten().filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("manifest.toml")).ok());
    let all: Vec<String> = all.collect();
    assert!(all.len() > 12, "{} manifests", all.len());
    all
}

const MUTATIONS: usize = 100_000;
const AT_ONCE: usize = 4; // most of the time goes to a reader of TOML without optimisation

/// A hundred thousand mutations of whole configurations and of every manifest: read or refused with a line, and what is read can be used.
//= PROMISES.md#P136
#[test]
fn a_hundred_thousand_mutations_of_sites_and_manifests_are_read_or_refused() {
    let sites = [site_of_all(), fs::read_to_string(root().join("runtime/gateway.toml")).expect("the example")];
    let manifests = manifests();
    let folder = folder("mutations");
    std::thread::scope(|all| {
        for thread in 0..AT_ONCE {
            let (sites, manifests, file) = (&sites, &manifests, folder.0.join(format!("{thread}.toml")));
            all.spawn(move || {
                let mut random = random::Random(0x51_7CC1 + thread as u64);
                let (mut read, mut refused) = (0, 0);
                for n in 0..MUTATIONS / AT_ONCE {
                    // the short one mostly: a change in it is more often one of a value
                    let text = random::mutate(sites[usize::from(n % 16 == 0)].as_bytes(), &mut random);
                    match Config::parsed(&file, String::from_utf8_lossy(&text).into_owned()) {
                        Ok(config) => {
                            for (name, instance) in &config.instances {
                                _ = instance.grants.serial.as_ref().map(|g| serial::Grant::new(name, g).map(|g| g.explain()));
                                _ = instance.grants.modbus.as_ref().map(|g| modbus::Grant::new(name, g).map(|g| g.explain()));
                            }
                            read += 1;
                        }
                        Err(e) => {
                            assert!(!e.what.is_empty() && e.line.is_none_or(|line| line <= text.len() + 1), "{e}");
                            refused += 1;
                        }
                    }
                }
                assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
                let mut good = 0;
                for n in 0..MUTATIONS / AT_ONCE {
                    let text = random::mutate(manifests[n % manifests.len()].as_bytes(), &mut random);
                    good += usize::from(Manifest::parse(&String::from_utf8_lossy(&text)).map(|manifest| manifest.full_name()).is_ok());
                }
                assert!(good > 100, "{good} manifests read");
            });
        }
    });
}

fn site_of_all() -> String {
    site("servers = [1, 2]\nrequests_max = 4", ALLOW, WRITES)
}

fn stage_log(folder: &Path) -> std::path::PathBuf {
    folder.join("log/gateway.log")
}
