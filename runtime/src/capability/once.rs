//! Which refusals were logged already: each different one is logged once, all are counted.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// Different refusals that one instance gets logged on one link.
const LOGGED_MAX: usize = 16; // a plugin that tries everything must not fill the disk with its log

#[derive(Default)]
pub(super) struct Once(Mutex<BTreeSet<String>>);

impl Once {
    /// True the first time, as long as there is room to remember it.
    pub(super) fn is_new(&self, text: &str) -> bool {
        let mut seen = self.0.lock().expect("no holder panics");
        seen.len() < LOGGED_MAX && seen.insert(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_new_once_and_their_number_is_bounded() {
        let once = Once::default();
        assert!(once.is_new("a") && !once.is_new("a") && once.is_new("b"));
        assert_eq!((0..1000).filter(|n| once.is_new(&n.to_string())).count(), LOGGED_MAX - 2);
    }
}
