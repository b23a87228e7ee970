//! Deterministic random numbers for tests.

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 to below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A few bytes changed, put in or taken out.
pub fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(mutant.len());
        match random.below(3) {
            0 => mutant[at] = random.next() as u8,
            1 => mutant.insert(at, random.next() as u8),
            _ if mutant.len() > 1 => {
                mutant.remove(at);
            }
            _ => {}
        }
    }
    mutant
}
