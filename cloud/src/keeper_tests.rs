//! The receiver against gateways that crash, links that lose and repeat, and its own kills: every value once, or in one gap.

use std::collections::BTreeMap;
use std::path::Path;

use crate::decode::decode;
use crate::derive::lines::Lines;
use crate::intake::{Incoming, Intake};
use crate::keeper::Keeper;
use crate::testing::Folder;
use crate::testing::gateway::{Gateway, Random, WALL_NS};
use crate::testing::scene::{Account, check, files};
use crate::time::Now;
use wardgate_wire::split;

struct World {
    random: Random,
    gateways: Vec<Gateway>,
    /// None while the receiver is down.
    keeper: Option<Keeper>,
    now_ns: i64,
    /// One message in so many is lost.
    loss: u64,
    kills: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let gateways = (0..1 + random.below(2)).map(|n| Gateway::new(&format!("ward-{n}"), seed * 7 + n)).collect();
        let loss = [1000, 8, 3][random.below(3) as usize];
        Self { random, gateways, keeper: None, now_ns: 0, loss, kills: 0 }
    }

    fn now(&self) -> Now {
        Now { wall_ns: WALL_NS + self.now_ns, monotonic_ns: self.now_ns as u64 }
    }

    fn open(&mut self, dir: &Path) {
        let keys = self.gateways.iter().map(|g| (g.id.clone(), g.key.clone())).collect();
        self.keeper = Some(Keeper::open(dir, Intake::new(keys, "wardgate/1"), i64::MAX, self.now()).expect("opens after any end"));
    }

    fn gateway_step(&mut self, n: usize) {
        let (r, g) = (&mut self.random, &mut self.gateways[n]);
        g.now_ns = g.now_ns.max(self.now_ns);
        for _ in 0..r.below(12) {
            let stream = [0, 1, 1, 1, 1, 2][r.below(6) as usize];
            let full = stream < 2 && r.one_in(9);
            g.emit(stream, !full);
        }
        match r.below(30) {
            0 => g.trap(r.below(3) as usize),
            1 => g.clock(),
            2 => g.crash(false),
            3 => g.crash(true),
            4..=7 => g.commit(true),
            _ => g.commit(false),
        }
    }

    /// Some of what is held, in any order, some of it twice, some of it lost, whole or in parts.
    fn network(&mut self, lossless: bool) -> Vec<Incoming> {
        let mut messages = Vec::new();
        for g in &self.gateways {
            let (r, mut some) = (&mut self.random, Vec::new());
            for ((_, key), (_, bytes)) in &g.held {
                if !lossless && (r.one_in(2) || some.len() >= 60) {
                    continue;
                }
                let times = if !lossless && r.one_in(6) { 2 } else { 1 };
                let size = if r.one_in(5) { 200 } else { 1 << 20 };
                for _ in 0..times {
                    some.extend(split(bytes, size, &g.key).expect("splits").into_iter().map(|m| (key.class, m)));
                }
            }
            for (class, payload) in some {
                if lossless || !r.one_in(self.loss) {
                    let topic = format!("wardgate/1/{}/up/{class}", g.id);
                    messages.push(Incoming { topic, payload, received_ns: WALL_NS + self.now_ns });
                }
            }
        }
        for i in (1..messages.len()).rev() {
            messages.swap(i, self.random.below(i as u64 + 1) as usize);
        }
        messages
    }

    /// One group, with a kill at any step of it.
    fn receive(&mut self, dir: &Path, messages: Vec<Incoming>, kill: Option<u64>) {
        if self.keeper.is_none() {
            self.open(dir);
        }
        let mut keeper = self.keeper.take().expect("just opened");
        let mut group = keeper.admit(messages);
        if kill == Some(0) {
            return self.kills += 1;
        }
        keeper.store(&mut group).expect("the disk is well");
        if kill == Some(1) {
            return self.kills += 1;
        }
        for (id, answer) in keeper.answers(&group) {
            if !self.random.one_in(self.loss) {
                let g = self.gateways.iter_mut().find(|g| g.id == id).expect("known");
                g.acknowledge(&answer);
            }
        }
        if kill == Some(2) {
            return self.kills += 1;
        }
        let lines = keeper.derive(group).expect("derives");
        if kill == Some(3) {
            // some files have all, one has a part of its line, the rest have nothing
            let mut half: Lines = lines.into_iter().take(1 + self.random.below(3) as usize).collect();
            if let Some(mut last) = half.last_entry() {
                let length = last.get().len();
                last.get_mut().truncate(length / 2);
            }
            keeper.write(&half, self.now()).expect("the disk is well");
            return self.kills += 1;
        }
        keeper.write(&lines, self.now()).expect("the disk is well");
        if let Some(lines) = keeper.pass(self.now()).expect("the disk is well") {
            keeper.write(&lines, self.now()).expect("the disk is well");
        }
        keeper.checkpoint(self.now(), self.random.one_in(10)).expect("the disk is well");
        if kill == Some(4) {
            return self.kills += 1;
        }
        self.keeper = Some(keeper);
    }

    fn run(&mut self, dir: &Path) {
        for _ in 0..120 {
            self.now_ns += 200_000_000;
            (0..self.gateways.len()).for_each(|n| self.gateway_step(n));
            if !self.random.one_in(3) {
                let messages = self.network(false);
                let kill = self.random.one_in(12).then(|| self.random.below(5));
                self.receive(dir, messages, kill);
            }
        }
        for rotate in [true, false, true, false] {
            for g in &mut self.gateways {
                g.now_ns = g.now_ns.max(self.now_ns);
                g.clock();
                (0..3).for_each(|s| g.emit(s, true));
                g.commit(rotate);
            }
            for _ in 0..40 {
                self.now_ns += 500_000_000;
                let messages = self.network(true);
                if messages.is_empty() {
                    break;
                }
                self.loss = u64::MAX;
                self.receive(dir, messages, None);
            }
        }
        self.now_ns += 60_000_000_000;
        self.receive(dir, Vec::new(), None);
    }
}

#[test]
fn a_checkpoint_vouches_for_what_is_written_and_for_nothing_else() {
    let dir = Folder::new("vouch");
    let mut w = World::new(1);
    w.gateways.truncate(1);
    let g = &mut w.gateways[0];
    g.clock();
    let journal = || std::fs::read_to_string(dir.join("raw/derived.json")).unwrap();
    g.emit(0, true);
    g.commit(false);
    let messages = w.network(true);
    w.receive(&dir, messages, None);
    let (mut keeper, now) = (w.keeper.take().unwrap(), w.now());
    keeper.checkpoint(now, true).unwrap();
    let written = journal();
    assert!(written.contains(r#""segment":1,"#) && !written.contains(r#""offset":0,"#) && written.contains(r#""lengths":{}"#), "{written}");
    w.gateways[0].emit(0, true);
    w.gateways[0].commit(false);
    let messages = w.network(true);
    let mut group = keeper.admit(messages);
    keeper.store(&mut group).unwrap();
    keeper.derive(group).unwrap(); // and then the disk refuses, and it is ended
    keeper.checkpoint(now, true).unwrap();
    assert_eq!(journal(), written);
    drop(keeper);
    w.open(&dir);
    assert_eq!(check(&dir, &w.gateways[0]).delivered, 2);
}

fn world(seed: u64) -> (BTreeMap<&'static str, u64>, Account) {
    let dir = Folder::new("world");
    let mut w = World::new(seed);
    w.run(&dir);
    let mut total = Account::default();
    let mut counts = BTreeMap::from([("kills", w.kills)]);
    for g in &w.gateways {
        assert!(g.held.is_empty(), "seed {seed}: does not drain: {:?}", g.held.keys().next());
        let account = check(&dir, g);
        assert_eq!(account.missing, 0, "seed {seed}: {account:?}");
        let keeper = w.keeper.as_ref().expect("up at the end");
        let (seen, sum) = (keeper.walk.counts[&g.id], keeper.walk.ledger.gateway(&g.id).expect("known").summary());
        assert_eq!((seen.conflicts, seen.contradictions, seen.undecodable, seen.unjudged), (0, 0, 0, 0), "seed {seed}: {seen:?}");
        assert_eq!((sum.forks, sum.owed), (0, 0), "seed {seed}: {sum:?}");
        assert_eq!(sum.epochs_open, sum.lives, "seed {seed}: of each life only the last epoch stays: {sum:?}");
        assert_eq!(keeper.walk.deriver.waiting(&g.id), 0, "seed {seed}");
        assert_eq!(keeper.walk.deriver.tally(&g.id).unexplained, 0, "seed {seed}");
        total.delivered += account.delivered;
        total.in_gaps += account.in_gaps;
        total.crashed += account.crashed;
        total.without_time += account.without_time;
        *counts.entry("lives").or_default() += sum.lives as u64;
        *counts.entry("epochs closed").or_default() += sum.epochs_closed;
        *counts.entry("repeats").or_default() += seen.repeats;
    }
    let again = Folder::new("again");
    decode(&dir.join("raw"), &again).expect("decodes");
    assert!(files(&dir) == files(&again), "seed {seed}: rebuilt from the log, it is another");
    (counts, total)
}

#[test]
fn every_value_once_or_in_one_gap_whatever_crashes() {
    let (mut counts, mut total) = (BTreeMap::<&str, u64>::new(), Account::default());
    for seed in 0..24 {
        let (more, account) = world(seed);
        more.into_iter().for_each(|(k, n)| *counts.entry(k).or_default() += n);
        total.delivered += account.delivered;
        total.in_gaps += account.in_gaps;
        total.crashed += account.crashed;
        total.without_time += account.without_time;
    }
    println!("{counts:?} {total:?}");
    // a world in which nothing happens proves nothing
    assert!(counts["kills"] > 100 && counts["lives"] > 200 && counts["epochs closed"] > 300 && counts["repeats"] > 200, "{counts:?}");
    assert!(total.delivered > 10_000 && total.in_gaps > 1_000 && total.crashed > 500 && total.without_time > 50, "{total:?}");
}
