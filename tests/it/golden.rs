//! The golden cases of every plugin, played inside the sandbox: they must say to the letter what they say natively.
//! `plugins/golden.md` draws the format; reading and showing it is written anew here, so that both ends prove each other.

mod read;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use wardgate::contract::lifecycle::Opening;
use wardgate::contract::types::Fact;
use wardgate::contract::{CallError, Log, Said};
use wardgate::plugin::{CompileLimits, Fault, Host, Instance, Package, Prepared, Profile, prepare};

use crate::sandbox::{compiler, folder};
use read::Step;

/// Folders of plugins that have cases, and the one whose cases prove this runner.
fn plugins() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = fs::read_dir(here.join("../plugins")).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> = listed.filter(|p| p.join("golden").is_dir()).collect();
    assert!(found.len() >= 2, "the bedside monitor and the register map have cases: {found:?}");
    found.push(here.join("guests/hostile"));
    found.sort();
    found
}

fn cases(plugin: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(plugin.join("golden")).unwrap();
    let mut found: Vec<_> = listed.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    found.sort();
    found
}

//= PROMISES.md#P36
#[tokio::test]
async fn every_case_says_in_the_sandbox_what_it_says_natively() {
    let state = folder("golden");
    let compiler = compiler(&state, CompileLimits::default());
    let hosts = [Profile::Guarded, Profile::Compact].map(|profile| Arc::new(Host::with(profile).unwrap_or_else(|why| panic!("{why}"))));
    for plugin in plugins() {
        let cases = cases(&plugin);
        assert!(!cases.is_empty(), "{} has no golden case", plugin.display());
        let built = wardgate::plugin::build(&plugin).unwrap_or_else(|why| panic!("{why}"));
        let package = Package::open(&built.folder, true).unwrap_or_else(|why| panic!("{why}"));
        let asked = package.manifest.links.clone();
        for host in &hosts {
            let (prepared, _) = prepare(host, &compiler, &package, &asked).await.unwrap_or_else(|why| panic!("{why}"));
            for case in &cases {
                play(&prepared, case);
            }
        }
    }
}

fn play(plugin: &Arc<Prepared>, file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let case: Json = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let settings = settings(&case, file);
    let seed = case["seed"].as_u64().expect("a seed");
    let mut run = Run { plugin, settings, seed, instance: None, kept: None };
    for (n, step) in case["steps"].as_array().expect("steps").iter().enumerate() {
        let at = format!("{} step {n}", file.display());
        let (outcome, said) = run.step(step, &at);
        assert_eq!(step["outcome"], outcome, "{at}: outcome (left: the case, right: the sandbox)");
        let expected = step["said"].as_array().unwrap_or_else(|| panic!("{at}: no list \"said\""));
        for (k, (expected, said)) in expected.iter().zip(&said).enumerate() {
            assert_eq!(expected, said, "{at}, said {k} (left: the case, right: the sandbox)");
        }
        assert_eq!(expected.len(), said.len(), "{at}: {said:#?}");
    }
}

/// By name, sorted as the gateway gives them; `{"file": path}` is a file beside the case.
fn settings(case: &Json, file: &Path) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (name, value) in case["settings"].as_object().expect("settings") {
        let value = match value["file"].as_str() {
            Some(path) => fs::read_to_string(file.parent().unwrap().join(path)).unwrap_or_else(|why| panic!("{path}: {why}")),
            None => value.as_str().unwrap_or_else(|| panic!("{name} is no text")).to_owned(),
        };
        facts.push(Fact { name: name.clone(), value });
    }
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    facts
}

struct Run<'a> {
    plugin: &'a Arc<Prepared>,
    settings: Vec<Fact>,
    seed: u64,
    instance: Option<Instance>,
    kept: Option<Vec<u8>>,
}

impl Run<'_> {
    fn step(&mut self, step: &Json, at: &str) -> (Json, Vec<Json>) {
        let now = read::moment(&step["at"]);
        let done = match read::step(&step["event"]) {
            Step::Open { kept } => {
                self.kept = self.kept.take().filter(|_| kept);
                let start = Opening { settings: self.settings.clone(), about: Vec::new(), seed: self.seed, saved: self.kept.clone() };
                let mut instance = self.plugin.start().unwrap_or_else(|spent| panic!("{at}: {}", spent.why));
                let done = instance.open(now, &start);
                self.instance = Some(instance);
                done
            }
            Step::Event(event) => self.instance.as_mut().unwrap_or_else(|| panic!("{at}: not open")).call(now, &event),
        };
        match done {
            Ok(outcome) => {
                if let Some(Said::Keep(state)) = outcome.said.iter().rev().find(|said| matches!(said, Said::Keep(_))) {
                    self.kept = Some(state.clone());
                }
                let ended = outcome.problem.map_or(json!("ok"), |problem| json!({"err": show::problem(&problem)}));
                (ended, together(&outcome.said, &outcome.logs))
            }
            Err(spent) => {
                self.instance = None;
                let Fault::Call(CallError::Fatal(problem)) = spent.why else { panic!("{at}: {}", spent.why) };
                (json!({"err": show::problem(&problem)}), spent.logs.iter().map(show::log).collect())
            }
        }
    }
}

/// Lines that were logged stand where they were said.
fn together(said: &[Said], logs: &[Log]) -> Vec<Json> {
    let mut all = Vec::new();
    let mut logs = logs.iter().peekable();
    for n in 0..=said.len() {
        while let Some(log) = logs.next_if(|log| log.after <= n) {
            all.push(show::log(log));
        }
        all.extend(said.get(n).map(show::said));
    }
    all
}
