//! What an Ivy 450C monitor says each second, made up: an ECG whose beats, leads and gain change, breath, pulse and pressures that go
//! with it, numerics that drift, sensors that come off, alarms that come and go. A pure function of bed and second.
//!
//! A message: FF, "ANSAR-B ", 200 ECG samples and 50 each of respiration, pleth, P1 and P2, lines `NAME=n;n values;label;alarm` each
//! ended by CR, FE.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::{IVY450C_VALUES, Message, Said};
use crate::sim::Dice;

const ECG_HZ: usize = 200;
const SLOW_HZ: usize = 50;
const TOP: f64 = 250.0; // FE and FF are the frame's; 251 is a channel without its transducer
const NO_TRANSDUCER: u8 = 251;

/// The patient and the nurse, as far as a monitor shows them.
struct Bed {
    heart: f64,
    breath: f64,
    systolic: f64,
    diastolic: f64,
    saturation: i64,
    /// Moves this bed's episodes against the others'.
    shift: u64,
    has_p2: bool,
    has_co2: bool,
}

/// What this second is like.
struct Second {
    lead: &'static str,
    gain: f64,
    heart: f64,
    ecg_off: bool,
    finger_off: bool,
    tachycardia: bool,
    low_saturation: bool,
}

pub fn message(bed: u64, n: u64) -> Message {
    let b = Bed::of(bed);
    let s = b.second(n);
    let mut dice = Dice::new(bed.wrapping_mul(0x1_0001).wrapping_add(n));
    let waves = waves(&b, &s, n, &mut dice);
    let lines = lines(&b, &s, n);
    let mut bytes = vec![0xFF];
    bytes.extend(b"ANSAR-B ");
    for (_, wave) in &waves {
        bytes.extend(wave);
    }
    let mut said = Said {
        n,
        monotonic_ns: 0,
        damage: None,
        line: None,
        waves: waves.into_iter().map(|(name, wave)| (name.to_owned(), wave)).collect(),
        numerics: BTreeMap::new(),
        labels: BTreeMap::new(),
        alarms: BTreeMap::new(),
        values: IVY450C_VALUES,
        unread: 0,
    };
    for line in lines {
        line.write(&mut bytes, &mut said);
    }
    bytes.push(0xFE);
    Message { bytes, said }
}

impl Bed {
    fn of(bed: u64) -> Self {
        let mut d = Dice::new(bed.wrapping_add(0xBED));
        Self {
            heart: 58.0 + d.below(42) as f64,
            breath: 10.0 + d.below(14) as f64,
            systolic: 105.0 + d.below(40) as f64,
            diastolic: 60.0 + d.below(22) as f64,
            saturation: 93 + d.below(7) as i64,
            shift: d.below(97),
            has_p2: d.below(2) == 1,
            has_co2: d.below(2) == 1,
        }
    }

    fn second(&self, n: u64) -> Second {
        let t = n + self.shift;
        let tachycardia = t % 61 >= 47;
        Second {
            lead: ["ECG-II-DIAG", "ECG-I-MON", "ECG-V-DIAG"][(t / 37 % 3) as usize],
            gain: [1.0, 0.5, 1.6][(t / 53 % 3) as usize],
            heart: self.heart + 4.0 * (t as f64 / 19.0).sin() + if tachycardia { 55.0 } else { 0.0 },
            ecg_off: t % 113 >= 109,
            finger_off: t % 43 >= 38,
            tachycardia,
            low_saturation: t % 71 >= 63,
        }
    }
}

fn waves(b: &Bed, s: &Second, n: u64, dice: &mut Dice) -> [(&'static str, Vec<u8>); 5] {
    let mut wave = |hz: usize, of: &dyn Fn(f64, f64) -> f64| -> Vec<u8> {
        (0..hz).map(|k| of(n as f64 + k as f64 / hz as f64, dice.swing()).round().clamp(0.0, TOP) as u8).collect()
    };
    let beat = |t: f64| (t * s.heart / 60.0).fract();
    let breath = |t: f64| (t * b.breath / 60.0 * TAU).sin();
    let ecg = if s.ecg_off {
        wave(ECG_HZ, &|_, noise| 100.0 + 2.0 * noise)
    } else {
        wave(ECG_HZ, &|t, noise| 100.0 + s.gain * (110.0 * heartbeat(beat(t)) + 5.0 * breath(t) + 1.5 * noise))
    };
    let resp = wave(SLOW_HZ, &|t, noise| 120.0 + 85.0 * breath(t) + 1.2 * noise);
    let pleth = match s.finger_off {
        true => wave(SLOW_HZ, &|_, _| 86.0),
        false => wave(SLOW_HZ, &|t, noise| 86.0 + 60.0 * pulse(beat(t - 0.2)) + 0.8 * noise),
    };
    let p1 = wave(SLOW_HZ, &|t, noise| b.diastolic + (b.systolic - b.diastolic) * pulse(beat(t - 0.1)) + 0.6 * noise);
    let p2 = match b.has_p2 {
        true => wave(SLOW_HZ, &|t, noise| 9.0 + 3.0 * breath(t) + 0.7 * noise),
        false => vec![NO_TRANSDUCER; SLOW_HZ],
    };
    [("ecg", ecg), ("resp", resp), ("pleth", pleth), ("p1", p1), ("p2", p2)]
}

/// P, Q, R, S and T over one beat.
fn heartbeat(phase: f64) -> f64 {
    let hill = |at: f64, width: f64, height: f64| height * (-((phase - at) / width).powi(2)).exp();
    hill(0.18, 0.030, 0.12) + hill(0.28, 0.010, -0.12) + hill(0.30, 0.012, 1.0) + hill(0.325, 0.012, -0.25) + hill(0.52, 0.060, 0.28)
}

/// Upstroke, fall and dicrotic notch, 0 to 1.
fn pulse(phase: f64) -> f64 {
    let up = (phase / 0.15).min(1.0);
    let down = if phase < 0.15 { 1.0 } else { (-(phase - 0.15) / 0.28).exp() };
    let notch = 0.12 * (-((phase - 0.45) / 0.05).powi(2)).exp();
    (up * down + notch).clamp(0.0, 1.0)
}

struct Line {
    name: &'static str,
    values: Vec<Option<String>>,
    label: String,
    alarm: &'static str,
}

fn lines(b: &Bed, s: &Second, n: u64) -> Vec<Line> {
    let some = |v: f64| Some(format!("{}", v.round() as i64));
    let line = |name, values: Vec<Option<String>>, label: &str, alarm| Line { name, values, label: label.into(), alarm };
    let drift = 3.0 * (n as f64 / 31.0).sin();
    let (sys, dia) = (b.systolic + drift, b.diastolic + drift / 2.0);
    let spo2 = b.saturation - if s.low_saturation { 9 } else { 0 };
    let cuff = (n / 90) as f64; // one inflation in 90 s, its values repeated until the next
    let hr_alarm = if s.ecg_off {
        "LEAD OFF"
    } else if s.tachycardia {
        "HR HIGH"
    } else {
        ""
    };
    let spo2_alarm = if s.finger_off {
        "CHECK PROBE"
    } else if s.low_saturation {
        "SPO2 LOW"
    } else {
        ""
    };
    // The pulse rate stands in the label of its line, padded to three places.
    let pr = if s.finger_off { String::new() } else { format!("PR={:<3}", s.heart.round() as i64) };
    vec![
        line("HR", vec![(!s.ecg_off).then(|| some(s.heart)).flatten()], s.lead, hr_alarm),
        line("RR", vec![some(b.breath + drift / 3.0)], "APNEA: 20 SEC", ""),
        line("ETCO2", vec![b.has_co2.then(|| some(36.0 + drift)).flatten()], "", ""),
        line("SPO2", vec![(!s.finger_off).then(|| spo2.min(100).to_string())], &pr, spo2_alarm),
        line("NIBP", vec![some(sys + 6.0 + cuff), some(dia + cuff), some((sys + 2.0 * dia) / 3.0 + cuff), some(b.heart)], "", ""),
        line("P1", vec![some(sys), some(dia), some((sys + 2.0 * dia) / 3.0)], "", if sys > 140.0 { "P1 HIGH" } else { "" }),
        match b.has_p2 {
            true => line("P2", vec![some(12.0), some(6.0), some(9.0 + drift / 3.0)], "CVP", ""),
            false => line("P2", vec![None, None, None], "NO TRANSDUCER", ""),
        },
        line("T1", vec![Some(format!("{:.1}", 36.8 + drift / 10.0))], "", ""),
        line("T2", vec![None], "", ""),
    ]
}

impl Line {
    fn write(self, bytes: &mut Vec<u8>, said: &mut Said) {
        let values: Vec<&str> = self.values.iter().map(|v| v.as_deref().unwrap_or_default()).collect();
        bytes.extend(format!("{}={};{};{};{}\r", self.name, values.len(), values.join(";"), self.label, self.alarm).bytes());
        let mut numerics = self.values;
        let mut label = self.label;
        if self.name == "SPO2" {
            numerics.push(label.strip_prefix("PR=").map(|pr| pr.trim().to_owned()));
            label.clear();
        }
        said.numerics.insert(self.name.into(), numerics);
        if !label.is_empty() {
            said.labels.insert(self.name.into(), label);
        }
        if !self.alarm.is_empty() {
            said.alarms.insert(self.name.into(), self.alarm.into());
        }
    }
}
