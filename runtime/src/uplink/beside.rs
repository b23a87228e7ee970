//! Work that may wait for the card, beside the connection: one at a time of each kind, on a thread that may block.

use tokio::task::JoinHandle;

/// A card stalls for seconds while it writes; the connection must be read meanwhile.
pub(super) struct Beside<T>(Option<Work<T>>);

enum Work<T> {
    OnThread(JoinHandle<T>),
    Done(T),
}

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Beside<T> {
    pub fn is_busy(&self) -> bool {
        self.0.is_some()
    }

    pub fn start(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        debug_assert!(!self.is_busy(), "one at a time");
        self.0 = Some(Work::OnThread(tokio::task::spawn_blocking(work)));
    }

    /// What took no waiting is given out like the rest.
    pub fn done_already(&mut self, result: T) {
        debug_assert!(!self.is_busy(), "one at a time");
        self.0 = Some(Work::Done(result));
    }

    /// Ends when the work is done; never, when there is none. May be dropped and called again. `None`: it panicked.
    pub async fn done(&mut self) -> Option<T> {
        if let Some(Work::OnThread(handle)) = &mut self.0 {
            let result = handle.await.ok();
            self.0 = None;
            return result;
        }
        match self.0.take() {
            Some(Work::Done(result)) => Some(result),
            _ => std::future::pending().await,
        }
    }
}
