//! Spot-check (2A5E) and continuous (2A5F) measurements of a pulse oximeter. Pure.

use wardgate_sdk::gatt::{Column, DateTime, Fields, Message, Read, sig};
use wardgate_sdk::{Absence, Channel, Quality, Value};

pub const SPOT: u128 = sig(0x2a5e);
pub const CONTINUOUS: u128 = sig(0x2a5f);

pub const SPO2: Channel = 0; // each pulse rate follows its saturation
const AMPLITUDE: Channel = 2;
const FAST: Channel = 3;
const SLOW: Channel = 5;
const MEASUREMENT_STATUS: Channel = 7;
const SENSOR_STATUS: Channel = 8;
const DEVICE_TIME: Channel = 9;

const SPO2_CODE: u32 = 150_456; // MDC_PULS_OXIM_SAT_O2
const PULSE_CODE: u32 = 149_530; // MDC_PULS_OXIM_PULS_RATE

pub const CHANNELS: &[Column] = &[
    Column::numeric("spo2", &["%"]).mdc(SPO2_CODE),
    Column::numeric("pulse-rate", &["/min"]).mdc(PULSE_CODE),
    Column::numeric("pulse-amplitude-index", &["%"]),
    Column::numeric("spo2-fast", &["%"]).mdc(SPO2_CODE),
    Column::numeric("pulse-rate-fast", &["/min"]).mdc(PULSE_CODE),
    Column::numeric("spo2-slow", &["%"]).mdc(SPO2_CODE),
    Column::numeric("pulse-rate-slow", &["/min"]).mdc(PULSE_CODE),
    Column::bits(
        "measurement-status",
        &[
            (5, "ongoing"),
            (6, "early estimate"),
            (7, "validated"),
            (8, "fully qualified"),
            (9, "from the device's memory"),
            (10, "for demonstration"),
            (11, "for testing"),
            (12, "calibration ongoing"),
            (13, "unavailable"),
            (14, "questionable"),
            (15, "invalid"),
        ],
    ),
    Column::bits(
        "sensor-status",
        &[
            (0, "extended display update ongoing"),
            (1, "equipment malfunction"),
            (2, "signal processing irregularity"),
            (3, "inadequate signal"),
            (4, "poor signal"),
            (5, "low perfusion"),
            (6, "erratic signal"),
            (7, "non-pulsatile signal"),
            (8, "questionable pulse"),
            (9, "signal analysis ongoing"),
            (10, "sensor interference"),
            (11, "sensor not on the patient"),
            (12, "unknown sensor"),
            (13, "sensor displaced"),
            (14, "sensor malfunction"),
            (15, "sensor disconnected"),
        ],
    ),
    Column::text("device-time"),
];

// flags of the spot check
const TIME_PRESENT: u8 = 1 << 0;
const CLOCK_NOT_SET: u8 = 1 << 4;
const SPOT_STATUS_SHIFT: u8 = 1; // its status flags stand one place lower than those of the continuous measurement
// flags of the continuous measurement
const FAST_PRESENT: u8 = 1 << 0;
const SLOW_PRESENT: u8 = 1 << 1;
const CONTINUOUS_STATUS_SHIFT: u8 = 2;
// both, once shifted
const MEASUREMENT_PRESENT: u8 = 1 << 0;
const SENSOR_PRESENT: u8 = 1 << 1;
const AMPLITUDE_PRESENT: u8 = 1 << 2;

const QUALITIES: [(u16, Quality); 9] = [
    (5, Quality::ONGOING),
    (6, Quality::EARLY),
    (7, Quality::VALIDATED),
    (10, Quality::DEMO),
    (11, Quality::TEST),
    (12, Quality::CALIBRATING),
    (13, Quality::UNAVAILABLE),
    (14, Quality::QUESTIONABLE),
    (15, Quality::INVALID),
];
/// What the sensor says against its values: 1 to 4, 6 to 8 and 10 to 15. Low perfusion, and that it works on, are no such words.
const SENSOR_DOUBT: u32 = 0b1111_1101_1101_1110;
const SENSOR_OFF: u32 = 1 << 11 | 1 << 15;
const SENSOR_FAULT: u32 = 1 << 1 | 1 << 14;

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let mut message = Message::new();
    let pair = |fields: &mut Fields<'_>, message: &mut Message, first: Channel| -> Read<()> {
        message.push(first, fields.sfloat()?);
        message.push(first + 1, fields.sfloat()?);
        Ok(())
    };
    pair(&mut fields, &mut message, SPO2)?;
    let mut time: Option<DateTime> = None;
    let shift = if from == SPOT {
        time = fields.when(flags & TIME_PRESENT != 0, Fields::date_time)?;
        SPOT_STATUS_SHIFT
    } else {
        for (flag, first) in [(FAST_PRESENT, FAST), (SLOW_PRESENT, SLOW)] {
            fields.when(flags & flag != 0, |fields| pair(fields, &mut message, first))?;
        }
        CONTINUOUS_STATUS_SHIFT
    };
    let measured = fields.when(flags >> shift & MEASUREMENT_PRESENT != 0, Fields::u16)?;
    let sensor = fields.when(flags >> shift & SENSOR_PRESENT != 0, Fields::u24)?;
    message.push_some(AMPLITUDE, fields.when(flags >> shift & AMPLITUDE_PRESENT != 0, Fields::sfloat)?);
    judge(&mut message, measured.unwrap_or(0), sensor.unwrap_or(0));
    message.push_some(MEASUREMENT_STATUS, measured.map(|status| Value::Bits(status.into())));
    message.push_some(SENSOR_STATUS, sensor.map(|status| Value::Bits(status.into())));
    if from == SPOT && flags & CLOCK_NOT_SET != 0 {
        // what a clock shows that nobody set is no time: it goes out in words
        message.push_some(DEVICE_TIME, time.map(|t| Value::Text(t.to_string())));
    } else {
        message.stamp(time, DEVICE_TIME);
    }
    Ok(vec![message])
}

/// What the two status fields say about the values: their quality, and why there is none.
fn judge(message: &mut Message, measured: u16, sensor: u32) {
    for (_, quality) in QUALITIES.iter().filter(|(bit, _)| measured >> bit & 1 != 0) {
        message.mark(*quality);
    }
    if sensor & SENSOR_DOUBT != 0 {
        message.mark(Quality::QUESTIONABLE);
    }
    let why = match sensor {
        s if s & SENSOR_OFF != 0 => Absence::SensorOff,
        s if s & SENSOR_FAULT != 0 => Absence::SensorFault,
        _ => return,
    };
    for r in &mut message.readings {
        if r.value == Value::Absent(Absence::NotMeasured) {
            r.value = why.into();
        }
    }
}
