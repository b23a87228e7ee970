//! The bytes of a raw log segment: records one after the other, found again after damage. Pure.
//!
//! A segment is `HEAD`, then records: magic `WLog`, length (u32), receive time (i64, nanoseconds since 1970), checksum (u32: CRC-32 over length,
//! time and bytes), bytes; numbers little-endian. A record of length 0 holds no batch: it says that time passed, so that whatever depends on
//! waiting can be worked out again from the log alone.

use wardgate_wire::BATCH_BYTES_MAX;

/// What a segment begins with; the last byte before the line's end is the version.
pub const HEAD: &[u8; 16] = b"wardgate raw 00\n";
const MAGIC: &[u8; 4] = b"WLog";
/// Magic, length, time, checksum.
pub const RECORD_HEAD_BYTES: usize = 4 + 4 + 8 + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub received_ns: i64,
    /// A whole batch as it came, or nothing: a mark that time passed.
    pub batch: &'a [u8],
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Record(Record<'a>),
    /// Bytes that are no record, up to the next one or to the end.
    Damaged(&'a [u8]),
}

pub fn write(out: &mut Vec<u8>, record: &Record<'_>) {
    let (length, time) = ((record.batch.len() as u32).to_le_bytes(), record.received_ns.to_le_bytes());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&length);
    out.extend_from_slice(&time);
    out.extend_from_slice(&crc32([&length[..], &time, record.batch]).to_le_bytes());
    out.extend_from_slice(record.batch);
}

/// How many bytes of batch follow this head, where it can be one.
pub fn size(head: &[u8]) -> Option<usize> {
    let length = head.strip_prefix(MAGIC)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*length) as usize).filter(|size| *size <= BATCH_BYTES_MAX)
}

/// The record at the beginning of `bytes`, and how long it is.
pub fn read(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<RECORD_HEAD_BYTES>()?;
    let size = size(head)?;
    let (length, time, checksum) = (&head[4..8], &head[8..16], &head[16..]);
    let batch = rest.get(..size)?;
    let right = crc32([length, time, batch]).to_le_bytes() == checksum;
    right.then(|| (Record { received_ns: i64::from_le_bytes(time.try_into().unwrap_or_default()), batch }, RECORD_HEAD_BYTES + size))
}

/// Everything in a segment's bytes, each with its offset. What is damaged is stepped over, never guessed at.
pub fn scan(segment: &[u8]) -> Scan<'_> {
    Scan { segment, at: if segment.starts_with(HEAD) { HEAD.len() } else { 0 } }
}

pub struct Scan<'a> {
    segment: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Scan<'a> {
    type Item = (u64, Found<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (at, left) = (self.at, self.segment.get(self.at..)?);
        if left.is_empty() {
            return None;
        }
        if let Some((record, size)) = read(left) {
            self.at += size;
            return Some((at as u64, Found::Record(record)));
        }
        let magics = (1..left.len()).filter(|i| left[*i..].starts_with(MAGIC));
        let damaged = magics.into_iter().find(|i| read(&left[*i..]).is_some()).unwrap_or(left.len());
        self.at += damaged;
        Some((at as u64, Found::Damaged(&left[..damaged])))
    }
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut c, mut bit) = (i as u32, 0);
        while bit < 8 {
            c = if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

/// IEEE 802.3: every change within 32 neighbouring bits shows, and all but one in 2^32 of the others.
fn crc32<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    let step = |c: u32, b: &u8| CRC_TABLE[usize::from(c as u8 ^ b)] ^ (c >> 8);
    !pieces.iter().copied().flatten().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(crc32([b"1234", b"56789"]), 0xcbf4_3926);
    }

    fn segment() -> (Vec<u8>, Vec<(u64, Record<'static>)>) {
        let records = [&b"first batch"[..], b"", b"WLog inside a batch WLog", b"last"];
        let (mut bytes, mut at) = (HEAD.to_vec(), Vec::new());
        for (n, batch) in records.into_iter().enumerate() {
            let record = Record { received_ns: n as i64 - 1, batch };
            at.push((bytes.len() as u64, record));
            write(&mut bytes, &record);
        }
        (bytes, at)
    }

    fn records(bytes: &[u8]) -> Vec<(u64, Record<'_>)> {
        scan(bytes).filter_map(|(at, found)| if let Found::Record(r) = found { Some((at, r)) } else { None }).collect()
    }

    #[test]
    fn reads_what_was_written() {
        let (bytes, written) = segment();
        assert_eq!(records(&bytes), written);
    }

    #[test]
    fn cut_anywhere_leaves_the_whole_records_before_the_cut() {
        let (bytes, written) = segment();
        for cut in 0..bytes.len() {
            let whole = written.iter().filter(|(at, r)| *at as usize + RECORD_HEAD_BYTES + r.batch.len() <= cut).count();
            assert_eq!(records(&bytes[..cut]), written[..whole], "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_byte_costs_its_own_record_and_no_other() {
        let (bytes, written) = segment();
        for flipped in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[flipped] ^= 0x41;
            let within = |(at, r): &&(u64, Record<'_>)| (*at as usize..*at as usize + RECORD_HEAD_BYTES + r.batch.len()).contains(&flipped);
            let left: Vec<_> = written.iter().filter(|x| !within(x)).copied().collect();
            assert_eq!(records(&bytes), left, "flipped at {flipped}");
            assert!(scan(&bytes).any(|(_, f)| matches!(f, Found::Damaged(_))), "nothing is stepped over silently");
        }
    }

    #[test]
    fn noise_is_survived() {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..500 {
            let (mut bytes, _) = segment();
            for _ in 0..8 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let at = (x >> 8) as usize % bytes.len();
                bytes[at] = x as u8;
            }
            let total: usize = scan(&bytes)
                .map(|(_, f)| match f {
                    Found::Record(r) => RECORD_HEAD_BYTES + r.batch.len(),
                    Found::Damaged(d) => d.len(),
                })
                .sum();
            let head = if bytes.starts_with(HEAD) { HEAD.len() } else { 0 };
            assert_eq!(total + head, bytes.len(), "every byte is accounted for");
        }
    }
}
