//! The Bluetooth date and time (2A08, and inside many measurements): 7 bytes of a clock that someone set by hand.

use crate::{Channel, DeviceTime, Reading, reading};

const SECOND_NS: i64 = 1_000_000_000;
/// What the format allows; it also keeps nanoseconds within 64 bits only up to 2262, which `at` checks by itself.
const YEARS: std::ops::RangeInclusive<u16> = 1582..=9999;

/// As the device said it. A year, month or day of 0 is one that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
}

impl DateTime {
    /// Civil time without a zone; not told when a part of it is unknown or impossible.
    pub fn at(&self) -> DeviceTime {
        self.local_ns().map_or(DeviceTime::NotTold, DeviceTime::Local)
    }

    /// As if it were UTC.
    pub fn local_ns(&self) -> Option<i64> {
        let possible = YEARS.contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60;
        let of_day = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        possible.then(|| (self.days() * 86_400 + of_day).checked_mul(SECOND_NS))?
    }

    /// Days since 1970-01-01: years begin in March, so that a leap day is a year's last.
    fn days(&self) -> i64 {
        let (year, month) = (i64::from(self.year) - i64::from(self.month < 3), (i64::from(self.month) + 9) % 12);
        let of_year = (month * 153 + 2) / 5 + i64::from(self.day) - 1;
        year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
    }

    /// What `at` cannot carry goes out in words, on a channel of text, so that nothing of it is lost.
    pub fn unless_whole(&self, channel: Channel) -> Option<Reading> {
        (self.at() == DeviceTime::NotTold).then(|| reading(channel, crate::Value::Text(self.to_string())))
    }
}

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(year: u16, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> DateTime {
        DateTime { year, month, day, hour, minute, second }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = t(1970, 1, 1, 0, 0, 0).days();
        assert_eq!(expected, 0);
        for year in 1970..2370 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    assert_eq!(t(year, month, day, 0, 0, 0).days(), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, 146_097);
        assert_eq!(t(2012, 12, 5, 11, 50, 27).at(), DeviceTime::Local(1_354_708_227 * SECOND_NS));
    }

    #[test]
    fn what_is_unknown_or_impossible_is_told_in_words() {
        for (wrong, text) in [
            (t(0, 4, 17, 20, 41, 59), "0000-04-17T20:41:59"),
            (t(2019, 0, 17, 0, 0, 0), "2019-00-17T00:00:00"),
            (t(2019, 2, 29, 0, 0, 0), "2019-02-29T00:00:00"),
            (t(2019, 2, 27, 24, 0, 0), "2019-02-27T24:00:00"),
            (t(9999, 1, 1, 0, 0, 0), "9999-01-01T00:00:00"), // beyond the contract's 64 bits
        ] {
            assert_eq!(wrong.at(), DeviceTime::NotTold);
            assert_eq!(wrong.unless_whole(3), Some(reading(3, crate::Value::Text(text.into()))));
        }
        assert_eq!(t(2020, 2, 29, 23, 59, 59).unless_whole(3), None);
    }
}
