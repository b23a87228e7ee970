//! Whether a meter numbers its records as it did when they were taken, or anew, as after a change of its battery: the first report on a link begins
//! with the last records that were taken, and they must be the same. Pure.

use crate::decode::Record;
use crate::places::{Place, Runs};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Are {
    #[default]
    Unknown,
    /// One of the last records that were taken is there, and is the same.
    Same,
    /// None of them is there, but others are: one that was taken, by its number, is a new one.
    Gone,
    /// They began anew, or the meter is.
    Anew,
}

/// What a record is that the meter tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    New,
    /// It was taken before.
    Before,
    /// It was taken before, and by it all that was taken is known to be of the numbers that the meter has now: this is to be kept.
    Trusted,
    /// It was taken before, or it is another of that number: if so, it is asked for again.
    Unclear,
    /// It is new, and so is all that the meter has: why.
    Anew(String),
}

/// What is known of them on one link.
#[derive(Debug, Default)]
pub struct Numbers {
    are: Are,
    /// Taken since the link came up.
    fresh: Runs,
    /// What was taken while it was not known whether they began anew is there, and is the same.
    later_same: bool,
}

impl Numbers {
    /// Before the meter of this place is asked. `false`: its numbers are taken on trust, for what was kept of it is of a version that did so.
    pub fn begin(&mut self, place: &Place) -> bool {
        let marked = place.first_marked().is_some();
        if place.is_new() {
            self.are = Are::Anew;
        } else if !marked {
            self.are = Are::Same;
        }
        place.is_new() || marked
    }

    /// What was taken before stands for itself.
    pub fn are_same(&self) -> bool {
        self.are == Are::Same
    }

    fn are_doubted(&self) -> bool {
        matches!(self.are, Are::Unknown | Are::Gone)
    }

    pub fn fresh(&self) -> &Runs {
        &self.fresh
    }

    /// Where a report begins: as long as they are not known, with the last records that were taken.
    pub fn first(&self, place: &Place) -> u32 {
        match self.are {
            Are::Unknown => place.first_marked().map_or(0, u32::from),
            Are::Same => place.next(),
            Are::Gone | Are::Anew => 0,
        }
    }

    pub fn told(&mut self, record: &Record, place: &mut Place) -> Told {
        let sequence = record.sequence;
        if !place.has(sequence) {
            return Told::New;
        }
        if self.fresh.has(sequence) {
            return Told::Before;
        }
        let doubtful = place.doubtful().has(sequence);
        match place.mark(sequence) {
            Some(mark) if mark != record.mark => self.anew(place, format!("its record {sequence} is not the one that was taken")),
            Some(_) => self.known(doubtful, place),
            None if doubtful && self.later_same => Told::Before,
            None if self.are == Are::Gone => self.anew(place, "none of the records that were taken last is in it".to_owned()),
            None if self.are == Are::Unknown => Told::Unclear,
            None => Told::Before,
        }
    }

    /// One that was marked is the same.
    fn known(&mut self, doubtful: bool, place: &mut Place) -> Told {
        self.later_same |= doubtful;
        if doubtful || self.are != Are::Unknown {
            return Told::Before;
        }
        self.are = Are::Same;
        if place.trust() { Told::Trusted } else { Told::Before }
    }

    fn anew(&mut self, place: &mut Place, why: String) -> Told {
        self.are = Are::Anew;
        let there = if std::mem::take(&mut self.later_same) { place.doubtful() } else { &self.fresh };
        place.begin_anew(&there.clone());
        Told::Anew(why)
    }

    pub fn take(&mut self, record: &Record, place: &mut Place) {
        self.fresh.take(record.sequence);
        place.take(record.sequence, record.mark, self.are_doubted());
    }

    /// A report is over, and may not have been of all there is. `true`: none of the last records was in it, so that everything is to be asked for.
    pub fn none_came_again(&mut self) -> bool {
        let unknown = self.are == Are::Unknown;
        if unknown {
            self.are = Are::Gone;
        }
        unknown
    }

    /// Everything that the meter has was told, of it `seen` last.
    pub fn all_told(&mut self, seen: &Runs, place: &mut Place) {
        if self.are_doubted() {
            // none of the last is there: whatever numbers come next, all that can come again was seen just now
            place.begin_anew(seen);
        }
        place.settle();
        self.are = Are::Same;
    }
}
