//! The bytes of heads. Full ones are the difference to empty ones, so that there is one form to write, read and test.

use std::collections::BTreeMap;
use std::sync::Arc;

use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{Class, Digest, Moment, WireError};

use super::heads::{ClassHead, Heads, StreamHead};
use super::heads_stream::{
    Changed, Moments, WHAT, ascend, go_on, part, read_step, read_stream, records, source_code, source_from, write_step, write_stream,
};

const FORMAT: u8 = 0;

const STOPPED: u8 = 1;
const NEW_BOOT: u8 = 2;

impl Heads {
    pub(super) fn full(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.fixed64(self.life);
        w.varint(u64::from(self.epoch));
        w.varint(self.number);
        w.fixed64(self.moment.boot);
        let mut nothing = Self::new(self.life, Moment { boot: self.moment.boot, monotonic_ns: 0 });
        nothing.epoch = self.epoch;
        self.write_changes(&mut w, &nothing);
        w.out
    }

    /// What changed since `base`, the heads sealed just before in the same life and epoch.
    pub(super) fn difference(&self, base: &Self) -> Vec<u8> {
        debug_assert!((self.life, self.epoch, self.number) == (base.life, base.epoch, base.number + 1));
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.varint(u64::from(self.epoch));
        w.varint(self.number);
        self.write_changes(&mut w, base);
        w.out
    }

    /// From the newest full heads and the differences after them, oldest first; `None` when there is nothing.
    pub fn rebuild(records: &[(bool, Vec<u8>)]) -> Result<Option<Self>, WireError> {
        let mut heads: Option<Self> = None;
        let mut before: Option<&(bool, Vec<u8>)> = None;
        for record in records {
            if before == Some(record) {
                continue; // a group that was written again after a failed flush
            }
            before = Some(record);
            let mut r = Reader::new(&record.1, WHAT);
            let format = r.u8()?;
            if format != FORMAT {
                return Err(WireError::Format(format));
            }
            heads = Some(match (record.0, heads) {
                (true, _) => read_full(r)?,
                (false, Some(base)) => read_difference(r, base)?,
                (false, None) => return Err(WireError::Range(WHAT)),
            });
        }
        Ok(heads)
    }

    fn write_changes(&self, w: &mut Writer, base: &Self) {
        let new_boot = self.moment.boot != base.moment.boot;
        w.u8(if self.stopped { STOPPED } else { 0 } | if new_boot { NEW_BOOT } else { 0 });
        if new_boot {
            w.fixed64(self.moment.boot);
        }
        w.zigzag(self.moment.monotonic_ns.wrapping_sub(base.moment.monotonic_ns) as i64);
        let classes: Vec<_> = self.classes.iter().filter(|&(class, head)| base.classes.get(class) != Some(head)).collect();
        w.varint(classes.len() as u64);
        for (class, head) in classes {
            w.u8(class.code());
            w.varint(u64::from(head.next - base.classes.get(class).map_or(0, |b| b.next)));
            w.raw(&head.last.0);
        }
        let described: Vec<_> = self.described.difference(&base.described).collect();
        w.varint(described.len() as u64);
        described.iter().for_each(|digest| w.raw(&digest.0));
        self.write_streams(w, base);
    }

    fn write_streams(&self, w: &mut Writer, base: &Self) {
        let (none, untouched) = (Arc::default(), StreamHead::default());
        let known: BTreeMap<&Arc<str>, usize> = base.streams.keys().enumerate().map(|(n, name)| (name, n)).collect();
        let mut changed: Vec<(&Arc<str>, Vec<Changed>)> = Vec::new();
        for (instance, streams) in &self.streams {
            let old = base.streams.get(instance).unwrap_or(&none);
            if Arc::ptr_eq(streams, old) {
                continue;
            }
            let list: Vec<_> = (streams.iter())
                .map(|(&source, head)| (source, head, old.get(&source).unwrap_or(&untouched)))
                .filter(|(_, head, old)| head != old)
                .collect();
            if !list.is_empty() {
                changed.push((instance, list));
            }
        }
        let mut moments = Moments::new(self.moment);
        w.varint(changed.len() as u64);
        for (instance, list) in changed {
            match known.get(instance) {
                Some(n) => w.varint(*n as u64 + 1),
                None => {
                    w.varint(0);
                    w.text(instance);
                }
            }
            let records = records(&list, self.life);
            w.varint(records.len() as u64);
            for (place, step, alike) in records {
                let (source, head, old) = list[place];
                w.varint(source_code(source));
                match step {
                    Some(step) => write_step(w, &mut moments, step, alike),
                    None => write_stream(w, &mut moments, head, old, self.life),
                }
            }
        }
    }
}

fn read_full(mut r: Reader) -> Result<Heads, WireError> {
    let life = r.fixed64()?;
    let epoch = r.number()?;
    let number = r.varint()?;
    let mut heads = Heads::new(life, Moment { boot: r.fixed64()?, monotonic_ns: 0 });
    (heads.epoch, heads.number) = (epoch, number);
    read_changes(r, heads)
}

fn read_difference(mut r: Reader, mut base: Heads) -> Result<Heads, WireError> {
    if r.number::<u32>()? != base.epoch || Some(r.varint()?) != base.number.checked_add(1) {
        return Err(WireError::Range(WHAT));
    }
    base.number += 1;
    read_changes(r, base)
}

fn read_changes(mut r: Reader, mut heads: Heads) -> Result<Heads, WireError> {
    let flags = r.u8()?;
    if flags & !(STOPPED | NEW_BOOT) != 0 {
        return Err(WireError::Range(WHAT));
    }
    heads.stopped = flags & STOPPED != 0;
    if flags & NEW_BOOT != 0 {
        heads.moment.boot = r.fixed64()?;
    }
    heads.moment.monotonic_ns = heads.moment.monotonic_ns.wrapping_add(r.zigzag()? as u64);
    let mut above = None;
    for _ in 0..r.count(18)? {
        let class = Class::from_code(r.u8()?).ok_or(WireError::Range(WHAT))?;
        ascend(&mut above, class)?;
        let step: u32 = r.number()?;
        let head = heads.classes.entry(class).or_insert(ClassHead { next: 0, last: Digest::default() });
        head.next = head.next.checked_add(step).filter(|_| step > 0).ok_or(WireError::Range(WHAT))?;
        head.last = Digest(r.array()?);
    }
    let mut above = None;
    for _ in 0..r.count(16)? {
        let digest = Digest(r.array()?);
        ascend(&mut above, digest)?;
        if !heads.described.insert(digest) {
            return Err(WireError::Range(WHAT));
        }
    }
    read_streams(&mut r, &mut heads)?;
    r.end()?;
    Ok(heads)
}

fn read_streams(r: &mut Reader, heads: &mut Heads) -> Result<(), WireError> {
    let mut moments = Moments::new(heads.moment);
    let known: Vec<Arc<str>> = heads.streams.keys().cloned().collect();
    let mut above_name = None;
    for _ in 0..r.count(4)? {
        let instance = match r.number::<usize>()? {
            0 => Some(Arc::from(r.text()?)).filter(|name| !heads.streams.contains_key(name)),
            n => known.get(n - 1).cloned(),
        };
        let instance = instance.ok_or(WireError::Range(WHAT))?;
        ascend(&mut above_name, instance.clone())?;
        let mut above = None;
        let streams = r.count(2)?;
        if streams == 0 {
            return Err(WireError::Range(WHAT));
        }
        for _ in 0..streams {
            let code = r.varint()?;
            ascend(&mut above, code)?;
            let (life, flags) = (heads.life, r.u8()?);
            if flags & part::ADVANCED == 0 {
                read_stream(r, &mut moments, heads.stream(&instance, source_from(code)?), flags, life)?;
                continue;
            }
            let (step, alike) = read_step(r, &mut moments, flags)?;
            let last = code.checked_add(alike).ok_or(WireError::Range(WHAT))?;
            for code in code..=last {
                let known = heads.streams.get_mut(&instance).and_then(|of| Arc::make_mut(of).get_mut(&source_from(code).ok()?));
                known.and_then(|head| go_on(head, step, life)).ok_or(WireError::Range(WHAT))?;
            }
            above = Some(last);
        }
    }
    Ok(())
}
