//! The bytes of values: one column for what each is, then one for each kind, track by track.

use crate::bytes::{Reader, Writer};
use crate::column;
use crate::{Absence, Decimal, NumberedReading, Value, WireError};

const NUMBER: u64 = 0;
const ABSENT: u64 = 1;
const CODE: u64 = 2;
const BITS: u64 = 3;
const TEXT: u64 = 4;
const OCTETS: u64 = 5;

fn kind(value: &Value) -> u64 {
    match value {
        Value::Number(_) => NUMBER,
        Value::Absent(_) => ABSENT,
        Value::Code(_) => CODE,
        Value::Bits(_) => BITS,
        Value::Text(_) => TEXT,
        Value::Octets(_) => OCTETS,
    }
}

pub(crate) fn write_values(w: &mut Writer, tracks: &[Vec<&NumberedReading>]) {
    let all = || tracks.iter().flatten().map(|r| &r.value);
    let pick = |f: fn(&Value) -> Option<u64>| all().filter_map(f).collect::<Vec<_>>();
    column::write(w, &all().map(kind).collect::<Vec<_>>());
    let exponent = |v: &Value| if let Value::Number(d) = v { Some(column::zig(i64::from(d.exponent))) } else { None };
    column::write(w, &pick(exponent));
    write_mantissas(w, tracks);
    column::write(w, &pick(|v| if let Value::Absent(a) = v { Some(u64::from(a.code())) } else { None }));
    column::write(w, &pick(|v| if let Value::Code(c) = v { Some(u64::from(*c)) } else { None }));
    column::write(w, &pick(|v| if let Value::Bits(b) = v { Some(*b) } else { None }));
    for value in all() {
        match value {
            Value::Text(text) => w.text(text),
            Value::Octets(octets) => w.bytes(octets),
            _ => {}
        }
    }
}

/// The first mantissa of each track that has one, then each later one's step from the one before it in its track.
fn write_mantissas(w: &mut Writer, tracks: &[Vec<&NumberedReading>]) {
    let (mut firsts, mut steps) = (Vec::new(), Vec::new());
    for track in tracks {
        let mut last = None;
        for reading in track {
            let Value::Number(decimal) = reading.value else { continue };
            let mantissa = decimal.mantissa as u64;
            match last.replace(mantissa) {
                None => firsts.push(column::zig(decimal.mantissa)),
                Some(before) => steps.push(column::step(before, mantissa)),
            }
        }
    }
    column::write(w, &firsts);
    column::write(w, &steps);
}

/// The values of tracks of these lengths, one track after the other.
pub(crate) fn read_values(r: &mut Reader<'_>, counts: &[usize]) -> Result<Vec<Value>, WireError> {
    let total = counts.iter().sum();
    let kinds = column::read(r, total, "kinds of value")?;
    let of = |kind: u64| kinds.iter().filter(|k| **k == kind).count();
    let exponents = column::read(r, of(NUMBER), "exponents")?;
    let mut mantissas = read_mantissas(r, counts, &kinds)?.into_iter();
    let mut exponents = exponents.into_iter();
    let mut absences = column::read_as::<u8>(r, of(ABSENT), "absences")?.into_iter();
    let mut codes = column::read_as::<u32>(r, of(CODE), "codes")?.into_iter();
    let mut bits = column::read(r, of(BITS), "bits")?.into_iter();
    let short = WireError::Truncated("values");
    kinds
        .iter()
        .map(|kind| {
            Ok(match *kind {
                NUMBER => {
                    let (mantissa, exponent) = mantissas.next().zip(exponents.next()).ok_or(short.clone())?;
                    let exponent = i8::try_from(column::zag(exponent)).map_err(|_| WireError::Range("an exponent"))?;
                    Value::Number(Decimal { mantissa, exponent })
                }
                ABSENT => Value::Absent(absences.next().and_then(Absence::from_code).ok_or(WireError::Range("an absence"))?),
                CODE => Value::Code(codes.next().ok_or(short.clone())?),
                BITS => Value::Bits(bits.next().ok_or(short.clone())?),
                TEXT => Value::Text(r.text()?),
                OCTETS => Value::Octets(r.bytes()?.to_vec()),
                _ => return Err(WireError::Range("a kind of value")),
            })
        })
        .collect()
}

fn read_mantissas(r: &mut Reader<'_>, counts: &[usize], kinds: &[u64]) -> Result<Vec<i64>, WireError> {
    let what = "mantissas";
    let mut kinds = kinds.iter();
    let numbers: Vec<usize> = counts.iter().map(|count| kinds.by_ref().take(*count).filter(|kind| **kind == NUMBER).count()).collect();
    let total: usize = numbers.iter().sum();
    let begun = numbers.iter().filter(|n| **n > 0).count();
    let firsts = column::read(r, begun, what)?;
    let mut steps = column::read(r, total - begun, what)?.into_iter();
    let mut mantissas = Vec::with_capacity(total);
    for (first, n) in firsts.into_iter().zip(numbers.into_iter().filter(|n| *n > 0)) {
        let mut mantissa = column::zag(first) as u64;
        mantissas.push(mantissa as i64);
        for step in steps.by_ref().take(n - 1) {
            mantissa = column::stepped(mantissa, step);
            mantissas.push(mantissa as i64);
        }
    }
    Ok(mantissas)
}
