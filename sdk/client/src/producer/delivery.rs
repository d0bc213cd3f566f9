//! Deliveries: what became of a record. One shared state per batch, none per record.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::error::SendError;

/// Where a record was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub partition: i32,
    /// -1 with [`crate::Acks::None`], and for a duplicate whose offset the broker no longer knows.
    pub offset: i64,
}

/// Where consecutive records of a batch were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRange {
    pub partition: i32,
    /// Offset of the first; the rest follow without gaps. -1 as in [`Stored::offset`].
    pub first_offset: i64,
    pub count: u32,
}

/// What the deliveries of one batch share.
pub(crate) struct BatchState {
    partition: i32,
    /// The batch's base offset, or why it was not stored. Set once.
    outcome: OnceLock<Result<i64, SendError>>,
    waiters: Mutex<Vec<Waker>>,
}

impl BatchState {
    pub(crate) fn new(partition: i32) -> Arc<Self> {
        Arc::new(Self { partition, outcome: OnceLock::new(), waiters: Mutex::new(Vec::new()) })
    }

    /// Resolves all deliveries of the batch.
    pub(crate) fn complete(&self, outcome: Result<i64, SendError>) {
        let waiters = {
            let mut waiters = self.waiters.lock();
            let _ = self.outcome.set(outcome);
            std::mem::take(&mut *waiters)
        };
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// The outcome, or a place among those that are woken; `slot` is where this waiter stood before.
    fn poll(&self, cx: &mut Context<'_>, slot: &mut Option<usize>) -> Poll<&Result<i64, SendError>> {
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        let mut waiters = self.waiters.lock();
        // Set under the lock: what is not set now will take this waker.
        if let Some(outcome) = self.outcome.get() {
            return Poll::Ready(outcome);
        }
        match slot.and_then(|index| waiters.get_mut(index)) {
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => {
                *slot = Some(waiters.len());
                waiters.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// Resolves when the record is stored, or surely is not.
#[must_use = "a delivery tells whether the record was stored"]
pub struct Delivery {
    batch: Arc<BatchState>,
    index: u32,
    slot: Option<usize>,
}

impl Delivery {
    pub(crate) const fn new(batch: Arc<BatchState>, index: u32) -> Self {
        Self { batch, index, slot: None }
    }
}

/// Offset of the record at `index` in a batch; an unknown base offset stays unknown.
const fn offset(base: i64, index: u32) -> i64 {
    if base < 0 { base } else { base + index as i64 }
}

impl Future for Delivery {
    type Output = Result<Stored, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.batch.poll(cx, &mut this.slot).map(|outcome| match outcome {
            Ok(base) => Ok(Stored { partition: this.batch.partition, offset: offset(*base, this.index) }),
            Err(error) => Err(error.clone()),
        })
    }
}

/// Records of one `send_batch` that went into the same batch, one after the other.
struct Share {
    batch: Arc<BatchState>,
    first: u32,
    count: u32,
}

/// Resolves when all records of one `send_batch` are stored, or with the first error.
#[must_use = "a delivery tells whether the records were stored"]
pub struct BatchDelivery {
    waiting: VecDeque<Share>,
    slot: Option<usize>,
    stored: Vec<StoredRange>,
}

impl BatchDelivery {
    pub(crate) const fn new() -> Self {
        Self { waiting: VecDeque::new(), slot: None, stored: Vec::new() }
    }

    /// Counts a record in. Records of one partition come in order, so looking at the latest shares is enough.
    pub(crate) fn add(&mut self, batch: &Arc<BatchState>, index: u32) {
        let last = self.waiting.iter_mut().rev().find(|share| Arc::ptr_eq(&share.batch, batch));
        match last {
            Some(share) if share.first + share.count == index => share.count += 1,
            _ => self.waiting.push_back(Share { batch: Arc::clone(batch), first: index, count: 1 }),
        }
    }
}

impl Future for BatchDelivery {
    type Output = Result<Vec<StoredRange>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(share) = this.waiting.front() {
            match share.batch.poll(cx, &mut this.slot) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.clone())),
                Poll::Ready(Ok(base)) => this.stored.push(StoredRange {
                    partition: share.batch.partition,
                    first_offset: offset(*base, share.first),
                    count: share.count,
                }),
            }
            this.slot = None;
            this.waiting.pop_front();
        }
        Poll::Ready(Ok(std::mem::take(&mut this.stored)))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn all_deliveries_of_a_batch_resolve_with_their_own_offsets() {
        let batch = BatchState::new(3);
        let mut deliveries: Vec<_> = (0..4).map(|index| Delivery::new(Arc::clone(&batch), index)).collect();
        for delivery in &mut deliveries {
            assert!(delivery.now_or_never().is_none());
        }
        batch.complete(Ok(100));
        for (index, delivery) in deliveries.into_iter().enumerate() {
            assert_eq!(delivery.await.unwrap(), Stored { partition: 3, offset: 100 + index as i64 });
        }
    }

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let batch = BatchState::new(0);
        let delivery = tokio::spawn(Delivery::new(Arc::clone(&batch), 0));
        while batch.waiters.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        batch.complete(Err(SendError::Closed));
        assert!(matches!(delivery.await.unwrap(), Err(SendError::Closed)));
    }

    #[tokio::test]
    async fn a_batch_delivery_joins_neighbours_and_keeps_batches_apart() {
        let (first, second) = (BatchState::new(0), BatchState::new(0));
        let mut delivery = BatchDelivery::new();
        delivery.add(&first, 5);
        delivery.add(&first, 6);
        delivery.add(&second, 0);
        first.complete(Ok(10));
        assert!((&mut delivery).now_or_never().is_none());
        second.complete(Ok(-1));
        let expected = vec![
            StoredRange { partition: 0, first_offset: 15, count: 2 },
            StoredRange { partition: 0, first_offset: -1, count: 1 },
        ];
        assert_eq!(delivery.await.unwrap(), expected);
    }
}
