//! Acknowledgements: cumulative, and they only ever remove.

use crate::batch::{FORMAT, read_gateway};
use crate::bytes::{Reader, Writer};
use crate::records::{read_code, read_digest};
use crate::seal::Domain;
use crate::{Class, Digest, Epoch, GatewayId, Key, Life, Sequence, WireError};

const UP_TO: u64 = 1;
const CLOSED: u64 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckEntry {
    /// Everything up to `high` is held durably, except the `missing` ranges (first and last, both missing, ascending).
    UpTo { life: Life, epoch: Epoch, class: Class, high: Sequence, digest: Digest, missing: Vec<(Sequence, Sequence)> },
    /// The whole epoch is held and settled: every class of it can go.
    Closed { life: Life, epoch: Epoch },
    /// An entry of a kind that this version does not know: skipped.
    Other { kind: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub gateway: GatewayId,
    pub entries: Vec<AckEntry>,
}

/// Missing ranges travel in their one form (ascending, apart, none above `high`), whatever form they come in; an `Other` that bears the
/// number of a known kind says nothing and is left out.
pub fn encode_ack(ack: &Acknowledgement, key: &Key) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(Domain::Ack.magic());
    w.u8(FORMAT);
    w.text(ack.gateway.as_str());
    for entry in &ack.entries {
        let mut record = Writer::new();
        let kind = match entry {
            AckEntry::UpTo { life, epoch, class, high, digest, missing } => {
                record.fixed64(*life);
                record.varint(u64::from(*epoch));
                record.u8(class.code());
                record.varint(u64::from(*high));
                record.raw(&digest.0);
                write_missing(&mut record, missing, *high);
                UP_TO
            }
            AckEntry::Closed { life, epoch } => {
                record.fixed64(*life);
                record.varint(u64::from(*epoch));
                CLOSED
            }
            AckEntry::Other { kind: UP_TO | CLOSED } => continue,
            AckEntry::Other { kind } => *kind,
        };
        w.varint(kind);
        w.bytes(&record.out);
    }
    Domain::Ack.seal(key, w.out)
}

pub fn decode_ack(bytes: &[u8], key: &Key) -> Result<Acknowledgement, WireError> {
    read_ack(Domain::Ack.open(key, bytes)?)
}

pub(crate) fn read_ack(covered: &[u8]) -> Result<Acknowledgement, WireError> {
    let mut r = Reader::new(covered, "an acknowledgement");
    if r.array::<2>()? != *Domain::Ack.magic() {
        return Err(WireError::NotOurs);
    }
    let format = r.u8()?;
    if format != FORMAT {
        return Err(WireError::Format(format));
    }
    let gateway = read_gateway(&mut r)?;
    let mut entries = Vec::new();
    while r.left() > 0 {
        let kind = r.varint()?;
        entries.push(read_entry(kind, r.bytes()?)?);
    }
    Ok(Acknowledgement { gateway, entries })
}

fn read_entry(kind: u64, bytes: &[u8]) -> Result<AckEntry, WireError> {
    let mut r = Reader::new(bytes, "an entry of an acknowledgement");
    let entry = match kind {
        UP_TO => {
            let (life, epoch) = (r.fixed64()?, r.number()?);
            let class = read_code(&mut r, Class::from_code, "a class")?;
            let (high, digest) = (r.number()?, read_digest(&mut r)?);
            AckEntry::UpTo { life, epoch, class, high, digest, missing: read_missing(&mut r, high)? }
        }
        CLOSED => AckEntry::Closed { life: r.fixed64()?, epoch: r.number()? },
        kind => return Ok(AckEntry::Other { kind }),
    };
    r.end()?;
    Ok(entry)
}

/// Each range as how far it begins beyond the earliest place where it could, and how many more follow its first.
fn write_missing(w: &mut Writer, missing: &[(Sequence, Sequence)], high: Sequence) {
    let mut sorted: Vec<_> = missing.iter().map(|&(first, last)| (first, last.min(high))).filter(|(first, last)| first <= last).collect();
    sorted.sort_unstable();
    let mut apart: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
    for (first, last) in sorted.into_iter().map(|(first, last)| (u64::from(first), u64::from(last))) {
        match apart.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => apart.push((first, last)),
        }
    }
    w.varint(apart.len() as u64);
    let mut earliest = 0;
    for (first, last) in apart {
        w.varint(first - earliest);
        w.varint(last - first);
        earliest = last + 2;
    }
}

fn read_missing(r: &mut Reader<'_>, high: Sequence) -> Result<Vec<(Sequence, Sequence)>, WireError> {
    let n = r.count(2)?;
    let mut missing = Vec::with_capacity(n);
    let mut earliest = 0_u64;
    for _ in 0..n {
        let first = earliest + r.number::<u32>().map(u64::from)?;
        let last = first + r.number::<u32>().map(u64::from)?;
        if last > u64::from(high) {
            return Err(WireError::Range("a missing range"));
        }
        missing.push((first as Sequence, last as Sequence));
        earliest = last + 2;
    }
    Ok(missing)
}
