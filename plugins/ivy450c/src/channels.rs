//! The monitor's channels and what they mean. Pure.
//!
//! Scales: the maker publishes none. P1 is in mmHg, one count each: in all 27 messages of the capture its bytes run from the diastolic
//! to the systolic value that the text says (73 to 111). P2 is described alike. The others are the screen's own counts; 100 (ECG) and 86
//! (pleth) are the baselines that a public driver subtracts.

use wardgate_sdk::{Channel, Decimal, Description, mdc};

use crate::decode::{Name, WAVES};

/// Channels 0 to 4 are the waves, in the order of the message.
pub const WAVE_LINES: [Name; 5] = [Name::Hr, Name::Rr, Name::Spo2, Name::P1, Name::P2];
const COUNTS: &str = "{count}";
const MMHG: &str = "mm[Hg]";

/// A line's values: first channel, and name, unit and MDC code of each.
pub struct Numerics {
    pub first: Channel,
    pub values: &'static [(&'static str, &'static str, u32)],
}

pub fn numerics(line: Name) -> Numerics {
    let of = |first, values| Numerics { first, values };
    match line {
        Name::Hr => of(5, &[("hr", "/min", 147_842)]),
        Name::Rr => of(6, &[("rr", "/min", 151_562)]),
        Name::Etco2 => of(7, &[("etco2", "", 151_728)]),
        Name::Spo2 => of(8, &[("spo2", "%", 150_456), ("pr", "/min", 149_530)]),
        Name::Nibp => {
            of(10, &[("nibp-sys", MMHG, 150_021), ("nibp-dia", MMHG, 150_022), ("nibp-mean", MMHG, 150_023), ("nibp-pr", "/min", 149_546)])
        }
        Name::P1 => of(14, &[("p1-sys", MMHG, 150_017), ("p1-dia", MMHG, 150_018), ("p1-mean", MMHG, 150_019)]),
        Name::P2 => of(17, &[("p2-sys", MMHG, 150_017), ("p2-dia", MMHG, 150_018), ("p2-mean", MMHG, 150_019)]),
        Name::T1 => of(20, &[("t1", "", 150_344)]),
        Name::T2 => of(21, &[("t2", "", 150_344)]),
    }
}

/// Units that the monitor does not tell, from the settings.
#[derive(Clone, Debug, Default)]
pub struct Units {
    pub co2: String,
    pub temperature: String,
}

/// All channels of a line's values, described.
pub fn describe_numerics(line: Name, label: &str, units: &Units) -> Vec<(Channel, Description)> {
    let Numerics { first, values } = numerics(line);
    let describe = |(n, (name, unit, code)): (usize, &(&str, &str, u32))| {
        let unit = match line {
            Name::Etco2 => &units.co2,
            Name::T1 | Name::T2 => &units.temperature,
            _ => *unit,
        };
        let mut meaning = Description::numeric(name, unit).code(mdc(*code));
        if unit.is_empty() {
            meaning = meaning.fact("unit", "not told by the monitor");
        }
        if line == Name::Nibp {
            meaning = meaning.fact("repeated", "the last inflation's value comes again in every message");
        }
        if !label.is_empty() {
            meaning = meaning.fact("label", label);
        }
        (first + n as Channel, meaning)
    };
    values.iter().enumerate().map(describe).collect()
}

/// Wave `n` of `WAVES`; `label` is what its line calls it.
pub fn describe_wave(n: usize, label: &str) -> Description {
    let one = Decimal::new(1, 0);
    let counts = |name, offset, code| {
        Description::waveform(name, COUNTS, one, Decimal::new(offset, 0), (1, WAVES[n] as u32), 8)
            .code(mdc(code))
            .fact("scale", "not published: counts of the monitor's screen")
    };
    let pressure = |name| Description::waveform(name, MMHG, one, Decimal::new(0, 0), (1, WAVES[n] as u32), 8).code(mdc(150_016));
    match n {
        0 => ecg(counts("ecg", -100, lead(label).1), label),
        1 => counts("resp", 0, 151_552),
        2 => counts("pleth", -86, 150_452),
        3 => labelled(pressure("p1"), label),
        _ => labelled(pressure("p2"), label),
    }
}

fn labelled(meaning: Description, label: &str) -> Description {
    if label.is_empty() { meaning } else { meaning.fact("label", label) }
}

/// "ECG-II-DIAG": lead II, filter DIAG.
fn ecg(meaning: Description, label: &str) -> Description {
    if label.is_empty() {
        return meaning.fact("lead", "not told yet");
    }
    let meaning = meaning.fact("label", label).fact("lead", lead(label).0);
    match label.splitn(3, '-').nth(2) {
        Some(filter) => meaning.fact("filter", filter),
        None => meaning,
    }
}

fn lead(label: &str) -> (&str, u32) {
    let name = label.split('-').nth(1).unwrap_or("unknown");
    let code = match name {
        "I" => 131_329,
        "II" => 131_330,
        "III" => 131_389,
        "AVR" | "aVR" => 131_390,
        "AVL" | "aVL" => 131_391,
        "AVF" | "aVF" => 131_392,
        "V" => 131_395,
        _ => 131_328, // an electric potential of the heart, lead not told
    };
    (name, code)
}
