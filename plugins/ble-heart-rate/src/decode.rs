//! Heart rate measurement (2A37) and body sensor location (2A38). Pure.

use wardgate_sdk::gatt::{Column, Damage, Fields, Message, Read, sig};
use wardgate_sdk::{Absence, Channel, Decimal, Quality, Reading, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2a37);
pub const LOCATION: u128 = sig(0x2a38);

pub const HEART_RATE: Channel = 0;
pub const RR_INTERVAL: Channel = 1;
const ENERGY: Channel = 2;
const CONTACT: Channel = 3;
const BODY_SITE: Channel = 4;

pub const CHANNELS: &[Column] = &[
    Column::numeric("heart-rate", &["/min"]).mdc(147_842), // MDC_ECG_HEART_RATE
    Column::numeric("rr-interval", &["s"]),
    Column::numeric("energy-expended", &["kJ"]),
    Column::code("contact", &[(NO_CONTACT, "not detected"), (3, "detected")]),
    Column::code("body-site", &[(0, "other"), (1, "chest"), (2, "wrist"), (3, "finger"), (4, "hand"), (5, "ear lobe"), (6, "foot")]),
];

// flags
const WIDE_RATE: u8 = 1 << 0;
const CONTACT_SHIFT: u8 = 1; // two bits: detected, and whether the sensor can tell
const CONTACT_KNOWN: u32 = 2;
const ENERGY_PRESENT: u8 = 1 << 3;
const RR_PRESENT: u8 = 1 << 4;

const NO_CONTACT: u32 = 2;
const ENERGY_END: u16 = u16::MAX;
/// One 1024th of a second has ten decimal places: every interval is told to the bit.
const RR_UNIT: Decimal = Decimal::new(9_765_625, -10);

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    match from {
        LOCATION => Ok(vec![Message::of(vec![reading(BODY_SITE, Value::Code(fields.u8()?.into()))])]),
        _ => measurement(fields).map(|message| vec![message]),
    }
}

/// At its end the counter stands still until somebody resets it.
fn energy(kilojoules: u16) -> Value {
    if kilojoules == ENERGY_END { Absence::OverRange.into() } else { u32::from(kilojoules).into() }
}

fn measurement(mut fields: Fields<'_>) -> Read<Message> {
    let flags = fields.u8()?;
    let rate = if flags & WIDE_RATE != 0 { fields.u16()? } else { fields.u8()?.into() };
    let mut message = Message::of(vec![reading(HEART_RATE, u32::from(rate))]);
    let contact = u32::from(flags >> CONTACT_SHIFT & 3);
    let beats = if contact == NO_CONTACT { Quality::QUESTIONABLE } else { Quality::empty() };
    message.mark(beats);
    message.push_some(ENERGY, fields.when(flags & ENERGY_PRESENT != 0, Fields::u16)?.map(energy));
    if contact & CONTACT_KNOWN != 0 {
        message.push(CONTACT, Value::Code(contact));
    }
    if flags & RR_PRESENT != 0 {
        let (intervals, []) = fields.left().as_chunks::<2>() else { return Err(Damage("an RR interval is cut in two")) };
        if intervals.is_empty() {
            return Err(Damage("it announces RR intervals and has none"));
        }
        // the oldest comes first
        message.readings.extend(intervals.iter().filter_map(|i| {
            let value = Decimal::new(u16::from_le_bytes(*i).into(), 0).times(RR_UNIT)?;
            Some(Reading { quality: beats, ..reading(RR_INTERVAL, value) })
        }));
    }
    Ok(message)
}
