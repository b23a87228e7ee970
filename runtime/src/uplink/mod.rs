//! Room 5, disk to cloud: publishes what the store holds over MQTT 5 and TLS, and forgets only what the receiver itself acknowledged.
//!
//! - `session` is one connection; this file makes them, one after the other, with full-jitter waits in between.
//! - `lanes` picks the next batch, `window` bounds what is on its way, `topics` is as small as it sounds: all three are pure.
//! - `pipe` is the only file that moves rumqttc; `error` says in plain words what went wrong.
//!
//! The store is the only queue. PUBACK frees nothing; a batch goes again on every new connection, and on the same one when the receiver stays
//! silent, until `shelf.acknowledge` has taken it away. The receiver drops repeats by the batch's identity.

mod beside;
mod context;
mod error;
mod lanes;
mod pipe;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod topics;
mod window;

use std::pin::pin;

use tokio::sync::watch;
use tokio::{select, time};
use tracing::debug;
use wardgate_wire::{Epoch, GatewayId, Key, Life};

pub use error::UplinkError;
pub use pipe::ACK_BYTES_MAX;

use crate::backoff::{self, Jitter};
use crate::config;
use crate::status::Status;
use crate::store::Shelf;
use context::Context;
use session::Session;
use settings::Settings;

/// What the corridor gives. The files that `config` names have been read: nothing here touches the disk but the shelf.
pub struct Setup<'a> {
    pub config: &'a config::Uplink,
    pub ca_pem: &'a [u8],
    pub password: Option<&'a [u8]>,
    pub gateway: GatewayId,
    pub key: Key,
    pub shelf: Shelf,
    /// Changes after each commit.
    pub news: watch::Receiver<u64>,
    /// The epoch that is live.
    pub present: watch::Receiver<(Life, Epoch)>,
    /// True while batches can flow: subscribed, and not yet ended.
    pub link: watch::Sender<bool>,
    /// Random, from the corridor: spreads the reconnects of a ward.
    pub seed: u64,
    pub status: Status,
}

pub struct Uplink {
    context: Context,
    news: watch::Receiver<u64>,
    present: watch::Receiver<(Life, Epoch)>,
    link: watch::Sender<bool>,
    jitter: Jitter,
}

/// Whether settings and secrets can work at all; no broker is asked.
pub fn check(config: &config::Uplink, ca_pem: &[u8], password: Option<&[u8]>, gateway: &GatewayId) -> Result<(), UplinkError> {
    Settings::new(config, ca_pem, password, gateway.as_str()).map(drop)
}

impl Uplink {
    /// Fails on settings that can never work. What the broker does wrong is found later, said in status, and tried again.
    pub fn new(setup: Setup<'_>) -> Result<Self, UplinkError> {
        let settings = Settings::new(setup.config, setup.ca_pem, setup.password, setup.gateway.as_str())?;
        setup.status.uplink(|s| s.broker.clone_from(&settings.peer.broker));
        Ok(Self {
            context: Context::new(settings, setup.gateway, setup.key, setup.shelf, setup.status),
            news: setup.news,
            present: setup.present,
            link: setup.link,
            jitter: Jitter::new(setup.seed),
        })
    }

    /// Until `stop`: what is in flight then is given a short time, and the broker is told goodbye.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut attempt: u32 = 0;
        loop {
            let session = Session::new(&mut self.context, &mut self.news, &mut self.present, &self.link);
            let end = session.run(stop.as_mut()).await;
            self.link.send_replace(false);
            self.context.status.uplink(|s| s.connected = false);
            let Some(error) = end.error else { return };
            self.context.report(&error);
            if end.worthwhile {
                attempt = 0;
            }
            let wait = backoff::delay(attempt, self.jitter.next(), self.context.settings.backoff);
            attempt = attempt.saturating_add(1);
            debug!(attempt, wait_ms = wait.as_millis() as u64, "the next connection waits");
            select! {
                () = time::sleep(wait) => {}
                () = stop.as_mut() => return,
            }
        }
    }
}
