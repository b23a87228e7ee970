//! What an instance asks of its bus: as somebody declares it, and as a trial has seen it; the greater of both is reckoned with. Pure.

use crate::config::Transaction;

/// Periods are seen to the millisecond.
const NEAR_PERCENT: u64 = 2;
/// What is asked less often is no polling: an identification at the start, for one.
const SELDOM_MS: u64 = 60_000; // so long a trial watches

/// Of one instance.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// In its grant, or else in its manifest.
    pub declared: Vec<Transaction>,
    /// With its settings, in the sandbox.
    pub seen: Vec<Transaction>,
}

impl Wants {
    /// What is declared, and whatever was seen beyond it.
    pub fn all(&self) -> Vec<Transaction> {
        let (mut all, beyond) = self.matched();
        all.extend(beyond.into_iter().cloned());
        all
    }

    /// Where a declaration says less than what is seen: in words.
    pub fn understated(&self) -> Option<String> {
        let (_, beyond) = self.matched();
        let beyond: Vec<_> = beyond.into_iter().filter(|t| t.period_ms < SELDOM_MS).collect();
        if self.declared.is_empty() || beyond.is_empty() {
            return None;
        }
        let first = beyond[0];
        let one = format!("{} of function {} every {} ms", first.count, first.function, first.period_ms);
        let rest = if beyond.len() > 1 { format!(" and {} more", beyond.len() - 1) } else { String::new() };
        Some(format!("it is seen to ask for more than its transactions declare: {one}{rest}; that is reckoned with too"))
    }

    /// Each that is declared, with the server at which it was seen; and those seen that no declared one covers.
    fn matched(&self) -> (Vec<Transaction>, Vec<&Transaction>) {
        let (mut declared, mut free) = (self.declared.clone(), vec![true; self.declared.len()]);
        let mut beyond = Vec::new();
        for seen in &self.seen {
            let covers = |d: &Transaction| {
                d.function == seen.function && d.count >= seen.count && d.period_ms * 100 <= seen.period_ms * (100 + NEAR_PERCENT)
            };
            match (0..declared.len()).find(|n| free[*n] && covers(&declared[*n])) {
                Some(n) => (free[n], declared[n].server) = (false, seen.server),
                None => beyond.push(seen),
            }
        }
        // one that was declared too small is not there twice
        for (n, _) in free.iter().enumerate().filter(|(_, free)| **free).rev() {
            if beyond
                .iter()
                .any(|b| b.function == declared[n].function && b.count >= declared[n].count && b.period_ms <= declared[n].period_ms)
            {
                declared.remove(n);
            }
        }
        (declared, beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(count: u64, period_ms: u64) -> Transaction {
        Transaction { function: 3, count, period_ms, server: None }
    }

    fn at(server: u8, t: Transaction) -> Transaction {
        Transaction { server: Some(server), ..t }
    }

    #[test]
    fn the_greater_of_what_is_declared_and_what_is_seen_counts() {
        let wants = |declared: &[Transaction], seen: &[Transaction]| Wants { declared: declared.to_vec(), seen: seen.to_vec() };
        let seen = [at(1, reads(12, 1000)), at(2, reads(12, 1000))];
        let nothing = wants(&[], &seen);
        assert_eq!((nothing.all(), nothing.understated()), (seen.to_vec(), None));
        let right = wants(&[reads(12, 1000), reads(20, 990)], &seen);
        assert_eq!(right.all(), [at(1, reads(12, 1000)), at(2, reads(20, 990))]);
        assert_eq!(right.understated(), None);
        // fewer, shorter or rarer
        for less in [&[reads(12, 1000)][..], &[reads(12, 1000), reads(3, 1000)], &[reads(12, 1000), reads(12, 60_000)]] {
            let wants = wants(less, &seen);
            assert_eq!(wants.all(), seen, "{less:?}");
            assert!(wants.understated().is_some_and(|says| says.contains("12 of function 3 every 1000 ms")), "{less:?}");
        }
        let more = wants(&[reads(125, 100)], &[at(1, reads(1, 100))]);
        assert_eq!((more.all(), more.understated()), (vec![at(1, reads(125, 100))], None));
        let once = wants(&[reads(12, 1000)], &[at(1, reads(12, 1000)), at(1, Transaction { function: 43, ..reads(0, 60_000) })]);
        assert_eq!((once.all().len(), once.understated()), (2, None), "asked once is no polling");
    }
}
