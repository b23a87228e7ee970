//! Values that a peripheral could send, for any flags, with what must be read. Written from the services' tables of fields; shares no
//! code with the plugins.

use crate::random::Random;

const BASE: u128 = 0x1000_8000_0080_5f9b_34fb;

pub struct Made {
    pub uuid: u128,
    pub bytes: Vec<u8>,
    /// What the plugin says, in any order.
    pub expected: Vec<String>,
}

/// One value under construction.
struct Maker<'a> {
    random: &'a mut Random,
    bytes: Vec<u8>,
    lines: Vec<String>,
}

pub type Layout = fn(&mut Random, u8) -> Made;

/// Characteristic, its number of flags, and its maker.
pub const LAYOUTS: [(&str, u32, Layout); 12] = [
    ("2a37", 5, heart_rate),
    ("2a1c", 3, thermometer),
    ("2a1e", 3, intermediate_temperature),
    ("2a35", 5, blood_pressure),
    ("2a36", 5, cuff_pressure),
    ("2a5e", 5, spot),
    ("2a5f", 5, continuous),
    ("2a9d", 4, weight),
    ("2a53", 3, activity),
    ("2a18", 5, glucose),
    ("2a34", 8, glucose_context),
    ("2aa7", 8, continuous_glucose),
];

const TIMES: [([u8; 7], Result<i64, &str>); 6] = [
    ([0xdc, 0x07, 12, 5, 11, 50, 27], Ok(1_354_708_227)),
    ([0xe3, 0x07, 2, 27, 11, 10, 30], Ok(1_551_265_830)),
    ([0xe8, 0x07, 2, 29, 23, 59, 59], Ok(1_709_251_199)),
    ([0xe9, 0x07, 2, 29, 0, 0, 0], Err("2025-02-29T00:00:00")),
    ([0, 0, 4, 17, 20, 41, 59], Err("0000-04-17T20:41:59")),
    ([0xe3, 0x07, 13, 1, 0, 0, 60], Err("2019-13-01T00:00:60")),
];

const SPECIAL: [(i32, &str); 5] = [
    (-1, "absent NotMeasured"),
    (-2, "absent OverRange"),
    (0, "absent NotAtThisResolution"),
    (1, "absent Unknown"),
    (2, "absent UnderRange"),
];

impl Maker<'_> {
    fn u8(&mut self) -> u8 {
        let value = self.random.next() as u8;
        self.bytes.push(value);
        value
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u24(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u8()) << 16
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    /// A number with `bits` of mantissa and the rest of exponent, as text.
    fn float(&mut self, bits: u32, exponents: i32, bytes: usize) -> String {
        let high = 1i32 << (bits - 1);
        let (mantissa, exponent, text) = if self.random.below(6) == 0 {
            let (from, text) = SPECIAL[self.random.below(5)];
            (if from < 0 { high + from } else { from - high }, 0, text.to_owned())
        } else {
            let exponent = self.random.below(2 * exponents as usize) as i32 - exponents;
            let mantissa = self.random.next() as i32 % (high - 3);
            (mantissa, exponent, format!("{mantissa}e{exponent}"))
        };
        let word = (exponent << bits) as u32 | (mantissa as u32 & ((1 << bits) - 1));
        self.bytes.extend(&word.to_le_bytes()[..bytes]);
        text
    }

    fn sfloat(&mut self) -> String {
        self.float(12, 8, 2)
    }

    fn time(&mut self) -> Result<i64, &'static str> {
        let (bytes, told) = TIMES[self.random.below(TIMES.len())];
        self.bytes.extend(bytes);
        told
    }

    fn say(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Every line has the time, or one of them is the time.
    fn stamp(&mut self, time: Option<Result<i64, &str>>) {
        match time {
            Some(Ok(seconds)) => self.lines.iter_mut().for_each(|line| line.push_str(&format!(" at local {seconds}"))),
            Some(Err(words)) => self.say(format!("device-time {words}")),
            None => {}
        }
    }
}

fn make(random: &mut Random, uuid: u128, flags: u8, fill: impl FnOnce(&mut Maker<'_>)) -> Made {
    let mut maker = Maker { random, bytes: vec![flags], lines: Vec::new() };
    fill(&mut maker);
    Made { uuid: uuid << 96 | BASE, bytes: maker.bytes, expected: maker.lines }
}

fn has(flags: u8, bit: u8) -> bool {
    flags >> bit & 1 == 1
}

fn heart_rate(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a37, flags, |m| {
        let rate = if has(flags, 0) { m.u16() } else { m.u8().into() };
        let contact = flags >> 1 & 3;
        let doubt = if contact == 2 { " [questionable]" } else { "" };
        m.say(format!("heart-rate {rate}e0 /min{doubt}"));
        if contact >= 2 {
            m.say(format!("contact code {contact}"));
        }
        if has(flags, 3) {
            let energy = m.u16();
            m.say(if energy == 0xffff { "energy-expended absent OverRange kJ".into() } else { format!("energy-expended {energy}e0 kJ") });
        }
        for _ in 0..if has(flags, 4) { 1 + m.random.below(6) } else { 0 } {
            let interval = m.u16();
            m.say(format!("rr-interval {}e-10 s{doubt}", u64::from(interval) * 10_000_000_000 / 1024));
        }
    })
}

fn thermometer(random: &mut Random, flags: u8) -> Made {
    temperature(random, 0x2a1c, flags, "")
}

fn intermediate_temperature(random: &mut Random, flags: u8) -> Made {
    temperature(random, 0x2a1e, flags, " [ongoing]")
}

fn temperature(random: &mut Random, uuid: u128, flags: u8, quality: &str) -> Made {
    make(random, uuid, flags, |m| {
        let value = m.float(24, 128, 4);
        m.say(format!("temperature {value} {}{quality}", if has(flags, 0) { "[degF]" } else { "Cel" }));
        let time = has(flags, 1).then(|| m.time());
        if has(flags, 2) {
            let place = m.u8();
            m.say(format!("body-site code {place}"));
        }
        m.stamp(time);
    })
}

fn blood_pressure(random: &mut Random, flags: u8) -> Made {
    pressure(random, 0x2a35, flags)
}

fn cuff_pressure(random: &mut Random, flags: u8) -> Made {
    pressure(random, 0x2a36, flags)
}

fn pressure(random: &mut Random, uuid: u128, flags: u8) -> Made {
    make(random, uuid, flags, |m| {
        let unit = if has(flags, 0) { "kPa" } else { "mm[Hg]" };
        let values = [m.sfloat(), m.sfloat(), m.sfloat()];
        let time = has(flags, 1).then(|| m.time());
        let pulse = has(flags, 2).then(|| m.sfloat());
        let user = has(flags, 3).then(|| m.u8());
        let status = has(flags, 4).then(|| m.u16());
        let doubt = status.is_some_and(|s| s & 0b10_0011 != 0).then_some("questionable");
        let quality = |more: Option<&'static str>| {
            let all: Vec<_> = doubt.into_iter().chain(more).collect();
            if all.is_empty() { String::new() } else { format!(" [{}]", all.join(" ")) }
        };
        if uuid == 0x2a36 {
            m.say(format!("cuff-pressure {} {unit}{}", values[0], quality(Some("ongoing"))));
        } else {
            for (name, value) in ["systolic", "diastolic", "mean"].iter().zip(values) {
                m.say(format!("{name} {value} {unit}{}", quality(None)));
            }
        }
        if let Some(pulse) = pulse {
            m.say(format!("pulse-rate {pulse} /min{}", quality(None)));
        }
        if let Some(user) = user {
            m.say(format!("user code {user}"));
        }
        if let Some(status) = status {
            m.say(format!("measurement-status bits {status:#x}"));
        }
        m.stamp(time);
    })
}

/// Quality and reason by the two status fields.
fn oximeter(m: &mut Maker<'_>, values: Vec<(&str, String, &str)>, measured: Option<u16>, sensor: Option<u32>) {
    // in the contract's order
    let names = [
        (15, "invalid"),
        (14, "questionable"),
        (13, "unavailable"),
        (12, "calibrating"),
        (11, "test"),
        (10, "demo"),
        (7, "validated"),
        (6, "early"),
        (5, "ongoing"),
    ];
    // malfunction, irregular, inadequate, poor; erratic, without pulse, questionable; interference, off, unknown, displaced, broken, disconnected
    let doubt = [1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 13, 14, 15].iter().any(|bit| sensor.unwrap_or(0) >> bit & 1 == 1);
    let bits = measured.unwrap_or(0) | if doubt { 1 << 14 } else { 0 };
    let all: Vec<_> = names.iter().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect();
    let quality = if all.is_empty() { String::new() } else { format!(" [{}]", all.join(" ")) };
    let why = match sensor.unwrap_or(0) {
        s if s & 0x8800 != 0 => "absent SensorOff",
        s if s & 0x4002 != 0 => "absent SensorFault",
        _ => "absent NotMeasured",
    };
    for (name, value, unit) in values {
        let value = if value == "absent NotMeasured" { why.to_owned() } else { value };
        m.say(format!("{name} {value} {unit}{quality}"));
    }
    if let Some(status) = measured {
        m.say(format!("measurement-status bits {status:#x}"));
    }
    if let Some(status) = sensor {
        m.say(format!("sensor-status bits {status:#x}"));
    }
}

fn in_words(time: &[u8]) -> String {
    let [low, high, month, day, hour, minute, second] = time[..] else { panic!("seven octets") };
    let year = u16::from_le_bytes([low, high]);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn spot(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a5e, flags, |m| {
        let mut values = vec![("spo2", m.sfloat(), "%"), ("pulse-rate", m.sfloat(), "/min")];
        let mut time = has(flags, 0).then(|| m.time());
        let words = m.bytes[m.bytes.len().saturating_sub(7)..].to_vec();
        let (measured, sensor) = (has(flags, 1).then(|| m.u16()), has(flags, 2).then(|| m.u24()));
        if has(flags, 3) {
            values.push(("pulse-amplitude-index", m.sfloat(), "%"));
        }
        oximeter(m, values, measured, sensor);
        if has(flags, 4) && time.take().is_some() {
            m.say(format!("device-time {}", in_words(&words)));
        }
        m.stamp(time);
    })
}

fn continuous(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a5f, flags, |m| {
        let mut values = vec![("spo2", m.sfloat(), "%"), ("pulse-rate", m.sfloat(), "/min")];
        for (bit, spo2, pulse) in [(0, "spo2-fast", "pulse-rate-fast"), (1, "spo2-slow", "pulse-rate-slow")] {
            if has(flags, bit) {
                values.extend([(spo2, m.sfloat(), "%"), (pulse, m.sfloat(), "/min")]);
            }
        }
        let (measured, sensor) = (has(flags, 2).then(|| m.u16()), has(flags, 3).then(|| m.u24()));
        if has(flags, 4) {
            values.push(("pulse-amplitude-index", m.sfloat(), "%"));
        }
        oximeter(m, values, measured, sensor);
    })
}

fn weight(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a9d, flags, |m| {
        let imperial = has(flags, 0);
        let count = if m.random.below(8) == 0 {
            m.bytes.extend([0xff, 0xff]);
            0xffff
        } else {
            m.u16()
        };
        let unit = if imperial { "[lb_av]" } else { "kg" };
        m.say(match count {
            0xffff => format!("weight absent NotMeasured {unit}"),
            n if imperial => format!("weight {n}e-2 {unit}"),
            n => format!("weight {}e-3 {unit}", u32::from(n) * 5),
        });
        let time = has(flags, 1).then(|| m.time());
        if has(flags, 2) {
            let user = m.u8();
            m.say(format!("user code {user}"));
        }
        if has(flags, 3) {
            let (bmi, height) = (m.u16(), m.u16());
            m.say(format!("bmi {bmi}e-1 kg/m2"));
            m.say(if imperial { format!("height {height}e-1 [in_i]") } else { format!("height {height}e-3 m") });
        }
        m.stamp(time);
    })
}

fn activity(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a53, flags, |m| {
        let (speed, cadence) = (m.u16(), m.u8());
        m.say(format!("speed {}e-8 m/s", u64::from(speed) * 100_000_000 / 256));
        m.say(format!("cadence {cadence}e0 /min"));
        if has(flags, 0) {
            let stride = m.u16();
            m.say(format!("stride-length {stride}e-2 m"));
        }
        if has(flags, 1) {
            let distance = m.u32();
            m.say(format!("total-distance {distance}e-1 m"));
        }
        m.say(format!("gait code {}", flags >> 2 & 1));
    })
}

fn glucose(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a18, flags, |m| {
        let sequence = m.u16();
        let time = m.time();
        let offset = has(flags, 0).then(|| match m.random.below(5) {
            0 => {
                m.bytes.extend([0xff, 0x7f]);
                i16::MAX
            }
            1 => {
                m.bytes.extend([0x00, 0x80]);
                i16::MIN
            }
            _ => m.u16() as i16,
        });
        let sample = has(flags, 1).then(|| (m.sfloat(), m.u8()));
        let status = has(flags, 3).then(|| m.u16());
        let bits = status.unwrap_or(0);
        if let Some((value, sampled)) = sample {
            let why = match bits {
                s if s & 1 << 5 != 0 => "absent OverRange",
                s if s & 1 << 6 != 0 => "absent UnderRange",
                s if s & 0x402 != 0 => "absent SensorFault",
                _ => "absent NotMeasured",
            };
            let value = if value == "absent NotMeasured" { why.to_owned() } else { value };
            let quality: Vec<_> =
                [(bits & 0b111_1001_1110 != 0).then_some("questionable"), (sampled & 15 == 10 || sampled >> 4 == 4).then_some("test")]
                    .into_iter()
                    .flatten()
                    .collect();
            let quality = if quality.is_empty() { String::new() } else { format!(" [{}]", quality.join(" ")) };
            m.say(format!("glucose {value} {}{quality}", if has(flags, 2) { "mol/L" } else { "kg/L" }));
            m.say(format!("sample-type code {}", sampled & 15));
            m.say(format!("sample-site code {}", sampled >> 4));
        }
        m.say(format!("sequence {sequence}e0 1"));
        if let Some(status) = status {
            m.say(format!("sensor-status bits {status:#x}"));
        }
        match offset {
            Some(i16::MAX) => m.say("time-offset absent OverRange min"),
            Some(i16::MIN) => m.say("time-offset absent UnderRange min"),
            Some(minutes) => m.say(format!("time-offset {minutes}e0 min")),
            None => {}
        }
        if matches!(offset, Some(i16::MAX | i16::MIN)) || bits & 1 << 11 != 0 {
            let words = in_words(&m.bytes[3..10]); // behind the flags and the number
            return m.say(format!("device-time {words}"));
        }
        let moved = offset.map_or(0, i64::from) * 60;
        m.stamp(Some(time.map(|seconds| seconds + moved)));
    })
}

fn glucose_context(random: &mut Random, flags: u8) -> Made {
    make(random, 0x2a34, flags, |m| {
        let sequence = m.u16();
        m.say(format!("sequence {sequence}e0 1"));
        if has(flags, 7) {
            m.u8();
        }
        if has(flags, 0) {
            let (kind, amount) = (m.u8(), m.sfloat());
            m.say(format!("carbohydrate-kind code {kind}"));
            m.say(format!("carbohydrate {amount} kg"));
        }
        if has(flags, 1) {
            let meal = m.u8();
            m.say(format!("meal code {meal}"));
        }
        if has(flags, 2) {
            let both = m.u8();
            m.say(format!("tester code {}", both % 16));
            m.say(format!("health code {}", both / 16));
        }
        if has(flags, 3) {
            let (time, intensity) = (m.u16(), m.u8());
            m.say(if time == 0xffff { "exercise-time absent OverRange s".into() } else { format!("exercise-time {time}e0 s") });
            m.say(format!("exercise-intensity {intensity}e0 %"));
        }
        if has(flags, 4) {
            let (kind, amount) = (m.u8(), m.sfloat());
            m.say(format!("medication-kind code {kind}"));
            m.say(if has(flags, 5) { format!("medication-volume {amount} L") } else { format!("medication-mass {amount} kg") });
        }
        if has(flags, 6) {
            let value = m.sfloat();
            m.say(format!("hba1c {value} %"));
        }
    })
}

/// One record, with a checksum in half of the cases. Three of its flags announce nothing.
fn continuous_glucose(random: &mut Random, flags: u8) -> Made {
    let mut made = make(random, 0x2aa7, flags, |m| {
        let (value, minutes) = (m.sfloat(), m.u16());
        let mut status = 0;
        for (bit, shift) in [(7, 0), (6, 8), (5, 16)] {
            if has(flags, bit) {
                status |= u32::from(m.u8()) << shift;
            }
        }
        let quality: Vec<_> =
            [(status & (0b10_1100 | 0x3000 | 0xc0_0000) != 0).then_some("questionable"), (status & 0x3f_0000 != 0).then_some("in_alarm")]
                .into_iter()
                .flatten()
                .collect();
        let quality = if quality.is_empty() { String::new() } else { format!(" [{}]", quality.join(" ")) };
        let why = match status {
            s if s & 1 << 23 != 0 => "absent OverRange",
            s if s & 1 << 22 != 0 => "absent UnderRange",
            _ => "absent NotMeasured",
        };
        let value = if value == "absent NotMeasured" { why.to_owned() } else { value };
        m.say(format!("glucose {value} mg/dL{quality}"));
        if has(flags, 0) {
            let trend = m.sfloat();
            m.say(format!("trend {trend} mg/dL/min{quality}"));
        }
        if has(flags, 1) {
            let percent = m.sfloat();
            m.say(format!("quality {percent} %"));
        }
        if flags & 0xe0 != 0 {
            m.say(format!("sensor-status bits {status:#x}"));
        }
        m.say(format!("time-offset {minutes}e0 min"));
        m.lines.iter_mut().for_each(|line| line.push_str(&format!(" at counter {}", u64::from(minutes) * 60_000_000_000)));
    });
    let sealed = random.below(2) == 1;
    made.bytes.insert(0, made.bytes.len() as u8 + 1 + if sealed { 2 } else { 0 });
    if sealed {
        let sum = mcrf4xx(&made.bytes);
        made.bytes.extend(sum.to_le_bytes());
    }
    made
}

/// Bit by bit from the polynomial x16 + x12 + x5 + 1, most significant first, on reflected bytes: another way than the plugin's.
pub fn mcrf4xx(bytes: &[u8]) -> u16 {
    let mut register = 0xffffu16;
    for byte in bytes {
        for bit in 0..8 {
            let out = (register >> 15) ^ u16::from(byte >> bit & 1);
            register = (register << 1) ^ (0x1021 * out);
        }
    }
    register.reverse_bits()
}
