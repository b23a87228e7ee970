//! Which servers are set aside because they do not answer, for whom, and when each is probed. Pure: the clock is an argument.
//!
//! It is counted by instance: what one asks in vain, be it a register that the device leaves unanswered, says nothing of what another asks.
//! A server that is silent for an instance [`SILENT_MAX`] times in a row, or whose answers are damaged [`DAMAGED_MAX`] times in a row, is not asked
//! by it any more, except for a probe. Instances share the probes evenly, and each shares its own among its servers: with n instances
//! that wait for a probe, k servers of one are each probed every [`PROBE_COSTS`] * n * k times what a request costs that nobody answers (its
//! own time on the line, the timeout, the silence after it). All probes of a bus together take at most 1 / `PROBE_COSTS` of its time, however many
//! instances ask however many dead servers; to find that a server is dead costs [`SILENT_MAX`] such requests for each instance that
//! asks it. Where nothing on the bus answers nobody else has to wait, and all is asked as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// In a row, until a server is set aside.
pub(super) const SILENT_MAX: u32 = 3; // a device that restarts misses one or two polls; each costs the others one timeout
/// As above, of answers that are damaged: it is there, and a bad contact comes and goes. One that never says a whole answer is set aside too.
pub(super) const DAMAGED_MAX: u32 = 10;
/// Between two probes, in what one costs.
pub(super) const PROBE_COSTS: u32 = 20; // a twentieth of the bus; with a timeout of 1 s a device that is back is heard within some 20 s

/// What there was in the place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Silent,
    Damaged,
}

#[derive(Default)]
pub(super) struct Aside {
    pairs: BTreeMap<(Arc<str>, u8), Pair>,
    /// An answer to what was asked before may still be under way, until then: whoever asked.
    quiet_until: BTreeMap<u8, Instant>,
}

/// One instance and one server that it asks.
#[derive(Default)]
struct Pair {
    /// In a row.
    silent: u32,
    /// Since its last whole answer.
    damaged: u32,
    /// Of one that is set aside.
    probe_at: Option<Instant>,
    /// The server answers somebody again: its next probe is made now, in the place of that at `probe_at`.
    early: bool,
    /// Its newest probe was an early one: the next is made when it is due.
    was_early: bool,
}

impl Aside {
    /// False: it is not asked now, and whoever wanted it learns so at once.
    pub(super) fn may_ask(&mut self, instance: &Arc<str>, server: u8, now: Instant) -> bool {
        let pair = self.pairs.entry((instance.clone(), server)).or_default();
        let asked = pair.early || pair.probe_at.is_none_or(|at| now >= at);
        asked || self.pairs.values().all(|p| p.probe_at.is_some())
    }

    /// It answered, be it with an exception: it is there. True when it was set aside. Those who wait for their probe of it need
    /// not wait for long, unless they have had one early already.
    pub(super) fn answered(&mut self, instance: &Arc<str>, server: u8) -> bool {
        let before = self.pairs.insert((instance.clone(), server), Pair::default());
        let was_aside = before.is_some_and(|p| p.probe_at.is_some());
        if was_aside {
            let others = self.pairs.iter_mut().filter(|((_, s), pair)| *s == server && pair.probe_at.is_some());
            others.for_each(|(_, pair)| pair.early = !pair.was_early);
        }
        was_aside
    }

    /// It did not answer, or not with a whole answer; that cost so much. True when it is set aside from now on.
    pub(super) fn failed(&mut self, instance: &Arc<str>, server: u8, lack: Lack, now: Instant, cost: Duration) -> bool {
        let pair = self.pairs.entry((instance.clone(), server)).or_default();
        match lack {
            Lack::Silent => pair.silent = pair.silent.saturating_add(1),
            // it is there: what is counted as silence begins anew
            Lack::Damaged => (pair.silent, pair.damaged) = (0, pair.damaged.saturating_add(1)),
        }
        if pair.silent < SILENT_MAX && pair.damaged < DAMAGED_MAX && pair.probe_at.is_none() {
            return false;
        }
        let before = pair.probe_at.replace(now);
        pair.was_early = std::mem::take(&mut pair.early);
        let since = if pair.was_early { before.unwrap_or(now).max(now) } else { now };
        let next = since + self.between(instance, cost);
        self.pairs.get_mut(&(instance.clone(), server)).expect("just made").probe_at = Some(next);
        before.is_none()
    }

    /// From one probe that an instance makes of a server to the next.
    pub(super) fn between(&self, instance: &Arc<str>, cost: Duration) -> Duration {
        let waiting = || self.pairs.iter().filter(|(_, p)| p.probe_at.is_some()).map(|((i, _), _)| i);
        let instances = waiting().collect::<BTreeSet<_>>().len() as u32;
        let servers = waiting().filter(|i| *i == instance).count() as u32;
        cost * PROBE_COSTS * instances.max(1) * servers.max(1)
    }

    /// Who has gone waits for nothing.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.pairs.retain(|(instance, _), _| is_there(instance));
    }

    /// The servers that are set aside; and of those that still answer others, for whom.
    pub(super) fn list(&self) -> BTreeMap<u8, Vec<String>> {
        let mut list: BTreeMap<u8, Vec<String>> = BTreeMap::new();
        for ((instance, server), _) in self.pairs.iter().filter(|(_, p)| p.probe_at.is_some()) {
            list.entry(*server).or_default().push(instance.to_string());
        }
        for (server, whom) in &mut list {
            if self.pairs.keys().filter(|(_, s)| s == server).count() == whom.len() {
                whom.clear();
            }
        }
        list
    }

    /// What it says until then answers what was asked before.
    pub(super) fn hush(&mut self, server: u8, until: Instant) {
        self.quiet_until.insert(server, until);
    }

    pub(super) fn is_hushed(&self, server: u8, now: Instant) -> bool {
        self.quiet_until.get(&server).is_some_and(|until| now < *until)
    }

    /// When the next of them may be asked again.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        self.quiet_until.values().copied().filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(100);

    const SETTLED: Duration = Duration::from_secs(50); // all that are dead are known by then
    const WATCHED: Duration = Duration::from_secs(400);

    /// Instances in turn, each asking its next server; some do not answer it. What those take of the bus in the long run.
    fn share_of_the_dead(instances: u32, dead: impl Fn(u32, u8) -> bool) -> f64 {
        let names: Vec<Arc<str>> = (0..instances).map(|i| i.to_string().into()).collect();
        let (mut aside, begin) = (Aside::default(), Instant::now());
        let (mut now, mut lost) = (begin, Duration::ZERO);
        while now < begin + SETTLED + WATCHED {
            for server in 1..=8 {
                for (i, name) in (0..).zip(&names) {
                    if !aside.may_ask(name, server, now) {
                        continue;
                    }
                    if dead(i, server) {
                        now += TIMEOUT;
                        lost += if now < begin + SETTLED { Duration::ZERO } else { TIMEOUT };
                        aside.failed(name, server, Lack::Silent, now, TIMEOUT);
                    } else {
                        now += TIMEOUT / 50;
                        aside.answered(name, server);
                    }
                }
            }
        }
        lost.as_secs_f64() / (now - begin - SETTLED).as_secs_f64()
    }

    fn fail(aside: &mut Aside, instance: &Arc<str>, server: u8, now: Instant) {
        for _ in 0..SILENT_MAX {
            aside.failed(instance, server, Lack::Silent, now, TIMEOUT);
        }
    }

    #[test]
    fn dead_servers_take_a_twentieth_of_the_bus_however_many_they_are_and_whoever_asks_them() {
        for dead in [&[3][..], &[1, 2], &[1, 2, 3, 4, 5, 6, 7]] {
            for instances in [1, 4] {
                let share = share_of_the_dead(instances, |_, server| dead.contains(&server));
                assert!(share > 0.01 && share <= 0.06, "{} dead take {share} with {instances} instances", dead.len());
            }
        }
        let one = share_of_the_dead(4, |instance, _| instance == 0);
        assert!(one <= 0.055, "one instance asks all servers in vain: {one}");
    }

    #[test]
    fn a_few_failures_in_a_row_set_aside_and_one_answer_brings_back() {
        let (mut aside, now, me) = (Aside::default(), Instant::now(), Arc::from("me"));
        let failed = |aside: &mut Aside| aside.failed(&me, 1, Lack::Silent, now, TIMEOUT);
        assert!(aside.may_ask(&me, 1, now) && aside.may_ask(&me, 2, now));
        assert!(!failed(&mut aside) && !failed(&mut aside));
        assert!(!aside.answered(&me, 1), "it was not set aside yet");
        assert!(!failed(&mut aside) && !failed(&mut aside) && failed(&mut aside));
        assert!(!aside.may_ask(&me, 1, now) && aside.may_ask(&me, 2, now));
        assert_eq!(aside.list(), [(1, vec![])].into());
        let probe = now + TIMEOUT * PROBE_COSTS;
        assert!(!aside.may_ask(&me, 1, probe - TIMEOUT) && aside.may_ask(&me, 1, probe));
        assert!(!aside.failed(&me, 1, Lack::Silent, probe, TIMEOUT), "it was already");
        assert!(!aside.may_ask(&me, 1, probe));
        assert!(aside.answered(&me, 1) && aside.may_ask(&me, 1, probe));
    }

    #[test]
    fn damaged_answers_set_aside_later_than_silence_and_begin_its_count_anew() {
        let (mut aside, now, me) = (Aside::default(), Instant::now(), Arc::from("me"));
        let mut failed = |lack| aside.failed(&me, 1, lack, now, TIMEOUT);
        let heard = [Lack::Damaged, Lack::Silent, Lack::Silent, Lack::Damaged, Lack::Silent, Lack::Silent];
        assert!(!heard.into_iter().any(&mut failed), "never three times silent in a row");
        let more = DAMAGED_MAX - 2;
        assert_eq!((1..=more).find(|_| failed(Lack::Damaged)), Some(more));
        aside.answered(&me, 1);
        assert!(!(1..DAMAGED_MAX).any(|_| aside.failed(&me, 1, Lack::Damaged, now, TIMEOUT)), "a whole answer forgets them");
    }

    //= PROMISES.md#P238
    #[test]
    fn what_one_instance_asks_in_vain_is_set_aside_for_it_alone() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let (good, evil): (Arc<str>, Arc<str>) = ("good".into(), "evil".into());
        assert!(aside.may_ask(&good, 1, now));
        for server in 1..=20 {
            for _ in 0..100 {
                aside.failed(&evil, server, Lack::Silent, now, TIMEOUT);
            }
        }
        assert!(aside.may_ask(&good, 1, now) && !aside.may_ask(&evil, 1, now));
        assert_eq!(aside.list()[&1], ["evil"]);
        // Of the probes it gets half, with however many servers.
        fail(&mut aside, &good, 2, now);
        aside.answered(&good, 1);
        assert_eq!(aside.between(&good, TIMEOUT), TIMEOUT * PROBE_COSTS * 2);
        aside.keep(|instance| instance != "evil");
        assert_eq!(aside.between(&good, TIMEOUT), TIMEOUT * PROBE_COSTS);
    }

    #[test]
    fn a_server_that_is_back_for_one_is_probed_early_by_the_others_and_no_more_often() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        aside.answered(&c, 2);
        for who in [&a, &b] {
            fail(&mut aside, who, 1, now);
        }
        assert!(!aside.may_ask(&b, 1, now));
        assert!(aside.answered(&a, 1) && aside.may_ask(&b, 1, now), "it is back");
        aside.failed(&b, 1, Lack::Silent, now, TIMEOUT); // not for this one
        fail(&mut aside, &a, 1, now);
        assert!(aside.answered(&a, 1));
        assert!(!aside.may_ask(&b, 1, now), "it had its probe");
    }

    #[test]
    fn where_nothing_answers_all_is_asked_as_ever() {
        let (mut aside, now) = (Aside::default(), Instant::now());
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        for _ in 0..100 {
            assert!(aside.may_ask(&a, 1, now) && aside.may_ask(&b, 2, now));
            aside.failed(&a, 1, Lack::Silent, now, TIMEOUT);
            aside.failed(&b, 2, Lack::Silent, now, TIMEOUT);
        }
        aside.answered(&b, 2);
        assert!(!aside.may_ask(&a, 1, now), "now somebody would wait");
    }
}
