//! What people are told of losses: the ledger's records as they read it, and what is open.

use wardgate_wire::{Content, Entry, Kind, LastKnown, Life, Moment, Source, Stream};

use super::Pipeline;
use crate::status::{At, Before, Gap};

impl Pipeline {
    /// The losses in a batch of the present life.
    pub(super) fn told(&self, content: &Content) -> Vec<Gap> {
        let Content::Ledger(entries) = content else { return Vec::new() };
        entries.iter().filter_map(|entry| self.told_by(entry)).collect()
    }

    fn told_by(&self, entry: &Entry) -> Option<Gap> {
        match entry {
            Entry::Gap { life, stream, run, first, indices, values, from, to, reason } => Some(Gap {
                life: life_name(*life),
                run: *run,
                first: *first,
                indices: *indices,
                values: *values,
                from: Some(at(*from)),
                to: Some(at(*to)),
                reason: reason.name().into(),
                ..self.named(stream)
            }),
            Entry::Run { stream, run, moment, before, reason: Some(reason), .. } => Some(Gap {
                life: life_name(self.life()),
                run: *run,
                before: before.map(|b| Before { life: life_name(b.life), run: b.run, next: b.next }),
                from: before.map(|b| at(b.moment)),
                to: Some(at(*moment)),
                reason: reason.name().into(),
                ..self.named(stream)
            }),
            _ => None,
        }
    }

    /// Streams of which something was lost, or may have been, and nothing came since, as of the newest group. A stream of an earlier life
    /// that has not spoken in this one is among them: the opening of this life says why.
    pub fn open_gaps(&self) -> Vec<Gap> {
        let life = self.life();
        let streams = self.sealed.each_stream().filter_map(|(instance, source, head)| {
            let earlier = head.last.is_some_and(|last| last.life != life);
            let reason = head.open.map(|gap| gap.reason).or(earlier.then_some(self.book.restart))?;
            let LastKnown { life, run, next, moment } = match (head.last, head.open) {
                (Some(last), _) => last,
                (None, gap) => LastKnown { life, run: 0, next: 0, moment: gap?.since },
            };
            let stream = Stream { instance: instance.to_string(), source };
            let (life, from, reason) = (life_name(life), Some(at(moment)), reason.name().into());
            Some(Gap { life, run, first: next, from, reason, ..self.named(&stream) })
        });
        streams.collect()
    }

    fn named(&self, stream: &Stream) -> Gap {
        let (number, class, channel) = match stream.source {
            Source::Alerts => (None, Some("alert"), "alerts".to_owned()),
            Source::Channel(n) => match self.instances.get(stream.instance.as_str()).and_then(|i| i.names.get(&n)) {
                Some(meaning) => {
                    let class = if meaning.description.kind == Kind::Waveform { "waveform" } else { "numeric" };
                    (Some(n), Some(class), meaning.description.name.clone())
                }
                None => (Some(n), None, format!("#{n}")),
            },
        };
        Gap { instance: stream.instance.clone(), channel, number, class: class.map(str::to_owned), ..Gap::default() }
    }
}

fn life_name(life: Life) -> String {
    format!("{life:016x}")
}

fn at(moment: Moment) -> At {
    At { boot: format!("{:016x}", moment.boot), monotonic_ns: moment.monotonic_ns }
}
