//! What a filter listens to: `[instance.NAME.inputs]`, held against the instances that there are, against the filter's manifest, and against circles.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::manifest::{ChannelKind, Manifest};
use super::nearest::nearest;
use super::{Config, ConfigError, Instance, Mistake};

/// "INSTANCE/CHANNEL": a channel by the name that its plugin gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    pub instance: String,
    pub channel: String,
}

/// One input of a filter, in the order of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    pub input: String,
    pub kind: ChannelKind,
    pub from: Tapped,
}

impl<'de> Deserialize<'de> for Tapped {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parts = text.split_once('/').filter(|(instance, channel)| !instance.is_empty() && !channel.is_empty());
        let (instance, channel) = parts.ok_or_else(|| D::Error::custom("an input is \"INSTANCE/CHANNEL\", like \"ct-chiller/supply\""))?;
        Ok(Self { instance: instance.to_owned(), channel: channel.to_owned() })
    }
}

impl fmt::Display for Tapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.instance, self.channel)
    }
}

impl Config {
    /// What a filter hears; `None` where it does without. Of what is no filter: nothing.
    pub fn taps(&self, instance: &str, manifest: &Manifest) -> Result<Vec<Option<Tap>>, ConfigError> {
        let (given, plugin) = (&self.instances[instance].inputs, manifest.full_name());
        let known = || manifest.inputs.iter().map(|input| input.name.as_str());
        if let Some(name) = given.keys().find(|name| !known().any(|known| known == *name)) {
            let what = format!("instance.{instance}.inputs.{name}: plugin {plugin} has no such input");
            let remedy = match nearest(name, known()) {
                Some(meant) => format!("write \"{meant}\""),
                None if manifest.inputs.is_empty() => "take it out: this plugin is no filter, it hears its own device only".to_owned(),
                None => format!("take it out; the plugin knows: {}", known().collect::<Vec<_>>().join(", ")),
            };
            return Err(self.wrong(&["instance", instance, "inputs", name], what, remedy));
        }
        let tap = |input: &super::Input| match given.get(&input.name) {
            Some(from) => Ok(Some(Tap { input: input.name.clone(), kind: input.kind, from: from.clone() })),
            None if !input.required => Ok(None),
            None => {
                let what = format!("instance.{instance}.inputs: plugin {plugin} needs \"{}\": {}", input.name, input.description);
                let remedy = format!("below [instance.{instance}.inputs] add {} = \"INSTANCE/CHANNEL\"", input.name);
                Err(self.wrong(&["instance", instance, "inputs"], what, remedy))
            }
        };
        manifest.inputs.iter().map(tap).collect()
    }

    /// A source that is not there, a circle, or a bed that a filter cannot have.
    pub(super) fn inputs_mistake(&self) -> Option<Mistake> {
        let wrong = |path: &[&str], what: String, remedy: String| {
            Some(Mistake { path: path.iter().map(|key| (*key).to_owned()).collect(), what, remedy })
        };
        for (name, instance) in self.instances.iter().filter(|(_, i)| !i.inputs.is_empty()) {
            for (key, written) in [("bed", instance.bed.is_some()), ("device_serial", instance.device_serial.is_some())] {
                if written {
                    let what = "what listens to other instances stands where they stand".to_owned();
                    return wrong(&["instance", name, key], what, format!("take {key} out"));
                }
            }
            for (input, from) in &instance.inputs {
                let path = ["instance", name, "inputs", input];
                if !self.instances.contains_key(&from.instance) {
                    let remedy = match nearest(&from.instance, self.instances.keys().map(String::as_str)) {
                        Some(meant) => format!("write {input} = \"{meant}/{}\"", from.channel),
                        None => format!("add [instance.{}], or name one that is there", from.instance),
                    };
                    return wrong(&path, format!("there is no instance \"{}\"", from.instance), remedy);
                }
                if let Some(circle) = circle(&self.instances, name, &from.instance) {
                    let what = format!("a filter may not hear itself: {}", circle.join(" hears "));
                    return wrong(&path, what, "take one of these inputs out".to_owned());
                }
            }
        }
        None
    }

    /// The beds at which a filter's sources stand, through other filters too; the instance's own where it listens to nobody.
    pub fn sources_of<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        sources(&self.instances, name)
    }
}

fn sources<'a>(instances: &'a BTreeMap<String, Instance>, name: &'a str) -> Vec<&'a str> {
    match instances.get(name) {
        Some(instance) if !instance.inputs.is_empty() => instance.inputs.values().flat_map(|t| sources(instances, &t.instance)).collect(),
        _ => vec![name],
    }
}

/// The way from `name` by `next` back to `name`, if there is one.
fn circle<'a>(instances: &'a BTreeMap<String, Instance>, name: &'a str, next: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![name, next]];
    let mut seen = vec![next];
    while let Some(way) = ways.pop() {
        let last = way[way.len() - 1];
        if last == name {
            return Some(way);
        }
        for from in instances.get(last)?.inputs.values() {
            let further = from.instance.as_str();
            if further == name || !seen.contains(&further) {
                seen.push(further);
                ways.push(way.iter().copied().chain([further]).collect());
            }
        }
    }
    None
}
