//! From the raw log to lines, record by record. Pure: the same log gives the same bytes, whenever and however often it is walked.
//!
//! A batch whose runs are not described yet waits for the ledger batch that describes them, as long as that takes; only its place in the log is
//! remembered. A batch whose boot has no clock record yet waits for at most `CLOCK_WAIT_NS`, counted in the log's own receive times, and so does
//! the name of a channel in a gap. After that the boot is taken as clockless until a record comes: nothing of it waits any more.

pub mod lines;
pub mod meaning;
pub mod names;
pub mod paths;
pub mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use wardgate_wire::{Batch, Content, GatewayId, Moment, Run, Source, Stream, read_raw};

use crate::ledger::Lost;
use crate::log::Position;
use lines::{Lines, Maker, Tally};
use meaning::{Meanings, Need};

/// A gateway that knows the time says so in the first batch of a life; ten seconds let that batch be overtaken by alerts and by a repeat on a
/// thin link, and are no longer than a person waits for a first value.
pub const CLOCK_WAIT_NS: i64 = 10_000_000_000;

/// No batch says it: the receiver concludes it.
const NO_BATCH: &str = "";

/// About 150 bytes each; there are only as many as batches that overtook the ledger.
struct Waiting {
    since_ns: i64,
    needs: Vec<Need>,
    what: What,
}

enum What {
    /// Read again from the log when its turn comes.
    Batch,
    /// Identity of the batch that made them certain, and themselves.
    Lost(String, Vec<Lost>),
}

#[derive(Default)]
struct Gateway {
    /// By place in the log, gaps after their batch: derived in the log's order where nothing stands in the way.
    waiting: BTreeMap<(Position, u8), Waiting>,
    meanings: Meanings,
    /// Boots for whose clock nothing waits any more; a record that comes later still counts for what comes after it.
    clockless: BTreeSet<u64>,
    tally: Tally,
}

#[derive(Default)]
pub struct Deriver {
    gateways: BTreeMap<GatewayId, Gateway>,
    /// The newest receive time heard of; the wall clock of the receiver may step back, waiting does not.
    now_ns: i64,
}

/// Reads a batch again from the log.
pub type Again<'a, E> = dyn FnMut(Position) -> Result<Batch, E> + 'a;

impl Deriver {
    /// A new batch at its place in the log, and what the ledger has found lost by it.
    pub fn batch<E>(
        &mut self,
        (at, received_ns): (Position, i64),
        batch: &Batch,
        lost: Vec<Lost>,
        again: &mut Again<'_, E>,
    ) -> Result<Lines, E> {
        self.now_ns = self.now_ns.max(received_ns);
        let id = &batch.header.gateway;
        let gateway = self.gateways.entry(id.clone()).or_default();
        let Gateway { waiting, meanings, clockless, tally } = gateway;
        if let Content::Ledger(entries) = &batch.content {
            entries.iter().for_each(|entry| meanings.learn(batch.header.key.life, entry));
        }
        let mut maker = Maker::new(id.as_str(), meanings);
        let needs = needs_of_batch(batch, meanings, clockless);
        if needs.is_empty() {
            maker.batch(batch);
        } else {
            waiting.insert((at, 0), Waiting { since_ns: self.now_ns, needs, what: What::Batch });
        }
        let (now, later) = sort_lost(batch, self.now_ns, lost, meanings, clockless);
        let identity = batch.header.key.to_string();
        now.iter().for_each(|l| maker.lost(&identity, l));
        waiting.extend(later.map(|w| ((at, 1), w)));
        if matches!(batch.content, Content::Ledger(_)) {
            release(waiting, clockless, None, &mut maker, again)?;
        }
        tally.add(&maker.tally);
        let mut out = maker.out;
        join(&mut out, self.passed(received_ns, again)?);
        Ok(out)
    }

    /// Time went by, as the log says.
    pub fn passed<E>(&mut self, now_ns: i64, again: &mut Again<'_, E>) -> Result<Lines, E> {
        self.now_ns = self.now_ns.max(now_ns);
        let before = self.now_ns.saturating_sub(CLOCK_WAIT_NS);
        self.give_up(before, again)
    }

    /// Nothing more will come: what waits for a clock or for the name of a gap is written as it stands.
    pub fn finish<E>(&mut self, again: &mut Again<'_, E>) -> Result<Lines, E> {
        self.give_up(i64::MAX, again)
    }

    fn give_up<E>(&mut self, before_ns: i64, again: &mut Again<'_, E>) -> Result<Lines, E> {
        let mut out = Lines::new();
        for (id, Gateway { waiting, meanings, clockless, tally }) in &mut self.gateways {
            if waiting.values().any(|w| w.ends() && w.since_ns <= before_ns) {
                let mut maker = Maker::new(id.as_str(), meanings);
                release(waiting, clockless, Some(before_ns), &mut maker, again)?;
                tally.add(&maker.tally);
                join(&mut out, maker.out);
            }
        }
        Ok(out)
    }

    /// What went with lost stores: lines as of a gap, in a file of their own, which is replaced as a whole.
    pub fn store_lost(&self, gateway: &GatewayId, lost: &[Lost]) -> Option<Vec<u8>> {
        let mut maker = Maker::new(gateway.as_str(), &self.gateways.get(gateway)?.meanings);
        lost.iter().for_each(|l| maker.lost(NO_BATCH, l));
        maker.out.into_values().next()
    }

    /// Whether a mark that time passed would release something.
    pub fn is_due(&self, now_ns: i64) -> bool {
        let before = now_ns.saturating_sub(CLOCK_WAIT_NS);
        self.gateways.values().flat_map(|h| h.waiting.values()).any(|w| w.ends() && w.since_ns <= before)
    }

    pub fn waiting(&self, gateway: &GatewayId) -> usize {
        self.gateways.get(gateway).map_or(0, |h| h.waiting.len())
    }

    pub fn tally(&self, gateway: &GatewayId) -> Tally {
        self.gateways.get(gateway).map_or_else(Tally::default, |h| h.tally)
    }
}

impl Waiting {
    /// Whether it waits for something that it can do without.
    fn ends(&self) -> bool {
        match self.what {
            What::Batch => self.needs.iter().all(|n| matches!(n, Need::Clock { .. })),
            What::Lost(..) => true,
        }
    }
}

/// What can be told at once, and what waits for a name or a clock.
fn sort_lost(batch: &Batch, now_ns: i64, lost: Vec<Lost>, meanings: &Meanings, clockless: &BTreeSet<u64>) -> (Vec<Lost>, Option<Waiting>) {
    let (mut now, mut later, mut needs) = (Vec::new(), Vec::new(), Vec::new());
    for l in lost {
        let mut open: Vec<Need> = meanings.need_of_run(l.life, &l.stream, l.run).into_iter().collect();
        let boots = l.from.into_iter().chain([l.to]).map(|m| m.boot).filter(|b| !clockless.contains(b));
        open.extend(boots.filter_map(|b| meanings.need_of_clock(b)));
        if open.is_empty() {
            now.push(l);
        } else {
            later.push(l);
            needs.extend(open);
        }
    }
    needs.dedup();
    let what = What::Lost(batch.header.key.to_string(), later);
    (now, (!needs.is_empty()).then_some(Waiting { since_ns: now_ns, needs, what }))
}

/// Writes what nothing stands in the way of any more; what began to wait at `give_up_ns` or before goes without clock and names.
fn release<E>(
    waiting: &mut BTreeMap<(Position, u8), Waiting>,
    clockless: &mut BTreeSet<u64>,
    give_up_ns: Option<i64>,
    maker: &mut Maker<'_>,
    again: &mut Again<'_, E>,
) -> Result<(), E> {
    let mut ready = Vec::new();
    for (place, w) in waiting.iter_mut() {
        let tired = give_up_ns.is_some_and(|before| w.since_ns <= before) && w.ends();
        w.needs = std::mem::take(&mut w.needs).into_iter().filter_map(|n| maker.meanings.left_of(n)).collect();
        w.needs.retain(|n| !matches!(n, Need::Clock { boot } if clockless.contains(boot)));
        if tired {
            clockless.extend(w.needs.iter().filter_map(|n| if let Need::Clock { boot } = n { Some(*boot) } else { None }));
        }
        if tired || w.needs.is_empty() {
            ready.push(*place);
        }
    }
    for place in ready {
        match waiting.remove(&place).map(|w| w.what) {
            Some(What::Batch) => maker.batch(&again(place.0)?),
            Some(What::Lost(identity, lost)) => lost.iter().for_each(|l| maker.lost(&identity, l)),
            None => {}
        }
    }
    Ok(())
}

/// Every description, and a clock for every boot, once each.
fn needs_of_batch(batch: &Batch, meanings: &Meanings, clockless: &BTreeSet<u64>) -> Vec<Need> {
    let life = batch.header.key.life;
    let (mut runs, mut boots) = (BTreeSet::<(&str, Source, Run)>::new(), BTreeSet::new());
    let mut moment = |m: Moment| {
        boots.insert(m.boot);
    };
    match &batch.content {
        Content::Numerics(instances) => {
            for i in instances {
                for o in &i.observations {
                    moment(o.moment);
                    runs.extend(o.readings.iter().map(|r| (i.instance.as_str(), Source::Channel(r.channel), r.run)));
                }
            }
        }
        Content::Waveforms(tracks) => {
            for t in tracks {
                t.pieces.iter().for_each(|p| moment(p.moment));
                runs.insert((&t.instance, Source::Channel(t.channel), t.run));
            }
        }
        Content::Alerts(instances) => instances.iter().flat_map(|i| &i.alerts).for_each(|a| moment(a.moment)),
        Content::Archive(bytes) => read_raw(bytes).unwrap_or_default().iter().for_each(|r| moment(r.moment)),
        Content::Ledger(_) => {} // a record of the ledger brings its own clock or says that there is none
    }
    let runs = runs
        .into_iter()
        .filter_map(|(instance, source, run)| meanings.need_of_run(life, &Stream { instance: instance.to_owned(), source }, run));
    let clocks = boots.into_iter().filter(|b| !clockless.contains(b)).filter_map(|b| meanings.need_of_clock(b));
    runs.chain(clocks).collect()
}

pub fn join(out: &mut Lines, more: Lines) {
    for (path, bytes) in more {
        match out.get_mut(&path) {
            Some(file) => file.extend_from_slice(&bytes),
            None => drop(out.insert(path, bytes)),
        }
    }
}
