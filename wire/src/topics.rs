//! The topics of a broker that messages travel on. FORMAT.md draws the tree.

use std::fmt::Display;

use crate::Class;

/// Every message carries the topic: 64 bytes are as much as a thin link should spend on a name.
pub const ROOT_BYTES_MAX: usize = 64;

/// Whether `root` can stand in front of a gateway's level: no wildcard, no empty level, nothing that brokers keep for themselves.
pub fn is_root(root: &str) -> bool {
    !root.starts_with('$')
        && !root.contains(['+', '#', '\0'])
        && root.split('/').all(|level| !level.is_empty())
        && root.len() <= ROOT_BYTES_MAX
}

/// Where one gateway's messages of a class go.
pub fn up(root: &str, gateway: impl Display, class: impl Display) -> String {
    format!("{root}/{gateway}/up/{class}")
}

/// Where one gateway hears its acknowledgements.
pub fn ack(root: &str, gateway: impl Display) -> String {
    format!("{root}/{gateway}/ack")
}

/// What a receiver subscribes to.
pub fn every_up(root: &str) -> String {
    up(root, '+', '+')
}

/// Gateway and class of a topic that messages go to; the gateway's name is whatever stands there.
pub fn parse_up<'t>(root: &str, topic: &'t str) -> Option<(&'t str, Class)> {
    let (gateway, class) = topic.strip_prefix(root)?.strip_prefix('/')?.split_once("/up/")?;
    Some((gateway, Class::ALL.into_iter().find(|c| c.name() == class)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_the_documented_ones() {
        let tree = include_str!("../FORMAT.md");
        for (topic, name) in [(up("ROOT", "GATEWAY", "CLASS"), "messages"), (ack("ROOT", "GATEWAY"), "acknowledgements")] {
            assert!(tree.lines().any(|l| l.contains(&topic) && l.contains(name)), "FORMAT.md lacks {topic}");
        }
        for class in Class::ALL {
            assert_eq!(parse_up("wardgate/1", &up("wardgate/1", "ward-3", class)), Some(("ward-3", class)));
        }
        assert_eq!(up("wardgate/1", "ward-3", Class::Alert), "wardgate/1/ward-3/up/alert");
        assert_eq!((ack("a", "w"), every_up("a")), ("a/w/ack".into(), "a/+/up/+".into()));
        for foreign in ["", "a/w/up/numeric", "wardgate/1/w/ack", "wardgate/1/w/up/", "wardgate/1/w/up/x", "wardgate/1w/up/alert"] {
            assert_eq!(parse_up("wardgate/1", foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_root_is_plain_levels() {
        assert!(is_root("wardgate/1") && is_root("a"));
        for bad in ["", "/a", "a/", "a//b", "+/a", "a/#/b", "a/#", "a+b", "$share/x/a", "a\0", &"a".repeat(65)] {
            assert!(!is_root(bad), "{bad:?}");
        }
    }
}
