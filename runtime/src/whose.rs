//! Whether the device at the other end is the one that its binding names: it must say so, anew after each `open`, link-up and silence. Pure.

use std::collections::BTreeSet;

use crate::config::{Link, is_address};

/// What a device's serial is called among the facts that it says of itself.
pub const SERIAL: &str = "serial";

/// What is known of the device since the plugin was opened, a link came up or a silence ended.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// The serial that it says it has.
    pub claim: Option<String>,
    /// Of one of a pool of Bluetooth peripherals: the identity address under which the gateway met it.
    pub met: Option<String>,
    /// Which links have come up since the `open`.
    linked: BTreeSet<Link>,
}

impl Whose {
    /// A binding that names no serial takes any device.
    pub fn is(&self, bound: Option<&str>) -> bool {
        bound.is_none() || self.who(bound) == bound
    }

    /// Who it is, beside the one that is bound. It is that one where the gateway met it under that address, whatever serial it says; otherwise its
    /// serial counts, and its address where it says none. An address is the gateway's to tell: one that is said as a serial names nobody.
    pub fn who(&self, bound: Option<&str>) -> Option<&str> {
        let met = self.met.as_deref();
        if met.is_some() && met == bound {
            return met;
        }
        self.claim.as_deref().filter(|claim| met.is_none() || !is_address(claim)).or(met)
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
            (self.claim, self.met) = (None, None);
        }
        another
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELT: &str = "F0:00:00:00:31:01";

    #[test]
    fn a_peripheral_is_known_by_its_address_where_it_says_no_serial_and_none_is_known_by_an_address_that_it_says() {
        let met = |claim: Option<&str>| Whose { claim: claim.map(str::to_owned), met: Some(BELT.into()), ..Whose::default() };
        assert_eq!(met(None).who(Some("")), Some(BELT));
        assert_eq!(met(Some("4711")).who(Some("")), Some("4711"));
        assert!(met(None).is(Some(BELT)) && met(Some("4711")).is(Some(BELT)) && met(Some("4711")).is(Some("4711")));
        let other = "F0:00:00:00:31:02";
        assert!(!met(Some(other)).is(Some(other)) && met(Some(other)).who(Some(other)) == Some(BELT), "that is not its own to say");
        let mut gone = met(Some("4711"));
        assert!(!gone.relinked(Link::Ble) && gone.relinked(Link::Ble));
        assert_eq!(gone.who(Some(BELT)), None, "another may be there now");
    }
}
