//! Heads: what the next start must know to say how this life ended, even when everything else was delivered and deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wardgate_wire::{
    Class, ClassEnd, Closing, Digest, Entry, Epoch, GapReason, LastKnown, Life, Moment, Run, RunRange, Sequence, Source, Stream,
};

/// The state of numbering after a group; every group ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    pub(super) life: Life,
    pub(super) epoch: Epoch,
    /// How many groups this life has sealed: a difference fits only the heads before it.
    pub(super) number: u64,
    pub(super) stopped: bool,
    /// When the group was sealed.
    pub(super) moment: Moment,
    /// Of this epoch; only classes with batches. With the ledger in it the epoch exists.
    pub(super) classes: BTreeMap<Class, ClassHead>,
    /// By instance. Shared between these heads and those sealed before, until something changes: each seal copies all of them.
    pub(super) streams: BTreeMap<Arc<str>, Arc<BTreeMap<Source, StreamHead>>>,
    /// Descriptions that this life's ledger holds.
    pub(super) described: BTreeSet<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassHead {
    pub next: Sequence,
    pub last: Digest,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamHead {
    /// Where the newest run that held values stands; it may be of an earlier life.
    pub last: Option<LastKnown>,
    /// Runs of this life with positions in this epoch, ascending; nearly always one.
    pub ranges: Vec<(Run, Range)>,
    /// Values were lost, or may have been, and none came since.
    pub open: Option<OpenGap>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u64,
    pub next: u64,
    /// Values; the rest of the positions lies in gaps.
    pub count: u64,
    pub first_moment: Moment,
    pub last_moment: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenGap {
    pub reason: GapReason,
    /// From here on nothing in the ledger tells of it yet.
    pub since: Moment,
}

impl StreamHead {
    pub fn known(&self, run: Run) -> Option<&Range> {
        self.place(run).ok().map(|at| &self.ranges[at].1)
    }

    /// Of a run: as it stands, or as it begins.
    pub fn range(&mut self, run: Run, begins: Range) -> &mut Range {
        let at = self.place(run).unwrap_or_else(|at| {
            self.ranges.insert(at, (run, begins));
            at
        });
        &mut self.ranges[at].1
    }

    fn place(&self, run: Run) -> Result<usize, usize> {
        self.ranges.binary_search_by_key(&run, |(run, _)| *run)
    }
}

impl Heads {
    pub(super) fn new(life: Life, moment: Moment) -> Self {
        Self {
            life,
            epoch: 0,
            number: 0,
            stopped: false,
            moment,
            classes: BTreeMap::new(),
            streams: BTreeMap::new(),
            described: BTreeSet::new(),
        }
    }

    /// A new life that knows where the streams of the found one stood, and nothing else of it.
    pub(super) fn succeed(found: &Self, life: Life, moment: Moment) -> Self {
        let mut heads = Self::new(life, moment);
        for (instance, streams) in &found.streams {
            let known: BTreeMap<_, _> = (streams.iter().filter(|(_, s)| s.last.is_some()))
                .map(|(&source, s)| (source, StreamHead { last: s.last, ..StreamHead::default() }))
                .collect();
            if !known.is_empty() {
                heads.streams.insert(instance.clone(), Arc::new(known));
            }
        }
        heads
    }

    pub fn life(&self) -> Life {
        self.life
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The life ended with `Pipeline::stop`: what came after it is no power cut, whatever the boots say.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// When they were sealed; its `boot` tells whether the machine has been started since.
    pub fn moment(&self) -> Moment {
        self.moment
    }

    /// Whether the ledger batch 0 of the present epoch is written.
    pub(super) fn written(&self) -> bool {
        self.classes.contains_key(&Class::Ledger)
    }

    pub(super) fn stream(&mut self, instance: &Arc<str>, source: Source) -> &mut StreamHead {
        if !self.streams.contains_key(instance) {
            self.streams.insert(instance.clone(), Arc::default());
        }
        Arc::make_mut(self.streams.get_mut(instance).expect("just seen or made")).entry(source).or_default()
    }

    /// How the present epoch ends, if it ends here.
    pub(super) fn closing(&self, clean: bool) -> Closing {
        let classes = self.classes.iter().map(|(&class, head)| ClassEnd { class, count: head.next, last: head.last }).collect();
        let runs = (self.each_stream())
            .flat_map(|(instance, source, head)| {
                head.ranges.iter().map(move |(run, range)| RunRange {
                    stream: Stream { instance: instance.to_string(), source },
                    run: *run,
                    first: range.first,
                    next: range.next,
                    count: range.count,
                    first_moment: range.first_moment,
                    last_moment: range.last_moment,
                })
            })
            .collect();
        Closing { epoch: self.epoch, clean, classes, runs }
    }

    pub(super) fn begin_next_epoch(&mut self) {
        self.epoch += 1;
        self.classes.clear();
        for streams in self.streams.values_mut().map(Arc::make_mut) {
            streams.values_mut().for_each(|head| head.ranges.clear());
            streams.retain(|_, head| *head != StreamHead::default());
        }
        self.streams.retain(|_, streams| !streams.is_empty());
    }

    /// What the ledger does not yet tell of the open gaps, up to `to`; they carry on from there.
    /// A stream that never held a value has no last value after which a stretch could lie: its first run tells the reason.
    pub(super) fn tell_open_gaps(&mut self, to: Moment) -> Vec<Entry> {
        let mut told = Vec::new();
        for (instance, streams) in &mut self.streams {
            if streams.values().all(|head| head.open.is_none()) {
                continue; // it stays shared
            }
            for (&source, head) in Arc::make_mut(streams) {
                if let (Some(gap), Some(last)) = (&mut head.open, head.last)
                    && gap.since != to
                {
                    told.push(stretch(Stream { instance: instance.to_string(), source }, last, *gap, to));
                    gap.since = to;
                }
            }
        }
        told
    }

    pub(super) fn each_stream(&self) -> impl Iterator<Item = (&Arc<str>, Source, &StreamHead)> {
        self.streams.iter().flat_map(|(instance, streams)| streams.iter().map(move |(&source, head)| (instance, source, head)))
    }
}

/// A stretch of time after a stream's last value, without positions.
pub(super) fn stretch(stream: Stream, last: LastKnown, gap: OpenGap, to: Moment) -> Entry {
    Entry::Gap {
        life: last.life,
        stream,
        run: last.run,
        first: last.next,
        indices: 0,
        values: None,
        from: gap.since,
        to,
        reason: gap.reason,
    }
}
