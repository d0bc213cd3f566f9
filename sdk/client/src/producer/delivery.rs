//! Deliveries: what became of a record. One shared state per batch, none per record.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

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

/// Something that is decided once, and those who wait for it.
pub(crate) struct Settled<T> {
    /// Set once.
    outcome: OnceLock<T>,
    waiters: Mutex<Vec<Waker>>,
}

impl<T> Settled<T> {
    pub(crate) const fn new() -> Self {
        Self { outcome: OnceLock::new(), waiters: Mutex::new(Vec::new()) }
    }

    /// Decides, unless that has been done, and wakes those who wait.
    pub(crate) fn settle(&self, outcome: T) {
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
    fn poll(&self, cx: &mut Context<'_>, slot: &mut Option<usize>) -> Poll<&T> {
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

    pub(crate) async fn settled(&self) {
        let mut slot = None;
        poll_fn(|cx| self.poll(cx, &mut slot).map(|_| ())).await;
    }
}

/// What became of a batch that did not fail.
enum Fate {
    /// Stored from this offset on.
    Stored(i64),
    /// Its records went into others, each to its place.
    Moved(Vec<BatchPlace>),
}

/// What the deliveries of one batch share: its base offset, or why it was not stored.
pub(crate) struct BatchState {
    partition: i32,
    stored: Settled<Result<Fate, SendError>>,
}

impl BatchState {
    pub(crate) fn new(partition: i32) -> Arc<Self> {
        Arc::new(Self { partition, stored: Settled::new() })
    }

    /// Resolves all deliveries of the batch.
    pub(crate) fn complete(&self, outcome: Result<i64, SendError>) {
        self.stored.settle(outcome.map(Fate::Stored));
    }

    /// Has all deliveries of the batch wait for the batches that its records went into.
    pub(crate) fn moved(&self, places: Vec<BatchPlace>) {
        self.stored.settle(Ok(Fate::Moved(places)));
    }

    /// Ends when every record of the batch is stored or failed, wherever it went.
    pub(crate) async fn resolved(self: Arc<Self>) {
        let mut waiting = vec![self];
        while let Some(batch) = waiting.pop() {
            batch.stored.settled().await;
            if let Some(Ok(Fate::Moved(places))) = batch.stored.outcome.get() {
                for (next, _) in places {
                    if !waiting.last().is_some_and(|last| Arc::ptr_eq(last, next)) {
                        waiting.push(Arc::clone(next));
                    }
                }
            }
        }
    }
}

/// A record's batch and its index there.
pub(crate) type BatchPlace = (Arc<BatchState>, u32);

/// What the deliveries of records share that wait for their partitions together: where each of them went, or
/// why none of them went anywhere.
pub(crate) type AssignmentState = Settled<Result<Vec<BatchPlace>, SendError>>;

/// Resolves when the record is stored, or surely is not.
#[must_use = "a delivery tells whether the record was stored"]
pub struct Delivery {
    whereabouts: Whereabouts,
    index: u32,
    slot: Option<usize>,
}

/// What a record is part of.
enum Whereabouts {
    Batch(Arc<BatchState>),
    /// Its partition is being asked for.
    Waiting(Arc<AssignmentState>),
}

impl Delivery {
    pub(crate) const fn new(batch: Arc<BatchState>, index: u32) -> Self {
        Self { whereabouts: Whereabouts::Batch(batch), index, slot: None }
    }

    pub(crate) const fn waiting(assignment: Arc<AssignmentState>, index: u32) -> Self {
        Self { whereabouts: Whereabouts::Waiting(assignment), index, slot: None }
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
        loop {
            let (batch, index) = match &this.whereabouts {
                Whereabouts::Batch(batch) => match ready!(batch.stored.poll(cx, &mut this.slot)) {
                    Ok(Fate::Stored(base)) => {
                        let offset = offset(*base, this.index);
                        return Poll::Ready(Ok(Stored { partition: batch.partition, offset }));
                    }
                    Ok(Fate::Moved(places)) => places[this.index as usize].clone(),
                    Err(error) => return Poll::Ready(Err(error.clone())),
                },
                Whereabouts::Waiting(assignment) => match ready!(assignment.poll(cx, &mut this.slot)) {
                    Ok(places) => places[this.index as usize].clone(),
                    Err(error) => return Poll::Ready(Err(error.clone())),
                },
            };
            (this.whereabouts, this.index, this.slot) = (Whereabouts::Batch(batch), index, None);
        }
    }
}

/// Records of one `send_batch` that went the same way, one after the other.
struct Share {
    whereabouts: Whereabouts,
    first: u32,
    count: u32,
}

impl Share {
    /// Counts in the record at `index` of the same batch or assignment, if it comes next.
    const fn takes(&mut self, index: u32) -> bool {
        let next = self.first + self.count == index;
        self.count += next as u32;
        next
    }
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
        let same = |share: &&mut Share| matches!(&share.whereabouts, Whereabouts::Batch(known) if Arc::ptr_eq(known, batch));
        let last = self.waiting.iter_mut().rev().find(same);
        if !last.is_some_and(|share| share.takes(index)) {
            self.push(Whereabouts::Batch(Arc::clone(batch)), index);
        }
    }

    /// As [`Self::add`], for a record whose partition is being asked for.
    pub(crate) fn add_waiting(&mut self, assignment: &Arc<AssignmentState>, index: u32) {
        let same = |share: &&mut Share| matches!(&share.whereabouts, Whereabouts::Waiting(known) if Arc::ptr_eq(known, assignment));
        let last = self.waiting.iter_mut().rev().find(same);
        if !last.is_some_and(|share| share.takes(index)) {
            self.push(Whereabouts::Waiting(Arc::clone(assignment)), index);
        }
    }

    fn push(&mut self, whereabouts: Whereabouts, first: u32) {
        self.waiting.push_back(Share { whereabouts, first, count: 1 });
    }
}

impl Future for BatchDelivery {
    type Output = Result<Vec<StoredRange>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        while let Some(share) = this.waiting.front() {
            let mut places = Vec::new();
            let range = share.first as usize..(share.first + share.count) as usize;
            let outcome = match &share.whereabouts {
                Whereabouts::Batch(batch) => {
                    ready!(batch.stored.poll(cx, &mut this.slot)).as_ref().map(|fate| match fate {
                        Fate::Stored(base) => this.stored.push(StoredRange {
                            partition: batch.partition,
                            first_offset: offset(*base, share.first),
                            count: share.count,
                        }),
                        Fate::Moved(all) => places.extend_from_slice(&all[range]),
                    })
                }
                Whereabouts::Waiting(assignment) => {
                    ready!(assignment.poll(cx, &mut this.slot)).as_ref().map(|all| {
                        places.extend_from_slice(&all[range]);
                    })
                }
            };
            if let Err(error) = outcome {
                return Poll::Ready(Err(error.clone()));
            }
            this.slot = None;
            this.waiting.pop_front();
            for (batch, index) in places {
                this.add(&batch, index);
            }
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
        while batch.stored.waiters.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        batch.complete(Err(SendError::Closed));
        assert!(matches!(delivery.await.unwrap(), Err(SendError::Closed)));
    }

    #[tokio::test]
    async fn records_that_waited_for_a_partition_resolve_where_they_went() {
        let (assignment, batch) = (Arc::new(AssignmentState::new()), BatchState::new(7));
        let mut alone = Delivery::waiting(Arc::clone(&assignment), 1);
        let mut all = BatchDelivery::new();
        for index in 0..3 {
            all.add_waiting(&assignment, index);
        }
        assert!((&mut alone).now_or_never().is_none());
        assert!((&mut all).now_or_never().is_none());
        let other = BatchState::new(2);
        assignment.settle(Ok(vec![
            (Arc::clone(&batch), 4),
            (Arc::clone(&other), 0),
            (Arc::clone(&batch), 5),
        ]));
        assert!((&mut alone).now_or_never().is_none(), "placed is not stored");
        other.complete(Ok(30));
        assert_eq!(alone.await.unwrap(), Stored { partition: 2, offset: 30 });
        batch.complete(Ok(10));
        let expected = vec![
            StoredRange { partition: 7, first_offset: 14, count: 2 },
            StoredRange { partition: 2, first_offset: 30, count: 1 },
        ];
        assert_eq!(all.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn deliveries_follow_a_batch_that_went_as_others() {
        let (whole, first, second) = (BatchState::new(0), BatchState::new(0), BatchState::new(0));
        let alone = Delivery::new(Arc::clone(&whole), 2);
        let mut all = BatchDelivery::new();
        for index in 0..3 {
            all.add(&whole, index);
        }
        let mut resolved = Box::pin(Arc::clone(&whole).resolved());
        whole.moved(vec![(Arc::clone(&first), 0), (Arc::clone(&second), 0), (Arc::clone(&second), 1)]);
        second.complete(Ok(20));
        assert_eq!(alone.await.unwrap(), Stored { partition: 0, offset: 21 });
        assert!((&mut all).now_or_never().is_none());
        assert!(resolved.as_mut().now_or_never().is_none());
        first.complete(Ok(10));
        let range = |first_offset, count| StoredRange { partition: 0, first_offset, count };
        assert_eq!(all.await.unwrap(), [range(10, 1), range(20, 2)]);
        resolved.await;
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
