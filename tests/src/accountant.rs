//! Compares what simulators sent with what the receiver wrote: every value once, or inside a gap. Shares nothing with gateway or receiver
//! but the names of the output's fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A value's moment at the gateway may seem this much earlier than the simulator's note of it: both read the same clock, the note comes after the write.
pub const NOTE_LATE_NS: u64 = 100_000_000;
/// A gateway that stamps a message later than this was not running; what it then says is not taken for that message.
const STAMP_LATE_NS_MAX: u64 = 5_000_000_000;

/// Alerts are states, not values: they are compared by the tests that know when a device changes its mind.
pub const ALERTS: &str = "alerts";

/// What one channel said at one time, exactly as coded by the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Mantissa and exponent.
    Number(i64, i8),
    Absent,
    Code(u64),
    Text(String),
    Samples(Vec<i64>),
}

impl Content {
    /// How many values it counts for.
    pub fn values(&self) -> u64 {
        if let Self::Samples(s) = self { s.len() as u64 } else { 1 }
    }
}

/// Bytes of the same as JSON messages, one a value, as telemetry platforms take them: {"ts":1795212345678,"values":{"hr":80}}.
pub fn json_bytes(channel: &str, content: &Content) -> u64 {
    let around = r#"{"ts":1795212345678,"values":{"":}}"#.len() + channel.len();
    digits(content).iter().map(|digits| (around + digits) as u64).sum()
}

/// And as one message for each moment of a device, with arrays: {"ts":1795212345678,"values":{"hr":80,"ecg":[1,2]}}. What a careful writer sends.
pub fn packed_json_bytes(tracks: &Tracks) -> u64 {
    let moments: BTreeSet<u64> = tracks.values().flatten().map(|(at, _)| *at).collect();
    let around = moments.len() * r#"{"ts":1795212345678,"values":{}}"#.len();
    let member = |channel: &str, content: &Content| {
        let array = if matches!(content, Content::Samples(_)) { 1 } else { 0 };
        channel.len() + r#""":"#.len() + array + digits(content).iter().map(|digits| digits + 1).sum::<usize>()
    };
    let members: usize = tracks.iter().flat_map(|(channel, track)| track.iter().map(move |(_, content)| member(channel, content))).sum();
    (around + members) as u64
}

/// How long each value is as JSON has it.
fn digits(content: &Content) -> Vec<usize> {
    match content {
        Content::Samples(samples) => samples.iter().map(|s| s.to_string().len()).collect(),
        Content::Number(mantissa, exponent) => vec![mantissa.to_string().len() + usize::from(*exponent < 0)],
        Content::Absent => vec!["null".len()],
        Content::Code(code) => vec![code.to_string().len()],
        Content::Text(text) => vec![text.len() + 2],
    }
}

/// One device's channel: when, and what; in the order of time.
pub type Track = Vec<(u64, Content)>;
/// By channel name.
pub type Tracks = BTreeMap<String, Track>;

#[derive(Clone, Debug, Deserialize)]
pub struct Gap {
    pub instance: String,
    pub channel: String,
    /// Of the channel; none for alerts.
    pub number: Option<u16>,
    pub life: String,
    pub run: u32,
    pub first: u64,
    pub indices: u64,
    /// Nothing of the stream came before.
    #[serde(default, deserialize_with = "or_ever")]
    pub from_monotonic_ns: u64,
    pub to_monotonic_ns: u64,
    pub reason: String,
    #[serde(default)]
    pub values: Option<u64>,
}

fn or_ever<'de, D: serde::Deserializer<'de>>(text: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(text)?.unwrap_or_default())
}

impl Gap {
    /// A cut in which nothing can have been lost has no length.
    pub fn seconds(&self) -> f64 {
        self.to_monotonic_ns.saturating_sub(self.from_monotonic_ns) as f64 / 1e9
    }
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub sent: u64,
    pub received: u64,
    pub missing: u64,
    /// Sent, not received, and in no gap.
    pub unexplained: u64,
    /// Received, and never sent (a wrong value), or received twice.
    pub foreign: u64,
    /// Places (life, run, index) of a stream that hold two values, or a value and a gap; or neither, with others behind them.
    pub misplaced: u64,
    /// The first things that do not add up, for people.
    pub complaints: Vec<String>,
}

impl Account {
    pub fn adds_up(&self) -> bool {
        self.sent == self.received + self.missing && self.unexplained == 0 && self.foreign == 0 && self.misplaced == 0
    }
}

/// `sent` and `received` by channel; a lost value is explained by a gap of its channel that spans its time.
pub fn compare(device: &str, sent: &Tracks, received: &Tracks, gaps: &[Gap]) -> Account {
    let mut account = Account::default();
    for (channel, track) in sent {
        let empty = Vec::new();
        let got = received.get(channel).unwrap_or(&empty);
        let gaps: Vec<_> = gaps.iter().filter(|g| g.instance == device && g.channel == *channel).collect();
        compare_channel(&mut account, &format!("{device}/{channel}"), track, got, &gaps);
    }
    for (channel, got) in received.iter().filter(|(c, _)| *c != ALERTS && !sent.contains_key(*c)) {
        account.foreign += got.iter().map(|(_, c)| c.values()).sum::<u64>();
        account.complaints.push(format!("{device}/{channel}: {} entries of a channel that the device does not have", got.len()));
    }
    account
}

fn compare_channel(account: &mut Account, name: &str, sent: &Track, got: &Track, gaps: &[&Gap]) {
    const COMPLAINTS_MAX: usize = 20; // enough to see the pattern
    let mut complain = |text: String| {
        if account.complaints.len() < COMPLAINTS_MAX {
            account.complaints.push(text);
        }
    };
    let mut taken = vec![false; sent.len()];
    for (at, content) in got {
        // the latest message that was on the line by then: what a device repeats unchanged is told apart by its time
        let known = sent.partition_point(|(t, _)| *t <= at + NOTE_LATE_NS);
        let late = |i: &usize| sent[*i].0 + STAMP_LATE_NS_MAX >= *at;
        match (0..known).rev().take_while(late).find(|i| !taken[*i] && sent[*i].1 == *content) {
            Some(i) => {
                taken[i] = true;
                account.received += content.values();
            }
            None => {
                account.foreign += content.values();
                let near = known.checked_sub(1).map(|i| format!("; sent nearest: {}", brief(&sent[i].1)));
                complain(format!("{name}: {} at {at} was not sent, or came twice{}", brief(content), near.unwrap_or_default()));
            }
        }
    }
    for ((at, content), _) in sent.iter().zip(&taken).filter(|(_, taken)| !**taken) {
        let within = |g: &&&Gap| g.from_monotonic_ns <= at + NOTE_LATE_NS && *at <= g.to_monotonic_ns + NOTE_LATE_NS;
        if gaps.iter().find(within).is_some_and(|g| g.reason != "unknown") {
            account.missing += content.values();
        } else {
            account.unexplained += content.values();
            complain(format!("{name}: {} sent at {at} never came, and lies in no gap", brief(content)));
        }
    }
    account.sent += sent.iter().map(|(_, c)| c.values()).sum::<u64>();
}

/// A stream in one life and run: channel (none for alerts), life, run.
type Stretch = (Option<u64>, String, u64);

/// Each index of a stream's run has one value or lies in one gap: told by where the receiver says that things belong, whatever they are worth.
pub fn check_places(account: &mut Account, device: &str, lines: &[Json], gaps: &[Gap]) {
    let mut places: BTreeMap<Stretch, Vec<(u64, u64)>> = BTreeMap::new();
    for line in lines {
        let number = |key: &str| line[key].as_u64().unwrap_or_else(|| panic!("a line without its {key}: {line}"));
        let life = line["batch"].as_str().and_then(|b| b.split('.').next()).unwrap_or_default();
        let length = line["counts"].as_array().map_or(1, Vec::len) as u64;
        places.entry((line["number"].as_u64(), life.into(), number("run"))).or_default().push((number("index"), length));
    }
    for gap in gaps.iter().filter(|g| g.instance == device) {
        let stretch = (gap.number.map(u64::from), gap.life.clone(), gap.run.into());
        places.entry(stretch).or_default().push((gap.first, gap.indices));
    }
    for (stretch, mut taken) in places {
        taken.sort_unstable();
        let mut next = 0;
        for (first, length) in taken {
            if first != next {
                account.misplaced += 1;
                account.complaints.push(format!("{device} {stretch:?}: {length} at index {first}, where {next} is due"));
            }
            next = next.max(first + length);
        }
    }
}

fn brief(content: &Content) -> String {
    match content {
        Content::Samples(s) => format!("{} samples {:?}..", s.len(), &s[..s.len().min(4)]),
        other => format!("{other:?}"),
    }
}

/// What the receiver wrote about one instance, by channel.
pub fn read_received(gateway_folder: &Path, instance: &str) -> Tracks {
    let mut tracks = Tracks::new();
    for line in lines_below(&gateway_folder.join(instance)) {
        let channel = line["channel"].as_str().unwrap_or_default().to_owned();
        let (Some(at), Some(content)) = (line["monotonic_ns"].as_u64(), content_of(&line)) else { continue };
        tracks.entry(channel).or_default().push((at, content));
    }
    tracks.values_mut().for_each(|t| t.sort_by_key(|(at, _)| *at));
    tracks
}

fn content_of(line: &Json) -> Option<Content> {
    if let Some(counts) = line["counts"].as_array() {
        return Some(Content::Samples(counts.iter().filter_map(Json::as_i64).collect()));
    }
    if line.get("absent").is_some() {
        return Some(Content::Absent);
    }
    if let Some(code) = line["code"].as_u64().or(line["bits"].as_u64()) {
        return Some(Content::Code(code));
    }
    if let (Some(mantissa), Some(exponent)) = (line["mantissa"].as_i64(), line["exponent"].as_i64()) {
        return Some(Content::Number(mantissa, i8::try_from(exponent).ok()?));
    }
    line["text"].as_str().map(|t| Content::Text(t.to_owned()))
}

/// Every gap that the receiver wrote for this gateway.
pub fn read_gaps(gateway_folder: &Path) -> Vec<Gap> {
    let text = fs::read_to_string(gateway_folder.join("gaps.jsonl")).unwrap_or_default();
    whole_lines(&text).map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("a gap that cannot be read ({e}): {l}"))).collect()
}

/// What is being written while it is read ends somewhere.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter(|l| l.ends_with('\n'))
}

/// Every whole JSON line of a file.
pub fn whole_lines_of(path: &Path) -> Vec<Json> {
    let text = fs::read_to_string(path).unwrap_or_default();
    whole_lines(&text).map(|l| serde_json::from_str::<Json>(l).unwrap_or_else(|e| panic!("{}: {e}: {l}", path.display()))).collect()
}

/// Every JSON line of every file below a folder.
pub fn lines_below(folder: &Path) -> Vec<Json> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            lines.extend(lines_below(&path));
        } else if path.extension().is_some_and(|e| e == "jsonl") {
            lines.extend(whole_lines_of(&path));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(values: &[(u64, i64)]) -> Tracks {
        Tracks::from([("hr".to_owned(), values.iter().map(|(s, v)| (s * 1_000_000_000, Content::Number(*v, 0))).collect())])
    }

    fn gap(from: u64, to: u64, reason: &str) -> Gap {
        let ns = 1_000_000_000;
        let (instance, channel) = ("bed".to_owned(), "hr".to_owned());
        Gap {
            instance,
            channel,
            number: None,
            life: String::new(),
            run: 1,
            first: 0,
            indices: 0,
            from_monotonic_ns: from * ns,
            to_monotonic_ns: to * ns,
            reason: reason.to_owned(),
            values: None,
        }
    }

    #[test]
    fn a_lost_value_needs_a_gap_with_a_reason() {
        let (sent, got) = (track(&[(1, 80), (2, 80), (3, 81)]), track(&[(1, 80), (3, 81)]));
        assert!(!compare("bed", &sent, &got, &[]).adds_up());
        assert!(!compare("bed", &sent, &got, &[gap(1, 3, "unknown")]).adds_up());
        assert!(!compare("bed", &sent, &got, &[gap(3, 5, "gateway-restart")]).adds_up(), "a gap elsewhere explains nothing");
        let account = compare("bed", &sent, &got, &[gap(1, 3, "gateway-restart")]);
        assert!(account.adds_up() && account.missing == 1, "{account:?}");
    }

    #[test]
    fn a_place_is_taken_once_by_a_value_or_a_gap_and_none_is_left_out() {
        let line = |index: u64, counts: &[i64]| serde_json::json!({"batch": "00ab.0.numeric.7", "number": 5, "run": 1, "index": index, "counts": counts});
        let lost = Gap { number: Some(5), life: "00ab".into(), first: 4, indices: 2, ..gap(1, 2, "line-fault") };
        let misplaced = |lines: &[Json], gaps: &[Gap]| {
            let mut account = Account::default();
            check_places(&mut account, "bed", lines, gaps);
            account.misplaced
        };
        let (one, two) = (line(0, &[7, 7, 7, 7]), line(6, &[7]));
        assert_eq!(misplaced(&[one.clone(), two.clone()], std::slice::from_ref(&lost)), 0);
        assert_eq!(misplaced(&[one.clone(), two.clone()], &[]), 1, "a hole");
        assert_eq!(misplaced(&[one.clone(), one.clone()], &[]), 1, "the same place twice");
        assert_eq!(misplaced(&[one, line(3, &[9]), line(5, &[7])], &[lost]), 2, "a place twice with another value, and inside a gap");
    }

    #[test]
    fn a_wrong_or_doubled_value_is_noticed() {
        let sent = track(&[(1, 80), (2, 81)]);
        assert!(compare("bed", &sent, &track(&[(1, 80), (2, 81)]), &[]).adds_up());
        assert_eq!(compare("bed", &sent, &track(&[(1, 80), (2, 82)]), &[]).foreign, 1);
        assert_eq!(compare("bed", &sent, &track(&[(1, 80), (2, 81), (2, 81)]), &[]).foreign, 1);
    }
}
