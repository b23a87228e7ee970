//! The sandbox holds: a plugin that misbehaves in any way loses its call, says so by name, and harms nothing else.
//!
//! The guests are real: `tests/guests/hostile` is built by `wardgate plugin build` itself, once. It is a Rust crate and not hand-written
//! WebAssembly, because panics, stack overflows and function names are what compilers make of them.

mod build;
mod cache;
mod supervisor;
mod units;

pub use cache::unfit;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::process::{Resource, Rlimit};
use wardgate::config::Link;
use wardgate::contract::lifecycle::Opening;
use wardgate::contract::types::{Fact, Moment};
use wardgate::contract::{CallError, Event, Outcome, Said, Trap};
use wardgate::plugin::{
    Breach, CompileLimits, Compiler, DeviceKey, Fault, Host, Instance, Mismatch, Origin, Package, PluginError, Prepared, Profile, Spent,
    Surface, at_once, child_main, prepare,
};

pub const NOW: Moment = Moment { boot: 1, monotonic_ns: 1_000_000_000, wall: None };

/// This binary is its own compiler, as the gateway is: the tests below start it with these words.
#[test]
fn compile_child() {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(verb) = args.iter().position(|arg| arg == Compiler::VERB) {
        let code = child_main(&args[verb + 1..]);
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// As on a Pi with little address space left: started by the test below with this word.
#[test]
fn probe_child() {
    if std::env::args().any(|arg| arg == "probe-in-16-gib") {
        let bytes = Some(16 << 30);
        rustix::process::setrlimit(Resource::As, Rlimit { current: bytes, maximum: bytes }).unwrap();
        let profile = Host::probe().unwrap().profile;
        std::process::exit(if profile == Profile::Compact { 42 } else { 1 });
    }
}

#[test]
fn where_guarded_memories_do_not_fit_the_compact_profile_is_taken() {
    let program = std::env::current_exe().unwrap();
    let mut probe = std::process::Command::new(program);
    let ended = probe.args(["--exact", "sandbox::probe_child", "--nocapture", "probe-in-16-gib"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(42), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(Host::probe().unwrap().profile, Profile::Guarded, "here there is room");
}

pub fn compiler(state: &Path, limits: CompileLimits) -> Compiler {
    let program = std::env::current_exe().expect("a test runs in a file");
    let leading = ["--exact", "sandbox::compile_child", "--nocapture", Compiler::VERB].map(OsString::from).to_vec();
    let key = DeviceKey::open(state, [7; 32]).unwrap();
    Compiler::open(state, key, program, leading, limits).unwrap()
}

/// A fresh folder for one test.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The package of the hostile guest, built once.
fn guest(name: &str) -> PathBuf {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests").join(name);
    wardgate::plugin::build(&guest).unwrap_or_else(|why| panic!("{why}")).folder
}

pub fn hostile_folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| guest("hostile"))
}

/// The filter that says what it hears.
pub fn echo_folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| guest("echo"))
}

/// What hears devices that only broadcast.
pub fn beacon_folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| guest("beacon"))
}

pub fn hostile_package() -> Package {
    Package::open(hostile_folder(), true).unwrap()
}

pub fn host() -> Arc<Host> {
    static HOST: OnceLock<Arc<Host>> = OnceLock::new();
    HOST.get_or_init(|| Arc::new(Host::probe().unwrap())).clone()
}

pub fn both_links() -> BTreeSet<Link> {
    BTreeSet::from([Link::Modbus, Link::Serial])
}

/// The hostile guest, compiled once and linked.
pub fn hostile() -> Arc<Prepared> {
    static READY: OnceLock<Arc<Prepared>> = OnceLock::new();
    READY
        .get_or_init(|| {
            let state = folder("hostile");
            let compiler = compiler(&state, CompileLimits::default());
            let make = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(prepare(&host(), &compiler, &hostile_package(), &both_links()))
            };
            let made = std::thread::scope(|s| s.spawn(make).join().unwrap()); // its runtime ends where no other runs
            let (prepared, origin) = made.unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(origin, Origin::Compiled);
            prepared
        })
        .clone()
}

fn opening(settings: &[(&str, &str)], saved: Option<u32>) -> Opening {
    let settings = settings.iter().map(|(name, value)| Fact { name: (*name).into(), value: (*value).into() }).collect();
    Opening { settings, about: vec![], seed: 1, saved: saved.map(|n| n.to_le_bytes().to_vec()) }
}

fn opened() -> Instance {
    let mut instance = at_once(hostile().start()).unwrap();
    at_once(instance.open(NOW, &opening(&[], None))).unwrap();
    instance
}

fn order(instance: &mut Instance, what: &str) -> Result<Outcome, Spent> {
    at_once(instance.call(NOW, &Event::SerialReceived(what.into())))
}

fn fails(what: &str) -> Spent {
    let mut instance = opened();
    let spent = order(&mut instance, what).map(drop).expect_err(what);
    assert!(order(&mut instance, "count").is_err(), "after \"{what}\" the instance is spent");
    order(&mut opened(), "count").expect("and the next one is not");
    spent
}

fn trap(spent: &Spent) -> (&Trap, &[String]) {
    match &spent.why {
        Fault::Call(CallError::Trap { kind, trace }) => (kind, trace),
        other => panic!("not a trap: {other}"),
    }
}

#[test]
fn an_order_is_obeyed_in_the_order_in_which_it_was_said() {
    let mut instance = opened();
    let outcome = order(&mut instance, "count").unwrap();
    assert!(matches!(&outcome.said[..], [Said::Emit(o), Said::Keep(k)] if o[0].readings.len() == 1 && *k == 1_u32.to_le_bytes()));
    assert_eq!(outcome.problem, None);
}

#[test]
fn a_panic_is_told_with_its_message_and_function() {
    let spent = fails("keep then panic");
    let (kind, trace) = trap(&spent);
    assert!(matches!(kind, Trap::Panic(Some(text)) if text.contains("frame 1000 has no end")), "{kind}");
    assert!(trace.iter().any(|name| name.contains("decode_frame_without_end")), "{trace:?}");
    assert!(trace.contains(&"hostile::obey".to_owned()), "{trace:?}");
    let logs: Vec<_> = spent.logs.iter().map(|log| log.text.as_str()).collect();
    assert_eq!(logs[0], "about to fail");
    assert!(logs[1].contains("frame 1000 has no end") && logs[1].contains("lib.rs"), "{logs:?}");
}

//= PROMISES.md#P13
#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let spent = fails("loop");
    let (Trap::Deadline { used_ms, max_ms }, trace) = trap(&spent) else { panic!("{}", spent.why) };
    assert!(*max_ms == 100 && *used_ms >= 100, "{}", spent.why);
    assert!(trace.iter().any(|name| name.contains("obey")), "{trace:?}");
}

#[test]
fn more_than_the_quota_ends_the_call() {
    for (what, says) in [
        ("many calls", "number of calls"),
        ("many bytes", "bytes said"),
        ("many bytes at once", "bytes in one call"),
        ("many small things", "bytes in one call"),
    ] {
        let spent = fails(what);
        assert!(matches!(trap(&spent).0, Trap::OverQuota(which) if which.contains(says)), "{what}: {}", spent.why);
    }
}

//= PROMISES.md#P13
#[test]
fn memory_beyond_the_manifest_ends_the_call() {
    let spent = fails("memory");
    let (Trap::Memory { asked_bytes, max_bytes }, _) = trap(&spent) else { panic!("{}", spent.why) };
    assert!(*max_bytes == 4 << 20 && asked_bytes > max_bytes, "{}", spent.why);
    assert!(spent.why.to_string().contains("limits.memory_mib"), "{}", spent.why);
}

#[test]
fn a_stack_that_overflows_ends_the_call() {
    let spent = fails("stack");
    let (kind, trace) = trap(&spent);
    assert!(matches!(kind, Trap::Stack | Trap::OutOfBounds), "{}", spent.why);
    assert!(trace.iter().any(|name| name.contains("descend")), "{trace:?}");
}

#[test]
fn what_it_logs_is_safe_to_show() {
    let outcome = order(&mut opened(), "escape").unwrap();
    assert_eq!(outcome.logs[0].text, "\\u{1b}[2Jall is well\\nroot: forged");
}

#[test]
fn a_broken_rule_counts_as_a_trap() {
    let mut instance = opened();
    let spent = order(&mut instance, "undescribed").unwrap_err();
    assert_eq!(spent.why, Fault::Rule(Breach::Undescribed(9)));
    let spent = order(&mut opened(), "large state").unwrap_err();
    assert_eq!(spent.why, Fault::Rule(Breach::State { bytes: 65, max: 64 }));
}

#[test]
fn a_problem_keeps_what_was_said_and_a_fatal_one_does_not() {
    let outcome = order(&mut opened(), "problem").unwrap();
    assert_eq!(outcome.said.len(), 2);
    assert_eq!(outcome.problem.unwrap().detail, "the device said no");
    let spent = order(&mut opened(), "fatal").unwrap_err();
    assert_eq!(spent.why.to_string(), "gave up: the device said no");
}

#[test]
fn a_bad_state_at_open_is_a_panic_with_its_reason() {
    let start = Opening { saved: Some(vec![1, 2, 3]), ..opening(&[], None) };
    let spent = at_once(at_once(hostile().start()).unwrap().open(NOW, &start)).expect_err("three bytes");
    assert!(spent.logs[0].text.contains("four bytes were kept"), "{:?}", spent.logs);
}

#[test]
fn all_instances_that_are_promised_fit_and_one_more_is_refused() {
    // A host of its own: the other tests hold instances too.
    let host = Arc::new(Host::with(Profile::Compact).unwrap());
    let state = folder("many");
    let made = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(async { prepare(&host, &compiler(&state, CompileLimits::default()), &hostile_package(), &both_links()).await });
    let (plugin, _) = made.unwrap_or_else(|why| panic!("{why}"));
    let mut held = Vec::new();
    for n in 0..wardgate::plugin::INSTANCES_MAX {
        let mut instance = at_once(plugin.start()).unwrap_or_else(|spent| panic!("instance {n}: {}", spent.why));
        at_once(instance.open(NOW, &opening(&[], Some(n)))).unwrap();
        held.push(instance);
    }
    let why = at_once(plugin.start()).err().expect("the pool is empty").why.to_string();
    assert!(why.contains("limit of 64"), "{why}");
    for instance in &mut held {
        order(instance, "count").unwrap();
    }
    held.pop();
    at_once(plugin.start()).expect("a slot came back");
}

/// A copy of the hostile package with other bytes or another manifest.
fn changed(name: &str, component: impl FnOnce(Vec<u8>) -> Vec<u8>, manifest: impl FnOnce(String) -> String) -> PathBuf {
    let (from, to) = (hostile_folder(), folder(name).join("hostile-0.1.0"));
    fs::create_dir_all(&to).unwrap();
    fs::write(to.join("plugin.wasm"), component(fs::read(from.join("plugin.wasm")).unwrap())).unwrap();
    fs::write(to.join("manifest.toml"), manifest(fs::read_to_string(from.join("manifest.toml")).unwrap())).unwrap();
    to
}

/// Names are not covered by any checksum inside a component, so another name of the same length makes another component.
fn renamed(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = component.to_vec();
    let mut found = 0;
    for at in 0..=out.len() - from.len() {
        if out[at..].starts_with(from.as_bytes()) {
            out[at..at + to.len()].copy_from_slice(to.as_bytes());
            found += 1;
        }
    }
    assert!(found > 0, "{from} is not there");
    out
}

fn refusal(package: &Path) -> String {
    Package::open(package, true).expect_err("it was taken").to_string()
}

#[test]
fn imports_and_exports_are_held_against_the_manifest() {
    let same = |x: String| x;
    let links = |to: &'static str| move |m: String| m.replace("[\"modbus\", \"serial\"]", to);
    let name = |from: &'static str, to: &'static str| move |c: Vec<u8>| renamed(&c, from, to);
    for (folder, says) in [
        (
            changed("no-modbus", |c| c, links("[\"serial\"]")),
            "plugin hostile-0.1.0 imports wardgate:device/modbus, which its manifest does not ask for. To ask for it, add \"modbus\" to `links`",
        ),
        (changed("ble", |c| c, links("[\"ble\", \"modbus\", \"serial\"]")), "asks for ble, but does not export wardgate:device/ble-events"),
        (
            changed("wasi", name("wardgate:device/serial@0.1.0", "wasi:filesystem/types@0.2.10"), same),
            "imports wasi:filesystem/types@0.2.10, which this gateway has not",
        ),
        (changed("odd", name("wardgate:device/serial@0.1.0", "wardgate:device/seriel@0.1.0"), same), "wardgate:device/seriel@0.1.0"),
        (
            changed("old", name("wardgate:device/modbus@0.1.0", "wardgate:device/modbus@0.2.0"), same),
            "of a version that this gateway does not speak",
        ),
        (
            changed("new", name("wardgate:device/modbus@0.1.0", "wardgate:device/modbus@0.1.1"), same),
            "of a version that this gateway does not speak",
        ),
        (
            changed("mute", name("wardgate:device/lifecycle@0.1.0", "wardgate:device/lifecycla@0.1.0"), same),
            "does not export wardgate:device/lifecycle",
        ),
    ] {
        let why = refusal(&folder);
        assert!(why.contains(says), "{why}\n  should say: {says}");
    }
    let none =
        changed("none", |c| renamed(&renamed(&c, "device/modbus@", "device/filter@"), "device/serial@", "device/filter@"), links("[]"));
    assert!(refusal(&none).contains("wardgate:device/filter@0.1.0"));
}

#[test]
fn what_the_site_does_not_grant_is_refused_before_anything_is_compiled() {
    let state = folder("ungranted");
    let nobody =
        Compiler::open(&state, DeviceKey::open(&state, [7; 32]).unwrap(), "/nowhere".into(), vec![], CompileLimits::default()).unwrap();
    let made =
        tokio::runtime::Runtime::new().unwrap().block_on(prepare(&host(), &nobody, &hostile_package(), &BTreeSet::from([Link::Serial])));
    let why = made.err().expect("modbus is not granted");
    assert!(matches!(&why, PluginError::Refused { why: Mismatch::NotGranted { link: Link::Modbus, .. }, .. }), "{why}");
    assert!(why.to_string().contains("with this site's own where dots stand, in gateway.toml: modbus = { bus"), "{why}");
}

#[test]
fn a_package_is_refused_for_what_is_wrong_with_it() {
    let same = |x: String| x;
    let why = Package::open(hostile_folder(), false).unwrap_err().to_string();
    assert!(why.contains("allow_unsigned = true") && why.contains("[plugins]") && why.contains("whoever can write"), "{why}");
    let cut = changed("cut", |c| c[..c.len() / 2].to_vec(), same);
    let why = refusal(&cut);
    assert!(why.starts_with("plugin hostile-0.1.0 is not a component: ") && why.contains("wardgate plugin build"), "{why}");
    let core = changed("core", |_| b"\0asm\x01\0\0\0".to_vec(), same);
    assert!(refusal(&core).contains("is a core module"), "{}", refusal(&core));
    let large = changed("large", |_| vec![0; (4 << 20) + 1], same);
    assert!(refusal(&large).contains("larger than 4194304 bytes"), "{}", refusal(&large));
    let misnamed = changed("misnamed", |c| c, |m| m.replace("version = \"0.1.0\"", "version = \"0.2.0\""));
    assert!(refusal(&misnamed).contains("name it hostile-0.2.0"), "{}", refusal(&misnamed));
    let typo = changed("typo", |c| c, |m| m.replace("memory_mib", "memory_mb"));
    assert!(refusal(&typo).contains("manifest.toml: line 11: nothing") && refusal(&typo).contains("\"memory_mib\""), "{}", refusal(&typo));
    let future = changed("future", |c| c, |m| format!("contract = \"0.2.0\"\n{m}"));
    assert!(refusal(&future).contains("was written for wardgate:device@0.2.0"), "{}", refusal(&future));
    let gone = changed("gone", |c| c, same);
    fs::remove_file(gone.join("plugin.wasm")).unwrap();
    assert!(refusal(&gone).contains("plugin.wasm: cannot be read: No such file"), "{}", refusal(&gone));
}

#[test]
fn a_component_that_was_cut_is_never_taken_for_less_than_it_was() {
    let whole = hostile_package();
    for n in (0..whole.component.len()).step_by(61) {
        let read = Surface::read(&whole.component[..n]).and_then(|s| s.matches(&whole.manifest).map(|()| s));
        // Without the notes at its end (names of tools) it is still all there.
        assert!(read.is_err() || read == Ok(whole.surface.clone()) && n > whole.component.len() * 9 / 10, "cut at {n}: {read:?}");
    }
}

#[test]
fn bytes_changed_anywhere_never_get_past_reading_with_a_panic() {
    let whole = fs::read(hostile_folder().join("plugin.wasm")).unwrap();
    let mut x = 0x2545_f491_4f6c_dd1d_u64; // xorshift
    let mut refused = 0;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = x as usize % bytes.len();
            bytes[at] = (x >> 40) as u8;
        }
        refused += u32::from(Surface::read(&bytes).and_then(|s| s.matches(&hostile_package().manifest)).is_err());
    }
    assert!(refused > 0, "not one of 2000 was refused");
}
