//! What the peripherals are: heart rate belt, oximeter, thermometer with a clock, glucose meter with its record access control point; all by the published layouts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::devices::nothing;

/// By channel name of the plugin that reads it.
pub type Says = BTreeMap<String, Value>;

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Value {
    /// Mantissa and exponent.
    Number(i64, i8),
    Code(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Belt,
    /// Two measurements under one UUID, in two services.
    Twins,
    Oximeter,
    /// Its memory holds so many records.
    Meter(u16),
    /// As a meter, and each record has a context: what it has to say of one record comes from two characteristics.
    Diary(u16),
    /// By indications: each is confirmed before anybody hears of it. It says with each what its own clock shows.
    Thermometer,
    /// It only broadcasts: what it measures stands in its manufacturer data, and who it is in its service data.
    Beacon,
}

pub(super) struct Service {
    pub uuid: u16,
    pub characteristics: Vec<(u16, &'static [&'static str], Vec<u8>)>,
}

const READ: &[&str] = &["read"];
const NOTIFY: &[&str] = &["notify"];
pub(super) const MEASURED_RATE: u16 = 0x2a37;
const SENSOR_LOCATION: u16 = 0x2a38;
const MEASURED_OXYGEN: u16 = 0x2a5f;
const MEASURED_TEMPERATURE: u16 = 0x2a1c;
pub(super) const MEASURED_GLUCOSE: u16 = 0x2a18;
const CONTEXT: u16 = 0x2a34;
pub(super) const CONTROL_POINT: u16 = 0x2a52;
pub(super) const BATTERY: u16 = 0x2a19;
const BATTERY_PERCENT: u8 = 87;
const CHEST: u8 = 1;

impl Kind {
    /// How many records it keeps, and whether each has a context.
    pub(super) fn memory(self) -> Option<(u16, bool)> {
        match self {
            Self::Meter(records) => Some((records, false)),
            Self::Diary(records) => Some((records, true)),
            _ => None,
        }
    }

    pub(super) fn services(self, name: &str) -> Vec<Service> {
        let belt =
            || Service { uuid: 0x180d, characteristics: vec![(MEASURED_RATE, NOTIFY, vec![]), (SENSOR_LOCATION, READ, vec![CHEST])] };
        let mut services = match self {
            Self::Belt => vec![belt()],
            Self::Twins => vec![belt(), belt()],
            Self::Oximeter => vec![Service { uuid: 0x1822, characteristics: vec![(MEASURED_OXYGEN, NOTIFY, vec![])] }],
            Self::Thermometer => vec![Service { uuid: 0x1809, characteristics: vec![(MEASURED_TEMPERATURE, &["indicate"], vec![])] }],
            Self::Meter(_) | Self::Diary(_) => {
                let contexts = matches!(self, Self::Diary(_)).then_some((CONTEXT, NOTIFY, vec![]));
                let mut characteristics = vec![(MEASURED_GLUCOSE, NOTIFY, vec![])];
                characteristics.extend(contexts);
                characteristics.push((CONTROL_POINT, &["write", "indicate"], vec![]));
                vec![Service { uuid: 0x1808, characteristics }]
            }
            Self::Beacon => return Vec::new(),
        };
        let about = [(0x2a25, format!("SN-{name}")), (0x2a29, "simulated".to_owned())];
        services.push(Service { uuid: 0x180a, characteristics: about.map(|(uuid, text)| (uuid, READ, text.into_bytes())).into() });
        services.push(Service { uuid: 0x180f, characteristics: vec![(BATTERY, &["read", "notify"], vec![BATTERY_PERCENT])] });
        services
    }

    /// How long between two values.
    pub(super) fn every_ms(self) -> u64 {
        match self {
            Self::Belt | Self::Twins => 500,
            Self::Oximeter | Self::Thermometer => 1000,
            Self::Beacon => 200,
            Self::Meter(_) | Self::Diary(_) => 40, // between two records of a report
        }
    }

    /// The value with this number, at this second of the device's own clock, and from which characteristic.
    pub(super) fn value(self, n: u32, clock_s: i64) -> Option<(u16, Vec<u8>, Says)> {
        match self {
            Self::Belt | Self::Twins => Some(rate(n)),
            Self::Oximeter => Some(oxygen(n)),
            Self::Thermometer => Some(temperature(n, clock_s)),
            Self::Meter(_) | Self::Diary(_) => None, // it speaks when it is asked
            Self::Beacon => None,                    // it is not connected: see `broadcast`
        }
    }
}

fn says<const N: usize>(values: [(&str, Value); N]) -> Says {
    values.map(|(channel, value)| (channel.to_owned(), value)).into()
}

/// What somebody who reads a characteristic is told by it.
pub(super) fn said_by_reading(uuid: u16) -> Says {
    match uuid {
        BATTERY => says([("battery", Value::Number(BATTERY_PERCENT.into(), 0))]),
        SENSOR_LOCATION => says([("body-site", Value::Code(CHEST.into()))]),
        _ => nothing(),
    }
}

/// The energy counts up, so that each message is one of a kind.
fn rate(n: u32) -> (u16, Vec<u8>, Says) {
    const FLAGS: u8 = 0b11110; // contact known and there, energy, RR intervals
    const RR_UNIT: i64 = 9_765_625; // of 10^-10 s: 1/1024 s
    let (rate, energy, interval) = ((60 + n % 40) as u8, (n % 0xffff) as u16, (700 + n % 300) as u16);
    let mut bytes = vec![FLAGS, rate];
    bytes.extend(energy.to_le_bytes());
    bytes.extend(interval.to_le_bytes());
    let told = says([
        ("heart-rate", Value::Number(rate.into(), 0)),
        ("energy-expended", Value::Number(energy.into(), 0)),
        ("rr-interval", Value::Number(i64::from(interval) * RR_UNIT, -10)),
        ("contact", Value::Code(3)),
    ]);
    (MEASURED_RATE, bytes, told)
}

fn sfloat(mantissa: i16, exponent: i8) -> [u8; 2] {
    ((u16::from(exponent.cast_unsigned()) & 15) << 12 | mantissa.cast_unsigned() & 0xfff).to_le_bytes()
}

/// What a beacon broadcasts: a number that counts up, and nothing else.
pub(super) fn broadcast(n: u32) -> (Vec<u8>, Says) {
    (n.to_le_bytes().to_vec(), says([("value", Value::Number(n.into(), 0))]))
}

/// The amplitude counts up.
fn oxygen(n: u32) -> (u16, Vec<u8>, Says) {
    const AMPLITUDE_THERE: u8 = 1 << 4;
    let (saturation, pulse, amplitude) = ((900 + n % 100) as i16, (60 + n % 50) as i16, (n % 2000) as i16);
    let fields = [sfloat(saturation, -1), sfloat(pulse, 0), sfloat(amplitude, -2)];
    let told = says([
        ("spo2", Value::Number(saturation.into(), -1)),
        ("pulse-rate", Value::Number(pulse.into(), 0)),
        ("pulse-amplitude-index", Value::Number(amplitude.into(), -2)),
    ]);
    (MEASURED_OXYGEN, [vec![AMPLITUDE_THERE], fields.concat()].concat(), told)
}

/// It counts up, by thousandths of a degree.
fn temperature(n: u32, clock_s: i64) -> (u16, Vec<u8>, Says) {
    const TIME_THERE: u8 = 1 << 1;
    const THOUSANDTHS: u8 = (-3i8).cast_unsigned();
    let thousandths = 36_000 + i64::from(n % 4000);
    let mut bytes = vec![TIME_THERE];
    bytes.extend(&thousandths.to_le_bytes()[..3]);
    bytes.push(THOUSANDTHS);
    bytes.extend(date_time(clock_s));
    (MEASURED_TEMPERATURE, bytes, says([("temperature", Value::Number(thousandths, -3))]))
}

/// Year, month, day, hour, minute and second, as Bluetooth has them.
fn date_time(s: i64) -> [u8; 7] {
    const DAY_S: i64 = 86_400;
    let leap = |year: i64| i64::from((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
    let (mut day, of_day) = (s.div_euclid(DAY_S), s.rem_euclid(DAY_S));
    let mut year = 1970;
    while day >= 365 + leap(year) {
        day -= 365 + leap(year);
        year += 1;
    }
    let mut month = 0;
    for days in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        (day, month) = (day - days, month + 1);
    }
    let [low, high] = (year as u16).to_le_bytes();
    [low, high, month + 1, day as u8 + 1, (of_day / 3600) as u8, (of_day / 60 % 60) as u8, (of_day % 60) as u8]
}

/// The memory of a glucose meter.
#[derive(Default)]
pub(super) struct Meter {
    /// Up to here everything was deleted.
    first: u16,
    /// It vanishes when it has told so many records more.
    pub cut_after: Option<u32>,
}

const COUNT_ANSWER: u8 = 5;
const ANSWER: u8 = 6;
const SUCCESS: u8 = 1;
const NOT_SUPPORTED: u8 = 2;
const NO_RECORDS: u8 = 6;

impl Meter {
    /// What is written to the control point: what goes out for it, in order, as (characteristic, bytes, what they say).
    pub fn asked(&mut self, records: u16, contexts: bool, order: &[u8]) -> Vec<(u16, Vec<u8>, Says)> {
        let operand = order.get(3..5).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let [procedure, operator] = [order.first().copied().unwrap_or(0), order.get(1).copied().unwrap_or(0)];
        let from = if operator == 3 { operand.max(self.first) } else { self.first };
        match procedure {
            4 => {
                let count = records.saturating_sub(from);
                let bytes = [&[COUNT_ANSWER, 0][..], &count.to_le_bytes()].concat();
                vec![(CONTROL_POINT, bytes, says([("stored-records", Value::Number(count.into(), 0))]))]
            }
            1 => {
                let mut told: Vec<_> = (from..records).flat_map(|n| record(n, contexts)).collect();
                told.push(answer(1, if from < records { SUCCESS } else { NO_RECORDS }));
                told
            }
            2 => {
                self.first = if operator == 2 { operand + 1 } else { records };
                vec![answer(2, SUCCESS)]
            }
            3 => vec![answer(3, SUCCESS)],
            other => vec![answer(other, NOT_SUPPORTED)],
        }
    }
}

fn answer(procedure: u8, result: u8) -> (u16, Vec<u8>, Says) {
    let told = says([("procedure", Value::Code(procedure.into())), ("procedure-result", Value::Code(result.into()))]);
    (CONTROL_POINT, vec![ANSWER, 0, procedure, result], told)
}

/// And its context, where it has one.
fn record(n: u16, context: bool) -> Vec<(u16, Vec<u8>, Says)> {
    const CONCENTRATION_THERE: u8 = 1 << 1;
    const CONTEXT_FOLLOWS: u8 = 1 << 4;
    const MEAL_THERE: u8 = 1 << 1;
    const MEALS: u16 = 5; // before, after, fasting, casual, bedtime
    const FINGER_CAPILLARY: u8 = 0x11;
    let level = 500 + (n % 1000) as i16;
    let [year_low, year_high] = 2026u16.to_le_bytes();
    let mut bytes = vec![CONCENTRATION_THERE | if context { CONTEXT_FOLLOWS } else { 0 }];
    bytes.extend(n.to_le_bytes());
    bytes.extend([year_low, year_high, 11, 1 + (n / 24 % 28) as u8, (n % 24) as u8, (n % 60) as u8, 0]);
    bytes.extend(sfloat(level, -5));
    bytes.push(FINGER_CAPILLARY);
    let told = says([
        ("glucose", Value::Number(level.into(), -5)),
        ("sequence", Value::Number(n.into(), 0)),
        ("sample-type", Value::Code(1)),
        ("sample-site", Value::Code(1)),
    ]);
    let mut all = vec![(MEASURED_GLUCOSE, bytes, told)];
    if context {
        let meal = (1 + n % MEALS) as u8;
        let [low, high] = n.to_le_bytes();
        all.push((CONTEXT, vec![MEAL_THERE, low, high, meal], says([("meal", Value::Code(meal.into()))])));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn a_clock_shows_the_day_that_it_is() {
        for (s, shows) in [
            (0, [0xB2, 7, 1, 1, 0, 0, 0]),
            (951_782_399, [0xD0, 7, 2, 28, 23, 59, 59]),
            (951_782_400, [0xD0, 7, 2, 29, 0, 0, 0]),
            (1_354_708_227, [0xDC, 7, 12, 5, 11, 50, 27]),
            (1_798_761_599, [0xEA, 7, 12, 31, 23, 59, 59]),
        ] {
            assert_eq!(date_time(s), shows, "{s}");
        }
    }
}
