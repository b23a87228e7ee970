//! The accountant: knows what was said and what the rules are, reads decoded batches, and shares no code with the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use wardgate_wire::{ClassEnd, Closing, Epoch, LastKnown, Run, RunRange, Source, Stream, Value};

use super::*;

/// What happened, in order; only what a group sealed, as the rest never was.
#[derive(Clone, Debug)]
pub enum Act {
    Start {
        life: Life,
    },
    Open {
        instance: &'static str,
    },
    Describe {
        instance: &'static str,
        channel: u16,
        digest: Digest,
        withheld: bool,
        moment: Moment,
    },
    Value {
        instance: &'static str,
        source: Source,
        n: i64,
        moment: Moment,
    },
    Block {
        instance: &'static str,
        channel: u16,
        first: u64,
        counts: Vec<i32>,
        moment: Moment,
    },
    Missed {
        instance: &'static str,
        channel: u16,
        values: Option<u64>,
        reason: GapReason,
        moment: Moment,
    },
    NextJump {
        instance: &'static str,
        channel: u16,
        reason: GapReason,
    },
    /// From here on these are not taken.
    Shut {
        waveforms: bool,
        numbers: bool,
        moment: Moment,
    },
    /// Of one stream, or of the whole instance.
    Cut {
        instance: &'static str,
        source: Option<Source>,
        reason: GapReason,
        moment: Moment,
    },
    Seal {
        group: usize,
        now: Moment,
        closes: Option<bool>,
    },
}

type Wrong = String;
type Place = (Life, Stream, Run, u64);
/// Of one run: positions with a value, and stretches without (first, how many, moment).
type Held = (BTreeMap<u64, Moment>, Vec<(u64, u64, Moment)>);

#[derive(Clone, Default)]
struct Sight {
    run: Run,
    next: u64,
    held: bool,
    anew: bool,
    cut: Option<(GapReason, Moment)>,
    jump: Option<GapReason>,
    plugin_next: u64,
    last: Option<LastKnown>,
    digest: Option<Digest>,
    withheld: bool,
    /// Positions and values of the open gap in its run.
    untaken: Option<(u64, Option<u64>)>,
}

/// What must be in the next group.
#[derive(Default)]
struct Expected {
    life: Life,
    sights: BTreeMap<Stream, Sight>,
    described: BTreeSet<Digest>,
    /// Descriptions, runs and gaps, in order; a description stands as its digest.
    entries: Vec<Result<Entry, Digest>>,
    values: BTreeMap<Place, (i64, Moment)>,
    /// Gaps that were open when the life before ended.
    owed: Vec<Entry>,
    sealed_at: Option<Moment>,
    /// Waveforms, numbers: the disk has no room.
    shut: (bool, bool),
    totals: BTreeMap<&'static str, usize>,
}

impl Expected {
    fn count(&mut self, what: &'static str) {
        *self.totals.entry(what).or_default() += 1;
    }

    fn sight(&mut self, instance: &str, source: Source) -> (Stream, &mut Sight) {
        let stream = Stream { instance: instance.into(), source };
        (stream.clone(), self.sights.entry(stream).or_default())
    }

    fn stretch(stream: &Stream, sight: &Sight, to: Moment) -> Option<Entry> {
        let ((reason, from), last) = (sight.cut?, sight.last?);
        let (life, run, first) = (last.life, last.run, last.next);
        (from != to).then(|| Entry::Gap { life, stream: stream.clone(), run, first, indices: 0, values: None, from, to, reason })
    }

    /// What a new life owes for the gaps that the last group left open.
    fn start(&mut self, life: Life) {
        if let Some(sealed) = self.sealed_at.take() {
            self.owed = self.sights.iter().filter_map(|(stream, sight)| Self::stretch(stream, sight, sealed)).collect();
        }
        self.sights.values_mut().for_each(|s| *s = Sight { last: s.last, ..Sight::default() });
        (self.life, self.described, self.values, self.shut) = (life, BTreeSet::new(), BTreeMap::new(), (false, false));
        self.entries = self.owed.iter().cloned().map(Ok).collect();
        self.count("lives");
    }

    fn cut(&mut self, stream: &Stream, reason: GapReason, moment: Moment) {
        let life = self.life;
        let sight = self.sights.entry(stream.clone()).or_default();
        if let Some((positions, values)) = &mut sight.untaken {
            *positions += u64::from(values.take().is_some());
            return;
        }
        let since = sight.last.filter(|l| l.life == life).map_or(moment, |l| l.moment);
        sight.cut.get_or_insert((reason, since));
    }

    fn is_shut(&self, source: Source) -> bool {
        match source {
            Source::Alerts => false,
            Source::Channel(2 | 3) => self.shut.0,
            Source::Channel(_) => self.shut.1,
        }
    }

    /// In its run, if that goes on; else before its next one.
    fn untaken(&mut self, stream: &Stream, positions: u64, values: Option<u64>, moment: Moment) {
        let life = self.life;
        let sight = self.sights.get_mut(stream).expect("seen");
        if sight.withheld {
            return;
        }
        let since = sight.last.filter(|l| l.life == life).map_or(moment, |l| l.moment);
        match (&mut sight.untaken, sight.cut) {
            (Some((all, known)), _) => (*all, *known) = (*all + positions, known.zip(values).map(|(a, b)| a + b)),
            (None, Some((GapReason::DiskFull, _))) => {}
            (None, Some(_)) => {
                let over = Self::stretch(stream, sight, moment);
                sight.cut = Some((GapReason::DiskFull, moment));
                self.entries.extend(over.map(Ok));
            }
            (None, None) if sight.run > 0 => (sight.cut, sight.untaken) = (Some((GapReason::DiskFull, since)), Some((positions, values))),
            (None, None) => sight.cut = Some((GapReason::DiskFull, moment)),
        }
        self.count("untaken");
    }

    fn tell_untaken(&mut self, stream: &Stream, moment: Moment) {
        let sight = self.sights.get_mut(stream).expect("seen");
        if let Some((positions @ 1.., values)) = sight.untaken.replace((0, Some(0))) {
            let since = sight.cut.as_mut().expect("it is open");
            let from = std::mem::replace(&mut since.1, moment);
            self.gap(stream, positions, values, GapReason::DiskFull, moment);
            let Some(Ok(Entry::Gap { from: told, .. })) = self.entries.last_mut() else { unreachable!() };
            *told = from;
        }
    }

    fn resume(&mut self, stream: &Stream, moment: Moment) {
        if self.sights.get(stream).is_some_and(|s| s.untaken.is_some()) {
            self.tell_untaken(stream, moment);
            let sight = self.sights.get_mut(stream).expect("seen");
            (sight.untaken, sight.cut) = (None, None);
        }
    }

    fn begin(&mut self, stream: &Stream, moment: Moment) -> Option<(bool, Option<GapReason>)> {
        self.resume(stream, moment);
        let sight = self.sights.get_mut(stream).expect("seen");
        if sight.run > 0 && !sight.anew && sight.cut.is_none() {
            return None;
        }
        let after_restart = sight.run == 0 && sight.last.is_some();
        let stretch = Self::stretch(stream, sight, moment).filter(|_| after_restart);
        let reason = if after_restart { Some(GapReason::GatewayRestart) } else { sight.cut.map(|c| c.0) };
        let (described, description) = (sight.anew, sight.digest);
        (sight.run, sight.next, sight.held, sight.anew, sight.cut) = (sight.run + 1, 0, false, false, None);
        let run = Entry::Run { stream: stream.clone(), run: sight.run, description, moment, before: sight.last, reason };
        self.entries.extend(stretch.map(Ok));
        if let Some(digest) = description
            && self.described.insert(digest)
        {
            self.entries.push(Err(digest));
        }
        self.entries.push(Ok(run));
        self.count("runs");
        self.count(if after_restart { "cut by restart" } else { "begun otherwise" });
        Some((described, reason))
    }

    fn value(&mut self, stream: &Stream, n: i64, moment: Moment) {
        let life = self.life;
        let sight = self.sights.get_mut(stream).expect("seen");
        let place = (life, stream.clone(), sight.run, sight.next);
        sight.next += 1;
        sight.held = true;
        sight.last = Some(LastKnown { life, run: sight.run, next: sight.next, moment });
        self.values.insert(place, (n, moment));
        self.count("values");
    }

    fn gap(&mut self, stream: &Stream, indices: u64, values: Option<u64>, reason: GapReason, to: Moment) {
        let life = self.life;
        let sight = self.sights.get_mut(stream).expect("seen");
        let (run, first) = (sight.run, sight.next);
        sight.next += indices;
        let mut from = to;
        if let Some(last) = sight.last.as_mut().filter(|_| sight.held) {
            last.next = sight.next;
            from = last.moment;
        }
        self.entries.push(Ok(Entry::Gap { life, stream: stream.clone(), run, first, indices, values, from, to, reason }));
        self.count("gaps");
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Start { life } => self.start(*life),
            Act::Open { instance } => {
                for (stream, sight) in self.sights.iter_mut().filter(|(s, _)| s.instance == *instance) {
                    sight.jump = None;
                    sight.anew |= stream.source == Source::Alerts;
                    sight.digest = None;
                }
                self.sight(instance, Source::Alerts).1.anew = true;
            }
            Act::Describe { instance, channel, digest, withheld, moment } => {
                let (stream, sight) = self.sight(instance, Source::Channel(*channel));
                (sight.digest, sight.withheld, sight.plugin_next) = (Some(*digest), *withheld, 0);
                sight.anew |= !withheld;
                if let Some(reason) = sight.jump.take() {
                    self.cut(&stream, reason, *moment);
                }
            }
            Act::Shut { waveforms, numbers, moment } => {
                self.shut = (*waveforms, *numbers);
                let again: Vec<_> = self.sights.keys().filter(|s| !self.is_shut(s.source)).cloned().collect();
                again.iter().for_each(|stream| self.resume(stream, *moment));
            }
            Act::Value { instance, source, moment, .. } if self.is_shut(*source) => {
                let stream = self.sight(instance, *source).0;
                self.untaken(&stream, 1, Some(1), *moment);
            }
            Act::Block { instance, channel, first, counts, moment } if self.shut.0 => {
                let (stream, sight) = self.sight(instance, Source::Channel(*channel));
                let next = first + counts.len() as u64;
                let positions = next - std::mem::replace(&mut sight.plugin_next, next);
                sight.jump = None;
                self.untaken(&stream, positions, Some(positions), *moment);
            }
            Act::Missed { instance, channel, values, moment, .. } if self.shut.1 => {
                let stream = self.sight(instance, Source::Channel(*channel)).0;
                self.untaken(&stream, 1, *values, *moment);
            }
            Act::NextJump { .. } | Act::Cut { source: Some(_), .. } if self.shut.0 => {} // of waveforms; their indices tell
            Act::Value { instance, source, n, moment } => {
                let (stream, sight) = self.sight(instance, *source);
                if !sight.withheld {
                    self.begin(&stream, *moment);
                    self.value(&stream, *n, *moment);
                }
            }
            Act::Block { instance, channel, first, counts, moment } => {
                let stream = self.sight(instance, Source::Channel(*channel)).0;
                let begun = self.begin(&stream, *moment);
                let sight = self.sights.get_mut(&stream).expect("seen");
                let jump = *first - sight.plugin_next;
                sight.plugin_next = first + counts.len() as u64;
                match begun {
                    Some((false, _)) => sight.jump = None,
                    _ if jump == 0 => {}
                    _ => {
                        let reason = sight.jump.take().or(begun.and_then(|b| b.1)).unwrap_or(GapReason::Unknown);
                        self.gap(&stream, jump, Some(jump), reason, *moment);
                    }
                }
                counts.iter().for_each(|n| self.value(&stream, i64::from(*n), *moment));
            }
            Act::Missed { instance, channel, values, reason, moment } => {
                let (stream, sight) = self.sight(instance, Source::Channel(*channel));
                if !sight.withheld {
                    self.begin(&stream, *moment);
                    self.gap(&stream, 1, *values, *reason, *moment);
                }
            }
            Act::NextJump { instance, channel, reason } => self.sight(instance, Source::Channel(*channel)).1.jump = Some(*reason),
            Act::Cut { instance, source: Some(source), reason, moment } => {
                let stream = self.sight(instance, *source).0;
                self.cut(&stream, *reason, *moment);
            }
            Act::Cut { instance, source: None, reason, moment } => {
                self.sight(instance, Source::Alerts);
                let of = self.sights.iter().filter(|(s, _)| s.instance == *instance);
                let known =
                    of.filter(|(s, x)| s.source == Source::Alerts || x.last.is_some() || x.run > 0 || x.digest.is_some() && !x.withheld);
                let known: Vec<_> = known.map(|(s, _)| s.clone()).collect();
                known.iter().for_each(|stream| self.cut(stream, *reason, *moment));
            }
            Act::Seal { now, closes, .. } => {
                if closes.is_some() {
                    let shut: Vec<_> = self.sights.iter().filter(|(_, s)| s.untaken.is_some()).map(|(s, _)| s.clone()).collect();
                    shut.iter().for_each(|stream| self.tell_untaken(stream, *now));
                    for (stream, sight) in &mut self.sights {
                        if let Some(entry) = Self::stretch(stream, sight, *now) {
                            self.entries.push(Ok(entry));
                            *self.totals.entry("stretches").or_default() += 1;
                            sight.cut.as_mut().expect("just told").1 = *now;
                        }
                    }
                }
                self.sealed_at = Some(*now);
                self.owed.clear();
            }
        }
    }
}

/// What all batches so far hold, counted again from nothing but them.
#[derive(Default)]
struct Count {
    classes: BTreeMap<(Life, Epoch, Class), (u32, Digest)>,
    runs: BTreeMap<(Life, Epoch), BTreeMap<(Stream, Run), Held>>,
    described: BTreeMap<Life, BTreeSet<Digest>>,
    numbers: BTreeSet<i64>,
    newest: Option<(Life, Epoch)>,
}

impl Count {
    fn chain(&mut self, key: BatchKey, digest: Digest, batch: &Batch) -> Result<(), Wrong> {
        let (next, last) = self.classes.get(&(key.life, key.epoch, key.class)).copied().unwrap_or_default();
        if (key.sequence, batch.header.previous) != (next, last) {
            return Err(format!("{key} does not follow batch {next} with {last}"));
        }
        self.classes.insert((key.life, key.epoch, key.class), (next + 1, digest));
        self.newest = Some((key.life, key.epoch));
        Ok(())
    }

    fn run(&mut self, key: BatchKey, stream: &Stream, run: Run) -> &mut Held {
        self.runs.entry((key.life, key.epoch)).or_default().entry((stream.clone(), run)).or_default()
    }

    fn closing(&self, life: Life, epoch: Epoch, clean: bool) -> Closing {
        let of = self.classes.range((life, epoch, Class::Alert)..=(life, epoch, Class::Archive));
        let classes = of.map(|(k, (count, last))| ClassEnd { class: k.2, count: *count, last: *last }).collect();
        let runs = self.runs.get(&(life, epoch)).into_iter().flatten().map(|((stream, run), (values, gaps))| {
            let first_value = values.first_key_value().map(|(i, m)| (*i, *m));
            let first_gap = gaps.iter().map(|g| (g.0, g.2)).min_by_key(|g| g.0);
            let (first, first_moment) = [first_value, first_gap].into_iter().flatten().min_by_key(|x| x.0).expect("something");
            let next = values.last_key_value().map_or(0, |(i, _)| i + 1).max(gaps.iter().map(|g| g.0 + g.1).max().unwrap_or(0));
            let last_moment = values.last_key_value().map_or(first_moment, |(_, m)| *m);
            RunRange { stream: stream.clone(), run: *run, first, next, count: values.len() as u64, first_moment, last_moment }
        });
        Closing { epoch, clean, classes, runs: runs.collect() }
    }

    /// All runs are without holes and overlaps from 0 on.
    fn tiled(&self) -> Result<(), Wrong> {
        let mut whole = BTreeMap::new();
        for ((life, _), runs) in &self.runs {
            for ((stream, run), (values, gaps)) in runs {
                let all: &mut Vec<(u64, u64)> = whole.entry((*life, stream, *run)).or_default();
                all.extend(values.keys().map(|i| (*i, 1)));
                all.extend(gaps.iter().map(|g| (g.0, g.1)));
            }
        }
        for (of, mut pieces) in whole {
            pieces.sort_unstable();
            let mut next = 0;
            for (first, n) in pieces {
                if first != next {
                    return Err(format!("positions of {of:?}: {first} where {next} follows"));
                }
                next += n;
            }
        }
        Ok(())
    }
}

/// Every value and the position it has, with its moment.
fn values(batch: &Batch) -> Vec<(Stream, Run, u64, i64, Moment)> {
    let stream = |instance: &str, source| Stream { instance: instance.into(), source };
    let mut all = Vec::new();
    match &batch.content {
        Content::Alerts(instances) => {
            for (i, a) in instances.iter().flat_map(|i| i.alerts.iter().map(move |a| (i, a))) {
                all.push((stream(&i.instance, Source::Alerts), a.run, a.index, i64::from(a.alert.id), a.moment));
            }
        }
        Content::Numerics(instances) => {
            for (i, o) in instances.iter().flat_map(|i| i.observations.iter().map(move |o| (i, o))) {
                for r in &o.readings {
                    let Value::Number(n) = r.value else { panic!("only numbers were said") };
                    all.push((stream(&i.instance, Source::Channel(r.channel)), r.run, r.index, n.mantissa, o.moment));
                }
            }
        }
        Content::Waveforms(tracks) => {
            for t in tracks {
                let moments = t.pieces.iter().flat_map(|p| std::iter::repeat_n(p.moment, p.count as usize));
                let counted = t.counts.iter().zip(moments).enumerate();
                all.extend(
                    counted
                        .map(|(k, (n, m))| (stream(&t.instance, Source::Channel(t.channel)), t.run, t.first + k as u64, i64::from(*n), m)),
                );
            }
        }
        Content::Ledger(_) | Content::Archive(_) => {}
    }
    all
}

/// `Ok`: what was seen, counted; so that a test can tell that it tried everything.
pub fn audit(groups: &[Group], acts: &[Act]) -> Result<BTreeMap<&'static str, usize>, Wrong> {
    let (mut expected, mut count) = (Expected::default(), Count::default());
    for act in acts {
        expected.act(act);
        if let Act::Seal { group, closes, .. } = act {
            audit_group(&groups[*group], &mut expected, &mut count, *closes).map_err(|w| format!("group {group}: {w}"))?;
        }
    }
    count.tiled()?;
    Ok(expected.totals)
}

fn audit_group(group: &Group, expected: &mut Expected, count: &mut Count, closes: Option<bool>) -> Result<(), Wrong> {
    let before = count.newest;
    let (mut found, mut entries) = (BTreeMap::new(), Vec::new());
    for (key, digest, batch) in &group.batches {
        if key.life != expected.life || before.is_some_and(|(life, epoch)| life == key.life && epoch > key.epoch) {
            return Err(format!("{key} after {before:?}"));
        }
        let newest = count.newest;
        if key.class == Class::Ledger && key.sequence == 0 {
            audit_opening(key, batch, count, newest, closes)?;
            expected.count("epochs");
        } else if ledger(batch).iter().any(|e| matches!(e, Entry::Opening { .. } | Entry::Closing(_))) {
            return Err(format!("{key} opens an epoch"));
        }
        count.chain(*key, *digest, batch)?;
        expected.count("batches");
        for (stream, run, index, n, moment) in values(batch) {
            if count.run(*key, &stream, run).0.insert(index, moment).is_some() || !count.numbers.insert(n) {
                return Err(format!("{key}: {n} at {stream:?} {run} {index} comes twice"));
            }
            found.insert((key.life, stream, run, index), (n, moment));
        }
        for entry in ledger(batch) {
            match entry {
                Entry::Description { digest, .. } => {
                    count.described.entry(key.life).or_default().insert(*digest);
                    entries.push(Err(*digest));
                }
                Entry::Gap { stream, run, first, indices, to, .. } if *indices > 0 => {
                    count.run(*key, stream, *run).1.push((*first, *indices, *to));
                    entries.push(Ok(entry.clone()));
                }
                Entry::Run { .. } | Entry::Gap { .. } => entries.push(Ok(entry.clone())),
                _ => {}
            }
        }
    }
    let named = group.entries().into_iter().filter_map(|e| if let Entry::Run { description, .. } = e { *description } else { None });
    for digest in named {
        if !count.described.get(&expected.life).is_some_and(|d| d.contains(&digest)) {
            return Err(format!("a run names {digest}, which no ledger batch of its group or earlier describes"));
        }
    }
    let (wanted, wanted_entries) = (std::mem::take(&mut expected.values), std::mem::take(&mut expected.entries));
    if let Some(at) = (0..entries.len().max(wanted_entries.len())).find(|&n| entries.get(n) != wanted_entries.get(n)) {
        return Err(format!("ledger has {:?} where {:?} is due", entries.get(at), wanted_entries.get(at)));
    }
    if let Some((place, value)) = wanted.iter().find(|(place, value)| found.get(place) != Some(value)) {
        return Err(format!("{value:?} is due at {place:?}, where {:?} stands", found.get(place)));
    }
    if found.len() != wanted.len() {
        return Err(format!("{} values where {} were said", found.len(), wanted.len()));
    }
    Ok(())
}

fn audit_opening(key: &BatchKey, batch: &Batch, count: &Count, newest: Option<(Life, Epoch)>, closes: Option<bool>) -> Result<(), Wrong> {
    let entries = ledger(batch);
    let due = match (&entries[0], newest) {
        (Entry::Opening { predecessor: None, .. }, None) => return Ok(()),
        (Entry::Opening { predecessor: Some(p), .. }, Some((life, epoch))) if life != key.life && key.epoch == 0 => {
            (p.closing == count.closing(life, epoch, false) && p.life == life, "the life before")
        }
        (Entry::Closing(closing), Some((life, epoch))) if (life, epoch + 1) == (key.life, key.epoch) => {
            (closes.is_some_and(|clean| *closing == count.closing(life, epoch, clean)) && entries.len() == 1, "the epoch before")
        }
        // the data of an epoch's first group stand before its ledger
        (Entry::Opening { predecessor, .. }, Some((life, 0))) if life == key.life && key.epoch == 0 => {
            let of = predecessor.as_ref().map(|p| (p.life, p.closing.epoch, p.closing.clean));
            let recounted = of.map(|(life, epoch, _)| count.closing(life, epoch, false));
            let newest_life = count.classes.keys().rev().find(|k| k.0 < key.life).map(|k| (k.0, k.1));
            let fits = predecessor.as_ref().map(|p| p.closing.clone()) == recounted && of.map(|o| (o.0, o.1)) == newest_life;
            (fits, "the life before")
        }
        other => return Err(format!("{key} begins with {other:?}")),
    };
    if due.0 { Ok(()) } else { Err(format!("{key} does not say how {} ended: {:?}", due.1, entries[0])) }
}
