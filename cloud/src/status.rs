//! What a receiver says about itself, as JSON for machines; `--status-file` gets it every second.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::derive::lines::Tally;
use crate::intake::{Link, Refused};
use crate::keeper::Keeper;
use crate::time::{Now, rfc3339};
use crate::walk::Counts;

#[derive(Serialize)]
pub struct Status<'a> {
    /// Of this status.
    time: String,
    connected: bool,
    /// Why nothing is stored or written at present.
    trouble: Option<&'a str>,
    /// When this receiver wrote down the first value since it began.
    first_reading: Option<FirstReading>,
    /// Gaps that nothing explains, of all gateways; the promise is zero.
    unexplained: u64,
    /// Bytes of the raw log that are no whole record, as found at start.
    damaged_bytes: u64,
    /// By sender, gateways without a key among them.
    refused: BTreeMap<&'a str, Refused>,
    /// Acknowledgements that could not be handed to the network; their batches come again.
    answers_dropped: u64,
    gateways: BTreeMap<&'a str, OfGateway>,
}

#[derive(Serialize)]
struct FirstReading {
    wall_ns: i64,
    /// CLOCK_BOOTTIME.
    monotonic_ns: u64,
}

#[derive(Serialize)]
struct OfGateway {
    /// Since this receiver began; everything else is of the whole log.
    link: Link,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    tally: Tally,
    /// Batches and gaps that wait for a description or a clock record.
    waiting: usize,
    lives: usize,
    epochs_open: usize,
    epochs_closed: u64,
    /// Batches remembered one by one.
    remembered: usize,
    forks: usize,
    /// Stretches in store-lost.jsonl.
    store_lost: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Around {
    pub connected: bool,
    pub trouble: Option<String>,
    pub answers_dropped: u64,
}

pub fn status<'a>(keeper: &'a Keeper, around: &'a Around, now: Now) -> Status<'a> {
    let walk = &keeper.walk;
    let mut gateways: BTreeMap<&str, OfGateway> = BTreeMap::new();
    for id in keeper.intake.keys().keys().chain(walk.counts.keys()) {
        let sum = walk.ledger.gateway(id).map(|g| g.summary()).unwrap_or_default();
        let of = OfGateway {
            link: keeper.intake.link.get(id).copied().unwrap_or_default(),
            counts: walk.counts.get(id).copied().unwrap_or_default(),
            tally: walk.deriver.tally(id),
            waiting: walk.deriver.waiting(id),
            lives: sum.lives,
            epochs_open: sum.epochs_open,
            epochs_closed: sum.epochs_closed,
            remembered: sum.batches,
            forks: sum.forks,
            store_lost: keeper.lost(id),
        };
        gateways.insert(id.as_str(), of);
    }
    Status {
        time: rfc3339(now.wall_ns),
        connected: around.connected,
        trouble: around.trouble.as_deref(),
        first_reading: keeper.first_reading.map(|n| FirstReading { wall_ns: n.wall_ns, monotonic_ns: n.monotonic_ns }),
        unexplained: gateways.values().map(|g| g.tally.unexplained).sum(),
        damaged_bytes: keeper.damage.iter().map(|d| d.bytes).sum(),
        refused: keeper.intake.refused(),
        answers_dropped: around.answers_dropped,
        gateways,
    }
}
