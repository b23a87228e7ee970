//! What will not come, for people: the gaps that the ledger told of since this start, in a bounded list, and those that are still open.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// A flapping line makes some hundred a day; half a megabyte. Nothing is written to flash for it: the cloud holds them all.
pub const GAPS_KEPT_MAX: usize = 2000;

/// Named as in the receiver's `gaps.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub instance: String,
    pub channel: String,
    /// None: alerts.
    pub number: Option<u16>,
    /// None: the channel was not described since this start.
    pub class: Option<String>,
    pub life: String,
    pub run: u32,
    pub first: u64,
    /// 0: a stretch of time, without positions.
    pub indices: u64,
    /// None: nobody knows how many.
    pub values: Option<u64>,
    /// Where the stream stood, if this is the time between two runs.
    pub before: Option<Before>,
    pub from: Option<At>,
    /// None: still open.
    pub to: Option<At>,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    pub life: String,
    pub run: u32,
    pub next: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub boot: String,
    pub monotonic_ns: u64,
}

/// The answer to `wardgate gaps`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GapsAnswer {
    pub gateway: String,
    pub now: Option<At>,
    pub started_monotonic_ns: u64,
    /// Wall minus monotonic time of this boot; none while the clock was never set.
    pub wall_ahead_ns: Option<i64>,
    /// Told since the start, and no longer in the list.
    pub forgotten: u64,
    pub gaps: Vec<Gap>,
}

#[derive(Debug, Default)]
pub struct Gaps {
    told: VecDeque<Gap>,
    forgotten: u64,
    /// As of the newest group on flash.
    open: Vec<Gap>,
    /// Of this boot.
    pub boot: String,
    pub wall_ahead_ns: Option<i64>,
}

impl Gap {
    fn is_of(&self, other: &Self) -> bool {
        self.number == other.number && self.reason == other.reason && self.instance == other.instance
    }

    fn place(&self) -> (&str, u32, u64) {
        (&self.life, self.run, self.first)
    }

    /// Whether `self` tells all that `stretch` told, with what came after it.
    fn covers(&self, stretch: &Self) -> bool {
        let place = self.before.as_ref().map_or(self.place(), |b| (&b.life, b.run, b.next));
        self.is_of(stretch) && stretch.before.is_none() && stretch.indices == 0 && stretch.place() == place
    }

    fn goes_on_from(&self, earlier: &Self) -> bool {
        self.is_of(earlier)
            && (self.before.is_none() && earlier.before.is_none())
            && (self.place() == (&earlier.life, earlier.run, earlier.first + earlier.indices))
    }

    fn go_on(&mut self, later: Self) {
        self.indices += later.indices;
        self.values = self.values.zip(later.values).map(|(a, b)| a + b);
        self.to = later.to;
    }
}

impl Gaps {
    /// The ledger tells a long gap in pieces, one an epoch and one at its end: here it is one. True: it is a new one.
    pub fn tell(&mut self, gap: Gap) -> bool {
        if let Some(same) = self.told.iter_mut().rev().find(|old| gap.covers(old)) {
            // from an epoch to the next the ledger goes on where it stopped; the end of a run tells it whole
            let from = if gap.before.is_some() { gap.from.clone() } else { same.from.clone() };
            *same = Gap { from, ..gap };
            return false;
        }
        if let Some(earlier) = self.told.iter_mut().rev().find(|old| gap.goes_on_from(old)) {
            earlier.go_on(gap);
            return false;
        }
        if self.told.len() == GAPS_KEPT_MAX {
            self.told.pop_front();
            self.forgotten += 1;
        }
        self.told.push_back(gap);
        true
    }

    pub fn set_open(&mut self, open: Vec<Gap>) {
        self.open = open;
    }

    /// In the order in which they were told, the open ones last.
    pub fn all(&self) -> (u64, Vec<Gap>) {
        let told = self.told.iter().filter(|t| !self.open.iter().any(|o| o.covers(t)));
        (self.forgotten, told.chain(&self.open).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Option<At> {
        Some(At { boot: "b".into(), monotonic_ns: s * 1_000_000_000 })
    }

    fn gap(first: u64, indices: u64, from: u64, to: Option<u64>) -> Gap {
        let (instance, channel, reason) = ("bed-1".into(), "hr".into(), "line-fault".into());
        let (from, to) = (at(from), to.and_then(at));
        Gap {
            instance,
            channel,
            number: Some(1),
            life: "1".into(),
            run: 1,
            first,
            indices,
            values: Some(indices),
            from,
            to,
            reason,
            ..Gap::default()
        }
    }

    fn after(gap: Gap) -> Gap {
        Gap { run: 2, first: 0, before: Some(Before { life: "1".into(), run: 1, next: gap.first }), ..gap }
    }

    #[test]
    fn a_gap_told_in_pieces_is_one() {
        let mut gaps = Gaps::default();
        assert!(gaps.tell(gap(10, 0, 5, Some(60))));
        assert!(!gaps.tell(gap(10, 0, 60, Some(120))), "the next epoch");
        assert_eq!(gaps.all().1, [gap(10, 0, 5, Some(120))]);
        assert!(!gaps.tell(after(gap(10, 0, 5, Some(130)))), "its end");
        assert_eq!(gaps.all().1, [after(gap(10, 0, 5, Some(130)))]);
        assert!(gaps.tell(Gap { reason: "plugin-fault".into(), ..gap(10, 0, 5, Some(60)) }), "another reason is another gap");
    }

    #[test]
    fn neighbours_join_and_others_do_not() {
        let mut gaps = Gaps::default();
        assert!(gaps.tell(gap(10, 2, 5, Some(6))) && !gaps.tell(gap(12, 3, 6, Some(9))));
        assert_eq!(gaps.all().1, [gap(10, 5, 5, Some(9))]);
        assert!(gaps.tell(gap(16, 1, 9, Some(10))), "a value lies between");
        assert!(gaps.tell(Gap { instance: "bed-2".into(), ..gap(17, 1, 9, Some(10)) }));
        assert!(gaps.tell(Gap { run: 2, ..gap(17, 1, 9, Some(10)) }));
        assert_eq!(gaps.all().1.len(), 4);
    }

    #[test]
    fn an_open_gap_stands_for_what_was_told_of_it() {
        let mut gaps = Gaps::default();
        gaps.tell(gap(3, 1, 1, Some(2)));
        gaps.tell(gap(10, 0, 5, Some(60)));
        gaps.set_open(vec![gap(10, 0, 5, None)]);
        assert_eq!(gaps.all().1, [gap(3, 1, 1, Some(2)), gap(10, 0, 5, None)]);
        gaps.set_open(Vec::new());
        assert_eq!(gaps.all().1.len(), 2, "closed again: the told one shows");
    }

    #[test]
    fn the_list_is_bounded_and_says_what_it_forgot() {
        let mut gaps = Gaps::default();
        for n in 0..GAPS_KEPT_MAX as u64 + 7 {
            assert!(gaps.tell(gap(2 * n, 1, n, Some(n))));
        }
        let (forgotten, all) = gaps.all();
        assert_eq!((forgotten, all.len(), all[0].first), (7, GAPS_KEPT_MAX, 14));
    }
}
