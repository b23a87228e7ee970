//! An independent accountant: reads what the receiver wrote, and holds it against the book of the gateway. Shares nothing with the receiver.
//! Also read by the workspace's tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::gateway::{CHANNELS, Fate, Gateway, WALL_NS};

/// Every file under a folder but the raw log, by its path in it.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                if path != dir.join("raw") {
                    folders.push(path);
                }
            } else {
                found.insert(path.strip_prefix(dir).expect("inside").to_owned(), fs::read(&path).expect("readable"));
            }
        }
    }
    found
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub delivered: u64,
    pub in_gaps: u64,
    pub crashed: u64,
    pub without_time: u64,
    /// Committed values that show nowhere.
    pub missing: u64,
}

/// Each value of the book once, or in one gap, or nowhere, as its fate says. Panics on anything doubled, wrong or invented.
pub fn check(dir: &Path, gateway: &Gateway) -> Account {
    let name = gateway.id.as_str();
    let (mut got, mut gaps) = (BTreeMap::new(), BTreeMap::new());
    let mut account = Account::default();
    for (path, bytes) in files(dir).into_iter().filter(|(p, _)| p.starts_with(name)) {
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.is_empty() || text.ends_with('\n'), "a torn line in {}", path.display());
        for line in text.lines() {
            let json: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {}: {line}", path.display()));
            assert_eq!(json["gateway"], name);
            if path.ends_with("gaps.jsonl") {
                note_gap(&json, &mut gaps);
            } else if !path.ends_with("records.jsonl") {
                note_values(&json, &path, &mut got, &mut account);
            }
        }
    }
    for (n, noted) in gateway.book.iter().enumerate() {
        let position = (CHANNELS[noted.stream].to_owned(), format!("{:016x}", noted.life), noted.run, noted.index);
        let (value, lost) = (got.remove(&position), gaps.remove(&position));
        match noted.fate {
            Fate::Sent => match value {
                None => account.missing += 1,
                Some((found, time)) => {
                    assert_eq!(found, n as i64, "another value at {position:?}");
                    assert!(time.is_none_or(|t| t == noted.wall_ns), "another time at {position:?}: {time:?} for {}", noted.wall_ns);
                    assert_eq!(lost, None, "delivered and in a gap: {position:?}");
                    account.delivered += 1;
                }
            },
            Fate::Gap => {
                assert_eq!(value, None, "not taken and delivered: {position:?}");
                assert_eq!(lost.as_deref(), Some("disk-full"), "not in a gap: {position:?}");
                account.in_gaps += 1;
            }
            Fate::Crashed | Fate::InHand => {
                assert_eq!((value, lost), (None, None), "never flushed, and there: {position:?}");
                account.crashed += 1;
            }
        }
    }
    assert!(got.is_empty(), "values that nobody sent: {got:?}");
    assert!(gaps.is_empty(), "gaps that nobody had: {gaps:?}");
    account
}

type Place = (String, String, u32, u64);

fn note_gap(json: &Json, gaps: &mut BTreeMap<Place, String>) {
    let reason = json["reason"].as_str().expect("a reason");
    assert_ne!(reason, "unknown", "unexplained: {json}");
    let (first, indices) = (json["first"].as_u64().expect("a number"), json["indices"].as_u64().expect("a number"));
    let (channel, life) = (json["channel"].as_str().expect("a name"), json["life"].as_str().expect("a life"));
    for index in first..first + indices {
        let position = (channel.to_owned(), life.to_owned(), json["run"].as_u64().expect("a run") as u32, index);
        assert_eq!(gaps.insert(position, reason.to_owned()), None, "in two gaps: {json}");
    }
}

fn note_values(json: &Json, path: &Path, got: &mut BTreeMap<Place, (i64, Option<i64>)>, account: &mut Account) {
    let life = json["batch"].as_str().and_then(|b| b.split('.').next()).expect("an identity").to_owned();
    let channel = json["channel"].as_str().expect("a name").to_owned();
    assert_eq!(path.parent().and_then(|p| p.file_name()?.to_str()), Some(channel.as_str()));
    let hour = path.file_stem().and_then(|s| s.to_str()).expect("a name");
    let time = json["time"].as_str().map(|text| {
        assert!(text.starts_with(hour), "{text} in {hour}");
        wall_ns(text)
    });
    if time.is_none() {
        assert_eq!(hour, "unknown-time");
        account.without_time += 1;
    }
    let values: Vec<i64> = match (json["counts"].as_array(), json["mantissa"].as_i64(), json["id"].as_i64()) {
        (Some(counts), ..) => counts.iter().map(|c| c.as_i64().expect("a count")).collect(),
        (None, Some(n), _) | (None, None, Some(n)) => vec![n],
        _ => panic!("no value in {json}"),
    };
    let (run, index) = (json["run"].as_u64().expect("a run") as u32, json["index"].as_u64().expect("an index"));
    for (k, n) in values.into_iter().enumerate() {
        let position = (channel.clone(), life.clone(), run, index + k as u64);
        assert_eq!(got.insert(position, (n, time)), None, "there twice: {json}");
    }
}

/// All tests play within one day or two of `WALL_NS`, so only the time of day has to be read.
fn wall_ns(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("a number");
    let of_day = ((number(11..13) * 60 + number(14..16)) * 60 + number(17..19)) * 1_000_000_000 + number(20..29);
    const DAY_NS: i64 = 86_400_000_000_000;
    let day = number(8..10); // 2026-09-21 is the day of WALL_NS
    let first = WALL_NS - WALL_NS % DAY_NS;
    first + (day - 21) * DAY_NS + of_day
}
