//! The bytes of a segment: header, groups, footer. Pure; drawn in FORMAT.md.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{BatchKey, Digest, WireError};

use super::contents::{Chain, Contents, Piece};
use super::ranges::Ranges;
use super::{Record, StoreError};

/// The last byte of each magic is the format.
pub(super) const FORMAT: u8 = 0;
const SEGMENT_MAGIC: [u8; 4] = *b"wgS\0";
const GROUP_MAGIC: [u8; 4] = *b"wgG\0";
const FOOTER_MAGIC: [u8; 4] = *b"wgF\0";
const END_MAGIC: [u8; 4] = *b"wgZ\0";
const DIGEST_BYTES: usize = 16;
/// Magic, store, segment number, digest.
pub(super) const HEADER_BYTES: usize = 4 + 8 + 8 + DIGEST_BYTES;
/// Magic, number, length of the body.
const GROUP_HEAD_BYTES: usize = 4 + 8 + 8;
/// Offset of the footer, digest, magic: always the last bytes of a full segment.
pub(super) const TRAILER_BYTES: usize = 8 + DIGEST_BYTES + 4;

pub(super) const KIND_BATCH: u64 = 0;
pub(super) const KIND_STATE: u64 = 1;
pub(super) const KIND_HEADS: u64 = 2;
pub(super) const KIND_ACKNOWLEDGED: u64 = 3;
/// The first kind that `Record::Other` may carry.
pub(super) const KIND_FREE: u64 = 4;

/// SHA-256 cut to 16 bytes, over all parts.
pub(super) fn digest(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    Digest(*hash.finalize().first_chunk().expect("SHA-256 has 32 bytes"))
}

fn close(mut w: Writer, from: usize) -> Vec<u8> {
    let digest = digest(&[&w.out[from..]]);
    w.raw(&digest.0);
    w.out
}

pub(super) fn header(store: u64, segment: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(&SEGMENT_MAGIC);
    w.fixed64(store);
    w.fixed64(segment);
    close(w, 0)
}

/// What a segment's first bytes say.
pub(super) enum Header {
    Ours { store: u64, segment: u64 },
    Later { format: u8 },
    Bad,
}

pub(super) fn read_header(bytes: &[u8]) -> Header {
    let Some((head, check)) = bytes.get(..HEADER_BYTES).and_then(|h| h.split_last_chunk::<DIGEST_BYTES>()) else { return Header::Bad };
    if head[..3] != SEGMENT_MAGIC[..3] || digest(&[head]).0 != *check {
        return Header::Bad;
    }
    let number = |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("the header is long enough"));
    if head[3] == FORMAT { Header::Ours { store: number(4), segment: number(12) } } else { Header::Later { format: head[3] } }
}

/// Kind, length, payload.
fn write_record(w: &mut Writer, kind: u64, payload: &[u8]) {
    w.varint(kind);
    w.bytes(payload);
}

pub(super) fn write_records(records: &[Record]) -> Result<Vec<u8>, StoreError> {
    let mut w = Writer::new();
    for record in records {
        let mut p = Writer::new();
        let kind = match record {
            Record::Batch { key, digest, bytes } => {
                Chain::of(key).write(&mut p);
                p.varint(u64::from(key.sequence));
                p.raw(&digest.0);
                p.raw(bytes);
                KIND_BATCH
            }
            Record::State { instance, bytes } => {
                p.text(instance);
                p.raw(bytes);
                KIND_STATE
            }
            Record::Heads { full, bytes } => {
                p.u8(u8::from(*full));
                p.raw(bytes);
                KIND_HEADS
            }
            Record::Other { kind, .. } if *kind < KIND_FREE => return Err(StoreError::Kind { kind: *kind }),
            Record::Other { kind, bytes } => {
                p.raw(bytes);
                *kind
            }
        };
        write_record(&mut w, kind, &p.out);
    }
    Ok(w.out)
}

/// As `write_records` for payloads that are copied as they are.
pub(super) fn write_copies(copies: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut w = Writer::new();
    copies.iter().for_each(|(kind, payload)| write_record(&mut w, *kind, payload));
    w.out
}

pub(super) fn write_acknowledged(w: &mut Writer, acknowledged: &BTreeMap<Chain, Ranges>) {
    w.varint(acknowledged.len() as u64);
    for (chain, ranges) in acknowledged {
        chain.write(w);
        w.varint(ranges.parts().len() as u64);
        for &(first, last) in ranges.parts() {
            w.varint(u64::from(first));
            w.varint(u64::from(last - first));
        }
    }
}

pub(super) fn acknowledged_record(acknowledged: &BTreeMap<Chain, Ranges>) -> Vec<u8> {
    let (mut w, mut payload) = (Writer::new(), Writer::new());
    write_acknowledged(&mut payload, acknowledged);
    write_record(&mut w, KIND_ACKNOWLEDGED, &payload.out);
    w.out
}

pub(super) fn read_acknowledged_list(r: &mut Reader<'_>) -> Result<BTreeMap<Chain, Ranges>, WireError> {
    let mut list = BTreeMap::new();
    for _ in 0..r.count(11)? {
        let chain = Chain::read(r)?;
        let mut ranges = Ranges::default();
        for _ in 0..r.count(2)? {
            let (first, more): (u32, u32) = (r.number()?, r.number()?);
            ranges.insert(first, first.checked_add(more).ok_or(WireError::Range("acknowledged"))?);
        }
        list.insert(chain, ranges);
    }
    Ok(list)
}

pub(super) fn read_acknowledged(mut r: Reader<'_>) -> Result<BTreeMap<Chain, Ranges>, WireError> {
    let list = read_acknowledged_list(&mut r)?;
    r.end().map(|()| list)
}

/// What stands before a batch's own bytes.
pub(super) fn read_batch_head(r: &mut Reader<'_>) -> Result<(BatchKey, Digest), WireError> {
    let Chain { life, epoch, class } = Chain::read(r)?;
    let sequence = r.number()?;
    Ok((BatchKey { life, epoch, class, sequence }, Digest(r.array()?)))
}

/// The bytes after the name of a state, the flag of heads, the key and digest of a batch.
pub(super) fn bare(kind: u64, payload: &[u8]) -> Option<Vec<u8>> {
    let mut r = Reader::new(payload, "a record");
    match kind {
        KIND_BATCH => _ = read_batch_head(&mut r).ok()?,
        KIND_STATE => _ = r.bytes().ok()?,
        KIND_HEADS => _ = r.u8().ok()?,
        _ => {}
    }
    let left = r.left();
    r.raw(left).ok().map(<[u8]>::to_vec)
}

pub(super) fn group(number: u64, body: &[&[u8]]) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(&GROUP_MAGIC);
    w.fixed64(number);
    w.fixed64(body.iter().map(|part| part.len() as u64).sum());
    body.iter().for_each(|part| w.raw(part));
    close(w, 0)
}

/// The group that begins at `at`, its contents put into `into`; how many bytes it takes, or `None` when it is not whole.
pub(super) fn read_group(segment: &[u8], at: usize, into: &mut Contents) -> Option<usize> {
    let (number, body, length) = whole_group(segment.get(at..)?)?;
    if into.last_group().is_some_and(|last| number != last + 1) {
        return None; // stale bytes of another time
    }
    let mut r = Reader::new(body, "a group");
    let mut records = Vec::new();
    while r.left() > 0 {
        let kind = r.varint().ok()?;
        let payload = r.bytes().ok()?;
        let end = at + GROUP_HEAD_BYTES + body.len() - r.left();
        records.push((kind, payload, (end - payload.len()) as u64, u32::try_from(payload.len()).ok()?));
    }
    into.begin_group(number);
    for (kind, payload, offset, length) in records {
        into.add(kind, payload, Piece { offset, length, digest: digest(&[payload]) });
    }
    Some(length)
}

/// Number, body and length of the group that `bytes` begin with.
fn whole_group(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let mut r = Reader::new(bytes, "a group");
    if r.array::<4>().ok()? != GROUP_MAGIC {
        return None;
    }
    let number = r.fixed64().ok().filter(|n| *n < u64::MAX)?; // there is always a next one
    let body = r.fixed64().ok().and_then(|n| usize::try_from(n).ok()).and_then(|n| r.raw(n).ok())?;
    let check = r.array::<DIGEST_BYTES>().ok()?;
    let length = GROUP_HEAD_BYTES + body.len() + DIGEST_BYTES;
    (digest(&[&bytes[..length - DIGEST_BYTES]]).0 == check).then_some((number, body, length))
}

/// Whether a whole group begins anywhere from `from` on.
pub(super) fn group_behind(segment: &[u8], from: usize) -> bool {
    let Some(tail) = segment.get(from..) else { return false };
    tail.windows(GROUP_MAGIC.len()).enumerate().any(|(at, w)| w == GROUP_MAGIC && whole_group(&tail[at..]).is_some())
}

pub(super) fn looks_like_footer(bytes: &[u8]) -> bool {
    bytes.starts_with(&FOOTER_MAGIC)
}

/// `at`: where in the file it will stand.
pub(super) fn footer(store: u64, segment: u64, contents: &Contents, at: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.raw(&FOOTER_MAGIC);
    w.fixed64(store);
    w.fixed64(segment);
    contents.write(&mut w);
    w.fixed64(at);
    let mut bytes = close(w, 0);
    bytes.extend_from_slice(&END_MAGIC);
    bytes
}

/// Where the footer begins, if these last `TRAILER_BYTES` of a file of this length say that there is one.
pub(super) fn footer_offset(trailer: &[u8; TRAILER_BYTES], file_bytes: u64) -> Option<u64> {
    let at = u64::from_le_bytes(*trailer.first_chunk().expect("8 bytes"));
    (trailer.ends_with(&END_MAGIC) && at >= HEADER_BYTES as u64 && at < file_bytes).then_some(at)
}

/// The footer's bytes to the end of the file, which begin at `at`. `None`: not whole, or not of this segment.
pub(super) fn read_footer(bytes: &[u8], segment: u64, at: u64) -> Option<(u64, Contents)> {
    let (covered, check) = bytes.strip_suffix(&END_MAGIC)?.split_last_chunk::<DIGEST_BYTES>()?;
    if digest(&[covered]).0 != *check {
        return None;
    }
    let mut r = Reader::new(covered, "a footer");
    let (magic, store, number) = (r.array::<4>().ok()?, r.fixed64().ok()?, r.fixed64().ok()?);
    let contents = Contents::read(&mut r).ok()?;
    let here = r.fixed64().ok()?;
    r.end().ok()?;
    let ours = magic == FOOTER_MAGIC && number == segment && here == at;
    (ours && contents.lies_within(HEADER_BYTES as u64, at)).then_some((store, contents))
}
