//! The bytes of waveforms: the heads of neighbouring tracks in columns, then the samples of all tracks, each behind a codec number.

use crate::bytes::{Reader, Writer};
use crate::column::{self, Times};
use crate::limits::Rows;
use crate::records::{read_instance, write_instance};
use crate::{Piece, WaveformTrack, WireError};

/// Each sample as a zigzag varint.
const PLAIN: u64 = 0;
/// The first sample, then each one's step from the one before, as zigzag varints.
const DELTA: u64 = 1;

/// What stands in columns before the samples: one of these for each track.
struct Head {
    instance: String,
    late: bool,
    channel: u16,
    run: u32,
    first: u64,
    codec: u64,
    pieces: Vec<Piece>,
}

pub(crate) fn write_waveforms(w: &mut Writer, tracks: &[WaveformTrack]) -> Result<(), WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    let groups: Vec<&[WaveformTrack]> = tracks.chunk_by(|a, b| (&a.instance, a.late) == (&b.instance, b.late)).collect();
    let mut samples = Writer::new();
    w.varint(groups.len() as u64);
    rows.take(groups.len())?;
    for group in groups {
        rows.take(group.len())?;
        let mut codecs = Vec::with_capacity(group.len());
        for track in group {
            rows.take(track.pieces.len())?;
            check(&track.pieces, track.counts.len(), track.first)?;
            codecs.push(write_samples(&mut samples, &track.counts));
        }
        write_instance(w, &group[0].instance, group[0].late)?;
        w.varint(group.len() as u64);
        let each = |f: fn(&WaveformTrack) -> u64| group.iter().map(f).collect::<Vec<_>>();
        column::write_sequence(w, &each(|t| u64::from(t.channel)), 1);
        column::write_sequence(w, &each(|t| u64::from(t.run)), 0);
        column::write_sequence(w, &each(|t| t.first), 0);
        column::write(w, &codecs);
        column::write(w, &each(|t| t.pieces.len() as u64));
        let pieces = || group.iter().flat_map(|t| &t.pieces);
        column::write(w, &pieces().map(|p| u64::from(p.count)).collect::<Vec<_>>());
        times.write(w, pieces().map(|p| (p.moment, p.at)));
        column::write(w, &pieces().map(|p| u64::from(p.quality)).collect::<Vec<_>>());
    }
    w.raw(&samples.out);
    Ok(())
}

pub(crate) fn read_waveforms(mut r: Reader<'_>) -> Result<Vec<WaveformTrack>, WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    let groups = r.count(3)?;
    rows.take(groups)?;
    let mut heads: Vec<Head> = Vec::new();
    for _ in 0..groups {
        let group = read_group(&mut r, &mut rows, &mut times)?;
        if heads.last().zip(group.first()).is_some_and(|(a, b)| (&a.instance, a.late) == (&b.instance, b.late)) {
            return Err(WireError::Range("a group of tracks")); // the two are one
        }
        heads.extend(group);
    }
    let tracks = heads
        .into_iter()
        .map(|head| {
            let n = head.pieces.iter().try_fold(0_usize, |sum, p| sum.checked_add(p.count as usize));
            let n = n.filter(|n| *n <= r.left()).ok_or(WireError::Truncated("samples"))?;
            check(&head.pieces, n, head.first)?;
            let counts = read_samples(&mut r, head.codec, n)?;
            let Head { instance, late, channel, run, first, pieces, .. } = head;
            Ok(WaveformTrack { instance, channel, run, first, late, pieces, counts })
        })
        .collect::<Result<_, WireError>>()?;
    r.end()?;
    Ok(tracks)
}

fn check(pieces: &[Piece], samples: usize, first: u64) -> Result<(), WireError> {
    if pieces.iter().map(|p| u64::from(p.count)).sum::<u64>() != samples as u64 {
        return Err(WireError::Invalid("pieces that do not sum up to the samples of their track"));
    }
    first.checked_add(samples as u64).map(|_| ()).ok_or(WireError::Invalid("a track beyond the last index"))
}

fn read_group(r: &mut Reader<'_>, rows: &mut Rows, times: &mut Times) -> Result<Vec<Head>, WireError> {
    let what = "heads of tracks";
    let (instance, late) = read_instance(r)?;
    let n: usize = r.number()?;
    rows.take(n)?;
    if n == 0 {
        return Err(WireError::Range("a group of tracks"));
    }
    let channels = column::read_sequence(r, n, 1, what)?;
    let runs = column::read_sequence(r, n, 0, what)?;
    let firsts = column::read_sequence(r, n, 0, what)?;
    let codecs = column::read(r, n, what)?;
    if let Some(&unknown) = codecs.iter().find(|codec| ![PLAIN, DELTA].contains(codec)) {
        return Err(WireError::Codec(unknown));
    }
    let lengths: Vec<usize> = column::read_as(r, n, what)?;
    lengths.iter().try_for_each(|length| rows.take(*length))?;
    let total = lengths.iter().sum();
    let counts: Vec<u32> = column::read_as(r, total, "lengths of pieces")?;
    let times = times.read(r, total)?;
    let qualities: Vec<u16> = column::read_as(r, total, "qualities")?;
    let mut pieces =
        counts.into_iter().zip(times).zip(qualities).map(|((count, (moment, at)), quality)| Piece { count, moment, at, quality });
    (0..n)
        .map(|i| {
            Ok(Head {
                instance: instance.clone(),
                late,
                channel: u16::try_from(channels[i]).map_err(|_| WireError::Range(what))?,
                run: u32::try_from(runs[i]).map_err(|_| WireError::Range(what))?,
                first: firsts[i],
                codec: codecs[i],
                pieces: pieces.by_ref().take(lengths[i]).collect(),
            })
        })
        .collect()
}

/// Appends the samples in the shorter form, and says which it was.
fn write_samples(w: &mut Writer, counts: &[i32]) -> u64 {
    let (mut plain, mut delta) = (Writer::new(), Writer::new());
    let mut last = 0;
    for &count in counts {
        let count = i64::from(count);
        plain.zigzag(count);
        delta.zigzag(count - last);
        last = count;
    }
    let (codec, samples) = if plain.out.len() < delta.out.len() { (PLAIN, plain) } else { (DELTA, delta) };
    w.raw(&samples.out);
    codec
}

/// The caller has checked that `n` samples may be there.
fn read_samples(r: &mut Reader<'_>, codec: u64, n: usize) -> Result<Vec<i32>, WireError> {
    let mut last = 0_i64;
    (0..n)
        .map(|_| {
            let number = r.zigzag()?;
            let count = if codec == DELTA { last.checked_add(number) } else { Some(number) };
            let count = count.and_then(|count| i32::try_from(count).ok()).ok_or(WireError::Range("a sample"))?;
            last = i64::from(count);
            Ok(count)
        })
        .collect()
}
