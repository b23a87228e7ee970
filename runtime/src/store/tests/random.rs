//! Thousands of random operations, kills and power cuts against a model that is a map.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::store::{Damage, StoreError, format};

const SEEDS: u64 = 20;
const OPERATIONS: u64 = 400;

/// What the store must hold.
#[derive(Default)]
struct Model {
    /// Committed and never acknowledged, or acknowledged and come back.
    held: BTreeMap<BatchKey, Vec<u8>>,
    /// Acknowledged and not recorded: a start finds them again.
    unrecorded: BTreeMap<BatchKey, Vec<u8>>,
    /// All that ever was acknowledged: what may come back after a deletion was undone or failed.
    gone: BTreeMap<BatchKey, Vec<u8>>,
    states: BTreeMap<String, Vec<u8>>,
    heads: Vec<(bool, Vec<u8>)>,
}

impl Model {
    fn committed(&mut self, group: &Group) {
        for record in &group.records {
            match record {
                Record::Batch { key, bytes, .. } => _ = self.held.insert(*key, bytes.clone()),
                Record::State { instance, bytes } => _ = self.states.insert(instance.clone(), bytes.clone()),
                Record::Heads { full, bytes } => {
                    if *full {
                        self.heads.clear();
                    }
                    self.heads.push((*full, bytes.clone()));
                }
                Record::Other { .. } => {}
            }
        }
        self.unrecorded.clear();
    }
}

struct World {
    t: Temp,
    dice: Dice,
    model: Model,
    store: Option<(Store, Shelf)>,
    life: u64,
    epoch: u32,
    next: BTreeMap<Class, u32>,
    marks: u32,
    /// A deletion failed or was undone: more may be found than is wanted.
    loose: bool,
    power_cuts: u32,
    /// Groups that a full disk did not take at once.
    refused: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let (t, dice) = (Temp::new(), Dice(seed * 0x9e37_79b9 + 1));
        let mut w = Self {
            t,
            dice,
            model: Model::default(),
            store: None,
            life: 0,
            epoch: 0,
            next: BTreeMap::new(),
            marks: 0,
            loose: false,
            power_cuts: 0,
            refused: 0,
        };
        w.start(None);
        w
    }

    fn group(&mut self) -> Group {
        let (store, _) = self.store.as_ref().expect("open");
        let full = store.wants_full_heads() || self.dice.one_in(8);
        let mut records = Vec::new();
        for _ in 0..self.dice.below(4) {
            let class = [Class::Alert, Class::Ledger, Class::Numeric, Class::Waveform][self.dice.below(4) as usize];
            let sequence = self.next.entry(class).or_default();
            let n = self.dice.below(700) as usize;
            records.push(batch(key(self.life, self.epoch, class, *sequence), &self.dice.bytes(n)));
            *sequence += 1;
        }
        if self.dice.one_in(4) {
            let (name, n) = (format!("bed-{}", self.dice.below(4)), self.dice.below(200) as usize);
            records.push(state(&name, &self.dice.bytes(n)));
        }
        self.marks += 1;
        records.push(heads(full, &self.marks.to_le_bytes()));
        group(records)
    }

    fn commit(&mut self) {
        let g = self.group();
        let (store, _) = self.store.as_mut().expect("open");
        let mut attempts = 1;
        if self.dice.one_in(12) {
            let failing = [&store.folder.faults.flushes, &store.folder.faults.writes][self.dice.below(2) as usize];
            attempts += self.dice.below(2) as u32 + 1;
            failing.store(attempts - 1, Relaxed);
            store.folder.faults.left_per_mille.store(self.dice.below(1001) as u32, Relaxed);
            if self.dice.one_in(2) {
                store.folder.faults.deletes.store(self.dice.below(3) as u32, Relaxed);
                self.loose = true;
            }
        }
        let mut done = Err(StoreError::Unfinished { group: 0 });
        for _ in 0..attempts {
            done = done.or_else(|_| store.commit(&g)); // one attempt may be two: the second into the reserve
        }
        for count in [&store.folder.faults.deletes, &store.folder.faults.flushes, &store.folder.faults.writes] {
            count.store(0, Relaxed);
        }
        if let Err(error) = done {
            assert!(store.folder.faults.taken.load(Relaxed) > 0 && matches!(error, StoreError::Full { .. }), "{error}");
            self.refused += 1;
            store.folder.faults.taken.store(0, Relaxed);
            store.commit(&g).expect("there is room again");
        }
        self.model.committed(&g);
        if self.dice.one_in(15) {
            self.epoch += 1;
            self.next.clear();
        }
    }

    /// Somebody else takes all of the disk, or gives it back.
    fn disk(&mut self) {
        let (store, _) = self.store.as_mut().expect("open");
        let taken = &store.folder.faults.taken;
        taken.store(if taken.load(Relaxed) == 0 { u64::MAX } else { 0 }, Relaxed);
        store.room();
    }

    fn acknowledge(&mut self) {
        let Some(&some) = self.model.held.keys().nth(self.dice.below(self.model.held.len().max(1) as u64) as usize) else { return };
        let BatchKey { life, epoch, class, .. } = some;
        let mut missing: Vec<(u32, u32)> = Vec::new();
        for _ in 0..self.dice.below(3) {
            let first = missing.last().map_or(0, |m| m.1 + 1) + self.dice.below(5) as u32;
            missing.push((first, first + self.dice.below(2) as u32));
        }
        let entry = match self.dice.below(10) {
            0 => AckEntry::Closed { life, epoch },
            1 => AckEntry::UpTo { life, epoch, class, high: some.sequence, digest: Digest([1; 16]), missing: vec![] },
            _ => AckEntry::UpTo { life, epoch, class, high: some.sequence, digest: digest_of(&self.model.held[&some]), missing },
        };
        let taken: Vec<BatchKey> = self
            .model
            .held
            .keys()
            .copied()
            .filter(|k| match &entry {
                AckEntry::Closed { .. } => (k.life, k.epoch) == (life, epoch),
                AckEntry::UpTo { digest: Digest([1, 1, ..]), .. } => false,
                AckEntry::UpTo { high, missing, .. } => {
                    (k.life, k.epoch, k.class) == (life, epoch, class)
                        && k.sequence <= *high
                        && !missing.iter().any(|m| (m.0..=m.1).contains(&k.sequence))
                }
                AckEntry::Other { .. } => false,
            })
            .collect();
        let (_, shelf) = self.store.as_ref().expect("open");
        assert_eq!(shelf.acknowledge(&entry), taken.len(), "{entry:?}");
        for k in taken {
            let bytes = self.model.held.remove(&k).expect("held");
            self.model.gone.insert(k, bytes.clone());
            self.model.unrecorded.insert(k, bytes);
        }
    }

    /// The process ends here. `power`: also what was not flushed is at the disk's mercy.
    fn crash(&mut self, power: bool) {
        let linked = self.t.0.join("linked");
        _ = fs::remove_dir_all(&linked);
        fs::create_dir(&linked).expect("made");
        for file in self.t.files() {
            fs::hard_link(&file, linked.join(file.file_name().expect("named"))).expect("linked");
        }
        let mut perhaps = None;
        let before: BTreeMap<PathBuf, u64> =
            self.t.files().into_iter().map(|f| (f.clone(), fs::metadata(&f).expect("there").len())).collect();
        if self.dice.one_in(2) {
            let g = self.group();
            let (store, _) = self.store.as_mut().expect("open");
            store.folder.faults.deletes.store(9, Relaxed);
            store.folder.faults.left_per_mille.store(1000, Relaxed);
            store.folder.faults.writes.store(2, Relaxed); // also the one into the reserve
            store.commit(&g).expect_err("ends in the middle");
            perhaps = Some(g);
        }
        self.store = None;
        if power {
            self.power_cuts += 1;
            for file in self.t.files() {
                self.spoil(&file, before.get(&file).copied().unwrap_or(0));
            }
        }
        if power && self.dice.one_in(3) {
            self.loose = true;
            for entry in fs::read_dir(&linked).expect("listed") {
                let entry = entry.expect("listed");
                _ = fs::hard_link(entry.path(), self.t.store().join(entry.file_name()));
            }
        }
        self.start(perhaps);
    }

    /// What lies behind `flushed` comes back cut, with holes of zeros, with bytes of another time, not at all, or whole.
    fn spoil(&mut self, file: &Path, flushed: u64) {
        let mut bytes = fs::read(file).expect("readable");
        let footer = bytes.last_chunk().and_then(|end| format::footer_offset(end, bytes.len() as u64));
        let flushed = footer.filter(|_| self.dice.one_in(3)).unwrap_or(flushed); // footers are not flushed either
        let (from, tail) = (flushed as usize, bytes.len() - flushed as usize);
        if tail == 0 {
            return;
        }
        let at = from + self.dice.below(tail as u64) as usize;
        match self.dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            // a header shares its block with the first group: it is never lost alone
            2 => bytes[from.max(format::HEADER_BYTES.min(at))..at].fill(0),
            3 => _ = bytes.splice(at.., self.dice.bytes(tail)),
            _ => {}
        }
        if from == 0 && self.dice.one_in(3) {
            fs::remove_file(file).expect("removed"); // the folder was not flushed either
        } else {
            fs::write(file, bytes).expect("written");
        }
    }

    fn start(&mut self, perhaps: Option<Group>) {
        let (store, shelf, found) = self.t.open();
        for torn in &found.torn {
            assert!(matches!(torn.damage, Damage::Tail | Damage::Footer), "{torn:?}");
        }
        if let Some(g) = perhaps.filter(|_| found.heads.last().is_some_and(|(_, mark)| *mark == self.marks.to_le_bytes())) {
            self.model.committed(&g);
        }
        assert_eq!(found.heads, self.model.heads);
        assert_eq!(found.states, self.model.states);
        self.model.held.append(&mut self.model.unrecorded);
        let here: BTreeSet<BatchKey> = keys(&shelf).into_iter().collect();
        for k in &here {
            if self.loose
                && let Some(bytes) = self.model.gone.get(k)
            {
                self.model.held.insert(*k, bytes.clone());
            }
        }
        if self.loose {
            // an acknowledgement that was in a group called back by the disk may hold or not
            let gone = &self.model.gone;
            self.model.held.retain(|k, _| here.contains(k) || !gone.contains_key(k));
        }
        self.store = Some((store, shelf));
        self.life = self.dice.next();
        (self.epoch, self.next) = (0, BTreeMap::new());
        self.check();
    }

    fn check(&self) {
        let (store, shelf) = self.store.as_ref().expect("open");
        assert_eq!(read_all(shelf).into_iter().collect::<BTreeMap<_, _>>(), self.model.held);
        assert_eq!(shelf.waiting().0 as usize, self.model.held.len());
        let older = self.model.held.keys().any(|k| k.life != self.life || k.epoch < self.epoch);
        assert_eq!(shelf.holds_older_than(self.life, self.epoch), older);
        assert_eq!(store.has_news(), !self.model.unrecorded.is_empty());
        for k in self.model.gone.keys().filter(|k| !self.model.held.contains_key(k)).take(3) {
            assert!(shelf.read(k).expect("no error").is_none());
        }
        let on_disk: u64 = self.t.files().iter().map(|f| fs::metadata(f).expect("there").len().next_multiple_of(4096)).sum();
        assert_eq!(store.figures().bytes_on_disk, on_disk);
    }
}

fn run(seed: u64) -> (u32, usize, u32) {
    let mut w = World::new(seed);
    for _ in 0..OPERATIONS {
        match w.dice.below(100) {
            0..52 => w.commit(),
            52..55 => w.disk(),
            55..85 => w.acknowledge(),
            85..92 => w.check(),
            92..95 => w.crash(false),
            95..98 => w.crash(true),
            _ => {
                w.store = None;
                w.start(None);
            }
        }
    }
    // and at the end everything drains, and all but the newest goes
    let epochs: BTreeSet<(u64, u32)> = w.model.held.keys().map(|k| (k.life, k.epoch)).collect();
    let (store, shelf) = w.store.as_mut().expect("open");
    store.folder.faults.taken.store(0, Relaxed);
    for (life, epoch) in epochs {
        shelf.acknowledge(&AckEntry::Closed { life, epoch });
    }
    for n in 0..2_u8 {
        while store.wants_full_heads() == (n == 0) {
            let full = store.wants_full_heads();
            store.commit(&group([heads(full, &[n; 600])])).expect("committed");
        }
    }
    store.commit(&group([heads(true, b"end")])).expect("committed");
    let files = w.t.files().len();
    assert!(files <= 2, "{files} files hold nothing");
    w.store = None;
    let (_, shelf, found) = w.t.open();
    assert_eq!(found.states, w.model.states);
    assert_eq!(found.heads, [(true, b"end".to_vec())]);
    assert!(w.loose || keys(&shelf).is_empty());
    (w.power_cuts, w.model.gone.len(), w.refused)
}

//= PROMISES.md#P10
#[test]
fn agrees_with_a_plain_map_through_kills_and_power_cuts() {
    let (mut cuts, mut acknowledged, mut refused) = (0, 0, 0);
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let (c, a, r) = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        (cuts, acknowledged, refused) = (cuts + c, acknowledged + a, refused + r);
    }
    println!(
        "{SEEDS} seeds of {OPERATIONS} operations: {cuts} power cuts, {refused} groups refused by a full disk, {acknowledged} batches acknowledged"
    );
    assert!(cuts > 50 && acknowledged > 1000 && refused > 50, "the driver does too little");
}
