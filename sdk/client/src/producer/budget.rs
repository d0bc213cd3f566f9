//! The memory that records may take until they are acknowledged.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    waiters: AtomicUsize,
    room: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), waiters: AtomicUsize::new(0), room: Notify::new() }
    }

    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes `bytes` if there is room. The last taker may exceed the limit, so that a record larger than the
    /// whole budget can still be sent alone.
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::AcqRel);
        if before < self.limit {
            return true;
        }
        // Not `release`: waiters whose attempts fail would wake each other for ever.
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        false
    }

    /// Takes `bytes` for what already has room under another name, which is released after that.
    pub(crate) fn exceed(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiters.load(Ordering::Acquire) > 0 {
            self.room.notify_waiters();
        }
    }

    /// Waits until there may be room and takes `bytes`.
    pub(crate) async fn take(&self, bytes: usize) {
        if self.try_take(bytes) {
            return;
        }
        let _waiter = Waiter::new(&self.waiters);
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            if self.try_take(bytes) {
                return;
            }
            room.await;
        }
    }
}

/// Counted while it lives, also when the waiting future is dropped.
struct Waiter<'a>(&'a AtomicUsize);

impl<'a> Waiter<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_sender_waits_until_room_is_released() {
        let budget = Arc::new(Budget::new(100));
        assert!(budget.try_take(150), "the first may exceed the limit");
        assert!(!budget.try_take(1));
        let waiting = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.take(10).await }
        });
        while budget.waiters.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        budget.release(150);
        tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!(budget.used.load(Ordering::Acquire), 10);
    }
}
