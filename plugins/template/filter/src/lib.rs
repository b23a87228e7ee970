//! Glue of a filter: sees a copy of its inputs and says channels of its own, which the gateway marks as derived.

pub mod decode;
#[cfg(test)]
mod tests;

use wardgate_sdk::*;

const HIGHEST: Channel = 0;

pub struct Device {
    highest: Option<Decimal>,
}

impl Plugin for Device {
    fn open(_now: Moment, _start: Opening, out: &mut Outbox) -> Result<Self, Problem> {
        out.describe(HIGHEST, &Description::numeric("highest", ""));
        Ok(Self { highest: None })
    }
}

impl Filter for Device {
    /// A source describes itself: its unit is ours, and what came before counts no more.
    fn bound(&mut self, _now: Moment, _input: Channel, meaning: Description, out: &mut Outbox) -> Done {
        out.describe(HIGHEST, &Description::numeric("highest", &meaning.unit));
        self.highest = None;
        Ok(())
    }

    fn observed(&mut self, _now: Moment, seen: Observation, out: &mut Outbox) -> Done {
        for value in seen.readings {
            if let Some(higher) = decode::higher(self.highest, &value.value) {
                self.highest = Some(higher);
                out.emit(&[Observation { at: seen.at, readings: vec![reading(HIGHEST, higher)] }]);
            }
        }
        Ok(())
    }
}

plugin!(Device: filter);
