//! The bytes of what an instance said while nobody knew whose device it was: kept on the gateway's card until a person says so, never sent.

use crate::bytes::{Reader, Writer};
use crate::column::{device_parts, device_time};
use crate::limits::Rows;
use crate::records::{read_code, read_decimal, read_description, read_moment, write_decimal, write_description, write_moment};
use crate::{Absence, Description, DeviceTime, GapReason, Moment, Piece, Value, WireError};

const WHAT: &str = "parked output";
/// The fewest bytes of a reading: channel, quality, and the kind of a value with one byte.
const READING_BYTES_MIN: usize = 4;

/// One thing, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// The plugin was opened or its link came up: from here on it may be another device, which has not said who it is.
    Session {
        moment: Moment,
    },
    /// Who the device that is there since then says it is.
    Claim {
        serial: String,
    },
    /// `expected`: the index that comes next on a waveform if nothing is lost.
    Describe {
        channel: u16,
        expected: u64,
        description: Description,
    },
    Observation {
        moment: Moment,
        at: DeviceTime,
        readings: Vec<(u16, Value, u16)>,
    },
    /// `piece.count` is the number of counts.
    Block {
        channel: u16,
        first: u64,
        piece: Piece,
        counts: Vec<i32>,
    },
    Missed {
        moment: Moment,
        channel: u16,
        count: Option<u64>,
        reason: GapReason,
    },
    /// Something of every stream was lost, or may have been.
    Cut {
        moment: Moment,
        reason: GapReason,
    },
}

impl Parked {
    pub fn write(&self, w: &mut Writer) {
        match self {
            Self::Session { moment } => {
                w.u8(0);
                write_moment(w, *moment);
            }
            Self::Claim { serial } => {
                w.u8(1);
                w.text(serial);
            }
            Self::Describe { channel, expected, description } => {
                w.u8(2);
                w.varint(u64::from(*channel));
                w.varint(*expected);
                write_description(w, description);
            }
            Self::Observation { moment, at, readings } => {
                w.u8(3);
                write_times(w, *moment, *at);
                w.varint(readings.len() as u64);
                for (channel, value, quality) in readings {
                    w.varint(u64::from(*channel));
                    w.varint(u64::from(*quality));
                    write_value(w, value);
                }
            }
            Self::Block { channel, first, piece, counts } => {
                w.u8(4);
                w.varint(u64::from(*channel));
                w.varint(*first);
                write_times(w, piece.moment, piece.at);
                w.varint(u64::from(piece.quality));
                w.varint(counts.len() as u64);
                let mut before = 0;
                for &count in counts {
                    w.zigzag(i64::from(count) - before); // neighbours are near one another: mostly one byte
                    before = i64::from(count);
                }
            }
            Self::Missed { moment, channel, count, reason } => {
                w.u8(5);
                write_moment(w, *moment);
                w.varint(u64::from(*channel));
                w.option(*count, Writer::varint);
                w.u8(reason.code());
            }
            Self::Cut { moment, reason } => {
                w.u8(6);
                write_moment(w, *moment);
                w.u8(reason.code());
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let reason = |r: &mut Reader<'_>| read_code(r, GapReason::from_code, "a reason");
        Ok(match r.u8()? {
            0 => Self::Session { moment: read_moment(r)? },
            1 => Self::Claim { serial: r.text()? },
            2 => Self::Describe { channel: r.number()?, expected: r.varint()?, description: read_description(r, &mut Rows::new())? },
            3 => {
                let (moment, at) = read_times(r)?;
                let n = r.count(READING_BYTES_MIN)?;
                let readings = (0..n)
                    .map(|_| {
                        let (channel, quality) = (r.number()?, r.number()?);
                        Ok((channel, read_value(r)?, quality))
                    })
                    .collect::<Result<_, WireError>>()?;
                Self::Observation { moment, at, readings }
            }
            4 => {
                let (channel, first) = (r.number()?, r.varint()?);
                let (moment, at) = read_times(r)?;
                let quality = r.number()?;
                let n = r.count(1)?;
                first.checked_add(n as u64).ok_or(WireError::Range("an index"))?;
                let mut before = 0_i64;
                let counts = (0..n)
                    .map(|_| {
                        before = before.wrapping_add(r.zigzag()?);
                        i32::try_from(before).map_err(|_| WireError::Range("a sample"))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                let count = u32::try_from(n).map_err(|_| WireError::Range("a count of samples"))?;
                Self::Block { channel, first, piece: Piece { count, moment, at, quality }, counts }
            }
            5 => {
                let (moment, channel) = (read_moment(r)?, r.number()?);
                Self::Missed { moment, channel, count: r.option(Reader::varint)?, reason: reason(r)? }
            }
            6 => Self::Cut { moment: read_moment(r)?, reason: reason(r)? },
            _ => return Err(WireError::Range(WHAT)),
        })
    }
}

/// All of it, in order.
pub fn read_parked(bytes: &[u8]) -> Result<Vec<Parked>, WireError> {
    let (mut r, mut all) = (Reader::new(bytes, WHAT), Vec::new());
    while r.left() > 0 {
        all.push(Parked::read(&mut r)?);
    }
    Ok(all)
}

fn write_times(w: &mut Writer, moment: Moment, at: DeviceTime) {
    write_moment(w, moment);
    let (kind, value) = device_parts(at);
    w.varint(kind);
    w.varint(value.unwrap_or(0));
}

fn read_times(r: &mut Reader<'_>) -> Result<(Moment, DeviceTime), WireError> {
    Ok((read_moment(r)?, device_time(r.varint()?, r.varint()?)?))
}

fn write_value(w: &mut Writer, value: &Value) {
    match value {
        Value::Number(decimal) => {
            w.u8(0);
            write_decimal(w, *decimal);
        }
        Value::Absent(absence) => {
            w.u8(1);
            w.u8(absence.code());
        }
        Value::Code(code) => {
            w.u8(2);
            w.varint(u64::from(*code));
        }
        Value::Bits(bits) => {
            w.u8(3);
            w.varint(*bits);
        }
        Value::Text(text) => {
            w.u8(4);
            w.text(text);
        }
        Value::Octets(octets) => {
            w.u8(5);
            w.bytes(octets);
        }
    }
}

fn read_value(r: &mut Reader<'_>) -> Result<Value, WireError> {
    Ok(match r.u8()? {
        0 => Value::Number(read_decimal(r)?),
        1 => Value::Absent(read_code(r, Absence::from_code, "an absence")?),
        2 => Value::Code(r.number()?),
        3 => Value::Bits(r.varint()?),
        4 => Value::Text(r.text()?),
        5 => Value::Octets(r.bytes()?.to_vec()),
        _ => return Err(WireError::Range("a kind of value")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decimal, Kind};

    fn all() -> Vec<Parked> {
        let moment = Moment { boot: 7, monotonic_ns: 1_234_567_890_123 };
        let description = Description {
            name: "hr".into(),
            kind: Kind::Numeric,
            code: None,
            unit: "/min".into(),
            shape: None,
            personal: true,
            derived: false,
            facts: vec![],
        };
        let values = [
            Value::Number(Decimal { mantissa: i64::MIN, exponent: -1 }),
            Value::Absent(Absence::SensorOff),
            Value::Code(u32::MAX),
            Value::Bits(u64::MAX),
            Value::Text("ä".into()),
            Value::Octets(vec![0, 255]),
        ];
        let readings = (3..).zip(values).map(|(channel, value)| (channel, value, 0x7ff)).collect();
        let counts = vec![0, i32::MIN, i32::MAX, -1];
        let piece = Piece { count: 4, moment, at: DeviceTime::Local(-5), quality: 1 };
        vec![
            Parked::Session { moment },
            Parked::Describe { channel: 3, expected: 9, description },
            Parked::Observation { moment, at: DeviceTime::Utc(i64::MAX), readings },
            Parked::Claim { serial: "B2".into() },
            Parked::Block { channel: 9, first: u64::MAX - 4, piece, counts },
            Parked::Missed { moment, channel: 3, count: Some(2), reason: GapReason::LineFault },
            Parked::Missed { moment, channel: 3, count: None, reason: GapReason::Unknown },
            Parked::Cut { moment, reason: GapReason::PluginFault },
        ]
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut w = Writer::new();
        all().iter().for_each(|one| one.write(&mut w));
        assert_eq!(read_parked(&w.out).unwrap(), all());
        let ends: Vec<usize> = all()
            .iter()
            .scan(Writer::new(), |w, one| {
                one.write(w);
                Some(w.out.len())
            })
            .collect();
        for n in 0..w.out.len() {
            assert_eq!(read_parked(&w.out[..n]).is_ok(), n == 0 || ends.contains(&n), "cut at {n}");
        }
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..20_000 {
            let mut bytes = w.out.clone();
            for _ in 0..2 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let at = x as usize % bytes.len();
                bytes[at] = (x >> 40) as u8;
            }
            let _ = read_parked(&bytes); // nothing of it may panic or take memory without end
        }
    }
}
