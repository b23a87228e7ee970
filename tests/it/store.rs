//! Kill -9: what the store reported as committed is there and whole, however often and wherever its process ends.
//!
//! The page cache survives a kill, so this proves the order of things, not the flush: the strace proof at gateway level does, and expects
//! `pwrite64` of the group, `fdatasync` of the file, for a new file `fsync` of the folder, and only then anything that speaks of it.
//! The power cut is simulated in the crate (`store::tests::random`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use wardgate::store::{Group, Limits, Record, Store};
use wardgate_wire::{AckEntry, BatchKey, Class, Digest};

const FOLDER: &str = "WARDGATE_TEST_STORE";
const LIFE: &str = "WARDGATE_TEST_LIFE";
const ROUNDS: u64 = 20;
/// How many of the newest batches the child leaves unacknowledged.
const LAG: u32 = 30;
const LIMITS: Limits = Limits { segment_bytes: 16 << 10, bytes_max: 16 << 20 };

fn key(life: u64, sequence: u32) -> BatchKey {
    BatchKey { life, epoch: 0, class: Class::Numeric, sequence }
}

/// Other bytes and another length for each batch.
fn payload(life: u64, sequence: u32) -> Vec<u8> {
    let seed = (life << 32 | u64::from(sequence)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..200 + seed % 900).map(|n| (seed.rotate_left(n as u32 % 64) ^ n) as u8).collect()
}

fn digest(life: u64, sequence: u32) -> Digest {
    let mut digest = Digest([life as u8; 16]);
    digest.0[..4].copy_from_slice(&sequence.to_le_bytes());
    digest
}

fn mark(life: u64, sequence: u32) -> Vec<u8> {
    [life.to_le_bytes().as_slice(), &sequence.to_le_bytes()].concat()
}

/// Not a test of its own: the process that is killed. Commits until then, and says the number of each group once it is durable.
#[test]
#[ignore = "the child of the test below"]
fn child_that_commits_until_it_is_killed() {
    let (Ok(folder), Ok(life)) = (std::env::var(FOLDER), std::env::var(LIFE)) else { return };
    let life: u64 = life.parse().expect("a number");
    let (mut store, shelf, _) = Store::open(Path::new(&folder), LIMITS, 1).expect("opens");
    if let Some(old) = life.checked_sub(3) {
        shelf.acknowledge(&AckEntry::Closed { life: old, epoch: 0 });
    }
    let mut out = std::io::stdout().lock();
    for sequence in 0.. {
        let batch = Record::Batch { key: key(life, sequence), digest: digest(life, sequence), bytes: payload(life, sequence) };
        let state = Record::State { instance: "bed-1".into(), bytes: mark(life, sequence) };
        let heads = Record::Heads { full: store.wants_full_heads(), bytes: mark(life, sequence) };
        store.commit(&Group { records: vec![batch, state, heads] }).expect("committed");
        writeln!(out, "\ncommitted {sequence}").and_then(|()| out.flush()).expect("the parent listens");
        if let Some(high) = sequence.checked_sub(LAG) {
            shelf.acknowledge(&AckEntry::UpTo { life, epoch: 0, class: Class::Numeric, high, digest: digest(life, high), missing: vec![] });
        }
    }
}

/// Lets a child commit until `groups` were reported, kills it, and says the last one that it reported.
fn run_and_kill(folder: &Path, life: u64, groups: u32) -> u32 {
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--ignored", "--exact", "store::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starts");
    let mut last = None;
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("readable");
        last = line.strip_prefix("committed ").and_then(|n| n.parse().ok()).or(last);
        if last >= Some(groups) && !killed {
            killed = true;
            child.kill().expect("it runs"); // SIGKILL; what it reported before that is still in the pipe
        }
    }
    child.wait().expect("ended");
    last.expect("it committed something")
}

#[test]
fn every_reported_group_is_there_and_whole_after_kill_9() {
    let folder = std::env::temp_dir().join(format!("wardgate-it-store-{}", std::process::id()));
    let mut reported = BTreeMap::new();
    let mut total = 0;
    for life in 1..=ROUNDS {
        let groups = (life * 7919 % 113) as u32;
        let last = run_and_kill(&folder, life, groups);
        assert!(last >= groups);
        reported.insert(life, last);
        total += last + 1;

        let (store, shelf, found) = Store::open(&folder, LIMITS, 1).expect("opens");
        // the kill may fall between the flush and the report: one more group may be there, never one fewer
        let newest = if found.heads.last().is_some_and(|(_, h)| *h == mark(life, last + 1)) { last + 1 } else { last };
        assert_eq!(found.heads.last().expect("heads").1, mark(life, newest), "life {life}");
        assert!(found.heads[0].0 && found.heads[1..].iter().all(|(full, _)| !full));
        assert_eq!(found.states["bed-1"], mark(life, newest), "state and output come from one group");
        for n in (newest + 1).saturating_sub(LAG)..=newest {
            let (d, bytes) =
                shelf.read(&key(life, n)).expect("whole").unwrap_or_else(|| panic!("life {life}: batch {n} of {newest} is gone"));
            assert_eq!((d, bytes), (digest(life, n), payload(life, n)));
        }
        for held in shelf.held() {
            for n in held.sequences.into_iter().flatten() {
                assert_eq!(shelf.read(&key(held.life, n)).expect("whole").expect("held").1, payload(held.life, n));
            }
        }
        for old in life.saturating_sub(2).max(1)..life {
            assert!(shelf.read(&key(old, reported[&old])).expect("whole").is_some(), "life {old} is not acknowledged");
        }
        assert!(store.figures().bytes_on_disk < 40 * LIMITS.segment_bytes, "acknowledged segments go");
    }
    println!("{ROUNDS} kills, {total} groups reported, all there");
    std::fs::remove_dir_all(&folder).expect("removed");
}
