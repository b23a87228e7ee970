//! `show`: a person's view of a batch, of a raw log, or of a file of lines. Reads, never writes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use wardgate_wire::{Batch, BatchKey, Content, Entry, GatewayId, Source, decode_unauthenticated, peek_unauthenticated};

use crate::decode::{DecodeError, Input};
use crate::time::rfc3339;

/// Streams in a row are named up to here; a table is for eyes.
const STREAMS_NAMED_MAX: usize = 4;

pub fn show(path: &Path) -> Result<String, DecodeError> {
    if path.extension().is_some_and(|e| e == "jsonl") {
        let text = fs::read_to_string(path).map_err(|why| DecodeError::Io { path: path.to_owned(), why })?;
        return Ok(lines(&text));
    }
    let input = Input::open(path)?;
    let mut rows = vec![["received", "gateway", "batch", "bytes", "holds"].map(str::to_owned)];
    let (mut sums, mut damaged, mut marks) = (BTreeMap::<(GatewayId, &str), (u64, u64)>::new(), 0_u64, 0_u64);
    input.each::<DecodeError>(
        |_, record| {
            if record.batch.is_empty() {
                marks += 1;
                return Ok(());
            }
            let received = if record.received_ns == 0 { "-".to_owned() } else { rfc3339(record.received_ns)[..19].to_owned() };
            match peek_unauthenticated(record.batch) {
                Err(why) => rows.push([received, String::new(), "(no batch)".into(), record.batch.len().to_string(), why.to_string()]),
                Ok((header, _)) => {
                    let holds = decode_unauthenticated(record.batch).map_or_else(|why| why.to_string(), |(batch, _)| summary(&batch));
                    let sum = sums.entry((header.gateway.clone(), header.key.class.name())).or_default();
                    (sum.0, sum.1) = (sum.0 + 1, sum.1 + record.batch.len() as u64);
                    rows.push([received, header.gateway.to_string(), identity(&header.key), record.batch.len().to_string(), holds]);
                }
            }
            Ok(())
        },
        |_, bytes| damaged += bytes as u64,
    )?;
    let mut out = table(&rows, &[3]);
    out.push('\n');
    for ((gateway, class), (batches, bytes)) in sums {
        let _ = writeln!(out, "{gateway} {class}: {batches} batches, {bytes} bytes");
    }
    if marks > 0 {
        let _ = writeln!(out, "{marks} marks that time passed");
    }
    if damaged > 0 {
        let _ = writeln!(out, "{damaged} bytes are no whole record");
    }
    Ok(out)
}

fn identity(key: &BatchKey) -> String {
    key.to_string()
}

/// What a batch holds, in one line.
fn summary(batch: &Batch) -> String {
    let streams = |names: Vec<String>, what: String| {
        let more = names.len().saturating_sub(STREAMS_NAMED_MAX);
        let named = names.into_iter().take(STREAMS_NAMED_MAX).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{what}: {named} and {more} more") } else { format!("{what}: {named}") }
    };
    let unique = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    match &batch.content {
        Content::Numerics(instances) => {
            let readings = || instances.iter().flat_map(|i| i.observations.iter().flat_map(|o| &o.readings).map(move |r| (i, r)));
            let names = unique(readings().map(|(i, r)| format!("{}#{}", i.instance, r.channel)).collect());
            streams(names, format!("{} readings", readings().count()))
        }
        Content::Waveforms(tracks) => {
            let samples: usize = tracks.iter().map(|t| t.counts.len()).sum();
            streams(unique(tracks.iter().map(|t| format!("{}#{}", t.instance, t.channel)).collect()), format!("{samples} samples"))
        }
        Content::Alerts(instances) => {
            let alerts = || {
                instances
                    .iter()
                    .flat_map(|i| i.alerts.iter().map(move |a| format!("{} {:?} {:?}", i.instance, a.alert.state, a.alert.text)))
            };
            streams(alerts().collect(), format!("{} alerts", alerts().count()))
        }
        Content::Ledger(entries) => entries.iter().map(entry).collect::<Vec<_>>().join("; "),
        Content::Archive(bytes) => format!("{} bytes of raw frames", bytes.len()),
    }
}

fn entry(entry: &Entry) -> String {
    let stream = |s: &wardgate_wire::Stream| match s.source {
        Source::Alerts => format!("{} alerts", s.instance),
        Source::Channel(c) => format!("{}#{c}", s.instance),
    };
    match entry {
        Entry::Opening { predecessor: None, software, .. } => format!("opening of a first life, {software}"),
        Entry::Opening { predecessor: Some(p), reason: why, software } => {
            format!("opening after life {:016x} epoch {} ({}), {software}", p.life, p.closing.epoch, why.name())
        }
        Entry::Closing(c) => format!("closing of epoch {}: {} runs", c.epoch, c.runs.len()),
        Entry::Run { stream: s, run, reason: why, .. } => {
            format!("run {run} of {}{}", stream(s), why.map_or_else(String::new, |w| format!(" after {}", w.name())))
        }
        Entry::Gap { stream: s, run, first, indices, reason: why, .. } => {
            format!("GAP {} in {} run {run}: {indices} from {first}", why.name(), stream(s))
        }
        Entry::Shed { epoch, class, below, .. } => format!("shed of epoch {epoch}: {class} below {below}"),
        Entry::Clock { wall_ns, .. } => format!("clock {}", &rfc3339(*wall_ns)[..19]),
        Entry::DeviceClock { instance, uncertainty_ns, change, .. } => {
            format!("clock of the device of {instance}: {}, within {} ms", change.name(), uncertainty_ns / 1_000_000)
        }
        Entry::Binding { instance, serial, bed, .. } => {
            format!("binding of {instance}: bed {}, serial {}", bed.as_deref().unwrap_or("-"), serial.as_deref().unwrap_or("-"))
        }
        Entry::Identity { instance, facts, .. } => format!("identity of {instance}: {} facts", facts.len()),
        Entry::Description { description: d, .. } => format!("description of {} [{}]", d.name, d.unit),
        Entry::Other { kind, bytes } => format!("unknown record {kind}, {} bytes", bytes.len()),
    }
}

/// A file of lines as a table: when, which stream, what.
fn lines(text: &str) -> String {
    let mut rows = vec![["time", "instance", "channel", "run", "index", "value"].map(str::to_owned)];
    let mut broken = 0;
    for line in text.lines() {
        match serde_json::from_str::<Json>(line) {
            Ok(json) => rows.push(row(&json)),
            Err(_) => broken += 1,
        }
    }
    let mut out = table(&rows, &[3, 4]);
    let _ = writeln!(out, "\n{} lines", rows.len() - 1);
    if broken > 0 {
        let _ = writeln!(out, "{broken} lines are not JSON");
    }
    out
}

fn row(json: &Json) -> [String; 6] {
    let text = |name: &str| match &json[name] {
        Json::Null => "-".to_owned(),
        Json::String(s) => s.clone(),
        other => other.to_string(),
    };
    if json.get("reason").is_some() && json.get("indices").is_some() {
        let lost = if json["indices"] == 0 { "between runs or values".to_owned() } else { format!("{} positions", text("indices")) };
        return [text("to"), text("instance"), text("channel"), text("run"), text("first"), format!("GAP {}, {lost}", text("reason"))];
    }
    if json.get("record").is_some() {
        let skip = ["batch", "gateway", "life", "record", "instance"];
        let rest = json.as_object().into_iter().flatten().filter(|(k, _)| !skip.contains(&k.as_str()));
        let rest = rest.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
        return ["-".into(), text("instance"), text("record"), "-".into(), "-".into(), rest];
    }
    let value = if let Some(counts) = json["counts"].as_array() {
        format!("{} samples {}", counts.len(), text("unit"))
    } else if json.get("mantissa").is_some() {
        format!("{} {}", decimal(json["mantissa"].as_i64().unwrap_or(0), json["exponent"].as_i64().unwrap_or(0)), text("unit"))
    } else if json.get("state").is_some() {
        format!("{} {} {}", text("state"), text("priority"), text("text"))
    } else {
        let kinds = ["absent", "text", "code", "bits", "octets"].into_iter().filter(|k| json.get(*k).is_some());
        kinds.map(|k| format!("{k} {}", text(k))).collect()
    };
    [text("time"), text("instance"), text("channel"), text("run"), text("index"), value]
}

/// mantissa * 10^exponent as a person writes it: 366 and -1 are 36.6.
fn decimal(mantissa: i64, exponent: i64) -> String {
    if exponent >= 0 {
        return if exponent == 0 { mantissa.to_string() } else { format!("{mantissa}e{exponent}") };
    }
    let places = usize::try_from(-exponent).unwrap_or(0);
    let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = places + 1);
    let (whole, part) = digits.split_at(digits.len() - places);
    format!("{}{whole}.{part}", if mantissa < 0 { "-" } else { "" })
}

/// Columns as wide as their widest cell, the last as it comes; control characters made visible.
pub fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let clean = |cell: &str| cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect::<String>();
    let rows: Vec<[String; N]> = rows.iter().map(|r| std::array::from_fn(|i| clean(&r[i]))).collect();
    let widths: [usize; N] = std::array::from_fn(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i] - cell.chars().count());
            let _ = if right.contains(&i) { write!(line, "{pad}{cell}  ") } else { write!(line, "{cell}{pad}  ") };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_look_like_themselves() {
        for (m, e, text) in [(366, -1, "36.6"), (-5, -2, "-0.05"), (80, 0, "80"), (12, 3, "12e3"), (i64::MIN, -1, "-922337203685477580.8")]
        {
            assert_eq!(decimal(m, e), text);
        }
    }

    #[test]
    fn lines_become_an_aligned_table() {
        let shown = lines(concat!(
            r#"{"time":"2026-01-01T00:00:00Z","instance":"bed-1","channel":"hr","run":1,"index":7,"mantissa":366,"exponent":-1,"unit":"Cel"}"#,
            "\n",
            r#"{"gateway":"w","instance":"bed-1","channel":"ecg","run":2,"first":0,"indices":5,"reason":"disk-full","to":null}"#,
            "\nnonsense\n"
        ));
        let columns: Vec<usize> = shown.lines().take(3).map(|l| l.find("bed-1").or(l.find("instance")).unwrap()).collect();
        assert!(columns.windows(2).all(|w| w[0] == w[1]), "{shown}");
        assert!(
            shown.contains("36.6 Cel") && shown.contains("GAP disk-full, 5 positions") && shown.contains("1 lines are not JSON"),
            "{shown}"
        );
    }
}
