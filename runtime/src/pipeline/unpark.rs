//! Out of parking: what was said while nobody knew whose it was goes through the book with its old moments, in runs of its own, and under the rules
//! of its channels like everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wardgate_wire as wire;
use wardgate_wire::{DeviceTime, Moment, Parked, Source, Value};

use super::book::Voice;
use super::derived::Open;
use super::said::{Channel, Meaning};
use super::{Pipeline, Urgency, describe, missed, report, sources};
use crate::config::{Report, Terms};

/// What is being let out of one instance's parking.
#[derive(Default)]
struct Leaving {
    channels: BTreeMap<u16, Channel>,
    /// Windows of these channels, which are none of the live ones.
    windows: BTreeMap<u16, Open>,
    /// Values that were personal and granted when they were parked, and are not granted any more.
    withheld: u64,
    late: bool,
}

impl Pipeline {
    /// `late`: it is told of a time that others have spoken of since.
    pub(super) fn release(&mut self, instance: &Arc<str>, words: Vec<Parked>, late: bool) {
        if words.is_empty() {
            return;
        }
        let mut leaving = Leaving { late, ..Leaving::default() };
        for word in words {
            self.released(instance, &mut leaving, word);
        }
        self.instances.get_mut(instance).expect("it is known").withheld += leaving.withheld;
        if late {
            self.tell_leaving(instance, &mut leaving, None);
            let of = self.instances.get_mut(instance).expect("it is known");
            Voice { instance, numbering: &mut of.numbering, moment: Moment::default(), late }.all_anew();
        } else {
            let of = self.instances.get_mut(instance).expect("it is known");
            of.windows_changed.extend(leaving.windows.keys());
            of.windows.extend(leaving.windows); // the same session goes on, and so do they
            for (number, channel) in leaving.channels {
                if let Some(live) = of.channels.get_mut(&number) {
                    live.jump = channel.jump; // what it said about the next jump still holds
                    live.sent = channel.sent;
                }
            }
        }
        self.raise(Urgency::Due);
        self.keep_bounds();
    }

    fn released(&mut self, instance: &Arc<str>, leaving: &mut Leaving, word: Parked) {
        match &word {
            Parked::Session { .. } | Parked::Cut { .. } => self.tell_leaving(instance, leaving, None), // no window goes on over a loss
            Parked::Describe { channel, .. } | Parked::Missed { channel, .. } => self.tell_leaving(instance, leaving, Some(*channel)),
            _ => {}
        }
        if let Parked::Observation { moment, at, readings } = word {
            return self.let_out(instance, leaving, moment, at, readings);
        }
        let terms = self.setup.terms.get(&**instance);
        let (of, book) = (self.instances.get_mut(instance).expect("it is known"), &mut self.book);
        let moment = moment_of(&word).unwrap_or(of.parking.session);
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: leaving.late };
        let channels = &mut leaving.channels;
        match word {
            Parked::Session { .. } => {
                channels.clear();
                voice.all_anew();
            }
            Parked::Claim { .. } | Parked::Observation { .. } => {}
            Parked::Describe { channel, expected, description } => {
                let means = channel_of(description, expected, terms);
                let all = if means.withheld { Vec::new() } else { sources(channel, &means) };
                let jump = channels.insert(channel, means).and_then(|before| before.jump);
                all.into_iter().for_each(|source| _ = describe(book, &mut voice, source, jump));
            }
            Parked::Block { channel: number, first, piece, counts } => match channels.get_mut(&number) {
                Some(channel) if channel.withheld => leaving.withheld += counts.len() as u64,
                Some(channel) if first >= channel.expected => book.block(&mut voice, number, channel, first, piece, counts),
                _ => {}
            },
            Parked::Missed { channel: number, count, reason, .. } => {
                if let Some(channel) = channels.get_mut(&number) {
                    missed(book, &mut voice, number, channel, count, reason);
                }
            }
            Parked::Cut { reason, .. } => {
                for (number, channel) in channels.iter_mut().filter(|(_, c)| !c.withheld) {
                    channel.sent = None;
                    sources(*number, channel).into_iter().for_each(|source| _ = book.cut(&mut voice, source, reason, false));
                }
            }
        }
    }

    /// Readings: as they are, or into the windows of their channels, or only where they are a change.
    fn let_out(&mut self, instance: &Arc<str>, leaving: &mut Leaving, moment: Moment, at: DeviceTime, mut readings: Vec<Said>) {
        let over = |(channel, ..): &Said| leaving.windows.get(channel).is_some_and(|open| open.window.is_over(moment));
        let ended: Vec<u16> = readings.iter().filter(|said| over(said)).map(|(channel, ..)| *channel).collect();
        ended.into_iter().for_each(|channel| self.tell_leaving(instance, leaving, Some(channel)));
        let of = self.instances.get_mut(instance).expect("it is known");
        let Leaving { channels, windows, withheld, late } = leaving;
        let parked = readings.len();
        readings.retain(|(number, ..)| channels.get(number).is_none_or(|channel| !channel.withheld));
        *withheld += (parked - readings.len()) as u64;
        readings.retain(|(number, value, quality)| {
            let Some(channel) = channels.get_mut(number) else { return true };
            match &channel.report {
                Some(Report::Window { seconds }) => {
                    let open = windows.entry(*number).or_insert_with(|| Open::new(*seconds, moment, channel.meaning.description.clone()));
                    open.window.take(value, *quality, moment);
                    false
                }
                Some(Report::OnChange { dead_band, heartbeat_s }) => {
                    let news = report::sends(*dead_band, *heartbeat_s, &mut channel.sent, value, *quality, moment.monotonic_ns);
                    of.unchanged += u64::from(!news);
                    news
                }
                _ => true,
            }
        });
        if !readings.is_empty() {
            let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: *late };
            self.book.observation(&mut voice, at, readings, |n| channels.get(&n).map(|c| &*c.meaning));
        }
    }

    /// Of one channel, or of all.
    fn tell_leaving(&mut self, instance: &Arc<str>, leaving: &mut Leaving, channel: Option<u16>) {
        let ended: Vec<u16> = leaving.windows.keys().copied().filter(|n| channel.is_none_or(|one| one == *n)).collect();
        for channel in ended {
            let open = leaving.windows.remove(&channel).expect("just seen");
            self.say_window(instance, channel, &open, leaving.late);
        }
    }

    /// The streams that these words would have gone into with values. What is withheld would not have gone anywhere.
    pub(super) fn sources_with_values(&self, instance: &Arc<str>, words: &[Parked]) -> BTreeSet<Source> {
        let terms = self.setup.terms.get(&**instance);
        let (mut channels, mut all) = (BTreeMap::new(), BTreeSet::new());
        for word in words {
            let spoken: Vec<u16> = match word {
                Parked::Describe { channel, description, .. } => {
                    channels.insert(*channel, channel_of(description.clone(), 0, terms));
                    continue;
                }
                Parked::Observation { readings, .. } => readings.iter().map(|(channel, ..)| *channel).collect(),
                Parked::Block { channel, .. } => vec![*channel],
                _ => continue,
            };
            for number in spoken.into_iter().filter(|number| channels.get(number).is_none_or(|channel| !channel.withheld)) {
                all.extend(channels.get(&number).map_or_else(|| vec![Source::Channel(number)], |channel| sources(number, channel)));
            }
        }
        all
    }
}

type Said = (u16, Value, u16);

/// As it was described when it was parked, and under the rules that are in force now. A rule that its description has to name holds only where it does.
fn channel_of(description: wire::Description, expected: u64, terms: Option<&Terms>) -> Channel {
    let rule = terms.and_then(|terms| terms.reports.get(&description.name)).filter(|rule| match rule {
        Report::OnChange { dead_band, heartbeat_s } => {
            let words = report::in_words(*dead_band, *heartbeat_s);
            description.facts.iter().any(|fact| fact.name == report::FACT && fact.value == words)
        }
        Report::Window { .. } => description.kind == wire::Kind::Numeric,
        Report::Preview { .. } => false, // a preview of what has passed hurries for nobody
    });
    let report = rule.cloned();
    let withheld = terms.map_or(description.personal, |terms| terms.withholds(description.personal));
    let meaning = Arc::new(Meaning { digest: wire::description_digest(&description), description });
    Channel { meaning, withheld, expected, jump: None, report, sent: None, preview: false }
}

fn moment_of(word: &Parked) -> Option<Moment> {
    match word {
        Parked::Session { moment } | Parked::Observation { moment, .. } | Parked::Missed { moment, .. } | Parked::Cut { moment, .. } => {
            Some(*moment)
        }
        Parked::Block { piece, .. } => Some(piece.moment),
        Parked::Claim { .. } | Parked::Describe { .. } => None,
    }
}
