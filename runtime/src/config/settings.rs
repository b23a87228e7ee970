//! What a site writes for a plugin's settings, held against what the plugin declares. The plugin itself gets texts.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::manifest::{Kind, Manifest, Setting};
use super::nearest::nearest;
use super::paths::nearest_path;
use super::{Config, ConfigError};

/// Of a setting that lies in a file: a register map of 256 rows has 25 kB.
pub const TEXT_BYTES_MAX: u64 = 64 << 10;

/// Texts that a package carries for its settings: folder in the package, name, text.
pub type Shipped = BTreeMap<String, BTreeMap<String, String>>;

/// One setting as a site writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// `{ file = "maps/chiller.map" }`
    File(PathBuf),
    /// `{ shipped = "smc-hrs" }`: a text that the package carries.
    Shipped(String),
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a whole number, true or false, { file = \"...\" } or { shipped = \"...\" }")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Given, E> {
        Ok(Given::Integer(number))
    }

    fn visit_bool<E: Error>(self, yes: bool) -> Result<Given, E> {
        Ok(Given::Boolean(yes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        const KEYS: &[&str] = &["file", "shipped"];
        let Some(key) = map.next_key::<String>()? else { return Err(Error::missing_field("file")) };
        let given = match key.as_str() {
            "file" => Given::File(map.next_value()?),
            "shipped" => Given::Shipped(map.next_value()?),
            other => return Err(Error::unknown_field(other, KEYS)),
        };
        match map.next_key::<String>()? {
            None => Ok(given),
            Some(more) => Err(Error::custom(format!("a setting is one thing: take out \"{key}\" or \"{more}\""))),
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("text in quotes"),
            Self::Integer(n) => write!(f, "the number {n}"),
            Self::Boolean(yes) => write!(f, "{yes}"),
            Self::File(_) => f.write_str("a file"),
            Self::Shipped(_) => f.write_str("a text that the package carries"),
        }
    }
}

/// What is wrong and the remedy.
type Wrong = (String, String);

/// Why no text could be made of what was given.
enum Misfit {
    /// Another type is wanted; this might stand there.
    Type(String),
    Content(Wrong),
}

impl Config {
    /// What the plugin of an instance gets: each setting as text, read and checked. The plugin judges the content when it opens.
    pub fn settings(&self, instance: &str, manifest: &Manifest, shipped: &Shipped) -> Result<BTreeMap<String, String>, ConfigError> {
        let given = &self.instances[instance].settings;
        let plugin = manifest.full_name();
        let mut texts = BTreeMap::new();
        for (name, given) in given {
            let at = |(what, remedy): Wrong| {
                self.wrong(&["instance", instance, "settings", name], format!("instance.{instance}.settings.{name}: {what}"), remedy)
            };
            let setting = manifest.settings.get(name).ok_or_else(|| at(unknown(name, &plugin, manifest)))?;
            let text = setting.text(given, shipped).map_err(|misfit| match misfit {
                Misfit::Content(wrong) => at(wrong),
                Misfit::Type(instead) => {
                    at((format!("plugin {plugin} takes {} here, not {given}", setting.takes()), format!("write {name} = {instead}")))
                }
            })?;
            texts.insert(name.clone(), text);
        }
        let mut needed = manifest.settings.iter().filter(|(_, setting)| setting.required && setting.default.is_none());
        match needed.find(|(name, _)| !texts.contains_key(*name)) {
            Some((name, setting)) => {
                let what = format!("instance.{instance}.settings: plugin {plugin} needs \"{name}\": {}", setting.description);
                let remedy = format!("below [instance.{instance}.settings] add {name} = {}", setting.example(shipped));
                Err(self.wrong(&["instance", instance, "settings"], what, remedy))
            }
            None => Ok(texts),
        }
    }
}

/// One setting in the words of a command line, `NAME=VALUE`. A value in braces is written as in gateway.toml.
pub fn setting_in_words(words: &str, manifest: &Manifest, shipped: &Shipped) -> Result<(String, String), (String, String)> {
    #[derive(Deserialize)]
    struct Line {
        value: Given,
    }
    let no_setting = || (format!("\"{words}\" is no setting"), "write NAME=VALUE".to_owned());
    let (name, value) = words.split_once('=').ok_or_else(no_setting)?;
    let plugin = manifest.full_name();
    let setting = manifest.settings.get(name).ok_or_else(|| {
        let (what, remedy) = unknown(name, &plugin, manifest);
        (format!("{name}: {what}"), remedy)
    })?;
    let as_in_toml = value.starts_with('{') || (setting.kind != Kind::Text && setting.fits(value));
    let given = match as_in_toml.then(|| toml::from_str::<Line>(&format!("value = {value}"))) {
        None => Given::Text(value.to_owned()),
        Some(Ok(line)) => line.value,
        Some(Err(why)) => return Err((format!("{name}: {}", why.message()), format!("write {name}={}", setting.example(shipped)))),
    };
    match setting.text(&given, shipped) {
        Ok(text) => Ok((name.to_owned(), text)),
        Err(Misfit::Content((what, remedy))) => Err((format!("{name}: {what}"), remedy)),
        Err(Misfit::Type(instead)) => {
            Err((format!("{name}: plugin {plugin} takes {} here, not {value}", setting.takes()), format!("write {name}={instead}")))
        }
    }
}

fn unknown(name: &str, plugin: &str, manifest: &Manifest) -> Wrong {
    let known: Vec<_> = manifest.settings.keys().map(String::as_str).collect();
    let remedy = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("write \"{meant}\""),
        None if known.is_empty() => "take it out: this plugin has no settings".to_owned(),
        None => format!("take it out; the plugin knows: {}", known.join(", ")),
    };
    (format!("plugin {plugin} has no such setting"), remedy)
}

impl Setting {
    fn text(&self, given: &Given, shipped: &Shipped) -> Result<String, Misfit> {
        match (given, self.kind) {
            (Given::Text(text), Kind::Text) if text.len() as u64 > TEXT_BYTES_MAX => Err(Misfit::Content((
                format!("{} bytes are more than {TEXT_BYTES_MAX}", text.len()),
                "a setting is a text that people write: shorten it".into(),
            ))),
            (Given::Text(text), Kind::Text) => Ok(text.clone()),
            (Given::Boolean(yes), Kind::Boolean) => Ok(yes.to_string()),
            (Given::Integer(n), Kind::Integer) if self.holds(*n) => Ok(n.to_string()),
            (Given::Integer(n), Kind::Integer) => {
                let bound = if self.min.is_some_and(|min| *n < min) { self.min } else { self.max };
                Err(Misfit::Type(bound.unwrap_or_default().to_string()))
            }
            (Given::File(path), Kind::Text) => read(path).map_err(Misfit::Content),
            (Given::Shipped(name), Kind::Text) => self.shipped_text(name, shipped).map_err(Misfit::Content),
            // a number or a yes in quotes
            (Given::Text(text), _) if self.fits(text.trim()) => Err(Misfit::Type(text.trim().to_owned())),
            (Given::Integer(n), Kind::Text) => Err(Misfit::Type(format!("\"{n}\""))),
            (Given::Boolean(yes), Kind::Text) => Err(Misfit::Type(format!("\"{yes}\""))),
            _ => Err(Misfit::Type(self.example(shipped))),
        }
    }

    fn holds(&self, n: i64) -> bool {
        self.min.is_none_or(|min| n >= min) && self.max.is_none_or(|max| n <= max)
    }

    /// Whether a text is a value of this setting.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self.kind {
            Kind::Text => true,
            Kind::Integer => text.parse().is_ok_and(|n| self.holds(n)),
            Kind::Boolean => text == "true" || text == "false",
        }
    }

    fn takes(&self) -> String {
        match (self.kind, self.min, self.max) {
            (Kind::Text, ..) if self.shipped.is_some() => "text, { file = \"...\" } or { shipped = \"...\" }".into(),
            (Kind::Text, ..) => "text or { file = \"...\" }".into(),
            (Kind::Boolean, ..) => "true or false".into(),
            (Kind::Integer, None, None) => "a whole number".into(),
            (Kind::Integer, Some(min), None) => format!("a whole number of {min} or more"),
            (Kind::Integer, None, Some(max)) => format!("a whole number of {max} or less"),
            (Kind::Integer, Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
        }
    }

    /// What might stand behind the `=`.
    fn example(&self, shipped: &Shipped) -> String {
        let names = self.shipped.as_ref().and_then(|folder| shipped.get(folder));
        match (self.kind, &self.default) {
            (Kind::Text, _) => match names.and_then(|names| names.keys().next()) {
                Some(name) => format!("{{ shipped = \"{name}\" }}"),
                None => "\"...\"".into(),
            },
            (_, Some(default)) => default.clone(),
            (Kind::Integer, None) => self.min.or(self.max).unwrap_or_default().to_string(),
            (Kind::Boolean, None) => "true".into(),
        }
    }

    fn shipped_text(&self, name: &str, shipped: &Shipped) -> Result<String, Wrong> {
        let Some(folder) = &self.shipped else {
            return Err(("the package carries no texts for this setting".into(), "give the text itself, or { file = \"...\" }".into()));
        };
        let none = BTreeMap::new();
        let names = shipped.get(folder).unwrap_or(&none);
        names.get(name).cloned().ok_or_else(|| {
            let remedy = match nearest(name, names.keys().map(String::as_str)) {
                Some(meant) => format!("write {{ shipped = \"{meant}\" }}"),
                None => format!("it carries: {}", names.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
            };
            (format!("the package carries no \"{name}\" in {folder}/"), remedy)
        })
    }
}

fn read(path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let done = File::open(path).and_then(|file| file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(e) = done {
        let remedy = match nearest_path(path) {
            Some(near) => format!("write {{ file = \"{}\" }}", near.display()),
            None => "put the file there, or correct the path; it is relative to the folder of gateway.toml".to_owned(),
        };
        return Err((format!("{shown} cannot be read: {e}"), remedy));
    }
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err((
            format!("{shown} is larger than {TEXT_BYTES_MAX} bytes"),
            "is it the right file? A setting is a text that people write".into(),
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        (format!("{shown} is not text: byte {at} is not UTF-8"), "save it as UTF-8".into())
    })
}
