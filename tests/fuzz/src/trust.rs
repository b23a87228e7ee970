//! What a gateway reads of trust: the fleet's metadata in short, its own audit log and memory, what the site signed. Codes and signatures are made
//! right where a first byte says so, for a fuzzer would never guess one.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wardgate::audit::{Audit, Entry, Head, Moment, Record, What, verify_text};
use wardgate::keys::{PublicKey, SecretKey};
use wardgate::plugin::{DeviceKey, Exception, Fleet, Memory, allows, sign_config, sign_override, signs};

/// What one device wrote, once for all inputs.
struct Device {
    memory: Memory,
    key: PublicKey,
    log: Vec<u8>,
    records: Vec<Record>,
    head: Vec<u8>,
    remembered: Vec<u8>,
    signature: Vec<u8>,
    allowed: Vec<u8>,
}

const CONFIG: &[u8] = b"x = 1\n";

fn site() -> SecretKey {
    SecretKey::of_seed(&[7; 32])
}

fn older(vendor: &str, release: u64) -> Exception {
    Exception::older(vendor, "pump", release)
}

fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let state = std::env::temp_dir().join(format!("wardgate-fuzz-trust-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&state);
        let key = DeviceKey::open(&state, [1; 32]).expect("a key");
        let audit = Audit::new(&state, key.signer());
        for (what, instance) in [(What::Start, "a"), (What::Bind, "b"), (What::GrantApprove, "c"), (What::Stop, "d")] {
            audit.append(Entry::new(what, "uid 0", [("instance", &instance)]), Moment::default()).expect("room");
        }
        let memory = Memory::of(&state, key.clone());
        memory.change(|m| m.saw("acme", "pump", 7, None)).expect("room");
        let file = state.join("gateway.toml");
        std::fs::write(&file, CONFIG).expect("room");
        let read = |path: PathBuf| std::fs::read(path).expect("it was written");
        let (log, head, remembered) = (read(state.join("audit.log")), read(state.join("audit.head")), read(memory.path()));
        let signature = read(sign_config(&file, &site()).expect("room"));
        let allowed = read(sign_override(&state, &site(), &older("acme", 6), "ward-3").expect("a name").put().expect("room"));
        let key = key.signer().public();
        let records = verify_text(Path::new("audit.log"), &log, &key).expect("whole").records;
        std::fs::remove_dir_all(&state).expect("it was made");
        Device { memory, key, log, records, head, remembered, signature, allowed }
    })
}

pub fn fleet(data: &[u8]) {
    let Ok(read) = Fleet::parse("fleet.json".into(), data) else { return };
    assert_eq!(Fleet::parse("fleet.json".into(), &read.write()).as_ref(), Ok(&read), "what was written is read");
    for (wall_s, newest_s) in [(None, 0), (Some(i64::MIN), i64::MAX), (Some(i64::MAX), i64::MIN), (Some(1_800_000_000), 1)] {
        read.freshness(wall_s, newest_s);
    }
    for release in &read.revoked_releases {
        assert!(read.revoked(&release.vendor, &site().public(), &release.name, release.release).is_some());
    }
}

pub fn fleet_seeds() -> Vec<Vec<u8>> {
    let key = site().public().id();
    let whole = format!(
        r#"{{"format":1,"root_version":1,"timestamp_version":2,"snapshot_version":3,"expires":"2027-01-01T00:00:00Z",
        "checked":"2026-12-01T00:00:00Z","floor":"2026-12-01T00:00:00.5Z","issued":null,
        "revoked_keys":[{{"vendor":"acme","key":"{key}","reason":"stolen","since":"2026-11-01T00:00:00Z"}}],
        "revoked_releases":[{{"vendor":"acme","name":"pump","release":7,"reason":"it leaks"}}],"vendors":[]}}"#
    );
    vec![whole.into()]
}

/// Nothing that a signature covers is other than the device wrote it.
pub fn audit(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    if how % 2 == 1 {
        let head = Head::read(rest, &device().key);
        return assert!(head.is_none() || head == Head::read(&device().head, &device().key), "forged");
    }
    if let Ok(whole) = verify_text(Path::new("audit.log"), rest, &device().key) {
        assert!(whole.records.iter().filter(|r| r.n <= whole.covered).all(|r| device().records.contains(r)), "forged");
    }
}

pub fn audit_seeds() -> Vec<Vec<u8>> {
    let with = |how: u8, bytes: &[u8]| [&[how][..], bytes].concat();
    vec![with(0, &device().log), with(1, &device().head)]
}

/// A file as it is, or a body under a right code, as another version may have written it.
pub fn memory(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let memory = &device().memory;
    if how % 2 == 1 {
        _ = memory.parse(&memory.sealed(rest));
    } else {
        assert!(memory.parse(rest).is_none_or(|read| Some(read) == memory.parse(&device().remembered)), "forged");
    }
}

pub fn memory_seeds() -> Vec<Vec<u8>> {
    let whole = &device().remembered;
    let body = whole.split(|b| *b == b'\n').next().expect("a line");
    vec![[&[0][..], whole].concat(), [&[1][..], body].concat()]
}

/// A signature of gateway.toml, or an override: for exactly what was signed.
pub fn signed(data: &[u8]) {
    let key = site().public();
    assert!(
        !signs(data, b"x = 2\n", &key)
            && !allows(data, &key, &older("acme", 5), "ward-3")
            && !allows(data, &key, &older("other", 6), "ward-3"),
        "forged"
    );
    assert!(!allows(data, &key, &older("acme", 6), "ward-4"), "carried elsewhere");
    assert!(!allows(data, &key, &Exception::other("acme", "pump", 6, &"a".repeat(64)), "ward-3"), "forged");
    _ = (signs(data, CONFIG, &key), allows(data, &key, &older("acme", 6), "ward-3"));
}

pub fn signed_seeds() -> Vec<Vec<u8>> {
    vec![device().signature.clone(), device().allowed.clone()]
}
