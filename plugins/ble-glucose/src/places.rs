//! Which stored records were taken from which meter: what `keep` holds. Pure.

use wardgate_sdk::gatt::{Damage, Fields, Read};

const FORMAT: u8 = 2;
const FORMAT_WITHOUT_MARKS: u8 = 1; // of versions that took a meter's numbers on trust
const METERS_MAX: usize = 8; // of a pool that shares one place on the ward; the one not seen for longest is forgotten
const NAME_BYTES_MAX: usize = 64; // of a serial number, or what stands for it
const RUNS_MAX: usize = 64; // holes in the numbers of one memory: each is what a user deleted, or what is still to come
const MARKS_MAX: usize = 8; // a user may delete the last few in the meter; each that is left comes again on each link

/// Sequence numbers, as runs from first to last, in order, never touching each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<(u16, u16)>);

impl Runs {
    pub fn has(&self, sequence: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&sequence))
    }

    pub fn count(&self) -> u32 {
        self.0.iter().map(|(first, last)| u32::from(*last) - u32::from(*first) + 1).sum()
    }

    pub fn last(&self) -> Option<u16> {
        self.0.last().map(|(_, last)| *last)
    }

    pub fn take(&mut self, sequence: u16) {
        if self.has(sequence) {
            return;
        }
        let at = self.0.partition_point(|(first, _)| *first < sequence);
        self.0.insert(at, (sequence, sequence));
        self.0 = self.0.drain(..).fold(Vec::new(), |mut runs: Vec<(u16, u16)>, run| {
            match runs.last_mut() {
                Some((_, last)) if u32::from(*last) + 1 == run.0.into() => *last = run.1,
                _ => runs.push(run),
            }
            runs
        });
    }

    /// At most RUNS_MAX of them.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.0.len() as u8);
        bytes.extend(self.0.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()].concat()));
    }

    fn read(fields: &mut Fields<'_>) -> Read<Self> {
        let count = fields.u8()?;
        let runs = (0..count).map(|_| Ok((fields.u16()?, fields.u16()?))).collect::<Read<Vec<_>>>()?;
        if runs.iter().any(|(first, last)| first > last) {
            return Err(Damage("a run of records ends before it begins"));
        }
        Ok(Self(runs))
    }
}

/// Sequence numbers of one meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    meter: String,
    /// Every record below is done with: taken, or known not to be there.
    settled: u32,
    /// What was taken beyond.
    taken: Runs,
    /// What was taken last, oldest first: number, and mark of what the record held. By them a meter is known to number as it did.
    marks: Vec<(u16, u32)>,
    /// Of what was taken: since it was last known that the meter numbers as it did.
    doubtful: Runs,
}

impl Place {
    /// Nothing was ever taken.
    pub fn is_new(&self) -> bool {
        self.settled == 0 && self.taken.0.is_empty()
    }

    pub fn has(&self, sequence: u16) -> bool {
        u32::from(sequence) < self.settled || self.taken.has(sequence)
    }

    /// What the record of this number held, where it is one of the last.
    pub fn mark(&self, sequence: u16) -> Option<u32> {
        self.marks.iter().find(|(number, _)| *number == sequence).map(|(_, mark)| *mark)
    }

    pub fn doubtful(&self) -> &Runs {
        &self.doubtful
    }

    /// All that was taken is of the numbers that the meter has now. `false`: so it was.
    pub fn trust(&mut self) -> bool {
        let doubted = self.doubtful != Runs::default();
        self.doubtful = Runs::default();
        self.forget_marks();
        doubted
    }

    /// From here on a report shows whether the meter numbers as it did.
    pub fn first_marked(&self) -> Option<u16> {
        self.marks.iter().map(|(number, _)| *number).min()
    }

    /// Everything below is done with. 65,536 when all numbers are used up.
    pub fn settled(&self) -> u32 {
        self.settled
    }

    /// Behind the highest that was taken: where a report that was cut goes on.
    pub fn next(&self) -> u32 {
        self.taken.last().map_or(self.settled, |last| u32::from(last) + 1)
    }

    /// How many were taken and are not settled.
    pub fn count(&self) -> u32 {
        self.taken.count()
    }

    /// `doubted`: whether it is of the same numbers as what was taken before is not known yet.
    pub fn take(&mut self, sequence: u16, mark: u32, doubted: bool) {
        if self.has(sequence) {
            return;
        }
        if doubted {
            self.doubtful.take(sequence);
            let more = self.doubtful.0.len().saturating_sub(RUNS_MAX);
            self.doubtful.0.drain(..more);
        }
        self.taken.take(sequence);
        if self.taken.0.len() > RUNS_MAX {
            // records come in order: so old a hole is one that the meter does not have
            self.settled = u32::from(self.taken.0.remove(0).1) + 1;
        }
        self.marks.push((sequence, mark));
        self.forget_marks();
    }

    /// Those of what is doubtful push out no others: by these it is known whether it is.
    fn forget_marks(&mut self) {
        let doubtful = &self.doubtful;
        for of in [true, false] {
            let places = self.marks.iter().enumerate().filter(|(_, (number, _))| doubtful.has(*number) == of);
            let places: Vec<_> = places.map(|(at, _)| at).collect();
            for at in places.iter().take(places.len().saturating_sub(MARKS_MAX)).rev() {
                self.marks.remove(*at);
            }
        }
    }

    /// The meter said that it has told all: what is missing below the highest is not there.
    pub fn settle(&mut self) {
        if let Some(last) = self.taken.last() {
            self.settled = self.settled.max(u32::from(last) + 1);
            self.taken = Runs::default();
        }
        self.trust();
    }

    /// The meter numbers anew: of what was taken only `these` are in it.
    pub fn begin_anew(&mut self, these: &Runs) {
        self.settled = 0;
        (self.taken, self.doubtful) = (these.clone(), Runs::default());
        self.marks.retain(|(number, _)| these.has(*number));
        self.forget_marks();
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
            place.taken.write(&mut bytes);
            bytes.push(place.marks.len() as u8); // at most MARKS_MAX
            bytes.extend(place.marks.iter().flat_map(|(number, mark)| [&number.to_le_bytes()[..], &mark.to_le_bytes()].concat()));
            place.doubtful.write(&mut bytes);
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Read<Self> {
        let mut fields = Fields::new(bytes);
        let mut places = Vec::new();
        let format = fields.u8()?;
        if !matches!(format, FORMAT | FORMAT_WITHOUT_MARKS) {
            return Err(Damage("it has another format"));
        }
        while !fields.left().is_empty() && places.len() < METERS_MAX {
            let length = usize::from(fields.u8()?);
            let meter = std::str::from_utf8(fields.take(length)?).map_err(|_| Damage("a meter's name is no text"))?.into();
            let settled = fields.u32()?;
            let mut place = Place { meter, settled, taken: Runs::read(&mut fields)?, ..Place::default() };
            if format == FORMAT {
                let marks = fields.u8()?;
                place.marks = (0..marks).map(|_| Ok((fields.u16()?, fields.u32()?))).collect::<Read<Vec<_>>>()?;
                place.doubtful = Runs::read(&mut fields)?;
            }
            places.push(place);
        }
        Ok(Self(places))
    }
}

/// The place of each meter, also of one that does not say who it is.
#[derive(Default)]
pub struct Book {
    places: Places,
    /// Of a meter that does not say who it is: it holds as long as the link.
    nameless: Place,
    /// The site bound one peripheral by its address: then it needs no name to be known again.
    one: bool,
}

impl Book {
    pub fn new(places: Places, one: bool) -> Self {
        Self { places, nameless: Place::default(), one }
    }

    pub fn knows_again(&self, who: Option<&str>) -> bool {
        who.is_some() || self.one
    }

    pub fn of(&mut self, who: Option<&str>) -> &mut Place {
        match who {
            Some(meter) => self.places.of(meter),
            None if self.one => self.places.of(""),
            None => &mut self.nameless,
        }
    }

    /// `None`: nothing is kept of this one.
    pub fn to_bytes(&self, who: Option<&str>) -> Option<Vec<u8>> {
        self.knows_again(who).then(|| self.places.to_bytes())
    }

    /// The next may be another.
    pub fn lost(&mut self) {
        self.nameless = Place::default();
    }
}
