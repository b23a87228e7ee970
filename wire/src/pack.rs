//! A body as it travels: stored, or compressed with zstd where that is smaller.

use zstd::zstd_safe;

use crate::WireError;
use crate::bytes::{Reader, Writer};
use crate::limits::UNPACKED_BYTES_MAX;

const STORED: u8 = 0;
const ZSTD: u8 = 1;

/// No dictionary. A plugin package will bring one, and its number stands here then.
const NO_DICTIONARY: u64 = 0;

/// Every zstd frame starts with these, so they do not travel.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Slow and small: worth it for the few KiB that a second brings (on a ward's own batches 19 takes twice the time for half a percent) ...
const LEVEL_SMALL: i32 = 13;
/// ... and no longer for a body over `SMALL_BYTES_MAX`, where it would hold up the pipeline for tenths of a second on a Pi.
const LEVEL_LARGE: i32 = 3;
const SMALL_BYTES_MAX: usize = 32 << 10;

/// Appends `body`, packed, up to the end of the message.
pub(crate) fn pack(w: &mut Writer, body: &[u8]) -> Result<(), WireError> {
    if body.len() > UNPACKED_BYTES_MAX {
        return Err(WireError::TooLarge { what: "bytes unpacked", found: body.len(), limit: UNPACKED_BYTES_MAX });
    }
    let level = if body.len() <= SMALL_BYTES_MAX { LEVEL_SMALL } else { LEVEL_LARGE };
    let frame = zstd::bulk::compress(body, level).ok();
    match frame.as_deref().and_then(|f| f.strip_prefix(&ZSTD_MAGIC)).filter(|f| f.len() + 1 < body.len()) {
        Some(frame) => {
            w.u8(ZSTD);
            w.varint(NO_DICTIONARY);
            w.raw(frame);
        }
        None => {
            w.u8(STORED);
            w.raw(body);
        }
    }
    Ok(())
}

/// The unpacked body, from everything that `r` has left.
pub(crate) fn unpack(mut r: Reader<'_>, what: &'static str) -> Result<Vec<u8>, WireError> {
    match r.u8()? {
        STORED => {
            let body = r.raw(r.left())?;
            check_size(body.len())?;
            Ok(body.to_vec())
        }
        ZSTD => {
            let dictionary = r.varint()?;
            if dictionary != NO_DICTIONARY {
                return Err(WireError::Dictionary(dictionary));
            }
            unpack_frame(r.raw(r.left())?).ok_or(WireError::Unpack { what })?
        }
        _ => Err(WireError::Range("the packing")),
    }
}

fn check_size(bytes: usize) -> Result<(), WireError> {
    if bytes > UNPACKED_BYTES_MAX {
        return Err(WireError::TooLarge { what: "bytes unpacked", found: bytes, limit: UNPACKED_BYTES_MAX });
    }
    Ok(())
}

/// One frame, all of the bytes, that says its size and keeps to it. `None`: it is not that.
fn unpack_frame(stripped: &[u8]) -> Option<Result<Vec<u8>, WireError>> {
    let frame = [&ZSTD_MAGIC, stripped].concat();
    if zstd_safe::find_frame_compressed_size(&frame).ok()? != frame.len() {
        return None;
    }
    let size = usize::try_from(zstd_safe::get_frame_content_size(&frame).ok()??).ok()?;
    if let Err(error) = check_size(size) {
        return Some(Err(error));
    }
    if stripped.len() + 1 >= size {
        return None; // not smaller: it would have been stored
    }
    let body = zstd::bulk::decompress(&frame, size).ok()?;
    (body.len() == size).then_some(Ok(body))
}
