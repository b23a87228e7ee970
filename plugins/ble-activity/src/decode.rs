//! Running speed and cadence (2A53) and the place of the sensor (2A5D). Pure.

use wardgate_sdk::gatt::{Column, Fields, Message, Read, sig};
use wardgate_sdk::{Channel, Decimal, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2a53);
pub const LOCATION: u128 = sig(0x2a5d);

const SPEED: Channel = 0;
const CADENCE: Channel = 1;
const STRIDE: Channel = 2;
const DISTANCE: Channel = 3;
const GAIT: Channel = 4;
const BODY_SITE: Channel = 5;

pub const CHANNELS: &[Column] = &[
    Column::numeric("speed", &["m/s"]),
    Column::numeric("cadence", &["/min"]),
    Column::numeric("stride-length", &["m"]),
    Column::numeric("total-distance", &["m"]),
    Column::code("gait", &[(0, "walking"), (1, "running")]),
    Column::code(
        "body-site",
        &[
            (0, "other"),
            (1, "top of shoe"),
            (2, "in shoe"),
            (3, "hip"),
            (4, "front wheel"),
            (5, "left crank"),
            (6, "right crank"),
            (7, "left pedal"),
            (8, "right pedal"),
            (9, "front hub"),
            (10, "rear dropout"),
            (11, "chainstay"),
            (12, "rear wheel"),
            (13, "rear hub"),
            (14, "chest"),
            (15, "spider"),
            (16, "chain ring"),
        ],
    ),
];

// flags
const STRIDE_PRESENT: u8 = 1 << 0;
const DISTANCE_PRESENT: u8 = 1 << 1;
const RUNNING_SHIFT: u8 = 2;

/// One 256th of a metre per second has eight decimal places: every speed is told to the bit.
const SPEED_COUNT: Decimal = Decimal::new(390_625, -8);
const STRIDE_EXPONENT: i8 = -2; // centimetres
const DISTANCE_EXPONENT: i8 = -1; // decimetres

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    if from == LOCATION {
        return Ok(vec![Message::of(vec![reading(BODY_SITE, Value::Code(fields.u8()?.into()))])]);
    }
    let flags = fields.u8()?;
    let mut message = Message::new();
    let speed = i64::from(fields.u16()?) * SPEED_COUNT.mantissa;
    message.push(SPEED, Decimal::new(speed, SPEED_COUNT.exponent));
    message.push(CADENCE, u32::from(fields.u8()?));
    let stride = fields.when(flags & STRIDE_PRESENT != 0, Fields::u16)?;
    message.push_some(STRIDE, stride.map(|stride| Decimal::new(stride.into(), STRIDE_EXPONENT)));
    let distance = fields.when(flags & DISTANCE_PRESENT != 0, Fields::u32)?;
    message.push_some(DISTANCE, distance.map(|distance| Decimal::new(distance.into(), DISTANCE_EXPONENT)));
    message.push(GAIT, Value::Code((flags >> RUNNING_SHIFT & 1).into()));
    Ok(vec![message])
}
