//! Runs a Bluetooth LE plugin natively on given notifications, and shows what it says as lines that people can compare.

use std::collections::BTreeMap;

use wardgate_sdk::gatt::{Peripheral, Profile};
use wardgate_sdk::*;

/// A characteristic and a value of it.
pub type Value128 = (u128, Vec<u8>);

pub fn at(ms: u64) -> Moment {
    Moment { boot: 1, monotonic_ns: ms * 1_000_000, wall: None }
}

pub fn characteristics(uuids: &[u128]) -> Vec<ble::Characteristic> {
    let service = ble::Uuid { high: 0, low: 0 };
    let one = |(uuid, handle): (&u128, u16)| ble::Characteristic {
        handle,
        service,
        uuid: ble::Uuid { high: (uuid >> 64) as u64, low: *uuid as u64 },
        properties: ble::Properties::READ | ble::Properties::WRITE | ble::Properties::NOTIFY,
    };
    uuids.iter().zip(1..).map(one).collect()
}

/// Connected to a device that has just the characteristics that speak; answers every request of the glue. One value a second.
pub fn said<P: Profile>(settings: &[(&str, &str)], values: &[Value128]) -> Vec<Said> {
    said_every::<P>(settings, values, |n| 1000 * (n as u64 + 1))
}

/// The `n`th value comes so many milliseconds after the start.
pub fn said_every<P: Profile>(settings: &[(&str, &str)], values: &[Value128], comes_ms: impl Fn(usize) -> u64) -> Vec<Said> {
    let settings = settings.iter().map(|(name, value)| fact(name, *value)).collect();
    let mut out = Outbox::default();
    let start = Opening { settings, about: vec![], seed: 7, saved: None };
    let mut plugin = Peripheral::<P>::open(at(0), start, &mut out).expect("it opens");
    let mut uuids: Vec<u128> = Vec::new();
    for (uuid, _) in values {
        if !uuids.contains(uuid) {
            uuids.push(*uuid);
        }
    }
    plugin.discovered(at(1), 247, characteristics(&uuids), &mut out).expect("no problem");
    let mut all = out.take();
    let mut from = 0;
    while from < all.len() {
        let tag = match &all[from] {
            Said::BleRead(tag, _) => Some((*tag, Err(ble::Failure::NotPermitted))),
            Said::BleSubscribe(tag, _) => Some((*tag, Ok(Vec::new()))),
            _ => None,
        };
        if let Some((tag, outcome)) = tag {
            Ble::reply(&mut plugin, at(2), tag, outcome, &mut out).expect("no problem");
        }
        all.extend(out.take());
        from += 1;
    }
    for (n, (uuid, bytes)) in values.iter().enumerate() {
        let handle = uuids.iter().position(|known| known == uuid).expect("it was found") as u16 + 1;
        plugin.notified(at(comes_ms(n)), handle, bytes, &mut out).expect("no problem");
    }
    all.extend(out.take());
    all
}

/// Readings as `name value unit [quality]`, with their time where the device told one; samples as `name first: counts`.
pub fn lines(said: &[Said]) -> Vec<String> {
    let mut meanings: BTreeMap<Channel, Description> = BTreeMap::new();
    let mut lines = Vec::new();
    for one in said {
        match one {
            Said::Describe(channel, meaning) => drop(meanings.insert(*channel, meaning.clone())),
            Said::Emit(observations) => {
                for o in observations {
                    lines.extend(o.readings.iter().map(|r| line(&meanings[&r.channel], r, &o.at)));
                }
            }
            Said::EmitWaveform(blocks) => {
                lines.extend(blocks.iter().map(|b| format!("{} {}: {:?}{}", meanings[&b.channel].name, b.first, b.counts, time(&b.at))));
            }
            Said::Missed(channel, count, why) => lines.push(format!("{} missed {count:?} {}", meanings[channel].name, word(why))),
            _ => {}
        }
    }
    lines
}

fn line(meaning: &Description, reading: &Reading, at: &DeviceTime) -> String {
    let value = match &reading.value {
        Value::Number(d) => format!("{}e{}", d.mantissa, d.exponent),
        Value::Absent(why) => format!("absent {}", word(why)),
        Value::Code(code) => format!("code {code}"),
        Value::Bits(bits) => format!("bits {bits:#x}"),
        Value::Text(text) => text.clone(),
        Value::Octets(bytes) => format!("{bytes:?}"),
    };
    let qualities: Vec<_> = reading.quality.iter_names().map(|(name, _)| name.to_lowercase()).collect();
    let quality = if qualities.is_empty() { String::new() } else { format!(" [{}]", qualities.join(" ")) };
    let unit = if meaning.unit.is_empty() { String::new() } else { format!(" {}", meaning.unit) };
    format!("{} {value}{unit}{quality}{}", meaning.name, time(at))
}

fn time(at: &DeviceTime) -> String {
    match at {
        DeviceTime::NotTold => String::new(),
        DeviceTime::Utc(ns) => format!(" at utc {ns}"),
        DeviceTime::Local(ns) => format!(" at local {}", ns / 1_000_000_000),
        DeviceTime::Counter(ns) => format!(" at counter {ns}"),
    }
}

/// A case's own name: generated enums print as `Enum::Case`.
fn word(case: &impl std::fmt::Debug) -> String {
    format!("{case:?}").rsplit("::").next().unwrap_or_default().to_owned()
}
