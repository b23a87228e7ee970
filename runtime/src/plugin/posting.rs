//! Who is to run, with what, and what its `open` is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::channels::Left;
use super::instance::Prepared;
use super::kept::Kept;
use crate::contract::lifecycle::Opening;
use crate::contract::types::Fact;

/// Who is to run, and with what.
pub struct Posting {
    pub instance: Arc<str>,
    pub plugin: Arc<Prepared>,
    pub settings: BTreeMap<String, String>,
    pub bed: Option<String>,
    /// How the site bound its Bluetooth peripheral, in the words of the grant.
    pub binding: Option<&'static str>,
    /// Without a value for longer than this it counts as silent; 0: never.
    pub silent_after_s: u64,
    /// What its device sends, byte for byte, may leave.
    pub keep_raw: bool,
    /// Drawn at random for this start of the gateway.
    pub seed: u64,
    /// Of whoever was posted before, in this life or an earlier one.
    pub left: Left,
}

impl Posting {
    /// A state that cannot be read is said and left: the plugin starts as if new, which its device can bear and a gateway that does not start cannot.
    pub(super) fn kept(&self) -> Option<Kept> {
        let kept = Kept::from_bytes(self.left.saved.as_deref()?);
        kept.inspect_err(|why| tracing::error!(instance = %self.instance, %why, "it opens without state")).ok()
    }

    pub(super) fn opening(&self, kept: Option<&Kept>, restarts: u64) -> Opening {
        let fact = |name: &str, value: &str| Fact { name: name.into(), value: value.into() };
        let mut about = vec![fact("instance", &self.instance), fact("gateway-version", env!("CARGO_PKG_VERSION"))];
        about.extend(kept.map(|kept| fact("saved-by", &kept.by)));
        about.extend(self.binding.map(|binding| fact("binding", binding)));
        Opening {
            settings: self.settings.iter().map(|(name, value)| fact(name, value)).collect(),
            about,
            seed: mixed(self.seed.wrapping_add(restarts)),
            saved: kept.map(|kept| kept.state.clone()),
        }
    }
}

/// No two instances fail in step because they share a start.
pub(super) fn seed_of(seed: u64, instance: &str) -> u64 {
    instance.bytes().fold(seed, |z, byte| mixed(z ^ u64::from(byte)))
}

/// Neighbouring seeds must not look alike to a plugin (splitmix64's last step).
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
