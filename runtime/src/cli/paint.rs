//! How answers look on a terminal: aligned columns, a bounded width, colour where it is wanted, times and sizes as people write them.

use std::io::{self, IsTerminal as _, Write};

use crate::fault::{Fault, Guilty};

/// Every line fits into this, so that nothing wraps on a usual terminal.
pub const COLUMNS: usize = 100;

/// Lines on standard output. A reader that went away (`| head`) is no failure.
pub fn print(lines: &[String]) -> Result<(), Fault> {
    put(lines, &mut io::stdout().lock())
}

fn put(lines: &[String], out: &mut impl Write) -> Result<(), Fault> {
    match lines.iter().try_for_each(|line| writeln!(out, "{line}")) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            Err(Fault::new(Guilty::Port, format!("cannot write to standard output: {why}"), ""))
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Bad,
    Warn,
    Faint,
}

/// Colour only on a terminal, and not where NO_COLOR says so (https://no-color.org).
#[derive(Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self(!refused && std::io::stdout().is_terminal())
    }

    #[cfg(test)]
    pub fn none() -> Self {
        Self(false)
    }

    pub fn ink(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            _ if !self.0 => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Bad => "1;31",
            Tone::Warn => "33",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// At most `width` characters on one line; control characters, which devices and brokers may put into a text, are made visible.
pub fn clip(text: &str, width: usize) -> String {
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if let Some((end, _)) = clean.char_indices().nth(width) {
        let last = clean[..end].char_indices().next_back().map_or(0, |(at, _)| at);
        clean.truncate(last);
        clean.push('…');
    }
    clean
}

/// A line with its colours, as far as it fits: what wraps on a screen that is drawn anew pushes its head away.
pub fn crop(line: &str, width: usize) -> String {
    let (mut out, mut shown, mut colour) = (String::new(), 0, false);
    for c in line.chars() {
        if c == '\x1b' {
            colour = true;
        } else if !colour {
            shown += 1;
            if shown > width {
                continue; // colours behind it count all the same: the last one ends them
            }
        }
        out.push(c);
        colour = colour && c != 'm';
    }
    out
}

/// The same on as many lines as it takes, up to `lines_max`, broken between words: an error says at its end what to do.
pub fn wrap(text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("it begins with one");
        let fits = line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width;
        if fits || lines.len() == lines_max {
            let line = lines.last_mut().expect("it begins with one");
            *line += if line.is_empty() { "" } else { " " };
            *line += word;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.iter().map(|line| clip(line, width)).collect()
}

pub struct Column {
    head: &'static str,
    right: bool,
    width_max: usize,
}

pub const fn left(head: &'static str, width_max: usize) -> Column {
    Column { head, right: false, width_max }
}

pub const fn right(head: &'static str) -> Column {
    Column { head, right: true, width_max: usize::MAX }
}

pub type Cell = (String, Tone);

pub fn plain(text: impl ToString) -> Cell {
    (text.to_string(), Tone::Plain)
}

/// A head and a line a row, columns as wide as their widest cell.
pub fn table<const N: usize>(columns: &[Column; N], rows: &[[Cell; N]], paint: Paint) -> Vec<String> {
    let shown = |row: &[Cell; N], n: usize| clip(&row[n].0, columns[n].width_max);
    let widths: [usize; N] = std::array::from_fn(|n| {
        let cells = rows.iter().map(|row| shown(row, n).chars().count());
        cells.max().unwrap_or(0).max(columns[n].head.len())
    });
    let pad = |text: &str, n: usize, tone: Tone| {
        let (room, ink) = (" ".repeat(widths[n] - text.chars().count()), paint.ink(text, tone));
        if columns[n].right { room + &ink } else { ink + &room }
    };
    let line = |cells: [String; N]| cells.join("  ").trim_end().to_owned();
    let head = line(std::array::from_fn(|n| pad(columns[n].head, n, Tone::Faint)));
    std::iter::once(head).chain(rows.iter().map(|row| line(std::array::from_fn(|n| pad(&shown(row, n), n, row[n].1))))).collect()
}

/// 45.2 s, 12 min 05 s, 3 h 20 min, 4 d 03 h
pub fn span(ns: u64) -> String {
    let s = ns / 1_000_000_000;
    match s {
        0..60 => format!("{:.1} s", ns as f64 / 1e9),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86_400, s / 3600 % 24),
    }
}

/// In seven characters: 45.2 s, 12 min, 3 h, 4 d
pub fn short_span(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0..60 => span(ns),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// 999 B, 12.3 kB, 4.0 MB
pub fn bytes(n: u64) -> String {
    let mut scaled = n as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if scaled < 999.5 {
            return if unit == "B" { format!("{n} B") } else { format!("{scaled:.1} {unit}") };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.1} TB")
}

/// 12 345 678: groups of three, so that a long counter can be read.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `2026-01-31T23:59:59.000Z`, from nanoseconds since the Unix epoch.
pub fn utc(wall_ns: i64) -> String {
    let (ms, day) = (wall_ns.div_euclid(1_000_000), wall_ns.div_euclid(86_400_000_000_000));
    let (of_day_s, ms) = (ms.div_euclid(1000).rem_euclid(86_400), ms.rem_euclid(1000));
    let (year, month, day) = date(day);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", of_day_s / 3600, of_day_s / 60 % 60, of_day_s % 60)
}

/// Of a number of days since 1970-01-01. Walks the years: few, and only ever for a line that a person reads.
fn date(mut day: i64) -> (i64, usize, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while day < 0 {
        year -= 1;
        day += 365 + i64::from(leap(year));
    }
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    (year, month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cropped_by_what_is_seen_of_it() {
        assert_eq!(crop("abcdef", 6), "abcdef");
        assert_eq!(crop("abcdef", 3), "abc");
        assert_eq!(crop("a\x1b[1;31mbcd\x1b[0mef", 2), "a\x1b[1;31mb\x1b[0m");
        assert_eq!(crop("ä\x1b[2mö\x1b[0mü", 2), "ä\x1b[2mö\x1b[0m");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is_one() {
        struct Ends(io::ErrorKind);
        impl Write for Ends {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let line = ["a gap".to_owned()];
        assert!(put(&line, &mut Ends(io::ErrorKind::BrokenPipe)).is_ok());
        assert!(put(&line, &mut Ends(io::ErrorKind::StorageFull)).is_err());
    }

    #[test]
    fn figures_look_as_people_write_them() {
        let s = 1_000_000_000;
        assert_eq!([450_000_000, 61 * s, 7384 * s, 90_000 * s].map(span), ["0.5 s", "1 min 01 s", "2 h 03 min", "1 d 01 h"]);
        assert_eq!([0, 999, 1000, 12_345_678, u64::MAX].map(bytes), ["0 B", "999 B", "1.0 kB", "12.3 MB", "18446744.1 TB"]);
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1 000", "1 234 567"]);
        for (at_s, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (-1, "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(utc(at_s * 1_000_000_000), text);
        }
        assert_eq!(utc(1_500_000), "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn a_long_text_goes_on_below_up_to_a_bound() {
        assert_eq!(wrap("one two\nthree \x1b[31m", 8, 4), ["one two", "three", " [31m"]);
        assert_eq!(wrap("one two three four", 8, 2), ["one two", "three f…"]);
        assert_eq!(wrap("", 8, 2), [""]);
        assert_eq!(wrap("abcdefghij k", 8, 2), ["abcdefg…", "k"]);
    }

    #[test]
    fn columns_are_aligned_and_cells_bounded() {
        let rows = [[plain("bed-1\nx"), plain(5)], [plain("a name that is too long"), plain(12_345)]];
        let lines = table(&[left("name", 8), right("n")], &rows, Paint::none());
        assert_eq!(lines, ["name          n", "bed-1 x       5", "a name …  12345"]);
        let coloured = table(&[left("name", 8), right("n")], &[[("x".into(), Tone::Bad), plain(1)]], Paint(true));
        assert_eq!(coloured[1], "\x1b[1;31mx\x1b[0m     1", "colour takes no room");
    }
}
