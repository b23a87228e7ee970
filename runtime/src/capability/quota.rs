//! How much of one kind an instance may have open. It is counted by run: what a run that ended left behind takes nothing from the next.

use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Quota {
    most: usize,
    run: Mutex<(u64, Arc<Semaphore>)>,
}

impl Quota {
    pub(super) fn new(most: usize) -> Self {
        Self { most, run: Mutex::new((0, Arc::new(Semaphore::new(most)))) }
    }

    /// None: all are open. The place is free again when the permit is dropped.
    pub(super) fn take(&self, run: u64) -> Option<OwnedSemaphorePermit> {
        let mut held = self.run.lock().expect("no holder panics");
        if held.0 != run {
            *held = (run, Arc::new(Semaphore::new(self.most)));
        }
        held.1.clone().try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_run_has_all_its_places_whatever_the_old_one_left_open() {
        let quota = Quota::new(2);
        let (old, other) = (quota.take(0), quota.take(0));
        assert!(old.is_some() && other.is_some() && quota.take(0).is_none());
        drop(old);
        let again = quota.take(0);
        assert!(again.is_some());
        let new: Vec<_> = (0..3).map(|_| quota.take(1)).collect();
        assert_eq!(new.iter().flatten().count(), 2);
        drop((other, again));
        assert!(quota.take(1).is_none(), "places of the old run are not the new one's");
    }
}
