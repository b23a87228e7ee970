//! Wall time as people and other programs write it: RFC 3339, in UTC. Pure.

const DAY_S: i64 = 86_400;

/// Seconds since 1970 as 2026-11-29T14:48:30Z.
pub fn text(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = date(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Seconds since 1970; a fraction is cut off. `None`: not in this form, or not in UTC.
pub fn read(text: &str) -> Option<i64> {
    let (whole, fraction) = text.strip_suffix('Z')?.split_at_checked("2026-11-29T14:48:30".len())?;
    let mut digits = fraction.strip_prefix('.').unwrap_or(fraction).bytes();
    let bare = fraction.is_empty() || (fraction.starts_with('.') && fraction.len() > 1);
    if !bare || !digits.all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bytes = whole.as_bytes();
    let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if signs.iter().any(|(at, sign)| bytes[*at] != *sign) {
        return None;
    }
    let number = |from: usize, n: usize| {
        let text = whole.get(from..from + n).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
        text.parse::<i64>().ok()
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, month, day);
    (date(days) == (year, month, day)).then_some(days * DAY_S + hour * 3600 + minute * 60 + second)
}

/// Years begin in March here, so that the leap day is their last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - DAYS_TO_1970
}

/// From 1 March of the year 0 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;

fn date(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let mut year = days.div_euclid(366).max(0); // never too late, and a few years too early
    let begins = |y: i64| 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    while begins(year + 1) <= days {
        year += ((days - begins(year)) / 366).max(1);
    }
    let in_year = days - begins(year);
    let m = (5 * in_year + 2) / 153;
    let day = in_year - (153 * m + 2) / 5 + 1;
    if m < 10 { (year, m + 3, day) } else { (year + 1, m - 9, day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_back() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (1_795_963_710, "2026-11-29T14:48:30Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(text(seconds), written);
            assert_eq!(read(written), Some(seconds));
        }
        for day in (0..60_000).map(|n| n * 7 * DAY_S / 5) {
            assert_eq!(read(&text(day)), Some(day), "{}", text(day));
        }
        assert_eq!(read("2026-11-29T14:48:30.123456Z"), Some(1_795_963_710));
    }

    #[test]
    fn what_is_no_moment_in_utc_is_refused() {
        for wrong in [
            "",
            "2026-11-29",
            "2026-11-29T14:48:30",
            "2026-11-29T14:48:30+01:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-29 14:48:30Z",
            "2026-11-29T24:48:30Z",
            "2026-11-29T14:48:30.Z",
            "2026-11-29T14:48:30.xZ",
            "+026-11-29T14:48:30Z",
            "ä26-11-29T14:48:30Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
