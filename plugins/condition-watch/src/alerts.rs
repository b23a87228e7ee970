//! Technical alerts, each only where the site gave its limit. They speak of a part that may be failing, never of a patient.

use wardgate_sdk::*;

use crate::channels::{DRIFT, DUTY, PRESENT, STARTS, difference};
use crate::rules::{HIGH, LOW, NS_PER_S, Rules, shown};
use crate::state::Source;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    Low,
    High,
    Drift,
    Duty,
    Starts,
}

impl Watched {
    pub const ALL: [Self; 5] = [Self::Low, Self::High, Self::Drift, Self::Duty, Self::Starts];
    pub const SIDES: [Self; 2] = [Self::Low, Self::High]; // as `Rules::limits`

    pub fn bit(self) -> u8 {
        1 << self as u8
    }

    pub fn is_asked(self, rules: &Rules) -> bool {
        match self {
            Self::Low => rules.low.is_some(),
            Self::High => rules.high.is_some(),
            Self::Drift => rules.drift_max.is_some(),
            Self::Duty => rules.duty_max.is_some(),
            Self::Starts => rules.starts_max.is_some(),
        }
    }

    /// Names what is watched and its limit. Where the limit was taken out of the settings, only that.
    pub fn alert(self, active: bool, rules: &Rules, source: &Source) -> Alert {
        let limit = |side: usize| rules.limits()[side].map(|limit| limit.at.told);
        let (low, high) = match self {
            Self::Low => (limit(LOW), None),
            Self::High => (None, limit(HIGH)),
            Self::Drift => (None, rules.drift_max.map(|max| max.told)),
            Self::Duty => (None, rules.duty_max.map(|max| Decimal::new(max as i64, 0))),
            Self::Starts => (None, rules.starts_max.map(|max| Decimal::new(max.into(), 0))),
        };
        let number = low.or(high).map_or_else(|| "a limit that was taken out".into(), shown);
        let (name, unit, after_s) = (&source.name, &source.unit, rules.alert_after_ns / NS_PER_S);
        let (channel, text) = match self {
            Self::Low => (PRESENT[LOW], format!("{name} below {number} {unit} for {after_s} s")),
            Self::High => (PRESENT[HIGH], format!("{name} above {number} {unit} for {after_s} s")),
            Self::Drift => (DRIFT, format!("{name} drifts by more than {number} {}/d", difference(unit))),
            Self::Duty => (DUTY, format!("{name}: runs for more than {number} % of the time")),
            Self::Starts => (STARTS, format!("{name}: starts more than {number} times in {} s", rules.window_ns / NS_PER_S)),
        };
        Alert {
            id: self as u32 + 1,
            at: DeviceTime::NotTold,
            channel: self.is_asked(rules).then_some(channel), // without its limit a side has no channel
            priority: Priority::Low,
            concern: Concern::Technical,
            state: if active { AlertState::Active } else { AlertState::Inactive },
            code: None,
            low,
            high,
            text,
        }
    }
}
