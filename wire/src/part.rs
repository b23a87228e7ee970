//! Messages: a batch is sent whole, or in parts where the link is thin.

use crate::batch::{FORMAT, read_envelope, read_header, write_header};
use crate::bytes::{Reader, Writer};
use crate::limits::BATCH_BYTES_MAX;
use crate::records::read_digest;
use crate::seal::{self, Domain, MAC_BYTES};
use crate::{Digest, Header, Key, WireError};

pub use crate::join::{JOIN_BATCHES_MAX, JOIN_BYTES_MAX, Joiner};

/// Parts of one batch: the largest batch in messages of 1 KiB and more, and a bound for what a receiver keeps of one.
pub const PARTS_MAX: usize = 5 << 10;

/// Part `index` of `total` of the batch with this header and digest. The key for joining is identity + digest + total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub header: Header,
    pub digest: Digest,
    pub index: u16,
    pub total: u16,
    pub bytes: Vec<u8>,
}

/// What one published message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A whole batch, its MAC checked, its body not yet read.
    Batch {
        header: Header,
        digest: Digest,
    },
    Part(Part),
}

/// The messages for one encoded batch, none longer than `message_bytes_max`; a batch that fits is sent as it stands.
pub fn split(batch: &[u8], message_bytes_max: usize, key: &Key) -> Result<Vec<Vec<u8>>, WireError> {
    let (header, digest) = crate::peek(batch, key)?;
    if batch.len() <= message_bytes_max {
        return Ok(vec![batch.to_vec()]);
    }
    let too_many = WireError::TooManyParts { bytes: batch.len(), parts_max: PARTS_MAX };
    let around = head(&header, digest, PARTS_MAX, PARTS_MAX)?.out.len() + MAC_BYTES; // the longest numbers that there are
    let room = message_bytes_max.checked_sub(around).filter(|room| *room > 0).ok_or(too_many.clone())?;
    let at_least = batch.len().div_ceil(room);
    if at_least > PARTS_MAX || batch.len() > BATCH_BYTES_MAX {
        return Err(too_many);
    }
    let share = batch.len().div_ceil(at_least); // equal shares: no short last message
    let total = batch.len().div_ceil(share);
    let message = |(index, bytes): (usize, &[u8])| {
        let mut w = head(&header, digest, index, total)?;
        w.raw(bytes);
        Ok(Domain::Part.seal(key, w.out))
    };
    batch.chunks(share).enumerate().map(message).collect()
}

/// Everything of a part before its bytes.
fn head(header: &Header, digest: Digest, index: usize, total: usize) -> Result<Writer, WireError> {
    let mut w = Writer::new();
    w.raw(Domain::Part.magic());
    w.u8(FORMAT);
    write_header(&mut w, header)?;
    w.raw(&digest.0);
    w.varint(index as u64);
    w.varint(total as u64);
    Ok(w)
}

/// Checks the MAC of a batch or a part and says what it is.
pub fn read_message(bytes: &[u8], key: &Key) -> Result<Message, WireError> {
    if bytes.starts_with(Domain::Part.magic()) {
        return read_part(Domain::Part.open(key, bytes)?).map(Message::Part);
    }
    let covered = Domain::Batch.open(key, bytes)?;
    let (_, header, _) = read_envelope(covered)?;
    Ok(Message::Batch { header, digest: seal::digest(covered) })
}

pub(crate) fn read_part(covered: &[u8]) -> Result<Part, WireError> {
    let mut r = Reader::new(covered, "a part");
    if r.array::<2>()? != *Domain::Part.magic() {
        return Err(WireError::NotOurs);
    }
    let format = r.u8()?;
    if format != FORMAT {
        return Err(WireError::Format(format));
    }
    let header = read_header(&mut r)?;
    let digest = read_digest(&mut r)?;
    let (index, total): (u16, u16) = (r.number()?, r.number()?);
    let bytes = r.raw(r.left())?.to_vec();
    if index >= total || !(2..=PARTS_MAX).contains(&usize::from(total)) || bytes.is_empty() || bytes.len() > BATCH_BYTES_MAX {
        return Err(WireError::Range("a part"));
    }
    Ok(Part { header, digest, index, total, bytes })
}
