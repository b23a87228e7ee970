//! Compiling under limits, and the cache: only what this gateway wrote itself, for this component, is ever run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wardgate::plugin::{CompileLimits, Compiler, Host, Origin, Package, PluginError, Profile, prepare};

use super::{both_links, changed, compiler, folder, hostile_package};

/// One that runs nothing yet, so that nothing is shared and everything comes from the cache.
fn host() -> Arc<Host> {
    Arc::new(Host::probe().unwrap())
}

async fn origin(compiler: &Compiler) -> Origin {
    prepare(&host(), compiler, &hostile_package(), &both_links()).await.unwrap_or_else(|why| panic!("{why}")).1
}

fn entries(state: &Path) -> Vec<PathBuf> {
    fs::read_dir(state.join("compiled")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn an_entry_is_used_again_and_a_changed_one_is_not() {
    let state = folder("cache");
    let compiler = compiler(&state, CompileLimits::default());
    assert_eq!(origin(&compiler).await, Origin::Compiled);
    assert_eq!(origin(&compiler).await, Origin::Cache);
    let [entry] = &entries(&state)[..] else { panic!("{:?}", entries(&state)) };
    let whole = fs::read(entry).unwrap();
    // In its head, its code and its last byte; a flipped byte in code would otherwise load and run.
    for at in [0, 9, 40, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(entry, flipped).unwrap();
        assert!(matches!(origin(&compiler).await, Origin::Recompiled(_)), "byte {at}");
        assert_eq!(origin(&compiler).await, Origin::Cache);
    }
    fs::write(entry, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(origin(&compiler).await, Origin::Recompiled(_)));
}

#[tokio::test]
async fn an_entry_of_another_gateway_is_not_used() {
    let (ours, theirs) = (folder("ours"), folder("theirs"));
    fs::write(theirs.join("device.key"), [9; 32]).unwrap();
    fs::set_permissions(theirs.join("device.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (at_ours, at_theirs) = (compiler(&ours, CompileLimits::default()), compiler(&theirs, CompileLimits::default()));
    assert_eq!(origin(&at_theirs).await, Origin::Compiled);
    let entry = entries(&theirs).remove(0);
    fs::copy(&entry, ours.join("compiled").join(entry.file_name().unwrap())).unwrap();
    assert!(matches!(origin(&at_ours).await, Origin::Recompiled(why) if why.contains("another gateway")));
}

#[tokio::test]
async fn each_memory_profile_has_an_entry_of_its_own() {
    let state = folder("profiles");
    let compiler = compiler(&state, CompileLimits::default());
    for (n, profile) in [Profile::Guarded, Profile::Compact].into_iter().enumerate() {
        for origin in [Origin::Compiled, Origin::Cache] {
            let host = Arc::new(Host::with(profile).unwrap());
            assert_eq!(prepare(&host, &compiler, &hostile_package(), &both_links()).await.unwrap().1, origin);
        }
        assert_eq!(entries(&state).len(), n + 1);
    }
}

#[tokio::test]
async fn instances_of_one_package_share_its_code_while_one_of_them_lives() {
    let (host, state) = (host(), folder("shared"));
    let compiler = compiler(&state, CompileLimits::default());
    let prepare = || async { prepare(&host, &compiler, &hostile_package(), &both_links()).await.unwrap() };
    let (first, origin) = prepare().await;
    assert_eq!(origin, Origin::Compiled);
    let (second, origin) = prepare().await;
    assert!(origin == Origin::Shared && Arc::ptr_eq(&first, &second));
    drop((first, second));
    assert_eq!(prepare().await.1, Origin::Cache);
}

async fn limited(limits: CompileLimits, package: &Package) -> PluginError {
    let state = folder(&format!("limit-{limits:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let why =
        prepare(&host(), &compiler(&state, limits), package, &both_links()).await.err().unwrap_or_else(|| panic!("{limits:?} was enough"));
    assert!(entries(&state).is_empty(), "{:?}", entries(&state));
    why
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn section(id: u8, bytes: Vec<u8>) -> Vec<u8> {
    [vec![id], leb(bytes.len()), bytes].concat()
}

/// How many core modules a component holds: its sections, one after the other.
fn modules(component: &[u8]) -> usize {
    let (mut at, mut found) = (8, 0);
    while at < component.len() {
        found += usize::from(component[at] == 1);
        at += 1;
        let (mut bytes, mut shift) = (0, 0);
        loop {
            let byte = component[at];
            at += 1;
            bytes |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        at += bytes;
    }
    found
}

/// The hostile guest with one more core module that is instantiated, with so many memories and a start section of this body.
fn with_start(name: &str, memories: u8, body: &[u8]) -> Package {
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 0, 0]), // (func)
        section(3, vec![1, 0]),
        section(5, [vec![memories], [0, 1].repeat(memories.into())].concat()), // (memory 1)
        section(8, vec![0]),
        section(10, [vec![1], leb(body.len() + 1), vec![0], body.to_vec()].concat()),
    ];
    let started = |component: Vec<u8>| {
        let instance = [vec![1, 0], leb(modules(&component)), vec![0]].concat(); // (core instance (instantiate N))
        [component, section(1, module.concat()), section(2, instance)].concat()
    };
    let folder = changed(name, started, |manifest| manifest);
    Package::open(&folder, true).unwrap()
}

#[tokio::test]
async fn a_start_section_runs_under_the_limits_of_a_call() {
    let state = folder("start-section");
    let endless = with_start("endless", 0, &[0x03, 0x40, 0x0c, 0, 0x0b, 0x0b]); // loop br 0 end
    let second = with_start("second-memory", 1, &[0x0b]);
    let harmless = with_start("harmless", 0, &[0x0b]);
    let compiler = compiler(&state, CompileLimits::default());
    for (package, says) in [
        (&endless, "ms of processor time in one call, 100 are allowed"),
        (&second, "contains 2 Wasm linear memories, which exceeds"), // its limit would be twice what it asks for
    ] {
        let why = prepare(&host(), &compiler, package, &both_links()).await.err().expect("it runs away").to_string();
        assert!(why.starts_with("plugin hostile-0.1.0 does not ") && why.contains(says), "{why}");
    }
    prepare(&host(), &compiler, &harmless, &both_links()).await.expect("a start section that ends is a right of every module");
}

/// The hostile guest with one more core module inside, of so many functions with this body.
fn with_module(name: &str, functions: usize, body: &[u8]) -> Package {
    let one = [leb(body.len() + 1), vec![0], body.to_vec()].concat(); // no locals
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]), // (func (param i32) (result i32))
        section(3, [leb(functions), vec![0; functions]].concat()),
        section(10, [leb(functions), one.repeat(functions)].concat()),
    ];
    let folder = changed(name, |component| [component, section(1, module.concat())].concat(), |manifest| manifest);
    Package::open(&folder, true).unwrap()
}

/// local.get 0, then over and over: local.get 0, i32.mul, i32.const 3, i32.add
fn body(times: usize) -> Vec<u8> {
    [vec![0x20, 0], [0x20, 0, 0x6c, 0x41, 3, 0x6a].repeat(times), vec![0x0b]].concat()
}

/// Packages that pass for packages and do not come to run, and what is said of each.
pub fn unfit() -> Vec<(&'static str, PathBuf, &'static str)> {
    let of = |package: Package| package.path;
    let renamed = |name, what, to: &'static str| {
        changed(name, move |c| super::renamed(&c, &format!("wardgate:device/{what}"), to), |manifest| manifest)
    };
    vec![
        ("deep", of(with_module("ward-deep", 1, &body(600_000))), "took more than it may"),
        ("broken", of(with_module("ward-broken", 1, &[0x6a, 0x0b])), "type mismatch"),
        ("endless", of(with_start("ward-endless", 0, &[0x03, 0x40, 0x0c, 0, 0x0b, 0x0b])), "ms of processor time in one call"),
        ("second-memory", of(with_start("ward-second-memory", 1, &[0x0b])), "contains 2 Wasm linear memories"),
        ("wasi", renamed("ward-wasi", "serial@0.1.0", "wasi:filesystem/types@0.2.10"), "imports wasi:filesystem/types@0.2.10"),
        ("mute", renamed("ward-mute", "lifecycle@0.1.0", "wardgate:device/lifecycla@0.1.0"), "does not export wardgate:device/lifecycle"),
    ]
}

#[tokio::test]
async fn a_compilation_over_a_limit_is_named() {
    let usual = CompileLimits::default();
    let (long, deep) = (with_module("long", 330, &body(1500)), with_module("deep", 1, &body(300_000)));
    for (package, limits, says) in [
        (&deep, CompileLimits { address_bytes: 128 << 20, ..usual }, "128 MiB of memory"),
        (&long, CompileLimits { cpu_s: 1, ..usual }, "1 s of processor time"),
        (&long, CompileLimits { wall_s: 0, ..usual }, "0 s in all"),
    ] {
        let why = limited(limits, package).await;
        assert!(matches!(&why, PluginError::CompileLimit { plugin, limit } if plugin == "hostile-0.1.0" && limit == says), "{says}: {why}");
        assert!(why.to_string().contains("Build it smaller"), "{why}");
    }
}

#[tokio::test]
async fn what_does_not_compile_is_said_in_the_compilers_words() {
    // i32.add with nothing to add
    let why = limited(CompileLimits::default(), &with_module("broken", 1, &[0x6a, 0x0b])).await;
    assert!(matches!(&why, PluginError::Invalid { plugin, why } if plugin == "hostile-0.1.0" && why.contains("type mismatch")), "{why}");
}

#[tokio::test]
async fn a_missing_compiler_is_named() {
    let state = folder("no-compiler");
    let key = wardgate::plugin::DeviceKey::open(&state, [7; 32]).unwrap();
    let nobody = Compiler::open(&state, key, "/nowhere/wardgate".into(), vec![], CompileLimits::default()).unwrap();
    let why = prepare(&host(), &nobody, &hostile_package(), &both_links()).await.err().unwrap().to_string();
    assert!(why.contains("/nowhere/wardgate") && why.contains("No such file"), "{why}");
}

/// The child of the gateway's own binary, not of this one: there is one thread in it, as on a ward.
//= PROMISES.md#P166
#[test]
fn a_compiler_that_was_taken_over_reaches_no_file_no_network_and_no_other_process() {
    let folder = folder("break-out");
    let out = folder.join("tried");
    let limits = CompileLimits::default();
    let compile = |profile: &str, component: &[u8]| {
        let mut child = std::process::Command::new(wardgate_lab::process::binary("wardgate").expect("built"));
        child.arg(Compiler::VERB).arg(&out).arg(profile).arg(limits.address_bytes.to_string()).arg(limits.cpu_s.to_string());
        child.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = child.spawn().expect("it starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("piped"), component).expect("taken");
        let ended = child.wait_with_output().expect("it ends");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (code, said) = compile("break-out", b"");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("walls: seccomp and landlock\n"), "this kernel has both: {said}");
    let tried = fs::read_to_string(&out).expect("its output was open before");
    assert_eq!(tried.lines().count(), 9, "{tried}");
    for line in tried.lines() {
        assert!(line.ends_with(": false"), "it could {line}");
    }
    // and it compiles behind them
    let (code, said) = compile("guarded", &hostile_package().component);
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(&out).expect("code").len() > 1000);
}

/// As systemd starts it for each connection: `images/common/wardgate-compile@.service`.
#[tokio::test]
async fn a_compiler_behind_a_socket_makes_the_same_and_says_the_same() {
    let folder = folder("compile-socket");
    let socket = folder.join("compile.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for peer in listener.incoming().flatten() {
            let out: std::os::fd::OwnedFd = peer.try_clone().expect("another").into();
            let mut one = std::process::Command::new(wardgate_lab::process::binary("wardgate").expect("built"));
            one.args([Compiler::VERB, "serve"]).stdin(std::os::fd::OwnedFd::from(peer)).stdout(out).stderr(std::process::Stdio::null());
            one.status().expect("it runs");
        }
    });
    let compiler = compiler(&folder, CompileLimits::default()).at(Some(socket));
    let (_, origin) = prepare(&host(), &compiler, &hostile_package(), &both_links()).await.expect("compiled");
    assert_eq!(origin, Origin::Compiled);
    let why = prepare(&host(), &compiler, &with_module("broken", 1, &[0x6a, 0x0b]), &both_links()).await.err().expect("broken");
    assert!(matches!(&why, PluginError::Invalid { why, .. } if why.contains("type mismatch")), "{why}");
    let nobody = super::compiler(&folder, CompileLimits::default()).at(Some("/nowhere/compile.sock".into()));
    let why = prepare(&host(), &nobody, &with_module("other", 1, &[0x20, 0, 0x0b]), &both_links()).await.err().expect("nobody");
    assert!(why.to_string().contains("/nowhere/compile.sock") && why.remedy("bed").contains("systemctl"), "{why}");
}
