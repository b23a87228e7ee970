//! Wall time as people and files write it: RFC 3339 in UTC, from nanoseconds since the Unix epoch. Pure.

const NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// The two clocks of this machine at one moment; who calls brings them, so that everything below is free of clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub wall_ns: i64,
    /// CLOCK_BOOTTIME.
    pub monotonic_ns: u64,
}

/// Year, month and day of a day number since 1970-01-01, in the proleptic Gregorian calendar.
fn civil(day: i64) -> (i64, i64, i64) {
    let z = day + 719_468; // days since 0000-03-01: a year that begins in March ends with the leap day
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (d, m) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year + era * 400 + i64::from(m <= 2), m, d)
}

/// `2026-01-31T23:59:59.000000001Z`
pub fn rfc3339(wall_ns: i64) -> String {
    let (s, ns) = (wall_ns.div_euclid(NS), wall_ns.rem_euclid(NS));
    let ((y, m, d), t) = (civil(s.div_euclid(DAY_S)), s.rem_euclid(DAY_S));
    format!("{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}.{ns:09}Z", t / 3600, t / 60 % 60, t % 60)
}

/// What `rfc3339` writes, read again; nothing else is a time here.
pub fn parse(text: &str) -> Option<i64> {
    let number =
        |from: usize, to: usize| text.get(from..to)?.bytes().all(|b| b.is_ascii_digit()).then(|| text[from..to].parse::<i64>().ok())?;
    let (y, m, d) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let of_day = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let march = (m + 9) % 12; // as in `civil`
    let year = y - i64::from(m <= 2);
    let day = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * march + 2) / 5 + d - 1 - 719_468;
    let ns = (day * DAY_S + of_day).checked_mul(NS)?.checked_add(number(20, 29)?)?;
    (rfc3339(ns) == text).then_some(ns)
}

/// `2026-01-31T23`, the name of the file for that hour.
pub fn hour(wall_ns: i64) -> String {
    rfc3339(wall_ns)[..13].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (s, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000000Z"),
            (-1, "1969-12-31T23:59:59.000000000Z"),
        ] {
            assert_eq!(rfc3339(s * NS), text);
            assert_eq!(parse(text), Some(s * NS));
        }
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(rfc3339(i64::MIN), "1677-09-21T00:12:43.145224192Z");
        assert_eq!(parse("2262-04-11T23:47:16.854775807Z"), Some(i64::MAX));
        for wrong in [
            "",
            "2026-02-30T00:00:00.000000000Z",
            "2026-01-01T24:00:00.000000000Z",
            "2026-01-01T00:00:00Z",
            "+026-01-01T00:00:00.000000000Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(hour(1_709_251_199 * NS), "2024-02-29T23");
    }
}
