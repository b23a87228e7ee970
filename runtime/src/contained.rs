//! Keeps a panic in the future it happens in: one library, or one call, that fails must not end everything with it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// `None` when it panicked. Its owner drops it then, so nothing half done is seen by anybody; what it only borrowed must not be used again.
/// It is pinned where it was made: a call into a plugin is a future of some hundred bytes, which was copied at each turn.
pub fn contained<T>(mut future: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = Option<T>> {
    poll_fn(move |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_panic_stays_where_it_happened() {
        assert_eq!(contained(pin!(async { 7 })).await, Some(7));
        let fails = async {
            tokio::task::yield_now().await;
            assert!(std::env::args().count() > 1_000_000, "on purpose");
            7
        };
        assert_eq!(contained(pin!(fails)).await, None);
    }
}
