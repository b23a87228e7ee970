//! Runs golden cases through the Outbox. With BLESS=1 in the environment the expected output is written anew: read the difference.

use std::fs;
use std::path::Path;

use serde_json::{Value as Json, json};
use wardgate_sdk::*;

use crate::from_json::{self, Event, get};
use crate::to_json;

/// How one plugin takes events.
pub type Driver<P> = fn(&mut P, Moment, Event, &mut Outbox) -> Done;

pub fn serial<P: Serial>(p: &mut P, now: Moment, event: Event, out: &mut Outbox) -> Done {
    match event {
        Event::SerialLink(state) => Serial::link_changed(p, now, state, out),
        Event::SerialWritten(tag, outcome) => p.written(now, tag, outcome, out),
        Event::SerialReceived(bytes) => p.received(now, &bytes, out),
        Event::SerialFaulted(fault) => p.faulted(now, fault, out),
        other => lifecycle(p, now, other, out),
    }
}

pub fn modbus<P: Modbus>(p: &mut P, now: Moment, event: Event, out: &mut Outbox) -> Done {
    match event {
        Event::ModbusLink(state) => Modbus::link_changed(p, now, state, out),
        Event::ModbusReply(tag, outcome) => p.reply(now, tag, outcome, out),
        other => lifecycle(p, now, other, out),
    }
}

pub fn ble<P: Ble>(p: &mut P, now: Moment, event: Event, out: &mut Outbox) -> Done {
    match event {
        Event::BleLink(state) => Ble::link_changed(p, now, state, out),
        Event::BleDiscovered { mtu, found } => p.discovered(now, mtu, found, out),
        Event::BleReply(tag, outcome) => Ble::reply(p, now, tag, outcome, out),
        Event::BleNotified(handle, bytes) => p.notified(now, handle, &bytes, out),
        other => lifecycle(p, now, other, out),
    }
}

pub fn filter<P: Filter>(p: &mut P, now: Moment, event: Event, out: &mut Outbox) -> Done {
    match event {
        Event::FilterBound(input, meaning) => p.bound(now, input, meaning, out),
        Event::FilterUnbound(input) => p.unbound(now, input, out),
        Event::FilterObserved(seen) => p.observed(now, seen, out),
        Event::FilterSampled(block) => p.sampled(now, block, out),
        Event::FilterMissed(input, count, because) => p.missed(now, input, count, because, out),
        other => lifecycle(p, now, other, out),
    }
}

fn lifecycle<P: Plugin>(p: &mut P, now: Moment, event: Event, out: &mut Outbox) -> Done {
    match event {
        Event::Timer(tag) => p.timer(now, tag, out),
        Event::Durable(tag) => p.durable(now, tag, out),
        Event::Command { tag, id, name, argument } => p.command(now, tag, &id, &name, &argument, out),
        Event::Close => p.close(now, out),
        other => Err(Problem { fatal: true, ..Problem::internal(format!("this plugin has no such link: {other:?}")) }),
    }
}

/// Every case in a folder; answers how many there were. Panics with the file, the step and both sides where they differ.
pub fn check_folder<P: Plugin>(folder: &Path, drive: Driver<P>) -> usize {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> =
        entries.map(|e| e.expect("a readable folder").path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    for file in &files {
        check_file(file, drive);
    }
    files.len()
}

fn check_file<P: Plugin>(file: &Path, drive: Driver<P>) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut case: Json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let bless = std::env::var_os("BLESS").is_some_and(|v| v == "1");
    let settings = settings(&case, file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let seed = from_json::number(get(&case, "seed").expect("a seed")).expect("a seed");
    let mut run = Run { settings, seed, plugin: None, kept: None };
    let steps = case.get_mut("steps").and_then(Json::as_array_mut).unwrap_or_else(|| panic!("{}: no list of steps", file.display()));
    for (n, step) in steps.iter_mut().enumerate() {
        let at = format!("{} step {n}", file.display());
        let (outcome, said) = run.step(step, drive).unwrap_or_else(|e| panic!("{at}: {e}"));
        if bless {
            step["outcome"] = outcome;
            step["said"] = Json::Array(said);
            continue;
        }
        assert_eq!(step.get("outcome"), Some(&outcome), "{at}: outcome (left: the case, right: the plugin)");
        let expected = step.get("said").and_then(Json::as_array).unwrap_or_else(|| panic!("{at}: no list \"said\""));
        for (k, (expected, said)) in expected.iter().zip(&said).enumerate() {
            assert_eq!(expected, said, "{at}, said {k} (left: the case, right: the plugin)");
        }
        assert_eq!(expected.len(), said.len(), "{at}: the case expects {} things said, the plugin said {said:#?}", expected.len());
    }
    if bless {
        fs::write(file, layout(&case)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

/// The case's settings, by name; `{"file": path}` is a file beside the case.
fn settings(case: &Json, file: &Path) -> Result<Vec<Fact>, String> {
    let settings = get(case, "settings")?.as_object().ok_or("settings are an object")?;
    let mut facts = Vec::new();
    for (name, value) in settings {
        let value = match value.get("file") {
            Some(path) => {
                let path = file.parent().unwrap_or(Path::new(".")).join(from_json::text(path)?);
                fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?
            }
            None => from_json::text(value)?,
        };
        facts.push(fact(name, value));
    }
    facts.sort_by(|a, b| a.name.cmp(&b.name)); // as the gateway gives them
    Ok(facts)
}

struct Run<P> {
    settings: Vec<Fact>,
    seed: u64,
    plugin: Option<P>,
    kept: Option<Vec<u8>>,
}

impl<P: Plugin> Run<P> {
    fn step(&mut self, step: &Json, drive: Driver<P>) -> Result<(Json, Vec<Json>), String> {
        let now = from_json::moment(get(step, "at")?)?;
        let event = from_json::event(get(step, "event")?)?;
        let mut out = Outbox::default();
        let done = match event {
            Event::Open { kept } => {
                let saved = self.kept.take().filter(|_| kept);
                self.kept.clone_from(&saved);
                let start = Opening { settings: self.settings.clone(), about: Vec::new(), seed: self.seed, saved };
                P::open(now, start, &mut out).map(|plugin| self.plugin = Some(plugin))
            }
            event => drive(self.plugin.as_mut().ok_or("the first step is an open")?, now, event, &mut out),
        };
        let mut said = out.take();
        if done.as_ref().is_err_and(|why| why.fatal) {
            said.retain(|s| matches!(s, Said::Log(..))); // nothing else took effect
            self.plugin = None;
        }
        if let Some(state) = said.iter().rev().find_map(|s| if let Said::Keep(state) = s { Some(state) } else { None }) {
            self.kept = Some(state.clone());
        }
        let outcome = done.map_or_else(|why| json!({"err": to_json::problem(&why)}), |()| json!("ok"));
        Ok((outcome, said.iter().map(to_json::said).collect()))
    }
}

/// One line for each thing said: a difference is then a line.
fn layout(case: &Json) -> String {
    let mut text = String::from("{\n");
    for (name, value) in case.as_object().into_iter().flatten().filter(|(name, _)| *name != "steps") {
        text += &format!("  {}: {value},\n", json!(name));
    }
    text += "  \"steps\": [\n";
    let steps: Vec<String> = case["steps"].as_array().into_iter().flatten().map(layout_step).collect();
    text + &steps.join(",\n") + "\n  ]\n}\n"
}

fn layout_step(step: &Json) -> String {
    let mut text = String::from("    {\n");
    for (name, value) in step.as_object().into_iter().flatten().filter(|(name, _)| *name != "said") {
        text += &format!("      {}: {value},\n", json!(name));
    }
    let said: Vec<String> = step["said"].as_array().into_iter().flatten().map(|s| format!("        {s}")).collect();
    match said.is_empty() {
        true => text + "      \"said\": []\n    }",
        false => text + "      \"said\": [\n" + &said.join(",\n") + "\n      ]\n    }",
    }
}
