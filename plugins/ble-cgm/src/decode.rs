//! Continuous glucose: measurements (2AA7), feature (2AA8), status (2AA9), session start (2AAA) and run time (2AAB). Pure.

use wardgate_sdk::gatt::{Column, Damage, Fields, Message, Read, sig};
use wardgate_sdk::{Absence, Channel, Decimal, DeviceTime, Quality, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2aa7);
pub const FEATURE: u128 = sig(0x2aa8);
pub const STATUS: u128 = sig(0x2aa9);
pub const SESSION_START: u128 = sig(0x2aaa);
pub const RUN_TIME: u128 = sig(0x2aab);

const GLUCOSE: Channel = 0;
const TREND: Channel = 1;
const QUALITY: Channel = 2;
const SENSOR_STATUS: Channel = 3;
const TIME_OFFSET: Channel = 4;
const SESSION: Channel = 5;
const TIME_ZONE: Channel = 6;
const DAYLIGHT_SAVING: Channel = 7;
const SESSION_LENGTH: Channel = 8;
const FEATURES: Channel = 9;
const SAMPLE_TYPE: Channel = 10;
const SAMPLE_SITE: Channel = 11;

pub const CHANNELS: &[Column] = &[
    Column::numeric("glucose", &["mg/dL"]).mdc(160_212), // MDC_CONC_GLU_ISF
    Column::numeric("trend", &["mg/dL/min"]),
    Column::numeric("quality", &["%"]),
    Column::bits(
        "sensor-status",
        &[
            (0, "session stopped"),
            (1, "battery low"),
            (2, "wrong sensor"),
            (3, "sensor malfunction"),
            (4, "device-specific alert"),
            (5, "general fault"),
            (8, "clock to be set"),
            (9, "calibration not allowed"),
            (10, "calibration recommended"),
            (11, "calibration required"),
            (12, "sensor too hot"),
            (13, "sensor too cold"),
            (16, "below the patient's low level"),
            (17, "above the patient's high level"),
            (18, "below the hypo level"),
            (19, "above the hyper level"),
            (20, "falls too fast"),
            (21, "rises too fast"),
            (22, "too low for the device"),
            (23, "too high for the device"),
        ],
    ),
    Column::numeric("time-offset", &["min"]),
    Column::text("session-start"),
    Column::numeric("time-zone", &["min"]),
    Column::code("daylight-saving", &[(0, "standard time"), (2, "half an hour"), (4, "one hour"), (8, "two hours"), (255, "unknown")]),
    Column::numeric("session-length", &["h"]),
    Column::bits(
        "features",
        &[
            (0, "calibration"),
            (1, "patient alerts"),
            (2, "hypo alerts"),
            (3, "hyper alerts"),
            (4, "rate alerts"),
            (5, "device-specific alert"),
            (6, "finds malfunctions"),
            (7, "finds low and high temperature"),
            (8, "finds low and high results"),
            (9, "finds a low battery"),
            (10, "finds a wrong sensor"),
            (11, "finds general faults"),
            (12, "checksums"),
            (13, "several bonds"),
            (14, "several sessions"),
            (15, "trend"),
            (16, "quality"),
        ],
    ),
    Column::code(
        "sample-type",
        &[
            (1, "capillary whole blood"),
            (2, "capillary plasma"),
            (3, "venous whole blood"),
            (4, "venous plasma"),
            (5, "arterial whole blood"),
            (6, "arterial plasma"),
            (7, "undetermined whole blood"),
            (8, "undetermined plasma"),
            (9, "interstitial fluid"),
            (10, "control solution"),
        ],
    ),
    Column::code(
        "sample-site",
        &[
            (1, "finger"),
            (2, "alternate site"),
            (3, "ear lobe"),
            (4, "control solution"),
            (5, "subcutaneous tissue"),
            (15, "not available"),
        ],
    ),
];

// flags of a measurement
const TREND_PRESENT: u8 = 1 << 0;
const QUALITY_PRESENT: u8 = 1 << 1;
const WARNING_PRESENT: u8 = 1 << 5;
const CALIBRATION_PRESENT: u8 = 1 << 6;
const STATUS_PRESENT: u8 = 1 << 7;

const CHECKSUMS: u32 = 1 << 12; // of the features
const DOUBTFUL: u32 = 1 << 2 | 1 << 3 | 1 << 5 | 1 << 12 | 1 << 13 | TOO_LOW | TOO_HIGH;
const TOO_LOW: u32 = 1 << 22;
const TOO_HIGH: u32 = 1 << 23;
/// The device itself holds the value to be alarming.
const ALARMING: u32 = 0x3f_0000;
const MINUTE_NS: u64 = 60_000_000_000;
const QUARTER_MIN: i64 = 15; // the time zone counts quarters of an hour
const ZONE_UNKNOWN: i8 = -128;

const NO_CHECKSUM_THERE: &[u8] = &[0xff, 0xff];
const NO_CHECKSUM: Damage = Damage("its checksum is missing, and the device says that it sends one");
const WRONG_CHECKSUM: Damage = Damage("its checksum is wrong");
const WRONG_SIZE: Damage = Damage("its size does not fit its flags");

/// `checksums`: whether the device's features say that it sends them. While they were not read, a value without one may be damaged:
/// it is `questionable`.
pub fn decode(from: u128, bytes: &[u8], checksums: Option<bool>) -> Read<Vec<Message>> {
    match from {
        MEASUREMENT => measurements(bytes, checksums),
        FEATURE => feature(bytes).map(|(message, _)| vec![message]),
        STATUS => one(bytes, 5, checksums, |mut fields| {
            let offset = fields.u16()?;
            let mut message = Message::of(vec![reading(SENSOR_STATUS, Value::Bits(fields.u24()?.into()))]);
            since_start(&mut message, offset);
            Ok(message)
        }),
        SESSION_START => one(bytes, 9, checksums, session_start),
        _ => one(bytes, 2, checksums, |mut fields| Ok(Message::of(vec![reading(SESSION_LENGTH, u32::from(fields.u16()?))]))),
    }
}

fn one(bytes: &[u8], length: usize, checksums: Option<bool>, read: impl Fn(Fields<'_>) -> Read<Message>) -> Read<Vec<Message>> {
    let (fields, sure) = checked(bytes, length, checksums)?;
    let mut message = read(fields)?;
    if !sure {
        message.mark(Quality::QUESTIONABLE);
    }
    Ok(vec![message])
}

/// One or more records, each with its size; all of them count, or none.
fn measurements(mut bytes: &[u8], checksums: Option<bool>) -> Read<Vec<Message>> {
    let mut messages = Vec::new();
    loop {
        let size = usize::from(Fields::new(bytes).u8()?);
        let record = Fields::new(bytes).take(size)?;
        messages.push(measurement(record, checksums)?);
        bytes = &bytes[size..];
        if bytes.is_empty() {
            return Ok(messages);
        }
    }
}

fn measurement(record: &[u8], checksums: Option<bool>) -> Read<Message> {
    let flags = *record.get(1).ok_or(WRONG_SIZE)?;
    let octets = (flags & (WARNING_PRESENT | CALIBRATION_PRESENT | STATUS_PRESENT)).count_ones() as usize;
    let floats = (flags & (TREND_PRESENT | QUALITY_PRESENT)).count_ones() as usize;
    let (mut fields, sure) = checked(record, 6 + octets + 2 * floats, checksums)?;
    fields.take(2)?;
    let (value, offset) = (fields.sfloat()?, fields.u16()?);
    let mut status = 0;
    // the field is least significant octet first, and each octet has its own flag
    for (flag, shift) in [(STATUS_PRESENT, 0), (CALIBRATION_PRESENT, 8), (WARNING_PRESENT, 16)] {
        status |= fields.when(flags & flag != 0, Fields::u8)?.map_or(0, |octet| u32::from(octet) << shift);
    }
    let value = match (value, status) {
        (Value::Absent(Absence::NotMeasured), s) if s & TOO_HIGH != 0 => Absence::OverRange.into(),
        (Value::Absent(Absence::NotMeasured), s) if s & TOO_LOW != 0 => Absence::UnderRange.into(),
        (value, _) => value,
    };
    let mut message = Message::of(vec![reading(GLUCOSE, value)]);
    message.push_some(TREND, fields.when(flags & TREND_PRESENT != 0, Fields::sfloat)?);
    for (applies, quality) in [(status & DOUBTFUL != 0 || !sure, Quality::QUESTIONABLE), (status & ALARMING != 0, Quality::IN_ALARM)] {
        if applies {
            message.mark(quality);
        }
    }
    message.push_some(QUALITY, fields.when(flags & QUALITY_PRESENT != 0, Fields::sfloat)?);
    if octets > 0 {
        message.push(SENSOR_STATUS, Value::Bits(status.into()));
    }
    since_start(&mut message, offset);
    Ok(message)
}

/// The device counts minutes from the start of its session, which it tells by itself.
fn since_start(message: &mut Message, offset: u16) {
    message.push(TIME_OFFSET, u32::from(offset));
    message.at = DeviceTime::Counter(u64::from(offset) * MINUTE_NS);
}

fn session_start(mut fields: Fields<'_>) -> Read<Message> {
    let (start, zone, daylight_saving) = (fields.date_time()?, fields.i8()?, fields.u8()?);
    let mut message = Message::of(vec![reading(SESSION, Value::Text(start.to_string()))]);
    message.push(
        TIME_ZONE,
        match zone {
            ZONE_UNKNOWN => Value::Absent(Absence::Unknown),
            quarters => Decimal::new(i64::from(quarters) * QUARTER_MIN, 0).into(),
        },
    );
    message.push(DAYLIGHT_SAVING, Value::Code(daylight_saving.into()));
    message.at = start.at();
    Ok(message)
}

/// What the device can do; `true`: its values carry a checksum. Without them the place of its own holds FFFF.
pub fn feature(bytes: &[u8]) -> Read<(Message, bool)> {
    let mut fields = Fields::new(bytes);
    let (features, sampled) = (fields.u24()?, fields.u8()?);
    let checksums = features & CHECKSUMS != 0;
    match fields.left() {
        _ if checksums => drop(checked(bytes, 4, Some(true))?),
        [] | NO_CHECKSUM_THERE => {}
        _ => return Err(WRONG_CHECKSUM), // one bit that fell would take away all the others' checksums
    }
    let mut message = Message::of(vec![reading(FEATURES, Value::Bits(features.into()))]);
    message.push(SAMPLE_TYPE, Value::Code((sampled & 15).into()));
    message.push(SAMPLE_SITE, Value::Code((sampled >> 4).into()));
    Ok((message, checksums))
}

/// A value of `length` octets, and perhaps a checksum behind it, which is right. `false`: one should perhaps stand there.
fn checked(bytes: &[u8], length: usize, checksums: Option<bool>) -> Read<(Fields<'_>, bool)> {
    let mut fields = Fields::new(bytes);
    let value = fields.take(length)?;
    match fields.left() {
        [] if checksums == Some(true) => Err(NO_CHECKSUM),
        [] => Ok((Fields::new(value), checksums.is_some())),
        [low, high] if u16::from_le_bytes([*low, *high]) == crc(value) => Ok((Fields::new(value), true)),
        [_, _] => Err(WRONG_CHECKSUM),
        _ => Err(WRONG_SIZE),
    }
}

/// CRC-16/MCRF4XX: polynomial 1021 reflected, begun with FFFF.
pub fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| (crc >> 1) ^ (0x8408 * (crc & 1))))
}
