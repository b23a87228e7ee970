//! Settings with their types. An error names the setting, what was written, and what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::{Fact, Problem};

const SHOWN_CHARS_MAX: usize = 40; // a wrong value is shown in an error, a whole map is not

/// The name/value list that `open` gets.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a>(&'a [Fact]);

impl<'a> Settings<'a> {
    pub fn new(settings: &'a [Fact]) -> Self {
        Self(settings)
    }

    pub fn find(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|s| s.name == name).map(|s| s.value.as_str())
    }

    pub fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.find(name).unwrap_or(default)
    }

    pub fn required(&self, name: &str, what: &str) -> Result<&'a str, Problem> {
        self.find(name).ok_or_else(|| Problem::setting(format!("setting \"{name}\" is missing: it is {what}")))
    }

    pub fn number<T>(&self, name: &str, default: T, allowed: RangeInclusive<T>) -> Result<T, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(value) = self.find(name) else { return Ok(default) };
        let (from, to) = (allowed.start(), allowed.end());
        value
            .trim()
            .parse()
            .ok()
            .filter(|n| allowed.contains(n))
            .ok_or_else(|| wrong(name, value, &format!("a whole number from {from} to {to}, {default} when left out")))
    }

    pub fn yes_or_no(&self, name: &str, default: bool) -> Result<bool, Problem> {
        self.one_of(name, if default { "yes" } else { "no" }, &["yes", "no", "true", "false"]).map(|v| v == "yes" || v == "true")
    }

    pub fn one_of(&self, name: &str, default: &'a str, allowed: &[&str]) -> Result<&'a str, Problem> {
        let value = self.text(name, default);
        match allowed.contains(&value) {
            true => Ok(value),
            false => {
                Err(wrong(name, value, &format!("one of {}", allowed.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(", "))))
            }
        }
    }

    /// A name that no one reads is a slip of the pen: refuse it.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|s| !known.contains(&s.name.as_str())) {
            Some(s) => Err(Problem::setting(format!("setting \"{}\" is not known; this plugin reads {}", s.name, known.join(", ")))),
            None => Ok(()),
        }
    }
}

fn wrong(name: &str, value: &str, allowed: &str) -> Problem {
    let shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
    Problem::setting(format!("setting \"{name}\" is \"{shown}\"; allowed: {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact;

    #[test]
    fn what_is_left_out_is_the_default_and_what_is_wrong_is_named() {
        let facts = [fact("speed", "70000"), fact("mode", "fast"), fact("unit", "Cel"), fact("mod", "x")];
        let s = Settings::new(&facts);
        assert_eq!(s.number("tries", 3u8, 1..=9), Ok(3));
        assert_eq!(s.number("speed", 9600u32, 0..=100_000), Ok(70_000));
        assert_eq!(
            s.number("speed", 9600u16, 300..=38_400).unwrap_err(),
            Problem::setting("setting \"speed\" is \"70000\"; allowed: a whole number from 300 to 38400, 9600 when left out")
        );
        assert_eq!(s.one_of("unit", "", &["", "Cel"]), Ok("Cel"));
        assert_eq!(s.one_of("mode", "a", &["a", "b"]).unwrap_err().detail, "setting \"mode\" is \"fast\"; allowed: one of \"a\", \"b\"");
        assert_eq!(s.required("map", "the map").unwrap_err().detail, "setting \"map\" is missing: it is the map");
        assert_eq!(s.yes_or_no("raw", true), Ok(true));
        assert!(s.yes_or_no("mode", true).is_err());
        assert_eq!(
            s.only(&["speed", "mode", "unit"]).unwrap_err().detail,
            "setting \"mod\" is not known; this plugin reads speed, mode, unit"
        );
    }
}
