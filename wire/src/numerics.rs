//! The bytes of numerics: each instance's readings in columns, track by track.
//!
//! A **track** is what one (channel, run) said, a **shape** the list of tracks that one observation holds; most observations repeat a shape.

use std::collections::{HashMap, HashSet};

use crate::bytes::{Reader, Writer};
use crate::column::{self, Times};
use crate::limits::Rows;
use crate::records::{read_instance, write_instance};
use crate::values::{read_values, write_values};
use crate::{InstanceNumerics, NumberedObservation, NumberedReading, Run, WireError};

type Track = (u16, Run);

pub(crate) fn write_numerics(w: &mut Writer, instances: &[InstanceNumerics]) -> Result<(), WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    w.varint(instances.len() as u64);
    rows.take(instances.len())?;
    for i in instances {
        rows.take(i.observations.len())?;
        write_instance(w, &i.instance, i.late)?;
        w.varint(i.observations.len() as u64);
        times.write(w, i.observations.iter().map(|o| (o.moment, o.at)));
        if !i.observations.is_empty() {
            write_observations(w, &i.observations, &mut rows)?;
        }
    }
    Ok(())
}

pub(crate) fn read_numerics(mut r: Reader<'_>) -> Result<Vec<InstanceNumerics>, WireError> {
    let (mut rows, mut times) = (Rows::new(), Times::default());
    let n = r.count(3)?;
    rows.take(n)?;
    let mut instances = Vec::with_capacity(n);
    for _ in 0..n {
        let (instance, late) = read_instance(&mut r)?;
        let n = r.number()?;
        rows.take(n)?;
        let times = times.read(&mut r, n)?;
        let readings = if n == 0 { Vec::new() } else { read_observations(&mut r, n, &mut rows)? };
        let observations =
            times.into_iter().zip(readings).map(|((moment, at), readings)| NumberedObservation { moment, at, readings }).collect();
        instances.push(InstanceNumerics { instance, late, observations });
    }
    r.end()?;
    Ok(instances)
}

fn write_observations(w: &mut Writer, observations: &[NumberedObservation], rows: &mut Rows) -> Result<(), WireError> {
    let mut known: HashMap<Vec<Track>, u64> = HashMap::new();
    let mut shapes = Vec::new();
    let mut uses = Vec::with_capacity(observations.len());
    for observation in observations {
        rows.take(observation.readings.len())?;
        let shape: Vec<Track> = observation.readings.iter().map(|r| (r.channel, r.run)).collect();
        let number = *known.entry(shape).or_insert_with_key(|shape| {
            shapes.push(shape.clone());
            shapes.len() as u64 - 1
        });
        uses.push(number);
    }
    w.varint(shapes.len() as u64);
    rows.take(shapes.len())?;
    for shape in &shapes {
        rows.take(shape.len())?;
        w.varint(shape.len() as u64);
        column::write_sequence(w, &shape.iter().map(|t| u64::from(t.0)).collect::<Vec<_>>(), 1);
        column::write_sequence(w, &shape.iter().map(|t| u64::from(t.1)).collect::<Vec<_>>(), 0);
    }
    column::write(w, &uses);

    let order = Tracks::of(&shapes);
    let mut tracks: Vec<Vec<&NumberedReading>> = vec![Vec::new(); order.count];
    for (observation, number) in observations.iter().zip(&uses) {
        observation.readings.iter().zip(&order.of_shape[*number as usize]).for_each(|(reading, track)| tracks[*track].push(reading));
    }
    write_indices(w, &tracks);
    write_values(w, &tracks);
    column::write(w, &tracks.iter().flatten().map(|r| u64::from(r.quality)).collect::<Vec<_>>());
    Ok(())
}

/// The readings of each of the `n` observations; `n` is not 0.
fn read_observations(r: &mut Reader<'_>, n: usize, rows: &mut Rows) -> Result<Vec<Vec<NumberedReading>>, WireError> {
    let shapes = read_shapes(r, rows)?;
    let uses = read_uses(r, n, shapes.len())?;
    let order = Tracks::of(&shapes);
    let mut counts = vec![0; order.count];
    for &number in &uses {
        rows.take(shapes[number].len())?;
        order.of_shape[number].iter().for_each(|track| counts[*track] += 1);
    }
    let indices = read_indices(r, &counts)?;
    let values = read_values(r, &counts)?;
    let qualities: Vec<u16> = column::read_as(r, values.len(), "qualities")?;

    let mut flat = indices.into_iter().zip(values).zip(qualities);
    let mut tracks: Vec<_> = counts.iter().map(|count| flat.by_ref().take(*count).collect::<Vec<_>>().into_iter()).collect();
    uses.into_iter()
        .map(|number| {
            shapes[number]
                .iter()
                .zip(&order.of_shape[number])
                .map(|(&(channel, run), &track)| {
                    let ((index, value), quality) = tracks[track].next().ok_or(WireError::Truncated("readings"))?;
                    Ok(NumberedReading { channel, run, index, value, quality })
                })
                .collect()
        })
        .collect()
}

fn read_shapes(r: &mut Reader<'_>, rows: &mut Rows) -> Result<Vec<Vec<Track>>, WireError> {
    let what = "shapes";
    let n = r.count(1)?;
    rows.take(n)?;
    let mut shapes = Vec::with_capacity(n);
    for _ in 0..n {
        let n = r.number()?;
        rows.take(n)?;
        let channels = column::read_sequence(r, n, 1, what)?;
        let runs = column::read_sequence(r, n, 0, what)?;
        let narrow = |(channel, run)| Some((u16::try_from(channel).ok()?, Run::try_from(run).ok()?));
        let shape: Vec<Track> = channels.into_iter().zip(runs).map(narrow).collect::<Option<_>>().ok_or(WireError::Range(what))?;
        shapes.push(shape);
    }
    let distinct: HashSet<_> = shapes.iter().collect();
    if distinct.len() == shapes.len() { Ok(shapes) } else { Err(WireError::Range(what)) }
}

/// Which shape each observation has: every shape is used, and they are numbered in the order of their first use.
fn read_uses(r: &mut Reader<'_>, n: usize, shapes: usize) -> Result<Vec<usize>, WireError> {
    let uses: Vec<usize> = column::read_as(r, n, "uses of shapes")?;
    let mut used = 0;
    let in_order = uses.iter().all(|&number| {
        used += usize::from(number == used);
        number < used
    });
    if in_order && used == shapes { Ok(uses) } else { Err(WireError::Range("uses of shapes")) }
}

/// Tracks in the order in which the shapes first name them.
struct Tracks {
    count: usize,
    of_shape: Vec<Vec<usize>>,
}

impl Tracks {
    fn of(shapes: &[Vec<Track>]) -> Self {
        let mut known: HashMap<Track, usize> = HashMap::new();
        let mut number = |track: &Track| {
            let next = known.len();
            *known.entry(*track).or_insert(next)
        };
        let of_shape = shapes.iter().map(|shape| shape.iter().map(&mut number).collect()).collect();
        Self { count: known.len(), of_shape }
    }
}

/// The first index of each track, then how far each later one is from where it would be without a gap.
fn write_indices(w: &mut Writer, tracks: &[Vec<&NumberedReading>]) {
    column::write_sequence(w, &tracks.iter().filter_map(|t| t.first()).map(|r| r.index).collect::<Vec<_>>(), 0);
    let jumps = tracks.iter().flat_map(|t| t.windows(2)).map(|pair| column::step(pair[0].index.wrapping_add(1), pair[1].index));
    column::write(w, &jumps.collect::<Vec<_>>());
}

fn read_indices(r: &mut Reader<'_>, counts: &[usize]) -> Result<Vec<u64>, WireError> {
    let what = "indices";
    let total: usize = counts.iter().sum();
    let firsts = column::read_sequence(r, counts.len(), 0, what)?;
    let mut jumps = column::read(r, total - counts.len(), what)?.into_iter();
    let mut indices = Vec::with_capacity(total);
    for (first, count) in firsts.into_iter().zip(counts) {
        let mut index = first;
        indices.push(index);
        for jump in jumps.by_ref().take(count - 1) {
            index = column::stepped(index.wrapping_add(1), jump);
            indices.push(index);
        }
    }
    Ok(indices)
}
