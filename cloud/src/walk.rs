//! One record of the raw log after the other: what it means for the ledger, and which lines follow. The same for a receiver, its start, and `decode`.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;
use wardgate_wire::{Batch, Content, Digest, GatewayId, Header, WireError, decode_unauthenticated, peek_unauthenticated};

use crate::derive::Deriver;
use crate::derive::lines::Lines;
use crate::ledger::{Contradiction, Ledger, News, Verdict};
use crate::log::{LogError, Position, Record};

#[derive(Debug, Error)]
pub enum WalkError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the batch at {position} of the raw log was read before and cannot be read now ({why}): check the disk")]
    Changed { position: Position, why: WireError },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Batches stored, and their bytes.
    pub batches: u64,
    pub stored_bytes: u64,
    /// Batches that contradict what is held: kept aside, never acknowledged.
    pub conflicts: u64,
    /// Batches that are held and that this version cannot read.
    pub undecodable: u64,
    /// Holes that could not be told from such batches.
    pub unjudged: u64,
    /// What a gateway said against itself: closings, positions.
    pub contradictions: u64,
    /// Batches that came again.
    pub repeats: u64,
}

#[derive(Default)]
pub struct Walk {
    pub ledger: Ledger,
    pub deriver: Deriver,
    pub counts: BTreeMap<GatewayId, Counts>,
    /// Records of the log that are no batch: only a fault of this program or of the disk makes them.
    pub foreign: u64,
}

/// A batch that is new, and what it made certain.
#[derive(Debug)]
pub struct Fresh {
    pub header: Header,
    /// None where this version cannot read it.
    pub batch: Option<Batch>,
    pub news: News,
}

/// What became of a batch.
#[derive(Debug)]
pub enum Taken {
    Fresh(Box<Fresh>),
    Had,
    Conflict(Contradiction),
}

impl Walk {
    /// Asks the ledger. What is fresh has to be stored next, and then `derive`d.
    pub fn take(&mut self, header: Header, digest: Digest, bytes: &[u8]) -> Taken {
        let counts = self.counts.entry(header.gateway.clone()).or_default();
        let batch = decode_unauthenticated(bytes).map(|(batch, _)| batch);
        match self.ledger.accept(&header, digest, batch.as_ref().ok().map(|b| &b.content)) {
            Verdict::New(news) => {
                counts.batches += 1;
                counts.stored_bytes += bytes.len() as u64;
                counts.unjudged += news.unjudged;
                counts.contradictions += news.wrong.len() as u64;
                for why in &news.wrong {
                    tracing::error!(gateway = %header.gateway, batch = %header.key, "contradiction: {why}; all of it is kept, a person has to look");
                }
                for life in &news.forks {
                    tracing::warn!(gateway = %header.gateway, life = format!("{life:016x}"), "a fork: a card was copied, put back, or lied; every branch is kept");
                }
                if let Err(why) = &batch {
                    counts.undecodable += 1;
                    tracing::warn!(gateway = %header.gateway, batch = %header.key, %why, "held, and not readable here");
                }
                Taken::Fresh(Box::new(Fresh { header, batch: batch.ok(), news }))
            }
            Verdict::Had => {
                counts.repeats += 1;
                Taken::Had
            }
            Verdict::Conflict(why) => {
                counts.conflicts += 1;
                Taken::Conflict(why)
            }
        }
    }

    /// The lines that follow from a batch which now stands at `place` in the log.
    pub fn derive(
        &mut self,
        fresh: Fresh,
        place: (Position, i64),
        read: &dyn Fn(Position) -> Result<Vec<u8>, LogError>,
    ) -> Result<Lines, WalkError> {
        let Fresh { header, batch, news } = fresh;
        self.ledger.heard(&header.gateway, header.key.life, place.1);
        let mut again = |position| again(read, position);
        match batch {
            Some(batch) => self.deriver.batch(place, &batch, news.lost, &mut again),
            None => {
                let batch = Batch { header, content: Content::Archive(Vec::new()) }; // holds no line, and may have closed an epoch
                self.deriver.batch(place, &batch, news.lost, &mut again)
            }
        }
    }

    pub fn passed(&mut self, now_ns: i64, read: &dyn Fn(Position) -> Result<Vec<u8>, LogError>) -> Result<Lines, WalkError> {
        self.deriver.passed(now_ns, &mut |position| again(read, position))
    }

    pub fn finish(&mut self, read: &dyn Fn(Position) -> Result<Vec<u8>, LogError>) -> Result<Lines, WalkError> {
        self.deriver.finish(&mut |position| again(read, position))
    }

    /// What went with lost stores of this gateway, as it looks now: lines like those of gaps.jsonl.
    pub fn store_lost(&self, id: &GatewayId, silent_ns: i64) -> Option<Vec<u8>> {
        self.deriver.store_lost(id, &self.ledger.gateway(id)?.store_lost(silent_ns))
    }

    /// A record that the log holds already.
    pub fn replay(
        &mut self,
        position: Position,
        record: Record<'_>,
        read: &dyn Fn(Position) -> Result<Vec<u8>, LogError>,
    ) -> Result<Lines, WalkError> {
        if record.batch.is_empty() {
            return self.passed(record.received_ns, read);
        }
        let (header, digest) = match peek_unauthenticated(record.batch) {
            Ok(known) => known,
            Err(why) => {
                self.foreign += 1;
                tracing::error!(%position, %why, "a record of the raw log is no batch");
                return Ok(Lines::new());
            }
        };
        match self.take(header, digest, record.batch) {
            Taken::Fresh(fresh) => self.derive(*fresh, (position, record.received_ns), read),
            Taken::Had | Taken::Conflict(_) => Ok(Lines::new()), // a write that was tried twice
        }
    }
}

fn again(read: &dyn Fn(Position) -> Result<Vec<u8>, LogError>, position: Position) -> Result<Batch, WalkError> {
    let bytes = read(position)?;
    decode_unauthenticated(&bytes).map(|(batch, _)| batch).map_err(|why| WalkError::Changed { position, why })
}
