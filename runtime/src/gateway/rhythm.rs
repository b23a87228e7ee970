//! When a group is due, where nothing urgent waits. Pure: moments are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// What is said after a silence of so much of `commit_ms`, in per cent, is all that will be said in that time: instances that poll at one pace.
const ALONE_PERCENT: u32 = 85;
/// It is written as soon as nothing has come for so long: the answers of one bus follow one another faster, and the machine need not wake for it
/// again half a second later.
const QUIET_MS: u64 = 20;

pub(super) struct Rhythm {
    last_word: Instant,
    /// Since when what waits was said, if it came after a silence.
    alone_since: Option<Instant>,
}

impl Rhythm {
    pub fn new(now: Instant) -> Self {
        Self { last_word: now, alone_since: None }
    }

    /// Something was said. `waits`: what was said before is not on its way yet, and has its own time.
    pub fn heard(&mut self, now: Instant, commit: Duration, waits: bool) {
        if !waits && now - self.last_word >= commit * ALONE_PERCENT / 100 {
            self.alone_since = Some(now);
        }
        self.last_word = now;
    }

    /// All that was said goes to the disk.
    pub fn sealed(&mut self) {
        self.alone_since = None;
    }

    /// One group each `commit`, or as soon as all have spoken who speak at that pace. The flash gets its rest, however slow it is, and nothing
    /// waits for longer than `commit`.
    pub fn due(&self, last_commit: Instant, commit: Duration) -> Instant {
        let Some(since) = self.alone_since else { return last_commit + commit };
        (self.last_word + Duration::from_millis(QUIET_MS)).max(last_commit + commit / 2).min(since + commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    //= PROMISES.md#P35
    #[test]
    fn what_comes_once_a_second_is_written_when_all_of_it_has_come() {
        let begun = Instant::now();
        let mut rhythm = Rhythm::new(begun);
        for at in [1000, 1003, 1006] {
            rhythm.heard(begun + ms(at), SECOND, at > 1000);
        }
        assert_eq!(rhythm.due(begun + ms(300), SECOND), begun + ms(1006 + QUIET_MS));
        assert_eq!(rhythm.due(begun + ms(900), SECOND), begun + ms(1400), "the flash has just worked");
        rhythm.sealed();
        assert_eq!(rhythm.due(begun + ms(1011), SECOND), begun + ms(2011), "what comes later has the usual time");
    }

    #[test]
    fn who_never_falls_silent_is_written_once_a_second() {
        let begun = Instant::now();
        let mut rhythm = Rhythm::new(begun);
        (0..30).for_each(|n| rhythm.heard(begun + ms(100 * n), SECOND, n > 0));
        assert_eq!(rhythm.due(begun + ms(2000), SECOND), begun + ms(3000));
        // after a silence too: nothing waits for longer than that
        (0..600).for_each(|n| rhythm.heard(begun + ms(4000 + 2 * n), SECOND, n > 0));
        assert_eq!(rhythm.due(begun + ms(2900), SECOND), begun + ms(5000));
    }

    #[test]
    fn what_waits_already_does_not_wait_for_who_comes_after_it() {
        let begun = Instant::now();
        let mut rhythm = Rhythm::new(begun);
        rhythm.heard(begun + ms(50), SECOND, false);
        (0..60).for_each(|n| rhythm.heard(begun + ms(920 + 15 * n), SECOND, true));
        assert_eq!(rhythm.due(begun, SECOND), begun + ms(1000));
    }
}
