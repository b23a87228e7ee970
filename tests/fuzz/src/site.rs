//! What people write: gateway.toml with its grants, manifests, write patterns.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wardgate::capability::{modbus, serial};
use wardgate::config::{Config, Manifest};

/// A file in memory for those who read files only; one a process.
fn scratch() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("wardgate-fuzz-{}.toml", std::process::id()))
    })
}

pub fn config(data: &[u8]) {
    std::fs::write(scratch(), data).expect("room for a file");
    let loaded = Config::load(scratch());
    std::fs::remove_file(scratch()).expect("it was written");
    let Ok(config) = loaded else { return };
    _ = config.gateway_id();
    for (name, instance) in &config.instances {
        if let Some(Ok(grant)) = instance.grants.serial.as_ref().map(|g| serial::Grant::new(name, g)) {
            grant.explain();
            _ = grant.permits(b"\x02R?\r");
        }
        if let Some(Ok(grant)) = instance.grants.modbus.as_ref().map(|g| modbus::Grant::new(name, g)) {
            grant.explain();
            assert!(grant.room() >= grant.requests_max());
        }
    }
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let whole = include_str!("../../../runtime/gateway.toml");
    let without_comments: String = whole.lines().map(|l| l.strip_prefix("# ").unwrap_or(l).to_owned() + "\n").collect();
    vec![whole.into(), without_comments.into()]
}

pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(&String::from_utf8_lossy(data)) else { return };
    manifest.full_name();
}

pub fn manifest_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../../../plugins/ivy450c/manifest.toml"),
        include_str!("../../../plugins/modbus-map/manifest.toml"),
        include_str!("../../guests/hostile/manifest.toml"),
    ]
    .map(|text| text.into())
    .to_vec()
}

/// First line the pattern, then the frame. The pattern that a refusal offers for a frame permits exactly that frame.
pub fn pattern(data: &[u8]) {
    let (source, frame) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(data.len()));
    let frame = frame.get(1..).unwrap_or_default();
    if let Ok(pattern) = serial::Pattern::parse(&String::from_utf8_lossy(source)) {
        pattern.matches(frame);
    }
    if frame.is_empty() || frame.len() > serial::FRAME_BYTES_MAX {
        return;
    }
    let Ok(exact) = serial::Pattern::parse(&serial::Pattern::of(frame)) else { panic!("the pattern offered for {frame:?} cannot be read") };
    assert!(exact.matches(frame), "the pattern offered for {frame:?} does not match it");
    assert!(!exact.matches(&[frame, frame].concat()) && !exact.matches(&frame[1..]), "and it matches {frame:?} only");
}

pub fn pattern_seeds() -> Vec<Vec<u8>> {
    ["02 52 3F 0D\n\x02R?\r", "02 ?? 30-39 0D\n\x02A1\r", "\"STATUS\" 0D 0A\nSTATUS\r\n", "\"!INF|\\x31\\\\\\\"\\t\"\nABC"]
        .map(|text| text.into())
        .to_vec()
}
