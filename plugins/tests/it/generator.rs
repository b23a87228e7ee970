//! Makes streams that an ANSAR-B monitor could send. Written from the protocol's description; shares no code with the plugin.

use crate::random::Random;

/// One second of the monitor. Texts are as they stand on the line.
#[derive(Clone, Debug)]
pub struct Second {
    pub waves: Vec<u8>,
    pub hr: (String, String, String),
    pub rr: (String, String, String),
    pub etco2: (String, String, String),
    pub spo2: (String, String, String),
    pub nibp: ([String; 4], String, String),
    pub p1: ([String; 3], String, String),
    pub p2: ([String; 3], String, String),
    pub t1: (String, String, String),
    pub t2: (String, String, String),
}

fn s(text: &str) -> String {
    text.into()
}

fn line(value: &str, label: &str, alarm: &str) -> (String, String, String) {
    (s(value), s(label), s(alarm))
}

impl Second {
    /// What the real capture looks like, with a wave of its own.
    pub fn usual(n: usize) -> Self {
        let waves = (0..400).map(|i| (100.0 + 60.0 * ((n * 400 + i) as f64 / 17.0).sin()) as u8).collect();
        Self {
            waves,
            hr: line("80", "ECG-II-DIAG", ""),
            rr: line("35", "APNEA: 20 SEC", ""),
            etco2: line("", "", ""),
            spo2: line("100", "PR=80 ", ""),
            nibp: (["121", "75", "92", "80"].map(s), s(""), s("")),
            p1: (["111", "73", "88"].map(s), s(""), s("")),
            p2: ([(); 3].map(|()| s("")), s("NO TRANSDUCER"), s("")),
            t1: line("", "", ""),
            t2: line("", "", ""),
        }
    }

    /// Other numbers, gains, leads, sites and alarms, any byte in the waves but the two that frame a message.
    pub fn any(random: &mut Random) -> Self {
        let number = |random: &mut Random, max: usize| if random.below(4) == 0 { s("") } else { random.below(max).to_string() };
        let pick = |random: &mut Random, all: &[&str]| s(all[random.below(all.len())]);
        let three = |random: &mut Random| [(); 3].map(|()| number(random, 300));
        let alarms = ["", "", "", "HIGH", "LOW", "LEADS OFF", "APNEA", "PROBE OFF", "CHECK SENSOR", "ASYSTOLE", "CAL FAIL"];
        let sites = ["", "ART", "CVP", "PA", "NO TRANSDUCER", "ZERO REQUIRED"];
        let degrees =
            |random: &mut Random| if random.below(3) == 0 { s("") } else { format!("{}.{}", 30 + random.below(12), random.below(10)) };
        Self {
            waves: (0..400).map(|_| (random.next() % 0xFE) as u8).collect(),
            hr: (number(random, 300), pick(random, &["ECG-I-MON", "ECG-II-DIAG", "ECG-III-ESU", "ECG-V-DIAG"]), pick(random, &alarms)),
            rr: (number(random, 150), pick(random, &["", "APNEA: 10 SEC", "APNEA: OFF"]), pick(random, &alarms)),
            etco2: (number(random, 99), s(""), pick(random, &alarms)),
            spo2: (number(random, 101), format!("PR={} ", number(random, 250)), pick(random, &alarms)),
            nibp: ([(); 4].map(|()| number(random, 260)), pick(random, &["", "MANUAL", "CUFF LEAK"]), pick(random, &alarms)),
            p1: (three(random), pick(random, &sites), pick(random, &alarms)),
            p2: (three(random), pick(random, &sites), pick(random, &alarms)),
            t1: (degrees(random), pick(random, &["", "SKIN"]), pick(random, &alarms)),
            t2: (degrees(random), s(""), pick(random, &alarms)),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0xFF];
        out.extend(b"ANSAR-B ");
        out.extend(&self.waves);
        for (name, (value, label, alarm)) in [("HR", &self.hr), ("RR", &self.rr), ("ETCO2", &self.etco2), ("SPO2", &self.spo2)] {
            out.extend(format!("{name}=1;{value};{label};{alarm}\r").bytes());
        }
        out.extend(format!("NIBP=4;{};{};{}\r", self.nibp.0.join(";"), self.nibp.1, self.nibp.2).bytes());
        for (name, (values, label, alarm)) in [("P1", &self.p1), ("P2", &self.p2)] {
            out.extend(format!("{name}=3;{};{label};{alarm}\r", values.join(";")).bytes());
        }
        for (name, (value, label, alarm)) in [("T1", &self.t1), ("T2", &self.t2)] {
            out.extend(format!("{name}=1;{value};{label};{alarm}\r").bytes());
        }
        out.push(0xFE);
        out
    }

    /// The 17 values in the order of the lines, "" for none.
    pub fn values(&self) -> Vec<String> {
        let pulse = self.spo2.1.trim_start_matches("PR=").trim();
        let mut values = vec![s(&self.hr.0), s(&self.rr.0), s(&self.etco2.0), s(&self.spo2.0), s(pulse)];
        values.extend(self.nibp.0.iter().chain(&self.p1.0).chain(&self.p2.0).cloned());
        values.extend([s(&self.t1.0), s(&self.t2.0)]);
        values
    }
}
