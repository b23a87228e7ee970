//! ARM: the gateway that `make arm` built for aarch64, under qemu: it compiles its plugins for aarch64 there and loses nothing, and what every
//! plugin makes of what comes in is the same as on this machine, byte for byte.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use wardgate::plugin::{Profile, trial};
use wardgate_lab::accountant;
use wardgate_lab::demo::{books, drain_stage};
use wardgate_lab::ports;
use wardgate_lab::process::{Process, binaries, binary, root};
use wardgate_lab::stage::{CHILLER, MONITORS, Stage};

use crate::golden::plugins;
use crate::small::ADDRESS_KIB;
use crate::ward::{Folder, wait};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const EM_AARCH64: u16 = 183;
pub const READY_S_MAX: u64 = 300; // compiling two plugins under qemu takes 12 s of the processor, and others use it too
/// What a plugin may use of the processor in one call, here the most that a manifest may say: qemu's translating counts, and the first call of the
/// register map takes 70 of its 100 ms.
const CALL_MS: u64 = 1000;
const GENERATED: u64 = 200; // pieces, answers or notifications for each plugin

/// What `make arm` made, and in truth for aarch64: a binary for this machine would prove nothing.
fn made(name: &str) -> PathBuf {
    let path = binaries().with_file_name(TARGET).join("debug").join(name);
    let mut head = [0; 20];
    let read = fs::File::open(&path).and_then(|mut file| file.read_exact(&mut head));
    read.unwrap_or_else(|why| panic!("{}: {why}: run make arm", path.display()));
    assert_eq!(machine(&head), Some(EM_AARCH64), "{} is not for aarch64: run make arm", path.display());
    path
}

/// For which machine the first ELF file in these bytes is: compiled plugins lie behind a seal.
fn machine(bytes: &[u8]) -> Option<u16> {
    let elf = bytes.windows(4).position(|four| four == b"\x7fELF").map(|at| &bytes[at..])?;
    Some(u16::from_le_bytes([*elf.get(18)?, *elf.get(19)?]))
}

/// The gateway for aarch64 under qemu, which `program` starts.
pub fn on_arm(program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]).arg(made("wardgate"));
    command
}

/// The compiler that it starts runs under qemu too. Its limits hold, but for that of memory: qemu says that it is set and sets none, because it
/// would be one of qemu's own.
pub fn compiles_too(gateway: &mut Command) -> &mut Command {
    gateway.env("QEMU_SET_ENV", format!("LD_PRELOAD={}", made("again_under_qemu.so").display()))
}

/// The package of a plugin's folder with time for qemu, and with the golden cases beside it, which `wardgate plugin test` looks for.
fn unhurried(plugin: &Path, into: &Path) -> PathBuf {
    let built = wardgate::plugin::build(plugin).unwrap_or_else(|why| panic!("{why}")).folder;
    let package = into.join(built.file_name().unwrap());
    fs::create_dir_all(&package).unwrap();
    for part in fs::read_dir(&built).unwrap().map(|e| e.unwrap().path()).filter(|part| !part.ends_with("manifest.toml")) {
        symlink(&part, package.join(part.file_name().unwrap())).unwrap();
    }
    symlink(plugin.join("golden"), package.join("golden")).unwrap();
    let manifest = fs::read_to_string(built.join("manifest.toml")).unwrap();
    let mut lines: Vec<_> = manifest.lines().filter(|line| !line.starts_with("call_ms")).collect();
    let limits = lines.iter().position(|line| *line == "[limits]").unwrap_or_else(|| {
        lines.push("[limits]");
        lines.len() - 1
    });
    let call = format!("call_ms = {CALL_MS}");
    lines.insert(limits + 1, &call);
    fs::write(package.join("manifest.toml"), lines.join("\n")).unwrap();
    package
}

/// qemu 7.2 of Debian 12 knows no TCGETS2, without which no serial port is set: the lines come over a terminal server, as they may at a site.
fn terminal_server(port: u16, tty: &str, log: &Path) -> Process {
    let mut socat = Command::new("socat");
    socat.arg(format!("tcp-listen:{port},bind=127.0.0.1,reuseaddr")).arg(format!("open:{tty},rawer"));
    Process::start("socat", &mut socat, log).unwrap()
}

//= PROMISES.md#P90
#[test]
fn on_arm_the_ward_runs_plugins_that_were_compiled_there_and_loses_nothing() {
    let folder = Folder::new("arm");
    let mut stage = Stage::new(&folder.0).unwrap();
    stage.start_broker().unwrap();
    stage.start_ward(&[]).unwrap();
    stage.start_receiver().unwrap();
    let packages = folder.0.join("packages");
    for plugin in ["ivy450c", "modbus-map"] {
        unhurried(&root().join("plugins").join(plugin), &packages);
    }
    let mut text = stage.configuration();
    let mut replace = |what: String, by: String| {
        assert!(text.contains(&what), "{what} is not in\n{text}");
        text = text.replace(&what, &by);
    };
    replace(root().join("plugins/target/packages").display().to_string(), packages.display().to_string());
    let _servers = MONITORS.map(|(monitor, _)| {
        let (tty, port) = (folder.0.join("dev").join(monitor).display().to_string(), ports::own().unwrap());
        replace(tty.clone(), format!("tcp://127.0.0.1:{port}"));
        terminal_server(port, &tty, &folder.0.join("log/socat.log"))
    });
    fs::write(folder.0.join("gateway.toml"), text).unwrap();
    let mut gateway = stage.spawn_gateway(compiles_too(&mut on_arm("env"))).unwrap();
    gateway.wait_for(READY_S_MAX, |l| l.starts_with("ready").then_some(())).unwrap();
    stage.gateway = Some(gateway);
    let compiled: Vec<_> = fs::read_dir(folder.0.join("state/compiled")).unwrap().map(|e| fs::read(e.unwrap().path()).unwrap()).collect();
    assert_eq!(compiled.iter().map(|code| machine(code)).collect::<Vec<_>>(), [Some(EM_AARCH64); 2], "the code of two plugins");
    wait("the three lines", || stage.gateway_status().is_some_and(|s| s.instances.values().filter(|i| i.link_up).count() == 3));

    stage.ward.as_mut().unwrap().tell("on").unwrap();
    let arrived = |device: &str, channel: &str| accountant::read_received(&stage.output(), device).get(channel).map_or(0, Vec::len);
    for (device, channel) in MONITORS.map(|(name, _)| (name, "ecg")).into_iter().chain([(CHILLER, "temperature")]) {
        wait("five seconds of each device in the cloud", || arrived(device, channel) >= 5);
    }
    stage.switch_off().unwrap();
    drain_stage(&mut stage).unwrap();
    let status = stage.gateway.as_mut().unwrap().stop().unwrap();
    assert!(status.success(), "{status}");
    for (device, account) in books(&stage) {
        assert!(account.adds_up() && account.missing == 0 && account.sent > 0, "{device}: {account:#?}");
        println!("{device}: {} of {}", account.received, account.sent);
    }
}

/// What `wardgate plugin` says on this machine, when it says the same under qemu: standard output, standard error and the exit status.
fn same(profile: Profile, args: &[String]) -> String {
    const YIELDING: &str = "nice"; // it computes for a minute, and the tests beside it wait for devices that keep time
    let (here, there) = match profile {
        Profile::Guarded => (Command::new(binary("wardgate").unwrap()), on_arm(YIELDING)),
        Profile::Compact => {
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -v {ADDRESS_KIB} && exec \"$0\" \"$@\"")]).arg(binary("wardgate").unwrap());
            let mut there = on_arm(YIELDING);
            there.env("QEMU_RESERVED_VA", format!("{ADDRESS_KIB}K"));
            (limited, there)
        }
    };
    let run = |mut command: Command| {
        command.arg("plugin").args(args).env("CARGO", "true"); // native tests are this machine's own
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert_ne!(status.code(), Some(127), "{}: run make test-setup", String::from_utf8_lossy(&stderr)); // no such program
        let timeless = |line: &str| line.split_once("Z  ").map_or(line, |(_, said)| said).to_owned() + "\n"; // of what it logs
        (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap().lines().map(timeless).collect::<String>(), status)
    };
    let (here, there) = (run(here), run(there));
    let what = &args[..2]; // the rest is long
    for (here, there) in [(&here.0, &there.0), (&here.1, &there.1)] {
        for (n, (here, there)) in here.lines().zip(there.lines()).enumerate() {
            assert_eq!(here, there, "{what:?}, line {n}: on this machine, on aarch64");
        }
    }
    assert_eq!(here, there, "{what:?}: on this machine, on aarch64");
    let (said, remarks, status) = here;
    assert!(status.success(), "{what:?}: {remarks}");
    assert_eq!(remarks.contains("using the compact profile"), profile == Profile::Compact, "{what:?}: {remarks}");
    said
}

/// xorshift64*: the same input in every run.
struct Dice(u64);

impl Dice {
    /// From 0 to below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % n
    }

    /// One of these, damaged twice at most: a bit or a digit wrong, a byte doubled, the end missing.
    fn damaged(&mut self, pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut piece = pieces[self.below(pieces.len() as u64) as usize].clone();
        for _ in 0..self.below(3) {
            let at = self.below(piece.len() as u64) as usize;
            match self.below(4) {
                0 => piece[at] ^= 1 << self.below(8),
                1 => piece.insert(at, piece[at]),
                2 => piece.truncate(at + 1),
                _ => {
                    if let Some(digit) = piece[at..].iter_mut().find(|byte| byte.is_ascii_digit()) {
                        *digit = b'0' + self.below(10) as u8;
                    }
                }
            }
        }
        piece
    }

    /// A register: anything, where numbers turn over, or the upper half of a float that is no further from 1 than a device's.
    fn word(&mut self) -> u64 {
        const EDGES: [u64; 12] = [0, 1, 0x7fff, 0x8000, 0xffff, 0x7f80, 0xff80, 0x7fc0, 0x7ff0, 0xfff0, 0x0080, 0x3f80];
        match self.below(3) {
            0 => self.below(1 << 16),
            1 => EDGES[self.below(EDGES.len() as u64) as usize],
            _ => 0x3c00 + self.below(0x0d00) + (self.below(2) << 15),
        }
    }
}

/// Everything of this name in a golden case, wherever it stands.
fn bytes_in(case: &Json, found: &mut Vec<Vec<u8>>) {
    match case {
        Json::Object(fields) => {
            if let Some(hex) = fields.get("bytes").and_then(Json::as_str).filter(|hex| !hex.is_empty()) {
                found.push((0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect());
            }
            fields.values().for_each(|field| bytes_in(field, found));
        }
        Json::Array(all) => all.iter().for_each(|one| bytes_in(one, found)),
        _ => {}
    }
}

/// The pieces of a plugin's golden cases as they are, then damaged ones.
fn pieces(plugin: &Path, dice: &mut Dice) -> Vec<String> {
    let mut golden = Vec::new();
    for case in trial::cases(plugin) {
        let case: Json = serde_json::from_slice(&fs::read(case).unwrap()).unwrap();
        for step in case["steps"].as_array().unwrap() {
            bytes_in(&step["event"], &mut golden);
        }
    }
    let damaged: Vec<_> = (0..GENERATED).map(|_| dice.damaged(&golden)).collect();
    let hex = |piece: &Vec<u8>| piece.iter().map(|b| format!("{b:02x}")).collect();
    golden.iter().chain(&damaged).map(hex).collect()
}

/// One of each type, order and scale: all that turns registers into numbers.
const MAP: &str = "\
    all every 1s\n\
    u16 holding 0 u16 scale 0.1\n\
    s16 holding 1 s16 scale /512\n\
    u32 holding 2 u32 order CDAB scale 9/5\n\
    s32 holding 4 s32 order BADC\n\
    u64 holding 6 u64 scale /32\n\
    s64 holding 10 s64 order DCBA scale 1e3\n\
    f32 holding 14 f32\n\
    f32-scaled holding 16 f32 order CDAB scale 0.01 offset 3\n\
    f64 holding 18 f64\n\
    f64-scaled holding 22 f64 order DCBA scale 1e-3\n\
    field holding 26 s16[0..11] absent 0x800=sensor-off\n\
    code holding 27 enum[4..6] values 0=off 1=cooling\n\
    flags holding 28 bits32\n\
    alert hot holding 30 bits[2] priority medium text \"too hot\"\n\
    alert stuck holding 31 enum is 9 text \"stuck\"\n";
const REGISTERS: usize = 32;

fn answers(dice: &mut Dice) -> Vec<String> {
    let answer = |_| match dice.below(20) {
        0 => "timeout".to_owned(),
        1 => "exception:2".to_owned(),
        _ => (0..REGISTERS).map(|_| format!("{:04x}", dice.word())).collect::<Vec<_>>().join(","),
    };
    (0..GENERATED).map(answer).collect()
}

//= PROMISES.md#P91
#[test]
fn on_arm_every_plugin_says_to_the_byte_what_it_says_here() {
    let folder = Folder::new("arm-says");
    let mut dice = Dice(0x0a2c_64ed);
    let (mut cases, mut readings) = (0, 0);
    for plugin in plugins() {
        let folder_name = plugin.file_name().unwrap().to_str().unwrap();
        if folder_name.starts_with("ble-") && !matches!(folder_name, "ble-cgm" | "ble-glucose") {
            continue; // they share their glue with these two, and compiling each takes six seconds of the processor here
        }
        let package = unhurried(&plugin, &folder.0);
        let name = package.file_name().unwrap().to_str().unwrap().to_owned();
        let words = |verb: &str| vec![verb.to_owned(), package.display().to_string()];
        let golden = trial::cases(&plugin).len();
        let said = same(Profile::Compact, &words("test"));
        assert!(said.contains(&format!("{golden} golden cases of the package say the same here")), "{name}: {said}");
        cases += golden;

        let (option, inputs) = match name.as_str() {
            "ivy450c-0.1.0" | "template-ble-0.1.0" | "ble-cgm-0.1.0" => ("--hex", pieces(&plugin, &mut dice)),
            "modbus-map-0.1.0" => ("--reply", answers(&mut dice)),
            _ => continue, // a reading or two, in their cases; and the filter hears no device
        };
        let mut args = words("decode");
        args.extend(inputs.into_iter().flat_map(|input| [option.to_owned(), input]));
        match name.as_str() {
            "modbus-map-0.1.0" => args.extend(["--setting".into(), format!("map={MAP}")]),
            "template-ble-0.1.0" => args.extend(["--characteristic".into(), "2A1C".into()]),
            "ble-cgm-0.1.0" => args.extend(["--characteristic".into(), "2AA7".into()]),
            _ => {}
        }
        let lines = same(Profile::Guarded, &args).lines().count();
        assert!(lines as u64 > GENERATED / 2, "{name}: {lines} lines are not what so much input comes to");
        println!("{name}: {golden} golden cases, and {lines} lines of readings");
        readings += lines;
    }
    println!("{cases} golden cases and {readings} lines of readings are the same on aarch64");
}
