//! What lies where in one segment: gathered group by group, or read from the footer, which says the same.

use std::collections::BTreeMap;

use wardgate_wire::bytes::{Reader, Writer};
use wardgate_wire::{BatchKey, Class, Digest, Epoch, Life, Sequence, WireError};

use super::format;
use super::ranges::Ranges;

/// One sequence of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    pub life: Life,
    pub epoch: Epoch,
    pub class: Class,
}

impl Chain {
    pub fn of(key: &BatchKey) -> Self {
        Self { life: key.life, epoch: key.epoch, class: key.class }
    }

    pub fn write(&self, w: &mut Writer) {
        w.fixed64(self.life);
        w.varint(u64::from(self.epoch));
        w.u8(self.class.code());
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (life, epoch) = (r.fixed64()?, r.number()?);
        let class = Class::from_code(r.u8()?).ok_or(WireError::Range("a class"))?;
        Ok(Self { life, epoch, class })
    }
}

/// A record's payload in its file, and what it must hash to: rot is noticed at every single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub offset: u64,
    pub length: u32,
    pub digest: Digest,
}

impl Piece {
    pub fn is(&self, payload: &[u8]) -> bool {
        format::digest(&[payload]) == self.digest
    }

    fn write(&self, w: &mut Writer) {
        w.varint(self.offset);
        w.varint(u64::from(self.length));
        w.raw(&self.digest.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self { offset: r.varint()?, length: r.number()?, digest: Digest(r.array()?) })
    }
}

/// The batches of one chain in this segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelved {
    /// Number of the first group that holds one.
    pub first_group: u64,
    /// By sequence.
    pub batches: Vec<(Sequence, Piece)>,
}

impl Shelved {
    fn put(&mut self, sequence: Sequence, piece: Piece) {
        let at = self.batches.partition_point(|&(s, _)| s < sequence);
        match self.batches.get_mut(at) {
            Some(there) if there.0 == sequence => there.1 = piece,
            _ => self.batches.insert(at, (sequence, piece)),
        }
    }

    pub fn find(&self, sequence: Sequence) -> Option<Piece> {
        self.batches.binary_search_by_key(&sequence, |&(s, _)| s).ok().map(|at| self.batches[at].1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    /// By it a difference that was found twice counts once.
    pub group: u64,
    pub full: bool,
    pub piece: Piece,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub first_group: u64,
    /// Numbers follow one another without a hole.
    pub groups: u64,
    pub chains: BTreeMap<Chain, Shelved>,
    /// The newest of each instance in this segment.
    pub states: BTreeMap<String, Piece>,
    /// From the newest full ones in this segment on.
    pub heads: Vec<Heads>,
    pub acknowledged: BTreeMap<Chain, Ranges>,
    /// Kinds that this version does not know.
    pub others: Vec<(u64, Piece)>,
}

impl Contents {
    pub fn last_group(&self) -> Option<u64> {
        (self.groups > 0).then(|| self.first_group + self.groups - 1)
    }

    pub fn has_full_heads(&self) -> bool {
        self.heads.first().is_some_and(|h| h.full)
    }

    pub fn find(&self, key: &BatchKey) -> Option<Piece> {
        self.chains.get(&Chain::of(key))?.find(key.sequence)
    }

    /// Lines that a footer takes.
    pub fn entries(&self) -> u64 {
        let batches: usize = self.chains.values().map(|s| s.batches.len() + 1).sum();
        let acknowledged: usize = self.acknowledged.values().map(|r| r.parts().len() + 1).sum();
        (batches + acknowledged + self.states.len() + self.heads.len() + self.others.len()) as u64
    }

    /// Every piece lies between these offsets of the file, and the groups have numbers: a footer that says otherwise is damaged, whatever
    /// its digest says.
    pub fn lies_within(&self, from: u64, to: u64) -> bool {
        let batches = self.chains.values().flat_map(|s| s.batches.iter().map(|(_, piece)| piece));
        let rest = self.states.values().chain(self.heads.iter().map(|h| &h.piece)).chain(self.others.iter().map(|(_, piece)| piece));
        let within = |p: &Piece| p.offset >= from && p.offset.checked_add(p.length.into()).is_some_and(|end| end <= to);
        self.first_group.checked_add(self.groups).is_some() && batches.chain(rest).all(within)
    }

    /// Every place lies this much further on.
    pub fn shift(&mut self, by: u64) {
        let batches = self.chains.values_mut().flat_map(|s| s.batches.iter_mut().map(|(_, piece)| piece));
        let rest = self.states.values_mut().chain(self.heads.iter_mut().map(|h| &mut h.piece));
        batches.chain(rest).chain(self.others.iter_mut().map(|(_, piece)| piece)).for_each(|piece| piece.offset += by);
    }

    /// A group that follows what is here.
    pub fn begin_group(&mut self, number: u64) {
        if self.groups == 0 {
            self.first_group = number;
        }
        self.groups += 1;
    }

    /// One record of the group begun last. A known kind that cannot be read is of a later version, and kept like an unknown one.
    pub fn add(&mut self, kind: u64, payload: &[u8], piece: Piece) {
        if self.try_add(kind, payload, piece).is_err() {
            self.others.push((kind, piece));
        }
    }

    fn try_add(&mut self, kind: u64, payload: &[u8], piece: Piece) -> Result<(), WireError> {
        let mut r = Reader::new(payload, "a record");
        match kind {
            format::KIND_BATCH => {
                let (key, _) = format::read_batch_head(&mut r)?;
                let first_group = self.first_group + self.groups - 1;
                let shelved = self.chains.entry(Chain::of(&key)).or_insert(Shelved { first_group, batches: Vec::new() });
                shelved.put(key.sequence, piece);
            }
            format::KIND_STATE => _ = self.states.insert(r.text()?, piece),
            format::KIND_HEADS => {
                let full = match r.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(WireError::Range("heads")),
                };
                if full {
                    self.heads.clear();
                }
                let group = self.first_group + self.groups - 1;
                self.heads.push(Heads { group, full, piece });
            }
            format::KIND_ACKNOWLEDGED => {
                for (chain, ranges) in format::read_acknowledged(r)? {
                    self.acknowledged.entry(chain).or_default().insert_all(&ranges);
                }
            }
            _ => return Err(WireError::Range("a kind")),
        }
        Ok(())
    }

    /// What comes after this in the same segment.
    pub fn append(&mut self, later: Self) {
        if self.groups == 0 {
            self.first_group = later.first_group;
        }
        self.groups += later.groups;
        if later.has_full_heads() {
            self.heads.clear();
        }
        for (chain, more) in later.chains {
            let here = self.chains.entry(chain).or_insert(Shelved { first_group: more.first_group, batches: Vec::new() });
            more.batches.into_iter().for_each(|(sequence, piece)| here.put(sequence, piece));
        }
        self.states.extend(later.states);
        self.heads.extend(later.heads);
        for (chain, ranges) in later.acknowledged {
            self.acknowledged.entry(chain).or_default().insert_all(&ranges);
        }
        self.others.extend(later.others);
    }

    pub fn write(&self, w: &mut Writer) {
        w.varint(self.first_group);
        w.varint(self.groups);
        w.varint(self.chains.len() as u64);
        for (chain, shelved) in &self.chains {
            chain.write(w);
            w.varint(shelved.first_group);
            w.varint(shelved.batches.len() as u64);
            for (sequence, piece) in &shelved.batches {
                w.varint(u64::from(*sequence));
                piece.write(w);
            }
        }
        w.varint(self.states.len() as u64);
        for (instance, piece) in &self.states {
            w.text(instance);
            piece.write(w);
        }
        w.varint(self.heads.len() as u64);
        for Heads { group, full, piece } in &self.heads {
            w.varint(*group);
            w.u8(u8::from(*full));
            piece.write(w);
        }
        format::write_acknowledged(w, &self.acknowledged);
        w.varint(self.others.len() as u64);
        for (kind, piece) in &self.others {
            w.varint(*kind);
            piece.write(w);
        }
    }

    pub fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        const PIECE_BYTES_MIN: usize = 18;
        let mut c = Self { first_group: r.varint()?, groups: r.varint()?, ..Self::default() };
        for _ in 0..r.count(12)? {
            let (chain, first_group) = (Chain::read(r)?, r.varint()?);
            let n = r.count(1 + PIECE_BYTES_MIN)?;
            let mut shelved = Shelved { first_group, batches: Vec::with_capacity(n) };
            for _ in 0..n {
                shelved.put(r.number()?, Piece::read(r)?);
            }
            c.chains.insert(chain, shelved);
        }
        for _ in 0..r.count(1 + PIECE_BYTES_MIN)? {
            c.states.insert(r.text()?, Piece::read(r)?);
        }
        for _ in 0..r.count(2 + PIECE_BYTES_MIN)? {
            c.heads.push(Heads { group: r.varint()?, full: r.u8()? != 0, piece: Piece::read(r)? });
        }
        c.acknowledged = format::read_acknowledged_list(r)?;
        for _ in 0..r.count(1 + PIECE_BYTES_MIN)? {
            c.others.push((r.varint()?, Piece::read(r)?));
        }
        Ok(c)
    }
}
