//! Room 1, device to bytes: one folder a noun, the same files in each, and the inbox that they all fill.

pub mod ble;
mod gate;
pub mod inbox;
mod mistake;
pub mod modbus;
mod once;
mod quota;
pub mod serial;

pub use mistake::GrantError;

use crate::contract::types::Moment;

/// Something that one grant holds and another does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// For people, like "to write 04 01 to 2a52".
    pub words: String,
    /// By what a manifest may say what its plugin does without it; the most exact first.
    pub keys: Vec<String>,
}

/// How a refusal goes on that is the package's, whatever the site `allows`: no line of gateway.toml alone helps. `line`: what the package lacks.
fn not_asked(at: &str, allows: bool, link: &str, line: &str) -> String {
    let sides = if allows {
        format!("{at} allows, and its own package does not ask for: the smaller of both counts")
    } else {
        format!("neither {at} allows nor its own package asks for")
    };
    let also = if allows { "" } else { "; then the site grants it too" };
    format!("{sides}. If its plugin needs it, its maker adds {line} of [asks.{link}] in manifest.toml and signs it anew{also}")
}

/// Reads the corridor's clock.
pub type Clock = fn() -> Moment;

/// The instance asks faster than it takes its answers. Nothing was queued; the supervisor ends the instance as for any quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {REFUSED_WAITING_MAX} refusals wait to be taken: the plugin keeps asking for what it was refused")]
pub struct Flooded;

/// Refusals of one instance on one link that may wait in its inbox.
pub const REFUSED_WAITING_MAX: usize = 64; // more than any device has polls in hand; a plugin that asks twice for each refusal would grow without end
