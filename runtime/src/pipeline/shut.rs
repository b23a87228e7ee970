//! A disk that fills: what is no longer taken, and the one gap that it is on each stream until it is taken again (docs/decisions/0012).

use std::sync::Arc;

use wardgate_wire::{GapReason, Kind, Moment, Parked, Source};

use super::book::Voice;
use super::said::Step;
use super::{Instance, Pipeline, Urgency, convert, sources};
use crate::contract::types;

/// What of the things said is still taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    #[default]
    Everything,
    NoWaveforms,
    AlertsOnly,
    /// Only what tells how an epoch ended.
    Nothing,
}

/// What an instance keeps stands for all that it said: once something of that was not taken, its state is ahead of what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Behind {
    #[default]
    No,
    /// Something was not taken.
    Lost,
    /// Since then it kept a state, or wanted to know that something is durable.
    Owes,
    /// It is to open from what is stored.
    Told,
}

impl Instance {
    fn is_shut(&self, takes: Takes, source: Source) -> bool {
        let Source::Channel(n) = source else { return takes == Takes::Nothing };
        let kind = self.names.get(&n).map(|m| m.description.kind);
        takes >= if kind == Some(Kind::Waveform) { Takes::NoWaveforms } else { Takes::AlertsOnly }
    }

    /// Whether a step loses a value to the disk. What is withheld is lost in any case.
    fn loses(&self, takes: Takes, step: &Step) -> bool {
        let taken_else = |n: &u16| self.channels.get(n).is_none_or(|c| !c.withheld);
        match step {
            Step::Observation { readings, .. } => takes >= Takes::AlertsOnly && readings.iter().any(|(n, ..)| taken_else(n)),
            Step::Block { channel, .. } => takes >= Takes::NoWaveforms && taken_else(channel),
            Step::Raise(_) => takes == Takes::Nothing,
            _ => false,
        }
    }
}

impl Pipeline {
    /// From now on; of what is taken again the gaps end here.
    pub fn take_only(&mut self, takes: Takes, now: types::Moment) {
        let before = std::mem::replace(&mut self.takes, takes);
        if takes != before {
            self.instances.values_mut().for_each(|of| of.parking_shut = false); // more than before may be lost there
        }
        if takes >= before {
            return;
        }
        let moment = convert::moment(now);
        for (instance, of) in &mut self.instances {
            let again = of.numbering.iter().filter(|(source, n)| n.is_shut() && !of.is_shut(takes, **source)).map(|(source, _)| *source);
            let again: Vec<Source> = again.collect();
            let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
            for source in again {
                self.book.resume(&mut voice, source);
                self.urgency = self.urgency.max(Urgency::Due);
            }
        }
    }

    /// Values, samples and alerts of an instance that were not taken because the disk was full, since the start.
    pub fn not_taken(&self, instance: &str) -> u64 {
        self.instances.get(instance).map_or(0, |i| i.not_taken)
    }

    /// Instances that went on while something of them was not taken, with a state or an acknowledgement that must not count without it, and
    /// what they are to go on from: what their devices still hold can be read again. Each is named once; it is behind until it opens.
    pub fn behind(&mut self) -> Vec<(Arc<str>, Option<Vec<u8>>)> {
        let takes = self.takes;
        let all = self.instances.iter_mut().filter(|_| takes == Takes::Everything);
        let named = all.filter_map(|(instance, of)| {
            let (behind, named) = match of.behind {
                Behind::No | Behind::Lost => (Behind::No, false),
                Behind::Owes => (Behind::Told, true),
                Behind::Told => (Behind::Told, false),
            };
            of.behind = behind;
            named.then(|| (instance.clone(), of.kept.clone()))
        });
        named.collect()
    }

    /// A call's steps count together: what it keeps, or wants to know to be durable, stands for all that it says, and for what was said
    /// before. Of a call that raises an alarm the state counts whatever else is lost: by it the plugin knows which alarms it has raised.
    pub(super) fn weigh(&mut self, instance: &Arc<str>, steps: &[Step]) {
        let takes = self.takes;
        let Some(of) = self.instances.get_mut(instance) else { return };
        let loses = steps.iter().any(|step| of.loses(takes, step));
        of.alarms = takes < Takes::Nothing && steps.iter().any(|step| matches!(step, Step::Raise(_)));
        let keeps = of.alarms && steps.iter().any(|step| matches!(step, Step::Keep(_)));
        of.behind = match of.behind {
            Behind::Told => Behind::Told,
            _ if loses && keeps => Behind::Lost,
            _ if keeps => Behind::No, // its state stands for all before it
            Behind::No if loses => Behind::Lost,
            as_before => as_before,
        };
    }

    /// A step, if the disk has room for it.
    pub(super) fn admit(&mut self, instance: &Arc<str>, at: types::Moment, step: Step) -> Option<Step> {
        let takes = self.takes;
        let of = self.instances.get_mut(instance).expect("it speaks");
        match step {
            Step::Keep(_) if of.alarms => Some(step),
            Step::Keep(_) | Step::WhenDurable(_) if of.behind != Behind::No => {
                if of.behind == Behind::Lost {
                    of.behind = Behind::Owes;
                }
                None
            }
            Step::Observation { readings, .. } if takes >= Takes::AlertsOnly => {
                for (channel, ..) in readings {
                    self.refuse(instance, at, Source::Channel(channel), 1, Some(1));
                }
                None
            }
            Step::Block { channel, first, counts, .. } if takes >= Takes::NoWaveforms => {
                let means = of.channels.get_mut(&channel).expect("judged");
                let end = first + counts.len() as u64;
                let positions = end - std::mem::replace(&mut means.expected, end); // a jump of the device's lies in the same gap
                means.jump = None;
                self.refuse(instance, at, Source::Channel(channel), positions, Some(positions));
                None
            }
            Step::Missed { channel, count, .. } if of.is_shut(takes, Source::Channel(channel)) => {
                let kind = of.channels[&channel].meaning.description.kind;
                if kind != Kind::Waveform {
                    self.refuse(instance, at, Source::Channel(channel), 1, count); // of a waveform the next block's index tells it
                }
                None
            }
            Step::Raise(_) if takes == Takes::Nothing => {
                self.refuse(instance, at, Source::Alerts, 1, Some(1));
                None
            }
            Step::Identify(_) if takes == Takes::Nothing => None,
            step => Some(step),
        }
    }

    fn refuse(&mut self, instance: &Arc<str>, at: types::Moment, source: Source, positions: u64, values: Option<u64>) {
        let moment = convert::moment(at);
        let of = self.instances.get_mut(instance).expect("it speaks");
        let count = values.unwrap_or_default();
        if let Source::Channel(n) = source {
            let channel = of.channels.get_mut(&n).expect("judged");
            if channel.withheld {
                of.withheld += count;
                return;
            }
            channel.sent = None; // after a loss the next value is news, whatever it is
        }
        of.not_taken += count;
        if source != Source::Alerts && !of.parking.holds() {
            self.refuse_parking(instance, moment);
            return;
        }
        if let Source::Channel(n) = source
            && self.refuse_made_of(instance, n, moment)
        {
            return;
        }
        let of = self.instances.get_mut(instance).expect("it speaks");
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
        if self.book.untaken(&mut voice, source, positions, values) {
            self.raise(Urgency::Due);
        }
    }

    /// What is made of a channel ends here too, and goes on behind a gap. True: nothing else of it travels.
    fn refuse_made_of(&mut self, instance: &Arc<str>, channel: u16, moment: Moment) -> bool {
        self.tell_window(instance, channel);
        let of = self.instances.get_mut(instance).expect("it speaks");
        let (itself, made): (Vec<_>, Vec<_>) =
            sources(channel, &of.channels[&channel]).into_iter().partition(|source| *source == Source::Channel(channel));
        let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
        let news =
            made.into_iter().map(|source| self.book.cut(&mut voice, source, GapReason::DiskFull, false)).filter(|news| *news).count();
        if news > 0 {
            self.raise(Urgency::Due);
        }
        itself.is_empty()
    }

    /// What would be parked is lost there: said once.
    fn refuse_parking(&mut self, instance: &Arc<str>, moment: Moment) {
        let of = self.instances.get_mut(instance).expect("it speaks");
        if !std::mem::replace(&mut of.parking_shut, true) {
            of.parking.park(Parked::Cut { moment, reason: GapReason::DiskFull }, &of.channels, moment.monotonic_ns);
            self.raise(Urgency::Due);
        }
    }

    /// At an epoch's end the ledger tells what was not taken in it.
    pub(super) fn tell_untaken(&mut self, moment: Moment) {
        for (instance, of) in &mut self.instances {
            let shut: Vec<Source> = of.numbering.iter().filter(|(_, n)| n.is_shut()).map(|(source, _)| *source).collect();
            let mut voice = Voice { instance, numbering: &mut of.numbering, moment, late: false };
            shut.into_iter().for_each(|source| self.book.tell_untaken(&mut voice, source));
        }
    }
}
