//! Which servers are set aside because they do not answer, and when each is probed. Pure: the clock is an argument.
//!
//! A server that fails [`FAILURES_MAX`] times in a row is not asked any more, except for a probe. With n servers set aside each is
//! probed every [`PROBE_TIMEOUTS`] * n timeouts: all dead servers of a bus together take at most 1 / `PROBE_TIMEOUTS` of its time.
//! On a bus that serves one server only nobody else has to wait, and it is asked as ever.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// In a row, until a server is set aside.
pub(super) const FAILURES_MAX: u32 = 3; // a device that restarts misses one or two polls; each costs the others one timeout
/// Between two probes, in timeouts of the bus.
pub(super) const PROBE_TIMEOUTS: u32 = 20; // a twentieth of the bus; with a timeout of 1 s a device that is back is heard within 20 s

#[derive(Default)]
pub(super) struct Aside {
    servers: BTreeMap<u8, Server>,
}

#[derive(Default)]
struct Server {
    failures: u32,
    probe_at: Option<Instant>,
    /// An answer to what was asked before may still be under way.
    quiet_until: Option<Instant>,
}

impl Aside {
    /// False: it is not asked now, and whoever wanted it learns so at once.
    pub(super) fn may_ask(&mut self, server: u8, now: Instant) -> bool {
        self.servers.entry(server).or_default();
        self.servers.len() == 1 || self.servers[&server].probe_at.is_none_or(|at| now >= at)
    }

    /// It answered, be it with an exception or with nonsense: it is there. True when it was set aside.
    pub(super) fn answered(&mut self, server: u8) -> bool {
        let known = self.servers.entry(server).or_default();
        known.failures = 0;
        known.probe_at.take().is_some()
    }

    /// It did not answer. True when it is set aside from now on.
    pub(super) fn failed(&mut self, server: u8, now: Instant, timeout: Duration) -> bool {
        let already = self.servers.values().filter(|s| s.probe_at.is_some()).count() as u32;
        let known = self.servers.entry(server).or_default();
        known.failures = known.failures.saturating_add(1);
        if known.failures < FAILURES_MAX {
            return false;
        }
        let new = known.probe_at.is_none();
        known.probe_at = Some(now + timeout * PROBE_TIMEOUTS * (already + u32::from(new)));
        new
    }

    pub(super) fn list(&self) -> Vec<u8> {
        self.servers.iter().filter(|(_, s)| s.probe_at.is_some()).map(|(n, _)| *n).collect()
    }

    /// What it says until then answers what was asked before.
    pub(super) fn hush(&mut self, server: u8, until: Instant) {
        self.servers.entry(server).or_default().quiet_until = Some(until);
    }

    pub(super) fn is_hushed(&self, server: u8, now: Instant) -> bool {
        self.servers.get(&server).is_some_and(|s| s.quiet_until.is_some_and(|until| now < until))
    }

    /// When the next of them may be asked again.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.servers.values().filter_map(|s| s.quiet_until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    /// Eight servers asked in turn, some dead: what the dead ones take of the bus in the long run.
    fn share_of_the_dead(dead: &[u8]) -> f64 {
        let (mut aside, begin) = (Aside::default(), Instant::now());
        let (mut now, mut lost) = (begin, Duration::ZERO);
        while now < begin + TIMEOUT * 20_000 {
            for server in 1..=8 {
                if !aside.may_ask(server, now) {
                    continue;
                }
                if dead.contains(&server) {
                    now += TIMEOUT;
                    lost += TIMEOUT;
                    aside.failed(server, now, TIMEOUT);
                } else {
                    now += TIMEOUT / 50;
                    aside.answered(server);
                }
            }
        }
        lost.as_secs_f64() / (now - begin).as_secs_f64()
    }

    #[test]
    fn dead_servers_take_a_twentieth_of_the_bus_however_many_they_are() {
        for dead in [&[3][..], &[1, 2], &[1, 2, 3, 4, 5, 6, 7]] {
            let share = share_of_the_dead(dead);
            assert!(share > 0.01 && share <= 0.055, "{} dead take {share}", dead.len());
        }
    }

    #[test]
    fn a_few_failures_in_a_row_set_aside_and_one_answer_brings_back() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        assert!(aside.may_ask(1, now) && aside.may_ask(2, now));
        assert!(!aside.failed(1, now, TIMEOUT) && !aside.failed(1, now, TIMEOUT));
        assert!(!aside.answered(1), "it was not set aside yet");
        assert!(!aside.failed(1, now, TIMEOUT) && !aside.failed(1, now, TIMEOUT) && aside.failed(1, now, TIMEOUT));
        assert!(!aside.may_ask(1, now) && aside.may_ask(2, now));
        assert_eq!(aside.list(), [1]);
        let probe = now + TIMEOUT * PROBE_TIMEOUTS;
        assert!(!aside.may_ask(1, probe - TIMEOUT) && aside.may_ask(1, probe));
        assert!(!aside.failed(1, probe, TIMEOUT), "it was already");
        assert!(!aside.may_ask(1, probe));
        assert!(aside.answered(1) && aside.may_ask(1, probe));
    }

    #[test]
    fn alone_on_its_bus_a_server_is_asked_as_ever() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        for _ in 0..100 {
            assert!(aside.may_ask(1, now));
            aside.failed(1, now, TIMEOUT);
        }
    }
}
