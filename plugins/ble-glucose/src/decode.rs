//! Glucose measurement (2A18), its context (2A34), and answers of the record access control point (2A52). Pure.

use wardgate_sdk::gatt::{Column, Damage, DateTime, Fields, Message, Read, sig};
use wardgate_sdk::{Absence, Channel, Decimal, DeviceTime, Quality, Value, reading};

pub const MEASUREMENT: u128 = sig(0x2a18);
pub const CONTEXT: u128 = sig(0x2a34);
pub const CONTROL_POINT: u128 = sig(0x2a52);

pub const GLUCOSE: Channel = 0;
pub const SEQUENCE: Channel = 1;
const SAMPLE_TYPE: Channel = 2;
const SAMPLE_SITE: Channel = 3;
const STATUS: Channel = 4;
const TIME_OFFSET: Channel = 5;
const DEVICE_TIME: Channel = 6;
const CARBOHYDRATE: Channel = 7;
const CARBOHYDRATE_KIND: Channel = 8;
const MEAL: Channel = 9;
const TESTER: Channel = 10;
const HEALTH: Channel = 11;
const EXERCISE_TIME: Channel = 12;
const EXERCISE_INTENSITY: Channel = 13;
const MEDICATION_MASS: Channel = 14;
const MEDICATION_VOLUME: Channel = 15;
const MEDICATION_KIND: Channel = 16;
const HBA1C: Channel = 17;
const STORED_RECORDS: Channel = 18;
const PROCEDURE: Channel = 19;
const PROCEDURE_RESULT: Channel = 20;

pub const CHANNELS: &[Column] = &[
    Column::numeric("glucose", &["kg/L", "mol/L"]).mdc(160_020), // MDC_CONC_GLU_GEN; what was sampled stands beside it
    Column::numeric("sequence", &["1"]),
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
    Column::code("sample-site", &[(1, "finger"), (2, "alternate site"), (3, "ear lobe"), (4, "control solution"), (15, "not available")]),
    Column::bits(
        "sensor-status",
        &[
            (0, "battery low"),
            (1, "sensor malfunction"),
            (2, "sample too small"),
            (3, "strip inserted wrongly"),
            (4, "wrong strip"),
            (5, "result too high for the device"),
            (6, "result too low for the device"),
            (7, "sensor too hot"),
            (8, "sensor too cold"),
            (9, "strip pulled too soon"),
            (10, "general fault"),
            (11, "clock fault"),
        ],
    ),
    Column::numeric("time-offset", &["min"]),
    Column::text("device-time"),
    Column::numeric("carbohydrate", &["kg"]),
    Column::code(
        "carbohydrate-kind",
        &[(1, "breakfast"), (2, "lunch"), (3, "dinner"), (4, "snack"), (5, "drink"), (6, "supper"), (7, "brunch")],
    ),
    Column::code("meal", &[(1, "before"), (2, "after"), (3, "fasting"), (4, "casual"), (5, "bedtime")]),
    Column::code("tester", &[(1, "self"), (2, "health care professional"), (3, "laboratory"), (15, "not available")]),
    Column::code(
        "health",
        &[(1, "minor issues"), (2, "major issues"), (3, "menses"), (4, "stress"), (5, "no issues"), (15, "not available")],
    ),
    Column::numeric("exercise-time", &["s"]),
    Column::numeric("exercise-intensity", &["%"]),
    Column::numeric("medication-mass", &["kg"]),
    Column::numeric("medication-volume", &["L"]),
    Column::code(
        "medication-kind",
        &[(1, "rapid insulin"), (2, "short insulin"), (3, "intermediate insulin"), (4, "long insulin"), (5, "pre-mixed insulin")],
    ),
    Column::numeric("hba1c", &["%"]).mdc(160_220), // MDC_CONC_HBA1C
    Column::numeric("stored-records", &["1"]),
    Column::code("procedure", &[(1, "report"), (2, "delete"), (3, "abort"), (4, "count")]),
    Column::code(
        "procedure-result",
        &[
            (1, "success"),
            (2, "procedure not supported"),
            (3, "invalid operator"),
            (4, "operator not supported"),
            (5, "invalid operand"),
            (6, "no records found"),
            (7, "abort unsuccessful"),
            (8, "not completed"),
            (9, "operand not supported"),
        ],
    ),
];

// flags of the measurement
const OFFSET_PRESENT: u8 = 1 << 0;
const CONCENTRATION_PRESENT: u8 = 1 << 1;
const MOLAR_SHIFT: u8 = 2;
const STATUS_PRESENT: u8 = 1 << 3;
const CONTEXT_FOLLOWS: u8 = 1 << 4;
// flags of the context
const CARBOHYDRATE_PRESENT: u8 = 1 << 0;
const MEAL_PRESENT: u8 = 1 << 1;
const TESTER_PRESENT: u8 = 1 << 2;
const EXERCISE_PRESENT: u8 = 1 << 3;
const MEDICATION_PRESENT: u8 = 1 << 4;
const MEDICATION_IS_VOLUME: u8 = 1 << 5;
const HBA1C_PRESENT: u8 = 1 << 6;
const MORE_FLAGS: u8 = 1 << 7;

const CONTROL_SOLUTION_TYPE: u8 = 10;
const CONTROL_SOLUTION_SITE: u8 = 4;
const TOO_HIGH: u16 = 1 << 5;
const TOO_LOW: u16 = 1 << 6;
const FAULTY: u16 = 1 << 1 | 1 << 10;
/// Everything but the battery, the clock, and a result beyond the device's range.
const DOUBTFUL: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10;
/// The clock was not right, or a time was lost.
const TIME_FAULT: u16 = 1 << 11;
const OFFSET_OVERRUN: i16 = i16::MAX;
const OFFSET_UNDERRUN: i16 = i16::MIN;
const MINUTE_NS: i64 = 60_000_000_000;
const EXERCISE_OVERRUN: u16 = u16::MAX;

/// A stored record, or what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub sequence: u16,
    /// Of when it was measured and how much: two records of one number that differ in it are not the same.
    pub mark: u32,
    pub message: Message,
    pub context_follows: bool,
}

/// What the control point says about a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Count(u16),
    Result { procedure: u8, result: u8 },
}

pub fn decode(from: u128, bytes: &[u8]) -> Read<Vec<Message>> {
    let message = match from {
        MEASUREMENT => measurement(bytes)?.message,
        CONTEXT => {
            let record = context(bytes)?;
            let mut message = Message::of(vec![reading(SEQUENCE, u32::from(record.sequence))]);
            message.readings.extend(record.message.readings);
            message
        }
        _ => answer(bytes)?.message(),
    };
    Ok(vec![message])
}

pub fn measurement(bytes: &[u8]) -> Read<Record> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let sequence = fields.u16()?;
    let base = fields.date_time()?;
    let offset = fields.when(flags & OFFSET_PRESENT != 0, Fields::i16)?;
    let sample = fields.when(flags & CONCENTRATION_PRESENT != 0, |fields| Ok((fields.sfloat()?, fields.u8()?)))?;
    let status = fields.when(flags & STATUS_PRESENT != 0, Fields::u16)?;
    let mut message = Message::new();
    if let Some((value, sampled)) = sample {
        let (kind, site) = (sampled & 15, sampled >> 4);
        message.unit = Some(usize::from(flags >> MOLAR_SHIFT & 1));
        message.push(GLUCOSE, value);
        judge(&mut message, kind == CONTROL_SOLUTION_TYPE || site == CONTROL_SOLUTION_SITE, status.unwrap_or(0));
        message.push(SAMPLE_TYPE, Value::Code(kind.into()));
        message.push(SAMPLE_SITE, Value::Code(site.into()));
    }
    message.push(SEQUENCE, u32::from(sequence));
    message.push_some(STATUS, status.map(|status| Value::Bits(status.into())));
    message.push_some(TIME_OFFSET, offset.map(minutes));
    let doubtful = status.is_some_and(|status| status & TIME_FAULT != 0);
    match user_facing(&base, offset).filter(|_| !doubtful) {
        Some(at) => message.at = at,
        // a clock with a fault, an offset that is beyond its range, a date that is none: it goes out in words
        None => message.push(DEVICE_TIME, Value::Text(base.to_string())),
    }
    Ok(Record { sequence, mark: mark(bytes, flags), message, context_follows: flags & CONTEXT_FOLLOWS != 0 })
}

/// FNV-1a of the base time, and of the concentration with its type and site. What a meter may tell otherwise the next time (its status,
/// the offset of its clock) is left out.
fn mark(measurement: &[u8], flags: u8) -> u32 {
    const TIME: std::ops::Range<usize> = 3..10; // behind the flags and the number
    const SAMPLE_BYTES: usize = 3;
    let time = measurement.get(TIME).unwrap_or_default();
    let sample = TIME.end + if flags & OFFSET_PRESENT != 0 { 2 } else { 0 };
    let sample = Some(sample).filter(|_| flags & CONCENTRATION_PRESENT != 0).and_then(|at| measurement.get(at..at + SAMPLE_BYTES));
    let bytes = time.iter().chain(sample.unwrap_or_default());
    bytes.fold(0x811c_9dc5, |mark, byte| (mark ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The time that the device shows its user: its base time moved by the offset. Both can be had back, since the offset is told too.
fn user_facing(base: &DateTime, offset: Option<i16>) -> Option<DeviceTime> {
    let offset = offset.unwrap_or(0);
    if matches!(offset, OFFSET_OVERRUN | OFFSET_UNDERRUN) {
        return None;
    }
    base.local_ns()?.checked_add(i64::from(offset) * MINUTE_NS).map(DeviceTime::Local)
}

fn minutes(offset: i16) -> Value {
    match offset {
        OFFSET_OVERRUN => Absence::OverRange.into(),
        OFFSET_UNDERRUN => Absence::UnderRange.into(),
        minutes => Decimal::new(minutes.into(), 0).into(),
    }
}

/// What the status says about the concentration, which is the only reading so far.
fn judge(message: &mut Message, control: bool, status: u16) {
    if control {
        message.mark(Quality::TEST); // the meter was tried, not the patient
    }
    if status & DOUBTFUL != 0 {
        message.mark(Quality::QUESTIONABLE);
    }
    let why = match status {
        s if s & TOO_HIGH != 0 => Absence::OverRange,
        s if s & TOO_LOW != 0 => Absence::UnderRange,
        s if s & FAULTY != 0 => Absence::SensorFault,
        _ => return,
    };
    for r in &mut message.readings {
        if r.value == Value::Absent(Absence::NotMeasured) {
            r.value = why.into();
        }
    }
}

pub fn context(bytes: &[u8]) -> Read<Record> {
    let mut fields = Fields::new(bytes);
    let flags = fields.u8()?;
    let sequence = fields.u16()?;
    fields.when(flags & MORE_FLAGS != 0, Fields::u8)?;
    let mut message = Message::new();
    if flags & CARBOHYDRATE_PRESENT != 0 {
        message.push(CARBOHYDRATE_KIND, Value::Code(fields.u8()?.into()));
        message.push(CARBOHYDRATE, fields.sfloat()?);
    }
    message.push_some(MEAL, fields.when(flags & MEAL_PRESENT != 0, Fields::u8)?.map(|meal| Value::Code(meal.into())));
    if flags & TESTER_PRESENT != 0 {
        let both = fields.u8()?;
        message.push(TESTER, Value::Code((both & 15).into()));
        message.push(HEALTH, Value::Code((both >> 4).into()));
    }
    if flags & EXERCISE_PRESENT != 0 {
        message.push(
            EXERCISE_TIME,
            match fields.u16()? {
                EXERCISE_OVERRUN => Value::Absent(Absence::OverRange),
                seconds => u32::from(seconds).into(),
            },
        );
        message.push(EXERCISE_INTENSITY, u32::from(fields.u8()?));
    }
    if flags & MEDICATION_PRESENT != 0 {
        message.push(MEDICATION_KIND, Value::Code(fields.u8()?.into()));
        let amount = if flags & MEDICATION_IS_VOLUME != 0 { MEDICATION_VOLUME } else { MEDICATION_MASS };
        message.push(amount, fields.sfloat()?);
    }
    message.push_some(HBA1C, fields.when(flags & HBA1C_PRESENT != 0, Fields::sfloat)?);
    Ok(Record { sequence, mark: 0, message, context_follows: false })
}

const COUNT_ANSWER: u8 = 5;
const RESULT_ANSWER: u8 = 6;

/// Procedure, operator, operand.
pub fn answer(bytes: &[u8]) -> Read<Answer> {
    let mut fields = Fields::new(bytes);
    let (procedure, _operator) = (fields.u8()?, fields.u8()?);
    match procedure {
        COUNT_ANSWER => Ok(Answer::Count(fields.u16()?)),
        RESULT_ANSWER => Ok(Answer::Result { procedure: fields.u8()?, result: fields.u8()? }),
        _ => Err(Damage("it is no answer of a record access control point")),
    }
}

impl Answer {
    pub fn message(self) -> Message {
        Message::of(match self {
            Self::Count(count) => vec![reading(STORED_RECORDS, u32::from(count))],
            Self::Result { procedure, result } => {
                vec![reading(PROCEDURE, Value::Code(procedure.into())), reading(PROCEDURE_RESULT, Value::Code(result.into()))]
            }
        })
    }
}
