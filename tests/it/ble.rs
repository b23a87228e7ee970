//! The gateway for aarch64 on a real BlueZ, in an emulated machine: peripherals of Bumble, D-Bus, BlueZ, Linux and H4 lie in between, none of them
//! ours. What went out is counted at Bumble, what came by what the receiver wrote.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use wardgate_lab::accountant::{self, Content};
use wardgate_lab::demo::boottime_ns;
use wardgate_lab::guest::{self, CPU, Guest, Peripherals, UART_PORT};
use wardgate_lab::process::{Process, root};
use wardgate_lab::stage::{GATEWAY, Stage};

use crate::arm;
use crate::ble_stack::PAIRED;
use crate::ble_ward::once;
use crate::ward::{Folder, wait_to_see};

/// What a plugin may use of the processor in one call, the most that a manifest may say: everything is emulated there.
const CALL_MS: u64 = 1000;
const RECORDS: usize = 40; // that the meter stores, as tests/ble/peripherals.py has it
const RECORDS_BEFORE_THE_CUT: usize = 15; // the last of them has a context, which is cut off
const CONTEXTS: usize = 13; // of every third record, beginning with the third
const FLAPS: usize = 2;

/// An instance and its peripheral, its plugin, the service that is granted besides 180A and 180F, and the channel whose values are one of a kind.
struct Bound {
    name: &'static str,
    address: &'static str,
    plugin: &'static str,
    service: &'static str,
    mark: &'static str,
}

const fn bound(name: &'static str, address: &'static str, plugin: &'static str, service: &'static str, mark: &'static str) -> Bound {
    Bound { name, address, plugin, service, mark }
}

const WARD: [Bound; 8] = [
    bound("belt-1", "F0:00:00:00:01:01", "ble-heart-rate", "180d", "energy-expended"),
    bound("belt-2", "F0:00:00:00:01:02", "ble-heart-rate", "180d", "energy-expended"),
    bound("secret-belt", "F0:00:00:00:01:03", "ble-heart-rate", "180d", "energy-expended"),
    bound("oximeter-1", "F0:00:00:00:02:01", "ble-oximeter", "1822", "pulse-amplitude-index"),
    bound("oximeter-2", "F0:00:00:00:02:02", "ble-oximeter", "1822", "pulse-amplitude-index"),
    bound("thermometer", "F0:00:00:00:03:01", "ble-thermometer", "1809", "temperature"),
    bound("meter", "F0:00:00:00:04:01", "ble-glucose", "1808", "sequence"),
    bound("flapper", "F0:00:00:00:05:01", "ble-heart-rate", "180d", "energy-expended"),
];

/// The channel whose values are one of a kind of the contexts of the meter's records: as many grams as the record's number.
const CONTEXT: &str = "carbohydrate";

/// Demands a bond on every link, and nobody paired it.
const PUSHY: &str = "belt-2";

/// Who is paired before, and is to be heard under its bond only.
const BONDED: [&str; 3] = ["meter", "oximeter-1", "secret-belt"];

/// Of them, the one with a private address.
const HIDDEN: &str = "secret-belt";

/// Counting, reporting and aborting; the meter's memory is not to be deleted, whatever the plugin is set to.
const WRITES: &str = r#"writes = { "2a52" = ["04 01", "04 03 01 ?? ??", "01 01", "01 03 01 ?? ??", "03 00"] }"#;

/// The package of a plugin with time for an emulated processor.
fn unhurried(plugin: &str, into: &Path) {
    let built = wardgate::plugin::build(&root().join("plugins").join(plugin)).unwrap_or_else(|why| panic!("{why}")).folder;
    let package = into.join(built.file_name().unwrap());
    fs::create_dir_all(&package).unwrap();
    for part in fs::read_dir(&built).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()) {
        fs::copy(&part, package.join(part.file_name().unwrap())).unwrap();
    }
    let manifest = fs::read_to_string(built.join("manifest.toml")).unwrap();
    let unhurried = manifest.replace("call_ms = 100", &format!("call_ms = {CALL_MS}"));
    assert_ne!(manifest, unhurried, "{plugin} says no call_ms");
    fs::write(package.join("manifest.toml"), unhurried).unwrap();
}

/// What lies in the shared folder, `/mnt` of the guest: gateway, packages, keys and configuration.
fn furnish(stage: &Stage, share: &Path, plugins: &[&str], instances: &str) {
    fs::create_dir_all(share.join("packages")).unwrap();
    guest::gateway(&share.join("wardgate")).unwrap();
    for file in ["ca.pem", "password", "mac.key"] {
        fs::copy(stage.folder.join(file), share.join(file)).unwrap();
        fs::set_permissions(share.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    plugins.iter().for_each(|plugin| unhurried(plugin, &share.join("packages")));
    let ground = format!(
        "[gateway]\nid = \"{GATEWAY}\"\nstate = \"/tmp/state\"\ndeveloper_mode = true\n\n[uplink]\nhost = \"localhost\"\nport = {}\nca_file = \"/mnt/ca.pem\"\n\
         username = \"gateway\"\npassword_file = \"/mnt/password\"\nmac_key_file = \"/mnt/mac.key\"\n\n[plugins]\nallow_unsigned = true\n\n[ble]\npairing = \"just-works\"\n",
        stage.broker_port
    );
    fs::write(share.join("gateway.toml"), ground + instances).unwrap();
}

/// Their part of gateway.toml.
fn instances() -> String {
    let mut text = String::new();
    for Bound { name, address, plugin, service, .. } in &WARD {
        let (settings, writes) = if *name == "meter" { ("settings = { delete = \"yes\", every_s = \"10\" }\n", WRITES) } else { ("", "") };
        text += &format!(
            "\n[instance.{name}]\npackage = \"/mnt/packages/{plugin}-0.1.0\"\n{settings}[instance.{name}.grants.ble]\naddress = \"{address}\"\n\
             bonded = {}\nservices = [\"{service}\", \"180a\", \"180f\"]\n{writes}\n",
            BONDED.contains(name)
        );
    }
    text
}

/// The three ways to pair, each by what a person does at the terminal.
fn pair(guest: &mut Guest, peripherals: &mut Peripherals) {
    // on a busy machine bluetoothd may not answer yet, or not everybody was heard
    wait_to_see(
        "a scan that shows everybody",
        || guest.run("wardgate ble scan --for 2 --config /mnt/gateway.toml").unwrap(),
        |(seen, status)| *status == 0 && WARD.iter().all(|bound| seen.contains(bound.name)),
    );
    for (name, event) in PAIRED {
        let mark = peripherals.mark();
        guest.well("rm -f /tmp/answer; mkfifo /tmp/answer").unwrap();
        // who hides its address is named by the one that it shows now: by a name nobody is paired in an instance's place
        let target = if name == HIDDEN { shown_address(guest, name) } else { name.to_owned() };
        // a person tries again where a busy machine did not answer in time
        let pairs = format!("wardgate ble pair {target} --config /mnt/gateway.toml <>/tmp/answer");
        guest.well(&format!("(for n in 1 2 3 4 5; do {pairs} && break; sleep 1; done >/tmp/pairing 2>&1) & sleep 0")).unwrap();
        let mut shown = |event: &str| {
            let said = peripherals.event(mark, name, event);
            said.unwrap_or_else(|why| panic!("{why}\n{:?}", guest.run("cat /tmp/pairing; tail -n 20 /run/bluetoothd.log")))
        };
        let answer = match event {
            "passkey" => shown(event)["passkey"].as_str().map(str::to_owned),
            "compare" => Some(shown(event)).map(|_| "yes".to_owned()),
            _ => None,
        };
        if let Some(answer) = answer {
            guest.well(&format!("echo {answer} >/tmp/answer")).unwrap();
        }
        let said = peripherals.event(mark, name, "paired");
        said.unwrap_or_else(|why| panic!("{why}\n{:?}", guest.run("cat /tmp/pairing")));
        guest
            .well("for n in $(seq 600); do grep -q 'paired with' /tmp/pairing && exit 0; sleep 0.1; done; cat /tmp/pairing; exit 1")
            .unwrap();
    }
}

/// The address under which a peripheral of this name is near now.
fn shown_address(guest: &mut Guest, name: &str) -> String {
    let seen: Json = serde_json::from_str(&guest.well("wardgate ble scan --for 2 --json --config /mnt/gateway.toml").unwrap()).unwrap();
    let one = seen.as_array().unwrap().iter().find(|seen| seen["name"] == name).unwrap_or_else(|| panic!("{name} is not near: {seen}"));
    one["address"].as_str().unwrap().to_owned()
}

/// Who is bonded, and how.
fn bonded(guest: &mut Guest) -> BTreeMap<String, String> {
    let listed: Json = serde_json::from_str(&guest.well("wardgate ble list --json --config /mnt/gateway.toml").unwrap()).unwrap();
    let one = |seen: &Json| (seen["address"].as_str().unwrap().to_owned(), seen["paired_by"].as_str().unwrap_or("nobody knows").to_owned());
    listed.as_array().unwrap().iter().map(one).collect()
}

/// The values of its mark that came, in order.
fn came(stage: &Stage, bound: &Bound) -> Vec<Content> {
    came_of(stage, bound.name, bound.mark)
}

fn came_of(stage: &Stage, name: &str, channel: &str) -> Vec<Content> {
    let mut tracks = accountant::read_received(&stage.output(), name);
    tracks.remove(channel).unwrap_or_default().into_iter().map(|(_, content)| content).collect()
}

/// The values of a channel that went out, in order; messages of other characteristics say nothing of it.
fn went(sent: &Path, name: &str, channel: &str) -> Vec<Content> {
    let value = |line: &Json| {
        let value = line["says"].get(channel)?;
        Some(Content::Number(value["mantissa"].as_i64().unwrap(), value["exponent"].as_i64().unwrap() as i8))
    };
    guest::sent(sent, name).iter().filter_map(value).collect()
}

/// Each context came at the moment of its record, and the one that the cut kept back did so with a record that was told anew.
fn contexts_came_with_their_records(stage: &Stage, sent: &Path, cut: &Json) {
    let tracks = accountant::read_received(&stage.output(), "meter");
    let of = |context: &Content| if let Content::Number(grams, _) = context { Content::Number(*grams, 0) } else { context.clone() };
    let alone: Vec<_> = tracks[CONTEXT].iter().filter(|(at, context)| !tracks["sequence"].contains(&(*at, of(context)))).collect();
    assert!(alone.is_empty(), "contexts that did not come with their record: {alone:?}");
    let told = |channel: &str| -> Vec<usize> {
        let lines = guest::sent(sent, "meter");
        let those = lines.iter().enumerate().filter(|(_, line)| line["says"][channel]["mantissa"] == cut["record"]);
        those.map(|(n, _)| n).collect()
    };
    let (records, contexts) = (told("sequence"), told(CONTEXT));
    assert!(records.len() > 1 && records[1] < contexts[0], "the cut was to fall between them: {cut}, {records:?}, {contexts:?}");
}

/// A peripheral goes out of reach without a word and comes back; `again` is what its return is known by.
fn out_and_back(peripherals: &mut Peripherals, name: &str, again: &str) {
    peripherals.tell(&format!("vanish {name}")).unwrap();
    let mark = peripherals.mark();
    peripherals.tell(&format!("return {name}")).unwrap();
    peripherals.event(mark, name, again).unwrap();
}

/// Compiles the plugins under qemu's user mode, beside the guest that boots meanwhile: one emulated processor takes two minutes for four of them,
/// this machine's take twenty seconds. The state folder of that gateway is the guest's to begin with. What was compiled for the same gateway and packages
/// before is taken again: it lies beside the guest's image.
fn compile_ahead(share: &Path, log: &Path) {
    let state = share.join("state");
    let tests = std::env::current_exe().unwrap(); // in target/debug/deps
    let kept = tests.ancestors().nth(3).unwrap().join("ble-guest").join(format!("compiled-{}", what_is_compiled(share)));
    if kept.is_dir() {
        return copied(&kept, &state);
    }
    let there = fs::read_to_string(share.join("gateway.toml")).unwrap();
    let broker = there.lines().find(|line| line.starts_with("port = ")).unwrap();
    // it is heard by nobody, and its devices are none of this machine's
    let here = there.replace("/tmp/state", &state.display().to_string()).replace("/mnt", &share.display().to_string());
    let here = here.replace(broker, "port = 1").replace(UART_PORT, &share.join("none").display().to_string());
    let config = share.join("ahead.toml");
    fs::write(&config, here).unwrap();
    let mut command = arm::on_arm("env");
    command.args(["run", "--config"]).arg(&config).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").env("QEMU_CPU", CPU);
    arm::compiles_too(&mut command);
    let mut gateway = Process::start("ahead", &mut command, &log.join("ahead.log")).unwrap();
    gateway.wait_for(arm::READY_S_MAX, |line| line.starts_with("ready").then_some(())).unwrap();
    assert!(gateway.stop().unwrap().success(), "{}", gateway.log_end());
    let half = kept.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&half).unwrap();
    for part in OF_THE_COMPILER {
        copied(&state.join(part), &half.join(part));
    }
    if fs::rename(&half, &kept).is_err() {
        fs::remove_dir_all(&half).unwrap(); // another test was quicker
    }
    let mut all: Vec<_> = fs::read_dir(kept.parent().unwrap()).unwrap().map(Result::unwrap).collect();
    all.retain(|one| one.file_name().to_string_lossy().starts_with("compiled-"));
    all.sort_by_key(|one| std::cmp::Reverse(one.metadata().and_then(|about| about.modified()).ok()));
    all.iter().skip(KEPT_MAX).for_each(|old| drop(fs::remove_dir_all(old.path())));
}

/// Of a state folder: code, and the key under which it is.
const OF_THE_COMPILER: [&str; 2] = ["compiled", "device.key"];
const KEPT_MAX: usize = 4; // each gateway and set of packages has its own, of some MB

/// Another gateway, another package or another processor has another.
fn what_is_compiled(share: &Path) -> String {
    let mut files = vec![share.join("wardgate")];
    let packages = fs::read_dir(share.join("packages")).unwrap().map(|folder| folder.unwrap().path());
    files.extend(packages.flat_map(|folder| ["plugin.wasm", "manifest.toml"].map(|file| folder.join(file))));
    files.sort();
    let mut all = Sha256::new_with_prefix(CPU);
    files.iter().for_each(|file| all.update(Sha256::digest(fs::read(file).unwrap())));
    all.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn copied(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-rT").arg(from).arg(to).status();
    assert!(done.unwrap().success(), "{} to {}", from.display(), to.display());
}

/// The gateway in the guest, which says the rest in the shared folder.
pub const RUN: &str = "wardgate --log text run --config /mnt/gateway.toml >/mnt/gateway.out 2>/mnt/gateway.log & sleep 0";
/// Where the peripherals log what they sent.
const SENT: &str = "sent";

/// Everything but the gateway is up: it lies in the guest, to be started there. In the order in which they end.
pub struct Rig {
    pub guest: Guest,
    pub peripherals: Peripherals,
    pub stage: Stage,
    pub share: PathBuf,
    pub folder: Folder,
}

pub fn rig(name: &str, plugins: &[&str], instances: &str) -> Rig {
    if let Some(why) = guest::missing() {
        panic!("NO REAL KERNEL WAS MET: {why}");
    }
    let folder = Folder::new(name);
    let (share, log) = (folder.0.join("share"), folder.0.join("log"));
    let mut stage = Stage::new(&folder.0).unwrap();
    stage.start_broker().unwrap();
    stage.start_receiver().unwrap();
    furnish(&stage, &share, plugins, instances);
    fs::create_dir_all(&log).unwrap();
    let ahead = std::thread::spawn({
        let (share, log) = (share.clone(), log.clone());
        move || compile_ahead(&share, &log)
    });
    let peripherals = Peripherals::start(&folder.0.join(SENT), &log.join("peripherals.log")).unwrap();
    let mut guest = Guest::start(&share, peripherals.port, &log).unwrap();
    guest.well("cp /mnt/wardgate /bin/wardgate").unwrap();
    ahead.join().expect("the plugins to be compiled, which ahead.log tells of");
    guest.well("umask 077; mkdir /tmp/state && cp -r /mnt/state/compiled /mnt/state/device.key /tmp/state/").unwrap();
    Rig { guest, peripherals, stage, share, folder }
}

/// What a gateway's log says of plugins that it compiled itself, where it was to take what was compiled ahead; `instances` of them are ready.
pub fn compiled_there(log: &str, instances: usize) -> Vec<&str> {
    let ready: Vec<_> = log.lines().filter(|line| line.contains("plugin is ready")).collect();
    assert!(ready.len() >= instances, "{} of {instances} plugins are ready:\n{log}", ready.len());
    ready.into_iter().filter(|line| !line.contains("origin=Cache") && !line.contains("origin=Shared")).collect()
}

/// What a gateway said last, for whoever reads that a test failed.
fn last_lines(log: &Path) -> Vec<String> {
    const LINES: usize = 40;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

/// What the gateway says of itself.
pub fn status(guest: &mut Guest) -> Json {
    serde_json::from_str(&guest.well("wardgate status --json --config /mnt/gateway.toml").unwrap()).unwrap()
}

//= PROMISES.md#P294
#[test]
fn a_plugin_that_was_compiled_in_the_guest_is_seen_in_its_log() {
    let line =
        |name: &str, origin: &str| format!(" INFO plugin is ready instance=\"{name}\" plugin=ble-heart-rate-0.1.0 origin={origin}\n");
    let ahead = line("belt-1", "Cache") + " INFO Bluetooth is there\n" + &line("belt-2", "Shared");
    assert_eq!(compiled_there(&ahead, 2), [""; 0]);
    for slow in ["Compiled", "Recompiled(\"it was made by another gateway\")"] {
        let slow = line("meter", slow);
        assert_eq!(compiled_there(&(ahead.clone() + &slow), 3), [slow.trim_end()]);
    }
    assert!(std::panic::catch_unwind(|| compiled_there(&ahead, 3)).is_err(), "one that is not ready tells nothing");
}

//= PROMISES.md#P190
#[test]
fn on_a_real_bluez_every_notification_comes_once() {
    let Rig { folder, stage, share, mut peripherals, mut guest } =
        rig("ble", &["ble-heart-rate", "ble-oximeter", "ble-thermometer", "ble-glucose"], &instances());
    let sent = folder.0.join(SENT);
    let begun = boottime_ns();
    let took = |what: &str| println!("{:6.1} s  {what}", (boottime_ns() - begun) as f64 / 1e9);
    took(&format!("the guest is up after {:.1} s", guest.boot.as_secs_f64()));
    pair(&mut guest, &mut peripherals);
    took("paired by passkey, by comparison, and by nothing but being there");

    let mark = peripherals.mark();
    peripherals.tell(&format!("cut meter {RECORDS_BEFORE_THE_CUT}")).unwrap();
    peripherals.tell(&format!("push {PUSHY}")).unwrap();
    guest.well(RUN).unwrap();
    let compiled = |(text, code): &(String, i32)| {
        let status: Json = serde_json::from_str(text).unwrap_or_default();
        let settled = |i: &Json| i["opens"].as_u64() > Some(0);
        *code == 0 && status["instances"].as_object().is_some_and(|all| all.len() == WARD.len() && all.values().all(settled))
    };
    wait_to_see("every plugin to be open", || guest.run("wardgate status --json --config /mnt/gateway.toml").unwrap(), compiled);
    took("every plugin is open");
    assert_eq!(
        compiled_there(&fs::read_to_string(share.join("gateway.log")).unwrap(), WARD.len()),
        [""; 0],
        "the cache of beside it was not taken"
    );
    let said = || {
        format!(
            "{}\n{}",
            fs::read_to_string(share.join("gateway.out")).unwrap_or_default(),
            fs::read_to_string(share.join("gateway.log")).unwrap_or_default()
        )
    };
    let up = |log: &String| WARD.iter().all(|bound| log.contains(&format!("Bluetooth link is up link=\"ble {}\"", bound.name)));
    wait_to_see("every link to be up", || fs::read_to_string(share.join("gateway.log")).unwrap_or_default(), up);
    // it is heard all the same, as it was before, and in the end it is bonded no more than before
    let refused = peripherals.event(mark, PUSHY, "pairing failed").unwrap_or_else(|why| panic!("{why}\n{}", said()));
    assert!(refused["reason"].as_str().is_some_and(|why| why.contains("PAIRING_NOT_SUPPORTED")), "{refused}");
    took("all connected, and a belt that demands a bond refused");
    peripherals.tell("speak").unwrap();
    for bound in WARD.iter().filter(|b| b.name != "meter") {
        wait_to_see(&format!("the first values of {}", bound.name), || came(&stage, bound), |came| came.len() >= 5);
    }
    took("five values of each in the receiver's output");

    // the memory of the meter, cut in its middle
    let cut = peripherals.event(mark, "meter", "cut").unwrap();
    peripherals.event(mark, "meter", "disconnected").unwrap();
    peripherals.tell("return meter").unwrap();
    // links are lost, one after the other and again and again, and the bond holds
    out_and_back(&mut peripherals, "belt-1", "connected");
    out_and_back(&mut peripherals, "secret-belt", "encrypted");
    took("out of reach and back, the bond holds");
    // bluetoothd 5.66 ends when a link is lost as it reads its services (tests/ble/README.md): each time the flapper is heard in between
    let flapper = WARD.iter().find(|b| b.name == "flapper").unwrap();
    for _ in 0..FLAPS {
        let before = came(&stage, flapper).len();
        out_and_back(&mut peripherals, "flapper", "connected");
        wait_to_see("the flapper to speak again", || came(&stage, flapper).len(), |n| *n >= before + 3);
    }
    let meter = WARD.iter().find(|b| b.name == "meter").unwrap();
    wait_to_see("every stored record", || came(&stage, meter), |came| came.len() >= RECORDS);
    let refused = |status: &Json| status["instances"]["meter"]["refusals"].as_u64() > Some(0);
    wait_to_see("the memory to be deleted, which is to be refused", || status(&mut guest), refused);
    let before: BTreeMap<_, _> = WARD.iter().map(|b| (b.name, came(&stage, b).len())).collect();
    for bound in WARD.iter().filter(|b| b.name != "meter") {
        let seen = || (came(&stage, bound).len(), last_lines(&share.join("gateway.log")));
        wait_to_see(&format!("{} to speak again", bound.name), seen, |(came, _)| *came >= before[bound.name] + 5);
    }
    took("a flapping belt, and the meter's memory");

    peripherals.tell("hush").unwrap();
    std::thread::sleep(Duration::from_secs(1)); // what is on its way in the radio arrives
    let (mut notified, mut received, mut again) = (0, 0, 0);
    for (name, mark) in WARD.iter().map(|bound| (bound.name, bound.mark)).chain([("meter", CONTEXT)]) {
        let all = went(&sent, name, mark);
        // a meter is asked for its last records on each link, to see that it numbers as it did
        let out = if name == "meter" { once(all.clone()) } else { all.clone() };
        again += all.len() - out.len();
        let what = format!("what is on its way of {name}");
        let got = wait_to_see(&what, || came_of(&stage, name, mark), |came| came.len() >= out.len());
        assert_eq!(got, out, "{name}: what came of {mark}, what went out");
        notified += out.len();
        received += got.len();
    }
    assert_eq!(came_of(&stage, "meter", CONTEXT).len(), CONTEXTS);
    contexts_came_with_their_records(&stage, &sent, &cut);
    let kernel = guest.run("dmesg").unwrap().0;
    assert!(!kernel.contains("0x200e failed"), "the kernel takes a connection that was made for one that was not: {kernel}");
    // nobody else made a bond by itself, and each is known by its identity address and how it was made
    let ways = [("F0:00:00:00:01:03", "just-works"), ("F0:00:00:00:02:01", "compare"), ("F0:00:00:00:04:01", "passkey")];
    assert_eq!(bonded(&mut guest), ways.map(|(address, by)| (address.to_owned(), by.to_owned())).into());
    let books = peripherals.books().unwrap();
    let counted: u64 = books["notified"].as_object().unwrap().values().filter_map(Json::as_u64).sum();
    assert_eq!(counted, (notified + again) as u64, "{books}");
    let writes = books["writes"]["meter"].as_array().unwrap();
    assert!(writes.iter().all(|w| !w.as_str().unwrap().starts_with("02")), "nothing may be deleted: {writes:?}");
    guest.well("kill $(pidof wardgate); for n in $(seq 100); do pidof wardgate >/dev/null || exit 0; sleep 0.2; done; exit 1").unwrap();
    took("stopped");
    println!(
        "ble: {} peripherals, {notified} notifications sent, {received} received, lost {}, paired yes",
        WARD.len(),
        notified - received
    );
}
