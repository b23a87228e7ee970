//! A writer's desk: one instance of a plugin in the real sandbox, fed by hand with events and moments of its own. Pure but for the guest:
//! no device, no clock, no disk.

mod asked;
mod decode;
mod golden;
mod polls;
mod read;
mod show;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use wasmtime::component::Component;

use super::instance::at_once;
use super::{Fault, Host, Instance, Package, PluginError, Prepared};
use crate::contract::lifecycle::Opening;
use crate::contract::types::{Description, Fact, Moment};
use crate::contract::{CallError, Event, Log, Said, printable};
use crate::whose::SERIAL;

pub use decode::{Input, Lines, Script, reply, uuid};
pub use golden::{Difference, case, cases, packed_case, replay};
pub use polls::transactions;

const SAID_BYTES_MAX: usize = 1000; // of a plugin's own words: a few lines, with the functions of a trap

/// Makes a package ready in this process: it is the writer's own, so no child with limits compiles it, and nothing is cached.
pub fn ready(package: &Package) -> Result<Arc<Prepared>, PluginError> {
    ready_in(Arc::new(Host::probe()?), package)
}

pub fn ready_in(host: Arc<Host>, package: &Package) -> Result<Arc<Prepared>, PluginError> {
    let invalid = |e| PluginError::Invalid { plugin: package.manifest.full_name(), why: format!("{e:#}") };
    let code = Component::new(&host.engine, &package.component).map_err(invalid)?;
    at_once(Prepared::new(host, package, &code, &package.manifest.links))
}

/// One plugin from open to open, with what it kept.
pub struct Trial {
    plugin: Arc<Prepared>,
    settings: Vec<Fact>,
    seed: u64,
    instance: Option<Instance>,
    kept: Option<Vec<u8>>,
}

/// What became of one event.
#[derive(Debug, Default)]
pub struct Played {
    /// All that took effect, in order.
    pub said: Vec<Said>,
    pub logs: Vec<Log>,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub enum Outcome {
    #[default]
    Ok,
    Problem(crate::contract::types::Problem),
    /// The call came to nothing by a trap or a broken rule: the instance is gone.
    Broken(String),
}

impl Trial {
    /// `settings` are sorted by name, as the gateway gives them.
    pub fn new(plugin: Arc<Prepared>, mut settings: Vec<Fact>, seed: u64) -> Self {
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Self { plugin, settings, seed, instance: None, kept: None }
    }

    pub fn open(&mut self, now: Moment, kept: bool) -> Played {
        self.kept = self.kept.take().filter(|_| kept);
        let start = Opening { settings: self.settings.clone(), about: Vec::new(), seed: self.seed, saved: self.kept.clone() };
        let opened = at_once(async {
            let mut instance = self.plugin.start().await?;
            let outcome = instance.open(now, &start).await?;
            self.instance = Some(instance);
            Ok(outcome)
        });
        self.judge(opened)
    }

    pub fn call(&mut self, now: Moment, event: &Event) -> Played {
        let Some(instance) = &mut self.instance else {
            return Played { outcome: Outcome::Broken("is not open: the event before ended it".into()), ..Played::default() };
        };
        let done = at_once(instance.call(now, event));
        self.judge(done)
    }

    fn judge(&mut self, done: Result<crate::contract::Outcome, super::Spent>) -> Played {
        match done {
            Ok(outcome) => {
                if let Some(Said::Keep(state)) = outcome.said.iter().rev().find(|said| matches!(said, Said::Keep(_))) {
                    self.kept = Some(state.clone());
                }
                let ended = outcome.problem.map_or(Outcome::Ok, Outcome::Problem);
                Played { said: outcome.said, logs: outcome.logs, outcome: ended }
            }
            Err(spent) => {
                self.instance = None;
                let outcome = match spent.why {
                    Fault::Call(CallError::Fatal(problem)) => Outcome::Problem(problem),
                    why => Outcome::Broken(why.to_string()),
                };
                Played { said: Vec::new(), logs: spent.logs, outcome }
            }
        }
    }
}

/// What a plugin says of its device when it is opened.
pub struct Opened {
    pub channels: Vec<Description>,
    /// It says who its device is.
    pub identifies: bool,
}

/// Opens it once with these settings, as the gateway would: what it says of its device, or what it says against them in its own words.
pub fn opens(plugin: &Arc<Prepared>, settings: &BTreeMap<String, String>) -> Result<Opened, Unopened> {
    let facts = settings.iter().map(|(name, value)| Fact { name: name.clone(), value: value.clone() }).collect();
    let now = Moment { boot: 1, monotonic_ns: 0, wall: None };
    let who = || plugin.manifest.full_name();
    let Played { said, outcome, .. } = Trial::new(plugin.clone(), facts, 1).open(now, false);
    let described = |said| if let Said::Describe(_, meaning) = said { Some(meaning) } else { None };
    match outcome {
        Outcome::Ok => {
            let identifies = said.iter().any(|one| matches!(one, Said::Identify(facts) if facts.iter().any(|f| f.name == SERIAL)));
            Ok(Opened { channels: said.into_iter().filter_map(described).collect(), identifies })
        }
        Outcome::Problem(problem) => Err(Unopened::Refuses { plugin: who(), says: printable(&problem.detail, SAID_BYTES_MAX) }),
        Outcome::Broken(why) => Err(Unopened::Fails { plugin: who(), why: printable(&why, SAID_BYTES_MAX) }),
    }
}

/// Why a plugin did not open.
#[derive(Debug, thiserror::Error)]
pub enum Unopened {
    #[error("plugin {plugin} does not open with these settings: {says}")]
    Refuses { plugin: String, says: String },
    #[error("plugin {plugin} fails when it is opened with these settings: {why}")]
    Fails { plugin: String, why: String },
}

impl Played {
    /// As a golden case writes it; a trap has no place in one, so it is always a difference.
    fn outcome(&self) -> Json {
        match &self.outcome {
            Outcome::Ok => json!("ok"),
            Outcome::Problem(problem) => json!({"err": show::problem(problem)}),
            Outcome::Broken(why) => json!({"broken": why}),
        }
    }

    /// Lines that were logged stand where they were said.
    fn said(&self) -> Vec<Json> {
        let mut all = Vec::new();
        let mut logs = self.logs.iter().peekable();
        for n in 0..=self.said.len() {
            while let Some(log) = logs.next_if(|log| log.after <= n) {
                all.push(show::log(log));
            }
            all.extend(self.said.get(n).map(show::said));
        }
        all
    }
}
