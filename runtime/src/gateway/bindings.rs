//! Whose device an instance's is: as gateway.toml says, or as a person said since, until that line of gateway.toml changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::Instance;
use crate::pipeline::{Binding, parked_of, window_of};

/// The store keeps the newest of each name; no instance's name has such characters.
const PREFIX: &str = "!binding/";

/// What a person said, and what gateway.toml said then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    bed: Option<String>,
    serial: Option<String>,
    instead_of: (Option<String>, Option<String>),
}

#[derive(Debug, Default)]
pub(super) struct Bindings {
    said: BTreeMap<String, Said>,
    /// What the pipeline was told last.
    told: BTreeMap<String, Binding>,
}

/// What a start found in the store, by whose it is.
#[derive(Default)]
pub(super) struct Kept {
    /// Of instances.
    pub states: BTreeMap<String, Vec<u8>>,
    pub bindings: Bindings,
    /// Chunks of parked output, in order.
    pub parked: BTreeMap<String, Vec<Vec<u8>>>,
    /// Windows that were open, by instance and channel.
    pub windows: BTreeMap<(String, u16), Vec<u8>>,
}

/// A binding that cannot be read is said and left: gateway.toml's line holds.
pub(super) fn sorted(found: BTreeMap<String, Vec<u8>>) -> Kept {
    let mut kept = Kept::default();
    for (name, bytes) in found {
        if let Some(instance) = parked_of(&name) {
            if !bytes.is_empty() {
                kept.parked.entry(instance.to_owned()).or_default().push(bytes);
            }
        } else if let Some((instance, channel)) = window_of(&name) {
            if !bytes.is_empty() {
                kept.windows.insert((instance.to_owned(), channel), bytes);
            }
        } else if let Some(instance) = name.strip_prefix(PREFIX) {
            match serde_json::from_slice(&bytes) {
                Ok(said) => drop(kept.bindings.said.insert(instance.to_owned(), said)),
                Err(why) => tracing::error!(instance, %why, "what a person said of its binding cannot be read; gateway.toml holds"),
            }
        } else {
            kept.states.insert(name, bytes);
        }
    }
    kept
}

impl Bindings {
    /// What holds for an instance now.
    pub fn of(&self, name: &str, instance: &Instance) -> Binding {
        match self.said.get(name).filter(|said| said.instead_of == written(instance)) {
            Some(said) => Binding { bed: said.bed.clone(), serial: said.serial.clone().or(instance.is_of_a_pool().then(String::new)) },
            // no device says that its serial is nothing: what one of a pool says is parked until a person has confirmed it
            None if instance.is_of_a_pool() => {
                Binding { bed: instance.bed.clone(), serial: Some(instance.device_serial.clone().unwrap_or_default()) }
            }
            None => Binding { bed: instance.bed.clone(), serial: instance.device_serial.clone() },
        }
    }

    /// A person says so; what the store is to keep of it, and under which name.
    pub fn say(&mut self, name: &str, instance: &Instance, binding: &Binding) -> (String, Vec<u8>) {
        let said = Said { bed: binding.bed.clone(), serial: binding.serial.clone(), instead_of: written(instance) };
        let bytes = serde_json::to_vec(&said).expect("texts");
        self.said.insert(name.to_owned(), said);
        (format!("{PREFIX}{name}"), bytes)
    }

    /// Whether the pipeline has to be told this.
    pub fn is_news(&mut self, name: &str, binding: &Binding) -> bool {
        let known = self.told.insert(name.to_owned(), binding.clone());
        known.unwrap_or_default() != *binding
    }
}

fn written(instance: &Instance) -> (Option<String>, Option<String>) {
    (instance.bed.clone(), instance.device_serial.clone())
}
