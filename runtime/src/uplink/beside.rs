//! Work that may wait for the card, beside the connection: one at a time of each kind, on a thread that may block.

use tokio::task::JoinHandle;

/// A card stalls for seconds while it writes; the connection must be read meanwhile.
pub(super) struct Beside<T>(Option<JoinHandle<T>>);

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
        self.0 = Some(tokio::task::spawn_blocking(work));
    }

    /// Ends when the work is done; never, when there is none. May be dropped and called again. `None`: it panicked.
    pub async fn done(&mut self) -> Option<T> {
        let Some(handle) = &mut self.0 else { return std::future::pending().await };
        let result = handle.await.ok();
        self.0 = None;
        result
    }
}
