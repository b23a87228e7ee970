//! The register map, from the text that an integrator writes. Pure. An error names the line, what is wrong and what is allowed.

use std::ops::RangeInclusive;

use wardgate_sdk::{Absence, Coding, Concern, Decimal, Description, Priority};

use crate::decode::{Encoding, Form, Order, Scale, Sort, places_for};
use crate::text::{integer, nearest, period_ms, words};

pub const ROWS_MAX: usize = 256; // as the manifest's channels
pub const PERIOD_MS: RangeInclusive<u64> = 100..=86_400_000; // faster floods a bus of 19200 baud, slower is a day
const NAME_CHARS_MAX: usize = 40;
const TEXT_CHARS_MAX: usize = 120; // unit, label, alert text

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    Coil = 1,
    Discrete = 2,
    Holding = 3,
    Input = 4,
}

impl Function {
    pub fn of_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Use {
    Channel(Description),
    Alert { text: String, priority: Priority, concern: Concern, active: Active },
}

/// When a point that is an alert is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// A bit that is set, or one that is not.
    Bit(bool),
    /// An enumeration that has this code.
    Code(u64),
}

impl Active {
    pub fn holds(self, raw: u64) -> bool {
        match self {
            Self::Bit(when) => (raw != 0) == when,
            Self::Code(code) => raw == code,
        }
    }
}

/// One line of the map: a point to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub server: u8,
    pub function: Function,
    pub address: u16,
    pub form: Form,
    pub every_ms: u64,
    pub used: Use,
}

/// What rows have that do not say otherwise; `all` rows change it for those below.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    pub server: u8,
    pub every_ms: u64,
    pub order: Order,
}

/// Line and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct MapError {
    pub line: usize,
    pub what: String,
}

impl std::fmt::Display for MapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "setting \"map\": {}", self.what),
            line => write!(f, "setting \"map\", line {line}: {}", self.what),
        }
    }
}

type Read<T> = Result<T, String>;

pub fn read(text: &str, mut defaults: Defaults) -> Result<Vec<Row>, MapError> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |what: String| MapError { line: number + 1, what };
        let words = words(line).ok_or_else(|| fail("a quote is not closed".into()))?;
        let mut words = words.iter().map(String::as_str).peekable();
        match words.peek() {
            None => continue,
            Some(&"all") => {
                words.next();
                all(&mut defaults, &mut words).map_err(fail)?;
            }
            Some(_) => {
                let row = row(&mut words, defaults).map_err(fail)?;
                if rows.iter().any(|r| r.name == row.name) {
                    return Err(fail(format!("\"{}\" is named twice", row.name)));
                }
                rows.push(row);
            }
        }
        if rows.len() > ROWS_MAX {
            return Err(fail(format!("more than {ROWS_MAX} rows; use a second instance")));
        }
    }
    if rows.is_empty() { Err(MapError { line: 0, what: "it has no rows".into() }) } else { Ok(rows) }
}

fn all<'a>(defaults: &mut Defaults, words: &mut impl Iterator<Item = &'a str>) -> Read<()> {
    while let Some(word) = words.next() {
        match word {
            "every" => defaults.every_ms = every(words.next())?,
            "server" => defaults.server = server(words.next())?,
            "order" => defaults.order = order(words.next())?,
            other => return Err(means_nothing(other, "after \"all\"", &["every", "server", "order"])),
        }
    }
    Ok(())
}

type Words<'w, 'a, I> = &'w mut std::iter::Peekable<I>;

fn row<'a, I: Iterator<Item = &'a str>>(words: Words<'_, 'a, I>, defaults: Defaults) -> Read<Row> {
    let alert = words.next_if_eq(&"alert").is_some();
    let name = name(words.next())?;
    let function = function(words.next())?;
    let address = address(words.next())?;
    let mut form = form(words.next(), function, defaults.order)?;
    let mut row = Tail { server: defaults.server, every_ms: defaults.every_ms, ..Tail::default() };
    while let Some(word) = words.next() {
        row.word(word, words, &mut form, alert)?;
    }
    finish(&mut form, &row, address)?;
    let used = match alert {
        true => alert_of(&name, &form, &row)?,
        false => Use::Channel(meaning(&name, &form, &row)),
    };
    Ok(Row { name, server: row.server, function, address, form, every_ms: row.every_ms, used })
}

/// What the words behind the type say.
#[derive(Default)]
struct Tail {
    server: u8,
    every_ms: u64,
    unit: String,
    code: Option<Coding>,
    label: String,
    scale: Option<String>,
    places: Option<u8>,
    values: Vec<(u64, String)>,
    text: String,
    priority: Option<Priority>,
    concern: Option<Concern>,
    when: Option<bool>,
    is: Option<u64>,
}

impl Tail {
    fn word<'a, I: Iterator<Item = &'a str>>(&mut self, word: &str, words: Words<'_, 'a, I>, form: &mut Form, alert: bool) -> Read<()> {
        let allowed = match alert {
            true => ["every", "server", "order", "text", "priority", "concern", "when", "is"].as_slice(),
            false => &["every", "server", "order", "scale", "places", "offset", "unit", "code", "label", "absent", "values"],
        };
        if !allowed.contains(&word) {
            return Err(means_nothing(word, "here", allowed));
        }
        match word {
            "absent" => form.absent = absent(&pairs(words)?, form)?,
            "values" => self.values = pairs(words)?.into_iter().map(|(n, text)| Ok((code(&n, form)?, text))).collect::<Read<_>>()?,
            _ => {
                let next = words.next().filter(|w| !w.is_empty() && w.chars().count() <= TEXT_CHARS_MAX);
                self.with(word, next.ok_or_else(|| format!("\"{word}\" wants a word behind it"))?, form)?;
            }
        }
        Ok(())
    }

    fn with(&mut self, word: &str, next: &str, form: &mut Form) -> Read<()> {
        match word {
            "every" => self.every_ms = every(Some(next))?,
            "server" => self.server = server(Some(next))?,
            "order" => form.order = order(Some(next))?,
            "scale" => self.scale = Some(next.into()),
            "places" => self.places = Some(next.parse().ok().filter(|p| *p <= 12).ok_or_else(|| not(next, "0 to 12 places"))?),
            "offset" => form.offset = Some(Decimal::parse(next).ok_or_else(|| not(next, "a decimal number"))?),
            "unit" => self.unit = next.into(),
            "label" => self.label = next.into(),
            "text" => self.text = next.into(),
            "code" => {
                let (scheme, value) = next.split_once(':').ok_or_else(|| not(next, "a code like mdc:150344"))?;
                self.code = Some(Coding { scheme: scheme.into(), value: value.into() });
            }
            "priority" => {
                let all = [Priority::High, Priority::Medium, Priority::Low, Priority::Information];
                self.priority = Some(one_of(next, &["high", "medium", "low", "information"], &all)?);
            }
            "concern" => {
                self.concern = Some(one_of(next, &["technical", "physiological"], &[Concern::Technical, Concern::Physiological])?);
            }
            "is" => self.is = Some(code(next, form)?),
            _ => self.when = Some(one_of(next, &["1", "0"], &[true, false])?),
        }
        Ok(())
    }
}

fn not(word: &str, what: &str) -> String {
    format!("\"{word}\" is not {what}")
}

fn one_of<T: Copy>(word: &str, names: &[&str], values: &[T]) -> Read<T> {
    let at = names.iter().position(|n| *n == word);
    at.and_then(|at| values.get(at)).copied().ok_or_else(|| match nearest(word, names) {
        Some(meant) => format!("\"{word}\" is not known: write \"{meant}\""),
        None => format!("\"{word}\" is none of {}", names.join(", ")),
    })
}

fn means_nothing(word: &str, place: &str, allowed: &[&str]) -> String {
    match nearest(word, allowed) {
        Some(meant) => format!("\"{word}\" means nothing {place}: write \"{meant}\""),
        None => format!("\"{word}\" means nothing {place}; allowed: {}", allowed.join(", ")),
    }
}

fn name(word: Option<&str>) -> Read<String> {
    let word = word.unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let good = (1..=NAME_CHARS_MAX).contains(&word.len()) && word.chars().all(plain) && word.starts_with(|c: char| c.is_ascii_lowercase());
    if good { Ok(word.into()) } else { Err(not(word, "a name: 1 to 40 of a-z 0-9 - _, a letter first")) }
}

fn function(word: Option<&str>) -> Read<Function> {
    use Function::{Coil, Discrete, Holding, Input};
    let names = ["coil", "discrete", "holding", "input", "1", "2", "3", "4"];
    one_of(word.unwrap_or_default(), &names, &[Coil, Discrete, Holding, Input, Coil, Discrete, Holding, Input])
}

fn address(word: Option<&str>) -> Read<u16> {
    let word = word.unwrap_or_default();
    let number = integer(word).and_then(|n| u16::try_from(n).ok());
    number.ok_or_else(|| not(word, "an address from 0 to 65535 (as on the wire: 40001 in some manuals is holding 0)"))
}

fn server(word: Option<&str>) -> Read<u8> {
    let word = word.unwrap_or_default();
    word.parse().ok().filter(|n| *n <= 247).ok_or_else(|| not(word, "a server from 0 to 247"))
}

fn every(word: Option<&str>) -> Read<u64> {
    let word = word.unwrap_or_default();
    period_ms(word).filter(|ms| PERIOD_MS.contains(ms)).ok_or_else(|| not(word, "a period from 100ms to 24h, like 500ms, 5s, 2m"))
}

fn order(word: Option<&str>) -> Read<Order> {
    let of = |low_word_first, low_byte_first| Order { low_word_first, low_byte_first };
    one_of(
        word.unwrap_or_default(),
        &["ABCD", "CDAB", "BADC", "DCBA"],
        &[of(false, false), of(true, false), of(false, true), of(true, true)],
    )
}

/// What manuals and other programs call them.
const OTHER_NAMES: [(&str, &str); 12] = [
    ("int16", "s16"),
    ("uint16", "u16"),
    ("int32", "s32"),
    ("uint32", "u32"),
    ("int64", "s64"),
    ("uint64", "u64"),
    ("i16", "s16"),
    ("i32", "s32"),
    ("i64", "s64"),
    ("float", "f32"),
    ("float32", "f32"),
    ("double", "f64"),
];
const TYPES: &str = "u16 s16 u32 s32 u64 s64 f32 f64 enum enum32 bits bits32 bits64, with a field of bits like u16[3..5] or bits[0]; \
                     coils and discrete inputs: bit or enum";

fn form(word: Option<&str>, function: Function, order: Order) -> Read<Form> {
    let word = word.unwrap_or_default();
    let (base, field) = match word.strip_suffix(']').and_then(|w| w.split_once('[')) {
        Some((base, field)) => (base, Some(field)),
        None => (word, None),
    };
    let (sort, encoding, words) = match base {
        "u16" => (Sort::Number, Encoding::Unsigned, 1),
        "s16" => (Sort::Number, Encoding::Signed, 1),
        "u32" => (Sort::Number, Encoding::Unsigned, 2),
        "s32" => (Sort::Number, Encoding::Signed, 2),
        "u64" => (Sort::Number, Encoding::Unsigned, 4),
        "s64" => (Sort::Number, Encoding::Signed, 4),
        "f32" => (Sort::Number, Encoding::Float, 2),
        "f64" => (Sort::Number, Encoding::Float, 4),
        "enum" => (Sort::Enumeration, Encoding::Unsigned, 1),
        "enum32" => (Sort::Enumeration, Encoding::Unsigned, 2),
        "bit" if function.of_bits() => (Sort::Bits, Encoding::Unsigned, 1),
        "bits" => (Sort::Bits, Encoding::Unsigned, 1),
        "bits32" => (Sort::Bits, Encoding::Unsigned, 2),
        "bits64" => (Sort::Bits, Encoding::Unsigned, 4),
        _ => return Err(no_type(word, base)),
    };
    let field = match field {
        _ if function.of_bits() && !(word == "bit" || word == "enum") => {
            return Err(format!("a coil or discrete input is \"bit\" or \"enum\", not \"{word}\""));
        }
        _ if function.of_bits() => Some((0, 0)),
        None => None,
        Some(_) if encoding == Encoding::Float => return Err(format!("\"{word}\": a float has no field of bits")),
        Some(field) => Some(
            bits(field, words * 16).ok_or_else(|| format!("\"{word}\": a field is [low..high] or [bit], within {} bits", words * 16))?,
        ),
    };
    let scale = Scale::Decimal(Decimal::new(1, 0));
    Ok(Form { sort, encoding, words, order, field, scale, offset: None, absent: Vec::new(), not_a_number: Absence::Unknown })
}

fn no_type(word: &str, base: &str) -> String {
    let other = OTHER_NAMES.iter().find(|(other, _)| base.eq_ignore_ascii_case(other)).map(|(_, ours)| *ours);
    // "u16" and "s16" are one letter apart: only longer names are guessed
    let slip = || nearest(base, &["enum", "enum32", "bits", "bits32", "bits64"]).filter(|_| base.len() > 3);
    match other.or_else(slip) {
        Some(meant) => format!("\"{word}\" is no type: write \"{}\"", word.replacen(base, meant, 1)),
        None => format!("\"{word}\" is no type; allowed: {TYPES}"),
    }
}

fn bits(field: &str, width: u16) -> Option<(u8, u8)> {
    let (low, high) = field.split_once("..").unwrap_or((field, field));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high && u16::from(high) < width).then_some((low, high))
}

/// The words `a=b` that follow.
fn pairs<'a, I: Iterator<Item = &'a str>>(words: Words<'_, 'a, I>) -> Read<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    while let Some((left, right)) = words.peek().and_then(|w| w.split_once('=')) {
        if right.is_empty() || right.chars().count() > TEXT_CHARS_MAX {
            return Err(format!("\"{left}=\" wants something behind it"));
        }
        pairs.push((left.to_owned(), right.to_owned()));
        words.next();
    }
    if pairs.is_empty() { Err("absent and values want words like 0x8000=sensor-fault behind them".into()) } else { Ok(pairs) }
}

/// A raw value as the device holds it; -1 is all ones.
fn code(word: &str, form: &Form) -> Read<u64> {
    let bits = form.bits();
    let number = integer(word).filter(|n| (-(1i128 << (bits - 1))..1i128 << bits).contains(n));
    number.map(|n| (n as u64) & (u64::MAX >> (64 - bits))).ok_or_else(|| not(word, &format!("a value of {bits} bits")))
}

fn absent(pairs: &[(String, String)], form: &mut Form) -> Read<Vec<(u64, Absence)>> {
    use Absence as A;
    const NAMES: [&str; 11] = [
        "not-measured",
        "not-at-this-resolution",
        "over-range",
        "under-range",
        "sensor-off",
        "sensor-fault",
        "device-error",
        "stale",
        "clock-fault",
        "not-configured",
        "unknown",
    ];
    const ALL: [Absence; 11] = [
        A::NotMeasured,
        A::NotAtThisResolution,
        A::OverRange,
        A::UnderRange,
        A::SensorOff,
        A::SensorFault,
        A::DeviceError,
        A::Stale,
        A::ClockFault,
        A::NotConfigured,
        A::Unknown,
    ];
    let mut codes = Vec::new();
    for (word, why) in pairs {
        let why = one_of(why, &NAMES, &ALL)?;
        if word == "nan" && form.encoding == Encoding::Float {
            form.not_a_number = why;
        } else {
            codes.push((code(word, form)?, why));
        }
    }
    Ok(codes)
}

/// What only makes sense together.
fn finish(form: &mut Form, row: &Tail, address: u16) -> Read<()> {
    if form.sort != Sort::Number && (row.scale.is_some() || form.offset.is_some() || !row.unit.is_empty()) {
        return Err("scale, offset and unit are for numbers".into());
    }
    if form.sort == Sort::Number && !row.values.is_empty() {
        return Err("values are for enum and bits".into());
    }
    if form.sort == Sort::Enumeration && form.bits() > 32 {
        return Err("an enumeration has at most 32 bits".into());
    }
    if address.checked_add(form.words - 1).is_none() {
        return Err("its last register lies behind 65535".into());
    }
    if let Some(scale) = &row.scale {
        form.scale = read_scale(scale, row.places)?;
    }
    match form.scale {
        Scale::Decimal(_) if row.places.is_some() => Err("places is for a scale like /512; a decimal scale has its own".into()),
        Scale::Ratio { .. } if form.encoding == Encoding::Float => Err("a float takes a decimal scale".into()),
        _ => Ok(()),
    }
}

fn read_scale(text: &str, places: Option<u8>) -> Read<Scale> {
    let wrong = || not(text, "a scale: 0.1, 1e-3, /512 or 3/7, and not 0");
    let Some((numerator, denominator)) = text.split_once('/') else {
        return Decimal::parse(text).filter(|d| d.mantissa != 0).map(Scale::Decimal).ok_or_else(wrong);
    };
    let numerator = if numerator.is_empty() { Some(1) } else { numerator.parse::<i64>().ok() };
    let numerator = numerator.filter(|n| *n != 0 && n.unsigned_abs() <= 1_000_000_000).ok_or_else(wrong)?;
    let denominator = denominator.parse::<u32>().ok().filter(|d| (1..=1_000_000_000).contains(d)).ok_or_else(wrong)?;
    Ok(Scale::Ratio { numerator, denominator, places: places.unwrap_or_else(|| places_for(numerator, denominator)) })
}

fn meaning(name: &str, form: &Form, row: &Tail) -> Description {
    let mut meaning = match form.sort {
        Sort::Number => Description::numeric(name, &row.unit),
        Sort::Enumeration => Description::enumeration(name),
        Sort::Bits => Description::bits(name),
    };
    meaning.code.clone_from(&row.code);
    if !row.label.is_empty() {
        meaning = meaning.fact("label", &row.label);
    }
    if let Scale::Ratio { .. } = form.scale {
        meaning = meaning.fact("resolution", row.scale.clone().unwrap_or_default());
    }
    let word = if form.sort == Sort::Bits { "bit" } else { "value" };
    row.values.iter().fold(meaning, |meaning, (n, text)| meaning.fact(&format!("{word}.{n}"), text))
}

fn alert_of(name: &str, form: &Form, row: &Tail) -> Read<Use> {
    let active = match (form.sort, row.is, row.when) {
        (Sort::Enumeration, Some(code), None) => Active::Code(code),
        (Sort::Bits, None, when) if form.bits() == 1 => Active::Bit(when.unwrap_or(true)),
        _ => return Err("an alert is one bit (bits[n], or bit of a coil or discrete input) or one code of an enum (enum is 3)".into()),
    };
    Ok(Use::Alert {
        text: if row.text.is_empty() { name.into() } else { row.text.clone() },
        priority: row.priority.unwrap_or(Priority::Low),
        concern: row.concern.unwrap_or(Concern::Technical),
        active,
    })
}
