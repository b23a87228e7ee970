//! `gaps`: what will not come, of every gateway, as a table with sums. Reads gaps.jsonl and store-lost.jsonl of a receiver, never writes.
//!
//! gaps.jsonl holds effective gaps only: a shed, or a hole that nothing explains, is written when its epoch has closed without the data. What went with
//! a lost store stands apart, as it may come after all.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::derive::paths::{GAPS, RECORDS, STORE_LOST, name};
use crate::show::table;
use crate::time::rfc3339;

#[derive(Debug, Error)]
pub enum GapsError {
    #[error("cannot read {path}: {why}; give the folder that `receive --out` writes")]
    Io { path: PathBuf, why: io::Error },
    #[error("{0} holds no folder of a gateway: give the folder that `receive --out` writes")]
    Empty(PathBuf),
    #[error("{out} knows no {kind} \"{name}\"; there is {known}")]
    Nobody { out: PathBuf, kind: &'static str, name: String, known: String },
    #[error("cannot write: {0}")]
    Write(io::Error),
}

/// Which gaps are wanted. One whose time nobody knows is never left out for its time.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub gateway: Option<String>,
    pub instance: Option<String>,
    pub since_ns: Option<i64>,
    pub until_ns: Option<i64>,
}

/// A line of gaps.jsonl, as far as it is needed.
#[derive(Clone, Deserialize)]
struct Gap {
    gateway: String,
    instance: String,
    channel: String,
    life: String,
    run: u32,
    first: u64,
    indices: u64,
    values: Option<u64>,
    from_boot: Option<String>,
    from_monotonic_ns: Option<u64>,
    from: Option<String>,
    to_boot: String,
    to_monotonic_ns: u64,
    to: Option<String>,
    reason: String,
    before: Option<Before>,
}

#[derive(Clone, Deserialize)]
struct Before {
    life: String,
    run: u32,
    next: u64,
}

impl Choice {
    fn takes(&self, gap: &Gap) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|w| w == name);
        let ns = |text: &Option<String>| text.as_deref().and_then(crate::time::parse);
        is(&self.gateway, &gap.gateway)
            && is(&self.instance, &gap.instance)
            && self.since_ns.zip(ns(&gap.to)).is_none_or(|(since, to)| to >= since)
            && self.until_ns.zip(ns(&gap.from).or_else(|| ns(&gap.to))).is_none_or(|(until, from)| from < until)
    }
}

/// Each chosen line as it stands.
pub fn lines(out: &Path, choice: &Choice, to: &mut impl Write) -> Result<(), GapsError> {
    each(out, choice, |line, gap| if choice.takes(&gap) { writeln!(to, "{line}").map_err(GapsError::Write) } else { Ok(()) }).map(drop)
}

pub fn page(out: &Path, choice: &Choice) -> Result<String, GapsError> {
    let mut found = Joined::default();
    let broken = each(out, choice, |_, gap| {
        if choice.takes(&gap) {
            found.put(gap);
        }
        Ok(())
    })?;
    let mut text = String::new();
    if found.gaps.is_empty() {
        text += "no gaps; one that is open now is told when it ends (`wardgate gaps` on the gateway shows it)\n";
    } else {
        let head = ["gateway", "instance", "stream", "run", "positions", "values", "from (UTC)", "for", "reason"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(found.gaps.iter().map(row)).collect();
        text += &table(&rows, &[3, 5, 7]);
        text += &sums(&found.gaps);
    }
    if broken > 0 {
        let _ = writeln!(text, "{broken} lines are not gaps");
    }
    Ok(text)
}

/// Every whole line of every gateway; says how many could not be read. The receiver may be writing the last one.
fn each(out: &Path, choice: &Choice, mut take: impl FnMut(&str, Gap) -> Result<(), GapsError>) -> Result<u64, GapsError> {
    let wrong = |path: &Path, why| GapsError::Io { path: path.to_owned(), why };
    let mut gateways = Vec::new();
    for entry in fs::read_dir(out).map_err(|why| wrong(out, why))? {
        let path = entry.map_err(|why| wrong(out, why))?.path();
        let is_gateway = path.is_dir() && path.file_name().is_some_and(|name| name != crate::output::RAW);
        gateways.extend(is_gateway.then_some(path));
    }
    // another folder's "no gaps" would be believed
    let holds = |folder: &PathBuf| [GAPS, RECORDS].iter().any(|file| folder.join(file).is_file());
    if !gateways.iter().any(holds) && !out.join(crate::output::RAW).is_dir() {
        return Err(GapsError::Empty(out.to_owned()));
    }
    gateways.sort();
    known(out, &gateways, choice)?;
    let mut broken = 0;
    for path in gateways.iter().flat_map(|folder| [GAPS, STORE_LOST].map(|file| folder.join(file))) {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue, // nothing was lost
            Err(why) => return Err(wrong(&path, why)),
        };
        let (mut file, mut line) = (BufReader::new(file), String::new());
        while file.read_line(&mut line).map_err(|why| wrong(&path, why))? > 0 && line.ends_with('\n') {
            match serde_json::from_str(&line) {
                Ok(gap) => take(line.trim_end(), gap)?,
                Err(_) => broken += 1,
            }
            line.clear();
        }
    }
    Ok(broken)
}

/// That a name which nobody bears has no gaps would be believed. An instance has a folder here, or a gap.
fn known(out: &Path, gateways: &[PathBuf], choice: &Choice) -> Result<(), GapsError> {
    let file_name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let nobody = |kind, name: &str, mut names: Vec<String>| {
        names.sort();
        names.dedup();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(GapsError::Nobody { out: out.to_owned(), kind, name: name.to_owned(), known })
    };
    let names: Vec<_> = gateways.iter().filter_map(|path| file_name(path)).collect();
    if let Some(gateway) = choice.gateway.as_ref().filter(|wanted| !names.contains(wanted)) {
        return nobody("gateway", gateway, names);
    }
    let Some(instance) = &choice.instance else { return Ok(()) };
    let (mut instances, mut gaps) = (Vec::new(), Vec::new());
    for gateway in gateways.iter().filter(|path| choice.gateway.is_none() || file_name(path) == choice.gateway) {
        let listed = fs::read_dir(gateway).map_err(|why| GapsError::Io { path: gateway.clone(), why })?;
        instances.extend(listed.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).filter_map(|path| file_name(&path)));
        gaps.extend([GAPS, STORE_LOST].map(|file| gateway.join(file)));
    }
    let of = |line: String| serde_json::from_str::<Gap>(&line).ok().map(|gap| gap.instance);
    let lines = |path| File::open(path).into_iter().flat_map(|file| BufReader::new(file).lines().map_while(Result::ok));
    if instances.contains(&name(instance)) || gaps.iter().flat_map(lines).filter_map(of).any(|of| of == *instance) {
        return Ok(());
    }
    nobody("instance", instance, instances)
}

/// Gateway, instance, channel, reason; life, run, next index.
type Place = ([String; 4], String, u32, u64);

/// A long silence comes in pieces, one an epoch and one at its end: here it is one.
#[derive(Default)]
struct Joined {
    gaps: Vec<Gap>,
    stretches: HashMap<Place, usize>,
}

impl Joined {
    fn put(&mut self, gap: Gap) {
        let of = [&gap.gateway, &gap.instance, &gap.channel, &gap.reason].map(String::clone);
        let place = match &gap.before {
            Some(b) => (of, b.life.clone(), b.run, b.next),
            None => (of, gap.life.clone(), gap.run, gap.first),
        };
        match self.stretches.get(&place).filter(|_| gap.indices == 0) {
            Some(&at) if gap.before.is_some() => self.gaps[at] = gap, // the end of a run tells it whole
            Some(&at) => {
                let Gap { to, to_boot, to_monotonic_ns, .. } = gap;
                let known = &mut self.gaps[at];
                (known.to, known.to_boot, known.to_monotonic_ns) = (to, to_boot, to_monotonic_ns);
            }
            None => {
                if gap.indices == 0 {
                    self.stretches.insert(place, self.gaps.len());
                }
                self.gaps.push(gap);
            }
        }
    }
}

fn row(g: &Gap) -> [String; 9] {
    let run = g.before.as_ref().map_or_else(|| g.run.to_string(), |b| format!("{}>{}", b.run, g.run));
    let positions = match (g.indices, g.before.as_ref().map_or(g.first, |b| b.next)) {
        (0, 0) => "before 0".to_owned(),
        (0, next) => format!("after {}", next - 1),
        (1, _) => g.first.to_string(),
        (n, _) => format!("{}..{}", g.first, g.first.saturating_add(n - 1)),
    };
    let values = g.values.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let from = match (&g.from, g.from_monotonic_ns) {
        (Some(from), _) => from.get(..19).unwrap_or(from).replace('T', " "),
        (None, Some(ns)) => format!("boot + {} s", ns / 1_000_000_000),
        (None, None) => "-".to_owned(),
    };
    let lasted = lasted_ns(g).map_or_else(|| "?".to_owned(), |ns| format!("{:.1} s", ns as f64 / 1e9));
    [g.gateway.clone(), g.instance.clone(), g.channel.clone(), run, positions, values, from, lasted, g.reason.clone()]
}

/// By the monotonic clock where one boot holds both ends, else by wall time.
fn lasted_ns(g: &Gap) -> Option<i64> {
    if g.from_boot.as_ref() == Some(&g.to_boot) {
        return Some(g.to_monotonic_ns.saturating_sub(g.from_monotonic_ns?).cast_signed());
    }
    let wall = |text: &Option<String>| crate::time::parse(text.as_deref()?);
    Some(wall(&g.to)?.saturating_sub(wall(&g.from)?))
}

#[derive(Default)]
struct Sum {
    gaps: u64,
    values: u64,
    /// Of at least one nobody knows how many values it cost.
    unknown: bool,
    ns: i64,
}

impl Sum {
    fn add(&mut self, g: &Gap) {
        self.gaps += 1;
        self.values += g.values.unwrap_or(0);
        self.unknown |= g.values.is_none();
        self.ns = self.ns.saturating_add(lasted_ns(g).unwrap_or(0));
    }
}

/// By reason and stream. `unknown` is what nothing explains; the promise is zero.
fn sums(gaps: &[Gap]) -> String {
    let mut by_reason: BTreeMap<&str, BTreeMap<String, Sum>> = BTreeMap::new();
    for g in gaps {
        let stream = format!("{} {} {}", g.gateway, g.instance, g.channel);
        by_reason.entry(&g.reason).or_default().entry(stream).or_default().add(g);
    }
    let mut rows = vec![["reason", "stream", "gaps", "values", "for"].map(str::to_owned)];
    for (reason, streams) in by_reason {
        let total: u64 = streams.values().map(|s| s.gaps).sum();
        rows.push([reason.to_owned(), format!("{} streams", streams.len()), total.to_string(), String::new(), String::new()]);
        for (stream, sum) in streams {
            let values = if sum.unknown { "?".to_owned() } else { sum.values.to_string() };
            rows.push([String::new(), stream, sum.gaps.to_string(), values, format!("{:.1} s", sum.ns as f64 / 1e9)]);
        }
    }
    format!("\n{}\n{} gaps\n", table(&rows, &[2, 3, 4]).trim_end(), gaps.len())
}

/// A moment for `--since` and `--until`: `2026-01-31`, `2026-01-31T23:59` and so on in UTC, or a time ago: `90s`, `15m`, `2h`, `3d`.
pub fn moment(text: &str, now_ns: i64) -> Result<i64, String> {
    const WHOLE: &str = "0000-01-01T00:00:00.000000000Z";
    let wrong = || "a UTC time like 2026-01-31 or 2026-01-31T23:59, or a time ago like 90s, 15m, 2h or 3d".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => {
            let bare = text.trim_end_matches('Z');
            let rest = WHOLE.get(bare.len()..).filter(|_| bare.len() >= 10).ok_or_else(wrong)?;
            return crate::time::parse(&format!("{bare}{rest}")).ok_or_else(wrong);
        }
    };
    let number: i64 = text[..text.len() - 1].parse().ok().filter(|n| *n >= 0).ok_or_else(wrong)?;
    let ago = number.checked_mul(unit_s * 1_000_000_000).ok_or_else(wrong)?;
    now_ns.checked_sub(ago).filter(|ns| !rfc3339(*ns).is_empty()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `place`: run, first, indices; `time_s`: from, to.
    fn line((gateway, channel): (&str, &str), place: (u32, u64, u64), time_s: (i64, i64), reason: &str, before: &str) -> String {
        let ((run, first, indices), (from_s, to_s)) = (place, time_s);
        let time = |s: i64| rfc3339(s * 1_000_000_000);
        let values = if indices > 0 { indices.to_string() } else { "null".into() };
        format!(
            r#"{{"gateway":"{gateway}","instance":"bed-1","channel":"{channel}","number":1,"life":"a","run":{run},"first":{first},"indices":{indices},"values":{values},"from_boot":"b","from_monotonic_ns":{},"from":"{}","to_boot":"b","to_monotonic_ns":{},"to":"{}","reason":"{reason}","batch":"x"{before}}}"#,
            from_s * 1_000_000_000,
            time(from_s),
            to_s * 1_000_000_000,
            time(to_s),
        ) + "\n"
    }

    fn folder() -> PathBuf {
        let out = std::env::temp_dir().join(format!("wardgate-gaps-{}-{:?}", std::process::id(), std::thread::current().id()));
        let _ = fs::remove_dir_all(&out);
        for (gateway, text) in [
            (
                "ward-1",
                line(("ward-1", "hr"), (1, 10, 0), (100, 160), "line-fault", "")
                    + &line(("ward-1", "hr"), (1, 10, 0), (160, 200), "line-fault", "")
                    + &line(("ward-1", "hr"), (2, 0, 0), (100, 230), "line-fault", r#","before":{"life":"a","run":1,"next":10}"#)
                    + "nonsense\n"
                    + &line(("ward-1", "ecg"), (1, 500, 250), (300, 301), "disk-full", "")
                    + r#"{"gateway":"ward-1","inst"#, // being written
            ),
            ("ward-2", line(("ward-2", "hr"), (1, 7, 1), (400, 402), "unknown", "")),
        ] {
            fs::create_dir_all(out.join(gateway)).unwrap();
            fs::write(out.join(gateway).join(GAPS), text).unwrap();
        }
        fs::create_dir_all(out.join("raw")).unwrap();
        out
    }

    #[test]
    fn a_silence_told_in_pieces_is_one_row_and_sums_are_by_reason_and_stream() {
        let out = folder();
        let text = page(&out, &Choice::default()).unwrap();
        fs::remove_dir_all(&out).unwrap();
        let squeezed: Vec<String> = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for row in [
            "ward-1 bed-1 hr 1>2 after 9 ? 1970-01-01 00:01:40 130.0 s line-fault",
            "ward-1 bed-1 ecg 1 500..749 250 1970-01-01 00:05:00 1.0 s disk-full",
            "ward-2 bed-1 hr 1 7 1 1970-01-01 00:06:40 2.0 s unknown",
            "disk-full 1 streams 1",
            "ward-1 bed-1 ecg 1 250 1.0 s",
            "3 gaps",
            "1 lines are not gaps",
        ] {
            assert!(squeezed.iter().any(|l| l == row), "{row}\n{text}");
        }
    }

    #[test]
    fn choices_are_by_gateway_instance_and_time() {
        let out = folder();
        let s = 1_000_000_000;
        let chosen = |choice: Choice| {
            let mut text = Vec::new();
            lines(&out, &choice, &mut text).unwrap();
            String::from_utf8(text).unwrap().lines().count()
        };
        assert_eq!(chosen(Choice::default()), 5, "as they stand: not joined");
        assert_eq!(chosen(Choice { gateway: Some("ward-2".into()), ..Choice::default() }), 1);
        assert_eq!(chosen(Choice { instance: Some("bed-1".into()), ..Choice::default() }), 5);
        fs::create_dir_all(out.join("ward-2/bed-2")).unwrap();
        assert_eq!(chosen(Choice { instance: Some("bed-2".into()), ..Choice::default() }), 0, "it is known and lost nothing");
        for (gateway, instance, kind) in
            [(None, Some("bed-9"), "instance"), (Some("ward-3"), None, "gateway"), (Some("ward-1"), Some("bed-2"), "instance")]
        {
            let choice = Choice { gateway: gateway.map(str::to_owned), instance: instance.map(str::to_owned), ..Choice::default() };
            let refused = page(&out, &choice).expect_err("nobody bears it").to_string();
            assert!(refused.contains(&format!("no {kind} \"")), "{refused}");
        }
        assert_eq!(chosen(Choice { since_ns: Some(231 * s), ..Choice::default() }), 2);
        assert_eq!(chosen(Choice { since_ns: Some(200 * s), until_ns: Some(300 * s), ..Choice::default() }), 2);
        fs::remove_dir_all(&out).unwrap();
        assert!(matches!(page(&out, &Choice::default()), Err(GapsError::Io { .. })));
        fs::create_dir_all(out.join("holiday")).unwrap();
        let other = page(&out, &Choice::default());
        fs::remove_dir_all(&out).unwrap();
        assert!(matches!(other, Err(GapsError::Empty(_))), "a folder of something else has no gaps to tell of: {other:?}");
    }

    #[test]
    fn moments_are_read() {
        let s = 1_000_000_000;
        let at = |text| moment(text, 1_000_000 * s);
        assert_eq!(at("1970-01-02"), Ok(86_400 * s));
        assert_eq!(at("1970-01-02T00:01"), Ok(86_460 * s));
        assert_eq!(at("1970-01-02T00:01:00.5Z"), Ok(86_460 * s + s / 2));
        assert_eq!([at("90s"), at("2h")], [Ok(999_910 * s), Ok(992_800 * s)]);
        for wrong in ["", "1970", "1970-13-01", "1970-01-02T25", "yesterday", "-5m", "µ", "1970-01-02 00:01"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
