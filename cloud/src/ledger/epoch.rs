//! One epoch as far as it has come: which batches, which positions, what its closings say, and what follows from them. Pure.

use std::collections::BTreeMap;

use wardgate_wire::{Class, Closing, Digest, GapReason, Life, Run, RunRange, Sequence, Stream};

use super::{Contradiction, Lost};
use crate::ranges::Ranges;

/// First and last of each range.
type Missing = Vec<(Sequence, Sequence)>;

pub const CLASSES: usize = Class::ALL.len();

#[derive(Clone, Copy)]
struct Held {
    digest: Digest,
    previous: Digest,
}

/// The batches of one class.
#[derive(Default)]
pub struct Batches {
    held: BTreeMap<Sequence, Held>,
    /// Everything below is settled: had, or shed. `mark` is the digest of the batch before it.
    settled: Sequence,
    mark: Digest,
    /// The gateway sends nothing below this any more.
    shed_below: Sequence,
}

/// What a batch is to what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    New,
    Had,
    Wrong(Contradiction),
}

impl Batches {
    fn digest(&self, sequence: Sequence) -> Option<Digest> {
        let at_mark = (self.settled > 0 && sequence == self.settled - 1).then_some(self.mark);
        self.held.get(&sequence).map(|h| h.digest).or(at_mark)
    }

    pub fn place(&self, sequence: Sequence, digest: Digest, previous: Digest) -> Place {
        if let Some(known) = self.digest(sequence) {
            return if known == digest { Place::Had } else { Place::Wrong(Contradiction::SameIdentity { held: known }) };
        }
        if sequence < self.settled {
            return Place::Had;
        }
        let before = sequence.checked_sub(1).and_then(|s| self.digest(s));
        let after = sequence.checked_add(1).and_then(|s| self.held.get(&s));
        if before.is_some_and(|d| d != previous) || after.is_some_and(|h| h.previous != digest) {
            return Place::Wrong(Contradiction::BrokenChain);
        }
        Place::New
    }

    pub fn insert(&mut self, sequence: Sequence, digest: Digest, previous: Digest) {
        self.held.insert(sequence, Held { digest, previous });
    }

    /// One more than the highest sequence heard of.
    pub fn top(&self) -> Sequence {
        self.held.last_key_value().map_or(0, |(s, _)| s.saturating_add(1)).max(self.settled)
    }

    /// The highest sequence for which at most `ranges_max` ranges below it are missing, its digest, and those ranges.
    pub fn cumulative(&self, ranges_max: usize) -> Option<(Sequence, Digest, Missing)> {
        let mut high = self.settled.checked_sub(1).map(|s| (s, self.mark));
        let (mut next, mut missing) = (self.settled, Vec::new());
        for (&sequence, held) in &self.held {
            if sequence > next {
                if missing.len() == ranges_max {
                    break;
                }
                missing.push((next, sequence - 1));
            }
            high = Some((sequence, held.digest));
            next = sequence.saturating_add(1);
        }
        high.map(|(sequence, digest)| (sequence, digest, missing))
    }

    fn whole_below(&self, count: Sequence) -> bool {
        let from = self.settled.max(self.shed_below);
        from >= count || self.held.range(from..count).count() as u64 == u64::from(count - from)
    }

    fn settle(&mut self, count: Sequence, mark: Digest) {
        if count > self.settled {
            (self.settled, self.mark) = (count, mark);
            self.held = self.held.split_off(&count);
        }
    }
}

/// About 120 bytes a batch and 100 a stretch of positions without a hole, and nothing of it once the epoch is closed. Of an epoch that only a
/// later life has closed (the last of each life), the marks stay.
#[derive(Default)]
pub struct Epoch {
    pub batches: [Batches; CLASSES],
    /// Positions that came, by stream run.
    have: BTreeMap<(Stream, Run), Ranges>,
    /// Positions of which nothing is asked any more, by stream run.
    done: BTreeMap<(Stream, Run), (u64, u64)>,
    /// How the life itself says that it ended: nothing can follow.
    own: Option<Closing>,
    /// How later lives say that it ended, as far as they know.
    by_successors: BTreeMap<Life, Closing>,
    /// Batches whose positions this version cannot read: holes cannot be told from them.
    unread: u32,
    contradicted: bool,
    /// What the closings that are here ask for has come.
    settled: bool,
}

/// What an epoch's closing brought to light.
#[derive(Debug, Default)]
pub struct Outcome {
    /// By the life itself: the whole epoch can be forgotten.
    pub closed: bool,
    pub holes: Vec<Lost>,
    /// Positions that both came and were said to be lost.
    pub both: u64,
    pub wrong: Vec<(Class, Contradiction)>,
    /// Holes that could not be judged, as a batch of the epoch cannot be read.
    pub unread: u32,
}

impl Epoch {
    pub fn class(&mut self, class: Class) -> &mut Batches {
        &mut self.batches[usize::from(class.code())]
    }

    pub fn tops(&self) -> [Sequence; CLASSES] {
        std::array::from_fn(|i| self.batches[i].top())
    }

    /// Past the end that the life itself gave it.
    pub fn beyond(&self, class: Class, sequence: Sequence) -> bool {
        self.own.as_ref().is_some_and(|own| sequence >= count_of(own, class).0)
    }

    /// Says how many of the positions had come before.
    pub fn came(&mut self, stream: Stream, run: Run, first: u64, next: u64) -> u64 {
        let done = self.done.get(&(stream.clone(), run)).map_or(0, |(_, next)| *next);
        let again = next.min(done).saturating_sub(first);
        again + self.have.entry((stream, run)).or_default().insert(first.max(done).min(next), next)
    }

    pub fn unreadable(&mut self) {
        self.unread += 1;
    }

    pub fn shed(&mut self, class: Class, below: Sequence) {
        let batches = self.class(class);
        batches.shed_below = batches.shed_below.max(below);
    }

    /// False when it contradicts what the same life said of it before.
    pub fn end(&mut self, by: Option<Life>, closing: &Closing) -> bool {
        let known = match by {
            None => &mut self.own,
            Some(life) => return self.by_successors.entry(life).or_insert_with(|| closing.clone()) == closing,
        };
        known.get_or_insert_with(|| closing.clone()) == closing
    }

    /// Closes what the closings that are here allow; nothing when something is still to come.
    pub fn settle(&mut self, life: Life, gaps: &mut BTreeMap<(Stream, Run), Ranges>) -> Option<Outcome> {
        if self.contradicted || self.own.is_none() && self.by_successors.is_empty() {
            return None;
        }
        let mut marks = [(0, Digest::default()); CLASSES];
        for closing in self.closings() {
            for class in Class::ALL {
                let (mark, end) = (&mut marks[usize::from(class.code())], count_of(closing, class));
                *mark = if end.0 > mark.0 { end } else { *mark };
            }
        }
        let wrong = self.contradictions();
        if !wrong.is_empty() {
            self.contradicted = true; // stays open: nothing is lost by that, and a person has to look
            return Some(Outcome { wrong, ..Outcome::default() });
        }
        if !(0..CLASSES).all(|i| self.batches[i].whole_below(marks[i].0)) {
            return None;
        }
        let mut outcome = Outcome { closed: self.own.is_some(), ..Outcome::default() };
        for range in self.ranges() {
            self.judge(life, &range, gaps, &mut outcome);
        }
        for (batches, (count, mark)) in self.batches.iter_mut().zip(marks) {
            batches.settle(count, mark);
        }
        self.settled = true;
        for closing in self.by_successors.values_mut() {
            closing.runs = Vec::new(); // judged; what is left of it is compared with what goes on above it
        }
        Some(outcome)
    }

    fn closings(&self) -> impl Iterator<Item = &Closing> {
        self.own.iter().chain(self.by_successors.values())
    }

    fn contradictions(&self) -> Vec<(Class, Contradiction)> {
        let mut wrong = Vec::new();
        for class in Class::ALL {
            let batches = &self.batches[usize::from(class.code())];
            for closing in self.closings() {
                let (count, digest) = count_of(closing, class);
                let last = count.checked_sub(1).and_then(|last| batches.digest(last));
                if last.is_some_and(|held| held != digest) {
                    wrong.push((class, Contradiction::DigestAtClosing { said: digest }));
                }
            }
            if self.own.as_ref().is_some_and(|own| batches.top() > count_of(own, class).0) {
                wrong.push((class, Contradiction::BeyondClosing));
            }
        }
        wrong
    }

    /// All that the closings say of a run, as one.
    fn ranges(&self) -> Vec<RunRange> {
        let mut all: BTreeMap<(Stream, Run), RunRange> = BTreeMap::new();
        for range in self.closings().flat_map(|c| &c.runs) {
            let known = all.entry((range.stream.clone(), range.run)).or_insert_with(|| range.clone());
            known.first = known.first.min(range.first);
            if range.next > known.next {
                (known.next, known.last_moment) = (range.next, range.last_moment);
            }
        }
        all.into_values().collect()
    }

    fn judge(&mut self, life: Life, range: &RunRange, gaps: &mut BTreeMap<(Stream, Run), Ranges>, outcome: &mut Outcome) {
        let key = (range.stream.clone(), range.run);
        let done = self.done.get(&key).copied();
        let from = range.first.max(done.map_or(0, |(_, next)| next));
        let lost = gaps.get_mut(&key);
        let mut explained = self.have.remove(&key).unwrap_or_default();
        let above = explained.holes(range.next, u64::MAX); // a fork that goes on keeps what came above
        let mut kept = Ranges::default();
        kept.insert(range.next, u64::MAX);
        above.into_iter().for_each(|(a, z)| kept.remove(a, z));
        if let Some(lost) = lost {
            let positions: Vec<_> = lost.iter().filter(|(a, z)| *z > from && *a < range.next).collect();
            for (a, z) in positions {
                outcome.both += explained.insert(a.max(from), z.min(range.next));
            }
            lost.remove(range.first, range.next);
            if lost.is_empty() {
                gaps.remove(&key);
            }
        }
        let shed: Vec<Class> = Class::ALL.into_iter().filter(|c| self.batches[usize::from(c.code())].shed_below > 0).collect();
        let holes = explained.holes(from, range.next);
        if self.unread > 0 && !holes.is_empty() {
            outcome.unread = self.unread;
        } else {
            outcome.holes.extend(holes.into_iter().map(|(first, next)| Lost {
                life,
                stream: range.stream.clone(),
                run: range.run,
                first,
                indices: next - first,
                values: None,
                from: Some(range.first_moment), // all that is known of when
                to: range.last_moment,
                reason: GapReason::Unknown,
                before: None,
                shed: shed.clone(),
            }));
        }
        if !kept.is_empty() {
            self.have.insert(key.clone(), kept);
        }
        self.done.insert(key, (done.map_or(range.first, |(first, _)| first), range.next.max(from)));
    }

    /// Of `pieces`, what is not settled here.
    pub fn unsettled(&self, key: &(Stream, Run), pieces: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        let Some(&(first, next)) = self.done.get(key) else { return pieces };
        let outside = |(a, z): (u64, u64)| [(a, z.min(first)), (a.max(next), z)];
        pieces.into_iter().flat_map(outside).filter(|(a, z)| a < z).collect()
    }

    /// Whether something lies above what this later life knows of the epoch.
    pub fn goes_on_above(&self, successor: Life) -> bool {
        let Some(closing) = self.by_successors.get(&successor) else { return false };
        Class::ALL.iter().any(|c| {
            let own = self.own.as_ref().map_or(0, |own| count_of(own, *c).0);
            self.batches[usize::from(c.code())].top().max(own) > count_of(closing, *c).0
        })
    }

    /// All that its closings ask for has come, and nothing above.
    pub fn is_settled(&self) -> bool {
        self.settled && self.batches.iter().all(|b| b.top() <= b.settled)
    }

    /// Above what its successors know of it.
    pub fn went_on(&self) -> bool {
        let known = |class| self.by_successors.values().map(|c| count_of(c, class).0).max();
        Class::ALL.iter().any(|c| known(*c).is_some_and(|known| self.batches[usize::from(c.code())].top() > known))
    }

    /// How far its closings say that a run went.
    pub fn next_of(&self, stream: &Stream, run: Run) -> Option<u64> {
        self.closings().flat_map(|c| &c.runs).filter(|r| r.stream == *stream && r.run == run).map(|r| r.next).max()
    }

    /// Batches that are remembered one by one.
    pub fn held_batches(&self) -> usize {
        self.batches.iter().map(|b| b.held.len()).sum()
    }
}

fn count_of(closing: &Closing, class: Class) -> (Sequence, Digest) {
    closing.classes.iter().find(|end| end.class == class).map_or((0, Digest::default()), |end| (end.count, end.last))
}
