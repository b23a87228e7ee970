//! The log against whoever changes it: each record flipped, dropped, moved, doubled, cut, forged; a torn line; rotation; several writers.

use std::fs;
use std::path::Path;

use super::*;
use crate::keys::PublicKey;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wardgate-audit-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn device(n: u8) -> SecretKey {
    SecretKey::of_seed(&[n; 32])
}

fn public() -> PublicKey {
    device(1).public()
}

fn entry(n: u64) -> Entry {
    let what = if n == 1 { What::Start } else { What::Bind };
    Entry::new(what, "uid 0", [("instance", &format!("bed-{n}"))])
}

/// A log of this many records.
fn log(name: &str, records: u64) -> (PathBuf, Audit) {
    let folder = folder(name);
    let audit = Audit::new(&folder, device(1));
    (1..=records).for_each(|n| assert_eq!(audit.append(entry(n), Moment::default()).expect("written"), n));
    (folder, audit)
}

fn lines(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join(LOG)).expect("a log").lines().map(str::to_owned).collect()
}

fn write(folder: &Path, lines: &[String]) {
    fs::write(folder.join(LOG), lines.iter().map(|l| format!("{l}\n")).collect::<String>()).expect("written");
}

fn says(folder: &Path) -> Result<u64, Broken> {
    verify_folder(folder, &public()).map(|whole| whole.covered)
}

/// As `append` does, without five flushes for each of thousands.
fn quick(audit: &Audit, entry: Entry) {
    let end = audit.end(true).expect("readable");
    assert_eq!(end.flaw, None);
    if end.bytes > FILE_BYTES_MAX {
        audit.append(entry, Moment::default()).expect("written");
        return;
    }
    let record = audit.record(entry, Moment::default(), &end).expect("a record");
    let (hashed, mut bytes) = (hash(&line(&record)), line(&record));
    bytes.push(b'\n');
    let file = OpenOptions::new().create(true).append(true).open(audit.folder.join(LOG));
    file.and_then(|mut file| file.write_all(&bytes)).expect("written");
    unflushed_head(audit, &End { n: record.n, hash: hashed, ..end });
}

fn unflushed_head(audit: &Audit, end: &End) {
    let (n, hash, from, broken) = (end.n, end.hash.clone(), end.from, end.broken);
    let mut head = Head { n, hash, next: None, from, broken, memory: 0, key: audit.key(), sig: String::new() };
    head.sig = base64::encode(&audit.signer.sign(&head_message(&head)).expect("a signature"));
    fs::write(audit.folder.join(HEAD), serde_json::to_vec(&head).expect("plain")).expect("written");
}

//= PROMISES.md#P165
#[test]
fn each_bit_of_the_log_counts_and_the_record_is_named() {
    let (at, _) = log("bits", 5);
    assert_eq!(says(&at), Ok(5));
    let good = fs::read(at.join(LOG)).expect("a log");
    for byte in 0..good.len() {
        let record = good[..byte].iter().filter(|b| **b == b'\n').count() as u64 + 1;
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[byte] ^= 1 << bit;
            fs::write(at.join(LOG), &bad).expect("written");
            let why = says(&at).expect_err("noticed").to_string();
            let first = record == 1; // its own number may be what was flipped, and nothing before it says otherwise
            assert!(
                first || why.contains(&format!("record {record} ")) || why.contains(&format!("before {record} ")),
                "byte {byte} bit {bit}: {why}"
            );
        }
    }
}

#[test]
fn dropped_moved_doubled_and_cut_records_are_named() {
    let (at, _) = log("order", 6);
    let good = lines(&at);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = good.clone();
        change(&mut changed);
        write(&at, &changed);
        says(&at).expect_err("noticed")
    };
    for n in 1..=6_u64 {
        let why = with(&|l| drop(l.remove(n as usize - 1)));
        let named = match why {
            Broken::Missing { n, .. } | Broken::Cut { n, .. } => n,
            Broken::Beheaded { n, .. } => n - 1,
            other => panic!("{other}"),
        };
        assert_eq!(named, n);
    }
    assert_eq!(with(&|l| l.swap(2, 3)), Broken::Missing { n: 3, found: 4 });
    assert_eq!(with(&|l| l.insert(3, l[2].clone())), Broken::Missing { n: 4, found: 3 });
    assert_eq!(with(&|l| l.truncate(4)), Broken::Cut { n: 5, last: 6 });
    assert_eq!(with(&|l| l[3] = l[3].replace("bed-4", "bed-9")), Broken::Changed { n: 4 });
    assert_eq!(with(&|l| l[5] = l[5].replace("bed-6", "bed-9")), Broken::Changed { n: 6 });
    write(&at, &good);
    assert_eq!(says(&at), Ok(6));
}

#[test]
fn without_the_devices_key_nothing_can_be_added_or_made_anew() {
    let (at, _) = log("forged", 3);
    let good = lines(&at);
    // a record more, rightly chained
    let more = |l: &mut Vec<String>| {
        let mut record: Record = serde_json::from_str(l.last().expect("one")).expect("ours");
        (record.before, record.n, record.seal) = (hash(l.last().expect("one").as_bytes()), record.n + 1, None);
        l.push(String::from_utf8(line(&record)).expect("text"));
    };
    for count in [1, 2] {
        let mut longer = good.clone();
        (0..count).for_each(|_| more(&mut longer));
        write(&at, &longer);
        assert_eq!(says(&at), Err(Broken::Foreign { n: 4, last: 3 }), "{count} more");
    }
    write(&at, &good);
    // all of it anew, by another key
    let (other, _) = log("forged-anew", 3);
    let audit = Audit::new(&other, device(2));
    audit.append(entry(4), Moment::default()).expect("written");
    assert!(matches!(says(&other), Err(Broken::Seal { n: 4, .. })), "another device on the same folder says so itself: {:?}", says(&other));
    let whole = folder("forged-whole");
    Audit::new(&whole, device(2)).append(entry(1), Moment::default()).expect("written");
    assert!(matches!(says(&whole), Err(Broken::Seal { n: 1, .. })));
    fs::remove_file(at.join(HEAD)).expect("there");
    assert!(matches!(says(&at), Err(Broken::Head { .. })));
    fs::remove_file(at.join(LOG)).expect("there");
    assert!(matches!(says(&at), Err(Broken::Empty { .. })));
}

#[test]
fn a_power_cut_leaves_a_log_that_goes_on() {
    let (at, audit) = log("torn", 3);
    let good = fs::read(at.join(LOG)).expect("a log");
    // what a head says before a record is written, which the power then kept from being told of
    let before = audit.end(true).expect("readable");
    audit.append(entry(4), Moment::default()).expect("written");
    let longer = fs::read(at.join(LOG)).expect("a log");
    audit.write_head(&before, Some(&hash(&longer[good.len()..longer.len() - 1]))).expect("written");
    let head = fs::read(at.join(HEAD)).expect("a head");
    for cut in good.len()..=longer.len() {
        fs::write(at.join(LOG), &longer[..cut]).expect("written");
        fs::write(at.join(HEAD), &head).expect("written");
        let n = audit.append(entry(9), Moment::default()).expect("it goes on");
        assert_eq!(n, if cut == longer.len() { 5 } else { 4 }, "cut at {cut}");
        assert_eq!(says(&at), Ok(n));
    }
    // the record is there and the head is not yet
    fs::write(at.join(LOG), &longer).expect("written");
    fs::write(at.join(HEAD), &head).expect("written");
    assert_eq!(says(&at), Ok(4));
    // and another one in its place is none of ours
    let forged = String::from_utf8(longer).expect("text").replace("bed-4", "bed-9");
    fs::write(at.join(LOG), forged).expect("written");
    assert_eq!(says(&at), Err(Broken::Foreign { n: 4, last: 3 }));
}

#[test]
fn a_long_log_is_kept_in_files_and_the_oldest_go_with_the_chain_whole() {
    let (at, audit) = log("long", 1);
    let text = "x".repeat(TEXT_BYTES_MAX);
    let fill = |records: u64| {
        for n in 0..records {
            let about = |name: &str| format!("{name}-{n}-{text}");
            let entry = Entry::new(What::Install, "uid 0", [("a", &about("a")), ("b", &about("b")), ("c", &about("c"))]);
            quick(&audit, entry);
        }
    };
    fill(700);
    let whole = verify_folder(&at, &public()).expect("whole");
    assert_eq!((whole.records.len(), whole.covered), (701, 701));
    let old = files(&at).expect("files");
    assert!(old.len() >= 2, "{old:?}");
    let first = fs::read(&old[0]).expect("there");
    fs::remove_file(&old[0]).expect("there");
    assert!(matches!(says(&at), Err(Broken::Beheaded { .. })), "{:?}", says(&at));
    fs::write(&old[0], first).expect("written");
    fill(3000);
    let old = files(&at).expect("files");
    assert_eq!(old.len(), OLD_FILES_MAX + 1);
    let whole = verify_folder(&at, &public()).expect("whole");
    assert!(whole.records.len() < 3700 && whole.covered == 3701, "{} records", whole.records.len());
    // one file by itself, as somebody was given it
    assert!(verify_file(&old[3], &public()).expect("whole").seals >= 1);
}

//= PROMISES.md#P262
#[test]
fn the_same_refusal_again_and_again_is_one_record_and_long_texts_are_cut() {
    let (_, audit) = log("again", 1);
    let refused = |by: &str, why: &str| audit.append(Entry::new(What::Refuse, by, [("why", &why)]), Moment::default()).expect("written");
    let refuse = |why: &str| refused("gateway", why);
    assert_eq!([refuse("a"), refuse("a"), refuse("b"), refuse("a")], [2, 2, 3, 4]);
    // another who asks for the same is another refusal
    let long = "é".repeat(4000);
    assert_eq!([refused("uid 7", "a"), refused("uid 7", "a"), refused("uid 8", "a")], [5, 5, 6]);
    assert_eq!([refused(&long, "a"), refused(&long, "a")], [7, 7]);
    let (at, audit) = log("cut", 1);
    audit.append(Entry::new(What::Bind, "é".repeat(4000), [("x", &"é\u{1}".repeat(5000))]), Moment::default()).expect("written");
    assert_eq!(says(&at), Ok(2));
}

//= PROMISES.md#P278
#[test]
fn a_head_that_alone_was_damaged_makes_no_record_bad_and_is_told_before_the_next_one() {
    for (name, bytes) in [("gone", None), ("flipped", Some(1)), ("another's", Some(2))] {
        let (at, audit) = log(&format!("head-{name}"), 5);
        assert_eq!(audit.flaw(), None);
        let head = at.join(HEAD);
        let good = fs::read(&head).expect("there");
        match bytes {
            None => fs::remove_file(&head).expect("there"),
            Some(1) => fs::write(&head, [&good[..20], &[good[20] ^ 1], &good[21..]].concat()).expect("written"),
            Some(_) => fs::write(&head, "{}").expect("written"),
        }
        let why = says(&at).expect_err("damaged");
        assert!(matches!(why, Broken::Head { last: 5, .. }), "{why}");
        assert!(
            why.to_string()
                .contains("the chain is whole up to record 5 and signed up to 1: the 4 behind that may be of whoever can write there")
                && why.remedy().contains("wardgate grant recall"),
            "{why}"
        );
        assert!(audit.flaw().is_some_and(|why| why.contains("so which record was the newest is not known")), "before the next record");
        // and the log goes on
        audit.append(entry(6), Moment::default()).expect("written");
        let why = says(&at).expect_err("it is told for ever");
        assert_eq!(found(&at), (6, 6));
        assert!(
            matches!(&why, Broken::Found { headless: verify::Headless::Yes { signed: 1 }, behind_it, .. } if behind_it.is_ok()),
            "{why}"
        );
        let words = why.to_string();
        assert!(
            words.contains("the chain is whole up to record 5 and signed up to 1: the 4")
                && words.contains("up to record 7, is as it was written"),
            "{words}"
        );
        assert!(!words.contains("record 6 is missing") && why.remedy().contains("marks what no signature vouches for"), "{words}");
        let marked: Vec<_> = readable(&at, &public()).iter().map(|(record, proven)| (record.n, *proven)).collect();
        assert_eq!(marked, [(1, true), (2, false), (3, false), (4, false), (5, false), (6, true), (7, true)]);
        let broken = audit.newest().and_then(|head| head.broken).expect("told").in_words();
        assert_eq!(broken, "the log's head, or what stood behind record 5, was not as this device left it, as record 6 tells");
        assert_eq!(audit.flaw(), None, "told already");
    }
    // what is bad besides is named as before: a record that was put in, and one that was changed
    let (at, audit) = log("head-and-more", 5);
    fs::remove_file(at.join(HEAD)).expect("there");
    let all = lines(&at);
    write(&at, &[&all[..2], &[all[2].replace("bed-3", "bed-9")], &all[3..]].concat());
    assert_eq!(says(&at), Err(Broken::Changed { n: 3 }));
    audit.append(entry(6), Moment::default()).expect("written");
    assert!(matches!(says(&at), Err(Broken::Found { behind_it, .. }) if *behind_it == Err(Broken::Changed { n: 3 })), "{:?}", says(&at));
}

//= PROMISES.md#P275
#[test]
fn who_is_refused_all_day_long_is_told_so_often_an_hour_and_others_all_the_same() {
    let (_, audit) = log("rate", 1);
    let at = |hour: u64| Moment { monotonic_ns: hour * 3_600_000_000_000, ..Moment::default() };
    let refused = |by: &str, verb: &str, n: usize, hour| {
        audit
            .append(Entry::new(What::Refuse, by, [("what", &verb), ("why", &format!("/x/junk-{n}.wardgate is no package"))]), at(hour))
            .expect("written")
    };
    let many = |hour| (0..3 * REFUSED_MAX).map(|n| refused("uid 7", "allow-older", n, hour)).max().expect("some");
    let most = REFUSED_MAX as u64;
    assert_eq!(many(0), 1 + most);
    let last = audit.proven().pop().expect("a record");
    assert!(last.about.get("further").is_some_and(|words| words.contains("no more than")), "{last:?}");
    // another kind of reason, another user, another verb, the gateway itself and whatever is no refusal are told; and so is the same user an hour later
    assert_eq!((refused("uid 8", "allow-older", 0, 0), refused("uid 7", "install", 0, 0)), (2 + most, 3 + most));
    assert_eq!((0..3 * REFUSED_MAX).map(|n| refused(GATEWAY, "start", n, 0)).max(), Some(3 + 4 * most));
    assert_eq!(audit.append(entry(1), at(0)).expect("written"), 4 + 4 * most);
    let revoked = Entry::new(What::Refuse, "uid 7", [("what", &"allow-older"), ("why", &"/x/junk-1.wardgate is revoked")]);
    assert_eq!(audit.append(revoked, at(0)).expect("written"), 5 + 4 * most);
    assert_eq!(many(1), 5 + 5 * most);
}

#[test]
fn writers_beside_each_other_keep_one_chain() {
    let (at, _) = log("beside", 1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let audit = Audit::new(&at, device(1));
                (0..10).for_each(|n| assert!(audit.append(entry(n + 2), Moment::default()).expect("written") > 1));
            });
        }
    });
    assert_eq!(says(&at), Ok(41));
}

/// The first record that the device found missing or changed, and the record that tells of it.
fn found(folder: &Path) -> (u64, u64) {
    match says(folder) {
        Err(Broken::Found { first, told, behind_it, .. }) => {
            assert!(behind_it.is_ok(), "{behind_it:?}");
            (first, told)
        }
        other => panic!("{other:?}"),
    }
}

//= PROMISES.md#P170
#[test]
fn what_was_done_to_a_log_is_told_in_a_record_and_stays_so_whatever_is_written_behind_it() {
    type Change = fn(&mut Vec<String>);
    let forged = |l: &mut Vec<String>| {
        let mut record: Record = serde_json::from_str(l.last().expect("one")).expect("ours");
        (record.before, record.n, record.seal) = (hash(l.last().expect("one").as_bytes()), record.n + 1, None);
        l.push(String::from_utf8(line(&record)).expect("text"));
    };
    let cases: [(&str, Change, u64, u64); 6] = [
        ("cut", |l| l.truncate(4), 5, 7),
        ("cut-one", |l| l.truncate(5), 6, 7),
        ("emptied", |l| l.clear(), 1, 7),
        ("last-changed", |l| l[5] = l[5].replace("bed-6", "bed-9"), 6, 7),
        ("longer", forged, 7, 7),
        ("a-number-at-the-end", |l| l[5] = l[5].replace("\"n\":6", "\"n\":18446744073709551615"), 7, 7),
    ];
    for (name, change, first, told) in cases {
        let (at, audit) = log(&format!("laundered-{name}"), 6);
        let mut changed = lines(&at);
        change(&mut changed);
        write(&at, &changed);
        // it is told before anything is written behind it, and it goes on
        assert_eq!(audit.append(entry(7), Moment::default()).expect("it goes on"), 8, "{name}");
        assert_eq!(audit.append(entry(9), Moment::default()).expect("it goes on"), 9, "{name}");
        let head = audit.newest().expect("signed");
        assert_eq!(head.broken, Some(Break { first, told }), "{name}");
        let why = says(&at).expect_err("for ever").to_string();
        assert!(why.contains(&format!("record {first} is missing or not as it was written")), "{name}: {why}");
        let told = lines(&at).iter().filter(|l| l.contains("\"what\":\"broken\"")).count();
        assert_eq!(told, 1, "{name}: once, and not for each record");
    }
    // the oldest records gone, all of the log gone, the head gone, an old head in its place
    let (at, audit) = log("laundered-gone", 6);
    let old_head = fs::read(at.join(HEAD)).expect("a head");
    fs::remove_file(at.join(LOG)).expect("there");
    audit.append(entry(9), Moment::default()).expect("it goes on");
    assert_eq!(found(&at), (1, 7));
    fs::remove_file(at.join(HEAD)).expect("there");
    audit.append(entry(9), Moment::default()).expect("it goes on");
    assert_eq!(found(&at).0, 1);
    fs::write(at.join(HEAD), old_head).expect("written");
    audit.append(entry(9), Moment::default()).expect("it goes on");
    assert_eq!(lines(&at).iter().filter(|l| l.contains("\"what\":\"broken\"")).count(), 3, "each of the three times");
    // it stays so when the record that tells it has long been rotated away
    let text = "x".repeat(TEXT_BYTES_MAX);
    while files(&at).expect("files").iter().any(|path| fs::read_to_string(path).expect("text").contains("\"what\":\"broken\"")) {
        (0..400).for_each(|_| quick(&audit, Entry::new(What::Install, "uid 0", [("a", &text), ("b", &text), ("c", &text)])));
    }
    assert_eq!(found(&at).0, 7, "what was first told by the newest chain of heads: {:?}", audit.newest());
    assert!(matches!(verify_file(&files(&at).expect("files")[2], &public()), Err(Broken::Found { .. })), "a file by itself tells it too");
}

#[test]
fn old_files_that_somebody_took_away_are_told_and_none_is_written_over() {
    let (at, audit) = log("rotated-away", 1);
    let text = "x".repeat(TEXT_BYTES_MAX);
    let fill = |n: u64| Entry::new(What::Install, "uid 0", [("a", &format!("{n}{text}")), ("b", &text), ("c", &text)]);
    let mut n = 0;
    while files(&at).expect("files").len() < 2 {
        n += 1;
        quick(&audit, fill(n));
    }
    assert!(says(&at).is_ok());
    fs::remove_file(&files(&at).expect("files")[0]).expect("there");
    let n = audit.append(entry(2), Moment::default()).expect("it goes on");
    assert_eq!(audit.newest().expect("signed").broken, Some(Break { first: 1, told: n - 1 }));
    assert!(matches!(says(&at), Err(Broken::Found { first: 1, .. })), "{:?}", says(&at));
}

/// As somebody writes it who can write there and has no key: record `from` says something else, and all behind it follow on that.
fn rewritten(folder: &Path, from: u64) {
    let mut before = NOTHING.to_owned();
    let mut all = Vec::new();
    for text in lines(folder) {
        let mut record: Record = serde_json::from_str(&text).expect("a record");
        if record.n == from {
            record.by = "uid 4711".into();
        }
        if record.n > from {
            record.before.clone_from(&before);
        }
        let bytes = line(&record);
        before = hash(&bytes);
        all.push(String::from_utf8(bytes).expect("a text"));
    }
    write(folder, &all);
}

//= PROMISES.md#P278
#[test]
fn a_log_that_was_rewritten_beside_a_lost_head_is_held_against_the_memory_and_never_called_proven() {
    let (at, audit) = log("rewritten", 10);
    let anchor = |n: u64| Anchor { n, hash: hash(lines(&at)[n as usize - 1].as_bytes()) };
    let known = anchor(8);
    let beside = |known: &Anchor| verify::verify_beside(&at, &public(), Some(known));
    assert_eq!(beside(&known).map(|whole| whole.covered), Ok(10));
    fs::remove_file(at.join(HEAD)).expect("there");
    let why = beside(&known).expect_err("no head");
    assert!(matches!(why, Broken::Head { last: 10, signed: 8, .. }), "{why}");
    assert!(matches!(beside(&Anchor { n: 12, hash: "x".into() }), Err(Broken::Cut { n: 11, last: 12 })));
    rewritten(&at, 3);
    assert_eq!(beside(&known), Err(Broken::Another { n: 8 }));
    let why = says(&at).expect_err("no head");
    assert!(matches!(why, Broken::Head { last: 10, signed: 1, .. }), "{why}");
    // and by the next record the device says so itself
    let newest = known.clone();
    let audit = audit.beside(move || Some((1, newest.clone())));
    audit.append(entry(11), Moment::default()).expect("written");
    let why = says(&at).expect_err("it is told for ever").to_string();
    assert!(why.contains("record 8 is missing or not as it was written: the device found that when it wrote record 11"), "{why}");
    let told = lines(&at).remove(10);
    assert!(told.contains("record 8 is not the one that the memory beside the log knows"), "{told}");
    // what is as it was written is not said to be another
    let (at, audit) = log("headless", 10);
    fs::remove_file(at.join(HEAD)).expect("there");
    let newest = Anchor { n: 8, hash: hash(lines(&at)[7].as_bytes()) };
    audit.beside(move || Some((1, newest.clone()))).append(entry(11), Moment::default()).expect("written");
    assert_eq!(found(&at), (11, 11));
}

/// A person verifies while the gateway writes: what is half written is waited for, and is nobody else's.
//= PROMISES.md#P361
#[test]
fn a_log_that_is_being_written_is_read_when_that_is_done() {
    let (at, audit) = log("read-while-written", 1);
    let head = |bytes: &[u8]| fs::write(at.join(HEAD), bytes).expect("written");
    let older = fs::read(at.join(HEAD)).expect("a head");
    (2..=3).for_each(|n| _ = audit.append(entry(n), Moment::default()).expect("written"));
    let newest = fs::read(at.join(HEAD)).expect("a head");
    // as it is between a record and its head
    let lock = OpenOptions::new().write(true).open(at.join(LOCK)).expect("a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("nobody has it");
    head(&older);
    let reader = std::thread::spawn({
        let at = at.clone();
        move || (says(&at), proven(&at, &public()).len())
    });
    std::thread::sleep(std::time::Duration::from_millis(200)); // long enough to read it, for whoever does not wait
    head(&newest);
    drop(lock);
    assert_eq!(reader.join().expect("it ends"), (Ok(3), 3));
}
