//! Keeps a panic in the future it happens in: one library, or one call, that fails must not end everything with it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// `None` when it panicked. What it held is dropped with it, so nothing half done is seen by anybody; what it only borrowed must not be used again.
pub async fn contained<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stays_where_it_happened() {
        assert_eq!(contained(async { 7 }).await, Some(7));
        let fails = async {
            tokio::task::yield_now().await;
            assert!(std::env::args().count() > 1_000_000, "on purpose");
            7
        };
        assert_eq!(contained(fails).await, None);
    }
}
