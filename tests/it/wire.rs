//! The wire format, read a second time: `tests/oracle/decode_batch.py`, written from `wire/FORMAT.md`, must read what the gateway writes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use wardgate_wire::{
    Batch, Class, Closing, Coding, Content, Decimal, Description, DeviceTime, Entry, Fact, GapReason, InstanceAlerts, InstanceNumerics,
    Key, LastKnown, Moment, Source, Stream, Value, WaveformTrack, encode,
};

#[path = "../../wire/src/tests/random.rs"]
mod random;

const KEY: &[u8] = b"the oracle's own key";
/// Enough that every kind of value, record and column form comes up many times; the Python side takes most of the time.
const BATCHES_OF_EACH_CLASS: u64 = 250;

#[test]
fn an_independent_decoder_reads_the_same_batches() {
    let key = Key::new(KEY).expect("long enough");
    let (mut messages, mut expected) = (String::new(), Vec::new());
    for seed in 0..BATCHES_OF_EACH_CLASS {
        let mut random = random::Random::new(seed);
        for class in Class::ALL {
            let batch = random.batch(class);
            let encoded = encode(&batch, &key).expect("the generator makes valid batches");
            writeln!(messages, "{}", hex(&encoded.bytes)).expect("a string takes all");
            expected.push(render(&batch, &encoded.digest.to_string()));
        }
    }
    let out = oracle(&messages, KEY);
    assert!(out.status.success(), "the oracle failed: {}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout).expect("JSON is text");
    assert_eq!(lines.lines().count(), expected.len());
    for (n, (line, expected)) in lines.lines().zip(&expected).enumerate() {
        let read: Json = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(&read, expected, "batch {n}");
    }
}

#[test]
fn the_independent_decoder_refuses_another_key() {
    let batch = random::Random::new(1).batch(Class::Numeric);
    let encoded = encode(&batch, &Key::new(KEY).expect("long enough")).expect("valid");
    let out = oracle(&hex(&encoded.bytes), b"another key, as long");
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("ValueError: MAC"));
}

fn oracle(messages: &str, key: &[u8]) -> std::process::Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/decode_batch.py");
    let python = python();
    let mut child = Command::new(&python)
        .arg(script)
        .arg(hex(key))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("cannot start {}: {e}. Run `make test-setup`, or name another interpreter in WARDGATE_PYTHON", python.display())
        });
    let mut stdin = child.stdin.take().expect("it was asked for");
    let messages = messages.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(messages.as_bytes()))); // it may stop at the first message
    let out = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends with its reader");
    out
}

fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("WARDGATE_PYTHON").map_or(own, PathBuf::from);
    let ready = Command::new(&python).args(["-c", "import zstandard"]).output();
    assert!(
        ready.is_ok_and(|out| out.status.success()),
        "no Python with the module zstandard at {}: run `make test-setup`, or name another interpreter in WARDGATE_PYTHON",
        python.display()
    );
    python
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn render(batch: &Batch, digest: &str) -> Json {
    let header = &batch.header;
    let content = match &batch.content {
        Content::Alerts(instances) => instances.iter().map(alerts).collect(),
        Content::Ledger(entries) => entries.iter().map(entry).collect(),
        Content::Numerics(instances) => instances.iter().map(numerics).collect(),
        Content::Waveforms(tracks) => tracks.iter().map(track).collect(),
        Content::Archive(bytes) => json!(hex(bytes)),
    };
    json!({
        "class": header.key.class.name(), "gateway": header.gateway.as_str(), "life": header.key.life, "epoch": header.key.epoch,
        "sequence": header.key.sequence, "previous": header.previous.to_string(), "digest": digest, "content": content,
    })
}

fn moment(m: &Moment) -> Json {
    json!({"boot": m.boot, "monotonic": m.monotonic_ns})
}

fn at(at: &DeviceTime) -> Json {
    match at {
        DeviceTime::NotTold => Json::Null,
        DeviceTime::Utc(ns) => json!([1, ns]),
        DeviceTime::Local(ns) => json!([2, ns]),
        DeviceTime::Counter(ns) => json!([3, ns]),
    }
}

fn decimal(d: &Decimal) -> Json {
    json!({"mantissa": d.mantissa, "exponent": d.exponent})
}

fn coding(c: &Coding) -> Json {
    json!({"scheme": c.scheme, "value": c.value})
}

fn stream(s: &Stream) -> Json {
    let channel = match s.source {
        Source::Alerts => None,
        Source::Channel(channel) => Some(channel),
    };
    json!({"instance": s.instance, "channel": channel})
}

fn facts(facts: &[Fact]) -> Json {
    facts.iter().map(|f| json!({"name": f.name, "value": f.value})).collect()
}

fn numerics(i: &InstanceNumerics) -> Json {
    let value = |v: &Value| match v {
        Value::Number(d) => json!([0, decimal(d)]),
        Value::Absent(a) => json!([1, a.code()]),
        Value::Code(c) => json!([2, c]),
        Value::Bits(b) => json!([3, b]),
        Value::Text(t) => json!([4, t]),
        Value::Octets(o) => json!([5, hex(o)]),
    };
    let rows: Vec<Json> = i
        .observations
        .iter()
        .map(|o| {
            let reading = |r: &wardgate_wire::NumberedReading| {
                json!({"channel": r.channel, "run": r.run, "index": r.index, "value": value(&r.value), "quality": r.quality})
            };
            json!({"moment": moment(&o.moment), "at": at(&o.at), "readings": o.readings.iter().map(reading).collect::<Vec<_>>()})
        })
        .collect();
    json!({"instance": i.instance, "late": u8::from(i.late), "rows": rows})
}

fn track(t: &WaveformTrack) -> Json {
    let piece = |p: &wardgate_wire::Piece| json!({"count": p.count, "moment": moment(&p.moment), "at": at(&p.at), "quality": p.quality});
    json!({
        "instance": t.instance, "late": u8::from(t.late), "channel": t.channel, "run": t.run, "first": t.first,
        "pieces": t.pieces.iter().map(piece).collect::<Vec<_>>(), "counts": t.counts,
    })
}

fn alerts(i: &InstanceAlerts) -> Json {
    let row = |n: &wardgate_wire::NumberedAlert| {
        let a = &n.alert;
        json!({
            "moment": moment(&n.moment), "at": at(&a.at), "run": n.run, "index": n.index, "id": a.id, "channel": a.channel,
            "priority": a.priority.code(), "concern": a.concern.code(), "state": a.state.code(), "code": a.code.as_ref().map(coding),
            "low": a.low.as_ref().map(decimal), "high": a.high.as_ref().map(decimal), "text": a.text,
        })
    };
    json!({"instance": i.instance, "late": u8::from(i.late), "rows": i.alerts.iter().map(row).collect::<Vec<_>>()})
}

fn closing(c: &Closing) -> Json {
    let classes = c.classes.iter().map(|e| json!({"class": e.class.code(), "count": e.count, "last": e.last.to_string()}));
    let runs = c.runs.iter().map(|r| {
        json!({
            "stream": stream(&r.stream), "run": r.run, "first": r.first, "length": r.next - r.first, "count": r.count,
            "from": moment(&r.first_moment), "to": moment(&r.last_moment),
        })
    });
    json!({"epoch": c.epoch, "clean": u8::from(c.clean), "classes": classes.collect::<Vec<_>>(), "runs": runs.collect::<Vec<_>>()})
}

fn description(digest: &str, d: &Description) -> Json {
    let shape = d.shape.map(|s| {
        json!({
            "scale": decimal(&s.scale), "offset": decimal(&s.offset), "numerator": s.period_numerator,
            "denominator": s.period_denominator, "bits": s.bits,
        })
    });
    json!({
        "digest": digest, "name": d.name, "kind": d.kind.code(), "code": d.code.as_ref().map(coding), "unit": d.unit, "shape": shape,
        "personal": u8::from(d.personal), "derived": u8::from(d.derived), "facts": facts(&d.facts),
    })
}

fn entry(entry: &Entry) -> Json {
    match entry {
        Entry::Opening { predecessor, reason, software } => {
            let predecessor = predecessor.as_ref().map(|p| json!({"life": p.life, "closing": closing(&p.closing)}));
            json!([1, {"predecessor": predecessor, "reason": reason.code(), "software": software}])
        }
        Entry::Closing(c) => json!([2, closing(c)]),
        Entry::Run { stream: s, run, description, moment: m, before, reason } => {
            let last = |l: &LastKnown| json!({"life": l.life, "run": l.run, "next": l.next, "moment": moment(&l.moment)});
            json!([3, {
                "stream": stream(s), "run": run, "description": description.map(|d| d.to_string()), "moment": moment(m),
                "before": before.as_ref().map(last), "reason": reason.map(GapReason::code),
            }])
        }
        Entry::Gap { life, stream: s, run, first, indices, values, from, to, reason } => json!([4, {
            "life": life, "stream": stream(s), "run": run, "first": first, "indices": indices, "values": values, "from": moment(from),
            "to": moment(to), "reason": reason.code(),
        }]),
        Entry::Shed { life, epoch, class, below } => {
            json!([5, {"life": life, "epoch": epoch, "class": class.code(), "below": below}])
        }
        Entry::Clock { at, wall_ns, uncertainty_ns, quality } => {
            json!([6, {"at": moment(at), "wall": wall_ns, "uncertainty": uncertainty_ns, "quality": quality.code()}])
        }
        Entry::Binding { instance, serial, bed, from } => {
            json!([7, {"instance": instance, "serial": serial, "bed": bed, "from": moment(from)}])
        }
        Entry::Identity { instance, at, facts: list } => json!([8, {"instance": instance, "at": moment(at), "facts": facts(list)}]),
        Entry::DeviceClock { instance, at, device, uncertainty_ns, change } => {
            let device = match device {
                DeviceTime::NotTold => json!(null),
                DeviceTime::Utc(ns) => json!([1, ns]),
                DeviceTime::Local(ns) => json!([2, ns]),
                DeviceTime::Counter(ns) => json!([3, ns.cast_signed()]),
            };
            let (uncertainty, change) = (uncertainty_ns, change.code());
            json!([10, {"instance": instance, "at": moment(at), "device": device, "uncertainty": uncertainty, "change": change}])
        }
        Entry::Description { digest, description: d } => json!([9, description(&digest.to_string(), d)]),
        Entry::Other { kind, bytes } => json!([kind, hex(bytes)]),
    }
}
