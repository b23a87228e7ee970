//! The topic tree: where a gateway's messages go, and where its acknowledgements come from.
//!
//! | topic | direction | payload |
//! |---|---|---|
//! | `wardgate/1/<gateway>/up/<class>` | gateway to receiver | one wire message: a batch, or one part of it |
//! | `wardgate/1/<gateway>/ack` | receiver to gateway | one wire acknowledgement |
//!
//! All QoS 1, never retained. The root (`wardgate/1`) is `uplink.topic`; the number in it is the version of this tree. A broker needs two rules
//! for each gateway: it may publish below `up/` and read `ack`. A receiver reads `wardgate/1/+/up/+` and publishes `wardgate/1/+/ack`.

use wardgate_wire::{Class, GatewayId};

/// Below one gateway's own level.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    base: String,
}

impl Topics {
    pub fn new(root: &str, gateway: &GatewayId) -> Self {
        Self { base: format!("{root}/{gateway}") }
    }

    pub fn up(&self, class: Class) -> String {
        format!("{}/up/{class}", self.base)
    }

    /// All that this gateway publishes, for people.
    pub fn all_up(&self) -> String {
        format!("{}/up/+", self.base)
    }

    pub fn longest_up(&self) -> String {
        Class::ALL.iter().map(|class| self.up(*class)).max_by_key(String::len).unwrap_or_default()
    }

    pub fn ack(&self) -> String {
        format!("{}/ack", self.base)
    }
}

/// Whether `root` can stand in front of a gateway's level: no wildcard, no empty level, nothing that brokers keep for themselves.
pub(super) fn is_root(root: &str) -> bool {
    !root.is_empty()
        && !root.starts_with('$')
        && !root.contains(['+', '#', '\0'])
        && root.split('/').all(|level| !level.is_empty())
        && root.len() <= ROOT_BYTES_MAX
}

/// Every message carries the topic: 64 bytes are as much as a thin link should spend on a name.
const ROOT_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_the_documented_ones() {
        let topics = Topics::new("wardgate/1", &GatewayId::new("ward-3").unwrap());
        assert_eq!(topics.ack(), "wardgate/1/ward-3/ack");
        let up: Vec<_> = Class::ALL.iter().map(|class| topics.up(*class)).collect();
        assert_eq!(up[0], "wardgate/1/ward-3/up/alert");
        assert_eq!(up[1], "wardgate/1/ward-3/up/ledger");
        assert_eq!(up[2], "wardgate/1/ward-3/up/numeric");
        assert_eq!(up[3], "wardgate/1/ward-3/up/preview");
        assert_eq!(up[4], "wardgate/1/ward-3/up/waveform");
        assert_eq!(up[5], "wardgate/1/ward-3/up/archive");
    }

    #[test]
    fn a_root_is_plain_levels() {
        assert!(is_root("wardgate/1") && is_root("a"));
        for bad in ["", "/a", "a/", "a//b", "+/a", "a/#", "$share/x/a", "a\0", &"a".repeat(65)] {
            assert!(!is_root(bad), "{bad:?}");
        }
    }
}
