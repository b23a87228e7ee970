//! Temperature measurement (2A1C), intermediate temperature (2A1E) and temperature type (2A1D). Pure.

use wardgate_sdk::gatt::{Column, Fields, Message, Read, sig};
use wardgate_sdk::{Channel, Quality, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2a1c);
pub const INTERMEDIATE: u128 = sig(0x2a1e);
pub const TYPE: u128 = sig(0x2a1d);

const TEMPERATURE: Channel = 0;
const BODY_SITE: Channel = 1;
const DEVICE_TIME: Channel = 2;

pub const CHANNELS: &[Column] = &[
    Column::numeric("temperature", &["Cel", "[degF]"]).mdc(150_364), // MDC_TEMP_BODY
    Column::code(
        "body-site",
        &[
            (1, "armpit"),
            (2, "body"),
            (3, "ear"),
            (4, "finger"),
            (5, "gastro-intestinal tract"), // an ingestible thermometer
            (6, "mouth"),
            (7, "rectum"),
            (8, "toe"),
            (9, "tympanum"),
        ],
    ),
    Column::text("device-time"),
];

// flags
const FAHRENHEIT: u8 = 1 << 0;
const TIME_PRESENT: u8 = 1 << 1;
const TYPE_PRESENT: u8 = 1 << 2;

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    if from == TYPE {
        return Ok(vec![Message::of(vec![reading(BODY_SITE, Value::Code(fields.u8()?.into()))])]);
    }
    let flags = fields.u8()?;
    let mut message = Message::of(vec![reading(TEMPERATURE, fields.float()?)]);
    message.unit = Some(usize::from(flags & FAHRENHEIT));
    if from == INTERMEDIATE {
        message.mark(Quality::ONGOING);
    }
    let time = fields.when(flags & TIME_PRESENT != 0, Fields::date_time)?;
    message.push_some(BODY_SITE, fields.when(flags & TYPE_PRESENT != 0, Fields::u8)?.map(|site| Value::Code(site.into())));
    message.stamp(time, DEVICE_TIME);
    Ok(vec![message])
}
