//! What a broker can do wrong, on demand. All off at the start; each may be changed while it runs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::watch;

#[derive(Debug)]
pub struct Faults {
    /// Every n-th PUBACK is not sent; 0: all are.
    pub drop_puback_every: AtomicU32,
    /// Every n-th PUBLISH of QoS 1 is acknowledged and given to nobody; 0: none.
    pub lose_every: AtomicU32,
    /// Connections are closed right after CONNACK.
    pub drop_after_connack: AtomicBool,
    frozen: watch::Sender<bool>,
    suback_held: watch::Sender<bool>,
    /// Changes when a client is to be cut; its name, or all.
    cut: watch::Sender<Option<String>>,
    pubacks: AtomicU32,
    publishes: AtomicU32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            drop_puback_every: AtomicU32::new(0),
            lose_every: AtomicU32::new(0),
            drop_after_connack: AtomicBool::new(false),
            frozen: watch::channel(false).0,
            suback_held: watch::channel(false).0,
            cut: watch::channel(None).0,
            pubacks: AtomicU32::new(0),
            publishes: AtomicU32::new(0),
        }
    }
}

impl Faults {
    /// While frozen, nothing is read from any client, and so nothing answered.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    /// While held, subscriptions take effect and SUBACKs wait.
    pub fn hold_suback(&self, held: bool) {
        self.suback_held.send_replace(held);
    }

    /// Cuts the connection of this client without a word.
    pub fn cut(&self, client: &str) {
        self.cut.send_replace(Some(client.to_owned()));
    }

    pub(super) async fn thawed(&self) {
        wait_for(&self.frozen, |frozen| !frozen).await;
    }

    pub(super) async fn suback_free(&self) {
        wait_for(&self.suback_held, |held| !held).await;
    }

    pub(super) fn watch_cuts(&self) -> watch::Receiver<Option<String>> {
        self.cut.subscribe()
    }

    pub(super) fn drops_puback(&self) -> bool {
        every(&self.pubacks, &self.drop_puback_every)
    }

    pub(super) fn loses(&self) -> bool {
        every(&self.publishes, &self.lose_every)
    }
}

fn every(count: &AtomicU32, nth: &AtomicU32) -> bool {
    let nth = nth.load(Ordering::Relaxed);
    nth > 0 && (count.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(nth)
}

async fn wait_for(state: &watch::Sender<bool>, wanted: impl Fn(bool) -> bool) {
    let _ = state.subscribe().wait_for(|now| wanted(*now)).await;
}
