//! What the broker counted and saw.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::Seen;
use super::counted::Counts;

/// Names that are remembered; a name beyond it is counted under "others".
const CLIENTS_MAX: usize = 1024;

/// Bytes are what passed on the TCP connections, TLS and handshakes included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientStats {
    pub connects: u64,
    /// Connections whose TLS handshake was a resumed one.
    pub resumed: u64,
    pub bytes_from: u64,
    pub bytes_to: u64,
    /// PUBLISHes from this client, and their payload.
    pub published: u64,
    pub payload_bytes: u64,
    /// Names of topics in them; none where a number stood for it.
    pub topic_bytes: u64,
    /// Deliveries that its publishes led to, and those that found a full queue.
    pub delivered: u64,
    pub lost_full: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    pub clients: BTreeMap<String, ClientStats>,
}

impl Stats {
    /// Zeros for a name that never connected.
    pub fn client(&self, name: &str) -> ClientStats {
        self.clients.get(name).cloned().unwrap_or_default()
    }
}

#[derive(Default)]
struct Record {
    /// Of connections that ended, and the counters that are not bytes.
    stats: ClientStats,
    open: Vec<Arc<Counts>>,
}

pub(super) struct Ledger {
    records: Mutex<BTreeMap<String, Record>>,
    journal: Mutex<VecDeque<(String, Seen)>>,
    journal_entries: usize,
}

impl Ledger {
    pub fn new(journal_entries: usize) -> Self {
        Self { records: Mutex::default(), journal: Mutex::default(), journal_entries }
    }

    pub fn opened(&self, client: &str, counts: &Arc<Counts>, resumed: bool) {
        self.record(client, |record| {
            record.stats.connects += 1;
            record.stats.resumed += u64::from(resumed);
            record.open.push(counts.clone());
        });
    }

    pub fn closed(&self, client: &str, counts: &Arc<Counts>) {
        self.record(client, |record| {
            record.open.retain(|open| !Arc::ptr_eq(open, counts));
            record.stats.bytes_from += counts.from.load(Ordering::Relaxed);
            record.stats.bytes_to += counts.to.load(Ordering::Relaxed);
        });
    }

    pub fn count(&self, client: &str, change: impl FnOnce(&mut ClientStats)) {
        self.record(client, |record| change(&mut record.stats));
    }

    fn record(&self, client: &str, change: impl FnOnce(&mut Record)) {
        let mut records = self.records.lock().expect("no holder panics");
        let name = if records.len() < CLIENTS_MAX || records.contains_key(client) { client } else { "others" };
        change(records.entry(name.to_owned()).or_default());
    }

    pub fn stats(&self) -> Stats {
        let records = self.records.lock().expect("no holder panics");
        let total = |record: &Record| {
            let mut stats = record.stats.clone();
            for open in &record.open {
                stats.bytes_from += open.from.load(Ordering::Relaxed);
                stats.bytes_to += open.to.load(Ordering::Relaxed);
            }
            stats
        };
        Stats { clients: records.iter().map(|(name, record)| (name.clone(), total(record))).collect() }
    }

    pub fn note(&self, client: &str, seen: Seen) {
        if self.journal_entries == 0 {
            return;
        }
        let mut journal = self.journal.lock().expect("no holder panics");
        if journal.len() >= self.journal_entries {
            journal.pop_front();
        }
        journal.push_back((client.to_owned(), seen));
    }

    pub fn seen(&self) -> Vec<(String, Seen)> {
        self.journal.lock().expect("no holder panics").iter().cloned().collect()
    }
}
