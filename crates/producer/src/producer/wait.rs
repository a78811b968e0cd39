//! Two futures: wait for a change of the metadata, and give up after a while.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Shared;
use crate::metadata::WaitKey;
use crate::wait::TimerKey;

/// `future`'s output, or `None` if it takes longer than `limit_ms`. `u64::MAX` is without limit. Cancel safe if the future is.
pub(super) async fn within<F: Future>(shared: &Arc<Shared>, limit_ms: u64, future: F) -> Option<F::Output> {
    let deadline_ms = (limit_ms != u64::MAX).then(|| shared.clock.refresh().saturating_add(limit_ms));
    let mut future = pin!(future);
    let mut timer = Timer { shared, key: None };
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(deadline_ms) = deadline_ms else { return Poll::Pending };
        if shared.clock.refresh() >= deadline_ms {
            return Poll::Ready(None);
        }
        timer.set(deadline_ms, cx);
        Poll::Pending
    })
    .await
}

struct Timer<'a> {
    shared: &'a Shared,
    key: Option<TimerKey>,
}

impl Timer<'_> {
    fn set(&mut self, deadline_ms: u64, cx: &Context<'_>) {
        // A timer that has fired is gone; registering anew serves both cases.
        if let Some(key) = self.key.replace(self.shared.timers.register(deadline_ms, cx.waker())) {
            self.shared.timers.cancel(key);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.timers.cancel(key);
        }
    }
}

/// Looks at the metadata after each change, until the look gives something.
pub(super) struct MetadataChange<'a, L> {
    shared: &'a Shared,
    look: L,
    key: Option<WaitKey>,
}

impl<'a, T, E, L: FnMut() -> Result<Option<T>, E>> MetadataChange<'a, L> {
    pub(super) fn until(shared: &'a Shared, look: L) -> MetadataChange<'a, L> {
        MetadataChange { shared, look, key: None }
    }
}

impl<T, E, L: FnMut() -> Result<Option<T>, E> + Unpin> Future for MetadataChange<'_, L> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        // Registered first, looked at afterwards: no change is missed.
        let key = self.shared.metadata.wait(cx.waker());
        if let Some(old) = self.key.replace(key) {
            self.shared.metadata.cancel(old);
        }
        match (self.look)() {
            Ok(Some(found)) => Poll::Ready(Ok(found)),
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<L> Drop for MetadataChange<'_, L> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.metadata.cancel(key);
        }
    }
}
