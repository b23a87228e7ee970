//! What positions and moments mean, as ledger batches say it: descriptions of runs, and clocks of boots.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wardgate_wire::{
    Class, ClockQuality, Description, Digest, Entry, Kind, Life, Moment, PREVIEW_FACT, Run, Source, Stream, description_digest,
};

type OfRuns = HashMap<(Life, Source, Run), Option<Digest>>;

/// About 150 bytes a run, and a description only once however many runs name it. Runs stay for as long as the receiver runs: a batch of an
/// old life may come at any time. Fifty streams and a restart a day make 3 MB a year.
#[derive(Default)]
pub struct Meanings {
    /// By instance; the description's digest, none for alerts.
    runs: HashMap<String, OfRuns>,
    /// The newest run heard of, for an alert that names a channel of its instance.
    newest: HashMap<String, HashMap<(Life, u16), Run>>,
    descriptions: HashMap<Digest, Arc<Description>>,
    clocks: HashMap<u64, BTreeMap<u64, i64>>,
}

/// What has to be known before something can be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    Run { life: Life, stream: Stream, run: Run },
    Description(Digest),
    Clock { boot: u64 },
}

impl Meanings {
    pub fn learn(&mut self, life: Life, entry: &Entry) {
        match entry {
            Entry::Run { stream, run, description, .. } => {
                let runs = self.runs.entry(stream.instance.clone()).or_default();
                runs.entry((life, stream.source, *run)).or_insert(*description);
                if let Source::Channel(channel) = stream.source {
                    let newest = self.newest.entry(stream.instance.clone()).or_default().entry((life, channel)).or_default();
                    *newest = (*newest).max(*run);
                }
            }
            // by what it holds, not by what it says that it is
            Entry::Description { description, .. } => {
                self.descriptions.entry(description_digest(description)).or_insert_with(|| Arc::new(description.clone()));
            }
            Entry::Clock { at, wall_ns, quality, .. } if *quality != ClockQuality::Unset => {
                self.clocks.entry(at.boot).or_default().entry(at.monotonic_ns).or_insert(*wall_ns);
            }
            _ => {}
        }
    }

    fn named(&self, life: Life, stream: &Stream, run: Run) -> Option<Option<Digest>> {
        self.runs.get(&stream.instance)?.get(&(life, stream.source, run)).copied()
    }

    pub fn description(&self, life: Life, stream: &Stream, run: Run) -> Option<&Arc<Description>> {
        self.descriptions.get(&self.named(life, stream, run)??)
    }

    pub fn newest_description(&self, life: Life, instance: &str, channel: u16) -> Option<&Arc<Description>> {
        let run = *self.newest.get(instance)?.get(&(life, channel))?;
        self.description(life, &Stream { instance: instance.to_owned(), source: Source::Channel(channel) }, run)
    }

    /// The class in which a stream's values travel, where that is known.
    pub fn class(&self, life: Life, stream: &Stream, run: Run) -> Option<Class> {
        match stream.source {
            Source::Alerts => Some(Class::Alert),
            Source::Channel(_) => {
                let d = self.description(life, stream, run)?;
                let preview = d.derived && d.facts.iter().any(|f| f.name == PREVIEW_FACT);
                Some(match d.kind {
                    Kind::Waveform if preview => Class::Preview,
                    Kind::Waveform => Class::Waveform,
                    _ => Class::Numeric,
                })
            }
        }
    }

    /// What is missing to name this run, first things first.
    pub fn need_of_run(&self, life: Life, stream: &Stream, run: Run) -> Option<Need> {
        if stream.source == Source::Alerts {
            return None;
        }
        match self.named(life, stream, run) {
            None => Some(Need::Run { life, stream: stream.clone(), run }),
            Some(Some(digest)) if !self.descriptions.contains_key(&digest) => Some(Need::Description(digest)),
            Some(_) => None,
        }
    }

    pub fn need_of_clock(&self, boot: u64) -> Option<Need> {
        (!self.clocks.contains_key(&boot)).then_some(Need::Clock { boot })
    }

    /// What is left of a need: nothing, the same, or the description after the run.
    pub fn left_of(&self, need: Need) -> Option<Need> {
        match need {
            Need::Run { life, ref stream, run } => self.need_of_run(life, stream, run),
            Need::Description(digest) => (!self.descriptions.contains_key(&digest)).then_some(need),
            Need::Clock { boot } => self.need_of_clock(boot),
        }
    }

    /// By the clock record nearest before the moment, or the first after it, of the same boot.
    pub fn wall_ns(&self, moment: Moment) -> Option<i64> {
        let records = self.clocks.get(&moment.boot)?;
        let (&at, &wall) = records.range(..=moment.monotonic_ns).next_back().or_else(|| records.range(moment.monotonic_ns..).next())?;
        let since = i128::from(moment.monotonic_ns) - i128::from(at);
        i64::try_from(i128::from(wall) + since).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(boot: u64, monotonic_ns: u64, wall_ns: i64, quality: ClockQuality) -> Entry {
        Entry::Clock { at: Moment { boot, monotonic_ns }, wall_ns, uncertainty_ns: 0, quality }
    }

    #[test]
    fn the_nearest_clock_record_before_counts_and_else_the_first_after() {
        let mut m = Meanings::default();
        m.learn(1, &clock(5, 1000, 50_000, ClockQuality::FreeRunning));
        m.learn(1, &clock(5, 2000, 90_000, ClockQuality::Synchronised));
        m.learn(1, &clock(5, 3000, 7, ClockQuality::Unset));
        let at = |monotonic_ns| m.wall_ns(Moment { boot: 5, monotonic_ns });
        assert_eq!(at(900), Some(49_900));
        assert_eq!(at(1000), Some(50_000));
        assert_eq!(at(1999), Some(50_999));
        assert_eq!(at(2000), Some(90_000));
        assert_eq!(at(9000), Some(97_000), "an unset clock says nothing");
        assert_eq!(m.wall_ns(Moment { boot: 6, monotonic_ns: 1000 }), None);
        assert_eq!(at(u64::MAX), None, "out of every calendar, and no panic");
    }
}
