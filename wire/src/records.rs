//! The small records that stand row by row in alerts and ledger: decimals, codings, moments, streams, descriptions.

use crate::bytes::{Reader, Writer};
use crate::limits::{INSTANCE_BYTES_MAX, Rows};
use crate::{Coding, Decimal, Description, Digest, Fact, Moment, Source, Stream, WaveformShape, WireError};

/// One byte that is the code of an enumeration.
pub(crate) fn read_code<T>(r: &mut Reader<'_>, from_code: fn(u8) -> Option<T>, what: &'static str) -> Result<T, WireError> {
    from_code(r.u8()?).ok_or(WireError::Range(what))
}

pub(crate) fn write_flag(w: &mut Writer, flag: bool) {
    w.u8(u8::from(flag));
}

pub(crate) fn read_flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, WireError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Range(what)),
    }
}

/// What begins each instance's share of a data batch: its name, and whether it was parked.
pub(crate) fn write_instance(w: &mut Writer, instance: &str, late: bool) -> Result<(), WireError> {
    check_instance(instance)?;
    w.text(instance);
    write_flag(w, late);
    Ok(())
}

pub(crate) fn read_instance(r: &mut Reader<'_>) -> Result<(String, bool), WireError> {
    let instance = r.text()?;
    check_instance(&instance)?;
    Ok((instance, read_flag(r, "late")?))
}

fn check_instance(instance: &str) -> Result<(), WireError> {
    if instance.len() > INSTANCE_BYTES_MAX {
        return Err(WireError::TooLarge { what: "bytes of an instance's name", found: instance.len(), limit: INSTANCE_BYTES_MAX });
    }
    Ok(())
}

pub(crate) fn read_digest(r: &mut Reader<'_>) -> Result<Digest, WireError> {
    Ok(Digest(r.array()?))
}

pub(crate) fn write_moment(w: &mut Writer, moment: Moment) {
    w.fixed64(moment.boot);
    w.varint(moment.monotonic_ns);
}

pub(crate) fn read_moment(r: &mut Reader<'_>) -> Result<Moment, WireError> {
    Ok(Moment { boot: r.fixed64()?, monotonic_ns: r.varint()? })
}

pub(crate) fn write_decimal(w: &mut Writer, decimal: Decimal) {
    w.zigzag(decimal.mantissa);
    w.u8(decimal.exponent as u8);
}

pub(crate) fn read_decimal(r: &mut Reader<'_>) -> Result<Decimal, WireError> {
    Ok(Decimal { mantissa: r.zigzag()?, exponent: r.u8()? as i8 })
}

pub(crate) fn write_coding(w: &mut Writer, coding: &Coding) {
    w.text(&coding.scheme);
    w.text(&coding.value);
}

pub(crate) fn read_coding(r: &mut Reader<'_>) -> Result<Coding, WireError> {
    Ok(Coding { scheme: r.text()?, value: r.text()? })
}

/// 0 for the alerts of the device, or 1 and the channel.
pub(crate) fn write_stream(w: &mut Writer, stream: &Stream) {
    w.text(&stream.instance);
    let channel = match stream.source {
        Source::Alerts => None,
        Source::Channel(channel) => Some(channel),
    };
    w.option(channel, |w, c| w.varint(u64::from(c)));
}

pub(crate) fn read_stream(r: &mut Reader<'_>) -> Result<Stream, WireError> {
    let instance = r.text()?;
    let source = r.option(Reader::number)?.map_or(Source::Alerts, Source::Channel);
    Ok(Stream { instance, source })
}

pub(crate) fn write_facts(w: &mut Writer, facts: &[Fact]) {
    w.varint(facts.len() as u64);
    for fact in facts {
        w.text(&fact.name);
        w.text(&fact.value);
    }
}

pub(crate) fn read_facts(r: &mut Reader<'_>, rows: &mut Rows) -> Result<Vec<Fact>, WireError> {
    let n = r.count(2)?;
    rows.take(n)?;
    (0..n).map(|_| Ok(Fact { name: r.text()?, value: r.text()? })).collect()
}

pub(crate) fn write_description(w: &mut Writer, d: &Description) {
    w.text(&d.name);
    w.u8(d.kind.code());
    w.option(d.code.as_ref(), write_coding);
    w.text(&d.unit);
    w.option(d.shape, |w, s| {
        write_decimal(w, s.scale);
        write_decimal(w, s.offset);
        w.varint(u64::from(s.period_numerator));
        w.varint(u64::from(s.period_denominator));
        w.u8(s.bits);
    });
    write_flag(w, d.personal);
    write_flag(w, d.derived);
    write_facts(w, &d.facts);
}

pub(crate) fn read_description(r: &mut Reader<'_>, rows: &mut Rows) -> Result<Description, WireError> {
    Ok(Description {
        name: r.text()?,
        kind: read_code(r, crate::Kind::from_code, "a kind")?,
        code: r.option(read_coding)?,
        unit: r.text()?,
        shape: r.option(|r| {
            Ok(WaveformShape {
                scale: read_decimal(r)?,
                offset: read_decimal(r)?,
                period_numerator: r.number()?,
                period_denominator: r.number()?,
                bits: r.u8()?,
            })
        })?,
        personal: read_flag(r, "personal")?,
        derived: read_flag(r, "derived")?,
        facts: read_facts(r, rows)?,
    })
}
