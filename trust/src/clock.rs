//! Whether metadata is fresh, on machines whose clocks may be anywhere: a Pi has no clock of its own and wakes in 1970. Pure.

use jiff::{SignedDuration, Timestamp};

/// The desk's clock and the gateway's may differ by so much.
const SKEW_MIN: i64 = 10;

/// What is known of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the machine's clock says.
    pub clock: Timestamp,
    /// Signed into the timestamp: when it was made.
    pub issued: Option<Timestamp>,
    /// The newest time that was known to be past when this was looked at last.
    pub floor: Option<Timestamp>,
    /// The earliest end of a role.
    pub expires: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// It lies between what was signed and when that ends.
    Agrees,
    /// Before something that was signed: it was never set.
    Behind,
    /// After the end: the metadata is old, or the clock is ahead; nobody here can tell which.
    Beyond,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub clock: Clock,
    /// New installs are refused.
    pub stale: bool,
    /// The newest time that is known to be past. A clock beyond the end never moves it.
    pub floor: Option<Timestamp>,
}

pub fn judge(known: Known) -> Judged {
    let floor = known.issued.max(known.floor);
    let behind = floor.is_some_and(|floor| known.clock + SignedDuration::from_mins(SKEW_MIN) < floor);
    let now = known.clock.max(floor.unwrap_or(known.clock));
    let clock = match () {
        () if behind => Clock::Behind,
        () if known.clock > known.expires => Clock::Beyond,
        () => Clock::Agrees,
    };
    let floor = if clock == Clock::Agrees { floor.max(Some(known.clock)) } else { floor };
    Judged { clock, stale: now > known.expires, floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Timestamp {
        format!("{text}T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn a_clock_at_1970_or_a_year_ahead_is_a_defined_path() {
        let known = |clock, floor| Known { clock: day(clock), issued: Some(day("2026-11-01")), floor, expires: day("2026-12-01") };
        let judged = |clock, stale, floor| Judged { clock, stale, floor: Some(day(floor)) };
        // right: fresh, and remembered
        assert_eq!(judge(known("2026-11-15", None)), judged(Clock::Agrees, false, "2026-11-15"));
        // never set: the time is at least when the metadata was signed, so it is fresh as far as anybody can know
        assert_eq!(judge(known("1970-01-01", None)), judged(Clock::Behind, false, "2026-11-01"));
        // never set, and a later time was known here once: the metadata has ended since
        assert_eq!(judge(known("1970-01-01", Some(day("2026-12-02")))), judged(Clock::Behind, true, "2026-12-02"));
        // a year ahead, or right and the metadata old: stale, and nothing of it is remembered, so that setting the clock heals it
        let ahead = judge(known("2027-11-15", None));
        assert_eq!(ahead, judged(Clock::Beyond, true, "2026-11-01"));
        assert_eq!(judge(known("2026-11-16", ahead.floor)), judged(Clock::Agrees, false, "2026-11-16"));
        // a few minutes behind the desk is no fault
        let slow = Known { clock: "2026-10-31T23:55:00Z".parse().unwrap(), ..known("2026-11-15", None) };
        assert_eq!(judge(slow), judged(Clock::Agrees, false, "2026-11-01"));
    }
}
