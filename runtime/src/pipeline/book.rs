//! The book: gives every value its position, and writes into the ledger what makes positions checkable.

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire::{
    Alert, DeviceTime, Entry, GapReason, LastKnown, Moment, NumberedAlert, NumberedObservation, NumberedReading, Piece, Raw, Run, Source,
    Stream, Value, WaveformTrack,
};

use super::heads::{Heads, OpenGap, Range, stretch};
use super::open::{Open, track};
use super::said::{Channel, Meaning};

/// Where a stream stands in this life.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbering {
    /// The newest run; 0 before the first.
    run: Run,
    next: u64,
    /// The newest run holds values.
    held: bool,
    /// Described (or opened, for alerts) since the newest run began: the next value begins another.
    anew: bool,
    /// The disk has no room for it: positions and values, where they are known, of the open gap that the ledger does not tell yet.
    untaken: Option<(u64, Option<u64>)>,
}

/// An instance that speaks, and when.
pub(super) struct Voice<'a> {
    pub instance: &'a Arc<str>,
    pub numbering: &'a mut BTreeMap<Source, Numbering>,
    pub moment: Moment,
    /// It was parked, and a person said whose it is.
    pub late: bool,
}

/// Everything that is not yet sealed, with the heads as they stand after it.
#[derive(Debug)]
pub(super) struct Book {
    pub heads: Heads,
    pub open: Open,
    /// Why the streams of earlier lives stopped.
    pub restart: GapReason,
    /// The present epoch holds something besides its opening.
    pub holds: bool,
    /// Runs begun in the present epoch.
    pub runs_in_epoch: usize,
}

/// A run that has just begun.
struct Begun {
    described: bool,
    reason: Option<GapReason>,
}

impl Numbering {
    /// It has had a run in this life.
    pub fn spoke(&self) -> bool {
        self.run > 0
    }

    /// Its run goes on in a gap, because the disk has no room.
    pub fn is_shut(&self) -> bool {
        self.untaken.is_some()
    }
}

impl Voice<'_> {
    fn of(&mut self, source: Source) -> &mut Numbering {
        self.numbering.entry(source).or_default()
    }

    fn stream(&self, source: Source) -> Stream {
        Stream { instance: self.instance.to_string(), source }
    }

    /// The next value of each stream begins a run.
    pub fn all_anew(&mut self) {
        self.numbering.values_mut().for_each(|n| n.anew = true);
    }

    /// The next value of this stream begins a run.
    pub fn anew(&mut self, source: Source) {
        self.of(source).anew = true;
    }
}

impl Book {
    pub fn entry(&mut self, entry: Entry) {
        self.holds = true;
        self.open.entry(entry);
    }

    /// Values of this stream were lost, or may have been: the next one begins a run that says so. The first reason stays, unless `instead`.
    /// Returns whether this is news: of a stream that has not spoken in this life, the opening already says that it stopped.
    pub fn cut(&mut self, voice: &mut Voice, source: Source, reason: GapReason, instead: bool) -> bool {
        if let Some((positions, values @ Some(_))) = &mut voice.of(source).untaken {
            (*positions, *values) = (*positions + 1, None); // one position for what nobody counted
        }
        if voice.of(source).is_shut() {
            return false; // all of it lies in one gap until the disk has room
        }
        let life = self.heads.life;
        let head = self.heads.stream(voice.instance, source);
        match &mut head.open {
            Some(gap) if instead && gap.reason != reason => gap.reason = reason,
            Some(_) => return false,
            None => {
                let since = head.last.filter(|l| l.life == life).map_or(voice.moment, |l| l.moment);
                head.open = Some(OpenGap { reason, since });
            }
        }
        let news = head.last.is_some_and(|l| l.life == life);
        self.holds |= news;
        news
    }

    pub fn observation<'m>(
        &mut self,
        voice: &mut Voice,
        at: DeviceTime,
        said: Vec<(u16, Value, u16)>,
        meaning: impl Fn(u16) -> Option<&'m Meaning>,
    ) {
        let mut readings = Vec::with_capacity(said.len());
        for (channel, value, quality) in said {
            let source = Source::Channel(channel);
            self.begin(voice, source, meaning(channel));
            let (run, index) = self.take(voice, source, 1);
            readings.push(NumberedReading { channel, run, index, value, quality });
        }
        self.open.observation(voice.instance, voice.late, NumberedObservation { moment: voice.moment, at, readings });
    }

    pub fn alert(&mut self, voice: &mut Voice, alert: Alert) {
        self.begin(voice, Source::Alerts, None);
        let (run, index) = self.take(voice, Source::Alerts, 1);
        self.open.alert(voice.instance, NumberedAlert { run, index, moment: voice.moment, alert });
    }

    /// Samples from the plugin's index `first` on. A jump takes exactly its positions, in a gap.
    pub fn block(&mut self, voice: &mut Voice, number: u16, channel: &mut Channel, first: u64, piece: Piece, counts: Vec<i32>) {
        let source = Source::Channel(number);
        let begun = self.begin(voice, source, Some(&channel.meaning));
        let base_moves = begun.as_ref().is_some_and(|b| !b.described);
        let jump = if base_moves { 0 } else { first - channel.expected }; // a run without `describe` starts where its first sample is
        if jump > 0 {
            let reason = channel.jump.take().or(begun.and_then(|b| b.reason)).unwrap_or(GapReason::Unknown);
            self.gap(voice, source, jump, Some(jump), reason);
        } else if base_moves {
            channel.jump = None; // the start of the run says it
        }
        channel.expected = first + counts.len() as u64;
        let (run, index) = self.take(voice, source, counts.len() as u64);
        let track = WaveformTrack { late: voice.late, ..track(voice.instance, number, run, index, piece, counts) };
        self.open.block(track, channel.preview);
    }

    pub fn raw(&mut self, raw: Raw) {
        self.holds = true;
        self.open.raw(raw);
    }

    /// A plugin said that readings are missing: one position that a gap covers.
    pub fn missed_readings(&mut self, voice: &mut Voice, channel: u16, meaning: &Meaning, values: Option<u64>, reason: GapReason) {
        let source = Source::Channel(channel);
        self.begin(voice, source, Some(meaning));
        self.gap(voice, source, 1, values, reason);
    }

    /// The disk has no room for values of this stream. Where its run goes on they take its positions; where none does, the gap before
    /// its next run is theirs. Returns whether this is news: everything behind the first one lies in the same open gap.
    pub fn untaken(&mut self, voice: &mut Voice, source: Source, positions: u64, values: Option<u64>) -> bool {
        if let Some((all, known)) = &mut voice.of(source).untaken {
            *all += positions;
            *known = known.zip(values).map(|(a, b)| a + b);
            return false;
        }
        let (moment, stream, spoke) = (voice.moment, voice.stream(source), voice.of(source).spoke());
        let head = self.heads.stream(voice.instance, source);
        let mut since = moment;
        match (head.open, head.last) {
            (Some(gap), _) if gap.reason == GapReason::DiskFull => return false,
            (Some(gap), Some(last)) if gap.since != moment => self.open.entry(stretch(stream, last, gap, moment)), // that loss is over
            (Some(_), _) => {}
            (None, last) if spoke => {
                since = last.filter(|l| l.life == self.heads.life).map_or(moment, |l| l.moment);
                voice.of(source).untaken = Some((positions, values));
            }
            (None, _) => {}
        }
        self.heads.stream(voice.instance, source).open = Some(OpenGap { reason: GapReason::DiskFull, since });
        self.holds = true;
        true
    }

    /// What was not taken is a gap in the run, which goes on.
    pub fn resume(&mut self, voice: &mut Voice, source: Source) {
        if voice.of(source).is_shut() {
            self.tell_untaken(voice, source);
            voice.of(source).untaken = None;
            self.heads.stream(voice.instance, source).open = None;
        }
    }

    /// As far as it goes; it may go on.
    pub fn tell_untaken(&mut self, voice: &mut Voice, source: Source) {
        if let Some((positions @ 1.., values)) = voice.of(source).untaken {
            self.gap(voice, source, positions, values, GapReason::DiskFull);
            voice.of(source).untaken = Some((0, Some(0)));
        }
    }

    /// Begins a run if one is due. `None`: the present one goes on.
    fn begin(&mut self, voice: &mut Voice, source: Source, meaning: Option<&Meaning>) -> Option<Begun> {
        self.resume(voice, source);
        let numbering = *voice.of(source);
        let head = self.heads.stream(voice.instance, source);
        if numbering.run > 0 && !numbering.anew && head.open.is_none() {
            return None;
        }
        let (gap, before, run) = (head.open.take(), head.last, numbering.run + 1);
        *voice.of(source) = Numbering { run, ..Numbering::default() };
        let (moment, stream) = (voice.moment, voice.stream(source));
        // what an earlier life lost, its end explains; a fault since then is told as a stretch of its own
        let reason = match (before, gap) {
            (Some(last), gap) if run == 1 => {
                if let Some(gap) = gap.filter(|g| g.since != moment) {
                    self.open.entry(stretch(stream.clone(), last, gap, moment));
                }
                Some(self.restart)
            }
            (_, gap) => gap.map(|g| g.reason),
        };
        if let Some(meaning) = meaning
            && self.heads.described.insert(meaning.digest)
        {
            self.open.entry(Entry::Description { digest: meaning.digest, description: meaning.description.clone() });
        }
        self.runs_in_epoch += 1;
        self.entry(Entry::Run { stream, run, description: meaning.map(|m| m.digest), moment, before, reason });
        Some(Begun { described: numbering.anew, reason })
    }

    /// Takes positions for `n` values.
    fn take(&mut self, voice: &mut Voice, source: Source, n: u64) -> (Run, u64) {
        let (moment, life) = (voice.moment, self.heads.life);
        let numbering = voice.of(source);
        let first = numbering.next;
        (numbering.next, numbering.held) = (first + n, true);
        let (run, next) = (numbering.run, numbering.next);
        let head = self.heads.stream(voice.instance, source);
        let range = head.range(run, Range { first, next, count: 0, first_moment: moment, last_moment: moment });
        (range.next, range.last_moment) = (next, moment);
        range.count += n;
        head.last = Some(LastKnown { life, run, next, moment });
        self.holds = true;
        (run, first)
    }

    /// Takes positions that hold nothing.
    fn gap(&mut self, voice: &mut Voice, source: Source, indices: u64, values: Option<u64>, reason: GapReason) {
        let (moment, stream, life) = (voice.moment, voice.stream(source), self.heads.life);
        let numbering = voice.of(source);
        let first = numbering.next;
        numbering.next += indices;
        let (run, next, held) = (numbering.run, numbering.next, numbering.held);
        let head = self.heads.stream(voice.instance, source);
        let range = head.range(run, Range { first, next, count: 0, first_moment: moment, last_moment: moment });
        range.next = next;
        let mut from = moment;
        if let Some(last) = head.last.as_mut().filter(|_| held) {
            last.next = next;
            from = last.moment;
        }
        if let Some(open) = &mut head.open {
            from = std::mem::replace(&mut open.since, moment); // what went before is told
        }
        self.entry(Entry::Gap { life, stream, run, first, indices, values, from, to: moment, reason });
    }
}
