//! The bytes of the ledger: records of (kind, length, bytes), so that a kind made later passes through unread.

use crate::bytes::{Reader, Writer};
use crate::column::{device_parts, device_time};
use crate::limits::Rows;
use crate::records::{
    read_code, read_description, read_digest, read_facts, read_flag, read_moment, read_stream, write_description, write_facts, write_flag,
    write_moment, write_stream,
};
use crate::{
    Class, ClassEnd, ClockChange, ClockQuality, Closing, DeviceTime, Entry, GapReason, LastKnown, Predecessor, RunRange, WireError,
    description_digest, seal,
};

const OPENING: u64 = 1;
const CLOSING: u64 = 2;
const RUN: u64 = 3;
const GAP: u64 = 4;
const SHED: u64 = 5;
const CLOCK: u64 = 6;
const BINDING: u64 = 7;
const IDENTITY: u64 = 8;
const DESCRIPTION: u64 = 9;
const DEVICE_CLOCK: u64 = 10;

pub(crate) fn write_ledger(w: &mut Writer, entries: &[Entry]) -> Result<(), WireError> {
    let mut rows = Rows::new();
    for entry in entries {
        rows.take(1 + inner_rows(entry))?;
        check(entry)?;
        let mut record = Writer::new();
        let kind = write_entry(&mut record, entry)?;
        w.varint(kind);
        w.bytes(&record.out);
    }
    Ok(())
}

pub(crate) fn read_ledger(mut r: Reader<'_>) -> Result<Vec<Entry>, WireError> {
    let mut rows = Rows::new();
    let mut entries = Vec::new();
    while r.left() > 0 {
        rows.take(1)?;
        let kind = r.varint()?;
        let entry = read_entry(kind, r.bytes()?, &mut rows)?;
        check(&entry)?;
        entries.push(entry);
    }
    Ok(entries)
}

/// What a record holds in lists of its own.
fn inner_rows(entry: &Entry) -> usize {
    let of = |closing: &Closing| closing.classes.len() + closing.runs.len();
    match entry {
        Entry::Opening { predecessor, .. } => predecessor.as_ref().map_or(0, |p| of(&p.closing)),
        Entry::Closing(closing) => of(closing),
        Entry::Identity { facts, .. } => facts.len(),
        Entry::Description { description, .. } => description.facts.len(),
        _ => 0,
    }
}

/// What no later reader should have to ask again: positions do not run over, and a description carries its own name.
fn check(entry: &Entry) -> Result<(), WireError> {
    let ordered = |closing: &Closing| closing.runs.iter().all(|run| run.first <= run.next);
    let (fits, why) = match entry {
        Entry::Opening { predecessor: Some(p), .. } => (ordered(&p.closing), "a run that ends before it begins"),
        Entry::Closing(closing) => (ordered(closing), "a run that ends before it begins"),
        Entry::Gap { first, indices, .. } => (first.checked_add(*indices).is_some(), "a gap beyond the last index"),
        Entry::DeviceClock { device, .. } => (*device != DeviceTime::NotTold, "a device's clock that tells no time"),
        Entry::Description { digest, description } => (*digest == description_digest(description), "a description under another digest"),
        _ => (true, ""),
    };
    if fits { Ok(()) } else { Err(WireError::Invalid(why)) }
}

fn write_entry(w: &mut Writer, entry: &Entry) -> Result<u64, WireError> {
    let kind = match entry {
        Entry::Opening { predecessor, reason, software } => {
            w.option(predecessor.as_ref(), |w, p| {
                w.fixed64(p.life);
                write_closing(w, &p.closing);
            });
            w.u8(reason.code());
            w.text(software);
            OPENING
        }
        Entry::Closing(closing) => {
            write_closing(w, closing);
            CLOSING
        }
        Entry::Run { stream, run, description, moment, before, reason } => {
            write_stream(w, stream);
            w.varint(u64::from(*run));
            w.option(*description, |w, d| w.raw(&d.0));
            write_moment(w, *moment);
            w.option(*before, write_last_known);
            w.option(*reason, |w, reason| w.u8(reason.code()));
            RUN
        }
        Entry::Gap { life, stream, run, first, indices, values, from, to, reason } => {
            w.fixed64(*life);
            write_stream(w, stream);
            w.varint(u64::from(*run));
            w.varint(*first);
            w.varint(*indices);
            w.option(*values, Writer::varint);
            write_moment(w, *from);
            write_moment(w, *to);
            w.u8(reason.code());
            GAP
        }
        Entry::Shed { life, epoch, class, below } => {
            w.fixed64(*life);
            w.varint(u64::from(*epoch));
            w.u8(class.code());
            w.varint(u64::from(*below));
            SHED
        }
        Entry::Clock { at, wall_ns, uncertainty_ns, quality } => {
            write_moment(w, *at);
            w.zigzag(*wall_ns);
            w.varint(*uncertainty_ns);
            w.u8(quality.code());
            CLOCK
        }
        Entry::Binding { instance, serial, bed, from } => {
            w.text(instance);
            w.option(serial.as_deref(), Writer::text);
            w.option(bed.as_deref(), Writer::text);
            write_moment(w, *from);
            BINDING
        }
        Entry::Identity { instance, at, facts } => {
            w.text(instance);
            write_moment(w, *at);
            write_facts(w, facts);
            IDENTITY
        }
        Entry::Description { description, .. } => {
            write_description(w, description);
            DESCRIPTION
        }
        Entry::DeviceClock { instance, at, device, uncertainty_ns, change } => {
            w.text(instance);
            write_moment(w, *at);
            let (kind, ns) = device_parts(*device);
            w.varint(kind);
            w.zigzag(ns.unwrap_or_default().cast_signed());
            w.varint(*uncertainty_ns);
            w.u8(change.code());
            DEVICE_CLOCK
        }
        Entry::Other { kind: OPENING..=DEVICE_CLOCK, .. } => {
            return Err(WireError::Invalid("an unread record of a kind that is known"));
        }
        Entry::Other { kind, bytes } => {
            w.raw(bytes);
            *kind
        }
    };
    Ok(kind)
}

fn read_entry(kind: u64, bytes: &[u8], rows: &mut Rows) -> Result<Entry, WireError> {
    let mut r = Reader::new(bytes, "a ledger record");
    let entry = match kind {
        OPENING => Entry::Opening {
            predecessor: r.option(|r| Ok(Predecessor { life: r.fixed64()?, closing: read_closing(r, rows)? }))?,
            reason: read_reason(&mut r)?,
            software: r.text()?,
        },
        CLOSING => Entry::Closing(read_closing(&mut r, rows)?),
        RUN => Entry::Run {
            stream: read_stream(&mut r)?,
            run: r.number()?,
            description: r.option(read_digest)?,
            moment: read_moment(&mut r)?,
            before: r.option(read_last_known)?,
            reason: r.option(read_reason)?,
        },
        GAP => Entry::Gap {
            life: r.fixed64()?,
            stream: read_stream(&mut r)?,
            run: r.number()?,
            first: r.varint()?,
            indices: r.varint()?,
            values: r.option(Reader::varint)?,
            from: read_moment(&mut r)?,
            to: read_moment(&mut r)?,
            reason: read_reason(&mut r)?,
        },
        SHED => Entry::Shed {
            life: r.fixed64()?,
            epoch: r.number()?,
            class: read_code(&mut r, Class::from_code, "a class")?,
            below: r.number()?,
        },
        CLOCK => Entry::Clock {
            at: read_moment(&mut r)?,
            wall_ns: r.zigzag()?,
            uncertainty_ns: r.varint()?,
            quality: read_code(&mut r, ClockQuality::from_code, "a clock quality")?,
        },
        BINDING => Entry::Binding {
            instance: r.text()?,
            serial: r.option(Reader::text)?,
            bed: r.option(Reader::text)?,
            from: read_moment(&mut r)?,
        },
        IDENTITY => Entry::Identity { instance: r.text()?, at: read_moment(&mut r)?, facts: read_facts(&mut r, rows)? },
        DEVICE_CLOCK => Entry::DeviceClock {
            instance: r.text()?,
            at: read_moment(&mut r)?,
            device: device_time(r.varint()?, r.zigzag()?.cast_unsigned())?,
            uncertainty_ns: r.varint()?,
            change: read_code(&mut r, ClockChange::from_code, "a change of a clock")?,
        },
        DESCRIPTION => Entry::Description { digest: seal::digest(bytes), description: read_description(&mut r, rows)? },
        kind => return Ok(Entry::Other { kind, bytes: bytes.to_vec() }),
    };
    r.end()?;
    Ok(entry)
}

fn read_reason(r: &mut Reader<'_>) -> Result<GapReason, WireError> {
    read_code(r, GapReason::from_code, "a gap reason")
}

fn write_last_known(w: &mut Writer, last: LastKnown) {
    w.fixed64(last.life);
    w.varint(u64::from(last.run));
    w.varint(last.next);
    write_moment(w, last.moment);
}

fn read_last_known(r: &mut Reader<'_>) -> Result<LastKnown, WireError> {
    Ok(LastKnown { life: r.fixed64()?, run: r.number()?, next: r.varint()?, moment: read_moment(r)? })
}

fn write_closing(w: &mut Writer, closing: &Closing) {
    w.varint(u64::from(closing.epoch));
    write_flag(w, closing.clean);
    w.varint(closing.classes.len() as u64);
    for end in &closing.classes {
        w.u8(end.class.code());
        w.varint(u64::from(end.count));
        w.raw(&end.last.0);
    }
    w.varint(closing.runs.len() as u64);
    for range in &closing.runs {
        write_stream(w, &range.stream);
        w.varint(u64::from(range.run));
        w.varint(range.first);
        w.varint(range.next.wrapping_sub(range.first));
        w.varint(range.count);
        write_moment(w, range.first_moment);
        write_moment(w, range.last_moment);
    }
}

fn read_closing(r: &mut Reader<'_>, rows: &mut Rows) -> Result<Closing, WireError> {
    let epoch = r.number()?;
    let clean = read_flag(r, "clean")?;
    let n = r.count(18)?;
    rows.take(n)?;
    let classes = (0..n)
        .map(|_| Ok(ClassEnd { class: read_code(r, Class::from_code, "a class")?, count: r.number()?, last: read_digest(r)? }))
        .collect::<Result<_, WireError>>()?;
    let n = r.count(24)?;
    rows.take(n)?;
    let runs = (0..n)
        .map(|_| {
            let (stream, run, first) = (read_stream(r)?, r.number()?, r.varint()?);
            let next = first.checked_add(r.varint()?).ok_or(WireError::Range("a run's last index"))?;
            Ok(RunRange { stream, run, first, next, count: r.varint()?, first_moment: read_moment(r)?, last_moment: read_moment(r)? })
        })
        .collect::<Result<_, WireError>>()?;
    Ok(Closing { epoch, clean, classes, runs })
}
