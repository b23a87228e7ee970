//! Whether a bus can do what its instances declare: the worst cycle, from speed, lengths and times, before anything is asked. Pure.
//!
//! Members are served in turn, one transaction each. The worst case is that in each period every transaction of every instance wants
//! the bus at once; and that servers are dead and take one probe in [`PROBE_COSTS`] times what it costs. The sum of all transactions'
//! times over their periods is the bus's load: above [`LOAD_MAX`] queues grow without end. And while all servers answer no transaction
//! may wait for its turn longer than its own period, or it is skipped. A server that has just died costs one timeout for each instance that
//! asks it between two turns of another, three times over until it is set aside, and once with each probe: that may keep a transaction of a
//! server that lives waiting for [`DEAD_PERIODS_MAX`] of its periods, [`DEAD_MS_ALLOWED`] at least. How long it is when all others die at once is
//! stated, not refused: that is a fault of the line, and it is told as one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::aside::PROBE_COSTS;
use super::grant::BROADCAST;
use super::settings::{BusError, Protocol, Settings, TIMEOUT_MS_MIN, TURNAROUND};
use crate::config;

/// Of the bus's time; the rest is for what nobody declared: retries, commands, identification.
const LOAD_MAX: f64 = 0.9;
/// Of a transaction's periods, while a server that has just died is found to be dead.
const DEAD_PERIODS_MAX: u64 = 10; // as many as a person forgives a number on a screen
const DEAD_MS_ALLOWED: u64 = 5_000; // no device line is watched more closely than this; several times the timeout where nobody says otherwise

/// What one instance does again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub instance: String,
    /// The one that it asks, or where that is not known all that it may ask.
    pub servers: Vec<u8>,
    pub function: u8,
    /// Registers or coils.
    pub count: u16,
    pub period_ms: u64,
}

/// What a bus's declared transactions come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    pub transactions: usize,
    /// Part of the bus's time, the probes of dead servers included.
    pub load: f64,
    /// All transactions, one after the other.
    pub worst_us: u64,
    /// When a server has just died: a timeout comes on top, for each instance that asks it.
    pub worst_wait_us: u64,
    /// When all servers but one have.
    pub all_dead_wait_us: u64,
    /// Until a server begins to answer, as it was reckoned with.
    pub answer_ms: u64,
}

/// A bus that cannot do what is declared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("[bus.{bus}] cannot serve {members}: {why}")]
pub struct Overload {
    pub bus: String,
    /// Of the bus's table; empty: no one of them.
    pub key: &'static str,
    pub members: String,
    pub why: String,
    /// Each alone mends it, or helps.
    pub remedy: String,
}

/// Why a bus is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Overload(#[from] Overload),
}

/// What the transactions of all its instances make of the bus, or why that cannot be.
pub fn admit(name: &str, bus: &config::Bus, all: &[Transaction]) -> Result<Cycle, Refused> {
    let settings = Settings::read(name, bus)?;
    let timeout_us = settings.timeout.as_micros() as u64;
    let times: Vec<(u64, &Transaction)> = all.iter().map(|t| (settings.transaction_us(t), t)).collect();
    let overload = |key, members: String, why: String, remedy| Overload { bus: name.to_owned(), key, members, why, remedy };
    if let Some((_, t)) = times.iter().find(|(_, t)| settings.reply_us(t) >= timeout_us) {
        let why = format!(
            "a reply with {} of function {} takes {} ms and more, and timeout_ms is {}",
            t.count,
            t.function,
            settings.reply_us(t) / 1000,
            bus.timeout_ms
        );
        return Err(overload("timeout_ms", t.instance.clone(), why, "raise timeout_ms or baud, or ask for less at once".into()).into());
    }
    let worst_us = times.iter().map(|(us, _)| us).sum::<u64>();
    let declared: f64 = times.iter().map(|(us, t)| *us as f64 / (t.period_ms * 1000) as f64).sum();
    let askers = askers(all);
    let instances = all.iter().map(|t| &t.instance).collect::<BTreeSet<_>>().len() as u64;
    let silent_us = all.iter().map(|t| settings.silent_us(t)).max().unwrap_or(0);
    let most = askers.values().map(BTreeSet::len).max().unwrap_or(0) as u64;
    let cycle = Cycle {
        transactions: all.len(),
        load: declared + if all.is_empty() { 0.0 } else { 1.0 / f64::from(PROBE_COSTS) },
        worst_us,
        worst_wait_us: worst_us + most * silent_us,
        all_dead_wait_us: worst_us + instances * silent_us,
        answer_ms: bus.answer_ms,
    };
    if cycle.load > LOAD_MAX {
        let why = format!("together they need {:.0} % of its time, and {:.0} % is the most", cycle.load * 100.0, LOAD_MAX * 100.0);
        return Err(overload("", members(&times), why, settings.to_do_less(instances)).into());
    }
    let hurried = times.iter().map(|(_, t)| *t).filter(|t| t.period_ms * 1000 < cycle.worst_us).min_by_key(|t| t.period_ms);
    if let Some(t) = hurried {
        let why = format!(
            "{} asks every {} ms, and when all ask at once a turn comes after up to {} ms",
            t.instance,
            t.period_ms,
            cycle.worst_us.div_ceil(1000)
        );
        return Err(overload("", members(&times), why, settings.to_do_less(instances)).into());
    }
    // whoever asks another server too has to wait for a dead one
    for (server, whose) in &askers {
        let waits = all.iter().filter(|t| all.iter().any(|o| o.instance == t.instance && o.servers.iter().any(|s| s != server)));
        let Some(t) = waits.min_by_key(|t| t.period_ms) else { continue };
        let (askers, allowed_ms) = (whose.len() as u64, (t.period_ms * DEAD_PERIODS_MAX).max(DEAD_MS_ALLOWED));
        let wait_us = worst_us + askers * silent_us;
        if wait_us > allowed_ms * 1000 {
            let why = format!(
                "{} asks every {} ms, and a server {server} that has just died would keep it waiting for up to {} ms; {allowed_ms} is the most",
                t.instance,
                t.period_ms,
                wait_us.div_ceil(1000)
            );
            let left_us = (allowed_ms * 1000).saturating_sub(worst_us) / askers;
            let short_ms = left_us.saturating_sub(silent_us - timeout_us) / 1000;
            let longest_us = all.iter().map(|t| settings.reply_us(t)).max().unwrap_or(0);
            let shorter =
                (short_ms >= TIMEOUT_MS_MIN && short_ms * 1000 > longest_us).then(|| format!("set timeout_ms = {short_ms} or less"));
            let period_ms = wait_us.div_ceil(1000 * DEAD_PERIODS_MAX);
            let rarer = format!("let what is asked more often be asked every {period_ms} ms");
            let remedy = [shorter, Some(rarer)].into_iter().flatten().collect::<Vec<_>>().join(", or ");
            return Err(overload("timeout_ms", t.instance.clone(), why, remedy).into());
        }
    }
    Ok(cycle)
}

/// Of each server, the instances that ask it.
fn askers(all: &[Transaction]) -> BTreeMap<u8, BTreeSet<&str>> {
    let mut askers: BTreeMap<u8, BTreeSet<&str>> = BTreeMap::new();
    for (server, t) in all.iter().flat_map(|t| t.servers.iter().map(move |s| (*s, t))) {
        askers.entry(server).or_default().insert(&t.instance);
    }
    askers
}

/// The most hungry first, each with its part.
fn members(times: &[(u64, &Transaction)]) -> String {
    let mut parts: Vec<(&str, f64)> = Vec::new();
    for (us, t) in times {
        let part = *us as f64 / (t.period_ms * 1000) as f64;
        match parts.iter_mut().find(|(name, _)| *name == t.instance) {
            Some((_, sum)) => *sum += part,
            None => parts.push((&t.instance, part)),
        }
    }
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    parts.iter().map(|(name, part)| format!("{name} ({:.0} %)", part * 100.0)).collect::<Vec<_>>().join(", ")
}

impl Settings {
    /// From the first bit of the request until the next one may begin.
    fn transaction_us(&self, t: &Transaction) -> u64 {
        let request = self.line_us(self.protocol.frame_bytes(request_bytes(t)));
        let rest = (self.pause.max(self.gap)).as_micros() as u64;
        if self.protocol != Protocol::Tcp && t.servers == [BROADCAST] {
            return request + TURNAROUND.as_micros() as u64 + rest;
        }
        request + self.answer.as_micros() as u64 + self.reply_us(t) + rest
    }

    /// What it costs where no answer comes.
    fn silent_us(&self, t: &Transaction) -> u64 {
        let request = self.line_us(self.protocol.frame_bytes(request_bytes(t)));
        request + self.silence_us()
    }

    fn silence_us(&self) -> u64 {
        (self.timeout + self.drain() + self.pause).as_micros() as u64
    }

    /// As above, of a request that reads.
    pub(super) fn silent(&self) -> Duration {
        Duration::from_micros(self.line_us(self.protocol.frame_bytes(READ_BYTES)) + self.silence_us())
    }

    /// What helps a bus that has too much to do: only what does something on this one.
    fn to_do_less(&self, instances: u64) -> String {
        let on_a_line = self.protocol != Protocol::Tcp;
        let helps = [
            (true, "poll less often"),
            (on_a_line, "ask for less at once"),
            (on_a_line, "raise baud"),
            (self.pause > self.gap, "lower pause_ms"),
            (!self.answer.is_zero(), "lower answer_ms if its servers begin to answer sooner"),
            (instances > 1, "move an instance to another bus"),
        ];
        helps.iter().filter(|(does, _)| *does).map(|(_, what)| *what).collect::<Vec<_>>().join(", or ")
    }

    fn reply_us(&self, t: &Transaction) -> u64 {
        self.line_us(self.protocol.frame_bytes(reply_bytes(t)))
    }
}

const READ_BYTES: usize = 5; // function, address and count

/// Of a PDU. Functions that are not known take the longest.
fn request_bytes(t: &Transaction) -> usize {
    let n = usize::from(t.count);
    match t.function {
        1..=6 => READ_BYTES,
        15 => 6 + n.div_ceil(8),
        16 => 6 + 2 * n,
        22 => 7,
        43 => 4,
        _ => 253,
    }
}

fn reply_bytes(t: &Transaction) -> usize {
    let n = usize::from(t.count);
    match t.function {
        1 | 2 => 2 + n.div_ceil(8),
        3 | 4 => 2 + 2 * n,
        5 | 6 | 15 | 16 => 5,
        22 => 7,
        _ => 253,
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions, worst cycle {} ms where servers begin to answer within {} ms (answer_ms), at most {:.0} % of its time, \
             longest wait {} ms when a server has just died, {} ms when all others have",
            self.transactions,
            self.worst_us.div_ceil(1000),
            self.answer_ms,
            self.load * 100.0,
            self.worst_wait_us.div_ceil(1000),
            self.all_dead_wait_us.div_ceil(1000)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::bus;
    use super::*;

    fn reads(instance: &str, count: u16, period_ms: u64) -> Transaction {
        Transaction { instance: instance.into(), servers: vec![1], function: 3, count, period_ms }
    }

    fn line(baud: u32) -> config::Bus {
        config::Bus { baud, timeout_ms: 300, ..bus(None, Some("/dev/x")) }
    }

    fn refusal(bus: &config::Bus, all: &[Transaction]) -> String {
        match admit("plant", bus, all).unwrap_err() {
            Refused::Overload(o) => format!("{o}: {}", o.remedy),
            Refused::Bus(e) => e.to_string(),
        }
    }

    /// By hand: 8 bytes out and 5 + 2 * 10 back at 9600 8E1 (11 bits) are 9.17 ms and 28.65 ms, the server 20 ms, the silence 4.01 ms.
    #[test]
    fn the_cycle_is_what_one_reckons_by_hand() {
        let cycle = admit("plant", &line(9600), &[reads("ct", 10, 1000)]).unwrap();
        assert_eq!(cycle.worst_us, 9_167 + 28_646 + 20_000 + 4_011);
        assert!((cycle.load - (0.061_824 + 0.05)).abs() < 1e-6, "{}", cycle.load);
        assert_eq!(cycle.worst_wait_us, cycle.worst_us + 9_167 + 300_000 + 50_000, "with the silence that ends whatever is on the line");
        assert_eq!(admit("plant", &line(9600), &[]).unwrap().load, 0.0);
        let all = Transaction { servers: vec![0], function: 6, ..reads("ct", 0, 1000) };
        assert_eq!(admit("plant", &line(9600), &[all]).unwrap().worst_us, 9_167 + 200_000 + 4_011, "nobody answers a broadcast");
        let tcp = admit("plant", &bus(Some("h:1"), None), &[reads("ct", 125, 2000)]).unwrap();
        assert_eq!(tcp.worst_us, 20_000, "over TCP the line costs nothing");
    }

    //= PROMISES.md#P83
    #[test]
    fn a_bus_that_cannot_be_served_is_refused_with_the_instances_and_the_remedy() {
        let many: Vec<_> = (0..16).map(|n| reads(if n % 4 == 0 { "ct" } else { "mr" }, 60, 2000)).collect();
        let says = refusal(&line(9600), &many);
        assert!(
            says.contains("[bus.plant] cannot serve mr (")
                && says.contains("ct (")
                && says.contains("poll less often")
                && says.contains("raise baud"),
            "{says}"
        );
        assert!(admit("plant", &line(115_200), &many).is_ok(), "the remedy helps");
        let hurried = [reads("ct", 10, 100), reads("mr", 10, 5000)];
        let says = refusal(&line(9600), &hurried);
        assert!(says.contains("ct asks every 100 ms"), "{says}");
        let short = config::Bus { timeout_ms: 100, ..line(9600) };
        let says = refusal(&short, &[reads("ct", 125, 5000)]);
        assert!(says.contains("timeout_ms is 100") && says.contains("cannot serve ct"), "{says}");
        assert!(matches!(admit("plant", &config::Bus { baud: 1, ..line(9600) }, &[]), Err(Refused::Bus(_))));
    }

    #[test]
    fn how_soon_a_server_answers_is_the_sites_to_say() {
        let all: Vec<_> = (0..10).map(|_| reads("ct", 1, 250)).collect();
        let tcp = |answer_ms| config::Bus { answer_ms, ..bus(Some("h:1"), None) };
        let says = refusal(&tcp(25), &all);
        assert!(says.contains("lower answer_ms") && says.contains("poll less often"), "{says}");
        for idle in ["baud", "pause_ms", "timeout_ms", "another bus"] {
            assert!(!says.contains(idle), "{idle} would change nothing: {says}");
        }
        let cycle = admit("plant", &tcp(5), &all).expect("the remedy helps");
        assert_eq!(cycle.worst_us, 50_000);
        assert!(cycle.to_string().contains("within 5 ms (answer_ms)"), "{cycle}");
    }

    //= PROMISES.md#P83
    #[test]
    fn a_timeout_for_which_a_dead_server_starves_the_others_is_refused_and_each_remedy_works() {
        let all: Vec<_> = (1..=8).map(|n| Transaction { servers: vec![n], ..reads(&format!("unit-{n}"), 10, 1000) }).collect();
        let tcp = |timeout_ms| config::Bus { timeout_ms, ..bus(Some("h:1"), None) };
        let says = refusal(&tcp(60_000), &all);
        assert!(says.contains("cannot serve unit-") && says.contains("waiting for up to 60160 ms; 10000 is the most"), "{says}");
        assert!(says.ends_with("set timeout_ms = 9840 or less, or let what is asked more often be asked every 6016 ms"), "{says}");
        assert!(admit("plant", &tcp(9840), &all).is_ok() && admit("plant", &tcp(9841), &all).is_err());
        let rarer: Vec<_> = all.iter().map(|t| Transaction { period_ms: 6016, ..t.clone() }).collect();
        assert!(admit("plant", &tcp(60_000), &rarer).is_ok());
        let cycle = admit("plant", &tcp(1000), &all).unwrap();
        assert_eq!((cycle.worst_wait_us, cycle.all_dead_wait_us), (1_160_000, 8_160_000));
        // Several instances ask one server: each of them waits for it.
        let shared: Vec<_> = all.iter().map(|t| Transaction { servers: vec![1, 2], ..t.clone() }).collect();
        assert!(admit("plant", &tcp(1200), &shared).is_ok() && admit("plant", &tcp(1300), &shared).is_err());
        // Where there is one server nobody waits for it in vain.
        let alone: Vec<_> = all.iter().map(|t| Transaction { servers: vec![1], ..t.clone() }).collect();
        assert!(admit("plant", &tcp(60_000), &alone).is_ok());
    }

    #[test]
    fn longer_slower_and_more_often_never_cost_less() {
        let load = |baud, count, period_ms| {
            admit("plant", &config::Bus { timeout_ms: 60_000, ..line(baud) }, &[reads("ct", count, period_ms)]).unwrap().load
        };
        for count in 1..125 {
            assert!(load(9600, count, 80_000) < load(9600, count + 1, 80_000));
            assert!(load(19_200, count, 80_000) < load(9600, count, 80_000));
            assert!(load(9600, count, 80_000) < load(9600, count, 70_000));
        }
    }
}
