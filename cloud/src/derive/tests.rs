//! Lines as they stand in the files, and when they are written.

use std::cell::RefCell;
use std::convert::Infallible;

use serde_json::Value as Json;
use wardgate_wire::{
    Absence, Alert, AlertState, BatchKey, Class, ClockQuality, Concern, Decimal, Description, DeviceTime, Digest, Entry, GapReason, Header,
    InstanceAlerts, InstanceNumerics, Kind, LastKnown, Life, NumberedAlert, NumberedObservation, NumberedReading, Piece, Priority, Value,
    WaveformShape, WaveformTrack, description_digest,
};

use super::*;

const S: i64 = 1_000_000_000;
const WALL_NS: i64 = 1_790_000_000 * S;

fn moment(s: u64) -> Moment {
    Moment { boot: 0xb001, monotonic_ns: s * S as u64 }
}

fn batch(class: Class, sequence: u32, content: Content) -> Batch {
    let key = BatchKey { life: 0xa, epoch: 2, class, sequence };
    Batch { header: Header { gateway: GatewayId::new("ward-1").unwrap(), key, previous: Digest::default() }, content }
}

fn describe(name: &str, kind: Kind) -> Description {
    let decimal = |mantissa, exponent| Decimal { mantissa, exponent };
    let shape = WaveformShape { scale: decimal(5, -3), offset: decimal(0, 0), period_numerator: 1, period_denominator: 250, bits: 12 };
    let shape = (kind == Kind::Waveform).then_some(shape);
    Description { name: name.into(), kind, code: None, unit: "mV".into(), shape, personal: false, derived: false, facts: vec![] }
}

fn run(channel: u16, run: Run, description: &Description) -> Entry {
    let stream = Stream { instance: "bed-1".into(), source: Source::Channel(channel) };
    Entry::Run { stream, run, description: Some(description_digest(description)), moment: moment(1), before: None, reason: None }
}

fn described(description: Description) -> Entry {
    Entry::Description { digest: Digest::default(), description } // known by what it holds, not by what it is called
}

fn clock() -> Entry {
    Entry::Clock { at: moment(0), wall_ns: WALL_NS, uncertainty_ns: 5, quality: ClockQuality::Synchronised }
}

fn readings(values: Vec<(u16, Value)>) -> Content {
    let readings = values.into_iter().map(|(channel, value)| NumberedReading { channel, run: 1, index: 41, value, quality: 0b100_0001 });
    let observation = NumberedObservation { moment: moment(5), at: DeviceTime::Counter(77), readings: readings.collect() };
    Content::Numerics(vec![InstanceNumerics {
        instance: "bed-1".into(),
        late: false,
        observations: vec![observation.clone(), observation],
    }])
}

fn number(mantissa: i64, exponent: i8) -> Value {
    Value::Number(Decimal { mantissa, exponent })
}

/// A log in memory, and everything written so far.
#[derive(Default)]
struct Desk {
    deriver: Deriver,
    log: RefCell<Vec<Batch>>,
    written: Lines,
}

impl Desk {
    fn put(&mut self, at_s: i64, batch: Batch) {
        self.put_with(at_s, batch, Vec::new());
    }

    fn put_with(&mut self, at_s: i64, batch: Batch, lost: Vec<Lost>) {
        let place = Position { segment: 1, offset: self.log.borrow().len() as u64 };
        self.log.borrow_mut().push(batch.clone());
        let log = &self.log;
        let mut again = |p: Position| Ok::<_, Infallible>(log.borrow()[p.offset as usize].clone());
        let Ok(lines) = self.deriver.batch((place, at_s * S), &batch, lost, &mut again);
        join(&mut self.written, lines);
    }

    fn pass(&mut self, at_s: i64) {
        let log = &self.log;
        let mut again = |p: Position| Ok::<_, Infallible>(log.borrow()[p.offset as usize].clone());
        let Ok(lines) = self.deriver.passed(at_s * S, &mut again);
        join(&mut self.written, lines);
    }

    fn paths(&self) -> Vec<&str> {
        self.written.keys().map(String::as_str).collect()
    }

    fn lines(&self, path: &str) -> Vec<Json> {
        let text = self.written.get(path).map(|b| String::from_utf8(b.clone()).unwrap()).unwrap_or_default();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.written[path].clone()).unwrap()
    }
}

fn told() -> Content {
    Content::Ledger(vec![
        described(describe("hr", Kind::Numeric)),
        run(0, 1, &describe("hr", Kind::Numeric)),
        described(describe("ecg", Kind::Waveform)),
        run(1, 1, &describe("ecg", Kind::Waveform)),
        clock(),
    ])
}

const HOUR: &str = "2026-09-21T14";

#[test]
fn numerics_as_they_stand_in_the_file() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, told()));
    desk.put(1, batch(Class::Numeric, 3, readings(vec![(0, number(366, -1))])));
    let path = format!("ward-1/bed-1/hr/{HOUR}.jsonl");
    let line = r#"{"batch":"000000000000000a.2.numeric.3","gateway":"ward-1","instance":"bed-1","channel":"hr","number":0,"run":1,"index":41,"observation":0,"time":"2026-09-21T14:13:25.000000000Z","boot":"000000000000b001","monotonic_ns":5000000000,"device_time":{"counter":77},"mantissa":366,"exponent":-1,"unit":"mV","quality":["invalid","validated"]}"#;
    assert_eq!(desk.text(&path), format!("{line}\n{}\n", line.replace(r#""observation":0"#, r#""observation":1"#)));
}

#[test]
fn every_kind_of_value_has_its_own_field() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, told()));
    let values = [
        Value::Absent(Absence::SensorOff),
        Value::Text("on \"hold\"\n".into()),
        Value::Code(7),
        Value::Bits(u64::MAX),
        Value::Octets(vec![0, 255]),
    ];
    for (n, value) in values.into_iter().enumerate() {
        desk.put(1, batch(Class::Numeric, n as u32, readings(vec![(0, value)])));
    }
    let lines = desk.lines(&format!("ward-1/bed-1/hr/{HOUR}.jsonl"));
    let field = |n: usize, name: &str| lines[2 * n][name].clone();
    assert_eq!(field(0, "absent"), "sensor-off");
    assert_eq!(field(1, "text"), "on \"hold\"\n");
    assert_eq!(field(2, "code"), 7);
    assert_eq!(field(3, "bits"), u64::MAX);
    assert_eq!(field(4, "octets"), "00ff");
    assert!(lines.iter().all(|l| l.get("mantissa").is_none()), "absence is not a number");
}

#[test]
fn waveforms_are_a_line_a_piece_and_alerts_name_their_channel() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, told()));
    let piece = |count, s| Piece { count, moment: moment(s), at: DeviceTime::Local(0), quality: 0 };
    let (pieces, counts) = (vec![piece(2, 5), piece(1, 3700)], vec![-4, 5, 6]);
    let track = WaveformTrack { instance: "bed-1".into(), channel: 1, run: 1, first: 10, late: true, pieces, counts };
    desk.put(1, batch(Class::Waveform, 0, Content::Waveforms(vec![track])));
    let first = &desk.lines(&format!("ward-1/bed-1/ecg/{HOUR}.jsonl"))[0];
    assert_eq!((&first["first"], &first["counts"], &first["late"]), (&10.into(), &serde_json::json!([-4, 5]), &true.into()));
    assert_eq!((&first["scale"], &first["period"]), (&serde_json::json!([5, -3]), &serde_json::json!([1, 250])));
    assert_eq!(first["device_time"]["local"], "1970-01-01T00:00:00.000000000");
    let second = &desk.lines("ward-1/bed-1/ecg/2026-09-21T15.jsonl")[0];
    assert_eq!((&second["first"], &second["counts"]), (&12.into(), &serde_json::json!([6])));
    let alert = Alert {
        id: 9,
        at: DeviceTime::NotTold,
        channel: Some(1),
        priority: Priority::High,
        concern: Concern::Technical,
        state: AlertState::AudioPaused,
        code: None,
        low: None,
        high: Some(Decimal { mantissa: 12, exponent: -1 }),
        text: "LEADS OFF".into(),
    };
    let alerts = vec![NumberedAlert { run: 1, index: 0, moment: moment(5), alert }];
    desk.put(1, batch(Class::Alert, 0, Content::Alerts(vec![InstanceAlerts { instance: "bed-1".into(), late: false, alerts }])));
    let line = &desk.lines(&format!("ward-1/bed-1/alerts/{HOUR}.jsonl"))[0];
    assert_eq!((&line["channel"], &line["alert_channel"], &line["state"]), (&"alerts".into(), &"ecg".into(), &"audio-paused".into()));
    assert_eq!((&line["priority"], &line["concern"], &line["text"]), (&"high".into(), &"technical".into(), &"LEADS OFF".into()));
    assert_eq!((&line["low"], &line["high"], &line["id"]), (&Json::Null, &serde_json::json!([12, -1]), &9.into()));
    assert_eq!(desk.deriver.tally(&GatewayId::new("ward-1").unwrap()).samples, 3);
}

#[test]
fn a_batch_waits_for_its_description_as_long_as_that_takes() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, Content::Ledger(vec![clock()])));
    desk.put(1, batch(Class::Numeric, 0, readings(vec![(0, number(1, 0))])));
    desk.pass(1_000_000);
    assert_eq!(desk.paths(), ["ward-1/records.jsonl"], "never guessed");
    desk.put(1_000_001, batch(Class::Numeric, 1, readings(vec![(0, number(2, 0))])));
    desk.put(1_000_001, batch(Class::Ledger, 1, Content::Ledger(vec![run(0, 1, &describe("hr", Kind::Numeric))])));
    assert_eq!(desk.paths(), ["ward-1/records.jsonl"], "the run is known, its description is not");
    desk.put(1_000_002, batch(Class::Ledger, 2, Content::Ledger(vec![described(describe("hr", Kind::Numeric))])));
    assert_eq!(desk.lines(&format!("ward-1/bed-1/hr/{HOUR}.jsonl")).len(), 4, "both at once, and not when some wait is over");
    assert_eq!(desk.deriver.waiting(&GatewayId::new("ward-1").unwrap()), 0);
}

#[test]
fn a_batch_waits_for_a_clock_a_bounded_time_and_then_nothing_of_that_boot_waits() {
    let mut desk = Desk::default();
    let no_clock = Content::Ledger(vec![described(describe("hr", Kind::Numeric)), run(0, 1, &describe("hr", Kind::Numeric))]);
    desk.put(1, batch(Class::Ledger, 0, no_clock));
    desk.put(1, batch(Class::Numeric, 0, readings(vec![(0, number(1, 0))])));
    desk.pass(1 + CLOCK_WAIT_NS / S - 1);
    let unknown = "ward-1/bed-1/hr/unknown-time.jsonl";
    assert!(desk.lines(unknown).is_empty() && !desk.deriver.is_due(CLOCK_WAIT_NS));
    assert!(desk.deriver.is_due(S + CLOCK_WAIT_NS));
    desk.pass(1 + CLOCK_WAIT_NS / S);
    assert_eq!((desk.lines(unknown).len(), &desk.lines(unknown)[0]["time"]), (2, &Json::Null));
    desk.put(20, batch(Class::Numeric, 1, readings(vec![(0, number(2, 0))])));
    assert_eq!(desk.lines(unknown).len(), 4, "at once");
    desk.put(21, batch(Class::Ledger, 1, Content::Ledger(vec![clock()])));
    desk.put(21, batch(Class::Numeric, 2, readings(vec![(0, number(3, 0))])));
    assert_eq!((desk.lines(unknown).len(), desk.lines(&format!("ward-1/bed-1/hr/{HOUR}.jsonl")).len()), (4, 2));
}

#[test]
fn gaps_as_they_stand_in_the_file() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, told()));
    let stream = Stream { instance: "bed-1".into(), source: Source::Channel(1) };
    let hole = Lost {
        life: 0xa,
        stream: stream.clone(),
        run: 1,
        first: 7,
        indices: 3,
        values: None,
        from: Some(moment(5)),
        to: moment(6),
        reason: GapReason::Unknown,
        before: None,
        shed: vec![Class::Numeric],
    };
    let shed = Lost { shed: vec![Class::Waveform], ..hole.clone() };
    let last = LastKnown { life: 9 as Life, run: 4, next: 8, moment: Moment { boot: 3, monotonic_ns: 1 } };
    let between =
        Lost { indices: 0, first: 0, before: Some(last), from: Some(moment(2)), reason: GapReason::GatewayRestart, ..hole.clone() };
    desk.put_with(2, batch(Class::Ledger, 1, Content::Ledger(vec![])), vec![hole, shed, between]);
    let first = r#"{"gateway":"ward-1","instance":"bed-1","channel":"ecg","number":1,"life":"000000000000000a","run":1,"first":7,"indices":3,"values":null,"from_boot":"000000000000b001","from_monotonic_ns":5000000000,"from":"2026-09-21T14:13:25.000000000Z","to_boot":"000000000000b001","to_monotonic_ns":6000000000,"to":"2026-09-21T14:13:26.000000000Z","reason":"unknown","batch":"000000000000000a.2.ledger.1"}"#;
    assert_eq!(desk.text("ward-1/gaps.jsonl").lines().next(), Some(first));
    let lines = desk.lines("ward-1/gaps.jsonl");
    assert_eq!(lines[1]["reason"], "shed-by-policy", "of a waveform, and waveforms were shed");
    assert_eq!(lines[2]["before"], serde_json::json!({"life": "0000000000000009", "run": 4, "next": 8}));
    let tally = desk.deriver.tally(&GatewayId::new("ward-1").unwrap());
    assert_eq!((tally.gaps, tally.unexplained), (3, 1));
}

#[test]
fn a_gap_waits_for_its_name_a_bounded_time() {
    let mut desk = Desk::default();
    desk.put(1, batch(Class::Ledger, 0, Content::Ledger(vec![clock()])));
    let stream = Stream { instance: "bed-1".into(), source: Source::Channel(5) };
    let (life, to) = (0xa, moment(6));
    let lost = |run| Lost {
        life,
        stream: stream.clone(),
        run,
        first: 0,
        indices: 3,
        values: None,
        from: None,
        to,
        reason: GapReason::DiskFull,
        before: None,
        shed: vec![],
    };
    desk.put_with(1, batch(Class::Ledger, 1, Content::Ledger(vec![])), vec![lost(1), lost(2)]);
    assert!(desk.lines("ward-1/gaps.jsonl").is_empty());
    let named = Content::Ledger(vec![described(describe("spo2", Kind::Numeric)), run(5, 1, &describe("spo2", Kind::Numeric))]);
    desk.put(2, batch(Class::Ledger, 2, named));
    desk.pass(1 + CLOCK_WAIT_NS / S);
    let lines = desk.lines("ward-1/gaps.jsonl");
    assert_eq!(lines.iter().map(|l| l["channel"].as_str().unwrap()).collect::<Vec<_>>(), ["spo2", "#5"]);
}

#[test]
fn what_people_look_up_is_in_the_records() {
    let mut desk = Desk::default();
    let binding = Entry::Binding { instance: "bed-1".into(), serial: Some("A7".into()), bed: Some("12-window".into()), from: moment(3) };
    let opening = Entry::Opening { predecessor: None, reason: GapReason::PowerCut, software: "wardgate 0.1.0".into() };
    desk.put(1, batch(Class::Ledger, 0, Content::Ledger(vec![opening, clock(), binding])));
    let lines = desk.lines("ward-1/records.jsonl");
    assert_eq!(lines.iter().map(|l| l["record"].as_str().unwrap()).collect::<Vec<_>>(), ["opening", "clock", "binding"]);
    assert_eq!((&lines[2]["bed"], &lines[2]["from"]["time"]), (&"12-window".into(), &"2026-09-21T14:13:23.000000000Z".into()));
}
