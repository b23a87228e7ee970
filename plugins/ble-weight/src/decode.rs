//! Weight measurement (2A9D) of a scale. Pure.

use wardgate_sdk::gatt::{Column, Fields, Message, Read, sig};
use wardgate_sdk::{Absence, Channel, Decimal, Value};

pub const MEASUREMENT: u128 = sig(0x2a9d);

const WEIGHT: Channel = 0;
const HEIGHT: Channel = 1;
const BMI: Channel = 2;
const USER: Channel = 3;
const DEVICE_TIME: Channel = 4;

pub const CHANNELS: &[Column] = &[
    Column::numeric("weight", &["kg", "[lb_av]"]).mdc(188_736), // MDC_MASS_BODY_ACTUAL
    Column::numeric("height", &["m", "[in_i]"]).mdc(188_740),   // MDC_LEN_BODY_ACTUAL
    Column::numeric("bmi", &["kg/m2"]).mdc(188_752),            // MDC_RATIO_MASS_BODY_LEN_SQ
    Column::code("user", &[(255, "unknown")]),
    Column::text("device-time"),
];

// flags
const IMPERIAL: u8 = 1 << 0;
const TIME_PRESENT: u8 = 1 << 1;
const USER_PRESENT: u8 = 1 << 2;
const BMI_AND_HEIGHT_PRESENT: u8 = 1 << 3;

/// What one count is worth, by unit: the Weight Scale Service says 0.005 kg and 0.01 lb, 0.001 m and 0.1 inch.
const WEIGHT_COUNT: [Decimal; 2] = [Decimal::new(5, -3), Decimal::new(1, -2)];
const HEIGHT_COUNT: [Decimal; 2] = [Decimal::new(1, -3), Decimal::new(1, -1)];
const BMI_COUNT: Decimal = Decimal::new(1, -1);
const UNSUCCESSFUL: u16 = 0xffff;

pub fn decode(_from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let unit = usize::from(flags & IMPERIAL);
    let mut message = Message::new();
    message.unit = Some(unit);
    let weight = fields.u16()?;
    message.push(WEIGHT, if weight == UNSUCCESSFUL { Value::Absent(Absence::NotMeasured) } else { times(weight, WEIGHT_COUNT[unit]) });
    let time = fields.when(flags & TIME_PRESENT != 0, Fields::date_time)?;
    let user = fields.when(flags & USER_PRESENT != 0, Fields::u8)?;
    if flags & BMI_AND_HEIGHT_PRESENT != 0 {
        message.push(BMI, times(fields.u16()?, BMI_COUNT));
        message.push(HEIGHT, times(fields.u16()?, HEIGHT_COUNT[unit]));
    }
    message.push_some(USER, user.map(|user| Value::Code(user.into())));
    message.stamp(time, DEVICE_TIME);
    Ok(vec![message])
}

fn times(count: u16, worth: Decimal) -> Value {
    Decimal::new(i64::from(count) * worth.mantissa, worth.exponent).into()
}
