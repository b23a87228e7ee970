//! The log on a real disk: cut and flipped at every byte, and written on after.

use std::fs;
use std::path::Path;

use super::*;
use crate::testing::Folder;

fn texts(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    replay::<LogError>(dir, |_, r| {
        all.push(String::from_utf8(r.batch.to_vec()).expect("text"));
        Ok(())
    })
    .expect("readable");
    all
}

fn append(log: &mut Log, texts: &[&str]) -> Vec<Position> {
    let records: Vec<_> = texts.iter().map(|t| Record { received_ns: 7, batch: t.as_bytes() }).collect();
    log.append(&records).expect("appended")
}

#[test]
fn what_was_appended_is_read_back_and_a_start_begins_a_new_segment() {
    let dir = Folder::new("log-append");
    let (mut log, damage) = Log::open(&dir, 80).unwrap();
    assert!(damage.is_empty());
    let first = append(&mut log, &["one", "two"]);
    let second = append(&mut log, &["a third one that fills the segment over its bound"]);
    let third = append(&mut log, &["four"]);
    assert!(first[0] < first[1] && first[1] < second[0] && second[0].segment < third[0].segment);
    assert_eq!(log.read(first[1]).unwrap(), b"two".to_vec());
    drop(log);
    let (mut log, damage) = Log::open(&dir, 1 << 20).unwrap();
    assert!(damage.is_empty());
    let fourth = append(&mut log, &["five"]);
    assert!(fourth[0].segment > third[0].segment, "never appends to a segment that it found");
    assert_eq!(texts(&dir), ["one", "two", "a third one that fills the segment over its bound", "four", "five"]);
}

#[test]
fn a_second_receiver_is_refused() {
    let dir = Folder::new("log-lock");
    let (log, _) = Log::open(&dir, 80).unwrap();
    assert!(matches!(Log::open(&dir, 80), Err(LogError::InUse(_))));
    drop(log);
    assert!(Log::open(&dir, 80).is_ok());
}

#[test]
fn a_torn_tail_at_every_byte_is_cut_back_and_kept_aside() {
    let whole = {
        let dir = Folder::new("log-whole");
        let (mut log, _) = Log::open(&dir, 1 << 20).unwrap();
        append(&mut log, &["first", "second", "third"]);
        fs::read(dir.join("00000001.raw")).unwrap()
    };
    let record = |text: &str| RECORD_HEAD_BYTES + text.len();
    let ends = [HEAD.len(), HEAD.len() + record("first"), HEAD.len() + record("first") + record("second"), whole.len()];
    for cut in 0..=whole.len() {
        let dir = Folder::new("log-cut");
        fs::write(dir.join("00000001.raw"), &whole[..cut]).unwrap();
        let (mut log, damage) = Log::open(&dir, 1 << 20).unwrap();
        let held = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(texts(&dir), ["first", "second", "third"][..held], "cut at {cut}");
        let torn = cut - ends.iter().rev().find(|end| **end <= cut).copied().unwrap_or(0);
        assert_eq!(damage.iter().map(|d| d.bytes as usize).sum::<usize>(), torn, "cut at {cut}");
        for d in &damage {
            let aside = d.aside.as_ref().expect("a tail is moved");
            assert_eq!(fs::read(aside).unwrap(), &whole[d.position.offset as usize..cut]);
        }
        append(&mut log, &["after"]);
        drop(log);
        let (_, again) = Log::open(&dir, 1 << 20).unwrap();
        assert!(again.is_empty(), "cut once, whole for ever");
        assert_eq!(texts(&dir).last().map(String::as_str), Some("after"));
    }
}

#[test]
fn a_byte_flipped_anywhere_costs_one_record_and_is_told_at_every_start() {
    let dir = Folder::new("log-flip-whole");
    let (mut log, _) = Log::open(&dir, 1 << 20).unwrap();
    append(&mut log, &["first", "second", "third"]);
    drop(log);
    let whole = fs::read(dir.join("00000001.raw")).unwrap();
    for flipped in 0..whole.len() {
        let dir = Folder::new("log-flip");
        let mut bytes = whole.clone();
        bytes[flipped] ^= 0x10;
        fs::write(dir.join("00000001.raw"), &bytes).unwrap();
        fs::write(dir.join("00000002.raw"), HEAD).unwrap(); // so that it is not the last
        let (_, damage) = Log::open(&dir, 1 << 20).unwrap();
        assert_eq!(damage.len(), 1, "flipped at {flipped}");
        let lost = if flipped < HEAD.len() { 0 } else { 1 };
        assert_eq!(texts(&dir).len(), 3 - lost, "flipped at {flipped}");
        assert_eq!(fs::read(dir.join("00000001.raw")).unwrap(), bytes, "left as it is");
    }
}

#[test]
fn after_a_failed_write_the_same_records_go_into_a_new_segment() {
    let dir = Folder::new("log-failed");
    let (mut log, _) = Log::open(&dir, 1 << 20).unwrap();
    append(&mut log, &["before"]);
    let active = log.active.as_mut().unwrap();
    let length = active.length;
    active.file.write_all(b"half a rec").unwrap(); // what a write that failed half-way leaves
    active.file = File::open(&active.path).unwrap(); // and from here on every write is refused
    let refused = log.append(&[Record { received_ns: 7, batch: b"tried" }]);
    assert!(matches!(refused, Err(LogError::Io { .. })));
    let at = append(&mut log, &["tried"]);
    assert_eq!(at[0].segment, 2);
    assert_eq!(texts(&dir), ["before", "tried"]);
    assert!(fs::metadata(dir.join("00000001.raw")).unwrap().len() >= length);
}
