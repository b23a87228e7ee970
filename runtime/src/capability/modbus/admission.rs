//! Whether a bus can do what its instances declare: the worst cycle, from speed, lengths and times, before anything is asked. Pure.
//!
//! Members are served in turn, one transaction each. The worst case is that in each period every transaction of every instance wants
//! the bus at once; and that one server is dead and takes one timeout every [`PROBE_TIMEOUTS`] timeouts. The sum of all transactions'
//! times over their periods is the bus's load: above [`LOAD_MAX`] queues grow without end. And while all servers answer no transaction
//! may wait for its turn longer than its own period, or it is skipped. How long one waits when a server has just died is stated, not
//! refused: that is a fault, and it is told as one.

use std::fmt;

use super::aside::PROBE_TIMEOUTS;
use super::settings::{BusError, Settings};
use crate::config;

/// Of the bus's time; the rest is for what nobody declared: retries, commands, identification.
const LOAD_MAX: f64 = 0.9;
/// Until a server begins to answer, where nobody says otherwise.
const SERVER_MS: u64 = 20; // slow controllers answer within their own scan, 10 to 20 ms

/// What one instance does again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub instance: String,
    pub function: u8,
    /// Registers or coils.
    pub count: u16,
    pub period_ms: u64,
}

/// What a bus's declared transactions come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    pub transactions: usize,
    /// Part of the bus's time, a dead server's probes included.
    pub load: f64,
    /// All transactions, one after the other.
    pub worst_us: u64,
    /// When a server has just died: its timeout comes on top.
    pub worst_wait_us: u64,
}

/// A bus that cannot do what is declared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("[bus.{bus}] cannot serve {members}: {why}. {remedy}")]
pub struct Overload {
    pub bus: String,
    pub members: String,
    pub why: String,
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
    let overload = |members: String, why: String, remedy: &str| Overload { bus: name.to_owned(), members, why, remedy: remedy.to_owned() };
    if let Some((_, t)) = times.iter().find(|(_, t)| settings.reply_us(t) >= timeout_us) {
        let why = format!(
            "a reply with {} of function {} takes {} ms and more, and timeout_ms is {}",
            t.count,
            t.function,
            settings.reply_us(t) / 1000,
            bus.timeout_ms
        );
        return Err(overload(t.instance.clone(), why, "Raise timeout_ms or baud, or ask for less at once").into());
    }
    let worst_us = times.iter().map(|(us, _)| us).sum::<u64>();
    let declared: f64 = times.iter().map(|(us, t)| *us as f64 / (t.period_ms * 1000) as f64).sum();
    let cycle = Cycle {
        transactions: all.len(),
        load: declared + if all.is_empty() { 0.0 } else { 1.0 / f64::from(PROBE_TIMEOUTS) },
        worst_us,
        worst_wait_us: worst_us + if all.is_empty() { 0 } else { timeout_us },
    };
    const REMEDY: &str = "Poll less often, ask for less, raise baud, lower timeout_ms or pause_ms, or move an instance to another bus";
    if cycle.load > LOAD_MAX {
        let why = format!("together they need {:.0} % of its time, and {:.0} % is the most", cycle.load * 100.0, LOAD_MAX * 100.0);
        return Err(overload(members(&times), why, REMEDY).into());
    }
    let hurried = times.iter().map(|(_, t)| *t).filter(|t| t.period_ms * 1000 < cycle.worst_us).min_by_key(|t| t.period_ms);
    if let Some(t) = hurried {
        let why = format!(
            "{} asks every {} ms, and when all ask at once a turn comes after up to {} ms",
            t.instance,
            t.period_ms,
            cycle.worst_us.div_ceil(1000)
        );
        return Err(overload(members(&times), why, REMEDY).into());
    }
    Ok(cycle)
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
        request + SERVER_MS * 1000 + self.reply_us(t) + rest
    }

    fn reply_us(&self, t: &Transaction) -> u64 {
        self.line_us(self.protocol.frame_bytes(reply_bytes(t)))
    }
}

/// Of a PDU. Functions that are not known take the longest.
fn request_bytes(t: &Transaction) -> usize {
    let n = usize::from(t.count);
    match t.function {
        1..=6 => 5,
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
            "{} declared transactions, worst cycle {} ms, at most {:.0} % of its time, longest wait {} ms, when a server has just died",
            self.transactions,
            self.worst_us.div_ceil(1000),
            self.load * 100.0,
            self.worst_wait_us.div_ceil(1000)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::bus;
    use super::*;

    fn reads(instance: &str, count: u16, period_ms: u64) -> Transaction {
        Transaction { instance: instance.into(), function: 3, count, period_ms }
    }

    fn line(baud: u32) -> config::Bus {
        config::Bus { baud, timeout_ms: 300, ..bus(None, Some("/dev/x")) }
    }

    fn refusal(bus: &config::Bus, all: &[Transaction]) -> String {
        admit("plant", bus, all).unwrap_err().to_string()
    }

    /// By hand: 8 bytes out and 5 + 2 * 10 back at 9600 8E1 (11 bits) are 9.17 ms and 28.65 ms, the server 20 ms, the silence 4.01 ms.
    #[test]
    fn the_cycle_is_what_one_reckons_by_hand() {
        let cycle = admit("plant", &line(9600), &[reads("ct", 10, 1000)]).unwrap();
        assert_eq!(cycle.worst_us, 9_167 + 28_646 + 20_000 + 4_011);
        assert!((cycle.load - (0.061_824 + 0.05)).abs() < 1e-6, "{}", cycle.load);
        assert_eq!(cycle.worst_wait_us, cycle.worst_us + 300_000);
        assert_eq!(admit("plant", &line(9600), &[]).unwrap().load, 0.0);
        let tcp = admit("plant", &bus(Some("h:1"), None), &[reads("ct", 125, 2000)]).unwrap();
        assert_eq!(tcp.worst_us, 20_000, "over TCP the line costs nothing");
    }

    //= PROMISES.md#P83
    #[test]
    fn a_bus_that_cannot_be_served_is_refused_with_the_instances_and_the_remedy() {
        let many: Vec<_> = (0..16).map(|n| reads(if n % 4 == 0 { "ct" } else { "mr" }, 60, 2000)).collect();
        let says = refusal(&line(9600), &many);
        assert!(says.contains("[bus.plant] cannot serve mr (") && says.contains("ct (") && says.contains("Poll less often"), "{says}");
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
