//! Whether the device at the other end is the one that its binding names: it must say so, anew after each `open`, link-up and silence. Pure.

use std::collections::BTreeSet;

use crate::config::Link;

/// What a device's serial is called among the facts that it says of itself.
pub const SERIAL: &str = "serial";

/// What is known of the device since the plugin was opened, a link came up or a silence ended.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// The serial that it says it has.
    pub claim: Option<String>,
    /// Which links have come up since the `open`.
    linked: BTreeSet<Link>,
}

impl Whose {
    /// A binding that names no serial takes any device.
    pub fn is(&self, bound: Option<&str>) -> bool {
        bound.is_none() || self.claim.as_deref() == bound
    }

    /// The plugin was opened: no link has come up for it, and nobody has said anything.
    pub fn opened(&mut self) {
        *self = Self::default();
    }

    /// It said nothing for so long that another may stand there without a word of the link: on some lines nothing tells of a pulled plug.
    pub fn quiet(&mut self) {
        self.claim = None;
    }

    /// This link came up. True: it may be another device from here on; not so for the first time, when nobody was there before.
    pub fn relinked(&mut self, link: Link) -> bool {
        let another = !self.linked.insert(link);
        if another {
            self.claim = None;
        }
        another
    }
}
