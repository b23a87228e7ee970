//! Which stored records were taken from which meter: what `keep` holds. Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read};

const FORMAT: u8 = 1;
const METERS_MAX: usize = 8; // of a pool that shares one place on the ward; the one not seen for longest is forgotten
const NAME_BYTES_MAX: usize = 64; // of a serial number, or what stands for it
const RUNS_MAX: usize = 64; // holes in the numbers of one memory: each is what a user deleted, or what is still to come

/// Sequence numbers of one meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    meter: String,
    /// Every record below is done with: taken, or known not to be there.
    settled: u32,
    /// First and last of what was taken beyond, in order, never touching each other.
    taken: Vec<(u16, u16)>,
}

impl Place {
    pub fn has(&self, sequence: u16) -> bool {
        u32::from(sequence) < self.settled || self.taken.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }

    /// Everything below is done with. 65,536 when all numbers are used up.
    pub fn settled(&self) -> u32 {
        self.settled
    }

    /// Behind the highest that was taken: where a report that was cut goes on.
    pub fn next(&self) -> u32 {
        self.taken.last().map_or(self.settled, |(_, last)| u32::from(*last) + 1)
    }

    /// How many were taken and are not settled.
    pub fn count(&self) -> u32 {
        self.taken.iter().map(|(first, last)| u32::from(*last) - u32::from(*first) + 1).sum()
    }

    pub fn take(&mut self, sequence: u16) {
        if self.has(sequence) {
            return;
        }
        let at = self.taken.partition_point(|(first, _)| *first < sequence);
        self.taken.insert(at, (sequence, sequence));
        self.taken = self.taken.drain(..).fold(Vec::new(), |mut runs: Vec<(u16, u16)>, run| {
            match runs.last_mut() {
                Some((_, last)) if u32::from(*last) + 1 == run.0.into() => *last = run.1,
                _ => runs.push(run),
            }
            runs
        });
        if self.taken.len() > RUNS_MAX {
            // records come in order: so old a hole is one that the meter does not have
            self.settled = u32::from(self.taken.remove(0).1) + 1;
        }
    }

    /// The meter said that it has told all: what is missing below the highest is not there.
    pub fn settle(&mut self) {
        if let Some((_, last)) = self.taken.last() {
            self.settled = u32::from(*last) + 1;
            self.taken.clear();
        }
    }

    /// The highest that is done with, once everything is settled.
    pub fn last(&self) -> Option<u16> {
        self.settled.checked_sub(1).and_then(|last| last.try_into().ok()).filter(|_| self.taken.is_empty())
    }
}

/// The meter that was seen last comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(Vec<Place>);

impl Places {
    pub fn of(&mut self, meter: &str) -> &mut Place {
        let end = (0..=meter.len().min(NAME_BYTES_MAX)).rev().find(|end| meter.is_char_boundary(*end)).unwrap_or(0);
        let meter = &meter[..end];
        let known = self.0.iter().position(|p| p.meter == meter).map(|at| self.0.remove(at));
        self.0.insert(0, known.unwrap_or_else(|| Place { meter: meter.into(), ..Place::default() }));
        self.0.truncate(METERS_MAX);
        &mut self.0[0]
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        for place in &self.0 {
            bytes.push(place.meter.len() as u8); // at most NAME_BYTES_MAX
            bytes.extend(place.meter.as_bytes());
            bytes.extend(place.settled.to_le_bytes());
            bytes.push(place.taken.len() as u8); // at most RUNS_MAX
            bytes.extend(place.taken.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()].concat()));
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let mut fields = Fields::new(bytes);
        let mut places = Vec::new();
        if fields.u8()? != FORMAT {
            return Err(Damage("it has another format"));
        }
        while !fields.left().is_empty() && places.len() < METERS_MAX {
            let length = usize::from(fields.u8()?);
            let meter = std::str::from_utf8(fields.take(length)?).map_err(|_| Damage("a meter's name is no text"))?.into();
            let settled = fields.u32()?;
            let runs = fields.u8()?;
            let taken = (0..runs).map(|_| Ok((fields.u16()?, fields.u16()?))).collect::<Read<Vec<_>>>()?;
            if taken.iter().any(|(first, last)| first > last) {
                return Err(Damage("a run of records ends before it begins"));
            }
            places.push(Place { meter, settled, taken });
        }
        Ok(Self(places))
    }
}
