//! The receiver without its network: messages in, acknowledgements out, and between them the order that everything rests on.
//!
//! `admit` (who, and what it means) -> `store` (flushed) -> `answers` -> `derive` -> `write`. Each step that touches a disk can be tried again with
//! the same arguments; nothing is answered before `store` has returned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;
use wardgate_wire::{Acknowledgement, BATCH_BYTES_MAX, Class, Digest, Epoch, GatewayId, Header, Life, encode_ack};

use crate::derive::join;
use crate::derive::lines::Lines;
use crate::intake::{Incoming, Intake};
use crate::ledger::Contradiction;
use crate::log::{Damage, Log, LogError, Position, Record, SEGMENT_BYTES};
use crate::output::{Output, OutputError, RAW, replace};
use crate::time::Now;
use crate::walk::{Fresh, Taken, Walk, WalkError};

/// One flush for so many messages: at a millisecond or ten a flush that is a few thousand messages a second, and nobody waits long for an answer.
pub const GROUP_MESSAGES_MAX: usize = 256;
/// And for so many bytes, so that a flood of large batches is answered as it goes.
pub const GROUP_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Entries in one acknowledgement: some 20 KB at the worst, under what a gateway takes and any broker carries.
const ACK_ENTRIES_MAX: usize = 32;
/// What a start derives again at most, against a flush of every file that was touched.
const CHECKPOINT_NS: u64 = 5_000_000_000;
/// Lines in memory while a start catches up.
const CATCH_UP_BYTES: usize = 4 << 20;
/// A gateway that contradicts itself for ever fills no disk; the rest is counted.
const ASIDE_FILES_MAX: usize = 10_000;

#[derive(Debug, Error)]
pub enum KeepError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// Messages on their way through the steps.
#[derive(Default)]
pub struct Group {
    fresh: Vec<(Fresh, Vec<u8>, i64)>,
    places: Vec<Position>,
    touched: BTreeSet<(GatewayId, Life, Epoch, Class)>,
}

pub struct Keeper {
    pub walk: Walk,
    pub intake: Intake,
    log: Log,
    output: Output,
    aside: PathBuf,
    /// The last record whose lines are made ...
    derived: Position,
    /// ... and the last whose lines are written.
    at: Position,
    checkpoint: (Position, u64),
    pub damage: Vec<Damage>,
    /// After how long a silence of one branch beside another its rest is taken as lost with its store.
    silent_ns: i64,
    /// What is written of lost stores, by gateway; none: no file.
    shown_lost: BTreeMap<GatewayId, Option<Vec<u8>>>,
    /// Something came since that was looked at.
    look_for_lost: bool,
    /// When the first value was written since this receiver began.
    pub first_reading: Option<Now>,
}

impl Keeper {
    /// Flushes what it finds, rebuilds what it knows from the log, and writes the lines that are missing.
    pub fn open(dir: &Path, intake: Intake, silent_ns: i64, now: Now) -> Result<Self, KeepError> {
        let raw = dir.join(RAW);
        let (log, damage) = Log::open(&raw, SEGMENT_BYTES)?;
        for d in &damage {
            tracing::error!(at = %d.position, bytes = d.bytes, aside = ?d.aside, "bytes of the raw log that are no whole record");
        }
        let (output, at) = Output::open(dir)?;
        let checkpoint = (at, now.monotonic_ns);
        let (walk, aside) = (Walk::default(), raw.join("aside"));
        let (derived, shown_lost, look_for_lost, first_reading) = (at, BTreeMap::new(), true, None);
        let mut keeper =
            Self { walk, intake, log, output, aside, derived, at, checkpoint, damage, silent_ns, shown_lost, look_for_lost, first_reading };
        keeper.catch_up()?;
        keeper.show_lost()?;
        Ok(keeper)
    }

    fn catch_up(&mut self) -> Result<(), KeepError> {
        let (from, mut last, mut lines) = (self.at, Position::default(), Lines::new());
        let (log, walk, output) = (&self.log, &mut self.walk, &mut self.output);
        let read = |position| log.read(position);
        log.replay(|position, record| {
            let follow = walk.replay(position, record, &read)?;
            last = position;
            if position > from {
                join(&mut lines, follow);
                if lines.values().map(Vec::len).sum::<usize>() > CATCH_UP_BYTES {
                    output.append(&std::mem::take(&mut lines))?;
                }
            }
            Ok::<_, KeepError>(())
        })?;
        if last < from {
            let raw = self.aside.parent().unwrap_or(&self.aside).to_owned();
            return Err(OutputError::LogEndsBefore { raw, position: from }.into());
        }
        output.append(&lines)?;
        output.checkpoint(last)?;
        (self.derived, self.at, self.checkpoint.0) = (last, last, last);
        Ok(())
    }

    pub fn admit(&mut self, messages: Vec<Incoming>) -> Group {
        let mut group = Group::default();
        for message in messages {
            let Some(whole) = self.intake.take(message) else { continue };
            let (id, key) = (whole.header.gateway.clone(), whole.header.key);
            match self.walk.take(whole.header.clone(), whole.digest, &whole.bytes) {
                Taken::Fresh(fresh) => {
                    // a closing also answers what is left of the epoch that it ends
                    group.touched.extend(fresh.news.closed.iter().map(|(life, epoch)| (id.clone(), *life, *epoch, Class::Ledger)));
                    group.fresh.push((*fresh, whole.bytes, whole.received_ns));
                }
                Taken::Had => {}
                Taken::Conflict(why) => {
                    self.keep_aside(&whole.header, whole.digest, &whole.bytes, why);
                    continue;
                }
            }
            group.touched.insert((id, key.life, key.epoch, key.class));
        }
        group
    }

    /// Everything new of the group is on the medium when this returns.
    pub fn store(&mut self, group: &mut Group) -> Result<(), KeepError> {
        if group.places.len() < group.fresh.len() {
            let records: Vec<_> = group.fresh.iter().map(|(_, batch, received_ns)| Record { received_ns: *received_ns, batch }).collect();
            group.places = self.log.append(&records)?;
        }
        Ok(())
    }

    /// Coalesced: one entry a class of an epoch, whatever came of it. Only after `store`.
    pub fn answers(&self, group: &Group) -> Vec<(GatewayId, Vec<u8>)> {
        assert_eq!(group.places.len(), group.fresh.len(), "nothing is answered before it is stored");
        let mut entries: BTreeMap<&GatewayId, Vec<_>> = BTreeMap::new();
        for (id, life, epoch, class) in &group.touched {
            let of = entries.entry(id).or_default();
            if let Some(entry) = self.walk.ledger.acknowledgement(id, *life, *epoch, *class)
                && !of.contains(&entry)
            {
                of.push(entry);
            }
        }
        let mut answers = Vec::new();
        for (id, entries) in entries {
            let Some(key) = self.intake.keys().get(id) else { continue };
            for some in entries.chunks(ACK_ENTRIES_MAX) {
                answers.push((id.clone(), encode_ack(&Acknowledgement { gateway: id.clone(), entries: some.to_vec() }, key)));
            }
        }
        answers
    }

    pub fn derive(&mut self, group: Group) -> Result<Lines, KeepError> {
        let (log, mut lines) = (&self.log, Lines::new());
        for ((fresh, _, received_ns), place) in group.fresh.into_iter().zip(group.places) {
            join(&mut lines, self.walk.derive(fresh, (place, received_ns), &|position| log.read(position))?);
            self.derived = place;
            self.look_for_lost = true;
        }
        Ok(lines)
    }

    /// Beside gaps.jsonl stands what went with lost stores: a view, replaced as a whole when it changes, as later data may take it back.
    pub fn show_lost(&mut self) -> Result<(), KeepError> {
        if !std::mem::take(&mut self.look_for_lost) {
            return Ok(());
        }
        let gateways: Vec<GatewayId> = self.walk.ledger.gateways().map(|(id, _)| id.clone()).collect();
        for id in gateways {
            let view = self.walk.store_lost(&id, self.silent_ns);
            if self.shown_lost.get(&id) == Some(&view) {
                continue;
            }
            match &view {
                Some(lines) => {
                    tracing::warn!(gateway = %id, stretches = line_count(lines), "a store was lost: what went with it is in store-lost.jsonl")
                }
                None => tracing::debug!(gateway = %id, "no store was lost"),
            }
            if let Err(why) = self.output.show_lost(&id, view.as_deref()) {
                self.look_for_lost = true;
                return Err(why.into());
            }
            self.shown_lost.insert(id, view);
        }
        Ok(())
    }

    /// Stretches given up with a store.
    pub fn lost(&self, id: &GatewayId) -> u64 {
        self.shown_lost.get(id).and_then(|v| v.as_deref()).map_or(0, line_count)
    }

    /// Waiting has an end, and the log says when: so the same lines follow when it is walked again.
    pub fn pass(&mut self, now: Now) -> Result<Option<Lines>, KeepError> {
        if !self.walk.deriver.is_due(now.wall_ns) {
            return Ok(None);
        }
        let places = self.log.append(&[Record { received_ns: now.wall_ns, batch: &[] }])?;
        let log = &self.log;
        let lines = self.walk.passed(now.wall_ns, &|position| log.read(position))?;
        self.derived = places.last().copied().unwrap_or(self.derived);
        Ok(Some(lines))
    }

    /// All lines that were made since the last `write`.
    pub fn write(&mut self, lines: &Lines, now: Now) -> Result<(), KeepError> {
        if !lines.is_empty() {
            self.output.append(lines)?;
        }
        self.at = self.derived;
        if self.first_reading.is_none() && lines.keys().any(|path| path.matches('/').count() > 1) {
            self.first_reading = Some(now);
        }
        Ok(())
    }

    /// Now and then, and at the end.
    pub fn checkpoint(&mut self, now: Now, at_once: bool) -> Result<(), KeepError> {
        let (position, then) = self.checkpoint;
        if self.at != position && (at_once || now.monotonic_ns.saturating_sub(then) >= CHECKPOINT_NS) {
            self.output.checkpoint(self.at)?;
            self.checkpoint = (self.at, now.monotonic_ns);
        }
        Ok(())
    }

    /// Named once however often it comes: the gateway goes on sending what is not acknowledged.
    fn keep_aside(&self, header: &Header, digest: Digest, bytes: &[u8], why: Contradiction) {
        let path = self.aside.join(format!("{}-{}-{digest}.conflict", header.gateway, header.key));
        if path.exists() {
            return;
        }
        let full = fs::read_dir(&self.aside).is_ok_and(|files| files.count() >= ASIDE_FILES_MAX);
        let kept = if full { Ok(()) } else { fs::create_dir_all(&self.aside).and_then(|()| replace(&path, bytes, false)) };
        let place = if full { "nowhere: the folder is full".to_owned() } else { path.display().to_string() };
        tracing::error!(gateway = %header.gateway, batch = %header.key, kept = %place, "conflict: {why}; not acknowledged");
        if let Err(why) = kept {
            tracing::error!(path = %path.display(), %why, "could not keep the conflicting batch aside; the gateway still holds it");
        }
    }
}

fn line_count(lines: &[u8]) -> u64 {
    lines.iter().filter(|b| **b == b'\n').count() as u64
}
