//! `wardgate gaps`: what will not come, as the running gateway's ledger told since its start, and what is still open.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::Whom;
use super::paint::{self, Cell, Paint, Tone, left, plain, right};
use crate::config::nearest;
use crate::console::{self, Question};
use crate::fault::{Fault, Guilty};
use crate::status::{At, GAPS_KEPT_MAX, Gap, GapsAnswer, Snapshot};

#[derive(Args)]
#[command(after_help = "\
Examples:
  wardgate gaps                                  all that was told since the gateway's start, newest last
  wardgate gaps --instance bed-1-monitor --since 2h

`positions`: 12+4: four from 12 on will not come; `after 11`: a stretch of time after position 11, `before 0`: before the first of a run.
`values`: how many were lost, where anybody knows. A gap of alerts says that alerts may have been lost, not that there were any.
The gateway keeps this list in memory. All gaps since ever are in the cloud: `wardgate-cloud gaps`.")]
pub struct Gaps {
    #[command(flatten)]
    whom: Whom,
    /// Only of this instance
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Only what was open in the last 90s, 15m, 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = duration_ns)]
    since: Option<u64>,
    /// One line of JSON a gap: the fields of the receiver's gaps.jsonl but for `batch`, with `class`, and `open` while it lasts
    #[arg(long)]
    json: bool,
}

fn duration_ns(text: &str) -> Result<u64, String> {
    let wrong = || "a number and its unit: 90s, 15m, 2h or 3d".to_owned();
    let unit_s = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(unit_s * 1_000_000_000).ok_or_else(wrong)
}

pub fn run(args: &Gaps) -> Result<(), Fault> {
    let state = args.whom.state()?;
    let mut answer: GapsAnswer = console::ask(&state, &Question::Gaps)?;
    if let Some(name) = args.instance.as_deref().filter(|name| answer.gaps.iter().all(|g| g.instance != *name)) {
        known(name, &console::ask::<Snapshot>(&state, &Question::Status)?)?;
    }
    choose(&mut answer, args.instance.as_deref(), args.since);
    let lines = match args.json {
        true => answer.gaps.iter().map(|g| serde_json::to_string(&Line::new(g, &answer)).expect("plain numbers and texts")).collect(),
        false => page(&answer, Paint::of_stdout()),
    };
    paint::print(&lines)
}

/// That a name which nobody bears has no gaps would be believed.
fn known(name: &str, status: &Snapshot) -> Result<(), Fault> {
    if status.instances.contains_key(name) {
        return Ok(());
    }
    let names: Vec<_> = status.instances.keys().map(String::as_str).collect();
    let what = format!("there is no instance \"{name}\" and no gap of one; there are {}", names.join(", "));
    let near = nearest(name, names.iter().copied()).map(|near| format!("write --instance {near}"));
    Err(Fault::new(Guilty::Configuration, what, near.unwrap_or_else(|| "name one of them".into())))
}

/// What ended before this boot of the machine is older than anything that can be asked for.
fn choose(answer: &mut GapsAnswer, instance: Option<&str>, since_ns: Option<u64>) {
    let Some(now) = answer.now.clone() else { return };
    let recent = |to: &At| match since_ns {
        Some(since_ns) => to.boot == now.boot && to.monotonic_ns >= now.monotonic_ns.saturating_sub(since_ns),
        None => true,
    };
    answer.gaps.retain(|g| instance.is_none_or(|name| g.instance == name) && g.to.as_ref().is_none_or(recent));
}

impl GapsAnswer {
    /// Wall time, where this boot's clock tells it.
    fn wall_ns(&self, at: &At) -> Option<i64> {
        let this_boot = self.now.as_ref().is_some_and(|now| now.boot == at.boot);
        self.wall_ahead_ns.filter(|_| this_boot).map(|ahead| ahead + at.monotonic_ns.cast_signed())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    gateway: &'a str,
    instance: &'a str,
    channel: &'a str,
    number: Option<u16>,
    class: Option<&'a str>,
    life: &'a str,
    run: u32,
    first: u64,
    indices: u64,
    values: Option<u64>,
    from_boot: Option<&'a str>,
    from_monotonic_ns: Option<u64>,
    from: Option<String>,
    to_boot: Option<&'a str>,
    to_monotonic_ns: Option<u64>,
    to: Option<String>,
    open: bool,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a crate::status::Before>,
}

impl<'a> Line<'a> {
    fn new(g: &'a Gap, answer: &'a GapsAnswer) -> Self {
        let wall = |at: &Option<At>| at.as_ref().and_then(|at| answer.wall_ns(at)).map(paint::utc);
        let parts = |at: &'a Option<At>| at.as_ref().map(|at| (at.boot.as_str(), at.monotonic_ns)).unzip();
        let ((from_boot, from_monotonic_ns), (to_boot, to_monotonic_ns)) = (parts(&g.from), parts(&g.to));
        Self {
            gateway: &answer.gateway,
            instance: &g.instance,
            channel: &g.channel,
            number: g.number,
            class: g.class.as_deref(),
            life: &g.life,
            run: g.run,
            first: g.first,
            indices: g.indices,
            values: g.values,
            from_boot,
            from_monotonic_ns,
            from: wall(&g.from),
            to_boot,
            to_monotonic_ns,
            to: wall(&g.to),
            open: g.to.is_none(),
            reason: &g.reason,
            before: g.before.as_ref(),
        }
    }
}

fn page(answer: &GapsAnswer, paint: Paint) -> Vec<String> {
    let started =
        At { monotonic_ns: answer.started_monotonic_ns, ..answer.now.clone().unwrap_or(At { boot: String::new(), monotonic_ns: 0 }) };
    let up = answer.now.as_ref().map_or(0, |now| now.monotonic_ns.saturating_sub(answer.started_monotonic_ns));
    let when = answer.wall_ns(&started).map_or_else(String::new, |wall| format!("{} UTC, ", &paint::utc(wall)[..19].replace('T', " ")));
    let mut lines = vec![
        format!("{}: gaps that the ledger told of since this start ({when}{} ago)", answer.gateway, paint::span(up)),
        "older ones are in the cloud: `wardgate-cloud gaps`".to_owned(),
    ];
    if answer.forgotten > 0 {
        lines.push(format!("the list holds the newest {GAPS_KEPT_MAX}; {} more are in the cloud only", answer.forgotten));
    }
    if answer.gaps.is_empty() {
        lines.push("none".into());
        return lines.into_iter().map(|l| paint::clip(&l, paint::COLUMNS)).collect();
    }
    let mut lines: Vec<_> = lines.into_iter().map(|l| paint::clip(&l, paint::COLUMNS)).chain([String::new()]).collect();
    let columns = [
        left("instance", 13),
        left("stream", 14),
        left("run", 5),
        left("positions", 12),
        right("values"),
        left("from (UTC)", 14),
        right("for"),
        left("reason", 15),
    ];
    let rows: Vec<_> = answer.gaps.iter().map(|gap| row(gap, answer)).collect();
    lines.extend(paint::table(&columns, &rows, paint));
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    answer.gaps.iter().for_each(|g| *reasons.entry(&g.reason).or_default() += 1);
    let open = answer.gaps.iter().filter(|g| g.to.is_none()).count();
    let reasons: Vec<_> = reasons.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    lines.extend([String::new(), paint::clip(&format!("{} gaps, {open} open: {}", answer.gaps.len(), reasons.join(", ")), paint::COLUMNS)]);
    lines
}

fn row(g: &Gap, answer: &GapsAnswer) -> [Cell; 8] {
    let run = g.before.as_ref().map_or_else(|| g.run.to_string(), |b| format!("{}>{}", b.run, g.run));
    let positions = match (g.indices, g.before.as_ref().map_or(g.first, |b| b.next)) {
        (0, 0) if g.to.is_none() => "from 0".to_owned(), // nothing has ever come
        (0, 0) => "before 0".to_owned(),
        (0, next) => format!("after {}", next - 1),
        (1, _) => g.first.to_string(),
        (n, _) => format!("{}+{n}", g.first),
    };
    let here = |at: &At| answer.now.as_ref().is_some_and(|now| now.boot == at.boot);
    let from = match &g.from {
        None => "-".to_owned(),
        Some(at) => match answer.wall_ns(at) {
            Some(wall) => paint::utc(wall)[5..19].replace('T', " "),
            None if here(at) => format!("boot + {}", paint::short_span(at.monotonic_ns)),
            None => "an earlier boot".to_owned(),
        },
    };
    let lasted = match (&g.from, g.to.as_ref().or(answer.now.as_ref())) {
        (Some(from), Some(to)) if from.boot == to.boot => paint::short_span(to.monotonic_ns.saturating_sub(from.monotonic_ns)),
        _ => "?".to_owned(),
    };
    let values = match g.values {
        _ if g.to.is_none() => ("OPEN".to_owned(), Tone::Bad),
        Some(n) => plain(n),
        None => plain("?"),
    };
    let tone = if g.reason == "unknown" { Tone::Bad } else { Tone::Plain };
    [plain(&g.instance), plain(&g.channel), plain(run), plain(positions), values, plain(from), plain(lasted), (g.reason.clone(), tone)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Before;

    const S: u64 = 1_000_000_000;

    fn at(s: u64) -> Option<At> {
        Some(At { boot: "b".into(), monotonic_ns: s * S })
    }

    fn answer() -> GapsAnswer {
        let gap = |number: Option<u16>, first, indices, from, to: Option<u64>| Gap {
            instance: "a-monitor-with-a-name-as-long-as-the-configuration-allows-it-ever".into(),
            channel: if number.is_some() { "Electrocardiogram lead II".into() } else { "alerts".into() },
            number,
            class: Some(if number.is_some() { "waveform" } else { "alert" }.into()),
            life: "00000000000000aa".into(),
            run: 4_294_967_295,
            first,
            indices,
            from: at(from),
            to: to.and_then(at),
            reason: "gateway-overrun".into(),
            ..Gap::default()
        };
        let between = Gap { before: Some(Before { life: "1".into(), run: 1, next: 4000 }), run: 2, ..gap(Some(1), 0, 0, 50, Some(70)) };
        GapsAnswer {
            gateway: "ward-3".into(),
            now: at(1000),
            started_monotonic_ns: 10 * S,
            wall_ahead_ns: Some(1_767_225_600_000_000_000),
            forgotten: 3,
            gaps: vec![gap(Some(1), 4_000_000_000, 250, 20, Some(21)), between, gap(None, 0, 0, 100, None)],
        }
    }

    #[test]
    fn a_page_fits_the_terminal_and_names_what_is_open() {
        let page = page(&answer(), Paint::none());
        assert!(page.iter().all(|l| l.chars().count() <= paint::COLUMNS), "{page:#?}");
        let text = page.join("\n");
        for words in [
            "2026-01-01 00:00:10 UTC, 16 min 30 s ago",
            "3 more are in the cloud only",
            "4000000000+…",
            "1>2    after 3999",
            "from 0          OPEN  01-01 00:01:40  15 min",
            "3 gaps, 1 open: gateway-overrun 3",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn a_name_that_nobody_bears_is_refused_with_the_nearest() {
        let mut status = Snapshot::default();
        status.instances.insert("bed-1-monitor".into(), Default::default());
        assert!(known("bed-1-monitor", &status).is_ok());
        let refused = known("bed-1-montor", &status).expect_err("nobody bears it");
        assert!(refused.what.contains("bed-1-montor") && refused.remedy == "write --instance bed-1-monitor", "{refused}");
        assert_eq!(known("chiller", &status).expect_err("nobody bears it").remedy, "name one of them");
    }

    #[test]
    fn a_clock_that_was_never_set_and_another_boot_are_told() {
        let mut unset = GapsAnswer { wall_ahead_ns: None, ..answer() };
        unset.gaps[0].from = Some(At { boot: "earlier".into(), monotonic_ns: 1 });
        let page = page(&unset, Paint::none()).join("\n");
        assert!(page.contains("an earlier bo") && page.contains("boot + 50.0 s"), "{page}");
        let line = serde_json::to_value(Line::new(&unset.gaps[0], &unset)).unwrap();
        assert!(line["from"].is_null() && line["from_boot"] == "earlier" && line["open"] == false, "{line}");
    }

    #[test]
    fn filters_choose_by_instance_and_by_what_was_open() {
        let chosen = |instance, since| {
            let mut answer = answer();
            answer.gaps[0].instance = "bed-2".into();
            choose(&mut answer, instance, since);
            answer.gaps.iter().map(|g| g.first).collect::<Vec<_>>()
        };
        assert_eq!(chosen(Some("bed-2"), None), [4_000_000_000]);
        assert_eq!(chosen(None, Some(935 * S)), [0, 0], "the one that ended at 21 s is older");
        assert_eq!(chosen(None, Some(S)).len(), 1, "an open one is always there");
        assert_eq!(["90s", "15m", "2h", "3d"].map(|t| duration_ns(t).unwrap() / S), [90, 900, 7200, 259_200]);
        assert!(["", "5", "h", "-1h", "1.5h", "2 weeks", "99999999999d"].iter().all(|t| duration_ns(t).is_err()));
    }
}
