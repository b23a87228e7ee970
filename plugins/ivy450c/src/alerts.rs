//! The alarms and messages on the monitor's screen, from text to text: which became active, which are gone. Pure.
//!
//! A line has two places for text. The last is for alarms. The one before is for labels, and the monitor also puts messages there:
//! `NO TRANSDUCER`, or `APNEA: 20 SEC` (beside a respiration rate of 35 and a moving wave: the limit that is set, not an apnea).
//! Both are forwarded as they stand, the second kind as information. The device tells no priority; see `classify`.

use wardgate_sdk::{Absence, Concern, Priority};

use crate::decode::Name;

const STATE_FORMAT: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Label,
    Alarm,
}

/// One text on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub line: Name,
    pub place: Place,
    /// Ties the states of one alert together.
    pub id: u32,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub shown: Shown,
    pub active: bool,
}

/// What is on the screen now; all that a restart must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    next: u32,
    active: Vec<Shown>,
}

impl Screen {
    /// Identifiers count on from `first`.
    pub fn blank(first: u32) -> Self {
        Self { next: first, active: Vec::new() }
    }

    /// What stands in one place now ("" for nothing). A text of which only digits changed (a countdown) is the same alert, said again.
    pub fn show(&mut self, line: Name, place: Place, text: &str, changes: &mut Vec<Change>) {
        let at = self.active.iter().position(|s| s.line == line && s.place == place);
        match at.map(|at| &mut self.active[at]) {
            Some(shown) if shown.text == text => return,
            Some(shown) if shape(&shown.text).eq(shape(text)) => {
                text.clone_into(&mut shown.text);
                return changes.push(Change { shown: shown.clone(), active: true });
            }
            _ => {}
        }
        if let Some(at) = at {
            changes.push(Change { shown: self.active.remove(at), active: false });
        }
        if !text.is_empty() {
            let shown = Shown { line, place, id: self.next, text: text.into() };
            self.next = self.next.wrapping_add(1);
            self.active.push(shown.clone());
            changes.push(Change { shown, active: true });
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![STATE_FORMAT];
        bytes.extend(self.next.to_le_bytes());
        for shown in &self.active {
            bytes.extend([shown.line as u8 * 2 + shown.place as u8, shown.text.len() as u8]);
            bytes.extend(shown.id.to_le_bytes());
            bytes.extend(shown.text.as_bytes());
        }
        bytes
    }

    /// `None` when these are not bytes of `to_bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (next, mut rest) = bytes.strip_prefix(&[STATE_FORMAT])?.split_first_chunk()?;
        let mut screen = Self::blank(u32::from_le_bytes(*next));
        while let Some(([slot, length], tail)) = rest.split_first_chunk() {
            let (id, tail) = tail.split_first_chunk()?;
            let (text, tail) = tail.split_at_checked((*length).into())?;
            let line = *Name::ALL.get(usize::from(slot / 2))?;
            let place = if slot % 2 == 0 { Place::Label } else { Place::Alarm };
            let text = String::from_utf8(text.to_vec()).ok()?;
            if screen.active.iter().any(|s| s.line == line && s.place == place) {
                return None;
            }
            screen.active.push(Shown { line, place, id: u32::from_le_bytes(*id), text });
            rest = tail;
        }
        rest.is_empty().then_some(screen)
    }
}

/// A text with its numbers left out.
fn shape(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_ascii_digit())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty())
}

fn any(text: &str, stems: &[&str]) -> bool {
    words(text).any(|word| stems.iter().any(|stem| word.starts_with(stem)))
}

const EQUIPMENT: [&str; 21] = [
    "TRANSDUCER",
    "SENSOR",
    "PROBE",
    "LEAD",
    "CABLE",
    "CUFF",
    "ELECTRODE",
    "CAL",
    "ZERO",
    "FAIL",
    "FAULT",
    "ERROR",
    "DEFECT",
    "BATTERY",
    "CHECK",
    "DISCONNECT",
    "UNPLUG",
    "SEARCH",
    "INTERFERENCE",
    "ARTIFACT",
    "LEAK",
];
const GRAVE: [&str; 6] = ["ASYSTOLE", "APNEA", "VFIB", "VTACH", "ARREST", "FIBRILLATION"];

/// Words about equipment make it technical, all else is about the patient. The contract wants a priority and the monitor tells none:
/// information in a label's place; in an alarm's place low when technical, high for the words of arrest and apnea, else medium.
pub fn classify(place: Place, text: &str) -> (Priority, Concern) {
    let concern = if any(text, &EQUIPMENT) { Concern::Technical } else { Concern::Physiological };
    let priority = match (place, concern) {
        (Place::Label, _) => Priority::Information,
        (Place::Alarm, Concern::Technical) => Priority::Low,
        (Place::Alarm, _) if any(text, &GRAVE) => Priority::High,
        (Place::Alarm, _) => Priority::Medium,
    };
    (priority, concern)
}

const PARTS: [&str; 8] = ["TRANSDUCER", "SENSOR", "PROBE", "LEAD", "LEADS", "CABLE", "FINGER", "ELECTRODE"];

/// Why a line has no value, as far as its texts tell.
pub fn absence(texts: [&str; 2]) -> Absence {
    let off = |text: &str| {
        let pairs = words(text).zip(words(text).skip(1));
        any(text, &["DISCONNECT", "UNPLUG"])
            || pairs.into_iter().any(|(a, b)| (a == "NO" && PARTS.contains(&b)) || (PARTS.contains(&a) && (b == "OFF" || b == "OUT")))
    };
    let broken = |text: &str| any(text, &["FAIL", "FAULT", "ERROR", "DEFECT"]);
    match texts {
        [a, b] if off(a) || off(b) => Absence::SensorOff,
        [a, b] if broken(a) || broken(b) => Absence::SensorFault,
        _ => Absence::NotMeasured, // an empty place: the monitor has no value and does not say why
    }
}

/// Short labels name what is measured (ART, CVP); a text with a blank in it is a message.
pub fn is_label(line: Name, text: &str) -> bool {
    match line {
        Name::Hr => text.starts_with("ECG"),
        Name::P1 | Name::P2 | Name::T1 | Name::T2 => text.len() <= 4 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
        _ => false,
    }
}
