//! Blood pressure measurement (2A35) and intermediate cuff pressure (2A36). Pure.

use wardgate_sdk::gatt::{Column, Fields, Message, Read, sig};
use wardgate_sdk::{Channel, Quality, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2a35);
pub const INTERMEDIATE: u128 = sig(0x2a36);

pub const SYSTOLIC: Channel = 0;
const DIASTOLIC: Channel = 1;
pub const MEAN: Channel = 2;
const PULSE_RATE: Channel = 3;
const USER: Channel = 4;
const STATUS: Channel = 5;
const CUFF: Channel = 6;
const DEVICE_TIME: Channel = 7;

const UNITS: &[&str] = &["mm[Hg]", "kPa"];

pub const CHANNELS: &[Column] = &[
    Column::numeric("systolic", UNITS).mdc(150_021),       // MDC_PRESS_BLD_NONINV_SYS
    Column::numeric("diastolic", UNITS).mdc(150_022),      // MDC_PRESS_BLD_NONINV_DIA
    Column::numeric("mean", UNITS).mdc(150_023),           // MDC_PRESS_BLD_NONINV_MEAN
    Column::numeric("pulse-rate", &["/min"]).mdc(149_546), // MDC_PULS_RATE_NON_INV
    Column::code("user", &[(255, "unknown")]),
    Column::bits(
        "measurement-status",
        &[
            (0, "body movement"),
            (1, "cuff too loose"),
            (2, "irregular pulse"),
            (3, "pulse rate above its upper limit"),
            (4, "pulse rate below its lower limit"),
            (5, "wrong position"),
        ],
    ),
    Column::numeric("cuff-pressure", UNITS),
    Column::text("device-time"),
];

// flags
const KILOPASCAL: u8 = 1 << 0;
const TIME_PRESENT: u8 = 1 << 1;
const PULSE_PRESENT: u8 = 1 << 2;
const USER_PRESENT: u8 = 1 << 3;
const STATUS_PRESENT: u8 = 1 << 4;

/// Movement, a loose cuff or a wrong position disturb the measurement. An irregular pulse is a finding.
const DISTURBED: u16 = 1 << 0 | 1 << 1 | 1 << 5;

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let mut message = Message::new();
    message.unit = Some(usize::from(flags & KILOPASCAL));
    let [first, second, third] = [fields.sfloat()?, fields.sfloat()?, fields.sfloat()?];
    if from == INTERMEDIATE {
        // the other two places are not used
        message.push(CUFF, first);
        message.mark(Quality::ONGOING);
    } else {
        message.readings = vec![reading(SYSTOLIC, first), reading(DIASTOLIC, second), reading(MEAN, third)];
    }
    let time = fields.when(flags & TIME_PRESENT != 0, Fields::date_time)?;
    message.push_some(PULSE_RATE, fields.when(flags & PULSE_PRESENT != 0, Fields::sfloat)?);
    let user = fields.when(flags & USER_PRESENT != 0, Fields::u8)?;
    let status = fields.when(flags & STATUS_PRESENT != 0, Fields::u16)?;
    if status.is_some_and(|status| status & DISTURBED != 0) {
        message.mark(Quality::QUESTIONABLE);
    }
    message.push_some(USER, user.map(|user| Value::Code(user.into())));
    message.push_some(STATUS, status.map(|status| Value::Bits(status.into())));
    message.stamp(time, DEVICE_TIME);
    Ok(vec![message])
}
