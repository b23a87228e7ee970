//! The bytes of one stream's changes: most of what heads cost.

use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{GapReason, LastKnown, Life, Moment, Run, Source, WireError};

use super::heads::{OpenGap, Range, StreamHead};

pub(super) const WHAT: &str = "heads";

/// What changed of a stream. The everyday case is its newest run going on, in which all else follows from four small numbers.
pub(super) mod part {
    pub const ADVANCED: u8 = 1;
    pub const HOLES: u8 = 2; // with ADVANCED: fewer values than positions
    pub const LAST: u8 = 4;
    pub const RANGES: u8 = 8;
    pub const GAP: u8 = 16;
    pub const GAP_OVER: u8 = 32;
    pub const ALIKE: u8 = 64; // with ADVANCED: and so did as many channels right after it as the number says
}

/// A stream that changed: what it is now, and what it was.
pub(super) type Changed<'a> = (Source, &'a StreamHead, &'a StreamHead);

/// Keys come in ascending order, each once: one content, one form.
pub(super) fn ascend<T: Ord>(above: &mut Option<T>, key: T) -> Result<(), WireError> {
    if above.as_ref().is_some_and(|a| *a >= key) {
        return Err(WireError::Range(WHAT));
    }
    *above = Some(key);
    Ok(())
}

pub(super) fn source_code(source: Source) -> u64 {
    match source {
        Source::Alerts => 0,
        Source::Channel(n) => u64::from(n) + 1,
    }
}

pub(super) fn source_from(code: u64) -> Result<Source, WireError> {
    match code.checked_sub(1) {
        None => Ok(Source::Alerts),
        Some(n) => u16::try_from(n).map(Source::Channel).map_err(|_| WireError::Range(WHAT)),
    }
}

/// How the newest run of a stream went on: positions, values among them, moment of the last value.
pub(super) type Step = (u64, u64, Moment);

/// The step by which the newest run of `old` went on, if nothing else happened.
fn advance(head: &StreamHead, old: &StreamHead, life: Life) -> Option<Step> {
    let (((run, new), runs), ((run_before, was), runs_before)) = (head.ranges.split_last()?, old.ranges.split_last()?);
    let (indices, count) = (new.next.checked_sub(was.next)?, new.count.checked_sub(was.count)?);
    let last = LastKnown { life, run: *run, next: new.next, moment: new.last_moment };
    let gone_on = Range { next: new.next, count: new.count, last_moment: new.last_moment, ..*was };
    let alike = (run, runs, &head.open) == (run_before, runs_before, &old.open) && (head.last, *new) == (Some(last), gone_on);
    (alike && indices > 0).then_some((indices, count, new.last_moment))
}

/// Which of a list of changed streams get a record of their own (place, step), and how many right after them went on alike.
pub(super) fn records(list: &[Changed], life: Life) -> Vec<(usize, Option<Step>, u64)> {
    let mut records: Vec<(usize, Option<Step>, u64)> = Vec::new();
    for (place, (source, head, old)) in list.iter().enumerate() {
        let step = advance(head, old, life);
        match records.last_mut() {
            Some((first, same, alike))
                if step.is_some() && *same == step && source_code(list[*first].0) + *alike + 1 == source_code(*source) =>
            {
                *alike += 1;
            }
            _ => records.push((place, step, 0)),
        }
    }
    records
}

pub(super) fn write_step(w: &mut Writer, moments: &mut Moments, (indices, count, moment): Step, alike: u64) {
    let holes = if indices == count { 0 } else { part::HOLES };
    w.u8(part::ADVANCED | holes | if alike == 0 { 0 } else { part::ALIKE });
    if alike > 0 {
        w.varint(alike);
    }
    w.varint(indices);
    if indices != count {
        w.varint(count);
    }
    moments.write(w, moment);
}

/// After its flags: the step, and how many streams right after took it too.
pub(super) fn read_step(r: &mut Reader, moments: &mut Moments, flags: u8) -> Result<(Step, u64), WireError> {
    if flags & !(part::ADVANCED | part::HOLES | part::ALIKE) != 0 {
        return Err(WireError::Range(WHAT));
    }
    let alike = if flags & part::ALIKE != 0 { r.varint()? } else { 0 };
    let indices = r.varint()?;
    let count = if flags & part::HOLES != 0 { r.varint()? } else { indices };
    if indices == 0 {
        return Err(WireError::Range(WHAT));
    }
    Ok(((indices, count, moments.read(r)?), alike))
}

pub(super) fn go_on(head: &mut StreamHead, (indices, count, moment): Step, life: Life) -> Option<()> {
    let (run, range) = head.ranges.last_mut()?;
    range.next = range.next.checked_add(indices)?;
    range.count = range.count.checked_add(count).filter(|count| *count <= range.next - range.first)?;
    range.last_moment = moment;
    head.last = Some(LastKnown { life, run: *run, next: range.next, moment });
    Some(())
}

pub(super) fn write_stream(w: &mut Writer, moments: &mut Moments, head: &StreamHead, old: &StreamHead, life: Life) {
    let last = head.last.filter(|_| head.last != old.last);
    let ranges: Vec<_> = head.ranges.iter().filter(|(run, range)| old.known(*run) != Some(range)).collect();
    let gap = head.open.filter(|_| head.open != old.open);
    let mut flags = if last.is_some() { part::LAST } else { 0 } | if ranges.is_empty() { 0 } else { part::RANGES };
    flags |= if gap.is_some() { part::GAP } else { 0 };
    flags |= if head.open.is_none() && old.open.is_some() { part::GAP_OVER } else { 0 };
    w.u8(flags);
    if let Some(last) = last {
        w.option((last.life != life).then_some(last.life), Writer::fixed64);
        w.varint(u64::from(last.run));
        w.varint(last.next);
        moments.write(w, last.moment);
    }
    if !ranges.is_empty() {
        w.varint(ranges.len() as u64);
    }
    for (run, range) in ranges {
        w.varint(u64::from(*run));
        w.varint(range.first);
        w.varint(range.next - range.first);
        w.varint(range.count);
        moments.write(w, range.first_moment);
        moments.write(w, range.last_moment);
    }
    if let Some(gap) = gap {
        w.u8(gap.reason.code());
        moments.write(w, gap.since);
    }
}

pub(super) fn read_stream(r: &mut Reader, moments: &mut Moments, head: &mut StreamHead, flags: u8, life: Life) -> Result<(), WireError> {
    let wrong = WireError::Range(WHAT);
    let known = part::LAST | part::RANGES | part::GAP | part::GAP_OVER;
    if flags == 0 || flags & !known != 0 || flags & part::GAP != 0 && flags & part::GAP_OVER != 0 {
        return Err(wrong);
    }
    if flags & part::LAST != 0 {
        let life = r.option(Reader::fixed64)?.unwrap_or(life);
        head.last = Some(LastKnown { life, run: run_number(r)?, next: r.varint()?, moment: moments.read(r)? });
    }
    if flags & part::RANGES != 0 {
        let mut above = None;
        for _ in 0..r.count(6)? {
            let run = run_number(r)?;
            ascend(&mut above, run)?;
            let range = read_range(r, moments)?;
            *head.range(run, range) = range;
        }
    }
    if flags & part::GAP != 0 {
        let reason = GapReason::from_code(r.u8()?).ok_or(wrong.clone())?;
        head.open = Some(OpenGap { reason, since: moments.read(r)? });
    }
    if flags & part::GAP_OVER != 0 && head.open.take().is_none() {
        return Err(wrong);
    }
    Ok(())
}

fn read_range(r: &mut Reader, moments: &mut Moments) -> Result<Range, WireError> {
    let (first, length, count) = (r.varint()?, r.varint()?, r.varint()?);
    let next = first.checked_add(length).filter(|_| count <= length && length > 0).ok_or(WireError::Range(WHAT))?;
    Ok(Range { first, next, count, first_moment: moments.read(r)?, last_moment: moments.read(r)? })
}

fn run_number(r: &mut Reader) -> Result<Run, WireError> {
    match r.number()? {
        0 => Err(WireError::Range(WHAT)),
        run => Ok(run),
    }
}

/// Moments repeat a lot, as one call says many things: each is written once and named by its number after that.
pub(super) struct Moments {
    home: Moment,
    seen: Vec<Moment>,
}

impl Moments {
    pub fn new(home: Moment) -> Self {
        Self { home, seen: Vec::new() }
    }

    /// 0: a new one of the home's boot; 1: a new one of another boot; else the number of an earlier one, plus 2.
    fn write(&mut self, w: &mut Writer, moment: Moment) {
        if let Some(n) = self.seen.iter().position(|m| *m == moment) {
            w.varint(n as u64 + 2);
            return;
        }
        if moment.boot == self.home.boot {
            w.varint(0);
        } else {
            w.varint(1);
            w.fixed64(moment.boot);
        }
        w.zigzag(moment.monotonic_ns.wrapping_sub(self.home.monotonic_ns) as i64);
        self.seen.push(moment);
    }

    fn read(&mut self, r: &mut Reader) -> Result<Moment, WireError> {
        let boot = match r.number::<usize>()? {
            0 => self.home.boot,
            1 => r.fixed64()?,
            n => return self.seen.get(n - 2).copied().ok_or(WireError::Range(WHAT)),
        };
        let moment = Moment { boot, monotonic_ns: self.home.monotonic_ns.wrapping_add(r.zigzag()? as u64) };
        self.seen.push(moment);
        Ok(moment)
    }
}
