//! Golden cases in the sandbox, and which byte is guilty where one differs. `plugins/golden.md` holds the rules.

use std::fmt::{self, Write as _};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::asked::Asked;
use super::read::{self, Read, Step};
use super::{Outcome, Played, Prepared, Trial};
use crate::contract::types::{Fact, Moment};
use crate::contract::{Event, Log, modbus};

const BYTES_A_ROW: usize = 16; // a row of a hex dump
/// Bytes that are tried with each of their other values: some ten thousand plays, seconds, and only where a case differs.
const MENDED_BYTES_MAX: usize = 64;
/// Played again to find the guilty byte: some seconds, also of a case of thousands of steps.
const STEPS_REPLAYED_MAX: usize = 50_000;

/// Where a case and the plugin part.
#[derive(Debug)]
pub struct Difference {
    pub step: usize,
    pub event: String,
    pub expected: String,
    pub got: String,
    /// What the plugin logged in that call: a panic's text is there.
    pub logs: Vec<String>,
    pub input: Option<Blamed>,
}

/// What came in, and the byte that is to blame.
#[derive(Debug)]
pub struct Blamed {
    bytes: Vec<u8>,
    /// None: the input ended and what was expected was not said.
    guilty: Option<usize>,
    /// Steps whose bytes these are: a message may have come in pieces.
    steps: Range<usize>,
}

/// The cases of a plugin's folder, by name.
pub fn cases(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder.join("golden")).into_iter().flatten().flatten();
    let mut found: Vec<_> = listed.map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    found.sort();
    found
}

/// Plays one case. `Ok`: how many steps, or where it differs first. `Err`: the file is no case.
pub fn case(plugin: &Arc<Prepared>, file: &Path) -> Result<Result<usize, Box<Difference>>, String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let beside = |path: &str| fs::read_to_string(file.parent().unwrap_or(Path::new(".")).join(path)).map_err(|e| e.to_string());
    play_case(plugin, &text, &beside)
}

/// Plays one case and compares nothing: `around` is given each event with what plays it, to be called once.
pub fn replay(plugin: &Arc<Prepared>, file: &Path, around: &mut dyn FnMut(&Event, &mut dyn FnMut())) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| e.to_string())?;
    let beside = |path: &str| fs::read_to_string(file.parent().unwrap_or(Path::new(".")).join(path)).map_err(|e| e.to_string());
    let case: Json = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let seed = case["seed"].as_u64().ok_or("has no seed")?;
    let mut trial = Trial::new(plugin.clone(), settings(&case, &beside)?, seed);
    for step in case["steps"].as_array().ok_or("has no list of steps")? {
        let now = read::moment(&step["at"])?;
        match read::step(&step["event"])? {
            Step::Open { kept } => drop(trial.open(now, kept)),
            Step::Event(event) => around(&event, &mut || drop(trial.call(now, &event))),
        }
    }
    Ok(())
}

/// As `case`, for one that a package file carries; `member` gives the text at a path inside it.
pub fn packed_case(
    plugin: &Arc<Prepared>,
    text: &str,
    member: &dyn Fn(&str) -> Option<String>,
) -> Result<Result<usize, Box<Difference>>, String> {
    // golden cases lie one folder deep
    let beside = |path: &str| path.strip_prefix("../").and_then(member).ok_or_else(|| "the package does not carry it".to_owned());
    play_case(plugin, text, &beside)
}

fn play_case(plugin: &Arc<Prepared>, text: &str, beside: Beside) -> Result<Result<usize, Box<Difference>>, String> {
    let case: Json = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let steps = case["steps"].as_array().ok_or("has no list of steps")?;
    let seed = case["seed"].as_u64().ok_or("has no seed")?;
    let settings = settings(&case, beside)?;
    let begin = || Trial::new(plugin.clone(), settings.clone(), seed);
    let (mut trial, mut asked) = (begin(), Asked::of(&plugin.manifest));
    for (n, step) in steps.iter().enumerate() {
        let wrong = |why| format!("step {n}: {why}");
        let (now, event) = (read::moment(&step["at"]).map_err(wrong)?, read::step(&step["event"]).map_err(wrong)?);
        let said = step["said"].as_array().ok_or_else(|| wrong("has no list \"said\"".into()))?;
        let expected = Expected { outcome: &step["outcome"], said };
        let played = play(&mut trial, now, &event);
        if let Step::Event(event) = &event {
            asked.hears(event);
        }
        let Some((expected_text, got)) = expected.differs(&played) else {
            let Some((link, what)) = asked.lacks(&played.said) else { continue };
            let expected = format!("nothing of {link} that [asks.{link}] in manifest.toml does not name: every gateway refuses it");
            let (event, got) = (step["event"].to_string(), format!("it asks {what}"));
            return Ok(Err(Box::new(Difference { step: n, event, expected, got, logs: Vec::new(), input: None })));
        };
        let input = match &event {
            Step::Event(event) => {
                let said_nothing = |step: &Json| step["said"].as_array().is_some_and(Vec::is_empty);
                let piece = |step: &Json| match read::step(&step["event"]) {
                    Ok(Step::Event(Event::SerialReceived(bytes))) => read::moment(&step["at"]).ok().map(|at| (at, bytes)),
                    _ => None,
                };
                let quiet = steps[..n].iter().rev().map_while(|step| piece(step).filter(|_| said_nothing(step)));
                let input = match event {
                    Event::SerialReceived(bytes) => {
                        let mut pieces: Vec<_> = quiet.collect();
                        pieces.reverse();
                        pieces.push((now, bytes.clone()));
                        Some(Input::pieces(pieces))
                    }
                    other => Input::message(now, other),
                };
                let blame = |input: Input| {
                    let first = n + 1 - input.events;
                    let before = || {
                        let mut trial = begin();
                        for step in &steps[..first] {
                            play(&mut trial, read::moment(&step["at"])?, &read::step(&step["event"])?);
                        }
                        Ok(trial)
                    };
                    let guilty = input.guilty(&expected, Replay { before: &before, at_most: STEPS_REPLAYED_MAX / (n + 1) })?;
                    Read::Ok(Blamed { bytes: input.bytes, guilty, steps: first..n + 1 })
                };
                input.map(blame).transpose()?
            }
            Step::Open { .. } => None,
        };
        let logs = played.logs.iter().map(|log| log.text.clone()).collect();
        return Ok(Err(Box::new(Difference { step: n, event: step["event"].to_string(), expected: expected_text, got, logs, input })));
    }
    Ok(Ok(steps.len()))
}

fn play(trial: &mut Trial, now: Moment, step: &Step) -> Played {
    match step {
        Step::Open { kept } => trial.open(now, *kept),
        Step::Event(event) => trial.call(now, event),
    }
}

/// The text at a path that a case names.
type Beside<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// By name; `{"file": path}` is a file beside the case.
fn settings(case: &Json, beside: Beside) -> Read<Vec<Fact>> {
    let given = case["settings"].as_object().ok_or("has no settings (write {} for none)")?;
    let read = |(name, value): (&String, &Json)| {
        let value = match value["file"].as_str() {
            Some(path) => beside(path).map_err(|e| format!("{path}: {e}"))?,
            None => read::text(value)?,
        };
        Ok(Fact { name: name.clone(), value })
    };
    given.iter().map(read).collect()
}

struct Expected<'a> {
    outcome: &'a Json,
    said: &'a [Json],
}

impl Expected<'_> {
    /// The first thing that is not as it should be: expected, and got. How the call ended is told only where all that was said agrees,
    /// or where it broke.
    fn differs(&self, played: &Played) -> Option<(String, String)> {
        let (outcome, said) = (played.outcome(), played.said());
        let ended = || (self.outcome != &outcome).then(|| (self.outcome.to_string(), outcome.to_string()));
        if outcome.get("broken").is_some() {
            return ended();
        }
        let at = self.first_difference(&said);
        let shown = |said: Option<&Json>| said.map_or("nothing more".into(), Json::to_string);
        at.map(|at| (shown(self.said.get(at)), shown(said.get(at)))).or_else(ended)
    }

    fn first_difference(&self, said: &[Json]) -> Option<usize> {
        let length = self.said.len().max(said.len());
        (0..length).find(|at| self.said.get(*at) != said.get(*at))
    }
}

/// Plays the case anew, up to the event in question; so often at most.
#[derive(Clone, Copy)]
struct Replay<'a> {
    before: &'a dyn Fn() -> Read<Trial>,
    at_most: usize,
}

impl Replay<'_> {
    fn before(&self) -> Read<Trial> {
        (self.before)()
    }
}

/// The same event with other bytes.
type Rebuild = Box<dyn Fn(&[u8]) -> Event>;
type Given = Box<dyn Fn(&mut Trial, &[u8]) -> Played>;

/// The bytes that a step brought, and how the plugin is given others in their place.
struct Input {
    bytes: Vec<u8>,
    events: usize,
    /// A stream may be cut anywhere and says the same: it can be fed byte by byte, each at its moment. A message cannot.
    moments: Option<Vec<Moment>>,
    given: Given,
}

impl Input {
    /// Pieces of a stream; all but the last said nothing.
    fn pieces(pieces: Vec<(Moment, Vec<u8>)>) -> Self {
        let bytes = pieces.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let moments = pieces.iter().flat_map(|(at, bytes)| bytes.iter().map(|_| *at)).collect();
        let events = pieces.len();
        let given = move |trial: &mut Trial, bytes: &[u8]| {
            let (mut all, mut rest) = (Played::default(), bytes);
            for (at, piece) in &pieces {
                let (these, others) = rest.split_at(piece.len());
                let played = trial.call(*at, &Event::SerialReceived(these.to_vec()));
                let had = all.said.len();
                all.said.extend(played.said);
                all.logs.extend(played.logs.into_iter().map(|log| Log { after: had + log.after, ..log }));
                (all.outcome, rest) = (played.outcome, others);
                if !matches!(all.outcome, Outcome::Ok) {
                    break;
                }
            }
            all
        };
        Self { bytes, events, moments: Some(moments), given: Box::new(given) }
    }

    /// None for an event that carries no bytes.
    fn message(now: Moment, event: &Event) -> Option<Self> {
        let (bytes, rebuild): (Vec<u8>, Rebuild) = match event {
            Event::BleNotified(handle, bytes) => {
                let handle = *handle;
                (bytes.clone(), Box::new(move |bytes| Event::BleNotified(handle, bytes.to_vec())))
            }
            Event::ModbusReply(tag, Ok(modbus::Response::Registers(registers))) => {
                let tag = *tag;
                let words = |bytes: &[u8]| bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                let bytes = registers.iter().flat_map(|word| word.to_be_bytes()).collect();
                (bytes, Box::new(move |bytes| Event::ModbusReply(tag, Ok(modbus::Response::Registers(words(bytes))))))
            }
            _ => return None,
        };
        let given = move |trial: &mut Trial, bytes: &[u8]| trial.call(now, &rebuild(bytes));
        Some(Self { bytes, events: 1, moments: None, given: Box::new(given) })
    }

    fn guilty(&self, expected: &Expected<'_>, replay: Replay<'_>) -> Read<Option<usize>> {
        let Some(moments) = &self.moments else {
            let mended = self.mended(0..self.bytes.len(), expected, replay)?;
            return mended.map_or_else(|| self.touched(expected, replay), |at| Ok(Some(at)));
        };
        let Some((frame, at)) = stream(&self.bytes, moments, expected, replay)? else { return Ok(None) };
        Ok(self.mended(frame..at + 1, expected, replay)?.or(Some(at)))
    }

    /// The byte among these that, were it another, would make the plugin say just what is expected; or else the first that would make right
    /// what is wrong first: a message may be wrong in several places.
    fn mended(&self, among: Range<usize>, expected: &Expected<'_>, replay: Replay<'_>) -> Read<Option<usize>> {
        let right = leaves(expected.said);
        let first_wrong = |played: &Played| parting(&right, &leaves(&played.said()));
        let wrong = first_wrong(&(self.given)(&mut replay.before()?, &self.bytes));
        let all = among.take(MENDED_BYTES_MAX).flat_map(|at| (1..=u8::MAX).map(move |other| (at, other)));
        let mut in_part = None;
        for (at, other) in all.take(replay.at_most) {
            let mut changed = self.bytes.clone();
            changed[at] ^= other;
            let played = (self.given)(&mut replay.before()?, &changed);
            if expected.differs(&played).is_none() {
                return Ok(Some(at));
            }
            let righter = wrong.is_some_and(|wrong| first_wrong(&played).is_none_or(|now| now > wrong));
            if in_part.is_none() && righter && !matches!(played.outcome, Outcome::Broken(_)) {
                in_part = Some(at);
            }
        }
        Ok(in_part)
    }

    /// A message has no order of time: guilty is the first byte that, changed, changes what is wrong first and as little else as may be. The
    /// byte of flags that says how all is read changes more.
    fn touched(&self, expected: &Expected<'_>, replay: Replay<'_>) -> Read<Option<usize>> {
        let first = (self.given)(&mut replay.before()?, &self.bytes);
        let was = leaves(&first.said());
        let wrong = parting(&leaves(expected.said), &was);
        let mut least: Option<(usize, usize)> = None;
        for at in (0..self.bytes.len()).take(replay.at_most) {
            let mut changed = self.bytes.clone();
            changed[at] ^= 1;
            let played = (self.given)(&mut replay.before()?, &changed);
            let said = leaves(&played.said());
            let touches = wrong.map_or(played.outcome() != first.outcome(), |n| said.get(n) != was.get(n));
            let others = (0..was.len().max(said.len())).filter(|n| said.get(*n) != was.get(*n)).count();
            if touches && least.is_none_or(|(fewest, _)| others < fewest) {
                least = Some((others, at));
            }
        }
        Ok(least.map(|(_, at)| at))
    }
}

/// Each single value that was said, with its place: one message may say several, of which one is wrong.
fn leaves(said: &[Json]) -> Vec<String> {
    fn gather(json: &Json, place: &str, into: &mut Vec<String>) {
        match json {
            Json::Array(list) => list.iter().enumerate().for_each(|(n, one)| gather(one, &format!("{place}/{n}"), into)),
            Json::Object(fields) => fields.iter().for_each(|(name, one)| gather(one, &format!("{place}/{name}"), into)),
            value => into.push(format!("{place} {value}")),
        }
    }
    let mut all = Vec::new();
    said.iter().enumerate().for_each(|(n, one)| gather(one, &n.to_string(), &mut all));
    all
}

/// Where two lists differ first.
fn parting(one: &[String], other: &[String]) -> Option<usize> {
    (0..one.len().max(other.len())).find(|n| one.get(*n) != other.get(*n))
}

/// The byte after which the first thing was said that should not be, or after which the call broke, and where what led to it begins: behind
/// the last thing that was said rightly.
fn stream(bytes: &[u8], moments: &[Moment], expected: &Expected<'_>, replay: Replay<'_>) -> Read<Option<(usize, usize)>> {
    let (mut trial, mut said, mut frame) = (replay.before()?, Vec::new(), 0);
    for (at, (byte, now)) in bytes.iter().zip(moments).enumerate() {
        let played = trial.call(*now, &Event::SerialReceived(vec![*byte]));
        let (outcome, had) = (played.outcome(), said.len());
        said.extend(played.said());
        let wrong = (0..said.len()).any(|n| expected.said.get(n) != said.get(n));
        if wrong || (outcome != "ok" && &outcome != expected.outcome) {
            return Ok(Some((frame, at)));
        }
        if said.len() > had {
            frame = at + 1;
        }
    }
    Ok(None)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step {}: {}", self.step, shortened(&self.event))?;
        for log in &self.logs {
            writeln!(f, "    log       {log}")?;
        }
        writeln!(f, "    expected  {}\n    got       {}", self.expected, self.got)?;
        match &self.input {
            Some(Blamed { bytes, guilty, steps }) => {
                if steps.len() > 1 {
                    writeln!(f, "    came in pieces, from step {} on; these are the bytes of all:", steps.start)?;
                }
                f.write_str(&dump(bytes, *guilty))
            }
            None => Ok(()),
        }
    }
}

fn shortened(event: &str) -> String {
    const CHARS_MAX: usize = 100; // one line; the bytes follow in the dump
    match event.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{} ...", &event[..at]),
        None => event.to_owned(),
    }
}

/// Rows of hexadecimal, with `^^` below the guilty byte.
fn dump(bytes: &[u8], guilty: Option<usize>) -> String {
    let mut out = String::new();
    let put = |out: &mut String, text: fmt::Arguments<'_>| out.write_fmt(text).expect("a String takes everything");
    for (row, chunk) in bytes.chunks(BYTES_A_ROW).enumerate() {
        let from = row * BYTES_A_ROW;
        let hex: Vec<_> = chunk.iter().map(|b| format!("{b:02x}")).collect();
        let text: String = chunk.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' }).collect();
        put(&mut out, format_args!("    {from:06x}    {:<48} {text}\n", hex.join(" ")));
        if let Some(at) = guilty.and_then(|at| at.checked_sub(from)).filter(|at| *at < chunk.len()) {
            put(&mut out, format_args!("              {}^^ byte {}\n", " ".repeat(at * 3), from + at));
        }
    }
    if guilty.is_none() {
        put(&mut out, format_args!("    no byte is to blame alone: after the last one something is missing, or all depends on all\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::dump;

    #[test]
    fn the_guilty_byte_is_marked_below_itself() {
        let bytes: Vec<u8> = (0x30..0x44).collect();
        let shown = dump(&bytes, Some(17));
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1].find("41"), lines[2].find("^^"), "{shown}");
        assert!(lines[0].ends_with("0123456789:;<=>?") && lines[2].ends_with("byte 17"), "{shown}");
        assert!(dump(&bytes, None).contains("no byte"));
    }
}
