//! `wardgate status`: asks the running gateway over its local socket, once or every second.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::Whom;
use super::paint::{self, COLUMNS, Cell, Paint, Tone, left, plain, right};
use crate::console::{self, Question};
use crate::fault::Fault;
use crate::plugin::list_ended;
use crate::status::{InstanceStatus, LinkStatus, Snapshot};

/// Of one text under the thing that it is about: an error with its remedy takes three.
const LINES_MAX: usize = 4;

#[derive(Args)]
#[command(after_help = "\
Examples:
  wardgate status
  wardgate status --watch            every second, with rates; q or Ctrl-C ends it
  wardgate status --watch | tee log  not on a terminal: one plain line a second
  wardgate status --json             every counter")]
pub struct Status {
    #[command(flatten)]
    whom: Whom,
    /// One line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Look again every second, until q or Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

pub fn run(args: &Status) -> Result<(), Fault> {
    let state = args.whom.state()?;
    let look = || console::ask::<Snapshot>(&state, &Question::Status);
    if args.watch {
        return watch(look, args.json);
    }
    let snapshot = look()?;
    paint::print(&if args.json { vec![json(&snapshot)] } else { page(&snapshot, None, Paint::of_stdout()) })
}

fn json(s: &Snapshot) -> String {
    serde_json::to_string(s).expect("plain numbers and texts")
}

// ---------- again and again

/// The first look must succeed; after that a gateway that is away (it may be restarting) is waited for.
fn watch(look: impl Fn() -> Result<Snapshot, Fault>, as_json: bool) -> Result<(), Fault> {
    let mut before = look()?;
    let on_terminal = !as_json && io::stdout().is_terminal();
    let mut screen = on_terminal.then(Screen::open);
    if let Some(screen) = &mut screen {
        screen.draw(&page(&before, None, Paint::of_stdout()));
    }
    loop {
        let ended = match &mut screen {
            Some(screen) => screen.rest(),
            None => {
                std::thread::sleep(Duration::from_secs(1));
                false
            }
        };
        if ended {
            return Ok(());
        }
        let now = look();
        let told = match (&mut screen, &now) {
            (Some(screen), Ok(now)) => {
                screen.draw(&page(now, Some(&before), Paint::of_stdout()));
                Ok(())
            }
            (Some(screen), Err(fault)) => {
                screen.draw(&format!("{fault}\n\nlooking again every second; q ends").lines().map(str::to_owned).collect::<Vec<_>>());
                Ok(())
            }
            (None, Ok(now)) => writeln!(io::stdout(), "{}", if as_json { json(now) } else { line(now, &before) }),
            (None, Err(fault)) if as_json => {
                eprintln!("wardgate: {}", fault.what);
                Ok(())
            }
            (None, Err(fault)) => writeln!(io::stdout(), "{}", fault.what),
        };
        if told.is_err() {
            return Ok(()); // whoever read it (`| head`) has gone
        }
        before = now.unwrap_or(before);
    }
}

/// A terminal that is drawn over, and given back as it was found: by q, by Ctrl-C and by SIGTERM.
struct Screen {
    found: Option<Termios>,
    terminate: Option<(Runtime, Signal)>,
}

impl Screen {
    fn open() -> Self {
        let found = tcgetattr(io::stdin()).ok();
        if let Some(mut quiet) = found.clone() {
            // keys come one by one, Ctrl-C among them, and reading gives up after a second: that is the clock of the watch
            quiet.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
            quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
            quiet.special_codes[SpecialCodeIndex::VTIME] = 10;
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
        }
        print!("\x1b[?1049h\x1b[?25l"); // a screen of its own, without a cursor
        Self { found, terminate: terminate() }
    }

    fn is_terminated(&mut self) -> bool {
        let Some((runtime, terminate)) = &mut self.terminate else { return false };
        runtime.block_on(async { tokio::time::timeout(Duration::from_millis(1), terminate.recv()).await.is_ok() })
    }

    fn draw(&mut self, lines: &[String]) {
        let told = tcgetwinsize(io::stdout()).map_or((0, 0), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
        let or = |told: usize, usual| if told == 0 { usual } else { told.max(2) }; // a serial console does not tell
        let text = drawn(lines, or(told.0, 24), or(told.1, 80));
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A second. True: q, Ctrl-C, Ctrl-D, SIGTERM or the end of the terminal.
    fn rest(&mut self) -> bool {
        const ENDS: [u8; 4] = [b'q', b'Q', 3, 4];
        if self.found.is_none() {
            std::thread::sleep(Duration::from_secs(1)); // no keys to read: Ctrl-C is a signal
            return self.is_terminated();
        }
        let mut key = [0];
        match rustix::io::read(io::stdin(), &mut key) {
            Ok(1) if ENDS.contains(&key[0]) => true,
            Ok(_) => self.is_terminated(),
            Err(e) => e != rustix::io::Errno::INTR || self.is_terminated(),
        }
    }
}

/// None where signals cannot be had: then SIGTERM ends the program as it ends any.
fn terminate() -> Option<(Runtime, Signal)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let terminate = runtime.block_on(async { signal(SignalKind::terminate()) }).ok()?;
    Some((runtime, terminate))
}

impl Drop for Screen {
    fn drop(&mut self) {
        print!("\x1b[?25h\x1b[?1049l");
        let _ = io::stdout().flush();
        if let Some(found) = &self.found {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, found);
        }
    }
}

/// How fast a counter goes, between two looks at one life.
struct Rate {
    seconds: f64,
}

impl Rate {
    fn between(now: &Snapshot, before: &Snapshot) -> Option<Self> {
        let ns = now.monotonic_ns.saturating_sub(before.monotonic_ns);
        (now.life == before.life && ns > 0).then_some(Self { seconds: ns as f64 / 1e9 })
    }

    fn of(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.seconds
    }
}

/// One look as one line, for a file or a pipe.
fn line(now: &Snapshot, before: &Snapshot) -> String {
    let rate = Rate::between(now, before);
    let per_s = |of: fn(&InstanceStatus) -> u64, name: &str, i: &InstanceStatus| {
        let old = before.instances.get(name).map_or(0, of);
        rate.as_ref().map_or_else(|| "?".to_owned(), |r| format!("{:.1}", r.of(of(i), old)))
    };
    let uplink = if now.uplink.connected { "connected" } else { "NOT-CONNECTED" };
    let mut out = format!("up={}s uplink={uplink} waiting={}", up_ns(now) / 1_000_000_000, now.store.batches_waiting);
    for (name, i) in &now.instances {
        out += &format!("  {name}={} readings/s={} samples/s={}", i.state, per_s(|i| i.readings, name, i), per_s(|i| i.samples, name, i));
        out += if i.link_up { "" } else { " link=DOWN" };
    }
    out
}

// ---------- the page

fn up_ns(s: &Snapshot) -> u64 {
    s.monotonic_ns.saturating_sub(s.started_monotonic_ns)
}

/// `before`: rates instead of sums.
fn page(s: &Snapshot, before: Option<&Snapshot>, paint: Paint) -> Vec<String> {
    let rate = before.and_then(|b| Some((b, Rate::between(s, b)?)));
    let mut out = vec![format!("{}   wardgate {}, up {}, life {}, epoch {}", s.gateway, s.version, paint::span(up_ns(s)), s.life, s.epoch)];
    out.extend(trust(s, paint));
    if s.memory_profile == "compact" {
        out.push("compact memory profile: little address space here, so tight loops in plugins take up to twice as long".into());
    }
    out.push(String::new());
    out.extend(uplink_and_store(s, rate.as_ref(), paint));
    out.push(String::new());
    out.extend(instances(s, rate.as_ref(), paint));
    out.push(String::new());
    out.extend(s.links.iter().flat_map(|(name, l)| link(name, l, s, paint)));
    if s.radio.strangers_dropped > 0 {
        let told = format!("{} Bluetooth devices near that nobody named were let go for want of room", short(s.radio.strangers_dropped));
        out.extend(below("", &told, Tone::Warn, paint));
    }
    out
}

/// What is out of the ordinary about who may run here; nothing, where all is well.
fn trust(s: &Snapshot, paint: Paint) -> Vec<String> {
    let mut said = Vec::new();
    if s.allow_unsigned {
        said.push("UNSIGNED PLUGINS ALLOWED: whoever can write to a package's folder decides what runs in its sandbox".to_owned());
    }
    if s.developer_mode {
        said.push("DEVELOPER MODE: not for a ward".to_owned());
    }
    if s.trust.state == "trust-stale" {
        said.push(format!("TRUST STALE, nothing new is taken: {}", s.trust.why));
    }
    for (vendor, ended) in &s.trust.stale_vendors {
        said.push(format!("TRUST STALE for {vendor}, nothing new of it is taken: {}", list_ended(vendor, ended)));
    }
    if s.trust.state == "blind" {
        said.push(format!("BLIND, nothing new is taken: {}; what to do: wardgate grant recall", s.trust.why));
    }
    if !s.compiler_lacks.is_empty() {
        said.push(format!("THE COMPILER OF PLUGINS WORKS WITHOUT {}: around it stands {}", s.compiler_lacks, s.compiler_walls));
    }
    for line in &s.trust.others_hands {
        said.push(format!("IN OTHERS' HANDS: {line}"));
    }
    for line in &s.trust.keys_unread {
        said.push(format!("A VENDOR'S KEY CANNOT BE READ: {line}"));
    }
    if s.config_changed {
        said.push("CONFIGURATION CHANGED ON DISK and not reloaded: reload it, or find out who changed it".to_owned());
    }
    for (name, _) in s.instances.iter().filter(|(_, i)| i.grants_changed) {
        said.push(format!("GRANTS of {name} were changed while no gateway ran"));
    }
    for (name, i) in s.instances.iter().filter(|(_, i)| !i.revoked.is_empty()) {
        said.push(format!("REVOKED and running: {name}: {}", i.revoked));
    }
    if !s.audit.last_error.is_empty() {
        said.push(format!("AUDIT LOG: {}", s.audit.last_error));
    }
    if !s.audit.broken.is_empty() {
        said.push(format!("AUDIT LOG CHANGED BY OTHERS: {}; what to do: wardgate audit verify", s.audit.broken));
    }
    let lines = said.iter().flat_map(|text| paint::wrap(text, COLUMNS, LINES_MAX));
    lines.map(|line| paint.ink(&line, Tone::Warn)).collect()
}

/// A text from elsewhere under the thing that it is about.
fn below(label: &str, text: &str, tone: Tone, paint: Paint) -> Vec<String> {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    let lines = paint::wrap(text, COLUMNS - 9 - label.len(), LINES_MAX).into_iter().zip(labels);
    lines.map(|(line, first)| format!("         {first:width$}{}", paint.ink(&line, tone), width = label.len())).collect()
}

fn uplink_and_store(s: &Snapshot, rate: Option<&(&Snapshot, Rate)>, paint: Paint) -> Vec<String> {
    let up = &s.uplink;
    let state = if up.connected { "connected".to_owned() } else { paint.ink("NOT CONNECTED", Tone::Bad) };
    let mut out = vec![format!("uplink   {state} to {}", paint::clip(&up.broker, 70))];
    let sent = match rate {
        Some((before, rate)) => format!(
            "{:.1} batches/s published, {:.1}/s acknowledged, {}/s; {} repeated",
            rate.of(up.batches_published, before.uplink.batches_published),
            rate.of(up.batches_acknowledged, before.uplink.batches_acknowledged),
            paint::bytes(rate.of(up.payload_bytes, before.uplink.payload_bytes) as u64),
            paint::count(up.batches_repeated)
        ),
        None => format!(
            "{} batches published, {} acknowledged, {} repeated, {}",
            paint::count(up.batches_published),
            paint::count(up.batches_acknowledged),
            paint::count(up.batches_repeated),
            paint::bytes(up.payload_bytes)
        ),
    };
    out.extend(below("", &sent, Tone::Plain, paint));
    if up.acknowledgements_refused > 0 {
        let text = format!("{} acknowledgements refused: forged, foreign or not readable", paint::count(up.acknowledgements_refused));
        out.extend(below("", &text, Tone::Warn, paint));
    }
    if !up.last_error.is_empty() {
        out.extend(below("last error: ", &up.last_error, if up.connected { Tone::Plain } else { Tone::Warn }, paint));
    }
    let st = &s.store;
    let waiting = format!("{} batches ({}) waiting", paint::count(st.batches_waiting), paint::bytes(st.bytes_waiting));
    out.push(format!("store    {waiting}, {} commits, {} on disk", paint::count(st.commits), paint::bytes(st.bytes_on_disk)));
    if st.failed_flushes > 0 {
        out.extend(below("", &format!("{} FAILED FLUSHES", paint::count(st.failed_flushes)), Tone::Bad, paint));
    }
    if !st.last_error.is_empty() {
        let label = if st.shortage() > 0 { "NO ROOM: " } else { "last error: " };
        out.extend(below(label, &st.last_error, Tone::Bad, paint));
    }
    out
}

fn instances(s: &Snapshot, rate: Option<&(&Snapshot, Rate)>, paint: Paint) -> Vec<String> {
    let [readings, samples] = if rate.is_some() { ["readings/s", "samples/s"] } else { ["readings", "samples"] };
    let columns = [
        left("instance", 16),
        left("state", 12),
        left("link", 4),
        right(readings),
        right(samples),
        right("alerts"),
        right("restarts"),
        right("refused"),
        right("gaps"),
        right("newest"),
    ];
    let mut rows = Vec::new();
    for (name, i) in &s.instances {
        let old = rate.map(|(before, rate)| (before.instances.get(name).cloned().unwrap_or_default(), rate));
        let figure = |of: fn(&InstanceStatus) -> u64| {
            plain(old.as_ref().map_or_else(|| short(of(i)), |(old, rate)| format!("{:.1}", rate.of(of(i), of(old)))))
        };
        rows.push([
            plain(name),
            state(&i.state),
            plain("up").if_not(i.link_up, "DOWN", Tone::Bad),
            figure(|i| i.readings),
            figure(|i| i.samples),
            plain(short(i.alerts)),
            counted(i.restarts),
            counted(i.refusals),
            gaps(i),
            plain(newest(i, s.monotonic_ns)),
        ]);
    }
    let mut lines = paint::table(&columns, &rows, paint).into_iter();
    let mut out: Vec<String> = lines.next().into_iter().collect();
    for (line, (name, i)) in lines.zip(&s.instances) {
        out.push(line);
        if i.unbound {
            out.extend(below("UNBOUND: ", &super::bind::waits(name, i), Tone::Bad, paint));
        }
        if !i.detail.is_empty() {
            out.extend(below("", &i.detail, Tone::Warn, paint));
        }
        if i.inputs_heard < i.inputs {
            let what = format!(
                "hears {} of its {} inputs: an instance that it listens to is not open, or says no such channel",
                i.inputs_heard, i.inputs
            );
            out.extend(below("", &what, Tone::Warn, paint));
        }
        if i.withheld > 0 {
            let what = format!("{} values of personal channels withheld; grants.personal = true lets them leave", short(i.withheld));
            out.extend(below("", &what, Tone::Warn, paint));
        }
    }
    out
}

trait Otherwise {
    fn if_not(self, well: bool, text: &str, tone: Tone) -> Self;
}

impl Otherwise for Cell {
    fn if_not(self, well: bool, text: &str, tone: Tone) -> Self {
        if well { self } else { (text.to_owned(), tone) }
    }
}

fn state(state: &str) -> Cell {
    let tone = match state {
        "healthy" | "starting" => Tone::Plain,
        "degraded" | "restarting" | "stopped" => Tone::Warn,
        _ => Tone::Bad,
    };
    (state.to_owned(), tone)
}

/// Nothing to look at while it is 0.
fn counted(n: u64) -> Cell {
    (short(n), if n > 0 { Tone::Warn } else { Tone::Plain })
}

/// How many were told; `+` and how many are open.
fn gaps(i: &InstanceStatus) -> Cell {
    let told = i.gaps.values().sum();
    match i.gaps_open {
        0 => plain(short(told)),
        open => (format!("{}+{}", short(told), short(open)), Tone::Warn),
    }
}

fn newest(i: &InstanceStatus, now_ns: u64) -> String {
    if i.newest_monotonic_ns == 0 {
        return "-".into();
    }
    paint::short_span(now_ns.saturating_sub(i.newest_monotonic_ns))
}

/// In five characters: 99999, 100k, 1.2M.
fn short(n: u64) -> String {
    if n < 100_000 {
        return n.to_string();
    }
    let mut scaled = n as f64;
    for unit in ["", "k", "M", "G", "T", "P"] {
        if scaled < 999.5 {
            return if scaled < 9.95 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") };
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.0}E")
}

fn link(name: &str, l: &LinkStatus, s: &Snapshot, paint: Paint) -> Vec<String> {
    let target = if l.target.starts_with(name) { l.target.clone() } else { format!("{name} ({})", l.target) };
    let state = if l.up { "up  ".to_owned() } else { paint.ink("DOWN", Tone::Bad) };
    let mut out = vec![format!("link     {state} {}", paint::clip(&target, COLUMNS - 14))];
    let modbus = l.kind.starts_with("modbus");
    let mut words = vec![l.kind.clone()];
    if modbus {
        words.push(format!("{} requests, {} answered", paint::count(l.requests), paint::count(l.answered)));
        let busy = l.busy_us as f64 * 100_000.0 / up_ns(s).max(1) as f64;
        words.push(format!("{:.1} % busy, longest wait {} ms", busy.min(100.0), short(l.worst_wait_ms)));
    }
    words.push(format!("{} in, {} out", paint::bytes(l.bytes_in), paint::bytes(l.bytes_out)));
    let troubles = [
        (l.timeouts, "time-outs"),
        (l.exceptions, "exceptions"),
        (l.malformed, "malformed"),
        (l.refused, "refused"),
        (l.strays, "strays"),
        (l.questionable, "questionable"),
        (l.skipped, "not asked"),
        (l.reconnects, "reconnects"),
    ];
    words.extend(troubles.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", short(*n))));
    out.extend(below("", &words.join(", "), Tone::Plain, paint));
    if !l.aside.is_empty() {
        let one = |server: &u8| match l.aside_for.get(server) {
            Some(whom) => format!("{server} (for {} only)", whom.join(", ")),
            None => server.to_string(),
        };
        let servers: Vec<String> = l.aside.iter().map(one).collect();
        out.extend(below("set aside, because they do not answer: ", &servers.join(", "), Tone::Warn, paint));
    }
    if !l.last_error.is_empty() {
        // while it is up, that is over
        let ago = paint::short_span(s.monotonic_ns.saturating_sub(l.last_error_ns));
        let (label, tone) = if l.up { (format!("last error, {ago} ago: "), Tone::Plain) } else { ("last error: ".to_owned(), Tone::Warn) };
        out.extend(below(&label, &l.last_error, tone, paint));
    }
    out
}

/// As many lines of that as fit, each as far as it fits.
fn drawn(lines: &[String], rows: usize, columns: usize) -> String {
    let mut text = String::from("\x1b[H");
    for line in lines.iter().take(rows - 1) {
        text += &paint::crop(line, columns);
        text += "\x1b[K\r\n";
    }
    if lines.len() > rows - 1 {
        text += &paint::crop("(more: make the window taller, or use --json)", columns);
        text += "\x1b[K";
    }
    text + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    /// Everything as long and as large as it can be.
    fn worst() -> Snapshot {
        let long = "x".repeat(300) + "\n\x1b[31m";
        let i = InstanceStatus {
            state: "quarantined".into(),
            detail: long.clone(),
            readings: u64::MAX,
            samples: u64::MAX,
            alerts: 99_999,
            restarts: 99_999,
            refusals: u64::MAX,
            inputs: u64::MAX,
            withheld: u64::MAX,
            gaps: [("line-fault".into(), 99_999)].into(),
            newest_monotonic_ns: 1,
            ..InstanceStatus::default()
        };
        let l = LinkStatus {
            kind: "modbus-tcp".into(),
            target: long.clone(),
            requests: u64::MAX,
            answered: u64::MAX,
            timeouts: u64::MAX,
            exceptions: u64::MAX,
            malformed: u64::MAX,
            refused: u64::MAX,
            strays: u64::MAX,
            questionable: u64::MAX,
            skipped: u64::MAX,
            aside: (0..=247).collect(),
            aside_for: [(1, vec![long.clone(); 8])].into(),
            busy_us: u64::MAX,
            worst_wait_ms: u64::MAX,
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            reconnects: u64::MAX,
            notifications: u64::MAX,
            rssi_dbm: Some(i16::MIN),
            rssi_ns: 0,
            last_error: long.clone(),
            last_error_ns: 0,
            up: false,
        };
        let mut s = Snapshot {
            gateway: "g".repeat(32),
            version: "0.1.0".into(),
            life: "f".repeat(16),
            allow_unsigned: true,
            monotonic_ns: 1 << 62,
            ..Snapshot::default()
        };
        (s.uplink.broker, s.uplink.last_error, s.store.last_error) = (long.clone(), long.clone(), long);
        (s.uplink.batches_published, s.uplink.batches_acknowledged, s.uplink.payload_bytes) = (10_000_000_000, 10_000_000_000, 1 << 40);
        s.radio.strangers_dropped = u64::MAX;
        (s.store.batches_waiting, s.store.commits, s.store.failed_flushes) = (10_000_000, 1_000_000_000, 7);
        s.instances.insert("i".repeat(64), i);
        s.links.insert("plant".into(), l);
        s
    }

    #[test]
    fn nothing_wraps_and_what_is_wrong_stands_out() {
        let (now, before) = (worst(), Snapshot { monotonic_ns: (1 << 62) - S, life: "f".repeat(16), ..Snapshot::default() });
        for before in [None, Some(&before)] {
            let page = page(&now, before, Paint::none());
            let wide: Vec<_> = page.iter().filter(|l| l.chars().count() > COLUMNS || l.contains('\x1b')).collect();
            assert!(before.is_some() || wide.is_empty(), "{wide:#?}");
            for (rows, columns) in [(24, 80), (10, 40), (200, 132)] {
                let screen = drawn(&page, rows, columns).replace("\x1b[H", "").replace("\x1b[K", "").replace("\x1b[J", "");
                let lines: Vec<_> = screen.split("\r\n").collect();
                assert!(lines.len() <= rows && lines.iter().all(|l| l.chars().count() <= columns), "{screen}");
                assert_eq!(lines[0], paint::crop(&page[0], columns), "its head stays");
            }
            let text = page.join("\n");
            for words in ["NOT CONNECTED", "UNSIGNED", "7 FAILED FLUSHES", "DOWN", "quarantined"] {
                assert!(text.contains(words), "{words}\n{text}");
            }
        }
    }

    //= PROMISES.md#P266
    #[test]
    fn an_error_that_is_over_is_shown_with_its_age() {
        let s = Snapshot { monotonic_ns: 1000 * S, ..Snapshot::default() };
        let mut l = LinkStatus { kind: "ble".into(), ..LinkStatus::default() };
        l.failed("it is not near, or switched off".into(), 700 * S);
        let shown = |l: &LinkStatus| link("ble bed-1", l, &s, Paint::none()).join("\n");
        assert!(shown(&l).contains("last error: it is not near"), "{}", shown(&l));
        l.up = true;
        assert!(shown(&l).contains("last error, 5 min ago: it is not near"), "{}", shown(&l));
    }

    #[test]
    fn a_watch_shows_rates_and_none_across_a_restart() {
        let look = |life: &str, at, readings| {
            let mut s = Snapshot { life: life.into(), monotonic_ns: at, ..Snapshot::default() };
            let i = InstanceStatus { state: "healthy".into(), link_up: true, readings, ..InstanceStatus::default() };
            s.instances.insert("bed-1".into(), i);
            s
        };
        let (first, second, other) = (look("a", S, 100), look("a", 3 * S, 125), look("b", 4 * S, 5));
        let text = page(&second, Some(&first), Paint::none()).join("\n");
        assert!(text.contains("readings/s") && text.contains(" 12.5 "), "{text}");
        assert!(line(&second, &first).contains("bed-1=healthy readings/s=12.5"));
        assert!(line(&other, &second).contains("readings/s=?"));
        let text = page(&other, Some(&second), Paint::none()).join("\n");
        assert!(text.contains("readings  ") && text.contains(" 5 "), "{text}");
    }

    #[test]
    fn counters_stay_short() {
        assert_eq!([0, 99_999, 100_000, 1_234_567, 99_900_000, u64::MAX].map(short), ["0", "99999", "100k", "1.2M", "100M", "18E"]);
    }
}
