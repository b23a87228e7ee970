//! What is held of every gateway, what may be acknowledged, and what has become certain: the rules of the ledger at the receiver's end. Pure.
//!
//! Built again at every start from the raw log alone. Any class comes in any order; only the closing of an epoch waits for its ledger. A closed
//! epoch leaves one bit (in ranges); an epoch that only a later life has closed leaves its marks, as a copied card may go on above them.

pub mod epoch;
mod lost;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;
use wardgate_wire::{
    AckEntry, Class, Closing, Content, Digest, Entry, Epoch as EpochNumber, GapReason, GatewayId, Header, LastKnown, Life, Moment, Run,
    Source, Stream,
};

use crate::ranges::Ranges;
use epoch::{Epoch, Outcome, Place};

/// A branch that is silent for so long while another of its gateway speaks was on a card that has gone. A spare card may lie in a drawer for a month.
pub const STORE_LOST_AFTER_DAYS: u16 = 30;

pub fn days_ns(days: u16) -> i64 {
    i64::from(days) * 24 * 3600 * 1_000_000_000
}
/// So many holes are named in one entry of an acknowledgement; what lies above waits until they are filled, oldest first.
pub const ACK_RANGES_MAX: usize = 64;

/// Why a batch cannot be true beside what is held. It is kept aside and never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Contradiction {
    #[error("the same batch is held with other content, digest {held}")]
    SameIdentity { held: Digest },
    #[error("its chain of digests does not fit a neighbour that is held")]
    BrokenChain,
    #[error("its life has closed this epoch below it")]
    BeyondClosing,
    #[error("a closing says that its class ends with digest {said}, which is not what is held")]
    DigestAtClosing { said: Digest },
    #[error("a life says twice, and differently, how its epoch ended")]
    TwoClosings,
    #[error("a life names itself as its predecessor")]
    OwnPredecessor,
    #[error("{0} positions hold two values, or a value and a gap")]
    Twice(u64),
}

/// A stretch that will not come: positions, or the time between two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub life: Life,
    pub stream: Stream,
    pub run: Run,
    pub first: u64,
    pub indices: u64,
    pub values: Option<u64>,
    pub from: Option<Moment>,
    pub to: Moment,
    pub reason: GapReason,
    /// The run before, where this is the time between two runs.
    pub before: Option<LastKnown>,
    /// Classes of which the gateway has shed something there: of these, an unknown reason is `shed-by-policy`.
    pub shed: Vec<Class>,
}

/// What a new batch has made certain.
#[derive(Debug, Default)]
pub struct News {
    pub closed: Vec<(Life, EpochNumber)>,
    pub lost: Vec<Lost>,
    pub forks: Vec<Life>,
    pub wrong: Vec<Contradiction>,
    /// Batches of settled epochs that this version cannot read, so that holes could not be told from them.
    pub unjudged: u64,
}

#[derive(Debug)]
pub enum Verdict {
    /// To be stored, then acknowledged.
    New(News),
    /// Had already, or settled: to be acknowledged, and nothing else.
    Had,
    /// To be kept aside.
    Conflict(Contradiction),
}

/// About 400 bytes, and the marks of its last epoch: a restart a day costs a receiver some hundred KB a year and gateway.
#[derive(Default)]
struct LifeState {
    epochs: BTreeMap<EpochNumber, Epoch>,
    closed: Ranges,
    /// Positions said to be lost in epochs that are not closed.
    gaps: BTreeMap<(Stream, Run), Ranges>,
    /// Highest epoch of which anything came.
    top: Option<EpochNumber>,
    /// Later lives that name this one, and at which epoch.
    named_by: BTreeMap<Life, EpochNumber>,
    forked: bool,
    /// Which life this one follows, once its opening is here; `Some(None)`: none.
    predecessor: Option<Option<Life>>,
    /// Its newest closing with the bit `clean`: nothing older than this epoch is held any more.
    clean: Option<EpochNumber>,
    /// When the first and the newest batch of it came.
    heard_ns: Option<(i64, i64)>,
    /// When it said that it follows no other life.
    began_anew_ns: Option<i64>,
    /// Of its first values.
    begin: Option<Moment>,
    /// While it may still have holes; what is known is forgotten when another life goes on.
    known: BTreeMap<(Stream, Run), lost::Known>,
    forgotten: bool,
}

#[derive(Default)]
pub struct Gateway {
    lives: BTreeMap<Life, LifeState>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub lives: usize,
    pub epochs_open: usize,
    pub epochs_closed: u64,
    pub forks: usize,
    /// Batches remembered one by one.
    pub batches: usize,
    /// Lives whose opening has not come yet.
    pub owed: usize,
    /// Lives that have said at least once that nothing older is held.
    pub clean: usize,
}

#[derive(Default)]
pub struct Ledger {
    gateways: BTreeMap<GatewayId, Gateway>,
}

impl Ledger {
    pub fn gateways(&self) -> impl Iterator<Item = (&GatewayId, &Gateway)> {
        self.gateways.iter()
    }

    /// A batch of this life was stored, at this time.
    pub fn heard(&mut self, id: &GatewayId, life: Life, received_ns: i64) {
        if let Some(gateway) = self.gateways.get_mut(id) {
            gateway.heard(life, received_ns);
        }
    }

    pub fn gateway(&self, id: &GatewayId) -> Option<&Gateway> {
        self.gateways.get(id)
    }

    /// `content`: none where this version cannot read it. The batch is still stored and acknowledged.
    pub fn accept(&mut self, header: &Header, digest: Digest, content: Option<&Content>) -> Verdict {
        if !self.gateways.contains_key(&header.gateway) {
            self.gateways.insert(header.gateway.clone(), Gateway::default());
        }
        let gateway = self.gateways.get_mut(&header.gateway).expect("put there just now");
        gateway.accept(header, digest, content)
    }

    pub fn acknowledgement(&self, id: &GatewayId, life: Life, epoch: EpochNumber, class: Class) -> Option<AckEntry> {
        let state = self.gateways.get(id)?.lives.get(&life)?;
        if state.closed.contains(u64::from(epoch)) {
            return Some(AckEntry::Closed { life, epoch });
        }
        let batches = &state.epochs.get(&epoch)?.batches[usize::from(class.code())];
        let (high, digest, missing) = batches.cumulative(ACK_RANGES_MAX)?;
        Some(AckEntry::UpTo { life, epoch, class, high, digest, missing })
    }
}

impl Gateway {
    fn accept(&mut self, header: &Header, digest: Digest, content: Option<&Content>) -> Verdict {
        let (key, previous) = (header.key, header.previous);
        let life = self.lives.entry(key.life).or_default();
        if life.closed.contains(u64::from(key.epoch)) {
            return Verdict::Had;
        }
        let epoch = life.epochs.entry(key.epoch).or_default();
        match epoch.class(key.class).place(key.sequence, digest, previous) {
            Place::Had => return Verdict::Had,
            Place::Wrong(why) => return Verdict::Conflict(why),
            Place::New if epoch.beyond(key.class, key.sequence) => return Verdict::Conflict(Contradiction::BeyondClosing),
            Place::New => epoch.class(key.class).insert(key.sequence, digest, previous),
        }
        life.top = life.top.max(Some(key.epoch));
        let mut news = News::default();
        let mut touched = BTreeSet::from([(key.life, key.epoch)]);
        let mut came = Vec::new();
        match content {
            Some(Content::Ledger(entries)) => self.ledger(key.life, entries, &mut touched, &mut news),
            Some(content) => {
                let mut again = 0;
                for (stream, run, first, next, last) in positions(content) {
                    again += epoch.came(stream.clone(), run, first, next);
                    came.push((stream, run, (first, next), last));
                }
                news.wrong.extend((again > 0).then_some(Contradiction::Twice(again)));
            }
            None => epoch.unreadable(),
        }
        let life = self.lives.entry(key.life).or_default();
        came.iter().for_each(|(stream, run, range, last)| life.knows(stream, *run, *range, *last));
        for &(life, epoch) in &touched {
            self.settle(life, epoch, &mut news);
        }
        for life in touched.into_iter().map(|(life, _)| life).collect::<BTreeSet<_>>() {
            self.find_fork(life, &mut news);
        }
        Verdict::New(news)
    }

    fn ledger(&mut self, life: Life, entries: &[Entry], touched: &mut BTreeSet<(Life, EpochNumber)>, news: &mut News) {
        // a gap of an earlier life stands behind the opening that names the epoch in which it lay
        let mut named = None;
        for entry in entries {
            match entry {
                Entry::Opening { predecessor, .. } => {
                    let state = self.lives.entry(life).or_default();
                    state.predecessor = Some(predecessor.as_ref().map(|p| p.life));
                    let Some(p) = predecessor else { continue };
                    if p.life == life {
                        news.wrong.push(Contradiction::OwnPredecessor);
                        continue;
                    }
                    named = Some((p.life, p.closing.epoch));
                    self.lives.entry(p.life).or_default().named_by.insert(life, p.closing.epoch);
                    self.end(p.life, Some(life), &p.closing, touched, news);
                }
                Entry::Closing(closing) => {
                    let state = self.lives.entry(life).or_default();
                    state.clean = state.clean.max(closing.clean.then_some(closing.epoch));
                    self.end(life, None, closing, touched, news);
                }
                Entry::Shed { life, epoch, class, below } => {
                    let state = self.lives.entry(*life).or_default();
                    if !state.closed.contains(u64::from(*epoch)) {
                        state.epochs.entry(*epoch).or_default().shed(*class, *below);
                        touched.insert((*life, *epoch));
                    }
                }
                Entry::Gap { .. } => self.gap(entry, named, news),
                Entry::Run { stream, run, moment, before, reason: Some(reason), .. } => news.lost.push(Lost {
                    life,
                    stream: stream.clone(),
                    run: *run,
                    first: 0,
                    indices: 0,
                    values: None,
                    from: before.map(|b| b.moment),
                    to: *moment,
                    reason: *reason,
                    before: *before,
                    shed: Vec::new(),
                }),
                _ => {}
            }
        }
    }

    fn end(&mut self, life: Life, by: Option<Life>, closing: &Closing, touched: &mut BTreeSet<(Life, EpochNumber)>, news: &mut News) {
        let state = self.lives.entry(life).or_default();
        if state.closed.contains(u64::from(closing.epoch)) {
            return;
        }
        for r in &closing.runs {
            state.reaches(&r.stream, r.run, r.first, (r.next, r.last_moment));
        }
        if !state.epochs.entry(closing.epoch).or_default().end(by, closing) {
            news.wrong.push(Contradiction::TwoClosings);
        }
        touched.insert((life, closing.epoch));
    }

    /// Only what was not said before: two copies of a card both tell the gaps of their common past.
    fn gap(&mut self, entry: &Entry, named: Option<(Life, EpochNumber)>, news: &mut News) {
        let Entry::Gap { life, stream, run, first, indices, values, from, to, reason } = entry else { return };
        let lost = |first, indices, values| Lost {
            life: *life,
            stream: stream.clone(),
            run: *run,
            first,
            indices,
            values,
            from: Some(*from),
            to: *to,
            reason: *reason,
            before: None,
            shed: Vec::new(),
        };
        if *indices == 0 {
            news.lost.push(lost(*first, 0, *values));
            return;
        }
        let state = self.lives.entry(*life).or_default();
        if named.is_some_and(|(named, epoch)| named == *life && state.closed.contains(u64::from(epoch))) {
            return;
        }
        let (key, next) = ((stream.clone(), *run), first.saturating_add(*indices));
        let said = state.gaps.entry(key.clone()).or_default();
        let mut fresh = said.holes(*first, next);
        said.insert(*first, next);
        for epoch in state.epochs.values() {
            fresh = epoch.unsettled(&key, fresh);
        }
        state.knows(stream, *run, (*first, next), *to);
        let whole = fresh == [(*first, next)];
        news.lost.extend(fresh.into_iter().map(|(a, z)| lost(a, z - a, values.filter(|_| whole))));
    }

    fn settle(&mut self, life: Life, epoch: EpochNumber, news: &mut News) {
        let Some(state) = self.lives.get_mut(&life) else { return };
        let Some(open) = state.epochs.get_mut(&epoch) else { return };
        let Some(Outcome { closed, holes, both, wrong, unread }) = open.settle(life, &mut state.gaps) else { return };
        news.wrong.extend(wrong.into_iter().map(|(_, why)| why));
        news.wrong.extend((both > 0).then_some(Contradiction::Twice(both)));
        holes.iter().for_each(|h| state.knows(&h.stream, h.run, (h.first, h.first + h.indices), h.to));
        news.lost.extend(holes);
        news.unjudged += u64::from(unread);
        if closed {
            state.closed.insert(u64::from(epoch), u64::from(epoch) + 1);
            state.epochs.remove(&epoch);
            news.closed.push((life, epoch));
        }
        state.forget();
    }

    /// Two lives that name one predecessor, or a life that goes on above what its successor knows: a card was copied, or a disk lied.
    fn find_fork(&mut self, life: Life, news: &mut News) {
        let Some(state) = self.lives.get_mut(&life) else { return };
        let beyond = |(successor, epoch): (&Life, &EpochNumber)| {
            state.top > Some(*epoch) || state.epochs.get(epoch).is_some_and(|e| e.goes_on_above(*successor))
        };
        if !state.forked && (state.named_by.len() > 1 || state.named_by.iter().any(beyond)) {
            state.forked = true;
            news.forks.push(life);
        }
    }

    pub fn summary(&self) -> Summary {
        let lives = || self.lives.values();
        Summary {
            lives: self.lives.len(),
            epochs_open: lives().map(|l| l.epochs.len()).sum(),
            epochs_closed: lives().map(|l| l.closed.total()).sum(),
            forks: lives().filter(|l| l.forked).count(),
            batches: lives().flat_map(|l| l.epochs.values()).map(Epoch::held_batches).sum(),
            owed: lives().filter(|l| l.predecessor.is_none()).count(),
            clean: lives().filter(|l| l.clean.is_some()).count(),
        }
    }
}

/// Stretches of positions that hold values. Archives have none; a preview is a stream of its own, which hides no hole in what it was made from.
fn positions(content: &Content) -> Vec<(Stream, Run, u64, u64, Moment)> {
    let mut all: Vec<(Stream, Run, u64, u64, Moment)> = Vec::new();
    let mut newest: HashMap<(&str, Source, Run), usize> = HashMap::new();
    let mut put = |instance, source, run, first: u64, count: u64, last| {
        let next = first.saturating_add(count);
        match newest.get(&(instance, source, run)).map(|at| &mut all[*at]) {
            Some(stretch) if stretch.3 == first => (stretch.3, stretch.4) = (next, last),
            _ => {
                newest.insert((instance, source, run), all.len());
                all.push((Stream { instance: instance.to_owned(), source }, run, first, next, last));
            }
        }
    };
    match content {
        Content::Numerics(instances) => {
            for i in instances {
                for (o, r) in i.observations.iter().flat_map(|o| o.readings.iter().map(move |r| (o, r))) {
                    put(i.instance.as_str(), Source::Channel(r.channel), r.run, r.index, 1, o.moment);
                }
            }
        }
        Content::Waveforms(tracks) => {
            for t in tracks {
                let Some(last) = t.pieces.last() else { continue };
                put(t.instance.as_str(), Source::Channel(t.channel), t.run, t.first, t.counts.len() as u64, last.moment);
            }
        }
        Content::Alerts(instances) => {
            for i in instances {
                for a in &i.alerts {
                    put(i.instance.as_str(), Source::Alerts, a.run, a.index, 1, a.moment);
                }
            }
        }
        Content::Ledger(_) | Content::Archive(_) => {}
    }
    all
}
