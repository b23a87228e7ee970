//! The bonds of this gateway: which of them count, and that none is made but by a person's `wardgate ble pair`.

use std::time::Duration;

use tokio::time::Instant;

use super::super::bluez::{Bluez, BluezError, PAIRABLE_S_MAX};
use super::super::settings::Settings;
use super::super::tree::Device;
use super::{RETRY_MS, Radio};
use crate::config::Pairing;

/// Why a peripheral that must be bonded is not spoken to.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Unbonded {
    #[error("{address} is not bonded with this gateway, which its grant asks for: `wardgate ble pair {address}`")]
    Not { address: String },
    #[error(
        "{address} is bonded with this machine, and not by `wardgate ble pair` with this adapter, so nobody knows how. {}",
        anew(address)
    )]
    Unknown { address: String },
    #[error("{address} is bonded by {}, {}. {}", by.name(), too_weak(*by, *least), anew(address))]
    Weak { address: String, by: Pairing, least: Pairing },
    #[error("how {address} was bonded cannot be read from bonds.json in the state folder: {why}. Take that file away. {}", anew(address))]
    Unread { address: String, why: String },
}

fn too_weak(by: Pairing, least: Pairing) -> String {
    match (by, least) {
        (Pairing::JustWorks, Pairing::None) => "which counts only with [ble] pairing = \"just-works\"".to_owned(), // "more" than none is everything
        _ => format!("and [ble] pairing = \"{}\" asks for more", least.name()),
    }
}

fn anew(address: &str) -> String {
    format!("`wardgate ble forget {address}`, let the peripheral forget it too, then `wardgate ble pair {address}`")
}

/// Whether peripherals may make bonds with this machine, as it was seen.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// It was shut since the adapter came: whoever opened it after that is pairing.
    was_shut: bool,
    open_since: Option<Instant>,
}

impl Radio {
    /// By this gateway's own `wardgate ble pair`, and no weaker than the site asks.
    pub(in super::super) fn is_bonded(&self, device: &Device) -> Result<(), Unbonded> {
        let Settings { bonds, pairing, .. } = &self.0.settings;
        let address = device.address.clone();
        if !device.bonded {
            return Err(Unbonded::Not { address });
        }
        let (adapter, alone) = self.look(|tree| (tree.address_of(&device.adapter), tree.bonded_by(&address).len() == 1));
        match bonds.settled(&adapter, &address, alone) {
            Ok(Some(by)) if pairing.counts(by) => Ok(()),
            Ok(Some(by)) => Err(Unbonded::Weak { address, by, least: *pairing }),
            Ok(None) => Err(Unbonded::Unknown { address }),
            Err(why) => Err(Unbonded::Unread { address, why: why.to_string() }),
        }
    }

    /// Before the adapter is used at all.
    pub(super) async fn shut_first(&self, bluez: &Bluez, adapter: &str) -> Result<(), BluezError> {
        let open = {
            let state = self.lock();
            let pairable = state.adapter_now(self.0.settings.adapter.as_deref()).is_some_and(|(_, a)| a.pairable);
            state.adapter.is_none() && pairable
        };
        if open { bluez.let_pair(adapter, false).await } else { Ok(()) }
    }

    /// Outside of `wardgate ble pair` nothing makes a bond, not even an encrypted characteristic that is read. How long until it is to be looked
    /// at again.
    pub(super) async fn shut(&self, bluez: &Bluez, adapter: &str) -> Option<Duration> {
        let left = {
            let mut state = self.lock();
            let pairable = state.adapter_now(self.0.settings.adapter.as_deref()).is_some_and(|(_, a)| a.pairable);
            let door = &mut state.door;
            if !pairable {
                *door = Door { was_shut: true, open_since: None };
                return None;
            }
            let since = *door.open_since.get_or_insert_with(Instant::now);
            let most = Duration::from_secs(if door.was_shut { PAIRABLE_S_MAX.into() } else { 0 });
            most.saturating_sub(since.elapsed())
        };
        if !left.is_zero() {
            return Some(left);
        }
        match bluez.let_pair(adapter, false).await {
            Ok(()) => None,
            Err(why) => {
                tracing::debug!(%why, "letting nobody pair");
                Some(Duration::from_millis(RETRY_MS))
            }
        }
    }
}
