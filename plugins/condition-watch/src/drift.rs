//! How fast the mean of the windows moves: the Theil-Sen slope, the median of the slopes between every two windows. It needs no model, and
//! windows that stand out (a door left open, a defrosting) cannot carry it away until they are nearly three in ten (1 - 1/sqrt 2), where
//! a least-squares line follows the first.

use std::collections::VecDeque;

use crate::grid::half_even;

/// The mean of one window that was seen well enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Past {
    /// Only windows of one boot are compared: how much time lies between two boots nobody knows.
    pub boot: u64,
    pub index: u64,
    pub mean: i64,
}

/// The latest windows, oldest first, no more than `length` of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(pub VecDeque<Past>);

impl History {
    pub fn push(&mut self, window: Past, length: usize) {
        self.0.push_back(window);
        // by its place as well as by number: holes must not make the history reach farther back
        let first = window.index.saturating_sub(length as u64 - 1);
        self.0.retain(|past| past.boot != window.boot || past.index >= first);
        while self.0.len() > length {
            self.0.pop_front();
        }
    }

    /// On the grid, per day of `a_day` windows. `None` until the windows of one boot span half the length that is looked at: before that a
    /// warm afternoon would be a drift. Each slope is rounded to the grid; of an even number the mean of the two in the middle.
    pub fn slope(&self, length: usize, a_day: u32) -> Option<i64> {
        let spans = |past: &&Past| self.newest_of(past.boot).is_some_and(|last| last.saturating_sub(past.index) >= length as u64 / 2);
        self.0.iter().find(spans)?;
        let pairs = self.0.iter().enumerate().flat_map(|(n, a)| self.0.iter().skip(n + 1).map(move |b| (a, b)));
        let mut slopes: Vec<i64> = pairs.filter_map(|(a, b)| per_day(a, b, a_day)).collect();
        median(&mut slopes)
    }

    fn newest_of(&self, boot: u64) -> Option<u64> {
        self.0.iter().rev().find(|past| past.boot == boot).map(|past| past.index)
    }
}

/// 64 bits hold it: `GRID_MAX` says so.
fn per_day(a: &Past, b: &Past, a_day: u32) -> Option<i64> {
    let apart = b.index.checked_sub(a.index).filter(|n| *n > 0 && a.boot == b.boot)?;
    let (number, by) = ((b.mean - a.mean) * i64::from(a_day), i64::try_from(apart).ok()?);
    let (floor, rest) = (number.div_euclid(by), number.rem_euclid(by));
    Some(floor + i64::from(rest > by - rest || (rest == by - rest && floor % 2 != 0)))
}

fn median(slopes: &mut [i64]) -> Option<i64> {
    let middle = slopes.len() / 2;
    let even = slopes.len().is_multiple_of(2);
    let (below, upper, _) = if slopes.is_empty() { return None } else { slopes.select_nth_unstable(middle) };
    match below.iter().max().filter(|_| even) {
        Some(lower) => i64::try_from(half_even(i128::from(*lower) + i128::from(*upper), 2)).ok(),
        None => Some(*upper),
    }
}
