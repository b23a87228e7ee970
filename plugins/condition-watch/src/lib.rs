//! A failing part shows before it fails: how a machine's value drifts, how often and how long it runs, how often it leaves its limits.
//! Glue between the gateway and `watch`; `grid`, `tally`, `drift`, `rules` and `state` are pure.

mod alerts;
mod channels;
pub mod drift;
pub mod grid;
pub mod rules;
pub mod state;
pub mod tally;
mod watch;

use wardgate_sdk::*;

use watch::Watch;

pub struct ConditionWatch(Watch);

impl Plugin for ConditionWatch {
    fn open(now: Moment, start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        Watch::open(now, &start, out).map(Self)
    }

    fn timer(&mut self, now: Moment, tag: Tag, out: &mut Outbox) -> Done {
        self.0.timer(now, tag, out);
        Ok(())
    }

    fn close(&mut self, now: Moment, out: &mut Outbox) -> Done {
        self.0.close(now, out);
        Ok(())
    }
}

impl Filter for ConditionWatch {
    fn bound(&mut self, now: Moment, input: Channel, meaning: Description, out: &mut Outbox) -> Done {
        self.0.bound(now, input, meaning, out);
        Ok(())
    }

    fn unbound(&mut self, _now: Moment, input: Channel, out: &mut Outbox) -> Done {
        self.0.unbound(input, out);
        Ok(())
    }

    fn observed(&mut self, now: Moment, seen: Observation, out: &mut Outbox) -> Done {
        self.0.observed(now, &seen, out);
        Ok(())
    }

    fn missed(&mut self, _now: Moment, input: Channel, _count: Option<u64>, _because: Missing, out: &mut Outbox) -> Done {
        self.0.missed(input, out);
        Ok(())
    }
}

plugin!(ConditionWatch: filter);
