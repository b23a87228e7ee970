//! What is read back from disks: the gateway's segments and heads, the receiver's raw log. Checksums are made right, for a fuzzer would never
//! guess one; a first byte says what is left as it came.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use wardgate::config::{Report, Terms};
use wardgate::contract::{Said, types};
use wardgate::pipeline::{Heads, Pipeline, Setup};
use wardgate::store::{Group, Limits, Record, Store};
use wardgate_cloud::log::record::{self, Found};
use wardgate_wire::{BatchKey, Class, Digest, GapReason, GatewayId, Key};

const STORE: u64 = 1;
const LIMITS: Limits = Limits { segment_bytes: 4096, bytes_max: 1 << 20 };
const DIGEST_BYTES: usize = 16;

fn closed(mut bytes: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest[..DIGEST_BYTES]);
    bytes
}

fn header() -> Vec<u8> {
    closed([&b"wgS\0"[..], &STORE.to_le_bytes(), &1_u64.to_le_bytes()].concat())
}

fn group(number: u64, body: &[u8]) -> Vec<u8> {
    closed([&b"wgG\0"[..], &number.to_le_bytes(), &(body.len() as u64).to_le_bytes(), body].concat())
}

fn footer(contents: &[u8], at: u64) -> Vec<u8> {
    let bytes = closed([&b"wgF\0"[..], &STORE.to_le_bytes(), &1_u64.to_le_bytes(), contents, &at.to_le_bytes()].concat());
    [bytes, b"wgZ\0".to_vec()].concat()
}

/// As FORMAT.md draws it: a whole file; a header and then anything; the bodies of two groups; a group and the contents of a footer.
fn file(data: &[u8]) -> Vec<u8> {
    let Some((how, rest)) = data.split_first() else { return Vec::new() };
    let half = rest.split_at(rest.iter().position(|b| *b == 0xFD).unwrap_or(rest.len()));
    match how % 4 {
        0 => rest.to_vec(),
        1 => [header(), rest.to_vec()].concat(),
        2 => [header(), group(0, half.0), group(1, half.1.get(1..).unwrap_or_default())].concat(),
        _ => {
            let groups = [header(), group(0, half.0)].concat();
            let footer = footer(half.1.get(1..).unwrap_or_default(), groups.len() as u64);
            [groups, footer].concat()
        }
    }
}

/// A folder in memory, one a process.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("wardgate-fuzz-store-{}", std::process::id()))
    })
}

/// Whatever lies in a segment: what opens is read, written on to, and opened again as it was.
pub fn segment(data: &[u8]) {
    _ = fs::remove_dir_all(scratch());
    fs::create_dir_all(scratch()).expect("a folder");
    fs::write(scratch().join("0000000001.segment"), file(data)).expect("room for a segment");
    if let Ok((mut store, shelf, found)) = Store::open(scratch(), LIMITS, STORE) {
        for held in shelf.held().into_iter().take(8) {
            for sequence in held.sequences.into_iter().flatten().take(8) {
                _ = shelf.read(&BatchKey { life: held.life, epoch: held.epoch, class: held.class, sequence });
            }
        }
        _ = store.others();
        let heads = Record::Heads { full: true, bytes: b"later".to_vec() };
        let wrote = store.commit(&Group { records: vec![heads] }).is_ok();
        drop((store, shelf));
        if let Ok((_, _, again)) = Store::open(scratch(), LIMITS, STORE) {
            assert_eq!(again.states, found.states, "states outlive a commit");
            assert!(!wrote || again.heads == [(true, b"later".to_vec())], "what was committed is found");
        } else {
            assert!(!wrote, "what was opened and written on to opens again");
        }
    }
    _ = fs::remove_dir_all(scratch());
}

pub fn segment_seeds() -> Vec<Vec<u8>> {
    _ = fs::remove_dir_all(scratch());
    let (mut store, shelf, _) = Store::open(scratch(), LIMITS, STORE).expect("a new store");
    for n in 0..4_u32 {
        let key = BatchKey { life: 3, epoch: 0, class: Class::Numeric, sequence: n };
        let records = vec![
            Record::Batch { key, digest: Digest([n as u8; 16]), bytes: vec![n as u8; 200] },
            Record::State { instance: "bed-1".into(), bytes: vec![n as u8; 9] },
            Record::Other { kind: 77, bytes: vec![1, 2, 3] },
            Record::Heads { full: n % 2 == 0, bytes: vec![n as u8; 20] },
        ];
        store.commit(&Group { records }).expect("committed");
    }
    let key = BatchKey { life: 3, epoch: 0, class: Class::Numeric, sequence: 9 };
    let more = Record::Batch { key, digest: Digest([9; 16]), bytes: vec![9; 4000] };
    let unfinished = fs::read(scratch().join("0000000001.segment")).expect("a segment");
    store.commit(&Group { records: vec![more] }).expect("committed");
    drop((store, shelf));
    let whole = fs::read(scratch().join("0000000001.segment")).expect("a segment with its footer");
    _ = fs::remove_dir_all(scratch());

    let header = header().len();
    let body = |at: usize| {
        let length = u64::from_le_bytes(*unfinished[at + 12..].first_chunk().expect("a group")) as usize;
        (unfinished[at + 20..at + 20 + length].to_vec(), at + 20 + length + DIGEST_BYTES)
    };
    let ((first, next), tail) = (body(header), whole.len() - 28);
    let (second, _) = body(next);
    let footer_at = u64::from_le_bytes(*whole[tail..].first_chunk().expect("a trailer")) as usize;
    let contents = whole[footer_at + 20..tail].to_vec();
    let made = |how: u8, parts: &[&[u8]]| [&[how][..], &parts.concat()].concat();
    vec![
        made(0, &[&whole]),
        made(0, &[&unfinished]),
        made(1, &[&unfinished[header..]]),
        made(2, &[&first, &[0xFD], &second]),
        made(3, &[&first, &[0xFD], &contents]),
    ]
}

fn setup() -> Setup {
    Setup {
        gateway: GatewayId::new("ward-3").expect("a name"),
        life: 2,
        key: Key::new(&[7; 32]).expect("long enough"),
        batch_bytes: 4096,
        software: "wardgate fuzz".into(),
        opening: GapReason::PowerCut,
        terms: Default::default(),
    }
}

fn at(ns: u64) -> types::Moment {
    types::Moment { boot: 1, monotonic_ns: ns, wall: None }
}

/// Records as flag, two bytes of length, bytes. A life can begin after whatever heads can be read.
pub fn heads(data: &[u8]) {
    let (mut records, mut rest) = (Vec::new(), data);
    while let Some((&[full, low, high], more)) = rest.split_first_chunk::<3>() {
        let (bytes, later) = more.split_at(usize::from(u16::from_le_bytes([low, high])).min(more.len()));
        records.push((full & 1 == 1, bytes.to_vec()));
        rest = later;
    }
    let Ok(Some(found)) = Heads::rebuild(&records) else { return };
    let bench = Arc::from("bed-1");
    let mut pipeline = Pipeline::new(setup(), Some(found), at(50_000_000_000));
    pipeline.opened(&bench, at(50_000_000_001), None);
    pipeline.spoken(&bench, at(50_000_000_002), vec![describe(0, types::Kind::Numeric), emit(7)]).expect("a good call");
    pipeline.begin_epoch(true);
    if let Ok(sealed) = pipeline.seal(true, at(50_000_000_003)) {
        assert!(Heads::rebuild(&[sealed.heads]).is_ok_and(|h| h.is_some()), "heads that were written are read");
    }
}

/// A window that was open when a life ended; what it came to can always be sent.
pub fn window(data: &[u8]) {
    let mut pipeline = Pipeline::new(setup(), None, at(50_000_000_000));
    if pipeline.restore_window(&Arc::from("bed-1"), 7, data, true).is_ok() {
        pipeline.seal(true, at(50_000_000_001)).expect("what was read can be sealed");
    }
}

pub fn window_seeds() -> Vec<Vec<u8>> {
    let reports = [("channel-0".to_owned(), Report::Window { seconds: 60 })].into();
    let mut pipeline = Pipeline::new(setup(), None, at(1));
    let bench: Arc<str> = Arc::from("bed-1");
    pipeline.posted(&bench, Terms { reports, ..Terms::default() });
    pipeline.opened(&bench, at(2), None);
    pipeline.spoken(&bench, at(3), vec![describe(0, types::Kind::Numeric)]).expect("a good call");
    let states = (0..8).map(|n| {
        pipeline.spoken(&bench, at(4 + n), vec![emit((n as i64 - 3).pow(n as u32 * 3))]).expect("a good call");
        pipeline.seal(false, at(4 + n)).expect("sealed").states.pop().expect("an open window").1
    });
    states.collect()
}

fn describe(channel: u16, kind: types::Kind) -> Said {
    let one = types::Decimal { mantissa: 1, exponent: 0 };
    let shape = types::WaveformShape { scale: one, offset: one, period_numerator: 1, period_denominator: 250, bits: 12 };
    let shape = (kind == types::Kind::Waveform).then_some(shape);
    let name = format!("channel-{channel}");
    Said::Describe(channel, types::Description { name, kind, code: None, unit: "1".into(), shape, personal: false, facts: vec![] })
}

fn emit(mantissa: i64) -> Said {
    let value = types::Value::Number(types::Decimal { mantissa, exponent: 0 });
    let readings = vec![types::Reading { channel: 0, value, quality: types::Quality::empty() }];
    Said::Emit(vec![types::Observation { at: types::DeviceTime::NotTold, readings }])
}

pub fn heads_seeds() -> Vec<Vec<u8>> {
    let bench: Arc<str> = Arc::from("bed-1");
    let mut pipeline = Pipeline::new(setup(), None, at(1));
    pipeline.opened(&bench, at(2), None);
    let mut call = vec![describe(0, types::Kind::Numeric), describe(1, types::Kind::Waveform), emit(70)];
    let (mut all, mut seeds) = (Vec::new(), Vec::new());
    for n in 0..6 {
        let wave = |first| types::Waveform {
            channel: 1,
            first,
            at: types::DeviceTime::NotTold,
            counts: vec![3; 50],
            quality: types::Quality::empty(),
        };
        call.push(Said::EmitWaveform(vec![wave(50 * n)]));
        pipeline.spoken(&bench, at(3 + n), std::mem::replace(&mut call, vec![emit(71)])).expect("a good call");
        if n == 3 {
            pipeline.fault(&bench, at(3 + n), GapReason::PluginFault);
            pipeline.opened(&bench, at(3 + n), None);
            call = vec![describe(0, types::Kind::Numeric), describe(1, types::Kind::Waveform), emit(72)];
        }
        let (full, bytes) = pipeline.seal(n == 0, at(3 + n)).expect("sealed").heads;
        all.extend([&[u8::from(full)][..], &(bytes.len() as u16).to_le_bytes(), &bytes].concat());
        seeds.push(all.clone());
    }
    seeds
}

/// Every byte of a segment is a record or damage, and what was read is written as the same bytes.
pub fn cloud_log(data: &[u8]) {
    let mut at = if data.starts_with(record::HEAD) { record::HEAD.len() } else { 0 };
    for (offset, found) in record::scan(data) {
        assert_eq!(offset as usize, at, "no byte is stepped over silently");
        at += match found {
            Found::Damaged(bytes) => bytes.len(),
            Found::Record(record) => {
                let mut again = Vec::new();
                record::write(&mut again, &record);
                assert_eq!(again, data[at..at + again.len()]);
                again.len()
            }
        };
    }
    assert_eq!(at, data.len());
}

pub fn cloud_log_seeds() -> Vec<Vec<u8>> {
    let mut bytes = record::HEAD.to_vec();
    for (n, batch) in [&b"first batch"[..], b"", b"WLog inside a batch WLog", b"last"].into_iter().enumerate() {
        record::write(&mut bytes, &record::Record { received_ns: n as i64 - 1, batch });
    }
    vec![bytes.clone(), bytes[record::HEAD.len()..].to_vec(), bytes[..bytes.len() - 3].to_vec()]
}

/// What is read is written again to the same bytes: one value, one form.
pub fn parked(data: &[u8]) {
    let Ok(words) = wardgate_wire::read_parked(data) else { return };
    let mut w = wardgate_wire::bytes::Writer::new();
    words.iter().for_each(|word| word.write(&mut w));
    assert_eq!(wardgate_wire::read_parked(&w.out).as_ref(), Ok(&words));
}

pub fn parked_seeds() -> Vec<Vec<u8>> {
    use wardgate_wire::{Absence, DeviceTime, Moment, Parked, Piece, Value};
    let moment = Moment { boot: 7, monotonic_ns: 1 << 40 };
    let words = [
        Parked::Session { moment },
        Parked::Claim { serial: "B2".into() },
        Parked::Observation {
            moment,
            at: DeviceTime::Utc(5),
            readings: vec![(3, Value::Absent(Absence::SensorOff), 1), (4, Value::Bits(9), 0)],
        },
        Parked::Block {
            channel: 9,
            first: 4,
            piece: Piece { count: 3, moment, at: DeviceTime::NotTold, quality: 0 },
            counts: vec![1, -2, 3],
        },
        Parked::Missed { moment, channel: 3, count: Some(2), reason: GapReason::LineFault },
        Parked::Cut { moment, reason: GapReason::PluginFault },
    ];
    let one = |word: &Parked| {
        let mut w = wardgate_wire::bytes::Writer::new();
        word.write(&mut w);
        w.out
    };
    words.iter().map(one).chain([words.iter().flat_map(one).collect()]).collect()
}
